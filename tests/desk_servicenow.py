"""ServiceNow's Table API as its documentation has it: https://www.servicenow.com/docs (REST API reference, Table API)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from datetime import UTC, datetime
from typing import Any

from pipeline.tickets import open_system
from pipeline.tickets.servicenow import Options
from pipeline.tickets.system import Incoming
from tests.tickets_desks import NEXT_SECRET, NOW, SECRET, Answer, Call, Desk, incoming, route

ID = "9d385017c611228701d22104cc95c371"
CALLER = "681ccaf9c0a8016400b98a06818d57c7"


class ServiceNowDesk(Desk):
    """An instance's incident. A query that is not understood is dropped; a column that may not be written stays, with status 200."""

    kind, ticket_id, form, edits, timed, settles = "servicenow", ID, "text", False, True, False
    writing = "PATCH", "incident"

    def __init__(self) -> None:
        super().__init__()
        self.record: dict[str, Any] = {
            "sys_id": ID,
            "number": "INC0010001",
            "short_description": "支付失败 payment failed",
            "description": "订单 M1 付款后显示失败。",
            "caller_id": CALLER,
            "sys_created_on": "2026-11-26 10:02:31",
            "sys_created_by": "portal.guest",
            "u_fault_class": "",
            "u_phone": "13800138000",
        }
        self.journal: list[dict[str, str]] = []
        self.attachments: list[dict[str, str]] = []
        self.others: list[dict[str, str]] = []
        self.locked: set[str] = set()
        self.journal_hidden = False

    def system(self, **over: Any) -> Any:
        given = {
            "url": self.url, "username": "snapshot.bot", "password": "p4ss", "secrets": (SECRET, NEXT_SECRET),
            "user": "snapshot.bot", "fields": {"fault_class": "u_fault_class"}, "attach_files": True, "attempts": 1,
        }  # fmt: skip
        return open_system("desk", Options(**given | over))

    def delivery(self, secret: str | None, **over: Any) -> Incoming:
        sent = {"sys_id": ID, "operation": "update", "sys_mod_count": 3, "actor": over.get("actor") or "abel.tuter"}
        body = over.get("body", json.dumps(sent).encode())
        stamp = over.get("at", NOW).strftime("%Y-%m-%dT%H:%M:%SZ")
        headers = {"x-problem-snapshot-timestamp": stamp}
        if secret is not None:
            made = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).digest()
            headers["x-problem-snapshot-signature"] = base64.b64encode(made).decode()
        return incoming(body, headers)

    def _entry(self, by: str, element: str, value: str) -> None:
        at = f"2026-11-26 10:03:{len(self.journal):02}"
        self.journal.append(
            {"element_id": ID, "element": element, "value": value, "sys_created_on": at, "sys_created_by": by}
        )

    def says(self, text: str, *, who: str, private: bool = False) -> None:
        self._entry("abel.tuter" if who == "customer" else "agent.smith", "work_notes" if private else "comments", text)

    def notes(self) -> list[tuple[bool, str]]:
        mine = [one for one in self.journal if one["sys_created_by"] == "snapshot.bot"]
        return [(one["element"] == "work_notes", one["value"]) for one in mine]

    def files(self) -> list[str]:
        return [one["file_name"] for one in self.attachments]

    def fault(self) -> str | None:
        return self.record["u_fault_class"] or None

    def tags(self) -> list[str] | None:
        return None

    def add_tickets(self, times: list[datetime]) -> list[str]:
        made = [{"sys_id": f"{i:032x}", "sys_updated_on": f"{at:%Y-%m-%d %H:%M:%S}"} for i, at in enumerate(times)]
        self.others += made
        return [one["sys_id"] for one in made]

    def touch(self, ticket_id: str, at: datetime) -> None:
        next(one for one in self.others if one["sys_id"] == ticket_id)["sys_updated_on"] = f"{at:%Y-%m-%d %H:%M:%S}"

    def _full(self) -> dict[str, Any]:
        shown = {
            "caller_id": "Abel Tuter",
            "u_fault_class": {"interface_fault": "Interface"}.get(
                self.record["u_fault_class"], self.record["u_fault_class"]
            ),
        }
        record = {k: {"value": v, "display_value": shown.get(k, v)} for k, v in self.record.items()}
        for element in ("comments", "work_notes"):
            entries = [one for one in reversed(self.journal) if one["element"] == element]
            text = "".join(f"{e['sys_created_on']} - Name ({element})\n{e['value']}\n\n" for e in entries)
            record[element] = {"value": "", "display_value": text}
        return record

    @route("GET", r"/api/now/table/incident/([0-9a-f]{32})")
    def show(self, call: Call, number: str) -> Any:
        if number != ID:
            return Answer({"error": {"message": "No Record found"}, "status": "failure"}, 404)
        assert call.query["sysparm_display_value"] == "all"
        return {"result": self._full()}

    @route("PATCH", r"/api/now/table/incident/([0-9a-f]{32})")
    def patch(self, call: Call, _number: str) -> Any:
        for name, value in call.json.items():
            if name in self.locked:
                continue
            if name == "work_notes":
                self._entry("snapshot.bot", "comments" if self.makes_public else name, value)
            else:
                self.record[name] = value
        return {"result": self._full()}

    @route("GET", r"/api/now/table/incident")
    def rows(self, call: Call) -> Any:
        query = call.query["sysparm_query"]
        if found := re.fullmatch(r"number=(\w+)", query):
            return {"result": [{"sys_id": ID, "number": "INC0010001"}] if found[1] == "INC0010001" else []}
        since = re.search(r"sys_updated_on>=([\d: -]+)\^", query)
        assert since, query
        start = datetime.strptime(since[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        rows = [
            one for one in self.others if "nonsense" in query or one["sys_updated_on"] >= f"{start:%Y-%m-%d %H:%M:%S}"
        ]
        rows = sorted(rows, key=lambda one: (one["sys_updated_on"], one["sys_id"]))
        first = int(call.query["sysparm_offset"])
        return {"result": rows[first : first + int(call.query["sysparm_limit"])]}

    @route("GET", r"/api/now/table/sys_journal_field")
    def entries(self, call: Call) -> Any:
        assert f"element_id={ID}" in call.query["sysparm_query"]
        return {"result": [] if self.journal_hidden else self.journal}

    @route("GET", r"/api/now/table/sys_user/([0-9a-f]{32})")
    def person(self, _call: Call, _number: str) -> Any:
        return {"result": {"user_name": "abel.tuter"}}

    @route("GET", r"/api/now/table/sys_attachment")
    def attached(self, _call: Call) -> Any:
        return {"result": self.attachments}

    @route("POST", r"/api/now/attachment/file")
    def attach(self, call: Call) -> Any:
        self.attachments.append({"file_name": call.query["file_name"], "table_sys_id": call.query["table_sys_id"]})
        return Answer({"result": {}}, 201)
