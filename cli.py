"""The command line. Options become one typed call; stdout is data, stderr is for people.

Every command imports what it needs when it runs, so that `--help` and shell completion answer at once.

    0 done                      4 credentials refused              9 verify: a record is gone or changed
    1 internal error            5 no source could be reached         diff, replay: they differ  (with --exit-code)
    2 wrong call or settings    8 done in part                    10 located, 11 undetermined   (with --exit-code)
    3 ticket not found          130 interrupted                   12 a goal of backtest was missed, or learnt weights are worse
                                                                  141 the reader of the output went away
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from pipeline.commands import compared, kept, measured, service, setting_up
from pipeline.commands.batch import batch
from pipeline.commands.bundle import write_bundle
from pipeline.commands.codes import INTERRUPTED, READER_GONE
from pipeline.commands.desk import desk
from pipeline.commands.learn import learn
from pipeline.commands.options import NAME, debug_option
from pipeline.commands.take import take
from pipeline.console import line_of, quiet_stdout
from pipeline.errors import SnapshotError, UsageError

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
        click.echo(f"{NAME}: {line_of(error)}", err=True)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last place in which a person can be spared a stack trace
        _trace_if_debugging()
        click.echo(f"{NAME}: internal error: {type(error).__name__}: {line_of(error)}", err=True)
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


for _command in (
    *(take, write_bundle, batch, learn, desk),
    *(*kept.COMMANDS, *compared.COMMANDS, *service.COMMANDS, *measured.COMMANDS, *setting_up.COMMANDS),
):
    commands.add_command(_command)


if __name__ == "__main__":
    main()
