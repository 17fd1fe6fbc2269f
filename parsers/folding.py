"""The first mask, the only one that reads every line: chunks that hold digits become `<*>`, and equal lines become one.

What folds. A *word* is a run of ASCII letters, digits and underscores; words joined by one `-`, `.` or `:` are read together
(`10.0.0.7:80`, `3f2b-ab12-77e0`, `attempt_2017_m_01`). A word with two digits or more, with a digit in front or behind a `_`, or
made of hexadecimal characters with a digit, is an id, a number, a time: it folds. A word of letters with one digit inside
(`eth0`, `log4j`, `SOCKS5`) is a name and stays, and so does a word of hexadecimal letters (`bad`), unless it is joined to one that
folds. Of a word that ends in `_` and is joined to such a one by `-`, the `-` is a minus sign (`blk_-42`).

Whatever is blank, or a control character, becomes one blank. Large inputs are folded by a compiled loop over the bytes, small
ones by a regular expression over Arrow strings; both give the same lines.
"""

from __future__ import annotations

import sys

import pyarrow as pa
import pyarrow.compute as pc

from parsers.distinct import distinct

# Characters kept of a line: what comes later says nothing new of the event, and a dump of a megabyte is one line too.
LONGEST = 1024

_HEXADECIMAL = "[a-fA-F]+"
_NAME = "[A-Za-z_]*[A-Za-z][0-9][A-Za-z_]*"
_SOFT = f"(?:{_HEXADECIMAL}|{_NAME})"
_BEFORE = rf"(?:{_SOFT}[\-.:]|[A-Za-z0-9_]*_-)*"
_DIGITS = (
    "(?:[0-9][A-Za-z0-9_]*|[A-Za-z_]*_[0-9][A-Za-z0-9_]*|[A-Za-z_]+[0-9][A-Za-z_]*[0-9][A-Za-z0-9_]*|"
    rf"{_HEXADECIMAL}[0-9][a-fA-F]*\b)"
)
CHUNK = rf"\b{_BEFORE}{_DIGITS}(?:[\-.:]{_BEFORE}{_DIGITS})*(?:[\-.:]{_SOFT}\b)*"

# Blanks and control characters of ASCII.
BLANKS = "".join(map(chr, [*range(33), 127]))
# From this many bytes on, loading the compiled loop (half a second, once a process) is worth it.
_COMPILED_FROM = 24_000_000
# Once it is loaded, it is the quicker one for almost anything.
_COMPILED_FROM_WHEN_LOADED = 200_000


def fold(messages: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """Each of `messages` (string; null is the empty line) folded; the dictionary holds each distinct result once.

    Of a message the first line is kept, without blanks in front, and of what it folds to 1,024 characters.
    """
    if pa.types.is_dictionary(messages.type):
        return _fold_dictionary(messages)
    if not pa.types.is_string(messages.type):
        messages = messages.cast(pa.string())
    loaded = "parsers.folding_kernel" in sys.modules
    if messages.nbytes < (_COMPILED_FROM_WHEN_LOADED if loaded else _COMPILED_FROM):
        return fold_by_expression(messages)
    return fold_compiled(messages)


def _fold_dictionary(messages: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """`fold` for messages that are dictionary-encoded: each of their values once."""
    chunks = messages.unify_dictionaries().chunks if isinstance(messages, pa.ChunkedArray) else [messages]
    if not chunks:
        return fold(pa.array([], pa.string()))
    indices = pa.concat_arrays([chunk.indices for chunk in chunks])
    # One more value than there are, for nulls.
    folded = fold(pa.concat_arrays([chunks[0].dictionary.cast(pa.string()), pa.array([""])]))
    codes = pc.take(folded.indices, pc.fill_null(indices.cast(pa.int64()), len(folded) - 1))
    # A value that no row has is no line.
    used = codes.dictionary_encode()
    return pa.DictionaryArray.from_arrays(used.indices, pc.take(folded.dictionary, used.dictionary))


def warm_up() -> None:
    """Load the compiled loops now: for a process that will mine often. Compiles them where they never ran (some seconds)."""
    fold_compiled(pa.array(["a"]))


def fold_by_expression(messages: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """`fold` by RE2: linear time, whatever the input."""
    if isinstance(messages, pa.ChunkedArray):
        messages = messages.combine_chunks()
    text = pc.utf8_ltrim(pc.fill_null(messages, ""), characters=BLANKS)
    text = pc.replace_substring_regex(text, pattern=r"(?s)\n.*", replacement="")
    # A chunk may be longer than a line may be, and folds as a whole. So the cut comes last.
    text = pc.replace_substring_regex(text, pattern=CHUNK, replacement="<*>")
    text = pc.replace_substring_regex(text, pattern=r"[\x00-\x20\x7f]+", replacement=" ")
    long = pc.greater(pc.utf8_length(text), LONGEST)
    if pc.any(long).as_py():
        cut = pc.utf8_slice_codeunits(pc.filter(text, long), 0, LONGEST)
        # No part of a wildcard stays.
        cut = pc.replace_substring_regex(cut, pattern=r"<\*?$", replacement="")
        text = pc.replace_with_mask(text, long, cut)
    return pc.dictionary_encode(pc.utf8_rtrim(text, characters=" "))


def fold_compiled(messages: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """`fold` by the compiled loop."""
    from parsers.folding_kernel import CLASSES, call, fold_lines

    return distinct(messages, lambda some: call(fold_lines, some.data, some.offsets, CLASSES, *some.into))
