"""Callbacks: how the channel's notifications of the ticket's orders came, beside what the order rules say of them.

The rules (R08 to R13) judge the order events: missing, not verified, answered wrongly, without effect, out of order. Here
stands what they do not say: that a callback came and was taken, came again and again, came late against those of healthy
orders, or is told of by our handler's own lines though the order events hold none. A handler that throws a callback away
may be right to; so this speaks for a fault only where the order events lack what the lines show, or where a verified one
was thrown away and nobody says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from pipeline.evidence.case import Case, clip
from pipeline.faults.states import PAID_LIKE
from pipeline.figures import clock, spell
from pipeline.flows import names_of
from pipeline.payments.attempts import Attempt
from pipeline.payments.events import Event
from pipeline.payments.orders import Order
from pipeline.values import Cited, Found, Seen
from snapshots.model import Check, Text

# A word of its own: `notify-gate` and `webhook.shop.example` are names of services and hosts, `callback.received` an event.
_CALLBACK = (
    r"(?i)(?:^|[^\w-])(?:callback|webhook|ipn|itn|notification|notify|async[ _-]?notice)"
    r"(?:$|[^\w.-]|[.-](?:$|\W)|\.(?:received|accepted|handled|processed|verified|rejected|failed|success|ok|done)\b)"
    r"|(?:wechat_?notify|pay_?notify|alipay_?notify|(?:^|[^/])/notify)\w*(?:$|[^\w.-]|[.-](?:$|\W))"
    r"|\bevent [a-z_.]+ (?:for|of)\b|listener=|回调|异步通知|支付通知"
)
# Words of an answer that was expected, sent out, or never came.
_NOT_INBOUND = (
    r"(?i)notify_?url|return_?url|callback_?url|webhook_?url|\bno (?:callback|webhook|notification|ipn|event)|without (?:a )?(?:callback|notification)|(?:wait|poll)\w* (?:for|until)"
    r"|not (?:been )?(?:received|notified|arrived?)|(?:无|没有|未收到|未见|等待)[^。，,]{0,6}(?:回调|通知)|通知(?:商户|下游)|notify(?:ing)? (?:merchant|downstream|shop)|no event"
    # Counts of nothing: "入站 0", "0 inbound", "none received", "近 25 分钟 ... 0".
    r"|(?:\bno|\bzero|(?:^|[^\w.])0) (?:\w+ ){0,2}(?:inbound|incoming|received|callbacks?|webhooks?|notifications?|ipns?)\b"
    r"|\b(?:inbound|incoming|received|callbacks?|webhooks?|notifications?|ipns?)(?: count)?\s?[:=]?\s?(?:0(?:$|[^\w.])|none\b|zero\b)"
    r"|\b(?:none|nothing|never)(?: \w+)? (?:received|arrived?|came|come|inbound)\b|\b(?:callback|webhook|notification|ipn) (?:is |was )?(?:missing|absent|overdue)"
    r"|[无零]入站|未收到|没有?收到|未到达|未回调|未见|入站(?:数|量|请求|回调|通知)?\s?(?:[:：=为是]\s?)?(?:0(?:$|[^\w.])|[无零])"
    r"|(?:收到|回调|通知)(?:数|量|次数|请求)?\s?(?:[:：=为]\s?)?0(?:$|[^\w.])|(?:^|[^\w.])0 ?[条次个笔](?:入站|回调|通知)"
    r"|(?:近|最近|过去) ?\d+ ?(?:秒|分钟?|小时|天|s|min|h)[^。；;]{0,40}[^\w.]0(?:$|[^\w.])"
    r"|\b(?:last|past|in|within|for) \d+ ?(?:s|sec|m|min|h|hour)\w*\b[^.;]{0,40}[^\w.]0(?:$|[^\w.])"
)
_THROWN_AWAY = r"(?i)\b(?:thrown? away|discard(?:ed|ing)?|dropp(?:ed|ing)|ignor(?:ed|ing)|skipp(?:ed|ing)|reject(?:ed|ing)|refus(?:ed|ing)|not processed|dead.?letter)\b|丢弃|忽略|跳过|拒绝|未处理|作废"
# Why a callback is rightly not taken: its money, number or signature is wrong, or it was taken before.
_RIGHTLY = r"(?i)mismatch|differ|match|amount|currency|duplicate|already|repeat|stale|out of order|signature|\bsign\b|unknown|unsupported|test|不符|不一致|金额|币种|重复|已处理|已支付|验签|签名|乱序|未知|测试"
_WRONG_MONEY = r"(?i)mismatch|differ|amount.{0,20}(?:wrong|not)|不符|不一致|金额"
# Of these states a callback is due at once. Disputes and refunds come when they come.
_PAID = frozenset({"PAID", "PARTIALLY_PAID", "OVERPAID", "COMPLETED"})
# Healthy callbacks from which a usual delay can be told, and how much longer one must take to be late.
_ENOUGH = 3
_LATE_TIMES = 10.0
_LATE_LEAST = timedelta(minutes=1)
_CITES = 4
_QUOTED = 120


def detect(case: Case) -> Seen:
    """Findings about the callbacks of the ticket's own orders."""
    if not case.focus:
        statement = Text(en="callbacks: no order of this ticket is known", zh="回调：没有该工单的订单")
        return Seen(checks=(Check(id="callbacks", outcome="not_evaluated", statement=statement),))
    found: list[Found] = []
    for order in case.focus:
        found += [f for f in (_taken(order), _repeated(order), _late(case, order)) if f]
    found += _in_lines(case)
    count = sum(len(order.callbacks) for order in case.focus)
    statement = Text(
        en=f"callbacks: {count} of the ticket's orders are recorded", zh=f"回调：该工单的订单共记录 {count} 次回调"
    )
    return Seen(tuple(found), (Check(id="callbacks", outcome="found" if found else "healthy", statement=statement),))


# ---- in the order events


def _taken(order: Order) -> Found | None:
    """A callback that was verified and answered well: that side of the flow works."""
    good = [c for c in order.callbacks if c.verified and c.answered_ok]
    if not good:
        return None
    first = good[0]
    lag = _lag(order, first)
    after = f", {spell(lag)[0]} after the channel's success" if lag is not None else ""
    zh_after = f"，渠道成功后 {spell(lag)[1]}" if lag is not None else ""
    return Found(
        kind="callback.received",
        statement=Text(
            en=f"a callback {first.raw_state} of order {order.order_id} came at {clock(first.at)}{after}, was verified and answered "
            f"{first.get('answer')}",
            zh=f"订单 {order.order_id} 于 {clock(first.at)} 收到 {first.raw_state} 回调{zh_after}，验签通过并应答 {first.get('answer')}",
        ),
        cites=(first.cited,),
        strength=0.9,
        channel=order.channel,
        at=first.at,
        # Keys and certificates of this channel work, at least in this direction.
        against=("signature_cert",),
    )


def _repeated(order: Order) -> Found | None:
    """The channel calls again until it is answered well, at growing intervals."""
    for attempt in order.attempts:
        calls = [c for c in attempt.callbacks if c.at and c.state == attempt.callbacks[0].state]
        if len(calls) < 2:
            continue
        gaps = [b.at - a.at for a, b in pairwise(calls) if a.at and b.at]
        answers = list(dict.fromkeys(str(c.get("answer")) for c in calls if c.get("answer") is not None))
        answered = f", answered {', '.join(answers)}" if answers else ""
        zh_answered = f"，应答 {'、'.join(answers)}" if answers else ""
        spans = [spell(g) for g in gaps[:4]]
        return Found(
            kind="callback.repeated",
            statement=Text(
                en=f"the callback {calls[0].raw_state} of {attempt.entity_id} came {len(calls)} times, after "
                f"{', '.join(s[0] for s in spans)}{answered}",
                zh=f"{attempt.entity_id} 的 {calls[0].raw_state} 回调共 {len(calls)} 次，间隔 {'、'.join(s[1] for s in spans)}{zh_answered}",
            ),
            cites=tuple(c.cited for c in calls[:_CITES]),
            strength=0.9,
            channel=order.channel,
            at=calls[0].at,
        )
    return None


def _late(case: Case, order: Order) -> Found | None:
    first = _paid_callback(order)
    lag = _lag(order, first) if first else None
    others = [o for o in case.orders.values() if o.order_id in case.healthy and o.channel == order.channel]
    known = [(call, delay) for o in others if (call := _paid_callback(o)) and (delay := _lag(o, call)) is not None]
    usual = [delay for _, delay in known]
    if first is None or lag is None or len(usual) < _ENOUGH:
        return None
    middle = timedelta(seconds=median(u.total_seconds() for u in usual))
    if lag < _LATE_LEAST or lag < middle * _LATE_TIMES or lag <= max(usual):
        return None
    (span, zh_span), (often, zh_often) = spell(lag), spell(middle)
    return Found(
        kind="callback.late",
        statement=Text(
            en=f"the first callback of payment of order {order.order_id} came {span} after the channel's success; those of {len(usual)} "
            f"healthy orders of {order.channel} took {often} (median)",
            zh=f"订单 {order.order_id} 的首次支付回调在渠道成功后 {zh_span} 才到；{order.channel} {len(usual)} 个正常订单为 {zh_often}（中位数）",
        ),
        cites=(first.cited, *(call.cited for call, _ in known))[:_CITES],
        strength=0.8,
        channel=order.channel,
        at=first.at,
    )


def _paid_callback(order: Order) -> Event | None:
    return next((c for c in order.callbacks if c.at and c.state in _PAID), None)


def _lag(order: Order, callback: Event) -> timedelta | None:
    """From the channel's first word of success that is no callback to the callback."""
    attempt: Attempt | None = next((a for a in order.attempts if callback in a.callbacks), None)
    if attempt is None or callback.at is None:
        return None
    said = [e.at for e in (*attempt.events, *attempt.queries) if e.at and e.state in PAID_LIKE]
    return callback.at - min(said) if said and callback.at >= min(said) else None


# ---- in the lines


def _in_lines(case: Case) -> Iterator[Found]:
    """What our handlers wrote about callbacks of the ticket's orders."""
    logs = case.material.logs
    rows = np.flatnonzero(case.focus_rows)
    bodies = logs.column("body").take(pa.array(rows))
    inbound = pc.and_(
        pc.match_substring_regex(bodies, _CALLBACK), pc.invert(pc.match_substring_regex(bodies, _NOT_INBOUND))
    )
    rows = rows[np.asarray(pc.fill_null(inbound, fill_value=False).to_numpy(zero_copy_only=False), dtype=bool)]
    if not len(rows):
        return
    thrown = [r for r in rows.tolist() if re2.search(_THROWN_AWAY, logs.column("body")[r].as_py())]
    recorded = any(order.callbacks for order in case.focus)
    usual = sum(bool(o.callbacks) for o in case.orders.values() if o.order_id in case.healthy)
    if not recorded and usual >= _ENOUGH:
        named = _named(case, rows.tolist())
        yield _told(
            case,
            "callback.unrecorded",
            rows.tolist(),
            f"{_count(len(rows), _service(case, rows.tolist()))} of a callback of {named or 'this order'}, yet the "
            f"order events hold none, while {usual} healthy orders have theirs",
            f"{_service(case, rows.tolist())} 有 {len(rows)} 行日志提到 {named or '该订单'} 的回调，但订单事件中没有记录；"
            f"{usual} 个正常订单均有记录",
            "internal_fault",
        )
    if thrown:
        verified = any(c.verified for order in case.focus for c in order.callbacks)
        moved = all(order.outcome() in ("paid", "refunded") for order in case.focus)
        rightly = any(re2.search(_RIGHTLY, logs.column("body")[r].as_py()) for r in thrown)
        rightly = rightly or any(re2.search(_WRONG_MONEY, logs.column("body")[r].as_py()) for r in rows.tolist())
        yield _told(
            case,
            "callback.discarded",
            thrown,
            f'{_service(case, thrown)} did not take a callback: "{_quote(case, thrown[0])}"',
            f"{_service(case, thrown)} 未受理回调：“{_quote(case, thrown[0])}”",
            # Nothing was wrong with it that anybody says: something of ours stood in its way.
            "internal_fault" if verified and not moved and not rightly else None,
        )


def _count(lines: int, service: str) -> str:
    return f"a line of {service} tells" if lines == 1 else f"{lines} lines of {service} tell"


def _named(case: Case, rows: Sequence[int]) -> str | None:
    """The first number of the ticket's orders that stands in one of the lines that are cited."""
    own = sorted({name for order in case.focus for name in names_of(order)})
    bodies = [case.material.logs.column("body")[row].as_py() for row in rows[:_CITES]]
    return next((name for name in own if any(name in body for body in bodies)), None)


def _service(case: Case, rows: Sequence[int]) -> str:
    return case.material.logs.column("service.name")[rows[0]].as_py() or "-"


def _quote(case: Case, row: int) -> str:
    return clip(" ".join(case.material.logs.column("body")[row].as_py().split()), _QUOTED)


def _told(case: Case, kind: str, rows: Sequence[int], en: str, zh: str, supports: str | None) -> Found:
    cites: tuple[Cited, ...] = tuple(case.cite_log(row) for row in rows[:_CITES])
    return Found(
        kind=kind,
        statement=Text(en=en, zh=zh),
        cites=cites,
        supports=supports,
        subclass="internal_config" if supports else None,
        strength=0.5,
        service=cites[0].service,
        channel=case.channel,
        at=cites[0].at,
    )
