"""What Jira Cloud and Jira Data Center share: the same issues and comments, in two versions of one REST API.

Sources: https://developer.atlassian.com/cloud/jira/platform/webhooks/ and
https://developer.atlassian.com/server/jira/platform/webhooks/ (deliveries),
https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issue-comments/ (comments and their properties). The property
`sd.public.comment` that makes a comment internal in a service project is told in
https://github.com/pycontribs/jira/issues/313 and, with the field `jsdPublic`, in https://github.com/pycontribs/jira/issues/1011.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NoReturn
from urllib.parse import quote

import msgspec

from pipeline.errors import SnapshotError, TicketNotFound
from pipeline.tickets import _desk as desk
from pipeline.tickets import _payload as payload
from pipeline.tickets._api import Api, SystemOptions
from pipeline.tickets._history import History, State
from pipeline.tickets._jira_changes import STATES, add_changelog, ending
from pipeline.tickets._plain import conversation
from pipeline.tickets._polls import Row, polled
from pipeline.tickets.file import guess_language
from pipeline.tickets.signatures import check, hexed, to_verify
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

# Jira's limit of a comment; an administrator of Data Center may change it (jira.text.field.character.limit).
MAX_NOTE = 32_767
# The property of our comment, invisible to people, with the marker, the body's digest and our attachments.
PROPERTY = "problem-snapshot"
_INTERNAL = "sd.public.comment"
_PAGE = 100
_MAX_PAGES = 100
_KEY = re.compile(r"[A-Z][A-Z0-9_]{1,40}-[0-9]{1,18}|[0-9]{1,18}")
# Changes of these fields alone say nothing new about the fault.
_IDLE = frozenset(
    ["assignee", "Link", "priority", "Rank", "resolution", "Sprint", "status", "timeestimate", "timespent", "WorklogId"]
)
# Of these the desk's clock is to know.
_ROUTINE = frozenset(["assignee", "priority", "resolution", "status"])
_GONE = {"jira:issue_deleted": "the ticket was deleted", "comment_deleted": "a comment was deleted"}
_REASONS = frozenset(["jira:issue_created", "jira:issue_updated", "comment_created", "comment_updated"])


class JiraOptions(SystemOptions, frozen=True, kw_only=True):
    """What both have beside the common options.

    `role` or `group` restricts the note in projects that are no service projects (in these it is internal). `jql` narrows what a poll
    asks for: `project = PAY`. `fields` names fields by their ids: `fault_class = "customfield_10050"`.
    """

    role: str | None = None
    group: str | None = None
    jql: str = ""


class _User(msgspec.Struct, frozen=True, rename="camel"):
    account_id: str | None = None
    name: str | None = None
    key: str | None = None

    @property
    def id(self) -> str | None:
        return self.account_id or self.name or self.key


class _Said(msgspec.Struct, frozen=True, rename="camel"):
    author: _User | None = None
    update_author: _User | None = None
    body: Any = None


class _Issue(msgspec.Struct, frozen=True):
    key: str = ""
    id: str | int = ""
    fields: dict[str, Any] = {}


class _Item(msgspec.Struct, frozen=True):
    field: str = ""


class _Changelog(msgspec.Struct, frozen=True):
    items: list[_Item] = []


class _Delivery(msgspec.Struct, frozen=True, rename="camel"):
    webhook_event: str = ""
    issue: _Issue | None = None
    user: _User | None = None
    comment: _Said | None = None
    changelog: _Changelog | None = None


class JiraSystem(ABC):
    """What the two classes have in common; each says how its bodies, its people and its search are."""

    name: str
    kind: str
    form: Form
    edits = True
    # Where the REST API begins.
    root: str
    system: str

    def __init__(self, name: str, options: JiraOptions, headers: Mapping[str, str]) -> None:
        desk.require_url(name, options)
        self.name = name
        self._options = options
        self._api = Api(name, self.system, options, headers)
        self._done: dict[str, State] | None = None

    def receive(self, request: Incoming) -> Event:
        """See `TicketSystem.receive`: webhooks for issues and comments."""
        if to_verify(self.name, self._options):
            self._verify(request)
        sent = payload.decoded(request.body, _Delivery, self.system)
        if not sent.webhook_event or sent.issue is None:
            raise Malformed(f"the delivery is no event of an issue in {self.system}")
        key = str(sent.issue.key or sent.issue.id)
        if not _KEY.fullmatch(key):
            raise Malformed(f"{key[:60]!r} is no key of an issue")
        by = (sent.comment.update_author or sent.comment.author) if sent.comment else None
        who = sent.user or by
        actor = who.id if who else None
        said = self._text(sent.comment.body) if sent.comment else ""
        fields = sent.issue.fields
        event = Event(
            key,
            sent.webhook_event[:80],
            request.headers.get("x-atlassian-webhook-identifier"),
            actor,
            "\n".join(
                text for text in (str(fields.get("summary") or ""), self._text(fields.get("description"))) if text
            ),
            payload.moment(fields.get("created")),
        )
        reason = self._reason(sent)
        items = {one.field for one in sent.changelog.items} if sent.changelog else set()
        if reason and sent.webhook_event == "jira:issue_updated" and items & _ROUTINE:
            event, reason = replace(event, routine=True), None
        return desk.with_reason(event, reason or desk.ours(self._options, [actor], said))

    def ticket(self, ticket_id: str) -> Ticket:
        """See `TicketSystem.ticket`. Public comments of the reporter and of portal customers are appended to the description."""
        issue = self._issue(ticket_id, fields="*all", expand="names")
        fields, names = issue["fields"], issue.get("names") or {}
        reporter = fields.get("reporter") or {}
        comments, more = self._comments(issue["key"])
        said = [
            self._text(one.get("body"))
            for one in comments
            if self._by_customer(one, reporter) and not _internal(one) and not _seal(one)
        ]
        title = str(fields.get("summary") or "")
        description = self._text(fields.get("description"))
        return Ticket(
            id=issue["key"],
            title=title,
            description=conversation(description, said, omitted=more),
            created_at=payload.needed_moment(fields.get("created"), self._api.where),
            system=self.kind,
            language=guess_language(f"{title}\n{description}"),
            customer_id=self._id(reporter),
            custom_fields=payload.filled(
                {
                    str(names.get(name) or name): self._value(value)
                    for name, value in fields.items()
                    if name.startswith("customfield_") or name in {"environment", "labels", "components"}
                }
            ),
        )

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """See `TicketSystem.attach`.

        After a comment was made all of ours are listed: where another writer was quicker, the older one stays and ours goes.
        """
        wanted = own_fields(self._options.fields, note.fields)
        issue = self._issue(ticket_id, fields=",".join(["project", "labels", "attachment", *wanted]))
        key, fields = issue["key"], issue["fields"]
        service = (fields.get("project") or {}).get("projectTypeKey") == "service_desk"
        body, rest = self._body(note)
        files = {} if service else self._upload(key, (*note.files, *rest), fields.get("attachment") or ())
        notes = self._told(service, note, rest)
        seal = {"marker": note.marker, "digest": _digest(body), "files": files}
        mine = self._ours(key, note.marker, service)
        made = "" if mine else self._made(key, body, seal, service)
        mine = mine or self._ours(key, note.marker, service)
        if not mine:
            raise SystemBroken(f"{self._api.where} took the note on {key} and does not show it")
        self._remove(key, mine[1:])
        first, outcome = mine[0], self._settled(key, mine[0], made, body, seal, service)
        if outcome == "updated":
            self._drop_files(_seal(first).get("files") or {}, files)
        notes += self._set(key, fields, wanted, note)
        base = self._options.url.rstrip("/")
        # The gateway of OAuth apps shows nothing to people.
        url = None if "/ex/jira/" in base else f"{base}/browse/{key}?focusedCommentId={first['id']}"
        return Attached(outcome, str(first["id"]), url, notes)

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        """See `TicketSystem.changed`: a JQL search by `updated`.

        JQL knows minutes and the account's time zone only; minutes back from now need no zone, and what is too early is left out.
        """
        return polled(self.name, cursor, self._since, limit)

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        """What the comments and the changelog tell; an answer is a public comment of nobody among the customers.

        A status ends the work where its category is `done`, which the statuses' own list says; which of them wait for the customer
        is told by their name, or by `states`. Raises as `ticket` does.
        """
        issue = self._issue(ticket_id, fields="created,reporter,creator,status", expand="changelog")
        fields = issue["fields"]
        reporter = fields.get("reporter") or {}
        found = History(STATES, self._categories(), self._options.states)
        found.add("opened", payload.moment(fields.get("created")), self._id(fields.get("creator") or reporter))
        for one in self._comments(issue["key"])[0]:
            author = self._id(one.get("author") or {})
            ours = bool(_seal(one)) or payload.same(self._options.user, author)
            if not ours and not self._by_customer(one, reporter) and not _internal(one):
                found.add("responded", payload.moment(one.get("created")), author)
        add_changelog(found, issue.get("changelog"), self._id, self._api.where)
        return found.steps

    def _categories(self) -> dict[str, State]:
        """The statuses that end the work, asked for once."""
        if self._done is None:
            self._done = ending(payload.rows(self._api.json("GET", f"{self.root}/status"), self._api.where))
        return self._done

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    # What differs.

    @abstractmethod
    def _text(self, value: Any) -> str:
        """The plain text of a description, a comment or another long field."""

    @abstractmethod
    def _body(self, note: Note) -> tuple[Any, tuple[File, ...]]:
        """A comment's body, and the whole note as a file where only its head fits."""

    @abstractmethod
    def _search(self, jql: str, page: int) -> tuple[Sequence[dict[str, Any]], bool]:
        """One page of issues, and whether there may be more."""

    # What does not.

    def _verify(self, request: Incoming) -> None:
        signed = [f"sha256={hexed(secret, request.body)}" for secret in self._options.secrets]
        check(request.headers.get("x-hub-signature"), signed, "signature in x-hub-signature")

    @staticmethod
    def _id(user: Mapping[str, Any]) -> str | None:
        found = user.get("accountId") or user.get("name") or user.get("key")
        return str(found) if found else None

    def _by_customer(self, comment: Mapping[str, Any], reporter: Mapping[str, Any]) -> bool:
        author = comment.get("author") or {}
        return author.get("accountType") == "customer" or (
            self._id(author) is not None and self._id(author) == self._id(reporter)
        )

    @staticmethod
    def _reason(sent: _Delivery) -> str | None:
        event = sent.webhook_event
        if event in _GONE:
            return _GONE[event]
        if event not in _REASONS:
            return f"{event[:80]} says nothing new about the fault"
        items = sent.changelog.items if sent.changelog else []
        if event == "jira:issue_updated" and items and not sent.comment and all(one.field in _IDLE for one in items):
            return f"only {', '.join(sorted({one.field for one in items}))} changed"
        return None

    def _path(self, key: str, rest: str = "") -> str:
        return f"{self.root}/issue/{quote(key, safe='')}{rest}"

    def _get(self, path: str, **given: Any) -> dict[str, Any]:
        return payload.fields(self._api.json("GET", path, **given), self._api.where)

    def _issue(self, ticket_id: str, **params: str) -> dict[str, Any]:
        if not _KEY.fullmatch(ticket_id):
            raise TicketNotFound(f"{ticket_id!r} is no key of an issue: it is like PAY-123")
        found = self._api.json("GET", self._path(ticket_id), missing=ticket_id, params=params)
        if not isinstance(found, dict) or not isinstance(found.get("fields"), dict) or "key" not in found:
            raise SystemBroken(f"{self._api.where} answered no issue {ticket_id}: check url")
        return found

    def _comments(self, key: str) -> tuple[list[dict[str, Any]], int]:
        """An issue's comments with their properties, oldest first, and how many more there are."""
        found: list[dict[str, Any]] = []
        total = 0
        for _ in range(_MAX_PAGES):
            params = {"startAt": len(found), "maxResults": _PAGE, "orderBy": "created", "expand": "properties"}
            page = self._get(self._path(key, "/comment"), missing=key, params=params)
            rows = [one for one in payload.rows(page.get("comments") or [], self._api.where) if "id" in one]
            found += rows
            total = int(page.get("total") or len(found))
            if not rows or len(found) >= total:
                break
        return sorted(found, key=_age), max(0, total - len(found))

    def _ours(self, key: str, marker: str, service: bool) -> list[dict[str, Any]]:
        """Our comments on the issue, oldest first: by their property, which people do not see and cannot write.

        Where properties are not kept, by the marker in the text, unless somebody else wrote it, or customers see it.
        """
        user = (self._options.user or "").casefold()
        found = []
        for one in self._comments(key)[0]:
            if left := _seal(one):
                mine = left.get("marker") == marker
            else:
                author = (self._id(one.get("author") or {}) or "").casefold()
                hidden = _internal(one) or not service
                mine = marker in self._text(one.get("body")) and hidden and user in {"", author}
            found += [one] if mine else []
        return found

    def _write(self, method: str, key: str, rest: str, body: Any, seal: Mapping[str, Any], service: bool) -> Any:
        given: dict[str, Any] = {
            "body": body,
            "properties": [{"key": _INTERNAL, "value": {"internal": True}}, {"key": PROPERTY, "value": seal}],
        }
        if not service and (self._options.role or self._options.group):
            kind = "role" if self._options.role else "group"
            given["visibility"] = {"type": kind, "value": self._options.role or self._options.group}
        return self._api.json(method, self._path(key, f"/comment{rest}"), missing=key, json=given)

    def _made(self, key: str, body: Any, seal: Mapping[str, Any], service: bool) -> str:
        """Writes a new comment. Returns its id."""
        answer = payload.fields(self._write("POST", key, "", body, seal, service), self._api.where)
        number = str(answer.get("id") or "")
        if service and answer.get("jsdPublic") is True:
            self._withdraw(key, number)
        return number

    def _settled(
        self, key: str, first: Mapping[str, Any], made: str, body: Any, seal: Mapping[str, Any], service: bool
    ) -> Outcome:
        """Brings our first comment up to date, and makes sure that no customer sees it."""
        number = str(first["id"])
        same = made == number or self._same(first, body, seal)
        now = first
        if not same or (service and made != number and not _internal(first)):
            self._write("PUT", key, f"/{number}", body, seal, service)
            now = next((one for one in self._comments(key)[0] if str(one["id"]) == number), first)
        if service and not _internal(now):
            self._withdraw(key, number)
        if made == number:
            return "created"
        return "unchanged" if same else "updated"

    def _withdraw(self, key: str, number: str) -> NoReturn:
        """Deletes a note that customers can see, and says so."""
        done = "it was deleted at once"
        try:
            self._api.send("DELETE", self._path(key, f"/comment/{number}"))
        except SnapshotError as error:
            done = f"it could not be deleted ({error}): delete it now"
        raise SystemBroken(
            f"{self._api.where} made the note on {key} public; {done}. "
            "Look whether the account is an agent of the service project"
        )

    def _same(self, comment: Mapping[str, Any], body: Any, seal: Mapping[str, Any]) -> bool:
        """Whether a comment of ours says this already. Jira may rewrite a body, so the digest that we left decides."""
        left = _seal(comment)
        return left == seal if left else bool(comment.get("body") == body)

    def _remove(self, key: str, younger: Sequence[Mapping[str, Any]]) -> None:
        """Takes off further notes of ours; one that somebody copied has no property of ours, and stays."""
        for one in younger:
            if _seal(one):
                self._api.send("DELETE", self._path(key, f"/comment/{one['id']}"), missing=key)

    def _upload(self, key: str, files: Sequence[File], present: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """The ids of our files on the issue by name; those that are there already are not sent again."""
        there = {str(one.get("filename")): str(one.get("id")) for one in present}
        ids = {}
        for file in files:
            if file.name not in there:
                answer = self._api.json(
                    "POST",
                    self._path(key, "/attachments"),
                    missing=key,
                    files={"file": (file.name, file.data, file.media_type)},
                    headers={"X-Atlassian-Token": "no-check"},
                )
                made = payload.rows(answer, self._api.where)
                if not made or "id" not in made[0]:
                    raise SystemBroken(f"{self._api.where} gave no id for the file {file.name}")
                there[file.name] = str(made[0]["id"])
            ids[file.name] = there[file.name]
        return ids

    def _drop_files(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        """Takes off the files of the note as it was."""
        for number in sorted(set(before.values()) - set(now.values())):
            try:
                self._api.send("DELETE", f"{self.root}/attachment/{quote(number, safe='')}", missing=number)
            except TicketNotFound:
                continue

    def _told(self, service: bool, note: Note, rest: tuple[File, ...]) -> tuple[str, ...]:
        if service:
            told = "files are not attached in a service project: its portal may show them to the customer"
            return (told,) if note.files or rest else ()
        if self._options.role or self._options.group:
            return ()
        return ("the note is seen by everybody who sees the issue: set role or group to restrict it",)

    def _set(self, key: str, fields: Mapping[str, Any], wanted: Mapping[str, Any], note: Note) -> tuple[str, ...]:
        """Sets the configured fields and the labels, where they differ. Returns what could not be set."""
        change: dict[str, Any] = {}
        told: list[str] = []
        if any(_plain(fields.get(name)) != value for name, value in wanted.items()):
            screen = payload.fields(self._get(self._path(key, "/editmeta"), missing=key).get("fields"), self._api.where)
            for name, value in wanted.items():
                if name not in screen:
                    told.append(f"{name} is not on the edit screen of {key} and was not set")
                elif _plain(fields.get(name)) != value:
                    kind = (screen[name].get("schema") or {}).get("type")
                    change.setdefault("fields", {})[name] = _typed(kind, value)
        if self._options.tags:
            add, remove = desk.tags(note, [str(label) for label in fields.get("labels") or ()])
            if add or remove:
                steps = [{"add": one} for one in add] + [{"remove": one} for one in remove]
                change["update"] = {"labels": steps}
        if change:
            self._api.send("PUT", self._path(key), missing=key, json=change)
        return tuple(told)

    def _since(self, since: datetime, page: int) -> tuple[list[Row], bool]:
        minutes = max(1, int((datetime.now(UTC) - since).total_seconds() // 60) + 1)
        narrowed = f"({self._options.jql}) AND " if self._options.jql else ""
        issues, full = self._search(f'{narrowed}updated >= "-{minutes}m" ORDER BY updated ASC, key ASC', page)
        rows = []
        for one in issues:
            fields = one.get("fields") or {}
            event = Event(
                str(one.get("key")),
                "changed",
                text=str(fields.get("summary") or ""),
                created_at=payload.moment(fields.get("created")),
            )
            rows.append(Row(payload.needed_moment(fields.get("updated"), self._api.where), event))
        return rows, full

    def _value(self, value: Any) -> Any:
        """A custom field's value as text or a list of texts, or whatever else it is where it has no shape that is known."""
        if isinstance(value, list):
            return [self._value(one) for one in value]
        if isinstance(value, Mapping):
            if value.get("type") == "doc":
                return self._text(value)
            return next((str(value[k]) for k in ("value", "name", "displayName", "title") if value.get(k)), dict(value))
        return value


def _age(comment: Mapping[str, Any]) -> tuple[datetime, int, str]:
    """What comments are ordered by: when they were made, then their numbers."""
    number = str(comment["id"])
    return payload.moment(comment.get("created")) or datetime.min.replace(tzinfo=UTC), len(number), number


def _digest(body: Any) -> str:
    return desk.digest(msgspec.json.encode(body, order="sorted").decode())


def _properties(comment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(one.get("key")): one.get("value") for one in comment.get("properties") or () if isinstance(one, Mapping)
    }


def _seal(comment: Mapping[str, Any]) -> dict[str, Any]:
    value = _properties(comment).get(PROPERTY)
    return dict(value) if isinstance(value, Mapping) else {}


def _internal(comment: Mapping[str, Any]) -> bool:
    """Whether a comment in a service project is hidden from its customers."""
    if isinstance(public := comment.get("jsdPublic"), bool):
        return not public
    value = _properties(comment).get(_INTERNAL)
    return isinstance(value, Mapping) and str(value.get("internal")).lower() == "true"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get("value")
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value


def _typed(kind: str | None, value: str) -> Any:
    """A value as the field's type wants it: an option by its name, a number as a number."""
    if kind == "option":
        return {"value": value}
    if kind == "number":
        try:
            return float(value)
        except ValueError:
            return value
    return [value] if kind == "array" else value
