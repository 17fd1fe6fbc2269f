"""Zendesk Support: signed webhooks in, a private comment out.

Sources, all under https://developer.zendesk.com:
/documentation/webhooks/verifying (signature), /api-reference/webhooks/event-types/ticket-events (events),
/api-reference/ticketing/tickets/tickets (update, `safe_update`, tags), /api-reference/ticketing/tickets/ticket_comments,
/api-reference/ticketing/ticket-management/incremental_exports (poll).

A comment cannot be edited, only redacted for good. So the first note stays; what changes is told in fields and tags, and a new
note is written only where the conclusion changed (see `_attached`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import quote

import msgspec

from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets import _desk as desk
from pipeline.tickets import _payload as payload
from pipeline.tickets._api import Api, Conflict, SystemOptions
from pipeline.tickets._history import History
from pipeline.tickets._plain import conversation, html_text, tidied
from pipeline.tickets._polls import read_cursor
from pipeline.tickets._shorten import short_html, whole
from pipeline.tickets._zendesk_audits import STATES, add_audits
from pipeline.tickets.file import guess_language
from pipeline.tickets.signatures import based, check, check_time, signed_time, to_verify
from pipeline.tickets.system import (
    Attached,
    Changes,
    Event,
    File,
    Form,
    Incoming,
    Malformed,
    Note,
    Step,
    SystemBroken,
    SystemUnavailable,
    own_fields,
)
from pipeline.values import Ticket

_log = logging.getLogger(__name__)
# "~65,000" characters by Zendesk's staff (support.zendesk.com/hc/en-us/community/posts/4719863289498); bytes are the safe side.
MAX_NOTE = 64_000
_PAGE = 100
# A ticket holds at most 5,000 comments.
_MAX_PAGES = 50
_TRIES = 3
_EVENT = "zen:event-type:"
# What may say something new about the fault. Status, priority, assignee, tags and the like do not.
_REASONS = frozenset(
    [
        "created",
        "comment_added",
        "subject_changed",
        "description_changed",
        "custom_field_changed",
        "requester_changed",
        "undeleted",
    ]
)
# What the desk's clock is to know, and nothing else.
_ROUTINE = frozenset(["status_changed", "priority_changed", "agent_assignment_changed", "group_assignment_changed"])
_GONE = {
    "soft_deleted": "the ticket was deleted",
    "permanently_deleted": "the ticket was deleted",
    "marked_as_spam": "the ticket was marked as spam",
    "merged": "the ticket was merged into another",
}


class Options(SystemOptions, tag="zendesk", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[tickets.NAME]` table with `kind = "zendesk"`.

    `url` is `https://SUBDOMAIN.zendesk.com`. `username` (an agent's address) and `token` (an API token) sign in; a `token` alone is
    an OAuth access token. `secrets` are the webhook's signing secrets. `user` is the agent's user id, as a number in quotes.
    `fields` names custom fields by their ids: `fault_class = "360001234567"`.
    """

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        super().__post_init__()
        for ours, theirs in self.fields.items():
            if not theirs.isdecimal():
                raise ValueError(f"fields.{ours}: {theirs!r} is no id of a Zendesk field: it is a number, in quotes")


class _Comment(msgspec.Struct, frozen=True):
    id: int = 0
    body: str | None = None


class _Change(msgspec.Struct, frozen=True):
    comment: _Comment | None = None


class _Detail(msgspec.Struct, frozen=True):
    id: str | int = ""
    actor_id: str | int | None = None
    subject: str | None = None
    description: str | None = None
    created_at: str | None = None
    status: str | None = None


class _Delivery(msgspec.Struct, frozen=True):
    """An event's body, or what the trigger of docs/tickets/zendesk.md sends."""

    type: str = ""
    id: str = ""
    detail: _Detail | None = None
    event: _Change | None = None
    ticket_id: str | int | None = None
    actor_id: str | int | None = None
    created_at: str | None = None


class _Told(msgspec.Struct, frozen=True):
    """One comment as the API lists it."""

    id: int
    author_id: int | None = None
    public: bool = True
    body: str | None = None
    html_body: str | None = None
    plain_body: str | None = None
    created_at: str | None = None

    @property
    def text(self) -> str:
        """What it says, its line breaks kept."""
        return html_text(self.html_body) or tidied(self.plain_body or self.body or "")


class ZendeskSystem:
    """One Zendesk account."""

    kind = "zendesk"
    form: Form = "html"
    edits = False

    def __init__(self, name: str, options: Options) -> None:
        desk.require_url(name, options)
        self.name = name
        self._options = options
        token = options.token
        headers = {}
        if token:
            headers["Authorization"] = (
                desk.basic(f"{options.username.removesuffix('/token')}/token", token)
                if options.username
                else f"Bearer {token}"
            )
        self._api = Api(name, "Zendesk", options, headers)
        self._names: dict[int, str] | None = None
        self._naming = threading.Lock()

    def receive(self, request: Incoming) -> Event:
        """See `TicketSystem.receive`. Events of webhooks and the trigger of docs/tickets/zendesk.md are understood."""
        self._verify(request)
        sent = payload.decoded(request.body, _Delivery, "Zendesk")
        invoked = request.headers.get("x-zendesk-webhook-invocation-id")
        if sent.type.startswith(_EVENT):
            return self._event(sent, invoked)
        actor = str(sent.actor_id) if sent.actor_id else None
        event = Event(
            _ticket_id(sent.ticket_id),
            sent.type or "trigger",
            invoked,
            actor,
            created_at=payload.moment(sent.created_at),
        )
        return desk.with_reason(event, desk.ours(self._options, [actor]))

    def ticket(self, ticket_id: str) -> Ticket:
        """See `TicketSystem.ticket`. The comments of end users that are public are appended to the description."""
        found = self._show(ticket_id)
        comments, people, more = self._comments(ticket_id)
        customers = {person["id"] for person in people if person.get("role") == "end-user"} | {
            found.get("requester_id")
        }
        # The first comment is the description, once more.
        later = [one.text for one in comments[1:] if one.public and one.author_id in customers]
        title = str(found.get("subject") or found.get("raw_subject") or "")
        description = tidied(str(found.get("description") or ""))
        requester = found.get("requester_id")
        return Ticket(
            id=str(found["id"]),
            title=title,
            description=conversation(description, later, omitted=more),
            created_at=payload.needed_moment(found.get("created_at"), self._api.where),
            system=self.kind,
            language=guess_language(f"{title}\n{description}"),
            customer_id=str(requester) if requester else None,
            custom_fields=self._custom_fields(found),
        )

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """See `TicketSystem.attach`.

        The comment goes with the ticket's time of last change (`safe_update`), so that of two writers one is told that
        the ticket changed, reads again, and finds the other's note.
        """
        for left in reversed(range(_TRIES)):
            try:
                return self._attached(ticket_id, note)
            except Conflict as error:
                if not left:
                    raise SystemUnavailable(
                        f"ticket {ticket_id} changed each time that a note was written: {error}"
                    ) from error
        raise AssertionError  # the loop returns or raises

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        """See `TicketSystem.changed`: the incremental export by cursor. It leaves out the last minute, and needs an admin's token."""
        if cursor is None:
            # What any agent may see: the export would refuse some who are not to poll at all.
            self._get("/api/v2/tickets.json", params={"page[size]": 1})
            return Changes((), _Stand(start=int(time.time()) - 60).text)
        stand = read_cursor(cursor, _Stand, self.name, _Stand.of)
        params: dict[str, Any] = {"per_page": max(1, min(limit, 1000))}
        params |= {"cursor": stand.cursor} if stand.cursor else {"start_time": stand.start}
        page = self._get("/api/v2/incremental/tickets/cursor.json", params=params)
        events = tuple(
            Event(
                str(one.get("id")),
                "changed",
                text=f"{one.get('subject') or ''}\n{one.get('description') or ''}",
                created_at=payload.moment(one.get("created_at")),
                ignored="the ticket was deleted" if one.get("status") == "deleted" else None,
            )
            for one in payload.rows(page.get("tickets") or [], self._api.where)
        )
        after = _Stand(cursor=page.get("after_cursor") or stand.cursor, start=stand.start)
        return Changes(events, after.text, more=page.get("end_of_stream") is False)

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        """What the comments and the audits tell; an answer is a public comment of an agent. Raises as `ticket` does."""
        ticket = self._show(ticket_id)
        comments, people, _ = self._comments(ticket_id)
        names = {person["id"]: str(person.get("name") or person["id"]) for person in people}
        agents = {person["id"] for person in people if person.get("role") in {"agent", "admin"}}
        agents -= {ticket.get("requester_id")}
        found = History(STATES, self._options.states)
        found.add("opened", payload.moment(ticket.get("created_at")), names.get(ticket.get("submitter_id") or 0))
        # The first comment is the description.
        for one in comments[1:]:
            if one.public and one.author_id in agents:
                found.add("responded", payload.moment(one.created_at), names.get(one.author_id or 0))
        more = False
        path = f"/api/v2/tickets/{_path(ticket_id)}/audits.json"
        for page in islice(self._pages(path, missing=ticket_id), _MAX_PAGES):
            add_audits(found, page.get("audits"), names, self._api.where)
            more = _has_more(page)
        if more:
            told = "%s: ticket %s has more than %d audits: what the later ones tell is not known"
            _log.warning(told, self._api.where, ticket_id, _MAX_PAGES * _PAGE)
        return found.steps

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    def _verify(self, request: Incoming) -> None:
        if not to_verify(self.name, self._options):
            return
        stamp = request.headers.get("x-zendesk-webhook-signature-timestamp", "")
        data = stamp.encode() + request.body
        check(
            request.headers.get("x-zendesk-webhook-signature"),
            [based(secret, data) for secret in self._options.secrets],
            "signature in x-zendesk-webhook-signature",
        )
        check_time(signed_time(stamp), request.received_at)

    def _event(self, sent: _Delivery, invoked: str | None) -> Event:
        kind = sent.type.removeprefix(_EVENT)
        domain, _, what = kind.partition(".")
        if domain != "ticket" or sent.detail is None:
            raise Malformed(f"{kind!r} is no event of a ticket: the webhook is to send ticket events")
        said = (sent.event.comment.body or "") if sent.event and sent.event.comment else ""
        actor = str(sent.detail.actor_id) if sent.detail.actor_id else None
        event = Event(
            _ticket_id(sent.detail.id),
            kind,
            sent.id or invoked,
            actor,
            "\n".join(text for text in (sent.detail.subject, sent.detail.description) if text),
            payload.moment(sent.detail.created_at),
        )
        reason = _GONE.get(what) or ("the ticket was deleted" if sent.detail.status == "deleted" else None)
        event = replace(event, routine=what in _ROUTINE)
        if not reason and what not in _REASONS and not event.routine:
            reason = f"{kind} says nothing new about the fault"
        return desk.with_reason(event, reason or desk.ours(self._options, [actor], said))

    def _get(self, path: str, **given: Any) -> dict[str, Any]:
        return payload.fields(self._api.json("GET", path, **given), self._api.where)

    def _show(self, ticket_id: str) -> dict[str, Any]:
        answer = self._get(f"/api/v2/tickets/{_path(ticket_id)}.json", missing=ticket_id)
        found = answer.get("ticket")
        if not isinstance(found, dict) or "id" not in found:
            raise SystemBroken(f"{self._api.where} answered no ticket {ticket_id}: check url")
        if found.get("status") == "deleted":
            raise TicketNotFound(f"{self._api.where} has ticket {ticket_id} among the deleted")
        return found

    def _comments(self, ticket_id: str) -> tuple[list[_Told], list[dict[str, Any]], int]:
        """All comments, oldest first, the people who wrote them, and how many comments were not read."""
        comments: list[_Told] = []
        people: list[dict[str, Any]] = []
        more = False
        path = f"/api/v2/tickets/{_path(ticket_id)}/comments.json"
        pages = self._pages(path, missing=ticket_id, include="users", include_inline_images="false")
        for page in islice(pages, _MAX_PAGES):
            comments += payload.read(page.get("comments") or [], list[_Told], self._api.where)
            people += [person for person in payload.rows(page.get("users") or [], self._api.where) if "id" in person]
            more = _has_more(page)
        if not more:
            return comments, people, 0
        answer = self._get(f"/api/v2/tickets/{_path(ticket_id)}/comments/count.json", missing=ticket_id)
        count = payload.fields(answer.get("count"), self._api.where).get("value")
        return comments, people, max(1, int(count or 0) - len(comments))

    def _custom_fields(self, found: dict[str, Any]) -> dict[str, Any]:
        values: dict[Any, Any] = {
            one["id"]: one.get("value") for one in found.get("custom_fields") or () if "id" in one
        }
        filled = payload.filled(values)
        names = self._field_names() if filled else {}
        return {names.get(number, str(number)): value for number, value in filled.items()}

    def _field_names(self) -> dict[int, str]:
        """The titles of custom fields by their ids, read once; none where the account may not read them."""
        with self._naming:
            if self._names is None:
                try:
                    self._names = {one["id"]: one.get("raw_title") or one["title"] for one in self._fields()}
                except Refused:
                    self._names = {}
            return self._names

    def _fields(self) -> Iterator[dict[str, Any]]:
        for page in self._pages("/api/v2/ticket_fields.json"):
            yield from payload.rows(page.get("ticket_fields") or [], self._api.where)

    def _pages(self, path: str, *, missing: str = "", **query: str) -> Iterator[dict[str, Any]]:
        """The pages of a list, by cursor: https://developer.zendesk.com/api-reference/introduction/pagination/."""
        params: dict[str, Any] = {"page[size]": _PAGE, **query}
        while True:
            page = self._get(path, missing=missing, params=params)
            yield page
            if not _has_more(page):
                return
            params["page[after]"] = page["meta"].get("after_cursor")

    def _attached(self, ticket_id: str, note: Note) -> Attached:
        found = self._show(ticket_id)
        body = _harmless(desk.body_of(note, self.form))
        url = f"{self._options.url.rstrip('/')}/agent/tickets/{found['id']}"
        comments = self._comments(ticket_id)[0]
        earlier = _ours(comments, note.marker)
        if found.get("status") == "closed":
            return self._closed(note, earlier[-1] if earlier else None, url)
        change: dict[str, Any] = {}
        values: dict[str, Any] = {str(one.get("id")): one.get("value") for one in found.get("custom_fields") or ()}
        wanted = own_fields(self._options.fields, note.fields)
        if any(values.get(name) != value for name, value in wanted.items()):
            change["custom_fields"] = [{"id": int(name), "value": value} for name, value in wanted.items()]
        last = earlier[-1] if earlier else None
        stamp = desk.stamp(last.text, note.marker) if last else None
        if stamp is None or stamp.concluded not in {"", desk.conclusion(note)}:
            change["comment"] = self._comment(note, body, last)
        if change:
            self._update(ticket_id, change, str(found.get("updated_at")))
        tagged = self._tag(ticket_id, note, found.get("tags") or ())
        if "comment" in change:
            return self._written(ticket_id, note, url, {one.id for one in comments})
        outcome = "kept" if change or tagged or (stamp and stamp.body != desk.digest(body)) else "unchanged"
        assert last is not None  # noqa: S101 - without one a comment is written
        return Attached("kept" if outcome == "kept" else "unchanged", str(last.id), url)

    def _comment(self, note: Note, body: str, last: _Told | None) -> dict[str, Any]:
        # Zendesk may take HTML comments out, so the marker is shown, small, at the end.
        end = f"<p><small>{desk.stamped(note, body)}</small></p>"
        start = f"<p>{desk.replaces(payload.moment(last.created_at))}</p>" if last else ""
        files = note.files
        short = short_html(start + body, MAX_NOTE, end)
        if len((start + body + end).encode()) > MAX_NOTE:
            files = (*files, whole(body, f"{note.snapshot_id}.html", "text/html"))
        comment: dict[str, Any] = {"html_body": short, "public": False}
        if files:
            comment["uploads"] = [self._upload(file) for file in files]
        return comment

    def _upload(self, file: File) -> str:
        answer = self._api.json(
            "POST",
            "/api/v2/uploads.json",
            params={"filename": file.name},
            content=file.data,
            headers={"Content-Type": file.media_type},
        )
        where = self._api.where
        token = payload.fields(payload.fields(answer, where).get("upload"), where).get("token")
        if not token:
            raise SystemBroken(f"{self._api.where} gave no token for the file {file.name}")
        return str(token)

    def _update(self, ticket_id: str, change: dict[str, Any], updated: str) -> None:
        ticket = {**change, "updated_stamp": updated, "safe_update": True}
        # Sent once: times have whole seconds, so `safe_update` may not notice a request that was done and is sent again.
        self._api.json(
            "PUT", f"/api/v2/tickets/{_path(ticket_id)}.json", missing=ticket_id, again=False, json={"ticket": ticket}
        )

    def _tag(self, ticket_id: str, note: Note, present: Any) -> bool:
        if not self._options.tags:
            return False
        add, remove = desk.tags(note, [str(tag) for tag in present])
        path = f"/api/v2/tickets/{_path(ticket_id)}/tags.json"
        # PUT adds to the ticket's tags (POST would replace them), and DELETE takes off the ones named.
        if add:
            self._api.json("PUT", path, missing=ticket_id, json={"tags": add})
        if remove:
            self._api.send("DELETE", path, missing=ticket_id, json={"tags": remove})
        return bool(add or remove)

    def _written(self, ticket_id: str, note: Note, url: str, before: set[int]) -> Attached:
        """What stands on the ticket after a note was written: found again among the new comments, and private."""
        comments = self._comments(ticket_id)[0]
        line = desk.stamped(note, _harmless(desk.body_of(note, self.form)))
        mine = [one for one in comments if one.id not in before and line in one.text]
        if not mine:
            raise SystemBroken(f"{self._api.where} took the note on ticket {ticket_id} and does not show it")
        for one in mine:
            if one.public:
                path = f"/api/v2/tickets/{_path(ticket_id)}/comments/{one.id}/make_private.json"
                self._api.send("PUT", path, missing=ticket_id)
                raise SystemBroken(
                    f"{self._api.where} made the note on ticket {ticket_id} public; it was made private at once. "
                    "Look whether the account may write private comments"
                )
        twice = f"the note is on the ticket {len(mine)} times: Zendesk lets none be deleted"
        return Attached("created", str(mine[-1].id), url, (twice,) if len(mine) > 1 else ())

    def _closed(self, note: Note, last: _Told | None, url: str) -> Attached:
        if last is None:
            raise SystemBroken(f"{self._api.where}: the ticket is closed and takes no note ({note.snapshot_id})")
        return Attached("kept", str(last.id), url, ("the ticket is closed and takes no change",))


def _ours(comments: Iterable[_Told], marker: str) -> list[_Told]:
    """Our notes, oldest first. A public comment that quotes a marker is none."""
    return [one for one in comments if not one.public and (marker in one.text or marker in (one.html_body or ""))]


def _has_more(page: dict[str, Any]) -> bool:
    return bool((page.get("meta") or {}).get("has_more"))


class _Stand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the poll stands: Zendesk's own cursor, or the time in seconds since 1970 to begin at."""

    start: int
    cursor: str | None = None

    @classmethod
    def of(cls, when: datetime) -> _Stand:
        return cls(start=int(when.timestamp()))

    @property
    def text(self) -> str:
        return msgspec.json.encode(self).decode()


def _ticket_id(value: Any) -> str:
    text = str(value or "")
    if not (text.isascii() and text.isdecimal()):
        raise Malformed(f"{text[:60]!r} is no ticket id of Zendesk")
    return text


def _path(ticket_id: str) -> str:
    if not (ticket_id.isascii() and ticket_id.isdecimal()):
        raise TicketNotFound(f"{ticket_id!r} is no ticket id of Zendesk: it is a number")
    return quote(ticket_id, safe="")


def _harmless(html: str) -> str:
    """The same HTML, in which Zendesk finds no placeholder to fill in: an agent's comment is a Liquid template there.

    >>> _harmless("<p>{{ticket.requester.email}}</p>")
    '<p>&#123;&#123;ticket.requester.email}}</p>'
    """
    return html.replace("{", "&#123;")
