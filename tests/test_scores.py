"""The figures: equal to those of the evaluation's own script, and whole however the cases are parted or ordered."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import scores
from pipeline.backtest import answer_of
from pipeline.scores import Answer, Judged, Label, Weighed, judge
from snapshots.model import Diagnosis, Finding
from tests.snapshots_samples import dns_failure

# Labels and documents made by hand, and what the evaluation's own script gives for them: one file a document, printed by
# `--cmd 'cat {bundle}/out.json'`; a case without a document is one whose run failed.
GOLDEN = json.loads((Path(__file__).parent / "golden" / "backtest" / "hand_made.json").read_text("utf-8"))
EXPECTED = GOLDEN["expected"]


def label_of(row: dict) -> Label:
    alternates = tuple(row["alternates"].split(";")) if row["alternates"] else ()
    return Label(**{**row, "alternates": alternates, "evidence": frozenset(row["evidence"])})


def answer_in(document: dict | None) -> Answer:
    """The answer of a whole snapshot whose diagnosis and findings are the document's."""
    if document is None:
        return Answer(failed="RuntimeError: exit 1")
    snapshot = msgspec.structs.replace(
        dns_failure(),
        diagnosis=msgspec.convert(document["diagnosis"], Diagnosis),
        findings=msgspec.convert(document["findings"], list[Finding]),
    )
    return answer_of(snapshot).answer


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    return [judge(label_of(case["label"]), answer_in(case["document"])) for case in GOLDEN["cases"]]


def same(mine: float | None, theirs: float | None) -> bool:
    return mine == theirs or (mine is not None and theirs is not None and abs(mine - theirs) < 1e-12)


# ---- against the evaluation's own script


def test_every_figure_is_the_evaluation_scripts_to_the_digit(judged):
    """Under the same names, in the same order."""
    mine = scores.scores(judged)
    assert sorted(mine) == sorted(EXPECTED["scores"])
    assert {name: value for name, value in mine.items() if not same(value, EXPECTED["scores"][name])} == {}


def test_the_hand_made_cases_tell_the_figures_apart():
    """No figure is at its end, where a wrong definition would pass as well."""
    shares = [value for value in EXPECTED["scores"].values() if isinstance(value, float)]
    assert all(0 < value < 1 for value in shares)
    assert len(shares) == len(EXPECTED["scores"]) - 3


def test_every_interval_is_the_evaluation_scripts_to_the_digit(judged):
    """The same families are drawn."""
    mine = scores.intervals(judged)
    assert sorted(mine) == sorted(EXPECTED["ci95"])
    for name, ends in EXPECTED["ci95"].items():
        assert all(map(same, mine[name], ends)), name


def test_every_class_and_group_is_the_evaluation_scripts(judged):
    """Also where few cases are."""
    classes = scores.by_class(judged)
    assert sorted(classes) == sorted(EXPECTED["per_class"])
    for name, row in EXPECTED["per_class"].items():
        one = classes[name]
        assert (one.n, one.predicted) == (row["n"], row["predicted"])
        assert all(
            map(same, (one.f1, one.recall_strict, one.recall_alt), (row["f1"], row["recall_strict"], row["recall_alt"]))
        )
    for key in ("kind", "language", "channel"):
        groups = scores.groups(judged, lambda label, key=key: getattr(label, key))
        expected = EXPECTED[f"per_{key}"]
        assert sorted(groups) == sorted(expected)
        for name, figures in expected.items():
            assert all(same(groups[name].scores[figure], value) for figure, value in figures.items()), (key, name)


def test_every_case_is_right_or_not_as_the_evaluation_script_says(judged):
    assert {j.label.id: j.outcome == "right" for j in judged} == EXPECTED["right"]


# ---- laws

CLASSES = ("param_config", "signature_cert", "interface_fault", "order_state")
named = st.sampled_from((*CLASSES, "success", "pending", "unknown"))


@st.composite
def cases(draw: st.DrawFn, least: int = 0) -> list[Judged]:
    """Any labels and answers."""
    found = []
    for number in range(draw(st.integers(least, 24))):
        label = Label(
            id=f"T-{number}",
            fault_class=draw(named),
            fault_subclass=draw(st.sampled_from(("", "a", "b"))),
            alternates=tuple(draw(st.lists(st.sampled_from((*CLASSES, "order_state/a")), max_size=2))),
            kind=draw(st.sampled_from(scores.KINDS)),
            channel=draw(st.sampled_from(("", "stripe", "微信支付"))),
            language=draw(st.sampled_from(("en", "zh"))),
            family=draw(st.sampled_from(("", "f", "g"))),
            evidence=frozenset(draw(st.sets(st.sampled_from("de"), max_size=2))),
        )
        answer = Answer(
            fault_class=draw(st.one_of(st.just(""), named)),
            fault_subclass=draw(st.sampled_from(("", "a", "b"))),
            abstained=draw(st.booleans()),
            confidence=draw(st.one_of(st.none(), st.floats(0, 1))),
            candidates=tuple(draw(st.lists(named, max_size=4, unique=True))),
            seed=draw(st.sampled_from((None, "interface", "configuration", "other"))),
            missing=draw(st.booleans()),
            cited=tuple(sorted(draw(st.sets(st.sampled_from("def"), max_size=2)))),
            findings=(Weighed("wording.x", draw(st.floats(-3, 3)), "param_config"),),
            failed=draw(st.sampled_from(("", "", "", "ValueError: x"))),
        )
        found.append(judge(label, answer))
    return found


@given(cases())
def test_the_counts_of_the_groups_add_up_to_the_whole(judged):
    """By kind, channel and language; of every ratio both the cases that count and those that are right."""
    whole = scores.counts(judged)
    for key in ("kind", "channel", "language"):
        groups = scores.groups(judged, lambda label, key=key: getattr(label, key)).values()
        for name, pair in whole.items():
            parts = [group.counts[name] for group in groups]
            assert pair == (sum(right for right, _ in parts), sum(of for _, of in parts))
        for name in scores.COUNTS:
            assert scores.scores(judged)[name] == sum(group.scores[name] for group in groups)
    assert sum(one.n for one in scores.by_class(judged).values()) == scores.scores(judged)["fault_cases"]


@given(cases())
def test_the_bins_hold_each_named_case_once(judged):
    """And the calibration error is what the bins say."""
    bins = scores.reliability(judged)
    stated = [j for j in judged if j.located and not j.answer.failed and j.answer.confidence is not None]
    assert sum(one.cases for one in bins) == len(stated)
    assert all(one.right <= one.cases and (one.confidence is None) == (one.cases == 0) for one in bins)
    assert all(one.low - 1e-9 <= one.confidence <= one.high + 1e-9 for one in bins if one.confidence is not None)
    error = sum(abs(one.cases * (one.confidence or 0) - one.right) for one in bins)
    ece = scores.scores(judged)["ece"]
    assert ece is None if not stated else math.isclose(ece, error / len(stated), abs_tol=1e-9)


@given(cases(least=1), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_the_cases_changes_nothing(judged, chance):
    """Nor does it change the intervals, which are drawn."""
    other = list(judged)
    chance.shuffle(other)
    one, two = (scores.scores(js) for js in (judged, other))
    assert all(same(one[name], two[name]) for name in one)
    one, two = (scores.intervals(js, 50) for js in (judged, other))
    assert one.keys() == two.keys()
    assert all(same(a, b) for name in one for a, b in zip(one[name], two[name], strict=True))
    assert scores.by_class(judged) == scores.by_class(other)
    assert scores.reliability(judged) == scores.reliability(other)


@given(cases(least=1))
@settings(max_examples=50)
def test_a_ratio_is_right_over_counted_and_lies_inside_its_exact_interval(judged):
    figures = scores.scores(judged)
    for name, (right, of) in scores.counts(judged).items():
        assert same(figures[name], right / of if of else None)
        interval = scores.exact_interval(right, of)
        assert interval is None if not of else interval[0] <= right / of <= interval[1]


@given(cases(least=1))
@settings(max_examples=50)
def test_a_run_compared_with_itself_has_no_change(judged):
    """Nothing lost, nothing gained, no difference of any figure."""
    same_run = scores.compare({j.label.id: j.answer for j in judged}, judged, 50)
    assert (same_run.regressions, same_run.gains, same_run.others) == ((), (), ())
    assert (same_run.lost, same_run.gained, same_run.mcnemar_p) == (0, 0, 1.0)
    assert same_run.scores_before == same_run.scores_now
    assert all(ends == (0.0, 0.0) for ends in same_run.difference_ci95.values())


@given(cases(least=1), cases(least=1))
@settings(max_examples=50)
def test_what_is_lost_one_way_is_gained_the_other(first, second):
    """A comparison turned round swaps regressions and gains."""
    size = min(len(first), len(second))
    now = first[:size]
    answers = {j.label.id: other.answer for j, other in zip(now, second, strict=False)}
    before = [judge(j.label, answers[j.label.id]) for j in now]
    there = scores.compare(answers, now, 10)
    back = scores.compare({j.label.id: j.answer for j in now}, before, 10)
    assert (there.lost, there.gained) == (back.gained, back.lost)
    assert [c.id for c in there.regressions] == [c.id for c in back.gains]
    assert [c.id for c in there.others] == [c.id for c in back.others]
    assert there.mcnemar_p == back.mcnemar_p


# ---- single statements

LABEL = Label(
    id="T-1", fault_class="param_config", fault_subclass="missing_param", alternates=("signature_cert/sign_invalid",)
)
RIGHT = Answer(fault_class="param_config", fault_subclass="missing_param", confidence=0.8)


def test_an_alternate_is_right_but_not_strictly():
    """Named with its subclass, or as the class alone."""
    j = judge(LABEL, Answer(fault_class="signature_cert", fault_subclass="sign_invalid"))
    assert (j.strict, j.accepted, j.pair, j.pair_accepted, j.outcome) == (False, True, False, True, "right")
    j = judge(LABEL, Answer(fault_class="signature_cert", fault_subclass="cert_invalid"))
    assert (j.accepted, j.pair_accepted) == (True, False)


def test_a_failed_run_is_a_wrong_location():
    """It raises coverage and lowers precision, and is no abstention."""
    judged = [judge(LABEL, RIGHT), judge(replace(LABEL, id="T-2"), Answer(failed="OSError: disk"))]
    found = scores.scores(judged)
    assert (found["coverage"], found["precision_located_alt"], found["failures"]) == (1.0, 0.5, 1)
    assert judged[1].outcome == "failed"


def test_a_control_may_be_answered_by_an_abstention_or_by_no_fault():
    control = replace(LABEL, kind="control", fault_class="success", fault_subclass="approved", alternates=())
    assert judge(control, Answer(abstained=True)).outcome == "right"
    assert judge(control, Answer(fault_class="pending")).outcome == "right"
    assert judge(control, RIGHT).outcome == "wrong"


def test_to_name_a_wrong_class_where_one_abstained_is_a_regression():
    """Though neither answer is right, so that it does not count for McNemar's test."""
    wrong = judge(LABEL, Answer(fault_class="order_state", confidence=0.9))
    found = scores.compare({"T-1": Answer(abstained=True, confidence=0.4)}, [wrong], 0)
    (change,) = found.regressions
    assert (change.before, change.now, change.confidence_before, change.confidence_now) == (
        "abstained",
        "order_state",
        0.4,
        0.9,
    )
    assert (found.lost, found.gained) == (0, 0)


def test_a_comparison_tells_which_findings_moved():
    """Those that came, went or weigh otherwise; the greatest first."""
    before = (Weighed("wording.a", 1.0, "x", "pay"), Weighed("spans.b", 2.0, "x"), Weighed("same", 1.0, "x"))
    now = (
        Weighed("wording.a", 1.5, "x", "pay"),
        Weighed("new.c", 0.7, "y", None, "stripe", "E1"),
        Weighed("same", 1.01, "x"),
    )
    found = scores.moved(before, now)
    assert [(m.finding, m.before, m.now) for m in found] == [
        ("spans.b", 2.0, None),
        ("new.c stripe E1", None, 0.7),
        ("wording.a pay", 1.0, 1.5),
    ]


@pytest.mark.parametrize(("lost", "gained", "p"), [(0, 0, 1.0), (0, 5, 0.0625), (1, 9, 0.021484375), (3, 3, 1.0)])
def test_mcnemars_test_is_exact(lost, gained, p):
    """Twice the binomial tail."""
    assert scores.mcnemar(lost, gained) == pytest.approx(p)


def test_the_exact_interval_has_a_width_where_nothing_went_wrong():
    """0.025 ** (1 / 10) is its lower end for 10 of 10."""
    low, high = scores.exact_interval(10, 10)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 10)), 1.0)
