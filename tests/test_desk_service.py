"""The desk beside the hook: a delivery's ticket is graded, its clock runs, its storm raises it, and a P1 calls people."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from pipeline.desk.duty import Duty, Watch
from pipeline.desk.grading_options import GradingOptions
from pipeline.desk.options import DeskOptions
from pipeline.errors import Refused, TicketNotFound
from pipeline.service import work
from pipeline.service.database import opened, prepare
from pipeline.service.ledger import ROUTINE, Ledger, NewDelivery
from pipeline.service.messages import Messages
from pipeline.service.storms import Storms
from pipeline.service.work import Bench
from pipeline.settings import Settings
from pipeline.sources import open_bundle
from pipeline.tickets.file import read_ticket
from pipeline.tickets.system import Step, SystemUnavailable
from pipeline.values import Ticket
from snapshots.render.blocks import Links
from snapshots.store import Store
from tests.service_samples import RememberingDesk
from tests.test_desk_room import PEOPLE, ROOM, Chat, Time

BUNDLE = Path(__file__).resolve().parent.parent / "examples" / "TK-24182"
OPTIONS = GradingOptions(room=ROOM)


@dataclass
class Service:
    """A bench with a desk; `take` works one delivery of a ticket."""

    bench: Bench
    duty: Duty
    desk: RememberingDesk
    people: dict[str, Chat]
    queue: list[str]
    store: Store
    jobs: list[str]

    def take(self, ticket: Ticket, number: int, kind: str = "ticket.created") -> None:
        self.desk.tickets[ticket.id] = ticket
        (delivery,) = self.bench.ledger.add([NewDelivery("desk", f"d{number}", ticket.id, kind, 1, Time().now)])
        assert delivery is not None
        while self.jobs:
            self.bench.work(self.jobs.pop(0), "w")
        assert {state for _, state in self.bench.ledger.counts()} == {"done"}
        while self.queue:
            self.bench.messages.work(self.queue.pop(0))

    def note(self, ticket_id: str) -> str:
        (body,) = self.desk.notes[ticket_id].values()
        return body


@pytest.fixture
def service(tmp_path) -> Iterator[Service]:
    url = f"sqlite:///{tmp_path}/service.sqlite"
    engine = opened(url)
    prepare(engine, url)
    settings = Settings(store=str(tmp_path / "store"), budget=120.0, desk=DeskOptions(grading=OPTIONS))
    store, queue, desk = Store(settings.store), [], RememberingDesk()
    people = {name: Chat(name) for name in PEOPLE}
    messages = Messages(engine, lambda _, message, *__: queue.append(message), people, store, lambda _: Links(), (5.0,))
    duty = Duty(engine, DeskOptions(grading=OPTIONS), messages, store, systems={"desk": desk})
    source = open_bundle(BUNDLE)
    jobs: list[str] = []
    ledger = Ledger(engine, lambda _, delivery, *__: jobs.append(delivery))
    bench = Bench(
        ledger, {"desk": desk}, [source], store, settings, lambda _: Links(), Storms(engine, 1800), messages, duty
    )
    yield Service(bench, duty, desk, people, queue, store, jobs)
    source.close()
    engine.dispose()


def of(ticket_id: str, customer: str, **given: object) -> Ticket:
    """The example's ticket, of another customer."""
    base = read_ticket((BUNDLE / "ticket.json").read_bytes(), "ticket.json", lambda _: None)
    return replace(base, id=ticket_id, system="desk", customer_id=customer, **given)


def test_a_storm_raises_the_ticket_that_joins_it_and_never_its_document(service):
    """Twelve customers of one cause: the note, the clock and the room know it, the document is the ticket's own."""
    for number in range(12):
        service.take(of(f"T-{number}", f"c-{number}"), number)
    first, last = service.duty.clocks.of("desk", "T-0"), service.duty.clocks.of("desk", "T-11")
    own = service.store.get(last.snapshot_id).severity
    assert own is not None
    assert own.level != "P1"
    assert own.scope.customers == 1
    # The first one is graded anew as its storm grows.
    assert (first.level, last.level) == ("P1", "P1")
    # Whoever opens the ticket reads why, and until when.
    told, by = service.note("T-11"), datetime.fromtimestamp(last.respond_by, timezone(timedelta(hours=8)))
    assert "P1" in told
    assert "同一原因已有" in told
    assert f"应答期限 {by:%Y-%m-%d %H:%M:%S} +08:00" in told
    service.take(of("T-11", "c-11"), 12, "ticket.updated")
    assert f"应答期限 {by:%Y-%m-%d %H:%M:%S} +08:00" in service.note("T-11")
    assert service.duty.rooms is not None
    (room,) = service.duty.rooms.listed()
    assert room.key.startswith("storm:")
    assert {name for name, chat in service.people.items() if chat.got} == {"tech-1", "product-1", "ops-1"}
    held = msgspec.json.decode(last.severity)
    assert any("同一原因已有" in one["statement"]["zh"] for one in held["reasons"])


def test_a_level_that_a_person_set_is_kept_and_opens_the_room(service):
    service.take(of("T-1", "c-1", custom_fields={"severity": "P1"}), 1)
    row = service.duty.clocks.of("desk", "T-1")
    assert row.level == "P1"
    found = service.store.get(row.snapshot_id)
    assert found.severity is not None
    assert found.severity.ticket_level == "P1"
    # Set lower later: it stays.
    service.take(of("T-1", "c-1", custom_fields={"severity": "P4"}), 2)
    assert service.duty.clocks.of("desk", "T-1").level == "P1"


def test_the_watch_tells_what_is_due_by_itself(service):
    lately = datetime.now(UTC) - timedelta(hours=6)
    service.take(of("T-1", "c-1", custom_fields={"severity": "P1"}, created_at=lately), 1)
    for chat in service.people.values():
        chat.when = ("warning", "overdue")
    watch = Watch(service.duty, every=0.02)
    watch.start()
    for _ in range(500):
        if service.queue:
            break
        time.sleep(0.01)
    watch.stop()
    # The ticket is six hours old, so both of its deadlines are over: told, and not lost.
    assert service.queue
    for message in service.queue:
        service.bench.messages.work(message)
    assert {event.kind for chat in service.people.values() for event in chat.got} == {"room.called", "desk.overdue"}


# ---- what the ticket system says of its tickets


def lately(minutes: float) -> datetime:
    return datetime.now(UTC) - timedelta(minutes=minutes)


def test_what_the_ticket_system_says_moves_the_clock_with_whatever_delivery(service):
    opened = lately(20)
    service.desk.steps["T-1"] = [Step("opened", opened, "c-1")]
    service.take(of("T-1", "c-1", created_at=opened), 1)
    assert service.duty.clocks.of("desk", "T-1").responded_at is None
    # The delivery of the reply is lost; that of the status tells both.
    service.desk.steps["T-1"] += [Step("responded", lately(10), "li"), Step("resolved", lately(5), "li")]
    service.take(of("T-1", "c-1", created_at=opened), 2, f"{ROUTINE}status")
    row = service.duty.clocks.of("desk", "T-1")
    assert (row.responded_at, row.resolved_at) == tuple(s.at.timestamp() for s in service.desk.steps["T-1"][1:])


def test_a_change_of_state_takes_no_snapshot_unless_it_makes_the_ticket_graver(service, monkeypatch):
    opened = lately(20)
    taken: list[str] = []
    real = work.take_snapshot

    def counted(ticket, *given):
        taken.append(ticket.id)
        return real(ticket, *given)

    monkeypatch.setattr(work, "take_snapshot", counted)
    service.take(of("T-1", "c-1", created_at=opened), 1)
    service.desk.steps["T-1"] = [Step("assigned", lately(9), "lead", "li")]
    service.take(of("T-1", "c-1", created_at=opened), 2, f"{ROUTINE}owner")
    assert taken == ["T-1"]
    service.desk.steps["T-1"].append(Step("prioritised", lately(8), "lead", "P1"))
    service.take(of("T-1", "c-1", created_at=opened), 3, f"{ROUTINE}priority")
    assert taken == ["T-1", "T-1"]
    assert service.duty.clocks.of("desk", "T-1").level == "P1"


def test_a_level_that_a_person_set_by_priority_calls_the_room(service):
    opened = lately(20)
    service.take(of("T-1", "c-1", created_at=opened), 1)
    service.desk.steps["T-1"] = [Step("prioritised", lately(8), "lead", "P1")]
    service.take(of("T-1", "c-1", created_at=opened), 2, f"{ROUTINE}priority")
    assert service.duty.rooms is not None
    assert [room.ticket_id for room in service.duty.rooms.listed()] == ["T-1"]
    assert "P1" in service.note("T-1")


def test_a_history_that_cannot_be_read_stops_no_snapshot(service, caplog):
    service.desk.away = Refused("the account may not read what happened")
    service.take(of("T-1", "c-1"), 1)
    assert "what happened to it is not known" in caplog.text
    assert service.duty.clocks.of("desk", "T-1") is not None


def test_a_warning_is_told_where_the_ticket_system_is_away_and_it_is_not_asked_each_time(service):
    for number in range(3):
        service.take(of(f"T-{number}", f"c-{number}", custom_fields={"severity": "P1"}, created_at=lately(25)), number)
    service.desk.away, service.desk.asked = SystemUnavailable("no answer within 10 s"), 0
    for chat in service.people.values():
        chat.when = ("warning", "overdue")
    assert service.duty.tick() >= 3
    assert service.desk.asked == 1


def test_a_ticket_that_was_deleted_warns_nobody(service):
    service.take(of("T-1", "c-1", custom_fields={"severity": "P1"}, created_at=lately(25)), 1)
    service.desk.away = TicketNotFound("T-1 is deleted")
    assert service.duty.clocks.due(time.time())
    service.duty.tick()
    assert not service.duty.clocks.due(time.time() + 86400)
