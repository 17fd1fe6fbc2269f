"""What an index is asked, and what it gives back, wherever it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.desk import meaning
from pipeline.desk.history import text_of
from pipeline.desk.postings import Known
from pipeline.desk.said import cited_by, marks_of
from pipeline.desk.words import split_words
from snapshots.model import ProblemSnapshot


@dataclass(frozen=True)
class Query:
    """A ticket that is asked about. `vector` is None where no meaning is compared; `said` is empty without a snapshot.

    `cited` names the findings of its snapshot that a mark of `said` comes from. Only tickets closed before `at` are seen, and never the ticket itself.
    """

    id: str
    text: str
    at: datetime
    words: tuple[str, ...]
    said: tuple[str, ...] = ()
    vector: NDArray[np.float32] | None = None
    cited: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Like:
    """A closed ticket with how much it is like the query, each a share of 1: in words, in meaning, in what the system said.

    `row` has what ranking needs: id, category and closed_at. `place` is where the index finds the rest.
    """

    row: Mapping[str, Any]
    words: float
    meaning: float
    said: float
    place: int = -1


@dataclass(frozen=True)
class Gathered:
    """The tickets worth ranking, and what the query's words and marks were worth at its moment."""

    likes: Sequence[Like]
    words: Known
    said: Known

    @property
    def tickets(self) -> int:
        """How many closed tickets were seen."""
        return self.words.tickets


class Index(Protocol):
    """Closed tickets that can be asked for those like a query."""

    # Whether it holds vectors.
    meaning: bool

    def gather(self, query: Query, favoured: Mapping[str, float] = {}) -> Gathered:
        """The tickets worth ranking, also the likeliest of each `favoured` category. Raises `SnapshotError`."""
        ...

    def rows(self, likes: Sequence[Like]) -> list[Mapping[str, Any]]:
        """All that is told of each, in their order."""
        ...


def query_of(snapshot: ProblemSnapshot, *, with_meaning: bool) -> Query:
    """The query of a snapshot: its ticket's words as they stand there, redacted, and what the system said."""
    ticket = snapshot.ticket
    text = text_of(ticket.title, ticket.description)
    at = datetime.fromisoformat(ticket.created_at)
    query = query_for(ticket.id, text, at, marks_of(snapshot), with_meaning=with_meaning)
    return replace(query, cited=cited_by(snapshot))


def query_for(ticket_id: str, text: str, at: datetime, said: Sequence[str] = (), *, with_meaning: bool) -> Query:
    """The query of a text, asked at `at`, which is aware."""
    vector = meaning.encode([text])[0] if with_meaning else None
    return Query(ticket_id, text, at, tuple(split_words(text)), tuple(said), vector)
