"""Many questions at once, and large answers: bounded connections, bounded waiting, bounded memory."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import msgspec
import pyarrow as pa
import pytest
import sqlalchemy
from sqlalchemy.pool import NullPool

from parsers.tables import ORDER_EVENTS
from pipeline.errors import SourceUnavailable
from pipeline.sources.orders.source import OrdersSource
from pipeline.values import Ask
from tests.conftest import missing
from tests.services import mariadb
from tests.test_orders_source import HOUR, LONG_AGO, Database, ask, closed, history, opened, orders

__all__ = ["closed"]

# A source's connections as the server counts them, and who the one that counts is.
COUNT = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'problem-snapshot' AND datname = '{0}'",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = '{0}'",
}
SLOW = {
    "postgresql": "SELECT pg_sleep({0})::text AS order_id, 'order' AS entity, '' AS entity_id, '' AS state, now() AS occurred_at",
    "mariadb": "SELECT SLEEP({0}) AS order_id, 'order' AS entity, '' AS entity_id, '' AS state, now() AS occurred_at",
}


@pytest.fixture(params=["postgresql", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    own = Database(request.param, request.getfixturevalue(f"{request.param}_url"), tmp_path)
    own.run("DROP TABLE IF EXISTS order_events")
    return own


def beside(database: Database) -> tuple[sqlalchemy.Engine, str]:
    """An engine for who looks at the source's connections without being one of them, and what to ask."""
    url = sqlalchemy.make_url(database.url.replace("postgresql:", "postgresql+psycopg:"))
    text = COUNT[database.kind].format(url.database)
    url = url.set(database="mysql") if database.kind == "mariadb" else url
    return sqlalchemy.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT"), text


class Counter:
    """The most connections that the server has seen at a time."""

    def __init__(self, database: Database) -> None:
        self.most = 0
        self._engine, self._text = beside(database)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def now(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.exec_driver_sql(self._text).scalar_one())

    def _look(self) -> None:
        with self._engine.connect() as connection:
            while not self._done.wait(0.005):
                self.most = max(self.most, int(connection.exec_driver_sql(self._text).scalar_one()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._engine.dispose()


def test_fifty_threads_are_all_answered_through_four_connections(database: Database) -> None:
    database.fill([row for n in range(50) for row in history(n)])
    source = database.source()

    def one(number: int) -> set[str]:
        return orders(ask(source, LONG_AGO, seconds=60, order_id=(f"SO{number:04d}",)))

    with Counter(database) as counter, ThreadPoolExecutor(50) as threads:
        found = list(threads.map(one, range(50)))
    assert found == [{f"SO{number:04d}"} for number in range(50)]
    assert 1 <= counter.most <= 4


@pytest.mark.parametrize("pool", [1, 3])
def test_the_pool_is_as_large_as_it_is_set_and_close_gives_it_back(database: Database, pool: int) -> None:
    database.fill(history(1))
    source = database.source(pool=pool, query=SLOW[database.kind].format(0.1))
    with Counter(database) as counter, ThreadPoolExecutor(9) as threads:
        list(threads.map(lambda _: source.fetch(Ask("order_events", HOUR)), range(9)))
        assert counter.now() == pool, "kept for the next question"
        source.close()
        gone = time.monotonic() + 5
        while counter.now() and time.monotonic() < gone:
            time.sleep(0.05)
        assert counter.now() == 0
    assert counter.most == pool


@pytest.mark.alone
def test_waiting_for_a_connection_ends_by_the_deadline_and_is_told_as_such(database: Database) -> None:
    source = database.source(pool=1, query=SLOW[database.kind].format(3))
    busy = threading.Thread(target=lambda: source.fetch(Ask("order_events", HOUR)))
    busy.start()
    try:
        time.sleep(0.5)
        began = time.monotonic()
        with pytest.raises(SourceUnavailable, match="all 1 connections were busy with other questions"):
            ask(source, seconds=0.5)
        assert time.monotonic() - began < 1
    finally:
        busy.join()


def test_a_question_leaves_nothing_behind_for_the_next_one(database: Database) -> None:
    """One connection, asked in haste and then in peace: neither the limit of time nor that of rows stays."""
    database.fill([row for n in range(9) for row in history(n)])
    source = database.source(pool=1)
    assert ask(source, limit=8).coverage.cut == 28
    slow = SLOW[database.kind].format(1)
    # SLEEP() is ended without an error; what goes on after it is not.
    hasty = opened(database.url, pool=1, query=f"{slow} FROM seq_1_to_9" if database.kind == "mariadb" else slow)
    with pytest.raises(SourceUnavailable, match="did not answer in time"):
        ask(hasty, seconds=0.4)
    msgspec.structs.force_setattr(hasty.options, "query", slow)
    assert ask(hasty, seconds=20).coverage.fetched == 1
    with source._database.session(time.monotonic() + 30) as connection:
        rows = connection.exec_driver_sql("SELECT order_id FROM order_events").all()
    assert len(rows) == 36


def test_a_writing_connection_never_comes_out_of_the_pool(database: Database) -> None:
    database.fill(history(1))
    source = database.source(pool=1)
    for _ in range(3):
        with (
            source._database.session(time.monotonic() + 30) as connection,
            pytest.raises(sqlalchemy.exc.SQLAlchemyError),
        ):
            connection.exec_driver_sql("DELETE FROM order_events")
    assert ask(source).coverage.used == 4


# ---- a server that goes and comes


@pytest.fixture
def restartable() -> Iterator[Any]:
    from tests.services import Unavailable

    try:
        own = mariadb.start()
    except Unavailable as error:
        missing("mariadb", str(error))
    yield own
    mariadb.stop(own.data)


@pytest.mark.mariadb
def test_a_restarted_server_does_not_fail_the_next_question(restartable: Any, tmp_path: Path) -> None:
    database = Database("mariadb", restartable.url, tmp_path)
    database.fill(history(1))
    source = database.source(timeout=5)
    assert ask(source).coverage.used == 4
    mariadb.halt(restartable.data)
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        ask(source)
    folder = Path(restartable.data)
    port = sqlalchemy.make_url(restartable.url).port
    assert port
    assert mariadb.serve(mariadb.install()[0], folder, port, mariadb._user())
    assert ask(source).coverage.used == 4


def test_connections_that_the_server_has_ended_are_replaced(database: Database) -> None:
    database.fill(history(1))
    source = database.source(pool=1)
    assert ask(source).coverage.used == 4
    engine, text = beside(database)
    with engine.connect() as connection:
        if database.kind == "postgresql":
            connection.exec_driver_sql(text.replace("count(*)", "pg_terminate_backend(pid)")).all()
        else:
            ids = connection.exec_driver_sql(text.replace("count(*)", "id")).scalars().all()
            for one in ids:
                connection.exec_driver_sql(f"KILL {one}")
    engine.dispose()
    assert ask(source).coverage.used == 4


# ---- large answers

MANY = {
    "postgresql": "SELECT 'O' || n / 4 AS order_id, 'order' AS entity, 'O' || n / 4 AS entity_id, 'S' || n % 4 AS state,"
    " TIMESTAMPTZ '2026-09-04 12:00:00+00' + n * INTERVAL '1 millisecond' AS occurred_at"
    " FROM generate_series(0, {0} - 1) AS n",
    "mariadb": "SELECT concat('O', seq DIV 4) AS order_id, 'order' AS entity, concat('O', seq DIV 4) AS entity_id,"
    " concat('S', seq % 4) AS state, TIMESTAMP'2026-09-04 12:00:00' + INTERVAL seq * 1000 MICROSECOND AS occurred_at"
    " FROM seq_0_to_{1}",
}


def many(database: Database, rows: int) -> OrdersSource:
    text = MANY[database.kind].format(rows, rows - 1)
    return database.source(query=text, limit=10_000_000, timeout=60)


def test_pages_hold_whole_orders_and_all_together_the_answer(database: Database) -> None:
    source = many(database, 10_001)
    pages = list(source.pages(Ask("order_events", HOUR, limit=10_000_000), rows=999))
    assert max(page.num_rows for page in pages) <= 1_002
    assert {page.schema for page in pages} == {ORDER_EVENTS}
    seen: set[str] = set()
    for page in pages:
        own = set(page.column("order_id").to_pylist())
        assert not own & seen
        seen |= own
    whole = ask(source, limit=10_000_000).table
    by = [("occurred_at", "ascending"), ("_id", "ascending")]
    assert pa.concat_tables(pages).sort_by(by).equals(whole.sort_by(by))


def test_memory_is_bounded_by_the_page_and_not_by_the_answer(database: Database) -> None:
    """Python's and Arrow's memory while reading six times as many rows stays what it was."""

    def peak(rows: int) -> int:
        source = many(database, rows)
        pa.default_memory_pool().release_unused()
        arrow, most = pa.total_allocated_bytes(), 0
        tracemalloc.start()
        try:
            for page in source.pages(Ask("order_events", HOUR, limit=10_000_000), rows=1_000):
                assert page.num_rows <= 1_003
                most = max(most, pa.total_allocated_bytes() - arrow)
            return tracemalloc.get_traced_memory()[1] + most
        finally:
            tracemalloc.stop()

    peak(2_000)
    assert peak(24_000) < 2 * peak(4_000)


def test_a_query_without_a_limit_is_not_read_to_its_end(database: Database) -> None:
    source = many(database, 3_000_000)
    began = time.monotonic()
    fetched = source.fetch(Ask("order_events", HOUR, limit=1_000, deadline=time.monotonic() + 30))
    assert fetched.coverage.used == 1_000
    assert time.monotonic() - began < 10, "to its end it takes a minute"


def test_what_was_read_in_time_is_kept(database: Database) -> None:
    text = MANY[database.kind].format(200_000, 199_999)
    # A page takes about half a second.
    wait = {
        "postgresql": "CASE WHEN n % 100 = 0 THEN pg_sleep(0.004)::text END",
        "mariadb": "CASE WHEN seq % 100 = 0 THEN SLEEP(0.004) END",
    }[database.kind]
    slow = text.replace("SELECT ", f"SELECT {wait} AS wait, ", 1)
    source = database.source(query=slow, limit=10_000_000, timeout=60)
    fetched = source.fetch(Ask("order_events", HOUR, limit=10_000_000, deadline=time.monotonic() + 3))
    row = fetched.coverage
    assert row.status == "partial"
    assert 0 < row.used < 200_000
    assert "rows were read: " in str(row.error)
