"""Fifty takes at once on one profile, against the real Elasticsearch node and PostgreSQL of `tests/services`.

A bundled example is loaded into both, and a profile with both sources is read as a user's is. The takes run as threads that
share the opened sources, as a long-running hook does; then, for comparison, each with sources of its own, and the shared sources
with a few takes at a time and the others waiting in line (`--workers`), which the verdict does not count. A take's time counts
from the moment all are begun, so waiting for one's turn counts. Connections are what the services themselves see: the most at
once, sampled by another process, and how many were opened in all. A take is starved where a source gave it less than it gives a
take that is alone, or where it ends with another document.

Goal: p95 within 3 times p50, nobody starved, and at no time more connections than the source's `connections` (10 where it has no
such option). The file is not called concurrent.py: beside the other benchmarks that would hide the standard library's package.

    python benchmarks/concurrency.py [--takes 50] [--workers CORES] [--rounds 1] [--example TK-33097] [--budget 10s]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.client
import json
import math
import multiprocessing
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.run import take_snapshot  # noqa: E402
from pipeline.settings import Settings, load_settings  # noqa: E402
from pipeline.sources import open_source  # noqa: E402
from pipeline.tickets.file import find_ticket  # noqa: E402
from pipeline.values import Source, Ticket  # noqa: E402
from snapshots.model import ProblemSnapshot  # noqa: E402
from tests import services  # noqa: E402
from tests.load import load_bundle_into_elasticsearch, load_bundle_into_postgresql  # noqa: E402
from tests.services import elasticsearch_node, postgresql  # noqa: E402

RATIO = 3.0
CONNECTIONS = 10
EVERY_SECONDS = 0.02


# ---- what the services see


@dataclass(frozen=True)
class Seen:
    """Connections of one service: the most at once beside those before, and how many were opened."""

    most: int
    opened: int
    samples: int


class Node:
    """The Elasticsearch node's own count. This connection is one of those counted before the takes begin."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self.http = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)

    def look(self) -> tuple[int, int]:
        """Connections open now, and opened since the node began."""
        only = "nodes.*.http.current_open,nodes.*.http.total_opened"
        self.http.request("GET", f"/_nodes/stats/http?filter_path={only}")
        counts = next(iter(json.loads(self.http.getresponse().read())["nodes"].values()))["http"]
        return counts["current_open"], counts["total_opened"]


class Server:
    """PostgreSQL's own count for the database of the orders, without this session."""

    def __init__(self, url: str) -> None:
        import psycopg

        self.session = psycopg.connect(url, autocommit=True)

    def look(self) -> tuple[int, int]:
        """Sessions open now, and those that have been since the statistics began."""
        row = self.session.execute(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),"
            " (SELECT sessions FROM pg_stat_database WHERE datname = current_database())"
        ).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])


def watch(node_url: str, server_url: str, wire: Connection) -> None:
    """Samples both until something comes in by `wire`, then sends what was seen."""
    services_ = (Node(node_url), Server(server_url))
    before = [one.look() for one in services_]
    most = [now for now, _ in before]
    samples = 0
    wire.send("ready")
    while not wire.poll(EVERY_SECONDS):
        for number, one in enumerate(services_):
            most[number] = max(most[number], one.look()[0])
        samples += 1
    # A session is counted in PostgreSQL's statistics a moment after it began.
    time.sleep(1.0)
    after = [one.look() for one in services_]
    wire.send([Seen(most[n] - before[n][0], after[n][1] - before[n][1], samples) for n in range(len(services_))])


@contextlib.contextmanager
def watched(node_url: str, server_url: str, seen: list[Seen]) -> Iterator[None]:
    """Fills `seen` with what both services see meanwhile, from a process that the takes cannot hold up."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=watch, args=(node_url, server_url, theirs))
    process.start()
    try:
        ours.recv()
        yield
        ours.send("stop")
        seen += ours.recv()
    finally:
        process.join(30)
        if process.is_alive():
            process.terminate()


# ---- the takes


@dataclass
class Run:
    """What came of the takes of one run: seconds of each, and what went wrong."""

    name: str
    seconds: list[float] = field(default_factory=list)
    starved: list[str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    wall: float = 0.0

    def share(self, part: float) -> float:
        """The time within which that share of the takes was done (nearest rank)."""
        return sorted(self.seconds)[max(0, math.ceil(part * len(self.seconds)) - 1)]

    @property
    def ratio(self) -> float:
        """p95 over p50."""
        return self.share(0.95) / self.share(0.5)

    def line(self) -> str:
        """The figures on one line."""
        node, server = self.seen
        return (
            f"{self.name:<7} p50 {self.share(0.5):6.2f} s  p95 {self.share(0.95):6.2f} s  max {max(self.seconds):6.2f} s  "
            f"min {min(self.seconds):6.2f} s  p95/p50 {self.ratio:.2f}  all done {self.wall:6.2f} s  starved {len(self.starved)}  "
            f"Elasticsearch at once {node.most}, opened {node.opened}  PostgreSQL at once {server.most}, opened {server.opened}  "
            f"({node.samples} samples)"
        )


def at_once(
    name: str, takes: int, take: Callable[[], ProblemSnapshot], alone: ProblemSnapshot, workers: int | None = None
) -> Run:
    """All takes are begun together, and each one's time counts from then; `workers` at a time, in line, else all at once."""
    run = Run(name)
    gate = threading.Event()
    begun = 0.0
    lock = threading.Lock()

    def one() -> None:
        gate.wait()
        error = ""
        try:
            error = starved(take(), alone)
        except Exception as failed:  # noqa: BLE001 - a take that failed is a figure here
            error = f"{type(failed).__name__}: {failed}"
        ended = time.perf_counter()
        with lock:
            run.seconds.append(ended - begun)
            if error:
                run.starved.append(error)

    with ThreadPoolExecutor(workers or takes) as pool:
        for _ in range(takes):
            pool.submit(one)
        begun = time.perf_counter()
        gate.set()
    run.wall = time.perf_counter() - begun
    return run


def starved(snapshot: ProblemSnapshot, alone: ProblemSnapshot) -> str:
    """What this take lacks beside one that was alone; nothing where they are the same."""
    for row in snapshot.coverage:
        if row.status in {"failed", "partial"}:
            return f"{row.source}, {row.what}: {row.status}: {row.error}"
    return "" if snapshot.snapshot_id == alone.snapshot_id else "another document than alone"


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[list[Source]]:
    """The sources of the profile, closed at the end."""
    sources = [open_source(name, options) for name, options in settings.sources.items()]
    try:
        yield sources
    finally:
        for source in sources:
            source.close()


def compare(
    ticket: Ticket, settings: Settings, urls: tuple[str, str], takes: int, workers: int, rounds: int
) -> list[Run]:
    """A take alone, then the three ways in turn."""

    def alone(sources: Sequence[Source]) -> ProblemSnapshot:
        return take_snapshot(ticket, sources, settings).snapshot

    def with_own() -> ProblemSnapshot:
        with opened(settings) as sources:
            return alone(sources)

    with opened(settings) as sources:
        # The first loads libraries and tables.
        alone(sources)
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            first = alone(sources)
            times.append(time.perf_counter() - begun)
    failed = starved(first, first)
    if failed:
        raise SystemExit(f"a take alone does not get everything: {failed}")
    print(
        f"alone   p50 {statistics.median(times):6.2f} s of {len(times)}; {first.template_totals.lines:,} lines",
        flush=True,
    )
    runs = []
    for _ in range(rounds):
        for name, most in (("shared", None), ("own", None), ("in line", workers)):
            seen: list[Seen] = []
            # Opened anew for each, so that connections kept from the one before are not taken for none.
            with watched(*urls, seen), opened(settings) as sources:
                take = with_own if name == "own" else functools.partial(alone, sources)
                run = at_once(name, takes, take, first, most)
            run.seen = seen
            print(run.line(), flush=True)
            for error in dict.fromkeys(run.starved):
                print(f"        {run.starved.count(error)} x {error[:200]}", flush=True)
            runs.append(run)
    return runs


# ---- services and profile


@contextlib.contextmanager
def loaded(example: pathlib.Path, node_url: str, server_url: str) -> Iterator[tuple[str, str]]:
    """The example in both services, under names of its own that are gone afterwards: the index prefix, the database."""
    import psycopg
    from elasticsearch import Elasticsearch

    name = f"concurrency-{os.getpid()}-"
    database = name.replace("-", "_") + "orders"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {database}")
    url = f"{server_url.rpartition('/')[0]}/{database}"
    indices = load_bundle_into_elasticsearch(node_url, example, name)
    try:
        load_bundle_into_postgresql(url, example)
        yield name, url
    finally:
        with Elasticsearch(node_url) as client:
            client.indices.delete(index=",".join(indices))
        with psycopg.connect(server_url, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {database} WITH (FORCE)")


def profile(prefix: str, node_url: str, database_url: str, budget: str) -> Settings:
    """The settings of a configuration file with both sources."""
    text = f"""
[defaults]
budget = "{budget}"
[profiles.both.sources.logs]
kind = "elasticsearch"
url = "{node_url}"
logs = ["{prefix}logs-*"]
traces = ["{prefix}traces-*"]
[profiles.both.sources.orders]
kind = "orders"
url = "{database_url}"
"""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "problem-snapshot.toml"
        path.write_text(text, encoding="utf-8")
        return load_settings(path, "both", {})


def bound(settings: Settings, name: str) -> int:
    """How many connections the source may have: its option, or the goal where it has none."""
    value: Any = getattr(settings.sources[name], "connections", None)
    return value if isinstance(value, int) else CONNECTIONS


def main() -> int:
    """Print the figures of all runs and the verdict over those with shared sources."""
    options = argparse.ArgumentParser(description="Fifty takes at once on one profile.")
    options.add_argument("--takes", type=int, default=50)
    options.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--example", default="TK-33097")
    options.add_argument("--budget", default="10s")
    given = options.parse_args()
    example = ROOT / "examples" / given.example
    ticket, _ = find_ticket(str(example / "ticket.json"))
    with contextlib.ExitStack() as stack:
        node_url = stack.enter_context(services.running(elasticsearch_node))
        server_url = stack.enter_context(services.running(postgresql))
        prefix, database_url = stack.enter_context(loaded(example, node_url, server_url))
        settings = profile(prefix, node_url, database_url, given.budget)
        print(
            f"{given.takes} takes of {given.example} at once, budget {given.budget}, {os.cpu_count()} cores", flush=True
        )
        runs = compare(ticket, settings, (node_url, database_url), given.takes, given.workers, given.rounds)
    shared = [run for run in runs if run.name == "shared"]
    own = [run for run in runs if run.name == "own"]
    ratio = max(run.ratio for run in shared)
    starving = sum(len(run.starved) for run in shared)
    most = [max(run.seen[n].most for run in shared) for n in range(2)]
    limits = [bound(settings, name) for name in ("logs", "orders")]
    holds = ratio <= RATIO and not starving and all(m <= limit for m, limit in zip(most, limits, strict=True))
    print(
        f"concurrency: p95/p50 {ratio:.2f} (goal {RATIO:g}), starved {starving} of {len(shared) * given.takes} (goal 0), "
        f"Elasticsearch connections {most[0]} (goal {limits[0]}), PostgreSQL {most[1]} (goal {limits[1]}); "
        f"with own sources {max(run.ratio for run in own):.2f}, {sum(len(run.starved) for run in own)}, "
        f"{max(run.seen[0].most for run in own)}, {max(run.seen[1].most for run in own)}: {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
