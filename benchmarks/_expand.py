"""A log of any length out of one system of loghub-2k, almost every line of it distinct.

A row of the output is one of the 2,000 lines of the data with new values. Its parameters are what stands where its labelled
template has wildcards; all else stays. Where a line does not fit its template, its runs of digits are its parameters.
Within a parameter, each value keeps its shape:

* A run of digits gets other digits, as many, one more or one less; without a leading zero where it had none, and with its
  length kept where it had one. An IPv4 address stays one, and of a clock time each part keeps its two digits, though not
  its range. Signs and separators stay.
* A hexadecimal id (after 0x, a UUID, or six and more digits and letters a to f with at least one of either) keeps its length
  and case. Ids like blk_-7128370237687728475 are a run of digits.
* With `words`, each run of two and more letters becomes a random word: half of them random letters, half consonants and
  vowels in turn; at most two letters longer or shorter, and written in capitals, with one, or small, as before. A path so
  remains a path and a host a host; but units (KB, ms) and names of months change like any other word in a parameter.

Two things depart from the data, so that at least nine of ten lines are distinct at a million rows:

* Where lines of one wording cannot have enough different values, numbers of up to five digits grow: with a probability of
  97 % such a number is drawn evenly below a million ("scoreboard slot 7" becomes "scoreboard slot 40117").
* Lines are drawn as frequently as in the data, with two exceptions. Lines that cannot vary ("normal" of HPC, "check pass;
  user unknown" of Linux) are at most 3 % of all rows together, in the same proportions among themselves. And the rows of
  one wording are at most 7 % of its different values (70,000 where it has only one number that grew). Their places go to
  the other lines.
"""

from __future__ import annotations

import collections
import csv
import itertools
import pathlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

# How the output is cut into chunks; and how many rows of one line are made at once.
CHUNK = 131_072
BATCH = 65_536
GROWS = 0.97
GROWN_DIGITS = 6
# The most that lines without a varying parameter get of all rows; the most rows per different value of a wording.
CONSTANT_SHARE = 0.03
CROWDING = 0.07

_VALUE = re.compile(
    r"(?P<ip>(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9]|\.[0-9]))"
    r"|(?P<clock>(?<![0-9a-zA-Z:])[0-9]{2}(?::[0-9]{2}){1,2}(?![0-9a-zA-Z:]))"
    r"|0x(?P<prefixed>[0-9a-fA-F]+)"
    r"|(?P<uuid>(?<![0-9a-zA-Z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-zA-Z]))"
    r"|(?P<hex>(?<![0-9a-zA-Z])(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{6,}(?![0-9a-zA-Z])"
    r"|(?<![0-9a-zA-Z])(?=[A-F]*[0-9])(?=[0-9]*[A-F])[0-9A-F]{6,}(?![0-9a-zA-Z]))"
    r"|(?P<digits>[0-9]+)"
    r"|(?P<word>[A-Za-z]{2,})"
)
_LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)
_CONSONANTS = np.frombuffer(b"bcdfghjklmnpqrstvwxz", np.uint8)
_VOWELS = np.frombuffer(b"aeiou", np.uint8)
_LENGTHS = np.arange(1, GROWN_DIGITS + 1)
# So long is a number that is drawn evenly below a million.
_GROWN_LENGTH = np.diff(10.0**_LENGTHS, prepend=0.0) / 10.0**GROWN_DIGITS


@dataclass(frozen=True)
class _Piece:
    """A part of a line: `kind` is constant, digits, fixed (digits, as many), octet, hex or word."""

    kind: str
    text: str

    @property
    def grows(self) -> bool:
        """Whether it is a number that may become longer."""
        return self.kind == "digits" and len(self.text) < GROWN_DIGITS and not _has_leading_zero(self.text)

    def variety(self, *, grown: bool) -> float:
        """About how many values it can have, as a logarithm to base 10; rather too few, for the short ones repeat first."""
        if grown and self.grows:
            return float(GROWN_DIGITS)
        if self.kind == "octet":
            return 2.4
        per_character, lost = {"digits": (1.0, 1), "fixed": (1.0, 0), "hex": (1.2, 0), "word": (0.9, 1)}.get(
            self.kind, (0.0, 0)
        )
        return per_character * max(0.7, len(self.text) - lost)


def systems(folder: pathlib.Path) -> list[str]:
    """The names of the systems in a folder of loghub-2k."""
    found = folder.glob("*/*_2k.log_structured_corrected.csv")
    return sorted((path.parent.name for path in found), key=str.lower)


def read(folder: pathlib.Path, system: str) -> tuple[list[str], list[str]]:
    """The lines of a system and the template of each."""
    path = folder / system / f"{system}_2k.log_structured_corrected.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["Content"] for row in rows], [row["EventTemplate"] for row in rows]


def expand(lines: Sequence[str], templates: Sequence[str], rows: int, *, seed: int, words: bool) -> pa.ChunkedArray:
    """`rows` lines after the model of `lines`, in random order; the same for the same `seed`."""
    return expand_with_sources(lines, templates, rows, seed=seed, words=words)[0]


def expand_with_sources(
    lines: Sequence[str], templates: Sequence[str], rows: int, *, seed: int, words: bool
) -> tuple[pa.ChunkedArray, np.ndarray]:
    """As `expand`, and of each row the number of the line that it was made from."""
    rng = np.random.default_rng(seed)
    cut = [_pieces(line, template, words=words) for line, template in zip(lines, templates, strict=True)]
    shares, grown = _plan(cut, max(1, rows))
    counts = rng.multinomial(rows, shares)
    data: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    for pieces, count, grows in zip(cut, counts.tolist(), grown, strict=True):
        for begin in range(0, count, BATCH):
            block, sizes = _rows(pieces, min(BATCH, count - begin), rng, grown=grows)
            data.append(block)
            lengths.append(sizes)
    offsets = np.zeros(rows + 1, np.int64)
    np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]), out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.concatenate([np.zeros(0, np.uint8), *data]))]
    ordered = pa.Array.from_buffers(pa.large_string(), rows, buffers)
    order = rng.permutation(rows)
    chunks = [ordered.take(order[begin : begin + CHUNK]).cast(pa.string()) for begin in range(0, rows, CHUNK)]
    return pa.chunked_array(chunks, pa.string()), np.repeat(np.arange(len(lines)), counts)[order]


def varies(line: str, template: str, *, words: bool) -> bool:
    """Whether rows made from this line can differ."""
    return any(piece.kind != "constant" for piece in _pieces(line, template, words=words))


def parameters(line: str, template: str) -> list[tuple[int, int]] | None:
    """Where in `line` the values of the wildcards of `template` stand; None where it does not fit."""
    parts = [r"\s+".join(re.escape(word) for word in re.split(r"\s+", part)) for part in template.split("<*>")]
    fit = re.fullmatch(r"\s*" + "(.*?)".join(parts) + r"\s*", line, re.DOTALL)
    return None if fit is None else [fit.span(i) for i in range(1, len(parts))]


def _pieces(line: str, template: str, *, words: bool) -> list[_Piece]:
    """`line` cut into what stays and what varies."""
    spans = parameters(line, template)
    if spans is None:
        spans = [match.span() for match in re.finditer(r"[0-9]+", line)]
    pieces: list[_Piece] = []
    at = 0
    for begin, end, kind in _values(line, spans):
        if kind == "word" and not words:
            continue
        pieces += [_Piece("constant", line[at:begin]), _Piece(kind, line[begin:end])]
        at = end
    pieces.append(_Piece("constant", line[at:]))
    return [piece for piece in pieces if piece.text]


def _values(line: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
    """The values in the parameters at `spans`, with their kinds."""
    for begin, end in spans:
        for match in _VALUE.finditer(line, begin, end):
            name = match.lastgroup or ""
            inner = {"ip": ("octet", r"[0-9]+"), "clock": ("fixed", r"[0-9]+"), "uuid": ("hex", r"[0-9a-fA-F]+")}.get(
                name
            )
            if inner is None:
                yield *match.span(name), "hex" if name == "prefixed" else name
            else:
                for part in re.compile(inner[1]).finditer(line, *match.span()):
                    yield *part.span(), inner[0]


def _plan(cut: Sequence[Sequence[_Piece]], rows: int) -> tuple[np.ndarray, list[bool]]:
    """Of each line the share of the rows that it gets, and whether its numbers grow."""
    # Lines of one wording compete for the same values.
    wordings = [tuple(p.text if p.kind == "constant" else f"\0{p.kind}" for p in pieces) for pieces in cut]
    members = collections.Counter(wordings)
    small = dict.fromkeys(members, 0.0)
    large = dict.fromkeys(members, 0.0)
    for wording, pieces in zip(wordings, cut, strict=True):
        small[wording] += sum(piece.variety(grown=False) for piece in pieces) / members[wording]
        large[wording] += sum(piece.variety(grown=True) for piece in pieces) / members[wording]
    names = list(members)
    wanted = np.array([members[name] for name in names], np.float64)
    varying = np.array([large[name] > 0 for name in names])
    free = rows * (1 - min(CONSTANT_SHARE, float(wanted[~varying].sum() / wanted.sum())))
    # A wording whose values do not suffice grows; for that, what it gets when nothing is capped but the constant lines.
    first = np.where(varying, free * wanted / max(1.0, wanted[varying].sum()), 0.0)
    grows = {
        name: bool(many > CROWDING * 10 ** min(small[name], 18))
        for name, many in zip(names, first.tolist(), strict=True)
    }
    room = np.array([CROWDING * 10 ** min((large if grows[name] else small)[name], 18) for name in names])
    got = _shared_out(free, np.where(varying, wanted, 0.0), np.maximum(room, 1.0))
    got = np.where(varying, got, (rows - free) * wanted / max(1.0, wanted[~varying].sum()))
    if not varying.any():
        got = wanted
    per_line = dict(zip(names, (got / wanted).tolist(), strict=True))
    shares = np.array([per_line[wording] for wording in wordings])
    return shares / shares.sum(), [grows[wording] for wording in wordings]


def _shared_out(total: float, wanted: np.ndarray, room: np.ndarray) -> np.ndarray:
    """`total` in proportion to `wanted`, none more than its `room` (unless there is not room enough for all)."""
    got = np.zeros_like(wanted)
    capped = wanted <= 0
    while not capped.all():
        left = total - got.sum()
        asked = np.where(capped, 0.0, left * wanted / wanted[~capped].sum())
        over = ~capped & (asked > room)
        if not over.any():
            return np.where(capped, got, asked)
        got[over] = room[over]
        capped |= over
    return got


def _rows(
    pieces: Sequence[_Piece], count: int, rng: np.random.Generator, *, grown: bool
) -> tuple[np.ndarray, np.ndarray]:
    """`count` rows of one line: their bytes one after the other, and their lengths."""
    blocks = [_block(piece, count, rng, grown=grown) for piece in pieces]
    edges = list(itertools.accumulate((block.shape[1] for block, _ in blocks), initial=0))
    text = np.empty((count, edges[-1]), np.uint8)
    used = np.ones(text.shape, np.bool_)
    sizes = np.zeros(count, np.int64)
    for (block, lengths), begin, end in zip(blocks, edges, edges[1:], strict=False):
        text[:, begin:end] = block
        if lengths is not None:
            used[:, begin:end] = np.arange(end - begin, dtype=np.int64) < lengths[:, None]
        sizes += end - begin if lengths is None else lengths
    return text[used], sizes


def _block(piece: _Piece, count: int, rng: np.random.Generator, *, grown: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """`count` values of a piece, one per row of a matrix of bytes, and their lengths where they differ."""
    if piece.kind in {"digits", "fixed"}:
        return _digits(piece, count, rng, grown=grown)
    if piece.kind == "octet":
        value = rng.integers(0, 256, count)
        length = 1 + (value > 9) + (value > 99)
        # Left-aligned: scaled so that the first digit is the hundreds.
        scaled = value * 10 ** (3 - length)
        return (48 + scaled[:, None] // np.array([100, 10, 1]) % 10).astype(np.uint8), length
    if piece.kind == "hex":
        digits = b"0123456789ABCDEF" if re.search(r"[A-F]", piece.text) else b"0123456789abcdef"
        return np.frombuffer(digits, np.uint8)[rng.integers(0, 16, (count, len(piece.text)), np.uint8)], None
    if piece.kind == "word":
        return _words(piece.text, count, rng)
    return np.frombuffer(piece.text.encode(), np.uint8)[None, :], None


def _digits(
    piece: _Piece, count: int, rng: np.random.Generator, *, grown: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Numbers in the shape of `piece`."""
    if piece.kind == "fixed" or _has_leading_zero(piece.text):
        return 48 + rng.integers(0, 10, (count, len(piece.text)), np.uint8), None
    lengths = np.maximum(1, len(piece.text) + rng.integers(-1, 2, count))
    if grown and piece.grows:
        lengths = np.where(rng.random(count) < GROWS, rng.choice(_LENGTHS, count, p=_GROWN_LENGTH), lengths)
    digits = 48 + rng.integers(0, 10, (count, int(lengths.max(initial=1))), np.uint8)
    digits[:, 0] = np.where(lengths > 1, 49 + rng.integers(0, 9, count, np.uint8), digits[:, 0])
    return digits, lengths


def _words(word: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random words about as long as `word`."""
    lengths = np.maximum(2, len(word) + rng.integers(-2, 3, count))
    shape = (count, int(lengths.max(initial=2)))
    letters = _LETTERS[rng.integers(0, 26, shape, np.uint8)]
    spoken = np.where(
        (np.arange(shape[1]) + rng.integers(0, 2, count)[:, None]) % 2 == 0,
        _CONSONANTS[rng.integers(0, len(_CONSONANTS), shape, np.uint8)],
        _VOWELS[rng.integers(0, len(_VOWELS), shape, np.uint8)],
    )
    text = np.where(rng.integers(0, 2, count, np.uint8)[:, None] == 0, letters, spoken)
    if word.isupper():
        text -= 32
    elif word[0].isupper():
        text[:, 0] -= 32
    return text, lengths


def _has_leading_zero(digits: str) -> bool:
    return len(digits) > 1 and digits[0] == "0"
