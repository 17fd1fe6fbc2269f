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
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from parsers.tables import TIME
from parsers.template_state import VERSION as MASKS
from pipeline.errors import UsageError
from pipeline.learning.shards import COUNTS, SLOT_SECONDS, Shard, values_of
from snapshots.model import canonical_json, sha256_hex

VERSION = "1"
MANIFEST = "catalogue.json"
_KEY = b"problem-snapshot.catalogue"
_METADATA = {_KEY: VERSION}
_TEXT = pa.dictionary(pa.int32(), pa.string())


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
        counts = self.table(f"counts/{name_of(day)}.parquet", COUNTED)
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
    if digest_of(manifest) != manifest.digest:
        raise UsageError(f"{place}: {MANIFEST} was changed by hand or damaged; {again}")
    return Catalogue(place, manifest)


# ---- files


def _read(place: str, name: str) -> bytes:
    import fsspec

    filesystem, root = fsspec.core.url_to_fs(place)
    return bytes(filesystem.cat_file(posixpath.join(root, name)))


def manifest_json(manifest: Manifest) -> bytes:
    """`catalogue.json`: sorted keys, indented, a line break at its end."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2) + b"\n"


def digest_of(manifest: Manifest) -> str:
    """The sha256 of all that the manifest says, but for its `digest`."""
    return sha256_hex(canonical_json(msgspec.structs.replace(manifest, digest="")))


def name_of(day: int) -> str:
    """The name of a day, which counts from 1970-01-01: `2026-11-23`."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def _nullable(table: pa.Table) -> pa.Table:
    """`table` with the fields as shards have them."""
    return table.cast(pa.schema([pa.field(field.name, field.type) for field in table.schema]))
