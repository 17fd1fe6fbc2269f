"""`problem-snapshot desk ...`: tickets like one, who should take it, what is known, how grave it is, and by when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.desk_grading import COMMANDS
from pipeline.commands.desk_intake import COMMANDS as INTAKE
from pipeline.commands.desk_knowledge import ask, knowledge
from pipeline.commands.desk_remote import collect, collections
from pipeline.commands.desk_sentence import sentence
from pipeline.commands.desk_shown import said_in, show_json
from pipeline.commands.desk_tasks import tasks
from pipeline.commands.opened import opened_store
from pipeline.commands.options import From, debug_option, from_options, language_option, output_option
from pipeline.console import emit, say
from pipeline.errors import TicketNotFound

if TYPE_CHECKING:
    from pipeline.desk.section import Answer, Desk
    from pipeline.settings import Settings
    from snapshots.model import RoutedHandler, SimilarTicket


@click.group("desk")
def desk() -> None:
    """What the service desk does around a snapshot: similar tickets, routing, knowledge, questions, deadlines.

    \b
    problem-snapshot desk index                 read the history that [defaults.desk] names
    problem-snapshot desk similar TK-1042       what was like it, and how that was solved
    problem-snapshot desk route TK-1042         who should take it, and why
    problem-snapshot desk ask "the card expired"        what is known about it
    problem-snapshot desk tasks list                    what solved tickets are still to teach
    problem-snapshot desk severity TK-1042              how grave it is, and why
    problem-snapshot desk sentence TK-1042              what its customer may be told
    problem-snapshot desk due                           which ticket to take first
    problem-snapshot desk questions TK-1042             what to ask the customer
    problem-snapshot desk portrait TK-1042              what is known of him
    problem-snapshot desk collect helpdesk:4711 ...     ask the customer for logs
    """


for _command in (ask, knowledge, tasks, collect, collections, sentence, *COMMANDS, *INTAKE):
    desk.add_command(_command)


@desk.command("index")
@from_options
@debug_option
def make(*, where: From) -> None:
    """Index the closed tickets, with what the store's snapshots say of them, and learn their queues.

    What people wrote is redacted before it is indexed. Run it again when tickets were closed, such as every night.

    \b
    problem-snapshot desk index --profile prod
    """
    from pipeline.desk.history import read_history
    from pipeline.desk.section import desk_of, history_file, index_folder, make_index, marks_in

    settings = where.settings(sources=False)
    options = desk_of(settings)
    ids = read_history(history_file(options), options.columns)["id"].to_pylist()
    with opened_store(settings) as store:
        said = marks_in(store, ids)
    facts, model = make_index(settings, said, say if where.verbose else lambda _: None)
    meaning = "with meaning" if facts.meaning else "without meaning (the extra `meaning` is not installed, or off)"
    learnt = f"{len(model.names):,} categories learnt from {model.tickets:,}" if model else "too few to learn from"
    say(
        f"Written: {index_folder(options)} ({facts.closed:,} closed tickets and {facts.tickets - facts.closed:,} open ones, "
        f"{facts.with_snapshot:,} with a snapshot, {meaning}; {learnt}; {facts.masked:,} texts had something masked)"
    )


@desk.command("similar")
@click.argument("ticket")
@output_option
@language_option("the ticket's language")
@from_options
@debug_option
def similar(*, ticket: str, output: str, language: str, where: From) -> None:
    """Show closed tickets like TICKET, why they are alike, and how each was solved.

    TICKET is that of a stored snapshot, a snapshot's file, or a ticket.json, which is compared by its words alone.

    \b
    problem-snapshot desk similar TK-1042 -l en
    """
    answer, spoken = _asked(ticket, where.settings(sources=False), language)
    _show(answer.similar, output, _similar_lines(answer.similar, spoken))


@desk.command("route")
@click.argument("ticket")
@output_option
@language_option("the ticket's language")
@from_options
@debug_option
def route(*, ticket: str, output: str, language: str, where: From) -> None:
    """Say who should take TICKET and why, or that its lead should decide.

    \b
    problem-snapshot desk route TK-1042 -o json
    """
    answer, spoken = _asked(ticket, where.settings(sources=False), language)
    _show(answer.routing, output, _route_lines(answer, spoken))


def _asked(ticket: str, settings: Settings, language: str) -> tuple[Answer, str]:
    """What the desk knows of the ticket that the argument names, and the language to say it in."""
    from pipeline.desk.section import open_desk

    opened = open_desk(settings)
    path = Path(ticket)
    if path.suffix == ".json" and path.is_file():
        answer, own = _of_file(opened, path)
    else:
        with opened_store(settings) as store:
            try:
                snapshot = store.get(ticket)
            except TicketNotFound as error:
                raise TicketNotFound(f"{error}; take one first, or give the path of a ticket.json") from error
        answer, own = opened.about(snapshot), snapshot.ticket.language
    return answer, own if language == "auto" else language


def _of_file(opened: Desk, path: Path) -> tuple[Answer, str]:
    import msgspec

    from pipeline.desk.history import text_of
    from pipeline.tickets.file import read_ticket
    from snapshots.model import read_snapshot

    data = path.read_bytes()
    try:
        snapshot = read_snapshot(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        found = read_ticket(data, str(path), say)
        text = text_of(found.title, found.description)
        return opened.about_text(found.id, found.title, text, found.created_at), found.language
    return opened.about(snapshot), snapshot.ticket.language


def _show(value: object, output: str, lines: Sequence[str]) -> None:
    if output == "json":
        show_json(value)
    else:
        emit("\n".join(lines))


def _similar_lines(found: Sequence[SimilarTicket], language: str) -> list[str]:
    zh = language == "zh"
    if not found:
        return ["没有相似的已关闭工单" if zh else "No closed ticket is like this one."]
    lines: list[str] = []
    for one in found:
        lines.append(f"{one.id}  {one.score:.2f}  {one.title}")
        lines += [f"    {said_in(reason, language)}" for reason in one.reasons]
        if one.cause:
            lines.append(f"    {'原因：' if zh else 'cause: '}{one.cause}")
        again = ("（后来重新打开）" if zh else " (it came back)") if one.reopened else ""
        lines.append(f"    {'解决：' if zh else 'solved: '}{one.solution or '-'}{again}")
    return lines


def _route_lines(answer: Answer, language: str) -> list[str]:
    routing, zh = answer.routing, language == "zh"
    to = routing.lead if routing.abstained else (routing.handlers[0].handler if routing.handlers else None)
    lines = [f"{'分派给：' if zh else 'To: '}{to or ('负责人（未配置）' if zh else 'the lead (none is configured)')}"]
    lines.append(said_in(routing.reason, language))
    for one in routing.handlers:
        lines += _handler_lines(one, language)
    return [*lines, said_in(routing.line, language)]


def _handler_lines(one: RoutedHandler, language: str) -> list[str]:
    return [f"  {one.handler}  {one.score:.2f}", *(f"      {said_in(reason, language)}" for reason in one.reasons)]
