"""What a note says for the desk: what to ask the customer, what is known of him, and the answer that can be sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from snapshots.model import Portrait, ProblemSnapshot, Questionnaire, SelfService, Severity
from snapshots.render.blocks import Block, Heading, Items, Line, Paragraph, Part, Run, plain
from snapshots.render.figures import count
from snapshots.words import Language, label, text_in

HINTS = 3
ASKED = 4


def desk_part(
    snapshot: ProblemSnapshot,
    language: Language,
    intake: str,
    prose: Callable[[str], str],
    clock: Callable[[str], str],
) -> Part:
    """The desk's part, without blocks where there is nothing to say; `intake` leads to the questions' page, `clock` writes times."""
    items = [
        *_graded(snapshot.severity, language, prose, clock),
        *_asked(snapshot.questions, language, intake, prose),
        *_known(snapshot.portrait, language, prose),
    ]
    name = label("desk_part", language)
    blocks: tuple[Block, ...] = (Heading(plain(name)), Items(tuple(items))) if items else ()
    if isinstance(snapshot.self_service, SelfService):
        blocks = (*blocks, *_answer(snapshot.self_service, language, prose))
    return Part("desk", name, blocks)


def answer_blocks(told: Iterable[tuple[str, Line]], when: str, language: Language) -> tuple[Block, ...]:
    """What a customer answered: question and answer, and when it came."""
    items = tuple(((Run(name, "strong"),), answer) for name, answer in told)
    received = plain(label("answered_at", language, when=when))
    return (Heading(plain(label("answered", language)), 1), Items(items), Paragraph((received,), small=True))


def answer_lines(made: SelfService, language: Language) -> list[str]:
    """The answer in the language; in the other one where the entry of knowledge has but that."""
    return (made.zh or made.en) if language == "zh" else (made.en or made.zh)


def _graded(
    made: Severity | None, language: Language, prose: Callable[[str], str], clock: Callable[[str], str]
) -> list[tuple[Line, ...]]:
    """The level with its reasons, and until when an answer and an end are due."""
    if made is None:
        return []
    colon, space = ("：", "") if language == "zh" else (": ", " ")
    said = space.join(text_in(one.statement, language) for one in made.reasons)
    due = [
        (label(name, language), clock(at))
        for name, at in (("respond_by", made.respond_by), ("resolve_by", made.resolve_by))
    ]
    when = ("，" if language == "zh" else ", ").join(f"{name}{colon}{at}" for name, at in due)
    level: Line = (Run(label("severity", language), "strong"), Run(f"{colon}{made.level}"))
    return [(level, plain(prose(said)), plain(when))]


def _asked(
    made: Questionnaire | object, language: Language, intake: str, prose: Callable[[str], str]
) -> list[tuple[Line, ...]]:
    if not isinstance(made, Questionnaire) or not made.questions:
        return []
    lines: list[Line] = [(Run(label("to_ask", language), "strong"),)]
    lines += [plain(prose(text_in(one.ask, language))) for one in made.questions[:ASKED]]
    lines += _more(len(made.questions) - ASKED, language)
    lines += [(Run(label("intake_link", language), "link", intake),)] if intake else []
    return [tuple(lines)]


def _known(made: Portrait | object, language: Language, prose: Callable[[str], str]) -> list[tuple[Line, ...]]:
    if not isinstance(made, Portrait) or not made.tickets:
        return []
    counts = label("earlier_counts", language, count=count(made.tickets), open=count(len(made.open)))
    colon = "：" if language == "zh" else ": "
    lines: list[Line] = [(Run(label("portrait", language), "strong"), Run(f"{colon}{counts}"))]
    for hint in made.hints[:HINTS]:
        named = ", ".join(hint.tickets[:3]) + (f" +{len(hint.tickets) - 3}" if len(hint.tickets) > 3 else "")
        lines.append(plain(prose(f"{text_in(hint.statement, language)} ({named})")))
    lines += _more(len(made.hints) - HINTS, language)
    return [tuple(lines)]


def _more(count: int, language: Language) -> list[Line]:
    """How many a note has no room for."""
    return [plain(label("and_more", language, count=count))] if count > 0 else []


def _answer(made: SelfService, language: Language, prose: Callable[[str], str]) -> tuple[Block, ...]:
    source = f"{made.entry} · {made.sha256[:12]}"
    lines = tuple(plain(prose(line)) for line in answer_lines(made, language))
    return (Heading(plain(label("self_service", language))), Paragraph(lines), Paragraph((plain(source),), small=True))
