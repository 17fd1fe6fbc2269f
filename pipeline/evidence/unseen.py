"""Unseen: codes that no table knows, and log lines that no wording family matches, read by the wording model.

What the model says is a reading of words, not knowledge of the channel: its strength is the probability that the reading is
right, and a code without a message never gives a sure one (see `pipeline/faults/wording_model.py`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import re2

from parsers.bodies import read_replies
from pipeline.evidence.case import Case, Signal, answer_codes, clip, is_code_key, read_attributes
from pipeline.faults import codes, fault_name
from pipeline.faults.wording import read_wording
from pipeline.faults.wording_model import NONE, Reading, Wording, read_messages
from pipeline.payments import Attempt, Refund
from pipeline.values import Cited, Found, Seen
from snapshots.model import Check, Text

_TIER = {"focus": 1.0, "near": 0.85, "ambient": 0.4}
_LEVEL = {"FATAL": 1.0, "ERROR": 1.0, "WARN": 0.95}
# Below this probability a reading is a guess, and not told.
_LEAST = 0.5
# Lines read in a case; where there are more, those of the order come first.
_MOST = 80
_CITES = 5
_QUOTE = 120
# What the model may say that is no fault to be told.
_SILENT = frozenset({NONE, "success", "unknown"})
# Answers that need no explanation.
_PLAIN = frozenset({"success", "ok", "fail", "failed", "error", "none", "null", "0", "00", "true", "false"})
_SAYS_KEY = re2.compile(r"(?i)(msg|message|desc(ription)?|detail|err_code_des|reason)$")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[._][A-Za-z0-9]+)+|\b[A-Z][A-Z0-9]{4,}\b|\b\d{5,9}\b")


@dataclass(frozen=True)
class _Clue:
    """One wording to read, where it stands, and how near it is to the order."""

    wording: Wording
    weight: float
    cited: Cited
    near: bool = True


def detect(case: Case) -> Seen:
    """One finding for each class that the readings speak for, strongest reading first."""
    clues = _clues(case)
    readings = read_messages(clue.wording for clue in clues)
    by_class: dict[str, list[tuple[float, _Clue, Reading]]] = defaultdict(list)
    for clue, reading in zip(clues, readings, strict=True):
        if reading and reading.fault_class not in _SILENT and reading.probability >= _LEAST:
            by_class[reading.fault_class].append((reading.probability * clue.weight, clue, reading))
    found = [_finding(case, sorted(mine, key=lambda hit: -hit[0])) for mine in by_class.values()]
    found.sort(key=lambda one: (-one.strength, one.supports or ""))
    # Where the tables know everything, there was nothing to check.
    return Seen(tuple(found), (_check(len(clues), len(found)),) if clues else ())


def _clues(case: Case) -> list[_Clue]:
    clues: dict[tuple[Wording, str], _Clue] = {}
    for clue in (*_on_events(case), *_in_lines(case), *_in_spans(case)):
        kept = clues.get((clue.wording, clue.cited.quote))
        if kept is None or clue.weight > kept.weight:
            clues[clue.wording, clue.cited.quote] = clue
    ordered = sorted(clues.values(), key=lambda clue: -clue.weight)
    return ordered[:_MOST]


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
            named = {k: str(v) for k, v in event.attributes.items() if is_code_key(k) and _may_be_code(v)}
            if any(table.find(channel, code, flow) for code in named.values()):
                continue
            for key, code in named.items():
                yield _Clue(Wording(_said(event.attributes, key), code, _key(channel), key), weight, event.cited)


def _in_lines(case: Case) -> Iterator[_Clue]:
    table = codes()
    flow = None if any(order.refunds for order in case.focus) else "pay"
    for signal in case.signals:
        if signal.level not in _LEVEL and signal.tier != "focus":
            continue
        weight = _TIER[signal.tier] * _LEVEL.get(signal.level or "", 0.6)
        answered = False
        for reply in read_replies(signal.message):
            channel = reply.channel or case.channel
            if channel is None:
                continue
            facts = [table.find(channel, code, flow) for _, code in reply.codes]
            answered = answered or any(facts)
            unknown = [
                pair for pair, fact in zip(reply.codes, facts, strict=True) if fact is None and _may_be_code(pair[1])
            ]
            # A known code, unless it only names a group, says more than any reading.
            if unknown and not any(f and f.fault_class != "unknown" for f in facts[:1]):
                answered = True
                field, code = unknown[0]
                yield _Clue(
                    Wording(reply.message or "", code, _key(channel), field, reply.http_status),
                    weight,
                    signal.cited,
                    signal.tier != "ambient",
                )
        if not answered and signal.level in _LEVEL and not _spoken_for(signal, case):
            yield _Clue(Wording(signal.text), weight, signal.cited, signal.tier != "ambient")


def _in_spans(case: Case) -> Iterator[_Clue]:
    table = codes()
    spans = case.focus_spans
    named = pc.match_substring_regex(spans.column("attributes"), pattern=r'(?i)(code|reason|detail)":')
    for row in np.flatnonzero(pc.fill_null(named, fill_value=False).to_numpy()).tolist():
        attributes = read_attributes(spans.column("attributes")[row].as_py())
        channel = attributes.get("payment.channel") or attributes.get("channel") or case.channel
        if not isinstance(channel, str):
            continue
        named_codes = {k: v for k, v in answer_codes(attributes).items() if _may_be_code(v)}
        if any(table.find(channel, code) for code in named_codes.values()):
            continue
        for key, code in named_codes.items():
            said = _said(attributes, key) or spans.column("exception.message")[row].as_py() or ""
            yield _Clue(Wording(said, code, _key(channel), key), 0.95, case.cite_span(spans, row))


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


def _may_be_code(value: Any) -> bool:
    return (
        isinstance(value, (str, int))
        and not isinstance(value, bool)
        and str(value).strip().lower() not in {*_PLAIN, ""}
    )


def _said(attributes: Mapping[str, Any], key: str) -> str:
    """The message beside a code: the attribute that says so, never the code itself."""
    texts = [v for k, v in attributes.items() if k != key and isinstance(v, str) and _SAYS_KEY.search(k)]
    return next((text for text in texts if " " in text or not text.isascii()), "")


def _key(channel: str) -> str:
    """The channel as the tables spell it, where they know it."""
    return next(iter(codes().channels(channel)), channel)


def _finding(case: Case, hits: list[tuple[float, _Clue, Reading]]) -> Found:
    strength, clue, reading = hits[0]
    wording, fault = clue.wording, fault_name(reading.fault_class)
    share = round(100 * reading.probability)
    why = ", ".join(term for term, _ in reading.terms[:3])
    because, zh_because = (f" (from: {why})", f"（依据：{why}）") if why else ("", "")
    if wording.code:
        text = f' ("{clip(wording.text, _QUOTE)}")' if wording.text else ""
        en = f"{wording.channel} answered {wording.code}{text}, which is in no code table; its wording reads as: {fault.en}, {share} %{because}"
        zh = f"{wording.channel} 返回 {wording.code}{text}，该码不在码表中；按措辞判断为{fault.zh}，可能性 {share}%{zh_because}"
    else:
        quote = clip(" ".join(wording.text.split()), _QUOTE)
        en = f'"{quote}" is of no known wording; its words read as: {fault.en}, {share} %{because}'
        zh = f"“{quote}”不属于已知措辞；按用词判断为{fault.zh}，可能性 {share}%{zh_because}"
    cites = tuple(dict.fromkeys(hit[1].cited for hit in hits))[:_CITES]
    return Found(
        kind="unseen.code" if wording.code else "unseen.message",
        statement=Text(en=en, zh=zh),
        cites=cites,
        supports=reading.fault_class,
        subclass=reading.subclass,
        strength=round(strength, 4),
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
