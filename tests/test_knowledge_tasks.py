"""The knowledge loop: a task for each solved ticket, reminders on a simulated clock, points, and signatures that are tested."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from msgspec.structs import replace

from cli import commands
from pipeline.desk.acceptance import accept_task
from pipeline.desk.advice import advise, fill_knowledge
from pipeline.desk.cause import cause_of
from pipeline.desk.draft import TODO, draft_of
from pipeline.desk.entry import Entry, Facts, Signature, Told, Trial, read_entry, write_entry
from pipeline.desk.options import DeskOptions
from pipeline.desk.seeds import seed_entries
from pipeline.desk.shelf import put_entries, read_shelf
from pipeline.desk.signature import LEAST, alike, find, signature_of, try_on
from pipeline.desk.tasks import HOUR, POINTS, STEPS, Reminder, Tasks
from pipeline.errors import UsageError
from pipeline.service.database import opened
from pipeline.settings import load_settings
from pipeline.settings_digest import settings_digest
from snapshots.model import Check, ProblemSnapshot, Template, Text, with_id
from snapshots.store import Store
from tests.snapshots_samples import SAMPLES

NOW = datetime(2026, 11, 26, 9, tzinfo=UTC).timestamp()
S = SAMPLES["duplicate_charge"]
TODAY = date(2026, 11, 26)


@pytest.fixture(params=["sqlite", "postgresql"])
def tasks(request, tmp_path) -> Iterator[Tasks]:
    """The tasks in an empty database of each kind."""
    if request.param == "sqlite":
        engine = opened(f"sqlite:///{tmp_path}/desk.sqlite")
        yield Tasks(engine)
        engine.dispose()
        return
    place = sa.make_url(request.getfixturevalue("postgresql_url")).set(drivername="postgresql+psycopg")
    name = f"desk_{time.time_ns()}"
    admin = sa.create_engine(place, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine = opened(place.set(database=name).render_as_string(hide_password=False))
    try:
        yield Tasks(engine)
    finally:
        engine.dispose()
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def draft(name: str = "x") -> Entry:
    return Entry(facts=Facts(id=name, owner="wang"), en=Told(title="T", cause="C", steps=("S",), prevention="P"))


# ---- a task


def test_a_ticket_has_one_task_however_often_it_is_solved(tasks):
    first, new = tasks.open("zendesk", "T1", draft(), "wang", NOW)
    again, newer = tasks.open("zendesk", "T1", draft(), "li", NOW + HOUR)
    assert (new, newer, again.id, again.assignee) == (True, False, first.id, "wang")
    assert first.due_at - first.opened_at == 48 * HOUR
    assert tasks.open("jira", "T1", draft(), "wang", NOW)[1]


@pytest.mark.parametrize(("hours", "reason"), [(48, "in_time"), (48.001, "late")])
def test_the_first_submission_decides_whether_it_was_in_time(tasks, hours, reason):
    task, _ = tasks.open("s", "T1", draft(), "wang", NOW)
    text = write_entry(draft())
    tasks.submit(task.id, text, NOW + hours * HOUR)
    tasks.give_back(task.id, "say which index", "lead", NOW + 50 * HOUR)
    assert tasks.submit(task.id, text, NOW + 90 * HOUR).submitted_at == NOW + hours * HOUR
    (standing,) = tasks.standings(NOW + 100 * HOUR)
    assert standing.points == POINTS[reason]
    assert standing.timeliness == (reason == "in_time")


def test_an_entry_in_which_something_is_to_be_written_is_not_taken(tasks):
    task, _ = tasks.open("s", "T1", draft_of(S, "wang", TODAY), "wang", NOW)
    with pytest.raises(UsageError, match="prevention"):
        tasks.submit(task.id, task.text, NOW)


def test_states_go_only_where_they_may(tasks):
    task, _ = tasks.open("s", "T1", draft(), "wang", NOW)
    with pytest.raises(UsageError, match="is open"):
        tasks.accept(task.id, draft(), "lead", NOW)
    tasks.drop(task.id, "spam", "lead", NOW)
    with pytest.raises(UsageError, match="is dropped"):
        tasks.submit(task.id, write_entry(draft()), NOW)
    with pytest.raises(UsageError, match="no knowledge task"):
        tasks.get("kt-none")


def test_the_rate_counts_what_is_due_and_nothing_else(tasks):
    for n in range(4):
        tasks.open("s", f"T{n}", draft(), "wang", NOW)
    ids = {task.ticket_id: task.id for task in tasks.listed()}
    tasks.submit(ids["T0"], write_entry(draft()), NOW + HOUR)
    tasks.drop(ids["T1"], "spam", "lead", NOW)
    (early,) = tasks.standings(NOW + 2 * HOUR)
    assert (early.tasks, early.in_time, early.timeliness) == (1, 1, 1.0)
    (later,) = tasks.standings(NOW + 49 * HOUR)
    assert (later.tasks, later.in_time, later.missing) == (3, 1, 2)
    assert later.timeliness == pytest.approx(1 / 3)


def test_what_came_back_is_known(tasks):
    tasks.open("s", "T1", draft(), "wang", NOW)
    assert tasks.reopened("s", "T1", NOW)
    assert not tasks.reopened("s", "T2", NOW)
    assert tasks.outcomes() == {"T1": True}


# ---- reminders


def test_reminders_come_before_the_deadline_and_once(tasks):
    tasks.open("s", "T1", draft(), "wang", NOW)
    said: list[tuple[float, str]] = []
    for minute in range(0, 72 * 60, 30):
        now = NOW + minute * 60
        tasks.remind(now, lambda one, now=now: said.append(((now - NOW) / HOUR, one.step)))
    assert said == [(24.0, "half"), (44.0, "soon"), (48.0, "overdue")]


def test_after_a_long_pause_only_the_last_reminder_is_sent(tasks):
    tasks.open("s", "T1", draft(), "wang", NOW)
    assert [one.step for one in tasks.remind(NOW + 60 * HOUR, lambda _: None)] == ["overdue"]
    assert tasks.remind(NOW + 61 * HOUR, lambda _: None) == []


def test_who_has_handed_in_is_not_reminded(tasks):
    task, _ = tasks.open("s", "T1", draft(), "wang", NOW)
    tasks.submit(task.id, write_entry(draft()), NOW + HOUR)
    assert tasks.remind(NOW + 60 * HOUR, lambda _: None) == []


def test_a_simulated_month_loses_no_reminder_though_sending_fails_at_random(tmp_path):
    """60 tasks, a look every half hour; one sending in five dies before it is done, as with a process that is killed."""
    drawn = random.Random(5)
    engine = opened(f"sqlite:///{tmp_path}/desk.sqlite")
    tasks = Tasks(engine)
    done: Counter[tuple[str, str]] = Counter()

    def send(one: Reminder) -> None:
        if drawn.random() < 0.2:
            raise ConnectionError
        done[one.task.ticket_id, one.step] += 1

    opened_at = {f"T{n}": NOW + drawn.randrange(26 * 24) * HOUR for n in range(60)}
    waiting = sorted(opened_at, key=opened_at.get)
    for half_hour in range(32 * 48):
        now = NOW + half_hour * HOUR / 2
        tasks = Tasks(engine) if half_hour % 100 == 0 else tasks
        while waiting and opened_at[waiting[0]] <= now:
            tasks.open("s", waiting[0], draft(), "wang", now)
            waiting.pop(0)
        try:
            tasks.remind(now, send)
        except ConnectionError:
            continue
    engine.dispose()
    assert done == {(ticket, step): 1 for ticket in opened_at for step in STEPS}


# ---- signatures


def other(number: int, **changes: object) -> ProblemSnapshot:
    """A snapshot of another ticket with another fault."""
    base = next(
        one
        for _, one in sorted(SAMPLES.items())
        if not one.diagnosis.abstained and one.diagnosis.fault_class != S.diagnosis.fault_class
    )
    return with_id(replace(base, ticket=replace(base.ticket, id=f"OLD-{number}"), **changes))


def with_template(snapshot: ProblemSnapshot, text: str) -> ProblemSnapshot:
    made = Template(id="t-x", text=text, incident_count=3, baseline_count=0, change="new", focus_count=3)
    return with_id(replace(snapshot, templates=[made]))


LINE = "charged order <*> again after lock was lost"
OWN = with_template(S, LINE)
ENTRY = replace(draft_of(OWN, "wang", TODAY), facts=replace(draft_of(OWN, "wang", TODAY).facts, tickets=(S.ticket.id,)))


def test_the_signature_of_a_snapshot_finds_that_snapshot():
    signature = signature_of(OWN)
    assert LINE in signature.templates
    assert find(signature, OWN) is not None
    assert find(signature, other(1)) is None
    assert find(Signature(), OWN) is None


def test_a_signature_holds_only_where_no_other_fault_shows_it():
    signature = Signature(templates=(LINE,))
    others = [other(n) for n in range(LEAST)]
    assert try_on(ENTRY, signature, [OWN, *others], TODAY).trial.holds
    wrong = try_on(ENTRY, signature, [OWN, *others, with_template(other(99), LINE.replace("<*>", "7"))], TODAY)
    assert (wrong.trial.holds, wrong.wrong) == (False, ("OLD-99",))


def test_too_few_old_snapshots_prove_nothing():
    signature = Signature(templates=(LINE,))
    assert not try_on(ENTRY, signature, [OWN, *(other(n) for n in range(LEAST - 1))], TODAY).trial.holds
    assert not try_on(ENTRY, signature, [other(n) for n in range(LEAST)], TODAY).trial.holds


def test_a_confirmed_label_outweighs_what_was_located():
    signature = Signature(templates=(LINE,))
    old = [OWN, *(other(n) for n in range(LEAST)), with_template(other(99), LINE)]
    same = f"{S.diagnosis.fault_class}/{S.diagnosis.fault_subclass}"
    assert try_on(ENTRY, signature, old, TODAY, {"OLD-99": same}).trial.holds


@pytest.mark.parametrize(
    ("one", "other_", "same"),
    [
        ("a b <*> c", "a b 7 c", True),
        ("a b c", "a b c d", False),
        ("<*> <*> <*>", "a b c", False),
        ("a b c", "a b d", False),
    ],
)
def test_templates_are_one_where_only_variables_differ(one, other_, same):
    assert alike(one, other_) is alike(other_, one) is same


def test_the_loop_from_a_solved_ticket_to_evidence(tmp_path):
    """A task is opened, handed in and accepted; its signature holds, and the next ticket of the kind is told of the entry."""
    store = Store(tmp_path / "store")
    for snapshot in (OWN, *(other(n) for n in range(LEAST))):
        store.put(snapshot)
    engine = opened(f"sqlite:///{tmp_path}/desk.sqlite")
    tasks = Tasks(engine)
    task, _ = tasks.open(S.ticket.system, S.ticket.id, draft_of(OWN, "wang", TODAY), "wang", NOW)
    tasks.submit(task.id, task.text.replace(TODO.en, "A test of the lock.").replace(TODO.zh, "锁的测试。"), NOW + HOUR)
    accepted = accept_task(tasks, task.id, tmp_path / "k", store, "lead", NOW + 2 * HOUR)
    assert "holds" in accepted.verdict
    (standing,) = tasks.standings(NOW + 3 * HOUR)
    assert standing.points == POINTS["in_time"] + POINTS["accepted"] + POINTS["proven"]
    filed = read_shelf(tmp_path / "k").by_id[accepted.entry.id]
    assert filed.facts.signature.proven
    assert filed.facts.status == "accepted"
    desk = DeskOptions(knowledge=str(tmp_path / "k"))
    later = replace(OWN, ticket=replace(OWN.ticket, id="NEXT", created_at="2027-01-02T00:00:00+00:00"))
    (told,) = advise(later, read_shelf(tmp_path / "k"), desk)
    assert told.proven
    assert fill_knowledge(OWN, desk).knowledge == [], "a ticket is not explained by what was learnt from it"
    with pytest.raises(UsageError, match="is accepted"):
        accept_task(tasks, task.id, tmp_path / "k", store, "lead", NOW)
    engine.dispose()


def test_a_draft_names_no_order_of_the_customer():
    text = write_entry(draft_of(S, "wang", TODAY)).partition("\n---\n")[2]
    for order in S.orders:
        assert order.order_id not in text


# ---- what a snapshot is told


def test_without_a_desk_a_snapshot_is_the_same_bytes():
    assert fill_knowledge(S, None) is S
    assert fill_knowledge(S, DeskOptions()) is S


def test_a_snapshot_is_told_the_entry_of_its_fault_and_cites_findings(tmp_path):
    put_entries(tmp_path, seed_entries(TODAY))
    filled = fill_knowledge(S, DeskOptions(knowledge=str(tmp_path)))
    best = filled.knowledge[0]
    assert (best.fault_class, best.fault_subclass) == (S.diagnosis.fault_class, S.diagnosis.fault_subclass)
    assert set(best.findings) <= {finding.id for finding in S.findings}
    assert best.sha256 == read_shelf(tmp_path).hash_of(best.id)
    assert best.steps
    assert filled.snapshot_id != S.snapshot_id
    assert with_id(filled).snapshot_id == filled.snapshot_id
    assert fill_knowledge(S, DeskOptions(knowledge=str(tmp_path))) == filled


def test_an_entry_past_its_review_is_told_as_doubtful(tmp_path):
    old = Facts(
        id="old", owner="li", fault_class=S.diagnosis.fault_class, fault_subclass=S.diagnosis.fault_subclass,
        review_by=date(2020, 1, 1), versions=("<1",),
    )  # fmt: skip
    put_entries(tmp_path, [Entry(facts=old, en=Told(title="T", steps=("S",)))])
    (told,) = fill_knowledge(S, DeskOptions(knowledge=str(tmp_path), versions={"": "2.0"})).knowledge
    assert [doubt.en.split()[0] for doubt in told.doubts] == ["its", "it"]


def test_knowledge_that_cannot_be_read_is_told_and_stops_nothing(tmp_path):
    filled = fill_knowledge(S, DeskOptions(knowledge=str(tmp_path / "none")))
    assert filled.knowledge == []
    assert filled.checks[-1].id == "knowledge"
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "bad.md").write_text("bad", encoding="utf-8")
    assert "1 file of" in fill_knowledge(S, DeskOptions(knowledge=str(tmp_path / "k"))).checks[-1].statement.en


def test_a_proven_signature_outweighs_the_fault_alone(tmp_path):
    proven = Signature(templates=(LINE,), trial=Trial(tested=TODAY, snapshots=20, matched=1, wrong=0, holds=True))
    unproven = replace(proven, trial=replace(proven.trial, holds=False))
    for name, signature in (("a", unproven), ("b", proven)):
        facts = Facts(id=name, owner="li", signature=signature, fault_class="x", fault_subclass="y")
        put_entries(tmp_path, [Entry(facts=facts, en=Told(title="T", steps=("S",)))])
    found = fill_knowledge(OWN, DeskOptions(knowledge=str(tmp_path))).knowledge
    assert [(one.id, one.proven) for one in found] == [("b", True)]


def test_settings_without_a_desk_have_the_digest_they_had(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[defaults]\n", encoding="utf-8")
    plain = settings_digest(load_settings(path, None, {}))
    path.write_text('[defaults.desk]\nknowledge = "k"\n[profiles.none]\ndesk = false\n', encoding="utf-8")
    settings = load_settings(path, None, {})
    assert settings.desk.knowledge == str(tmp_path / "k")
    assert settings_digest(load_settings(path, "none", {})) == plain
    before = settings_digest(settings)
    put_entries(tmp_path / "k", [draft()])
    assert len({plain, before, settings_digest(settings)}) == 3


# ---- commands


def test_tasks_are_worked_through_from_the_command_line(tmp_path):
    Store(tmp_path / "store").put(S)
    config = tmp_path / "c.toml"
    config.write_text(
        f'[defaults]\nstore = "{tmp_path}/store"\n[defaults.service]\ndatabase = "sqlite:///{tmp_path}/d.sqlite"\n'
        '[defaults.desk]\nknowledge = "k"\n',
        encoding="utf-8",
    )

    def run(*args: str) -> str:
        found = CliRunner().invoke(commands, ["desk", "tasks", *args, "--config", str(config)], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.stdout

    task = run("open", S.ticket.id, "--to", "wang").strip()
    assert task in run("list")
    path = tmp_path / "entry.md"
    path.write_text(run("show", task).replace(TODO.en, "Watch it."), encoding="utf-8")
    assert read_entry(path.read_text(encoding="utf-8"), "x").facts.tickets == (S.ticket.id,)
    run("submit", task, str(path))
    run("accept", task, "--by", "lead")
    assert len(list(Path(tmp_path / "k").rglob("*.md"))) == 1
    run("reopened", S.ticket.id, "--system", S.ticket.system)
    (row,) = json.loads(run("report", "-o", "json"))
    assert (row["person"], row["timeliness"]) == ("wang", 1.0)
    assert run("remind") == "\n" or not run("remind").strip()


def test_how_other_orders_fared_in_that_hour_is_no_part_of_what_a_ticket_taught():
    """Neither of the entry, nor of the preliminary line; the cause stays."""
    said = Text(en="of 4 other orders 3 went through", zh="4 个其他订单中 3 个正常完成")
    check = Check(id="cohort", outcome="healthy", statement=said)
    summary = Text(
        en=f"{S.diagnosis.summary.en} {said.en[:1].upper()}{said.en[1:]}.", zh=f"{S.diagnosis.summary.zh}{said.zh}。"
    )
    told = replace(S, checks=[*S.checks, check], diagnosis=replace(S.diagnosis, summary=summary))
    assert cause_of(told) == S.diagnosis.summary
    entry = draft_of(told, "wang", TODAY)
    assert "other orders" not in entry.en.cause
    assert "其他订单" not in entry.zh.cause
