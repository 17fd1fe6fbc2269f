"""How long the diagnosis of a case with 20,000 log lines lasts: picking the lines, all detectors, and the judge.

    python benchmarks/diagnosis.py [--runs N] [--profile]

The cases are three of `benchmarks/cases/first` (hundreds of lines, of which many are about orders: 20,000 lines then hold
600 to 1,100 orders) and, where they are beside this checkout, three of the development cases (thousands of lines, mostly
about nothing: some tens of orders). They are made longer: what is about the ticket's own orders stays as it is, and the
lines and orders that are not are repeated, each copy with order numbers, trace ids and times of its own, until the window
and its baseline hold 20,000 lines. Collecting, mining templates and comparing windows come before and are not in it.

Beside it, in turn in the same run, stands what one would otherwise write: a search of all lines for every known code of
`channel_codes.csv`, with Python's `re`, by one alternation a channel, and by cutting lines into tokens and looking these
up. It finds codes; which order they belong to, and what else is wrong, it does not say.

Goal: the median of each set's runs, without the first of each case, is at most 150 ms.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import random
import re
import statistics
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from pipeline.cluster import Clusters, cluster
from pipeline.collect import collect
from pipeline.contrast import Contrast, contrast
from pipeline.diagnose import diagnose
from pipeline.document import number
from pipeline.evidence import DETECTORS, Case, detect, detector, open_case
from pipeline.flows import names_of
from pipeline.payments.orders import Order
from pipeline.payments.reading import read_orders
from pipeline.scope import read_scope
from pipeline.settings import Settings
from pipeline.sources import open_bundle
from pipeline.tickets.file import find_ticket
from pipeline.values import Material, Scope, Span, Ticket
from snapshots.model import Diagnosis

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIRST = ROOT / "benchmarks" / "cases" / "first"
DEV = ROOT.parent / "shared" / "data" / "cases" / "dev"
# Every so many cases of the folder, in order of names.
MOST = 3
LINES = 20_000
GOAL_MS = 150.0
RUNS = 9
SEED = 20261126
_TOKEN = re.compile(r"[0-9A-Za-z]+(?:[_-][0-9A-Za-z]+)*")
_WORD = re.compile(r"[A-Za-z0-9_.]+")
_DIGITS, _HEX = "0123456789", "0123456789abcdef"


@dataclass(frozen=True)
class Opened:
    """What the diagnosis begins with."""

    ticket: Ticket
    scope: Scope
    material: Material
    orders: Mapping[str, Order]
    clusters: Clusters
    changes: Contrast

    def fresh(self) -> Opened:
        """The same with its orders read anew: they keep what they were asked."""
        return replace(self, orders=read_orders(self.material.order_events))

    def case(self) -> Case:
        """The lines worth reading, picked."""
        return open_case(self.ticket, self.scope, self.material, self.orders, self.clusters, self.changes, Settings())


def main() -> int:
    """Print the times and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="how often each case is diagnosed after the first time")
    parser.add_argument("--profile", action="store_true", help="print where the time goes, by function")
    options = parser.parse_args()
    every: dict[str, list[float]] = defaultdict(list)
    rival: dict[str, list[float]] = defaultdict(list)
    parts: dict[str, list[float]] = defaultdict(list)
    by_channel, table = known_codes()
    for path in chosen():
        short, opened = longer(path)
        lines = opened.material.logs.column("message").to_pylist()
        first = timed(opened)
        own: list[float] = []
        for _ in range(max(7, options.runs)):
            own.append(timed(opened))
            rival["alternations"].append(milliseconds(lambda: grep(lines, by_channel)))  # noqa: B023
            rival["tokens"].append(milliseconds(lambda: look_up(lines, table)))  # noqa: B023
            for name, took in by_part(opened).items():
                parts[name].append(took)
        every[path.parent.name] += own
        said, before = diagnosed(opened), diagnosed(short)
        print(
            f"{path.stem}: {len(lines)} lines, {len(opened.orders)} orders, {len(opened.case().signals)} lines read; "
            f"first {first:.0f} ms, then median {statistics.median(own):.0f} ms ({min(own):.0f} to {max(own):.0f}, "
            f"{len(own)} runs); says {said.fault_class or 'undecided'}, at {short.material.logs.num_rows} lines "
            f"{before.fault_class or 'undecided'}, {timed(short):.0f} ms"
        )
        if options.profile:
            profile(opened)
    print("median by part, ms: " + ", ".join(f"{name} {statistics.median(of):.1f}" for name, of in parts.items()))
    medians = {name: statistics.median(of) for name, of in every.items()}
    shown = ", ".join(f"{name} {statistics.median(of):.0f} ms" for name, of in rival.items())
    ratios = ", ".join(
        f"{name} {median / statistics.median(rival[way]):.2f} of {way}"
        for name, median in medians.items()
        for way in rival
    )
    print(f"known codes searched in all lines with re: {shown}; ratios: {ratios}")
    holds = bool(medians) and max(medians.values()) <= GOAL_MS
    told = ", ".join(f"{name} {median:.0f} ms in {len(every[name])} runs" for name, median in medians.items())
    print(f"diagnosis: median at {LINES} lines: {told} (goal {GOAL_MS:g} ms): {'holds' if holds else 'MISSED'}")
    return 0 if holds else 1


def chosen() -> list[pathlib.Path]:
    """Three cases of each set, evenly out of those that there are, in order of names."""
    sets = (sorted(FIRST.glob("*.zip")), sorted(path.parent for path in DEV.glob("*/traces")))
    return [path for found in sets for path in found[:: max(1, len(found) // MOST)][:MOST]]


# ---- what is measured


def diagnosed(opened: Opened) -> Diagnosis:
    """Picks the lines, detects, and judges."""
    case = opened.case()
    seen = detect(case)
    return diagnose(case, seen, number(seen))


def timed(opened: Opened) -> float:
    """Milliseconds of one diagnosis of orders that nobody has asked anything."""
    fresh = opened.fresh()
    return milliseconds(lambda: diagnosed(fresh))


def by_part(opened: Opened) -> dict[str, float]:
    """Milliseconds by detector. What several share, the first of them pays for."""
    found: dict[str, float] = {}
    opened = opened.fresh()
    begun = time.perf_counter()
    case = opened.case()
    found["open_case"] = 1000 * (time.perf_counter() - begun)
    for name in DETECTORS:
        run = detector(name)
        found[name] = milliseconds(lambda: run(case))  # noqa: B023 - it runs at once
    seen = detect(case)
    found["diagnose"] = milliseconds(lambda: diagnose(case, seen, number(seen)))
    return found


def milliseconds(run: Callable[[], object]) -> float:
    """Wall time of `run`."""
    begun = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - begun)


def profile(opened: Opened) -> None:
    """The twenty functions that take longest."""
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.runcall(diagnosed, opened)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(20)


# ---- what one would otherwise write


def known_codes() -> tuple[list[re.Pattern[str]], dict[str, str]]:
    """An alternation of each channel's codes, and all codes of at least four characters."""
    codes: dict[str, list[str]] = defaultdict(list)
    table: dict[str, str] = {}
    with (ROOT / "pipeline" / "faults" / "channel_codes.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            codes[row["channel"]].append(row["code"])
            if len(row["code"]) >= 4:
                table[row["code"]] = row["fault_class"]
    made = []
    for mine in codes.values():
        # The longest first: an alternation takes what fits first.
        body = "|".join(re.escape(code) for code in sorted(set(mine), key=lambda code: (-len(code), code)))
        made.append(re.compile(rf"(?<![0-9A-Za-z_.])(?:{body})(?![0-9A-Za-z_.])"))
    return made, table


def grep(lines: Sequence[str | None], patterns: Sequence[re.Pattern[str]]) -> int:
    """How many codes stand in the lines, channel by channel."""
    return sum(len(pattern.findall(line)) for pattern in patterns for line in lines if line)


def look_up(lines: Sequence[str | None], table: Mapping[str, str]) -> int:
    """How many of the lines' tokens are codes of any channel."""
    return sum(word in table for line in lines if line for word in _WORD.findall(line))


# ---- a longer case


def longer(path: pathlib.Path) -> tuple[Opened, Opened]:
    """The case in `path` as it is, and with `LINES` lines."""
    with tempfile.TemporaryDirectory() as folder:
        place = path
        if path.suffix == ".zip":
            place = pathlib.Path(folder) / path.stem
            with zipfile.ZipFile(path) as packed:
                packed.extractall(place)
        ticket, _ = find_ticket(str(place))
        settings = Settings()
        source = open_bundle(place, zone=ticket.created_at.tzinfo)
        try:
            collected = collect(read_scope(ticket, settings), ticket, [source], settings, lambda _: None)
        finally:
            source.close()
    scope, material, orders = collected.scope, collected.material, collected.orders
    short = _opened(ticket, scope, material, orders)
    logs, events = _repeated(material, scope, orders)
    material = Material(logs, material.spans, events, material.coverage)
    return short, _opened(ticket, scope, material, read_orders(events))


def _opened(ticket: Ticket, scope: Scope, material: Material, orders: Mapping[str, Order]) -> Opened:
    clusters = cluster(material.logs)
    return Opened(ticket, scope, material, orders, clusters, contrast(material.logs, clusters, scope))


def _repeated(material: Material, scope: Scope, orders: Mapping[str, Order]) -> tuple[pa.Table, pa.Table]:
    """Logs and order events with the lines and orders that are not the ticket's repeated."""
    mine = {*scope.values(), *(n for o in scope.focus_orders if o in orders for n in names_of(orders[o]))}
    owner = {name: o.order_id for o in orders.values() for name in names_of(o) if name not in mine}
    rows, books = material.logs.to_pylist(), material.order_events.to_pylist()
    flows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    owner_of_trace: dict[str, str] = {}
    for row in rows:
        names = [owner[token] for token in _tokens(row) if token in owner]
        if row["trace.id"] and names:
            owner_of_trace.setdefault(row["trace.id"], names[0])
    for number_, row in enumerate(rows):
        if not mine.isdisjoint(_tokens(row)) or row["@timestamp"] is None:
            continue
        names = [owner[token] for token in _tokens(row) if token in owner]
        trace = row["trace.id"]
        flows[names[0] if names else owner_of_trace.get(trace, trace) or f"line {number_}"].append(row)
    booked: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in books:
        if row["order_id"] not in scope.focus_orders and row["occurred_at"] is not None:
            booked[row["order_id"]].append(row)
    renamed = {*owner, *(row["trace.id"] for row in rows if row["trace.id"])} - mine
    renamed |= {o.customer_id for o in orders.values() if o.customer_id and o.customer_id not in mine}
    reach = Span(min(scope.baseline.start, scope.window.start), scope.window.end)
    chance = random.Random(SEED)
    more, more_books, copy = list(rows), list(books), 0
    while len(more) < LINES:
        copy += 1
        fresh = {name: _another(name, chance) for name in sorted(renamed)}
        for key in sorted({*flows, *booked}):
            times = [row["@timestamp"] for row in flows.get(key, ())]
            times += [row["occurred_at"] for row in booked.get(key, ())]
            shift = _shift(times, reach, chance)
            if shift is None:
                continue
            more += [_copied(row, fresh, shift, "@timestamp", copy) for row in flows.get(key, ())]
            more_books += [_copied(row, fresh, shift, "occurred_at", copy) for row in booked.get(key, ())]
            if len(more) >= LINES:
                break
    logs = pa.Table.from_pylist(more[:LINES], schema=material.logs.schema)
    events = pa.Table.from_pylist(more_books, schema=material.order_events.schema)
    return logs.sort_by("@timestamp"), events.sort_by("occurred_at")


def _tokens(row: Mapping[str, Any]) -> list[str]:
    """Whatever in a line may name something."""
    return [*_TOKEN.findall(row["message"] or ""), row["trace.id"] or "", row["labels.order_id"] or ""]


def _shift(times: Sequence[datetime], reach: Span, chance: random.Random) -> timedelta | None:
    """By how much a flow is moved, so that it stays in reach; None where it is too long for that."""
    first, last = min(times), max(times)
    room = (reach.end - reach.start) - (last - first)
    if room <= timedelta(0):
        return None
    return reach.start + chance.random() * room - first


def _another(name: str, chance: random.Random) -> str:
    """`name` with other digits, of the same shape."""
    if re.fullmatch(r"[0-9a-f]{16,}", name) and not name.isdigit():
        return "".join(chance.choice(_HEX) for _ in name)
    return "".join(chance.choice(_DIGITS) if c.isdigit() else c for c in name)


def _copied(row: Mapping[str, Any], fresh: Mapping[str, str], shift: timedelta, at: str, copy: int) -> dict[str, Any]:
    made = {key: _renamed(value, fresh) if isinstance(value, str) else value for key, value in row.items()}
    made[at] = row[at] + shift
    if row["_id"]:
        made["_id"] = f"{row['_id']}-{copy}"
    return made


def _renamed(text: str, fresh: Mapping[str, str]) -> str:
    return _TOKEN.sub(lambda token: fresh.get(token[0], token[0]), text)


if __name__ == "__main__":
    sys.exit(main())
