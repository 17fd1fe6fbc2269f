"""What the desk's commands have in common: options, and how a value is shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import Command
from pipeline.console import emit

if TYPE_CHECKING:
    from snapshots.model import CustomerMessage, Text

output_option = click.option(
    "--output", "-o", type=click.Choice(["table", "json"]), default="table", show_default=True, help="The format."
)


def language_option(auto: str) -> Callable[[Command], Command]:
    """The option `--language`; `auto` says which language that is when none is named."""
    return click.option(
        "--language",
        "-l",
        type=click.Choice(["auto", "en", "zh"]),
        default="auto",
        envvar="PROBLEM_SNAPSHOT_LANGUAGE",
        help=f"auto is {auto}.",
    )


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
