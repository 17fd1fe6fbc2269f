"""Lines read by their shapes: of each shape a sample is read, and its plan tells where the values of all its lines are.

See `shapes.py` for what a shape is, and `parsers/lines` for how a line is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.distinct import buffers
from parsers.filling import NOTHING, Fill, mask_of, no_zeros, one_array
from parsers.hits import texts_at
from parsers.shapes import Plan, known, plan_of, sample, shaped
from parsers.tables import LOGS

# Columns whose value decides what is sought in the message.
_DECIDING = ("trace.id", "span.id", "error.type", "labels.order_id")
_TIMED = 1 << len(_DECIDING)
# Where a batch has less than one new shape in so many lines, each is worth a sample; else those with so many lines.
_FEW_SHAPES, LEAST = 4, 3

Read = Callable[[pa.Table], tuple[Fill, Any]]


def read_by_shape(picked: Any, read: Read) -> tuple[Fill, Any]:
    """What `read` gives for `picked`, read of each shape once.

    `read` gives what messages say, and their bodies; it seeks a time only where a row has none, so that plans know none.
    """
    message = one_array(picked.column("message"))
    size = len(message)
    flags = np.full(size, 64, dtype=np.uint8)
    for number, name in enumerate((*_DECIDING, "@timestamp")):
        flags |= pc.is_valid(picked.column(name)).to_numpy().astype(np.uint8) << number
    shapes = shaped(message, flags)
    plans = known()
    plan_of_shape = [plans.get(key) for key in shapes.keys]
    new = [number for number, key in enumerate(shapes.keys) if key not in plans and key[0] & _TIMED]
    if len(new) > size // _FEW_SHAPES:
        # What is rare here may well never come again.
        new = [number for number in new if shapes.counts[number] >= LEAST]
    for number, plan in zip(new, _plans([shapes.keys[number] for number in new], read), strict=True):
        plans[shapes.keys[number]] = plan_of_shape[number] = plan
    planned = [plan for plan in plan_of_shape if plan is not None]
    # The last is that of rows without a plan.
    of_shape = np.full(len(plan_of_shape) + 1, len(planned), dtype=np.int32)
    of_shape[[number for number, plan in enumerate(plan_of_shape) if plan is not None]] = np.arange(len(planned))
    of_row = of_shape[shapes.codes]
    fill = Fill(size)
    body = _by_plan(message, of_row, planned, fill)
    slow = np.flatnonzero(of_row == len(planned))
    if len(slow):
        others, rest = read(picked.take(pa.array(slow)))
        for name, values in others.columns.items():
            fill.put(name, slow, values)
        body = pc.replace_with_mask(body, mask_of(size, slow), rest)
    return fill, body


def _plans(keys: list[bytes], read: Read) -> list[Plan | None]:
    """The plan of each shape, from reading a sample of it."""
    if not keys:
        return []
    lines = [sample(key) for key in keys]
    flags = np.frombuffer(b"".join(key[:1] for key in keys), dtype=np.uint8)
    # A sample is of its shape, and so of one that is its own.
    again = shaped(pa.array(lines, pa.string()), flags)
    right = [code >= 0 and again.keys[code] == key for code, key in zip(again.codes.tolist(), keys, strict=True)]
    columns = {field.name: pa.nulls(len(keys), field.type) for field in LOGS}
    columns["message"] = pa.array(lines, pa.string())
    for number, name in enumerate(_DECIDING):
        has = pa.array((flags >> number) & 1 == 1)
        columns[name] = pc.if_else(has, pa.scalar("-"), NOTHING)
    columns["@timestamp"] = pa.repeat(pa.scalar(0, LOGS.field("@timestamp").type), len(keys))
    fill, body = read(pa.table(columns, schema=LOGS))
    names = list(fill.columns)
    values = [fill.columns[name].to_pylist() for name in names]
    return [
        plan_of(key, line, text, dict(zip(names, row, strict=True))) if fits and not made else None
        for key, line, text, fits, made, *row in zip(
            keys, lines, body.to_pylist(), right, fill.made.tolist(), *values, strict=True
        )
    ]


def _by_plan(message: Any, of_row: Any, plans: list[Plan], fill: Fill) -> Any:
    """The bodies of rows by the plan of each, and their values into `fill`; null for rows that have none."""
    offsets, data = buffers(message)
    begins = offsets[:-1]
    none = (-1, 0)

    def cut(places: list[tuple[int, int]]) -> Any:
        table = np.array([*places, none], dtype=np.int32)
        starts, sizes = table[of_row, 0], table[of_row, 1]
        return texts_at(data, np.where(starts < 0, starts, starts + begins), sizes)

    for name in dict.fromkeys(name for plan in plans for name in plan.values):
        kind = LOGS.field(name).type
        found = [plan.values.get(name) for plan in plans]
        same = [None if isinstance(value, tuple) else value for value in found]
        column = pa.array([*same, None], kind).take(pa.array(of_row))
        places = [value if isinstance(value, tuple) else none for value in found]
        if any(place is not none for place in places):
            texts = cut(places)
            texts = no_zeros(texts) if name in {"trace.id", "span.id"} else texts
            column = pc.coalesce(column, texts.cast(kind))
        fill.columns[name] = column
    return cut([plan.body for plan in plans])
