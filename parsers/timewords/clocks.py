"""A time on the clock, am or pm settled, and the moment that it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone

import re2

from parsers.timewords.numbers import whole_number
from parsers.timewords.parts import NIGHT_PARTS, PM_PARTS
from parsers.timewords.readings import DAY, HOUR, SLACK, at_hour

_ZONES = {
    "z": 0, "utc": 0, "gmt": 0, "est": -300, "edt": -240, "pst": -480, "pdt": -420, "cet": 60, "cest": 120, "bst": 60,
    "beijing time": 480, "北京时间": 480, "jst": 540,
}  # fmt: skip


@dataclass(frozen=True)
class Clock:
    """A time on the clock: minutes after midnight, how exactly it was said, and whether am or pm is settled."""

    minutes: int
    whole_hour: bool
    fixed: bool
    second: int = 0
    zone: timezone | None = None


def _zone_of(word: str | None) -> timezone | None:
    if not word:
        return None
    low = word.strip(" ()").lower()
    if low in _ZONES:
        return timezone(timedelta(minutes=_ZONES[low]))
    sign = re2.search(r"([+-])(\d{1,2}):?(\d{2})?", low)
    if sign is None:
        return None
    minutes = int(sign.group(2)) * 60 + int(sign.group(3) or 0)
    return timezone(timedelta(minutes=minutes if sign.group(1) == "+" else -minutes)) if minutes <= 14 * 60 else None


def clock_of(fields: dict[str, str], part: str | None) -> Clock | None:  # noqa: C901, PLR0912 - one case a word of the grammar
    """The clock time of an atom, am or pm settled by its own letters, the part of the day, or the way it is written."""
    hour = whole_number(fields["h"])
    if hour is None or hour > 24:
        return None
    minute, whole = 0, "mi" not in fields
    word = fields.get("mi", "").rstrip("分")
    if word == "半":
        minute = 30
    elif word.rstrip("钟").endswith("刻"):
        minute = 15 * (whole_number(word[0]) or 1)
    elif word in ("整", "钟"):
        whole = word == "钟"
    elif word:
        value = whole_number(word)
        if value is None or value > 59:
            return None
        minute = value
    if "off" in fields:
        minute, whole = (
            {"half past": 30, "half": 30, "quarter past": 15, "quarter to": -15}[fields["off"].lower()],
            False,
        )
    if "to" in fields:
        back = 15 if fields["to"] == "一刻" else whole_number(fields["to"])
        minute, whole = -(back or 0), False
    second = int(fields["s"].rstrip("秒")) if "s" in fields else 0
    ampm = fields.get("ampm", "").lower().replace(".", "")
    # "09:30" and "15 时" are on the 24-hour clock; "3:15" and "三点" may be either half of the day.
    fixed = (
        hour > 12
        or hour == 0
        or (not whole and fields["h"].isdigit() and (len(fields["h"]) == 2 and "off" not in fields))
    )
    if ampm:
        if hour > 12 and ampm == "am":
            return None
        hour, fixed = (hour % 12 + (12 if ampm == "pm" else 0)) if hour <= 12 else hour, True
    elif part:
        fixed = True
        if part in NIGHT_PARTS and hour <= 5:
            hour += 24  # two at night belongs to the day after
        elif part in NIGHT_PARTS and hour == 12:
            hour = 24
        elif part == "凌晨" and hour == 12:
            hour = 0
        elif (
            part in PM_PARTS
            and hour < 12
            and not (part in ("中午", "正午", "noon", "午饭", "lunch", "midday") and hour >= 10)
        ):
            hour += 12
    elif "zh" in fields and fields["zh"] in "时時":
        fixed = True
    return Clock(hour * 60 + minute, whole, fixed, min(second, 59), _zone_of(fields.get("zone")))


def two_clocks(fields: dict[str, str], part: str | None) -> tuple[Clock | None, Clock | None]:
    """Both clock times of "between 3 and 4 pm": the second's am or pm holds for the first as well."""
    second = clock_of({**fields, "h": fields["h2"]}, part)
    first = clock_of(fields, part)
    if first and second and first.minutes > second.minutes and first.minutes >= 12 * 60:
        first = replace(first, minutes=first.minutes - 12 * 60)  # "between 11 and 1 pm"
    return first, second


def placed(clock: Clock, day: date | None, now: datetime) -> datetime:
    """The moment of `clock` on `day`; without a day its last occurrence not after `now`, with a little slack."""
    local = now.astimezone(clock.zone) if clock.zone else now
    base = day or local.date()
    at = at_hour(base, 0, local) + timedelta(minutes=clock.minutes, seconds=clock.second)
    latest = local + SLACK
    if day is None:
        while at > latest:
            at -= DAY
        other = at + 12 * HOUR if at + 12 * HOUR <= latest else at
        return at if clock.fixed else other
    if clock.fixed or clock.minutes >= 12 * 60:
        return at
    # "yesterday around 3" is three in the afternoon, "yesterday around 9" nine in the morning, if that is past already.
    later = at + 12 * HOUR
    return later if clock.minutes < 7 * 60 and later <= latest else at
