"""The scope: whom and when a ticket is about, with a reason, and each step of the way there recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest

from parsers.tables import LOGS, ORDER_EVENTS, SPANS, empty
from pipeline.payments.orders import Order
from pipeline.payments.reading import read_orders
from pipeline.scope import expand_by_orders, expand_by_traces, identifiers_by_kind, read_scope
from pipeline.settings import Patterns, Settings, Windows
from pipeline.values import Scope, Span, Ticket
from tests.flow_samples import ATTEMPT, CUSTOMER, ORDER, SETTINGS, START, TableSource, line, order_row, span_row
from tests.test_evidence import paid, unpaid

CHINA = timezone(timedelta(hours=8))
CREATED = datetime(2026, 3, 4, 18, 20, tzinfo=CHINA)
TRACE = "a" * 32


def ticket(title: str = "Payment failed", text: str = "", created: datetime = CREATED, **more) -> Ticket:
    return Ticket("T-1", title, text, created, **more)


def orders_of(*rows) -> dict[str, Order]:
    return read_orders(pa.Table.from_pylist([{"_source": "test", **row} for row in rows], schema=ORDER_EVENTS))


def expanded(asked: Ticket, *rows, settings: Settings = SETTINGS, around: Span | None = None) -> Scope:
    return expand_by_orders(read_scope(asked, settings, around), asked, orders_of(*rows), settings, "shop")


MINE = [
    order_row(0, "order", ORDER, "pending", phone_tail="5678"),
    order_row(0.05, "attempt", ATTEMPT, "NOTPAY", phone_tail="5678"),
    order_row(0.1, "attempt", ATTEMPT, "PAYERROR", phone_tail="5678"),
]


# ---- words


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (f"My order {ORDER} failed", "order_id", ORDER),
        (f"订单号{ORDER}付不了", "order_id", ORDER),
        ("customer no u7450281", "customer_id", "u7450281"),
        ("我的手机号是13912345678", "phone", "13912345678"),
        ("trace id 4bf92f3577b34da6a3ce929d0e0e4736", "trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ],
)
def test_identifiers_are_read_from_the_words(text, kind, value):
    assert value in read_scope(ticket(text=text), SETTINGS).values(kind)


@pytest.mark.parametrize(
    "fields",
    [
        {"order_no": ORDER},
        {"form": {"order_no": ORDER}},
        {"fields": [{"id": "order_no", "value": ORDER}, {"id": "other", "value": None}]},
        {"operation_steps": ["open the shop", f"order no {ORDER}"]},
    ],
    ids=["plain", "nested", "id and value", "list"],
)
def test_identifiers_are_read_from_forms_of_any_shape(fields):
    assert ORDER in read_scope(ticket(questionnaire=fields), SETTINGS).values("order_id")


def test_each_identifier_says_where_it_was_found_first():
    scope = read_scope(ticket(title=ORDER, text=ORDER, customer_id=CUSTOMER), SETTINGS)
    assert [(i.kind, i.found_in) for i in scope.identifiers if i.kind in ("order_id", "customer_id")] == [
        ("order_id", "title"),
        ("customer_id", "customer"),
    ]


def test_a_field_of_a_form_brings_its_own_cue():
    scope = read_scope(ticket(questionnaire={"order_no": ORDER, "n": 3}, custom_fields={"customer": None}), SETTINGS)
    assert scope.values("order_id") == (ORDER,)


def test_a_shops_own_shape_of_an_order_number_is_read():
    settings = Settings(store="unused", identifiers=Patterns(order_id=(r"\b(ZZ-\d{3})\b",)))
    assert "ZZ-123" in read_scope(ticket(text="about ZZ-123 please"), settings).values("order_id")


@pytest.mark.parametrize(
    ("text", "hour", "minute"),
    [
        ("It was about 09:30 today", 1, 30),
        ("今天上午9点半左右付款失败", 1, 30),
        ("2026-03-04 17:02 +08:00 failed", 9, 2),
        ("about 20 minutes ago", 10, 0),
    ],
)
def test_a_time_in_the_words_is_the_anchor_in_utc(text, hour, minute):
    scope = read_scope(ticket(text=text), SETTINGS)
    assert abs(scope.anchor - datetime(2026, 3, 4, hour, minute, tzinfo=UTC)) <= timedelta(minutes=10)
    assert scope.window.start < scope.anchor < scope.window.end
    assert scope.window_from == "said"
    assert scope.reason.en
    assert scope.reason.zh


def test_without_a_time_it_is_the_hours_before_the_ticket():
    scope = read_scope(ticket(), SETTINGS)
    assert scope.window_from == "assumed"
    assert scope.window == Span(
        CREATED.astimezone(UTC) - timedelta(hours=3), CREATED.astimezone(UTC) + timedelta(minutes=5)
    )
    assert "3 hours" in scope.reason.en


def test_a_window_that_was_asked_for_wins_over_words_and_orders():
    around = Span(START - timedelta(days=2), START - timedelta(days=1))
    scope = expanded(ticket(text=f"order {ORDER}, at 09:30 today"), *MINE, around=around)
    assert (scope.window, scope.window_from) == (around, "option")
    assert scope.focus_orders == (ORDER,)


@pytest.mark.parametrize("seconds", [60, 7200])
def test_the_baseline_ends_where_the_window_begins(seconds):
    settings = Settings(store="unused", windows=Windows(baseline=seconds))
    for scope in (read_scope(ticket(), settings), expanded(ticket(text=ORDER), *MINE, settings=settings)):
        assert scope.baseline == Span(scope.window.start - timedelta(seconds=seconds), scope.window.start)


# ---- orders


def test_a_named_order_is_the_focus_and_narrows_the_window():
    scope = expanded(ticket(text=f"order {ORDER}"), *MINE, *paid(1))
    assert scope.focus_orders == (ORDER,)
    assert scope.values("out_trade_no") == (ATTEMPT,)
    assert scope.channels == ("wechatpay",)
    assert scope.window_from == "orders"
    assert ORDER in scope.reason.en
    assert ORDER in scope.reason.zh
    assert scope.window.start < START < scope.window.end


@pytest.mark.parametrize("number", [ATTEMPT, "4200001234202603041234567890"])
def test_a_trade_number_leads_to_its_order(number):
    rows = [*MINE, order_row(0.2, "attempt", ATTEMPT, "SUCCESS", channel_txn_id="4200001234202603041234567890")]
    assert expanded(ticket(text=f"交易单号 {number}"), *rows, *paid(1)).focus_orders == (ORDER,)


def test_a_customer_leads_to_the_order_that_is_not_in_order():
    rows = [*paid(1, minutes=5, customer=CUSTOMER), *MINE]
    scope = expanded(ticket(customer_id=CUSTOMER), *rows)
    assert scope.focus_orders == (ORDER,)
    assert [(hop.via, hop.start) for hop in scope.hops] == [
        ("customer -> orders", CUSTOMER),
        ("order -> payment attempts", ORDER),
    ]
    assert set(scope.hops[0].found) == {ORDER, "SO20260304200001"}


def test_an_old_order_that_is_broken_does_not_beat_todays():
    rows = [*unpaid(1, minutes=-3 * 1440), *paid(1, minutes=5)]
    rows = [{**row, "attributes": '{"customer_id": "u5550001", "shop_system": "woocommerce"}'} for row in rows]
    assert expanded(ticket(customer_id=CUSTOMER), *rows).focus_orders == ("SO20260304200001",)


def test_a_phone_tail_leads_to_the_order_and_says_so():
    scope = expanded(ticket(text="my phone is 13912345678"), *MINE)
    assert scope.focus_orders == (ORDER,)
    assert scope.hops[0].start == "phone tail 5678"


def test_a_customer_wins_over_a_phone_tail():
    rows = [*MINE, *paid(1, customer="u42", phone_tail="5678")]
    assert expanded(ticket(text="phone 13912345678", customer_id="u42"), *rows).focus_orders == ("SO20260304200001",)


def test_nobody_known_leaves_the_scope_as_it_was():
    asked = ticket(text="help", customer_id="u42")
    assert expanded(asked, *MINE) == read_scope(asked, SETTINGS)


def test_what_happened_after_the_ticket_does_not_widen_the_window():
    rows = [*MINE, order_row(90, "order", ORDER, "cancelled")]
    assert expanded(ticket(text=ORDER), *rows).window == expanded(ticket(text=ORDER), *MINE).window


def test_the_last_episode_is_meant_unless_a_time_is_said():
    early = [order_row(-600, "order", ORDER, "pending"), order_row(-599, "attempt", ATTEMPT, "NOTPAY")]
    late = [order_row(0, "attempt", "PY26030410000002", "PAYERROR")]
    assert expanded(ticket(text=ORDER), *early, *late).anchor == START
    said = expanded(ticket(text=f"{ORDER} at 08:01 today"), *early, *late)
    assert said.anchor == START - timedelta(minutes=600)


# ---- traces


def tables(lines=(), spans=()):
    source = TableSource("test", logs=(), spans=())
    return source.answer("logs", lines).table, source.answer("spans", spans).table


def test_an_orders_lines_lead_to_traces_and_services():
    scope = expanded(ticket(text=ORDER), *MINE)
    lines = [
        line(1, f"charge {ATTEMPT}", "l1", service="pay", **{"trace.id": TRACE}),
        line(2, "no name", "l2", service="gateway", **{"trace.id": TRACE}),
        line(2, "another", "l3", service="search", **{"trace.id": "b" * 32}),
    ]
    grown = expand_by_traces(scope, *tables(lines, [span_row(TRACE, "s1", **{"service.name": "db"})]))
    assert grown.values("trace_id") == (TRACE,)
    assert set(grown.services) == {"pay", "gateway", "db"}
    assert [hop.via for hop in grown.hops[-2:]] == ["identifiers -> traces", "traces -> services"]


def test_a_longer_number_is_not_the_order():
    lines = [line(1, f"charge {ATTEMPT}9 and X{ORDER}", "l1", **{"trace.id": TRACE})]
    assert expand_by_traces(expanded(ticket(text=ORDER), *MINE), *tables(lines)).values("trace_id") == ()


@pytest.mark.parametrize(("seconds", "found"), [(3, (TRACE,)), (-3000, ())])
def test_a_customers_name_alone_ties_a_trace_only_around_the_order(seconds, found):
    scope = expanded(ticket(customer_id=CUSTOMER), *MINE)
    lines = [line(seconds, f"user {CUSTOMER} looks around", "l1", **{"trace.id": TRACE})]
    assert expand_by_traces(scope, *tables(lines)).values("trace_id") == found


def test_hops_list_some_and_count_the_rest():
    lines = [line(1, f"charge {ATTEMPT}", f"l{i}", **{"trace.id": f"{i:032x}"}) for i in range(300)]
    hop = expand_by_traces(expanded(ticket(text=ORDER), *MINE), *tables(lines)).hops[-2]
    assert len(hop.found) + hop.omitted == 300


def test_without_rows_nothing_is_added():
    scope = expanded(ticket(text=ORDER), *MINE)
    assert expand_by_traces(scope, empty(LOGS), empty(SPANS)) == scope


def test_a_source_is_asked_for_each_kind_of_identifier():
    asked = identifiers_by_kind(expanded(ticket(text=ORDER, customer_id=CUSTOMER), *MINE))
    assert asked["order_id"] == (ORDER,)
    assert asked["out_trade_no"] == (ATTEMPT,)
    assert asked["customer_id"] == (CUSTOMER,)
