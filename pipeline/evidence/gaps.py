"""Gaps: evidence that should be there and is not.

A hole in the log window, a service that writes about healthy orders and is silent about this one, no logs, no
orders, a code that was never written down. A gap proves no fault; it keeps the judge from deciding on what is left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import median

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.identifiers import values_in
from pipeline.evidence.case import Case
from pipeline.payments.attempts import Attempt
from pipeline.payments.orders import Order
from pipeline.payments.refunds import Refund
from pipeline.values import Cited, Found, Seen
from snapshots.model import Check, Text
from snapshots.words import term

# A stretch without a single line is a hole where lines otherwise come at least this many times as often.
_HOLE_SHORTEST = timedelta(minutes=6)
_HOLE_TIMES_USUAL = 12.0
# How many healthy orders are followed to learn which services write about an order, and how many must agree.
_FOLLOWED = 6
_AGREEING = 0.75
# How many of their lines are cited.
_CITED = 3
# A callback or a paid state ends the part of the flow that a failing order goes through as well.
_PAID_MARGIN = timedelta(milliseconds=200)


def detect(case: Case) -> Seen:
    """One finding for each gap; a check says so where there is none."""
    found = tuple(_gaps(case))
    if found:
        # Where nothing was collected there is nothing to cite: such a gap stands here and among what is missing.
        statement = Text(
            en="gaps in the evidence: " + "; ".join(one.statement.en for one in found),
            zh="证据存在缺口：" + "；".join(one.statement.zh for one in found),
        )
        return Seen(found, (Check(id="gaps", outcome="found", statement=statement),))
    if case.silent:
        statement = Text(en="gaps: no log line of the window names this order", zh="缺口：窗口内没有日志提到该订单")
        return Seen(checks=(Check(id="gaps", outcome="not_evaluated", statement=statement),))
    if cut_short(case):
        statement = Text(
            en="gaps: none seen, but the logs are incomplete: what is absent may not have been read",
            zh="缺口：未见缺口，但日志不完整，缺失的内容可能只是未读取到",
        )
        return Seen(checks=(Check(id="gaps", outcome="not_evaluated", statement=statement),))
    statement = Text(en="no gap in the logs around the order", zh="订单前后的日志没有缺口")
    return Seen(checks=(Check(id="gaps", outcome="healthy", statement=statement),))


def cut_short(case: Case) -> bool:
    """Whether a source of logs failed, was read in part or held more lines than were fetched."""
    return any(
        row.what == "logs" and (row.status in ("failed", "partial") or row.cut) for row in case.material.coverage
    )


def unbroken(case: Case) -> bool:
    """Whether what the logs lack was not written: they are complete and have no hole around the order's events."""
    return not cut_short(case) and bool(case.contrast.in_incident.any()) and _hole(case) is None


def _gaps(case: Case) -> Iterator[Found]:
    logs = case.material.logs
    for row in case.material.coverage:
        if row.status == "failed":
            yield _gap(
                "gap.source",
                f"{row.source} gave no {term(row.what, 'en')}: {row.error}",
                f"{row.source} 未能提供{term(row.what, 'zh')}：{row.error}",
                about=row.what,
            )
    if not logs.num_rows:
        yield _gap("gap.no_logs", "there are no log lines at all", "没有任何日志")
        return
    if not case.focus:
        named = ", ".join(case.scope.values("order_id", "out_trade_no")[:3])
        if named:
            yield _gap("gap.no_order", f"{named} is not in the order events", f"订单数据中没有 {named}", about=named)
        else:
            yield _gap("gap.no_order", "no order of this customer was found", "未找到该客户的订单")
    if not case.contrast.in_incident.any():
        first, last = _clock(case, case.scope.window.start), _clock(case, case.scope.window.end)
        yield _gap(
            "gap.empty_window",
            f"no log line lies between {first} and {last}",
            f"{first} 至 {last} 之间没有任何日志",
            cites=_edges(case, case.scope.window.start, case.scope.window.end),
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
            cites=_edges(case, start, end),
        )
        return
    for service, count, of, cites, passed in _silent_services(case):
        yield _gap(
            # What comes after it in the flow has spoken: the deciding answer is not what is missing.
            "gap.skipped_service" if passed else "gap.silent_service",
            f"{service} wrote about {count} of {of} healthy orders and nothing about this one",
            f"{service} 对 {of} 个正常订单中的 {count} 个有日志，对该订单却没有",
            service,
            cites,
        )


def _clock(case: Case, moment: datetime) -> str:
    """`moment` on the ticket's clock, as the rest of the page shows times."""
    return moment.astimezone(case.ticket.created_at.tzinfo).strftime("%Y-%m-%d %H:%M:%S %z")


def _gap(
    kind: str, en: str, zh: str, service: str | None = None, cites: tuple[Cited, ...] = (), about: str | None = None
) -> Found:
    return Found(kind=kind, statement=Text(en=en, zh=zh), cites=cites, strength=0.0, service=service, code=about)


def _edges(case: Case, start: datetime, end: datetime) -> tuple[Cited, ...]:
    """The last line until `start` and the first from `end` on: what a silence lies between."""
    times = case.material.logs.column("@timestamp").combine_chunks()
    stamps = times.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    known = times.is_valid().to_numpy(zero_copy_only=False)
    before = np.flatnonzero(known & (stamps <= _micros(start)))
    after = np.flatnonzero(known & (stamps >= _micros(end)))
    rows = [int(before[np.argmax(stamps[before])])] if len(before) else []
    rows += [int(after[np.argmin(stamps[after])])] if len(after) else []
    return tuple(case.cite_log(row) for row in rows)


def _micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


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


def _silent_services(case: Case) -> Iterator[tuple[str, int, int, tuple[Cited, ...], bool]]:
    """Services that write about healthy orders until they are paid, and wrote nothing about the focus orders.

    With each the number of healthy orders that it wrote about, how many were followed, one of its lines about each of a few, and whether a service
    that comes after it in the flow of healthy orders wrote about the focus orders.
    """
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
    lines: dict[str, list[int]] = defaultdict(list)
    places: dict[str, list[int]] = defaultdict(list)
    named, traces = _named(case, healthy), _traces(case)
    for order in healthy:
        for place, (service, row) in enumerate(_services_until_paid(case, order, named, traces).items()):
            lines[service].append(row)
            places[service].append(place)
    logs = case.material.logs
    here = case.focus_rows | case.near_rows
    present = set(pc.unique(logs.column("service.name").filter(pa.array(here))).to_pylist())
    for service, mine in sorted(lines.items()):
        if len(mine) >= _AGREEING * len(healthy) and service not in present:
            passed = any(
                other in present
                and len(lines[other]) >= _AGREEING * len(healthy)
                and median(where) > median(places[service])
                for other, where in places.items()
            )
            yield service, len(mine), len(healthy), tuple(case.cite_log(row) for row in mine[:_CITED]), passed


def _names(order: Order) -> list[str]:
    return [order.order_id, *(attempt.entity_id for attempt in order.attempts)]


def _named(case: Case, orders: Sequence[Order]) -> npt.NDArray[np.int64]:
    """The rows that name any of `orders` in their text: all lines are searched once, and these again for each order."""
    names = [name for order in orders for name in _names(order)]
    hit = values_in(case.material.logs.column("message").combine_chunks(), names)
    return np.flatnonzero(hit.to_numpy(zero_copy_only=False))


def _traces(case: Case) -> npt.NDArray[np.int32]:
    """For each row the number of its trace; 0 where it has none."""
    traces = case.material.logs.column("trace.id").combine_chunks()
    known = pc.if_else(pc.equal(traces, ""), None, traces).dictionary_encode()
    numbers: npt.NDArray[np.int32] = pc.fill_null(pc.add(known.indices, 1), 0).to_numpy(zero_copy_only=False)
    return numbers


def _services_until_paid(
    case: Case, order: Order, named: npt.NDArray[np.int64], traces: npt.NDArray[np.int32]
) -> dict[str, int]:
    """The services that wrote about `order` until the channel answered, in order of time, each with its first row.

    `named` holds at least the rows that name it in their text, `traces` the number of each row's trace.
    """
    logs = case.material.logs
    said = logs.column("message").take(pa.array(named)).combine_chunks()
    labelled = pc.fill_null(pc.equal(logs.column("labels.order_id"), order.order_id), fill_value=False)
    by_name = labelled.to_numpy()
    by_name[named[values_in(said, _names(order)).to_numpy(zero_copy_only=False)]] = True
    of_order = np.zeros(int(traces.max(initial=0)) + 1, bool)
    of_order[traces[by_name]] = True
    # Number 0 is no trace.
    of_order[0] = False
    rows = np.flatnonzero(by_name | of_order[traces])
    mine = logs.select(["@timestamp", "service.name"]).take(pa.array(rows))
    if not mine.num_rows:
        return {}
    # Until the channel has answered: what comes after (callbacks, booking) a failing order never reaches. The lines of
    # the services that answer a callback come seconds later than those of the call itself.
    times = mine.column("@timestamp")
    until = pc.add(pc.min(times), pa.scalar(timedelta(milliseconds=1500), pa.duration("us")))
    early = pc.fill_null(pc.less_equal(times, until), fill_value=False)
    first: dict[str, int] = {}
    # Rows come in the source's order; the flow is told by time.
    by_time = np.argsort(pc.fill_null(times.cast(pa.int64()), 0).to_numpy(), kind="stable")
    rows, mine, early = rows[by_time], mine.take(pa.array(by_time)), early.take(pa.array(by_time))
    for row, service, is_early in zip(
        rows.tolist(), mine.column("service.name").to_pylist(), early.to_pylist(), strict=True
    ):
        if is_early and service:
            first.setdefault(service, row)
    return first
