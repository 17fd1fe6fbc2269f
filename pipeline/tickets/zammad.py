"""Zammad's tickets.

Deliveries: a trigger with a webhook sends `{"ticket": {...}, "article": {...}}`
(https://admin-docs.zammad.org/en/latest/manage/webhook/payload.html), with a signature token signed as `X-Hub-Signature: sha1=` and the
hex HMAC-SHA1 of the raw body; a failed one is sent four times more (`app/jobs/trigger_webhook_job.rb` of zammad/zammad).

An article's text cannot be changed afterwards: `PUT /ticket_articles` takes `internal` only (`app/controllers/ticket_articles_controller.rb`).
Its writer may delete a note for a while, ten minutes unless the administrator chose otherwise (`app/policies/ticket/article_policy.rb`). So:

    the note says the same                         nothing is done
    it may still be deleted                        it is deleted and written anew
    it may not, fault and severity are the same    it is kept; fields and tags are brought up to date
    it may not, and they are others                a further note is written, which names the one that it replaces

The sanitizer takes comments and most attributes out of HTML, so the marker has to be text in the body, as the renderer writes it; the
subject says what the note concludes.
"""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets._api import Api, SystemOptions
from pipeline.tickets._desk import body_of, ours, tags
from pipeline.tickets._history import History
from pipeline.tickets._payload import decode, filled, moment, needed_moment, outline, rows, text, whole
from pipeline.tickets._plain import conversation, html_text, tidied
from pipeline.tickets._polls import Cursor, Row, due, newest, read_cursor, stamped_row, sweep, walk
from pipeline.tickets._shorten import short_html
from pipeline.tickets.file import guess_language
from pipeline.tickets.signatures import check, hexed, to_verify
from pipeline.tickets.system import (
    Attached,
    Changes,
    Event,
    Form,
    Incoming,
    Malformed,
    Note,
    NotPolled,
    Step,
    SystemBroken,
    own_fields,
)
from pipeline.values import Ticket

# `check_body` in `app/models/ticket/article.rb` refuses more.
_LIMIT = 1_500_000
_PAGE = 100
_REPLACES = re.compile(r" \(replaces note / 取代备注 (\d{1,18})\)")
# What every ticket has; any other field was added by an administrator.
_STANDARD = re.compile(
    r"(id|number|title|note|customer|owner|organization|group|state|priority|type|preferences|article.*|.*_id|.*_ids|.*_at|.*_in_min"
    r"|.*_diff_in_min|.*_count|created_by|updated_by|create_article_.*|checklist.*|referencing_checklist.*|last_.*|ai_.*)"
)
_GONE = frozenset({"merged", "removed"})


class Options(SystemOptions, tag="zammad", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is the server's. `token` is an access token with the permission `ticket.agent`, of an agent with full access to the groups.

    `secrets` are the webhook's HMAC SHA1 signature tokens. `user` is the agent's login or e-mail address, asked for where it is not
    given. `fields` names attributes of the ticket object (`fault_class = "fault_class"`), `tags` sets tags such as `fault-interface`,
    which only agents see.
    """

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        super().__post_init__()
        if not self.url:
            raise ValueError("url is missing: the server's address, such as https://support.example.com")


@dataclass(frozen=True)
class _Article:
    """One of our notes."""

    id: int
    subject: str
    body: str
    internal: bool

    @property
    def replaces(self) -> int | None:
        found = _REPLACES.search(self.subject)
        return int(found[1]) if found else None

    @property
    def conclusion(self) -> str:
        """The subject without what differs from note to note."""
        return _REPLACES.sub("", self.subject).strip()


class ZammadSystem:
    """Zammad's tickets. A note is an internal article, which agents read."""

    kind = "zammad"
    form: Form = "html"
    edits = False

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self._options = options
        self._api = Api(
            name, "Zammad", options, {"Authorization": f"Token token={options.token}"} if options.token else {}
        )
        self._account: dict[str, Any] | None = None

    def receive(self, request: Incoming) -> Event:
        """What a delivery says; see `TicketSystem`."""
        if to_verify(self.name, self._options):
            wanted = (f"sha1={hexed(secret, request.body, 'sha1')}" for secret in self._options.secrets)
            check(request.headers.get("x-hub-signature"), wanted, "signature in X-Hub-Signature")
        payload = decode(request.body)
        ticket, article = payload.get("ticket"), payload.get("article")
        if not isinstance(ticket, dict):
            raise Malformed("ticket is missing; leave the webhook's payload as Zammad has it")
        article = article if isinstance(article, dict) else {}
        by = article.get("created_by") or ticket.get("updated_by")
        names = [text(by.get(name)) for name in ("login", "email")] if isinstance(by, dict) else [text(by)]
        return Event(
            str(whole(ticket.get("id"), "ticket.id")),
            "article" if article else "ticket",
            request.headers.get("x-zammad-delivery"),
            next((name for name in names if name), None),
            outline(ticket.get("title"), _plain(article)),
            moment(ticket.get("created_at")),
            self._ignored(ticket, article, names),
        )

    def ticket(self, ticket_id: str) -> Ticket:
        """The ticket with its first article and the customer's later ones; see `TicketSystem`."""
        found = self._ticket(ticket_id)
        first, *rest = self._articles(ticket_id) or [{}]
        later = (
            _plain(article)
            for article in rest
            if article.get("sender") == "Customer" and article.get("internal") is False
        )
        title, description = text(found.get("title")), conversation(_plain(first), later)
        own = filled(found)
        return Ticket(
            id=ticket_id,
            title=title,
            description=description,
            created_at=needed_moment(found.get("created_at"), self._api.where),
            system=self.kind,
            language=guess_language(f"{title}\n{description}"),
            customer_id=text(found.get("customer")) or None,
            custom_fields={
                **{name: text(own[name]) for name in ("number", "group", "state", "priority") if name in own},
                **{name: value for name, value in own.items() if not _STANDARD.fullmatch(name)},
            },
        )

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """One internal article, replaced as far as Zammad lets us; see `TicketSystem` and above."""
        ticket = self._ticket(ticket_id)
        self._only_as_agent()
        attached = self._settled(ticket_id, note)
        fields = own_fields(self._options.fields, note.fields)
        if change := {name: value for name, value in fields.items() if text(ticket.get(name)) != value}:
            self._api.json("PUT", f"/api/v1/tickets/{ticket_id}", missing=ticket_id, json=change)
        if self._options.tags:
            self._tag(ticket_id, note)
        return replace(attached, url=f"{self._options.url.rstrip('/')}/#ticket/zoom/{ticket_id}")

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        """The agents' first public article, and when the ticket was opened. Raises as `ticket` does.

        Nothing that is documented tells the times of states and owners (https://docs.zammad.org/en/latest/api/ticket/).
        """
        found = History()
        found.add("opened", moment(self._ticket(ticket_id).get("created_at")))
        for article in self._articles(ticket_id)[1:]:
            if article.get("sender") == "Agent" and article.get("internal") is False:
                found.add("responded", moment(article.get("created_at")), text(article.get("created_by")))
        return found.steps

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        """Tickets that changed since; see `TicketSystem`. By Zammad's search, which needs its Elasticsearch."""

        def read(since: datetime, page: int) -> tuple[list[Row], bool]:
            found = self._search(f"{since:%Y-%m-%dT%H:%M:%SZ}", "asc", page + 1)
            if not found and page == 0:
                self._searchable()
            return found, len(found) == _PAGE

        if cursor is None:
            last = self._search("1970-01-01T00:00:00Z", "desc", 1)
            if not last:
                self._searchable()
            return Changes((), newest(last).text)
        return due(sweep(read_cursor(cursor, Cursor, self.name, Cursor.of), lambda since: walk(read, since), limit))

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    def _ignored(self, ticket: dict[str, Any], article: dict[str, Any], names: list[str]) -> str | None:
        state = ticket.get("state")
        state = text(state.get("name") if isinstance(state, dict) else state)
        if state in _GONE:
            return f"the ticket is {state}"
        if own := ours(self._options, names, text(article.get("body"))):
            return own
        return "an article that Zammad wrote itself" if article.get("sender") == "System" else None

    def _settled(self, ticket_id: str, note: Note) -> Attached:
        """The note as it should be, by the table above."""
        body, told = _body(note)
        subject = _subject(note)
        kept, dropped = self._current(ticket_id, note.marker)
        told += dropped
        if kept is None:
            return self._write(ticket_id, note, subject, body, told, "created")
        if _said(kept.body) == _said(body):
            return Attached("unchanged", str(kept.id), notes=told)
        try:
            self._delete(kept.id)
        except Refused:
            if kept.conclusion == subject:
                told += (f"note {kept.id} can be changed no more and says the same fault and severity: it is kept",)
                return Attached("kept", str(kept.id), notes=told)
            told += (f"note {kept.id} can be changed no more: a further one replaces it",)
            subject = f"{subject} (replaces note / 取代备注 {kept.id})"
        return self._write(ticket_id, note, subject, body, told, "updated")

    def _write(
        self, ticket_id: str, note: Note, subject: str, body: str, told: tuple[str, ...], outcome: Any
    ) -> Attached:
        files = [
            {"filename": file.name, "mime-type": file.media_type, "data": base64.b64encode(file.data).decode()}
            for file in note.files
        ]
        article = {"subject": subject, "body": body, "content_type": "text/html", "type": "note", "internal": True}
        answer = self._api.json(
            "POST",
            "/api/v1/ticket_articles",
            missing=ticket_id,
            json={"ticket_id": int(ticket_id), **article, **({"attachments": files} if files else {})},
        )
        made = _article(answer)
        if not made.internal:
            self._take_back(made.id)
        # Somebody else may have written one at the same time: the older of the two stays.
        kept, dropped = self._current(ticket_id, note.marker)
        return Attached(outcome, str((kept or made).id), notes=told + dropped)

    def _take_back(self, article: int) -> None:
        """Deletes an article that came out public, and says so."""
        what = f"{self._api.where}: note {article} was public"
        try:
            self._delete(article)
        except Refused as error:
            raise SystemBroken(
                f"{what} and could not be deleted: delete it by hand; the account is no agent"
            ) from error
        raise SystemBroken(f"{what} and has been deleted; the account is no agent of the ticket's group")

    def _current(self, ticket_id: str, marker: str) -> tuple[_Article | None, tuple[str, ...]]:
        """Our note that holds now; younger twins of it are deleted, what it replaces is left."""
        me = self._me().get("id")
        marked = [
            _article(article)
            for article in self._articles(ticket_id)
            if article.get("created_by_id") == me and marker in text(article.get("body"))
        ]
        replaced = {article.replaces for article in marked}
        standing = [article for article in marked if article.id not in replaced]
        told: tuple[str, ...] = ()
        for twin in standing[1:]:
            try:
                self._delete(twin.id)
                told += (f"note {twin.id}, a second one with the same marker, was deleted",)
            except Refused:
                told += (f"note {twin.id} is a second one with the same marker and can be deleted no more",)
        return (standing[0] if standing else None), told

    def _delete(self, article: int) -> None:
        with suppress(TicketNotFound):
            self._api.send("DELETE", f"/api/v1/ticket_articles/{article}", missing=str(article))

    def _ticket(self, ticket_id: str) -> dict[str, Any]:
        if not (ticket_id.isascii() and ticket_id.isdecimal()):
            raise TicketNotFound(
                f"ticket {ticket_id!r} is none of Zammad's: its id is a number, not the ticket's number of the title"
            )
        found = self._api.json("GET", f"/api/v1/tickets/{ticket_id}", missing=ticket_id, params={"expand": "true"})
        if not isinstance(found, dict):
            raise SystemBroken(f"{self._api.where} gave ticket {ticket_id} as something that is no object")
        return found

    def _articles(self, ticket_id: str) -> list[dict[str, Any]]:
        path = f"/api/v1/ticket_articles/by_ticket/{ticket_id}"
        found = rows(self._api.json("GET", path, missing=ticket_id), self._api.where)
        return sorted(found, key=lambda article: int(article["id"]))

    def _me(self) -> dict[str, Any]:
        if self._account is None:
            self._account = self._api.json("GET", "/api/v1/users/me", params={"expand": "true"}) or {}
        return self._account

    def _only_as_agent(self) -> None:
        """Refuses to write with a customer's account, whose articles are public whatever they ask for."""
        if self._me().get("roles") == ["Customer"]:
            raise SystemBroken(
                f"{self._api.where}: the account of [tickets.{self.name}] has the role Customer only, and a customer's articles are"
                " public; nothing was written. Give it a role with ticket.agent"
            )

    def _tag(self, ticket_id: str, note: Note) -> None:
        of = {"object": "Ticket", "o_id": ticket_id}
        present = (self._api.json("GET", "/api/v1/tags", params=of) or {}).get("tags") or []
        added, stale = tags(note, present)
        for tag in stale:
            self._api.send("DELETE", "/api/v1/tags/remove", json={**of, "item": tag})
        for tag in added:
            self._api.send("POST", "/api/v1/tags/add", again=True, json={**of, "item": tag})

    def _search(self, since: str, order: str, page: int) -> list[Row]:
        query = {"query": f"updated_at:[{since} TO *]", "sort_by": "updated_at", "order_by": order, "expand": "true"}
        answer = self._api.json("GET", "/api/v1/tickets/search", params={**query, "limit": _PAGE, "page": page})
        return [self._row(ticket) for ticket in rows(answer, self._api.where)]

    def _row(self, ticket: dict[str, Any]) -> Row:
        state = text(ticket.get("state"))
        ignored = f"the ticket is {state}" if state in _GONE else None
        return stamped_row(str(ticket["id"]), ticket, outline(ticket.get("title")), self._api.where, ignored)

    def _searchable(self) -> None:
        """Raises where the search finds nothing though there are tickets: without Elasticsearch it cannot search by time."""
        if not self._search("1970-01-01T00:00:00Z", "desc", 1) and self._api.json(
            "GET", "/api/v1/tickets", params={"per_page": 1, "page": 1}
        ):
            raise NotPolled(f"{self._api.where} cannot be polled: its search by time of change needs Elasticsearch")


def _article(article: dict[str, Any]) -> _Article:
    body = text(article.get("body"))
    return _Article(int(article["id"]), text(article.get("subject")), body, article.get("internal") is True)


def _plain(article: dict[str, Any]) -> str:
    """An article's text, whichever way it was written."""
    body = text(article.get("body"))
    return html_text(body) if "html" in text(article.get("content_type") or "text/html") else tidied(body)


def _said(body: str) -> str:
    """What a reader sees of a body, which the sanitizer may have rewritten."""
    return " ".join(html_text(body).split())


def _body(note: Note) -> tuple[str, tuple[str, ...]]:
    """The body, cut to what Zammad takes, and what is to be told of that."""
    whole = body_of(note, "html")
    if len(whole) <= _LIMIT:
        return whole, ()
    # Cut by bytes, which are never fewer than characters.
    return short_html(whole, _LIMIT, f"<p><small>{note.marker}</small></p>"), (f"the note was cut to {_LIMIT} bytes",)


def _subject(note: Note) -> str:
    """What the note concludes."""
    said = [note.fields.get(name) for name in ("fault_class", "fault_subclass", "severity")]
    return " · ".join(["Problem snapshot / 问题快照", *(one for one in said if one)])
