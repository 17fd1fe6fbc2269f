"""Retries and duplicates: the same order tried again, submitted twice, or under a number that another order has.

The order rules say when a retry took money twice (R04, R05) or followed a time-out under a new number (R18), or when a
number was sent again with other data (R19). Here stands the rest: how often and how fast it was tried again, whether a
retry worked, two submits within seconds, and one number on two orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from pipeline.evidence.case import Case, clip
from pipeline.faults.states import ENDED_WITHOUT_MONEY
from pipeline.figures import clock, spell
from pipeline.flows import tried
from pipeline.payments.attempts import Attempt
from pipeline.payments.orders import Order
from pipeline.values import Found, Seen
from snapshots.model import Check, Text

# A person does not pay twice on purpose within so short a time.
_DOUBLE = timedelta(seconds=5)
# The same line about one order at least so often is a loop, where it speaks of trying again or of trouble.
_LOOP = 3
_TRYING = r"(?i)\bretr(?:y|ies|ied|ying)\b|\battempts? #?\d|\battempt\b.{0,12}\d|\bagain\b|re-?(?:send|sent|submit|queued?)|backoff|重试|再次|重发|重新(?:发起|提交|下单|请求)|第 ?\d+ ?次"
_BAD = ("WARN", "ERROR", "FATAL")
# Intervals that each grow by at least this much back off.
_GROWING = 1.3
_CITES = 4
_QUOTED = 100


def detect(case: Case) -> Seen:
    """Findings about how often the ticket's orders were tried."""
    if not case.focus:
        statement = Text(en="retries: no order of this ticket is known", zh="重试：没有该工单的订单")
        return Seen(checks=(Check(id="retries", outcome="not_evaluated", statement=statement),))
    found = [
        f
        for order in case.focus
        for f in (
            *_tried_again(order),
            *_twice_at_once(case, order),
            *_later_order(case, order),
            *_shared_number(case, order),
        )
    ]
    found += _loops(case)
    attempts = sum(len(order.attempts) for order in case.focus)
    statement = Text(
        en=f"retries: {attempts} payment attempts of the ticket's orders",
        zh=f"重试：该工单的订单共有 {attempts} 次支付尝试",
    )
    return Seen(tuple(found), (Check(id="retries", outcome="found" if found else "healthy", statement=statement),))


# ---- attempts


def _tried_again(order: Order) -> Iterator[Found]:
    attempts = [a for a in order.attempts if a.first.at]
    if len(attempts) < 2:
        return
    gaps = _gaps(attempts)
    failed = [a for a in attempts if a.state in ENDED_WITHOUT_MONEY]
    worked = next((a for a in attempts if a.success and any(_begun(f) < _begun(a) for f in failed)), None)
    words, zh_words = ", ".join(spell(g)[0] for g in gaps[:4]), "、".join(spell(g)[1] for g in gaps[:4])
    ends = ", ".join(a.decisive.raw_state for a in attempts[:5])
    if worked is not None:
        same = all(a.channel == worked.channel for a in failed)
        yield Found(
            kind="retry.worked",
            statement=Text(
                en=f"order {order.order_id} was tried {len(attempts)} times ({ends}), {words} apart, and {worked.entity_id} went through",
                zh=f"订单 {order.order_id} 共支付 {len(attempts)} 次（{ends}），间隔 {zh_words}，其中 {worked.entity_id} 成功",
            ),
            cites=(
                (worked.success or worked.decisive).cited,
                *[a.decisive.cited for a in attempts if a is not worked][: _CITES - 1],
            ),
            strength=0.8,
            channel=order.channel,
            at=worked.first.at,
            # Keys and the account were the same for both.
            against=("signature_cert", "merchant_account") if same else (),
        )
        return
    yield Found(
        kind="retry.repeated",
        statement=Text(
            en=f"order {order.order_id} was tried {len(attempts)} times ({ends}), {words} apart",
            zh=f"订单 {order.order_id} 共支付 {len(attempts)} 次（{ends}），间隔 {zh_words}",
        ),
        cites=tuple(a.decisive.cited for a in attempts[:_CITES]),
        strength=0.9,
        channel=order.channel,
        at=attempts[-1].first.at,
    )


def _twice_at_once(case: Case, order: Order) -> Iterator[Found]:
    """Two attempts of the order, or two equal orders of its customer, begun within seconds."""
    pairs = [
        (a, b) for a, b in pairwise(order.attempts) if a.first.at and b.first.at and b.first.at - a.first.at <= _DOUBLE
    ]
    for first, second in pairs[:1]:
        gap = (second.first.at or case.now) - (first.first.at or case.now)
        # Where both took money rule R04 speaks.
        both = first.success is not None and second.success is not None
        yield _double(
            order,
            f"attempts {first.entity_id} and {second.entity_id} of order {order.order_id} began {gap.total_seconds():.1f} s apart",
            f"订单 {order.order_id} 的支付 {first.entity_id} 与 {second.entity_id} 相隔仅 {gap.total_seconds():.1f} 秒",
            (first, second),
            speaks=not both,
        )
    begun = tried(order)
    for other in case.orders.values():
        at = tried(other)
        if other.order_id == order.order_id or not order.customer_id or other.customer_id != order.customer_id:
            continue
        equal = other.amount_minor == order.amount_minor and order.amount_minor is not None
        if equal and begun and at and abs(at - begun) <= _DOUBLE and other.attempts and order.attempts:
            yield _double(
                order,
                f"the customer's orders {order.order_id} and {other.order_id} of {order.money} each began "
                f"{abs(at - begun).total_seconds():.1f} s apart",
                f"该客户的订单 {order.order_id} 与 {other.order_id}（均为 {order.money}）相隔仅 {abs(at - begun).total_seconds():.1f} 秒",
                (order.attempts[0], other.attempts[0]),
                speaks=True,
            )
            return


def _double(order: Order, en: str, zh: str, both: tuple[Attempt, Attempt], *, speaks: bool) -> Found:
    return Found(
        kind="retry.double_submit",
        statement=Text(en=f"submitted twice: {en}", zh=f"重复提交：{zh}"),
        cites=tuple(a.first.cited for a in both),
        supports="duplicate_idempotency" if speaks else None,
        subclass="duplicate_request" if speaks else None,
        strength=0.6,
        channel=order.channel,
        at=both[1].first.at,
    )


def _later_order(case: Case, order: Order) -> Iterator[Found]:
    """The customer tried anew with another order, and that went through."""
    begun = tried(order)
    if not begun or not order.customer_id or order.outcome() in ("paid", "refunded"):
        return
    later = [
        o
        for o in case.orders.values()
        if o.customer_id == order.customer_id and o.order_id in case.healthy and (at := tried(o)) and at > begun
    ]
    for other in sorted(later, key=lambda o: (tried(o) or begun, o.order_id))[:1]:
        span, zh_span = spell((tried(other) or begun) - begun)
        same = other.channel == order.channel
        took = next((a.success for a in other.attempts if a.success), other.events[-1])
        yield Found(
            kind="retry.worked",
            statement=Text(
                en=f"the same customer's order {other.order_id} by {other.channel} went through {span} later",
                zh=f"同一客户的订单 {other.order_id}（{other.channel}）于 {zh_span}后支付成功",
            ),
            cites=(took.cited, order.events[-1].cited),
            strength=0.8,
            channel=order.channel,
            at=other.created_at,
            against=("signature_cert", "merchant_account") if same else (),
        )


def _shared_number(case: Case, order: Order) -> Iterator[Found]:
    """One merchant number on two orders."""
    mine = {n: a for a in order.attempts for n in a.numbers if n != order.order_id}
    for other in case.orders.values():
        if other.order_id == order.order_id:
            continue
        theirs = {n: a for a in other.attempts for n in a.numbers if n != other.order_id}
        for number in sorted(mine.keys() & theirs.keys())[:1]:
            yield Found(
                kind="retry.number_reused",
                statement=Text(
                    en=f"number {number} stands on two orders: {order.order_id} ({clock(mine[number].first.at)}) and {other.order_id} "
                    f"({clock(theirs[number].first.at)})",
                    zh=f"单号 {number} 同时用于两个订单：{order.order_id}（{clock(mine[number].first.at)}）与 {other.order_id}"
                    f"（{clock(theirs[number].first.at)}）",
                ),
                cites=(mine[number].first.cited, theirs[number].first.cited),
                supports="duplicate_idempotency",
                subclass="duplicate_order_no",
                strength=0.8,
                channel=order.channel,
                at=mine[number].first.at,
            )
            return


def _begun(attempt: Attempt) -> float:
    return attempt.first.at.timestamp() if attempt.first.at else 0.0


def _gaps(attempts: list[Attempt]) -> list[timedelta]:
    moments = [a.first.at for a in attempts if a.first.at]
    return [b - a for a, b in pairwise(moments)]


# ---- lines


def _loops(case: Case) -> Iterator[Found]:
    """A line of trying again, or of trouble, that comes back for the same order; the longest loop first."""
    logs = case.material.logs
    followed = case.followed
    focus = [i for i, o in enumerate(followed.orders) if o.order_id in case.scope.focus_orders]
    rows = np.flatnonzero(np.isin(followed.owner, focus))
    if len(rows) < _LOOP:
        return
    codes = case.clusters.template_ids.indices.to_numpy(zero_copy_only=False)[rows]
    found, counts = np.unique(codes, return_counts=True)
    loops = sorted(zip((-counts).tolist(), found.tolist(), strict=True))
    for count, code in loops:
        if -count < _LOOP:
            return
        mine = rows[codes == code]
        taken = logs.take(pa.array(mine)).sort_by("@timestamp")
        body, level = taken.column("body")[0].as_py() or "", taken.column("log.level")[0].as_py()
        if not re2.search(_TRYING, body) and level not in _BAD:
            continue
        moments = [at for at in taken.column("@timestamp").to_pylist() if at]
        gaps = [b - a for a, b in pairwise(moments)]
        growing = len(gaps) >= 2 and all(b >= a * _GROWING for a, b in pairwise(gaps))
        how, zh_how = ("at growing intervals", "间隔递增") if growing else ("", "")
        words, zh_words = ", ".join(spell(g)[0] for g in gaps[:4]), "、".join(spell(g)[1] for g in gaps[:4])
        quote = clip(" ".join(body.split()), _QUOTED)
        service = taken.column("service.name")[0].as_py()
        # Only the template need repeat: where the lines differ, the quoted one stands for the rest.
        alike = len(set(taken.column("body").to_pylist())) == 1
        often, zh_often = (
            (f"{len(mine)} times", f"{len(mine)} 次")
            if alike
            else (f"and {len(mine) - 1} more lines like it", f"及另外 {len(mine) - 1} 行类似日志")
        )
        ordered = mine[np.asarray(pc.sort_indices(logs.column("@timestamp").take(pa.array(mine))))]
        yield Found(
            kind="retry.repeated",
            statement=Text(
                en=f'{service or "-"} wrote "{quote}" {often} about this order{" " if how else ""}{how}: after {words}',
                zh=f"{service or '-'} 就该订单写出“{quote}” {zh_often}{'，' if zh_how else ''}{zh_how}，间隔 {zh_words}",
            ),
            cites=tuple(case.cite_log(row) for row in ordered[:_CITES].tolist()),
            strength=0.9,
            service=service,
            channel=case.channel,
            at=moments[0] if moments else None,
        )
        return
