"""One job: read the ticket again, take its snapshot, keep it, put the note on the ticket. Nothing here raises."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from pipeline.attach import Touched, attach_snapshot, attach_waiting
from pipeline.errors import NoSourceReached, SnapshotError, TicketNotFound, UsageError
from pipeline.run import take_snapshot
from pipeline.service.database import insisted
from pipeline.service.ledger import STORM_GROWN, Busy, Ended, Job, NewDelivery
from pipeline.service.storms import TOLD_AT, own_of
from pipeline.service.urgency import LATER
from pipeline.tickets.system import SystemBroken, SystemUnavailable
from pipeline.uploads import uploads_for
from pipeline.values import Ticket
from snapshots.store import StoreError
from snapshots.words import language_for

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.attach import Links
    from pipeline.desk.duty import Duty
    from pipeline.notify.target import EventKind
    from pipeline.service.asking import Asking
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
    asking: Asking | None = None

    def work(self, delivery: str, worker: str) -> None:
        """Does the job of one delivery, and writes down what became of it, as soon as the database takes it."""
        run = uuid.uuid4().hex[:16]
        job = insisted(lambda: self.ledger.begin(delivery, worker, run))
        if job is None or isinstance(job, Busy):
            return
        ended, also = self._ended(job)
        if ended.reason:
            _log.warning("%s ticket %s: %s: %s", job.system, job.ticket_id, ended.outcome, ended.reason)
        try:
            insisted(lambda: self.ledger.finish(job, worker, ended, also))
        except Exception as error:  # noqa: BLE001 - the ticket must not stay claimed
            failed = self._failed(job, error)
            insisted(lambda: self.ledger.finish(job, worker, failed))

    def _ended(self, job: Job) -> tuple[Ended, Also]:
        """How the attempt ended, and what is to be written down together with that."""
        try:
            return self._done(job)
        except Exception as error:  # noqa: BLE001 - one ticket never takes the others along
            return self._failed(job, error), _nothing

    def _failed(self, job: Job, failure: Exception) -> Ended:
        match failure:
            case TicketNotFound():
                # A hook may be quicker than the commit that it tells of, or than the replica that is asked.
                tried = self._again(job, failure, tries=_HOPELESS)
                return tried if tried.outcome == "again" else Ended("dropped", _said(failure))
            case SystemUnavailable():
                return self._again(job, failure, at_least=failure.after or 0.0)
            case SystemBroken() | UsageError():
                return self._again(job, failure, tries=_HOPELESS)
            case NoSourceReached():
                return self._without_sources(job, failure)
            case SnapshotError() | StoreError() | sa.exc.OperationalError():
                return self._again(job, failure)
        _log.error("a job failed in a way that is not foreseen", exc_info=failure)
        return self._again(job, failure, tries=_HOPELESS)

    def _done(self, job: Job) -> tuple[Ended, Also]:
        system = self.systems.get(job.system)
        if system is None:
            raise UsageError(f"there is no [tickets.{job.system}] any more")
        if job.routine and self.duty is None:
            return Ended("done"), _nothing
        ticket = _read(job, system)
        rose = self._follow(job)
        if job.routine and not rose:
            return Ended("done"), _nothing
        if self.asking is not None:
            ticket = self.asking.answered(job.system, job.ticket_id, ticket)
        uploads = uploads_for(self.settings, job.system, job.ticket_id)
        try:
            taken = take_snapshot(ticket, [*self.sources, *uploads], self.settings)
        finally:
            for upload in uploads:
                upload.close()
        self.store.put(taken.snapshot, taken.run)
        storm = self.storms.join(job.system, job.ticket_id, taken.snapshot)
        severity = self.duty.severity(taken.snapshot, storm, job.system) if self.duty else None
        attached = attach_snapshot(
            # What a storm adds stands on the ticket, and not in the document: that is made of the ticket's own records.
            msgspec.structs.replace(taken.snapshot, severity=severity) if severity else taken.snapshot,
            system,
            job.ticket_id,
            links=self._links(job, taken.snapshot),
            touched=self._touched(storm, job, taken.snapshot),
            known=job.note_id,
        )
        self._tell_parent(storm, job)
        answers = self.asking.attach(system, job.ticket_id, taken.snapshot, self.settings) if self.asking else ()
        for note in (*attached.notes, *answers):
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

    def _follow(self, job: Job) -> bool:
        """Brings the ticket's clock up to what its system says happened; whether its level rose. It stops no snapshot."""
        if self.duty is None:
            return False
        try:
            return self.duty.follow(job.system, job.ticket_id)
        except SnapshotError as error:
            if job.routine:
                raise
            _log.warning("%s ticket %s: what happened to it is not known: %s", job.system, job.ticket_id, error)
            return False

    def _links(self, job: Job, snapshot: ProblemSnapshot) -> Links:
        links = self.links(snapshot.snapshot_id)
        return self.asking.linked(links, job.system, job.ticket_id, snapshot) if self.asking else links

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

    def _touched(self, storm: Storm | None, job: Job, snapshot: ProblemSnapshot) -> Touched | None:
        """Whom the storm touches, and what this ticket has that its first one has not; one ticket is no storm."""
        if storm is None or storm.tickets < 2:
            return None
        numbers = Touched(
            tickets=storm.tickets,
            customers=storm.customers or None,
            orders=storm.orders or None,
            channels=len(storm.channels) or None,
        )
        if storm.is_parent(job.system, job.ticket_id):
            return numbers
        name = f"{storm.parent_system} {storm.parent_ticket} · {storm.parent_snapshot}"
        try:
            own = own_of(snapshot, self.store.get(storm.parent_snapshot))
        except StoreError:
            # The parent's own ticket and counts are told all the same.
            own = ()
        return replace(numbers, first=name, first_url=storm.parent_url or "", own=own)

    def _tell_parent(self, storm: Storm | None, job: Job) -> None:
        """Has the parent's note written again where the storm has grown by enough to tell."""
        if storm is None or storm.tickets not in TOLD_AT or storm.is_parent(job.system, job.ticket_id):
            return
        grown = NewDelivery(
            system=storm.parent_system,
            # Once for each size, also where this job is done twice.
            key=f"storm:{storm.id}:{storm.tickets}",
            ticket_id=storm.parent_ticket,
            kind=STORM_GROWN,
            priority=LATER,
            received_at=storm.last_at,
        )
        self.ledger.add([grown])

    def _without_sources(self, job: Job, failure: NoSourceReached) -> Ended:
        """Another attempt; until then the ticket says why it has no snapshot, where its note can be changed afterwards."""
        ended = self._again(job, failure)
        system = self.systems.get(job.system)
        if ended.outcome != "again" or system is None or not system.edits or job.snapshot_id:
            return ended
        when = datetime.fromtimestamp(time.time() + ended.again, UTC)
        try:
            ticket = _read(job, system)
            attached = attach_waiting(
                system,
                job.ticket_id,
                language_for(ticket.language),
                _said(failure),
                f"{when:%Y-%m-%d %H:%M} UTC",
                known=job.note_id,
            )
        except SnapshotError as error:
            _log.warning("%s ticket %s: not told that no source was reached: %s", job.system, job.ticket_id, error)
            return ended
        return replace(ended, note_id=attached.note_id, note_url=attached.url)

    def _again(self, job: Job, error: Exception, *, at_least: float = 0.0, tries: int | None = None) -> Ended:
        """Another attempt after the pause that is due, or none."""
        pauses = self.settings.service.retries
        allowed = len(pauses) if tries is None else min(tries - 1, len(pauses))
        if job.number > allowed:
            times = "once" if job.number == 1 else f"{job.number} times"
            return Ended("dead", f"tried {times}; at last: {_said(error)}")
        return Ended("again", _said(error), again=max(pauses[job.number - 1], at_least))


def _read(job: Job, system: TicketSystem) -> Ticket:
    """The ticket as it is now, or as its delivery had it where it cannot be read again."""
    return msgspec.json.decode(job.ticket, type=Ticket) if job.ticket else system.ticket(job.ticket_id)


def _nothing(_connection: Connection) -> None:
    """Nothing is written beside."""


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())[:1000]
    return text if isinstance(error, SnapshotError | StoreError) else f"{type(error).__name__}: {text}"
