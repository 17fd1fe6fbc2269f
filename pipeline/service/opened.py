"""What the service stands on, opened as the settings say and closed at the end: its database, ticket systems, receivers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.notify.target import Target
    from pipeline.service.asking import Asking
    from pipeline.service.durable import Enqueuer
    from pipeline.service.ledger import Ledger
    from pipeline.settings import Settings
    from pipeline.tickets.system import TicketSystem


@dataclass(frozen=True)
class Base:
    """The database with what stands on it."""

    engine: Engine
    ledger: Ledger
    enqueuer: Enqueuer


@contextlib.contextmanager
def opened_base(settings: Settings, *, pool: int = 5) -> Iterator[Base]:
    """The service's database, brought up to date. Raises `DatabaseUnavailable` or `UsageError`."""
    from pipeline.service.database import opened, prepare
    from pipeline.service.durable import Enqueuer
    from pipeline.service.ledger import Ledger

    url = settings.service.database_url
    engine = opened(url, pool=pool)
    try:
        prepare(engine, url)
        enqueuer = Enqueuer(engine)
        try:
            yield Base(engine, Ledger(engine, enqueuer.put), enqueuer)
        finally:
            enqueuer.close()
    finally:
        engine.dispose()


def opened_asking(settings: Settings, base: Base) -> Asking | None:
    """What asks customers and keeps what they answer; None where the settings ask for no questions."""
    if settings.desk is None or settings.desk.questions is None:
        return None
    from pipeline.desk.replies import Replies
    from pipeline.service.asking import Asking
    from pipeline.service.question_links import QuestionLinks

    options = settings.desk.questions
    links = QuestionLinks(settings.service, options.hold)
    return Asking(options, links, Replies(base.engine, options.pictures))


@contextlib.contextmanager
def opened_systems(settings: Settings) -> Iterator[dict[str, TicketSystem]]:
    """The ticket systems of the settings. Raises `UsageError` where there is none."""
    from pipeline.tickets import open_system

    if not settings.tickets:
        raise UsageError(
            f"no ticket system is configured (profile {settings.profile}): add a table [profiles.NAME.tickets.SYSTEM]; "
            "`problem-snapshot init` shows one"
        )
    systems = {name: open_system(name, options) for name, options in settings.tickets.items()}
    try:
        yield systems
    finally:
        for system in systems.values():
            with contextlib.suppress(Exception):
                system.close()


@contextlib.contextmanager
def opened_targets(settings: Settings) -> Iterator[dict[str, Target]]:
    """Who is told of snapshots beside the tickets."""
    from pipeline.notify import open_target

    targets = {name: open_target(name, options) for name, options in settings.notify.items()}
    try:
        yield targets
    finally:
        for target in targets.values():
            with contextlib.suppress(Exception):
                target.close()
