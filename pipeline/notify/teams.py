"""A workflow of Microsoft Teams that posts what its webhook is sent.

https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook tells the envelope.

The message is an Adaptive Card of `RichTextBlock`s, whose `TextRun`s know no Markdown
(https://adaptivecards.io/explorer/TextRun.html); nobody is called, since `<at>` means something only with an entity
beside it. At most 28 kB and four messages a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.notify._post import Posting, encoded, fitting
from pipeline.notify.target import ChatOptions, Event, Sent, chat_blocks
from snapshots.render.blocks import Blocks, Heading, Items, Line, Paragraph, Run, pruned
from snapshots.render.clean import defused

LIMIT = 28_000


class Options(ChatOptions, tag="teams", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is the workflow's ("Post to a channel when a webhook request is received"), and secret."""


class TeamsTarget(Posting[Options]):
    """One channel."""

    kind = "teams"
    system = "Teams"

    def send(self, event: Event) -> Sent:
        """Sends a card. Raises `Refused`, `TargetUnavailable` or `TargetBroken`."""
        blocks = chat_blocks(event, self._options)
        response = self._post(fitting(blocks, lambda shown: encoded(message(shown)), LIMIT, self.where))
        return self._gone(response) or Sent("sent", response.status_code)


def message(blocks: Blocks) -> dict[str, Any]:
    """The card in the envelope that the workflow expects."""
    body: list[dict[str, Any]] = []
    actions: list[dict[str, Any]] = []
    for block in pruned(blocks):
        for line in _lines(block):
            links = [run for run in line if run.style == "link"]
            actions += [{"type": "Action.OpenUrl", "title": defused(run.text), "url": run.url} for run in links]
            body += [] if links else [_rich(line, block)]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
        "actions": actions,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _lines(block: Heading | Paragraph | Items) -> Iterator[Line]:
    match block:
        case Heading():
            yield block.line
        case Paragraph():
            yield from block.lines
        case Items():
            for number, (first, *rest) in enumerate(block.items, 1):
                yield (Run(f"{number}. " if block.ordered else "• "), *first)
                yield from rest


def _rich(line: Line, block: Heading | Paragraph | Items) -> dict[str, Any]:
    title = isinstance(block, Heading)
    runs = [
        {
            "type": "TextRun",
            "text": defused(run.text),
            **({"weight": "Bolder"} if title or run.style == "strong" else {}),
            **({"size": "Large"} if isinstance(block, Heading) and block.level == 1 else {}),
            **({"isSubtle": True, "size": "Small"} if isinstance(block, Paragraph) and block.small else {}),
        }
        for run in line
    ]
    return {"type": "RichTextBlock", "inlines": runs, **({} if title else {"spacing": "Small"})}
