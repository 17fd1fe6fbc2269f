"""The claim guard: a message for a customer is refused where it says what its evidence does not, or what no customer is told.

It knows nothing of how a message was made: one that a person or another program wrote is held to the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from pipeline.desk.rule_file import compiled
from snapshots.model import Clause, CustomerMessage, Finding, ProblemSnapshot, Text

Reason = Literal["uncited", "uncovered", "address", "code", "jargon", "promise", "blame", "name", "personal"]
_ORDINARY = frozenset({
    "payment", "order", "pay", "refund", "bank", "wallet", "card", "account", "shop", "request", "get", "post", "put",
    "delete", "head", "check", "record",
})  # fmt: skip
# Names shorter than this may be anybody's word.
_NAME = 3
# What is drawn as nothing: format characters by their category, and these, which have another one.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u3164\ufe00-\ufe0f\uffa0]")
_OF_ORDER = ("order_state.", "order_rule.", "callback.")
_HAN_GAP = re.compile(r"(?<=[\u2e80-\u9fff])[^\S\n]+(?=[\u2e80-\u9fff\d])|(?<=\d)[^\S\n]+(?=[\u2e80-\u9fff])")


class Topic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a sentence may speak of, as RE2 expressions, and which findings cover it: by fault, or by how their kind begins."""

    en: str
    zh: str
    faults: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def covered_by(self, finding: Finding) -> bool:
        """Whether the finding has evidence for it."""
        named = {finding.supports, f"{finding.supports}/{finding.subclass}"}
        return bool(finding.evidence) and (bool(named & set(self.faults)) or finding.kind.startswith(self.kinds))


class Guard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the guard holds messages to."""

    topics: dict[str, Topic]
    forbidden: dict[Literal["address", "code", "jargon", "promise", "blame"], tuple[str, ...]]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a message, with the words that are."""

    reason: Reason
    words: str


def check(message: CustomerMessage, snapshot: ProblemSnapshot, guard: Guard) -> list[Refusal]:
    """What is wrong with `message` about `snapshot`; nothing where it may be told."""
    text = f"{message.en}\n{message.zh}"
    return [*_cited(message, snapshot), *_covered(message, snapshot, guard), *_clean(text, _names(snapshot), guard)]


def as_seen(text: str) -> str:
    r"""`text` as whoever reads it takes it: by compatibility (NFKC), without what is not seen, without gaps in Chinese.

    >>> as_seen("ＡＰＩ \u200bti\u00admeout，保 证")
    'API timeout,保证'
    """
    shown = unicodedata.normalize("NFKC", _UNSEEN.sub("", text))
    return _HAN_GAP.sub("", "".join(filter(None, map(_letter, shown))))


def _letter(one: str) -> str:
    kind = unicodedata.category(one)
    if kind == "Nd":
        return str(unicodedata.digit(one))
    return "" if kind == "Cf" else "-" if kind == "Pd" else one


def check_words(text: str, snapshot: ProblemSnapshot, guard: Guard) -> list[Refusal]:
    """What is wrong with words that somebody wrote for the customer of `snapshot`, in either language.

    They may speak of what was located, and of what is known of the order.
    """
    located = snapshot.diagnosis.candidates[:1] if not snapshot.diagnosis.abstained else []
    named = {name for candidate in located for name in candidate.findings}
    cited = [one for one in snapshot.findings if one.evidence and (one.id in named or one.kind.startswith(_OF_ORDER))]
    refs = dict.fromkeys(evidence.ref for one in cited for evidence in one.evidence)
    clause = Clause(statement=Text(en=text, zh=text), findings=[one.id for one in cited], evidence=list(refs))
    return check(CustomerMessage(en=text, zh=text, clauses=[clause]), snapshot, guard)


def check_answer(text: Text, question: str, snapshot: ProblemSnapshot | None, guard: Guard) -> list[Refusal]:
    """What is wrong with an answer out of knowledge; nothing where it may be told.

    Its entry is its evidence. So it may speak of what the `question` speaks of itself, or a finding of `snapshot`, and of
    nothing else that was not seen.
    """
    findings = snapshot.findings if snapshot else []
    asked = Text(en=question, zh=question)
    uncovered = [
        Refusal(reason="uncovered", words=words)
        for topic in guard.topics.values()
        if (words := _speaks(text, topic))
        and not _speaks(asked, topic)
        and not any(topic.covered_by(one) for one in findings)
    ]
    names = _names(snapshot) if snapshot else []
    return [*uncovered, *_clean(f"{text.en}\n{text.zh}", names, guard)]


def _cited(message: CustomerMessage, snapshot: ProblemSnapshot) -> Iterator[Refusal]:
    """Every word stands in a clause, and every clause cites findings of the document and records that these cite."""
    findings = {one.id: one for one in snapshot.findings}
    rest = {"en": message.en, "zh": message.zh}
    for clause in message.clauses:
        refs = {e.ref for name in clause.findings if name in findings for e in findings[name].evidence}
        if not clause.findings or not clause.evidence or not set(clause.findings) <= findings.keys():
            yield Refusal(reason="uncited", words=clause.statement.en)
        elif not set(clause.evidence) <= refs:
            yield Refusal(reason="uncited", words=", ".join(sorted(set(clause.evidence) - refs)))
        rest["en"] = rest["en"].replace(clause.statement.en, "", 1)
        rest["zh"] = rest["zh"].replace(clause.statement.zh, "", 1)
    yield from (Refusal(reason="uncited", words=text.strip()) for text in rest.values() if text.strip())


def _covered(message: CustomerMessage, snapshot: ProblemSnapshot, guard: Guard) -> Iterator[Refusal]:
    """What a clause speaks of is what its findings speak of. An advice that asks for caution claims nothing."""
    findings = {one.id: one for one in snapshot.findings}
    for clause in message.clauses:
        cited = [findings[name] for name in clause.findings if name in findings]
        for topic in guard.topics.values():
            if (words := _speaks(clause.statement, topic)) and not any(topic.covered_by(one) for one in cited):
                yield Refusal(reason="uncovered", words=words)


def _speaks(text: Text, topic: Topic) -> str:
    found = compiled("(?i)" + topic.en).search(as_seen(text.en)) or compiled(topic.zh).search(as_seen(text.zh))
    return str(found[0]) if found else ""


def _clean(written: str, names: Sequence[str], guard: Guard) -> Iterator[Refusal]:
    text = as_seen(written)
    for reason, expressions in guard.forbidden.items():
        for expression in expressions:
            if found := compiled(expression).search(text):
                yield Refusal(reason=reason, words=str(found[0]))
    yield from (Refusal(reason="name", words=name) for name in names if _has(text, name))
    if _personal(text):
        yield Refusal(reason="personal", words="personal data")


def _has(text: str, name: str) -> bool:
    """Whether the name stands in the text; one of letters and digits as a word of its own."""
    at, low, wanted = -1, text.casefold(), as_seen(name).casefold()
    while (at := low.find(wanted, at + 1)) >= 0:
        around = low[max(0, at - 1) : at] + low[at + len(wanted) : at + len(wanted) + 1]
        if not wanted.isascii() or not any(one.isascii() and one.isalnum() for one in around):
            return True
    return False


def _names(snapshot: ProblemSnapshot) -> list[str]:
    """Everything of ours, of the channel's and of the customer's that has a name in the document."""
    place = snapshot.diagnosis.location
    found: set[str | None] = {place.service, place.host, place.operation, place.channel, snapshot.ticket.customer_id}
    found |= {name for one in snapshot.findings for name in (one.service, one.channel, one.code)}
    found |= {*snapshot.scope.services, *snapshot.scope.channels, *snapshot.scope.focus_orders}
    found |= {one.value for one in snapshot.scope.identifiers}
    found |= {name for one in snapshot.payment_attempts for name in (one.code, one.entity_id)}
    return sorted(name for name in found if name and len(name) >= _NAME and not _ordinary(name))


def _ordinary(name: str) -> bool:
    """A word that a service or a code may have for its name, and anybody may say."""
    return name.casefold() in _ORDINARY


@lru_cache(maxsize=512)
def _personal(text: str) -> bool:
    from parsers.redaction.redactor import Redactor  # loads pyarrow
    from parsers.redaction.settings import RedactionSettings

    return bool(Redactor(RedactionSettings(ip=True)).redact_value(text) != text)
