"""One job: read the ticket again, take its snapshot, keep it, put the note on the ticket. Nothing here raises."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from pipeline.attach import Touched, attach_snapshot
from pipeline.errors import SnapshotError, TicketNotFound, UsageError
from pipeline.run import take_snapshot
from pipeline.service.ledger import Busy, Ended, Job, NewDelivery
from pipeline.service.storms import TOLD_AT
from pipeline.service.urgency import LATER
from pipeline.tickets.system import SystemBroken, SystemUnavailable
from pipeline.values import Ticket
from snapshots.store import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.attach import Links
    from pipeline.desk.duty import Duty
    from pipeline.notify.target import EventKind
    from pipeline.service.ledger import Ledger
    from pipeline.service.messages import Messages
    from pipeline.service.storms import Storm, Storms
    from pipeline.settings import Settings
    from pipeline.tickets.system import TicketSystem
    from pipeline.values import Source
    from snapshots.model import ProblemSnapshot, Severity
    from snapshots.store import Store

# What is written in the transaction that ends a job.
Also = Callable[["Connection"], None]
_log = logging.getLogger(__name__)
# A failure that trying again is not likely to mend is tried so often all the same: what looks final may be a release in progress.
_HOPELESS = 3
# A ticket that another job holds is looked at again after so many seconds.
_BUSY = 2.0


@dataclass(frozen=True)
class Bench:
    """What a job needs. The systems and sources are shared by the jobs of a process."""

    ledger: Ledger
    systems: Mapping[str, TicketSystem]
    sources: Sequence[Source]
    store: Store
    settings: Settings
    links: Callable[[str], Links]
    storms: Storms
    messages: Messages
    duty: Duty | None = None

    def work(self, delivery: str, worker: str) -> None:
        """Does the job of one delivery, and writes down what became of it."""
        job = self.ledger.begin(delivery, worker)
        if job is None:
            return
        if isinstance(job, Busy):
            self.ledger.postpone(delivery, _BUSY)
            return
        ended, also = self._ended(job)
        if ended.reason:
            _log.warning("%s ticket %s: %s: %s", job.system, job.ticket_id, ended.outcome, ended.reason)
        self.ledger.finish(job, worker, ended, also)

    def _ended(self, job: Job) -> tuple[Ended, Also]:
        """How the attempt ended, and what is to be written down together with that."""
        try:
            return self._done(job)
        except Exception as error:  # noqa: BLE001 - one ticket never takes the others along
            return self._failed(job, error), _nothing

    def _failed(self, job: Job, failure: Exception) -> Ended:
        match failure:
            case TicketNotFound():
                return Ended("dropped", _said(failure))
            case SystemUnavailable():
                return self._again(job, failure, at_least=failure.after or 0.0)
            case SystemBroken() | UsageError():
                return self._again(job, failure, tries=_HOPELESS)
            case SnapshotError() | StoreError():
                return self._again(job, failure)
        _log.error("a job failed in a way that is not foreseen", exc_info=failure)
        return self._again(job, failure, tries=_HOPELESS)

    def _done(self, job: Job) -> tuple[Ended, Also]:
        system = self.systems.get(job.system)
        if system is None:
            raise UsageError(f"there is no [tickets.{job.system}] any more")
        ticket = msgspec.json.decode(job.ticket, type=Ticket) if job.ticket else system.ticket(job.ticket_id)
        taken = take_snapshot(ticket, self.sources, self.settings)
        self.store.put(taken.snapshot, taken.run)
        storm = self.storms.join(job.system, job.ticket_id, taken.snapshot)
        severity = self.duty.severity(taken.snapshot, storm, job.system) if self.duty else None
        attached = attach_snapshot(
            # What a storm adds stands on the ticket, and not in the document: that is made of the ticket's own records.
            msgspec.structs.replace(taken.snapshot, severity=severity) if severity else taken.snapshot,
            system,
            job.ticket_id,
            links=self.links(taken.snapshot.snapshot_id),
            touched=_touched(storm),
            known=job.note_id,
        )
        self._tell_parent(storm, job)
        for note in attached.notes:
            _log.info("%s ticket %s: %s", job.system, job.ticket_id, note)
        snapshot = taken.snapshot
        ended = Ended("done", snapshot_id=snapshot.snapshot_id, note_id=attached.note_id, note_url=attached.url)
        if job.snapshot_id == snapshot.snapshot_id:
            return ended, lambda connection: self._grade(connection, job, snapshot, severity, storm)
        kind: EventKind = "snapshot.updated" if job.snapshot_id else "snapshot.created"
        child = storm is not None and not storm.is_parent(job.system, job.ticket_id)

        def also(connection: Connection) -> None:
            self.messages.tell(connection, kind, snapshot, replaces=job.snapshot_id, child=child)
            self._grade(connection, job, snapshot, severity, storm)

        return ended, also

    def _grade(
        self,
        connection: Connection,
        job: Job,
        snapshot: ProblemSnapshot,
        severity: Severity | None,
        storm: Storm | None,
    ) -> None:
        """Starts the ticket's clock, and its room where it is a P1."""
        if self.duty is not None and severity is not None:
            self.duty.graded(connection, job.system, snapshot, severity, storm)

    def _tell_parent(self, storm: Storm | None, job: Job) -> None:
        """Has the parent's note written again where the storm has grown by enough to tell."""
        if storm is None or storm.tickets not in TOLD_AT or storm.is_parent(job.system, job.ticket_id):
            return
        grown = NewDelivery(
            system=storm.parent_system,
            # Once for each size, also where this job is done twice.
            key=f"storm:{storm.id}:{storm.tickets}",
            ticket_id=storm.parent_ticket,
            kind="storm.grown",
            priority=LATER,
            received_at=storm.last_at,
        )
        self.ledger.add([grown])

    def _again(self, job: Job, error: Exception, *, at_least: float = 0.0, tries: int | None = None) -> Ended:
        """Another attempt after the pause that is due, or none."""
        pauses = self.settings.service.retries
        allowed = len(pauses) if tries is None else min(tries - 1, len(pauses))
        if job.number > allowed:
            times = "once" if job.number == 1 else f"{job.number} times"
            return Ended("dead", f"tried {times}; at last: {_said(error)}")
        return Ended("again", _said(error), again=max(pauses[job.number - 1], at_least))


def _nothing(_connection: Connection) -> None:
    """Nothing is written beside."""


def _touched(storm: Storm | None) -> Touched | None:
    """Whom the storm touches; one ticket is none."""
    if storm is None or storm.tickets < 2:
        return None
    return Touched(
        tickets=storm.tickets,
        customers=storm.customers or None,
        orders=storm.orders or None,
        channels=len(storm.channels) or None,
    )


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())[:1000]
    return text if isinstance(error, SnapshotError | StoreError) else f"{type(error).__name__}: {text}"
