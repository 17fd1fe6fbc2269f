"""The state of mined templates as bytes: one Parquet table with a version, read without executing anything."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parsers.folding import fold

# A new number whenever the masks or the shapes mean something else than before.
VERSION = "1"
_VERSION, _APPROXIMATE = b"problem-snapshot.templates", b"problem-snapshot.approximate"
_SCHEMA = pa.schema([("folded", pa.string()), ("count", pa.int64()), ("shape", pa.dictionary(pa.int32(), pa.string()))])


class TemplateStateError(ValueError):
    """A file of templates that is damaged, or was written by another version."""


def write_state(lines: pa.Table, approximate: int) -> bytes:
    """The bytes of `lines`, table(folded, count, shape); the same for equal tables whatever the order of their rows."""
    lines = lines.select(_SCHEMA.names).sort_by("folded")
    shapes = lines["shape"].cast(pa.string()).combine_chunks()
    # Encoded anew, so that what is written depends on the rows alone.
    lines = lines.set_column(2, "shape", pc.dictionary_encode(shapes)).cast(_SCHEMA)
    lines = lines.replace_schema_metadata({_VERSION: VERSION, _APPROXIMATE: str(approximate)})
    sink = io.BytesIO()
    pq.write_table(lines, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def read_state(content: bytes, *, name: str) -> tuple[pa.Table, int]:
    """The table, and how many rows that it counts are approximate. Raises `TemplateStateError`, which tells what to do."""
    again = "mine the logs again and save them anew"
    try:
        lines = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
        metadata = lines.schema.metadata or {}
        version = metadata.get(_VERSION, b"").decode()
        if version and version != VERSION:
            raise TemplateStateError(f"{name}: templates of version {version!r}, this is {VERSION!r}; {again}")
        if not version or lines.schema.names != _SCHEMA.names:
            raise TemplateStateError(f"{name}: not a file of templates")
        lines = lines.cast(_SCHEMA)
        lines.validate(full=True)
        if any(column.null_count for column in lines.columns):
            raise TemplateStateError(f"{name}: damaged, a value is missing; {again}")
        _check(lines, name, again)
        return lines, int(metadata[_APPROXIMATE])
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, TemplateStateError):
            raise
        raise TemplateStateError(f"{name}: damaged ({str(error).splitlines()[0][:200]}); {again}") from error


def _check(lines: pa.Table, name: str, again: str) -> None:
    """What is read goes into loops that trust it: lines that are folded, each once, seen no less than never."""
    folded = lines["folded"].combine_chunks()
    same = pc.all(pc.equal(fold(folded).cast(pa.string()), folded), min_count=0).as_py()
    if not same or len(folded.unique()) != len(folded):
        raise TemplateStateError(f"{name}: damaged, a line in it is none of a template; {again}")
    if (pc.min(lines["count"]).as_py() or 0) < 0:
        raise TemplateStateError(f"{name}: damaged, a count is negative; {again}")
