"""The words of a ticket, Chinese and English, as the index and the query know them.

Chinese is cut by rjieba (MIT), the Rust edition of jieba, whose own Python package has had no release since 2020. Latin words
are lowered and stemmed by Snowball's English stemmer (BSD-3). Numbers, ids and single letters are left out: they name one
customer, not a kind of problem.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.errors import UsageError

_RUN = re.compile(r"[A-Za-z][A-Za-z']+|[\u3400-\u9fff\uf900-\ufaff]+")
# So much of one text is read; a longer one is a log that somebody pasted.
_LIMIT = 20_000


def split_words(text: str) -> list[str]:
    """The words of `text` in order, repeated ones too. Raises `UsageError` where the extra `desk` is not installed.

    >>> split_words("支付失败, payments failing")
    ['支付', '失败', 'payment', 'fail']
    """
    stem, cut = _tools()
    words: list[str] = []
    for run in _RUN.findall(text[:_LIMIT]):
        if run[0].isascii():
            words.append(stem(run.lower()))
        else:
            words.extend(cut(run))
    return words


# Words of every second sentence: they tell nobody why two tickets are alike.
_SMALL = (
    "a about after again all also am an and any are as at be been before but by can could did do does for from get got had has "
    "have he her him his how i if in into is it its just me my no not now of on one only or our out over she so still than "
    "that the their them then there they this to too up us was we were what when which who why will with would you your "
    "我们 你们 他们 这个 那个 一个 可以 但是 因为 所以 就是 还是 已经 时间 大概 左右 编号 会员 单号 没有 什么 怎么 现在 提示 "
    # What tickets of a form have in common, and what stands in place of a masked number.
    "order around happened phone email card account 手机 手机号 下单 订单 订单号"
)


def written(text: str, words: Sequence[str]) -> list[str]:
    """Those of `words`, which are words of `text` as the index knows them, that tell a reader something, as `text` has them.

    >>> written("I was charged twice", ["was", "charg", "twice"])
    ['charged', 'twice']
    """
    stem, _ = _tools()
    as_written: dict[str, str] = {}
    for run in _RUN.findall(text[:_LIMIT]):
        if run[0].isascii():
            as_written.setdefault(stem(run.lower()), run.lower())
    shown = ((word, as_written.get(word, word)) for word in words)
    return [told for word, told in shown if not {word, told} & _small() and (len(told) > 1 or told.isascii())]


_SURFACE = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|\?|[\u3400-\u9fff\uf900-\ufaff]+")


def surface_words(text: str) -> list[str]:
    """The words of `text` as they stand, lowered, small ones and question marks too: for learning, where those tell.

    >>> surface_words("Why was I charged? 支付失败")
    ['why', 'was', 'i', 'charged', '?', '支付', '失败']
    """
    _, cut = _tools()
    words: list[str] = []
    for run in _SURFACE.findall(text[:_LIMIT].lower()):
        words.extend(cut(run) if run[0] > "\u3000" else [run])
    return words


@functools.cache
def _small() -> frozenset[str]:
    return frozenset(_SMALL.split())


@functools.cache
def _tools() -> tuple[Callable[[str], str], Callable[[str], Sequence[str]]]:
    try:
        import rjieba
        import snowballstemmer
    except ImportError as error:
        raise missing("desk", error) from error
    english: Any = snowballstemmer.stemmer("english")
    # Stemming is Python: each distinct word is stemmed once.
    return functools.lru_cache(maxsize=100_000)(english.stemWord), rjieba.cut_for_search


def missing(extra: str, error: ImportError) -> UsageError:
    """What to install where a package of one of our extras is not there."""
    return UsageError(f"the desk needs {error.name}; install it with: pip install 'problem-snapshot[{extra}]'")
