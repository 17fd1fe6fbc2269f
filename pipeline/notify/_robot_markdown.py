"""Markdown for the group robots of DingTalk and WeCom, which know a part of it and document no way to escape a mark.

So a mark out of somebody's text is written in its full-width form, which every reader of Chinese knows and no parser
takes for the mark.
"""

from __future__ import annotations

from collections.abc import Iterable

from snapshots.render.blocks import Block, Heading, Items, Line, Paragraph, Run, pruned
from snapshots.render.clean import defused

_WIDE = {ord(mark): ord(mark) + 0xFEE0 for mark in "*`~[]<>|\\#!"}


def wide(text: str) -> str:
    r"""`text` without a mark that Markdown or a robot's own extension (`<font>`, `<@user>`) would take.

    >>> wide("**[x](http://y)** <@all> CREATE_FAILED").replace("\u200b", "")
    '＊＊［x］(http://y)＊＊ ＜@all＞ CREATE_FAILED'
    """
    return defused(text).translate(_WIDE)


def write_robot(blocks: Iterable[Block]) -> str:
    """The blocks in the marks that both know: headings, bold, links, lists."""
    return "\n\n".join(_block(block) for block in pruned(blocks))


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * (block.level + 2)} {_line(block.line)}"
        case Paragraph():
            # Two spaces are DingTalk's line break, and WeCom breaks at every line.
            return "  \n".join(map(_line, block.lines))
        case Items():
            rows = []
            for number, item in enumerate(block.items, 1):
                mark = f"{number}. " if block.ordered else "- "
                rows.append(mark + "  \n".join(map(_line, item)))
            return "\n".join(rows)


def _line(line: Line) -> str:
    return "".join(map(_run, line))


def _run(run: Run) -> str:
    text = wide(run.text)
    if run.url:
        return f"[{text}]({run.url})"
    return f"**{text}**" if run.style == "strong" else text
