"""The table `[desk.grading]`: severity, deadlines, calendars, and who is called to the emergency room.

[defaults.desk.grading]
severity = "severity.toml"        # instead of pipeline/desk/severity.toml
[defaults.desk.grading.terms.P3]
respond = "2h"
[defaults.desk.grading.calendars.berlin]
timezone = "Europe/Berlin"
country = "DE"
systems = ["helpdesk-eu"]         # the first calendar is that of all other ticket systems
[defaults.desk.grading.room]
technology = ["oncall", "cto"]    # names of [notify.NAME], asked one after the other
product = ["product"]
operations = ["operations"]
last = ["director"]
"""

from __future__ import annotations

from datetime import date, time
from typing import Annotated, Literal

import msgspec

from pipeline.desk.week import check_zone, read_week

Level = Literal["P1", "P2", "P3", "P4"]
LEVELS: tuple[Level, ...] = ("P1", "P2", "P3", "P4")
ROLES = ("technology", "product", "operations")
Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86400)]
WorkingDays = Annotated[int, msgspec.Meta(ge=0, le=366)]


def read_hours(text: str) -> dict[int, tuple[time, time]]:
    """Working hours by weekday (0 is Monday) of a text such as `mon-fri 09:00-18:00`. Raises `ValueError`.

    The end of a day, 24:00, is its last microsecond.

    >>> read_hours("sat 10:00-14:00")
    {5: (datetime.time(10, 0), datetime.time(14, 0))}
    """
    advice = f"hours {text!r}: write days and hours of one day, such as 'mon-fri 09:00-18:00'"
    try:
        days, start, end = read_week(text)
    except ValueError as error:
        raise ValueError(advice) from error
    if start >= end:
        raise ValueError(advice)
    return dict.fromkeys(sorted(days), (start, end))


class CalendarOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When one desk works. `country` (ISO 3166) and `subdivision` name its public holidays; without them there are none.

    `closed` and `open` are further days off and days on; days on have the hours of the first line of `hours`, as working
    weekends of the country have. `systems` are the ticket systems whose tickets follow this calendar.
    """

    timezone: str = "UTC"
    country: str | None = None
    subdivision: str | None = None
    hours: tuple[str, ...] = ("mon-fri 09:00-18:00",)
    closed: tuple[date, ...] = ()
    open: tuple[date, ...] = ()
    systems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses hours and a zone that cannot be read."""
        if not self.hours:
            raise ValueError("hours: name at least one line, such as 'mon-fri 09:00-18:00'")
        for text in self.hours:
            read_hours(text)
        check_zone(self.timezone)


class TermOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Until when a level asks for an answer and an end: seconds, or where `_days` is not 0 so many working days instead.

    `clock` says whether the seconds run always, or in working hours only. `warn` is how long before a deadline its warning
    comes, on the same clock.
    """

    respond: Seconds | None = None
    respond_days: WorkingDays = 0
    resolve: Seconds | None = None
    resolve_days: WorkingDays = 0
    clock: Literal["always", "working"] | None = None
    warn: Seconds | None = None


# What the definition of the levels says; the times to solve are a start.
TERMS: dict[Level, TermOptions] = {
    "P1": TermOptions(respond=1800.0, resolve=4 * 3600.0, clock="always", warn=600.0),
    "P2": TermOptions(respond=3600.0, resolve=8 * 3600.0, clock="always", warn=1200.0),
    "P3": TermOptions(respond=4 * 3600.0, resolve_days=3, clock="working", warn=1800.0),
    "P4": TermOptions(respond_days=1, resolve_days=5, clock="working", warn=3600.0),
}


class RoomOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is called when a P1 opens an emergency room: names of [notify.NAME], of each role one after the other.

    Who does not answer within `next_after` seconds is passed over. A role in which nobody has answered `escalate_after`
    seconds after the room opened goes to all of `last`: together with `slack` that is less than the 15 minutes within which
    everyone has answered, or somebody above knows.
    """

    technology: tuple[str, ...]
    product: tuple[str, ...]
    operations: tuple[str, ...]
    last: tuple[str, ...]
    next_after: Seconds = 240.0
    escalate_after: Annotated[float, msgspec.Meta(gt=0, le=840)] = 720.0

    def __post_init__(self) -> None:
        """Refuses a room into which nobody can be called."""
        for role in (*ROLES, "last"):
            if not getattr(self, role):
                raise ValueError(f"{role}: name at least one receiver of [notify.NAME]")

    def chain(self, role: str) -> tuple[str, ...]:
        """Who is called for a role, in order."""
        found: tuple[str, ...] = getattr(self, role)
        return found


class GradingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a ticket is graded. `severity` is a file that replaces the shipped decision table."""

    severity: str | None = None
    terms: dict[Level, TermOptions] = {}
    calendars: dict[str, CalendarOptions] = {}
    room: RoomOptions | None = None

    def term(self, level: Level) -> TermOptions:
        """The terms of a level: what the configuration says over what is built in."""
        own, built = self.terms.get(level), TERMS[level]
        if own is None:
            return built
        respond = (
            (own.respond, own.respond_days) if own.respond or own.respond_days else (built.respond, built.respond_days)
        )
        resolve = (
            (own.resolve, own.resolve_days) if own.resolve or own.resolve_days else (built.resolve, built.resolve_days)
        )
        return TermOptions(
            respond=respond[0],
            respond_days=respond[1],
            resolve=resolve[0],
            resolve_days=resolve[1],
            clock=own.clock or built.clock,
            warn=own.warn or built.warn,
        )

    def calendar(self, system: str) -> CalendarOptions:
        """The calendar of a ticket system: the one that names it, else the first, else working hours in UTC."""
        named = (one for one in self.calendars.values() if system in one.systems)
        return next(named, next(iter(self.calendars.values()), CalendarOptions()))
