"""What was collected for a ticket, written as a bundle."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.compute as pc

from parsers.order_events import write_orders_csv
from parsers.tables import LOGS
from parsers.traces.otlp import write_otlp
from pipeline.errors import UsageError
from pipeline.sources.bundle.layout import MANIFEST, ORDERS, TICKET
from pipeline.sources.bundle.words import reason_of, stamp
from pipeline.values import Material
from snapshots.model import sha256_hex


def write_bundle(
    path: str | os.PathLike[str],
    ticket: Mapping[str, Any],
    material: Material,
    *,
    tool_version: str,
    redaction: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """What was collected for a ticket, as a bundle at `path`: a folder, or a zip where the name ends in `.zip`.

    The tables hold what was parsed, not the sources' own records, so the log documents are written anew from the
    columns; read back they give the same tables, but other sha256 (the manifest says so). Equal material gives equal
    bytes. The bundle appears whole or not at all. Raises `UsageError` where `path` exists (unless `overwrite`) or cannot
    be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists already: choose another name or ask to overwrite it")
    parts: dict[str, bytes] = {TICKET: _pretty(dict(ticket))}
    if material.logs.num_rows:
        parts["logs/part-0.ndjson.gz"] = _gzip(b"".join(_documents(material.logs)))
    if material.spans.num_rows:
        parts["traces/spans.json"] = write_otlp(material.spans)
    if material.order_events.num_rows:
        parts[ORDERS[0]] = write_orders_csv(material.order_events)
    parts[MANIFEST] = _pretty(_manifest(parts, material, tool_version, redaction))
    try:
        if target.suffix.lower() == ".zip":
            _place_file(target, _zipped(parts))
        else:
            _place_folder(target, parts)
    except OSError as error:
        raise UsageError(f"the bundle {target} cannot be written ({reason_of(error)})") from error
    return target


def _pretty(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=1) + b"\n"


def _gzip(data: bytes) -> bytes:
    """`data` as gzip without a time in its header, so that equal data is equal bytes."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


# `body` follows from the message whenever that is read; where a row came from is not part of it.
_WRITTEN = [
    *("_index", "_id"),
    *(name for name in LOGS.names if name not in ("_index", "_id", "_source", "body", "log.length")),
]


def _documents(logs: Any) -> Iterator[bytes]:
    """LOGS as ECS documents, one a line, named by `_id`."""
    for number, row in enumerate(_rows(logs.select(_WRITTEN))):
        file, offset = row.pop("log.file.path"), row.pop("log.offset")
        if row["_id"] is None:
            # A line without an id is cited by its place; written anew it has another, so the old place becomes its id.
            row["_id"] = f"{file}:{offset}" if file is not None and offset is not None else f"row:{number}"
        if row["@timestamp"] is not None:
            row["@timestamp"] = stamp(row["@timestamp"])
        yield msgspec.json.encode({name: value for name, value in row.items() if value is not None}) + b"\n"


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=65_536):
        yield from batch.to_pylist()


def _manifest(
    parts: Mapping[str, bytes], material: Material, tool_version: str, redaction: Mapping[str, Any] | None
) -> dict[str, Any]:
    tables = {"logs": material.logs, "spans": material.spans, "order_events": material.order_events}
    sources: Collection[str] = {
        name for table in tables.values() for name in pc.unique(table.column("_source")).to_pylist() if name is not None
    }
    return {
        "format": "problem-snapshot bundle 1",
        "tool": "problem-snapshot",
        "tool_version": tool_version,
        "files": {name: {"bytes": len(data), "sha256": sha256_hex(data)} for name, data in sorted(parts.items())},
        "rows": {name: table.num_rows for name, table in tables.items()},
        "derived_from": sorted(sources),
        "derivation": "Written from parsed columns, not copied from the sources: ids and values are theirs, the sha256 of "
        "a record is not. A snapshot of this bundle verifies against this bundle.",
        "coverage": [msgspec.to_builtins(row) for row in material.coverage],
        "redaction": dict(redaction) if redaction is not None else None,
    }


def _zipped(parts: Mapping[str, bytes]) -> bytes:
    """A zip whose entries carry no time and no owner, so that equal parts give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in sorted(parts.items()):
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_STORED if name.endswith(".gz") else zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return out.getvalue()


def _place_file(target: Path, data: bytes) -> None:
    """`data` at `target`, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _place_folder(target: Path, parts: Mapping[str, bytes]) -> None:
    """The files as the folder `target`, which appears whole; one that it replaces goes only then."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        new = temporary / "new"
        for name, data in parts.items():
            _place_file(new / name, data)
        old = temporary / "old"
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
