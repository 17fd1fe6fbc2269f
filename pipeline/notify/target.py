"""The shape that every receiver of messages has here, and the options that they share.

    Event -> wants -> send -> Sent

One receiver, one file, one class of the shape `Target`, with its `Options` tagged by `kind`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Protocol, get_args
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import SnapshotError
from snapshots.model import ProblemSnapshot, Text
from snapshots.render.blocks import Blocks, Links
from snapshots.render.reader import Verdict, verdict_of
from snapshots.words import Language

EventKind = Literal[
    "snapshot.created",
    "snapshot.updated",
    "desk.warning",
    "desk.overdue",
    "desk.task",
    "room.called",
    "room.escalated",
]
Level = Literal["P1", "P2", "P3", "P4"]

# The words of `when`, in groups: of each group that is named, one has to fit.
WHEN: tuple[tuple[str, ...], ...] = (
    get_args(Level),
    get_args(Verdict),
    ("created", "updated", "warning", "overdue", "task"),
)
_WORDS = tuple(word for group in WHEN for word in group)

Positive = Annotated[float, msgspec.Meta(gt=0, le=60)]


class TargetUnavailable(SnapshotError):
    """The receiver could not be reached, did not answer in time, or asked us to come later: the same may be sent again.

    `after` is how many seconds it asked us to wait.
    """

    exit_code = 5

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class TargetBroken(SnapshotError):
    """The receiver did not take what was sent, or answered what cannot be read: sending it again does not help."""


@dataclass(frozen=True)
class Event:
    """What happened: a snapshot was taken of a ticket, or taken anew with another conclusion.

    `at` is when, aware. `replaces` is the id of the snapshot before. What the desk has to say of a ticket beside that, a
    warning or a call, is `said`, with a `key` that tells one from another and the `level` that holds then.
    """

    kind: EventKind
    snapshot: ProblemSnapshot
    at: datetime
    links: Links = field(default_factory=Links)
    replaces: str | None = None
    said: Text | None = None
    key: str = ""
    level: str = ""

    @property
    def id(self) -> str:
        """The same for the same thing, however often it is told, so that a receiver can drop what it knows."""
        told = f"{self.kind}\0{self.snapshot.ticket.system}\0{self.snapshot.ticket.id}\0{self.snapshot.snapshot_id}"
        told += f"\0{self.key}" if self.key else ""
        return "evt_" + hashlib.sha256(told.encode()).hexdigest()[:24]

    @property
    def verdict(self) -> Verdict:
        """Whether a fault was located."""
        return verdict_of(self.snapshot.diagnosis)


def level_of(snapshot: ProblemSnapshot) -> str:
    """The severity's level, such as P1; empty while none is known."""
    return snapshot.severity.level if snapshot.severity else ""


@dataclass(frozen=True)
class Sent:
    """What came of one try. `disabled`: the receiver is gone for good, so nothing is to be sent to it any more."""

    outcome: Literal["sent", "skipped", "disabled"]
    status: int | None = None
    note: str = ""


class TargetOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What every receiver's table has.

    `url` is secret where it holds a token, as those of chats do. `when` says which messages go there: P1 to P4,
    located, undecided, no_fault, created, updated, warning, overdue, task. Of each kind of word that is named one has to fit,
    so `["P1", "P2", "located"]` is severity P1 or P2, and located; with nothing named everything goes. While no severity
    is known, no P fits. `timeout` is one request's, in seconds.
    """

    url: str
    when: tuple[str, ...] = ()
    timeout: Positive = 10.0
    ca_certs: str | None = None
    verify_certs: bool = True

    schemes: ClassVar[frozenset[str]] = frozenset({"http", "https"})

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is sent."""
        if self.schemes and (urlsplit(self.url).scheme not in self.schemes or not urlsplit(self.url).netloc):
            raise ValueError("url is no http or https address")
        unknown = [word for word in self.when if word not in _WORDS]
        if unknown:
            raise ValueError(f"when: there is no {unknown[0]!r}; one of {', '.join(_WORDS)}")

    def __repr__(self) -> str:
        return f"Options(kind={self.__struct_config__.tag!r}, host={host_of(self.url)!r}, when={self.when!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("host", host_of(self.url)), ("when", self.when)]


class ChatOptions(TargetOptions, frozen=True, kw_only=True):
    """What every chat's table has besides: `language` is auto (the ticket's), en or zh."""

    language: Literal["auto", "en", "zh"] = "auto"

    def spoken(self, snapshot: ProblemSnapshot) -> Language:
        """The language of a message."""
        chosen = snapshot.ticket.language if self.language == "auto" else self.language
        return "zh" if chosen == "zh" else "en"


class Target(Protocol):
    """One receiver. Each file in `pipeline/notify/` holds one class of this shape."""

    # The name it has in the configuration.
    name: str
    # The file's name.
    kind: str
    # The words that say which messages it gets.
    when: tuple[str, ...]

    def wants(self, event: Event) -> bool:
        """Whether this one goes there, as its `when` says."""
        ...

    def send(self, event: Event) -> Sent:
        """Sends it once. Raises `Refused`, `TargetUnavailable` or `TargetBroken`."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


def wanted(when: tuple[str, ...], event: Event) -> bool:
    """Whether `when` lets an event through: of each group of words that is named, one has to fit."""
    true = {event.level or level_of(event.snapshot), event.verdict, event.kind.rpartition(".")[2]}
    return all(true & named for group in WHEN if (named := set(group) & set(when)))


def chat_blocks(event: Event, options: ChatOptions) -> Blocks:
    """What a chat is told of an event, in its language."""
    from snapshots.render.note import card_blocks

    return card_blocks(event.snapshot, options.spoken(event.snapshot), event.links, said=event.said)


def host_of(url: str) -> str:
    """Host and port of an address: the rest of a chat's address is its secret."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return ""
