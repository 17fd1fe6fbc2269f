"""The desk's answers to what is asked over HTTP, as values; the same functions as the commands' stand behind them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pipeline.desk import enquiry, plain
from pipeline.errors import SnapshotError, TicketNotFound, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.desk.ask import Answers, Direction
    from pipeline.desk.clock import Clocks
    from pipeline.desk.room import Rooms
    from pipeline.desk.section import Answer
    from pipeline.desk.shelf import Shelf
    from pipeline.desk.tasks import Tasks
    from pipeline.service.desk_bodies import Mark
    from pipeline.settings import Settings
    from snapshots.model import CustomerMessage, Portrait, ProblemSnapshot, Questionnaire, Severity
    from snapshots.store import Store


class Wrong(SnapshotError):
    """What was sent cannot be read."""


@dataclass(frozen=True)
class DeskCounter:
    """What the addresses stand on: the settings, the service's database and its store. Threads may ask at once."""

    settings: Settings
    engine: Engine
    store: Store
    clock: Callable[[], float] = time.time
    _asking: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _known: dict[str, Answers] = field(default_factory=dict, repr=False)

    # ---- about one ticket

    def snapshot(self, ref: str) -> ProblemSnapshot:
        """The newest snapshot of a ticket, or the one of that id. Raises as `Store.get` does."""
        return self.store.get(ref)

    def severity(self, ref: str) -> Severity:
        """How grave it is. Raises `UsageError` where nobody graded it."""
        engine = self.engine if self.settings.desk else None
        return enquiry.severity_of_ticket(self.settings, engine, self.snapshot(ref))

    def sentence(self, ref: str) -> CustomerMessage:
        """What its customer may be told. Raises `UsageError` where there is nothing."""
        return enquiry.sentence_of_ticket(self.snapshot(ref))

    def about(self, ref: str) -> Answer:
        """Similar tickets and routing. Raises `UsageError` where no history is configured or indexed."""
        from pipeline.desk.section import open_desk

        snapshot = self.snapshot(ref)
        return open_desk(self.settings).about(snapshot)

    def questions(self, ref: str) -> Questionnaire:
        """What its customer is to be asked. Raises `UsageError` where nobody looked."""
        return enquiry.questions_of_ticket(self.snapshot(ref))

    def portrait(self, ref: str) -> Portrait:
        """What is known of its customer. Raises `UsageError` where it is not asked for."""
        return enquiry.portrait_of_ticket(self.settings, self.snapshot(ref))

    # ---- knowledge

    def shelf(self) -> Shelf:
        """The entries. Raises `UsageError` where no folder is configured, or it is not there."""
        from pipeline.desk.shelf import read_shelf

        return read_shelf(enquiry.knowledge_folder(self.settings))

    def ask(self, text: str, most: int, direction: Direction) -> list[plain.KnownAnswer]:
        """The entries that answer a question, or that an answer is of."""
        from pipeline.tickets.file import guess_language

        answers = self._answers(self.shelf())
        return enquiry.known_answers(self.settings, answers, text, most, direction, guess_language(text))

    def solutions(self, symptom: str) -> list[plain.Solutions]:
        """How a symptom is solved, the cheapest check first."""
        shelf = self.shelf()
        return plain.solutions(enquiry.entries_of_symptom(self._answers(shelf), shelf, symptom))

    def _answers(self, shelf: Shelf) -> Answers:
        """The entries ready to be asked; made anew where one of them has changed."""
        with self._asking:
            if shelf.digest not in self._known:
                made = enquiry.open_answers(self.settings, shelf)
                self._known.clear()
                self._known[shelf.digest] = made
            return self._known[shelf.digest]

    def entries(self) -> list[dict[str, Any]]:
        """All entries by their front matter."""
        shelf = self.shelf()
        return [plain.entry(one, shelf) for one in shelf.entries]

    def entry(self, name: str) -> str:
        """One entry as Markdown. Raises `TicketNotFound`."""
        from pipeline.desk.entry import write_entry

        found = self.shelf().by_id.get(name)
        if found is None:
            raise TicketNotFound(f"there is no entry {name[:60]!r}; /desk/knowledge lists them")
        return write_entry(found)

    def doubts(self) -> plain.Doubts:
        """Entries to be doubted, and files that cannot be read."""
        shelf = self.shelf()
        return plain.doubts(shelf, enquiry.doubts_of(self.settings, shelf, self.tasks.outcomes()))

    def graph(self, form: str, language: Literal["en", "zh"]) -> tuple[str, str]:
        """The knowledge graph as `json-ld`, `graphml` or `svg`, with its media type."""
        from pipeline.desk import graph

        made = graph.build(self.shelf().entries)
        if form == "graphml":
            return graph.to_graphml(made), "application/graphml+xml"
        if form == "svg":
            return graph.to_svg(made, language), "image/svg+xml"
        return msgspec.json.encode(graph.to_json_ld(made)).decode(), "application/ld+json"

    # ---- tasks

    @cached_property
    def tasks(self) -> Tasks:
        """The knowledge tasks; their tables are made where they are missing."""
        from pipeline.desk.tasks import Tasks

        return Tasks(self.engine)

    def opened(self, ref: str, assignee: str) -> plain.KnowledgeTask:
        """The task of a ticket that is solved; it has one, however often it is asked for."""
        made, _ = enquiry.open_task(self.tasks, self.snapshot(ref), assignee, self.clock())
        return plain.task(made)

    def submitted(self, name: str, text: str) -> plain.KnowledgeTask:
        """The task with its entry handed in. Raises `Wrong` for an entry that cannot be read or is not finished."""
        from pipeline.desk.draft import check_finished
        from pipeline.desk.entry import read_entry

        self.tasks.get(name)
        try:
            check_finished(read_entry(text, name))
        except UsageError as error:
            raise Wrong(str(error)) from error
        return plain.task(self.tasks.submit(name, text, self.clock()))

    def accepted(self, name: str, by: str) -> plain.Acceptance:
        """Files the entry of a task. Raises `UsageError` where there is nothing to accept."""
        from pipeline.desk.acceptance import accept_task

        folder = enquiry.knowledge_folder(self.settings)
        done = accept_task(self.tasks, name, folder, self.store, by, self.clock())
        return plain.Acceptance(entry=done.entry.id, verdict=done.verdict)

    def standings(self, days: int) -> list[plain.PersonStanding]:
        """Points and timeliness over the last days."""
        now = self.clock()
        return [plain.standing(one) for one in self.tasks.standings(now, now - days * 86400)]

    # ---- clocks, rooms, the report

    @property
    def _clocks(self) -> Clocks:
        from pipeline.desk.clock import Clocks

        return Clocks(self.engine, enquiry.options_of(self.settings).grading, self.clock)

    def due(self, limit: int) -> list[plain.TicketClock]:
        """Open tickets, the nearest deadline first."""
        return [plain.clock(row) for row in self._clocks.open(limit)]

    def mark(self, given: Mark) -> plain.TicketClock:
        """The ticket's clock after what happened. Raises `TicketNotFound` for one that has none."""
        if (given.event == "assigned") != (given.role is not None):
            raise Wrong("role belongs to assigned: it says whose turn it is")
        if not self._clocks.mark(given.system, given.ticket, given.event, given.by, given.role):
            raise TicketNotFound(
                f"{given.system}:{given.ticket} has no clock: the service has not graded it; /desk/due lists those that have"
            )
        return plain.clock(self._clocks.of(given.system, given.ticket))

    @property
    def rooms(self) -> Rooms:
        """The emergency rooms. Raises `UsageError` where nobody is called to any."""
        from pipeline.desk.room import Rooms

        options = enquiry.options_of(self.settings).grading.room
        if options is None:
            raise UsageError("nobody is called to emergency rooms: add a table [defaults.desk.grading.room]")
        return Rooms(self.engine, options, self.clock)

    def room(self, number: int) -> plain.RoomState:
        """Who was called to a room and answered. Raises `TicketNotFound`."""
        roles, calls, care = self.rooms.of(number)
        if not roles:
            raise TicketNotFound(f"there is no room {number}; /desk/rooms?closed=true lists them")
        return plain.room_state(roles, calls, care)

    def report(self, start: datetime, end: datetime, form: str, language: Literal["en", "zh"]) -> str:
        """The health of tickets in one of the formats of the command. Times without an offset are in the settings' zone, or UTC."""
        from pipeline.desk.report_pages import WRITERS

        zone = self.settings.zone or UTC
        try:
            begun, ended = ((at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC) for at in (start, end))
            enquiry.check_span(begun, ended)
        except (UsageError, OverflowError) as error:
            raise Wrong(str(error)) from error
        return WRITERS[form](enquiry.report_of(self.settings, self.engine, begun, ended), language)
