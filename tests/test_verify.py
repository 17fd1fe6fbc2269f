"""`verify` tells drift from silence, and a sound document from an edited one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from snapshots.model import ProblemSnapshot, with_id
from snapshots.verify import Pointer, pointer_of, verify
from tests.snapshots_samples import RECORDS, SAMPLES


class Records:
    """A source that holds the samples' records, some of them altered or missing."""

    def __init__(self, name: str, altered: dict[str, bytes | None] | None = None) -> None:
        self.name = name
        self.altered = altered or {}
        self.asked: list[Pointer] = []

    def resolve(self, pointers: Iterable[Any], /) -> dict[Any, bytes | None]:
        """The records of `pointers`."""
        self.asked += pointers
        found = {p: RECORDS.get((self.name, p.kind, p.index, p.doc_id, p.file, p.start, p.end)) for p in self.asked}
        return {p: self.altered.get(p.doc_id, record) for p, record in found.items()}


def edited(snapshot: ProblemSnapshot, **changes: Any) -> ProblemSnapshot:
    """`snapshot` with other content under a right id."""
    return with_id(msgspec.structs.replace(snapshot, **changes))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sound_document_verifies(name):
    report = verify(SAMPLES[name], Records)
    assert report.ok
    assert not report.drifted
    assert report.problems == []
    assert report.count("ok") == len(report.evidence) > 0


def test_each_source_is_opened_once_and_asked_for_each_record_once():
    opened: list[Records] = []

    def open_source(name):
        opened.append(Records(name))
        return opened[-1]

    report = verify(SAMPLES["dns_failure"], open_source)
    assert sorted(source.name for source in opened) == ["logs-prod", "orders", "traces"]
    asked = [pointer for source in opened for pointer in source.asked]
    assert len(asked) == len(set(asked)) == len(report.evidence) == 6


def test_a_changed_record_and_a_vanished_one_are_drift_and_named_by_ref():
    altered = {"eL9JnjkC000011a7": b'{"message":"other"}', "eL9JnjkC000011a9": None}
    report = verify(SAMPLES["dns_failure"], lambda name: Records(name, altered))
    assert {row.ref: row.state for row in report.evidence if row.state != "ok"} == {"E1": "changed", "E3": "gone"}
    assert report.drifted
    assert not report.ok


def test_a_record_without_a_sha256_is_unstamped_and_no_drift():
    s = SAMPLES["dns_failure"]
    first, *rest = s.findings
    bare = [msgspec.structs.replace(evidence, sha256="") for evidence in first.evidence]
    again = {evidence.ref: evidence for evidence in bare}
    templates = [
        msgspec.structs.replace(t, examples=[again.get(one.ref, one) for one in t.examples]) for t in s.templates
    ]
    others = [msgspec.structs.replace(f, evidence=[again.get(e.ref, e) for e in f.evidence]) for f in rest]
    document = edited(s, findings=[msgspec.structs.replace(first, evidence=bare), *others], templates=templates)
    report = verify(document, Records)
    assert {row.ref for row in report.evidence if row.state == "unstamped"} == set(again)
    assert report.count("ok") + len(again) == len(report.evidence)
    assert (report.count("changed"), report.problems, report.drifted, report.ok) == (0, [], False, False)
    assert all("no sha256" in row.reason for row in report.evidence if row.state == "unstamped")
    # One that is no longer there is gone, stamped or not.
    altered = dict.fromkeys((evidence.doc_id for evidence in bare), None)
    assert verify(document, lambda name: Records(name, altered)).drifted


def test_a_source_that_fails_is_unreachable_and_does_not_stop_the_others():
    class Down:
        def resolve(self, pointers, /):
            message = f"traces.internal:16686 refused the connection ({len(pointers)} records)"
            raise ConnectionError(message)

    report = verify(SAMPLES["dns_failure"], lambda name: Down() if name == "traces" else Records(name))
    assert {row.ref for row in report.evidence if row.state == "unreachable"} == {"E2", "E6"}
    assert "refused the connection (2 records)" in next(row.reason for row in report.evidence if row.ref == "E2")
    assert report.count("ok") == 4
    assert not report.drifted
    assert not report.ok


def test_a_source_that_is_not_configured_is_unreachable_by_name():
    report = verify(SAMPLES["log_hole"], lambda _name: None)
    assert {row.state for row in report.evidence} == {"unreachable"}
    assert "'bundle'" in report.evidence[0].reason


def test_a_record_without_an_answer_is_not_taken_for_gone():
    class Silent:
        def resolve(self, pointers, /):  # noqa: ARG002
            return {}

    assert {row.state for row in verify(SAMPLES["log_hole"], lambda _name: Silent()).evidence} == {"unreachable"}


def test_a_document_edited_by_hand_is_found_out():
    forged = msgspec.structs.replace(SAMPLES["dns_failure"], orders=[])
    report = verify(forged, Records)
    assert any("edited" in problem for problem in report.problems)
    assert report.drifted


def test_one_ref_for_two_records_is_a_problem():
    s = SAMPLES["dns_failure"]
    other = msgspec.structs.replace(s.findings[1].evidence[0], ref="E1")
    findings = [s.findings[0], msgspec.structs.replace(s.findings[1], evidence=[other]), *s.findings[2:]]
    assert verify(edited(s, findings=findings), Records).problems == ["E1 names 2 different records"]


def test_a_finding_that_is_cited_but_absent_or_there_twice_is_a_problem():
    s = SAMPLES["wechat_signature"]
    assert any("cites finding F4" in p for p in verify(edited(s, findings=s.findings[:3]), Records).problems)
    assert "finding F4 is there 2 times" in verify(edited(s, findings=[*s.findings, s.findings[3]]), Records).problems


@pytest.mark.parametrize(
    "field", ["lines", "incident", "outside", "templates", "listed", "unlisted_templates", "unlisted_lines"]
)
def test_template_totals_that_do_not_add_up_are_a_problem(field):
    s = SAMPLES["dns_failure"]
    totals = msgspec.structs.replace(s.template_totals, **{field: getattr(s.template_totals, field) + 100})
    problems = verify(edited(s, template_totals=totals), Records).problems
    assert problems
    assert all("do not add up" in problem for problem in problems)


def test_a_pointer_keeps_every_field_that_names_the_record():
    evidence = SAMPLES["wechat_signature"].findings[3].evidence[0]
    assert pointer_of(evidence) == Pointer(
        "log", None, None, "logs/billing-api.log", 88_120, 88_231, "2026-10-11T18:12:02.100Z"
    )
