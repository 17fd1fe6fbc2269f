"""The service's database: SQLite or PostgreSQL, opened and brought up to date, its errors in our words."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import SnapshotError, UsageError
from pipeline.secrets import without_login

if TYPE_CHECKING:
    import sqlalchemy as sa

# A writer waits so long for another one's transaction, in seconds.
_BUSY = 30
# A database that is away is asked again after so many seconds.
_PAUSES = (0.5, 1.0, 2.0, 5.0)

Done = TypeVar("Done")
_log = logging.getLogger(__name__)


class DatabaseUnavailable(SnapshotError):
    """The service's database cannot be reached, or refuses to write."""

    exit_code = 5


def opened(url: str, *, pool: int = 5) -> sa.Engine:
    """An engine on the database. Raises `UsageError` where the address names another kind of database."""
    import sqlalchemy as sa
    from sqlalchemy import event

    try:
        place = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise UsageError(f"service.database: {without_login(url)!r} is no database address") from error
    backend = place.get_backend_name()
    if backend == "sqlite":
        if not place.database or place.database == ":memory:":
            raise UsageError(
                "service.database: SQLite needs a file, since several processes share it: sqlite:////path/to/service.sqlite"
            )
        with told_errors(url):
            Path(place.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(place, pool_size=pool)

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, _record: Any) -> None:
            # One writer at a time, who says so when he begins; readers go on meanwhile. A commit is on the disk when it is told.
            connection.isolation_level = "IMMEDIATE"
            connection.execute(f"PRAGMA busy_timeout={_BUSY * 1000}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

        return engine
    if backend == "postgresql":
        return sa.create_engine(place.set(drivername="postgresql+psycopg"), pool_size=pool, pool_pre_ping=True)
    raise UsageError(f"service.database: {backend} is not supported; use sqlite or postgresql")


def prepare(engine: sa.Engine, url: str) -> None:
    """Makes what is missing of the ledger's and the queue's tables. Raises `DatabaseUnavailable`, or `UsageError` for a newer layout."""
    import sqlalchemy as sa
    from dbos import DBOS

    from pipeline.desk import intake_tables as _intake  # noqa: F401 - its tables are made with the others
    from pipeline.desk import remote_tables as _remote  # noqa: F401 - the same
    from pipeline.desk import tables as _desk  # noqa: F401 - the same
    from pipeline.service import tables
    from pipeline.service.durable import quiet

    quiet()
    with told_errors(url):
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                # Two that start at once would both make the tables.
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7213001)"))
            tables.metadata.create_all(connection)
            found = connection.scalar(sa.select(sa.func.max(tables.layout.c.version)))
            if found is None:
                connection.execute(tables.layout.insert().values(version=tables.LAYOUT))
        if found is not None and found > tables.LAYOUT:
            raise UsageError(
                f"{without_login(url)} was written by a newer problem-snapshot (layout {found}); update this one"
            )
        DBOS.migrate(engine.url.render_as_string(hide_password=False))


def insisted(call: Callable[[], Done]) -> Done:
    """Does what must not be left out, a job's beginning or end, again and again until the database takes it.

    Raises what another attempt would not mend: a value that it refuses.
    """
    import time

    import sqlalchemy as sa

    for number in itertools.count():
        try:
            return call()
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            pause = _PAUSES[min(number, len(_PAUSES) - 1)]
            cause = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
            _log.warning("the service's database does not answer; again in %.1f s: %s", pause, cause)
            time.sleep(pause)
    raise AssertionError


@contextlib.contextmanager
def told_errors(url: str) -> Iterator[None]:
    """Turns the driver's errors into `DatabaseUnavailable`, without the password of `url`."""
    import sqlalchemy as sa

    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        said = " ".join(str(cause).split())[:300]
        raise DatabaseUnavailable(f"the service's database {without_login(url)} cannot be used: {said}") from error
