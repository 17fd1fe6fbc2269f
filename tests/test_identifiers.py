"""Promises of parsers.identifiers."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.identifiers import KINDS, read_identifiers, tokens_like, values_in

TRACE = "a4eeb24e3f4f8f181a8d616217703229"


def pairs(text: str) -> list[tuple[str, str]]:
    return [(kind, value) for kind, value, _ in read_identifiers(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Order M20269910678674.", [("order_id", "M20269910678674")]),
        ("order #1042", [("order_id", "1042")]),
        ("Order no. 10042 and 10043", [("order_id", "10042"), ("order_id", "10043")]),
        ("订单号 SO20261180630727。", [("order_id", "SO20261180630727")]),
        ("单号：Ｍ２０２６５４６５", [("order_id", "M20265465")]),
        ("订单 A1001、A1002 和 A1003 都失败", [("order_id", "A1001"), ("order_id", "A1002"), ("order_id", "A1003")]),
        ("order 3f2504e0-4f89-11d3-9a0c-0305e82c3301", [("order_id", "3f2504e0-4f89-11d3-9a0c-0305e82c3301")]),
        ("流水号 420001435970746917423272764", [("channel_txn_id", "420001435970746917423272764")]),
        ("trade no 2026199877847935744427750815", [("channel_txn_id", "2026199877847935744427750815")]),
        ("2026199877847935744427750815 没到账", [("channel_txn_id", "2026199877847935744427750815")]),
        ("PayPal 5TY05013RG002845M", [("channel_txn_id", "5TY05013RG002845M")]),
        (
            "ch_3Q2Fj9r6OW5Dky63z1 re_3Q2Fj9r6OW5Dky63",
            [("channel_txn_id", "ch_3Q2Fj9r6OW5Dky63z1"), ("refund_id", "re_3Q2Fj9r6OW5Dky63")],
        ),
        ("商户单号 PY26698247539818", [("out_trade_no", "PY26698247539818")]),
        ("退款单号 50300000012026112312345678", [("refund_id", "50300000012026112312345678")]),
        (f"trace id {TRACE}", [("trace_id", TRACE)]),
        (f"see {TRACE}", [("trace_id", TRACE)]),
        (f"00-{TRACE}-00f067aa0ba902b7-01", [("trace_id", TRACE)]),
        ("会员编号 u8438534。", [("customer_id", "u8438534")]),
        ("Account id u5543359.", [("customer_id", "u5543359")]),
        ("下单手机号 17882191208，大概 14:25", [("phone", "17882191208"), ("phone_tail", "1208")]),
        ("My phone is 182 6535 4057, it was", [("phone", "18265354057"), ("phone_tail", "4057")]),
        ("call +1 415 555 2671", [("phone", "+14155552671"), ("phone_tail", "2671")]),
        ("手机尾号 1928", [("phone_tail", "1928")]),
        ("phone ending in 4057", [("phone_tail", "4057")]),
        ("设备号 ABCD-1234-EFGH", [("device", "ABCD-1234-EFGH")]),
    ],
)
def test_cues_and_shapes_give_kind_and_value(text: str, expected: list[tuple[str, str]]) -> None:
    assert pairs(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a 25 dollar item for 1999 CNY",
        "ordered on 2026-11-23 10:02:31",
        "order 2026-11-23",
        "order 3 times",
        "Order of 100 dollars",
        "SM-G9910 iPhone15,3 M2012K11AC OPPO Find X6 Android 14",
        "version 4.14.1",
        "card ending in 4242",
        "银行卡尾号 4242",
        "提示 500 错误",
        "4242 4242 4242 4242",
        "11010519900307123X",
        "account was charged twice",
        "at 20261123100231",
        "epoch 1795430000000",
        "orders remain unpaid since 2026",
        "用户申请提现，后台打款都是失败状态",
        "第3点 满100减10",
    ],
)
def test_amounts_dates_versions_models_and_cards_are_no_identifiers(text: str) -> None:
    assert pairs(text) == []


def test_the_users_own_patterns_come_first_and_use_their_group() -> None:
    found = read_identifiers("ref~77-A and order #1042", patterns={"out_trade_no": [r"ref~(\S+)"]}, found_in="title")
    assert found == [("out_trade_no", "77-A", "title"), ("order_id", "1042", "title")]


@pytest.mark.parametrize(("patterns", "word"), [({"colour": ["x"]}, "colour"), ({"device": ["(?=x)"]}, "RE2")])
def test_a_wrong_pattern_or_kind_is_named(patterns: dict[str, list[str]], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        read_identifiers("x", patterns=patterns)


@given(st.text(max_size=60))
def test_any_text_gives_known_kinds_each_once(text: str) -> None:
    found = read_identifiers(text)
    assert len(found) == len(set(found))
    assert all(kind in KINDS and value for kind, value, _ in found)


def test_values_are_found_as_whole_tokens_only() -> None:
    lines = pa.array(["id=123,", "91234", "A123", "订单123已付", "123", None, "x_123-4", "1.5 (a+b)"])
    assert values_in(lines, ["123"]).to_pylist() == [True, False, False, True, True, False, True, False]
    assert values_in(lines, ["a+b", ""]).to_pylist()[-1] is True
    assert not any(values_in(lines, []).to_pylist())


@given(
    st.lists(st.from_regex(r"[a-c0-3 ,]{0,12}", fullmatch=True)),
    st.lists(st.from_regex(r"[a-c0-3]{1,3}", fullmatch=True)),
)
def test_values_in_agrees_with_splitting_into_tokens(lines: list[str], values: list[str]) -> None:
    expected = [bool(set(line.replace(",", " ").split()) & set(values)) for line in lines]
    assert values_in(pa.array(lines, pa.string()), values).to_pylist() == expected


@pytest.mark.alone
def test_two_hundred_values_over_a_hundred_thousand_lines_take_under_two_seconds() -> None:
    lines = pa.array([f"2026-09-04 22:58:07.739 INFO 订单 SO2026{n:010d} 置为已支付" for n in range(100_000)])
    start = time.perf_counter()
    found = values_in(lines, [f"SO2026{n * 7:010d}" for n in range(200)])
    assert time.perf_counter() - start < 2
    assert sum(found.to_pylist()) == 200


def test_tokens_are_extracted_with_their_row_and_kind() -> None:
    uuid = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
    lines = pa.chunked_array(
        [[f"TraceID: {TRACE} SO20265958286236", None], [f"[{uuid}] 5TY05013RG002845M 420001435970746917423272764", "x"]]
    )
    found = tokens_like(lines, ["trace_id", "order_id", "channel_txn_id"]).to_pylist()
    assert [(r["row"], r["kind"], r["value"]) for r in found] == [
        (0, "order_id", "SO20265958286236"),
        (0, "trace_id", TRACE),
        (2, "channel_txn_id", "5TY05013RG002845M"),
        (2, "channel_txn_id", "420001435970746917423272764"),
        (2, "order_id", uuid),
    ]
    assert tokens_like(pa.array([], pa.string()), ["trace_id"]).num_rows == 0
    with pytest.raises(ValueError, match="device"):
        tokens_like(lines, ["device"])
