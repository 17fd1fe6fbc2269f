"""What a person is shown, in reading order and in one language; the renderers only lay it out and escape it.

In order: what failed, where, how sure, the lines that prove it, what speaks against it, what is healthy, what could not be
checked, what to do first and who does it. Everything below that is detail.
"""

from __future__ import annotations

from datetime import UTC, tzinfo

from snapshots.model import ProblemSnapshot
from snapshots.render.clean import clean
from snapshots.render.details import DetailReader
from snapshots.render.figures import parse_time
from snapshots.render.shapes import View
from snapshots.words import Language


def ticket_zone(snapshot: ProblemSnapshot) -> tzinfo:
    """The zone that the document's own `ticket.created_at` carries; UTC where it ends in `Z`."""
    made = parse_time(snapshot.ticket.created_at)
    return (made.tzinfo if made else None) or UTC


def build_view(snapshot: ProblemSnapshot, *, language: Language, zone: tzinfo | None = None, full: bool = True) -> View:
    """What to show of `snapshot`. `zone` is the reader's; without one the ticket's own offset is used."""
    reader = DetailReader(clean(snapshot), language, zone or ticket_zone(snapshot))
    return reader.view(tuple(reader.sections() if full else reader.desk()))
