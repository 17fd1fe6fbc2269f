"""Jira Data Center and Server: REST version 2, comments in wiki markup.

Sources beside those of `_jira.py`: https://docs.atlassian.com/software/jira/docs/api/REST/latest/ (`/rest/api/2`).

Its webhooks were unsigned for long. Where a version signs them (`X-Hub-Signature`, as Cloud does) that counts; else one of the
secrets has to be in the hook's address as `?secret=...`, or come as a bearer token or password from a proxy in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.tickets import _desk as desk
from pipeline.tickets import _payload as payload
from pipeline.tickets._jira import MAX_NOTE, JiraOptions, JiraSystem
from pipeline.tickets._plain import wiki_text
from pipeline.tickets._shorten import short_wiki, whole
from pipeline.tickets.signatures import check_token, credential
from pipeline.tickets.system import File, Form, Incoming, Note

_PAGE = 100


class Options(JiraOptions, tag="jira_dc", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[tickets.NAME]` table with `kind = "jira_dc"`.

    `url` is the base URL, with its context path. `token` is a personal access token; or `username` and `password` sign in. `secrets` are the
    webhook's, or what stands in its address as `?secret=...`. `user` is the account's user name. See `JiraOptions` for the rest.
    """


class JiraDataCenterSystem(JiraSystem):
    """One Jira Data Center."""

    kind = "jira_dc"
    form: Form = "wiki"
    root = "/rest/api/2"
    system = "Jira Data Center"

    def __init__(self, name: str, options: Options) -> None:
        headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
        super().__init__(name, options, headers)

    def _verify(self, request: Incoming) -> None:
        if "x-hub-signature" in request.headers:
            super()._verify(request)
            return
        given = request.query.get("secret") or credential(request)
        check_token(given, self._options.secrets, "signature in x-hub-signature or secret in its address")

    def _text(self, value: Any) -> str:
        return wiki_text(value) if isinstance(value, str) else ""

    def _body(self, note: Note) -> tuple[Any, tuple[File, ...]]:
        rendered = desk.body_of(note, self.form)
        short = short_wiki(rendered, MAX_NOTE, note.marker)
        rest = (whole(rendered, f"{note.snapshot_id}.txt", "text/plain"),) if short != rendered else ()
        return short, rest

    def _search(self, jql: str, page: int) -> tuple[Sequence[dict[str, Any]], bool]:
        query: dict[str, Any] = {
            "jql": jql,
            "fields": "summary,created,updated",
            "startAt": page * _PAGE,
            "maxResults": _PAGE,
        }
        answer = self._get(f"{self.root}/search", params=query)
        issues = payload.rows(answer.get("issues") or [], self._api.where)
        return issues, page * _PAGE + len(issues) < int(answer.get("total") or 0)
