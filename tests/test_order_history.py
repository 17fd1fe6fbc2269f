"""Histories out of audit rows: what was, in the order in which it was, each state once for each time it was entered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.order_events import order_events_from_rows
from parsers.order_history import Rebuilt, lacking, rebuild_history

NOON = datetime(2026, 9, 4, 12, 0, tzinfo=UTC)
CURRENT = ("order_id", "entity", "entity_id", "state", "amount_minor", "occurred_at", "attributes")
STATES = ("NEW", "WAIT", "PAID", "DONE", "已退款")


def at(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat()


def table(rows: list[dict[str, Any]], *names: str) -> pa.Table:
    names = names or tuple(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})


def order(state: str | None = None, seconds: float | None = None, **more: str) -> dict[str, Any]:
    row: dict[str, Any] = {"order_id": "A1", "entity": "order", "entity_id": "A1", "state": state}
    return row | ({} if seconds is None else {"occurred_at": at(seconds)}) | more


def change(seconds: float, **more: str | None) -> dict[str, Any]:
    return {"order_id": "A1", "entity": "order", "entity_id": "A1", "changed_at": at(seconds), **more}


def told(built: Rebuilt) -> list[tuple[str, float | None]]:
    """State and second of each event, as the parser gives them."""
    rows = order_events_from_rows(built.rows, source="shop").table.to_pylist()
    seconds = [row["occurred_at"] and (row["occurred_at"] - NOON).total_seconds() for row in rows]
    untimed = [(row["state"], None) for row, second in zip(rows, seconds, strict=True) if second is None]
    return untimed + [(r["state"], s) for r, s in zip(rows, seconds, strict=True) if s is not None]


# ---- the shapes


@pytest.mark.parametrize(
    "rows",
    [
        [change(0, state="NEW"), change(9, state="PAID")],
        [change(0, old_state=None, new_state="NEW"), change(9, old_state="NEW", new_state="PAID")],
        [
            change(0, field="STATUS", old_value=None, new_value="NEW"),
            change(4, field="amount", old_value="1", new_value="2"),
            change(9, field="status", old_value="NEW", new_value="PAID"),
        ],
    ],
    ids=["versions", "old and new", "generic"],
)
def test_each_shape_of_audit_rows_gives_the_same_history(rows: list[dict[str, Any]]) -> None:
    built = rebuild_history(table([order("PAID", 12)]), table(rows))
    assert told(built) == [("NEW", 0), ("PAID", 9)]
    assert built.elsewhere == sum(row.get("field") == "amount" for row in rows)


def test_the_field_of_the_state_can_be_named() -> None:
    rows = [change(0, field="pay_status", old_value="0", new_value="1"), change(1, field="state", new_value="x")]
    built = rebuild_history(table([], *CURRENT), table(rows), fields=("Pay_Status",))
    assert told(built) == [("0", None), ("1", 0)]
    assert built.elsewhere == 1


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ("order_id entity entity_id changed_at state", []),
        ("order_id entity entity_id changed_at old_state new_state", []),
        ("order_id entity entity_id changed_at field new_value", []),
        ("order_id entity entity_id changed_at", ["state or new_state"]),
        ("order_id entity entity_id changed_at field", ["new_value"]),
        ("id", ["order_id", "entity", "entity_id", "changed_at", "state or new_state"]),
    ],
)
def test_what_audit_rows_lack_is_named(names: str, missing: list[str]) -> None:
    assert lacking(names.split()) == missing


# ---- what is told of what was before


def test_the_first_old_state_is_an_event_of_the_orders_creation() -> None:
    built = rebuild_history(
        table([order("PAID", 9, created_at=at(-5))]), table([change(9, old_state="NEW", new_state="PAID")])
    )
    assert told(built) == [("NEW", -5), ("PAID", 9)]
    assert built.undated == 0


@pytest.mark.parametrize("created", [None, at(10)], ids=["not known", "after the change"])
def test_a_state_of_unknown_time_gets_none(created: str | None) -> None:
    current = table([order("PAID", 9) | {"created_at": created}])
    built = rebuild_history(current, table([change(9, old_state="NEW", new_state="PAID")]))
    assert told(built) == [("NEW", None), ("PAID", 9)]
    assert built.undated == 1


def test_the_state_before_is_not_told_twice_where_the_main_query_knows_it() -> None:
    current = table([order("NEW", 0), order("PAID", 9)])
    built = rebuild_history(current, table([change(9, old_state="NEW", new_state="PAID")]))
    assert told(built) == [("NEW", 0), ("PAID", 9)]


def test_a_change_from_a_state_to_which_none_led_is_counted_and_nothing_is_invented() -> None:
    rows = [change(0, old_state="NEW", new_state="WAIT"), change(9, old_state="PAID", new_state="DONE")]
    built = rebuild_history(table([order("DONE", 9)]), table(rows))
    assert told(built) == [("NEW", None), ("WAIT", 0), ("DONE", 9)]
    assert (built.gaps, built.undated) == (1, 1)


# ---- the current row


def test_the_current_row_is_the_last_event_and_keeps_what_only_it_tells() -> None:
    current = table([order("PAID", 60, amount_minor="4500", attributes='{"customer_id":"u1"}', memo="vip")])
    audit = table([change(0, new_state="NEW", by="shop"), change(9, new_state="PAID", by="gate")])
    rows = order_events_from_rows(rebuild_history(current, audit).rows, source="shop").table.to_pylist()
    assert [(r["state"], r["amount_minor"], r["attributes"]) for r in rows] == [
        ("NEW", None, '{"by":"shop"}'),
        ("PAID", 4500, '{"by":"gate","customer_id":"u1","memo":"vip"}'),
    ]
    assert rows[1]["occurred_at"] == NOON + timedelta(seconds=9), (
        "when the state was entered, not when the row was touched"
    )


def test_attributes_of_both_are_put_together() -> None:
    current = table([order("PAID", 60, attributes='{"customer_id":"u1","by":"x"}')])
    audit = table([change(9, new_state="PAID", attributes='{"by":"gate"}')])
    rows = order_events_from_rows(rebuild_history(current, audit).rows, source="shop").table.to_pylist()
    assert [r["attributes"] for r in rows] == ['{"by":"gate","customer_id":"u1"}']


def test_a_current_state_that_the_history_does_not_end_with_stays_an_event() -> None:
    built = rebuild_history(table([order("DONE", 60)]), table([change(9, new_state="PAID")]))
    assert told(built) == [("PAID", 9), ("DONE", 60)]
    assert built.behind == 1


def test_entities_without_a_history_keep_their_rows() -> None:
    other = {**order("WAIT", 3), "entity": "attempt", "entity_id": "P1"}
    built = rebuild_history(table([order("PAID", 60), other]), table([change(9, new_state="PAID")]))
    assert told(built) == [("WAIT", 3), ("PAID", 9)]


def test_without_audit_rows_the_current_ones_are_as_they_were() -> None:
    current = table([order("PAID", 60)])
    assert rebuild_history(current, table([], "order_id", "entity", "entity_id", "changed_at", "state")).rows.equals(
        current
    )


def test_changes_of_one_second_follow_from_each_other() -> None:
    moves = [("NEW", "WAIT"), ("WAIT", "PAID"), ("PAID", "WAIT"), ("WAIT", "DONE")]
    rows = [change(5, old_state=a, new_state=b) for a, b in reversed(moves)]
    built = rebuild_history(table([order("DONE", 5)]), table([change(1, new_state="NEW"), *rows]))
    assert (built.behind, built.gaps, built.undated) == (0, 0, 0)
    states = built.rows.column("state").to_pylist()
    assert states == ["NEW", "WAIT", "PAID", "WAIT", "DONE"]


def test_a_version_that_enters_no_other_state_is_no_event() -> None:
    built = rebuild_history(table([order("PAID", 9)]), table([change(s, state="PAID", by=str(s)) for s in (1, 2, 9)]))
    assert told(built) == [("PAID", 1)]
    assert built.unchanged == 2


def test_a_time_that_cannot_be_read_is_counted_by_the_parser_and_never_last() -> None:
    rows = [change(9, new_state="PAID"), {**change(0, new_state="NEW"), "changed_at": "yesterday"}]
    built = rebuild_history(table([order("PAID", 9)]), table(rows))
    parsed = order_events_from_rows(built.rows, source="shop")
    assert (parsed.unparsed, built.behind, parsed.table.num_rows) == (1, 0, 2)


def test_times_without_an_offset_are_in_the_zone() -> None:
    row = {**change(0, new_state="PAID"), "changed_at": "2026-09-04 20:00:09"}
    built = rebuild_history(table([order("PAID", 9)]), table([row]), zone=ZoneInfo("Asia/Shanghai"))
    assert told(built) == [("PAID", 9)]


# ---- laws


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[tuple[str, str], list[str]]]:
    """Current rows and audit rows of some entities, and the states that each went through."""
    style = draw(st.sampled_from(["versions", "both", "generic"]))
    # Only old and new states tell what came first within a second.
    least = 1 if style == "versions" else 0
    current, audit, walks = [], [], {}
    for number in range(draw(st.integers(0, 4))):
        for entity in draw(st.sets(st.sampled_from(["order", "attempt"]), min_size=1)):
            key = {"order_id": f"O{number}", "entity": entity, "entity_id": f"{entity}{number}"}
            states = draw(st.lists(st.sampled_from(STATES), min_size=1, max_size=6))
            states = [s for n, s in enumerate(states) if n == 0 or s != states[n - 1]]
            steps = draw(st.lists(st.integers(least, 3), min_size=len(states), max_size=len(states)))
            second, moved = 0, set()
            for n, state in enumerate(states):
                old = states[n - 1] if n else None
                # The same move twice within a second would be a duplicate.
                second += steps[n] or int((old, state) in moved)
                moved = moved | {(old, state)} if not steps[n] else {(old, state)}
                row = {**key, "changed_at": at(second)}
                if style == "versions":
                    audit.append(row | {"state": state})
                elif style == "both":
                    audit.append(row | {"old_state": old, "new_state": state})
                else:
                    audit.append(row | {"field": "state", "old_value": old, "new_value": state})
            walks[key["order_id"], entity] = states
            current.append(key | {"state": states[-1], "occurred_at": at(second + draw(st.integers(0, 2)))})
    return current, audit, walks


def _tables(current: list[dict[str, Any]], audit: list[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    shape = ("order_id", "entity", "entity_id", "changed_at", "state")
    return table(current, *CURRENT), table(audit) if audit else table([], *shape)


@given(lives())
def test_a_rebuilt_history_holds_each_state_in_turn_and_ends_with_the_current_one(life: Any) -> None:
    current, audit, walks = life
    built = rebuild_history(*_tables(current, audit))
    assert (built.behind, built.undated, built.gaps) == (0, 0, 0)
    rows = built.rows.to_pylist()
    for (order_id, entity), states in walks.items():
        assert sorted(r["state"] for r in rows if (r["order_id"], r["entity"]) == (order_id, entity)) == sorted(states)
    for row in current:
        own = [r for r in rows if (r["order_id"], r["entity"]) == (row["order_id"], row["entity"])]
        latest = max(r["occurred_at"] for r in own)
        assert row["state"] in {r["state"] for r in own if r["occurred_at"] == latest}
        assert own[-1]["state"] == row["state"]


@given(lives(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_and_how_often_they_come_do_not_matter(life: Any, random: Any) -> None:
    current, audit, _ = life
    first = rebuild_history(*_tables(current, audit))
    again = [*audit, *random.sample(audit, len(audit) // 2)]
    random.shuffle(again)
    random.shuffle(current)
    second = rebuild_history(*_tables(current, again))
    events = [order_events_from_rows(built.rows, source="shop").table for built in (first, second)]
    by = [(name, "ascending") for name in ("order_id", "occurred_at", "_id")]
    assert events[0].sort_by(by).equals(events[1].sort_by(by))
    assert (first.events, first.behind, first.undated) == (second.events, second.behind, second.undated)


@given(lives())
def test_a_history_put_together_once_more_is_the_same(life: Any) -> None:
    current, audit, _ = life
    rows, changes = _tables(current, audit)
    once = rebuild_history(rows, changes).rows
    twice = rebuild_history(once, changes).rows
    one, other = (order_events_from_rows(t, source="shop").table.sort_by("_id") for t in (once, twice))
    assert one.equals(other)
