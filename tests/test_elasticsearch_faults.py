"""The Elasticsearch source when single requests fail: what is asked again, by whom, for how long, and what is kept."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceRefused, SourceUnavailable
from pipeline.sources.elasticsearch import ElasticsearchSource, Options
from pipeline.sources.elasticsearch.calls import Calls, Connection
from pipeline.sources.elasticsearch.causes import reason_of_shard, retry_after, root_cause
from pipeline.values import Ask, Fetched, Span
from tests.flow_samples import ORDER, START
from tests.outage_samples import LINES, adds_up, documents, fill
from tests.proxies import Proxy
from tests.test_elasticsearch import PRODUCT, passed_on, serving

WINDOW = Span(START - timedelta(hours=2), START + timedelta(hours=1))
ASKED = {"order_id": (ORDER,)}
NAMED = 12
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def index(elasticsearch_url: str) -> Iterator[str]:
    """An index of `LINES` lines, which are several stretches of time, so that several readers are at work."""
    from elasticsearch import Elasticsearch

    name = f"faults-{time.time_ns()}"
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        assert len(fill(client, name)) == LINES
        yield name
        client.indices.delete(index=name)


@pytest.fixture
def line(elasticsearch_url: str) -> Iterator[Proxy]:
    with Proxy(int(urlsplit(elasticsearch_url).port or 0)) as proxy:
        yield proxy


@pytest.fixture
def read(index: str) -> Iterator[Callable[..., Fetched]]:
    """Reads the window through a url; what every answer promises is checked."""
    made: list[ElasticsearchSource] = []

    def fetch(url: Any, seconds: float = 30, limit: int = 200_000, **options: Any) -> Fetched:
        made.append(ElasticsearchSource("es", Options(url=url, logs=(options.pop("index", index),), **options)))
        began = time.monotonic()
        fetched = made[-1].fetch(Ask("logs", WINDOW, ASKED, limit=limit, deadline=began + seconds))
        assert time.monotonic() - began < seconds + 1
        adds_up(fetched.coverage)
        names = fetched.table.column("_id").to_pylist()
        assert len(names) == len(set(names)) == fetched.coverage.used
        return fetched

    yield fetch
    for one in made:
        one.close()


def relay(node: str, instead: Callable[[str, bytes], Answer | None]) -> Any:
    """Forwards to `node` what `instead(path, body)` does not answer itself."""

    def answer(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        return instead(request.path, body) or passed_on(node, request, body)

    return serving(answer)


def error(status: int, kind: str, reason: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    """An answer as Elasticsearch words its errors."""
    body = {"error": {"type": kind, "reason": reason, **more}, "status": status}
    return status, {**PRODUCT, **(headers or {})}, json.dumps(body).encode()


# ---- words: these need no node


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        ({"type": "a", "reason": "why"}, "why"),
        ({"type": "a", "reason": "all shards failed", "failed_shards": [{"reason": {"type": "b", "reason": "full"}}]}, "full"),
        ({"type": "a", "reason": "", "caused_by": {"type": "b", "reason": "no room"}}, "no room"),
        (
            {"type": "a", "reason": "x", "root_cause": [{"type": "b", "reason": "y", "caused_by": {"reason": "z"}}]},
            "z",
        ),
        ({"type": "no_shard_available_action_exception", "reason": None}, "no_shard_available_action_exception"),
        ({"type": "a", "failed_shards": [{"reason": {"type": "b_exception", "reason": " "}}]}, "b_exception"),
        ({}, "no reason given"),
        ("a sentence", "a sentence"),
    ],
)  # fmt: skip
def test_the_innermost_cause_that_says_anything_is_told(answered: Any, reason: str) -> None:
    assert root_cause({"error": answered})[1] == reason


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "type", "reason", "caused_by", "root_cause", "failed_shards"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(_ANY)
def test_every_error_has_a_reason_whatever_its_shape(body: Any) -> None:
    """A proxy may answer in any JSON of its own."""
    assert root_cause(body)[1]
    assert root_cause({"error": body})[1]
    assert reason_of_shard({"reason": body})[1]


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("in six hours", 3600, 6 * 3600),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("soon", 0, 0),
        ("-3", 0, 0),
        (None, 0, 0),
    ],
)
def test_the_time_to_wait_is_read_as_seconds_or_as_a_date(value: str | None, least: float, most: float) -> None:
    if value == "in six hours":
        value = f"{datetime.now(UTC) + timedelta(hours=6):%a, %d %b %Y %H:%M:%S} GMT"
    told = SimpleNamespace(meta=SimpleNamespace(headers={} if value is None else {"retry-after": value}))
    assert least <= retry_after(told) <= most


# ---- the count


BREAKER = "[parent] Data too large, data for [<agg>] would be larger than the limit"


@pytest.mark.parametrize(
    "declined",
    [
        error(429, "circuit_breaking_exception", BREAKER, durability="PERMANENT"),
        error(429, "circuit_breaking_exception", BREAKER, durability="TRANSIENT"),
        error(429, "es_rejected_execution_exception", "queue is full"),
        error(
            400,
            "search_phase_execution_exception",
            "",
            caused_by={"type": "too_many_buckets_exception", "reason": "many"},
        ),
        error(503, "search_phase_execution_exception", "all shards failed"),
        error(500, "null_pointer_exception", "a bug"),
    ],
    ids=["breaker for good", "breaker for now", "rejected", "too many buckets", "503", "500"],
)
def test_a_count_that_is_declined_costs_the_plan_and_no_row(
    read: Any, elasticsearch_url: str, declined: Answer
) -> None:
    with relay(elasticsearch_url, lambda _, body: declined if b'"kinds"' in body else None) as url:
        fetched = read(url, seconds=8)
    row = fetched.coverage
    assert (row.status, row.matched, row.used, row.cut, row.plan) == ("ok", LINES, LINES, 0, None)
    reason = json.loads(declined[2])["error"].get("caused_by", json.loads(declined[2])["error"])["reason"]
    assert any("did not count the window" in note and reason in note for note in row.notes), row.notes
    assert fetched.complete


def test_a_count_that_takes_too_long_costs_the_plan_and_no_row(read: Any, elasticsearch_url: str) -> None:
    def slow(_: str, body: bytes) -> None:
        if b'"kinds"' in body:
            time.sleep(8)

    with relay(elasticsearch_url, slow) as url:
        row = read(url, seconds=10).coverage
    assert (row.status, row.matched, row.used) == ("ok", LINES, LINES)
    assert any("did not count the window within" in note for note in row.notes)


def test_without_a_count_the_rows_of_the_ticket_come_first_and_the_gap_is_told(
    read: Any, elasticsearch_url: str
) -> None:
    declined = error(429, "circuit_breaking_exception", BREAKER, durability="PERMANENT")
    with relay(elasticsearch_url, lambda _, body: declined if b'"kinds"' in body else None) as url:
        fetched = read(url, limit=1000)
    row = fetched.coverage
    assert (row.status, row.matched, row.used, row.plan) == ("partial", None, 1000, None)
    assert sum(ORDER in text for text in fetched.table.column("body").to_pylist()) == NAMED
    assert "WARN or above" in row.asked
    assert "at random" not in row.asked, "these are the nearest ones"
    assert "not known" in (row.error or "")
    assert not fetched.complete


def test_a_count_that_is_forbidden_is_no_reason_to_read(read: Any, elasticsearch_url: str) -> None:
    refused = error(403, "security_exception", "no aggregations for you")
    with (
        relay(elasticsearch_url, lambda _, body: refused if b'"kinds"' in body else None) as url,
        pytest.raises(SourceRefused, match="403"),
    ):
        read(url)


# ---- busy nodes


def test_a_busy_node_is_left_alone_for_as_long_as_it_asks(read: Any, elasticsearch_url: str) -> None:
    asked: list[float] = []
    turned_away: list[float] = []

    def busy(path: str, body: bytes) -> Answer | None:
        if path.startswith("/_search") and b'"kinds"' not in body:
            asked.append(time.monotonic())
            if not turned_away:
                turned_away.append(asked[-1])
                return error(429, "es_rejected_execution_exception", "queue is full", {"retry-after": "2"})
        return None

    with relay(elasticsearch_url, busy) as url:
        assert read(url, readers=1, page_size=2_000).coverage.status == "ok"
    assert asked[1] - turned_away[0] >= 2


def test_a_node_that_asks_for_more_time_than_there_is_is_not_waited_for(read: Any, elasticsearch_url: str) -> None:
    told = error(429, "es_rejected_execution_exception", "queue is full", {"retry-after": "3600"})
    began = time.monotonic()
    with (
        relay(elasticsearch_url, lambda path, _: told if path.startswith("/_search") else None) as url,
        pytest.raises(SourceUnavailable, match=r"429.*queue is full"),
    ):
        read(url)
    assert time.monotonic() - began < 5


def test_a_shard_that_is_busy_for_a_moment_loses_no_rows_of_the_page(read: Any, elasticsearch_url: str) -> None:
    """A page that lacks one shard's rows would go on behind them."""
    pages = itertools.count()
    lock = threading.Lock()

    def answer(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        status, headers, data = passed_on(elasticsearch_url, request, body)
        with lock:
            torn = request.path.startswith("/_search") and b'"_shard_doc"' in body and next(pages) in {1, 2}
        if torn:
            found = json.loads(data)
            found["hits"]["hits"] = found["hits"]["hits"][:5]
            reason = {"type": "es_rejected_execution_exception", "reason": "queue is full"}
            found["_shards"] |= {"failed": 1, "failures": [{"shard": 0, "reason": reason}]}
            data = json.dumps(found).encode()
        return status, headers, data

    with serving(answer) as url:
        row = read(url, page_size=2_000).coverage
    assert (row.status, row.used, row.duplicates) == ("ok", LINES, 0)


# ---- lines


@pytest.mark.alone
@pytest.mark.parametrize("rate", [40, 400])
def test_an_answer_that_trickles_is_left_behind_by_the_clock(read: Any, line: Proxy, rate: int) -> None:
    """Every byte is in time; the whole is not. Also where it does not get beyond its header."""
    line.bandwidth = rate
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="in time"):
        read(line.url, seconds=1.5)
    assert time.monotonic() - began < 2.5
    for _ in range(20):
        if not any(thread.name.startswith("es:") for thread in threading.enumerate()):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the request goes on, when nobody waits for it")


def test_one_connection_that_goes_dead_costs_no_row(read: Any, line: Proxy) -> None:
    """Half open, as behind a firewall that forgot it: the page is asked for again on another one."""
    line.cut, line.cut_after, line.cuts = "hang", 1_000_000, 1
    row = read(line.url, seconds=10, page_size=1_000).coverage
    assert line.cuts == 0, "it did go dead"
    assert (row.status, row.used) == ("ok", LINES)


@pytest.mark.alone
def test_pages_become_small_where_the_line_is_thin_and_the_documents_are_heavy(
    read: Any, line: Proxy, elasticsearch_url: str
) -> None:
    """The first page would take longer than there is time."""
    from elasticsearch import Elasticsearch

    name = f"faults-heavy-{time.time_ns()}"
    with Elasticsearch(elasticsearch_url) as client:
        operations: list[Any] = []
        for number in range(400):
            at = (START + timedelta(seconds=number)).isoformat()
            body = f"line {number} " + "".join(f"{number * n % 9973:04d} " for n in range(800))
            operations += [{"index": {}}, {"@timestamp": at, "message": body}]
        client.bulk(index=name, operations=operations, refresh=True)
        try:
            line.bandwidth = 65_536
            row = read(line.url, seconds=8, index=name).coverage
        finally:
            client.indices.delete(index=name)
    assert row.status == "partial"
    assert row.matched == 400
    # Half of what the line can carry in the time is more than one small page.
    assert row.used >= 30


def test_a_node_that_was_given_up_is_not_tried_for_as_long_again() -> None:
    """By the same question not at all; by the next one, of this ticket or another, once."""
    tried: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = listener.accept()
                    tried.append(1)
                    caller.close()

        threading.Thread(target=hang_up, daemon=True).start()
        connection = Connection(
            "es", Options(url=f"http://127.0.0.1:{listener.getsockname()[1]}", logs=("x",), retries=2)
        )
        counts = []
        calls = Calls(connection, time.monotonic() + 20)
        for one in (calls, calls, Calls(connection, time.monotonic() + 20)):
            with pytest.raises(SourceUnavailable, match="cannot be reached"):
                one.ask(lambda client: client.info())
            counts.append(len(tried))
        connection.close()
        listener.shutdown(socket.SHUT_RDWR)
    assert counts == [3, 3, 4]


def test_an_address_that_swallows_everything_costs_little_beside_another(read: Any, elasticsearch_url: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        # Its queue is full, so that the system answers no further connection: as behind a firewall that drops.
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            waiting.append(one)
        try:
            began = time.monotonic()
            row = read((f"http://127.0.0.1:{listener.getsockname()[1]}", elasticsearch_url), seconds=8).coverage
            took = time.monotonic() - began
        finally:
            for one in waiting:
                one.close()
    assert (row.status, row.used) == ("ok", LINES)
    assert 1 < took < 6, "it was tried, and only once"


# ---- the point in time


def test_a_point_in_time_lost_while_several_read_loses_and_doubles_nothing(
    read: Any, elasticsearch_url: str, index: str
) -> None:
    """Each reader begins its stretch anew, also one that was amid it when another had opened the new one.

    Half of the rows are written again and all are merged meanwhile, so that places in the old order mean nothing.
    """
    from elasticsearch import Elasticsearch

    pages = itertools.count(1)
    lock = threading.Lock()
    lost = threading.Event()
    again: list[Any] = []
    for number, document in enumerate(documents()[::2]):
        again += [{"index": {"_id": f"d{2 * number}"}}, document]
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:

        def answer(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
            page = next(pages) if b'"_shard_doc"' in body else 0
            if page == 6:
                # This one has its answer from the old one, and goes on when there is a new one.
                held = passed_on(elasticsearch_url, request, body)
                lost.wait(20)
                time.sleep(0.5)
                return held
            if page in {9, 25}:
                with lock:
                    if page == 9:
                        client.bulk(index=index, operations=again, refresh=True)
                        client.indices.forcemerge(index=index, max_num_segments=1)
                    client.close_point_in_time(id=json.loads(body)["pit"]["id"])
                    lost.set()
            return passed_on(elasticsearch_url, request, body)

        with serving(answer) as url:
            row = read(url, page_size=300, readers=4).coverage
    assert (row.status, row.used, row.matched) == ("ok", LINES, LINES)
    assert row.duplicates > 0, "it was lost amid the stretches"
    assert row.plan is not None
    (step,) = row.plan.steps
    assert (step.kind, step.rate) == ("all", 1.0)


def test_giving_the_point_in_time_back_is_not_waited_for(read: Any, elasticsearch_url: str) -> None:
    given: list[str] = []

    def slow(path: str, body: bytes) -> None:
        if path.startswith("/_pit") and b'"id"' in body:
            given.append(path)
            time.sleep(5)

    with relay(elasticsearch_url, slow) as url:
        began = time.monotonic()
        assert read(url).coverage.status == "ok"
        took = time.monotonic() - began
        for _ in range(50):
            if given:
                break
            time.sleep(0.02)
    assert given
    assert took < 5
