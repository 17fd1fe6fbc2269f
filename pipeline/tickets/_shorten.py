"""A note that is longer than a system takes: its head, cut so that what is left is still well formed."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import msgspec

from pipeline.tickets.system import File

# What follows a head, in both languages, since a note does not say which one it is in.
CUT = "The rest did not fit here. / 其余内容放不下。"
_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
_MACRO = re.compile(r"\{(code|noformat|quote|color|panel)(?::[^{}\n]{0,200})?\}")


def short_text(text: str, limit: int, end: str = "") -> str:
    r"""The first lines of a text and `end`, at most `limit` characters.

    >>> short_text("one\ntwo\nthree", 9, "m"), short_text("one", 9, "m")
    ('one\n\nm', 'one\n\nm')
    """
    tail = f"\n\n{end}" if end else ""
    if len(text) + len(tail) <= limit:
        return text + tail
    told = f"\n{CUT}" if limit > len(CUT) * 3 else ""
    return _lines(text, limit - len(tail) - len(told)) + told + tail


def short_wiki(text: str, limit: int, end: str = "") -> str:
    """As `short_text`, for Jira's wiki text: macros that the cut left open are closed.

    Source: https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa?section=all
    """
    if len(text) <= limit:
        return text
    head = _lines(text, limit - len(end) - len(CUT) - 120)
    left: list[str] = []
    for macro in _MACRO.finditer(head):
        name = macro.group(1)
        # Inside these two nothing else is a macro.
        if left and left[-1] in {"code", "noformat"} and name != left[-1]:
            continue
        left.pop() if left and left[-1] == name else left.append(name)
    closing = "".join(f"\n{{{name}}}" for name in reversed(left))
    return f"{head}{closing}\n\n{CUT}" + (f"\n{end}" if end else "")


def _lines(text: str, room: int) -> str:
    head = text[: max(0, room)]
    return head[: head.rfind("\n")] if "\n" in head else head


class _Head(HTMLParser):
    """Passes HTML on as it came until the room is used up, and knows what is open then."""

    def __init__(self, room: int) -> None:
        super().__init__(convert_charrefs=False)
        self.room = room
        self.pieces: list[str] = []
        self.left: list[str] = []
        self.full = False

    def _add(self, piece: str) -> bool:
        size = len(piece.encode()) + sum(len(tag) + 3 for tag in self.left)
        self.full = self.full or size > self.room
        if not self.full:
            self.pieces.append(piece)
            self.room -= len(piece.encode())
        return not self.full

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if self._add(self.get_starttag_text() or "") and tag not in _VOID:
            self.left.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._add(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.left and self._add(f"</{tag}>"):
            del self.left[len(self.left) - 1 - self.left[::-1].index(tag)]

    def handle_data(self, data: str) -> None:
        for line in data.splitlines(keepends=True):
            self._add(line)

    def handle_entityref(self, name: str) -> None:
        self._add(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._add(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self._add(f"<!--{data}-->")


def short_html(html: str, limit: int, end: str = "") -> str:
    """HTML and `end` (HTML, too), at most `limit` bytes in UTF-8; elements that the cut left open are closed.

    >>> short_html("<div><p>one</p><p>two</p></div>", 1000, "<p>m</p>")
    '<div><p>one</p><p>two</p></div><p>m</p>'
    """
    if len((html + end).encode()) <= limit:
        return html + end
    told = f"<p>{CUT}</p>"
    head = _Head(limit - len((told + end).encode()) - 200)
    head.feed(html)
    head.close()
    return "".join(head.pieces) + "".join(f"</{tag}>" for tag in reversed(head.left)) + told + end


def short_adf(document: dict[str, Any], limit: int) -> dict[str, Any]:
    """A document of Atlassian's format whose JSON has at most `limit` bytes: blocks are left out from the end.

    A last block that holds the marker alone is of no use here: the marker is in the comment's property.
    """
    if len(msgspec.json.encode(document)) <= limit:
        return document
    told = {"type": "paragraph", "content": [{"type": "text", "text": CUT}]}
    room = limit - len(msgspec.json.encode({**document, "content": [told]}))
    kept: list[Any] = []
    for block in document.get("content") or []:
        room -= len(msgspec.json.encode(block)) + 1
        if room < 0:
            break
        kept.append(block)
    return {**document, "content": [*kept, told]}


def whole(body: str, name: str, media_type: str) -> File:
    """The whole note as a file, for where only its head fits."""
    return File(name, media_type, body.encode())
