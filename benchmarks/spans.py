"""A trace of 100,000 spans against the plain way to read it, and one whole `take` about it.

Read are an OTLP file, a Jaeger answer and a Tempo answer of the same trace, in three shapes: all spans under one, a chain of
all, and a tangle of circles and missing parents. The plain way is `json.load`, a loop that makes a row of each span, and a
pandas frame; ours gives the Arrow table of all columns, attributes and exceptions included, with ids made alike and repeats
dropped. Both run in the same process, alternating, and the best time of each counts. Goals: on the median of the nine no more
than the plain time, and `take` of a bundle with such a trace, process start included, within 8 s of processor time for the
worst shape (its time on the clock is printed as well; it depends on what else the machine does).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pandas as pd

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from parsers.traces.files import parse_trace_file  # noqa: E402
from tests.large_traces import SHAPES, TRACE, as_bytes  # noqa: E402

START = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)
KINDS = ("otlp", "jaeger", "tempo")
RATIO, SECONDS = 1.0, 8.0
RUNS = 3


def plain(data: bytes, kind: str) -> pd.DataFrame:
    """What a script does: decode it all, make a row of each span, and a frame of them."""
    payload = json.loads(data)
    rows: list[dict[str, Any]] = []
    if kind == "jaeger":
        for trace in payload["data"]:
            for span in trace["spans"]:
                tags = {tag["key"]: tag["value"] for tag in span["tags"]}
                rows.append(
                    {
                        "trace": span["traceID"],
                        "span": span["spanID"],
                        "parent": next((r["spanID"] for r in span["references"]), None),
                        "service": trace["processes"][span["processID"]]["serviceName"],
                        "name": span["operationName"],
                        "start": span["startTime"],
                        "duration": span["duration"],
                        "error": tags.get("error"),
                        **tags,
                    }
                )
        return pd.DataFrame(rows)
    for group in payload.get("trace", payload)["resourceSpans"]:
        service = {a["key"]: a["value"].get("stringValue") for a in group["resource"]["attributes"]}["service.name"]
        for scope in group["scopeSpans"]:
            rows.extend(
                {
                    "trace": span["traceId"],
                    "span": span["spanId"],
                    "parent": span.get("parentSpanId"),
                    "service": service,
                    "name": span["name"],
                    "start": int(span["startTimeUnixNano"]),
                    "duration": int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]),
                    "error": span["status"].get("code"),
                    **{a["key"]: a["value"].get("stringValue") for a in span["attributes"]},
                }
                for span in scope["spans"]
            )
    return pd.DataFrame(rows)


def best(work: Callable[[], Any], rows: int) -> float:
    """Seconds of one run, whose answer must have all rows."""
    begun = time.perf_counter()
    answer = work()
    took = time.perf_counter() - begun
    assert len(answer) == rows
    return took


def compare(data: bytes, kind: str, count: int) -> tuple[float, float]:
    """The best seconds of ours and of the plain way, run in turn."""
    ours, theirs = [], []
    for _ in range(RUNS):
        ours.append(best(lambda: parse_trace_file(data, "t.json", "bench").table, count))
        theirs.append(best(lambda: plain(data, kind), count))
    return min(ours), min(theirs)


def take(folder: pathlib.Path, data: bytes) -> tuple[float, float]:
    """Seconds of one `take` about the trace, of the processor and on the clock; the command must end well."""
    (folder / "traces").mkdir(parents=True)
    (folder / "logs").mkdir()
    (folder / "traces" / "spans.json").write_bytes(data)
    order = "SO20260304100001"
    line = {
        "_index": "logs",
        "_id": "d1",
        "@timestamp": START.isoformat(),
        "log": {"level": "ERROR"},
        "service": {"name": "svc-1"},
        "trace": {"id": TRACE},
        "message": f"order {order}: Read timed out",
    }
    ticket = {
        "id": "T-1",
        "title": "Payment failed",
        "description": f"My payment of order {order} failed.",
        "created_at": "2026-03-04T10:20:00Z",
    }
    (folder / "logs" / "a.ndjson").write_text(json.dumps(line) + "\n", encoding="utf-8")
    (folder / "ticket.json").write_text(json.dumps(ticket), encoding="utf-8")
    command = [sys.executable, "-m", "cli", "take", "T-1", "--bundle", str(folder), "--output", "json", "--no-store"]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    took = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (row,) = [row for row in json.loads(done.stdout)["coverage"] if row["what"] == "spans"]
    assert row["status"] == "ok", row
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, took


def main() -> int:
    """Print each shape and kind, then the medians and the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--spans", type=int, default=100_000)
    count = parser.parse_args().spans
    ratios, takes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            for kind in KINDS:
                data = as_bytes(kind, shape, count, START)
                ours, theirs = compare(data, kind, count)
                ratios.append(ours / theirs)
                print(
                    f"{shape:7} {kind:7} {len(data) / 2**20:4.0f} MiB: ours {ours:.2f} s, plain {theirs:.2f} s, "
                    f"ratio {ratios[-1]:.2f}"
                )
                if kind == "otlp":
                    used, took = take(pathlib.Path(folder) / shape, data)
                    takes.append(used)
                    print(
                        f"{shape:7} take of a bundle with it: {used:.2f} s of the processor, {took:.2f} s on the clock"
                    )
    ratio, slowest = statistics.median(ratios), max(takes)
    holds = ratio <= RATIO and slowest <= SECONDS
    print(
        f"spans: {count:,} spans, median ratio to json.load + pandas {ratio:.2f} (goal at most {RATIO:g}), the most that take used "
        f"{slowest:.1f} s (goal {SECONDS:g}): {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
