"""A log file's bytes in stretches that end with a whole record, however large it is: nothing of it is held for long."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from parsers.excerpts import Shape
from parsers.plain import record_breaks

_STRETCH = 4 << 20
# A record that is longer than this is cut.
_LONGEST = 16 << 20
# Bytes in which a file that is no text shows itself.
_LOOKED_AT = 8192
_BOM = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass(frozen=True)
class Damaged:
    """Where a file could be read no further, and why."""

    after: int
    reason: str


def stretches(path: Path, shape: Shape) -> Iterator[tuple[int, bytes] | Damaged]:
    """(where it begins, its bytes) of each stretch, uncompressed; `Damaged` at last where the file broke off.

    UTF-16 comes as UTF-8, and its offsets count bytes of that.
    """
    offset, rest, size, first = 0, b"", 0, True
    try:
        with _opened(path) as file:
            read = _reader(file)
            while piece := read():
                if first and b"\0" in piece[:_LOOKED_AT]:
                    yield Damaged(0, "it holds no text")
                    return
                first = False
                size += len(piece)
                data = rest + piece
                end = _last_break(data, shape)
                if not end and len(data) > _LONGEST:
                    end = len(data)
                if end:
                    yield offset, data[:end]
                    offset += end
                rest = data[end:]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        if rest:
            yield offset, rest
        yield Damaged(size, getattr(error, "strerror", None) or str(error) or type(error).__name__)
        return
    if rest:
        yield offset, rest


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _reader(file: BinaryIO) -> Callable[[], bytes]:
    """What gives the next bytes, as UTF-8 where they are UTF-16, and none at the end."""
    pieces = _pieces(file)
    head = next(pieces, b"")
    wide = _BOM.get(head[:2])
    held = chain([head[2:] if wide else head], pieces)
    decoder = codecs.getincrementaldecoder(wide)(errors="replace") if wide else None

    def read() -> bytes:
        data = next(held, b"")
        return decoder.decode(data, final=not data).encode("utf-8", "replace") if decoder else data

    return read


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file, some megabytes at a time. What came before it breaks off is given first."""
    held, size = [], 0
    try:
        # Little by little: reading much at once would lose all of it where a packed file breaks off.
        while piece := file.read1(_STRETCH):  # type: ignore[attr-defined]
            held.append(piece)
            size += len(piece)
            if size >= _STRETCH:
                yield b"".join(held)
                held, size = [], 0
    except (OSError, EOFError, zlib.error):
        if held:
            yield b"".join(held)
        raise
    if held:
        yield b"".join(held)


def _last_break(data: bytes, shape: Shape) -> int:
    """Where the last whole record of `data` ends, 0 where none does."""
    if shape == "documents":
        return data.rfind(b"\n") + 1
    return max((end for end in record_breaks(data, _STRETCH // 2) if end < len(data)), default=0)
