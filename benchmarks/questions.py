"""How much a questionnaire asks over a folder of cases, and whether it ever asks what is there already.

python benchmarks/questions.py [CASES]              the development cases, where no others are named
python benchmarks/questions.py [CASES] --bare       the same tickets without their questionnaires

What "is there already" is decided here anew, from the raw files and with other expressions than those of
`pipeline/desk/questions.toml`: it is no use to hold a rule to itself. Exits 0 only where the median of questions is at most 2, over
all cases and over those in which anything is asked, and no question has its answer in the ticket, the order or the logs.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from _labelled import DEV

from pipeline.desk.intake_options import QuestionOptions
from pipeline.desk.options import DeskOptions
from pipeline.run import take_snapshot
from pipeline.settings import Settings
from pipeline.sources import open_bundle
from pipeline.tickets.file import read_ticket
from pipeline.values import Ticket
from snapshots.model import Question, Questionnaire

MOST = 2
_TOKEN = re.compile(r"[A-Za-z]{0,4}[0-9][0-9A-Za-z_-]{7,}")
_CLOCK = re.compile(r"(?<!\d)\d{1,2}:\d{2}(?!\d)|\d{1,2}\s*点|(?i:\d{1,2}\s*(?:am|pm|o'clock))")
_QUOTED = re.compile(
    r"[\"“「『][^\"”」』]{2,}[\"”」』]|\b[A-Z]{2,}_[A-Z_]{2,}\b|(?i:error\s+code\s*\w+)|错误码\s*\w+|提示[^，。]{2,}"
)
_CODE = re.compile(
    r"(?i)(?:err(?:or)?_?code|err_type|sub_?code|result_?code|return_?code|respcode|\bcode|\bRESULT)[\"'\\]*\s*[=:]\s*[\"'\\]*([A-Za-z0-9_.\-]{2,})"
)
_WELL = re.compile(r"(?i)^(?:success|ok|0+|200|10000|approved|true|null|none|trade_success|tradesuccess|00)$")
_DEVICES = re.compile(r"(?i)iphone|ipad|android|huawei|华为|小米|xiaomi|oppo|vivo|macbook|windows|pixel|galaxy")
_VERSION = re.compile(r"(?i)(?:version|版本|v)\s*[:：]?\s*\d+\.\d+")
_FIELDS = {
    "device_model": ("device_model",),
    "system_version": ("system_version",),
    "app_version": ("app_version",),
    "operation_steps": ("operation_steps",),
}


class Raw:
    """A case's files as they lie there."""

    def __init__(self, folder: Path, ticket: Ticket) -> None:
        self.ticket = ticket
        self.text = f"{ticket.title}\n{ticket.description}"
        self.fields = " ".join(str(value) for value in ticket.custom_fields.values())
        self.rows = list(_rows(folder / "orders.csv"))
        self.folder = folder

    def own_rows(self) -> list[dict[str, str]]:
        """The rows of orders that the ticket names, or else of its customer, by id or by the end of a phone number."""
        said = set(_TOKEN.findall(f"{self.text} {self.fields}"))
        named = {row["order_id"] for row in self.rows if said & {row["order_id"], row["entity_id"]}}
        if not named:
            phones = {found[-4:] for found in re.findall(r"1[3-9]\d{9}", self.text)}
            for row in self.rows:
                held = json.loads(row["attributes"] or "{}")
                own = bool(self.ticket.customer_id) and held.get("customer_id") == self.ticket.customer_id
                if own or (held.get("phone_tail") and held["phone_tail"] in phones):
                    named.add(row["order_id"])
        return [row for row in self.rows if row["order_id"] in named]

    def code(self) -> str | None:
        """An answer code of a failure that the order's rows, or log lines that name the order, hold."""
        own = self.own_rows()
        for row in own:
            if (code := json.loads(row["attributes"] or "{}").get("code")) and not _WELL.match(str(code)):
                return f"orders.csv: {code}"
        names = [name for row in own for name in (row["order_id"], row["entity_id"]) if len(name) >= 8]
        for line in _lines(self.folder / "logs"):
            if any(name in line for name in names):
                message = str(json.loads(line).get("message", "")) if line.startswith("{") else line
                for code in _CODE.findall(message):
                    if not _WELL.match(code):
                        return f"log line: {code}"
        return None


def answer_of(question: Question, raw: Raw) -> str | None:
    """Where the answer stands already; None where it does not. What is shown to be confirmed is not asked."""
    if question.value is not None:
        return None
    match question.id:
        case "order_number":
            if own := raw.own_rows():
                return f"orders.csv: {own[0]['order_id']}"
            said = re.search(r"(?:订单号?|order)\D{0,6}([0-9A-Za-z]{8,})", raw.text)
            return f"ticket: {said[1]}" if said else None
        case "occurred_at":
            if own := raw.own_rows():
                return f"orders.csv: {own[0]['occurred_at']}"
            said = _CLOCK.search(raw.text)
            return f"ticket: {said[0]}" if said else None
        case "screenshot":
            said = _QUOTED.search(raw.text)
            return f"ticket: {said[0]}" if said else raw.code()
    held = [raw.ticket.questionnaire.get(name) for name in _FIELDS.get(question.id, ())]
    if any(held):
        return f"questionnaire: {next(one for one in held if one)}"
    pattern = {"device_model": _DEVICES, "app_version": _VERSION}.get(question.id)
    said = pattern.search(raw.text) if pattern else None
    return f"ticket: {said[0]}" if said else None


def main() -> int:
    """Prints what is asked by system and language, and every question that should not have been."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("cases", nargs="?", type=Path, default=DEV)
    arguments.add_argument("--bare", action="store_true", help="take the questionnaires off the tickets")
    given = arguments.parse_args()
    counts: dict[tuple[str, str], list[int]] = defaultdict(list)
    asked: Counter[str] = Counter()
    omitted = 0
    wrong: list[str] = []
    for folder in sorted(given.cases.iterdir()):
        if not (folder / "ticket.json").exists():
            continue
        ticket = read_ticket((folder / "ticket.json").read_bytes(), str(folder))
        if given.bare:
            ticket = replace(ticket, questionnaire={})
        made = _questions(folder, ticket)
        omitted += made.omitted
        counts[ticket.system, ticket.language].append(len(made.questions))
        raw = Raw(folder, ticket)
        for question in made.questions:
            asked[question.id] += 1
            if (found := answer_of(question, raw)) is not None:
                wrong.append(f"{ticket.id}: {question.id} is asked, and stands in {found}")
    _table(counts)
    print("asked: " + ", ".join(f"{name} {number}" for name, number in asked.most_common()) + f"; left out {omitted}")
    print("\n".join(wrong) if wrong else "no question has its answer in the ticket, the order or the logs")
    everything = [number for group in counts.values() for number in group]
    some = [number for number in everything if number]
    holds = statistics.median(everything) <= MOST and (not some or statistics.median(some) <= MOST) and not wrong
    print(f"holds: {'yes' if holds else 'no'}")
    return 0 if holds else 1


def _questions(folder: Path, ticket: Ticket) -> Questionnaire:
    source = open_bundle(folder, zone=ticket.created_at.tzinfo)
    try:
        settings = Settings(budget=300.0, desk=DeskOptions(questions=QuestionOptions()))
        made = take_snapshot(ticket, [source], settings).snapshot.questions
    finally:
        source.close()
    assert isinstance(made, Questionnaire)
    return made


def _table(counts: dict[tuple[str, str], list[int]]) -> None:
    print(
        f"{'system':<10} {'language':<9} {'cases':>6} {'median':>7} {'of those that ask':>18} {'most':>5} {'none':>5}"
    )
    groups: dict[tuple[str, str], list[int]] = dict(sorted(counts.items()))
    groups["all", ""] = [number for group in counts.values() for number in group]
    for (system, language), numbers in groups.items():
        some = [number for number in numbers if number]
        middle = f"{statistics.median(some):g} of {len(some)}" if some else "-"
        none = len(numbers) - len(some)
        print(
            f"{system:<10} {language:<9} {len(numbers):>6} {statistics.median(numbers):>7g} {middle:>18} {max(numbers):>5} {none:>5}"
        )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.exists():
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file)


def _lines(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("**/*")) if folder.exists() else []:
        if path.is_file():
            opened: Any = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rt", encoding="utf-8", errors="replace") as file:
                yield from file


if __name__ == "__main__":
    sys.exit(main())
