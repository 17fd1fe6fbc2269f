"""Commands of the desk for severity, clocks, emergency rooms and reports; `desk` of pipeline/commands/desk.py holds them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.desk_shown import in_minutes, show_json
from pipeline.commands.opened import opened_store
from pipeline.commands.options import NAME, From, debug_option, from_options, language_option, output_option
from pipeline.console import columns, emit, say, write_file
from pipeline.desk.enquiry import (
    check_span,
    options_of,
    passed,
    report_of,
    severity_of_ticket,
)
from pipeline.errors import TicketNotFound, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.desk.grading_options import GradingOptions
    from pipeline.settings import Settings
    from snapshots.model import ProblemSnapshot, Severity


@click.command("severity")
@click.argument("snapshot", metavar="ID|TICKET")
@output_option
@language_option("the ticket's language")
@from_options
@debug_option
def severity(*, snapshot: str, output: str, language: str, where: From) -> None:
    """Show how grave a ticket is and why: by itself, and with what its storm counts where the service has graded it.

    \b
    problem-snapshot desk severity TK-1042
    """
    settings = where.settings(sources=False, service=True)
    with opened_store(settings) as store:
        found = store.get(snapshot)
    if settings.desk is None:
        held = severity_of_ticket(settings, None, found)
    else:
        with _engine(settings) as (engine, _):
            held = severity_of_ticket(settings, engine, found)
    if output == "json":
        show_json(held)
    else:
        emit("\n".join(_severity_lines(found, held, language, settings.zone)))


def _severity_lines(found: ProblemSnapshot, held: Severity, language: str, zone: dt.tzinfo | None) -> list[str]:
    """The severity that holds; its times in `zone`, or in the ticket's own, as other outputs show them."""
    from snapshots.render.reader import Reader
    from snapshots.render.view import ticket_zone
    from snapshots.words import language_for

    reader = Reader(found, language_for(found.ticket.language, language), zone or ticket_zone(found))
    head = [held.level, found.ticket.id]
    for name, at in (("respond_by", held.respond_by), ("resolve_by", held.resolve_by)):
        if moment := reader.moment(at):
            head.append(f"{reader.say(name)} {moment.full}")
    return ["  ".join(head), *(f"  {reader.text(one.statement)}{_cited(one.findings)}" for one in held.reasons)]


def _cited(findings: list[str]) -> str:
    return f" ({', '.join(findings)})" if findings else ""


@click.command("due")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
@output_option
@from_options
@debug_option
def due(*, limit: int, output: str, where: From) -> None:
    """List the open tickets, the one whose deadline is nearest first: take that one.

    \b
    problem-snapshot desk due
    """
    from pipeline.desk import plain
    from pipeline.desk.clock import Clocks

    with _engine(where.settings(sources=False, service=True)) as (engine, options):
        rows = list(Clocks(engine, options).open(limit))
    if output == "json":
        show_json([plain.clock(row) for row in rows])
        return
    head = ("LEVEL", "TICKET", "SYSTEM", "ANSWER BY", "SOLVE BY")
    cells = [
        (row.level, row.ticket_id, row.system, "answered" if row.responded_at else in_minutes(row.respond_by), in_minutes(row.resolve_by))
        for row in rows
    ]  # fmt: skip
    emit(columns(head, cells) if cells else "")
    say(f"{len(rows):,} open")


MARKS = ("assigned", "responded", "waiting", "continued", "resolved", "reopened")


@click.command("mark")
@click.argument("event", type=click.Choice(MARKS))
@click.argument("ticket", metavar="SYSTEM:TICKET")
@click.option("--by", "who", metavar="NAME", help="Who did it.")
@click.option("--role", metavar="ROLE", help="Whose turn it is now, such as a queue; for assigned.")
@from_options
@debug_option
def mark(*, event: str, ticket: str, who: str | None, role: str | None, where: From) -> None:
    """Write down what happened to a ticket: an answer or a solution stops its clock.

    Ticket systems that remember it themselves (docs/desk.md) are asked; this is for the others.

    \b
    problem-snapshot desk mark responded helpdesk:4711 --by li
    problem-snapshot desk mark assigned helpdesk:4711 --role payments
    """
    from pipeline.desk.clock import Clocks

    system, _, ticket_id = ticket.partition(":")
    if not ticket_id:
        raise UsageError(f"{ticket!r} is no SYSTEM:TICKET, such as helpdesk:4711")
    if (event == "assigned") != (role is not None):
        raise UsageError("--role belongs to assigned: it says whose turn it is")
    what: Any = event
    with _engine(where.settings(sources=False, service=True)) as (engine, options):
        known = Clocks(engine, options).mark(system, ticket_id, what, who, role)
    if not known:
        raise TicketNotFound(
            f"{ticket} has no clock: the service has not graded it; `{NAME} desk due` lists those that have"
        )
    say(f"{ticket}: {event}")


# ---- emergency rooms


@click.group("room")
def room() -> None:
    """Emergency rooms of P1 tickets: who was called, who answered, which customers wait.

    \b
    problem-snapshot desk room list
    problem-snapshot desk room ack 3 technology --by li
    """


@room.command("list")
@click.option("--all", "closed", is_flag=True, help="Closed ones as well.")
@output_option
@from_options
@debug_option
def list_rooms(*, closed: bool, output: str, where: From) -> None:
    """List the open rooms, newest first."""
    from pipeline.desk import plain

    with _rooms(where) as rooms:
        rows = rooms.listed(closed=closed)
    if output == "json":
        show_json([plain.room(row) for row in rows])
        return
    head = ("ROOM", "OPENED", "SYSTEM", "TICKET", "CLOSED")
    cells = [
        (str(r.id), in_minutes(r.opened_at), r.system, r.ticket_id, in_minutes(r.closed_at) if r.closed_at else "")
        for r in rows
    ]
    emit(columns(head, cells) if cells else "")


@room.command("show")
@click.argument("number", type=int)
@output_option
@from_options
@debug_option
def show_room(*, number: int, output: str, where: From) -> None:
    """Show who was called and answered, and the customer-care list with what each may be told."""
    from pipeline.desk import plain

    with _rooms(where) as rooms:
        roles, calls, care = rooms.of(number)
    if not roles:
        raise TicketNotFound(f"there is no room {number}; `{NAME} desk room list --all` shows them")
    if output == "json":
        show_json(plain.room_state(roles, calls, care))
        return
    lines = []
    for role in roles:
        said = (
            f"acknowledged by {role.acknowledged_by} {in_minutes(role.acknowledged_at)}"
            if role.acknowledged_at
            else "no answer yet"
        )
        above = f"; escalated {in_minutes(role.escalated_at)}" if role.escalated_at else ""
        lines.append(f"{role.role}: {said}{above}")
        lines += [f"    {in_minutes(c.called_at)}  {c.person}" for c in calls if c.role == role.role]
    lines.append("Customers:")
    for row in care:
        told = f"told {in_minutes(row.told_at)}" if row.told_at else "not told"
        lines += [f"    {row.system}:{row.ticket_id}  {row.customer or '-'}  {told}"]
        lines += [f"        {text}" for text in (row.zh, row.en) if text]
    emit("\n".join(lines))


@room.command("ack")
@click.argument("number", type=int)
@click.argument("role", type=click.Choice(["technology", "product", "operations"]))
@click.option("--by", required=True, metavar="NAME", help="Who answers.")
@from_options
@debug_option
def acknowledge(*, number: int, role: str, by: str, where: From) -> None:
    """Answer a call for a role: nobody else of it is called."""
    with _rooms(where) as rooms:
        if not rooms.acknowledge(number, role, by):
            raise TicketNotFound(f"there is no room {number}; `{NAME} desk room list` shows the open ones")
    say(f"room {number}: {role} acknowledged by {by}")


@room.command("told")
@click.argument("number", type=int)
@click.argument("ticket", metavar="SYSTEM:TICKET")
@from_options
@debug_option
def told(*, number: int, ticket: str, where: From) -> None:
    """Write down that the customer of a ticket was told."""
    system, _, ticket_id = ticket.partition(":")
    with _rooms(where) as rooms:
        if not rooms.cared(number, system, ticket_id):
            raise TicketNotFound(
                f"{ticket} is not on the list of room {number}; `{NAME} desk room show {number}` shows it"
            )
    say(f"room {number}: {ticket} told")


@room.command("close")
@click.argument("number", type=int)
@from_options
@debug_option
def close_room(*, number: int, where: From) -> None:
    """Close a room."""
    with _rooms(where) as rooms:
        if not rooms.close(number):
            raise TicketNotFound(f"there is no open room {number}; `{NAME} desk room list` shows them")
    say(f"room {number}: closed")


# ---- report


@click.command("report")
@click.option(
    "--from", "start", required=True, metavar="TIME", help="From when, such as 2026-11-01 or 2026-11-01T09:00+08:00."
)
@click.option("--to", "end", required=True, metavar="TIME", help="Until before when.")
@click.option(
    "--events", type=click.Path(path_type=Path), metavar="CSV", help="Events of another desk instead of the service's."
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(["md", "html", "csv", "json"]),
    default="md",
    show_default=True,
    help="The format.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE instead of stdout.")
@click.option(
    "--language", "-l", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of the report."
)
@from_options
@debug_option
def report(
    *, start: str, end: str, events: Path | None, output: str, out: Path | None, language: Any, where: From
) -> None:
    """Report the health of tickets: time by stage, who holds them, hand-overs, what came back, in time or not.

    Times without an offset are in the zone of the settings, or UTC. csv has a line for each ticket.

    \b
    problem-snapshot desk report --from 2026-11-01 --to 2026-12-01 -o html --out november.html
    """
    from pipeline.desk import events as desk_events
    from pipeline.desk import report_pages, reports

    settings = where.settings(sources=False, service=True)
    begun, ended = (_moment(name, text, settings.zone) for name, text in (("--from", start), ("--to", end)))
    check_span(begun, ended)
    if events is not None:
        ended = passed(begun, ended)
        found = [one for one in desk_events.read_events(events) if one.at < ended.timestamp()]
        made = reports.report(found, begun, ended, options_of(settings).grading)
    else:
        with _engine(settings) as (engine, _):
            made = report_of(settings, engine, begun, ended)
    text = report_pages.WRITERS[output](made, language)
    if out is None:
        emit(text)
    else:
        write_file(out, text)
        say(f"Written: {out} ({len(made.lives):,} tickets)")


def _moment(option: str, text: str, zone: dt.tzinfo | None) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is no time; write 2026-11-01 or 2026-11-01T09:00+08:00") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone or dt.UTC)).astimezone(dt.UTC)


@contextmanager
def _engine(settings: Settings) -> Iterator[tuple[Engine, GradingOptions]]:
    from pipeline.service.opened import opened_base

    with opened_base(settings) as base:
        yield base.engine, options_of(settings).grading


@contextmanager
def _rooms(where: From) -> Iterator[Any]:
    from pipeline.desk.room import Rooms

    with _engine(where.settings(sources=False, service=True)) as (engine, options):
        if options.room is None:
            raise UsageError(
                "nobody is called to emergency rooms: add a table [defaults.desk.grading.room] with technology, product, "
                f"operations and last; `{NAME} init` shows it"
            )
        yield Rooms(engine, options.room)


COMMANDS = (severity, due, mark, room, report)
