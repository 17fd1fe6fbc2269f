"""Which messages the parser of lines takes apart in the same way, so that one of each kind stands for all.

Taking a line apart costs microseconds, folding it a fifth of one. Two messages that fold to the same text differ, in their first
lines, in chunks with digits only; what `parsers.lines.enrichment.enrich` leaves of both as body is then masked to the same line. Two things
are looked at beside: what stands before the first letter, since `2026-11-23 10:02:31 paid` begins with a time and `17 25 paid` does
not; and the lines behind the first, which folding leaves out, but for the digits of their numbers.

A shape (`shapes.py`) says more and is rarer: lines of one shape are as long as each other, so that it tells where their values
are, and a log has hundreds of shapes for one kind. Learning wants only the masked body, and `take` all values, so each has its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.distinct import buffers
from parsers.folding import LONGEST, fold

# Bytes of a message's beginning that are looked at, and of its end that its rank follows from.
_HEAD, _TAIL = 40, 24


@dataclass(frozen=True)
class Alike:
    """One value per message.

    `kinds` are equal where two are alike, from zero on; `cut` says whether the first line is too long to be folded whole, so that
    the message cannot stand for others; `hashes` follow from its size and its last bytes.
    """

    kinds: npt.NDArray[np.int64]
    cut: npt.NDArray[np.bool_]
    hashes: npt.NDArray[np.uint64]


def alike(messages: pa.Array) -> Alike:
    """The kinds of `messages` (string, null is the empty line)."""
    messages = pc.fill_null(messages, "")
    folded = fold(messages)
    shapes, hashed = _looked(messages)
    codes: Any = folded.indices.to_numpy(zero_copy_only=False)
    # What is this long may have been cut, in front of a wildcard too.
    long = pc.greater(pc.utf8_length(folded.dictionary), LONGEST - 3).to_numpy(zero_copy_only=False)
    keys = (codes.astype(np.uint64) << np.uint64(32)) | (shapes >> np.uint64(32))
    kinds = pc.dictionary_encode(pa.array(keys, pa.uint64())).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return Alike(kinds, long[codes], hashed)


def hashes(messages: pa.Array) -> npt.NDArray[np.uint64]:
    """The hash of each message, as in `alike`."""
    return _looked(pc.fill_null(messages, ""))[1]


def _looked(messages: pa.Array) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    from parsers.alike_kernel import SIGNS, look
    from parsers.folding_kernel import call

    offsets, data = buffers(messages)
    shapes, hashed = np.empty(len(messages), np.uint64), np.empty(len(messages), np.uint64)
    call(look, data, offsets, SIGNS, _HEAD, _TAIL, shapes, hashed)
    return shapes, hashed
