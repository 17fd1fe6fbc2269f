"""What the tests of notes share: each form read back into the words that a person sees, its links and its tags.

HTML, Markdown and Atlassian's format are read by parsers of others; Jira's wiki text by one of ours, which takes no
mark that it does not know, and by pandoc's reader where pandoc is installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
from markdown_it import MarkdownIt

from snapshots.render.blocks import Block, Items, lines_of, pruned
from snapshots.render.clean import BREAK

SCHEMA = json.loads((Path(__file__).parent / "data" / "adf-schema-57.7.22.json").read_text(encoding="utf-8"))
ADF = jsonschema.Draft4Validator(SCHEMA)


@dataclass
class Shown:
    """What a form shows: its words, the addresses that it leads to, and the names of its elements."""

    words: list[str]
    links: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)


def words(text: str) -> list[str]:
    """The words of a text, invisible breaks apart."""
    return text.replace(BREAK, "").split()


def said(blocks: Iterable[Block], *, marks: bool = False) -> list[str]:
    """The words of the blocks themselves; with `marks` as plain text marks its lists and shows its addresses."""
    out: list[str] = []
    for block in pruned(blocks):
        if isinstance(block, Items):
            for number, item in enumerate(block.items, 1):
                out += [f"{number}." if block.ordered else "-"] if marks else []
                out += [word for line in item for word in _said_line(line, marks=marks)]
        else:
            out += [word for line in lines_of(block) for word in _said_line(line, marks=marks)]
    return out


def _said_line(line: Any, *, marks: bool) -> list[str]:
    return words("".join(run.text + (f" {run.url}" if marks and run.style == "link" else "") for run in line))


class _Page(HTMLParser):
    """The words, links and tags of some HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.links: set[str] = set()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert (tag, name) == ("a", "href"), f"<{tag} {name}={value!r}>"
            self.links.add(value or "")
        self.text += "" if tag in {"wbr", "b", "code", "a", "small", "strong", "sub"} else "\n"

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.add(f"!--{data}--")

    def handle_decl(self, decl: str) -> None:
        self.tags.add(f"!{decl}")

    def unknown_decl(self, data: str) -> None:
        self.tags.add(f"![{data}")

    def handle_pi(self, data: str) -> None:
        self.tags.add(f"?{data}")


def read_html(text: str) -> Shown:
    """HTML as the standard library's parser sees it."""
    page = _Page()
    page.feed(text)
    page.close()
    return Shown(words(page.text), page.links, page.tags)


def gfm() -> MarkdownIt:
    """Markdown with tables, strikethrough and links out of bare addresses, and with HTML let through, so that it is seen.

    GitHub and GitLab make no link of a host without `www.` or a scheme.
    """
    parser = MarkdownIt("gfm-like", {"html": True})
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": True})
    return parser


def read_markdown(text: str) -> Shown:
    """Markdown as markdown-it renders it, and what a page does to the result: names and addresses in it become links."""
    rendered = gfm().render(text)
    page = read_html(rendered)
    prose = re.sub(r"<(code|a)\b.*?</\1>", "", rendered, flags=re.DOTALL)
    loose = re.findall(r"(?i)(?:https?|ftp)://\S+|www\.\w\S*|mailto:\S+|@\w+|#\d+|\[~?\[", prose)
    assert not loose, loose
    return page


def read_adf(text: str) -> Shown:
    """Atlassian's format, valid by its schema."""
    document = json.loads(text)
    ADF.validate(document)
    shown = Shown([])
    out: list[str] = []

    def walk(node: dict[str, Any]) -> None:
        shown.tags.add(node["type"])
        for mark in node.get("marks", ()):
            shown.tags.add(mark["type"])
            if mark["type"] == "link":
                shown.links.add(mark["attrs"]["href"])
        if node["type"] == "text":
            out.append(node["text"])
        if node["type"] in {"hardBreak", "paragraph", "heading", "listItem"}:
            out.append("\n")
        for child in node.get("content", ()):
            walk(child)

    walk(document)
    shown.words = words("".join(out))
    return shown


_WIKI_TOKEN = re.compile(
    r"\\(?P<escaped>[-#*_+?^~|%{}\[\]()!@])|\[(?P<text>(?:\\.|[^\]|\\])*)\|(?P<url>[^\]|]*)\]|(?P<colour>\{color(?::#[0-9a-f]{6})?\})"
    r"|(?P<mono>\{\{|\}\})|(?P<backslash>\\(?=\u200b))|(?P<bold>(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w))"
    r"|(?P<mark>[\\{}\[\]!]|(?<![^\W_])[*_+^~-](?!\d\d:\d\d)|[*_+^~-](?![^\W_])|\?\?|[:;](?=[()DPp])|\((?=[/x?yni]\)))|(?P<plain>.)",
    re.DOTALL,
)


def read_wiki(text: str) -> Shown:
    """Jira's wiki text, read by its documented marks: any that is neither escaped nor one of ours fails the test."""
    shown = Shown([])
    for row in text.split("\n"):
        line = re.sub(r"^(h[34]\.|[*#]) ", "", row)
        assert not re.match(r"(h\d|bq)\.|[*#-]+ |----|\|", line), row
        out = ""
        for piece in re.split(r" \\\\ ", line):
            for token in _WIKI_TOKEN.finditer(piece):
                assert not token["mark"], f"{token['mark']!r} is not escaped: {row}"
                if token["url"] is not None:
                    shown.links.add(token["url"])
                    assert re.fullmatch(r"https?://[\w./#?&=%:@,;+~-]+", token["url"])
                out += (
                    token["escaped"]
                    or re.sub(r"\\(.)", r"\1", token["text"] or "")
                    or token["plain"]
                    or token["backslash"]
                    or ""
                )
            out += "\n"
        assert not re.search(r"&#?\w+;", out), row
        shown.words += words(out)
    return shown


def read_text(text: str) -> Shown:
    """Plain text: addresses in it are links wherever it is shown."""
    return Shown(words(text), set(re.findall(r"(?i)(?:[a-z][a-z0-9+.-]*://|www\.)\S+", text)))


READERS = {"html": read_html, "markdown": read_markdown, "adf": read_adf, "wiki": read_wiki, "text": read_text}
TAGS = {
    "html": {"h3", "h4", "p", "b", "br", "code", "wbr", "a", "ol", "ul", "li", "small"},
    "markdown": {"h3", "h4", "p", "strong", "br", "code", "a", "ol", "ul", "li", "sub"},
    "adf": {"doc", "heading", "paragraph", "text", "hardBreak", "orderedList", "bulletList", "listItem", "strong", "code", "link", "textColor"},
    "wiki": set(),
    "text": set(),
}  # fmt: skip
