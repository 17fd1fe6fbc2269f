"""Markdown as code forges hold it: what a person wrote, what a form asked for, and a note cut to what is taken."""

from __future__ import annotations

import re
from collections.abc import Mapping

import re2

from pipeline.tickets._plain import tidied
from pipeline.tickets._shorten import CUT

# RE2, which takes linear time whatever a customer wrote. `(?s)` lets a dot match line breaks.
_COMMENT = re2.compile(r"(?s)<!--.*?-->")
# A heading of an issue form and what was filled in below it.
_SECTION = re2.compile(r"(?m)^#{2,3}[ \t]+(.+)$")
_FILLED = 500
# Room for what closes the blocks that a cut leaves open.
_CLOSING = 40


def markdown_text(source: str) -> str:
    r"""Markdown as it stands, without the comments that a template leaves in it.

    >>> markdown_text("<!-- tell us the order -->\r\nOrder **A-1**")
    'Order **A-1**'
    """
    return tidied(_COMMENT.sub("", source))


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


def short_markdown(body: str, limit: int, marker: str) -> str:
    """Markdown of at most `limit` characters: whole lines of its head, the blocks that the cut left open closed, and the marker."""
    if len(body) <= limit:
        return body
    tail = f"\n\n{CUT}\n\n<!-- {marker} -->\n"
    head = body[: max(0, limit - len(tail) - _CLOSING)].rpartition("\n")[0]
    if len(re.findall(r"(?m)^\s{0,3}```", head)) % 2:
        head += "\n```"
    if head.count("<details") > head.count("</details>"):
        head += "\n\n</details>"
    return head + tail
