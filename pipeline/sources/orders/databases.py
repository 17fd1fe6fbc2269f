"""A database that is asked for orders: its connections, sessions that only read and end in time, its errors as ours.

A session is one read-only transaction on a connection of the pool. What a session sets (time limit, zone, most rows) is
set anew by each, or ends with it, so that nothing is left for the next one.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

from pipeline.errors import SourceBroken, SourceError, SourceRefused, SourceUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# What is written and what is opened: the driver that comes with us where none is named. One dialect serves MySQL and
# MariaDB; which of them answers is asked of the server.
_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
}
_MYSQL_LOGIN = {1045, 1130, 1251, 1698, 1820, 1862, 3118, 4151}
_MYSQL_FORBIDDEN = {1044, 1142, 1143, 1227, 1370}
_MYSQL_LATE = {1028, 1205, 1317, 1969, 3024}
_MYSQL_UNKNOWN = {1054, 1146}
_MYSQL_DATABASE = {1049}
_MYSQL_WRITES = {1290, 1792, 1836}
_MYSQL_ZONE = {1298}
_MYSQL_CHARACTERS = {1267, 1271, 1366}
_MYSQL_AWAY = {1040, 1053, 1203, 1226, 1927, 2002, 2003, 2005, 2006, 2013, 2014, 2055}


class Database:
    """One database, with at most `pool` connections for all threads of the process.

    `where` names it in messages, `timeout` is the most seconds for a statement or a connection, `zone` is that of times
    without one (UTC without it). `own` says that the query is the user's. Nothing is opened before the first session.
    """

    def __init__(
        self, url: str, where: Callable[[], str], *, timeout: float, pool: int, zone: str | None, own: bool
    ) -> None:
        self._url, self._where, self._timeout, self._zone, self._own = url, where, timeout, zone, own
        self._pool = pool
        self._free = threading.BoundedSemaphore(pool)
        self._lock = threading.Lock()
        self._made: Engine | None = None
        self._deadline = threading.local()

    @contextmanager
    def session(self, deadline: float, rows: int | None = None) -> Iterator[Connection]:
        """A read-only transaction whose statements end by `deadline`; foreign errors leave as ours.

        `deadline` is a `time.monotonic()` value; waiting for a connection is bounded by it as well. `rows` is the most
        that is wanted of a statement: a hint that MySQL needs, which cannot stop sending.
        """
        # Imported here: half a second that only who has such a source shall pay.
        import sqlalchemy.exc

        left = deadline - time.monotonic()
        if left <= 0:
            raise self.late()
        free = self._free
        if not free.acquire(timeout=left):
            raise SourceUnavailable(
                f"{self._where()}: all {self._pool} connections were busy with other questions until the time was up; "
                "raise pool or --budget"
            )
        self._deadline.at = deadline
        try:
            engine = self._engine()
            with engine.connect() as connection:
                try:
                    if deadline <= time.monotonic():
                        raise self.late()
                    yield self._begin(connection, deadline, rows)
                finally:
                    self._end(connection, engine)
        except SourceError:
            raise
        # PyMySQL tells of a login that needs another package by a RuntimeError.
        except (sqlalchemy.exc.SQLAlchemyError, ImportError, OSError, ValueError, RuntimeError) as error:
            raise self._translated(error, deadline) from _Hidden(type(error).__name__)
        finally:
            free.release()

    def close(self) -> None:
        """Gives back all connections; one that is in use is given back when its session ends."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made.dispose()

    def late(self) -> SourceUnavailable:
        """The error of who did not answer in time."""
        return SourceUnavailable(
            f"{self._where()} did not answer in time; raise timeout or --budget, or index what the query asks by "
            "(docs/orders.md)"
        )

    # ---- the session

    def _begin(self, connection: Connection, deadline: float, rows: int | None) -> Connection:
        import sqlalchemy

        left = deadline - time.monotonic()
        name = connection.dialect.name
        if name == "postgresql":
            connection = connection.execution_options(postgresql_readonly=True)
            limits = {"ms": str(max(1, int(left * 1000))), "zone": self._zone or "UTC"}
            # For this transaction only.
            settings = "SELECT set_config('statement_timeout', :ms, true), set_config('TimeZone', :zone, true)"
            connection.execute(sqlalchemy.text(settings), limits)
        elif name == "mysql":
            self._begin_mysql(connection, left, rows)
        elif name == "sqlite":
            raw: Any = connection.connection.dbapi_connection
            raw.execute("PRAGMA query_only = ON")
            raw.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        return connection

    def _begin_mysql(self, connection: Connection, left: float, rows: int | None) -> None:
        """https://mariadb.com/kb/en/aborting-statements/, https://dev.mysql.com/doc/refman/8.4/en/set-transaction.html."""
        import sqlalchemy

        dialect: Any = connection.dialect
        # MariaDB counts seconds, for any statement; MySQL milliseconds, for SELECT. Zero would be no limit.
        limit = {"seconds": max(0.001, round(left, 3))} if dialect.is_mariadb else {"ms": max(1, int(left * 1000))}
        name = "max_statement_time = :seconds" if dialect.is_mariadb else "max_execution_time = :ms"
        # All three each time: they are the session's and stay with the connection. A driver that reads row by row must
        # read all that the server sends, wanted or not; LIMIT in the query goes before this.
        most = rows if rows is not None else 2**63 - 1
        text = f"SET SESSION {name}, time_zone = :zone, sql_select_limit = :most"
        connection.execute(sqlalchemy.text(text), {**limit, "zone": _mysql_zone(self._zone), "most": most})
        # Both: a statement that ends the transaction, as DROP TABLE does, would else begin another that may write.
        connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
        connection.exec_driver_sql("START TRANSACTION READ ONLY")

    def _end(self, connection: Connection, engine: Engine) -> None:
        """What does not end with the transaction."""
        if connection.closed or connection.invalidated:
            return
        if connection.dialect.name == "sqlite":
            raw: Any = connection.connection.dbapi_connection
            raw.set_progress_handler(None, 0)
        if self._made is not engine:
            # Closed meanwhile: its pool would keep it open.
            connection.invalidate()

    # ---- the connections

    def _engine(self) -> Engine:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> Engine:
        import sqlalchemy
        from sqlalchemy.pool import NullPool

        try:
            scheme, _, rest = self._url.partition("://")
            url = sqlalchemy.make_url(f"{_DRIVERS.get(scheme, scheme)}://{rest}")
            backend = url.get_backend_name()
            url.get_dialect()
        except sqlalchemy.exc.ArgumentError:
            raise SourceBroken(f"{self._where()}: no such database type; see SQLAlchemy's database URLs") from None
        arguments: dict[str, Any] = {}
        # The semaphore bounds them; the pool never waits.
        pool: dict[str, Any] = {"pool_size": self._pool, "max_overflow": 0, "pool_timeout": 1, "pool_pre_ping": True}
        if backend == "postgresql":
            arguments = {"application_name": "problem-snapshot", "keepalives_idle": 15, "keepalives_interval": 5}
            arguments = {name: value for name, value in arguments.items() if name not in url.query}
        elif backend == "mysql":
            # A server that says nothing at all is left after this; one that works is stopped by the session's limit.
            arguments = {"charset": "utf8mb4", "read_timeout": math.ceil(self._timeout) + 2}
        elif backend == "sqlite":
            # A file may be replaced by another of the same name, and opening one costs nothing.
            pool = {"poolclass": NullPool}
            if url.database and url.database != ":memory:":
                if not url.database.startswith("file:"):
                    # Opened as it is: SQLite would otherwise make an empty file where there is none.
                    url = url.set(
                        database=f"file:{quote(url.database)}", query={**url.query, "mode": "ro", "uri": "true"}
                    )
                arguments = {"timeout": self._timeout}
        engine = sqlalchemy.create_engine(url, connect_args=arguments, hide_parameters=True, **pool)
        if backend in {"postgresql", "mysql"}:
            sqlalchemy.event.listen(engine, "do_connect", self._connect)
        return engine

    def _connect(self, dialect: Any, _: Any, arguments: Any, named: dict[str, Any]) -> Any:
        """Connects within the time that the question has left; both drivers count whole seconds, libpq two at least."""
        left = min(self._deadline.at - time.monotonic(), self._timeout)
        within = max(2, int(left)) if dialect.name == "postgresql" else max(1, math.ceil(left))
        return dialect.connect(*arguments, **{**named, "connect_timeout": within})

    # ---- the errors

    def _translated(self, error: Exception, deadline: float) -> SourceError:
        """Our error for a foreign one.

        SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html. MySQL's and MariaDB's numbers:
        https://dev.mysql.com/doc/mysql-errors/8.4/en/, https://mariadb.com/kb/en/mariadb-error-code-reference/.
        """
        original = getattr(error, "orig", None) or error
        if isinstance(error, ImportError):
            reason = self._clean(" ".join(str(original).split()))[:300]
            return SourceBroken(f"{self._where()}: the driver is missing: {reason}; install it beside problem-snapshot")
        number = original.args[0] if original.args else None
        if isinstance(number, int) and not isinstance(original, OSError):
            return self._translated_number(number, original, deadline)
        reason = self._clean(" ".join(str(original).split()))[:300]
        # A connection that fails has no SQLSTATE, only libpq's words.
        told = f"{getattr(original, 'sqlstate', None) or ''} {reason}".lower()
        if _says(told, "28p01 ", "28000 ", "password authentication failed", "access denied", "pg_hba"):
            return self._login()
        if _says(told, "'cryptography' package"):
            return SourceBroken(
                f"{self._where()}: this login needs TLS (ssl_ca=FILE in the url) or the Python package cryptography"
            )
        if _says(told, "42501 ", "permission denied"):
            return self._forbidden(reason)
        if _says(told, "57014 ", "interrupted", "statement timeout") or time.monotonic() > deadline:
            return self.late()
        if _says(told, "42p01 ", "42703 ", "no such table", "no such column"):
            return self._unknown(reason)
        return self._translated_rest(original, told, reason)

    def _translated_rest(self, original: BaseException, told: str, reason: str) -> SourceError:
        if _says(told, "3d000 ") or ('database "' in told and "does not exist" in told):
            return SourceBroken(f"{self._where()}: {reason}; correct the database in its url")
        if _says(told, "unable to open database file"):
            return SourceUnavailable(f"{self._where()} cannot be opened; is the path right, and may it be read?")
        if _says(told, "25006 ", "readonly", "read-only"):
            return self._writes(reason)
        lost = type(original).__name__ in {"OperationalError", "ConnectionTimeout", "InterfaceError"}
        if _says(told, "57p0", "08006 ", "53300 ") or (
            lost and told.startswith(" ") and not type(original).__module__.startswith("sqlite3")
        ):
            return self._away(reason)
        return SourceBroken(f"{self._where()}: the query failed: {_first_sentence(reason)}")

    def _translated_number(self, number: int, original: BaseException, deadline: float) -> SourceError:
        """MySQL's and MariaDB's."""
        reason = self._clean(" ".join(str(part) for part in original.args[1:]))
        reason = f"{' '.join(reason.split())[:300]} ({number})"
        if number in _MYSQL_LOGIN:
            return self._login()
        if number in _MYSQL_FORBIDDEN:
            return self._forbidden(reason)
        if number in _MYSQL_LATE or time.monotonic() > deadline:
            return self.late()
        if number in _MYSQL_UNKNOWN:
            return self._unknown(reason)
        if number in _MYSQL_DATABASE:
            return SourceBroken(f"{self._where()}: {reason}; correct the database in its url")
        if number in _MYSQL_WRITES:
            return self._writes(reason)
        if number in _MYSQL_ZONE:
            return SourceBroken(
                f"{self._where()}: the server does not know the zone {self._zone}; load its time zone tables "
                "(mysql_tzinfo_to_sql)"
            )
        if number in _MYSQL_AWAY:
            return self._away(reason)
        if number in _MYSQL_CHARACTERS:
            return SourceBroken(
                f"{self._where()}: what is asked for has characters that a column cannot hold: {reason}; convert the "
                "table to utf8mb4"
            )
        return SourceBroken(f"{self._where()}: the query failed: {reason}")

    def _login(self) -> SourceError:
        return SourceRefused(f"{self._where()} refused the login; check the user and the password in its url")

    def _forbidden(self, reason: str) -> SourceError:
        return SourceRefused(f"{self._where()} forbids this: {reason}; grant SELECT to the account")

    def _unknown(self, reason: str) -> SourceError:
        advice = "correct the query" if self._own else "set `query` to one that fits your tables"
        return SourceBroken(f"{self._where()}: {_first_sentence(reason)}; {advice}")

    def _writes(self, reason: str) -> SourceError:
        return SourceBroken(f"{self._where()}: the query writes; only reading is allowed: {reason}")

    def _away(self, reason: str) -> SourceError:
        return SourceUnavailable(f"{self._where()} cannot be reached: {reason}; check the address and that it runs")

    def _clean(self, text: str) -> str:
        login, _, _ = self._url.partition("://")[2].rpartition("@")
        written = {login.partition(":")[2], *re.findall(r"(?i)passw\w*=([^&]+)", self._url)}
        secrets = written | {unquote(secret) for secret in written}
        for secret in secrets:
            if secret:
                text = text.replace(secret, "***")
        return text


class _Hidden(Exception):
    """Stands for a foreign error whose own text may hold the address with its password."""


def _mysql_zone(name: str | None) -> str:
    """The zone as MySQL takes it: an offset where it is always the same, else its name.

    A server knows names only when its time zone tables were loaded, which they often are not.

    >>> _mysql_zone("Asia/Shanghai"), _mysql_zone("Europe/Berlin"), _mysql_zone(None)
    ('+08:00', 'Europe/Berlin', '+00:00')
    """
    if name is None:
        return "+00:00"
    zone = ZoneInfo(name)
    # Orders older than this are not asked for; a fixed day, so that equal questions are equal.
    days = (datetime(2005, 1, 1, tzinfo=UTC) + timedelta(days=10 * n) for n in range(1_500))
    offsets = {day.astimezone(zone).utcoffset() for day in days}
    offset = offsets.pop()
    if offsets or offset is None or offset.total_seconds() % 60:
        return name
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _says(told: str, *words: str) -> bool:
    return any(word in told for word in words)


def _first_sentence(reason: str) -> str:
    """A database's error without the excerpt of the statement that follows it."""
    return re.split(r" LINE \d+:|\n", reason)[0]
