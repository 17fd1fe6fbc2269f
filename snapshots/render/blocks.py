"""A short text with some shape, before it is written for a ticket system or a chat: headings, paragraphs, lists, runs.

What a run holds is plain text, from wherever it came; each writer (`snapshots.render.forms`, `pipeline.notify`) makes
it harmless for its own form. Only a run's `url` leads anywhere, and it is always one of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote, urlsplit

from snapshots.render.clean import shorten
from snapshots.words import Language, label

# `ref` is the number of a cited record: a link where there is a page to lead to, and a few letters where there is none.
Style = Literal["plain", "strong", "code", "link", "ref"]


@dataclass(frozen=True)
class Run:
    """Some text in one style. `url` is where `link` and `ref` lead."""

    text: str
    style: Style = "plain"
    url: str = ""


Line = tuple[Run, ...]


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title, level 2 stands above a part."""

    line: Line
    level: Literal[1, 2] = 2


@dataclass(frozen=True)
class Paragraph:
    """Lines one below the other. `small` is for what nobody has to read."""

    lines: tuple[Line, ...]
    small: bool = False


@dataclass(frozen=True)
class Items:
    """A list: each item has a line, and perhaps further ones below it."""

    items: tuple[tuple[Line, ...], ...]
    ordered: bool = False


Block = Heading | Paragraph | Items


@dataclass(frozen=True)
class Part:
    """Blocks that stay together. `name` is what they are called where they had to be left out, `key` tells them apart."""

    key: str
    name: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Blocks:
    """The whole text: the parts by what matters most, and what stands below them in any case."""

    language: Language
    parts: tuple[Part, ...]
    foot: tuple[Block, ...] = ()

    def __iter__(self) -> Iterator[Block]:
        """Every block in reading order."""
        for part in self.parts:
            yield from part.blocks
        yield from self.foot

    def part(self, key: str) -> Part | None:
        """The part of that key."""
        return next((part for part in self.parts if part.key == key), None)


def lines_of(block: Block) -> Iterator[Line]:
    """Every line of a block."""
    match block:
        case Heading():
            yield block.line
        case Paragraph():
            yield from block.lines
        case Items():
            for item in block.items:
                yield from item


def text_of(line: Line) -> str:
    """The text of a line, without its styles."""
    return "".join(run.text for run in line)


def title_of(blocks: Iterable[Block]) -> str:
    """The text of the first heading; empty where there is none."""
    return next((text_of(block.line) for block in blocks if isinstance(block, Heading)), "")


def pruned(blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks without runs, lines and items that hold nothing: a mark around nothing is shown as the mark."""
    for block in blocks:
        lines = [_filled(line) for line in lines_of(block)]
        match block:
            case Heading():
                kept: Block = replace(block, line=lines[0])
            case Paragraph():
                kept = replace(block, lines=tuple(line for line in lines if line))
            case Items():
                items = (tuple(line for line in map(_filled, item) if line) for item in block.items)
                kept = replace(block, items=tuple(item for item in items if item))
        if any(lines_of(kept)):
            yield kept


def _filled(line: Line) -> Line:
    kept = tuple(run for run in line if run.text.strip() or (run.style == "plain" and run.text))
    return kept if any(run.text.strip() for run in kept) else ()


def first_parts(blocks: Blocks, parts: int) -> Blocks:
    """The first parts, a sentence that names the others, and the foot."""
    gone = blocks.parts[parts:]
    if not gone:
        return blocks
    names = ("、" if blocks.language == "zh" else ", ").join(part.name for part in gone)
    told = label("left_out", blocks.language, count=len(gone), names=names)
    return replace(blocks, parts=blocks.parts[:parts], foot=(Paragraph((plain(told),)), *blocks.foot))


def shortened(blocks: Blocks, limit: int) -> Blocks:
    """The blocks with no run of text longer than `limit`."""

    def line(runs: Line) -> Line:
        return tuple(run if run.url else replace(run, text=shorten(run.text, limit)) for run in runs)

    def block(one: Block) -> Block:
        match one:
            case Heading():
                return replace(one, line=line(one.line))
            case Paragraph():
                return replace(one, lines=tuple(map(line, one.lines)))
            case Items():
                return replace(one, items=tuple(tuple(map(line, item)) for item in one.items))

    parts = tuple(replace(part, blocks=tuple(map(block, part.blocks))) for part in blocks.parts)
    return replace(blocks, parts=parts, foot=tuple(map(block, blocks.foot)))


def plain(text: str) -> Line:
    """A line of plain text."""
    return (Run(text),)


@dataclass(frozen=True)
class Links:
    """Where the reader may go on: the snapshot's page and its JSON, and the ticket. Each may be absent.

    Raises `ValueError` where one is no http or https address.
    """

    page: str = ""
    document: str = ""
    ticket: str = ""
    # Where a call is answered.
    acknowledge: str = ""
    # Where the customer answers questions.
    intake: str = ""

    def __post_init__(self) -> None:
        """Makes each address one that needs no escaping in any form."""
        for name in ("page", "document", "ticket", "acknowledge", "intake"):
            object.__setattr__(self, name, plain_url(getattr(self, name)))

    def record(self, ref: str) -> str:
        """The address of a cited record on the page, or nothing."""
        return f"{self.page}#{quote(ref, safe='')}" if self.page and "#" not in self.page else ""


def plain_url(url: str) -> str:
    """`url` with every character percent-encoded that a form may take for one of its own.

    Raises `ValueError` for what is no http or https address.

    >>> plain_url("https://desk.example/s/ps-1?q=a b&r=(x)|y")
    'https://desk.example/s/ps-1?q=a%20b&r=%28x%29%7Cy'
    """
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError(f"{url!r} is no http or https address")
    return quote(url, safe="/:?#&=%+,;@-._~")
