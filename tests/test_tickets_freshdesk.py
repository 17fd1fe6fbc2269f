"""Freshdesk, as Freshdesk documents it: a token in a header, private notes that can be changed, tags written as a whole."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pipeline.errors import TicketNotFound
from pipeline.tickets.system import SystemBroken, Unverified
from tests.desk_freshdesk import FreshdeskDesk
from tests.tickets_desks import SECRET, Answer, incoming, note, running


@pytest.fixture
def desk() -> Iterator[FreshdeskDesk]:
    with running(FreshdeskDesk()) as one:
        yield one


@pytest.fixture
def system(desk: FreshdeskDesk) -> Iterator[Any]:
    opened = desk.system()
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "sent",
    [
        {"freshdesk_webhook": {"ticket_id": 20, "ticket_subject": "x", "triggered_event": "{ticket_action:created}"}},
        {"freshdesk_webhook": {"ticket_id": "20"}},
        {"ticket_id": "20", "event": "created"},
        {"id": 20},
    ],
)
def test_both_kinds_of_body_are_read(desk: FreshdeskDesk, system: Any, sent: Any) -> None:
    event = system.receive(desk.delivery(SECRET, body=json.dumps(sent).encode()))
    assert (event.ticket_id, event.ignored) == ("20", None)


def test_the_token_may_come_as_a_password(system: Any) -> None:
    basic = base64.b64encode(f"hook:{SECRET}".encode()).decode()
    body = b'{"ticket_id": 20}'
    assert system.receive(incoming(body, {"authorization": f"Basic {basic}"})).ticket_id == "20"
    with pytest.raises(Unverified):
        system.receive(incoming(body, {"authorization": "Basic eDp5"}))


def test_a_note_says_that_it_is_private(desk: FreshdeskDesk, system: Any) -> None:
    system.attach("20", note())
    assert next(call.json for call in desk.calls if call.method == "POST")["private"] is True


def test_a_note_that_somebody_made_public_is_taken_back(desk: FreshdeskDesk, system: Any) -> None:
    system.attach("20", note())
    desk.talk[0]["private"] = False
    with pytest.raises(SystemBroken, match="as public; it was deleted at once"):
        system.attach("20", note())
    assert desk.notes() == []
    assert system.attach("20", note()).outcome == "created"


def test_an_agent_who_quotes_our_note_in_public_keeps_those_words(desk: FreshdeskDesk, system: Any) -> None:
    system.attach("20", note())
    desk.says(f"You may see: {desk.talk[0]['body']}", who="staff")
    assert system.attach("20", note("other words")).outcome == "updated"
    assert len(desk.talk) == 2


def test_a_public_note_that_cannot_be_deleted_is_said_loudly(desk: FreshdeskDesk, system: Any) -> None:
    desk.makes_public = True
    desk.instead = [("DELETE", "conversations", Answer({"code": "access_denied"}, 403))]
    with pytest.raises(SystemBroken, match=r"could not be deleted .* delete it now"):
        system.attach("20", note())


def test_other_tags_of_the_ticket_stay(desk: FreshdeskDesk, system: Any) -> None:
    system.attach("20", note())
    assert desk.ticket["tags"] == ["vip", "fault-interface"]


@pytest.mark.parametrize(("flag", "said"), [("deleted", "deleted"), ("spam", "spam")])
def test_a_ticket_that_is_gone_is_not_found(desk: FreshdeskDesk, system: Any, flag: str, said: str) -> None:
    desk.ticket[flag] = True
    with pytest.raises(TicketNotFound, match=said):
        system.ticket("20")


def test_fields_whose_labels_may_not_be_read_keep_their_names(desk: FreshdeskDesk, system: Any) -> None:
    desk.instead = [("GET", "ticket_fields", Answer({"code": "access_denied"}, 403))]
    assert dict(system.ticket("20").custom_fields) == {"cf_phone": "13800138000"}


def test_each_call_of_a_rule_is_a_delivery_of_its_own(desk: FreshdeskDesk, system: Any) -> None:
    """The body is the same for each change of a ticket: by its hash the second change would be the first one, sent again."""
    sent = desk.delivery(SECRET, body=b'{"ticket_id": "20", "event": "update"}')
    first, later = (system.receive(replace(sent, received_at=sent.received_at + timedelta(seconds=n))) for n in (0, 60))
    assert first.ticket_id == later.ticket_id
    assert first.delivery_id
    assert first.delivery_id != later.delivery_id
