"""What a group means: a day, a part of one, a clock time; or two groups, the ends of a range."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from parsers.timewords.atoms import Atom
from parsers.timewords.clocks import clock_of, placed, two_clocks
from parsers.timewords.days import day_of
from parsers.timewords.grammar import HEDGE_AFTER, HEDGE_BEFORE
from parsers.timewords.groups import Group, with_clock, with_day_of
from parsers.timewords.parts import PARTS, part_name
from parsers.timewords.readings import DAY, HOUR, MINUTE, Reading, at_hour, hm


def group_reading(text: str, group: Group, now: datetime, borrowed: Atom | None = None) -> Reading | None:
    """The local times that `group` means; `borrowed` is the day that the text named before. None: no such day."""
    day, part = (None, None)
    date_atom = group.date or borrowed
    if date_atom is not None:
        day, part = day_of(date_atom, now)
        if day is None and (group.clock is None or group.date is not None):
            return None
    if group.part is not None:
        part = group.part.fields["p"].lower()
    span = (group.start, group.end)
    if group.clock is not None:
        return _clock_reading(text, group, group.clock, now, day, part)
    if part is not None:
        low, high = PARTS[part]
        base = day or now.date()
        start = at_hour(base, low, now)
        if day is None and start > now:
            base -= DAY
            start = at_hour(base, low, now)
        sure = 0.6 if day else 0.45
        name_en, name_zh = part_name(part)
        en, zh = f"{name_en} of {base}", f"{base} {name_zh}"
        return Reading(start, at_hour(base, high, now), "part_of_day", sure, en, zh, *span)
    if day is None:
        return None
    if group.date is not None and group.date.fields[""].lower() in ("today", "今天", "今日", "今儿", "earlier today"):
        return Reading(
            at_hour(day, 0, now),
            now,
            "day",
            0.35,
            f"the day of the ticket, {day}",
            f"提交当天 {day}",
            *span,
        )
    start = at_hour(day, 0, now)
    if group.date is not None and group.date.fields.get("wd") == "末":
        return Reading(start, start + 2 * DAY, "day", 0.35, f"the weekend of {day}", f"{day} 那个周末", *span)
    sure = 0.5
    if start > now:  # tomorrow by the ticket's clock
        start, sure = now - DAY, 0.3
    return Reading(start, at_hour(day, 24, now), "day", sure, f"the day {day}", f"{day} 当天", *span)


def _clock_reading(
    text: str, group: Group, atom: Atom, now: datetime, day: date | None, part: str | None
) -> Reading | None:
    hedged = bool(
        HEDGE_BEFORE.search(text[max(0, group.start - 16) : group.start])
        or HEDGE_BEFORE.search(text[max(0, atom.start - 16) : atom.start])
        or HEDGE_AFTER.match(text[atom.end : atom.end + 8])
        or atom.fields[""].lower().startswith("around")
    )
    if atom.kind == "clock2":
        first, second = two_clocks(atom.fields, part)
        if first is None or second is None:
            return None
        start = placed(first, day, now)
        width = timedelta(minutes=(second.minutes - first.minutes) % (12 * 60))
        en, zh = f"{hm(start)} to {hm(start + width)}", f"{hm(start)} 至 {hm(start + width)}"
        return Reading(start, start + width, "hour", 0.8, en, zh, group.start, group.end)
    clock = clock_of(atom.fields, part)
    if clock is None:
        return None
    at = placed(clock, day, now)
    after = text[atom.end : atom.end + 2].lstrip()
    before_pad, after_pad = timedelta(), MINUTE
    if clock.whole_hour:
        before_pad, after_pad = (30 * MINUTE, 30 * MINUTE) if hedged else (15 * MINUTE, 15 * MINUTE)
        if after.startswith(("多", "几")):
            before_pad, after_pad = timedelta(), HOUR
    elif hedged:
        before_pad = after_pad = 10 * MINUTE
    sure = (0.9 if day else 0.8) if not clock.whole_hour else (0.8 if day or part else 0.55)
    if not clock.fixed:
        sure -= 0.15
    if day and group.date is not None and not clock.whole_hour:
        sure += 0.05
    local = at if clock.zone is None else at.astimezone(clock.zone)
    kind_en = "about" if hedged or clock.whole_hour else "at"
    zone_en = "as written" if clock.zone else "on the ticket's clock"
    zone_zh = "按所写时区" if clock.zone else "按工单时区"
    about_zh = "左右" if hedged or clock.whole_hour else ""
    dated = "" if day or clock.zone else ", the last one before the ticket"
    return Reading(
        at - before_pad,
        at + after_pad,
        "hour" if clock.whole_hour else "minute",
        sure,
        f"{kind_en} {local:%Y-%m-%d} {hm(local)} ({zone_en}{dated})",
        f"{local:%Y-%m-%d} {hm(local)}{about_zh}({zone_zh}{',取提交前最近一次' if dated else ''})",
        group.start,
        group.end,
    )


def range_reading(text: str, first: Group, second: Group, now: datetime) -> Reading | None:
    """`first` to `second` as one mention: two clock times, or two days."""
    span = (first.start, second.end)
    if first.clock is not None and second.clock is not None and "clock2" not in (first.clock.kind, second.clock.kind):
        filled = with_day_of(second, first)
        left_fields, right_fields = dict(first.clock.fields), second.clock.fields
        if "ampm" not in left_fields and "ampm" in right_fields and not first.part:
            left_fields["ampm"] = right_fields["ampm"]
        if "zone" not in left_fields and "zone" in right_fields:
            left_fields["zone"] = right_fields["zone"]
        left = group_reading(text, with_clock(first, left_fields), now)
        right = group_reading(text, filled, now)
        if left is None or right is None:
            return None
        # The bounds of a range are meant as said, without the room that a single hour is given.
        begin, end = _middle(left), _middle(right)
        if second.date is None and end <= begin:
            end += DAY
        if second.date is None and end - begin > DAY:
            end -= DAY * ((end - begin) // DAY)
        if end < begin:
            return None
        en, zh = f"{hm(begin)} to {hm(end)} on {begin:%Y-%m-%d}", f"{begin:%Y-%m-%d} {hm(begin)} 至 {hm(end)}"
        return Reading(begin, end, left.precision, min(0.95, left.confidence + 0.05), en, zh, *span)
    if first.clock is None and second.clock is None and first.date and second.date:
        left, right = group_reading(text, first, now), group_reading(text, second, now)
        if left and right and left.start < right.end:
            return Reading(
                left.start, right.end, "day", 0.45, f"{left.en} to {right.en}", f"{left.zh}至{right.zh}", *span
            )
    return None


def _middle(reading: Reading) -> datetime:
    """The moment that was said, without the room around a whole hour."""
    return reading.start + (reading.end - reading.start) / 2 if reading.precision == "hour" else reading.start
