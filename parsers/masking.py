"""Masking: what differs from line to line and says nothing of the event becomes the wildcard `<*>`.

`folding.py` folds what holds digits, on every line. The rules here run once on each distinct line that is left: dates, URLs,
hosts, paths. All are RE2: linear time, whatever the input. Masking what is masked changes nothing.

A quantity and its unit (`<*> KB`), and wildcards that follow each other (`<*> <*>`), are held together by `JOINED` in the
place of the blank, as one token: where the unit or the number of values is always the same, the template spells it out; where
it varies, the whole is one wildcard.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from parsers.folding import fold

# Stands for a blank inside one token.
JOINED = "\x04"
# In front of a token that follows the one before without a blank.
GLUED = "\x05"

# What Unicode has of blanks beside the plain one: every later step splits at them.
_WIDE_BLANK = r"[\x{80}-\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
# Any of them, and control characters.
BLANK = rf"[\x{{00}}-\x{{20}}\x{{7f}}{_WIDE_BLANK[1:]}"

_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?:[a-z]{0,4}day)?"
_MONTH = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    "Nov(?:ember)?|Dec(?:ember)?)"
)
# Top-level domains that logs are full of. A dotted name that ends in one is a host; others may be Java packages.
_DOMAIN = (
    "(?:com|net|org|edu|gov|mil|io|info|biz|cn|hk|tw|jp|kr|sg|in|us|ca|uk|de|fr|nl|se|ch|eu|ru|br|au|local|internal|lan|"
    "localdomain)"
)
_LABEL = r"(?:[a-z0-9_\-]|<\*>)+"
_SEGMENT = r"(?:[A-Za-z0-9_.~%@+$*\-]|<\*>)"
UNIT = "(?:bytes?|[KMGTPkmgt]i?B|B|[mun]s|msecs?|secs?|seconds?|s|minutes?|mins?|hours?|days?|[KMG]?Hz)"


@dataclass(frozen=True)
class _Rule:
    """`pattern` becomes `replacement`; a line without `sign` has nothing that could match."""

    sign: str
    pattern: str
    replacement: str = "<*>"


_OTHER_BLANKS = _Rule("", rf" ?{_WIDE_BLANK}(?: |{_WIDE_BLANK})*", " ")
_RULES = (
    # Dates as people write them; those of digits alone are folded. `Sat Jul 9 11:35:59 2005`, `Jun 18, 2005`.
    _Rule("<*>", rf"(?:\b{_DAY},? )?\b{_MONTH}\.? <\*>(?:,? <\*>)?(?: [A-Z]{{3,4}} <\*>| <\*>)?"),
    # A URL keeps its host and path, which name the call, and loses its query string.
    _Rule("?", r"(https?://[^\s?\"'，。）)]+)\?[^\s\"'，。）)]+", r"\1?*"),
    # Of other schemes nothing is kept: jdbc, redis, hdfs, spark, file.
    _Rule("://", r"\b(?:[a-gi-z][a-z0-9+.\-]*|h(?:[a-su-z0-9+.\-][a-z0-9+.\-]*)?)://[^\s\"',，。）)\]]*"),
    # Hosts: with a port, or by their domain (twice, since two hosts may share the blank between them).
    _Rule(":<*>", rf"(^|[^A-Za-z0-9_./@\-]){_LABEL}(?:\.{_LABEL})+:<\*>", r"\1<*>"),
    *[_Rule(".", rf"(^|[^A-Za-z0-9_./@\-])(?:{_LABEL}\.)+{_DOMAIN}($|[^A-Za-z0-9_.\-])", r"\1<*>\2")] * 2,
    # What an HTTP request line asks for.
    _Rule(" HTTP/", r"(^|[\s\"'(\[])/[^\s\"']* HTTP/<\*>", r"\1<*>"),
    # Absolute paths of two parts or more.
    _Rule("/", rf"(^|[\s\"'(\[=:,;|])/{_SEGMENT}+(?:/{_SEGMENT}*)+", r"\1<*>"),
    _Rule(":\\", rf"\b[A-Za-z]:(?:\\{_SEGMENT}+)+\\?"),
    # A list of values after a key is one value, however many it holds.
    _Rule(", ", r"([=:] ?)\[[^\[\]=]*, [^\[\]=]*\]", r"\1[<*>]"),
    # Long hexadecimal without a digit is still an id.
    _Rule("", r"\b[a-fA-F]{8,}\b"),
    # Signs and currency symbols before a value belong to it; wildcards that touch are one.
    _Rule("<*>", r"(^|[\s(\[=:,])[+\-$€£¥￥]+<\*>", r"\1<*>"),
    _Rule("<*>", r"<\*>(?:[._:\-/]*<\*>)+"),
)
_JOINS = (
    _Rule("<*> ", rf"<\*> ({UNIT})\b", rf"<*>{JOINED}\1"),
    # `28902 bytes (28.2 KB)` says one thing twice.
    _Rule(JOINED, rf"(<\*>{JOINED}{UNIT}) (\(<\*>(?:{JOINED}{UNIT})?\))", rf"\1{JOINED}\2"),
    *[_Rule("<*> <*>", r"<\*> <\*>", f"<*>{JOINED}<*>")] * 2,
)

# Han, kana and hangul, and the punctuation that is set without blanks.
_HAN = r"\x{1100}-\x{11ff}\x{2e80}-\x{2fff}\x{3040}-\x{a4cf}\x{ac00}-\x{d7af}\x{f900}-\x{faff}"
_WIDE = (
    r"\x{2018}-\x{201f}\x{2026}\x{3001}-\x{303f}\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff20}\x{ff3b}-\x{ff40}\x{ff5b}-\x{ff65}"
)
# Where a line splits without a blank: each twice, since two borders may share a character.
_BORDERS = (
    *[_Rule("", rf"([{_WIDE}])([^\s{GLUED}])", rf"\1 {GLUED}\2")] * 2,
    *[_Rule("", rf"([^\s{GLUED}])([{_WIDE}])", rf"\1 {GLUED}\2")] * 2,
    *[_Rule("", rf"([{_HAN}])([^\s{_HAN}{_WIDE}])", rf"\1 {GLUED}\2")] * 2,
    *[_Rule("", rf"([^\s{_HAN}{_WIDE}{GLUED}])([{_HAN}])", rf"\1 {GLUED}\2")] * 2,
    # Behind one of these stands a name.
    _Rule("", rf"(用户|商户|客户|会员|账号|户名|姓名)([{_HAN}])", rf"\1 {GLUED}\2"),
)
# JSON that was written without blanks.
_MEMBERS = (_Rule('":', r'(":)([^\s])', rf"\1 {GLUED}\2"), _Rule(',"', '(,)(")', rf"\1 {GLUED}\2"))

# No rule makes a line longer, so it settles; this only bounds the work.
_ROUNDS = 8


def mask(messages: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """`messages` masked, dictionary-encoded: the dictionary holds each distinct masked line once.

    Only the first line of a message is kept, and of that 1,024 characters once it is folded. Nulls are masked as the empty
    line.
    """
    folded = fold(messages)
    masked = mask_folded(folded.dictionary)
    return pa.DictionaryArray.from_arrays(pc.take(masked.indices, folded.indices), masked.dictionary)


def mask_folded(folded: pa.Array) -> pa.DictionaryArray:
    """`mask` for lines that are folded: the number of its masked line for each, and the distinct masked lines."""
    lines = pc.utf8_trim(_settle(blanked(folded)), characters=" ")
    for rule in _JOINS:
        lines = _apply(rule, lines)
    return pc.dictionary_encode(lines)


def blanked(folded: pa.Array) -> pa.Array:
    """Folded lines with a plain blank for any of Unicode's."""
    return _apply_to_some(_OTHER_BLANKS, folded, pc.invert(pc.string_is_ascii(folded)))


def tokenise(masked: pa.Array) -> pa.Array:
    """Masked lines with a blank between any two tokens, also where scripts or wide punctuation meet without one."""
    other = pc.invert(pc.string_is_ascii(masked))
    for rule in _BORDERS:
        masked = _apply_to_some(rule, masked, other)
    for rule in _MEMBERS:
        masked = _apply(rule, masked)
    return masked


def untokenised(lines: pa.Array) -> pa.Array:
    """What `tokenise` was given."""
    return pc.replace_substring(pc.replace_substring(lines, f" {GLUED}", ""), GLUED, "")


def spell(tokens: str) -> str:
    """The tokens of a template as a person reads them."""
    return tokens.replace(f" {GLUED}", "").replace(GLUED, "").replace(JOINED, " ")


def _settle(lines: pa.Array, rounds: int = _ROUNDS) -> pa.Array:
    """Apply the rules until they change nothing: what one leaves can be what another looks for."""
    after = lines
    for rule in _RULES:
        after = _apply(rule, after)
    changed = pc.not_equal(after, lines)
    if not rounds or not pc.any(changed).as_py():
        return after
    return pc.replace_with_mask(after, changed, _settle(pc.filter(after, changed), rounds - 1))


def _apply(rule: _Rule, lines: pa.Array) -> pa.Array:
    if not rule.sign:
        return pc.replace_substring_regex(lines, pattern=rule.pattern, replacement=rule.replacement)
    return _apply_to_some(rule, lines, pc.match_substring(lines, rule.sign))


def _apply_to_some(rule: _Rule, lines: pa.Array, some: pa.Array) -> pa.Array:
    """Apply `rule` where `some` holds; elsewhere it would change nothing."""
    share = pc.mean(some).as_py() or 0.0
    if share == 0.0:
        return lines
    if share > 0.5:
        return pc.replace_substring_regex(lines, pattern=rule.pattern, replacement=rule.replacement)
    changed = pc.replace_substring_regex(pc.filter(lines, some), pattern=rule.pattern, replacement=rule.replacement)
    return pc.replace_with_mask(lines, some, changed)
