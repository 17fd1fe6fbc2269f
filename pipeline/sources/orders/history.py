"""Audit rows put together with the orders that they are about."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pyarrow as pa

from pipeline.errors import SourceError, SourceUnavailable
from pipeline.sources.orders.reading import EVERYTHING, ROWS, Reader
from pipeline.values import Ask

_HISTORY_AT_ONCE = 1_000


class History:
    """The second query, for audit rows: what it gives, put together with the rows of the first."""

    def __init__(self, reader: Reader, zone: ZoneInfo | None) -> None:
        self.reader = reader
        self.options = reader.options
        self._zone = zone

    def put_with(self, ask: Ask, rows: pa.Table) -> tuple[pa.Table, int, list[str], str | None]:
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
        with self.reader.database.session(self.reader.until(ask)) as connection:
            text = str(self.options.history)
            statement, values = self.reader.statements.statement(connection, ask, EVERYTHING, text)
            for names, rows in self.reader.stream(connection, statement, values, ROWS):
                if missing := lacking(names):
                    raise self.reader.lacks("history query", names, missing)
                pages.append(self.reader.columns(names, rows))
        return pages
