"""The queries that are asked of a table `order_events` where the user has written none, one text a dialect.

They are made of constants and of what kind of columns the table has: nothing of a ticket is in their text. Each
condition is a SELECT of its own, put together by UNION, so that one index serves one condition, whatever the planner
makes of OR, and a condition that the ticket has no value for is not asked. Every order comes with its whole history,
since a rule about an order's states means nothing on half of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from parsers.order_events import COLUMNS

TABLE = "order_events"
# Asks for no row: what its columns are called and of what kind they are is the answer.
COLUMNS_OF_TABLE = f"SELECT * FROM {TABLE} WHERE 1 = 0"  # noqa: S608 - from constants only

# By what an order is found, and in which list the values are. The last four are attributes, or columns of these names.
_CONDITIONS = (
    ("order_id", "any_ids"),
    ("entity_id", "any_ids"),
    ("customer_id", "customer_ids"),
    ("phone_tail", "phone_tails"),
    ("channel_txn_id", "any_ids"),
    ("out_trade_no", "any_ids"),
)
# The drivers' numbers of types, as far as they matter: PostgreSQL's are of pg_type.dat, MySQL's of its protocol
# (https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html). MariaDB's JSON is a text, 252.
_KINDS: Mapping[str, Mapping[Any, str]] = {
    "postgresql": {
        1184: "timestamptz",
        1114: "timestamp",
        3802: "jsonb",
        114: "json",
        25: "text",
        1042: "text",
        1043: "text",
    },
    "mysql": {7: "timestamp", 12: "timestamp", 245: "json", 15: "text", 252: "text", 253: "text", 254: "text"},
    "sqlite": {},
}


@dataclass(frozen=True)
class Shape:
    """What is known of the table: for each of its columns `timestamptz`, `timestamp`, `jsonb`, `json`, `text` or other."""

    dialect: str
    columns: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, dialect: str, description: Collection[Any]) -> Shape:
        """From a cursor's description (PEP 249): name and type of each column."""
        kinds = _KINDS.get(dialect, {})
        return cls(dialect, {str(name).lower(): kinds.get(code, "other") for name, code, *_ in description})

    def time(self, column: str = "occurred_at") -> str:
        """The event's time as something that can be compared; a bare column where that is right, for its index."""
        if self.dialect == "sqlite":
            return f"julianday({column})"
        if self.dialect == "postgresql" and self.columns.get("occurred_at") not in {"timestamp", "timestamptz"}:
            return f"CAST({column} AS timestamptz)"
        return column

    def bound(self, name: str) -> str:
        """`:start` or `:end` as what `time` is compared with."""
        if self.dialect == "sqlite":
            return f"julianday(:{name})"
        if self.dialect == "postgresql":
            aware = f"CAST(:{name} AS timestamptz)"
            return f"CAST({aware} AS timestamp)" if self.columns.get("occurred_at") == "timestamp" else aware
        return f":{name}"

    def value(self, name: str) -> str:
        """The text to find an order by: a column of that name, or a member of the attributes."""
        if name in {"order_id", "entity_id"} or self._is_text(name):
            return name
        if self.dialect == "sqlite":
            return f"CASE WHEN json_valid(attributes) THEN CAST(json_extract(attributes, '$.{name}') AS TEXT) END"
        if self.dialect == "mysql":
            # A bare call, which an index on a generated column of the same expression can serve, would fail on a row
            # whose text is no JSON in MySQL, and only warn in MariaDB.
            return f"CASE WHEN JSON_VALID(attributes) THEN JSON_VALUE(attributes, '$.{name}') END"
        if self.columns.get("attributes") in {"json", "jsonb"}:
            return f"attributes ->> '{name}'"
        return f"CAST(NULLIF(CAST(attributes AS text), '') AS jsonb) ->> '{name}'"

    def _is_text(self, name: str) -> bool:
        """Whether there is a column of that name which can be compared with text, so that its index is of use."""
        return name in self.columns and (self.dialect == "sqlite" or self.columns[name] == "text")


def named(shape: Shape, lists: Collection[str]) -> str:
    """All events of the orders that the filled `lists` name, order by order."""
    time = shape.time("e.occurred_at")
    return f"""
SELECT {_columns(shape, "e")}
FROM {_orders_in(shape, _names(shape, lists))}
ORDER BY e.order_id, {time}, e.entity, e.entity_id, e.state LIMIT :limit
"""  # noqa: S608 - from constants only


def moved(shape: Shape) -> str:
    """All events of the orders that moved in the window, the order that moved last first."""
    time = shape.time()
    if shape.dialect == "mysql":
        once, orders = "", f"moved JOIN {TABLE} AS e ON e.order_id = moved.order_id"
    else:
        # Else it would be folded into the join, and the window read once for each row of it.
        once = "MATERIALIZED "
        orders = f"{TABLE} AS e LEFT JOIN moved ON moved.order_id = e.order_id WHERE e.order_id IN (SELECT order_id FROM moved)"  # noqa: S608 - from constants only
    return f"""
WITH latest AS (
  SELECT order_id, {time} AS at FROM {TABLE} WHERE {_window(shape)} ORDER BY {time} DESC LIMIT :limit
), moved AS {once}(
  SELECT order_id, max(at) AS last_at FROM latest GROUP BY order_id
)
SELECT {_columns(shape, "e")}
FROM {orders}
ORDER BY moved.last_at DESC, e.order_id, {shape.time("e.occurred_at")}, e.entity, e.entity_id, e.state LIMIT :limit
"""  # noqa: S608 - from constants only


def count(shape: Shape, lists: Collection[str], *, window: bool = True) -> str:
    """How many rows `named` and, with `window`, `moved` give together without a limit."""
    ids = _names(shape, lists)
    if window:
        ids += f"\n  UNION SELECT order_id FROM {TABLE} WHERE {_window(shape)}"  # noqa: S608 - from constants only
    return f"SELECT count(*) FROM {_orders_in(shape, ids)}"  # noqa: S608 - from constants only


def _orders_in(shape: Shape, ids: str) -> str:
    """The table's rows, as `e`, of the orders whose ids the query `ids` gives, each once.

    With an index on the order's id either form uses it. Without one SQLite would read the table for each order if it
    were a join, and MySQL and MariaDB run a UNION inside IN for each row of the table.
    """
    if shape.dialect == "mysql":
        return f"({ids}) AS wanted JOIN {TABLE} AS e ON e.order_id = wanted.order_id"
    return f"{TABLE} AS e WHERE e.order_id IN ({ids})"


def _names(shape: Shape, lists: Collection[str]) -> str:
    """The ids of the named orders, each once."""
    arms = [
        f"SELECT order_id FROM {TABLE} WHERE {shape.value(name)} IN :{values}"  # noqa: S608 - from constants only
        for name, values in _CONDITIONS
        if values in lists
    ]
    if len(arms) == 1:
        # UNION keeps each once by itself.
        return arms[0].replace("SELECT", "SELECT DISTINCT", 1)
    return "\n  UNION ".join(arms) or f"SELECT order_id FROM {TABLE} WHERE 1 = 0"  # noqa: S608 - from constants only


def _window(shape: Shape) -> str:
    return f"{shape.time()} >= {shape.bound('start')} AND {shape.time()} < {shape.bound('end')}"


def _columns(shape: Shape, table: str) -> str:
    columns = [f"{table}.{name}" for name in COLUMNS]
    if shape.columns.get("attributes") in {"json", "jsonb"}:
        # As the text that they are read as: the driver would make objects of them, row by row.
        kind = "CHAR" if shape.dialect == "mysql" else "text"
        columns[-1] = f"CAST({columns[-1]} AS {kind}) AS attributes"
    return ", ".join(columns)
