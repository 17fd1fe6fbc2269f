"""Callbacks that are missing, refused, badly answered, without effect, or another order's: R08 to R11 and R13."""

from __future__ import annotations

from pipeline.faults.rules.facts import Facts, missing_sides, paid_behind, time_of
from pipeline.faults.rules.verdict import NO_ATTEMPT, NO_CALLBACK, NO_ORDER, Verdict, absent, found, healthy
from pipeline.faults.states import ENDED_WITHOUT_MONEY, HELD, OPEN, PAID_LIKE, SHOP_PAID
from pipeline.figures import clock, spell
from pipeline.payments.events import Event
from pipeline.payments.numbers import foreign_number


def other_order(facts: Facts) -> Verdict:
    """R13: a callback names another order, app or merchant."""
    order = facts.order
    for callback in order.callbacks:
        if (number := foreign_number(order, callback)) is not None:
            ours = ", ".join(a.entity_id for a in order.attempts)
            return found(
                f"a callback of order {order.order_id} at {clock(callback.at)} carries number {number}; ours is {ours}",
                f"订单 {order.order_id} 在 {clock(callback.at)} 收到的回调单号为 {number}，我方单号为 {ours}",
                callback,
                *(a.first for a in order.attempts),
                extra=facts.hints_for("R13"),
            )
    for meaning, en, zh in (("app", "app id", "应用号"), ("merchant", "merchant id", "商户号")):
        ours_by = {v for e in order.events if e.entity in {"order", "attempt"} and (v := e.text(meaning))}
        for callback in order.callbacks:
            theirs = callback.text(meaning)
            if theirs and ours_by and theirs not in ours_by:
                return found(
                    f"a callback of order {order.order_id} carries {en} {theirs}; ours is {', '.join(sorted(ours_by))}",
                    f"订单 {order.order_id} 的回调{zh}为 {theirs}，我方为 {'、'.join(sorted(ours_by))}",
                    callback,
                )
    if hints := facts.hints_for("R13"):
        return found(
            f"a log line says that a callback of order {order.order_id} names another order or merchant",
            f"日志显示订单 {order.order_id} 的回调所带单号或商户与我方不符",
            extra=hints,
        )
    numbered = [c for c in order.callbacks if c.text("number")]
    if not order.callbacks or not order.attempts:
        return absent(*(NO_CALLBACK if order.attempts else NO_ATTEMPT))
    if not numbered:
        return absent("no callback says which number it is for", "回调中没有商户单号")
    return healthy("each callback names this order's own number", "回调单号均为本单")


def callback_missing(facts: Facts) -> Verdict:
    """R08: paid at the channel, and no callback came."""
    order = facts.order
    if (missing := missing_sides(facts)) is not None:
        return missing
    attempt = paid_behind(facts)
    if attempt is None or attempt.success is None:
        return healthy("nothing hangs on a callback", "没有等待回调的支付")
    if any(e.entity == "callback" for a in (attempt,) for e in a.callbacks) or order.callbacks:
        return healthy("a callback was received", "已收到回调")
    if any(word in method for method in order.methods for word in ("micropay", "barcode", "付款码", "codepay")):
        return healthy("this method sends no callbacks", "该支付方式无回调")
    own_end = [e for e in attempt.events if e.state in ENDED_WITHOUT_MONEY]
    if own_end:
        return healthy("the create call itself failed on our side", "下单请求在我方即已失败")
    if not facts.older(attempt.success, facts.thresholds.t_cb):
        return healthy("a callback may still come", "回调仍可能到达")
    lag, lag_zh = spell(facts.age(attempt.success))
    return found(
        f"no callback for {attempt.entity_id} of order {order.order_id} within {lag} after its success at "
        f"{clock(attempt.success.at)}",
        f"{attempt.entity_id}（订单 {order.order_id}）于 {clock(attempt.success.at)} 支付成功，{lag_zh}内未收到任何回调",
        attempt.success,
        *attempt.queries[-1:],
        # Nobody asked: the success may be the answer to our own call, and no callback's matter.
        strength=None if attempt.queries else 0.45,
    )


def _is_probe(callback: Event) -> bool:
    signature = callback.text("signature") or ""
    return signature.startswith("WECHATPAY/SIGNTEST/") or bool(callback.get("probe"))


def callback_signature(facts: Facts) -> Verdict:
    """R09: a true callback was refused for its signature."""
    order = facts.order
    if not order.callbacks:
        return absent(*NO_CALLBACK)
    said = [c for c in order.callbacks if c.verified is not None]
    if not said:
        return absent("no callback says whether its signature held", "回调未记录验签结果")
    refused = [c for c in said if c.verified is False and not _is_probe(c)]
    if not refused:
        return healthy("every callback's signature held", "回调验签均通过")
    if any(c.verified and c.state in PAID_LIKE for c in said) or order.latest_state in SHOP_PAID:
        return healthy("a repeated callback was verified, or the order is paid", "重发回调已验签通过，或订单已支付")
    paid = [q for q in order.queries if q.state in PAID_LIKE] + [a.success for a in facts.paid if a.success is not None]
    claimed = [c for c in refused if c.state in PAID_LIKE or c.state in HELD]
    if not paid and not (len(claimed) > 1 and order.latest_state in OPEN):
        return absent("no later query confirms what the refused callback claimed", "验签失败后没有查单结果可印证")
    ends = (
        f"; the channel says {paid[0].raw_state} at {clock(paid[0].at)}"
        if paid
        else "; nobody has asked the channel since"
    )
    ends_zh = f"；渠道查单于 {clock(paid[0].at)} 为 {paid[0].raw_state}" if paid else "；此后未查单"
    return found(
        f"{len(refused)} callback(s) of order {order.order_id} failed the signature check, first at {clock(refused[0].at)}{ends}",
        f"订单 {order.order_id} 有{len(refused)}次回调验签失败，首次于 {clock(refused[0].at)}{ends_zh}",
        *refused,
        *paid[-1:],
        strength=None if paid else 0.6,
    )


def callback_answer(facts: Facts) -> Verdict:
    """R10: we answered a verified callback with an error, or too late."""
    order = facts.order
    if not order.callbacks:
        return absent(*NO_CALLBACK)
    good = [c for c in order.callbacks if c.verified is not False]
    told = [c for c in good if c.answered_ok is not None or c.get("answer_ms") is not None]
    if not told:
        return absent("no callback says how we answered it", "回调未记录我方应答")

    def late(callback: Event) -> bool:
        value = callback.get("answer_ms")
        return isinstance(value, int | float) and value > facts.thresholds.t_answer * 1000

    bad = [c for c in told if c.answered_ok is False or late(c)]
    if not bad:
        return healthy("each callback was answered well", "回调均已正确应答")
    recovered = [c for c in told if c not in bad and time_of(c) > time_of(bad[-1])]
    if recovered and order.latest_state not in OPEN:
        return healthy("a repeat was answered well and the order went on", "重发后已正确应答，订单已推进")
    if order.latest_state in SHOP_PAID:
        return healthy("the order is paid all the same", "订单已支付")
    answers = ", ".join(dict.fromkeys(str(c.get("answer")) for c in bad if c.get("answer") is not None)) or "late"
    return found(
        f"{len(bad)} verified callback(s) of order {order.order_id} were answered {answers} by us, "
        f"from {clock(bad[0].at)} to {clock(bad[-1].at)}",
        f"订单 {order.order_id} 有{len(bad)}次验签通过的回调被我方应答为 {answers}，{clock(bad[0].at)} 至 {clock(bad[-1].at)}",
        *bad,
    )


def callback_without_effect(facts: Facts) -> Verdict:
    """R11: a callback was taken and answered well, and the order did not move."""
    order = facts.order
    if order.latest_state == "UNKNOWN":
        return absent(*NO_ORDER)
    if not order.callbacks:
        return absent(*NO_CALLBACK)
    tied = {
        c
        for a in order.attempts
        for c in a.callbacks
        if a.means_money(c) and a.success is not None and a not in facts.expiring
    }
    took = [c for c in order.callbacks if c in tied and c.verified and c.answered_ok]
    if not took:
        if any(c.verified is None or c.answered_ok is None for c in order.callbacks if c in tied):
            return absent(
                "the callbacks do not say whether they were verified and answered", "回调未记录验签与应答结果"
            )
        return healthy("no callback was taken without effect", "没有已受理却未生效的回调")
    if order.latest_state not in OPEN or not all(facts.older(c, facts.thresholds.t_sync) for c in took):
        return healthy("the order moved on, or has still time to", "订单已推进或仍在允许时间内")
    own = order.latest
    return found(
        f"{len(took)} verified callback(s) of order {order.order_id} said {took[0].raw_state} from {clock(took[0].at)} and were "
        f"answered {took[0].get('answer')}, yet the order is still {own.raw_state if own else '?'} ({order.latest_state})",
        f"订单 {order.order_id} 自 {clock(took[0].at)} 起收到{len(took)}次验签通过的 {took[0].raw_state} 回调并应答 "
        f"{took[0].get('answer')}，但订单仍为 {own.raw_state if own else '?'}（{order.latest_state}）",
        *took,
        own,
    )
