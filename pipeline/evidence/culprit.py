"""Culprit: which service the trouble began in, from the traffic before and during it.

For tickets that name no order, payment or trace: there the traffic as a whole is the incident. The services are ranked by
how much longer they take (`pipeline/traffic/latency.py`) and how far they leave their usual path
(`pipeline/traffic/paths.py`). The first one's finding says what kind of fault it looks like; the others are named as less
likely, without a kind.
"""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from pipeline.evidence.case import Case, clip
from pipeline.traffic.latency import ON_CALLS, Slow, slow_services, slow_spans
from pipeline.traffic.paths import Deviation, deviations
from pipeline.traffic.spans import END, START, Ints, Traffic
from pipeline.values import Cited, Found, Seen
from snapshots.model import Check, Text

_MOST = 5
_CITES = 5
# From this strength on, being slow explains what callers do differently.
_SLOW_EXPLAINS = 0.5
# Findings weaker than this say nothing, nor do those far below the first.
_WEAKEST, _BELOW_FIRST = 0.15, 0.25
_QUOTE = 90
# The name of a class that is thrown, in most languages that have such classes.
_EXCEPTION = r"\b[A-Z][A-Za-z0-9]*(?:Exception|Error)\b|\bpanic: |Traceback \(most recent call last\)"
# What ties a ticket to a request; then that request is the incident, and the rest of the traffic is not.
_NAMED = ("order_id", "out_trade_no", "refund_id", "channel_txn_id", "trace_id")


def detect(case: Case) -> Seen:
    """At most one finding for each service and reason, the likeliest culprits first."""
    if case.scope.values(*_NAMED) or case.scope.focus_orders:
        return Seen()
    traffic = case.traffic
    if traffic is None:
        return _nothing(
            Text(
                en="culprit service: too few traces before or during the trouble to compare",
                zh="故障服务：异常前后的链路数量不足，无法比较",
            )
        )
    slow = slow_services(traffic)
    late = np.zeros(len(traffic.parent), bool)
    for one in slow:
        if one.strength >= _SLOW_EXPLAINS:
            late |= slow_spans(traffic, one)
    ranked: list[Slow | Deviation] = sorted(
        [*slow, *deviations(traffic, late)], key=lambda f: (-f.strength, f.service, isinstance(f, Deviation))
    )
    ranked = [f for f in ranked if f.strength >= max(_WEAKEST, _BELOW_FIRST * ranked[0].strength)]
    found = tuple(
        _slow(case, traffic, one, first=index == 0)
        if isinstance(one, Slow)
        else _deviation(case, traffic, one, first=index == 0)
        for index, one in enumerate(ranked[:_MOST])
    )
    before, during = traffic.traces(traffic.before), traffic.traces(traffic.during)
    if found:
        statement = Text(
            en=f"culprit service: {during} traces during the trouble compared with {before} before it",
            zh=f"故障服务：已将异常期间 {during} 条链路与之前 {before} 条比较",
        )
        return Seen(found, (Check(id="culprit", outcome="found", statement=statement),), len(ranked) - len(found))
    statement = Text(
        en=f"culprit service: {during} traces take as long and the same paths as the {before} before them",
        zh=f"故障服务：{during} 条链路的耗时与路径均与之前 {before} 条一致",
    )
    return Seen(checks=(Check(id="culprit", outcome="healthy", statement=statement),))


def _nothing(statement: Text) -> Seen:
    return Seen(checks=(Check(id="culprit", outcome="not_evaluated", statement=statement),))


def _slow(case: Case, traffic: Traffic, slow: Slow, *, first: bool) -> Found:
    name, operation = traffic.services[slow.service], traffic.operations[slow.operation]
    by_calls = slow.on_calls >= ON_CALLS
    if slow.median >= 1.5 * slow.median_before:
        now, before, en_word, zh_word = slow.median, slow.median_before, "median", "中位数"
    else:
        now, before, en_word, zh_word = slow.tail, slow.tail_before, "90th percentile", "90 分位"
    figures = f"{en_word} {_ms(now)} against {_ms(before)} before, {slow.calls} calls"
    zh_figures = f"{zh_word} {_ms(now)}，之前 {_ms(before)}，共 {slow.calls} 次"
    owner = traffic.services[int(traffic.service[slow.spans[0]])] if len(slow.spans) else name
    where = operation if owner == name else f"{owner} {operation}"
    if by_calls:
        en = f"time is lost on the way between {name} and those it talks to ({where}: {figures})"
        zh = f"{name} 与调用双方之间的途中耗时增加（{where}：{zh_figures}）"
    else:
        en = f"{name} takes longer by itself ({operation}: {figures})"
        zh = f"{name} 自身耗时增加（{operation}：{zh_figures}）"
    return Found(
        kind="trace.network_gap" if by_calls else "trace.self_slow",
        statement=Text(en=en, zh=zh),
        cites=tuple(_cite_span(case, int(row)) for row in slow.spans[:_CITES]),
        supports="internal_fault",
        subclass=("network_delay" if by_calls else "resource_contention") if first else None,
        strength=round(slow.strength, 4),
        service=name,
        host=_host(traffic, slow.spans, slow.service),
        operation=operation,
    )


def _deviation(case: Case, traffic: Traffic, deviation: Deviation, *, first: bool) -> Found:
    name, operation = traffic.services[deviation.service], traffic.operations[deviation.operation]
    owner = traffic.services[int(traffic.service[deviation.spans[0]])]
    after, zh_after = _event(case, traffic, deviation.previous)
    came, zh_came = _event(case, traffic, deviation.event)
    usual, zh_usual = _event(case, traffic, deviation.usual)
    figures = (
        f"in {deviation.times} of {deviation.out_of} cases, before in {deviation.times_before} of "
        f"{deviation.out_of_before}"
    )
    zh_figures = f"{deviation.out_of} 次中有 {deviation.times} 次，之前 {deviation.out_of_before} 次中有 {deviation.times_before} 次"
    where = operation if owner == name else f"{owner} {operation}"
    path = f"{where}: after {after} comes {came} instead of {usual}, {figures}"
    zh_path = f"{where}：{zh_after} 之后是 {zh_came}，而不是 {zh_usual}，{zh_figures}"
    if deviation.how in ("cut_short", "other_path") and _threw(traffic, deviation):
        kind, subclass = "trace.threw", "code_exception"
        en, zh = f"{name} throws where it did not before ({path})", f"{name} 出现以往没有的异常（{zh_path}）"
    elif deviation.how == "cut_short":
        kind, subclass = "trace.cut_short", "code_exception"
        en, zh = f"{name} leaves out steps it used to take ({path})", f"{name} 缺少以往的执行步骤（{zh_path}）"
    elif deviation.how == "other_path":
        kind, subclass = "trace.other_path", "wrong_result"
        en, zh = f"{name} takes a path it did not take before ({path})", f"{name} 走了以往没有的分支（{zh_path}）"
    elif deviation.how == "named":
        kind, subclass = "trace.named", "dependency_down"
        en, zh = (
            f"callers of {name} fail and name it in their errors ({path})",
            f"{name} 的调用方失败，且其错误信息提到该服务（{zh_path}）",
        )
    else:
        kind, subclass = "trace.odd_answer", "wrong_result"
        en, zh = (
            f"a caller of {name} changes its path right after its answer ({path})",
            f"{name} 应答之后调用方改变了执行路径（{zh_path}）",
        )
    return Found(
        kind=kind,
        statement=Text(en=en, zh=zh),
        cites=_cites(case, traffic, deviation),
        supports="internal_fault",
        subclass=subclass if first else None,
        strength=round(deviation.strength, 4),
        service=name,
        host=_host(traffic, deviation.spans, deviation.service),
        operation=operation,
    )


def _threw(traffic: Traffic, deviation: Deviation) -> bool:
    """Whether most of the deviating visits hold an exception, in a span or in an error line."""
    heads = np.unique(traffic.head[deviation.spans])
    spans, logs = traffic.spans, traffic.logs
    rows = np.flatnonzero(np.isin(traffic.head, heads))
    thrown = rows[np.asarray(pc.is_valid(spans.column("exception.type").take(rows)), dtype=bool)]
    told = np.flatnonzero(traffic.line_error & (traffic.lines >= 0))
    told = told[np.isin(traffic.head[traffic.lines[told]], heads)]
    typed = pc.is_valid(logs.column("error.type").take(told))
    worded = pc.match_substring_regex(logs.column("message").take(told), _EXCEPTION)
    said = told[np.asarray(pc.or_(typed, pc.fill_null(worded, fill_value=False)), dtype=bool)]
    with_one = np.union1d(traffic.head[thrown], traffic.head[traffic.lines[said]])
    return len(with_one) > 0.5 * len(heads)


def _event(case: Case, traffic: Traffic, code: int) -> tuple[str, str]:
    if code in (START, END):
        return ("its start", "its end")[code], ("开始", "结束")[code]
    if code < traffic.first_line:
        name = f"the call {traffic.operations[code - 2]}"
        return name, f"调用 {traffic.operations[code - 2]}"
    row = int(np.flatnonzero(traffic.line_event == code)[0])
    body = " ".join((case.material.logs.column("body")[row].as_py() or "").split())
    return f'"{clip(body, _QUOTE)}"', f"“{clip(body, _QUOTE)}”"


def _cites(case: Case, traffic: Traffic, deviation: Deviation) -> tuple[Cited, ...]:
    """For the first deviating spans the span and the line next to which it left the path."""
    cites = []
    for span in deviation.spans[: _CITES // 2].tolist():
        cites.append(_cite_span(case, span))
        told = np.flatnonzero(traffic.lines == span)
        for code in (deviation.event, deviation.previous):
            beside = told[traffic.line_event[told] == code]
            if len(beside):
                cites.append(case.cite_log(int(beside[0])))
                break
    return tuple(cites[:_CITES])


def _cite_span(case: Case, row: int) -> Cited:
    return case.cite_span(case.material.spans, row)


def _host(traffic: Traffic, spans: Ints, service: int) -> str | None:
    """The host of the service, where these spans of it, or else all during the trouble, have but one."""
    for rows in (
        spans[traffic.service[spans] == service],
        np.flatnonzero(traffic.during & (traffic.service == service)),
    ):
        hosts = sorted({host for host in pc.unique(traffic.spans.column("host.name").take(rows)).to_pylist() if host})
        if hosts:
            return hosts[0] if len(hosts) == 1 else None
    return None


def _ms(micros: float) -> str:
    return f"{micros / 1000:.0f} ms" if micros >= 10_000 else f"{micros / 1000:.1f} ms"
