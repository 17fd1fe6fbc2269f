"""GitHub's issues, of github.com or an Enterprise server.

Deliveries: https://docs.github.com/en/webhooks/webhook-events-and-payloads#issues and `#issue_comment`; signed as in
https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries (`X-Hub-Signature-256: sha256=` and the hex HMAC of the
raw body). GitHub gives up after 10 s and never sends again by itself, so a poller belongs beside the hook. Comments:
https://docs.github.com/en/rest/issues/comments.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal
from urllib.parse import quote

from pipeline.errors import TicketNotFound
from pipeline.tickets._desk import MARK, tags
from pipeline.tickets._forge import ForgeOptions, ForgeSystem
from pipeline.tickets._history import History
from pipeline.tickets._payload import dig, moment, same, text
from pipeline.tickets.signatures import check, hexed
from pipeline.tickets.system import Incoming, Note, Step

# Who belongs to the repository: https://docs.github.com/en/graphql/reference/enums#commentauthorassociation
_STAFF = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})


class Options(ForgeOptions, tag="github", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is the API's: of an Enterprise server `https://HOST/api/v3`.

    `repositories` are those whose issues are tickets, as `owner/name`. `token` needs Issues (read and write) and Metadata (read)
    on them, nothing else. `user` is the account of the token, asked for where it is not given; an app has to name it, as
    `app-name[bot]`. `tags` sets labels such as `fault-interface`. `secrets` are the hook's.
    """

    url: str = "https://api.github.com"


class GitHubSystem(ForgeSystem):
    """Issues of GitHub as tickets. A note is a comment, in private and internal repositories only."""

    kind = "github"
    title = "GitHub"
    headers = ("github",)
    # What the API refuses more of: "body is too long (maximum is 65536 characters)".
    limit = 65_536
    ordered = True
    full_pages = True

    def __init__(self, name: str, options: Options) -> None:
        signed = {"Authorization": f"Bearer {options.token}"} if options.token else {}
        super().__init__(
            name, options, {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28", **signed}
        )

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        """What the comments and the issue's events tell; an answer is a comment of a member other than the author.

        Raises as `ticket` does. https://docs.github.com/en/rest/issues/events and /rest/using-the-rest-api/issue-event-types.
        """
        _, path = self._path(ticket_id)
        issue = self._api.json("GET", path, missing=ticket_id)
        author, us = text(dig(issue, "user", "login")), self._user()
        found = History({"closed": "solved"})
        found.add("opened", moment(issue.get("created_at")), author)
        for comment in self._comments(path, ticket_id):
            who = text(dig(comment, "user", "login"))
            staff = text(comment.get("author_association")) in _STAFF and dig(comment, "user", "type") != "Bot"
            if staff and not same(who, author, us) and MARK not in text(comment.get("body")):
                found.add("responded", moment(comment.get("created_at")), who)
        events = self._pages(lambda query: self._api.json("GET", f"{path}/events", missing=ticket_id, params=query), {})
        for event in events:
            at, who = moment(event.get("created_at")), text(dig(event, "actor", "login"))
            match event.get("event"):
                case "closed" | "reopened" as state:
                    found.turned(state, at, who)
                case "assigned":
                    found.add("assigned", at, who, text(dig(event, "assignee", "login")))
        return found.steps

    def _verify(self, request: Incoming) -> None:
        wanted = (f"sha256={hexed(secret, request.body)}" for secret in self._options.secrets)
        check(request.headers.get("x-hub-signature-256"), wanted, "signature in X-Hub-Signature-256")

    def _is_private(self, repository: dict[str, Any]) -> bool:
        # An internal repository is read by the company's members only.
        return repository.get("private") is True and repository.get("visibility", "private") in {"private", "internal"}

    def _listing(self, order: Literal["asc", "desc"]) -> dict[str, Any]:
        return {"sort": "updated", "direction": order}

    def _label(self, repository: str, path: str, ticket_id: str, note: Note) -> None:  # noqa: ARG002 -- see Forgejo
        present = [text(label.get("name")) for label in self._api.json("GET", f"{path}/labels", missing=ticket_id)]
        added, stale = tags(note, present)
        for one in stale:
            with suppress(TicketNotFound):
                self._api.send("DELETE", f"{path}/labels/{quote(one, safe='')}", missing=ticket_id)
        if added:
            # Adds to those that are there, and makes a label that the repository has not.
            self._api.send("POST", f"{path}/labels", missing=ticket_id, again=True, json={"labels": added})
