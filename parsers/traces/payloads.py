"""JSON of trace files as it comes: cut short, several payloads behind one another, values of the wrong type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np

# msgspec reads `Raw | None` as null only, so absent parts are empty bytes.
ABSENT = msgspec.Raw(b"")
READ_FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_by(decoder: Any, raw: msgspec.Raw | bytes) -> Any:
    """`raw` by `decoder`, or None. Bytes that are no UTF-8 are replaced."""
    try:
        return decoder.decode(raw)
    except READ_FAILURES:
        try:
            return decoder.decode(bytes(raw).decode(errors="replace"))
        except READ_FAILURES:
            return None


ANY = msgspec.json.Decoder()
RAW_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def lines_of(data: bytes) -> Iterator[bytes]:
    """The lines that are not blank, without the white space around them."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if line := data[start:end].strip():
            yield line
        start = end + 1


def payloads_of(data: bytes, read: Callable[[bytes], Any], path: str) -> Iterator[Any]:
    """Each payload of a file by `read`; None stands for one that cannot be read, or for the lost end of one.

    `path` is the run of brackets in which a span stands, to which a payload that is cut short is mended.
    """
    data = data.removeprefix(b"\xef\xbb\xbf").strip()
    if not data:
        return
    try:
        whole = read(data)
    except READ_FAILURES:
        pass
    else:
        yield whole
        return
    for piece in _pieces(data):
        try:
            yield read(piece)
        except READ_FAILURES:
            mended = _mended(piece, path, read)
            if mended is not None:
                yield mended
            yield None


def _pieces(data: bytes) -> Iterator[bytes]:
    """The top-level values of concatenated JSON: by line where each line is one, else by counting brackets."""
    lines = list(lines_of(data))
    if len(lines) > 1 and all(line[:1] == b"{" for line in lines):
        yield from lines
        return
    start = 0
    for places, depths in _closings(data):
        for place in places[depths == 0].tolist():
            yield data[start : place + 1]
            start = place + 1
    if data[start:].strip():
        yield data[start:]


def _mended(data: bytes, path: str, read: Callable[[bytes], Any]) -> Any:
    """A payload that is cut short, read as far as its last whole span; None where it has none.

    Brackets are counted, not told apart, so the few last places where a span may end are tried.
    """
    inside = path[:-1]
    candidates: list[int] = []
    for places, depths in _closings(data):
        candidates = [*candidates, *places[depths == len(inside)][-_TRIED:].tolist()][-_TRIED:]
    closers = "".join("}" if bracket == "{" else "]" for bracket in reversed(inside)).encode()
    for place in reversed(candidates):
        with suppress(*READ_FAILURES):
            return read(data[: place + 1] + closers)
    return None


_TRIED = 50
_SLAB = 16 << 20
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
# +1 for an opening bracket, -1 for a closing one, by byte.
_STEP = np.zeros(256, np.int8)
_STEP[list(b"{[")] = 1
_STEP[list(b"}]")] = -1


def _closings(data: bytes) -> Iterator[tuple[Any, Any]]:
    """The places of closing brackets outside strings and how many brackets stay open behind each, slab by slab."""
    quoted = depth = 0
    for start in range(0, len(data), _SLAB):
        slab = np.frombuffer(data, np.uint8, min(_SLAB, len(data) - start), start)
        quotes = np.flatnonzero(slab == _QUOTE)
        # The byte before the first one is the slab's last, which only adds a question that has its answer.
        doubtful = np.flatnonzero((slab[quotes - 1] == _BACKSLASH) | (quotes == 0))
        escaped = [place for place in doubtful.tolist() if _is_escaped(data, start + int(quotes[place]))]
        quotes = np.delete(quotes, escaped)
        steps = _STEP[slab]
        brackets = np.flatnonzero(steps)
        outside = (np.searchsorted(quotes, brackets) + quoted) % 2 == 0
        brackets = brackets[outside]
        depths = depth + np.cumsum(steps[brackets], dtype=np.int64)
        closing = steps[brackets] < 0
        yield brackets[closing] + start, depths[closing]
        quoted = (quoted + len(quotes)) % 2
        depth = int(depths[-1]) if len(depths) else depth


def _is_escaped(data: bytes, place: int) -> bool:
    """Whether an odd number of backslashes stands before `place`."""
    first = place
    while first and data[first - 1] == _BACKSLASH:
        first -= 1
    return (place - first) % 2 == 1
