"""Attempts that hang, are repeated or lapse: R17, R18, R19 and R21."""

from __future__ import annotations

from datetime import timedelta

from pipeline.faults.rules.facts import Facts
from pipeline.faults.rules.verdict import NO_ATTEMPT, Verdict, absent, found, healthy
from pipeline.faults.states import ENDED_WITHOUT_MONEY, PAID_LIKE, SHOP_PAID
from pipeline.faults.tables import codes
from pipeline.figures import clock, spell
from pipeline.payments.attempts import Attempt
from pipeline.payments.events import Event


def pending_too_long(facts: Facts) -> Verdict:
    """R17: an attempt has no final result for too long."""
    order = facts.order
    if not order.attempts:
        return absent(*NO_ATTEMPT)
    if facts.paid or order.latest_state in PAID_LIKE | ENDED_WITHOUT_MONEY or order.refunds:
        return healthy("the order is settled", "订单已有结果")
    slow = facts.slow or order.slow_method
    limit = facts.thresholds.t_slow if slow else facts.thresholds.t_pend
    for attempt in order.attempts:
        last = attempt.decisive
        if attempt.state not in {"PROCESSING", "UNKNOWN"}:
            continue
        if not last.known:
            return absent(f"the state {last.raw_state} is in no table", f"状态 {last.raw_state} 不在对照表中")
        if not facts.older(attempt.first, limit):
            continue
        asked = bool(attempt.queries)
        span, span_zh = spell(facts.age(attempt.first))
        how = (
            f"the channel's last answer was {last.raw_state} at {clock(last.at)}"
            if asked
            else "nobody has asked the channel"
        )
        how_zh = f"渠道最近一次结果为 {last.raw_state}（{clock(last.at)}）" if asked else "期间未向渠道查单"
        return found(
            f"attempt {attempt.entity_id} of order {order.order_id} ({attempt.first.money}) is without a final result for {span} "
            f"since {clock(attempt.first.at)}; {how}. It may also be a time-out whose result is unknown",
            f"订单 {order.order_id} 的支付 {attempt.entity_id}（{attempt.first.money}）自 {clock(attempt.first.at)} 起{span_zh}无最终结果；"
            f"{how_zh}。也可能是请求超时、结果未知",
            attempt.first,
            last,
            *attempt.queries[-1:],
            strength=None if asked else 0.45,
        )
    return healthy("no attempt is in the works for too long", "没有处理过久的支付")


def _timed_out(attempt: Attempt) -> Event | None:
    """The attempt's own event that says "no answer", unless the request is known never to have left."""
    for event in attempt.events:
        fact = codes().find(event.channel or "", event.code, "pay") if event.code else None
        network = codes().find("network", event.code) if event.code else None
        word = fact or network
        if word is not None and word.fault_subclass in {"connect_failed", "dns_failed"}:
            return None
        if (word is not None and word.fault_subclass == "timeout_unknown") or (
            event.state == "UNKNOWN" and event.known and not event.not_found
        ):
            return event
    return None


def retried_with_new_number(facts: Facts) -> Verdict:
    """R18: after a time-out the payment was tried again under another number."""
    order = facts.order
    if not order.attempts:
        return absent(*NO_ATTEMPT)
    if len(order.attempts) == 1:
        return healthy("there is one attempt only", "仅有一次支付尝试")
    for earlier, later in zip(order.attempts, order.attempts[1:], strict=False):
        ended = _timed_out(earlier)
        if ended is None or ended.at is None or later.first.at is None:
            continue
        gap = later.first.at - ended.at
        if timedelta() <= gap <= timedelta(seconds=facts.thresholds.t_retry) and not earlier.numbers & later.numbers:
            span, span_zh = spell(gap)
            both = earlier.success is not None and later.success is not None
            return found(
                f"order {order.order_id}: {earlier.entity_id} ended without an answer ({ended.raw_state}, {clock(ended.at)}) and "
                f"{later.entity_id} was started {span} later" + ("; the channel has both as paid" if both else ""),
                f"订单 {order.order_id}：{earlier.entity_id} 无应答（{ended.raw_state}，{clock(ended.at)}），{span_zh}后换单号 "
                f"{later.entity_id} 重试" + ("；渠道侧两笔均成功" if both else ""),
                ended,
                later.first,
                later.success,
                *earlier.queries[-1:],
            )
    return healthy("no attempt followed a time-out with a new number", "没有超时后换单号重试")


def same_number_changed(facts: Facts) -> Verdict:
    """R19: a number was sent again with another amount, and refused."""
    order = facts.order
    if not order.attempts:
        return absent(*NO_ATTEMPT)
    for attempt in order.attempts:
        for before, after in zip(attempt.events, attempt.events[1:], strict=False):
            changed = (
                before.amount_minor is not None
                and after.amount_minor is not None
                and before.amount_minor != after.amount_minor
            )
            if not changed or after.state != "FAILED":
                continue
            fact = codes().find(after.channel or "", after.code, "pay") if after.code else None
            refused = fact is not None and (
                fact.fault_class == "duplicate_idempotency" or fact.fault_subclass == "state_conflict"
            )
            if after.code and not refused and fact is not None:
                continue
            code = f" with {after.code}" if after.code else ""
            return found(
                f"attempt {attempt.entity_id} of order {order.order_id} was sent with {before.money}, then with {after.money} under "
                f"the same number, and refused{code} at {clock(after.at)}",
                f"订单 {order.order_id} 的支付单 {attempt.entity_id} 先以 {before.money}、后以 {after.money} 用同一单号请求，"
                f"于 {clock(after.at)} 被拒{('（' + after.code + '）') if after.code else ''}",
                before,
                after,
                strength=None if refused else 0.5,
            )
    return healthy("no number was used again with other data", "没有同号异参请求")


def authorisation_expiring(facts: Facts) -> Verdict:
    """R21: a hold lapses, or has lapsed, without a capture."""
    order = facts.order
    if not order.attempts:
        return absent(*NO_ATTEMPT)
    sale = order.latest_state in SHOP_PAID
    for attempt in facts.expiring:
        # Where "authorised" is the word for a sale and the shop counts it as paid, the capture is the channel's affair.
        if (sale and attempt.means_money(attempt.decisive)) or any(e.get("capture_job") for e in order.events):
            continue
        if order.latest_state in ENDED_WITHOUT_MONEY:
            continue
        held = attempt.decisive
        span, span_zh = spell(facts.age(held))
        past = facts.older(held, facts.thresholds.t_auth)
        return found(
            f"{held.money} of order {order.order_id} is held since {clock(held.at)} ({span}) and not captured; the hold "
            + ("has lapsed by now" if past else "is about to lapse"),
            f"订单 {order.order_id} 的 {held.money} 自 {clock(held.at)} 起已授权{span_zh}未请款，授权"
            + ("已过期" if past else "即将过期"),
            held,
            order.latest,
        )
    return healthy("no authorisation is about to lapse", "没有即将过期的授权")
