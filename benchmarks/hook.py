"""How many deliveries a second the hook takes while jobs are worked, and how long a sender waits.

Run as `python benchmarks/hook.py [--rate 500] [--seconds 60] [--database URL]`. The service runs as its user would start it, one
receiver with one worker process, on SQLite unless a database is named. The sender is a process of its own and sends at a fixed
rate, whether or not answers come (an open loop: a slow answer does not slow the next request); the wait of each is measured from
when it was due. The worker takes snapshots of a small bundle meanwhile.

Afterwards twice the rate is sent for a few seconds: what is not accepted then has to be 429 or 503 with Retry-After. In the end each
accepted delivery has to be in the ledger, once. Goals: the rate is kept with a 99th percentile under 200 ms, and nothing accepted
is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import _node

sys.path.insert(0, str(_node.ROOT))

from tests.service_desk import SECRET, configuration, desk, small_bundle
from tests.services import free_port

GOAL_P99 = 0.2
CONNECTIONS = 64


def sender(port: int, rate: float, seconds: float, first: int, result: Any) -> None:
    """Sends in its own process; gives (waits, statuses, late ones without Retry-After, names of what was accepted)."""
    result.put(asyncio.run(_send(port, rate, seconds, first)))


async def _send(port: int, rate: float, seconds: float, first: int) -> Any:
    from pipeline.tickets.signatures import hexed

    due: asyncio.Queue[tuple[float, int] | None] = asyncio.Queue()
    waits: list[float] = []
    statuses: Counter[str] = Counter()
    bare = 0
    accepted: list[str] = []

    async def connection() -> None:
        nonlocal bare
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while (one := await due.get()) is not None:
            moment, number = one
            body = json.dumps(
                {
                    "delivery": f"d{number}",
                    "kind": "ticket.created",
                    "ticket": {"id": f"T{number}", "title": "支付失败"},
                }
            ).encode()
            head = (
                f"POST /hooks/desk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"X-Signature: {hexed(SECRET, body)}\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(head + body)
                answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(answer.partition("content-length: ")[2].partition("\r\n")[0])
                await reader.readexactly(length)
            except (OSError, asyncio.IncompleteReadError):
                statuses["broken"] += 1
                if writer is not None:
                    writer.close()
                reader = writer = None
                continue
            status = answer.split()[1]
            statuses[status] += 1
            waits.append(time.perf_counter() - moment)
            if status == "202":
                accepted.append(f"d{number}")
            elif status in {"429", "503"} and "retry-after:" not in answer:
                bare += 1
        if writer is not None:
            writer.close()

    connections = [asyncio.create_task(connection()) for _ in range(CONNECTIONS)]
    begin = time.perf_counter()
    for number in range(int(rate * seconds)):
        moment = begin + number / rate
        if (pause := moment - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        due.put_nowait((moment, first + number))
    for _ in connections:
        due.put_nowait(None)
    await asyncio.gather(*connections)
    return waits, dict(statuses), bare, accepted, time.perf_counter() - begin


def ran(port: int, rate: float, seconds: float, first: int) -> Any:
    """One run of the sender."""
    result: Any = multiprocessing.Queue()
    process = multiprocessing.Process(target=sender, args=(port, rate, seconds, first, result))
    process.start()
    told = result.get()
    process.join()
    return told


def stored(database: str) -> Counter[str]:
    """Deliveries in the ledger by the sender's id."""
    import sqlalchemy as sa

    from pipeline.service.tables import deliveries

    engine = sa.create_engine(database)
    with engine.connect() as connection:
        return Counter(connection.scalars(sa.select(deliveries.c.key)))


def main() -> int:
    """Start, send, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--database", help="an empty PostgreSQL database; SQLite without it")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        board = stack.enter_context(desk())
        port = free_port()
        database = options.database or f"sqlite:///{folder}/service.sqlite"
        config = folder / "problem-snapshot.toml"
        config.write_text(configuration(board, database, f"127.0.0.1:{port}", folder / "store"), encoding="utf-8")
        count = int(options.rate * options.seconds * 1.5)
        for number in range(count + 40_000):
            board.tickets[f"T{number}"] = {
                "id": f"T{number}", "title": "支付失败", "description": "x", "created_at": "2026-11-23T10:06:00+08:00",
            }  # fmt: skip
        program = [sys.executable, "-c", "from cli import main; main()", "serve", "--config", str(config)]
        service = subprocess.Popen(
            [*program, "--bundle", str(small_bundle(folder / "bundle"))], cwd=_node.ROOT, stderr=subprocess.DEVNULL
        )
        stack.callback(service.wait)
        stack.callback(service.terminate)
        ran_up(port)
        ran(port, 50, 2, count + 30_000)
        before = sum(board.writes.values())
        waits, statuses, bare, accepted, seconds = ran(port, options.rate, options.seconds, 0)
        worked = sum(board.writes.values()) - before
        over = ran(port, options.rate * 8, 5, count + 1)
        lost = (set(accepted) | set(over[3])) - set(found := stored(database))
        twice = sum(number > 1 for number in found.values())
    waits.sort()
    p50, p99 = statistics.median(waits), waits[int(len(waits) * 0.99)]
    rate = statuses.get("202", 0) / seconds
    print(
        f"sent {options.rate:g} a second for {options.seconds:g} s: {statuses}, {rate:.0f} accepted a second, {worked} notes written meanwhile"
    )
    print(
        f"wait of a sender: median {p50 * 1000:.1f} ms, 99th percentile {p99 * 1000:.1f} ms, longest {waits[-1] * 1000:.0f} ms"
    )
    print(f"sent {options.rate * 8:g} a second for 5 s: {over[1]}, {len(over[3]) / over[4]:.0f} accepted a second")
    only_known = set(statuses) <= {"202"} and set(over[1]) <= {"202", "429", "503"}
    holds = (
        only_known
        and p99 < GOAL_P99
        and rate >= options.rate * 0.99
        and not lost
        and not twice
        and not bare + over[2]
        and worked > 0
    )
    print(
        f"hook: {rate:.0f} deliveries a second accepted (goal {options.rate:g}), p99 {p99 * 1000:.0f} ms (goal {GOAL_P99 * 1000:.0f}), "
        f"{len(lost)} accepted and lost (goal 0), {twice} stored twice (goal 0): {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


def ran_up(port: int) -> None:
    """Waits until the service is ready."""
    import httpx

    until = time.monotonic() + 120
    while time.monotonic() < until:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200:
                return
        time.sleep(0.2)
    raise SystemExit("the service did not become ready")


if __name__ == "__main__":
    sys.exit(main())
