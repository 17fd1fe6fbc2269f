"""Rows of an archive to a shard: masked where they are read, each kind of message taken apart once.

The bodies are those that `take` mines. Of messages that are alike (`parsers/alike.py`) one is parsed for all; a row that cannot
stand for others is parsed itself: one too long to be compared, one whose record has error fields of its own or lacks time or
service.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.alike import alike, hashes
from parsers.documents.parsing import parse_parquet_table
from parsers.filling import one_array
from parsers.mapping import AUTO, FieldMapping
from parsers.masking import JOINED, mask
from parsers.tables import TIME
from pipeline.learning.shards import (
    COUNTS,
    DAY_SLOTS,
    LINES,
    SAMPLES,
    SLOT_US,
    Shard,
    least_samples,
    nothing,
    over,
    ranks_of,
    values_of,
)

# Whose values become part of the body, beside the message.
_BESIDE = ("error_type", "error_message", "error_stack_trace", "extra")
_READ = ("timestamp", "service_name", "message", *_BESIDE)


@dataclass(frozen=True)
class Reduced:
    """A shard and what it was made of: `rows` read, of which `undated` have no time and are not in the shard.

    `size` counts the bytes of the messages.
    """

    shard: Shard
    rows: int
    undated: int
    size: int


def paths_read(mapping: FieldMapping = AUTO) -> list[str]:
    """The paths of documents that learning reads."""
    return list(dict.fromkeys(path for name in _READ for path in getattr(mapping, name)))


def reduced(table: pa.Table, *, mapping: FieldMapping = AUTO, zone: tzinfo | None = None) -> Reduced:
    """The shard of `table`, whose columns are fields of documents by dotted name or as structs, in any order.

    `zone` applies to times that carry none (UTC unless given). A document that is there twice counts twice.
    """
    flat = _flat(table, mapping)
    size = flat.num_rows
    if not size:
        return Reduced(nothing(), 0, 0, 0)
    rows = _Rows(flat, mapping, zone)
    return _counted(rows.micros, rows.services, rows.lines, rows.samples, rows.size)


def reduced_logs(logs: pa.Table) -> Reduced:
    """The shard of a table LOGS, whose lines were taken apart already."""
    bodies = _filled(logs.column("body").combine_chunks())
    message = _filled(logs.column("message").combine_chunks())
    times = logs.column("@timestamp").combine_chunks()
    services = pc.fill_null(logs.column("service.name").combine_chunks(), "")
    micros = _micros(times)
    ranks = _ranks(hashes(message), pc.fill_null(micros, 0).to_numpy(zero_copy_only=False))
    candidates = _Candidates(np.arange(len(logs)), ranks, bodies)
    return _counted(micros, services, _masked(bodies), candidates, _bytes_of(message))


@dataclass(frozen=True)
class _Candidates:
    """Rows of which the samples are taken, with their ranks and bodies: the least rank of each line is among them."""

    rows: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    bodies: Any


def _ranks(hashed: npt.NDArray[np.uint64], times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A number of each row that follows from its message and time, and is as good as random."""
    mixed = (hashed ^ times.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(1)).astype(np.int64)


# ---- one table of documents


class _Rows:
    """Time, service, masked line and rank of each row of a table of documents."""

    def __init__(self, flat: pa.Table, mapping: FieldMapping, zone: tzinfo | None) -> None:
        self._flat, self._mapping, self._zone = flat, mapping, zone
        size = flat.num_rows
        message = _first_of(flat, mapping.message)
        self.size = _bytes_of(message)
        times, services = self._meta()
        odd = pc.is_null(message).to_numpy(zero_copy_only=False)
        odd |= pc.is_null(times).to_numpy(zero_copy_only=False) | pc.is_null(services).to_numpy(zero_copy_only=False)
        for name in _BESIDE:
            for path in getattr(mapping, name):
                if path in flat.column_names:
                    odd |= pc.is_valid(_filled(flat.column(path))).to_numpy(zero_copy_only=False)
        kinds = alike(message)
        odd |= kinds.cut
        services_coded = pc.dictionary_encode(pc.fill_null(services, ""))
        codes = services_coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        keys = np.where(odd, -1 - np.arange(size), kinds.kinds * max(1, len(services_coded.dictionary)) + codes)
        groups = pc.dictionary_encode(pa.array(keys)).indices.to_numpy(zero_copy_only=False)
        # Of the rows of each kind and service that of the least rank stands for all: which it is follows from the rows alone.
        ranks = _ranks(kinds.hashes, pc.fill_null(_micros(times), 0).to_numpy(zero_copy_only=False))
        least = np.full(int(groups.max()) + 1, np.iinfo(np.int64).max)
        np.minimum.at(least, groups, ranks)
        standing = np.empty(len(least), np.int64)
        lowest = np.flatnonzero(least[groups] == ranks)
        standing[groups[lowest]] = lowest
        parsed = self._parsed(standing)
        bodies = _filled(parsed.column("body").combine_chunks())
        masked = _masked(bodies)
        self.lines = pa.DictionaryArray.from_arrays(masked.indices.take(pa.array(groups)), masked.dictionary)
        self.samples = _Candidates(standing, ranks[standing], bodies)
        # What the record lacks its message may tell.
        told = pa.array(groups)
        self.services = pc.fill_null(
            pc.coalesce(services, parsed.column("service.name").combine_chunks().take(told)), ""
        )
        lacking = pc.is_null(times)
        if pc.any(lacking).as_py():
            found = parsed.column("@timestamp").combine_chunks().take(told)
            times = pc.if_else(lacking, found, times)
        self.micros = _micros(times)

    def _parsed(self, rows: npt.NDArray[Any]) -> pa.Table:
        """These rows as `take` would read them."""
        some = self._flat if len(rows) == self._flat.num_rows else self._flat.take(pa.array(rows))
        return parse_parquet_table(some, source="", mapping=self._mapping, zone=self._zone).table

    def _meta(self) -> tuple[Any, Any]:
        """Time and service of each row's record, null where it has none."""
        flat, mapping = self._flat, self._mapping
        times = [path for path in mapping.timestamp if path in flat.column_names]
        services = [path for path in mapping.service_name if path in flat.column_names]
        asked = []
        time = service = None
        if times and pa.types.is_timestamp(flat.schema.field(times[0]).type):
            column = flat.column(times[0])
            if not column.null_count and (column.type.tz or not self._zone):
                time = one_array(column.cast(TIME, safe=False))
        if services:
            column = _filled(flat.column(services[0]))
            service = column if not column.null_count else None
        asked += [] if time is not None else times
        asked += [] if service is not None else services
        if asked:
            read = parse_parquet_table(flat.select(asked), source="", mapping=mapping, zone=self._zone).table
            time = one_array(read.column("@timestamp")) if time is None else time
            service = one_array(read.column("service.name")) if service is None else service
        size = flat.num_rows
        return (
            pa.nulls(size, TIME) if time is None else time,
            pa.nulls(size, pa.string()) if service is None else service,
        )


def _masked(bodies: Any) -> pa.DictionaryArray:
    """`bodies` masked, with the blanks that a reader sees: what masking such a line again gives is known."""
    masked = mask(bodies)
    spelt = pc.dictionary_encode(pc.replace_substring(masked.dictionary, JOINED, " "))
    return pa.DictionaryArray.from_arrays(spelt.indices.take(masked.indices), spelt.dictionary)


def _flat(table: pa.Table, mapping: FieldMapping) -> pa.Table:
    """The columns that learning reads, by their dotted names, texts as strings."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    wanted = paths_read(mapping)
    columns: dict[str, Any] = {}
    for name in wanted:
        # The same path may come as a dotted name and out of structs.
        for place in (i for i, known in enumerate(table.column_names) if known == name):
            column = table.column(place)
            if column.null_count == len(column):
                continue
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
                column = column.cast(pa.string())
            columns[name] = pc.coalesce(columns[name], column) if name in columns else column
    if not columns:
        # A table without columns has no rows.
        columns["message"] = pa.nulls(table.num_rows, pa.string())
    return pa.table(columns)


def _first_of(flat: pa.Table, paths: Sequence[str]) -> Any:
    """The first text that each row has at `paths`, or null."""
    found: Any = None
    for path in paths:
        if path not in flat.column_names or (found is not None and not found.null_count):
            continue
        column = flat.column(path)
        texts = _filled(column if pa.types.is_string(column.type) else column.cast(pa.string()))
        found = texts if found is None else pc.coalesce(found, texts)
    return pa.nulls(flat.num_rows, pa.string()) if found is None else found


def _filled(column: Any) -> Any:
    """`column` as one array, empty strings as null."""
    array = one_array(column)
    if not pa.types.is_string(array.type):
        return array
    blank = pc.equal(pc.binary_length(array), 0)
    return pc.if_else(blank, pa.scalar(None, pa.string()), array) if pc.any(blank).as_py() else array


def _bytes_of(texts: Any) -> int:
    """Bytes of the texts themselves: what Arrow keeps beside them depends on how they came."""
    return int(pc.sum(pc.binary_length(texts)).as_py() or 0)


def _micros(times: Any) -> Any:
    """Microseconds since 1970-01-01 UTC, as an Arrow array with nulls."""
    return times.cast(pa.int64())


# ---- from rows to a shard


def _counted(micros: Any, services: Any, lines: Any, candidates: _Candidates, size: int) -> Reduced:
    """The shard of rows whose masked line is known."""
    rows = len(micros)
    is_dated = pc.is_valid(micros).to_numpy(zero_copy_only=False)
    dated = np.flatnonzero(is_dated)
    if not len(dated):
        return Reduced(nothing(), rows, rows, size)
    whole = len(dated) == rows
    times = pc.fill_null(micros, 0).to_numpy(zero_copy_only=False)
    names = pc.dictionary_encode(services)
    # One number for line and service, in the order of day, service and line once the day is in front.
    many = len(lines.dictionary)
    pair = ranks_of(names.dictionary)[names.indices.to_numpy(zero_copy_only=False)] * many
    pair += ranks_of(lines.dictionary)[lines.indices.to_numpy(zero_copy_only=False)]
    slots = times // SLOT_US
    pair_dated, slots = (pair, slots) if whole else (pair[dated], slots[dated])
    low, span = int(slots.min()), int(slots.max() - slots.min()) + 1
    # Counted by hashing, and only what differs is sorted.
    grouped = (
        pa.table({"key": pair_dated * span + (slots - low), "time": times if whole else times[dated]})
        .group_by("key")
        .aggregate([("time", "count"), ("time", "min"), ("time", "max")])
    )
    keys = values_of(grouped, "key")
    pairs, slot = keys // span, keys % span + low
    day = slot // DAY_SLOTS
    order = np.lexsort((slot, pairs, day))
    pairs, slot, day = pairs[order], slot[order], day[order]
    starts = np.flatnonzero(np.diff(pairs, prepend=-1) | np.diff(day, prepend=day[:1] - 1))
    row_of = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(pairs)))
    count, first, last = (values_of(grouped, name)[order] for name in ("time_count", "time_min", "time_max"))
    heads = pairs[starts]
    united = pa.table(
        [
            pa.array(day[starts], pa.int32()),
            _sorted(names.dictionary).take(pa.array(heads // many)),
            _sorted(lines.dictionary).take(pa.array(heads % many)),
            over(np.add, count, starts),
            over(np.minimum, first, starts),
            over(np.maximum, last, starts),
        ],
        schema=LINES,
    )
    counts = pa.table(
        [pa.array(row_of, pa.int32()), pa.array(slot % DAY_SLOTS, pa.int16()), pa.array(count, pa.int64())],
        schema=COUNTS,
    )
    some = np.flatnonzero(is_dated[candidates.rows])
    samples = _samples(pair[candidates.rows[some]], candidates, some, heads)
    return Reduced(Shard(united, counts, samples), rows, rows - len(dated), size)


def _sorted(texts: Any) -> Any:
    return texts.take(pc.sort_indices(texts))


def _samples(
    pair: npt.NDArray[np.int64], candidates: _Candidates, some: npt.NDArray[np.int64], heads: npt.NDArray[np.int64]
) -> pa.Table:
    """Of each service's line the body of the least rank, all digits 0; it goes with the first day of the line.

    `pair` tells the service's line of each of `some` of the candidates, `heads` that of each row of the shard.
    """
    order = np.lexsort((candidates.ranks[some], pair))
    ranks, ordered = candidates.ranks[some][order], pair[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    least = np.repeat(ranks[begins], np.diff(begins, append=len(ordered)))
    # Rows of the same rank: the text decides.
    chosen = np.flatnonzero(ranks == least)
    known, first_row = np.unique(heads, return_index=True)
    rows = first_row[np.searchsorted(known, ordered[chosen])]
    texts = pc.fill_null(candidates.bodies.take(pa.array(some[order[chosen]])), "")
    texts = pc.replace_substring_regex(texts, pattern="[0-9]", replacement="0")
    table = pa.table([pa.array(rows, pa.int32()), pa.array(ranks[chosen], pa.int64()), texts], schema=SAMPLES)
    return least_samples(table)
