"""Baselines: how many lines of each template there were in each five minutes, and what that makes an hour of the week.

An hour of the week is numbered from Monday 00:00 UTC, 0 to 167. Of a template it is known in how many such hours it had lines, how
many lines, and the sum of the squares of the hours' counts, from which the spread from week to week follows; of a service,
how many such hours it was seen at all. An hour in which a service wrote nothing counts as not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.learning.shards import DAY_SLOTS, numbered, over, values_of

HOUR_SLOTS = 12
HOURS_OF_WEEK = 168
# 1970-01-01 was a Thursday.
_EPOCH_DAY = 3
# Rows that are gathered before they are added up.
_ROWS = 1 << 19


def hour_of_week(day: int, hour: Any) -> Any:
    """The hour of the week of an hour of a day, which counts from 1970-01-01.

    >>> hour_of_week(0, 10)
    82
    """
    return (day + _EPOCH_DAY) % 7 * 24 + hour


class Sums:
    """Sums of columns by the columns that come before them, of as many tables as one adds."""

    def __init__(self, keys: Sequence[str], columns: Sequence[str]) -> None:
        self._keys, self._columns = list(keys), list(columns)
        self._tables: list[pa.Table] = []
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        """More rows."""
        self._tables.append(table)
        self._rows += table.num_rows
        if self._rows > _ROWS and len(self._tables) > 1:
            self._tables = [self.total()]
            # So that it is not added up again with each table that comes.
            self._rows = 0

    def total(self) -> pa.Table:
        """One row a key, sorted."""
        if not self._tables:
            return pa.table({name: pa.array([], pa.int64()) for name in (*self._keys, *self._columns)})
        return summed(pa.concat_tables(self._tables), self._keys, self._columns)


def summed(table: pa.Table, keys: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """`columns` of `table` added up by `keys`, sorted by these."""
    order, starts, _ = numbered(table, keys)
    kept = {name: values_of(table, name)[order[starts]] for name in keys}
    sums = {name: over(np.add, values_of(table, name)[order], starts) for name in columns}
    return pa.table({**kept, **sums})


def of_templates(counts: pa.Table, template_of: npt.NDArray[Any]) -> pa.Table:
    """Counts by `line` and `slot` as counts by `template` and `slot`."""
    table = pa.table(
        {
            "slot": values_of(counts, "slot").astype(np.int64),
            "template": template_of[values_of(counts, "line")],
            "lines": values_of(counts, "lines"),
        }
    )
    return summed(table, ["slot", "template"], ["lines"])


def hourly(counts: pa.Table, day: int) -> pa.Table:
    """Counts by `template` and `slot` of one day as a row of each template and hour, with the square of its count."""
    hours = pa.table(
        {
            "template": values_of(counts, "template"),
            "hour_of_week": hour_of_week(day, values_of(counts, "slot") // HOUR_SLOTS),
            "lines": values_of(counts, "lines"),
        }
    )
    table = summed(hours, ["template", "hour_of_week"], ["lines"])
    lines = values_of(table, "lines")
    return table.append_column("hours", pa.array(np.ones(len(lines), np.int64))).append_column(
        "squares", pa.array(lines.astype(np.float64) ** 2)
    )


def seen_hours(
    counts: pa.Table, day: int, service_of: npt.NDArray[Any], first: npt.NDArray[Any], last: npt.NDArray[Any]
) -> pa.Table:
    """The hours of one day in which each service had lines, and how many five minutes of each lie between its first and last.

    `service_of` tells the service of a template; `first` and `last` are the slots, since 1970-01-01, of a service's lines.
    """
    services = service_of[values_of(counts, "template")]
    hours = np.unique(services.astype(np.int64) * 24 + values_of(counts, "slot") // HOUR_SLOTS)
    service, hour = hours // 24, hours % 24
    begin = day * DAY_SLOTS + hour * HOUR_SLOTS
    slots = np.minimum(begin + HOUR_SLOTS, last[service] + 1) - np.maximum(begin, first[service])
    return pa.table(
        {
            "service": service,
            "hour_of_week": hour_of_week(day, hour),
            "hours": np.ones(len(hours), np.int64),
            "slots": slots,
        }
    )
