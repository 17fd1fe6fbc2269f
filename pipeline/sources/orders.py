"""Order histories out of any SQL database, by the user's own query.

The query is the user's text and nothing else: what comes from a ticket goes in as bind values only. SQLite, PostgreSQL,
MySQL and MariaDB are asked in transactions that only read; for any other database the account must be one that can only
read. The default queries are those of `order_queries.py`, the connections those of `order_databases.py`.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa

from parsers.tables import ORDER_EVENTS, empty
from pipeline.errors import SourceBroken, SourceError, SourceUnavailable
from pipeline.sources import order_queries
from pipeline.sources.order_databases import Database
from pipeline.values import Ask, Fetched, Pointer, Span, What
from snapshots.model import Coverage, Status, Window, canonical_json

if TYPE_CHECKING:
    from sqlalchemy import Connection

INDEX = "orders"

REQUIRED = ("order_id", "entity", "entity_id", "state", "occurred_at")
OPTIONAL = ("amount_minor", "currency", "channel", "attributes")
LISTS = ("order_ids", "trade_ids", "any_ids", "customer_ids", "phones", "phone_tails")
SCALARS = ("start", "end", "limit")

_ROWS = 10_000
_EVERYTHING = 2_000_000_000
_RESOLVE_AT_ONCE = 200
_AT = re.compile(r":(?P<at>\d{4}-\d\d-\d\dT[^#]*)(?:#\d+)?$")

_HISTORY_AT_ONCE = 1_000
# How long rows beyond the limit are counted, and the share of the time left that is kept for what comes after reading:
# the rows that were read must still be parsed and handed on before nobody waits for them.
_COUNT_SECONDS = 2.0
_COUNT_SHARE = 0.5
_PARSE_SHARE = 0.1

# Which query: the user's, or one of the two that are asked where there is none.
_Which = Literal["own", "named", "moved"]

Positive = Annotated[float, msgspec.Meta(gt=0)]


class Options(msgspec.Struct, frozen=True, kw_only=True, tag="orders", tag_field="kind", forbid_unknown_fields=True):
    """Where the orders are and how to ask for them. Secrets arrive resolved and are never shown.

    `url` is SQLAlchemy's (https://docs.sqlalchemy.org/en/21/core/engines.html#database-urls). `query` gives the columns
    `order_id, entity, entity_id, state, occurred_at` and, where there are any, `amount_minor, currency, channel,
    attributes`; any other column becomes an attribute. It may use the lists `:order_ids` (orders), `:trade_ids`
    (payments, refunds, the channel's numbers), `:any_ids` (both), `:customer_ids`, `:phones`, `:phone_tails` after `IN`,
    and `:start`, `:end`, `:limit`. Without it a table `order_events` of those columns is read (SQLite, PostgreSQL, MySQL,
    MariaDB). `timeout` is in seconds. `zone` is the IANA zone of times without one, UTC otherwise. `times_as` is how
    `:start` and `:end` are given; `timestamp` is `2026-11-23 10:02:31` for SQLite, `text` is `2026-11-23T10:02:31Z` for
    any. `pool` is the most connections at a time. `history` is a second query, for audit rows as
    `parsers.order_history` takes them; it has the same lists, filled with the orders that the first query gave.
    `history_fields` are the names that the state's column has in a generic audit table.
    """

    url: str
    query: str | None = None
    timeout: Positive = 10.0
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 200_000
    zone: str | None = None
    times_as: Literal["timestamp", "text", "epoch_s", "epoch_ms"] = "timestamp"
    pool: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    history: str | None = None
    history_fields: tuple[str, ...] = ("state", "status")

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
        return [("url", self.place), ("query", self.query), ("history", self.history)]

    @property
    def place(self) -> str:
        """The address without user, password and parameters, for people."""
        scheme, _, rest = self.url.partition("://")
        login, at, place = rest.rpartition("@")
        place = place.partition("?")[0]
        if at and ("/" in login or "?" in login):
            # An @ in a parameter, or a slash in a password: which, cannot be told, and so nothing of it is shown.
            place = "***"
        return f"{scheme}://{place}"


@dataclass(frozen=True)
class _Read:
    """What a query gave: its rows as text, and the order of the first row beyond the limit, if there is one.

    `problem` is why there are fewer than there should be.
    """

    rows: pa.Table
    after: tuple[Any, ...] = ()
    problem: str | None = None


class OrdersSource:
    """One database, asked for order events. Its connections are shared by all threads that ask it."""

    kind = "orders"
    holds: frozenset[What] = frozenset({"order_events"})

    def __init__(self, name: str, options: Options) -> None:
        """Nothing is opened until the first question."""
        self.name = name
        self.options = options
        self._zone = ZoneInfo(options.zone) if options.zone else None
        self._database = Database(
            options.url,
            self.where,
            timeout=options.timeout,
            pool=options.pool,
            zone=options.zone,
            own=bool(options.query),
        )
        self._shape: order_queries.Shape | None = None

    def __repr__(self) -> str:
        """The name and the options without their secrets."""
        return f"OrdersSource({self.name!r}, {self.options!r})"

    # ---- the four questions

    def fetch(self, ask: Ask) -> Fetched:
        """The events of the named orders, then those of the window, `min(ask.limit, options.limit)` at most.

        An order comes with its whole history where the query gives it, so rows may lie outside the window; the ledger
        notes them. An order whose history the limit would cut in two is left out whole and counted as `cut`. With a
        history query the limit is on the rows of the first one. Raises `SourceRefused`, `SourceUnavailable` or
        `SourceBroken`.
        """
        if ask.what != "order_events":
            coverage = self._coverage(ask, "skipped", f"an orders source holds no {ask.what}")
            return Fetched(empty(ORDER_EVENTS), coverage)
        limit = min(ask.limit, self.options.limit)
        notes: list[str] = []
        read = self._rows(ask, limit, "own") if self.options.query else self._by_default(ask, limit)
        rows, problem = read.rows, read.problem
        matched: int | None = rows.num_rows
        if read.after:
            matched = None if problem else self._count(ask)
            if matched is None and not problem:
                notes.append("the limit was reached; how many more rows there are was not counted in time")
            rows = self._whole_orders(rows, read.after)
        absent = [name for name in OPTIONAL if name not in rows.column_names]
        if absent:
            notes.append(f"the query gives no column {', '.join(absent)}")
        fetched = rows.num_rows
        cut = 0 if not read.after else 1 if matched is None else matched - fetched
        if self.options.history:
            rows, audited, told, missing = self._with_history(ask, rows)
            notes += told
            fetched += audited
            matched = None if matched is None else matched + audited
            problem = "; ".join(one for one in (problem, missing) if one) or None
        parsed = self._parse(rows)
        beside = self._beside(parsed.table, ask.window)
        if beside:
            notes.append(f"{beside:,} rows of those orders lie outside the window and are kept")
        matched = None if problem else matched
        status: Status = "partial" if problem or (read.after and matched is None) else "ok" if fetched else "empty"
        if status == "empty":
            notes.append("no order of the ticket and none in the window")
        coverage = self._coverage(
            ask,
            status,
            *notes,
            matched=matched,
            fetched=fetched,
            used=parsed.table.num_rows,
            sampled=bool(read.after),
            cut=cut,
            duplicates=parsed.duplicates,
            unparsed=parsed.unparsed,
            error=problem,
        )
        # A query answers for the named identifiers, so that others may bring more.
        return Fetched(parsed.table, coverage, complete=False)

    def _by_default(self, ask: Ask, limit: int) -> _Read:
        """The named orders, then those of the window, each once.

        Without `ask.rest` only the named ones. They are asked one after the other, so that a large table costs the second and not the first: where only the
        first is answered in time, that is told in place of an error.
        """
        import pyarrow.compute as pc

        if ask.rest and not any(ask.identifiers.values()):
            return self._rows(ask, limit, "moved")
        named = self._rows(ask, limit, "named")
        left = limit - named.rows.num_rows
        if not ask.rest and not named.after:
            return named
        if named.after or named.problem or left <= 0:
            return _Read(named.rows, named.after or ((None,) if left <= 0 else ()), named.problem)
        try:
            moved = self._rows(ask, limit, "moved")
        except SourceUnavailable as error:
            if not named.rows.num_rows:
                raise
            return _Read(named.rows, (), f"only the named orders were read: {error}")
        known = pc.is_in(moved.rows.column("order_id"), named.rows.column("order_id").combine_chunks())
        rows, after = moved.rows.filter(pc.invert(known)), moved.after
        if rows.num_rows > left:
            after = (rows.column("order_id")[left].as_py(),)
            rows = rows.slice(0, left)
        return _Read(pa.concat_tables([named.rows, rows]), after, moved.problem)

    def pages(self, ask: Ask, rows: int = _ROWS) -> Iterator[pa.Table]:
        """The events of `ask` as they are read, about `rows` a table, so that memory holds one page and not the answer.

        The query must give the rows of an order one after the other: then each is whole in one page. The limit is
        `min(ask.limit, options.limit)`; where it is reached the last order is left out, if it is not the only one.
        Histories are not rebuilt here. Raises as `fetch`.
        """
        import pyarrow.compute as pc

        limit = min(ask.limit, self.options.limit)
        held: pa.Table | None = None
        more = False
        for page, after in self._read(ask, limit, "own" if self.options.query else "moved", rows):
            table = page if held is None else pa.concat_tables([held, page])
            more = bool(after)
            ids = table.column("order_id")
            if not table.num_rows:
                continue
            others = pc.indices_nonzero(pc.fill_null(pc.not_equal(ids, ids[-1]), fill_value=True))
            whole = int(others[-1].as_py()) + 1 if len(others) else 0
            held = table.slice(whole)
            if whole:
                yield self._parse(table.slice(0, whole)).table
        if held is not None and held.num_rows and not more:
            yield self._parse(held).table

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

        rows = self._rows(ask, self.options.limit, "own" if self.options.query else "named").rows
        if self.options.history:
            rows, *_ = self._with_history(ask, rows)
        table = self._parse(rows).table
        places = {key: row for row, key in enumerate(table.column("_id").to_pylist())}
        for pointer in some:
            row = places.get(pointer.doc_id)
            if row is not None:
                answer[pointer] = canonical_json(canonical_order_event(table.slice(row, 1).to_pylist()[0]))

    def probe(self) -> list[str]:
        """The database's version, whether it only reads, and what the queries give for the last seven days."""
        with self._database.session(time.monotonic() + self.options.timeout) as connection:
            dialect: Any = connection.dialect
            version = ".".join(str(part) for part in dialect.server_version_info or ())
            name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
            only = "read-only" if self._reads_only(connection) else "not read-only: use an account that may only read"
            lines = [f"{name} {version} by {dialect.driver}, {only}"]
        now = datetime.now(UTC)
        ask = Ask("order_events", Span(now - timedelta(days=7), now))
        read = self._rows(ask, 1_000, "own" if self.options.query else "moved")
        rows = read.rows
        newest = None
        if rows.num_rows:
            import pyarrow.compute as pc

            newest = pc.max(self._parse(rows).table.column("occurred_at")).as_py()
        found = f"{rows.num_rows:,}{' or more' if read.after else ''} rows in the last seven days"
        lines.append(f"{'own query' if self.options.query else 'table order_events'}: {found}")
        lines.append(f"newest of them {_stamp(newest)}" if newest else "columns: " + ", ".join(rows.column_names))
        if self.options.history:
            _, audited, notes, problem = self._with_history(ask, rows)
            lines.append("; ".join([f"history query: {audited:,} rows for the orders of those", *notes]))
            if problem:
                lines.append(problem)
        return lines

    @staticmethod
    def _reads_only(connection: Connection) -> bool:
        """Whether the database itself says that this transaction may not write."""
        match connection.dialect.name:
            case "postgresql":
                return bool(connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on")
            case "sqlite":
                return bool(connection.exec_driver_sql("PRAGMA query_only").scalar())
            case "mysql":
                # Neither server tells of the transaction that runs; this one was begun as READ ONLY, or failed.
                return True
        return False

    def close(self) -> None:
        """Gives back all connections."""
        self._database.close()

    # ---- asking

    def _rows(self, ask: Ask, limit: int, which: _Which) -> _Read:
        """At most `limit` rows of the query.

        Where the time ends amid the rows, those that came are kept, and it is told.
        """
        pages: list[pa.Table] = []
        after: tuple[Any, ...] = ()
        try:
            for page, after in self._read(ask, limit, which):  # noqa: B007 - the last one counts
                pages.append(page)
        except SourceBroken:
            # The table may have been changed since it was looked at.
            self._shape = None
            raise
        except SourceUnavailable as error:
            rows = pa.concat_tables(pages) if pages else None
            if rows is None or not rows.num_rows:
                raise
            last = (rows.column("order_id")[-1].as_py(),)
            return _Read(rows, last, f"only the first {rows.num_rows:,} rows were read: {error}")
        return _Read(pa.concat_tables(pages), after)

    def _read(
        self, ask: Ask, limit: int, which: _Which, size: int = _ROWS
    ) -> Iterator[tuple[pa.Table, tuple[Any, ...]]]:
        """The rows of a query page by page, at least one page; beside the last one the order of a row beyond `limit`."""
        left = limit
        deadline = self._until(ask)
        with self._database.session(deadline, limit + 1) as connection:
            statement, values = self._statement(connection, ask, limit + 1, self._text(connection, ask, which))
            for names, rows in self._stream(connection, statement, values, size):
                if missing := [name for name in REQUIRED if name not in names]:
                    raise self._lacks("query", names, missing)
                after: tuple[Any, ...] = ()
                kept = rows
                if len(rows) > left:
                    after, kept = (rows[left][names.index("order_id")],), rows[:left]
                left -= len(kept)
                yield self._columns(names, kept), after
                if after:
                    return
                if time.monotonic() > deadline:
                    raise self._database.late()

    def _until(self, ask: Ask) -> float:
        """When reading ends: with the source's own timeout, or a little before nobody waits for the answer."""
        now = time.monotonic()
        left = ask.deadline - now
        return min(now + self.options.timeout, ask.deadline - min(0.5, max(0.0, left) * _PARSE_SHARE))

    def _stream(
        self, connection: Connection, statement: Any, values: dict[str, Any], size: int
    ) -> Iterator[tuple[list[str], Sequence[Any]]]:
        """Names and rows, at most `size` at a time, off a cursor that the server keeps; once without rows if it has none."""
        result = connection.execution_options(stream_results=True, yield_per=size).execute(statement, values)
        with closing(result):
            names = [str(name).lower() for name in result.keys()]  # noqa: SIM118 - a result is not a mapping
            some = False
            for rows in result.partitions(size):
                some = True
                yield names, rows
            if not some:
                yield names, ()

    def _lacks(self, query: str, names: Sequence[str], missing: Sequence[str]) -> SourceBroken:
        return SourceBroken(
            f"{self.where()}: the {query} gives no column {', '.join(missing)}; name them with AS. "
            f"It gives: {', '.join(names)}"
        )

    # ---- the history

    def _with_history(self, ask: Ask, rows: pa.Table) -> tuple[pa.Table, int, list[str], str | None]:
        """The rows put together with their orders' history; how many audit rows came; what the ledger notes; what failed."""
        from parsers.order_history import rebuild_history

        audit, problem = self._audit(ask, rows)
        if audit is None:
            return rows, 0, [], problem
        built = rebuild_history(rows, audit, fields=self.options.history_fields, zone=self._zone)
        counts = (
            (built.elsewhere, "audit rows are about another column than the state"),
            (built.unchanged, "audit rows change no state"),
            (built.undated, "states before the first change have no known time and come without one"),
            (built.gaps, "changes start from a state to which no change led"),
            (built.behind, "orders or payments are now in a state that their history does not end with"),
        )
        notes = [f"{built.events:,} events come from the history query"]
        notes += [f"{number:,} {what}" for number, what in counts if number]
        return built.rows, audit.num_rows, notes, problem

    def _audit(self, ask: Ask, rows: pa.Table) -> tuple[pa.Table | None, str | None]:
        """The audit rows of the orders that were asked for or found, some orders at a time."""
        import pyarrow.compute as pc

        pages: list[pa.Table] = []
        keys = rows.select(["order_id", "entity_id"])
        orders = pc.drop_null(pc.unique(keys.column("order_id")))
        start = 0
        try:
            while start == 0 or start < len(orders):
                some = orders[start : start + _HISTORY_AT_ONCE]
                own = keys.filter(pc.is_in(keys.column("order_id"), value_set=some)).column("entity_id")
                ids = {
                    "order_id": tuple(dict.fromkeys((*ask.values("order_id"), *some.to_pylist()))),
                    "out_trade_no": tuple(
                        dict.fromkeys((*ask.values("out_trade_no"), *pc.drop_null(pc.unique(own)).to_pylist()))
                    ),
                }
                pages += self._audit_page(Ask(ask.what, ask.window, {**ask.identifiers, **ids}, deadline=ask.deadline))
                start += _HISTORY_AT_ONCE
        except SourceError as error:
            late = isinstance(error, SourceUnavailable)
            if not late and not pages:
                raise
            problem = f"the history of {max(0, len(orders) - start):,} orders was not read: {error}"
            return pa.concat_tables(pages) if pages else None, problem
        return pa.concat_tables(pages), None

    def _audit_page(self, ask: Ask) -> list[pa.Table]:
        from parsers.order_history import lacking

        pages = []
        with self._database.session(self._until(ask)) as connection:
            text = str(self.options.history)
            statement, values = self._statement(connection, ask, _EVERYTHING, text)
            for names, rows in self._stream(connection, statement, values, _ROWS):
                if missing := lacking(names):
                    raise self._lacks("history query", names, missing)
                pages.append(self._columns(names, rows))
        return pages

    @staticmethod
    def _columns(names: Sequence[str], rows: Sequence[Any]) -> pa.Table:
        if not rows:
            return pa.table({name: pa.array([], pa.string()) for name in names})
        columns = zip(*rows, strict=True)
        # Other columns become attributes, as they would from a file.
        return pa.table({name: _as_text(name, column) for name, column in zip(names, columns, strict=True)})

    def _text(self, connection: Connection, ask: Ask, which: _Which) -> str:
        """The query's text: the user's as it is, or one that fits the table."""
        if which == "own":
            return str(self.options.query)
        shape = self._shape_of(connection)
        return order_queries.moved(shape) if which == "moved" else order_queries.named(shape, self._filled(ask))

    def _shape_of(self, connection: Connection) -> order_queries.Shape:
        dialect = connection.dialect.name
        if dialect not in {"sqlite", "postgresql", "mysql"}:
            raise SourceBroken(f"{self.where()}: there is no default query for {dialect}; set `query` to your own")
        if self._shape is None:
            with closing(connection.exec_driver_sql(order_queries.COLUMNS_OF_TABLE)) as result:
                self._shape = order_queries.Shape.read(dialect, result.cursor.description)
        if dialect == "mysql" and self._shape.columns.get("occurred_at") == "text":
            raise SourceBroken(
                f"{self.where()}: occurred_at of order_events is a text, which {dialect} cannot compare as a time; "
                "make it DATETIME(6), or set `query` to your own"
            )
        return self._shape

    @staticmethod
    def _lists(ask: Ask) -> dict[str, list[str]]:
        """The lists that a query may compare with, each value once."""
        orders, trades = ask.values("order_id"), ask.values("out_trade_no", "channel_txn_id", "refund_id")
        phones = ask.values("phone")
        tails = (*ask.values("phone_tail"), *(phone[-4:] for phone in phones if len(phone) >= 4))
        lists = (orders, trades, (*orders, *trades), ask.values("customer_id"), phones, tails)
        return {name: list(dict.fromkeys(values)) for name, values in zip(LISTS, lists, strict=True)}

    def _filled(self, ask: Ask) -> set[str]:
        return {name for name, values in self._lists(ask).items() if values}

    def _statement(self, connection: Connection, ask: Ask, limit: int, text: str) -> tuple[Any, dict[str, Any]]:
        import sqlalchemy

        statement = sqlalchemy.text(text.strip().rstrip(";"))
        used = set(statement.compile().params)
        unknown = sorted(used - set(LISTS) - set(SCALARS))
        if unknown:
            raise SourceBroken(
                f"{self.where()}: the query uses :{', :'.join(unknown)}, which nothing fills; "
                f"there are :{', :'.join((*LISTS, *SCALARS))} (write \\: for a colon)"
            )
        dialect = connection.dialect.name
        values: dict[str, Any] = {
            **self._lists(ask),
            "start": self._bound(dialect, ask.window.start),
            "end": self._bound(dialect, ask.window.end),
            "limit": limit,
        }
        lists = [
            sqlalchemy.bindparam(name, expanding=True, type_=sqlalchemy.String()) for name in LISTS if name in used
        ]
        return statement.bindparams(*lists), {name: value for name, value in values.items() if name in used}

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

    def _count(self, ask: Ask) -> int | None:
        """How many rows the query gives without a limit; None where the time does not suffice."""
        now = time.monotonic()
        until = now + min(_COUNT_SECONDS, self.options.timeout, max(0.0, ask.deadline - now) * _COUNT_SHARE)
        try:
            with self._database.session(until) as connection:
                if self.options.query:
                    # The user's query inside a count: nothing from the ticket is in this text either.
                    text = f"SELECT count(*) FROM ({self.options.query.strip().rstrip(';')}) AS counted"  # noqa: S608
                else:
                    text = order_queries.count(self._shape_of(connection), self._filled(ask), window=ask.rest)
                statement, values = self._statement(connection, ask, _EVERYTHING, text)
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

    def where(self) -> str:
        """How messages name this source."""
        return f"source {self.name!r} ({self.options.place})"


def _as_text(name: str, values: Sequence[Any]) -> pa.Array:
    """One column of a page as text. What comes in one plain type, as nearly all do, is not looked at value by value."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {str}:
        return pa.array(values, pa.string())
    try:
        if kinds == {int}:
            return pa.array(values, pa.int64()).cast(pa.string())
        if kinds == {datetime} and name in {"occurred_at", "changed_at", "created_at"}:
            aware = {value.tzinfo is not None for value in values if value is not None}
            if len(aware) == 1:
                # Printed with a Z where it is a moment, without an offset where the parser must place it in a zone.
                return pa.array(values, pa.timestamp("us", "UTC" if aware.pop() else None)).cast(pa.string())
    except (pa.ArrowInvalid, OverflowError):
        pass  # a number beyond 64 bits
    text = {"occurred_at": _time, "changed_at": _time, "created_at": _time, "attributes": _json}.get(name, _amount)
    return pa.array(map(text, values), pa.string())


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
