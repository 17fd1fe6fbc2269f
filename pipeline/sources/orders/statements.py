"""A query with the values of a question: nothing from a ticket is in its text."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from pipeline.errors import SourceBroken
from pipeline.sources.orders import queries
from pipeline.sources.orders.options import Options
from pipeline.values import Ask

if TYPE_CHECKING:
    from sqlalchemy import Connection

LISTS = ("order_ids", "trade_ids", "any_ids", "customer_ids", "phones", "phone_tails")
SCALARS = ("start", "end", "limit")

# Which query: the user's, or one of the two that are asked where there is none.
Which = Literal["own", "named", "moved"]


class Statements:
    """The statements of one source: the user's query, or one that fits the table, with the values of a question.

    `shape` is what the columns of the table are, once it was looked at; `where` is how messages name the source.
    """

    def __init__(self, options: Options, where: str, zone: ZoneInfo | None) -> None:
        self.options = options
        self.where = where
        self.shape: queries.Shape | None = None
        self._zone = zone

    def text(self, connection: Connection, ask: Ask, which: Which) -> str:
        """The query's text: the user's as it is, or one that fits the table."""
        if which == "own":
            return str(self.options.query)
        shape = self._shape_of(connection)
        return queries.moved(shape) if which == "moved" else queries.named(shape, self._filled(ask))

    def _shape_of(self, connection: Connection) -> queries.Shape:
        dialect = connection.dialect.name
        if dialect not in {"sqlite", "postgresql", "mysql"}:
            raise SourceBroken(f"{self.where}: there is no default query for {dialect}; set `query` to your own")
        if self.shape is None:
            with closing(connection.exec_driver_sql(queries.COLUMNS_OF_TABLE)) as result:
                self.shape = queries.Shape.read(dialect, result.cursor.description)
        if dialect == "mysql" and self.shape.columns.get("occurred_at") == "text":
            raise SourceBroken(
                f"{self.where}: occurred_at of order_events is a text, which {dialect} cannot compare as a time; "
                "make it DATETIME(6), or set `query` to your own"
            )
        return self.shape

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

    def statement(self, connection: Connection, ask: Ask, limit: int, text: str) -> tuple[Any, dict[str, Any]]:
        """`text` as a statement, and the values of all that it names."""
        import sqlalchemy

        statement = sqlalchemy.text(text.strip().rstrip(";"))
        used = set(statement.compile().params)
        unknown = sorted(used - set(LISTS) - set(SCALARS))
        if unknown:
            raise SourceBroken(
                f"{self.where}: the query uses :{', :'.join(unknown)}, which nothing fills; "
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

    def count(self, connection: Connection, ask: Ask) -> str:
        """The text that counts what a question has without a limit."""
        if self.options.query:
            # The user's query inside a count: nothing from the ticket is in this text either.
            return f"SELECT count(*) FROM ({self.options.query.strip().rstrip(';')}) AS counted"  # noqa: S608
        return queries.count(self._shape_of(connection), self._filled(ask), window=ask.rest)
