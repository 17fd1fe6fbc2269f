"""Columns of text redacted: every rule over the lines that may hold something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import re2

from parsers.identifiers import values_in
from parsers.redaction.markers import marker_of
from parsers.redaction.numbers import Number, checked_numbers
from parsers.redaction.settings import DEFAULT, RedactionSettings
from parsers.redaction.strings import compiled_once, fitting, put_at, swapped
from parsers.redaction.words import ESCAPED, Pass, hints, passes


@cache
def _gates() -> tuple[str, str]:
    """Two patterns that together fit every line in which a rule may find something: by its words, by its numbers.

    Clean lines, nearly all of a log, are read by these two and by nothing else.
    """
    cues = "|".join(f"(?:{number.pattern})" for number in checked_numbers(by_cue=True))
    shapes = "|".join(f"(?:{number.pattern})" for number in checked_numbers(by_cue=False))
    return f"(?:{hints()})|{cues}", shapes


_IPS = (
    r"(^|[^0-9A-Za-z.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b",
    r"(^|[^0-9A-Za-z:.])(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}\b",
    r"(^|[^0-9A-Za-z:.])(?:[0-9A-Fa-f]{1,4}:){1,6}(?::[0-9A-Fa-f]{1,4}){1,6}\b",
)

# Allowed values are hidden in private-use characters while the patterns run, and come back after.
_HIDE, _UNHIDE, _DIGIT_BASE = "\ue000", "\ue001", 0xE010
# A replacement may bring a neighbour into reach ("138…,139…" share a comma); more rounds than this never happen.
_ROUNDS = 6


def redact(
    text: str, *, allow: Collection[str] = (), settings: RedactionSettings = DEFAULT
) -> tuple[str, dict[str, int]]:
    """`text` without secrets and personal data, and how many values of each kind went.

    `allow` holds known identifiers (order and trade numbers): they stay, unless a word before them says that they are a
    phone or a card. `redact(redact(x)[0])` gives the same text and no counts. Raises `ValueError` for a bad own
    pattern.

    >>> redact("卡号 4242 4242 4242 4242, 手机 13800138000")
    ('卡号 [card:…4242], 手机 [phone:…8000]', {'card': 1, 'phone': 1})
    """
    array, counts = redact_array(pa.array([text], pa.string()), allow=allow, settings=settings)
    return array[0].as_py(), counts


def redact_array(
    array: Any, *, allow: Collection[str] = (), settings: RedactionSettings = DEFAULT
) -> tuple[Any, dict[str, int]]:
    """Each string of a string array (or chunked array) redacted, nulls kept, and the counts over all of them.

    The answer has the type and length of `array`. Only lines that may hold something are rewritten.
    """
    check_own_patterns(settings)
    if isinstance(array, pa.ChunkedArray):
        total: Counter[str] = Counter()
        chunks = []
        for chunk in array.chunks:
            done, counts = redact_array(chunk, allow=allow, settings=settings)
            chunks.append(done)
            total.update(counts)
        return pa.chunked_array(chunks, type=array.type), dict(total)
    counts_all: Counter[str] = Counter()
    rows, text = None, array
    for _ in range(_ROUNDS):
        before = text
        text, counts = _round(before, allow, settings)
        counts_all.update(counts)
        changed = pc.indices_nonzero(pc.fill_null(pc.not_equal(text, before), False))
        if len(changed) == 0:
            break
        if rows is None:
            rows, whole = changed, text
        else:
            whole = put_at(whole, rows, text)
            rows = rows.take(changed)
        text = text.take(changed)
    return (array if rows is None else whole), {k: n for k, n in sorted(counts_all.items()) if n > 0}


def _round(text: Any, allow: Collection[str], settings: RedactionSettings) -> tuple[Any, Counter[str]]:
    """Every rule once over `text`."""
    counts: Counter[str] = Counter()
    rows = pc.indices_nonzero(suspects(text, settings))
    if len(rows) == 0:
        return text, counts
    done = _rules(text.take(rows), allow, settings, counts)
    return put_at(text, rows, done), counts


def suspects(text: Any, settings: RedactionSettings) -> Any:
    """Which strings may hold something that a rule takes out; null is no."""
    gates = [*_gates(), *(_IPS if settings.ip else ()), *(pattern for _, pattern in settings.own)]
    suspect = fitting(text, gates[0])
    for gate in gates[1:]:
        suspect = pc.or_(suspect, fitting(text, gate))
    return suspect


def _rules(text: Any, allow: Collection[str], settings: RedactionSettings, counts: Counter[str]) -> Any:
    for number in checked_numbers(by_cue=True):
        text = _checked(text, number, counts, settings)
    hidden = [v for v in dict.fromkeys(allow) if v]
    if hidden:
        text = _hide(text, hidden)
    text = _by_words(text, counts, settings)
    for number in checked_numbers(by_cue=False):
        text = _checked(text, number, counts, settings)
    if settings.ip and "ip" not in settings.off:
        for pattern in _IPS:
            text = _replaced(text, Pass("ip", pattern, r"\1[ip]", "[ip]"), counts)
    for name, pattern in settings.own:
        text = _own(text, name, pattern, counts)
    if hidden:
        text = _show(text, hidden)
    return text


def _by_words(text: Any, counts: Counter[str], settings: RedactionSettings) -> Any:
    rows = pc.indices_nonzero(fitting(text, hints()))
    if len(rows) == 0:
        return text
    part = text.take(rows)
    for rule in passes():
        if rule.kind not in settings.off:
            part = _replaced(part, rule, counts)
    return put_at(text, rows, part)


def _replaced(text: Any, rule: Pass, counts: Counter[str]) -> Any:
    after = swapped(text, rule.pattern, rule.replacement)
    # Markers gained, not matches: what was masked already matches again and is no new value.
    gained = pc.subtract(pc.count_substring(after, rule.marker), pc.count_substring(text, rule.marker))
    counts[rule.kind] += max(0, pc.sum(gained).as_py() or 0)
    return after


def _checked(text: Any, number: Number, counts: Counter[str], settings: RedactionSettings) -> Any:
    """`text` with the values that pass the check masked. Only lines with the shape are looked at in Python."""
    if number.kind in settings.off:
        return text
    rows = pc.indices_nonzero(fitting(text, number.pattern))
    if len(rows) == 0:
        return text
    pattern = compiled_once(number.pattern)
    made = []
    for line in text.take(rows).to_pylist():
        pieces, last = [], 0
        for match in pattern.finditer(line):
            value, (start, end) = match.group(2), match.span(2)
            follower = line[end : end + 1]
            goes_on = bool(follower) and (
                (follower.isascii() and (follower.isalnum() or follower == "_"))
                or (follower in ".-" and line[end + 1 : end + 2].isdigit())
            )
            if goes_on or not number.holds(match):
                continue
            digits = "".join(c for c in value if c.isalnum())
            shown = f"[{number.kind.replace('_', '-')}:…{digits[-4:]}]" if number.keep else marker_of(number.kind)
            pieces += [line[last:start], shown]
            last = end
            counts[number.kind] += 1
        made.append("".join([*pieces, line[last:]]))
    return put_at(text, rows, pa.array(made, text.type))


def _own(text: Any, name: str, pattern: str, counts: Counter[str]) -> Any:
    compiled = compiled_once(pattern)
    rows = pc.indices_nonzero(fitting(text, pattern))
    if len(rows) == 0:
        return text
    group = 1 if compiled.groups else 0
    marker = f"[{name}]"
    made = []
    for line in text.take(rows).to_pylist():
        pieces, last = [], 0
        for match in compiled.finditer(line):
            start, end = match.span(group)
            value = match.group(group)
            # A pattern that fits its own marker, or a part of it, must not mask the mask.
            if not value or start < last or value in marker or marker in value:
                continue
            pieces += [line[last:start], marker]
            last = end
            counts[name] += 1
        made.append("".join([*pieces, line[last:]]))
    return put_at(text, rows, pa.array(made, text.type))


def check_own_patterns(settings: RedactionSettings) -> None:
    """Raises `ValueError` for a pattern of the user's that RE2 cannot take."""
    for name, pattern in settings.own:
        try:
            compiled_once(pattern)
        except re2.error as error:
            raise ValueError(f"redaction pattern {pattern!r} for {name} is not valid RE2: {error}") from error


def _hide(text: Any, values: list[str]) -> Any:
    rows = pc.indices_nonzero(values_in(text, values))
    if len(rows) == 0:
        return text
    place = {v: n for n, v in enumerate(values)}
    longest = sorted(values, key=len, reverse=True)
    pattern = re2.compile(rf"(^|[^0-9A-Za-z]|{ESCAPED})(" + "|".join(re2.escape(v) for v in longest) + r")\b")

    def stand_in(match: Any) -> str:
        code = "".join(chr(_DIGIT_BASE + int(c)) for c in str(place[match.group(2)]))
        return f"{match.group(1)}{_HIDE}{code}{_UNHIDE}"

    made = [pattern.sub(stand_in, pattern.sub(stand_in, line)) for line in text.take(rows).to_pylist()]
    return put_at(text, rows, pa.array(made, text.type))


def _show(text: Any, values: list[str]) -> Any:
    rows = pc.indices_nonzero(pc.fill_null(pc.match_substring(text, _HIDE), False))
    if len(rows) == 0:
        return text
    pattern = re2.compile(f"{_HIDE}([{chr(_DIGIT_BASE)}-{chr(_DIGIT_BASE + 9)}]{{1,7}}){_UNHIDE}")

    def value(match: Any) -> str:
        number = int("".join(str(ord(c) - _DIGIT_BASE) for c in match.group(1)))
        return values[number] if number < len(values) else str(match.group())

    return put_at(text, rows, pa.array([pattern.sub(value, line) for line in text.take(rows).to_pylist()], text.type))
