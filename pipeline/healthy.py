"""Healthy orders to compare with, found through the order source before any line is read.

Where a window holds more lines than can be fetched, those of healthy orders have to be asked for by name, as those of the
ticket are: a sample of the lines holds no order's whole story.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from pipeline.payments.health import is_healthy
from pipeline.payments.orders import Order
from pipeline.values import Scope, Ticket

if TYPE_CHECKING:
    from pipeline.settings import Settings

# Enough for an exact test to tell a difference, few enough to be asked for by name.
MOST = 12
# Orders that are looked at: the rules that say whether one is healthy cost a tenth of a millisecond each.
_LOOKED_AT = 60
_VERSIONS = ("app_version", "client_version", "version")


def healthy_orders(orders: Mapping[str, Order], scope: Scope, ticket: Ticket, settings: Settings) -> tuple[Order, ...]:
    """Up to `MOST` paid and consistent orders of the ticket's channel and version, the nearest in time first.

    Orders of another app version are taken only where the ticket's own names none. Orders outside incident and baseline
    are left out: their lines are not asked for.
    """
    focus = [orders[order_id] for order_id in scope.focus_orders if order_id in orders]
    if not focus:
        return ()
    channels = {order.channel for order in focus if order.channel}
    versions = {version for order in focus if (version := _version(order))}
    moments = [order.created_at for order in focus if order.created_at]
    middle = min(moments) if moments else scope.anchor
    start, end = min(scope.baseline.start, scope.window.start), scope.window.end

    def fits(order: Order) -> bool:
        created = order.created_at
        if created is None or not start <= created < end or order.order_id in scope.focus_orders:
            return False
        version = _version(order)
        return (not channels or order.channel in channels) and (not versions or version in versions)

    def distance(order: Order) -> tuple[timedelta, str]:
        return abs((order.created_at or middle) - middle), order.order_id

    now = ticket.created_at.astimezone(UTC)
    found = []
    for order in sorted(filter(fits, orders.values()), key=distance)[:_LOOKED_AT]:
        if is_healthy(order, now, settings.thresholds):
            found.append(order)
            if len(found) == MOST:
                break
    return tuple(found)


def identifiers_of(healthy: tuple[Order, ...]) -> dict[str, tuple[str, ...]]:
    """What a source is asked by for the lines of these orders: kind -> values."""
    orders = tuple(order.order_id for order in healthy)
    trades = (attempt.entity_id for order in healthy for attempt in order.attempts)
    found = {"order_id": orders, "out_trade_no": tuple(dict.fromkeys(trades))}
    return {kind: values for kind, values in found.items() if values}


def _version(order: Order) -> Any:
    for event in order.events:
        for name in _VERSIONS:
            if event.attributes.get(name):
                return event.attributes[name]
    return None
