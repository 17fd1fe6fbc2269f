"""What a query gives, page by page and as long as there is time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import SourceBroken, SourceError, SourceUnavailable
from pipeline.sources.orders.databases import Database
from pipeline.sources.orders.statements import Statements, Which
from pipeline.sources.orders.texts import as_text
from pipeline.values import Ask

if TYPE_CHECKING:
    from sqlalchemy import Connection

REQUIRED = ("order_id", "entity", "entity_id", "state", "occurred_at")

ROWS = 10_000
EVERYTHING = 2_000_000_000
# How long rows beyond the limit are counted, and the share of the time left that is kept for what comes after reading:
# the rows that were read must still be parsed and handed on before nobody waits for them.
_COUNT_SECONDS = 2.0
_COUNT_SHARE = 0.5
_PARSE_SHARE = 0.1


@dataclass(frozen=True)
class Read:
    """What a query gave: its rows as text, and the order of the first row beyond the limit, if there is one.

    `problem` is why there are fewer than there should be.
    """

    rows: pa.Table
    after: tuple[Any, ...] = ()
    problem: str | None = None


class Reader:
    """Reads what a query gives, page by page, as long as there is time."""

    def __init__(self, database: Database, statements: Statements) -> None:
        self.database = database
        self.statements = statements
        self.options = statements.options
        self.where = statements.where

    def rows(self, ask: Ask, limit: int, which: Which) -> Read:
        """At most `limit` rows of the query.

        Where the time ends amid the rows, those that came are kept, and it is told.
        """
        pages: list[pa.Table] = []
        after: tuple[Any, ...] = ()
        try:
            for page, after in self.pages(ask, limit, which):  # noqa: B007 - the last one counts
                pages.append(page)
        except SourceBroken:
            # The table may have been changed since it was looked at.
            self.statements.shape = None
            raise
        except SourceUnavailable as error:
            rows = pa.concat_tables(pages) if pages else None
            if rows is None or not rows.num_rows:
                raise
            last = (rows.column("order_id")[-1].as_py(),)
            return Read(rows, last, f"only the first {rows.num_rows:,} rows were read: {error}")
        return Read(pa.concat_tables(pages), after)

    def pages(self, ask: Ask, limit: int, which: Which, size: int = ROWS) -> Iterator[tuple[pa.Table, tuple[Any, ...]]]:
        """The rows of a query page by page, at least one page; beside the last one the order of a row beyond `limit`."""
        left = limit
        deadline = self.until(ask)
        with self.database.session(deadline, limit + 1) as connection:
            statement, values = self.statements.statement(
                connection, ask, limit + 1, self.statements.text(connection, ask, which)
            )
            for names, rows in self.stream(connection, statement, values, size):
                if missing := [name for name in REQUIRED if name not in names]:
                    raise self.lacks("query", names, missing)
                after: tuple[Any, ...] = ()
                kept = rows
                if len(rows) > left:
                    after, kept = (rows[left][names.index("order_id")],), rows[:left]
                left -= len(kept)
                yield self.columns(names, kept), after
                if after:
                    return
                if time.monotonic() > deadline:
                    raise self.database.late()

    def until(self, ask: Ask) -> float:
        """When reading ends: with the source's own timeout, or a little before nobody waits for the answer."""
        now = time.monotonic()
        left = ask.deadline - now
        return min(now + self.options.timeout, ask.deadline - min(0.5, max(0.0, left) * _PARSE_SHARE))

    def stream(
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

    def lacks(self, query: str, names: Sequence[str], missing: Sequence[str]) -> SourceBroken:
        """The error for a query without a column that is needed."""
        return SourceBroken(
            f"{self.where}: the {query} gives no column {', '.join(missing)}; name them with AS. "
            f"It gives: {', '.join(names)}"
        )

    @staticmethod
    def columns(names: Sequence[str], rows: Sequence[Any]) -> pa.Table:
        """Rows as a table of text."""
        if not rows:
            return pa.table({name: pa.array([], pa.string()) for name in names})
        columns = zip(*rows, strict=True)
        # Other columns become attributes, as they would from a file.
        return pa.table({name: as_text(name, column) for name, column in zip(names, columns, strict=True)})

    def count(self, ask: Ask) -> int | None:
        """How many rows the query gives without a limit; None where the time does not suffice."""
        now = time.monotonic()
        until = now + min(_COUNT_SECONDS, self.options.timeout, max(0.0, ask.deadline - now) * _COUNT_SHARE)
        try:
            with self.database.session(until) as connection:
                text = self.statements.count(connection, ask)
                statement, values = self.statements.statement(connection, ask, EVERYTHING, text)
                return int(connection.execute(statement, values).scalar_one())
        except SourceError:
            return None
