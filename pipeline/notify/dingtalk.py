r"""A group robot of DingTalk: https://open.dingtalk.com/document/robots/custom-robot-access.

With a secret (the robot's 加签, it begins with SEC) the address carries `timestamp` in milliseconds and `sign` =
base64(HMAC-SHA256(secret, timestamp + "\n" + secret)), good for an hour. A robot may send 20 messages a minute; past
that it is silent for ten. The answer is 200 with an `errcode` whatever it thinks of the message.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline.notify._post import Posting, encoded, fitting
from pipeline.notify._robot_markdown import wide, write_robot
from pipeline.notify.target import ChatOptions, Event, Sent, chat_blocks
from snapshots.render.blocks import Blocks, title_of
from snapshots.render.clean import shorten
from snapshots.words import label

# In bytes, as far as a robot takes a message.
LIMIT = 20_000
_TITLE = 100
# Key words not found, or sign not match; not an allowed address.
_REFUSED = frozenset({310000, 300001})
# Sent too fast; the system is busy.
_PASSING: Mapping[int, float] = {130101: 600.0, -1: 5.0}


class Options(ChatOptions, tag="dingtalk", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is the robot's, https://oapi.dingtalk.com/robot/send?access_token=..., and secret.

    `secret` signs, where the robot asks for that.
    """

    secret: str | None = None


class DingTalkTarget(Posting[Options]):
    """One group."""

    kind = "dingtalk"
    system = "DingTalk"

    def send(self, event: Event) -> Sent:
        """Sends a card. Raises `Refused`, `TargetUnavailable` or `TargetBroken`."""
        blocks = chat_blocks(event, self._options)
        page = event.links.page or event.links.ticket
        body = fitting(blocks, lambda shown: encoded(message(shown, page)), LIMIT, self.where)
        params = signature(self._options.secret, self._clock()) if self._options.secret else {}
        response = self._post(body, params=params)
        return self._gone(response) or self._judged(response, "errcode", "errmsg", refused=_REFUSED, passing=_PASSING)


def signature(secret: str, now: datetime) -> dict[str, str]:
    """What the address carries besides."""
    timestamp = str(int(now.timestamp() * 1000))
    signed = hmac.new(secret.encode(), f"{timestamp}\n{secret}".encode(), hashlib.sha256).digest()
    return {"timestamp": timestamp, "sign": base64.b64encode(signed).decode()}


def message(blocks: Blocks, page: str = "") -> dict[str, Any]:
    """A card with one button where there is a page to open, else Markdown; nobody is named, so nobody is called."""
    title = shorten(wide(title_of(blocks)), _TITLE)
    text = write_robot(blocks)
    if not page:
        return {"msgtype": "markdown", "markdown": {"title": title, "text": text}, "at": {"isAtAll": False}}
    button = label("open", blocks.language)
    return {
        "msgtype": "actionCard",
        "actionCard": {"title": title, "text": text, "singleTitle": button, "singleURL": page},
    }
