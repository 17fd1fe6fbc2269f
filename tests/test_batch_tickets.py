"""Tickets out of files of every form, bundles and stores: what is read is what `take` would read, and what is no ticket is told."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batching.plan import Planned, Unit, make_plan, read_plan, units
from pipeline.batching.results import Entry, Folder, Journal
from pipeline.batching.tickets import ELEMENT_BYTES, Given, read_given
from pipeline.errors import UsageError
from pipeline.tickets.file import read_ticket
from pipeline.values import Ticket
from snapshots.store import Store
from tests.flow_samples import EXAMPLES, NAMES, START, taken, ticket_json

ROWS = [
    ticket_json(id="T-1", questionnaire={"app_version": "4.1", "operation_steps": ["open", "pay"]}),
    ticket_json(id="T-2", title="付款失败", description="订单 SO20260304100001 付款失败", system="zendesk"),
    ticket_json(id="T-3", shop="北店", created_at="2026-03-04 10:20 +08:00"),
]


def as_take_reads(rows: list[dict[str, Any]]) -> list[Ticket]:
    return [read_ticket(json.dumps(row).encode(), "ticket.json") for row in rows]


def read(path: Path | str, **more: Any) -> list[Given]:
    return list(read_given(str(path), more.get("bundle"), str(more.get("store", "unused")), more.get("note", str)))


def tickets(found: list[Given]) -> list[Ticket | None]:
    assert not [one.reason for one in found if one.reason]
    return [one.ticket for one in found]


def csv_bytes(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    flat = [{**{k: v for k, v in row.items() if k != "customer"}, "customer.id": row["customer"]["id"]} for row in rows]
    flat = [{k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()} for row in flat]
    names = list(dict.fromkeys(name for row in flat for name in row))
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().encode("utf-8-sig")


def test_lines_csv_and_parquet_give_the_tickets_that_take_would_read(tmp_path: Path):
    """A customer in a column of its own, an object as JSON in a cell, other columns as further fields."""
    wanted = as_take_reads(ROWS)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "a.csv").write_bytes(csv_bytes(ROWS))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(csv_bytes(ROWS)))
    pq.write_table(
        pa.Table.from_pylist([{"shop": None, "system": None, **row} for row in ROWS]), tmp_path / "a.parquet"
    )
    for name in ("a.jsonl", "a.ndjson.gz", "a.csv", "a.csv.gz"):
        assert tickets(read(tmp_path / name)) == wanted, name
    # A column of objects has every key in every row.
    found = tickets(read(tmp_path / "a.parquet"))
    assert [one and (one.id, one.title, one.created_at, one.customer_id, one.system) for one in found] == [
        (one.id, one.title, one.created_at, one.customer_id, one.system) for one in wanted
    ]


def test_times_of_a_parquet_file_keep_their_zone(tmp_path: Path):
    """A timestamp with a zone has its offset; one without is taken as UTC, which is told."""
    at = datetime(2026, 3, 4, 2, 20, tzinfo=UTC)
    rows = {"id": ["A"], "title": ["Payment failed"]}
    for kind in (pa.timestamp("us", tz="Asia/Shanghai"), pa.timestamp("ns", tz="UTC"), pa.timestamp("ms")):
        moment = at if kind.tz else at.replace(tzinfo=None)
        table = pa.table({**rows, "created_at": pa.array([moment], kind)})
        pq.write_table(table, tmp_path / "a.parquet")
        notes: list[str] = []
        (ticket,) = tickets(read(tmp_path / "a.parquet", note=notes.append))
        assert ticket is not None
        assert ticket.created_at == at
        assert ticket.created_at.utcoffset() == timedelta(hours=8 if kind.tz == "Asia/Shanghai" else 0)
        assert bool(notes) is (kind.tz is None)


def test_a_line_that_is_no_ticket_is_given_with_its_reason_and_no_more_of_it_than_is_kept(tmp_path: Path):
    long = json.dumps({"id": "L", "text": "x" * (2 * ELEMENT_BYTES)})
    (tmp_path / "a.jsonl").write_text(f"{{\n[]\n{long}\n", "utf-8")
    broken, no_object, no_time = read(tmp_path / "a.jsonl")
    assert "is not JSON" in broken.reason
    assert broken.element == "{"
    assert "expected a JSON object" in no_object.reason
    assert no_time.error == "UsageError"
    assert no_time.element.endswith(f"… ({len(long):,} bytes in all)")
    (tmp_path / "b.csv").write_text("id,created_at,title\nA,2026-03-04T10:00:00Z,x,y\n", "utf-8")
    (many,) = read(tmp_path / "b.csv")
    assert "has 4 values" in many.reason


def test_a_line_longer_than_any_ticket_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without reading it whole."""
    monkeypatch.setattr("pipeline.batching.tickets.MAX_BYTES", 1000)
    (tmp_path / "a.jsonl").write_text("x" * 3500 + "\n" + json.dumps(ROWS[0]) + "\n", "utf-8")
    long, good = read(tmp_path / "a.jsonl")
    assert "is longer than" in long.reason
    assert good.ticket is not None
    assert good.name == "a.jsonl, line 2"


def test_what_is_no_place_of_tickets_is_refused_with_what_would_be(tmp_path: Path):
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    (tmp_path / "b.csv").write_text("number,when\n1,2\n", "utf-8")
    (tmp_path / "c.csv").write_bytes("id,created_at,title\n1,2026-03-04T10:00:00Z,付款".encode("gbk"))
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    (tmp_path / "e.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "empty").mkdir()
    for name, told in (
        ("a.xlsx", "ends in .jsonl"),
        ("b.csv", "needs the columns id, created_at"),
        ("c.csv", "save it as CSV UTF-8"),
        ("d.parquet", "cannot be read"),
        ("e.jsonl.gz", "cannot be read"),
        ("empty", "holds no bundle"),
        ("absent", "no such file or folder"),
    ):
        with pytest.raises(UsageError, match=told):
            read(tmp_path / name)


def test_a_folder_of_bundles_gives_each_with_its_records():
    found = read(EXAMPLES)
    assert [one.ticket and one.ticket.id for one in found] == list(NAMES)
    assert [one.bundle for one in found] == [EXAMPLES / name for name in NAMES]
    (alone,) = read(EXAMPLES / NAMES[0])
    assert alone.bundle == EXAMPLES / NAMES[0]


def test_a_store_gives_each_ticket_once_the_oldest_first(tmp_path: Path):
    """A damaged document is an element with a reason."""
    store = Store(tmp_path / "store")
    for name in NAMES:
        store.put(taken(name))
    folder = tmp_path / "store" / "snapshots" / "T-9"
    folder.mkdir()
    (folder / "ps-1.json").write_text("{", "utf-8")
    damaged, *found = read("store", store=tmp_path / "store")
    assert "damaged" in damaged.reason
    assert sorted(one.ticket.id for one in found if one.ticket) == sorted(NAMES)
    times = [one.ticket.created_at for one in found if one.ticket]
    assert times == sorted(times)
    assert [one.name for one in read(tmp_path / "store")] == [one.name for one in [damaged, *found]]


# ---- the plan


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MINUTES = st.integers(-14 * 60, 14 * 60)
TICKETS = st.builds(
    Ticket,
    id=st.text(min_size=1),
    title=st.text(),
    description=st.text(),
    created_at=st.builds(
        lambda at, minutes: at.replace(tzinfo=timezone(timedelta(minutes=minutes))),
        st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1)),  # noqa: DTZ001 - the offset is put on above
        MINUTES,
    ),
    questionnaire=st.dictionaries(st.text(), JSON, max_size=3),
    custom_fields=st.dictionaries(st.text(), JSON, max_size=3),
)


@given(TICKETS)
def test_a_ticket_comes_out_of_the_plan_as_it_went_in(ticket: Ticket):
    """Its offset, too: it is the zone of the ticket's words."""
    line = msgspec.json.encode(Planned(number=1, name="n", ticket=ticket))
    again = msgspec.json.decode(line, type=Planned).ticket
    assert again == ticket
    assert again.created_at.utcoffset() == ticket.created_at.utcoffset()


def planned(tmp_path: Path, given: list[Given]) -> Folder:
    folder = Folder(tmp_path / "run")
    folder.make()
    make_plan(given, folder, tickets="t", made={}, notes=[])
    return folder


@given(count=st.integers(1, 200), jobs=st.integers(1, 8), most=st.integers(1, 40))
def test_the_units_of_a_plan_hold_each_ticket_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, count: int, jobs: int, most: int
):
    some = [Given(f"desk, ticket T{n}", Ticket(f"T{n}", "t" * n, "付款", START)) for n in range(count)]
    folder = planned(tmp_path_factory.mktemp("plan"), list(some))
    parts = units(folder, count, jobs, most)
    assert [one.ticket.id for unit in parts for one in unit] == [f"T{n}" for n in range(count)]
    assert sum(unit.tickets for unit in parts) == count
    assert max(unit.tickets for unit in parts) <= most
    assert len(parts) >= min(count, jobs)


def test_a_ticket_that_json_cannot_hold_is_a_dead_letter(tmp_path: Path):
    """Half a surrogate pair, a time with seconds in its offset, an object that is no JSON."""
    odd = timezone(timedelta(hours=8, minutes=5, seconds=43))
    some = [
        Ticket("good", "t", "", START),
        Ticket("bad-1", "t", "\ud800", START),
        Ticket("bad-2", "t", "", START, custom_fields={"x": object()}),
        Ticket("bad-3", "t", "", datetime(1890, 1, 1, tzinfo=odd)),
    ]
    folder = planned(tmp_path, [Given(f"desk, ticket {one.id}", one) for one in some])
    head = read_plan(folder)
    assert head is not None
    assert head.given == 4
    assert head.planned + head.rejected == 4
    assert head.rejected >= 2
    assert folder.gather_letters() == head.rejected
    names = [json.loads(line)["name"] for line in folder.dead.read_text("utf-8").splitlines()]
    assert names[:2] == ["desk, ticket bad-1", "desk, ticket bad-2"]


def test_a_plan_that_was_not_finished_is_none(tmp_path: Path):
    """The head comes last."""
    folder = Folder(tmp_path / "run")
    folder.make()

    def broken() -> Any:
        yield Given("a", Ticket("a", "t", "", START))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_plan(broken(), folder, tickets="t", made={}, notes=[])
    assert read_plan(folder) is None
    assert not folder.plan.exists()


def test_a_line_of_the_journal_that_a_kill_cut_off_is_none(tmp_path: Path):
    """And of two lines about one element the first counts."""
    folder = Folder(tmp_path / "run")
    folder.make()
    journal = Journal(folder)
    for number in (1, 2, 1):
        journal.add(Entry(number=number, ticket=f"T{number}", document="d", day="2026-03-04", state="taken"))
    journal.close()
    (path,) = folder.journal.iterdir()
    path.write_bytes(path.read_bytes() + b'{"number": 3, "tick')
    assert [entry.number for entry in folder.entries()] == [1, 2]


def test_a_unit_is_small_wherever_it_goes():
    """What an engine hands out is a name and two offsets."""
    import pickle

    assert len(pickle.dumps(Unit("/a/run/work/plan.jsonl", 0, 10**9, 32))) < 200
