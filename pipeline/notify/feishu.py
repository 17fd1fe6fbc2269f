r"""A group robot of Feishu or Lark: https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot.

The card is made of `plain_text` alone, in which `<at id=all>` and Markdown are only text. With a secret the body
carries `timestamp` in seconds and `sign` = base64(HMAC-SHA256(timestamp + "\n" + secret, "")), good for an hour: the
key is what others sign. At most 20 kB, 100 messages a minute and 5 a second.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pipeline.notify._post import Posting, encoded, fitting
from pipeline.notify.target import ChatOptions, Event, Sent, chat_blocks
from snapshots.render.blocks import Blocks, Heading, Items, Line, Paragraph, Run, pruned, text_of
from snapshots.render.clean import defused
from snapshots.render.reader import Verdict

LIMIT = 20_000
_COLOURS: Mapping[Verdict, str] = {"located": "red", "undecided": "yellow", "no_fault": "green"}
# Sign match fail, address not allowed, key words not found, no such robot.
_REFUSED = frozenset({19021, 19022, 19024, 19001})
# Frequency limited.
_PASSING: Mapping[int, float] = {11232: 60.0}


class Options(ChatOptions, tag="feishu", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is the robot's, https://open.feishu.cn/open-apis/bot/v2/hook/..., or Lark's, and secret.

    `secret` signs, where the robot asks for that.
    """

    secret: str | None = None


class FeishuTarget(Posting[Options]):
    """One group."""

    kind = "feishu"
    system = "Feishu"

    def send(self, event: Event) -> Sent:
        """Sends a card. Raises `Refused`, `TargetUnavailable` or `TargetBroken`."""
        blocks = chat_blocks(event, self._options)
        signed = signature(self._options.secret, self._clock()) if self._options.secret else {}
        colour = _COLOURS[event.verdict]
        body = fitting(blocks, lambda shown: encoded({**signed, **message(shown, colour)}), LIMIT, self.where)
        response = self._post(body)
        return self._gone(response) or self._judged(response, "code", "msg", refused=_REFUSED, passing=_PASSING)


def signature(secret: str, now: datetime) -> dict[str, str]:
    """What the body carries besides."""
    timestamp = str(int(now.timestamp()))
    signed = hmac.new(f"{timestamp}\n{secret}".encode(), b"", hashlib.sha256).digest()
    return {"timestamp": timestamp, "sign": base64.b64encode(signed).decode()}


def message(blocks: Blocks, colour: str) -> dict[str, Any]:
    """The card: a coloured head, texts, and a button for each link."""
    title, elements, buttons = "", [], []
    for block in pruned(blocks):
        if isinstance(block, Heading) and block.level == 1:
            title = _plain(block.line)
            continue
        text = "\n".join(_lines(block))
        elements += [{"tag": "div", "text": {"tag": "plain_text", "content": text}}] if text else []
        buttons += [_button(run) for run in _links(block)]
    actions = [{"tag": "action", "actions": buttons}] if buttons else []
    card = {
        "config": {"wide_screen_mode": True},
        "header": {"title": {"tag": "plain_text", "content": title}, "template": colour},
        "elements": [*elements, *actions],
    }
    return {"msg_type": "interactive", "card": card}


def _lines(block: Heading | Paragraph | Items) -> Iterator[str]:
    match block:
        case Heading():
            yield _plain(block.line)
        case Paragraph():
            yield from (_plain(line) for line in block.lines if not any(run.style == "link" for run in line))
        case Items():
            for number, item in enumerate(block.items, 1):
                first, *rest = map(_plain, item)
                yield f"{number}. {first}" if block.ordered else f"· {first}"
                yield from (f"  {line}" for line in rest)


def _links(block: Heading | Paragraph | Items) -> Iterator[Run]:
    if isinstance(block, Paragraph):
        yield from (run for line in block.lines for run in line if run.style == "link")


def _button(run: Run) -> dict[str, Any]:
    return {
        "tag": "button",
        "text": {"tag": "plain_text", "content": defused(run.text)},
        "url": run.url,
        "type": "default",
    }


def _plain(line: Line) -> str:
    return defused(text_of(line))
