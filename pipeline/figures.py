"""Figures as the statements write them: money, moments and lengths of time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

# ISO 4217 currencies whose minor unit is not a hundredth.
_EXPONENTS: Mapping[str, int] = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(),  # noqa: SIM905  # reads as the list that it is
        0,
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),  # noqa: SIM905
    **dict.fromkeys("CLF UYW".split(), 4),  # noqa: SIM905
}


def currency_exponent(currency: str | None) -> int:
    """How many decimal places the minor unit of `currency` is (ISO 4217); 2 where it is not known.

    >>> currency_exponent("JPY"), currency_exponent("KWD"), currency_exponent(None)
    (0, 3, 2)
    """
    return _EXPONENTS.get((currency or "").strip().upper(), 2)


def format_money(amount_minor: int | None, currency: str | None) -> str:
    """An amount in minor units as a person writes it.

    >>> format_money(69700, "GBP"), format_money(1190, "JPY"), format_money(-5, "EUR"), format_money(None, "EUR")
    ('697.00 GBP', '1190 JPY', '-0.05 EUR', '? EUR')
    """
    unit = f" {currency}" if currency else ""
    if amount_minor is None:
        return f"?{unit}"
    exponent = currency_exponent(currency)
    digits = str(abs(amount_minor)).rjust(exponent + 1, "0")
    whole = f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits
    return f"{'-' if amount_minor < 0 else ''}{whole}{unit}"


def clock(at: datetime | None) -> str:
    """A moment as the statements write it, in UTC to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else "?"


def spell(span: timedelta) -> tuple[str, str]:
    """A length of time for a person: the two largest units that matter."""
    seconds = int(span.total_seconds())
    for size, below, en, zh in ((86400, 3600, "d", "天"), (3600, 60, "h", "小时"), (60, 1, "min", "分")):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            part_en, part_zh = {3600: ("h", "小时"), 60: ("min", "分"), 1: ("s", "秒")}[below]
            small = rest // below
            return f"{whole} {en}" + (f" {small} {part_en}" if small else ""), f"{whole}{zh}" + (
                f"{small}{part_zh}" if small else ""
            )
    return f"{seconds} s", f"{seconds}秒"
