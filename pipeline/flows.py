"""Flows: which log lines are about which order.

A line belongs to an order by its label, by a name of the order in its text, or by the trace that such a line carries.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.identifiers import values_in
from pipeline.payments.orders import Order

# Shorter names occur by chance.
_SHORTEST_NAME = 6
# How much of a line is searched for the name itself, once it is known to hold one.
_READ = 4000
# Lines of a trace that are asked whose it is: two owners make it a batch job's, which is nobody's.
_ASKED = 3
# Linear in any engine; the standard library's is by far the quickest at finding all.
_TOKEN = re.compile(r"[0-9A-Za-z]+(?:[_-][0-9A-Za-z]+)*")
_NOBODY = -1


@dataclass(frozen=True)
class Followed:
    """`owner` holds for each row of the logs table the position in `orders` of the order that it is about, or -1."""

    orders: tuple[Order, ...]
    owner: npt.NDArray[np.int32]

    def rows(self, position: int) -> npt.NDArray[np.int64]:
        """The rows about the order at `position`, in the table's order."""
        return np.flatnonzero(self.owner == position)


def tried(order: Order) -> datetime | None:
    """When the order was first tried to be paid: its first attempt, else its first event."""
    moments = [a.first.at for a in order.attempts if a.first.at]
    return min(moments) if moments else order.created_at


def names_of(order: Order) -> frozenset[str]:
    """Every number that names the order in log lines."""
    numbers = {order.order_id, *(n for a in order.attempts for n in a.numbers), *(r.entity_id for r in order.refunds)}
    numbers |= {txn for a in order.attempts if (txn := a.channel_txn_id)}
    return frozenset(n for n in numbers if len(n) >= _SHORTEST_NAME)


def follow(logs: pa.Table, orders: Sequence[Order]) -> Followed:
    """Find the rows of `logs` (`parsers.tables.LOGS`) about each of `orders`; a name of two orders is nobody's."""
    holder: dict[str, int] = {}
    for position, order in enumerate(orders):
        for name in names_of(order):
            holder[name] = _NOBODY if name in holder else position
    owner = np.full(logs.num_rows, _NOBODY, np.int32)
    names = sorted(name for name, position in holder.items() if position != _NOBODY)
    if not names or not logs.num_rows:
        return Followed(tuple(orders), owner)
    positions = np.array([holder[name] for name in names], np.int32)

    labels = pc.index_in(logs.column("labels.order_id").combine_chunks(), value_set=pa.array(names))
    labelled = labels.is_valid().to_numpy(zero_copy_only=False)
    owner[labelled] = positions[labels.drop_null().to_numpy()]

    # A batch of orders is named in one line: such a line is about none of them, and its trace neither.
    messages = logs.column("message").combine_chunks()
    hits = np.flatnonzero(values_in(messages, names).to_numpy(zero_copy_only=False) & ~labelled)
    traces = logs.column("trace.id").combine_chunks().dictionary_encode()
    codes = pc.fill_null(traces.indices, -1).to_numpy(zero_copy_only=False)
    asked = _few_of_each(hits, codes[hits])
    of_trace: dict[int, set[int]] = {}
    for row in np.flatnonzero(labelled & (codes >= 0)).tolist():
        of_trace.setdefault(int(codes[row]), set()).add(int(owner[row]))
    for row, text in zip(asked.tolist(), messages.take(pa.array(asked)).to_pylist(), strict=True):
        said = _said(text[:_READ], holder)
        if len(said) == 1:
            owner[row] = next(iter(said))
        if codes[row] >= 0 and said:
            of_trace.setdefault(int(codes[row]), set()).update(said)
    by_trace = np.full(len(traces.dictionary) + 1, _NOBODY, np.int32)
    for code, said in of_trace.items():
        if len(said) == 1:
            by_trace[code] = next(iter(said))
    return Followed(tuple(orders), np.where(owner == _NOBODY, by_trace[codes], owner))


def _few_of_each(rows: npt.NDArray[Any], codes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """`rows` without a trace, and the first few of each trace."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    first = np.searchsorted(ordered, ordered, side="left")
    rank = np.arange(len(ordered)) - first
    kept = rows[order[(rank < _ASKED) | (ordered < 0)]]
    return np.sort(kept).astype(np.int64)


def _said(text: str, holder: dict[str, int]) -> set[int]:
    """The positions of the orders whose names `text` holds as whole tokens."""
    found: set[int] = set()
    for token in _TOKEN.findall(text):
        if len(token) < _SHORTEST_NAME:
            continue
        parts = [token] if token in holder else token.replace("-", "_").split("_")
        found.update(holder[part] for part in parts if part in holder)
    return found - {_NOBODY}
