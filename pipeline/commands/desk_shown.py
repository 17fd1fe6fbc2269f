"""What the desk's commands have in common: options, and how a value is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.console import emit

if TYPE_CHECKING:
    from snapshots.model import CustomerMessage, Text


def show_json(value: object) -> None:
    """Prints a value as JSON on standard output."""
    import msgspec

    emit(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def said_in(text: Text | CustomerMessage, language: str) -> str:
    """The half of a text that is in `language`."""
    return text.zh if language == "zh" else text.en


def in_minutes(seconds: float) -> str:
    """A moment, in seconds since 1970, to the minute and with its zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
