"""Plain text out of what desks hold: HTML, Atlassian's document format, and a ticket's conversation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import unescape as entities
from typing import Any

import re2

# Longer descriptions and conversations say nothing new: what is cut is told.
MAX_TEXT = 50_000
_MAX_HTML = 1 << 20
# RE2 takes linear time whatever a customer wrote; Python's parser of HTML needs minutes for a megabyte of `<p<p<p`.
_SILENT = "script|style|head|title|template"
_HIDDEN = re2.compile(rf"(?is)<!--.*?-->|<(?:{_SILENT})\b[^>]*>.*?</(?:{_SILENT})\s*>")
_PRE = re2.compile(r"(?is)<pre\b[^>]*>.*?</pre\s*>")
_WHITE = re2.compile(r"[ \t\r\n\f]+")
_IMAGE = re2.compile(r"""(?i)<img\b[^>]*?\balt\s*=\s*(?:"([^">]*)"|'([^'>]*)')[^>]*>""")
_BLOCK = re2.compile(
    r"(?i)</?(?:address|article|blockquote|br|dd|div|dl|dt|fieldset|figure|footer|form|h[1-6]|header|hr|li|main|nav|ol|p|pre"
    r"|section|table|tr|ul)\b[^>]*>"
)
_CELL = re2.compile(r"(?i)<t[dh]\b[^>]*>")
_TAG = re2.compile(r"(?s)<[/!?a-zA-Z][^>]*>")
# Python refuses to read a number of thousands of digits; no character has one of more than seven.
_ENDLESS = re2.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{8,});?")
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


def html_text(html: str | None) -> str:
    r"""The text of HTML, its line breaks kept; scripts, styles and comments left out.

    Desks clean the HTML that they store, so one pass over its tags will do. The standard library's parser takes minutes for 100 kB
    of `<a <a <a`, and a ticket's text comes from anybody.

    >>> html_text("<p>Order&nbsp;M1<br>paid <b>twice</b></p><style>p{}</style><ul><li>app 1.2</li></ul>")
    'Order M1\npaid twice\napp 1.2'
    """
    if not html:
        return ""
    shown = _HIDDEN.sub("", html[:_MAX_HTML])
    pieces, end = list[str](), 0
    for block in _PRE.finditer(shown):
        pieces += [_WHITE.sub(" ", shown[end : block.start()]), shown[block.start() : block.end()]]
        end = block.end()
    flat = "".join([*pieces, _WHITE.sub(" ", shown[end:])])
    flat = _IMAGE.sub(lambda image: image[1] or image[2] or "", flat)
    plain = _TAG.sub("", _CELL.sub(" ", _BLOCK.sub("\n", flat)))
    return tidied(entities(_ENDLESS.sub("&#xfffd;", plain)))


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


_WIKI_MACRO = re.compile(r"\{(?:code|noformat|quote|panel|color)(?::[^{}\n]{0,200})?\}")
_WIKI_LINK = re.compile(r"\[([^\[\]|\n]{1,300})\|([^\[\]|\n]{1,2000})(?:\|[^\[\]|\n]{0,200})?\]")


def wiki_text(text: str | None) -> str:
    """The text of Jira's wiki markup: macros and links are taken apart, the rest reads well as it is.

    Source: https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa?section=all

    >>> wiki_text("{code:java}paid twice{code} see [the order|https://shop.example/orders/M1]")
    'paid twice see the order (https://shop.example/orders/M1)'
    """
    return tidied(_WIKI_LINK.sub(r"\1 (\2)", _WIKI_MACRO.sub("", text or "").replace("\r\n", "\n")))
