"""Contrasts: what only this order wrote, where its flow stopped, and what changed against the time before."""

from __future__ import annotations

import pytest

from pipeline.evidence.contrasts import detect
from snapshots.model import Coverage
from tests.flow_samples import ATTEMPT, ORDER, case_of, line, order_row, usual_lines
from tests.test_patterns import names, orders

FAILED = [
    order_row(0, "order", ORDER, "pending"),
    order_row(0.05, "attempt", ATTEMPT, "NOTPAY"),
    order_row(0.1, "attempt", ATTEMPT, "PAYERROR"),
    order_row(0.15, "order", ORDER, "failed"),
]
STEPS = (
    ("pay-core", "accepted order {}"),
    ("pay-channel", "sending the request of {} away"),
    ("pay-channel", "reply read for {} fine"),
    ("pay-notify", "callback verified of {} now"),
)


def healthy_lines(count=6, steps=STEPS):
    return [
        line(60 * i + j, text.format(names(i, False)[0]), f"h{i}-{j}", service=service, level="INFO")
        for i in range(count)
        for j, (service, text) in enumerate(steps)
    ]


def found_of(own, *, count=6, lines=None, rows=None):
    lines = healthy_lines(count) if lines is None else lines
    case = case_of([*usual_lines(), *lines, *own], [*FAILED, *(orders(healthy=count) if rows is None else rows)])
    return {f.kind: f for f in detect(case).found if f.kind.startswith("cohort.")}


def own_lines(steps, start=1):
    return [
        line(start + j, text.format(ORDER), f"own{j}", service=service, level="INFO")
        for j, (service, text) in enumerate(steps)
    ]


def test_what_only_this_order_wrote_is_told_with_figures():
    own = [*own_lines(STEPS), line(9, f"{ORDER}: balance differs, giving up", "odd", service="pay-core")]
    found = found_of(own)
    assert set(found) == {"cohort.only_here"}
    only = found["cohort.only_here"]
    assert [c.doc_id for c in only.cites] == ["odd"]
    assert only.statement.en.startswith("this order wrote in pay-core: `")
    assert "none of the 6 healthy orders of wechatpay did (" in only.statement.en
    assert "wechatpay 6 个正常订单均未写过" in only.statement.zh
    assert (only.service, only.supports) == ("pay-core", None)
    assert only.strength == round(1 - 1 / 7, 4)


def test_the_flow_stopped_at_the_first_line_that_every_healthy_order_has():
    found = found_of(own_lines(STEPS[:2]))
    assert set(found) == {"cohort.stopped_before"}
    stopped = found["cohort.stopped_before"]
    assert stopped.service == "pay-channel"
    assert "this order has no line of `reply read for" in stopped.statement.en
    assert "which 6 of 6 healthy orders of wechatpay have; 1 later step is absent too" in stopped.statement.en
    assert "its last line of all is `sending the request of" in stopped.statement.en
    assert stopped.cites[0].doc_id == "own1"
    assert {c.doc_id for c in stopped.cites[1:]} <= {f"h{i}-2" for i in range(6)}


def test_a_flow_that_went_another_way_says_which():
    odd = line(3, f"{ORDER}: no reply after 3 s", "odd", service="pay-channel")
    stopped = found_of([*own_lines(STEPS[:2]), odd])["cohort.stopped_before"]
    assert "instead it wrote `" in stopped.statement.en
    assert "odd" in {c.doc_id for c in stopped.cites}


def test_an_order_with_later_lines_is_not_said_to_end_at_the_last_one_in_common():
    later = line(30, f"{ORDER} put aside for the night run", "later", service="pay-core", level="INFO")
    stopped = found_of([*own_lines(STEPS[:2]), later])["cohort.stopped_before"]
    assert "last line of all" not in stopped.statement.en
    assert "最后一行日志" not in stopped.statement.zh
    assert "its last line in common with them is `sending the request of" in stopped.statement.en
    assert stopped.cites[0].doc_id == "own1"


def test_what_failing_orders_wrote_as_well_is_counted():
    odd = "{}: balance differs, giving up"
    lines = [*healthy_lines(), line(90, odd.format(names(30, True)[0]), "f0", service="pay-core")]
    lines.append(line(91, f"accepted order {names(31, True)[0]}", "f1", service="pay-core", level="INFO"))
    own = [*own_lines(STEPS), line(9, odd.format(ORDER), "odd", service="pay-core")]
    rows = [*orders(healthy=6), *orders(failing=2, start=30, minutes=2)]
    only = found_of(own, lines=lines, rows=rows)["cohort.only_here"]
    assert "none of the 6 healthy orders of wechatpay did, 1 of 2 other orders did" in only.statement.en
    assert "其他 2 个订单中有 1 个写过" in only.statement.zh


@pytest.mark.parametrize("more", [{"cut": 100}, {"status": "partial"}, {"status": "failed"}], ids=str)
def test_lines_that_were_not_read_are_not_said_to_be_absent(more):
    asked = {"source": "es", "kind": "elasticsearch", "what": "logs", "status": "ok", "asked": ""}
    lines = [*usual_lines(), *healthy_lines(), *own_lines(STEPS[:2])]
    rows = [*FAILED, *orders(healthy=6)]
    kinds = [
        [
            f.kind
            for f in detect(case_of(lines, rows, coverage=[Coverage(**asked | change)])).found
            if "cohort" in f.kind
        ]
        for change in ({}, more)
    ]
    assert kinds == [["cohort.stopped_before"], []]


def test_a_step_with_an_empty_id_is_the_same_step():
    """A template that has a mask where the order's line has none is no other line."""
    texts = [f"[trace_id={i:032x}] accepted order {names(i, False)[0]}" for i in range(6)]
    lines = [line(60 * i, text, f"h{i}", service="pay-core", level="INFO") for i, text in enumerate(texts)]
    own = [line(1, f"[trace_id=-] accepted order {ORDER}", "own", service="pay-core", level="INFO")]
    assert found_of(own, lines=lines) == {}


def test_an_order_that_wrote_what_all_write_has_no_contrast():
    assert found_of(own_lines(STEPS)) == {}


def test_a_line_that_only_some_healthy_orders_have_is_not_missed():
    some = [one for one in healthy_lines() if one["_id"] not in ("h0-3", "h1-3")]
    assert found_of(own_lines(STEPS[:3]), lines=some) == {}


def test_too_few_healthy_orders_are_no_cohort():
    case = case_of([*usual_lines(), *healthy_lines(3), *own_lines(STEPS[:2])], [*FAILED, *orders(healthy=3)])
    assert [c.outcome for c in detect(case).checks] == ["not_evaluated"]
    assert detect(case).found == ()


def test_an_order_without_lines_is_not_compared():
    assert found_of([]) == {}


def test_failing_orders_are_no_cohort():
    lines = [line(60 * i, f"accepted order {names(i, True)[0]}", f"f{i}") for i in range(6)]
    assert found_of(own_lines(STEPS[:2]), lines=lines, rows=orders(failing=6)) == {}


def test_lines_are_tied_to_orders_by_trace_as_well():
    lines = [
        one | {"trace.id": f"{int(one['_id'][1]):032x}", "message": text, "body": text}
        for one in healthy_lines()
        for text in [one["message"] if one["_id"].endswith("-0") else "reply read"]
    ]
    own = [line(1, f"accepted order {ORDER}", "own", service="pay-core", level="INFO", **{"trace.id": "a" * 32})]
    found = found_of(own, lines=lines)
    assert "`reply read`" in found["cohort.stopped_before"].statement.en


def changes_of(lines):
    found = detect(case_of([*lines, line(1, f"accepted {ORDER}", "own", service="pay")], FAILED)).found
    return {f.kind: f for f in found if f.kind.startswith("contrast.")}


def test_a_new_template_of_the_orders_service_is_told_with_its_counts():
    storm = [line(i, f"pool is full, {i} waiting", f"n{i}", service="pay", level="WARN") for i in range(40)]
    new = changes_of([*usual_lines(), *storm])["contrast.new"]
    assert "40 lines in the window, 0 in the time before" in new.statement.en
    assert len(new.cites) == 3
    assert (new.supports, new.about_focus) == (None, False)


def test_what_surged_and_what_vanished_is_told():
    lines = [line(-3000 + 60 * i, f"retrying call {i}", f"s{i}", service="pay", level="WARN") for i in range(10)]
    lines += [line(5 + i, f"retrying call {i}", f"t{i}", service="pay", level="WARN") for i in range(60)]
    lines += [line(-3000 + 20 * i, f"heartbeat {i} sent", f"b{i}", service="pay", level="INFO") for i in range(60)]
    found = changes_of([*usual_lines(), *lines])
    assert "60 lines in the window, 10 in the time before" in found["contrast.surged"].statement.en
    assert "has vanished" in found["contrast.vanished"].statement.en


def test_what_changes_in_services_that_the_order_never_met_is_left_out():
    storm = [line(i, f"page {i} rendered", f"n{i}", service="blog", level="INFO") for i in range(40)]
    assert changes_of([*usual_lines(), *storm]) == {}
