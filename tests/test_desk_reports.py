"""The report of ticket health, and the desk's commands."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli import commands
from pipeline.desk.duty import Duty
from pipeline.desk.events import Happened, read, read_events
from pipeline.desk.grading_options import CalendarOptions, GradingOptions
from pipeline.desk.report_pages import as_html, as_markdown
from pipeline.desk.reports import as_csv, report, spread
from pipeline.desk.tasks import Standing
from pipeline.errors import UsageError
from pipeline.run import take_snapshot
from pipeline.service.messages import Messages
from pipeline.service.opened import opened_base
from pipeline.settings import load_settings
from pipeline.settings_digest import settings_digest
from pipeline.sources import open_bundle
from pipeline.tickets.file import read_ticket
from snapshots.model import canonical_bytes, with_id
from snapshots.render import RENDERERS
from snapshots.render.blocks import Links
from snapshots.store import Store
from tests.snapshots_samples import run_record
from tests.test_desk_room import Chat, snapshot

BUNDLE = Path(__file__).resolve().parent.parent / "examples" / "TK-24182"
OPTIONS = GradingOptions(calendars={"utc": CalendarOptions()})
MONDAY = datetime(2026, 11, 2, 9, tzinfo=UTC).timestamp()
START, END = datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 9, tzinfo=UTC)
HOUR = 3600.0


def way(ticket_id: str, level: str, *steps: tuple[float, str, str | None]) -> list[Happened]:
    """A ticket's events: hours after Monday nine o'clock, what, and the role."""
    return [Happened("desk", ticket_id, MONDAY + hours * HOUR, what, level, role) for hours, what, role in steps]


EVENTS = [
    # Answered and solved in time; handed over once.
    *way("T-1", "P2", (0, "opened", None), (0.1, "assigned", "first line"), (0.5, "responded", None),
         (1, "assigned", "payments"), (5, "resolved", None)),
    # Answered late, solved, back again, still open.
    *way("T-2", "P1", (0, "opened", None), (0, "assigned", "payments"), (1, "responded", None), (3, "resolved", None),
         (4, "reopened", None)),
    # Over night: of a level that counts working hours.
    *way("T-3", "P3", (8, "opened", None), (8, "assigned", "first line"), (25, "responded", None), (26, "resolved", None)),
    # Its beginning is not known.
    *way("T-4", "P4", (2, "responded", None)),
]  # fmt: skip
MADE = report(EVENTS, START, END, OPTIONS)


def test_time_is_counted_by_stage_and_by_who_holds_the_ticket():
    one, two, three = MADE.lives
    assert one.stages == {"answer": 0.5 * HOUR, "work": 4.5 * HOUR}
    assert one.roles == {"first line": pytest.approx(0.9 * HOUR), "payments": 4 * HOUR}
    assert two.stages["again"] == END.timestamp() - MONDAY - 4 * HOUR
    # From 17:00 to 10:00 the next morning are two working hours.
    assert three.stages == {"answer": 2 * HOUR, "work": HOUR}
    assert MADE.bottleneck == "payments"
    assert MADE.unplaced == 1


def test_in_time_handed_over_and_come_back_are_counted():
    assert [(life.answered, life.solved, life.reassigned, life.reopened) for life in MADE.lives] == [
        (True, True, 1, 0),
        (False, False, 0, 1),
        (True, True, 0, 0),
    ]
    assert MADE.share("answered") == pytest.approx(2 / 3)
    assert MADE.reassignments == {0: 2, 1: 1}


@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=60))
def test_the_ninth_decile_has_nine_tenths_at_or_below_it(some):
    found = spread(some)
    assert sum(one <= found.p90 for one in some) >= 0.9 * len(some)
    assert found.median <= found.p90
    assert found.total == pytest.approx(sum(some))


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_events_changes_nothing(chance: random.Random):
    mixed = EVENTS.copy()
    chance.shuffle(mixed)
    assert as_csv(report(mixed, START, END, OPTIONS)) == as_csv(MADE)


def test_a_ticket_that_lies_still_all_the_time_is_in_the_report():
    """Nothing happened to it in the week: that is what the week's report is to say. What was solved before is not in it."""
    month_ago = [
        (hours - 24 * 30, what, role) for hours, what, role in [(0, "opened", None), (0, "assigned", "payments")]
    ]
    solved = [*month_ago, (1 - 24 * 30, "resolved", None)]
    made = report([*way("T-1", "P2", *month_ago), *way("T-2", "P2", *solved)], START, END, OPTIONS)
    assert [life.ticket_id for life in made.lives] == ["T-1"]
    assert made.lives[0].solved is False
    assert made.bottleneck == "payments"


def test_a_level_without_a_ticket_was_answered_in_no_time_at_all():
    assert "| P4 | 0 | - | - | - | - | - |" in as_markdown(MADE, "en")


def test_csv_has_a_line_for_each_ticket_and_nothing_that_a_spreadsheet_runs():
    events = way("=cmd()", "P4", (0, "opened", None), (1, "resolved", None))
    (row,) = csv.DictReader(io.StringIO(as_csv(report(events, START, END, OPTIONS))))
    assert row["ticket_id"] == "'=cmd()"
    assert (row["answer_seconds"], row["solved_in_time"]) == ("3600", "yes")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_html_is_one_page_whose_charts_are_sound_svg(language):
    events = [*EVENTS, *way("T-9", "P2", (0, "opened", None), (1, "assigned", "<script>alert(1)</script>"))]
    page = as_html(report(events, START, END, OPTIONS), language)
    assert "<script" not in page
    assert "://" not in page
    charts = [part.partition("</svg>")[0] + "</svg>" for part in page.split("<svg")[1:]]
    assert len(charts) == 3
    for chart in charts:
        assert list(ET.fromstring("<svg" + chart).iter("rect"))


def test_a_bar_is_as_long_as_its_share_of_the_longest():
    page = as_html(MADE, "en")
    widths = [float(one) for one in re.findall(r'<rect [^>]*width="([\d.]+)"', page.partition("Hand-overs")[2])]
    # Two tickets were never handed over, one was once.
    assert widths[1] == pytest.approx(widths[0] / 2, abs=0.1)
    assert "| 1 | 1 | ██████████░░░░░░░░░░ |" in as_markdown(MADE, "en")


def test_markdown_tells_the_bottleneck_in_both_languages():
    assert "Bottleneck: payments holds" in as_markdown(MADE, "en")
    assert "瓶颈角色：payments" in as_markdown(MADE, "zh")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("T-1,yesterday,opened", "no ISO 8601 time"),
        ("T-1,2026-11-02T09:00:00,opened", "no offset"),
        ("T-1,2026-11-02T09:00:00Z,eaten", "none of opened"),
        (",2026-11-02T09:00:00Z,opened", "ticket_id is missing"),
    ],
)
def test_an_event_that_cannot_be_read_is_told_with_its_line(tmp_path, line, said):
    path = tmp_path / "events.csv"
    path.write_text(f"ticket_id,at,event\n{line}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=f"line 2: .*{said}"):
        read_events(path)


def test_a_file_without_a_needed_column_is_refused(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("ticket_id,at\n", encoding="utf-8")
    with pytest.raises(UsageError, match="has no column event"):
        read_events(path)


# ---- the desk in a snapshot


CONFIG = """
[defaults]
store = "{folder}/store"
[defaults.service]
database = "sqlite:///{folder}/service.sqlite"
[defaults.notify.tech]
kind = "webhook"
url = "https://hooks.example/tech"
unsigned = true
[defaults.desk.grading.calendars.shanghai]
timezone = "Asia/Shanghai"
country = "CN"
[defaults.desk.grading.terms.P3]
respond = "2h"
[defaults.desk.grading.room]
technology = ["tech"]
product = ["tech"]
operations = ["tech"]
last = ["tech"]
[profiles.without]
desk = false
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "problem-snapshot.toml"
    path.write_text(CONFIG.format(folder=tmp_path), encoding="utf-8")
    return path


def test_without_a_desk_nothing_of_it_is_loaded():
    """Neither by the flow nor by the settings: most who take a snapshot have none."""
    code = (
        "import pipeline.run, pipeline.settings, sys; pipeline.settings.load_settings(None, None, {}); "
        "print([name for name in sys.modules if name.startswith('pipeline.desk')])"
    )
    root = BUNDLE.parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


def taken(config: Path, profile: str | None = None):
    settings = load_settings(config, profile, {})
    ticket = read_ticket((BUNDLE / "ticket.json").read_bytes(), "ticket.json", lambda _: None)
    source = open_bundle(BUNDLE)
    try:
        return take_snapshot(ticket, [source], msgspec.structs.replace(settings, budget=120.0)).snapshot
    finally:
        source.close()


def test_a_desk_fills_severity_and_the_customers_sentence_and_the_same_again_is_the_same_bytes(config):
    one, two = taken(config), taken(config)
    assert canonical_bytes(one) == canonical_bytes(two)
    assert one.severity is not None
    assert one.customer_message is not None
    known = {finding.id for finding in one.findings}
    assert {name for reason in one.severity.reasons for name in reason.findings} <= known
    for form in ("table", "json", "markdown" if "markdown" in RENDERERS else "md", "html"):
        assert one.severity.level in RENDERERS[form](one, language="zh")


def test_without_a_desk_nothing_is_filled_and_the_settings_count_as_before(config):
    plain = load_settings(None, None, {})
    without = load_settings(config, "without", {})
    assert without.desk is None
    assert settings_digest(msgspec.structs.replace(without, store=plain.store)) == settings_digest(plain)
    bare = taken(config, "without")
    assert (bare.severity, bare.customer_message) == (None, None)


def test_whom_the_desk_calls_changes_no_snapshot_but_its_terms_do(config):
    settings = load_settings(config, None, {})
    assert settings.desk is not None
    grading = settings.desk.grading
    digests = [
        settings_digest(msgspec.structs.replace(settings, desk=msgspec.structs.replace(settings.desk, grading=other)))
        for other in (grading, msgspec.structs.replace(grading, room=None), msgspec.structs.replace(grading, terms={}))
    ]
    assert digests[0] == digests[1] != digests[2]


# ---- what solved tickets taught


def test_points_and_timeliness_stand_in_the_report_in_both_languages():
    made = report(EVENTS, START, END, OPTIONS, [Standing("wang", 3, 2, 1, 0, 7), Standing("li", 0, 0, 0, 0, 0)])
    text = as_markdown(made, "en")
    section = text.partition("Knowledge tasks")[2]
    assert [cell.strip() for cell in section.partition("| wang")[2].splitlines()[0].split("|")[1:-1]] == [
        "7", "3", "2", "1", "0", "67%",
    ]  # fmt: skip
    assert "知识任务" in as_html(made, "zh")
    assert "No knowledge task was opened" in as_markdown(MADE, "en")


# ---- commands


def run(config: Path, *args: str):
    return CliRunner().invoke(commands, ["desk", *args, "--config", str(config)], catch_exceptions=False)


@pytest.fixture
def graded(config) -> Path:
    """A P1 that was graded by the service."""
    settings = load_settings(config, None, {}, sources=False, service=True)
    store = Store(settings.store)
    with opened_base(settings) as base:
        people = {"tech": Chat("tech")}
        messages = Messages(base.engine, lambda *_: None, people, store, lambda _: Links(), (5.0,))
        assert settings.desk is not None
        duty = Duty(base.engine, settings.desk, messages, store)
        found = snapshot("T-1")
        store.put(found, run_record(found))
        assert found.severity is not None
        with base.engine.begin() as connection:
            duty.graded(connection, "desk", found, found.severity, None)
    return config


def test_the_commands_tell_what_is_due_and_stop_a_clock(graded, monkeypatch):
    monkeypatch.chdir(graded.parent)
    shown = run(graded, "due").output
    assert "P1     T-1" in shown
    assert run(graded, "mark", "assigned", "desk:T-1", "--role", "payments").exit_code == 0
    assert run(graded, "mark", "responded", "desk:T-1", "--by", "li").exit_code == 0
    assert "answered" in run(graded, "due").output
    assert run(graded, "mark", "resolved", "desk:T-1").exit_code == 0
    assert json.loads(run(graded, "due", "-o", "json").output.partition("]")[0] + "]") == []
    assert "大批客户无法支付或使用服务" in run(graded, "severity", "T-1").output
    wrong = CliRunner().invoke(commands, ["desk", "mark", "resolved", "desk:T-2", "--config", str(graded)])
    assert "has no clock" in str(wrong.exception) + wrong.output
    made = run(graded, "report", "--from", "2026-01-01", "--to", "2100-01-01", "-o", "csv").output
    assert "T-1" in made


def test_an_open_ticket_to_which_nothing_happens_is_read_until_it_is_solved(graded, monkeypatch):
    monkeypatch.chdir(graded.parent)
    later = time.time() + 86400
    settings = load_settings(graded, None, {}, sources=False, service=True)

    def held() -> set[str]:
        with opened_base(settings) as base:
            return {one.ticket_id for one in read(base.engine, later, later + 86400)}

    assert held() == {"T-1"}
    run(graded, "mark", "resolved", "desk:T-1")
    assert held() == set()


def test_a_room_is_shown_acknowledged_and_closed_by_command(graded, monkeypatch):
    monkeypatch.chdir(graded.parent)
    assert "T-1" in run(graded, "room", "list").output
    assert run(graded, "room", "ack", "1", "technology", "--by", "li").exit_code == 0
    shown = run(graded, "room", "show", "1").output
    assert "technology: acknowledged by li" in shown
    assert "您的支付未能发起" in shown
    assert run(graded, "room", "told", "1", "desk:T-1").exit_code == 0
    assert run(graded, "room", "close", "1").exit_code == 0
    assert "T-1" not in run(graded, "room", "list").output


def test_severity_shows_its_deadlines_in_the_tickets_own_zone_or_in_that_of_the_settings(graded):
    """As every other output does; JSON holds them in UTC."""
    made = snapshot("T-2")
    ticket = msgspec.structs.replace(made.ticket, created_at="2026-10-12T04:18:15+08:00")
    assert made.severity is not None
    due = msgspec.structs.replace(
        made.severity, respond_by="2026-10-12T20:48:15.5Z", resolve_by="2026-10-13T00:18:15.5Z"
    )
    made = with_id(msgspec.structs.replace(made, ticket=ticket, severity=due))
    Store(load_settings(graded, None, {}).store).put(made, run_record(made))
    head = run(graded, "severity", "T-2").output.splitlines()[0]
    assert head == "P1  T-2  应答期限 2026-10-13 04:48:15 +08:00  解决期限 2026-10-13 08:18:15 +08:00"
    assert json.loads(run(graded, "severity", "T-2", "-o", "json").output)["respond_by"] == due.respond_by
    text = graded.read_text(encoding="utf-8").replace("[defaults]\n", '[defaults]\ntimezone = "Europe/Berlin"\n', 1)
    graded.write_text(text, encoding="utf-8")
    assert "Answer by 2026-10-12 22:48:15 +02:00" in run(graded, "severity", "T-2", "-l", "en").output


def test_a_report_of_another_desks_events_needs_no_service(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "events.csv"
    path.write_text(
        "ticket_id,at,event,level,role\nT-1,2026-11-02T09:00:00+08:00,opened,P2,first line\n"
        "T-1,2026-11-02T09:30:00+08:00,responded,P2,\nT-1,2026-11-02T12:00:00+08:00,resolved,P2,\n",
        encoding="utf-8",
    )
    out = tmp_path / "report.html"
    done = run(
        config,
        "report",
        "--from",
        "2026-11-01",
        "--to",
        "2026-12-01",
        "--events",
        str(path),
        "-o",
        "html",
        "--out",
        str(out),
    )
    assert done.exit_code == 0
    assert "first line" in out.read_text(encoding="utf-8")
    assert run(config, "severity", "--help").exit_code == 0
