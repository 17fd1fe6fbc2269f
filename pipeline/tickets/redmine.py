"""Redmine: told by the signed webhook that 7.0 brought, polled where it is older; one private note an issue.

A private note can be changed by the API since 5.0, which mails nobody and leaves the issue's time as it is. An account that may
not write private notes gets public ones without a word, so its rights are looked up before the first note is written.

Sources: app/models/webhook.rb, webhook_payload.rb and concerns/issue/webhookable.rb of https://github.com/redmine/redmine for the webhook;
https://www.redmine.org/projects/redmine/wiki/Rest_Issues and Redmine 5.0.4 itself, against which the tests run, for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets._api import Api, SystemOptions
from pipeline.tickets._desk import body_of, ours, require_url, with_reason
from pipeline.tickets._history import History
from pipeline.tickets._notes import Notes, Written, settle
from pipeline.tickets._payload import decoded, moment, needed_moment, read
from pipeline.tickets._plain import conversation, tidied
from pipeline.tickets._polls import Cursor, Row, polled, read_cursor
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
    Step,
    SystemBroken,
    own_fields,
)
from pipeline.values import Ticket

_PER_PAGE = 100
_NEEDED = ("view_private_notes", "set_notes_private", "edit_own_issue_notes")
# Those of all notes hold for our own as well.
_WIDER = {"edit_own_issue_notes": "edit_issue_notes"}


class Options(SystemOptions, tag="redmine", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[tickets.NAME]` table of kind `redmine`.

    `token` is the API key of our account, `secrets` hold the webhook's secret. `user` is our account's number or the name that
    Redmine shows for it. `formatting` is what *Administration > Settings > General > Text formatting* says: with Textile
    the note is plain text. `fields` names custom fields of issues, or their numbers. Redmine has no tags.
    """

    formatting: Literal["markdown", "textile"] = "markdown"

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        SystemOptions.__post_init__(self)
        if self.tags:
            raise ValueError("tags: Redmine has none; let a custom field take fault_class, under fields")


class _Named(msgspec.Struct):
    id: int = 0
    name: str = ""


class _Field(msgspec.Struct):
    id: int
    name: str = ""
    value: Any = None


class _Detail(msgspec.Struct):
    """One change of a journal: ids as text."""

    property: str = ""
    name: str = ""
    old_value: str | None = None
    new_value: str | None = None


class _Journal(msgspec.Struct):
    id: int
    user: _Named = msgspec.field(default_factory=_Named)
    notes: str | None = ""
    private_notes: bool = False
    created_on: str = ""
    details: list[_Detail] = []


class _Issue(msgspec.Struct):
    id: int
    subject: str | None = ""
    description: str | None = ""
    created_on: str = ""
    updated_on: str = ""
    author: _Named = msgspec.field(default_factory=_Named)
    assigned_to: _Named | None = None
    project: _Named = msgspec.field(default_factory=_Named)
    custom_fields: list[_Field] = []
    journals: list[_Journal] = []


class _Held(msgspec.Struct):
    issue: _Issue


class _Status(msgspec.Struct):
    id: int
    name: str = ""
    is_closed: bool = False


class _Statuses(msgspec.Struct):
    issue_statuses: list[_Status]


class _Listed(msgspec.Struct):
    issues: list[_Issue]
    total_count: int


class _HookData(msgspec.Struct):
    issue: _Issue | None = None
    journal: _Journal | None = None


class _Hook(msgspec.Struct):
    type: str
    data: _HookData


class _Membership(msgspec.Struct):
    project: _Named
    roles: list[_Named] = []


class _Account(msgspec.Struct):
    id: int
    admin: bool = False
    memberships: list[_Membership] = []


class _Me(msgspec.Struct):
    user: _Account


class _Rights(msgspec.Struct):
    permissions: list[str] = []


class _Role(msgspec.Struct):
    role: _Rights


class RedmineSystem:
    """A Redmine, under its name in the configuration."""

    kind = "redmine"
    edits = True

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.form: Form = "text" if options.formatting == "textile" else "markdown"
        self._options = options
        headers = {"X-Redmine-API-Key": options.token} if options.token else None
        self._api = Api(name, "Redmine", options, headers)

    def receive(self, request: Incoming) -> Event:
        """What the webhook says. Raises `Unverified` or `Malformed`.

        Redmine signs no time of its own and sends nothing twice: who sends an old delivery again is known by its body.
        """
        if to_verify(self.name, self._options):
            wanted = [f"sha256={hexed(secret, request.body)}" for secret in self._options.secrets]
            check(request.headers.get("x-redmine-signature-256"), wanted, "signature in X-Redmine-Signature-256")
        hook = decoded(request.body, _Hook, "Redmine")
        issue, journal = hook.data.issue, hook.data.journal
        if not hook.type.startswith("issue."):
            return Event("", hook.type, ignored=f"nothing is done about {hook.type[:60]!r}")
        if issue is None:
            raise Malformed(f"the delivery {hook.type[:60]!r} holds no issue")
        who = journal.user if journal else issue.author
        event = Event(
            ticket_id=str(issue.id),
            kind=hook.type,
            actor=who.name or None,
            text=f"{issue.subject or ''}\n{issue.description or ''}".strip(),
            created_at=moment(issue.created_on),
        )
        if hook.type == "issue.deleted":
            return with_reason(event, "the issue is deleted")
        if hook.type not in {"issue.created", "issue.updated"}:
            return with_reason(event, f"nothing is done about {hook.type[:60]!r}")
        return with_reason(event, ours(self._options, [str(who.id), who.name]))

    def ticket(self, ticket_id: str) -> Ticket:
        """The issue with its author's later public notes. Raises `TicketNotFound`, `Refused` or `SystemUnavailable`."""
        issue = self._issue(ticket_id)
        written = [
            tidied(one.notes or "")
            for one in issue.journals
            if one.user.id == issue.author.id and not one.private_notes and one.notes
        ]
        title = (issue.subject or "").strip()
        description = conversation(tidied(issue.description or ""), written)
        return Ticket(
            id=ticket_id,
            title=title,
            description=description,
            created_at=needed_moment(issue.created_on, self._api.where),
            system=self.name,
            language=guess_language(f"{title}\n{description}"),
            customer_id=str(issue.author.id) if issue.author.id else None,
            custom_fields={one.name: one.value for one in issue.custom_fields if one.value not in (None, "", [])},
        )

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """Writes or changes the one private note with the marker, and sets the configured custom fields.

        Files are not sent. Raises `TicketNotFound`, `Refused`, `SystemUnavailable` or `SystemBroken`.
        """
        issue, me = self._issue(ticket_id), self._me()
        body = body_of(note, self.form)
        if self.form == "text":
            body = preformatted(body)

        def listed() -> list[Written]:
            return [
                Written(str(one.id), one.notes or "", private=one.private_notes)
                for one in sorted(self._issue(ticket_id).journals, key=lambda one: one.id)
                if one.user.id == me.id and note.marker in (one.notes or "")
            ]

        def create(text: str) -> Written:
            self._require_rights(me, issue)
            self._put(f"/issues/{ticket_id}.json", {"issue": {"notes": text, "private_notes": True}}, ticket_id)
            return self._found(listed()[-1:], ticket_id)

        def change(note_id: str, text: str) -> Written:
            self._put(f"/journals/{note_id}.json", {"journal": {"notes": text, "private_notes": True}}, note_id)
            return self._found([one for one in listed() if one.id == note_id], ticket_id)

        def delete(note_id: str) -> None:
            # A journal that says nothing any more is deleted.
            try:
                self._put(f"/journals/{note_id}.json", {"journal": {"notes": ""}}, note_id)
            except TicketNotFound:
                return

        attached = settle(Notes(self._api.where, listed, create, change, delete), note.marker, body)
        told = self._set_fields(issue, note)
        if note.files:
            names = ", ".join(file.name for file in note.files)
            told.append(f"not attached, since whoever sees the issue sees its files: {names}")
        url = f"{self._options.url.rstrip('/')}/issues/{ticket_id}"
        return replace(attached, url=url, notes=(*attached.notes, *told))

    def _found(self, notes: list[Written], ticket_id: str) -> Written:
        if not notes:
            raise SystemBroken(f"{self._api.where} took the note on issue {ticket_id} and does not show it")
        return notes[0]

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        """Issues that were created or changed since `cursor`. Raises as `ticket` does."""
        require_url(self.name, self._options)
        found = polled(self.name, cursor, self._since, limit)
        if cursor is None or not found.events:
            return found
        me, since = self._me(), read_cursor(cursor, Cursor, self.name, Cursor.of).start
        return replace(found, events=tuple(self._judged(one, me, since) for one in found.events))

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        """What the journals tell: public notes of others than the author, statuses, who has it. Raises as `ticket` does.

        Which statuses end the work is Redmine's own setting; which of them wait for the customer is told by `states`.
        """
        issue = self._issue(ticket_id)
        listed = read(self._api.json("GET", "/issue_statuses.json"), _Statuses, self._api.where).issue_statuses
        names = {str(one.id): one.name for one in listed}
        found = History({one.name: "solved" for one in listed if one.is_closed}, self._options.states)
        people = {
            str(one.id): one.name for one in (issue.author, issue.assigned_to, *(j.user for j in issue.journals)) if one
        }
        found.add("opened", moment(issue.created_on), issue.author.name)
        for one in issue.journals:
            at, who = moment(one.created_on), one.user.name or str(one.user.id)
            if (one.notes or "").strip() and not one.private_notes and one.user.id != issue.author.id:
                found.add("responded", at, who)
            for detail in one.details:
                value = detail.new_value or ""
                if detail.property != "attr":
                    continue
                if detail.name == "status_id":
                    found.turned(names.get(value, value), at, who)
                elif detail.name == "assigned_to_id":
                    found.add("assigned", at, who, people.get(value, value))
                elif detail.name == "priority_id":
                    found.add("prioritised", at, who, value)
        return found.steps

    def _since(self, since: datetime, page: int) -> tuple[Sequence[Row], bool]:
        params = {
            "status_id": "*",
            "updated_on": f">={since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "sort": "updated_on:asc,id:asc",
            "limit": _PER_PAGE,
            "offset": page * _PER_PAGE,
        }
        listed = read(self._api.json("GET", "/issues.json", params=params), _Listed, self._api.where)
        rows = [
            Row(
                needed_moment(one.updated_on, self._api.where),
                Event(
                    ticket_id=str(one.id),
                    kind="issue.updated",
                    text=f"{one.subject or ''}\n{one.description or ''}".strip(),
                    created_at=moment(one.created_on),
                ),
            )
            for one in listed.issues
        ]
        return rows, page * _PER_PAGE + len(rows) < listed.total_count

    def _judged(self, event: Event, me: _Account, since: datetime) -> Event:
        """The same event, ignored where nothing but our own notes is new. The list does not tell who changed an issue."""
        try:
            issue = self._issue(event.ticket_id)
        except TicketNotFound:
            return with_reason(event, "the issue is deleted")
        opened = needed_moment(issue.created_on, self._api.where)
        late = [one for one in issue.journals if (moment(one.created_on) or since) >= since]
        own = opened < since and bool(late) and all(one.user.id == me.id for one in late)
        return with_reason(event, "our own note" if own else None)

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    def _issue(self, ticket_id: str) -> _Issue:
        require_url(self.name, self._options)
        if not ticket_id.isdecimal():
            raise TicketNotFound(f"{self._api.where} has no issue {ticket_id[:60]!r}: its ids are numbers")
        params = {"include": "journals"}
        answer = self._api.json("GET", f"/issues/{ticket_id}.json", missing=ticket_id, params=params)
        return read(answer, _Held, self._api.where).issue

    def _me(self) -> _Account:
        answer = self._api.json("GET", "/users/current.json", params={"include": "memberships"})
        return read(answer, _Me, self._api.where).user

    def _require_rights(self, me: _Account, issue: _Issue) -> None:
        """Raises `Refused` where a note of ours would be public, or could not be changed later."""
        if me.admin:
            return
        roles = {role.id for one in me.memberships if one.project.id == issue.project.id for role in one.roles}
        held: set[str] = set()
        for role in sorted(roles):
            held.update(read(self._api.json("GET", f"/roles/{role}.json"), _Role, self._api.where).role.permissions)
        missing = [right for right in _NEEDED if right not in held and _WIDER.get(right) not in held]
        if missing:
            raise Refused(
                f"{self._api.where}: the account of [tickets.{self.name}] has no role in project {issue.project.name!r} that "
                f"allows {', '.join(missing)}; without these a note would be public or stay as it is, so none was written"
            )

    def _put(self, path: str, given: dict[str, Any], missing: str) -> None:
        # Twice the same note would be two: what was perhaps taken is not sent again, but looked for.
        self._api.send("PUT", path, missing=missing, again="/journals/" in path, json=given)

    def _set_fields(self, issue: _Issue, note: Note) -> list[str]:
        wanted = own_fields(self._options.fields, note.fields)
        there = {name: one for one in issue.custom_fields for name in (one.name, str(one.id))}
        told = [
            f"issue {issue.id} has no custom field {name!r} that we may see" for name in wanted if name not in there
        ]
        different = {name: value for name, value in wanted.items() if name in there and there[name].value != value}
        if different:
            values = [{"id": there[name].id, "value": value} for name, value in different.items()]
            self._put(f"/issues/{issue.id}.json", {"issue": {"custom_fields": values}}, str(issue.id))
            after = {one.id: one.value for one in self._issue(str(issue.id)).custom_fields}
            told += [
                f"custom field {name!r} was not set: Redmine left it as it was"
                for name, value in different.items()
                if after.get(there[name].id) != value
            ]
        return told


def preformatted(text: str) -> str:
    r"""Plain text as Textile shows it unchanged.

    >>> preformatted("a *b* </pre> c")
    '<pre>\na *b* &lt;/pre> c\n</pre>'
    """
    return "<pre>\n" + text.replace("</", "&lt;/").strip() + "\n</pre>"
