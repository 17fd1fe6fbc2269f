"""Jira Cloud, Jira Service Management included: REST version 3, comments in Atlassian's document format.

Sources beside those of `_jira.py`: https://developer.atlassian.com/cloud/jira/platform/webhooks/ (`X-Hub-Signature: sha256=...` over the
raw body, `X-Atlassian-Webhook-Identifier` the same when sent again),
https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issue-search/ (`/search/jql`, `nextPageToken`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline.tickets import _desk as desk
from pipeline.tickets import _payload as payload
from pipeline.tickets._jira import MAX_NOTE, JiraOptions, JiraSystem
from pipeline.tickets._plain import adf_text
from pipeline.tickets._shorten import short_adf, whole
from pipeline.tickets.system import File, Form, Note, SystemBroken

_PAGE = 100


class Options(JiraOptions, tag="jira", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[tickets.NAME]` table with `kind = "jira"`.

    `url` is `https://SITE.atlassian.net`. `username` (an account's address) and `token` (its API token) sign in; a `token` alone is an
    OAuth access token, and `url` then `https://api.atlassian.com/ex/jira/CLOUD_ID`. `secrets` are the webhook's. `user` is the
    account's id. See `JiraOptions` for the rest.
    """


class JiraCloudSystem(JiraSystem):
    """One site of Jira Cloud."""

    kind = "jira"
    form: Form = "adf"
    root = "/rest/api/3"
    system = "Jira"

    def __init__(self, name: str, options: Options) -> None:
        headers = {}
        if options.token:
            headers["Authorization"] = (
                desk.basic(options.username, options.token) if options.username else f"Bearer {options.token}"
            )
        super().__init__(name, options, headers)

    def _text(self, value: Any) -> str:
        return adf_text(value) if value else ""

    def _body(self, note: Note) -> tuple[Any, tuple[File, ...]]:
        rendered = desk.body_of(note, self.form)
        try:
            document = msgspec.json.decode(rendered, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise SystemBroken(
                f"the note of snapshot {note.snapshot_id} is no document of Atlassian's format"
            ) from error
        short = short_adf(document, MAX_NOTE)
        rest = (whole(rendered, f"{note.snapshot_id}.adf.json", "application/json"),) if short is not document else ()
        return short, rest

    def _search(self, jql: str, page: int) -> tuple[Sequence[dict[str, Any]], bool]:
        token: str | None = None
        answer: dict[str, Any] = {}
        for turn in range(page + 1):
            if turn and not token:
                return [], False
            query: dict[str, Any] = {"jql": jql, "fields": ["summary", "created", "updated"], "maxResults": _PAGE}
            if token:
                query["nextPageToken"] = token
            found = self._api.json("POST", f"{self.root}/search/jql", again=True, json=query)
            answer = payload.fields(found, self._api.where)
            token = answer.get("nextPageToken")
        return payload.rows(answer.get("issues") or [], self._api.where), bool(token)
