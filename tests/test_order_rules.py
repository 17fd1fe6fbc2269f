"""Each order rule speaks when it should and keeps silent when its guard holds."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.tables import LOGS, conform
from pipeline.evidence.order_rules import detect, lines_of, read_hints
from pipeline.faults import Thresholds, taxonomy
from pipeline.faults.rules.evaluation import evaluate
from pipeline.faults.rules.table import RULES
from pipeline.payments.health import is_healthy
from pipeline.payments.reading import read_orders
from tests.payments_samples import START, attempt, callback, case, own, paid_order, query, read, row, table

TWO_HOURS = START + timedelta(hours=2)
OPEN_ORDER = [own(0, "checkout-draft"), own(0.1, "pending")]
PAID_AT_CHANNEL = [attempt(0.2, "NOTPAY"), attempt(1, "SUCCESS")]
SECOND = "P26000000000002"
DAY = 24 * 60


def outcomes(rows, now=TWO_HOURS, hints=None):
    results = evaluate(read(*rows), now=now, thresholds=Thresholds(), logs_hint=hints)
    return {r.rule.id: r for r in results}


def adyen(rows):
    return [{**r, "channel": "adyen"} for r in rows]


def log_lines(*messages):
    columns = {
        "message": list(messages),
        "_source": ["logs"] * len(messages),
        "_id": [str(i) for i in range(len(messages))],
    }
    return conform(pa.table(columns), LOGS)


def hints_of(rows, *messages):
    return read_hints(lines_of(log_lines(*messages), read(*rows)))


# rule -> the fewest rows that break it
POSITIVE = {
    "R01": [*OPEN_ORDER, *PAID_AT_CHANNEL, query(20)],
    "R02": [own(0, "pending"), attempt(0.1, "NOTPAY"), own(1, "processing"), query(30, state="NOTPAY")],
    "R03": [own(0, "pending"), attempt(0.1, "NOTPAY"), own(15, "cancelled"), attempt(16, "SUCCESS")],
    "R04": [*paid_order(), attempt(1, "NOTPAY", SECOND), attempt(2, "SUCCESS", SECOND, channel_txn_id="4299")],
    "R05": [
        {**r, "channel": "stripe"}
        for r in (
            own(0, "pending"), attempt(0.1, "requires_capture"), attempt(5, "succeeded"), attempt(6, "succeeded", SECOND),
            own(7, "processing"),
        )
    ],
    "R06": [*OPEN_ORDER, attempt(0.2, "NOTPAY"), callback(1, amount=50), attempt(1.1, "SUCCESS", amount=50)],
    "R07": [*OPEN_ORDER, attempt(0.2, "NOTPAY"), attempt(1, "SUCCESS", currency="USD")],
    "R08": [*OPEN_ORDER, *PAID_AT_CHANNEL, query(20)],
    "R09": [*OPEN_ORDER, attempt(0.2, "NOTPAY"), callback(1, verified=False, answer=400), query(20)],
    "R10": [*OPEN_ORDER, attempt(0.2, "NOTPAY"), callback(1, answer=500), callback(2, answer=500), query(20)],
    "R11": [*OPEN_ORDER, attempt(0.2, "NOTPAY"), callback(1)],
    "R12": [*paid_order(), callback(5, state="USERPAYING"), own(5.1, "pending")],
    "R13": [*OPEN_ORDER, attempt(0.2, "NOTPAY"), {**callback(1, "P26999999999999"), "entity_id": "cb_P26000000000001"}],
    "R14": [*paid_order(), row(DAY, "refund", "R26000000000001", "PROCESSING")],
    "R15": [*paid_order(), row(30, "refund", "R26000000000001", "PROCESSING"), query(60, "R26000000000001", "SUCCESS")],
    "R16": [*paid_order(), row(30, "refund", "R26000000000001", "SUCCESS"), row(31, "refund", "R26000000000002", "SUCCESS")],
    "R17": [*OPEN_ORDER, {**attempt(0.2, "05"), "channel": "unionpay"}, {**query(20, state="03"), "channel": "unionpay"}],
    "R18": [*OPEN_ORDER, attempt(0.2, "UNKNOWN"), attempt(0.7, "NOTPAY", SECOND)],
    "R19": [
        own(0, "checkout-draft"), attempt(0.2, "NOTPAY"), own(3, "pending", amount=4500),
        attempt(3.1, "CREATE_FAILED", amount=4500, code="INVALID_REQUEST"),
    ],
    "R20": [own(0, "pending"), attempt(0.2, "USERPAYING"), own(15, "cancelled")],
    "R21": adyen([own(0, "pending"), attempt(0.2, "Received"), attempt(0.3, "Authorised")]),
    "R22": [own(0, "pending"), attempt(0.2, "NOTPAY"), own(1, "processing"), query(DAY, state="ORDER_NOT_EXIST")],
    "R23": [*OPEN_ORDER, attempt(0.2, "INIT"), query(10, state="ORDER_NOT_EXIST")],
    "R24": [*paid_order()[:2], attempt(0.2, "NOTPAY", openid="oAAA"), callback(1, openid="oBBB")],
    "R25": [*paid_order(), row(1, "order", None, "processing", shop_system="woocommerce", notify_status="failed")],
}  # fmt: skip
# rule -> rows on which the rule's guard holds
GUARDED = {
    "R01": [*OPEN_ORDER, *PAID_AT_CHANNEL, query(118)],
    "R02": [own(0, "processing"), attempt(0.1, "NOTPAY", payment_method="cod"), query(30, state="NOTPAY")],
    "R03": [
        own(0, "pending"), attempt(0.1, "NOTPAY"), own(15, "cancelled"), attempt(16, "SUCCESS"),
        row(17, "refund", "R26000000000001", "PROCESSING"),
    ],
    "R04": [*paid_order(), attempt(1, "SUCCESS", SECOND, channel_txn_id="4299", split_tender=True)],
    "R05": [
        {**r, "channel": "stripe"}
        for r in (own(0, "pending"), attempt(0.1, "requires_capture"), attempt(5, "succeeded"), own(7, "processing"))
    ],
    "R06": [*OPEN_ORDER, attempt(0.2, "NOTPAY"), callback(1, amount=4000, coupon_fee=1000)],
    "R07": [*OPEN_ORDER, attempt(0.2, "NOTPAY"), attempt(1, "SUCCESS", currency="USD", fx_quote="q1")],
    "R08": [*OPEN_ORDER, attempt(0.2, "NOTPAY", trade_type="MICROPAY"), attempt(1, "SUCCESS")],
    "R09": [
        *OPEN_ORDER, attempt(0.2, "NOTPAY"), callback(1, verified=False, signature="WECHATPAY/SIGNTEST/abc"), query(20),
    ],
    "R10": [*paid_order(), callback(0.65, answer=500), callback(0.66)],
    "R11": [*OPEN_ORDER, attempt(0.2, "NOTPAY"), callback(118)],
    "R12": [*paid_order(), callback(5, state="USERPAYING")],
    "R13": [*OPEN_ORDER, attempt(0.2, "NOTPAY"), callback(1)],
    "R14": [*paid_order(), row(60, "refund", "R26000000000001", "PROCESSING")],
    "R15": [*paid_order(), row(30, "refund", "R26000000000001", "PROCESSING"), query(60, "R26000000000001", "PROCESSING")],
    "R16": [*paid_order(), row(30, "refund", "R26000000000001", "SUCCESS"), row(31, "refund", "R26000000000002", "ABNORMAL")],
    "R17": adyen([*OPEN_ORDER, attempt(0.2, "Received"), attempt(1, "Pending", payment_method="bankTransfer_IBAN")]),
    "R18": [*OPEN_ORDER, attempt(0.2, "UNKNOWN"), attempt(5, "NOTPAY", SECOND)],
    "R19": [own(0, "pending"), attempt(0.2, "NOTPAY"), attempt(3.1, "CREATE_FAILED", code="INVALID_REQUEST")],
    "R20": [own(0, "pending"), attempt(0.2, "USERPAYING"), attempt(1, "PAYERROR"), own(15, "cancelled")],
    "R21": adyen([own(0, "pending"), attempt(0.3, "Authorised"), own(1, "processing")]),
    "R22": [*paid_order(), query(DAY)],
    "R23": [*OPEN_ORDER, attempt(0.2, "INIT"), query(0.25, state="ORDER_NOT_EXIST")],
    "R24": [
        *OPEN_ORDER, attempt(0.2, "NOTPAY", openid="oAAA"), callback(1, openid="oBBB", gift_payer=True),
    ],
    "R25": [*paid_order(), row(1, "order", None, "processing", shop_system="woocommerce", notify_status="delivered")],
}  # fmt: skip
LONG = {"R14": START + timedelta(days=8), "R21": START + timedelta(days=6, hours=12), "R22": START + timedelta(days=2)}
LONG_GUARD = {"R14": START + timedelta(days=2), "R21": LONG["R21"], "R22": LONG["R22"]}


@pytest.mark.parametrize("rule", [r.id for r in RULES])
def test_a_rule_speaks_with_its_rows_cited_in_two_languages(rule):
    answer = outcomes(POSITIVE[rule], LONG.get(rule, TWO_HOURS))[rule]
    assert answer.outcome == "found"
    assert answer.cites
    assert "SO1000001" in answer.statement.en
    assert "SO1000001" in answer.statement.zh
    assert 0 < answer.strength <= 0.95


@pytest.mark.parametrize("rule", [r.id for r in RULES])
def test_a_rule_keeps_silent_where_its_guard_holds(rule):
    assert outcomes(GUARDED[rule], LONG_GUARD.get(rule, TWO_HOURS))[rule].outcome != "found"


@pytest.mark.parametrize("rule", [r.id for r in RULES])
def test_the_order_of_the_rows_does_not_change_an_answer(rule):
    rows = POSITIVE[rule]
    now = LONG.get(rule, TWO_HOURS)
    assert outcomes(rows[::-1], now) == outcomes(rows, now)


def test_there_are_25_rules_and_each_names_a_fault_of_the_taxonomy():
    assert sorted(r.id for r in RULES) == [f"R{n:02}" for n in range(1, 26)]
    assert {(r.fault_class, r.subclass) for r in RULES} <= set(taxonomy())


@given(
    amount=st.integers(1, 10**9),
    number=st.integers(10**13, 10**14 - 1),
    delays=st.lists(st.floats(0.01, 3), min_size=5, max_size=5),
    hours=st.floats(0.5, 200),
)
def test_a_healthy_order_fires_no_rule(amount, number, delays, hours):
    name = f"P{number}"
    steps = [sum(delays[:i]) for i in range(6)]
    rows = [
        own(steps[0], "checkout-draft", amount=amount),
        own(steps[1], "pending", amount=amount),
        attempt(steps[2], "NOTPAY", name, amount=amount),
        attempt(steps[3], "SUCCESS", name, amount=amount, channel_txn_id=f"42{number}"),
        callback(steps[4], name, amount=amount),
        own(steps[5], "processing", amount=amount),
    ]
    now = START + timedelta(hours=hours)
    assert [r.rule.id for r in evaluate(read(*rows), now=now, thresholds=Thresholds()) if r.outcome == "found"] == []
    assert is_healthy(read(*rows), now)


@given(st.integers(0, 200))
def test_an_unrelated_order_changes_no_finding(n):
    mine = POSITIVE["R01"]
    other = paid_order(f"SO2{n:06}", f"P27{n:012}")
    alone = detect(case(read_orders(table(*mine)), "SO1000001"))
    together = detect(case(read_orders(table(*other, *mine)), "SO1000001"))
    assert together == alone


def test_a_symptom_names_its_cause_and_weighs_less():
    answers = outcomes(POSITIVE["R10"])
    assert answers["R10"].outcome == "found"
    assert answers["R01"].causes == ("R10",)
    assert "R10" in answers["R01"].statement.en
    assert answers["R01"].strength < answers["R10"].strength


def test_wrong_money_outweighs_the_order_that_is_rightly_held():
    answers = outcomes(POSITIVE["R06"])
    assert answers["R06"].strength > 2 * answers["R01"].strength
    assert "factor 100" in answers["R06"].statement.en


def test_a_rule_without_its_inputs_says_so_and_does_not_pass_for_healthy():
    answers = outcomes([own(0, "pending")])
    for rule in ("R01", "R02", "R04", "R09", "R11", "R13", "R17", "R22", "R23", "R24"):
        assert answers[rule].outcome == "not_evaluated", rule
        assert answers[rule].why_not is not None
    assert outcomes([attempt(0, "NOTPAY")])["R01"].outcome == "not_evaluated"


@pytest.mark.parametrize(
    ("rule", "rows", "line"),
    [
        (
            "R24",
            [*OPEN_ORDER, *PAID_AT_CHANNEL, callback(2)],
            "payer openid of SO1000001 differs from the one that ordered",
        ),
        ("R24", [*OPEN_ORDER, *PAID_AT_CHANNEL, callback(2)], "通知付款人与下单人不同，挂起 SO1000001"),
        ("R22", paid_order(), "对账：P26000000000001 不在渠道账单"),
        ("R25", paid_order(), "push of SO1000001 to ERP failed, gave up after 5 tries"),
        ("R25", paid_order(), "下游通知失败 SO1000001"),
    ],
)
def test_a_log_line_tells_what_the_order_events_lack(rule, rows, line):
    hints = hints_of(rows, line, "another line of nobody", f"{line[:0]}ERP failed for SO9999999")
    answer = outcomes(rows, hints=hints)[rule]
    assert answer.outcome == "found"
    assert answer.cites[-1].quote == line
    assert outcomes(rows)[rule].outcome == "not_evaluated"


def test_a_ticket_without_a_known_order_evaluates_nothing():
    seen = detect(case(read_orders(table(*paid_order())), "SO-elsewhere"))
    assert seen.found == ()
    assert len(seen.checks) == 25
    assert {c.outcome for c in seen.checks} == {"not_evaluated"}


def test_every_rule_is_accounted_for_once():
    seen = detect(case(read_orders(table(*POSITIVE["R04"])), "SO1000001"))
    assert sorted(c.id for c in seen.checks) == [f"order_rule.R{n:02}" for n in range(1, 26)]
    assert {c.id for c in seen.checks if c.outcome == "found"} == {
        f.kind for f in seen.found if f.kind.startswith("order_rule")
    }


@pytest.mark.parametrize(
    ("rows", "kind", "supports"),
    [
        (paid_order(), "order_state.paid_ok", "success"),
        ([*paid_order(), row(60, "refund", "R26000000000001", "SUCCESS")], "order_state.refunded", "success"),
        ([*OPEN_ORDER, attempt(0.2, "USERPAYING")], "order_state.waiting_payer", "pending"),
        (adyen([*OPEN_ORDER, attempt(0.2, "Pending")]), "order_state.processing", "pending"),
        (
            [*OPEN_ORDER, attempt(0.2, "INIT"), attempt(0.3, "CREATE_FAILED", code="SIGN_ERROR")],
            "order_state.failed",
            None,
        ),
        ([*paid_order(), row(60, "refund", "R26000000000001", "ABNORMAL")], "order_state.refund_failed", None),
    ],
)
def test_how_the_order_stands_is_a_finding(rows, kind, supports):
    seen = detect(case(read_orders(table(*rows)), "SO1000001"))
    assert [(f.kind, f.supports) for f in seen.found] == [(kind, supports)]


def test_a_good_order_says_nothing_while_another_of_the_ticket_is_not_good():
    failed = [{**r, "order_id": "SO1000002"} for r in [own(0, "pending"), attempt(0.1, "CREATE_FAILED", SECOND)]]
    seen = detect(case(read_orders(table(*paid_order(), *failed)), "SO1000001", "SO1000002"))
    assert {f.kind: f.supports for f in seen.found} == {"order_state.paid_ok": None, "order_state.failed": None}


def test_a_customer_who_has_paid_is_hardly_waiting():
    rows = table(*OPEN_ORDER, attempt(0.2, "NOTPAY"))
    quiet = detect(case(read_orders(rows), "SO1000001", said="一直显示待付款，我还没扫")).found[0]
    paid = detect(case(read_orders(rows), "SO1000001", said="付款了没到账")).found[0]
    assert paid.strength < quiet.strength
    assert "ticket says" in paid.statement.en


def test_a_query_line_confirms_that_the_channel_waits_for_the_payer():
    orders = read_orders(table(*OPEN_ORDER, attempt(0.2, "NOTPAY")))
    without = detect(case(orders, "SO1000001")).found[0]
    with_line = detect(case(orders, "SO1000001", logs=log_lines("query P26000000000001 NOTPAY"))).found[0]
    assert with_line.strength > without.strength
    assert with_line.cites[-1].kind == "log"


def test_a_slow_method_named_in_the_ticket_gives_the_attempt_its_days():
    rows = table(*OPEN_ORDER, {**attempt(0.2, "05"), "channel": "unionpay"})
    quick = detect(case(read_orders(rows), "SO1000001"))
    slow = detect(case(read_orders(rows), "SO1000001", said="I sent the bank transfer this morning"))
    assert [f.kind for f in quick.found] == ["order_rule.R17"]
    assert [f.kind for f in slow.found] == ["order_state.processing"]


def test_an_attempt_that_the_channel_was_asked_about_weighs_more_than_a_silent_one():
    asked = outcomes(POSITIVE["R17"])["R17"]
    silent = outcomes(POSITIVE["R17"][:-1])["R17"]
    assert silent.outcome == "found"
    assert asked.strength > silent.strength


# shop system -> its words for an order that waits, and for one that is paid
SHOPS = {
    "woocommerce": ("pending", "processing"),
    "jeepay": ("1", "2"),
    "medusa": ("awaiting", "completed"),
    "magento": ("pending_payment", "processing"),
    "shopify": ("PENDING", "PAID"),
    "saleor": ("new", "fully-paid"),
    "solidus": ("payment", "complete"),
    "hyperswitch": ("requires_payment_method", "succeeded"),
    "killbill": ("PURCHASE_PENDING", "PURCHASE_SUCCESS"),
    "a shop of our own": ("待支付", "已支付"),
}
# channel -> its words for an attempt that waits, and for one that is paid
CHANNELS = {
    "wechatpay": ("NOTPAY", "SUCCESS"),
    "alipay": ("WAIT_BUYER_PAY", "TRADE_SUCCESS"),
    "unionpay": ("05", "00"),
    "stripe": ("requires_confirmation", "succeeded"),
    "paypal": ("CREATED", "COMPLETED"),
    "adyen": ("Received", "Authorised"),
    "braintree": ("Authorizing", "SubmittedForSettlement"),
    "checkout": ("Pending", "Captured"),
    "square": ("PENDING", "COMPLETED"),
    "razorpay": ("created", "captured"),
    "hyperswitch": ("Pending", "Charged"),
    "mollie": ("open", "paid"),
    "mercadopago": ("in_process", "approved"),
    "payfast": ("open", "COMPLETE"),
    "a new channel": ("PENDING", "PAID"),
}


def _told_in(shop, channel, *, updated):
    waits, paid = SHOPS[shop]
    begun, taken = CHANNELS[channel]
    rows = [
        own(0, waits, shop_system=shop),
        attempt(0.2, begun),
        attempt(0.5, taken),
        callback(0.6, state=taken),
        query(20, state=taken),
        *([own(0.7, paid, shop_system=shop)] if updated else []),
    ]
    return [{**r, "channel": channel} for r in rows]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("shop", SHOPS)
def test_every_vocabulary_tells_a_good_order_from_one_that_was_not_updated(shop, channel):
    good = outcomes(_told_in(shop, channel, updated=True))
    behind = outcomes(_told_in(shop, channel, updated=False))
    assert [r for r in good if good[r].outcome == "found"] == []
    assert [r for r in behind if behind[r].outcome == "found"] == ["R01", "R11"]
