"""A bundle that is open: a folder, or a zip of which nothing is unpacked to disk."""

from __future__ import annotations

import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from pipeline.errors import SourceBroken, SourceUnavailable, UsageError
from pipeline.sources.bundle.layout import is_junk, is_part
from pipeline.sources.bundle.unpacking import File, unpacked
from pipeline.sources.bundle.words import listed, reason_of


class Archive(ABC):
    """A bundle that is open: the names of its files, sorted, and their bytes."""

    def __init__(self, names: Iterable[str], skipped: Iterable[str] = ()) -> None:
        self.names = sorted({name for name in names if not is_junk(name)})
        self.skipped = sorted(skipped)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - a folder has nothing to give back
        """Nothing to give back, unless a kind of bundle says so."""

    @abstractmethod
    def size(self, name: str) -> int:
        """The bytes of a file as it is stored."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A file for reading."""

    def read(self, name: str, limit: int, out: Callable[[], bool] | None = None) -> File:
        """At most `limit` uncompressed bytes of a file, and what is wrong where they are not all of it.

        Reading stops early, and the file is `late`, once `out` says so.
        """
        return unpacked(lambda: self.open(name), name, limit, out)


def _leads_into(link: Path, root: Path) -> bool:
    """Whether `link` leads to something inside `root`; one that leads in a circle does not."""
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False


class _Folder(Archive):
    """A bundle as a folder. A link that leads out of it is not followed: a bundle may come from a stranger."""

    def __init__(self, path: Path) -> None:
        self._path = path
        root = path.resolve()
        names, skipped = [], []
        for place, _, files in os.walk(path):
            for file in files:
                full = Path(place, file)
                name = full.relative_to(path).as_posix()
                if not full.is_symlink() or _leads_into(full, root):
                    # A pipe or device would block whoever opens it.
                    names.extend([name] if full.is_file() else [])
                else:
                    skipped.append(name)
        super().__init__(names, skipped)

    def size(self, name: str) -> int:
        return (self._path / name).stat().st_size

    def open(self, name: str) -> BinaryIO:
        return (self._path / name).open("rb")


class Zip(Archive):
    """A bundle as a zip, its files at the top or below one folder. Nothing is unpacked to disk."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        members = [info.filename for info in self._zip.infolist() if not info.is_dir()]
        self._prefix = _prefix(members)
        super().__init__(name.removeprefix(self._prefix) for name in members if name.startswith(self._prefix))

    def size(self, name: str) -> int:
        """The bytes of a file within the zip."""
        return self._zip.getinfo(self._prefix + name).compress_size

    def open(self, name: str) -> BinaryIO:
        """A file within the zip, unpacked as it is read."""
        return self._zip.open(self._prefix + name)  # type: ignore[return-value]

    def close(self) -> None:
        """Closes the zip."""
        self._zip.close()


def _prefix(members: Sequence[str]) -> str:
    """The folder within a zip that is the bundle: the top, or the only folder that looks like one."""
    members = [name for name in members if not is_junk(name)]
    if any(is_part(name) for name in members):
        return ""
    tops = {name.partition("/")[0] + "/" for name in members if "/" in name}
    inside = sorted(top for top in tops if any(is_part(name.removeprefix(top)) for name in members))
    if len(inside) > 1:
        raise UsageError(f"the zip holds {len(inside)} bundles ({listed(inside)}): unpack it and name its folder")
    return inside[0] if inside else ""


def open_archive(path: Path) -> Archive:
    """The bundle at `path`. Raises `SourceUnavailable` or `SourceBroken`."""
    try:
        if path.is_dir():
            return _Folder(path)
        if not path.exists():
            raise SourceUnavailable(f"there is no bundle at {path}: check the path")
        return Zip(path)
    except zipfile.BadZipFile as error:
        raise SourceBroken(f"{path} is neither a folder nor a readable zip: it may be cut short") from error
    except OSError as error:
        raise SourceUnavailable(f"the bundle {path} cannot be opened ({reason_of(error)})") from error
