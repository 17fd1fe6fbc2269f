"""The document itself: its canonical bytes as text. Times stay in UTC, both languages stay in."""

from __future__ import annotations

from datetime import tzinfo

from snapshots.model import ProblemSnapshot, canonical_bytes
from snapshots.words import Language


def render(
    snapshot: ProblemSnapshot,
    *,
    language: Language = "en",  # noqa: ARG001  # one shape for all renderers
    zone: tzinfo | None = None,  # noqa: ARG001
    full: bool = False,  # noqa: ARG001
    width: int = 100,  # noqa: ARG001
    colour: bool = False,  # noqa: ARG001
) -> str:
    """The canonical JSON: equal documents give equal text."""
    return canonical_bytes(snapshot).decode()
