"""ES|QL's answers in Arrow before a real node that has none of it: recorded answers, made after the documents.

Nobody here has asked a cluster that has ES|QL. What this gives is what elastic/elasticsearch's `ArrowResponse.java` and
`EsqlResponseListener.java` (x-pack/plugin/esql, November 2026) write: a schema with `elastic:type` as each field's metadata,
`_source` and keywords as utf8, times as timestamp[ms] or [ns] without a zone, one batch a page of the server, a list where one
row of a column holds several values, errors as JSON. Which rows match the request's `filter` the real node says, by a search.

    with Recorded(node_url).serving() as url:
        ...

Its fields make it behave as other servers do: see there.
"""

from __future__ import annotations

import http.client
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pyarrow as pa

from tests.test_elasticsearch import PRODUCT, passed_on, serving

MIME = "application/vnd.apache.arrow.stream"
QUERY = re.compile(
    r'FROM "(?P<index>[^"]+)" METADATA _index, _id, _source \| SORT `(?P<time>[^`]+)` \| LIMIT (?P<limit>\d+)'
    r" \| KEEP _index, _id, _source, `(?P=time)`"
)
Answer = tuple[int, dict[str, str], bytes]


class _Hit(msgspec.Struct):
    index: str = msgspec.field(name="_index")
    id: str = msgspec.field(name="_id")
    source: msgspec.Raw = msgspec.field(name="_source")
    sort: list[int] = []


class _Hits(msgspec.Struct):
    hits: list[_Hit]


class _Found(msgspec.Struct):
    hits: _Hits


@dataclass
class Recorded:
    """The server. `asked` holds the bodies of the requests to `/_query` by number; the first one, 0, is the probe."""

    node: str
    # The server's own limit of rows, whatever the query says (`esql.query.result_truncation_max_size`).
    most: int = 10_000
    # The unit of the times: "ms" for `date`, "ns" for `date_nanos`.
    unit: str = "ms"
    # The rows of a batch.
    batch: int = 700
    # What is said instead of an answer to the n-th request, or None for a true one.
    instead: Callable[[int], Answer | None] = lambda _: None
    # What becomes of the n-th table before it is written.
    changed: Callable[[int, pa.Table], pa.Table] = lambda _, table: table
    asked: dict[int, dict[str, Any]] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)

    def serving(self) -> Any:
        """The address of the server, while it runs."""
        return serving(self._answer)

    def _answer(self, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        if not request.path.startswith("/_query"):
            return passed_on(self.node, request, body)
        number = next(self.numbers)
        self.asked[number] = json.loads(body)
        assert "format=arrow" in request.path
        assert "allow_partial_results=false" in request.path
        own = self.instead(number)
        if own is not None:
            return own
        text = self.asked[number]["query"]
        if text == "ROW answer = 1":
            return _stream(pa.table({"answer": pa.array([1], pa.int32())}), {"answer": "integer"}, 1)
        query = QUERY.fullmatch(text)
        assert query, text
        table = self.changed(number, self._rows(query, self.asked[number]["filter"]))
        kinds = {"_index": "keyword", "_id": "keyword", "_source": "_source"}
        return _stream(table, kinds | {query["time"]: "date" if self.unit == "ms" else "date_nanos"}, self.batch)

    def _rows(self, query: re.Match[str], matching: dict[str, Any]) -> pa.Table:
        size = min(int(query["limit"]), self.most)
        sort = [{query["time"]: {"order": "asc", "numeric_type": "date" if self.unit == "ms" else "date_nanos"}}]
        body = {"query": matching, "sort": sort, "size": size, "track_total_hits": False}
        # Not by the client: the `_source` has to stay as it was written, down to the digits of a number.
        connection = http.client.HTTPConnection(urlsplit(self.node).netloc, timeout=30)
        connection.request("POST", f"/{query['index']}/_search", json.dumps(body), {"content-type": "application/json"})
        got = connection.getresponse()
        found = msgspec.json.decode(got.read(), type=_Found).hits.hits
        connection.close()
        return pa.table(
            {
                "_index": pa.array([hit.index for hit in found], pa.string()),
                "_id": pa.array([hit.id for hit in found], pa.string()),
                "_source": pa.array([bytes(hit.source).decode() for hit in found], pa.string()),
                query["time"]: pa.array([hit.sort[0] for hit in found], pa.timestamp(self.unit)),
            }
        )


def _stream(table: pa.Table, kinds: dict[str, str], batch: int) -> Answer:
    fields = [one.with_metadata({"elastic:type": kinds[one.name]}) for one in table.schema]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema(fields)) as writer:
        writer.write_table(table.cast(pa.schema(fields)), max_chunksize=batch)
    return 200, PRODUCT | {"content-type": MIME, "took-nanos": "1000"}, sink.getvalue().to_pybytes()
