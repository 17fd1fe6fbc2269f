"""Zendesk as its documentation has it: https://developer.zendesk.com/api-reference/ticketing/tickets/tickets and its neighbours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from datetime import UTC, datetime
from typing import Any

from pipeline.tickets import open_system
from pipeline.tickets.system import Incoming
from pipeline.tickets.zendesk import Options
from tests.tickets_desks import NEXT_SECRET, NOW, SECRET, Answer, Call, Desk, incoming, route

US, CUSTOMER, STAFF = 9001, 5001, 7001
FIELD = 360001


class ZendeskDesk(Desk):
    """Comments cannot be changed; HTML comments do not survive; a PUT without `public: false` is public."""

    kind, ticket_id, form, edits, timed = "zendesk", "35436", "html", False, True
    writing = "PUT", r"tickets/\d+\.json$"

    def __init__(self) -> None:
        super().__init__()
        self.ticket: dict[str, Any] = {
            "id": 35436,
            "subject": "支付失败 payment failed",
            "description": "订单 M1 付款后显示失败。",
            "status": "open",
            "requester_id": CUSTOMER,
            "created_at": "2026-11-26T10:02:31Z",
            "updated_at": "2026-11-26T10:02:31Z",
            "tags": ["vip", "fault-rate-limit"],
            "custom_fields": [{"id": FIELD, "value": None}, {"id": 360002, "value": "13800138000"}],
        }
        self.comments: list[dict[str, Any]] = []
        self.audits: list[dict[str, Any]] = []
        self.uploads: dict[str, str] = {}
        self.attached: list[str] = []
        self.export: list[dict[str, Any]] = []
        self._comment(CUSTOMER, f"<p>{self.ticket['description']}</p>", public=True)

    def system(self, **over: Any) -> Any:
        given = {
            "url": self.url, "username": "bot@shop.example", "token": "t0ken", "secrets": (SECRET, NEXT_SECRET),
            "user": str(US), "fields": {"fault_class": str(FIELD)}, "tags": True, "attempts": 1,
        }  # fmt: skip
        return open_system("desk", Options(**given | over))

    def delivery(self, secret: str | None, **over: Any) -> Incoming:
        what = over.get("what", "comment_added")
        sent = {
            "type": f"zen:event-type:ticket.{what}",
            "account_id": 22129848,
            "id": "01HNXXXX-CTEXAMPLE",
            "time": "2026-11-26T10:04:59Z",
            "zendesk_event_version": "2022-11-06",
            "subject": "zen:ticket:35436",
            "detail": {
                "actor_id": str(over.get("actor") or CUSTOMER),
                "id": "35436",
                "subject": "payment failed",
                "description": "order M1",
                "created_at": "2026-11-26T10:02:31Z",
                "status": "OPEN",
            },
            "event": {"comment": {"id": 1, "body": over.get("said", "it is order M1"), "is_public": True}},
        }
        body = over.get("body", json.dumps(sent).encode())
        stamp = over.get("at", NOW).strftime("%Y-%m-%dT%H:%M:%SZ")
        headers = {"x-zendesk-webhook-signature-timestamp": stamp, "x-zendesk-webhook-invocation-id": "inv-1"}
        if secret is not None:
            made = hmac.new(secret.encode(), stamp.encode() + body, hashlib.sha256).digest()
            headers["x-zendesk-webhook-signature"] = base64.b64encode(made).decode()
        return incoming(body, headers)

    def _comment(self, author: int, html: str, *, public: bool) -> dict[str, Any]:
        shown = re.sub(r"<!--.*?-->", "", html, flags=re.DOTALL)
        made = {
            "id": 1001 + len(self.comments),
            "type": "Comment",
            "author_id": author,
            "public": public,
            "html_body": f'<div class="zd-comment" dir="auto">{shown}</div>',
            "plain_body": re.sub(r"<[^>]+>", " ", shown),
            "created_at": f"2026-11-26T10:03:{len(self.comments):02}Z",
        }
        self.comments.append(made)
        return made

    def says(self, text: str, *, who: str, private: bool = False) -> None:
        self._comment(CUSTOMER if who == "customer" else STAFF, f"<p>{text}</p>", public=not private)

    def notes(self) -> list[tuple[bool, str]]:
        return [(not one["public"], one["html_body"]) for one in self.comments if one["author_id"] == US]

    def files(self) -> list[str]:
        return self.attached

    def fault(self) -> str | None:
        return next(one["value"] for one in self.ticket["custom_fields"] if one["id"] == FIELD)

    def tags(self) -> list[str] | None:
        return self.ticket["tags"]

    def add_tickets(self, times: list[datetime]) -> list[str]:
        made = [{"id": 50001 + i, "status": "open", "updated_at": at.isoformat()} for i, at in enumerate(times)]
        self.export += made
        return [str(one["id"]) for one in made]

    def touch(self, ticket_id: str, at: datetime) -> None:
        one = next(one for one in self.export if str(one["id"]) == ticket_id)
        self.export.append({**one, "updated_at": at.isoformat()})

    @route("GET", r"/api/v2/tickets/(\d+)\.json")
    def show(self, _call: Call, number: str) -> Any:
        return {"ticket": self.ticket} if number == self.ticket_id else Answer({"error": "RecordNotFound"}, 404)

    @route("PUT", r"/api/v2/tickets/(\d+)\.json")
    def update(self, call: Call, _number: str) -> Any:
        change = call.json["ticket"]
        if change.get("safe_update") and change["updated_stamp"] != self.ticket["updated_at"]:
            return Answer({"error": "UpdateConflict", "description": "Safe Update prevented the update"}, 409)
        for one in change.get("custom_fields") or ():
            next(f for f in self.ticket["custom_fields"] if f["id"] == one["id"])["value"] = one["value"]
        if comment := change.get("comment"):
            public = comment.get("public", True) or self.makes_public
            self._comment(US, comment["html_body"], public=public)
            self.attached += [self.uploads[token] for token in comment.get("uploads") or ()]
        self.ticket["updated_at"] = f"2026-11-26T10:04:{len(self.calls) % 60:02}Z"
        return {"ticket": self.ticket}

    @route("GET", r"/api/v2/tickets/(\d+)/comments\.json")
    def list_comments(self, call: Call, _number: str) -> Any:
        size, start = int(call.query["page[size]"]), int(call.query.get("page[after]") or 0)
        people = [{"id": CUSTOMER, "role": "end-user"}, {"id": STAFF, "role": "agent"}, {"id": US, "role": "agent"}]
        page = self.comments[start : start + size]
        more = start + size < len(self.comments)
        return {"comments": page, "users": people, "meta": {"has_more": more, "after_cursor": str(start + size)}}

    @route("GET", r"/api/v2/tickets/(\d+)/audits\.json")
    def list_audits(self, call: Call, _number: str) -> Any:
        size, start = int(call.query["page[size]"]), int(call.query.get("page[after]") or 0)
        more = start + size < len(self.audits)
        return {
            "audits": self.audits[start : start + size],
            "meta": {"has_more": more, "after_cursor": str(start + size)},
        }

    def audit(self, author: int, minute: int, **changes: Any) -> None:
        """An audit of changed fields, among events of other kinds, as the audits' reference shows them."""
        events = [{"id": 1, "type": "Notification", "body": "...", "recipients": [1]}]
        events += [
            {"id": 2 + n, "type": "Change", "field_name": name, "value": value, "previous_value": None}
            for n, (name, value) in enumerate(changes.items())
        ]
        self.audits.append({"id": len(self.audits), "ticket_id": 35436, "author_id": author, "events": events,
                            "created_at": f"2026-11-26T11:{minute:02}:00Z"})  # fmt: skip

    @route("PUT", r"/api/v2/tickets/(\d+)/comments/(\d+)/make_private\.json")
    def make_private(self, _call: Call, _number: str, comment: str) -> Any:
        next(one for one in self.comments if one["id"] == int(comment))["public"] = False
        return {}

    @route("PUT", r"/api/v2/tickets/(\d+)/tags\.json")
    def add_tags(self, call: Call, _number: str) -> Any:
        self.ticket["tags"] = sorted({*self.ticket["tags"], *call.json["tags"]})
        return {"tags": self.ticket["tags"]}

    @route("DELETE", r"/api/v2/tickets/(\d+)/tags\.json")
    def remove_tags(self, call: Call, _number: str) -> Any:
        self.ticket["tags"] = [tag for tag in self.ticket["tags"] if tag not in call.json["tags"]]
        return {"tags": self.ticket["tags"]}

    @route("POST", r"/api/v2/uploads\.json")
    def upload(self, call: Call) -> Any:
        token = f"upload-{len(self.uploads)}"
        self.uploads[token] = call.query["filename"]
        return Answer({"upload": {"token": token}}, 201)

    @route("GET", r"/api/v2/ticket_fields\.json")
    def fields(self, _call: Call) -> Any:
        named = [{"id": FIELD, "title": "Fault"}, {"id": 360002, "title": "手机号"}]
        return {"ticket_fields": named, "meta": {"has_more": False}}

    @route("GET", r"/api/v2/tickets\.json")
    def tickets(self, call: Call) -> Any:
        return {"tickets": self.export[: int(call.query["page[size]"])], "meta": {"has_more": False}}

    @route("GET", r"/api/v2/incremental/tickets/cursor\.json")
    def incremental(self, call: Call) -> Any:
        start = int(call.query.get("cursor") or 0)
        if "cursor" not in call.query:
            since = datetime.fromtimestamp(int(call.query["start_time"]), UTC)
            start = next(
                (i for i, one in enumerate(self.export) if datetime.fromisoformat(one["updated_at"]) >= since),
                len(self.export),
            )
        end = start + int(call.query["per_page"])
        page = self.export[start:end]
        after = start + len(page)
        return {"tickets": page, "after_cursor": str(after), "end_of_stream": after >= len(self.export)}
