"""desk tasks: what solved tickets teach, from the task to the entry."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.desk_knowledge import folder_option, known_faults
from pipeline.commands.desk_shown import in_minutes, show_json
from pipeline.commands.opened import opened_store
from pipeline.commands.options import PATH, From, debug_option, from_options, output_option
from pipeline.console import columns, emit, say
from pipeline.desk.enquiry import knowledge_folder, open_task
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.desk.tasks import Reminder, Tasks
    from pipeline.settings import Settings

_STATES = ("open", "postponed", "submitted", "accepted", "dropped")
by_option = click.option("--by", metavar="NAME", help="Who decides; the name of the account by default.")


def opened_tasks(settings: Settings) -> Tasks:
    """The tasks in the service's database."""
    from pipeline.desk.tasks import Tasks
    from pipeline.service.database import opened

    return Tasks(opened(settings.service.database_url))


def outcomes_of(settings: Settings) -> dict[str, bool]:
    """Ticket -> whether it came back after it was solved. A database that is not there yet is not made for that."""
    url = settings.service.database_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return {}
    return opened_tasks(settings).outcomes()


def _tasks(where: From) -> Tasks:
    return opened_tasks(where.settings(sources=False, service=True))


@click.group()
def tasks() -> None:
    """Knowledge tasks: a solved ticket's cause, solution and prevention, written down within 48 hours.

    The service opens the task of a ticket that it sees solved, and reminds; `open` is for the others.

    \b
    problem-snapshot desk tasks open TK-1042 --to wang     the ticket is solved
    problem-snapshot desk tasks show kt-... > entry.md     what the snapshot knows is filled in
    problem-snapshot desk tasks submit kt-... entry.md
    problem-snapshot desk tasks accept kt-...              tests its signature and files the entry
    """


@tasks.command("open")
@click.argument("ticket")
@click.option("--to", "assignee", required=True, metavar="NAME", help="Who solved it and writes the entry.")
@from_options
@debug_option
def open_(*, ticket: str, assignee: str, where: From) -> None:
    """Open the task of TICKET, which is solved now. A ticket has one task, however often this is called."""
    settings = where.settings(sources=False, service=True)
    with opened_store(settings) as store:
        snapshot = store.get(ticket)
    task, new = open_task(opened_tasks(settings), snapshot, assignee, time.time())
    emit(task.id)
    say(f"{'Opened' if new else 'Is open already'}: {task.id} for {assignee}, due {in_minutes(task.due_at)}")


@tasks.command("list")
@click.option("--state", type=click.Choice(_STATES), multiple=True, help="Only tasks in this state.")
@output_option
@from_options
@debug_option
def list_(*, state: tuple[str, ...], output: str, where: From) -> None:
    """List tasks, those due first."""
    from pipeline.desk import plain

    found = _tasks(where).listed(state)
    if output == "json":
        show_json([plain.task(task) for task in found])
        return
    now = time.time()
    rows = [
        (
            task.id,
            task.state + (" late" if task.submitted_at is None and task.due_at < now else ""),
            task.assignee,
            in_minutes(task.due_at),
            task.ticket_id,
        )
        for task in found
    ]
    emit(columns(("id", "state", "for", "due", "ticket"), rows))


@tasks.command()
@click.argument("task")
@from_options
@debug_option
def show(*, task: str, where: From) -> None:
    """Print the entry of TASK as Markdown, to be finished in an editor."""
    emit(_tasks(where).get(task).text)


@tasks.command()
@click.argument("task")
@click.argument("file", type=PATH)
@from_options
@debug_option
def submit(*, task: str, file: Path, where: From) -> None:
    """Hand in the entry in FILE."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from error
    done = _tasks(where).submit(task, text, time.time())
    say(f"Handed in: {task}, {'in time' if (done.submitted_at or 0) <= done.due_at else 'late'}")


@tasks.command()
@click.argument("task")
@click.option("--labels", type=PATH, metavar="FILE", help="Confirmed faults of old tickets, as `backtest` takes them.")
@folder_option
@by_option
@from_options
@debug_option
def accept(*, task: str, labels: Path | None, folder: Path | None, by: str | None, where: From) -> None:
    """Accept what was handed in: test its signature against the store's snapshots, and put the entry into the folder."""
    from pipeline.desk.acceptance import accept_task

    settings = where.settings(sources=False, service=True)
    place = knowledge_folder(settings, folder)
    known = known_faults(labels) if labels else {}
    with opened_store(settings) as store:
        done = accept_task(opened_tasks(settings), task, place, store, by or getpass.getuser(), time.time(), known)
    say(f"Accepted: {done.entry.id} in {done.path}")
    say(done.verdict)


@tasks.command("return")
@click.argument("task")
@click.argument("why")
@by_option
@from_options
@debug_option
def return_(*, task: str, why: str, by: str | None, where: From) -> None:
    """Give what was handed in back to its writer, and say WHY."""
    _tasks(where).give_back(task, why, by or getpass.getuser(), time.time())
    say(f"Returned: {task}")


@tasks.command()
@click.argument("task")
@click.argument("why")
@by_option
@from_options
@debug_option
def drop(*, task: str, why: str, by: str | None, where: From) -> None:
    """Nothing is to be learnt from this ticket: say WHY."""
    _tasks(where).drop(task, why, by or getpass.getuser(), time.time())
    say(f"Dropped: {task}")


@tasks.command()
@click.argument("ticket")
@click.option("--system", default="file", show_default=True, metavar="NAME", help="The ticket's system.")
@from_options
@debug_option
def reopened(*, ticket: str, system: str, where: From) -> None:
    """Note that TICKET came back after it was solved: its entry's solution is doubted once more of them do."""
    if not _tasks(where).reopened(system, ticket, time.time()):
        raise UsageError(f"{ticket} of {system} has no knowledge task; --system names another ticket system")
    say(f"Noted: {ticket} came back")


@tasks.command()
@from_options
@debug_option
def remind(*, where: From) -> None:
    """Print the reminders that are due, one JSON object a line, each once.

    The service sends them itself. Without it, run this every few minutes, and pipe it on.
    """
    import msgspec

    from pipeline.desk import plain

    def send(reminder: Reminder) -> None:
        told = {"step": reminder.step, **msgspec.to_builtins(plain.task(reminder.task))}
        emit(msgspec.json.encode(told).decode())

    sent = _tasks(where).remind(time.time(), send)
    say(f"Reminders: {len(sent):,}")


@tasks.command()
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="So far back.")
@output_option
@from_options
@debug_option
def report(*, days: int, output: str, where: From) -> None:
    """Show each person's tasks, how many were handed in in time, and points."""
    from pipeline.desk import plain

    now = time.time()
    found = _tasks(where).standings(now, now - days * 86400)
    if output == "json":
        show_json([plain.standing(one) for one in found])
        return
    rows = [
        (
            s.person,
            str(s.points),
            str(s.tasks),
            str(s.in_time),
            str(s.late),
            str(s.missing),
            "-" if s.timeliness is None else f"{s.timeliness:.0%}",
        )
        for s in found
    ]
    emit(columns(("person", "points", "tasks", "in time", "late", "missing", "timeliness"), rows))
