"""The page behind the link that a customer is sent: who asks for what, for which ticket, and how it is done."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Response

from pipeline.remote.words import command_line, needs_text, size_text, until_text, window_text
from pipeline.service.links import HEADERS

if TYPE_CHECKING:
    from pipeline.service.receiving import Place

_TEMPLATE = Path(__file__).with_name("collect_page.html.j2")
_STATES = {
    "asked": ("Waiting for your decision", "等待您的决定"),
    "agreed": ("You agreed; the logs are not here yet", "您已同意，日志尚未收到"),
    "refused": ("You refused; nothing was read", "您已拒绝，未读取任何内容"),
    "received": ("Received; it is being looked through", "已收到，正在检查"),
    "rejected": ("What came could not be used; please send it again", "收到的内容无法使用，请重新发送"),
    "stored": ("Received. Thank you", "已收到，谢谢"),
    "pruned": ("Received, and deleted since", "已收到，现已删除"),
}


@cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text("utf-8"))


def collect_page(place: Place, key: str, signed_by: str, base: str, install: str | None) -> Response:
    """The page of a collection; the half in the ticket's language stands first. `install` brings the program to a customer."""
    manifest = place.manifest
    en, zh = _STATES.get(place.row.state, ("", ""))
    languages = ("zh", "en") if manifest.language == "zh" else ("en", "zh")
    needs = needs_text(install)
    body = _template().render(
        m=manifest,
        languages=languages,
        state={"en": en, "zh": zh},
        consent={"en": manifest.consent.en, "zh": manifest.consent.zh},
        window=window_text(manifest),
        until=until_text(manifest),
        most=size_text(manifest.max_bytes),
        command=command_line(f"{base}/collect?key={key}", signed_by),
        needs={"en": needs.en, "zh": needs.zh},
        install=install,
        key=key,
        signed_by=signed_by,
        open=place.row.state in {"asked", "agreed", "rejected"},
    )
    return Response(body, headers=HEADERS, media_type="text/html; charset=utf-8")
