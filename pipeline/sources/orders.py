"""Order histories out of any SQL database, by the user's own query.

The query is the user's text and nothing else: what comes from a ticket goes in as bind values only. SQLite and
PostgreSQL are opened read-only; for any other database the account must be one that can only read.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa

from parsers.tables import ORDER_EVENTS, empty
from pipeline.errors import SourceBroken, SourceError, SourceRefused, SourceUnavailable
from pipeline.values import Ask, Fetched, Pointer, Span, What
from snapshots.model import Coverage, Status, Window, canonical_json

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

INDEX = "orders"

REQUIRED = ("order_id", "entity", "entity_id", "state", "occurred_at")
OPTIONAL = ("amount_minor", "currency", "channel", "attributes")
LISTS = ("order_ids", "trade_ids", "any_ids", "customer_ids", "phones", "phone_tails")
SCALARS = ("start", "end", "limit")

_ROWS = 10_000
_EVERYTHING = 2_000_000_000
_RESOLVE_AT_ONCE = 200
_AT = re.compile(r":(?P<at>\d{4}-\d\d-\d\dT[^#]*)(?:#\d+)?$")

# The default queries: the orders that the ticket names, and the orders that moved in the window, latest first; each with
# its whole history, since a rule about an order's states means nothing on half of them. They are asked one after the
# other, so that a large table costs the second and not the first.
_COLUMNS = "order_id, entity, entity_id, state, amount_minor, currency, channel, occurred_at, attributes"
_NAMES = """
  SELECT order_id FROM order_events
  WHERE order_id IN :any_ids OR entity_id IN :any_ids
     OR {customer_id} IN :customer_ids OR {phone_tail} IN :phone_tails
     OR {channel_txn_id} IN :any_ids OR {out_trade_no} IN :any_ids
"""
_NAMED = f"""
SELECT {_COLUMNS} FROM order_events WHERE order_id IN ({_NAMES})
ORDER BY order_id, {{occurred_at}}, entity, entity_id, state LIMIT :limit
"""  # noqa: S608 - from constants only
_MOVED = f"""
WITH latest AS (
  SELECT order_id, occurred_at FROM order_events WHERE {{occurred_at}} >= {{start}} AND {{occurred_at}} < {{end}}
  ORDER BY {{occurred_at}} DESC LIMIT :limit
), moved AS MATERIALIZED (
  SELECT order_id, max({{occurred_at}}) AS last FROM latest GROUP BY order_id
)
SELECT {", ".join(f"e.{name}" for name in _COLUMNS.split(", "))}
FROM order_events AS e LEFT JOIN moved ON moved.order_id = e.order_id
WHERE e.order_id IN (SELECT order_id FROM moved)
ORDER BY moved.last DESC, e.order_id, e.occurred_at, e.entity, e.entity_id, e.state LIMIT :limit
"""  # noqa: S608 - from constants only
_ALL = f"""
SELECT order_id FROM order_events
WHERE order_id IN ({_NAMES}) OR order_id IN (
  SELECT order_id FROM order_events WHERE {{occurred_at}} >= {{start}} AND {{occurred_at}} < {{end}}
)
"""  # noqa: S608 - from constants only
_ATTRIBUTES = ("customer_id", "phone_tail", "channel_txn_id", "out_trade_no")

Positive = Annotated[float, msgspec.Meta(gt=0)]


class Options(msgspec.Struct, frozen=True, kw_only=True, tag="orders", tag_field="kind", forbid_unknown_fields=True):
    """Where the orders are and how to ask for them. Secrets arrive resolved and are never shown.

    `url` is SQLAlchemy's (https://docs.sqlalchemy.org/en/21/core/engines.html#database-urls). `query` gives the columns
    `order_id, entity, entity_id, state, occurred_at` and, where there are any, `amount_minor, currency, channel,
    attributes`; any other column becomes an attribute. It may use the lists `:order_ids` (orders), `:trade_ids`
    (payments, refunds, the channel's numbers), `:any_ids` (both), `:customer_ids`, `:phones`, `:phone_tails` after `IN`,
    and `:start`, `:end`, `:limit`. Without it a table `order_events` of those columns is read (SQLite and PostgreSQL).
    `timeout` is in seconds. `zone` is the IANA zone of times without one, UTC otherwise. `times_as` is how `:start` and
    `:end` are given; `timestamp` is `2026-11-23 10:02:31` for SQLite, `text` is `2026-11-23T10:02:31Z` for any.
    """

    url: str
    query: str | None = None
    timeout: Positive = 10.0
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 200_000
    zone: str | None = None
    times_as: Literal["timestamp", "text", "epoch_s", "epoch_ms"] = "timestamp"

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        if "://" not in self.url:
            raise ValueError("url must look like sqlite:///orders.db or postgresql://user@host/database")
        if self.zone is not None:
            try:
                ZoneInfo(self.zone)
            except (KeyError, ValueError, OSError):
                raise ValueError(f"zone {self.zone!r} is not an IANA time zone such as Asia/Shanghai") from None

    def __repr__(self) -> str:
        """Says where, never with which password."""
        return f"Options(url={self.place!r}, query={'own' if self.query else 'default'})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `__repr__`: what rich prints in place of it shall tell no more."""
        return [("url", self.place), ("query", self.query)]

    @property
    def place(self) -> str:
        """The address without user, password and parameters, for people."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


class OrdersSource:
    """One database, asked for order events. Holds no connection between questions."""

    kind = "orders"
    holds: frozenset[What] = frozenset({"order_events"})

    def __init__(self, name: str, options: Options) -> None:
        """Nothing is opened until the first question."""
        self.name = name
        self.options = options
        self._zone = ZoneInfo(options.zone) if options.zone else None
        self._made: Engine | None = None

    def __repr__(self) -> str:
        """The name and the options without their secrets."""
        return f"OrdersSource({self.name!r}, {self.options!r})"

    # ---- the four questions

    def fetch(self, ask: Ask) -> Fetched:
        """The events of the named orders, then those of the window, `min(ask.limit, options.limit)` at most.

        An order comes with its whole history where the query gives it, so rows may lie outside the window; the ledger
        notes them. An order whose history the limit would cut in two is left out whole and counted as `cut`. Raises
        `SourceRefused`, `SourceUnavailable` or `SourceBroken`.
        """
        if ask.what != "order_events":
            coverage = self._coverage(ask, "skipped", f"an orders source holds no {ask.what}")
            return Fetched(empty(ORDER_EVENTS), coverage)
        limit = min(ask.limit, self.options.limit)
        notes: list[str] = []
        problem: str | None = None
        if self.options.query:
            rows, more = self._rows(ask, limit, self.options.query)
        else:
            rows, more, problem = self._by_default(ask, limit)
        fetched = rows.num_rows
        matched: int | None = fetched
        if more:
            matched = self._count(ask)
            if matched is None:
                notes.append("the limit was reached; how many more rows there are was not counted in time")
            rows = self._whole_orders(rows, more)
            fetched = rows.num_rows
        absent = [name for name in OPTIONAL if name not in rows.column_names]
        if absent:
            notes.append(f"the query gives no column {', '.join(absent)}")
        parsed = self._parse(rows)
        beside = self._beside(parsed.table, ask.window)
        if beside:
            notes.append(f"{beside:,} rows of those orders lie outside the window and are kept")
        matched = None if problem else matched
        cut = 0 if not more else 1 if matched is None else matched - fetched
        status: Status = "partial" if problem or (more and matched is None) else "ok" if fetched else "empty"
        if status == "empty":
            notes.append("no order of the ticket and none in the window")
        coverage = self._coverage(
            ask,
            status,
            *notes,
            matched=matched,
            fetched=fetched,
            used=parsed.table.num_rows,
            sampled=bool(more),
            cut=cut,
            duplicates=parsed.duplicates,
            unparsed=parsed.unparsed,
            error=problem,
        )
        # A query answers for the named identifiers, so that others may bring more.
        return Fetched(parsed.table, coverage, complete=False)

    def _by_default(self, ask: Ask, limit: int) -> tuple[pa.Table, list[Any], str | None]:
        """The named orders, then those of the window; the error, if the second question failed after the first."""
        import pyarrow.compute as pc

        if not any(ask.identifiers.values()):
            return *self._rows(ask, limit, _MOVED), None
        named, more = self._rows(ask, limit, _NAMED)
        left = limit - named.num_rows
        if more or left <= 0:
            return named, more or [None], None
        try:
            moved, more = self._rows(ask, limit, _MOVED)
        except SourceUnavailable as error:
            if not named.num_rows:
                raise
            return named, [], f"only the named orders were read: {error}"
        known = pc.is_in(moved.column("order_id"), named.column("order_id").combine_chunks())
        moved = moved.filter(pc.invert(known))
        if moved.num_rows > left:
            more = [moved.column("order_id")[left].as_py()]
            moved = moved.slice(0, left)
        return pa.concat_tables([named, moved]), more, None

    def resolve(self, pointers: Iterable[Pointer]) -> dict[Pointer, bytes | None]:
        """The canonical JSON of each event, read again by its natural key, or None where it is gone."""
        wanted = [p for p in dict.fromkeys(pointers) if p.kind == "order_event"]
        answer: dict[Pointer, bytes | None] = dict.fromkeys(wanted)
        known = [p for p in wanted if p.doc_id]
        for start in range(0, len(known), _RESOLVE_AT_ONCE):
            some = known[start : start + _RESOLVE_AT_ONCE]
            ids = tuple(dict.fromkeys(i for p in some for i in _entity_ids(str(p.doc_id))))
            epoch = datetime.fromtimestamp(0, UTC)
            self._look(answer, some, Ask("order_events", Span(epoch, epoch), {"order_id": ids, "out_trade_no": ids}))
        # A query that knows orders by time only is asked for the event's own second.
        for pointer in known:
            moment = _moment(pointer)
            if answer[pointer] is None and moment is not None:
                window = Span(moment, moment + timedelta(seconds=1))
                self._look(answer, [pointer], Ask("order_events", window))
        return answer

    def _look(self, answer: dict[Pointer, bytes | None], some: Sequence[Pointer], ask: Ask) -> None:
        from parsers.order_events import canonical_order_event

        rows, _ = self._rows(ask, self.options.limit, self.options.query or _NAMED)
        table = self._parse(rows).table
        places = {key: row for row, key in enumerate(table.column("_id").to_pylist())}
        for pointer in some:
            row = places.get(pointer.doc_id)
            if row is not None:
                answer[pointer] = canonical_json(canonical_order_event(table.slice(row, 1).to_pylist()[0]))

    def probe(self) -> list[str]:
        """The database's version, and what the query gives for the last seven days."""
        with self._connected(time.monotonic() + self.options.timeout) as connection:
            dialect = connection.dialect
            version = ".".join(str(part) for part in dialect.server_version_info or ())
            lines = [f"{dialect.name} {version} by {dialect.driver}"]
        now = datetime.now(UTC)
        rows, more = self._rows(
            Ask("order_events", Span(now - timedelta(days=7), now)), 1_000, self.options.query or _MOVED
        )
        newest = None
        if rows.num_rows:
            import pyarrow.compute as pc

            newest = pc.max(self._parse(rows).table.column("occurred_at")).as_py()
        found = f"{rows.num_rows:,}{' or more' if more else ''} rows in the last seven days"
        lines.append(f"{'own query' if self.options.query else 'table order_events'}: {found}")
        lines.append(f"newest of them {_stamp(newest)}" if newest else "columns: " + ", ".join(rows.column_names))
        return lines

    def close(self) -> None:
        """Gives back what the engine holds."""
        made, self._made = self._made, None
        if made is not None:
            made.dispose()

    # ---- asking

    def _rows(self, ask: Ask, limit: int, query: str) -> tuple[pa.Table, list[Any]]:
        """The query's columns of at most `limit` rows, and the order id of the row after them, if there is one."""
        deadline = min(ask.deadline, time.monotonic() + self.options.timeout)
        batches: list[pa.Table] = []
        left = limit
        after: list[Any] = []
        with self._connected(deadline) as connection:
            statement, values = self._statement(connection, ask, limit + 1, query)
            result = connection.execution_options(stream_results=True, yield_per=_ROWS).execute(statement, values)
            with closing(result):
                names = [str(name).lower() for name in result.keys()]  # noqa: SIM118 - a result is not a mapping
                missing = [name for name in REQUIRED if name not in names]
                if missing:
                    raise SourceBroken(
                        f"{self.where()}: the query gives no column {', '.join(missing)}; name them with AS. "
                        f"It gives: {', '.join(names)}"
                    )
                for rows in result.partitions(_ROWS):
                    if len(rows) > left:
                        after = [rows[left][names.index("order_id")]]
                        rows = rows[:left]  # noqa: PLW2901 - the rest is not wanted
                    if rows:
                        batches.append(self._columns(names, rows))
                    left -= len(rows)
                    if after:
                        break
                    if time.monotonic() > deadline:
                        raise self._late()
        if not batches:
            return pa.table({name: pa.array([], pa.string()) for name in names}), after
        return pa.concat_tables(batches), after

    @staticmethod
    def _columns(names: Sequence[str], rows: Sequence[Any]) -> pa.Table:
        values: dict[str, Callable[[Any], str | None]] = {"occurred_at": _time, "attributes": _json}
        columns = {}
        for name, column in zip(names, zip(*rows, strict=True), strict=True):
            # Other columns become attributes, as they would from a file.
            columns[name] = pa.array(map(values.get(name, _amount), column), pa.string())
        return pa.table(columns)

    def _statement(
        self, connection: Connection, ask: Ask, limit: int, query: str, *, counting: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        import sqlalchemy

        dialect = connection.dialect.name
        text = query if query is self.options.query else self._default(dialect, query)
        text = text.strip().rstrip(";")
        if counting:
            # The user's query inside a count: nothing from the ticket is in this text either.
            text = f"SELECT count(*) FROM ({text}) AS counted"  # noqa: S608
        statement = sqlalchemy.text(text)
        used = set(statement.compile().params)
        unknown = sorted(used - set(LISTS) - set(SCALARS))
        if unknown:
            raise SourceBroken(
                f"{self.where()}: the query uses :{', :'.join(unknown)}, which nothing fills; "
                f"there are :{', :'.join((*LISTS, *SCALARS))} (write \\: for a colon)"
            )
        orders, trades = ask.values("order_id"), ask.values("out_trade_no", "channel_txn_id", "refund_id")
        phones = ask.values("phone")
        tails = (*ask.values("phone_tail"), *(phone[-4:] for phone in phones if len(phone) >= 4))
        values: dict[str, Any] = {
            "order_ids": orders,
            "trade_ids": trades,
            "any_ids": dict.fromkeys((*orders, *trades)),
            "customer_ids": ask.values("customer_id"),
            "phones": phones,
            "phone_tails": dict.fromkeys(tails),
            "start": self._bound(dialect, ask.window.start),
            "end": self._bound(dialect, ask.window.end),
            "limit": limit,
        }
        values = {name: list(value) if name in LISTS else value for name, value in values.items() if name in used}
        lists = [
            sqlalchemy.bindparam(name, expanding=True, type_=sqlalchemy.String()) for name in LISTS if name in used
        ]
        return statement.bindparams(*lists), values

    def _bound(self, dialect: str, moment: datetime) -> Any:
        local = moment.astimezone(self._zone).replace(tzinfo=None) if self._zone else moment.astimezone(UTC)
        match self.options.times_as:
            case "epoch_s":
                return moment.timestamp()
            case "epoch_ms":
                return int(moment.timestamp() * 1000)
            case "timestamp" if dialect == "postgresql":
                return moment
            case "timestamp" if dialect == "sqlite":
                # As CURRENT_TIMESTAMP and most that write to SQLite spell it, so that text compares as time.
                return local.replace(tzinfo=None).isoformat(" ")
            case "timestamp":
                return local.replace(tzinfo=None)
            case _:
                return local.isoformat().replace("+00:00", "Z")

    def _default(self, dialect: str, query: str) -> str:
        if dialect == "sqlite":
            attribute = "CASE WHEN json_valid(attributes) THEN CAST(json_extract(attributes, '$.{}') AS TEXT) END"
            moment = "julianday({})"
        elif dialect == "postgresql":
            attribute = "CAST(NULLIF(CAST(attributes AS text), '') AS jsonb) ->> '{}'"
            moment = "CAST({} AS timestamptz)"
        else:
            raise SourceBroken(f"{self.where()}: there is no default query for {dialect}; set `query` to your own")
        parts = {name: attribute.format(name) for name in _ATTRIBUTES}
        bounds = {name: moment.format(f":{name}") for name in ("start", "end")}
        return query.format(**parts, **bounds, occurred_at=moment.format("occurred_at"))

    def _count(self, ask: Ask) -> int | None:
        """How many rows the query gives without a limit; None where the time does not suffice."""
        try:
            with self._connected(min(ask.deadline, time.monotonic() + self.options.timeout)) as connection:
                query = self.options.query or _ALL
                statement, values = self._statement(connection, ask, _EVERYTHING, query, counting=True)
                return int(connection.execute(statement, values).scalar_one())
        except SourceError:
            return None

    @staticmethod
    def _whole_orders(rows: pa.Table, after: Sequence[Any]) -> pa.Table:
        ids = rows.column("order_id").to_pylist()
        keep = len(ids)
        last = _text(after[0])
        while keep and ids[keep - 1] == last:
            keep -= 1
        # A single order larger than the limit is better cut than not seen.
        return rows.slice(0, keep) if keep else rows

    def _parse(self, rows: pa.Table) -> Any:
        from parsers.order_events import order_events_from_rows

        return order_events_from_rows(rows, source=self.name, index=INDEX, zone=self._zone)

    @staticmethod
    def _beside(table: pa.Table, window: Span) -> int:
        import pyarrow.compute as pc

        times = table.column("occurred_at")
        edges = [pa.scalar(edge, type=times.type) for edge in (window.start, window.end)]
        out = pc.or_(pc.less(times, edges[0]), pc.greater_equal(times, edges[1]))
        return int(pc.sum(out).as_py() or 0)

    def _coverage(self, ask: Ask, status: Status, *notes: str, **numbers: Any) -> Coverage:
        query = "own query" if self.options.query else "table order_events"
        named = [f"{len(values):,} {kind}" for kind, values in ask.identifiers.items() if values]
        window = f"from {_stamp(ask.window.start)} to {_stamp(ask.window.end)}"
        asked = f"{query}: orders of {', '.join(named)}, and those {window}" if named else f"{query}: orders {window}"
        return Coverage(
            source=self.name,
            kind=self.kind,
            what=ask.what,
            status=status,
            asked=asked,
            window=Window(start=_stamp(ask.window.start), end=_stamp(ask.window.end)),
            notes=list(notes),
            **numbers,
        )

    # ---- the connection

    def where(self) -> str:
        """How messages name this source."""
        return f"source {self.name!r} ({self.options.place})"

    def _late(self) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self.where()} did not answer in time; raise timeout or --budget, or index what the query asks by"
        )

    @contextmanager
    def _connected(self, deadline: float) -> Iterator[Connection]:
        """A read-only transaction whose statements end by `deadline`; foreign errors leave as ours."""
        # Imported here: half a second that only who has such a source shall pay.
        import sqlalchemy.exc

        left = deadline - time.monotonic()
        if left <= 0:
            raise self._late()
        try:
            with self._engine().connect() as opened:
                connection = opened
                if connection.dialect.name == "postgresql":
                    connection = opened.execution_options(postgresql_readonly=True)
                    limits = {"ms": str(max(1, int(left * 1000))), "zone": self.options.zone or "UTC"}
                    settings = "SELECT set_config('statement_timeout', :ms, true), set_config('TimeZone', :zone, true)"
                    connection.execute(sqlalchemy.text(settings), limits)
                elif connection.dialect.name == "sqlite":
                    raw: Any = connection.connection.dbapi_connection
                    raw.execute("PRAGMA query_only = ON")
                    raw.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
                yield connection
        except SourceError:
            raise
        except (sqlalchemy.exc.SQLAlchemyError, ImportError, OSError, ValueError) as error:
            raise self._translated(error, deadline) from _Hidden(type(error).__name__)

    def _engine(self) -> Engine:
        if self._made is None:
            import sqlalchemy
            from sqlalchemy.pool import NullPool

            try:
                url = sqlalchemy.make_url(self.options.url.replace("postgres://", "postgresql://", 1))
                backend = url.get_backend_name()
                url.get_dialect()
            except sqlalchemy.exc.ArgumentError:
                raise SourceBroken(f"{self.where()}: no such database type; see SQLAlchemy's database URLs") from None
            arguments: dict[str, Any] = {}
            if backend == "postgresql":
                if url.drivername == "postgresql":
                    url = url.set(drivername="postgresql+psycopg")
                # libpq counts whole seconds, two at least.
                arguments = {
                    "connect_timeout": max(2, int(self.options.timeout)),
                    "application_name": "problem-snapshot",
                }
            elif backend == "sqlite" and url.database and url.database != ":memory:":
                if not url.database.startswith("file:"):
                    # Opened as it is: SQLite would otherwise make an empty file where there is none.
                    url = url.set(
                        database=f"file:{quote(url.database)}", query={**url.query, "mode": "ro", "uri": "true"}
                    )
                arguments = {"timeout": self.options.timeout}
            self._made = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
        return self._made

    def _translated(self, error: Exception, deadline: float) -> SourceError:
        """Our error for a foreign one. SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html."""
        original = getattr(error, "orig", None) or error
        reason = self._clean(" ".join(str(original).split()))[:300]
        # A connection that fails has no SQLSTATE, only libpq's words.
        told = f"{getattr(original, 'sqlstate', None) or ''} {reason}".lower()
        where = self.where()
        own = bool(self.options.query)
        if isinstance(error, ImportError):
            return SourceBroken(f"{where}: the driver is missing: {reason}; install it beside problem-snapshot")
        if _says(told, "28p01 ", "28000 ", "password authentication failed", "access denied", "pg_hba"):
            return SourceRefused(f"{where} refused the login; check the user and the password in its url")
        if _says(told, "42501 ", "permission denied"):
            return SourceRefused(f"{where} forbids this: {reason}; grant SELECT to the account")
        if _says(told, "57014 ", "interrupted", "statement timeout") or time.monotonic() > deadline:
            return self._late()
        if _says(told, "42p01 ", "42703 ", "no such table", "no such column"):
            advice = "correct the query" if own else "set `query` to one that fits your tables"
            return SourceBroken(f"{where}: {_first_sentence(reason)}; {advice}")
        return self._translated_rest(original, told, reason)

    def _translated_rest(self, original: BaseException, told: str, reason: str) -> SourceError:
        where = self.where()
        if _says(told, "3d000 ") or ('database "' in told and "does not exist" in told):
            return SourceBroken(f"{where}: {reason}; correct the database in its url")
        if _says(told, "unable to open database file"):
            return SourceUnavailable(f"{where} cannot be opened; is the path right, and may it be read?")
        if _says(told, "25006 ", "readonly", "read-only"):
            return SourceBroken(f"{where}: the query writes; only reading is allowed: {reason}")
        lost = type(original).__name__ in {"OperationalError", "ConnectionTimeout", "InterfaceError"}
        if lost and told.startswith(" ") and not type(original).__module__.startswith("sqlite3"):
            return SourceUnavailable(f"{where} cannot be reached: {reason}; check the address and that it runs")
        return SourceBroken(f"{where}: the query failed: {_first_sentence(reason)}")

    def _clean(self, text: str) -> str:
        login, _, _ = self.options.url.partition("://")[2].rpartition("@")
        written = {login.partition(":")[2], *re.findall(r"(?i)passw\w*=([^&]+)", self.options.url)}
        secrets = written | {unquote(secret) for secret in written}
        for secret in secrets:
            if secret:
                text = text.replace(secret, "***")
        return text


class _Hidden(Exception):
    """Stands for a foreign error whose own text may hold the address with its password."""


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _amount(value: Any) -> str | None:
    """A value as text: a whole number without a point, whatever type the database gave it."""
    if isinstance(value, Decimal | float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return _json(value)


def _time(value: Any) -> str | None:
    """A time as text; one without an offset keeps none, so that the parser gives it the configured zone."""
    if isinstance(value, datetime):
        return _stamp(value) if value.tzinfo else value.isoformat()
    if isinstance(value, Decimal | float) and math.isfinite(value):
        # A fraction of a second or of a millisecond moves into the next unit, which the parser knows by its size.
        return str(int(value)) if value == int(value) else str(int(value * 1000))
    return _text(value)


def _json(value: Any) -> str | None:
    """Attributes as JSON text, from JSON, JSONB or text columns alike."""
    return canonical_json(value).decode() if isinstance(value, dict | list) else _text(value)


def _says(told: str, *words: str) -> bool:
    return any(word in told for word in words)


def _first_sentence(reason: str) -> str:
    """A database's error without the excerpt of the statement that follows it."""
    return re.split(r" LINE \d+:|\n", reason)[0]


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _entity_ids(key: str) -> list[str]:
    """What may be the entity's id in a natural key `entity:entity_id:state:time`; ids and states may hold colons."""
    inner = _AT.sub("", key).split(":")[1:]
    return [":".join(inner[:n]) for n in range(1, max(2, len(inner)))]


def _moment(pointer: Pointer) -> datetime | None:
    found = _AT.search(pointer.doc_id or "")
    text = found["at"] if found else pointer.at
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment and not moment.tzinfo else moment
