"""Rows through ES|QL, answered as a stream of Arrow batches, where that gives the rows that a search gives.

Which rows come is decided by the request's `filter`, and that is the query which the search would send: nothing of a ticket
stands in the text of the ES|QL query, and no field is asked for by it that one of the indices may lack. The text only sorts by
time and keeps `_index`, `_id`, the time and the whole `_source`, which comes as it was written.

There is no point in time, so a stretch of time is read along its milliseconds: of a page that is not the last one, the rows of
the last millisecond are left for the next page, which begins there. That neither loses nor doubles rows of equal times, whatever
limit the server sets, and spares it sorting by `_id`, for which it would load the id of each row that matches.

An answer in Arrow has no place for `is_partial`, `_clusters` and failed shards. So partial answers are refused
(`allow_partial_results=false`) and remote clusters are left to the search, which keeps what came and tells what is missing. And a
stretch counts only where as many rows came as a search counts in its point in time. At the first thing that is not as it should
be ES|QL is given up for this question, the stretch is read anew by search, and the ledger says so.

After the documents and the sources, as of November 2026; no cluster that has it was asked:
https://www.elastic.co/docs/reference/query-languages/esql/esql-rest
https://www.elastic.co/docs/reference/query-languages/esql/esql-metadata-fields
`ArrowResponse.java`, `BlockArrowFormatter.java`, `EsqlResponseListener.java` of elastic/elasticsearch, `x-pack/plugin/esql`: one
batch a page of the server, `_source` and keywords as utf8, `date` as timestamp[ms] and `date_nanos` as timestamp[ns], both
without a zone and in UTC, a column as a list where one of its rows holds several values.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.hits import Page, Values, Wanted
from pipeline.errors import SourceBroken, SourceError
from pipeline.sources.elasticsearch.calls import Calls, PointGoneError
from pipeline.sources.elasticsearch.points import Point
from pipeline.sources.elasticsearch.queries import Query, all_of
from pipeline.sources.elasticsearch.targets import DATE, Target

# What a server answers that has no such path, no such format, or is too old to refuse partial answers.
_HAS_IT_NOT = frozenset({400, 404, 405})
_PROBE_SECONDS = 2.0
_PROBE_SHARE = 0.1
# A page whose rows are all of one millisecond is asked for again, so many times larger.
_LARGER = 10
_BEGIN, _END = b'{"hits":{"hits":[', b"]}}"
_ESCAPED = '["\\\\\\x00-\\x1f]'


class Esql:
    """ES|QL for the readers of one question, until it is given up. For several threads."""

    def __init__(self, calls: Calls, target: Target) -> None:
        """Nothing is asked yet."""
        self._calls = calls
        self._target = target
        self._lock = threading.Lock()
        self._rows = 0
        # Why it is not, or no longer, used; what the ledger says.
        self._against = _unfit(target)

    def probe(self) -> None:
        """Finds out whether the cluster has it, which is asked once a connection: see `answers_in_arrow`."""
        if self._against is None:
            has_it = answers_in_arrow(self._calls)
            if has_it is None:
                self._against = "whether the cluster has it could not be told"
            elif not has_it:
                self._against = "the cluster has none that answers in Arrow"

    def pages(
        self, point: Point, query: Query, wanted: Wanted | None
    ) -> Iterator[tuple[list[msgspec.Raw] | Values, int, int]]:
        """The pages of every row of `query`, as `point.pages` gives them, and from there what does not come this way."""
        had = 0
        if self._against is None:
            try:
                for hits, weight in self._pages(point, query, wanted):
                    had += len(hits)
                    yield hits, weight, 0
            except (SourceError, PointGoneError, pa.ArrowException) as error:
                self._give_up(str(error))
            else:
                return
            finally:
                with self._lock:
                    self._rows += had
        yield from point.pages(query, None, wanted, had)

    def _give_up(self, why: str) -> None:
        with self._lock:
            self._against = self._against or why

    def said(self) -> str:
        """Which way was taken, for the ledger."""
        if not self._rows:
            return f"read by search, not by ES|QL: {self._against or 'no step is read whole'}"
        if self._against is None:
            return f"{self._rows:,} rows came through ES|QL"
        return f"{self._rows:,} rows came through ES|QL, which was given up for the search: {self._against}"

    def _pages(
        self, point: Point, query: Query, wanted: Wanted | None
    ) -> Iterator[tuple[list[msgspec.Raw] | Values, int]]:
        left, least, rest = point.count(query), 0, query
        largest = self._calls.connection.options.page_size
        while left:
            # One more than there should be, so that more would be seen.
            size = min(max(point.size, least), left + 1)
            began = time.monotonic()
            rows, weight = self._rows_of(rest, size, point.patience(size))
            moments = self._milliseconds(rows)
            if len(moments) > min(size, left):
                raise SourceBroken(f"{len(moments):,} rows came where {min(size, left):,} were expected at most")
            if len(moments) == size:
                point.fit(size, weight, time.monotonic() - began)
            if len(moments) < left or size <= left:
                whole = int(np.searchsorted(moments, moments[-1])) if len(moments) else 0
                if not whole:
                    if len(moments) < size or size >= largest:
                        raise SourceBroken(f"{len(moments):,} rows came of the {left:,} that a search counts")
                    least = min(largest, size * _LARGER)
                    continue
                since = {"gte": int(moments[-1]), "format": "epoch_millis"}
                rest = all_of(query, {"range": {str(self._target.time): since}})
                rows = rows.slice(0, whole)
            hits, _ = point.read(page_of(rows), wanted)
            left -= len(hits)
            yield hits, weight

    def _rows_of(self, query: Query, size: int, patience: float | None) -> tuple[pa.Table, int]:
        """The `size` earliest rows of `query`, and the bytes that they came in."""
        moment = f"`{self._target.time}`"
        text = (
            f'FROM "{",".join(self._target.patterns)}" METADATA _index, _id, _source'
            f" | SORT {moment} | LIMIT {size} | KEEP _index, _id, _source, {moment}"
        )
        body = self._calls.stream(
            lambda client: client.esql.query(query=text, filter=query, format="arrow", allow_partial_results=False),
            None,
            patience,
        )
        return table_of(body), len(body)

    def _milliseconds(self, rows: pa.Table) -> npt.NDArray[np.int64]:
        """The rows' times, in whole epoch milliseconds. Raises `SourceBroken` where these are not the rows that were asked for."""
        names = ("_index", "_id", "_source", str(self._target.time))
        if tuple(rows.column_names) != names:
            raise SourceBroken(f"the columns {', '.join(rows.column_names)} came for {', '.join(names)}")
        for field in rows.schema:
            fits = pa.types.is_timestamp(field.type) if field.name == names[-1] else pa.types.is_string(field.type)
            if not fits or rows.column(field.name).null_count:
                raise SourceBroken(
                    f"{field.name} came as {field.type}, with {rows.column(field.name).null_count:,} nulls"
                )
        nanos = rows.schema.field(3).type.unit == "ns"
        moments: npt.NDArray[np.int64] = rows.column(3).cast(pa.int64()).to_numpy() // (1_000_000 if nanos else 1)
        if (np.diff(moments) < 0).any():
            raise SourceBroken("the rows did not come in the order of their times")
        return moments


def answers_in_arrow(calls: Calls) -> bool | None:
    """Whether the cluster has ES|QL that answers in Arrow and can be told to refuse partial answers; None where it did not say.

    Kept with the connection. An error that says nothing of it, such as a lack of rights or of time, is no answer.
    """
    connection = calls.connection
    if connection.esql is None:
        within = min(_PROBE_SECONDS, _PROBE_SHARE * calls.left())
        try:
            body = calls.stream(
                lambda client: client.esql.query(query="ROW answer = 1", format="arrow", allow_partial_results=False),
                within,
            )
            connection.esql = table_of(body).to_pydict() == {"answer": [1]}
        except (SourceError, PointGoneError) as error:
            if getattr(error.__cause__, "status_code", None) in _HAS_IT_NOT:
                connection.esql = False
    return connection.esql


def page_of(rows: pa.Table) -> Page:
    """Rows of `_index`, `_id` and `_source`, as utf8 and without nulls, as the page of hits that a search would have sent.

    >>> page_of(pa.table({"_index": ["a"], "_id": ["x"], "_source": ['{"n": 1.0}']})).answer
    b'{"hits":{"hits":[{"_index":"a","_id":"x","_source":{"n": 1.0}}]}}'
    """
    indices, ids, sources = (rows.column(name).combine_chunks() for name in ("_index", "_id", "_source"))
    # The name of an index holds nothing that JSON escapes; an id may, and hardly ever does.
    if pc.any(pc.match_substring_regex(ids, _ESCAPED)).as_py():
        ids = pa.array([msgspec.json.encode(one)[1:-1].decode() for one in ids.to_pylist()], pa.string())
    hits = pc.binary_join_element_wise('{"_index":"', indices, '","_id":"', ids, '","_source":', sources, "}", "")
    every = pa.ListArray.from_arrays(pa.array([0, len(hits)], pa.int32()), hits)
    joined = pc.binary_join(every, ",")[0].as_buffer()
    answer = b"".join((_BEGIN, joined, _END))
    return Page(answer, len(_BEGIN), len(answer) - len(_END), [])


def table_of(body: bytes) -> pa.Table:
    """The batches of a stream. Raises `SourceBroken`."""
    try:
        with pa.ipc.open_stream(body) as stream:
            table = stream.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise SourceBroken("the answer cannot be read as a stream of Arrow batches") from error
    return table


def _unfit(target: Target) -> str | None:
    """Why the rows of a target are left to the search, None where they need not be."""
    if not target.types.get(str(target.time), frozenset()) <= DATE:
        return f"{target.time} is no date in some indices"
    if any(":" in pattern for pattern in target.patterns):
        return "its answers would not tell of a remote cluster that is away"
    if any(letter in name for name in (*target.patterns, str(target.time)) for letter in '"\\`'):
        return "the names of indices and of the time field cannot be written in it"
    return None
