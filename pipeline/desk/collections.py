"""What was asked of customers' machines, what they decided, and what became of it, in the service's database.

asked -> refused                          by the customer; the link is of no use any more
      -> agreed -> received -> stored     the bundle is here and was looked through; the ticket is diagnosed again
                            -> rejected   it was not what was asked for; another one may be sent
asked, agreed -> withdrawn                by the desk
stored -> pruned                          deleted when its time was over
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from pipeline.desk.remote_tables import collections
from pipeline.service.ledger import storable

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.remote.manifest import Manifest
    from pipeline.remote.receipt import Consent

_OPEN = ("asked", "agreed", "rejected")


class Collections:
    """The table, and every change that is made to it."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self._engine = engine
        self.clock = clock

    def issue(self, manifest: Manifest, signed: bytes, expires_at: float) -> None:
        """A manifest was made and is handed out."""
        row = {
            "id": manifest.id,
            "system": manifest.system,
            "ticket_id": manifest.ticket,
            "issued_at": self.clock(),
            "expires_at": expires_at,
            "manifest": signed.decode(),
            "state": "asked",
        }
        with self._engine.begin() as connection:
            connection.execute(collections.insert().values(**row))

    def get(self, collection: str) -> Any:
        """The row of a collection, or None."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(collections).where(collections.c.id == collection)).one_or_none()

    def decide(self, collection: str, consent: Consent) -> bool:
        """The customer decided; whether that counts. He may refuse until the bundle is here, and refused stays refused."""
        return self._change(
            collection,
            _OPEN,
            to="agreed" if consent.decision == "given" else "refused",
            who=storable(consent.who)[:200],
            decided_at=consent.at[:40],
            language=consent.language,
            text_sha256=consent.text_sha256,
        )

    def announce(self, collection: str, digest: str, length: int) -> bool:
        """A bundle is on its way: the sha256 and length that it is said to have."""
        return self._change(collection, ("agreed", "rejected"), to="agreed", digest=digest, length=length, reason=None)

    def receive(self, collection: str) -> bool:
        """All of its bytes are here."""
        return self._change(collection, ("agreed",), to="received")

    def store(self, collection: str, masked: Mapping[str, int], again: Mapping[str, int]) -> bool:
        """It was looked through and is kept. `masked` by the customer, `again` by us."""
        told = {
            "masked": json.dumps(dict(sorted(masked.items()))),
            "masked_again": json.dumps(dict(sorted(again.items()))),
        }
        return self._change(collection, ("received",), to="stored", ended_at=self.clock(), **told)

    def reject(self, collection: str, reason: str) -> bool:
        """It was looked through and is not what was asked for."""
        return self._change(collection, ("received",), to="rejected", reason=storable(reason)[:2000])

    def withdraw(self, collection: str) -> bool:
        """The desk does not want it any more."""
        return self._change(collection, _OPEN, to="withdrawn", ended_at=self.clock())

    def prune(self, collection: str) -> bool:
        """What was kept is deleted."""
        return self._change(collection, ("stored",), to="pruned")

    def listed(self, system: str | None = None, ticket_id: str | None = None, limit: int = 100) -> list[Any]:
        """Rows, newest first."""
        query = sa.select(collections).order_by(collections.c.issued_at.desc(), collections.c.id).limit(limit)
        if system is not None:
            query = query.where(collections.c.system == system)
        if ticket_id is not None:
            query = query.where(collections.c.ticket_id == ticket_id)
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def in_state(self, *states: str) -> list[Any]:
        """All rows in one of the states, oldest first."""
        query = sa.select(collections).where(collections.c.state.in_(states)).order_by(collections.c.issued_at)
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def forget(self, before: float) -> int:
        """Deletes rows that ended or expired before a moment, and of which nothing is kept; how many."""
        done = sa.and_(collections.c.state.not_in(("stored", "received")), collections.c.expires_at < before)
        with self._engine.begin() as connection:
            return connection.execute(collections.delete().where(done)).rowcount

    def _change(self, collection: str, states: tuple[str, ...], *, to: str, **values: Any) -> bool:
        with self._engine.begin() as connection:
            changed = connection.execute(
                collections.update()
                .where(collections.c.id == collection, collections.c.state.in_(states))
                .values(state=to, **values)
            )
            return bool(changed.rowcount)


def told_row(row: Any) -> dict[str, Any]:
    """A row as JSON tells it: times as ISO 8601; not the manifest, which holds the link's key."""
    kept = {key: value for key, value in row._asdict().items() if key != "manifest"}
    for key in ("issued_at", "expires_at", "ended_at"):
        kept[key] = datetime.fromtimestamp(kept[key], UTC).isoformat() if kept[key] else None
    for key in ("masked", "masked_again"):
        kept[key] = json.loads(kept[key]) if kept[key] else None
    return kept
