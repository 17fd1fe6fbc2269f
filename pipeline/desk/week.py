"""Hours of the week as the settings write them, such as `mon-fri 09:00-18:00`, and the zone that they are in."""

from __future__ import annotations

import re
from datetime import time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LINE = re.compile(r"\s*([a-z,\-]+)\s+(\d\d:\d\d)-(\d\d:\d\d)\s*")
MIDNIGHT = time.max


def read_week(text: str) -> tuple[frozenset[int], time, time]:
    """Days (0 is Monday; `fri-mon` goes over the week's end), begin and end; `MIDNIGHT` is the end 24:00. Raises `ValueError`.

    >>> days, begin, end = read_week("fri-mon 22:00-06:00")
    >>> sorted(days), begin, end
    ([0, 4, 5, 6], datetime.time(22, 0), datetime.time(6, 0))
    """
    found = _LINE.fullmatch(text.lower())
    if found is None:
        raise ValueError(f"{text!r} is not days and hours")
    days: set[int] = set()
    for part in found[1].split(","):
        first, _, last = part.partition("-")
        start, end = _DAYS.index(first), _DAYS.index(last or first)
        days |= {day % 7 for day in range(start, end + 1 if end >= start else end + 8)}
    return (
        frozenset(days),
        time.fromisoformat(found[2]),
        MIDNIGHT if found[3] == "24:00" else time.fromisoformat(found[3]),
    )


def check_zone(name: str) -> None:
    """Refuses a zone that is not known, with a `ValueError`."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"timezone {name!r} is not known; write an IANA name such as Asia/Shanghai") from error
