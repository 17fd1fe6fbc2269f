"""An order with what the rules ask of it, and the questions that several rules share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from pipeline.faults.rules.verdict import NO_ATTEMPT, NO_ORDER, Verdict, absent
from pipeline.faults.states import HELD, OPEN
from pipeline.faults.thresholds import Thresholds
from pipeline.payments.attempts import Attempt
from pipeline.payments.events import Event
from pipeline.payments.orders import Order
from pipeline.values import Cited


@dataclass(frozen=True)
class LogHint:
    """A log line that tells what the order events lack, for the rule that needs it."""

    rule: str
    cited: Cited


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
        return tuple(a for a in self.order.attempts if a.state in HELD and self.older(a.decisive, limit))

    @cached_property
    def paid(self) -> tuple[Attempt, ...]:
        """Attempts for which the channel has taken the money, in order of success."""
        good = [a for a in self.order.attempts if a.success is not None and a not in self.expiring]
        return tuple(sorted(good, key=lambda a: (time_of(a.success), a.entity_id)))

    def hints_for(self, rule: str) -> tuple[Cited, ...]:
        """The log lines that speak for `rule`."""
        return tuple(h.cited for h in self.hints if h.rule == rule)


def time_of(event: Event | None) -> datetime:
    """When `event` was; before all else where that is not known."""
    return event.at if event is not None and event.at is not None else datetime.min.replace(tzinfo=UTC)


def missing_sides(facts: Facts) -> Verdict | None:
    """Rules that compare shop and channel need both."""
    if not facts.order.attempts:
        return absent(*NO_ATTEMPT)
    return absent(*NO_ORDER) if facts.order.latest_state == "UNKNOWN" else None


def paid_behind(facts: Facts) -> Attempt | None:
    """The paid attempt that the order does not know of, if there is one: the common ground of R01 and R08 to R11."""
    order = facts.order
    state = order.latest_state
    if state not in OPEN and state != "FAILED":
        return None
    return next((a for a in facts.paid if a.state != "REFUNDED"), None)
