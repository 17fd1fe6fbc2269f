"""Callbacks and retries: what the order rules do not say already, with figures, and silence where there is nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pipeline.evidence import callbacks, retries
from tests.flow_samples import ATTEMPT, CUSTOMER, ORDER, case_of, line, order_row, usual_lines
from tests.test_patterns import names, orders, other

OPEN = [order_row(0, "order", ORDER, "pending"), order_row(0.05, "attempt", ATTEMPT, "NOTPAY")]
PAID = [*OPEN, order_row(0.2, "attempt", ATTEMPT, "SUCCESS")]
FAILED = [*OPEN, order_row(0.1, "attempt", ATTEMPT, "PAYERROR"), order_row(0.15, "order", ORDER, "failed")]
SECOND = "PY26030410000002"


def call(minutes, *, verified=True, answer=200, number=1):
    more = {"out_trade_no": ATTEMPT, "verified": verified, "http_answer": answer}
    return order_row(minutes, "callback", f"cb{number}", "SUCCESS", **more)


def by_callbacks(rows, lines=()):
    return {f.kind: f for f in callbacks.detect(case_of([*usual_lines(), *lines], rows)).found}


def by_retries(rows, lines=()):
    return {f.kind: f for f in retries.detect(case_of([*usual_lines(), *lines], rows)).found}


# ---- callbacks


def test_a_callback_that_was_verified_and_answered_speaks_against_keys_and_certificates():
    found = by_callbacks([*PAID, call(0.5)])
    assert set(found) == {"callback.received"}
    assert (found["callback.received"].supports, found["callback.received"].against) == (None, ("signature_cert",))
    assert "18 s after the channel's success" in found["callback.received"].statement.en
    assert found["callback.received"].cites[0].doc_id == "cb1/SUCCESS/0.5"


@pytest.mark.parametrize("row", [call(0.5, verified=False, answer=400), call(0.5, answer=500)])
def test_a_callback_that_was_refused_is_left_to_the_rules(row):
    assert by_callbacks([*PAID, row]) == {}


def test_a_callback_that_comes_again_is_told_with_its_intervals_and_our_answers():
    rows = [call(at, answer=500, number=i) for i, at in enumerate((0.5, 0.75, 1.25))]
    found = by_callbacks([*PAID, *rows])["callback.repeated"]
    assert "came 3 times, after 15 s, 30 s, answered 500" in found.statement.en
    assert len(found.cites) == 3


def test_a_callback_is_late_against_those_of_healthy_orders():
    healthy = orders(healthy=4, start=5)
    assert "callback.late" in by_callbacks([*PAID, call(5.2), *healthy])
    assert "callback.late" not in by_callbacks([*PAID, call(0.3), *healthy])
    assert "callback.late" not in by_callbacks([*PAID, call(5.2)])


def test_a_callback_in_the_lines_that_the_order_events_lack_is_ours():
    told = line(12, f"ITN received m_payment_id={ATTEMPT} status=COMPLETE", "x", service="notify", level="INFO")
    found = by_callbacks([*PAID, *orders(healthy=3, start=5)], [told])["callback.unrecorded"]
    assert (found.supports, found.service) == ("internal_fault", "notify")
    assert "while 3 healthy orders have theirs" in found.statement.en
    # Nobody's callbacks are recorded here: that this order has none says nothing.
    assert by_callbacks(PAID, [told]) == {}


@pytest.mark.parametrize(
    "said",
    [
        "create order with notify_url=https://pay.example/notify for {}",
        "{} no callback within 25 minutes",
        "{} 25 分钟内无任何回调",
        "{} 未收到通知",
        "waiting for notification of {}",
        "notifying merchant of {} failed",
        "notify-gate 近 25 分钟 wechatpay 入站 0, {}",
        "notify-gate took over {} from pay-core",
        "calling https://webhook.shop.example/x for {}",
        "callback gate: 0 inbound for {}",
        "callbacks of {}: none received",
        "webhook log of the last 25 minutes, {}: count 0",
        "回调入站：0 条 {}",
        "回调网关无入站 {}",
    ],
)
def test_what_speaks_of_a_callback_that_never_came_is_none(said):
    lines = [line(12, said.format(ATTEMPT), "x", service="notify")]
    assert by_callbacks([*PAID, *orders(healthy=3, start=5)], lines) == {}


@pytest.mark.parametrize(
    "said",
    ["POST /notify/wechat {} 200", "event=callback.received no={}", "收到回调 {}，耗时 0.4s", "webhook: {} paid"],
)
def test_a_callback_that_came_is_seen_in_its_own_words(said):
    lines = [line(12, said.format(ATTEMPT), "x", service="notify-gate", level="INFO")]
    found = by_callbacks([*PAID, *orders(healthy=3, start=5)], lines)["callback.unrecorded"]
    assert f"a callback of {ATTEMPT}" in found.statement.en


def test_a_number_is_named_only_where_it_stands_in_the_line():
    told = line(12, "webhook received, status paid", "x", service="gate", level="INFO", **{"trace.id": "a" * 32})
    found = by_callbacks([*PAID, *orders(healthy=3, start=5)], [told])["callback.unrecorded"]
    assert "a callback of this order" in found.statement.en
    assert ORDER not in found.statement.en


def test_a_dispute_that_is_told_days_later_is_no_late_callback():
    more = {"out_trade_no": ATTEMPT, "verified": True, "http_answer": 200}
    dispute = order_row(5.2, "callback", "cb9", "needs_response", **more)
    assert "callback.late" not in by_callbacks([*PAID, dispute, *orders(healthy=4, start=5)])


@pytest.mark.parametrize("said", ["webhook of {} discarded", "IPN {} thrown away", "回调 {} 已丢弃"])
def test_a_verified_callback_that_was_thrown_away_without_a_reason_is_ours(said):
    found = by_callbacks([*PAID, call(0.5)], [line(31, said.format(ATTEMPT), "x", service="notify")])
    assert found["callback.discarded"].supports == "internal_fault"
    assert [c.doc_id for c in found["callback.discarded"].cites] == ["x"]


@pytest.mark.parametrize("why", ["amount mismatch", "duplicate", "金额不一致", "signature wrong"])
def test_a_callback_that_was_rightly_thrown_away_blames_nobody(why):
    found = by_callbacks([*PAID, call(0.5)], [line(31, f"webhook of {ATTEMPT} discarded: {why}", "x")])
    assert found["callback.discarded"].supports is None


def test_a_reason_in_another_line_counts_as_well():
    lines = [
        line(30, f"webhook of {ATTEMPT}: amount differs from the order's", "why", service="notify"),
        line(31, f"webhook of {ATTEMPT} discarded", "x", service="notify"),
    ]
    assert by_callbacks([*PAID, call(0.5)], lines)["callback.discarded"].supports is None


def test_without_an_order_callbacks_and_retries_are_not_evaluated():
    for detector in (callbacks, retries):
        seen = detector.detect(case_of(usual_lines()))
        assert seen.found == ()
        assert [c.outcome for c in seen.checks] == ["not_evaluated"]


# ---- retries


def test_a_retry_that_worked_speaks_against_keys_and_the_account():
    rows = [*FAILED, order_row(1, "attempt", SECOND, "SUCCESS"), order_row(1.2, "order", ORDER, "processing")]
    found = by_retries(rows)
    assert set(found) == {"retry.worked"}
    assert "tried 2 times (PAYERROR, SUCCESS), 57 s apart" in found["retry.worked"].statement.en
    assert found["retry.worked"].against == ("signature_cert", "merchant_account")


def test_the_attempt_that_worked_is_cited_first_however_many_failed():
    tries = [order_row(1 + i, "attempt", f"PY2026030441{i:04d}", "PAYERROR") for i in range(6)]
    rows = [*FAILED, *tries, order_row(9, "attempt", SECOND, "SUCCESS"), order_row(9.2, "order", ORDER, "processing")]
    cites = by_retries(rows)["retry.worked"].cites
    assert cites[0].doc_id == f"{SECOND}/SUCCESS/9"
    assert len(cites) == 4


def test_retries_that_did_not_work_are_counted():
    rows = [
        *FAILED,
        order_row(1, "attempt", SECOND, "PAYERROR"),
        order_row(4, "attempt", "PY26030410000003", "PAYERROR"),
    ]
    assert "tried 3 times" in by_retries(rows)["retry.repeated"].statement.en


def test_the_customers_next_order_that_went_through_is_a_retry_that_worked():
    found = by_retries([*FAILED, *other(7, minutes=6, customer=CUSTOMER)])["retry.worked"]
    assert names(7, False)[0] in found.statement.en
    assert found.cites[0].doc_id.startswith(f"{names(7, False)[1]}/SUCCESS/")
    assert len(found.cites) == 2


def test_an_earlier_order_of_the_customer_is_no_retry():
    assert by_retries([*FAILED, *other(7, minutes=-6, customer=CUSTOMER)]) == {}


def test_two_attempts_within_seconds_are_a_double_submit():
    rows = [*FAILED, order_row(0.08, "attempt", SECOND, "NOTPAY")]
    found = by_retries(rows)["retry.double_submit"]
    assert (found.supports, found.subclass) == ("duplicate_idempotency", "duplicate_request")
    assert "1.8 s apart" in found.statement.en


def test_a_double_submit_that_took_money_twice_is_left_to_the_rule():
    rows = [*PAID, order_row(0.08, "attempt", SECOND, "NOTPAY"), order_row(0.3, "attempt", SECOND, "SUCCESS")]
    assert by_retries(rows)["retry.double_submit"].supports is None


def test_two_equal_orders_of_a_customer_within_seconds_are_a_double_submit():
    assert "retry.double_submit" in by_retries([*FAILED, *other(7, failing=True, minutes=0.0, customer=CUSTOMER)])
    assert "retry.double_submit" not in by_retries([*FAILED, *other(7, failing=True, minutes=0.0)])


def test_one_number_on_two_orders_is_told_with_both():
    theirs = order_row(-3, "attempt", ATTEMPT, "SUCCESS", order="SO20260304999999", customer="u9")
    found = by_retries([*FAILED, theirs])["retry.number_reused"]
    assert found.supports == "duplicate_idempotency"
    assert ATTEMPT in found.statement.en
    assert len(found.cites) == 2


def test_a_line_that_comes_back_for_the_order_is_a_loop_with_its_intervals():
    seconds = (1, 3, 8, 20)
    lines = [line(at, f"retry {i} of {ORDER}: no answer", f"x{i}") for i, at in enumerate(seconds)]
    found = by_retries(FAILED, lines)["retry.repeated"]
    assert "and 3 more lines like it about this order at growing intervals" in found.statement.en
    assert "及另外 3 行类似日志" in found.statement.zh
    assert ", ".join(f"{b - a} s" for a, b in pairwise(seconds)) in found.statement.en
    assert [c.doc_id for c in found.cites] == ["x0", "x1", "x2", "x3"]


def test_a_line_that_comes_back_word_for_word_is_counted():
    lines = [line(at, f"retry of {ORDER}: no answer", f"x{at}") for at in (1, 3, 8, 20)]
    assert 'no answer" 4 times about this order' in by_retries(FAILED, lines)["retry.repeated"].statement.en


def test_an_ordinary_line_that_comes_often_is_no_loop():
    lines = [line(i, f"status of {ORDER} asked", f"x{i}", level="INFO") for i in range(5)]
    assert by_retries(FAILED, lines) == {}
