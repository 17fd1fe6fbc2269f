"""Reports as one page of HTML, out of sections and charts: nothing is loaded and nothing runs in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.charts import STYLE

if TYPE_CHECKING:
    from markupsafe import Markup

    from pipeline.scorecard import Section
    from snapshots.words import Language

_TEMPLATE = Path(__file__).with_name("pages.html.j2")


@dataclass(frozen=True)
class Part:
    """A section with its chart. Where the chart says everything, the page leaves the table out; texts never do."""

    section: Section
    chart: Markup | None = None
    chart_says_all: bool = False


def as_page(parts: Iterable[Part], language: Language, tone: str = "no_fault") -> str:
    """The page; the first part is its head. `tone` is a class of the common style, which colours the head."""
    from snapshots.render.html import page

    return page(_TEMPLATE, STYLE, language=language, tone=tone, parts=list(parts))
