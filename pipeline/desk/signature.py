"""How the system shows a problem that is known, and the test that must be passed before that counts as evidence.

A signature holds codes and templates of log lines; a snapshot matches where it has one of each kind that the signature has.
It is tried on old snapshots: it must find those of the tickets that it was made from, and none whose fault is another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import msgspec

from pipeline.desk.entry import Entry, Signature, Trial
from pipeline.desk.modules import product_of
from snapshots.model import ProblemSnapshot, Template

# Old snapshots of other faults that must have been compared: fewer prove nothing.
LEAST = 10
_CODES, _TEMPLATES = 5, 5
# A template with fewer words of its own fits lines of all kinds.
_OWN_WORDS = 3


@dataclass(frozen=True)
class Match:
    """Where a signature was found: ids of findings, and templates as the snapshot has them."""

    findings: tuple[str, ...]
    templates: tuple[str, ...]


@dataclass(frozen=True)
class Tested:
    """A trial with its reasons. `others` is how many snapshots of another known fault were compared."""

    trial: Trial
    others: int
    wrong: tuple[str, ...]
    missed: tuple[str, ...]


def signature_of(snapshot: ProblemSnapshot) -> Signature:
    """The codes of the ticket's own findings, and the new or more frequent templates of its own lines."""
    codes = dict.fromkeys(
        f"{finding.channel or '-'} {finding.code}"
        for finding in snapshot.findings
        if finding.about_focus and finding.code
    )
    templates = dict.fromkeys(template.text for template in snapshot.templates if _telling(template))
    return Signature(codes=tuple(codes)[:_CODES], templates=tuple(templates)[:_TEMPLATES])


def _telling(template: Template) -> bool:
    own = [word for word in template.text.split() if "<" not in word and any(map(str.isalpha, word))]
    return template.change in {"new", "surged"} and template.focus_count > 0 and len(own) >= _OWN_WORDS


def find(signature: Signature, snapshot: ProblemSnapshot) -> Match | None:
    """Where `snapshot` shows the signature; None where it does not, or where there is nothing to look for."""
    wanted = {_code(code) for code in signature.codes}
    findings = tuple(
        finding.id
        for finding in snapshot.findings
        if finding.about_focus and finding.code and _code(f"{finding.channel or '-'} {finding.code}") in wanted
    )
    templates = tuple(
        template.text
        for template in snapshot.templates
        if template.focus_count and any(alike(template.text, one) for one in signature.templates)
    )
    missing = (signature.codes and not findings) or (signature.templates and not templates)
    return None if missing or not (findings or templates) else Match(findings, templates)


def _code(text: str) -> tuple[str, str]:
    channel, _, code = text.partition(" ")
    return product_of(channel.lower()), code.lower()


def alike(one: str, other: str) -> bool:
    """Whether two templates are one: as many words, each the same or a variable in one of them.

    >>> alike("pay <*> failed: timeout", "pay 17 failed: timeout")
    True
    """
    left, right = one.split(), other.split()
    if len(left) != len(right):
        return False
    pairs = list(zip(left, right, strict=True))
    return all(a == b or "<" in a or "<" in b for a, b in pairs) and sum(a == b for a, b in pairs) >= _OWN_WORDS - 1


def try_on(
    entry: Entry, signature: Signature, old: Iterable[ProblemSnapshot], today: date, known: Mapping[str, str] = {}
) -> Tested:
    """Tries a signature on old snapshots.

    `known` is each ticket's confirmed fault as `class/subclass` or `class`; where it says nothing, what the snapshot located
    counts, and one that abstained proves nothing either way. It holds where every snapshot of the entry's own tickets is
    matched, none of another fault is, and at least `LEAST` of other faults were compared.
    """
    own, own_matched, read, matched, others = 0, 0, 0, 0, 0
    wrong: list[str] = []
    missed: list[str] = []
    for snapshot in old:
        read += 1
        found = find(signature, snapshot) is not None
        matched += found
        if snapshot.ticket.id in entry.facts.tickets:
            own, own_matched = own + 1, own_matched + found
            if not found:
                missed.append(snapshot.ticket.id)
            continue
        fault = known.get(snapshot.ticket.id) or _located(snapshot)
        if fault and not _same(fault, entry):
            others += 1
            if found:
                wrong.append(snapshot.ticket.id)
    holds = bool(own) and own == own_matched and not wrong and others >= LEAST
    trial = Trial(tested=today, snapshots=read, matched=matched, wrong=len(wrong), holds=holds)
    return Tested(trial, others, tuple(sorted(set(wrong))), tuple(sorted(set(missed))))


def with_trial(entry: Entry, signature: Signature, tested: Tested) -> Entry:
    """The entry with its signature and what came of the test."""
    proved = msgspec.structs.replace(signature, trial=tested.trial)
    return msgspec.structs.replace(entry, facts=msgspec.structs.replace(entry.facts, signature=proved))


def _located(snapshot: ProblemSnapshot) -> str | None:
    diagnosis = snapshot.diagnosis
    if diagnosis.abstained or diagnosis.fault_class is None:
        return None
    return "/".join(filter(None, (diagnosis.fault_class, diagnosis.fault_subclass)))


def _same(fault: str, entry: Entry) -> bool:
    fault_class, _, subclass = fault.partition("/")
    if fault_class != entry.facts.fault_class:
        return False
    return not subclass or not entry.facts.fault_subclass or subclass == entry.facts.fault_subclass


def old_snapshots(store: object, most: int = 5_000) -> Iterator[ProblemSnapshot]:
    """The newest snapshot of each ticket of a store, newest ticket first, at most `most`."""
    seen: set[str] = set()
    for entry in store.list():  # type: ignore[attr-defined]
        if entry.ticket_id not in seen and len(seen) < most:
            seen.add(entry.ticket_id)
            yield store.get(entry.snapshot_id)  # type: ignore[attr-defined]
