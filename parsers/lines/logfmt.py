"""A message of `key=value` pairs (https://brandur.org/logfmt): the envelope's values in their columns, the rest as the body."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.filling import Fill, mask_of
from parsers.levels import levels_of
from parsers.lines.strings import heads_of, matching, matching_among
from parsers.times import parse_times

_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_LOGFMT = r"^\s*(?:[A-Za-z_@][\w.@-]*=(?:" + _QUOTED + r"|[^\s\"']\S*|)\s+)+[A-Za-z_@][\w.@-]*=\S*"
_LOGFMT_KEYS: dict[str, str] = {
    "@timestamp": "ts|time|timestamp|t|@timestamp",
    "log.level": "level|lvl|severity|log\\.level",
    "log.logger": "logger|component|module|log\\.logger|logger_name",
    "trace.id": "trace_id|traceID|traceId|trace\\.id|traceid",
    "span.id": "span_id|spanID|spanId|span\\.id|spanid",
    "service.name": "service|service\\.name|app|svc",
}
_LOGFMT_MESSAGE = "msg|message|event"


def _value(texts: Any, keys: str) -> Any:
    """The value of the first of `keys` in logfmt texts, without its quotes."""
    pattern = (
        rf"(?:^|\s)(?:{keys})=(?:\"(?P<double>(?:[^\"\\]|\\.)*)\"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>[^\s\"']\S*))"
    )
    rows = np.flatnonzero(matching(texts, rf"(?:^|\s)(?:{keys})="))
    none = pa.nulls(len(texts), pa.string())
    if not len(rows):
        return none
    part = texts if len(rows) == len(texts) else texts.take(pa.array(rows))
    got = pc.extract_regex(part, pattern)
    plain = pc.binary_join_element_wise(*(pc.struct_field(got, name) for name in ("double", "single", "bare")), "")
    if pc.any(pc.match_substring(plain, "\\")).as_py():
        plain = pc.replace_substring_regex(plain, r"\\([\"'\\])", r"\1")
    return plain if part is texts else pc.replace_with_mask(none, mask_of(len(texts), rows), plain)


def _without_pairs(texts: Any, keys: str, *, once: bool = False) -> Any:
    """Texts of logfmt without the pairs of `keys` (only the first one where `once`); what stood before them stays."""
    pattern = rf"(^|\s)(?:{keys})=(?:{_QUOTED}|[^\s\"']\S*|)"
    once = once and (pc.max(pc.count_substring_regex(texts, pattern)).as_py() or 0) > 1
    if once or pc.any(pc.match_substring_regex(texts, r"[\t\n\f\r]")).as_py():
        return pc.replace_substring_regex(texts, pattern, r"\1", max_replacements=1 if once else None)
    # What stood before is a blank or nothing; to write a blank needs no groups and is many times faster. That there is one
    # too many at the beginning is as good here, where blanks are joined and trimmed in the end.
    return pc.replace_substring_regex(texts, pattern, " ")


def from_logfmt(
    text: Any, candidates: Any, sought: set[str], fill: Fill, zone: tzinfo | None, around: datetime | None
) -> tuple[Any, Any]:
    """Lines of `key=value` pairs: the envelope's values into `fill`, message and other pairs as the text."""
    done = np.zeros(len(text), dtype=bool)
    hits = matching_among(heads_of(text), r"^\s*[A-Za-z_@][\w.@-]*=", candidates)
    rows = np.flatnonzero(hits)
    if not len(rows):
        return text, done
    part = text.take(pa.array(rows))
    fit = matching(part, _LOGFMT) & matching(part, rf"(?:^|\s)(?:{_LOGFMT_MESSAGE}|level|lvl)=")
    rows, part = rows[fit], part.filter(pa.array(fit))
    if not len(rows):
        return text, done
    for column, keys in _LOGFMT_KEYS.items():
        if column not in sought:
            continue
        values = _value(part, keys)
        if column == "log.level":
            values = levels_of(values)
        elif column == "@timestamp":
            values = parse_times(values, zone, around)
        fill.put(column, rows, values)
    names = "|".join([*_LOGFMT_KEYS.values(), "caller", "pid", "host"])
    rest = _without_pairs(part, names)
    told = _value(rest, _LOGFMT_MESSAGE)
    pairs = _without_pairs(rest, _LOGFMT_MESSAGE, once=True)
    body = pc.binary_join_element_wise(told, pairs, " ", null_handling="skip")
    body = pc.utf8_trim_whitespace(pc.replace_substring_regex(body, r"[ \t]{2,}", " "))
    done[rows] = fill.made[rows] = True
    return pc.replace_with_mask(text, mask_of(len(text), rows), body), done
