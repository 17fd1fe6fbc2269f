"""Snapshots as commands find and show them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.opened import opened_store
from pipeline.commands.options import View
from pipeline.console import emit, say, terminal_width, write_file
from pipeline.errors import TicketNotFound, UsageError

if TYPE_CHECKING:
    from datetime import tzinfo

    from pipeline.settings import Settings
    from snapshots.model import Coverage, ProblemSnapshot


def show_snapshot(snapshot: ProblemSnapshot, view: View, settings: Settings, zone: tzinfo | None = None) -> None:
    """Renders the snapshot as `view` asks, to standard output or to its file."""
    to_terminal = view.out is None and sys.stdout is not None and sys.stdout.isatty()
    text = rendered(snapshot, view.format, settings, zone, full=view.full, to_terminal=to_terminal)
    if view.out is None:
        emit(text)
    else:
        write_file(view.out, text)
        say(f"Written: {view.out}")


def rendered(
    snapshot: ProblemSnapshot,
    form: str,
    settings: Settings,
    zone: tzinfo | None = None,
    *,
    full: bool = False,
    to_terminal: bool = False,
) -> str:
    """The snapshot as text in one of `FORMATS`, in the language and zone of the settings, else of the ticket."""
    from snapshots.render import RENDERERS
    from snapshots.render.view import ticket_zone
    from snapshots.words import language_for

    return RENDERERS[form](
        snapshot,
        language=language_for(snapshot.ticket.language, settings.language),
        zone=settings.zone or zone or ticket_zone(snapshot),
        full=full,
        width=terminal_width() if to_terminal else 100,
        colour=to_terminal,
    )


def find_snapshot(ref: str, settings: Settings) -> ProblemSnapshot:
    """The snapshot of a file, or the kept one of that id, beginning of an id, or ticket."""
    path = Path(ref)
    if ref == "-":
        return _read(sys.stdin.buffer.read(), "standard input")
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():
            return _read(path.read_bytes(), ref)
    if path.suffix == ".json":
        raise TicketNotFound(f"{ref}: no such file")
    with opened_store(settings) as store:
        return store.get(ref)


def _read(data: bytes, name: str) -> ProblemSnapshot:
    import msgspec

    from snapshots.model import read_snapshot

    try:
        return read_snapshot(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(f"{name}: is not a snapshot document: {error}") from error


def file_name(snapshot: ProblemSnapshot) -> str:
    """A file name for the ticket that needs no quoting in a shell."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in snapshot.ticket.id)[:60].strip(
        "-"
    )
    return plain or snapshot.snapshot_id


def is_partial(coverage: Iterable[Coverage]) -> bool:
    """Whether a source failed or gave only a part. What a bundle merely does not have (`skipped`) is no failure."""
    return any(row.status in {"failed", "partial"} for row in coverage)
