"""Channel codes: what the payment channel answered, looked up by channel and code, never by code alone.

Codes stand in three places: on the order's own events (`code`, `refusalReason`, ...), in gateway bodies inside log lines,
and in span attributes. A success code says nothing here; a code that no table knows is said to be unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import re2

from pipeline.evidence.case import Case, answer_codes, is_code_key, read_attributes
from pipeline.faults import CodeFact, codes, fault_name
from pipeline.payments.attempts import Attempt
from pipeline.payments.refunds import Refund
from pipeline.values import Cited, Found, Seen
from snapshots.model import Check, Text

# Attributes of order events that are not answers of a channel.
_NOT_CODES = frozenset(
    {"customer_id", "phone_tail", "shop_system", "channel_txn_id", "out_trade_no", "verified", "http_answer"}
)
# A token that could be a code: with a capital letter or underscore inside, or of at least five digits.
_TOKEN = re2.compile(r"[A-Za-z][A-Za-z0-9]*(?:[._-][A-Za-z0-9]+)*|\b\d{5,9}\b")
_CONFIDENCE = {"high": 1.0, "medium": 0.8, "low": 0.5}
# Said of nothing in particular: such a code never outweighs a more exact one from the same answer.
_VAGUE = frozenset({"unknown"})
# The outer code of an answer, which names a group of faults and leaves the fault itself to an inner code or the message.
_OUTER = frozenset(
    {"40001", "40002", "40003", "40004", "40006", "20000", "20001", "FAIL", "UNPROCESSABLE_ENTITY", "INVALID_REQUEST", "BAD_REQUEST_ERROR",
     "INVALID_REQUEST_ERROR", "CARD_ERROR", "API_ERROR", "PARAM_ERROR", "PARAMETER_UNKNOWN", "VALIDATION_ERROR", "INTERNAL_SERVER_ERROR"}
)  # fmt: skip
_TIER = {"focus": 1.0, "near": 0.85, "ambient": 0.45}
_HAN = re2.compile(r"[\x{4e00}-\x{9fff}]")
_CITES = 5
# What an earlier attempt was answered counts less than what the latest was.
_EARLIER = 0.5
# Different codes of spans that no table knows and that are told; the others are counted.
_MOST_UNKNOWN = 100
# Words such as success or a status name are not codes that anybody must explain.
_WORDS = frozenset({"SUCCESS", "OK", "FAIL", "FAILED", "ERROR", "NONE", "NULL", "FAILURE", "DECLINED"})


@dataclass
class _Answer:
    channel: str
    code: str
    fact: CodeFact | None
    weight: float
    cites: list[Cited]
    where: str
    message: str | None = None
    # A more exact code of the same answer is in no table: this one only names the group.
    outer: bool = False


def detect(case: Case) -> Seen:
    """One finding for each distinct (channel, code), strongest place first."""
    answers: dict[tuple[str, str], _Answer] = {}
    in_spans, unread = _in_spans(case)
    for answer in (*_on_events(case), *_in_lines(case), *in_spans):
        kept = answers.setdefault((answer.channel, answer.code), answer)
        if kept is not answer:
            kept.weight = max(kept.weight, answer.weight)
            if len(kept.cites) < _CITES:
                kept.cites += [c for c in answer.cites if c not in kept.cites]
            kept.message = kept.message or answer.message
            kept.outer = kept.outer or answer.outer
    found = [_finding(answer) for answer in answers.values()]
    found = [finding for finding in found if finding]
    names = ", ".join(case.scope.channels) or "-"
    if found:
        check = Check(
            id="channel_codes",
            outcome="found",
            statement=Text(
                en=f"answer codes of {names}: {len(found)} found", zh=f"{names} 应答码：发现 {len(found)} 个"
            ),
        )
    elif case.silent:
        statement = Text(
            en="answer codes: no log line of the window names this order", zh="应答码：窗口内没有日志提到该订单"
        )
        check = Check(id="channel_codes", outcome="not_evaluated", statement=statement)
    else:
        statement = Text(en=f"no failing answer code of {names} was seen", zh=f"未见 {names} 的失败应答码")
        check = Check(id="channel_codes", outcome="healthy", statement=statement)
    return Seen(tuple(f for f in found if f), (check,), unread)


def _on_events(case: Case) -> Iterator[_Answer]:
    table = codes()
    for order in case.focus:
        parts: list[Attempt | Refund] = [*order.attempts, *order.refunds]
        for part in parts:
            event = part.latest
            weight = 1.0 if part is parts[-1] or part.entity_id == parts[-1].entity_id else _EARLIER
            channel = event.channel or order.channel
            if channel is None:
                continue
            for key, value in event.attributes.items():
                if key in _NOT_CODES or not isinstance(value, (str, int)) or isinstance(value, bool) or value == "":
                    continue
                flow = "refund" if part in order.refunds else "pay"
                fact = table.find(channel, str(value), flow)
                # Shops keep notes and names there as well: only what is named a code can be an unknown one.
                if fact or is_code_key(key):
                    yield _Answer(channel, str(value), fact, weight, [event.cited], f"{part.entity_id} {key}")


def _in_lines(case: Case) -> Iterator[_Answer]:
    table, flow = codes(), _flow(case)
    for signal in case.signals:
        weight = _TIER[signal.tier] * signal.share
        seen: set[str] = set()
        for reply in signal.replies:
            channel = reply.channel or case.channel
            if channel is None:
                continue
            facts = [(code, table.find(channel, code, flow)) for _, code in reply.codes]
            exact = [(code, fact) for code, fact in facts if fact and fact.fault_class not in _VAGUE]
            chosen = exact[:1] or facts[:1]
            unknown_first = (
                bool(exact) and facts[0] != exact[0] and facts[0][1] is None and not _says_nothing(facts[0][0])
            )
            for code, fact in chosen:
                seen.add(code)
                yield _Answer(channel, code, fact, weight, [signal.cited], "reply", reply.message, unknown_first)
        for channel in dict.fromkeys((*case.scope.channels, "network")):
            for token in dict.fromkeys(_TOKEN.findall(signal.text)):
                if token in seen or not _code_like(token, channel):
                    continue
                fact = table.find(channel, token, flow)
                if fact:
                    yield _Answer(channel, token, fact, weight * 0.95, [signal.cited], "line")


def _in_spans(case: Case) -> tuple[list[_Answer], int]:
    """The codes in the spans' attributes, each with the first few spans that bear it; how many unknown ones were left out.

    What is named a code may be another in each of a hundred thousand spans: of those in no table the first few are told.
    """
    table, flow = codes(), _flow(case)
    spans = case.focus_spans
    answers: list[_Answer] = []
    times: Counter[tuple[str, str]] = Counter()
    unknown = unread = 0
    texts = spans.column("attributes").to_pylist()
    named = pc.match_substring_regex(spans.column("attributes"), pattern=r'(?i)(code|reason|detail)":')
    for row in np.flatnonzero(pc.fill_null(named, fill_value=False).to_numpy()).tolist():
        attributes = read_attributes(texts[row])
        channel = attributes.get("payment.channel") or attributes.get("channel") or case.channel
        if not isinstance(channel, str):
            continue
        in_row: set[str] = set()
        for key, value in answer_codes(attributes).items():
            if value in in_row or times[channel, value] >= _CITES:
                continue
            fact = table.find(channel, value, flow)
            if fact is None and not times[channel, value]:
                if unknown >= _MOST_UNKNOWN:
                    unread += 1
                    continue
                unknown += 1
            in_row.add(value)
            times[channel, value] += 1
            answers.append(_Answer(channel, value, fact, 0.95, [case.cite_span(spans, row)], key))
    return answers, unread


def _flow(case: Case) -> str | None:
    """What the order's lines and spans are about: a payment, unless a refund may be meant as well."""
    return None if any(order.refunds for order in case.focus) else "pay"


def _code_like(token: str, channel: str) -> bool:
    if token.isdigit():
        return channel != "network"
    if len(token) < 4:
        return False
    return "_" in token or "." in token or token.isupper() or (not token.islower() and not token.istitle())


def _meaning(fact: CodeFact) -> Text:
    """The table's meaning by language; where it has only one, the fault's name stands for the other."""
    parts = [part.strip() for part in fact.meaning.split(" / ")]
    chinese = [part for part in parts if _HAN.search(part)]
    english = [part for part in parts if not _HAN.search(part)]
    named = fault_name(fact.fault_class, fact.fault_subclass)
    return Text(en=" / ".join(english) or named.en, zh=" / ".join(chinese) or f"{named.zh}（{fact.meaning}）")


def _says_nothing(code: str) -> bool:
    return code.upper() in _WORDS or (code.isdigit() and len(code) < 3)


def _finding(answer: _Answer) -> Found | None:
    fact = answer.fact
    cites = tuple(answer.cites[:_CITES])
    said = f' ("{answer.message}")' if answer.message else ""
    if fact is None:
        if (
            not _code_like(answer.code, answer.channel)
            or answer.where in ("reply", "line")
            or _says_nothing(answer.code)
        ):
            return None
        return Found(
            kind="channel_code.unknown",
            statement=Text(
                en=f"{answer.channel} answered {answer.code}{said}; this code is in no table that we have",
                zh=f"{answer.channel} 返回 {answer.code}{said}，该码不在码表中",
            ),
            cites=cites,
            strength=0.0,
            channel=answer.channel,
            code=answer.code,
        )
    if fact.fault_class in ("success", "unknown"):
        return None
    name = "network" if answer.channel == "network" else answer.channel
    meaning = _meaning(fact)
    return Found(
        kind=_kind(answer),
        statement=Text(
            en=f"{name} code {answer.code}{said}: {meaning.en}",
            zh=f"{name} 返回码 {answer.code}{said}：{meaning.zh}",
        ),
        cites=cites,
        supports=fact.fault_class,
        subclass=fact.fault_subclass,
        strength=answer.weight * _CONFIDENCE.get(fact.confidence, 0.5),
        service=cites[0].service if cites else None,
        channel=answer.channel,
        code=answer.code,
        about_focus=answer.weight >= 0.8,
        at=cites[0].at if cites else None,
    )


def names_a_group(code: str) -> bool:
    """Whether `code` only says which group of faults it was.

    >>> names_a_group("PARAM_ERROR"), names_a_group("NOTENOUGH")
    (True, False)
    """
    return code.upper() in _OUTER


def _kind(answer: _Answer) -> str:
    if answer.channel == "network":
        return "channel_code.network"
    return "channel_code.outer" if answer.outer or names_a_group(answer.code) else "channel_code.exact"
