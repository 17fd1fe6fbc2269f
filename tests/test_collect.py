"""Collecting: what one source does never costs another its rows, and every row is counted once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from pipeline.collect import Collected, collect
from pipeline.errors import NoSourceReached, Refused, SourceBroken, SourceRefused, SourceUnavailable
from pipeline.run import take_snapshot
from pipeline.scope import read_scope
from pipeline.settings import Settings
from pipeline.values import Ask, Ticket
from tests.flow_samples import ATTEMPT, CUSTOMER, ORDER, SETTINGS, START, TableSource, line, order_row, span_row

TICKET = Ticket("T-1", "Payment failed", f"Order {ORDER}", START + timedelta(minutes=20), customer_id=CUSTOMER)
ORDERS = [
    order_row(0, "order", ORDER, "pending"),
    order_row(0.05, "attempt", ATTEMPT, "NOTPAY"),
    order_row(0.1, "attempt", ATTEMPT, "PAYERROR"),
]
TRACE = "a" * 32
LOGS = [line(1, f"charge {ATTEMPT} of {ORDER}", "l1", **{"trace.id": TRACE}), line(2, "connection refused", "l2")]


def gather(*sources: TableSource, settings: Settings = SETTINGS) -> Collected:
    return collect(read_scope(TICKET, settings), TICKET, list(sources), settings, lambda _: None)


def good(name: str = "good", **more) -> TableSource:
    return TableSource(name, order_events=ORDERS, logs=LOGS, spans=[span_row(TRACE, "s1")], **more)


def raising(error: BaseException):
    def answer(_: Ask):
        raise error

    return answer


def ledger(collected: Collected) -> dict[tuple[str, str], tuple[str, int]]:
    return {(row.source, row.what): (row.status, row.used) for row in collected.material.coverage}


GOOD = {("good", "logs"): ("ok", 2), ("good", "order_events"): ("ok", 3), ("good", "spans"): ("ok", 1)}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SourceUnavailable("es at 10.0.0.1 could not be reached"), "es at 10.0.0.1 could not be reached"),
        (SourceRefused("the key was refused"), "the key was refused"),
        (SourceBroken("no JSON"), "no JSON"),
        (ZeroDivisionError("oops"), "unexpected ZeroDivisionError: oops"),
        (SystemExit(3), "unexpected SystemExit: 3"),
        (MemoryError(), "unexpected MemoryError"),
    ],
    ids=["unavailable", "refused", "broken", "bug", "exit", "memory"],
)
@pytest.mark.parametrize("what", ["logs", "spans", "order_events"])
def test_a_source_that_fails_costs_only_its_own_row(error, words, what):
    bad = TableSource("bad", **{what: raising(error)})
    collected = gather(bad, good())
    assert ledger(collected) == {**GOOD, ("bad", what): ("failed", 0)}
    row = next(row for row in collected.material.coverage if row.source == "bad")
    assert words in (row.error or "")
    assert len(bad.asked) == 1


def test_a_source_that_hangs_costs_only_its_own_row_and_the_budget():
    settings = msgspec.structs.replace(SETTINGS, budget=0.6)
    never = threading.Event()
    hanging = TableSource("hanging", logs=lambda _: never.wait(30), spans=lambda _: never.wait(30))
    begun = time.monotonic()
    collected = gather(hanging, good(), settings=settings)
    assert time.monotonic() - begun < 10
    never.set()
    failed = {("hanging", "logs"): ("failed", 0), ("hanging", "spans"): ("failed", 0)}
    assert ledger(collected) == {**GOOD, **failed}
    errors = [row.error or "" for row in collected.material.coverage if row.source == "hanging"]
    assert all("no answer in time" in error and "0.6 s" in error and "--budget" in error for error in errors)


def test_a_source_that_hangs_keeps_no_other_from_being_asked_again():
    settings = msgspec.structs.replace(SETTINGS, budget=1.6)
    never = threading.Event()
    hanging = TableSource("hanging", logs=lambda _: never.wait(30))
    slow = good(complete=False)
    collected = gather(hanging, slow, settings=settings)
    never.set()
    assert [ask.values("trace_id") for ask in slow.asked if ask.what == "logs"] == [(), (TRACE,)]
    assert ledger(collected) == {**GOOD, ("hanging", "logs"): ("failed", 0)}


def test_a_source_that_is_slow_but_in_time_is_heard():
    def later(_: Ask):
        time.sleep(1.7)
        return LOGS

    collected = gather(TableSource("slow", logs=later), good(), settings=msgspec.structs.replace(SETTINGS, budget=2.2))
    assert ledger(collected) == {**GOOD, ("slow", "logs"): ("ok", 2)}


def test_orders_that_hang_leave_time_for_the_logs():
    never = threading.Event()
    hanging = TableSource("orders", order_events=lambda _: never.wait(30))
    collected = gather(hanging, TableSource("es", logs=LOGS), settings=msgspec.structs.replace(SETTINGS, budget=1.0))
    never.set()
    assert ledger(collected) == {("es", "logs"): ("ok", 2), ("orders", "order_events"): ("failed", 0)}


def test_where_every_source_refuses_the_credentials_were_wrong():
    refusing = [TableSource(name, logs=raising(SourceRefused(f"{name}: 401"))) for name in ("a", "b")]
    with pytest.raises(Refused, match=r"a: 401.*b: 401.*doctor"):
        gather(*refusing)


def test_where_every_source_fails_none_was_reached():
    with pytest.raises(NoSourceReached, match=r"a: down.*b: 401.*doctor"):
        gather(
            TableSource("a", logs=raising(SourceUnavailable("down"))),
            TableSource("b", logs=raising(SourceRefused("401"))),
        )


def test_without_sources_there_is_a_snapshot_that_says_so():
    snapshot = take_snapshot(TICKET, [], SETTINGS).snapshot
    assert snapshot.coverage == []
    assert snapshot.diagnosis.abstained


def test_a_complete_source_is_asked_once_for_each_kind():
    source = good(complete=True)
    gather(source)
    assert sorted(ask.what for ask in source.asked) == ["logs", "order_events", "spans"]


def test_a_source_that_has_more_is_asked_again_with_what_was_found():
    source = good(complete=False)
    gather(source)
    asked = [(ask.what, ask.values("out_trade_no"), ask.values("trace_id"), ask.rest) for ask in source.asked]
    assert sorted(asked) == [
        ("logs", (), (TRACE,), False),
        ("logs", (ATTEMPT,), (), True),
        ("order_events", (), (), True),
        ("order_events", (ATTEMPT,), (), False),
        ("spans", (), (TRACE,), False),
        ("spans", (ATTEMPT,), (), True),
    ]


def test_rows_that_come_twice_are_counted_once():
    collected = gather(good(complete=False))
    assert ledger(collected) == GOOD
    assert collected.material.logs.column("_id").to_pylist() == ["l1", "l2"]
    assert collected.material.spans.num_rows == 1
    assert collected.material.order_events.num_rows == 3


def test_what_a_later_round_adds_is_in_the_ledger():
    """The first round brings the order's line and the rest up to a limit; the second brings the trace's, but fewer rows."""
    mine = line(3, "refused", "l9", **{"trace.id": TRACE})
    source = TableSource(
        "es", complete=False, logs=lambda ask: [mine, LOGS[0]] if ask.values("trace_id") else [*LOGS, *more]
    )
    more = [line(60 + i, "usual", f"m{i}", level="INFO") for i in range(5)]
    collected = gather(source)
    row = collected.material.coverage[0]
    assert collected.material.logs.num_rows == 8
    assert (row.fetched, row.used, row.matched) == (8, 8, 8)
    assert row.fetched == row.used + row.duplicates + row.outside


def test_a_second_round_that_fails_makes_the_answer_partial_and_keeps_the_first():
    def answer(ask: Ask):
        if ask.values("trace_id"):
            raise SourceUnavailable("gone meanwhile")
        return LOGS

    row = gather(TableSource("es", complete=False, logs=answer)).material.coverage[0]
    assert (row.status, row.used, row.error) == ("partial", 2, "gone meanwhile")


def test_both_sides_of_a_call_may_share_a_span_id():
    spans = [span_row(TRACE, "s1", kind="client"), span_row(TRACE, "s1", kind="server")]
    source = TableSource("jaeger", complete=False, logs=LOGS, spans=spans)
    assert gather(source).material.spans.num_rows == 2


def test_a_source_that_cannot_open_its_records_again_costs_the_stamps_only():
    source = good()
    source.resolve = raising(ValueError("no cursor"))  # type: ignore[method-assign]
    snapshot = take_snapshot(TICKET, [source], SETTINGS).snapshot
    check = next(check for check in snapshot.checks if check.id == "evidence")
    assert check.outcome == "not_evaluated"
    assert "good: unexpected ValueError: no cursor" in check.statement.en
    assert {e.sha256 for f in snapshot.findings for e in f.evidence} == {""}


def test_a_hanging_source_does_not_hold_up_the_end_of_the_process():
    program = (
        "import time\n"
        "from pipeline.run import take_snapshot\n"
        "from pipeline.settings import Settings\n"
        "from tests.flow_samples import TableSource\n"
        "from tests.test_collect import TICKET, good\n"
        "hanging = TableSource('hanging', logs=lambda _: time.sleep(600))\n"
        "stuck = good('stuck')\n"
        "stuck.resolve = lambda _: time.sleep(600)\n"
        "snapshot = take_snapshot(TICKET, [hanging, stuck], Settings(budget=0.5, store='unused')).snapshot\n"
        "print(sorted((row.source, row.status) for row in snapshot.coverage))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=30, check=True
    )
    assert "('hanging', 'failed')" in done.stdout
    assert done.stderr == ""
