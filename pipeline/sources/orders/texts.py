"""What a database gives, as text: times, numbers and attributes alike whatever type the driver made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from snapshots.model import canonical_json


def as_text(name: str, values: Sequence[Any]) -> pa.Array:
    """One column of a page as text. What comes in one plain type, as nearly all do, is not looked at value by value."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {str}:
        return pa.array(values, pa.string())
    try:
        if kinds == {int}:
            return pa.array(values, pa.int64()).cast(pa.string())
        if kinds == {datetime} and name in {"occurred_at", "changed_at", "created_at"}:
            aware = {value.tzinfo is not None for value in values if value is not None}
            if len(aware) == 1:
                # Printed with a Z where it is a moment, without an offset where the parser must place it in a zone.
                return pa.array(values, pa.timestamp("us", "UTC" if aware.pop() else None)).cast(pa.string())
    except (pa.ArrowInvalid, OverflowError):
        pass  # a number beyond 64 bits
    text = {"occurred_at": _time, "changed_at": _time, "created_at": _time, "attributes": _json}.get(name, _amount)
    return pa.array(map(text, values), pa.string())


def plain_text(value: Any) -> str | None:
    """A value as text, bytes as the UTF-8 that they are."""
    if value is None:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _amount(value: Any) -> str | None:
    """A value as text: a whole number without a point, whatever type the database gave it."""
    if isinstance(value, Decimal | float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return _json(value)


def _time(value: Any) -> str | None:
    """A time as text; one without an offset keeps none, so that the parser gives it the configured zone."""
    if isinstance(value, datetime):
        return stamp(value) if value.tzinfo else value.isoformat()
    if isinstance(value, Decimal | float) and math.isfinite(value):
        # A fraction of a second or of a millisecond moves into the next unit, which the parser knows by its size.
        return str(int(value)) if value == int(value) else str(int(value * 1000))
    return plain_text(value)


def _json(value: Any) -> str | None:
    """Attributes as JSON text, from JSON, JSONB or text columns alike."""
    return canonical_json(value).decode() if isinstance(value, dict | list) else plain_text(value)


def stamp(moment: datetime) -> str:
    """A moment in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
