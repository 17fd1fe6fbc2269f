"""Every rule's answer for one order, the symptoms lowered where their cause was found too."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.faults.rules.facts import Facts, LogHint
from pipeline.faults.rules.table import BY_ID, RULES, Rule
from pipeline.faults.rules.verdict import Outcome, Verdict
from pipeline.faults.thresholds import Thresholds
from pipeline.payments.orders import Order
from pipeline.values import Cited
from snapshots.model import Text


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
