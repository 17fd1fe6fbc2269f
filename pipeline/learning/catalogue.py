"""The catalogue: a folder of Parquet files, on any filesystem that fsspec knows, and `catalogue.json`, which is written last.

    catalogue.json          version, totals, dead parts of the archive, sha256 of each file
    templates.parquet       service, template and its parameters' types, lines, first and last seen
    baselines/DAY.parquet   lines of each template and service in each five minutes
    seasonal.parquet        what that makes each hour of the week
    hours.parquet           how often each service was seen at each hour of the week
    lines.parquet           the distinct masked lines that templates are mined from
    samples.parquet         a body of each, all digits 0, from which parameters' types are told
    counts/DAY.parquet      lines of each masked line in each five minutes

The first four are for readers. The last three are what two catalogues are merged from: templates are mined anew over the masked
lines of both, so that nothing is lost by learning in parts. Every file has the schema below, with its version in the metadata.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parsers.tables import TIME
from parsers.template_state import VERSION as MASKS
from parsers.templates import mine_counted, parameter_kinds
from pipeline.errors import UsageError
from pipeline.learning.baselines import Sums, hourly, of_templates, seen_hours, summed
from pipeline.learning.shards import COUNTS, DAY_SLOTS, SLOT_SECONDS, SLOT_US, Shard, numbered, over, values_of
from pipeline.learning.spool import Learnt
from snapshots.model import canonical_json, sha256_hex

VERSION = "1"
MANIFEST = "catalogue.json"
_KEY = b"problem-snapshot.catalogue"
_METADATA = {_KEY: VERSION}
_TEXT = pa.dictionary(pa.int32(), pa.string())
# Samples of a template from which its parameters' types are told.
_MOST_SAMPLES = 64


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields], metadata=_METADATA)


TEMPLATES = _schema(
    ("service", pa.string()),
    ("template_id", pa.string()),
    ("template", pa.string()),
    # Of each `<*>` in turn: what `parsers.parameters` calls the kind of its values.
    ("parameters", pa.list_(pa.string())),
    ("masked_lines", pa.int64()),
    ("lines", pa.int64()),
    ("first_seen", TIME),
    ("last_seen", TIME),
)
BASELINES = _schema(("start", TIME), ("service", _TEXT), ("template_id", _TEXT), ("lines", pa.int64()))
SEASONAL = _schema(
    ("service", _TEXT),
    ("template_id", _TEXT),
    ("hour_of_week", pa.int16()),
    ("hours", pa.int64()),
    ("lines", pa.int64()),
    ("squares", pa.float64()),
)
HOURS = _schema(("service", pa.string()), ("hour_of_week", pa.int16()), ("hours", pa.int64()), ("slots", pa.int64()))
LINES = _schema(
    ("service", pa.string()),
    ("line", pa.string()),
    ("template_id", pa.string()),
    # The template's tokens as `parsers.templates` has them.
    ("shape", pa.string()),
    ("lines", pa.int64()),
    ("first_seen", TIME),
    ("last_seen", TIME),
)
# `line` is the row of LINES.
SAMPLES = _schema(("line", pa.int32()), ("rank", pa.int64()), ("text", pa.string()))
COUNTED = _schema(("line", pa.int32()), ("slot", pa.int16()), ("lines", pa.int64()))


class Dead(msgspec.Struct, frozen=True, order=True):
    """A part of the archive that could not be read, and why."""

    what: str
    reason: str


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: `rows` lines, of which `undated` have no time and are in no table; bytes of messages; dead parts."""

    rows: int = 0
    undated: int = 0
    message_bytes: int = 0
    dead: tuple[Dead, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            rows=self.rows + other.rows,
            undated=self.undated + other.undated,
            message_bytes=self.message_bytes + other.message_bytes,
            dead=tuple(sorted({*self.dead, *other.dead})),
        )


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`catalogue.json`. `start` and `end` are the first and the last line's time, RFC 3339 in UTC.

    `approximate` counts the lines whose rare words became wildcards before they were mined, since there were too many distinct
    ones (see `parsers.templates.MOST_FOLDED`). `digest` is the sha256 of all else.
    """

    version: str = VERSION
    masks: str = MASKS
    slot_seconds: int = SLOT_SECONDS
    tally: Tally
    lines: int
    masked_lines: int
    templates: int
    approximate: int
    services: tuple[str, ...]
    start: str | None
    end: str | None
    days: tuple[str, ...]
    files: dict[str, str]
    digest: str = ""


@dataclass(frozen=True)
class Catalogue:
    """An opened catalogue. Files are read when they are asked for."""

    place: str
    manifest: Manifest
    _lines: list[pa.Table] = field(default_factory=list, compare=False, repr=False)

    def lines(self) -> pa.Table:
        """Its masked lines, kept in memory once they are read."""
        if not self._lines:
            self._lines.append(self.table("lines.parquet", LINES))
        return self._lines[0]

    def table(self, name: str, schema: pa.Schema) -> pa.Table:
        """One of its files. Raises `UsageError` where it is not what the manifest says."""
        try:
            content = _read(self.place, name)
        except OSError as error:
            raise UsageError(f"{self.place}: {name} cannot be read: {error}; learn it again") from error
        if hashlib.sha256(content).hexdigest() != self.manifest.files.get(name):
            raise UsageError(f"{self.place}: {name} is not the file that was written; learn it again")
        table = pq.read_table(io.BytesIO(content))
        if (table.schema.metadata or {}).get(_KEY, b"").decode() != VERSION or table.schema.names != schema.names:
            raise UsageError(f"{self.place}: {name} has other columns than this version's; learn it again")
        return table.cast(schema)

    def days(self) -> Sequence[int]:
        """Its days, counted from 1970-01-01."""
        return [(date.fromisoformat(name) - date(1970, 1, 1)).days for name in self.manifest.days]

    def overall(self) -> Shard:
        """See `pipeline.learning.spool.Learnt`."""
        lines = self.lines()
        samples = self.table("samples.parquet", SAMPLES)
        keys = pa.table(
            {
                "day": pa.array(np.zeros(lines.num_rows, np.int32)),
                "service": lines.column("service"),
                "line": lines.column("line"),
                "lines": lines.column("lines"),
                "first": lines.column("first_seen").cast(pa.int64()),
                "last": lines.column("last_seen").cast(pa.int64()),
            }
        )
        samples = samples.rename_columns(["row", "rank", "text"]).replace_schema_metadata(None)
        return Shard(keys, COUNTS.empty_table(), _nullable(samples))

    def day(self, day: int) -> Shard:
        """See `pipeline.learning.spool.Learnt`."""
        counts = self.table(f"counts/{_named(day)}.parquet", COUNTED)
        used, rows = np.unique(values_of(counts, "line"), return_inverse=True)
        lines = self.lines().select(["service", "line"]).take(pa.array(used))
        zeros = pa.array(np.zeros(len(used), np.int64))
        keys = pa.table(
            {
                "day": pa.array(np.full(len(used), day, np.int32)),
                "service": lines.column("service"),
                "line": lines.column("line"),
                "lines": zeros,
                "first": zeros,
                "last": zeros,
            }
        )
        moved = pa.table(
            {"row": pa.array(rows, pa.int32()), "slot": counts.column("slot"), "lines": counts.column("lines")}
        )
        return Shard(keys, moved, _nullable(SAMPLES.empty_table().rename_columns(["row", "rank", "text"])))


def open_catalogue(place: str) -> Catalogue:
    """The catalogue in the folder `place`, a path or URL. Raises `UsageError` where there is none that this version can read."""
    try:
        content = _read(place, MANIFEST)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"{place}: no catalogue is there ({error}); `problem-snapshot learn` makes one") from error
    again = "learn it again with this version"
    try:
        said = msgspec.json.decode(content, type=dict[str, Any])
        if said.get("version") != VERSION or said.get("masks") != MASKS or said.get("slot_seconds") != SLOT_SECONDS:
            raise UsageError(
                f"{place}: a catalogue of version {said.get('version')!r} with masks {said.get('masks')!r}; this is "
                f"{VERSION!r} with {MASKS!r}: {again}"
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise UsageError(f"{place}: {MANIFEST} is damaged: {error}; {again}") from error
    if _digest(manifest) != manifest.digest:
        raise UsageError(f"{place}: {MANIFEST} was changed by hand or damaged; {again}")
    return Catalogue(place, manifest)


def check_target(place: str, *, replace: bool) -> None:
    """Raises `UsageError` where a catalogue is there that is not to be replaced."""
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(place)
        there = filesystem.exists(posixpath.join(root, MANIFEST))
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"{place}: cannot be written to: {error}") from error
    if there and not replace:
        raise UsageError(f"{place}: a catalogue is there already; name another folder, or give --replace")


def write_catalogue(learnt: Learnt, tally: Tally, place: str) -> Manifest:
    """Mines the templates of `learnt` and writes the catalogue to the folder `place`. Raises `UsageError` where it cannot.

    What is written depends on the lines alone. Until the manifest is written, which is last, there is no catalogue.
    """
    writer = _Writer(place)
    overall = learnt.overall()
    keys = overall.lines
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
    manifest = msgspec.structs.replace(manifest, digest=_digest(manifest))
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
    mined = mine_counted(texts, values_of(total, "lines"))
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
        writer.write(f"counts/{_named(day)}.parquet", counts.cast(COUNTED))
        by_template = of_templates(counts, template_of)
        writer.write(f"baselines/{_named(day)}.parquet", _baseline(by_template, day, services, ids))
        seasonal.add(hourly(by_template, day))
        hours.add(seen_hours(by_template, day, service_of, first, last))
        yield _named(day)
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


def _nullable(table: pa.Table) -> pa.Table:
    """`table` with the fields as shards have them."""
    return table.cast(pa.schema([pa.field(field.name, field.type) for field in table.schema]))


# ---- files


class _Writer:
    """Writes the files of one catalogue and keeps their digests."""

    def __init__(self, place: str) -> None:
        import fsspec

        self.place = place
        self.files: dict[str, str] = {}
        self.bytes = 0
        with self._told():
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
        self._put(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2) + b"\n")

    def _put(self, name: str, content: bytes) -> None:
        target = posixpath.join(self._root, name)
        with self._told():
            self._filesystem.makedirs(posixpath.dirname(target), exist_ok=True)
            with self._filesystem.open(target, "wb") as file:
                file.write(content)

    def _told(self) -> Any:
        return _Told(self.place)


class _Told:
    """Foreign errors of writing as ours."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        """Nothing yet."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raises `UsageError` for what the filesystem raises."""
        if isinstance(error, OSError | ValueError | ImportError):
            raise UsageError(f"{self._place}: cannot be written to: {error}") from error


def _read(place: str, name: str) -> bytes:
    import fsspec

    filesystem, root = fsspec.core.url_to_fs(place)
    return bytes(filesystem.cat_file(posixpath.join(root, name)))


def _digest(manifest: Manifest) -> str:
    return sha256_hex(canonical_json(msgspec.structs.replace(manifest, digest="")))


def _named(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def _z(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
