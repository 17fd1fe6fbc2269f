"""Order rules R01-R25: where the shop, the channel and the callbacks contradict each other.

One small function a rule, and one table of all rules below them. A rule whose inputs are absent says so
(`not_evaluated`) and never passes for healthy. R13, R22, R24 and R25 may take from log lines what the order events lack
(`LogHint`).

Waiting times come from `Thresholds`; money is compared in minor units; all states are normal states.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal

from pipeline.faults.states import ENDED_WITHOUT_MONEY, OPEN, PAID_LIKE
from pipeline.faults.tables import codes
from pipeline.faults.thresholds import Thresholds
from pipeline.figures import clock, format_money
from pipeline.payments.attempts import Attempt
from pipeline.payments.events import Event
from pipeline.payments.numbers import foreign_number
from pipeline.payments.orders import Order
from pipeline.payments.refunds import Refund, working_time
from pipeline.values import Cited
from snapshots.model import Text

Outcome = Literal["found", "healthy", "not_evaluated"]
Severity = Literal["critical", "high", "medium", "low"]

_STRENGTH: Mapping[Severity, float] = {"critical": 0.95, "high": 0.85, "medium": 0.7, "low": 0.5}
_AUTH = frozenset({"AUTHORIZED", "PARTIALLY_AUTHORIZED"})
_REFUND_STATES = frozenset({"REFUND_PENDING", "PARTIALLY_REFUNDED", "REFUNDED", "REFUND_FAILED"})
# Paid in the shop's eyes, before anything went back.
SHOP_PAID = frozenset({"PAID", "PARTIALLY_PAID", "OVERPAID", "COMPLETED"})
_MAX_CITES = 8


@dataclass(frozen=True)
class LogHint:
    """A log line that tells what the order events lack, for the rule that needs it."""

    rule: str
    cited: Cited


@dataclass(frozen=True)
class Verdict:
    """What one rule function says. `strength` replaces that of the rule's severity."""

    outcome: Outcome
    statement: Text
    cites: tuple[Cited, ...] = ()
    strength: float | None = None


@dataclass(frozen=True)
class Rule:
    """One rule: its name, the fault that it shows, and what to do first."""

    id: str
    name: Text
    fault_class: str
    subclass: str
    severity: Severity
    first_action: Text
    check: Callable[[Facts], Verdict]

    @property
    def strength(self) -> float:
        """How sure a hit is, by severity."""
        return _STRENGTH[self.severity]


@dataclass(frozen=True)
class RuleResult:
    """One rule's answer for one order. `why_not` names the absent input of a rule that was not evaluated.

    `causes` are the ids of other rules that were found and explain this one; `strength` is already lowered for it.
    """

    rule: Rule
    outcome: Outcome
    statement: Text
    cites: tuple[Cited, ...] = ()
    why_not: Text | None = None
    strength: float = 0.0
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """An order with what the rules ask of it."""

    order: Order
    now: datetime
    thresholds: Thresholds
    hints: tuple[LogHint, ...] = ()
    slow: bool = False

    def age(self, event: Event | None) -> timedelta:
        """How long ago `event` was; nothing where it has no time or lies ahead."""
        return max(self.now - event.at, timedelta()) if event is not None and event.at is not None else timedelta()

    def older(self, event: Event | None, seconds: float) -> bool:
        """Whether `event` is older than `seconds`."""
        return self.age(event) > timedelta(seconds=seconds)

    @cached_property
    def expiring(self) -> tuple[Attempt, ...]:
        """Attempts whose hold is near its end, or past it, and was never captured."""
        limit = self.thresholds.t_auth - self.thresholds.t_auth_margin
        return tuple(a for a in self.order.attempts if a.state in _AUTH and self.older(a.decisive, limit))

    @cached_property
    def paid(self) -> tuple[Attempt, ...]:
        """Attempts for which the channel has taken the money, in order of success."""
        good = [a for a in self.order.attempts if a.success is not None and a not in self.expiring]
        return tuple(sorted(good, key=lambda a: (_time(a.success), a.entity_id)))

    @cached_property
    def captured_twice(self) -> bool:
        """Whether a hold was taken more than once, so that R05 and not R04 has the word."""
        return _captured(self.order)[0] > _captured(self.order)[1] > 0

    def hints_for(self, rule: str) -> tuple[Cited, ...]:
        """The log lines that speak for `rule`."""
        return tuple(h.cited for h in self.hints if h.rule == rule)


def _time(event: Event | None) -> datetime:
    return event.at if event is not None and event.at is not None else datetime.min.replace(tzinfo=UTC)


def _at(event: Event | None) -> datetime | None:
    return event.at if event is not None else None


def cite(*events: Event | None) -> tuple[Cited, ...]:
    """The rows as citations, each once, not more than a reader will open."""
    unique = dict.fromkeys(e.cited for e in events if e is not None)
    return tuple(unique)[:_MAX_CITES]


def _found(
    en: str, zh: str, *events: Event | None, strength: float | None = None, extra: tuple[Cited, ...] = ()
) -> Verdict:
    return Verdict("found", Text(en=en, zh=zh), (*cite(*events), *extra)[:_MAX_CITES], strength)


def _healthy(en: str, zh: str) -> Verdict:
    return Verdict("healthy", Text(en=en, zh=zh))


def _absent(en: str, zh: str) -> Verdict:
    return Verdict("not_evaluated", Text(en=en, zh=zh))


def spell(span: timedelta) -> tuple[str, str]:
    """A length of time for a person: the two largest units that matter."""
    seconds = int(span.total_seconds())
    for size, below, en, zh in ((86400, 3600, "d", "天"), (3600, 60, "h", "小时"), (60, 1, "min", "分")):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            part_en, part_zh = {3600: ("h", "小时"), 60: ("min", "分"), 1: ("s", "秒")}[below]
            small = rest // below
            return f"{whole} {en}" + (f" {small} {part_en}" if small else ""), f"{whole}{zh}" + (
                f"{small}{part_zh}" if small else ""
            )
    return f"{seconds} s", f"{seconds}秒"


_NO_ATTEMPT = ("no payment attempt of this order is in the order events", "订单事件中没有该订单的支付尝试")
_NO_ORDER = ("the shop's own state of this order is not in the order events", "订单事件中没有该订单在商城侧的状态")
_NO_CALLBACK = ("no callback of this order is in the order events", "订单事件中没有该订单的回调")
_NO_REFUND = ("this order has no refund", "该订单没有退款")


def _missing_sides(facts: Facts) -> Verdict | None:
    """Rules that compare shop and channel need both."""
    if not facts.order.attempts:
        return _absent(*_NO_ATTEMPT)
    return _absent(*_NO_ORDER) if facts.order.latest_state == "UNKNOWN" else None


# Money and identity


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


def _amounts(facts: Facts) -> Verdict:
    order = facts.order
    said = [e for a in facts.paid if (e := a.success) is not None and e.state not in _REFUND_STATES]
    said += [c for c in order.callbacks if c.state in PAID_LIKE - _REFUND_STATES and foreign_number(order, c) is None]
    said += [q for q in order.queries if q.state in PAID_LIKE - _REFUND_STATES]
    said += [e for a in order.attempts if a.state in _AUTH for e in (a.decisive,)]
    said = [e for e in said if e.amount_minor is not None and e.state not in {"PARTIALLY_PAID", "PARTIALLY_AUTHORIZED"}]
    if not said or _order_amount_at(order, None) is None:
        return _absent(
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
        zh = f"订单 {order.order_id} 金额 {price.money}，{clock(event.at)} 的{_ZH[event.entity]}金额 {event.money}"
        if factor:
            en += "; the factor 100 points to a mix-up of minor and major unit"
            zh += "；相差100倍，疑为分与元换算错误"
        return _found(en, zh, price, event)
    return _healthy(f"all amounts agree with the order's {order.money}", f"各处金额与订单金额 {order.money} 一致")


_ZH: Mapping[str, str] = {"order": "订单", "attempt": "支付尝试", "callback": "回调", "query": "查单", "refund": "退款"}


def _currencies(facts: Facts) -> Verdict:
    order = facts.order
    own = next((e for e in reversed(order.own) if e.currency), None)
    others = [e for e in order.events if e.entity != "order" and e.currency]
    if own is None or not others:
        return _absent("no two currencies to compare", "没有可比对的币种")
    if any(e.get("exchange") for e in order.events):
        return _healthy("an exchange quote is on the order", "订单带有换汇报价")
    odd = [e for e in others if e.currency != own.currency]
    if odd:
        return _found(
            f"order {order.order_id} is in {own.currency} ({own.money}), the {odd[0].entity} of {clock(odd[0].at)} "
            f"is in {odd[0].currency} ({odd[0].money})",
            f"订单 {order.order_id} 币种为 {own.currency}（{own.money}），{clock(odd[0].at)} 的{_ZH.get(odd[0].entity, odd[0].entity)}"
            f"币种为 {odd[0].currency}（{odd[0].money}）",
            own,
            *odd,
        )
    return _healthy(f"everything is in {own.currency}", f"币种均为 {own.currency}")


def _other_order(facts: Facts) -> Verdict:
    order = facts.order
    for callback in order.callbacks:
        if (number := foreign_number(order, callback)) is not None:
            ours = ", ".join(a.entity_id for a in order.attempts)
            return _found(
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
                return _found(
                    f"a callback of order {order.order_id} carries {en} {theirs}; ours is {', '.join(sorted(ours_by))}",
                    f"订单 {order.order_id} 的回调{zh}为 {theirs}，我方为 {'、'.join(sorted(ours_by))}",
                    callback,
                )
    if hints := facts.hints_for("R13"):
        return _found(
            f"a log line says that a callback of order {order.order_id} names another order or merchant",
            f"日志显示订单 {order.order_id} 的回调所带单号或商户与我方不符",
            extra=hints,
        )
    numbered = [c for c in order.callbacks if c.text("number")]
    if not order.callbacks or not order.attempts:
        return _absent(*(_NO_CALLBACK if order.attempts else _NO_ATTEMPT))
    if not numbered:
        return _absent("no callback says which number it is for", "回调中没有商户单号")
    return _healthy("each callback names this order's own number", "回调单号均为本单")


# Too much money


def _duplicate_charge(facts: Facts) -> Verdict:
    order = facts.order
    if not order.attempts:
        return _absent(*_NO_ATTEMPT)
    paid = [a for a in facts.paid if a.success is not None and a.success.state != "PARTIALLY_PAID"]
    ids = [a.channel_txn_id or a.entity_id for a in paid]
    if len(paid) < 2 or len(set(ids)) < 2:
        return _healthy("the channel took the money at most once", "渠道至多成功扣款一次")
    if any(e.get("split") for e in order.events):
        return _healthy("several payments are declared (split tender or instalments)", "已声明拆分支付或分期")
    amounts = [a.amount_minor for a in paid]
    price = order.amount_minor
    if price is None or any(x is None for x in amounts):
        return _absent("the amounts of the payments are not in the order events", "订单事件中缺少支付金额")
    total = sum(x or 0 for x in amounts)
    if total <= price:
        return _healthy("the payments together do not exceed the order", "各笔支付之和未超过订单金额")
    if order.refunded_minor >= total - price:
        return _healthy("the excess has been refunded", "多扣部分已退款")
    first, second = paid[0], paid[1]
    seconds = _time(second.success) - _time(first.success)
    later, later_zh = spell(abs(seconds))
    return _found(
        f"order {order.order_id} of {order.money} was charged {len(paid)} times, {format_money(total, order.currency)} in all: "
        f"{', '.join(a.entity_id for a in paid)}, {later} apart",
        f"订单 {order.order_id} 金额 {order.money}，被成功扣款{len(paid)}次，合计 {format_money(total, order.currency)}："
        f"{'、'.join(a.entity_id for a in paid)}，相隔{later_zh}",
        *(a.success for a in paid),
    )


def _captured(order: Order) -> tuple[int, int]:
    """Captured and authorised total of the order in minor units; (0, 0) where there was no hold first."""
    holds = [a for a in order.attempts if any(e.state in _AUTH for e in a.events)]
    captured = 0
    for attempt in order.attempts:
        # A second charge with a hold or a beginning of its own is a second payment: rule R04, not this one.
        if attempt not in holds and attempt.events[0].state not in PAID_LIKE:
            continue
        taken = [e for e in attempt.events if e.state in SHOP_PAID and e.entity == "attempt"]
        by_id = {e.text("txn") or e.raw_state: e.amount_minor or 0 for e in taken}
        captured += sum(by_id.values())
    authorised = sum(max((e.amount_minor or 0 for e in a.events if e.state in _AUTH), default=0) for a in holds)
    return (captured, authorised) if holds else (0, 0)


def _duplicate_capture(facts: Facts) -> Verdict:
    order = facts.order
    if not order.attempts:
        return _absent(*_NO_ATTEMPT)
    captured, authorised = _captured(order)
    if authorised == 0:
        return _absent("no authorisation with an amount is in the order events", "订单事件中没有带金额的预授权")
    if any(e.get("multi_capture") for e in order.events) and captured <= authorised:
        return _healthy("several captures are allowed and fit the hold", "允许多次请款且未超授权额")
    if captured > authorised:
        events = [e for a in order.attempts for e in a.events if e.state in _AUTH or e.state in SHOP_PAID]
        return _found(
            f"order {order.order_id}: {format_money(captured, order.currency)} captured of "
            f"{format_money(authorised, order.currency)} authorised",
            f"订单 {order.order_id}：授权 {format_money(authorised, order.currency)}，实际请款 {format_money(captured, order.currency)}",
            *events,
        )
    return _healthy("not more was captured than authorised", "请款未超过授权额")


def _over_refund(facts: Facts) -> Verdict:
    order = facts.order
    if not order.refunds:
        return _healthy(*_NO_REFUND)
    live = [
        r
        for r in order.refunds
        if r.state in {"REFUNDED", "PARTIALLY_REFUNDED", "REFUND_PENDING"} and not r.latest.get("fee")
    ]
    paid = sum(a.amount_minor or 0 for a in order.attempts if a.success or a.state in PAID_LIKE) or (
        (order.amount_minor or 0) if any(e.state in PAID_LIKE for e in order.own) else 0
    )
    if paid == 0 or any(r.amount_minor is None for r in live):
        return _absent("the paid or the refunded amount is not in the order events", "订单事件中缺少实付或退款金额")
    total = sum(r.amount_minor or 0 for r in live)
    if total > paid:
        return _found(
            f"order {order.order_id}: {format_money(total, order.currency)} refunded in {len(live)} refunds, "
            f"only {format_money(paid, order.currency)} was paid",
            f"订单 {order.order_id}：实付 {format_money(paid, order.currency)}，{len(live)}笔退款合计 {format_money(total, order.currency)}",
            *(r.latest for r in live),
            *(a.success for a in facts.paid),
        )
    return _healthy("not more was refunded than paid", "退款未超过实付")


# Shop and channel disagree


def _paid_without_channel(facts: Facts) -> Verdict:
    order = facts.order
    if (missing := _missing_sides(facts)) is not None:
        return missing
    if order.latest_state not in SHOP_PAID:
        return _healthy("the order is not marked paid", "订单未置为已支付")
    if order.without_channel:
        return _healthy("nothing is to be paid through a channel", "该支付方式无需渠道扣款")
    marked = order.first_time(SHOP_PAID)
    if not all(a.state in OPEN | ENDED_WITHOUT_MONEY for a in order.attempts):
        return _healthy("an attempt is paid, held or not decided at the channel", "渠道侧存在已付、已授权或未定的支付")
    if any(c.state in PAID_LIKE and c.verified for c in order.callbacks):
        return _healthy("a verified callback says paid", "已有验签通过的支付成功回调")
    denied = [
        q for q in order.queries if _time(q) >= _time(marked) and (q.not_found or q.state in OPEN | ENDED_WITHOUT_MONEY)
    ]
    # Without a later word of the channel the attempt's row may merely be old.
    strength = None if denied else 0.6
    if strength is not None and not facts.older(marked, facts.thresholds.t_sync):
        return _healthy("the order was marked paid only just now", "订单刚刚置为已支付")
    states = ", ".join(f"{a.entity_id} {a.decisive.raw_state}" for a in order.attempts)
    asked = f"; asked at {clock(denied[-1].at)}, the channel said {denied[-1].raw_state}" if denied else ""
    asked_zh = f"；{clock(denied[-1].at)} 查单结果为 {denied[-1].raw_state}" if denied else ""
    return _found(
        f"order {order.order_id} is {order.latest_state} since {clock(_at(marked))}, yet no attempt is paid at the "
        f"channel ({states}){asked}",
        f"订单 {order.order_id} 自 {clock(_at(marked))} 起为已支付，但渠道侧无成功支付（{states}）{asked_zh}",
        marked,
        *(a.decisive for a in order.attempts),
        *denied[-1:],
        strength=strength,
    )


def _paid_after_cancel(facts: Facts) -> Verdict:
    order = facts.order
    if (missing := _missing_sides(facts)) is not None:
        return missing
    ended = order.first_time({"CANCELLED", "CLOSED"})
    if ended is None:
        return _healthy("the order was never cancelled or closed", "订单未被取消或关闭")
    if not facts.paid:
        return _healthy("the channel took no money", "渠道未扣款")
    if order.refunded_minor > 0 or order.latest_state in _REFUND_STATES:
        return _healthy("a refund is there", "已有退款")
    success = facts.paid[-1].success
    after = _time(success) > _time(ended)
    if not after and order.latest_state not in {"CANCELLED", "CLOSED"}:
        return _healthy("the order went on after it was paid", "支付后订单已继续处理")
    if after and order.latest_state in SHOP_PAID:
        return _healthy("the order was opened again for the payment", "订单已因支付恢复")
    gap, gap_zh = spell(abs(_time(success) - _time(ended)))
    return _found(
        f"order {order.order_id} was {ended.raw_state} ({ended.state}) at {clock(ended.at)}; the channel took "
        f"{success.money if success else '?'} at {clock(_at(success))}, {gap} {'later' if after else 'before'}, "
        "and nothing was refunded",
        f"订单 {order.order_id} 于 {clock(ended.at)} {'取消' if ended.state == 'CANCELLED' else '关闭'}；渠道于 "
        f"{clock(_at(success))}（{'之后' if after else '之前'}{gap_zh}）扣款 {success.money if success else '?'}，且无退款",
        ended,
        success,
        *order.callbacks[-1:],
    )


def _behind(facts: Facts) -> Attempt | None:
    """The paid attempt that the order does not know of, if there is one: the common ground of R01 and R08 to R11."""
    order = facts.order
    state = order.latest_state
    if state not in OPEN and state != "FAILED":
        return None
    return next((a for a in facts.paid if a.state != "REFUNDED"), None)


def _paid_not_updated(facts: Facts) -> Verdict:
    order = facts.order
    if (missing := _missing_sides(facts)) is not None:
        return missing
    attempt = _behind(facts)
    if attempt is None or attempt.success is None:
        return _healthy("order and channel do not differ so", "订单与渠道不存在此种差异")
    words = [*order.callbacks, *order.queries, attempt.success]
    if not all(facts.older(e, facts.thresholds.t_sync) for e in words if e.at is not None):
        return _healthy("the channel's last word is too fresh to judge", "渠道最近一次结果过新，尚不能判断")
    lag, lag_zh = spell(facts.age(attempt.success))
    own = order.latest
    # Without a word of the channel after our own row, or against one that says "failed", we may have misread the answer.
    own_end = order.latest_state == "FAILED" or any(e.state in ENDED_WITHOUT_MONEY for e in attempt.events)
    asked = bool(attempt.queries or attempt.callbacks)
    strength = 0.5 if own_end else 0.85 if asked else 0.6
    return _found(
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


def _callback_missing(facts: Facts) -> Verdict:
    order = facts.order
    if (missing := _missing_sides(facts)) is not None:
        return missing
    attempt = _behind(facts)
    if attempt is None or attempt.success is None:
        return _healthy("nothing hangs on a callback", "没有等待回调的支付")
    if any(e.entity == "callback" for a in (attempt,) for e in a.callbacks) or order.callbacks:
        return _healthy("a callback was received", "已收到回调")
    if any(word in method for method in order.methods for word in ("micropay", "barcode", "付款码", "codepay")):
        return _healthy("this method sends no callbacks", "该支付方式无回调")
    own_end = [e for e in attempt.events if e.state in ENDED_WITHOUT_MONEY]
    if own_end:
        return _healthy("the create call itself failed on our side", "下单请求在我方即已失败")
    if not facts.older(attempt.success, facts.thresholds.t_cb):
        return _healthy("a callback may still come", "回调仍可能到达")
    lag, lag_zh = spell(facts.age(attempt.success))
    return _found(
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


def _callback_signature(facts: Facts) -> Verdict:
    order = facts.order
    if not order.callbacks:
        return _absent(*_NO_CALLBACK)
    said = [c for c in order.callbacks if c.verified is not None]
    if not said:
        return _absent("no callback says whether its signature held", "回调未记录验签结果")
    refused = [c for c in said if c.verified is False and not _is_probe(c)]
    if not refused:
        return _healthy("every callback's signature held", "回调验签均通过")
    if any(c.verified and c.state in PAID_LIKE for c in said) or order.latest_state in SHOP_PAID:
        return _healthy("a repeated callback was verified, or the order is paid", "重发回调已验签通过，或订单已支付")
    paid = [q for q in order.queries if q.state in PAID_LIKE] + [a.success for a in facts.paid if a.success is not None]
    claimed = [c for c in refused if c.state in PAID_LIKE or c.state in _AUTH]
    if not paid and not (len(claimed) > 1 and order.latest_state in OPEN):
        return _absent("no later query confirms what the refused callback claimed", "验签失败后没有查单结果可印证")
    ends = (
        f"; the channel says {paid[0].raw_state} at {clock(paid[0].at)}"
        if paid
        else "; nobody has asked the channel since"
    )
    ends_zh = f"；渠道查单于 {clock(paid[0].at)} 为 {paid[0].raw_state}" if paid else "；此后未查单"
    return _found(
        f"{len(refused)} callback(s) of order {order.order_id} failed the signature check, first at {clock(refused[0].at)}{ends}",
        f"订单 {order.order_id} 有{len(refused)}次回调验签失败，首次于 {clock(refused[0].at)}{ends_zh}",
        *refused,
        *paid[-1:],
        strength=None if paid else 0.6,
    )


def _callback_answer(facts: Facts) -> Verdict:
    order = facts.order
    if not order.callbacks:
        return _absent(*_NO_CALLBACK)
    good = [c for c in order.callbacks if c.verified is not False]
    told = [c for c in good if c.answered_ok is not None or c.get("answer_ms") is not None]
    if not told:
        return _absent("no callback says how we answered it", "回调未记录我方应答")

    def late(callback: Event) -> bool:
        value = callback.get("answer_ms")
        return isinstance(value, int | float) and value > facts.thresholds.t_answer * 1000

    bad = [c for c in told if c.answered_ok is False or late(c)]
    if not bad:
        return _healthy("each callback was answered well", "回调均已正确应答")
    recovered = [c for c in told if c not in bad and _time(c) > _time(bad[-1])]
    if recovered and order.latest_state not in OPEN:
        return _healthy("a repeat was answered well and the order went on", "重发后已正确应答，订单已推进")
    if order.latest_state in SHOP_PAID:
        return _healthy("the order is paid all the same", "订单已支付")
    answers = ", ".join(dict.fromkeys(str(c.get("answer")) for c in bad if c.get("answer") is not None)) or "late"
    return _found(
        f"{len(bad)} verified callback(s) of order {order.order_id} were answered {answers} by us, "
        f"from {clock(bad[0].at)} to {clock(bad[-1].at)}",
        f"订单 {order.order_id} 有{len(bad)}次验签通过的回调被我方应答为 {answers}，{clock(bad[0].at)} 至 {clock(bad[-1].at)}",
        *bad,
    )


def _callback_without_effect(facts: Facts) -> Verdict:
    order = facts.order
    if order.latest_state == "UNKNOWN":
        return _absent(*_NO_ORDER)
    if not order.callbacks:
        return _absent(*_NO_CALLBACK)
    tied = {
        c
        for a in order.attempts
        for c in a.callbacks
        if a.means_money(c) and a.success is not None and a not in facts.expiring
    }
    took = [c for c in order.callbacks if c in tied and c.verified and c.answered_ok]
    if not took:
        if any(c.verified is None or c.answered_ok is None for c in order.callbacks if c in tied):
            return _absent(
                "the callbacks do not say whether they were verified and answered", "回调未记录验签与应答结果"
            )
        return _healthy("no callback was taken without effect", "没有已受理却未生效的回调")
    if order.latest_state not in OPEN or not all(facts.older(c, facts.thresholds.t_sync) for c in took):
        return _healthy("the order moved on, or has still time to", "订单已推进或仍在允许时间内")
    own = order.latest
    return _found(
        f"{len(took)} verified callback(s) of order {order.order_id} said {took[0].raw_state} from {clock(took[0].at)} and were "
        f"answered {took[0].get('answer')}, yet the order is still {own.raw_state if own else '?'} ({order.latest_state})",
        f"订单 {order.order_id} 自 {clock(took[0].at)} 起收到{len(took)}次验签通过的 {took[0].raw_state} 回调并应答 "
        f"{took[0].get('answer')}，但订单仍为 {own.raw_state if own else '?'}（{order.latest_state}）",
        *took,
        own,
    )


# Refunds


def _refund_stuck(facts: Facts) -> Verdict:
    order = facts.order
    if not order.refunds:
        return _healthy(*_NO_REFUND)
    for refund in order.refunds:
        if refund.state != "REFUND_PENDING":
            continue
        asked = refund.events[0]
        if asked.at is None:
            return _absent("the time of the refund is not in the order events", "订单事件中缺少退款时间")
        waited = working_time(asked.at, facts.now)
        if waited > timedelta(seconds=facts.thresholds.t_refund) and not _refund_done(order, refund):
            span, span_zh = spell(facts.age(asked))
            return _found(
                f"refund {refund.entity_id} of order {order.order_id} ({asked.money}) is {refund.latest.raw_state} since "
                f"{clock(asked.at)}, {span} before the ticket",
                f"订单 {order.order_id} 的退款 {refund.entity_id}（{asked.money}）自 {clock(asked.at)} 起为 "
                f"{refund.latest.raw_state}，至报障已{span_zh}",
                refund.latest,
                *refund.answers[-1:],
                *order.queries[-1:],
            )
    return _healthy("no refund is open for too long", "没有超期未完成的退款")


def _refund_words(order: Order, refund: Refund) -> list[Event]:
    """What the channel says about `refund`: its own answers; with one refund only, also queries of the payment."""
    words = [e for e in refund.answers if e.state in _REFUND_STATES or e.not_found]
    if len(order.refunds) == 1:
        asked = _time(refund.events[0])
        words += [
            q
            for q in (*order.queries, *order.callbacks)
            if q.state in _REFUND_STATES and _time(q) >= asked and q not in words
        ]
    return sorted(words, key=lambda e: (_time(e), e.entity_id, e.raw_state))


def _refund_done(order: Order, refund: Refund) -> bool:
    words = _refund_words(order, refund)
    return bool(words) and words[-1].state in {"REFUNDED", "PARTIALLY_REFUNDED"}


def _refund_differs(facts: Facts) -> Verdict:
    order = facts.order
    if not order.refunds:
        return _healthy(*_NO_REFUND)
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
            return _found(
                f"refund {refund.entity_id} of order {order.order_id} ({refund.latest.money}) is {refund.latest.raw_state} with us; "
                f"the channel said {channel.raw_state} at {clock(channel.at)}",
                f"订单 {order.order_id} 的退款 {refund.entity_id}（{refund.latest.money}）我方为 {refund.latest.raw_state}，"
                f"渠道于 {clock(channel.at)} 为 {channel.raw_state}",
                refund.latest,
                channel,
            )
    if not told:
        return _absent(
            "no answer of the channel about the refund is in the order events", "订单事件中没有渠道侧的退款结果"
        )
    return _healthy("our refund and the channel's agree", "退款状态与渠道一致")


# The rest


def _out_of_order(facts: Facts) -> Verdict:
    order = facts.order
    if len(order.own) < 2:
        return _absent("the order's history has fewer than two states", "订单状态历史不足两条")
    final = {"PAID", "OVERPAID", "COMPLETED"}
    for before, after in zip(order.own, order.own[1:], strict=False):
        # Some shops end the checkout ("complete") before the payment begins: only taken money makes a state final.
        taken = [e for a in order.attempts for e in a.said if a.means_money(e) and _time(e) <= _time(after)]
        if before.state in final and after.state in OPEN and (taken or not order.attempts):
            early = [
                e
                for e in (*order.callbacks, *order.queries)
                if e.state in OPEN and _time(before) <= _time(e) <= _time(after)
            ]
            recovered = any(e.state in PAID_LIKE for e in order.own[order.own.index(after) :])
            if recovered:
                continue
            by = f" by a {early[-1].entity} that said {early[-1].raw_state} at {clock(early[-1].at)}" if early else ""
            by_zh = (
                f"，由 {clock(early[-1].at)} 的{_ZH[early[-1].entity]}（{early[-1].raw_state}）触发" if early else ""
            )
            return _found(
                f"order {order.order_id} went back from {before.raw_state} ({before.state}, {clock(before.at)}) to {after.raw_state} "
                f"({after.state}, {clock(after.at)}){by}",
                f"订单 {order.order_id} 从 {before.raw_state}（{before.state}，{clock(before.at)}）退回到 {after.raw_state}"
                f"（{after.state}，{clock(after.at)}）{by_zh}",
                before,
                after,
                *early[-1:],
            )
    return _healthy("the order never went back from a final state", "订单未从终态回退")


def _pending_too_long(facts: Facts) -> Verdict:
    order = facts.order
    if not order.attempts:
        return _absent(*_NO_ATTEMPT)
    if facts.paid or order.latest_state in PAID_LIKE | ENDED_WITHOUT_MONEY or order.refunds:
        return _healthy("the order is settled", "订单已有结果")
    slow = facts.slow or order.slow_method
    limit = facts.thresholds.t_slow if slow else facts.thresholds.t_pend
    for attempt in order.attempts:
        last = attempt.decisive
        if attempt.state not in {"PROCESSING", "UNKNOWN"}:
            continue
        if not last.known:
            return _absent(f"the state {last.raw_state} is in no table", f"状态 {last.raw_state} 不在对照表中")
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
        return _found(
            f"attempt {attempt.entity_id} of order {order.order_id} ({attempt.first.money}) is without a final result for {span} "
            f"since {clock(attempt.first.at)}; {how}. It may also be a time-out whose result is unknown",
            f"订单 {order.order_id} 的支付 {attempt.entity_id}（{attempt.first.money}）自 {clock(attempt.first.at)} 起{span_zh}无最终结果；"
            f"{how_zh}。也可能是请求超时、结果未知",
            attempt.first,
            last,
            *attempt.queries[-1:],
            strength=None if asked else 0.45,
        )
    return _healthy("no attempt is in the works for too long", "没有处理过久的支付")


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


def _retried_with_new_number(facts: Facts) -> Verdict:
    order = facts.order
    if not order.attempts:
        return _absent(*_NO_ATTEMPT)
    if len(order.attempts) == 1:
        return _healthy("there is one attempt only", "仅有一次支付尝试")
    for earlier, later in zip(order.attempts, order.attempts[1:], strict=False):
        ended = _timed_out(earlier)
        if ended is None or ended.at is None or later.first.at is None:
            continue
        gap = later.first.at - ended.at
        if timedelta() <= gap <= timedelta(seconds=facts.thresholds.t_retry) and not earlier.numbers & later.numbers:
            span, span_zh = spell(gap)
            both = earlier.success is not None and later.success is not None
            return _found(
                f"order {order.order_id}: {earlier.entity_id} ended without an answer ({ended.raw_state}, {clock(ended.at)}) and "
                f"{later.entity_id} was started {span} later" + ("; the channel has both as paid" if both else ""),
                f"订单 {order.order_id}：{earlier.entity_id} 无应答（{ended.raw_state}，{clock(ended.at)}），{span_zh}后换单号 "
                f"{later.entity_id} 重试" + ("；渠道侧两笔均成功" if both else ""),
                ended,
                later.first,
                later.success,
                *earlier.queries[-1:],
            )
    return _healthy("no attempt followed a time-out with a new number", "没有超时后换单号重试")


def _same_number_changed(facts: Facts) -> Verdict:
    order = facts.order
    if not order.attempts:
        return _absent(*_NO_ATTEMPT)
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
            return _found(
                f"attempt {attempt.entity_id} of order {order.order_id} was sent with {before.money}, then with {after.money} under "
                f"the same number, and refused{code} at {clock(after.at)}",
                f"订单 {order.order_id} 的支付单 {attempt.entity_id} 先以 {before.money}、后以 {after.money} 用同一单号请求，"
                f"于 {clock(after.at)} 被拒{('（' + after.code + '）') if after.code else ''}",
                before,
                after,
                strength=None if refused else 0.5,
            )
    return _healthy("no number was used again with other data", "没有同号异参请求")


def _closed_early(facts: Facts) -> Verdict:
    order = facts.order
    if (missing := _missing_sides(facts)) is not None:
        return missing
    closed = order.first_time({"CLOSED", "CANCELLED"})
    if closed is None or closed.at is None:
        return _healthy("the order was not closed", "订单未关闭")
    for attempt in order.attempts:
        before = [e for e in attempt.said if e.at is not None and e.at <= closed.at]
        if not before or any(e.state not in OPEN | {"UNKNOWN"} for e in before):
            continue
        if before[-1].state in {"REQUIRES_ACTION", "PROCESSING"} or any(
            e.state in {"REQUIRES_ACTION", "PROCESSING"}
            for e in attempt.said
            if closed.at < _time(e) <= closed.at + timedelta(minutes=10)
        ):
            return _found(
                f"order {order.order_id} was closed ({closed.raw_state}) at {clock(closed.at)} while {attempt.entity_id} was "
                f"{before[-1].raw_state} ({before[-1].state}) at the channel; the payer could still pay",
                f"订单 {order.order_id} 于 {clock(closed.at)} 关闭（{closed.raw_state}），当时渠道侧 {attempt.entity_id} 为 "
                f"{before[-1].raw_state}（{before[-1].state}），用户仍可能完成支付",
                closed,
                before[-1],
                attempt.decisive,
            )
    return _healthy("nothing was under way when the order was closed", "关单时没有进行中的支付")


def _authorisation_expiring(facts: Facts) -> Verdict:
    order = facts.order
    if not order.attempts:
        return _absent(*_NO_ATTEMPT)
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
        return _found(
            f"{held.money} of order {order.order_id} is held since {clock(held.at)} ({span}) and not captured; the hold "
            + ("has lapsed by now" if past else "is about to lapse"),
            f"订单 {order.order_id} 的 {held.money} 自 {clock(held.at)} 起已授权{span_zh}未请款，授权"
            + ("已过期" if past else "即将过期"),
            held,
            order.latest,
        )
    return _healthy("no authorisation is about to lapse", "没有即将过期的授权")


def _not_in_bill(facts: Facts) -> Verdict:
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
            return _found(
                f"order {order.order_id} is missing in the channel's bill, says the row of {clock(event.at)}",
                f"{clock(event.at)} 的记录显示订单 {order.order_id} 不在渠道对账单中",
                event,
            )
    if hints := facts.hints_for("R22"):
        return _found(
            f"a log line says that order {order.order_id} and the channel's bill do not match",
            f"日志显示订单 {order.order_id} 与渠道对账单不符",
            order.latest,
            extra=hints,
        )
    marked = order.first_time(SHOP_PAID)
    denied = [q for q in order.queries if q.not_found and _time(q) > _time(marked)]
    if marked is not None and order.latest_state in SHOP_PAID and denied and not facts.paid:
        return _found(
            f"order {order.order_id} is paid with us since {clock(marked.at)}, the channel knows no such payment "
            f"({denied[-1].raw_state}, {clock(denied[-1].at)}): its bill cannot hold it",
            f"订单 {order.order_id} 自 {clock(marked.at)} 起我方为已支付，渠道查无此交易（{denied[-1].raw_state}，"
            f"{clock(denied[-1].at)}），其对账单中不会有该笔",
            marked,
            denied[-1],
        )
    if any(e.get("bill") is not None for e in order.events):
        return _healthy("the order is in the channel's bill", "订单在渠道对账单中")
    return _absent("no line of the channel's bill is at hand", "没有渠道对账单数据")


def _not_found(facts: Facts) -> Verdict:
    order = facts.order
    asked = [*order.queries, *(e for a in order.attempts for e in a.events if e.not_found)]
    if not asked:
        return _absent("nobody has asked the channel about this order", "没有该订单的查单记录")
    denied = [e for e in asked if e.not_found]
    if not denied or facts.paid:
        return _healthy("the channel knows this order", "渠道存在该订单")
    created = order.attempts[0].first if order.attempts else None
    wait = timedelta(seconds=facts.thresholds.t_create)
    late = [e for e in denied if created is None or _time(e) - _time(created) > wait]
    if not late:
        return _healthy("the query came too soon after the create call", "查单距下单过近")
    failed = any(e.state == "FAILED" for a in order.attempts for e in a.events)
    return _found(
        f"the channel does not know order {order.order_id}: {late[-1].raw_state} at {clock(late[-1].at)}"
        + ("; the create call had failed" if failed else ""),
        f"渠道查无订单 {order.order_id}：{clock(late[-1].at)} 返回 {late[-1].raw_state}"
        + ("；下单请求已失败" if failed else ""),
        late[-1],
        created,
    )


def _other_payer(facts: Facts) -> Verdict:
    order = facts.order
    if any(e.get("gift") for e in order.events):
        return _healthy("another payer is allowed", "允许他人代付")
    if hints := facts.hints_for("R24"):
        return _found(
            f"a log line says that the payer of order {order.order_id} is not the one who ordered",
            f"日志显示订单 {order.order_id} 的付款人与下单人不一致",
            *order.callbacks[-1:],
            extra=hints,
        )
    ours = {v: e for e in order.events if e.entity in {"order", "attempt"} and (v := e.text("payer"))}
    theirs = {v: e for e in order.events if e.entity in {"callback", "query"} and (v := e.text("payer"))}
    if not ours or not theirs:
        return _absent("the payer is not named on both sides", "下单侧与渠道侧未同时给出付款人")
    odd = [e for v, e in theirs.items() if v not in ours]
    if odd:
        return _found(
            f"the payer in the {odd[0].entity} of order {order.order_id} at {clock(odd[0].at)} is not the one of the order",
            f"订单 {order.order_id} 在 {clock(odd[0].at)} 的{_ZH[odd[0].entity]}付款人与下单付款人不一致",
            odd[0],
            *ours.values(),
        )
    return _healthy("the payer is the same on both sides", "付款人一致")


def _downstream_not_told(facts: Facts) -> Verdict:
    order = facts.order
    if order.latest_state == "UNKNOWN":
        return _absent(*_NO_ORDER)
    if order.latest_state not in SHOP_PAID:
        return _healthy("the order is not paid, nothing is to be passed on", "订单未支付，无需下游通知")
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
        return _found(
            f"order {order.order_id} is paid, but the next system was not told ({bad[-1].get('downstream')}, {clock(bad[-1].at)})",
            f"订单 {order.order_id} 已支付，但下游通知为 {bad[-1].get('downstream')}（{clock(bad[-1].at)}）",
            bad[-1],
            order.latest,
        )
    if hints := facts.hints_for("R25"):
        return _found(
            f"order {order.order_id} is paid, but a log line says that the next system could not be told",
            f"订单 {order.order_id} 已支付，但日志显示下游通知未送达",
            order.latest,
            extra=hints,
        )
    if told:
        return _healthy("the next system was told", "下游已通知")
    return _absent("nothing says whether the next system was told", "没有下游通知结果")


def _rule(
    id_: str,
    names: tuple[str, str],
    fault: str,
    severity: Severity,
    actions: tuple[str, str],
    check: Callable[[Facts], Verdict],
) -> Rule:
    fault_class, subclass = fault.split("/")
    return Rule(
        id_, Text(en=names[0], zh=names[1]), fault_class, subclass, severity, Text(en=actions[0], zh=actions[1]), check
    )


# In the order of evaluation: money and identity, too much money, shop against channel, causes, refunds, the rest.
RULES: tuple[Rule, ...] = (
    _rule("R06", ("Amount mismatch", "金额不一致"), "order_state/amount_mismatch", "critical",
          ("Reject the callback and hold delivery; test for factor 100 and for zero-decimal currencies",
           "拒绝该回调并暂停发货；检查分/元换算与零小数币种"), _amounts),
    _rule("R07", ("Currency mismatch", "币种不一致"), "param_config/amount_currency", "high",
          ("Check the account's currency configuration", "检查账户币种配置"), _currencies),
    _rule("R13", ("Callback for another order", "回调串单"), "order_state/amount_mismatch", "critical",
          ("Drop the callback, alert security, answer by the channel's rule", "丢弃该回调并告警，按渠道规则应答"), _other_order),
    _rule("R04", ("Duplicate charge", "重复扣款"), "order_state/duplicate_charge", "critical",
          ("Refund the later charge; check retries with a new number after a time-out", "退还后一笔；排查超时换单号重试"),
          _duplicate_charge),
    _rule("R05", ("Duplicate capture", "重复请款"), "order_state/auth_capture_conflict", "high",
          ("Stop the capture job and refund the excess", "停止请款任务并退还多收部分"), _duplicate_capture),
    _rule("R16", ("Over-refund", "超额退款"), "order_state/refund_conflict", "critical",
          ("Stop the refund job; check concurrent refunds with different numbers", "停止退款任务；检查不同单号的并发退款"),
          _over_refund),
    _rule("R02", ("Order paid, channel not paid", "订单已支付渠道未支付"), "order_state/state_conflict", "critical",
          ("Freeze delivery; find who wrote the state: a browser's result is never proof", "冻结发货；查明状态由谁写入，前端结果不可作为依据"),
          _paid_without_channel),
    _rule("R03", ("Paid after cancel or close", "取消后支付"), "order_state/paid_after_cancel", "high",
          ("Refund in full or reopen; check that the order was closed at the channel", "全额退款或恢复订单；检查渠道关单是否调用"),
          _paid_after_cancel),
    _rule("R01", ("Channel paid, order still open", "渠道已支付订单未更新"), "order_state/paid_not_updated", "high",
          ("Query, then compensate the order to paid; look at the callback path for the cause", "查单后补偿订单为已支付；沿回调链路查因"),
          _paid_not_updated),
    _rule("R08", ("Callback missing", "未收到回调"), "order_state/notify_missing", "high",
          ("Check notify URL, DNS, firewall list and WAF; compensate by query", "检查回调地址、DNS、防火墙白名单与WAF；查单补偿"),
          _callback_missing),
    _rule("R09", ("Callback signature failed", "回调验签失败"), "signature_cert/notify_sign_failed", "high",
          ("Check certificate rotation, callback key and raw-body handling", "检查证书轮换、回调密钥与原始报文处理"),
          _callback_signature),
    _rule("R10", ("Callback answered wrongly", "回调应答失败"), "internal_fault/code_exception", "medium",
          ("Answer first, process later; fix the handler's exception", "先应答后处理；修复处理程序异常"), _callback_answer),
    _rule("R11", ("Callback received, order unchanged", "回调成功未入账"), "internal_fault/db_error", "high",
          ("Follow the trace id for a lock, a rollback or a lost message", "按链路号排查锁、回滚与消息丢失"),
          _callback_without_effect),
    _rule("R14", ("Refund stuck", "退款卡单"), "order_state/refund_stuck", "medium",
          ("Query the refund; if abnormal, use the abnormal-refund interface or a bank transfer", "查询退款；如异常则走异常退款接口或转账"),
          _refund_stuck),
    _rule("R15", ("Refund states differ", "退款状态不符"), "order_state/refund_conflict", "high",
          ("Sync by refund query; keep the same refund number when repeating", "以退款查询同步；重试沿用原退款单号"), _refund_differs),
    _rule("R12", ("Callback out of order", "回调乱序"), "order_state/state_conflict", "medium",
          ("Apply forward transitions only; query again", "只接受正向状态迁移；重新查单"), _out_of_order),
    _rule("R17", ("Pending too long", "长时间处理中"), "pending/processing", "medium",
          ("Query; never start a new charge before a final answer", "查单；未得最终结果前不得重新扣款"), _pending_too_long),
    _rule("R18", ("Time-out, then retry with a new number", "超时换单重试"), "duplicate_idempotency/duplicate_order_no", "high",
          ("Query the first attempt; use an idempotency key or the same number", "先查询首次支付；使用幂等键或原单号"),
          _retried_with_new_number),
    _rule("R19", ("Same number, changed data", "同号不同参"), "duplicate_idempotency/idempotency_conflict", "medium",
          ("Close the old order at the channel and place it with a new number", "在渠道关闭旧单并换新单号下单"), _same_number_changed),
    _rule("R20", ("Order closed too early", "过早关单"), "order_state/paid_after_cancel", "medium",
          ("Close at the channel first, then here", "先在渠道关单，再关本地订单"), _closed_early),
    _rule("R21", ("Authorisation about to lapse", "授权即将过期"), "order_state/auth_capture_conflict", "low",
          ("Capture or void", "请款或撤销授权"), _authorisation_expiring),
    _rule("R22", ("Not in the channel's bill", "对账单缺失"), "order_state/order_not_found", "high",
          ("Check by hand; hold the accounting entry", "人工核查；入账挂起"), _not_in_bill),
    _rule("R23", ("Channel knows no such order", "渠道查无此单"), "order_state/order_not_found", "medium",
          ("Check merchant id and environment, then create again", "检查商户号与环境，再重新下单"), _not_found),
    _rule("R24", ("Paid by another payer", "付款人不符"), "merchant_account/binding_mismatch", "medium",
          ("Hold the order and contact the payer", "挂起订单并联系付款人"), _other_payer),
    _rule("R25", ("Next system not told", "下游未通知"), "internal_fault/mq_push_failed", "medium",
          ("Replay the notification", "重放通知"), _downstream_not_told),
)  # fmt: skip
BY_ID: Mapping[str, Rule] = {rule.id: rule for rule in RULES}

# symptom -> the rules that explain it when they are found too, and how much of the symptom's strength is left. An order
# that is rightly held for wrong money also looks "not updated"; that must not outweigh the reason.
_MONEY = ("R06", "R07", "R13", "R24")
_CAUSES: Mapping[str, Mapping[str, float]] = {
    "R01": {**dict.fromkeys(_MONEY, 0.4), "R12": 0.4, "R08": 0.85, "R09": 0.6, "R10": 0.7, "R11": 0.7},
    "R08": {**dict.fromkeys(_MONEY, 0.4)},
    "R10": {**dict.fromkeys(_MONEY, 0.4)},
    "R11": {**dict.fromkeys(_MONEY, 0.3), "R12": 0.3},
    "R04": {"R05": 0.5, "R18": 0.85},
    "R02": {"R22": 0.8},
    "R17": {"R12": 0.5, "R23": 0.6},
    "R23": {"R22": 0.8},
    "R14": {"R15": 0.6},
}


def evaluate(
    order: Order,
    *,
    now: datetime,
    thresholds: Thresholds,
    logs_hint: Collection[LogHint] | None = None,
    slow_method: bool = False,
) -> list[RuleResult]:
    """Every rule's answer for `order` at `now` (aware), in the order of evaluation.

    `logs_hint` holds log lines that speak for a rule (`read_hints`); `slow_method` says that the ticket or the logs name a
    method whose money needs days.
    """
    facts = Facts(order, now.astimezone(UTC), thresholds, tuple(logs_hint or ()), slow_method)
    verdicts = {rule.id: rule.check(facts) for rule in RULES}
    hit = {rule_id for rule_id, verdict in verdicts.items() if verdict.outcome == "found"}
    return [_result(rule, verdicts[rule.id], hit) for rule in RULES]


def anything_found(order: Order, *, now: datetime, thresholds: Thresholds) -> bool:
    """Whether any rule finds something at `order`, as `evaluate` would without log lines; it stops at the first."""
    facts = Facts(order, now.astimezone(UTC), thresholds)
    return any(rule.check(facts).outcome == "found" for rule in RULES)


def _result(rule: Rule, verdict: Verdict, hit: Collection[str]) -> RuleResult:
    if verdict.outcome != "found":
        why_not = verdict.statement if verdict.outcome == "not_evaluated" else None
        return RuleResult(rule, verdict.outcome, verdict.statement, why_not=why_not)
    causes = {cause: left for cause, left in _CAUSES.get(rule.id, {}).items() if cause in hit}
    strength = (rule.strength if verdict.strength is None else verdict.strength) * min(causes.values(), default=1.0)
    statement = verdict.statement
    if causes:
        named = [BY_ID[c] for c in sorted(causes)]
        statement = Text(
            en=f"{statement.en}. Explained by {', '.join(f'{r.id} ({r.name.en.lower()})' for r in named)}",
            zh=f"{statement.zh}。原因见{'、'.join(f'{r.id}（{r.name.zh}）' for r in named)}",
        )
    return RuleResult(
        rule, "found", statement, verdict.cites, strength=round(strength, 4), causes=tuple(sorted(causes))
    )


__all__ = [
    "BY_ID",
    "RULES",
    "SHOP_PAID",
    "Facts",
    "LogHint",
    "Rule",
    "RuleResult",
    "Verdict",
    "anything_found",
    "cite",
    "evaluate",
    "spell",
]
