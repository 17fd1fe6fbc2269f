"""A file's bytes, unpacked, whatever goes wrong: what is damaged or too large is read as far as it goes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.sources.bundle.words import reason_of

_PIECE = 1 << 20
# Bytes that come out of a compressed piece at once: a megabyte may hold a thousand.
_UNPACKED = 2 << 20


@dataclass(frozen=True)
class File:
    """The uncompressed bytes of one file, and in a few words what is wrong with them."""

    data: bytes
    problem: str | None = None
    # The time was up before its end.
    late: bool = False


def unpacked(opened: Callable[[], BinaryIO], name: str, limit: int, out: Callable[[], bool] | None = None) -> File:
    """A file's bytes whatever goes wrong: a damaged one never costs the others. Encrypted ones cannot be read."""
    try:
        with opened() as stream:
            unpack = _gunzip if name.lower().endswith(".gz") else _slurp
            return unpack(stream, name, limit, out or _never)
    except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        return File(b"", f"{name} cannot be read ({reason_of(error)})")


def _never() -> bool:
    return False


def read_file(path: Path, name: str, limit: int) -> tuple[bytes, str | None]:
    """At most `limit` uncompressed bytes of a file, and what is wrong, under its short `name`, if they are not all."""
    file = unpacked(lambda: path.open("rb"), name, limit)
    return file.data, file.problem


def _slurp(stream: BinaryIO, name: str, limit: int, out: Callable[[], bool]) -> File:
    """A stream's bytes. A zip tells only at the end that a file in it was damaged; what came before is kept."""
    pieces, size = [], 0
    try:
        while size <= limit and (piece := stream.read(_PIECE)):
            if out():
                return File(b"", late=True)
            pieces.append(piece)
            size += len(piece)
    except (OSError, zlib.error, zipfile.BadZipFile) as error:
        return File(b"".join(pieces)[:limit], f"{name} is damaged after {size:,} bytes ({reason_of(error)})")
    return File(b"".join(pieces)[:limit], _over(name, limit) if size > limit else None)


def _over(name: str, limit: int) -> str:
    return f"{name} goes beyond what is read of a bundle: its first {limit:,} bytes were read, the rest was not"


def _gunzip(stream: BinaryIO, name: str, limit: int, out: Callable[[], bool]) -> File:
    """What a gzip file holds, however many members it has and as far as it goes."""
    pieces: list[bytes] = []
    size = 0
    member = zlib.decompressobj(wbits=31)
    started = False
    problem = None
    try:
        while problem is None and (pending := stream.read(_PIECE)):
            while pending:
                if out():
                    return File(b"", late=True)
                if member.eof:
                    # Padding with zeros is allowed behind the last member.
                    pending = pending.lstrip(b"\0")
                    if not pending:
                        break
                    member, started = zlib.decompressobj(wbits=31), False
                started = True
                piece = member.decompress(pending, min(limit - size + 1, _UNPACKED))
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    problem = _over(name, limit)
                    break
                pending = member.unused_data if member.eof else member.unconsumed_tail
        if problem is None and started and not member.eof:
            problem = f"{name} is cut short: it ends in the middle of the compressed data, {size:,} bytes were read"
    except (OSError, zlib.error, zipfile.BadZipFile) as error:
        problem = f"{name} is damaged after {size:,} bytes ({reason_of(error)})"
    return File(b"".join(pieces)[:limit], problem)
