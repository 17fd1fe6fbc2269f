"""Where the orders are and how to ask for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec

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
