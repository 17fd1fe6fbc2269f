"""A small shop in traces: recorded calls of six services before and during a trouble that a test puts in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from parsers.tables import LOGS, ORDER_EVENTS, SPANS, empty
from pipeline.cluster import cluster
from pipeline.contrast import contrast
from pipeline.evidence import open_case
from pipeline.evidence.case import Case
from pipeline.scope import read_scope
from pipeline.settings import Settings
from pipeline.values import Material, Ticket

BEGUN = datetime(2026, 5, 6, 9, 0, tzinfo=UTC)
# Who calls whom, in order, and what each writes.
CALLS = {
    "front-door": ["basket-api"],
    "basket-api": ["price-api", "stock-api", "carrier-api"],
    "price-api": ["rates-api"],
    "stock-api": [],
    "carrier-api": ["rates-api"],
    "rates-api": [],
}
INNER = [name for name in CALLS if name != "front-door"]
BEFORE, DURING = 60, 60


def shop(seed: int = 0, traces: int = BEFORE + DURING, *, every: float = 1.0) -> tuple[pa.Table, pa.Table]:
    """Tables of spans and lines: one call tree every `every` seconds, all well."""
    chance = np.random.default_rng(seed)
    spans: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for number in range(traces):
        at = BEGUN + timedelta(seconds=every * number + float(chance.uniform(0, 0.3)))
        _visit("front-door", f"{number:032x}", None, at, chance, spans, lines)
    lines.sort(key=lambda row: row["@timestamp"])
    return _table(spans, SPANS), _table(lines, LOGS)


def case_of_traffic(spans: pa.Table, logs: pa.Table, description: str = "Checkout misbehaves, some calls fail") -> Case:
    """The case of a ticket that was written a minute after the last span and names nobody."""
    last = max(spans.column("@timestamp").to_pylist())
    ticket = Ticket("T-9", "Shop is broken", description, last + timedelta(minutes=1), customer_id="ops-1")
    settings = Settings()
    scope = read_scope(ticket, settings)
    clusters = cluster(logs)
    material = Material(logs, spans, empty(ORDER_EVENTS))
    return open_case(ticket, scope, material, {}, clusters, contrast(logs, clusters, scope), settings)


def traces_during(spans: pa.Table, first: int = BEFORE) -> set[str]:
    """The traces from number `first` on."""
    return {trace for trace in spans.column("trace.id").to_pylist() if int(trace, 16) >= first}


def put(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    """The table with another column `name`."""
    at = table.column_names.index(name)
    return table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def _visit(
    service: str,
    trace: str,
    parent: str | None,
    at: datetime,
    chance: np.random.Generator,
    spans: list[dict[str, Any]],
    lines: list[dict[str, Any]],
) -> datetime:
    """Write the visit's spans and lines; the moment at which it is over."""

    def wait(ms: float) -> timedelta:
        return timedelta(milliseconds=float(chance.lognormal(np.log(ms), 0.3)))

    def span(name: str, parent: str | None, start: datetime, end: datetime, kind: str) -> str:
        own = f"{len(spans):016x}"
        spans.append(
            {
                "trace.id": trace,
                "span.id": own,
                "parent.id": parent,
                "name": name,
                "kind": kind,
                "service.name": service,
                "host.name": f"{service}-1",
                "@timestamp": start,
                "duration_us": round((end - start).total_seconds() * 1e6),
                "status": "unset",
                "_source": "bundle",
                "_id": own,
            }
        )
        return own

    server = span(f"POST /{service}", parent, at, at, "server")
    whole, now = len(spans) - 1, at + wait(1)

    def say(text: str) -> None:
        lines.append(
            {
                "@timestamp": now,
                "service.name": service,
                "log.level": "INFO",
                "trace.id": trace,
                "span.id": server,
                "message": text,
                "body": text,
                "_source": "bundle",
                "_id": f"l{len(lines):07d}",
            }
        )

    say(f"{service} takes a request of visitor {int(chance.integers(10_000, 99_999))}")
    now += wait(2)
    for callee in CALLS[service]:
        call = span(f"call {callee}", server, now, now, "client")
        row = len(spans) - 1
        over = _visit(callee, trace, call, now + wait(1), chance, spans, lines) + wait(1)
        spans[row]["duration_us"] = round((over - now).total_seconds() * 1e6)
        now = over + wait(1)
        say(f"{service} has an answer from the other side after {int(chance.integers(10, 99))} steps")
        now += wait(1)
    say(f"{service} is done with the request, {int(chance.integers(1, 9))} items")
    now += wait(1)
    spans[whole]["duration_us"] = round((now - at).total_seconds() * 1e6)
    return now


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)
