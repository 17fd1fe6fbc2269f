"""One database, asked for order events."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from parsers.tables import ORDER_EVENTS, empty
from pipeline.errors import SourceUnavailable
from pipeline.sources.orders.databases import Database
from pipeline.sources.orders.history import History
from pipeline.sources.orders.options import Options
from pipeline.sources.orders.reading import ROWS, Read, Reader
from pipeline.sources.orders.statements import Statements
from pipeline.sources.orders.texts import plain_text, stamp
from pipeline.values import Ask, Fetched, Pointer, Span, What
from snapshots.model import Coverage, Status, Window, canonical_json

if TYPE_CHECKING:
    from sqlalchemy import Connection

INDEX = "orders"
OPTIONAL = ("amount_minor", "currency", "channel", "attributes")
_RESOLVE_AT_ONCE = 200
_AT = re.compile(r":(?P<at>\d{4}-\d\d-\d\dT[^#]*)(?:#\d+)?$")


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
        self._reader = Reader(self._database, Statements(options, self.where(), self._zone))
        self._history = History(self._reader, self._zone)

    def __repr__(self) -> str:
        """The name and the options without their secrets."""
        return f"OrdersSource({self.name!r}, {self.options!r})"

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
        read = self._reader.rows(ask, limit, "own") if self.options.query else self._by_default(ask, limit)
        rows, problem = read.rows, read.problem
        matched: int | None = rows.num_rows
        if read.after:
            matched = None if problem else self._reader.count(ask)
            if matched is None and not problem:
                notes.append("the limit was reached; how many more rows there are was not counted in time")
            rows = self._whole_orders(rows, read.after)
        absent = [name for name in OPTIONAL if name not in rows.column_names]
        if absent:
            notes.append(f"the query gives no column {', '.join(absent)}")
        fetched = rows.num_rows
        cut = 0 if not read.after else 1 if matched is None else matched - fetched
        if self.options.history:
            rows, audited, told, missing = self._history.put_with(ask, rows)
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

    def _by_default(self, ask: Ask, limit: int) -> Read:
        """The named orders, then those of the window, each once.

        Without `ask.rest` only the named ones. They are asked one after the other, so that a large table costs the second and not the first: where only the
        first is answered in time, that is told in place of an error.
        """
        import pyarrow.compute as pc

        if ask.rest and not any(ask.identifiers.values()):
            return self._reader.rows(ask, limit, "moved")
        named = self._reader.rows(ask, limit, "named")
        left = limit - named.rows.num_rows
        if not ask.rest and not named.after:
            return named
        if named.after or named.problem or left <= 0:
            return Read(named.rows, named.after or ((None,) if left <= 0 else ()), named.problem)
        try:
            moved = self._reader.rows(ask, limit, "moved")
        except SourceUnavailable as error:
            if not named.rows.num_rows:
                raise
            return Read(named.rows, (), f"only the named orders were read: {error}")
        known = pc.is_in(moved.rows.column("order_id"), named.rows.column("order_id").combine_chunks())
        rows, after = moved.rows.filter(pc.invert(known)), moved.after
        if rows.num_rows > left:
            after = (rows.column("order_id")[left].as_py(),)
            rows = rows.slice(0, left)
        return Read(pa.concat_tables([named.rows, rows]), after, moved.problem)

    def pages(self, ask: Ask, rows: int = ROWS) -> Iterator[pa.Table]:
        """The events of `ask` as they are read, about `rows` a table, so that memory holds one page and not the answer.

        The query must give the rows of an order one after the other: then each is whole in one page. The limit is
        `min(ask.limit, options.limit)`; where it is reached the last order is left out, if it is not the only one.
        Histories are not rebuilt here. Raises as `fetch`.
        """
        import pyarrow.compute as pc

        limit = min(ask.limit, self.options.limit)
        held: pa.Table | None = None
        more = False
        for page, after in self._reader.pages(ask, limit, "own" if self.options.query else "moved", rows):
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

        rows = self._reader.rows(ask, self.options.limit, "own" if self.options.query else "named").rows
        if self.options.history:
            rows, *_ = self._history.put_with(ask, rows)
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
        read = self._reader.rows(ask, 1_000, "own" if self.options.query else "moved")
        rows = read.rows
        newest = None
        if rows.num_rows:
            import pyarrow.compute as pc

            newest = pc.max(self._parse(rows).table.column("occurred_at")).as_py()
        found = f"{rows.num_rows:,}{' or more' if read.after else ''} rows in the last seven days"
        lines.append(f"{'own query' if self.options.query else 'table order_events'}: {found}")
        lines.append(f"newest of them {stamp(newest)}" if newest else "columns: " + ", ".join(rows.column_names))
        if self.options.history:
            _, audited, notes, problem = self._history.put_with(ask, rows)
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

    @staticmethod
    def _whole_orders(rows: pa.Table, after: Sequence[Any]) -> pa.Table:
        ids = rows.column("order_id").to_pylist()
        keep = len(ids)
        last = plain_text(after[0])
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
        window = f"from {stamp(ask.window.start)} to {stamp(ask.window.end)}"
        asked = f"{query}: orders of {', '.join(named)}, and those {window}" if named else f"{query}: orders {window}"
        return Coverage(
            source=self.name,
            kind=self.kind,
            what=ask.what,
            status=status,
            asked=asked,
            window=Window(start=stamp(ask.window.start), end=stamp(ask.window.end)),
            notes=list(notes),
            **numbers,
        )

    def where(self) -> str:
        """How messages name this source."""
        return f"source {self.name!r} ({self.options.place})"


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
