"""Slack's incoming webhooks, with Block Kit: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.

The message is made of `plain_text` and of `rich_text` elements, in which text is only text: Slack looks for
`<!channel>`, `@here` and links in `mrkdwn` alone (https://docs.slack.dev/reference/block-kit/blocks/rich-text-block).
Limits: 50 blocks, 150 characters in a header, about 13,000 characters in all.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

from pipeline.notify._post import Posting, encoded
from pipeline.notify.target import ChatOptions, Event, Sent, chat_blocks
from snapshots.render.blocks import Block, Blocks, Heading, Items, Line, Paragraph, Run, pruned, text_of, title_of
from snapshots.render.clean import defused, shorten

_HEADER = 150
_STYLES = {"strong": {"bold": True}, "code": {"code": True}}


class Options(ChatOptions, tag="slack", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is the webhook's, https://hooks.slack.com/services/..., and secret."""


class SlackTarget(Posting[Options]):
    """One channel."""

    kind = "slack"
    system = "Slack"

    def send(self, event: Event) -> Sent:
        """Sends a message. Raises `Refused`, `TargetUnavailable` or `TargetBroken`."""
        response = self._post(encoded(message(chat_blocks(event, self._options))))
        return self._gone(response) or Sent("sent", response.status_code)


def message(blocks: Blocks) -> dict[str, Any]:
    """The body: `text` is for the notification and for screen readers, `blocks` is what is shown."""
    shown: list[dict[str, Any]] = []
    for block in pruned(blocks):
        if isinstance(block, Heading) and block.level == 1:
            text = shorten(_plain(block.line), _HEADER)
            shown.append({"type": "header", "text": {"type": "plain_text", "text": text, "emoji": False}})
        elif isinstance(block, Paragraph) and block.small:
            texts = [{"type": "plain_text", "text": _plain(line), "emoji": False} for line in block.lines]
            shown.append({"type": "context", "elements": texts})
        else:
            shown.append({"type": "rich_text", "elements": list(_rich(block))})
    title = defused(title_of(pruned(blocks)))
    return {
        # Here Slack does read marks, so that it gets none.
        "text": html.escape(title, quote=False),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": shown,
    }


def _rich(block: Block) -> Iterable[dict[str, Any]]:
    match block:
        case Heading():
            yield _section([[Run(_plain(block.line), "strong")]])
        case Paragraph():
            yield _section(block.lines)
        case Items():
            style = "ordered" if block.ordered else "bullet"
            yield {"type": "rich_text_list", "style": style, "elements": [_section(item) for item in block.items]}


def _section(lines: Iterable[Iterable[Run]]) -> dict[str, Any]:
    elements: list[dict[str, Any]] = []
    for line in lines:
        elements += [{"type": "text", "text": "\n"}] if elements else []
        elements += [_element(run) for run in line]
    return {"type": "rich_text_section", "elements": elements}


def _element(run: Run) -> dict[str, Any]:
    if run.url:
        return {"type": "link", "url": run.url, "text": defused(run.text)}
    style = _STYLES.get(run.style)
    return {"type": "text", "text": defused(run.text), **({"style": style} if style else {})}


def _plain(line: Line) -> str:
    return defused(text_of(line))
