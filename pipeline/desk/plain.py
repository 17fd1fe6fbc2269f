"""What the desk tells as plain values: the commands print them with `-o json`, the service's addresses answer them.

Times are RFC 3339 in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from pipeline.desk.grading_options import LEVELS
from pipeline.desk.moments import in_utc, written
from pipeline.desk.reports import STAGES
from snapshots.model import Text

if TYPE_CHECKING:
    from pipeline.desk.ask import Hit
    from pipeline.desk.checks import Flag
    from pipeline.desk.entry import Entry
    from pipeline.desk.reports import Report, Spread
    from pipeline.desk.shelf import Shelf
    from pipeline.desk.tasks import Standing, Task


class Plain(msgspec.Struct, kw_only=True):
    """A value that goes out as JSON."""


Made = TypeVar("Made", bound=Plain)


def _made(kind: type[Made], row: Any, **given: Any) -> Made:
    """A value out of the attributes of `row` that have its names, but for those `given`.

    Moments, which a row holds in seconds since 1970 and names `..._at` or `..._by`, are written out.
    """
    names = [name for name in kind.__struct_fields__ if name not in given]
    return kind(**{name: _shown(name, getattr(row, name)) for name in names}, **given)


def _shown(name: str, value: Any) -> Any:
    return written(value) if isinstance(value, int | float) and name.endswith(("_at", "_by")) else value


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
            _made(
                Solution,
                way,
                entry=way.entry.id,
                title=way.entry.text("title"),
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
    return Doubts(unreadable=list(shelf.problems), flags=[_made(Doubt, flag) for flag in found])


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
    return _made(KnowledgeTask, one, text=one.text if text else msgspec.UNSET)


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
    return _made(PersonStanding, one)


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
    return _made(TicketClock, row)


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
    return _made(Room, row)


def room_state(roles: Iterable[Any], calls: Iterable[Any], care: Iterable[Any]) -> RoomState:
    """The rows of one room, as `Rooms.of` gives them."""
    return RoomState(
        roles=[_made(RoomRole, one) for one in roles],
        calls=[_made(RoomCall, one) for one in calls],
        care=[_made(RoomCare, one) for one in care],
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
        tickets=[_made(TicketLife, one) for one in made.lives],
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


def _spent(name: str, one: Spread) -> Spent:
    return _made(Spent, one, name=name)
