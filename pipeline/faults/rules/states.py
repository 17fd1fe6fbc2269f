"""Shop and channel stand differently, or the shop went back: R01, R02, R03, R12 and R20."""

from __future__ import annotations

from datetime import datetime, timedelta

from pipeline.faults.rules.facts import Facts, missing_sides, paid_behind, time_of
from pipeline.faults.rules.verdict import ENTITY_ZH, Verdict, absent, found, healthy
from pipeline.faults.states import ENDED_WITHOUT_MONEY, OPEN, PAID_LIKE, REFUND_STATES, SHOP_PAID
from pipeline.figures import clock, spell
from pipeline.payments.events import Event


def _at(event: Event | None) -> datetime | None:
    return event.at if event is not None else None


def paid_without_channel(facts: Facts) -> Verdict:
    """R02: the order is marked paid, and no attempt is paid at the channel."""
    order = facts.order
    if (missing := missing_sides(facts)) is not None:
        return missing
    if order.latest_state not in SHOP_PAID:
        return healthy("the order is not marked paid", "订单未置为已支付")
    if order.without_channel:
        return healthy("nothing is to be paid through a channel", "该支付方式无需渠道扣款")
    marked = order.first_time(SHOP_PAID)
    if not all(a.state in OPEN | ENDED_WITHOUT_MONEY for a in order.attempts):
        return healthy("an attempt is paid, held or not decided at the channel", "渠道侧存在已付、已授权或未定的支付")
    if any(c.state in PAID_LIKE and c.verified for c in order.callbacks):
        return healthy("a verified callback says paid", "已有验签通过的支付成功回调")
    denied = [
        q
        for q in order.queries
        if time_of(q) >= time_of(marked) and (q.not_found or q.state in OPEN | ENDED_WITHOUT_MONEY)
    ]
    # Without a later word of the channel the attempt's row may merely be old.
    strength = None if denied else 0.6
    if strength is not None and not facts.older(marked, facts.thresholds.t_sync):
        return healthy("the order was marked paid only just now", "订单刚刚置为已支付")
    states = ", ".join(f"{a.entity_id} {a.decisive.raw_state}" for a in order.attempts)
    asked = f"; asked at {clock(denied[-1].at)}, the channel said {denied[-1].raw_state}" if denied else ""
    asked_zh = f"；{clock(denied[-1].at)} 查单结果为 {denied[-1].raw_state}" if denied else ""
    return found(
        f"order {order.order_id} is {order.latest_state} since {clock(_at(marked))}, yet no attempt is paid at the "
        f"channel ({states}){asked}",
        f"订单 {order.order_id} 自 {clock(_at(marked))} 起为已支付，但渠道侧无成功支付（{states}）{asked_zh}",
        marked,
        *(a.decisive for a in order.attempts),
        *denied[-1:],
        strength=strength,
    )


def paid_after_cancel(facts: Facts) -> Verdict:
    """R03: the order ended without money, and the channel took it."""
    order = facts.order
    if (missing := missing_sides(facts)) is not None:
        return missing
    ended = order.first_time({"CANCELLED", "CLOSED"})
    if ended is None:
        return healthy("the order was never cancelled or closed", "订单未被取消或关闭")
    if not facts.paid:
        return healthy("the channel took no money", "渠道未扣款")
    if order.refunded_minor > 0 or order.latest_state in REFUND_STATES:
        return healthy("a refund is there", "已有退款")
    success = facts.paid[-1].success
    after = time_of(success) > time_of(ended)
    if not after and order.latest_state not in {"CANCELLED", "CLOSED"}:
        return healthy("the order went on after it was paid", "支付后订单已继续处理")
    if after and order.latest_state in SHOP_PAID:
        return healthy("the order was opened again for the payment", "订单已因支付恢复")
    gap, gap_zh = spell(abs(time_of(success) - time_of(ended)))
    return found(
        f"order {order.order_id} was {ended.raw_state} ({ended.state}) at {clock(ended.at)}; the channel took "
        f"{success.money if success else '?'} at {clock(_at(success))}, {gap} {'later' if after else 'before'}, "
        "and nothing was refunded",
        f"订单 {order.order_id} 于 {clock(ended.at)} {'取消' if ended.state == 'CANCELLED' else '关闭'}；渠道于 "
        f"{clock(_at(success))}（{'之后' if after else '之前'}{gap_zh}）扣款 {success.money if success else '?'}，且无退款",
        ended,
        success,
        *order.callbacks[-1:],
    )


def paid_not_updated(facts: Facts) -> Verdict:
    """R01: the channel took the money, and the order does not know."""
    order = facts.order
    if (missing := missing_sides(facts)) is not None:
        return missing
    attempt = paid_behind(facts)
    if attempt is None or attempt.success is None:
        return healthy("order and channel do not differ so", "订单与渠道不存在此种差异")
    words = [*order.callbacks, *order.queries, attempt.success]
    if not all(facts.older(e, facts.thresholds.t_sync) for e in words if e.at is not None):
        return healthy("the channel's last word is too fresh to judge", "渠道最近一次结果过新，尚不能判断")
    lag, lag_zh = spell(facts.age(attempt.success))
    own = order.latest
    # Without a word of the channel after our own row, or against one that says "failed", we may have misread the answer.
    own_end = order.latest_state == "FAILED" or any(e.state in ENDED_WITHOUT_MONEY for e in attempt.events)
    asked = bool(attempt.queries or attempt.callbacks)
    strength = 0.5 if own_end else 0.85 if asked else 0.6
    return found(
        f"the channel has {attempt.entity_id} of order {order.order_id} as {attempt.decisive.raw_state} "
        f"({attempt.success.money}) since {clock(attempt.success.at)}, {lag} before the ticket; the order is still "
        f"{own.raw_state if own else '?'} ({order.latest_state})",
        f"渠道侧 {attempt.entity_id}（订单 {order.order_id}）自 {clock(attempt.success.at)} 起为 {attempt.decisive.raw_state}"
        f"（{attempt.success.money}），至报障已{lag_zh}；订单仍为 {own.raw_state if own else '?'}（{order.latest_state}）",
        own,
        attempt.success,
        *attempt.queries[-1:],
        strength=strength,
    )


def out_of_order(facts: Facts) -> Verdict:
    """R12: the order went back from a final state."""
    order = facts.order
    if len(order.own) < 2:
        return absent("the order's history has fewer than two states", "订单状态历史不足两条")
    final = {"PAID", "OVERPAID", "COMPLETED"}
    for before, after in zip(order.own, order.own[1:], strict=False):
        # Some shops end the checkout ("complete") before the payment begins: only taken money makes a state final.
        taken = [e for a in order.attempts for e in a.said if a.means_money(e) and time_of(e) <= time_of(after)]
        if before.state in final and after.state in OPEN and (taken or not order.attempts):
            early = [
                e
                for e in (*order.callbacks, *order.queries)
                if e.state in OPEN and time_of(before) <= time_of(e) <= time_of(after)
            ]
            recovered = any(e.state in PAID_LIKE for e in order.own[order.own.index(after) :])
            if recovered:
                continue
            by = f" by a {early[-1].entity} that said {early[-1].raw_state} at {clock(early[-1].at)}" if early else ""
            by_zh = (
                f"，由 {clock(early[-1].at)} 的{ENTITY_ZH[early[-1].entity]}（{early[-1].raw_state}）触发"
                if early
                else ""
            )
            return found(
                f"order {order.order_id} went back from {before.raw_state} ({before.state}, {clock(before.at)}) to {after.raw_state} "
                f"({after.state}, {clock(after.at)}){by}",
                f"订单 {order.order_id} 从 {before.raw_state}（{before.state}，{clock(before.at)}）退回到 {after.raw_state}"
                f"（{after.state}，{clock(after.at)}）{by_zh}",
                before,
                after,
                *early[-1:],
            )
    return healthy("the order never went back from a final state", "订单未从终态回退")


def closed_early(facts: Facts) -> Verdict:
    """R20: the order was closed while the payer could still pay."""
    order = facts.order
    if (missing := missing_sides(facts)) is not None:
        return missing
    closed = order.first_time({"CLOSED", "CANCELLED"})
    if closed is None or closed.at is None:
        return healthy("the order was not closed", "订单未关闭")
    for attempt in order.attempts:
        before = [e for e in attempt.said if e.at is not None and e.at <= closed.at]
        if not before or any(e.state not in OPEN | {"UNKNOWN"} for e in before):
            continue
        if before[-1].state in {"REQUIRES_ACTION", "PROCESSING"} or any(
            e.state in {"REQUIRES_ACTION", "PROCESSING"}
            for e in attempt.said
            if closed.at < time_of(e) <= closed.at + timedelta(minutes=10)
        ):
            return found(
                f"order {order.order_id} was closed ({closed.raw_state}) at {clock(closed.at)} while {attempt.entity_id} was "
                f"{before[-1].raw_state} ({before[-1].state}) at the channel; the payer could still pay",
                f"订单 {order.order_id} 于 {clock(closed.at)} 关闭（{closed.raw_state}），当时渠道侧 {attempt.entity_id} 为 "
                f"{before[-1].raw_state}（{before[-1].state}），用户仍可能完成支付",
                closed,
                before[-1],
                attempt.decisive,
            )
    return healthy("nothing was under way when the order was closed", "关单时没有进行中的支付")
