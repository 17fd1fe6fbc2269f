"""Routing: who can, who is there, who has room; and the lead where nobody is sure."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import _handlers
from cli import commands
from pipeline.commands.setting_up import examples_folder
from pipeline.desk import learnt
from pipeline.desk.options import DeskOptions, HandlerOptions, QueueOptions, read_shift
from pipeline.desk.query import query_for
from pipeline.desk.routing import FLOODED, About, preliminary, route
from pipeline.desk.section import Desk, fill_desk, make_index, open_desk
from pipeline.desk.skills import Skills
from pipeline.errors import UsageError
from pipeline.run import take_snapshot
from pipeline.settings import Settings, load_settings
from pipeline.settings_digest import settings_digest
from pipeline.sources import open_bundle
from pipeline.tickets.file import find_ticket
from snapshots.model import SimilarTicket, Text, canonical_bytes, read_snapshot
from tests.desk_samples import START, indexed, many, table, ticket, write

LATE = START + timedelta(days=6)
LINE = Text(en="a", zh="b")
EXAMPLE = examples_folder() / "TK-22294"


def routed(skills, options, queues=None, at=LATE, categories=None, facts=None):
    query = query_for("new", "", at, with_meaning=False)
    given = {"payments": 0.9, "refunds": 0.1} if queues is None else queues
    kinds = {"sign": 0.9} if categories is None else categories
    return route(query, given, "learnt", facts or About(), skills, options, categories=kinds, line=LINE, tickets=90)


def desk_options(**handlers) -> DeskOptions:
    return DeskOptions(history="", lead="boss", handlers={n: HandlerOptions(**o) for n, o in handlers.items()})


THREE = desk_options(li={}, wang={}, zhao={})


def test_who_solved_such_tickets_comes_first_and_it_says_so(tmp_path):
    found = routed(Skills(table(tmp_path, many())), THREE)
    assert (found.abstained, found.queue, found.handlers[0].handler) == (False, "payments", "wang")
    assert found.handlers[0].reasons[0].en == "category sign: 30 of 30 stayed solved"
    assert "wang solves such a ticket" in found.reason.en


def test_the_closed_tickets_that_speak_for_a_handler_are_named(tmp_path):
    """Newest first, and only his own of that kind."""
    first = routed(Skills(table(tmp_path, many())), THREE).handlers[0]
    rows = {row["id"]: row for row in many()}
    assert len(first.tickets) == 5
    assert {(rows[name]["handler"], rows[name]["category"]) for name in first.tickets} == {("wang", "sign")}
    assert first.tickets == sorted(first.tickets, reverse=True)


def test_where_no_ticket_ever_came_back_those_who_closed_such_tickets_are_still_preferred(tmp_path):
    """Also to somebody with less to do, who never closed one."""
    rows = [ticket(i, handler="wang", category="sign") for i in range(20)]
    rows += [ticket(30 + i, handler="li", category="refund") for i in range(18)]
    found = routed(Skills(table(tmp_path, rows)), desk_options(li={}, wang={}))
    skill = {one.handler: one.skill for one in found.handlers}
    assert skill["wang"] > skill["li"] + 0.05
    assert found.handlers[0].handler == "wang"


def alike(**given: Any) -> SimilarTicket:
    """A closed ticket that is somewhat like another one."""
    base = {
        "id": "T",
        "title": "t",
        "closed_at": "2026-01-01T00:00:00Z",
        "score": 0.2,
        "reasons": [],
        "solution": "cure",
        "said": 0.5,
    }
    return SimilarTicket(**base | given)


@pytest.mark.parametrize(
    ("one", "used"),
    [
        (alike(fault_class="param_config"), True),
        (alike(fault_class="internal_fault"), False),
        (alike(fault_class="internal_fault", score=0.6), True),
        (alike(fault_class="param_config", reopened=True), False),
    ],
)
def test_the_line_is_problem_cause_and_solution_and_takes_no_cure_of_another_fault(one, used):
    taken = take(Settings())
    line = preliminary(taken, taken.ticket.title, [one])
    assert taken.diagnosis.fault_class == "param_config"
    assert line.en.split(" - ")[0] == taken.ticket.title
    assert line.zh.endswith("cure（参照 T）") is used


def test_tickets_that_came_back_count_against_their_handler(tmp_path):
    rows = [ticket(i, handler="wang" if i % 2 else "zhao", reopened=bool(i % 2)) for i in range(40)]
    found = routed(Skills(table(tmp_path, rows)), THREE)
    assert found.handlers[0].handler == "zhao"
    assert "wang" not in {one.handler for one in found.handlers if one.skill > 0.5}


def test_nobody_off_shift_is_offered(tmp_path):
    """At 03:00 UTC it is 11:00 in Shanghai and 22:00 in New York."""
    hours = ["mon-sun 09:00-18:00"]
    options = desk_options(
        li={"shift": hours, "timezone": "Asia/Shanghai"}, wang={"shift": hours, "timezone": "America/New_York"}
    )
    found = routed(Skills(table(tmp_path, many())), options, at=LATE + timedelta(hours=3))
    assert [one.handler for one in found.handlers] == ["li"]


def test_whoever_has_all_that_he_may_have_open_is_passed_over(tmp_path):
    rows = [*many(), *(ticket(100 + i, id=f"O{i}", closed_at=None, handler="wang") for i in range(4))]
    skills = Skills(table(tmp_path, rows))
    found = routed(skills, desk_options(li={}, wang={"most_open": 4}, zhao={}), at=LATE)
    assert "wang" not in {one.handler for one in found.handlers}
    alone = routed(skills, desk_options(wang={"most_open": 4}), at=LATE)
    assert (alone.abstained, alone.lead) == (True, "boss")
    assert "1 as many open as they may have" in alone.reason.en


@given(st.lists(st.sampled_from(["li", "wang", "zhao"]), min_size=1, max_size=60))
def test_nobody_is_flooded(tmp_path_factory, takers):
    """Whatever the skills, nobody with more than one and a half times his colleagues' load is offered a ticket."""
    rows = [ticket(i, handler=name) for i, name in enumerate(takers)]
    found = routed(Skills(table(tmp_path_factory.mktemp("flood"), rows)), THREE)
    mean = len(takers) / 3
    for one in found.handlers:
        assert (takers.count(one.handler) + 2) / (mean + 2) <= FLOODED


def test_an_unsure_queue_goes_to_its_lead(tmp_path):
    options = msgspec.structs.replace(THREE, queues={"refunds": QueueOptions(lead="chen")})
    found = routed(Skills(table(tmp_path, many())), options, {"payments": 0.3, "refunds": 0.4})
    assert (found.abstained, found.queue, found.lead) == (True, None, "chen")
    assert "only 40%" in found.reason.en
    assert found.handlers


def test_rules_name_somebody_before_any_ticket_was_closed(tmp_path):
    options = desk_options(li={"skills": ("signature_cert",)}, wang={})
    facts = About({"signature_cert": 0.9})
    found = routed(Skills(table(tmp_path, [ticket(0, closed_at=None)])), options, facts=facts, categories={})
    assert (found.abstained, found.handlers[0].handler) == (False, "li")
    assert found.handlers[0].reasons[0].en == "named for signature_cert"


def test_only_what_was_closed_by_then_makes_a_skill(tmp_path):
    """Of the same history, an hour after the first ticket nobody is known for the kind that came later."""
    rows = [ticket(0, "refund"), *(ticket(i) for i in range(24, 60))]
    skills = Skills(table(tmp_path, rows))
    assert skills.of({"category": {"sign": 1.0}}, START + timedelta(hours=1))["wang"].shares == ()
    assert skills.of({"category": {"sign": 1.0}}, LATE)["wang"].closed == 36


@pytest.mark.parametrize(
    ("shift", "there", "away"),
    [
        ("mon-fri 09:00-18:00", ["2026-11-23T09:00", "2026-11-27T17:59"], ["2026-11-23T18:00", "2026-11-28T10:00"]),
        ("fri 22:00-06:00", ["2026-11-27T23:00", "2026-11-28T05:59"], ["2026-11-27T05:00", "2026-11-28T22:00"]),
        ("sat,sun 00:00-24:00", ["2026-11-28T00:00", "2026-11-29T23:59"], ["2026-11-30T00:00", "2026-11-27T23:59"]),
    ],
)
def test_a_shift_is_hours_of_some_days(shift, there, away):
    read = read_shift(shift)
    assert all(read.holds(datetime.fromisoformat(at + "+00:00")) for at in there)
    assert not any(read.holds(datetime.fromisoformat(at + "+00:00")) for at in away)


@pytest.mark.parametrize("shift", ["sometimes", "mon-fri", "mon-fry 09:00-18:00", "mon 25:00-26:00"])
def test_a_shift_that_cannot_be_read_is_refused(shift):
    with pytest.raises(ValueError, match="write days and hours"):
        HandlerOptions(shift=(shift,))


# ---- what is learnt


def test_queues_are_learnt_and_read_back_as_they_were(tmp_path):
    rows = many()
    texts = [one["title"] for one in rows]
    labels = [one["category"] for one in rows]
    model = learnt.learn(texts, [["code:a"]] * 90, None, labels, LATE)
    assert model is not None
    model.write(tmp_path)
    again = learnt.read_queues(tmp_path)
    assert again is not None
    asked = ["签名错误", "refund not here", ""], [["code:a"], [], []], None
    assert np.array_equal(model.probabilities(*asked), again.probabilities(*asked))
    assert model.probabilities(*asked).sum(axis=1) == pytest.approx(1)
    assert model.names[int(model.probabilities(*asked)[0].argmax())] == "sign"


def test_too_few_tickets_teach_nothing():
    assert learnt.learn(["a b c"] * 30, [[]] * 30, None, ["x", "y"] * 15, LATE) is None


def test_what_was_learnt_later_is_not_used_for_an_older_ticket(tmp_path):
    index = indexed(tmp_path, many())
    rows = many()
    model = learnt.learn(
        [one["title"] for one in rows], [[]] * 90, None, [one["category"] for one in rows], START + timedelta(days=5)
    )
    index.queues = model
    desk = Desk(THREE, index, index)
    late = desk.about_text("new", "签名错误", "签名错误", LATE).routing
    early = desk.about_text("new", "签名错误", "签名错误", START + timedelta(days=4)).routing
    assert "learnt from closed tickets" in late.reason.en
    assert "by the most similar closed tickets" in early.reason.en


@pytest.mark.parametrize("way", ["votes", "learnt"])
def test_a_ticket_that_is_like_nothing_closed_goes_to_the_lead(tmp_path, way):
    """Some queue is always the likeliest, and some ticket the most similar: nobody is named for that, and nothing is supposed."""
    rows = many()
    index = indexed(tmp_path, rows)
    if way == "learnt":
        titles, kinds = [one["title"] for one in rows], [one["category"] for one in rows]
        index.queues = learnt.learn(titles, [[]] * 90, None, kinds, START + timedelta(days=5))
    desk = Desk(THREE, index, index)
    like = desk.about_text("new", "签名错误", "签名错误", LATE).routing
    coffee = desk.about_text("new", "coffee", "where is the coffee in the kitchen on the third floor", LATE)
    assert not like.abstained
    assert coffee.similar == [] or way == "learnt"
    assert coffee.routing.abstained
    assert coffee.routing.queue is None
    assert coffee.routing.line.en == "coffee - unknown - unknown"


# ---- in the snapshot, and as commands


def configured(tmp_path, rows=None) -> Settings:
    """Settings with a desk whose index is made."""
    write(tmp_path / "closed.jsonl", many() if rows is None else rows)
    (tmp_path / "problem-snapshot.toml").write_text(
        '[defaults]\nstore = "store"\n[defaults.desk]\nhistory = "closed.jsonl"\nindex = "desk"\nlead = "boss"\n'
        "[defaults.desk.handlers.li]\n[defaults.desk.handlers.wang]\n[defaults.desk.handlers.zhao]\n"
    )
    return load_settings(tmp_path / "problem-snapshot.toml", env={}, sources=False)


def take(settings: Settings):
    found, bundle = find_ticket(str(EXAMPLE))
    source = open_bundle(bundle, zone=found.created_at.tzinfo)
    try:
        return take_snapshot(found, [source], settings).snapshot
    finally:
        source.close()


def test_a_snapshot_tells_similar_tickets_and_a_handler_where_the_desk_is_configured(tmp_path):
    settings = configured(tmp_path)
    make_index(settings, {}, lambda _: None)
    taken = take(settings)
    assert taken.similar_tickets
    assert taken.routing is not None
    assert taken.routing.tickets == 90
    assert taken.routing.line.zh.count(" - ") == 2
    # The same again, byte for byte; read back as it was.
    assert canonical_bytes(take(settings)) == canonical_bytes(taken)
    assert read_snapshot(canonical_bytes(taken)) == taken


def test_without_a_desk_a_snapshot_is_what_it_was():
    taken = take(Settings())
    assert (taken.similar_tickets, taken.routing) == ([], None)
    assert fill_desk(taken, Settings()) is taken
    assert settings_digest(Settings()) == settings_digest(Settings(desk=None))


def test_a_desk_without_an_index_never_stops_a_snapshot(tmp_path):
    taken = take(configured(tmp_path))
    assert taken.routing is None
    told = next(check for check in taken.checks if check.id == "desk")
    assert told.outcome == "not_evaluated"
    assert "`problem-snapshot desk index` makes it" in told.statement.en


def test_the_commands_index_and_answer_in_both_languages(tmp_path, monkeypatch):
    configured(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    made = run.invoke(commands, ["desk", "index"])
    assert made.exit_code == 0, made.output
    assert "90 closed tickets and 0 open ones" in made.stderr
    assert run.invoke(commands, ["take", str(EXAMPLE), "-o", "json"]).exit_code in {0, 8}
    alike = run.invoke(commands, ["desk", "similar", "TK-22294", "-o", "json"])
    assert len(json.loads(alike.stdout)) == 5
    english = run.invoke(commands, ["desk", "route", "TK-22294", "-l", "en"])
    chinese = run.invoke(commands, ["desk", "route", str(EXAMPLE / "ticket.json"), "-l", "zh"])
    assert english.stdout.startswith("To: ")
    assert chinese.stdout.startswith("分派给：")
    assert "similar" in run.invoke(commands, ["desk", "--help"]).output
    missing = run.invoke(commands, ["desk", "similar", "TK-0"])
    assert missing.exit_code == 3
    shown = run.invoke(commands, ["show", "TK-22294", "--full", "-l", "en"])
    assert "solution of" in shown.stdout


def test_the_stores_snapshots_say_what_the_system_said_of_closed_tickets(tmp_path, monkeypatch):
    """A closed ticket with a stored snapshot is known by its marks, and the same incident again finds it first."""
    rows = [*many(), ticket(95, id="TK-22294", title="完全不同的话", created_at="2026-05-20T00:00:00Z", closed_at=None)]
    rows[-1]["closed_at"] = "2026-05-20T01:00:00Z"
    configured(tmp_path, rows)
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    assert run.invoke(commands, ["take", str(EXAMPLE), "-o", "json"]).exit_code in {0, 8}
    assert "1 with a snapshot" in run.invoke(commands, ["desk", "index"]).stderr
    again = json.loads((EXAMPLE / "ticket.json").read_bytes()) | {"id": "TK-AGAIN"}
    settings = load_settings(tmp_path / "problem-snapshot.toml", env={}, sources=False)
    taken = take(settings)
    other = msgspec.structs.replace(taken, ticket=msgspec.structs.replace(taken.ticket, id=again["id"]))
    first = open_desk(settings).about(other).similar[0]
    assert first.id == "TK-22294"
    assert first.said == pytest.approx(1.0, abs=0.3)
    assert first.reasons[0].en.startswith("the system said the same: ")


def test_no_desk_is_told_with_what_to_write():
    with pytest.raises(UsageError, match=r"no desk is configured .* \[defaults.desk\]"):
        open_desk(Settings())


def test_settings_of_a_desk_are_checked(tmp_path):
    path = tmp_path / "problem-snapshot.toml"
    path.write_text('[defaults.desk]\nhistory = "a.csv"\nsource = "logs"\n')
    with pytest.raises(UsageError, match="there is no source 'logs'"):
        load_settings(path, env={}, sources=False)
    path.write_text('[defaults.desk]\nhistory = "a.csv"\n[defaults.desk.handlers.li]\nshift = ["never"]\n')
    with pytest.raises(UsageError, match="write days and hours"):
        load_settings(path, env={}, sources=False)


def test_the_simulated_desk_is_routed_better_than_by_chance_and_as_evenly():
    """One desk of the benchmark; its goals are checked over more of them there."""
    ours, chance = _handlers.simulate("routed", 7), _handlers.simulate("random", 7)
    assert ours.top2 > chance.top2 + 0.2
    assert ours.load <= 1.5
