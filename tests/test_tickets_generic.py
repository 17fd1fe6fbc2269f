"""Systems that the configuration describes: paths, signatures and requests, as a table of `problem-snapshot.toml` has them."""

import base64
import time
import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tickets import TicketOptions, open_system
from pipeline.tickets._mapping import TicketPaths, as_ticket
from pipeline.tickets._requests import address, filled
from pipeline.tickets.generic import Signature
from pipeline.tickets.system import Malformed, SystemBroken, Unverified
from tests.tickets_generic import MARKER, NOW, TEXT, TITLE, delivery, note, opened
from tests.tickets_generic_cases import CASES, OWN, mac, own_comment, own_ticket
from tests.tickets_generic_servers import Own

CASE = CASES["generic"]

TABLE = """
kind = "generic"
url = "{url}/v2"
token = "t"
authorization = "Token"
secrets = ["first-secret"]
user = "snapshot"
form = "html"

[signature]
header = "X-Desk-Signature"
algorithm = "sha512"
encoding = "base64"

[event]
id = "data.ticket.key"
title = "data.ticket.summary"
description = "data.ticket.text"
created_at = "data.ticket.opened"
kind = "type"
actor = "data.by"
due = "type != 'ticket.closed'"
values.kind = {{ "ticket.created" = "created" }}

[read]
path = "/tickets/{{ticket_id}}"
[read.ticket]
id = "data.key"
title = "data.summary"
description = "data.text"
created_at = "data.opened"
language = "'zh'"
customer_id = "data.reporter.id"
custom_fields = {{ order_no = "data.order.no" }}
values.order_no = {{ "A-1" = "order A-1" }}

[write]
path = "/tickets/{{ticket_id}}/comments"
body = {{ text = "{{note}}", internal = true, by = "{{fault_class}}/{{severity}}" }}
private = "internal"
[notes]
path = "/tickets/{{ticket_id}}/comments"
items = "items"
body = "text"
author = "by"
private = "internal"
[change]
method = "PATCH"
path = "/tickets/{{ticket_id}}/comments/{{note_id}}"
body = {{ text = "{{note}}" }}
private = "internal"
"""


def table(url="http://127.0.0.1:9", **changed):
    return tomllib.loads(TABLE.format(url=url)) | changed


def system_of(tree):
    return open_system("desk", msgspec.convert(tree, TicketOptions))


def test_a_system_is_described_by_a_table_alone():
    with opened(Own(), lambda url: system_of(table(url))) as (server, system):
        server.add()
        signed = mac("first-secret", CASE.request().body, "sha512").digest()
        headers = {"x-desk-signature": base64.b64encode(signed).decode()}
        event = system.receive(delivery(None, headers, raw=CASE.request().body))
        assert (event.ticket_id, event.kind, event.actor, event.ignored, event.ticket) == (
            "T-12",
            "created",
            "ann",
            None,
            None,
        )
        ticket = system.ticket("T-12")
        assert (ticket.title, ticket.language, ticket.customer_id) == (TITLE, "zh", "ann")
        assert ticket.custom_fields == {"order_no": "order A-1"}
        assert system.attach("T-12", note()).outcome == "created"
        sent = next(asked for asked in server.asked if asked.method == "POST")
        assert sent.body == {"text": note().bodies["html"], "internal": True, "by": "interface_fault/P1"}
        assert sent.headers["authorization"] == "Token t"


def without(*names):
    return {name: value for name, value in table().items() if name not in names}


WRONG = {
    "notes is missing": without("notes", "change"),
    "write.private is missing": table(
        write={"path": "/t/{ticket_id}", "body": {}}, notes=table()["notes"] | {"private": ""}
    ),
    "of no use without write": without("write"),
    "url is missing": table() | {"url": ""},
    "without read the delivery is the ticket": without("read", "write", "notes", "change") | {"event": {"id": "id"}},
    "no JMESPath": table(event=table()["event"] | {"title": "data.["}),
    "stands for nothing": table(write=table()["write"] | {"body": {"text": "{nothing}"}}),
    "has no {ticket_id}": table(read=table()["read"] | {"path": "/tickets"}),
    "signature is missing": without("signature"),
    "user is missing": table(user=None),
    "notes.private is missing": table(notes={"path": "/t/{ticket_id}"}),
    "is none of text": table(event=table()["event"] | {"format": "rtf"}),
    "no {body}": table(signature={"header": "X-A", "signed": "{timestamp}", "timestamp_header": "X-T"}),
    "go together": table(signature={"header": "X-A", "timestamp_header": "X-T"}),
    "no header's name": table(signature={"header": "X A"}),
    "unknown field": table(signature={"header": "X-A", "algoritm": "sha1"}),
    "Invalid enum value": table(signature={"header": "X-A", "algorithm": "md5"}),
    "name {fault_class}": table(tags=True),
}


@pytest.mark.parametrize(("why", "tree"), WRONG.items(), ids=WRONG)
def test_a_table_that_cannot_work_says_why(why, tree):
    with pytest.raises(msgspec.ValidationError) as told:
        msgspec.convert(tree, TicketOptions)
    assert why in str(told.value)


def request(signature, body=b'{"a": 1}', secret="s", at=NOW, **headers):
    """A delivery signed as `signature` says, by the words of its docstring."""
    named = {"timestamp": signature.timestamp_header.lower(), "id": signature.id_header.lower()}
    data = signature.signed.encode().replace(b"{body}", body)
    for part, header in named.items():
        data = data.replace(b"{%s}" % part.encode(), headers.get(header.replace("-", "_"), "").encode())
    digest = mac(secret, data, signature.algorithm)
    written = digest.hexdigest() if signature.encoding == "hex" else base64.b64encode(digest.digest()).decode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return delivery(None, {signature.header: signature.prefix + written, **sent}, at, body)


SCHEMES = {
    "bare hex": (Signature(header="X-Sig"), {}),
    "sha1 with a prefix": (Signature(header="X-Hub-Signature", algorithm="sha1", prefix="sha1="), {}),
    "base64 of sha512": (Signature(header="X-Sig", algorithm="sha512", encoding="base64"), {}),
    "seconds before the body": (
        Signature(header="X-Sig", timestamp_header="X-T", signed="{timestamp}{body}", encoding="base64"),
        {"x_t": str(int(NOW.timestamp()))},
    ),
    "milliseconds, an id and dots": (
        Signature(header="X-Sig", timestamp_header="X-T", id_header="X-Id", signed="v0.{id}.{timestamp}.{body}"),
        {"x_t": str(int(NOW.timestamp() * 1000)), "x_id": "d-7"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("signature", "headers"), SCHEMES.values(), ids=SCHEMES)
def test_each_scheme_verifies_what_it_covers_and_nothing_else(signature, headers):
    good = request(signature, **headers)
    signature.verify(good, ("other", "s"))
    bad = [
        (good, ("other",)),
        (type(good)(good.headers, good.body + b" ", NOW), ("s",)),
        (type(good)({**good.headers, signature.header.lower(): "0" * 40}, good.body, NOW), ("s",)),
        (type(good)({}, good.body, NOW), ("s",)),
    ]
    for name, value in headers.items():
        changed = {**good.headers, name.replace("_", "-"): f"1{value[1:]}1"}
        bad += [(type(good)(changed, good.body, NOW), ("s",))]
    for wrong, secrets in bad:
        with pytest.raises(Unverified):
            signature.verify(wrong, secrets)


def test_a_time_that_is_not_one_is_refused():
    signature = SCHEMES["seconds before the body"][0]
    for stamp in ("soon", "9" * 40, "-1", "", "١٢٣", "2026-13-01T00:00:00Z"):
        with pytest.raises(Unverified):
            signature.verify(request(signature, x_t=stamp), ("s",))


def test_a_token_is_compared_whole():
    signature = Signature(header="Authorization", algorithm="token", prefix="Bearer ")
    for sent_as, holds in (
        ("Bearer s", True),
        ("Bearer sx", False),
        ("Bearer ", False),
        ("s", False),
        ("", False),
        ("Bearer 付款", False),
    ):
        sent = delivery({}, {"authorization": sent_as})
        if holds:
            signature.verify(sent, ("x", "s"))
        else:
            with pytest.raises(Unverified):
                signature.verify(sent, ("x", "s"))


def test_a_delivery_is_the_ticket_where_it_cannot_be_read_again():
    options = dict.fromkeys(("read", "write", "notes", "change", "delete"))
    system = CASE.make("", secrets=CASE.secrets, **options)
    event = system.receive(CASE.request())
    assert (event.ticket.id, event.ticket.title, event.ticket.description) == ("T-12", TITLE, TEXT)
    with pytest.raises(SystemBroken, match="has no read"):
        system.ticket("T-12")
    assert system.attach("T-12", note()).outcome == "kept"
    assert "webhook only" in system.attach("T-12", note()).notes[0]


def test_what_is_not_due_is_ignored_with_the_rule():
    with CASE.running() as (_, system):
        assert "due" not in (event := system.receive(CASE.request(own_ticket() | {"type": "ticket.closed"}))).kind
        assert "is not true of it" in event.ignored


def test_without_a_list_of_tickets_there_is_no_poll():
    with CASE.running() as (_, system), pytest.raises(SystemBroken, match="polled"):
        system.changed(None)


def test_a_system_that_gives_another_ticket_than_was_asked_for_is_not_believed():
    with CASE.running() as (server, system):
        server.add("T-12", key="T-13")
        with pytest.raises(SystemBroken, match="T-13"):
            system.ticket("T-12")


def test_an_id_leads_nowhere_but_to_its_ticket():
    with CASE.running() as (server, system):
        server.add(name := "A/../B?c=1#d")
        assert system.ticket(name).id == name
        assert server.asked[-1].path == "/v2/tickets/A%2F..%2FB%3Fc%3D1%23d"


def test_a_field_that_takes_the_note_is_set_once():
    """A PUT that sets a field needs no list of notes: what was set last is known by its hash."""
    write = OWN["write"].__class__(
        method="PUT", path="/tickets/{ticket_id}/snapshot", body={"text": "{note}"}, private="visible_to=='staff'"
    )
    with CASE.running(write=write, notes=None, change=None, delete=None) as (server, system):
        first = system.attach("T-12", note())
        assert (first.outcome, server.fields["T-12"]["text"]) == ("created", note().bodies["text"])
        assert system.attach("T-12", note(known=first.note_id)).outcome == "unchanged"
        assert len(server.asked) == 1
        assert system.attach("T-12", note("other", known=first.note_id)).outcome == "updated"


def test_a_field_that_others_read_is_told():
    write = OWN["write"].__class__(
        method="PUT", path="/tickets/{ticket_id}/snapshot", body={"text": "{note}"}, private="visible_to=='nobody'"
    )
    with (
        CASE.running(write=write, notes=None, change=None, delete=None) as (_, system),
        pytest.raises(SystemBroken, match="read it"),
    ):
        system.attach("T-12", note())


def test_a_note_that_cannot_be_changed_is_replaced_or_kept():
    with CASE.running(change=None) as (server, system):
        server.add()
        system.attach("T-12", note())
        assert system.attach("T-12", note("other")).outcome == "updated"
        assert system.attach("T-12", note("other")).outcome == "unchanged"
        assert len(server.bodies()) == 1
    with CASE.running(change=None, delete=None) as (server, system):
        server.add()
        system.attach("T-12", note())
        assert system.attach("T-12", note("other")).outcome == "kept"
        assert server.bodies() == [note().bodies["text"]]


def test_a_public_note_that_cannot_be_deleted_is_told_to_a_person():
    with CASE.running(delete=None) as (server, system):
        server.add()
        server.internal = False
        with pytest.raises(SystemBroken, match="by hand"):
            system.attach("T-12", note())


def test_without_authors_a_note_is_ours_only_where_staff_alone_sees_it():
    """Everybody can write our marker: a customer's comment with it is not ours to change or delete."""
    notes = msgspec.structs.replace(OWN["notes"], author="")
    with CASE.running(notes=notes) as (server, system):
        server.add()
        server.say("T-12", "eve", f"look: {MARKER}")
        for said, outcome in (("one", "created"), ("one", "unchanged"), ("two", "updated")):
            assert system.attach("T-12", note(said)).outcome == outcome
        assert server.bodies() == [f"look: {MARKER}", note("two").bodies["text"]]


def test_an_answer_that_says_nothing_is_looked_up():
    with CASE.running() as (server, system):
        server.add()
        comment = server.comment
        server.comment = lambda asked: type(comment(asked))(201, {})
        write = system._options.write.__class__(path=OWN["write"].path, body=OWN["write"].body)
        system._options = msgspec.structs.replace(system._options, write=write)
        assert system.attach("T-12", note()).outcome == "created"
        assert len(server.bodies()) == 1


def test_times_texts_and_lists_come_in_many_shapes():
    paths = TicketPaths(
        id="id", title="title", description="texts", created_at="at", comments="more[*].body", format="html"
    )
    document = {
        "id": 7,
        "title": 404,
        "texts": ["<p>a</p>", None, "b"],
        "at": 1763892000000,
        "more": [{"body": "<b>c</b>"}, {}],
    }
    ticket = as_ticket(document, paths, "generic")
    assert (ticket.id, ticket.title, ticket.description) == ("7", "404", "a\nb\n\nc")
    assert str(ticket.created_at) == "2025-11-23 10:00:00+00:00"
    for wrong in ({"id": "..", "title": "t", "at": 1}, {"id": "a\nb", "title": "t", "at": "2026-01-01"}, {"id": "x", "at": "2026-01-01"},
                  {"id": "x", "title": "t", "at": "yesterday"}, {"id": "x", "title": "t", "at": 1e300}, {"id": "a" * 201, "title": "t"}, []):  # fmt: skip
        with pytest.raises(Malformed):
            as_ticket(wrong, paths, "generic")


def test_a_path_that_does_not_fit_is_malformed_and_no_crash():
    paths = TicketPaths(id="id", title="join(', ', names)", created_at="at")
    with pytest.raises(Malformed, match="does not fit"):
        as_ticket({"id": "1", "names": 7, "at": "2026-01-01"}, paths, "generic")


def test_a_hostile_document_takes_time_by_its_size_only():
    """Eight times the document is about eight times the work: what is quadratic would take 64 times as long."""
    paths = TicketPaths(
        id="id", title="title", description="d", created_at="at", comments="c[?by != 'x'].body", format="html"
    )

    def seconds(size):
        tags = "<" * size + "<!--" * size + "<p" * size + "&amp;&#x;&" * size
        document = {"id": "1", "title": "t", "at": "2026-01-01", "d": tags, "c": [{"by": "y", "body": "<!-"}] * size}
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            as_ticket(document, paths, "generic")
            best = min(best, time.process_time() - start)
        return best

    assert seconds(16_000) < 30 * max(seconds(2_000), 0.002)


@given(value=st.text(), other=st.text())
def test_no_value_leaves_its_place_in_an_address(value, other):
    path = address("/t/{ticket_id}/n/{note_id}", {"ticket_id": value, "note_id": other})
    assert path.count("/") == 4
    assert not set("?#\\ \r\n") & set(path)


@given(value=st.text())
def test_a_value_is_put_in_once_and_as_it_is(value):
    body = {"a": ["{note}", {"b": "x{marker}"}], "c": 7}
    assert filled(body, {"note": value, "marker": "{note}"}) == {"a": [value, {"b": "x{note}"}], "c": 7}


def test_the_case_of_our_own_comment_is_known_by_its_author():
    with CASE.running() as (_, system):
        assert system.receive(CASE.request(own_comment("Snapshot", "x"))).ignored == (
            "our own change: it was made by snapshot"
        )
        assert system.receive(CASE.request(own_comment("ann", f"you wrote {MARKER}"))).ignored is None


def test_an_equal_body_that_was_signed_at_another_time_is_another_delivery():
    """A system that tells only which ticket changed says the same each time."""
    signature = Signature(header="X-Sig", timestamp_header="X-T", signed="{timestamp}{body}")
    options = msgspec.convert(table(signature=msgspec.to_builtins(signature), secrets=["s"]), TicketOptions)
    one = open_system("desk", options)
    body = b'{"ticket": {"id": "7"}, "id": "7", "data": {"ticket": {"key": "7", "id": "7"}}}'
    ids = [
        one.receive(request(signature, body, x_t=str(int(NOW.timestamp()) + later))).delivery_id for later in (0, 0, 60)
    ]
    assert ids[0] == ids[1] != ids[2]
