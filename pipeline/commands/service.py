"""serve, work, jobs, poll: the hook from the command line."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.opened import open_sources
from pipeline.commands.options import NAME, Duration, From, bundle_option, debug_option, from_options, output_option
from pipeline.console import columns, emit, say
from pipeline.errors import TicketNotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.service.ledger import Ledger

_STATES = ("queued", "working", "waiting", "done", "ignored", "dead", "dropped")
_MESSAGE_STATES = ("queued", "waiting", "sent", "skipped", "dead", "disabled", "dropped")


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Where deliveries are taken; service.listen of the configuration.")
@click.option("--workers", type=click.IntRange(0, 64), help="Processes that take snapshots; 0 only takes deliveries.")
@bundle_option
@from_options
@debug_option
def serve(*, listen: str | None, workers: int | None, bundle: Path | None, where: From) -> None:
    """Take deliveries, and put snapshots on their tickets.

    \b
    problem-snapshot serve --profile prod
    POST /hooks/NAME takes the deliveries of [tickets.NAME]; /healthz, /readyz and /metrics tell how it is.
    """
    import msgspec

    from pipeline.service.crew import python
    from pipeline.service.options import address
    from pipeline.service.process import serve as run

    _log_to_stderr(where.verbose)
    settings = where.settings(sources=bundle is None, service=True, notify=True)
    service = settings.service
    if listen is not None:
        try:
            address(listen)
        except ValueError as error:
            raise UsageError(f"--listen: {error}") from error
        service = msgspec.structs.replace(service, listen=listen)
    if workers is not None:
        service = msgspec.structs.replace(service, workers=workers)
    settings = msgspec.structs.replace(settings, service=service)
    if bundle is None and not settings.sources and service.workers:
        raise UsageError(f"no source is configured (profile {settings.profile}); `{NAME} init` writes a configuration")

    def ready(place: str) -> None:
        say(f"Listening on {place}, {service.workers} worker{'s' * (service.workers != 1)}, hooks:")
        for name, options in sorted(settings.tickets.items()):
            say(f"  {place}/hooks/{name}  ({options.__struct_config__.tag})")

    run(settings, [*python(), "work", "--with-parent", *_same(where, bundle)], ready)


def _same(where: From, bundle: Path | None) -> list[str]:
    """The options that a worker is started with, so that it reads the same settings."""
    given = {"--config": where.config, "--profile": where.profile, "--store": where.store, "--bundle": bundle}
    told = [part for name, value in given.items() if value is not None for part in (name, str(value))]
    return [*told, *(["--verbose"] if where.verbose else [])]


@click.command()
@click.option(
    "--slot", metavar="NAME", help="What this worker is called; the same after a restart. HOST:PID without it."
)
@click.option("--with-parent", is_flag=True, hidden=True, help="End when standard input ends.")
@bundle_option
@from_options
@debug_option
def work(*, slot: str | None, with_parent: bool, bundle: Path | None, where: From) -> None:
    """Work off deliveries: a further worker on the same database.

    \b
    problem-snapshot work --profile prod
    """
    import logging
    import os
    import socket

    from pipeline.service.crew import stopping
    from pipeline.service.process import work as run

    _log_to_stderr(where.verbose)
    settings = where.settings(sources=bundle is None, service=True, notify=True)
    stop = stopping(with_parent)
    with open_sources(settings, bundle, settings.zone or dt.UTC) as sources:
        left = run(settings, sources, slot or f"{socket.gethostname()}:{os.getpid()}", stop)
    if left:
        # Their threads would go on while others begin the same jobs.
        logging.shutdown()
        os._exit(0)


@click.command()
@click.argument("system")
@click.option("--every", type=Duration(), metavar="DURATION", help="Again and again, with this pause, such as 1m.")
@click.option("--from", "start", metavar="CURSOR", help="Go on from this cursor instead of the stored one.")
@from_options
@debug_option
def poll(*, system: str, every: float | None, start: str | None, where: From) -> None:
    """Ask a ticket system what changed, and queue it.

    For systems that do not call us, or do not call again when we were away. `serve` does the same for each
    [tickets.NAME] that has `poll`. The first time only remembers where it is.

    \b
    problem-snapshot poll helpdesk --every 1m
    """
    from pipeline.service.crew import stopping
    from pipeline.service.opened import opened_base, opened_systems
    from pipeline.service.polling import poll as look
    from pipeline.tickets.system import SystemUnavailable

    _log_to_stderr(where.verbose)
    settings = where.settings(sources=False, service=True)
    if system not in settings.tickets:
        known = ", ".join(sorted(settings.tickets)) or "none"
        raise UsageError(f"no ticket system {system!r} is configured (profile {settings.profile}); there are: {known}")
    stop = stopping(with_parent=False)
    with opened_base(settings) as base, opened_systems(settings) as systems:
        if start is not None:
            base.ledger.move_cursor(system, start)
        while True:
            try:
                found = look(base.ledger, systems[system], wait=stop.wait)
            except SystemUnavailable as error:
                if every is None:
                    raise
                say(f"{system}: {error}; asked again in {every:g} s")
                if stop.wait(every):
                    return
                continue
            if found.first:
                say(f"{system}: from now on; what changes after this is queued by the next poll")
            else:
                say(f"{system}: {found.stored:,} queued" + (f", {found.known:,} known already" if found.known else ""))
            if every is None or stop.wait(every):
                return


# ---- jobs


@click.group()
def jobs() -> None:
    """Show deliveries and what became of them, try or drop them.

    \b
    problem-snapshot jobs list --state dead
    problem-snapshot jobs retry --dead
    """


@jobs.command("list")
@click.option("--state", "states", type=click.Choice(_STATES), multiple=True, help="Only these; repeatable.")
@click.option("--system", metavar="NAME", help="Only this ticket system's.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most, newest first.")
@output_option
@from_options
@debug_option
def list_jobs(*, states: tuple[str, ...], system: str | None, limit: int, output: str, where: From) -> None:
    """List deliveries, newest first."""
    with _ledger(where) as ledger:
        rows = ledger.listed(states, system, limit)
        counts = ledger.counts()
    if output == "json":
        emit(_json([_told(row) for row in rows]))
        return
    if rows:
        head = ("DELIVERY", "RECEIVED", "SYSTEM", "TICKET", "EVENT", "STATE", "TRIES", "REASON")
        emit(columns(head, [_row(row) for row in rows]))
    totals: dict[str, int] = {}
    for (_, state), count in counts.items():
        totals[state] = totals.get(state, 0) + count
    say(", ".join(f"{totals[state]:,} {state}" for state in _STATES if state in totals) or "no deliveries yet")


@jobs.command("show")
@click.argument("delivery", metavar="DELIVERY|TICKET")
@output_option
@from_options
@debug_option
def show_job(*, delivery: str, output: str, where: From) -> None:
    """Show deliveries by id or ticket, with every attempt."""
    with _ledger(where) as ledger:
        rows = _found(ledger, [delivery])
        tries = {row.id: ledger.tries(row.id) for row in rows}
    if output == "json":
        emit(_json([{**_told(row), "tries": [_told(one) for one in tries[row.id]]} for row in rows]))
        return
    lines: list[str] = []
    for row in rows:
        lines += [
            f"{row.id}  {row.state}",
            f"  ticket    {row.system} {row.ticket_id}",
            f"  event     {row.kind}" + (f" by {row.actor}" if row.actor else ""),
            f"  received  {_time(row.received_at)}   priority {row.priority}",
        ]
        if row.next_at:
            lines.append(f"  next try  {_time(row.next_at)}")
        if row.reason:
            lines.append(f"  reason    {row.reason}")
        lines += [
            f"  try {one.number:<5} {_time(one.started_at)}  {one.ended_at - one.started_at:.1f} s  {one.outcome}"
            + (f"  {one.snapshot_id}" if one.snapshot_id else "")
            + (f"  {one.reason}" if one.reason else "")
            for one in tries[row.id]
        ]
        lines.append("")
    emit("\n".join(lines).rstrip() + "\n")


@jobs.command("retry")
@click.argument("deliveries", nargs=-1, metavar="[DELIVERY|TICKET]...")
@click.option("--dead", is_flag=True, help="All dead letters.")
@from_options
@debug_option
def retry_jobs(*, deliveries: tuple[str, ...], dead: bool, where: From) -> None:
    """Try dead, dropped, ignored or waiting deliveries again now."""
    with _ledger(where) as ledger:
        ids = _chosen(ledger, deliveries, dead)
        again = ledger.retry(ids)
    say(f"{len(again):,} queued again" + _rest(len(ids) - len(again), "queued, under way or done already"))


@jobs.command("drop")
@click.argument("deliveries", nargs=-1, metavar="[DELIVERY|TICKET]...")
@click.option("--dead", is_flag=True, help="All dead letters.")
@click.option("--reason", default="dropped by hand", show_default=True, metavar="TEXT", help="Why; it is kept.")
@from_options
@debug_option
def drop_jobs(*, deliveries: tuple[str, ...], dead: bool, reason: str, where: From) -> None:
    """Give deliveries up: queued, waiting or dead ones."""
    with _ledger(where) as ledger:
        ids = _chosen(ledger, deliveries, dead)
        dropped = ledger.drop(ids, reason)
    say(f"{len(dropped):,} dropped" + _rest(len(ids) - len(dropped), "under way or ended already"))


@jobs.command("messages")
@click.option("--state", "states", type=click.Choice(_MESSAGE_STATES), multiple=True, help="Only these; repeatable.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most, newest first.")
@click.option("--retry", "again", metavar="ID", multiple=True, help="Send this one again; repeatable.")
@output_option
@from_options
@debug_option
def list_messages(*, states: tuple[str, ...], limit: int, again: tuple[str, ...], output: str, where: From) -> None:
    """List what was told to chats and webhooks; --retry sends again."""
    from pipeline.service.messages import listed, retry
    from pipeline.service.opened import opened_base

    with opened_base(where.settings(sources=False, service=True)) as base:
        if again:
            queued = retry(base.engine, base.enqueuer.put_message, again)
            say(f"{len(queued):,} queued again" + _rest(len(again) - len(queued), "sent or queued already, or unknown"))
            return
        rows = listed(base.engine, states, limit)
    if output == "json":
        emit(_json([_told(row) for row in rows]))
        return
    head = ("MESSAGE", "WHEN", "TO", "EVENT", "TICKET", "SNAPSHOT", "STATE", "TRIES", "REASON")
    cells = [
        (
            row.id, _time(row.created_at), row.target, row.kind, row.ticket_id, row.snapshot_id, row.state,
            str(row.attempts), row.reason or "",
        )
        for row in rows
    ]  # fmt: skip
    if rows:
        emit(columns(head, cells))
    else:
        say("no such messages" if states else "no messages yet")


def _rest(count: int, why: str) -> str:
    return f"; {count:,} left as they are ({why})" if count else ""


def _chosen(ledger: Ledger, refs: tuple[str, ...], dead: bool) -> list[str]:
    if bool(refs) == dead:
        raise UsageError("name deliveries or tickets, or give --dead for all dead letters")
    if dead:
        return [row.id for row in ledger.listed(("dead",), limit=None)]
    return [row.id for row in _found(ledger, refs)]


def _found(ledger: Ledger, refs: Iterable[str]) -> list[Any]:
    rows: dict[str, Any] = {}
    for ref in refs:
        found = ledger.found(ref)
        if not found:
            raise TicketNotFound(f"there is no delivery and no ticket {ref!r}; `{NAME} jobs list` shows the deliveries")
        rows |= {row.id: row for row in found}
    return list(rows.values())


def _row(row: Any) -> tuple[str, ...]:
    told = (row.reason or "") + (f" (next try {_time(row.next_at)})" if row.next_at else "")
    return (
        row.id, _time(row.received_at), row.system, row.ticket_id, row.kind, row.state, str(row.attempts), told,
    )  # fmt: skip


def _time(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _told(row: Any) -> dict[str, Any]:
    """A row as JSON tells it: times as ISO 8601, no ticket text."""
    told = {key: value for key, value in row._asdict().items() if key not in {"seq", "ticket", "starts"}}
    return {
        key: dt.datetime.fromtimestamp(value, dt.UTC).isoformat() if key.endswith("_at") and value else value
        for key, value in told.items()
    }


def _json(value: Any) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


@contextlib.contextmanager
def _ledger(where: From) -> Iterator[Ledger]:
    from pipeline.service.opened import opened_base

    with opened_base(where.settings(sources=False, service=True)) as base:
        yield base.ledger


def _log_to_stderr(verbose: bool) -> None:
    """One line an event, with its time and zone; a service's log is read by other programs as well."""
    import logging
    import time

    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    ours = logging.getLogger("pipeline")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO if verbose else logging.WARNING)


COMMANDS = (serve, work, poll, jobs)
