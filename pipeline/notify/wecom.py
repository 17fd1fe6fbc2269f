"""A group robot of WeCom (企业微信): https://developer.work.weixin.qq.com/document/path/99110.

The message is `markdown_v2`, which unlike `markdown` knows no `<@user>` that calls somebody. Its content has at most
4,096 bytes; a robot may send 20 messages a minute. The answer is 200 with an `errcode` whatever it thinks of the
message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.notify._post import Posting, encoded, fitting
from pipeline.notify._robot_markdown import write_robot
from pipeline.notify.target import ChatOptions, Event, Sent, chat_blocks
from snapshots.render.blocks import Blocks

LIMIT = 4096
# No such address.
_REFUSED = frozenset({93000})
# Too many calls; the system is busy. https://developer.work.weixin.qq.com/document/path/90455
_PASSING: Mapping[int, float] = {45009: 60.0, -1: 5.0}


class Options(ChatOptions, tag="wecom", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is the robot's, https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=..., and secret."""


class WeComTarget(Posting[Options]):
    """One group."""

    kind = "wecom"
    system = "WeCom"

    def send(self, event: Event) -> Sent:
        """Sends a message. Raises `Refused`, `TargetUnavailable` or `TargetBroken`."""
        response = self._post(encoded(message(chat_blocks(event, self._options), self.where)))
        return self._gone(response) or self._judged(response, "errcode", "errmsg", refused=_REFUSED, passing=_PASSING)


def message(blocks: Blocks, where: str = "WeCom") -> dict[str, Any]:
    """As much as there is room for; the limit is the content's."""
    content = fitting(blocks, lambda shown: write_robot(shown).encode(), LIMIT, where)
    return {"msgtype": "markdown_v2", "markdown_v2": {"content": content.decode()}}
