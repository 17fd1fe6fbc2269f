"""Questions and answers inside a job: the link that the note carries, the answers in the ticket, and the note that tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.desk.answers import with_answers
from pipeline.desk.question_table import read_questions_file
from pipeline.redact import KEPT
from pipeline.tickets.system import File, Note
from snapshots.model import Questionnaire
from snapshots.render.blocks import Blocks, Line, Links, Part, Run, plain, plain_url
from snapshots.render.clean import clean_text, one_line
from snapshots.render.note import marker_of, prose, write
from snapshots.render.note_desk import answer_blocks
from snapshots.words import Language, label, language_for, text_in

if TYPE_CHECKING:
    from pipeline.desk.intake_options import QuestionOptions
    from pipeline.desk.question_table import Asked
    from pipeline.desk.replies import Held, Replies
    from pipeline.service.question_links import QuestionLinks
    from pipeline.settings import Settings
    from pipeline.tickets.system import TicketSystem
    from pipeline.values import Ticket
    from snapshots.model import ProblemSnapshot

# Characters of one answer that the note shows; the whole is in the ticket's next snapshot.
_LONGEST = 2_000


@dataclass(frozen=True)
class Asking:
    """What a job needs of it."""

    options: QuestionOptions
    links: QuestionLinks
    replies: Replies

    def answered(self, system: str, ticket_id: str, ticket: Ticket) -> Ticket:
        """The ticket with what its customer answered."""
        return with_answers(ticket, self.replies.held(system, ticket_id).answers)

    def linked(self, links: Links, system: str, ticket_id: str, snapshot: ProblemSnapshot) -> Links:
        """The note's links with that to the questions, where there are any."""
        made = snapshot.questions
        if not isinstance(made, Questionnaire) or not made.questions:
            return links
        return replace(links, intake=self.links.questions(system, ticket_id, snapshot.snapshot_id))

    def attach(
        self, system: TicketSystem, ticket_id: str, snapshot: ProblemSnapshot, settings: Settings
    ) -> tuple[str, ...]:
        """Puts the customer's answers on the ticket as a private note of their own, redacted; once for each reply.

        Raises as `TicketSystem.attach` does. Gives what is to be logged.
        """
        held = self.replies.held(system.name, ticket_id)
        if held.noted:
            return ()
        language = language_for(snapshot.ticket.language)
        # A note that cannot be changed is a new one for each reply.
        name = f"{ticket_id}\0answers" if system.edits else f"{ticket_id}\0answers\0{held.last}"
        marker = marker_of(system.name, name)
        told = tuple(self._told(system.name, ticket_id, snapshot, held, settings, language))
        when = datetime.fromtimestamp(held.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        part = Part("answers", label("answered", language), answer_blocks(told, when, language))
        body = write(Blocks(language, (part,)), system.form, marker)
        files = tuple(self._files(system.name, ticket_id, held))
        attached = system.attach(
            ticket_id, Note(snapshot_id="", marker=marker, bodies={system.form: body}, files=files)
        )
        self.replies.noted(system.name, ticket_id, held.last)
        return attached.notes

    def _told(
        self, system: str, ticket_id: str, snapshot: ProblemSnapshot, held: Held, settings: Settings, language: Language
    ) -> Iterator[tuple[str, Line]]:
        # As in the document.
        allow = [one.value for one in snapshot.scope.identifiers if one.kind in KEPT]
        redactor = settings.redaction.redactor(allow)
        table = read_questions_file(self.options.file)
        asked = {one.id: one for one in table.questions}
        pictured = next((one.id for one in table.questions if one.kind == "picture"), "")
        for name, value in held.answers.items():
            if name == pictured and held.pictures:
                continue
            text = "; ".join(value) if isinstance(value, list) else str(value)
            shown = redactor.redact_value({name: _label(asked.get(name), text, language)})[name]
            # What a customer wrote stays text, as what logs hold does.
            yield _ask(asked, name, language), plain(prose(one_line(clean_text(str(shown))), _LONGEST))
        for picture in held.pictures:
            link = plain_url(self.links.picture(system, ticket_id, picture.sha256))
            shown_as = f"{picture.name} ({picture.size:,} B)"
            line = (Run(shown_as, "link", link),) if link else plain(shown_as)
            yield _ask(asked, pictured or "picture", language), line

    def _files(self, system: str, ticket_id: str, held: Held) -> Iterator[File]:
        for one in held.pictures:
            found = self.replies.picture(system, ticket_id, one.sha256)
            if found is not None:
                yield File(one.name, one.media_type, found[1])


def _ask(asked: Mapping[str, Asked], name: str, language: Language) -> str:
    return text_in(asked[name].ask, language) if name in asked else name


def _label(asked: Asked | None, value: str, language: Language) -> str:
    """What a choice's value is called."""
    options = asked.options if asked else ()
    return next((text_in(one.label, language) for one in options if one.value == value), value)
