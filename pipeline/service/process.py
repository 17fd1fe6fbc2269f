"""The service as processes: one that takes deliveries, and workers beside it that take snapshots."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.service.crew import PATIENCE, Crew
from pipeline.service.opened import opened_asking, opened_base, opened_systems, opened_targets
from pipeline.service.options import address

if TYPE_CHECKING:
    from pipeline.service.collections_api import Asker
    from pipeline.service.opened import Base
    from pipeline.service.question_pages import QuestionPages
    from pipeline.service.receiving import Receiver
    from pipeline.settings import Settings
    from pipeline.tickets.system import TicketSystem
    from pipeline.values import Source
    from snapshots.store import Store

_log = logging.getLogger(__name__)
# How often done work is looked through for what is too old, in seconds.
_PRUNE = 3600.0


def serve(settings: Settings, worker: Sequence[str], ready: Callable[[str], None]) -> None:
    """Takes deliveries until told to stop. `worker` is the command that starts a worker, without its slot.

    `ready` is told the address. Raises `DatabaseUnavailable`, or `UsageError` where the address cannot be listened on.
    """
    from pipeline.desk.room import Rooms
    from pipeline.service.app import Parts, make_app
    from pipeline.service.desk_counter import DeskCounter
    from pipeline.service.links import Answers, Pages
    from pipeline.service.polling import Pollers
    from pipeline.service.server import Server
    from snapshots.store import Store

    options = settings.service
    host, port = address(options.listen)
    store = Store(settings.store)
    pages = Pages(options, store)
    with opened_base(settings) as base, opened_systems(settings) as systems, _listening(host, port) as place:
        rooms = Rooms(base.engine, settings.desk.grading.room) if settings.desk and settings.desk.grading.room else None
        desk = DeskCounter(settings, base.engine, store)
        questions = _question_pages(settings, base, store)
        receiver, asker = _receiver(settings, base), _asker(settings, base, systems)
        parts = Parts(
            systems,
            base.ledger,
            options,
            pages.page,
            Answers(options, rooms),
            desk=desk,
            questions=questions,
            receiver=receiver,
            asker=asker,
        )
        app = make_app(parts)
        crew = Crew(worker, options.workers, executor_name(settings))
        every = {name: one.poll for name, one in settings.tickets.items() if one.poll is not None}
        pollers = Pollers(base.ledger, systems, every)
        keeper = _Keeper(base, options.keep, questions, receiver)
        server = Server(app, host, port)
        crew.start()
        keeper.start()
        pollers.start()
        ready(f"http://{options.listen}")
        try:
            server.run(sockets=[place])
        finally:
            pollers.stop()
            keeper.stop()
            if receiver:
                receiver.stop()
            crew.stop()


def work(settings: Settings, sources: Sequence[Source], executor: str, stop: threading.Event) -> int:
    """Works jobs until `stop` is set. How many were under way and did not end in time; the process should end at once then."""
    from pipeline.desk.duty import Duty, Watch
    from pipeline.service.durable import Worker
    from pipeline.service.links import Answers, Pages
    from pipeline.service.messages import Messages
    from pipeline.service.storms import Storms
    from pipeline.service.work import Bench
    from snapshots.store import Store

    options = settings.service
    store = Store(settings.store)
    with (
        opened_base(settings, pool=options.jobs + 8) as base,
        opened_systems(settings) as systems,
        opened_targets(settings) as targets,
    ):
        links = Pages(options, store).links
        storms = Storms(base.engine, options.storm_window)
        messages = Messages(
            base.engine,
            base.enqueuer.put_message,
            targets,
            store,
            links,
            options.retries,
            acknowledge=Answers(options, None).link,
        )
        duty = Duty(base.engine, settings.desk, messages, store, systems=systems) if settings.desk else None
        asking = opened_asking(settings, base)
        bench = Bench(base.ledger, systems, sources, store, settings, links, storms, messages, duty, asking)
        worker = Worker(
            base.engine,
            base.ledger,
            base.enqueuer,
            lambda delivery: bench.work(delivery, worker.id),
            messages.work,
            executor=executor,
            jobs=options.jobs,
        )
        worker.start()
        watch = Watch(duty) if duty else None
        if watch:
            watch.start()
        try:
            stop.wait()
        finally:
            if watch:
                watch.stop()
            left = worker.stop(PATIENCE)
        if left:
            _log.warning("jobs under way that did not end in %s s, and will be begun again: %s", PATIENCE, left)
        return left


def executor_name(settings: Settings) -> str:
    """What this service is called among others on one database: host and port, the same after a restart."""
    return f"{socket.gethostname()}:{address(settings.service.listen)[1]}"


def _question_pages(settings: Settings, base: Base, store: Store) -> QuestionPages | None:
    """The pages on which customers answer; None where the settings ask for no questions."""
    asking = opened_asking(settings, base)
    if asking is None:
        return None
    try:
        # Told now, and not to the first customer.
        import jsonschema  # noqa: F401
        import PIL  # noqa: F401
        import python_multipart  # noqa: F401
    except ImportError as error:
        from pipeline.desk.words import missing

        raise missing("desk", error) from error
    from pipeline.service.question_pages import QuestionPages

    return QuestionPages(asking.options, asking.links, store, asking.replies, base.ledger)


def _receiver(settings: Settings, base: Base) -> Receiver | None:
    """What takes customers' uploads, where they may be asked for any. Raises `UsageError` where the folder cannot be used."""
    if settings.desk is None or settings.desk.remote is None:
        return None
    from pipeline.desk.collections import Collections
    from pipeline.service.receiving import Receiver

    receiver = Receiver(Collections(base.engine), base.ledger, settings.desk.remote, settings.service)
    try:
        receiver.start()
    except OSError as error:
        raise UsageError(f"desk.remote.folder: {settings.desk.remote.uploads}: {error.strerror}") from error
    return receiver


def _asker(settings: Settings, base: Base, systems: Mapping[str, TicketSystem]) -> Asker | None:
    """What asks customers for logs, where they may be asked."""
    if settings.desk is None or settings.desk.remote is None:
        return None
    from pipeline.desk.collections import Collections
    from pipeline.service.collections_api import Asker

    return Asker(systems, settings, Collections(base.engine))


class _Keeper:
    """Takes away what was done long ago."""

    def __init__(self, base: Base, keep: float, questions: QuestionPages | None, receiver: Receiver | None) -> None:
        self._base = base
        self._keep = keep
        self._questions = questions
        self._receiver = receiver
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        from datetime import UTC, datetime, timedelta

        from pipeline.desk.events import prune as prune_desk
        from pipeline.service.messages import prune

        while not self._stopping.wait(_PRUNE):
            try:
                self._base.ledger.prune(self._keep)
                prune(self._base.engine, time.time() - self._keep)
                prune_desk(self._base.engine, time.time() - self._keep)
                if self._questions is not None:
                    self._questions.replies.prune(time.time() - self._keep)
                if self._receiver:
                    self._receiver.prune(time.time(), self._keep)
                # The queue needs no memory of what is done; a day of it is for whoever looks for a fault.
                before = (datetime.now(UTC) - timedelta(days=1)).isoformat()
                while self._base.enqueuer.prune(before) and not self._stopping.is_set():
                    pass
            except Exception:  # noqa: BLE001 - the next hour tries again
                _log.warning("what is old could not be deleted; it is tried again in an hour", exc_info=True)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens, before anything is started: a port that is taken is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"{host}:{port} cannot be listened on: {error.strerror}; choose another with service.listen"
            ) from error
        yield place
