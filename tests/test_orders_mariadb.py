"""What is special about MySQL and MariaDB, on a real MariaDB server: text of any kind, zones, limits, logins, errors."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from parsers.order_events import canonical_order_event, parse_orders_csv
from pipeline.errors import SourceBroken, SourceRefused, SourceUnavailable
from pipeline.sources.orders.databases import Database as Connections
from pipeline.values import Pointer, Span
from snapshots.model import canonical_json
from tests.load import load_bundle_into_mariadb
from tests.test_orders_source import (
    BASIC,
    HOUR,
    LONG_AGO,
    NOON,
    SECRET,
    Database,
    ask,
    closed,
    history,
    login,
    opened,
    orders,
    refusal,
    without_place,
)

__all__ = ["closed"]

NASTY = [
    "O'Brien",
    'say "hi"',
    "50% off",
    "%s %(x)s %%",
    "a\\",
    "\\' OR 1=1 --",
    "订单：甲",
    "😀",
    ":order_ids",
    "x;y",
]


@pytest.fixture
def database(mariadb_url: str, tmp_path: Path) -> Database:
    own = Database("mariadb", mariadb_url, tmp_path)
    own.run("DROP TABLE IF EXISTS order_events")
    return own


def insert(database: Database, ids: list[str]) -> None:
    engine = sqlalchemy.create_engine(database.url)
    text = (
        "INSERT INTO order_events VALUES (:id, 'order', :id, 'paid', 1, 'CNY', 'alipay', '2026-09-04 12:01:00', NULL)"
    )
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(text), [{"id": one} for one in ids])
    engine.dispose()


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES,PIPES_AS_CONCAT"])
def test_identifiers_of_any_text_find_their_own_order_and_no_other(database: Database, mode: str) -> None:
    database.fill(history(1))
    insert(database, NASTY)
    before = database.url
    engine = sqlalchemy.create_engine(before)
    with engine.connect() as connection:
        was = connection.exec_driver_sql("SELECT @@global.sql_mode").scalar()
        connection.exec_driver_sql("SET GLOBAL sql_mode = %s", (mode,))
    try:
        for query in (None, f"{BASIC} WHERE order_id IN :order_ids AND state NOT LIKE '%y'"):
            source = database.source(query=query)
            for one in NASTY:
                assert orders(ask(source, LONG_AGO, order_id=(one,))) == {one}
            assert orders(ask(source, LONG_AGO, order_id=tuple(NASTY))) == set(NASTY)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql("SET GLOBAL sql_mode = %s", (was,))
        engine.dispose()


def test_an_old_character_set_of_the_table_is_no_hindrance(database: Database) -> None:
    database.fill(history(1))
    database.run("ALTER TABLE order_events CONVERT TO CHARACTER SET gbk")
    insert(database, ["订单甲"])
    assert orders(ask(database.source(), LONG_AGO, order_id=("订单甲",))) == {"订单甲"}
    with pytest.raises(SourceBroken, match="characters that a column cannot hold"):
        ask(database.source(), LONG_AGO, order_id=("😀",))


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql"])
def test_the_address_may_name_either_with_or_without_the_driver(database: Database, scheme: str) -> None:
    database.fill(history(1))
    source = opened(f"{scheme}://{database.url.partition('://')[2]}")
    assert ask(source).coverage.used == 4
    told = source.probe()
    assert told[0].startswith("mariadb ")
    assert told[0].endswith(" by pymysql, read-only")


@pytest.mark.parametrize("kind", ["datetime(6)", "timestamp(6) NULL"])
@pytest.mark.parametrize("zone", [None, "Asia/Shanghai"])
def test_times_are_of_the_zone_in_either_type_of_column(database: Database, kind: str, zone: str | None) -> None:
    hours = 8 if zone else 0
    database.run(
        "DROP TABLE IF EXISTS t_times",
        f"CREATE TABLE t_times (no varchar(9), at {kind})",
        f"SET time_zone = '+{hours:02d}:00'",
        f"INSERT INTO t_times VALUES ('A1', '2026-09-04 {12 + hours}:30:00.25'), ('A2', '2026-09-04 {13 + hours}:30:00')",
    )
    query = """SELECT no AS order_id, 'order' AS entity, no AS entity_id, 'NEW' AS state, at AS occurred_at
               FROM t_times WHERE at >= :start AND at < :end"""
    rows = ask(database.source(query=query, zone=zone)).table.to_pylist()
    assert [(r["order_id"], r["occurred_at"]) for r in rows] == [("A1", datetime(2026, 9, 4, 12, 30, 0, 250000, UTC))]


def test_a_zone_that_the_server_does_not_know_is_told(database: Database) -> None:
    database.fill(history(1))
    source = database.source(zone="Europe/Berlin")
    with pytest.raises(SourceBroken, match="does not know the zone Europe/Berlin; load its time zone tables"):
        ask(source)


def test_attributes_that_are_no_json_hide_no_other_row(database: Database) -> None:
    database.fill(history(1))
    database.run(
        "ALTER TABLE order_events MODIFY attributes longtext",
        "INSERT INTO order_events VALUES ('B1', 'order', 'B1', 'paid', 1, 'CNY', 'x', '2026-09-04 12:01:00', 'no json')",
    )
    assert orders(ask(database.source(), LONG_AGO, customer_id=("u1",))) == {"SO0001"}


def test_a_column_with_an_index_is_asked_in_place_of_the_attributes(database: Database) -> None:
    database.fill([row for n in range(9) for row in history(n)])
    database.run(
        "ALTER TABLE order_events MODIFY order_id varchar(64), ADD INDEX (order_id), ADD COLUMN customer_id varchar(64)"
        " AS (JSON_VALUE(attributes, '$.customer_id')) VIRTUAL, ADD INDEX (customer_id)"
    )
    source = database.source()
    fetched = ask(source, LONG_AGO, customer_id=("u3",), phone_tail=("0004",))
    assert orders(fetched) == {"SO0003", "SO0004"}
    assert "customer_id IN :customer_ids" in asked_by(source)


def asked_by(source: Any) -> str:
    from pipeline.sources.orders import queries

    return queries.named(source._reader.statements.shape, {"customer_ids", "phone_tails"})


def test_a_time_that_is_text_is_refused_and_not_compared_wrongly(database: Database) -> None:
    database.fill(history(1))
    database.run("ALTER TABLE order_events MODIFY occurred_at varchar(40)")
    with pytest.raises(SourceBroken, match="occurred_at of order_events is a text"):
        ask(database.source())


# ---- what goes wrong


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE order_events SET state = 'x'",
        "DROP TABLE order_events",
        "INSERT INTO order_events (order_id) VALUES ('x')",
    ],
)
def test_a_query_that_writes_is_refused_and_told_so(database: Database, statement: str) -> None:
    database.fill(history(1))
    with pytest.raises(SourceBroken, match="the query writes; only reading is allowed"):
        ask(database.source(query=statement))
    assert ask(database.source(query=BASIC)).coverage.used == 4


def test_a_function_that_writes_is_stopped_by_the_read_only_transaction(database: Database) -> None:
    database.fill(history(1))
    database.run(
        "DROP FUNCTION IF EXISTS wipe",
        "CREATE FUNCTION wipe() RETURNS int MODIFIES SQL DATA BEGIN DELETE FROM order_events; RETURN 1; END",
    )
    query = "SELECT wipe() AS order_id, 'order' AS entity, '' AS entity_id, '' AS state, now() AS occurred_at"
    with pytest.raises(SourceBroken, match="the query writes; only reading is allowed"):
        ask(database.source(query=query))
    assert ask(database.source()).coverage.used == 4


def test_a_wrong_password_is_refused_and_never_told(mariadb_url: str) -> None:
    assert "refused the login" in refusal(login(mariadb_url, password=SECRET), SourceRefused)


def test_what_may_not_be_read_is_refused(database: Database) -> None:
    database.fill(history(1))
    database.run("DROP USER IF EXISTS stranger", f"CREATE USER stranger IDENTIFIED BY '{SECRET}'")
    try:
        url = login(database.url, username="stranger", password=SECRET)
        assert "grant SELECT" in refusal(url, SourceRefused), "the database (1044)"
        name = sqlalchemy.make_url(database.url).database
        database.run("CREATE TABLE IF NOT EXISTS free (a int)", f"GRANT SELECT ON {name}.free TO stranger")
        assert "grant SELECT" in refusal(url, SourceRefused), "the table (1142)"
    finally:
        database.run("DROP USER stranger")


def test_a_missing_database_is_named(mariadb_url: str) -> None:
    assert "nosuchdb" in refusal(login(mariadb_url, database="nosuchdb"), SourceBroken)


def test_a_server_that_is_down_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"mysql://me:{SECRET}@127.0.0.1:{free.getsockname()[1]}/shop"
        assert "cannot be reached" in refusal(url, SourceUnavailable)


def test_a_server_that_hangs_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        refusal(f"mysql://me:{SECRET}@127.0.0.1:{listener.getsockname()[1]}/shop", SourceUnavailable)
        assert time.monotonic() - began < 6


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (1045, SourceRefused, "refused the login"),
        (1044, SourceRefused, "grant SELECT"),
        (1142, SourceRefused, "grant SELECT"),
        (1049, SourceBroken, "correct the database"),
        (1146, SourceBroken, "set `query`"),
        (1054, SourceBroken, "set `query`"),
        (1064, SourceBroken, "the query failed"),
        (1792, SourceBroken, "only reading is allowed"),
        (1969, SourceUnavailable, "did not answer in time"),
        (3024, SourceUnavailable, "did not answer in time"),
        (1040, SourceUnavailable, "cannot be reached"),
        (2003, SourceUnavailable, "cannot be reached"),
        (2013, SourceUnavailable, "cannot be reached"),
    ],
)
def test_each_number_of_the_server_is_translated(number: int, error: type[Exception], words: str) -> None:
    """Those that only MySQL gives, or that are hard to bring about, as PyMySQL raises them."""
    import pymysql

    own = Connections("mysql://u:s3@h/x", lambda: "source 'shop'", timeout=1, pool=1, zone=None, own=False)
    foreign = sqlalchemy.exc.OperationalError("SELECT 1", {}, pymysql.err.OperationalError(number, "it said s3"))
    translated = own._translated(foreign, time.monotonic() + 9)
    assert type(translated) is error
    assert words in str(translated)
    assert "s3" not in str(translated)


# ---- the same as from the bundle


def test_every_case_gives_what_its_bundle_gives(mariadb_url: str, cases: Path) -> None:
    wide = Span(NOON - timedelta(days=900), NOON + timedelta(days=900))
    seen = 0
    for bundle in sorted(cases.iterdir())[12:24]:
        if not (bundle / "orders.csv").exists():
            continue
        load_bundle_into_mariadb(mariadb_url, bundle)
        own = parse_orders_csv((bundle / "orders.csv").read_bytes(), source="shop", file="orders.csv").table
        source = opened(mariadb_url)
        fetched = ask(source, wide)
        by = [("occurred_at", "ascending"), ("_id", "ascending")]
        assert without_place(fetched.table).sort_by(by).equals(without_place(own).sort_by(by)), bundle.name
        row = own.to_pylist()[0]
        pointer = Pointer("order_event", "orders", row["_id"], at=row["occurred_at"].isoformat())
        assert source.resolve([pointer])[pointer] == canonical_json(canonical_order_event(row))
        seen += 1
    assert seen > 5


def test_orders_of_a_short_window_are_found_by_time(database: Database) -> None:
    database.fill([row for n in range(5) for row in history(n, minute=59.5 + n)])
    assert orders(ask(database.source(), HOUR)) == {"SO0000"}
