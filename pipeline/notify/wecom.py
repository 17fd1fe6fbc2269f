"""A group robot of WeCom (企业微信): https://developer.work.weixin.qq.com/document/path/99110.

The message is `markdown_v2`, which unlike `markdown` knows no `<@user>` that calls somebody. Its content has at most
4,096 bytes; a robot may send 20 messages a minute. The answer is 200 with an `errcode` whatever it thinks of the
message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.notify._post import Posting, encoded
from pipeline.notify._robot_markdown import write_robot
from pipeline.notify.target import ChatOptions, Event, Sent, TargetBroken, chat_blocks
from snapshots.render.blocks import Blocks, first_parts, shortened

LIMIT = 4096
# No such address.
_REFUSED = frozenset({93000})
# Too many calls; the system is busy. https://developer.work.weixin.qq.com/document/path/90455
_PASSING: Mapping[int, float] = {45009: 60.0, -1: 5.0}


class Options(ChatOptions, tag="wecom", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is the robot's, https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=..., and secret."""


class WeComTarget(Posting):
    """One group."""

    kind = "wecom"
    system = "WeCom"

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(name, options)
        self._options = options

    def send(self, event: Event) -> Sent:
        """Sends a message. Raises `Refused`, `TargetUnavailable` or `TargetBroken`."""
        response = self._post(encoded(message(chat_blocks(event, self._options), self.where)))
        return self._gone(response) or self._judged(response, "errcode", "errmsg", refused=_REFUSED, passing=_PASSING)


def message(blocks: Blocks, where: str = "WeCom") -> dict[str, Any]:
    """As many parts as there is room for, the others named; a first part that is too long for itself has its texts cut."""
    whole = (first_parts(blocks, kept) for kept in range(len(blocks.parts), 0, -1))
    cut = (shortened(first_parts(blocks, 1), room) for room in (160, 80, 40, 20))
    for tried in (*whole, *cut):
        content = write_robot(tried)
        if len(content.encode()) <= LIMIT:
            return {"msgtype": "markdown_v2", "markdown_v2": {"content": content}}
    raise TargetBroken(f"{where}: not even the first part of the message fits into {LIMIT:,} bytes")
