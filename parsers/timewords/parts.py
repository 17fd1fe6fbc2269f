"""The parts of the day: their hours, their names, and what they say about am and pm."""

from __future__ import annotations

# Part of the day -> first and last hour, counted from the day's midnight (beyond 24: the night after).
PARTS = {
    "early morning": (4, 9), "morning": (5, 12), "noon": (11, 13), "midday": (11, 13), "lunch": (12, 14),
    "lunchtime": (12, 14), "lunch time": (12, 14), "afternoon": (12, 18), "evening": (17, 24), "night": (18, 30),
    "midnight": (23, 25), "tonight": (17, 24), "overnight": (-4, 7), "dinner": (17, 21), "breakfast": (6, 10),
    "凌晨": (0, 6), "清晨": (4, 9), "早晨": (5, 10), "早上": (5, 11), "一早": (5, 10), "一大早": (5, 10), "早": (5, 11),
    "晨": (4, 9), "上午": (7, 12), "中午": (11, 14), "午饭": (11, 14), "正午": (11, 13), "午后": (12, 17),
    "下午": (12, 18), "傍晚": (16, 20), "晚上": (17, 24), "晚间": (17, 24), "夜里": (20, 30), "夜间": (20, 30),
    "夜晚": (18, 30), "深夜": (22, 30), "半夜": (22, 30), "午夜": (23, 25), "晚": (17, 26), "夜": (19, 30),
}  # fmt: skip
PM_PARTS = frozenset(
    ("afternoon", "evening", "tonight", "dinner", "noon", "midday", "lunch", "lunchtime", "lunch time", "night",
     "midnight", "下午", "午后", "傍晚", "晚上", "晚间", "晚", "中午", "午饭", "正午", "夜晚", "夜", "夜里", "夜间",
     "深夜", "半夜", "午夜")
)  # fmt: skip
NIGHT_PARTS = frozenset(("晚", "夜", "夜里", "夜间", "夜晚", "深夜", "半夜", "午夜", "night", "midnight", "晚上"))


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


def part_name(part: str) -> tuple[str, str]:
    """The part of the day in English and Chinese."""
    return next((en, zh) for en, zh, words in _PART_NAMES if part in words)
