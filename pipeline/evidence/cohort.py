"""Cohort: whether the other orders of the same channel went through meanwhile.

It tells a single case from an outage and names what was healthy. It speaks for no fault class by itself.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pipeline.evidence.case import Case
from pipeline.faults.rules.evaluation import anything_found
from pipeline.faults.states import OPEN
from pipeline.payments.health import went_wrong
from pipeline.payments.orders import Order
from pipeline.values import Found, Seen
from snapshots.model import Check, Text

# With fewer orders a share says little.
_ENOUGH = 3


def detect(case: Case) -> Seen:
    """How many orders of the same channel in the window went through, failed, and ended nobody knows how."""
    cohort = case.cohort
    channel = case.channel or "any channel"
    zh_channel = case.channel or "各渠道"
    if len(cohort) < _ENOUGH:
        statement = Text(
            en=f"healthy cohort: fewer than {_ENOUGH} other orders of {channel} around that time",
            zh=f"健康对照：同期 {zh_channel} 只有 {len(cohort)} 个其他订单",
        )
        return Seen(checks=(Check(id="cohort", outcome="not_evaluated", statement=statement),))
    fates = {order.order_id: fate(case, order) for order in cohort}
    counts = Counter(fates.values())
    well, failed, unknown = counts["well"], counts["failed"], counts["unknown"]
    # How it went for none is not worth a word, save that none went through.
    parts = [(well, "went through", "正常完成")]
    parts += [(failed, "failed or closed unpaid", "失败或未支付即关闭")] if failed else []
    parts += [(unknown, "with unknown outcome", "结果未知")] if unknown else []
    statement = Text(
        en=f"of {len(cohort)} other orders of {channel} around that time "
        + ", ".join(f"{n} {en}" for n, en, _ in parts),
        zh=f"同期 {zh_channel} 的 {len(cohort)} 个其他订单中，" + "，".join(f"{n} 个{zh}" for n, _, zh in parts),
    )
    if unknown * 2 > len(cohort):
        return Seen(checks=(Check(id="cohort", outcome="not_evaluated", statement=statement),))
    if well >= failed:
        return Seen(checks=(Check(id="cohort", outcome="healthy", statement=statement),))
    bad = [order for order in cohort if fates[order.order_id] == "failed"]
    cites = tuple(event.cited for order in bad[:3] for event in order.events[-1:])
    found = Found(
        kind="cohort.many", statement=statement, cites=cites, strength=0.0, channel=case.channel, about_focus=False
    )
    return Seen((found,), (Check(id="cohort", outcome="found", statement=statement),))


def fate(case: Case, order: Order) -> Literal["well", "failed", "unknown"]:
    """How another order ended; money that the channel took and the shop does not have did not go through."""
    outcome = order.outcome()
    if order.order_id in case.healthy or outcome == "refunded":
        return "well"
    if went_wrong(order):
        return "failed"
    if any(a.state == "UNKNOWN" or a.state in OPEN for a in order.attempts[-1:]):
        return "unknown"
    took = any(a.success for a in order.attempts)
    lost = took and anything_found(order, now=case.now, thresholds=case.settings.thresholds)
    return "failed" if outcome == "closed" or (outcome == "open" and lost) else "unknown"
