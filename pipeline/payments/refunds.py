"""One refund, and the working time that one may take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from pipeline.payments.events import Event


@dataclass(frozen=True)
class Refund:
    """All events of one refund; `answers` are the channel's own words about it, from queries and callbacks."""

    entity_id: str
    events: tuple[Event, ...]
    answers: tuple[Event, ...] = ()

    @property
    def channel(self) -> str | None:
        """The channel it goes through."""
        return next((e.channel for e in self.events if e.channel), None)

    @property
    def latest(self) -> Event:
        """Our last row of it."""
        return self.events[-1]

    @property
    def state(self) -> str:
        """How our own row of it stands."""
        return self.latest.state

    @cached_property
    def amount_minor(self) -> int | None:
        """The amount that goes back."""
        return next((e.amount_minor for e in reversed(self.events) if e.amount_minor is not None), None)


def working_time(start: datetime, end: datetime) -> timedelta:
    """The time from `start` to `end` without Saturdays and Sundays (UTC days; bank holidays are not known)."""
    if end <= start:
        return timedelta()
    total, day = timedelta(), start
    while day < end:
        midnight = day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        upto = min(midnight, end)
        if day.weekday() < 5:  # Monday is 0
            total += upto - day
        day = upto
        # Long spans go by whole weeks, so that a wrong year costs nothing.
        weeks = (end - day).days // 7
        if weeks:
            total += timedelta(days=5 * weeks)
            day += timedelta(days=7 * weeks)
    return total
