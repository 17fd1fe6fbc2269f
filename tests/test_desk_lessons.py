"""The knowledge loop by itself: a solved ticket owes its task, one that comes back postpones it, people are reminded once."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import pytest

from pipeline.desk.clock import Clocks
from pipeline.desk.draft import TODO
from pipeline.desk.grading_options import CalendarOptions, GradingOptions
from pipeline.desk.lessons import NOBODY, Lessons
from pipeline.desk.options import DeskOptions
from pipeline.service.messages import Messages
from snapshots.model import ProblemSnapshot, with_id
from snapshots.render.blocks import Links
from snapshots.store import Store
from tests.snapshots_samples import SAMPLES, run_record, severity
from tests.test_desk_room import Chat, Time, engine  # noqa: F401 - a fixture

HOUR = 3600.0
# A Thursday, 10:00 in Shanghai.
START = datetime(2026, 11, 5, 2, tzinfo=UTC).timestamp()
ALWAYS = DeskOptions(knowledge="knowledge")
SHANGHAI = DeskOptions(
    knowledge="knowledge",
    lead="chen",
    grading=GradingOptions(calendars={"shanghai": CalendarOptions(timezone="Asia/Shanghai", country="CN")}),
)


@dataclass
class Loop:
    """Clocks and lessons on a simulated clock, and who was told what."""

    lessons: Lessons
    clocks: Clocks
    people: dict[str, Chat]
    queue: list[str]
    moment: Time
    engine: object

    def tick(self) -> None:
        self.lessons.tick()
        while self.queue:
            self.lessons._messages.work(self.queue.pop(0))

    def told(self, name: str) -> list[tuple[float, str]]:
        return [(round((event.at.timestamp() - START) / HOUR, 2), event.said.en) for event in self.people[name].got]


def snapshot(ticket_id: str) -> ProblemSnapshot:
    base = SAMPLES["wechat_signature"]
    return with_id(msgspec.structs.replace(base, ticket=msgspec.structs.replace(base.ticket, id=ticket_id)))


def loop(engine, folder, options=ALWAYS) -> Loop:  # noqa: F811
    queue: list[str] = []
    store, moment = Store(str(folder / "store")), Time(START)
    people = {name: Chat(name, when=("task",)) for name in ("group", "li")}
    people["li"].when = ("P1",)
    messages = Messages(
        engine, lambda _, message, *__: queue.append(message), people, store, lambda _: Links(), (5.0,), moment
    )
    return Loop(
        Lessons(engine, options, messages, store, moment),
        Clocks(engine, options.grading, moment),
        people, queue, moment, engine,
    )  # fmt: skip


def graded(one: Loop, ticket_id: str = "T-1") -> None:
    taken = snapshot(ticket_id)
    one.lessons._store.put(taken, run_record(taken))
    with one.engine.begin() as connection:
        one.clocks.start(connection, "desk", ticket_id, taken.snapshot_id, severity("P3"), one.moment.now)


def test_a_solved_ticket_opens_one_task_that_its_snapshot_fills_in(engine, tmp_path):  # noqa: F811
    one = loop(engine, tmp_path)
    graded(one)
    one.tick()
    assert one.lessons.tasks.listed() == []
    one.moment.now += HOUR
    one.clocks.mark("desk", "T-1", "resolved", "wang")
    for _ in range(3):
        one.moment.now += 60
        one.tick()
    (task,) = one.lessons.tasks.listed()
    assert (task.state, task.assignee, task.due_at - task.opened_at) == ("open", "wang", 48 * HOUR)
    assert "prevention" in task.text.lower()
    assert TODO.en in task.text
    assert task.snapshot_id == snapshot("T-1").snapshot_id
    ((_, said),) = one.told("group")
    assert said.startswith("Ticket T-1 is solved. wang, please write down what it taught by 2026-11-07 03:01 UTC")


def test_who_is_a_receiver_of_his_own_is_told_himself_and_nobody_else(engine, tmp_path):  # noqa: F811
    one = loop(engine, tmp_path)
    graded(one)
    one.clocks.mark("desk", "T-1", "resolved", "li")
    one.tick()
    assert len(one.told("li")) == 1
    assert one.told("group") == []


@pytest.mark.parametrize(
    ("solver", "holder", "options", "assignee"),
    [("wang", "li", SHANGHAI, "wang"), (None, "li", SHANGHAI, "li"), (None, None, SHANGHAI, "chen"), (None, None, ALWAYS, NOBODY)],
)  # fmt: skip
def test_the_task_goes_to_who_solved_it_else_who_has_it_else_the_lead(
    engine,  # noqa: F811
    tmp_path,
    solver,
    holder,
    options,
    assignee,
):
    one = loop(engine, tmp_path, options)
    graded(one)
    if holder:
        one.clocks.mark("desk", "T-1", "assigned", None, holder)
    one.clocks.mark("desk", "T-1", "resolved", solver)
    one.tick()
    assert [task.assignee for task in one.lessons.tasks.listed()] == [assignee]


def test_reminders_come_before_the_end_and_at_it_once_each(engine, tmp_path):  # noqa: F811
    one = loop(engine, tmp_path)
    graded(one)
    one.clocks.mark("desk", "T-1", "resolved", "wang")
    for _ in range(60 * 4):
        one.tick()
        one.moment.now += 900
    assert [(hour, said.split(" (")[0]) for hour, said in one.told("group")[1:]] == [
        (24.0, f"Knowledge task {one.lessons.tasks.listed()[0].id} of ticket T-1 is due in 24 hours"),
        (44.0, f"Knowledge task {one.lessons.tasks.listed()[0].id} of ticket T-1 is due in 4 hours"),
        (48.0, f"Knowledge task {one.lessons.tasks.listed()[0].id} of ticket T-1 is overdue"),
    ]


def test_a_desk_with_a_calendar_is_reminded_in_its_hours(engine, tmp_path):  # noqa: F811
    """Solved on Thursday at 16:00; due on Saturday, when nobody is there. The calendar is the configuration's."""
    one = loop(engine, tmp_path, SHANGHAI)
    graded(one)
    one.moment.now += 6 * HOUR
    one.clocks.mark("desk", "T-1", "resolved", "wang")
    for _ in range(120 * 4):
        one.tick()
        one.moment.now += 900
    when = [datetime.fromtimestamp(START + hour * HOUR, UTC) for hour, _ in one.told("group")]
    assert [f"{moment:%a %H:%M}" for moment in when] == [
        "Thu 08:00",
        # 24 hours before, on Friday at 16:00.
        "Fri 08:00",
        # 4 hours before is on Saturday: said on Friday, half an hour before the desk closes at 18:00.
        "Fri 09:30",
        # The end is on Saturday: said on Monday at 09:00.
        "Mon 01:00",
    ]


def test_a_ticket_that_comes_back_postpones_its_task_and_says_so(engine, tmp_path):  # noqa: F811
    one = loop(engine, tmp_path)
    graded(one)
    one.clocks.mark("desk", "T-1", "resolved", "wang")
    one.tick()
    one.moment.now += 10 * HOUR
    one.clocks.mark("desk", "T-1", "reopened", "customer")
    one.tick()
    (task,) = one.lessons.tasks.listed()
    assert task.state == "postponed"
    assert one.told("group")[-1][1] == (
        f"Ticket T-1 was opened again: its knowledge task {task.id} waits until it is solved."
    )
    one.moment.now += 60 * HOUR
    one.tick()
    assert len(one.told("group")) == 2, "who cannot know the solution is reminded of nothing"
    assert one.lessons.tasks.standings(one.moment.now)[0].missing == 0
    one.clocks.mark("desk", "T-1", "resolved", "li2")
    one.moment.now += 60
    one.tick()
    (task,) = one.lessons.tasks.listed()
    assert (task.state, task.due_at) == ("open", one.moment.now + 48 * HOUR)
    assert one.lessons.tasks.outcomes() == {"T-1": True}
    for _ in range(60 * 4):
        one.moment.now += 900
        one.tick()
    assert ["due in 24" in said or "due in 4 " in said or "overdue" in said for _, said in one.told("group")[3:]] == [
        True
    ] * 3


def test_an_entry_that_was_handed_in_stays_and_its_ticket_is_known_to_have_come_back(engine, tmp_path):  # noqa: F811
    one = loop(engine, tmp_path)
    graded(one)
    one.clocks.mark("desk", "T-1", "resolved", "wang")
    one.tick()
    (task,) = one.lessons.tasks.listed()
    text = task.text.replace(TODO.en, "done").replace(TODO.zh, "已写")
    one.lessons.tasks.submit(task.id, text, one.moment.now)
    one.clocks.mark("desk", "T-1", "reopened")
    one.moment.now += 60
    one.tick()
    assert one.lessons.tasks.get(task.id).state == "submitted"
    assert one.lessons.tasks.outcomes() == {"T-1": True}
    assert len(one.told("group")) == 1


def test_a_ticket_solved_long_ago_owes_nothing_and_one_without_its_snapshot_waits(engine, tmp_path, caplog):  # noqa: F811
    one = loop(engine, tmp_path)
    graded(one)
    one.clocks.mark("desk", "T-1", "resolved", at=one.moment.now)
    one.moment.now += 8 * 24 * HOUR
    one.tick()
    assert one.lessons.tasks.listed() == []
    with one.engine.begin() as connection:
        one.clocks.start(connection, "desk", "T-2", "ps-gone", severity("P3"), one.moment.now)
    one.clocks.mark("desk", "T-2", "resolved")
    for _ in range(3):
        one.moment.now += 60
        one.tick()
    assert one.lessons.tasks.listed() == []
    assert caplog.text.count("cannot be filled in") == 1


def test_tickets_that_cannot_be_taught_of_do_not_stand_before_the_others(engine, tmp_path, monkeypatch):  # noqa: F811
    """However many snapshots are gone from the store, a ticket that was solved later has its task."""
    monkeypatch.setattr("pipeline.desk.lessons._MOST", 3)
    one = loop(engine, tmp_path)
    for number in range(7):
        with engine.begin() as connection:
            one.clocks.start(connection, "desk", f"T-{number}", "ps-gone", severity("P3"), one.moment.now)
        one.clocks.mark("desk", f"T-{number}", "resolved")
    one.moment.now += 60
    graded(one, "T-9")
    one.clocks.mark("desk", "T-9", "resolved")
    one.tick()
    assert [task.ticket_id for task in one.lessons.tasks.listed()] == ["T-9"]


class Crash(Exception):
    """The process dies."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_whatever_dies_in_between_each_task_is_opened_once_and_told_once(engine, tmp_path, monkeypatch):  # noqa: F811
    """Two hundred tickets are solved, some come back; processes die before, inside and after the transaction that tells."""
    chance = random.Random(11)
    one = loop(engine, tmp_path)
    for number in range(200):
        graded(one, f"T-{number}")
    say = one.lessons._messages.say

    def dying(*given, **named) -> None:
        if chance.random() < 0.05:
            raise Crash
        say(*given, **named)
        if chance.random() < 0.05:
            raise Crash

    monkeypatch.setattr(one.lessons._messages, "say", dying)
    ends = {f"T-{number}": START + chance.uniform(0, 20) * HOUR for number in range(200)}
    back = {ticket: at + chance.uniform(1, 20) * HOUR for ticket, at in ends.items() if chance.random() < 0.2}
    crashes = 0
    while one.moment.now < START + 110 * HOUR:
        one.moment.now += 600
        for ticket in [name for name, at in ends.items() if at <= one.moment.now]:
            one.clocks.mark("desk", ticket, "resolved", "wang", at=ends.pop(ticket))
        for ticket in [name for name, at in back.items() if at <= one.moment.now]:
            one.clocks.mark("desk", ticket, "reopened")
            del back[ticket]
        try:
            one.tick()
        except Crash:
            crashes += 1
            while one.queue:
                one.lessons._messages.work(one.queue.pop(0))
    states = Counter(task.state for task in one.lessons.tasks.listed(limit=500))
    assert crashes > 20
    assert set(states) == {"open", "postponed"}
    assert sum(states.values()) == 200
    told = Counter(said.replace("24 hours", "24").replace("4 hours", "4") for _, said in one.told("group"))
    assert max(told.values()) == 1, [said for said, times in told.items() if times > 1][:3]
    opened = [said for said in told if said.endswith("as far as the snapshot knows.")]
    assert len(opened) == 200
    assert sum("overdue" in said for said in told) == states["open"]
