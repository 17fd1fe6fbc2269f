"""What a poll tells, on lists of changes that are made up: all of it, each change once, however pages and times fall."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tickets import django_helpdesk, redmine, rt
from pipeline.tickets._mapped import MappedSystem
from pipeline.tickets._polls import OVERLAP, Cursor, Page, Row, due, newest, polled
from pipeline.tickets.django_helpdesk import DjangoHelpdeskSystem
from pipeline.tickets.redmine import RedmineSystem
from pipeline.tickets.rt import RtSystem
from pipeline.tickets.system import Changes, Event, SystemBroken, SystemUnavailable, TicketSystem
from tests.tickets_hooks import HOOKS, NOWHERE

# Systems that can be polled, each with an address that nobody answers.
SYSTEMS: dict[str, Callable[[], TicketSystem]] = {
    **{kind: HOOKS[kind].system for kind in HOOKS if not issubclass(type(HOOKS[kind].system()), MappedSystem)},
    "rt": lambda: RtSystem("desk", rt.Options(url=NOWHERE)),
    "redmine": lambda: RedmineSystem("desk", redmine.Options(url=NOWHERE)),
    "django_helpdesk": lambda: DjangoHelpdeskSystem("desk", django_helpdesk.Options(url=NOWHERE)),
}
# Those whose cursor holds one for each of several places: any object of texts is one, of places that are not asked.
SEVERAL = {"github", "forgejo", "gitlab"}
START = datetime(2026, 11, 26, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize("kind", SYSTEMS)
def test_a_cursor_that_is_none_is_told(kind: str) -> None:
    others = () if kind in SEVERAL else ("{}", '{"at": "soon"}')
    for cursor in ("", "[]", "{", "null", "nonsense", "[" * 10_000, *others):
        with pytest.raises(SystemBroken, match=r"cursor .* start the poll anew"):
            SYSTEMS[kind]().changed(cursor)


@pytest.mark.parametrize("kind", SYSTEMS)
def test_the_first_look_at_a_system_that_does_not_answer_says_so(kind: str) -> None:
    with pytest.raises(SystemUnavailable, match="cannot be reached"):
        SYSTEMS[kind]().changed(None, 1)


@pytest.mark.parametrize("kind", SYSTEMS)
def test_a_time_is_a_cursor_with_every_system(kind: str) -> None:
    """Each goes and asks for what changed since then; nobody answers here."""
    with pytest.raises(SystemUnavailable, match="cannot be reached"):
        SYSTEMS[kind]().changed("2026-11-01T00:00:00+00:00")


def test_from_a_time_on_all_is_told_and_nothing_of_before() -> None:
    """Not what lies in the overlap before that time, either: nobody has been told of anything yet."""
    rows = [Row(at(second), Event(str(second), "changed")) for second in (-400, -1, 0, 1, 700)]
    found = polled("desk", START.isoformat(), listed(rows, 2), 2)
    assert [event.ticket_id for event in found.events] == ["0", "1"]
    assert [event.ticket_id for event in polled("desk", found.cursor, listed(rows, 2), 2).events] == ["700"]


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def listed(rows: list[Row], size: int) -> Page:
    """A list of tickets, ordered by the time of their last change, in pages of `size`."""

    def page(since: datetime, number: int) -> tuple[list[Row], bool]:
        found = [row for row in rows if row.at >= since]
        return found[number * size : (number + 1) * size], (number + 1) * size < len(found)

    return page


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 900)), max_size=80),
    st.integers(1, 9),
    st.integers(1, 12),
    st.sampled_from([1, 60]),
)
def test_every_last_change_is_told_whatever_happens_between_pages(
    history: list[tuple[int, int]], limit: int, size: int, step: int
) -> None:
    """Tickets change (`ticket`, at second) while the poll goes on; the list knows each one's last change, in steps as coarse as a minute."""
    state: dict[int, datetime] = {}
    told: dict[int, datetime] = {}
    waiting = sorted(history, key=lambda one: one[1])

    def fetch(since: datetime, page: int) -> tuple[list[Row], bool]:
        floor = since - timedelta(seconds=since.timestamp() % step)
        found = sorted((when, number) for number, when in state.items())
        rows = [Row(when, Event(f"{n}@{when.isoformat()}", "changed")) for when, n in found]
        return listed(rows, size)(floor, page)

    cursor = Cursor(START).text
    for _ in range(1000):
        if waiting:
            number, second = waiting.pop(0)
            state[number] = max(state.get(number, START), at(second))
        found = polled("desk", cursor, fetch, limit)
        cursor = found.cursor
        for event in found.events:
            number_text, _, when = event.ticket_id.partition("@")
            assert told.get(int(number_text)) != datetime.fromisoformat(when), "told twice"
            told[int(number_text)] = datetime.fromisoformat(when)
        if not waiting and not found.more:
            break
    assert told == state


@pytest.mark.parametrize("each", [0, 0.1], ids=["in one moment", "one after the other"])
def test_more_changes_within_the_overlap_than_anybody_expects_are_told_once_each(each: float) -> None:
    """As when somebody changes all tickets at once: what was told is not told again, and the poll comes to its end."""
    rows = [Row(at(number * each), Event(f"{number:04}", "changed")) for number in range(2500)]
    cursor, told = Cursor(START).text, []
    for _ in range(26):
        found = polled("desk", cursor, listed(rows, 100), 100)
        told += [event.ticket_id for event in found.events]
        cursor = found.cursor
        if not found.more:
            break
    assert told == [row.event.ticket_id for row in rows]
    assert polled("desk", cursor, listed(rows, 100), 100).events == ()


def test_the_first_look_asks_the_system_and_tells_nothing() -> None:
    """So that one that does not answer is not taken for one that has nothing to tell."""

    def silent(_: datetime, __: int) -> tuple[list[Row], bool]:
        raise SystemUnavailable("no answer")

    with pytest.raises(SystemUnavailable, match="no answer"):
        polled("desk", None, silent, 100)
    now = datetime.now(UTC)
    first = polled("desk", None, listed([Row(now, Event("1", "changed"))], 100), 100)
    assert first.events == ()
    later = Row(now + timedelta(seconds=1), Event("2", "changed"))
    assert [event.ticket_id for event in polled("desk", first.cursor, listed([later], 100), 100).events] == ["2"]


def test_what_was_there_before_a_poll_by_the_systems_clock_began_is_not_told() -> None:
    rows = [Row(at(second), Event(str(second), "changed")) for second in (0, 1, 2)]
    cursor = newest(rows[1:])
    assert (cursor.at, cursor.start) == (at(2), at(1))
    assert cursor.after([Row(at(2) + 2 * OVERLAP, Event("9", "changed"))]).seen == ((at(2) + 2 * OVERLAP, "9"),)
    assert polled("desk", cursor.text, listed(rows, 100), 100).events == ()


def test_rows_that_are_no_tickets_can_be_left_out() -> None:
    found = Changes((Event("1", "changed"), Event("2", "changed", ignored="a pull request")), "c", more=True)
    assert due(found) == Changes((Event("1", "changed"),), "c", more=True)
