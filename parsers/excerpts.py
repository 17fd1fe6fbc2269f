"""Stretches of log files cut to a span of time and redacted, record by record: what may leave the machine they lie on.

Plain files become documents as a log shipper writes them: `@timestamp`, `message`, `log.file.path` and `log.offset`, one JSON
object a line. Documents stay as they are, but for what is masked in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.documents.parsing import parse_each_line
from parsers.filling import one_array
from parsers.plain import parse_text, texts_at
from parsers.redaction.redactor import Redactor
from parsers.tables import TIME

Shape = Literal["text", "documents"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Cutting:
    """What is kept: records from `start` to before `end`, both aware. `zone` is of times in plain files without one."""

    start: datetime
    end: datetime
    zone: tzinfo
    redactor: Redactor

    @property
    def middle(self) -> datetime:
        """The moment near which times without a date or a year lie."""
        return self.start + (self.end - self.start) / 2


@dataclass(frozen=True)
class Excerpt:
    """One stretch: documents as lines of UTF-8, how many there are, and how many records were left for which reason.

    `undated` have no time and none before them in their file. `last` is the last time seen, for the stretch that follows.
    """

    lines: tuple[bytes, ...]
    outside: int
    undated: int
    last: datetime | None


def cut(data: bytes, shape: Shape, file: str, offset: int, cutting: Cutting, last: datetime | None) -> Excerpt:
    """The records of `data` that lie in the span, redacted.

    `data` begins at byte `offset` of the file that is called `file`, and ends with a whole record. A record without a time has
    that of the one before it; `last` is the time before the first. Never raises on bad data.
    """
    if shape == "documents":
        rows, starts, ends = parse_each_line(data, around=cutting.middle)
        keep, left = _chosen(rows.column("@timestamp"), cutting, last)
        texts, _ = texts_at(data, starts[keep], ends[keep])
        redacted = cutting.redactor.redact_json_lines(texts)
        return Excerpt(tuple(line.encode() for line in redacted.to_pylist()), *left)
    rows = parse_text(data, source="", file=file, zone=cutting.zone, around=cutting.middle).table
    moments = rows.column("@timestamp")
    keep, left = _chosen(moments, cutting, last)
    kept = rows.take(pa.array(keep))
    # Many a plain file holds JSON line by line, or some of it in a line.
    messages = cutting.redactor.redact_json_lines(one_array(kept.column("message")))
    redacted = cutting.redactor.redact_array(messages)
    stamps = pa.chunked_array([_filled(moments, last)]).take(pa.array(keep)).to_pylist()
    places = kept.column("log.offset").to_pylist()
    lines = (
        _document(file, offset + place, stamp, message)
        for place, stamp, message in zip(places, stamps, redacted.to_pylist(), strict=True)
    )
    return Excerpt(tuple(lines), *left)


def _document(file: str, offset: int, stamp: datetime, message: str) -> bytes:
    return msgspec.json.encode(
        {
            "_id": f"{file}:{offset}",
            "@timestamp": stamp.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "message": message,
            "log.file.path": file,
            "log.offset": offset,
        }
    )


def _filled(moments: Any, last: datetime | None) -> Any:
    """Times, each null as the one before it."""
    first = pa.array([last], TIME)
    whole = pa.chunked_array([first, *moments.chunks]).combine_chunks()
    return pc.fill_null_forward(whole)[1:]


def _chosen(moments: Any, cutting: Cutting, last: datetime | None) -> tuple[Any, tuple[int, int, datetime | None]]:
    """The numbers of the rows that are kept; how many are outside, how many without a time, and the last time of all."""
    filled = _filled(moments, last)
    dated = pc.is_valid(filled).to_numpy(zero_copy_only=False)
    micros = pc.fill_null(filled.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    start, end = ((moment - _EPOCH) // _MICROSECOND for moment in (cutting.start, cutting.end))
    inside = dated & (micros >= start) & (micros < end)
    latest = filled[-1].as_py() if len(filled) else last
    return np.flatnonzero(inside), (int((dated & ~inside).sum()), int((~dated).sum()), latest)
