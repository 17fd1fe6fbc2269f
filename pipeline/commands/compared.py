"""The commands that hold a snapshot against something: its records, another snapshot, the program of today."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.codes import DRIFT, PARTIAL
from pipeline.commands.opened import open_sources
from pipeline.commands.options import (
    DIFFERENCES,
    Difference,
    Duration,
    From,
    Zone,
    bundle_option,
    debug_option,
    difference_options,
    from_options,
)
from pipeline.commands.shown import find_snapshot, is_partial
from pipeline.console import Progress, columns, emit, on_one_line, say, standard_input, terminal_width, write_file
from pipeline.errors import NoSourceReached, TicketNotFound, UsageError
from pipeline.uploads import uploads_named

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from snapshots.comparison import Comparison
    from snapshots.model import Evidence, ProblemSnapshot
    from snapshots.verify import State, VerifyReport


@click.command()
@click.argument("snapshot", metavar="ID|TICKET|FILE")
@bundle_option
@click.option(
    "--timezone",
    type=Zone(),
    envvar="PROBLEM_SNAPSHOT_TIMEZONE",
    help="Zone of a bundle's times without one, where the snapshot was taken with it; otherwise the ticket's.",
)
@from_options
@debug_option
def verify(*, snapshot: str, bundle: Path | None, timezone: str | None, where: From) -> int:
    """Open every record that a snapshot cites, and compare it.

    Exits 9 where one is gone or has changed. A record that the document has no sha256 of is counted as unstamped.

    \b
    problem-snapshot verify TK-1042 --bundle ./incident
    """
    from pipeline.replay import Resolver
    from snapshots.render.view import ticket_zone
    from snapshots.verify import verify as verify_snapshot

    settings = where.settings(sources=bundle is None, timezone=timezone)
    document = find_snapshot(snapshot, settings)
    if bundle is not None:
        bundle = _records_of(document, bundle)
    uploads = uploads_named(settings, (row.source for row in document.coverage))
    with open_sources(settings, bundle, ticket_zone(document), uploads) as sources:
        resolvers = {source.name: Resolver(source) for source in sources}
        report = verify_snapshot(document, resolvers.get)
    emit("\n".join(_report_lines(report, document)))
    if report.drifted:
        return DRIFT
    lost = report.count("unreachable")
    if lost and lost == len(report.evidence):
        return NoSourceReached.exit_code
    return PARTIAL if lost else 0


def _records_of(document: ProblemSnapshot, bundle: Path) -> Path:
    """The bundle of the document's ticket: a single bundle itself, since another ticket's records may be cited."""
    from pipeline.sources.bundle.tickets import find_bundle, is_bundle

    try:
        return find_bundle(bundle, document.ticket.id)
    except TicketNotFound:
        if not is_bundle(bundle):
            raise
        say(f"{bundle} holds no ticket {document.ticket.id}; the records are looked for in it all the same.")
        return bundle


def _report_lines(report: VerifyReport, document: ProblemSnapshot) -> Iterator[str]:
    from snapshots.verify import all_evidence

    states: tuple[State, ...] = ("changed", "gone", "unreachable", "unstamped")
    counts = [f"{n} {state}" for state in states if (n := report.count(state))]
    well = f"{report.count('ok')} of {len(report.evidence)} records are as they were"
    yield on_one_line(f"{report.snapshot_id}: {', '.join([well, *counts])}")
    yield from (on_one_line(f"The document contradicts itself: {problem}") for problem in report.problems)
    cited = {evidence.ref: evidence for evidence in all_evidence(document)}
    rows = [
        tuple(map(on_one_line, (row.state, row.ref, row.source, _place(cited[row.ref]), row.reason)))
        for row in report.evidence
        if row.state != "ok"
    ]
    if rows:
        yield columns(("STATE", "REF", "SOURCE", "RECORD", "REASON"), rows)


def _place(evidence: Evidence) -> str:
    """Where a cited record is, as a person would write it."""
    if evidence.doc_id is not None:
        return f"{evidence.index}/{evidence.doc_id}" if evidence.index else evidence.doc_id
    return f"{evidence.file}:{evidence.start}-{evidence.end}"


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@difference_options
@from_options
@debug_option
def diff(*, before: str, after: str, view: Difference, where: From) -> int:
    """Show what changed from snapshot A to snapshot B.

    Says, too, which evidence moved the diagnosis. Each is named by its id or the beginning of one, by its ticket (the newest),
    or by its file. Exits 0 whatever differs;
    with --exit-code 9 where diagnosis or evidence differ.

    \b
    problem-snapshot diff ps-3f9c21 TK-1042
    problem-snapshot diff before.json after.json -o md --exit-code
    """
    from snapshots.compare import compare

    settings = where.settings(sources=False, language=view.language, timezone=view.timezone)
    first, second = find_snapshot(before, settings), find_snapshot(after, settings)
    comparison = compare(first, second)
    show_comparison(comparison, second, view, settings)
    return DRIFT if view.verdict and not comparison.same else 0


def show_comparison(comparison: Comparison, after: ProblemSnapshot, view: Difference, settings: Settings) -> None:
    """Renders the comparison as `view` asks, in the language and zone of the settings, else of the later ticket."""
    from snapshots.render.comparison import render_comparison
    from snapshots.render.view import ticket_zone
    from snapshots.words import language_for

    if view.format not in DIFFERENCES:
        raise UsageError(f"--out {view.out}: a comparison is shown as {', '.join(DIFFERENCES)}; say which with -o")
    to_terminal = view.out is None and sys.stdout is not None and sys.stdout.isatty()
    text = render_comparison(
        comparison,
        view.format,
        language=language_for(after.ticket.language, settings.language),
        zone=settings.zone or ticket_zone(after),
        full=view.full,
        width=terminal_width() if to_terminal else 100,
        colour=to_terminal,
    )
    if view.out is None:
        emit(text)
    else:
        write_file(view.out, text)
        say(f"Written: {view.out}")


@click.command("replay")
@click.argument("snapshot", metavar="ID|TICKET|FILE")
@bundle_option
@click.option("--ticket", metavar="FILE", help="The ticket as a ticket.json, or - for standard input.")
@click.option(
    "--budget", type=Duration(), envvar="PROBLEM_SNAPSHOT_BUDGET", help="How long the sources may take together."
)
@difference_options
@from_options
@debug_option
def replay_snapshot(
    *, snapshot: str, bundle: Path | None, ticket: str | None, budget: float | None, view: Difference, where: From
) -> int:
    """Take a snapshot's ticket again, and show what moved.

    With the program of today. The ticket is the one of --ticket, else of the bundle, else the redacted one in the
    snapshot. The window is the
    snapshot's where a person had asked for it. Nothing is kept. Exits 8 where a source failed or gave a part; with
    --exit-code 9 where diagnosis or evidence differ.

    \b
    problem-snapshot replay TK-1042 --bundle ./incident
    problem-snapshot replay ps-3f9c21 --profile prod -o json --exit-code
    """
    from pipeline.judge import weights_in_force
    from pipeline.replay import replay, ticket_again

    settings = where.settings(sources=bundle is None, budget=budget, language=view.language, timezone=view.timezone)
    weights_in_force(settings.weights)
    document = find_snapshot(snapshot, settings)
    if snapshot == "-" and ticket == "-":
        raise UsageError("SNAPSHOT and --ticket cannot both be standard input")
    found, origin, bundle = ticket_again(document, ticket, bundle, standard_input(), say)
    uploads = uploads_named(settings, (row.source for row in document.coverage))
    with (
        open_sources(settings, bundle, found.created_at.tzinfo, uploads) as sources,
        Progress(where.verbose) as progress,
    ):
        done = replay(document, found, origin, sources, settings, progress)
    again = done.taken.snapshot
    show_comparison(done.comparison, again, view, settings)
    if is_partial(again.coverage):
        return PARTIAL
    return DRIFT if view.verdict and not done.comparison.same else 0


COMMANDS = (verify, diff, replay_snapshot)
