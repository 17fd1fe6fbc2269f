"""ServiceNow, as ServiceNow documents it: journals that cannot be edited, queries and columns that are dropped without a word."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.errors import TicketNotFound
from pipeline.tickets.servicenow import Options
from pipeline.tickets.system import File, SystemBroken, Unverified
from tests.desk_servicenow import ID, ServiceNowDesk
from tests.tickets_desks import SECRET, incoming, note, running


@pytest.fixture
def desk() -> Iterator[ServiceNowDesk]:
    with running(ServiceNowDesk()) as one:
        yield one


@pytest.fixture
def system(desk: ServiceNowDesk) -> Iterator[Any]:
    opened = desk.system()
    yield opened
    opened.close()


def test_a_flow_may_send_a_bearer_token_or_a_password(system: Any) -> None:
    body = json.dumps({"sys_id": ID}).encode()
    basic = base64.b64encode(f"flow:{SECRET}".encode()).decode()
    for value in (f"Bearer {SECRET}", f"bearer  {SECRET}", f"Basic {basic}"):
        assert system.receive(incoming(body, {"authorization": value})).ticket_id == ID
    for value in (
        "",
        SECRET,
        "Bearer",
        "Bearer no",
        f"Basic {SECRET}",
        "Basic " + base64.b64encode(SECRET.encode()).decode(),
    ):
        with pytest.raises(Unverified):
            system.receive(incoming(body, {"authorization": value}))


def test_a_wrong_signature_is_not_saved_by_a_token(desk: ServiceNowDesk, system: Any) -> None:
    sent = desk.delivery("another-secret")
    with pytest.raises(Unverified):
        system.receive(incoming(sent.body, {**sent.headers, "authorization": f"Bearer {SECRET}"}))


def test_the_deliverys_id_is_the_record_and_its_count_of_changes(desk: ServiceNowDesk, system: Any) -> None:
    assert system.receive(desk.delivery(SECRET)).delivery_id == f"{ID}:3:update"
    gone = json.dumps({"sys_id": ID, "operation": "delete"}).encode()
    event = system.receive(desk.delivery(SECRET, body=gone))
    assert (event.delivery_id, event.ignored) == (None, "the ticket was deleted")


def test_a_ticket_is_found_by_its_number(system: Any) -> None:
    assert system.ticket("INC0010001").id == ID
    with pytest.raises(TicketNotFound):
        system.ticket("INC0010002")


def test_a_note_shows_no_html_of_a_log_line(desk: ServiceNowDesk, system: Any) -> None:
    """What stands between [code] and [/code] in a journal is shown as HTML."""
    system.attach(ID, note("[code]<img src=x onerror=alert(1)>[/CODE] and [Code]"))
    text = desk.notes()[0][1]
    assert "[code]" not in text.lower()
    assert "[/code]" not in text.lower()
    assert "(code)<img" in text


def test_our_note_is_found_where_the_journals_table_is_hidden(desk: ServiceNowDesk, system: Any) -> None:
    """Access rules hide rows without a word; the record's own column shows them all."""
    desk.journal_hidden = True
    assert system.attach(ID, note()).outcome == "created"
    assert system.attach(ID, note()).outcome == "unchanged"
    assert system.attach(ID, note("other words")).outcome == "kept"
    assert len(desk.notes()) == 1


def test_a_note_that_was_taken_and_is_not_there_is_an_error(desk: ServiceNowDesk, system: Any) -> None:
    desk.locked = {"work_notes"}
    with pytest.raises(SystemBroken, match="needs to read and write work_notes of incident"):
        system.attach(ID, note())


def test_a_column_that_may_not_be_written_is_told(desk: ServiceNowDesk, system: Any) -> None:
    desk.locked = {"u_fault_class"}
    told = system.attach(ID, note())
    assert told.outcome == "created"
    assert any(one.startswith("u_fault_class was not set") for one in told.notes)


def test_files_go_only_where_that_is_wanted(desk: ServiceNowDesk) -> None:
    """A record's caller may see its attachments."""
    one = desk.system(attach_files=False)
    told = one.attach(ID, note(files=(File("S-1.html", "text/html", b"x"),)))
    one.close()
    assert not desk.attachments
    assert any("attach_files" in text for text in told.notes)


def test_a_query_that_was_dropped_is_noticed(desk: ServiceNowDesk) -> None:
    """All rows of the table came: had that been believed, every ticket there ever was would be worked."""
    desk.add_tickets([datetime(2020, 1, 1, tzinfo=UTC)])
    one = desk.system(query="nonsense=1")
    with pytest.raises(SystemBroken, match="did not understand the query"):
        one.changed(one.changed(None).cursor)
    one.close()


def test_a_table_is_a_name() -> None:
    with pytest.raises(ValueError, match="table"):
        Options(url="https://x.example", table="incident/../sys_user")


def test_html_in_a_description_is_read_as_text(desk: ServiceNowDesk, system: Any) -> None:
    desk.record["description"] = "<p>Order M1</p><p>paid&nbsp;twice</p>"
    desk.says("[code]<p>it is <b>M20261126</b></p>[/code]", who="customer")
    text = system.ticket(ID).description
    assert text.startswith("Order M1\npaid twice")
    assert "it is M20261126" in text
    assert "<" not in text
