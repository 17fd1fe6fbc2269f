"""Request Tracker 5: told by a scrip that signs its post, read and written by REST 2, one comment a ticket.

RT has no webhooks and its API changes no comment. Both are done by the scrips in `rt_scrips.pl`, which an administrator puts
into RT with one command (docs/tickets/rt.md). Without the one that replaces notes a comment stays as it is, and a new one is
written only where the conclusion changed.

Sources: https://docs.bestpractical.com/rt/5.0.3/RT/REST2.html, and RT 5.0.3's own code, against which the tests run.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets._api import Api, SystemOptions
from pipeline.tickets._desk import body_of, conclusion, digest, ours, replaces, require_url, stamp, stamped
from pipeline.tickets._history import History, State
from pipeline.tickets._payload import decoded, fields, moment, needed_moment, read, same, text
from pipeline.tickets._plain import conversation, html_text, tidied
from pipeline.tickets._polls import Row, polled
from pipeline.tickets.file import guess_language
from pipeline.tickets.signatures import based, check, check_time, signed_time, to_verify
from pipeline.tickets.system import (
    Attached,
    Changes,
    Event,
    Form,
    Incoming,
    Note,
    Outcome,
    Step,
    SystemBroken,
    own_fields,
)
from pipeline.values import Ticket

_log = logging.getLogger(__name__)
_KINDS = frozenset({"ticket.created", "ticket.replied", "ticket.commented", "ticket.updated"})
# Who has it, its status, its priority: for the desk's clock alone.
_ROUTINE = "ticket.state"
# Transactions that say something new about a ticket; RT's own (mails sent, times counted, owners) do not.
_TELLING = ("Create", "Correspond", "Comment", "CustomField", "Set")
# What its history is made of. A new owner is a watcher that was set (lib/RT/Group.pm, _AddMember); before RT 4.4 he was given,
# or took the ticket (lib/RT/Transaction.pm, %_BriefDescriptions).
_OWNED = frozenset({"SetWatcher", "Set", "Give", "Take", "Steal", "Force", "Untake"})
_HAPPENED = ("Create", "Correspond", "Status", *sorted(_OWNED))
# RT's default lifecycle (etc/RT_Config.pm, %Lifecycles); those of other ones are told by `states`.
_STATES: dict[str, State] = {
    "stalled": "waiting", "resolved": "solved", "rejected": "solved", "deleted": "solved",
}  # fmt: skip
_PER_PAGE = 100
# So many pages of a ticket's history are read, and so many of the customer's replies.
_PAGES = 20
_REPLIES = 30
# The header that the replacing scrip leaves on a note.
_IN_PLACE = "x-problem-snapshot: changes-in-place"


class Options(SystemOptions, tag="rt", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[tickets.NAME]` table of kind `rt`.

    `url` is RT's own address, without `/REST/2.0`. `token` is one of RT's authentication tokens; `username` and `password` do as
    well. `secrets` hold what is in the scrips' secret file. `user` is the RT user that the token belongs to: its comments
    are our notes. `fields` names custom fields of tickets, which have to be there. RT has no tags.
    """

    user: str | None = "problem-snapshot"

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        SystemOptions.__post_init__(self)
        if self.tags:
            raise ValueError("tags: Request Tracker has none; let a custom field take fault_class, under fields")
        if not self.user:
            raise ValueError("user: needed, since notes are known by who wrote them")


class _Who(msgspec.Struct):
    id: str = ""


class _Field(msgspec.Struct):
    name: str = ""
    values: list[Any] = []


class _Ticket(msgspec.Struct):
    id: int | str
    Created: str
    Subject: str | None = ""
    Status: str = ""
    Requestor: list[_Who] = []
    CustomFields: list[_Field] = []


class _Listed(msgspec.Struct):
    id: str
    LastUpdated: str
    Created: str = ""
    Subject: str | None = ""
    LastUpdatedBy: _Who = msgspec.field(default_factory=_Who)


class _Transaction(msgspec.Struct):
    id: str
    Type: str = ""
    Field: str | None = ""
    NewValue: str | None = ""
    Created: str = ""
    ObjectId: str = ""
    Creator: _Who = msgspec.field(default_factory=_Who)


class _Part(msgspec.Struct):
    id: str
    ContentType: str | None = ""
    Filename: str | None = ""
    Headers: str | None = ""


class _Page(msgspec.Struct):
    items: list[Any] = []
    next_page: str | None = None
    pages: int | None = None


class _HookTicket(msgspec.Struct):
    id: int
    subject: str | None = ""
    status: str = ""
    created: str = ""


class _HookTransaction(msgspec.Struct):
    creator: str
    id: int = 0


class _HookData(msgspec.Struct):
    ticket: _HookTicket
    transaction: _HookTransaction
    content: str = ""


class _Hook(msgspec.Struct):
    type: str
    data: _HookData


@dataclass(frozen=True)
class _Found:
    """A note of ours on a ticket: its transaction, its HTML, when it was written, and whether a newer one replaces it."""

    id: str
    html: str
    at: datetime | None
    in_place: bool


class RtSystem:
    """A Request Tracker, under its name in the configuration."""

    kind = "rt"
    form: Form = "html"
    # With the scrip; what happens without it is told in `attach`.
    edits = True

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self._options = options
        headers = {"Authorization": f"token {options.token}"} if options.token else None
        self._api = Api(name, "Request Tracker", options, headers)
        self._names: dict[str, str | None] = {}

    def receive(self, request: Incoming) -> Event:
        """What the scrip's post says. Raises `Unverified` or `Malformed`."""
        self._verify(request)
        hook = decoded(request.body, _Hook, "Request Tracker's scrip")
        data = hook.data
        ignored = ours(self._options, [data.transaction.creator])
        if not ignored and data.ticket.status == "deleted":
            ignored = "the ticket is deleted"
        elif not ignored and hook.type not in _KINDS and hook.type != _ROUTINE:
            ignored = f"nothing is done about {hook.type[:60]!r}"
        return Event(
            ticket_id=str(data.ticket.id),
            kind=hook.type,
            delivery_id=request.headers.get("webhook-id"),
            actor=data.transaction.creator,
            text=f"{data.ticket.subject or ''}\n{data.content}".strip(),
            created_at=moment(data.ticket.created),
            ignored=ignored,
            routine=hook.type == _ROUTINE,
        )

    def _verify(self, request: Incoming) -> None:
        """Raises `Unverified` unless the post is signed after https://www.standardwebhooks.com by one of the secrets, and recent."""
        if not to_verify(self.name, self._options):
            return
        delivery, sent = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
        signed = f"{delivery}.{sent}.".encode() + request.body
        wanted = [based(secret.strip(), signed) for secret in self._options.secrets]
        given = request.headers.get("webhook-signature", "").removeprefix("v1,")
        check(given, wanted, "signature in webhook-signature")
        check_time(signed_time(sent), request.received_at)

    def _ours(self, user: str) -> bool:
        return same(self._options.user, user)

    def ticket(self, ticket_id: str) -> Ticket:
        """The ticket with the customer's later replies. Raises `TicketNotFound`, `Refused` or `SystemUnavailable`."""
        held = self._ticket(ticket_id)
        customers = {who.id.casefold() for who in held.Requestor if who.id}
        spoken = list(self._transactions([ticket_id], ("Create", "Correspond")))
        created = [t for t in spoken if t.Type == "Create"]
        replies = [t for t in spoken if t.Type == "Correspond" and t.Creator.id.casefold() in customers]
        description = conversation(
            self._text(created[0].id) if created else "",
            [self._text(reply.id) for reply in replies[-_REPLIES:]],
            omitted=max(0, len(replies) - _REPLIES),
        )
        title = (held.Subject or "").strip()
        return Ticket(
            id=ticket_id,
            title=title,
            description=description,
            created_at=needed_moment(held.Created, self._api.where),
            system=self.name,
            language=guess_language(f"{title}\n{description}"),
            customer_id=next((who.id for who in held.Requestor if who.id), None),
            custom_fields={
                one.name: one.values[0] if len(one.values) == 1 else one.values
                for one in sorted(held.CustomFields, key=lambda one: one.name)
                if one.values
            },
        )

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """Writes the note as a comment, or lets a newer comment take its place, and sets the configured custom fields.

        Where the replacing scrip is not in RT (the note that is there lacks its header), a note with the same conclusion is
        left as it is, and one with another is followed by a new one that says so. Raises `TicketNotFound`, `Refused`,
        `SystemUnavailable` or `SystemBroken`.
        """
        held = self._ticket(ticket_id)
        body = body_of(note, "html")
        content = "\n".join([body, *(f"{file.name} {hashlib.sha256(file.data).hexdigest()}" for file in note.files)])
        told = self._set_fields(ticket_id, note, held)
        found = self._notes(ticket_id, note.marker)
        url = f"{self._options.url.rstrip('/')}/Ticket/Display.html?id={ticket_id}"
        if found:
            last = found[-1]
            before = stamp(last.html, note.marker)
            if before and before.body == digest(content):
                return Attached("unchanged", last.id, f"{url}#txn-{last.id}", tuple(told))
            if not last.in_place:
                told.append(
                    "a comment cannot be changed in this Request Tracker: "
                    "put the scrips of docs/tickets/rt.md in, and it can"
                )
                if before and before.concluded == conclusion(note):
                    return Attached("kept", last.id, f"{url}#txn-{last.id}", tuple(told))
                body = f"<p>{replaces(last.at)}</p>{body}"
        self._comment(ticket_id, f"{body}\n<!-- {stamped(note, content)} -->", note)
        after = self._notes(ticket_id, note.marker)
        if not after:
            raise Refused(
                f"{self._api.where} took the comment on ticket {ticket_id} and does not show it: the account of "
                f"[tickets.{self.name}] needs the right ShowTicketComments, and its name has to be user ({self._options.user!r})"
            )
        in_place = bool(found) and found[-1].in_place
        if len(after) > 1 and in_place:
            told.append(f"ticket {ticket_id} has {len(after)} notes: the replacing scrip did not run, see RT's log")
        outcome: Outcome = "updated" if in_place else "created"
        return Attached(outcome, after[-1].id, f"{url}#txn-{after[-1].id}", tuple(told))

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        """Tickets that were created or changed since `cursor`. Raises as `ticket` does."""
        require_url(self.name, self._options)
        return polled(self.name, cursor, self._changed_since, limit)

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        """What happened to the ticket: replies, owners, statuses, priorities. Raises as `ticket` does."""
        held = self._ticket(ticket_id)
        customers = {who.id.casefold() for who in held.Requestor if who.id}
        found = History(_STATES, self._options.states)
        for one in self._transactions([ticket_id], _HAPPENED):
            at, who = moment(one.Created), one.Creator.id
            match one.Type:
                case "Create":
                    found.add("opened", at, who)
                case "Correspond" if who.casefold() not in customers and not self._ours(who):
                    found.add("responded", at, who)
                case "Status":
                    found.turned(one.NewValue or "", at, who)
                case "Set" if one.Field == "Queue":
                    found.add("assigned", at, who, self._named("queue", one.NewValue))
                case "Set" if one.Field in {"Priority", "FinalPriority"}:
                    found.add("prioritised", at, who, one.NewValue)
                case kind if kind in _OWNED and one.Field == "Owner":
                    found.add("assigned", at, who, self._named("user", one.NewValue))
        return found.steps

    def _changed_since(self, since: datetime, page: int) -> tuple[Sequence[Row], bool]:
        """A page of the tickets that changed at or after `since`, the oldest first, and whether there are later ones.

        RT reads a time in TicketSQL as one of the account's own zone, whatever zone it names, so none is asked for: tickets are
        listed by their last change, the newest first, and the page on which `since` lies is searched. In that order one that
        changes meanwhile moves the others to later pages, where they are still found.
        """

        def listed(number: int) -> tuple[list[_Listed], bool]:
            return self._latest(since, number)

        def reaches(rows: list[_Listed]) -> bool:
            return bool(rows) and self._at(rows[-1]) >= since

        low, high = 0, 1
        rows, more = listed(high)
        while reaches(rows) and more:
            low, high = high, high * 2
            rows, more = listed(high)
        # On page `low` all is later than `since`; on `high` not all of it, or it is the last or beyond.
        while high - low > 1:
            middle = (low + high) // 2
            between, further = listed(middle)
            if reaches(between) and further:
                low = middle
            else:
                high, rows, more = middle, between, further
        # Where `since` lies just between two pages, the page begins with what is older: all that is wanted is before it.
        if low and not any(self._at(one) >= since for one in rows):
            high = low
            rows = listed(high)[0]
        if page:
            high -= page
            rows = listed(high)[0] if high > 0 else []
        wanted = [one for one in reversed(rows) if self._at(one) >= since]
        quiet = self._only_ours(wanted, since)
        return [self._row(one, quiet=one.id in quiet) for one in wanted], high > 1

    def _latest(self, since: datetime, page: int) -> tuple[list[_Listed], bool]:
        answer = self._get(
            "/tickets",
            _Page,
            # Two days more than needed, in whatever zone RT reads it: it spares RT the sorting of all tickets that ever were.
            query=f"LastUpdated > '{since.astimezone(UTC) - timedelta(days=2):%Y-%m-%d}'",
            fields="LastUpdated,LastUpdatedBy,Created,Subject",
            orderby=["LastUpdated", "id"],
            order=["DESC", "DESC"],
            per_page=_PER_PAGE,
            page=page,
        )
        rows = [read(item, _Listed, self._api.where) for item in answer.items]
        return rows, answer.next_page is not None or (answer.pages is None and bool(rows))

    def _at(self, one: _Listed) -> datetime:
        return needed_moment(one.LastUpdated, self._api.where)

    def _row(self, one: _Listed, *, quiet: bool) -> Row:
        event = Event(
            ticket_id=one.id,
            kind="ticket.updated",
            actor=one.LastUpdatedBy.id or None,
            text=one.Subject or "",
            created_at=moment(one.Created),
            ignored=ours(self._options, [one.LastUpdatedBy.id]) if quiet else None,
        )
        return Row(self._at(one), event)

    def _only_ours(self, rows: Sequence[_Listed], since: datetime) -> set[str]:
        """Those tickets whose changes ask for nothing: we made the last, and nobody else made one that ours could hide."""
        last = [one.id for one in rows if self._ours(one.LastUpdatedBy.id)]
        if not last:
            return set()
        others = self._transactions(last, _TELLING, since)
        return set(last) - {t.ObjectId for t in others if not self._ours(t.Creator.id)}

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    def _get(self, path: str, shape: type[Any], *, missing: str = "", **params: Any) -> Any:
        return read(self._api.json("GET", f"/REST/2.0{path}", missing=missing, params=params), shape, self._api.where)

    def _ticket(self, ticket_id: str) -> _Ticket:
        require_url(self.name, self._options)
        if not ticket_id.isdecimal():
            raise TicketNotFound(f"{self._api.where} has no ticket {ticket_id[:60]!r}: its ids are numbers")
        held: _Ticket = self._get(f"/ticket/{ticket_id}", _Ticket, missing=ticket_id)
        if str(held.id) != ticket_id:
            raise TicketNotFound(f"{self._api.where}: ticket {ticket_id} was merged into {held.id}")
        if held.Status == "deleted":
            raise TicketNotFound(f"{self._api.where}: ticket {ticket_id} is deleted")
        return held

    def _transactions(
        self, ticket_ids: Sequence[str], kinds: Sequence[str], since: datetime | None = None
    ) -> Iterator[_Transaction]:
        """Transactions of these kinds on these tickets, the oldest first.

        RT leaves what we may not see out of a page and gives no total. An account with the rights of docs/tickets/rt.md sees
        all of the kinds that are asked for, so that a page which is not full is the last.
        """
        query = [_limit("ObjectType", "RT::Ticket")]
        query += [_limit("ObjectId", one, aggregator="OR") for one in ticket_ids]
        query += [_limit("Type", one, aggregator="OR") for one in kinds]
        if since:
            # The database's own form, which is UTC.
            query.append(_limit("Created", f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S}", operator=">="))
        for page in range(1, _PAGES + 1):
            answer = self._get(
                "/transactions",
                _Page,
                query=msgspec.json.encode(query).decode(),
                fields="Type,Field,NewValue,Creator,Created,ObjectId",
                orderby="id",
                per_page=_PER_PAGE,
                page=page,
            )
            yield from (read(item, _Transaction, self._api.where) for item in answer.items)
            if len(answer.items) < _PER_PAGE:
                return
        told = "%s: more than %d transactions of %d tickets: what the later ones tell is not known"
        _log.warning(told, self._api.where, _PAGES * _PER_PAGE, len(ticket_ids))

    def _named(self, kind: str, number: str | None) -> str | None:
        """The name of a user or a queue, asked for once; its number where it cannot be seen, and nothing for nobody."""
        key = f"{kind}/{number}"
        if number and key not in self._names:
            try:
                name = fields(self._api.json("GET", f"/REST/2.0/{key}", missing=key), self._api.where).get("Name")
            except (TicketNotFound, Refused):
                name = None
            self._names[key] = None if name == "Nobody" else text(name) or f"{kind} {number}"
        return self._names.get(key)

    def _parts(self, transaction_id: str) -> list[_Part]:
        fields = "ContentType,Filename,Headers"
        answer = self._get(f"/transaction/{transaction_id}/attachments", _Page, fields=fields, per_page=_PER_PAGE)
        return [read(item, _Part, self._api.where) for item in answer.items]

    def _content(self, part: _Part) -> str:
        answer = self._api.json("GET", f"/REST/2.0/attachment/{part.id}")
        try:
            return base64.b64decode((answer or {}).get("Content") or "").decode("utf-8", "replace")
        except (binascii.Error, AttributeError, TypeError) as error:
            raise SystemBroken(
                f"{self._api.where} gave attachment {part.id} without a content that can be read"
            ) from error

    def _text(self, transaction_id: str) -> str:
        """What somebody wrote: the plain text, or the HTML's where there is no other."""
        parts = [part for part in self._parts(transaction_id) if not part.Filename]
        for kind, plain in (("text/plain", tidied), ("text/html", html_text)):
            texts = [self._content(part) for part in parts if (part.ContentType or "").lower() == kind]
            if any(text.strip() for text in texts):
                return "\n".join(plain(text) for text in texts)
        return ""

    def _notes(self, ticket_id: str, marker: str) -> list[_Found]:
        """Our notes on a ticket, the oldest first. Only comments are looked at, which RT shows to staff alone."""
        found = []
        for one in self._transactions([ticket_id], ("Comment",)):
            if not self._ours(one.Creator.id):
                continue
            parts = self._parts(one.id)
            html = "".join(self._content(p) for p in parts if p.ContentType == "text/html" and not p.Filename)
            if marker in html:
                in_place = any(_IN_PLACE in (part.Headers or "").lower() for part in parts)
                found.append(_Found(one.id, html, moment(one.Created), in_place))
        return found

    def _comment(self, ticket_id: str, html: str, note: Note) -> None:
        """A comment, never a reply: RT gives comments to those who have ShowTicketComments, and mails them to AdminCcs only."""
        files = [
            {
                "FileName": file.name,
                "FileType": file.media_type,
                "FileContent": base64.b64encode(file.data).decode(),
            }
            for file in note.files
            if file.data
        ]
        given: dict[str, Any] = {"Content": html, "ContentType": "text/html"}
        if files:
            given["Attachments"] = files
        self._api.json("POST", f"/REST/2.0/ticket/{ticket_id}/comment", missing=ticket_id, json=given)

    def _set_fields(self, ticket_id: str, note: Note, held: _Ticket) -> list[str]:
        """Sets the custom fields that differ. RT takes a name that it does not know without a word, so it is looked up here."""
        wanted: Mapping[str, Any] = own_fields(self._options.fields, note.fields)
        there = {one.name: [str(value) for value in one.values] for one in held.CustomFields}
        told = [
            f"ticket {ticket_id} has no custom field {name!r} that we may see" for name in wanted if name not in there
        ]
        different = {name: value for name, value in wanted.items() if name in there and there[name] != [value]}
        if different:
            said = self._api.json(
                "PUT", f"/REST/2.0/ticket/{ticket_id}", missing=ticket_id, json={"CustomFields": different}
            )
            after = {one.name: [str(v) for v in one.values] for one in self._ticket(ticket_id).CustomFields}
            told += [
                f"custom field {name!r} was not set: {'; '.join(map(str, said or [])) or 'RT did not say why'}"
                for name, value in different.items()
                if after.get(name) != [value]
            ]
        return told


def _limit(field: str, value: str, operator: str = "=", aggregator: str = "AND") -> dict[str, str]:
    """One condition of a search in JSON; those on the same field are joined by the aggregator."""
    return {"field": field, "value": value, "operator": operator, "entry_aggregator": aggregator}
