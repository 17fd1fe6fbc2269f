"""desk ask and desk knowledge: questions, and the folder of entries that answers them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from pipeline.commands.desk_shown import said_in, show_json
from pipeline.commands.opened import opened_store
from pipeline.commands.options import NAME, PATH, From, debug_option, from_options, language_option, output_option
from pipeline.console import columns, emit, say, write_file
from pipeline.desk.enquiry import doubts_of, entries_of_symptom, knowledge_folder, known_answers, open_answers, today
from pipeline.errors import SnapshotError, UsageError

if TYPE_CHECKING:
    from pipeline.desk.ask import Direction, Hit
    from pipeline.desk.entry import Entry
    from pipeline.desk.plain import Solution
    from pipeline.desk.shelf import Shelf
    from pipeline.settings import Settings

folder_option = click.option(
    "--folder",
    type=PATH,
    metavar="DIR",
    envvar="PROBLEM_SNAPSHOT_KNOWLEDGE",
    help="The folder of entries; desk.knowledge of the configuration.",
)


# ---- ask


@click.command()
@click.argument("question")
@click.option("--answer", "backwards", is_flag=True, help="QUESTION is an answer: show the problems that it solves.")
@click.option("--most", "-n", type=click.IntRange(1, 50), default=3, show_default=True, help="So many entries.")
@folder_option
@output_option
@language_option("the question's language")
@from_options
@debug_option
def ask(
    *, question: str, backwards: bool, most: int, folder: Path | None, output: str, language: str, where: From
) -> None:
    """Answer QUESTION out of the knowledge base: the entries that fit best, with their steps.

    \b
    problem-snapshot desk ask "支付宝提示余额不足怎么办"
    problem-snapshot desk ask --answer "query the order before you retry"
    """
    from pipeline.tickets.file import guess_language

    settings = where.settings(sources=False)
    answers = open_answers(settings, told_shelf(knowledge_folder(settings, folder)))
    direction: Direction = "answer" if backwards else "question"
    spoken = guess_language(question) if language == "auto" else language
    if output == "json":
        show_json(known_answers(settings, answers, question, most, direction, spoken))
    else:
        emit("\n".join(_hit_lines(answers.ask(question, most, direction), spoken)))


def told_shelf(folder: Path) -> Shelf:
    """The entries of `folder`; what could not be read is told on stderr."""
    from pipeline.desk.shelf import read_shelf

    shelf = read_shelf(folder)
    _tell_problems(shelf)
    return shelf


def _tell_problems(shelf: Shelf) -> None:
    for problem in shelf.problems[:5]:
        say(f"Not read: {problem}")
    if len(shelf.problems) > 5:
        say(f"Not read: {len(shelf.problems) - 5:,} more; `{NAME} desk knowledge check` names them")


def _hit_lines(hits: Sequence[Hit], language: str) -> list[str]:
    zh = language == "zh"
    if not hits:
        return ["知识库中没有条目。" if zh else "There is no entry to answer with."]
    lines: list[str] = []
    if not hits[0].fits:
        lines.append(
            "知识库中没有相符的条目，最接近的是：" if zh else "Nothing in knowledge fits this well; the nearest are:"
        )
    for hit in hits:
        entry = hit.entry
        draft = ("（草稿）" if zh else " (draft)") if entry.facts.status == "draft" else ""
        lines.append(f"{hit.share:>4.0%}  {said_in(entry.text('title'), language)}{draft}  [{entry.id}]")
        lines += [f"      {line}" for line in entry_lines(entry, language)]
    return lines


def entry_lines(entry: Entry, language: str) -> list[str]:
    """Cause, steps and mistakes of an entry."""
    zh = language == "zh"
    lines = []
    if cause := said_in(entry.text("cause"), language):
        lines.append(f"{'原因：' if zh else 'cause: '}{cause}")
    lines += [f"{number}. {said_in(step, language)}" for number, step in enumerate(entry.texts("steps"), 1)]
    lines += [f"{'注意：' if zh else 'mind: '}{said_in(mistake, language)}" for mistake in entry.texts("mistakes")]
    if entry.facts.video:
        lines.append(entry.facts.video)
    return lines


# ---- knowledge


@click.group()
def knowledge() -> None:
    """The folder of entries: what is in it, what is out of date, and what comes in."""


@knowledge.command("list")
@folder_option
@output_option
@language_option("English")
@from_options
@debug_option
def list_(*, folder: Path | None, output: str, language: str, where: From) -> None:
    """List the entries."""
    from pipeline.desk import plain

    shelf = told_shelf(knowledge_folder(where.settings(sources=False), folder))
    if output == "json":
        show_json([plain.entry(entry, shelf) for entry in shelf.entries])
        return
    rows = [
        (e.id, e.facts.status, e.facts.owner or "-", str(e.facts.review_by or "-"), said_in(e.text("title"), language))
        for e in shelf.entries
    ]
    emit(columns(("id", "status", "owner", "review by", "title"), rows))


@knowledge.command()
@folder_option
@output_option
@language_option("English")
@click.option("--exit-code", "verdict", is_flag=True, help="Exit 9 where an entry is flagged or cannot be read.")
@from_options
@debug_option
def check(*, folder: Path | None, output: str, language: str, verdict: bool, where: From) -> None:
    """Name entries that are out of date, contradicted by tickets that came back, incomplete or unreadable."""
    from pipeline.commands.desk_tasks import outcomes_of
    from pipeline.desk import plain
    from pipeline.desk.shelf import read_shelf

    settings = where.settings(sources=False, service=True)
    shelf = read_shelf(knowledge_folder(settings, folder))
    try:
        reopened = outcomes_of(settings)
    except SnapshotError as error:
        say(f"Reopened tickets are not known: {error}")
        reopened = {}
    found = doubts_of(settings, shelf, reopened)
    if output == "json":
        show_json(plain.doubts(shelf, found))
    else:
        lines = [f"{flag.entry}: {said_in(flag.statement, language)}" for flag in found]
        lines += [f"Not read: {problem}" for problem in shelf.problems]
        lines.append(
            f"{len(shelf.entries):,} entries, {len(found):,} flags, {len(shelf.problems):,} files that could not be read"
        )
        emit("\n".join(lines))
    if verdict and (found or shelf.problems):
        raise click.exceptions.Exit(9)


@knowledge.command()
@click.argument("file", type=PATH)
@folder_option
@click.option("--over", is_flag=True, help="Replace the entry of the same id.")
@from_options
@debug_option
def add(*, file: Path, folder: Path | None, over: bool, where: From) -> None:
    """Check the entry in FILE and put it into the folder."""
    from pipeline.desk.entry import read_entry

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from error
    _put(where, folder, [read_entry(text, str(file))], over=over)


def _put(where: From, folder: Path | None, entries: Sequence[Entry], *, over: bool) -> None:
    from pipeline.desk.shelf import put_entries

    place = knowledge_folder(where.settings(sources=False), folder)
    written, kept = put_entries(place, entries, over=over)
    left = f"; {len(kept):,} that are there already were left alone, --over replaces them" if kept else ""
    say(f"Written: {len(written):,} entries in {place}{left}")


@knowledge.command("import")
@click.argument("path", type=PATH)
@folder_option
@click.option("--owner", default="", metavar="NAME", help="Who owns entries that name nobody.")
@click.option(
    "--column",
    "pairs",
    multiple=True,
    metavar="OURS=THEIRS",
    help="A CSV's column by another name, such as steps_en=Answer.",
)
@click.option("--over", is_flag=True, help="Replace entries of the same id.")
@from_options
@debug_option
def import_(*, path: Path, folder: Path | None, owner: str, pairs: tuple[str, ...], over: bool, where: From) -> None:
    """Import a CSV, an HTML page, or a Confluence HTML export (.zip or folder) as drafts."""
    from pipeline.desk.imports import read_export

    split = [pair.partition("=") for pair in pairs]
    if wrong := [pair for pair, (_, sign, _) in zip(pairs, split, strict=True) if not sign]:
        raise UsageError(f"--column {wrong[0]!r}: write OURS=THEIRS")
    found = read_export(path, today(), owner, {ours: theirs for ours, _, theirs in split})
    for reason in found.skipped:
        say(f"Skipped: {reason}")
    _put(where, folder, found.entries, over=over)


@knowledge.command()
@folder_option
@click.option(
    "--least", type=click.IntRange(1), default=5, show_default=True, help="Codes that a product's fault must have."
)
@click.option("--over", is_flag=True, help="Replace entries of the same id, also those that were edited.")
@from_options
@debug_option
def seed(*, folder: Path | None, least: int, over: bool, where: From) -> None:
    """Write entries to begin with: the fault taxonomy and the channels' codes, with first actions in both languages."""
    from pipeline.desk.seeds import seed_entries

    _put(where, folder, seed_entries(today(), least), over=over)


@knowledge.command()
@click.option(
    "--symptom", metavar="TEXT", help="Only the problem that TEXT is about: how to solve it, cheapest check first."
)
@click.option("--labels", type=PATH, metavar="FILE", help="Confirmed faults of tickets, as `backtest` takes them.")
@click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "graphml", "json-ld", "svg"]),
    default="table",
    show_default=True,
    help="The format.",
)
@click.option("--out", type=PATH, metavar="FILE", help="Write to FILE instead of standard output.")
@folder_option
@language_option("the language of --symptom, else English")
@from_options
@debug_option
def graph(
    *,
    symptom: str | None,
    labels: Path | None,
    output: str,
    out: Path | None,
    folder: Path | None,
    language: str,
    where: From,
) -> None:
    """Show problem - cause - solution - product, as a list, a picture or a file for other tools.

    \b
    problem-snapshot desk knowledge graph --symptom "report loads slowly"
    problem-snapshot desk knowledge graph -o svg --out knowledge.svg
    """
    from pipeline.desk import graph as graphs
    from pipeline.tickets.file import guess_language

    settings = where.settings(sources=False)
    shelf = told_shelf(knowledge_folder(settings, folder))
    confirmed = _confirmed(settings, labels)
    entries: Sequence[Entry] = shelf.entries
    if symptom is not None:
        entries = entries_of_symptom(open_answers(settings, shelf), shelf, symptom)
    if language == "auto":
        language = guess_language(symptom) if symptom else "en"
    if output == "table":
        text = "\n".join(_way_lines(entries, confirmed, language))
    else:
        made = graphs.build(entries, confirmed)
        text = {
            "graphml": lambda: graphs.to_graphml(made),
            "json-ld": lambda: msgspec.json.format(msgspec.json.encode(graphs.to_json_ld(made)), indent=2).decode(),
            "svg": lambda: graphs.to_svg(made, language),
        }[output]()
    if out is None:
        emit(text)
        return
    write_file(out, text)
    say(f"Written: {out}")


def _confirmed(settings: Settings, labels: Path | None) -> dict[str, int]:
    """Fault -> tickets of the store that were confirmed to have had it."""
    from pipeline.desk.graph import confirmed_faults

    if labels is None:
        return {}
    with opened_store(settings) as store:
        return dict(confirmed_faults((entry.ticket_id for entry in store.list()), known_faults(labels)))


def known_faults(labels: Path) -> dict[str, str]:
    """Ticket -> its confirmed fault, `class/subclass` or `class`."""
    from pipeline.labels import read_labels

    found = read_labels(labels).labels
    return {one.id: "/".join(filter(None, (one.fault_class, one.fault_subclass))) for one in found}


def _way_lines(entries: Sequence[Entry], confirmed: dict[str, int], language: str) -> list[str]:
    from pipeline.desk.plain import solutions

    if not entries:
        return ["知识库中没有相符的条目。" if language == "zh" else "Nothing in knowledge fits."]
    known = {entry.id: entry for entry in entries}
    lines: list[str] = []
    for problem in solutions(entries, confirmed):
        lines.append(said_in(problem.title, language))
        for number, way in enumerate(problem.ways, 1):
            lines += _one_way(number, way, known[way.entry], language)
    return lines


def _one_way(number: int, way: Solution, entry: Entry, language: str) -> list[str]:
    zh = language == "zh"
    cost = f"{way.minutes} 分钟" if zh else f"{way.minutes} min"
    often = ""
    if way.of:
        often = f"，{way.of} 次中 {way.confirmed} 次" if zh else f", {way.confirmed:,} of {way.of:,} times"
    head = f"  {number}. {said_in(way.title, language)} ({cost}{often})  [{way.entry}]"
    return [head, *(f"       {line}" for line in entry_lines(entry, language))]
