"""The questionnaire of a snapshot: what the customer is asked, because the diagnosis lacks it and nothing else answers it.

diagnosis.missing, fault class -> questions that may help -> less what is known (`known.py`) -> the first few
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from pipeline.desk.known import Fact, Known
from pipeline.desk.question_table import Asked, Questions, read_questions_file
from pipeline.document import Stamp, redact_texts
from pipeline.redact import redactor_for
from snapshots.model import (
    Answered,
    ProblemSnapshot,
    Question,
    Questionnaire,
    SelfService,
    Text,
    with_id,
)

if TYPE_CHECKING:
    from parsers.redaction.redactor import Redactor
    from pipeline.evidence.case import Case
    from pipeline.values import Source

# Seconds that the sources have to open the few records again that hold an answer.
_STAMPING = 2.0
_NUMBER = re.compile(r"E(\d+)")
_TO_CONFIRM = Text(
    en="We are not sure of this. Please check it, and correct it if it is wrong.",
    zh="此项尚不确定，请核对，如有误请更正。",
)


def fill_questions(snapshot: ProblemSnapshot, case: Case, sources: Sequence[Source] = ()) -> ProblemSnapshot:
    """`snapshot` with its questionnaire, under a new id; as it is where the settings ask for none.

    A ticket that knowledge answers is asked nothing, nor is one that only asks something (P4). Raises `UsageError` for a file
    of questions that cannot be used.
    """
    desk = case.settings.desk
    if desk is None or desk.questions is None:
        return snapshot
    table = read_questions_file(desk.questions.file)
    plain = snapshot.severity is not None and snapshot.severity.level == "P4"
    if plain or isinstance(snapshot.self_service, SelfService):
        made = Questionnaire()
    else:
        redactor = redactor_for(case.settings, case.scope, case.ticket)
        made = _Writer(snapshot, sources, redactor).written(choose(case, snapshot, table), desk.questions.most)
    return with_id(msgspec.structs.replace(snapshot, questions=made))


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A question that may help, what it comes from, and what is known of its answer."""

    asked: Asked
    gaps: list[Text]
    findings: list[str]
    fact: Fact | None

    @property
    def due(self) -> bool:
        """Whether it is asked: its answer is not known, or to be confirmed."""
        return self.fact is None or not self.fact.certain


def choose(case: Case, snapshot: ProblemSnapshot, table: Questions) -> list[Chosen]:
    """Every question that may help the diagnosis, in the table's order, those whose answer is known among them."""
    diagnosis = snapshot.diagnosis
    known, faults = Known(case, snapshot, table), table.faults_of(diagnosis)
    held = {finding.id for finding in snapshot.findings}
    chosen = []
    for asked in table.questions:
        gaps = [one.question for one in asked.lacks(diagnosis)]
        named = [name for name in asked.faults if name in faults]
        if gaps or named:
            findings = [one for name in named for one in faults[name] if one in held]
            chosen.append(
                Chosen(asked=asked, gaps=gaps, findings=list(dict.fromkeys(findings)), fact=known.answer(asked))
            )
    return chosen


class _Writer:
    """Puts what was chosen into the document: redacted, and with the records that answers were found in."""

    def __init__(self, snapshot: ProblemSnapshot, sources: Sequence[Source], redactor: Redactor) -> None:
        self._redactor = redactor
        self._sources = sources
        self._snapshot = snapshot

    def written(self, chosen: Sequence[Chosen], most: int) -> Questionnaire:
        due = [one for one in chosen if one.due]
        told = [(one.asked, one.fact) for one in chosen if one.fact is not None]
        cited = [cited for _, fact in told for cited in fact.cites]
        stamp = Stamp(cited, self._sources, _STAMPING, first=self._last_number() + 1)
        return Questionnaire(
            questions=[self._question(one) for one in due[:most]],
            known=[self._answered(asked, fact, stamp) for asked, fact in told],
            omitted=max(0, len(due) - most),
        )

    def _question(self, one: Chosen) -> Question:
        asked = one.asked
        value = self._redactor.redact(one.fact.value) if one.fact else None
        # A masked value is none that anybody could confirm.
        shown = value if one.fact and value == one.fact.value else None
        return Question(
            id=asked.id,
            kind=asked.kind,
            ask=asked.ask,
            why=asked.why,
            hint=asked.hint,
            options=list(asked.options),
            longest=asked.longest,
            shape=asked.shape,
            shape_hint=asked.shape_hint,
            value=shown,
            doubt=(asked.doubt or _TO_CONFIRM) if shown else None,
            gaps=[Text(en=self._redactor.redact(gap.en), zh=self._redactor.redact(gap.zh)) for gap in one.gaps],
            findings=one.findings,
        )

    def _answered(self, asked: Asked, fact: Fact, stamp: Stamp) -> Answered:
        found = redact_texts([stamp.evidence(one) for one in fact.cites], self._redactor)
        return Answered(
            id=asked.id,
            value=str(self._redactor.redact_value({asked.id: fact.value})[asked.id]),
            found=fact.found,
            certain=fact.certain,
            evidence=[*fact.evidence, *found],
        )

    def _last_number(self) -> int:
        held = [e.ref for finding in self._snapshot.findings for e in finding.evidence]
        held += [e.ref for template in self._snapshot.templates for e in template.examples]
        return max((int(found[1]) for ref in held if (found := _NUMBER.fullmatch(ref))), default=0)
