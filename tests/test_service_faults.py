"""What goes wrong around the hook: a database that is away, values that it refuses, workers that end in the middle, clocks that differ.

The promise throughout: a delivery that was answered is worked off, or somebody is told why not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
import sqlalchemy as sa

from pipeline.errors import TicketNotFound
from pipeline.service.database import insisted, opened, prepare
from pipeline.service.durable import Enqueuer, Worker
from pipeline.service.intake import Intake
from pipeline.service.ledger import LEASE, STARTS, STORM_GROWN, Busy, Ended, Job, Ledger
from pipeline.tickets.system import SystemUnavailable
from pipeline.values import Ticket
from tests.service_desk import Board, configuration
from tests.service_samples import ticket
from tests.test_service import database, hook, ledger, new  # noqa: F401 - fixtures

# ruff: noqa: F811

AWAY = sa.exc.OperationalError("SELECT 1", {}, Exception("the server closed the connection"))


def failing_first(call, error: Exception):
    """`call`, which raises `error` the first time."""
    errors = [error]

    def made(*args, **kwargs):
        if errors:
            raise errors.pop()
        return call(*args, **kwargs)

    return made


# ---- no open delivery is without a job


def test_a_delivery_that_waits_for_anothers_attempt_keeps_a_job_when_that_one_is_dropped(ledger):
    book, now, queued = ledger
    first, second = book.add([new("a"), new("b")])
    book.finish(book.begin(first, "w"), "w", Ended("again", "away", again=60.0))
    queued.clear()
    # The job of the second runs, and finds the first one's failure: it comes again with it.
    assert isinstance(book.begin(second, "w"), Busy)
    assert queued == [(second, 60.0)]
    assert book.drop([first], "not wanted") == [first]
    now[0] += 61
    job = book.begin(second, "w")
    assert isinstance(job, Job)
    assert job.covers == (second,)


def test_a_clock_that_is_behind_makes_an_attempt_late_and_loses_nothing(ledger):
    book, now, queued = ledger
    [one] = book.add([new("a")])
    book.finish(book.begin(one, "w"), "w", Ended("again", "away", again=60.0))
    queued.clear()
    now[0] += 30  # the queue's clock says that it is time
    assert isinstance(book.begin(one, "w"), Busy)
    assert queued == [(one, 30.0)]


def test_what_a_hopeless_job_covered_is_given_up_with_it_and_what_came_later_is_not(ledger):
    book, now, _queued = ledger
    first, second = book.add([new("a"), new("b")])
    for _ in range(STARTS):
        assert isinstance(book.begin(first, "w"), Job)
        now[0] += LEASE + 1
    [third] = book.add([new("c")])
    assert book.begin(first, "w") is None
    states = {row.id: row.state for row in book.listed()}
    assert states == {first: "dead", second: "dead", third: "queued"}
    assert isinstance(book.begin(third, "w"), Job)


def test_a_job_that_was_begun_though_nobody_heard_so_is_begun_again_by_the_same_worker(ledger):
    book, now, _queued = ledger
    first, second = book.add([new("a"), new("b")])
    assert isinstance(book.begin(first, "w", "this run"), Job)
    now[0] += LEASE - 1
    book.seen("w", "here")
    now[0] += LEASE - 1
    assert isinstance(book.begin(second, "w"), Busy)
    assert isinstance(book.begin(first, "w", "another run"), Busy)
    again = book.begin(first, "w", "this run")
    assert isinstance(again, Job)
    book.finish(again, "w", Ended("done"))
    assert book.ticket("desk", "T-1").claimed_by is None


def test_a_ticket_that_cannot_be_read_again_is_known_from_its_last_delivery(ledger):
    book, _now, _queued = ledger
    one = Ticket(id="T-1", title="付款失败", description="", created_at=datetime(2026, 11, 23, tzinfo=UTC))
    [first] = book.add([new("a", ticket=msgspec.json.encode(one).decode())])
    book.finish(book.begin(first, "w"), "w", Ended("done"))
    [second] = book.add([replace(new("storm:1:2"), kind=STORM_GROWN)])
    job = book.begin(second, "w")
    assert isinstance(job, Job)
    assert msgspec.json.decode(job.ticket, type=Ticket) == one


def test_a_hook_that_is_quicker_than_its_ticket_is_not_dropped(hook):
    read = hook.desk.ticket

    def late(ticket_id: str):
        hook.desk.tickets.setdefault("T-1", ticket(1))
        hook.desk.ticket = read
        raise TicketNotFound(f"no ticket {ticket_id}")

    hook.desk.ticket = late
    hook.send(ticket="T-1", delivery="one")
    assert hook.settled() == {"done": 1}
    assert [one.outcome for one in hook.ledger.tries(hook.ledger.found("T-1")[0].id)] == ["again", "done"]


# ---- values that a database refuses


def test_names_that_no_database_takes_are_stored_in_a_form_that_it_does(ledger):
    book, _now, _queued = ledger
    odd = [new("a\0b", "T\0", actor="\ud800"), new("k" * 300), new("k" * 301), new("k" * 300), new("plain")]
    ids = book.add(odd)
    assert [one is None for one in ids] == [False, False, False, True, False]
    [row] = book.found(ids[0])
    assert (row.ticket_id, row.actor) == ("T\N{REPLACEMENT CHARACTER}", "?")
    book.finish(book.begin(ids[0], "w"), "w", Ended("dead", "it said \0"))
    assert book.found(ids[0])[0].reason == "it said \N{REPLACEMENT CHARACTER}"


def test_a_delivery_that_the_database_refuses_does_not_take_its_batch_along(ledger, monkeypatch):
    import asyncio

    book, _now, _queued = ledger
    add = book.add

    def picky(batch):
        if any(one.key == "bad" for one in batch):
            raise sa.exc.DataError("INSERT", {}, Exception("refused"))
        return add(batch)

    monkeypatch.setattr(book, "add", picky)
    intake = Intake(book, 10)

    async def send():
        waiting = [asyncio.ensure_future(intake.put(new(key))) for key in ("a", "bad", "c")]
        await asyncio.sleep(0)
        intake.start()
        return await asyncio.gather(*waiting, return_exceptions=True)

    answers = asyncio.run(send())
    intake.stop()
    assert [type(one).__name__ for one in answers] == ["str", "DatabaseUnavailable", "str"]


# ---- a database that is away


def test_a_job_outlives_a_database_that_is_away_at_its_beginning_and_its_end(hook, monkeypatch):
    monkeypatch.setattr("pipeline.service.database._PAUSES", (0.05,))
    monkeypatch.setattr(hook.ledger, "begin", failing_first(hook.ledger.begin, AWAY))
    monkeypatch.setattr(hook.ledger, "finish", failing_first(hook.ledger.finish, AWAY))
    hook.desk.tickets["T-1"] = ticket(1)
    assert hook.send(ticket="T-1", delivery="one").status_code == 202
    assert hook.settled() == {"done": 1}
    assert hook.ledger.ticket("desk", "T-1").claimed_by is None


def test_an_end_that_cannot_be_written_is_a_failure_and_keeps_no_ticket_claimed(hook, monkeypatch):
    refused = sa.exc.DataError("INSERT", {}, Exception("value too long"))
    monkeypatch.setattr(hook.ledger, "finish", failing_first(hook.ledger.finish, refused))
    hook.desk.tickets["T-1"] = ticket(1)
    hook.send(ticket="T-1", delivery="one")
    assert hook.settled() == {"done": 1}
    assert hook.ledger.found("T-1")[0].attempts == 2


def test_a_fault_of_our_own_does_not_end_the_only_job_of_a_delivery(hook, monkeypatch):
    begin = hook.ledger.begin
    monkeypatch.setattr(hook.ledger, "begin", failing_first(begin, ZeroDivisionError("a fault of ours")))
    hook.desk.tickets["T-1"] = ticket(1)
    hook.send(ticket="T-1", delivery="one")
    assert hook.settled() == {"done": 1}


def test_what_another_attempt_does_not_mend_is_not_insisted_on():
    with pytest.raises(sa.exc.DataError):
        insisted(failing_first(lambda: None, sa.exc.DataError("INSERT", {}, Exception("no"))))


# ---- workers that end


def test_what_does_not_end_in_time_goes_back_into_the_queue(database):
    engine = opened(database)
    prepare(engine, database)
    enqueuer = Enqueuer(engine)
    book = Ledger(engine, enqueuer.put)
    begun, go_on = threading.Event(), threading.Event()

    def slow(_delivery: str) -> None:
        begun.set()
        go_on.wait(30)

    worker = Worker(engine, book, enqueuer, slow, lambda _: None, executor="gone:1", jobs=1)
    worker.start()
    try:
        book.add([new("a")])
        assert begun.wait(30)
    finally:
        left = worker.stop(1)
        waiting = enqueuer._client.list_workflows(status="ENQUEUED", queue_name="tickets")
        go_on.set()
        enqueuer.close()
        engine.dispose()
    assert left == 1
    assert len(waiting) == 1


DYING = """
import os, signal, time
from pipeline.service.database import opened
from pipeline.service.durable import Enqueuer, Worker
from pipeline.service.ledger import Ledger

engine = opened(os.environ["DATABASE"])
enqueuer = Enqueuer(engine)
die = lambda _: os.kill(os.getpid(), signal.SIGKILL)
Worker(engine, Ledger(engine, enqueuer.put), enqueuer, die, print, executor="gone:1", jobs=1).start()
time.sleep(60)
"""


def test_what_a_worker_had_begun_that_never_comes_back_is_queued_again_by_another(database, monkeypatch):
    engine = opened(database)
    prepare(engine, database)
    enqueuer = Enqueuer(engine)
    later = Ledger(engine, enqueuer.put, clock=lambda: time.time() + 2 * LEASE)
    later.add([new("a")])
    env = {**os.environ, "DATABASE": database}
    done = subprocess.run([sys.executable, "-c", DYING], env=env, timeout=60, check=False)
    other = Worker(engine, later, enqueuer, print, print, executor="other:1", jobs=1)
    beats = iter([False, True])
    monkeypatch.setattr(other._stopping, "wait", lambda _seconds: next(beats))
    try:
        lost = later.lost()
        begun = enqueuer._client.list_workflows(status="PENDING", queue_name="tickets")
        other._beat()
        waiting = enqueuer._client.list_workflows(status="ENQUEUED", queue_name="tickets")
        still = later.lost()
    finally:
        enqueuer.close()
        engine.dispose()
    assert done.returncode == -signal.SIGKILL
    assert lost == ["gone:1"]
    assert [one.workflow_id for one in waiting] == [one.workflow_id for one in begun]
    assert len(waiting) == 1
    assert still == []


def test_a_worker_that_was_away_itself_judges_nobody_until_the_others_could_be_heard(monkeypatch):
    class Book:
        def seen(self, *_):
            pass

        def lost(self):
            asked.append(clock[0])
            return []

    asked: list[float] = []
    clock = [1000.0]
    worker = Worker(None, Book(), None, print, print, executor="w", jobs=1)  # type: ignore[arg-type]
    steps = iter([3.0, 3.0, 40.0, 3.0, 3.0, 3.0, 3.0, 3.0])

    def waited(_seconds: float) -> bool:
        step = next(steps, None)
        clock[0] += step or 0.0
        return step is None

    monkeypatch.setattr(worker._stopping, "wait", waited)
    monkeypatch.setattr(time, "time", lambda: clock[0])
    worker._beat()
    assert asked == [1003.0, 1006.0, 1061.0]


# ---- what strangers send


def test_what_a_stranger_sent_is_one_plain_line_of_the_log(ledger, caplog):
    from pipeline.service.metrics import Meters

    meters = Meters(ledger[0], lambda: 0)
    meters._flushed = time.monotonic()
    meters.refused("desk", "malformed", "no field 'a\x1b[2J\r\n2026-01-01 INFO all is well\u202e'")
    meters.refused("desk", "malformed", "no field 'b\x07\nc'")
    meters.flush()
    assert [one.getMessage() for one in caplog.records] == ["refused 2 deliveries for desk: no field 'b c'"]


# ---- what is kept


def test_storms_and_tickets_of_long_ago_are_taken_away_with_their_deliveries(ledger):
    from pipeline.service.tables import members, storms

    book, now, _queued = ledger
    [one] = book.add([new("a")])
    book.finish(book.begin(one, "w"), "w", Ended("done", note_id="n"))
    with book._engine.begin() as connection:
        for number, last in ((1, now[0]), (2, now[0] + 100)):
            connection.execute(
                storms.insert().values(
                    id=number,
                    signature="s",
                    parent_system="desk",
                    parent_ticket="T-1",
                    parent_snapshot="ps",
                    first_at=now[0],
                    last_at=last,
                )
            )
            connection.execute(
                members.insert().values(
                    system="desk", ticket_id=f"T-{number}", storm=number, snapshot_id="ps", customer="c", orders="[]",
                    channels="[]", joined_at=now[0],
                )
            )  # fmt: skip
    [dead] = book.add([new("b", "T-dead")])
    book.finish(book.begin(dead, "w"), "w", Ended("dead"))
    now[0] += 100
    assert book.prune(50) == 1
    assert book.ticket("desk", "T-1") is None
    assert book.ticket("desk", "T-dead") is not None
    with book._engine.connect() as connection:
        assert list(connection.scalars(sa.select(members.c.ticket_id))) == ["T-2"]
        assert list(connection.scalars(sa.select(storms.c.id))) == [2]


# ---- the command line


def test_a_poll_again_and_again_outlives_a_system_that_is_away(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from cli import commands
    from pipeline.service.polling import Polled

    def answered(*_: object, **__: object) -> Polled:
        signal.raise_signal(signal.SIGTERM)
        return Polled(3, 0, "c", first=False)

    config = configuration(Board(url="http://127.0.0.1:9"), f"sqlite:///{tmp_path}/s.sqlite", "127.0.0.1:9", tmp_path)
    (tmp_path / "c.toml").write_text(config, encoding="utf-8")
    away = SystemUnavailable("the desk is down")
    monkeypatch.setattr("pipeline.service.polling.poll", failing_first(answered, away))
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        asked = ["poll", "desk", "--config", str(tmp_path / "c.toml")]
        told = CliRunner().invoke(commands, [*asked, "--every", "1s"])
        assert told.exit_code == 0, told.output
        assert told.output == "desk: the desk is down; asked again in 1 s\ndesk: 3 queued\n"
        monkeypatch.setattr("pipeline.service.polling.poll", failing_first(answered, away))
        assert CliRunner().invoke(commands, asked).exit_code == 5
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def test_help_texts_show_their_examples_each_on_a_line_of_its_own():
    import click
    from click.testing import CliRunner

    from cli import commands

    def walked(path: list[str], command: click.Command):
        yield path
        for name, below in getattr(command, "commands", {}).items():
            yield from walked([*path, name], below)

    for path in walked([], commands):
        told = CliRunner().invoke(commands, [*path, "--help"]).output
        assert "\\b" not in told, path
        assert "Options:" in told, path
    told = CliRunner().invoke(commands, ["serve", "--help"]).output
    assert "  problem-snapshot serve --profile prod\n" in told
