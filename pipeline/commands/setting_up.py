"""The commands of the first hour: init, doctor, demo, completion."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.opened import open_sources
from pipeline.commands.options import (
    NAME,
    PATH,
    Duration,
    From,
    View,
    debug_option,
    from_options,
    language_of,
    language_option,
)
from pipeline.commands.shown import file_name, rendered, show_snapshot
from pipeline.console import emit, on_one_line, say, write_file
from pipeline.errors import SnapshotError, UsageError

if TYPE_CHECKING:
    from pipeline.doctor import Health


@click.command()
@click.option("--force", is_flag=True, help="Overwrite the file that is there.")
@debug_option
def init(*, force: bool) -> None:
    """Write a commented configuration to ./problem-snapshot.toml.

    \b
    problem-snapshot init && problem-snapshot doctor
    """
    from importlib import resources

    from pipeline.settings import FILE_NAME

    path = Path(FILE_NAME)
    if not force and (path.exists() or path.is_symlink()):
        raise UsageError(f"{path} is already here; --force overwrites it")
    write_file(path, resources.files("pipeline").joinpath("init.toml").read_text("utf-8"))
    say(f"Written: {path}. Fill in the sources, then try them: {NAME} doctor")


@click.command()
@click.option(
    "--timeout", type=Duration(), default=5.0, show_default="5s", help="How long a source may take to answer."
)
@click.option("--fields", is_flag=True, help="Show which fields of Elasticsearch are read, and what to configure.")
@from_options
@debug_option
def doctor(*, timeout: float, fields: bool, where: From) -> int:
    """Try each source and ticket system, and the store.

    Also where snapshots are published, the catalogue, the service's database and the configuration. Says what is wrong
    and what to do. Exits 0 when all is well, 4 when every source refused us, 5 when none could be reached, 8 when something failed.

    \b
    problem-snapshot doctor --profile prod --fields
    """
    from pipeline.doctor import (
        Health,
        examine,
        examine_catalogue,
        examine_publish,
        examine_store,
        examine_weights,
        exit_code,
        field_lines,
    )
    from pipeline.secrets import plain_secrets
    from pipeline.settings import config_places, publish_of, read_config, source_table, sources_of, tickets_of
    from pipeline.sources import open_source

    config = read_config(where.config, os.environ)
    settings = where.settings(sources=False)
    secrets = plain_secrets(config)
    lines: tuple[str, ...]
    if config.path:
        lines = (f"{config.path}, profile {settings.profile}",)
    else:
        lines = (
            "no configuration file; built-in settings. Looked for:",
            *(f"  {place}" for place in config_places(os.environ)),
        )
    plain = tuple(f"{key} holds a secret in plain text" for key in secrets)
    advice = "write ${NAME} and set that variable, or ${file:PATH}" if secrets else ""
    others = [
        Health("config", "file", "warning" if secrets else "ok", (*lines, *plain), advice),
        examine_store(settings.store),
        examine_weights(settings.weights),
        *examine_catalogue(settings.catalogue),
        *examine_publish(lambda: publish_of(config, where.profile, os.environ), timeout),
    ]
    opened: dict[str, Any] = {}
    for name, options in sources_of(config, where.profile, os.environ).items():
        try:
            opened[name] = options if isinstance(options, UsageError) else open_source(name, options)
        except SnapshotError as error:
            opened[name] = error
    others += _hook_health(tickets_of(config, where.profile, os.environ), where, timeout)
    healths = examine(opened, timeout)
    emit("\n".join(line for health in [*others, *healths] for line in health_lines(health)))
    for health in healths if fields else ():
        if health.state in {"ok", "failed"} and not isinstance(opened[health.name], SnapshotError):
            redactor = settings.redaction.redactor()
            name = source_table(config, where.profile, os.environ, health.name)
            lines = tuple(field_lines(opened[health.name], name, redactor, timeout))
            emit("\n".join(("", f"fields of {health.name}", *map(on_one_line, lines))) if lines else "")
    if not healths:
        say(
            f"No source is configured: `{NAME} init` writes a configuration; a bundle needs none (take ID --bundle DIR)."
        )
    return exit_code(healths, others)


def _hook_health(tickets: Mapping[str, Any], where: From, timeout: float) -> list[Health]:
    """How the ticket systems are and the database of the hook, where there are some."""
    if not tickets:
        return []
    from pipeline.doctor import Health
    from pipeline.service.health import examine_service, examine_tickets

    found = examine_tickets(tickets, timeout)
    try:
        service = examine_service(where.settings(sources=False, service=True).service)
    except UsageError as error:
        service = Health("service", "database", "failed", (str(error),))
    return [service, *found]


def health_lines(health: Health) -> Iterator[str]:
    """The lines of one thing that was examined: its state, what it said, and what to do."""
    kind = f" ({health.kind})" if health.kind not in {"", health.name, "file"} else ""
    first, *rest = health.lines or ("",)
    # The lines are what sources, files and the network said.
    yield f"{health.state:<12}{on_one_line(f'{health.name}{kind}: {first}')}"
    yield from (f"{'':<12}{on_one_line(line)}" for line in rest)
    if health.advice:
        yield f"{'':<12}-> {on_one_line(health.advice)}"


def examples_folder() -> Path:
    """The folder of example incidents: package data of an installation, or the checkout's own."""
    here = Path(__file__).resolve().parent.parent.parent
    for place in (here / "pipeline" / "examples", here / "examples"):
        if place.is_dir() and any(place.glob("*/ticket.json")):
            return place
    raise UsageError(f"the example incidents are missing from this installation ({here}); install it again")


@click.command()
@click.option(
    "--out", type=PATH, default=Path("demo-out"), show_default=True, metavar="DIR", help="Where the pages are written."
)
@language_option("each ticket's language")
@click.option("--full", is_flag=True, help="Everything, not only the first screen.")
@debug_option
def demo(*, out: Path, language: str, full: bool) -> None:
    """Take the snapshots of the example incidents.

    Nothing has to be configured or running.

    \b
    problem-snapshot demo
    """
    from pipeline.run import take_snapshot
    from pipeline.settings import Settings
    from pipeline.tickets.file import find_ticket
    from snapshots.words import language_for, text_in

    settings = Settings(language=language)  # type: ignore[arg-type]
    out = _writable(out)
    found = [find_ticket(str(path.parent)) for path in sorted(examples_folder().glob("*/ticket.json"))]
    if language == "auto":
        # The one that is shown whole is in the reader's language; the others keep their order.
        own = language_of(os.environ)
        first = next((one for one in found if one[0].language == own), found[0])
        found.sort(key=lambda one: one is not first)
    for number, (ticket, bundle) in enumerate(found):
        zone = ticket.created_at.tzinfo
        with open_sources(settings, bundle, zone) as sources:
            snapshot = take_snapshot(ticket, sources, settings).snapshot
        page = out / f"{file_name(snapshot)}.html"
        write_file(page, rendered(snapshot, "html", settings, zone))
        if number == 0:
            show_snapshot(snapshot, View("table", None, None, None, full), settings, zone)
            emit(f"\n{page.resolve()}\n\nThe other examples:")
        else:
            summary = text_in(snapshot.diagnosis.summary, language_for(snapshot.ticket.language, language))
            emit(f"{snapshot.ticket.id}  {summary}\n  {page.resolve()}")


def _writable(folder: Path) -> Path:
    """`folder`, made if need be, or one in the temporary folder where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    import tempfile

    return Path(tempfile.mkdtemp(prefix=f"{NAME}-"))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(problem-snapshot completion bash)"           in ~/.bashrc
    zsh:   eval "$(problem-snapshot completion zsh)"            in ~/.zshrc
    fish:  problem-snapshot completion fish | source            in config.fish
    """
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    if script is None:  # pragma: no cover - click has all three
        raise UsageError(f"there is no completion for {shell}")
    commands = click.get_current_context().find_root().command
    emit(script(commands, {}, NAME, "_PROBLEM_SNAPSHOT_COMPLETE").source())


COMMANDS = (init, doctor, demo, completion)
