"""Masking: what differs from line to line and says nothing of the event becomes a named wildcard.

All rules are RE2 (linear time, whatever the input). The first runs on every line and folds most of the variety away; the
rest run once on each distinct result. Masking what is masked changes nothing.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

# A chunk of letters, digits, dots and dashes that holds a digit: ids, times, amounts, addresses, versions, hashes.
_DIGIT_CHUNK = (r"[A-Za-z0-9_\-]*[0-9][A-Za-z0-9_\-]*(?:[.:][A-Za-z0-9_\-]*[0-9][A-Za-z0-9_\-]*)*", "<*>")

# Characters that are kept of a line: Drain looks at no more.
_LONGEST = 1024

# On the distinct lines that are left, in this order: no rule makes anew what an earlier one folds.
_ON_UNIQUES: tuple[tuple[str, str], ...] = (
    (r"[ \t]+", " "),
    # A URL keeps its host and path, which name the call, and loses its query string. What is left in its place is no
    # wildcard, or it would be one with the next.
    (r"(https?://[^\s?\"'，。）)]+)\?[^\s\"'，。）)]*", r"\1?*"),
    # Long hexadecimal without a digit is still an id.
    (r"\b[a-fA-F]{16,}\b", "<*>"),
    # Signs and currency symbols beside a masked number belong to it.
    (r"[+\-$€£¥￥]+<\*>", "<*>"),
    # Wildcards that touch or are parted by punctuation alone are one.
    (r"<\*>(?:[.,:/\\_\-|+TZ ]*<\*>)+", "<*>"),
)


def mask(messages: pa.Array) -> pa.DictionaryArray:
    """`messages` masked, dictionary-encoded: the dictionary holds each distinct masked line once, sorted.

    Only the first line of a message is kept, and of that 1,024 characters: Drain looks at no more, and a stack trace was
    collapsed to one line before. Nulls are masked as the empty line.
    """
    text = pc.fill_null(messages.cast(pa.string()), "")
    text = pc.utf8_ltrim_whitespace(text)
    text = pc.replace_substring_regex(text, pattern=r"(?s)\n.*", replacement="")
    text = pc.utf8_slice_codeunits(text, 0, _LONGEST)
    folded = _dictionary(pc.replace_substring_regex(text, pattern=_DIGIT_CHUNK[0], replacement=_DIGIT_CHUNK[1]))
    uniques = _fold(folded.dictionary)
    if (pc.max(pc.utf8_length(uniques)).as_py() or 0) > _LONGEST:
        # A wildcard can be longer than what it stands for; and a word that is cut can become one.
        uniques = _fold(pc.utf8_slice_codeunits(uniques, 0, _LONGEST))
        uniques = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(uniques, 0, _LONGEST))
    # Several folded lines can mask to the same: encode again, with a sorted dictionary so that row order has no say.
    again = _dictionary(uniques)
    order = pc.sort_indices(again.dictionary)
    rank = pc.sort_indices(order).cast(pa.int32())
    to_sorted = pc.take(rank, again.indices)
    return pa.DictionaryArray.from_arrays(pc.take(to_sorted, folded.indices), pc.take(again.dictionary, order))


def _fold(lines: pa.Array) -> pa.Array:
    for pattern, replacement in _ON_UNIQUES:
        lines = pc.replace_substring_regex(lines, pattern=pattern, replacement=replacement)
    return pc.utf8_trim_whitespace(lines)


def _dictionary(values: pa.Array) -> pa.DictionaryArray:
    encoded = pc.dictionary_encode(values)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded
