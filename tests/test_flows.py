"""Which lines are about which order: by label, by name, by trace; and nobody's where two could claim them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evidence import detect
from pipeline.flows import follow, names_of
from tests.flow_samples import ATTEMPT, ORDER, case_of, line, order_row, usual_lines
from tests.test_patterns import names, orders

FAILED = [order_row(0, "order", ORDER, "pending"), order_row(0.1, "attempt", ATTEMPT, "PAYERROR")]


def owners(lines, healthy=2):
    case = case_of(lines, [*FAILED, *orders(healthy=healthy)])
    followed = follow(case.material.logs, list(case.orders.values()))
    ids = case.material.logs.column("_id").to_pylist()
    return {
        i: followed.orders[o].order_id if o >= 0 else None for i, o in zip(ids, followed.owner.tolist(), strict=True)
    }


def test_a_line_is_about_the_order_of_its_label_its_words_or_its_trace():
    lines = [
        line(1, "step one", "label", **{"labels.order_id": ORDER}),
        line(2, f"pay {ATTEMPT}", "words", **{"trace.id": "c" * 32}),
        line(3, "step two", "trace", **{"trace.id": "c" * 32}),
        line(4, "step three", "nobody", **{"trace.id": "d" * 32}),
    ]
    assert owners(lines) == {"label": ORDER, "words": ORDER, "trace": ORDER, "nobody": None}


def test_a_batch_that_names_two_orders_is_about_neither():
    other = names(0, False)[0]
    lines = [
        line(1, f"queried {ORDER} and {other}", "both", **{"trace.id": "e" * 32}),
        line(2, "batch done", "rest", **{"trace.id": "e" * 32}),
    ]
    assert owners(lines) == {"both": None, "rest": None}


def test_a_name_inside_another_is_not_that_order():
    assert owners([line(1, f"x{ORDER}9 seen", "a"), line(2, f"q_{ATTEMPT} asked", "b")]) == {"a": None, "b": ORDER}


def test_short_names_are_no_names():
    case = case_of([], [order_row(0, "order", "42", "pending", order="42")])
    assert names_of(case.orders["42"]) == frozenset()


@given(st.permutations(range(12)))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_lines_does_not_matter(order):
    lines = [
        line(
            i, f"pay {names(i % 3, False)[1]} step {i}" if i % 2 else "quiet", f"l{i}", **{"trace.id": f"{i // 4:032x}"}
        )
        for i in range(12)
    ]
    assert owners([lines[i] for i in order], 3) == owners(lines, 3)


nothing = st.sampled_from(["@timestamp", "service.name", "log.level", "message", "body", "_id"])


@given(
    st.lists(st.sets(nothing), min_size=1, max_size=12),
    st.sets(st.sampled_from(["channel", "occurred_at", "amount_minor"])),
)
@settings(max_examples=40, deadline=None)
def test_no_detector_minds_what_is_absent(absent, of_events):
    """Lines of callbacks, changes, retries and exceptions with any of their fields null, and order events likewise."""
    words = (
        f"webhook of {ATTEMPT} discarded",
        "config changed 2h ago",
        f"retry {ORDER}",
        f"NullPointerException: {ORDER}",
    )
    lines = [
        {k: None if k in gone else v for k, v in line(i, words[i % 4], f"l{i}", **{"host.name": f"h{i % 2}"}).items()}
        for i, gone in enumerate(absent)
    ]
    rows = [
        {k: None if k in of_events else v for k, v in row.items()} for row in (*FAILED, *orders(healthy=5, failing=2))
    ]
    seen = detect(case_of([*usual_lines(), *lines], rows))
    assert all(found.statement.en and found.statement.zh for found in seen.found)
    assert all(0 <= found.strength <= 1 for found in seen.found)
