"""The document as one self-contained HTML page: no request leaves it, no script runs in it, and it prints well.

The page's content security policy allows nothing but its own style sheet, by hash: even a line of log that got past the
escaping could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import tzinfo
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from snapshots.model import ProblemSnapshot
from snapshots.render.view import build_view
from snapshots.words import Language

_TEMPLATES = Path(__file__).parent / "templates"


def render(
    snapshot: ProblemSnapshot,
    *,
    language: Language = "en",
    zone: tzinfo | None = None,
    full: bool = True,  # noqa: ARG001  # the details are always there, folded
    width: int = 100,  # noqa: ARG001  # one shape for all renderers
    colour: bool = False,  # noqa: ARG001
) -> str:
    """The page, with the details folded below the first screen."""
    view = build_view(snapshot, language=language, zone=zone, full=True)
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return _template().render(v=view, style=Markup(style), policy=policy).strip() + "\n"  # noqa: S704  # our own file


@cache
def _style() -> str:
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("snapshot.html.j2")
