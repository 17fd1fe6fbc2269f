"""Order rules: what the order events say about the ticket's own orders.

The rules themselves are in `pipeline/faults/rules`. Here they meet the case: log lines that tell what the events lack
are looked up, hits become findings, and an order that is simply paid, refunded or waiting becomes a finding as well,
since that is often the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from pipeline.evidence.case import cite_log
from pipeline.faults.rules.evaluation import RuleResult, evaluate
from pipeline.faults.rules.facts import Facts, LogHint
from pipeline.faults.rules.table import RULES
from pipeline.faults.rules.verdict import cite
from pipeline.faults.states import ENDED_WITHOUT_MONEY, SHOP_PAID
from pipeline.faults.thresholds import Thresholds
from pipeline.figures import clock, format_money, spell
from pipeline.payments.orders import Order
from pipeline.values import Cited, Found, Scope, Seen, Ticket
from snapshots.model import Check, Text

_WAITING = frozenset({"AWAITING_PAYMENT", "REQUIRES_ACTION"})


class _Settings(Protocol):
    @property
    def thresholds(self) -> Thresholds: ...


class OrderCase(Protocol):
    """What this detector reads of a case. Log lines are read where it has `material` and `focus_rows`."""

    @property
    def ticket(self) -> Ticket:
        """The ticket: its words tell whether the customer has paid, and by a slow method."""
        ...

    @property
    def scope(self) -> Scope:
        """The scope: its `focus_orders` are judged."""
        ...

    @property
    def orders(self) -> Mapping[str, Order]:
        """Every order that was collected, by id."""
        ...

    @property
    def settings(self) -> _Settings:
        """The settings: their `thresholds` are used."""
        ...

    @property
    def now(self) -> datetime:
        """The moment that ages count from, in UTC."""
        ...


# Log lines

# What a line must say for a rule that the order events alone cannot decide: a thing and, near it, what is wrong with it.
_DIFFERS = r"(?:不同|不符|不一致|不匹配|differ|mismatch|does ?n.t match|do(?:es)? not match|not (?:equal|the same)|!=|<>|another|other than)"
_LOST = r"(?:不在|缺失|缺少|没有|无此|未找到|查无|多出|missing|not in|not listed|absent|not found|no (?:row|line|entry|record)|lacks)"
_UNSENT = (
    r"(?:失败|超时|未送达|未通知|未推送|未收到|积压|死信|丢失|拒绝|fail|timed? ?out|timeout|undeliver|dead.?letter|dropped|gave up|"
    r"giving up|lost|refused|retries exhausted|no ack|not (?:sent|delivered|told|acked|acknowledged|published|reached)|"
    r"\b[45]0\d\b)"
)
_BILL = r"(?:对账|账单|reconcil|settlement (?:file|report)|\bbill\b|\brecon\b)"
_PATTERNS: Mapping[str, str] = {
    "R13": r"(?:out_?trade_?no|merchant.?order|merchant.?reference|app_?id|mch_?id|商户单号|商户号|回调.{0,12}单号).{0,60}"
    + _DIFFERS,
    "R22": f"{_BILL}.{{0,80}}{_LOST}|{_LOST}.{{0,40}}{_BILL}",
    "R24": r"(?:付款人|支付人|实名|payer|open_?id|buyer.?(?:id|email)|account.?holder|cardholder).{0,80}" + _DIFFERS,
    "R25": r"(?:下游|商户通知|通知商户|仓库|履约|推送|消息队列|投递|\berp\b|\bwms\b|\boms\b|downstream|merchant.?noti|notify.?merchant|"
    r"fulfil|warehouse|\bmq\b|kafka|rabbit|rocketmq|topic|outbox|publish).{0,80}" + _UNSENT,
}
_SLOW_WORDS = (
    r"bank ?transfer|wire transfer|\bsepa\b|iban\b|\bach\b|e-?check|e-?cheque|voucher|boleto|konbini|oxxo|multibanco|"
    r"pay at (?:a )?store|银行转账|对公转账|转账|汇款|电汇|网银打款"
)
# The customer says that money has left; the lookahead keeps "还没付款" and "not paid" out.
_SAYS_PAID = (
    r"付款了|付完款|付了款|付完钱|付完|已付款?|已经付|扣了?款|扣钱|钱扣|扣了|"
    r"\b(?:i|we|have|has|was|been|got|already) (?:paid|charged|debited)\b|card (?:was|is|may be) charged|money (?:is|was|has) (?:gone|left|taken)"
)
_SAYS_NOT_PAID = (
    r"没付|未付|没扫|没有付|还没支付|尚未支付|not (?:yet )?paid|did ?n.t pay|have ?n.t paid|not been charged"
)
# A ticket rarely has more lines; the rest tells nothing new about one order.
_MOST_LINES = 300
_MOST_HINTS = 3
_SHORTEST_NUMBER = 6


@cache
def _words(pattern: str) -> Any:
    return re2.compile(f"(?i){pattern}")


@dataclass(frozen=True)
class OrderLine:
    """A log line that names an order: its row in the logs table, its text, and how to cite it."""

    text: str
    cited: Cited


def own_numbers(order: Order) -> frozenset[str]:
    """Every number that names the order in logs: its id, its attempts', its refunds', and the channel's."""
    numbers = {order.order_id, *(n for a in order.attempts for n in a.numbers), *(r.entity_id for r in order.refunds)}
    return frozenset(numbers | {t for a in order.attempts if (t := a.channel_txn_id)})


def lines_of(logs: pa.Table, order: Order, rows: pa.Array | None = None) -> tuple[OrderLine, ...]:
    """The lines of `logs` (schema `parsers.tables.LOGS`) that hold one of the order's numbers, at most 300.

    `rows` (booleans, one a line) says which lines may be looked at.
    """
    # Short numbers occur by chance.
    numbers = sorted(n for n in own_numbers(order) if len(n) >= _SHORTEST_NUMBER)
    if not numbers or logs.num_rows == 0:
        return ()
    looked_at = np.arange(logs.num_rows) if rows is None else np.flatnonzero(rows.to_numpy(zero_copy_only=False))
    messages = logs.column("message") if rows is None else logs.column("message").take(pa.array(looked_at))
    hit = pc.fill_null(pc.match_substring_regex(messages, "|".join(map(re2.escape, numbers))), fill_value=False)
    chosen = looked_at[hit.to_numpy()][:_MOST_LINES].tolist()
    return tuple(OrderLine(logs.column("message")[row].as_py(), cite_log(logs, row)) for row in chosen)


def read_hints(lines: Iterable[OrderLine]) -> tuple[LogHint, ...]:
    """What `lines` say for R13, R22, R24 and R25, at most three lines a rule."""
    lines = tuple(lines)
    hints: list[LogHint] = []
    for rule, pattern in _PATTERNS.items():
        speaking = [line for line in lines if _words(pattern).search(line.text)]
        hints += [LogHint(rule, line.cited) for line in speaking[:_MOST_HINTS]]
    return tuple(hints)


def _said(ticket: Ticket) -> str:
    """All that the customer wrote."""
    more = json.dumps([dict(ticket.questionnaire), dict(ticket.custom_fields)], ensure_ascii=False, default=str)
    return f"{ticket.title}\n{ticket.description}\n{more}"


def names_slow_method(texts: Iterable[str]) -> bool:
    """Whether one of `texts` names a method whose money needs days."""
    return any(_words(_SLOW_WORDS).search(text) is not None for text in texts)


def says_paid(ticket: Ticket) -> bool:
    """Whether the customer says that the money is gone."""
    said = _said(ticket)
    return _words(_SAYS_PAID).search(said) is not None and _words(_SAYS_NOT_PAID).search(said) is None


# The detector


@dataclass(frozen=True)
class _Judged:
    """One focus order with the rules' answers and what stands beside the order events."""

    facts: Facts
    results: tuple[RuleResult, ...]
    lines: tuple[OrderLine, ...]
    says_paid: bool

    @property
    def order(self) -> Order:
        return self.facts.order

    @property
    def hits(self) -> tuple[RuleResult, ...]:
        return tuple(r for r in self.results if r.outcome == "found")

    def has(self, rule: str) -> bool:
        return any(r.rule.id == rule for r in self.hits)


def detect(case: OrderCase) -> Seen:
    """What the order events say about the ticket's own orders.

    One finding a hit (`order_rule.R04`), one for each order's state where that is an answer (`order_state.paid_ok`), and
    one check a rule over all focus orders.
    """
    judged = [_judge(case, case.orders[i]) for i in case.scope.focus_orders if i in case.orders]
    if not judged:
        nothing = Text(en="no order of this ticket is in the order events", zh="订单事件中没有该工单的订单")
        return Seen(
            checks=tuple(Check(id=f"order_rule.{r.id}", outcome="not_evaluated", statement=nothing) for r in RULES)
        )
    hits = [_as_found(j.order, r) for j in judged for r in j.hits]
    return Seen((*hits, *_states(judged)), tuple(_checks(judged)))


def _judge(case: OrderCase, order: Order) -> _Judged:
    thresholds, now = case.settings.thresholds, case.now.astimezone(UTC)
    lines = _lines(case, order)
    hints = read_hints(lines)
    slow = names_slow_method([_said(case.ticket), *(line.text for line in lines)])
    results = evaluate(order, now=now, thresholds=thresholds, logs_hint=hints, slow_method=slow)
    return _Judged(Facts(order, now, thresholds, hints, slow), tuple(results), lines, says_paid(case.ticket))


def _lines(case: OrderCase, order: Order) -> tuple[OrderLine, ...]:
    material, rows = getattr(case, "material", None), getattr(case, "focus_rows", None)
    if material is None:
        return ()
    return lines_of(material.logs, order, pa.array(rows) if rows is not None else None)


def _as_found(order: Order, result: RuleResult) -> Found:
    at = next((c.at for c in reversed(result.cites) if c.at is not None), None)
    return Found(
        kind=f"order_rule.{result.rule.id}",
        statement=_titled(result),
        cites=result.cites,
        supports=result.rule.fault_class,
        subclass=result.rule.subclass,
        strength=result.strength,
        channel=order.channel,
        at=at,
    )


def _titled(result: RuleResult) -> Text:
    name, said = result.rule.name, result.statement
    return Text(en=f"{name.en}: {said.en}", zh=f"{name.zh}：{said.zh}")


def _checks(judged: Sequence[_Judged]) -> Iterable[Check]:
    """One row a rule: found in any order, else healthy in any, else not evaluated."""
    for i, rule in enumerate(RULES):
        answers = [j.results[i] for j in judged]
        chosen = min(answers, key=lambda r: ("found", "healthy", "not_evaluated").index(r.outcome))
        yield Check(id=f"order_rule.{rule.id}", outcome=chosen.outcome, statement=_titled(chosen))


# How an order stands, where that is an answer


def _states(judged: Sequence[_Judged]) -> Iterable[Found]:
    """The orders' states. A good order says nothing for "all is well" while another one of the ticket is not."""
    found = [next((f for state in _STATES if (f := state(j)) is not None), None) for j in judged]
    well = all(f is not None and f.kind in _GOOD for f in found) and not any(j.hits for j in judged)
    for finding in found:
        if finding is not None:
            yield finding if well or finding.kind not in _GOOD else replace(finding, supports=None, subclass=None)


_GOOD = frozenset({"order_state.paid_ok", "order_state.refunded"})


def _state(
    judged: _Judged,
    kind: str,
    text: tuple[str, str],
    cites: tuple[Cited, ...],
    strength: float,
    supports: str | None = None,
) -> Found:
    fault_class, _, subclass = (supports or "").partition("/")
    last = judged.order.latest
    return Found(
        kind=f"order_state.{kind}",
        statement=Text(en=text[0], zh=text[1]),
        cites=cites,
        supports=fault_class or None,
        subclass=subclass or None,
        strength=strength,
        channel=judged.order.channel,
        at=last.at if last else None,
    )


def _refunded(judged: _Judged) -> Found | None:
    order = judged.order
    done = all(r.state in {"REFUNDED", "PARTIALLY_REFUNDED"} for r in order.refunds)
    if not order.refunds or not done or order.outcome() != "refunded" or judged.hits:
        return None
    back, last = format_money(order.refunded_minor, order.currency), order.refunds[-1].latest
    return _state(
        judged,
        "refunded",
        (
            f"order {order.order_id} of {order.money} was paid and {back} went back, last at {clock(last.at)}",
            f"订单 {order.order_id}（{order.money}）已支付，已退款 {back}，最近于 {clock(last.at)}",
        ),
        cite(*(a.success for a in judged.facts.paid), *(r.latest for r in order.refunds)),
        0.8,
        "success/approved",
    )


def _paid_ok(judged: _Judged) -> Found | None:
    order, paid, last = judged.order, judged.facts.paid, judged.order.latest
    if order.outcome() != "paid" or not paid or order.refunds or judged.hits or last is None:
        return None
    success = paid[-1].success
    told = [c for c in order.callbacks if c.verified and c.answered_ok][-1:]
    called = "".join(f", callback at {clock(c.at)}" for c in told)
    called_zh = "".join(f"，回调于 {clock(c.at)}" for c in told)
    at = clock(success.at if success else None)
    return _state(
        judged,
        "paid_ok",
        (
            (
                f"order {order.order_id} of {order.money} is paid: {paid[-1].entity_id} at {at}{called}, order {last.raw_state} at "
                f"{clock(last.at)}; shop and channel agree"
            ),
            (
                f"订单 {order.order_id}（{order.money}）已支付：{paid[-1].entity_id} 于 {at} 成功{called_zh}，订单于 {clock(last.at)} 为 "
                f"{last.raw_state}；商城与渠道一致"
            ),
        ),
        cite(success, *told, last),
        0.85 if told else 0.75,
        "success/approved",
    )


def _processing(judged: _Judged) -> Found | None:
    order, facts = judged.order, judged.facts
    moving = [a for a in order.attempts if a.state in {"PROCESSING", "UNKNOWN"} and a.decisive.known]
    if order.outcome() != "open" or facts.paid or not moving or judged.has("R17"):
        return None
    attempt, slow = moving[-1], facts.slow or order.slow_method
    span, span_zh = spell(facts.age(attempt.first))
    raw = attempt.decisive.raw_state
    return _state(
        judged,
        "processing",
        (
            f"attempt {attempt.entity_id} of order {order.order_id} ({attempt.first.money}) is {raw} for {span}"
            + ("; its method takes days" if slow else ""),
            f"订单 {order.order_id} 的支付 {attempt.entity_id}（{attempt.first.money}）为 {raw}，已{span_zh}"
            + ("；该支付方式需数日到账" if slow else ""),
        ),
        cite(attempt.first, attempt.decisive, order.latest),
        0.75 if slow or attempt.queries else 0.5,
        "pending/processing",
    )


def _waiting_payer(judged: _Judged) -> Found | None:
    order = judged.order
    if order.outcome() != "open" or judged.facts.paid or judged.hits or not order.attempts:
        return None
    attempt = order.attempts[-1]
    if attempt.state not in _WAITING:
        return None
    raw = attempt.decisive.raw_state
    logged = [x for x in judged.lines if raw in x.text and any(n in x.text for n in attempt.numbers)]
    asked = bool(attempt.queries) or bool(logged)
    # A first state that nobody asked about again may merely be the last thing that was written down.
    strength = 0.7 if attempt.state == "REQUIRES_ACTION" else 0.6 if asked else 0.35
    return _state(
        judged,
        "waiting_payer",
        (
            f"order {order.order_id} of {order.money} waits for the payer: {attempt.entity_id} is {raw} since "
            f"{clock(attempt.decisive.at)}, nothing was refused"
            + ("; yet the ticket says that money was taken" if judged.says_paid else ""),
            f"订单 {order.order_id}（{order.money}）等待用户操作：{attempt.entity_id} 自 {clock(attempt.decisive.at)} 起为 {raw}，无失败记录"
            + ("；但工单称已扣款" if judged.says_paid else ""),
        ),
        (*cite(attempt.decisive, order.latest), *(x.cited for x in logged[:2])),
        round(strength * (0.4 if judged.says_paid else 1.0), 4),
        "pending/user_action",
    )


def _failed(judged: _Judged) -> Found | None:
    order = judged.order
    ended = [a for a in order.attempts if a.state in ENDED_WITHOUT_MONEY]
    if not ended or judged.facts.paid or order.latest_state in SHOP_PAID:
        return None
    attempt = ended[-1]
    end = attempt.latest
    return _state(
        judged,
        "failed",
        (
            f"attempt {attempt.entity_id} of order {order.order_id} ({attempt.first.money}) ended {end.raw_state} at {clock(end.at)}"
            + (f", code {attempt.code}" if attempt.code else ""),
            f"订单 {order.order_id} 的支付 {attempt.entity_id}（{attempt.first.money}）于 {clock(end.at)} 以 {end.raw_state} 结束"
            + (f"，返回码 {attempt.code}" if attempt.code else ""),
        ),
        cite(end, order.latest),
        0.9,
    )


def _refund_failed(judged: _Judged) -> Found | None:
    order = judged.order
    refund = next((r for r in reversed(order.refunds) if r.state == "REFUND_FAILED"), None)
    if refund is None:
        return None
    end = refund.latest
    return _state(
        judged,
        "refund_failed",
        (
            f"refund {refund.entity_id} of order {order.order_id} ({end.money}) ended {end.raw_state} at {clock(end.at)}",
            f"订单 {order.order_id} 的退款 {refund.entity_id}（{end.money}）于 {clock(end.at)} 以 {end.raw_state} 结束",
        ),
        cite(end),
        0.9,
    )


# The first that applies speaks.
_STATES: tuple[Callable[[_Judged], Found | None], ...] = (
    _refunded,
    _paid_ok,
    _processing,
    _waiting_payer,
    _failed,
    _refund_failed,
)


__all__ = [
    "RULES",
    "LogHint",
    "OrderCase",
    "OrderLine",
    "RuleResult",
    "detect",
    "evaluate",
    "lines_of",
    "names_slow_method",
    "own_numbers",
    "read_hints",
    "says_paid",
]
