"""Patterns over columns of strings: as Arrow kernels, or compiled once where there are few."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

# Arrow compiles a pattern at each call: a few strings are quicker through a compiled one. Same engine, same answer.
_FEW = 64


@cache
def compiled_once(pattern: str) -> Any:
    """The pattern, compiled at its first use."""
    return re2.compile(pattern)


def fitting(text: Any, pattern: str) -> Any:
    """Which strings `pattern` is found in; null is no."""
    if len(text) > _FEW:
        return pc.fill_null(pc.match_substring_regex(text, pattern), False)
    compiled = compiled_once(pattern)
    return pa.array([line is not None and compiled.search(line) is not None for line in text.to_pylist()], pa.bool_())


def swapped(text: Any, pattern: str, replacement: str) -> Any:
    """`text` with each match of `pattern` replaced."""
    if len(text) > _FEW:
        return pc.replace_substring_regex(text, pattern, replacement)
    compiled = compiled_once(pattern)
    lines = text.to_pylist()
    return pa.array([None if line is None else compiled.sub(replacement, line) for line in lines], text.type)


def put_at(whole: Any, rows: Any, values: Any) -> Any:
    """`whole` with `values` at `rows` (ascending)."""
    mask = np.zeros(len(whole), dtype=bool)
    mask[rows.to_numpy()] = True
    return pc.replace_with_mask(whole, pa.array(mask), values)
