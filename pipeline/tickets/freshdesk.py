"""Freshdesk: an automation rule's webhook in, a private note out.

Sources: https://developers.freshdesk.com/api/ (tickets, conversations, notes),
https://support.freshdesk.com/support/solutions/articles/132589-using-webhooks-in-automation-rules (webhooks). Deliveries are not signed: a
secret goes in a header that the rule sends.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn
from urllib.parse import quote

import msgspec

from pipeline.errors import Refused, SnapshotError, TicketNotFound
from pipeline.tickets import _desk as desk
from pipeline.tickets import _payload as payload
from pipeline.tickets._api import Api, SystemOptions
from pipeline.tickets._history import History
from pipeline.tickets._plain import conversation, html_text, tidied
from pipeline.tickets._polls import Row, polled
from pipeline.tickets._shorten import short_html, whole
from pipeline.tickets.file import guess_language
from pipeline.tickets.signatures import check_token, credential, to_verify
from pipeline.tickets.system import (
    Attached,
    Changes,
    Event,
    File,
    Form,
    Incoming,
    Malformed,
    Note,
    Outcome,
    Step,
    SystemBroken,
    own_fields,
)
from pipeline.values import Ticket

# Freshdesk documents no limit of a note; what is longer than this nobody reads in a conversation.
MAX_NOTE = 64_000
_PAGE = 100
_MAX_PAGES = 100
_TOKEN = "x-problem-snapshot-token"  # noqa: S105 - a header's name


class Options(SystemOptions, tag="freshdesk", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[tickets.NAME]` table with `kind = "freshdesk"`.

    `url` is `https://DOMAIN.freshdesk.com`, `token` an agent's API key. `secrets` are what the rule sends in the header
    `X-Problem-Snapshot-Token`, or as a bearer token or password. `user` is the agent's address, if the rule sends who changed the
    ticket. `fields` names custom fields as the API does: `fault_class = "cf_fault_class"`.
    """


class _Fields(msgspec.Struct, frozen=True):
    """What the rule of docs/tickets/freshdesk.md sends; some placeholders come as numbers, some as text."""

    ticket_id: str | int | None = None
    ticket_id_alt: str | int | None = msgspec.field(name="id", default=None)
    event: str | None = None
    triggered_event: str | None = None
    actor: str | None = None
    created_at: str | None = None


class _Delivery(_Fields, frozen=True):
    freshdesk_webhook: _Fields | None = None


class FreshdeskSystem:
    """One Freshdesk account."""

    kind = "freshdesk"
    form: Form = "html"
    edits = True

    def __init__(self, name: str, options: Options) -> None:
        desk.require_url(name, options)
        self.name = name
        self._options = options
        # The key is the user, and the password is not looked at.
        headers = {"Authorization": desk.basic(options.token, "X")} if options.token else {}
        self._api = Api(name, "Freshdesk", options, headers)
        self._labels: dict[str, str] | None = None
        self._agent: int | None = None
        self._asking = threading.Lock()

    def receive(self, request: Incoming) -> Event:
        """See `TicketSystem.receive`: the body of docs/tickets/freshdesk.md, or Freshdesk's simple one (`freshdesk_webhook`)."""
        self._verify(request)
        outer = payload.decoded(request.body, _Delivery, "Freshdesk")
        sent: _Fields = outer.freshdesk_webhook or outer
        number = str(sent.ticket_id or sent.ticket_id_alt or "")
        if not _is_id(number):
            raise Malformed(f"{number[:60]!r} is no ticket id of Freshdesk: the rule is to send {{{{ticket.id}}}}")
        kind = sent.event or sent.triggered_event or "rule"
        # The rule's body is the same for each change of a ticket, and has no id: each call is a delivery of its own.
        delivery = f"{number}:{request.received_at.isoformat()}"
        event = Event(number, kind[:80], delivery, sent.actor, created_at=payload.moment(sent.created_at))
        return desk.with_reason(event, desk.ours(self._options, [sent.actor]))

    def ticket(self, ticket_id: str) -> Ticket:
        """See `TicketSystem.ticket`. What came in from outside and is not private is appended to the description."""
        found = self._show(ticket_id)
        talk, more = self._conversations(ticket_id)
        said = [_text(one) for one in talk if one.get("incoming") is True and one.get("private") is False]
        title = str(found.get("subject") or "")
        description = html_text(found.get("description")) or tidied(str(found.get("description_text") or ""))
        fields = payload.filled(found.get("custom_fields") or {})
        labels = self._field_labels() if fields else {}
        requester = found.get("requester_id")
        return Ticket(
            id=str(found["id"]),
            title=title,
            description=conversation(description, said, omitted=more),
            created_at=payload.needed_moment(found.get("created_at"), self._api.where),
            system=self.kind,
            language=guess_language(f"{title}\n{description}"),
            customer_id=str(requester) if requester else None,
            custom_fields={labels.get(name, name): value for name, value in fields.items()},
        )

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """See `TicketSystem.attach`. Where two writers were at it, the older note stays."""
        found = self._show(ticket_id)
        rendered = desk.body_of(note, self.form)
        # Freshdesk may take HTML comments out, so the marker is shown, small, at the end.
        line = f"{note.marker} {desk.digest(rendered)}"
        end = f"<p><small>{line}</small></p>"
        body = short_html(rendered, MAX_NOTE, end)
        cut = body != rendered + end
        files = (*note.files, whole(rendered, f"{note.snapshot_id}.html", "text/html")) if cut else note.files
        mine = self._ours(ticket_id, note.marker)
        made = 0
        if not mine:
            path = f"/api/v2/tickets/{_path(ticket_id)}/notes"
            made = self._write("POST", path, ticket_id, {"body": body, "private": True}, files)
            mine = self._ours(ticket_id, note.marker)
            if not mine:
                raise SystemBroken(f"{self._api.where} took the note on ticket {ticket_id} and does not show it")
        first = mine[0]
        for other in mine[1:]:
            self._api.send("DELETE", f"/api/v2/conversations/{other['id']}", missing=ticket_id)
        outcome: Outcome = "created" if made == first["id"] else "unchanged"
        if outcome == "unchanged" and line not in _text(first):
            there = {one.get("name") for one in first.get("attachments") or ()}
            new = [file for file in files if file.name not in there]
            self._write("PUT", f"/api/v2/conversations/{first['id']}", ticket_id, {"body": body}, new)
            outcome = "updated"
        self._set(ticket_id, found, note)
        url = f"{self._options.url.rstrip('/')}/a/tickets/{found['id']}"
        return Attached(outcome, str(first["id"]), url)

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        """The agents' first public reply, and when the ticket was opened. Raises as `ticket` does.

        Earlier states are not to be had by the API: https://developers.freshdesk.com/api/#list_all_ticket_conversations.
        """
        found = History()
        found.add("opened", payload.moment(self._show(ticket_id).get("created_at")))
        for one in self._conversations(ticket_id)[0]:
            if one.get("incoming") is False and one.get("private") is False:
                found.add("responded", payload.moment(one.get("created_at")), str(one.get("user_id") or ""))
        return found.steps

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        """See `TicketSystem.changed`: the list of tickets by `updated_since`."""
        return polled(self.name, cursor, self._since, limit)

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    def _verify(self, request: Incoming) -> None:
        if to_verify(self.name, self._options):
            given = request.headers.get(_TOKEN) or credential(request)
            check_token(given, self._options.secrets, f"token in {_TOKEN}")

    def _show(self, ticket_id: str) -> dict[str, Any]:
        found = self._api.json("GET", f"/api/v2/tickets/{_path(ticket_id)}", missing=ticket_id)
        if not isinstance(found, dict) or "id" not in found:
            raise SystemBroken(f"{self._api.where} answered no ticket {ticket_id}: check url")
        if found.get("deleted") or found.get("spam"):
            what = "deleted" if found.get("deleted") else "marked as spam"
            raise TicketNotFound(f"{self._api.where} has ticket {ticket_id} as {what}")
        return found

    def _conversations(self, ticket_id: str) -> tuple[list[dict[str, Any]], int]:
        """What was said on the ticket, oldest first, and a count of what was not read (at least one, where that is not known)."""
        found: list[dict[str, Any]] = []
        for page in range(1, _MAX_PAGES + 1):
            params = {"per_page": _PAGE, "page": page}
            path = f"/api/v2/tickets/{_path(ticket_id)}/conversations"
            rows = payload.rows(self._api.json("GET", path, missing=ticket_id, params=params), self._api.where)
            found += [row for row in rows if isinstance(row.get("id"), int)]
            if len(rows) < _PAGE:
                return sorted(found, key=lambda row: int(row["id"])), 0
        return sorted(found, key=lambda row: int(row["id"])), 1

    def _ours(self, ticket_id: str, marker: str) -> list[dict[str, Any]]:
        """Our notes, oldest first. One that is public is withdrawn; what others wrote is never ours, whatever they quote."""
        me = self._me()
        mine = [one for one in self._conversations(ticket_id)[0] if one.get("user_id") == me and marker in _text(one)]
        for one in mine:
            if one.get("private") is not True:
                self._withdraw(ticket_id, one["id"])
        return mine

    def _me(self) -> int:
        """The agent whose key we have, asked for once."""
        with self._asking:
            if self._agent is None:
                found = payload.fields(self._api.json("GET", "/api/v2/agents/me"), self._api.where)
                if not isinstance(found.get("id"), int):
                    raise SystemBroken(f"{self._api.where} does not say whose key token is: it has to be an agent's")
                self._agent = found["id"]
            return self._agent

    def _write(self, method: str, path: str, ticket_id: str, fields: dict[str, Any], files: Sequence[File]) -> int:
        """Writes or changes a note. Returns its id. A note that comes out public is withdrawn."""
        given: dict[str, Any] = {"json": fields}
        if files:
            parts = [("attachments[]", (file.name, file.data, file.media_type)) for file in files]
            # A form has text only.
            given = {"data": {k: "true" if v is True else v for k, v in fields.items()}, "files": parts}
        answer = self._api.json(method, path, missing=ticket_id, again=False, **given)
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), int):
            raise SystemBroken(f"{self._api.where} answered no note on ticket {ticket_id}")
        # What `_ours` found was private, and a change does not say.
        if answer.get("private") is not True and ("private" in fields or answer.get("private") is False):
            self._withdraw(ticket_id, answer["id"])
        return int(answer["id"])

    def _withdraw(self, ticket_id: str, number: int) -> NoReturn:
        done = "it was deleted at once"
        try:
            self._api.send("DELETE", f"/api/v2/conversations/{number}")
        except SnapshotError as error:
            done = f"it could not be deleted ({error}): delete it now"
        raise SystemBroken(f"{self._api.where} has the note on ticket {ticket_id} as public; {done}")

    def _set(self, ticket_id: str, found: Mapping[str, Any], note: Note) -> None:
        """Sets custom fields and tags where they differ. Tags are written as a whole there, so all others are sent along."""
        held = found.get("custom_fields") or {}
        change: dict[str, Any] = {}
        wanted = own_fields(self._options.fields, note.fields)
        if differing := {name: value for name, value in wanted.items() if held.get(name) != value}:
            change["custom_fields"] = differing
        if self._options.tags:
            present = [str(tag) for tag in found.get("tags") or ()]
            add, remove = desk.tags(note, present)
            if add or remove:
                change["tags"] = [tag for tag in present if tag not in remove] + add
        if change:
            self._api.json("PUT", f"/api/v2/tickets/{_path(ticket_id)}", missing=ticket_id, json=change)

    def _field_labels(self) -> dict[str, str]:
        """The labels of custom fields by their names, read once; none where the key may not read them (it needs an admin's)."""
        with self._asking:
            if self._labels is None:
                try:
                    rows = payload.rows(self._api.json("GET", "/api/v2/ticket_fields"), self._api.where)
                    self._labels = {
                        str(row["name"]): str(row.get("label") or row["name"]) for row in rows if "name" in row
                    }
                except Refused:
                    self._labels = {}
            return self._labels

    def _since(self, since: datetime, page: int) -> tuple[Sequence[Row], bool]:
        params = {
            "updated_since": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "order_by": "updated_at",
            "order_type": "asc",
            "per_page": _PAGE,
            "page": page + 1,
        }
        found = payload.rows(self._api.json("GET", "/api/v2/tickets", params=params), self._api.where)
        rows = []
        for one in found:
            event = Event(
                str(one.get("id")),
                "changed",
                text=str(one.get("subject") or ""),
                created_at=payload.moment(one.get("created_at")),
            )
            event = desk.with_reason(event, "the ticket was marked as spam" if one.get("spam") else None)
            rows.append(Row(payload.needed_moment(one.get("updated_at"), self._api.where), event))
        return rows, len(found) == _PAGE


def _text(one: Mapping[str, Any]) -> str:
    return html_text(one.get("body")) or tidied(str(one.get("body_text") or ""))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _path(ticket_id: str) -> str:
    if not _is_id(ticket_id):
        raise TicketNotFound(f"{ticket_id!r} is no ticket id of Freshdesk: it is a number")
    return quote(ticket_id, safe="")
