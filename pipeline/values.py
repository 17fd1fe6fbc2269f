"""The values that travel down the flow. Each step takes the previous one's and returns its own; none is changed in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, runtime_checkable

import pyarrow as pa

from snapshots.model import Check, Coverage, Evidence, FetchPlan, Hop, Identifier, Text

What = Literal["logs", "spans", "order_events"]


@dataclass(frozen=True)
class Ticket:
    """A customer's ticket as its system holds it. `created_at` is aware; its offset is the ticket's zone."""

    id: str
    title: str
    description: str
    created_at: datetime
    system: str = "file"
    language: str = "en"
    customer_id: str | None = None
    questionnaire: Mapping[str, Any] = field(default_factory=dict)
    custom_fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Span:
    """A half-open span of time, both ends aware and in UTC."""

    start: datetime
    end: datetime

    def widened(self, before: timedelta, after: timedelta) -> Span:
        """The same span, longer at both ends."""
        return Span(self.start - before, self.end + after)

    def covers(self, other: Span) -> bool:
        """Whether `other` lies inside."""
        return self.start <= other.start and other.end <= self.end


@dataclass(frozen=True)
class Scope:
    """Whom and when the ticket is about.

    `window` is the incident, `baseline` the time before it that it is compared with, `anchor` the moment that the
    customer seems to mean.
    """

    window: Span
    baseline: Span
    anchor: datetime
    reason: Text
    identifiers: tuple[Identifier, ...] = ()
    hops: tuple[Hop, ...] = ()
    focus_orders: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    # How sure the window is: said by the customer, taken from order events, or only assumed from the ticket's time.
    window_from: Literal["option", "said", "orders", "assumed"] = "assumed"

    def values(self, *kinds: str) -> tuple[str, ...]:
        """The identifiers' values of the given kinds (all kinds without one), in order of discovery, each once."""
        return tuple(dict.fromkeys(i.value for i in self.identifiers if not kinds or i.kind in kinds))


@dataclass(frozen=True)
class Ask:
    """One question to one source.

    `window` bounds the rows' times. `identifiers` (kind -> values) name what the ticket is about: a source that can
    search returns the rows tied to them first, then those tied to `beside` (orders to compare with), then the rest of the window
    up to `limit` rows; without `rest` only rows that are tied. `anchor` is the moment that the customer means. `deadline` is a
    `time.monotonic()` value after which nobody waits for the answer.
    """

    what: What
    window: Span
    identifiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limit: int = 200_000
    rest: bool = True
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    anchor: datetime | None = None
    deadline: float = float("inf")

    def values(self, *kinds: str) -> tuple[str, ...]:
        """The identifiers' values of the given kinds, each once."""
        return tuple(dict.fromkeys(v for kind in kinds for v in self.identifiers.get(kind, ())))


@dataclass(frozen=True)
class Fetched:
    """What one source answered: an Arrow table (see `parsers.tables`) and its row of the ledger.

    `complete` says that the table holds everything that the source has for the window, whatever was asked for, so that
    asking again with more identifiers would bring nothing new.
    """

    table: pa.Table
    coverage: Coverage
    complete: bool = False


@dataclass(frozen=True)
class Pointer:
    """What is needed to open one record again: the fields of `Evidence` that name it."""

    kind: Literal["log", "span", "order_event"]
    index: str | None = None
    doc_id: str | None = None
    file: str | None = None
    start: int | None = None
    end: int | None = None
    at: str | None = None


class Source(Protocol):
    """One outside system. Each file in `pipeline/sources/` holds one class of this shape."""

    # The name it has in the configuration, the ledger and in evidence.
    name: str
    # The file's name: elasticsearch, bundle, orders, jaeger, tempo, otlp.
    kind: str
    # What it can be asked for.
    holds: frozenset[What]

    def fetch(self, ask: Ask) -> Fetched:
        """The rows of `ask`. Raises `SourceError`; never returns a failure as an empty answer."""
        ...

    def resolve(self, pointers: Iterable[Pointer]) -> dict[Pointer, bytes | None]:
        """The canonical bytes of each record (see `Evidence.sha256`), or None where it is gone. Raises `SourceError`."""
        ...

    def probe(self) -> list[str]:
        """What `doctor` prints when the source is well: version, indices, newest record. Raises `SourceError`."""
        ...

    def close(self) -> None:
        """Gives back connections and files."""
        ...


@runtime_checkable
class Planning(Protocol):
    """A source that can count before it reads, and so say beforehand what it would read."""

    def explain(self, ask: Ask) -> tuple[FetchPlan | None, str, tuple[str, ...]]:
        """The plan for `ask`, None where the source could not count in time, the same in words, and notes. Raises `SourceError`."""
        ...


@dataclass(frozen=True)
class Planned:
    """What one source would be asked for: in words, and as a plan where it can count.

    `error` where it cannot be asked, `refused` where that is for our credentials.
    """

    source: str
    kind: str
    what: What
    asked: str
    plan: FetchPlan | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    refused: bool = False


@dataclass(frozen=True)
class Material:
    """Everything that was collected, as three tables, with the ledger that says what is in them and what is not."""

    logs: pa.Table
    spans: pa.Table
    order_events: pa.Table
    coverage: tuple[Coverage, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Cited:
    """A row that a finding cites, before it is given its number and its sha256."""

    kind: Literal["log", "span", "order_event"]
    source: str
    quote: str
    index: str | None = None
    doc_id: str | None = None
    file: str | None = None
    start: int | None = None
    end: int | None = None
    at: datetime | None = None
    service: str | None = None

    @property
    def pointer(self) -> Pointer:
        """What its source needs to open it again."""
        at = self.at.isoformat() if self.at else None
        return Pointer(self.kind, self.index, self.doc_id, self.file, self.start, self.end, at)


@dataclass(frozen=True)
class Found:
    """What a detector says: one statement, the rows that prove it, and which fault it speaks for.

    `kind` is `<detector>.<what>`, such as `channel_code.exact`. `strength` is 0..1, the detector's own certainty that the
    statement holds; how much that counts for `supports` is the judge's business (`pipeline/diagnose.py`).
    `about_focus` is true where the rows belong to the ticket's own orders, traces or customer. `against` names the fault
    classes that the statement speaks against.
    """

    kind: str
    statement: Text
    cites: tuple[Cited, ...] = ()
    supports: str | None = None
    subclass: str | None = None
    strength: float = 1.0
    service: str | None = None
    host: str | None = None
    operation: str | None = None
    channel: str | None = None
    code: str | None = None
    about_focus: bool = True
    at: datetime | None = None
    against: tuple[str, ...] = ()

    @property
    def records(self) -> frozenset[Any]:
        """What it cites, as far as the judge asks whether two findings have the same witness."""
        return frozenset((one.source, one.pointer) for one in self.cites)


@dataclass(frozen=True)
class Seen:
    """A detector's whole answer: what it found and what it checked.

    `omitted` counts what it saw beyond the most that it tells or reads; the document says so.
    """

    found: tuple[Found, ...] = ()
    checks: tuple[Check, ...] = ()
    omitted: int = 0


__all__ = [
    "Ask",
    "Check",
    "Cited",
    "Coverage",
    "Evidence",
    "Fetched",
    "Found",
    "Material",
    "Planned",
    "Planning",
    "Pointer",
    "Scope",
    "Seen",
    "Source",
    "Span",
    "Ticket",
    "What",
    "replace",
]
