"""Order events for tests: rows written as one line each."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pyarrow as pa

from parsers.tables import ORDER_EVENTS
from pipeline.faults import Thresholds
from pipeline.payments.orders import Order
from pipeline.payments.reading import read_orders
from pipeline.values import Ticket

START = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)  # a Wednesday


def row(
    minutes,
    entity,
    entity_id,
    state,
    amount=5000,
    currency="CNY",
    channel="wechatpay",
    order_id="SO1000001",
    **attributes,
):
    """One row, `minutes` after the start."""
    at = START + timedelta(minutes=minutes)
    return {
        "order_id": order_id,
        "entity": entity,
        "entity_id": order_id if entity == "order" else entity_id,
        "state": state,
        "amount_minor": amount,
        "currency": currency,
        "channel": channel,
        "occurred_at": at,
        "attributes": json.dumps(attributes, sort_keys=True) if attributes else None,
        "_source": "test",
        "_id": f"{order_id}/{entity}/{entity_id}/{state}/{minutes}",
    }


def own(minutes, state, **more):
    """A row of the order itself, in WooCommerce's words."""
    more.setdefault("shop_system", "woocommerce")
    return row(minutes, "order", None, state, **more)


def table(*rows):
    return pa.Table.from_pylist(list(rows), schema=ORDER_EVENTS)


def read(*rows, order_id="SO1000001") -> Order:
    return read_orders(table(*rows))[order_id]


def callback(minutes, number="P26000000000001", state="SUCCESS", verified=True, answer=200, **more):
    return row(
        minutes, "callback", f"cb_{number}", state, out_trade_no=number, verified=verified, http_answer=answer, **more
    )


def query(minutes, number="P26000000000001", state="SUCCESS", **more):
    return row(minutes, "query", f"q_{number}", state, out_trade_no=number, **more)


def attempt(minutes, state, number="P26000000000001", **more):
    return row(minutes, "attempt", number, state, **more)


def paid_order(order_id="SO1000001", number="P26000000000001", amount=5000):
    """A healthy order, from draft to paid."""
    more = {"order_id": order_id, "amount": amount}
    return [
        own(0, "checkout-draft", **more),
        own(0.1, "pending", **more),
        attempt(0.2, "NOTPAY", number, **more),
        attempt(0.5, "SUCCESS", number, channel_txn_id=f"42{number[1:]}", **more),
        callback(0.6, number, **more),
        own(0.7, "processing", **more),
    ]


def ticket(title="Problem", description="", hours=2.0):
    return Ticket("T1", title, description, START + timedelta(hours=hours))


def case(orders, *focus, hours=2.0, said="", logs=None):
    asked = ticket(description=said, hours=hours)
    more = {} if logs is None else {"material": SimpleNamespace(logs=logs)}
    return SimpleNamespace(
        ticket=asked,
        scope=SimpleNamespace(focus_orders=focus),
        orders=orders,
        settings=SimpleNamespace(thresholds=Thresholds()),
        now=asked.created_at,
        **more,
    )
