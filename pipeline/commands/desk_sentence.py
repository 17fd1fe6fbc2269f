"""desk sentence: what the customer of a ticket may be told, and whether somebody's own words may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import click

from pipeline.commands.desk_shown import said_in, show_json
from pipeline.commands.opened import opened_store
from pipeline.commands.options import From, debug_option, from_options, language_option, output_option
from pipeline.console import emit, say
from pipeline.errors import UsageError
from snapshots.model import Text

if TYPE_CHECKING:
    from pipeline.desk.claims import Refusal
    from snapshots.model import CustomerMessage

# Longer than anything that a customer reads.
_MOST = 10_000
_WHY: dict[str, Text] = {
    "uncited": Text(
        en="no finding of this ticket has evidence for a word of it", zh="本工单没有任何有证据的发现可以支持"
    ),
    "uncovered": Text(en="nothing that was found says so", zh="已有发现中没有依据"),
    "address": Text(en="an address or the place of a file", zh="地址或文件路径"),
    "code": Text(en="a code, an id or a technical name", zh="代码、编号或技术名称"),
    "jargon": Text(en="a word of ours", zh="技术用语"),
    "promise": Text(en="a promise", zh="承诺"),
    "blame": Text(en="blame", zh="归责"),
    "name": Text(en="a name that only we know", zh="内部名称或标识"),
    "personal": Text(en="personal data", zh="个人信息"),
}


@click.command("sentence")
@click.argument("snapshot", metavar="ID|TICKET")
@click.option(
    "--check", "written", type=click.File(encoding="utf-8"), metavar="FILE", help="Try these words instead; - is stdin."
)
@click.option("--exit-code", "verdict", is_flag=True, help="With --check: exit 9 where the words may not be told.")
@output_option
@language_option("the ticket's language")
@from_options
@debug_option
@click.pass_context
def sentence(
    context: click.Context,
    *,
    snapshot: str,
    written: TextIO | None,
    verdict: bool,
    output: str,
    language: str,
    where: From,
) -> None:
    """Say what the customer of a ticket may be told, each clause with what it rests on.

    With --check the same guard looks at what a person wrote, in either language.

    \b
    problem-snapshot desk sentence TK-1042 -l zh
    echo "您的支付已有记录，我们会尽快处理。" | problem-snapshot desk sentence TK-1042 --check -
    """
    from pipeline.desk.claims import check_words
    from pipeline.desk.enquiry import sentence_of_ticket
    from pipeline.desk.sentence import sentences

    if verdict and written is None:
        raise UsageError("--exit-code goes with --check")
    with opened_store(where.settings(sources=False)) as store:
        found = store.get(snapshot)
    spoken = found.ticket.language if language == "auto" else language
    if written is None:
        made = sentence_of_ticket(found)
        _show(made, output, _lines(made, spoken))
        return
    refusals = check_words(_read(written), found, sentences())
    _show(refusals, output, [_refused(one, spoken) for one in refusals])
    if not refusals:
        say("These words may be told." if spoken != "zh" else "这段话可以发给客户。")
    context.exit(9 if refusals and verdict else 0)


def _read(written: TextIO) -> str:
    try:
        text = written.read(_MOST + 1).strip()
    except (UnicodeDecodeError, OSError) as error:
        raise UsageError(f"--check: {written.name} cannot be read as UTF-8: {error}") from error
    if not text or len(text) > _MOST:
        raise UsageError(f"--check: {written.name} has to hold 1 to {_MOST:,} characters")
    return text


def _show(value: object, output: str, lines: list[str]) -> None:
    if output == "json":
        show_json(value)
    elif lines:
        emit("\n".join(lines))


def _lines(made: CustomerMessage, language: str) -> list[str]:
    whole = said_in(made, language)
    rest = [
        f"  {said_in(one.statement, language)} ({', '.join([*one.findings, *one.evidence])})" for one in made.clauses
    ]
    return [whole, *rest]


def _refused(one: Refusal, language: str) -> str:
    colon = "：" if language == "zh" else ": "
    return f"{said_in(_WHY[one.reason], language)}{colon}{' '.join(one.words.split())[:200]}"
