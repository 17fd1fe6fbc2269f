"""Order histories to the ORDER_EVENTS table: the bundle's `orders.csv`, and rows that an SQL query gave.

Both ways meet in one function, so that the same history gives the same rows, keys and canonical records wherever it was
kept. Files come as people export them: UTF-8 or GBK, with or without a byte order mark, comma, semicolon or tab, times
with mixed offsets. A value that cannot be read becomes null and its row is counted; it never costs the row beside it.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from parsers.tables import ORDER_EVENTS, TIME, empty

# What an event is made of; every other column of a file or query is kept as an attribute.
COLUMNS = (
    "order_id",
    "entity",
    "entity_id",
    "state",
    "amount_minor",
    "currency",
    "channel",
    "occurred_at",
    "attributes",
)
_TEXT = ("order_id", "entity", "entity_id", "state", "currency", "channel")
_CSV_LIMIT = 2**31 - 1
# Arrow casts these by itself; everything else goes through `read_time`, once per distinct text.
_PLAIN_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:?\d{2})$"
_NAIVE_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?$"
_PLAIN_AMOUNT = r"^[+-]?\d{1,18}(\.0*)?$"


@dataclass(frozen=True)
class ParsedOrders:
    """An ORDER_EVENTS table and what became of its rows.

    `rows` were read: those of the table, `duplicates` (equal in every column to an earlier row, left out) and rows that
    name neither order nor entity nor state (left out). `unparsed` counts the latter and the rows that are kept with a
    null, or raw attributes, where a value could not be read.
    """

    table: pa.Table
    rows: int
    unparsed: int
    duplicates: int


def parse_orders_csv(data: bytes, *, source: str, file: str, zone: tzinfo | None = None) -> ParsedOrders:
    """The events of an `orders.csv`, in order of time.

    `file` is the path within the bundle; it becomes `_index` and `log.file.path`. Times without an offset are in `zone`
    (UTC without one). Never raises on bad data.
    """
    text, damaged = _utf8(data)
    table, ragged = _read_csv(text)
    return _events(table, source=source, index=file, file=file, zone=zone, bad_rows=ragged, damaged=damaged)


def order_events_from_rows(
    table: pa.Table, *, source: str, index: str = "orders", zone: tzinfo | None = None
) -> ParsedOrders:
    """The events in the rows of a query, in order of time.

    Column names are taken regardless of case. Amounts may be integers, decimals or text; times aware, naive (then in
    `zone`, UTC without one), text or epoch numbers; attributes JSON text (best: it keeps its nulls) or a struct.
    """
    return _events(table, source=source, index=index, file=None, zone=zone)


def canonical_order_event(row: Mapping[str, Any]) -> dict[str, Any]:
    """The record that an order event's sha256 covers: its typed columns, the time in UTC, the attributes parsed.

    >>> canonical_order_event({"order_id": "M1", "occurred_at": "2026-09-04T23:02:58.18+08:00"})["occurred_at"]
    '2026-09-04T15:02:58.180000Z'
    """
    record: dict[str, Any] = {name: row.get(name) for name in COLUMNS}
    moment = record["occurred_at"]
    if isinstance(moment, str):
        moment = read_time(moment)
    record["occurred_at"] = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None
    attributes = record["attributes"]
    record["attributes"] = (
        dict(attributes) if isinstance(attributes, Mapping) else msgspec.json.decode(attributes or "{}")
    )
    return record


def write_orders_csv(table: pa.Table) -> bytes:
    """ORDER_EVENTS as an `orders.csv`: what `parse_orders_csv` reads back as the same events."""
    out = io.StringIO()
    # Both characters of the line end are then quoted inside a field.
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for batch in table.select(list(COLUMNS)).to_batches():
        texts = [
            _iso(batch.column(name)).to_pylist() if name == "occurred_at" else batch.column(name).to_pylist()
            for name in COLUMNS
        ]
        writer.writerows(zip(*texts, strict=True))
    return out.getvalue().encode()


def read_time(text: str, zone: tzinfo | None = None) -> datetime | None:
    """One time in UTC, or None: ISO 8601, `2026/11/23 10:02:31`, `20261123100231`, epoch seconds to nanoseconds.

    Without an offset it is in `zone` (UTC without one).
    """
    text = text.strip()
    if not text.isascii():
        return None
    try:
        if text.isdigit() and len(text) != len("20261123100231"):
            return _from_epoch(int(text))
        if text.isdigit():
            moment = datetime.strptime(text, "%Y%m%d%H%M%S")  # noqa: DTZ007 - its zone is set below
        else:
            body = text.removesuffix("UTC").replace("/", "-")
            # "10:02:31 +08:00": the offset stands apart, which ISO 8601 does not allow.
            head, _, offset = body.rpartition(" ")
            moment = datetime.fromisoformat(
                head.strip() + offset if offset[:1] in ("+", "-") and head else body.strip()
            )
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone or UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _from_epoch(number: int) -> datetime | None:
    """Epoch seconds, milliseconds, microseconds or nanoseconds by magnitude (right for 1973 to 5138)."""
    for unit in (1, 1_000, 1_000_000, 1_000_000_000):
        if 100_000_000 <= number // unit < 100_000_000_000:
            return datetime.fromtimestamp(number // unit, UTC).replace(microsecond=number % unit * 1_000_000 // unit)
    return None


def _utf8(data: bytes) -> tuple[bytes, bool]:
    """`data` as UTF-8 without byte order mark, and whether some bytes could not be read."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", errors="replace")
        return text.encode(), "\ufffd" in text
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        data.decode()
    except UnicodeDecodeError:
        text = data.decode(errors="replace")
        # GB18030 reads almost anything, so it is taken only when UTF-8 fails for more than a stray byte.
        beyond_ascii = sum(1 for character in text if character > "\x7f")
        if text.count("\ufffd") * 5 > beyond_ascii:
            try:
                return data.decode("gb18030").encode(), False
            except UnicodeDecodeError:
                pass
        return text.encode(), True
    return data, False


def _read_csv(data: bytes) -> tuple[pa.Table, list[dict[str, str | None]]]:
    """The file as a table of strings, and its rows that have too few or too many fields, as far as they can be told."""
    import pyarrow.csv as pacsv  # a module that only this function needs

    data = data.lstrip(b"\r\n")
    first, _, rest = data.partition(b"\n")
    header = first.decode().rstrip("\r")
    delimiter = max(",;\t", key=header.count)
    try:
        names = _header(next(csv.reader([header], delimiter=delimiter), []))
    except csv.Error:
        names = []
    if not rest.strip() or not names:
        return pa.table({name: pa.nulls(0, pa.string()) for name in names}), []
    ragged: list[dict[str, str | None]] = []

    def keep(row: Any) -> str:
        ragged.extend(_fit(fields, names) for fields in _read_rows(row.text, delimiter))
        return "skip"

    try:
        if len(rest) >= _CSV_LIMIT:
            raise pa.ArrowInvalid("larger than one block")  # noqa: TRY301 - takes the slow way below
        table = pacsv.read_csv(
            pa.BufferReader(rest),
            # One block: a quoted field may span lines, and a row must not straddle blocks.
            read_options=pacsv.ReadOptions(column_names=names, block_size=len(rest) + 1, use_threads=False),
            parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=keep),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
    except pa.ArrowInvalid:
        # A quote that never closes, mostly the end of half a file. Python's reader goes on where Arrow's gives up.
        ragged.clear()
        good: list[dict[str, str | None]] = []
        for fields in _read_rows(rest.decode(), delimiter):
            (good if len(fields) == len(names) else ragged).append(_fit(fields, names))
        table = pa.table({name: pa.array([row[name] for row in good], pa.string()) for name in names})
    return table, ragged


def _header(fields: Sequence[str]) -> list[str]:
    """Column names in lower case, each once."""
    names: list[str] = []
    for place, field in enumerate(fields):
        name = field.strip().lower() or f"column_{place + 1}"
        names.append(name if name not in names else f"{name}_{place + 1}")
    return names


def _read_rows(text: str, delimiter: str) -> list[list[str]]:
    """The rows of CSV text, with Python's forgiving reader; what even that cannot read ends the list."""
    rows: list[list[str]] = []
    try:
        rows.extend(row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row)
    except csv.Error:
        rows.append([text])
    return rows


def _fit(fields: Sequence[str], names: Sequence[str]) -> dict[str, str | None]:
    """A row under `names`, whatever its length: what is absent is null, what is too much is left out."""
    return {name: (fields[place] if place < len(fields) else None) or None for place, name in enumerate(names)}


def _events(
    table: pa.Table,
    *,
    source: str,
    index: str,
    file: str | None,
    zone: tzinfo | None,
    bad_rows: Sequence[Mapping[str, str | None]] = (),
    damaged: bool = False,
) -> ParsedOrders:
    """Typed, keyed and ordered events from a table of whatever types, plus rows that are known to be broken."""
    table = table.rename_columns(_header(table.column_names))
    bad = pa.array([False] * table.num_rows)
    if bad_rows:
        broken = pa.table({n: pa.array([row.get(n) for row in bad_rows], pa.string()) for n in table.column_names})
        table = pa.concat_tables([table, broken])
        bad = pa.array([False] * (table.num_rows - len(bad_rows)) + [True] * len(bad_rows))
    rows = table.num_rows
    if not rows:
        return ParsedOrders(empty(ORDER_EVENTS), 0, 0, 0)
    columns: dict[str, Any] = {name: texts(_column(table, name)) for name in _TEXT}
    columns["entity"] = pc.utf8_lower(columns["entity"])
    columns["amount_minor"], bad_amount = _amounts(_column(table, "amount_minor"))
    columns["occurred_at"], bad_time = read_times(_column(table, "occurred_at"), zone)
    columns["attributes"], bad_attributes = _attributes(_column(table, "attributes"))
    extra = [name for name in table.column_names if name not in COLUMNS]
    if extra:
        columns["attributes"] = _with_extra(columns["attributes"], table.select(extra))
    for mask in (bad_amount, bad_time, bad_attributes):
        bad = pc.or_(bad, mask)
    if damaged:
        for name in (*_TEXT, "attributes"):
            bad = pc.or_(bad, pc.fill_null(pc.match_substring(columns[name], "\ufffd"), fill_value=False))
    unparsed = pc.sum(bad).as_py() or 0

    # A row that names nothing cannot be cited or joined: it is counted, not kept.
    named = pc.or_(pc.or_(_filled(columns["order_id"]), _filled(columns["entity_id"])), _filled(columns["state"]))
    unparsed += pc.sum(pc.and_not(pc.invert(named), bad)).as_py() or 0
    events = pa.table({**columns, "_row": pa.array(range(rows), pa.int64())}).filter(named)
    # The source's own order breaks ties: it is often the order in which the events were written.
    events = events.sort_by([("occurred_at", "ascending"), ("_row", "ascending")])
    keys, keep = _keys(events)
    length = events.num_rows
    where = {
        "_source": pa.repeat(source, length),
        "_index": pa.repeat(index, length),
        "_id": keys,
        "log.file.path": pa.repeat(file, length) if file is not None else pa.nulls(length, pa.string()),
        "log.offset": pa.nulls(length, pa.int64()),
        "log.length": pa.nulls(length, pa.int64()),
    }
    result = pa.table([*(events.column(name) for name in COLUMNS), *where.values()], schema=ORDER_EVENTS)
    duplicates = 0
    if keep is not None:
        duplicates = length - (pc.sum(keep).as_py() or 0)
        result = result.filter(keep)
    return ParsedOrders(result.combine_chunks(), rows, unparsed, duplicates)


def _column(table: pa.Table, name: str) -> pa.Array:
    """One column in one piece, null where the table lacks it."""
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.string())
    column = table.column(name).combine_chunks()
    column = column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _filled(column: pa.Array) -> pa.Array:
    return pc.is_valid(column)


def texts(column: pa.Array) -> pa.Array:
    """Trimmed strings; an empty one is null."""
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        column = pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _amounts(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Whole minor units, and a mask of the amounts that are none: those become null."""
    kind = column.type
    if pa.types.is_integer(kind):
        values = [v if v is None or -(2**63) <= v < 2**63 else None for v in column.to_pylist()]
        return pa.array(values, pa.int64()), _lost(column, values)
    if pa.types.is_floating(kind):
        values = [int(v) if v is not None and math.isfinite(v) and v == int(v) else None for v in column.to_pylist()]
        values = [v if v is None or abs(v) < 2**53 else None for v in values]
        return pa.array(values, pa.int64()), _lost(column, values)
    text = texts(column)
    fits = pc.fill_null(pc.match_substring_regex(text, _PLAIN_AMOUNT), fill_value=False)
    whole = pc.replace_substring_regex(pc.if_else(fits, text, pa.scalar(None, pa.string())), r"(^\+|\.0*$)", "")
    return whole.cast(pa.int64()), pc.and_not(pc.is_valid(text), fits)


def _lost(column: pa.Array, values: Sequence[Any]) -> pa.Array:
    """Where `column` had a value and `values` has none."""
    return pc.and_(pc.is_valid(column), pa.array([value is None for value in values], pa.bool_()))


def read_times(column: pa.Array, zone: tzinfo | None) -> tuple[pa.Array, pa.Array]:
    """UTC times, and a mask of those that could not be read: they become null."""
    kind = column.type
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("us")), pa.timestamp("us")
    if pa.types.is_timestamp(kind) and (kind.tz or zone is None):
        # Nanoseconds are cut, not rounded: an event is never moved into the future.
        return column.cast(pa.timestamp("us", kind.tz), safe=False).cast(TIME), pa.array([False] * len(column))
    if pa.types.is_timestamp(kind):
        return _in_zone(column.cast(pa.timestamp("us"), safe=False), zone), pa.array([False] * len(column))
    text = texts(column)
    if pc.all(pc.match_substring_regex(text, _NAIVE_TIME)).as_py():
        try:
            cut = pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1").cast(pa.timestamp("us"))
            return _in_zone(cut, zone), pa.array([False] * len(column))
        except pa.ArrowInvalid:
            pass  # as below
    plain = pc.all(pc.match_substring_regex(text, _PLAIN_TIME)).as_py()
    if plain is not False:
        try:
            cut = pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1")
            return cut.cast(TIME), pa.array([False] * len(column))
        except pa.ArrowInvalid:
            pass  # the 31st of February, or an hour 25: told apart below, each distinct text once
    encoded = text.dictionary_encode()
    moments = pa.array([read_time(value, zone) for value in encoded.dictionary.to_pylist()], TIME)
    times = moments.take(encoded.indices)
    return times, pc.and_not(pc.is_valid(text), pc.is_valid(times))


def _in_zone(column: pa.Array, zone: tzinfo | None) -> pa.Array:
    """Naive times as times of `zone` (UTC without one); of an hour that comes twice the first."""
    name = "UTC" if zone is None else getattr(zone, "key", None)
    try:
        if name is not None:
            return pc.assume_timezone(column, name, ambiguous="earliest", nonexistent="raise").cast(TIME)
    except pa.ArrowInvalid:
        pass  # an hour that the clock skipped, or a zone that Arrow does not know
    return pa.array([v and v.replace(tzinfo=zone) for v in column.to_pylist()], TIME)


def _attributes(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """JSON objects with sorted keys, and a mask of those that are none: they are kept as `{"_raw": text}`."""
    if pa.types.is_nested(column.type):
        values = [None if value is None else _encode(_without_nulls(value)) for value in column.to_pylist()]
        return pa.array(values, pa.string()), pa.array([False] * len(column))
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = pa.array([v if v is None else v.decode(errors="replace") for v in column.to_pylist()], pa.string())
    encoded = texts(column).dictionary_encode()
    objects, bad = [], []
    for text in encoded.dictionary.to_pylist():
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            value = None
        good = isinstance(value, dict)
        objects.append(_encode(value) if good else _encode({"_raw": text}))
        bad.append(not good)
    # An empty bundle column has an empty dictionary, from which nothing can be taken but nulls.
    values = pa.array(objects, pa.string()).take(encoded.indices)
    return values, pc.fill_null(pa.array(bad, pa.bool_()).take(encoded.indices), fill_value=False)


def _without_nulls(value: Any) -> dict[str, Any]:
    """A struct or map as a mapping; a struct's nulls are only the other rows' fields."""
    pairs = value.items() if isinstance(value, Mapping) else value
    return {key: item for key, item in pairs if item is not None}


def _encode(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic", enc_hook=str).decode()


def _with_extra(attributes: pa.Array, extra: pa.Table) -> pa.Array:
    """The attributes with the file's or query's other columns added, where they hold something."""
    values = []
    for text, row in zip(attributes.to_pylist(), extra.to_pylist(), strict=True):
        found = {name: value for name, value in row.items() if value not in (None, "")}
        values.append(_encode(found | msgspec.json.decode(text or "{}")) if found else text)
    return pa.array(values, pa.string())


def _iso(times: pa.Array) -> pa.Array:
    """RFC 3339 in UTC, always to the microsecond."""
    text = pc.replace_substring(times.cast(pa.timestamp("us")).cast(pa.string()), " ", "T")
    return pc.binary_join_element_wise(text, "Z", "")


def _keys(events: pa.Table) -> tuple[pa.Array, pa.Array | None]:
    """The natural key of each event, and which rows to keep (None: all).

    Different events under one key are told apart by `#2`, `#3`, in the order of their canonical records, so that the
    order of the rows does not matter. Rows that are equal throughout are one event.
    """
    parts = [events.column(name).combine_chunks() for name in ("entity", "entity_id", "state")]
    keys = pc.binary_join_element_wise(
        *parts, _iso(events.column("occurred_at").combine_chunks()), ":", null_handling="replace", null_replacement=""
    )
    counts = pc.value_counts(keys)
    if len(counts) == len(keys):
        return keys, None
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    places = pc.indices_nonzero(pc.is_in(keys, repeated)).to_pylist()
    texts, keep = keys.to_pylist(), [True] * len(keys)
    groups: dict[str, dict[bytes, int]] = defaultdict(dict)
    for place, row in zip(places, events.take(pa.array(places)).to_pylist(), strict=True):
        record = msgspec.json.encode(canonical_order_event(row), order="deterministic")
        keep[place] = groups[texts[place]].setdefault(record, place) == place
    for key, group in groups.items():
        for number, record in enumerate(sorted(group), start=1):
            texts[group[record]] = key if number == 1 else f"{key}#{number}"
    return pa.array(texts, pa.string()), pa.array(keep)
