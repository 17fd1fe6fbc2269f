"""Whether an order is well: the only question about orders that needs the rules."""

from __future__ import annotations

from datetime import datetime

from pipeline.faults import ENDED_WITHOUT_MONEY, OPEN, Thresholds
from pipeline.faults.rules.evaluation import anything_found
from pipeline.payments.orders import Order


def is_healthy(order: Order, now: datetime, thresholds: Thresholds | None = None) -> bool:
    """Whether the order is paid, shop and channel agree, nothing went back and no rule has anything to say at `now`."""
    if order.outcome(now) != "paid" or order.refunds or not any(a.success for a in order.attempts):
        return False
    return not anything_found(order, now=now, thresholds=thresholds or Thresholds())


def went_wrong(order: Order) -> bool:
    """Whether something went wrong with an order that is not healthy.

    False where the payer has not finished or got the money back, and where what is known does not tell: the latest attempt is
    still under way or in a state that nothing explains, and no callback was refused.
    """
    outcome = order.outcome()
    if outcome == "failed" or any(c.verified is False or c.answered_ok is False for c in order.callbacks):
        return True
    if outcome == "paid":
        # Not healthy though paid in the shop: a rule has something to say, unless nothing is known of the channel's side.
        return not order.refunds and any(a.state != "UNKNOWN" for a in order.attempts)
    if not order.attempts or order.attempts[-1].state in {*OPEN, "UNKNOWN"}:
        return False
    return any(a.state in ENDED_WITHOUT_MONEY for a in order.attempts)
