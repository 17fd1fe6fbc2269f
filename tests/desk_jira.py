"""Jira as its documentation has it, Cloud (REST version 3) and Data Center (version 2).

https://developer.atlassian.com/cloud/jira/platform/rest/v3/ and https://docs.atlassian.com/software/jira/docs/api/REST/latest/
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.tickets import open_system
from pipeline.tickets.jira import Options as CloudOptions
from pipeline.tickets.jira_dc import Options as DataCenterOptions
from pipeline.tickets.system import Incoming
from tests.tickets_desks import NEXT_SECRET, SECRET, Answer, Call, Desk, adf, incoming, route

FIELD = "customfield_10050"
PAGE = 50


class JiraDesk(Desk):
    """A service project's issue. Comments keep their properties; Cloud rewrites bodies and says `jsdPublic`."""

    ticket_id, edits = "PAY-123", True
    writing = "POST", "comment$"
    root: str
    who: str

    def __init__(self) -> None:
        super().__init__()
        self.comments: list[dict[str, Any]] = []
        self.histories: list[dict[str, Any]] = []
        self.service = True
        self.attachments: list[dict[str, Any]] = []
        self.issues: list[dict[str, Any]] = []
        self.count = 10000
        self.values: dict[str, Any] = {
            "summary": "支付失败 payment failed",
            "description": self.document("订单 M1 付款后显示失败。"),
            "created": "2026-11-26T18:02:31.123+0800",
            "updated": "2026-11-26T18:02:31.123+0800",
            "reporter": self.person("customer"),
            "labels": ["vip", "fault-rate-limit"],
            FIELD: None,
            "customfield_10060": {"self": "...", "value": "iPhone 15", "id": "1"},
            "customfield_10070": None,
        }

    def document(self, text: str) -> Any:
        raise NotImplementedError

    def person(self, who: str) -> dict[str, Any]:
        return {self.who: f"user-{who}", "displayName": who}

    def payload(self, **over: Any) -> bytes:
        sent = {
            "timestamp": 1795687499000,
            "webhookEvent": over.get("what", "comment_created"),
            "comment": {
                "id": "10001",
                "author": {self.who: over.get("actor") or "user-customer"},
                "updateAuthor": {self.who: over.get("actor") or "user-customer"},
                "body": over.get("said", "it is order M1"),
            },
            "issue": {
                "id": "10002",
                "key": "PAY-123",
                "fields": {"summary": "payment failed", "created": "2026-11-26T10:02:31.123+0000"},
            },
        } | over.get("more", {})
        return over.get("body", json.dumps(sent).encode())

    def delivery(self, secret: str | None, **over: Any) -> Incoming:
        body = self.payload(**over)
        headers = {"x-atlassian-webhook-identifier": "delivery-1"}
        if secret is not None:
            headers["x-hub-signature"] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return incoming(body, headers)

    def shown(self, comment: dict[str, Any]) -> dict[str, Any]:
        return comment

    def add_comment(self, who: str, body: Any, properties: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        self.count += 1
        made = {"id": str(self.count), "author": self.person(who), "body": body, "properties": properties,
                "created": f"2026-11-26T10:03:{len(self.comments) % 60:02}.000+0000", **more}  # fmt: skip
        self.comments.append(made)
        return made

    def says(self, text: str, *, who: str, private: bool = False) -> None:
        internal = [{"key": "sd.public.comment", "value": {"internal": True}}] if private else []
        self.add_comment(who, self.document(text), internal)

    def public(self, comment: dict[str, Any]) -> bool:
        held = {one["key"]: one["value"] for one in comment["properties"]}
        return not held.get("sd.public.comment", {}).get("internal") or bool(comment.get("forced"))

    def notes(self) -> list[tuple[bool, str]]:
        mine = [one for one in self.comments if one["author"] == self.person("us")]
        return [(not self.public(one), self.said(one["body"])) for one in mine]

    def said(self, body: Any) -> str:
        return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)

    def files(self) -> list[str]:
        return [one["filename"] for one in self.attachments]

    def fault(self) -> str | None:
        return (self.values[FIELD] or {}).get("value")

    def tags(self) -> list[str] | None:
        return self.values["labels"]

    def add_tickets(self, times: list[datetime]) -> list[str]:
        made = [{"key": f"PAY-{1001 + i}", "at": at} for i, at in enumerate(times)]
        self.issues += made
        return [one["key"] for one in made]

    def touch(self, ticket_id: str, at: datetime) -> None:
        next(one for one in self.issues if one["key"] == ticket_id)["at"] = at

    def found(self, jql: str) -> list[dict[str, Any]]:
        """What a JQL search by minutes back gives, oldest first."""
        minutes = re.search(r'updated >= "-(\d+)m" ORDER BY updated ASC', jql)
        assert minutes, jql
        since = datetime.now(UTC) - timedelta(minutes=int(minutes[1]))
        rows = sorted((one for one in self.issues if one["at"] >= since), key=lambda one: (one["at"], one["key"]))
        return [
            {
                "key": one["key"],
                "fields": {
                    "summary": "s",
                    "updated": one["at"].strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
                    "created": "2026-11-26T10:00:00.000+0000",
                },
            }
            for one in rows
        ]

    @route("GET", r"/rest/api/[23]/issue/([^/]+)")
    def issue(self, _call: Call, key: str) -> Any:
        if key != self.ticket_id:
            return Answer({"errorMessages": ["Issue does not exist or you do not have permission to see it."]}, 404)
        project = {"key": "PAY", "projectTypeKey": "service_desk" if self.service else "software"}
        names = {FIELD: "Fault", "customfield_10060": "设备"}
        return {
            "id": "10002",
            "key": key,
            "names": names,
            "changelog": {"startAt": 0, "maxResults": 100, "total": len(self.histories), "histories": self.histories},
            "fields": {**self.values, "project": project, "attachment": self.attachments},
        }

    @route("PUT", r"/rest/api/[23]/issue/([^/]+)")
    def edit(self, call: Call, _key: str) -> Any:
        self.values |= call.json.get("fields") or {}
        for step in (call.json.get("update") or {}).get("labels") or ():
            labels = set(self.values["labels"])
            self.values["labels"] = sorted(labels | {step["add"]} if "add" in step else labels - {step["remove"]})
        return Answer(None, 204)

    @route("GET", r"/rest/api/[23]/status")
    def statuses(self, _call: Call) -> Any:
        keys = {"Open": "new", "Waiting for customer": "indeterminate", "Resolved": "done", "Closed": "done"}
        return [
            {"id": str(n), "name": name, "statusCategory": {"key": key}} for n, (name, key) in enumerate(keys.items())
        ]

    def moved(self, who: str, minute: int, field: str, to: str, shown: str) -> None:
        """A change of a field, as the changelog has it."""
        item = {"field": field, "fieldtype": "jira", "from": None, "fromString": None, "to": to, "toString": shown}
        self.histories.append({"id": str(len(self.histories)), "author": self.person(who), "items": [item],
                               "created": f"2026-11-26T11:{minute:02}:00.000+0000"})  # fmt: skip

    @route("GET", r"/rest/api/[23]/issue/([^/]+)/editmeta")
    def editmeta(self, _call: Call, _key: str) -> Any:
        return {"fields": {FIELD: {"schema": {"type": "option"}}}}

    @route("GET", r"/rest/api/[23]/issue/([^/]+)/comment")
    def list_comments(self, call: Call, _key: str) -> Any:
        start = int(call.query["startAt"])
        page = [self.shown(one) for one in self.comments[start : start + min(PAGE, int(call.query["maxResults"]))]]
        if call.query.get("expand") != "properties":
            page = [{k: v for k, v in one.items() if k != "properties"} for one in page]
        return {"startAt": start, "maxResults": PAGE, "total": len(self.comments), "comments": page}

    @route("POST", r"/rest/api/[23]/issue/([^/]+)/comment")
    def comment(self, call: Call, _key: str) -> Any:
        sent = call.json
        extra = {"visibility": sent["visibility"]} if "visibility" in sent else {}
        made = self.add_comment("us", sent["body"], sent.get("properties") or [], **extra)
        made["forced"] = self.makes_public
        return Answer({k: v for k, v in self.shown(made).items() if k != "properties"}, 201)

    @route("PUT", r"/rest/api/[23]/issue/([^/]+)/comment/(\d+)")
    def change(self, call: Call, _key: str, number: str) -> Any:
        one = next(one for one in self.comments if one["id"] == number)
        one |= {"body": call.json["body"], "properties": call.json["properties"]}
        return self.shown(one)

    @route("DELETE", r"/rest/api/[23]/issue/([^/]+)/comment/(\d+)")
    def remove(self, _call: Call, _key: str, number: str) -> Any:
        self.comments = [one for one in self.comments if one["id"] != number]
        return Answer(None, 204)

    @route("POST", r"/rest/api/[23]/issue/([^/]+)/attachments")
    def attach(self, call: Call, _key: str) -> Any:
        assert call.headers["x-atlassian-token"] == "no-check"
        made = [
            {"id": str(20000 + len(self.attachments) + i), "filename": name} for i, (name, _) in enumerate(call.form[1])
        ]
        self.attachments += made
        return made

    @route("DELETE", r"/rest/api/[23]/attachment/(\d+)")
    def detach(self, _call: Call, number: str) -> Any:
        self.attachments = [one for one in self.attachments if one["id"] != number]
        return Answer(None, 204)


class JiraCloudDesk(JiraDesk):
    """Jira Cloud: documents come back with attributes that nobody sent."""

    kind, form, root, who = "jira", "adf", "/rest/api/3", "accountId"

    def document(self, text: str) -> Any:
        return json.loads(adf(text))

    def shown(self, comment: dict[str, Any]) -> dict[str, Any]:
        body = json.loads(json.dumps(comment["body"]))
        for block in body.get("content") or ():
            block.setdefault("attrs", {})["localId"] = "1f0c"
        return {**comment, "body": body, "jsdPublic": self.public(comment)}

    def system(self, **over: Any) -> Any:
        given = {
            "url": self.url, "username": "bot@shop.example", "token": "t0ken", "secrets": (SECRET, NEXT_SECRET),
            "user": "user-us", "fields": {"fault_class": FIELD}, "tags": True, "attempts": 1,
        }  # fmt: skip
        return open_system("desk", CloudOptions(**given | over))

    @route("POST", r"/rest/api/3/search/jql")
    def search(self, call: Call) -> Any:
        start = int(call.json.get("nextPageToken") or 0)
        rows = self.found(call.json["jql"])
        end = start + min(PAGE, call.json["maxResults"])
        return {"issues": rows[start:end]} | ({"nextPageToken": str(end)} if end < len(rows) else {"isLast": True})


class JiraDataCenterDesk(JiraDesk):
    """Jira Data Center: whether a comment is internal stands in its property alone."""

    kind, form, root, who = "jira_dc", "wiki", "/rest/api/2", "name"

    def document(self, text: str) -> Any:
        return text

    def shown(self, comment: dict[str, Any]) -> dict[str, Any]:
        if not comment.get("forced"):
            return comment
        return {**comment, "properties": [one for one in comment["properties"] if one["key"] != "sd.public.comment"]}

    def system(self, **over: Any) -> Any:
        given = {
            "url": self.url, "token": "t0ken", "secrets": (SECRET, NEXT_SECRET), "user": "user-us",
            "fields": {"fault_class": FIELD}, "tags": True, "attempts": 1,
        }  # fmt: skip
        return open_system("desk", DataCenterOptions(**given | over))

    @route("GET", r"/rest/api/2/search")
    def search(self, call: Call) -> Any:
        start = int(call.query["startAt"])
        rows = self.found(call.query["jql"])
        return {"total": len(rows), "issues": rows[start : start + int(call.query["maxResults"])]}
