"""Working time: hours and holidays of one desk, and deadlines that count them.

All moments that go in and out are aware and in UTC; days and hours are those of the calendar's zone. Public holidays, and
weekends on which a country works in exchange, come from the library `holidays`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pipeline.desk.grading_options import CalendarOptions, TermOptions, read_hours
from pipeline.errors import UsageError

# A calendar that is closed for longer never opens.
_MOST_DAYS = 400
Deadline = Literal["respond", "resolve"]


class Calendar:
    """The working time of one desk. Raises `UsageError` for a country whose holidays nobody knows."""

    def __init__(self, options: CalendarOptions) -> None:
        self._zone = ZoneInfo(options.timezone)
        lines = [read_hours(text) for text in options.hours]
        self._hours = {day: hours for line in reversed(lines) for day, hours in line.items()}
        self._usual = next(iter(lines[0].values()))
        self._closed, self._open = frozenset(options.closed), frozenset(options.open)
        self._holidays = _public(options.country, options.subdivision) if options.country else None
        self._known: dict[date, tuple[datetime, datetime] | None] = {}

    def hours(self, day: date) -> tuple[datetime, datetime] | None:
        """When the desk opens and closes on `day`, in UTC; None where it does not open."""
        if day not in self._known:
            self._known[day] = self._read(day)
        return self._known[day]

    def _read(self, day: date) -> tuple[datetime, datetime] | None:
        hours = self._hours.get(day.weekday())
        if self._holidays is not None:
            if day in self._holidays:
                hours = None
            elif day in self._holidays.weekend_workdays:
                hours = hours or self._usual
        if day in self._open:
            hours = hours or self._usual
        if hours is None or day in self._closed:
            return None
        start, end = (datetime.combine(day, one, self._zone).astimezone(UTC) for one in hours)
        return (start, end) if start < end else None

    def _days(self, start: date, step: int = 1) -> Iterator[tuple[datetime, datetime]]:
        """The working days from `start` on, or back from it."""
        idle, day = 0, start
        while idle < _MOST_DAYS:
            hours = self.hours(day)
            idle = idle + 1 if hours is None else 0
            if hours is not None:
                yield hours
            day += timedelta(days=step)
        last = day - timedelta(days=step * idle)
        raise UsageError(f"desk.grading.calendars: no working day within {_MOST_DAYS} days of {last}; look at `closed`")

    def _day(self, moment: datetime) -> date:
        return moment.astimezone(self._zone).date()

    def after(self, moment: datetime, seconds: float) -> datetime:
        """`moment` and so much working time later."""
        left = timedelta(seconds=seconds)
        for start, end in self._days(self._day(moment)):
            begun = max(moment, start)
            if begun < end and left <= end - begun:
                return begun + left
            left -= max(timedelta(), end - begun)
        raise AssertionError  # `_days` ends by raising

    def before(self, moment: datetime, seconds: float) -> datetime:
        """The latest moment from which so much working time passes until `moment`."""
        left = timedelta(seconds=seconds)
        for start, end in self._days(self._day(moment), -1):
            ended = min(moment, end)
            if ended > start and left <= ended - start:
                return ended - left
            left -= max(timedelta(), ended - start)
        raise AssertionError  # `_days` ends by raising

    def days_after(self, moment: datetime, days: int) -> datetime:
        """The same time of day so many working days later; out of hours counts as the next opening."""
        into = timedelta()
        for number, (start, end) in enumerate(self._later(moment)):
            if number == 0:
                into = max(timedelta(), moment - start)
            if number == days:
                return min(start + into, end)
        raise AssertionError  # `_days` ends by raising

    def _later(self, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The working days that have not ended at `moment`."""
        return ((start, end) for start, end in self._days(self._day(moment)) if end > moment)

    def between(self, start: datetime, end: datetime) -> float:
        """The seconds of working time from `start` to `end`."""
        total, day = timedelta(), self._day(start)
        while day <= self._day(end):
            if hours := self.hours(day):
                total += max(timedelta(), min(end, hours[1]) - max(start, hours[0]))
            day += timedelta(days=1)
        return total.total_seconds()

    def deadline(self, start: datetime, term: TermOptions, which: Deadline) -> datetime:
        """Until when `term` asks for an answer, or an end, of what began at `start`."""
        seconds, days = (term.respond, term.respond_days) if which == "respond" else (term.resolve, term.resolve_days)
        if days:
            return self.days_after(start, days)
        if seconds is None:
            raise UsageError(f"desk.grading.terms: {which} or {which}_days is missing")
        return self.after(start, seconds) if term.clock == "working" else start + timedelta(seconds=seconds)

    def warn_at(self, deadline: datetime, term: TermOptions) -> datetime:
        """When the warning of a deadline is due."""
        warn = term.warn or 0.0
        return self.before(deadline, warn) if term.clock == "working" else deadline - timedelta(seconds=warn)


@lru_cache(maxsize=32)
def calendar_of(options: CalendarOptions) -> Calendar:
    """The calendar of those options; made once, since a country's holidays take a moment to load."""
    return Calendar(options)


@lru_cache(maxsize=32)
def _public(country: str, subdivision: str | None) -> Any:
    import holidays  # loads the country's module

    try:
        known = holidays.country_holidays(country)
    except NotImplementedError as error:
        raise UsageError(
            f"desk.grading.calendars: no public holidays are known for country {country!r}; write an ISO 3166 code in "
            "capitals, such as CN, or leave country out and list the days as `closed`"
        ) from error
    if subdivision is None:
        return known
    try:
        return holidays.country_holidays(country, subdiv=subdivision)
    except NotImplementedError as error:
        there = f"there are {', '.join(known.subdivisions)}" if known.subdivisions else f"{country} has none"
        raise UsageError(
            f"desk.grading.calendars: no public holidays are known for subdivision {subdivision!r} of {country}; {there}"
        ) from error
