"""What time words mean as local times, before they are set against the ticket's creation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

Precision = Literal["minute", "hour", "part_of_day", "day", "week", "month"]

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
# A clock that runs ahead of ours, or a customer who rounds up: this far after the ticket is still "now".
SLACK = timedelta(minutes=10)


@dataclass(frozen=True)
class Reading:
    """A group or span as local times, before it is set against the ticket's creation."""

    start: datetime
    end: datetime
    precision: Precision
    confidence: float
    en: str
    zh: str
    text_start: int
    text_end: int


def at_hour(day: date, hours: float, now: datetime) -> datetime:
    """So many hours after midnight of `day`, on the clock of `now`."""
    return datetime(day.year, day.month, day.day, tzinfo=now.tzinfo) + timedelta(hours=hours)


def hm(moment: datetime) -> str:
    """Hours and minutes as people write them."""
    return f"{moment:%H:%M}"
