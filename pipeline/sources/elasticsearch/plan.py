"""The fetch plan: from what the cluster counted to which rows are read, and in which order. Nothing here asks anybody.

Where all rows fit the limit, all are read. Else the rows that the ticket names come first, then those of healthy orders to
compare with, then those that tell of a failure, then a random sample of the rest, and last what that sample does not
account for. Every step takes incident and baseline alike, so that the counts of one step may be compared without correction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pipeline.sources.elasticsearch.queries import from_ms, stamp
from pipeline.values import Span
from snapshots.model import FetchPlan, MinuteCount, PlanStep, RowCount

Kind = Literal["all", "named", "healthy", "failing", "sample", "unexplained"]
KINDS: tuple[Kind, ...] = ("named", "healthy", "failing", "sample")

# Shares of what is left: healthy orders are few or are not needed; a tenth is kept for what the sample does not explain.
_HEALTHY = 0.2
_UNEXPLAINED = 0.1
_FAILING = 0.6
# Enough rows of a sample to name what is common; the rest of it is read after the rare rows.
_FIRST_SAMPLE = 20_000
# Below this many rows a sample names too little for the rest to be told from it.
_LEAST_FOR_RARE = 1_000
# Rows that are read as one stretch of time, at most and, where all are read, at least.
_STRETCH, _LEAST = 25_000, 5_000
_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_MOST_MINUTES = 150

Buckets = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Totals:
    """What a cluster counted in a window: rows by kind and time, and the largest services and levels of all."""

    width_ms: int
    by_time: Mapping[Kind, Buckets]
    counts: Mapping[Kind, int]
    services: tuple[RowCount, ...] = ()
    services_omitted: int = 0
    levels: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """All rows of the window."""
        return sum(self.counts.values())


@dataclass
class Step:
    """One step while it is carried out: `matched` rows match (None: not known yet), at most `wanted` are read.

    `again` of those fetched came a second time, after the point in time was opened again.
    """

    kind: Kind
    matched: int | None
    wanted: int
    fetched: int = 0
    again: int = 0

    @property
    def distinct(self) -> int:
        """The rows fetched, those that came again not counted."""
        return self.fetched - self.again

    @property
    def rate(self) -> float | None:
        """The share of the matching rows that came; None where there is none, or not known how many."""
        return min(1.0, self.distinct / self.matched) if self.matched else None

    def told(self, *, ahead: bool) -> PlanStep:
        """As the document has it; `ahead` of reading there is no rate yet."""
        rate = None if self.rate is None or ahead else round(self.rate, 6)
        return PlanStep(kind=self.kind, matched=self.matched, wanted=self.wanted, fetched=self.fetched, rate=rate)


def steps_for(counts: Mapping[Kind, int], limit: int, *, rest: bool, searchable: bool) -> list[Step]:
    """Which rows are read of a window that holds `counts`, `limit` at most in all.

    Without `rest` only rows that are tied to something. `searchable` says whether lines can be asked for by words, without
    which nobody can tell what a sample does not account for.
    """
    total = sum(counts.values())
    if rest and total <= limit:
        return [Step("all", total, total)]
    steps = [Step("named", counts["named"], min(counts["named"], limit))]
    left = limit - steps[0].wanted
    healthy = min(counts["healthy"], left, max(1, int(limit * _HEALTHY)))
    steps.append(Step("healthy", counts["healthy"], healthy))
    left -= healthy
    if not rest:
        return [step for step in steps if step.matched]
    reserve = int(left * _UNEXPLAINED) if searchable and left >= _LEAST_FOR_RARE else 0
    free = left - reserve
    failing = min(counts["failing"], max(math.ceil(free * _FAILING), free - counts["sample"]))
    sample = min(counts["sample"], free - failing)
    steps += [Step("failing", counts["failing"], failing), Step("sample", counts["sample"], sample)]
    if reserve and failing + sample < counts["failing"] + counts["sample"]:
        steps.append(Step("unexplained", None, reserve))
    return [step for step in steps if step.matched != 0]


def first_of(step: Step) -> int:
    """How many rows of a sample are read before the rare rows."""
    return min(_FIRST_SAMPLE, step.wanted // 2)


def width_for(window: Span) -> int:
    """Milliseconds of one stretch of the counts, so that a window has some hundred of them."""
    seconds = max((window.end - window.start).total_seconds(), 1.0)
    wide = next((width for width in _WIDTHS_S if seconds / width <= _MOST_MINUTES), _WIDTHS_S[-1])
    return max(wide, math.ceil(seconds / 5_000)) * 1000


def stretches(
    window: Span, buckets: Buckets, width_ms: int, want: int | None, middle: datetime | None
) -> list[tuple[Span, int | None]]:
    """Stretches of time to read, each with how many rows of it, None for all; `want` in all.

    With `middle` those nearest to it come first. Without, they are spread over the window in such a way that those read by
    any moment are spread, too, so that whoever is stopped half way has seen something of every hour.
    """
    total = sum(rows for _, rows in buckets)
    size = max(_LEAST if want is None else 1, min(_STRETCH, total // 16))
    groups: list[list[int]] = []
    for start, rows in buckets:
        if not groups or groups[-1][2] >= size:
            groups.append([start, start, 0])
        groups[-1][1:] = [start + width_ms, groups[-1][2] + rows]
    if middle is None:
        bits = max(1, (len(groups) - 1).bit_length())
        order: Iterable[int] = sorted(range(len(groups)), key=lambda n: int(f"{n:0{bits}b}"[::-1], 2))
    else:
        at = middle.timestamp() * 1000
        order = sorted(range(len(groups)), key=lambda n: (abs((groups[n][0] + groups[n][1]) / 2 - at), n))
    found: list[tuple[Span, int | None]] = []
    for number in order:
        start, end, rows = groups[number]
        span = Span(max(window.start, from_ms(start)), min(window.end, from_ms(end)))
        if want is None:
            found.append((span, None))
        elif want > 0:
            found.append((span, min(rows, want)))
            want -= min(rows, want)
    return found


def written(totals: Totals, limit: int, steps: Sequence[Step], *, ahead: bool = False) -> FetchPlan:
    """The plan as the document has it."""
    rows: dict[int, list[int]] = {}
    for kind, buckets in totals.by_time.items():
        for start, count in buckets:
            minute = rows.setdefault(start, [0, 0])
            minute[0] += count
            minute[1] += count * (kind == "failing")
    return FetchPlan(
        rows=totals.rows,
        limit=limit,
        steps=[step.told(ahead=ahead) for step in steps],
        services=list(totals.services),
        services_omitted=totals.services_omitted,
        levels=dict(totals.levels),
        minutes=[MinuteCount(start=stamp(from_ms(at)), rows=n, failing=bad) for at, (n, bad) in sorted(rows.items())],
        minute_seconds=totals.width_ms / 1000,
    )
