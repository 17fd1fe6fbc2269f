"""The times that a text names, set against the ticket's creation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

from parsers.timewords.atoms import Atom
from parsers.timewords.grammar import compiled
from parsers.timewords.group_readings import group_reading, range_reading
from parsers.timewords.groups import Group, pieces_of
from parsers.timewords.readings import SLACK, Precision, Reading
from parsers.timewords.span_readings import long_reading, span_reading


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
_TO = compiled(r"\s*(?:-|–|—|~|到|至|to|till|until|and|和|through)\s*(?:about|around|大概|大约)?\s*")
_SINCE = compiled(
    r"(?:\b(?:since|ever since|starting|starts|started|beginning|after)|自从?|从)\s*"
    r"(?:about|around|at|on|the|大概|大约)?\s*$"
)
_SINCE_AFTER = compiled(r"\s*(?:左右|多)?\s*(?:以来|开始|起|以后|之后|onwards?|到现在|一直)")


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


def _settle(text: str, reading: Reading, now: datetime) -> TimeMention | None:
    """The mention in UTC, cut at the ticket's creation; None where it lies wholly in the future."""
    try:
        start, end, created = reading.start.astimezone(UTC), reading.end.astimezone(UTC), now.astimezone(UTC)
    except OverflowError:
        return None
    if start > created + SLACK:
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


def _read(text: str, now: datetime) -> Iterator[Reading]:
    pieces = pieces_of(text)
    # A day that is named once is the day of a clock time said later without one ("yesterday ..., it was about 3 pm").
    days = {p.date.fields[""] for p in pieces if isinstance(p, Group) and p.date and p.clock is None}
    named = (
        next((p for p in pieces if isinstance(p, Group) and p.date and p.clock is None), None)
        if len(days) == 1
        else None
    )
    skip = -1
    for i, piece in enumerate(pieces):
        if i == skip:
            continue
        following = pieces[i + 1] if i + 1 < len(pieces) else None
        if isinstance(piece, Atom):
            reading = span_reading(piece, now) if piece.kind == "span" else long_reading(piece, now)
        else:
            borrowed = named.date if named and piece.clock and not piece.date and named.start < piece.start else None
            reading = None
            if isinstance(following, Group) and _TO.fullmatch(text[piece.end : following.start]):
                reading = range_reading(text, piece, following, now)
                skip = i + 1 if reading else skip
            reading = reading or group_reading(text, piece, now, borrowed)
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
