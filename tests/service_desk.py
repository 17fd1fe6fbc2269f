"""A ticket system over HTTP in this process, for tests that kill the service: tickets are read, private notes listed, written and changed.

It is a stand-in for no real system: its interface is this project's own, told to the service by a `generic` table.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = "a secret of the tests"


@dataclass
class Board:
    """What the system holds. `writes` counts requests that created a note, by ticket."""

    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    writes: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def answer(self, method: str, parts: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON of one request."""
        with self.lock:
            match method, parts:
                case "GET", ["tickets", ticket] if ticket in self.tickets:
                    return 200, self.tickets[ticket]
                case "GET", ["tickets", ticket, "notes"] if ticket in self.tickets:
                    return 200, self.notes.get(ticket, [])
                case "POST", ["tickets", ticket, "notes"] if ticket in self.tickets:
                    notes = self.notes.setdefault(ticket, [])
                    notes.append(
                        {"id": f"{ticket}-{len(notes)}", "body": body["body"], "private": True, "author": "us"}
                    )
                    self.writes[ticket] += 1
                    return 201, notes[-1]
                case "PUT", ["tickets", ticket, "notes", note]:
                    for one in self.notes.get(ticket, []):
                        if one["id"] == note:
                            one["body"] = body["body"]
                            return 200, one
            return 404, {"error": "not found"}


@contextmanager
def desk() -> Iterator[Board]:
    """The system, serving."""
    board = Board()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, told = board.answer(
                self.command, self.path.partition("?")[0].strip("/").split("/"), json.loads(data) if data else {}
            )
            out = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        do_GET = do_POST = do_PUT = _serve  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, *_: Any) -> None:
            """A service that was killed hangs up in the middle."""

    server = Quiet(("127.0.0.1", 0), Handler)
    board.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield board
    finally:
        server.shutdown()
        server.server_close()


def configuration(board: Board, database: str, listen: str, store: Path, **service: object) -> str:
    """The TOML of a service that serves this system."""
    more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in service.items())
    return f"""
[defaults]
store = "{store}"
[defaults.service]
listen = "{listen}"
database = "{database}"
{more}
[defaults.tickets.desk]
kind = "generic"
url = "{board.url}"
token = "of the tests"
secrets = ["{SECRET}"]
signature = {{header = "X-Signature"}}
event = {{id = "ticket.id", title = "ticket.title", delivery = "delivery", kind = "kind"}}
form = "text"
read = {{path = "/tickets/{{ticket_id}}", ticket = {{id = "id", title = "title", description = "description", created_at = "created_at"}}}}
notes = {{path = "/tickets/{{ticket_id}}/notes", private = "private"}}
write = {{path = "/tickets/{{ticket_id}}/notes", body = {{body = "{{note}}"}}, private = "private"}}
change = {{method = "PUT", path = "/tickets/{{ticket_id}}/notes/{{note_id}}", body = {{body = "{{note}}"}}, private = "private"}}
"""


def small_bundle(folder: Path) -> Path:
    """An incident of a few lines, so that a snapshot costs little."""
    (folder / "logs").mkdir(parents=True)
    lines = [
        {
            "_id": f"l{number}",
            "_index": "logs-pay",
            "@timestamp": f"2026-11-23T02:0{number}:00Z",
            "log.level": "ERROR" if number > 2 else "INFO",
            "service.name": "pay-gateway",
            "message": f"call channel alipay order SO2026112300{number} result {'SYSTEM_ERROR' if number > 2 else 'SUCCESS'}",
        }
        for number in range(6)
    ]
    (folder / "logs" / "pay.ndjson").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    ticket = {"id": "T", "title": "支付失败", "description": "x", "created_at": "2026-11-23T10:06:00+08:00"}
    (folder / "ticket.json").write_text(json.dumps(ticket), encoding="utf-8")
    return folder
