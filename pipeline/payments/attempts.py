"""One payment attempt: what the channel did, as its own rows, the queries and the callbacks say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pipeline.faults import CHANNEL_MONEY, ENDED_WITHOUT_MONEY, OPEN, codes
from pipeline.faults.tables import channel_key
from pipeline.payments.events import Event, when

# Channels whose only word for a successful sale is "authorised": capture follows by itself unless it was switched off.
_SALE_IS_AUTHORISED = frozenset({"adyen"})
# After an attempt has been under way, these intents go back to "needs a payment method" to say that it failed.
_BACK_TO_METHOD = frozenset({"requires_payment_method"})


def _ended_by_code(event: Event) -> bool:
    """Whether the event's code says that the attempt is over, whatever the state beside it."""
    if event.code is None or event.channel is None:
        return False
    fact = codes().find(event.channel, event.code, "pay")
    return fact is not None and not (
        fact.fault_class in {"success", "pending", "unknown"}
        or fact.fault_subclass in {"timeout_unknown", "in_progress", "already_paid", "order_not_found"}
    )


@dataclass(frozen=True)
class Attempt:
    """All events of one payment attempt, with the callbacks and queries that speak of it."""

    entity_id: str
    events: tuple[Event, ...]
    callbacks: tuple[Event, ...] = ()
    queries: tuple[Event, ...] = ()

    @property
    def first(self) -> Event:
        """The attempt's first event."""
        return self.events[0]

    @property
    def latest(self) -> Event:
        """The attempt's last event of its own."""
        return self.events[-1]

    @cached_property
    def channel(self) -> str | None:
        """The channel it went through."""
        return next((e.channel for e in self.events if e.channel), None)

    @cached_property
    def code(self) -> str | None:
        """The last code that its own events carry."""
        return next((e.code for e in reversed(self.events) if e.code), None)

    @cached_property
    def channel_txn_id(self) -> str | None:
        """The channel's own number of the transaction."""
        rows = (*self.events, *self.queries, *self.callbacks)
        return next((txn for e in reversed(rows) if (txn := e.text("txn"))), None)

    @cached_property
    def numbers(self) -> frozenset[str]:
        """Every merchant number that names this attempt."""
        return frozenset({self.entity_id, *(n for e in self.events if (n := e.text("number")))})

    @cached_property
    def said(self) -> tuple[Event, ...]:
        """What can be believed about its state at the channel: own events, queries, and callbacks that were not refused."""
        believed = (*self.events, *self.queries, *(c for c in self.callbacks if c.verified is not False))
        return tuple(sorted((e for e in believed if not e.not_found), key=when))

    def means_money(self, event: Event) -> bool:
        """Whether `event` says that the channel has taken the payer's money."""
        return event.state in CHANNEL_MONEY or (
            event.state == "AUTHORIZED" and channel_key(self.channel) in _SALE_IS_AUTHORISED
        )

    @cached_property
    def decisive(self) -> Event:
        """The event that says how the attempt stands at the channel: the last one, but no open state undoes a final one."""
        standing = self.said[0] if self.said else self.first
        for event in self.said[1:]:
            final = standing.state not in OPEN and standing.state != "UNKNOWN"
            back = event.state in OPEN or event.state == "UNKNOWN"
            later_try = event.entity == "attempt" and standing.state in ENDED_WITHOUT_MONEY and event.state in OPEN
            if not (final and back) or later_try:
                standing = event
        return standing

    @cached_property
    def state(self) -> str:
        """How the attempt stands at the channel."""
        event = self.decisive
        if event.state not in OPEN and event.state != "UNKNOWN":
            return event.state
        if _ended_by_code(event):
            return "FAILED"
        began = [e for e in self.events if e.raw_state.casefold() not in _BACK_TO_METHOD]
        if (
            event.raw_state.casefold() in _BACK_TO_METHOD
            and event.entity == "attempt"
            and began
            and when(began[0]) < when(event)
        ):
            return "FAILED"
        return event.state

    @cached_property
    def success(self) -> Event | None:
        """The first believed event that says that the channel took the money, if it still stands so."""
        if not self.means_money(self.decisive):
            return None
        return next((e for e in self.said if self.means_money(e)), None)

    @cached_property
    def amount_minor(self) -> int | None:
        """What the channel took, or was asked to take."""
        event = self.success or self.latest
        return event.amount_minor if event.amount_minor is not None else self.first.amount_minor
