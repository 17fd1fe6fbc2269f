"""Customers' uploads beside the configured sources, where the settings let customers be asked; else nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.values import Source


def uploads_for(settings: Settings, system: str, ticket_id: str) -> Sequence[Source]:
    """What the customer of a ticket sent; `system` is the ticket system's name in the settings."""
    if settings.desk is None or settings.desk.remote is None:
        return ()
    from pipeline.desk.uploaded import uploaded_sources

    return uploaded_sources(settings.desk.remote, system, ticket_id)


def uploads_named(settings: Settings, names: Iterable[str]) -> Sequence[Source]:
    """The customers' uploads among the sources of a snapshot, by their names there."""
    if settings.desk is None or settings.desk.remote is None:
        return ()
    from pipeline.desk.uploaded import sources_named

    return sources_named(settings.desk.remote, names)
