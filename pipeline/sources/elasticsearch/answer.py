"""What a reading brought, as the flow takes it: the rows in one table, and how they are told in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from parsers.tables import LOGS, SPANS, empty
from pipeline.errors import SourceError
from pipeline.sources.elasticsearch.calls import OutOfTimeError
from pipeline.sources.elasticsearch.intake import Part
from pipeline.sources.elasticsearch.plan import written
from pipeline.sources.elasticsearch.queries import stamp
from pipeline.sources.elasticsearch.tables import in_order, rated, without_edges
from pipeline.values import Fetched, Span
from snapshots.model import Coverage, Status, Window

if TYPE_CHECKING:
    from pipeline.sources.elasticsearch.reading import Reading


def said(reading: Reading, *, ahead: bool = False) -> str:
    """The steps in words, for the ledger; `ahead` of reading, with what is wanted."""
    if reading.totals is None and not reading.steps:
        return "counted only"
    if reading.has("all") or not reading.steps:
        return "all rows"
    told = []
    if reading.totals is not None and reading.ask.rest:
        told.append(f"{reading.totals.rows:,} rows match and {reading.limit:,} are wanted")
    for step in reading.steps:
        number = step.wanted if ahead else step.fetched
        of_how_many = "" if step.matched is None or number == step.matched else f" of {step.matched:,}"
        words = reading.words[step.kind]
        if number == 1 and not of_how_many:
            words = words.replace("rows", "row", 1)
        most = "up to " if step.matched is None and ahead else ""
        told.append(f"{most}{number:,}{of_how_many} {words}")
    return "; ".join(told)


def answer_of(reading: Reading, parts: Sequence[tuple[Part, Any]], stopped: SourceError | None) -> Fetched:
    """The rows of `parts` in their order, each once and inside the window, and what the ledger says; `stopped` ended the reading early."""
    schema = LOGS if reading.ask.what == "logs" else SPANS
    every = list(dict.fromkeys(part for part, _ in parts))
    tables = [rated(part, every, answer.table) for part, answer in parts]
    table = pa.concat_tables(tables) if tables else empty(schema)
    duplicates = sum(answer.duplicates for _, answer in parts)
    before = table.num_rows
    table = without_edges(table, reading.ask.window)
    outside = before - table.num_rows
    before = table.num_rows
    table = in_order(table)
    duplicates += before - table.num_rows
    fetched = reading.intake.rows
    total = _matched(reading)
    whole = all(step.matched == step.wanted for step in reading.steps) and (reading.ask.rest or not reading.has("all"))
    # Rows that came or went while an expired point in time was opened again move the total.
    natural = stopped is None and total is not None and whole
    matched = total
    if matched is not None:
        matched = fetched - duplicates if natural else max(matched, fetched - duplicates)
    cut = 0 if matched is None else matched - (fetched - duplicates)
    problems = list(dict.fromkeys([*reading.target.problems, *reading.tally.problems]))
    if isinstance(stopped, OutOfTimeError) and fetched:
        advice = "raise --budget or narrow the window"
        problems.insert(0, f"{reading.source.where()} was not read to the end in time; {advice}")
    elif stopped is not None:
        problems.insert(0, str(stopped))
    if total is None and not problems:
        problems.append("how many rows there are is not known, since the cluster did not count them")
    if reading.tally.reopened:
        reading.notes.append(f"the point in time expired and was opened again ({reading.tally.reopened} times)")
    if reading.esql and fetched:
        reading.notes.append(reading.esql.said())
    patterns = ", ".join(reading.target.patterns)
    failed = bool(problems)
    status: Status = "partial" if failed else "ok" if fetched else "empty"
    if status == "empty":
        reading.notes.append(f"{patterns}: no row in the window")
    coverage = Coverage(
        source=reading.source.name,
        kind=reading.source.kind,
        what=reading.ask.what,
        status=status,
        asked=f"{patterns} {between(reading.ask.window)}: {said(reading)}",
        window=window_of(reading.ask.window),
        matched=matched,
        fetched=fetched,
        used=table.num_rows,
        sampled=any(step.matched is not None and step.wanted < step.matched for step in reading.steps),
        cut=cut,
        duplicates=duplicates,
        unparsed=sum(answer.unparsed for _, answer in parts),
        outside=outside,
        error="; ".join(problems) or None,
        notes=reading.notes,
        plan=written(reading.totals, reading.limit, reading.steps) if reading.totals else None,
    )
    complete = reading.ask.rest and status in {"ok", "empty"} and not cut
    return Fetched(table, coverage, complete=complete)


def _matched(reading: Reading) -> int | None:
    """How many rows answer the question, as far as the cluster counted."""
    if reading.totals is None:
        return reading.counted
    return (
        reading.totals.rows if reading.ask.rest else reading.totals.counts["named"] + reading.totals.counts["healthy"]
    )


def between(window: Span) -> str:
    """A window in words."""
    return f"from {stamp(window.start)} to {stamp(window.end)}"


def window_of(window: Span) -> Window:
    """A window as the document has it."""
    return Window(start=stamp(window.start), end=stamp(window.end))
