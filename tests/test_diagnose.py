"""Diagnosing: honest sums. More evidence never makes a class less likely, and a gap never makes anything surer."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from pipeline import diagnose as judge
from pipeline.diagnose import diagnose
from pipeline.errors import UsageError
from pipeline.faults import taxonomy
from pipeline.faults.rules.table import RULES
from pipeline.judge import UNDECIDED, Weights, sums, weights
from pipeline.judge import probabilities as probabilities_of
from pipeline.values import Cited, Found, Seen
from snapshots.model import Diagnosis, Text
from tests.flow_samples import case_of, line, usual_lines

CASE = case_of(usual_lines())
CLASSES = sorted({fault_class for fault_class, _ in taxonomy()} - {"unknown"})
KINDS = ["channel_code.exact", "channel_code.network", "wording.dns", "http.status", "span.tls", "order_rule.R04"]
GAPS = sorted(weights().gaps)


def found(supports: str | None = "interface_fault", kind: str = "wording.dns", strength: float = 1.0, **more) -> Found:
    subclass = next((sub for cls, sub in taxonomy() if cls == supports), None)
    return Found(
        kind=kind,
        statement=Text(en="it failed", zh="失败"),
        supports=supports,
        strength=strength,
        subclass=subclass,
        **more,
    )


def gap(kind: str) -> Found:
    return found(None, kind, 0.0, service="pay-channel")


def judged(*some: Found) -> Diagnosis:
    return diagnose(CASE, Seen(tuple(some)), [f"F{i}" for i, _ in enumerate(some, start=1)])


def probabilities(*some: Found) -> dict[str, float]:
    return {c.fault_class: c.probability for c in judged(*some).candidates}


FINDINGS = st.lists(
    st.builds(found, st.sampled_from(CLASSES[:4]), st.sampled_from(KINDS), st.floats(0, 1)), min_size=1, max_size=8
)


@given(FINDINGS, st.lists(st.sampled_from(GAPS), max_size=3))
@settings(max_examples=80, deadline=None)
def test_probabilities_and_undecided_sum_to_one(some, gaps):
    everything = [*some, *map(gap, gaps)]
    share = probabilities_of(everything, CASE.channel, weights())
    assert sum(share.values()) == pytest.approx(1)
    diagnosis = judged(*everything)
    # At most four classes are in play, and five are listed.
    listed = sum(c.probability for c in diagnosis.candidates)
    assert listed + share[UNDECIDED] == pytest.approx(1, abs=1e-3)
    assert [c.probability for c in diagnosis.candidates] == sorted(
        (c.probability for c in diagnosis.candidates), reverse=True
    )


@given(FINDINGS, st.sampled_from(CLASSES[:4]), st.sampled_from(KINDS), st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_one_more_finding_for_a_class_never_lowers_it(some, fault_class, kind, strength):
    before, after = probabilities(*some), probabilities(*some, found(fault_class, kind, strength))
    assert after.get(fault_class, 0) >= before.get(fault_class, 0)


@given(FINDINGS, st.sampled_from(GAPS))
@settings(max_examples=80, deadline=None)
def test_a_gap_never_makes_the_judge_surer(some, kind):
    without, with_gap = judged(*some), judged(*some, gap(kind))
    assert with_gap.confidence <= without.confidence
    assert not (without.abstained and not with_gap.abstained)


def test_the_same_thing_said_again_counts_less():
    once, twice, thrice = (judged(*[found()] * n).confidence for n in (1, 2, 3))
    assert once < twice < thrice
    assert twice - once > thrice - twice


def test_without_findings_nothing_is_claimed():
    diagnosis = judged()
    assert diagnosis.abstained
    assert diagnosis.confidence == 0
    assert diagnosis.candidates == []
    assert (diagnosis.fault_class, diagnosis.seed_class) == (None, None)
    assert [m.source for m in diagnosis.missing] == ["ticket"]


def test_an_abstention_keeps_its_candidates_and_names_what_is_missing():
    some = (found(kind="http.status", strength=0.6), found("param_config", "wording.missing_param", 0.5))
    diagnosis = judged(*some, gap("gap.silent_service"))
    assert diagnosis.abstained
    assert [c.fault_class for c in diagnosis.candidates] == ["param_config", "interface_fault"]
    assert [c.findings for c in diagnosis.candidates] == [["F2"], ["F1"]]
    assert [c.against for c in diagnosis.candidates] == [["F1"], ["F2"]]
    assert [(m.source, m.service) for m in diagnosis.missing] == [("logs", "pay-channel")]
    assert "Not decided" in diagnosis.summary.en
    assert "未定" in diagnosis.summary.zh


def test_logs_that_a_source_failed_to_give_are_asked_for_once():
    """That there is no line then needs no question of its own; of other things that failed it is one."""
    down = replace(gap("gap.source"), code="logs")
    assert [m.kind for m in judged(down, gap("gap.no_logs")).missing] == ["gap.source"]
    assert "日志" in judged(down).missing[0].question.zh
    spans = replace(down, code="spans")
    assert [m.kind for m in judged(spans, gap("gap.no_logs")).missing] == ["gap.source", "gap.no_logs"]


@pytest.mark.parametrize("kind", GAPS)
def test_every_gap_has_a_question_in_both_languages(kind):
    (missing,) = judged(gap(kind)).missing
    assert missing.question.en.endswith((".", "?"))
    assert re.search("[\u4e00-\u9fff]", missing.question.zh)


def test_an_unknown_code_is_asked_for():
    unknown = found(None, "channel_code.unknown", 0.0, channel="wechatpay", code="NEW_CODE")
    (missing,) = judged(unknown).missing
    assert "NEW_CODE" in missing.question.en
    assert "NEW_CODE" in missing.question.zh


@pytest.mark.parametrize("fault_class", [c for c in CLASSES if c not in ("success", "pending")])
def test_what_is_located_has_an_owner_and_a_first_action(fault_class):
    diagnosis = judged(found(fault_class, "channel_code.exact", service="pay-channel", operation="POST /pay"))
    fault = taxonomy()[fault_class, diagnosis.fault_subclass or ""]
    assert not diagnosis.abstained
    assert (diagnosis.owner, diagnosis.first_action) == (fault.owner, fault.first_action)
    assert diagnosis.class_name == fault.class_name
    assert diagnosis.location.service == "pay-channel"
    assert [(c.service, c.probability) for c in diagnosis.culprits] == [("pay-channel", diagnosis.confidence)]


@pytest.mark.parametrize("fault_class", ["success", "pending"])
def test_a_good_or_waiting_order_has_no_culprit(fault_class):
    diagnosis = judged(found(fault_class, "order_rule.R04", service="pay-channel"))
    assert diagnosis.fault_class == fault_class
    assert diagnosis.culprits == []
    assert diagnosis.seed_class is None


def test_the_order_of_the_findings_does_not_matter():
    some = [found("param_config", "wording.missing_param", 0.9), found(), found("interface_fault", "http.status", 0.4)]
    ids = ["F1", "F2", "F3"]
    forward = diagnose(CASE, Seen(tuple(some)), ids)
    backward = diagnose(CASE, Seen(tuple(reversed(some))), ids[::-1])
    assert forward == backward


def test_every_weight_belongs_to_a_kind_that_a_detector_emits():
    """Neither a number without a finding, nor a finding that speaks for a class and has no number."""
    folder = Path(judge.__file__).parent / "evidence"
    text = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    detectors = (
        "channel_code|http|span|trace|order_state|gap|cohort|exception|pattern|contrast|callback|retry|elsewhere|unseen"
    )
    emitted = set(re.findall(rf'"((?:{detectors})\.[a-z_]+)"', text))
    emitted |= {f"unseen.{name}" for name in re.findall(r'"(around|beside|message|elsewhere)"', text)} | {
        "ruled_out.keys"
    }
    emitted |= {f"order_state.{name}" for name in re.findall(r'_state\(\s*judged,\s*"([a-z_]+)"', text)}
    emitted |= {f"order_rule.{rule.id}" for rule in RULES}
    emitted |= {"wording.dns", "span.dns", "change.deploy"}
    table = weights()
    for prefix in table.weights:
        assert any(kind == prefix or kind.startswith(prefix + ".") for kind in emitted), prefix
    assert {kind for kind in emitted if kind.startswith("gap.")} == set(table.gaps)
    speaking = {kind for kind in emitted if not kind.startswith(("gap.", "cohort."))}
    for kind in speaking:
        assert any(kind == prefix or kind.startswith(prefix + ".") for prefix in table.weights), kind
    assert 0 < table.repeated < 1
    assert 0.5 <= table.locate < 1
    assert all(value >= 0 for value in (*table.weights.values(), *table.against.values(), *table.gaps.values()))


def test_the_narrowest_prefix_weighs():
    table = weights()
    assert table.of(found(kind="order_rule.R01")) == table.weights["order_rule.R01"]
    assert table.of(found(kind="order_rule.R02")) == table.weights["order_rule"]
    assert table.of(found(kind="order_rule.R010")) == table.weights["order_rule"]
    assert table.of(found(kind="nothing.of_ours")) == 0


def test_a_line_that_speaks_is_asked_about_the_channel():
    case = case_of([*usual_lines(), line(1, "odd: SO20260304100001", "odd")])
    diagnosis = diagnose(case, Seen(()), [])
    assert [m.source for m in diagnosis.missing] == ["logs"]
    assert "wechatpay" in diagnosis.missing[0].question.en


@given(FINDINGS, st.sampled_from(CLASSES[:4]), st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_what_speaks_against_a_class_never_helps_it(some, fault_class, strength):
    cleared = Found(
        kind="ruled_out.keys", statement=Text(en="in order", zh="正常"), strength=strength, against=(fault_class,)
    )
    before, after = probabilities(*some), probabilities(*some, cleared)
    assert after.get(fault_class, 0) <= before.get(fault_class, 0)
    assert all(after[name] >= share for name, share in before.items() if name != fault_class)


def test_what_speaks_against_a_candidate_is_listed_with_it():
    cleared = Found(kind="ruled_out.network", statement=Text(en="in order", zh="正常"), against=("interface_fault",))
    diagnosis = judged(found(), found("param_config"), cleared)
    against = {c.fault_class: c.against for c in diagnosis.candidates}
    assert against == {"interface_fault": ["F3", "F2"], "param_config": ["F1"]}


def test_a_finding_that_only_speaks_against_has_a_negative_weight():
    cleared = Found(kind="ruled_out.network", statement=Text(en="in order", zh="正常"), against=("interface_fault",))
    assert weights().of(cleared) == -weights().against["ruled_out"]


def test_a_channel_prior_holds_for_that_channel_alone():
    table = Weights(
        version=2, repeated=0.4, same_record=0.3, undecided=1.0, temperature=1.0, ceiling=1.0, locate=0.6, seed=0.6, weights={"wording": 2.0},
        prior={"interface_fault": 0.5}, channel_prior={"wechatpay": {"interface_fault": -0.3}},
    )  # fmt: skip
    some = [found()]
    assert sums(some, "stripe", table)["interface_fault"] == pytest.approx(2.5)
    assert sums(some, "WeChat-Pay", table)["interface_fault"] == pytest.approx(2.2)


def test_a_lower_temperature_makes_every_answer_surer_and_changes_no_order():
    some = [found(), found("param_config", strength=0.4)]
    warm = probabilities_of(some, None, structs.replace(weights(), temperature=1.0))
    cold = probabilities_of(some, None, structs.replace(weights(), temperature=0.5))
    assert sorted(warm, key=warm.__getitem__) == sorted(cold, key=cold.__getitem__)
    assert max(cold.values()) > max(warm.values())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version = 2", "Object missing required field"),
        ("weights = 5", "weights"),
        ("this is no toml", "no file of weights"),
        ('version=2\nrepeated=0.4\nsame_record=0.3\nundecided=1.0\ntemperature=0.0\nceiling=1.0\nlocate=0.6\nseed=0.6\n[weights]\nspan=1.0\n', "temperature"),
    ],
)  # fmt: skip
def test_a_broken_file_of_weights_is_named_with_what_is_wrong(tmp_path, text, says):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says) as error:
        weights(str(path))
    assert str(path) in str(error.value)


def test_a_file_of_weights_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.toml"):
        weights(str(tmp_path / "gone.toml"))


def test_two_findings_of_one_record_have_one_witness():
    """A code and the words beside it, in one line, are less than the same in two lines."""
    line_1, line_2 = (Cited("log", "test", "it failed", doc_id=name) for name in ("a", "b"))
    same = probabilities(found(cites=(line_1,)), found(kind="span.tls", cites=(line_1,)))
    apart = probabilities(found(cites=(line_1,)), found(kind="span.tls", cites=(line_2,)))
    alone = probabilities(found(cites=(line_1,)))
    assert alone["interface_fault"] < same["interface_fault"] < apart["interface_fault"]
