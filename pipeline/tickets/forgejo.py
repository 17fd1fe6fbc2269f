"""Forgejo's issues, and Gitea's, which have the same API.

Deliveries: https://forgejo.org/docs/latest/user/webhooks/, signed with the bare hex HMAC-SHA256 of the raw body in
`X-Forgejo-Signature` (Gitea: `X-Gitea-Signature`; see `services/webhook/deliver.go` of go-gitea/gitea). They are not sent again by
themselves, so a poller belongs beside the hook. API: `/api/swagger` of each server.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

from pipeline.errors import TicketNotFound
from pipeline.tickets._desk import tags
from pipeline.tickets._forge import ForgeOptions, ForgeSystem
from pipeline.tickets._payload import text
from pipeline.tickets.signatures import check, hexed
from pipeline.tickets.system import Incoming, Note, SystemBroken

_COLOUR = "#6e7781"


class Options(ForgeOptions, tag="forgejo", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is the server's, such as `https://code.example.com`.

    `repositories` are those whose issues are tickets, as `owner/name`. `token` needs the scopes `write:issue` and
    `read:repository`, and `read:user` where `user`, the account of the token, is not given. `tags` sets labels such as
    `fault-interface`. `secrets` are the hook's.
    """

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        super().__post_init__()
        if not self.url:
            raise ValueError("url is missing: the server's address, such as https://code.example.com")


class ForgejoSystem(ForgeSystem):
    """Issues of Forgejo or Gitea as tickets. A note is a comment, in private repositories only."""

    kind = "forgejo"
    title = "Forgejo"
    headers = ("forgejo", "gitea")
    # The column takes more; a comment of this length is already hard to read.
    limit = 200_000
    base = "/api/v1"
    # The order of the list is not the caller's to choose in all versions, so all of it is read and ordered here.
    ordered = False
    full_pages = False

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(name, options, {"Authorization": f"token {options.token}"} if options.token else {})

    def _verify(self, request: Incoming) -> None:
        wanted = (hexed(secret, request.body) for secret in self._options.secrets)
        check(self._header(request, "signature"), wanted, "signature in X-Forgejo-Signature or X-Gitea-Signature")

    def _is_private(self, repository: dict[str, Any]) -> bool:
        return repository.get("private") is True

    def _listing(self, order: Literal["asc", "desc"]) -> dict[str, Any]:
        return {"type": "issues", "sort": "leastupdate" if order == "asc" else "recentupdate"}

    def _label(self, repository: str, path: str, ticket_id: str, note: Note) -> None:
        present = {text(one.get("name")): one for one in self._api.json("GET", f"{path}/labels", missing=ticket_id)}
        added, stale = tags(note, present)
        for one in stale:
            with suppress(TicketNotFound):
                self._api.send("DELETE", f"{path}/labels/{present[one]['id']}", missing=ticket_id)
        if added:
            ids = [self._label_id(repository, tag) for tag in added]
            self._api.send("POST", f"{path}/labels", missing=ticket_id, again=True, json={"labels": ids})

    def _label_id(self, repository: str, tag: str) -> int:
        """The id of the repository's label, which is made where it is missing."""
        path = f"{self.base}/repos/{repository}/labels"
        known = self._pages(lambda query: self._api.json("GET", path, params=query), {})
        found = next((label for label in known if label.get("name") == tag), None)
        made = found or self._api.json("POST", path, json={"name": tag, "color": _COLOUR})
        if not isinstance(made.get("id"), int):
            raise SystemBroken(f"{self._api.where} gave the label {tag} without an id")
        return int(made["id"])
