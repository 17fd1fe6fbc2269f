"""What is asked of the desk, by a command or over HTTP: one function a question, over the settings and what is opened by them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from snapshots.words import language_for

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.desk.ask import Answers, Direction
    from pipeline.desk.checks import Flag
    from pipeline.desk.entry import Entry
    from pipeline.desk.options import DeskOptions
    from pipeline.desk.plain import KnownAnswer
    from pipeline.desk.reports import Report
    from pipeline.desk.shelf import Shelf
    from pipeline.desk.tasks import Task, Tasks
    from pipeline.settings import Settings
    from snapshots.model import CustomerMessage, Portrait, ProblemSnapshot, Questionnaire, Severity


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()


def options_of(settings: Settings) -> DeskOptions:
    """The desk's options, or those of one that nobody configured."""
    from pipeline.desk.options import DeskOptions

    return settings.desk or DeskOptions()


# ---- about one ticket


def severity_of_ticket(settings: Settings, engine: Engine | None, snapshot: ProblemSnapshot) -> Severity:
    """How grave the ticket is: with what its storm counts where the service has graded it, else by itself.

    Raises `UsageError` where nobody graded it.
    """
    held = snapshot.severity
    if engine is not None:
        import msgspec

        from pipeline.desk.clock import Clocks
        from snapshots.model import Severity

        row = Clocks(engine, options_of(settings).grading).named(snapshot.ticket.id, snapshot.snapshot_id)
        held = msgspec.json.decode(row.severity, type=Severity) if row else held
    if held is None:
        raise UsageError(f"{snapshot.snapshot_id} has no severity: it was taken without a table [defaults.desk]")
    return held


def sentence_of_ticket(snapshot: ProblemSnapshot) -> CustomerMessage:
    """What the customer may be told. Raises `UsageError` where there is nothing."""
    if snapshot.customer_message is None:
        raise UsageError(
            f"{snapshot.snapshot_id} has no sentence for the customer: no finding has evidence, or it was taken without a "
            "table [defaults.desk]"
        )
    return snapshot.customer_message


def questions_of_ticket(snapshot: ProblemSnapshot) -> Questionnaire:
    """What its customer is to be asked. Raises `UsageError` where nobody looked."""
    from snapshots.model import Questionnaire

    if not isinstance(snapshot.questions, Questionnaire):
        raise UsageError(
            f"{snapshot.snapshot_id} asks nothing: it was taken without a table [defaults.desk.questions]; add one, and take "
            "the snapshot again"
        )
    return snapshot.questions


def portrait_of_ticket(settings: Settings, snapshot: ProblemSnapshot) -> Portrait:
    """What is known of its customer. Raises `UsageError` where it was not asked for, and is not now."""
    from pipeline.desk.portrait import portrait_of
    from snapshots.model import Portrait

    if isinstance(snapshot.portrait, Portrait):
        return snapshot.portrait
    if settings.desk is None or settings.desk.portrait is None:
        raise UsageError(f"{snapshot.snapshot_id} has no portrait, and there is no table [defaults.desk.portrait]")
    customer = snapshot.ticket.customer_id
    # What was masked stands for many.
    return portrait_of(snapshot, settings.desk, settings.store, None if customer and "[" in customer else customer)


# ---- knowledge


def known_answers(
    settings: Settings, answers: Answers, text: str, most: int, direction: Direction, language: str
) -> list[KnownAnswer]:
    """The entries that answer `text`, or that it is an answer of, each with what a customer may get of it."""
    from pipeline.desk import plain
    from pipeline.desk.intake_options import SelfServiceOptions
    from pipeline.desk.self_service import Asked, doubt_of, for_customer

    desk = options_of(settings)
    asked = Asked(text=text, language=language_for(language), at=today(), versions=desk.versions)
    sure = (desk.self_service or SelfServiceOptions()).sure
    # The one after tells how far the first one leads.
    hits = answers.ask(text, max(most, 2), direction)
    found = []
    for place, hit in enumerate(hits[:most]):
        doubt = doubt_of(hits, place, asked, None, sure)
        found.append(plain.answer(hit, plain.Reply(text=None if doubt else for_customer(hit.entry), why_not=doubt)))
    return found


def knowledge_folder(settings: Settings, folder: Path | None = None) -> Path:
    """The folder of entries. Raises `UsageError` where none is named."""
    if folder is not None:
        return folder
    if settings.desk is None or settings.desk.knowledge is None:
        raise UsageError(
            f'nothing says where knowledge lies (profile {settings.profile}): add knowledge = "DIR" to a table [defaults.desk], '
            "or give --folder DIR"
        )
    return Path(settings.desk.knowledge)


def open_answers(settings: Settings, shelf: Shelf) -> Answers:
    """The entries of a shelf, ready to be asked."""
    import platformdirs

    from pipeline.desk.ask import Answers
    from pipeline.desk.meaning import open_meaning
    from pipeline.settings import NAME

    cache = platformdirs.user_cache_path(NAME, appauthor=False) / "knowledge"
    return Answers(shelf, with_meaning=open_meaning(options_of(settings).meaning), cache=cache)


def entries_of_symptom(answers: Answers, shelf: Shelf, symptom: str) -> Sequence[Entry]:
    """The entries of the problem that a symptom is about, its possible causes; none where nothing fits."""
    from pipeline.desk.graph import problem_key

    hits = answers.ask(symptom, 1)
    problem = problem_key(hits[0].entry) if hits and hits[0].fits else ""
    return [entry for entry in shelf.entries if problem_key(entry) == problem]


def doubts_of(settings: Settings, shelf: Shelf, came_back: dict[str, bool]) -> list[Flag]:
    """Which entries are to be doubted today; `came_back` tells of solved tickets whether they were opened again."""
    from pipeline.desk.checks import flags

    return flags(shelf.entries, today(), options_of(settings).versions, came_back)


def open_task(tasks: Tasks, snapshot: ProblemSnapshot, assignee: str, now: float) -> tuple[Task, bool]:
    """The knowledge task of a ticket that is solved, and whether it is new."""
    from pipeline.desk.draft import draft_of

    draft = draft_of(snapshot, assignee, today())
    return tasks.open(snapshot.ticket.system, snapshot.ticket.id, draft, assignee, now)


# ---- the report


def report_of(settings: Settings, engine: Engine, start: datetime, end: datetime) -> Report:
    """The health of tickets from `start` until before `end`, with the knowledge tasks of that time.

    Raises `UsageError` where there is no time between.
    """
    from pipeline.desk import events, reports
    from pipeline.desk.tasks import Tasks

    check_span(start, end)
    end = passed(start, end)
    found = events.read(engine, start.timestamp(), end.timestamp())
    standings = Tasks(engine).standings(end.timestamp(), start.timestamp(), end.timestamp())
    return reports.report(found, start, end, options_of(settings).grading, standings)


def passed(start: datetime, end: datetime) -> datetime:
    """The end of what a report counts: what is open counts until then, and no time that has not passed.

    To the minute, as the report shows it.
    """
    now = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    return min(end, now) if start < now else end


def check_span(start: datetime, end: datetime) -> None:
    """Raises `UsageError` where no time lies between."""
    if start >= end:
        raise UsageError(f"from {start.isoformat()} is not before to {end.isoformat()}")
