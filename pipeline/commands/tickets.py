"""Tickets of a configured system by their id, and snapshots back to them: `take NAME:ID --attach`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.options import From
from pipeline.console import emit, say
from pipeline.errors import SnapshotError, UsageError

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.tickets.system import TicketSystem
    from pipeline.values import Ticket
    from snapshots.model import ProblemSnapshot

_REF = re.compile(r"(?P<system>[\w-]{2,}):(?P<id>\S+)")


@dataclass(frozen=True)
class Found:
    """A ticket of a configured system."""

    system: TicketSystem
    id: str
    ticket: Ticket


@contextlib.contextmanager
def ticket_of_system(ref: str, where: From, *, bundled: bool) -> Iterator[Found | None]:
    """The ticket that `ref` names as NAME:ID, where NAME is a configured ticket system.

    None where it is not of that form, or, with `bundled`, may be a ticket of the bundle. Raises `TicketNotFound`, `Refused`,
    `SystemUnavailable`, or `UsageError` for a system that is not configured.
    """
    match = _REF.fullmatch(ref)
    if match is None or Path(ref).exists():
        yield None
        return
    settings = where.settings(sources=False, service=True)
    options = settings.tickets.get(match["system"])
    if options is None and bundled:
        yield None
        return
    if options is None:
        known = ", ".join(sorted(settings.tickets)) or "none"
        raise UsageError(
            f"{ref}: no ticket system {match['system']!r} is configured (profile {settings.profile}); there are: {known}"
        )
    from pipeline.tickets import open_system

    system = open_system(match["system"], options)
    try:
        yield Found(system, match["id"], _answered(settings, match["system"], system.ticket(match["id"])))
    finally:
        system.close()


def _answered(settings: Settings, system: str, ticket: Ticket) -> Ticket:
    """The ticket with what its customer answered to the service's questions, where it asks any; why not, is told."""
    if settings.desk is None or settings.desk.questions is None:
        return ticket
    from pipeline.desk.answers import with_answers
    from pipeline.desk.replies import Replies
    from pipeline.service.database import DatabaseUnavailable, opened, told_errors

    url = settings.service.database_url
    try:
        engine = opened(url)
        try:
            with told_errors(url):
                held = Replies(engine, settings.desk.questions.pictures).held(system, ticket.id)
        finally:
            engine.dispose()
    except DatabaseUnavailable as error:
        say(f"Answers of customers were not read: {error}")
        return ticket
    return with_answers(ticket, held.answers)


def attach(found: Found, snapshot: ProblemSnapshot, *, dry_run: bool) -> bool:
    """Puts the note on the ticket, or prints it with `dry_run`; whether it went well. What goes wrong is told, never raised."""
    from pipeline.attach import attach_snapshot, note_of

    if dry_run:
        note = note_of(snapshot, found.system.name, found.id, forms=(found.system.form,))
        emit(note.bodies[found.system.form])
        say(f"Not attached (--dry-run): a private {found.system.form} note for {found.system.name} ticket {found.id}")
        return True
    try:
        attached = attach_snapshot(snapshot, found.system, found.id)
    except SnapshotError as error:
        say(f"Not attached: {error}")
        return False
    for line in attached.notes:
        say(line)
    told = {"created": "Attached", "updated": "Note changed", "unchanged": "Note is as it was", "kept": "Note kept"}
    say(
        f"{told[attached.outcome]}: {found.system.name} ticket {found.id}"
        + (f" {attached.url}" if attached.url else "")
    )
    return True
