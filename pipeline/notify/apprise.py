"""Whatever else Apprise knows, as plain text: mail, Telegram, Matrix and a hundred more; https://github.com/caronc/apprise.

It comes with `pip install "problem-snapshot[apprise]"`, since it brings nine megabytes and a second HTTP client along
for those who need it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pipeline.errors import UsageError
from pipeline.notify.target import ChatOptions, Event, Sent, TargetUnavailable, chat_blocks, wanted
from snapshots.render.blocks import Blocks, Heading, title_of
from snapshots.render.clean import defused, shorten

_TITLE = 150


class Options(ChatOptions, tag="apprise", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is Apprise's, such as mailtos://user:password@mail.example or tgram://TOKEN/CHAT, and secret."""

    schemes: ClassVar[frozenset[str]] = frozenset()


class AppriseTarget:
    """One address of Apprise's."""

    kind = "apprise"

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.when = options.when
        self._options = options
        self._opened: Any = None

    def wants(self, event: Event) -> bool:
        """Whether this one goes there, as its `when` says."""
        return wanted(self.when, event)

    def send(self, event: Event) -> Sent:
        """Sends a message. Raises `TargetUnavailable`, since Apprise does not say why it failed, or `UsageError`."""
        title, text = message(chat_blocks(event, self._options))
        if not self._client().notify(title=title, body=text, body_format="text"):
            raise TargetUnavailable(f"Apprise could not send to {self.name}; its own log says why")
        return Sent("sent")

    def close(self) -> None:
        """Nothing stays open."""

    def _client(self) -> Any:
        if self._opened is None:
            try:
                import apprise
            except ImportError as error:
                raise UsageError(
                    f'[notify.{self.name}] needs Apprise: pip install "problem-snapshot[apprise]"'
                ) from error
            opened = apprise.Apprise()
            if not opened.add(self._options.url):
                raise UsageError(f"[notify.{self.name}]: url is no address that Apprise knows")
            self._opened = opened
        return self._opened


def message(blocks: Blocks) -> tuple[str, str]:
    """The title and the text below it."""
    from snapshots.render.forms import write_text

    title = shorten(defused(title_of(blocks)), _TITLE)
    rest = [block for block in blocks if not (isinstance(block, Heading) and block.level == 1)]
    return title, write_text(rest, "")
