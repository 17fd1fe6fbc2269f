"""Forgejo's and Gitea's issues, where they differ from GitHub's."""

import pytest

from pipeline.tickets.system import SystemBroken, Unverified
from tests.tickets_generic import delivery, note
from tests.tickets_generic_cases import CASES, forge_comment, mac
from tests.tickets_polling import drained

CASE = CASES["forgejo"]


def test_gitea_signs_with_headers_of_its_own():
    body = CASE.request().body
    headers = {
        "X-Gitea-Signature": mac(CASE.secrets[0], body).hexdigest(),
        "X-Gitea-Event": "issues",
        "X-Gitea-Delivery": "g-1",
    }
    with CASE.running() as (_, system):
        event = system.receive(delivery(None, headers, raw=body))
        assert (event.ticket_id, event.kind, event.delivery_id, event.ignored) == (
            "shop/tickets#12",
            "issues.opened",
            "g-1",
            None,
        )
        with pytest.raises(Unverified):
            system.receive(
                delivery(None, headers | {"X-Gitea-Signature": "sha256=" + headers["X-Gitea-Signature"]}, raw=body)
            )


def test_a_comment_on_a_pull_request_is_ignored():
    with CASE.running() as (_, system):
        assert "pull request" in system.receive(CASE.request(forge_comment("ann", "x") | {"is_pull": True})).ignored


def test_only_a_private_repository_is_private():
    with CASE.running() as (server, system):
        server.add()
        server.private, server.visibility = False, "internal"
        with pytest.raises(SystemBroken, match="not private"):
            system.attach(CASE.ticket_id, note())
        assert not server.count()["POST"]


def test_a_server_with_shorter_pages_is_read_whole():
    with CASE.running() as (server, system):
        server.add()
        for _ in range(120):
            server.say(12, "ann", "and?")
        first = system.attach(CASE.ticket_id, note())
        assert system.attach(CASE.ticket_id, note("other")).note_id == first.note_id


def test_a_server_that_knows_no_pages_is_read_once():
    with CASE.running() as (server, system):
        server.add()
        for _ in range(70):
            server.say(12, "ann", "and?")
        server.largest = 10_000
        server.comments_of = lambda _: type(server).comments_of(server, _without_page(_))
        system.attach(CASE.ticket_id, note())
        assert system.attach(CASE.ticket_id, note()).outcome == "unchanged"


def _without_page(asked):
    asked.query = {"per_page": "10000"}
    return asked


def test_labels_are_made_and_set_by_their_ids():
    with CASE.running(tags=True) as (server, system):
        server.add(labels=[{"id": 70, "name": "fault-rate-limit"}])
        server.labels = {f"label {number}": 1000 + number for number in range(60)}
        for _ in range(2):
            system.attach(CASE.ticket_id, note())
        assert [label["name"] for label in server.issues[12]["labels"]] == ["fault-interface"]


def test_a_poll_orders_what_the_server_does_not():
    with CASE.running() as (server, system):
        server.add(1)
        cursor = system.changed(None).cursor
        for number in range(2, 132):
            server.add(number)
        told = [event.ticket_id for event in drained(system, cursor, 40)[0]]
        assert told == [f"shop/tickets#{number}" for number in range(2, 132)]
