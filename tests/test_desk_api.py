"""The desk over HTTP: the answers are those of the commands, in both databases, and the errors say what to do."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner

from cli import commands
from pipeline.desk.clock import Clocks
from pipeline.desk.draft import TODO
from pipeline.desk.grading_options import GradingOptions
from pipeline.desk.options import DeskOptions
from pipeline.desk.room import Rooms
from pipeline.desk.section import make_index, said_of
from pipeline.desk.seeds import seed_entries
from pipeline.desk.shelf import put_entries
from pipeline.service import desk_counter
from snapshots.model import CustomerMessage, Portrait, Questionnaire, with_id
from tests.snapshots_samples import SAMPLES, run_record, severity
from tests.test_desk_room import ROOM
from tests.test_service import Hook, database, running  # noqa: F401 - a fixture

TOKEN = "a token of the tests"
HISTORY = """id,created_at,closed_at,title,description,queue,handler,solution
C-1,2025-01-01T08:00:00Z,2025-01-01T10:00:00Z,微信付款一直提示订单失败,商城里选微信支付，点完就说订单失败,payments,li,更换证书
""" + "".join(
    f"D-{day},2025-02-{day}T08:00:00Z,2025-02-{day}T10:00:00Z,report {day} loads slowly,the report,reports,wang,index\n"
    for day in range(10, 28)
)


@contextlib.contextmanager
def furnished(url: str, folder: Path) -> Iterator[Hook]:
    """A service whose desk has a graded ticket with its room, entries, a history and its index."""
    entries, history, index = folder / "knowledge", folder / "closed.csv", folder / "index"
    put_entries(entries, seed_entries(date(2026, 1, 1), 5))
    history.write_text(HISTORY, encoding="utf-8")
    office = DeskOptions(
        knowledge=str(entries), history=str(history), index=str(index), meaning="off", grading=GradingOptions(room=ROOM)
    )
    with running(url, folder, work=False, office=office, token=TOKEN) as hook:
        base = SAMPLES["wechat_signature"]
        make_index(hook.settings, {"C-1": said_of(base)}, lambda _: None)
        said = CustomerMessage(en="We are on it.", zh="正在处理。")
        taken = with_id(msgspec.structs.replace(base, severity=severity("P1"), customer_message=said))
        hook.bench.store.put(taken, run_record(taken))
        engine = hook.ledger._engine
        clock = Clocks(engine, office.grading)
        with engine.begin() as connection:
            clock.start(connection, "desk", taken.ticket.id, taken.snapshot_id, severity("P1"), time.time())
            Rooms(engine, ROOM).open(connection, "desk", taken, None, lambda *_: None)
        yield hook


@pytest.fixture
def hook(database, tmp_path) -> Iterator[Hook]:  # noqa: F811
    with furnished(database, tmp_path) as found:
        yield found


@pytest.fixture
def lone(tmp_path) -> Iterator[Hook]:
    """One on SQLite, where the database does not matter."""
    with furnished(f"sqlite:///{tmp_path}/service.sqlite", tmp_path) as found:
        yield found


TICKET = SAMPLES["wechat_signature"].ticket.id


def ask(hook: Hook, method: str, path: str, status: int = 200, **given: Any) -> Any:
    """An answer with the token, of the expected status."""
    headers = {"Authorization": f"Bearer {TOKEN}"} | given.pop("headers", {})
    answer = httpx.request(method, f"{hook.url}/desk{path}", headers=headers, timeout=60, **given)
    assert answer.status_code == status, answer.text
    kind = answer.headers["content-type"].partition(";")[0]
    return answer.json() if kind in {"application/json", "application/ld+json"} else answer.text


def test_a_ticket_is_graded_compared_routed_and_answered(hook):
    assert ask(hook, "GET", "/severity", params={"ticket": TICKET})["level"] == "P1"
    similar = ask(hook, "GET", "/similar", params={"ticket": TICKET})
    assert "C-1" in [one["id"] for one in similar]
    routing = ask(hook, "GET", "/route", params={"ticket": TICKET})
    assert {"abstained", "reason", "line"} <= set(routing)
    assert ask(hook, "GET", "/sentence", params={"ticket": TICKET})["zh"] == "正在处理。"


def test_a_portrait_and_questions_that_nobody_configured_are_told(lone):
    for path, table in (("/questions", "defaults.desk.questions"), ("/portrait", "defaults.desk.portrait")):
        told = ask(lone, "GET", path, 409, params={"ticket": TICKET})
        assert table in told["error"]


def test_questions_and_portrait_are_those_of_the_document(lone):
    portrait = Portrait(tickets=2, open=["TK-1"], sources=["history"])
    asked = msgspec.structs.replace(SAMPLES["wechat_signature"], questions=Questionnaire(), portrait=portrait)
    taken = with_id(asked)
    lone.bench.store.put(taken, run_record(taken))
    ref = {"ticket": taken.snapshot_id}
    assert ask(lone, "GET", "/questions", params=ref) == msgspec.to_builtins(taken.questions)
    assert ask(lone, "GET", "/portrait", params=ref) == msgspec.to_builtins(portrait)


def test_a_question_finds_entries_an_answer_its_problems_and_a_symptom_its_ways(lone):
    question = {"text": "微信支付提示签名错误怎么办", "most": 3}
    hits = ask(lone, "POST", "/ask", json=question)
    assert len(hits) == 3
    assert hits[0]["share"] >= hits[1]["share"]
    # None of the three is for a customer, and each says why.
    assert {one["for_customer"]["text"] for one in hits} == {None}
    assert all(one["for_customer"]["why_not"]["zh"] for one in hits)
    back = ask(lone, "POST", "/ask", json={"text": hits[0]["steps"][0]["zh"], "of": "answer", "most": 5})
    assert back
    (problem,) = ask(lone, "POST", "/solutions", json={"text": question["text"]})
    assert [way["minutes"] for way in problem["ways"]] == sorted(way["minutes"] for way in problem["ways"])
    entries = ask(lone, "GET", "/knowledge")
    assert hits[0]["id"] in {entry["id"] for entry in entries}
    assert ask(lone, "GET", "/knowledge/entry", params={"id": hits[0]["id"]}).startswith("---\n")
    assert ask(lone, "GET", "/knowledge/graph")["@context"]
    assert ask(lone, "GET", "/knowledge/graph", params={"format": "svg", "language": "zh"}).lstrip().startswith("<")
    assert ask(lone, "GET", "/knowledge/check")["unreadable"] == []


def test_a_task_goes_from_the_ticket_to_the_entry(hook):
    opened = ask(hook, "POST", "/tasks", json={"ticket": TICKET, "assignee": "wang"})
    assert ask(hook, "POST", "/tasks", json={"ticket": TICKET, "assignee": "li"}) == opened
    (listed,) = ask(hook, "GET", "/tasks", params={"state": ["open", "postponed"]})
    assert listed == opened
    draft = ask(hook, "GET", f"/tasks/{opened['id']}")["text"]
    told = ask(hook, "POST", f"/tasks/{opened['id']}/submit", 400, json={"text": draft})
    assert "prevention" in told["error"]
    assert "is open" in ask(hook, "POST", f"/tasks/{opened['id']}/accept", 409, json={"by": "lead"})["error"]
    finished = draft.replace(TODO.en, "rotate the certificate").replace(TODO.zh, "更换证书")
    assert ask(hook, "POST", f"/tasks/{opened['id']}/submit", json={"text": finished})["state"] == "submitted"
    filed = ask(hook, "POST", f"/tasks/{opened['id']}/accept", json={"by": "lead"})
    assert filed["entry"] in {entry["id"] for entry in ask(hook, "GET", "/knowledge")}
    (standing,) = ask(hook, "GET", "/standings")
    assert (standing["person"], standing["timeliness"]) == ("wang", 1.0)
    assert standing["points"] > 0


def test_clocks_rooms_and_the_report_are_told_and_moved(hook):
    (clock,) = ask(hook, "GET", "/due")
    assert (clock["ticket_id"], clock["responded_at"]) == (TICKET, None)
    mark = {"system": "desk", "ticket": TICKET, "event": "responded", "by": "li"}
    assert ask(hook, "POST", "/marks", json=mark)["responded_at"] is not None
    ask(hook, "POST", "/marks", json=mark | {"event": "assigned", "role": "payments"})
    # PostgreSQL takes no NUL.
    ask(hook, "POST", "/marks", 400 if "postgresql" in hook.settings.service.database_url else 404,
        json=mark | {"ticket": "T\0"})  # fmt: skip
    assert "role belongs" in ask(hook, "POST", "/marks", 400, json=mark | {"role": "payments"})["error"]
    assert "has no clock" in ask(hook, "POST", "/marks", 404, json=mark | {"ticket": "T-0"})["error"]
    (room,) = ask(hook, "GET", "/rooms")
    where = f"/rooms/{room['id']}"
    assert ask(hook, "POST", f"{where}/acknowledge", json={"role": "product", "by": "li"}) == {"done": True}
    state = ask(hook, "GET", where)
    assert {one["role"]: one["acknowledged_by"] for one in state["roles"]}["product"] == "li"
    (cared,) = state["care"]
    assert ask(hook, "POST", f"{where}/told", json={"system": "desk", "ticket": cared["ticket_id"]}) == {"done": True}
    assert ask(hook, "POST", f"{where}/close") == {"done": True}
    assert ask(hook, "GET", "/rooms") == []
    ask(hook, "POST", f"{where}/close", 404)
    span = {"from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00+08:00"}
    made = ask(hook, "GET", "/report", params=span)
    assert [one["ticket_id"] for one in made["tickets"]] == [TICKET]
    assert made["bottleneck"] == "payments"
    assert TICKET in ask(hook, "GET", "/report", params=span | {"format": "csv"})
    assert "工单健康报告" in ask(hook, "GET", "/report", params=span | {"format": "html", "language": "zh"})
    wrong = ask(hook, "GET", "/report", 400, params={"from": span["to"], "to": span["from"]})
    assert "is not before" in wrong["error"]


def test_the_commands_print_what_the_addresses_answer(lone, tmp_path):
    """One set of values: whoever wrote a program against one of them can use the other."""
    config = tmp_path / "problem-snapshot.toml"
    desk = lone.settings.desk
    assert desk is not None
    config.write_text(
        f"""
[defaults]
store = "{lone.settings.store}"
[defaults.service]
database = "{lone.settings.service.database}"
[defaults.desk]
knowledge = "{desk.knowledge}"
history = "{desk.history}"
index = "{desk.index}"
meaning = "off"
[defaults.desk.grading.room]
technology = ["a"]
product = ["a"]
operations = ["a"]
last = ["a"]
[defaults.notify.a]
kind = "webhook"
url = "http://127.0.0.1:9/"
unsigned = true
""",
        encoding="utf-8",
    )

    def shown(*args: str) -> Any:
        done = CliRunner().invoke(commands, ["desk", *args, "--config", str(config)], catch_exceptions=False)
        return json.loads(done.stdout)

    ask(lone, "POST", "/tasks", json={"ticket": TICKET, "assignee": "wang"})
    span = {"from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    pairs = [
        (("severity", TICKET, "-o", "json"), ask(lone, "GET", "/severity", params={"ticket": TICKET})),
        (("similar", TICKET, "-o", "json"), ask(lone, "GET", "/similar", params={"ticket": TICKET})),
        (("route", TICKET, "-o", "json"), ask(lone, "GET", "/route", params={"ticket": TICKET})),
        (("ask", "签名错误", "-o", "json"), ask(lone, "POST", "/ask", json={"text": "签名错误"})),
        (("knowledge", "list", "-o", "json"), ask(lone, "GET", "/knowledge")),
        (("knowledge", "check", "-o", "json"), ask(lone, "GET", "/knowledge/check")),
        (("tasks", "list", "-o", "json"), ask(lone, "GET", "/tasks")),
        (("tasks", "report", "-o", "json"), ask(lone, "GET", "/standings")),
        (("due", "-o", "json"), ask(lone, "GET", "/due")),
        (("room", "list", "-o", "json"), ask(lone, "GET", "/rooms")),
        (("room", "show", "1", "-o", "json"), ask(lone, "GET", "/rooms/1")),
    ]
    for args, answer in pairs:
        assert shown(*args) == answer, args
    # What is open counts until now, to the minute: it may become the next one in between.
    before = ask(lone, "GET", "/report", params=span)
    made = shown("report", "--from", span["from"], "--to", span["to"], "-o", "json")
    assert made in (before, ask(lone, "GET", "/report", params=span))
    assert made["end"] < "2100"


# ---- who may ask, and what


def test_without_the_token_nothing_is_told_and_nothing_is_read(lone):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = httpx.post(f"{lone.url}/desk/ask", headers=headers, content=b"{" * 100_000)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"] == "Bearer"
    assert "components" in httpx.get(f"{lone.url}/openapi.json").json()


def test_a_service_without_a_token_serves_no_desk_and_says_so(tmp_path, caplog):
    with running(f"sqlite:///{tmp_path}/service.sqlite", tmp_path, work=False) as hook:
        answer = httpx.get(f"{hook.url}/desk/due")
        assert answer.status_code == 404
        assert "has no token" in answer.json()["error"]
        assert not [path for path in httpx.get(f"{hook.url}/openapi.json").json()["paths"] if "desk" in path]
    assert "has no token" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "given", "status", "said"),
    [
        ("GET", "/severity", {"params": {"ticket": "T-0"}}, 404, "T-0"),
        ("GET", "/severity", {}, 422, "ticket"),
        ("GET", "/severity", {"params": {"ticket": "../../etc/passwd"}}, 404, ""),
        ("GET", "/tasks/kt-none", {}, 404, "there is no knowledge task"),
        ("GET", "/rooms/77", {}, 404, "there is no room 77"),
        ("GET", "/knowledge/entry", {"params": {"id": "none"}}, 404, "there is no entry"),
        ("POST", "/ask", {"json": {"text": "x" * 4001}}, 422, "4000"),
        ("POST", "/ask", {"json": {"text": "x", "most": 1000}}, 422, "50"),
        ("POST", "/ask", {"json": {"text": "x", "further": 1}}, 422, "further"),
        ("GET", "/due", {"params": {"most": 3}}, 400, "there is no parameter 'most' here; there are: limit"),
        ("POST", "/ask", {"content": b"x" * (2 << 20)}, 413, "more than"),
    ],
)
def test_what_cannot_be_answered_is_told_with_a_status_that_says_why(lone, method, path, given, status, said):
    answer = ask(lone, method, path, status, **given)
    assert said in json.dumps(answer, ensure_ascii=False)


def test_a_desk_that_is_not_configured_says_what_to_add(tmp_path):
    with running(f"sqlite:///{tmp_path}/service.sqlite", tmp_path, work=False, token=TOKEN) as hook:
        assert "add knowledge" in ask(hook, "GET", "/knowledge", 409)["error"]
        assert "desk.grading.room" in ask(hook, "GET", "/rooms", 409)["error"]
        assert ask(hook, "GET", "/due") == []


def test_a_database_that_is_away_is_told_as_such(lone, monkeypatch):
    from sqlalchemy.exc import OperationalError

    def away(*_: object) -> None:
        raise OperationalError("SELECT secret", {}, Exception("password"))

    monkeypatch.setattr(Clocks, "open", away)
    answer = ask(lone, "GET", "/due", 503)
    assert answer == {"error": "the database does not answer"}


def test_a_slow_question_keeps_no_delivery_waiting(lone, monkeypatch):
    """Four questions hang; deliveries are taken meanwhile."""
    held = threading.Event()

    def slow(*_: object) -> list[Any]:
        held.wait(20)
        return []

    monkeypatch.setattr(desk_counter.DeskCounter, "ask", slow)
    askers = [
        threading.Thread(target=ask, args=(lone, "POST", "/ask"), kwargs={"json": {"text": "x"}}) for _ in range(6)
    ]
    for asker in askers:
        asker.start()
    time.sleep(0.3)
    begun = time.monotonic()
    answer = lone.send(ticket="T-1", kind="ticket.created", delivery="d1")
    taken = time.monotonic() - begun
    held.set()
    for asker in askers:
        asker.join()
    assert answer.status_code == 202
    assert taken < 10


def test_times_without_an_offset_are_in_the_settings_zone(lone):
    made = ask(lone, "GET", "/report", params={"from": "2026-01-01T00:00:00", "to": "2026-02-01T00:00:00"})
    assert made["start"] == datetime(2026, 1, 1, tzinfo=UTC).isoformat().replace("+00:00", "Z")
