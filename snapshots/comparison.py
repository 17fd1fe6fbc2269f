"""The comparison of two documents as typed values; `snapshots.compare` makes them.

The field names are the JSON's, held stable within a major `comparison_version`.
"""

from __future__ import annotations

from typing import Literal

from snapshots.model import Evidence, Missing, Model, Outcome, Text
from snapshots.verify import CheckedEvidence

COMPARISON_VERSION = "1.0"

Moved = Literal["new", "gone", "changed"]
Value = str | int | float | bool | Text | None


class Change(Model):
    """One field with what it was and what it is."""

    name: str
    before: Value
    after: Value


class Side(Model):
    """One of the two documents."""

    snapshot_id: str
    ticket_id: str
    summary: Text
    abstained: bool
    fault_class: str | None
    confidence: float


class CandidateChange(Model):
    """One fault class with its probability in 0..1 in both documents; null where it is no candidate there."""

    fault_class: str
    before: float | None
    after: float | None
    subclass_before: str | None = None
    subclass_after: str | None = None


class FindingChange(Model):
    """One finding that came, went or counts otherwise; its weights are in log-odds for `supports`, or from `against`.

    `candidate` is the explanation that it speaks for (or against: `role`), with its probability before and after; without
    `supports` it is the one that cites it and moved most. `records_new` and
    `records_gone` count the cited records that only one of the two documents knows at all: where both are 0, the same
    records were read otherwise. `evidence` is that of the document which has the finding, the later one where both do.
    """

    change: Moved
    kind: str
    statement: Text
    weight_change: float
    evidence: list[Evidence]
    against: list[str]
    weight_before: float | None = None
    weight_after: float | None = None
    supports: str | None = None
    subclass: str | None = None
    service: str | None = None
    code: str | None = None
    id_before: str | None = None
    id_after: str | None = None
    statement_before: Text | None = None
    candidate: CandidateChange | None = None
    role: Literal["for", "against"] | None = None
    records_new: int = 0
    records_gone: int = 0


class MissingChange(Model):
    """Evidence that is missed now and was not, or the other way round."""

    change: Literal["new", "gone"]
    missing: Missing


class CheckChange(Model):
    """A check whose outcome changed; null where the document has no such check."""

    id: str
    before: Outcome | None
    after: Outcome | None
    statement: Text


class CoverageChange(Model):
    """A row of the ledger that came, went or changed. `asked_same`: both asked the source the same question."""

    change: Moved
    source: str
    what: str
    asked_same: bool
    fields: list[Change]


class TemplateChange(Model):
    """A listed log template that came, went or is counted otherwise. `contrast` is its change against the baseline."""

    change: Moved
    id: str
    text: str
    incident_before: int | None = None
    incident_after: int | None = None
    baseline_before: int | None = None
    baseline_after: int | None = None
    contrast_before: str | None = None
    contrast_after: str | None = None


class TemplatesChange(Model):
    """The listed templates: how many came, went, changed and stayed, the changed sums, and each of the former."""

    new: int
    gone: int
    changed: int
    same: int
    totals: list[Change]
    templates: list[TemplateChange]


class OrderChange(Model):
    """An order whose state, or number of events, changed. `events` counts its own and those of its payments."""

    change: Moved
    order_id: str
    before: str | None = None
    after: str | None = None
    raw_before: str | None = None
    raw_after: str | None = None
    events_before: int = 0
    events_after: int = 0


class RecordChange(Model):
    """A cited record that is at the same place with another content."""

    source: str
    place: str
    sha256_before: str
    sha256_after: str


class Inputs(Model):
    """Whether both documents were made from the same inputs, as far as documents can tell.

    `same`: the ticket, the counts of the ledger, the orders and the set of cited records are equal. `other`: one of them
    shows that they were not. `undetermined`: nothing contradicts, but the documents cite other records or asked for
    another window.
    """

    verdict: Literal["same", "other", "undetermined"]
    statement: Text
    reasons: list[Text]
    records_common: int
    records_only_before: int
    records_only_after: int
    records_changed: list[RecordChange]


class Replayed(Model):
    """How the later document was made from the earlier one, and what the sources still hold of its cited records.

    `records` are those of the earlier document that are not as they were, by their ref in it.
    """

    ticket_from: Literal["file", "bundle", "snapshot"]
    window_from: Literal["asked", "derived"]
    settings: Literal["same", "other"]
    ok: int
    changed: int
    gone: int
    unreachable: int
    unstamped: int
    records: list[CheckedEvidence]
    statements: list[Text]


class Comparison(Model):
    """Everything that changed from `before` to `after`. Equal documents give empty lists.

    `conclusion` says it in a few sentences. `parts` names every field of the document that differs, also those of which
    the lists say nothing, such as `spans` and `redaction`. `findings` stand in order of how much weight they moved, largest first.
    """

    comparison_version: str
    before: Side
    after: Side
    same_document: bool
    same_diagnosis: bool
    same_evidence: bool
    conclusion: list[Text]
    parts: list[str]
    diagnosis: list[Change]
    candidates: list[CandidateChange]
    findings: list[FindingChange]
    missing: list[MissingChange]
    checks: list[CheckChange]
    inputs: Inputs
    coverage: list[CoverageChange]
    templates: TemplatesChange
    orders: list[OrderChange]
    scope: list[Change]
    ticket: list[Change]
    provenance: list[Change]
    replay: Replayed | None = None

    @property
    def same(self) -> bool:
        """Whether diagnosis and evidence are equal, whatever else is not."""
        return self.same_diagnosis and self.same_evidence
