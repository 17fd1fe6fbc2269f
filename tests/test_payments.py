"""Order events become orders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.figures import currency_exponent, format_money
from pipeline.payments.health import is_healthy
from pipeline.payments.numbers import foreign_number
from pipeline.payments.orders import unknown_states
from pipeline.payments.reading import read_orders
from pipeline.payments.refunds import working_time
from tests.payments_samples import START, attempt, callback, own, paid_order, query, read, row, table

LATER = START + timedelta(hours=2)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (69700, "GBP", "697.00 GBP"),
        (5, "EUR", "0.05 EUR"),
        (1190, "JPY", "1190 JPY"),
        (1234, "KWD", "1.234 KWD"),
        (-250, "USD", "-2.50 USD"),
        (0, "CNY", "0.00 CNY"),
        (None, "CNY", "? CNY"),
        (100, None, "1.00"),
    ],
)
def test_money_is_written_with_its_currencys_own_places(amount, currency, text):
    assert format_money(amount, currency) == text


@given(st.integers(-(10**12), 10**12), st.sampled_from(["CNY", "JPY", "KWD", "CLF"]))
def test_written_money_can_be_read_back(amount, currency):
    written = format_money(amount, currency).split()[0]
    assert round(float(written) * 10 ** currency_exponent(currency)) == amount


@given(st.permutations(range(6)))
def test_the_order_of_the_rows_does_not_matter(places):
    rows = paid_order()
    assert read(*(rows[i] for i in places)) == read(*rows)


@given(st.text("ABC123", min_size=6, max_size=12))
def test_an_unrelated_order_changes_nothing(other):
    alone = read(*paid_order())
    together = read_orders(table(*paid_order(), *paid_order(f"Z{other}", "P26999999999999", 123)))
    assert together["SO1000001"] == alone
    assert set(together) == {"SO1000001", f"Z{other}"}


def test_only_the_orders_asked_for_are_read():
    both = table(*paid_order(), *paid_order("SO1000002", "P26000000000002"))
    assert list(read_orders(both, ["SO1000002"])) == ["SO1000002"]
    assert read_orders(both, []) == {}


def test_rows_that_say_the_same_are_one_row_and_counted():
    once, twice = read(*paid_order()), read(*paid_order(), *paid_order())
    assert twice.events == once.events
    assert twice.duplicates == len(paid_order())


def test_a_paid_order_reads_so_from_every_side():
    order = read(*paid_order())
    assert order.system == "woocommerce"
    assert order.latest_state == "PAID"
    assert order.outcome(LATER) == "paid"
    assert order.attempts[0].state == "PAID"
    assert order.attempts[0].channel_txn_id == "4226000000000001"
    assert order.money == "50.00 CNY"
    assert is_healthy(order, LATER)


def test_the_state_at_a_moment_is_the_last_one_before_it():
    order = read(*paid_order())
    assert order.state_at(START + timedelta(seconds=10)) == "AWAITING_PAYMENT"
    assert order.state_at(START - timedelta(seconds=1)) is None
    assert order.outcome(START + timedelta(seconds=10)) == "open"


def test_an_order_whose_only_attempt_failed_has_failed_though_the_shop_still_waits():
    order = read(own(0, "pending"), attempt(0.1, "INIT"), attempt(0.2, "CREATE_FAILED"))
    assert order.latest_state == "AWAITING_PAYMENT"
    assert order.outcome(LATER) == "failed"
    assert not is_healthy(order, LATER)


@pytest.mark.parametrize("key", ["out_trade_no", "outTradeNo", "OUT-TRADE-NO", "merchant_order_no"])
def test_an_attribute_is_understood_in_each_of_its_spellings(key):
    said = row(1, "callback", "event-77", "SUCCESS", **{key: "P26000000000001", "sign_ok": "true", "ackStatus": "204"})
    order = read(own(0, "pending"), attempt(0, "NOTPAY"), attempt(0, "NOTPAY", "P26000000000002"), said)
    assert [c.entity_id for c in order.attempts[0].callbacks] == ["event-77"]
    assert order.callbacks[0].verified is True
    assert order.callbacks[0].answered_ok is True


@pytest.mark.parametrize(
    ("answer", "good"), [(200, True), ("204", True), (500, False), ("success", True), ("fail", False), (None, None)]
)
def test_an_answer_to_a_callback_is_read_as_the_channel_reads_it(answer, good):
    order = read(attempt(0, "NOTPAY"), callback(1, answer=answer))
    assert order.callbacks[0].answered_ok is good


def test_the_shop_system_is_found_under_any_name():
    renamed = {**own(0, "processing", shop_system="x"), "attributes": '{"store_software": "WooCommerce"}'}
    assert read(renamed).latest_state == "PAID"


def test_a_query_that_names_a_refund_is_read_in_the_refunds_words():
    order = read(
        *paid_order(),
        row(60, "refund", "R26000000000001", "PROCESSING"),
        row(90, "query", "q_R26000000000001", "SUCCESS"),
    )
    assert order.queries[0].state == "REFUNDED"
    assert [e.entity_id for e in order.refunds[0].answers] == ["q_R26000000000001"]


def test_a_late_open_word_does_not_undo_a_final_one():
    order = read(own(0, "pending"), attempt(0, "NOTPAY"), attempt(1, "SUCCESS"), query(2, state="USERPAYING"))
    assert order.attempts[0].state == "PAID"


def test_a_callback_with_a_bad_signature_proves_nothing():
    order = read(own(0, "pending"), attempt(0, "NOTPAY"), callback(1, verified=False))
    assert order.attempts[0].state == "AWAITING_PAYMENT"


def test_a_declined_code_ends_an_attempt_whose_state_is_open_again():
    declined = read(
        own(0, "pending", channel="stripe"),
        attempt(0, "requires_confirmation", channel="stripe"),
        attempt(1, "requires_payment_method", channel="stripe", code="card_declined"),
    )
    fresh = read(own(0, "pending", channel="stripe"), attempt(0, "requires_payment_method", channel="stripe"))
    assert declined.attempts[0].state == "FAILED"
    assert fresh.attempts[0].state == "AWAITING_PAYMENT"


def test_a_number_of_our_own_make_that_is_not_ours_is_foreign():
    order = read(attempt(0, "NOTPAY"), callback(1, "P26999999999999"))
    assert foreign_number(order, order.callbacks[0]) == "P26999999999999"
    assert order.attempts[0].callbacks == ()
    other_make = read(attempt(0, "NOTPAY"), callback(1, "550e8400-e29b-41d4-a716-446655440000"))
    assert foreign_number(other_make, other_make.callbacks[0]) is None


def test_a_quote_can_be_read_by_itself():
    cited = read(*paid_order()).attempts[0].latest.cited
    assert cited.quote == "attempt P26000000000001 SUCCESS 50.00 CNY 2026-03-04 10:00:30Z"
    assert cited.source == "test"
    assert cited.doc_id


def test_states_that_nothing_explains_are_counted():
    order = read(own(0, "zzz"), attempt(0, "yyy"))
    assert unknown_states([order]) == {("attempt", "wechatpay", "yyy"): 1, ("order", "woocommerce", "zzz"): 1}
    assert order.outcome(LATER) == "unknown"


def test_weekends_are_no_working_time():
    friday = datetime(2026, 3, 6, 12, tzinfo=UTC)
    assert working_time(friday, friday + timedelta(days=3)) == timedelta(days=1)
    assert working_time(friday, friday) == timedelta()
    assert working_time(friday, friday - timedelta(days=1)) == timedelta()


@given(
    st.datetimes(START.replace(year=2020, tzinfo=None), START.replace(year=2030, tzinfo=None)),
    st.integers(0, 500_000),
    st.integers(0, 500_000),
)
def test_working_time_adds_up(start, first, second):
    start = start.replace(tzinfo=UTC)
    middle, end = start + timedelta(seconds=first), start + timedelta(seconds=first + second)
    assert working_time(start, middle) + working_time(middle, end) == working_time(start, end)


@given(st.lists(st.text(max_size=12), max_size=8))
def test_odd_words_never_stop_the_reading(words):
    """Whatever a shop writes as state, entity or attributes, an order comes out."""
    rows = [{**attempt(i, word), "entity": word or None, "attributes": word} for i, word in enumerate(words)]
    assert len(read_orders(table(*rows))) == (1 if rows else 0)


def test_rows_without_a_time_overrule_nothing():
    late = {**own(9, "pending"), "occurred_at": None}
    assert read(*paid_order(), late).latest_state == "PAID"
