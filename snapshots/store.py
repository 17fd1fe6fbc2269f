"""Keeps snapshots in a local folder or any fsspec URL, and as a Parquet dataset beside them.

    snapshots/<ticket>/<snapshot_id>.json      the document, its canonical bytes: the only thing that counts
    snapshots/<ticket>/<snapshot_id>.run.json  what happened while it was first taken
    dataset/snapshots/<snapshot_id>.parquet    one row, for pandas, DuckDB or Spark
    dataset/findings/<snapshot_id>.parquet     one row a finding

Files appear whole or not at all (`snapshots.files`). The document is written first and everything else can be made again from
it, so a process killed at any moment leaves a store that reads, and putting the same snapshot again completes what is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from snapshots.dataset import dataset_files, moment_of
from snapshots.files import open_files
from snapshots.model import ProblemSnapshot, RunRecord, canonical_bytes, read_snapshot, with_id

_NAME_LIMIT = 120
# `list` reads so many documents at once, and keeps so many entries beyond its limit.
_BATCH = 64
_SPARE = 1024


class StoreError(Exception):
    """Base of what can go wrong with a store; `str(error)` is a sentence for a person."""


class SnapshotNotFound(StoreError):
    """No snapshot of that id, ticket or prefix."""


class AmbiguousPrefix(StoreError):
    """The prefix fits several snapshots."""


class DamagedSnapshot(StoreError):
    """A stored document cannot be read."""


class StoreUnusable(StoreError):
    """The store's place cannot be opened, read or written."""


@dataclass(frozen=True)
class Stored:
    """Where a snapshot lies; `created` is false where it already lay there."""

    path: str
    created: bool


@dataclass(frozen=True)
class Entry:
    """One stored snapshot, without its body. `taken_at` is when it was first taken, from the run record."""

    snapshot_id: str
    ticket_id: str
    ticket_system: str
    title: str
    created_at: str
    abstained: bool
    fault_class: str | None
    fault_subclass: str | None
    confidence: float
    service: str | None
    channel: str | None
    taken_at: str | None
    path: str


@dataclass(frozen=True)
class Damaged:
    """A file that is no readable snapshot, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """The entries, newest ticket first, and the files that could not be read."""

    entries: tuple[Entry, ...]
    damaged: tuple[Damaged, ...] = ()

    def __iter__(self) -> Iterator[Entry]:
        """The readable entries."""
        return iter(self.entries)

    def __len__(self) -> int:
        """How many entries could be read."""
        return len(self.entries)


class Store:
    """A place that keeps snapshots, given as a folder or an fsspec URL such as `s3://bucket/snapshots`."""

    def __init__(self, url: str | Path) -> None:
        """Opens the store; a local folder is made when the first snapshot is put."""
        self.url = str(url)
        try:
            self._files = open_files(self.url)
        except ValueError as error:
            raise StoreUnusable(str(error)) from error

    def __repr__(self) -> str:
        """The class and the place, without anything that a URL may carry in secret."""
        return f"Store({self._files.place!r})"

    def put(self, snapshot: ProblemSnapshot, run: RunRecord | None = None) -> Stored:
        """Keeps `snapshot`. Putting it again leaves the document as it is, and completes what an interrupted put left out.

        The run record beside it is the last run's: what was taken last is what its ticket shows. Raises `ValueError` for a document whose id is not that of its content, and
        `StoreUnusable` where the place cannot be written.
        """
        if with_id(snapshot).snapshot_id != snapshot.snapshot_id:
            message = f"{snapshot.snapshot_id!r} is not the id of this content; make the document with `with_id`"
            raise ValueError(message)
        body = canonical_bytes(snapshot)
        base = f"snapshots/{ticket_folder(snapshot.ticket.id)}/{snapshot.snapshot_id}"
        with self._told("write"):
            created = self._files.create(f"{base}.json", body)
            if not created and self._files.read(f"{base}.json") != body:
                # Only damage can make it differ: the name is the hash of the content.
                self._files.replace(f"{base}.json", body)
            if run is not None:
                record = msgspec.json.format(msgspec.json.encode(run, order="deterministic"), indent=2) + b"\n"
                self._files.replace(f"{base}.run.json", record)
            for name, data in _files_beside(snapshot).items():
                if self._files.read(name) != data:
                    self._files.replace(name, data)
        return Stored(self._files.where(f"{base}.json"), created)

    def get(self, key: str) -> ProblemSnapshot:
        """The snapshot of an id, the newest of a ticket, or the only one whose id begins with `key` (`ps-` may be left out).

        Raises `SnapshotNotFound`, `AmbiguousPrefix` or `DamagedSnapshot`.
        """
        name = self._find(key)
        with self._told("read"):
            data = self._files.read(name)
        if data is None:
            message = f"snapshot {key!r} was removed from {self._files.place} while it was read"
            raise SnapshotNotFound(message)
        try:
            return read_snapshot(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            message = f"{self._files.where(name)} cannot be read ({error}); take the snapshot again to replace it"
            raise DamagedSnapshot(message) from error

    def newest(self, ticket: str) -> ProblemSnapshot | None:
        """The newest snapshot of the ticket of exactly that id, or None. Only that ticket's documents are looked at.

        Raises `DamagedSnapshot` where none of them can be read.
        """
        listing = self.list(ticket=ticket)
        if not listing.entries:
            if listing.damaged:
                raise DamagedSnapshot(f"{listing.damaged[0].path} cannot be read ({listing.damaged[0].reason})")
            return None
        name = f"snapshots/{ticket_folder(ticket)}/{listing.entries[0].snapshot_id}.json"
        with self._told("read"):
            data = self._files.read(name)
        try:
            return None if data is None else read_snapshot(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            message = f"{self._files.where(name)} cannot be read ({error}); take the snapshot again to replace it"
            raise DamagedSnapshot(message) from error

    def get_run(self, snapshot_id: str) -> RunRecord | None:
        """The run record beside a snapshot, or None where there is none that can be read."""
        name = self._find(snapshot_id).removesuffix(".json") + ".run.json"
        with self._told("read"):
            return _readable_run(self._files.read(name))

    def path(self, key: str) -> str:
        """Where the snapshot of `key` (see `get`) lies. Raises as `get` does."""
        return self._files.where(self._find(key))

    def list(self, *, ticket: str | None = None, limit: int | None = None) -> Listing:
        """What is stored, newest ticket first; a file that cannot be read is told, not raised.

        Documents are read a few at a time, so that memory holds the entries and never all of the store. Only a document
        tells its ticket's time, so each is looked into whatever the `limit`.
        """
        with self._told("read"):
            names = self._documents(ticket_folder(ticket) if ticket is not None else None)
        entries: list[Entry] = []
        damaged: list[Damaged] = []
        for start in range(0, len(names), _BATCH):
            for one in self._looked_into(names[start : start + _BATCH], ticket):
                if isinstance(one, Entry):
                    entries.append(one)
                else:
                    damaged.append(one)
            if limit is not None and len(entries) > limit + _SPARE:
                entries.sort(key=_newest, reverse=True)
                del entries[limit:]
        entries.sort(key=_newest, reverse=True)
        return Listing(tuple(entries[:limit]), tuple(damaged))

    def of_customer(
        self, system: str, customer_id: str, before: datetime, limit: int
    ) -> tuple[tuple[ProblemSnapshot, ...], frozenset[str]]:
        """The newest snapshot of each ticket that one customer of one ticket system opened before a moment, newest ticket first.

        Only that customer's documents are opened; `limit` tickets at most are told. The second value has the ids of those that are
        not: older ones, and what cannot be read. Snapshots that were put before the store kept customers apart are found once they
        are put again, or `rebuild` was run.
        """
        folder = _customer_folder(system, customer_id)
        with self._told("read"):
            tickets = [folder_ticket(name.removesuffix(".json")) for name in self._files.names(folder)]
        found: list[ProblemSnapshot] = []
        left: set[str] = set()
        for ticket in tickets:
            if ticket is None:
                continue
            try:
                newest = self.newest(ticket)
            except DamagedSnapshot:
                left.add(ticket)
                continue
            # The folder's name is a hash, and a document may have been replaced: the document has the last word.
            mine = newest and (newest.ticket.system, newest.ticket.customer_id) == (system, customer_id)
            if newest and mine and datetime.fromisoformat(newest.ticket.created_at) < before:
                found.append(newest)
        found.sort(key=lambda one: (_instant(one.ticket.created_at), one.snapshot_id), reverse=True)
        return tuple(found[:limit]), frozenset(left | {one.ticket.id for one in found[limit:]})

    def _looked_into(self, names: Sequence[str], ticket: str | None) -> Iterator[Entry | Damaged]:
        """What the documents of `names` are, but for those of other tickets."""
        runs = [name.removesuffix(".json") + ".run.json" for name in names]
        with self._told("read"):
            found = self._files.read_many([*names, *runs])
        for name, run_name in zip(names, runs, strict=True):
            if (data := found.get(name)) is None:
                continue
            try:
                head = msgspec.json.decode(data, type=_Head)
                wanted = name.rpartition("/")[2].removesuffix(".json")
                if head.snapshot_id != wanted:
                    yield Damaged(self._files.where(name), f"it holds snapshot {head.snapshot_id!r}")
                    continue
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                yield Damaged(self._files.where(name), str(error))
                continue
            if ticket is None or head.ticket.id == ticket:
                run = _readable_run(found.get(run_name))
                yield _entry(head, self._files.where(name), run.started_at if run else None)

    def rebuild(self) -> int:
        """Writes the Parquet dataset again from the documents; gives the number of documents that are in it."""
        written = 0
        with self._told("write"):
            for name in self._documents(None):
                data = self._files.read(name)
                try:
                    snapshot = read_snapshot(data or b"")
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue
                for target, body in _files_beside(snapshot).items():
                    self._files.replace(target, body)
                written += 1
        return written

    def _documents(self, folder: str | None) -> Sequence[str]:
        folders = [folder] if folder is not None else self._files.folders("snapshots")
        return [
            f"snapshots/{name}/{file}"
            for name in folders
            for file in self._files.names(f"snapshots/{name}")
            if file.endswith(".json") and not file.endswith(".run.json") and not file.startswith(".")
        ]

    def _find(self, key: str) -> str:
        with self._told("read"):
            names = self._documents(None)
        ids = {name.rpartition("/")[2].removesuffix(".json"): name for name in names}
        if key in ids:
            return ids[key]
        # A ticket's folder is known by its name, so that a damaged document in it cannot hide the ticket.
        # Some file systems take `a` and `A` for the same folder.
        folder = f"snapshots/{ticket_folder(key)}/".casefold()
        mine = [name for name in names if name.casefold().startswith(folder)]
        if mine:
            listing = self.list(ticket=key)
            if listing.entries:
                return ids[listing.entries[0].snapshot_id]
            if listing.damaged:
                return mine[0]
        starts = sorted(name for name in ids if key and name.startswith(key if key.startswith("ps-") else f"ps-{key}"))
        if len(starts) == 1:
            return ids[starts[0]]
        if starts:
            shown = ", ".join(starts[:5]) + (f" and {len(starts) - 5} more" if len(starts) > 5 else "")
            message = f"{key!r} fits {len(starts)} snapshots: {shown}; give more of the id"
            raise AmbiguousPrefix(message)
        message = f"no snapshot or ticket {key!r} in {self._files.place}; `list` shows what is there"
        raise SnapshotNotFound(message)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            # A remote file system raises its client's own errors, so nothing narrower would catch them all.
            if isinstance(error, OSError) or not self._files.local:
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                message = f"cannot {what} the store {self._files.place}: {reason}"
                raise StoreUnusable(message) from error
            raise


def ticket_folder(ticket_id: str) -> str:
    """The folder name of a ticket: safe on every file system, and reversible unless the id is very long.

    >>> ticket_folder("TK-1"), ticket_folder("a/b.c"), ticket_folder("..")
    ('TK-1', 'a%2Fb.c', '%2E.%2E')
    """
    name = quote(ticket_id, safe="", errors="surrogatepass").replace("~", "%7E")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if name.endswith("."):
        name = name[:-1] + ".%2E"
    if 0 < len(name) <= _NAME_LIMIT:
        return name
    digest = hashlib.sha256(ticket_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{name[:64]}~{digest}"


def folder_ticket(folder: str) -> str | None:
    """The ticket id that `ticket_folder` made `folder` from, or None where only its hash was kept."""
    return None if "~" in folder else unquote(folder)


def _customer_folder(system: str, customer_id: str) -> str:
    """Where the names of a customer's tickets lie. The id itself is in no file's name."""
    return "customers/" + hashlib.sha256(f"{system}\0{customer_id}".encode()).hexdigest()[:32]


def _customer_file(snapshot: ProblemSnapshot) -> str | None:
    """The file that says that a ticket is its customer's; None where the customer is not known or his id was masked.

    Masked ids are alike for many: `[phone:…4057]` is one customer in ten thousand.
    """
    ticket = snapshot.ticket
    name = ticket_folder(ticket.id)
    if not ticket.customer_id or "[" in ticket.customer_id or folder_ticket(name) is None:
        return None
    return f"{_customer_folder(ticket.system, ticket.customer_id)}/{name}.json"


# What `list` reads of a document: msgspec checks the whole of the JSON and skips the rest of it.
class _HeadTicket(msgspec.Struct):
    id: str
    system: str
    title: str
    created_at: str


class _HeadLocation(msgspec.Struct):
    service: str | None = None
    channel: str | None = None


class _HeadDiagnosis(msgspec.Struct):
    abstained: bool
    confidence: float
    fault_class: str | None = None
    fault_subclass: str | None = None
    location: _HeadLocation = msgspec.field(default_factory=_HeadLocation)


class _Head(msgspec.Struct):
    snapshot_id: str
    ticket: _HeadTicket
    diagnosis: _HeadDiagnosis


def _entry(head: _Head, path: str, taken_at: str | None) -> Entry:
    d = head.diagnosis
    return Entry(
        snapshot_id=head.snapshot_id,
        ticket_id=head.ticket.id,
        ticket_system=head.ticket.system,
        title=head.ticket.title,
        created_at=head.ticket.created_at,
        abstained=d.abstained,
        fault_class=d.fault_class,
        fault_subclass=d.fault_subclass,
        confidence=d.confidence,
        service=d.location.service,
        channel=d.location.channel,
        taken_at=taken_at,
        path=path,
    )


def _newest(entry: Entry) -> tuple[datetime, str, str]:
    return _instant(entry.created_at), entry.taken_at or "", entry.snapshot_id


def _readable_run(data: bytes | None) -> RunRecord | None:
    try:
        return msgspec.json.decode(data, type=RunRecord) if data else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _instant(at: str | None) -> datetime:
    return moment_of(at) or datetime.min.replace(tzinfo=UTC)


def _files_beside(snapshot: ProblemSnapshot) -> Mapping[str, bytes]:
    """Name -> bytes of a snapshot's Parquet files and of its customer's; equal snapshots give equal bytes."""
    own = _customer_file(snapshot)
    return {**({own: b"{}\n"} if own else {}), **dataset_files(snapshot)}
