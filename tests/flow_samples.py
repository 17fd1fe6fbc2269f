"""What the tests of the flow share: the examples, small bundles written by hand, and a source that does as it is told."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from parsers.tables import LOGS, ORDER_EVENTS, SPANS
from pipeline.cluster import cluster
from pipeline.contrast import contrast
from pipeline.evidence import open_case
from pipeline.evidence.case import Case
from pipeline.payments.reading import read_orders
from pipeline.run import take_snapshot
from pipeline.settings import Settings
from pipeline.sources.bundle.source import BundleSource
from pipeline.tickets.file import read_ticket
from pipeline.values import Ask, Fetched, Material, Pointer, Scope, Source, Span, Ticket, What
from snapshots.model import Coverage, Identifier, ProblemSnapshot, Text

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ("TK-22294", "TK-24182", "TK-33097", "TK-83164")
# Patience: the laws hold where no deadline was hit.
SETTINGS = Settings(budget=60, store="unused")
SCHEMAS: Mapping[What, pa.Schema] = {"logs": LOGS, "spans": SPANS, "order_events": ORDER_EVENTS}
START = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)
ORDER, ATTEMPT, CUSTOMER = "SO20260304100001", "PY26030410000001", "u5550001"


def ticket_of(folder: Path) -> Ticket:
    return read_ticket((folder / "ticket.json").read_bytes(), "ticket.json")


def take(folder: Path, *, around: Span | None = None, settings: Settings = SETTINGS) -> ProblemSnapshot:
    """The snapshot of a bundle's own ticket."""
    return take_snapshot(ticket_of(folder), [BundleSource("bundle", folder)], settings, around=around).snapshot


@cache
def taken(name: str) -> ProblemSnapshot:
    """The snapshot of an example."""
    return take(EXAMPLES / name)


def copy_example(name: str, to: Path) -> Path:
    folder = to / name
    shutil.copytree(EXAMPLES / name, folder)
    return folder


# ---- bundles by hand


def hit(seconds: float, message: str, *, service="pay-channel", level="INFO", start=START, number=[0], **more) -> dict:  # noqa: B006
    """One log document, `seconds` after the start; each has an id of its own."""
    number[0] += 1
    at = (start + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return {
        "_index": "logs-2026.03.04",
        "_id": f"d{number[0]:07d}",
        "@timestamp": at,
        "service": {"name": service},
        "log": {"level": level},
        "message": message,
        **more,
    }


def background(minutes: int = 80, per_minute: int = 4, start: datetime = START) -> list[dict]:
    """Lines that a healthy shop writes all the time, from an hour before `start` on."""
    return [
        hit(-3600 + 60 * minute + 60 / per_minute * i, f"handled request {minute * 7 + i} in {i + 3} ms", start=start)
        for minute in range(minutes)
        for i in range(per_minute)
    ]


def event(minutes, entity, entity_id, state, *, order=ORDER, customer=CUSTOMER, channel="wechatpay", **more) -> dict:
    """One row of orders.csv, `minutes` after the start."""
    attributes = {"customer_id": customer, "shop_system": "woocommerce", **more}
    return {
        "order_id": order,
        "entity": entity,
        "entity_id": entity_id,
        "state": state,
        "amount_minor": "5000",
        "currency": "CNY",
        "channel": channel,
        "occurred_at": (START + timedelta(minutes=minutes)).isoformat(),
        "attributes": json.dumps(attributes),
    }


def failed_order(
    order: str = ORDER, attempt: str = ATTEMPT, customer: str = CUSTOMER, minutes: float = 0
) -> list[dict]:
    more = {"order": order, "customer": customer}
    return [
        event(minutes, "order", order, "pending", **more),
        event(minutes + 0.05, "attempt", attempt, "NOTPAY", **more),
        event(minutes + 0.1, "attempt", attempt, "PAYERROR", **more),
        event(minutes + 0.15, "order", order, "failed", **more),
    ]


def ticket_json(**more: Any) -> dict[str, Any]:
    return {
        "id": "T-1",
        "title": "Payment failed",
        "description": f"My payment of order {ORDER} failed.",
        "created_at": (START + timedelta(minutes=20)).isoformat(),
        "customer": {"id": CUSTOMER},
        **more,
    }


def write_bundle(
    folder: Path,
    *,
    ticket: Mapping[str, Any] | None = None,
    logs: Sequence[Mapping[str, Any]] | bytes | None = None,
    orders: Sequence[Mapping[str, Any]] | bytes | None = None,
    traces: bytes | None = None,
    name: str = "part-0.ndjson",
) -> Path:
    """A bundle; what is None is not in it, and bytes are written as they are."""
    (folder / "logs").mkdir(parents=True)
    (folder / "ticket.json").write_text(json.dumps(ticket or ticket_json()), encoding="utf-8")
    if logs is not None:
        data = logs if isinstance(logs, bytes) else ndjson(logs)
        (folder / "logs" / name).write_bytes(data)
    if orders is not None:
        (folder / "orders.csv").write_bytes(orders if isinstance(orders, bytes) else orders_csv(orders))
    if traces is not None:
        (folder / "traces").mkdir()
        (folder / "traces" / "spans.json").write_bytes(traces)
    return folder


def ndjson(documents: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in documents)


def orders_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def add_lines(folder: Path, documents: Iterable[Mapping[str, Any]]) -> None:
    (folder / "logs" / "part-9.ndjson").write_bytes(ndjson(documents))


def rewrite_lines(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Each log file with its lines put through `change`."""
    for path in sorted((folder / "logs").glob("*.gz")):
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        path.write_bytes(gzip.compress(b"".join(change(lines))))


# ---- a source that does as it is told


class TableSource:
    """A source in memory: for each kind a table of rows, or a function that answers, sleeps or raises.

    It keeps every question in `asked`.
    """

    kind = "table"

    def __init__(self, name: str, *, complete: bool = True, **answers: Any) -> None:
        self.name = name
        self.complete = complete
        self.answers: dict[str, Any] = answers
        self.holds: frozenset[What] = frozenset(answers)  # type: ignore[arg-type]
        self.asked: list[Ask] = []

    def fetch(self, ask: Ask) -> Fetched:
        self.asked.append(ask)
        answer = self.answers[ask.what]
        rows = answer(ask) if callable(answer) else answer
        return self.answer(ask.what, rows)

    def answer(self, what: What, rows: Sequence[Mapping[str, Any]]) -> Fetched:
        table = pa.Table.from_pylist([{"_source": self.name, **row} for row in rows], schema=SCHEMAS[what])
        count = table.num_rows
        status = "ok" if count else "empty"
        coverage = Coverage(
            source=self.name,
            kind=self.kind,
            what=what,
            status=status,
            asked="all",
            matched=count,
            fetched=count,
            used=count,
        )
        return Fetched(table, coverage, self.complete)

    def resolve(self, pointers: Iterable[Pointer]) -> dict[Pointer, bytes | None]:
        return {pointer: (pointer.doc_id or "").encode() for pointer in pointers}

    def probe(self) -> list[str]:
        return []

    def close(self) -> None:
        pass


def line(seconds: float, message: str, doc_id: str, *, service="pay-channel", level="ERROR", **more) -> dict[str, Any]:
    """One row of the logs table."""
    at = START + timedelta(seconds=seconds)
    values = {"@timestamp": at, "service.name": service, "log.level": level, "message": message, "body": message}
    return {**values, "_index": "logs", "_id": doc_id, **more}


def order_row(minutes: float, entity: str, entity_id: str, state: str, **more: Any) -> dict[str, Any]:
    """One row of the order-event table."""
    row = event(minutes, entity, entity_id, state, **more)
    at = START + timedelta(minutes=minutes)
    return {**row, "amount_minor": 5000, "occurred_at": at, "_id": f"{entity_id}/{state}/{minutes}"}


def span_row(trace: str, span: str, **more: Any) -> dict[str, Any]:
    """One row of the spans table."""
    values = {"trace.id": trace, "span.id": span, "name": "POST /pay", "kind": "client", "service.name": "pay-channel"}
    return {**values, "@timestamp": START, "duration_us": 1000, "status": "ok", "attributes": "{}", "_id": span, **more}


def scope_of(**more: Any) -> Scope:
    """A scope about the order of these samples."""
    window = Span(START - timedelta(minutes=15), START + timedelta(minutes=15))
    values = {
        "window": window,
        "baseline": Span(window.start - timedelta(hours=1), window.start),
        "anchor": START,
        "reason": Text(en="", zh=""),
        "identifiers": (
            Identifier(kind="order_id", value=ORDER, found_in="test"),
            Identifier(kind="out_trade_no", value=ATTEMPT, found_in="test"),
            Identifier(kind="trace_id", value="a" * 32, found_in="test"),
        ),
        "focus_orders": (ORDER,),
        "channels": ("wechatpay",),
    }
    return Scope(**{**values, **more})


def case_of(
    lines: Sequence[Mapping[str, Any]] = (),
    events: Sequence[Mapping[str, Any]] = (),
    spans: Sequence[Mapping[str, Any]] = (),
    *,
    coverage: Sequence[Coverage] = (),
    **scope: Any,
) -> Case:
    """A case of rows as `line`, `order_row` and `span_row` make them."""

    def table(what: What, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        return pa.Table.from_pylist([{"_source": "test", **row} for row in rows], schema=SCHEMAS[what])

    ticket = Ticket("T-1", "Payment failed", "", START + timedelta(minutes=20), customer_id=CUSTOMER)
    material = Material(table("logs", lines), table("spans", spans), table("order_events", events), tuple(coverage))
    orders = read_orders(material.order_events)
    asked = scope_of(**scope)
    clusters = cluster(material.logs)
    return open_case(ticket, asked, material, orders, clusters, contrast(material.logs, clusters, asked), SETTINGS)


def usual_lines(count: int = 120, services: Sequence[str] = ("shop",)) -> list[dict[str, Any]]:
    """Rows of an hour before the start and a quarter after it."""
    step = 75 * 60 / count
    return [
        line(-3600 + step * i, f"handled request {i}", f"u{i:05d}", level="INFO", service=services[i % len(services)])
        for i in range(count)
    ]


def sources(*some: Any) -> list[Source]:
    return list(some)


def nobodys_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in `folder`, with an environment that holds nobody's settings and speaks plain English."""
    for name in list(os.environ):
        if name.startswith("PROBLEM_SNAPSHOT"):
            monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(name, str(folder / name))
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.setenv(name, "C.UTF-8")
    monkeypatch.chdir(folder)
