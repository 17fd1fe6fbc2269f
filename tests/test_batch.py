"""`batch`: what it gives is what `take` gives, nothing given is lost, and a run can be ended at any moment and gone on with."""

from __future__ import annotations

import html
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.dataset as ds
import pytest
from click.testing import CliRunner, Result

from cli import commands
from pipeline.batching import run as batch_run
from pipeline.batching import units
from pipeline.batching.plan import Unit
from pipeline.batching.results import Entry, Folder
from pipeline.batching.rows import ROW_SCHEMA, snapshot_of
from pipeline.batching.summary import DayRow, Row, read_summary
from pipeline.batching.summary_page import page_of, show_summary
from pipeline.batching.units import InProcess
from pipeline.values import Span
from snapshots.model import canonical_bytes, read_snapshot
from snapshots.store import Store
from tests.batch_samples import ROOT, begin, incident, incidents, names_of, results, summary_of, tickets_file
from tests.flow_samples import EXAMPLES, NAMES, event, failed_order, take, taken, ticket_json, write_bundle

ENGINES = (("local", 1), ("local", 2), ("FnApiRunner", 1), ("FnApiRunner", 2))
engines = pytest.mark.parametrize(("runner", "jobs"), ENGINES, ids=[f"{name}-{jobs}" for name, jobs in ENGINES])


@pytest.fixture(autouse=True)
def _alone(home: Path) -> None:
    """No command here sees anybody's settings."""


@pytest.fixture(scope="module")
def dozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return incidents(tmp_path_factory.mktemp("dozen"), 12)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(commands, ["batch", *map(str, args)], prog_name="problem-snapshot")


def well(result: Result, code: int = 0) -> Result:
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    return result


def letters_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "dead_letters.jsonl").read_text("utf-8").splitlines()]


# ---- the same as take


@engines
def test_documents_are_those_of_take_byte_for_byte(home: Path, runner: str, jobs: int):
    """Whatever the engine: of the examples here, of a hundred cases below."""
    well(run(EXAMPLES, "--out-dir", home / "out", "--runner", runner, "--jobs", jobs))
    for name in NAMES:
        assert (home / "out" / "documents" / f"{name}.json").read_bytes() == canonical_bytes(taken(name))


@pytest.fixture(scope="module")
def hundred(cases: Path) -> dict[str, bytes]:
    """A hundred cases, each taken with `take` in this process: name -> document."""
    from pipeline.run import take_snapshot
    from pipeline.settings import Settings
    from pipeline.sources import open_bundle
    from pipeline.tickets.file import find_ticket

    found = {}
    settings = Settings(budget=60, store="unused")
    for name in sorted(path.name for path in cases.iterdir())[:100]:
        ticket, bundle = find_ticket(name, cases)
        assert bundle is not None
        source = open_bundle(bundle, zone=ticket.created_at.tzinfo)
        found[name] = canonical_bytes(take_snapshot(ticket, [source], settings).snapshot)
        source.close()
    assert len(found) == 100
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("runner", ["local", "FnApiRunner"])
def test_a_hundred_cases_give_the_documents_of_take(home: Path, cases: Path, hundred: dict[str, bytes], runner: str):
    """One process took each with `take`; here they are taken over two."""
    few = home / "cases"
    few.mkdir()
    for name in hundred:
        (few / name).symlink_to(cases / name)
    well(run(few, "--out-dir", home / "out", "--runner", runner, "--jobs", 2))
    for name, alone in hundred.items():
        assert (home / "out" / "documents" / f"{name}.json").read_bytes() == alone, name


@engines
def test_every_engine_leaves_the_same(dozen: Path, home: Path, runner: str, jobs: int):
    """Documents, rows and dead letters, byte for byte."""
    well(run(dozen, "--out-dir", home / "plain", "--runner", "local", "--jobs", 1))
    well(run(dozen, "--out-dir", home / "out", "--runner", runner, "--jobs", jobs))
    assert results(home / "out") == results(home / "plain")
    assert len(results(home / "out")) == 12 + 1 + 1


@pytest.mark.timeout(400)
def test_a_job_server_and_workers_of_their_own_leave_the_same(dozen: Path, home: Path, prism_url: str):
    """Beam's portable runner: the job goes to another process, and is worked on in a third; with it `take`'s bytes."""
    job, pool = prism_url.split()
    well(run(dozen, "--out-dir", home / "plain", "--runner", "local", "--jobs", 1))
    options = [f"--job_endpoint={job}", "--environment_type=EXTERNAL", f"--environment_config={pool}"]
    well(run(dozen, "--out-dir", home / "out", "--runner", "PortableRunner", "--", *options))
    assert results(home / "out") == results(home / "plain")
    well(run(EXAMPLES, "--out-dir", home / "examples", "--runner", "PortableRunner", "--", *options))
    for name in NAMES:
        assert (home / "examples" / "documents" / f"{name}.json").read_bytes() == canonical_bytes(taken(name))


def test_beam_is_loaded_where_it_is_used_and_nowhere_else():
    """Neither by the command line, nor by what batch and take have in common."""
    modules = "cli, pipeline.batching.run, pipeline.batching.units, pipeline.batching.summary_page, pipeline.run"
    code = f"import {modules}, sys; sys.exit('apache_beam' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_the_counters_of_beam_are_those_of_the_summary(dozen: Path, home: Path):
    """Taken, kept and dead, and how many lines each ticket had."""
    from apache_beam import Pipeline
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipeline.batch import NAMESPACE, pipeline_of
    from pipeline.batching.plan import make_plan, units
    from pipeline.batching.tickets import read_given
    from pipeline.batching.units import Recipe, made_with
    from pipeline.settings import load_settings

    folder = Folder(home / "out")
    folder.make()
    made = made_with(load_settings(sources=False))
    plan = make_plan(read_given(str(dozen), None, "", str), folder, tickets=str(dozen), made=made, notes=[])
    recipe = Recipe(str(folder.root), None, None, False, 60.0, None, tuple(made.items()))
    for taken_now, kept in ((12, 0), (0, 12)):
        pipeline = Pipeline(runner=FnApiRunner())
        pipeline_of(pipeline, units(folder, plan.planned, 1), recipe)
        found = pipeline.run().metrics().query()
        counts = {
            one.key.metric.name: one.committed for one in found["counters"] if one.key.metric.namespace == NAMESPACE
        }
        assert (counts.get("taken", 0), counts.get("kept", 0), counts.get("dead", 0)) == (taken_now, kept, 0)
        lines = [one.committed.sum for one in found["distributions"] if one.key.metric.name == "log_lines"]
        assert sum(lines) == (12 * 21 if taken_now else 0)


def test_a_worker_with_other_settings_refuses(home: Path):
    """On another machine there may be another file."""
    recipe = units.Recipe(str(home), None, None, False, 60.0, None, (("tool_version", "0"),))
    with pytest.raises(batch_run.UsageError, match="this worker's tool_version"):
        recipe.open()


def test_the_rows_of_the_dataset_are_the_documents(home: Path):
    """Partitioned by the ticket's day, of the stated schema, and each document can be made of its row again."""
    well(run(EXAMPLES, "--out-dir", home / "out", "--runner", "local", "--jobs", 1))
    table = ds.dataset(home / "out" / "snapshots", partitioning="hive").to_table()
    assert table.drop_columns("day").schema.names == ROW_SCHEMA.names
    rows = {row["snapshot_id"]: row for row in table.to_pylist()}
    for name in NAMES:
        document = (home / "out" / "documents" / f"{name}.json").read_bytes()
        row = rows[read_snapshot(document).snapshot_id]
        assert canonical_bytes(snapshot_of(row)) == document
        assert row["day"] == row["created_at"].date().isoformat()


# ---- nothing is lost


def test_counts_add_up_and_every_dead_letter_has_its_reason_and_its_element(home: Path, dozen: Path):
    """Broken lines, a ticket that is there twice, another of the same id, one whose bundle is missing."""
    tickets = [incident(number) for number in range(12)]
    lines = [json.dumps(one) for one in tickets]
    other = json.dumps({**tickets[3], "title": "another one"})
    lost = json.dumps(ticket_json(id="B-9999"))
    broken = '{"id": "X-1", "title": "no time"}'
    path = home / "tickets.jsonl"
    path.write_text("\n".join([*lines[:6], "", "no JSON", *lines[6:], lines[2], other, broken, lost]), "utf-8")
    result = well(run(path, "--bundle", dozen, "--out-dir", home / "out", "--runner", "local", "--jobs", 1), 8)
    summary = summary_of(home / "out")
    assert (summary["given"], summary["snapshots"], summary["dead"], summary["repeated"]) == (17, 12, 4, 1)
    letters = letters_of(home / "out")
    assert [(one["name"], one["error"]) for one in letters] == [
        ("tickets.jsonl, line 8", "UsageError"),
        ("tickets.jsonl, line 16", "UsageError"),
        ("tickets.jsonl, line 17", "UsageError"),
        ("tickets.jsonl, line 18", "UsageError"),
    ]
    assert letters[0]["element"] == "no JSON"
    assert "is not JSON" in letters[0]["reason"]
    assert "another ticket of the id 'B-0003'" in letters[1]["reason"]
    assert letters[2]["element"] == broken
    assert "no bundle of ticket B-9999" in letters[3]["reason"]
    assert "Tickets given: 17. Snapshots: 12. Dead letters: 4. Given twice: 1." in result.stdout


@pytest.fixture
def shop(home: Path) -> Path:
    """A configuration with an orders database that answers and a tracing service that is not there."""
    rows = [row for number in range(200) for row in failed_order(**names_of(number))]
    with sqlite3.connect(home / "orders.db") as database:
        columns = list(event(0, "order", "x", "pending"))
        database.execute(f"CREATE TABLE order_events ({', '.join(columns)})")
        marks = ", ".join("?" * len(columns))
        database.executemany(f"INSERT INTO order_events VALUES ({marks})", [list(row.values()) for row in rows])
    config = home / "shop.toml"
    config.write_text(
        f'[defaults.sources.orders]\nkind = "orders"\nurl = "sqlite:///{home}/orders.db"\n'
        '[defaults.sources.traces]\nkind = "jaeger"\nurl = "http://127.0.0.1:9"\nattempts = 1\n',
        "utf-8",
    )
    return config


@pytest.mark.timeout(600)
@pytest.mark.parametrize("runner", ["local", "FnApiRunner"])
def test_one_poisoned_incident_and_one_dead_source_make_one_dead_letter(
    home: Path, shop: Path, monkeypatch: pytest.MonkeyPatch, runner: str
):
    """199 snapshots, each with the dead source in its ledger, and one dead letter with reason and element."""
    from pipeline import run as flow

    take = flow.take_snapshot

    def poisoned(ticket: Any, *args: Any, **more: Any) -> Any:
        if ticket.id == "B-0123":
            raise ZeroDivisionError("poison")
        return take(ticket, *args, **more)

    monkeypatch.setattr(flow, "take_snapshot", poisoned)
    path = tickets_file(home / "tickets.jsonl", [incident(number) for number in range(200)])
    well(run(path, "--config", shop, "--out-dir", home / "out", "--runner", runner, "--jobs", 1), 8)
    summary = summary_of(home / "out")
    assert (summary["given"], summary["snapshots"], summary["dead"]) == (200, 199, 1)
    assert summary["holes"] == [{"source": "traces", "what": "spans", "status": "failed", "tickets": 199}]
    (letter,) = letters_of(home / "out")
    assert (letter["number"], letter["ticket"], letter["error"], letter["reason"]) == (
        123,
        "B-0123",
        "ZeroDivisionError",
        "poison",
    )
    assert letter["element"]["ticket"]["customer_id"] == names_of(123)["customer"]
    assert len(list((home / "out" / "documents").iterdir())) == 199
    monkeypatch.setattr(flow, "take_snapshot", take)
    well(run(path, "--config", shop, "--out-dir", home / "out", "--retry", "--runner", runner, "--jobs", 1))
    again = summary_of(home / "out")
    assert (again["snapshots"], again["dead"], again["kept"]) == (200, 0, 199)
    assert letters_of(home / "out") == []


class Deadly(InProcess):
    """Work that ends its process with one of the tickets."""

    def take(self, unit: Unit) -> list[Entry]:
        if any(one.ticket.id == "B-0005" for one in unit):
            os._exit(9)
        return super().take(unit)


def test_a_ticket_that_ends_its_process_is_a_dead_letter_and_the_others_are_taken(
    home: Path, dozen: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batch_run, "InProcess", Deadly)
    well(run(dozen, "--out-dir", home / "out", "--runner", "local", "--jobs", 2), 8)
    units.close_workers()
    (letter,) = letters_of(home / "out")
    assert (letter["ticket"], letter["error"]) == ("B-0005", "ProcessDied")
    # The other process is ended with it, and may leave the beginning of a file.
    assert len(list((home / "out" / "documents").glob("[!.]*"))) == 11


def test_a_full_disk_ends_the_run_and_is_no_tickets_fault(home: Path, dozen: Path, monkeypatch: pytest.MonkeyPatch):
    """And when there is room again, the run goes on."""
    place = Folder.place

    def full(folder: Folder, path: Path, data: bytes) -> None:
        if path.name == "B-0004.json":
            raise batch_run.SnapshotError(f"{path}: cannot be written: No space left on device")
        place(folder, path, data)

    monkeypatch.setattr(Folder, "place", full)
    for engine in ("local", "FnApiRunner"):
        out = home / engine
        result = well(run(dozen, "--out-dir", out, "--runner", engine, "--jobs", 1), 1)
        assert "No space left on device" in result.stderr
        assert "--resume goes on" in result.stderr
        assert not (out / "summary.json").exists()
    monkeypatch.setattr(Folder, "place", place)
    for engine in ("local", "FnApiRunner"):
        out = home / engine
        well(run(dozen, "--out-dir", out, "--runner", engine, "--jobs", 1, "--resume"))
        assert summary_of(out)["snapshots"] == 12
        assert letters_of(out) == []


# ---- going on


def test_a_folder_with_a_run_is_not_written_to_again_unless_it_goes_on(home: Path, dozen: Path):
    """Nor is one with anything else in it, nor with other tickets or settings."""
    out = home / "out"
    well(run(dozen, "--out-dir", out, "--runner", "local", "--jobs", 1))
    assert "--resume goes on with it" in well(run(dozen, "--out-dir", out), 2).stderr
    assert "not empty" in well(run(dozen, "--out-dir", home), 2).stderr
    assert "no run to go on with" in well(run(dozen, "--out-dir", home / "new", "--resume"), 2).stderr
    assert "a run over" in well(run(EXAMPLES, "--out-dir", out, "--resume"), 2).stderr
    (home / "other.toml").write_text("[defaults.windows]\nbefore = '7m'\n", "utf-8")
    refused = well(run(dozen, "--out-dir", out, "--resume", "--config", home / "other.toml"), 2)
    assert "another settings_sha256" in refused.stderr
    before = results(out)
    again = well(run(dozen, "--out-dir", out, "--resume"))
    assert "Done by an earlier run" not in again.stdout
    assert "nothing was left to do" in again.stderr
    assert results(out) == before


def test_a_file_of_tickets_that_changed_is_not_gone_on_with(home: Path, dozen: Path):
    path = tickets_file(home / "tickets.jsonl", [incident(1)])
    well(run(path, "--bundle", dozen, "--out-dir", home / "out", "--runner", "local", "--jobs", 1))
    tickets_file(path, [incident(1), incident(2)])
    assert "has changed since" in well(run(path, "--out-dir", home / "out", "--bundle", dozen, "--resume"), 2).stderr


def test_a_run_is_not_gone_on_with_over_other_records(home: Path, dozen: Path):
    """The tickets that are left would have theirs from where the first run looked, whatever the second says."""
    path = tickets_file(home / "tickets.jsonl", [incident(1)])
    well(run(path, "--bundle", dozen, "--out-dir", home / "out", "--runner", "local", "--jobs", 1))
    told = well(run(path, "--bundle", EXAMPLES, "--out-dir", home / "out", "--resume"), 2).stderr
    assert f"--bundle {dozen.resolve()}" in told
    well(run(path, "--bundle", dozen, "--out-dir", home / "out", "--resume"))


def test_what_was_given_is_not_left_lying_about_once_all_is_done(home: Path, dozen: Path):
    """The plan holds tickets that are not redacted; while it is there, it is its owner's alone."""
    well(run(dozen, "--out-dir", home / "out", "--runner", "local", "--jobs", 1))
    assert not (home / "out" / "work" / "plan.jsonl").exists()
    assert (home / "out" / "work").stat().st_mode & 0o077 == 0
    assert (home / "out" / "dead_letters.jsonl").stat().st_mode & 0o077 == 0


def wait_for(count: int, out: Path, process: Any) -> None:
    """Until so many documents are there, or the process is through."""
    until = time.monotonic() + 100
    while time.monotonic() < until and process.poll() is None:
        if out.is_dir() and sum(path.suffix == ".json" for path in (out / "documents").glob("*.json")) >= count:
            return
        time.sleep(0.01)


@engines
def test_ctrl_c_finishes_what_is_in_hand_and_says_how_to_go_on(home: Path, runner: str, jobs: int):
    """Sent to the whole group, as a terminal does. What follows equals a run that nobody disturbed."""
    many = incidents(home / "many", 60)
    out = home / "out"
    call = [many, "--out-dir", out, "--runner", runner, "--jobs", str(jobs)]
    process = begin(*call, cwd=home, start_new_session=True)
    wait_for(3, out, process)
    os.killpg(process.pid, signal.SIGINT)
    told, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert "what is in hand is finished" in said
    assert "--resume goes on" in said
    summary = summary_of(out)
    assert summary["left"] > 0
    assert summary["snapshots"] + summary["left"] == 60
    assert f"Tickets left: {summary['left']}." in told
    assert not list(out.rglob(".*"))
    well(run(*call, "--resume"))
    well(run(many, "--out-dir", home / "plain", "--runner", "local", "--jobs", 1))
    assert results(out) == results(home / "plain")


@pytest.mark.parametrize("runner", ["local", "FnApiRunner"])
def test_an_end_that_is_asked_for_while_days_are_written_leaves_them_to_the_run_that_goes_on(
    home: Path, dozen: Path, monkeypatch: pytest.MonkeyPatch, runner: str
):
    """No ticket is left then, but the dataset is not whole."""
    out = home / "out"
    call = [dozen, "--out-dir", out, "--runner", runner, "--jobs", "1"]
    take = units.Worker.take

    def last(worker: Any, planned: Any) -> Any:
        entry = take(worker, planned)
        if planned.ticket.id == "B-0011":
            worker.folder.stop.touch()
        return entry

    monkeypatch.setattr(units.Worker, "take", last)
    well(run(*call), 130)
    assert summary_of(out)["left"] == 0
    assert not list((out / "snapshots").glob("*/*.parquet"))
    monkeypatch.undo()
    monkeypatch.chdir(home)
    well(run(*call, "--resume"))
    assert ds.dataset(out / "snapshots").count_rows() == 12


def test_a_worker_of_beam_that_dies_ends_the_run_with_a_sentence(home: Path):
    """Beam itself would wait for ever. What was done stays, and the other runner goes on."""
    many = incidents(home / "many", 60)
    out = home / "out"
    call = [many, "--out-dir", out, "--jobs", "2"]
    process = begin(*call, cwd=home)
    wait_for(3, out, process)
    worker = next(int(pid) for pid in children_of(process.pid) if b"beam_worker" in command_of(int(pid)))
    os.kill(worker, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "--runner local goes on past such a ticket" in said
    assert "--resume goes on" in said
    well(run(*call, "--runner", "local", "--resume"))
    assert summary_of(out)["snapshots"] == 60


def children_of(pid: int) -> Iterator[int]:
    """All processes below `pid`."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            yield int(child)
            yield from children_of(int(child))


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


# ---- from the store, and shown


def test_the_tickets_of_a_store_are_taken_anew_in_the_window_a_person_asked_for(home: Path, shop: Path):
    """The newest snapshot's ticket of each, as it is kept there."""
    store = Store(home / "store")
    end = datetime(2026, 9, 20, tzinfo=UTC)
    asked = {
        name: take(EXAMPLES / name, around=Span(end, end + timedelta(minutes=n + 1))) for n, name in enumerate(NAMES)
    }
    for snapshot in asked.values():
        store.put(snapshot)
    well(run("store", "--config", shop, "--out-dir", home / "out", "--runner", "local", "--jobs", 1))
    summary = summary_of(home / "out")
    assert (summary["given"], summary["snapshots"], summary["dead"]) == (4, 4, 0)
    for name in NAMES:
        again = read_snapshot((home / "out" / "documents" / f"{name}.json").read_bytes())
        assert again.ticket.title == asked[name].ticket.title
        assert again.scope.window == asked[name].scope.window


def test_the_page_has_charts_and_lets_nothing_run(home: Path):
    """In both languages; what tickets say is escaped."""
    write_bundle(home / "in" / "a", ticket=ticket_json(id="<script>alert(1)</script>"), logs=[])
    (home / "in" / "b").mkdir()
    (home / "in" / "b" / "ticket.json").write_text('{"id": "<b>"}', "utf-8")
    for language, words in (("en", "What was found"), ("zh", "诊断结果")):
        out = home / language
        well(run(home / "in", "--out-dir", out, "--runner", "local", "--jobs", 1, "-l", language), 8)
        page = (out / "summary.html").read_text("utf-8")
        assert words in page
        assert page.count("<svg class=") >= 2
        assert "<script" not in page
        assert "default-src 'none'" in html.unescape(page)


def test_the_summary_of_a_year_leaves_no_ticket_out(home: Path, dozen: Path):
    """Its table is by month where days would fill a screen, its chart has a place for every day, and a terminal speaks of no colours."""
    well(run(dozen, "--out-dir", home / "out", "--runner", "local", "--jobs", 1))
    summary = read_summary(Folder(home / "out"))
    assert summary is not None
    first = date(2026, 1, 1)
    days = [DayRow(day=f"{first + timedelta(days=n)}", located=2, abstained=1) for n in range(0, 365, 7)]
    classes = [Row(name="interface_fault", tickets=100), Row(name="success", tickets=6), Row(name="", tickets=53)]
    year = msgspec.structs.replace(
        summary, days=days, snapshots=159, located=106, abstained=53, classes=classes, given=159
    )
    shown = show_summary(year, "table", "en")
    rows = [line.split() for line in shown.splitlines() if line.startswith("2026-")]
    assert [name for name, *_ in rows] == [f"2026-{month:02d}" for month in range(1, 13)]
    assert [sum(int(row[n]) for row in rows) for n in (1, 2)] == [106, 53]
    assert "Faults located: 100. No fault: 6. Undetermined: 53." in shown
    assert "Blue" not in shown
    page = page_of(year, "en")
    assert "Blue is decided" in page
    assert page.count("<title>2026-") == 365


def test_the_command_says_what_it_cannot_do(home: Path, dozen: Path):
    """Before anything is read or made."""
    assert "is one of FnApiRunner" in well(run(dozen, "--out-dir", home / "o", "--runner", "Abacus"), 2).stderr
    assert (
        "no such file or folder"
        in well(run(home / "absent.jsonl", "--out-dir", home / "o", "--bundle", dozen), 2).stderr
    )
    path = tickets_file(home / "tickets.jsonl", [incident(1)])
    assert "no source is configured" in well(run(path, "--out-dir", home / "o"), 2).stderr
    assert not (home / "o" / "documents").exists() or not list((home / "o" / "documents").iterdir())
    options = well(run(dozen, "--out-dir", home / "p", "--", "--job_endpoint_of_nobody=1"), 2)
    assert "Beam does not know" in options.stderr
