"""A ticket's text out of what its system holds: HTML or Markdown to plain lines, the customer's later comments behind it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

import re2

# Together with the description; a ticket that is longer holds pasted logs.
MAX_COMMENTS = 40_000

# RE2, which takes linear time whatever a customer wrote. `(?s)` lets a dot match line breaks.
_HIDDEN = re2.compile(r"(?is)<!--.*?-->|<(?:script|style|head|title)\b.*?</(?:script|style|head|title)\s*>")
_BREAK = re2.compile(
    r"(?i)<(?:br|/?(?:p|div|li|tr|ul|ol|dl|dt|dd|pre|table|blockquote|section|article|h[1-6]|hr))\b[^>]*>"
)
_CELL = re2.compile(r"(?i)</t[dh]\s*>")
_TAG = re2.compile(r"(?s)<[/!?a-zA-Z][^>]*>")
_SPACES = re2.compile(r"[ \t\r\f\v\x{a0}]+")
_COMMENT = re2.compile(r"(?s)<!--.*?-->")
# A heading of an issue form and what was filled in below it.
_SECTION = re2.compile(r"(?m)^#{2,3}[ \t]+(.+)$")
_FILLED = 500


def from_html(source: str) -> str:
    r"""HTML as plain text: blocks and line breaks become lines, tags and comments go, entities are read.

    >>> from_html("<p>Paid &amp; lost</p><div>order<br/>A-1</div><!-- x --><script>x()</script>")
    'Paid & lost\n\norder\nA-1'
    """
    flat = _HIDDEN.sub("", source)
    flat = _TAG.sub("", _BREAK.sub("\n", _CELL.sub("\t", flat.replace("\r\n", "\n"))))
    return tidy(html.unescape(flat))


def from_markdown(source: str) -> str:
    r"""Markdown as it stands, without the comments that a template leaves in it.

    >>> from_markdown("<!-- tell us the order -->\r\nOrder **A-1**")
    'Order **A-1**'
    """
    return tidy(_COMMENT.sub("", source.replace("\r\n", "\n")))


def tidy(text: str) -> str:
    """Lines without trailing spaces, at most one empty line in a row."""
    lines: list[str] = []
    for line in (_SPACES.sub(" ", line).strip() for line in text.split("\n")):
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).strip()


def with_comments(description: str, comments: Iterable[str]) -> str:
    """The description and below it what the customer wrote later, oldest first; what is left out is told in the last line."""
    parts, size, left = [description] if description else [], len(description), 0
    for comment in comments:
        if not comment:
            continue
        if left or size + len(comment) > MAX_COMMENTS:
            left += 1
            continue
        parts.append(comment)
        size += len(comment)
    if left:
        parts.append(f"[{left} more of the customer's comments left out here]")
    return "\n\n".join(parts)


def sections(markdown: str) -> Mapping[str, str]:
    r"""What an issue form asked for: heading -> what was filled in below it, where that is short.

    GitHub and Forgejo write a form's answers as `### Question` and the answer
    (https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests/syntax-for-issue-forms).

    >>> sections("### Order number\n\nA-1\n\n### Device\n\n_No response_")
    {'Order number': 'A-1'}
    """
    found: dict[str, str] = {}
    heads = list(_SECTION.finditer(markdown))
    ends = [*(head.start() for head in heads[1:]), len(markdown)]
    for head, end in zip(heads, ends, strict=False):
        answer = markdown[head.end() : end].strip()
        if answer and answer != "_No response_" and len(answer) <= _FILLED:
            found.setdefault(head.group(1).strip()[:100], answer)
    return found
