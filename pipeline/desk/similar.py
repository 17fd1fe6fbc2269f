"""Closed tickets like this one: in words, in meaning, and in what the system said; why, and how each was solved.

score = sum of weight * share / sum of weight, over what could be compared. A share is of 1: the part of the query's words
(or marks) that the ticket holds, weighed by how rare they are; the cosine of meanings; the probability that the query belongs
to the category that the ticket was closed as.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.desk.moments import in_utc
from pipeline.desk.query import Gathered, Index, Like, Query
from pipeline.desk.said import say, told
from pipeline.desk.words import written
from snapshots.model import SimilarTicket, Text


@dataclass(frozen=True)
class Weights:
    """How much each kind of likeness counts. See docs/desk.md for how they were chosen."""

    words: float = 1.0
    meaning: float = 1.0
    # Twice all the rest: what a customer writes is much the same whatever failed, what the system says is not.
    said: float = 8.0
    category: float = 2.0


WEIGHTS = Weights()
# A ticket below this is like the query in nothing that counts.
LEAST = 0.1
# The same where the system said nothing of one of the two: what words, meaning and category say alone. By judgement.
UNSAID = 0.25
# So many times the tickets that are wanted are looked at, since some turn out to have nothing in common.
_SPARE = 4
# Only the likeliest categories favour their tickets.
_CATEGORIES = 3
_TOLD = 4
_CITED = 4
_MEANS = 0.5


@dataclass(frozen=True)
class Scored:
    """A ticket with its score and the category's share of it."""

    like: Like
    score: float
    category: float


def rank(
    query: Query, gathered: Gathered, categories: Mapping[str, float] = {}, weights: Weights = WEIGHTS
) -> list[Scored]:
    """The gathered tickets, likest first; of equal ones the one closed last, then by id."""
    parts = _parts(query, weights)
    total = _total(query, categories, weights)
    scored = []
    for like in gathered.likes:
        category = categories.get(like.row["category"] or "", 0.0)
        score = sum(weight * getattr(like, name) for weight, name in parts)
        scored.append(Scored(like, (score + (weights.category * category if categories else 0.0)) / total, category))
    scored.sort(key=lambda one: str(one.like.row["id"]))
    scored.sort(key=lambda one: (round(one.score, 6), one.like.row["closed_at"]), reverse=True)
    return scored


def _parts(query: Query, weights: Weights) -> list[tuple[float, str]]:
    """The weights of what can be compared with a query, but for the category."""
    parts = [(weights.words, "words")]
    if query.vector is not None:
        parts.append((weights.meaning, "meaning"))
    if query.said:
        parts.append((weights.said, "said"))
    return parts


def _total(query: Query, categories: Mapping[str, float], weights: Weights) -> float:
    return sum(weight for weight, _ in _parts(query, weights)) + (weights.category if categories else 0.0)


def similar(
    query: Query, index: Index, most: int, categories: Mapping[str, float] = {}, weights: Weights = WEIGHTS
) -> tuple[list[SimilarTicket], Gathered]:
    """At most `most` tickets closed before `query.at`, likest first, and everything that was compared."""
    favoured = dict(sorted(categories.items(), key=lambda one: (-one[1], one[0]))[:_CATEGORIES])
    gathered = index.gather(query, favoured)
    rest = 1 - weights.said / _total(query, categories, weights) if query.said else 1.0
    ranked = [one for one in rank(query, gathered, categories, weights) if one.score >= min(LEAST, UNSAID * rest)]
    ranked = ranked[: most * _SPARE]
    rows = index.rows([one.like for one in ranked])
    found = [
        _told(query, one, row, gathered, compared=bool(categories))
        for one, row in zip(ranked, rows, strict=True)
        # Of a ticket that never had a snapshot the system said nothing: that speaks neither for it nor against it.
        if one.score >= (LEAST if row["said"] and query.said else UNSAID * rest)
    ]
    return [one for one in found if one.reasons][:most], gathered


def _told(query: Query, one: Scored, row: Mapping[str, Any], gathered: Gathered, *, compared: bool) -> SimilarTicket:
    like = one.like
    return SimilarTicket(
        id=row["id"],
        title=row["title"] or "",
        closed_at=in_utc(row["closed_at"]),
        score=round(one.score, 3),
        reasons=_reasons(query, one, row, gathered),
        category=row["category"],
        fault_class=row.get("fault_class"),
        findings=_findings(query, row, gathered),
        handler=row["handler"],
        cause=row["cause"],
        solution=row["solution"],
        reopened=bool(row["reopened"]),
        words=round(like.words, 3),
        meaning=round(like.meaning, 3) if query.vector is not None else None,
        said=round(like.said, 3) if query.said else None,
        category_share=round(one.category, 3) if compared else None,
    )


def _reasons(query: Query, one: Scored, row: Mapping[str, Any], gathered: Gathered) -> list[Text]:
    """Why it is like the query, the heaviest kind of likeness first."""
    like = one.like
    reasons: list[Text] = []
    if marks := told(_shared(gathered.said.idf, row["said"] or ()))[:_TOLD]:
        said = [say(mark) for mark in marks]
        reasons.append(
            Text(
                en=f"the system said the same: {', '.join(one.en for one in said)}",
                zh=f"系统记录一致：{'、'.join(one.zh for one in said)}",
            )
        )
    elif cited := _findings(query, row, gathered):
        reasons.append(Text(en=f"findings of the same kind: {', '.join(cited)}", zh=f"有同类发现：{'、'.join(cited)}"))
    if one.category >= _MEANS:
        reasons.append(
            Text(
                en=f"closed as {row['category']}, to which this ticket belongs with {one.category:.0%} probability",
                zh=f"当时归类为 {row['category']}，本工单属于该类的概率为 {one.category:.0%}",
            )
        )
    if words := written(query.text, _shared(gathered.words.idf, row["words"] or ()))[:_TOLD]:
        reasons.append(Text(en=f"shared words: {', '.join(words)}", zh=f"相同用词：{'、'.join(words)}"))
    if query.vector is not None and like.meaning >= _MEANS:
        reasons.append(Text(en=f"reads alike (cosine {like.meaning:.2f})", zh=f"语义相近（余弦 {like.meaning:.2f}）"))
    return reasons


def _findings(query: Query, row: Mapping[str, Any], gathered: Gathered) -> list[str]:
    """The query's findings whose like was found there, those of the rarest marks first."""
    marks = _shared(gathered.said.idf, row["said"] or ())
    return list(dict.fromkeys(name for mark in marks for name in query.cited.get(mark, ())))[:_CITED]


def _shared(idf: Mapping[str, float], held: Sequence[str]) -> list[str]:
    """The words of both, rarest first."""
    both = set(held) & idf.keys()
    return sorted(both, key=lambda word: (-idf[word], word))
