"""What is to be done, written down before it is begun: the tickets in their order, as one file of lines.

A worker reads its own lines of it, so what goes through an engine is a file's name and two offsets. A run that is
continued reads the same file, whatever became of the place that the tickets came from. The file holds tickets as they
are, not redacted: it is for its owner's eyes, and goes when all is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import msgspec

from pipeline.batching.results import DeadLetter, Folder
from pipeline.batching.tickets import Given, rejected
from pipeline.errors import UsageError
from pipeline.values import Span, Ticket
from snapshots.store import ticket_folder

FORMAT = "problem-snapshot batch 1"
# At most so many tickets are one unit of work. What a worker holds does not grow with it; it only saves handing out.
MOST = 32


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """One ticket of the plan. `number` counts what was given, from 0; `name` is where it stood."""

    number: int
    name: str
    ticket: Ticket
    bundle: str | None = None
    around: Span | None = None

    @property
    def document(self) -> str:
        """Its document's file name, without `.json`."""
        return ticket_folder(self.ticket.id)

    @property
    def day(self) -> str:
        """The day in UTC on which the ticket was opened: its part of the dataset."""
        return f"{self.ticket.created_at.astimezone(UTC):%Y-%m-%d}"


@dataclass(frozen=True)
class Unit:
    """One unit of work: the lines of `plan` from byte `start` up to `end`, which hold `tickets`."""

    plan: str
    start: int
    end: int
    tickets: int

    def __iter__(self) -> Iterator[Planned]:
        """Its tickets, read as they are asked for."""
        if self.start == self.end:
            return
        with Path(self.plan).open("rb") as file:
            file.seek(self.start)
            while file.tell() < self.end:
                yield _decoder.decode(file.readline())


_decoder = msgspec.json.Decoder(Planned)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a plan, beside its lines. `given` = `planned` + `rejected` + `repeated`.

    `made` is what the snapshots are made with, `tickets` where they came from, `sha256` that file's content where it is one,
    `bundle` where a file's tickets have their records, empty where nothing was said of that.
    """

    format: str
    tickets: str
    sha256: str | None
    made: dict[str, str]
    given: int
    planned: int
    rejected: int
    repeated: int
    bundle: str = ""
    notes: list[str] = []


def make_plan(
    given: Iterable[Given],
    folder: Folder,
    *,
    tickets: str,
    made: dict[str, str],
    notes: Iterable[str],
    bundle: str = "",
) -> Plan:
    """Writes the plan of `given`, and a dead letter for each element that is no ticket. Its head is written last.

    A ticket that is there twice, word for word, is planned once. Another ticket of the same id is a dead letter: its
    document would take the name of the first. Raises `UsageError` where there is nothing to plan.
    """
    seen: dict[str, bytes] = {}
    number = planned = dead = repeated = 0
    with folder.whole(folder.plan) as file:
        for number, one in enumerate(given, 1):
            line, letter = _planned(number - 1, one, seen)
            if letter is not None:
                dead += 1
                folder.place_letter(letter)
            elif line is None:
                repeated += 1
            else:
                planned += 1
                file.write(line)
    if not number:
        raise UsageError(f"{tickets}: holds no ticket")
    head = Plan(
        format=FORMAT,
        tickets=tickets,
        sha256=content_of(tickets),
        made=made,
        given=number,
        planned=planned,
        rejected=dead,
        repeated=repeated,
        bundle=bundle,
        notes=list(notes),
    )
    with folder.whole(folder.head) as file:
        file.write(msgspec.json.encode(head))
    return head


def _planned(number: int, one: Given, seen: dict[str, bytes]) -> tuple[bytes | None, DeadLetter | None]:
    """The line of an element, or its dead letter, or neither where it repeats an earlier one."""
    if one.ticket is None:
        return None, DeadLetter(
            number=number,
            name=one.name,
            ticket=one.ticket_id,
            reason=one.reason,
            error=one.error,
            element=one.element,
        )
    ticket = one.ticket
    bundle = str(one.bundle.resolve()) if one.bundle is not None else None
    planned = Planned(number=number, name=one.name, ticket=ticket, bundle=bundle, around=one.around)
    try:
        line = msgspec.json.encode(planned) + b"\n"
        again = _decoder.decode(line).ticket
        same = again == ticket and again.created_at.utcoffset() == ticket.created_at.utcoffset()
    except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError) as error:
        return None, _letter(number, one, error)
    if not same:
        return None, _letter(number, one, UsageError("the ticket cannot be written as JSON and read again unchanged"))
    # Names of files that differ in case alone are one on some file systems.
    key = planned.document.casefold()
    digest = hashlib.sha256(msgspec.json.encode((ticket, bundle, one.around))).digest()[:16]
    if key not in seen:
        seen[key] = digest
        return line, None
    if seen[key] == digest:
        return None, None
    other = UsageError(f"another ticket of the id {ticket.id!r} came before it; give tickets of other systems apart")
    return None, _letter(number, one, other)


def _letter(number: int, one: Given, error: Exception) -> DeadLetter:
    try:
        element = msgspec.json.encode(one.ticket).decode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError):
        element = repr(one.ticket).encode("utf-8", "replace").decode()
    bad = rejected(one.name, error, element)
    ticket = one.ticket.id if one.ticket else ""
    return DeadLetter(
        number=number, name=one.name, ticket=ticket, reason=bad.reason, error=bad.error, element=bad.element
    )


def read_plan(folder: Folder) -> Plan | None:
    """The head of the plan in `folder`, or None where none was finished. Raises `UsageError` for one of another program."""
    try:
        head = msgspec.json.decode(folder.head.read_bytes(), type=Plan)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, OSError) as error:
        raise UsageError(f"{folder.head}: cannot be read ({error}); take another --out-dir") from error
    if head.format != FORMAT:
        raise UsageError(f"{folder.head}: is of the format {head.format!r}; this version reads {FORMAT!r}")
    return head


def units(folder: Folder, planned: int, jobs: int, most: int = MOST) -> list[Unit]:
    """The plan cut into units, of `most` tickets or fewer where there would not be some for each of `jobs`."""
    size = max(1, min(most, planned // (jobs * 8)))
    plan = str(folder.plan.resolve())
    found: list[Unit] = []
    start = end = count = 0
    with folder.plan.open("rb") as file:
        for line in file:
            end += len(line)
            count += 1
            if count == size:
                found.append(Unit(plan, start, end, count))
                start, count = end, 0
    return [*found, Unit(plan, start, end, count)] if count else found


def whole_plan(folder: Folder) -> Unit:
    """The whole plan as one unit; an empty one where its lines are gone, since all is done."""
    size = folder.plan.stat().st_size if folder.plan.exists() else 0
    return Unit(str(folder.plan), 0, size, 0)


def content_of(place: str) -> str | None:
    """The sha256 of a file's content; None for a folder or a store, whose bundles are read when their turn comes."""
    path = Path(place)
    if "://" in place or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
