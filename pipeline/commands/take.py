"""The command `take`: a ticket to its snapshot, kept, shown, and where it is wanted put on the ticket and published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.codes import LOCATED, PARTIAL, UNDETERMINED
from pipeline.commands.opened import open_sources, opened_store
from pipeline.commands.options import (
    NAME,
    Asked,
    Duration,
    From,
    View,
    asked_options,
    bundle_option,
    debug_option,
    from_options,
    says_profile_but_no_bundle,
    view_options,
)
from pipeline.commands.shown import file_name, is_partial, show_snapshot
from pipeline.console import Progress, emit, say, standard_input, write_file
from pipeline.errors import NoSourceReached, Refused, SnapshotError, UsageError
from pipeline.uploads import uploads_for

if TYPE_CHECKING:
    from pipeline.publish.options import PublishOptions
    from pipeline.values import Planned, Scope
    from snapshots.model import ProblemSnapshot
    from snapshots.words import Language


@click.command()
@click.argument("ticket")
@bundle_option
@asked_options
@click.option(
    "--budget",
    type=Duration(),
    envvar="PROBLEM_SNAPSHOT_BUDGET",
    help="How long the sources may take together, such as 10s.",
)
@click.option("--exit-code", "verdict", is_flag=True, help="Exit 10 when located, 11 when undetermined.")
@click.option("--no-store", is_flag=True, help="Do not keep the snapshot.")
@click.option("--explain-plan", is_flag=True, help="Show which rows would be fetched, and fetch none of them.")
@click.option("--attach", "attached", is_flag=True, help="Put it on the ticket as a private note (TICKET is NAME:ID).")
@click.option("--dry-run", is_flag=True, help="Print the note instead of putting it on the ticket.")
@click.option("--publish", "published", is_flag=True, help="Write it to the configured Elasticsearch index as well.")
@view_options
@from_options
@debug_option
def take(
    *,
    ticket: str,
    bundle: Path | None,
    budget: float | None,
    asked: Asked,
    verdict: bool,
    no_store: bool,
    explain_plan: bool,
    attached: bool,
    dry_run: bool,
    published: bool,
    view: View,
    where: From,
) -> int:
    """Take the snapshot of TICKET.

    TICKET is an id inside --bundle, the path of a ticket.json, - for standard input, or NAME:ID, where NAME is a configured
    ticket system. With a bundle only the bundle is read; otherwise the configured sources are asked.

    \b
    problem-snapshot take TK-1042 --bundle ./incident -o html --out TK-1042.html
    problem-snapshot take ticket.json --profile prod --around "2026-11-23 10:02 +08:00"
    problem-snapshot take helpdesk:4711 --profile prod --attach
    """
    from pipeline.commands.tickets import attach, ticket_of_system
    from pipeline.judge import weights_in_force
    from pipeline.run import plan_snapshot, take_snapshot
    from pipeline.tickets.file import find_ticket
    from snapshots.words import language_for

    held = click.get_current_context().with_resource(ticket_of_system(ticket, where, bundled=bundle is not None))
    if held is None and (attached or dry_run):
        raise UsageError("--attach and --dry-run need the ticket's system: name the ticket as NAME:ID")
    if held is not None:
        found = held.ticket
    else:
        found, bundle = find_ticket(ticket, bundle, standard_input(), say)
    if bundle is not None and says_profile_but_no_bundle():
        bundle = None
    settings = where.settings(
        sources=bundle is None, publish=published, budget=budget, language=view.language, timezone=view.timezone
    )
    weights_in_force(settings.weights)
    span = asked.span(found, settings)
    zone = found.created_at.tzinfo
    uploads = uploads_for(settings, held.system.name, held.id) if held is not None else ()
    with open_sources(settings, bundle, zone, uploads) as sources, Progress(where.verbose) as progress:
        if explain_plan:
            scope, planned = plan_snapshot(found, sources, settings, around=span, progress=progress)
            return show_plan(scope, planned, view, language_for(found.language, settings.language))
        taken = take_snapshot(found, sources, settings, around=span, progress=progress)
    snapshot = taken.snapshot
    kept: str | SnapshotError = ""
    if not no_store:
        try:
            with opened_store(settings) as store:
                kept = store.put(snapshot, taken.run).path
        except SnapshotError as error:
            # What was found is shown all the same.
            kept = error
    on_ticket = True
    if held is not None and (attached or dry_run):
        on_ticket = attach(held, snapshot, dry_run=dry_run)
    if not dry_run:
        show_snapshot(snapshot, view, settings, zone)
    # After it is kept and shown: what fails here, or hangs, loses nothing.
    sent = settings.publish is None or _published(snapshot, settings.publish)
    if isinstance(kept, SnapshotError):
        say(f"Not stored: {kept}")
        return PARTIAL
    if kept:
        say(f"Stored: {kept}")
        if view.format == "table":
            say(f"As a page: {NAME} show {snapshot.snapshot_id} -o html --out {file_name(snapshot)}.html")
    return exit_code_of(snapshot, verdict=verdict) if sent and on_ticket else PARTIAL


def _published(snapshot: ProblemSnapshot, target: PublishOptions) -> bool:
    """Publishes a snapshot that was just taken. What goes wrong is told, and never raised."""
    from pipeline.publish.publishing import publish

    try:
        result = publish([snapshot], target)
    except SnapshotError as error:
        say(f"Not published: {error}")
        return False
    for line in (*result.notes, *(f"Not published: {one.problem}" for one in result.snapshots if one.problem)):
        say(line)
    if result.failed_snapshots:
        return False
    say(f"Published: {result}")
    return True


def show_plan(scope: Scope, planned: Sequence[Planned], view: View, language: Language) -> int:
    """Prints what would be fetched, as lines or as JSON; 8 where a source could not say, 5 where none could, 4 where all refused."""
    import msgspec

    from pipeline.values import Span
    from snapshots.render.plan import plan_lines

    if view.format not in {"table", "json"}:
        raise UsageError(f"-o {view.format}: a plan is shown as table or json")
    window = Span(min(scope.baseline.start, scope.window.start), scope.window.end)
    if view.format == "json":
        told = msgspec.json.encode({"window": window, "plan": planned})
        text = msgspec.json.format(told, indent=2).decode() + "\n"
    else:
        lines = [f"{window.start:%Y-%m-%d %H:%M:%S} .. {window.end:%Y-%m-%d %H:%M:%S} UTC"]
        for one in planned:
            lines += ["", f"{one.source} ({one.kind}), {one.what}"]
            steps = list(plan_lines(one.plan, language, ahead=True)) if one.plan else [one.error or one.asked]
            lines += [f"  {line}" for line in (*steps, *one.notes)]
        text = "\n".join(lines) + "\n"
    if view.out is None:
        emit(text)
    else:
        write_file(view.out, text)
        say(f"Written: {view.out}")
    failed = [one for one in planned if one.error is not None]
    if not failed or len(failed) < len(planned):
        return PARTIAL if failed else 0
    return Refused.exit_code if all(one.refused for one in failed) else NoSourceReached.exit_code


def exit_code_of(snapshot: ProblemSnapshot, *, verdict: bool) -> int:
    """The exit code of a snapshot that was taken.

    A verdict on a part of the data is none: 8 comes before 10 and 11.
    """
    if is_partial(snapshot.coverage):
        return PARTIAL
    if verdict:
        return UNDETERMINED if snapshot.diagnosis.abstained else LOCATED
    return 0
