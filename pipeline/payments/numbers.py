"""Merchant numbers: whether one is of the same make as an order's own."""

from __future__ import annotations

from collections.abc import Collection

from pipeline.payments.events import Event
from pipeline.payments.orders import Order


def _shape(number: str) -> tuple[bool, bool, bool]:
    return (any(c.isalpha() for c in number), any(c.isdigit() for c in number), any(not c.isalnum() for c in number))


def is_comparable(number: str, known: Collection[str]) -> bool:
    """Whether `number` is of the same make as our own: the same kinds of characters, and about as long."""
    return any(_shape(number) == _shape(own) and abs(len(number) - len(own)) <= 2 for own in known)


def foreign_number(order: Order, callback: Event) -> str | None:
    """The number in a callback of `order` that is none of the order's own, though of the same make; None when all is well."""
    number = callback.text("number")
    own = {order.order_id, *(n for a in order.attempts for n in a.numbers), *(r.entity_id for r in order.refunds)}
    own |= {n for r in order.refunds for e in r.events if (n := e.text("number"))}
    if number is None or number in own or not order.attempts:
        return None
    return number if is_comparable(number, {n for a in order.attempts for n in a.numbers}) else None
