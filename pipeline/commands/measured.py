"""The commands that measure and learn from tickets whose cause is known: backtest, learn-weights, learn-wording."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.codes import INTERRUPTED, MISSED, PARTIAL
from pipeline.commands.options import PATH, Duration, From, debug_option, from_options, language_of, language_option
from pipeline.console import Counter, emit, say, terminal_width, write_file
from pipeline.errors import UsageError

if TYPE_CHECKING:
    pass


@click.command()
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
@language_option("the machine's language")
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
    from snapshots.words import language_for

    settings = where.settings(sources=False, budget=budget)
    spoken = language_for(language_of(os.environ), language)
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


@click.command("learn-weights")
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
@language_option("the machine's language")
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
    from snapshots.words import language_for, text_in

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
    emit(text_in(text, language_for(language_of(os.environ), language)))
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


@click.command("learn-wording")
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


COMMANDS = (backtest, learn_weights, learn_wording)
