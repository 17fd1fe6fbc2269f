"""The folder of a run. Every file in it is whole or not there, so a process that is killed leaves nothing half.

    documents/<ticket>.json                     the snapshot's canonical bytes: the ticket is done when it is there
    snapshots/day=2026-11-23/part-00000.parquet a row a snapshot, of the tickets opened on that day in UTC
    dead_letters.jsonl                          what could not be taken, with reason and element, in the order given
    summary.json  summary.html                  what came of it
    work/plan.jsonl  work/plan.json             what is to be done (see `plan`)
    work/letters/<number>.json                  a dead letter: the element is done when it is there
    work/journal/*.jsonl                        a line for each ticket that was done, one file a worker
    work/stop                                   somebody asked for an end: no further ticket is begun

Documents and `dead_letters.jsonl` of equal input are equal, byte for byte, whatever the engine and however often it was
interrupted; the rows of a day are, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from pipeline.batching.rows import ROW_SCHEMA, rows_of
from pipeline.errors import SnapshotError, UsageError
from snapshots.model import ProblemSnapshot, read_snapshot

# So many snapshots are in one Parquet file of a day at most, and so many in one of its row groups: they are in memory
# at once, about half a megabyte each.
FILE_ROWS, GROUP_ROWS = 2000, 50
_TEMPORARY = ".tmp"

State = Literal["taken", "kept", "dead"]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An element that could not be taken. `error` is the exception's class, `element` what was given."""

    number: int
    name: str
    ticket: str = ""
    reason: str = ""
    error: str = ""
    element: Any = None


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a snapshot's ledger that is not whole."""

    source: str
    what: str
    status: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one ticket, as the journal holds it.

    `kept` was done by an earlier run, and is not in the journal a second time. `seconds` are of wall time; None where
    the process was killed before it could write them down.
    """

    number: int
    ticket: str
    document: str
    day: str
    state: State
    fault_class: str = ""
    abstained: bool = False
    language: str = ""
    lines: int = 0
    holes: tuple[Hole, ...] = ()
    seconds: float | None = None
    steps: dict[str, float] = {}
    sources: dict[str, float] = {}
    error: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Folder:
    """The folder of a run, and what is where in it."""

    root: Path

    @property
    def documents(self) -> Path:
        """The snapshots' documents."""
        return self.root / "documents"

    @property
    def dataset(self) -> Path:
        """The Parquet dataset."""
        return self.root / "snapshots"

    @property
    def dead(self) -> Path:
        """All dead letters, once the run is through."""
        return self.root / "dead_letters.jsonl"

    @property
    def work(self) -> Path:
        """What a run needs to go on."""
        return self.root / "work"

    @property
    def plan(self) -> Path:
        """The plan's lines."""
        return self.work / "plan.jsonl"

    @property
    def head(self) -> Path:
        """The plan's head."""
        return self.work / "plan.json"

    @property
    def letters(self) -> Path:
        """The dead letters, each its own file."""
        return self.work / "letters"

    @property
    def journal(self) -> Path:
        """The workers' journals."""
        return self.work / "journal"

    @property
    def stop(self) -> Path:
        """Where it exists no further ticket is begun."""
        return self.work / "stop"

    def document(self, name: str) -> Path:
        """Where the document of that name is."""
        return self.documents / f"{name}.json"

    def letter(self, number: int) -> Path:
        """Where the dead letter of that element is."""
        return self.letters / f"{number:09d}.json"

    def make(self) -> None:
        """Makes the folders. What is in `work` is not redacted, so it is the owner's alone. Raises `UsageError`."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.work.mkdir(mode=0o700, exist_ok=True)
            for folder in (self.documents, self.dataset, self.letters, self.journal):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.root}: cannot be made: {error.strerror}") from error

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps a second run out. Raises `UsageError` where there is one."""
        with (self.work / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UsageError(f"{self.root}: another run is at work there") from error
            yield

    def sweep(self) -> None:
        """Removes what killed processes left unfinished."""
        for path in self.root.rglob(f".*{_TEMPORARY}"):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def whole(self, path: Path) -> Iterator[IO[bytes]]:
        """A file to write that takes its place, synced, when all went well. Raises `SnapshotError`."""
        temporary = path.parent / f".{path.name[:80]}.{uuid.uuid4().hex}{_TEMPORARY}"
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise SnapshotError(f"{path}: cannot be written: {error.strerror or error}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def place(self, path: Path, data: bytes) -> None:
        """Writes a file whole. Raises `SnapshotError`."""
        with self.whole(path) as file:
            file.write(data)

    def place_letter(self, letter: DeadLetter) -> None:
        """Writes a dead letter: with it the element is done. Raises `SnapshotError`."""
        self.place(self.letter(letter.number), msgspec.json.encode(letter) + b"\n")

    def entries(self) -> Iterator[Entry]:
        """The lines of all journals, of each element the first. A line that was cut off by a kill is none."""
        seen: set[int] = set()
        for path in sorted(self.journal.glob("*.jsonl")):
            with path.open("rb") as file:
                for line in file:
                    try:
                        entry = _entry.decode(line)
                    except msgspec.MsgspecError:
                        continue
                    if entry.number not in seen:
                        seen.add(entry.number)
                        yield entry

    def gather_letters(self) -> int:
        """Writes `dead_letters.jsonl` out of the letters, in the order of the elements; gives their number."""
        count = 0
        paths = sorted(self.letters.glob("[0-9]*.json"))
        with self.whole(self.dead) as file:
            os.fchmod(file.fileno(), 0o600)
            for path in paths:
                file.write(path.read_bytes())
                count += 1
        return count


_entry = msgspec.json.Decoder(Entry)


class Journal:
    """One worker's lines: what it did, and in how much time. A line is one write, so a kill cuts off the last at most."""

    def __init__(self, folder: Folder) -> None:
        self._path = folder.journal / f"{os.getpid()}-{uuid.uuid4().hex}.jsonl"
        self._lock = threading.Lock()
        self._file: int | None = None

    def add(self, entry: Entry) -> None:
        """Writes a line. Raises `SnapshotError`."""
        line = msgspec.json.encode(entry) + b"\n"
        try:
            with self._lock:
                if self._file is None:
                    self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                os.write(self._file, line)
        except OSError as error:
            raise SnapshotError(f"{self._path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Gives the file back."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None


def read_document(path: Path) -> ProblemSnapshot:
    """A document of the run. Raises `SnapshotError` where it is damaged, which only another program can have done."""
    try:
        return read_snapshot(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SnapshotError(f"{path}: cannot be read ({error}); delete it and run again with --resume") from error


def write_day(folder: Folder, day: str, documents: Sequence[tuple[int, str]]) -> int:
    """Writes the rows of one day, in the order of the elements' numbers; gives how many. Raises `SnapshotError`.

    `documents` are numbers and names, in any order. Memory holds a row group, however many there are.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = folder.dataset / f"day={day}"
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise SnapshotError(f"{target}: cannot be made: {error.strerror}") from error
    names = [name for _, name in sorted(documents)]
    for part, start in enumerate(range(0, len(names), FILE_ROWS)):
        some = names[start : start + FILE_ROWS]
        with (
            folder.whole(target / f"part-{part:05d}.parquet") as file,
            pq.ParquetWriter(file, ROW_SCHEMA, compression="zstd") as writer,
        ):
            for first in range(0, len(some), GROUP_ROWS):
                group = [read_document(folder.document(name)) for name in some[first : first + GROUP_ROWS]]
                writer.write_table(pa.Table.from_pylist(list(rows_of(group)), schema=ROW_SCHEMA))
    return len(names)
