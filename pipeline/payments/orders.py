"""One order with everything that happened to it, and what follows from that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from pipeline.faults import ENDED_WITHOUT_MONEY, OPEN, PAID_LIKE
from pipeline.faults.tables import channel_key
from pipeline.figures import format_money
from pipeline.payments.attempts import Attempt
from pipeline.payments.events import Event
from pipeline.payments.refunds import Refund

Outcome = Literal["paid", "failed", "open", "refunded", "closed", "unknown"]

# Methods whose money needs days: the attempt is rightly "processing" for that long.
_SLOW = (
    "banktransfer", "wiretransfer", "wire", "transfer", "sepa", "iban", "ach", "bacs", "echeck", "cheque", "voucher", "boleto",
    "konbini", "oxxo", "multibanco", "payatm", "giropay", "directdebit", "prepayment", "invoice", "offline",
    "银行转账", "转账", "汇款", "电汇", "对公", "便利店", "支票",
)  # fmt: skip
# Methods where no channel takes the money, so that nothing there can say "paid".
_NO_CHANNEL = (
    "cod", "cashondelivery", "cash", "storecredit", "giftcard", "balance", "offline", "manual", "points", "free", "bacs",
    "cheque", "purchaseorder", "invoice", "货到付款", "余额支付", "线下",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """One order with everything that happened to it. All tuples are in order of time."""

    order_id: str
    system: str | None
    channel: str | None
    customer_id: str | None
    phone_tail: str | None
    amount_minor: int | None
    currency: str | None
    created_at: datetime | None
    # Every row, then the rows of the order itself.
    events: tuple[Event, ...]
    own: tuple[Event, ...]
    attempts: tuple[Attempt, ...]
    callbacks: tuple[Event, ...]
    queries: tuple[Event, ...]
    refunds: tuple[Refund, ...]
    # Rows that said the same as another, to the microsecond.
    duplicates: int = 0

    @property
    def latest(self) -> Event | None:
        """The order's last row of its own."""
        return self.own[-1] if self.own else None

    @property
    def latest_state(self) -> str:
        """The order's state in the shop; UNKNOWN without rows of its own."""
        return self.own[-1].state if self.own else "UNKNOWN"

    def state_at(self, moment: datetime) -> str | None:
        """The order's state in the shop at `moment` (aware); None before its first row."""
        return next((e.state for e in reversed(self.own) if e.at is not None and e.at <= moment), None)

    def first_time(self, states: Collection[str]) -> Event | None:
        """The order's first row in one of `states`."""
        return next((e for e in self.own if e.state in states), None)

    @property
    def money(self) -> str:
        """The order's amount as a person writes it."""
        return format_money(self.amount_minor, self.currency)

    @cached_property
    def methods(self) -> frozenset[str]:
        """Every payment method that a row names, lower case, letters and digits only (Chinese as it is)."""
        return frozenset(_squeezed(m) for e in self.events if (m := e.text("method")))

    @cached_property
    def slow_method(self) -> bool:
        """Whether the money needs days: bank transfers, vouchers, e-checks, or a channel that says "asynchronous"."""
        if any(word in method for method in self.methods for word in _SLOW):
            return True
        # Adyen gives Pending and PresentToShopper only for payments that end outside the checkout.
        return any(
            channel_key(e.channel) == "adyen"
            and e.raw_state.casefold() in {"pending", "presenttoshopper"}
            and e.entity != "order"
            for e in self.events
        )

    @cached_property
    def without_channel(self) -> bool:
        """Whether nothing is to be paid through a channel: cash on delivery, store credit, nothing to pay."""
        names = {*self.methods, _squeezed(self.channel or "")}
        return self.amount_minor == 0 or bool(names & set(_NO_CHANNEL))

    @cached_property
    def refunded_minor(self) -> int:
        """What went back or is going back."""
        return sum(
            r.amount_minor or 0 for r in self.refunds if r.state in {"REFUNDED", "PARTIALLY_REFUNDED", "REFUND_PENDING"}
        )

    @cached_property
    def unknown_states(self) -> tuple[tuple[str, str, str], ...]:
        """Raw states that nothing explains, as (entity, vocabulary, raw state), each once."""
        return tuple(
            sorted(
                {
                    (e.entity, (self.system if e.entity == "order" else e.channel) or "?", e.raw_state)
                    for e in self.events
                    if not e.known
                }
            )
        )

    def outcome(self, now: datetime | None = None) -> Outcome:
        """How the order ended, as the shop and the channel have it together, seen at `now` (default: with all rows)."""
        state = self.latest_state if now is None else (self.state_at(now) or "UNKNOWN")
        back = [r for r in self.refunds if r.state in {"REFUNDED", "PARTIALLY_REFUNDED"}]
        if state in {"REFUNDED", "REFUND_PENDING", "PARTIALLY_REFUNDED"} or (state in PAID_LIKE and back):
            return "refunded"
        if state in PAID_LIKE:
            return "paid"
        if state in {"CANCELLED", "CLOSED"}:
            return "closed"
        if state == "FAILED":
            return "failed"
        if state in OPEN or state == "AUTHORIZED":
            ended = bool(self.attempts) and all(a.state in ENDED_WITHOUT_MONEY for a in self.attempts)
            return "failed" if ended else "open"
        return "unknown"


def unknown_states(orders: Iterable[Order]) -> Mapping[tuple[str, str, str], int]:
    """How many orders hold each raw state that nothing explains, by (entity, vocabulary, raw state)."""
    counts: dict[tuple[str, str, str], int] = {}
    for order in orders:
        for key in order.unknown_states:
            counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))


def _squeezed(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())
