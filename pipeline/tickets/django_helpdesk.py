"""django-helpdesk 2.6: an unsigned webhook whose address is the secret, a REST API, one private follow-up a ticket.

What the desk does with what it is given, found by running it (2.6.1), and what follows here:

- It renders a new follow-up's comment as a Django template, mails private ones to the ticket's Cc, and takes a new follow-up's title as
  the ticket's new title. A changed one is stored as it is, and nobody is mailed. So a note is opened with a line that
  says nothing, and its text comes as a change.
- Attached files lie under the ticket's secret key, which the customer has. So none are attached.
- Its API tells no ticket's time; the opening follow-up does.

Sources: https://github.com/django-helpdesk/django-helpdesk/tree/2.6.1/src/helpdesk (webhooks.py, update_ticket.py, serializers.py,
views/api.py), and the desk itself, against which the tests run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from pipeline.errors import TicketNotFound
from pipeline.tickets._api import Api, SystemOptions
from pipeline.tickets._desk import body_of, require_url
from pipeline.tickets._history import History, State
from pipeline.tickets._notes import Notes, Written, settle
from pipeline.tickets._payload import decoded, moment, needed_moment, read
from pipeline.tickets._plain import conversation, tidied
from pipeline.tickets._polls import Row, polled
from pipeline.tickets.file import guess_language
from pipeline.tickets.signatures import check_token, to_verify
from pipeline.tickets.system import (
    Attached,
    Changes,
    Event,
    Form,
    Incoming,
    Malformed,
    Note,
    Step,
    SystemBroken,
    own_fields,
)
from pipeline.values import Ticket

TITLE = "problem-snapshot"
# Mailed to the ticket's Cc, who may be customers: it must say nothing.
_OPENING = "..."
_PER_PAGE = 100
_LAST_LINE = re.compile(r"\[//\]: # \((problem-snapshot:[0-9a-f]{16})\)\s*\Z")
# What the renderer escapes for Markdown with tables, strikethrough and formulas, which this desk's Markdown has not.
_NEEDLESS = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)|\\([|~$])|\\(?=\n)", re.DOTALL)
# Who has a ticket stands in the title of a follow-up only (update_ticket.py), in the desk's language.
_ASSIGNED = re.compile(r"Assigned to (\S+)")
# The desk's own numbers of statuses (settings.py): resolved, closed, duplicate. `states` names others by their numbers.
_STATES: dict[str, State] = {"3": "solved", "4": "solved", "5": "solved"}
_SMALL = re.compile(r"^<sub>(.*?)</sub>$", re.DOTALL | re.MULTILINE)


class Options(
    SystemOptions, tag="django_helpdesk", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A `[tickets.NAME]` table of kind `django_helpdesk`.

    `url` is where the desk is, up to `/api`. `token` is of Django REST framework's token authentication, `username` and
    `password` of its basic one, whichever the desk's project has. `secrets` are what the hook's address ends with, or has as
    `?key=`. `user` is our account's number, as the API shows it in follow-ups; it may be left out. `fields` names fields of a
    ticket as the API does (`custom_fault_class`, `priority`). The desk has no tags.
    """

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        SystemOptions.__post_init__(self)
        if self.tags:
            raise ValueError("tags: django-helpdesk has none; let a custom field take fault_class, under fields")
        if any(not re.fullmatch(r"[A-Za-z0-9_~.-]{16,}", secret) for secret in self.secrets):
            raise ValueError("secrets: letters, digits and - _ . ~, 16 of them or more: they are part of an address")


class _FollowUp(msgspec.Struct):
    id: int
    ticket: int
    date: str = ""
    user: int | None = None
    comment: str | None = ""
    public: bool = False
    message_id: str | None = None
    new_status: int | None = None
    title: str | None = ""


class _Ticket(msgspec.Struct):
    id: int
    title: str | None = ""
    description: str | None = ""
    submitter_email: str | None = None
    merged_to: int | None = None
    followup_set: list[_FollowUp] = []


class _Hook(msgspec.Struct):
    ticket: _Ticket
    followup_id: int | None = None


class _Page(msgspec.Struct):
    count: int
    results: list[_FollowUp] = []


class DjangoHelpdeskSystem:
    """A django-helpdesk, under its name in the configuration."""

    kind = "django_helpdesk"
    form: Form = "markdown"
    edits = True

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self._options = options
        headers = {"Authorization": f"Token {options.token}"} if options.token else None
        self._api = Api(name, "django-helpdesk", options, headers)

    def receive(self, request: Incoming) -> Event:
        """What the webhook says. Raises `Unverified` or `Malformed`."""
        if to_verify(self.name, self._options):
            given = request.query.get("key") or request.path.rstrip("/").rpartition("/")[2]
            check_token(given, self._options.secrets, "secret in the hook's address")
        hook = decoded(request.body, _Hook, "django-helpdesk")
        ticket = hook.ticket
        last = next((one for one in ticket.followup_set if one.id == hook.followup_id), None)
        if hook.followup_id is not None and last is None:
            raise Malformed(f"the delivery tells of follow-up {hook.followup_id} and does not hold it")
        ignored = None
        if last and self._ours(last):
            ignored = "our own note"
        elif ticket.merged_to is not None:
            ignored = f"the ticket was merged into {ticket.merged_to}"
        return Event(
            ticket_id=str(ticket.id),
            kind="ticket.updated" if last else "ticket.created",
            actor=str(last.user) if last and last.user is not None else ticket.submitter_email,
            text=f"{ticket.title or ''}\n{ticket.description or ''}".strip(),
            created_at=_opened(ticket),
            ignored=ignored,
        )

    def _ours(self, one: _FollowUp) -> bool:
        """Whether we wrote a follow-up: a private one that ends with a marker, which only its source shows."""
        if one.public or not _LAST_LINE.search(one.comment or ""):
            return False
        return self._options.user is None or str(one.user) == self._options.user

    def ticket(self, ticket_id: str) -> Ticket:
        """The ticket with the customer's later mails. Raises `TicketNotFound`, `Refused` or `SystemUnavailable`."""
        held, fields = self._held(ticket_id)
        opened = _opened(held)
        if opened is None:
            raise SystemBroken(
                f"{self._api.where}: ticket {ticket_id} has no follow-up, and nothing else tells when it was opened"
            )
        title, text = (held.title or "").strip(), tidied(held.description or "")
        # The opening follow-up repeats the description. Mails have a message's id, pages' forms no user.
        written = [
            tidied(one.comment or "")
            for one in held.followup_set
            if one.public and (one.message_id or one.user is None) and tidied(one.comment or "") != text
        ]
        description = conversation(text, written)
        return Ticket(
            id=ticket_id,
            title=title,
            description=description,
            created_at=opened,
            system=self.name,
            language=guess_language(f"{title}\n{description}"),
            customer_id=held.submitter_email,
            custom_fields={
                name.removeprefix("custom_"): value
                for name, value in sorted(fields.items())
                if name.startswith("custom_") and value not in (None, "")
            },
        )

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """Writes or changes the one private follow-up with the note's marker, and sets the configured fields.

        Files are not sent. Raises `TicketNotFound`, `Refused`, `SystemUnavailable` or `SystemBroken`.
        """
        self._held(ticket_id)
        ending = f"[//]: # ({note.marker})"
        body = f"{plain_markdown(body_of(note, 'markdown').replace(f'<!-- {note.marker} -->', ''))}\n\n{ending}"
        told = self._set_fields(ticket_id, note)
        if note.files:
            names = ", ".join(file.name for file in note.files)
            told.append(f"not attached, since customers could reach files here: {names}")

        def listed() -> list[Written]:
            found = [one for one in self._held(ticket_id)[0].followup_set if self._ours(one)]
            found = sorted((one for one in found if ending in (one.comment or "")), key=lambda one: one.id)
            # Another account's follow-up is not ours to change.
            return [self._written(one) for one in found if one.user == found[0].user]

        def create(text: str) -> Written:
            given = {"ticket": int(ticket_id), "comment": f"{_OPENING}\n\n{ending}", "public": False}
            opened = self._follow_up("POST", "/api/followups/", given)
            return change(str(opened.id), text) if not opened.public else self._written(opened)

        def change(note_id: str, text: str) -> Written:
            given = {"title": TITLE, "comment": text, "public": False}
            return self._written(self._follow_up("PATCH", f"/api/followups/{note_id}/", given, missing=note_id))

        def delete(note_id: str) -> None:
            try:
                self._api.send("DELETE", f"/api/followups/{note_id}/", missing=note_id)
            except TicketNotFound:
                return

        attached = settle(Notes(self._api.where, listed, create, change, delete), note.marker, body)
        url = f"{self._options.url.rstrip('/')}/tickets/{ticket_id}/"
        return replace(attached, url=url, notes=(*told, *attached.notes))

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        """What the follow-ups tell: agents' replies, statuses, and who has it. Raises as `ticket` does.

        An agent who answers by mail cannot be told from a customer, and is not counted.
        """
        held, _ = self._held(ticket_id)
        found = History(_STATES, self._options.states)
        told = sorted(held.followup_set, key=lambda one: one.id)
        if told:
            found.add("opened", _opened(held))
        for one in told:
            at, who = moment(one.date), None if one.user is None else str(one.user)
            answers = one.public and one.user is not None and not one.message_id and (one.comment or "").strip()
            # An agent may open a ticket in a customer's name: that is no answer to it.
            if answers and one is not told[0]:
                found.add("responded", at, who)
            if owner := _ASSIGNED.match(one.title or ""):
                found.add("assigned", at, who, owner[1])
            if one.new_status is not None:
                found.turned(str(one.new_status), at, who)
        return found.steps

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        """Tickets with new follow-ups since `cursor`; opening a ticket makes one. Raises as `ticket` does."""
        require_url(self.name, self._options)
        return polled(self.name, cursor, self._since, limit)

    def _since(self, since: datetime, page: int) -> tuple[Sequence[Row], bool]:
        """A page of the follow-ups at or after `since`, the oldest first, and whether there are later ones.

        The desk lists them by date and filters by nothing, so the page on which `since` lies is searched. New ones come at the end.
        """
        last = self._page("last")
        pages = max(1, -(-last.count // _PER_PAGE))
        low, high = 1, pages
        if last.results and self._at(last.results[0]) < since:
            low = pages
        while low < high:
            middle = (low + high) // 2
            rows = self._page(str(middle)).results
            if rows and self._at(rows[-1]) < since:
                low = middle + 1
            else:
                high = middle
        number = low + page
        if number > pages:
            return [], False
        rows = last.results if number == pages else self._page(str(number)).results
        return [self._row(one) for one in rows if self._at(one) >= since], number < pages

    def _page(self, number: str) -> _Page:
        params = {"page": number, "page_size": _PER_PAGE}
        return read(self._api.json("GET", "/api/followups/", params=params), _Page, self._api.where)

    def _at(self, one: _FollowUp) -> datetime:
        return needed_moment(one.date, self._api.where)

    def _row(self, one: _FollowUp) -> Row:
        event = Event(
            ticket_id=str(one.ticket),
            kind="ticket.updated",
            actor=None if one.user is None else str(one.user),
            text=one.comment or "",
            ignored="our own note" if self._ours(one) else None,
        )
        return Row(self._at(one), event)

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    def _held(self, ticket_id: str) -> tuple[_Ticket, dict[str, object]]:
        """The ticket, and all that the API says of it by name."""
        require_url(self.name, self._options)
        if not ticket_id.isdecimal():
            raise TicketNotFound(f"{self._api.where} has no ticket {ticket_id[:60]!r}: its ids are numbers")
        answer = self._api.json("GET", f"/api/tickets/{ticket_id}/", missing=ticket_id)
        held = read(answer, _Ticket, self._api.where)
        if held.merged_to is not None:
            raise TicketNotFound(f"{self._api.where}: ticket {ticket_id} was merged into {held.merged_to}")
        return held, answer

    def _follow_up(self, method: str, path: str, given: dict[str, object], missing: str = "") -> _FollowUp:
        # A change is the same when it is made twice.
        answer = self._api.json(method, path, missing=missing, again=method == "PATCH", json=given)
        return read(answer, _FollowUp, self._api.where)

    def _written(self, one: _FollowUp) -> Written:
        return Written(str(one.id), one.comment or "", private=not one.public)

    def _set_fields(self, ticket_id: str, note: Note) -> list[str]:
        wanted = own_fields(self._options.fields, note.fields)
        if not wanted:
            return []
        there = self._held(ticket_id)[1]
        told = [f"tickets have no field {name!r} here" for name in wanted if name not in there]
        different = {name: value for name, value in wanted.items() if name in there and str(there[name]) != value}
        if different:
            try:
                self._api.send("PATCH", f"/api/tickets/{ticket_id}/", missing=ticket_id, again=True, json=different)
            except SystemBroken as error:
                told.append(f"the fields were not set: {error}")
        return told


def plain_markdown(text: str) -> str:
    r"""Markdown as python-markdown reads it without extensions: no small print, no escapes that it does not know.

    >>> print(plain_markdown("<sub>a\\|b\\\nc `x\\|y`</sub>"))
    a|b
    c `x\|y`
    """
    without = _SMALL.sub(r"\1", text)
    return _NEEDLESS.sub(lambda found: found[0] if found[1] else found[3] or "", without).strip()


def _opened(ticket: _Ticket) -> datetime | None:
    """When the first follow-up was written."""
    dates = [at for at in (moment(one.date) for one in ticket.followup_set) if at is not None]
    return min(dates, default=None)
