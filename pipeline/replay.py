"""Takes a kept snapshot's ticket again, with today's code and tables, and says what moved.

A document holds the ticket (redacted, without custom fields) and, where a person had asked for a window, that window. It
does not hold the settings, only their digest: the settings of today are used, and whether they are the same is told. Nor
does it hold the records: what became of those that it cites is looked up first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pipeline.document import open_again
from pipeline.errors import SourceError, TicketNotFound, UsageError
from pipeline.run import Taken, take_snapshot
from pipeline.scope import ASKED_FOR
from pipeline.settings import Settings
from pipeline.tickets.file import find_ticket
from pipeline.values import Pointer, Source, Span, Ticket
from snapshots.compare import compare
from snapshots.comparison import Comparison, Replayed
from snapshots.model import ProblemSnapshot, Text, TicketRecord
from snapshots.verify import VerifyReport, all_evidence, pointer_of, verify

TicketFrom = Literal["file", "bundle", "snapshot"]


@dataclass(frozen=True)
class Replay:
    """The snapshot taken anew, and what moved from the kept one to it."""

    taken: Taken
    comparison: Comparison


@dataclass(frozen=True)
class Resolver:
    """A source that is asked with the document's pointers, which are of another class than the flow's."""

    source: Source

    def resolve(self, pointers: Iterable[Any], /) -> dict[Any, bytes | None]:
        """The canonical bytes of each record, by the pointer that was given."""
        own = {_own(p): p for p in pointers}
        return {own[pointer]: data for pointer, data in self.source.resolve(own).items() if pointer in own}


def replay(
    document: ProblemSnapshot,
    ticket: Ticket,
    ticket_from: TicketFrom,
    sources: Sequence[Source],
    settings: Settings,
    progress: Callable[[str], None] = lambda _: None,
) -> Replay:
    """Take `ticket` again, in the window that a person had asked for, and compare with `document`.

    Raises as `take_snapshot`.
    """
    progress("opening the cited records again")
    report = _verified(document, sources, settings.budget)
    span = asked_span(document)
    taken = take_snapshot(ticket, sources, settings, around=span, progress=progress)
    how = _how(document, taken.snapshot, report, ticket_from, span)
    return Replay(taken, compare(document, taken.snapshot, how))


@dataclass(frozen=True)
class _Answered:
    """What a source had answered, or why it did not, handed out as if it were asked now."""

    answer: Mapping[Pointer, bytes | None] | str

    def resolve(self, pointers: Iterable[Any], /) -> dict[Any, bytes | None]:
        if isinstance(self.answer, str):
            raise SourceError(self.answer)
        return {p: self.answer[own] for p in pointers if (own := _own(p)) in self.answer}


def _verified(document: ProblemSnapshot, sources: Sequence[Source], seconds: float) -> VerifyReport:
    """What became of the cited records. All sources are asked at once, and none is waited for longer than `seconds`."""
    asked: dict[str, dict[Pointer, None]] = {}
    for evidence in all_evidence(document):
        asked.setdefault(evidence.source, {})[_own(pointer_of(evidence))] = None
    answers = open_again(
        {name: list(pointers) for name, pointers in asked.items()}, {source.name: source for source in sources}, seconds
    )
    return verify(document, {name: _Answered(answer) for name, answer in answers.items()}.get)


def _own(p: Any) -> Pointer:
    return Pointer(p.kind, p.index, p.doc_id, p.file, p.start, p.end, p.at)


def ticket_again(
    document: ProblemSnapshot,
    ticket: str | None,
    bundle: Path | None,
    stdin: BinaryIO | None,
    note: Callable[[str], None],
) -> tuple[Ticket, TicketFrom, Path | None]:
    """The ticket to take again, where it came from, and the bundle of its records.

    `ticket` is the path of a ticket.json, or `-`. Without it the bundle's own ticket is taken, and where the bundle has
    none of this id, or there is no bundle, the redacted one of the document. Raises as `find_ticket`.
    """
    if ticket is not None:
        found, place = find_ticket(ticket, bundle, stdin, note)
        # A ticket.json that lies in a bundle says nothing of where its records are asked for.
        return found, "file", place if bundle is not None else None
    if bundle is None:
        return ticket_of(document.ticket), "snapshot", None
    try:
        found, place = find_ticket(document.ticket.id, bundle, stdin, note)
    except TicketNotFound:
        from pipeline.sources.bundle.tickets import is_bundle

        if not is_bundle(bundle):
            raise
        return ticket_of(document.ticket), "snapshot", bundle
    return found, "bundle", place


def ticket_of(record: TicketRecord) -> Ticket:
    """The ticket that a document holds. Raises `UsageError` where its time cannot be read."""
    created_at = _time(record.created_at, "ticket.created_at")
    return Ticket(
        id=record.id,
        title=record.title,
        description=record.description,
        created_at=created_at,
        system=record.system,
        language=record.language,
        customer_id=record.customer_id,
        questionnaire=record.questionnaire,
    )


def asked_span(document: ProblemSnapshot) -> Span | None:
    """The window that a person had asked for, or None where it was derived. Raises `UsageError` where it is no time."""
    scope = document.scope
    if scope.reason != ASKED_FOR:
        return None
    return Span(_time(scope.window.start, "scope.window.start"), _time(scope.window.end, "scope.window.end"))


def _time(text: str, name: str) -> datetime:
    """A time with its offset. Raises `UsageError`."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{name} of the snapshot is no time: {text!r}") from error
    if when.tzinfo is None:
        raise UsageError(f"{name} of the snapshot has no offset: {text!r}")
    return when


_TICKET_FROM = {
    "file": Text(en="the ticket that was given", zh="指定的工单"),
    "bundle": Text(en="the bundle's ticket", zh="数据包中的工单"),
    "snapshot": Text(
        en="the redacted ticket in the snapshot, which has no custom fields",
        zh="快照中已脱敏的工单（不含自定义字段）",
    ),
}


def _how(
    document: ProblemSnapshot, again: ProblemSnapshot, report: VerifyReport, ticket_from: TicketFrom, span: Span | None
) -> Replayed:
    same = document.provenance.settings_sha256 == again.provenance.settings_sha256
    return Replayed(
        ticket_from=ticket_from,
        window_from="asked" if span else "derived",
        settings="same" if same else "other",
        ok=report.count("ok"),
        changed=report.count("changed"),
        gone=report.count("gone"),
        unreachable=report.count("unreachable"),
        unstamped=report.count("unstamped"),
        records=[row for row in report.evidence if row.state != "ok"],
        statements=[_told(ticket_from, span, same=same), _still_there(report)],
    )


def _told(ticket_from: TicketFrom, span: Span | None, *, same: bool) -> Text:
    whose = _TICKET_FROM[ticket_from]
    en = "the window of the snapshot, which a person had asked for" if span else "the window that the ticket gives now"
    zh = "快照中人工指定的时间窗" if span else "由工单重新推算的时间窗"
    en_settings = "the same settings" if same else "today's settings, which are not those of the snapshot"
    zh_settings = "设置相同" if same else "今天的设置（与快照不同）"
    return Text(
        en=f"Taken again from {whose.en}, {en}, {en_settings}.", zh=f"重新生成：{whose.zh}，{zh}，{zh_settings}。"
    )


def _still_there(report: VerifyReport) -> Text:
    total, well = len(report.evidence), report.count("ok")
    if well == total:
        return Text(
            en=f"All {total} records that the snapshot cites are as they were.",
            zh=f"快照引用的 {total} 条记录均未改变。",
        )
    states = {"changed": "已改变", "gone": "已消失", "unreachable": "无法访问", "unstamped": "无摘要可比"}
    counts = {state: report.count(state) for state in ("changed", "gone", "unreachable", "unstamped")}
    en = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    zh = "，".join(f"{n} 条{states[state]}" for state, n in counts.items() if n)
    return Text(
        en=f"Of {total} records that the snapshot cites {well} are as they were, {en}: not all of its evidence is there.",
        zh=f"快照引用的 {total} 条记录中 {well} 条未改变，{zh}：其证据已不完整。",
    )
