"""Text and nested values redacted with one set of settings, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import re2

from parsers.identifiers import values_in
from parsers.redaction.json_text import DEEPEST, free_name, json_suspects, nests_beyond, unescaped, with_repeats
from parsers.redaction.keys import key_of, secret_kind, with_cue
from parsers.redaction.markers import kind_of, marker_of
from parsers.redaction.settings import DEFAULT, RedactionSettings
from parsers.redaction.strings import put_at
from parsers.redaction.text import check_own_patterns, redact_array


class Redactor:
    """Redacts with one set of settings and keeps count over everything that it was given (`counts`)."""

    def __init__(
        self,
        settings: RedactionSettings = DEFAULT,
        *,
        allow: Collection[str] = (),
        masked: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`allow` is as in `redact`. Raises `ValueError` for an own pattern that RE2 cannot take.

        `masked` has values that are personal data whatever stands around them, as whole tokens, each with its marker.
        """
        check_own_patterns(settings)
        self.settings = settings
        self.allow = tuple(allow)
        self.masked = {value: marker for value, marker in masked.items() if value}
        self.counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How many values went in all."""
        return sum(self.counts.values())

    def redact(self, text: str) -> str:
        """`text` redacted."""
        return str(self.redact_array(pa.array([text], pa.string()))[0].as_py())

    def redact_array(self, array: Any) -> Any:
        """A string array (or chunked array) redacted, nulls kept."""
        if self.masked:
            array = self._known(array)
        done, counts = redact_array(array, allow=self.allow, settings=self.settings)
        self.counts.update(counts)
        return done

    def redact_json_lines(self, lines: Any) -> Any:
        """A string array of JSON, one value a string, each redacted as `redact_value` does it and written as JSON again.

        A string that holds nothing keeps its bytes. Of two values under one name the last keeps it. What is no JSON, or nests
        deeper than a hundred levels, is redacted as text, also what escapes in it stand for.
        """
        suspect = json_suspects(lines, self.settings)
        if self.masked:
            suspect = pc.or_(suspect, values_in(unescaped(lines), list(self.masked)))
        rows = pc.indices_nonzero(suspect)
        if len(rows) == 0:
            return lines
        made = lines.take(rows).to_pylist()
        values: dict[int, Any] = {}
        for row, text in enumerate(made):
            with suppress(msgspec.DecodeError, RecursionError):
                value = msgspec.json.decode(text)
                if text.count("[") + text.count("{") <= DEEPEST or not nests_beyond(value, DEEPEST):
                    values[row] = value
        whole = [with_repeats(made[row], value) for row, value in values.items()]
        for (row, before), after in zip(values.items(), self.redact_value(whole), strict=True):
            if after != before:
                made[row] = msgspec.json.encode(after).decode()
        broken = [row for row in range(len(made)) if row not in values]
        texts = self._redact_escaped(pa.array([made[row] for row in broken], lines.type))
        for row, text in zip(broken, texts.to_pylist(), strict=True):
            made[row] = text
        return put_at(lines, rows, pa.array(made, lines.type))

    def _redact_escaped(self, text: Any) -> Any:
        """`text` redacted as it stands, and where something shows only behind its escapes, without them."""
        done = self.redact_array(text)
        # One line stays one line.
        plain = unescaped(pc.replace_substring_regex(done, r"\\[rn]", " "))
        again = self.redact_array(plain)
        return pc.if_else(pc.equal(again, plain), done, again)

    def _known(self, text: Any) -> Any:
        """`text` with every value of `masked` as its marker."""
        if isinstance(text, pa.ChunkedArray):
            return pa.chunked_array([self._known(chunk) for chunk in text.chunks], type=text.type)
        rows = pc.indices_nonzero(values_in(text, list(self.masked)))
        if len(rows) == 0:
            return text
        longest = sorted(self.masked, key=len, reverse=True)
        pattern = re2.compile("(^|[^0-9A-Za-z])(" + "|".join(re2.escape(value) for value in longest) + ")")
        made = []
        for line in text.take(rows).to_pylist():
            pieces, at = [], 0
            while match := pattern.search(line, at):
                start, end = match.span(2)
                follower = line[end : end + 1]
                if follower.isascii() and follower.isalnum():
                    # A part of something longer.
                    pieces.append(line[at:end])
                else:
                    marker = self.masked[match.group(2)]
                    pieces += [line[at:start], marker]
                    self.counts[kind_of(marker)] += 1
                at = end
            made.append("".join([*pieces, line[at:]]))
        return put_at(text, rows, pa.array(made, text.type))

    def redact_value(self, value: Any) -> Any:
        """Nested JSON (dicts, lists, strings, numbers) redacted: strings by their text, fields also by their key.

        All strings are redacted as one column. A key that itself holds personal data is redacted as well; where two
        keys become equal, the later one gets "#2", "#3": no entry is lost.
        """
        leaves: list[str] = []
        self._walk(value, "", leaves.append)
        done = iter(self.redact_array(pa.array(leaves, pa.string())).to_pylist()) if leaves else iter(())
        return self._rebuild(value, "", done)

    def _walk(self, value: Any, key: str, give: Callable[[str], None]) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                give(str(name))
                self._walk(inner, key_of(value, str(name), key), give)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                self._walk(inner, key, give)
        elif _as_text(value) is not None and self._by_key(value, key) is None:
            give(with_cue(key, str(_as_text(value))))

    def _rebuild(self, value: Any, key: str, done: Iterator[str]) -> Any:
        if isinstance(value, Mapping):
            made: dict[str, Any] = {}
            numbers: dict[str, int] = {}
            for name, inner in value.items():
                shown = free_name(next(done), made, numbers)
                made[shown] = self._rebuild(inner, key_of(value, str(name), key), done)
            return made
        if isinstance(value, (list, tuple)):
            return [self._rebuild(inner, key, done) for inner in value]
        marker = self._by_key(value, key)
        if marker is not None:
            if marker != value:
                self.counts[kind_of(marker)] += 1
            return marker
        text = _as_text(value)
        if text is None:
            return value
        cued = with_cue(key, text)
        shown = next(done)
        if shown == cued:
            return value
        return shown.removeprefix(cued[: len(cued) - len(text)])

    def _by_key(self, value: Any, key: str) -> str | None:
        """The marker for a field whose name alone says that it is secret, or None."""
        if not key or value is None or value == "" or isinstance(value, bool):
            return None
        kind = secret_kind(key)
        return marker_of(kind) if kind and kind not in self.settings.off else None


def _as_text(value: Any) -> str | None:
    """Strings as they are, long whole numbers as digits; None for what cannot hold anything."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        # A spreadsheet's phone number.
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 100:
        return str(value)
    return None
