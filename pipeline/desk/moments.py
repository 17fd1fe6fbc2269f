"""Moments as the desk's tables hold them, seconds since 1970, and as documents and reports write them, RFC 3339 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def in_utc(moment: datetime) -> str:
    """An aware moment as a document writes it.

    >>> in_utc(datetime.fromisoformat("2026-11-02T09:00:00+08:00"))
    '2026-11-02T01:00:00Z'
    """
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def written(seconds: float) -> str:
    """Seconds since 1970 as a document writes them."""
    return in_utc(datetime.fromtimestamp(seconds, UTC))


def seconds_of(moment: str) -> float:
    """The seconds since 1970 of a moment that a document holds."""
    return datetime.fromisoformat(moment).timestamp()
