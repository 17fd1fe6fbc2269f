"""What knowledge says of a snapshot: the entries that fit, why, and whether they are to be doubted.

An entry fits by what the system said, not by how it is worded:

- signature: its proven signature (`signature.py`) is in the snapshot;
- code: a finding has one of its codes, at one of its channels;
- fault: the diagnosis holds its fault for probable; a candidate counts even where the diagnosis abstained;
- words: the ticket's words, which decide only between entries that are alike otherwise.

score = 0.45 signature + 0.15 code + 0.35 fault + 0.05 words, each 0..1. Vectors of meaning are not used: the same inputs give
the same bytes, whatever is installed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import msgspec
import pyarrow as pa

from pipeline.desk.checks import outdated, review
from pipeline.desk.entry import Entry
from pipeline.desk.history import text_of
from pipeline.desk.modules import product_name, product_of
from pipeline.desk.options import DeskOptions
from pipeline.desk.postings import Postings
from pipeline.desk.shelf import Shelf, read_shelf
from pipeline.desk.signature import find
from pipeline.desk.words import split_words
from pipeline.errors import SnapshotError
from snapshots.model import Check, KnowledgeEntry, ProblemSnapshot, Text, with_id

# Some codes are given for many faults, so that the diagnosis, which weighs all evidence, counts more. Chosen by hand.
SIGNATURE, CODE, FAULT, WORDS = 0.45, 0.15, 0.35, 0.05
# Below this nothing of the system speaks for an entry.
LEAST = 0.1
_MOST_CODES = 3


@dataclass
class Fit:
    """How well one entry fits: the parts of its score, and what is cited."""

    entry: Entry
    score: float = 0.0
    reasons: list[Text] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    proven: bool = False


def fill_knowledge(snapshot: ProblemSnapshot, desk: DeskOptions | None) -> ProblemSnapshot:
    """`snapshot` with the entries that fit, under a new id; as it is where no knowledge is configured.

    Entries that cannot be read are told among the checks: they never stop a snapshot.
    """
    if desk is None or desk.knowledge is None:
        return snapshot
    try:
        shelf = read_shelf(Path(desk.knowledge))
        found = advise(snapshot, shelf, desk)
    except SnapshotError as error:
        told = Text(en=f"knowledge could not be asked: {error}", zh=f"未能查询知识库：{error}")
        check = Check(id="knowledge", outcome="not_evaluated", statement=told)
        return with_id(msgspec.structs.replace(snapshot, checks=[*snapshot.checks, check]))
    checks = list(snapshot.checks)
    if shelf.problems:
        number = len(shelf.problems)
        told = Text(
            en=f"{number:,} file{'s' * (number != 1)} of the knowledge folder could not be read; `desk knowledge check` shows why",
            zh=f"知识库中有 {number:,} 个文件无法读取，可用 `desk knowledge check` 查看原因",
        )
        checks.append(Check(id="knowledge", outcome="not_evaluated", statement=told))
    return with_id(msgspec.structs.replace(snapshot, knowledge=found, checks=checks))


def advise(snapshot: ProblemSnapshot, shelf: Shelf, desk: DeskOptions) -> list[KnowledgeEntry]:
    """The entries that fit best, at most `desk.advice`; equal ones with the cheaper check first, then by id.

    Entries newer than the ticket are left out, so that a ticket is not explained by what was learnt from it.
    """
    created = datetime.fromisoformat(snapshot.ticket.created_at).date()
    known = [
        entry
        for entry in shelf.entries
        if entry.facts.status == "accepted"
        and (entry.facts.since is None or entry.facts.since <= created)
        and snapshot.ticket.id not in entry.facts.tickets
    ]
    fits = [fit for fit in _fits(snapshot, known) if fit.score >= LEAST]
    fits.sort(key=lambda fit: (-round(fit.score, 6), fit.entry.facts.check_minutes, fit.entry.id))
    return [_told(fit, shelf, snapshot, created, desk) for fit in fits[: desk.advice]]


def _fits(snapshot: ProblemSnapshot, entries: list[Entry]) -> Iterator[Fit]:
    words = _word_shares(snapshot, entries)
    products = _products(snapshot)
    for entry, share in zip(entries, words, strict=True):
        own = set(map(product_of, entry.facts.channels))
        if own and products and not own & products:
            continue
        fit = Fit(entry, score=WORDS * share)
        _by_signature(fit, snapshot)
        _by_code(fit, snapshot)
        # A product's own entry says more than the one for any product, but only where the ticket is of that product.
        _by_fault(fit, snapshot, 1.0 if own & products else 0.9)
        if fit.reasons:
            yield fit


def _by_signature(fit: Fit, snapshot: ProblemSnapshot) -> None:
    signature = fit.entry.facts.signature
    if signature is None or not signature.proven or (match := find(signature, snapshot)) is None:
        return
    fit.score += SIGNATURE
    fit.proven = True
    fit.findings += match.findings
    read = signature.trial.snapshots if signature.trial else 0
    fit.reasons.append(
        Text(
            en=f"its signature is in this snapshot; it was tested on {read:,} old ones",
            zh=f"本快照含有其特征，该特征已用 {read:,} 份历史快照验证",
        )
    )


def _by_code(fit: Fit, snapshot: ProblemSnapshot) -> None:
    wanted = {(product_of(c.partition(" ")[0].lower()), c.partition(" ")[2].lower()) for c in fit.entry.facts.codes}
    hits = [
        finding
        for finding in snapshot.findings
        if finding.about_focus
        and finding.code
        and (product_of((finding.channel or "").lower()), finding.code.lower()) in wanted
    ]
    if not hits:
        return
    fit.score += CODE
    fit.findings += [finding.id for finding in hits]
    codes = list(dict.fromkeys(str(finding.code) for finding in hits))[:_MOST_CODES]
    fit.reasons.append(Text(en=f"code {', '.join(codes)} was found", zh=f"出现返回码 {'、'.join(codes)}"))


def _by_fault(fit: Fit, snapshot: ProblemSnapshot, closeness: float) -> None:
    facts = fit.entry.facts
    for candidate in snapshot.diagnosis.candidates:
        if candidate.fault_class == facts.fault_class and candidate.fault_subclass in {None, facts.fault_subclass}:
            # The class alone leaves open which of its faults it is.
            sure = candidate.probability * (1.0 if candidate.fault_subclass else 0.5)
            fit.score += FAULT * sure * closeness
            fit.findings += candidate.findings
            fit.reasons.append(
                Text(
                    en=f"the diagnosis holds this fault for {candidate.probability:.0%} probable",
                    zh=f"诊断认为该故障的概率为 {candidate.probability:.0%}",
                )
            )
            return


def _products(snapshot: ProblemSnapshot) -> set[str]:
    place = snapshot.diagnosis.location.channel
    channels = {*snapshot.scope.channels, *([place] if place else [])}
    channels |= {finding.channel for finding in snapshot.findings if finding.about_focus and finding.channel}
    return {product_of(_table_channel(channel)) for channel in channels}


def _table_channel(channel: str) -> str:
    """The channel of the code table that a name in the data stands for; the name itself where there is none."""
    from pipeline.faults import codes

    found = codes().channels(channel)
    return found[0] if found else channel.lower()


def _word_shares(snapshot: ProblemSnapshot, entries: list[Entry]) -> list[float]:
    if not entries:
        return []
    postings = Postings(pa.array([_words_of(entry) for entry in entries], pa.list_(pa.string())))
    ticket = split_words(text_of(snapshot.ticket.title, snapshot.ticket.description))
    return [float(share) for share in postings.shares(postings.known(ticket, len(entries)))]


@functools.lru_cache(maxsize=20_000)
def _words_of(entry: Entry) -> list[str]:
    """The words of an entry; a service splits each once, however many snapshots it takes."""
    return split_words("\n".join(line for told in entry.told for line in told.asked))


def _told(fit: Fit, shelf: Shelf, snapshot: ProblemSnapshot, created: date, desk: DeskOptions) -> KnowledgeEntry:
    entry, facts = fit.entry, fit.entry.facts
    version = snapshot.ticket.questionnaire.get("app_version") or desk.versions.get(facts.module)
    doubts = [review(entry, created), outdated(entry, version if isinstance(version, str) else None)]
    return KnowledgeEntry(
        id=entry.id,
        title=entry.text("title"),
        score=round(fit.score, 3),
        reasons=fit.reasons,
        findings=list(dict.fromkeys(fit.findings)),
        proven=fit.proven,
        module=product_name(facts.module) if facts.module else None,
        fault_class=facts.fault_class,
        fault_subclass=facts.fault_subclass,
        cause=entry.text("cause") if any(told.cause for told in entry.told) else None,
        steps=entry.texts("steps"),
        mistakes=entry.texts("mistakes"),
        video=facts.video,
        versions=list(facts.versions),
        owner=facts.owner or None,
        review_by=facts.review_by.isoformat() if facts.review_by else None,
        check_minutes=facts.check_minutes,
        doubts=[flag.statement for flag in doubts if flag is not None],
        sha256=shelf.hash_of(entry.id),
    )
