"""What is wanted of a document, and the ways in which nested objects and dotted keys can spell it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Literal

import msgspec

from parsers.mapping import FieldMapping

Envelope = Literal["flat", "hit"]
decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class Reader:
    """What is wanted of a document: the mapping, and what follows from it once for all slabs."""

    mapping: FieldMapping
    envelope: Envelope
    wanted: frozenset[str]
    prefixes: frozenset[str]
    keys: frozenset[str]
    spelled: tuple[tuple[str, ...], ...]
    # Paths whose value is shown to people: a list or an object there is written out, elsewhere it is passed over.
    shown: frozenset[str]

    @staticmethod
    @lru_cache(maxsize=16)
    def of(mapping: FieldMapping, envelope: Envelope) -> Reader:
        """The reader for `mapping`."""
        wanted = {path for name in FieldMapping.__struct_fields__ for path in getattr(mapping, name)}
        spelled = [spelling for path in sorted(wanted) for spelling in spellings(path)]
        prefixes = {".".join(path.split(".")[:size]) for path in wanted for size in range(1, path.count(".") + 1)}
        shown = {*mapping.message, *mapping.error_message, *mapping.error_stack_trace}
        keys = {key for spelling in spelled for key in spelling}
        return Reader(
            mapping, envelope, frozenset(wanted), frozenset(prefixes), frozenset(keys), tuple(spelled), frozenset(shown)
        )


def spellings(path: str) -> Iterator[tuple[str, ...]]:
    """The ways in which nested objects and dotted keys can spell `path`.

    >>> sorted(spellings("log.level"))
    [('log', 'level'), ('log.level',)]
    """
    parts = path.split(".")
    for count in range(len(parts)):
        for cuts in combinations(range(1, len(parts)), count):
            edges = (0, *cuts, len(parts))
            yield tuple(".".join(parts[a:b]) for a, b in pairwise(edges))
