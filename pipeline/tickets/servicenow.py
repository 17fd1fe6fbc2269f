"""ServiceNow: a business rule or flow of the customer's posts to us, a work note goes back.

Sources: https://www.servicenow.com/docs (REST Table API, Attachment API; journal fields:
/r/washingtondc/platform-administration/c_JournalFields.html), https://docs.servicenow.com (RESTMessageV2). The script that signs
deliveries is ours, in docs/tickets/servicenow.md; `GlideCertificateEncryption.generateMac` gives base64.

A work note is an entry of a journal (`sys_journal_field`) and cannot be changed. So the first one stays; what changes is told in the
record's fields, and a new note is written only where the conclusion changed. Two things of this API need care: a query that it does
not understand is dropped, so that all rows come, and a field that the account may not write is left as it is, with
status 200. Both are looked for here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import msgspec

from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets import _desk as desk
from pipeline.tickets import _payload as payload
from pipeline.tickets._api import Api, SystemOptions
from pipeline.tickets._history import History
from pipeline.tickets._plain import conversation, html_text, tidied
from pipeline.tickets._polls import Row, polled
from pipeline.tickets._shorten import short_text, whole
from pipeline.tickets.file import guess_language
from pipeline.tickets.signatures import based, check, check_time, check_token, credential, signed_time, to_verify
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

_ID = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"[A-Z]{2,10}[0-9]{4,20}")
# In a journal, what stands between these two is shown as HTML.
_CODE = re.compile(r"\[(/?)code\]", re.IGNORECASE)
_PAGE = 100
_JOURNAL = 2000
_SIGNATURE, _TIME = "x-problem-snapshot-signature", "x-problem-snapshot-timestamp"


class Options(SystemOptions, tag="servicenow", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[tickets.NAME]` table with `kind = "servicenow"`.

    `url` is `https://INSTANCE.service-now.com`. `username` and `password`, or an OAuth `token`, sign in. `secrets` sign deliveries, or are
    the bearer token or password that a flow sends. `user` is the account's user name (`sys_created_by`). `table` is where tickets are.
    `query` narrows what a poll asks for, as an encoded query: `assignment_group=...`. `max_note` bounds a work note, in characters.
    `attach_files` attaches files to the record, where its caller may see them. `fields` names columns: `fault_class = "u_fault_class"`.
    """

    table: str = "incident"
    query: str = ""
    max_note: Annotated[int, msgspec.Meta(ge=500)] = 4000
    attach_files: bool = False

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        super().__post_init__()
        if not re.fullmatch(r"[a-z0-9_]+", self.table):
            raise ValueError(f"table: {self.table!r} is no name of a table")


class _Delivery(msgspec.Struct, frozen=True):
    """What the business rule of docs/tickets/servicenow.md sends."""

    sys_id: str
    operation: str = "changed"
    sys_mod_count: str | int = ""
    actor: str | None = None
    created_at: str | None = None


class ServiceNowSystem:
    """One instance of ServiceNow."""

    kind = "servicenow"
    form: Form = "text"
    edits = False

    def __init__(self, name: str, options: Options) -> None:
        desk.require_url(name, options)
        self.name = name
        self._options = options
        headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
        self._api = Api(name, "ServiceNow", options, headers)

    def receive(self, request: Incoming) -> Event:
        """See `TicketSystem.receive`. The delivery's id is the record's id and its count of changes."""
        self._verify(request)
        sent = payload.decoded(request.body, _Delivery, "ServiceNow")
        if not _ID.fullmatch(sent.sys_id):
            raise Malformed(f"{sent.sys_id[:60]!r} is no sys_id: the business rule is to send current.getUniqueValue()")
        count = f"{sent.sys_id}:{sent.sys_mod_count}:{sent.operation}" if sent.sys_mod_count != "" else None
        event = Event(sent.sys_id, sent.operation[:80], count, sent.actor, created_at=payload.moment(sent.created_at))
        gone = "the ticket was deleted" if sent.operation == "delete" else None
        return desk.with_reason(event, gone or desk.ours(self._options, [sent.actor]))

    def ticket(self, ticket_id: str) -> Ticket:
        """See `TicketSystem.ticket`. `ticket_id` is a sys_id or a number.

        Comments (not work notes) of the caller, and of whoever opened the ticket, are appended to the description.
        """
        record = self._record(ticket_id)
        number = _value(record, "sys_id")
        callers = {_value(record, "caller_user_name"), _value(record, "sys_created_by")} - {"", self._options.user}
        journal = self._journal(number)
        said = [
            html_text(one["value"]) if "[code]" in one["value"].lower() else tidied(one["value"])
            for one in journal
            if one["element"] == "comments" and one["sys_created_by"] in callers and desk.MARK not in one["value"]
        ]
        title = _value(record, "short_description")
        description = _value(record, "description")
        text = html_text(description) if re.search(r"</?(p|div|br|span)\b", description) else tidied(description)
        own = {name: _shown(record, name) for name in record if name.startswith("u_")}
        more = {
            name: _shown(record, name) for name in ("number", "category", "subcategory", "cmdb_ci", "business_service")
        }
        return Ticket(
            id=number,
            title=title,
            description=conversation(text, said, omitted=1 if len(journal) == _JOURNAL else 0),
            created_at=payload.needed_moment(_value(record, "sys_created_on"), self._api.where),
            system=self.kind,
            language=guess_language(f"{title}\n{text}"),
            customer_id=_value(record, "caller_id") or None,
            custom_fields=payload.filled({**own, **more}),
        )

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """See `TicketSystem.attach`. Tags are labels of a user here, and are not set."""
        record = self._record(ticket_id)
        number = _value(record, "sys_id")
        url = f"{self._options.url.rstrip('/')}/nav_to.do?uri={quote(f'{self._options.table}.do?sys_id={number}', safe='')}"
        body = _CODE.sub(r"(\1code)", desk.body_of(note, self.form))
        earlier = self._earlier(record, note.marker)
        written = earlier is None or earlier[1].concluded not in {"", desk.conclusion(note)}
        change = {
            name: value
            for name, value in own_fields(self._options.fields, note.fields).items()
            if _value(record, name) != value and _shown(record, name) != value
        }
        told: list[str] = ["ServiceNow's labels belong to users: tags were not set"] if self._options.tags else []
        if written:
            change["work_notes"] = self._noted(note, body, earlier[0] if earlier else None)
        if change:
            self._api.send("PATCH", self._path(number), missing=ticket_id, json=change)
            told += self._checked(number, note, body, change)
        if written:
            told += self._files(number, note, body)
        if written:
            return Attached("created", number, url, tuple(told))
        assert earlier is not None  # noqa: S101 - without one a note is written
        same = not change and earlier[1].body in {"", desk.digest(body)}
        return Attached("unchanged" if same else "kept", number, url, tuple(told))

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        """The first comment of somebody who is not the caller, and when the record was opened. Raises as `ticket` does."""
        record = self._record(ticket_id)
        callers = {_value(record, "caller_user_name"), _value(record, "sys_created_by"), self._options.user or ""}
        found = History()
        found.add("opened", payload.moment(_value(record, "sys_created_on")), _value(record, "sys_created_by"))
        for one in self._journal(_value(record, "sys_id")):
            if one["element"] == "comments" and one["sys_created_by"] not in callers:
                found.add("responded", payload.moment(one["sys_created_on"]), one["sys_created_by"])
        return found.steps

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        """See `TicketSystem.changed`: records by `sys_updated_on`. The account's time zone has to be GMT, since queries are in it."""
        return polled(self.name, cursor, self._since, limit)

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    def _verify(self, request: Incoming) -> None:
        if not to_verify(self.name, self._options):
            return
        secrets = self._options.secrets
        if _SIGNATURE in request.headers:
            stamp = request.headers.get(_TIME, "")
            data = f"{stamp}.".encode() + request.body
            check(
                request.headers[_SIGNATURE], [based(secret, data) for secret in secrets], f"signature in {_SIGNATURE}"
            )
            check_time(signed_time(stamp), request.received_at)
            return
        check_token(credential(request), secrets, f"signature in {_SIGNATURE}, bearer token or password")

    def _path(self, number: str) -> str:
        return f"/api/now/table/{self._options.table}/{number}"

    def _get(self, path: str, **given: Any) -> dict[str, Any]:
        return payload.fields(self._api.json("GET", path, **given), self._api.where)

    def _rows(self, table: str, query: str, **params: Any) -> list[dict[str, Any]]:
        answer = self._get(f"/api/now/table/{table}", params={"sysparm_query": query, **params})
        if "result" not in answer:
            raise SystemBroken(f"{self._api.where} answered no rows of {table}: check url")
        return payload.rows(answer["result"], self._api.where)

    def _record(self, ticket_id: str) -> dict[str, Any]:
        """The record, each column with its value and how it is shown, and its caller's user name."""
        number = ticket_id
        if _NUMBER.fullmatch(ticket_id):
            found = self._rows(
                self._options.table, f"number={ticket_id}", sysparm_fields="sys_id,number", sysparm_limit=1
            )
            # A query that is not understood is dropped, and some other record comes.
            number = next((str(row.get("sys_id")) for row in found if row.get("number") == ticket_id), "")
        if not _ID.fullmatch(number):
            raise TicketNotFound(f"{self._api.where} has no ticket {ticket_id} in {self._options.table}")
        params = {"sysparm_display_value": "all", "sysparm_exclude_reference_link": "true"}
        record = self._get(self._path(number), missing=ticket_id, params=params).get("result")
        if not isinstance(record, dict) or _value(record, "sys_id") != number:
            raise SystemBroken(f"{self._api.where} answered no record {ticket_id}: check url and table")
        caller = _value(record, "caller_id")
        if _ID.fullmatch(caller):
            record["caller_user_name"] = {"value": self._user_name(caller)}
        return record

    def _user_name(self, number: str) -> str:
        """A user's name for signing in, as journals have it; empty where the account may not read users."""
        try:
            params = {"sysparm_fields": "user_name"}
            answer = self._get(f"/api/now/table/sys_user/{number}", missing=number, params=params)
        except (Refused, TicketNotFound):
            return ""
        return str(payload.fields(answer.get("result"), self._api.where).get("user_name") or "")

    def _journal(self, number: str) -> list[dict[str, str]]:
        """The record's comments and work notes, oldest first; none where the account may not read the journal's table."""
        # Newest first, so that the newest are among them where there are more.
        query = f"element_id={number}^elementINcomments,work_notes^ORDERBYDESCsys_created_on"
        columns = "element_id,element,value,sys_created_on,sys_created_by"
        try:
            rows = self._rows("sys_journal_field", query, sysparm_fields=columns, sysparm_limit=_JOURNAL)
        except Refused:
            return []
        return [
            {name: str(row.get(name) or "") for name in columns.split(",")}
            for row in sorted(rows, key=lambda row: str(row.get("sys_created_on")))
            if row.get("element_id") == number
        ]

    def _earlier(self, record: Mapping[str, Any], marker: str) -> tuple[datetime | None, desk.Stamp] | None:
        """Our last work note on the record: when it was written, if that can be told, and its stamp.

        Looked for in the journal's table and in the record's own column, where all entries are shown, newest first: access rules
        may hide either without a word.
        """
        for one in reversed(self._journal(_value(record, "sys_id"))):
            if one["element"] == "work_notes" and (stamp := desk.stamp(one["value"], marker)):
                return payload.moment(one["sys_created_on"]), stamp
        shown = desk.stamps(_shown(record, "work_notes"), marker)
        return (None, shown[0]) if shown else None

    def _noted(self, note: Note, body: str, before: datetime | None) -> str:
        start = f"{desk.replaces(before)}\n\n" if before else ""
        return short_text(start + body, self._options.max_note, desk.stamped(note, body))

    def _checked(self, number: str, note: Note, body: str, change: Mapping[str, Any]) -> list[str]:
        """Whether what was sent is there; columns that the account may not write are told."""
        record = self._record(number)
        line = desk.stamped(note, body)
        if "work_notes" in change:
            if any(one["element"] == "comments" and line in one["value"] for one in self._journal(number)):
                raise SystemBroken(
                    f"{self._api.where} put the note on {number} among the comments, where its caller sees it"
                )
            if self._earlier(record, note.marker) is None:
                raise SystemBroken(
                    f"{self._api.where} took the note on {number} and does not show it: "
                    f"the account needs to read and write work_notes of {self._options.table}"
                )
        return [
            f"{name} was not set: the account may not write it, or it takes other values"
            for name, value in change.items()
            if name != "work_notes" and value not in {_value(record, name), _shown(record, name)}
        ]

    def _files(self, number: str, note: Note, body: str) -> list[str]:
        cut = len(body) + len(desk.stamped(note, body)) + 2 > self._options.max_note
        files = (*note.files, whole(body, f"{note.snapshot_id}.txt", "text/plain")) if cut else note.files
        if not self._options.attach_files:
            return (
                ["files were not attached, since the record's caller may see them: see attach_files"] if files else []
            )
        query = f"table_sys_id={number}"
        there = {
            row.get("file_name")
            for row in self._rows("sys_attachment", query, sysparm_fields="file_name,table_sys_id")
            if row.get("table_sys_id") == number
        }
        for file in files:
            if file.name not in there:
                params = {"table_name": self._options.table, "table_sys_id": number, "file_name": file.name}
                headers = {"Content-Type": file.media_type}
                self._api.send("POST", "/api/now/attachment/file", params=params, content=file.data, headers=headers)
        return []

    def _since(self, since: datetime, page: int) -> tuple[Sequence[Row], bool]:
        start = since.astimezone(UTC).replace(microsecond=0)
        narrowed = f"{self._options.query}^" if self._options.query else ""
        query = f"{narrowed}sys_updated_on>={start:%Y-%m-%d %H:%M:%S}^ORDERBYsys_updated_on^ORDERBYsys_id"
        columns = "sys_id,sys_updated_on,sys_updated_by,sys_created_on,short_description"
        found = self._rows(
            self._options.table, query, sysparm_fields=columns, sysparm_limit=_PAGE, sysparm_offset=page * _PAGE
        )
        rows = []
        for one in found:
            stamp = str(one.get("sys_updated_on"))
            at = payload.needed_moment(stamp, self._api.where)
            if at < start:
                raise SystemBroken(
                    f"{self._api.where} listed a record of {stamp}, which was not asked for: it did not understand the query "
                    "(see query), or the account's time zone is not GMT"
                )
            event = Event(
                str(one.get("sys_id")),
                "changed",
                # Not a reason to leave it out: our own change may have come after another's.
                actor=str(one.get("sys_updated_by") or "") or None,
                text=str(one.get("short_description") or ""),
                created_at=payload.moment(one.get("sys_created_on")),
            )
            rows.append(Row(at, event))
        return rows, len(found) == _PAGE


def _value(record: Mapping[str, Any], name: str) -> str:
    """A column's value, also of a record that was asked for values alone."""
    held = record.get(name)
    return str((held.get("value") if isinstance(held, Mapping) else held) or "")


def _shown(record: Mapping[str, Any], name: str) -> str:
    """How a column is shown to people."""
    held = record.get(name)
    return str(held.get("display_value") or "") if isinstance(held, Mapping) else str(held or "")
