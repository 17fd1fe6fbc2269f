"""Order histories become the same events wherever they were kept."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsers.order_events import (
    canonical_order_event,
    order_events_from_rows,
    parse_orders_csv,
    read_time,
    read_times,
    write_orders_csv,
)
from parsers.tables import ORDER_EVENTS

HEADER = "order_id,entity,entity_id,state,amount_minor,currency,channel,occurred_at,attributes\n"
PAID = 'M1,order,M1,paid,46800,CNY,alipay,2026-09-04T23:03:00.180+08:00,"{""phone_tail"": ""7765"", ""a"": 1}"\n'
CALLED = "M1,callback,C1,SUCCESS,46800,CNY,alipay,2026-09-04T15:03:01Z,{}\n"


def parse(text, **more):
    data = text if isinstance(text, bytes) else text.encode()
    return parse_orders_csv(data, source="b", file="orders.csv", **more)


def test_a_row_is_read_in_full():
    parsed = parse(HEADER + PAID)
    assert parsed.table.schema.equals(ORDER_EVENTS)
    assert parsed.table.to_pylist() == [
        {
            "order_id": "M1",
            "entity": "order",
            "entity_id": "M1",
            "state": "paid",
            "amount_minor": 46800,
            "currency": "CNY",
            "channel": "alipay",
            "occurred_at": datetime(2026, 9, 4, 15, 3, 0, 180_000, tzinfo=UTC),
            "attributes": '{"a":1,"phone_tail":"7765"}',
            "_source": "b",
            "_index": "orders.csv",
            "_id": "order:M1:paid:2026-09-04T15:03:00.180000Z",
            "log.file.path": "orders.csv",
            "log.offset": None,
            "log.length": None,
        }
    ]
    assert (parsed.rows, parsed.unparsed, parsed.duplicates) == (1, 0, 0)


def test_events_come_in_order_of_time_whatever_their_offsets():
    assert parse(HEADER + CALLED + PAID).table["state"].to_pylist() == ["paid", "SUCCESS"]


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(lambda text: b"\xef\xbb\xbf" + text.encode(), id="utf-8 with byte order mark"),
        pytest.param(lambda text: text.encode("gb18030"), id="gbk"),
        pytest.param(lambda text: text.encode("utf-16"), id="utf-16"),
        pytest.param(lambda text: text.replace("\n", "\r\n").encode(), id="windows line ends"),
        pytest.param(lambda text: ("\n\n" + text.replace("\n", "\n\n")).encode(), id="blank lines"),
    ],
)
def test_the_encoding_of_the_file_does_not_matter(encoded):
    text = HEADER + PAID.replace("paid", "已付款") + CALLED
    assert parse(encoded(text)).table.equals(parse(text).table)


def test_one_broken_character_costs_its_row_nothing_but_a_count():
    text = (HEADER + PAID.replace("paid", "已付款，等待商家发货") + CALLED).encode().replace("已".encode(), b"\xe5\xb7")
    parsed = parse(text)
    assert (parsed.table.num_rows, parsed.unparsed) == (2, 1)
    assert parsed.table["state"].to_pylist() == ["\ufffd付款，等待商家发货", "SUCCESS"]


def test_quoted_line_ends_belong_to_their_field():
    row = 'M1,order,M1,paid,1,CNY,alipay,2026-09-04T15:03:00Z,"{\n""note"": ""a\\nb""\n}"\n'
    parsed = parse(HEADER + row + CALLED)
    assert [json.loads(text) for text in parsed.table["attributes"].to_pylist()] == [{"note": "a\nb"}, {}]


@pytest.mark.parametrize("amount", ["12.5", "abc", "1,000", "99999999999999999999", "0x10", "１２３"])
def test_a_bad_amount_becomes_null_and_is_counted(amount):
    parsed = parse(HEADER + PAID.replace("46800", f'"{amount}"') + CALLED)
    assert parsed.table["amount_minor"].to_pylist() == [None, 46800]
    assert parsed.unparsed == 1


@pytest.mark.parametrize("amount", ["46800", "+46800", "46800.00", " 46800 ", "46800."])
def test_ways_to_write_whole_minor_units(amount):
    assert parse(HEADER + PAID.replace("46800", amount)).table["amount_minor"].to_pylist() == [46800]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-09-04 23:03:00 +08:00", "15:03:00"),
        ("2026-09-04T23:03+0800", "15:03:00"),
        ("2026/09/04 15:03:00", "15:03:00"),
        ("20260904150300", "15:03:00"),
        ("2026-09-04 15:03:00 UTC", "15:03:00"),
        ("1788534180", "15:03:00"),
        ("1788534180000", "15:03:00"),
        ("1788534180000000", "15:03:00"),
        ("2026-09-04T15:03:00.1234567899Z", "15:03:00.123456"),
    ],
)
def test_times_are_read_as_people_write_them(text, expected):
    parsed = parse(HEADER + PAID.replace("2026-09-04T23:03:00.180+08:00", text))
    assert parsed.unparsed == 0
    assert parsed.table["occurred_at"].to_pylist() == [datetime.fromisoformat(f"2026-09-04T{expected}+00:00")]


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-02-30T10:00:00Z", "2026-09-04T25:00:00Z", "99999999999999999999999"]
)
def test_a_bad_time_becomes_null_and_is_counted(text):
    parsed = parse(HEADER + PAID.replace("2026-09-04T23:03:00.180+08:00", text) + CALLED)
    assert parsed.table["occurred_at"].null_count == 1
    assert parsed.unparsed == 1


def test_times_without_an_offset_are_in_the_given_zone():
    text = HEADER + PAID.replace("+08:00", "")
    assert parse(text, zone=timezone(timedelta(hours=8))).table.equals(parse(HEADER + PAID).table)
    assert parse(text).table["occurred_at"].to_pylist()[0].hour == 23


def test_attributes_that_are_no_object_are_kept_raw_and_counted():
    parsed = parse(HEADER + "M1,order,M1,paid,1,CNY,alipay,2026-09-04T15:03:00Z,{broken\n" + CALLED)
    assert json.loads(parsed.table["attributes"].to_pylist()[0]) == {"_raw": "{broken"}
    assert parsed.unparsed == 1


def test_rows_of_a_wrong_length_are_kept_as_far_as_they_go():
    parsed = parse(
        HEADER + "M9,order,M9\n" + PAID + "M8,order,M8,paid,1,CNY,alipay,2026-09-04T15:03:00Z,{},more,more\n"
    )
    assert sorted(parsed.table["order_id"].to_pylist()) == ["M1", "M8", "M9"]
    assert (parsed.rows, parsed.unparsed) == (3, 2)


def test_a_row_that_names_nothing_is_counted_and_left_out():
    parsed = parse(HEADER + ",,,,5,CNY,,2026-09-04T15:03:00Z,\n" + PAID)
    assert (parsed.rows, parsed.table.num_rows, parsed.unparsed) == (2, 1, 1)


def test_half_a_file_gives_its_whole_rows():
    text = (HEADER + CALLED + PAID)[:-20]
    parsed = parse(text)
    assert parsed.table["entity_id"].to_pylist() == ["M1", "C1"]
    assert parsed.unparsed == 1


def test_missing_columns_are_null_and_others_become_attributes():
    parsed = parse("Order_ID;state;customer_id;code\nM1;paid;u7;\n")
    row = parsed.table.to_pylist()[0]
    assert (row["order_id"], row["state"], row["amount_minor"], row["occurred_at"]) == ("M1", "paid", None, None)
    assert json.loads(row["attributes"]) == {"customer_id": "u7"}
    assert row["_id"] == "::paid:"


def test_equal_rows_are_one_event_and_different_ones_under_one_key_are_numbered():
    other = PAID.replace("46800", "1")
    forward, backward = parse(HEADER + PAID + PAID + other), parse(HEADER + other + PAID + PAID)
    key = "order:M1:paid:2026-09-04T15:03:00.180000Z"
    assert (forward.rows, forward.duplicates, forward.table.num_rows) == (3, 1, 2)
    named = {row["_id"]: row["amount_minor"] for row in forward.table.to_pylist()}
    assert named.keys() == {key, key + "#2"}
    assert named == {row["_id"]: row["amount_minor"] for row in backward.table.to_pylist()}


def test_a_query_gives_the_same_events_as_the_file():
    zone = timezone(timedelta(hours=8))
    rows = pa.table(
        {
            "ORDER_ID": ["M1", "M1"],
            "entity": ["order", "callback"],
            "entity_id": ["M1", "C1"],
            "state": ["paid", "SUCCESS"],
            "amount_minor": pa.array([Decimal("46800.00"), Decimal(46800)], pa.decimal128(12, 2)),
            "currency": ["CNY", "CNY"],
            "channel": ["alipay", "alipay"],
            "occurred_at": pa.array(
                [datetime(2026, 9, 4, 23, 3, 0, 180_000, tzinfo=zone), datetime(2026, 9, 4, 15, 3, 1, tzinfo=UTC)],
                pa.timestamp("us", "Asia/Shanghai"),
            ),
            "attributes": ['{"a": 1, "phone_tail": "7765"}', "{}"],
        }
    )
    queried = order_events_from_rows(rows, source="db").table
    read = parse(HEADER + PAID + CALLED).table
    assert queried["_id"].equals(read["_id"])
    assert [canonical_order_event(row) for row in queried.to_pylist()] == [
        canonical_order_event(row) for row in read.to_pylist()
    ]
    assert set(queried["_index"].to_pylist()) == {"orders"}


@pytest.mark.parametrize(
    "amounts",
    [
        pytest.param(pa.array([5, None], pa.int32()), id="int32"),
        pytest.param(pa.array([5.0, float("nan")]), id="float"),
        pytest.param(pa.array(["5", None]), id="text"),
        pytest.param(pa.array([5, 2**63], pa.uint64()), id="beyond int64"),
    ],
)
def test_amounts_of_a_query_may_have_any_type(amounts):
    rows = pa.table({"order_id": ["M1", "M2"], "amount_minor": amounts})
    assert order_events_from_rows(rows, source="db").table["amount_minor"].to_pylist() == [5, None]


def test_naive_times_and_structs_of_a_query_are_understood():
    rows = pa.table(
        {
            "order_id": ["M1", "M2"],
            "occurred_at": pa.array([datetime(2026, 9, 4, 23, 3), None], pa.timestamp("ns")),  # noqa: DTZ001
            "attributes": [{"code": "X"}, None],
        }
    )
    table = order_events_from_rows(rows, source="db", zone=timezone(timedelta(hours=8))).table
    assert table["occurred_at"].to_pylist() == [datetime(2026, 9, 4, 15, 3, tzinfo=UTC), None]
    assert table["attributes"].to_pylist() == ['{"code":"X"}', None]


def test_the_canonical_record_has_the_typed_columns_and_no_place():
    record = canonical_order_event(parse(HEADER + PAID).table.to_pylist()[0])
    assert record["occurred_at"] == "2026-09-04T15:03:00.180000Z"
    assert record["attributes"] == {"a": 1, "phone_tail": "7765"}
    assert not [name for name in record if name.startswith("_")]


def test_no_time_is_read_from_an_order_number():
    assert read_time("M20264809640981") is None
    assert read_time("") is None


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(str.strip).filter(bool)
maybe = st.none() | words
events = st.lists(
    st.fixed_dictionaries(
        {
            "order_id": words,
            "entity": st.sampled_from(["order", "attempt", "callback", "query", "refund"]),
            "entity_id": maybe,
            "state": maybe,
            "amount_minor": st.none() | st.integers(-(10**17), 10**17),
            "currency": maybe,
            "channel": maybe,
            "occurred_at": st.none() | st.datetimes(timezones=st.just(UTC), min_value=datetime(1900, 1, 1)),  # noqa: DTZ001
            "attributes": st.none()
            | st.dictionaries(words, words | st.integers(-9, 9) | st.booleans()).map(json.dumps),
        }
    ),
    max_size=8,
)


@settings(max_examples=40)
@given(events)
def test_what_is_written_reads_back_as_the_same_events(rows):
    schema = pa.schema([ORDER_EVENTS.field(name) for name in ORDER_EVENTS.names[:9]])
    first = order_events_from_rows(pa.Table.from_pylist(rows, schema), source="b", index="orders.csv").table
    again = parse(write_orders_csv(first))
    columns = [*ORDER_EVENTS.names[:9], "_id"]
    assert again.table.select(columns).to_pylist() == first.select(columns).to_pylist()
    assert again.unparsed == 0


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_make_it_raise_and_the_counts_add_up(data, headed):
    parsed = parse(HEADER.encode() + data if headed else data)
    parsed.table.validate(full=True)
    assert parsed.table.num_rows + parsed.duplicates <= parsed.rows
    assert parsed.rows - parsed.table.num_rows - parsed.duplicates <= parsed.unparsed <= parsed.rows


@given(
    st.lists(st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)), min_size=1, max_size=5),  # noqa: DTZ001
    st.booleans(),
)
@example(moments=[datetime(2026, 3, 29, 2, 30), datetime(2026, 10, 25, 2, 30)], as_text=True)  # noqa: DTZ001
@example(moments=[datetime(2026, 10, 25, 2, 30)], as_text=False)  # noqa: DTZ001
def test_naive_times_are_placed_in_their_zone_as_python_does(moments, as_text):
    """Also in the hour that a clock skips, and in the one that comes twice."""
    zone = ZoneInfo("Europe/Berlin")
    column = pa.array([m.isoformat(" ") for m in moments]) if as_text else pa.array(moments, pa.timestamp("us"))
    times, unread = read_times(column, zone)
    assert times.to_pylist() == [m.replace(tzinfo=zone).astimezone(UTC) for m in moments]
    assert not any(unread.to_pylist())
