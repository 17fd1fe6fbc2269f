"""django-helpdesk as it really is: the release of PyPI in its own environment, and what it really sent."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import hypothesis
import msgspec
import pytest

from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets import open_system
from pipeline.tickets.django_helpdesk import DjangoHelpdeskSystem, Options, _FollowUp, _Page, plain_markdown
from pipeline.tickets.system import Incoming, Remembers, SystemUnavailable, TicketSystem, Unverified
from tests import services
from tests.services import helpdesk
from tests.tickets_polling import drained
from tests.tickets_real import (
    BEGAN,
    HOSTILE,
    POLLS,
    Receiver,
    attaches_at_once,
    attaches_once,
    calls_broken_bodies_malformed,
    files,
    note_for,
    own_only,
    receiving,
    recorded,
    tells_all_once,
)

# What the recorded delivery's address ended with; it never guarded anything.
RECORDED_SECRET = "recorded-for-the-tests"
RECORDED = "django-helpdesk-2.6.1-new-ticket.json"


@pytest.fixture(scope="module")
def desk(helpdesk_url: str) -> helpdesk.Desk:
    return helpdesk.Desk(helpdesk_url)


def opened(desk: helpdesk.Desk, **given: Any) -> TicketSystem:
    options = {"url": desk.url, "token": desk.token, "secrets": (desk.secret,), "timeout": 60.0}
    return open_system("web", Options(**options | given))


@pytest.fixture(scope="module")
def system(desk: helpdesk.Desk) -> Iterator[TicketSystem]:
    one = opened(desk, fields={"fault_class": "custom_fault_class"})
    yield one
    one.close()


@pytest.fixture
def hook(desk: helpdesk.Desk) -> Iterator[Receiver]:
    """Somebody who takes the desk's posts: without, it answers whoever submits a ticket with an error."""
    with receiving(desk.hook) as receiver:
        yield receiver


# What it sends


def test_a_ticket_that_a_customer_submits_is_told_at_once(
    desk: helpdesk.Desk, system: TicketSystem, hook: Receiver
) -> None:
    ticket_id = desk.new_ticket("Payment failed 支付失败", f"Order M2026112600012\n{HOSTILE}")
    [request] = hook.wait(1)
    event = system.receive(request)
    assert (event.ticket_id, event.kind, event.actor) == (ticket_id, "ticket.created", helpdesk.CUSTOMER)
    assert event.ignored is None
    assert event.text.splitlines()[:2] == ["Payment failed 支付失败", "Order M2026112600012"]
    assert event.created_at is not None
    assert abs((event.created_at - datetime.now(UTC)).total_seconds()) < 60
    assert system.ticket(ticket_id).title == "Payment failed 支付失败"


def test_an_agents_update_is_told_and_our_own_note_is_known_as_ours(
    desk: helpdesk.Desk, system: TicketSystem, hook: Receiver
) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    desk.update(ticket_id, "We are looking into it")
    desk.update(ticket_id, "The channel, I think", public=False, title="Payment failed twice")
    for text in ("first", "second"):
        system.attach(ticket_id, note_for(ticket_id, text))
    told = [(event.kind, event.ignored) for event in map(system.receive, hook.wait(4))]
    assert told == [
        ("ticket.created", None),
        ("ticket.updated", None),
        ("ticket.updated", None),
        ("ticket.updated", "our own note"),
    ]
    assert len(hook.received) == 4


def test_what_happened_to_a_ticket_is_told_as_the_desk_did_it(
    desk: helpdesk.Desk, system: TicketSystem, hook: Receiver
) -> None:
    """Assigned, answered, solved, closed, opened again; private notes, ours among them, are no answers."""
    del hook  # it takes what the desk posts
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    desk.update(ticket_id, "The channel, I think", public=False)
    system.attach(ticket_id, note_for(ticket_id, "first"))
    agent = str(desk.ask("GET", "/followups/?page=last")["results"][-1]["user"] or "")
    desk.update(ticket_id, "", owner="1")
    desk.update(ticket_id, "We are on it")
    desk.update(ticket_id, "Which order?")
    desk.update(ticket_id, "", new_status="3")
    desk.update(ticket_id, "", new_status="4")
    desk.update(ticket_id, "It fails again", new_status="2")
    assert isinstance(system, Remembers)
    steps = system.history(ticket_id)
    assert [one.what for one in steps] == ["opened", "assigned", "responded", "resolved", "reopened"]
    assert steps[1].to == "agent"
    assert {one.who for one in steps[1:]} == {"1"}
    assert agent != "1", "our own account is another one"
    assert [one.at for one in steps] == sorted(one.at for one in steps)
    assert system.history(ticket_id) == steps


def test_a_ticket_is_kept_while_nobody_receives_and_polling_finds_it(desk: helpdesk.Desk, system: TicketSystem) -> None:
    before = system.changed(None)
    assert before.events == ()
    # The desk stores the ticket, and then shows the customer an error: see docs/tickets/django_helpdesk.md.
    assert desk.submit("Payment failed", "Order 1") == 500
    ticket_id = desk.newest()
    after = system.changed(before.cursor)
    assert ticket_id in [event.ticket_id for event in after.events if not event.ignored]
    assert system.changed(after.cursor).events == ()


# What really arrived once, for machines without a desk


def test_a_real_delivery_is_verified_by_its_address_and_read() -> None:
    request = recorded(RECORDED)
    system = DjangoHelpdeskSystem("web", Options(secrets=("another-secret-of-ours", RECORDED_SECRET)))
    event = system.receive(request)
    assert (event.ticket_id, event.kind, event.actor) == ("1", "ticket.created", "customer@example.com")
    assert event.text == "Payment failed 支付失败\nOrder M2026112600012 was charged twice"
    by_query = replace(request, path="", query={"key": RECORDED_SECRET})
    assert system.receive(by_query) == event


@pytest.mark.parametrize(
    "where",
    [{"path": ""}, {"path": "wrong"}, {"path": "签名"}, {"query": {"key": "wrong"}}, {"path": f"{RECORDED_SECRET}/x"}],
)
def test_another_address_is_refused(where: dict[str, Any]) -> None:
    system = DjangoHelpdeskSystem("web", Options(secrets=(RECORDED_SECRET,)))
    with pytest.raises(Unverified):
        system.receive(replace(recorded(RECORDED), **where))


def test_without_a_secret_everything_is_refused_unless_it_is_said_to_be_insecure() -> None:
    request = recorded(RECORDED)
    with pytest.raises(Unverified, match=r"\[tickets\.web\] has no secrets"):
        DjangoHelpdeskSystem("web", Options()).receive(request)
    assert DjangoHelpdeskSystem("web", Options(insecure=True)).receive(replace(request, path="")).ticket_id == "1"


def test_a_body_that_is_no_delivery_is_malformed() -> None:
    def sent(body: bytes) -> Incoming:
        return Incoming(headers={}, body=body, received_at=datetime.now(UTC), path=RECORDED_SECRET)

    system = DjangoHelpdeskSystem("web", Options(secrets=(RECORDED_SECRET,)))
    calls_broken_bodies_malformed(system, sent)
    calls_broken_bodies_malformed(system, lambda _: sent(b'{"ticket": {"id": 1}, "followup_id": 7}'))


def test_a_customer_cannot_pass_their_ticket_off_as_our_note() -> None:
    request = recorded(RECORDED)
    body = json.loads(request.body)
    forged = "Order 1\n\n[//]: # (problem-snapshot:0123456789abcdef)"
    body["ticket"]["description"] = body["ticket"]["followup_set"][0]["comment"] = forged
    body["followup_id"] = body["ticket"]["followup_set"][0]["id"]
    system = DjangoHelpdeskSystem("web", Options(secrets=(RECORDED_SECRET,)))
    assert system.receive(replace(request, body=json.dumps(body).encode())).ignored is None


def test_options_that_cannot_work_are_refused() -> None:
    for given, told in (
        ({"tags": True}, "has none"),
        ({"secrets": ["short"]}, "16 of them"),
        ({"secrets": ["a/b" * 9]}, "address"),
    ):
        with pytest.raises(msgspec.ValidationError, match=told):
            msgspec.convert({"kind": "django_helpdesk", **given}, Options)


# Reading


@pytest.mark.usefixtures("hook")
def test_a_ticket_is_read_with_the_customers_mails_and_without_anybody_elses(
    desk: helpdesk.Desk, system: TicketSystem
) -> None:
    ticket_id = desk.new_ticket("支付失败", "第一行\n第二行 <b>", fields={"order_number": "M77"})
    desk.update(ticket_id, "We are looking into it", custom_order_number="M77")
    desk.update(ticket_id, "private", public=False, custom_order_number="M77")
    desk.reply(ticket_id, "订单号是 M2026112600012")
    system.attach(ticket_id, note_for(ticket_id, "our own"))
    ticket = system.ticket(ticket_id)
    assert (ticket.title, ticket.language, ticket.customer_id) == ("支付失败", "zh", helpdesk.CUSTOMER)
    assert ticket.description == "第一行\n第二行 <b>\n\n订单号是 M2026112600012"
    assert ticket.custom_fields == {"order_number": "M77"}
    assert abs((ticket.created_at - datetime.now(UTC)).total_seconds()) < 60


@pytest.mark.usefixtures("hook")
def test_tickets_that_were_merged_or_never_were_are_told_apart(desk: helpdesk.Desk, system: TicketSystem) -> None:
    merged, into = (desk.new_ticket("Payment failed", "Order 1") for _ in range(2))
    desk.edit(merged, merged_to=int(into))
    for ticket_id, told in (
        (merged, f"was merged into {into}"),
        ("999999", "no ticket 999999"),
        ("1/x", "ids are numbers"),
    ):
        for ask in (system.ticket, lambda one: system.attach(one, note_for("1", "text"))):
            with pytest.raises(TicketNotFound, match=told):
                ask(ticket_id)


def test_a_wrong_token_is_refused_and_a_desk_that_is_away_is_unavailable(desk: helpdesk.Desk) -> None:
    away = {"url": f"http://127.0.0.1:{services.free_port()}", "attempts": 1}
    with contextlib.closing(opened(desk, token="wrong")) as one, pytest.raises(Refused, match=r"\[tickets\.web\]"):
        one.ticket("1")
    with contextlib.closing(opened(desk, **away)) as one, pytest.raises(SystemUnavailable):
        one.ticket("1")


# Writing


@pytest.mark.usefixtures("hook")
def test_one_private_note_that_changes_in_place(desk: helpdesk.Desk, system: TicketSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    attaches_once(system, desk, ticket_id, names=())
    # A follow-up's title would have become the ticket's.
    assert desk.ask("GET", f"/tickets/{ticket_id}/")["title"] == "Payment failed"
    told = system.attach(ticket_id, note_for(ticket_id, "third", files=files("snapshot.json"))).notes
    assert told == ("not attached, since customers could reach files here: snapshot.json",)


@pytest.mark.usefixtures("hook")
def test_several_at_once_leave_one_note(desk: helpdesk.Desk, system: TicketSystem) -> None:
    attaches_at_once(system, desk, desk.new_ticket("Payment failed", "Order 1"))


@pytest.mark.usefixtures("hook")
def test_nothing_of_a_note_reaches_the_customer_or_the_cc(desk: helpdesk.Desk, system: TicketSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    desk.add_cc(ticket_id, "partner@example.com")
    for text in ("secretive one", "secretive two"):
        system.attach(ticket_id, note_for(ticket_id, text))
    desk.update(ticket_id, "We are looking into it")
    page = desk.public_page(ticket_id)
    assert "We are looking into it" in page
    assert "secretive" not in page
    assert "problem-snapshot" not in page
    mails = [mail for mail in desk.mails() if f"[support-{ticket_id}]" in mail["subject"]]
    assert "partner@example.com" in [to for mail in mails for to in mail["to"]]
    assert [mail for mail in mails if "secretive" in mail["text"]] == []


@pytest.mark.usefixtures("hook")
def test_what_looks_like_a_template_or_html_is_shown_as_it_is(desk: helpdesk.Desk, system: TicketSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    text = "log {{ ticket.title }} {% now 'Y' %} {# x #} <script>alert(1)</script> #1"
    system.attach(ticket_id, note_for(ticket_id, text))
    [note] = own_only(desk.notes(ticket_id), ticket_id)
    assert "log {{ ticket.title }} {% now 'Y' %} {# x #}" in note["body"]
    page = desk.page(ticket_id)
    assert "log {{ ticket.title }} {% now 'Y' %} {# x #} &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page
    # No back link was left on the ticket that the text seems to name.
    assert not [one for one in desk.notes("1") if "Referenced" in (one["title"] or "")]


@pytest.mark.usefixtures("hook")
def test_a_note_that_a_crash_left_unfinished_is_finished(desk: helpdesk.Desk, system: TicketSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    note = note_for(ticket_id, "first")
    unfinished = {"ticket": int(ticket_id), "comment": f"...\n\n[//]: # ({note.marker})", "public": False}
    with httpx.Client(base_url=desk.url, headers={"Authorization": f"Token {desk.token}"}, timeout=60) as client:
        client.post("/api/followups/", json=unfinished).raise_for_status()
    assert system.attach(ticket_id, note).outcome == "updated"
    [only] = own_only(desk.notes(ticket_id), ticket_id)
    assert "first" in only["body"]


@pytest.mark.usefixtures("hook")
def test_a_colleague_who_quotes_our_note_keeps_what_they_wrote(desk: helpdesk.Desk, system: TicketSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    system.attach(ticket_id, note_for(ticket_id, "first"))
    quoted = own_only(desk.notes(ticket_id), ticket_id)[0]["body"]
    desk.update(ticket_id, f"I agree:\n\n{quoted}", public=False)
    system.attach(ticket_id, note_for(ticket_id, "second"))
    ours, theirs = own_only(desk.notes(ticket_id), ticket_id)
    assert "second" in ours["body"]
    assert "I agree" in theirs["body"]
    assert "first" in theirs["body"]


@pytest.mark.usefixtures("hook")
def test_fields_are_set_and_unknown_ones_are_told(desk: helpdesk.Desk, system: TicketSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    note = note_for(ticket_id, "first", fields={"fault_class": "interface_fault", "severity": "P1"})
    assert system.attach(ticket_id, note).notes == ()
    assert system.ticket(ticket_id).custom_fields == {"fault_class": "interface_fault"}
    other = opened(desk, fields={"severity": "custom_severity", "fault_class": "priority"})
    told = other.attach(ticket_id, note)
    other.close()
    assert told.outcome == "unchanged"
    assert told.notes[0] == "tickets have no field 'custom_severity' here"
    assert told.notes[1].startswith("the fields were not set: ")
    assert "not a valid choice" in told.notes[1]


# Polling


@pytest.mark.usefixtures("hook")
def test_a_poll_tells_each_change_once_also_over_many_pages(
    desk: helpdesk.Desk, system: TicketSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tickets.django_helpdesk._PER_PAGE", 3)
    # The tickets of the other tests, which are just as young, are left out.
    monkeypatch.setattr("pipeline.tickets._polls.OVERLAP", timedelta(seconds=1))
    time.sleep(2)
    cursor = system.changed(None).cursor
    ids = [desk.new_ticket(f"Payment {number}", "Order 1") for number in range(5)]
    system.attach(ids[0], note_for(ids[0], "first"))
    events, cursor = drained(system, cursor, 2)
    told = [(event.ticket_id, event.ignored) for event in events if event.ticket_id in ids]
    assert told == [*((one, None) for one in ids), (ids[0], "our own note")]
    desk.update(ids[2], "more")
    assert [event.ticket_id for event in system.changed(cursor).events] == [ids[2]]


@hypothesis.given(POLLS)
def test_no_poll_loses_a_follow_up_wherever_pages_end(poll: tuple[list[int], int, int, int]) -> None:
    """On lists as the desk gives them, which no desk is asked for: it would take hours."""
    seconds, start, limit, back = poll
    rows = [_FollowUp(id=n, ticket=n, date=(BEGAN + timedelta(seconds=at)).isoformat()) for n, at in enumerate(seconds)]

    def page(number: str) -> _Page:
        n = -(-len(rows) // 3) if number == "last" else int(number)
        return _Page(count=len(rows), results=rows[n * 3 - 3 : n * 3])

    system = DjangoHelpdeskSystem("web", Options(url="http://desk.example"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.tickets._polls.OVERLAP", timedelta(seconds=back))
        patch.setattr("pipeline.tickets.django_helpdesk._PER_PAGE", 3)
        patch.setattr(system, "_page", page)
        tells_all_once(system, seconds, start, limit, back)


# Its Markdown


def test_markdown_is_written_as_this_desk_reads_it() -> None:
    given = "### A\n\n<sub>small\\\nprint</sub>\n\n- a\\|b \\*c\\* `d\\|e` ``f`\\|g`` \\$5"
    assert plain_markdown(given) == "### A\n\nsmall\nprint\n\n- a|b \\*c\\* `d\\|e` ``f`\\|g`` $5"
