"""What words mean that count back from the ticket, and those for whole weeks and months."""

from __future__ import annotations

from datetime import datetime, timedelta

from parsers.timewords.atoms import Atom
from parsers.timewords.numbers import counts_of
from parsers.timewords.readings import DAY, HOUR, MINUTE, Precision, Reading, at_hour

_UNITS = {
    "sec": timedelta(seconds=1), "min": MINUTE, "hour": HOUR, "hr": HOUR, "day": DAY, "week": 7 * DAY,
    "month": 30 * DAY, "秒": timedelta(seconds=1), "分钟": MINUTE, "分": MINUTE, "刻钟": 15 * MINUTE, "小时": HOUR,
    "钟头": HOUR, "天": DAY, "日": DAY, "周": 7 * DAY, "星期": 7 * DAY, "礼拜": 7 * DAY, "月": 30 * DAY,
}  # fmt: skip


def span_reading(atom: Atom, now: datetime) -> Reading | None:  # noqa: C901, PLR0912 - one case a word of the grammar
    """Words that count back from now: "two hours ago", "半小时前", "just now", "for two days"."""
    fields, span = atom.fields, (atom.start, atom.end)
    word = fields[""]
    if "now" in fields:
        end = atom.end - (1 if word.startswith("刚") and word[:2] not in ("刚才", "刚刚") else 0)
        return Reading(
            now - 30 * MINUTE, now, "minute", 0.55, "just before the ticket", "提交工单前不久", atom.start, end
        )
    unit_word = fields.get("u", "").lower()
    if not unit_word:  # "an hour and a half ago": the unit lies in the number
        if fields.get("n", "").lower() != "an hour and a half":
            return None
        unit_word = "hour"
    unit = next((v for k, v in _UNITS.items() if unit_word.startswith(k)), None)
    count = counts_of(fields["n"]) if "n" in fields else (1.0, 1.0)
    if unit is None or count is None:
        return None
    low, high = count
    if fields.get("n2"):
        more = counts_of(fields["n2"])
        high = more[1] if more else high
    half = (
        0.5 if fields.get("half") or (word.lower().rstrip(" ago").endswith("and a half") and "n" not in fields) else 0.0
    )
    if half and fields.get("n") == "半":
        half = 0.0
    if "and a half ago" in word.lower() and fields.get("n", "").lower() != "an hour and a half":
        half = 0.5
    near, far = unit * (low + half), unit * (high + half)
    if far < MINUTE or far > 400 * DAY:
        return None
    precision: Precision = (
        "minute"
        if unit < HOUR
        else "hour"
        if unit == HOUR
        else "day"
        if unit == DAY
        else "week"
        if unit < 30 * DAY
        else "month"
    )
    size_en, size_zh = _length_en(near, far), _length_zh(near, far)
    if "age" in fields or "last" in fields:
        if "n" not in fields and "last" not in fields:
            return None
        if fields.get("n", "").lower() == "some":
            return None
        if "last" in fields:
            return Reading(now - far, now, precision, 0.5, f"within the last {size_en}", f"提交前 {size_zh}内", *span)
        pad = max(far * 0.5, 15 * MINUTE)
        return Reading(
            now - far - pad, now - near * 0.5, precision, 0.35, f"going on for {size_en}", f"已持续 {size_zh}", *span
        )
    if precision == "minute":
        pad = max(5 * MINUTE, far * 0.25)
    elif precision == "hour":
        pad = max(20 * MINUTE, unit * 0.4)
    elif precision == "day":
        first, last = at_hour((now - far).date(), 0, now), at_hour((now - near).date(), 24, now)
        if near < DAY:  # half a day
            first, last = now - 16 * HOUR, now - 3 * HOUR
        return Reading(first, last, "day", 0.5, f"{size_en} before the ticket", f"提交前 {size_zh}", *span)
    else:
        pad = max(2 * DAY, far * 0.25)
    sure = {"minute": 0.8, "hour": 0.7, "week": 0.4, "month": 0.3}[precision]
    return Reading(
        now - far - pad,
        now - near + pad,
        precision,
        sure,
        f"about {size_en} before the ticket",
        f"提交前约 {size_zh}",
        *span,
    )


def _length_en(near: timedelta, far: timedelta) -> str:
    return _length(near, far, "minutes", "hours", "days")


def _length_zh(near: timedelta, far: timedelta) -> str:
    return _length(near, far, "分钟", "小时", "天")


def _length(near: timedelta, far: timedelta, minutes: str, hours: str, days: str) -> str:
    unit, name = (MINUTE, minutes) if far < HOUR else (HOUR, hours) if far < DAY else (DAY, days)
    low, high = near / unit, far / unit
    name = name.removesuffix("s") if high == 1 else name
    return f"{high:g} {name}" if low == high else f"{low:g}-{high:g} {name}"


def long_reading(atom: Atom, now: datetime) -> Reading | None:
    """A whole week, weekend or month."""
    this = atom.fields["rel"].lower().rstrip("个") in ("this", "这", "本")
    unit, today, span = atom.fields["u"].lower(), now.date(), (atom.start, atom.end)
    monday = today - DAY * today.weekday()
    if unit == "weekend":
        start = monday + DAY * (5 if this else -2)
        return Reading(
            at_hour(start, 0, now),
            at_hour(start, 48, now),
            "day",
            0.35,
            f"the weekend of {start}",
            f"{start} 那个周末",
            *span,
        )
    if unit in ("month", "月"):
        first = today.replace(day=1)
        since, until = (first, today + DAY) if this else ((first - DAY).replace(day=1), first)
        return Reading(
            at_hour(since, 0, now),
            at_hour(until, 0, now),
            "month",
            0.2,
            f"the month of {since:%Y-%m}",
            f"{since:%Y-%m} 这个月",
            *span,
        )
    first_day, until = (monday, today + DAY) if this else (monday - 7 * DAY, monday)
    return Reading(
        at_hour(first_day, 0, now),
        at_hour(until, 0, now),
        "week",
        0.25,
        f"the week of {first_day}",
        f"{first_day} 那一周",
        *span,
    )
