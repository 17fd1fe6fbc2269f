"""Redmine: API and polling against Debian's 5.0 as it really is, the webhook as the source of 7.0 writes it (5.0 has none)."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets import open_system
from pipeline.tickets.redmine import Options, RedmineSystem, preformatted
from pipeline.tickets.signatures import hexed
from pipeline.tickets.system import Incoming, Malformed, SystemUnavailable, TicketSystem, Unverified
from tests import services
from tests.services import redmine
from tests.tickets_polling import drained
from tests.tickets_real import (
    HOSTILE,
    attaches_at_once,
    attaches_once,
    calls_broken_bodies_malformed,
    files,
    note_for,
    own_only,
    refuses_forgeries,
)

SECRET, NEXT_SECRET = "first-secret-of-this-hook", "second-secret-of-this-hook"


@pytest.fixture(scope="module")
def desk(redmine_url: str) -> redmine.Desk:
    return redmine.Desk(redmine_url)


def opened(desk: redmine.Desk, who: str = "problem-snapshot", **given: Any) -> TicketSystem:
    return open_system("issues", Options(**{"url": desk.url, "token": desk.keys[who], "timeout": 60.0} | given))


@pytest.fixture(scope="module")
def system(desk: redmine.Desk) -> Iterator[TicketSystem]:
    with contextlib.closing(opened(desk, fields={"fault_class": "Fault class"})) as one:
        yield one


# The webhook, as WebhookPayload and show.api.rsb of Redmine 7.0 write it


def delivery(kind: str = "issue.created", journal: dict[str, Any] | None = None) -> bytes:
    issue = {
        "id": 17,
        "project": {"id": 1, "name": "Support"},
        "tracker": {"id": 1, "name": "Bug"},
        "status": {"id": 1, "name": "New", "is_closed": False},
        "author": {"id": 5, "name": "A Customer"},
        "subject": "Payment failed 支付失败",
        "description": "Order M2026112600012",
        "is_private": False,
        "custom_fields": [{"id": 1, "name": "Fault class", "value": None}],
        "created_on": "2026-11-26T10:02:31.000Z",
        "updated_on": "2026-11-26T10:02:31.000Z",
    }
    data = {"issue": issue, **({"journal": journal} if journal else {})}
    return json.dumps({"type": kind, "timestamp": "2026-11-26T10:02:31Z", "data": data}, ensure_ascii=False).encode()


def journal_by(number: int, name: str) -> dict[str, Any]:
    user = {"id": number, "name": name}
    return {"id": 3, "created_on": "2026-11-26T10:05:00Z", "notes": "more", "user": user, "details": []}


def signed(body: bytes, secret: str = SECRET) -> Incoming:
    headers = {"x-redmine-signature-256": f"sha256={hexed(secret, body)}", "user-agent": "Redmine"}
    return Incoming(headers=headers, body=body, received_at=datetime(2026, 11, 26, 10, 2, 32, tzinfo=UTC))


def test_a_signed_delivery_is_read() -> None:
    system = RedmineSystem("issues", Options(secrets=(SECRET,)))
    event = system.receive(signed(delivery()))
    assert (event.ticket_id, event.kind, event.actor, event.ignored) == ("17", "issue.created", "A Customer", None)
    assert event.text == "Payment failed 支付失败\nOrder M2026112600012"
    assert event.created_at == datetime(2026, 11, 26, 10, 2, 31, tzinfo=UTC)
    refuses_forgeries(system, signed(delivery()), "x-redmine-signature-256")


def test_the_published_example_of_the_scheme_is_verified() -> None:
    """Redmine's compute_signature names GitHub's page, whose example this is."""
    body = b"Hello, World!"
    wanted = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    system = RedmineSystem("issues", Options(secrets=("It's a Secret to Everybody",)))
    request = Incoming({"x-redmine-signature-256": wanted}, body, datetime.now(UTC))
    with pytest.raises(Malformed):
        system.receive(request)
    with pytest.raises(Unverified):
        system.receive(replace(request, body=b"Hello, World?"))


def test_the_second_of_two_secrets_holds_and_a_third_does_not() -> None:
    system = RedmineSystem("issues", Options(secrets=(SECRET, NEXT_SECRET)))
    assert system.receive(signed(delivery(), NEXT_SECRET)).ticket_id == "17"
    with pytest.raises(Unverified):
        system.receive(signed(delivery(), "third"))


def test_without_a_secret_everything_is_refused_unless_it_is_said_to_be_insecure() -> None:
    with pytest.raises(Unverified, match=r"\[tickets\.issues\] has no secrets"):
        RedmineSystem("issues", Options()).receive(signed(delivery()))
    unsigned = replace(signed(delivery()), headers={})
    assert RedmineSystem("issues", Options(insecure=True)).receive(unsigned).ticket_id == "17"


@pytest.mark.parametrize("user", ["7", "problem-snapshot Test", "Problem-Snapshot test"])
def test_our_own_change_is_ignored_by_number_or_by_name(user: str) -> None:
    system = RedmineSystem("issues", Options(secrets=(SECRET,), user=user))
    ours = system.receive(signed(delivery("issue.updated", journal_by(7, "problem-snapshot Test"))))
    assert ours.ignored == f"our own change: it was made by {user}"
    theirs = system.receive(signed(delivery("issue.updated", journal_by(6, "An Agent"))))
    assert (theirs.ignored, theirs.actor) == (None, "An Agent")


def test_deleted_issues_and_other_things_are_ignored() -> None:
    system = RedmineSystem("issues", Options(secrets=(SECRET,)))
    assert system.receive(signed(delivery("issue.deleted"))).ignored == "the issue is deleted"
    wiki = json.dumps({"type": "wiki_page.updated", "timestamp": "", "data": {"wiki_page": {}}}).encode()
    assert system.receive(signed(wiki)).ignored == "nothing is done about 'wiki_page.updated'"


def test_what_happened_to_an_issue_is_told_as_the_desk_did_it(desk: redmine.Desk, system: TicketSystem) -> None:
    """Redmine itself says which statuses are closed; which wait for the customer is told by the configuration."""
    listed = desk.ask("GET", "/issue_statuses.json")["issue_statuses"]
    solved = next(one["id"] for one in listed if one["is_closed"])
    first, waits = [one for one in listed if not one["is_closed"]][:2]
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    desk.comment(ticket_id, "Looks like the channel")
    desk.reply(ticket_id, "Is anybody there?")
    system.attach(ticket_id, note_for(ticket_id, "first"))
    desk.reply(ticket_id, "We are on it", who="agent")
    desk.edit(ticket_id, status_id=waits["id"])
    desk.edit(ticket_id, status_id=first["id"])
    desk.edit(ticket_id, status_id=solved)
    desk.edit(ticket_id, status_id=first["id"])
    with contextlib.closing(opened(desk, states={waits["name"]: "waiting"})) as knowing:
        steps = knowing.history(ticket_id)
        assert [one.what for one in steps] == [
            "opened", "responded", "waiting", "continued", "resolved", "reopened",
        ]  # fmt: skip
        assert len({one.who for one in steps}) == 2
        assert knowing.history(ticket_id) == steps
    assert [one.what for one in system.history(ticket_id)] == ["opened", "responded", "resolved", "reopened"]


def test_a_signed_body_that_is_no_delivery_is_malformed() -> None:
    system = RedmineSystem("issues", Options(secrets=(SECRET,)))
    calls_broken_bodies_malformed(system, signed)
    calls_broken_bodies_malformed(system, lambda _: signed(b'{"type": "issue.created", "data": {}}'))


def test_options_that_cannot_work_are_refused() -> None:
    for given, told in (({"tags": True}, "has none"), ({"formatting": "html"}, "formatting")):
        with pytest.raises(msgspec.ValidationError, match=told):
            msgspec.convert({"kind": "redmine", **given}, Options)


def test_textile_gets_plain_text_that_cannot_end_its_frame() -> None:
    assert RedmineSystem("issues", Options(formatting="textile")).form == "text"
    assert preformatted("a </pre><script>") == "<pre>\na &lt;/pre><script>\n</pre>"


# Reading


def test_an_issue_is_read_with_its_authors_public_notes(desk: redmine.Desk, system: TicketSystem) -> None:
    ticket_id = desk.new_ticket("支付失败", "第一行\n第二行 <b>", fields={"Order number": "M77"})
    desk.reply(ticket_id, "订单号是 M2026112600012")
    desk.reply(ticket_id, "We are looking into it", who="agent")
    desk.comment(ticket_id, "private")
    system.attach(ticket_id, note_for(ticket_id, "our own"))
    ticket = system.ticket(ticket_id)
    assert (ticket.title, ticket.language, ticket.system) == ("支付失败", "zh", "issues")
    assert ticket.description == "第一行\n第二行 <b>\n\n订单号是 M2026112600012"
    assert ticket.custom_fields == {"Order number": "M77"}
    assert abs((ticket.created_at - datetime.now(UTC)).total_seconds()) < 60


def test_issues_that_are_deleted_or_never_were_are_told(desk: redmine.Desk, system: TicketSystem) -> None:
    deleted = desk.new_ticket("Payment failed", "Order 1")
    desk.ask("DELETE", f"/issues/{deleted}.json")
    for ticket_id in (deleted, "999999", "1.json", "../users/current"):
        for ask in (system.ticket, lambda one: system.attach(one, note_for("1", "text"))):
            with pytest.raises(TicketNotFound):
                ask(ticket_id)


def test_a_wrong_key_is_refused_and_a_redmine_that_is_away_is_unavailable(desk: redmine.Desk) -> None:
    away = {"url": f"http://127.0.0.1:{services.free_port()}", "attempts": 1}
    with contextlib.closing(opened(desk, token="wrong")) as one, pytest.raises(Refused, match=r"\[tickets\.issues\]"):
        one.ticket("1")
    with contextlib.closing(opened(desk, **away)) as one, pytest.raises(SystemUnavailable):
        one.ticket("1")


# Writing


def test_one_private_note_that_changes_in_place(desk: redmine.Desk, system: TicketSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    attaches_once(system, desk, ticket_id, names=())
    told = system.attach(ticket_id, note_for(ticket_id, "third", files=files("snapshot.json"))).notes
    assert told == ("not attached, since whoever sees the issue sees its files: snapshot.json",)


def test_several_at_once_leave_one_note(desk: redmine.Desk, system: TicketSystem) -> None:
    attaches_at_once(system, desk, desk.new_ticket("Payment failed", "Order 1"))


def test_the_customer_sees_nothing_of_a_note(desk: redmine.Desk, system: TicketSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    note = note_for(ticket_id, f"secretive {HOSTILE}", fields={"fault_class": "interface_fault"})
    system.attach(ticket_id, note)
    assert desk.notes(ticket_id, who="customer") == []
    page = desk.page(ticket_id, who="customer")
    assert "Order 1" in page
    assert "secretive" not in page
    assert "interface_fault" not in page
    shown = desk.page(ticket_id, who="agent")
    assert "secretive &lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<script>alert(1)" not in shown


def test_an_account_whose_notes_would_be_public_writes_none(desk: redmine.Desk) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    told = "view_private_notes, set_notes_private; without these a note would be public"
    with contextlib.closing(opened(desk, "careless")) as one, pytest.raises(Refused, match=told):
        one.attach(ticket_id, note_for(ticket_id, "secretive"))
    assert desk.notes(ticket_id) == []


def test_a_colleague_who_quotes_our_note_keeps_what_they_wrote(desk: redmine.Desk, system: TicketSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    system.attach(ticket_id, note_for(ticket_id, "first"))
    desk.comment(ticket_id, own_only(desk.notes(ticket_id), ticket_id)[0]["body"])
    system.attach(ticket_id, note_for(ticket_id, "second"))
    ours, theirs = own_only(desk.notes(ticket_id), ticket_id)
    assert ("second" in ours["body"], "first" in theirs["body"]) == (True, True)


def test_fields_are_set_by_name_or_number_and_others_are_told(desk: redmine.Desk, system: TicketSystem) -> None:
    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    note = note_for(ticket_id, "first", fields={"fault_class": "interface_fault", "severity": "P1"})
    assert system.attach(ticket_id, note).notes == ()
    assert system.ticket(ticket_id).custom_fields == {"Fault class": "interface_fault"}
    with contextlib.closing(opened(desk, fields={"severity": "2", "fault_class": "Nothing"})) as other:
        told = other.attach(ticket_id, note)
    assert told.outcome == "unchanged"
    assert told.notes == (f"issue {ticket_id} has no custom field 'Nothing' that we may see",)
    assert system.ticket(ticket_id).custom_fields["Order number"] == "P1"


# Polling


def test_a_poll_tells_each_change_once_also_over_many_pages(
    desk: redmine.Desk, system: TicketSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tickets.redmine._PER_PAGE", 3)
    # The tickets of the other tests, which are just as young, are left out.
    monkeypatch.setattr("pipeline.tickets._polls.OVERLAP", timedelta(seconds=1))
    time.sleep(2)
    cursor = system.changed(None).cursor
    ids = [desk.new_ticket(f"Payment {number}", "Order 1") for number in range(5)]
    found, cursor = drained(system, cursor, 2)
    assert [event.ticket_id for event in found if event.ticket_id in ids] == ids
    time.sleep(1.1)
    desk.reply(ids[2], "more")
    events = system.changed(cursor).events
    assert [(event.ticket_id, event.ignored) for event in events] == [(ids[2], None)]
    # A note that changes leaves an issue's time alone; a new one does not.
    assert system.changed(system.changed(cursor).cursor).events == ()


def test_a_poll_ignores_what_is_nothing_but_our_own_note(desk: redmine.Desk, system: TicketSystem) -> None:
    from pipeline.tickets._polls import Cursor

    ticket_id = desk.new_ticket("Payment failed", "Order 1")
    time.sleep(1.1)
    system.attach(ticket_id, note_for(ticket_id, "first"))
    opened_at = system.ticket(ticket_id).created_at.timestamp()
    # As if the issue had been opened just before what a poll looks back over.
    cursor = Cursor(datetime.fromtimestamp(opened_at + 301, UTC)).text
    told = {event.ticket_id: event.ignored for event in system.changed(cursor).events}
    assert told[ticket_id] == "our own note"
