"""Headers taken off, token by token: how much of each line is header, and what it says."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.distinct import buffers
from parsers.filling import NOTHING, Fill
from parsers.levels import levels_of
from parsers.lines.header_forms import (
    ACCESS,
    ANY_HEADER,
    AROUND_TIME,
    BEHIND,
    DOTNET,
    GO,
    HINT,
    KLOG,
    LEVEL_AFTER,
    LEVEL_FIRST,
    LEVEL_LOWER,
    NO_LOGGER,
    OPEN,
    RUBY,
    WHEN,
    WHOLE,
    WRAPS,
)
from parsers.lines.strings import cut_out, groups_of, heads_of, matching, matching_among, tails_of
from parsers.times import parse_times


class _Headers:
    """Headers being taken off: how many bytes of each text are consumed so far."""

    def __init__(self, text: Any, need_time: Any, fill: Fill, zone: tzinfo | None, around: datetime | None) -> None:
        self.head = heads_of(text)
        self.at = np.zeros(len(text), dtype=np.int64)
        self.need_time = need_time
        self.fill = fill
        self.zone = zone
        self.around = around

    def rest(self, rows: Any) -> Any:
        """What is left of the heads of `rows`."""
        return tails_of(self.head.take(pa.array(rows)), self.at[rows])

    def take(self, pattern: str, rows: Any) -> tuple[Any, dict[str, Any]]:
        """Those of `rows` whose rest matches, and the groups; the group `all` is consumed."""
        if pattern in WHOLE:
            chosen, header = self.consume(pattern, rows)
            return chosen, groups_of(header, pattern) if len(chosen) else {}
        part = self.rest(rows)
        hits = matching(part, pattern)
        chosen = rows[hits]
        if not len(chosen):
            return chosen, {}
        struct = pc.extract_regex(part.filter(pa.array(hits)), pattern)
        groups = {field.name: pc.struct_field(struct, number) for number, field in enumerate(struct.type)}
        self.at[chosen] += pc.binary_length(groups["all"]).to_numpy(zero_copy_only=False)
        if "time" in groups:
            self.put_times(chosen, groups["time"])
        if "service" in groups:
            self.fill.put("service.name", chosen, groups["service"])
        return chosen, groups

    def consume(self, pattern: str, rows: Any) -> tuple[Any, Any]:
        """Those of `rows` whose rest matches one of `WHOLE`, and what is consumed of each."""
        part = self.rest(rows)
        hits = matching(part, pattern)
        chosen = rows[hits]
        if not len(chosen):
            return chosen, None
        part = part if hits.all() else part.filter(pa.array(hits))
        edges, _ = buffers(part)
        # RE2 finds the end of a match many times faster than its groups, and without them is all that this asks for.
        left = pc.binary_length(pc.replace_substring_regex(part, pattern, "")).to_numpy(zero_copy_only=False)
        sizes = np.diff(edges) - left
        self.at[chosen] += sizes
        return chosen, cut_out(part, edges[:-1], sizes)

    def take_time(self, rows: Any) -> Any:
        """The time in front of those of `rows` that have one; these rows."""
        chosen, header = self.consume(WHEN, rows)
        if len(chosen):
            # A time begins and ends with a letter or digit, and what is around it has none.
            self.put_times(chosen, header, around=True)
        return chosen

    def put_times(self, rows: Any, texts: Any, *, around: bool = False) -> None:
        """The times of `rows` that lack one."""
        wanted = self.need_time[rows]
        if wanted.any():
            texts = texts.filter(pa.array(wanted))
            texts = pc.utf8_trim(texts, AROUND_TIME) if around else texts
            self.fill.put("@timestamp", rows[wanted], parse_times(texts, self.zone, self.around))

    def take_logger(self, pattern: str, rows: Any) -> Any:
        """The part behind the level, unless what stands where a logger would is none; the rows that had it."""
        before = self.at.copy()
        chosen, groups = self.take(pattern, rows)
        if not len(chosen):
            return chosen
        wrong = matching(groups["logger"], NO_LOGGER)
        self.at[chosen[wrong]] = before[chosen[wrong]]
        _put_logger(self.fill, chosen[~wrong], groups, ~wrong)
        return chosen[~wrong]

    def take_first_level(self, rows: Any) -> Any:
        """A level at the very start of a line without a time."""
        before = self.at.copy()
        chosen, groups = self.take(LEVEL_FIRST, rows)
        if not len(chosen):
            return chosen
        answer = (
            matching(groups["next"], r"^\d")
            & ~matching(groups["next"], r"^\d{4}-")
            & matching(groups["all"], r"\w\s+$")
        )
        self.at[chosen[answer]] = before[chosen[answer]]
        chosen = chosen[~answer]
        _put_level(self.fill, chosen, {"level": groups["level"].filter(pa.array(~answer))})
        self.take_time(chosen)
        return chosen


def from_header(
    text: Any, candidates: Any, need_time: Any, fill: Fill, zone: tzinfo | None, around: datetime | None
) -> Any:
    """`text` without its header, the header's values in `fill`."""
    headers = _Headers(text, need_time, fill, zone, around)
    candidates = matching_among(headers.head, ANY_HEADER, candidates)
    for pattern in WRAPS:
        rows, groups = headers.take(pattern, np.flatnonzero(candidates))
        if len(rows) and "priority" in groups:
            fill.made[rows] = True
            numbers = pc.if_else(pc.equal(groups["priority"], ""), NOTHING, groups["priority"]).cast(pa.int64())
            severity = pc.subtract(numbers, pc.multiply(pc.divide(numbers, 8), 8)).cast(pa.string())
            fill.put("log.level", rows, levels_of(severity, "priority"))
    left = candidates.copy()
    for pattern in (KLOG, RUBY, DOTNET, ACCESS):
        rows, groups = headers.take(pattern, np.flatnonzero(left))
        left[rows] = False
        if "level" in groups:
            fill.put("log.level", rows, levels_of(groups["level"]))
            fill.put("log.logger", rows, _bare_logger(pc.utf8_trim_whitespace(groups["logger"])))
    # With a time in front a level may stand anywhere in the header, without one only at the very start.
    timed = headers.take_time(np.flatnonzero(left))
    left[timed] = False
    upper, groups = headers.take(LEVEL_AFTER, timed)
    _put_level(fill, upper, groups)
    plain = np.setdiff1d(timed, upper, assume_unique=True)
    lower, groups = headers.take(LEVEL_LOWER, plain)
    if len(lower):
        words = pc.binary_join_element_wise(*(groups[name] for name in ("boxed", "bare", "han", "named")), "")
        _put_level(fill, lower, {"level": words, "before": groups["before"]})
    plain = np.setdiff1d(plain, lower, assume_unique=True)
    first = headers.take_first_level(np.flatnonzero(left))
    left[first] = False
    unknown = np.sort(np.concatenate([plain, np.flatnonzero(left)]))
    _hint(headers.rest(unknown), unknown, fill)
    headers.take(GO, plain)
    behind = np.sort(np.concatenate([upper, lower, first]))
    closed = headers.take_logger(BEHIND, behind)
    headers.take_logger(OPEN, np.setdiff1d(behind, closed, assume_unique=True))
    body = pc.utf8_trim_whitespace(tails_of(text, headers.at))
    # monolog closes with its empty context and extra.
    if pc.any(pc.ends_with(body, " []")).as_py():
        body = pc.replace_substring_regex(body, r"(?: \[\]){1,2}$", "")
    return body


def _put_level(fill: Fill, rows: Any, groups: dict[str, Any]) -> None:
    if not len(rows):
        return
    fill.put("log.level", rows, levels_of(groups["level"]))
    if "channel" in groups:
        fill.put("log.logger", rows, groups["channel"])
    if "before" in groups:
        got = pc.extract_regex(
            groups["before"], r"(?P<logger>[A-Za-z_$][\w$]*(?:[.$/][\w$]+)+(?:[:#]\d+)?|[A-Za-z_]\w*)\]? (?:- )?$"
        )
        fill.put("log.logger", rows, pc.struct_field(got, 0))


def _hint(head: Any, rows: Any, fill: Fill) -> None:
    """A level in front of a line that has no other header: known, but left in the text, where it may be a word."""
    if not len(rows):
        return
    hits = matching(head, HINT)
    if hits.any():
        got = pc.extract_regex(head.filter(pa.array(hits)), HINT)
        fill.put("log.level", rows[hits], levels_of(pc.struct_field(got, 0)))


def _put_logger(fill: Fill, rows: Any, groups: dict[str, Any], right: Any) -> None:
    """The logger of a header: the bare name, else the last dotted name in brackets."""
    names = groups["logger"].filter(pa.array(right))
    fill.put("log.logger", rows, _bare_logger(names))
    without = pc.equal(names, "").to_numpy(zero_copy_only=False)
    header = groups["all"].filter(pa.array(right)).filter(pa.array(without))
    boxed = pc.extract_regex(header, r"^.*\[(?P<logger>[A-Za-z_$][\w$]*(?:\.[\w$]+)+)\]")
    fill.put("log.logger", rows[without], pc.struct_field(boxed, 0))


def _bare_logger(names: Any) -> Any:
    encoded = names.dictionary_encode()
    bare = pc.replace_substring_regex(encoded.dictionary, r"^\[|\]$|(?:\(\))?(?:[:#](?:[\w<>]+:)?\d+)?$", "")
    return bare.take(encoded.indices)
