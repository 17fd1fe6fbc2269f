"""The shape that every ticket system has here: deliveries come in, a ticket is read again, one private note goes out.

    Incoming  -> receive -> Event        a hook's request, verified on its raw bytes, as what it says happened to which ticket
    ticket id -> ticket  -> Ticket       read again through the system's API, since a payload may be old or not true
    Note      -> attach  -> Attached     one private note per ticket, found again by its marker, changed in place
    cursor    -> changed -> Changes      for systems that do not call us, or do not call again when we were away
    ticket id -> history -> Step, ...    for systems that remember what happened to a ticket (`Remembers`)

One system, one file, one class of the shape `TicketSystem`, with its `Options` tagged by `kind`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from pipeline.errors import SnapshotError
from pipeline.values import Ticket

# How a system's notes are written: HTML, GitHub's and GitLab's Markdown, Jira's wiki text, Atlassian's document format
# (as JSON), or plain text.
Form = Literal["html", "markdown", "wiki", "adf", "text"]
Outcome = Literal["created", "updated", "unchanged", "kept"]
# What happens to a ticket at its desk, in the order in which it counts where it is of one moment: who replies and resolves at
# once has replied first. `waiting` is for the customer, `continued` ends that.
What = Literal["opened", "prioritised", "assigned", "continued", "responded", "waiting", "resolved", "reopened"]


class Unverified(SnapshotError):
    """The request is not signed by one of the secrets that hold, or its signature is too old: it is not from whom it says."""


class Malformed(SnapshotError):
    """The request is verified, and its body is not what this system sends."""


@dataclass(frozen=True)
class Incoming:
    """One HTTP request to a hook. Header names are in lower case; `body` is as it came; `received_at` is UTC."""

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime
    # The path's rest after the hook's own, and the query, for systems that put something there.
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """What a verified request says.

    `delivery_id` is the sender's, the same when it sends again; None where it has none, and the body's hash stands for it.
    `text` is the ticket's title and description as far as the request holds them, `created_at` when the ticket began; both only
    order the work, since the ticket is read again. `ignored` says why no snapshot is due: our own note, a
    deleted ticket, another kind of event. `ticket` is the whole ticket where the system has no way to be asked again: then the
    verified request is all there is, and `TicketSystem.ticket` is not called. `routine` says that only the ticket's state changed, such
    as its status or who has it: the desk's clock is to know it, and no snapshot is due.
    """

    ticket_id: str
    kind: str
    delivery_id: str | None = None
    actor: str | None = None
    text: str = ""
    created_at: datetime | None = None
    ignored: str | None = None
    ticket: Ticket | None = None
    routine: bool = False


@dataclass(frozen=True)
class Step:
    """Something that happened to a ticket, as its system remembers it.

    `at` is the system's own time, aware. `who` did it, where that is known. `to` is whose turn it is after `assigned`, a person
    or a queue, and the priority in the system's own words after `prioritised`.
    """

    what: What
    at: datetime
    who: str | None = None
    to: str | None = None


@dataclass(frozen=True)
class File:
    """Something to attach: a name, its media type, its bytes."""

    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True)
class Note:
    """What goes on a ticket.

    `bodies` holds the note in every form; each carries `marker` where the form can hide it, and shows it at its end where it
    cannot. `marker` is the same for every run on this ticket: `problem-snapshot:` and 16 hex digits. `known` is the system's id of the note as
    it was returned last time, a hint only. `files` go along where the system takes attachments. `fields` are values for the ticket's own
    fields and tags: fault_class, fault_subclass, confidence, severity, snapshot_id; which field takes which is configuration.
    """

    snapshot_id: str
    marker: str
    bodies: Mapping[Form, str]
    files: tuple[File, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    known: str | None = None


@dataclass(frozen=True)
class Attached:
    """What became of a note. `kept` says that the system lets no note be changed: fields are up to date, the note is the first one.

    `note_id` is the system's, `url` opens it or its ticket, `notes` are sentences for the log.
    """

    outcome: Outcome
    note_id: str | None = None
    url: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Changes:
    """Tickets that changed since a cursor, oldest first, and the cursor to go on from. `more` says that there are further ones now."""

    events: tuple[Event, ...]
    cursor: str
    more: bool = False


class TicketSystem(Protocol):
    """One ticket system. Each file in `pipeline/tickets/` holds one class of this shape."""

    # The name it has in the configuration and in the hook's address.
    name: str
    # The file's name: zendesk, jira, rt, ...
    kind: str
    # Which form its notes have.
    form: Form
    # Whether a note can be changed once it is written.
    edits: bool

    def receive(self, request: Incoming) -> Event:
        """What the request says. Raises `Unverified` before anything of the body is believed, or `Malformed`."""
        ...

    def ticket(self, ticket_id: str) -> Ticket:
        """The ticket as it is now, `created_at` aware. Raises `TicketNotFound`, `Refused` or `SystemUnavailable`."""
        ...

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """Writes or changes the one note that carries `note.marker`, private, and sets the configured fields.

        Doing it twice leaves one note. Raises `TicketNotFound`, `Refused` or `SystemUnavailable`.
        """
        ...

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        """Tickets created or changed since `cursor`; with None only the cursor of now.

        A time (ISO 8601 with offset) is a cursor, too: of all that changed then or later. Raises as `ticket` does, or `NotPolled` where it has no way to tell.
        """
        ...

    def close(self) -> None:
        """Closes the connections."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """A ticket system that can be asked what happened to a ticket."""

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        """What happened to the ticket, in order of its system's time. Raises as `TicketSystem.ticket` does.

        Told again it is the same, but for what was added: whoever counts steps knows one by what it is and when it was.
        """
        ...


class SystemUnavailable(SnapshotError):
    """The ticket system could not be reached, did not answer in time, or asked us to come later.

    `after` is how many seconds it asked us to wait.
    """

    exit_code = 5

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class SystemBroken(SnapshotError):
    """The ticket system answered something that cannot be read, or did not take what was sent: trying again does not help."""


class NotPolled(SystemBroken):
    """The ticket system, as it is configured, cannot be asked what changed: deliveries are all that comes of it."""


def own_fields(wanted: Mapping[str, str], values: Mapping[str, str]) -> dict[str, Any]:
    """The system's fields to set: `wanted` names for each of ours (`fault_class`) the field there (`custom_field_7`)."""
    return {theirs: values[ours] for ours, theirs in sorted(wanted.items()) if values.get(ours)}
