"""What holds for every desk, as its vendor documents it: one private note, its ticket, nothing lost by a poll."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.attach import note_of
from pipeline.errors import Refused, TicketNotFound, UsageError
from pipeline.tickets import _desk as desk_module
from pipeline.tickets.system import File, SystemBroken, SystemUnavailable
from tests.desk_jira import JiraCloudDesk, JiraDataCenterDesk
from tests.snapshots_samples import dns_failure
from tests.tickets_desks import MARKER, SECRET, Answer, Desk, note, running
from tests.tickets_hooks import DESKS
from tests.tickets_polling import drained

LATER = "The acquirer answered after 31 s. 收单机构 31 秒后才应答。"


# Desks on which the second of two writers finds the note of the first: not where none can be deleted and no write is refused.
SETTLING = [cls for cls in DESKS if cls.settles]


@pytest.fixture(params=DESKS, ids=lambda cls: cls.kind)
def desk(request: pytest.FixtureRequest) -> Any:
    """Each desk in turn, with an address that nobody answers."""
    one = request.param()
    one.url = "http://127.0.0.1:9"
    return one


@pytest.fixture
def live(desk: Desk) -> Iterator[Any]:
    """Each desk in turn, answering."""
    with running(desk):
        yield desk


@pytest.fixture
def system(live: Desk) -> Iterator[Any]:
    """The system that talks to it."""
    opened = live.system()
    yield opened
    opened.close()


# Notes.


def only(desk: Desk) -> str:
    """The one note there is, which is private."""
    found = desk.notes()
    assert len(found) == 1, found
    assert found[0][0], "the note is public"
    return found[0][1]


def test_twice_the_same_note_leaves_one_private_note(live: Desk, system: Any) -> None:
    first = system.attach(live.ticket_id, note())
    calls = len(live.calls)
    again = system.attach(live.ticket_id, note(known=first.note_id))
    assert "Payment failed" in only(live)
    assert "支付失败" in only(live)
    assert (first.outcome, again.outcome) == ("created", "unchanged")
    assert first.note_id == again.note_id
    assert {call.method for call in live.calls[calls:]} == {"GET"}, "nothing is written where nothing changed"
    assert first.url
    assert first.url.startswith(live.url)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_snapshot_as_it_is_rendered_goes_on_once(live: Desk, system: Any, language: Any) -> None:
    """Not the short notes of these tests: what `attach_snapshot` really sends, its marker found again on every desk."""
    for outcome in ("created", "unchanged"):
        real = note_of(dns_failure(), "desk", live.ticket_id, forms=(system.form,), language=language)
        assert system.attach(live.ticket_id, real).outcome == outcome
    assert ("支付" in only(live) or "故障" in only(live)) == (language == "zh")


def test_a_note_that_says_something_new_is_changed_in_place_or_kept(live: Desk, system: Any) -> None:
    """Where notes cannot be edited, and the conclusion is the same, one note stays and is not followed by another."""
    system.attach(live.ticket_id, note())
    after = system.attach(live.ticket_id, note(LATER, confidence="0.95"))
    assert after.outcome == ("updated" if live.edits else "kept")
    assert ("31 s" in only(live)) == live.edits
    assert system.attach(live.ticket_id, note(LATER, confidence="0.95")).outcome in {"unchanged", "kept"}
    only(live)


def test_another_conclusion_is_told_once(live: Desk, system: Any) -> None:
    system.attach(live.ticket_id, note())
    system.attach(live.ticket_id, note(LATER, fault="param_config"))
    system.attach(live.ticket_id, note(LATER, fault="param_config"))
    texts = [text for _, text in live.notes()]
    assert len(texts) == (1 if live.edits else 2)
    assert "31 s" in texts[-1]
    assert ("This replaces the snapshot of 2026-11-26" in texts[-1]) == (not live.edits)
    assert all(private for private, _ in live.notes())
    assert live.fault() == "param_config"


def test_fields_and_tags_follow_the_fault(live: Desk, system: Any) -> None:
    """Tags of ours that name another fault go; all others stay."""
    system.attach(live.ticket_id, note())
    assert live.fault() == "interface_fault"
    assert live.tags() in ([*sorted(["vip", "fault-interface"])], ["vip", "fault-interface"], None)
    system.attach(live.ticket_id, note(fault="param_config"))
    assert live.tags() is None or set(live.tags() or ()) == {"vip", "fault-param-config"}


def test_a_note_whose_answer_got_lost_is_not_written_again(live: Desk, system: Any) -> None:
    """The desk did it and the connection broke: as when we crash between writing and remembering."""
    live.silent_once = live.writing
    with pytest.raises(SystemUnavailable):
        system.attach(live.ticket_id, note())
    only(live)
    assert system.attach(live.ticket_id, note()).outcome in {"unchanged", "kept"}
    only(live)


@pytest.mark.parametrize("desk", SETTLING, indirect=True, ids=lambda cls: cls.kind)
def test_a_writer_that_was_overtaken_leaves_the_others_note(live: Desk, system: Any) -> None:
    """Both looked, both found none; the other's is there before ours arrives."""
    other = live.system()
    live.meanwhile = lambda: other.attach(live.ticket_id, note())
    assert system.attach(live.ticket_id, note()).outcome == "unchanged"
    only(live)
    other.close()


@pytest.mark.parametrize("desk", SETTLING, indirect=True, ids=lambda cls: cls.kind)
def test_two_writers_at_once_leave_one_note(live: Desk) -> None:
    start = threading.Barrier(4)
    said: list[Any] = []

    def write() -> None:
        one = live.system()
        start.wait()
        try:
            said.append(one.attach(live.ticket_id, note()).outcome)
        except SystemUnavailable as error:  # a conflict that lasts: the work is tried again later
            said.append(error)
        one.close()

    writers = [threading.Thread(target=write) for _ in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    again = live.system()
    again.attach(live.ticket_id, note())
    again.close()
    only(live)
    assert said.count("created") <= 1, said


def test_a_note_that_comes_out_public_is_taken_back(live: Desk, system: Any) -> None:
    live.makes_public = True
    with pytest.raises(SystemBroken, match=r"public|among the comments"):
        system.attach(live.ticket_id, note())
    if live.kind == "servicenow":
        return  # told loudly; only an administrator can take an entry out of a journal
    assert all(private for private, _ in live.notes()), live.notes()


@pytest.mark.parametrize("size", [70_000, 400_000])
def test_a_long_note_is_its_head_and_the_rest_a_file(live: Desk, system: Any, size: int) -> None:
    lines = [f"line {i}: {'收单机构没有应答 ' * 3}" for i in range(size // 40)]
    system.attach(live.ticket_id, note(*lines))
    text = only(live)
    assert "line 0:" in text
    assert f"line {len(lines) - 1}:" not in text
    assert "The rest did not fit here" in text
    limit = {"servicenow": 4000, "jira": 32_767, "jira_dc": 32_767}.get(live.kind, 64_000)
    assert len(text) <= limit + 100
    assert any(name.startswith("S-1") for name in live.files()) == (live.kind not in {"jira", "jira_dc"})
    assert system.attach(live.ticket_id, note(*lines)).outcome == "unchanged"


def test_files_go_along_once(live: Desk, system: Any) -> None:
    if isinstance(live, JiraCloudDesk | JiraDataCenterDesk):
        live.service = False
    files = (File("S-1.html", "text/html", "<p>快照</p>".encode()),)
    for _ in range(3):
        system.attach(live.ticket_id, note(files=files))
    assert live.files() == ["S-1.html"]


def test_a_customer_who_writes_our_marker_has_no_note_of_ours(live: Desk, system: Any) -> None:
    live.says(f"I saw {MARKER} somewhere", who="customer")
    assert system.attach(live.ticket_id, note()).outcome == "created"
    assert "Payment failed" in only(live)


def test_staff_who_quote_our_note_have_none_of_ours(live: Desk, system: Any) -> None:
    """Their words stay as they are, and ours is still found."""
    system.attach(live.ticket_id, note())
    live.says(f"as it says: {desk_module.stamped(note(), 'x')}", who="staff")
    system.attach(live.ticket_id, note(LATER, fault="param_config"))
    assert all(private for private, _ in live.notes())
    assert len(live.notes()) == (1 if live.edits else 2)
    assert any(
        "as it says" in json.dumps(vars(live)[name], default=str)
        for name in ("talk", "comments", "journal")
        if name in vars(live)
    )


def test_a_note_that_was_not_rendered_for_this_desk_is_said_so(live: Desk, system: Any) -> None:
    with pytest.raises(SystemBroken, match=f"not rendered as {live.form}"):
        system.attach(live.ticket_id, note(bodies={"markdown": "x"}))
    assert not live.notes()


# The ticket.


def test_the_ticket_is_read_with_what_its_customer_said_later(live: Desk, system: Any) -> None:
    """The description and the customer's public comments; neither staff's words nor our own note."""
    live.says("My order is <b>M20261126</b>" if live.form == "html" else "My order is M20261126", who="customer")
    live.says("secret of the staff", who="staff", private=True)
    live.says("We look into it", who="staff")
    system.attach(live.ticket_id, note())
    ticket = system.ticket(live.ticket_id)
    assert ticket.id == live.ticket_id
    assert ticket.title == "支付失败 payment failed"
    assert ticket.description == "订单 M1 付款后显示失败。\n\nMy order is M20261126"
    assert ticket.created_at.astimezone(UTC).replace(microsecond=0) == datetime(2026, 11, 26, 10, 2, 31, tzinfo=UTC)
    assert (ticket.system, ticket.language) == (live.kind, "zh")
    assert ticket.customer_id
    assert {"手机号": "13800138000"}.items() <= dict(ticket.custom_fields).items() or {
        "jira": {"设备": "iPhone 15"}, "jira_dc": {"设备": "iPhone 15"}, "servicenow": {"u_phone": "13800138000"},
    }[live.kind].items() <= dict(ticket.custom_fields).items()  # fmt: skip


def test_all_comments_are_read_however_many_pages(live: Desk, system: Any) -> None:
    for i in range(230):
        live.says(f"word {i}.", who="customer")
    description = system.ticket(live.ticket_id).description
    assert [f"word {i}." in description for i in range(230)].count(False) == 0
    assert system.attach(live.ticket_id, note()).outcome == "created"
    assert system.attach(live.ticket_id, note()).outcome == "unchanged"


def test_a_long_conversation_keeps_its_newest_and_tells_what_is_left_out(live: Desk, system: Any) -> None:
    for i in range(60):
        live.says(f"word {i}. " + "长" * 2000, who="customer")
    description = system.ticket(live.ticket_id).description
    assert len(description) < 51_000
    assert "word 59." in description
    assert "more comments of the customer were left out" in description


@pytest.mark.parametrize(
    "ticket_id", ["999999", "PAY-9", "f" * 32, "../users/1", "", "1/../2", "１２", "a?b=c", "PAY-１"]
)
def test_a_ticket_that_is_not_there_is_not_found(live: Desk, system: Any, ticket_id: str) -> None:
    """An id that is none of this desk is not even asked for."""
    with pytest.raises(TicketNotFound):
        system.ticket(ticket_id)
    with pytest.raises(TicketNotFound):
        system.attach(ticket_id, note())
    assert all(".." not in call.path and "?" not in call.path for call in live.calls)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer({"error": "no"}, 401), Refused),
        (Answer({"error": "no"}, 403), Refused),
        (Answer(None, 429, {"Retry-After": "93"}), SystemUnavailable),
        (Answer("busy", 503), SystemUnavailable),
        (Answer("what", 400), SystemBroken),
        (Answer([1, 2], 200), SystemBroken),
        (Answer(None, 302, {"Location": "http://127.0.0.1:9/"}), SystemBroken),
    ],
    ids=["401", "403", "429", "503", "400", "nonsense", "302"],
)
def test_what_the_desk_answers_is_told_in_our_words(live: Desk, system: Any, answer: Answer, error: Any) -> None:
    for call in (system.ticket, lambda number: system.attach(number, note())):
        live.instead = [("GET", "", answer)]
        with pytest.raises(error) as raised:
            call(live.ticket_id)
        assert "t0ken" not in str(raised.value)
        if answer.status == 429:
            assert raised.value.after == 93.0
    assert not live.notes()


def test_the_key_is_sent_and_never_shown(live: Desk, system: Any) -> None:
    system.ticket(live.ticket_id)
    assert all(call.headers["authorization"].startswith(("Basic ", "Bearer ")) for call in live.calls)
    for secret in ("t0ken", "p4ss", "ap1key", SECRET):
        assert secret not in repr(system._options)


def test_a_table_without_an_address_is_refused(desk: Desk) -> None:
    with pytest.raises(UsageError, match=r"\[tickets\.desk\] has no url"):
        desk.system(url="")


# The poll.


@pytest.mark.parametrize("limit", [1, 7, 100, 1000])
def test_a_poll_loses_none_at_page_borders_and_equal_times(live: Desk, system: Any, limit: int) -> None:
    """260 tickets of three moments, so that pages end among equal times; then more of the last moment."""
    cursor = system.changed(None).cursor
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
    sizes = (20, 10, 5) if limit == 1 else (130, 100, 30)
    times = [start + timedelta(seconds=n) for n, size in enumerate(sizes) for _ in range(size)]
    ids = live.add_tickets(times)
    found, cursor = drained(system, cursor, limit)
    assert sorted(event.ticket_id for event in found) == sorted(ids), "each is told, and told once"
    assert drained(system, cursor, limit)[0] == []
    live.touch(ids[3], start + timedelta(seconds=2))
    live.touch(ids[4], start + timedelta(seconds=9))
    told = [event.ticket_id for event in drained(system, cursor, limit)[0]]
    assert sorted(told) == sorted([ids[3], ids[4]])
    assert len(cursor) < 60_000


def test_a_ticket_that_changes_while_pages_are_read_hides_no_other(live: Desk, system: Any) -> None:
    cursor = system.changed(None).cursor
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
    ids = live.add_tickets([start + timedelta(seconds=n // 8) for n in range(240)])
    found: list[str] = []
    for turn in range(60):
        told = system.changed(cursor, 50)
        found += [event.ticket_id for event in told.events]
        cursor = told.cursor
        if turn < 20:
            live.touch(ids[turn], start + timedelta(seconds=25 + turn // 4))
        elif not told.more:
            break
    assert set(found) == set(ids)
