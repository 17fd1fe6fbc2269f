"""A real Elasticsearch node for benchmarks, and a shop's log lines to fill it with."""

from __future__ import annotations

import contextlib
import json
import pathlib
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BEGIN = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
MAPPINGS: dict[str, Any] = {
    "properties": {
        "@timestamp": {"type": "date"},
        "message": {"type": "text"},
        "service": {"properties": {"name": {"type": "keyword"}}},
        "log": {"properties": {"level": {"type": "keyword"}}},
        "trace": {"properties": {"id": {"type": "keyword"}}},
        "host": {"properties": {"name": {"type": "keyword"}}},
    }
}
_VERBS = [
    "accepted",
    "stored",
    "sent",
    "received",
    "checked",
    "loaded",
    "updated",
    "queued",
    "confirmed",
    "published",
    "scheduled",
    "merged",
]
_THINGS = [
    "order",
    "payment",
    "coupon",
    "shipment",
    "invoice",
    "session",
    "basket",
    "address",
    "receipt",
    "voucher",
    "stock",
    "price",
]
_ENDS = (
    "for user {u} in {k} ms",
    "id={o} amount={a} currency=CNY",
    "from 10.2.{k}.{k} via route {k}",
    "after {k} retries, next at {a}",
    "version {k} by worker-{k}",
)
_SERVICES = ("order-api", "payment-core", "gateway", "notify", "risk", "inventory", "promo", "ledger")


def kinds_of_lines(seed: int) -> list[tuple[str, str, str, float]]:
    """(service, level, text, weight): two hundred kinds of lines, of which the commonest make up most of the log."""
    chance = random.Random(seed)
    kinds = []
    for verb in _VERBS:
        for thing in _THINGS:
            level = chance.choices(("INFO", "DEBUG", "WARN", "ERROR"), (80, 15, 4, 1))[0]
            text = f"{thing} {verb} {chance.choice(_ENDS)}"
            kinds.append((chance.choice(_SERVICES), level, text, 1.0 / (1 + len(kinds)) ** 1.1))
    return kinds


def lines(count: int, seed: int, minutes: int = 90) -> Iterator[dict[str, Any]]:
    """`count` documents of about 300 bytes, evenly over `minutes` from `BEGIN` on."""
    chance = random.Random(seed)
    kinds = kinds_of_lines(seed)
    drawn = chance.choices(kinds, [kind[3] for kind in kinds], k=count)
    step = minutes * 60_000 / count
    for number, (service, level, text, _) in enumerate(drawn):
        moment = BEGIN + timedelta(milliseconds=int(number * step))
        yield {
            "@timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "service": {"name": service},
            "log": {"level": level},
            "host": {"name": f"node-{number % 9}"},
            "trace": {"id": f"{chance.getrandbits(128):032x}"},
            "message": text.format(
                o=10**12 + chance.randrange(10**9),
                u=chance.randrange(10**6),
                a=chance.randrange(10**5),
                k=chance.randrange(250),
            ),
        }


def fill(url: str, index: str, documents: Iterator[dict[str, Any]], mappings: dict[str, Any] | None = None) -> int:
    """Makes `index` anew of `documents`; gives how many there are."""
    from elasticsearch import Elasticsearch, helpers

    with Elasticsearch(url, request_timeout=120) as client:
        client.indices.delete(index=index, ignore_unavailable=True)
        settings = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"}
        client.indices.create(index=index, settings=settings, mappings=mappings or MAPPINGS)
        actions = ({"_index": index, "_source": json.dumps(one, ensure_ascii=False)} for one in documents)
        for _ in helpers.streaming_bulk(client, actions, chunk_size=5_000):
            pass
        client.indices.refresh(index=index)
        return int(client.count(index=index)["count"])


def node() -> contextlib.AbstractContextManager[str]:
    """The address of a node: the one of `make services-up` if it runs, else one for this run only."""
    from tests import services
    from tests.services import elasticsearch_node

    return services.running(elasticsearch_node)


def measured(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `work` gives, its wall time and this process's CPU time, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = work()
    return answer, time.perf_counter() - wall, time.process_time() - cpu
