"""What came of a batch: how many of what, where the ledgers have holes, and where the time went.

Counts are of all tickets of the plan, whichever run took them; `kept` alone is about the last run. Seconds are wall time
of the run that took the ticket, so they differ from run to run.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline.batching.plan import Plan, whole_plan
from pipeline.batching.results import Entry, Folder, read_document
from pipeline.batching.units import taken_entry
from pipeline.errors import UsageError

_Key = TypeVar("_Key", str, tuple[str, str, str])

FORMAT = "problem-snapshot batch summary 1"
# So many dead letters, slow tickets and kinds of holes are listed; the rest is in the files.
LISTED = 20


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A name and how many tickets it has."""

    name: str
    tickets: int


class HoleRow(msgspec.Struct, frozen=True, kw_only=True):
    """How many snapshots have a row of this kind in their ledger."""

    source: str
    what: str
    status: str
    tickets: int


class TimeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where time went, in seconds: in all, the middle, the 95th of a hundred, the longest."""

    name: str
    tickets: int
    total: float
    median: float
    p95: float
    longest: float


class DayRow(msgspec.Struct, frozen=True, kw_only=True):
    """The tickets of one day in UTC."""

    day: str
    located: int
    abstained: int


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter, without its element."""

    number: int
    name: str
    ticket: str
    error: str
    reason: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A whole batch. `given` = `snapshots` + `dead` + `repeated` + `left`; `kept` of them were done by an earlier run.

    Where it was `interrupted` the rows of some days may be missing, even where no ticket is left.
    """

    format: str
    tickets: str
    given: int
    snapshots: int
    dead: int
    repeated: int
    left: int
    interrupted: bool
    kept: int
    located: int
    abstained: int
    lines: int
    untimed: int
    classes: list[Row]
    languages: list[Row]
    holes: list[HoleRow]
    holes_omitted: int
    with_holes: int
    sources: list[TimeRow]
    steps: list[TimeRow]
    slowest: list[TimeRow]
    days: list[DayRow]
    letters: list[Letter]
    errors: list[Row]
    notes: list[str]
    made: dict[str, str]


def summarise(folder: Folder, plan: Plan, *, dead: int, kept: int, left: int, interrupted: bool) -> Summary:
    """The summary of what is in `folder`. Raises `SnapshotError` where a document is damaged."""
    classes: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    holes: Counter[tuple[str, str, str]] = Counter()
    days: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    sources: dict[str, list[float]] = defaultdict(list)
    steps: dict[str, list[float]] = defaultdict(list)
    whole: list[tuple[float, str]] = []
    count = lines = untimed = with_holes = abstained = 0
    for entry in _taken(folder):
        count += 1
        lines += entry.lines
        abstained += entry.abstained
        classes[entry.fault_class if not entry.abstained else ""] += 1
        languages[entry.language] += 1
        days[entry.day][entry.abstained] += 1
        with_holes += bool(entry.holes)
        holes.update((hole.source, hole.what, hole.status) for hole in entry.holes)
        if entry.seconds is None:
            untimed += 1
            continue
        whole.append((entry.seconds, entry.ticket))
        for name, seconds in entry.sources.items():
            sources[name].append(seconds)
        for name, seconds in entry.steps.items():
            steps[name].append(seconds)
    most = [HoleRow(source=s, what=w, status=z, tickets=n) for (s, w, z), n in _ranked(holes.items())]
    letters, errors = _letters(folder)
    return Summary(
        format=FORMAT,
        tickets=plan.tickets,
        given=plan.given,
        snapshots=count,
        dead=dead,
        repeated=plan.repeated,
        left=left,
        interrupted=interrupted,
        kept=kept,
        located=count - abstained,
        abstained=abstained,
        lines=lines,
        untimed=untimed,
        classes=[Row(name=name, tickets=n) for name, n in _ranked(classes.items())],
        languages=[Row(name=name, tickets=n) for name, n in _ranked(languages.items())],
        holes=most[:LISTED],
        holes_omitted=max(0, len(most) - LISTED),
        with_holes=with_holes,
        sources=_times(sources),
        steps=_times(steps),
        slowest=[
            TimeRow(name=ticket, tickets=1, total=s, median=s, p95=s, longest=s)
            for s, ticket in sorted(whole, key=lambda one: (-one[0], one[1]))[:LISTED]
        ],
        days=[DayRow(day=day, located=n[0], abstained=n[1]) for day, n in sorted(days.items())],
        letters=letters,
        errors=errors,
        notes=plan.notes,
        made=plan.made,
    )


def _taken(folder: Folder) -> Iterator[Entry]:
    """The entry of every document: out of the journal, or where a kill came between the two, out of the document."""
    seen: set[int] = set()
    for entry in folder.entries():
        if entry.state == "taken":
            seen.add(entry.number)
            yield entry
    for planned in whole_plan(folder):
        path = folder.document(planned.document)
        if planned.number not in seen and path.exists():
            yield taken_entry(planned, read_document(path), None)


def _letters(folder: Folder) -> tuple[list[Letter], list[Row]]:
    first: list[Letter] = []
    kinds: Counter[str] = Counter()
    with folder.dead.open("rb") as file:
        for line in file:
            letter = msgspec.json.decode(line, type=Letter)
            kinds[letter.error] += 1
            if len(first) < LISTED:
                first.append(letter)
    return first, [Row(name=name, tickets=n) for name, n in _ranked(kinds.items())]


def _ranked(counts: Iterable[tuple[_Key, int]]) -> list[tuple[_Key, int]]:
    return sorted(counts, key=lambda pair: (-pair[1], pair[0]))


def _times(found: dict[str, list[float]]) -> list[TimeRow]:
    """The rows, that with the most time in all first."""
    rows = []
    for name, seconds in found.items():
        ordered = sorted(seconds)
        rows.append(
            TimeRow(
                name=name,
                tickets=len(ordered),
                total=round(sum(ordered), 3),
                median=_quantile(ordered, 0.5),
                p95=_quantile(ordered, 0.95),
                longest=ordered[-1],
            )
        )
    return sorted(rows, key=lambda row: (-row.total, row.name))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The nearest rank: the smallest value that at least `share` of the values do not exceed.

    >>> _quantile([1.0, 2.0, 3.0, 4.0], 0.5), _quantile([1.0], 0.95)
    (2.0, 1.0)
    """
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


def summary_json(summary: Summary) -> bytes:
    """The summary as JSON, indented, with a line break at its end."""
    return msgspec.json.format(msgspec.json.encode(summary, order="deterministic"), indent=2) + b"\n"


def write_summary(folder: Folder, summary: Summary) -> None:
    """Writes `summary.json`. Raises `SnapshotError`."""
    folder.place(_path(folder), summary_json(summary))


def read_summary(folder: Folder) -> Summary | None:
    """The summary that a run in `folder` wrote last, or None. Raises `UsageError` where it cannot be read."""
    try:
        return msgspec.json.decode(_path(folder).read_bytes(), type=Summary)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{_path(folder)}: cannot be read ({error}); delete it and run again with --resume") from error


def _path(folder: Folder) -> Path:
    return folder.root / "summary.json"
