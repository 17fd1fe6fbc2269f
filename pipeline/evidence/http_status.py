"""HTTP and RPC statuses: what the channel, our gateway or our own handler answered.

Two directions are told apart. A failing answer to *our* call speaks of the channel or of what we sent; a failing answer
*by us* to a callback speaks of our side, whatever the number is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from pipeline.evidence.case import Case
from pipeline.evidence.targets import is_ours, names_ours, own_services
from pipeline.faults import codes
from pipeline.faults.tables import channel_key
from pipeline.values import Cited, Found, Seen
from snapshots.model import Check, Text

_STATUS = re2.compile(
    r'(?i)(?:HTTP/[0-9.]+"? |HTTP[ :=]+|status(?:[_ ]?code)?["\']?[ :=(]+|\(Status |response_code=|answered |应答 ?|返回 ?)([45]\d\d)\b'
    # What follows tells a status from a count or a duration.
    r"( ?(?:ms|us|s|KB|MB|bytes|rows|records|items|times|条|笔|个|次|元|行|毫秒|秒)(?:\b|[^A-Za-z0-9]|$))?"
)
_RPC = re2.compile(r"(?i)rpc error: code = ([A-Za-z]+)|\bgrpc[ _-]?(?:status|code)[=: ]+([A-Za-z_]+|\d{1,2})\b")
# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
_RPC_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_CALLBACK = re2.compile(r"(?i)notify|callback|webhook|\bipn\b|\bitn\b|listener=|/hooks?\b|回调|异步通知")
_TIER = {"focus": 1.0, "near": 0.8, "ambient": 0.5}
_CITES = 3
# What a status means at one channel alone; elsewhere it says nothing certain.
_OF_ONE_CHANNEL = {402: "stripe"}
# Statuses that an answer's own words explain: beside them the number says little more.
_SAYS_LITTLE = frozenset({400, 402, 403, 404, 409, 410, 412, 422, 500})
_BESIDE_WORDS = 0.4


def detect(case: Case) -> Seen:
    """One finding for each status and direction."""
    inbound: dict[int, list[tuple[float, Cited]]] = defaultdict(list)
    outbound: dict[int, list[tuple[float, Cited]]] = defaultdict(list)
    rpc: dict[str, list[tuple[float, Cited]]] = defaultdict(list)
    # What our own services answered to each other or to the customer: the failure as it was passed on, not where it began.
    passed_on: dict[int, str] = {}
    services = own_services(case)
    for signal in case.signals:
        rpc_said = _RPC.search(signal.message[:4000])
        if rpc_said and (name := rpc_name(rpc_said.group(1) or rpc_said.group(2))):
            rpc[name].append((_TIER[signal.tier] * signal.share, signal.cited))
        status = signal.http_status or _status(signal.message[:4000])
        if status is None or codes().find("http", str(status), None) is None:
            continue
        if names_ours(signal.message, services):
            passed_on[status] = f"{signal.service or '-'}"
            continue
        side = inbound if _CALLBACK.search(signal.message[:4000]) else outbound
        weight = _TIER[signal.tier] * signal.share
        if status in _SAYS_LITTLE and any(reply.message for reply in signal.replies):
            weight *= _BESIDE_WORDS
        side[status].append((weight, signal.cited))
    spans = case.focus_spans
    failing = pc.fill_null(pc.greater_equal(spans.column("http.response.status_code"), 400), fill_value=False)
    # Of a hundred thousand failing spans the first few are cited; those behind them add nothing to what is said.
    cited: Counter[tuple[str, int | str]] = Counter()
    names = ("http.response.status_code", "kind", "name", "url.path", "server.address", "service.name")
    rows = np.flatnonzero(failing.to_numpy())
    columns = (spans.column(name).take(pa.array(rows)).to_pylist() for name in names)
    ours = {
        target
        for target in pc.unique(spans.column("server.address")).to_pylist()
        if target and is_ours(target, services)
    }
    for row, status, kind, name, path, target, service in zip(rows.tolist(), *columns, strict=True):
        if kind == "client" and target not in ours:
            side, way = outbound, "outbound"
        elif _CALLBACK.search(f"{name} {path}"):
            side, way = inbound, "inbound"
        else:
            passed_on[status] = f"{service or '-'} {name}"
            continue
        cited[way, status] += 1
        if cited[way, status] <= _CITES:
            side[status].append((1.0, case.cite_span(spans, row)))
    codes_of_rpc = spans.column("rpc.status_code").to_pylist()
    for row in np.flatnonzero(spans.column("rpc.status_code").is_valid().to_numpy()).tolist():
        answered = rpc_name(codes_of_rpc[row])
        if answered:
            cited["rpc", answered] += 1
            if cited["rpc", answered] <= _CITES:
                rpc[answered].append((1.0, case.cite_span(spans, row)))
    found = [_answered_by_us(status, hits, case) for status, hits in inbound.items()]
    found += [f for status, hits in outbound.items() if (f := _answered_to_us(status, hits, case))]
    found += [f for name, hits in rpc.items() if (f := _rpc_answered(name, hits, case))]
    return Seen(tuple(found), (_check(case, len(found), passed_on),))


@lru_cache(maxsize=1024)
def rpc_name(status: str) -> str | None:
    """The gRPC status in capitals, from a name in any spelling or a number; None for OK and for what is none.

    >>> rpc_name("14"), rpc_name("DeadlineExceeded"), rpc_name("0")
    ('UNAVAILABLE', 'DEADLINE_EXCEEDED', None)
    """
    if status.isdigit():
        name = _RPC_NAMES[int(status)] if int(status) < len(_RPC_NAMES) else "OK"
    else:
        squeezed = status.replace("_", "").upper()
        name = next((one for one in _RPC_NAMES if one.replace("_", "") == squeezed), "OK")
    return None if name == "OK" else name


def _status(message: str) -> int | None:
    matched = _STATUS.search(message)
    return int(matched.group(1)) if matched and not matched.group(2) else None


def _rpc_answered(name: str, hits: list[tuple[float, Cited]], case: Case) -> Found | None:
    fact = codes().find("grpc", name, None)
    if fact is None or fact.fault_class == "unknown":
        return None
    return Found(
        kind="http.rpc",
        statement=Text(en=f"gRPC {name} was answered: {fact.meaning}", zh=f"收到 gRPC {name}：{fact.meaning}"),
        cites=tuple(c for _, c in hits[:_CITES]),
        supports=fact.fault_class,
        subclass=fact.fault_subclass,
        strength=0.6 * max(w for w, _ in hits),
        service=hits[0][1].service,
        channel=case.channel,
        code=name,
        at=hits[0][1].at,
    )


def _answered_by_us(status: int, hits: list[tuple[float, Cited]], case: Case) -> Found:
    weight = max(w for w, _ in hits)
    server = status >= 500
    return Found(
        kind="http.callback_refused",
        statement=Text(
            en=f"our side answered a callback with HTTP {status}",
            zh=f"我方以 HTTP {status} 应答了回调",
        ),
        cites=tuple(c for _, c in hits[:_CITES]),
        supports="internal_fault",
        subclass="code_exception" if server else "internal_config",
        strength=0.75 * weight,
        service=hits[0][1].service,
        channel=case.channel,
        at=hits[0][1].at,
    )


def _answered_to_us(status: int, hits: list[tuple[float, Cited]], case: Case) -> Found | None:
    fact = codes().find("http", str(status), None)
    near = [s.cited for s in case.signals if s.tier != "ambient"]
    if fact is None or (status in _OF_ONE_CHANNEL and channel_key(case.channel) != _OF_ONE_CHANNEL[status]):
        return None
    weight = max(w for w, _ in hits)
    about = any(c.kind == "span" or c in near for _, c in hits)
    return Found(
        kind="http.status" if about else "elsewhere.http_status",
        statement=Text(en=f"HTTP {status} was answered: {fact.meaning}", zh=f"收到 HTTP {status}：{fact.meaning}"),
        cites=tuple(c for _, c in hits[:_CITES]),
        supports=fact.fault_class,
        subclass=fact.fault_subclass,
        strength=0.6 * weight,
        service=hits[0][1].service,
        channel=case.channel,
        code=str(status),
        at=hits[0][1].at,
    )


def _check(case: Case, count: int, passed_on: Mapping[int, str]) -> Check:
    if count or passed_on:
        ours = "; ".join(f"HTTP {status} by {where}" for status, where in sorted(passed_on.items()))
        zh_ours = "；".join(f"{where} 应答 HTTP {status}" for status, where in sorted(passed_on.items()))
        statement = Text(
            en=f"failing HTTP or RPC statuses of calls: {count}" + (f"; passed on: {ours}" if ours else ""),
            zh=f"失败的 HTTP 或 RPC 调用状态：{count} 类" + (f"；向上传递：{zh_ours}" if zh_ours else ""),
        )
        return Check(id="http_status", outcome="found", statement=statement)
    if case.focus_spans.num_rows or not case.silent:
        statement = Text(en="no failing HTTP status around the order", zh="订单前后没有失败的 HTTP 状态")
        return Check(id="http_status", outcome="healthy", statement=statement)
    statement = Text(en="HTTP statuses: no spans and no lines of the order", zh="HTTP 状态：没有该订单的链路和日志")
    return Check(id="http_status", outcome="not_evaluated", statement=statement)
