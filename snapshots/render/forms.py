"""Blocks as a ticket system takes them: HTML, Markdown, Jira's wiki text, Atlassian's document format, plain text.

One small writer a form. The text is the same in all of them; what is a mark of the form's own, or would be a link, a
mention, a macro or a template's hole in one of the systems that take it, is shown as the text it is (see `defused`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec

from snapshots.render.blocks import Block, Heading, Items, Line, Paragraph, Run, pruned
from snapshots.render.clean import BREAK, defused
from snapshots.render.markdown import code_md, escape_md

Form = Literal["html", "markdown", "wiki", "adf", "text"]

# A quiet grey, out of Atlassian's palette.
_GREY = "#97a0af"
# Words that a narrow page cannot hold on one line. Clean text has no null, so that one can stand for a break.
_OVERLONG = re.compile(r"\S{33,}")


def write_form(blocks: Iterable[Block], form: Form, marker: str = "") -> str:
    """The blocks in one form, ending in one newline, with `marker` as their end where one is given."""
    return WRITERS[form](pruned(blocks), marker)


# ---- HTML


def write_html(blocks: Iterable[Block], marker: str) -> str:
    """Plain elements, which every system's sanitizer lets through; no attributes but a link's address.

    The marker is a small last line: Zendesk, Zammad, Freshdesk and Request Tracker take comments out of what they
    store.
    """
    written = [_html_block(block) for block in blocks]
    written += [f"<p><small>{html.escape(marker)}</small></p>"] if marker else []
    return "\n".join(written) + "\n"


def _html_block(block: Block) -> str:
    match block:
        case Heading():
            tag = f"h{block.level + 2}"
            return f"<{tag}>{_html_line(block.line)}</{tag}>"
        case Paragraph():
            inner = "<br>".join(map(_html_line, block.lines))
            return f"<p><small>{inner}</small></p>" if block.small else f"<p>{inner}</p>"
        case Items():
            tag = "ol" if block.ordered else "ul"
            rows = ("<br>".join(map(_html_line, item)) for item in block.items)
            return f"<{tag}>{''.join(f'<li>{row}</li>' for row in rows)}</{tag}>"


def _html_line(line: Line) -> str:
    return "".join(map(_html_run, line))


def _html_run(run: Run) -> str:
    text = _breakable(defused(run.text, code=run.style == "code"))
    if run.url:
        return f'<a href="{html.escape(run.url)}">{text}</a>'
    return f"<code>{text}</code>" if run.style == "code" else f"<b>{text}</b>" if run.style == "strong" else text


def _breakable(text: str) -> str:
    """Escaped text in which an overlong word may break, rather behind a mark; unlike a space, `<wbr>` is not copied along."""

    def parted(found: re.Match[str]) -> str:
        return "\0".join(re.findall(r".{0,23}[:/_.,;=&]|.{1,24}", found[0]))

    return html.escape(_OVERLONG.sub(parted, text)).replace("\0", "<wbr>")


# ---- Markdown


def write_markdown(blocks: Iterable[Block], marker: str) -> str:
    """Markdown that GitHub, GitLab, Forgejo and Redmine read alike; the marker is a comment, kept and not shown."""
    written = [_md_block(block) for block in blocks]
    return "\n\n".join([*written, *([f"<!-- {marker} -->"] if marker else [])]) + "\n"


def _md_block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * (block.level + 2)} {_md_line(block.line)}"
        case Paragraph():
            inner = "\\\n".join(map(_md_line, block.lines))
            return f"<sub>{inner}</sub>" if block.small else inner
        case Items():
            rows = []
            for number, item in enumerate(block.items, 1):
                mark = f"{number}. " if block.ordered else "- "
                rows.append(mark + f"\\\n{' ' * len(mark)}".join(map(_md_line, item)))
            return "\n".join(rows)


def _md_line(line: Line) -> str:
    return "".join(map(_md_run, line))


def _md_run(run: Run) -> str:
    if run.style == "code":
        return code_md(defused(run.text, code=True))
    text = escape_md(run.text)
    if run.url:
        return f"[{text}]({run.url})"
    return f"**{text}**" if run.style == "strong" else text


# ---- Jira's wiki text


# What begins a macro, a link or an image; a phrase's mark, unless letters or digits stand on both its sides (it then
# neither opens nor closes), or it is the sign of a time's offset (it could open, and nothing closes it); what makes a
# list or a table of a line; emoticons. https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa?section=all
# lists them. The renderer takes a backslash before
# - # * _ + ? ^ ~ | % { } [ ] ( ) ! @ and before nothing else.
_WIKI = re.compile(
    r"[{}\[\]!]|(?<![^\W_])[*_+^~-](?!\d\d:\d\d)|[*_+^~-](?![^\W_])|\?(?=\?)|(?<=\?)\?|^[#|]|(?<=[:;])[()]"
    r"|\((?=(?:[/x?ynib]|\*[rgby]|on|off|flag|flagoff)\))"
)
# What a backslash does not help: a backslash itself, an entity, a heading or a quotation, and faces with a letter.
_WIKI_PARTED = re.compile(r"(?<=\\)|(?<=&)(?=#?\w+;)|(?:(?<=^h[1-6])|(?<=^bq))(?=\.)|(?<=[:;])(?=[DPp])")
_WIKI_BREAK = " \\\\ "


def escape_wiki(text: str) -> str:
    r"""`text` so that Jira's wiki renderer shows it as it is.

    >>> print(escape_wiki(r"{code} *x* CREATE_FAILED [~bob] 2026-11-02 at 12:00 +08:00"))
    \{code\} \*x\* CREATE_FAILED \[\~bob\] 2026-11-02 at 12:00 +08:00
    """
    return _WIKI.sub(lambda found: "\\" + found[0], _WIKI_PARTED.sub(BREAK, text))


def write_wiki(blocks: Iterable[Block], marker: str) -> str:
    """Wiki text for Jira Data Center; the marker is a grey last line, since the visual editor drops what it does not show."""
    written = [_wiki_block(block) for block in blocks]
    return "\n\n".join([*written, *([f"{{color:{_GREY}}}{marker}{{color}}"] if marker else [])]) + "\n"


def _wiki_block(block: Block) -> str:
    match block:
        case Heading():
            return f"h{block.level + 2}. {_wiki_line(block.line)}"
        case Paragraph():
            return "\n".join(
                f"{{color:{_GREY}}}{_wiki_line(line)}{{color}}" if block.small else _wiki_line(line)
                for line in block.lines
            )
        case Items():
            mark = "#" if block.ordered else "*"
            # A line of its own would end the item, so a break inside it is forced.
            return "\n".join(f"{mark} " + _WIKI_BREAK.join(map(_wiki_line, item)) for item in block.items)


def _wiki_line(line: Line) -> str:
    return "".join(map(_wiki_run, line))


def _wiki_run(run: Run) -> str:
    text = escape_wiki(defused(run.text))
    if run.style == "code":
        # Markup holds inside, too; a brace at an end would be taken for one of the mark's.
        return f"{{{{{text}{BREAK if text.endswith('}') else ''}}}}}"
    if run.url:
        return f"[{text.replace('|', BREAK)}|{run.url}]"
    return f"*{text}*" if run.style == "strong" else text


# ---- Atlassian's document format


def write_adf(blocks: Iterable[Block], marker: str) -> str:
    """The document as one line of JSON, as Jira Cloud's API takes it.

    Text nodes are text, and a mention is a node of another kind. The format:
    https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/.
    """
    content = [_adf_block(block) for block in blocks]
    content += [_adf_paragraph([_adf_text(marker, _adf_mark("textColor", color=_GREY))])] if marker else []
    return msgspec.json.encode({"version": 1, "type": "doc", "content": content}).decode() + "\n"


def _adf_block(block: Block) -> dict[str, Any]:
    match block:
        case Heading():
            return {"type": "heading", "attrs": {"level": block.level + 2}, "content": _adf_lines((block.line,))}
        case Paragraph():
            return _adf_paragraph(_adf_lines(block.lines, small=block.small))
        case Items():
            rows = [{"type": "listItem", "content": [_adf_paragraph(_adf_lines(item))]} for item in block.items]
            return {"type": "orderedList" if block.ordered else "bulletList", "content": rows}


def _adf_paragraph(inline: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "paragraph", "content": inline}


def _adf_lines(lines: Iterable[Line], *, small: bool = False) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = []
    for line in lines:
        nodes += [{"type": "hardBreak"}] if nodes else []
        nodes += [_adf_run(run, small=small) for run in line if run.text]
    return nodes


def _adf_run(run: Run, *, small: bool) -> dict[str, Any]:
    text = defused(run.text, code=run.style == "code")
    if run.url:
        return _adf_text(text, _adf_mark("link", href=run.url))
    if run.style in {"strong", "code"}:
        return _adf_text(text, _adf_mark(run.style))
    return _adf_text(text, _adf_mark("textColor", color=_GREY)) if small else _adf_text(text)


def _adf_text(text: str, *marks: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": text, **({"marks": list(marks)} if marks else {})}


def _adf_mark(kind: str, **attributes: str) -> dict[str, Any]:
    return {"type": kind, **({"attrs": attributes} if attributes else {})}


# ---- plain text


def write_text(blocks: Iterable[Block], marker: str) -> str:
    """Plain text; the address of a link stands behind it."""
    written = [_text_block(block) for block in blocks]
    return "\n\n".join([*written, *([marker] if marker else [])]) + "\n"


def _text_block(block: Block) -> str:
    match block:
        case Heading():
            return _text_line(block.line)
        case Paragraph():
            return "\n".join(map(_text_line, block.lines))
        case Items():
            rows = []
            for number, item in enumerate(block.items, 1):
                mark = f"{number}. " if block.ordered else "- "
                rows.append(mark + f"\n{' ' * len(mark)}".join(map(_text_line, item)))
            return "\n".join(rows)


def _text_line(line: Line) -> str:
    return "".join(defused(run.text) + (f" {run.url}" if run.style == "link" else "") for run in line)


WRITERS: Mapping[Form, Callable[[Iterable[Block], str], str]] = {
    "html": write_html,
    "markdown": write_markdown,
    "wiki": write_wiki,
    "adf": write_adf,
    "text": write_text,
}
