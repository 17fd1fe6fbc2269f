"""Request Tracker 5 as it really is: Debian's package with the scrips that we ship, and what it really sent."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest

from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets import open_system
from pipeline.tickets.rt import Options, RtSystem, _Listed
from pipeline.tickets.system import Incoming, SystemUnavailable, Unverified
from tests import services
from tests.services import rt
from tests.tickets_polling import drained
from tests.tickets_real import (
    BEGAN,
    HOSTILE,
    POLLS,
    Receiver,
    attaches_at_once,
    attaches_once,
    calls_broken_bodies_malformed,
    note_for,
    own_only,
    receiving,
    recorded,
    refuses_forgeries,
    refuses_stale,
    tells_all_once,
)

# The secret that signed the recorded delivery; it never guarded anything.
RECORDED_SECRET = "recorded-for-the-tests"
RECORDED = "rt-5.0.3-ticket-created.json"


@pytest.fixture(scope="module")
def desk(rt_url: str) -> rt.Desk:
    return rt.Desk(rt_url)


def opened(desk: rt.Desk, **given: Any) -> RtSystem:
    options = {"url": desk.url, "token": desk.token, "secrets": (desk.secret,), "timeout": 60.0}
    return open_system("support", Options(**options | given))


@pytest.fixture(scope="module")
def system(desk: rt.Desk) -> Iterator[RtSystem]:
    one = opened(desk, fields={"fault_class": "Fault class"})
    yield one
    one.close()


@pytest.fixture
def hook(desk: rt.Desk) -> Iterator[Receiver]:
    with receiving(desk.hook) as receiver:
        yield receiver


def signed(body: bytes, secret: str = RECORDED_SECRET) -> Incoming:
    now = datetime.now(UTC)
    stamp = str(int(now.timestamp()))
    digest = hmac.new(secret.encode(), f"m1.{stamp}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": "m1",
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    return Incoming(headers=headers, body=body, received_at=now)


# What it sends


def test_a_ticket_that_a_customer_opens_is_told_at_once_and_signed(
    desk: rt.Desk, system: RtSystem, hook: Receiver
) -> None:
    ticket_id = desk.new_ticket("Payment failed 支付失败", f"Order M2026112600012\n{HOSTILE}")
    [request] = hook.wait(1)
    event = system.receive(request)
    assert (event.ticket_id, event.kind, event.actor) == (ticket_id, "ticket.created", rt.CUSTOMER)
    assert event.ignored is None
    assert event.text.splitlines()[:2] == ["Payment failed 支付失败", "Order M2026112600012"]
    assert event.created_at is not None
    assert abs((event.created_at - datetime.now(UTC)).total_seconds()) < 60
    refuses_forgeries(system, request, "webhook-signature")
    refuses_stale(system, request)
    # It can be read at the moment it is told: the post comes after RT's commit.
    assert system.ticket(ticket_id).title == "Payment failed 支付失败"


def test_replies_comments_and_edits_are_told_and_what_matters_not_is_not(
    desk: rt.Desk, system: RtSystem, hook: Receiver
) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    desk.reply(ticket_id, "It is order M77")
    desk.comment(ticket_id, "Looks like the channel")
    desk.edit(ticket_id, Subject="Payment failed twice")
    desk.edit(ticket_id, CustomFields={"Order number": "M77"})
    desk.edit(ticket_id, Priority=50)
    desk.edit(ticket_id, Status="resolved")
    desk.edit(ticket_id, Subject="the last")
    desk.edit(ticket_id, DueDate="2026-12-24")
    events = [system.receive(request) for request in hook.wait(9)]
    assert [(event.kind, event.actor, event.routine) for event in events] == [
        ("ticket.created", rt.CUSTOMER, False),
        ("ticket.replied", rt.CUSTOMER, False),
        # RT opens a new ticket by itself when somebody writes.
        ("ticket.state", "RT_System", True),
        ("ticket.commented", "agent", False),
        ("ticket.updated", "agent", False),
        ("ticket.updated", "agent", False),
        ("ticket.state", "agent", True),
        ("ticket.state", "agent", True),
        ("ticket.updated", "agent", False),
    ]
    assert not [event for event in events if event.ignored]
    assert len({event.delivery_id for event in events}) == 9


def test_what_happened_to_a_ticket_is_told_as_the_desk_did_it(desk: rt.Desk, system: RtSystem) -> None:
    """Taken, answered, stalled, taken up, solved, opened again; comments, the customer's replies and our notes are no answers."""
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    desk.comment(ticket_id, "Looks like the channel")
    desk.reply(ticket_id, "Is anybody there?")
    system.attach(ticket_id, note_for(ticket_id, "first"))
    desk.edit(ticket_id, Owner="agent")
    desk.reply(ticket_id, "We are on it", who="agent")
    desk.reply(ticket_id, "Which order?", who="agent")
    desk.edit(ticket_id, Status="stalled")
    desk.edit(ticket_id, Status="open")
    desk.edit(ticket_id, Priority=50)
    desk.edit(ticket_id, Status="resolved")
    desk.edit(ticket_id, Status="open")
    steps = system.history(ticket_id)
    assert [(one.what, one.who, one.to) for one in steps if one.what != "prioritised"] == [
        ("opened", rt.CUSTOMER, None),
        ("assigned", "agent", "agent"),
        ("responded", "agent", None),
        ("waiting", "agent", None),
        ("continued", "agent", None),
        ("resolved", "agent", None),
        ("reopened", "agent", None),
    ]
    assert [(one.who, one.to) for one in steps if one.what == "prioritised"][-1] == ("agent", "50")
    assert [one.at for one in steps] == sorted(one.at for one in steps)
    assert abs((steps[-1].at - datetime.now(UTC)).total_seconds()) < 60
    assert system.history(ticket_id) == steps
    with pytest.raises(TicketNotFound):
        system.history("999999")


def test_our_own_note_and_fields_call_nobody(desk: rt.Desk, system: RtSystem, hook: Receiver) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    for text in ("first", "second"):
        system.attach(ticket_id, note_for(ticket_id, text, fields={"fault_class": f"{text}_fault"}))
    desk.reply(ticket_id, "the last")
    # RT opens a new ticket by itself when somebody writes.
    told = [system.receive(request).kind for request in hook.wait(3)]
    assert told == ["ticket.created", "ticket.replied", "ticket.state"]
    assert len(hook.received) == 3


def test_a_post_in_our_own_name_is_ignored() -> None:
    system = RtSystem("support", Options(secrets=(RECORDED_SECRET,)))
    body = recorded(RECORDED).body.replace(b'"creator":"customer@example.com"', b'"creator":"Problem-Snapshot"')
    event = system.receive(signed(body))
    assert event.ignored == "our own change: it was made by problem-snapshot"


@pytest.mark.parametrize("status", [404, 500, 302])
def test_a_ticket_is_opened_whatever_the_receiver_answers(desk: rt.Desk, status: int) -> None:
    with receiving(desk.hook, status) as receiver:
        ticket_id = desk.new_ticket("Payment failed", "Order 1")
        assert len(receiver.wait(1)) == 1
    assert desk.ask("GET", f"/ticket/{ticket_id}")["Subject"] == "Payment failed"


def test_a_ticket_is_opened_while_nobody_receives_and_polling_finds_it(desk: rt.Desk, system: RtSystem) -> None:
    before = system.changed(None)
    assert before.events == ()
    started = time.monotonic()
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    assert time.monotonic() - started < 10
    after = system.changed(before.cursor)
    assert ticket_id in [event.ticket_id for event in after.events if not event.ignored]
    assert system.changed(after.cursor).events == ()


@pytest.mark.alone
def test_a_receiver_that_hangs_delays_a_ticket_by_seconds_and_no_more(desk: rt.Desk) -> None:
    with receiving(desk.hook, delay=8) as receiver:
        started = time.monotonic()
        ticket_id = desk.new_ticket("Payment failed", "Order 1")
        took = time.monotonic() - started
        assert len(receiver.wait(1)) == 1
    # Two seconds are the scrip's; RT needs the rest on a busy machine.
    assert 1.5 < took < 7.5
    assert desk.ask("GET", f"/ticket/{ticket_id}")["Status"] == "new"


# What really arrived once, for machines without a Request Tracker


def test_a_real_delivery_is_verified_and_read() -> None:
    request = recorded(RECORDED)
    system = RtSystem("support", Options(secrets=("another", RECORDED_SECRET)))
    event = system.receive(request)
    assert (event.ticket_id, event.kind, event.actor) == ("1", "ticket.created", "customer@example.com")
    assert event.text == "Payment failed 支付失败\nOrder M2026112600012 was charged twice"
    assert re.fullmatch(r"rt-test\.example-\d+-\d{10}", event.delivery_id or "")
    refuses_forgeries(system, request, "webhook-signature")
    refuses_stale(system, request)


def test_without_a_secret_everything_is_refused_unless_it_is_said_to_be_insecure() -> None:
    request = recorded(RECORDED)
    with pytest.raises(Unverified, match=r"\[tickets\.support\] has no secrets"):
        RtSystem("support", Options()).receive(request)
    with pytest.raises(Unverified):
        RtSystem("support", Options(secrets=("wrong",))).receive(request)
    assert RtSystem("support", Options(insecure=True)).receive(request).ticket_id == "1"


def test_a_signed_body_that_is_no_delivery_is_malformed() -> None:
    calls_broken_bodies_malformed(RtSystem("support", Options(secrets=(RECORDED_SECRET,))), signed)


@pytest.mark.parametrize("stamp", ["", "soon", "-1", "9" * 400, "１２３"])
def test_a_signed_time_that_is_none_is_refused(stamp: str) -> None:
    system = RtSystem("support", Options(secrets=(RECORDED_SECRET,)))
    body = recorded(RECORDED).body
    digest = hmac.new(RECORDED_SECRET.encode(), f"m1.{stamp}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": "m1",
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    with pytest.raises(Unverified):
        system.receive(Incoming(headers=headers, body=body, received_at=datetime.now(UTC)))


def test_options_that_cannot_work_are_refused() -> None:
    for given, told in (({"tags": True}, "has none"), ({"user": ""}, "user: needed"), ({"secrets": [" "]}, "secrets")):
        with pytest.raises(msgspec.ValidationError, match=told):
            msgspec.convert({"kind": "rt", **given}, Options)


# Reading


def test_a_ticket_is_read_with_the_customers_replies_and_without_anybody_elses(desk: rt.Desk, system: RtSystem) -> None:
    ticket_id = desk.new_ticket("支付失败", "第一行\n第二行 <b>", fields={"Order number": "M77"})
    desk.reply(ticket_id, "订单号是 M2026112600012")
    desk.reply(ticket_id, "We are looking into it", who="agent")
    desk.comment(ticket_id, "private")
    system.attach(ticket_id, note_for(ticket_id, "our own"))
    ticket = system.ticket(ticket_id)
    assert ticket.title == "支付失败"
    assert ticket.description == "第一行\n第二行 <b>\n\n订单号是 M2026112600012"
    assert ticket.language == "zh"
    assert ticket.customer_id == rt.CUSTOMER
    assert ticket.custom_fields == {"Order number": "M77"}
    assert ticket.created_at.tzinfo is not None
    assert ticket.system == "support"


def test_html_is_read_as_text(desk: rt.Desk, system: RtSystem) -> None:
    given = {"Queue": rt.QUEUE, "Subject": "", "Requestor": rt.CUSTOMER, "ContentType": "text/html"}
    ticket_id = str(
        desk.ask("POST", "/ticket", json=given | {"Content": "<p>Order&nbsp;M1<br>paid &lt;twice&gt;</p>"})["id"]
    )
    assert system.ticket(ticket_id).description == "Order M1\npaid <twice>"


def test_tickets_that_are_deleted_merged_or_never_were_are_told_apart(desk: rt.Desk, system: RtSystem) -> None:
    deleted, merged, into = (desk.new_ticket("Payment failed", "Order 1") for _ in range(3))
    desk.edit(deleted, Status="deleted")
    desk.ask("PUT", f"/ticket/{merged}", json={"MergeInto": into})
    for ticket_id, told in (
        (deleted, "is deleted"),
        (merged, f"was merged into {into}"),
        ("999999", "has no ticket 999999"),
        ("1/comment", "its ids are numbers"),
    ):
        with pytest.raises(TicketNotFound, match=told):
            system.ticket(ticket_id)
        with pytest.raises(TicketNotFound):
            system.attach(ticket_id, note_for("1", "text"))


def test_a_wrong_token_is_refused_and_an_rt_that_is_away_is_unavailable(desk: rt.Desk) -> None:
    away = {"url": f"http://127.0.0.1:{services.free_port()}", "attempts": 1}
    with contextlib.closing(opened(desk, token="1-27-0")) as one, pytest.raises(Refused, match=r"\[tickets\.support\]"):
        one.ticket("1")
    with contextlib.closing(opened(desk, **away)) as one, pytest.raises(SystemUnavailable):
        one.ticket("1")


# Writing


def test_one_private_note_that_changes_in_place(desk: rt.Desk, system: RtSystem) -> None:
    attaches_once(system, desk, desk.new_ticket("Payment failed", "Order 1"))


def test_several_at_once_leave_one_note(desk: rt.Desk, system: RtSystem) -> None:
    attaches_at_once(system, desk, desk.new_ticket("Payment failed", "Order 1"), count=3)


def test_nothing_of_a_note_reaches_the_customer(desk: rt.Desk, system: RtSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    for text in ("secretive one", "secretive two"):
        system.attach(ticket_id, note_for(ticket_id, text))
    desk.reply(ticket_id, "We are looking into it", who="agent")
    assert [note["private"] for note in desk.notes(ticket_id, who=rt.CUSTOMER)] == [False, False]
    page = desk.page(f"/SelfService/Display.html?id={ticket_id}", who=rt.CUSTOMER)
    assert "We are looking into it" in page
    assert "secretive" not in page
    assert "problem-snapshot" not in page
    mails = [mail for mail in desk.mails() if f"#{ticket_id}]" in mail["subject"]]
    assert mails
    for mail in mails:
        told_of_note = "secretive" in mail["text"]
        assert not (told_of_note and rt.CUSTOMER in mail["to"]), mail["subject"]
    # Staff who watch the queue get one mail for the note, and none for its changes.
    assert [mail["to"] for mail in mails if "secretive" in mail["text"]] == [[rt.AGENT]]


def test_staff_see_the_note_in_rts_own_page_harmless(desk: rt.Desk, system: RtSystem) -> None:
    ticket_id = desk.new_ticket(f"Payment {HOSTILE}", "Order 1")
    system.attach(ticket_id, note_for(ticket_id, f"log line {HOSTILE}"))
    page = desk.page(f"/Ticket/History.html?id={ticket_id}", who="agent")
    assert "log line &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page


def test_a_colleague_who_quotes_our_note_keeps_what_they_wrote(desk: rt.Desk, system: RtSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    system.attach(ticket_id, note_for(ticket_id, "first"))
    quoted = own_only(desk.notes(ticket_id), ticket_id)[0]["body"]
    for text in ("one", "two"):
        desk.comment(ticket_id, f"<p>{text}</p>{quoted}", kind="text/html")
    system.attach(ticket_id, note_for(ticket_id, "second"))
    by = [(note["creator"], "second" in note["body"]) for note in own_only(desk.notes(ticket_id), ticket_id)]
    assert by == [("problem-snapshot", True), ("agent", False), ("agent", False)]


def test_fields_are_set_and_unknown_ones_are_told(desk: rt.Desk, system: RtSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    note = note_for(ticket_id, "first", fields={"fault_class": "interface_fault", "severity": "P1"})
    assert system.attach(ticket_id, note).notes == ()
    assert system.ticket(ticket_id).custom_fields == {"Fault class": "interface_fault"}
    other = opened(desk, fields={"severity": "Severity"})
    told = other.attach(ticket_id, note)
    other.close()
    assert told.outcome == "unchanged"
    assert told.notes == (f"ticket {ticket_id} has no custom field 'Severity' that we may see",)


def test_an_account_that_does_not_see_its_own_comment_says_which_right_is_missing(desk: rt.Desk) -> None:
    other = opened(desk, user="somebody-else")
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    with pytest.raises(Refused, match="ShowTicketComments"):
        other.attach(ticket_id, note_for(ticket_id, "first"))
    other.close()


@pytest.fixture
def bare(desk: rt.Desk) -> Iterator[None]:
    """An RT whose administrator did not put the replacing scrip in."""
    desk.switch_scrips("problem-snapshot 2", on=False)
    yield
    desk.switch_scrips("problem-snapshot 2", on=True)


@pytest.mark.usefixtures("bare")
def test_without_the_scrip_a_new_note_comes_with_another_conclusion_only(desk: rt.Desk, system: RtSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")

    def attach(text: str, fault: str) -> Any:
        return system.attach(ticket_id, note_for(ticket_id, text, fields={"fault_class": fault}))

    assert attach("first", "interface_fault").outcome == "created"
    assert attach("first", "interface_fault").outcome == "unchanged"
    kept = attach("more lines", "interface_fault")
    assert kept.outcome == "kept"
    assert "put the scrips of docs/tickets/rt.md in" in kept.notes[0]
    assert attach("second", "data_fault").outcome == "created"
    assert attach("second", "data_fault").outcome == "unchanged"
    first, second = own_only(desk.notes(ticket_id), ticket_id)
    assert "first" in first["body"]
    assert re.search(r"This replaces the snapshot of \d{4}-\d\d-\d\d", second["body"])
    assert system.ticket(ticket_id).custom_fields == {"Fault class": "data_fault"}


# Polling


def test_a_poll_tells_each_change_once_also_over_many_pages(
    desk: rt.Desk, system: RtSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tickets.rt._PER_PAGE", 3)
    # The tickets of the other tests, which are just as young, are left out.
    monkeypatch.setattr("pipeline.tickets._polls.OVERLAP", timedelta(seconds=1))
    time.sleep(2)
    start = system.changed(None)
    ids = [desk.new_ticket(f"Payment {number}", "Order 1") for number in range(4)]
    events, cursor = drained(system, start.cursor, 2)
    seen = [event.ticket_id for event in events if event.ticket_id in ids]
    assert sorted(seen) == sorted(set(ids))
    assert not [event for event in system.changed(cursor).events if event.ticket_id in ids]
    time.sleep(1.1)
    desk.reply(ids[2], "more")
    told = {event.ticket_id: event.ignored for event in system.changed(cursor).events}
    assert told[ids[2]] is None


def test_a_poll_ignores_what_only_we_changed_and_not_what_our_note_hides(desk: rt.Desk, system: RtSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    system.attach(ticket_id, note_for(ticket_id, "first"))
    cursor = system.changed(None).cursor
    # The customer's change is in the overlap that a poll looks back over, so it is told rather than hidden by ours.
    assert {event.ticket_id: event.ignored for event in system.changed(cursor).events}[ticket_id] is None
    # As if the ticket had been opened a day ago, and nothing but our note were new.
    desk.perl(
        "my $txns = RT::Transactions->new(RT->SystemUser); $txns->Limit(FIELD => 'ObjectType', VALUE => 'RT::Ticket');"
        f"$txns->Limit(FIELD => 'ObjectId', VALUE => {ticket_id}); my $ago = RT::Date->new(RT->SystemUser);"
        "$ago->Set(Format => 'unix', Value => time - 86400); while (my $t = $txns->Next) {"
        "$t->__Set(Field => 'Created', Value => $ago->ISO) if $t->Type ne 'Comment' }"
    )
    told = {event.ticket_id: event.ignored for event in system.changed(cursor).events}
    assert told[ticket_id] == "our own change: it was made by problem-snapshot"


def test_a_poll_reads_times_as_utc_wherever_the_account_lives(desk: rt.Desk, system: RtSystem) -> None:
    cursor = system.changed(None).cursor
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    for zone in ("Asia/Shanghai", "America/Los_Angeles", ""):
        desk.ask("PUT", "/user/problem-snapshot", json={"Timezone": zone})
        assert ticket_id in [event.ticket_id for event in system.changed(cursor).events], zone
        future = replace_at(cursor, 3600)
        assert ticket_id not in [event.ticket_id for event in system.changed(future).events], zone


def replace_at(cursor: str, seconds: int) -> str:
    from pipeline.tickets._polls import Cursor

    at = msgspec.json.decode(cursor.encode(), type=Cursor).at
    return Cursor(datetime.fromtimestamp(at.timestamp() + seconds, UTC)).text


@hypothesis.given(POLLS)
def test_no_poll_loses_a_ticket_wherever_pages_end(poll: tuple[list[int], int, int, int]) -> None:
    """On lists as RT gives them, which no RT is asked for: it would take hours."""
    seconds, start, limit, back = poll
    times = [f"{BEGAN + timedelta(seconds=at):%Y-%m-%dT%H:%M:%SZ}" for at in seconds]
    rows = [_Listed(id=str(n), LastUpdated=time_) for n, time_ in reversed([*enumerate(times)])]
    system = RtSystem("support", Options(url="http://rt.example"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.tickets._polls.OVERLAP", timedelta(seconds=back))
        patch.setattr(system, "_latest", lambda _, page: (rows[page * 3 - 3 : page * 3], page * 3 < len(rows)))
        tells_all_once(system, seconds, start, limit, back)


# The scrips


def test_scrips_put_in_again_replace_the_old_ones(desk: rt.Desk, hook: Receiver) -> None:
    desk.insert_scrips()
    assert desk.scrips("problem-snapshot ") == 3
    desk.new_ticket("Payment failed", "Order 1")
    hook.wait(1)
    time.sleep(0.5)
    assert len(hook.received) == 1


def test_an_rt_that_was_there_before_is_not_touched(desk: rt.Desk) -> None:
    began = (desk.folder / "password").stat().st_mtime
    places = ("/etc/request-tracker5", "/var/lib/request-tracker5", "/var/lib/dbconfig-common/sqlite3/request-tracker5")
    caches = ("/var/cache/request-tracker5", "/usr/local/share/request-tracker5")
    files = [file for place in (*places, *caches) for file in Path(place).rglob("*") if file.is_file()]
    assert [str(file) for file in files if file.stat().st_mtime > began] == []
