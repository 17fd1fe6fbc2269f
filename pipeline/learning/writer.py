"""Writing a catalogue: templates are mined over the masked lines of all services, then the days follow one after the other."""

from __future__ import annotations

import contextlib
import hashlib
import io
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parsers.tables import TIME
from parsers.templates import mine_counted, parameter_kinds
from pipeline.errors import UsageError
from pipeline.learning.baselines import Sums, hourly, of_templates, seen_hours, summed
from pipeline.learning.catalogue import (
    BASELINES,
    COUNTED,
    HOURS,
    LINES,
    MANIFEST,
    SAMPLES,
    SEASONAL,
    TEMPLATES,
    Manifest,
    Tally,
    digest_of,
    manifest_json,
    name_of,
)
from pipeline.learning.shards import DAY_SLOTS, SLOT_US, Shard, check_text, numbered, over, too_much_text, values_of
from pipeline.learning.spool import Learnt

# Samples of a template from which its parameters' types are told.
_MOST_SAMPLES = 64


def check_target(place: str, *, replace: bool) -> None:
    """Raises `UsageError` where a catalogue is there that is not to be replaced."""
    import fsspec

    with _told(place):
        filesystem, root = fsspec.core.url_to_fs(place)
        there = filesystem.exists(posixpath.join(root, MANIFEST))
    if there and not replace:
        raise UsageError(f"{place}: a catalogue is there already; name another folder, or give --replace")


def write_catalogue(learnt: Learnt, tally: Tally, place: str) -> Manifest:
    """Mines the templates of `learnt` and writes the catalogue to the folder `place`. Raises `UsageError` where it cannot.

    What is written depends on the lines alone. Until the manifest is written, which is last, there is no catalogue.
    """
    overall = learnt.overall()
    keys = overall.lines
    # Side by side they tell the places of lines, see `_places`.
    check_text(keys.column("line"), keys.column("service"))
    mined = _mined(keys)
    lines = pa.table(
        [
            keys.column("service"),
            keys.column("line"),
            mined.ids,
            mined.shapes,
            keys.column("lines"),
            keys.column("first").cast(pa.timestamp("us")).cast(TIME),
            keys.column("last").cast(pa.timestamp("us")).cast(TIME),
        ],
        schema=LINES,
    )
    templates, template_of = _templates(lines, mined.text_of, overall.samples)
    # What was there before goes when it is known that there will be something in its place.
    writer = _Writer(place)
    writer.write("lines.parquet", lines)
    writer.write("samples.parquet", overall.samples.rename_columns(["line", "rank", "text"]).cast(SAMPLES))
    writer.write("templates.parquet", templates)
    days = _write_days(learnt, lines, templates, template_of, writer)
    spans = pc.min_max(lines.column("first_seen")), pc.min_max(lines.column("last_seen"))
    manifest = Manifest(
        tally=tally,
        lines=int(values_of(lines, "lines").sum()),
        masked_lines=len(pc.unique(lines.column("line"))),
        templates=len(pc.unique(templates.column("template_id"))),
        approximate=mined.approximate,
        services=tuple(sorted(pc.unique(lines.column("service")).to_pylist())),
        start=_z(spans[0]["min"].as_py()),
        end=_z(spans[1]["max"].as_py()),
        days=tuple(days),
        files=dict(sorted(writer.files.items())),
    )
    manifest = msgspec.structs.replace(manifest, digest=digest_of(manifest))
    writer.finish(manifest)
    return manifest


# ---- templates


@dataclass(frozen=True)
class _Mined:
    """Template ids and shapes, one a row of the lines; the text of each id."""

    ids: pa.Array
    shapes: pa.Array
    text_of: dict[str, str]
    approximate: int


def _mined(keys: pa.Table) -> _Mined:
    """One mining over the masked lines of all services."""
    total = summed(keys, ["line"], ["lines"]) if keys.num_rows else keys.select(["line", "lines"])
    texts = total.column("line").combine_chunks().cast(pa.string())
    try:
        mined = mine_counted(texts, values_of(total, "lines"))
    except (OverflowError, pa.ArrowCapacityError) as error:
        # What is made of a line meanwhile may be longer than it.
        raise too_much_text(f"{len(texts):,} masked lines are too long together ({error})") from error
    at = pc.index_in(keys.column("line").combine_chunks(), value_set=texts)
    ids = mined.template_ids.cast(pa.string())
    shapes = mined.lines.column("shape").combine_chunks().cast(pa.string())
    return _Mined(ids.take(at), shapes.take(at), {one.id: one.text for one in mined.templates}, mined.approximate)


def _templates(lines: pa.Table, text_of: dict[str, str], samples: pa.Table) -> tuple[pa.Table, Any]:
    """TEMPLATES, and for each line the row of its service's template."""
    order, starts, number = numbered(lines, ["service", "template_id"])
    head = lines.take(pa.array(order[starts]))
    ids = head.column("template_id").to_pylist()
    firsts, lasts = values_of(lines, "first_seen"), values_of(lines, "last_seen")
    of_sample = number[values_of(samples, "row")]
    by_template = np.argsort(of_sample, kind="stable")
    # Of each template the first so many, in the order of its lines.
    place = np.arange(len(by_template)) - np.searchsorted(of_sample[by_template], of_sample[by_template])
    chosen = by_template[place < _MOST_SAMPLES]
    names = [text_of[one] for one in ids]
    texts = samples.column("text").combine_chunks().take(pa.array(chosen))
    kinds = parameter_kinds(texts, names, of_sample[chosen].tolist())
    table = pa.table(
        [
            head.column("service"),
            pa.array(ids, pa.string()),
            pa.array(names, pa.string()),
            pa.array(kinds, pa.list_(pa.string())),
            np.diff(starts, append=len(order)),
            over(np.add, values_of(lines, "lines")[order], starts),
            pa.array(over(np.minimum, firsts[order], starts), pa.int64()).cast(pa.timestamp("us")).cast(TIME),
            pa.array(over(np.maximum, lasts[order], starts), pa.int64()).cast(pa.timestamp("us")).cast(TIME),
        ],
        schema=TEMPLATES,
    )
    return table, number


# ---- counts


def _write_days(
    learnt: Learnt, lines: pa.Table, templates: pa.Table, template_of: Any, writer: _Writer
) -> Iterator[str]:
    """Writes counts and baselines a day at a time, and what they make an hour of the week; gives the days' names."""
    services = templates.column("service").combine_chunks().dictionary_encode()
    service_of = services.indices.to_numpy(zero_copy_only=False)
    ids = templates.column("template_id").combine_chunks().dictionary_encode()
    first, last = (
        over(function, values_of(table, "slot")[order], starts)
        for function, table, order, starts in _ends(templates, service_of)
    )
    seasonal = Sums(["template", "hour_of_week"], ["hours", "lines", "squares"])
    hours = Sums(["service", "hour_of_week"], ["hours", "slots"])
    known = _places(lines)
    for day in learnt.days():
        counts = _of_lines(learnt.day(day), known)
        writer.write(f"counts/{name_of(day)}.parquet", counts.cast(COUNTED))
        by_template = of_templates(counts, template_of)
        writer.write(f"baselines/{name_of(day)}.parquet", _baseline(by_template, day, services, ids))
        seasonal.add(hourly(by_template, day))
        hours.add(seen_hours(by_template, day, service_of, first, last))
        yield name_of(day)
    table = seasonal.total()
    row = pa.array(values_of(table, "template"), pa.int64())
    writer.write(
        "seasonal.parquet",
        pa.table(
            [
                _coded(services, row),
                _coded(ids, row),
                table.column("hour_of_week").cast(pa.int16()),
                table.column("hours"),
                table.column("lines"),
                table.column("squares").cast(pa.float64()),
            ],
            schema=SEASONAL,
        ),
    )
    table = hours.total()
    names = services.dictionary.take(pa.array(values_of(table, "service"), pa.int64()))
    writer.write(
        "hours.parquet",
        pa.table(
            [names, table.column("hour_of_week").cast(pa.int16()), table.column("hours"), table.column("slots")],
            schema=HOURS,
        ),
    )


def _ends(templates: pa.Table, service_of: Any) -> Iterator[tuple[Any, pa.Table, Any, Any]]:
    """What is needed to find the first and the last slot of each service."""
    for function, name in ((np.minimum, "first_seen"), (np.maximum, "last_seen")):
        table = pa.table({"service": service_of.astype(np.int64), "slot": values_of(templates, name) // SLOT_US})
        order, starts, _ = numbered(table, ["service"])
        yield function, table, order, starts


def _places(lines: pa.Table) -> pa.Array:
    """Service and masked line of each row as one text: it has no line break, since neither has one."""
    return pc.binary_join_element_wise(lines.column("service"), lines.column("line"), "\n").combine_chunks()


def _of_lines(shard: Shard, known: pa.Array) -> pa.Table:
    """A day's counts by the row of the lines."""
    at = pc.index_in(_places(shard.lines), value_set=known).to_numpy(zero_copy_only=False)
    return pa.table(
        {
            "line": pa.array(at[values_of(shard.counts, "row")], pa.int32()),
            "slot": shard.counts.column("slot"),
            "lines": shard.counts.column("lines"),
        }
    )


def _baseline(counts: pa.Table, day: int, services: pa.DictionaryArray, ids: pa.DictionaryArray) -> pa.Table:
    row = pa.array(values_of(counts, "template"), pa.int64())
    starts = (values_of(counts, "slot") + day * DAY_SLOTS) * SLOT_US
    return pa.table(
        [
            pa.array(starts, pa.int64()).cast(pa.timestamp("us")).cast(TIME),
            _coded(services, row),
            _coded(ids, row),
            counts.column("lines"),
        ],
        schema=BASELINES,
    )


def _coded(values: pa.DictionaryArray, rows: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(values.indices.take(rows), values.dictionary)


# ---- files


def _z(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


class _Writer:
    """Writes the files of one catalogue and keeps their digests."""

    def __init__(self, place: str) -> None:
        import fsspec

        self.place = place
        self.files: dict[str, str] = {}
        with _told(self.place):
            self._filesystem, self._root = fsspec.core.url_to_fs(place)
            # A catalogue that is replaced is none until it is whole again; days that it had beside ours must not stay.
            for name in (MANIFEST, "counts", "baselines"):
                old = posixpath.join(self._root, name)
                if self._filesystem.exists(old):
                    self._filesystem.rm(old, recursive=True)

    def write(self, name: str, table: pa.Table) -> None:
        """One table."""
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        content = sink.getvalue()
        self.files[name] = hashlib.sha256(content).hexdigest()
        self._put(name, content)

    def finish(self, manifest: Manifest) -> None:
        """The manifest, which makes it a catalogue."""
        self._put(MANIFEST, manifest_json(manifest))

    def _put(self, name: str, content: bytes) -> None:
        target = posixpath.join(self._root, name)
        with _told(self.place):
            self._filesystem.makedirs(posixpath.dirname(target), exist_ok=True)
            with self._filesystem.open(target, "wb") as file:
                file.write(content)


@contextlib.contextmanager
def _told(place: str) -> Iterator[None]:
    """Foreign errors of writing as ours."""
    try:
        yield
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"{place}: cannot be written to: {error}") from error
