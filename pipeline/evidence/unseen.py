"""Unseen: codes that no table knows, and what answers and log lines say in words, read by the wording model.

What the model says is a reading of words, not knowledge of the channel: its strength is the probability that the reading is
right, and a code without a message never gives a sure one (see `pipeline/faults/wording_model.py`). Kinds:

    unseen.code     a code that is in no table, with its message
    unseen.reply    the message of an answer whose code only names a group of faults
    unseen.message  an unhappy line that no wording family matches
    unseen.beside   an unhappy line that a family matches as well: a second opinion
    unseen.around   an unhappy line whose answer was read by itself
    unseen.elsewhere  a line that names nobody, elsewhere in the window

Each reading speaks for the class it finds likeliest, and for others that it finds likely.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow.compute as pc
import re2

from pipeline.evidence.case import Case, Signal, answer_codes, clip, is_code_key, read_attributes
from pipeline.evidence.channel_codes import names_a_group
from pipeline.faults import codes, fault_name
from pipeline.faults.wording import read_wording
from pipeline.faults.wording_model import NONE, Reading, Wording, read_messages
from pipeline.payments.attempts import Attempt
from pipeline.payments.refunds import Refund
from pipeline.values import Cited, Found, Seen
from snapshots.model import Check, Text

_TIER = {"focus": 1.0, "near": 0.85, "ambient": 0.4}
_LEVEL = {"FATAL": 1.0, "ERROR": 1.0, "WARN": 0.95}
# Below this probability a reading is not told.
_LEAST = 0.2
_CLASSES = 3
# Codes and lines read in a case, those of the order first; more are counted.
_MOST = 80
_CITES = 5
_QUOTE = 120
# What the model may say that is no fault to be told.
_SILENT = frozenset({NONE, "success", "unknown"})
# Answers that need no explanation.
_PLAIN = frozenset({"success", "ok", "fail", "failed", "error", "none", "null", "0", "00", "true", "false"})
_SAYS_KEY = re2.compile(r"(?i)(msg|message|desc(ription)?|detail|err_code_des|reason)$")
_OBJECT = re.compile(r"\{[^{}]*\}")
# A field whose value is one word; a quoted sentence after its name is kept.
_FIELD = re.compile(r"[\w.\[\]-]+=(?!\")[^\s,;，；]*")
# At least two words, or four Chinese characters: less says nothing.
_WORDS = re.compile(r"[A-Za-z]{3,}\W+(?:\w+\W+){0,4}?[A-Za-z]{3,}|[\u4e00-\u9fff]{4,}")
_STATUS_DIGITS = 3
# What a line says stands at its beginning.
_LONGEST = 1_200
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[._][A-Za-z0-9]+)+|\b[A-Z][A-Z0-9]{4,}\b|\b\d{5,9}\b")


@dataclass(frozen=True)
class _Clue:
    """One wording to read, where it stands, and how near it is to the order."""

    kind: str
    wording: Wording
    weight: float
    cited: Cited
    near: bool = True


def detect(case: Case) -> Seen:
    """One finding for each kind and class that the readings speak for, strongest reading first."""
    everything, unread = _clues(case)
    clues = everything[:_MOST]
    readings = read_messages(clue.wording for clue in clues)
    by_class: dict[tuple[str, str], list[_Hit]] = defaultdict(list)
    for clue, reading in zip(clues, readings, strict=True):
        if reading is None or reading.fault_class == NONE:
            continue
        for name, probability in reading.probabilities[:_CLASSES]:
            if name not in _SILENT and probability >= _LEAST:
                by_class[clue.kind, name].append(_Hit(probability * clue.weight, name, probability, clue, reading))
    found = [_finding(case, sorted(mine, key=lambda hit: -hit.strength)) for mine in by_class.values()]
    found.sort(key=lambda one: (-one.strength, one.supports or "", one.kind))
    # Where the tables know everything, there was nothing to check.
    checks = (_check(len(clues), len(found)),) if clues else ()
    return Seen(tuple(found), checks, len(everything) - len(clues) + unread)


@dataclass(frozen=True)
class _Hit:
    """One class that a reading of a clue speaks for."""

    strength: float
    fault_class: str
    probability: float
    clue: _Clue
    reading: Reading


def _clues(case: Case) -> tuple[list[_Clue], int]:
    """The clues, the weightiest first; how many wordings of spans were left out."""
    clues: dict[tuple[Wording, str], _Clue] = {}
    in_spans, unread = _in_spans(case)
    for clue in (*_on_events(case), *_in_lines(case), *in_spans):
        kept = clues.get((clue.wording, clue.cited.quote))
        if kept is None or clue.weight > kept.weight:
            clues[clue.wording, clue.cited.quote] = clue
    return sorted(clues.values(), key=lambda clue: -clue.weight), unread


def _on_events(case: Case) -> Iterator[_Clue]:
    table = codes()
    for order in case.focus:
        parts: list[Attempt | Refund] = [*order.attempts, *order.refunds]
        for part in parts:
            event = part.latest
            channel = event.channel or order.channel
            if channel is None:
                continue
            weight = 1.0 if part.entity_id == parts[-1].entity_id else 0.6
            flow = "refund" if part in order.refunds else "pay"
            named = {k: str(v) for k, v in event.attributes.items() if is_code_key(k) and tells(v)}
            if any(table.find(channel, code, flow) for code in named.values()):
                continue
            for key, code in named.items():
                wording = Wording(_said(event.attributes, key), code, _key(channel), key)
                yield _Clue("unseen.code", wording, weight, event.cited)


def _in_lines(case: Case) -> Iterator[_Clue]:
    table = codes()
    flow = None if any(order.refunds for order in case.focus) else "pay"
    for signal in case.signals:
        if signal.level not in _LEVEL and signal.tier == "ambient":
            continue
        weight = _TIER[signal.tier] * _LEVEL.get(signal.level or "", 0.6) * signal.share
        near = signal.tier != "ambient"
        answered = told = replied = False
        for reply in signal.replies:
            channel = reply.channel or case.channel
            if channel is None:
                continue
            facts = [table.find(channel, code, flow) for _, code in reply.codes]
            answered = answered or any(facts)
            replied = True
            told = told or bool(reply.message)
            unknown = [pair for pair, fact in zip(reply.codes, facts, strict=True) if fact is None and tells(pair[1])]
            # A known code, unless it only names a group, says more than any reading.
            if unknown and not any(f and f.fault_class != "unknown" for f in facts[:1]):
                answered = True
                field, code = unknown[0]
                wording = Wording(reply.message or "", code, _key(channel), field, reply.http_status)
                yield _Clue("unseen.code" if near else "unseen.elsewhere", wording, weight, signal.cited, near)
            elif reply.message and near and not any(f and not names_a_group(f.code) for f in facts):
                yield _Clue("unseen.reply", Wording(reply.message), weight, signal.cited)
        # What an answer says of itself is said better by its own message than by the line around it.
        rest = _without_fields(signal.text) if replied else signal.text[:_LONGEST]
        if signal.level in _LEVEL and (told or _WORDS.search(rest)):
            kind = "around" if told else "beside" if answered or _spoken_for(signal, case) else "message"
            rest = signal.text if told else rest
            yield _Clue(f"unseen.{kind if near else 'elsewhere'}", Wording(rest), weight, signal.cited, near)


def _in_spans(case: Case) -> tuple[list[_Clue], int]:
    """The codes in the spans' attributes that no table knows, each wording with the first few spans that bear it.

    Of more wordings than are read in a case the others are counted.
    """
    table = codes()
    spans = case.focus_spans
    clues: list[_Clue] = []
    times: Counter[Wording] = Counter()
    unread = 0
    texts = spans.column("attributes").to_pylist()
    named = pc.match_substring_regex(spans.column("attributes"), pattern=r'(?i)(code|reason|detail)":')
    for row in np.flatnonzero(pc.fill_null(named, fill_value=False).to_numpy()).tolist():
        attributes = read_attributes(texts[row])
        channel = attributes.get("payment.channel") or attributes.get("channel") or case.channel
        if not isinstance(channel, str):
            continue
        named_codes = {k: v for k, v in answer_codes(attributes).items() if tells(v)}
        if any(table.find(channel, code) for code in named_codes.values()):
            continue
        for key, code in named_codes.items():
            said = _said(attributes, key) or spans.column("exception.message")[row].as_py() or ""
            wording = Wording(said, code, _key(channel), key)
            if wording not in times and len(times) >= _MOST:
                unread += 1
            elif times[wording] < _CITES:
                times[wording] += 1
                clues.append(_Clue("unseen.code", wording, 0.95, case.cite_span(spans, row)))
    return clues, unread


def _without_fields(text: str) -> str:
    """`text` without objects and fields, which name things rather than say what happened.

    >>> _without_fields('HTTP 200 from redsys for job1: {"errorCode":"SIS0042"} ref=12')
    'HTTP 200 from redsys for job1:  '
    """
    return _FIELD.sub("", _OBJECT.sub("", text[:_LONGEST]))


def _is_status(code: str) -> bool:
    return len(code) == _STATUS_DIGITS and code.isdigit() and code[0] in "12345"


def _spoken_for(signal: Signal, case: Case) -> bool:
    """Whether a family of wording or a code of the table already says what the line is about."""
    if read_wording(signal.text):
        return True
    table = codes()
    return any(
        table.find(channel, token)
        for channel in (*case.scope.channels, "network")
        for token in dict.fromkeys(_TOKEN.findall(signal.text[:2000]))
    )


def tells(value: Any) -> bool:
    """Whether `value` may be a code that says more than that it failed."""
    return _may_be_code(value) and not names_a_group(str(value)) and not _is_status(str(value))


def _may_be_code(value: Any) -> bool:
    return (
        isinstance(value, (str, int))
        and not isinstance(value, bool)
        and str(value).strip().lower() not in {*_PLAIN, ""}
    )


def _said(attributes: Mapping[str, Any], key: str) -> str:
    """The message beside a code: the attribute that says so, never the code itself."""
    texts = [v for k, v in attributes.items() if k != key and isinstance(v, str) and _says(k)]
    return next((text for text in texts if " " in text or not text.isascii()), "")


@lru_cache(maxsize=4096)
def _says(key: str) -> bool:
    return bool(_SAYS_KEY.search(key))


def _key(channel: str) -> str:
    """The channel as the tables spell it, where they know it."""
    return next(iter(codes().channels(channel)), channel)


def _finding(case: Case, hits: list[_Hit]) -> Found:
    best = hits[0]
    clue, reading, first = best.clue, best.reading, best.fault_class == best.reading.fault_class
    wording, fault = clue.wording, fault_name(best.fault_class)
    share = round(100 * best.probability)
    # The terms are those that spoke for the likeliest class.
    why = ", ".join(term for term, _ in reading.terms[:3]) if first else ""
    because, zh_because = (f" (from: {why})", f"（依据：{why}）") if why else ("", "")
    if wording.code:
        text = f' ("{clip(wording.text, _QUOTE)}")' if wording.text else ""
        en = f"{wording.channel} answered {wording.code}{text}, which is in no code table; its wording reads as: {fault.en}, {share} %{because}"
        zh = f"{wording.channel} 返回 {wording.code}{text}，该码不在码表中；按措辞判断为{fault.zh}，可能性 {share}%{zh_because}"
    else:
        quote = clip(" ".join(wording.text.split()), _QUOTE)
        en = f'the words of "{quote}" read as: {fault.en}, {share} %{because}'
        zh = f"“{quote}”按用词判断为{fault.zh}，可能性 {share}%{zh_because}"
    cites = tuple(dict.fromkeys(hit.clue.cited for hit in hits))[:_CITES]
    return Found(
        kind=clue.kind,
        statement=Text(en=en, zh=zh),
        cites=cites,
        supports=best.fault_class,
        subclass=reading.subclass if first else None,
        strength=round(best.strength, 4),
        service=clue.cited.service,
        channel=wording.channel or case.channel,
        code=wording.code,
        about_focus=clue.near,
        at=clue.cited.at,
    )


def _check(read: int, found: int) -> Check:
    if found:
        statement = Text(
            en=f"{read} codes and lines that no table knows were read by their wording, {found} kinds of fault in them",
            zh=f"按措辞解读了 {read} 条码表之外的返回码与日志，其中有 {found} 类故障",
        )
        return Check(id="unseen", outcome="found", statement=statement)
    statement = Text(
        en=f"{read} codes and lines that no table knows were read by their wording; none speaks of a fault",
        zh=f"按措辞解读了 {read} 条码表之外的返回码与日志，均未指向故障",
    )
    return Check(id="unseen", outcome="healthy", statement=statement)
