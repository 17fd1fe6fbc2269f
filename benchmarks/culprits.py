"""The culprit service of incidents in a real microservice system: as recorded, disturbed, and with faults put into others.

    python benchmarks/culprits.py [--data FOLDER] [--quick]

FOLDER holds the incidents (`dev/`, `dev_labels.csv`; default: ../shared/data/trainticket). Goal: the root service first in
at least .85 of the incidents and among the first three in at least .95, no recording without its fault located, and the
service first in at least .85 of the faults that were put into services that are not to blame in any incident, or in this
one. `--quick` leaves out the disturbed incidents and all but one of the recordings that faults are put into.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import pathlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from _faults import KINDS, inject

from parsers.tables import ORDER_EVENTS, empty
from pipeline.cluster import cluster
from pipeline.collect import collect
from pipeline.contrast import contrast
from pipeline.diagnose import diagnose
from pipeline.document import number
from pipeline.evidence import culprit, detect, open_case
from pipeline.scope import read_scope
from pipeline.settings import Settings
from pipeline.sources import open_bundle
from pipeline.tickets.file import find_ticket
from pipeline.values import Material, Ticket
from snapshots.model import Diagnosis

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOP1, TOP3, INJECTED = 0.85, 0.95, 0.85
# Recordings that faults are put into, without the traces of the services that the real fault touched.
HOSTS = {
    "TT-20230130-16": "security|preserve",
    "TT-20230129-24": "contacts|preserve",
    "TT-20230130-08": "food|preserve",
    "TT-20230129-26": "food|preserve",
}
# A service that was seen less often cannot be judged by anybody.
SEEN_BEFORE, SEEN_DURING = 6, 10
MICROS = 1_000_000


@dataclass(frozen=True)
class Incident:
    """One bundle's tables; `before` are the traces of the fault-free minute."""

    name: str
    want: str
    subclass: str
    ticket: Ticket
    spans: pa.Table
    logs: pa.Table
    before: frozenset[str]

    def part(self, table: pa.Table, *, before: bool) -> pa.Table:
        """The rows of one of the two parts."""
        mine = pc.is_in(table.column("trace.id"), value_set=pa.array(sorted(self.before)))
        return table.filter(mine if before else pc.invert(mine))


@dataclass(frozen=True)
class Answer:
    """What was said of one incident, and how long the detector took, in seconds of processor time."""

    services: list[str]
    fault_class: str | None
    subclass: str | None
    abstained: bool
    seconds: float


def main() -> int:
    """Print the tables and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared" / "data" / "trainticket")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if not (options.data / "dev_labels.csv").exists():
        print(f"culprits: no incidents in {options.data}: MISSED")
        return 1
    incidents = list(read_incidents(options.data))

    plain = [(incident, judge(incident)) for incident in incidents]
    top1, top3 = report("as recorded", plain)
    by(plain, "fault type", lambda incident: incident.subclass)
    by(plain, "root service", lambda incident: incident.want)
    roots = [incident.want for incident in incidents]
    often = sorted(set(roots), key=lambda s: (-roots.count(s), s))[:3]
    print(
        f"  always the most frequent root: top-1 {roots.count(often[0]) / len(roots):.3f}, "
        f"top-3 {sum(r in often for r in roots) / len(roots):.3f}"
    )
    seconds = sorted(answer.seconds for _, answer in plain)
    print(
        f"  detector: median {1000 * seconds[len(seconds) // 2]:.0f} ms, most {1000 * seconds[-1]:.0f} ms of processor time"
    )
    if not options.quick:
        for name, change in CHANGES.items():
            changed = [change(incident, incidents) for incident in incidents]
            report(name, [(incident, judge(incident)) for incident in changed])
    injected, silent = put_in(incidents, list(HOSTS)[:1] if options.quick else list(HOSTS))
    holds = top1 >= TOP1 and top3 >= TOP3 and injected >= INJECTED and silent
    print(
        f"culprits: top-1 {top1:.3f} (goal {TOP1}), top-3 {top3:.3f} (goal {TOP3}), faults put in top-1 {injected:.3f} "
        f"(goal {INJECTED}), {'no' if silent else 'SOME'} recording without its fault located, in-sample: "
        f"{'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


# ---- incidents


def read_incidents(data: pathlib.Path) -> Iterator[Incident]:
    """The incidents of `data` in order of the labels."""
    with (data / "dev_labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        folder = data / "dev" / row["id"]
        ticket, _ = find_ticket(str(folder))
        source = open_bundle(folder, zone=ticket.created_at.tzinfo)
        try:
            settings = Settings()
            material = collect(read_scope(ticket, settings), ticket, [source], settings, lambda _: None).material
        finally:
            source.close()
        # The data set marks the lines of the fault-free minute so; nothing but this benchmark looks at it.
        marked = material.logs.filter(pc.starts_with(material.logs.column("_id"), "b"))
        before = frozenset(marked.column("trace.id").to_pylist())
        yield Incident(
            row["id"], row["root_service"], row["fault_subclass"], ticket, material.spans, material.logs, before
        )


def judge(incident: Incident) -> Answer:
    """What the detectors and the judge say, from the tables on."""
    settings = Settings()
    scope = read_scope(incident.ticket, settings)
    clusters = cluster(incident.logs)
    changes = contrast(incident.logs, clusters, scope)
    material = Material(incident.logs, incident.spans, empty(ORDER_EVENTS))
    case = open_case(incident.ticket, scope, material, {}, clusters, changes, settings)
    begun = time.process_time()
    culprit.detect(case)
    seconds = time.process_time() - begun
    seen = detect(case)
    diagnosis: Diagnosis = diagnose(case, seen, number(seen))
    return Answer(
        [c.service for c in diagnosis.culprits],
        diagnosis.fault_class,
        diagnosis.fault_subclass,
        diagnosis.abstained,
        seconds,
    )


# ---- figures


def report(name: str, answers: list[tuple[Incident, Answer]]) -> tuple[float, float]:
    """Print one line of figures with a bootstrap interval of top-1; top-1 and top-3."""
    first = np.array([answer.services[:1] == [incident.want] for incident, answer in answers])
    three = np.array([incident.want in answer.services[:3] for incident, answer in answers])
    kind = np.array([answer.subclass == incident.subclass for incident, answer in answers])
    named = np.array([answer.fault_class == "internal_fault" for _, answer in answers])
    sure = np.array([not answer.abstained for _, answer in answers])
    draws = np.random.default_rng(1).integers(0, len(first), (2000, len(first)))
    low, high = np.quantile(first[draws].mean(axis=1), [0.025, 0.975])
    print(
        f"{name}: top-1 {first.mean():.3f} (95 % {low:.2f} to {high:.2f}), top-3 {three.mean():.3f}, "
        f"class {named.mean():.3f}, subclass {kind.mean():.3f}, of {sure.sum()} not abstained top-1 "
        f"{first[sure].mean():.3f}, incidents {len(first)}"
    )
    return float(first.mean()), float(three.mean())


def by(answers: list[tuple[Incident, Answer]], title: str, key: Callable[[Incident], str]) -> None:
    """Print the hits by fault type or root service. Nothing is learnt, so each row is also that of leaving it out."""
    groups: dict[str, list[tuple[Incident, Answer]]] = defaultdict(list)
    for incident, answer in answers:
        groups[key(incident)].append((incident, answer))
    for name, mine in sorted(groups.items()):
        first = sum(a.services[:1] == [i.want] for i, a in mine)
        three = sum(i.want in a.services[:3] for i, a in mine)
        kind = sum(a.subclass == i.subclass for i, a in mine)
        print(f"  {title} {name}: top-1 {first}, top-3 {three}, subclass {kind} of {len(mine)}")


# ---- disturbed


def _renamed(incident: Incident, _: list[Incident]) -> Incident:
    """Every service, and every operation, has a name that means nothing."""

    def token(name: str) -> str:
        return "s-" + hashlib.sha256(name.encode()).hexdigest()[:8].translate(str.maketrans("0123456789", "ghijklmnop"))

    names = sorted(set(incident.spans.column("service.name").to_pylist()), key=lambda n: (-len(n), n))
    spans, logs = incident.spans, incident.logs
    for column, table in (("service.name", "spans"), ("name", "spans"), ("service.name", "logs")):
        values = (spans if table == "spans" else logs).column(column).to_pylist()
        changed = pa.array([token(v) if v else v for v in values], pa.string())
        if table == "spans":
            spans = _with(spans, column, changed)
        else:
            logs = _with(logs, column, changed)
    for column in ("message", "body"):
        text = logs.column(column)
        for name in names:
            text = pc.replace_substring(text, name, token(name))
        logs = _with(logs, column, text)
    return replace(incident, want=token(incident.want), spans=spans, logs=logs)


def _other_before(incident: Incident, everyone: list[Incident]) -> Incident:
    """The fault-free minute is that of the other day."""
    day = incident.name[:11]
    other = next(one for one in everyone if one.name[:11] != day)
    spans, logs = other.part(other.spans, before=True), other.part(other.logs, before=True)
    mine = incident.part(incident.spans, before=False)
    by_micros = _first(mine) - _last(spans) - 20 * MICROS
    return replace(
        incident,
        spans=pa.concat_tables([_moved(spans, by_micros), mine]),
        logs=pa.concat_tables([_moved(logs, by_micros), incident.part(incident.logs, before=False)]),
        before=other.before,
    )


def _half(incident: Incident, _: list[Incident], seed: int = 3) -> Incident:
    """Every trace is kept with probability one half."""
    traces = sorted(set(incident.spans.column("trace.id").to_pylist()))
    chance = np.random.default_rng(seed).random(len(traces))
    kept = pa.array([t for t, k in zip(traces, chance < 0.5, strict=True) if k])
    spans = incident.spans.filter(pc.is_in(incident.spans.column("trace.id"), value_set=kept))
    logs = incident.logs.filter(pc.is_in(incident.logs.column("trace.id"), value_set=kept))
    return replace(incident, spans=spans, logs=logs)


def _noisy(incident: Incident, _: list[Incident]) -> Incident:
    """Every duration is 10 % longer or shorter, one standard deviation."""
    length = incident.spans.column("duration_us").to_numpy()
    factor = 1 + 0.1 * np.random.default_rng(4).standard_normal(len(length))
    changed = np.maximum(length * factor, 1).astype(np.int64)
    return replace(incident, spans=_with(incident.spans, "duration_us", pa.array(changed)))


CHANGES: dict[str, Callable[[Incident, list[Incident]], Incident]] = {
    "all names replaced": _renamed,
    "half of the traces": _half,
    "durations with 10 % noise": _noisy,
    "compared with the other day": _other_before,
}


# ---- faults put in


def put_in(incidents: list[Incident], hosts: list[str]) -> tuple[float, bool]:
    """Print the hits by kind of fault; their part, and whether the recordings as such were left alone."""
    hits: dict[str, list[tuple[bool, bool, bool, bool]]] = defaultdict(list)
    silent = True
    for host in (one for one in incidents if one.name in hosts):
        calm = _calm(host, HOSTS[host.name])
        answer = judge(calm)
        silent &= answer.abstained
        print(
            f"  {host.name} without its fault: {'abstains' if answer.abstained else 'LOCATED ' + str(answer.services)}"
        )
        before, during = calm.part(calm.spans, before=True), calm.part(calm.spans, before=False)
        early, late = calm.part(calm.logs, before=True), calm.part(calm.logs, before=False)
        traces = set(during.column("trace.id").to_pylist())
        entry = set(during.filter(pc.is_null(during.column("parent.id"))).column("service.name").to_pylist())
        for service in sorted(set(during.column("service.name").to_pylist()) - entry):
            if _visits(before, service) < SEEN_BEFORE or _visits(during, service) < SEEN_DURING:
                continue
            for kind in KINDS:
                spans, logs = inject(during, late, service, kind, traces, seed=7)
                answer = judge(
                    replace(
                        calm,
                        want=service,
                        spans=pa.concat_tables([before, spans]),
                        logs=pa.concat_tables([early, logs]),
                    )
                )
                hits[kind].append(
                    (
                        answer.services[:1] == [service],
                        service in answer.services[:3],
                        answer.subclass == kind,
                        answer.abstained,
                    )
                )
    for kind, mine in hits.items():
        first, three, sub, unsure = np.array(mine).mean(axis=0)
        print(
            f"  put in {kind}: top-1 {first:.3f}, top-3 {three:.3f}, subclass {sub:.3f}, abstained {unsure:.3f}, "
            f"faults {len(mine)}"
        )
    return float(np.mean([one[0] for mine in hits.values() for one in mine])), silent


def _calm(incident: Incident, touched: str) -> Incident:
    """The incident without the traces that its own fault touched, before and during it."""
    hit = pc.match_substring_regex(incident.spans.column("service.name"), touched)
    traces = pc.unique(incident.spans.filter(hit).column("trace.id"))

    def kept(table: pa.Table) -> pa.Table:
        gone = pc.is_in(table.column("trace.id"), value_set=traces)
        return pa.concat_tables(
            [incident.part(table, before=True), incident.part(table.filter(pc.invert(gone)), before=False)]
        )

    last = _last(incident.spans)
    ticket = replace(incident.ticket, created_at=datetime.fromtimestamp(last / MICROS + 120, UTC))
    return replace(incident, ticket=ticket, spans=kept(incident.spans), logs=kept(incident.logs))


def _visits(spans: pa.Table, service: str) -> int:
    return len(pc.unique(spans.filter(pc.equal(spans.column("service.name"), service)).column("trace.id")))


def _first(table: pa.Table) -> int:
    return int(pc.min(table.column("@timestamp").cast(pa.int64())).as_py())


def _last(table: pa.Table) -> int:
    return int(pc.max(table.column("@timestamp").cast(pa.int64())).as_py())


def _moved(table: pa.Table, micros: int) -> pa.Table:
    times = pc.add(table.column("@timestamp").cast(pa.int64()), micros)
    return _with(table, "@timestamp", times.cast(table.schema.field("@timestamp").type))


def _with(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), values)


if __name__ == "__main__":
    sys.exit(main())
