"""Options that several commands share, each group as one value."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.settings import Settings
    from pipeline.values import Span, Ticket

NAME = "problem-snapshot"
FORMATS = ("table", "json", "md", "html", "sarif")
DIFFERENCES = ("table", "json", "md")

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class From:
    """Which settings hold."""

    config: Path | None
    profile: str | None
    store: str | None
    verbose: bool

    def settings(
        self,
        *,
        sources: bool = True,
        publish: bool = False,
        service: bool = False,
        notify: bool = False,
        **over: Any,
    ) -> Settings:
        """The settings, with the options that were given over them; without sources where none will be asked.

        With `publish` they say where to: a `UsageError` tells where they do not.
        """
        import msgspec

        from pipeline.settings import load_settings

        given = {key: value for key, value in {"store": self.store, **over}.items() if value is not None}
        settings = load_settings(
            self.config, self.profile, os.environ, sources=sources, publish=publish, service=service, notify=notify
        )
        if publish and settings.publish is None:
            raise UsageError(
                f"nothing says where to publish (profile {settings.profile}): add a table [defaults.publish] or "
                "[profiles.NAME.publish] with url, or with source = the name of an Elasticsearch source; "
                f"`{NAME} init` shows it"
            )
        return msgspec.structs.replace(settings, **given)


@dataclass(frozen=True)
class View:
    """How a snapshot is shown."""

    output: str | None
    out: Path | None
    language: str | None
    timezone: str | None
    full: bool

    @property
    def format(self) -> str:
        """The format asked for, or the one that the file's name tells."""
        return self.output or format_of(self.out)


def format_of(out: Path | None) -> str:
    """The format that a file's name tells, table where it tells none."""
    named = {".json": "json", ".md": "md", ".html": "html", ".htm": "html", ".sarif": "sarif"}
    if out is None:
        return "table"
    return "sarif" if out.name.lower().endswith(".sarif.json") else named.get(out.suffix.lower(), "table")


@dataclass(frozen=True)
class Difference(View):
    """How a comparison of two snapshots is shown."""

    verdict: bool


@dataclass(frozen=True)
class Asked:
    """The window that the options ask for. A time without offset is in the settings' zone, or else in the ticket's."""

    around: str | None
    start: str | None
    end: str | None

    def span(self, ticket: Ticket, settings: Settings) -> Span | None:
        """The window in UTC, or None where nothing is asked. Raises `UsageError`."""
        from pipeline.values import Span

        if self.around is not None:
            if self.start is not None or self.end is not None:
                raise UsageError("--around and --from/--to exclude each other; give one of them")
            moment = self._read("--around", self.around, ticket, settings)
            try:
                return Span(moment - settings.before, moment + settings.after)
            except OverflowError as error:
                raise UsageError(f"--around: {self.around!r} is too near to the end of the calendar") from error
        if self.start is None and self.end is None:
            return None
        if self.start is None or self.end is None:
            raise UsageError("--from and --to belong together; give both, or --around alone")
        start = self._read("--from", self.start, ticket, settings)
        end = self._read("--to", self.end, ticket, settings)
        if start >= end:
            raise UsageError(f"--from {self.start} is not before --to {self.end}")
        return Span(start, end)

    @staticmethod
    def _read(option: str, text: str, ticket: Ticket, settings: Settings) -> datetime:
        from datetime import UTC

        from pipeline.tickets.file import parse_time

        try:
            moment = parse_time(text)
            aware = moment if moment.tzinfo else moment.replace(tzinfo=settings.zone or ticket.created_at.tzinfo)
            return aware.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{option}: {text!r} is not a time; write it as 2026-11-23T10:02:31+08:00") from error


@dataclass(frozen=True)
class EngineAsked:
    """What carries work units to their readers: threads of this process, a Beam runner, or a Spark master."""

    engine: str
    jobs: int | None
    master: str | None
    runner_option: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuses options of another engine."""
        for option, value, engine in (
            ("--master", self.master, "spark"),
            ("--runner-option", self.runner_option, "beam"),
        ):
            if value and self.engine != engine:
                raise UsageError(f"{option} belongs to --engine {engine}; this is --engine {self.engine}")
        if self.engine == "spark" and not self.master:
            raise UsageError("--engine spark needs --master, such as spark://host:7077")


def moment_of(option: str, text: str) -> datetime:
    """The time in UTC that `option` was given; one without an offset is UTC. Raises `UsageError`."""
    from datetime import UTC

    from pipeline.tickets.file import parse_time

    try:
        moment = parse_time(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option}: {text!r} is not a time; write it as 2026-11-23 or 2026-11-23T10:02:31+08:00"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


class Duration(click.ParamType[float]):
    """`10s`, `5m`, `1h30m` or a number of seconds, more than none and at most `most`."""

    name = "duration"

    def __init__(self, most: float = 3600.0) -> None:
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        from pipeline.config import parse_seconds

        try:
            seconds = parse_seconds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not 0 < seconds <= self._most:
            bound = f" and at most {self._most / 3600:g}h" if math.isfinite(self._most) else ""
            self.fail(f"{value!r} must be more than 0{bound}", param, ctx)
        return seconds


class Zone(click.ParamType[str]):
    """An IANA time zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, once it is known to exist."""
        from pipeline.settings import check_zone

        try:
            check_zone(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def gathered(name: str, cls: type, *options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """A decorator that adds `options` and hands their values on as one `cls` under `name`."""

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def call(**given: Any) -> Any:
            value = cls(**{part.name: given.pop(part.name) for part in fields(cls)})
            return function(**{name: value}, **given)

        decorated: Any = call
        for option in reversed(options):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def language_of(environ: Mapping[str, str]) -> Literal["en", "zh"]:
    """The language that the machine speaks: `zh`, or else `en`."""
    # As POSIX has it, the first of these that is set counts.
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return "zh" if locale.lower().startswith("zh") else "en"


PATH = click.Path(path_type=Path)

from_options = gathered(
    "where",
    From,
    click.option(
        "--profile",
        "-p",
        metavar="NAME",
        envvar="PROBLEM_SNAPSHOT_PROFILE",
        help="A profile of the configuration file.",
    ),
    click.option(
        "--config", type=PATH, metavar="FILE", envvar="PROBLEM_SNAPSHOT_CONFIG", help="The configuration file."
    ),
    click.option(
        "--store",
        metavar="URL",
        envvar="PROBLEM_SNAPSHOT_STORE",
        help="Where snapshots are kept: a folder or an fsspec URL.",
    ),
    click.option("--verbose", "-v", is_flag=True, envvar="PROBLEM_SNAPSHOT_VERBOSE", help="Say each step on stderr."),
)


def _shown(formats: Sequence[str], full: str) -> Iterator[Callable[[Command], Command]]:
    """The options of a `View` in one of `formats`; `full` says what --full does."""
    yield click.option(
        "--output", "-o", type=click.Choice(formats), help="The format; table, or what the name of --out tells."
    )
    yield click.option("--out", type=PATH, metavar="FILE", help="Write to FILE instead of standard output.")
    yield click.option(
        "--language",
        "-l",
        type=click.Choice(["auto", "en", "zh"]),
        envvar="PROBLEM_SNAPSHOT_LANGUAGE",
        help="auto is the ticket's language.",
    )
    yield click.option(
        "--timezone",
        type=Zone(),
        envvar="PROBLEM_SNAPSHOT_TIMEZONE",
        help="Zone of the times shown, and of a bundle's times without one, such as Asia/Shanghai; otherwise the ticket's.",
    )
    yield click.option("--full", is_flag=True, help=full)


view_options = gathered("view", View, *_shown(FORMATS, "Everything, not only the first screen (table)."))

difference_options = gathered(
    "view",
    Difference,
    *_shown(DIFFERENCES, "Every row, not only the first of each (table, md)."),
    click.option("--exit-code", "verdict", is_flag=True, help="Exit 9 where diagnosis or evidence differ."),
)

asked_options = gathered(
    "asked",
    Asked,
    click.option("--around", metavar="TIME", help="The moment the ticket is about, such as '2026-11-23 10:02 +08:00'."),
    click.option("--from", "start", metavar="TIME", help="Start of the window, with --to."),
    click.option("--to", "end", metavar="TIME", help="End of the window, with --from."),
)

engine_options = gathered(
    "engine",
    EngineAsked,
    click.option(
        "--engine",
        type=click.Choice(["local", "beam", "spark"]),
        default="local",
        show_default=True,
        help="What carries the work units: this process, Beam or Spark.",
    ),
    click.option("--jobs", "-j", type=click.IntRange(min=1), help="Units at a time of local; one a processor."),
    click.option("--master", metavar="URL", help="The Spark master, such as spark://host:7077 (spark)."),
    click.option(
        "--runner-option",
        multiple=True,
        metavar="OPTION",
        help="An option of the Beam pipeline, such as --runner-option=--direct_num_workers=2; repeatable (beam).",
    ),
)


def _turn_on_debugging(_ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        os.environ["PROBLEM_SNAPSHOT_DEBUG"] = "1"


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


def says_profile_but_no_bundle() -> bool:
    """Whether the profile was asked for in this very call, while the bundle was only found around the ticket.json."""
    context = click.get_current_context()
    written = click.core.ParameterSource.COMMANDLINE
    return context.get_parameter_source("profile") is written and context.get_parameter_source("bundle") is not written


output_option = click.option(
    "--output", "-o", type=click.Choice(["table", "json"]), default="table", show_default=True, help="The format."
)
bundle_option = click.option(
    "--bundle", type=PATH, metavar="DIR", help="A bundle (folder or .zip), or a folder of bundles."
)
debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_turn_on_debugging,
    help="Show the traceback of an error.",
)
