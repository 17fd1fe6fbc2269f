"""Patterns: what failing orders share and healthy ones do not, tested exactly, and silence where they are too few."""

from __future__ import annotations

import pytest

from pipeline.evidence.patterns import detect
from tests.flow_samples import ATTEMPT, ORDER, case_of, line, order_row, usual_lines

FAILED = [
    order_row(0, "order", ORDER, "pending"),
    order_row(0.05, "attempt", ATTEMPT, "NOTPAY"),
    order_row(0.1, "attempt", ATTEMPT, "PAYERROR"),
    order_row(0.15, "order", ORDER, "failed"),
]


def names(number, failing):
    kind = 3 if failing else 2
    return f"SO20260304{kind}0{number:04d}", f"PY20260304{kind}0{number:04d}", f"u{kind}7{number:05d}"


def other(number, *, failing=False, minutes=None, **more):
    order, attempt, customer = names(number, failing)
    at = number * 0.5 if minutes is None else minutes
    more = {"order": order, "customer": customer, **more}
    rows = [order_row(at, "order", order, "pending", **more)]
    if failing:
        return [
            *rows,
            order_row(at + 0.1, "attempt", attempt, "PAYERROR", **more),
            order_row(at + 0.2, "order", order, "failed", **more),
        ]
    called = {"out_trade_no": attempt, "verified": True, "http_answer": 200}
    return [
        *rows,
        order_row(at + 0.05, "attempt", attempt, "SUCCESS", channel_txn_id=f"4200{number:024d}", **more),
        order_row(at + 0.1, "callback", f"cb{number}", "SUCCESS", **called, **more),
        order_row(at + 0.15, "order", order, "processing", **more),
    ]


def orders(healthy=0, failing=0, *, start=0, **more):
    rows = [row for i in range(healthy) for row in other(start + i, **more)]
    return rows + [row for i in range(failing) for row in other(start + i, failing=True, **more)]


def kinds(rows, lines=(), focus=FAILED):
    return {f.kind: f for f in detect(case_of([*usual_lines(), *lines], [*focus, *rows])).found}


def test_one_failing_channel_among_healthy_ones_is_the_channels():
    found = kinds([*orders(failing=4), *orders(healthy=8, start=20, channel="alipay")])
    assert set(found) == {"pattern.channel"}
    assert found["pattern.channel"].supports == "channel_outage"
    assert "5 of its 5 orders" in found["pattern.channel"].statement.en
    assert len(found["pattern.channel"].cites) == 4


def test_several_failing_channels_are_our_side():
    found = kinds([*orders(failing=3), *orders(failing=3, start=20, channel="alipay")])
    assert found["pattern.all_channels"].supports == "internal_fault"
    assert found["pattern.all_channels"].against == ("channel_outage",)
    assert "pattern.channel" not in found


def test_a_single_failure_among_healthy_orders_speaks_against_an_outage():
    found = kinds(orders(healthy=5))
    assert set(found) == {"pattern.single"}
    assert (found["pattern.single"].supports, found["pattern.single"].against) == (None, ("channel_outage",))
    assert "5 of 5" in found["pattern.single"].statement.en


@pytest.mark.parametrize(
    "rows", [[], orders(healthy=2), orders(failing=1, start=5), orders(healthy=5, channel="alipay")]
)
def test_too_few_orders_make_no_pattern(rows):
    assert kinds(rows) == {}


def test_another_failure_of_the_channel_is_no_longer_a_single_one():
    assert kinds([*orders(healthy=5), *orders(failing=1, start=20)]) == {}


def in_state(number, attempt_state, order_state):
    """An order with an attempt that nothing final is known of, and the shop's word for it."""
    order, attempt, customer = names(number, True)
    more = {"order": order, "customer": customer}
    return [
        order_row(1, "order", order, "pending", **more),
        order_row(1.1, "attempt", attempt, attempt_state, **more),
        order_row(1.2, "order", order, order_state, **more),
    ]


@pytest.mark.parametrize("state", [("F", "processing"), ("F", "pending"), ("USERPAYING", "pending")], ids="-".join)
def test_orders_whose_outcome_is_unknown_are_neither_failing_nor_healthy(state):
    rows = [*orders(healthy=5), *(row for i in range(4) for row in in_state(50 + i, *state))]
    seen = detect(case_of(usual_lines(), [*FAILED, *rows]))
    assert "1 failing and 5 healthy orders" in seen.checks[0].statement.en


def test_a_second_attempt_under_way_leaves_the_outcome_open():
    order, attempt, customer = names(50, True)
    more = {"order": order, "customer": customer}
    first = in_state(50, "PAYERROR", "pending")
    again = order_row(2, "attempt", attempt + "9", "USERPAYING", **more)
    seen = detect(case_of(usual_lines(), [*FAILED, *orders(healthy=5), *first, again]))
    assert "1 failing and 5 healthy orders" in seen.checks[0].statement.en


def test_healthy_orders_of_another_time_are_no_comparison():
    assert kinds([row for i in range(5) for row in other(i, minutes=-60)]) == {}


def test_a_healthy_order_of_the_ticket_has_no_pattern():
    order, attempt = ORDER, ATTEMPT
    called = {"out_trade_no": attempt, "verified": True, "http_answer": 200}
    paid = [
        order_row(0, "order", order, "pending"),
        order_row(0.05, "attempt", attempt, "SUCCESS", channel_txn_id="4200000000000000000000000009"),
        order_row(0.1, "callback", "cb", "SUCCESS", **called),
        order_row(0.15, "order", order, "processing"),
    ]
    assert kinds(orders(healthy=5), focus=paid) == {}


def test_a_merchant_number_that_all_failing_orders_share_is_a_pattern():
    mine = [{**row, "attributes": row["attributes"][:-1] + ', "mchid": "1900001"}'} for row in FAILED]
    found = kinds([*orders(failing=3, mchid="1900001"), *orders(healthy=8, start=20, mchid="1900002")], focus=mine)
    assert found["pattern.merchant"].supports == "merchant_account"
    assert "4 of 4 failing orders have merchant 1900001" in found["pattern.merchant"].statement.en


def test_any_other_attribute_is_told_without_blaming_a_class():
    mine = [{**row, "attributes": row["attributes"][:-1] + ', "card_bin": "622588"}'} for row in FAILED]
    found = kinds([*orders(failing=3, card_bin="622588"), *orders(healthy=8, start=20, card_bin="411111")], focus=mine)
    assert found["pattern.attribute"].supports is None
    assert "card_bin 622588" in found["pattern.attribute"].statement.en


def test_what_healthy_orders_share_as_well_is_no_pattern():
    mine = [{**row, "attributes": row["attributes"][:-1] + ', "card_bin": "622588"}'} for row in FAILED]
    rows = [*orders(failing=3, card_bin="622588"), *orders(healthy=8, start=20, card_bin="622588")]
    assert "pattern.attribute" not in kinds(rows, focus=mine)


@pytest.mark.parametrize(("column", "kind"), [("host.name", "pattern.host"), ("service.version", "pattern.version")])
def test_a_host_or_version_that_all_failing_orders_passed_through_is_a_pattern(column, kind):
    rows = [*orders(failing=3), *orders(healthy=8, start=20)]
    lines = [line(1, f"pay {ORDER}", "own", level="INFO", **{column: "b-2"})]
    lines += [line(30 * i, f"pay {names(i, True)[0]}", f"f{i}", level="INFO", **{column: "b-2"}) for i in range(3)]
    lines += [
        line(30 * i, f"pay {names(20 + i, False)[0]}", f"h{i}", level="INFO", **{column: "a-1"}) for i in range(8)
    ]
    found = kinds(rows, lines)[kind]
    assert (found.supports, found.service, found.against) == ("internal_fault", "pay-channel", ("channel_outage",))
    assert "4 of 4" in found.statement.en
    assert {"own", "f0"} <= {c.doc_id for c in found.cites}


def test_traces_with_errors_on_one_host_of_several_are_a_pattern_without_any_order():
    lines = [
        line(
            i,
            f"step {i % 3}",
            f"t{i}",
            level="ERROR" if i % 4 == 0 else "INFO",
            **{"host.name": f"h{i % 4}", "trace.id": f"{i:032x}"},
        )
        for i in range(80)
    ]
    (found,) = detect(case_of(lines)).found
    assert (found.kind, found.host, found.supports) == ("pattern.host", "h0", "internal_fault")
    assert "20 of 20 traces" in found.statement.en
    assert len(found.cites) == 4


def test_traces_with_errors_everywhere_or_on_an_only_host_are_none():
    def lines(host):
        return [
            line(
                i,
                f"step {i % 3}",
                f"t{i}",
                level="ERROR" if i % 5 == 0 else "INFO",
                **{"host.name": host(i), "trace.id": f"{i:032x}"},
            )
            for i in range(80)
        ]

    assert detect(case_of(lines(lambda i: f"h{i % 4}"))).found == ()
    assert detect(case_of(lines(lambda _: "only"))).found == ()
