"""What one rule says of one order: found, healthy, or that something is absent, with the rows that show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.payments.events import Event
from pipeline.values import Cited
from snapshots.model import Text

Outcome = Literal["found", "healthy", "not_evaluated"]
_MAX_CITES = 8


@dataclass(frozen=True)
class Verdict:
    """What one rule function says. `strength` replaces that of the rule's severity."""

    outcome: Outcome
    statement: Text
    cites: tuple[Cited, ...] = ()
    strength: float | None = None


def cite(*events: Event | None) -> tuple[Cited, ...]:
    """The rows as citations, each once, not more than a reader will open."""
    unique = dict.fromkeys(e.cited for e in events if e is not None)
    return tuple(unique)[:_MAX_CITES]


def found(
    en: str, zh: str, *events: Event | None, strength: float | None = None, extra: tuple[Cited, ...] = ()
) -> Verdict:
    """The rule's fault is there, and `events` and `extra` show it."""
    return Verdict("found", Text(en=en, zh=zh), (*cite(*events), *extra)[:_MAX_CITES], strength)


def healthy(en: str, zh: str) -> Verdict:
    """What the rule asks about is as it should be."""
    return Verdict("healthy", Text(en=en, zh=zh))


def absent(en: str, zh: str) -> Verdict:
    """An input of the rule is not there."""
    return Verdict("not_evaluated", Text(en=en, zh=zh))


NO_ATTEMPT = ("no payment attempt of this order is in the order events", "订单事件中没有该订单的支付尝试")
NO_ORDER = ("the shop's own state of this order is not in the order events", "订单事件中没有该订单在商城侧的状态")
NO_CALLBACK = ("no callback of this order is in the order events", "订单事件中没有该订单的回调")
NO_REFUND = ("this order has no refund", "该订单没有退款")


ENTITY_ZH: Mapping[str, str] = {
    "order": "订单",
    "attempt": "支付尝试",
    "callback": "回调",
    "query": "查单",
    "refund": "退款",
}
