"""Freshdesk as its documentation has it: https://developers.freshdesk.com/api/."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from pipeline.tickets import open_system
from pipeline.tickets.freshdesk import Options
from pipeline.tickets.system import Incoming
from tests.tickets_desks import NEXT_SECRET, SECRET, Answer, Call, Desk, incoming, route

US, CUSTOMER, STAFF = 9001, 5001, 7001


class FreshdeskDesk(Desk):
    """HTML comments do not survive; a note without `private: true` is public."""

    kind, ticket_id, form, edits, signed = "freshdesk", "20", "html", True, False
    writing = "POST", "notes$"

    def __init__(self) -> None:
        super().__init__()
        self.ticket: dict[str, Any] = {
            "id": 20,
            "subject": "支付失败 payment failed",
            "description": "<div>订单 M1 付款后显示失败。</div>",
            "description_text": "订单 M1 付款后显示失败。",
            "requester_id": CUSTOMER,
            "created_at": "2026-11-26T10:02:31Z",
            "updated_at": "2026-11-26T10:02:31Z",
            "tags": ["vip", "fault-rate-limit"],
            "spam": False,
            "custom_fields": {"cf_fault": None, "cf_phone": "13800138000"},
        }
        self.talk: list[dict[str, Any]] = []
        self.count = 3000
        self.others: list[dict[str, Any]] = []

    def system(self, **over: Any) -> Any:
        given = {
            "url": self.url, "token": "ap1key", "secrets": (SECRET, NEXT_SECRET), "user": "bot@shop.example",
            "fields": {"fault_class": "cf_fault"}, "tags": True, "attempts": 1,
        }  # fmt: skip
        return open_system("desk", Options(**given | over))

    def delivery(self, secret: str | None, **over: Any) -> Incoming:
        sent = {"ticket_id": 20, "event": "update", "actor": over.get("actor") or "customer@example.com"}
        headers = {} if secret is None else {"x-problem-snapshot-token": secret}
        return incoming(over.get("body", json.dumps(sent).encode()), headers)

    def _add(self, who: int, html: str, *, private: bool, incoming_: bool, names: list[str]) -> dict[str, Any]:
        self.count += 1
        shown = re.sub(r"<!--.*?-->", "", html, flags=re.DOTALL)
        made = {
            "id": self.count, "body": shown, "body_text": re.sub(r"<[^>]+>", " ", shown), "private": private, "user_id": who,
            "created_at": f"2026-11-26T11:{len(self.talk) % 60:02}:00Z", "incoming": incoming_, "source": 2, "attachments": [{"name": name} for name in names],
        }  # fmt: skip
        self.talk.append(made)
        return made

    def says(self, text: str, *, who: str, private: bool = False) -> None:
        customer = who == "customer"
        self._add(CUSTOMER if customer else STAFF, f"<div>{text}</div>", private=private, incoming_=customer, names=[])

    def notes(self) -> list[tuple[bool, str]]:
        return [(one["private"], one["body"]) for one in self.talk if one["user_id"] == US]

    def files(self) -> list[str]:
        return [file["name"] for one in self.talk for file in one["attachments"]]

    def fault(self) -> str | None:
        return self.ticket["custom_fields"]["cf_fault"]

    def tags(self) -> list[str] | None:
        return self.ticket["tags"]

    def add_tickets(self, times: list[datetime]) -> list[str]:
        made = [{"id": 101 + i, "updated_at": f"{at:%Y-%m-%dT%H:%M:%SZ}"} for i, at in enumerate(times)]
        self.others += made
        return [str(one["id"]) for one in made]

    def touch(self, ticket_id: str, at: datetime) -> None:
        next(one for one in self.others if str(one["id"]) == ticket_id)["updated_at"] = f"{at:%Y-%m-%dT%H:%M:%SZ}"

    @route("GET", r"/api/v2/tickets/(\d+)")
    def show(self, _call: Call, number: str) -> Any:
        return self.ticket if number == self.ticket_id else Answer(None, 404)

    @route("PUT", r"/api/v2/tickets/(\d+)")
    def update(self, call: Call, _number: str) -> Any:
        self.ticket["custom_fields"] |= call.json.get("custom_fields") or {}
        self.ticket["tags"] = call.json.get("tags", self.ticket["tags"])
        return self.ticket

    @route("GET", r"/api/v2/tickets/(\d+)/conversations")
    def conversations(self, call: Call, _number: str) -> Any:
        size, page = int(call.query["per_page"]), int(call.query["page"])
        return self.talk[(page - 1) * size : page * size]

    @route("POST", r"/api/v2/tickets/(\d+)/notes")
    def add(self, call: Call, _number: str) -> Any:
        fields, files = (call.json, []) if "json" in call.headers["content-type"] else call.form
        private = fields.get("private") in {True, "true"} and not self.makes_public
        names = [name for name, _ in files]
        return Answer(self._add(US, fields["body"], private=private, incoming_=False, names=names), 201)

    @route("PUT", r"/api/v2/conversations/(\d+)")
    def change(self, call: Call, number: str) -> Any:
        fields, files = (call.json, []) if "json" in call.headers["content-type"] else call.form
        one = next(one for one in self.talk if one["id"] == int(number))
        one["body"] = re.sub(r"<!--.*?-->", "", fields["body"], flags=re.DOTALL)
        one["attachments"] += [{"name": name} for name, _ in files]
        return one

    @route("DELETE", r"/api/v2/conversations/(\d+)")
    def remove(self, _call: Call, number: str) -> Any:
        self.talk = [one for one in self.talk if one["id"] != int(number)]
        return Answer(None, 204)

    @route("GET", r"/api/v2/agents/me")
    def me(self, _call: Call) -> Any:
        return {"id": US, "contact": {"email": "bot@shop.example"}}

    @route("GET", r"/api/v2/ticket_fields")
    def labels(self, _call: Call) -> Any:
        return [{"name": "cf_phone", "label": "手机号"}, {"name": "cf_fault", "label": "Fault"}]

    @route("GET", r"/api/v2/tickets")
    def rows(self, call: Call) -> Any:
        assert (call.query["order_by"], call.query["order_type"]) == ("updated_at", "asc")
        rows = [one for one in self.others if one["updated_at"] >= call.query["updated_since"]]
        rows = sorted(rows, key=lambda one: (one["updated_at"], one["id"]))
        size, page = int(call.query["per_page"]), int(call.query["page"])
        return rows[(page - 1) * size : page * size]
