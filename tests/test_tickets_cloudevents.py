"""CloudEvents, sent by the specification's own SDK, and the handshake of its webhook binding."""

import threading
import time
from datetime import UTC, datetime

import httpx
import msgspec
import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from pipeline.service.app import Parts, make_app
from pipeline.service.database import opened, prepare
from pipeline.service.durable import Enqueuer
from pipeline.service.ledger import Ledger
from pipeline.service.server import Server
from pipeline.settings import load_settings
from pipeline.tickets import cloudevents
from pipeline.tickets._mapping import EventPaths
from pipeline.tickets.generic import Signature
from pipeline.tickets.system import Incoming, Malformed, Unverified
from tests.services import free_port
from tests.tickets_generic import NOW, TITLE, delivery
from tests.tickets_generic_cases import CASES, OWN, mac, own_ticket

CASE = CASES["cloudevents"]
PATHS = EventPaths(
    id="data.data.ticket.key",
    title="data.data.ticket.summary",
    kind="type",
    actor="data.data.by",
    due="type == 'desk.ticket'",
    created_at="time",
)


def system(**options):
    return CASE.make("http://127.0.0.1:9", **{"secrets": ("s",), "event": PATHS} | options)


def event(**attributes):
    given = {
        "id": "e-1",
        "source": "/desk/付款",
        "type": "desk.ticket",
        "time": datetime(2026, 11, 23, 10, tzinfo=UTC),
        "shop": "eu 1",
    }
    return CloudEvent(attributes=given | {"datacontenttype": "application/json"} | attributes, data=own_ticket())


def sent(message, token="s", **headers):
    named = {name.lower(): value for name, value in message.headers.items()}
    return Incoming({**named, "authorization": f"Bearer {token}", **headers}, message.body, NOW)


@pytest.mark.parametrize("write", [to_binary_event, to_structured_event])
def test_both_modes_of_the_specifications_sender_say_the_same(write):
    found = system().receive(sent(write(event())))
    assert (found.ticket_id, found.kind, found.actor, found.text) == ("T-12", "desk.ticket", "ann", TITLE)
    assert (found.delivery_id, str(found.created_at)) == ("/desk/付款 e-1", "2026-11-23 10:00:00+00:00")


def test_attributes_and_extensions_are_the_same_document_in_both_modes():
    one, other = (cloudevents.read(sent(write(event()))) for write in (to_binary_event, to_structured_event))
    assert {name: one[name] for name in ("id", "source", "type", "shop", "data")} == {
        name: other[name] for name in ("id", "source", "type", "shop", "data")
    }


def test_an_event_of_another_kind_is_ignored():
    assert "not true" in system().receive(sent(to_binary_event(event(type="desk.user")))).ignored


WRONG = {
    "a batch": ({"content-type": "application/cloudevents-batch+json"}, b"[]", "one event a request"),
    "another format": ({"content-type": "application/cloudevents+avro"}, b"x", "JSON"),
    "no attributes": ({}, b"{}", "missing"),
    "an older version": ({"ce-id": "1", "ce-source": "/", "ce-type": "t", "ce-specversion": "0.3"}, b"{}", "0.3"),
    "structured without an id": ({"content-type": "application/cloudevents+json"}, b'{"specversion": "1.0"}', "id, source, type"),
    "an id that is an object": ({"content-type": "application/cloudevents+json"}, b'{"id": {}, "source": "/", "type": "t", "specversion": "1.0"}', "id"),
    "no data": ({"ce-id": "1", "ce-source": "/", "ce-type": "t", "ce-specversion": "1.0"}, b"", "ticket id"),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "body", "why"), WRONG.values(), ids=WRONG)
def test_what_is_no_event_is_malformed(headers, body, why):
    with pytest.raises(Malformed, match=why):
        system().receive(delivery(None, {**headers, "authorization": "Bearer s"}, raw=body))


def test_a_header_cannot_stand_in_for_the_data():
    request = sent(to_binary_event(event()))
    forged = Incoming(
        {**request.headers, "ce-data": '{"ticket": {"key": "T-99"}}', "content-type": "text/plain"}, request.body, NOW
    )
    assert "data" not in cloudevents.read(forged)


def test_a_token_may_come_in_the_address_as_the_specification_asks():
    request = sent(to_binary_event(event()))
    bare = {name: value for name, value in request.headers.items() if name != "authorization"}
    assert system().receive(Incoming(bare, request.body, NOW, query={"access_token": "s"})).ticket_id == "T-12"
    for headers, query in (
        (bare, {"access_token": "x"}),
        (bare, {}),
        ({**bare, "authorization": "Bearer x"}, {"access_token": "s"}),
    ):
        with pytest.raises(Unverified):
            system().receive(Incoming(headers, request.body, NOW, query=query))


def test_a_signature_is_taken_where_it_is_configured():
    signed = system(signature=Signature(header="X-Sig", prefix="sha256="))
    message = to_binary_event(event())
    good = sent(message, **{"x-sig": "sha256=" + mac("s", message.body).hexdigest()})
    assert signed.receive(good).ticket_id == "T-12"
    with pytest.raises(Unverified):
        signed.receive(Incoming({**good.headers, "x-sig": ""}, good.body, NOW, query={"access_token": "s"}))


def test_origins_that_are_named_bind_the_deliveries_too():
    only = system(origins=("desk.example.com",))
    message = to_binary_event(event())
    assert only.receive(sent(message, **{"webhook-request-origin": "Desk.example.com"})).ticket_id == "T-12"
    for headers in ({}, {"webhook-request-origin": "other.example.com"}):
        with pytest.raises(Unverified, match="origin"):
            only.receive(sent(message, **headers))


HANDSHAKES = {
    "asks for a rate, none is set": ({"webhook-request-origin": "a.example", "webhook-request-rate": "120"}, ("*",), None, ("a.example", "120")),
    "asks for none, none is set": ({"webhook-request-origin": "a.example"}, ("*",), None, ("a.example", "*")),
    "asks for more than is set": ({"webhook-request-origin": "a.example", "webhook-request-rate": "900"}, ("a.example",), 60, ("a.example", "60")),
    "asks for less than is set": ({"webhook-request-origin": "a.example", "webhook-request-rate": "9"}, ("a.example",), 60, ("a.example", "9")),
    "a rate that is no number": ({"webhook-request-origin": "a.example", "webhook-request-rate": "-1"}, ("*",), None, ("a.example", "*")),
    "an origin that is not let in": ({"webhook-request-origin": "b.example"}, ("a.example",), None, None),
    "no origin": ({}, ("*",), None, None),
    "a header in the origin": ({"webhook-request-origin": "a\r\nSet-Cookie: x"}, ("*",), None, None),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "origins", "rate", "wanted"), HANDSHAKES.values(), ids=HANDSHAKES)
def test_the_handshake_lets_in_who_may_come(headers, origins, rate, wanted):
    answer = cloudevents.handshake(headers, origins, rate)
    assert answer.pop("Allow") == "POST, OPTIONS"
    assert answer == (
        {} if wanted is None else {"WebHook-Allowed-Origin": wanted[0], "WebHook-Allowed-Rate": wanted[1]}
    )
    assert (
        cloudevents.CloudEventsSystem("desk", cloudevents.Options(**OWN, url="http://x", origins=origins, rate=rate))
        .handshake(headers)
        .keys()
        >= answer.keys()
    )


@given(origin=st.text(), rate=st.text())
def test_no_handshake_answers_with_more_than_header_values(origin, rate):
    answer = cloudevents.handshake({"webhook-request-origin": origin, "webhook-request-rate": rate}, ("*",), None)
    assert all(value.isascii() and value.isprintable() for value in answer.values())


def test_the_service_answers_the_handshake_and_refuses_what_it_did_not_let_in(tmp_path):
    """Through the application itself, as a bus would ask."""
    address = f"sqlite:///{tmp_path}/service.sqlite"
    engine = opened(address)
    prepare(engine, address)
    options = msgspec.structs.replace(load_settings(env={}).service, database=address)
    enqueuer = Enqueuer(engine)
    ledger = Ledger(engine, enqueuer.put)
    app = make_app(Parts({"desk": system(origins=("desk.example.com",), rate=60)}, ledger, options, lambda *_: None))
    server = Server(app, "127.0.0.1", port := free_port())
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.02)
        url = f"http://127.0.0.1:{port}/hooks/desk"
        asked = httpx.options(
            url, headers={"WebHook-Request-Origin": "desk.example.com", "WebHook-Request-Rate": "120"}
        )
        assert (asked.headers["webhook-allowed-origin"], asked.headers["webhook-allowed-rate"]) == (
            "desk.example.com",
            "60",
        )
        assert (
            "webhook-allowed-origin"
            not in httpx.options(url, headers={"WebHook-Request-Origin": "other.example.com"}).headers
        )
        message = to_binary_event(event())
        named = {
            name: value for name, value in message.headers.items() if name.startswith("ce-") or name == "content-type"
        }
        right = {**named, "authorization": "Bearer s", "webhook-request-origin": "desk.example.com"}
        answers = [
            httpx.post(url, content=message.body, headers=headers).status_code
            for headers in (
                right,
                right,
                {**right, "authorization": "Bearer x"},
                {**right, "webhook-request-origin": "other.example.com"},
            )
        ]
        # Taken, known already, and refused twice.
        assert answers == [202, 200, 401, 401]
    finally:
        server.should_exit = True
        thread.join(20)
        enqueuer.close()
        engine.dispose()
