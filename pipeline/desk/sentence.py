"""The customer's sentence: what was seen and what the customer can do now, in plain words, each clause with its evidence.

The sentences are those of `sentences.toml`; nothing of a log, an order or a ticket is put into them. Each clause cites
findings of the snapshot, and the claim guard (`pipeline/desk/claims.py`) looks at the whole before it is told: what it refuses
is left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from pipeline.desk.claims import Guard, check
from snapshots.model import Clause, CustomerMessage, Finding, ProblemSnapshot, Text

_FILE = Path(__file__).with_name("sentences.toml")
# How many findings a clause cites: the weightiest.
_CITED = 4
# States of an order in which it is paid, whatever an attempt before it came to.
_PAID = frozenset(
    {"PAID", "OVERPAID", "COMPLETED", "REFUNDED", "PARTIALLY_REFUNDED", "REFUND_PENDING", "REFUND_FAILED"}
)
# Classes whose own sentence says how it stands with the payment.
_OWN_STATE = frozenset({"order_state", "success", "pending", "duplicate_idempotency"})


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of the file."""


class Group(_Part, frozen=True, kw_only=True):
    """Faults, or kinds of findings that locate one, of which the same is said.

    `invites` is true where `now` speaks of paying, `unsettled` where such a fault leaves open whether money moved.
    """

    seen: Text
    now: Text
    faults: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    invites: bool = False
    unsettled: bool = False


class OrderSaid(_Part, frozen=True, kw_only=True):
    """What is said of an order where a finding of these kinds is there, and what its customer can do whatever failed.

    `unshown` is said in place of `said` where the order itself shows nothing of it.
    """

    kinds: tuple[str, ...]
    said: Text
    unshown: Text | None = None
    now: Text | None = None


class Sentences(Guard, frozen=True, kw_only=True):
    """The whole file."""

    groups: tuple[Group, ...]
    order: dict[str, OrderSaid]
    careful: Text
    unknown: Group

    def of(self, fault_class: str, subclass: str | None, cited: Sequence[Finding] = ()) -> Group | None:
        """What is said of a fault: by the kind of the findings that locate it, else the group that names it, or its class."""
        kinds = {one.kind for one in cited if (one.supports, one.subclass) == (fault_class, subclass)}
        if found := next((group for group in self.groups if kinds & set(group.kinds)), None):
            return found
        for name in (f"{fault_class}/{subclass}", fault_class):
            if found := next((group for group in self.groups if name in group.faults), None):
                return found
        return None


@lru_cache(maxsize=1)
def sentences() -> Sentences:
    """The shipped sentences."""
    return msgspec.convert(tomllib.loads(_FILE.read_text(encoding="utf-8")), Sentences)


def customer_message(snapshot: ProblemSnapshot) -> CustomerMessage | None:
    """What the customer of `snapshot`, which is graded, may be told; None where no finding has evidence for a word of it."""
    parts = [part for part in _parts(snapshot) if not check(_joined(part), snapshot, sentences())]
    # That an order failed, without what was seen and what can be done now, helps nobody.
    return _joined([clause for part in parts for clause in part]) if any(len(part) > 1 for part in parts) else None


def _parts(snapshot: ProblemSnapshot) -> Iterator[list[Clause]]:
    """What stands or falls together."""
    table, diagnosis = sentences(), snapshot.diagnosis
    cited = _proofs(snapshot)
    located = not diagnosis.abstained and diagnosis.fault_class
    group = (
        table.of(diagnosis.fault_class, diagnosis.fault_subclass, cited) if located and diagnosis.fault_class else None
    )
    own_state = diagnosis.fault_class in _OWN_STATE and bool(group and cited)
    states = dict(_of_order(snapshot, table)) if not own_state or (group and group.invites) else {}
    unshown = any(order.focus for order in snapshot.orders) and not _shown_paid(snapshot)
    for state, found in states.items() if not own_state else ():
        order = table.order[state]
        yield [_clause((unshown and order.unshown) or order.said, found)]
    if group is None or not cited:
        group = table.unknown
        proven = [one for one in snapshot.findings if one.evidence]
        cited = _first([one for one in proven if one.about_focus] or proven)
    if cited:
        yield [_clause(group.seen, cited), _now(snapshot, group, cited, states, table)]


def _now(
    snapshot: ProblemSnapshot,
    group: Group,
    cited: Sequence[Finding],
    states: Mapping[str, Sequence[Finding]],
    table: Sentences,
) -> Clause:
    """What the customer can do. Nobody whose money may have moved is sent to pay again before he has looked."""
    for state, found in states.items():
        if (now := table.order[state].now) is not None:
            return _clause(now, found)
    claimed = snapshot.severity is not None and snapshot.severity.urgency.money_at_risk
    careful = group.invites and (claimed or (group.unsettled and "failed" not in states))
    return _clause(table.careful if careful else group.now, cited)


def _proofs(snapshot: ProblemSnapshot) -> list[Finding]:
    """The findings of the located fault that have evidence and speak for it themselves."""
    diagnosis = snapshot.diagnosis
    if diagnosis.abstained or not diagnosis.candidates:
        return []
    named = set(diagnosis.candidates[0].findings)
    return _first(
        [one for one in snapshot.findings if one.id in named and one.evidence and one.supports == diagnosis.fault_class]
    )


def _first(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda one: (-one.weight, one.id))[:_CITED]


def _of_order(snapshot: ProblemSnapshot, table: Sentences) -> Iterator[tuple[str, list[Finding]]]:
    """How the ticket's order stands and which findings say so; of one that is paid nothing else is said."""
    proven = [one for one in snapshot.findings if one.about_focus and one.evidence]
    found = {state: [one for one in proven if one.kind in said.kinds] for state, said in table.order.items()}
    paid = bool(found["paid"]) or _shown_paid(snapshot)
    for state, cited in found.items():
        if cited and paid == (state == "paid"):
            yield state, _first(cited)


def _shown_paid(snapshot: ProblemSnapshot) -> bool:
    return any(order.focus and order.state in _PAID for order in snapshot.orders)


def _clause(said: Text, cited: Sequence[Finding]) -> Clause:
    refs = dict.fromkeys(evidence.ref for finding in cited for evidence in finding.evidence)
    return Clause(statement=said, findings=[one.id for one in cited], evidence=list(refs))


def _joined(clauses: Sequence[Clause]) -> CustomerMessage:
    return CustomerMessage(
        en=" ".join(one.statement.en for one in clauses),
        zh="".join(one.statement.zh for one in clauses),
        clauses=list(clauses),
    )
