"""What is known of each delivery and each ticket, in SQL. Every change of state is one transaction, with its job in it.

queued -> working -> done
                  -> waiting -> working ...     tried again later
                  -> dead                       tried too often, or of no use to try again
ignored                                         nothing was to be done, and why
dropped                                         by a person, or since the ticket is gone

Each delivery that is queued, working or waiting has a job in the queue, also while another one's job covers it: whatever becomes of
that job, its delivery dropped, given up or worked by a clock that is behind, nothing is left without one.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from pipeline.service.tables import attempts, cursors, deliveries, members, refusals, storms, tickets, workers

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

State = Literal["queued", "working", "waiting", "done", "ignored", "dead", "dropped"]
OPEN: tuple[State, ...] = ("queued", "waiting", "working")
# A claim on a ticket, and a worker, hold so long after they were last heard of, in seconds.
LEASE = 15.0
# A job that was begun so often without coming to an end takes its process down each time.
STARTS = 10
# A ticket that another job holds is looked at again after so many seconds.
_AGAIN = 2.0
# The delivery that we send ourselves: the parent of a storm is to be told of its growth.
STORM_GROWN = "storm.grown"
# What the kind of a delivery begins with that only tells of its ticket's state: the desk's clock is to know, no snapshot is due.
ROUTINE = "state:"
# And one more of ours: something new is known of a ticket that its system did not send (pipeline/service/again.py).
ASKED_AGAIN = "ticket.again"
_OURS = (STORM_GROWN, ASKED_AGAIN)
# What fits into the column of a name.
_NAME = 200

# Puts a job for a delivery into the queue, inside the given transaction: (connection, delivery id, system, ticket id, priority, delay).
Enqueue = Callable[["Connection", str, str, str, int, float], None]


@dataclass(frozen=True)
class NewDelivery:
    """A verified delivery, to be stored. `key` is the sender's id for it or its body's hash; `ignored` says why nothing is due."""

    system: str
    key: str
    ticket_id: str
    kind: str
    priority: int
    received_at: float
    actor: str | None = None
    ticket: str | None = None
    ignored: str | None = None


@dataclass(frozen=True)
class Job:
    """A ticket that was claimed: the deliveries that this job answers, how often it was tried before, the note of last time."""

    delivery: str
    system: str
    ticket_id: str
    covers: tuple[str, ...]
    number: int
    priority: int
    received_at: float
    started_at: float
    ticket: str | None
    note_id: str | None
    snapshot_id: str | None
    claimant: str
    # Whether all that it covers is routine.
    routine: bool = False


class Busy:
    """Another job has the ticket, or its next attempt is due later; the job is in the queue again."""


@dataclass(frozen=True)
class Ended:
    """How an attempt ended. With `again` it is tried once more after so many seconds."""

    outcome: Literal["done", "again", "dead", "dropped"]
    reason: str | None = None
    again: float = 0.0
    snapshot_id: str | None = None
    note_id: str | None = None
    note_url: str | None = None


class Ledger:
    """The tables, and every change that is made to them."""

    def __init__(self, engine: Engine, enqueue: Enqueue, clock: Callable[[], float] = time.time) -> None:
        """`enqueue` puts a job into the queue, inside the transaction that it is given."""
        self._engine = engine
        self._enqueue = enqueue
        self._clock = clock

    # ---- deliveries come in

    def add(self, batch: Sequence[NewDelivery]) -> list[str | None]:
        """Stores a batch with its jobs, all of it or nothing; the id of each, None for one that is here already."""
        with self._engine.begin() as connection:
            return self.add_within(connection, batch)

    def add_within(self, connection: Connection, batch: Sequence[NewDelivery]) -> list[str | None]:
        """The same inside a transaction of the caller's."""
        rows: list[dict[str, Any]] = [
            {
                "id": f"d-{uuid.uuid4().hex[:16]}",
                "system": one.system,
                "key": _key(one.key),
                "ticket_id": storable(one.ticket_id)[:_NAME],
                "kind": storable(one.kind)[:100],
                "actor": storable(one.actor)[:_NAME] if one.actor else None,
                "priority": one.priority,
                "ticket": one.ticket,
                "received_at": one.received_at,
                "state": "ignored" if one.ignored else "queued",
                "reason": one.ignored,
                "attempts": 0,
                "starts": 0,
                "ended_at": one.received_at if one.ignored else None,
            }
            for one in batch
        ]
        insert = insert_into(self._engine, deliveries).on_conflict_do_nothing().returning(deliveries.c.id)
        stored = set(connection.scalars(insert, rows))
        for row in rows:
            if row["id"] in stored and row["state"] == "queued":
                self._enqueue(connection, row["id"], row["system"], row["ticket_id"], row["priority"], 0.0)
        return [row["id"] if row["id"] in stored else None for row in rows]

    def refused(self, system: str, reason: str, count: int = 1) -> None:
        """Counts requests that were refused at the door."""
        insert = insert_into(self._engine, refusals).values(system=system[:80], reason=reason[:40], count=count)
        with self._engine.begin() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["system", "reason"], set_={"count": refusals.c.count + count}
                )
            )

    # ---- work

    def begin(self, delivery: str, worker: str, run: str = "") -> Job | Busy | None:
        """Claims the delivery's ticket. None where nothing is left to do for the delivery; `Busy` puts its job back into the queue.

        `run` is a name for this attempt alone: begun once more under it, since the answer to the commit was lost, the claim is the
        same one.
        """
        now = self._clock()
        claimant = f"{worker}#{run or uuid.uuid4().hex[:16]}"
        with self._engine.begin() as connection:
            row = connection.execute(
                sa.select(deliveries).where(deliveries.c.id == delivery).with_for_update()
            ).one_or_none()
            if row is None or row.state not in OPEN:
                return None
            if row.state == "waiting" and row.next_at is not None and row.next_at > now:
                # A job of the same ticket failed meanwhile, and set the time of the next attempt for all of them.
                return self._later(connection, row, row.next_at - now)
            same = sa.and_(
                deliveries.c.system == row.system, deliveries.c.ticket_id == row.ticket_id, deliveries.c.state.in_(OPEN)
            )
            known = self._claim(connection, row.system, row.ticket_id, claimant, now)
            if known is None:
                return self._later(connection, row, _AGAIN)
            starts = row.starts + 1
            if starts > STARTS:
                # What its job covered goes with it: theirs would take the process down as well.
                covered = connection.scalars(
                    sa.select(deliveries.c.id).where(same, deliveries.c.state.in_(("working", "waiting")))
                )
                reason = f"the job was begun {row.starts} times and never came to an end"
                self._end(connection, {row.id, *covered}, "dead", reason, now)
                self._release(connection, row.system, row.ticket_id, claimant)
                return None
            covers = connection.execute(
                sa.select(deliveries.c.id, deliveries.c.kind).where(same).order_by(deliveries.c.seq)
            ).all()
            # A ticket that cannot be read again is in the last delivery that its system sent, and not in one of ours.
            told = connection.scalar(
                sa.select(deliveries.c.ticket)
                .where(
                    deliveries.c.system == row.system,
                    deliveries.c.ticket_id == row.ticket_id,
                    deliveries.c.kind.not_in(_OURS),
                )
                .order_by(deliveries.c.seq.desc())
                .limit(1)
            )
            connection.execute(deliveries.update().where(same).values(state="working", next_at=None))
            connection.execute(deliveries.update().where(deliveries.c.id == row.id).values(starts=starts))
        return Job(
            delivery=row.id,
            system=row.system,
            ticket_id=row.ticket_id,
            covers=tuple(one.id for one in covers),
            number=row.attempts + 1,
            priority=row.priority,
            received_at=row.received_at,
            started_at=now,
            ticket=told,
            note_id=known.note_id,
            snapshot_id=known.snapshot_id,
            claimant=claimant,
            routine=all(one.kind.startswith(ROUTINE) for one in covers),
        )

    def finish(self, job: Job, worker: str, ended: Ended, also: Callable[[Connection], None] = lambda _: None) -> None:
        """Writes how the attempt ended, gives the ticket back, and queues the next attempt where one is due.

        `also` is done in the same transaction.
        """
        now = self._clock()
        reason = storable(ended.reason) if ended.reason else None
        with self._engine.begin() as connection:
            connection.execute(
                attempts.insert().values(
                    delivery=job.delivery,
                    number=job.number,
                    worker=worker,
                    started_at=job.started_at,
                    ended_at=now,
                    outcome=ended.outcome,
                    reason=reason,
                    snapshot_id=ended.snapshot_id,
                )
            )
            if ended.outcome == "again":
                self._wait(connection, job, reason, now + ended.again)
                self._enqueue(connection, job.delivery, job.system, job.ticket_id, job.priority, ended.again)
            else:
                self._end(connection, job.covers, ended.outcome, reason, now, job.number)
            known: dict[str, Any] = {}
            if ended.snapshot_id:
                known["snapshot_id"] = ended.snapshot_id
            if ended.note_id:
                known |= {"note_id": ended.note_id, "note_url": ended.note_url, "attached_at": now}
            self._release(connection, job.system, job.ticket_id, job.claimant, **known)
            also(connection)

    def _later(self, connection: Connection, row: Any, seconds: float) -> Busy:
        """Queues the delivery's job again for later, without counting an attempt."""
        self._enqueue(connection, row.id, row.system, row.ticket_id, row.priority, max(seconds, 0.1))
        return Busy()

    def _claim(self, connection: Connection, system: str, ticket_id: str, claimant: str, now: float) -> Any:
        """The ticket's row, now ours; None where it is another's."""
        connection.execute(
            insert_into(self._engine, tickets)
            .values(system=system, ticket_id=ticket_id, claimed_until=0.0)
            .on_conflict_do_nothing()
        )
        here = sa.and_(tickets.c.system == system, tickets.c.ticket_id == ticket_id)
        claimed = connection.execute(
            tickets.update()
            .where(
                here,
                sa.or_(tickets.c.claimed_by.is_(None), tickets.c.claimed_until < now, tickets.c.claimed_by == claimant),
            )
            .values(claimed_by=claimant, claimed_until=now + LEASE)
        )
        return connection.execute(sa.select(tickets).where(here)).one() if claimed.rowcount else None

    @staticmethod
    def _release(connection: Connection, system: str, ticket_id: str, claimant: str, **known: Any) -> None:
        connection.execute(
            tickets.update()
            .where(tickets.c.system == system, tickets.c.ticket_id == ticket_id, tickets.c.claimed_by == claimant)
            .values(claimed_by=None, claimed_until=0.0, **known)
        )

    @staticmethod
    def _wait(connection: Connection, job: Job, reason: str | None, until: float) -> None:
        """What the job covered waits for the next attempt together."""
        connection.execute(
            deliveries.update()
            .where(deliveries.c.id.in_(job.covers), deliveries.c.state == "working")
            .values(state="waiting", reason=reason, next_at=until, attempts=deliveries.c.attempts + 1, starts=0)
        )

    @staticmethod
    def _end(
        connection: Connection,
        ids: Iterable[str],
        state: str,
        reason: str | None,
        now: float,
        number: int | None = None,
    ) -> None:
        values: dict[str, Any] = {"state": state, "reason": reason, "ended_at": now, "next_at": None}
        if number is not None:
            values["attempts"] = number
        connection.execute(
            deliveries.update().where(deliveries.c.id.in_(list(ids)), deliveries.c.state.in_(OPEN)).values(**values)
        )

    # ---- workers

    def seen(self, worker: str, executor: str) -> None:
        """The worker is alive: its claims hold on. Those that its executor had before are forgotten when their lease ends."""
        now = self._clock()
        with self._engine.begin() as connection:
            connection.execute(
                insert_into(self._engine, workers)
                .values(id=worker, executor=executor, seen_at=now)
                .on_conflict_do_update(index_elements=["id"], set_={"seen_at": now})
            )
            before = (workers.c.executor == executor, workers.c.id != worker, workers.c.seen_at < now - LEASE)
            connection.execute(workers.delete().where(*before))
            mine = sa.func.substr(tickets.c.claimed_by, 1, len(worker) + 1) == f"{worker}#"
            connection.execute(
                tickets.update().where(tickets.c.claimed_by.is_not(None), mine).values(claimed_until=now + LEASE)
            )

    def gone(self, worker: str) -> None:
        """The worker has ended."""
        with self._engine.begin() as connection:
            connection.execute(workers.delete().where(workers.c.id == worker))

    def lost(self) -> list[str]:
        """Executors of which no worker was heard for a lease, until they are `forgotten`: what they had begun goes back first."""
        limit = self._clock() - LEASE
        with self._engine.connect() as connection:
            last = sa.func.max(workers.c.seen_at)
            rows = connection.execute(sa.select(workers.c.executor).group_by(workers.c.executor).having(last < limit))
            return sorted(row.executor for row in rows)

    def forgotten(self, executors: Iterable[str]) -> None:
        """Takes away the workers of executors that are lost."""
        limit = self._clock() - LEASE
        with self._engine.begin() as connection:
            connection.execute(
                workers.delete().where(workers.c.seen_at < limit, workers.c.executor.in_(list(executors)))
            )

    def workers_alive(self) -> int:
        """How many workers were heard of within a lease."""
        with self._engine.connect() as connection:
            return int(
                connection.scalar(sa.select(sa.func.count()).where(workers.c.seen_at >= self._clock() - LEASE)) or 0
            )

    # ---- what people ask

    def counts(self) -> dict[tuple[str, str], int]:
        """(system, state) -> deliveries."""
        query = sa.select(deliveries.c.system, deliveries.c.state, sa.func.count()).group_by(
            deliveries.c.system, deliveries.c.state
        )
        with self._engine.connect() as connection:
            return {(system, state): int(count) for system, state, count in connection.execute(query)}

    def refusal_counts(self) -> dict[tuple[str, str], int]:
        """(system, reason) -> requests that were refused at the door."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(refusals.c.system, refusals.c.reason, refusals.c.count))
            return {(system, reason): int(count) for system, reason, count in rows}

    def oldest_waiting(self) -> float | None:
        """When the oldest delivery that is still to be worked came in."""
        query = sa.select(sa.func.min(deliveries.c.received_at)).where(deliveries.c.state.in_(OPEN))
        with self._engine.connect() as connection:
            oldest = connection.scalar(query)
            return None if oldest is None else float(oldest)

    def listed(self, states: Sequence[str] = (), system: str | None = None, limit: int | None = 50) -> list[Any]:
        """Rows of deliveries, newest first; all of them without a limit."""
        query = sa.select(deliveries).order_by(deliveries.c.seq.desc()).limit(limit)
        if states:
            query = query.where(deliveries.c.state.in_(states))
        if system:
            query = query.where(deliveries.c.system == system)
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def found(self, ref: str) -> list[Any]:
        """The rows of a delivery by its id or its beginning, or of a ticket's deliveries by the ticket's id, oldest first."""
        like = deliveries.c.id.startswith(ref, autoescape=True)
        query = sa.select(deliveries).where(sa.or_(like, deliveries.c.ticket_id == ref)).order_by(deliveries.c.seq)
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def tries(self, delivery: str) -> list[Any]:
        """The attempts at a delivery, in order."""
        query = sa.select(attempts).where(attempts.c.delivery == delivery).order_by(attempts.c.seq)
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def ticket(self, system: str, ticket_id: str) -> Any:
        """The row of a ticket, or None."""
        query = sa.select(tickets).where(tickets.c.system == system, tickets.c.ticket_id == ticket_id)
        with self._engine.connect() as connection:
            return connection.execute(query).one_or_none()

    def retry(self, ids: Iterable[str]) -> list[str]:
        """Queues dead, dropped, ignored or waiting deliveries at once; the ids of those that it did."""
        again: list[str] = []
        with self._engine.begin() as connection:
            for some in _portions(ids):
                rows = connection.execute(
                    sa.select(deliveries).where(deliveries.c.id.in_(some)).with_for_update()
                ).all()
                for row in rows:
                    if row.state in {"queued", "working", "done"}:
                        continue
                    connection.execute(
                        deliveries.update()
                        .where(deliveries.c.id == row.id)
                        .values(state="queued", attempts=0, starts=0, reason=None, next_at=None, ended_at=None)
                    )
                    self._enqueue(connection, row.id, row.system, row.ticket_id, row.priority, 0.0)
                    again.append(row.id)
        return again

    def drop(self, ids: Iterable[str], reason: str) -> list[str]:
        """Gives up deliveries that are not done; the ids of those that it did."""
        dropped: list[str] = []
        with self._engine.begin() as connection:
            for some in _portions(ids):
                dropped += connection.scalars(
                    deliveries.update()
                    .where(deliveries.c.id.in_(some), deliveries.c.state.in_(("queued", "waiting", "dead")))
                    .values(state="dropped", reason=reason, ended_at=self._clock(), next_at=None)
                    .returning(deliveries.c.id)
                )
        return dropped

    # ---- polling

    def cursor(self, system: str) -> str | None:
        """Where the poll of a system stopped, or None."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(cursors.c.cursor).where(cursors.c.system == system))

    def move_cursor(self, system: str, cursor: str) -> None:
        """The poll of a system has come so far."""
        now = self._clock()
        with self._engine.begin() as connection:
            connection.execute(
                insert_into(self._engine, cursors)
                .values(system=system, cursor=cursor, moved_at=now)
                .on_conflict_do_update(index_elements=["system"], set_={"cursor": cursor, "moved_at": now})
            )

    def prune(self, keep: float) -> int:
        """Deletes what ended more than `keep` seconds ago, and tickets and storms with nothing later; how many deliveries."""
        limit = self._clock() - keep
        old = sa.and_(deliveries.c.ended_at < limit, deliveries.c.state.in_(("done", "ignored", "dropped")))
        with self._engine.begin() as connection:
            connection.execute(attempts.delete().where(attempts.c.delivery.in_(sa.select(deliveries.c.id).where(old))))
            pruned = connection.execute(deliveries.delete().where(old)).rowcount
            # Whose customers a storm touched, and which note a ticket has: the note is found by its marker all the same.
            past = sa.select(storms.c.id).where(storms.c.last_at < limit)
            connection.execute(members.delete().where(members.c.storm.in_(past)))
            connection.execute(storms.delete().where(storms.c.last_at < limit))
            still = sa.select(deliveries.c.id).where(
                deliveries.c.system == tickets.c.system, deliveries.c.ticket_id == tickets.c.ticket_id
            )
            connection.execute(tickets.delete().where(tickets.c.claimed_until < limit, ~still.exists()))
            return pruned


def insert_into(engine: Engine, table: sa.Table) -> Any:
    """The dialect's INSERT, which knows ON CONFLICT."""
    from sqlalchemy.dialects import postgresql, sqlite

    return postgresql.insert(table) if engine.dialect.name == "postgresql" else sqlite.insert(table)


def storable(text: str) -> str:
    r"""The text without what a database refuses: NUL (PostgreSQL) and halves of characters, which no UTF-8 holds.

    >>> storable("a\x00b"), storable("a\ud800b")
    ('a�b', 'a?b')
    """
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _portions(ids: Iterable[str], size: int = 1000) -> Iterator[list[str]]:
    """The ids in lists that a statement can name: PostgreSQL takes 65,535 values, SQLite 32,766 where nobody raised that."""
    every = list(ids)
    return (every[start : start + size] for start in range(0, len(every), size))


def _key(key: str) -> str:
    """A sender's id as its column takes it: one that is too long is not cut, since two of them may begin alike."""
    if len(key) <= _NAME:
        return storable(key)
    return f"sha256:{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()}"
