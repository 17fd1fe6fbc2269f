"""The orders source: every promise on SQLite, and the same on real PostgreSQL and MariaDB servers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy
from sqlalchemy.pool import NullPool

from parsers.order_events import canonical_order_event, parse_orders_csv, read_times
from parsers.tables import ORDER_EVENTS
from pipeline.errors import SourceBroken, SourceError, SourceRefused, SourceUnavailable
from pipeline.sources.orders.options import Options
from pipeline.sources.orders.source import OrdersSource
from pipeline.sources.orders.texts import as_text
from pipeline.values import Ask, Fetched, Pointer, Span
from snapshots.model import canonical_json
from tests.load import load_bundle_into_mariadb, load_bundle_into_postgresql, load_bundle_into_sqlite

NOON = datetime(2026, 9, 4, 12, 0, tzinfo=UTC)
HOUR = Span(NOON, NOON + timedelta(hours=1))
LONG_AGO = Span(NOON - timedelta(days=99), NOON - timedelta(days=98))
SECRET = "s3cret-Pa55"
HEAD = "order_id,entity,entity_id,state,amount_minor,currency,channel,occurred_at,attributes"
BASIC = "SELECT order_id, entity, entity_id, state, occurred_at FROM order_events"


LOADERS = {
    "sqlite": load_bundle_into_sqlite,
    "postgresql": load_bundle_into_postgresql,
    "mariadb": load_bundle_into_mariadb,
}
# A time without a zone.
NAIVE = {"sqlite": "timestamp", "postgresql": "timestamp", "mariadb": "datetime"}
OPENED: list[OrdersSource] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """What a test opened is closed at its end."""
    yield
    while OPENED:
        OPENED.pop().close()


def opened(url: str, **options: Any) -> OrdersSource:
    OPENED.append(OrdersSource("shop", Options(url=url, **options)))
    return OPENED[-1]


def history(number: int, minute: float = 0) -> list[str]:
    """The four events of one order, in rows as `orders.csv` has them; offsets take turns."""
    order, payment = f"SO{number:04d}", f"PY{number:04d}"
    who = json.dumps({"customer_id": f"u{number}", "phone_tail": f"{number:04d}"}).replace('"', '""')
    start = NOON + timedelta(minutes=minute)

    def row(entity: str, own: str, state: str, seconds: float, attributes: str) -> str:
        moment = (start + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
        if number % 2:
            east = datetime.fromisoformat(moment) + timedelta(hours=8)
            moment = east.replace(tzinfo=None).isoformat(timespec="milliseconds") + "+08:00"
        return f'{order},{entity},{own},{state},{number}00,CNY,alipay,{moment},"{attributes}"'

    return [
        row("order", order, "pending", 0, who),
        row("attempt", payment, "WAIT_BUYER_PAY", 1, "{}"),
        row("attempt", payment, "TRADE_SUCCESS", 60, f'{{""channel_txn_id"": ""TX{number}""}}'),
        row("order", order, "processing", 61, who),
    ]


class Database:
    """One database of one kind, with `order_events` filled from CSV rows."""

    def __init__(self, kind: str, url: str, folder: Path) -> None:
        self.kind, self.url, self.folder = kind, url, folder

    def fill(self, rows: list[str]) -> None:
        (self.folder / "orders.csv").write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
        LOADERS[self.kind](self.url, self.folder)

    def run(self, *statements: str) -> None:
        engine = sqlalchemy.create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def source(self, **options: Any) -> OrdersSource:
        return opened(self.url, **options)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return Database("sqlite", f"sqlite:///{tmp_path / 'shop orders.db'}", tmp_path)
    own = Database(request.param, request.getfixturevalue(f"{request.param}_url"), tmp_path)
    own.run("DROP TABLE IF EXISTS order_events")
    return own


def ask(source: OrdersSource, window: Span = HOUR, limit: int = 200_000, seconds: float = 30, **ids: Any) -> Fetched:
    fetched = source.fetch(Ask("order_events", window, ids, limit=limit, deadline=time.monotonic() + seconds))
    row = fetched.coverage
    assert row.used == fetched.table.num_rows
    assert row.matched is None or row.matched == row.fetched + row.cut
    assert fetched.table.schema == ORDER_EVENTS
    return fetched


def orders(fetched: Fetched) -> set[str]:
    return set(fetched.table.column("order_id").to_pylist())


def without_place(table: Any) -> Any:
    """What is the same wherever a history is kept."""
    return table.select([name for name in table.column_names if name not in {"_index", "log.file.path"}])


# ---- what is read


def test_a_database_gives_what_the_bundle_gives(database: Database, cases: Path) -> None:
    for bundle in sorted(cases.iterdir())[:12]:
        if not (bundle / "orders.csv").exists():
            continue
        LOADERS[database.kind](database.url, bundle)
        own = parse_orders_csv((bundle / "orders.csv").read_bytes(), source="shop", file="orders.csv").table
        wide = Span(NOON - timedelta(days=900), NOON + timedelta(days=900))
        fetched = ask(database.source(), wide)
        by = [("occurred_at", "ascending"), ("_id", "ascending")]
        assert without_place(fetched.table).sort_by(by).equals(without_place(own).sort_by(by)), bundle.name
        assert set(fetched.table.column("_index").to_pylist()) <= {"orders"}


def test_orders_that_moved_in_the_window_come_with_their_whole_history(database: Database) -> None:
    database.fill([row for n in range(5) for row in history(n, minute=59.5 + n)])
    fetched = ask(database.source())
    assert orders(fetched) == {"SO0000"}
    assert fetched.coverage.matched == 4
    assert fetched.coverage.notes == ["2 rows of those orders lie outside the window and are kept"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("order_id", "SO0003"),
        ("order_id", "PY0003"),
        ("out_trade_no", "PY0003"),
        ("channel_txn_id", "TX3"),
        ("customer_id", "u3"),
        ("phone_tail", "0003"),
        ("phone", "13800000003"),
    ],
)
def test_any_identifier_finds_its_order(database: Database, kind: str, value: str) -> None:
    database.fill([row for n in range(9) for row in history(n)])
    fetched = ask(database.source(), LONG_AGO, **{kind: (value,)})
    assert orders(fetched) == {"SO0003"}
    assert (fetched.coverage.used, fetched.coverage.fetched) == (4, 4), (
        "each row once, however many of them it is found by"
    )
    assert value not in fetched.coverage.asked


def test_an_identifier_is_a_value_and_never_sql(database: Database) -> None:
    database.fill(history(1))
    for nasty in ("') OR 1=1 --", "'; DROP TABLE order_events; --", "%", "\\", "订单\x7f", "x" * 10_000):
        assert ask(database.source(), LONG_AGO, order_id=(nasty,), customer_id=(nasty,)).coverage.status == "empty"
    assert ask(database.source()).coverage.used == 4


def test_a_limit_cuts_between_orders_and_the_named_ones_come_first(database: Database) -> None:
    database.fill([row for n in range(10) for row in history(n, minute=n)])
    fetched = ask(database.source(), limit=14, order_id=("SO0005",))
    assert orders(fetched) == {"SO0005", "SO0009", "SO0008"}, "after the named one those that moved last"
    row = fetched.coverage
    assert (row.matched, row.fetched, row.cut, row.sampled, row.status) == (40, 12, 28, True, "ok")


def test_without_the_rest_only_the_named_orders_come(database: Database) -> None:
    database.fill([row for n in range(10) for row in history(n, minute=n)])
    source = database.source()
    for limit, expected in ((100, (8, 8, 0)), (6, (8, 4, 4))):
        fetched = source.fetch(Ask("order_events", HOUR, {"order_id": ("SO0005", "SO0006")}, limit=limit, rest=False))
        row = fetched.coverage
        assert (row.matched, row.fetched, row.cut) == expected


def test_no_row_is_empty_not_failed(database: Database) -> None:
    database.fill(history(1))
    fetched = ask(database.source(), LONG_AGO)
    assert (fetched.coverage.status, fetched.coverage.matched) == ("empty", 0)
    assert fetched.coverage.notes == ["no order of the ticket and none in the window"]


def test_an_own_query_uses_the_names_of_the_users_tables(database: Database) -> None:
    database.run(
        "DROP TABLE IF EXISTS t_order",
        f"CREATE TABLE t_order (no text, buyer text, st text, fee numeric(12,2), at {NAIVE[database.kind]}, memo text)",
        "INSERT INTO t_order VALUES ('A1', 'u1', 'PAID', 4500.00, '2026-09-04 20:30:00', 'vip'),"
        " ('A2', 'u2', 'NEW', 1.5, '2026-09-04 20:31:00', NULL)",
    )
    query = """
        SELECT no AS ORDER_ID, 'order' AS entity, no AS entity_id, st AS state, fee AS amount_minor, at AS occurred_at, memo
        FROM t_order WHERE buyer IN :customer_ids OR (at >= :start AND at < :end) ORDER BY no LIMIT :limit;
    """
    source = database.source(query=query, zone="Asia/Shanghai")
    rows = ask(source, customer_id=("u1",)).table.to_pylist()
    assert [(r["order_id"], r["amount_minor"]) for r in rows] == [("A1", 4500), ("A2", None)]
    assert rows[0]["occurred_at"] == datetime(2026, 9, 4, 12, 30, tzinfo=UTC), "a naive time is in the configured zone"
    assert rows[0]["attributes"] == '{"memo":"vip"}'
    assert ask(source).coverage.unparsed == 1, "an amount of one and a half is no amount in minor units"
    assert ask(source).coverage.notes == ["the query gives no column currency, channel, attributes"]
    assert ask(source, LONG_AGO, customer_id=("u2",)).table.num_rows == 1


@pytest.mark.parametrize(("times_as", "unit"), [("epoch_s", 1), ("epoch_ms", 1_000)])
def test_epoch_times_are_asked_for_and_read(database: Database, times_as: str, unit: int) -> None:
    seconds = int(NOON.timestamp()) + 60
    database.run(
        "DROP TABLE IF EXISTS t_epoch",
        "CREATE TABLE t_epoch (no text, at bigint)",
        f"INSERT INTO t_epoch VALUES ('A1', {seconds * unit}), ('A2', {(seconds + 7_200) * unit})",
    )
    query = """SELECT no AS order_id, 'order' AS entity, no AS entity_id, 'NEW' AS state, at AS occurred_at
               FROM t_epoch WHERE at >= :start AND at < :end"""
    rows = ask(database.source(query=query, times_as=times_as)).table.to_pylist()
    assert [(r["order_id"], r["occurred_at"]) for r in rows] == [("A1", NOON + timedelta(seconds=60))]


def test_attributes_are_the_same_from_text_and_from_json(postgresql_url: str, tmp_path: Path) -> None:
    own = Database("postgresql", postgresql_url, tmp_path)
    tables = []
    for kind in ("text", "json", "jsonb"):
        own.fill(history(1))
        own.run(f"ALTER TABLE order_events ALTER COLUMN attributes TYPE {kind} USING attributes::{kind}")
        tables.append(ask(own.source(), LONG_AGO, customer_id=("u1",)).table)
    assert tables[0].num_rows == 4
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_many_rows_arrive_in_batches(database: Database) -> None:
    database.fill([row for n in range(6_000) for row in history(n, minute=n / 200)])
    fetched = ask(database.source())
    assert (fetched.coverage.used, len(orders(fetched))) == (24_000, 6_000)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("amount_minor", [1, None, -3], ["1", None, "-3"]),
        ("amount_minor", [2**70, 1], [str(2**70), "1"]),
        ("amount_minor", [Decimal("45.00"), 1.5], ["45", "1.5"]),
        ("memo", [True, None], ["True", None]),
        ("memo", [NOON, None], ["2026-09-04 12:00:00+00:00", None]),
        ("memo", ["a", b"b"], ["a", "b"]),
        ("attributes", [{"b": 1, "a": None}, None], ['{"a":null,"b":1}', None]),
    ],
)
def test_a_column_is_text_whatever_types_the_driver_gives(name: str, values: list[Any], expected: list[Any]) -> None:
    assert as_text(name, values).to_pylist() == expected


@pytest.mark.parametrize("zone", [None, UTC, timezone(timedelta(hours=8))])
def test_times_of_one_kind_and_of_several_are_read_alike(zone: Any) -> None:
    moments = [NOON.replace(tzinfo=zone) + timedelta(microseconds=n) for n in (0, 1, 250_000)]
    alone = read_times(as_text("occurred_at", moments), None)[0]
    mixed = read_times(as_text("occurred_at", [*moments, "2026-09-04T12:00:00Z"]), None)[0]
    assert alone.to_pylist() == mixed.to_pylist()[:3]
    assert alone.to_pylist() == [m.replace(tzinfo=zone or UTC).astimezone(UTC) for m in moments]


# ---- evidence


def test_an_event_resolves_by_its_natural_key(database: Database) -> None:
    database.fill([row for n in range(30) for row in history(n)])
    source = database.source()
    rows = ask(source).table.to_pylist()
    pointers = {Pointer("order_event", "orders", row["_id"], at=row["occurred_at"].isoformat()): row for row in rows}
    gone = [Pointer("order_event", "orders", key) for key in ("order:SO9:x:2026-01-01T00:00:00.000000Z", "x", "::")]
    found = source.resolve([*pointers, *gone])
    assert all(found[p] == canonical_json(canonical_order_event(row)) for p, row in pointers.items())
    assert [found[p] for p in gone] == [None, None, None]


def test_an_event_resolves_through_a_query_that_knows_only_times(database: Database) -> None:
    database.fill(history(2))
    moment = {"sqlite": "julianday({})", "postgresql": "CAST({} AS timestamptz)", "mariadb": "{}"}[database.kind]
    at, start, end = (moment.format(name) for name in ("occurred_at", ":start", ":end"))
    source = database.source(query=f"{BASIC} WHERE {at} >= {start} AND {at} < {end}")
    pointers = [Pointer("order_event", "orders", key) for key in ask(source).table.column("_id").to_pylist()]
    assert len(pointers) == 4
    assert None not in source.resolve(pointers).values()


def test_a_changed_event_resolves_to_other_bytes(database: Database) -> None:
    database.fill(history(2))
    source = database.source()
    pointers = [Pointer("order_event", "orders", key) for key in ask(source).table.column("_id").to_pylist()]
    before = source.resolve(pointers)
    database.run("UPDATE order_events SET amount_minor = 1 WHERE entity = 'order'")
    after = source.resolve(pointers)
    assert [before[p] == after[p] for p in pointers] == ["attempt" in str(p.doc_id) for p in pointers]


def test_probe_tells_the_database_and_the_newest_event(database: Database) -> None:
    database.fill(history(2))
    told = database.source().probe()
    assert told[0].startswith(database.kind)
    assert told[1].startswith("table order_events: ")


# ---- histories


AUDITED = """
    SELECT order_id, 'order' AS entity, order_id AS entity_id, st AS state, fee AS amount_minor, 'CNY' AS currency,
           touched AS occurred_at, made AS created_at, memo
    FROM t_order WHERE order_id IN :any_ids OR (touched >= :start AND touched < :end) ORDER BY order_id LIMIT :limit
"""
AUDIT = """
    SELECT order_id, 'order' AS entity, order_id AS entity_id, at AS changed_at, col AS field, was AS old_value,
           now_is AS new_value, who
    FROM t_audit WHERE order_id IN :order_ids
"""


@pytest.fixture
def audited(database: Database) -> Database:
    """A shop that keeps the state of now, and a generic audit table; times are Shanghai's."""
    naive = NAIVE[database.kind]
    database.run(
        "DROP TABLE IF EXISTS t_order",
        "DROP TABLE IF EXISTS t_audit",
        f"CREATE TABLE t_order (order_id varchar(20), st text, fee bigint, made {naive}, touched {naive}, memo text)",
        f"CREATE TABLE t_audit (order_id varchar(20), col text, was text, now_is text, at {naive}, who text)",
        "INSERT INTO t_order VALUES"
        " ('A1', 'PAID', 4500, '2026-09-04 20:00:00', '2026-09-04 20:30:00', 'vip'),"
        " ('A2', 'NEW', 100, '2026-09-04 20:01:00', '2026-09-04 20:01:00', NULL)",
        "INSERT INTO t_audit VALUES"
        " ('A1', 'status', 'WAIT', 'PAID', '2026-09-04 20:05:00', 'gate'),"
        " ('A1', 'status', 'NEW', 'WAIT', '2026-09-04 20:02:00', 'shop'),"
        " ('A1', 'status', 'NEW', 'WAIT', '2026-09-04 20:02:00', 'shop'),"
        " ('A1', 'memo', NULL, 'vip', '2026-09-04 20:30:00', 'desk'),"
        " ('A9', 'status', 'NEW', 'WAIT', '2026-09-04 20:02:00', 'shop')",
    )
    return database


def test_a_history_is_rebuilt_from_audit_rows(audited: Database) -> None:
    source = audited.source(query=AUDITED, history=AUDIT, zone="Asia/Shanghai")
    fetched = ask(source)
    rows = [
        (r["order_id"], r["state"], r["occurred_at"].strftime("%H:%M"), r["amount_minor"], r["attributes"])
        for r in sorted(fetched.table.to_pylist(), key=lambda r: (r["order_id"], r["occurred_at"]))
    ]
    # The state of now carries what only the order's own row tells, created_at among it.
    assert [row[:4] for row in rows] == [
        ("A1", "NEW", "12:00", None),
        ("A1", "WAIT", "12:02", None),
        ("A1", "PAID", "12:05", 4500),
        ("A2", "NEW", "12:01", 100),
    ]
    assert [json.loads(row[4] or "{}").get("who") for row in rows] == [None, "shop", "gate", None]
    assert json.loads(rows[2][4])["memo"] == "vip"
    assert fetched.coverage.notes[:3] == [
        "the query gives no column channel, attributes",
        "3 events come from the history query",
        "1 audit rows are about another column than the state",
    ]
    assert (fetched.coverage.fetched, fetched.coverage.status) == (6, "ok")


def test_events_of_a_history_resolve(audited: Database) -> None:
    source = audited.source(query=AUDITED, history=AUDIT, zone="Asia/Shanghai")
    rows = ask(source).table.to_pylist()
    pointers = {Pointer("order_event", "orders", r["_id"], at=r["occurred_at"].isoformat()): r for r in rows}
    assert source.resolve(pointers) == {p: canonical_json(canonical_order_event(r)) for p, r in pointers.items()}


def test_a_history_that_lacks_a_column_is_named(audited: Database) -> None:
    source = audited.source(query=AUDITED, history="SELECT order_id, at AS changed_at FROM t_audit")
    with pytest.raises(SourceBroken, match="the history query gives no column entity, entity_id, state or new_state"):
        ask(source)


def test_rows_are_kept_where_the_history_takes_too_long(audited: Database) -> None:
    wait = {
        "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c",
        "postgresql": "SELECT pg_sleep(30)::text",
        "mariadb": "SELECT sum(a.seq * b.seq) FROM seq_1_to_1000000 AS a, seq_1_to_1000000 AS b",
    }[audited.kind]
    slow = AUDIT.replace("who\n", f"({wait}) AS who\n")
    fetched = ask(audited.source(query=AUDITED, history=slow, zone="Asia/Shanghai"), seconds=1)
    assert orders(fetched) == {"A1", "A2"}
    assert fetched.coverage.status == "partial"
    assert "the history of 2 orders was not read: source 'shop'" in str(fetched.coverage.error)


def test_the_history_of_many_orders_is_asked_for_some_at_a_time(audited: Database) -> None:
    more = ", ".join(f"('B{n:04d}', 'PAID', 1, '2026-09-04 20:00:00', '2026-09-04 20:03:00', '')" for n in range(2_500))
    changes = ", ".join(f"('B{n:04d}', 'status', 'NEW', 'PAID', '2026-09-04 20:03:00', '')" for n in range(2_500))
    audited.run(f"INSERT INTO t_order VALUES {more}", f"INSERT INTO t_audit VALUES {changes}")
    fetched = ask(audited.source(query=AUDITED, history=AUDIT, zone="Asia/Shanghai"))
    assert fetched.coverage.used == 4 + 2 * 2_500


def test_probe_tells_of_the_history_and_that_the_database_only_reads(audited: Database) -> None:
    far = AUDITED.replace("touched < :end", "touched < :end OR 1 = 1")
    told = audited.source(query=far, history=AUDIT, zone="Asia/Shanghai").probe()
    assert told[0].endswith(", read-only")
    assert told[3].startswith("history query: 4 rows for the orders of those; 3 events come from the history query")


# ---- what goes wrong


@pytest.mark.parametrize("statement", ["DELETE FROM order_events", "UPDATE order_events SET state = 'x'"])
def test_a_query_that_writes_is_stopped(database: Database, statement: str) -> None:
    database.fill(history(1))
    with pytest.raises(SourceBroken):
        ask(database.source(query=f"{statement} RETURNING order_id, entity, entity_id, state, occurred_at"))
    assert ask(database.source(query=BASIC)).coverage.used == 4
    assert "x" not in ask(database.source(query=BASIC)).table.column("state").to_pylist()


def test_a_function_that_writes_is_stopped_by_the_read_only_transaction(postgresql_url: str, tmp_path: Path) -> None:
    own = Database("postgresql", postgresql_url, tmp_path)
    own.fill(history(1))
    own.run(
        "CREATE OR REPLACE FUNCTION wipe() RETURNS text LANGUAGE sql AS 'DELETE FROM order_events RETURNING order_id'"
    )
    query = "SELECT wipe() AS order_id, 'order' AS entity, '' AS entity_id, '' AS state, now() AS occurred_at"
    with pytest.raises(SourceBroken, match="the query writes; only reading is allowed"):
        ask(own.source(query=query))
    assert ask(own.source()).coverage.used == 4


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "SELECT order_id, state FROM order_events",
            r"gives no column entity, entity_id, occurred_at; name them with AS",
        ),
        (f"{BASIC} WHERE order_id = :orderid", r"uses :orderid, which nothing fills; there are :order_ids"),
        ("SELECT * FROM no_such_table", r"no_such_table.*correct the query"),
        ("SELECT no_such_column FROM order_events", r"no_such_column.*correct the query"),
        ("SELEC 1", r"the query failed.*SELEC"),
    ],
)
def test_a_wrong_query_is_named_with_its_fault(database: Database, query: str, message: str) -> None:
    database.fill(history(1))
    with pytest.raises(SourceBroken, match=message):
        ask(database.source(query=query))


def test_a_missing_table_tells_to_set_a_query(database: Database) -> None:
    database.run("CREATE TABLE IF NOT EXISTS other (a integer)", "DROP TABLE IF EXISTS order_events")
    with pytest.raises(SourceBroken, match=r"order_events.*set `query` to one that fits your tables"):
        ask(database.source())


@pytest.mark.alone
def test_a_slow_query_ends_by_the_deadline(database: Database) -> None:
    database.fill(history(1))
    slow = {
        "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) AS order_id FROM c",
        "postgresql": "SELECT pg_sleep(30)::text AS order_id, '' AS entity, '' AS entity_id, '' AS state, now() AS occurred_at",
        # Not SLEEP(), which ends early without an error.
        "mariadb": "SELECT sum(a.seq * b.seq) AS order_id FROM seq_1_to_1000000 AS a, seq_1_to_1000000 AS b",
    }
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="did not answer in time"):
        ask(database.source(query=slow[database.kind]), seconds=0.5)
    assert time.monotonic() - began < 1.5
    with pytest.raises(SourceUnavailable, match="did not answer in time"):
        ask(database.source(), seconds=-1)


def test_named_orders_are_kept_when_the_window_takes_too_long(postgresql_url: str, tmp_path: Path) -> None:
    own = Database("postgresql", postgresql_url, tmp_path)
    own.fill([row for n in range(50) for row in history(n)])
    # A view whose times cost 20 ms each stands for a large table: quick for one order, slow for all.
    own.run(
        "ALTER TABLE order_events RENAME TO order_rows",
        "CREATE OR REPLACE FUNCTION late(timestamptz) RETURNS timestamptz STABLE LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_sleep(0.02); RETURN $1; END'",
        "CREATE VIEW order_events AS SELECT order_id, entity, entity_id, state, amount_minor, currency, channel,"
        " late(occurred_at) AS occurred_at, attributes FROM order_rows",
    )
    try:
        fetched = ask(own.source(), seconds=1, order_id=("SO0003",))
    finally:
        own.run("DROP VIEW order_events", "DROP TABLE order_rows")
    assert orders(fetched) == {"SO0003"}
    assert (fetched.coverage.status, fetched.coverage.matched) == ("partial", None)
    assert "only the named orders were read" in str(fetched.coverage.error)


def login(url: str, **changes: Any) -> str:
    return sqlalchemy.make_url(url).set(**changes).render_as_string(hide_password=False)


def refusal(url: str, error: type[SourceError], **options: Any) -> str:
    source = opened(url, timeout=2, **options)
    with pytest.raises(error) as caught:
        ask(source)
    told = f"{caught.value} {caught.value!r} {caught.value.__cause__!r} {source!r} {source.options!r}"
    assert SECRET not in told + str(source.options.__rich_repr__())
    return str(caught.value)


def test_a_wrong_password_is_refused_and_never_told(postgresql_url: str) -> None:
    assert "refused the login" in refusal(login(postgresql_url, password=SECRET), SourceRefused)


def test_a_table_that_may_not_be_read_is_refused(postgresql_url: str, tmp_path: Path) -> None:
    own = Database("postgresql", postgresql_url, tmp_path)
    own.fill(history(1))
    own.run("DROP ROLE IF EXISTS stranger_of_orders", f"CREATE ROLE stranger_of_orders LOGIN PASSWORD '{SECRET}'")
    try:
        url = login(postgresql_url, username="stranger_of_orders", password=SECRET)
        assert "grant SELECT" in refusal(url, SourceRefused)
    finally:
        own.run("DROP ROLE stranger_of_orders")


def test_a_missing_database_is_named(postgresql_url: str) -> None:
    assert "nosuchdb" in refusal(login(postgresql_url, database="nosuchdb"), SourceBroken)


def test_a_server_that_is_down_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"postgresql://me:{SECRET}@127.0.0.1:{free.getsockname()[1]}/shop"
        assert "cannot be reached" in refusal(url, SourceUnavailable)


def test_a_server_that_hangs_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        url = f"postgresql://me:{SECRET}@127.0.0.1:{listener.getsockname()[1]}/shop?password={SECRET}"
        refusal(url, SourceUnavailable)
        assert time.monotonic() - began < 4


def test_a_missing_file_is_unavailable_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    assert "is the path right" in refusal(f"sqlite:///{path}", SourceUnavailable)
    assert not path.exists()


def test_a_file_that_is_no_database_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("not a database " * 1_000)
    assert "not a database" in refusal(f"sqlite:///{path}", SourceBroken)


@pytest.mark.parametrize("scheme", ["mysql+mysqldb", "oracle", "nonsense"])
def test_a_database_without_driver_is_named(scheme: str) -> None:
    refusal(f"{scheme}://me:{SECRET}@h/x", SourceBroken)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "shop.db"}, "url must look like"),
        ({"url": "sqlite://", "zone": "Mars/Olympus"}, "IANA"),
        ({"url": "sqlite://", "limit": 0}, "limit"),
        ({"url": "sqlite://", "sql": "x"}, "sql"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({"kind": "orders", **options}, Options)


def test_sqlalchemy_is_loaded_only_when_asked() -> None:
    code = "import sys, pipeline.sources.orders.source; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://me:secret@db.host/shop?sslmode=require", "postgresql://db.host/shop"),
        ("postgresql://db.host/shop?user=x&password=se@cret", "postgresql://***"),
        ("postgresql://me:se/cret@db.host/shop", "postgresql://***"),
        ("postgresql://me:se?cret@db.host/shop", "postgresql://***"),
        ("sqlite:///orders.db", "sqlite:///orders.db"),
    ],
)
def test_an_address_is_shown_without_any_part_of_its_password(url: str, place: str) -> None:
    assert Options(url=url).place == place
    assert "cret" not in repr(Options(url=url))
