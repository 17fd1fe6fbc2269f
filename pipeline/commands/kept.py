"""The commands for snapshots that were taken: show, note, notify, list, publish; and the schema that they follow."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.codes import PARTIAL
from pipeline.commands.opened import opened_store
from pipeline.commands.options import NAME, From, View, debug_option, from_options, output_option, view_options
from pipeline.commands.shown import find_snapshot, show_snapshot
from pipeline.console import columns, emit, line_of, say
from pipeline.errors import SnapshotError, UsageError

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from snapshots.model import ProblemSnapshot
    from snapshots.store import Entry


@click.command()
@click.argument("snapshot", metavar="ID|TICKET|FILE")
@view_options
@from_options
@debug_option
def show(*, snapshot: str, view: View, where: From) -> None:
    """Show a snapshot that was taken.

    Named by its id or the beginning of one, by its ticket (the newest), or by its file.

    \b
    problem-snapshot show TK-1042 --full
    problem-snapshot show ps-3f9c21 -o html --out snapshot.html
    """
    settings = where.settings(sources=False, language=view.language, timezone=view.timezone)
    show_snapshot(find_snapshot(snapshot, settings), view, settings)


@click.command("note")
@click.argument("snapshot", metavar="ID|TICKET|FILE")
@click.option(
    "--form",
    type=click.Choice(["html", "markdown", "wiki", "adf", "text"]),
    default="text",
    show_default=True,
    help="As which system takes it; wiki is Jira Data Center's, adf Jira Cloud's.",
)
@click.option("--language", "-l", type=click.Choice(["auto", "en", "zh"]), help="auto is the ticket's language.")
@click.option("--page", default="", metavar="URL", help="Where the snapshot's page is, for its links.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many characters; what is left out is named.")
@from_options
@debug_option
def print_note(*, snapshot: str, form: Any, language: str | None, page: str, limit: int | None, where: From) -> None:
    """Print a snapshot's note as it would go on its ticket.

    \b
    problem-snapshot note TK-1042 --form markdown
    """
    from snapshots.render.note import Links, marker_of, note_blocks, write
    from snapshots.words import language_for

    settings = where.settings(sources=False, language=language)
    found = find_snapshot(snapshot, settings)
    spoken = language_for(found.ticket.language, settings.language)
    marker = marker_of(found.ticket.system, found.ticket.id)
    try:
        blocks = note_blocks(found, spoken, Links(page=page))
        text = write(blocks, form, marker, limit)
    except ValueError as error:
        raise UsageError(str(error)) from error
    emit(text)


@click.command("notify")
@click.argument("snapshot", metavar="ID|TICKET|FILE")
@click.option("--to", "names", multiple=True, metavar="NAME", help="Only this receiver; may be given again.")
@click.option("--page", default="", metavar="URL", help="Where the snapshot's page is.")
@click.option("--dry-run", is_flag=True, help="Only tell who would be told.")
@from_options
@debug_option
def notify_receivers(*, snapshot: str, names: tuple[str, ...], page: str, dry_run: bool, where: From) -> int:
    """Tell the configured receivers of a snapshot.

    Those whose `when` wants it, or with --to those that are named, whatever they want.

    \b
    problem-snapshot notify TK-1042 --to oncall
    """
    from datetime import UTC, datetime

    from pipeline.notify import Event, open_target
    from pipeline.settings import load_settings
    from snapshots.render.blocks import Links

    receivers = load_settings(where.config, where.profile, sources=False, notify=True).notify
    unknown = [name for name in names if name not in receivers]
    if unknown or not receivers:
        there = ", ".join(sorted(receivers)) or f"none; add a table [defaults.notify.NAME], `{NAME} init` shows it"
        raise UsageError(f"--to {unknown[0]}: there are: {there}" if unknown else f"nobody is to be told: {there}")
    try:
        links = Links(page=page)
    except ValueError as error:
        raise UsageError(f"--page {error}") from error
    found = find_snapshot(snapshot, where.settings(sources=False))
    event = Event("snapshot.created", found, datetime.now(UTC), links)
    failed = 0
    for name in names or sorted(receivers):
        with contextlib.closing(open_target(name, receivers[name])) as target:
            try:
                wanted = name in names or target.wants(event)
                sent = target.send(event) if wanted and not dry_run else None
            except SnapshotError as error:
                failed += 1
                emit(f"{name}: {line_of(error)}\n")
                continue
        told = (sent.note or sent.outcome) if sent else "would be told" if wanted else "not told, as its `when` says"
        failed += sent is not None and sent.outcome == "disabled"
        emit(f"{name}: {told}\n")
    return PARTIAL if failed else 0


@click.command("list")
@output_option
@click.option("--limit", "-n", type=click.IntRange(min=1), help="Only the newest so many.")
@from_options
@debug_option
def list_snapshots(*, output: str, limit: int | None, where: From) -> None:
    """List the snapshots that are kept, the newest ticket first.

    \b
    problem-snapshot list -n 20
    """
    with opened_store(where.settings(sources=False)) as store:
        listing = store.list(limit=limit)
    if output == "json":
        from snapshots.model import canonical_json

        emit(canonical_json(listing.entries).decode())
    elif listing.entries:
        heads = ("SNAPSHOT", "TICKET", "CREATED", "VERDICT", "SURE", "SERVICE")
        emit(columns(heads, [_listed(entry) for entry in listing.entries]))
    else:
        say("No snapshot is kept yet.")
    if listing.damaged:
        first = listing.damaged[0]
        say(f"{len(listing.damaged)} damaged: {first.path}: {first.reason}")


def _listed(entry: Entry) -> tuple[str, ...]:
    named = "/".join(part for part in (entry.fault_class, entry.fault_subclass) if part)
    return (
        entry.snapshot_id,
        entry.ticket_id,
        entry.created_at,
        "undetermined" if entry.abstained else named,
        f"{entry.confidence:.0%}",
        entry.service or "",
    )


@click.command("publish")
@click.argument("snapshots", nargs=-1, metavar="[ID|TICKET|FILE]...")
@click.option("--all", "every", is_flag=True, help="Every snapshot of the store.")
@click.option("--dry-run", is_flag=True, help="Print the documents as newline-delimited JSON, and send nothing.")
@from_options
@debug_option
def publish_snapshots(*, snapshots: tuple[str, ...], every: bool, dry_run: bool, where: From) -> int:
    """Write snapshots to an Elasticsearch index, for Kibana.

    One document a snapshot and one a finding, under ids of their own: publishing again changes nothing. Exits 8 where some
    could not be written, 4 where the account may not, 5 where the cluster cannot be reached.

    \b
    problem-snapshot publish TK-1042
    problem-snapshot publish --all --profile prod
    """
    from pipeline.publish.publishing import as_ndjson, publish
    from pipeline.settings import publish_of, read_config

    if every == bool(snapshots):
        raise UsageError("name the snapshots, by id, ticket or file, or give --all")
    settings = where.settings(sources=False, publish=not dry_run)
    unread: list[str] = []
    documents = {one.snapshot_id: one for one in (find_snapshot(name, settings) for name in snapshots)}
    found = _kept(settings, unread) if every else iter(documents.values())
    bad = 0
    if settings.publish is None:
        target = publish_of(read_config(where.config, os.environ), where.profile, os.environ)
        for text in as_ndjson(found, target):
            emit(text)
    else:
        result = publish(found, settings.publish)
        rows = [(one.snapshot_id, one.ticket_id, one.outcome) for one in result.snapshots]
        emit(columns(("SNAPSHOT", "TICKET", "OUTCOME"), rows))
        for line in (*result.notes, *(one.problem for one in result.snapshots if one.problem)):
            say(line)
        say(str(result))
        bad = result.failed_snapshots
    for line in unread:
        say(line)
    return PARTIAL if bad or unread else 0


def _kept(settings: Settings, unread: list[str]) -> Iterator[ProblemSnapshot]:
    """Every snapshot of the store that can be read; of the others a line in `unread`."""
    from snapshots.store import StoreError

    with opened_store(settings) as store:
        listing = store.list()
        unread += [f"{one.path}: damaged: {one.reason}" for one in listing.damaged]
        for entry in listing.entries:
            try:
                snapshot = store.get(entry.snapshot_id)
            except StoreError as error:
                unread.append(str(error))
            else:
                yield snapshot


@click.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of the snapshot document.

    \b
    problem-snapshot schema > problem-snapshot.schema.json
    """
    import json

    from snapshots.schema import json_schema

    emit(json.dumps(json_schema(), ensure_ascii=False, indent=2))


COMMANDS = (show, print_note, notify_receivers, list_snapshots, publish_snapshots, schema)
