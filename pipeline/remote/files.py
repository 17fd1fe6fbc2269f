"""Which files of this machine a manifest means, and which it names that are not read, each with the reason."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from parsers.excerpts import Shape
from snapshots.model import Text

_DOCUMENTS = frozenset({".ndjson", ".jsonl", ".json"})
# What a log is called; `syslog` and `catalina.out.1` are among them.
_TEXT = frozenset({"", ".log", ".txt", ".out", ".err"})

NOTHING = Text(en="nothing of that name is here", zh="此处没有该名称的文件")
_NO_FILE = Text(en="is no ordinary file", zh="不是普通文件")
_OUTSIDE = Text(en="is a link that leads out of the folder asked for", zh="是指向所要求目录之外的链接")
_UNREADABLE = Text(en="may not be read by this user", zh="当前用户无权读取")
_EMPTY = Text(en="is empty", zh="文件为空")
_OLD = Text(en="was last written before the time asked for", zh="最后写入早于所要求的时间范围")
_OTHER = Text(en="is not called as a log is", zh="文件名不是日志的名称")
_ODD = Text(en="has a name that is no text", zh="文件名不是有效文本")


@dataclass(frozen=True)
class Chosen:
    """A file that would be read; `bytes` as it lies there."""

    path: Path
    shape: Shape
    bytes: int
    written: float


@dataclass(frozen=True)
class Left:
    """What the manifest names and is not taken, or not in whole."""

    path: str
    why: Text


def choose(paths: Sequence[str], start: datetime, most: int) -> tuple[list[Chosen], list[Left]]:
    """The files that `paths` name, by name, and what is left. Of more than `most` those written last are chosen.

    `start` is where the time asked for begins: a file that was last written before it holds nothing of it.
    """
    chosen: dict[Path, Chosen] = {}
    left: dict[str, Left] = {}
    for pattern in paths:
        folder = _folder_of(pattern)
        found = sorted(glob.iglob(os.path.expanduser(pattern), recursive=True))  # noqa: PTH111,PTH207 - a glob may be absolute
        # What cannot even be looked at is no folder, and is told below.
        files = [Path(name) for name in found if not os.path.isdir(name)]  # noqa: PTH112 - the one that never raises
        if not files:
            left[pattern] = Left(pattern, NOTHING)
        for path in files:
            told = _looked_at(path, folder, start)
            if isinstance(told, Chosen):
                chosen.setdefault(path.resolve(), told)
            else:
                left[str(path)] = Left(_shown(path), told)
    newest = sorted(chosen.values(), key=lambda one: (-one.written, str(one.path)))
    many = Text(
        en=f"more than {most:,} files: those written last are taken", zh=f"超过 {most:,} 个文件：只取最近写入的文件"
    )
    left |= {str(one.path): Left(str(one.path), many) for one in newest[most:]}
    return sorted(newest[:most], key=lambda one: str(one.path)), [left[key] for key in sorted(left)]


def _folder_of(pattern: str) -> Path:
    """The part of a pattern before its first sign that stands for something: nothing outside of it is read.

    >>> str(_folder_of("/var/log/app/*.log")), str(_folder_of("/var/log/app/a.log"))
    ('/var/log/app', '/var/log/app')
    """
    parts: list[str] = []
    for part in PurePosixPath(os.path.expanduser(pattern)).parts[:-1]:  # noqa: PTH111
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts) if parts else Path()


def _looked_at(path: Path, folder: Path, start: datetime) -> Chosen | Text:
    """The file as one to be read, or why not."""
    try:
        if _shown(path) != str(path):
            return _ODD
        if not path.resolve().is_relative_to(folder.resolve()):
            return _OUTSIDE
        told = path.stat()
        if not stat.S_ISREG(told.st_mode):
            return _NO_FILE
        shape = shape_of(path.name)
        if shape is None:
            return _OTHER
        if not told.st_size:
            return _EMPTY
        if told.st_mtime < start.timestamp():
            return _OLD
        # Not opened: nobody has agreed yet.
        if not os.access(path, os.R_OK):
            return _UNREADABLE
    except (OSError, RuntimeError, ValueError):
        return _UNREADABLE
    return Chosen(path, shape, told.st_size, told.st_mtime)


def shape_of(name: str) -> Shape | None:
    """What a file holds by its name, `.gz` and the number of a rotated one aside; None for what is no log.

    >>> shape_of("app.log.1.gz"), shape_of("syslog"), shape_of("pay.ndjson"), shape_of("id_rsa.pem")
    ('text', 'text', 'documents', None)
    >>> shape_of("app-2026-11-23.log"), shape_of("app.log.2026-11-23"), shape_of(".env")
    ('text', 'text', None)
    """
    if name.startswith("."):
        return None
    for ending in _endings(name):
        if ending in _DOCUMENTS:
            return "documents"
        return "text" if ending in _TEXT else None
    return "text"


def _endings(name: str) -> Iterator[str]:
    """The endings from the last, without `.gz` and those that are numbers or dates."""
    for ending in reversed(PurePosixPath(name.lower()).suffixes):
        if ending != ".gz" and not ending[1:].replace("-", "").replace("_", "").isdigit():
            yield ending


def _shown(path: Path) -> str:
    """A name as text, also one that is none."""
    return str(path).encode("utf-8", "replace").decode()
