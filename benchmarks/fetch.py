"""Documents of a real Elasticsearch node to a table, against what one would otherwise write.

Run as `python benchmarks/fetch.py [--documents N] [--rounds R]`. The node is filled with N documents of about 300 bytes. Ours is
the source's `columns`: five fields (time, service, level, trace id, message) as an Arrow table, by two readers. The rival is
`elasticsearch.helpers.scan` with pages of 10,000 and `_source` filtered to the five fields, flattened into a `pandas.DataFrame`.
Both run in this process in turn; of each the median counts. Beside them stands `fetch`, which gives the whole LOGS table with
what is in the message taken apart, and is what `take` uses; it is reported and has no goal here.

Memory is read from a process of its own: the growth of its largest resident size over the table that it holds in the end,
for N documents and for a quarter of them. Goals: at least 5 times the documents a second, at most a tenth of the client's
processor time, and memory beyond the table that does not grow with the number of documents (at most half as much again).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from datetime import timedelta
from typing import Any

import _node

GOAL_SPEED, GOAL_CPU, GOAL_GROWTH = 5.0, 10.0, 1.5
FIELDS = ("@timestamp", "service.name", "log.level", "trace.id", "message")
INDEX = "benchmark-fetch"


def asked(limit: int) -> Any:
    """The whole window, as a question."""
    from pipeline.values import Ask, Span

    window = Span(_node.BEGIN, _node.BEGIN + timedelta(hours=2))
    return Ask("logs", window, limit=limit, deadline=time.monotonic() + 600)


def opened(url: str) -> Any:
    """The product's source, as a profile would open it."""
    from pipeline.sources.elasticsearch import ElasticsearchSource, Options

    return ElasticsearchSource("elk", Options(url=url, logs=(INDEX,), max_lines=100_000_000))


def rival(url: str) -> Any:
    """Scan, flatten, DataFrame."""
    import pandas as pd
    from elasticsearch import Elasticsearch, helpers

    rows = []
    with Elasticsearch(url, request_timeout=60) as client:
        for hit in helpers.scan(client, index=INDEX, size=10_000, _source=list(FIELDS)):
            source = hit["_source"]
            rows.append(
                {
                    "@timestamp": source["@timestamp"],
                    "service.name": source["service"]["name"],
                    "log.level": source["log"]["level"],
                    "trace.id": source["trace"]["id"],
                    "message": source["message"],
                }
            )
    return pd.DataFrame(rows)


def memory(url: str, window: float) -> tuple[int, int]:
    """(documents, bytes beyond the table) of reading the first `window` share of the documents in a process of its own."""
    code = (
        "import sys, json, resource, gc\n"
        f"sys.path[:0] = {[str(_node.ROOT), str(_node.ROOT / 'benchmarks')]!r}\n"
        "import fetch, _node\n"
        "from dataclasses import replace\n"
        "from datetime import timedelta\n"
        "from pipeline.values import Span\n"
        "source = fetch.opened(sys.argv[1]); ask = fetch.asked(10**8)\n"
        "small = replace(ask, window=Span(_node.BEGIN, _node.BEGIN + timedelta(seconds=30)))\n"
        "source.columns(small, fetch.FIELDS)\n"
        "share = float(sys.argv[2])\n"
        "ask = replace(ask, window=Span(_node.BEGIN, _node.BEGIN + timedelta(minutes=90) * share))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "table = source.columns(ask, fetch.FIELDS)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "print(json.dumps([table.num_rows, max(0, after - before - table.nbytes)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, url, str(window)], check=True, capture_output=True, text=True)
    rows, beyond = json.loads(done.stdout)
    return rows, beyond


def main() -> int:
    """Fill, run in turn, print figures and verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with _node.node() as url:
        count = _node.fill(url, INDEX, _node.lines(options.documents, 7))
        ways = {
            "columns": lambda: opened(url).columns(asked(10**8), FIELDS),
            "scan": lambda: rival(url),
            "fetch": lambda: opened(url).fetch(asked(10**8)).table,
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        ways["columns"]()
        for _ in range(options.rounds):
            for name, way in ways.items():
                table, wall, cpu = _node.measured(way)
                if len(table) != count:
                    print(f"{name} gave {len(table):,} of {count:,} documents")
                    return 1
                taken[name].append((wall, cpu))
                del table
        beyond = [memory(url, share) for share in (0.25, 1.0)]
    medians = {name: [statistics.median(part) for part in zip(*runs, strict=True)] for name, runs in taken.items()}
    for name, (wall, cpu) in medians.items():
        print(
            f"{name}: {wall:.2f} s, {count / wall:,.0f} documents/s, {cpu:.2f} s of client CPU ({cpu / count * 1e6:.2f} us each)"
        )
    for rows, size in beyond:
        print(f"memory beyond the table, {rows:,} documents: {size / 2**20:.0f} MiB")
    speed = medians["scan"][0] / medians["columns"][0]
    cpu = medians["scan"][1] / medians["columns"][1]
    growth = beyond[1][1] / max(beyond[0][1], 32 << 20)
    holds = speed >= GOAL_SPEED and cpu >= GOAL_CPU and growth <= GOAL_GROWTH
    print(
        f"fetch: {speed:.1f} times as fast as scan and DataFrame (goal {GOAL_SPEED:g}), {cpu:.1f} times less client CPU "
        f"(goal {GOAL_CPU:g}), memory beyond the table grows {growth:.2f} times for 4 times the documents "
        f"(goal {GOAL_GROWTH:g}); whole LOGS table {medians['scan'][0] / medians['fetch'][0]:.1f} times as fast, "
        f"{medians['scan'][1] / medians['fetch'][1]:.1f} times less CPU: {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
