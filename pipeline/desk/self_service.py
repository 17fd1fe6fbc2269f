"""The answer to a P4 ticket, ready for the customer, out of one entry of knowledge; nothing where none is sure enough.

An entry answers where all of this holds: it is accepted and older than the ticket; it has steps in the ticket's language; of the
two entries that fit best its share reaches `sure`, and it has enough of the question's words; neither its review date nor its versions are
past, and its solution did not come back; and the claim guard has nothing against a word of it. Meaning is not used: the same
inputs give the same bytes, whatever is installed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline.desk.ask import LONGEST, Answers, Hit
from pipeline.desk.checks import app_version, contradicted, outdated, review
from pipeline.desk.claims import check_answer
from pipeline.desk.entry import Entry, Told
from pipeline.desk.history import text_of
from pipeline.desk.sentence import sentences
from pipeline.desk.shelf import read_shelf
from pipeline.errors import SnapshotError
from snapshots.model import Check, ProblemSnapshot, SelfService, Text, with_id
from snapshots.words import language_for

if TYPE_CHECKING:
    from pipeline.desk.options import DeskOptions

# The part of a question's words, weighed by how rare they are, that an entry has to have: in a small folder any entry leads by
# much. Chosen together with `sure` on one half of the questions of benchmarks/self_service.py, which reports the other half.
LEAST_WORDS = 0.5
_NOTHING = Text(en="knowledge has no entry for it", zh="知识库中没有相关条目")


@dataclass(frozen=True)
class Asked:
    """What is asked: the words, in which language and when, and what is known around it."""

    text: str
    language: str
    at: date
    ticket: str = ""
    versions: Mapping[str, str] | None = None
    version: str | None = None
    reopened: Mapping[str, bool] | None = None


def fill_self_service(snapshot: ProblemSnapshot, desk: DeskOptions | None) -> ProblemSnapshot:
    """`snapshot` with the answer to its question, under a new id; as it is where none is asked for, or the ticket is no P4.

    Where no entry answers, a check says why.
    """
    if desk is None or desk.self_service is None or snapshot.severity is None or snapshot.severity.level != "P4":
        return snapshot
    try:
        answer: SelfService | Text = _answer(snapshot, desk, desk.self_service.sure)
    except SnapshotError as error:
        answer = Text(en=f"knowledge could not be asked: {error}", zh=f"未能查询知识库：{error}")
    if isinstance(answer, SelfService):
        return with_id(msgspec.structs.replace(snapshot, self_service=answer))
    told = Text(en=f"no answer for the customer: {answer.en}", zh=f"没有可直接答复客户的内容：{answer.zh}")
    check = Check(id="self_service", outcome="not_evaluated", statement=told)
    return with_id(msgspec.structs.replace(snapshot, checks=[*snapshot.checks, check]))


def _answer(snapshot: ProblemSnapshot, desk: DeskOptions, sure: float) -> SelfService | Text:
    if desk.knowledge is None:
        return Text(en="no knowledge is configured", zh="未配置知识库")
    shelf = read_shelf(Path(desk.knowledge))
    ticket = snapshot.ticket
    asked = Asked(
        text=text_of(ticket.title, ticket.description),
        language=language_for(ticket.language),
        at=datetime.fromisoformat(ticket.created_at).date(),
        ticket=ticket.id,
        versions=desk.versions,
        version=app_version(ticket),
        reopened=_reopened(desk, datetime.fromisoformat(ticket.created_at)),
    )
    hits = _answers(desk.knowledge, shelf.digest).ask(asked.text, 2)
    if not hits:
        return _NOTHING
    if (doubt := doubt_of(hits, 0, asked, snapshot, sure)) is not None:
        title = hits[0].entry.text("title")
        return Text(
            en=f"{title.en} ({hits[0].entry.id}): {doubt.en}", zh=f"{title.zh}（{hits[0].entry.id}）：{doubt.zh}"
        )
    entry = hits[0].entry
    told = for_customer(entry)
    return SelfService(
        en=told.en.splitlines(),
        zh=told.zh.splitlines(),
        entry=entry.id,
        title=entry.text("title"),
        share=round(lead(hits, 0), 3),
        sha256=shelf.hash_of(entry.id),
    )


def lead(hits: Sequence[Hit], place: int) -> float:
    """The share of the entry at `place`, of it and the best of the others."""
    other = max((one.share for n, one in enumerate(hits) if n != place), default=0.0)
    total = hits[place].share + other
    return hits[place].share / total if total else 0.0


def doubt_of(
    hits: Sequence[Hit], place: int, asked: Asked, snapshot: ProblemSnapshot | None, sure: float
) -> Text | None:
    """Why the entry at `place` may not answer the customer by itself; None where it may."""
    hit, share = hits[place], lead(hits, place)
    entry, facts = hit.entry, hit.entry.facts
    if facts.status != "accepted" or (facts.since and facts.since > asked.at) or asked.ticket in facts.tickets:
        return Text(en="it was not accepted when the ticket was created", zh="工单创建时该条目尚未通过")
    if len(asked.text) > LONGEST or share < sure or hit.words < LEAST_WORDS:
        return Text(
            en=f"not sure enough: {share:.0%} against the next entry, {hit.words:.0%} of the words",
            zh=f"把握不足：与次优条目相比占 {share:.0%}，用词吻合 {hit.words:.0%}",
        )
    own: Told | None = entry.zh if asked.language == "zh" else entry.en
    if own is None or not own.steps:
        return Text(en="it has no steps in the ticket's language", zh="没有该语言的处理步骤")
    version = asked.version or (asked.versions or {}).get(facts.module)
    flags = (review(entry, asked.at), outdated(entry, version), contradicted(entry, asked.reopened or {}))
    if (flag := next((one for one in flags if one is not None), None)) is not None:
        return flag.statement
    if refused := check_answer(for_customer(entry), asked.text, snapshot, sentences()):
        words = refused[0].words
        return Text(en=f"the claim guard refuses “{words}”", zh=f"声明校验不通过：“{words}”")
    return None


def for_customer(entry: Entry) -> Text:
    """The entry's steps as a reply, each language where the entry has it; its title is the source that is cited."""
    return Text(
        en=_reply(entry.en, "These steps answer your question:", "From our help article: ") if entry.en else "",
        zh=_reply(entry.zh, "请按以下步骤操作：", "内容来自帮助文档：") if entry.zh else "",
    )


def _reply(told: Told, opening: str, source: str) -> str:
    steps = [f"{number}. {step}" for number, step in enumerate(told.steps, 1)]
    return "\n".join([opening, *steps, f"{source}{told.title}"])


def _reopened(desk: DeskOptions, before: datetime) -> dict[str, bool]:
    """Of tickets closed before, whether they came back; nothing where there is no history to ask."""
    if desk.history is None:
        return {}
    from pipeline.desk.history import closed_before
    from pipeline.desk.index import read_index
    from pipeline.desk.section import index_folder

    try:
        rows = read_index(index_folder(desk)).table
    except SnapshotError:
        # That the history cannot be asked is told by its own check.
        return {}
    rows = rows.slice(0, closed_before(rows, before))
    return dict(zip(rows["id"].to_pylist(), map(bool, rows["reopened"].to_pylist()), strict=True))


@functools.lru_cache(maxsize=2)
def _answers(folder: str, _digest: str) -> Answers:
    """The folder's entries ready to be asked; a service makes each state of them once."""
    return Answers(read_shelf(Path(folder)), with_meaning=False)
