"""Zendesk, as Zendesk documents it: events, comments that cannot be edited, safe updates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.tickets.signatures import based
from pipeline.tickets.system import Malformed, SystemUnavailable, Unverified
from pipeline.tickets.zendesk import Options
from tests.desk_zendesk import STAFF, ZendeskDesk
from tests.tickets_desks import SECRET, Answer, incoming, note, running

# The secret that Zendesk's own test deliveries are signed with: https://developer.zendesk.com/documentation/webhooks/verifying
# It publishes no signature made with it, so the vectors here are our own reading of "base64(HMACSHA256(TIMESTAMP + BODY))".
STATIC = "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ=="


@pytest.fixture
def desk() -> Iterator[ZendeskDesk]:
    with running(ZendeskDesk()) as one:
        yield one


@pytest.fixture
def system(desk: ZendeskDesk) -> Iterator[Any]:
    opened = desk.system()
    yield opened
    opened.close()


def test_the_secret_is_used_as_it_is_written_and_not_decoded(desk: ZendeskDesk) -> None:
    """A signing secret looks like base64; Zendesk's example hands it to HMAC as text."""
    stamp, body = "2026-11-26T10:05:00Z", b'{"ticket_id": "35436"}'
    headers = {
        "x-zendesk-webhook-signature-timestamp": stamp,
        "x-zendesk-webhook-signature": based(STATIC, stamp.encode() + body),
    }
    assert desk.system(secrets=(STATIC,)).receive(incoming(body, headers)).ticket_id == "35436"


@pytest.mark.parametrize(
    ("what", "ignored"),
    [
        ("created", None),
        ("comment_added", None),
        ("subject_changed", None),
        ("custom_field_changed", None),
        ("undeleted", None),
        ("tags_changed", "ticket.tags_changed says nothing new about the fault"),
        ("soft_deleted", "the ticket was deleted"),
        ("permanently_deleted", "the ticket was deleted"),
        ("marked_as_spam", "the ticket was marked as spam"),
        ("merged", "the ticket was merged into another"),
    ],
)
def test_an_event_is_a_reason_for_a_snapshot_or_says_why_not(desk: ZendeskDesk, what: str, ignored: str | None) -> None:
    event = desk.system().receive(desk.delivery(SECRET, what=what))
    assert event.ignored == ignored
    assert (event.kind, event.delivery_id) == (f"ticket.{what}", "01HNXXXX-CTEXAMPLE")
    assert event.text == "payment failed\norder M1"
    assert event.created_at == datetime(2026, 11, 26, 10, 2, 31, tzinfo=UTC)


def test_an_agents_comment_that_holds_our_marker_is_our_note(desk: ZendeskDesk) -> None:
    """Also where `user` is not configured."""
    sent = desk.delivery(SECRET, said="... problem-snapshot:0123456789abcdef 1a2b3c4d 5e6f7a8b")
    assert desk.system(user=None).receive(sent).ignored == "our own note"


def test_a_trigger_sends_ids_alone(desk: ZendeskDesk) -> None:
    """The body of docs/tickets/zendesk.md; the invocation is the delivery's id."""
    body = json.dumps({"ticket_id": "35436", "actor_id": str(STAFF), "created_at": "2026-11-26T10:02:31Z"}).encode()
    event = desk.system().receive(desk.delivery(SECRET, body=body))
    assert (event.ticket_id, event.kind, event.delivery_id) == ("35436", "trigger", "inv-1")
    assert (event.actor, event.ignored) == (str(STAFF), None)


def test_an_event_of_another_domain_is_malformed(desk: ZendeskDesk) -> None:
    body = b'{"type": "zen:event-type:user.created", "detail": {"id": "1"}}'
    with pytest.raises(Malformed, match="no event of a ticket"):
        desk.system().receive(desk.delivery(SECRET, body=body))


def test_a_signed_time_that_is_none_is_refused(desk: ZendeskDesk) -> None:
    headers = {
        "x-zendesk-webhook-signature-timestamp": "soon",
        "x-zendesk-webhook-signature": based(SECRET, b"soon{}"),
    }
    with pytest.raises(Unverified, match="soon"):
        desk.system().receive(incoming(b"{}", headers))


def test_a_note_holds_no_placeholder_that_zendesk_would_fill_in(desk: ZendeskDesk, system: Any) -> None:
    """An agent's comment is a Liquid template; log lines and customers may hold anything."""
    system.attach("35436", note("{{ticket.requester.email}} {% if true %} ok"))
    sent = next(call.json for call in desk.calls if call.method == "PUT" and call.path.endswith("35436.json"))
    html = sent["ticket"]["comment"]["html_body"]
    assert "{" not in html
    assert "&#123;&#123;ticket.requester.email}}" in html
    assert sent["ticket"]["comment"]["public"] is False


def test_the_note_goes_only_onto_the_ticket_as_it_was_read(desk: ZendeskDesk, system: Any) -> None:
    """A conflict is read again; one that lasts is a matter for later."""
    conflict = Answer({"error": "UpdateConflict"}, 409)
    desk.instead = [("PUT", r"35436\.json$", conflict)]
    assert system.attach("35436", note()).outcome == "created"
    desk.__init__()  # type: ignore[misc]
    desk.instead = [("PUT", r"35436\.json$", conflict)] * 3
    with pytest.raises(SystemUnavailable, match="changed each time"):
        system.attach("35436", note())


def test_a_closed_ticket_keeps_what_it_has(desk: ZendeskDesk, system: Any) -> None:
    system.attach("35436", note())
    desk.ticket["status"] = "closed"
    before = len(desk.calls)
    kept = system.attach("35436", note(fault="param_config"))
    assert (kept.outcome, kept.notes) == ("kept", ("the ticket is closed and takes no change",))
    assert {call.method for call in desk.calls[before:]} == {"GET"}


def test_a_deleted_ticket_in_the_export_is_left_out_with_its_reason(desk: ZendeskDesk, system: Any) -> None:
    cursor = system.changed(None).cursor
    desk.add_tickets([datetime.now(UTC)])
    desk.export[0]["status"] = "deleted"
    told = system.changed(cursor)
    assert [event.ignored for event in told.events] == ["the ticket was deleted"]
    assert told.more is False


def test_a_token_alone_is_an_oauth_token(desk: ZendeskDesk) -> None:
    one = desk.system(username=None)
    one.ticket("35436")
    one.close()
    assert {call.headers["authorization"] for call in desk.calls} == {"Bearer t0ken"}


def test_fields_whose_titles_may_not_be_read_keep_their_ids(desk: ZendeskDesk, system: Any) -> None:
    desk.instead = [("GET", "ticket_fields", Answer({"error": "Forbidden"}, 403))]
    assert dict(system.ticket("35436").custom_fields) == {"360002": "13800138000"}


def test_a_field_is_named_by_its_number() -> None:
    with pytest.raises(ValueError, match="fault_class"):
        Options(url="https://x.example", fields={"fault_class": "Fault"})
