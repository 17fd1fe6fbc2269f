"""Too much money, wrong money, or of the wrong payer: R04, R05, R06, R07 and R24."""

from __future__ import annotations

from datetime import datetime

from pipeline.faults.rules.facts import Facts, time_of
from pipeline.faults.rules.verdict import ENTITY_ZH, NO_ATTEMPT, Verdict, absent, found, healthy
from pipeline.faults.states import HELD, PAID_LIKE, REFUND_STATES, SHOP_PAID
from pipeline.figures import clock, format_money, spell
from pipeline.payments.events import Event
from pipeline.payments.numbers import foreign_number
from pipeline.payments.orders import Order


def _order_amount_at(order: Order, moment: datetime | None) -> Event | None:
    """The order's row that gives its price at `moment`: a price may change before the payer pays."""
    priced = [e for e in order.own if e.amount_minor is not None]
    before = [e for e in priced if moment is not None and e.at is not None and e.at <= moment]
    return (before or priced[:1] or [None])[-1]  # type: ignore[list-item]


def _explained_amount(event: Event, expected: int) -> bool:
    """Whether the channel's own discount, or a total beside the paid part, makes up the difference."""
    for meaning in ("total", "discount"):
        value = event.get(meaning)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                number = int(value)
            except ValueError:
                continue
            if number == expected or (meaning == "discount" and (event.amount_minor or 0) + number == expected):
                return True
    return False


def amount_mismatch(facts: Facts) -> Verdict:
    """R06: a payment, callback or query names another amount than the order."""
    order = facts.order
    said = [e for a in facts.paid if (e := a.success) is not None and e.state not in REFUND_STATES]
    said += [c for c in order.callbacks if c.state in PAID_LIKE - REFUND_STATES and foreign_number(order, c) is None]
    said += [q for q in order.queries if q.state in PAID_LIKE - REFUND_STATES]
    said += [e for a in order.attempts if a.state in HELD for e in (a.decisive,)]
    said = [e for e in said if e.amount_minor is not None and e.state not in {"PARTIALLY_PAID", "PARTIALLY_AUTHORIZED"}]
    if not said or _order_amount_at(order, None) is None:
        return absent(
            "no amount of a successful payment to compare with the order's", "没有可与订单金额比对的成功支付金额"
        )
    split = any(e.get("split") for e in order.events) or order.latest_state == "PARTIALLY_PAID"
    total = sum(a.amount_minor or 0 for a in facts.paid)
    for event in said:
        price = _order_amount_at(order, event.at)
        if (
            price is None
            or price.amount_minor is None
            or event.amount_minor in {price.amount_minor, order.amount_minor}
        ):
            continue
        if (event.currency or price.currency) != price.currency or _explained_amount(event, price.amount_minor):
            continue
        if split or (len(facts.paid) > 1 and total == price.amount_minor):
            continue
        low, high = sorted((abs(event.amount_minor or 0), abs(price.amount_minor)))
        factor = low > 0 and high // 100 == low
        en = f"order {order.order_id} costs {price.money}, the {event.entity} of {clock(event.at)} says {event.money}"
        zh = (
            f"订单 {order.order_id} 金额 {price.money}，{clock(event.at)} 的{ENTITY_ZH[event.entity]}金额 {event.money}"
        )
        if factor:
            en += "; the factor 100 points to a mix-up of minor and major unit"
            zh += "；相差100倍，疑为分与元换算错误"
        return found(en, zh, price, event)
    return healthy(f"all amounts agree with the order's {order.money}", f"各处金额与订单金额 {order.money} 一致")


def currency_mismatch(facts: Facts) -> Verdict:
    """R07: something of the order is in another currency than the order itself."""
    order = facts.order
    own = next((e for e in reversed(order.own) if e.currency), None)
    others = [e for e in order.events if e.entity != "order" and e.currency]
    if own is None or not others:
        return absent("no two currencies to compare", "没有可比对的币种")
    if any(e.get("exchange") for e in order.events):
        return healthy("an exchange quote is on the order", "订单带有换汇报价")
    odd = [e for e in others if e.currency != own.currency]
    if odd:
        return found(
            f"order {order.order_id} is in {own.currency} ({own.money}), the {odd[0].entity} of {clock(odd[0].at)} "
            f"is in {odd[0].currency} ({odd[0].money})",
            f"订单 {order.order_id} 币种为 {own.currency}（{own.money}），{clock(odd[0].at)} 的{ENTITY_ZH.get(odd[0].entity, odd[0].entity)}"
            f"币种为 {odd[0].currency}（{odd[0].money}）",
            own,
            *odd,
        )
    return healthy(f"everything is in {own.currency}", f"币种均为 {own.currency}")


def duplicate_charge(facts: Facts) -> Verdict:
    """R04: the channel took the money for more than one attempt, and more than the order costs."""
    order = facts.order
    if not order.attempts:
        return absent(*NO_ATTEMPT)
    paid = [a for a in facts.paid if a.success is not None and a.success.state != "PARTIALLY_PAID"]
    ids = [a.channel_txn_id or a.entity_id for a in paid]
    if len(paid) < 2 or len(set(ids)) < 2:
        return healthy("the channel took the money at most once", "渠道至多成功扣款一次")
    if any(e.get("split") for e in order.events):
        return healthy("several payments are declared (split tender or instalments)", "已声明拆分支付或分期")
    amounts = [a.amount_minor for a in paid]
    price = order.amount_minor
    if price is None or any(x is None for x in amounts):
        return absent("the amounts of the payments are not in the order events", "订单事件中缺少支付金额")
    total = sum(x or 0 for x in amounts)
    if total <= price:
        return healthy("the payments together do not exceed the order", "各笔支付之和未超过订单金额")
    if order.refunded_minor >= total - price:
        return healthy("the excess has been refunded", "多扣部分已退款")
    first, second = paid[0], paid[1]
    seconds = time_of(second.success) - time_of(first.success)
    later, later_zh = spell(abs(seconds))
    return found(
        f"order {order.order_id} of {order.money} was charged {len(paid)} times, {format_money(total, order.currency)} in all: "
        f"{', '.join(a.entity_id for a in paid)}, {later} apart",
        f"订单 {order.order_id} 金额 {order.money}，被成功扣款{len(paid)}次，合计 {format_money(total, order.currency)}："
        f"{'、'.join(a.entity_id for a in paid)}，相隔{later_zh}",
        *(a.success for a in paid),
    )


def _captured(order: Order) -> tuple[int, int]:
    """Captured and authorised total of the order in minor units; (0, 0) where there was no hold first."""
    holds = [a for a in order.attempts if any(e.state in HELD for e in a.events)]
    captured = 0
    for attempt in order.attempts:
        # A second charge with a hold or a beginning of its own is a second payment: rule R04, not this one.
        if attempt not in holds and attempt.events[0].state not in PAID_LIKE:
            continue
        taken = [e for e in attempt.events if e.state in SHOP_PAID and e.entity == "attempt"]
        by_id = {e.text("txn") or e.raw_state: e.amount_minor or 0 for e in taken}
        captured += sum(by_id.values())
    authorised = sum(max((e.amount_minor or 0 for e in a.events if e.state in HELD), default=0) for a in holds)
    return (captured, authorised) if holds else (0, 0)


def duplicate_capture(facts: Facts) -> Verdict:
    """R05: more was captured than authorised."""
    order = facts.order
    if not order.attempts:
        return absent(*NO_ATTEMPT)
    captured, authorised = _captured(order)
    if authorised == 0:
        return absent("no authorisation with an amount is in the order events", "订单事件中没有带金额的预授权")
    if any(e.get("multi_capture") for e in order.events) and captured <= authorised:
        return healthy("several captures are allowed and fit the hold", "允许多次请款且未超授权额")
    if captured > authorised:
        events = [e for a in order.attempts for e in a.events if e.state in HELD or e.state in SHOP_PAID]
        return found(
            f"order {order.order_id}: {format_money(captured, order.currency)} captured of "
            f"{format_money(authorised, order.currency)} authorised",
            f"订单 {order.order_id}：授权 {format_money(authorised, order.currency)}，实际请款 {format_money(captured, order.currency)}",
            *events,
        )
    return healthy("not more was captured than authorised", "请款未超过授权额")


def other_payer(facts: Facts) -> Verdict:
    """R24: who paid is not who ordered."""
    order = facts.order
    if any(e.get("gift") for e in order.events):
        return healthy("another payer is allowed", "允许他人代付")
    if hints := facts.hints_for("R24"):
        return found(
            f"a log line says that the payer of order {order.order_id} is not the one who ordered",
            f"日志显示订单 {order.order_id} 的付款人与下单人不一致",
            *order.callbacks[-1:],
            extra=hints,
        )
    ours = {v: e for e in order.events if e.entity in {"order", "attempt"} and (v := e.text("payer"))}
    theirs = {v: e for e in order.events if e.entity in {"callback", "query"} and (v := e.text("payer"))}
    if not ours or not theirs:
        return absent("the payer is not named on both sides", "下单侧与渠道侧未同时给出付款人")
    odd = [e for v, e in theirs.items() if v not in ours]
    if odd:
        return found(
            f"the payer in the {odd[0].entity} of order {order.order_id} at {clock(odd[0].at)} is not the one of the order",
            f"订单 {order.order_id} 在 {clock(odd[0].at)} 的{ENTITY_ZH[odd[0].entity]}付款人与下单付款人不一致",
            odd[0],
            *ours.values(),
        )
    return healthy("the payer is the same on both sides", "付款人一致")
