"""Plain text out of what desks hold: HTML, Atlassian's document format, and a ticket's conversation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from typing import Any

# Longer descriptions and conversations say nothing new: what is cut is told.
MAX_TEXT = 50_000
_MAX_HTML = 1 << 20
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "blockquote",
        "br",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "tr",
        "ul",
    ]
)
_SILENT = frozenset({"script", "style", "head", "title", "template"})
_ADF_BLOCKS = frozenset(
    [
        "paragraph",
        "heading",
        "codeBlock",
        "blockquote",
        "listItem",
        "taskItem",
        "decisionItem",
        "panel",
        "rule",
        "tableRow",
        "mediaSingle",
        "expand",
    ]
)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent = 0
        self._pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag == "pre":
            self._pre += 1
        if tag in _BLOCKS:
            self.pieces.append("\n")
        elif tag in {"td", "th"}:
            self.pieces.append(" ")
        if tag == "img" and (told := dict(attrs).get("alt")):
            self.pieces.append(told)

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "pre":
            self._pre = max(0, self._pre - 1)
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.pieces.append(data if self._pre else re.sub(r"[ \t\r\n\f]+", " ", data))


def html_text(html: str | None) -> str:
    r"""The text of HTML, its line breaks kept; scripts, styles and comments left out.

    >>> html_text("<p>Order&nbsp;M1<br>paid <b>twice</b></p><style>p{}</style><ul><li>app 1.2</li></ul>")
    'Order M1\npaid twice\napp 1.2'
    """
    if not html:
        return ""
    reader = _Reader()
    reader.feed(html[:_MAX_HTML])
    reader.close()
    return tidied("".join(reader.pieces))


def tidied(text: str) -> str:
    """The same text without spaces at the ends of lines, and with no more than one empty line."""
    lines = [line.strip(" \t\r\xa0") for line in text.replace("\xa0", " ").split("\n")]
    return re.sub(r"\n{2,}", "\n", "\n".join(lines)).strip()


def adf_text(document: Any) -> str:
    r"""The text of a document in Atlassian's format, its line breaks kept.

    Source: https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/

    >>> adf_text({"type": "doc", "content": [{"type": "paragraph", "content": [
    ...     {"type": "text", "text": "Order M1"}, {"type": "hardBreak"}, {"type": "text", "text": "paid twice"}]}]})
    'Order M1\npaid twice'
    """
    if isinstance(document, str):
        return tidied(document)
    pieces: list[str] = []
    # A stack instead of recursion: documents come from outside.
    left: list[Any] = [document]
    while left:
        node = left.pop()
        if isinstance(node, str):
            pieces.append(node)
        elif isinstance(node, list):
            left.extend(reversed(node))
        elif isinstance(node, Mapping):
            kind, attrs = str(node.get("type")), node.get("attrs")
            if kind == "text":
                pieces.append(str(node.get("text", "")))
                pieces.extend(_links(node))
            elif kind == "hardBreak":
                pieces.append("\n")
            elif isinstance(attrs, Mapping) and kind in {"mention", "emoji", "status", "inlineCard", "date"}:
                pieces.append(str(attrs.get("text") or attrs.get("shortName") or attrs.get("url") or ""))
            block = kind in _ADF_BLOCKS
            left.extend(["\n"] if block else [])
            left.append(node.get("content") or [])
            left.extend(["\n"] if block else [])
    return tidied("".join(pieces))


def _links(node: Mapping[str, Any]) -> Iterable[str]:
    """Where a text leads, if it does not say so itself: order pages often have the number in their address only."""
    marks = node.get("marks")
    for mark in marks if isinstance(marks, list) else ():
        if isinstance(mark, Mapping) and mark.get("type") == "link" and isinstance(mark.get("attrs"), Mapping):
            href = str(mark["attrs"].get("href") or "")
            if href and href not in str(node.get("text", "")):
                yield f" ({href})"


def conversation(description: str, comments: Iterable[str], *, omitted: int = 0) -> str:
    """A ticket's description with the customer's later comments, up to `MAX_TEXT` characters.

    The newest comments are kept where not all fit, since they answer what was asked. What is left out is told in the text;
    `omitted` counts comments that were not even read, whoever wrote them.
    """
    whole = _cut(description, MAX_TEXT)
    written = [text for text in comments if text.strip()]
    room, kept = MAX_TEXT - len(whole), list[str]()
    for text in reversed(written):
        if room <= 0:
            break
        kept.append(_cut(text, room))
        room -= len(text)
    missing = omitted + len(written) - len(kept)
    count = f"at least {missing}" if omitted else str(missing)
    told = [f"[{count} more comments of the customer were left out]"] if missing else []
    return "\n\n".join(piece for piece in (whole, *told, *reversed(kept)) if piece)


def _cut(text: str, room: int) -> str:
    over = len(text) - room
    return text if over <= 0 else f"{text[:room]}\n[{over} more characters were left out]"


_WIKI_MACRO = re.compile(r"\{(?:code|noformat|quote|panel|color)(?::[^}\n]*)?\}")
_WIKI_LINK = re.compile(r"\[([^\]|\n]+)\|([^\]|\n]+)(?:\|[^\]\n]*)?\]")


def wiki_text(text: str | None) -> str:
    """The text of Jira's wiki markup: macros and links are taken apart, the rest reads well as it is.

    Source: https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa?section=all

    >>> wiki_text("{code:java}paid twice{code} see [the order|https://shop.example/orders/M1]")
    'paid twice see the order (https://shop.example/orders/M1)'
    """
    return tidied(_WIKI_LINK.sub(r"\1 (\2)", _WIKI_MACRO.sub("", text or "").replace("\r\n", "\n")))
