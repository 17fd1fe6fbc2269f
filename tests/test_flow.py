"""The whole flow on real incidents: what it decides, that it always decides so, and that nothing is lost on the way.

The Markdown of each example is held in `golden/flow/`; after a wanted change, write it anew with
`UPDATE_GOLDEN=1 pytest tests/test_flow.py` and look at the difference.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.run import take_snapshot
from pipeline.sources.bundle.source import BundleSource
from pipeline.values import Span
from snapshots.model import ProblemSnapshot, canonical_bytes
from snapshots.render import render
from snapshots.verify import verify
from tests.flow_samples import (
    ATTEMPT,
    EXAMPLES,
    NAMES,
    ORDER,
    SETTINGS,
    START,
    add_lines,
    background,
    copy_example,
    event,
    failed_order,
    hit,
    ndjson,
    orders_csv,
    rewrite_lines,
    take,
    taken,
    ticket_json,
    ticket_of,
    write_bundle,
)

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "flow"


def told(snapshot: ProblemSnapshot) -> dict[str, Any]:
    """What a snapshot says, without where its records lie."""
    return {
        "diagnosis": snapshot.diagnosis,
        "totals": snapshot.template_totals,
        "templates": [msgspec.structs.replace(t, examples=[]) for t in snapshot.templates],
        "findings": [(f.id, f.kind, f.statement, f.weight, len(f.evidence)) for f in snapshot.findings],
        "coverage": snapshot.coverage,
    }


# ---- what it decides


@pytest.mark.parametrize(
    ("name", "fault_class", "subclass"),
    [
        ("TK-33097", "interface_fault", "dns_failed"),
        ("TK-22294", "param_config", None),
        ("TK-24182", "order_state", "duplicate_charge"),
    ],
)
def test_an_example_is_located(name, fault_class, subclass):
    diagnosis = taken(name).diagnosis
    assert not diagnosis.abstained
    assert diagnosis.fault_class == fault_class
    assert subclass in (None, diagnosis.fault_subclass)
    assert diagnosis.owner
    assert diagnosis.first_action
    assert diagnosis.first_action.zh


def test_a_hole_in_the_logs_is_named_instead_of_a_fault():
    diagnosis = taken("TK-83164").diagnosis
    assert diagnosis.abstained
    assert diagnosis.fault_class is None
    holes = [m for m in diagnosis.missing if m.source == "logs" and "no log line" in m.question.en.lower()]
    assert len(holes) == 1
    assert holes[0].window is not None
    assert "没有任何日志" in holes[0].question.zh


@pytest.mark.parametrize("name", NAMES)
def test_what_people_read_is_held_in_golden_files(name):
    offset = ticket_of(EXAMPLES / name).created_at.tzinfo
    text = render(taken(name), "md", language=taken(name).ticket.language, zone=offset, full=True)
    path = GOLDEN / f"{name}.md"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


# ---- always the same


@pytest.mark.parametrize("name", NAMES)
def test_the_same_inputs_give_the_same_bytes(name):
    assert canonical_bytes(take(EXAMPLES / name)) == canonical_bytes(taken(name))


def test_the_same_inputs_give_the_same_bytes_in_another_process():
    """Hash seeds, which order sets and dictionaries of strings, have no say."""
    program = (
        "import hashlib, sys\n"
        "from tests.flow_samples import EXAMPLES, take\n"
        "from snapshots.model import canonical_bytes\n"
        "print(hashlib.sha256(canonical_bytes(take(EXAMPLES / 'TK-22294'))).hexdigest())\n"
    )
    ours = hashlib.sha256(canonical_bytes(taken("TK-22294"))).hexdigest()
    for seed in ("1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        theirs = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert theirs.stdout.strip() == ours


def test_the_order_of_the_sources_does_not_matter(tmp_path):
    """One bundle holds the logs, the other orders and traces; a third repeats lines under another name."""
    one, other = copy_example("TK-33097", tmp_path / "one"), copy_example("TK-33097", tmp_path / "other")
    for path in (one / "orders.csv", one / "traces" / "spans.json", other / "logs" / "part-0.ndjson.gz"):
        path.unlink()
    ticket = ticket_of(one)
    named = [BundleSource("b", one), BundleSource("a", other), BundleSource("c", EXAMPLES / "TK-33097")]
    first = take_snapshot(ticket, named, SETTINGS).snapshot
    for _ in range(3):
        random.shuffle(named)
        assert canonical_bytes(take_snapshot(ticket, named, SETTINGS).snapshot) == canonical_bytes(first)


def test_a_zip_gives_what_its_folder_gives(tmp_path):
    folder = EXAMPLES / "TK-22294"
    archive = tmp_path / "incident.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder))
    snapshot = take_snapshot(ticket_of(folder), [BundleSource("bundle", archive)], SETTINGS).snapshot
    assert canonical_bytes(snapshot) == canonical_bytes(taken("TK-22294"))


@pytest.mark.parametrize("name", NAMES)
def test_shuffled_lines_tell_the_same(name, tmp_path):
    folder = copy_example(name, tmp_path)
    shuffle = random.Random(7)
    rewrite_lines(folder, lambda lines: shuffle.sample(lines, len(lines)))
    assert told(take(folder)) == told(taken(name))


# ---- nothing is lost, nothing is invented


@pytest.mark.parametrize("name", NAMES)
def test_every_statement_that_counts_cites_a_record_that_opens_again(name):
    snapshot = taken(name)
    source = BundleSource("bundle", EXAMPLES / name)
    report = verify(snapshot, lambda asked: source if asked == "bundle" else None)
    assert report.ok, report
    assert report.evidence
    opened = {row.ref for row in report.evidence if row.state == "ok"}
    for finding in snapshot.findings:
        assert finding.weight == 0 or opened & {e.ref for e in finding.evidence}, finding


@pytest.mark.parametrize("name", NAMES)
def test_template_counts_add_up_to_the_lines(name):
    snapshot = taken(name)
    totals = snapshot.template_totals
    ledger = {row.what: row for row in snapshot.coverage}
    assert totals.lines == ledger["logs"].used
    assert totals.incident + totals.baseline + totals.outside == totals.lines
    listed = sum(t.incident_count + t.baseline_count + t.outside_count for t in snapshot.templates)
    assert listed + totals.unlisted_lines == totals.lines
    assert totals.listed + totals.unlisted_templates == totals.templates


@pytest.mark.parametrize("name", NAMES)
def test_the_ledger_adds_up(name):
    lines = sum(
        len(gzip.decompress(path.read_bytes()).splitlines()) for path in (EXAMPLES / name / "logs").glob("*.gz")
    )
    for row in taken(name).coverage:
        assert row.status == "ok"
        assert row.fetched == row.used + row.duplicates + row.outside, row
        assert row.cut == 0
        assert row.what != "logs" or row.fetched == lines


@pytest.mark.parametrize("name", NAMES)
def test_the_customers_phone_is_nowhere(name):
    words = json.loads((EXAMPLES / name / "ticket.json").read_text(encoding="utf-8"))["description"]
    phones = [word.strip("，。,.") for word in words.split() if word.strip("，。,.").isdigit() and len(word) >= 11]
    data = canonical_bytes(taken(name)).decode()
    assert [phone for phone in phones if phone in data] == []
    if name == "TK-83164":
        assert phones == ["15619643131"]
        assert taken(name).redaction.counts["phone"] >= 1


def test_a_phone_in_lines_orders_and_span_names_is_nowhere(tmp_path):
    phone = "13912345678"
    span = {
        "traceId": "c" * 32,
        "spanId": "d" * 16,
        "name": f"POST /sms/{phone}",
        "kind": 3,
        "startTimeUnixNano": str(int(START.timestamp() * 1e9)),
        "endTimeUnixNano": str(int(START.timestamp() * 1e9) + 10**6),
        "attributes": [{"key": "order.id", "value": {"stringValue": ORDER}}],
        "status": {"code": 2, "message": f"no route to {phone}: connection refused"},
    }
    traces = {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": [span]}]}]}
    ticket = ticket_json(description=f"My phone is {phone}, order {ORDER}.", questionnaire={"phone": phone})
    lines = [*background(), hit(3, f"connection refused while charging {phone} for {ORDER}", level="ERROR")]
    folder = write_bundle(
        tmp_path / "b", ticket=ticket, logs=lines, orders=failed_order(), traces=json.dumps(traces).encode()
    )
    snapshot = take(folder)
    assert snapshot.findings
    assert snapshot.spans
    assert phone not in canonical_bytes(snapshot).decode()


@pytest.mark.parametrize("name", NAMES)
def test_another_customers_trouble_changes_nothing(name, tmp_path):
    """Another order fails at the same time, for another reason, with lines of its own (where lines are kept at all)."""
    folder = copy_example(name, tmp_path)
    window = taken(name).scope.window
    begun = datetime.fromisoformat(window.start) + timedelta(minutes=2 if name == "TK-83164" else 15)
    more = {"order": "SO20269999999999", "customer": "u9999999", "channel": "alipay"}
    rows = [
        event(0, "order", "SO20269999999999", "pending", **more),
        event(0.1, "attempt", "PY26999999999999", "WAIT_BUYER_PAY", **more),
        event(0.2, "attempt", "PY26999999999999", "TRADE_CLOSED", code="ACQ.INVALID_SIGNATURE", **more),
    ]
    for number, row in enumerate(rows):
        row["occurred_at"] = (begun + timedelta(seconds=2 * number)).isoformat()
    with (folder / "orders.csv").open("ab") as file:
        file.write(orders_csv(rows).split(b"\n", 1)[1])
    say = ("invalid signature for SO20269999999999", "isv.invalid-signature PY26999999999999", "bad signature u9999999")
    add_lines(folder, [hit(i, text, level="ERROR", start=begun) for i, text in enumerate(say * 3)])
    snapshot = take(folder)
    assert snapshot.diagnosis == taken(name).diagnosis
    assert [f.kind for f in snapshot.findings] == [f.kind for f in taken(name).findings]
    cited = json.dumps([msgspec.to_builtins(f) for f in snapshot.findings])
    assert "SO20269999999999" not in cited
    assert not re.search("(?i)invalid.signature|bad signature", cited)


# ---- bad input

FAILED = [hit(3, f"connection refused by api.mch.weixin.qq.com order {ORDER}", level="ERROR")]


def rows(snapshot: ProblemSnapshot) -> dict[str, Any]:
    """The ledger's rows by what was asked, after the document was checked for sense."""
    totals = snapshot.template_totals
    assert totals.incident + totals.baseline + totals.outside == totals.lines
    assert msgspec.json.decode(canonical_bytes(snapshot), type=ProblemSnapshot) == snapshot
    for language in ("en", "zh"):
        assert render(snapshot, "md", language=language, full=True)
    return {row.what: row for row in snapshot.coverage}


def test_empty_logs_are_a_gap(tmp_path):
    snapshot = take(write_bundle(tmp_path / "b", logs=b"", orders=failed_order()))
    assert rows(snapshot)["logs"].status == "empty"
    assert "gap.no_logs" in {m.kind for m in snapshot.diagnosis.missing}
    assert snapshot.diagnosis.abstained
    assert snapshot.diagnosis.missing


def test_an_empty_bundle_says_that_nothing_was_there(tmp_path):
    snapshot = take(write_bundle(tmp_path / "b"))
    assert {row.status for row in rows(snapshot).values()} == {"skipped"}
    assert snapshot.diagnosis.abstained
    assert {m.source for m in snapshot.diagnosis.missing} >= {"logs"}


def test_without_orders_the_lines_still_speak(tmp_path):
    snapshot = take(write_bundle(tmp_path / "b", logs=[*background(), *FAILED]))
    assert rows(snapshot)["order_events"].status == "skipped"
    assert "gap.no_order" in {m.kind for m in snapshot.diagnosis.missing}
    assert [c.fault_class for c in snapshot.diagnosis.candidates] == ["interface_fault"]


def test_without_traces_the_check_says_so(tmp_path):
    snapshot = take(write_bundle(tmp_path / "b", logs=[*background(), *FAILED], orders=failed_order()))
    assert rows(snapshot)["spans"].status == "skipped"
    assert {c.id: c.outcome for c in snapshot.checks}["spans"] == "not_evaluated"
    assert snapshot.diagnosis.fault_class == "interface_fault"


def test_half_a_gzip_is_read_as_far_as_it_goes(tmp_path):
    whole = gzip.compress(ndjson([*background(), *FAILED, *background()]), 1)
    folder = write_bundle(tmp_path / "b", logs=whole[: len(whole) * 3 // 4], orders=failed_order(), name="p.ndjson.gz")
    snapshot = take(folder)
    logs = rows(snapshot)["logs"]
    assert logs.status == "partial"
    assert logs.error
    assert "p.ndjson.gz" in logs.error
    assert logs.used > 100


@pytest.mark.parametrize(
    "line",
    [
        b"x" * 1_000_000,
        b'{"message":"' + b"y " * 500_000 + b'"}',
        b'{"@timestamp":"2026-03-04T10:00:03Z","a":' * 20_000,
    ],
    ids=["text", "json", "nested"],
)
def test_a_line_of_a_megabyte_costs_nothing_else(line, tmp_path):
    data = ndjson([*background(), *FAILED]) + line + b"\n" + ndjson(background(1))
    snapshot = take(write_bundle(tmp_path / "b", logs=data, orders=failed_order()))
    logs = rows(snapshot)["logs"]
    assert logs.fetched == 320 + 1 + 1 + 4
    assert logs.fetched == logs.used + logs.duplicates
    assert snapshot.diagnosis.fault_class == "interface_fault"
    assert len(canonical_bytes(snapshot)) < 200_000


@pytest.mark.parametrize(
    "rubbish",
    [random.Random(1).randbytes(100_000), b"\x00" * 50_000, b"\xff\xfe\xfa\n" * 300, b"{{{{\n]]]]\n" * 100],
    ids=["random", "zeros", "invalid-utf8", "brackets"],
)
def test_rubbish_is_counted_and_nothing_else_is_lost(rubbish, tmp_path):
    data = ndjson([*background(), *FAILED]) + rubbish + b"\n"
    snapshot = take(write_bundle(tmp_path / "b", logs=data, orders=failed_order()))
    logs = rows(snapshot)["logs"]
    assert logs.unparsed > 0
    assert logs.fetched == logs.used + logs.duplicates
    assert snapshot.diagnosis.fault_class == "interface_fault"


@pytest.mark.parametrize("what", ["orders", "traces"])
def test_rubbish_instead_of_orders_or_traces_is_a_row_of_the_ledger(what, tmp_path):
    rubbish = random.Random(2).randbytes(20_000)
    more = {"orders": failed_order(), what: rubbish}
    snapshot = take(write_bundle(tmp_path / "b", logs=[*background(), *FAILED], **more))
    row = rows(snapshot)["order_events" if what == "orders" else "spans"]
    assert row.used == 0
    assert row.status != "ok"
    assert snapshot.diagnosis.candidates[0].fault_class == "interface_fault"


def test_chinese_in_gbk_is_read(tmp_path):
    text = f"2026-03-04 10:00:03.000 ERROR [pay-channel] 订单 {ORDER} 支付失败：域名解析失败"
    data = ("2026-03-04 09:59:00.000 INFO [shop] 处理请求\n" * 60 + text + "\n").encode("gbk")
    folder = write_bundle(tmp_path / "b", logs=data, orders=failed_order(), name="app.log")
    snapshot = take(folder)
    assert rows(snapshot)["logs"].used == 61
    assert any("域名解析失败" in e.quote for f in snapshot.findings for e in f.evidence)
    assert (snapshot.diagnosis.fault_class, snapshot.diagnosis.fault_subclass) == ("interface_fault", "dns_failed")


def test_hits_that_come_twice_are_counted_once(tmp_path):
    lines = [*background(), *FAILED]
    once = take(write_bundle(tmp_path / "once", logs=lines, orders=failed_order()))
    twice = take(write_bundle(tmp_path / "twice", logs=[*lines, *lines], orders=failed_order()))
    logs = rows(twice)["logs"]
    assert (logs.fetched, logs.used, logs.duplicates) == (2 * len(lines), len(lines), len(lines))
    assert twice.template_totals == once.template_totals
    assert twice.diagnosis == once.diagnosis


def test_a_customer_whom_nobody_knows_is_asked_for_the_order(tmp_path):
    ticket = ticket_json(description="It does not work.", customer={"id": "u0000042"})
    snapshot = take(write_bundle(tmp_path / "b", ticket=ticket, logs=[*background(), *FAILED], orders=failed_order()))
    rows(snapshot)
    assert snapshot.diagnosis.abstained
    assert snapshot.scope.focus_orders == []
    assert "orders" in {m.source for m in snapshot.diagnosis.missing}


@pytest.mark.parametrize("length", [timedelta(0), timedelta(days=366)], ids=["zero", "year"])
def test_a_window_may_be_zero_or_a_year_long(length, tmp_path):
    folder = write_bundle(tmp_path / "b", logs=[*background(), *FAILED], orders=failed_order())
    snapshot = take(folder, around=Span(START - length / 2, START + length / 2))
    rows(snapshot)
    assert snapshot.template_totals.incident == (321 if length else 0)
    assert snapshot.scope.focus_orders == [ORDER]


def test_a_clock_that_is_eight_hours_off_leaves_the_window_empty_and_says_so(tmp_path):
    late = START + timedelta(hours=8)
    lines = [*background(start=late), hit(3, f"connection refused order {ORDER}", level="ERROR", start=late)]
    snapshot = take(write_bundle(tmp_path / "b", logs=lines, orders=failed_order()))
    rows(snapshot)
    assert snapshot.template_totals.incident == 0
    assert snapshot.template_totals.outside == len(lines)
    # The line names the order, whatever its clock says.
    assert snapshot.diagnosis.candidates[0].fault_class == "interface_fault"


def test_ten_thousand_services_are_read(tmp_path):
    lines = [hit(i / 20 - 300, f"handled request {i}", service=f"svc-{i}") for i in range(10_000)]
    snapshot = take(write_bundle(tmp_path / "b", logs=[*lines, *FAILED], orders=failed_order()))
    assert rows(snapshot)["logs"].used == 10_001
    assert len(canonical_bytes(snapshot)) < 3_000_000
    assert snapshot.diagnosis.candidates[0].fault_class == "interface_fault"


def test_five_thousand_orders_are_read(tmp_path):
    many = [
        row
        for i in range(5_000)
        for row in failed_order(f"SO2026{i:010d}", f"PY26{i:012d}", f"u{i:07d}", minutes=i / 5_000)
    ]
    snapshot = take(write_bundle(tmp_path / "b", logs=[*background(), *FAILED], orders=[*many, *failed_order()]))
    assert rows(snapshot)["order_events"].used == 4 * 5_001
    assert snapshot.scope.focus_orders == [ORDER]
    assert [a.entity_id for a in snapshot.payment_attempts if a.entity == "attempt"][:1] == [ATTEMPT]
    assert snapshot.diagnosis.candidates[0].fault_class == "interface_fault"


def test_lines_without_time_or_service_are_kept(tmp_path):
    lines = [*background(), {"_id": "x1", "_index": "i", "message": f"timeout {ORDER}"}, {"_id": "x2", "_index": "i"}]
    snapshot = take(write_bundle(tmp_path / "b", logs=lines, orders=failed_order()))
    assert rows(snapshot)["logs"].used == len(lines)


def test_the_start_of_a_window_belongs_to_it_and_its_end_does_not(tmp_path):
    lines = [hit(0, "at the start"), hit(60, "at the end"), hit(-60, "before"), hit(61, "after")]
    folder = write_bundle(tmp_path / "b", logs=lines)
    snapshot = take(folder, around=Span(START, datetime(2026, 3, 4, 10, 1, tzinfo=UTC)))
    assert snapshot.template_totals.incident == 1
    assert snapshot.template_totals.baseline == 1
    assert snapshot.template_totals.outside == 2


@pytest.mark.parametrize("name", NAMES)
def test_every_finding_cites_something_that_can_be_opened(name):
    assert all(finding.evidence for finding in taken(name).findings)
    assert all(one.sha256 for finding in taken(name).findings for one in finding.evidence)
