"""Which lines the templates of a sample account for, as a query, so that the rest can be asked for.

A sample of one line in ten misses a line that was written once, nine times in ten. But what it does hold names nearly all
that is common: rows that hold every constant word of a common template are taken for rows of that template, and what is
left is little enough to be read whole. A rare line that holds all words of a common template and more words beside is
taken for one of it; that is the price, and why templates of a single word count for nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from parsers.templates import LogTemplate
from pipeline.sources.elasticsearch.queries import Query, any_of

# A node takes a thousand clauses and more in one query; one word of one template is one.
MOST_WORDS = 900
_MOST_OF_ONE = 12
_LEAST_LETTERS = 7
_PLACEHOLDER = re.compile(r"<[^<>\s]*>")
# What every analyser breaks words at; points, colons and apostrophes hold words together for some of them.
_BREAKS = re.compile(r"""[\s,;()\[\]{}"=!?|/\\<>@#%&*+~^$，。；！？、（）【】《》“”-]+""")
_HAN = re.compile(r"[㐀-鿿]")
_LETTER = re.compile(r"[^\W\d_]")


def words_of(template: str) -> tuple[str, ...]:
    """The constant words of a template's text, none of which touches a wildcard.

    >>> words_of("order <*> paid by user<NUM> in <*>ms, trade=<*>")
    ('order', 'paid', 'by', 'in', 'trade')
    """
    words = []
    for run in _BREAKS.split(_PLACEHOLDER.sub("\x00", template)):
        word = run.strip(".:'_·：")
        if "\x00" not in run and _LETTER.search(word):
            words.append(word)
    return tuple(dict.fromkeys(words))


def explained_by(templates: Sequence[LogTemplate], fields: Sequence[str]) -> tuple[list[Query], int]:
    """Queries for the lines of `templates` (most frequent first) in the text `fields`, and how many templates have one."""
    queries: list[Query] = []
    seen: set[frozenset[str]] = set()
    left = MOST_WORDS
    told = 0
    for template in templates:
        words = words_of(template.text)
        if len(words) > _MOST_OF_ONE:
            # The longest are the rarest; which ones are left out must not depend on chance.
            words = tuple(sorted(words, key=lambda word: (-len(word), word))[:_MOST_OF_ONE])
        key = frozenset(words)
        if not _telling(words):
            continue
        if key not in seen:
            if len(words) > left:
                break
            left -= len(words)
            seen.add(key)
            text = " ".join(words)
            queries.append(any_of([{"match": {name: {"query": text, "operator": "and"}}} for name in fields]))
        told += 1
    return queries, told


def _telling(words: Sequence[str]) -> bool:
    """Whether rows that hold all these words are hardly anything else."""
    letters = sum(len(word) + 2 * len(_HAN.findall(word)) for word in words)
    many = len(words) > 1 or any(len(_HAN.findall(word)) > 2 for word in words)
    return many and letters >= _LEAST_LETTERS
