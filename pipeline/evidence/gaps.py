"""Gaps: evidence that should be there and is not.

A hole in the log window, a service that writes about every healthy order and is silent about this one, no logs, no
orders, a code that was never written down. A gap proves no fault; it keeps the judge from deciding on what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.identifiers import values_in
from pipeline.evidence.case import Case
from pipeline.payments import Attempt, Order, Refund
from pipeline.values import Found, Seen
from snapshots.model import Check, Text

# A stretch without a single line is a hole where lines otherwise come at least this many times as often.
_HOLE_SHORTEST = timedelta(minutes=6)
_HOLE_TIMES_USUAL = 12.0
# How many healthy orders are followed to learn which services write about an order, and how many must agree.
_FOLLOWED = 6
_AGREEING = 0.75
# A callback or a paid state ends the part of the flow that a failing order goes through as well.
_PAID_MARGIN = timedelta(milliseconds=200)


def detect(case: Case) -> Seen:
    """One finding for each gap; a check says so where there is none."""
    found = tuple(_gaps(case))
    if found:
        statement = Text(en=f"{len(found)} gaps in the evidence", zh=f"证据存在 {len(found)} 处缺口")
        return Seen(found, (Check(id="gaps", outcome="found", statement=statement),))
    if case.silent:
        statement = Text(en="gaps: no log line of the window names this order", zh="缺口：窗口内没有日志提到该订单")
        return Seen(checks=(Check(id="gaps", outcome="not_evaluated", statement=statement),))
    statement = Text(en="no gap in the logs around the order", zh="订单前后的日志没有缺口")
    return Seen(checks=(Check(id="gaps", outcome="healthy", statement=statement),))


def _gaps(case: Case) -> Iterator[Found]:
    logs = case.material.logs
    for row in case.material.coverage:
        if row.status == "failed":
            yield _gap(
                "gap.source",
                f"{row.source} gave no {row.what}: {row.error}",
                f"{row.source} 未能提供 {row.what}：{row.error}",
            )
    if not logs.num_rows:
        yield _gap("gap.no_logs", "there are no log lines at all", "没有任何日志")
        return
    if not case.focus:
        named = ", ".join(case.scope.values("order_id", "out_trade_no")[:3])
        if named:
            yield _gap("gap.no_order", f"{named} is not in the order events", f"订单数据中没有 {named}")
        else:
            yield _gap("gap.no_order", "no order of this customer was found", "未找到该客户的订单")
    if not case.contrast.in_incident.any():
        first, last = _clock(case, case.scope.window.start), _clock(case, case.scope.window.end)
        yield _gap(
            "gap.empty_window", f"no log line lies between {first} and {last}", f"{first} 至 {last} 之间没有任何日志"
        )
        return
    hole = _hole(case)
    if hole:
        start, end = hole
        minutes = round((end - start).total_seconds() / 60)
        yield _gap(
            "gap.log_hole",
            f"no log line at all for {minutes} minutes from {_clock(case, start)}, around the order's events",
            f"自 {_clock(case, start)} 起 {minutes} 分钟内没有任何日志，正在订单事件前后",
        )
        return
    for service, count in _silent_services(case):
        yield _gap(
            "gap.silent_service",
            f"{service} wrote about each of {count} healthy orders and nothing about this one",
            f"{service} 对 {count} 个正常订单都有日志，对该订单却没有",
            service,
        )


def _clock(case: Case, moment: datetime) -> str:
    """`moment` on the ticket's clock, as the rest of the page shows times."""
    return moment.astimezone(case.ticket.created_at.tzinfo).strftime("%Y-%m-%d %H:%M:%S %z")


def _gap(kind: str, en: str, zh: str, service: str | None = None) -> Found:
    return Found(kind=kind, statement=Text(en=en, zh=zh), strength=0.0, service=service)


def _hole(case: Case) -> tuple[datetime, datetime] | None:
    """The first stretch without lines that overlaps the focus events, where it is far longer than usual.

    Logs that begin after the events, or end before them, have their hole at that edge of the window. Order books run
    on after the logs that were kept, so there it is one only where not a single line names the order.
    """
    times = case.material.logs.column("@timestamp").combine_chunks().drop_null()
    events = [e.at for order in case.focus for e in order.events if e.at]
    events = [at for at in events if case.scope.window.start <= at <= case.scope.window.end]
    if len(times) < 50 or not events:
        return None
    stamps = np.sort(times.cast(pa.int64()).to_numpy(zero_copy_only=False))
    steps = np.diff(stamps)
    usual = float(np.percentile(steps, 99))
    shortest = max(_HOLE_SHORTEST.total_seconds() * 1e6, _HOLE_TIMES_USUAL * usual)
    first, last = min(events).timestamp() * 1e6, max(events).timestamp() * 1e6
    if not case.focus_rows.any():
        start, end = (int(at.timestamp() * 1e6) for at in (case.scope.window.start, case.scope.window.end))
        stamps = np.concatenate([[min(start, stamps[0])], stamps, [max(end, stamps[-1])]])
    for i in np.flatnonzero(np.diff(stamps) >= shortest):
        if stamps[i] <= last and stamps[i + 1] >= first:
            begun, ended = (pc.cast(pa.scalar(int(stamps[j])), times.type).as_py() for j in (i, i + 1))
            return begun, ended
    return None


def _silent_services(case: Case) -> Iterator[tuple[str, int]]:
    """Services that write about healthy orders until they are paid, and wrote nothing about the focus orders."""
    seen_times = pc.min_max(case.material.logs.column("@timestamp"))
    first, last = seen_times["min"].as_py(), seen_times["max"].as_py()
    tried: list[Attempt | Refund] = []
    for order in case.focus:
        tried += order.attempts
        tried += order.refunds
    tries = [part.events[0].at for part in tried]
    if first is None or not any(at and first <= at <= last for at in tries):
        # Nothing was tried while these logs were written: silence about it says nothing.
        return
    healthy = [o for o in case.cohort if o.order_id in case.healthy][:_FOLLOWED]
    if len(healthy) < 3:
        return
    seen: Counter[str] = Counter()
    for order in healthy:
        seen.update(_services_until_paid(case, order))
    logs = case.material.logs
    here = case.focus_rows | case.near_rows
    present = set(pc.unique(logs.column("service.name").filter(pa.array(here))).to_pylist())
    for service, count in sorted(seen.items()):
        if count >= _AGREEING * len(healthy) and service not in present:
            yield service, count


def _services_until_paid(case: Case, order: Order) -> set[str]:
    names = [order.order_id, *(attempt.entity_id for attempt in order.attempts)]
    logs = case.material.logs
    by_name = pc.or_(
        values_in(logs.column("message").combine_chunks(), names),
        pc.fill_null(pc.equal(logs.column("labels.order_id").combine_chunks(), order.order_id), fill_value=False),
    )
    traces = [t for t in pc.unique(logs.column("trace.id").filter(by_name)).to_pylist() if t]
    by_trace = pc.is_in(logs.column("trace.id").combine_chunks(), value_set=pa.array(traces, pa.string()))
    mine = logs.filter(pc.or_(by_name, by_trace))
    if not mine.num_rows:
        return set()
    # Until the channel has answered: what comes after (callbacks, booking) a failing order never reaches. The lines of
    # the services that answer a callback come seconds later than those of the call itself.
    first = pc.min(mine.column("@timestamp"))
    times = mine.column("@timestamp")
    early = pc.less_equal(times, pc.add(first, pa.scalar(timedelta(milliseconds=1500), pa.duration("us"))))
    return {s for s in pc.unique(mine.column("service.name").filter(early)).to_pylist() if s}
