"""Who is told of a snapshot beside the ticket: one kind of receiver a file, each one class of the shape `target.Target`.

    apprise    whatever Apprise knows (mail, Telegram, Matrix, ...), as plain text
    dingtalk   a group robot of DingTalk
    feishu     a group robot of Feishu or Lark
    slack      an incoming webhook of Slack
    teams      a workflow of Microsoft Teams
    webhook    your own program: signed JSON, as Standard Webhooks says
    wecom      a group robot of WeCom

A new one needs a file with its `Options` (tagged by `kind`) and its class, a name in `NotifyOptions` and a case in
`open_target`. When and how often something is sent again is its caller's business; `Sent` and the errors say what
came of one try.
"""

from __future__ import annotations

from typing import assert_never

from pipeline.notify.apprise import Options as AppriseOptions
from pipeline.notify.dingtalk import Options as DingTalkOptions
from pipeline.notify.feishu import Options as FeishuOptions
from pipeline.notify.slack import Options as SlackOptions
from pipeline.notify.target import Event, Sent, Target
from pipeline.notify.teams import Options as TeamsOptions
from pipeline.notify.webhook import Options as WebhookOptions
from pipeline.notify.wecom import Options as WeComOptions

# What a `[notify.NAME]` table of the configuration is; its `kind` tells which.
NotifyOptions = (
    AppriseOptions | DingTalkOptions | FeishuOptions | SlackOptions | TeamsOptions | WebhookOptions | WeComOptions
)


def open_target(name: str, options: NotifyOptions) -> Target:
    """The receiver that `options` describe, under the name it has in the configuration. Connects to nothing yet."""
    match options:
        case AppriseOptions():
            from pipeline.notify.apprise import AppriseTarget

            return AppriseTarget(name, options)
        case DingTalkOptions():
            from pipeline.notify.dingtalk import DingTalkTarget

            return DingTalkTarget(name, options)
        case FeishuOptions():
            from pipeline.notify.feishu import FeishuTarget

            return FeishuTarget(name, options)
        case SlackOptions():
            from pipeline.notify.slack import SlackTarget

            return SlackTarget(name, options)
        case TeamsOptions():
            from pipeline.notify.teams import TeamsTarget

            return TeamsTarget(name, options)
        case WebhookOptions():
            from pipeline.notify.webhook import WebhookTarget

            return WebhookTarget(name, options)
        case WeComOptions():
            from pipeline.notify.wecom import WeComTarget

            return WeComTarget(name, options)
        case _:
            assert_never(options)


def send(target: Target, event: Event) -> Sent:
    """Tells one receiver of `event`, where its `when` wants that. Raises as `Target.send` does."""
    if not target.wants(event):
        return Sent("skipped", note=f"{target.name} does not want this one (when = {list(target.when)})")
    return target.send(event)


__all__ = ["Event", "NotifyOptions", "Sent", "Target", "open_target", "send"]
