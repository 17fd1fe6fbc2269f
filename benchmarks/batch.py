"""Batch over an archive of incidents whose logs are Parquet files: what Beam costs, what a second process brings, what memory it takes.

Run as `python benchmarks/batch.py [--lines N] [--large N] [--rounds R] [--folder DIR]`. Each incident has 50,000 lines of 200
kinds in four services, one file a service, and an order that fails. Every figure is of a process of its own, and of its
children; what a run over two incidents of a few lines costs, which is start-up, is measured and stated apart.

    overhead    CPU of FnApiRunner over that of a plain loop over the same functions, at N lines           goal: at most 1.35
    speed-up    wall time of one process over that of two, each runner's best, at the large number of lines  goal: at least 1.6
    memory      the largest process, at both numbers of lines                                    goal: under 600 MB

Bytes that are read, that go between workers, and that are stored are counted as well: `docs/scale.md` counts with them.
Where other programs use the processors, CPU time still holds and the speed-up does not.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PER_INCIDENT = 50_000
SERVICES = ("order-api", "payment-core", "gateway", "ledger")
KINDS = 200
GOAL_OVERHEAD, GOAL_SPEEDUP, GOAL_MB = 1.35, 1.6, 600
START = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)
WAYS = {"plain": ("plain", 1), "beam": ("FnApiRunner", 1), "beam2": ("FnApiRunner", 2), "local2": ("local", 2)}


# ---- the archive


def archive(folder: Path, incidents: int, lines: int) -> Path:
    """A folder of bundles, each with `lines` lines; made once."""
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        for number in range(incidents):
            _incident(folder / f"C-{number:05d}", number, lines)
        (folder / "complete").touch()
    return folder


def _incident(folder: Path, number: int, lines: int) -> None:
    chance = np.random.default_rng(number)
    day = START + timedelta(hours=number)
    order, attempt = f"SO2026030{number:08d}", f"PY2026030{number:08d}"
    (folder / "logs").mkdir(parents=True)
    for at, service in enumerate(SERVICES):
        pq.write_table(
            _logs(chance, service, at, lines // len(SERVICES), day, order), folder / "logs" / f"{service}.parquet"
        )
    rows = [("order", order, "pending", 0), ("attempt", attempt, "NOTPAY", 3), ("attempt", attempt, "PAYERROR", 6)]
    attributes = '"{""customer_id"": ""u1"", ""shop_system"": ""woocommerce""}"'
    (folder / "orders.csv").write_text(
        "order_id,entity,entity_id,state,amount_minor,currency,channel,occurred_at,attributes\n"
        + "".join(
            f"{order},{entity},{key},{state},5000,CNY,wechatpay,{(day + timedelta(seconds=s)).isoformat()},{attributes}\n"
            for entity, key, state, s in [*rows, ("order", order, "failed", 9)]
        ),
        encoding="utf-8",
    )
    ticket = {
        "id": folder.name,
        "title": "Payment failed",
        "description": f"My payment of order {order} failed.",
        "created_at": (day + timedelta(minutes=20)).isoformat(),
        "customer": {"id": "u1"},
    }
    (folder / "ticket.json").write_text(json.dumps(ticket), encoding="utf-8")


def _logs(chance: Any, service: str, at: int, count: int, day: datetime, order: str) -> pa.Table:
    """Lines of an hour before the fault and a quarter after it, a hundredth of them errors once it is there."""
    kinds = KINDS // len(SERVICES)
    weights = 1 / (1 + np.arange(kinds)) ** 1.1
    kind = chance.choice(kinds, count, p=weights / weights.sum())
    seconds = np.sort(chance.uniform(-3600, 900, count))
    heads = pa.array([f"{service} step {chr(97 + k % 26)}{chr(97 + k // 26)} of kind {at}" for k in range(kinds)])
    ends = pa.array([("done in", "sent to node", "retry after", "took slot")[k % 4] for k in range(kinds)])
    numbers = [pa.array(chance.integers(1, most, count)).cast(pa.string()) for most in (10**6, 10**4, 900)]
    message = pc.binary_join_element_wise(
        heads.take(pa.array(kind)),
        "request",
        numbers[0],
        "user",
        numbers[1],
        ends.take(pa.array(kind)),
        numbers[2],
        " ",
    )
    failing = (seconds > 0) & (chance.random(count) < 0.01)
    error = pa.scalar(f"order {order} connect to gateway.example failed: connection refused")
    stamps = (np.datetime64(day.replace(tzinfo=None), "us") + (seconds * 1e6).astype("timedelta64[us]")).astype("int64")
    return pa.table(
        {
            "_id": pc.binary_join_element_wise(
                pa.array([service] * count), pa.array(range(count)).cast(pa.string()), "-"
            ),
            "_index": pa.array(["logs"] * count).dictionary_encode(),
            "@timestamp": pa.array(stamps, pa.timestamp("us", tz="UTC")),
            "service.name": pa.array([service] * count).dictionary_encode(),
            "log.level": pc.if_else(pa.array(failing), "ERROR", "INFO"),
            "message": pc.if_else(pa.array(failing), error, message),
        }
    )


# ---- one run, in a process of its own


def child(way: str, tickets: str, out: str) -> None:
    """Runs a batch and prints what it took, as JSON."""
    from pipeline.batching.run import Asked, run_batch
    from pipeline.settings import Settings

    runner, jobs = WAYS[way]
    settings = Settings(budget=600, store="unused")
    begun = time.perf_counter()
    if way == "plain":
        _plain(Path(tickets), Path(out), settings)
    else:
        run_batch(Asked(tickets, Path(out), runner=runner, jobs=jobs, budget=600), settings)
    wall = time.perf_counter() - begun
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    told = {
        "wall": wall,
        "cpu": sum(one.ru_utime + one.ru_stime for one in (own, others)),
        "mb": max(own.ru_maxrss, others.ru_maxrss) / 1024,
    }
    print(json.dumps(told))


def _plain(tickets: Path, out: Path, settings: Any) -> None:
    """The same functions in a loop: read the tickets, plan, take each unit, write each day."""
    from itertools import groupby

    from pipeline.batching.plan import make_plan, units
    from pipeline.batching.results import Folder, write_day
    from pipeline.batching.tickets import read_given
    from pipeline.batching.units import Worker, made_with

    folder = Folder(out)
    folder.make()
    given = read_given(str(tickets), None, "unused", lambda _: None)
    plan = make_plan(given, folder, tickets=str(tickets), made=made_with(settings), notes=[])
    worker = Worker(folder, settings)
    entries = [entry for unit in units(folder, plan.planned, 1) for entry in worker.take_unit(unit)]
    worker.close()
    rows = sorted((one.day, (one.number, one.document)) for one in entries)
    for day, some in groupby(rows, key=lambda row: row[0]):
        write_day(folder, day, [document for _, document in some])
    folder.gather_letters()


def measured(way: str, tickets: Path, out: Path) -> dict[str, float]:
    """What one run took: seconds of wall and CPU time, and the megabytes of its largest process."""
    shutil.rmtree(out, ignore_errors=True)
    run = subprocess.run(
        [sys.executable, __file__, "--child", way, str(tickets), str(out)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return json.loads(run.stdout.splitlines()[-1])


def best(ways: list[str], tickets: Path, work: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Of each figure the smallest of `rounds`, but for memory the largest; the ways take turns."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            found[way].append(measured(way, tickets, work / f"out-{way}"))
    return {
        way: {name: (max if name == "mb" else min)(one[name] for one in some) for name in some[0]}
        for way, some in found.items()
    }


# ---- what it says


def show(title: str, figures: dict[str, dict[str, float]], lines: int) -> None:
    """A line for each way."""
    print(f"\n{title}")
    for way, one in figures.items():
        rate = lines / one["wall"]
        print(f"  {way:7} {one['cpu']:8.1f} s CPU {one['wall']:8.1f} s wall {one['mb']:6.0f} MB {rate:10,.0f} lines/s")


def size(folder: Path) -> int:
    """The bytes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def bytes_per_million(tickets: Path, out: Path, lines: int) -> None:
    """What is read from the archive, what goes between workers, what is stored; bytes of a million lines."""
    from pipeline.batching.plan import Unit
    from pipeline.batching.results import Folder

    documents = sorted((out / "documents").iterdir())
    handed = len(pickle.dumps(Unit(str(Folder(out).plan), 0, 10**9, 32))) * len(documents)
    grouped = sum(len(pickle.dumps(("2026-03-04", (number, path.stem)))) for number, path in enumerate(documents))
    read, stored, rows = size(tickets), size(out / "documents"), size(out / "snapshots")
    print("\nbytes of a million lines")
    for name, count in (
        ("read from the archive", read),
        ("handed out and grouped by day", handed + grouped),
        ("stored as documents", stored),
        ("stored as rows", rows),
    ):
        print(f"  {name:32} {count * 1e6 / lines:14,.0f}")


def main() -> int:
    """All of it; 0 where the goals are met."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--large", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="Where archives are made and kept; otherwise a temporary folder.")
    parser.add_argument("--child", nargs=3, metavar=("WAY", "TICKETS", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return 0
    with tempfile.TemporaryDirectory(prefix="batch-") as temporary:
        work = args.folder or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        tiny = archive(work / "tiny", 2, 400)
        some = archive(work / f"lines-{args.lines}", max(2, args.lines // PER_INCIDENT), PER_INCIDENT)
        start = best(list(WAYS), tiny, work, args.rounds)
        show("start-up: two incidents of 400 lines", start, 800)
        first = best(["plain", "beam"], some, work, args.rounds)
        show(f"{args.lines:,} lines", first, args.lines)
        overhead = first["beam"]["cpu"] / first["plain"]["cpu"]
        bytes_per_million(some, work / "out-beam", args.lines)
        large = archive(work / f"lines-{args.large}", max(2, args.large // PER_INCIDENT), PER_INCIDENT)
        second = best(["beam", "beam2", "local2"], large, work, 1)
        show(f"{args.large:,} lines", second, args.large)
        one = {way: second[way]["wall"] - start[way]["wall"] for way in second}
        speedups = {way: one["beam"] / one[way] for way in ("beam2", "local2")}
        mb = max(found["mb"] for figures in (first, second) for found in figures.values())
        whole = {way: second["beam"]["wall"] / second[way]["wall"] for way in speedups}
    print(f"\noverhead of Beam: {overhead:.2f} of the plain loop's CPU (goal: at most {GOAL_OVERHEAD})")
    for way, speedup in speedups.items():
        begin = max(0.0, start[way]["wall"] - start["beam"]["wall"])
        saved = (one["beam"] - one[way]) / args.large
        after = f"pays from {begin / saved:,.0f} lines on" if saved > 0 else "never pays"
        print(f"{way}: {speedup:.2f} times as fast as one process, {whole[way]:.2f} with start-up; {after}")
    print(f"largest process: {mb:.0f} MB (goal: under {GOAL_MB})")
    good = overhead <= GOAL_OVERHEAD and max(speedups.values()) >= GOAL_SPEEDUP and mb < GOAL_MB
    print("goals met" if good else "goals missed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
