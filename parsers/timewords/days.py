"""Which day is meant: a written date, a weekday, yesterday."""

from __future__ import annotations

from datetime import date, datetime

from parsers.timewords.atoms import Atom
from parsers.timewords.numbers import whole_number
from parsers.timewords.readings import DAY

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_WORDS = {
    "today": 0, "yesterday": -1, "the day before yesterday": -2, "day before yesterday": -2,
    "tomorrow": 1, "the day after tomorrow": 2, "明天": 1, "明日": 1, "后天": 2,
    "今天": 0, "今日": 0, "今儿": 0, "当天": 0,
    "昨天": -1, "昨日": -1, "昨儿": -1, "前天": -2, "前日": -2, "大前天": -3,
}  # fmt: skip
_DAY_PART_WORDS: dict[str, tuple[int, str]] = {
    "last night": (-1, "night"), "last evening": (-1, "evening"), "this morning": (0, "morning"),
    "this afternoon": (0, "afternoon"), "this evening": (0, "evening"), "tonight": (0, "tonight"),
    "early this morning": (0, "early morning"), "overnight": (0, "overnight"), "earlier today": (0, ""),
    "今早": (0, "早"), "今晨": (0, "晨"), "今晚": (0, "晚"), "昨晚": (-1, "晚"), "昨夜": (-1, "夜"), "前晚": (-2, "晚"),
    "昨早": (-1, "早"), "前夜": (-2, "夜"),
}  # fmt: skip


def _date_of(fields: dict[str, str], today: date) -> date | None:
    """The date that an atom names: with its own year, else the latest one not after tomorrow. None: no such day."""
    day = whole_number(fields["d"]) if "d" in fields else None
    month = whole_number(fields["m"]) if "m" in fields else None
    if "mon" in fields:
        month = _MONTHS.index(fields["mon"][:3].lower()) + 1
    if "a" in fields:
        a, b = int(fields["a"]), int(fields["b"])
        choices = [d for m, n in ((a, b), (b, a)) if (d := _build(fields.get("y"), m, n, today))]
        # Month first, unless only the other reading is recent.
        recent = [d for d in choices if today - d <= 60 * DAY]
        return next(iter(recent or choices), None)
    if day is None:
        return None
    if month is None:  # "19号"
        first = today.replace(day=1)
        for base in (first, (first - DAY).replace(day=1), (first - 32 * DAY).replace(day=1)):
            try:
                candidate = base.replace(day=day)
            except ValueError:
                continue
            if candidate <= today:
                return candidate
        return None
    return _build(fields.get("y"), month, day, today)


def _build(year: str | None, month: int, day: int, today: date) -> date | None:
    years = (int(year),) if year else (today.year + 1, today.year, today.year - 1)
    for y in years:
        try:
            candidate = date(y, month, day)
        except ValueError:
            continue
        # A customer east of the ticket's clock may already have tomorrow's date.
        if candidate <= today + DAY:
            return candidate
    return None


def day_of(atom: Atom, now: datetime) -> tuple[date | None, str | None]:
    """The local date that a date-like atom names, and the part of the day that lies in it ("昨晚")."""
    today = now.date()
    word = atom.fields[""].lower()
    if atom.kind == "day":
        return today + DAY * _DAY_WORDS[word], None
    if atom.kind == "daypart":
        shift, part = _DAY_PART_WORDS[word if word in _DAY_PART_WORDS else word.rstrip("上")]
        return today + DAY * shift, part or None
    if atom.kind == "week":
        name = atom.fields["wd"].lower()
        weekday = "一二三四五六日".find(name.translate({0x5929: "日", 0x672B: "六"})) if name[0] > "z" else -1
        if weekday < 0:
            weekday = _WEEKDAYS.index(name[:3])
        relation = atom.fields.get("rel", "").lower().rstrip("个")
        monday = today - DAY * today.weekday()
        if relation in ("上", "上上"):
            return monday - DAY * (7 * len(relation) - weekday), None
        if relation in ("本", "这", "this"):
            day = monday + DAY * weekday
            return (day if day <= today else None), None
        back = (today.weekday() - weekday) % 7
        return today - DAY * (7 if back == 0 and relation in ("last", "past") else back), None
    return _date_of(atom.fields, today), None
