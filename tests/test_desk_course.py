"""What ticket systems tell of their tickets: counted once, in order of the ticket's own time, whatever arrives when."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.desk.clock import Clocks
from pipeline.desk.course import Told, course_of, plain
from pipeline.desk.events import read
from pipeline.desk.grading_options import GradingOptions
from pipeline.desk.reports import report
from pipeline.tickets._history import History
from pipeline.tickets.system import Step
from tests.test_desk_clock import Time, severity
from tests.test_desk_room import engine  # noqa: F401 - a fixture

START = datetime(2026, 11, 2, 2, tzinfo=UTC).timestamp()
HOUR = 3600.0
WHATS = ("opened", "assigned", "responded", "waiting", "continued", "prioritised", "resolved", "reopened")
STEPS = st.builds(
    Told,
    st.sampled_from(WHATS),
    st.integers(0, 20).map(lambda hour: START + hour * HOUR),
    st.sampled_from([None, "li", "wang"]),
    st.sampled_from([None, "payments", "P1", "P3", "high"]),
)


def day(hour: float) -> datetime:
    return datetime.fromtimestamp(START + hour * HOUR, UTC)


@given(st.lists(STEPS, max_size=12), st.randoms(use_true_random=False))
def test_the_course_does_not_depend_on_the_order_of_arrival_nor_on_repetitions(told, chance):
    # Of one kind at one moment there is one step.
    told = list({(one.what, one.at): one for one in told}.values())
    shuffled = told + chance.choices(told, k=3) if told else []
    chance.shuffle(shuffled)
    assert course_of(set(shuffled)) == course_of(told)


def test_a_course_says_who_has_it_who_solved_it_and_whether_it_is_open():
    told = [
        Told("opened", 1),
        Told("assigned", 2, "lead", "li"),
        Told("responded", 3, "li"),
        Told("responded", 4, "wang"),
        Told("resolved", 5, "li"),
        Told("prioritised", 6, "lead", "P2 (urgent)"),
        Told("prioritised", 7, "lead", "low"),
    ]
    solved = course_of(told)
    assert (solved.responded_at, solved.resolved_at, solved.holder, solved.solver) == (3, 5, "li", "li")
    assert solved.level == ("P2", 6)
    back = course_of([*told, Told("reopened", 8), Told("waiting", 9)])
    assert (back.resolved_at, back.reopened_at, back.waiting, back.responded_at) == (None, 8, True, 3)


# ---- out of what a system keeps


def test_a_change_of_status_tells_what_the_status_alone_does_not():
    history = History({"pending": "waiting", "solved": "solved", "closed": "solved"})
    for hour, status in enumerate(["new", "pending", "open", "Solved", "closed", "pending", "solved"]):
        history.turned(status, day(hour), "li")
    assert [(one.what, one.at) for one in history.steps] == [
        ("waiting", day(1)),
        ("continued", day(2)),
        ("resolved", day(3)),
        ("reopened", day(5)),
        ("waiting", day(5) + timedelta(milliseconds=1)),
        ("resolved", day(6)),
    ]


def test_a_status_of_ones_own_means_what_the_configuration_says():
    history = History({"done": "solved"}, {"Wait for bank": "waiting", "DONE": "open"})
    history.turned("wait for bank", day(1))
    history.turned("done", day(2))
    assert [one.what for one in history.steps] == ["waiting", "continued"]


def test_only_the_first_answer_counts_and_the_first_after_a_reopening():
    history = History({"solved": "solved"})
    for hour in (1, 2, 5, 6):
        history.add("responded", day(hour), "li")
    history.turned("solved", day(3))
    history.turned("open", day(4))
    assert [one.at for one in history.steps if one.what == "responded"] == [day(1), day(5)]


def test_changes_of_one_second_keep_the_order_in_which_they_are_told():
    """Solved, opened and solved again at once: the ticket is solved."""
    history = History({"solved": "solved"})
    for status in ("solved", "open", "solved"):
        history.turned(status, day(1))
    steps = history.steps
    assert [one.what for one in steps] == ["resolved", "reopened", "resolved"]
    assert course_of(map(plain, steps)).resolved_at is not None


# ---- into the clock


def begun(engine, level="P2", moment=None):  # noqa: F811
    moment = moment or Time(START)
    clock = Clocks(engine, GradingOptions(), moment)
    with engine.begin() as connection:
        clock.start(connection, "cn", "T-1", "ps-1", severity(level, "cn", START), START)
    return clock, moment


def follow(clock, engine, *told):  # noqa: F811
    with engine.begin() as connection:
        return clock.follow(connection, "cn", "T-1", told)


LIFE = (
    Told("opened", START),
    Told("assigned", START + 0.1 * HOUR, "lead", "li"),
    Told("responded", START + 0.2 * HOUR, "li"),
    Told("waiting", START + 1 * HOUR, "li"),
    Told("continued", START + 2 * HOUR, "customer"),
    Told("resolved", START + 3 * HOUR, "li"),
    Told("reopened", START + 5 * HOUR, "customer"),
)


def test_the_same_history_told_again_changes_nothing(engine):  # noqa: F811
    clock, moment = begun(engine)
    moment.now += 6 * HOUR
    assert len(follow(clock, engine, *LIFE)) == len(LIFE)
    before = clock.of("cn", "T-1")._asdict(), read(engine, 0, 2e10)
    assert follow(clock, engine, *LIFE) == []
    assert follow(clock, engine, *reversed(LIFE[:3])) == []
    assert (clock.of("cn", "T-1")._asdict(), read(engine, 0, 2e10)) == before
    row = clock.of("cn", "T-1")
    assert (row.responded_at, row.resolved_at) == (START + 0.2 * HOUR, None)
    # The time to solve counts anew from the moment that the ticket was opened again, not from when we heard of it.
    assert row.resolve_by == START + 5 * HOUR + 8 * HOUR


@pytest.mark.parametrize("seed", range(5))
def test_in_pieces_and_out_of_order_it_comes_to_the_same_clock_and_the_same_report(engine, seed):  # noqa: F811
    chance = random.Random(seed)
    clock, moment = begun(engine)
    moment.now += 6 * HOUR
    pieces = [list(chance.sample(LIFE, k=chance.randint(1, 4))) for _ in range(6)] + [list(LIFE)]
    for piece in pieces:
        follow(clock, engine, *piece)
        if chance.random() < 0.3:
            clock = Clocks(engine, GradingOptions(), moment)
    row = clock.of("cn", "T-1")
    assert (row.responded_at, row.resolved_at) == (START + 0.2 * HOUR, None)
    assert row.resolve_by == START + 13 * HOUR
    made = report(read(engine, START, START + 24 * HOUR), day(0), day(6), GradingOptions())
    (life,) = made.lives
    assert {name: round(seconds / HOUR, 6) for name, seconds in life.stages.items()} == {
        "answer": 0.2, "work": 1.8, "customer": 1.0, "again": 1.0,
    }  # fmt: skip
    # Nobody holds a ticket while it waits for the customer.
    assert life.roles["li"] == pytest.approx(HOUR * (0.9 + 1.0 + 1.0))
    assert life.reopened == 1


def test_what_was_told_before_the_ticket_was_graded_holds_for_its_clock(engine):  # noqa: F811
    """The reply comes while the snapshot is still being taken."""
    moment = Time(START + HOUR)
    clock = Clocks(engine, GradingOptions(), moment)
    assert len(follow(clock, engine, *LIFE[:3])) == 3
    assert clock.of("cn", "T-1") is None
    begun(engine, moment=moment)
    assert clock.of("cn", "T-1").responded_at == START + 0.2 * HOUR
    assert clock.of("cn", "T-1").level == "P2"
    moment.now += 300 * HOUR
    assert [one.which for one in clock.tick(lambda *_: None)] == ["resolve"]
    # The beginning is told once, by the ticket system.
    assert [one.event for one in read(engine, 0, 2e10)].count("opened") == 1


def test_a_level_that_was_set_before_the_ticket_was_graded_holds(engine):  # noqa: F811
    moment = Time(START + HOUR)
    clock = Clocks(engine, GradingOptions(), moment)
    follow(clock, engine, Told("opened", START), Told("prioritised", START + 60, "lead", "P1"))
    with engine.begin() as connection:
        held = clock.start(connection, "cn", "T-1", "ps-1", severity("P3", "cn", START), START)
    assert (held.level, held.ticket_level, clock.of("cn", "T-1").level) == ("P1", "P1", "P1")


def test_a_reply_stops_the_warning_and_a_reopening_starts_the_next(engine):  # noqa: F811
    clock, moment = begun(engine)
    follow(clock, engine, *LIFE[:6])
    moment.now += 40 * HOUR
    assert clock.tick(lambda *_: None) == []
    follow(clock, engine, replace(LIFE[6], at=moment.now))
    moment.now += 7.9 * HOUR
    assert [(one.which, one.late) for one in clock.tick(lambda *_: None)] == [("resolve", False)]


def test_a_level_that_a_person_sets_in_the_ticket_system_raises_the_clock_and_never_lowers_it(engine):  # noqa: F811
    clock, moment = begun(engine, "P3")
    before = clock.of("cn", "T-1")
    moment.now += HOUR
    follow(clock, engine, Told("prioritised", START + 0.5 * HOUR, "lead", "P1"))
    row = clock.of("cn", "T-1")
    assert row.level == "P1"
    assert row.respond_by == START + HOUR < before.respond_by
    assert "The ticket says P1" in row.severity
    follow(clock, engine, Told("prioritised", START + 0.6 * HOUR, "lead", "P4"))
    assert clock.of("cn", "T-1").level == "P1"
    # A system's own words are no level of ours.
    follow(clock, engine, Told("prioritised", START + 0.7 * HOUR, "lead", "urgent"))
    assert clock.of("cn", "T-1")._asdict() == row._asdict()


def test_a_warning_that_the_ticket_system_contradicts_is_not_told(engine):  # noqa: F811
    """The delivery that tells of the reply is late, or was lost: the system is asked before anybody is warned."""
    clock, moment = begun(engine)
    moment.now += 0.9 * HOUR

    def asked(row) -> bool:
        follow(clock, engine, *LIFE[:3])
        return clock.still_due(row)

    assert clock.tick(lambda *_: None, asked) == []
    assert clock.of("cn", "T-1").responded_at is not None


def test_a_step_is_known_by_what_it_is_and_when_it_was():
    at = datetime(2026, 11, 2, 10, 0, 0, 123456, tzinfo=UTC)
    assert plain(Step("responded", at, "li")) == plain(Step("responded", at.astimezone(), "li"))
    assert plain(Step("responded", at + timedelta(seconds=1))).at != plain(Step("responded", at)).at


class Crash(Exception):
    """The process dies."""


def lives_of(chance: random.Random, tickets: int) -> dict[str, list[Told]]:
    """What happens to tickets that are opened over a day: at random times, some of it left out."""
    lives = {}
    for number in range(tickets):
        at = START + chance.uniform(0, 24) * HOUR
        life = [Told("opened", at)]
        for what in ("assigned", "responded", "waiting", "continued", "resolved", "reopened", "responded", "resolved"):
            at += chance.expovariate(1 / HOUR)
            if chance.random() < 0.85:
                life.append(Told(what, at, "li", "payments" if what == "assigned" else None))
        lives[f"T-{number}"] = life
    return lives


class Simulated:
    """A service that hears of tickets late, twice or in part, dies now and then, and warns."""

    def __init__(self, engine, chance: random.Random, lives: dict[str, list[Told]]) -> None:  # noqa: F811
        self.engine, self.chance, self.lives, self.moment = engine, chance, lives, Time(START)
        self.levels = {ticket: chance.choice(["P1", "P2", "P3"]) for ticket in lives}
        self.told: list[tuple[str, str, float, float]] = []
        self.pending: list[tuple[str, str, float, float]] = []
        self.crashes = 0
        self.restart()

    def restart(self) -> None:
        self.clock = Clocks(self.engine, GradingOptions(), self.moment)

    def hear(self, ticket: str) -> None:
        """A delivery comes: what it leads to is what the system told then, or some time ago, in no order."""
        life = self.lives[ticket]
        until = self.moment.now - self.chance.choice([0, 0, 600, 7200])
        seen = self.chance.sample(some := [step for step in life if step.at <= until], k=len(some))
        graded = severity(self.levels[ticket], "cn", life[0].at)
        try:
            with self.engine.begin() as connection:
                self.clock.start(connection, "cn", ticket, "ps-1", graded, life[0].at)
                self.clock.follow(connection, "cn", ticket, seen)
                self.die(0.03)
        except Crash:
            self.restart()

    def warn(self) -> None:
        """Tells what is due, after the ticket system was asked."""
        try:
            self.clock.tick(self.tell, self.holds)
        except Crash:
            # The last one died with its transaction.
            self.restart()
        self.told += self.pending
        self.pending.clear()

    def tell(self, _connection: object, warned) -> None:
        self.die(0.02)
        self.pending.append((warned.ticket_id, warned.which, warned.deadline, self.moment.now))

    def holds(self, row) -> bool:
        known = [step for step in self.lives[row.ticket_id] if step.at <= self.moment.now]
        with self.engine.begin() as connection:
            self.clock.follow(connection, "cn", row.ticket_id, known)
        return self.clock.still_due(row)

    def die(self, share: float) -> None:
        if self.chance.random() < share:
            self.crashes += 1
            raise Crash


@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_whatever_deliveries_are_lost_late_or_repeated_and_processes_die_the_clock_comes_to_the_truth(engine):  # noqa: F811
    """Each warning is told once, none of what was done, and in the end every clock is what the ticket system says."""
    with engine.connect() as connection:
        # Thousands of simulated transactions need not wait for the disk.
        connection.execute(sa.text("PRAGMA synchronous=OFF"))
    chance = random.Random(5)
    lives = lives_of(chance, 200)
    one = Simulated(engine, chance, lives)
    while one.moment.now < START + 40 * HOUR:
        one.moment.now += 300
        for ticket, life in lives.items():
            if life[0].at <= one.moment.now and chance.random() < 0.03:
                one.hear(ticket)
        one.warn()
    assert one.crashes > 30
    keys = [warning[:3] for warning in one.told]
    assert len(keys) == len(set(keys)) > 50
    for ticket, life in lives.items():
        with engine.begin() as connection:
            one.clock.follow(connection, "cn", ticket, life)
        row, truth = one.clock.of("cn", ticket), course_of(life)
        assert (row.responded_at, row.resolved_at) == (truth.responded_at, truth.resolved_at), ticket
    for ticket, which, _, told_at in one.told:
        before = course_of([step for step in lives[ticket] if step.at <= told_at])
        assert before.resolved_at is None, "warned of a ticket that was solved"
        assert which == "resolve" or before.responded_at is None, "warned of an answer that had been given"
    counted = [event for event in read(engine, 0, 4e9) if event.event != "graded"]
    assert len(counted) == sum(map(len, lives.values()))
