"""The expressions by which a piece of text is a date, a day, a part of the day or a clock time, in English and Chinese."""

from __future__ import annotations

from functools import cache
from typing import Any

import re2

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
PART_ZH = (
    "(?:凌晨|清晨|早晨|早上|一大早|一早|上午|中午|正午|午饭|午后|下午|傍晚|晚上|晚间|夜里|夜间|夜晚|深夜|半夜|午夜)"
)
_ZONE = (
    # A bare minus needs the space or the leading zero of an offset, or "10:00-10:30" would be one.
    r"(?:\s*(?P<zone>z\b|(?:utc|gmt)\s?[+-]\d{1,2}(?::?\d{2})?\b|\+\d{1,2}(?::?\d{2})?\b|-0\d:?[03]0\b|utc\b|gmt\b|e[sd]t\b|p[sd]t\b|ces?t\b|bst\b|jst\b"
    r"|\(?beijing time\)?|\(?北京时间\)?))?"
)
_AMPM = r"(?:\s?(?P<ampm>am\b|pm\b|a\.m\.?|p\.m\.?))"
_HEDGE = "左右|前后|上下|多钟?|许|那会儿?|的时候|时分"


def compiled(pattern: str) -> Any:
    """A pattern that reads both cases."""
    return re2.compile("(?i)" + pattern)


@cache
def grammar() -> tuple[tuple[str, Any], ...]:
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
        ("part", rf"(?P<p>{PART_ZH})"),
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
    return tuple((kind, compiled(pattern)) for kind, pattern in rules)


HEDGE_BEFORE = compiled(
    r"(?:about|around|approximately|approx\.?|roughly|circa|ca\.?|near|some ?time|大概|大约|约|约莫|差不多|将近|快)"
    r"\s*(?:at|on|是|在)?\s*$"
)
HEDGE_AFTER = compiled(rf"\s*(?:{_HEDGE}|or so|ish)")
