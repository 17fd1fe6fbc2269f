"""Who else should have the order and has not: the channel's bill (R22), the channel (R23), the next system (R25)."""

from __future__ import annotations

from datetime import timedelta

from pipeline.faults.rules.facts import Facts, time_of
from pipeline.faults.rules.verdict import NO_ORDER, Verdict, absent, found, healthy
from pipeline.faults.states import SHOP_PAID
from pipeline.figures import clock


def not_in_bill(facts: Facts) -> Verdict:
    """R22: the channel's bill does not hold the order."""
    order = facts.order
    for event in order.events:
        value = event.get("bill")
        if value is not None and str(value).strip().casefold() in {
            "false",
            "missing",
            "absent",
            "no",
            "not_found",
            "0",
            "缺失",
        }:
            return found(
                f"order {order.order_id} is missing in the channel's bill, says the row of {clock(event.at)}",
                f"{clock(event.at)} 的记录显示订单 {order.order_id} 不在渠道对账单中",
                event,
            )
    if hints := facts.hints_for("R22"):
        return found(
            f"a log line says that order {order.order_id} and the channel's bill do not match",
            f"日志显示订单 {order.order_id} 与渠道对账单不符",
            order.latest,
            extra=hints,
        )
    marked = order.first_time(SHOP_PAID)
    denied = [q for q in order.queries if q.not_found and time_of(q) > time_of(marked)]
    if marked is not None and order.latest_state in SHOP_PAID and denied and not facts.paid:
        return found(
            f"order {order.order_id} is paid with us since {clock(marked.at)}, the channel knows no such payment "
            f"({denied[-1].raw_state}, {clock(denied[-1].at)}): its bill cannot hold it",
            f"订单 {order.order_id} 自 {clock(marked.at)} 起我方为已支付，渠道查无此交易（{denied[-1].raw_state}，"
            f"{clock(denied[-1].at)}），其对账单中不会有该笔",
            marked,
            denied[-1],
        )
    if any(e.get("bill") is not None for e in order.events):
        return healthy("the order is in the channel's bill", "订单在渠道对账单中")
    return absent("no line of the channel's bill is at hand", "没有渠道对账单数据")


def unknown_to_channel(facts: Facts) -> Verdict:
    """R23: the channel was asked and knows no such order."""
    order = facts.order
    asked = [*order.queries, *(e for a in order.attempts for e in a.events if e.not_found)]
    if not asked:
        return absent("nobody has asked the channel about this order", "没有该订单的查单记录")
    denied = [e for e in asked if e.not_found]
    if not denied or facts.paid:
        return healthy("the channel knows this order", "渠道存在该订单")
    created = order.attempts[0].first if order.attempts else None
    wait = timedelta(seconds=facts.thresholds.t_create)
    late = [e for e in denied if created is None or time_of(e) - time_of(created) > wait]
    if not late:
        return healthy("the query came too soon after the create call", "查单距下单过近")
    failed = any(e.state == "FAILED" for a in order.attempts for e in a.events)
    return found(
        f"the channel does not know order {order.order_id}: {late[-1].raw_state} at {clock(late[-1].at)}"
        + ("; the create call had failed" if failed else ""),
        f"渠道查无订单 {order.order_id}：{clock(late[-1].at)} 返回 {late[-1].raw_state}"
        + ("；下单请求已失败" if failed else ""),
        late[-1],
        created,
    )


def downstream_not_told(facts: Facts) -> Verdict:
    """R25: the order is paid, and the next system does not know."""
    order = facts.order
    if order.latest_state == "UNKNOWN":
        return absent(*NO_ORDER)
    if order.latest_state not in SHOP_PAID:
        return healthy("the order is not paid, nothing is to be passed on", "订单未支付，无需下游通知")
    told = [e for e in order.events if e.get("downstream") is not None]
    bad_words = (
        "fail",
        "error",
        "timeout",
        "absent",
        "missing",
        "none",
        "false",
        "dead",
        "pending",
        "0",
        "失败",
        "超时",
        "未",
    )
    bad = [e for e in told if str(e.get("downstream")).casefold().startswith(bad_words)]
    if told and bad and bad[-1] is told[-1] and facts.older(bad[-1], facts.thresholds.t_sync):
        return found(
            f"order {order.order_id} is paid, but the next system was not told ({bad[-1].get('downstream')}, {clock(bad[-1].at)})",
            f"订单 {order.order_id} 已支付，但下游通知为 {bad[-1].get('downstream')}（{clock(bad[-1].at)}）",
            bad[-1],
            order.latest,
        )
    if hints := facts.hints_for("R25"):
        return found(
            f"order {order.order_id} is paid, but a log line says that the next system could not be told",
            f"订单 {order.order_id} 已支付，但日志显示下游通知未送达",
            order.latest,
            extra=hints,
        )
    if told:
        return healthy("the next system was told", "下游已通知")
    return absent("nothing says whether the next system was told", "没有下游通知结果")
