"""What changed between two documents is found, whatever shifted beside it, and told as it is.

What people read is held in `golden/`; after a wanted change, write it anew with `UPDATE_GOLDEN=1 pytest tests/test_compare.py`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace

from snapshots.compare import compare
from snapshots.comparison import Change, Comparison
from snapshots.model import (
    CatalogueRecord,
    Check,
    CustomerMessage,
    KnowledgeEntry,
    Missing,
    Portrait,
    ProblemSnapshot,
    Questionnaire,
    Routing,
    SelfService,
    SimilarTicket,
    Text,
    with_id,
)
from snapshots.render.comparison import OUTPUTS, render_comparison
from tests.hostile import hostile
from tests.snapshots_samples import SAMPLES, severity

GOLDEN = Path(__file__).parent / "golden"
SUFFIXES = {"table": "txt", "md": "md"}
S = SAMPLES["wechat_signature"]
D = S.diagnosis
NAME = "parameter configuration · Signature / certificate fault › Request signature invalid"


def changed(**fields: Any) -> ProblemSnapshot:
    """The sample with other fields."""
    return with_id(replace(S, **fields))


def diagnosed(**fields: Any) -> ProblemSnapshot:
    """The sample with another diagnosis."""
    return changed(diagnosis=replace(D, **fields))


def later() -> ProblemSnapshot:
    """The sample as it may be after its strongest finding was lost and the tables have changed."""
    rest = S.findings[1:]
    rest[0] = replace(rest[0], weight=rest[0].weight + 0.5)
    top, *others = D.candidates
    order = replace(S.orders[0], state="CLOSED", raw_state="closed", history=[*S.orders[0].history, "closed"])
    template = replace(S.templates[0], incident_count=S.templates[0].incident_count + 7)
    ask = Missing(source="channel", question=Text(en="What did the channel answer?", zh="渠道的应答是什么？"))
    checks = [replace(S.checks[0], outcome="not_evaluated"), *S.checks[1:]]
    return changed(
        diagnosis=replace(
            D,
            abstained=True,
            fault_class=None,
            fault_subclass=None,
            class_name=None,
            confidence=0.41,
            candidates=[replace(top, probability=0.41, findings=["F1"]), *others],
            missing=[ask],
        ),
        findings=[replace(f, id=f"F{n}") for n, f in enumerate(rest, 1)],
        checks=checks,
        coverage=[replace(S.coverage[0], used=S.coverage[0].used - 1), *S.coverage[1:]],
        orders=[order],
        templates=[template, *S.templates[2:]],
        provenance=replace(S.provenance, tables_sha256="b" * 64, tool_version="0.2.0"),
        ticket=replace(S.ticket, title="另一个标题"),
        scope=replace(S.scope, anchor="2026-01-01T00:00:00Z"),
    )


LOST = S.findings[0]
LATER = later()
ALIKE = SimilarTicket(id="a", title="a", closed_at="2026-11-01T00:00:00Z", score=0.5, reasons=[Text(en="a", zh="b")])
KNOWN = KnowledgeEntry(id="a", title=Text(en="a", zh="b"), score=0.5, reasons=[], sha256="")
ROUTED = Routing(abstained=False, reason=Text(en="a", zh="b"), line=Text(en="a", zh="b"))


# ---- the laws


@pytest.mark.parametrize("name", SAMPLES)
def test_a_document_is_the_same_as_itself(name):
    found = compare(SAMPLES[name], SAMPLES[name])
    assert found.same
    assert found.same_document
    assert found.inputs.verdict == "same"
    lists = {key: value for key, value in msgspec.structs.asdict(found).items() if isinstance(value, list)}
    assert {key for key, value in lists.items() if value} == {"conclusion"}
    assert found.templates.templates == found.templates.totals == []


@given(st.permutations(range(len(S.findings))), st.integers(0, 30))
def test_the_number_of_a_finding_and_its_place_mean_nothing(order, shift):
    """The candidates' lists are renumbered with them."""
    names = {f.id: f"F{shift + n}" for n, f in enumerate(S.findings)}
    candidates = [
        replace(c, findings=[names.get(f, f) for f in c.findings], against=[names.get(f, f) for f in c.against])
        for c in D.candidates
    ]
    again = replace(
        S,
        findings=[replace(S.findings[n], id=names[S.findings[n].id]) for n in order],
        diagnosis=replace(D, candidates=candidates),
    )
    found = compare(S, again)
    assert found.same
    assert found.findings == []


@pytest.mark.parametrize("one", SAMPLES)
@pytest.mark.parametrize("other", SAMPLES)
def test_the_other_way_round_what_came_went(one, other):
    there, back = compare(SAMPLES[one], SAMPLES[other]), compare(SAMPLES[other], SAMPLES[one])
    turned = {"new": "gone", "gone": "new", "changed": "changed"}

    def moves(found: Comparison, *, turn: bool) -> list[tuple[Any, ...]]:
        return sorted(
            (turned[f.change] if turn else f.change, f.kind, round(-f.weight_change if turn else f.weight_change, 4))
            for f in found.findings
        )

    assert moves(there, turn=False) == moves(back, turn=True)
    assert there.same == back.same == (one == other)
    assert there.inputs.verdict == back.inputs.verdict
    assert there.templates.new == back.templates.gone
    assert there.inputs.records_only_before == back.inputs.records_only_after


@given(st.lists(st.floats(-5, 5, allow_nan=False), min_size=len(S.findings), max_size=len(S.findings)))
def test_findings_stand_in_order_of_the_weight_they_moved(weights):
    again = replace(S, findings=[replace(f, weight=w) for f, w in zip(S.findings, weights, strict=True)])
    moved = [abs(f.weight_change) for f in compare(S, again).findings]
    assert moved == sorted(moved, reverse=True)


def test_equal_documents_give_equal_bytes_that_can_be_read_back():
    first, second = (render_comparison(compare(S, LATER), "json") for _ in range(2))
    assert first == second
    assert msgspec.json.decode(first, type=Comparison) == compare(S, LATER)


# ---- which evidence moved it


def test_a_lost_finding_is_named_first_with_the_probability_that_it_moved():
    found = compare(S, LATER)
    first = found.findings[0]
    assert (first.change, first.statement, first.weight_change) == ("gone", LOST.statement, -LOST.weight)
    assert first.candidate is not None
    assert (first.candidate.before, first.candidate.after) == (D.candidates[0].probability, 0.41)
    assert first.evidence == LOST.evidence
    told = found.conclusion[1]
    assert LOST.statement.en in told.en
    assert LOST.statement.zh in told.zh
    assert [f.change for f in found.findings] == ["gone", "changed"]


def test_a_finding_that_counts_more_rows_today_is_the_same_one_changed():
    statement = Text(en="12 of 40 calls timed out", zh="40 次调用中 12 次超时")
    before = replace(S, findings=[replace(S.findings[0], statement=statement), *S.findings[1:]])
    statement = Text(en="13 of 41 calls timed out", zh="41 次调用中 13 次超时")
    after = replace(S, findings=[replace(S.findings[0], statement=statement), *S.findings[1:]])
    (moved,) = compare(before, after).findings
    assert (moved.change, moved.statement_before) == ("changed", before.findings[0].statement)


def test_two_findings_of_one_kind_that_say_different_things_are_not_taken_for_each_other():
    def named(*words: str) -> ProblemSnapshot:
        findings = [replace(S.findings[0], id=f"F{n}", statement=Text(en=w, zh=w)) for n, w in enumerate(words)]
        return replace(S, findings=findings)

    found = compare(named("disk full", "key lost"), named("host gone", "port shut"))
    assert sorted(f.change for f in found.findings) == ["gone", "gone", "new", "new"]
    reworded = compare(named("disk full"), named("the disk is full"))
    assert [f.change for f in reworded.findings] == ["changed"]


def test_where_no_finding_changed_it_is_said_that_they_are_counted_otherwise():
    found = compare(S, diagnosed(candidates=[replace(D.candidates[0], probability=0.5)], confidence=0.5))
    assert not found.same_diagnosis
    assert found.findings == []
    assert "counted otherwise" in found.conclusion[1].en


def test_a_finding_for_no_class_is_said_to_move_the_one_that_cites_it_and_which_way():
    """As a finding does that only rules something out."""
    only = replace(S.findings[0], id="F9", supports=None, subclass=None, kind="retry.none", weight=0.7)
    top, *others = D.candidates
    again = diagnosed(candidates=[replace(top, probability=0.2, against=[*top.against, "F9"]), *others])
    (moved,) = compare(S, replace(again, findings=[*S.findings, only])).findings
    assert moved.candidate is not None
    assert (moved.role, moved.candidate.fault_class, moved.candidate.after) == ("against", top.fault_class, 0.2)
    out = replace(S.findings[0], id="F7", supports=None, subclass=None, against=[top.fault_class], weight=-1.1)
    (moved,) = compare(S, replace(S, findings=[*S.findings, out])).findings
    assert moved.candidate is not None
    assert (moved.role, moved.candidate.fault_class, moved.against) == ("against", top.fault_class, [top.fault_class])
    quiet = replace(S.findings[0], supports=None, subclass=None, kind="gap.hole", weight=0.0)
    assert compare(S, replace(S, findings=[*S.findings, replace(quiet, id="F8")])).findings[0].candidate is None


def test_the_same_answer_with_another_probability_is_told_as_that():
    """In both directions, and also of an abstention."""
    less = compare(S, diagnosed(confidence=0.7)).conclusion[0]
    assert less.en == f"The answer stays {NAME}; how sure: 88.0 % → 70.0 %."
    assert "70.0 % → 88.0 %" in compare(diagnosed(confidence=0.7), S).conclusion[0].zh
    hole = SAMPLES["log_hole"]
    again = replace(hole, diagnosis=replace(hole.diagnosis, confidence=0.01))
    assert compare(hole, again).conclusion[0].en.startswith("The answer stays not decided (")
    top, *others = hole.diagnosis.candidates
    turned = [replace(top, probability=0.0), *others]
    another = replace(hole, diagnosis=replace(hole.diagnosis, candidates=turned))
    assert compare(hole, another).conclusion[0].en.startswith("The diagnosis moved: not decided (")
    other = compare(S, diagnosed(owner="issuer")).conclusion[0].en
    assert other == f"The answer stays {NAME}, 88.0 %, but not all of the diagnosis is the same."


def test_a_class_in_another_subclass_is_one_explanation_that_moved():
    top = replace(D.candidates[0], fault_subclass="other_subclass", probability=0.3)
    rows = compare(S, diagnosed(candidates=[top, *D.candidates[1:]])).candidates
    (row,) = [one for one in rows if one.subclass_after == "other_subclass"]
    assert (row.subclass_before, row.before, row.after) == (
        D.candidates[0].fault_subclass,
        D.candidates[0].probability,
        0.3,
    )


# ---- the inputs


def test_other_tables_over_the_same_inputs_are_told_as_such():
    found = compare(S, changed(provenance=replace(S.provenance, tables_sha256="b" * 64)))
    assert found.same
    assert found.inputs.verdict == "same"
    assert found.inputs.statement.en == "Same inputs as far as the documents tell; other fault tables."
    assert [change.name for change in found.provenance] == ["tables_sha256"]


def test_a_record_with_another_content_at_the_same_place_means_other_inputs():
    evidence = [replace(S.findings[0].evidence[0], sha256="c" * 64), *S.findings[0].evidence[1:]]
    found = compare(S, changed(findings=[replace(S.findings[0], evidence=evidence), *S.findings[1:]]))
    assert found.inputs.verdict == "other"
    (record,) = found.inputs.records_changed
    assert record.sha256_after == "c" * 64
    assert not found.same_evidence


def test_other_records_cited_prove_nothing_about_the_inputs():
    first = S.findings[0]
    more = replace(first.evidence[0], ref="E99", doc_id="another", sha256="d" * 64)
    found = compare(S, changed(findings=[replace(first, evidence=[*first.evidence, more]), *S.findings[1:]]))
    assert found.inputs.verdict == "undetermined"
    assert found.findings[0].records_new == 1


def test_a_source_that_answers_the_same_question_otherwise_means_other_inputs_and_parsing_otherwise_does_not():
    row = S.coverage[0]
    fetched = compare(S, changed(coverage=[replace(row, fetched=row.fetched + 1), *S.coverage[1:]]))
    used = compare(S, changed(coverage=[replace(row, used=row.used + 1), *S.coverage[1:]]))
    asked = compare(S, changed(coverage=[replace(row, fetched=1, asked="another question"), *S.coverage[1:]]))
    down = compare(S, changed(coverage=[replace(row, status="failed", asked="another question"), *S.coverage[1:]]))
    found = [one.inputs.verdict for one in (fetched, used, asked, down)]
    assert found == ["other", "undetermined", "undetermined", "other"]
    assert fetched.coverage[0].fields == [Change(name="fetched", before=row.fetched, after=row.fetched + 1)]


def test_snapshots_of_different_tickets_are_compared_and_told_apart():
    found = compare(S, SAMPLES["dns_failure"])
    assert "different tickets: TK-46022 and TK-33097" in found.conclusion[0].en
    assert found.inputs.verdict == "other"


# ---- everything else that may change


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("diagnosis", diagnosed(owner="issuer")),
        ("candidates", diagnosed(candidates=D.candidates[:1])),
        ("missing", diagnosed(missing=[Missing(source="logs", question=Text(en="Where?", zh="哪里？"))])),
        ("checks", changed(checks=[replace(S.checks[0], outcome="found"), *S.checks[1:]])),
        ("checks", changed(checks=[*S.checks, Check(id="x", outcome="found", statement=Text(en="x", zh="x"))])),
        ("coverage", changed(coverage=S.coverage[1:])),
        ("orders", changed(orders=[])),
        ("orders", changed(payment_attempts=S.payment_attempts[1:])),
        ("scope", changed(scope=replace(S.scope, focus_orders=["another"]))),
        ("ticket", changed(ticket=replace(S.ticket, questionnaire={"a": 1}))),
        ("provenance", changed(provenance=replace(S.provenance, settings_sha256="e" * 64))),
    ],
)
def test_each_part_tells_its_own_change_and_no_other_does(part, other):
    found = compare(S, other)
    parts = ("diagnosis", "candidates", "findings", "missing", "checks", "coverage", "orders", "scope", "ticket")
    assert [name for name in (*parts, "provenance") if getattr(found, name)] == [part]
    assert not found.same_document
    assert found.same == (part not in {"diagnosis", "candidates", "missing"})
    assert found.same or part in {"diagnosis", "candidates", "missing"}


@pytest.mark.parametrize("part", [name for name in S.__struct_fields__ if name != "snapshot_id"])
def test_no_difference_goes_unnamed(part):
    """Also where only the part as a whole is named."""
    other = SAMPLES["duplicate_charge"] if part != "provenance" else LATER
    different = {"schema_version": "1.1", "severity": severity("P4"), "routing": ROUTED}
    different |= {
        "customer_message": CustomerMessage(en="a", zh="b"),
        "similar_tickets": [ALIKE],
        "knowledge": [KNOWN],
        "catalogue": CatalogueRecord(digest="a" * 64, start=None, end=None, lines=1, templates=1, never_seen=0),
        "questions": Questionnaire(omitted=1),
        "portrait": Portrait(tickets=1),
        "self_service": SelfService(en=["a"], zh=[], entry="a", title=Text(en="a", zh="b"), share=1, sha256="a" * 64),
    }
    again = with_id(replace(S, **{part: different.get(part, getattr(other, part))}))
    found = compare(S, again)
    assert found.parts == [part]
    assert part in render_comparison(found, "table")
    assert not found.same_document


def test_templates_are_counted_as_new_gone_changed_and_the_same():
    a, b, *rest = S.templates
    come = replace(a, id="new", text="new")
    moved = compare(S, changed(templates=[replace(b, incident_count=b.incident_count + 1), come, *rest])).templates
    assert (moved.new, moved.gone, moved.changed, moved.same) == (1, 1, 1, len(rest))


# ---- what people read


@pytest.mark.parametrize("output", SUFFIXES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_people_read_is_held_in_golden_files(language, output):
    text = render_comparison(compare(S, LATER), output, language=language, full=True)
    path = GOLDEN / f"comparison.{language}.{SUFFIXES[output]}"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_ends_in_one_newline_and_an_unknown_one_is_refused(output):
    text = render_comparison(compare(S, LATER), output)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    with pytest.raises(ValueError, match="no output 'html'"):
        render_comparison(compare(S, LATER), "html")


def test_what_is_left_out_of_a_table_is_counted():
    many = [replace(S.findings[0], id=f"F{n}", code=f"C{n}") for n in range(30)]
    found = compare(S, replace(S, findings=many))
    total = len(found.findings)
    assert f"10 of {total} shown" in render_comparison(found, "table")
    assert "shown" not in render_comparison(found, "table", full=True)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_text_from_outside_cannot_act_on_the_reader(language):
    found = compare(hostile("wechat_signature"), hostile("dns_failure"))
    text = render_comparison(found, "table", language=language, full=True)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    page = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(
        render_comparison(found, "md", language=language, full=True)
    )
    assert not re.search(r"<(script|img|a) ", page)
    assert "<script>" not in page
