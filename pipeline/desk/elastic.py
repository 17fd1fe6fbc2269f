"""Closed tickets in Elasticsearch, for teams that have it: BM25 over words and marks, and a dense vector.

`desk index` writes a new index and moves the alias to it, so a search finds the old tickets or the new ones. A search takes two
requests: one asks for the nearest by words, by what the system said, by meaning and in the likely categories, and counts how
many tickets closed before the moment hold each word; one compares the meaning of all that were found. The shares are then
reckoned here, from those counts, as the embedded index does: both give a ticket the same shares.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from pipeline.desk.index import FAVOURED, NEAREST, POOL, SHOWN, Prepared
from pipeline.desk.meaning import WIDTH
from pipeline.desk.options import DeskOptions
from pipeline.desk.postings import Known, share_of, worth
from pipeline.desk.query import Gathered, Like, Query
from pipeline.errors import SourceBroken, UsageError
from pipeline.sources.elasticsearch.calls import Calls, Connection

_BATCH = 500
_SECONDS = 10.0
_FILL_SECONDS = 3600.0
# A bool query takes 1,024 clauses; the rarest words of a very long ticket are among its first.
_CLAUSES = 500
_MAPPINGS: dict[str, Any] = {
    "dynamic": False,
    "properties": {
        "id": {"type": "keyword"},
        "category": {"type": "keyword"},
        "closed_at": {"type": "date_nanos"},
        "words": {"type": "text", "analyzer": "whitespace"},
        "said": {"type": "keyword"},
        "words_length": {"type": "integer"},
        "said_length": {"type": "integer"},
        # Not quantised, so that a cosine is exact.
        "vector": {
            "type": "dense_vector",
            "dims": WIDTH,
            "index": True,
            "similarity": "cosine",
            "index_options": {"type": "hnsw"},
        },
    },
}


class ElasticIndex:
    """The index behind an alias. `meaning` says whether vectors are kept and compared."""

    def __init__(self, options: DeskOptions, meaning: bool) -> None:
        """Connects when it is first asked. Raises `UsageError` where the settings name no connection."""
        if options.connection is None:
            raise UsageError(f"desk.source: the connection of source {options.source!r} was not resolved")
        self.meaning = meaning
        self.alias = options.elasticsearch_index
        self._connection = Connection("desk", options.connection)

    def close(self) -> None:
        """Gives back its connections."""
        self._connection.close()

    # ---- writing

    def fill(self, made: Prepared, progress: Callable[[str], None] = lambda _: None) -> None:
        """Writes the closed tickets of `made` to a new index, and takes away the one it replaces. Raises `SourceError`."""
        calls = Calls(self._connection, time.monotonic() + _FILL_SECONDS)
        name = f"{self.alias}-{uuid.uuid4().hex[:12]}"
        calls.ask(lambda client: client.indices.create(index=name, mappings=_MAPPINGS))
        for done, batch in _batches(made):
            answer = calls.ask(lambda client, rows=batch: client.bulk(index=name, operations=rows))  # type: ignore[misc]
            if answer["errors"]:
                first = next(one["index"]["error"] for one in answer["items"] if "error" in one["index"])
                raise SourceBroken(f"desk: {self._connection.where()} refused a ticket: {first.get('reason')}")
            progress(f"{done:,} tickets sent")
        calls.ask(lambda client: client.indices.refresh(index=name))
        old = calls.ask(lambda client: client.indices.get(index=f"{self.alias}-*", allow_no_indices=True))
        mine = sorted(other for other, facts in old.items() if other != name and self.alias in facts.get("aliases", {}))
        actions: list[dict[str, Any]] = [{"add": {"index": name, "alias": self.alias}}]
        actions += [{"remove_index": {"index": other}} for other in mine]
        calls.ask(lambda client: client.indices.update_aliases(actions=actions))

    # ---- asking

    def gather(self, query: Query, favoured: Mapping[str, float] = {}) -> Gathered:
        """The tickets worth ranking. Raises `SourceError`."""
        calls = Calls(self._connection, time.monotonic() + _SECONDS)
        words, said = _distinct(query.words), _distinct(query.said)
        searches = [_counting(query.at, words, said), *_nearest(query, words, said, favoured)]
        lines = [line for body in searches for line in ({"index": self.alias}, body)]
        answers = calls.ask(lambda client: client.msearch(searches=lines), holds="responses")["responses"]
        for answer in answers:
            if "error" in answer:
                reason = answer["error"].get("reason", "no reason given")
                raise SourceBroken(f"desk: {self._connection.where()}: {reason}; `desk index` makes the index anew")
        counted, *found = answers
        known = [_known(counted, which, names) for which, names in (("words", words), ("said", said))]
        rows = {hit["_id"]: hit["_source"] for answer in found for hit in answer["hits"]["hits"]}
        rows.pop(query.id, None)
        means = self._means(calls, query, sorted(rows))
        likes = [
            Like(
                {name: row.get(name) for name in SHOWN} | {"closed_at": datetime.fromisoformat(row["closed_at"])},
                share_of(row["words"], known[0]),
                means.get(name, 0.0),
                share_of(row["said"], known[1]),
            )
            for name, row in sorted(rows.items())
        ]
        return Gathered(likes, known[0], known[1])

    @staticmethod
    def rows(likes: Sequence[Like]) -> list[Mapping[str, Any]]:
        """All that is told of each, in their order: it came with them."""
        return [like.row for like in likes]

    def _means(self, calls: Calls, query: Query, ids: Sequence[str]) -> dict[str, float]:
        if query.vector is None or not self.meaning or not ids or not query.vector.any():
            return {}
        # Fewer than the candidates, so each is compared exactly; scripts may be forbidden.
        many = max(len(ids), NEAREST)
        near = {"field": "vector", "query_vector": query.vector.tolist(), "k": many, "num_candidates": many}
        near["filter"] = {"ids": {"values": list(ids)}}
        hits = calls.ask(
            lambda client: client.search(index=self.alias, knn=near, size=many, source=False), holds="hits"
        )["hits"]["hits"]
        # The client of sources leaves hits undecoded. The node gives (1 + cosine) / 2.
        found = [msgspec.json.decode(hit) for hit in hits]
        return {hit["_id"]: max(0.0, 2 * hit["_score"] - 1) for hit in found}


def _batches(made: Prepared) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    for start in range(0, made.facts.closed, _BATCH):
        operations: list[dict[str, Any]] = []
        rows = made.rows.select(SHOWN).slice(start, min(_BATCH, made.facts.closed - start)).to_pylist()
        for i, row in enumerate(rows, start):
            operations.append({"index": {"_id": row["id"]}})
            source = {**row, "closed_at": row["closed_at"].isoformat()}
            # The mean is that of tickets which have some: a length of 0 is left out.
            source |= {f"{name}_length": len(row[name]) for name in ("words", "said") if row[name]}
            # A vector of zeros has no direction, and the node refuses it.
            if made.vectors is not None and made.vectors[i].any():
                source["vector"] = made.vectors[i].astype(np.float32).tolist()
            operations.append(source)
        yield start + len(rows), operations


def _distinct(words: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(words))[:_CLAUSES]


def _closed(at: datetime) -> dict[str, Any]:
    return {"range": {"closed_at": {"lt": at.isoformat()}}}


def _counting(at: datetime, words: Sequence[str], said: Sequence[str]) -> dict[str, Any]:
    """Counts tickets closed before, their lengths, and those that hold each word."""
    totals: dict[str, Any] = {}
    for field, names in (("words", words), ("said", said)):
        totals[f"{field}_length"] = {"avg": {"field": f"{field}_length"}}
        if names:
            filters = {str(i): {"term": {field: name}} for i, name in enumerate(names)}
            totals[field] = {"filters": {"filters": filters}}
    return {"query": {"bool": {"filter": _closed(at)}}, "size": 0, "track_total_hits": True, "aggs": totals}


def _known(counted: Mapping[str, Any], field: str, names: Sequence[str]) -> Known:
    tickets, totals = counted["hits"]["total"]["value"], counted["aggregations"]
    buckets = totals[field]["buckets"] if names else {}
    idf = {name: worth(tickets, buckets[str(i)]["doc_count"]) for i, name in enumerate(names)}
    return Known(tickets, totals[f"{field}_length"]["value"] or 0.0, idf)


def _nearest(
    query: Query, words: Sequence[str], said: Sequence[str], favoured: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    closed = _closed(query.at)
    by_words = [{"term": {"words": word}} for word in words]
    by_said = [{"term": {"said": mark}} for mark in said]
    for clauses in (by_words, by_said):
        if clauses:
            yield _search({"filter": closed, "should": clauses, "minimum_should_match": 1}, POOL)
    for category in favoured:
        yield _search({"filter": [closed, {"term": {"category": category}}], "should": by_words}, FAVOURED)
    if query.vector is not None and query.vector.any():
        knn = {"field": "vector", "query_vector": query.vector.tolist(), "k": POOL, "num_candidates": NEAREST}
        yield {"knn": {**knn, "filter": closed}, "size": POOL, "_source": SHOWN}


def _search(bool_: Mapping[str, Any], size: int) -> dict[str, Any]:
    return {"query": {"bool": bool_}, "size": size, "_source": SHOWN}
