"""What is told to receivers beside the tickets: written down with the job that causes it, and sent by jobs of their own.

queued -> sent
-> waiting -> queued ...      tried again later
-> dead                       tried too often, or of no use to try again
-> disabled                   the receiver said that it wants nothing any more; nothing more is queued for it
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from pipeline.desk.tables import sayings
from pipeline.errors import SnapshotError
from pipeline.notify import send
from pipeline.notify.target import Event, EventKind, TargetBroken, TargetUnavailable
from pipeline.service.database import insisted
from pipeline.service.ledger import insert_into, storable
from pipeline.service.tables import messages
from snapshots.model import Text
from snapshots.store import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from pipeline.notify.target import Sent, Target
    from snapshots.model import ProblemSnapshot
    from snapshots.render.blocks import Links
    from snapshots.store import Store

_log = logging.getLogger(__name__)
_OPEN = ("queued", "waiting")
# What trying again is not likely to mend is tried so often all the same.
_HOPELESS = 3

# Puts the job of a message into the queue: (connection, message id, target, limited, delay in seconds).
EnqueueMessage = Callable[["Connection", str, str, bool, float], None]


class Messages:
    """The messages of a database, and the receivers that they go to."""

    def __init__(
        self,
        engine: Engine,
        enqueue: EnqueueMessage,
        targets: Mapping[str, Target],
        store: Store,
        links: Callable[[str], Links],
        pauses: Sequence[float],
        clock: Callable[[], float] = time.time,
        *,
        acknowledge: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`acknowledge` makes the link that answers a call."""
        self._acknowledge = acknowledge
        self._engine = engine
        self._enqueue = enqueue
        self._targets = targets
        self._store = store
        self._links = links
        self._pauses = pauses
        self._clock = clock

    @property
    def receivers(self) -> frozenset[str]:
        """The names of all receivers."""
        return frozenset(self._targets)

    def tell(
        self, connection: Connection, kind: EventKind, snapshot: ProblemSnapshot, *, replaces: str | None, child: bool
    ) -> None:
        """Queues what happened for each receiver that wants it, in the transaction of the job that made it happen.

        `child` says that the ticket is one of a storm that was told already: chats hear of its parent only, programs of all.
        """
        now = self._clock()
        event = Event(kind, snapshot, datetime.fromtimestamp(now, UTC), replaces=replaces)
        for target in self._targets.values():
            if target.wants(event) and not (child and _limited(target)):
                self._queue(connection, event, target, now)

    def say(
        self,
        connection: Connection,
        kind: EventKind,
        snapshot: ProblemSnapshot,
        *,
        level: str,
        said: Text,
        key: str,
        to: Sequence[str] | None = None,
        call: str | None = None,
    ) -> None:
        """Queues what the desk has to say of a ticket, in the same way; to the receivers named by `to` whatever they want.

        `key` tells one saying of a ticket from another, `call` is what its link acknowledges. Raises `TargetBroken` for a
        receiver that there is not.
        """
        now = self._clock()
        event = Event(kind, snapshot, datetime.fromtimestamp(now, UTC), said=said, key=key, level=level)
        unknown = [name for name in to or () if name not in self._targets]
        if unknown:
            raise TargetBroken(f"there is no [notify.{unknown[0]}] to call for {snapshot.ticket.id}")
        row = {"event": event.id, "key": key, "level": level, "en": said.en, "zh": said.zh, "call": call}
        connection.execute(insert_into(self._engine, sayings).values(**row).on_conflict_do_nothing())
        for target in self._targets.values():
            if target.name in to if to is not None else target.wants(event):
                self._queue(connection, event, target, now)

    def _queue(self, connection: Connection, event: Event, target: Target, now: float) -> None:
        row: dict[str, Any] = {
            "id": f"m-{uuid.uuid4().hex[:16]}",
            "target": target.name,
            "event": event.id,
            "kind": event.kind,
            "system": event.snapshot.ticket.system,
            "ticket_id": event.snapshot.ticket.id,
            "snapshot_id": event.snapshot.snapshot_id,
            "replaces": event.replaces,
            "limited": _limited(target),
            "created_at": now,
            "state": "queued",
            "attempts": 0,
        }
        gone = connection.scalar(
            sa.select(messages.c.id).where(messages.c.target == target.name, messages.c.state == "disabled").limit(1)
        )
        if gone is not None:
            row |= {"state": "skipped", "reason": f"{target.name} wants nothing any more, it said to {gone}"}
        stored = connection.scalar(
            insert_into(self._engine, messages).values(**row).on_conflict_do_nothing().returning(messages.c.id)
        )
        if stored is not None and gone is None:
            self._enqueue(connection, row["id"], target.name, row["limited"], 0.0)

    def work(self, message: str) -> None:
        """Sends one message, and writes down what became of it, as soon as the database takes it."""
        row = insisted(lambda: self._row(message))
        if row is None or row.state not in _OPEN:
            return
        number = row.attempts + 1
        try:
            sent = self._sent(row)
        except TargetUnavailable as error:
            self._again(row, number, str(error), at_least=error.after or 0.0)
        except (SnapshotError, StoreError) as error:
            tries = _HOPELESS if isinstance(error, TargetBroken | StoreError) else None
            self._again(row, number, str(error), tries=tries)
        except Exception as error:  # noqa: BLE001 - one receiver never takes the others along
            _log.exception("a message could not be sent in a way that is not foreseen")
            self._again(row, number, f"{type(error).__name__}: {error}", tries=_HOPELESS)
        else:
            insisted(lambda: self._end(row.id, sent.outcome, sent.note or None, number))

    def _row(self, message: str) -> Any:
        with self._engine.connect() as connection:
            return connection.execute(sa.select(messages).where(messages.c.id == message)).one_or_none()

    def _sent(self, row: Any) -> Sent:
        target = self._targets.get(row.target)
        if target is None:
            raise TargetBroken(f"there is no [notify.{row.target}] any more")
        snapshot = self._store.get(row.snapshot_id)
        event = Event(
            row.kind, snapshot, datetime.fromtimestamp(row.created_at, UTC), self._links(row.snapshot_id), row.replaces
        )
        if row.kind.startswith("snapshot."):
            return send(target, event)
        # What was queued for somebody was wanted, or he was named.
        return target.send(self._with_saying(event, row))

    def _with_saying(self, event: Event, row: Any) -> Event:
        with self._engine.connect() as connection:
            saying = connection.execute(sa.select(sayings).where(sayings.c.event == row.event)).one_or_none()
        if saying is None:
            raise TargetBroken(f"what was to be said to {row.target} is not known any more")
        links = event.links
        if saying.call and (where := self._acknowledge(saying.call)):
            links = replace(links, acknowledge=where)
        said = Text(en=saying.en, zh=saying.zh)
        return replace(event, links=links, said=said, key=saying.key, level=saying.level)

    def _again(self, row: Any, number: int, reason: str, *, at_least: float = 0.0, tries: int | None = None) -> None:
        reason = storable(reason)
        _log.warning("%s was not told of %s: %s", row.target, row.snapshot_id, reason)
        allowed = len(self._pauses) if tries is None else min(tries - 1, len(self._pauses))
        if number > allowed:
            insisted(lambda: self._end(row.id, "dead", f"tried {number} times; at last: {reason}", number))
            return
        insisted(lambda: self._wait(row, number, reason, max(self._pauses[number - 1], at_least)))

    def _wait(self, row: Any, number: int, reason: str, pause: float) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                messages.update()
                .where(messages.c.id == row.id, messages.c.state.in_(_OPEN))
                .values(state="waiting", reason=reason, attempts=number, next_at=self._clock() + pause)
            )
            self._enqueue(connection, row.id, row.target, row.limited, pause)

    def _end(self, message: str, state: str, reason: str | None, number: int) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                messages.update()
                .where(messages.c.id == message)
                .values(state=state, reason=reason, attempts=number, next_at=None)
            )


def _limited(target: Target) -> bool:
    """Whether it takes only so many a minute, as chats do."""
    return target.kind != "webhook"


def listed(engine: Engine, states: Sequence[str] = (), limit: int = 50) -> list[Any]:
    """Rows of messages, newest first."""
    query = sa.select(messages).order_by(messages.c.seq.desc()).limit(limit)
    if states:
        query = query.where(messages.c.state.in_(states))
    with engine.connect() as connection:
        return list(connection.execute(query))


def counts(engine: Engine) -> dict[tuple[str, str], int]:
    """(target, state) -> messages."""
    query = sa.select(messages.c.target, messages.c.state, sa.func.count()).group_by(
        messages.c.target, messages.c.state
    )
    with engine.connect() as connection:
        return {(target, state): int(count) for target, state, count in connection.execute(query)}


def retry(engine: Engine, enqueue: EnqueueMessage, ids: Iterable[str]) -> list[str]:
    """Queues messages at once that were not sent; the ids of those that it did. A receiver that had enough is asked anew."""
    again: list[str] = []
    with engine.begin() as connection:
        for row in connection.execute(sa.select(messages).where(messages.c.id.in_(list(ids)))).all():
            if row.state in {"sent", "queued"}:
                continue
            connection.execute(
                messages.update()
                .where(messages.c.id == row.id)
                .values(state="queued", attempts=0, reason=None, next_at=None)
            )
            enqueue(connection, row.id, row.target, row.limited, 0.0)
            again.append(row.id)
    return again


def prune(engine: Engine, before: float) -> int:
    """Deletes messages that were sent or skipped before `before`; how many."""
    old = sa.and_(messages.c.created_at < before, messages.c.state.in_(("sent", "skipped", "dropped")))
    with engine.begin() as connection:
        gone = connection.execute(messages.delete().where(old)).rowcount
        connection.execute(sayings.delete().where(sayings.c.event.not_in(sa.select(messages.c.event))))
        return gone
