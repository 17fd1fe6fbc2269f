"""Where many tickets come from. Every reader is an iterator of `Given`, in an order that does not change.

    tickets.jsonl  .ndjson  (also .gz)   an object a line, as in ticket.json
    tickets.csv    (also .gz)            a column a field; `customer.id` and `questionnaire.app_version` are fields of objects
    tickets.parquet                      a column a field, nested or not
    a folder of bundles, or one bundle   each with its ticket.json, and its records
    a store of snapshots                 the ticket of the newest snapshot of each, redacted as it is kept there

A line that is no ticket is given as well, with the reason. Tickets of a ticket system come from `pipeline/batching/searched.py`.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pipeline.errors import SnapshotError, UsageError
from pipeline.replay import asked_span, ticket_of
from pipeline.sources.bundle.tickets import is_bundle
from pipeline.tickets.file import MAX_BYTES, find_ticket, parse_time, read_ticket
from pipeline.values import Span, Ticket
from snapshots.store import Store, StoreError

Note = Callable[[str], None]
# So much of a line that is no ticket is kept with the reason; `Given.element` says where there is more.
ELEMENT_BYTES = 64 * 1024
_LINES, _TABLES, _PARQUET = (".jsonl", ".ndjson"), (".csv",), (".parquet",)


@dataclass(frozen=True)
class Given:
    """One element of what was given: a ticket, or in `reason` why it is none.

    `name` is how messages call it. `bundle` holds its records where they are not asked from the configured sources,
    `around` is the window that a person had asked for. `element` is what was read where that is no ticket, and `ticket_id` the id
    that stands in it, if any.
    """

    name: str
    ticket: Ticket | None = None
    bundle: Path | None = None
    around: Span | None = None
    reason: str = ""
    error: str = ""
    element: str = ""
    ticket_id: str = ""


def read_given(place: str, bundle: Path | None, store: str, note: Note, zone: tzinfo | None = None) -> Iterator[Given]:
    """The elements of `place`: a file, a folder of bundles, a store's folder or URL, or `store` for the configured one.

    With `bundle`, a bundle or a folder of bundles, the records of a file's tickets are there. `zone` is that of a table's times
    without offset, which are UTC otherwise. Raises `UsageError` where
    `place` is nothing of the kind.
    """
    path = Path(place)
    if is_store(place) or (place == "store" and not path.exists()):
        if bundle is not None:
            raise UsageError("--bundle goes with a file of tickets, not with a store")
        return _of_store(Store(store if place == "store" else place))
    if path.is_dir() or (path.is_file() and is_bundle(path)):
        if bundle is not None:
            raise UsageError(f"--bundle goes with a file of tickets; {place} holds bundles itself")
        return _of_bundles(path, note)
    if not path.is_file():
        raise UsageError(f"{place}: no such file or folder of tickets, and no store")
    found = _of_file(path, note, zone)
    return found if bundle is None else with_bundles(found, bundle)


def is_store(place: str) -> bool:
    """Whether `place` is a store of snapshots: a URL, or a folder that looks like one."""
    return "://" in place or ((Path(place) / "snapshots").is_dir() and not (Path(place) / "documents").is_dir())


def rejected(name: str, error: BaseException, element: str, ticket_id: str = "") -> Given:
    """An element that is no ticket, with the reason and no more of it than is kept."""
    data = element.encode("utf-8", "replace")
    if len(data) > ELEMENT_BYTES:
        element = f"{data[:ELEMENT_BYTES].decode('utf-8', 'ignore')} … ({len(data):,} bytes in all)"
    # The name stands beside the reason.
    reason = str(error).removeprefix(f"{name}: ")
    return Given(name, reason=reason, error=type(error).__name__, element=element, ticket_id=ticket_id)


# ---- files


def _of_file(path: Path, note: Note, zone: tzinfo | None) -> Iterator[Given]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[-2:-1] if packed else suffixes[-1:]) or [""]
    if kind[0] in _LINES:
        return _of_lines(path, packed, note)
    if kind[0] in _TABLES:
        return _of_csv(path, packed, note, zone)
    if kind[0] in _PARQUET and not packed:
        return _of_parquet(path, note, zone)
    raise UsageError(
        f"{path}: a file of tickets ends in .jsonl, .ndjson, .csv (each also with .gz) or .parquet; "
        "a single ticket.json is taken by the command take"
    )


def _open(path: Path, packed: bool) -> BinaryIO:
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


def _unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")


def _of_lines(path: Path, packed: bool, note: Note) -> Iterator[Given]:
    try:
        with _open(path, packed) as file:
            number = 0
            while line := file.readline(MAX_BYTES + 1):
                number += 1
                name = f"{path.name}, line {number}"
                if len(line) > MAX_BYTES:
                    rest = line
                    while rest and not rest.endswith(b"\n"):
                        rest = file.readline(MAX_BYTES)
                    long = UsageError(f"{name}: is longer than {MAX_BYTES // 1024 // 1024} MiB; this is no ticket")
                    yield rejected(name, long, line[:ELEMENT_BYTES].decode("utf-8", "replace"))
                elif line.strip():
                    yield _read(line, name, note)
    except (OSError, EOFError) as error:
        raise _unreadable(path, error) from error


def _of_csv(path: Path, packed: bool, note: Note, zone: tzinfo | None) -> Iterator[Given]:
    try:
        with _open(path, packed) as file:
            # What spreadsheets write begins with a byte order mark.
            text = file.read().decode("utf-8-sig")
    except (OSError, EOFError) as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 (byte {error.start}); save it as CSV UTF-8") from error
    csv.field_size_limit(MAX_BYTES)
    reader, columns = _table(text)
    if not {"id", "created_at"} <= set(columns):
        raise UsageError(f"{path}: needs the columns id, created_at, and title or description; it has {columns[:20]}")
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise UsageError(f"{path}, line {reader.line_num}: is no CSV: {error}") from error
        if row is None:
            return
        if not any(cell.strip() for cell in row):
            continue
        name = f"{path.name}, line {reader.line_num}"
        if len(row) > len(columns):
            many = UsageError(f"{name}: has {len(row)} values, but there are {len(columns)} columns")
            yield rejected(name, many, str(row))
        else:
            fields = _nested(dict(zip(columns, row, strict=False)))
            yield _read(_encoded(_zoned(fields, zone)), name, note)


def _table(text: str) -> tuple[Any, list[str]]:
    """A reader of the rows of a CSV file, and its columns. Where a comma is the decimal sign spreadsheets write semicolons."""
    for sign in (",", ";", "\t"):
        reader = csv.reader(io.StringIO(text), delimiter=sign)
        columns = [name.strip() for name in next(reader, [])]
        if {"id", "created_at"} <= set(columns):
            return reader, columns
    reader = csv.reader(io.StringIO(text))
    return reader, [name.strip() for name in next(reader, [])]


def _zoned(fields: dict[str, Any], zone: tzinfo | None) -> dict[str, Any]:
    """The same fields, a time of opening without offset in `zone`; what is no time is left to who reads the ticket."""
    opened = fields.get("created_at")
    if zone is None or opened is None:
        return fields
    try:
        moment = opened if isinstance(opened, datetime) else parse_time(str(opened))
    except ValueError:
        return fields
    return fields if moment.tzinfo else {**fields, "created_at": moment.replace(tzinfo=zone).isoformat()}


def _nested(cells: Mapping[str, str]) -> dict[str, Any]:
    """The cells as a ticket's fields: empty ones left out, `a.b` inside an object, JSON of objects and lists read.

    >>> _nested({"id": "7", "customer.id": "u1", "note": "", "questionnaire": '{"app_version": "4.1"}'})
    {'id': '7', 'customer': {'id': 'u1'}, 'questionnaire': {'app_version': '4.1'}}
    """
    fields: dict[str, Any] = {}
    for name, cell in cells.items():
        value: Any = cell.strip()
        if not name or not value:
            continue
        *parents, last = ["customer", "id"] if name == "customer_id" else name.split(".")
        if value[0] in "{[" and (parents or name in {"customer", "questionnaire", "custom_fields"}):
            try:
                value = msgspec.json.decode(value)
            except (msgspec.MsgspecError, RecursionError):
                # As text it may still hold an identifier.
                value = cell.strip()
        place = fields
        for parent in parents:
            inner = place.setdefault(parent, {})
            place = inner if isinstance(inner, dict) else fields
        place[last] = value
    return fields


def _of_parquet(path: Path, note: Note, zone: tzinfo | None) -> Iterator[Given]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    fields = {key: value for key, value in row.items() if value is not None}
                    if "customer_id" in fields and "customer" not in fields:
                        fields["customer"] = {"id": fields.pop("customer_id")}
                    yield _read(_encoded(_zoned(fields, zone)), f"{path.name}, row {number}", note)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _encoded(fields: Mapping[str, Any]) -> bytes:
    # Times become ISO 8601 with the offset they have; what JSON does not know is written as text.
    return msgspec.json.encode(fields, enc_hook=str)


def _read(data: bytes, name: str, note: Note) -> Given:
    try:
        return Given(name, read_ticket(data, name, note))
    except SnapshotError as error:
        return rejected(name, error, data.decode("utf-8", "replace").strip(), _id_in(data))


class _Identified(msgspec.Struct):
    id: str | int = ""


def _id_in(data: bytes) -> str:
    """The id of an object that is no ticket, as far as it has one."""
    try:
        return str(msgspec.json.decode(data, type=_Identified).id).strip()[:100]
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return ""


# ---- bundles and stores


def _of_bundles(folder: Path, note: Note) -> Iterator[Given]:
    found = [folder] if is_bundle(folder) else sorted(path for path in folder.iterdir() if is_bundle(path))
    if not found:
        raise UsageError(f"{folder}: holds no bundle, and is no store of snapshots")
    for path in found:
        try:
            ticket, bundle = find_ticket(str(path), note=note)
        except SnapshotError as error:
            yield rejected(path.name, error, str(path))
        else:
            yield Given(path.name, ticket, bundle)


def with_bundles(found: Iterable[Given], bundle: Path) -> Iterator[Given]:
    """The same tickets with their records: each from the bundle of its id in `bundle`, or all from that one.

    Raises `UsageError` where there is no such folder.
    """
    if not bundle.exists():
        raise UsageError(f"--bundle {bundle}: no such folder or file")
    alone = is_bundle(bundle)
    there = {} if alone else {one.ticket.id: one.bundle for one in _of_bundles(bundle, lambda _: None) if one.ticket}
    for one in found:
        if one.ticket is None:
            yield one
        elif alone or one.ticket.id in there:
            yield Given(one.name, one.ticket, bundle if alone else there[one.ticket.id])
        else:
            error = UsageError(f"there is no bundle of ticket {one.ticket.id} in {bundle}")
            yield rejected(one.name, error, msgspec.json.encode(one.ticket).decode(), one.ticket.id)


def _of_store(store: Store) -> Iterator[Given]:
    try:
        listing = store.list()
    except StoreError as error:
        raise UsageError(str(error)) from error
    for damaged in listing.damaged:
        yield rejected(damaged.path, StoreError(f"the document is damaged: {damaged.reason}"), damaged.path)
    # From the oldest ticket on, each once.
    for ticket_id in reversed(dict.fromkeys(entry.ticket_id for entry in listing.entries)):
        name = f"{ticket_id} of the store"
        try:
            document = store.newest(ticket_id)
            if document is not None:
                yield Given(name, ticket_of(document.ticket), None, asked_span(document))
        except (SnapshotError, StoreError) as error:
            yield rejected(name, error, ticket_id, ticket_id)
