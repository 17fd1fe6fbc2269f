"""Small charts as SVG, for pages that may load and run nothing. Colours are classes of the page's own style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Bar:
    """A bar with its name, its length and what is written behind it; `tone` is a class of `STYLE`."""

    name: str
    value: float
    text: str
    tone: str = "blue"


# What the charts need beside the page's own colours.
STYLE = """
.chart { width: 100%; height: auto; font-size: 13px; }
.chart text { fill: var(--ink); }
.chart .soft { fill: var(--soft); font-size: 11px; }
.chart .blue { fill: var(--blue); } .chart .green { fill: var(--green); }
.chart .amber { fill: var(--amber); } .chart .red { fill: var(--red); }
.chart .axis { stroke: var(--line); }
"""
_WIDTH, _LEFT, _RIGHT, _ROW = 720, 230, 120, 24


def bars(rows: Sequence[Bar], title: str) -> Markup:
    """Bars from left to right, one below the other, in the order given."""
    most = max((row.value for row in rows), default=0) or 1
    room = _WIDTH - _LEFT - _RIGHT
    parts = [_open(title, _ROW * len(rows) + 6)]
    for number, row in enumerate(rows):
        y = 4 + _ROW * number
        width = max(1.0, room * row.value / most) if row.value else 0.0
        parts.append(
            Markup(
                '<g><title>{0}: {1}</title><text x="{2}" y="{3}" text-anchor="end">{4}</text>'
                '<rect class="{5}" x="{6}" y="{7}" width="{8}" height="{9}" rx="2"/><text x="{10}" y="{3}">{1}</text></g>'
            ).format(
                row.name,
                row.text,
                _LEFT - 8,
                y + 15,
                _short(row.name),
                row.tone,
                _LEFT,
                y + 3,
                f"{width:.1f}",
                _ROW - 8,
                f"{_LEFT + width + 6:.1f}",
            )
        )
    return Markup("\n").join([*parts, Markup("</svg>")])


def columns(names: Sequence[str], layers: Sequence[tuple[str, Sequence[float]]], title: str) -> Markup:
    """Columns from left to right, each with the values of all layers on top of each other; a layer has its tone."""
    height, top, bottom = 170, 18, 28
    totals = [sum(values) for values in zip(*(layer for _, layer in layers), strict=True)]
    most = max(totals, default=0) or 1
    room, floor = height - top - bottom, height - bottom
    step = (_WIDTH - 20) / max(1, len(names))
    parts = [_open(title, height)]
    for number, name in enumerate(names):
        x, y = 10 + step * number, float(floor)
        parts.append(Markup("<g><title>{}: {:g}</title>").format(name, totals[number]))
        for tone, values in layers:
            tall = room * values[number] / most
            y -= tall
            parts.append(
                Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                    tone, f"{x:.1f}", f"{y:.1f}", f"{max(1.0, min(40.0, step * 0.8)):.1f}", f"{tall:.1f}"
                )
            )
        parts.append(Markup("</g>"))
    parts.append(Markup('<line class="axis" x1="10" x2="{}" y1="{}" y2="{}"/>').format(_WIDTH - 10, floor, floor))
    parts.append(Markup('<text class="soft" x="10" y="12">{:g}</text>').format(most))
    if names:
        parts.append(Markup('<text class="soft" x="10" y="{}">{}</text>').format(height - 8, names[0]))
    if len(names) > 1:
        last = Markup('<text class="soft" x="{}" y="{}" text-anchor="end">{}</text>')
        end = 10 + step * (len(names) - 1) + max(1.0, min(40.0, step * 0.8))
        parts.append(last.format(f"{end:.1f}", height - 8, names[-1]))
    return Markup("\n").join([*parts, Markup("</svg>")])


def _open(title: str, height: int) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, height, title)


def _short(name: str, most: int = 34) -> Markup:
    return escape(name if len(name) <= most else name[: most - 1] + "…")
