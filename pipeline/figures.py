"""Figures as the statements write them: money and moments."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

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
