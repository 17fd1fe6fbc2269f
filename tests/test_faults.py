"""The fault tables: what a code, a state and a threshold mean."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.faults import (
    ENDED_WITHOUT_MONEY,
    NORMAL_STATES,
    OPEN,
    PAID_LIKE,
    Thresholds,
    codes,
    fault_name,
    look_up_state,
    normal_state,
    seed_class,
    tables,
    tables_sha256,
    taxonomy,
)
from pipeline.faults.tables import rows

CODES = rows("channel_codes.csv") + rows("channel_codes_by_flow.csv")
STATES = rows("order_states.csv")


def test_every_code_points_at_a_fault_of_the_taxonomy():
    strangers = {(r["fault_class"], r["fault_subclass"]) for r in CODES} - set(taxonomy())
    assert strangers == set()


def test_the_code_table_holds_only_words_that_the_types_allow():
    assert {r["retryable"] for r in CODES} <= {"yes", "no", "maybe"}
    assert {r["confidence"] for r in CODES} <= {"high", "medium", "low"}
    assert {r["meaning_from"] for r in CODES} <= {"source text", "code name"}
    assert all(r["source"] for r in CODES)


@pytest.mark.parametrize("row", CODES[:: max(1, len(CODES) // 150)], ids=lambda r: f"{r['channel']}-{r['code']}")
def test_a_code_is_found_under_its_own_channel_in_any_case(row):
    for code in (row["code"], row["code"].lower(), f"  {row['code']} "):
        fact = codes().find(row["channel"], code, row["flow"])
        assert fact is not None
        assert (fact.fault_class, fact.fault_subclass) == (row["fault_class"], row["fault_subclass"])


@pytest.mark.parametrize(
    ("channel", "code", "flow", "expected"),
    [
        ("wechatpay", "ORDERPAID", None, "order_state/already_paid"),
        ("WeChat-Pay", "ORDER_NOT_EXIST", None, "order_state/order_not_found"),
        ("wechatpay", "NOTENOUGH", "pay", "customer_decline/insufficient_funds"),
        ("wechatpay", "NOTENOUGH", "refund", "merchant_account/merchant_balance"),
        ("wechatpay", "NOTENOUGH", None, None),
        ("alipay", "ACQ.TRADE_NOT_EXIST", None, "order_state/order_not_found"),
        ("alipay", "TRADE_NOT_EXIST", None, "order_state/order_not_found"),
        ("grpc", "14", None, "internal_fault/dependency_down"),
        ("grpc", "UNAVAILABLE", None, "internal_fault/dependency_down"),
        ("http", "502", None, "interface_fault/gateway_error"),
        ("postgres", "40P01", None, "internal_fault/db_error"),
        ("mysql", "1213", None, "internal_fault/db_error"),
        ("unionpay", "64", None, "customer_decline/insufficient_funds"),
        ("unionpay", "51", None, "customer_decline/insufficient_funds"),
        ("stripe", "ACQ.TRADE_NOT_EXIST", None, None),
        ("mollie", "card_declined", None, None),
        ("", "card_declined", None, None),
        ("stripe", "", None, None),
    ],
)
def test_a_code_means_what_its_channel_and_flow_say(channel, code, flow, expected):
    fact = codes().find(channel, code, flow)
    assert (f"{fact.fault_class}/{fact.fault_subclass}" if fact else None) == expected


def test_a_code_of_another_channel_is_only_told_never_concluded():
    assert codes().find("unionpay", "card_declined") is None
    assert any(fact.channel == "stripe" for fact in codes().known_elsewhere("card_declined"))


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_makes_a_look_up_fail(channel, code):
    """Looking up a code never raises, and never answers without a channel."""
    codes().find(channel, code)
    assert codes().find("", code) is None


def test_the_seed_classes_cover_the_faults_and_nothing_else():
    none = {c for c, _ in taxonomy() if seed_class(c) is None}
    assert none == {"pending", "success", "unknown"}
    assert seed_class("rate_limit") == "interface"
    assert seed_class("merchant_account") == "configuration"
    assert seed_class("order_state") == "other"
    assert seed_class("no such class") is None


def test_every_fault_has_both_languages_and_a_first_action():
    for fault in taxonomy().values():
        assert fault.name.en
        assert fault.name.zh
        assert fault.first_action.en
        assert fault.first_action.zh
        assert fault.owner
    assert fault_name("order_state", "duplicate_charge").zh == "重复扣款"
    assert fault_name("order_state").en == taxonomy()["order_state", "already_paid"].class_name.en
    assert fault_name("novel").en == "novel"


def test_one_changed_byte_in_a_data_file_changes_the_digest(tmp_path, monkeypatch):
    for path in Path(tables.__file__).parent.glob("*.csv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(tables, "_HERE", tmp_path)
    before = tables_sha256.__wrapped__()
    changed = tmp_path / "normal_states.csv"
    changed.write_bytes(changed.read_bytes().replace(b"UNKNOWN", b"UNKNOWM"))
    assert len(before) == 64
    assert tables_sha256.__wrapped__() != before


def test_the_normal_states_are_those_of_the_file():
    assert set(NORMAL_STATES) == {r["normal_state"] for r in rows("normal_states.csv")}
    assert {r["normal_state"] for r in STATES} <= set(NORMAL_STATES)
    assert set(NORMAL_STATES) >= PAID_LIKE | OPEN | ENDED_WITHOUT_MONEY
    assert not PAID_LIKE & OPEN
    assert not OPEN & ENDED_WITHOUT_MONEY


@given(st.sampled_from(STATES), st.sampled_from(["order", "attempt", "callback", "query", "refund"]))
def test_the_case_of_a_state_does_not_matter(row, entity):
    raw = row["raw_state"]
    ways = {look_up_state(row["system"], row["system"], entity, r).state for r in (raw, raw.upper(), raw.lower())}
    assert len(ways) == 1


@given(st.text(max_size=300), st.sampled_from(["order", "attempt", "callback", "query", "refund", "odd"]))
def test_any_text_reads_as_one_of_the_normal_states(raw, entity):
    fact = look_up_state("woocommerce", "stripe", entity, raw)
    assert fact.state in NORMAL_STATES
    assert fact.known or fact.state == "UNKNOWN"


def _shop_rows():
    for row in STATES:
        if row["object"] in {"order.status", "order.state", "financial_status", "pay_order.state"}:
            yield pytest.param(
                row["system"], row["raw_state"], row["normal_state"], id=f"{row['system']}-{row['raw_state']}"
            )


@pytest.mark.parametrize(("system", "raw", "state"), list(_shop_rows()))
def test_a_shops_own_vocabulary_is_used_for_its_orders(system, raw, state):
    assert normal_state(system, "stripe", "order", raw) == state


@pytest.mark.parametrize(
    ("system", "channel", "entity", "raw", "state"),
    [
        ("woocommerce", "stripe", "order", "processing", "PAID"),
        ("jeepay", "wechatpay", "order", "1", "PROCESSING"),
        (None, "wechatpay", "attempt", "SUCCESS", "PAID"),
        (None, "wechatpay_v3", "refund", "SUCCESS", "REFUNDED"),
        (None, "wechatpay", "refund", "PROCESSING", "REFUND_PENDING"),
        (None, "wechatpay", "attempt", "PROCESSING", "PROCESSING"),
        (None, "paypal", "attempt", "CREATED", "AWAITING_PAYMENT"),
        (None, "paypal", "attempt", "PENDING", "PROCESSING"),
        (None, "paypal", "refund", "PENDING", "REFUND_PENDING"),
        (None, "stripe", "attempt", "succeeded", "PAID"),
        (None, "stripe", "refund", "INIT", "REFUND_PENDING"),
        (None, "adyen", "callback", "Authorised", "AUTHORIZED"),
        (None, "unionpay", "query", "05", "PROCESSING"),
        (None, "unionpay", "attempt", "51", "FAILED"),
        (None, "alipay", "query", "TRADE_NOT_EXIST", "UNKNOWN"),
        (None, "alipay", "refund", "REFUND_SUCCESS", "REFUNDED"),
        (None, "newpay", "attempt", "INIT", "CREATED"),
        (None, "newpay", "attempt", "CREATE_FAILED", "FAILED"),
        (None, "newpay", "attempt", "APPROVED", "PAID"),
        (None, "newpay", "attempt", "in_process", "PROCESSING"),
        (None, "newpay", "attempt", "open", "AWAITING_PAYMENT"),
        (None, "newpay", "attempt", "PartiallyRefunded", "PARTIALLY_REFUNDED"),
        (None, "newpay", "attempt", "unsuccessful", "FAILED"),
        (None, "newpay", "refund", "approved", "REFUNDED"),
        (None, "newpay", "refund", "rejected", "REFUND_FAILED"),
        ("ourshop", None, "order", "已支付", "PAID"),
        ("ourshop", None, "order", "待支付", "AWAITING_PAYMENT"),
        ("ourshop", None, "order", "支付未成功", "FAILED"),
        ("ourshop", None, "order", "超时关闭", "CLOSED"),
        ("ourshop", None, "order", "Payment accepted", "PAID"),
        ("ourshop", None, "order", "zzz", "UNKNOWN"),
        ("shopify", None, "order", "UNFULFILLED", "UNKNOWN"),
    ],
)
def test_a_raw_state_reads_as_its_speaker_means_it(system, channel, entity, raw, state):
    assert normal_state(system, channel, entity, raw) == state


def test_a_state_that_nothing_explains_is_told_apart_from_one_that_means_unknown():
    assert not look_up_state(None, "newpay", "attempt", "zzz").known
    assert look_up_state(None, "newpay", "attempt", "UNKNOWN").known
    assert look_up_state(None, "alipay", "query", "ACQ.TRADE_NOT_EXIST").not_found


def test_thresholds_are_read_by_their_names_in_the_rules():
    read = msgspec.toml.decode(b"T_sync = 60.0\nT_auth = 432000", type=Thresholds)
    assert read.t_sync == 60
    assert read.t_auth == 432_000
    assert read.t_cb == Thresholds().t_cb


@pytest.mark.parametrize("text", [b"T_synk = 1.0", b"t_sync = 1.0", b"T_sync = -1.0", b'T_sync = "soon"'])
def test_a_wrong_threshold_is_refused(text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.toml.decode(text, type=Thresholds)


def test_the_data_files_are_plain_csv_with_equal_columns():
    folder = Path(__file__).parent.parent / "pipeline" / "faults"
    for path in folder.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            widths = {len(row) for row in csv.reader(file)}
        assert len(widths) == 1, path.name
