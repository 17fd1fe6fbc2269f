"""Work units: the parts of an archive that are read by themselves, by whoever is free.

A unit is a few row groups of a Parquet file, a file of JSON lines (of a large one without compression a stretch of its bytes), or
a stretch of time of an Elasticsearch source. Which units there are follows from the files' footers and sizes, or from one request
that counts; a unit is small to send, and whoever reads it opens the file itself. A unit is read whole or counted as dead.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa

from parsers.mapping import PRESETS
from pipeline.errors import SnapshotError, SourceError, UsageError
from pipeline.learning.reduced import Reduced, paths_read, reduced, reduced_logs
from pipeline.learning.shards import Shard, nothing, unite

# Rows of a batch: enough that what is done once a batch does not count, and at most so many bytes of memory.
_ROWS = 1 << 20
_BYTES = 256 << 20
# Bytes of a file of JSON lines that are one unit, where its bytes can be read from anywhere.
_STRETCH = 256 << 20
_BLOCK = 32 << 20
# Lines of an Elasticsearch source that are one unit, and the longest stretch where it does not count.
_LINES = 500_000
_BLIND = timedelta(hours=1)
_SECONDS = 600.0

_PARQUET = (".parquet", ".pq")
_JSON_LINES = (".ndjson", ".jsonl", ".json")


class UnitFailed(SnapshotError):
    """A unit that cannot be read: it is counted and named, and the others go on."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what, self.reason = what, reason


class Unit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of an archive.

    `start` and `end` are row groups of a Parquet file, bytes of JSON lines (`end` -1: to the end), or microseconds since
    1970-01-01 UTC. `source` names a source of the configuration file `config` in its `profile`: whoever reads it looks up the
    address and the secrets where it runs. `mapping` is a preset of `parsers.mapping`, `zone` that of times without one.
    """

    kind: Literal["parquet", "lines", "source"]
    path: str = ""
    start: int = 0
    end: int = -1
    source: str = ""
    config: str | None = None
    profile: str | None = None
    mapping: Literal["auto", "ecs", "otel", "logstash"] = "auto"
    zone: str | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        if self.kind == "source":
            return f"{self.source} from {_moment(self.start)} to {_moment(self.end)}"
        if self.kind == "parquet":
            some = (
                f"row group {self.start}"
                if self.end == self.start + 1
                else f"row groups {self.start} to {self.end - 1}"
            )
            return f"{shown(self.path)}, {some}" if self.end >= 0 else shown(self.path)
        return shown(self.path) if self.end < 0 else f"{shown(self.path)}, bytes {self.start:,} to {self.end:,}"


@dataclass(frozen=True)
class Listed:
    """The files of an archive, sorted, and how many others lie beside them that nothing here reads."""

    files: tuple[str, ...]
    others: tuple[str, ...]


def encode_unit(unit: Unit) -> bytes:
    """`unit` as JSON."""
    return msgspec.json.encode(unit)


def decode_unit(content: bytes | str) -> Unit:
    """What `encode_unit` was given."""
    return msgspec.json.decode(content, type=Unit)


# ---- which units there are


def list_files(archives: Sequence[str]) -> Listed:
    """The files of `archives`: files, folders, patterns with `*`, each a path or a URL that fsspec knows. Raises `UsageError`."""
    import fsspec

    files: dict[str, None] = {}
    others: dict[str, None] = {}
    for archive in archives:
        try:
            filesystem, place = fsspec.core.url_to_fs(archive)
            if any(sign in place for sign in "*?["):
                found, asked = sorted(filesystem.glob(place)), False
            elif filesystem.isdir(place):
                found, asked = sorted(filesystem.find(place)), False
            else:
                found, asked = [place] if filesystem.exists(place) else [], True
        except (OSError, ValueError, ImportError) as error:
            raise UsageError(f"{shown(archive)}: cannot be listed: {_reason(error)}") from error
        if not found:
            raise UsageError(f"{shown(archive)}: there is no such file or folder, or nothing in it")
        local = "file" in _protocols(filesystem)
        for name in found:
            url = name if local else filesystem.unstrip_protocol(name)
            kind = _kind(name)
            if kind is None and asked:
                raise UsageError(
                    f"{shown(archive)}: what it is cannot be told by its name; archives are .parquet, .ndjson, .jsonl or .json, "
                    "these also with .gz"
                )
            (others if kind is None else files)[url] = None
    return Listed(tuple(sorted(files)), tuple(sorted(others)))


def units_of(path: str, *, mapping: str = "auto", zone: str | None = None) -> list[Unit]:
    """The units of one file. Raises `UnitFailed` where it cannot be opened."""
    given: dict[str, Any] = {"path": path, "mapping": mapping, "zone": zone}
    try:
        with _opened(path) as file:
            if _kind(path) == "parquet":
                return [Unit(kind="parquet", start=a, end=b, **given) for a, b in _row_groups(file)]
            if path.lower().endswith(".gz"):
                return [Unit(kind="lines", **given)]
            size = file.seek(0, os.SEEK_END)
    except _UNREADABLE as error:
        raise UnitFailed(shown(path), _reason(error)) from error
    if size <= _STRETCH:
        return [Unit(kind="lines", **given)]
    return [Unit(kind="lines", start=at, end=min(at + _STRETCH, size), **given) for at in range(0, size, _STRETCH)]


def units_of_source(
    name: str, start: datetime, end: datetime, *, config: Path | None = None, profile: str | None = None
) -> list[Unit]:
    """The units of the Elasticsearch source `name` between two moments, by what it counts. Raises `SourceError`, `UsageError`."""
    import time

    from pipeline.values import Ask, Span

    given: dict[str, Any] = {"source": name, "config": str(config) if config else None, "profile": profile}
    source = _source(name, given["config"], profile)
    units: list[Unit] = []
    begin = start
    while begin < end:
        # A day at a time: so many counts come in one answer.
        until = min(begin + timedelta(days=1), end)
        ask = Ask("logs", Span(begin, until), limit=1_000_000, deadline=time.monotonic() + _SECONDS)
        plan = source.explain(ask)[0]
        edges = [begin]
        if plan is None:
            edges += [begin + _BLIND * n for n in range(1, int((until - begin) / _BLIND) + 1)]
        else:
            rows = 0
            for minute in plan.minutes:
                moment = datetime.fromisoformat(minute.start)
                if rows and rows + minute.rows > _LINES and moment > edges[-1]:
                    edges.append(moment)
                    rows = 0
                rows += minute.rows
        edges = [edge for edge in edges if edge < until] + [until]
        units += [Unit(kind="source", start=_micros(a), end=_micros(b), **given) for a, b in pairwise(edges)]
        begin = until
    return units


def _row_groups(file: Any) -> Iterator[tuple[int, int]]:
    """Stretches of row groups that are read together: as many as make a batch."""
    import pyarrow.parquet as pq

    metadata = pq.ParquetFile(file).metadata
    start = rows = size = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if number > start and (rows + group.num_rows > _ROWS or size + group.total_byte_size > _BYTES):
            yield start, number
            start, rows, size = number, 0, 0
        rows += group.num_rows
        size += group.total_byte_size
    if metadata.num_row_groups:
        yield start, metadata.num_row_groups


# ---- reading one


def read_unit(unit: Unit) -> Reduced:
    """The shard of one unit. Raises `UnitFailed`, which names it and says why."""
    try:
        parts = list(_parts(unit))
    except (*_UNREADABLE, SourceError, UsageError) as error:
        raise UnitFailed(unit.name, _reason(error)) from error
    shards: list[Shard] = [part.shard for part in parts]
    return Reduced(
        shards[0] if len(shards) == 1 else unite(shards) if shards else nothing(),
        sum(part.rows for part in parts),
        sum(part.undated for part in parts),
        sum(part.size for part in parts),
    )


def _parts(unit: Unit) -> Iterator[Reduced]:
    mapping = PRESETS[unit.mapping]
    zone = ZoneInfo(unit.zone) if unit.zone else None
    match unit.kind:
        case "parquet":
            for table in _batches(unit):
                yield reduced(table, mapping=mapping, zone=zone)
        case "lines":
            for block in _blocks(unit):
                yield _of_lines(block, unit)
        case "source":
            yield _of_source(unit)


def _batches(unit: Unit) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    wanted = set(paths_read(PRESETS[unit.mapping]))
    with _opened(unit.path, native=True) as file:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        names = [
            name for name in parquet.schema_arrow.names if any(p == name or p.startswith(f"{name}.") for p in wanted)
        ]
        groups = range(unit.start, unit.end)
        metadata = parquet.metadata
        rows = sum(metadata.row_group(number).num_rows for number in groups)
        size = sum(metadata.row_group(number).total_byte_size for number in groups)
        most = max(1, min(_ROWS, int(_BYTES * rows / max(1, size))))
        for batch in parquet.iter_batches(batch_size=most, row_groups=list(groups), columns=names):
            yield pa.Table.from_batches([batch])


def _blocks(unit: Unit) -> Iterator[bytes]:
    """Blocks of whole lines. A line belongs to the stretch in which it begins."""
    with _opened(unit.path) as raw:
        file: Any = gzip.GzipFile(fileobj=raw) if unit.path.lower().endswith(".gz") else raw
        at, end = unit.start, unit.end if unit.end >= 0 else sys.maxsize
        if at:
            # From the byte before, so that a line that begins at `start` is this unit's.
            file.seek(at - 1)
            at += len(file.readline()) - 1
        rest = b""
        while at < end and (block := file.read(min(_BLOCK, end - at))):
            at += len(block)
            block = rest + block
            cut = block.rfind(b"\n") + 1
            rest = block[cut:]
            if cut:
                yield block[:cut]
        if rest:
            yield rest + file.readline()


def _of_lines(block: bytes, unit: Unit) -> Reduced:
    """A block of JSON lines: read as columns, or line by line where the lines do not agree on what the fields are."""
    import pyarrow.json as pj

    mapping = PRESETS[unit.mapping]
    zone = ZoneInfo(unit.zone) if unit.zone else None
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    try:
        table = pj.read_json(io.BytesIO(block), read_options=pj.ReadOptions(block_size=len(block) + 1))
    except (pa.ArrowException, ValueError):
        table = None
    if table is not None and table.num_rows == lines and _plain(table, unit):
        return reduced(_without_envelope(table), mapping=mapping, zone=zone)
    from parsers.documents.parsing import parse_documents

    parsed = parse_documents(block, source="", mapping=mapping, zone=zone)
    made = reduced_logs(parsed.table)
    return Reduced(made.shard, made.rows + parsed.duplicates, made.undated, made.size)


def _plain(table: pa.Table, unit: Unit) -> bool:
    """Whether what Arrow took the fields for loses nothing: it reads texts that look like times as times, without their zone."""
    flat = _without_envelope(table)
    while any(pa.types.is_struct(field.type) for field in flat.schema):
        flat = flat.flatten()
    mapping = PRESETS[unit.mapping]
    wanted = {path: path in mapping.timestamp and not unit.zone for path in paths_read(mapping)}
    return not any(
        pa.types.is_list(field.type) or (pa.types.is_timestamp(field.type) and not wanted[field.name])
        for field in flat.schema
        if field.name in wanted
    )


def _without_envelope(table: pa.Table) -> pa.Table:
    """The fields of documents that came as hits, `{"_source": {...}}`."""
    if "_source" not in table.column_names or not pa.types.is_struct(table.schema.field("_source").type):
        return table
    inside = table.select(["_source"]).flatten()
    return inside.rename_columns([name.removeprefix("_source.") for name in inside.column_names])


def _of_source(unit: Unit) -> Reduced:
    import time

    from parsers.mapping import source_fields
    from pipeline.values import Ask, Span

    source = _source(unit.source, unit.config, unit.profile)
    wanted = set(paths_read(source.mapping))
    fields = [path for path in source_fields(source.mapping) if path in wanted]
    ask = Ask("logs", Span(_at(unit.start), _at(unit.end)), deadline=time.monotonic() + _SECONDS)
    return reduced(source.columns(ask, fields), mapping=source.mapping, zone=source.zone())


@lru_cache(maxsize=8)
def _source(name: str, config: str | None, profile: str | None) -> Any:
    """The Elasticsearch source of that name, once a process."""
    from pipeline.settings import load_settings
    from pipeline.sources import open_source
    from pipeline.sources.elasticsearch import ElasticsearchSource

    settings = load_settings(Path(config) if config else None, profile)
    if name not in settings.sources:
        known = ", ".join(sorted(settings.sources)) or "none"
        raise UsageError(f"there is no source {name!r} (profile {settings.profile}); there are: {known}")
    source = open_source(name, settings.sources[name])
    if not isinstance(source, ElasticsearchSource):
        raise UsageError(f"the source {name!r} is no Elasticsearch; archives of other kinds are given as files")
    return source


# ---- files


_UNREADABLE = (OSError, EOFError, zlib.error, pa.ArrowException, ValueError, OverflowError, ImportError)


def _opened(path: str, *, native: bool = False) -> Any:
    """The file, to be read by Python, or, with `native`, by Arrow: of this machine then without Python in between."""
    import fsspec

    filesystem, place = fsspec.core.url_to_fs(path)
    if native and "file" in _protocols(filesystem):
        return pa.OSFile(place, "rb")
    return filesystem.open(place, "rb")


def _kind(name: str) -> Literal["parquet", "lines"] | None:
    plain = name.lower()
    if plain.rsplit("/", 1)[-1].startswith((".", "_")):
        # What writers leave beside their files: _SUCCESS, .crc, _metadata.
        return None
    if plain.endswith(_PARQUET):
        return "parquet"
    return "lines" if plain.removesuffix(".gz").endswith(_JSON_LINES) else None


def _protocols(filesystem: Any) -> Iterable[str]:
    return (filesystem.protocol,) if isinstance(filesystem.protocol, str) else filesystem.protocol


def shown(path: str) -> str:
    """A path or URL without its login."""
    from pipeline.secrets import without_login

    return without_login(path)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


def _micros(moment: datetime) -> int:
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


def _at(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def _moment(micros: int) -> str:
    return _at(micros).isoformat().replace("+00:00", "Z")
