"""The document on a terminal: one screen that answers, and with `full` everything below it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from datetime import tzinfo
from typing import TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from snapshots.model import ProblemSnapshot
from snapshots.render.clean import shorten
from snapshots.render.shapes import Cause, Claim, Proof, Question, Section, View
from snapshots.render.view import build_view
from snapshots.words import Language

_VERDICT = {"located": "bold red", "undecided": "bold yellow", "no_fault": "bold green"}
_BAR = 20
_QUOTE = 260


def render(
    snapshot: ProblemSnapshot,
    *,
    language: Language = "en",
    zone: tzinfo | None = None,
    full: bool = False,
    width: int = 100,
    colour: bool = False,
) -> str:
    """The document in at most `width` columns. A non-empty `NO_COLOR` in the environment wins over `colour`."""
    view = build_view(snapshot, language=language, zone=zone, full=full)
    return _printed(_page(view, full=full, width=max(40, width)), width=width, colour=colour)


def sections_text(
    title: str, sentences: Iterable[str], sections: Iterable[Section], *, width: int = 100, colour: bool = False
) -> str:
    """A title, sentences and sections as text, laid out as a document's are."""
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        Text("─" * 400, style="dim", no_wrap=True, overflow="crop"),
    ]
    parts += [Text(sentence) for sentence in sentences]
    for section in sections:
        parts += _section(section, max(40, width))
    return _printed(Group(*parts), width=width, colour=colour)


def _printed(page: RenderableType, *, width: int, colour: bool) -> str:
    """The page in at most `width` columns, without padding at the right edge: that is noise in a file or a golden copy."""
    out = io.StringIO()
    plain_console(out, max(40, width), colour=colour).print(page)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def plain_console(out: TextIO, width: int, *, colour: bool) -> Console:
    """A console that writes what it is given and reads nothing into it. A non-empty `NO_COLOR` wins over `colour`."""
    colour = colour and not os.environ.get("NO_COLOR")
    return Console(
        file=out,
        width=width,
        force_terminal=colour,
        force_jupyter=False,
        color_system="standard" if colour else None,
        no_color=not colour,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def _page(v: View, *, full: bool, width: int) -> Group:
    parts: list[RenderableType] = [
        _top(v),
        Text(),
        _verdict(v),
        Text(),
        _facts(v),
    ]
    if v.abstained:
        parts += _block(v.say("leading"), _causes(v.causes[:4]) if v.causes else [_quiet(v.say("no_leading"))])
        parts += _block(v.say("missing"), _questions(v, v.missing))
    parts += _block(v.proof_title, _proofs(v))
    if not v.abstained or v.against:
        parts += _block(v.say("against"), _claims(v.against) if v.against else [_quiet(v.say("no_against"))])
    parts += _block(v.say("healthy"), _healthy(v))
    unchecked = [_bullet("!", line, "yellow") for line in v.unchecked] or [_quiet(v.say("no_unchecked"))]
    parts += _block(v.say("unchecked"), unchecked)
    parts += [Text(), _todo(v)]
    if v.desk and not full:
        parts += [Text(), Text(v.say("desk_brief"), style="bold cyan"), _rows(v.desk)]
    if full:
        for section in v.sections:
            parts += _section(section, width)
    else:
        parts += [Text(), _quiet(v.say("full_hint"))]
    parts += [Text(f"{v.snapshot_id} · {v.tool}", style="dim")]
    return Group(*parts)


def _top(v: View) -> RenderableType:
    left = Text.assemble((v.ticket, "bold"), "  ", v.title)
    right = f"{v.say('severity')} {v.severity}" if v.severity else v.say("title")
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(left, Text(right, style="bold magenta" if v.severity else "dim"))
    return Group(grid, Text("─" * 400, style="dim", no_wrap=True, overflow="crop"))


def _verdict(v: View) -> RenderableType:
    style = _VERDICT[v.kind]
    head = Text.assemble(
        (v.seed.upper(), "bold underline"),
        "  " if v.seed else "",
        (v.verdict.upper(), f"{style} reverse"),
        "  " if v.name else "",
        (v.name, style if v.kind != "undecided" else ""),
    )
    return Group(head, Text(v.summary, style="bold"))


def _facts(v: View) -> RenderableType:
    grid = _two_columns([*(name for name, _ in v.places), v.say("when"), v.say("sure")])
    for name, value in v.places:
        grid.add_row(Text(name, style="dim"), Text(value))
    if not v.abstained:
        sure = Text.assemble((v.percent, "bold"), "  ", (_bar(v.share), _VERDICT[v.kind]), "  ", (v.runner_up, "dim"))
        grid.add_row(Text(v.say("sure"), style="dim"), sure)
    when = Text.assemble(v.when, (f"  ({v.utc})" if v.utc else "", "dim"), ("\n" + v.window, "dim"))
    grid.add_row(Text(v.say("when"), style="dim"), when)
    return grid


def _two_columns(names: Iterable[str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=max(map(cell_len, names), default=0))
    grid.add_column(ratio=1, overflow="fold")
    return grid


def _block(title: str, lines: Iterable[RenderableType]) -> list[RenderableType]:
    return [Text(), Text(title, style="bold cyan"), *(Padding(line, (0, 0, 0, 2)) for line in lines)]


def _proofs(v: View) -> list[RenderableType]:
    if not v.proofs:
        return [_quiet(v.say("no_proof"))]
    return [_proof(number, proof) for number, proof in enumerate(v.proofs, 1)]


def _proof(number: int, proof: Proof) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(ratio=1, overflow="fold")
    clock = proof.moment.clock if proof.moment else "-"
    head = Text.assemble(
        (clock, "green"), "  ", (proof.service, "bold"), "  ", (f"[{proof.ref}]", "cyan"), "  ", (proof.pointer, "dim")
    )
    head.no_wrap, head.overflow = True, "ellipsis"
    grid.add_row(str(number), head)
    grid.add_row("", Text(shorten(proof.quote, _QUOTE)))
    if proof.statement:
        grid.add_row("", Text(f"→ {proof.statement}", style="dim"))
    return grid


def _claims(claims: Iterable[Claim]) -> list[RenderableType]:
    return [
        _bullet("-", f"{claim.statement} {' '.join(f'[{ref}]' for ref in claim.refs)}".strip(), "magenta")
        for claim in claims
    ]


def _healthy(v: View) -> list[RenderableType]:
    lines: list[RenderableType] = [_bullet("✓", line, "green") for line in v.healthy]
    if v.healthy_more:
        lines.append(_quiet("  " + v.say("more_healthy", count=v.healthy_more)))
    return lines or [_quiet(v.say("no_healthy"))]


def _causes(causes: Iterable[Cause]) -> list[RenderableType]:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", no_wrap=True, style="bold")
    grid.add_column(no_wrap=True, style="yellow")
    grid.add_column(ratio=1, overflow="fold")
    for cause in causes:
        grid.add_row(cause.percent, _bar(cause.share), Text(cause.name))
    return [grid]


def _questions(v: View, missing: Iterable[Question]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for question in missing:
        head = Text.assemble((question.what, "bold"), "  ", (question.window, "dim"))
        lines += [_bullet("?", head, "yellow"), Padding(Text(v.say("ask", question=question.question)), (0, 0, 0, 2))]
    return lines or [_quiet(v.say("none"))]


def _todo(v: View) -> RenderableType:
    names = [v.say("meanwhile" if v.abstained else "first"), v.say("owner")]
    grid = _two_columns(names)
    grid.add_row(Text(names[0], style="bold cyan"), Text(v.action or v.say("no_action"), style="bold"))
    grid.add_row(Text(names[1], style="bold cyan"), Text(v.owner or v.say("no_owner"), style="bold"))
    return grid


def _bullet(mark: str, text: str | Text, style: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, style=style)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_row(mark, text if isinstance(text, Text) else Text(text))
    return grid


def _quiet(text: str) -> Text:
    return Text(text, style="dim")


def _bar(share: float) -> str:
    full = min(_BAR, max(0, round(share * _BAR)))
    return "█" * full + "░" * (_BAR - full)


def _section(section: Section, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(), Text.assemble(("── ", "dim"), (section.title, "bold cyan"))]
    if section.facts:
        parts.append(_rows(section.facts))
    if section.note:
        parts.append(_quiet(section.note))
    parts += [_bullet("·", line, "dim") for line in section.lines]
    if section.grid:
        stacked = (len(section.grid.heads) > 6 and width < 160) or section.key == "evidence"
        parts += _records(section) if stacked else [_table(section)]
    return parts


def _rows(facts: Sequence[tuple[str, str]]) -> RenderableType:
    grid = _two_columns(name for name, _ in facts)
    for name, value in facts:
        grid.add_row(Text(name, style="dim"), Text(value))
    return grid


def _table(section: Section) -> Table:
    grid = section.grid
    assert grid is not None  # noqa: S101  # the caller looked
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim", padding=(0, 1))
    for i, head in enumerate(grid.heads):
        longest = max(cell_len(row[i]) for row in grid.rows)
        table.add_column(head, justify="right" if i in grid.right else "left", overflow="fold", no_wrap=longest <= 16)
    for row in grid.rows:
        table.add_row(*map(Text, row))
    return table


def _records(section: Section) -> list[RenderableType]:
    """A table too wide for a terminal as records: the short values on one line, each long one on its own."""
    grid = section.grid
    assert grid is not None  # noqa: S101  # the caller looked
    parts: list[RenderableType] = []
    for row in grid.rows:
        short, long = Text(), list[Text]()
        for i, (head, value) in enumerate(zip(grid.heads, row, strict=True)):
            if not value or (value == "0" and section.key == "coverage"):
                continue
            # A bare number says nothing without its column's name.
            named = i in grid.right and not value.strip("0123456789,?").startswith((".", " "))
            if (i in grid.code and cell_len(value) > 28) or cell_len(value) > 44:
                long.append(Text(value))
            else:
                short.append("  " if short else "")
                short.append(f"{head} ", style="dim") if named else None
                short.append(value, style="bold" if i == 0 else "")
        parts.append(_bullet("·", Text("\n").join([short, *long]), "dim"))
    return parts
