"""When a customer says something happened: time words in English and Chinese, as spans of UTC.

"Now" is the moment the ticket was created, and the offset of that moment is the clock that its words are read on: no
zone database and no daylight saving, because a ticket carries one offset and nothing else. A zone that is written out
("10:02 +08:00", "北京时间") goes before it.

The text is cut into atoms (a date, a day, a part of the day, a clock time) by RE2, so in linear time; neighbouring
atoms with nothing but small words between them ("around 22:10 on 11-03", "昨天下午三点左右") are then read as one
mention.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache
from typing import Any, Literal

import re2

Precision = Literal["minute", "hour", "part_of_day", "day", "week", "month"]


@dataclass(frozen=True)
class TimeMention:
    """One time that the text names: `[start, end]`, both aware and in UTC, neither after the ticket's creation.

    `text` holds the words as they were written. `confidence` (0..1) says how surely these words give the time of the
    incident: a clock time with its date is near 1, a bare "today" is not.
    """

    start: datetime
    end: datetime
    text: str
    precision: Precision
    reason_en: str
    reason_zh: str
    confidence: float


# Same length after as before, so that a position in one is a position in the other.
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0x2236: 0x3A, 0x2019: 0x27}

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
# A clock that runs ahead of ours, or a customer who rounds up: this far after the ticket is still "now".
_SLACK = timedelta(minutes=10)

_EN_NUMBERS = {
    "a": 1.0, "an": 1.0, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0, "six": 6.0, "seven": 7.0,
    "eight": 8.0, "nine": 9.0, "ten": 10.0, "eleven": 11.0, "twelve": 12.0, "fifteen": 15.0, "twenty": 20.0,
    "twenty-five": 25.0, "thirty": 30.0, "forty": 40.0, "forty-five": 45.0, "fifty": 50.0, "sixty": 60.0,
    "ninety": 90.0,
    "half an": 0.5, "half a": 0.5, "a half": 0.5, "an hour and a half": 1.5, "one and a half": 1.5,
    "a couple of": 2.0, "a couple": 2.0, "couple of": 2.0, "a few": 5.0, "few": 5.0, "several": 5.0, "some": 5.0,
}  # fmt: skip
_ZH_DIGITS = {c: n for n, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ZONES = {
    "z": 0, "utc": 0, "gmt": 0, "est": -300, "edt": -240, "pst": -480, "pdt": -420, "cet": 60, "cest": 120, "bst": 60,
    "beijing time": 480, "北京时间": 480, "jst": 540,
}  # fmt: skip
_UNITS = {
    "sec": timedelta(seconds=1), "min": _MINUTE, "hour": _HOUR, "hr": _HOUR, "day": _DAY, "week": 7 * _DAY,
    "month": 30 * _DAY, "秒": timedelta(seconds=1), "分钟": _MINUTE, "分": _MINUTE, "刻钟": 15 * _MINUTE, "小时": _HOUR,
    "钟头": _HOUR, "天": _DAY, "日": _DAY, "周": 7 * _DAY, "星期": 7 * _DAY, "礼拜": 7 * _DAY, "月": 30 * _DAY,
}  # fmt: skip
# Part of the day -> first and last hour, counted from the day's midnight (beyond 24: the night after).
_PARTS = {
    "early morning": (4, 9), "morning": (5, 12), "noon": (11, 13), "midday": (11, 13), "lunch": (12, 14),
    "lunchtime": (12, 14), "lunch time": (12, 14), "afternoon": (12, 18), "evening": (17, 24), "night": (18, 30),
    "midnight": (23, 25), "tonight": (17, 24), "overnight": (-4, 7), "dinner": (17, 21), "breakfast": (6, 10),
    "凌晨": (0, 6), "清晨": (4, 9), "早晨": (5, 10), "早上": (5, 11), "一早": (5, 10), "一大早": (5, 10), "早": (5, 11),
    "晨": (4, 9), "上午": (7, 12), "中午": (11, 14), "午饭": (11, 14), "正午": (11, 13), "午后": (12, 17),
    "下午": (12, 18), "傍晚": (16, 20), "晚上": (17, 24), "晚间": (17, 24), "夜里": (20, 30), "夜间": (20, 30),
    "夜晚": (18, 30), "深夜": (22, 30), "半夜": (22, 30), "午夜": (23, 25), "晚": (17, 26), "夜": (19, 30),
}  # fmt: skip
_PM_PARTS = frozenset(
    ("afternoon", "evening", "tonight", "dinner", "noon", "midday", "lunch", "lunchtime", "lunch time", "night",
     "midnight", "下午", "午后", "傍晚", "晚上", "晚间", "晚", "中午", "午饭", "正午", "夜晚", "夜", "夜里", "夜间",
     "深夜", "半夜", "午夜")
)  # fmt: skip
_NIGHT_PARTS = frozenset(("晚", "夜", "夜里", "夜间", "夜晚", "深夜", "半夜", "午夜", "night", "midnight", "晚上"))
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

_EN_NUM = (
    r"(?:an hour and a half|one and a half|half an?|a half|a couple of|a couple|couple of|a few|few|several|some"
    r"|twenty-five|forty-five|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty"
    r"|forty|fifty|sixty|ninety|\d{1,3}(?:\.\d)?)"
)
_EN_UNIT = r"(?:seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|months?)"
_ZH_NUM = r"(?:\d{1,3}(?:\.\d)?|[半几数两兩零〇一二三四五六七八九十]{1,4})"
_ZH_UNIT = r"(?:秒钟?|分钟|分|刻钟|小时|钟头|天|日|周|星期|礼拜|月)"
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
_WEEKDAY = r"(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?"
_PART_EN = r"(?:early morning|morning|noon|midday|midnight|lunch ?time|lunch|afternoon|evening|night|dinner|breakfast)"
_PART_ZH = (
    "(?:凌晨|清晨|早晨|早上|一大早|一早|上午|中午|正午|午饭|午后|下午|傍晚|晚上|晚间|夜里|夜间|夜晚|深夜|半夜|午夜)"
)
_ZONE = (
    # A bare minus needs the space or the leading zero of an offset, or "10:00-10:30" would be one.
    r"(?:\s*(?P<zone>z\b|(?:utc|gmt)\s?[+-]\d{1,2}(?::?\d{2})?\b|\+\d{1,2}(?::?\d{2})?\b|-0\d:?[03]0\b|utc\b|gmt\b|e[sd]t\b|p[sd]t\b|ces?t\b|bst\b|jst\b"
    r"|\(?beijing time\)?|\(?北京时间\)?))?"
)
_AMPM = r"(?:\s?(?P<ampm>am\b|pm\b|a\.m\.?|p\.m\.?))"
_HEDGE = "左右|前后|上下|多钟?|许|那会儿?|的时候|时分"


@dataclass(frozen=True)
class _Atom:
    """One recognised piece. `kind` is date, day, part, clock, daypart, weekday, span or since-like glue."""

    kind: str
    start: int
    end: int
    fields: dict[str, str]


@dataclass(frozen=True)
class _Clock:
    """A time on the clock: minutes after midnight, how exactly it was said, and whether am or pm is settled."""

    minutes: int
    whole_hour: bool
    fixed: bool
    hedged: bool
    second: int = 0
    zone: timezone | None = None


def _compile(pattern: str) -> Any:
    return re2.compile("(?i)" + pattern)


@cache
def _grammar() -> tuple[tuple[str, Any], ...]:
    """The atoms, longest reading first. Compiled at the first use: a run without a ticket text needs none of them."""
    hour_zh = r"(?:[01]?\d|2[0-4]|二十[一二三四]?|十[一二三四五六七八九]?|[零〇一二两兩三四五六七八九])"
    minute_zh = (
        r"(?:半|[一二三123]刻钟?|整|钟|(?:[0-5]?\d|[零〇]?[一二三四五六七八九]|[二三四五]?十[一二三四五六七八九]?)分?)"
    )
    hour_en = "(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
    rules = (
        # 2026-11-23, 2026/11/23, 2026.11.23, 2026年11月23日
        ("date", r"(?P<y>20\d{2})\s?[-/.年]\s?(?P<m>\d{1,2})\s?[-/.月]\s?(?P<d>\d{1,2})\s?[日号]?"),
        ("date", r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>20\d{2})"),
        ("date", r"(?P<a>\d{1,2})/(?P<b>\d{1,2})/(?P<y>20\d{2})"),
        ("date", r"(?P<y>20\d{2})(?P<m>0[1-9]|1[0-2])(?P<d>[0-3]\d)[T ]"),
        # 9月19日, 9月19号, 十一月三号, 19号
        (
            "date",
            r"(?P<m>\d{1,2}|十[一二]?|[一二三四五六七八九])\s?月\s?(?P<d>\d{1,2}|[一二三四五六七八九十]{1,3})\s?[日号]",
        ),
        ("date", r"(?P<d>[0-3]?\d)[日号](?P<alone>)"),
        # Nov 3, November 3rd 2026, 3 Nov, 3rd of November
        ("date", rf"\b(?P<mon>{_MONTH})\.?\s(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s(?P<y>20\d{{2}}))?\b"),
        ("date", rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:\sof)?\s(?P<mon>{_MONTH})\b\.?(?:,?\s(?P<y>20\d{{2}}))?"),
        # 11-03, 11/23: taken only beside a clock time or after a small word such as "on"
        ("date", r"(?P<a>\d{1,2})(?P<sep>[-/])(?P<b>\d{1,2})"),
        ("span", r"(?:刚才|刚刚|方才|剛才|剛剛)(?P<now>)"),
        ("span", r"刚(?P<now>)(?:[付买下充点提交试申收打操扣买完支]|才)"),
        (
            "span",
            r"\b(?:just now|(?:a |just a )?(?:moments?|minute|little while|while) ago)\b(?P<now>)",
        ),
        ("span", r"\bjust\s(?P<now>)(?:paid|tried|bought|ordered|placed|made|happened|started|failed|got|been)\b"),
        # 20 minutes ago, two or three hours ago
        (
            "span",
            rf"\b(?P<n>{_EN_NUM})(?:\s?(?:-|to|or)\s?(?P<n2>{_EN_NUM}))?[\s-]?(?P<u>{_EN_UNIT})?(?:\sand a half)?"
            r"\s(?P<ago>ago|back|earlier)\b",
        ),
        ("span", r"\ban?\s(?P<u>hour|day|week)\sand a half\s(?P<ago>ago)\b"),
        # for two hours, in the last 20 minutes, for over an hour
        (
            "span",
            r"\b(?:for|in|over|within|during)\s(?:about |almost |nearly |over |more than |at least )?(?:the )?"
            rf"(?P<last>last|past|previous)?\s?(?P<n>{_EN_NUM})?[\s-]?(?P<u>{_EN_UNIT})\b(?P<age>)",
        ),
        # 半小时前, 一个半小时前, 两三个小时以前
        ("span", rf"(?P<n>{_ZH_NUM})多?\s?个?(?P<half>半)?\s?多?(?P<u>{_ZH_UNIT})多?\s?(?P<ago>之前|以前|前)"),
        # 过去一小时, 最近半小时, 近两个小时
        ("span", rf"(?:过去|最近|近|这)\s?(?P<last>)(?P<n>{_ZH_NUM})\s?个?(?P<half>半)?(?P<u>{_ZH_UNIT})"),
        # 付款一小时了, 半小时还是, 快一周了
        ("span", rf"(?P<n>{_ZH_NUM})多?\s?个?(?P<half>半)?\s?(?P<u>{_ZH_UNIT})多?(?P<age>)(?:了|还|没|都|也|过去)"),
        (
            "daypart",
            r"\b(?:last night|last evening|early this morning|this morning|this afternoon|this evening|tonight"
            r"|overnight|earlier today)\b",
        ),
        ("daypart", "(?:今早|今晨|今晚|昨晚|昨夜|前晚|昨早|前夜)上?"),
        (
            "day",
            r"\b(?:the day before yesterday|day before yesterday|the day after tomorrow|tomorrow|yesterday|today)\b",
        ),
        ("day", "(?:明天|明日|后天|大前天|前天|前日|昨天|昨日|昨儿|今天|今日|今儿)"),
        ("week", rf"\b(?P<rel>last|this|past|on|since|next|every|each)\s(?P<wd>{_WEEKDAY})(?P<plural>s?)\b"),
        ("week", r"\b(?P<wd>(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)(?P<plural>s?)\b"),
        ("week", r"(?P<rel>上上个?|上个?|这个?|本|下个?|每个?)?(?:周|星期|礼拜)(?P<wd>[一二三四五六日天末])"),
        ("long", r"\b(?P<rel>last|this|past)\s(?P<u>week|month|weekend)\b"),
        ("long", "(?P<rel>上个?|这个?|本)(?P<u>周|星期|礼拜|月)"),
        ("part", rf"\b(?:in the |the |at |since |around |about |before |after |over )?(?P<p>{_PART_EN})\b"),
        ("part", rf"(?P<p>{_PART_ZH})"),
        # 10:02:31.118, 3:15 pm
        ("clock", rf"(?P<h>\d{{1,2}})\s?:\s?(?P<mi>\d{{2}})(?::(?P<s>\d{{2}})(?:[.,]\d{{1,9}})?)?{_AMPM}?{_ZONE}"),
        ("clock", rf"\b(?P<h>\d{{1,2}})(?:\.(?P<mi>[0-5]\d))?{_AMPM}{_ZONE}"),
        ("clock", r"\b(?P<h>\d{1,2})h(?P<mi>[0-5]\d)\b"),
        ("clock", rf"\b(?P<h>\d{{1,2}}|{hour_en})\so'?clock\b{_AMPM}?"),
        ("clock", rf"\b(?P<off>half past|quarter past|quarter to|half)\s(?P<h>\d{{1,2}}|{hour_en})\b{_AMPM}?"),
        (
            "clock2",
            rf"\b(?:between|from)\s(?P<h>\d{{1,2}}|{hour_en})\s?(?:and|to|-|till|until)\s?(?P<h2>\d{{1,2}}|{hour_en})\b"
            rf"{_AMPM}?(?P<bare>)",
        ),
        ("clock2", rf"\b(?P<h>\d{{1,2}})\s?-\s?(?P<h2>\d{{1,2}}){_AMPM}"),
        ("clock", rf"\b(?:at|around)\s(?P<h>\d{{1,2}}|{hour_en})\b{_AMPM}?(?P<bare>)"),
        ("clock", rf"差(?P<to>[一二三四五六七八九十]{{1,2}}|\d{{1,2}}|一刻)分?钟?(?P<h>{hour_zh})\s?[点點]"),
        ("clock", rf"(?P<h>{hour_zh})\s?(?P<zh>[点點时時])\s?(?P<mi>{minute_zh})?(?P<s>\d{{1,2}}秒)?"),
    )
    return tuple((kind, _compile(pattern)) for kind, pattern in rules)


_GLUE = _compile(
    r"[\s,、(]*(?:(?:on|at|around|about|approximately|approx\.?|roughly|circa|ca\.?|in|the|of|near|by|some ?time|early"
    r"|late|t|大概|大约|约|约莫|差不多|在|于|是|的|左右|前后|快|将近|那天|不到|到)[\s,、)]*)*[\s)]*"
)
_TO = _compile(r"\s*(?:-|–|—|~|到|至|to|till|until|and|和|through)\s*(?:about|around|大概|大约)?\s*")
_SINCE = _compile(
    r"(?:\b(?:since|ever since|starting|starts|started|beginning|after)|自从?|从)\s*"
    r"(?:about|around|at|on|the|大概|大约)?\s*$"
)
_SINCE_AFTER = _compile(r"\s*(?:左右|多)?\s*(?:以来|开始|起|以后|之后|onwards?|到现在|一直)")
_HEDGE_BEFORE = _compile(
    r"(?:about|around|approximately|approx\.?|roughly|circa|ca\.?|near|some ?time|大概|大约|约|约莫|差不多|将近|快)"
    r"\s*(?:at|on|是|在)?\s*$"
)
_HEDGE_AFTER = _compile(rf"\s*(?:{_HEDGE}|or so|ish)")
_CUE_DATE = _compile(r"(?:\b(?:on|since|from|date|dated|of)|在|于|日期|时间|从|自|是)\s*[::]?\s*$")
_CUE_HOUR_ZH = _compile(r"(?:大概|大约|约|差不多|时间|在|于|是|从|自|到|至|快|将近)\s*[::]?\s*$")
_NOT_HOUR_AFTER = _compile(
    r"\s*(?:积分|优惠|折|建议|问题|要求|原因|意见|数|击|开|进|单|说明|个|条|都|也|小|名|评|赞|不|付|支付|提交|确认|就|了|一下"
    r"|的|几)"
)
_GREETING = _compile(r"(?:good\s*$)")
_BARE_OK = _compile(
    r"\s*(?:$|[.,;!?)。](?:\D|$)|\s(?:on|today|yesterday|this|last|in the|local|and|when|but|i|we|my)\b)|^[^\x00-\x7F]"
)
_FUTURE_BEFORE = _compile(
    r"(?:\b(?:in|within|next|by|until|every|each|another|takes?|took|waits?|waited)\s*$)|(?:每|下|再过|等待?|超时|限时|有效期)\s*$"
)


def _number(word: str) -> tuple[float, float] | None:
    """The smallest and largest count that an English or Chinese number word means, or None."""
    low = word.strip().lower()
    if not low:
        return None
    if low in _EN_NUMBERS:
        n = _EN_NUMBERS[low]
        return (2.0, 9.0) if n == 5.0 and low in ("a few", "few", "several", "some") else (n, n)
    try:
        return float(low), float(low)
    except ValueError:
        pass
    if low == "半":
        return 0.5, 0.5
    if low in ("几", "数", "好几"):
        return 2.0, 9.0
    if low in ("十几", "十多"):
        return 11.0, 19.0
    if low.endswith("几") and len(low) == 3:  # 二十几
        tens = _zh_int(low[:2])
        return None if tens is None else (tens + 1.0, tens + 9.0)
    if len(low) == 2 and all(c in _ZH_DIGITS for c in low) and "零" not in low:  # 两三, 三四
        return float(_ZH_DIGITS[low[0]]), float(_ZH_DIGITS[low[1]])
    if len(low) == 3 and low[2] == "十" and all(c in _ZH_DIGITS for c in low[:2]):  # 二三十
        return 10.0 * _ZH_DIGITS[low[0]], 10.0 * _ZH_DIGITS[low[1]]
    n_zh = _zh_int(low)
    return None if n_zh is None else (float(n_zh), float(n_zh))


def _zh_int(word: str) -> int | None:
    """A whole number below 100 in digits, Chinese numerals or English words, or None."""
    word = word.lower()
    if word.isdigit():
        return int(word)
    if word in _EN_NUMBERS:
        return int(_EN_NUMBERS[word])
    if word == "十":
        return 10
    if "十" in word:
        tens, _, ones = word.partition("十")
        if (tens and tens not in _ZH_DIGITS) or (ones and ones not in _ZH_DIGITS):
            return None
        return (_ZH_DIGITS[tens] if tens else 1) * 10 + (_ZH_DIGITS[ones] if ones else 0)
    value = 0
    for char in word:
        if char not in _ZH_DIGITS:
            return None
        value = value * 10 + _ZH_DIGITS[char]
    return value if word else None


def _stands_alone(text: str, start: int, end: int, joiners: str = ".:/-¥+") -> bool:
    """Whether no digit run, word, version or address goes on at either edge of `text[start:end]`."""
    first, last = text[start], text[end - 1]
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    after2 = text[end + 1] if end + 1 < len(text) else " "
    if first.isascii() and first.isalnum():
        if before.isascii() and ((before.isalnum() and not (before in "Tt" and first.isdigit())) or before in "_#$€£"):
            return False
        if (
            first.isdigit()
            and before in joiners
            and start >= 2
            and text[start - 2].isalnum()
            and text[start - 2].isascii()
        ):
            return False
    if last.isascii() and last.isalnum() and after.isascii():
        if after == "_" or (after.isalnum() and not (after in "Tt" and after2.isdigit())):
            return False
        if last.isdigit() and after in ".:/%" and after2.isdigit():
            return False
        if last.isdigit() and after == "%":
            return False
    return True


def _atoms(text: str) -> list[_Atom]:
    """Every atom of `text` in order, none overlapping another; where two do, the longer one stays."""
    found: list[_Atom] = []
    for kind, pattern in _grammar():
        for match in pattern.finditer(text):
            start, end = match.span()
            while end > start and text[end - 1] in " T" and kind == "date":
                end -= 1
            fields = {k: v for k, v in match.groupdict().items() if v is not None}
            # The second half of "10:00-10:30" follows a dash; half of a phone number or a date must not.
            if end > start and _stands_alone(text, start, end, ".:/¥+" if kind == "clock" else ".:/-¥+"):
                found.append(_Atom(kind, start, end, fields | {"": text[start:end]}))
    found.sort(key=lambda a: (a.start - a.end, a.start))
    taken: list[_Atom] = []
    covered = bytearray(len(text))
    for atom in found:
        if not any(covered[atom.start : atom.end]):
            # What is no time after all still hides the shorter readings inside it ("every Monday").
            covered[atom.start : atom.end] = b"\x01" * (atom.end - atom.start)
            if _plausible(text, atom):
                taken.append(atom)
    return sorted(taken, key=lambda a: a.start)


def _plausible(text: str, atom: _Atom) -> bool:  # noqa: PLR0911 - one case a kind of atom
    """Whether an atom that matched by shape is a time here, judged by the words around it."""
    before, after = text[max(0, atom.start - 16) : atom.start], text[atom.end : atom.end + 16]
    fields = atom.fields
    if atom.kind == "part":
        greeting_zh = fields["p"] in ("早上", "上午", "中午", "下午", "晚上", "早晨") and after[:1] == "好"
        bare = fields[""].lower() in ("night", "lunch", "dinner", "breakfast", "morning", "evening", "afternoon")
        joined = before.rstrip().lower().endswith(("yesterday", "day", "since", "last", "this", "today"))
        return not greeting_zh and not _GREETING.search(before) and (not bare or joined)
    if atom.kind == "clock" and "zh" in fields:
        if before.endswith(tuple("第有快早晚差每同.减送扣加得返")) and not before.endswith(("今晚", "昨晚", "今早")):
            return before.endswith(("快", "晚", "早")) and "一" not in fields["h"]
        if "mi" in fields or "s" in fields:
            return not (fields.get("mi") == "半" and fields["zh"] in "时時")
        after_part = bool(
            re2.search(rf"(?:{_PART_ZH}|[今昨前][晚早夜]|晚|[天日号])(?:大概|大约|约|的|快|差不多)?\s*$", before)
        )
        hedged = bool(_HEDGE_AFTER.match(after))
        cue = after_part or hedged or bool(_CUE_HOUR_ZH.search(before))
        if fields["h"] in "零〇一" and not cue:  # "一点": a little, or "as soon as one taps"
            return False
        if fields["zh"] in "时時" and not (cue and after_part) and not fields["h"].isdigit():
            return False
        return cue or not _NOT_HOUR_AFTER.match(after)
    if atom.kind in ("clock", "clock2") and "bare" in fields:
        return bool(_BARE_OK.match(after)) or "ampm" in fields
    if atom.kind == "span":
        return not _FUTURE_BEFORE.search(before) and not (
            "age" in fields and re2.match(r"(?i)\s*(?:timeout|delivery|trial|warranty|内|后|之内|以内)", after)
        )
    if atom.kind == "week":
        return fields.get("rel", "").lower().rstrip("个") not in (
            "next",
            "every",
            "each",
            "下",
            "每",
        ) and not fields.get("plural")
    if atom.kind == "date" and "alone" in fields:
        return not before.endswith(("第", "No.", "no.", "#", "年", "-"))
    if atom.kind == "date" and fields.get("mon", "").lower() == "may":
        return fields["mon"][0] == "M"
    return True


def _date_of(fields: dict[str, str], today: date) -> date | None:
    """The date that an atom names: with its own year, else the latest one not after tomorrow. None: no such day."""
    day = _zh_int(fields["d"]) if "d" in fields else None
    month = _zh_int(fields["m"]) if "m" in fields else None
    if "mon" in fields:
        month = _MONTHS.index(fields["mon"][:3].lower()) + 1
    if "a" in fields:
        a, b = int(fields["a"]), int(fields["b"])
        choices = [d for m, n in ((a, b), (b, a)) if (d := _build(fields.get("y"), m, n, today))]
        # Month first, unless only the other reading is recent.
        recent = [d for d in choices if today - d <= 60 * _DAY]
        return next(iter(recent or choices), None)
    if day is None:
        return None
    if month is None:  # "19号"
        first = today.replace(day=1)
        for base in (first, (first - _DAY).replace(day=1), (first - 32 * _DAY).replace(day=1)):
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
        if candidate <= today + _DAY:
            return candidate
    return None


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


def _clock_of(fields: dict[str, str], part: str | None, *, hedged: bool) -> _Clock | None:  # noqa: C901, PLR0912 - one case a word of the grammar
    """The clock time of an atom, am or pm settled by its own letters, the part of the day, or the way it is written."""
    hour = _zh_int(fields["h"])
    if hour is None or hour > 24:
        return None
    minute, whole = 0, "mi" not in fields
    word = fields.get("mi", "").rstrip("分")
    if word == "半":
        minute = 30
    elif word.rstrip("钟").endswith("刻"):
        minute = 15 * (_zh_int(word[0]) or 1)
    elif word in ("整", "钟"):
        whole = word == "钟"
    elif word:
        value = _zh_int(word)
        if value is None or value > 59:
            return None
        minute = value
    if "off" in fields:
        minute, whole = (
            {"half past": 30, "half": 30, "quarter past": 15, "quarter to": -15}[fields["off"].lower()],
            False,
        )
    if "to" in fields:
        back = 15 if fields["to"] == "一刻" else _zh_int(fields["to"])
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
        if part in _NIGHT_PARTS and hour <= 5:
            hour += 24  # two at night belongs to the day after
        elif part in _NIGHT_PARTS and hour == 12:
            hour = 24
        elif part == "凌晨" and hour == 12:
            hour = 0
        elif (
            part in _PM_PARTS
            and hour < 12
            and not (part in ("中午", "正午", "noon", "午饭", "lunch", "midday") and hour >= 10)
        ):
            hour += 12
    elif "zh" in fields and fields["zh"] in "时時":
        fixed = True
    return _Clock(hour * 60 + minute, whole, fixed, hedged, min(second, 59), _zone_of(fields.get("zone")))


@dataclass
class _Group:
    """Atoms that stand together and mean one time."""

    start: int
    end: int
    date: _Atom | None = None
    part: _Atom | None = None
    clock: _Atom | None = None

    def add(self, atom: _Atom) -> bool:
        slot = {"date": "date", "day": "date", "daypart": "date", "week": "date", "part": "part"}.get(
            atom.kind, "clock"
        )
        if slot == "date" and atom.kind == "week" and self.date is not None:
            self.end = atom.end  # "11-23 周一": the weekday only repeats the date
            return True
        if getattr(self, slot) is not None:
            # A written date is surer than the weekday or the "yesterday" before it.
            kinds = (self.date.kind if self.date else "", atom.kind)
            if slot != "date" or (kinds[0] != "week" and kinds != ("day", "date")):
                return False
        if atom.kind == "daypart" and self.part is not None:
            return False
        setattr(self, slot, atom)
        self.end = atom.end
        return True


@dataclass(frozen=True)
class _Reading:
    """A group or span as local times, before it is set against the ticket's creation."""

    start: datetime
    end: datetime
    precision: Precision
    confidence: float
    en: str
    zh: str
    text_start: int
    text_end: int
    has_clock: bool = False
    has_date: bool = False


def read_times(text: str, created_at: datetime) -> list[TimeMention]:
    """The times that `text` names, the surest first, then in the order of the text.

    `created_at` must be aware; its offset is the clock of the words. A clock time without a date is its last occurrence
    not after `created_at` (ten minutes of slack). No mention ends after `created_at`; words about the future give none.
    "Since X" runs from X to `created_at`. Raises `ValueError` where `created_at` is naive.

    >>> when = datetime.fromisoformat("2026-11-23T16:00:00+08:00")
    >>> [(str(m.start), m.text) for m in read_times("今天上午十点半付的款", when)]
    [('2026-11-23 02:30:00+00:00', '今天上午十点半')]
    """
    if created_at.tzinfo is None:
        raise ValueError(f"created_at {created_at} has no UTC offset; give the ticket's own, such as +08:00")
    narrow = text.translate(_NARROW)
    now = created_at.astimezone(timezone(created_at.utcoffset() or timedelta()))
    readings = list(_read(narrow, now))
    mentions = [m for r in readings if (m := _settle(text, r, now)) is not None]
    order = sorted(range(len(mentions)), key=lambda i: (-mentions[i].confidence, i))
    return [mentions[i] for i in order]


def _settle(text: str, reading: _Reading, now: datetime) -> TimeMention | None:
    """The mention in UTC, cut at the ticket's creation; None where it lies wholly in the future."""
    try:
        start, end, created = reading.start.astimezone(UTC), reading.end.astimezone(UTC), now.astimezone(UTC)
    except OverflowError:
        return None
    if start > created + _SLACK:
        return None
    start = min(start, created)
    return TimeMention(
        start,
        max(start, min(end, created)),
        text[reading.text_start : reading.text_end].strip(" ,、("),
        reading.precision,
        reading.en,
        reading.zh,
        round(reading.confidence, 2),
    )


def _read(text: str, now: datetime) -> Iterator[_Reading]:
    pieces = _pieces(text)
    # A day that is named once is the day of a clock time said later without one ("yesterday ..., it was about 3 pm").
    days = {p.date.fields[""] for p in pieces if isinstance(p, _Group) and p.date and p.clock is None}
    named = (
        next((p for p in pieces if isinstance(p, _Group) and p.date and p.clock is None), None)
        if len(days) == 1
        else None
    )
    skip = -1
    for i, piece in enumerate(pieces):
        if i == skip:
            continue
        following = pieces[i + 1] if i + 1 < len(pieces) else None
        if isinstance(piece, _Atom):
            reading = _span_reading(piece, now) if piece.kind == "span" else _long_reading(piece, now)
        else:
            borrowed = named.date if named and piece.clock and not piece.date and named.start < piece.start else None
            reading = None
            if isinstance(following, _Group) and _TO.fullmatch(text[piece.end : following.start]):
                reading = _range_reading(text, piece, following, now)
                skip = i + 1 if reading else skip
            reading = reading or _group_reading(text, piece, now, borrowed)
        if reading is None:
            continue
        if (
            _SINCE.search(text[max(0, reading.text_start - 24) : reading.text_start])
            or _SINCE_AFTER.match(text[reading.text_end : reading.text_end + 12])
            or text[reading.text_start : reading.text_end].lower().startswith("since ")
        ):
            reading = replace(
                reading,
                end=now,
                en=f"from {reading.en} on, until the ticket",
                zh=f"从{reading.zh}起,直到提交工单",
                confidence=reading.confidence * 0.9,
            )
        yield reading


def _pieces(text: str) -> list[_Group | _Atom]:
    """Atoms joined into groups across glue; spans and weeks stay single."""
    pieces: list[_Group | _Atom] = []
    for atom in _atoms(text):
        if atom.kind in ("span", "long"):
            pieces.append(atom)
            continue
        last = pieces[-1] if pieces else None
        if (
            isinstance(last, _Group)
            and atom.start - last.end <= 30
            and _GLUE.fullmatch(text[last.end : atom.start])
            and not (last.clock is not None and atom.kind in ("day", "date") and "," in text[last.end : atom.start])
            and last.add(atom)
        ):
            continue
        group = _Group(atom.start, atom.end)
        group.add(atom)
        pieces.append(group)
    return [p for p in pieces if isinstance(p, _Atom) or _worth(text, p)]


def _worth(text: str, group: _Group) -> bool:
    """Whether a group is a time: "10-20" or "11/23" alone is one only after a word such as "on"."""
    atom = group.date
    if atom is None or "sep" not in atom.fields or group.clock is not None or group.part is not None:
        return True
    if {atom.fields["a"], atom.fields["b"]} == {"24", "7"} or re2.match(
        r"\s*[A-Za-z%个分小天条件]", text[atom.end :][:4]
    ):
        return False
    return bool(_CUE_DATE.search(text[max(0, atom.start - 12) : atom.start])) or (
        atom.fields["sep"] == "/" and len(atom.fields["b"]) == 2 and len(atom.fields["a"]) == 2
    )


def _day_of(atom: _Atom, now: datetime) -> tuple[date | None, str | None]:
    """The local date that a date-like atom names, and the part of the day that lies in it ("昨晚")."""
    today = now.date()
    word = atom.fields[""].lower()
    if atom.kind == "day":
        return today + _DAY * _DAY_WORDS[word], None
    if atom.kind == "daypart":
        shift, part = _DAY_PART_WORDS[word if word in _DAY_PART_WORDS else word.rstrip("上")]
        return today + _DAY * shift, part or None
    if atom.kind == "week":
        name = atom.fields["wd"].lower()
        weekday = "一二三四五六日".find(name.translate({0x5929: "日", 0x672B: "六"})) if name[0] > "z" else -1
        if weekday < 0:
            weekday = _WEEKDAYS.index(name[:3])
        relation = atom.fields.get("rel", "").lower().rstrip("个")
        monday = today - _DAY * today.weekday()
        if relation in ("上", "上上"):
            return monday - _DAY * (7 * len(relation) - weekday), None
        if relation in ("本", "这", "this"):
            day = monday + _DAY * weekday
            return (day if day <= today else None), None
        back = (today.weekday() - weekday) % 7
        return today - _DAY * (7 if back == 0 and relation in ("last", "past") else back), None
    return _date_of(atom.fields, today), None


def _at(day: date, hours: float, now: datetime) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=now.tzinfo) + timedelta(hours=hours)


def _group_reading(text: str, group: _Group, now: datetime, borrowed: _Atom | None = None) -> _Reading | None:
    day, part = (None, None)
    date_atom = group.date or borrowed
    if date_atom is not None:
        day, part = _day_of(date_atom, now)
        if day is None and (group.clock is None or group.date is not None):
            return None
    if group.part is not None:
        part = group.part.fields["p"].lower()
    span = (group.start, group.end)
    if group.clock is not None:
        return _clock_reading(text, group, group.clock, now, day, part)
    if part is not None:
        low, high = _PARTS[part]
        base = day or now.date()
        start = _at(base, low, now)
        if day is None and start > now:
            base -= _DAY
            start = _at(base, low, now)
        sure = 0.6 if day else 0.45
        name_en, name_zh = _part_name(part)
        en, zh = f"{name_en} of {base}", f"{base} {name_zh}"
        return _Reading(start, _at(base, high, now), "part_of_day", sure, en, zh, *span, has_date=day is not None)
    if day is None:
        return None
    if group.date is not None and group.date.fields[""].lower() in ("today", "今天", "今日", "今儿", "earlier today"):
        return _Reading(
            _at(day, 0, now), now, "day", 0.35, f"the day of the ticket, {day}", f"提交当天 {day}", *span, has_date=True
        )
    start = _at(day, 0, now)
    if group.date is not None and group.date.fields.get("wd") == "末":
        return _Reading(
            start, start + 2 * _DAY, "day", 0.35, f"the weekend of {day}", f"{day} 那个周末", *span, has_date=True
        )
    sure = 0.5
    if start > now:  # tomorrow by the ticket's clock
        start, sure = now - _DAY, 0.3
    return _Reading(start, _at(day, 24, now), "day", sure, f"the day {day}", f"{day} 当天", *span, has_date=True)


_PART_NAMES: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("the early hours", "凌晨", frozenset(("凌晨", "半夜", "深夜", "午夜", "midnight"))),
    (
        "the morning",
        "早上",
        frozenset(("morning", "early morning", "breakfast", "早上", "早", "早晨", "清晨", "晨", "一早", "一大早")),
    ),
    ("the forenoon", "上午", frozenset(("上午",))),
    ("midday", "中午", frozenset(("noon", "midday", "lunch", "lunchtime", "lunch time", "中午", "正午", "午饭"))),
    ("the afternoon", "下午", frozenset(("afternoon", "下午", "午后"))),
    ("the evening", "晚上", frozenset(("evening", "tonight", "dinner", "傍晚", "晚上", "晚间", "晚"))),
    ("the night", "夜里", frozenset(("night", "overnight", "夜里", "夜间", "夜晚", "夜"))),
)


def _part_name(part: str) -> tuple[str, str]:
    """The part of the day in English and Chinese."""
    return next((en, zh) for en, zh, words in _PART_NAMES if part in words)


def _clock_reading(
    text: str, group: _Group, atom: _Atom, now: datetime, day: date | None, part: str | None
) -> _Reading | None:
    hedged = bool(
        _HEDGE_BEFORE.search(text[max(0, group.start - 16) : group.start])
        or _HEDGE_BEFORE.search(text[max(0, atom.start - 16) : atom.start])
        or _HEDGE_AFTER.match(text[atom.end : atom.end + 8])
        or atom.fields[""].lower().startswith("around")
    )
    if atom.kind == "clock2":
        first, second = _two_hours(atom.fields, part)
        if first is None or second is None:
            return None
        start = _place(first, day, now)
        width = timedelta(minutes=(second.minutes - first.minutes) % (12 * 60))
        en, zh = f"{_hm(start)} to {_hm(start + width)}", f"{_hm(start)} 至 {_hm(start + width)}"
        return _Reading(start, start + width, "hour", 0.8, en, zh, group.start, group.end, has_clock=True)
    clock = _clock_of(atom.fields, part, hedged=hedged)
    if clock is None:
        return None
    at = _place(clock, day, now)
    after = text[atom.end : atom.end + 2].lstrip()
    before_pad, after_pad = timedelta(), _MINUTE
    if clock.whole_hour:
        before_pad, after_pad = (30 * _MINUTE, 30 * _MINUTE) if hedged else (15 * _MINUTE, 15 * _MINUTE)
        if after.startswith(("多", "几")):
            before_pad, after_pad = timedelta(), _HOUR
    elif hedged:
        before_pad = after_pad = 10 * _MINUTE
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
    return _Reading(
        at - before_pad,
        at + after_pad,
        "hour" if clock.whole_hour else "minute",
        sure,
        f"{kind_en} {local:%Y-%m-%d} {_hm(local)} ({zone_en}{dated})",
        f"{local:%Y-%m-%d} {_hm(local)}{about_zh}({zone_zh}{',取提交前最近一次' if dated else ''})",
        group.start,
        group.end,
        has_clock=True,
        has_date=day is not None,
    )


def _hm(moment: datetime) -> str:
    return f"{moment:%H:%M}"


def _two_hours(fields: dict[str, str], part: str | None) -> tuple[_Clock | None, _Clock | None]:
    """Both clock times of "between 3 and 4 pm": the second's am or pm holds for the first as well."""
    second = _clock_of({**fields, "h": fields["h2"]}, part, hedged=False)
    first = _clock_of(fields, part, hedged=False)
    if first and second and first.minutes > second.minutes and first.minutes >= 12 * 60:
        first = replace(first, minutes=first.minutes - 12 * 60)  # "between 11 and 1 pm"
    return first, second


def _place(clock: _Clock, day: date | None, now: datetime) -> datetime:
    """The moment of `clock` on `day`; without a day its last occurrence not after `now`, with a little slack."""
    local = now.astimezone(clock.zone) if clock.zone else now
    base = day or local.date()
    at = _at(base, 0, local) + timedelta(minutes=clock.minutes, seconds=clock.second)
    latest = local + _SLACK
    if day is None:
        while at > latest:
            at -= _DAY
        other = at + 12 * _HOUR if at + 12 * _HOUR <= latest else at
        return at if clock.fixed else other
    if clock.fixed or clock.minutes >= 12 * 60:
        return at
    # "yesterday around 3" is three in the afternoon, "yesterday around 9" nine in the morning, if that is past already.
    later = at + 12 * _HOUR
    return later if clock.minutes < 7 * 60 and later <= latest else at


def _range_reading(text: str, first: _Group, second: _Group, now: datetime) -> _Reading | None:
    """`first` to `second` as one mention: two clock times, or two days."""
    span = (first.start, second.end)
    if first.clock is not None and second.clock is not None and "clock2" not in (first.clock.kind, second.clock.kind):
        filled = _with_day_of(second, first)
        left_fields, right_fields = dict(first.clock.fields), second.clock.fields
        if "ampm" not in left_fields and "ampm" in right_fields and not first.part:
            left_fields["ampm"] = right_fields["ampm"]
        if "zone" not in left_fields and "zone" in right_fields:
            left_fields["zone"] = right_fields["zone"]
        left = _group_reading(text, _with_clock(first, left_fields), now)
        right = _group_reading(text, filled, now)
        if left is None or right is None:
            return None
        # The bounds of a range are meant as said, without the room that a single hour is given.
        begin, end = _middle(left), _middle(right)
        if second.date is None and end <= begin:
            end += _DAY
        if second.date is None and end - begin > _DAY:
            end -= _DAY * ((end - begin) // _DAY)
        if end < begin:
            return None
        en, zh = f"{_hm(begin)} to {_hm(end)} on {begin:%Y-%m-%d}", f"{begin:%Y-%m-%d} {_hm(begin)} 至 {_hm(end)}"
        return _Reading(begin, end, left.precision, min(0.95, left.confidence + 0.05), en, zh, *span, has_clock=True)
    if first.clock is None and second.clock is None and first.date and second.date:
        left, right = _group_reading(text, first, now), _group_reading(text, second, now)
        if left and right and left.start < right.end:
            return _Reading(
                left.start, right.end, "day", 0.45, f"{left.en} to {right.en}", f"{left.zh}至{right.zh}", *span
            )
    return None


def _middle(reading: _Reading) -> datetime:
    """The moment that was said, without the room around a whole hour."""
    return reading.start + (reading.end - reading.start) / 2 if reading.precision == "hour" else reading.start


def _with_day_of(group: _Group, other: _Group) -> _Group:
    """`group` with the day and the part of the day that it leaves to `other`."""
    part = group.part or (other.part if group.clock and "ampm" not in group.clock.fields else None)
    return _Group(group.start, group.end, group.date or other.date, part, group.clock)


def _with_clock(group: _Group, fields: dict[str, str]) -> _Group:
    """`group` with another reading of its clock."""
    clock = replace(group.clock, fields=fields) if group.clock else None
    return _Group(group.start, group.end, group.date, group.part, clock)


def _span_reading(atom: _Atom, now: datetime) -> _Reading | None:  # noqa: C901, PLR0912 - one case a word of the grammar
    """Words that count back from now: "two hours ago", "半小时前", "just now", "for two days"."""
    fields, span = atom.fields, (atom.start, atom.end)
    word = fields[""]
    if "now" in fields:
        end = atom.end - (1 if word.startswith("刚") and word[:2] not in ("刚才", "刚刚") else 0)
        return _Reading(
            now - 30 * _MINUTE, now, "minute", 0.55, "just before the ticket", "提交工单前不久", atom.start, end
        )
    unit_word = fields.get("u", "").lower()
    if not unit_word:  # "an hour and a half ago": the unit lies in the number
        if fields.get("n", "").lower() != "an hour and a half":
            return None
        unit_word = "hour"
    unit = next((v for k, v in _UNITS.items() if unit_word.startswith(k)), None)
    count = _number(fields["n"]) if "n" in fields else (1.0, 1.0)
    if unit is None or count is None:
        return None
    low, high = count
    if fields.get("n2"):
        more = _number(fields["n2"])
        high = more[1] if more else high
    half = (
        0.5 if fields.get("half") or (word.lower().rstrip(" ago").endswith("and a half") and "n" not in fields) else 0.0
    )
    if half and fields.get("n") == "半":
        half = 0.0
    if "and a half ago" in word.lower() and fields.get("n", "").lower() != "an hour and a half":
        half = 0.5
    near, far = unit * (low + half), unit * (high + half)
    if far < _MINUTE or far > 400 * _DAY:
        return None
    precision: Precision = (
        "minute"
        if unit < _HOUR
        else "hour"
        if unit == _HOUR
        else "day"
        if unit == _DAY
        else "week"
        if unit < 30 * _DAY
        else "month"
    )
    size_en, size_zh = _length_en(near, far), _length_zh(near, far)
    if "age" in fields or "last" in fields:
        if "n" not in fields and "last" not in fields:
            return None
        if fields.get("n", "").lower() == "some":
            return None
        if "last" in fields:
            return _Reading(now - far, now, precision, 0.5, f"within the last {size_en}", f"提交前 {size_zh}内", *span)
        pad = max(far * 0.5, 15 * _MINUTE)
        return _Reading(
            now - far - pad, now - near * 0.5, precision, 0.35, f"going on for {size_en}", f"已持续 {size_zh}", *span
        )
    if precision == "minute":
        pad = max(5 * _MINUTE, far * 0.25)
    elif precision == "hour":
        pad = max(20 * _MINUTE, unit * 0.4)
    elif precision == "day":
        first, last = _at((now - far).date(), 0, now), _at((now - near).date(), 24, now)
        if near < _DAY:  # half a day
            first, last = now - 16 * _HOUR, now - 3 * _HOUR
        return _Reading(first, last, "day", 0.5, f"{size_en} before the ticket", f"提交前 {size_zh}", *span)
    else:
        pad = max(2 * _DAY, far * 0.25)
    sure = {"minute": 0.8, "hour": 0.7, "week": 0.4, "month": 0.3}[precision]
    return _Reading(
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
    unit, name = (_MINUTE, minutes) if far < _HOUR else (_HOUR, hours) if far < _DAY else (_DAY, days)
    low, high = near / unit, far / unit
    name = name.removesuffix("s") if high == 1 else name
    return f"{high:g} {name}" if low == high else f"{low:g}-{high:g} {name}"


def _long_reading(atom: _Atom, now: datetime) -> _Reading | None:
    """A whole week, weekend or month."""
    this = atom.fields["rel"].lower().rstrip("个") in ("this", "这", "本")
    unit, today, span = atom.fields["u"].lower(), now.date(), (atom.start, atom.end)
    monday = today - _DAY * today.weekday()
    if unit == "weekend":
        start = monday + _DAY * (5 if this else -2)
        return _Reading(
            _at(start, 0, now), _at(start, 48, now), "day", 0.35, f"the weekend of {start}", f"{start} 那个周末", *span
        )
    if unit in ("month", "月"):
        first = today.replace(day=1)
        since, until = (first, today + _DAY) if this else ((first - _DAY).replace(day=1), first)
        return _Reading(
            _at(since, 0, now),
            _at(until, 0, now),
            "month",
            0.2,
            f"the month of {since:%Y-%m}",
            f"{since:%Y-%m} 这个月",
            *span,
        )
    first_day, until = (monday, today + _DAY) if this else (monday - 7 * _DAY, monday)
    return _Reading(
        _at(first_day, 0, now),
        _at(until, 0, now),
        "week",
        0.25,
        f"the week of {first_day}",
        f"{first_day} 那一周",
        *span,
    )
