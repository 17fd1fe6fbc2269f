"""All entries of a knowledge folder, the source of truth: any folder, or the working tree of a git repository."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from pipeline.desk.entry import MAX_BYTES, Entry, read_entry, write_entry
from pipeline.errors import UsageError

MOST = 20_000


@dataclass(frozen=True)
class Shelf:
    """The entries in order of ids, `problems` (what could not be read, and why), and each file's sha256 by entry id."""

    folder: Path
    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()
    sha256: tuple[tuple[str, str], ...] = ()
    paths: tuple[tuple[str, str], ...] = ()

    @cached_property
    def by_id(self) -> dict[str, Entry]:
        """The entries by id."""
        return {entry.id: entry for entry in self.entries}

    @cached_property
    def digest(self) -> str:
        """A hash over all entries, the same wherever the folder lies."""
        return hashlib.sha256("\n".join(f"{name} {digest}" for name, digest in self.sha256).encode()).hexdigest()

    def hash_of(self, entry_id: str) -> str:
        """The sha256 of one entry's file."""
        return dict(self.sha256)[entry_id]

    def path_of(self, entry_id: str) -> Path:
        """Where one of the entries lies."""
        return self.folder / dict(self.paths)[entry_id]


def read_shelf(folder: Path) -> Shelf:
    """The entries in `folder` and the folders below it. Raises `UsageError` where there is no folder.

    A file that cannot be read becomes a row of `problems`, never an error: one bad entry must not hide the others.
    Folders that begin with a dot, README.md and links that lead out of the folder are left out.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of knowledge; `problem-snapshot desk knowledge seed` fills one")
    files = sorted(_files(folder))
    stamp = tuple((name, *_stamp(folder / name)) for name in files)
    return _read(folder, stamp)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _files(folder: Path) -> Iterator[str]:
    for base, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in names:
            if name.lower().endswith(".md") and name.lower() != "readme.md":
                yield (Path(base) / name).relative_to(folder).as_posix()


@lru_cache(maxsize=4)
def _read(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> Shelf:
    root = folder.resolve()
    entries: dict[str, Entry] = {}
    hashes: dict[str, str] = {}
    paths: dict[str, str] = {}
    problems: list[str] = []
    for name, _, _ in stamp[:MOST]:
        try:
            data = _bytes(root, name)
            entry = read_entry(data.decode("utf-8"), name)
        except UnicodeDecodeError as error:
            problems.append(f"{name}: is not UTF-8 (byte {error.start}); save it as UTF-8")
            continue
        except (UsageError, OSError) as error:
            told = str(error)
            problems.append(told if told.startswith(name) else f"{name}: {told}")
            continue
        if entry.id in entries:
            problems.append(f"{name}: id {entry.id} is that of {paths[entry.id]}, too; rename one of them")
            continue
        entries[entry.id], hashes[entry.id], paths[entry.id] = entry, hashlib.sha256(data).hexdigest(), name
    if len(stamp) > MOST:
        problems.append(f"{len(stamp) - MOST:,} files beyond the first {MOST:,} were not read")
    return Shelf(
        folder,
        tuple(entries[name] for name in sorted(entries)),
        tuple(problems),
        tuple(sorted(hashes.items())),
        tuple(sorted(paths.items())),
    )


def _bytes(root: Path, name: str) -> bytes:
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise UsageError(f"{name}: a link that leads out of the folder")
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{name}: larger than {MAX_BYTES // 1024} kB; an entry is a page, so split it")
    return path.read_bytes()


def put_entries(folder: Path, entries: Iterable[Entry], *, over: bool = False) -> tuple[list[Path], list[Path]]:
    """Writes the entries' files, each whole or not at all; gives the paths that were written, and those left alone.

    An entry that is there already is left alone unless `over`. Raises `UsageError`.
    """
    known = read_shelf(folder) if folder.is_dir() else Shelf(folder, ())
    written: list[Path] = []
    kept: list[Path] = []
    for entry in entries:
        path = known.path_of(entry.id) if entry.id in known.by_id else folder / _folder_of(entry) / f"{entry.id}.md"
        if path.exists() and not over:
            kept.append(path)
            continue
        _put(path, entry)
        written.append(path)
    return written, kept


def _put(path: Path, entry: Entry) -> None:
    text = write_entry(entry)
    # What cannot be read back is not written: it would be a problem of the folder from then on.
    read_entry(text, entry.id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        beside.write_bytes(text.encode("utf-8"))
        beside.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _folder_of(entry: Entry) -> str:
    return re.sub(r"[^\w.-]+", "-", entry.facts.module).strip(".-") or "general"
