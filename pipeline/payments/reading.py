"""The table of order events -> orders: rows in normal states, each with the attempt or refund that it speaks of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.faults import is_shop_system, look_up_state
from pipeline.faults.tables import channel_key
from pipeline.payments.attempts import Attempt
from pipeline.payments.attributes import SPELLED
from pipeline.payments.events import Event, when
from pipeline.payments.numbers import is_comparable
from pipeline.payments.orders import Order
from pipeline.payments.refunds import Refund


def read_orders(order_events: pa.Table, order_ids: Collection[str] | None = None) -> dict[str, Order]:
    """The orders of an order-event table (`parsers.tables.ORDER_EVENTS`), all or those of `order_ids`, by id.

    The order of the rows does not matter. Rows without an order id are left out; rows that say the same as another are
    counted in `Order.duplicates`.
    """
    if order_ids is not None:
        wanted = pa.array(sorted(order_ids), pa.string())
        order_events = order_events.filter(pc.is_in(order_events.column("order_id"), value_set=wanted))
    by_order: dict[str, list[dict[str, Any]]] = {}
    for row in order_events.to_pylist():
        if row["order_id"]:
            by_order.setdefault(row["order_id"], []).append(row)
    return {order_id: _order(order_id, by_order[order_id]) for order_id in sorted(by_order)}


def _attributes(raw: str | None) -> Mapping[str, Any]:
    if not raw:
        return {}
    try:
        value = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _system(rows: list[tuple[dict[str, Any], Mapping[str, Any]]]) -> str | None:
    """The shop system: by an attribute of that meaning, else any attribute whose value is the name of one."""
    named: set[str] = set()
    guessed: set[str] = set()
    for row, attributes in rows:
        for key, value in attributes.items():
            if not isinstance(value, str):
                continue
            if SPELLED.get(channel_key(key)) == "system":
                named.add(value)
            elif row["entity"] == "order" and is_shop_system(value):
                guessed.add(value)
    known = {name for name in named if is_shop_system(name)}
    return min(known or guessed or named, default=None)


def _order(order_id: str, rows: list[dict[str, Any]]) -> Order:
    parsed = [(row, _attributes(row["attributes"])) for row in rows]
    system = _system(parsed)
    refund_ids = {row["entity_id"] for row in rows if row["entity"] == "refund" and row["entity_id"]}
    order_channel = min((row["channel"] for row in rows if row["channel"]), default=None)
    seen: dict[tuple[Any, ...], Event] = {}
    for row, attributes in parsed:
        event = _event(order_id, row, attributes, system, row["channel"] or order_channel, refund_ids)
        same = (
            event.entity, event.entity_id, event.raw_state, event.at, event.amount_minor, event.currency, row["channel"],
            row["attributes"],
        )  # fmt: skip
        if same not in seen or when(event) < when(seen[same]):
            seen[same] = event
    everything = tuple(sorted(seen.values(), key=when))
    return _assemble(order_id, system, everything, len(rows) - len(everything))


def _event(
    order_id: str,
    row: Mapping[str, Any],
    attributes: Mapping[str, Any],
    system: str | None,
    channel: str | None,
    refund_ids: Collection[str],
) -> Event:
    entity, entity_id, raw = row["entity"] or "order", row["entity_id"] or order_id, row["state"] or ""
    plain = Event(order_id, entity, entity_id, "UNKNOWN", raw, None, None, None, channel, attributes)
    # A query or callback that names a refund answers in the refund's words.
    named = {
        entity_id.partition("_")[2],
        plain.text("number"),
        *(str(v) for v in attributes.values() if isinstance(v, str)),
    }
    spoken_of = "refund" if entity in {"query", "callback"} and named & set(refund_ids) else entity
    fact = look_up_state(system, channel, spoken_of, raw)
    not_found = fact.not_found or (
        entity == "query"
        and plain.code is not None
        and (code := look_up_state(None, channel, "query", plain.code)).not_found
        and code.known
    )
    return Event(
        order_id=order_id,
        entity=entity,
        entity_id=entity_id,
        state=fact.state,
        raw_state=raw,
        at=row["occurred_at"].astimezone(UTC) if row["occurred_at"] else None,
        amount_minor=row["amount_minor"],
        currency=row["currency"].upper() if row["currency"] else None,
        channel=channel,
        attributes=attributes,
        known=fact.known,
        not_found=not_found,
        source=row.get("_source") or "",
        index=row.get("_index"),
        doc_id=row.get("_id"),
        file=row.get("log.file.path"),
        start=row.get("log.offset"),
        end=row["log.offset"] + row["log.length"]
        if row.get("log.offset") is not None and row.get("log.length") is not None
        else None,
    )


def _assemble(order_id: str, system: str | None, everything: tuple[Event, ...], duplicates: int) -> Order:
    own = tuple(e for e in everything if e.entity == "order")
    callbacks = tuple(e for e in everything if e.entity == "callback")
    queries = tuple(e for e in everything if e.entity == "query")
    by_attempt = _grouped(e for e in everything if e.entity == "attempt")
    by_refund = _grouped(e for e in everything if e.entity == "refund")
    spoken: dict[str, list[Event]] = {}
    for event in (*callbacks, *queries):
        if (target := _target(event, by_attempt, by_refund)) is not None:
            spoken.setdefault(target, []).append(event)
    attempts = tuple(
        Attempt(
            entity_id,
            events,
            tuple(e for e in spoken.get(entity_id, ()) if e.entity == "callback"),
            tuple(e for e in spoken.get(entity_id, ()) if e.entity == "query"),
        )
        for entity_id, events in by_attempt.items()
    )
    refunds = tuple(
        Refund(entity_id, events, tuple(spoken.get(entity_id, ()))) for entity_id, events in by_refund.items()
    )

    def first(meaning: str) -> str | None:
        return next((value for e in (*own, *everything) if (value := e.text(meaning))), None)

    return Order(
        order_id=order_id,
        system=system,
        channel=next((e.channel for e in (*own, *everything) if e.channel), None),
        customer_id=first("customer"),
        phone_tail=(first("phone_tail") or "")[-4:] or None,
        amount_minor=next((e.amount_minor for e in reversed(own) if e.amount_minor is not None), None),
        currency=next((e.currency for e in (*reversed(own), *everything) if e.currency), None),
        created_at=next((e.at for e in (*own, *everything) if e.at is not None), None),
        events=everything,
        own=own,
        attempts=attempts,
        callbacks=callbacks,
        queries=queries,
        refunds=refunds,
        duplicates=duplicates,
    )


def _grouped(events: Iterable[Event]) -> dict[str, tuple[Event, ...]]:
    """Events by entity id, in order of each one's first event."""
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(event.entity_id, []).append(event)
    return {entity_id: tuple(group) for entity_id, group in groups.items()}


def _target(
    event: Event, attempts: Mapping[str, tuple[Event, ...]], refunds: Mapping[str, tuple[Event, ...]]
) -> str | None:
    """The attempt or refund that a callback or query speaks of, by number, by the channel's number, by its own id.

    A callback whose payload names a number that is none of ours belongs to nothing: see rule R13.
    """
    numbers: dict[str, str] = {}
    for entity_id, events in (*attempts.items(), *refunds.items()):
        numbers[entity_id] = entity_id
        for own in events:
            for number in (own.text("number"), own.text("txn")):
                if number:
                    numbers.setdefault(number, entity_id)
    said = event.text("number")
    if said is not None and said != event.order_id:
        if said in numbers:
            return numbers[said]
        if is_comparable(said, attempts):
            return None
    if (txn := event.text("txn")) is not None and txn in numbers:
        return numbers[txn]
    # cb_P26…, q_P26…, P26…-callback: the event's id holds the attempt's.
    inside = [entity_id for entity_id in numbers.values() if entity_id in event.entity_id]
    if inside:
        return max(inside, key=lambda entity_id: (len(entity_id), entity_id))
    return next(iter(attempts)) if len(attempts) == 1 else None
