"""The document as GitHub-flavoured Markdown, for a ticket's note or a chat. Text from outside stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import tzinfo
from functools import cache
from pathlib import Path

import jinja2

from snapshots.model import ProblemSnapshot
from snapshots.render.clean import defused
from snapshots.render.shapes import Section
from snapshots.render.view import build_view
from snapshots.words import Language

# An underscore inside a word is only an underscore.
_SPECIAL = re.compile(r"[\\`*{}\[\]#|~$]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_STARTS = re.compile(r"^(\s*)([-+=](?=[-+=\s]|$)|\d(?=\d{0,8}[.)](?:\s|$)))")


def escape_md(text: str) -> str:
    r"""`text` so that Markdown shows it as it is, in a paragraph, a list or a table cell; it names nobody and links nowhere.

    >>> print(escape_md("a|b <b> [x](http://y)").replace("\u200b", ""))
    a\|b &lt;b&gt; \[x\](http://y)
    """
    out = re.sub(r"[&<>]", lambda found: _ENTITIES[found[0]], defused(text))
    out = _SPECIAL.sub(lambda found: found[0] if _in_entity(out, found.start()) else "\\" + found[0], out)
    # What begins a line must not begin a list, a heading or a rule.
    return _STARTS.sub(lambda found: f"{found[1]}&#{ord(found[2])};", out)


def code_md(text: str) -> str:
    """`text` as a code span, fenced by more backticks than it holds.

    >>> code_md("a `b` c")
    '`` a `b` c ``'
    """
    if not text.strip():
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if len(fence) > 1 or text != text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def cell_code_md(text: str) -> str:
    """A code span inside a table cell, where a pipe would end the cell even in code."""
    return code_md(text).replace("|", "\\|")


def render(
    snapshot: ProblemSnapshot,
    *,
    language: Language = "en",
    zone: tzinfo | None = None,
    full: bool = False,
    width: int = 100,  # noqa: ARG001  # one shape for all renderers
    colour: bool = False,  # noqa: ARG001
) -> str:
    """The document as Markdown; what the desk says follows the first screen, and with `full` all other details."""
    view = build_view(snapshot, language=language, zone=zone, full=full)
    return _tidy(_template("snapshot.md.j2").render(v=view))


def sections_md(title: str, sentences: Iterable[str], sections: Iterable[Section]) -> str:
    """A title, sentences and sections as Markdown, laid out as a document's are."""
    page = _template("comparison.md.j2")
    return _tidy(page.render(title=title, sentences=list(sentences), sections=list(sections)))


def _tidy(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _in_entity(text: str, at: int) -> bool:
    return text[at] == "#" and text[at - 1 : at] == "&"


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        # Markdown is not HTML: the filters below escape, and `finalize` makes sure that nothing goes unescaped.
        autoescape=False,  # noqa: S701
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize,
    )
    environment.filters.update(code=_Safe.code, cellcode=_Safe.cell, rule=_Safe)
    return environment.get_template(name)


class _Safe(str):
    """Markdown that is already escaped."""

    __slots__ = ()

    @classmethod
    def text(cls, value: str) -> _Safe:
        return cls(escape_md(value))

    @classmethod
    def code(cls, value: str) -> _Safe:
        return cls(code_md(value))

    @classmethod
    def cell(cls, value: str) -> _Safe:
        return cls(cell_code_md(value))


def _finalize(value: object) -> object:
    return value if isinstance(value, _Safe) or not isinstance(value, str) else _Safe.text(value)
