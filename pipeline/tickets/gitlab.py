"""GitLab's issues, of gitlab.com or a server of one's own, also those that Service Desk makes of e-mails.

Deliveries: https://docs.gitlab.com/user/project/integrations/webhook_events/. A hook's signing token (`whsec_` and base64) signs as
Standard Webhooks say, with `webhook-id` the same for each try (merge requests 230944 and 231325 of gitlab-org/gitlab); the older secret
token is sent as it is in `X-Gitlab-Token`. Internal notes: https://docs.gitlab.com/api/notes/, `internal`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pipeline.errors import TicketNotFound
from pipeline.tickets._api import Api, SystemOptions
from pipeline.tickets._desk import MARK, body_of, ours, tags
from pipeline.tickets._forge import check_places
from pipeline.tickets._history import History
from pipeline.tickets._markdown import markdown_text, short_markdown
from pipeline.tickets._notes import Notes, Written, settle
from pipeline.tickets._payload import decode, dig, moment, needed_moment, outline, rows, same, text, whole
from pipeline.tickets._plain import conversation
from pipeline.tickets._polls import Cursor, Row, newest, over, stamped_row, sweep, walk
from pipeline.tickets.file import guess_language
from pipeline.tickets.signatures import check_standard, check_token, to_verify
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
    Unverified,
)
from pipeline.values import Ticket

_PROJECT = re.compile(r"[\w.-]{1,100}(/[\w.-]{1,100}){1,20}", re.ASCII)
_TICKET = re.compile(rf"({_PROJECT.pattern})#(\d{{1,18}})", re.ASCII)
# How a signing token begins; what does not is a secret token, which is sent as it is.
_SIGNING = "whsec_"
_ISSUES = frozenset({"issue", "work_item", "incident"})
# Changes of these say something new about what happened.
_TELLING = frozenset({"title", "description"})
# https://docs.gitlab.com/administration/instance_limits/ (size of comments and descriptions)
_LIMIT = 1_000_000
_PAGE = 100
_PAGES = 1_000


class Options(SystemOptions, tag="gitlab", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is the server's. `projects` are those whose issues are tickets, as `group/project`.

    `token` is a project's or group's access token with the scope `api` and the role Reporter, which internal notes need. `secrets` are
    the hook's signing tokens (`whsec_...`) or, on older servers, its secret tokens. `user` is the token's account, asked for where
    it is not given. `tags` sets labels such as `fault-interface`, on issues that only members see.
    """

    url: str = "https://gitlab.com"
    projects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        super().__post_init__()
        check_places("projects", self.projects, _PROJECT, "group/project")
        if self.fields:
            raise ValueError("fields: the API sets no fields of an issue's own; tags = true sets labels")


class GitLabSystem:
    """Issues of GitLab as tickets. A note is an internal one: members with the role Reporter or above read it."""

    kind = "gitlab"
    form: Form = "markdown"
    edits = True

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self._options = options
        self._api = Api(name, "GitLab", options, {"PRIVATE-TOKEN": options.token} if options.token else {})
        self._login = options.user

    def receive(self, request: Incoming) -> Event:
        """What a delivery says; see `TicketSystem`."""
        if to_verify(self.name, self._options):
            self._verify(request)
        payload = decode(request.body)
        kind = text(payload.get("object_kind"))[:40]
        delivery = request.headers.get("webhook-id") or request.headers.get("idempotency-key")
        given = payload.get("object_attributes")
        issue = given if kind in _ISSUES else payload.get("issue")
        if not isinstance(given, dict) or not isinstance(issue, dict):
            return Event("", kind or "unknown", delivery, ignored=f"a delivery of kind {kind!r}, not of an issue")
        name = text(dig(payload, "project", "path_with_namespace"))
        if not _PROJECT.fullmatch(name):
            raise Malformed("project.path_with_namespace is missing or not of the form group/project")
        project = next((known for known in self._options.projects if same(known, name)), name)
        actor = text(dig(payload, "user", "username")) or None
        action = text(given.get("action"))[:40]
        return Event(
            f"{project}#{whole(issue.get('iid'), 'the iid of the issue')}",
            f"{kind}.{action}" if action else kind,
            delivery,
            actor,
            outline(issue.get("title"), issue.get("description")),
            moment(issue.get("created_at")),
            self._ignored(payload, project, kind, action, actor),
            routine=kind != "note" and action == "close",
        )

    def ticket(self, ticket_id: str) -> Ticket:
        """The issue with its author's comments; see `TicketSystem`."""
        project, path = self._path(ticket_id)
        issue = self._api.json("GET", path, missing=ticket_id)
        author = text(dig(issue, "author", "username"))
        later = (
            markdown_text(text(note.get("body")))
            for note in self._comments(path, ticket_id)
            if same(author, dig(note, "author", "username"))
            and not _internal(note)
            and MARK not in text(note.get("body"))
        )
        title = text(issue.get("title"))
        description = conversation(markdown_text(text(issue.get("description"))), later)
        # Service Desk: the author is its bot, and the customer is known by this address.
        customer = text(issue.get("service_desk_reply_to")) or author
        said = {
            "state": text(issue.get("state")),
            "labels": [text(label) for label in issue.get("labels") or ()],
            "milestone": text(dig(issue, "milestone", "title")),
            "severity": text(issue.get("severity")),
            "project": project,
        }
        return Ticket(
            id=ticket_id,
            title=title,
            description=description,
            created_at=needed_moment(issue.get("created_at"), self._api.where),
            system=self.kind,
            language=guess_language(f"{title}\n{description}"),
            customer_id=customer or None,
            custom_fields={name: value for name, value in said.items() if value and value != "UNKNOWN"},
        )

    def attach(self, ticket_id: str, note: Note) -> Attached:
        """One internal note; see `TicketSystem`."""
        project, path = self._path(ticket_id)
        whole = body_of(note, self.form)
        body = short_markdown(whole, _LIMIT, note.marker)
        attached = settle(self._notes(path, ticket_id), note.marker, body)
        told = [*attached.notes, *([] if body == whole else [f"the note was cut to {_LIMIT} characters"])]
        if self._options.tags:
            told += self._label(project, path, ticket_id, note)
        return Attached(attached.outcome, attached.note_id, attached.url, tuple(told))

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        """What the notes and the issue's states tell; an answer is a public note of nobody but the author and ourselves.

        Who has the issue is not among what can be asked for. Raises as `ticket` does.
        https://docs.gitlab.com/api/resource_state_events/ and https://docs.gitlab.com/api/notes/.
        """
        _, path = self._path(ticket_id)
        issue = self._api.json("GET", path, missing=ticket_id)
        author, us = text(dig(issue, "author", "username")), self._user()
        found = History({"closed": "solved"})
        found.add("opened", moment(issue.get("created_at")), author)
        for note in self._comments(path, ticket_id):
            who = text(dig(note, "author", "username"))
            if not same(who, author, us) and not _internal(note) and MARK not in text(note.get("body")):
                found.add("responded", moment(note.get("created_at")), who)
        for one in self._pages(f"{path}/resource_state_events", ticket_id):
            found.turned(text(one.get("state")), moment(one.get("created_at")), text(dig(one, "user", "username")))
        return found.steps

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        """Issues that changed since; see `TicketSystem`. Of several projects, one after the other in one cursor."""
        return over(self.name, self._options.projects, cursor, limit, self._newest, self._changed)

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    def _verify(self, request: Incoming) -> None:
        signing = [secret for secret in self._options.secrets if secret.startswith(_SIGNING)]
        plain = [secret for secret in self._options.secrets if not secret.startswith(_SIGNING)]
        if signing and (not plain or "webhook-signature" in request.headers):
            check_standard(request, signing)
        elif plain:
            check_token(request.headers.get("x-gitlab-token"), plain, "token in x-gitlab-token")
        else:
            raise Unverified("the request cannot be verified: secrets holds neither a signing token nor a secret token")

    def _ignored(self, payload: dict[str, Any], project: str, kind: str, action: str, actor: str | None) -> str | None:
        given = payload["object_attributes"]
        if project not in self._options.projects:
            return f"{project} is none of the projects of [tickets.{self.name}]"
        if own := ours(self._options, [actor], text(given.get("note")) if kind == "note" else ""):
            return own
        if kind == "note":
            return "a note that GitLab wrote itself" if given.get("system") else None
        if action == "update" and not _TELLING.intersection(payload.get("changes") or {}):
            return "neither title nor description changed"
        return (
            None
            if action in {"open", "reopen", "update", "close"}
            else f"{kind}.{action} says nothing new about what happened"
        )

    def _path(self, ticket_id: str) -> tuple[str, str]:
        found = _TICKET.fullmatch(ticket_id)
        name = next((one for one in self._options.projects if found and same(one, found[1])), None)
        if not found or name is None:
            raise TicketNotFound(
                f"ticket {ticket_id!r} is none of [tickets.{self.name}]: an id is group/project#number with one of its projects,"
                f" {', '.join(self._options.projects)}"
            )
        return name, f"{_project(name)}/issues/{found[found.lastindex or 0]}"

    def _notes(self, path: str, ticket_id: str) -> Notes:
        login = self._user()

        def gone(one: str) -> None:
            with suppress(TicketNotFound):
                self._api.send("DELETE", f"{path}/notes/{one}", missing=one)

        def send(method: str, where: str, missing: str, body: dict[str, Any]) -> Written:
            return self._written(self._api.json(method, where, missing=missing, json=body), path)

        return Notes(
            where=f"{self._api.where}, {ticket_id}",
            listed=lambda: [
                self._written(note, path)
                for note in self._comments(path, ticket_id)
                if same(login, dig(note, "author", "username"))
            ],
            create=lambda body: send("POST", f"{path}/notes", ticket_id, {"body": body, "internal": True}),
            change=lambda one, body: send("PUT", f"{path}/notes/{one}", one, {"body": body}),
            delete=gone,
        )

    def _written(self, note: dict[str, Any], path: str) -> Written:
        project, _, number = path.removeprefix("/api/v4/projects/").partition("/issues/")
        url = f"{self._options.url.rstrip('/')}/{project.replace('%2F', '/')}/-/issues/{number}#note_{note['id']}"
        return Written(str(note["id"]), text(note.get("body")), private=_internal(note), url=url)

    def _user(self) -> str:
        if not self._login:
            self._login = text(self._api.json("GET", "/api/v4/user").get("username"))
        return self._login

    def _comments(self, path: str, ticket_id: str) -> Iterator[dict[str, Any]]:
        """What people wrote below the issue, oldest first."""
        notes = self._pages(f"{path}/notes", ticket_id, sort="asc", order_by="created_at")
        return (note for note in notes if not note.get("system"))

    def _pages(self, path: str, ticket_id: str, **query: str) -> Iterator[dict[str, Any]]:
        """The rows of all pages of a list of the issue's."""
        for page in range(1, _PAGES + 1):
            params = {**query, "per_page": _PAGE, "page": page}
            found = rows(self._api.json("GET", path, missing=ticket_id, params=params), self._api.where)
            yield from found
            if len(found) < _PAGE:
                return
        raise SystemBroken(f"{self._api.where} gave more than {_PAGES} pages of {path}")

    def _label(self, project: str, path: str, ticket_id: str, note: Note) -> list[str]:
        """Sets the labels, unless the customer could see them. What was left is told."""
        issue = self._api.json("GET", path, missing=ticket_id)
        private = (
            issue.get("confidential") is True or self._api.json("GET", _project(project)).get("visibility") == "private"
        )
        if not private:
            return [
                f"labels are not set: {project} is not private and the issue not confidential, so everybody would see them"
            ]
        present = [text(label) for label in issue.get("labels") or ()]
        added, removed = tags(note, present)
        if added or removed:
            change = {"add_labels": ",".join(added), "remove_labels": ",".join(removed)}
            self._api.json(
                "PUT", path, missing=ticket_id, json={name: value for name, value in change.items() if value}
            )
        return []

    def _changed(self, project: str, cursor: Cursor, limit: int) -> Changes:
        def read(since: datetime, page: int) -> tuple[list[Row], bool]:
            found = self._rows(project, {"updated_after": since.isoformat(), "sort": "asc", "page": page + 1})
            return found, len(found) == _PAGE

        return sweep(cursor, lambda since: walk(read, since), limit)

    def _newest(self, project: str) -> Cursor:
        return newest(self._rows(project, {"sort": "desc"}))

    def _rows(self, project: str, query: dict[str, Any]) -> list[Row]:
        fixed = {"scope": "all", "state": "all", "order_by": "updated_at", "per_page": _PAGE}
        listed = self._api.json("GET", f"{_project(project)}/issues", params={**fixed, **query})
        return [
            stamped_row(
                f"{project}#{issue['iid']}",
                issue,
                outline(issue.get("title"), issue.get("description")),
                self._api.where,
            )
            for issue in rows(listed, self._api.where)
        ]


def _project(name: str) -> str:
    return f"/api/v4/projects/{quote(name, safe='')}"


def _internal(note: dict[str, Any]) -> bool:
    """Whether only members read it. `confidential` is the older name."""
    return note.get("internal") is True or note.get("confidential") is True
