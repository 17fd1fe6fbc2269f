"""Checks a document against itself and its evidence against the sources it came from.

A snapshot is only worth its evidence. `verify` opens every cited record again, compares its sha256, and says for each one
whether it is still there and still the same; it also checks what the document says about itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from snapshots.model import Evidence, Model, ProblemSnapshot, Questionnaire, sha256_hex, with_id

State = Literal["ok", "gone", "changed", "unstamped", "unreachable"]


@dataclass(frozen=True)
class Pointer:
    """What a source needs to open one record again: the fields of `Evidence` that name it."""

    kind: Literal["log", "span", "order_event"]
    index: str | None = None
    doc_id: str | None = None
    file: str | None = None
    start: int | None = None
    end: int | None = None
    at: str | None = None


class Resolver(Protocol):
    """A source that can open its records again."""

    def resolve(self, pointers: Iterable[Any], /) -> Mapping[Any, bytes | None]:
        """The canonical bytes of each `Pointer`, keyed by it, or None where the record is gone.

        `Any`, because a source may know these fields under a class of its own. May raise whatever it fails with.
        """
        ...


class CheckedEvidence(Model, frozen=True):
    """One cited record: `ok`, `gone`, `changed` since, or in a source that is `unreachable`, with the reason.

    `unstamped` is a record that is there, but whose sha256 the document never had: nothing can be said of it.
    """

    ref: str
    source: str
    state: State
    reason: str = ""


class VerifyReport(Model, frozen=True):
    """What `verify` found: one row a ref, and the document's contradictions with itself."""

    snapshot_id: str
    evidence: list[CheckedEvidence]
    problems: list[str]

    def count(self, state: State) -> int:
        """How many cited records are in `state`."""
        return sum(row.state == state for row in self.evidence)

    @property
    def drifted(self) -> bool:
        """Whether the document contradicts itself, or a record is gone or changed; an unstamped one is no drift."""
        return bool(self.problems) or self.count("gone") + self.count("changed") > 0

    @property
    def ok(self) -> bool:
        """Whether the document is sound and every record was found unchanged."""
        return not self.problems and self.count("ok") == len(self.evidence)


def pointer_of(evidence: Evidence) -> Pointer:
    """The fields of `evidence` that name its record."""
    e = evidence
    return Pointer(e.kind, e.index, e.doc_id, e.file, e.start, e.end, e.at)


def verify(snapshot: ProblemSnapshot, open_source: Callable[[str], Resolver | None]) -> VerifyReport:
    """Opens every record that `snapshot` cites and compares it.

    `open_source` gives the source of a name, or None where none of that name is configured; whoever opened a source
    closes it. A source that fails makes its records `unreachable`: it never stops the others and is never taken for drift.
    """
    cited: dict[str, list[Evidence]] = {}
    for evidence in all_evidence(snapshot):
        same = cited.setdefault(evidence.ref, [])
        if evidence not in same:
            same.append(evidence)
    by_source: dict[str, list[Evidence]] = {}
    for same in cited.values():
        by_source.setdefault(same[0].source, []).append(same[0])
    checked = {row.ref: row for name, rows in by_source.items() for row in _check_source(name, rows, open_source)}
    return VerifyReport(
        snapshot_id=snapshot.snapshot_id,
        evidence=[checked[ref] for ref in cited],
        problems=list(_contradictions(snapshot, cited)),
    )


def all_evidence(snapshot: ProblemSnapshot) -> Iterator[Evidence]:
    """Every citation of the document, repeated ones included: findings first, then templates' examples, then known answers."""
    for finding in snapshot.findings:
        yield from finding.evidence
    for template in snapshot.templates:
        yield from template.examples
    if isinstance(snapshot.questions, Questionnaire):
        for known in snapshot.questions.known:
            yield from known.evidence


def _check_source(
    name: str, rows: list[Evidence], open_source: Callable[[str], Resolver | None]
) -> Iterable[CheckedEvidence]:
    try:
        source = open_source(name)
        answers = source.resolve(list(dict.fromkeys(map(pointer_of, rows)))) if source else None
    except Exception as error:  # noqa: BLE001  # a source may fail in any way; that is a result here, not a crash
        reason = str(error) or type(error).__name__
        return [CheckedEvidence(ref=row.ref, source=name, state="unreachable", reason=reason) for row in rows]
    if answers is None:
        reason = f"no source named {name!r} is configured here"
        return [CheckedEvidence(ref=row.ref, source=name, state="unreachable", reason=reason) for row in rows]
    return [_compare(row, answers) for row in rows]


def _compare(row: Evidence, answers: Mapping[Pointer, bytes | None]) -> CheckedEvidence:
    pointer = pointer_of(row)
    state: State
    if pointer not in answers:
        state, reason = "unreachable", "the source did not answer for this record"
    elif (record := answers[pointer]) is None:
        state, reason = "gone", "the record is no longer there"
    elif not row.sha256:
        state, reason = (
            "unstamped",
            "the document has no sha256 of it: its source did not answer in time when it was taken",
        )
    elif (now := sha256_hex(record)) == row.sha256:
        state, reason = "ok", ""
    else:
        state, reason = "changed", f"its sha256 is now {now[:12]}…, the document says {row.sha256[:12]}…"
    return CheckedEvidence(ref=row.ref, source=row.source, state=state, reason=reason)


def _contradictions(s: ProblemSnapshot, cited: Mapping[str, list[Evidence]]) -> Iterator[str]:
    right = with_id(s).snapshot_id
    if s.snapshot_id != right:
        yield f"snapshot_id is {s.snapshot_id!r}, but the content gives {right!r}: the document was edited"
    for ref, rows in cited.items():
        if len(rows) > 1:
            yield f"{ref} names {len(rows)} different records"
    ids = [finding.id for finding in s.findings]
    for repeated in sorted({name for name in ids if ids.count(name) > 1}):
        yield f"finding {repeated} is there {ids.count(repeated)} times"
    known = set(ids)
    for candidate in s.diagnosis.candidates:
        for ref in dict.fromkeys([*candidate.findings, *candidate.against]):
            if ref not in known:
                yield f"candidate {candidate.fault_class}/{candidate.fault_subclass} cites finding {ref}, which is not there"
    yield from _sums(s)


def _sums(s: ProblemSnapshot) -> Iterator[str]:
    t = s.template_totals
    listed_lines = sum(one.incident_count + one.baseline_count + one.outside_count for one in s.templates)
    laws = [
        ("incident + baseline + outside", t.incident + t.baseline + t.outside, "lines", t.lines),
        ("listed", t.listed, "the templates in the document", len(s.templates)),
        ("listed + unlisted_templates", t.listed + t.unlisted_templates, "templates", t.templates),
        ("the listed templates' lines + unlisted_lines", listed_lines + t.unlisted_lines, "lines", t.lines),
    ]
    for left, left_sum, right, right_sum in laws:
        if left_sum != right_sum:
            yield f"template_totals do not add up: {left} = {left_sum}, but {right} = {right_sum}"
