"""`batch`: the snapshots of many tickets at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.codes import INTERRUPTED, PARTIAL
from pipeline.commands.options import (
    NAME,
    PATH,
    Duration,
    From,
    Zone,
    debug_option,
    from_options,
    language_of,
    language_option,
    moment_of,
    output_option,
)
from pipeline.console import Meter, emit, say, terminal_width
from pipeline.errors import SnapshotError, UsageError

if TYPE_CHECKING:
    from pipeline.batching.run import Ended
    from pipeline.batching.searched import Search
    from pipeline.settings import Settings
    from pipeline.tickets.system import Note, TicketSystem
    from snapshots.model import ProblemSnapshot


@click.command()
@click.argument("tickets")
@click.argument("beam", nargs=-1, type=click.UNPROCESSED, metavar="[-- BEAM OPTIONS]")
@click.option("--out-dir", "out", type=PATH, required=True, metavar="DIR", help="Where everything is written.")
@click.option(
    "--bundle",
    type=PATH,
    metavar="DIR",
    help="Where a file's tickets have their records: a bundle, or a folder of them.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in DIR: what is done there stays as it is.")
@click.option("--retry", is_flag=True, help="As --resume, and try its dead letters again.")
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=1),
    help="Processes; otherwise one for a few tickets, and one a core for more.",
)
@click.option(
    "--runner",
    "--engine",
    "runner",
    default="FnApiRunner",
    show_default=True,
    metavar="NAME",
    help="A runner of Apache Beam; local: processes without Beam; or spark.",
)
@click.option("--master", metavar="URL", help="The Spark master, such as spark://host:7077 (spark).")
@click.option(
    "--from", "start", metavar="TIME", help="Of a ticket system: tickets opened then or later; UTC by default."
)
@click.option("--to", "end", metavar="TIME", help="Of a ticket system: tickets opened before; otherwise up to now.")
@click.option(
    "--budget",
    type=Duration(),
    default=60.0,
    show_default="60s",
    help="How long the sources of a ticket may take: long, so that a busy machine changes nothing.",
)
@click.option(
    "--timezone",
    type=Zone(),
    envvar="PROBLEM_SNAPSHOT_TIMEZONE",
    help="Zone of times without one in a bundle, a CSV or a Parquet file.",
)
@click.option("--publish", "published", is_flag=True, help="Write the snapshots to the configured Elasticsearch index.")
@click.option("--attach", metavar="NAME", help="Count the notes that tickets of this configured system would get.")
@click.option("--send", is_flag=True, help="With --attach: put the notes on the tickets.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True, max=6000),
    default=30.0,
    show_default=True,
    help="With --attach: how many notes a minute.",
)
@output_option
@language_option("the machine's language")
@from_options
@debug_option
def batch(
    *,
    tickets: str,
    published: bool,
    attach: str | None,
    send: bool,
    rate: float,
    output: str,
    language: str,
    timezone: str | None,
    start: str | None,
    end: str | None,
    where: From,
    **given: Any,
) -> int:
    """Take the snapshots of many tickets.

    TICKETS is a file (.jsonl, .csv, .parquet), a folder of bundles, a store of snapshots (`store` is the configured
    one), whose tickets are taken anew, or NAME: of a configured ticket system, with --from. Exits 8 where a ticket became
    a dead letter, 130 when interrupted; what was done stays, and --resume goes on.

    \b
    problem-snapshot batch closed-2026.jsonl --profile prod --out-dir closed-2026
    problem-snapshot batch helpdesk: --from 2026-01-01 --to 2026-04-01 --out-dir spring
    problem-snapshot batch cases/ --out-dir out --jobs 4 --runner local
    problem-snapshot batch closed-2026.jsonl --out-dir closed-2026 --resume --attach helpdesk --send
    """
    from pipeline.batching.run import Asked, Count, run_batch
    from pipeline.batching.summary_page import show_summary, write_page
    from snapshots.words import language_for

    if send and attach is None:
        raise UsageError("--send goes with --attach NAME")
    records = given["bundle"] is not None or _has_bundles(tickets)
    settings = where.settings(sources=not records, publish=published, budget=given["budget"], timezone=timezone)
    desk = _desk(where, attach)
    search = _search(where, tickets, start, end)
    if not records and not settings.sources:
        raise UsageError(
            f"no source is configured (profile {settings.profile}): give the tickets' records with --bundle DIR,\n"
            f"or write a configuration with `{NAME} init` and fill in its sources"
        )
    asked = Asked(tickets, timezone=timezone, config=where.config, profile=where.profile, search=search, **given)
    spoken = language_for(language_of(os.environ), language)
    with Meter("tickets") as meter:

        def step(count: Count) -> None:
            meter(count.done, count.of, count.kept)

        try:
            ended = run_batch(asked, settings, step, say)
        finally:
            if search is not None:
                search.system.close()
    write_page(ended.folder, ended.summary, spoken)
    to_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = terminal_width() if to_terminal else 100
    emit(show_summary(ended.summary, output, spoken, width=width, colour=to_terminal))
    say(f"Written: {ended.folder.root}; as a page: {ended.folder.root / 'summary.html'}")
    if ended.summary.interrupted:
        say(f"Interrupted. Tickets left: {ended.summary.left:,}. The same call with --resume goes on.")
        return INTERRUPTED
    sent = not published or _published(ended, settings)
    if desk is not None:
        sent = _attached(ended, desk, rate, send=send) and sent
    return PARTIAL if ended.summary.dead or not sent else 0


def _has_bundles(tickets: str) -> bool:
    """Whether the tickets bring their records along."""
    from pipeline.batching.tickets import is_store
    from pipeline.sources.bundle.tickets import is_bundle

    path = Path(tickets)
    return not is_store(tickets) and (path.is_dir() or (path.is_file() and is_bundle(path)))


def _published(ended: Ended, settings: Settings) -> bool:
    """Publishes all snapshots of the run. What goes wrong is told; the same call with --resume does it again."""
    from pipeline.batching.backfill import documents
    from pipeline.publish.publishing import publish

    assert settings.publish is not None  # noqa: S101 - they were loaded for it
    try:
        result = publish(documents(ended.folder), settings.publish)
    except SnapshotError as error:
        say(f"Not published: {error}")
        return False
    problems = [f"Not published: {one.problem}" for one in result.snapshots if one.problem]
    for line in (*result.notes, *problems[:10]):
        say(line)
    if len(problems) > 10:
        say(f"and {len(problems) - 10:,} more that were not published")
    say(f"Published: {result}")
    return not result.failed_snapshots


def _desk(where: From, name: str | None) -> TicketSystem | None:
    return None if name is None else _system(where, name, "--attach")


def _system(where: From, name: str, asked: str) -> TicketSystem:
    """The configured ticket system of that name. It is looked up before anything is taken, and connects to nothing yet."""
    from pipeline.tickets import open_system

    settings = where.settings(sources=False, service=True)
    if name not in settings.tickets:
        known = ", ".join(sorted(settings.tickets)) or "none"
        raise UsageError(
            f"{asked}: no ticket system {name!r} is configured (profile {settings.profile}); there are: {known}"
        )
    return open_system(name, settings.tickets[name])


def _search(where: From, tickets: str, start: str | None, end: str | None) -> Search | None:
    """What is asked of a ticket system, where TICKETS is `NAME:`. Raises `UsageError`."""
    from pipeline.batching.searched import Search

    if not tickets.endswith(":") or Path(tickets).exists():
        if start or end:
            raise UsageError("--from and --to go with the tickets of a ticket system: give NAME: as TICKETS")
        return None
    if start is None:
        raise UsageError(f"{tickets} needs --from, such as --from 2026-01-01")
    first, last = moment_of("--from", start), moment_of("--to", end) if end else None
    if last is not None and first >= last:
        raise UsageError(f"--from {start} is not before --to {end}")
    return Search(_system(where, tickets[:-1], tickets), first, last)


def _attached(ended: Ended, desk: TicketSystem, rate: float, *, send: bool) -> bool:
    """The notes of all snapshots onto their tickets, or how many there would be; whether all went well."""
    from pipeline.attach import note_of
    from pipeline.batching.backfill import Pace, attach_all, documents

    def note(snapshot: ProblemSnapshot, known: str | None) -> Note:
        return note_of(snapshot, desk.name, snapshot.ticket.id, forms=(desk.form,), known=known)

    journal = ended.folder.work / f"attached-{desk.name}.jsonl"
    try:
        done = attach_all(documents(ended.folder), desk, note, journal, Pace(rate), send=send, say=say)
    except SnapshotError as error:
        say(f"Not attached: {error}")
        return False
    finally:
        desk.close()
    for problem in done.problems:
        say(f"Not attached: {problem}")
    if done.elsewhere:
        say(
            f"Tickets of another system, whose field `system` is neither {desk.name} nor {desk.kind}: {done.elsewhere:,}"
        )
    if done.before:
        say(f"Tickets that have their note from an earlier run: {done.before:,}")
    if send:
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(done.outcomes.items()))
        say(f"Attached to {desk.name}: {counts or 'none'}" + (f"; {done.failed:,} failed" if done.failed else ""))
    else:
        minutes = done.notes / rate
        say(
            f"Notes that would go to {desk.name}: {done.notes:,}, in about {minutes:,.0f} min. Nothing was sent: --send does."
        )
    return not done.failed
