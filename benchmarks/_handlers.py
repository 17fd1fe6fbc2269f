"""A desk of made-up handlers with hidden skills, shifts and loads: whether routing finds those who can, and spares them.

Nobody but the simulation knows who can what. For six weeks tickets go to whoever is there, at random; from what was closed
then, and later closed, `route` has to find out. A ticket's class is told to it as a diagnosis would: right for 85 of 100, with
the probability of a second class beside it, and wrong or undecided for the rest.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from pipeline.desk.history import SCHEMA
from pipeline.desk.options import DeskOptions, HandlerOptions
from pipeline.desk.query import Query
from pipeline.desk.routing import About, route
from pipeline.desk.skills import Skills
from snapshots.model import Text

CLASSES = ("channel_outage", "config_param", "signature_cert", "network", "internal_fault", "order_state", "risk_control", "rate_limit")  # fmt: skip
SHIFTS = ("mon-sun 00:00-08:00", "mon-sun 08:00-16:00", "mon-sun 16:00-24:00")
HANDLERS = 24
SKILLED, UNSKILLED = 0.92, 0.45
WARM, JUDGED = 1_500, 600
_NOTHING = Text(en="", zh="")
_START = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass
class Person:
    """One handler; `skills` are hidden."""

    name: str
    skills: frozenset[str]
    options: HandlerOptions
    taken: int = 0


@dataclass
class Row:
    """One ticket of the simulated history."""

    id: str
    fault_class: str
    handler: str
    created: datetime
    closes: datetime
    reopened: bool


@dataclass
class Outcome:
    """What came of one policy: for each ticket whether the first two held somebody skilled; tickets taken by each."""

    held: list[bool] = field(default_factory=list)
    solved: list[bool] = field(default_factory=list)
    abstained: int = 0
    loads: dict[str, int] = field(default_factory=dict)

    @property
    def top2(self) -> float:
        """The share of tickets whose first two hold a skilled handler."""
        return sum(self.held) / len(self.held)

    @property
    def load(self) -> float:
        """The largest number of tickets that one took, in means."""
        return max(self.loads.values()) / (sum(self.loads.values()) / len(self.loads))


def simulate(policy: str, seed: int) -> Outcome:
    """One desk under `policy`: routed, random or least-loaded. Equal seeds give equal people and tickets."""
    rng = random.Random(seed)
    people = _people(rng)
    rows: list[Row] = []
    out = Outcome(loads=dict.fromkeys((one.name for one in people), 0))
    options = DeskOptions(history="", lead="lead", handlers={one.name: one.options for one in people})
    at = _START
    for number in range(WARM + JUDGED):
        at += timedelta(minutes=rng.expovariate(1 / 40))
        truth = rng.choice(CLASSES)
        told = _told(rng, truth)
        there = [one for one in people if one.options.works(at)]
        # The same draws whatever the policy, so that all meet the same day.
        shuffled, luck, hours = rng.sample(there, len(there)), rng.random(), rng.expovariate(1 / 3)
        judged = number >= WARM
        first_two = shuffled[:2]
        if judged and policy == "least-loaded":
            open_ = _open(rows, at)
            first_two = sorted(shuffled, key=lambda one: open_.get(one.name, 0))[:2]
        if judged and policy == "routed":
            routing = _route(rows, told, at, options)
            named = {one.name: one for one in people}
            first_two = [named[one.handler] for one in routing.handlers[:2]]
            if routing.abstained:
                out.abstained += 1
                first_two = []
        taker = first_two[0] if first_two else shuffled[0]
        solved = luck < (SKILLED if truth in taker.skills else UNSKILLED)
        rows.append(Row(f"T{number}", truth, taker.name, at, at + timedelta(hours=hours), not solved))
        if judged:
            out.held.append(any(truth in one.skills for one in first_two))
            out.solved.append(solved)
            out.loads[taker.name] += 1
    return out


def _people(rng: random.Random) -> list[Person]:
    """Eight a shift; each class is known to two of them at least, some to more."""
    people = []
    for i in range(HANDLERS):
        own = {CLASSES[i % len(CLASSES)], CLASSES[(i + 1) % len(CLASSES)], rng.choice(CLASSES)}
        shift = SHIFTS[i // len(CLASSES)]
        people.append(Person(f"h{i:02}", frozenset(own), HandlerOptions(shift=(shift,), most_open=10)))
    return people


def _told(rng: random.Random, truth: str) -> dict[str, float]:
    other, how_sure, luck = rng.choice(CLASSES), rng.uniform(0.6, 0.95), rng.random()
    if luck < 0.85:
        return {other: 1 - how_sure, truth: how_sure}
    if luck < 0.93:
        return {truth: 1 - how_sure, other: how_sure}
    return {truth: 0.4, other: 0.4} if other != truth else {truth: 0.4}


def _route(rows: list[Row], told: dict[str, float], at: datetime, options: DeskOptions) -> object:
    query = Query("now", "", at, ())
    likely = max(told.values())
    return route(
        query,
        {"payments": 1.0 if likely >= 0.5 else likely},
        "learnt",
        About(told),
        Skills(_table(rows)),
        options,
        categories={},
        line=_NOTHING,
        tickets=len(rows),
    )


def _open(rows: list[Row], at: datetime) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows[-400:]:
        if row.closes >= at:
            counts[row.handler] = counts.get(row.handler, 0) + 1
    return counts


def _table(rows: list[Row]) -> pa.Table:
    ordered = sorted(rows, key=lambda row: (row.closes, row.id))
    columns = {
        "id": [row.id for row in ordered],
        "handler": [row.handler for row in ordered],
        "fault_class": [row.fault_class for row in ordered],
        "created_at": [row.created for row in ordered],
        "closed_at": [row.closes for row in ordered],
        "reopened": [row.reopened for row in ordered],
    }
    return pa.table(
        {
            f.name: pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(len(rows), f.type)
            for f in SCHEMA
        },
        schema=SCHEMA,
    )
