"""Who solves what: how often each handler's tickets of a kind stayed closed, as of a moment.

For each facet of a ticket (category, fault class, service, channel) a handler's rate is shrunk towards the rate of
everybody with that facet, as if he had closed `PRIOR` such tickets at their rate (the mean of a Beta posterior). The facets'
log-odds beside everybody's are added: what a facet says of a handler counts as far as there are tickets to say it. The rate
taken is one standard deviation below the likeliest, so that who is not known is not preferred to who is. Everybody's own rate
follows Laplace's rule of succession: were it 1 where no ticket ever came back, nothing would set the one who closed a hundred
of a kind apart from the one who closed none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.desk.history import TIME, closed_before

FACETS = ("category", "fault_class", "service", "channel")
PRIOR = 4.0
# Where nothing was ever closed: as likely as not.
_UNKNOWN = 0.5
_EDGE = 0.02
_NEWEST = 5


@dataclass(frozen=True)
class Share:
    """What one facet says of a handler: tickets of its likeliest value that he closed, and how many stayed closed.

    `tickets` are the newest of them.
    """

    facet: str
    value: str
    closed: float
    solved: float
    tickets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skill:
    """The probability that a handler solves the ticket, and what it is made of, the facet that says most first.

    `closed` is how many tickets of the ticket's kind he closed; each counts as far as the ticket is likely of its kind.
    """

    probability: float
    closed: float
    shares: tuple[Share, ...] = ()


class Skills:
    """The records of handlers, counted anew for each moment."""

    def __init__(self, rows: pa.Table) -> None:
        """`rows` are the history's (see `read_history`): closed ones first, in order of closing."""
        self._rows = rows
        self._solved = ~pc.fill_null(rows["reopened"], False).to_numpy(zero_copy_only=False)
        self._codes: dict[str, tuple[dict[str, int], NDArray[np.int64]]] = {}
        for name in ("handler", *FACETS):
            coded = rows[name].combine_chunks().dictionary_encode()
            values = {value: i for i, value in enumerate(coded.dictionary.to_pylist())}
            self._codes[name] = values, coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    def handlers(self, at: datetime) -> list[str]:
        """Everybody who had closed a ticket before `at`, by name."""
        names, codes = self._codes["handler"]
        seen = set(np.unique(codes[: closed_before(self._rows, at)]).tolist())
        return sorted(name for name, code in names.items() if code in seen)

    def loads(self, at: datetime) -> dict[str, int]:
        """How many tickets each handler had open at `at`."""
        moment = pa.scalar(at, TIME)
        still = pc.fill_null(pc.greater_equal(self._rows["closed_at"], moment), True)
        there = pc.and_(pc.less_equal(self._rows["created_at"], moment), still)
        return self._counted(there)

    def taken(self, at: datetime, days: float) -> dict[str, int]:
        """How many of the tickets created in the `days` before `at` each handler took."""
        created = self._rows["created_at"]
        since = pc.greater(created, pa.scalar(at - timedelta(days=days), TIME))
        return self._counted(pc.and_(since, pc.less_equal(created, pa.scalar(at, TIME))))

    def _counted(self, which: pa.ChunkedArray) -> dict[str, int]:
        counts = self._rows["handler"].filter(which).value_counts()
        return {one["values"].as_py(): one["counts"].as_py() for one in counts if one["values"].as_py() is not None}

    def queues(self, categories: Mapping[str, float], at: datetime) -> dict[str, float]:
        """The queues that tickets of these categories were closed in before `at`, each with its probability."""
        rows = self._rows.slice(0, closed_before(self._rows, at)).select(["category", "queue"])
        rows = rows.filter(pc.is_in(rows["category"], pa.array(list(categories), pa.string())))
        counts = rows.group_by(["category", "queue"]).aggregate([([], "count_all")]).to_pylist()
        totals: dict[str, int] = {}
        for one in counts:
            totals[one["category"]] = totals.get(one["category"], 0) + one["count_all"]
        found: dict[str, float] = {}
        for one in sorted(counts, key=lambda one: (one["category"], one["queue"])):
            share = categories[one["category"]] * one["count_all"] / totals[one["category"]]
            found[one["queue"]] = found.get(one["queue"], 0.0) + share
        return found

    def of(self, facets: Mapping[str, Mapping[str, float]], at: datetime) -> dict[str, Skill]:
        """The skill of each handler for a ticket with `facets`: facet -> value -> its probability."""
        n = closed_before(self._rows, at)
        names, handler = self._codes["handler"]
        solved, held = self._solved[:n].astype(np.float64), handler[:n] >= 0
        everybody = (float(solved[held].sum()) + 2 * _UNKNOWN) / (int(held.sum()) + 2)
        size = len(names)
        odds = np.full(size, _logit(everybody))
        most = np.zeros(size)
        shares: dict[int, list[tuple[float, Share]]] = {code: [] for code in range(size)}
        for facet, values in sorted(facets.items()):
            codes, column = self._codes[facet]
            weight = np.zeros(len(codes) + 1)
            for value, probability in values.items():
                if value in codes:
                    weight[codes[value]] = probability
            # -1 stands for no value, and is the last one's place.
            of_row = weight[column[:n]] * held
            closed = np.bincount(handler[:n][held], of_row[held], size)
            good = np.bincount(handler[:n][held], (of_row * solved)[held], size)
            if not closed.sum():
                continue
            mean = (good.sum() + PRIOR * everybody) / (closed.sum() + PRIOR)
            rate = (good + PRIOR * mean) / (closed + PRIOR)
            # One standard deviation below what is likeliest: two tickets, both solved, say less than twenty-four of 28.
            rate -= np.sqrt(rate * (1 - rate) / (closed + PRIOR + 1))
            gained = _logits(rate) - _logit(mean)
            odds += gained
            most = np.maximum(most, closed)
            # What is told are whole tickets, those of the likeliest value.
            first = max(values, key=lambda value: (values[value], value))
            alike = (column[:n] == codes.get(first, -2)) & held
            told_closed = np.bincount(handler[:n][alike], minlength=size)
            told_solved = np.bincount(handler[:n][alike], self._solved[:n][alike], size)
            for code in np.flatnonzero(closed > 0):
                newest = np.flatnonzero(alike & (handler[:n] == code))[::-1][:_NEWEST]
                ids = tuple(self._rows["id"].take(newest).to_pylist())
                told = Share(facet, first, float(told_closed[code]), float(told_solved[code]), ids)
                shares[int(code)].append((abs(float(gained[code])), told))
        return {
            name: Skill(
                1 / (1 + math.exp(-odds[code])),
                float(most[code]),
                tuple(share for _, share in sorted(shares[code], key=lambda one: (-one[0], one[1].facet))),
            )
            for name, code in names.items()
        }


def _logit(rate: float) -> float:
    return float(_logits(np.array([rate]))[0])


def _logits(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    held = np.clip(rates, _EDGE, 1 - _EDGE)
    logits: NDArray[np.float64] = np.log(held / (1 - held))
    return logits
