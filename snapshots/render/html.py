"""The document as one self-contained HTML page: no request leaves it, no script runs in it, and it prints well.

The page's content security policy allows nothing but its own style sheet, by hash: even a line of log that got past the
escaping could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import tzinfo
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

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
    return page(_TEMPLATES / "snapshot.html.j2", v=view)


def page(template: Path, style: str = "", **values: Any) -> str:
    """A page of `template`, which is given `style` (the common one and what is added to it), `policy` and `values`.

    What is put into the template is escaped, unless it is `Markup`.
    """
    whole = _style() + style
    digest = base64.b64encode(hashlib.sha256(whole.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    text = _template(template).render(style=Markup(whole), policy=policy, **values)  # noqa: S704  # our own files
    return text.strip() + "\n"


@cache
def _style() -> str:
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


@cache
def _template(path: Path) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cited"] = _linked
    return environment.get_template(path.name)


# The numbers of findings and records behind a statement, as `DeskRows` writes them.
_CITED = re.compile(r"(?<= )\((?:[EF]\d+)(?:, [EF]\d+)*\)")


def _linked(text: str) -> Markup:
    """`text`, escaped, in which the numbers of findings and records lead to them."""
    shown = _CITED.sub(lambda found: " ".join(map(_link, re.findall(r"[EF]\d+", found[0]))), str(escape(text)))
    return Markup(shown)  # noqa: S704  # escaped before the links are put in


def _link(ref: str) -> str:
    return f'<a class="ref" href="#{ref}">{ref}</a>'
