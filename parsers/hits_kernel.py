"""Loops over the bytes of a page of hits, compiled: where each wanted value stands, and a column's values side by side.

`walk` reads what `parsers/documents` and `columns.py` read, where a page is of the usual form: JSON without a fault, each wanted
value a string, a whole number or null, and there once. It stops at anything else, and then the page is read the other way; a test
holds the two equal. Importing this file imports numba and loads the compiled code (from its cache after the first time).

Keys are looked up in a trie as `hits.py` makes it: `slots` is a hash table (linear probing) of edge numbers, an edge leads
from node `edges[e, 0]` by the key `keys[edges[e, 1]:edges[e, 2]]` to node `edges[e, 3]`. `leaves[node]` is the number of the
wanted value that stands there, or -1; `inner[node]` whether wanted values lie below; `shown[leaf]` whether an object there
counts as a value. `data`, `edges`, `keys` and `slots` are addresses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parsers.folding_kernel import _compiled
from parsers.memory_kernel import byte_at, inlined, put_byte, put_word, word_at

# What `walk` gives instead of a row count, and the size that marks a text with escapes in it.
ODD = -1
_DEEPEST = 32

_u = np.uint64
_QUOTES = np.uint64(0x2222222222222222)
_SLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_ONES = np.uint64(0x0101010101010101)
_TOPS = np.uint64(0x8080808080808080)
_SPACES = np.uint64(0x2020202020202020)
_MIX = np.uint64(0x9E3779B97F4A7C15)


@inlined
def _string_end(data: int, at: int, stop: int) -> int:
    """The place of the first quote, backslash or control character from `at` on; `stop` where there is none."""
    last = stop - 8
    while at <= last:
        word = word_at(data + at)
        quote = word ^ _QUOTES
        slash = word ^ _SLASHES
        # The lowest marked byte is right, those above it may be marked by a borrow (Mycroft's test for a zero byte).
        found = (((quote - _ONES) & ~quote) | ((slash - _ONES) & ~slash) | ((word - _SPACES) & ~word)) & _TOPS
        if found:
            while True:
                byte = byte_at(data + at)
                if byte == 34 or byte == 92 or byte < 32:
                    return at
                at += 1
        at += 8
    while at < stop:
        byte = byte_at(data + at)
        if byte == 34 or byte == 92 or byte < 32:
            return at
        at += 1
    return stop


@inlined
def _closing(data: int, at: int, stop: int) -> int:
    """The place of the quote that ends the string whose text begins at `at`, or ODD."""
    while True:
        at = _string_end(data, at, stop)
        if at >= stop or byte_at(data + at) < 32:
            return ODD
        if byte_at(data + at) == 34:
            return at
        at += 2


@inlined
def _over(data: int, at: int, stop: int) -> int:
    """The place behind the value that begins at `at`, or ODD. Of a value without a fault only the brackets are counted."""
    depth = 0
    while at < stop:
        byte = byte_at(data + at)
        if byte == 34:
            at = _closing(data, at + 1, stop)
            if at < 0:
                return ODD
        elif byte == 123 or byte == 91:
            depth += 1
        elif byte == 125 or byte == 93:
            if depth == 0:
                # A number or a word ends here.
                return at
            depth -= 1
        elif depth == 0 and (byte == 44 or byte <= 32):
            return at
        else:
            at += 1
            continue
        at += 1
        if depth == 0:
            return at
    return ODD


@inlined
def _spaces(data: int, at: int, stop: int) -> int:
    while at < stop:
        byte = byte_at(data + at)
        if byte != 32 and byte != 10 and byte != 13 and byte != 9:
            break
        at += 1
    return at


@inlined
def _hash(data: int, begin: int, size: int, node: int) -> Any:
    """Of a key: its first eight bytes, its last eight and its length."""
    first = word_at(data + begin)
    if size < 8:
        first &= (_u(1) << _u(8 * size)) - _u(1)
        last = first
    else:
        last = word_at(data + begin + size - 8)
    code = (first ^ _u(node * 0x10001 + size)) * _MIX
    code = (code ^ (code >> _u(29)) ^ last) * _MIX
    return code ^ (code >> _u(32))


@_compiled
def plant(edges: np.ndarray, keys: int, slots: np.ndarray) -> None:
    """Fill `slots` with the edges."""
    mask = slots.size - 1
    for edge in range(edges.shape[0]):
        begin, end = edges[edge, 1], edges[edge, 2]
        slot = np.int64(_hash(keys, begin, end - begin, edges[edge, 0]) & _u(mask))
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = edge


@inlined
def _child(
    data: int,
    begin: int,
    size: int,
    node: int,
    edges: int,
    keys: int,
    slots: int,
    mask: int,
) -> int:
    """The node to which a key leads, or -1."""
    slot = np.int64(_hash(data, begin, size, node) & _u(mask))
    while True:
        edge = np.int64(word_at(slots + 8 * slot))
        if edge < 0:
            return -1
        edge = edges + 32 * edge
        known = np.int64(word_at(edge + 8))
        if np.int64(word_at(edge)) == node and np.int64(word_at(edge + 16)) - known == size:
            same = True
            for i in range(size):
                if byte_at(keys + known + i) != byte_at(data + begin + i):
                    same = False
                    break
            if same:
                return int(word_at(edge + 24))
        slot = (slot + 1) & mask


@inlined
def _is_whole(data: int, begin: int, end: int) -> bool:
    """Whether a number is written as Arrow writes it back: digits, none in front that is zero, and within 64 bits."""
    at = begin
    if byte_at(data + at) == 45:
        at += 1
    if at == end or end - at > 18 or (byte_at(data + at) == 48 and end - begin > 1):
        return False
    while at < end:
        if not 48 <= byte_at(data + at) <= 57:
            return False
        at += 1
    return True


@_compiled
def walk(
    data: int,
    place: np.ndarray,
    stop: int,
    end_of_data: int,
    edges: int,
    keys: int,
    slots: int,
    mask: int,
    leaves: np.ndarray,
    inner: np.ndarray,
    shown: np.ndarray,
    needed: int,
    found: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
) -> int:
    """Hits from `place[0]` on, which stand between commas, until `starts` is full or `stop` is reached; how many, or ODD.

    The wanted values that occur go to `found`, and of the k-th of them in hit h the bytes to `starts[k, h]` (-1 where it is
    missing) and `sizes[k, h]` (below zero for a text with escapes). Each hit must have value `needed`. `place` is where to
    begin and whether hits come before, and becomes where it stopped and how many values occur.
    """
    most = starts.shape[1]
    at = place[0]
    row = 0
    nodes = np.empty(_DEEPEST, np.int64)
    # Which of `found` a value is, or -1.
    places = np.full(shown.size, -1, np.int64)
    known = 0
    while row < most:
        at = _spaces(data, at, stop)
        if at < stop and byte_at(data + at) == 44 and (row or place[1]):
            at = _spaces(data, at + 1, stop)
        if at >= stop or byte_at(data + at) != 123:
            break
        for number in range(known):
            starts[_u(number), _u(row)] = -1
        depth = 0
        nodes[0] = 0
        at = _spaces(data, at + 1, stop)
        fresh = True
        while depth >= 0:
            # At a key, or at the end of an object.
            if at + 9 > end_of_data:
                return ODD
            byte = byte_at(data + at)
            if byte == 125 and fresh:
                depth -= 1
                at += 1
            elif byte == 34:
                key = at + 1
                end = _string_end(data, key, stop)
                if end >= stop or byte_at(data + end) != 34:
                    return ODD
                at = end + 1
                if byte_at(data + at) != 58:
                    at = _spaces(data, at, stop)
                    if at >= stop or byte_at(data + at) != 58:
                        return ODD
                at = _spaces(data, at + 1, stop)
                if at >= stop:
                    return ODD
                byte = byte_at(data + at)
                child = _child(data, key, end - key, nodes[_u(depth)], edges, keys, slots, mask)
                if child < 0:
                    at = _over(data, at, stop)
                    if at < 0:
                        return ODD
                else:
                    leaf = leaves[_u(child)]
                    if byte == 123 and inner[_u(child)]:
                        depth += 1
                        if depth == _DEEPEST:
                            return ODD
                        nodes[_u(depth)] = child
                        at = _spaces(data, at + 1, stop)
                        fresh = True
                        continue
                    begin = at
                    if byte == 34:
                        end = _string_end(data, at + 1, stop)
                        plain = end < stop and byte_at(data + end) == 34
                        if not plain:
                            end = _closing(data, at + 1, stop)
                            if end < 0:
                                return ODD
                        at = end + 1
                        begin += 1
                        size = end - begin if plain else begin - end
                    else:
                        at = _over(data, at, stop)
                        if at < 0:
                            return ODD
                        size = at - begin
                        if leaf < 0 or byte == 110:
                            leaf = -1
                        elif byte == 123:
                            if shown[_u(leaf)]:
                                return ODD
                            leaf = -1
                        elif not _is_whole(data, begin, at):
                            return ODD
                    if leaf >= 0:
                        number = places[_u(leaf)]
                        if number < 0:
                            if known == found.size:
                                return ODD
                            number = places[_u(leaf)] = known
                            found[_u(known)] = leaf
                            known += 1
                            for i in range(row):
                                starts[_u(number), _u(i)] = -1
                        elif starts[_u(number), _u(row)] >= 0:
                            return ODD
                        starts[_u(number), _u(row)] = begin
                        sizes[_u(number), _u(row)] = size
            else:
                return ODD
            # Behind a value: the objects that end here, then a comma or the end of the hit.
            fresh = False
            while depth >= 0:
                at = _spaces(data, at, stop)
                if at >= stop:
                    return ODD
                byte = byte_at(data + at)
                if byte == 125:
                    depth -= 1
                    at += 1
                elif byte == 44:
                    at = _spaces(data, at + 1, stop)
                    break
                else:
                    return ODD
        number = places[needed]
        if number < 0 or starts[_u(number), _u(row)] < 0:
            return ODD
        row += 1
    place[0] = at
    place[1] = known
    return row


@_compiled
def _hexadecimal(data: int, at: int) -> int:
    """The number that four digits stand for, or ODD."""
    value = 0
    for i in range(4):
        byte = np.int64(byte_at(data + at + i))
        if 48 <= byte <= 57:
            digit = byte - 48
        elif 65 <= byte <= 70:
            digit = byte - 55
        elif 97 <= byte <= 102:
            digit = byte - 87
        else:
            return ODD
        value = int(value * 16 + digit)
    return value


@_compiled
def _spelled(data: int, begin: int, end: int, out: int, to: int) -> int:
    """Writes the text between two quotes without its escapes to `out[to:]`; where that ends, or ODD for half a character."""
    at = begin
    while at < end:
        byte = byte_at(data + at)
        if byte != 92:
            put_byte(out + to, byte)
            to += 1
            at += 1
            continue
        byte = byte_at(data + at + 1)
        at += 2
        if byte == 117:
            if at + 4 > end:
                return ODD
            code = _hexadecimal(data, at)
            at += 4
            if 0xD800 <= code < 0xDC00:
                if at + 6 > end or byte_at(data + at) != 92 or byte_at(data + at + 1) != 117:
                    return ODD
                low = _hexadecimal(data, at + 2)
                if not 0xDC00 <= low < 0xE000:
                    return ODD
                at += 6
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            elif code < 0 or 0xDC00 <= code < 0xE000:
                return ODD
            if code < 0x80:
                put_byte(out + to, code)
                to += 1
            elif code < 0x800:
                put_byte(out + to, 0xC0 | (code >> 6))
                put_byte(out + to + 1, 0x80 | (code & 63))
                to += 2
            elif code < 0x10000:
                put_byte(out + to, 0xE0 | (code >> 12))
                put_byte(out + to + 1, 0x80 | ((code >> 6) & 63))
                put_byte(out + to + 2, 0x80 | (code & 63))
                to += 3
            else:
                put_byte(out + to, 0xF0 | (code >> 18))
                put_byte(out + to + 1, 0x80 | ((code >> 12) & 63))
                put_byte(out + to + 2, 0x80 | ((code >> 6) & 63))
                put_byte(out + to + 3, 0x80 | (code & 63))
                to += 4
            continue
        if byte == 110:
            byte = np.uint8(10)
        elif byte == 116:
            byte = np.uint8(9)
        elif byte == 114:
            byte = np.uint8(13)
        elif byte == 98:
            byte = np.uint8(8)
        elif byte == 102:
            byte = np.uint8(12)
        elif byte != 34 and byte != 92 and byte != 47:
            return ODD
        put_byte(out + to, byte)
        to += 1
    return to


@_compiled
def gather(
    data: int,
    end_of_data: int,
    starts: np.ndarray,
    sizes: np.ndarray,
    offsets: np.ndarray,
    valid: np.ndarray,
    out: int,
) -> int:
    """The values that `walk` found, side by side in `out` (8 bytes longer than all of them), and where each begins.

    `valid` becomes the bitmap of those that are there, as Arrow has it. Gives how many are missing, or ODD.
    """
    to = 0
    missing = 0
    bits = 0
    rows = starts.size
    for row in range(rows):
        offsets[_u(row)] = to
        begin, size = starts[_u(row)], sizes[_u(row)]
        if begin < 0:
            missing += 1
        else:
            bits |= 1 << (row & 7)
            if size < 0:
                to = _spelled(data, begin, begin - size, out, to)
                if to < 0:
                    return ODD
            elif begin + size + 8 <= end_of_data:
                for i in range(0, size, 8):
                    put_word(out + to + i, word_at(data + begin + i))
                to += size
            else:
                for i in range(size):
                    put_byte(out + to + i, byte_at(data + begin + i))
                to += size
        if row & 7 == 7:
            valid[_u(row >> 3)] = bits
            bits = 0
    if rows & 7:
        valid[_u(rows >> 3)] = bits
    offsets[_u(rows)] = to
    return missing
