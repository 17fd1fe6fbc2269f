"""Figures as people read them: probabilities, amounts, durations, times, runs of ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from snapshots.model import Evidence
from snapshots.words import Language

# ISO 4217 currencies whose minor unit is not a hundredth.
_NO_MINOR = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"]
)
_THOUSANDTHS = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])


def pointer_text(evidence: Evidence) -> str:
    """Where the record lies, on one line: source, then index and document id, or file and byte range."""
    parts = [evidence.source, evidence.index]
    if evidence.doc_id is not None:
        parts.append(evidence.doc_id)
    elif evidence.file is not None:
        span = f"@{evidence.start}-{evidence.end}" if evidence.start is not None else ""
        parts.append(evidence.file + span)
    return " / ".join(part for part in parts if part)


def percent(share: float, language: Language) -> str:
    """A probability in words that never claim certainty.

    >>> percent(0.943, "en"), percent(0.9999, "en"), percent(0.001, "zh")
    ('94 %', 'over 99 %', '不足 1 %')
    """
    if share > 0.99:
        return "over 99 %" if language == "en" else "99 % 以上"
    if share < 0.01:
        return "under 1 %" if language == "en" else "不足 1 %"
    return f"{share * 100:.0f} %"


def amount(minor: int | None, currency: str | None) -> str:
    """An amount in the currency's main unit.

    >>> amount(129900, "USD"), amount(500, "JPY"), amount(None, "USD")
    ('1,299.00 USD', '500 JPY', '')
    """
    if minor is None:
        return ""
    places = 0 if currency in _NO_MINOR else 3 if currency in _THOUSANDTHS else 2
    sign, digits = "-" if minor < 0 else "", str(abs(minor)).rjust(places + 1, "0")
    whole, rest = (digits[:-places], "." + digits[-places:]) if places else (digits, "")
    return f"{sign}{int(whole):,}{rest} {currency or ''}"


def id_ranges(ids: Sequence[str]) -> str:
    """Ids in few words: runs of numbered ones become ranges.

    >>> id_ranges(["R01", "R02", "R03", "R07", "dns"])
    'R01-R03, R07, dns'
    """
    runs: list[list[str]] = []
    for name in sorted(ids, key=natural):
        last = numbered(runs[-1][-1]) if runs else None
        this = numbered(name)
        if last and this and last[0] == this[0] and this[1] == last[1] + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(part for run in runs for part in ([f"{run[0]}-{run[-1]}"] if len(run) > 2 else run))


def numbered(name: str) -> tuple[str, int] | None:
    """What stands before the number at the end of `name`, and the number."""
    found = re.fullmatch(r"(.*?)(\d{1,9})", name, re.ASCII)
    return (found[1], int(found[2])) if found else None


def natural(name: str) -> tuple[str, int, str]:
    """A sort key that puts E2 before E10."""
    head, number = numbered(name) or (name, 0)
    return head, number, name


def parse_time(at: str | None) -> datetime | None:
    """An RFC 3339 time, aware; None where it cannot be read."""
    try:
        when = datetime.fromisoformat(at or "")
        when.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def utc_offset(when: datetime) -> str:
    """The offset of an aware time, such as +08:00."""
    shift = when.utcoffset() or timedelta()
    minutes = int(shift.total_seconds() // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def length(span: timedelta, language: Language) -> str:
    """A span of time in hours or minutes."""
    minutes = round(span.total_seconds() / 60)
    if minutes % 60 == 0 and minutes:
        return f"{minutes // 60}\u00a0h" if language == "en" else f"{minutes // 60}\u00a0小时"
    return f"{minutes}\u00a0min" if language == "en" else f"{minutes}\u00a0分钟"


def duration(micros: int | None) -> str:
    """Microseconds in a unit that suits them."""
    if micros is None:
        return ""
    if micros < 1_000:
        return f"{micros} µs"
    return f"{micros / 1_000:,.0f} ms" if micros < 10_000_000 else f"{micros / 1_000_000:,.1f} s"


def count(number: int) -> str:
    """A number with its thousands set apart."""
    return f"{number:,}"
