"""Refunds that are stuck, differ from the channel's, or exceed what was paid: R14, R15 and R16."""

from __future__ import annotations

from datetime import timedelta

from pipeline.faults.rules.facts import Facts, time_of
from pipeline.faults.rules.verdict import NO_REFUND, Verdict, absent, found, healthy
from pipeline.faults.states import PAID_LIKE, REFUND_STATES
from pipeline.figures import clock, format_money, spell
from pipeline.payments.events import Event
from pipeline.payments.orders import Order
from pipeline.payments.refunds import Refund, working_time


def over_refund(facts: Facts) -> Verdict:
    """R16: more went back than was paid."""
    order = facts.order
    if not order.refunds:
        return healthy(*NO_REFUND)
    live = [
        r
        for r in order.refunds
        if r.state in {"REFUNDED", "PARTIALLY_REFUNDED", "REFUND_PENDING"} and not r.latest.get("fee")
    ]
    paid = sum(a.amount_minor or 0 for a in order.attempts if a.success or a.state in PAID_LIKE) or (
        (order.amount_minor or 0) if any(e.state in PAID_LIKE for e in order.own) else 0
    )
    if paid == 0 or any(r.amount_minor is None for r in live):
        return absent("the paid or the refunded amount is not in the order events", "订单事件中缺少实付或退款金额")
    total = sum(r.amount_minor or 0 for r in live)
    if total > paid:
        return found(
            f"order {order.order_id}: {format_money(total, order.currency)} refunded in {len(live)} refunds, "
            f"only {format_money(paid, order.currency)} was paid",
            f"订单 {order.order_id}：实付 {format_money(paid, order.currency)}，{len(live)}笔退款合计 {format_money(total, order.currency)}",
            *(r.latest for r in live),
            *(a.success for a in facts.paid),
        )
    return healthy("not more was refunded than paid", "退款未超过实付")


def refund_stuck(facts: Facts) -> Verdict:
    """R14: a refund is open for longer than refunds take."""
    order = facts.order
    if not order.refunds:
        return healthy(*NO_REFUND)
    for refund in order.refunds:
        if refund.state != "REFUND_PENDING":
            continue
        asked = refund.events[0]
        if asked.at is None:
            return absent("the time of the refund is not in the order events", "订单事件中缺少退款时间")
        waited = working_time(asked.at, facts.now)
        if waited > timedelta(seconds=facts.thresholds.t_refund) and not _refund_done(order, refund):
            span, span_zh = spell(facts.age(asked))
            return found(
                f"refund {refund.entity_id} of order {order.order_id} ({asked.money}) is {refund.latest.raw_state} since "
                f"{clock(asked.at)}, {span} before the ticket",
                f"订单 {order.order_id} 的退款 {refund.entity_id}（{asked.money}）自 {clock(asked.at)} 起为 "
                f"{refund.latest.raw_state}，至报障已{span_zh}",
                refund.latest,
                *refund.answers[-1:],
                *order.queries[-1:],
            )
    return healthy("no refund is open for too long", "没有超期未完成的退款")


def _refund_words(order: Order, refund: Refund) -> list[Event]:
    """What the channel says about `refund`: its own answers; with one refund only, also queries of the payment."""
    words = [e for e in refund.answers if e.state in REFUND_STATES or e.not_found]
    if len(order.refunds) == 1:
        asked = time_of(refund.events[0])
        words += [
            q
            for q in (*order.queries, *order.callbacks)
            if q.state in REFUND_STATES and time_of(q) >= asked and q not in words
        ]
    return sorted(words, key=lambda e: (time_of(e), e.entity_id, e.raw_state))


def _refund_done(order: Order, refund: Refund) -> bool:
    words = _refund_words(order, refund)
    return bool(words) and words[-1].state in {"REFUNDED", "PARTIALLY_REFUNDED"}


def refund_differs(facts: Facts) -> Verdict:
    """R15: we and the channel disagree about a refund."""
    order = facts.order
    if not order.refunds:
        return healthy(*NO_REFUND)
    told = False
    for refund in order.refunds:
        words = [w for w in _refund_words(order, refund) if w is not refund.latest]
        if not words:
            continue
        told = True
        channel = words[-1]
        pending = refund.state in {"REFUND_PENDING", "UNKNOWN", "REFUND_FAILED"}
        lost = refund.state == "REFUNDED" and (channel.not_found or channel.state == "REFUND_FAILED")
        if (pending and channel.state == "REFUNDED") or lost:
            if not facts.older(channel, facts.thresholds.t_sync):
                continue
            return found(
                f"refund {refund.entity_id} of order {order.order_id} ({refund.latest.money}) is {refund.latest.raw_state} with us; "
                f"the channel said {channel.raw_state} at {clock(channel.at)}",
                f"订单 {order.order_id} 的退款 {refund.entity_id}（{refund.latest.money}）我方为 {refund.latest.raw_state}，"
                f"渠道于 {clock(channel.at)} 为 {channel.raw_state}",
                refund.latest,
                channel,
            )
    if not told:
        return absent(
            "no answer of the channel about the refund is in the order events", "订单事件中没有渠道侧的退款结果"
        )
    return healthy("our refund and the channel's agree", "退款状态与渠道一致")
