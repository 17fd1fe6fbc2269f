"""Plain log files to the LOGS table: encoding, records of several lines, and where each record lies.

A record is a line with a header (time, level, or the like) and the lines without one behind it. In a file whose lines have no
headers each line is a record, but for indented lines and the inner lines of stack traces.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.documents.parsing import Parsed
from parsers.lines.enrichment import enrich
from parsers.lines.header_forms import RECORD_START
from parsers.tables import LOGS, conform, empty

# A record longer than this is cut, so that a file without line breaks or headers cannot become one value.
_LONGEST = 1 << 20
# Lines in which a header is looked for where a file is cut in stretches.
_TRIED = 5000
_INNER = (
    r"^(?:\s|Caused by:|Suppressed:|\.\.\. \d+ |Traceback \(most|The above exception|During handling of|goroutine \d+|#\d+ "
    r"|Stack trace:|stack backtrace:|[}\])]|</|Next \S+(?:Exception|Error)|created by |exit status |---> )"
)
_LAST = r"^[\w.$]+(?:Error|Exception|Warning|Exit|Interrupt)(?::|$)"
# Share of headers among the lines that could have one, from which a line without is taken for a continuation.
_HEADED = 0.2
# Share of Han characters among those beyond ASCII, from which bytes that are no UTF-8 are taken for GB 18030.
_HAN = 0.7


def parse_text(
    data: bytes, *, source: str, file: str, zone: tzinfo | None = None, around: datetime | None = None
) -> Parsed:
    """The records of a plain log file as a LOGS table, in their order.

    Read are UTF-8, GB 18030 (and so GBK), and UTF-16 with a byte order mark, each record by itself, so that a file may mix
    the first two. `log.offset` and `log.length` count bytes of `data`. `zone` and `around` are those of
    `parsers.times.parse_times`. `Parsed.lines` counts records; `unparsed` those in which bytes had to be replaced.
    Never raises on bad data.
    """
    wide = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(data[:2])
    starts, ends = _lines(data, wide)
    if not len(starts):
        return Parsed(empty(LOGS), 0, 0, 0)
    texts, _ = texts_at(data, starts, ends, wide)
    first = _first_lines(texts)
    last = np.concatenate([first[1:], [len(starts)]]) - 1
    starts, ends = _cut(starts[first], ends[last])
    texts, replaced = texts_at(data, starts, ends, wide)
    size = len(starts)
    table = pa.table(
        {
            "message": texts,
            "_source": pa.repeat(pa.scalar(source, pa.string()), size),
            "log.file.path": pa.repeat(pa.scalar(file, pa.string()), size),
            "log.offset": pa.array(starts, pa.int64()),
            "log.length": pa.array(ends - starts, pa.int64()),
        }
    )
    return Parsed(enrich(conform(table, LOGS), zone=zone, around=around), size, replaced, 0)


def record_breaks(data: bytes, size: int) -> Iterator[int]:
    """Where stretches of about `size` bytes end, so that each can be read by itself; the last one is the end of `data`.

    A stretch ends before a line with a header where one of the next few thousand lines has one, else before any line.
    UTF-16 is not cut.
    """
    end = 0
    while end < len(data):
        place = data.find(b"\n", end + size) + 1 if end + size < len(data) else 0
        if not place or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            end = len(data)
        else:
            next_lines = data[place : place + _LONGEST].split(b"\n")[:_TRIED]
            texts = pa.array([line.decode("utf-8", "replace") for line in next_lines], pa.string())
            first = pc.index(pc.match_substring_regex(texts, RECORD_START), True).as_py()
            end = place + sum(len(line) + 1 for line in next_lines[: max(first, 0)])
        yield end


def _lines(data: bytes, wide: str | None) -> tuple[Any, Any]:
    """Start and end of each line that holds more than white space, line ends left out, in bytes."""
    if wide:
        units = np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2" if wide.endswith("le") else ">u2")
        step, first = 2, 1
    else:
        units = np.frombuffer(data, dtype=np.uint8)
        step, first = 1, 3 if data[:3] == b"\xef\xbb\xbf" else 0
    breaks = np.flatnonzero(units == ord("\n"))
    starts = np.concatenate([np.array([first], dtype=np.int64), breaks + 1])
    ends = np.concatenate([breaks, np.array([len(units)], dtype=np.int64)])
    space = (units == ord(" ")) | (units == ord("\t")) | (units == ord("\r"))
    # Trailing white space off; leading white space says that a line continues another.
    rows = np.flatnonzero(ends > starts)
    while len(rows):
        rows = rows[space[ends[rows] - 1]]
        ends[rows] -= 1
        rows = rows[ends[rows] > starts[rows]]
    kept = ends > starts
    return starts[kept] * step, ends[kept] * step


def texts_at(data: bytes, starts: Any, ends: Any, wide: str | None = None) -> tuple[Any, int]:
    """The byte ranges as strings, and in how many of them bytes were replaced.

    UTF-8 and GB 18030 are told apart range by range; `wide` is utf-16-le or utf-16-be where all of `data` is that.
    """
    if not wide:
        values = pa.array(np.frombuffer(data, dtype=np.uint8))
        flat = pa.ListViewArray.from_arrays(pa.array(starts, pa.int32()), pa.array(ends - starts, pa.int32()), values)
        bounds = np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(ends - starts, dtype=np.int32)])
        held = pa.py_buffer(flat.flatten().to_numpy(zero_copy_only=False))
        binary = pa.BinaryArray.from_buffers(pa.binary(), len(starts), [None, pa.py_buffer(bounds), held])
        try:
            return binary.cast(pa.string()), 0
        except pa.ArrowInvalid:
            pass
    texts = []
    replaced = 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        text, whole = _decoded(data[start:end], wide)
        texts.append(text)
        replaced += not whole
    return pa.array(texts, pa.string()), replaced


def _decoded(data: bytes, wide: str | None) -> tuple[str, bool]:
    """`data` as text, and whether nothing had to be replaced."""
    try:
        return data.decode(wide or "utf-8"), True
    except UnicodeDecodeError:
        pass
    if not wide:
        try:
            text = data.decode("gb18030")
        except UnicodeDecodeError:
            text = ""
        beyond = [character for character in text if not character.isascii()]
        known = sum("\u3000" <= c <= "\u303f" or "\u4e00" <= c <= "\u9fff" or "\uff00" <= c <= "\uffef" for c in beyond)
        if beyond and known >= _HAN * len(beyond):
            return text, True
    return data.decode(wide or "utf-8", errors="replace"), False


def _first_lines(texts: Any) -> Any:
    """The numbers of the lines that begin a record."""
    headed = pc.match_substring_regex(texts, RECORD_START).to_numpy(zero_copy_only=False)
    inner = pc.match_substring_regex(texts, _INNER).to_numpy(zero_copy_only=False) & ~headed
    indented = pc.match_substring_regex(texts, r"^\s").to_numpy(zero_copy_only=False)
    last = pc.match_substring_regex(texts, _LAST).to_numpy(zero_copy_only=False) & ~headed
    inner[1:] |= last[1:] & indented[:-1]
    plain = int((~headed & ~inner).sum())
    begins = headed if headed.sum() >= _HEADED * (plain + headed.sum()) and headed.any() else ~inner
    begins[0] = True
    return np.flatnonzero(begins)


def _cut(starts: Any, ends: Any) -> tuple[Any, Any]:
    """The ranges, those over `_LONGEST` bytes in pieces of that length."""
    if not len(starts) or int((ends - starts).max()) <= _LONGEST:
        return starts, ends
    pieces = [
        (at, min(at + _LONGEST, end))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        for at in range(start, end, _LONGEST)
    ]
    cut = np.array(pieces, dtype=np.int64)
    return cut[:, 0], cut[:, 1]
