"""Issues of a code forge as tickets: what GitHub's API and Forgejo's have in common.

A ticket's id is `owner/name#12`. A comment on an issue is seen by everybody who sees the issue, there are no private ones. So
nothing is ever written in a repository that is not private, and there is no option to do it all the same.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets._api import Api, SystemOptions
from pipeline.tickets._desk import MARK, body_of, ours
from pipeline.tickets._markdown import markdown_text, sections, short_markdown
from pipeline.tickets._notes import Notes, Written, settle
from pipeline.tickets._payload import dig, form_or_json, moment, needed_moment, outline, rows, same, text, whole
from pipeline.tickets._plain import conversation
from pipeline.tickets._polls import Row, due, newest, over, stamped_row, sweep, walk
from pipeline.tickets.file import guess_language
from pipeline.tickets.signatures import to_verify
from pipeline.tickets.system import Attached, Changes, Event, Form, Incoming, Malformed, Note, Remembers, SystemBroken
from pipeline.values import Ticket

_REPOSITORY = re.compile(r"[\w.-]{1,100}/[\w.-]{1,100}", re.ASCII)
_TICKET = re.compile(rf"({_REPOSITORY.pattern})#(\d{{1,18}})", re.ASCII)
# What may have brought something new to say. Labels, assignments and the like bring nothing.
_DUE = {"issues": {"opened", "edited", "reopened"}, "issue_comment": {"created", "edited"}}
# What the desk's clock is to know, and nothing else.
_ROUTINE = frozenset({"closed", "assigned", "unassigned"})
_PAGE = 100
_PAGES = 1_000


class ForgeOptions(SystemOptions, frozen=True, kw_only=True):
    """`repositories` are those whose issues are tickets, as `owner/name`; deliveries of others are ignored."""

    repositories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        super().__post_init__()
        check_places("repositories", self.repositories, _REPOSITORY, "owner/name")
        if self.fields:
            raise ValueError("fields: issues have no fields of their own; tags = true sets labels")


def check_places(option: str, places: tuple[str, ...], pattern: re.Pattern[str], form: str) -> None:
    """Raises `ValueError` unless an option names places (repositories, projects), each of them of the form."""
    if not places:
        raise ValueError(f'{option}: none is named; write {option} = ["{form}"]')
    for place in places:
        if not pattern.fullmatch(place):
            raise ValueError(f"{option}: {place!r} is not of the form {form}")


class ForgeSystem(ABC):
    """The shape of `TicketSystem` over a forge's issues."""

    kind: str
    form: Form = "markdown"
    edits = True
    # The name for people, the prefix of the headers' names, and the most characters that a comment may have.
    title: str
    headers: tuple[str, ...]
    limit: int
    # The first part of the path of a request, and whether the list of issues can be had by the time of change.
    base: str = ""
    ordered: bool
    # Whether a page is as long as was asked for, but for the last.
    full_pages: bool

    def __init__(self, name: str, options: ForgeOptions, headers: dict[str, str]) -> None:
        self.name = name
        self._options = options
        self._api = Api(name, self.title, options, headers)
        self._login = options.user

    def receive(self, request: Incoming) -> Event:
        """What a delivery says; see `TicketSystem`."""
        if to_verify(self.name, self._options):
            self._verify(request)
        kind, delivery = (self._header(request, part) or "" for part in ("event", "delivery"))
        payload = form_or_json(request)
        issue = payload.get("issue")
        if kind not in _DUE or not isinstance(issue, dict):
            return Event(
                "", kind or "unknown", delivery or None, ignored=f"a delivery of kind {kind[:40]!r}, not of an issue"
            )
        repository = self._repository(payload)
        number = whole(issue.get("number"), "issue.number")
        action = text(payload.get("action"))[:40]
        actor = text(dig(payload, "sender", "login")) or None
        return Event(
            f"{repository}#{number}",
            f"{kind}.{action}",
            delivery or None,
            actor,
            outline(issue.get("title"), issue.get("body")),
            moment(issue.get("created_at")),
            self._ignored(payload, repository, kind, action, actor),
            routine=self._is_routine(kind, action),
        )

    def ticket(self, ticket_id: str) -> Ticket:
        """The issue with its author's comments; see `TicketSystem`."""
        repository, path = self._path(ticket_id)
        issue = self._api.json("GET", path, missing=ticket_id)
        if issue.get("pull_request"):
            raise TicketNotFound(f"{ticket_id} is a pull request, no ticket")
        author = text(dig(issue, "user", "login"))
        body = markdown_text(text(issue.get("body")))
        later = (
            markdown_text(text(comment.get("body")))
            for comment in self._comments(path, ticket_id)
            if same(author, dig(comment, "user", "login")) and MARK not in text(comment.get("body"))
        )
        title, description = text(issue.get("title")), conversation(body, later)
        said = {
            "state": text(issue.get("state")),
            "labels": [text(label.get("name")) for label in issue.get("labels") or ()],
            "milestone": text(dig(issue, "milestone", "title")),
            "repository": repository,
        }
        return Ticket(
            id=ticket_id,
            title=title,
            description=description,
            created_at=needed_moment(issue.get("created_at"), self._api.where),
            system=self.kind,
            language=guess_language(f"{title}\n{description}"),
            customer_id=author or None,
            custom_fields={**{name: value for name, value in said.items() if value}, **sections(body)},
        )

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """One comment in a private repository; refused in any other. See `TicketSystem`."""
        repository, path = self._path(ticket_id)
        self._stay_private(repository, ticket_id)
        whole = body_of(note, self.form)
        body = short_markdown(whole, self.limit, note.marker)
        attached = settle(self._notes(repository, path, ticket_id), note.marker, body)
        cut = () if body == whole else (f"the note was cut to {self.limit} characters",)
        if attached.outcome != "unchanged":
            try:
                self._stay_private(repository, ticket_id)
            except SystemBroken:
                # It became public while we wrote.
                self._delete(repository, attached.note_id or "")
                raise
        if self._options.tags:
            self._label(repository, path, ticket_id, note)
        return Attached(attached.outcome, attached.note_id, attached.url, (*attached.notes, *cut))

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        """Issues that changed since; see `TicketSystem`. Of several repositories, one after the other in one cursor."""
        return over(
            self.name,
            self._options.repositories,
            cursor,
            limit,
            lambda one: newest(self._newest(one)),
            lambda one, since, most: due(sweep(since, self._since(one), most, ordered=self.ordered)),
        )

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    # What the forges differ in.

    @abstractmethod
    def _verify(self, request: Incoming) -> None:
        """Raises `Unverified` unless one of the secrets signed the request."""

    @abstractmethod
    def _is_private(self, repository: dict[str, Any]) -> bool:
        """Whether nobody but members reads the repository."""

    @abstractmethod
    def _label(self, repository: str, path: str, ticket_id: str, note: Note) -> None:
        """Sets the label of the note's fault, and takes off those of other faults."""

    @abstractmethod
    def _listing(self, order: Literal["asc", "desc"]) -> dict[str, Any]:
        """The parameters that list issues by the time of their last change."""

    # What they share.

    def _is_routine(self, kind: str, action: str) -> bool:
        """Whether only the issue's state changed, and there is a history to read it from."""
        return kind == "issues" and action in _ROUTINE and isinstance(self, Remembers)

    def _header(self, request: Incoming, part: str) -> str | None:
        return next((found for prefix in self.headers if (found := request.headers.get(f"x-{prefix}-{part}"))), None)

    def _repository(self, payload: dict[str, Any]) -> str:
        name = text(dig(payload, "repository", "full_name"))
        if not _REPOSITORY.fullmatch(name):
            raise Malformed("repository.full_name is missing or not of the form owner/name")
        return next((known for known in self._options.repositories if same(known, name)), name)

    def _ignored(
        self, payload: dict[str, Any], repository: str, kind: str, action: str, actor: str | None
    ) -> str | None:
        if repository not in self._options.repositories:
            return f"{repository} is none of the repositories of [tickets.{self.name}]"
        if payload.get("is_pull") or dig(payload, "issue", "pull_request"):
            return "a pull request, no ticket"
        if action not in _DUE[kind] and not self._is_routine(kind, action):
            return f"{kind}.{action} says nothing new about what happened"
        return ours(self._options, [actor], text(dig(payload, "comment", "body")))

    def _path(self, ticket_id: str) -> tuple[str, str]:
        found = _TICKET.fullmatch(ticket_id)
        name = next((one for one in self._options.repositories if found and same(one, found[1])), None)
        if not found or name is None:
            raise TicketNotFound(
                f"ticket {ticket_id!r} is none of [tickets.{self.name}]: an id is owner/name#number with one of its"
                f" repositories, {', '.join(self._options.repositories)}"
            )
        return name, f"{self.base}/repos/{name}/issues/{found[2]}"

    def _stay_private(self, repository: str, ticket_id: str) -> None:
        found = self._api.json("GET", f"{self.base}/repos/{repository}", missing=ticket_id)
        if not self._is_private(found):
            raise SystemBroken(
                f"{repository} is not private, so everybody would read the note; nothing is left there. Keep tickets in a private"
                " repository, or send snapshots to the outgoing webhook"
            )

    def _notes(self, repository: str, path: str, ticket_id: str) -> Notes:
        base = f"{self.base}/repos/{repository}/issues/comments"
        me = self._user()
        return Notes(
            where=f"{self._api.where}, {ticket_id}",
            listed=lambda: [
                _written(comment)
                for comment in self._comments(path, ticket_id)
                if same(me, dig(comment, "user", "login"))
            ],
            create=lambda body: _written(
                self._api.json("POST", f"{path}/comments", missing=ticket_id, json={"body": body})
            ),
            change=lambda one, body: _written(
                self._api.json("PATCH", f"{base}/{one}", missing=one, again=True, json={"body": body})
            ),
            delete=lambda one: self._delete(repository, one),
        )

    def _delete(self, repository: str, comment: str) -> None:
        with suppress(TicketNotFound):
            self._api.send("DELETE", f"{self.base}/repos/{repository}/issues/comments/{comment}", missing=comment)

    def _user(self) -> str:
        """The account we write with: as configured, or as the token says."""
        if not self._login:
            try:
                self._login = text(self._api.json("GET", f"{self.base}/user").get("login"))
            except (Refused, SystemBroken) as error:
                raise Refused(f"{error}; or set user to the account's name, as `app-name[bot]` for an app") from error
        return self._login

    def _comments(self, path: str, ticket_id: str) -> Iterator[dict[str, Any]]:
        yield from self._pages(
            lambda query: self._api.json("GET", f"{path}/comments", missing=ticket_id, params=query), {}
        )

    def _pages(self, get: Callable[[dict[str, Any]], Any], query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The rows of all pages. A server that knows no pages, and gives all rows each time, is read once."""
        seen: set[Any] = set()
        for page in range(1, _PAGES + 1):
            found = rows(get({**query, "per_page": _PAGE, "limit": _PAGE, "page": page}), self._api.where)
            fresh = [row for row in found if row.get("id") not in seen]
            yield from fresh
            seen.update(row.get("id") for row in fresh)
            # A server that may give shorter pages than were asked for ends with an empty one.
            if not fresh or (self.full_pages and len(found) < _PAGE):
                return
        raise SystemBroken(f"{self._api.where} gave more than {_PAGES} pages")

    def _since(self, repository: str) -> Callable[[datetime], Iterator[Row]]:
        path = f"{self.base}/repos/{repository}/issues"
        fixed = {"state": "all", **self._listing("asc")}

        def read(since: datetime, page: int) -> tuple[list[Row], bool]:
            query = {**fixed, "since": f"{since:%Y-%m-%dT%H:%M:%SZ}", "per_page": _PAGE, "page": page + 1}
            found = rows(self._api.json("GET", path, params=query), self._api.where)
            return self._rows(repository, found), len(found) == _PAGE

        def every(since: datetime) -> Iterator[Row]:
            query = {**fixed, "since": f"{since:%Y-%m-%dT%H:%M:%SZ}"}
            yield from self._rows(repository, self._pages(lambda more: self._api.json("GET", path, params=more), query))

        return (lambda since: walk(read, since)) if self.ordered else every

    def _newest(self, repository: str) -> list[Row]:
        path, query = f"{self.base}/repos/{repository}/issues", {"state": "all", **self._listing("desc")}
        if self.ordered:
            return self._rows(repository, self._api.json("GET", path, params={**query, "per_page": _PAGE}))
        return self._rows(repository, self._pages(lambda more: self._api.json("GET", path, params=more), query))

    def _rows(self, repository: str, issues: Iterable[dict[str, Any]]) -> list[Row]:
        return [
            stamped_row(
                f"{repository}#{issue['number']}",
                issue,
                outline(issue.get("title"), issue.get("body")),
                self._api.where,
                "a pull request, no ticket" if issue.get("pull_request") else None,
            )
            for issue in issues
        ]


def _written(comment: dict[str, Any]) -> Written:
    # Whether the repository is private was asked for before, and is asked for once more after.
    return Written(str(comment["id"]), text(comment.get("body")), private=True, url=comment.get("html_url"))
