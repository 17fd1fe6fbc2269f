"""Number words in English and Chinese."""

from __future__ import annotations

_EN_NUMBERS = {
    "a": 1.0, "an": 1.0, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0, "six": 6.0, "seven": 7.0,
    "eight": 8.0, "nine": 9.0, "ten": 10.0, "eleven": 11.0, "twelve": 12.0, "fifteen": 15.0, "twenty": 20.0,
    "twenty-five": 25.0, "thirty": 30.0, "forty": 40.0, "forty-five": 45.0, "fifty": 50.0, "sixty": 60.0,
    "ninety": 90.0,
    "half an": 0.5, "half a": 0.5, "a half": 0.5, "an hour and a half": 1.5, "one and a half": 1.5,
    "a couple of": 2.0, "a couple": 2.0, "couple of": 2.0, "a few": 5.0, "few": 5.0, "several": 5.0, "some": 5.0,
}  # fmt: skip
_ZH_DIGITS = {c: n for n, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}


def counts_of(word: str) -> tuple[float, float] | None:
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
        tens = whole_number(low[:2])
        return None if tens is None else (tens + 1.0, tens + 9.0)
    if len(low) == 2 and all(c in _ZH_DIGITS for c in low) and "零" not in low:  # 两三, 三四
        return float(_ZH_DIGITS[low[0]]), float(_ZH_DIGITS[low[1]])
    if len(low) == 3 and low[2] == "十" and all(c in _ZH_DIGITS for c in low[:2]):  # 二三十
        return 10.0 * _ZH_DIGITS[low[0]], 10.0 * _ZH_DIGITS[low[1]]
    n_zh = whole_number(low)
    return None if n_zh is None else (float(n_zh), float(n_zh))


def whole_number(word: str) -> int | None:
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
