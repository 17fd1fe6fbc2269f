"""`problem-snapshot learn`: an archive of log lines to the catalogue of its templates."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.codes import PARTIAL
from pipeline.commands.options import (
    NAME,
    EngineAsked,
    From,
    Zone,
    debug_option,
    engine_options,
    from_options,
    moment_of,
    output_option,
)
from pipeline.console import Progress, columns, emit, say
from pipeline.errors import NoSourceReached, Refused, SourceRefused, SourceUnavailable, UsageError

if TYPE_CHECKING:
    from pipeline.learning.catalogue import Manifest, Tally
    from pipeline.learning.local import Engine
    from pipeline.learning.units import Unit

# Dead parts that are named on the terminal; the catalogue names all.
_DEAD = 10


@click.command("learn")
@click.argument("archives", nargs=-1, metavar="[ARCHIVE]...")
@click.option("--out", required=True, metavar="DIR", help="The folder of the catalogue: a path or an fsspec URL.")
@click.option("--merge", is_flag=True, help="The ARCHIVEs are catalogues: write the one that is all of them.")
@click.option(
    "--source", metavar="NAME", help="Read this Elasticsearch source of the configuration, with --from and --to."
)
@click.option("--from", "start", metavar="TIME", help="Where --source is read from; a time without offset is UTC.")
@click.option("--to", "end", metavar="TIME", help="Up to where --source is read.")
@click.option(
    "--mapping",
    type=click.Choice(["auto", "ecs", "otel", "logstash"]),
    default="auto",
    show_default=True,
    help="How the documents of files are laid out.",
)
@click.option("--timezone", type=Zone(), help="Zone of times in files that have none; otherwise UTC.")
@click.option("--replace", is_flag=True, help="Replace the catalogue that is in --out.")
@output_option
@engine_options
@from_options
@debug_option
def learn(
    *,
    archives: tuple[str, ...],
    out: str,
    merge: bool,
    source: str | None,
    start: str | None,
    end: str | None,
    mapping: str,
    timezone: str | None,
    replace: bool,
    output: str,
    engine: EngineAsked,
    where: From,
) -> int:
    """Learn which log templates there are, and what is usual of each at each hour of the week.

    ARCHIVE is a file, a folder or a pattern of Parquet or JSON lines (.parquet, .ndjson, .jsonl, .json, also .gz), a path or a
    URL that fsspec knows. With `catalogue = "DIR"` in the settings `take` compares with it. Exits 8 where parts of the archive
    could not be read.

    \b
    problem-snapshot learn logs/2026-01/ --out catalogue-2026-01
    problem-snapshot learn --source logs --from 2026-02-01 --to 2026-03-01 --profile prod --out catalogue-2026-02
    problem-snapshot learn --merge catalogue-2026-01 catalogue-2026-02 --out catalogue
    """
    from pipeline.learning.local import learn as learn_units
    from pipeline.learning.merge import merge_catalogues
    from pipeline.learning.writer import check_target

    check_target(out, replace=replace)
    begun = time.monotonic()
    if merge:
        if source or engine.engine != "local":
            raise UsageError("--merge takes catalogues only: neither --source nor another --engine")
        manifest = merge_catalogues(archives, out)
        return _tell(manifest, out, output, time.monotonic() - begun)
    with Progress(where.verbose) as progress:
        units, tally = _units(archives, source, start, end, mapping, timezone, where)
        progress(f"{len(units):,} work units")

        def seen(sofar: Tally) -> None:
            progress(f"{sofar.rows:,} lines read, {len(sofar.dead)} dead parts")

        manifest = learn_units(units, out, before=tally, engine=_engine(engine, out), progress=seen)
    return _tell(manifest, out, output, time.monotonic() - begun)


def _units(
    archives: tuple[str, ...],
    source: str | None,
    start: str | None,
    end: str | None,
    mapping: str,
    timezone: str | None,
    where: From,
) -> tuple[list[Unit], Tally]:
    """What is to be read. Raises `UsageError`."""
    from pipeline.learning.catalogue import Tally
    from pipeline.learning.local import plan
    from pipeline.learning.units import list_files, units_of_source

    if source is None:
        if start or end:
            raise UsageError("--from and --to belong to --source; files are read whole")
        if not archives:
            raise UsageError(
                "name the archive: files or folders, or a configured source with --source, --from and --to"
            )
        listed = list_files(archives)
        if listed.others:
            say(f"{len(listed.others):,} files of no known kind are not read, such as {listed.others[0]}")
        if not listed.files:
            raise UsageError(f"{archives[0]}: there is no file of a known kind in it")
        return plan(listed.files, mapping=mapping, zone=timezone)
    if archives:
        raise UsageError("give files or --source, not both: learn each, then --merge")
    if start is None or end is None:
        raise UsageError("--source needs --from and --to")
    first, last = moment_of("--from", start), moment_of("--to", end)
    if first >= last:
        raise UsageError(f"--from {start} is not before --to {end}")
    try:
        return units_of_source(source, first, last, config=where.config, profile=where.profile), Tally()
    # It is the only source here, so what stops it stops the command, with the exit code that `take` has for it.
    except SourceRefused as error:
        raise Refused(str(error)) from error
    except SourceUnavailable as error:
        raise NoSourceReached(str(error)) from error


def _engine(asked: EngineAsked, out: str) -> Engine:
    """The engine that is asked for; its packages are imported here, where they are used."""
    match asked.engine:
        case "beam":
            from pipeline.learning.beam import beam_engine

            # Only what lies where the catalogue will is surely seen by all workers.
            return beam_engine(asked.runner_option, work=f"{out.rstrip('/')}/_shards")
        case "spark":
            from pipeline.learning.on_spark import spark_engine

            return spark_engine(str(asked.master))
    from pipeline.learning.local import threads

    return threads(asked.jobs)


def _tell(manifest: Manifest, out: str, output: str, seconds: float) -> int:
    """Prints what was learnt; 8 where parts are dead."""
    from pipeline.learning.catalogue import manifest_json

    dead = manifest.tally.dead
    if output == "json":
        emit(manifest_json(manifest).decode())
    else:
        facts: list[tuple[str, Any]] = [
            ("lines", f"{manifest.lines:,}"),
            ("without a time, left out", f"{manifest.tally.undated:,}"),
            ("from", manifest.start or "-"),
            ("to", manifest.end or "-"),
            ("services", f"{len(manifest.services):,}"),
            ("templates", f"{manifest.templates:,}"),
            ("distinct masked lines", f"{manifest.masked_lines:,}"),
            ("lines of approximate templates", f"{manifest.approximate:,}"),
            ("dead parts", f"{len(dead):,}"),
            ("digest", manifest.digest[:16]),
        ]
        emit(columns(("catalogue", out), [(name, str(value)) for name, value in facts]))
    for one in dead[:_DEAD]:
        say(f"Not read: {one.what}: {one.reason}")
    if len(dead) > _DEAD:
        say(f"and {len(dead) - _DEAD:,} more, which {out} names")
    say(
        f"{manifest.tally.rows:,} lines in {seconds:.1f} s. To compare with it: catalogue = {out!r} in the settings of {NAME}"
    )
    return PARTIAL if dead else 0
