"""The queue of jobs, kept by DBOS in the service's database: by priority, one at a time per ticket, again after a crash.

A job is a workflow of one step whose argument is a delivery's id. It is put into the queue in the transaction that changes the
ledger, so neither is ever there without the other. Jobs of one ticket share a partition, in which one runs at a time, in order.
What a dead worker had begun goes back into the queue when it starts again, or when another worker misses it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.service.ledger import LEASE

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from pipeline.service.ledger import Ledger

_log = logging.getLogger(__name__)
APPLICATION = "problem-snapshot"
QUEUE, WORKFLOW = "tickets", "job"
MESSAGES, CHATS, MESSAGE = "messages", "chats", "message"
# Robots of chats take some twenty messages a minute: DingTalk and WeCom say so, and none takes less.
_CHAT_LIMIT = {"limit": 20, "period": 60.0}
# Jobs that were queued by an older program are worked by a newer one.
_VERSION = "1"
# Tickets share so many partitions: each costs a little when the next job is chosen.
_PARTITIONS = 512
# How often a worker looks for jobs, in seconds.
_POLL = 0.2
# How often a worker says that it is alive, and looks for others that do not, in seconds.
_BEAT = 3.0
# What raises all the same is done again, for the better part of an hour.
_AGAIN: dict[str, Any] = {"retries_allowed": True, "interval_seconds": 5.0, "backoff_rate": 2.0, "max_attempts": 10}
# A job that takes its process down is given up by the ledger first.
_RECOVERIES = 100


class Enqueuer:
    """Puts jobs into the queue. `engine` is the ledger's."""

    def __init__(self, engine: Engine) -> None:
        from dbos import DBOSClient, DBOSPortableJSONSerializer

        quiet()
        self._client = DBOSClient(
            system_database_engine=engine, serializer=DBOSPortableJSONSerializer(), application_name=APPLICATION
        )

    def put(
        self, connection: Connection, delivery: str, system: str, ticket_id: str, priority: int, delay: float
    ) -> None:
        """A job for the delivery, inside the transaction of `connection`; to be begun in `delay` seconds."""
        self._put(connection, QUEUE, WORKFLOW, delivery, partition(system, ticket_id), priority, delay)

    def put_message(self, connection: Connection, message: str, target: str, limited: bool, delay: float) -> None:
        """A job for the message, in the same way; `limited` for a receiver that takes only so many a minute."""
        self._put(connection, CHATS if limited else MESSAGES, MESSAGE, message, target, 1, delay)

    def _put(
        self, connection: Connection, queue: str, workflow: str, argument: str, part: str, priority: int, delay: float
    ) -> None:
        options: dict[str, Any] = {
            "queue_name": queue,
            "workflow_name": workflow,
            "workflow_id": f"{argument}.{uuid.uuid4().hex[:12]}",
            "app_version": _VERSION,
            "priority": priority,
            "queue_partition_key": part,
        }
        if delay > 0:
            options["delay_seconds"] = delay
        self._client.enqueue_in_transaction(connection, options, argument)  # type: ignore[arg-type]

    def take_back(self, executor: str) -> int:
        """Puts what a dead executor had begun back into the queue; how many jobs."""
        return self._put_back(
            self._client.list_workflows(status="PENDING", executor_id=executor, load_input=False, load_output=False)
        )

    def give_back(self, ids: Sequence[str]) -> int:
        """Puts those of these jobs back into the queue that have not come to their end; how many."""
        if not ids:
            return 0
        return self._put_back(
            self._client.list_workflows(status="PENDING", workflow_ids=list(ids), load_input=False, load_output=False)
        )

    def _put_back(self, begun: Sequence[Any]) -> int:
        taken = 0
        for queue in (QUEUE, MESSAGES, CHATS):
            if ids := [one.workflow_id for one in begun if one.queue_name == queue]:
                self._client.resume_workflows(ids, queue_name=queue)
                taken += len(ids)
        return taken

    def prune(self, before: str, limit: int = 1000) -> int:
        """Deletes up to `limit` jobs that were done before `before`, an ISO 8601 time; how many."""
        done = self._client.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
            completed_before=before,
            limit=limit,
            load_input=False,
            load_output=False,
        )
        if done:
            self._client.delete_workflows([one.workflow_id for one in done])
        return len(done)

    def close(self) -> None:
        """Closes the connections."""
        self._client.destroy()


def partition(system: str, ticket_id: str) -> str:
    """The partition of a ticket's jobs."""
    return f"p{zlib.crc32(f'{system}/{ticket_id}'.encode()) % _PARTITIONS:03d}"


class Worker:
    """Works jobs in this process, until it is stopped. There is one per process: DBOS knows one."""

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        enqueuer: Enqueuer,
        work: Callable[[str], None],
        tell: Callable[[str], None],
        *,
        executor: str,
        jobs: int,
    ) -> None:
        """`work` does the job of a delivery, `tell` that of a message; they must not raise.

        `executor` is this place's name, the same after a restart.
        """
        self.id = f"{executor}/{uuid.uuid4().hex[:8]}"
        self._engine = engine
        self._ledger = ledger
        self._enqueuer = enqueuer
        self._work = work
        self._tell = tell
        self._executor = executor
        self._jobs = jobs
        # The queue's names of the jobs that this process is at.
        self._under_way: set[str] = set()
        self._stopping = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begins to work, first on what was interrupted."""
        from dbos import DBOS, DBOSPortableJSONSerializer

        quiet()
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_engine": self._engine,
                "system_database_url": self._engine.url.render_as_string(hide_password=False),
                "executor_id": self._executor,
                "application_version": _VERSION,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "ERROR",
                "enable_otlp": False,
                "run_migrations": False,
                "max_executor_threads": max(8, self._jobs * 2),
            }
        )

        # Neither raises as long as it is right; a fault in them must not end the only job that a delivery has.
        @DBOS.step(name="work", **_AGAIN)
        def step(delivery: str) -> None:
            self._work(delivery)

        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=_RECOVERIES)
        def job(delivery: str) -> None:
            with self._at():
                step(delivery)

        @DBOS.step(name="tell", **_AGAIN)
        def told(message: str) -> None:
            self._tell(message)

        @DBOS.workflow(name=MESSAGE, max_recovery_attempts=_RECOVERIES)
        def message_job(message: str) -> None:
            with self._at():
                told(message)

        self._ledger.seen(self.id, self._executor)
        DBOS.launch()
        DBOS.register_queue(
            QUEUE,
            worker_concurrency=self._jobs,
            partition_concurrency=1,
            polling_interval_sec=_POLL,
            on_conflict="always_update",
        )
        for name, limit in ((MESSAGES, None), (CHATS, _CHAT_LIMIT)):
            DBOS.register_queue(
                name,
                worker_concurrency=4,
                partition_concurrency=1,
                partition_limiter=limit,  # type: ignore[arg-type]
                polling_interval_sec=1.0,
                on_conflict="always_update",
            )
        self._heart.start()

    def stop(self, patience: int = 15) -> int:
        """Takes no further job, and waits so many seconds for those under way; the others go back into the queue.

        How many did not end; their threads go on until this process ends, which it should at once.
        """
        from dbos import DBOS

        # The heart beats on meanwhile: what is under way stays ours.
        DBOS.destroy(workflow_completion_timeout_sec=patience, destroy_registry=True)
        self._stopping.set()
        if self._heart.is_alive():
            self._heart.join(_BEAT)
        try:
            # Not all of the executor's: it may have been started again while we were ending.
            left = self._enqueuer.give_back(sorted(self._under_way))
            self._ledger.gone(self.id)
        except Exception as error:  # noqa: BLE001 - another worker misses us then
            _log.warning("not signed off: %s: %s", type(error).__name__, " ".join(str(error).split())[:200])
            left = 1
        return left

    @contextlib.contextmanager
    def _at(self) -> Iterator[None]:
        from dbos import DBOS

        job = DBOS.workflow_id or ""
        self._under_way.add(job)
        try:
            yield
        finally:
            self._under_way.discard(job)

    def _beat(self) -> None:
        last, fair = time.time(), 0.0
        while not self._stopping.wait(_BEAT):
            try:
                self._ledger.seen(self.id, self._executor)
                now = time.time()
                if not 0 <= now - last < 3 * _BEAT:
                    # We were away, or the database, or the clock was set: the others get a lease to be heard again.
                    fair = now + LEASE
                last = now
                if now >= fair and (lost := self._ledger.lost()):
                    for executor in lost:
                        self._enqueuer.take_back(executor)
                    # Only now: who ends in between leaves the rest to the next one.
                    self._ledger.forgotten(lost)
            except Exception as error:  # noqa: BLE001 - the database may be away: the next beat tries again
                _log.warning("no heartbeat: %s: %s", type(error).__name__, " ".join(str(error).split())[:200])


def quiet() -> None:
    """The library tells of each step it takes; what matters is in the ledger."""
    logging.getLogger("dbos").setLevel(logging.ERROR)


assert _BEAT * 3 < LEASE  # noqa: S101 - two beats may be missed
