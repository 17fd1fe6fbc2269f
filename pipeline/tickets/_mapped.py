"""Systems that are described in the configuration instead of here: what `generic`, `standard_webhooks` and `cloudevents` share.

They differ in how a delivery is signed and wrapped. What it says, how the ticket is read again and how the note gets there is
configured alike; without `write` the snapshot goes to the outgoing webhook only.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from pipeline.errors import TicketNotFound
from pipeline.tickets._api import Api, SystemOptions
from pipeline.tickets._desk import body_of, ours
from pipeline.tickets._mapping import EventPaths, as_event, as_ticket, found, holds, said
from pipeline.tickets._notes import Notes, Written, marked, settle
from pipeline.tickets._payload import same
from pipeline.tickets._plain import html_text
from pipeline.tickets._requests import ListRequest, ReadRequest, WriteRequest, address, filled
from pipeline.tickets.signatures import to_verify
from pipeline.tickets.system import Attached, Changes, Event, Form, Incoming, Malformed, Note, NotPolled, SystemBroken
from pipeline.values import Ticket

_FIELDS = ("fault_class", "fault_subclass", "confidence", "severity")


class MappedOptions(SystemOptions, frozen=True, kw_only=True):
    """`event` says where a delivery has its parts. The rest is how the ticket system is called back.

    `url` is where the requests' paths begin, `authorization` the scheme that `token` is sent with. `read` reads the ticket again;
    without it the delivery itself is the ticket. `write` writes a note, `notes` finds it again, `change` and `delete` work on the one
    found. `form` is how notes are written there.
    """

    event: EventPaths
    authorization: str = "Bearer"
    form: Form = "text"
    read: ReadRequest | None = None
    write: WriteRequest | None = None
    notes: ListRequest | None = None
    change: WriteRequest | None = None
    delete: WriteRequest | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot work, or would write a note twice."""
        super().__post_init__()
        event, write = self.event, self.write
        if (self.read or write) and not self.url:
            raise ValueError("url is missing: the paths of read and write begin there")
        if not self.read and not (event.created_at and (event.title or event.description)):
            raise ValueError(
                "without read the delivery is the ticket, so event needs created_at, and title or description"
            )
        if self.fields or self.tags:
            raise ValueError("fields and tags: name {fault_class} and the like in the body of write instead")
        if write is None:
            if self.notes or self.change or self.delete:
                raise ValueError("notes, change and delete are of no use without write")
            return
        self._check_write(write, self.notes)

    def _check_write(self, write: WriteRequest, notes: ListRequest | None) -> None:
        if not write.private and not (notes and notes.private):
            raise ValueError(
                "write.private is missing: the path in the answer that says that only staff sees the note, or `true` in"
                " backticks for a place that is never public"
            )
        if notes is None:
            if write.method == "POST" or self.change or self.delete:
                raise ValueError(
                    "notes is missing: a POST could write the note twice, and change and delete need the id of the one"
                    " that is there. Without notes use PUT or PATCH, which set a field"
                )
            return
        if notes.author and not self.user:
            raise ValueError("user is missing: notes.author is compared with it")
        if not notes.author and not notes.private:
            raise ValueError(
                "notes.private is missing, or notes.author and user: without them a customer's comment with our marker in"
                " it would be taken for our note"
            )


class MappedSystem(ABC):
    """The shape of `TicketSystem` over a system that the configuration describes."""

    kind: str
    # The name for people.
    title: str

    def __init__(self, name: str, options: MappedOptions) -> None:
        self.name = name
        self.form: Form = options.form
        self.edits = options.write is not None and (options.change is not None or options.notes is None)
        self._options = options
        signed = {"Authorization": f"{options.authorization} {options.token}".strip()} if options.token else {}
        self._api = Api(name, self.title, options, signed)

    def receive(self, request: Incoming) -> Event:
        """What a delivery says, by `event`; see `TicketSystem`."""
        if to_verify(self.name, self._options):
            self._verify(request)
        document, delivery = self._document(request)
        event = as_event(document, self._options.event)
        event = replace(event, delivery_id=delivery or event.delivery_id)
        if event.ignored is None:
            event = replace(event, ignored=self._ignored(request, event))
        if event.ignored is None and self._options.read is None:
            event = replace(event, ticket=as_ticket(document, self._options.event, self.kind))
        return event

    def ticket(self, ticket_id: str) -> Ticket:
        """The ticket by `read`; see `TicketSystem`."""
        read = self._options.read
        if read is None:
            raise SystemBroken(
                f"[tickets.{self.name}] has no read, so that ticket {ticket_id} cannot be read again: the delivery is all there is"
            )
        answer = self._api.json("GET", self._address(read.path, ticket_id), missing=ticket_id)
        try:
            ticket = as_ticket(answer, read.ticket, self.kind)
        except Malformed as error:
            raise SystemBroken(f"{self._api.where} gave ticket {ticket_id}, but {error}") from error
        if ticket.id != ticket_id:
            raise SystemBroken(f"{self._api.where} was asked for ticket {ticket_id} and gave {ticket.id}")
        return ticket

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """The note by `write`, once; see `TicketSystem`."""
        write, notes = self._options.write, self._options.notes
        if write is None:
            return Attached(
                "kept", notes=(f"[tickets.{self.name}] has no write: the snapshot goes to the webhook only",)
            )
        if notes is None:
            return self._set(ticket_id, note, write)
        there, body = self._notes(ticket_id, note, write, notes), body_of(note, self.form)
        if self._options.change is not None:
            return settle(there, note.marker, body)
        older = marked(there, note.marker)
        if not older or there.plain(older[0].body) == there.plain(body):
            return settle(there, note.marker, body)
        if there.delete is None:
            told = f"[tickets.{self.name}] has neither change nor delete: note {older[0].id} stays as it is"
            return Attached("kept", older[0].id, notes=(told,))
        for one in older:
            there.delete(one.id)
        return replace(settle(there, note.marker, body), outcome="updated")

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:  # noqa: ARG002 -- the shape has them
        """Not to be had: the configuration describes no list of tickets."""
        raise NotPolled(f"[tickets.{self.name}] cannot be polled: a system of kind {self.kind} only takes deliveries")

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    # What the three differ in.

    @abstractmethod
    def _verify(self, request: Incoming) -> None:
        """Raises `Unverified` unless one of the secrets signed the request."""

    @abstractmethod
    def _document(self, request: Incoming) -> tuple[dict[str, Any], str | None]:
        """What the paths of `event` are searched in, and the delivery's id where the scheme has one."""

    # What they share.

    def _ignored(self, request: Incoming, event: Event) -> str | None:
        known = self._options.user and self._options.event.actor
        # Without a name to know us by, a delivery with a note of ours in it is taken for ours.
        return ours(self._options, [event.actor], "" if known else request.body.decode("utf-8", "replace"))

    def _address(self, path: str, ticket_id: str, note_id: str = "") -> str:
        if not ticket_id.strip(". ") or not ticket_id.isprintable():
            raise TicketNotFound(f"ticket {ticket_id[:60]!r} is none of [tickets.{self.name}]")
        return address(path, {"ticket_id": ticket_id, "note_id": note_id})

    def _values(self, ticket_id: str, note: Note, note_id: str = "") -> dict[str, str]:
        return {
            **{name: note.fields.get(name, "") for name in _FIELDS},
            "ticket_id": ticket_id,
            "note_id": note_id,
            "note": body_of(note, self.form),
            "marker": note.marker,
            "snapshot_id": note.snapshot_id,
        }

    def _send(self, request: WriteRequest, ticket_id: str, note: Note, note_id: str = "") -> Any:
        path = self._address(request.path, ticket_id, note_id)
        body = filled(request.body, self._values(ticket_id, note, note_id))
        given = {"json": body} if body else {}
        again = request.method != "POST"
        return self._api.json(request.method, path, missing=note_id or ticket_id, again=again, **given)

    def _set(self, ticket_id: str, note: Note, write: WriteRequest) -> Attached:
        """Sets the field that takes the note. What was set last is known by its hash, so that the same is not set again."""
        body = filled(write.body, self._values(ticket_id, note))
        known = hashlib.sha256(msgspec.json.encode([ticket_id, body], order="deterministic")).hexdigest()
        if note.known == known:
            return Attached("unchanged", known)
        answer = self._send(write, ticket_id, note)
        if not holds(answer, write.private):
            raise SystemBroken(
                f"{self._api.where}, {ticket_id}: {write.private!r} is not true of what was written: see who can read it"
            )
        return Attached("updated" if note.known else "created", known)

    def _notes(self, ticket_id: str, note: Note, write: WriteRequest, notes: ListRequest) -> Notes:
        options, body = self._options, body_of(note, self.form)

        def listed() -> list[Written]:
            answer = self._api.json("GET", self._address(notes.path, ticket_id), missing=ticket_id)
            items = found(answer, notes.items)
            if not isinstance(items, list):
                raise SystemBroken(f"{self._api.where}: {notes.items!r} gives no list of notes of ticket {ticket_id}")
            return [self._written(row, notes) for row in items if self._own(row, notes)]

        def private(answer: Any, path: str, one: str) -> bool:
            return holds(answer, path) if path else any(row.id == one and row.private for row in listed())

        def create(_body: str) -> Written:
            answer = self._send(write, ticket_id, note)
            # A system that answers nothing of use is asked what it holds now.
            one = said(answer, write.id) or next((row.id for row in listed() if note.marker in row.body), "")
            if not one:
                raise SystemBroken(
                    f"{self._api.where}, {ticket_id}: {write.id!r} gives no id of what was written, and it is not among the notes"
                    " that only staff sees: look who can read it"
                )
            return Written(one, body, private(answer, write.private, one))

        def change(one: str, _body: str) -> Written:
            request = options.change or write
            answer = self._send(request, ticket_id, note, one)
            return Written(one, body, private(answer, request.private or ("" if notes.private else write.private), one))

        def gone(one: str) -> None:
            if options.delete is not None:
                with suppress(TicketNotFound):
                    self._send(options.delete, ticket_id, note, one)

        delete = gone if options.delete else None
        where = f"{self._api.where}, {ticket_id}"
        if self.form == "html":
            # A sanitizer may have rewritten it.
            return Notes(where, listed, create, change, delete, plain=lambda html: " ".join(html_text(html).split()))
        return Notes(where, listed, create, change, delete)

    def _own(self, row: Any, notes: ListRequest) -> bool:
        """Whether a note may be ours: by its author where that is known, else a private one. Anybody can write our marker."""
        if notes.author:
            return same(self._options.user, said(row, notes.author))
        return holds(row, notes.private)

    def _written(self, row: Any, notes: ListRequest) -> Written:
        return Written(said(row, notes.id), said(row, notes.body), not notes.private or holds(row, notes.private))
