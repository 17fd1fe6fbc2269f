"""The JSON that a webhook is sent: `type`, `timestamp` and `data`, as Standard Webhooks lays out, and a `version`.

Within a version fields are only added. The document itself has its own `schema_version` (`problem-snapshot schema`).
"""

from __future__ import annotations

from datetime import UTC
from typing import Any, Literal

import msgspec

from pipeline.notify.target import Event, EventKind, level_of
from snapshots.model import Coverage, Finding, ProblemSnapshot, Text
from snapshots.render.reader import Verdict

VERSION: Literal["1"] = "1"
# What Standard Webhooks asks for.
LIMIT = 20_000
# How many findings are told, and how long a text may be: the first pair that fits is taken.
_ROOM = ((5, 400), (3, 400), (1, 400), (0, 400), (0, 100), (0, 20))


class TicketRef(msgspec.Struct, frozen=True, kw_only=True):
    """Which ticket. `title` is redacted, as everything is."""

    id: str
    system: str
    title: str
    created_at: str


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Where the fault sits, as far as the evidence tells."""

    service: str | None
    operation: str | None
    host: str | None
    channel: str | None


class FindingRef(msgspec.Struct, frozen=True, kw_only=True):
    """One finding: its id in the document, what it says, which records it cites, what it weighs in log-odds."""

    id: str
    kind: str
    statement: Text
    evidence: tuple[str, ...]
    weight: float


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """A source that could not be read, or not in full: `matched` is null where it could not tell."""

    source: str
    what: str
    status: str
    matched: int | None
    fetched: int
    sampled: bool


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """Where to read on; null where there is no such place."""

    page: str | None
    document: str | None
    ticket: str | None
    acknowledge: str | None = None


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, in short. `omitted` counts findings that are only in the document."""

    snapshot_id: str
    schema_version: str
    replaces: str | None
    ticket: TicketRef
    verdict: Verdict
    severity: str | None
    seed_class: str | None
    fault_class: str | None
    fault_subclass: str | None
    confidence: float
    summary: Text
    location: Location
    owner: str | None
    first_action: Text | None
    questions: tuple[Text, ...]
    findings: tuple[FindingRef, ...]
    omitted: int
    orders: int
    channels: tuple[str, ...]
    unread: tuple[Unread, ...]
    links: Links
    document: dict[str, Any] | None = None
    # What the desk has to say: a warning or a call.
    said: Text | None = None


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """The whole body. `timestamp` is when it happened, in UTC."""

    type: EventKind
    timestamp: str
    version: Literal["1"]
    data: Data


def payload_bytes(event: Event, *, document: bool = False) -> bytes:
    """The body of an event: under 20 kB, findings left out and texts cut where there is no room.

    `document` adds the whole snapshot, however large it is.
    """
    for findings, room in _ROOM:
        data = _Teller(event, room).data(findings)
        body = _encoded(event, data)
        if len(body) < LIMIT:
            break
    if document:
        return _encoded(event, msgspec.structs.replace(data, document=msgspec.to_builtins(event.snapshot)))
    return body


def _encoded(event: Event, data: Data) -> bytes:
    moment = event.at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return msgspec.json.encode(Payload(type=event.kind, timestamp=moment, version=VERSION, data=data))


class _Teller:
    """Tells one event, no text longer than `room` characters."""

    def __init__(self, event: Event, room: int) -> None:
        self.event = event
        self.room = room

    def data(self, findings: int) -> Data:
        """What was found, with so many findings."""
        event, s, d = self.event, self.event.snapshot, self.event.snapshot.diagnosis
        ranked = sorted((f for f in s.findings if f.evidence), key=lambda f: (-f.weight, not f.about_focus))[:findings]
        place = {name: self.cut(value) for name, value in msgspec.structs.asdict(d.location).items()}
        questions = d.missing[:3] if d.abstained else []
        return Data(
            snapshot_id=s.snapshot_id,
            schema_version=s.schema_version,
            replaces=event.replaces,
            ticket=TicketRef(
                id=s.ticket.id,
                system=s.ticket.system,
                title=self.cut(s.ticket.title) or "",
                created_at=s.ticket.created_at,
            ),
            verdict=event.verdict,
            severity=self.cut(event.level or level_of(s) or None),
            seed_class=d.seed_class,
            fault_class=d.fault_class,
            fault_subclass=d.fault_subclass,
            confidence=d.confidence,
            summary=self.text(d.summary),
            location=Location(**place),
            owner=self.cut(d.owner),
            first_action=self.text(d.first_action) if d.first_action else None,
            questions=tuple(self.text(missing.question) for missing in questions),
            findings=tuple(self.finding(f) for f in ranked),
            omitted=len(s.findings) - len(ranked),
            orders=len(s.scope.focus_orders),
            channels=tuple(self.cut(channel) or "" for channel in s.scope.channels[:10]),
            unread=tuple(self.unread(row) for row in _not_read(s)[:10]),
            links=Links(
                page=event.links.page or None,
                document=event.links.document or None,
                ticket=event.links.ticket or None,
                acknowledge=event.links.acknowledge or None,
            ),
            said=self.text(event.said) if event.said else None,
        )

    def finding(self, found: Finding) -> FindingRef:
        """One finding without its records."""
        return FindingRef(
            id=found.id,
            kind=found.kind,
            statement=self.text(found.statement),
            evidence=tuple(dict.fromkeys(e.ref for e in found.evidence[:5])),
            weight=found.weight,
        )

    def unread(self, row: Coverage) -> Unread:
        """One source that was not read, or not in full."""
        return Unread(
            source=self.cut(row.source) or "",
            what=row.what,
            status=row.status,
            matched=row.matched,
            fetched=row.fetched,
            sampled=row.sampled,
        )

    def text(self, text: Text) -> Text:
        """Both languages of a text."""
        return Text(en=self.cut(text.en) or "", zh=self.cut(text.zh) or "")

    def cut(self, text: str | None) -> str | None:
        """A text as far as there is room for it."""
        return text if text is None or len(text) <= self.room else text[: self.room - 2] + " …"


def _not_read(snapshot: ProblemSnapshot) -> list[Coverage]:
    return [row for row in snapshot.coverage if row.status in {"failed", "partial"} or row.sampled or row.cut]
