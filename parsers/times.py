"""Times as logs write them, to `timestamp[us, UTC]`, a whole column at once.

Nothing is guessed: a text that is not a time is null. A time of day without a date and a date without a year are only
read where the caller names a moment near them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.tables import TIME

_NAIVE = pa.timestamp("us")
_MONTHS = {
    name: f"{number:02d}"
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_CLOCK = r"(?P<clock>\d{1,2}:\d\d:\d\d)(?:[.,](?P<fraction>\d{1,9}))?"
_ZONE = r"\s?(?P<zone>Z|z|UTC|GMT|[+-]\d\d:?\d\d|[+-]\d\d)?"
# Each gives year/month/day in its own order; (?P<half>) is AM or PM.
_FORMS = [
    r"^(?P<year>\d{4})[-/.年](?P<month>\d{1,2})[-/.月](?P<day>\d{1,2})日?[T ,_]{1,3}" + _CLOCK + _ZONE + r"$",
    # 10/Oct/2026:13:55:36 +0000, 23-Nov-2026 10:02:31.118 UTC, 23 Nov 2026 10:02:31
    r"^(?:[A-Za-z]{3}, )?(?P<day>\d{1,2})[-/ ](?P<month>[A-Za-z]{3})[-/ ](?P<year>\d{4})[: ]" + _CLOCK + _ZONE + r"$",
    # Mon Nov 23 10:02:31.118 2026
    r"^(?:[A-Za-z]{3} )(?P<month>[A-Za-z]{3}) +(?P<day>\d{1,2}) " + _CLOCK + r" (?:[A-Z]{3,4} )?(?P<year>\d{4})$",
    # Nov 23, 2026 10:02:31 AM, 11/23/2026, 10:02:31 AM
    r"^(?P<month>[A-Za-z]{3}|\d{1,2})[ /](?P<day>\d{1,2})[,/] ?(?P<year>\d{4}),? " + _CLOCK + r" ?(?P<half>[AP]M)?$",
    # Nov 23 10:02:31, without a year
    r"^(?:[A-Za-z]{3} )?(?P<month>[A-Za-z]{3}) +(?P<day>\d{1,2}) " + _CLOCK + r"$",
    # klog: 1123 10:02:31.118123
    r"^[IWEFD]?(?P<month>\d\d)(?P<day>\d\d) " + _CLOCK + r"$",
    # 26/11/23 10:02:31, year first as Spark writes it
    r"^(?P<year>\d\d)/(?P<month>\d\d)/(?P<day>\d\d) " + _CLOCK + r"$",
    # A time of day alone.
    r"^" + _CLOCK + _ZONE + r"$",
]


def parse_times(texts: Any, zone: tzinfo | None = None, around: datetime | None = None) -> Any:
    """`texts` (a string Array) as `timestamp[us, UTC]`; null where a text is not a time.

    Read are ISO 8601 and its relatives, the forms of web servers, syslog, klog and java.util.logging, and numbers of
    seconds, milliseconds, microseconds or nanoseconds since 1970 (told apart by their size). `zone` applies to times
    without one (UTC unless given). `around` completes a time that lacks its year or its date with the nearest one.
    """
    texts = _one(texts)
    found = pa.nulls(len(texts), TIME)
    if texts.null_count == len(texts):
        return found
    found = _iso(texts, zone)
    for reader in (_numbers, lambda rest: _written(rest, zone, around)):
        missing = pc.and_(pc.is_null(found), pc.is_valid(texts))
        rows = np.flatnonzero(missing.to_numpy(zero_copy_only=False))
        if not len(rows):
            break
        found = _put(found, rows, reader(texts.take(pa.array(rows))))
    return found


def _one(array: Any) -> Any:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _put(array: Any, rows: Any, values: Any) -> Any:
    """`array` with `values` at `rows`."""
    mask = np.zeros(len(array), dtype=bool)
    mask[rows] = True
    return pc.replace_with_mask(array, pa.array(mask), values)


def _cast(texts: Any, kind: Any) -> Any:
    """`texts` cast to `kind`, null where one cannot be: halves are tried until the culprits stand alone."""
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return pa.nulls(1, kind)
        middle = len(texts) // 2
        return pa.concat_arrays([_cast(texts.slice(0, middle), kind), _cast(texts.slice(middle), kind)])


_ISO_ZONED = r"^\d{4}-(0\d|1[0-2])-([0-2]\d|3[01])[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)$"


def _iso(texts: Any, zone: tzinfo | None) -> Any:
    """The commonest form, in one cast; other forms are left null."""
    del zone
    fits = pc.match_substring_regex(texts, _ISO_ZONED)
    if pc.all(fits, skip_nulls=True, min_count=0).as_py():
        return _cast(texts, TIME)
    return _cast(pc.if_else(fits, texts, pa.scalar(None, pa.string())), TIME)


def _numbers(texts: Any) -> Any:
    """Numbers since 1970 in seconds, milliseconds, microseconds or nanoseconds."""
    texts = pc.if_else(
        pc.match_substring_regex(texts, r"^\d{9,19}(\.\d*)?([eE]\+?\d+)?$"), texts, pa.scalar(None, pa.string())
    )
    whole = _cast(
        pc.if_else(pc.match_substring_regex(texts, r"^\d+$"), texts, pa.scalar(None, pa.string())), pa.int64()
    )
    real = _cast(texts, pa.float64())
    exact = whole.to_numpy(zero_copy_only=False) if not whole.null_count else whole.fill_null(0).to_numpy()
    rough = real.fill_null(0.0).to_numpy()
    is_whole = whole.is_valid().to_numpy(zero_copy_only=False)
    size = np.where(is_whole, exact.astype(np.float64), rough)
    micros = np.zeros(len(texts), dtype=np.int64)
    # Bounds: 1e8 s is 1973, 1e11 s is far ahead; each unit is a thousand times the one before.
    for low, high, up, down in (
        (1e8, 1e11, 1_000_000, 1),
        (1e11, 1e14, 1000, 1),
        (1e14, 1e17, 1, 1),
        (1e17, 9.2e18, 1, 1000),
    ):
        fits = (size >= low) & (size < high)
        take = fits & is_whole
        micros[take] = exact[take] * up // down
        take = fits & ~is_whole
        micros[take] = np.rint(rough[take] * up / down).astype(np.int64)
    return pa.array(micros, mask=micros == 0).cast(TIME)


def _written(texts: Any, zone: tzinfo | None, around: datetime | None) -> Any:
    """Any of `_FORMS`."""
    found = pa.nulls(len(texts), TIME)
    left = np.arange(len(texts))
    for form in _FORMS:
        part = texts.take(pa.array(left))
        fits = pc.match_substring_regex(part, form).fill_null(False).to_numpy(zero_copy_only=False)
        if fits.any():
            rows = left[fits]
            found = _put(found, rows, _assemble(pc.extract_regex(texts.take(pa.array(rows)), form), zone, around))
            left = left[~fits]
        if not len(left):
            break
    return found


def _pad(texts: Any) -> Any:
    return pc.utf8_lpad(texts, 2, "0")


def _assemble(parts: Any, zone: tzinfo | None, around: datetime | None) -> Any:
    """The struct of a form's groups as times."""
    got = {field.name: parts.field(number) for number, field in enumerate(parts.type)}
    size = len(parts)
    none = pa.scalar(None, pa.string())
    moment = around.astimezone(zone or UTC) if around else None
    if "month" in got:
        month = got["month"]
        if pc.any(pc.match_substring_regex(month, "^[A-Za-z]")).as_py():
            lower = pc.utf8_lower(month).dictionary_encode()
            words = [_MONTHS.get(word, word if word.isdigit() else None) for word in lower.dictionary.to_pylist()]
            month = pa.array(words, pa.string()).take(lower.indices)
        month, day = _pad(month), _pad(got["day"])
        year = got.get("year")
        if year is not None:
            year = pc.if_else(pc.equal(pc.utf8_length(year), 2), pc.binary_join_element_wise("20", year, ""), year)
        elif moment is not None:
            year = pa.array([str(moment.year)] * size)
        else:
            return pa.nulls(size, TIME)
        date = pc.binary_join_element_wise(year, month, day, "-")
    elif moment is not None:
        date = pa.array([moment.date().isoformat()] * size)
    else:
        return pa.nulls(size, TIME)
    fraction = pc.utf8_slice_codeunits(pc.utf8_rpad(got["fraction"], 6, "0"), 0, 6)
    text = pc.binary_join_element_wise(
        date, pa.scalar(" "), pc.utf8_lpad(got["clock"], 8, "0"), pa.scalar("."), fraction, ""
    )
    # Month 13 or hour 25 would stop the whole cast; a leap second is read as the second before it.
    text = pc.replace_substring_regex(text, r":60\.", ":59.")
    ok = pc.match_substring_regex(
        text, r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]) ([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{6}$"
    )
    naive = _cast(pc.if_else(ok, text, none), _NAIVE)
    if "half" in got:
        hour = pc.hour(naive)
        shift = np.zeros(size, dtype=np.int64)
        half = got["half"].to_numpy(zero_copy_only=False)
        hours = hour.fill_null(0).to_numpy()
        shift[(half == "PM") & (hours < 12)] = 12
        shift[(half == "AM") & (hours == 12)] = -12
        naive = pc.add(naive, pa.array(shift * 3_600_000_000).cast(pa.duration("us")))
    times = _place(naive, got.get("zone"), zone)
    if moment is not None and "year" not in got:
        times = _nearest(times, moment, timedelta(days=1) if "month" not in got else timedelta(days=365))
    return times


def _place(naive: Any, written: Any, zone: tzinfo | None) -> Any:
    """Local times to UTC: by the zone written with them, else by `zone`."""
    local = _localised(naive, zone)
    if written is None or pc.all(pc.equal(written, "")).as_py():
        return local
    encoded = written.dictionary_encode()
    minutes: list[int | None] = []
    for text in encoded.dictionary.to_pylist():
        if not text:
            minutes.append(None)
        elif text[0] in "+-":
            digits = text[1:].replace(":", "")
            value = int(digits[:2]) * 60 + int(digits[2:] or 0)
            minutes.append(-value if text[0] == "-" else value)
        else:
            minutes.append(0)
    offset = pa.array(minutes, pa.int64()).take(encoded.indices)
    micros = pc.subtract(naive.cast(pa.int64()), pc.multiply(offset, 60_000_000))
    return pc.coalesce(micros.cast(TIME), local)


def _localised(naive: Any, zone: tzinfo | None) -> Any:
    if zone is None or zone is UTC:
        return naive.cast(pa.int64()).cast(TIME)
    if isinstance(zone, timezone):
        shift = int(zone.utcoffset(None) / timedelta(microseconds=1))
        return pc.subtract(naive.cast(pa.int64()), shift).cast(TIME)
    if isinstance(zone, ZoneInfo) and zone.key:
        times = pc.assume_timezone(naive, zone.key, ambiguous="earliest", nonexistent="earliest")
        return times.cast(pa.int64()).cast(TIME)
    # Any other tzinfo can only be asked one time after the other.
    values = [None if value is None else value.replace(tzinfo=zone).astimezone(UTC) for value in naive.to_pylist()]
    return pa.array(values, TIME)


def _nearest(times: Any, moment: datetime, period: timedelta) -> Any:
    """`times` moved by whole periods so that each lies nearest to `moment`."""
    size = int(period / timedelta(microseconds=1))
    middle = int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
    micros = times.cast(pa.int64()).fill_null(middle).to_numpy()
    moved = micros - np.rint((micros - middle) / size).astype(np.int64) * size
    return pa.array(moved, mask=pc.is_null(times).to_numpy(zero_copy_only=False)).cast(TIME)
