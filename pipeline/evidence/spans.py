"""Spans: where in the order's traces the failure began.

The culprit is the deepest failing span: one that failed while none of its children did. A failing client span without a
failing server span behind it points at the other side, or at the way there.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipeline.evidence.case import Case
from pipeline.evidence.http_status import rpc_name
from pipeline.evidence.targets import is_ours, own_services
from pipeline.evidence.wordings import UNREACHED, dependency
from pipeline.faults.wording import read_wording
from pipeline.values import Found, Seen
from snapshots.model import Check, Text

_MOST = 5
_FAILED_HTTP = 400


def detect(case: Case) -> Seen:
    """One finding for each deepest failing span of the focus traces, the first few by time."""
    spans = case.focus_spans
    if not spans.num_rows:
        statement = Text(en="no spans of the order's traces", zh="没有该订单的链路数据")
        return Seen(checks=(Check(id="spans", outcome="not_evaluated", statement=statement),))
    rows = _deepest_failures(spans)
    services = own_services(case)
    found = [_finding(case, spans, row, services) for row in rows[:_MOST]]
    if found:
        statement = Text(
            en=f"{len(rows)} of {spans.num_rows} spans of the order's traces failed at the deepest point",
            zh=f"该订单链路 {spans.num_rows} 个 span 中有 {len(rows)} 个最深处失败",
        )
        return Seen(tuple(found), (Check(id="spans", outcome="found", statement=statement),))
    statement = Text(
        en=f"none of the {spans.num_rows} spans of the order's traces failed",
        zh=f"该订单链路的 {spans.num_rows} 个 span 均未失败",
    )
    return Seen(checks=(Check(id="spans", outcome="healthy", statement=statement),))


def _deepest_failures(spans: pa.Table) -> list[int]:
    ids = spans.column("span.id").to_pylist()
    parents = spans.column("parent.id").to_pylist()
    status = spans.column("status").to_pylist()
    http = spans.column("http.response.status_code").to_pylist()
    types = spans.column("exception.type").to_pylist()
    rpc = [bool(code) and rpc_name(code) is not None for code in spans.column("rpc.status_code").to_pylist()]
    times = spans.column("@timestamp").to_pylist()
    failed = {
        i
        for i in range(spans.num_rows)
        if status[i] == "error" or types[i] or rpc[i] or (http[i] is not None and http[i] >= _FAILED_HTTP)
    }
    above = {parents[i] for i in failed}
    deepest = [i for i in failed if ids[i] not in above]
    return sorted(deepest, key=lambda i: (str(times[i]), i))


def _finding(case: Case, spans: pa.Table, row: int, services: frozenset[str]) -> Found:
    def value(name: str) -> Any:
        return spans.column(name)[row].as_py()

    error = (
        value("exception.message") or value("status_message") or value("error.type") or value("exception.type") or ""
    )
    service, name, host = value("service.name") or "-", value("name") or "-", value("server.address")
    parts = [value("exception.type"), value("exception.message"), value("status_message"), value("error.type")]
    families = read_wording("\n".join(str(part) for part in parts if part))
    family = max(families, key=lambda f: f.strength, default=None)
    if family is not None and family.id in UNREACHED and host and is_ours(host, services):
        family = dependency()
    to = f" to {host}" if host else ""
    zh_to = f"（调用 {host}）" if host else ""
    status = value("http.response.status_code")
    said = f": {error}" if error else (f": HTTP {status}" if status else "")
    supports, subclass, strength = None, None, 0.0
    if family:
        supports, subclass, strength = family.fault_class, family.fault_subclass, 0.9 * family.strength
    return Found(
        kind="span.culprit" if family is None else f"span.{family.id}",
        statement=Text(
            en=f"{service} failed in {name}{to}{said}",
            zh=f"{service} 在 {name} 处失败{zh_to}{said}",
        ),
        cites=(case.cite_span(spans, row),),
        supports=supports,
        subclass=subclass,
        strength=strength,
        service=service,
        host=value("host.name"),
        operation=name,
        channel=case.channel,
        at=value("@timestamp"),
    )
