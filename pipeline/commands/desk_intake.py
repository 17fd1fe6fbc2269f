"""desk questions and desk portrait: what a customer is asked, and what is known of him."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.commands.desk_shown import said_in, show_json
from pipeline.commands.opened import opened_store
from pipeline.commands.options import From, debug_option, from_options, language_option, output_option
from pipeline.console import emit, say
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from snapshots.model import Portrait, ProblemSnapshot
    from snapshots.words import Language


@click.command("questions")
@click.argument("ticket", metavar="ID|TICKET")
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json", "schema"]),
    default="text",
    show_default=True,
    help="A mail's text, the section, or a JSON Schema.",
)
@click.option("--system", metavar="NAME", help="With a link to the page, for a ticket of [tickets.NAME].")
@language_option("the ticket's language")
@from_options
@debug_option
def questions(*, ticket: str, output: str, system: str | None, language: str, where: From) -> None:
    """Say what to ask the customer of TICKET: only what the diagnosis lacks and nothing else answers.

    \b
    problem-snapshot desk questions TK-1042 -l zh
    problem-snapshot desk questions TK-1042 -o schema
    """
    from pipeline.desk.enquiry import questions_of_ticket
    from pipeline.desk.intake_options import QuestionOptions
    from pipeline.desk.question_forms import as_schema, as_text
    from snapshots.words import language_for

    settings = where.settings(sources=False, service=system is not None)
    with opened_store(settings) as store:
        found = store.get(ticket)
    made = questions_of_ticket(found)
    spoken = language_for(found.ticket.language, language)
    options = (settings.desk and settings.desk.questions) or QuestionOptions()
    if output == "json":
        show_json(made)
        return
    if output == "schema":
        show_json(as_schema(made, spoken, options.max_picture))
        return
    link = _link(found, system, settings, options.hold) if system else ""
    emit(as_text(made, found.ticket.id, spoken, link).rstrip("\n"))
    if made.omitted:
        say(f"{made.omitted:,} more would be asked; desk.questions.most is the limit")


def _link(found: ProblemSnapshot, system: str, settings: Settings, hold: float) -> str:
    """The link to the questions' page. Raises `UsageError` where none can be made."""
    from pipeline.service.question_links import QuestionLinks

    if system not in settings.tickets:
        raise UsageError(f"--system {system}: there is no table [tickets.{system}]")
    link = QuestionLinks(settings.service, hold).questions(system, found.ticket.id, found.snapshot_id)
    if not link:
        raise UsageError("--system: a link needs public_url and secret in the table [service]")
    return link


@click.command("portrait")
@click.argument("ticket", metavar="ID|TICKET")
@output_option
@language_option("the ticket's language")
@from_options
@debug_option
def portrait(*, ticket: str, output: str, language: str, where: From) -> None:
    """Show the customer of TICKET: earlier tickets, problems, products, versions, and the hints that follow.

    \b
    problem-snapshot desk portrait TK-1042
    """
    from pipeline.desk.enquiry import portrait_of_ticket
    from snapshots.words import language_for

    settings = where.settings(sources=False)
    with opened_store(settings) as store:
        found = store.get(ticket)
    made = portrait_of_ticket(settings, found)
    if output == "json":
        show_json(made)
    else:
        emit("\n".join(_portrait_lines(made, language_for(found.ticket.language, language))))


def _portrait_lines(made: Portrait, language: Language) -> list[str]:
    zh = language == "zh"
    if not made.tickets:
        lines = ["该客户没有更早的工单。" if zh else "There is no earlier ticket of this customer."]
    elif zh:
        lines = [f"{made.tickets} 个更早的工单，其中 {len(made.open)} 个未关闭"]
    else:
        lines = [f"{made.tickets} earlier ticket{'s' * (made.tickets != 1)}, {len(made.open)} open"]
    lines += [f"  {said_in(one.statement, language)} ({', '.join(one.tickets)})" for one in made.hints]
    for name, group in (("问题" if zh else "problems", made.problems), ("产品" if zh else "products", made.products)):
        if group:
            lines.append(f"{name}{'：' if zh else ': '}{', '.join(f'{one.name} ({one.tickets})' for one in group)}")
    if made.versions:
        lines.append(f"{'版本：' if zh else 'versions: '}{', '.join(made.versions)}")
    for one in made.listed:
        closed = "" if one.closed_at is None else (" 已关闭" if zh else " closed")
        lines.append(f"{one.created_at[:10]}  {one.id}  {one.title}{closed}")
    return [*lines, *(said_in(one, language) for one in made.missing)]


COMMANDS = (questions, portrait)
