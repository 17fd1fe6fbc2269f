"""What the desk tells as plain values: the commands print them with `-o json`, the service's addresses answer them.

Times are RFC 3339 in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.desk.grading_options import LEVELS
from pipeline.desk.moments import in_utc, written
from pipeline.desk.reports import STAGES
from snapshots.model import Text

if TYPE_CHECKING:
    from pipeline.desk.ask import Hit
    from pipeline.desk.checks import Flag
    from pipeline.desk.entry import Entry
    from pipeline.desk.reports import Life, Report, Spread
    from pipeline.desk.shelf import Shelf
    from pipeline.desk.tasks import Standing, Task


class Plain(msgspec.Struct, kw_only=True):
    """A value that goes out as JSON."""


# ---- knowledge


class Reply(Plain):
    """What a customer may get as it stands, or null and why not."""

    text: Text | None
    why_not: Text | None


class KnownAnswer(Plain):
    """An entry that answers a question. `share` is its part of all answers, `words`, `meaning` and `fault` are what makes it."""

    id: str
    title: Text
    share: float
    words: float
    meaning: float | None
    fault: float
    code: bool
    product: bool
    cause: Text
    steps: list[Text]
    mistakes: list[Text]
    video: str | None
    versions: list[str]
    owner: str
    status: str
    for_customer: Reply


def answer(hit: Hit, for_customer: Reply) -> KnownAnswer:
    """A hit of a question, with the reply that may be made of it."""
    entry = hit.entry
    return KnownAnswer(
        id=entry.id,
        title=entry.text("title"),
        share=round(hit.share, 3),
        words=round(hit.words, 3),
        meaning=None if hit.meaning is None else round(hit.meaning, 3),
        fault=round(hit.fault, 3),
        code=bool(hit.code),
        product=bool(hit.product),
        cause=entry.text("cause"),
        steps=entry.texts("steps"),
        mistakes=entry.texts("mistakes"),
        video=entry.facts.video,
        versions=list(entry.facts.versions),
        owner=entry.facts.owner,
        status=entry.facts.status,
        for_customer=for_customer,
    )


class Solution(Plain):
    """One way to solve a problem: what finding out costs, and of how many confirmed tickets it was the cause."""

    entry: str
    title: Text
    minutes: int
    confirmed: int
    of: int
    cause: Text
    steps: list[Text]
    mistakes: list[Text]


class Solutions(Plain):
    """A problem with its ways, the cheapest check first."""

    problem: str
    title: Text
    ways: list[Solution]


def solutions(entries: Sequence[Entry], confirmed: Mapping[str, int] = {}) -> list[Solutions]:
    """The problems of some entries, in order of their keys."""
    from pipeline.desk.graph import problem_key, problem_name, ways

    made = []
    for problem in sorted({problem_key(entry) for entry in entries}):
        found = ways(entries, problem, confirmed)
        title = problem_name(found[0].entry) if found else Text(en=problem, zh=problem)
        steps = [
            Solution(
                entry=way.entry.id,
                title=way.entry.text("title"),
                minutes=way.minutes,
                confirmed=way.confirmed,
                of=way.of,
                cause=way.entry.text("cause"),
                steps=way.entry.texts("steps"),
                mistakes=way.entry.texts("mistakes"),
            )
            for way in found
        ]
        made.append(Solutions(problem=problem, title=title, ways=steps))
    return made


def entry(one: Entry, shelf: Shelf) -> dict[str, Any]:
    """An entry's front matter, with its title and the hash of its file."""
    return {**msgspec.to_builtins(one.facts), "title": one.text("title"), "sha256": shelf.hash_of(one.id)}


class Doubt(Plain):
    """Why an entry is to be doubted."""

    entry: str
    kind: str
    statement: Text


class Doubts(Plain):
    """Files that cannot be read, and entries to be doubted."""

    unreadable: list[str]
    flags: list[Doubt]


def doubts(shelf: Shelf, found: Iterable[Flag]) -> Doubts:
    """What a check of the folder found."""
    flags = [Doubt(entry=flag.entry, kind=flag.kind, statement=flag.statement) for flag in found]
    return Doubts(unreadable=list(shelf.problems), flags=flags)


# ---- tasks


class KnowledgeTask(Plain):
    """A knowledge task; `text` is its entry as Markdown, where one task is asked for."""

    id: str
    system: str
    ticket_id: str
    snapshot_id: str
    assignee: str
    state: str
    opened_at: str
    due_at: str
    submitted_at: str | None
    decided_at: str | None
    decided_by: str | None
    reason: str | None
    entry_id: str | None
    reopened_at: str | None
    text: str | msgspec.UnsetType = msgspec.UNSET


def task(one: Task, *, text: bool = False) -> KnowledgeTask:
    """A task without its entry, or with it."""
    return KnowledgeTask(
        id=one.id,
        system=one.system,
        ticket_id=one.ticket_id,
        snapshot_id=one.snapshot_id,
        assignee=one.assignee,
        state=one.state,
        opened_at=written(one.opened_at),
        due_at=written(one.due_at),
        submitted_at=_written(one.submitted_at),
        decided_at=_written(one.decided_at),
        decided_by=one.decided_by,
        reason=one.reason,
        entry_id=one.entry_id,
        reopened_at=_written(one.reopened_at),
        text=one.text if text else msgspec.UNSET,
    )


class Acceptance(Plain):
    """The entry that was filed, and what is to be said of its signature."""

    entry: str
    verdict: str


class PersonStanding(Plain):
    """What one person did; `timeliness` is null without a task."""

    person: str
    tasks: int
    in_time: int
    late: int
    missing: int
    points: int
    timeliness: float | None


def standing(one: Standing) -> PersonStanding:
    """One person's tasks and points."""
    return PersonStanding(
        person=one.person,
        tasks=one.tasks,
        in_time=one.in_time,
        late=one.late,
        missing=one.missing,
        points=one.points,
        timeliness=one.timeliness,
    )


# ---- clocks and rooms


class Done(Plain):
    """It is done."""

    done: bool


class TicketClock(Plain):
    """Until when a ticket is to be answered and solved, and when it was."""

    system: str
    ticket_id: str
    snapshot_id: str
    level: str
    opened_at: str
    respond_by: str
    resolve_by: str
    responded_at: str | None
    resolved_at: str | None


def clock(row: Any) -> TicketClock:
    """A row of the clocks."""
    return TicketClock(
        system=row.system,
        ticket_id=row.ticket_id,
        snapshot_id=row.snapshot_id,
        level=row.level,
        opened_at=written(row.opened_at),
        respond_by=written(row.respond_by),
        resolve_by=written(row.resolve_by),
        responded_at=_written(row.responded_at),
        resolved_at=_written(row.resolved_at),
    )


class Room(Plain):
    """An emergency room."""

    id: int
    system: str
    ticket_id: str
    snapshot_id: str
    opened_at: str
    closed_at: str | None


class RoomRole(Plain):
    """A role of a room, and who answered for it."""

    role: str
    acknowledged_at: str | None
    acknowledged_by: str | None
    escalated_at: str | None


class RoomCall(Plain):
    """Somebody who was called."""

    role: str
    person: str
    called_at: str
    escalation: bool


class RoomCare(Plain):
    """A customer of a room, and what he may be told."""

    system: str
    ticket_id: str
    customer: str | None
    en: str | None
    zh: str | None
    told_at: str | None


class RoomState(Plain):
    """Who was called to a room and answered, and which customers wait."""

    roles: list[RoomRole]
    calls: list[RoomCall]
    care: list[RoomCare]


def room(row: Any) -> Room:
    """A row of the rooms."""
    return Room(
        id=row.id,
        system=row.system,
        ticket_id=row.ticket_id,
        snapshot_id=row.snapshot_id,
        opened_at=written(row.opened_at),
        closed_at=_written(row.closed_at),
    )


def room_state(roles: Iterable[Any], calls: Iterable[Any], care: Iterable[Any]) -> RoomState:
    """The rows of one room, as `Rooms.of` gives them."""
    return RoomState(
        roles=[
            RoomRole(
                role=one.role,
                acknowledged_at=_written(one.acknowledged_at),
                acknowledged_by=one.acknowledged_by,
                escalated_at=_written(one.escalated_at),
            )
            for one in roles
        ],
        calls=[
            RoomCall(
                role=one.role, person=one.person, called_at=written(one.called_at), escalation=bool(one.escalation)
            )
            for one in calls
        ],
        care=[
            RoomCare(
                system=one.system,
                ticket_id=one.ticket_id,
                customer=one.customer,
                en=one.en,
                zh=one.zh,
                told_at=_written(one.told_at),
            )
            for one in care
        ],
    )


# ---- the report


class Spent(Plain):
    """How some times are spread, in seconds: of a stage, or held by a role."""

    name: str
    tickets: int
    median: float
    p90: float
    total: float


class LevelHealth(Plain):
    """The tickets of one level; the shares are null where none was decided."""

    level: str
    tickets: int
    answered_in_time: float | None
    solved_in_time: float | None
    stages: list[Spent]


class TicketLife(Plain):
    """One ticket's way; seconds by stage and by role. `answered` and `solved` say whether in time, null while open."""

    system: str
    ticket_id: str
    level: str
    opened_at: str
    responded_at: str | None
    resolved_at: str | None
    stages: dict[str, float]
    roles: dict[str, float]
    reassigned: int
    reopened: int
    answered: bool | None
    solved: bool | None


class Health(Plain):
    """The report of a time. `unplaced` tickets have no beginning in what is known, and are counted here only."""

    start: str
    end: str
    tickets: list[TicketLife]
    unplaced: int
    levels: list[LevelHealth]
    stages: list[Spent]
    roles: list[Spent]
    bottleneck: str | None
    knowledge: list[PersonStanding]


def health(made: Report) -> Health:
    """The whole report."""
    return Health(
        start=in_utc(made.start),
        end=in_utc(made.end),
        tickets=[_life(one) for one in made.lives],
        unplaced=made.unplaced,
        levels=[
            LevelHealth(
                level=level,
                tickets=len(made.of(level)),
                answered_in_time=made.share("answered", level),
                solved_in_time=made.share("solved", level),
                stages=[_spent(name, made.stage(name, level)) for name in STAGES],
            )
            for level in LEVELS
        ],
        stages=[_spent(name, made.stage(name)) for name in STAGES],
        roles=[_spent(name, one) for name, one in made.roles.items()],
        bottleneck=made.bottleneck,
        knowledge=[standing(one) for one in made.standings],
    )


def _life(one: Life) -> TicketLife:
    return TicketLife(
        system=one.system,
        ticket_id=one.ticket_id,
        level=one.level,
        opened_at=written(one.opened_at),
        responded_at=_written(one.responded_at),
        resolved_at=_written(one.resolved_at),
        stages=one.stages,
        roles=one.roles,
        reassigned=one.reassigned,
        reopened=one.reopened,
        answered=one.answered,
        solved=one.solved,
    )


def _spent(name: str, one: Spread) -> Spent:
    return Spent(name=name, tickets=one.tickets, median=one.median, p90=one.p90, total=one.total)


def _written(seconds: float | None) -> str | None:
    return None if seconds is None else written(seconds)
