"""The clock of tickets on a simulated clock: every warning once, before its deadline, whatever restarts in between."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from pipeline.desk.calendar import calendar_of
from pipeline.desk.clock import Clocks, Warned
from pipeline.desk.events import prune
from pipeline.desk.grading_options import LEVELS, CalendarOptions, GradingOptions
from pipeline.desk.severity import Facts, decide
from pipeline.desk.severity_table import read_table
from pipeline.desk.tables import clocks, events, warnings
from pipeline.service.database import opened
from pipeline.service.tables import metadata
from snapshots.model import Severity, SeverityScope, Urgency
from snapshots.store import StoreError

OPTIONS = GradingOptions(
    calendars={
        "shanghai": CalendarOptions(timezone="Asia/Shanghai", country="CN"),
        "berlin": CalendarOptions(timezone="Europe/Berlin", country="DE", systems=("eu",)),
    }
)
# October 2026: a week of holidays and a worked Saturday in China, one holiday and the end of summer time in Germany.
START = datetime(2026, 9, 28, tzinfo=UTC).timestamp()
MONTH = 35 * 86400.0


@dataclass
class Time:
    """The simulated moment."""

    now: float = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine(tmp_path) -> Iterator[Engine]:
    made = opened(f"sqlite:///{tmp_path}/desk.sqlite")
    with made.begin() as connection:
        metadata.create_all(connection)
    with made.connect() as connection:
        # Thousands of simulated transactions need not wait for the disk.
        connection.execute(sa.text("PRAGMA synchronous=OFF"))
    yield made
    made.dispose()


def severity(level: str, system: str, at: float) -> Severity:
    """What the desk says of a ticket that was opened at `at` and set to that level."""
    facts = Facts(SeverityScope(size="one"), Urgency(availability="question"), (), level)
    return decide(facts, read_table(None), OPTIONS, system, datetime.fromtimestamp(at, UTC))


class Crash(Exception):
    """The process dies."""


@dataclass
class Told:
    """What was told, as the queue would have it: only what its transaction kept."""

    chance: random.Random
    crashes: float = 0.0
    warned: list[Warned] = field(default_factory=list)
    pending: list[Warned] = field(default_factory=list)

    def __call__(self, _connection: object, warned: Warned) -> None:
        if self.chance.random() < self.crashes:
            raise Crash
        self.pending.append(warned)

    def kept(self, warned: list[Warned]) -> None:
        self.warned += warned


@pytest.mark.timeout(600)
def test_in_a_month_of_five_thousand_tickets_every_warning_is_told_once_and_in_time(engine):
    """Two time zones and their holidays; people answer and solve; the process dies inside a warning and stays away a while."""
    chance, moment = random.Random(20261126), Time()
    clock = Clocks(engine, OPTIONS, moment)
    tickets = sorted(
        (START + chance.random() * (MONTH - 7 * 86400), f"T-{n}", chance.choice(["cn", "eu"]), chance.choice(LEVELS))
        for n in range(5000)
    )
    arrivals = iter(tickets)
    # When each is answered and solved, and which deadlines are so left to warn of.
    done: list[tuple[float, str, str, str]] = []
    expected: set[tuple[str, str, float]] = set()
    for at, ticket_id, system, level in tickets:
        graded = severity(level, system, at)
        calendar, term = calendar_of(OPTIONS.calendar(system)), OPTIONS.term(level)
        for which in ("respond", "resolve"):
            deadline = datetime.fromisoformat(getattr(graded, f"{which}_by"))
            span = deadline.timestamp() - at
            acts = at + span * chance.choice([0.1, 0.5, 0.95, 1.3])
            done.append((acts, which, system, ticket_id))
            warn_at = calendar.warn_at(deadline, term).timestamp()
            if acts > warn_at + 1200 and deadline.timestamp() < START + MONTH:
                expected.add((ticket_id, which, deadline.timestamp()))
    done.sort()
    acts = iter(done)
    told = Told(chance, crashes=0.02)
    coming, acting = next(arrivals, None), next(acts, None)
    restarts = 0
    while moment.now < START + MONTH:
        # A look every four minutes, and now and then nobody looks for five more: a restart. A P1's warning is ten before.
        moment.now += 240.0
        if chance.random() < 0.03:
            moment.now += chance.uniform(60, 300)
            clock, restarts = Clocks(engine, OPTIONS, moment), restarts + 1
        while coming and coming[0] <= moment.now:
            at, ticket_id, system, level = coming
            with engine.begin() as connection:
                clock.start(connection, system, ticket_id, "ps-1", severity(level, system, at), at)
            coming = next(arrivals, None)
        while acting and acting[0] <= moment.now:
            at, which, system, ticket_id = acting
            assert clock.mark(system, ticket_id, "responded" if which == "respond" else "resolved", at=at)
            acting = next(acts, None)
        try:
            told.kept(clock.tick(told))
        except Crash:
            # What its transactions had kept before it died was told.
            restarts += 1
            told.warned += [one for one in told.pending if one not in told.warned and _marked(engine, one)]
            clock = Clocks(engine, OPTIONS, moment)
        told.pending.clear()
    seen = Counter((one.ticket_id, one.which, one.deadline) for one in told.warned)
    assert restarts > 250
    assert len(expected) > 2500
    assert set(seen.values()) == {1}
    assert not [one for one in told.warned if one.late]
    missed = {key for key in expected if key not in seen}
    # A ticket that is solved before its answer was due has no answer to warn of.
    solved = {ticket_id: at for at, which, _, ticket_id in done if which == "resolve"}
    assert {key for key in missed if solved[key[0]] > key[2]} == set()


def _marked(engine: Engine, one: Warned) -> bool:
    query = sa.select(warnings.c.told_at).where(
        warnings.c.ticket_id == one.ticket_id, warnings.c.which == one.which, warnings.c.deadline == one.deadline
    )
    with engine.connect() as connection:
        return connection.scalar(query) is not None


def begin(engine: Engine, clock: Clocks, level: str, at: float, system: str = "cn") -> Severity:
    with engine.begin() as connection:
        return clock.start(connection, system, "T-1", "ps-1", severity(level, system, at), at)


def quiet(_connection: object, _warned: Warned) -> None:
    """The queue takes it."""


def test_a_warning_says_what_to_take_first_in_both_languages(engine):
    moment = Time(datetime(2026, 11, 2, 2, tzinfo=UTC).timestamp())
    clock = Clocks(engine, OPTIONS, moment)
    begin(engine, clock, "P2", moment.now)
    moment.now += 40 * 60
    (warned,) = clock.tick(quiet)
    assert warned.said.en == "P2 ticket T-1 will be overdue in 20 min, take it first: an answer is due."
    assert warned.said.zh == "P2 工单 T-1 还有 20 分钟超时，请优先处理（待首次应答）。"
    assert clock.tick(quiet) == []


def test_two_that_look_at_once_tell_a_warning_once(engine):
    moment = Time(datetime(2026, 11, 2, 2, tzinfo=UTC).timestamp())
    clock, other = Clocks(engine, OPTIONS, moment), Clocks(engine, OPTIONS, moment)
    begin(engine, clock, "P1", moment.now)
    moment.now += 25 * 60
    # Both have seen the row as due before either marks it.
    (row,) = clock.due(moment.now)
    assert other.due(moment.now) == [row]
    assert clock.told(row, moment.now, quiet) is not None
    assert other.told(row, moment.now, quiet) is None


def test_what_comes_after_its_deadline_is_told_as_overdue_and_not_lost(engine):
    """Nobody looked for a day."""
    moment = Time(datetime(2026, 11, 2, 2, tzinfo=UTC).timestamp())
    clock = Clocks(engine, OPTIONS, moment)
    begin(engine, clock, "P1", moment.now)
    moment.now += 86400
    told = clock.tick(quiet)
    assert [(one.which, one.late) for one in told] == [("respond", True), ("resolve", True)]
    assert told[0].said.en == "P1 ticket T-1 has been overdue for 1410 min: an answer was due."


def test_a_ticket_from_before_there_was_a_clock_is_not_told_of(engine):
    """The answer to one of last month was due long ago."""
    moment = Time(datetime(2026, 11, 2, 2, tzinfo=UTC).timestamp())
    clock = Clocks(engine, OPTIONS, moment)
    begin(engine, clock, "P1", moment.now - 30 * 86400)
    assert clock.tick(quiet) == []
    assert clock.of("cn", "T-1").level == "P1"


def test_a_level_is_never_lowered_and_no_deadline_moves_away(engine):
    moment = Time(datetime(2026, 11, 2, 2, tzinfo=UTC).timestamp())
    clock = Clocks(engine, OPTIONS, moment)
    begin(engine, clock, "P3", moment.now)
    before = clock.of("cn", "T-1")
    moment.now += 600
    assert begin(engine, clock, "P1", moment.now - 600).level == "P1"
    raised = clock.of("cn", "T-1")
    assert raised.level == "P1"
    # The new deadline counts from the moment that the level rose.
    assert raised.respond_by == moment.now + 1800 < before.respond_by
    assert begin(engine, clock, "P4", moment.now).level == "P1"
    assert clock.of("cn", "T-1")._asdict() == raised._asdict()


def test_a_raised_level_is_warned_of_anew_and_the_old_deadline_no_more(engine):
    moment = Time(datetime(2026, 11, 2, 2, tzinfo=UTC).timestamp())
    clock = Clocks(engine, OPTIONS, moment)
    begin(engine, clock, "P3", moment.now)
    begin(engine, clock, "P1", moment.now)
    moment.now += 86400 * 10
    assert [one.which for one in clock.tick(quiet)] == ["respond", "resolve"]


def test_who_answered_is_not_warned_to_answer(engine):
    moment = Time(datetime(2026, 11, 2, 2, tzinfo=UTC).timestamp())
    clock = Clocks(engine, OPTIONS, moment)
    begin(engine, clock, "P1", moment.now)
    assert clock.mark("cn", "T-1", "responded", "li")
    moment.now += 25 * 60
    assert clock.tick(quiet) == []
    assert clock.mark("cn", "T-1", "resolved")
    moment.now += 86400
    assert clock.tick(quiet) == []
    assert clock.mark("cn", "T-1", "reopened")
    moment.now += 3 * 3600 + 3000
    assert [one.which for one in clock.tick(quiet)] == ["resolve"]
    assert not clock.mark("cn", "T-2", "responded")


def test_one_that_cannot_be_told_does_not_keep_the_others_waiting(engine):
    moment = Time(datetime(2026, 11, 2, 2, tzinfo=UTC).timestamp())
    clock = Clocks(engine, OPTIONS, moment)
    begin(engine, clock, "P1", moment.now)
    with engine.begin() as connection:
        clock.start(connection, "cn", "T-2", "ps-2", severity("P1", "cn", moment.now), moment.now)
    moment.now += 22 * 60

    def refusing(_connection: object, warned: Warned) -> None:
        if warned.ticket_id == "T-1":
            raise StoreError("its snapshot is gone")

    assert [one.ticket_id for one in clock.tick(refusing)] == ["T-2"]
    assert clock.tick(quiet) == []
    moment.now += 61
    assert [one.ticket_id for one in clock.tick(quiet)] == ["T-1"]


def test_what_ended_long_ago_is_taken_away(engine):
    moment = Time()
    clock = Clocks(engine, OPTIONS, moment)
    begin(engine, clock, "P1", moment.now)
    clock.mark("cn", "T-1", "resolved")
    prune(engine, moment.now + 1)
    with engine.connect() as connection:
        left = [connection.scalar(sa.select(sa.func.count()).select_from(one)) for one in (clocks, warnings, events)]
    assert left == [0, 0, 0]


def test_a_warning_in_working_hours_comes_while_somebody_is_there():
    """Due at half past nine on Monday: its hour before is the last of Friday's, partly."""
    calendar, term = calendar_of(OPTIONS.calendar("cn")), OPTIONS.term("P4")
    due = datetime.fromisoformat("2026-11-09T09:30:00+08:00")
    warned = calendar.warn_at(due, term)
    assert warned == datetime.fromisoformat("2026-11-06T17:30:00+08:00")
    assert calendar.between(warned, warned + timedelta(minutes=1)) == 60
