"""Zammad's tickets, as its API, its controllers and its webhooks have them."""

import base64
from datetime import timedelta

import pytest

from pipeline.tickets import zammad
from pipeline.tickets.system import Malformed, SystemBroken
from tests.tickets_generic import MARKER, Answer, delivery, note, report
from tests.tickets_generic_cases import CASES, zammad_article, zammad_ticket
from tests.tickets_polling import drained

CASE = CASES["zammad"]
LATER = timedelta(minutes=11)
OTHER = {"fault_class": "configuration_fault", "fault_subclass": "key", "severity": "P2"}


def receive(payload, **options):
    options = {"url": "http://127.0.0.1:9", "insecure": True, "user": "snapshot@shop.example"} | options
    return zammad.ZammadSystem("desk", zammad.Options(**options)).receive(
        delivery(payload, {"X-Zammad-Delivery": "job-1"})
    )


def test_a_delivery_names_ticket_actor_and_job():
    event = receive(zammad_ticket())
    assert (event.ticket_id, event.kind, event.actor, event.delivery_id, event.ignored) == (
        "12",
        "article",
        "ann",
        "job-1",
        None,
    )
    assert receive(zammad_ticket() | {"article": None}).kind == "ticket"


def state(name):
    sent = zammad_ticket()
    return sent | {"ticket": sent["ticket"] | {"state": name}}


IGNORED = {
    "merged": (state("merged"), "merged"),
    "removed, as an object": (state({"name": "removed"}), "removed"),
    "written by Zammad": (zammad_ticket() | {"article": {"sender": "System", "body": "auto reply"}}, "itself"),
    "our account by its address": (
        zammad_article("x", "y") | {"article": {"created_by": {"email": "Snapshot@shop.example"}}},
        "our own",
    ),
}


@pytest.mark.parametrize(("payload", "why"), IGNORED.values(), ids=IGNORED)
def test_what_says_nothing_new_is_ignored_with_a_reason(payload, why):
    assert why in receive(payload).ignored


def test_a_payload_that_was_made_over_is_told():
    with pytest.raises(Malformed, match="as Zammad has it"):
        receive({"text": "a message for a chat"})


def test_a_ticket_is_text_with_its_own_fields_and_the_customers_later_articles():
    with CASE.running() as (server, system):
        server.add(
            body="Bezahlt &amp; weg<br>Bestellung <b>A-1</b>", order_no="A-1", app_version="", shop={"value": "eu"}
        )
        server.say(12, "ann@example.com", "<div>A-77, sorry</div><script>alert(1)</script>")
        server.say(12, "agent", "<p>we look</p>", sender="Agent")
        server.say(12, "ann@example.com", "staff saw this", internal=True)
        server.say(12, "ann@example.com", "plain <b>text</b>\r\nhere", content_type="text/plain")
        system.attach(CASE.ticket_id, note())
        ticket = system.ticket(CASE.ticket_id)
    assert ticket.description == "Bezahlt & weg\nBestellung A-1\n\nA-77, sorry\n\nplain <b>text</b>\nhere"
    assert ticket.custom_fields == {
        "number": "660012", "group": "Users", "state": "open", "priority": "2 normal", "order_no": "A-1", "shop": {"value": "eu"},
    }  # fmt: skip


def test_a_note_is_an_internal_article_with_its_files_and_its_conclusion_as_subject():
    with CASE.running() as (server, system):
        server.add()
        system.attach(CASE.ticket_id, note(files=(report(data=b'{"a": 1}'),)))
        article = list(server.articles.values())[-1]
        assert (article["internal"], article["type"], article["content_type"]) == (True, "note", "text/html")
        assert article["subject"] == "Problem snapshot / 问题快照 · interface_fault · timeout · P1"
        assert MARKER in article["body"]
        assert base64.b64decode(article["attachments"][0]["data"]) == b'{"a": 1}'


def test_a_note_that_may_still_be_deleted_is_replaced():
    with CASE.running() as (server, system):
        server.add()
        first = system.attach(CASE.ticket_id, note())
        second = system.attach(CASE.ticket_id, note("other"))
        assert (second.outcome, len(server.bodies())) == ("updated", 2)
        assert first.note_id != second.note_id


def test_a_note_that_can_be_changed_no_more_is_kept_while_it_concludes_the_same():
    with CASE.running(fields={"snapshot_id": "snapshot", "severity": "severity"}, tags=True) as (server, system):
        server.add()
        first = system.attach(CASE.ticket_id, note())
        server.clock += LATER
        for _ in range(2):
            again = system.attach(CASE.ticket_id, note("the same, one order more"))
            assert (again.outcome, again.note_id) == ("kept", first.note_id)
        assert len(server.bodies()) == 2
        assert server.tickets[12]["severity"] == "P1"
        assert server.tags == {"12": ["fault-interface"]}


def test_another_conclusion_after_that_is_a_further_note_that_names_the_one_it_replaces():
    with CASE.running() as (server, system):
        server.add()
        first = system.attach(CASE.ticket_id, note())
        server.clock += LATER
        outcomes = [system.attach(CASE.ticket_id, note("wrong key", fields=OTHER)) for _ in range(3)]
        assert [one.outcome for one in outcomes] == ["updated", "unchanged", "unchanged"]
        assert len(server.bodies()) == 3
        assert f"(replaces note / 取代备注 {first.note_id})" in server.articles[int(outcomes[0].note_id)]["subject"]
        # And once more, when that one can be changed no more either.
        server.clock += LATER
        assert system.attach(CASE.ticket_id, note("wrong key, seen twice", fields=OTHER)).outcome == "kept"
        third = system.attach(CASE.ticket_id, note())
        assert third.outcome == "updated"
        assert f"(replaces note / 取代备注 {outcomes[0].note_id})" in server.articles[int(third.note_id)]["subject"]


def test_fields_and_tags_are_set_once_and_stale_tags_go():
    with CASE.running(fields={"fault_class": "fault", "severity": "severity"}, tags=True) as (server, system):
        server.add(severity="P1")
        server.tags["12"] = ["vip", "fault-rate-limit"]
        for _ in range(2):
            system.attach(CASE.ticket_id, note())
        assert server.tickets[12]["fault"] == "interface_fault"
        assert server.tags["12"] == ["vip", "fault-interface"]
        assert [asked.body for asked in server.asked if asked.method == "PUT"] == [{"fault": "interface_fault"}]


def test_a_customers_account_writes_nothing():
    with CASE.running() as (server, system):
        server.add()
        server.agent = False
        with pytest.raises(SystemBroken, match="role Customer"):
            system.attach(CASE.ticket_id, note())
        assert not server.count()["POST"]


def test_a_public_article_that_cannot_be_deleted_is_told_to_a_person():
    with CASE.running() as (server, system):
        server.add()
        # An agent by its role, and none in the ticket's group.
        server.user = lambda _: Answer(200, server.me)
        server.agent, server.deletable = False, timedelta(0)
        with pytest.raises(SystemBroken, match="by hand"):
            system.attach(CASE.ticket_id, note())


def test_a_note_that_is_too_long_is_cut_and_goes_whole_as_a_file():
    lines = "".join(f"<p>line {number} 付款</p>" for number in range(100_000))
    with CASE.running() as (server, system):
        server.add()
        long = note(bodies={"html": f"<div>{lines}</div><p><small>{MARKER}</small></p>"}, files=(report(),))
        attached = system.attach(CASE.ticket_id, long)
        article = server.articles[int(attached.note_id)]
        assert len(article["body"]) <= 1_500_000
        assert len(article["attachments"]) == 1
        assert article["body"].count("<div>") == article["body"].count("</div>") == 1
        assert "1500000" in attached.notes[0]
        assert system.attach(CASE.ticket_id, long).outcome == "unchanged"


def test_a_poll_tells_each_change_once():
    with CASE.running() as (server, system):
        for number in range(1, 121):
            server.add(number)
        cursor = system.changed(None).cursor
        assert system.changed(cursor).events == ()
        for number in range(121, 401):
            server.add(number)
        server.tickets[200]["state"] = "merged"
        told = [int(event.ticket_id) for event in drained(system, cursor, 90)[0]]
        assert sorted(told) == [number for number in range(121, 401) if number != 200]


def test_a_server_that_cannot_search_by_time_is_told_and_not_taken_for_a_quiet_one():
    with CASE.running() as (server, system):
        assert system.changed(system.changed(None).cursor).events == ()
        server.add(1)
        cursor = system.changed(None).cursor
        server.elasticsearch = False
        for asked_with in (None, cursor):
            with pytest.raises(SystemBroken, match="Elasticsearch"):
                system.changed(asked_with)
