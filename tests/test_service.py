"""The hook's own promises: what is refused, what is stored, what is worked off, and what becomes of failures.

The ticket system here is a stand-in in memory; test_service_rt and test_service_helpdesk use real ones.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import msgspec
import pytest
from sqlalchemy import Engine

from pipeline import run
from pipeline.desk.collections import Collections
from pipeline.desk.options import DeskOptions
from pipeline.desk.remote_options import RemoteOptions
from pipeline.errors import NoSourceReached, Refused
from pipeline.notify.target import Event, Sent, Target, TargetUnavailable
from pipeline.service.app import Parts, make_app
from pipeline.service.collections_api import Asker
from pipeline.service.database import opened, prepare
from pipeline.service.durable import Enqueuer, Worker
from pipeline.service.ledger import OPEN, STARTS, Busy, Job, Ledger, NewDelivery
from pipeline.service.links import Pages
from pipeline.service.messages import Messages, counts, listed, retry
from pipeline.service.polling import poll
from pipeline.service.receiving import Receiver as Uploads
from pipeline.service.server import Server
from pipeline.service.storms import Storms
from pipeline.service.work import Bench
from pipeline.settings import Settings, load_settings
from pipeline.sources import open_bundle
from pipeline.tickets.system import SystemBroken, SystemUnavailable
from snapshots.store import Store
from tests.service_samples import Desk, delivery, empty_postgresql, ticket
from tests.services import free_port

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
BUNDLE = EXAMPLES / "TK-24182"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> Iterator[str]:
    """The address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/service.sqlite"
        return
    with empty_postgresql(request.getfixturevalue("postgresql_url")) as url:
        yield url


@dataclass
class Hook:
    """A running service in this process."""

    url: str
    desk: Desk
    ledger: Ledger
    bench: Bench
    settings: Settings

    def send(self, headers: dict[str, str] | None = None, **body: object) -> httpx.Response:
        """A signed delivery."""
        data, signed = delivery(body)
        return httpx.post(f"{self.url}/hooks/desk", content=data, headers={**signed, **(headers or {})}, timeout=15)

    def settled(self, seconds: float = 40) -> dict[str, int]:
        """Deliveries by state, once nothing is left to do."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            counts = {state: count for (_, state), count in self.ledger.counts().items()}
            if not set(counts) & set(OPEN):
                return counts
            time.sleep(0.1)
        raise AssertionError(f"not settled: {counts}")


@contextlib.contextmanager
def running(
    database: str, folder: Path, *, work: bool = True, targets: dict[str, Target] | None = None, **service: object
) -> Iterator[Hook]:
    """The service on a free port, with one worker in this process."""
    settings = load_settings(env={})
    options = msgspec.structs.replace(settings.service, database=database, **{"retries": (0.2, 0.2), **service})
    remote = RemoteOptions(folder=str(folder / "uploads"))
    settings = msgspec.structs.replace(settings, store=str(folder / "store"), service=options)
    desk = Desk()
    engine = opened(database)
    prepare(engine, database)
    enqueuer = Enqueuer(engine)
    ledger = Ledger(engine, enqueuer.put)
    store = Store(settings.store)
    pages = Pages(options, store)
    source = open_bundle(BUNDLE)
    messages = Messages(engine, enqueuer.put_message, targets or {}, store, pages.links, options.retries)
    bench = Bench(ledger, {"desk": desk}, [source], store, settings, pages.links, Storms(engine, 1800), messages)
    worker = Worker(
        engine,
        ledger,
        enqueuer,
        lambda one: bench.work(one, worker.id),
        messages.work,
        executor="test:1:0",
        jobs=2,
    )
    receiver = Uploads(Collections(engine), ledger, remote, options)
    receiver.start()
    asker = Asker(
        {"desk": desk}, msgspec.structs.replace(settings, desk=DeskOptions(remote=remote)), receiver.collections
    )
    parts = Parts({"desk": desk}, ledger, options, pages.page, receiver=receiver, asker=asker)
    server = Server(make_app(parts), "127.0.0.1", port := free_port())
    thread = threading.Thread(target=server.run, daemon=True)
    if work:
        worker.start()
    thread.start()
    try:
        until = time.monotonic() + 15
        while not server.started and time.monotonic() < until:
            time.sleep(0.02)
        yield Hook(f"http://127.0.0.1:{port}", desk, ledger, bench, settings)
    finally:
        server.should_exit = True
        thread.join(15)
        if work:
            worker.stop(5)
        receiver.stop()
        source.close()
        enqueuer.close()
        engine.dispose()


@pytest.fixture
def hook(database, tmp_path) -> Iterator[Hook]:
    with running(database, tmp_path) as found:
        yield found


@pytest.fixture
def door(tmp_path) -> Iterator[Hook]:
    """The service without a worker, for what happens at the door."""
    with running(f"sqlite:///{tmp_path}/service.sqlite", tmp_path, work=False) as found:
        yield found


# ---- what is worked off


def test_a_created_ticket_gets_one_note_and_the_same_delivery_again_changes_nothing(hook):
    hook.desk.tickets["T-1"] = ticket(1)
    answers = [hook.send(ticket="T-1", delivery="one") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202, 200, 200, 200, 200]
    assert all(answer.json() == {"duplicate": True} for answer in answers[1:])
    assert hook.settled() == {"done": 1}
    assert (len(hook.desk.notes["T-1"]), hook.desk.writes) == (1, 1)
    [row] = hook.ledger.found("T-1")
    [tried] = hook.ledger.tries(row.id)
    assert (row.attempts, tried.outcome) == (1, "done")
    assert Store(hook.settings.store).get(tried.snapshot_id).ticket.id == "T-1"


def test_an_edited_ticket_changes_the_note_that_is_there(hook):
    hook.desk.tickets["T-1"] = ticket(1)
    hook.send(ticket="T-1", delivery="one")
    hook.settled()
    before = dict(hook.desk.notes["T-1"])
    hook.desk.tickets["T-1"] = ticket(1, "付款失败，另一个订单 SO202611239999")
    hook.send(ticket="T-1", delivery="two", kind="ticket.updated")
    assert hook.settled() == {"done": 2}
    after = hook.desk.notes["T-1"]
    assert after.keys() == before.keys()
    assert after != before


def test_a_ticket_that_is_gone_is_dropped_with_its_reason(hook):
    hook.send(ticket="T-9", delivery="one")
    assert hook.settled() == {"dropped": 1}
    assert hook.ledger.found("T-9")[0].reason == "there is no ticket T-9"


def test_a_failure_that_passes_is_tried_again(hook):
    hook.desk.tickets["T-1"] = ticket(1)
    hook.desk.failures += [SystemUnavailable("the desk is down", after=0.1), Refused("the token is refused")]
    hook.send(ticket="T-1", delivery="one")
    assert hook.settled() == {"done": 1}
    [row] = hook.ledger.found("T-1")
    assert [(one.number, one.outcome, one.reason) for one in hook.ledger.tries(row.id)] == [
        (1, "again", "the desk is down"),
        (2, "again", "the token is refused"),
        (3, "done", None),
    ]
    assert hook.desk.writes == 1


def test_what_never_succeeds_becomes_a_dead_letter_that_can_be_tried_again(hook):
    hook.desk.tickets["T-1"] = ticket(1)
    hook.desk.failures += [SystemUnavailable("the desk is down")] * 3
    hook.send(ticket="T-1", delivery="one")
    assert hook.settled() == {"dead": 1}
    [row] = hook.ledger.found("T-1")
    assert row.reason == "tried 3 times; at last: the desk is down"
    assert hook.ledger.retry([row.id]) == [row.id]
    assert hook.settled() == {"done": 1}
    assert hook.desk.writes == 1


def test_one_poisoned_ticket_never_loses_the_others(hook):
    for number in range(6):
        hook.desk.tickets[f"T-{number}"] = ticket(number)
    hook.desk.tickets["T-3"] = replace(ticket(3), created_at="yesterday")  # what no adapter may give
    for number in range(6):
        hook.send(ticket=f"T-{number}", delivery=f"d{number}")
    assert hook.settled(90) == {"done": 5, "dead": 1}
    assert set(hook.desk.notes) == {f"T-{number}" for number in (0, 1, 2, 4, 5)}
    assert "tried" in hook.ledger.found("T-3")[0].reason


def test_a_body_without_a_delivery_id_is_known_by_its_bytes(hook):
    hook.desk.tickets["T-1"] = ticket(1)
    assert [hook.send(ticket="T-1").status_code, hook.send(ticket="T-1").status_code] == [202, 200]
    assert hook.send(ticket="T-1", text="more").status_code == 202


def test_the_words_of_a_ticket_order_the_work(tmp_path):
    with running(f"sqlite:///{tmp_path}/service.sqlite", tmp_path, work=False) as door:
        for number, text in enumerate(["发票抬头怎么改", "重复扣款，请尽快", "所有用户都付不了款", "invoice address"]):
            door.send(ticket=f"T-{number}", delivery=f"d{number}", text=text)
        assert [row.priority for row in reversed(door.ledger.listed())] == [3, 2, 1, 3]


def test_a_storm_shares_a_parent_whose_note_counts_whom_it_touches(hook):
    found = ticket(1, "付款失败")
    for number, customer in enumerate(["c-1", "c-2", "c-2"]):
        name = f"T-{number}"
        hook.desk.tickets[name] = replace(STORM, id=name, customer_id=customer)
        hook.send(ticket=name, delivery=name)
        hook.settled()
    del found
    storm = hook.bench.storms.of("desk", "T-2")
    assert storm is not None
    assert (storm.parent_ticket, storm.tickets, storm.customers) == ("T-0", 3, 2)
    grown = [row for row in hook.ledger.found("T-0") if row.kind == "storm.grown"]
    assert [row.key for row in grown] == [f"storm:{storm.id}:2", f"storm:{storm.id}:3"]
    assert len(hook.desk.notes["T-0"]) == 1
    [parent], [child] = (hook.desk.notes[name].values() for name in ("T-0", "T-2"))
    assert "工单 3 · 客户 2" in parent
    assert "同一原因的首个工单" not in parent
    assert f"同一原因的首个工单：desk T-0 · {storm.parent_snapshot}" in child


def test_while_no_source_is_reached_the_ticket_says_so_and_the_snapshot_takes_that_place(hook, monkeypatch):
    hook.desk.tickets["T-1"] = ticket(1)
    real, calls = run.collect, []

    def down(*args: object, **given: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise NoSourceReached("no source could be reached. logs: connection refused")
        return real(*args, **given)

    monkeypatch.setattr(run, "collect", down)
    hook.send(ticket="T-1", delivery="one")
    until = time.monotonic() + 20
    while not hook.desk.notes.get("T-1") and time.monotonic() < until:
        time.sleep(0.01)
    [first] = hook.desk.notes["T-1"].values()
    assert "没有任何数据来源可读" in first
    assert "connection refused" in first
    assert hook.settled() == {"done": 1}
    [second] = hook.desk.notes["T-1"].values()
    assert "没有任何数据来源可读" not in second


# ---- what is told beside the ticket


@dataclass
class Receiver:
    """A receiver in memory. `answers` are given one after the other, the last one for ever; an error is raised."""

    name: str
    kind: str = "webhook"
    when: tuple[str, ...] = ()
    answers: list[object] = field(default_factory=lambda: [Sent("sent")])
    events: list[Event] = field(default_factory=list)

    def wants(self, event: Event) -> bool:
        return not self.when or event.kind.removeprefix("snapshot.") in self.when

    def send(self, event: Event) -> Sent:
        self.events.append(event)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    def close(self) -> None:
        pass


def told(engine: Engine, seconds: float = 30) -> dict[tuple[str, str], int]:
    """Messages by receiver and state, once none is left to send."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = counts(engine)
        if not {state for _, state in found} & {"queued", "waiting"}:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not settled: {found}")


def test_receivers_are_told_once_of_each_conclusion_and_again_where_they_were_away(database, tmp_path):
    down = TargetUnavailable("the chat is down", after=0.1)
    receivers = {
        "all": Receiver("all"),
        "flaky": Receiver("flaky", answers=[down, down, Sent("sent")]),
        "gone": Receiver("gone", answers=[Sent("disabled", 410, "410")]),
        "dead": Receiver("dead", answers=[down]),
        "changes": Receiver("changes", when=("updated",)),
    }
    with running(database, tmp_path, targets=receivers) as hook:  # type: ignore[arg-type]
        engine = hook.ledger._engine
        hook.desk.tickets["T-1"] = ticket(1)
        hook.send(ticket="T-1", delivery="one")
        hook.settled()
        assert told(engine) == {
            ("all", "sent"): 1,
            ("flaky", "sent"): 1,
            ("gone", "disabled"): 1,
            ("dead", "dead"): 1,
        }
        # The same conclusion again is no news.
        hook.send(ticket="T-1", delivery="two")
        hook.settled()
        hook.desk.tickets["T-1"] = ticket(1, "付款失败，另一个订单 SO202611239999")
        hook.send(ticket="T-1", delivery="three")
        hook.settled()
        found = told(engine)
        assert (found["all", "sent"], found["changes", "sent"], found["gone", "skipped"]) == (2, 1, 1)
        assert [event.kind for event in receivers["all"].events] == ["snapshot.created", "snapshot.updated"]
        assert receivers["all"].events[1].replaces == receivers["all"].events[0].snapshot.snapshot_id
        assert len({event.id for event in receivers["flaky"].events}) == 2
        assert len(receivers["gone"].events) == 1
        # A person who knows that the receiver is back sends it again.
        receivers["gone"].answers = [Sent("sent")]
        [row] = [row for row in listed(engine) if row.state == "disabled"]
        enqueuer = Enqueuer(engine)
        assert retry(engine, enqueuer.put_message, [row.id]) == [row.id]
        assert told(engine)["gone", "sent"] == 1
        enqueuer.close()


# ---- at the door


def test_only_what_is_signed_is_believed(door):
    data, headers = delivery({"ticket": "T-1"})
    post = f"{door.url}/hooks/desk"
    assert httpx.post(post, content=data).status_code == 401
    assert httpx.post(post, content=data, headers={"x-signature": "0" * 64}).status_code == 401
    assert httpx.post(post, content=data + b" ", headers=headers).status_code == 401
    assert httpx.post(f"{door.url}/hooks/other", content=data, headers=headers).status_code == 404
    assert door.ledger.listed() == []
    assert "secret" not in httpx.post(post, content=data).text


def test_our_own_note_triggers_nothing(door):
    answer = door.send(ticket="T-1", actor="us")
    assert (answer.status_code, answer.json()["ignored"]) == (200, "our own note")
    assert door.ledger.listed()[0].state == "ignored"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b'{"ticket": 7}', b"\xff\xfe", b'{"ticket":"a"', b"null", b'{"a":' * 50_000]
)
def test_a_body_that_is_none_is_refused_and_counted(door, body):
    from tests.service_samples import SECRET, hexed

    answer = httpx.post(f"{door.url}/hooks/desk", content=body, headers={"x-signature": hexed(SECRET, body)})
    assert answer.status_code == 400
    assert "problem_snapshot_refused_total" in httpx.get(f"{door.url}/metrics").text
    assert door.ledger.refusal_counts() == {("desk", "malformed"): 1}


def test_a_large_body_is_refused_before_it_is_read(door):
    with httpx.Client() as client:
        answer = client.post(f"{door.url}/hooks/desk", content=b"x" * (50 << 20), headers={"x-signature": "0"})
    assert answer.status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * 65536

    # No length is told: it is cut where the limit is.
    answer = httpx.post(f"{door.url}/hooks/desk", content=endless(), headers={"x-signature": "0"})
    assert answer.status_code == 413


def test_a_head_or_a_body_that_never_ends_holds_nothing_up(door, monkeypatch):
    monkeypatch.setattr("pipeline.service.server.HEAD_SECONDS", 0.5)
    monkeypatch.setattr("pipeline.service.app.BODY_SECONDS", 0.5)
    host, port = door.url.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(30)]
    for number, one in enumerate(slow):
        head = b"POST /hooks/desk HTTP/1.1\r\nHost: x\r\n"
        one.sendall(head if number % 2 else head + b"Content-Length: 1000\r\n\r\nx")
    assert door.send(ticket="T-1", delivery="one").status_code == 202
    for number, one in enumerate(slow):
        one.settimeout(10)
        # A head that does not end gets no answer; a body that does not arrive is told so.
        told = one.recv(1000)
        assert told == b"" if number % 2 else told.startswith(b"HTTP/1.1 408")
        one.close()


def test_a_full_backlog_says_when_to_come_again(tmp_path, monkeypatch):
    with running(f"sqlite:///{tmp_path}/service.sqlite", tmp_path, work=False, backlog=1) as door:
        gate = threading.Event()
        add = door.ledger.add

        def slow(batch: list[NewDelivery]) -> list[str | None]:
            gate.wait(10)
            return add(batch)

        monkeypatch.setattr(door.ledger, "add", slow)
        answers: list[httpx.Response] = []
        threads = [
            threading.Thread(target=lambda n=n: answers.append(door.send(ticket=f"T-{n}", delivery=f"d{n}")))
            for n in range(6)
        ]
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        gate.set()
        for thread in threads:
            thread.join()
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses.count(202) == len(door.ledger.listed())
        refused = [answer for answer in answers if answer.status_code == 503]
        assert refused
        assert all(answer.headers["retry-after"] == "5" for answer in refused)


def test_no_delivery_is_accepted_that_is_not_stored(door, monkeypatch):
    import sqlalchemy as sa

    def broken(_batch: list[NewDelivery]) -> list[str | None]:
        raise sa.exc.OperationalError("INSERT", {}, Exception("disk I/O error"))

    monkeypatch.setattr(door.ledger, "add", broken)
    answer = door.send(ticket="T-1", delivery="one")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "disk" not in answer.text


def test_readiness_tells_whether_somebody_works(door):
    assert httpx.get(f"{door.url}/healthz").json()["status"] == "ok"
    answer = httpx.get(f"{door.url}/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "no worker is alive")
    door.ledger.seen("worker", "here")
    assert httpx.get(f"{door.url}/readyz").json()["workers"] == 1


def test_figures_and_pages_are_for_who_holds_the_token_or_a_link(tmp_path):
    options = {"token": "a token", "secret": "a secret that signs links", "public_url": "http://hook.example"}
    with running(f"sqlite:///{tmp_path}/service.sqlite", tmp_path, **options) as hook:
        hook.desk.tickets["T-1"] = ticket(1)
        hook.send(ticket="T-1", delivery="one")
        hook.settled()
        assert httpx.get(f"{hook.url}/metrics").status_code == 401
        bearer = {"Authorization": "Bearer a token"}
        assert (
            'problem_snapshot_jobs{state="done",system="desk"} 1.0'
            in httpx.get(f"{hook.url}/metrics", headers=bearer).text
        )
        [note] = hook.desk.notes["T-1"].values()
        link = next(word for word in note.split() if word.startswith("http://hook.example/snapshots/"))
        path = link.removeprefix("http://hook.example")
        page = httpx.get(hook.url + path)
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "支付失败 1" in page.text
        bare = path.partition("?")[0]
        assert httpx.get(hook.url + bare).status_code == 401
        assert httpx.get(hook.url + bare, headers=bearer).status_code == 200
        assert httpx.get(f"{hook.url}{bare}?key={path.partition('key=')[2][:-2]}xx").status_code == 401
        other = bare[:-1] + ("0" if bare[-1] != "0" else "1")
        assert httpx.get(f"{hook.url}{other}?{path.partition('?')[2]}").status_code == 401
        assert httpx.get(hook.url + other, headers=bearer).status_code == 404


# ---- the ledger's laws


@pytest.fixture
def ledger(database) -> Iterator[tuple[Ledger, list[float], list[tuple[str, float]]]]:
    """A ledger with a clock that is moved by hand, and a list in place of the queue."""
    engine = opened(database)
    prepare(engine, database)
    now, queued = [1_000_000.0], []
    yield (
        Ledger(engine, lambda _c, delivery, _s, _t, _p, delay: queued.append((delivery, delay)), lambda: now[0]),
        now,
        queued,
    )
    engine.dispose()


def new(key: str, ticket_id: str = "T-1", **over: object) -> NewDelivery:
    return NewDelivery("desk", key, ticket_id, "ticket.created", 3, 1_000_000.0, **over)  # type: ignore[arg-type]


def test_a_batch_holds_each_delivery_once_also_its_own_repetitions(ledger):
    book, _now, queued = ledger
    ids = book.add([new("a"), new("a"), new("b"), new("c", ignored="spam")])
    assert [one is None for one in ids] == [False, True, False, False]
    assert [one for one, _ in queued] == [ids[0], ids[2]]
    assert book.add([new("b"), new("d")])[0] is None
    assert book.counts() == {("desk", "queued"): 3, ("desk", "ignored"): 1}


def test_a_ticket_is_one_workers_at_a_time_until_he_is_not_heard_of(ledger):
    book, now, _queued = ledger
    first, second = book.add([new("a"), new("b")])
    job = book.begin(first, "one")
    assert isinstance(job, Job)
    assert job.covers == (first, second)
    assert isinstance(book.begin(second, "two"), Busy)
    now[0] += 10
    book.seen("one", "here")
    now[0] += 10
    assert isinstance(book.begin(second, "two"), Busy)
    now[0] += 20
    again = book.begin(second, "two")
    assert isinstance(again, Job)
    assert again.covers == (first, second)


def test_a_job_that_takes_its_process_down_each_time_is_given_up(ledger):
    book, now, _queued = ledger
    [one] = book.add([new("a")])
    for _ in range(STARTS):
        assert isinstance(book.begin(one, "worker"), Job)
        now[0] += 100
    assert book.begin(one, "worker") is None
    [row] = book.found(one)
    assert (row.state, row.reason) == ("dead", f"the job was begun {STARTS} times and never came to an end")
    assert book.retry([one]) == [one]
    assert isinstance(book.begin(one, "worker"), Job)


def test_only_executors_without_any_living_worker_are_lost(ledger):
    book, now, _queued = ledger
    book.seen("a1", "a")
    book.seen("b1", "b")
    now[0] += 30
    book.seen("a2", "a")
    assert book.lost() == ["b"]
    # Until what it had begun is back in the queue, it is told of again.
    assert book.lost() == ["b"]
    book.forgotten(["b"])
    assert book.lost() == []
    assert book.workers_alive() == 1


def test_what_ended_long_ago_is_taken_away_but_no_dead_letter(ledger):
    from pipeline.service.ledger import Ended

    book, now, _queued = ledger
    for key, outcome in (("a", "done"), ("b", "dead"), ("c", "dropped")):
        [one] = book.add([new(key, f"T-{key}")])
        book.finish(book.begin(one, "w"), "w", Ended(outcome))  # type: ignore[arg-type]
    now[0] += 100
    assert book.prune(50) == 2
    assert book.counts() == {("desk", "dead"): 1}


# ---- polling


def test_a_poll_begins_with_now_and_loses_nothing_after(ledger):
    book, _now, queued = ledger
    desk = Desk(tickets={f"T-{n}": ticket(n) for n in range(3)})
    assert poll(book, desk).first
    assert queued == []
    for number in range(3, 253):
        desk.tickets[f"T-{number}"] = ticket(number)
    assert poll(book, desk).stored == 250
    assert poll(book, desk).stored == 0
    book.move_cursor("desk", "200")
    found = poll(book, desk)
    assert (found.stored, found.known) == (0, 53)


def test_the_description_of_the_addresses_is_openapi(door):
    told = httpx.get(f"{door.url}/openapi.json").json()
    assert told["openapi"].startswith("3.")
    assert {"/hooks/{system}", "/healthz", "/readyz", "/metrics", "/snapshots/{snapshot_id}"} <= set(told["paths"])
    assert {"/uploads/{collection}", "/uploads/{collection}/consent", "/collect", "/collections"} <= set(told["paths"])
    assert set(told["paths"]["/hooks/{system}"]["post"]["responses"]) >= {"202", "401", "413", "503"}


STORM = msgspec.convert(
    {
        "id": "T-0",
        **{
            k: v
            for k, v in json.loads((BUNDLE / "ticket.json").read_text("utf-8")).items()
            if k in {"title", "description", "created_at", "language"}
        },
    },
    type=type(ticket(0)),
)


def test_a_broken_answer_is_not_tried_for_a_day(tmp_path):
    with running(f"sqlite:///{tmp_path}/service.sqlite", tmp_path, retries=(0.1,) * 9) as hook:
        hook.desk.tickets["T-1"] = ticket(1)
        hook.desk.failures += [SystemBroken("400")] * 9
        hook.send(ticket="T-1", delivery="one")
        assert hook.settled() == {"dead": 1}
        assert hook.ledger.found("T-1")[0].attempts == 3
