"""The tickets of a ticket system as a batch: those that were opened in the span, each once, as `take NAME:ID` reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import commands
from pipeline.batching.searched import Search, searched
from pipeline.batching.tickets import Given
from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets._polls import Row, polled
from pipeline.tickets.system import Attached, Changes, Event, Form, Incoming, Note, SystemBroken, SystemUnavailable
from pipeline.values import Ticket
from tests.batch_samples import incidents, names_of
from tests.services import helpdesk
from tests.tickets_real import receiving

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


@dataclass
class Board:
    """A ticket system with a list by the time of the last change. What `failures` gives is raised by the next calls."""

    opened: dict[str, datetime]
    changed_at: dict[str, datetime] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    tells: Callable[[datetime], datetime | None] = lambda opened: opened
    name: str = "desk"
    kind: str = "board"
    form: Form = "text"
    edits: bool = True

    def receive(self, request: Incoming) -> Event:
        raise NotImplementedError

    def attach(self, ticket_id: str, note: Note) -> Attached:
        raise NotImplementedError

    def ticket(self, ticket_id: str) -> Ticket:
        self._fail()
        if ticket_id in self.broken:
            raise self.broken[ticket_id]
        return Ticket(ticket_id, "付款失败", "", self.opened[ticket_id], self.kind)

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        self._fail()

        def page(since: datetime, number: int) -> tuple[list[Row], bool]:
            last = sorted((self.changed_at.get(one, opened), one, opened) for one, opened in self.opened.items())
            rows = [
                Row(when, Event(one, "changed", created_at=self.tells(opened)))
                for when, one, opened in last
                if when >= since
            ]
            return rows[number * 3 : number * 3 + 3], len(rows) > number * 3 + 3

        return polled(self.name, cursor, page, min(limit, 2))

    def close(self) -> None:
        pass

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


def found(board: Board, start: float, end: float | None = None) -> tuple[list[Given], list[str], list[float]]:
    notes: list[str] = []
    waits: list[float] = []
    search = Search(board, at(start), None if end is None else at(end))
    return list(searched(search, notes.append, notes.append, waits.append)), notes, waits


@pytest.mark.parametrize("tells", [lambda opened: opened, lambda _: None], ids=["list tells when", "list does not"])
def test_tickets_of_the_span_are_given_once_and_the_others_are_counted(tells: Callable[[datetime], datetime | None]):
    """A ticket that was opened earlier and changed in the span is not one of the span."""
    board = Board({f"T-{n}": at(n) for n in range(-3, 8)}, tells=tells)
    board.changed_at = {"T--1": at(2.5), "T-1": at(6.5)}
    given, notes, _ = found(board, 0, 5)
    assert sorted(one.ticket.id for one in given if one.ticket) == [f"T-{n}" for n in range(5)]
    assert notes == ["tickets of desk that changed in that time, but were opened before or after it: 4"]
    assert len(found(board, 0)[0]) == 8


def test_a_ticket_that_cannot_be_read_is_given_with_the_reason_and_a_deleted_one_is_counted():
    board = Board({f"T-{n}": at(n) for n in range(4)})
    board.broken = {"T-1": TicketNotFound("gone"), "T-2": SystemBroken("created_at 'soon' is no time")}
    given, notes, _ = found(board, 0)
    assert [(one.ticket.id if one.ticket else one.element, one.reason) for one in given] == [
        ("T-0", ""),
        ("T-2", "created_at 'soon' is no time"),
        ("T-3", ""),
    ]
    assert notes == ["tickets of desk that are deleted, or not for this account to see: 1"]


def test_a_system_that_is_away_is_waited_for_as_long_as_it_asks_and_then_given_up():
    board = Board({"T-0": at(0)}, failures=[SystemUnavailable("429", 7.0), SystemUnavailable("no answer")])
    given, _, waits = found(board, 0)
    assert len(given) == 1
    assert waits == [7.0, 4.0]
    board.failures = [SystemUnavailable("no answer")] * 6
    with pytest.raises(SystemUnavailable):
        found(board, 0)
    board.failures = [Refused("401")]
    with pytest.raises(Refused):
        found(board, 0)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "needs --from"),
        (["--from", "soon"], "is not a time"),
        (["--from", "2026-02-02", "--to", "2026-02-01"], "is not before"),
        (["--from", "2026-02-02"], "no ticket system 'desk' is configured"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_what_to_do(home: Path, more: list[str], says: str):
    bundles = incidents(home / "bundles", 1)
    call = ["batch", "desk:", "--bundle", str(bundles), "--out-dir", str(home / "out"), *more]
    result = CliRunner().invoke(commands, call)
    assert result.exit_code == 2
    assert says in result.stderr
    call = ["batch", str(bundles), "--out-dir", str(home / "out"), "--from", "2026-02-02"]
    assert "give NAME: as TICKETS" in CliRunner().invoke(commands, call).stderr


@pytest.mark.timeout(300)
def test_the_tickets_of_a_real_helpdesk_become_snapshots_and_go_on_after_an_end(home: Path, helpdesk_url: str):
    """Three that customers opened since we looked at the clock, read through the desk's own API."""
    desk = helpdesk.Desk(helpdesk_url)
    begun = datetime.now(UTC) - timedelta(seconds=1)
    with receiving(desk.hook):
        ids = [desk.new_ticket("Payment failed", f"Order {names_of(n)['order']}") for n in range(3)]
    config = home / "problem-snapshot.toml"
    config.write_text(
        f'[defaults]\nstore = "{home / "store"}"\n[defaults.tickets.web]\nkind = "django_helpdesk"\nurl = "{desk.url}"\n'
        f'token = "{desk.token}"\nsecrets = ["{desk.secret}"]\n',
        "utf-8",
    )
    bundle = incidents(home / "bundles", 1) / "B-0000"
    call = ["batch", "web:", "--from", begun.isoformat(), "--config", str(config), "--bundle", str(bundle)]
    call += ["--out-dir", str(home / "out"), "--runner", "local", "-j", "1"]
    result = CliRunner().invoke(commands, call)
    assert result.exit_code == 0, (result.output, result.exception)
    assert sorted(path.stem for path in (home / "out" / "documents").iterdir()) == sorted(ids)
    again = CliRunner().invoke(commands, [*call, "--resume"])
    assert again.exit_code == 0, again.output
    other = CliRunner().invoke(commands, [*call, "--resume", "--to", (begun + timedelta(days=1)).isoformat()])
    assert other.exit_code == 2
    assert "holds a run over web: from" in other.stderr
