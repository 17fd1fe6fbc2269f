"""Which names stay readable, and the redactor that a document and a bundle are made with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from parsers.redaction.redactor import Redactor
    from pipeline.settings import Settings
    from pipeline.values import Scope, Ticket

# Identifiers without which engineers cannot go on. Phones, tails and devices are not among them.
KEPT = ("order_id", "out_trade_no", "channel_txn_id", "trace_id", "customer_id", "refund_id")


def known_names(settings: Settings, scope: Scope, ticket: Ticket) -> tuple[tuple[str, ...], dict[str, str]]:
    """The identifiers that stay whole, and those that are personal data themselves with what is shown instead.

    A number called an order's may be a card's, and some shops use a phone or a mail address as the customer's id: what a
    redactor would change were the identifier all that it is given, does not stay.
    """
    phones = scope.values("phone")
    hops = (name for hop in scope.hops if hop.via != "traces -> services" for name in hop.found)
    customer = (ticket.customer_id,) if ticket.customer_id else ()
    names = list(dict.fromkeys([*scope.values(*KEPT), *scope.focus_orders, *hops, *customer]))
    shown = settings.redaction.redactor().redact_array(pa.array(names, pa.string())).to_pylist()
    masked = {name: mask for name, mask in zip(names, shown, strict=True) if mask != name}
    # By its last four digits support finds an order. A number without a country's prefix has no shape to be known by.
    masked |= {phone: f"[phone:…{phone[-4:]}]" for phone in phones}
    return tuple(name for name in names if name not in masked), masked


def redactor_for(settings: Settings, scope: Scope, ticket: Ticket) -> Redactor:
    """A redactor as `settings` want it, for everything that is said of `ticket`."""
    allow, masked = known_names(settings, scope, ticket)
    return settings.redaction.redactor(allow, masked)


def redact_words(redactor: Redactor, texts: Iterable[str]) -> dict[str, str]:
    """Each text with its redacted form; a text that is there twice is counted once."""
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, redactor.redact_array(pa.array(distinct, pa.string())).to_pylist(), strict=True))
