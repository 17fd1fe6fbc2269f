"""What tests of polls share."""

from __future__ import annotations

import pytest

from pipeline.tickets.system import Event, TicketSystem


def drained(system: TicketSystem, cursor: str, limit: int = 100) -> tuple[list[Event], str]:
    """All that a poll tells from `cursor` on, up to `limit` at once, and where it stands then."""
    found: list[Event] = []
    for _ in range(600):
        told = system.changed(cursor, limit)
        assert len(told.events) <= limit
        found += told.events
        cursor = told.cursor
        if not told.more:
            return found, cursor
    pytest.fail("the poll comes to no end")
