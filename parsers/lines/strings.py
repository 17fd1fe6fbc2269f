"""Columns of text, matched and cut without a Python string a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.distinct import buffers

# Characters in which a header must end.
_HEAD = 256


def matching(texts: Any, pattern: str) -> Any:
    """Whether each text matches, as numpy booleans."""
    return pc.match_substring_regex(texts, pattern).fill_null(False).to_numpy(zero_copy_only=False)


def matching_among(texts: Any, pattern: str, asked: Any) -> Any:
    """`matching` for the rows that `asked` (numpy booleans) names, False for the others, which are not looked at."""
    rows = np.flatnonzero(asked)
    if len(rows) == len(asked):
        return matching(texts, pattern)
    found = np.zeros(len(asked), dtype=bool)
    if len(rows):
        found[rows] = matching(texts.take(pa.array(rows)), pattern)
    return found


def heads_of(texts: Any) -> Any:
    """The first `_HEAD` characters of each text."""
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    return texts if longest <= _HEAD else pc.utf8_slice_codeunits(texts, 0, _HEAD)


def tails_of(texts: Any, skipped: Any) -> Any:
    """Each text without its first `skipped` bytes; `texts` has no nulls."""
    if not skipped.any():
        return texts
    edges, _ = buffers(texts)
    starts = edges[:-1] + np.minimum(skipped, edges[1:] - edges[:-1]).astype(np.int32)
    return cut_out(texts, starts, edges[1:] - starts)


def cut_out(texts: Any, starts: Any, sizes: Any) -> Any:
    """Strings of `sizes` bytes (int32) from the bytes `starts` (int32) of `texts` on."""
    data = texts.buffers()[2]
    values = pa.UInt8Array.from_buffers(pa.uint8(), data.size, [None, data])
    views = pa.ListViewArray.from_arrays(pa.array(starts, pa.int32()), pa.array(sizes, pa.int32()), values)
    dense = views.flatten()
    ends = np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(sizes, dtype=np.int32)])
    return pa.StringArray.from_buffers(
        len(sizes), pa.py_buffer(ends), pa.py_buffer(dense.to_numpy(zero_copy_only=False))
    )


def groups_of(texts: Any, pattern: str) -> dict[str, Any]:
    """The groups of `pattern` in `texts` by name; where texts repeat, each different one is matched once."""
    encoded = texts.dictionary_encode()
    few = 2 * len(encoded.dictionary) <= len(texts)
    struct = pc.extract_regex(encoded.dictionary if few else texts, pattern)
    groups = {field.name: pc.struct_field(struct, number) for number, field in enumerate(struct.type)}
    return {name: group.take(encoded.indices) for name, group in groups.items()} if few else groups
