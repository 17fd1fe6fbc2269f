"""Tickets of one cause, close together in time: the first one's snapshot is the parent, and counts who else is touched.

The cause is what the diagnosis located: fault class and subclass, service and channel. Undecided tickets join no storm: that
nothing was found is no cause in common.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
import sqlalchemy as sa

from pipeline.service.ledger import storable
from pipeline.service.tables import members, storms, tickets

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from snapshots.model import ProblemSnapshot

# The parent's note is written again when so many tickets are in the storm: the first ones matter most, and a storm of a
# thousand changes it a dozen times.
TOLD_AT = frozenset({2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000})


@dataclass(frozen=True)
class Storm:
    """A storm as it is after a ticket joined. `first_at` and `last_at` are seconds since 1970 in UTC."""

    id: int
    parent_system: str
    parent_ticket: str
    parent_snapshot: str
    parent_url: str | None
    tickets: int
    customers: int
    orders: int
    channels: tuple[str, ...]
    first_at: float
    last_at: float
    joined: bool

    def is_parent(self, system: str, ticket_id: str) -> bool:
        """Whether that ticket is the storm's first."""
        return (self.parent_system, self.parent_ticket) == (system, ticket_id)


def signature(snapshot: ProblemSnapshot) -> str | None:
    """What tickets of one cause have in common, or None where the cause is not located."""
    diagnosis = snapshot.diagnosis
    if diagnosis.abstained or not diagnosis.fault_class:
        return None
    place = diagnosis.location
    parts = (diagnosis.fault_class, diagnosis.fault_subclass, place.service, place.channel)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def own_of(
    snapshot: ProblemSnapshot, parent: ProblemSnapshot
) -> tuple[tuple[Literal["order", "channel", "code"], str], ...]:
    """What a ticket's snapshot has that its storm's first one has not: orders, channels and codes, in that order."""

    def named(one: ProblemSnapshot) -> dict[tuple[Literal["order", "channel", "code"], str], None]:
        attempts = one.payment_attempts
        return dict.fromkeys(
            [
                *(("order", order) for order in sorted(one.scope.focus_orders)),
                *(("channel", attempt.channel) for attempt in attempts if attempt.channel),
                *(("code", attempt.code) for attempt in attempts if attempt.code),
            ]
        )

    known = named(parent)
    return tuple(pair for pair in named(snapshot) if pair not in known)


class Storms:
    """The storms of a database. `window` is how long after its last ticket a storm still takes another, in seconds."""

    def __init__(self, engine: Engine, window: float, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._window = window
        self._clock = clock

    def join(self, system: str, ticket_id: str, snapshot: ProblemSnapshot) -> Storm | None:
        """Puts the ticket into the storm of its cause, a new one where there is none; None for a ticket without a located cause.

        A ticket whose cause changed leaves the storm it was in. Joining twice counts once.
        """
        cause = signature(snapshot)
        now = self._clock()
        here = sa.and_(members.c.system == system, members.c.ticket_id == ticket_id)
        with self._engine.begin() as connection:
            _alone(connection, cause or "")
            known = connection.execute(
                sa.select(members.c.storm, storms.c.signature).join(storms, storms.c.id == members.c.storm).where(here)
            ).one_or_none()
            if known is not None and known.signature != cause:
                connection.execute(members.delete().where(here))
            if cause is None:
                return None
            kept = known if known is not None and known.signature == cause else None
            storm = kept.storm if kept else self._open(connection, cause, system, ticket_id, snapshot.snapshot_id, now)
            found = _touched(snapshot)
            row = {"storm": storm, "snapshot_id": snapshot.snapshot_id, **found}
            if kept is not None:
                connection.execute(members.update().where(here).values(**row))
            else:
                connection.execute(members.insert().values(system=system, ticket_id=ticket_id, joined_at=now, **row))
                connection.execute(storms.update().where(storms.c.id == storm).values(last_at=now))
            return self._read(connection, storm, joined=kept is None)

    def of(self, system: str, ticket_id: str) -> Storm | None:
        """The storm that the ticket is in, or None."""
        query = sa.select(members.c.storm).where(members.c.system == system, members.c.ticket_id == ticket_id)
        with self._engine.connect() as connection:
            storm = connection.scalar(query)
            return None if storm is None else self._read(connection, storm, joined=False)

    def _open(
        self, connection: Connection, cause: str, system: str, ticket_id: str, snapshot_id: str, now: float
    ) -> int:
        """The storm of the cause that still takes tickets, or a new one."""
        under_way = connection.scalar(
            sa.select(storms.c.id)
            .where(storms.c.signature == cause, storms.c.last_at >= now - self._window)
            .order_by(storms.c.last_at.desc())
            .limit(1)
        )
        if under_way is not None:
            return int(under_way)
        made = connection.execute(
            storms.insert()
            .values(
                signature=cause,
                parent_system=system,
                parent_ticket=ticket_id,
                parent_snapshot=snapshot_id,
                first_at=now,
                last_at=now,
            )
            .returning(storms.c.id)
        )
        return int(made.scalar_one())

    @staticmethod
    def _read(connection: Connection, storm: int, *, joined: bool) -> Storm:
        row = connection.execute(sa.select(storms).where(storms.c.id == storm)).one()
        here = members.c.storm == storm
        # Each ticket of a storm asks this: what can be counted by the database is not loaded.
        size = connection.execute(
            sa.select(
                sa.func.count().label("tickets"), sa.func.count(members.c.customer.distinct()).label("customers")
            ).where(here)
        ).one()
        url = connection.scalar(
            sa.select(tickets.c.note_url).where(
                tickets.c.system == row.parent_system, tickets.c.ticket_id == row.parent_ticket
            )
        )

        def names(column: sa.Column[str]) -> set[str]:
            lists = connection.scalars(sa.select(column).where(here).distinct())
            return {name for one in lists for name in msgspec.json.decode(one, type=list[str])}

        return Storm(
            id=row.id,
            parent_system=row.parent_system,
            parent_ticket=row.parent_ticket,
            parent_snapshot=row.parent_snapshot,
            parent_url=url,
            tickets=size.tickets,
            customers=size.customers,
            orders=len(names(members.c.orders)),
            channels=tuple(sorted(names(members.c.channels))),
            first_at=row.first_at,
            last_at=row.last_at,
            joined=joined,
        )


def _touched(snapshot: ProblemSnapshot) -> dict[str, str | None]:
    """Customer, orders and channels of one ticket."""
    channels = {one.channel for one in snapshot.payment_attempts if one.channel}
    if snapshot.diagnosis.location.channel:
        channels.add(snapshot.diagnosis.location.channel)
    customer = snapshot.ticket.customer_id
    return {
        "customer": storable(customer)[:200] if customer else None,
        "orders": msgspec.json.encode(sorted(snapshot.scope.focus_orders)).decode(),
        "channels": msgspec.json.encode(sorted(channels)).decode(),
    }


def _alone(connection: Connection, cause: str) -> None:
    """Lets one transaction at a time look for a storm of that cause and open one."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(7213002, zlib.crc32(cause.encode()) % (1 << 31))))
    else:
        # SQLite's lock is taken by the first statement that writes, even where it changes nothing.
        connection.execute(storms.update().where(sa.false()).values(last_at=0.0))
