"""The emergency room: everyone has answered, or somebody above knows, within 15 minutes, on a simulated clock."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from pipeline.desk import events
from pipeline.desk.course import Told
from pipeline.desk.duty import Duty
from pipeline.desk.grading_options import ROLES, GradingOptions, RoomOptions
from pipeline.desk.options import DeskOptions
from pipeline.desk.room import WITHIN, Call, Rooms
from pipeline.desk.severity import raised
from pipeline.errors import UsageError
from pipeline.notify.target import Event, Sent, wanted
from pipeline.service.app import Parts, make_app
from pipeline.service.database import opened
from pipeline.service.ledger import Ledger
from pipeline.service.links import Answers
from pipeline.service.messages import Messages, listed
from pipeline.service.options import ServiceOptions
from pipeline.service.storms import Storm
from pipeline.service.tables import metadata
from snapshots.model import ProblemSnapshot, with_id
from snapshots.render.blocks import Links
from snapshots.store import Store
from tests.service_samples import empty_postgresql
from tests.snapshots_samples import SAMPLES, run_record, severity

ROOM = RoomOptions(
    technology=("tech-1", "tech-2", "tech-3"),
    product=("product-1",),
    operations=("ops-1", "ops-2"),
    last=("head-1", "head-2"),
)
PEOPLE = tuple(dict.fromkeys(name for role in (*ROLES, "last") for name in getattr(ROOM, role)))
OPTIONS = GradingOptions(room=ROOM)
SERVICE = ServiceOptions(public_url="https://desk.example", secret="a secret of sixteen")
START = 1_795_000_000.0


@dataclass
class Time:
    now: float = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path) -> Iterator[Engine]:
    """An empty database."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path}/desk.sqlite"
        else:
            url = stack.enter_context(empty_postgresql(request.getfixturevalue("postgresql_url")))
        made = opened(url)
        with made.begin() as connection:
            metadata.create_all(connection)
        yield made
        made.dispose()


def snapshot(ticket_id: str = "T-1", level: str = "P1") -> ProblemSnapshot:
    base = SAMPLES["wechat_signature"]
    opened_at = datetime.fromtimestamp(START - 60, UTC).isoformat()
    ticket = msgspec.structs.replace(base.ticket, id=ticket_id, customer_id=f"c-{ticket_id}", created_at=opened_at)
    return with_id(msgspec.structs.replace(base, ticket=ticket, severity=severity(level)))


class Crash(Exception):
    """The process dies."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_in_a_thousand_rooms_every_role_is_settled_within_fifteen_minutes(engine):
    """People who answer late or never; looks that are late; processes that die in the middle of a call."""
    chance, moment = random.Random(7), Time()
    rooms = Rooms(engine, ROOM, moment)
    opening = sorted(chance.random() * 4 * 3600 for _ in range(1000))
    answers: list[tuple[float, Call]] = []
    called: Counter[tuple[int, str, str, bool]] = Counter()

    def tell(_connection: object, call: Call) -> None:
        if chance.random() < 0.02:
            raise Crash
        pending.append(call)

    taken = snapshot()
    number = 0
    while moment.now < START + 4 * 3600 + 1200:
        moment.now += 20 if chance.random() < 0.98 else chance.uniform(20, 150)
        while number < len(opening) and START + opening[number] <= moment.now:
            pending: list[Call] = []
            one = msgspec.structs.replace(taken, ticket=msgspec.structs.replace(taken.ticket, id=f"T-{number}"))
            with contextlib.suppress(Crash), engine.begin() as connection:
                rooms.open(connection, "desk", one, None, tell)
                number += 1
                kept(pending, called, answers, chance, moment.now)
        while answers and answers[0][0] <= moment.now:
            _, call = answers.pop(0)
            rooms.acknowledge(call.room, call.role, call.person)
        pending = []
        with contextlib.suppress(Crash):
            rooms.tick(tell)
        # What was called is what the rows say: a call whose transaction died was none.
        there = {(c.room, c.role, c.person, c.escalation) for call in pending for c in rooms.of(call.room)[1]}
        kept(
            [c for c in pending if (c.room, c.role, c.person, c.escalation) in there],
            called,
            answers,
            chance,
            moment.now,
        )
    settled: Counter[str] = Counter()
    for room in rooms.listed():
        roles, _, care = rooms.of(room.id)
        assert len(care) == 1
        for role in roles:
            times = [at for at in (role.acknowledged_at, role.escalated_at) if at is not None]
            assert times, (room.id, role.role)
            assert min(times) - room.opened_at <= WITHIN
            settled["acknowledged" if role.escalated_at is None else "escalated"] += 1
    assert number == 1000
    assert sum(settled.values()) == 3000
    assert min(settled.values()) > 300
    assert set(called.values()) == {1}


def kept(
    pending: list[Call],
    called: Counter[tuple[int, str, str, bool]],
    answers: list[tuple[float, Call]],
    chance: random.Random,
    now: float,
) -> None:
    """The calls reach their people, of whom each second never answers."""
    for call in pending:
        called[call.room, call.role, call.person, call.escalation] += 1
        if chance.random() < 0.5:
            answers.append((now + chance.expovariate(1 / 300), call))
    answers.sort(key=lambda one: one[0])


def calling(told: list[Call]):
    return lambda _connection, call: told.append(call)


def test_who_does_not_answer_is_passed_over_and_then_those_above_are_called(engine):
    moment, told = Time(), []
    rooms = Rooms(engine, ROOM, moment)
    with engine.begin() as connection:
        room = rooms.open(connection, "desk", snapshot(), None, calling(told))
    rooms.acknowledge(room, "product", "product-1")
    at: dict[float, list[tuple[str, str]]] = defaultdict(list)
    for call in told:
        at[0.0].append((call.role, call.person))
    for minute in range(1, 16):
        moment.now = START + minute * 60
        told.clear()
        rooms.tick(calling(told))
        at[float(minute)] += [(call.role, call.person) for call in told]
    assert {minute: who for minute, who in at.items() if who} == {
        0.0: [("technology", "tech-1"), ("product", "product-1"), ("operations", "ops-1")],
        4.0: [("operations", "ops-2"), ("technology", "tech-2")],
        8.0: [("technology", "tech-3")],
        12.0: [("operations", "head-1"), ("operations", "head-2"), ("technology", "head-1"), ("technology", "head-2")],
    }


def test_tickets_of_one_storm_share_a_room_and_its_care_list(engine):
    """Each customer stands there once, with the sentence that he may be told."""
    rooms, told = Rooms(engine, ROOM, Time()), []
    storm = Storm(5, "desk", "T-1", "ps-1", None, 12, 12, 14, ("wechatpay",), START, START, True)
    with engine.begin() as connection:
        ids = {rooms.open(connection, "desk", snapshot(f"T-{n}"), storm, calling(told)) for n in (1, 2, 2, 3)}
    (room,) = ids
    care = rooms.of(room)[2]
    assert [(row.ticket_id, row.customer) for row in care] == [(f"T-{n}", f"c-T-{n}") for n in (1, 2, 3)]
    assert care[0].zh == "您的支付未能发起。您可以改用其他支付方式。"
    assert len(told) == 3
    assert rooms.cared(room, "desk", "T-2")
    assert rooms.close(room)
    assert rooms.listed() == []
    with engine.begin() as connection:
        assert rooms.open(connection, "desk", snapshot("T-9"), storm, calling(told)) != room


def test_a_customer_who_was_told_another_sentence_is_to_be_told_again(engine):
    rooms, told = Rooms(engine, ROOM, Time()), []
    taken = snapshot()
    assert taken.customer_message is not None
    other = msgspec.structs.replace(taken.customer_message, en="Your payment works again.", zh="您的支付已恢复。")
    for message, kept in ((taken.customer_message, True), (other, False), (None, False)):
        with engine.begin() as connection:
            room = rooms.open(connection, "desk", snapshot(), None, calling(told))
        assert rooms.cared(room, "desk", "T-1")
        with engine.begin() as connection:
            again = msgspec.structs.replace(taken, customer_message=message)
            rooms.open(connection, "desk", again, None, calling(told))
        (row,) = rooms.of(room)[2]
        assert (row.told_at is not None) == kept
        assert row.en == (message.en if message else None)


# ---- through the messages


@dataclass
class Chat:
    """A receiver in memory."""

    name: str
    kind: str = "webhook"
    # Nothing of itself: who is called is named.
    when: tuple[str, ...] = ("no_fault",)
    got: list[Event] = field(default_factory=list)

    def wants(self, event: Event) -> bool:
        return wanted(self.when, event)

    def send(self, event: Event) -> Sent:
        self.got.append(event)
        return Sent("sent")

    def close(self) -> None:
        pass


@dataclass
class Desk:
    """The desk with its messages, of which `work` sends those that are queued."""

    duty: Duty
    messages: Messages
    people: dict[str, Chat]
    queue: list[str]
    engine: Engine
    clock: Time

    def work(self) -> None:
        while self.queue:
            self.messages.work(self.queue.pop(0))


@pytest.fixture
def desk(engine, tmp_path) -> Desk:
    queue: list[str] = []
    store, moment = Store(str(tmp_path / "store")), Time()
    people = {name: Chat(name) for name in PEOPLE} | {"group": Chat("group", when=("P1", "warning", "overdue"))}
    messages = Messages(
        engine,
        lambda _connection, message, *_: queue.append(message),
        people,
        store,
        lambda _: Links(),
        (5.0,),
        moment,
        acknowledge=Answers(SERVICE, None).link,
    )
    store.put(snapshot(), run_record(snapshot()))
    return Desk(
        Duty(engine, DeskOptions(grading=OPTIONS), messages, store, moment), messages, people, queue, engine, moment
    )


def graded(desk: Desk, taken: ProblemSnapshot) -> None:
    found = desk.duty.severity(taken, None, "desk")
    assert found is not None
    with desk.engine.begin() as connection:
        desk.duty.graded(connection, "desk", taken, found, None)


def test_a_p1_calls_three_people_by_their_own_links_and_a_pressed_button_answers(desk):
    """Opening the link answers nothing: chats open what they are sent."""
    graded(desk, snapshot())
    desk.work()
    called = {name: chat.got for name, chat in desk.people.items() if chat.got}
    assert set(called) == {"tech-1", "product-1", "ops-1"}
    (event,) = called["tech-1"]
    assert event.kind == "room.called"
    assert event.said is not None
    assert event.said.zh == f"P1 工单 {snapshot().ticket.id} 已开启应急处置，呼叫技术方，请确认。"
    assert event.links.acknowledge.startswith("https://desk.example/rooms/answer?key=")
    assert event.links.acknowledge != called["ops-1"][0].links.acknowledge
    answers = Answers(SERVICE, desk.duty.rooms)
    app = make_app(Parts({}, Ledger(desk.engine, lambda *_: None), SERVICE, lambda *_: None, answers))
    get, post = asking(app, "GET"), asking(app, "POST")
    path = event.links.acknowledge.removeprefix("https://desk.example")
    assert "Acknowledge" in get(path).text
    assert desk.duty.rooms is not None
    assert not any(role.acknowledged_at for role in desk.duty.rooms.of(1)[0])
    assert post(path).status_code == 200
    assert [(r.role, r.acknowledged_by) for r in desk.duty.rooms.of(1)[0] if r.acknowledged_at] == [
        ("technology", "tech-1")
    ]
    for wrong in ("/rooms/answer", "/rooms/answer?key=x", path[:-2] + "zz"):
        assert get(wrong).status_code == post(wrong).status_code == 401


def asking(app: FastAPI, method: str):
    """Requests to the application without a socket."""

    def ask(path: str) -> httpx.Response:
        async def answer() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://desk.example") as client:
                return await client.request(method, path)

        return asyncio.run(answer())

    return ask


def test_a_snapshots_link_answers_no_call(desk):
    from pipeline.service.links import Pages

    page = Pages(SERVICE, Store("memory://x")).links('[1,"technology","tech-1"]').page
    key = page.partition("key=")[2]
    assert Answers(SERVICE, desk.duty.rooms).page(key, answer=True).status_code == 401


def test_a_warning_goes_to_whoever_wants_warnings_and_once(desk):
    """The group wants warnings of P1; those who are called get no warning."""
    graded(desk, snapshot())
    desk.work()
    for chat in desk.people.values():
        chat.got.clear()
    row = desk.duty.clocks.of("desk", snapshot().ticket.id)
    desk.clock.now = row.respond_by - 300
    for _ in range(3):
        desk.duty.clocks.tick(desk.duty._warn)
        desk.work()
    (event,) = desk.people["group"].got
    assert event.kind == "desk.warning"
    assert event.said is not None
    assert "will be overdue in 5 min, take it first" in event.said.en
    assert {row.state for row in listed(desk.engine)} == {"sent"}


def test_graded_again_calls_nobody_again(desk):
    for _ in range(3):
        graded(desk, snapshot())
    desk.work()
    assert sum(len(chat.got) for chat in desk.people.values()) == 3


def test_a_room_that_was_closed_is_not_opened_again_by_a_snapshot_but_by_a_ticket_that_came_back(desk):
    """A customer's thanks, an answer, a storm that grows: each takes a snapshot of a ticket that is a P1 still."""
    rooms = desk.duty.rooms
    assert rooms is not None
    graded(desk, snapshot())
    (room,) = rooms.listed()
    desk.clock.now += 60
    assert rooms.close(room.id)
    graded(desk, snapshot())
    assert rooms.listed() == []
    desk.clock.now += 60
    assert desk.duty.clocks.mark("desk", "T-1", "resolved")
    graded(desk, snapshot())
    assert rooms.listed() == []
    desk.clock.now += 60
    assert desk.duty.clocks.mark("desk", "T-1", "reopened")
    graded(desk, snapshot())
    (again,) = rooms.listed()
    assert again.id != room.id
    graded(desk, snapshot())
    assert rooms.listed() == [again]
    desk.work()
    assert sum(len(chat.got) for chat in desk.people.values()) == 6


def test_nobody_is_called_for_a_ticket_that_was_solved_before_it_was_graded(desk):
    with desk.engine.begin() as connection:
        desk.duty.clocks.follow(connection, "desk", "T-1", [Told("resolved", START - 30)])
    graded(desk, snapshot())
    assert desk.duty.rooms is not None
    assert desk.duty.rooms.listed() == []


def test_who_is_not_configured_is_told_at_once(desk):
    del desk.people["tech-3"]
    with pytest.raises(UsageError, match=r"there is no \[notify.tech-3\]"):
        Duty(desk.engine, DeskOptions(grading=OPTIONS), desk.messages, Store("memory://x"), desk.clock)


def test_a_ticket_that_its_storm_makes_a_p1_opens_the_storms_room(desk):
    taken = msgspec.structs.replace(snapshot(), severity=severity("P3"))
    own = msgspec.structs.replace(
        severity("P3"), scope=msgspec.structs.replace(severity("P3").scope, size="one", customers=1)
    )
    storm = Storm(5, "desk", "T-1", "ps-1", None, 30, 30, 31, (), START, START, True)
    taken = msgspec.structs.replace(taken, severity=own)
    found = desk.duty.severity(taken, storm, "desk")
    assert found is not None
    assert found.level == "P1"
    assert raised(own, None, OPTIONS, "desk", None) == own
    with desk.engine.begin() as connection:
        desk.duty.graded(connection, "desk", snapshot(), found, storm)
    assert desk.duty.rooms is not None
    assert [row.key for row in desk.duty.rooms.listed()] == ["storm:5"]


def test_a_clock_runs_in_either_database(desk):
    """Graded, raised, answered, solved, open again: each statement is one that both understand."""
    clocks = desk.duty.clocks
    for level in ("P3", "P2"):
        graded(desk, msgspec.structs.replace(snapshot(), severity=severity(level)))
    ticket_id = snapshot().ticket.id
    assert clocks.of("desk", ticket_id).level == "P2"
    assert clocks.mark("desk", ticket_id, "responded", "li")
    assert clocks.mark("desk", ticket_id, "resolved")
    assert list(clocks.open()) == []
    assert clocks.mark("desk", ticket_id, "reopened")
    assert [row.ticket_id for row in clocks.open()] == [ticket_id]
    assert [one.event for one in events.read(desk.engine, 0, 4e9)][-4:] == [
        "graded",
        "responded",
        "resolved",
        "reopened",
    ]
    clocks.mark("desk", ticket_id, "resolved")
    events.prune(desk.engine, 4e9)
    assert clocks.of("desk", ticket_id) is None
