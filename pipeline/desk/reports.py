"""The health of tickets over a time: how long each stage took, who holds the most of it, hand-overs, what came back.

    answer       until somebody answers           customer     while the ticket waits for the customer
    work         until it is solved               again        after it was opened once more

    events -> Life of each ticket -> Report -> md, html, csv

Levels whose clock runs in working hours are counted in working time of their calendar, the others always.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.desk.calendar import calendar_of
from pipeline.desk.events import WHAT, Happened
from pipeline.desk.grading_options import LEVELS, GradingOptions, Level
from pipeline.desk.moments import written
from pipeline.desk.severity import deadlines
from pipeline.desk.tasks import Standing

STAGES = ("answer", "work", "customer", "again")
# What begins another stage, and what ends the time that a role held a ticket.
_TURNS = frozenset({"responded", "waiting", "continued", "resolved", "reopened"})
_HANDED = frozenset({"assigned", "waiting", "resolved"})


@dataclass
class Life:
    """One ticket's way. Seconds by stage and by role; `answered` and `solved` say whether each was in time, None while open."""

    system: str
    ticket_id: str
    level: Level
    opened_at: float
    responded_at: float | None = None
    resolved_at: float | None = None
    stages: dict[str, float] = field(default_factory=dict)
    roles: dict[str, float] = field(default_factory=dict)
    reassigned: int = 0
    reopened: int = 0
    answered: bool | None = None
    solved: bool | None = None


@dataclass(frozen=True)
class Spread:
    """How some times are spread, in seconds."""

    tickets: int
    median: float
    p90: float
    total: float


@dataclass(frozen=True)
class Report:
    """The whole of it. `unplaced` tickets have no beginning in what is known, and are counted here only.

    `standings` tell who wrote down what solved tickets taught, of the tasks that were opened in that time.
    """

    start: datetime
    end: datetime
    lives: tuple[Life, ...]
    unplaced: int
    standings: tuple[Standing, ...] = ()

    def of(self, level: Level) -> list[Life]:
        """The tickets of a level."""
        return [life for life in self.lives if life.level == level]

    def stage(self, name: str, level: Level | None = None) -> Spread:
        """The times of a stage, over all tickets that were in it."""
        return spread(
            life.stages[name] for life in self.lives if name in life.stages and (level is None or life.level == level)
        )

    @property
    def roles(self) -> dict[str, Spread]:
        """The time that each role held tickets, the longest in all first: the first is the bottleneck."""
        held: dict[str, list[float]] = defaultdict(list)
        for life in self.lives:
            for role, seconds in life.roles.items():
                held[role].append(seconds)
        made = {role: spread(some) for role, some in held.items()}
        return dict(sorted(made.items(), key=lambda item: (-item[1].total, item[0])))

    @property
    def bottleneck(self) -> str | None:
        """The role that held tickets the longest in all, None where nothing was assigned."""
        return next(iter(self.roles), None)

    @property
    def reassignments(self) -> Counter[int]:
        """Hand-overs -> tickets."""
        return Counter(life.reassigned for life in self.lives)

    def share(self, name: str, level: Level | None = None) -> float | None:
        """The share of answers, or of solutions, that were in time; None where there was none."""
        told = [getattr(life, name) for life in self.lives if level is None or life.level == level]
        decided = [one for one in told if one is not None]
        return sum(decided) / len(decided) if decided else None


def spread(seconds: Iterable[float]) -> Spread:
    """Median and ninth decile of some times; the decile is the nearest rank."""
    some = sorted(seconds)
    if not some:
        return Spread(0, 0.0, 0.0, 0.0)
    rank = max(0, -(-len(some) * 9 // 10) - 1)
    return Spread(len(some), statistics.median(some), some[rank], sum(some))


def report(
    events: Sequence[Happened],
    start: datetime,
    end: datetime,
    options: GradingOptions,
    standings: Sequence[Standing] = (),
) -> Report:
    """The report of what happened from `start` until before `end`, and of what was open then; what still is counts until `end`."""
    by_ticket: dict[tuple[str, str], list[Happened]] = defaultdict(list)
    for event in events:
        by_ticket[event.system, event.ticket_id].append(event)
    lives = [
        _life(sorted(mine, key=lambda one: (one.at, WHAT.index(one.event))), end.timestamp(), options)
        for mine in by_ticket.values()
        if any(one.at >= start.timestamp() for one in mine) or _is_open(mine)
    ]
    known = sorted((life for life in lives if life), key=lambda life: (life.opened_at, life.system, life.ticket_id))
    return Report(start, end, tuple(known), len(lives) - len(known), tuple(standings))


def _is_open(mine: Sequence[Happened]) -> bool:
    """Whether a ticket was not solved, or came back after it was."""
    ends = [
        (one.at, WHAT.index(one.event), one.event) for one in mine if one.event in {"opened", "resolved", "reopened"}
    ]
    return bool(ends) and max(ends)[2] != "resolved"


def _life(mine: Sequence[Happened], end: float, options: GradingOptions) -> Life | None:
    if mine[0].event != "opened":
        return None
    levels = [(one.at, one.level) for one in mine if one.level in LEVELS]
    level: Level = min((found for _, found in levels), key=LEVELS.index, default="P4")
    life = Life(mine[0].system, mine[0].ticket_id, level, mine[0].at)
    clock = _Clock(life.system, level, options)
    stage, role, since, held = "answer", mine[0].role, mine[0].at, mine[0].at
    for one in [*mine[1:], None]:
        at = one.at if one else end
        if one is None or one.event in _TURNS:
            if stage != "done":
                life.stages[stage] = life.stages.get(stage, 0.0) + clock.seconds(since, at)
            since = at
        if role and stage not in {"done", "customer"} and (one is None or one.event in _HANDED):
            life.roles[role] = life.roles.get(role, 0.0) + clock.seconds(held, at)
            held = at
        if one is None:
            break
        stage = _after(life, one, stage)
        if one.event in {"reopened", "continued"}:
            held = at
        if one.event == "assigned":
            life.reassigned += role is not None and one.role != role
            role, held = one.role, at
    _judge(life, levels or [(life.opened_at, level)], end, options)
    return life


def _after(life: Life, one: Happened, stage: str) -> str:
    """The stage that begins with the event."""
    match one.event:
        case "responded":
            life.responded_at = life.responded_at or one.at
            return "work" if stage == "answer" else stage
        case "waiting" if stage != "done":
            return "customer"
        case "continued" if stage == "customer":
            return "again" if life.reopened else "work" if life.responded_at else "answer"
        case "resolved":
            life.responded_at = life.responded_at or one.at
            life.resolved_at = one.at
            return "done"
        case "reopened":
            life.resolved_at = None
            life.reopened += 1
            return "again"
    return stage


def _judge(life: Life, levels: Sequence[tuple[float, str | None]], end: float, options: GradingOptions) -> None:
    """Whether answer and solution were in time: by the nearest deadline of the levels that it had."""
    by = [
        deadlines(level, options, life.system, datetime.fromtimestamp(at, UTC))
        for at, level in levels
        if level is not None and level in LEVELS
    ]
    for name, done, due in (
        ("answered", life.responded_at, min(one[0] for one in by).timestamp()),
        ("solved", life.resolved_at, min(one[1] for one in by).timestamp()),
    ):
        if done is not None or due < end:
            setattr(life, name, done is not None and done <= due)


class _Clock:
    """Counts time as a ticket's level does."""

    def __init__(self, system: str, level: Level, options: GradingOptions) -> None:
        working = options.term(level).clock == "working"
        self._calendar = calendar_of(options.calendar(system)) if working else None

    def seconds(self, start: float, end: float) -> float:
        if self._calendar is None:
            return max(0.0, end - start)
        return self._calendar.between(datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))


# ---- one line a ticket


def as_csv(made: Report) -> str:
    """One line a ticket; seconds, and times in UTC."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow([
        "system", "ticket_id", "level", "opened_at", "responded_at", "resolved_at", *(f"{s}_seconds" for s in STAGES),
        "answered_in_time", "solved_in_time", "reassigned", "reopened", "longest_role",
    ])  # fmt: skip
    for life in made.lives:
        longest = max(sorted(life.roles), key=lambda role: life.roles[role], default="")
        write.writerow([
            _harmless(life.system), _harmless(life.ticket_id), life.level, _z(life.opened_at), _z(life.responded_at),
            _z(life.resolved_at), *(round(life.stages[s]) if s in life.stages else "" for s in STAGES),
            _yes(life.answered), _yes(life.solved), life.reassigned, life.reopened, _harmless(longest),
        ])  # fmt: skip
    return out.getvalue()


def _harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def _yes(told: bool | None) -> str:
    return "" if told is None else "yes" if told else "no"


def _z(at: float | None) -> str:
    return "" if at is None else written(int(at))
