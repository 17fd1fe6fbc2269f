"""The desk's index in a real Elasticsearch node gives what the embedded one gives."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import msgspec
import numpy as np
import pytest

from pipeline.desk.elastic import ElasticIndex
from pipeline.desk.index import EmbeddedIndex
from pipeline.desk.options import DeskOptions
from pipeline.desk.query import query_for
from pipeline.desk.similar import similar
from pipeline.errors import SourceError, UsageError
from pipeline.sources.elasticsearch import Options
from tests.desk_samples import START, many, prepared, vectors
from tests.services import free_port

LATE = START + timedelta(days=30)


def options(url: str, name: str) -> DeskOptions:
    connection = Options(url=url, logs=("none",), retries=0)
    return DeskOptions(history="", source="logs", elasticsearch_index=name, connection=connection)


@pytest.fixture
def both(elasticsearch_url, tmp_path, request):
    """The same tickets in both, with vectors and marks."""
    name = f"desk-{request.node.name[:20].lower().replace('_', '-').strip('-')}"
    said = {f"C{i:03}": [f"code:alipay {i % 7}", f"service:pay {i % 3}"] for i in range(90)}
    made = dataclasses.replace(prepared(tmp_path, many(), said), vectors=vectors(90))
    made = dataclasses.replace(made, facts=msgspec.structs.replace(made.facts, meaning=True))
    kept = ElasticIndex(options(elasticsearch_url, name), meaning=True)
    kept.fill(made)
    yield EmbeddedIndex(made), kept, made
    client = kept._connection.client()
    for index in client.indices.get(index=f"{name}-*"):
        client.indices.delete(index=index)
    kept.close()


@pytest.mark.parametrize("hours", [0, 1, 40, 24 * 30])
def test_both_find_the_same_tickets_with_the_same_scores(both, hours):
    """At any moment: only what was closed before, and counted as it was then."""
    embedded, kept, _ = both
    query = query_for(
        "C001", "签名错误 the refund", START + timedelta(hours=hours), ["code:alipay 3"], with_meaning=False
    )
    query = dataclasses.replace(query, vector=vectors(1, seed=5)[0].astype(np.float32))
    ours, seen = similar(query, embedded, 5, {"sign": 0.8, "refund": 0.2})
    theirs, counted = similar(query, kept, 5, {"sign": 0.8, "refund": 0.2})
    assert seen.tickets == counted.tickets
    assert seen.said == counted.said
    assert counted.words.idf == pytest.approx(seen.words.idf)
    assert [(one.id, one.closed_at, one.solution) for one in theirs] == [
        (one.id, one.closed_at, one.solution) for one in ours
    ]
    assert [one.score for one in theirs] == pytest.approx([one.score for one in ours], abs=0.01)
    assert [one.reasons for one in theirs] == [one.reasons for one in ours]


def test_filled_again_the_new_tickets_take_the_place_of_the_old(both):
    _, kept, made = both
    fewer = dataclasses.replace(made, facts=msgspec.structs.replace(made.facts, closed=10))
    kept.fill(fewer)
    query = query_for("new", "签名错误", LATE, with_meaning=False)
    assert kept.gather(query).tickets == 10
    assert len(kept._connection.client().indices.get(index=f"{kept.alias}-*")) == 1


def test_a_node_that_is_not_there_is_told():
    kept = ElasticIndex(options(f"http://127.0.0.1:{free_port()}", "desk"), meaning=False)
    with pytest.raises(SourceError, match="cannot be reached"):
        kept.gather(query_for("new", "text", LATE, with_meaning=False))
    kept.close()
    with pytest.raises(UsageError, match="was not resolved"):
        ElasticIndex(DeskOptions(history="", source="logs"), meaning=False)
