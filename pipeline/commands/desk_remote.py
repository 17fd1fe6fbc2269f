"""Commands of the desk that ask a customer for logs and show what came of it; `desk` of pipeline/commands/desk.py holds them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.desk_shown import in_minutes, said_in, show_json
from pipeline.commands.options import (
    NAME,
    PATH,
    Asked,
    Duration,
    From,
    asked_options,
    debug_option,
    from_options,
    language_option,
    output_option,
)
from pipeline.commands.tickets import ticket_of_system
from pipeline.console import columns, emit, say, write_file
from pipeline.errors import TicketNotFound, UsageError

if TYPE_CHECKING:
    from pipeline.commands.tickets import Found
    from pipeline.desk.asking import Asked as Request
    from snapshots.render.blocks import Line


@click.command("collect")
@click.argument("ticket", metavar="NAME:ID")
@click.option(
    "--paths",
    multiple=True,
    required=True,
    metavar="GLOB",
    help="A file or glob to ask for, ** for folders; repeatable.",
)
@click.option("--screen", metavar="URL", help="The screen sharing that rides along, in place of the configured one.")
@click.option(
    "--hold",
    type=Duration(math.inf),
    metavar="DURATION",
    help="How long the link is good, such as 8h; link_holds at most.",
)
@click.option("--out", type=PATH, metavar="FILE", help="Write the manifest there; else collect-ID.json.")
@click.option("--note", is_flag=True, help="Put the link on the ticket, as a private note.")
@output_option
@language_option("the ticket's language")
@asked_options
@from_options
@debug_option
def collect(
    *,
    ticket: str,
    paths: tuple[str, ...],
    screen: str | None,
    hold: float | None,
    out: Path | None,
    note: bool,
    output: str,
    language: str,
    asked: Asked,
    where: From,
) -> None:
    """Ask a ticket's customer for logs.

    Makes a signed manifest and its link, and prints what to send. The time is that of the ticket, if no other is given.

    \b
    problem-snapshot desk collect helpdesk:4711 \\
        --paths '/var/log/shop/*.log' --note
    """
    from pipeline.desk.asking import ask_customer
    from pipeline.desk.collections import Collections
    from pipeline.service.opened import opened_base

    settings = where.settings(sources=False, service=True)
    with ticket_of_system(ticket, where, bundled=False) as found:
        if found is None:
            raise UsageError(f"{ticket}: name the ticket as NAME:ID, NAME being a ticket system of the settings")
        span = asked.span(found.ticket, settings)
        with opened_base(settings) as base:
            collections = Collections(base.engine)
            request = ask_customer(
                found.ticket, found.system.name, paths, settings, collections, around=span, screen=screen, holds=hold
            )
        spoken = found.ticket.language if language == "auto" else language
        file = out or Path(f"collect-{request.manifest.id}.json")
        write_file(file, request.signed.decode())
        if note:
            _note(found, request, spoken)
    if output == "json":
        show_json(
            {"id": request.manifest.id, "link": request.link, "desk_key": request.key, "manifest": str(file),
             "expires_at": request.manifest.expires_at, "letter": request.letter}
        )  # fmt: skip
    else:
        emit(said_in(request.letter, spoken))
    say(f"Written: {file}. What comes of {request.manifest.id}: {NAME} desk collections")


def _note(found: Found, request: Request, language: str) -> None:
    from pipeline.attach import attach_lines
    from snapshots.words import language_for

    attached = attach_lines(
        found.system,
        found.id,
        language_for(language),
        f"collect:{request.manifest.id}",
        list(_note_lines(request, language)),
    )
    say(f"On the ticket: {found.system.name} {found.id}" + (f" {attached.url}" if attached.url else ""))


def _note_lines(request: Request, language: str) -> Iterator[Line]:
    """The request as lines of a note. The command is not among them: systems change addresses in a note's text."""
    from pipeline.remote.words import until_text, window_text
    from snapshots.render.blocks import Run, plain, plain_url

    manifest, zh = request.manifest, language == "zh"
    yield (Run("向客户请求日志" if zh else "Logs are asked of the customer", "strong"),)
    yield plain(f"{', '.join(manifest.paths)} · {window_text(manifest)}")
    link = plain_url(request.link)
    before = (
        "请把此链接发给客户，页面说明读取的内容并提供命令："
        if zh
        else "Send the customer this link; its page has the command: "
    )
    yield (*plain(before), Run("收集页面" if zh else "collection page", "link", link))
    yield plain(f"有效期至 {until_text(manifest)}" if zh else f"Good until {until_text(manifest)}")
    if manifest.screen:
        screen = plain_url(manifest.screen)
        yield (Run("屏幕共享" if zh else "Screen sharing", "link", screen),)


@click.command("collections")
@click.argument("ticket", metavar="[NAME:ID]", required=False)
@click.option("--withdraw", metavar="ID", help="Take this request back: its link is of no use any more.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most, newest first.")
@output_option
@from_options
@debug_option
def collections(*, ticket: str | None, withdraw: str | None, limit: int, output: str, where: From) -> None:
    """Show what customers were asked for, and what came.

    With who agreed or refused, when, and what was masked.

    \b
    problem-snapshot desk collections helpdesk:4711
    """
    from pipeline.desk.collections import Collections, told_row
    from pipeline.service.opened import opened_base

    system, _, ticket_id = (ticket or "").partition(":")
    if ticket and not ticket_id:
        raise UsageError(f"{ticket}: name the ticket as NAME:ID")
    with opened_base(where.settings(sources=False, service=True)) as base:
        kept = Collections(base.engine)
        if withdraw is not None:
            if kept.get(withdraw) is None:
                raise TicketNotFound(f"nothing called {withdraw!r} was asked for; `{NAME} desk collections` lists them")
            done = kept.withdraw(withdraw)
            say(f"Withdrawn: {withdraw}" if done else f"{withdraw} stays as it is: it came to its end already")
            return
        rows = kept.listed(system or None, ticket_id or None, limit)
    if output == "json":
        show_json([told_row(row) for row in rows])
        return
    head = ("ID", "TICKET", "ASKED", "GOOD UNTIL", "STATE", "BY", "DECIDED", "MASKED", "REASON")
    cells = [
        (
            row.id, f"{row.system}:{row.ticket_id}", in_minutes(row.issued_at), in_minutes(row.expires_at), row.state,
            row.who or "", row.decided_at or "", _masked(row), row.reason or "",
        )
        for row in rows
    ]  # fmt: skip
    if rows:
        emit(columns(head, cells))
    else:
        say("nothing was asked for yet")


def _masked(row: Any) -> str:
    import msgspec

    found = [msgspec.json.decode(text, type=dict[str, int]) for text in (row.masked, row.masked_again) if text]
    return " + ".join(str(sum(one.values())) for one in found)
