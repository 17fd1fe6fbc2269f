"""Cohort: whether the other orders of the same channel went through meanwhile.

It tells a single case from an outage and names what was healthy. It speaks for no fault class by itself.
"""

from __future__ import annotations

from pipeline.evidence.case import Case
from pipeline.values import Found, Seen
from snapshots.model import Check, Text

# With fewer orders a share says little.
_ENOUGH = 3


def detect(case: Case) -> Seen:
    """How many orders of the same channel in the window are paid and consistent."""
    cohort = case.cohort
    channel = case.channel or "any channel"
    zh_channel = case.channel or "各渠道"
    if len(cohort) < _ENOUGH:
        statement = Text(
            en=f"healthy cohort: fewer than {_ENOUGH} other orders of {channel} around that time",
            zh=f"健康对照：同期 {zh_channel} 只有 {len(cohort)} 个其他订单",
        )
        return Seen(checks=(Check(id="cohort", outcome="not_evaluated", statement=statement),))
    well = sum(order.order_id in case.healthy for order in cohort)
    statement = Text(
        en=f"{well} of {len(cohort)} other orders of {channel} around that time went through",
        zh=f"同期 {zh_channel} 的 {len(cohort)} 个其他订单中有 {well} 个正常完成",
    )
    share = well / len(cohort)
    if share >= 0.5:
        return Seen(checks=(Check(id="cohort", outcome="healthy", statement=statement),))
    cites = tuple(event.cited for order in cohort[:3] for event in order.events[-1:])
    found = Found(
        kind="cohort.many", statement=statement, cites=cites, strength=0.0, channel=case.channel, about_focus=False
    )
    return Seen((found,), (Check(id="cohort", outcome="found", statement=statement),))
