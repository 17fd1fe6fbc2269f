"""A point in time: counting and reading in one state of the indices, whatever is written meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from pipeline.errors import SourceBroken, SourceUnavailable
from pipeline.sources.elasticsearch.calls import Calls, PointGoneError, Sorted
from pipeline.sources.elasticsearch.queries import Query
from pipeline.sources.elasticsearch.targets import Target

# A page is kept near this many bytes and this many seconds, whatever its rows weigh and however slow the line is.
_PAGE_BYTES = 8 << 20
_PAGE_SECONDS = 0.7
_FIRST_PAGE = 500
_KEEP_ALIVE = "2m"
_REOPEN_AT_MOST = 3
# Documents heavier than this are asked for by the fields that are read; lighter ones come faster whole.
_HEAVY = 2_000


@dataclass
class Tally:
    """What a reading has met so far. `again` rows came a second time, after the point in time was opened again."""

    rows: int = 0
    again: int = 0
    reopened: int = 0
    problems: dict[str, None] = field(default_factory=dict)


class Point:
    """A point in time over a target's indices; closed at the end, opened again when it expires. For several threads."""

    def __init__(self, calls: Calls, target: Target, columns: Any, page_size: int, tally: Tally) -> None:
        """`columns` are the fields that are read of heavy documents, or True for all."""
        self._calls = calls
        self._target = target
        self._columns = columns
        self._heavy = False
        self._largest = page_size
        self._size = min(_FIRST_PAGE, page_size)
        self._tally = tally
        self._lock = threading.Lock()
        self._id = ""
        # Counts how often it was opened: who reads by an older one begins its stretch anew.
        self._era = 0

    def __enter__(self) -> Self:
        self._id = self._opened()
        return self

    def _opened(self) -> str:
        index = ",".join(self._target.patterns)
        # An index whose time is no date would fail its shards in every answer.
        bars = [{"terms": {"_index": list(self._target.barred)}}]
        body: dict[str, Any] = {"index_filter": {"bool": {"must_not": bars}}} if self._target.barred else {}
        try:
            # Without shards that are gone rather than not at all; known to servers from 8.16 on.
            opened = self._calls.ask(
                lambda client: client.open_point_in_time(
                    index=index,
                    keep_alive=_KEEP_ALIVE,
                    ignore_unavailable=True,
                    allow_partial_search_results=True,
                    **body,
                )
            )
        except SourceBroken as error:
            # Older servers take no body here, either.
            if "allow_partial_search_results" not in str(error) and not body:
                raise
            opened = self._calls.ask(
                lambda client: client.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE, ignore_unavailable=True)
            )
        self._note_shards(opened.get("_shards") or {})
        self._note_clusters(opened.get("_clusters") or {})
        return str(opened["id"])

    def __exit__(self, *_: object) -> None:
        point, self._id = self._id, ""
        if not point:
            return
        try:
            # The server forgets it by itself; whoever is in a hurry shall not wait for that.
            left = max(0.1, min(2.0, self._calls.deadline - time.monotonic()))
            self._calls.connection.client().options(request_timeout=left).close_point_in_time(id=point)
        except Exception:  # noqa: BLE001 - a failure here must not hide what was read or what went wrong before
            return

    def search(self, *, within: float | None = None, **body: Any) -> dict[str, Any]:
        """One search in this point in time. Shards that failed are noted, unless they only lost the point."""
        point = self._id
        answer: dict[str, Any] = self._calls.ask(
            lambda client: client.search(pit={"id": point, "keep_alive": _KEEP_ALIVE}, **body), within
        )
        if answer["timed_out"]:
            self._tally.problems["the cluster's own search timeout cut an answer short"] = None
        shards = answer["_shards"]
        reasons = [failure.get("reason") or {} for failure in shards.get("failures", [])]
        if any(reason.get("type") == "search_context_missing_exception" for reason in reasons):
            raise PointGoneError
        self._note_shards(shards)
        self._note_clusters(answer["_clusters"])
        return answer

    def _note_shards(self, shards: dict[str, Any]) -> None:
        if not shards.get("failed"):
            return
        reasons = [failure.get("reason") or {} for failure in shards.get("failures", [])]
        why = next((reason.get("reason") or reason.get("type") for reason in reasons), "no reason given")
        text = f"{shards['failed']} of {shards['total']} shards failed: {why}"
        self._tally.problems[self._calls.connection.clean(text)] = None

    def _note_clusters(self, clusters: dict[str, Any]) -> None:
        """Remote clusters without which a search goes on where `skip_unavailable` is set."""
        for name, facts in sorted(clusters.get("details", {}).items()):
            if facts.get("status") in {"skipped", "failed"}:
                reasons = [failure.get("reason") or {} for failure in facts.get("failures", [])]
                why = next((str(reason.get("reason") or reason.get("type")) for reason in reasons), "no reason given")
                text = f"the remote cluster {name!r} is away: {why[:300]}"
                self._tally.problems[self._calls.connection.clean(text)] = None

    def lasting(self, **body: Any) -> dict[str, Any]:
        """As `search`, opening the point in time again when it has expired."""
        while True:
            era = self._era
            try:
                return self.search(**body)
            except PointGoneError:
                self.reopen(era)

    def reopen(self, era: int) -> None:
        """A new point in time over the same indices, unless another thread has opened one since `era`."""
        with self._lock:
            if self._era != era:
                return
            if self._tally.reopened >= _REOPEN_AT_MOST:
                raise SourceUnavailable(
                    f"{self._calls.connection.where()}: the point in time expired {self._tally.reopened + 1} times; try again later"
                )
            self._tally.reopened += 1
            self._id = self._opened()
            self._era += 1

    def count(self, query: Query) -> int:
        """How many documents match."""
        found = self.lasting(query=query, size=0, track_total_hits=True)
        return int(found["hits"]["total"]["value"])

    def by_time(self, query: Query, width_ms: int) -> list[tuple[int, int]]:
        """(start in epoch milliseconds, documents) of each bucket of `width_ms` that holds any, in order."""
        found = self.lasting(
            query=query, size=0, track_total_hits=False, aggregations={"t": histogram(self._target, width_ms)}
        )
        return buckets_of(found["aggregations"]["t"])

    def pages(self, query: Query, want: int | None) -> Iterator[list[msgspec.Raw]]:
        """Pages of hits, `want` in all or every one, then the end. Each hit is the JSON that the server sent.

        They come in the order in which the index holds them, which costs least and says nothing. Where the point in time
        expires the reading begins anew, and `Tally.again` counts the rows that come a second time.
        """
        left, era, after, read = want, self._era, None, 0
        while left is None or left > 0:
            size = self._size if left is None else min(self._size, left)
            body: dict[str, Any] = {"query": query, "sort": [{"_shard_doc": "asc"}], "size": size}
            if after is not None:
                body["search_after"] = after
            if self._heavy:
                body["source"] = self._columns
            began = time.monotonic()
            try:
                answer = self.search(**body, track_total_hits=False)
            except PointGoneError:
                self.reopen(era)
                self._tally.again += read
                left, era, after, read = want, self._era, None, 0
                continue
            hits: list[msgspec.Raw] = answer["hits"]["hits"]
            if not hits:
                return
            after = msgspec.json.decode(hits[-1], type=Sorted).sort
            left = None if left is None else left - len(hits)
            read += len(hits)
            self._fit(hits, time.monotonic() - began)
            yield hits
            # A shard that failed may have held rows back that a later page brings.
            if len(hits) < size and not self._tally.problems:
                return

    def _fit(self, hits: list[msgspec.Raw], seconds: float) -> None:
        """The next page's size: near `_PAGE_BYTES` and `_PAGE_SECONDS`, at most ten times the last one."""
        weight = sum(map(weight_of, hits)) // len(hits) + 1
        self._heavy = self._heavy or (weight > _HEAVY and self._columns is not True)
        by_time = int(len(hits) * _PAGE_SECONDS / max(seconds, 0.001))
        self._size = max(1, min(self._largest, _PAGE_BYTES // weight, by_time, 10 * len(hits)))


def histogram(target: Target, width_ms: int) -> dict[str, Any]:
    """The aggregation that counts by stretches of `width_ms`."""
    return {
        "date_histogram": {"field": str(target.time), "fixed_interval": f"{width_ms}ms", "min_doc_count": 1},
    }


def buckets_of(aggregation: dict[str, Any]) -> list[tuple[int, int]]:
    """(start in epoch milliseconds, documents) of a date histogram's buckets."""
    return [(int(b["key"]), int(b["doc_count"])) for b in aggregation["buckets"]]


def weight_of(raw: msgspec.Raw) -> int:
    """The bytes of a raw hit."""
    return memoryview(raw).nbytes
