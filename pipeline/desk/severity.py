"""Severity P1 to P4 of one ticket, with its reasons: how many are touched, and what it means for them.

    words, fields, failing orders, diagnosis -> Facts -> row of the table -> Severity

The document's severity is what the ticket says by itself, so that equal inputs give equal bytes. What a storm of tickets
adds is `raised`: the note, the clock and the emergency room take that one (docs/severity.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.desk.calendar import calendar_of
from pipeline.desk.claims import as_seen
from pipeline.desk.grading_options import LEVELS, GradingOptions, Level
from pipeline.desk.moments import in_utc
from pipeline.desk.severity_table import AVAILABILITY, SIZES, Table, compiled, read_table
from pipeline.desk.worded import Worded, read_sentences
from snapshots.model import ProblemSnapshot, Severity, SeverityReason, SeverityScope, Text, Urgency

if TYPE_CHECKING:
    from pipeline.service.storms import Storm

# Characters of a ticket that are read for its words, and of the words that a reason repeats.
_READ = 20_000
_QUOTE = 40
_SIZE = {"several": ("several", "多位"), "batch": ("a batch of", "大批")}


@dataclass(frozen=True)
class Failing:
    """What fails beside the ticket's own orders, as far as it is the same trouble. `findings` are those that say so."""

    orders: int = 0
    customers: int = 0
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What the table decides on, and why each of it is believed."""

    scope: SeverityScope
    urgency: Urgency
    reasons: tuple[SeverityReason, ...] = ()
    ticket_level: Level | None = None


@dataclass
class _Gathered:
    """Facts as they come together; nothing that was said is ever taken back."""

    size: str = "one"
    customers: int = 1
    orders: int = 0
    availability: str = "question"
    money: bool = False
    security: bool = False
    contract: str = "standard"
    reasons: list[SeverityReason] = field(default_factory=list)

    def wider(self, size: str) -> None:
        self.size = max(self.size, size, key=SIZES.index)

    def worse(self, availability: str) -> None:
        self.availability = max(self.availability, availability, key=AVAILABILITY.index)

    def risk_money(self) -> None:
        """Money at risk: whoever fears for his money is not helped by what still works."""
        self.money = True
        self.worse("blocked")

    def because(self, en: str, zh: str, *findings: str) -> None:
        self.reasons.append(SeverityReason(statement=Text(en=en, zh=zh), findings=list(findings)))


def severity_of(
    snapshot: ProblemSnapshot,
    fields: Mapping[str, Any],
    failing: Failing,
    options: GradingOptions,
    *,
    with_meaning: bool = False,
) -> Severity:
    """The severity of the ticket of `snapshot`; `fields` are the ticket's own fields beside the questionnaire.

    `with_meaning` reads its sentences by what they mean, too, which can raise the level and needs the extra `meaning`. Raises
    `UsageError` for a table or a calendar that cannot be used.
    """
    table = read_table(options.severity)
    facts = facts_of(snapshot, fields, failing, table, with_meaning=with_meaning)
    return decide(facts, table, options, snapshot.ticket.system, datetime.fromisoformat(snapshot.ticket.created_at))


def decide(facts: Facts, table: Table, options: GradingOptions, system: str, start: datetime) -> Severity:
    """The level of `facts`, its reasons and its deadlines, which count from `start`."""
    row = table.decide(facts.scope, facts.urgency)
    level: Level = row.level if row else "P4"
    reasons = [SeverityReason(statement=row.reason)] if row else []
    if facts.ticket_level and LEVELS.index(facts.ticket_level) < LEVELS.index(level):
        level = facts.ticket_level
        reasons.insert(0, _said_by_ticket(level))
    respond_by, resolve_by = deadlines(level, options, system, start)
    return Severity(
        level=level,
        scope=facts.scope,
        urgency=facts.urgency,
        reasons=[*reasons, *facts.reasons],
        respond_by=in_utc(respond_by),
        resolve_by=in_utc(resolve_by),
        ticket_level=facts.ticket_level,
    )


def _said_by_ticket(level: Level) -> SeverityReason:
    told = Text(en=f"The ticket says {level}; that is never lowered.", zh=f"工单已定为 {level}，不予下调。")
    return SeverityReason(statement=told)


def set_by_ticket(severity: Severity, level: Level) -> Severity:
    """`severity` with a graver level that a person set in the ticket system; its deadlines are those that were."""
    reasons = [_said_by_ticket(level), *severity.reasons]
    return msgspec.structs.replace(severity, level=level, ticket_level=level, reasons=reasons)


def deadlines(level: Level, options: GradingOptions, system: str, start: datetime) -> tuple[datetime, datetime]:
    """Until when the level asks for an answer and for an end, in UTC."""
    calendar, term = calendar_of(options.calendar(system)), options.term(level)
    begun = start.astimezone(UTC)
    return calendar.deadline(begun, term, "respond"), calendar.deadline(begun, term, "resolve")


def raised(severity: Severity, storm: Storm | None, options: GradingOptions, system: str, at: datetime) -> Severity:
    """`severity` with what the ticket's storm counts: the same, or a graver one whose deadlines count from `at`.

    Orders count where the storm names no customer. The deadlines are never later than they were.
    """
    if storm is None or storm.tickets < 2:
        return severity
    table = read_table(options.severity)
    customers = max(severity.scope.customers, storm.customers)
    orders = max(severity.scope.orders, storm.orders)
    counted = max(customers, 0 if storm.customers else max(storm.orders, storm.tickets))
    size = max(severity.scope.size, table.scope.size(counted), key=SIZES.index)
    scope = SeverityScope(size=size, customers=customers, orders=orders)
    row = table.decide(scope, severity.urgency)
    if row is None or LEVELS.index(row.level) >= LEVELS.index(severity.level):
        return msgspec.structs.replace(severity, scope=scope)
    en = f"{storm.tickets} tickets of one cause: {storm.customers} customers, {storm.orders} orders."
    zh = f"同一原因已有 {storm.tickets} 张工单，涉及 {storm.customers} 位客户、{storm.orders} 个订单。"
    reasons = [SeverityReason(statement=row.reason), SeverityReason(statement=Text(en=en, zh=zh)), *severity.reasons]
    respond_by, resolve_by = deadlines(row.level, options, system, at)
    return msgspec.structs.replace(
        severity,
        level=row.level,
        scope=scope,
        reasons=reasons,
        respond_by=min(severity.respond_by, in_utc(respond_by)),
        resolve_by=min(severity.resolve_by, in_utc(resolve_by)),
    )


# ---- facts


def facts_of(
    snapshot: ProblemSnapshot, fields: Mapping[str, Any], failing: Failing, table: Table, *, with_meaning: bool = False
) -> Facts:
    """What the ticket's words, its fields, the failing orders and the diagnosis say."""
    found = _Gathered()
    answers = {**snapshot.ticket.questionnaire, **fields}
    text = _without(_text(snapshot), table)
    _read_words(found, text, table)
    _read_meaning(found, read_sentences(text) if with_meaning else [])
    _read_failing(found, failing, table)
    _read_orders(found, snapshot)
    _read_diagnosis(found, snapshot, table)
    _read_contract(found, answers, table)
    if found.availability == "question":
        found.because(
            "Neither the ticket nor the records speak of something that fails.", "工单与记录中都没有出现故障的说法。"
        )
    scope = SeverityScope(size=found.size, customers=found.customers, orders=found.orders)  # type: ignore[arg-type]
    urgency = Urgency(
        availability=found.availability,  # type: ignore[arg-type]
        money_at_risk=found.money,
        data_security=found.security,
        contract=found.contract,  # type: ignore[arg-type]
    )
    return Facts(scope, urgency, tuple(found.reasons), _ticket_level(answers, table))


def _text(snapshot: ProblemSnapshot) -> str:
    answers = [value for value in snapshot.ticket.questionnaire.values() if isinstance(value, str)]
    return as_seen("\n".join([snapshot.ticket.title, snapshot.ticket.description, *answers])[:_READ])


def _without(text: str, table: Table) -> str:
    for expression in table.words.ignore:
        text = compiled(expression, "ignore").sub(" ", text)
    return text


def _matches(text: str, table: Table, kind: str) -> Iterator[str]:
    expressions: tuple[str, ...] = getattr(table.words, kind)
    for expression in expressions:
        if (match := compiled(expression, kind).search(text)) is not None:
            yield " ".join(match[0].split())[:_QUOTE]


def _read_words(found: _Gathered, text: str, table: Table) -> None:
    found_in = (match for one in table.words.customers for match in compiled(one, "customers").finditer(text))
    counted = [int(match[1]) for match in found_in if match[1]]
    if counted and max(counted) > 1:
        found.customers = max(counted)
        found.wider(table.scope.size(found.customers))
        found.because(f"The ticket speaks of {max(counted)} customers.", f"工单提到 {max(counted)} 位客户。")
    for size in ("batch", "several"):
        if quote := next(_matches(text, table, size), None):
            found.wider(size)
            en, zh = _SIZE[size]
            found.because(f"The ticket speaks of {en} customers: “{quote}”.", f"工单提到{zh}客户：“{quote}”。")
            break
    if quote := next(_matches(text, table, "data_security"), None):
        found.security = True
        found.worse("impaired")
        found.because(f"The ticket speaks of data security: “{quote}”.", f"工单提到数据安全：“{quote}”。")
    if quote := next(_matches(text, table, "money_at_risk"), None):
        found.risk_money()
        found.because(f"The ticket speaks of money at risk: “{quote}”.", f"工单提到资金风险：“{quote}”。")
    if quote := next(_matches(text, table, "blocked"), None):
        found.worse("blocked")
        found.because(f"The ticket says that something cannot be done: “{quote}”.", f"工单称业务受阻：“{quote}”。")
    elif quote := next(_matches(text, table, "impaired"), None):
        found.worse("impaired")
        found.because(f"The ticket says that something goes wrong: “{quote}”.", f"工单称使用受影响：“{quote}”。")
    elif text.strip() and next(_matches(text, table, "question"), None) is None:
        found.worse("impaired")
        found.because("The ticket asks nothing: it reports something.", "工单没有提问，是在反映情况。")


# What each kind of sentence adds: how many, what it is for them, and how it is told.
_KINDS = {
    "security": ("one", "impaired", "data security", "数据安全"),
    "batch_blocked": ("batch", "blocked", "many who cannot pay or use the service", "大批客户无法支付或使用"),
    "batch_impaired": ("batch", "impaired", "many who are impaired", "大批客户受影响"),
    "several_blocked": ("several", "blocked", "several who cannot pay or use the service", "多位客户无法支付或使用"),
    "money": ("one", "impaired", "money at risk", "资金风险"),
    "one": ("one", "impaired", "something that goes wrong", "使用受影响"),
}


def _read_meaning(found: _Gathered, worded: Sequence[Worded]) -> None:
    """Adds what the sentences mean; those that change nothing any more are not told."""
    for one in worded:
        if one.kind not in _KINDS:
            continue
        size, availability, en, zh = _KINDS[one.kind]
        before = (found.size, found.availability, found.money, found.security)
        found.wider(size)
        found.worse(availability)
        if one.kind == "money":
            found.risk_money()
        found.security |= one.kind == "security"
        if before != (found.size, found.availability, found.money, found.security):
            quote, share = " ".join(one.sentence.split())[:_QUOTE], f"{one.probability:.0%}"
            found.because(
                f"By its meaning the ticket speaks of {en} ({share}): “{quote}”.",
                f"按语义判断，工单提到{zh}（{share}）：“{quote}”。",
            )


def _read_failing(found: _Gathered, failing: Failing, table: Table) -> None:
    if not failing.orders and failing.customers < 2:
        return
    found.orders = failing.orders
    found.customers = max(found.customers, failing.customers)
    counted = failing.customers or failing.orders
    size = table.scope.size(counted)
    if size == "one":
        return
    found.wider(size)
    whose = f", {failing.customers} customers" if failing.customers else ""
    zh_whose = f"，{failing.customers} 位客户" if failing.customers else ""
    found.because(
        f"{failing.orders} orders fail in the same way in the window{whose}.",
        f"时间窗内有 {failing.orders} 个订单同样失败{zh_whose}。",
        *failing.findings,
    )


def _read_orders(found: _Gathered, snapshot: ProblemSnapshot) -> None:
    """An order of the ticket that failed, and was not paid afterwards, blocks its customer."""
    unpaid = {order.order_id for order in snapshot.orders if order.focus and order.state in _UNPAID}
    failed = {a.order_id for a in snapshot.payment_attempts if a.entity == "attempt" and a.state == "FAILED"}
    # What was paid in another attempt, or so the channel says, is not unpaid, whatever the order shows.
    paid = {a.order_id for a in snapshot.payment_attempts if a.state in _TAKEN}
    cited = [one.id for one in snapshot.findings if one.kind == "order_state.failed" and one.about_focus]
    if not cited or not (unpaid & failed) - paid:
        return
    found.worse("blocked")
    found.because("The order's payment failed and it is not paid.", "订单支付失败，至今未付款。", *cited)


_TAKEN = frozenset({"PAID", "OVERPAID", "COMPLETED"})
_UNPAID = frozenset({"CREATED", "AWAITING_PAYMENT", "FAILED", "CLOSED", "CANCELLED", "UNKNOWN"})


def _read_diagnosis(found: _Gathered, snapshot: ProblemSnapshot, table: Table) -> None:
    diagnosis = snapshot.diagnosis
    if diagnosis.abstained or not diagnosis.fault_class:
        return
    names = {diagnosis.fault_class, f"{diagnosis.fault_class}/{diagnosis.fault_subclass}"}
    if names & set(table.faults.none):
        return
    cited = diagnosis.candidates[0].findings if diagnosis.candidates else []
    name = diagnosis.class_name or Text(en=diagnosis.fault_class, zh=diagnosis.fault_class)
    found.worse("impaired")
    found.because(f"A fault was located: {name.en}.", f"已定位故障：{name.zh}。", *cited)
    if names & set(table.faults.money_at_risk):
        found.risk_money()
        found.because("That fault puts the customer's money at risk.", "该故障涉及客户资金风险。", *cited)
    if names & set(table.faults.data_security):
        found.security = True
        found.because("That fault touches data security.", "该故障涉及数据安全。", *cited)


def _read_contract(found: _Gathered, answers: Mapping[str, Any], table: Table) -> None:
    keys = {value.casefold() for value in table.contract.key}
    for name, value in _named(answers, table.contract.fields):
        if str(value).strip().casefold() in keys:
            found.contract = "key"
            found.because(f"The field {name} names a key contract.", f"字段“{name}”为重点合同。")
            return


def _ticket_level(answers: Mapping[str, Any], table: Table) -> Level | None:
    """The gravest level that the ticket's own fields hold."""
    held = [level for _, value in _named(answers, table.ticket_level.fields) if (level := read_level(value))]
    return min(held, key=LEVELS.index, default=None)


def read_level(value: object) -> Level | None:
    """The level that a field's value means; other words than P1 to P4 and sev 1 to 4 mean none.

    >>> read_level("P2"), read_level("Sev-1 (critical)"), read_level("high")
    ('P2', 'P1', None)
    """
    match = compiled(r"^\W*(?:p|sev(?:erity)?|s)\W?([1-4])\b", "level").search(str(value))
    return LEVELS[int(match[1]) - 1] if match else None


def _named(answers: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    wanted = {name.casefold() for name in names}
    return ((name, value) for name, value in sorted(answers.items()) if name.strip().casefold() in wanted)
