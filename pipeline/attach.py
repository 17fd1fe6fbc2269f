"""A snapshot onto its ticket: one private note. Each system cuts what is too long for it, and attaches the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.tickets.system import Form, Note
from snapshots.render.blocks import Blocks, Line, Links, Paragraph, Part
from snapshots.render.note import Touched, marker_of, note_blocks, waiting_blocks, write
from snapshots.words import language_for

if TYPE_CHECKING:
    from pipeline.tickets.system import Attached, TicketSystem
    from snapshots.model import ProblemSnapshot
    from snapshots.words import Language

__all__ = ["Links", "Touched", "attach_lines", "attach_snapshot", "attach_waiting", "note_of"]

FORMS: tuple[Form, ...] = ("html", "markdown", "wiki", "adf", "text")


def note_of(
    snapshot: ProblemSnapshot,
    system: str,
    ticket_id: str,
    *,
    forms: tuple[Form, ...] = FORMS,
    language: Language | None = None,
    links: Links | None = None,
    touched: Touched | None = None,
    known: str | None = None,
) -> Note:
    """The note of `snapshot` for a ticket of the system called `system`, in the ticket's language if no other is said."""
    spoken: Language = language or language_for(snapshot.ticket.language)
    marker = marker_of(system, ticket_id)
    blocks = note_blocks(snapshot, spoken, links, touched=touched)
    return Note(
        snapshot_id=snapshot.snapshot_id,
        marker=marker,
        bodies={form: write(blocks, form, marker) for form in forms},
        fields=_fields(snapshot),
        known=known,
    )


def attach_snapshot(
    snapshot: ProblemSnapshot,
    system: TicketSystem,
    ticket_id: str,
    *,
    links: Links | None = None,
    touched: Touched | None = None,
    known: str | None = None,
) -> Attached:
    """Puts the note of `snapshot` on the ticket, or changes the one that is there. Raises as `TicketSystem.attach` does."""
    note = note_of(snapshot, system.name, ticket_id, forms=(system.form,), links=links, touched=touched, known=known)
    return system.attach(ticket_id, note)


def attach_waiting(
    system: TicketSystem, ticket_id: str, language: Language, reason: str, again: str, *, known: str | None = None
) -> Attached:
    """Puts a note on the ticket that says why there is no snapshot yet; the snapshot's own note takes its place."""
    marker = marker_of(system.name, ticket_id)
    body = write(waiting_blocks(language, reason, again), system.form, marker)
    return system.attach(ticket_id, Note(snapshot_id="", marker=marker, bodies={system.form: body}, known=known))


def attach_lines(
    system: TicketSystem, ticket_id: str, language: Language, name: str, lines: Sequence[Line]
) -> Attached:
    """Puts lines on the ticket as a private note of their own; `name` tells it from the ticket's other notes."""
    marker = marker_of(system.name, f"{ticket_id}\0{name}")
    blocks = Blocks(language, (Part("head", "", (Paragraph(tuple(lines)),)),))
    body = write(blocks, system.form, marker)
    return system.attach(ticket_id, Note(snapshot_id="", marker=marker, bodies={system.form: body}))


def _fields(snapshot: ProblemSnapshot) -> dict[str, str]:
    """What the ticket's own fields may be set to; what is not decided is not there."""
    diagnosis = snapshot.diagnosis
    found = {
        "snapshot_id": snapshot.snapshot_id,
        "fault_class": None if diagnosis.abstained else diagnosis.fault_class,
        "fault_subclass": None if diagnosis.abstained else diagnosis.fault_subclass,
        "seed_class": diagnosis.seed_class,
        "confidence": f"{diagnosis.confidence:.2f}",
        "owner": diagnosis.owner,
        "severity": snapshot.severity.level if snapshot.severity else None,
    }
    return {name: str(value) for name, value in found.items() if value}
