"""Where a store keeps its files: a local folder, or any place that fsspec knows.

Files appear whole or not at all: locally a temporary file is synced and then linked or renamed into place, an object store
takes each file in a single put.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

_STALE_SECONDS = 3600.0
_TEMPORARY = ".tmp"


class Files(Protocol):
    """Files below one place, named by paths with `/`. Every write is whole or not at all."""

    place: str
    local: bool

    def where(self, name: str) -> str:
        """The file as a person may open it."""
        ...

    def read(self, name: str) -> bytes | None:
        """The file's content, None where there is none."""
        ...

    def read_many(self, names: Sequence[str]) -> Mapping[str, bytes | None]:
        """The content of several files at once."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Writes a file that is not there yet; says false, and leaves it alone, where it is."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Writes a file, over the one that may be there."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names of a folder's files, sorted; none where there is no such folder."""
        ...

    def folders(self, folder: str) -> list[str]:
        """The names of a folder's folders, sorted; none where there is no such folder."""
        ...


def open_files(url: str) -> Files:
    """The place at a path or an fsspec URL. Raises `ValueError` with a sentence where it cannot be opened."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return _Folder(Path(url))
    if scheme.lower() in {"file", "local"}:
        return _Folder(Path(unquote(rest)))
    return _Remote(url)


class _Folder:
    """A folder of this machine, written so that power may fail at any moment."""

    local = True

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.place = str(self.root)
        self._swept: set[Path] = set()

    def where(self, name: str) -> str:
        return str(self.root / name)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def read_many(self, names: Sequence[str]) -> Mapping[str, bytes | None]:
        return {name: self.read(name) for name in names}

    def create(self, name: str, data: bytes) -> bool:
        target = self.root / name
        if target.exists():
            return False
        temporary = self._temporary(target, data)
        try:
            # Unlike a rename, a link fails when somebody else was first, so exactly one of two writers says "created".
            os.link(temporary, target)
        except FileExistsError:
            temporary.unlink(missing_ok=True)
            return False
        except OSError:
            # This file system has no hard links.
            temporary.replace(target)
        temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)
        return True

    def replace(self, name: str, data: bytes) -> None:
        target = self.root / name
        self._temporary(target, data).replace(target)
        _sync_folder(target.parent)

    def names(self, folder: str) -> list[str]:
        try:
            with os.scandir(self.root / folder) as found:
                return sorted(item.name for item in found if item.is_file() and not item.name.endswith(_TEMPORARY))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def folders(self, folder: str) -> list[str]:
        try:
            with os.scandir(self.root / folder) as found:
                return sorted(item.name for item in found if item.is_dir())
        except FileNotFoundError:
            return []

    def _temporary(self, target: Path, data: bytes) -> Path:
        _make_folders(target.parent)
        # Once is enough: looking through a folder for each file that is put there would take ever longer.
        if target.parent not in self._swept:
            self._swept.add(target.parent)
            _sweep(target.parent)
        # The leading dot keeps it out of dataset readers, the random part apart from other processes.
        temporary = target.parent / f".{target.name[:80]}.{uuid.uuid4().hex}{_TEMPORARY}"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary


class _Remote:
    """An object store: every file is one put, which such stores show whole or not at all."""

    local = False

    def __init__(self, url: str) -> None:
        import fsspec  # a local folder does without it

        parts = urlsplit(url)
        # A URL may hold a key or a password; nothing of that kind is ever shown.
        self.place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            message = f"cannot open the store {self.place}: {error}"
            raise ValueError(message) from error
        self._root = root.rstrip("/")

    def where(self, name: str) -> str:
        return f"{self.place}/{name}"

    def read(self, name: str) -> bytes | None:
        try:
            data: bytes = self._fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        return data

    def read_many(self, names: Sequence[str]) -> Mapping[str, bytes | None]:
        if not names:
            return {}
        found = self._fs.cat([self._path(name) for name in names], on_error="return")
        answers = {name: found.get(self._path(name)) for name in names}
        for answer in answers.values():
            if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                raise answer
        return {name: answer if isinstance(answer, bytes) else None for name, answer in answers.items()}

    def create(self, name: str, data: bytes) -> bool:
        if self._fs.exists(self._path(name)):
            return False
        self.replace(name, data)
        return True

    def replace(self, name: str, data: bytes) -> None:
        path = self._path(name)
        # Object stores have no folders; file systems behind fsspec (sftp, hdfs) do.
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(path, data)

    def names(self, folder: str) -> list[str]:
        return [name for name, kind in self._listed(folder) if kind == "file"]

    def folders(self, folder: str) -> list[str]:
        return [name for name, kind in self._listed(folder) if kind == "directory"]

    def _listed(self, folder: str) -> list[tuple[str, str]]:
        self._fs.invalidate_cache()
        try:
            rows = self._fs.ls(self._path(folder), detail=True)
        except FileNotFoundError:
            return []
        return sorted((row["name"].rstrip("/").rpartition("/")[2], row["type"]) for row in rows)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def _make_folders(folder: Path) -> None:
    """Makes `folder` and its parents, each of them synced, so that a synced file in it cannot vanish with it."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    # Some systems cannot open or sync a folder; there the rename alone has to do.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sweep(folder: Path) -> None:
    """Removes temporary files that a killed process left an hour ago or more."""
    limit = time.time() - _STALE_SECONDS
    for path in folder.glob(f".*{_TEMPORARY}"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < limit:
                path.unlink()
