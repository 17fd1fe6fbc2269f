"""The command `bundle`: what the sources hold for a ticket, or what a desk asks of this machine, written to be sent."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.codes import PARTIAL
from pipeline.commands.collecting import Collecting, collect, collect_options
from pipeline.commands.opened import open_sources
from pipeline.commands.options import (
    PATH,
    Asked,
    Duration,
    From,
    asked_options,
    bundle_option,
    debug_option,
    from_options,
    says_profile_but_no_bundle,
)
from pipeline.commands.shown import is_partial
from pipeline.console import Progress, say, standard_input
from pipeline.errors import UsageError


@click.command("bundle")
@click.argument("ticket", required=False)
@click.option("--out", type=PATH, metavar="PATH", help="The bundle to write: a folder, or a file ending in .zip.")
@collect_options
@bundle_option
@asked_options
@click.option(
    "--budget", type=Duration(), envvar="PROBLEM_SNAPSHOT_BUDGET", help="How long the sources may take together."
)
@from_options
@debug_option
def write_bundle(
    *,
    ticket: str | None,
    out: Path | None,
    collecting: Collecting,
    bundle: Path | None,
    budget: float | None,
    asked: Asked,
    where: From,
) -> int:
    """Write what the sources hold for TICKET to a bundle.

    It can be sent and read elsewhere: cards, phones, mail addresses, tokens and keys are masked. With --collect it is made of
    this machine's log files, as a desk asks for them, and sent there; no TICKET and no configuration is needed.

    \b
    problem-snapshot bundle ticket.json --profile prod --out TK-1042.zip
    problem-snapshot bundle --collect collect-c0123.json
    """
    if collecting.collect is not None:
        if ticket is not None or bundle is not None:
            raise UsageError("--collect takes its ticket from the manifest: leave TICKET and --bundle out")
        if asked != Asked(None, None, None) or budget is not None:
            raise UsageError(
                "--collect takes its time from the manifest: leave --around, --from, --to and --budget out"
            )
        return collect(collecting, out)
    if ticket is None:
        raise UsageError("name the TICKET whose records are written, or --collect MANIFEST")
    if out is None:
        raise UsageError("--out PATH is needed: where the bundle is written")
    from pipeline.export import export_bundle
    from pipeline.tickets.file import find_ticket

    found, bundle = find_ticket(ticket, bundle, standard_input(), say)
    if bundle is not None and says_profile_but_no_bundle():
        bundle = None
    settings = where.settings(sources=bundle is None, budget=budget)
    span = asked.span(found, settings)
    zone = found.created_at.tzinfo
    with open_sources(settings, bundle, zone) as sources, Progress(where.verbose) as progress:
        written = export_bundle(out, found, sources, settings, around=span, progress=progress)
    rows = written.rows
    say(
        f"Written: {written.path} ({rows['logs']:,} log lines, {rows['spans']:,} spans, {rows['order_events']:,} order "
        f"events, {written.redacted:,} values masked)"
    )
    for row in written.coverage:
        if row.status in {"failed", "partial"}:
            say(f"{row.source}, {row.what}: {row.status}: {row.error or '; '.join(row.notes)}")
    return PARTIAL if is_partial(written.coverage) else 0
