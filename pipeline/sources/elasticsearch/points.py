"""A point in time: counting and reading in one state of the indices, whatever is written meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from parsers.hits import Page, Values, Wanted
from pipeline.errors import SourceBroken, SourceUnavailable
from pipeline.sources.elasticsearch.calls import (
    Calls,
    DeclinedError,
    OutOfTimeError,
    PointGoneError,
    Sorted,
)
from pipeline.sources.elasticsearch.causes import ASKS_TOO_MUCH, reason_of_shard
from pipeline.sources.elasticsearch.queries import Query
from pipeline.sources.elasticsearch.targets import Target

# A page is kept near this many bytes and this many seconds, whatever its rows weigh and however slow the line is.
_PAGE_BYTES = 8 << 20
_PAGE_SECONDS = 0.7
_FIRST_PAGE = 200
# A page that takes more than this share of the time that is left is asked for again, smaller, down to this size.
_PATIENCE = 1 / 3
_SMALLEST_PAGE = 20
_LEAST_TIME = 0.3
_KEEP_ALIVE = "2m"
_REOPEN_AT_MOST = 3
# What is said of a shard that may well answer a moment later.
_PASSING = frozenset({
    "es_rejected_execution_exception", "circuit_breaking_exception", "node_disconnected_exception",
    "node_not_connected_exception", "receive_timeout_transport_exception",
})  # fmt: skip
# Documents heavier than this are asked for by the fields that are read; lighter ones come faster whole.
_HEAVY = 2_000


@dataclass
class Tally:
    """What a reading has met so far."""

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
        # How many shards were missing when it was opened first, and which failures did not pass.
        self._missing = 0
        self._lasting: frozenset[str] = frozenset()
        self._ended = False
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        opened = self._opened()
        shards = opened.get("_shards") or {}
        self._missing = int(shards.get("failed") or 0)
        self._note_shards(shards)
        self._note_clusters(opened.get("_clusters") or {})
        self._id = str(opened["id"])
        return self

    def _opened(self) -> dict[str, Any]:
        index = ",".join(self._target.patterns)
        # An index whose time is no date would fail its shards in every answer.
        bars = [{"terms": {"_index": list(self._target.barred)}}]
        body: dict[str, Any] = {"index_filter": {"bool": {"must_not": bars}}} if self._target.barred else {}
        try:
            # Without shards that are gone rather than not at all; known to servers from 8.16 on.
            return self._calls.ask(
                lambda client: client.open_point_in_time(
                    index=index,
                    keep_alive=_KEEP_ALIVE,
                    ignore_unavailable=True,
                    allow_partial_search_results=True,
                    **body,
                ),
                holds="id",
            )
        except SourceBroken as error:
            # Older servers take no body here, either.
            if "allow_partial_search_results" not in str(error) and not body:
                raise
            return self._calls.ask(
                lambda client: client.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE, ignore_unavailable=True),
                holds="id",
            )

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ended = True
            point, self._id = self._id, ""
        self._give_back(point)

    def _give_back(self, point: str) -> None:
        if point:
            self._calls.connection.part(lambda client: client.close_point_in_time(id=point))

    def search(
        self,
        *,
        within: float | None = None,
        patience: float | None = None,
        at: tuple[str, int] | None = None,
        whole: bool = False,
        **body: Any,
    ) -> dict[str, Any]:
        """One search in this point in time, or in that of `at`.

        Asked again where shards failed that may have come back a moment later; those that have not are noted. With
        `whole` a shard to which it is too much makes it a `DeclinedError`. Raises `PointGoneError` where they lost the point in time.
        """
        point, era = at or self._now()
        pit = {"id": point, "keep_alive": _KEEP_ALIVE}
        attempt = 0
        while True:
            answer: dict[str, Any] = self._calls.ask(
                lambda client: client.search(pit=pit, **body), within, patience, holds="hits"
            )
            shards = answer["_shards"]
            kinds = {reason_of_shard(failure)[0] for failure in shards.get("failures", [])}
            if "search_context_missing_exception" in kinds:
                raise PointGoneError
            self._follow(answer.get("pit_id"), era)
            if whole and kinds & (_PASSING | ASKS_TOO_MUCH):
                raise DeclinedError(self._said(shards))
            # A page without a shard that is busy would go on behind what that shard holds.
            if not kinds & (_PASSING - self._lasting):
                break
            if attempt >= self._retries or not self._calls.pause(attempt):
                self._lasting |= kinds
                break
            attempt += 1
        if answer["timed_out"]:
            self._tally.problems["the cluster's own search timeout cut an answer short"] = None
        self._note_shards(shards)
        self._note_clusters(answer["_clusters"])
        return answer

    def _now(self) -> tuple[str, int]:
        with self._lock:
            return self._id, self._era

    def _follow(self, point: str | None, era: int) -> None:
        """Answers may name the point in time anew; the newest name is the one to use."""
        if point:
            with self._lock:
                if self._era == era and self._id:
                    self._id = point

    def _note_shards(self, shards: dict[str, Any]) -> None:
        if not shards.get("failed"):
            return
        problems = self._tally.problems
        without = self._said({**shards, "failures": []})
        said = self._said(shards)
        if said != without:
            # The same shards, of which a point in time says no more than their number.
            problems.pop(without, None)
        elif any(told.startswith(f"{_failed(shards)}: ") for told in problems):
            return
        problems[said] = None

    def _said(self, shards: dict[str, Any]) -> str:
        why = next((reason_of_shard(failure)[1] for failure in shards.get("failures", [])), "no reason given")
        return self._calls.connection.clean(f"{_failed(shards)}: {why}")

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
            point, era = self._now()
            try:
                return self.search(at=(point, era), **body)
            except PointGoneError:
                self.reopen(era)

    def reopen(self, era: int) -> None:
        """A new point in time over the same indices, unless another thread has opened one since `era`."""
        with self._opening:
            if self._era != era:
                return
            if self._tally.reopened >= _REOPEN_AT_MOST:
                raise SourceUnavailable(
                    f"{self._calls.connection.where()}: the point in time expired {self._tally.reopened + 1} times; try again later"
                )
            attempt = 0
            while True:
                opened = self._opened()
                shards = opened.get("_shards") or {}
                # A node that has just come back holds no shard yet.
                fewer = int(shards.get("failed") or 0) > self._missing
                if not fewer or attempt >= self._retries or not self._calls.pause(attempt):
                    break
                self._give_back(str(opened["id"]))
                attempt += 1
            with self._lock:
                if not self._ended:
                    self._tally.reopened += 1
                    self._note_shards(shards)
                    self._note_clusters(opened.get("_clusters") or {})
                    self._id = str(opened["id"])
                    self._era += 1
                    return
            # Whoever asked did not wait for it.
            self._give_back(str(opened["id"]))
            raise self._calls.out_of_time()

    @property
    def size(self) -> int:
        """The rows of the next page."""
        return self._size

    @property
    def _retries(self) -> int:
        return self._calls.connection.options.retries

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

    def pages(
        self, query: Query, want: int | None, wanted: Wanted | None = None, had: int = 0
    ) -> Iterator[tuple[list[msgspec.Raw] | Values, int, int]]:
        """Pages of hits, `want` in all or every one, then the end.

        Each hit is the JSON that the server sent; where all of a page can be read at once, its `wanted` values. They come in
        the order in which the index holds them, which costs least and says nothing. Where the point in time expires the
        reading begins anew: with each page come its bytes, and how many of its rows had come before. `had` of them came to
        the caller before, in another way.
        """
        at, left, after, read = self._now(), want, None, 0
        while left is None or left > 0:
            free = self.size
            size = free if left is None else min(free, left)
            body: dict[str, Any] = {"query": query, "sort": [{"_shard_doc": "asc"}], "size": size}
            if after is not None:
                body["search_after"] = after
            if self._heavy:
                body["source"] = self._columns
            began = time.monotonic()
            try:
                # By the point in time that it began with: the places in the order of another one are others.
                answer = self.search(at=at, patience=self.patience(size), **body, track_total_hits=False)
            except PointGoneError:
                self.reopen(at[1])
                at, left, after, read, had = self._now(), want, None, 0, max(had, read)
                continue
            except OutOfTimeError:
                if size <= _SMALLEST_PAGE or self._calls.left() < _LEAST_TIME:
                    raise
                self._size = min(self._size, max(_SMALLEST_PAGE, size // 4))
                continue
            now = self._now()
            at = now if now[1] == at[1] else at
            hits, last = self.read(answer["hits"]["hits"], wanted)
            if not len(hits):
                return
            after = last
            left = None if left is None else left - len(hits)
            again = min(had, read + len(hits)) - min(had, read)
            read += len(hits)
            if len(hits) == free:
                # A short page, as the last of a stretch is, says nothing of how large one may be.
                self.fit(len(hits), answer["bytes"], time.monotonic() - began)
            yield hits, answer["bytes"], again
            # A shard that failed may have held rows back that a later page brings.
            if len(hits) < size and not self._tally.problems:
                return

    def read(
        self, page: Page | list[msgspec.Raw], wanted: Wanted | None
    ) -> tuple[list[msgspec.Raw] | Values, list[Any]]:
        """The hits of an answer, and the place of the last in the order."""
        if not isinstance(page, Page):
            return page, msgspec.json.decode(page[-1], type=Sorted).sort if page else []
        values = wanted.read(page) if wanted else None
        if values is not None:
            return values, page.sort
        try:
            return page.hits(), page.sort
        except msgspec.DecodeError as error:
            raise SourceBroken(f"{self._calls.connection.where()} answered something that is not JSON") from error

    def patience(self, size: int) -> float | None:
        """The seconds after which a page is asked for again, smaller; never so few that a slow cluster cannot answer."""
        if size <= _SMALLEST_PAGE:
            return None
        seconds = max(_PATIENCE * self._calls.left(), 4 * self._calls.quickest, 3 * _PAGE_SECONDS)
        return seconds if seconds < self._calls.left() else None

    def fit(self, rows: int, size: int, seconds: float) -> None:
        """The next page's size: near `_PAGE_BYTES` and `_PAGE_SECONDS`, at most ten times the last one."""
        weight = size // rows + 1
        self._heavy = self._heavy or (weight > _HEAVY and self._columns is not True)
        # What even the smallest answer takes is no reason for small pages: rather for large ones.
        wait = min(seconds, self._calls.quickest)
        # Towards the end pages become small, so that little is under way when the time is up.
        aim = min(_PAGE_SECONDS, self._calls.left() / 3)
        by_time = int(rows * max(aim, wait) / max(seconds - wait, 0.001))
        self._size = max(1, min(self._largest, _PAGE_BYTES // weight, by_time, 10 * rows))


def _failed(shards: dict[str, Any]) -> str:
    return f"{shards['failed']} of {shards['total']} shards failed"


def histogram(target: Target, width_ms: int) -> dict[str, Any]:
    """The aggregation that counts by stretches of `width_ms`."""
    return {
        "date_histogram": {"field": str(target.time), "fixed_interval": f"{width_ms}ms", "min_doc_count": 1},
    }


def buckets_of(aggregation: dict[str, Any]) -> list[tuple[int, int]]:
    """(start in epoch milliseconds, documents) of a date histogram's buckets."""
    return [(int(b["key"]), int(b["doc_count"])) for b in aggregation["buckets"]]
