"""The command line. Options become one typed call; stdout is data, stderr is for people.

Every command imports what it needs when it runs, so that `--help` and shell completion answer at once.

    0 done                      4 credentials refused              9 verify: a record is gone or changed
    1 internal error            5 no source could be reached         diff, replay: they differ  (with --exit-code)
    2 wrong call or settings    8 done in part                    10 located, 11 undetermined   (with --exit-code)
    3 ticket not found          130 interrupted                   12 a goal of backtest was missed, or learnt weights are worse
                                                                  141 the reader of the output went away
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.batch import batch
from pipeline.commands.collecting import Collecting, collect, collect_options
from pipeline.commands.desk import desk
from pipeline.commands.learn import learn
from pipeline.commands.opened import open_sources, opened_store
from pipeline.commands.options import (
    DIFFERENCES,
    NAME,
    PATH,
    Asked,
    Difference,
    Duration,
    From,
    View,
    Zone,
    asked_options,
    bundle_option,
    debug_option,
    difference_options,
    from_options,
    language_of,
    view_options,
)
from pipeline.commands.service import jobs, poll, serve, work
from pipeline.console import Counter, Progress, columns, emit, quiet_stdout, say, terminal_width, write_file
from pipeline.errors import NoSourceReached, Refused, SnapshotError, TicketNotFound, UsageError
from pipeline.uploads import uploads_for, uploads_named

if TYPE_CHECKING:
    from datetime import tzinfo

    from pipeline.doctor import Health
    from pipeline.publish.options import PublishOptions
    from pipeline.settings import Settings
    from pipeline.values import Planned, Scope
    from snapshots.comparison import Comparison
    from snapshots.model import Coverage, Evidence, ProblemSnapshot
    from snapshots.store import Entry
    from snapshots.verify import State, VerifyReport
    from snapshots.words import Language

# The commands as `--help` shows them.
SECTIONS: Mapping[str, Sequence[str]] = {
    "A ticket and its snapshot": (
        "take", "show", "note", "list", "verify", "diff", "replay", "bundle", "publish", "notify", "schema",
    ),
    "The ticket system's hook": ("serve", "work", "poll", "jobs"),
    "Many tickets": ("batch", "backtest", "learn", "learn-weights", "learn-wording"),
    "The service desk": ("desk",),
    "Setting up": ("init", "doctor", "demo", "completion"),
}  # fmt: skip
PARTIAL, DRIFT, LOCATED, UNDETERMINED, MISSED, INTERRUPTED, READER_GONE = 8, 9, 10, 11, 12, 130, 141


# ---- the program around the commands


class Commands(click.Group):
    """The group, with every error as a line on stderr and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs the command line and leaves with its exit code."""

        def run() -> Any:
            return super(Commands, self).main(args, prog_name, complete_var, standalone_mode=False, **extra)

        if not standalone_mode:
            return run()
        sys.exit(_exit_code(run))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which one meets them."""
        del ctx
        return [name for names in SECTIONS.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A section for each occasion, with a line for each command."""
        del ctx
        for title, names in SECTIONS.items():
            room = formatter.width - 6 - max(map(len, names))
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(room)) for name in names])

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Reads the options; `--help` and `--version` are answered in here."""
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError as error:
            quiet_stdout()
            raise click.exceptions.Exit(READER_GONE) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. What click would answer with exit code 1 or an empty line is answered here."""
        try:
            code = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except KeyboardInterrupt:
            click.echo(f"{NAME}: interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            quiet_stdout()
            ctx.exit(READER_GONE)
        return code


def _exit_code(run: Callable[[], Any]) -> int:
    """What `run` gives, or the exit code of its error, which is told."""
    try:
        code = run()
    except click.Abort:
        click.echo(f"{NAME}: interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        # A file that click cannot open is a wrong call as well.
        return UsageError.exit_code
    except SnapshotError as error:
        _trace_if_debugging()
        click.echo(f"{NAME}: {_line(error)}", err=True)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last place in which a person can be spared a stack trace
        _trace_if_debugging()
        click.echo(f"{NAME}: internal error: {type(error).__name__}: {_line(error)}", err=True)
        click.echo(
            "This is a bug. Please report it with what the same command says under PROBLEM_SNAPSHOT_DEBUG=1.",
            err=True,
        )
        return SnapshotError.exit_code
    return code if isinstance(code, int) else 0


def main() -> None:
    """The console script."""
    if not debugging():
        _silence_libraries()
    try:
        commands(prog_name=NAME)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        quiet_stdout()
        code = READER_GONE
    except OSError as error:
        click.echo(f"{NAME}: standard output: {error.strerror}", err=True)
        quiet_stdout()
        code = SnapshotError.exit_code
    if any(t is not threading.main_thread() and t.is_alive() for t in threading.enumerate()):
        # A source that hangs past the deadline was given up; its thread must not hold the prompt back.
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _trace_if_debugging() -> None:
    if debugging():
        import traceback

        traceback.print_exc()


def debugging() -> bool:
    """Whether errors are to be shown with their traceback."""
    return os.environ.get("PROBLEM_SNAPSHOT_DEBUG", "").lower() not in {"", "0", "false", "no"}


def _silence_libraries() -> None:
    """Clients warn and log on stderr; what a person has to know is in the ledger."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())


def _line(error: BaseException) -> str:
    """The error's sentence on at most two lines, without control characters that its values may have brought along."""
    lines = ["".join(c if c.isprintable() else " " for c in line).rstrip() for line in str(error).splitlines()]
    text = "\n".join([line for line in lines if line.strip()][:2]) or type(error).__name__
    return text if len(text) <= 1000 else text[:1000] + " ..."


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from pipeline.version import __version__

    click.echo(f"{NAME} {__version__}")
    ctx.exit()


@click.group(
    cls=Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "PROBLEM_SNAPSHOT",
        "max_content_width": 100,
    },
    epilog="Every option has a variable: PROBLEM_SNAPSHOT_TAKE_BUDGET=20s stands for take --budget 20s.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@debug_option
def commands() -> None:
    """From a customer's ticket to a problem snapshot: what failed, where, how sure, and the records that prove it.

    \b
    Try it:               problem-snapshot demo
    An incident at hand:  problem-snapshot take TK-1042 --bundle ./incident
    """


# ---- take


@commands.command()
@click.argument("ticket")
@bundle_option
@asked_options
@click.option(
    "--budget",
    type=Duration(),
    envvar="PROBLEM_SNAPSHOT_BUDGET",
    help="How long the sources may take together, such as 10s.",
)
@click.option("--exit-code", "verdict", is_flag=True, help="Exit 10 when located, 11 when undetermined.")
@click.option("--no-store", is_flag=True, help="Do not keep the snapshot.")
@click.option("--explain-plan", is_flag=True, help="Show which rows would be fetched, and fetch none of them.")
@click.option("--attach", "attached", is_flag=True, help="Put it on the ticket as a private note (TICKET is NAME:ID).")
@click.option("--dry-run", is_flag=True, help="Print the note instead of putting it on the ticket.")
@click.option("--publish", "published", is_flag=True, help="Write it to the configured Elasticsearch index as well.")
@view_options
@from_options
@debug_option
def take(
    *,
    ticket: str,
    bundle: Path | None,
    budget: float | None,
    asked: Asked,
    verdict: bool,
    no_store: bool,
    explain_plan: bool,
    attached: bool,
    dry_run: bool,
    published: bool,
    view: View,
    where: From,
) -> int:
    """Take the snapshot of TICKET.

    TICKET is an id inside --bundle, the path of a ticket.json, - for standard input, or NAME:ID, where NAME is a configured
    ticket system. With a bundle only the bundle is read; otherwise the configured sources are asked.

    \b
    problem-snapshot take TK-1042 --bundle ./incident -o html --out TK-1042.html
    problem-snapshot take ticket.json --profile prod --around "2026-11-23 10:02 +08:00"
    problem-snapshot take helpdesk:4711 --profile prod --attach
    """
    from pipeline.commands.tickets import attach, ticket_of_system
    from pipeline.judge import weights_in_force
    from pipeline.run import plan_snapshot, take_snapshot
    from pipeline.tickets.file import find_ticket

    held = click.get_current_context().with_resource(ticket_of_system(ticket, where, bundled=bundle is not None))
    if held is None and (attached or dry_run):
        raise UsageError("--attach and --dry-run need the ticket's system: name the ticket as NAME:ID")
    if held is not None:
        found = held.ticket
    else:
        found, bundle = find_ticket(ticket, bundle, _stdin(), say)
    if bundle is not None and _says_profile_but_no_bundle():
        bundle = None
    settings = where.settings(
        sources=bundle is None, publish=published, budget=budget, language=view.language, timezone=view.timezone
    )
    weights_in_force(settings.weights)
    span = asked.span(found, settings)
    zone = found.created_at.tzinfo
    uploads = uploads_for(settings, held.system.name, held.id) if held is not None else ()
    with open_sources(settings, bundle, zone, uploads) as sources, Progress(where.verbose) as progress:
        if explain_plan:
            scope, planned = plan_snapshot(found, sources, settings, around=span, progress=progress)
            return show_plan(scope, planned, view, found.language if settings.language == "auto" else settings.language)
        taken = take_snapshot(found, sources, settings, around=span, progress=progress)
    snapshot = taken.snapshot
    kept: str | SnapshotError = ""
    if not no_store:
        try:
            with opened_store(settings) as store:
                kept = store.put(snapshot, taken.run).path
        except SnapshotError as error:
            # What was found is shown all the same.
            kept = error
    on_ticket = True
    if held is not None and (attached or dry_run):
        on_ticket = attach(held, snapshot, dry_run=dry_run)
    if not dry_run:
        show_snapshot(snapshot, view, settings, zone)
    # After it is kept and shown: what fails here, or hangs, loses nothing.
    sent = settings.publish is None or _published(snapshot, settings.publish)
    if isinstance(kept, SnapshotError):
        say(f"Not stored: {kept}")
        return PARTIAL
    if kept:
        say(f"Stored: {kept}")
        if view.format == "table":
            say(f"As a page: {NAME} show {snapshot.snapshot_id} -o html --out {file_name(snapshot)}.html")
    return exit_code_of(snapshot, verdict=verdict) if sent and on_ticket else PARTIAL


def _published(snapshot: ProblemSnapshot, target: PublishOptions) -> bool:
    """Publishes a snapshot that was just taken. What goes wrong is told, and never raised."""
    from pipeline.publish.publishing import publish

    try:
        result = publish([snapshot], target)
    except SnapshotError as error:
        say(f"Not published: {error}")
        return False
    for line in (*result.notes, *(f"Not published: {one.problem}" for one in result.snapshots if one.problem)):
        say(line)
    if result.failed_snapshots:
        return False
    say(f"Published: {result}")
    return True


def show_plan(scope: Scope, planned: Sequence[Planned], view: View, spoken: str) -> int:
    """Prints what would be fetched, as lines or as JSON; 8 where a source could not say, 5 where none could, 4 where all refused."""
    import msgspec

    from pipeline.values import Span
    from snapshots.render.plan import plan_lines

    if view.format not in {"table", "json"}:
        raise UsageError(f"-o {view.format}: a plan is shown as table or json")
    window = Span(min(scope.baseline.start, scope.window.start), scope.window.end)
    if view.format == "json":
        told = msgspec.json.encode({"window": window, "plan": planned})
        text = msgspec.json.format(told, indent=2).decode() + "\n"
    else:
        language: Language = "zh" if spoken == "zh" else "en"
        lines = [f"{window.start:%Y-%m-%d %H:%M:%S} .. {window.end:%Y-%m-%d %H:%M:%S} UTC"]
        for one in planned:
            lines += ["", f"{one.source} ({one.kind}), {one.what}"]
            steps = list(plan_lines(one.plan, language, ahead=True)) if one.plan else [one.error or one.asked]
            lines += [f"  {line}" for line in (*steps, *one.notes)]
        text = "\n".join(lines) + "\n"
    if view.out is None:
        emit(text)
    else:
        write_file(view.out, text)
        say(f"Written: {view.out}")
    failed = [one for one in planned if one.error is not None]
    if not failed or len(failed) < len(planned):
        return PARTIAL if failed else 0
    return Refused.exit_code if all(one.refused for one in failed) else NoSourceReached.exit_code


def exit_code_of(snapshot: ProblemSnapshot, *, verdict: bool) -> int:
    """The exit code of a snapshot that was taken.

    A verdict on a part of the data is none: 8 comes before 10 and 11.
    """
    if is_partial(snapshot.coverage):
        return PARTIAL
    if verdict:
        return UNDETERMINED if snapshot.diagnosis.abstained else LOCATED
    return 0


def is_partial(coverage: Iterable[Coverage]) -> bool:
    """Whether a source failed or gave only a part. What a bundle merely does not have (`skipped`) is no failure."""
    return any(row.status in {"failed", "partial"} for row in coverage)


def file_name(snapshot: ProblemSnapshot) -> str:
    """A file name for the ticket that needs no quoting in a shell."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in snapshot.ticket.id)[:60].strip(
        "-"
    )
    return plain or snapshot.snapshot_id


def _says_profile_but_no_bundle() -> bool:
    """Whether the profile was asked for in this very call, while the bundle was only found around the ticket.json."""
    context = click.get_current_context()
    written = click.core.ParameterSource.COMMANDLINE
    return context.get_parameter_source("profile") is written and context.get_parameter_source("bundle") is not written


def _stdin() -> Any:
    return sys.stdin.buffer if sys.stdin is not None else None


# ---- showing


def show_snapshot(snapshot: ProblemSnapshot, view: View, settings: Settings, zone: tzinfo | None = None) -> None:
    """Renders the snapshot as `view` asks, to standard output or to its file."""
    to_terminal = view.out is None and sys.stdout is not None and sys.stdout.isatty()
    text = rendered(snapshot, view.format, settings, zone, full=view.full, to_terminal=to_terminal)
    if view.out is None:
        emit(text)
    else:
        write_file(view.out, text)
        say(f"Written: {view.out}")


def rendered(
    snapshot: ProblemSnapshot,
    form: str,
    settings: Settings,
    zone: tzinfo | None = None,
    *,
    full: bool = False,
    to_terminal: bool = False,
) -> str:
    """The snapshot as text in one of `FORMATS`, in the language and zone of the settings, else of the ticket."""
    from snapshots.render import RENDERERS

    language = snapshot.ticket.language if settings.language == "auto" else settings.language
    return RENDERERS[form](
        snapshot,
        language="zh" if language == "zh" else "en",
        zone=settings.zone or zone or _zone_of(snapshot),
        full=full,
        width=terminal_width() if to_terminal else 100,
        colour=to_terminal,
    )


def _zone_of(snapshot: ProblemSnapshot) -> tzinfo:
    from datetime import UTC, datetime

    return datetime.fromisoformat(snapshot.ticket.created_at).tzinfo or UTC


def find_snapshot(ref: str, settings: Settings) -> ProblemSnapshot:
    """The snapshot of a file, or the kept one of that id, beginning of an id, or ticket."""
    path = Path(ref)
    if ref == "-":
        return _read(sys.stdin.buffer.read(), "standard input")
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():
            return _read(path.read_bytes(), ref)
    if path.suffix == ".json":
        raise TicketNotFound(f"{ref}: no such file")
    with opened_store(settings) as store:
        return store.get(ref)


def _read(data: bytes, name: str) -> ProblemSnapshot:
    import msgspec

    from snapshots.model import read_snapshot

    try:
        return read_snapshot(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(f"{name}: is not a snapshot document: {error}") from error


@commands.command()
@click.argument("snapshot", metavar="ID|TICKET|FILE")
@view_options
@from_options
@debug_option
def show(*, snapshot: str, view: View, where: From) -> None:
    """Show a snapshot that was taken.

    Named by its id or the beginning of one, by its ticket (the newest), or by its file.

    \b
    problem-snapshot show TK-1042 --full
    problem-snapshot show ps-3f9c21 -o html --out snapshot.html
    """
    settings = where.settings(sources=False, language=view.language, timezone=view.timezone)
    show_snapshot(find_snapshot(snapshot, settings), view, settings)


@commands.command("note")
@click.argument("snapshot", metavar="ID|TICKET|FILE")
@click.option(
    "--form",
    type=click.Choice(["html", "markdown", "wiki", "adf", "text"]),
    default="text",
    show_default=True,
    help="As which system takes it; wiki is Jira Data Center's, adf Jira Cloud's.",
)
@click.option("--language", "-l", type=click.Choice(["auto", "en", "zh"]), help="auto is the ticket's language.")
@click.option("--page", default="", metavar="URL", help="Where the snapshot's page is, for its links.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many characters; what is left out is named.")
@from_options
@debug_option
def print_note(*, snapshot: str, form: Any, language: str | None, page: str, limit: int | None, where: From) -> None:
    """Print a snapshot's note as it would go on its ticket.

    \b
    problem-snapshot note TK-1042 --form markdown
    """
    from snapshots.render.note import Links, marker_of, note_blocks, write

    settings = where.settings(sources=False, language=language)
    found = find_snapshot(snapshot, settings)
    spoken = found.ticket.language if settings.language == "auto" else settings.language
    marker = marker_of(found.ticket.system, found.ticket.id)
    try:
        blocks = note_blocks(found, "zh" if spoken == "zh" else "en", Links(page=page))
        text = write(blocks, form, marker, limit)
    except ValueError as error:
        raise UsageError(str(error)) from error
    emit(text)


@commands.command("notify")
@click.argument("snapshot", metavar="ID|TICKET|FILE")
@click.option("--to", "names", multiple=True, metavar="NAME", help="Only this receiver; may be given again.")
@click.option("--page", default="", metavar="URL", help="Where the snapshot's page is.")
@click.option("--dry-run", is_flag=True, help="Only tell who would be told.")
@from_options
@debug_option
def notify_receivers(*, snapshot: str, names: tuple[str, ...], page: str, dry_run: bool, where: From) -> int:
    """Tell the configured receivers of a snapshot.

    Those whose `when` wants it, or with --to those that are named, whatever they want.

    \b
    problem-snapshot notify TK-1042 --to oncall
    """
    from datetime import UTC, datetime

    from pipeline.notify import Event, open_target
    from pipeline.settings import load_settings
    from snapshots.render.blocks import Links

    receivers = load_settings(where.config, where.profile, sources=False, notify=True).notify
    unknown = [name for name in names if name not in receivers]
    if unknown or not receivers:
        there = ", ".join(sorted(receivers)) or f"none; add a table [defaults.notify.NAME], `{NAME} init` shows it"
        raise UsageError(f"--to {unknown[0]}: there are: {there}" if unknown else f"nobody is to be told: {there}")
    try:
        links = Links(page=page)
    except ValueError as error:
        raise UsageError(f"--page {error}") from error
    found = find_snapshot(snapshot, where.settings(sources=False))
    event = Event("snapshot.created", found, datetime.now(UTC), links)
    failed = 0
    for name in names or sorted(receivers):
        with contextlib.closing(open_target(name, receivers[name])) as target:
            try:
                wanted = name in names or target.wants(event)
                sent = target.send(event) if wanted and not dry_run else None
            except SnapshotError as error:
                failed += 1
                emit(f"{name}: {_line(error)}\n")
                continue
        told = (sent.note or sent.outcome) if sent else "would be told" if wanted else "not told, as its `when` says"
        failed += sent is not None and sent.outcome == "disabled"
        emit(f"{name}: {told}\n")
    return PARTIAL if failed else 0


@commands.command("list")
@click.option(
    "--output", "-o", type=click.Choice(["table", "json"]), default="table", show_default=True, help="The format."
)
@click.option("--limit", "-n", type=click.IntRange(min=1), help="Only the newest so many.")
@from_options
@debug_option
def list_snapshots(*, output: str, limit: int | None, where: From) -> None:
    """List the snapshots that are kept, the newest ticket first.

    \b
    problem-snapshot list -n 20
    """
    with opened_store(where.settings(sources=False)) as store:
        listing = store.list(limit=limit)
    if output == "json":
        from snapshots.model import canonical_json

        emit(canonical_json(listing.entries).decode())
    elif listing.entries:
        heads = ("SNAPSHOT", "TICKET", "CREATED", "VERDICT", "SURE", "SERVICE")
        emit(columns(heads, [_listed(entry) for entry in listing.entries]))
    else:
        say("No snapshot is kept yet.")
    if listing.damaged:
        first = listing.damaged[0]
        say(f"{len(listing.damaged)} damaged: {first.path}: {first.reason}")


def _listed(entry: Entry) -> tuple[str, ...]:
    named = "/".join(part for part in (entry.fault_class, entry.fault_subclass) if part)
    return (
        entry.snapshot_id,
        entry.ticket_id,
        entry.created_at,
        "undetermined" if entry.abstained else named,
        f"{entry.confidence:.0%}",
        entry.service or "",
    )


# ---- publish


@commands.command("publish")
@click.argument("snapshots", nargs=-1, metavar="[ID|TICKET|FILE]...")
@click.option("--all", "every", is_flag=True, help="Every snapshot of the store.")
@click.option("--dry-run", is_flag=True, help="Print the documents as newline-delimited JSON, and send nothing.")
@from_options
@debug_option
def publish_snapshots(*, snapshots: tuple[str, ...], every: bool, dry_run: bool, where: From) -> int:
    """Write snapshots to an Elasticsearch index, for Kibana.

    One document a snapshot and one a finding, under ids of their own: publishing again changes nothing. Exits 8 where some
    could not be written, 4 where the account may not, 5 where the cluster cannot be reached.

    \b
    problem-snapshot publish TK-1042
    problem-snapshot publish --all --profile prod
    """
    from pipeline.publish.publishing import as_ndjson, publish
    from pipeline.settings import publish_of, read_config

    if every == bool(snapshots):
        raise UsageError("name the snapshots, by id, ticket or file, or give --all")
    settings = where.settings(sources=False, publish=not dry_run)
    unread: list[str] = []
    documents = {one.snapshot_id: one for one in (find_snapshot(name, settings) for name in snapshots)}
    found = _kept(settings, unread) if every else iter(documents.values())
    bad = 0
    if settings.publish is None:
        target = publish_of(read_config(where.config, os.environ), where.profile, os.environ)
        for text in as_ndjson(found, target):
            emit(text)
    else:
        result = publish(found, settings.publish)
        rows = [(one.snapshot_id, one.ticket_id, one.outcome) for one in result.snapshots]
        emit(columns(("SNAPSHOT", "TICKET", "OUTCOME"), rows))
        for line in (*result.notes, *(one.problem for one in result.snapshots if one.problem)):
            say(line)
        say(str(result))
        bad = result.failed_snapshots
    for line in unread:
        say(line)
    return PARTIAL if bad or unread else 0


def _kept(settings: Settings, unread: list[str]) -> Iterator[ProblemSnapshot]:
    """Every snapshot of the store that can be read; of the others a line in `unread`."""
    from snapshots.store import StoreError

    with opened_store(settings) as store:
        listing = store.list()
        unread += [f"{one.path}: damaged: {one.reason}" for one in listing.damaged]
        for entry in listing.entries:
            try:
                snapshot = store.get(entry.snapshot_id)
            except StoreError as error:
                unread.append(str(error))
            else:
                yield snapshot


# ---- verify, schema


@commands.command()
@click.argument("snapshot", metavar="ID|TICKET|FILE")
@bundle_option
@click.option(
    "--timezone",
    type=Zone(),
    envvar="PROBLEM_SNAPSHOT_TIMEZONE",
    help="Zone of a bundle's times without one, where the snapshot was taken with it; otherwise the ticket's.",
)
@from_options
@debug_option
def verify(*, snapshot: str, bundle: Path | None, timezone: str | None, where: From) -> int:
    """Open every record that a snapshot cites, and compare it.

    Exits 9 where one is gone or has changed. A record that the document has no sha256 of is counted as unstamped.

    \b
    problem-snapshot verify TK-1042 --bundle ./incident
    """
    from pipeline.replay import Resolver
    from snapshots.verify import verify as verify_snapshot

    settings = where.settings(sources=bundle is None, timezone=timezone)
    document = find_snapshot(snapshot, settings)
    if bundle is not None:
        bundle = _records_of(document, bundle)
    uploads = uploads_named(settings, (row.source for row in document.coverage))
    with open_sources(settings, bundle, _zone_of(document), uploads) as sources:
        resolvers = {source.name: Resolver(source) for source in sources}
        report = verify_snapshot(document, resolvers.get)
    emit("\n".join(_report_lines(report, document)))
    if report.drifted:
        return DRIFT
    lost = report.count("unreachable")
    if lost and lost == len(report.evidence):
        return NoSourceReached.exit_code
    return PARTIAL if lost else 0


def _records_of(document: ProblemSnapshot, bundle: Path) -> Path:
    """The bundle of the document's ticket: a single bundle itself, since another ticket's records may be cited."""
    from pipeline.sources.bundle.tickets import find_bundle, is_bundle

    try:
        return find_bundle(bundle, document.ticket.id)
    except TicketNotFound:
        if not is_bundle(bundle):
            raise
        say(f"{bundle} holds no ticket {document.ticket.id}; the records are looked for in it all the same.")
        return bundle


def _report_lines(report: VerifyReport, document: ProblemSnapshot) -> Iterator[str]:
    from snapshots.verify import all_evidence

    states: tuple[State, ...] = ("changed", "gone", "unreachable", "unstamped")
    counts = [f"{n} {state}" for state in states if (n := report.count(state))]
    well = f"{report.count('ok')} of {len(report.evidence)} records are as they were"
    yield _clean(f"{report.snapshot_id}: {', '.join([well, *counts])}")
    yield from (_clean(f"The document contradicts itself: {problem}") for problem in report.problems)
    cited = {evidence.ref: evidence for evidence in all_evidence(document)}
    rows = [
        tuple(map(_clean, (row.state, row.ref, row.source, _place(cited[row.ref]), row.reason)))
        for row in report.evidence
        if row.state != "ok"
    ]
    if rows:
        yield columns(("STATE", "REF", "SOURCE", "RECORD", "REASON"), rows)


def _clean(text: str) -> str:
    """Text of a document or a source on one line, without anything that a terminal would obey."""
    from snapshots.render.clean import clean_text

    return " ⏎ ".join(clean_text(text).splitlines())


def _place(evidence: Evidence) -> str:
    """Where a cited record is, as a person would write it."""
    if evidence.doc_id is not None:
        return f"{evidence.index}/{evidence.doc_id}" if evidence.index else evidence.doc_id
    return f"{evidence.file}:{evidence.start}-{evidence.end}"


@commands.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of the snapshot document.

    \b
    problem-snapshot schema > problem-snapshot.schema.json
    """
    import json

    from snapshots.schema import json_schema

    emit(json.dumps(json_schema(), ensure_ascii=False, indent=2))


# ---- diff, replay


@commands.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@difference_options
@from_options
@debug_option
def diff(*, before: str, after: str, view: Difference, where: From) -> int:
    """Show what changed from snapshot A to snapshot B.

    Says, too, which evidence moved the diagnosis. Each is named by its id or the beginning of one, by its ticket (the newest),
    or by its file. Exits 0 whatever differs;
    with --exit-code 9 where diagnosis or evidence differ.

    \b
    problem-snapshot diff ps-3f9c21 TK-1042
    problem-snapshot diff before.json after.json -o md --exit-code
    """
    from snapshots.compare import compare

    settings = where.settings(sources=False, language=view.language, timezone=view.timezone)
    first, second = find_snapshot(before, settings), find_snapshot(after, settings)
    comparison = compare(first, second)
    show_comparison(comparison, second, view, settings)
    return DRIFT if view.verdict and not comparison.same else 0


def show_comparison(comparison: Comparison, after: ProblemSnapshot, view: Difference, settings: Settings) -> None:
    """Renders the comparison as `view` asks, in the language and zone of the settings, else of the later ticket."""
    from snapshots.render.comparison import render_comparison

    if view.format not in DIFFERENCES:
        raise UsageError(f"--out {view.out}: a comparison is shown as {', '.join(DIFFERENCES)}; say which with -o")
    to_terminal = view.out is None and sys.stdout is not None and sys.stdout.isatty()
    language = after.ticket.language if settings.language == "auto" else settings.language
    text = render_comparison(
        comparison,
        view.format,
        language="zh" if language == "zh" else "en",
        zone=settings.zone or _zone_of(after),
        full=view.full,
        width=terminal_width() if to_terminal else 100,
        colour=to_terminal,
    )
    if view.out is None:
        emit(text)
    else:
        write_file(view.out, text)
        say(f"Written: {view.out}")


@commands.command("replay")
@click.argument("snapshot", metavar="ID|TICKET|FILE")
@bundle_option
@click.option("--ticket", metavar="FILE", help="The ticket as a ticket.json, or - for standard input.")
@click.option(
    "--budget", type=Duration(), envvar="PROBLEM_SNAPSHOT_BUDGET", help="How long the sources may take together."
)
@difference_options
@from_options
@debug_option
def replay_snapshot(
    *, snapshot: str, bundle: Path | None, ticket: str | None, budget: float | None, view: Difference, where: From
) -> int:
    """Take a snapshot's ticket again, and show what moved.

    With the program of today. The ticket is the one of --ticket, else of the bundle, else the redacted one in the
    snapshot. The window is the
    snapshot's where a person had asked for it. Nothing is kept. Exits 8 where a source failed or gave a part; with
    --exit-code 9 where diagnosis or evidence differ.

    \b
    problem-snapshot replay TK-1042 --bundle ./incident
    problem-snapshot replay ps-3f9c21 --profile prod -o json --exit-code
    """
    from pipeline.judge import weights_in_force
    from pipeline.replay import replay, ticket_again

    settings = where.settings(sources=bundle is None, budget=budget, language=view.language, timezone=view.timezone)
    weights_in_force(settings.weights)
    document = find_snapshot(snapshot, settings)
    if snapshot == "-" and ticket == "-":
        raise UsageError("SNAPSHOT and --ticket cannot both be standard input")
    found, origin, bundle = ticket_again(document, ticket, bundle, _stdin(), say)
    uploads = uploads_named(settings, (row.source for row in document.coverage))
    with (
        open_sources(settings, bundle, found.created_at.tzinfo, uploads) as sources,
        Progress(where.verbose) as progress,
    ):
        done = replay(document, found, origin, sources, settings, progress)
    again = done.taken.snapshot
    show_comparison(done.comparison, again, view, settings)
    if is_partial(again.coverage):
        return PARTIAL
    return DRIFT if view.verdict and not done.comparison.same else 0


# ---- backtest


@commands.command()
@click.argument("cases", metavar="DIR|STORE")
@click.option("--labels", type=PATH, metavar="CSV", help="Labels by ticket id; otherwise DIR_labels.csv beside DIR.")
@click.option("--map", "codes", type=PATH, metavar="FILE", help="What resolution codes stand for, as CSV or TOML.")
@click.option(
    "--jobs", "-j", type=click.IntRange(min=1), default=2, show_default=True, help="Processes, at most one a core."
)
@click.option(
    "--budget",
    type=Duration(),
    default=60.0,
    show_default="60s",
    help="How long the sources of a case may take: long, so that a busy machine changes nothing.",
)
@click.option("--keep", type=PATH, metavar="DIR", help="Write each case's snapshot to DIR as <ticket>.json.")
@click.option("--against", type=PATH, metavar="FILE", help="Compare with an earlier run that --json wrote.")
@click.option("--against-snapshots", metavar="DIR", help="Compare with snapshots: a store, or a folder of documents.")
@click.option("--fail-under", multiple=True, metavar="NAME=VALUE", help="Exit 12 where a figure is less; repeatable.")
@click.option("--fail-over", multiple=True, metavar="NAME=VALUE", help="Exit 12 where ece or failures is more.")
@click.option("--no-regressions", is_flag=True, help="Exit 12 where a case is worse than in what it is compared with.")
@click.option(
    "--output", "-o", type=click.Choice(["table", "json", "md"]), default="table", show_default=True, help="The format."
)
@click.option("--json", "json_file", type=PATH, metavar="FILE", help="Write the report as JSON to FILE as well.")
@click.option("--plot", type=PATH, metavar="FILE", help="Write the reliability plot as SVG to FILE as well.")
@click.option(
    "--language",
    "-l",
    type=click.Choice(["auto", "en", "zh"]),
    default="auto",
    envvar="PROBLEM_SNAPSHOT_LANGUAGE",
    help="auto is the machine's language.",
)
@from_options
@debug_option
def backtest(
    *,
    budget: float,
    output: str,
    json_file: Path | None,
    plot: Path | None,
    language: str,
    where: From,
    **given: Any,
) -> int:
    """Score the diagnoses of tickets whose cause is known.

    DIR is a folder of cases, which are taken anew. A STORE, or a folder of snapshots, is scored as it is. Exits 8 where a
    case failed, 12 where a goal was missed, 130 when interrupted, with what was done so far.

    \b
    problem-snapshot backtest cases/ --json today.json --fail-under precision_located_alt=.9
    problem-snapshot backtest cases/ --against yesterday.json --no-regressions
    problem-snapshot backtest /srv/snapshots --labels closed.csv --map codes.toml
    """
    from pipeline.backtest import Asked as Wanted
    from pipeline.backtest import report_json, run_backtest
    from pipeline.learn_weights import counted
    from pipeline.scorecard import plot_svg, rendered_report

    settings = where.settings(sources=False, budget=budget)
    if language == "auto":
        language = language_of(os.environ)
    spoken: Language = "zh" if language == "zh" else "en"
    with Counter(where.verbose) as counter:
        done = run_backtest(Wanted(**given), settings, counter)
    if json_file is not None:
        write_file(json_file, report_json(done.report))
    if plot is not None:
        write_file(plot, plot_svg(done.report, spoken))
    to_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = terminal_width() if to_terminal else 100
    emit(rendered_report(done, output, spoken, plot=plot, width=width, colour=to_terminal))
    say(f"{counted(len(done.report.cases), 'case', 'cases')} in {done.seconds:.1f} s")
    for sentence in done.missed:
        say(f"Goal missed: {sentence.en}")
    if done.report.interrupted:
        say("Interrupted: what was done so far is above.")
        return INTERRUPTED
    return MISSED if done.missed else PARTIAL if done.report.scores["failures"] else 0


# ---- learn, learn-weights


@commands.command("learn-weights")
@click.argument("cases", metavar="DIR|STORE|FILE")
@click.option("--labels", type=PATH, metavar="CSV", help="Labels by ticket id; otherwise DIR_labels.csv beside DIR.")
@click.option("--map", "codes", type=PATH, metavar="FILE", help="What resolution codes stand for, as CSV or TOML.")
@click.option(
    "--jobs", "-j", type=click.IntRange(min=1), default=2, show_default=True, help="Processes, at most one a core."
)
@click.option("--out", type=PATH, metavar="FILE", help="Where to write the weights; without it they are only measured.")
@click.option(
    "--start",
    type=PATH,
    metavar="FILE",
    help="Weights to begin with, which must not have seen the cases; otherwise those set by hand, with --alone the shipped.",
)
@click.option("--alone", is_flag=True, help="Learn from these cases alone, without the shipped ones.")
@click.option(
    "--precision",
    type=click.FloatRange(0.5, 0.999),
    default=0.92,
    show_default=True,
    help="The share of located cases that must be right, alternates counted.",
)
@click.option(
    "--strict",
    type=click.FloatRange(0.0, 0.999),
    default=0.82,
    show_default=True,
    help="The share of located cases that must name the label's own class.",
)
@click.option("--write-cases", type=PATH, metavar="FILE", help="Write the cases, as the judge meets them, to FILE.")
@click.option(
    "--language",
    "-l",
    type=click.Choice(["auto", "en", "zh"]),
    default="auto",
    envvar="PROBLEM_SNAPSHOT_LANGUAGE",
    help="auto is the machine's language.",
)
@from_options
@debug_option
def learn_weights(
    *,
    cases: str,
    out: Path | None,
    start: Path | None,
    alone: bool,
    precision: float,
    strict: float,
    write_cases: Path | None,
    language: str,
    where: From,
    **given: Any,
) -> int:
    """Learn from closed tickets how much each finding counts.

    DIR is a folder of cases, which are taken anew; STORE holds their snapshots; FILE is what --write-cases wrote. The
    figures of these cases come from weights that have not seen them. Exits 12 where the learnt weights are worse on the
    shipped cases.

    \b
    problem-snapshot learn-weights /srv/snapshots --labels closed.csv --map codes.toml --out weights.toml
    """
    from pipeline.backtest import Asked as Wanted
    from pipeline.backtest import gather, is_cases
    from pipeline.judge import START, weights, weights_in_force
    from pipeline.learn_weights import cases_text, read_cases, shipped_cases, weights_text
    from pipeline.weights_report import labelled, learn_report, report_text

    settings = where.settings(sources=False)
    before = weights_in_force(settings.weights)
    begin = weights(str(start)) if start else None
    for file in (out, write_cases):
        # Learning takes its time: what cannot be written is told before.
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            raise UsageError(f"{file}: cannot be written: {'it is a folder' if file.is_dir() else 'no such folder'}")
    path = Path(cases)
    if path.is_file() and not is_cases(cases):
        if given["labels"] or given["codes"]:
            raise UsageError(
                f"{cases}: is a file of cases, which has its labels; --labels and --map belong to DIR or STORE"
            )
        found, left_out, name = list(read_cases(_bytes_of(path), cases)), 0, path.name
    else:
        with Counter(where.verbose) as counter:
            have = gather(Wanted(cases, **given), settings, counter)
        if have.ran.interrupted:
            say("Interrupted: nothing was learnt.")
            return INTERRUPTED
        found, left_out = labelled(have)
        name = have.cases_from
    if write_cases is not None:
        write_file(write_cases, cases_text(found))
        say(f"Written: {write_cases}")
    if begin is None:
        # The shipped weights have seen the shipped cases: where these are learnt from, the learning begins before them.
        seen = not alone or not {case.id for case in found}.isdisjoint(case.id for case in shipped_cases())
        begin = weights(str(START) if seen else None)
    report = learn_report(
        found, begin, before, alone=alone, precision=precision, strict=strict, name=name, left_out=left_out
    )
    text = report_text(report)
    spoken = language_of(os.environ) if language == "auto" else language
    emit(text.zh if spoken == "zh" else text.en)
    if out is not None:
        import json  # as TOML wants a string

        write_file(out, weights_text(report.learnt.weights))
        line = f"weights = {json.dumps(str(out.resolve()), ensure_ascii=False)}"
        say(f"Written: {out}. It holds with  {line}  below [defaults] in problem-snapshot.toml.")
    return MISSED if report.worse else 0


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


# ---- init, doctor


@commands.command()
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


@commands.command()
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
    from pipeline.settings import (
        config_places,
        plain_secrets,
        publish_of,
        read_config,
        source_table,
        sources_of,
        tickets_of,
    )
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
    emit("\n".join(line for health in [*others, *healths] for line in _health_lines(health)))
    for health in healths if fields else ():
        if health.state in {"ok", "failed"} and not isinstance(opened[health.name], SnapshotError):
            redactor = settings.redaction.redactor()
            name = source_table(config, where.profile, os.environ, health.name)
            lines = tuple(field_lines(opened[health.name], name, redactor, timeout))
            emit("\n".join(("", f"fields of {health.name}", *map(_clean, lines))) if lines else "")
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


def _health_lines(health: Health) -> Iterator[str]:
    kind = f" ({health.kind})" if health.kind not in {"", health.name, "file"} else ""
    first, *rest = health.lines or ("",)
    # The lines are what sources, files and the network said.
    yield f"{health.state:<12}{_clean(f'{health.name}{kind}: {first}')}"
    yield from (f"{'':<12}{_clean(line)}" for line in rest)
    if health.advice:
        yield f"{'':<12}-> {_clean(health.advice)}"


# ---- demo, bundle, completion


def examples_folder() -> Path:
    """The folder of example incidents: package data of an installation, or the checkout's own."""
    here = Path(__file__).resolve().parent
    for place in (here / "pipeline" / "examples", here / "examples"):
        if place.is_dir() and any(place.glob("*/ticket.json")):
            return place
    raise UsageError(f"the example incidents are missing from this installation ({here}); install it again")


@commands.command()
@click.option(
    "--out", type=PATH, default=Path("demo-out"), show_default=True, metavar="DIR", help="Where the pages are written."
)
@click.option(
    "--language",
    "-l",
    type=click.Choice(["auto", "en", "zh"]),
    default="auto",
    envvar="PROBLEM_SNAPSHOT_LANGUAGE",
    help="Language.",
)
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
            emit(f"{snapshot.ticket.id}  {_verdict(snapshot, settings)}\n  {page.resolve()}")


def _verdict(snapshot: ProblemSnapshot, settings: Settings) -> str:
    language = snapshot.ticket.language if settings.language == "auto" else settings.language
    summary = snapshot.diagnosis.summary
    return summary.zh if language == "zh" else summary.en


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


@commands.command("bundle")
@click.argument("ticket", required=False)
@click.option("--out", type=PATH, metavar="PATH", help="The bundle to write: a folder, or a file ending in .zip.")
@collect_options
@bundle_option
@asked_options
@click.option(
    "--budget", type=Duration(), envvar="PROBLEM_SNAPSHOT_BUDGET", help="How long the sources may take together."
)
@from_options
@debug_option
def write_bundle(
    *,
    ticket: str | None,
    out: Path | None,
    collecting: Collecting,
    bundle: Path | None,
    budget: float | None,
    asked: Asked,
    where: From,
) -> int:
    """Write what the sources hold for TICKET to a bundle.

    It can be sent and read elsewhere: cards, phones, mail addresses, tokens and keys are masked. With --collect it is made of
    this machine's log files, as a desk asks for them, and sent there; no TICKET and no configuration is needed.

    \b
    problem-snapshot bundle ticket.json --profile prod --out TK-1042.zip
    problem-snapshot bundle --collect collect-c0123.json
    """
    if collecting.collect is not None:
        if ticket is not None or bundle is not None:
            raise UsageError("--collect takes its ticket from the manifest: leave TICKET and --bundle out")
        if asked != Asked(None, None, None) or budget is not None:
            raise UsageError(
                "--collect takes its time from the manifest: leave --around, --from, --to and --budget out"
            )
        return collect(collecting, out)
    if ticket is None:
        raise UsageError("name the TICKET whose records are written, or --collect MANIFEST")
    if out is None:
        raise UsageError("--out PATH is needed: where the bundle is written")
    from pipeline.export import export_bundle
    from pipeline.tickets.file import find_ticket

    found, bundle = find_ticket(ticket, bundle, _stdin(), say)
    if bundle is not None and _says_profile_but_no_bundle():
        bundle = None
    settings = where.settings(sources=bundle is None, budget=budget)
    span = asked.span(found, settings)
    zone = found.created_at.tzinfo
    with open_sources(settings, bundle, zone) as sources, Progress(where.verbose) as progress:
        written = export_bundle(out, found, sources, settings, around=span, progress=progress)
    rows = written.rows
    say(
        f"Written: {written.path} ({rows['logs']:,} log lines, {rows['spans']:,} spans, {rows['order_events']:,} order "
        f"events, {written.redacted:,} values masked)"
    )
    for row in written.coverage:
        if row.status in {"failed", "partial"}:
            say(f"{row.source}, {row.what}: {row.status}: {row.error or '; '.join(row.notes)}")
    return PARTIAL if is_partial(written.coverage) else 0


@commands.command("learn-wording")
@click.option(
    "--table",
    type=PATH,
    metavar="CSV",
    envvar="PROBLEM_SNAPSHOT_WORDING_TABLE",
    help="Codes and their classes, in place of the shipped table.",
)
@click.option(
    "--messages",
    type=PATH,
    metavar="CSV",
    envvar="PROBLEM_SNAPSHOT_WORDING_MESSAGES",
    help="Messages and their classes, in place of the shipped ones.",
)
@click.option(
    "--out",
    type=PATH,
    metavar="FILE",
    envvar="PROBLEM_SNAPSHOT_WORDING_OUT",
    help="Where the model is written; else over the shipped one.",
)
@debug_option
def learn_wording(*, table: Path | None, messages: Path | None, out: Path | None) -> None:
    """Learn anew how wording tells a fault class.

    That of a code or of a message. Needs scikit-learn. The same files give the same model, byte for byte.

    \b
    problem-snapshot learn-wording --messages ours.csv --out wording_model.json
    """
    from pipeline.faults.wording_training import SHIPPED, learn

    data = learn(table, messages)
    target = out or SHIPPED
    write_file(target, data.decode())
    say(f"Written: {target} ({len(data):,} bytes)")


@commands.command()
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
    emit(script(commands, {}, NAME, "_PROBLEM_SNAPSHOT_COMPLETE").source())


# ---- groups of commands with files of their own

for _command in (serve, work, poll, jobs, batch, learn, desk):
    commands.add_command(_command)


if __name__ == "__main__":
    main()
