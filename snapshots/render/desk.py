"""What the service desk adds to a document, as rows of a name and a text: in brief for the first screen and the note, and whole.

What a statement rests on stands behind it by its number: (F4, F1) are findings, E3 a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from snapshots.model import (
    CustomerMessage,
    KnowledgeEntry,
    Portrait,
    Questionnaire,
    RoutedHandler,
    Routing,
    SelfService,
    SimilarTicket,
    Text,
)
from snapshots.render.figures import count, percent
from snapshots.render.note_desk import answer_lines
from snapshots.render.reader import Reader

Row = tuple[str, str]
ALIKE = 2
STEPS = 3
_APART = " · "


class DeskRows:
    """The rows of one document, in the reader's language and zone."""

    def __init__(self, reader: Reader) -> None:
        self.read = reader
        self.s = reader.s
        zh = reader.language == "zh"
        self.colon, self.semicolon, self.space = ("：", "；", "") if zh else (": ", "; ", " ")

    def brief(self) -> Iterator[Row]:
        """How grave it is and until when, who takes it, what solved its like, what is known, and what the customer is told."""
        say, text = self.read.say, self.read.text
        if severity := self.s.severity:
            why = self.space.join(text(one.statement) for one in severity.reasons).rstrip(".。")
            told = (f"{severity.level} {why}".strip(), *map(" ".join, self._deadlines()))
            yield say("severity"), _APART.join(told)
        if routing := self.s.routing:
            yield say("routing"), self._taker(routing)
        for row in self.s.similar_tickets[:ALIKE]:
            yield say("similar"), self._solved(row)
        for entry in self.s.knowledge[:1]:
            yield say("knowledge"), self._advice(entry)
        if message := self.s.customer_message:
            yield say("customer_message"), text(message)

    def customer(self) -> Iterator[Row]:
        """What to ask the customer, and what follows from his earlier tickets."""
        if isinstance(self.s.questions, Questionnaire) and self.s.questions.questions:
            yield self.read.say("to_ask"), " ".join(self.read.text(one.ask) for one in self.s.questions.questions)
        if isinstance(self.s.portrait, Portrait):
            for hint in self.s.portrait.hints:
                yield self.read.say("portrait"), _cited(self.read.text(hint.statement), hint.tickets)

    def whole(self) -> Iterator[Row]:
        """Everything, with what each statement rests on."""
        yield from self._severity()
        yield from self._routing()
        yield from self._message()
        yield from ((self.read.say("similar"), self._alike(row)) for row in self.s.similar_tickets)
        yield from ((self.read.say("knowledge"), self._known(row)) for row in self.s.knowledge)
        yield from self._asked()
        yield from self._portrait()
        yield from self._self_service()

    # Severity and routing.

    def _deadlines(self) -> Iterator[Row]:
        """Until when, with its day: a deadline may lie on another one than the incident, and is read on a third."""
        if severity := self.s.severity:
            for name, at in (("respond_by", severity.respond_by), ("resolve_by", severity.resolve_by)):
                if moment := self.read.moment(at):
                    yield self.read.say(name), moment.full

    def _severity(self) -> Iterator[Row]:
        if (severity := self.s.severity) is None:
            return
        said = [_cited(self.read.text(one.statement), one.findings) for one in severity.reasons]
        yield self.read.say("severity"), " ".join([severity.level, *said])
        yield from self._deadlines()

    def _taker(self, routing: Routing) -> str:
        first = next(iter(routing.handlers), None)
        to = routing.lead if routing.abstained or first is None else first.handler
        return self.colon.join(filter(None, (to, self.read.text(routing.reason))))

    def _routing(self) -> Iterator[Row]:
        routing = self.s.routing
        if routing is None:
            return
        yield self.read.say("routing"), self._taker(routing)
        yield from ((self.read.say("handler"), self._handler(one)) for one in routing.handlers)
        yield self.read.say("in_one_line"), self.read.text(routing.line)

    def _handler(self, one: RoutedHandler) -> str:
        first, *rest = one.reasons or [Text(en="", zh="")]
        told = (_cited(self.read.text(first), one.tickets), *map(self.read.text, rest))
        return f"{one.handler} ({one.score:.2f}){self.colon}{self.semicolon.join(filter(None, told))}"

    # What was like it, and what is known.

    def _message(self) -> Iterator[Row]:
        message: CustomerMessage | None = self.s.customer_message
        if message is not None:
            findings = dict.fromkeys(name for clause in message.clauses for name in clause.findings)
            yield self.read.say("customer_message"), _cited(self.read.text(message), findings)

    def _solved(self, row: SimilarTicket) -> str:
        """Which ticket, and how it was solved."""
        again = self.read.say("came_back") if row.reopened else ""
        parts = (f"{row.id} {row.title}".strip(), row.cause or "", row.solution or "", again)
        return _APART.join(filter(None, parts))

    def _alike(self, row: SimilarTicket) -> str:
        why = self.semicolon.join(map(self.read.text, row.reasons))
        return _APART.join(filter(None, (f"{self._solved(row)} ({row.score:.2f})", _cited(why, row.findings))))

    def _advice(self, row: KnowledgeEntry) -> str:
        """An entry with its first steps and the first of what is to be doubted."""
        steps = [f"{number}. {self.read.text(step)}" for number, step in enumerate(row.steps[:STEPS], 1)]
        more = [self.read.say("and_more", count=len(row.steps) - STEPS)] if len(row.steps) > STEPS else []
        doubts = [self.read.text(doubt) for doubt in row.doubts[:1]]
        said = " ".join([*steps, *more, *doubts])
        return (
            f"{self.read.text(row.title)}{self.colon}{said} ({row.id})"
            if said
            else f"{self.read.text(row.title)} ({row.id})"
        )

    def _known(self, row: KnowledgeEntry) -> str:
        """One entry on a line: what it is, why it fits, what to do, what not to do, and what to doubt."""
        why = self.semicolon.join(map(self.read.text, row.reasons))
        steps = " ".join(f"{number}. {self.read.text(step)}" for number, step in enumerate(row.steps, 1))
        rest = (self.read.text(one) for one in (*row.mistakes, *row.doubts))
        head = f"{self.read.text(row.title)} ({row.id}, {row.score:.2f})"
        return _APART.join(filter(None, (head, _cited(why, row.findings), steps, *rest, row.video or "")))

    # The customer.

    def _asked(self) -> Iterator[Row]:
        """Each question with what it comes from, and each answer that was found without asking."""
        made, say = self.s.questions, self.read.say
        if not isinstance(made, Questionnaire):
            return
        for one in made.questions:
            value = say("to_confirm", value=one.value) if one.value else ""
            gaps = self.semicolon.join(map(self.read.text, one.gaps))
            parts = (self.read.text(one.ask), value, _cited(self.read.text(one.why), one.findings), gaps)
            yield say("questions"), _APART.join(filter(None, parts))
        if made.omitted:
            yield say("questions"), say("questions_omitted", count=made.omitted)
        for known in made.known:
            value = " / ".join(known.value.splitlines())
            name = self.read.term(known.id)
            found = _cited(self.read.text(known.found), [e.ref for e in known.evidence])
            yield say("known_answer"), _APART.join(filter(None, (f"{name}{self.colon}{value}", found)))

    def _portrait(self) -> Iterator[Row]:
        made, say = self.s.portrait, self.read.say
        if not isinstance(made, Portrait):
            return
        counts = say("earlier_counts", count=count(made.tickets), open=count(len(made.open)))
        yield say("portrait"), counts if made.tickets else say("earlier_none")
        for hint in made.hints:
            yield say("portrait"), _cited(self.read.text(hint.statement), hint.tickets)
        groups = (made.problems, made.products)
        named = [f"{one.name} ({one.tickets})" for group in groups for one in group] + made.versions
        if named:
            yield say("portrait"), ", ".join(named)
        for one in made.listed:
            state = self.read.clock(one.closed_at) if one.closed_at else ""
            parts = (one.id, one.title, self.read.clock(one.created_at), state, one.category or one.fault_class or "")
            yield say("earlier"), _APART.join(filter(None, parts))
        if made.missing:
            yield say("portrait"), self.semicolon.join(map(self.read.text, made.missing))

    def _self_service(self) -> Iterator[Row]:
        made = self.s.self_service
        if isinstance(made, SelfService):
            said = answer_lines(made, self.read.language)
            share = percent(made.share, self.read.language)
            yield self.read.say("self_service"), " ".join([*said, f"({made.entry}, {share})"])


def _cited(text: str, refs: Iterable[str]) -> str:
    """`text` with the numbers of what it rests on."""
    named = ", ".join(refs)
    return f"{text} ({named})" if named and text else text
