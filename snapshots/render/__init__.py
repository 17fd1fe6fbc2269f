"""Renderers of the snapshot document, one shape for all: a document and a reader in, text out.

`RENDERERS` names them; each one's libraries are imported when it is first called.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from importlib import import_module
from typing import Protocol

from snapshots.model import ProblemSnapshot
from snapshots.words import Language


class Renderer(Protocol):
    """What every file of this package offers as `render`.

    `zone` is the reader's time zone; None means the offset of the ticket's own `created_at`. `full` adds the details (the
    HTML page always folds them in, JSON always holds everything). `width` (columns) and `colour` matter to a terminal only.
    """

    def __call__(
        self,
        snapshot: ProblemSnapshot,
        *,
        language: Language = "en",
        zone: tzinfo | None = None,
        full: bool = False,
        width: int = 100,
        colour: bool = False,
    ) -> str:
        """The document as text, ending in one newline."""
        ...


def _late(module: str) -> Renderer:
    def render(
        snapshot: ProblemSnapshot,
        *,
        language: Language = "en",
        zone: tzinfo | None = None,
        full: bool = False,
        width: int = 100,
        colour: bool = False,
    ) -> str:
        # jinja2 and rich are only loaded by the renderer that is asked for.
        made: str = import_module(f"snapshots.render.{module}").render(
            snapshot, language=language, zone=zone, full=full, width=width, colour=colour
        )
        return made

    return render


RENDERERS: Mapping[str, Renderer] = {
    "table": _late("terminal"),
    "terminal": _late("terminal"),
    "json": _late("json"),
    "md": _late("markdown"),
    "html": _late("html"),
    "sarif": _late("sarif"),
}


def render(
    snapshot: ProblemSnapshot,
    output: str = "table",
    *,
    language: Language = "en",
    zone: tzinfo | None = None,
    full: bool = False,
    width: int = 100,
    colour: bool = False,
) -> str:
    """`snapshot` as text in the named output. Raises `ValueError` for a name that `RENDERERS` does not hold."""
    if output not in RENDERERS:
        message = f"there is no output {output!r}; choose one of {', '.join(RENDERERS)}"
        raise ValueError(message)
    return RENDERERS[output](snapshot, language=language, zone=zone, full=full, width=width, colour=colour)
