"""Makes text from logs and customers safe to look at, whatever it holds.

A log line is written by whoever can reach the system. Terminal escapes could repaint the screen, direction overrides could
make a line read backwards, invisible characters could hide in an order number: escapes are taken out, the others are shown
by their code point.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

Part = TypeVar("Part")

# Parts what would else be a mark of somebody's: shown as nothing, and not a letter to whoever looks for names or
# addresses.
BREAK = "\u200b"

# ECMA-48 escape sequences: control strings (OSC, DCS, SOS, PM, APC) with their payload, then CSI, then two-character escapes.
_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Bidirectional controls, zero-width characters, the soft hyphen, tag characters, lone surrogates and private marks.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


def clean_text(text: str) -> str:
    r"""`text` without terminal escapes and control characters (newlines stay), invisible characters shown by code point.

    >>> clean_text("paid\x1b[2J\x07 \u202e021")
    'paid ⟨U+202E⟩021'
    """
    if text.isascii() and text.isprintable():
        return text
    text = (
        text.replace("\r\n", "\n")
        .replace("\r", "\n")
        .replace("\t", " ")
        .replace("\u2028", "\n")
        .replace("\u2029", "\n")
    )
    text = _CONTROLS.sub("", _ESCAPES.sub("", text))
    return _INVISIBLE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def clean(part: Part) -> Part:
    """A copy of a model value in which every string, at any depth, is clean (`clean_text`) and on one line."""
    copy: Part = msgspec.convert(_walk(msgspec.to_builtins(part)), type(part))
    return copy


# What templates fill in, also those of a ticket system (Zendesk's and Freshdesk's placeholders, Redmine's macros),
# whatever stands around it; ServiceNow's [code], which turns what follows into HTML; and our own marker, which is to
# be there once.
_FILLED = re.compile(r"(?i)(?<=[{$#<])(?=[{%])|(?<={)(?=#)|(?<=\[)(?=/?code\])|(?<=problem-snapshot)(?=:)")
# What becomes a link by itself.
_ADDRESSES = re.compile(
    r"(?i)(?<=/)(?=/)|(?<=\bwww)(?=\.)|(?:(?<=mailto)|(?<=xmpp)|(?<=news)|(?<=tel)|(?<=javascript))(?=:)"
    r"|(?<=\bdata)(?=:\w+/)"
)
# What calls a person, also out of a quoted line: a reply by mail is plain text to GitHub.
_CALLED = re.compile(r"(?<!\w@)(?<=@)(?=\S)")
# What else names a person or a thing in GitHub, GitLab, Redmine or Jira: #12, !12, &12, ~label, %"milestone",
# [~user], [[page]].
_NAMED = re.compile(r"(?<=@)(?=\S)|(?<=#)(?=\w)|(?<!\w)(?<=[!~&%$^])(?=[\w\"'])|(?<=\[)(?=[\[~^])")


def defused(text: str, *, code: bool = False) -> str:
    r"""`text` in which nothing is a mention, a reference, a link, a template's hole or our marker: parted by `BREAK`.

    Escaping does not do this. GitHub and GitLab look for names in what the reader will see, so that an entity or a
    backslash is no help and a zero-width space is (https://github.com/github/markup/issues/1168), and a template
    engine does not know what is escaped. In `code`, where only mail replies still call somebody
    (https://github.com/dependabot/dependabot-core/pull/3157), other names are left whole, so that they can be copied.

    >>> defused("ask @all about #12 at http://x {{ y }}").replace(BREAK, "|")
    'ask @|all about #|12 at http:/|/x {|{ y }}'
    """
    text = _ADDRESSES.sub(BREAK, _FILLED.sub(BREAK, text))
    return (_CALLED if code else _NAMED).sub(BREAK, text)


def one_line(text: str) -> str:
    r"""`text` on one line, line breaks shown as ⏎.

    >>> one_line("SocketError:\n  getaddrinfo   failed\n")
    'SocketError: ⏎ getaddrinfo failed'
    """
    return " ⏎ ".join(" ".join(line.split()) for line in text.strip().splitlines() if line.strip())


def shorten(text: str, limit: int) -> str:
    """`text` in at most `limit` characters, cut in its last third: what matters stands near the front, or at the very end.

    >>> shorten("abcdefghijklmnopqrstuvwxyz", 12)
    'abcdef … xyz'
    """
    if len(text) <= limit:
        return text
    tail = (limit - 3) // 3
    head = limit - 3 - tail
    return f"{text[:head].rstrip()} … {text[len(text) - tail :].lstrip()}"


def _walk(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(clean_text(value))
    if isinstance(value, dict):
        return {one_line(clean_text(key)): _walk(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_walk(part) for part in value]
    return value
