"""GitLab's issues, as GitLab documents deliveries and API."""

import pytest

from pipeline.tickets import gitlab
from pipeline.tickets.system import SystemBroken, Unverified
from tests.tickets_generic import NOW, delivery, note
from tests.tickets_generic_cases import CASES, WHSEC, gitlab_issue, gitlab_note, standard
from tests.tickets_polling import drained

CASE = CASES["gitlab"]
TOKEN = "an-older-secret-token"


def receive(payload, headers=None, **options):
    options = {"projects": ("shop/tickets",), "insecure": True, "user": "project_7_bot"} | options
    return gitlab.GitLabSystem("desk", gitlab.Options(**options)).receive(delivery(payload, headers))


def test_the_older_token_is_taken_where_it_is_configured():
    payload = gitlab_issue()
    assert receive(payload, {"X-Gitlab-Token": TOKEN}, secrets=("x", TOKEN)).ticket_id == "shop/tickets#12"
    for headers, secrets in (
        ({"X-Gitlab-Token": "wrong"}, (TOKEN,)),
        ({}, (TOKEN,)),
        # A signing token is a key, and is never taken in the open.
        ({"X-Gitlab-Token": WHSEC[0]}, WHSEC),
        ({"X-Gitlab-Token": WHSEC[0]}, (*WHSEC, TOKEN)),
    ):
        with pytest.raises(Unverified):
            receive(payload, headers, secrets=secrets)


def test_a_hook_can_be_moved_from_its_token_to_signatures():
    both = (*WHSEC, TOKEN)
    request = CASE.request()
    assert receive(gitlab_issue(), {"X-Gitlab-Token": TOKEN}, secrets=both).ignored is None
    system = gitlab.GitLabSystem("desk", gitlab.Options(projects=("shop/tickets",), secrets=both))
    assert system.receive(request).delivery_id == "msg_1"
    # A signature that is there has to hold, whatever else is sent.
    wrong = {**request.headers, "webhook-signature": "v1,AAAA", "x-gitlab-token": TOKEN}
    with pytest.raises(Unverified):
        system.receive(type(request)(wrong, request.body, NOW))


def test_the_delivery_id_is_the_same_when_gitlab_sends_again():
    assert receive(gitlab_issue(), {"Idempotency-Key": "i-1", "X-Gitlab-Event-UUID": "u-1"}).delivery_id == "i-1"
    # The event's id is shared by what one event brings about, so it tells no deliveries apart.
    assert receive(gitlab_issue(), {"X-Gitlab-Event-UUID": "u-1"}).delivery_id is None


def attributes(payload, **changed):
    return payload | {"object_attributes": payload["object_attributes"] | changed}


IGNORED = {
    "a push": ({"object_kind": "push", "project": {"path_with_namespace": "shop/tickets"}}, "push"),
    "a comment on a commit": (attributes(gitlab_note("ann", "x"), noteable_type="Commit") | {"issue": None}, "note"),
    "labels": (
        attributes(gitlab_issue(), action="update") | {"changes": {"labels": {}, "updated_at": {}}},
        "neither title",
    ),
    "a note of GitLab": (attributes(gitlab_note("ann", "changed title"), system=True), "itself"),
    "another project": (gitlab_issue() | {"project": {"path_with_namespace": "shop/code"}}, "none of the projects"),
}


def test_a_closed_issue_asks_for_no_snapshot_and_the_clock_is_to_know():
    event = receive(attributes(gitlab_issue(), action="close"))
    assert (event.routine, event.ignored) == (True, None)


@pytest.mark.parametrize(("payload", "why"), IGNORED.values(), ids=IGNORED)
def test_what_says_nothing_new_is_ignored_with_a_reason(payload, why):
    assert why in receive(payload).ignored


DUE = {
    "a changed description": attributes(gitlab_issue(), action="update") | {"changes": {"description": {}}},
    "reopened": attributes(gitlab_issue(), action="reopen"),
    "an incident": gitlab_issue() | {"object_kind": "work_item"},
    "a note of staff": gitlab_note("staff", "asked the acquirer"),
}


@pytest.mark.parametrize("payload", DUE.values(), ids=DUE)
def test_what_says_something_new_is_due(payload):
    event = receive(payload)
    assert (event.ignored, event.ticket_id, str(event.created_at)) == (
        None,
        "shop/tickets#12",
        "2026-11-23 10:00:00+00:00",
    )


def test_a_project_deep_in_groups_is_addressed_whole():
    with CASE.running(projects=("shop/desk/tickets",)) as (server, system):
        server.add()
        assert system.ticket("shop/desk/tickets#12").id == "shop/desk/tickets#12"
        assert {asked.path.split("/")[4] for asked in server.asked} == {"shop%2Fdesk%2Ftickets"}


def test_a_note_is_internal_and_stays_so_when_it_is_changed():
    with CASE.running() as (server, system):
        server.add()
        attached = system.attach(CASE.ticket_id, note())
        system.attach(CASE.ticket_id, note("other"))
        assert [one["internal"] for one in server.notes.values()] == [True]
        assert attached.url == f"{server.url}/shop/tickets/-/issues/12#note_{attached.note_id}"


def test_a_public_note_of_our_own_is_deleted_whoever_made_it_public():
    with CASE.running() as (server, system):
        server.add()
        server.say(12, server.me, note().bodies["markdown"], internal=False)
        with pytest.raises(SystemBroken, match="public"):
            system.attach(CASE.ticket_id, note())
        assert server.bodies() == []
        assert system.attach(CASE.ticket_id, note()).outcome == "created"


def test_a_ticket_has_the_authors_public_notes_only():
    with CASE.running() as (server, system):
        server.add(user="support-bot", service_desk_reply_to="ann@example.com")
        server.say(12, "support-bot", "my order is A-77")
        server.say(12, "support-bot", "changed the title", system=True)
        server.say(12, "support-bot", "staff only", internal=True)
        server.say(12, "staff", "we look at it")
        ticket = system.ticket(CASE.ticket_id)
    assert ticket.description.splitlines()[-1] == "my order is A-77"
    assert len(ticket.description.splitlines()) == 3
    assert ticket.customer_id == "ann@example.com"


def test_labels_are_set_where_only_members_see_them():
    with CASE.running(tags=True) as (server, system):
        server.add(labels=["bug", "fault-rate-limit"])
        for _ in range(2):
            system.attach(CASE.ticket_id, note())
        assert server.issues[12]["labels"] == ["bug", "fault-interface"]
        assert server.count()["PUT"] == 1


def test_labels_of_an_issue_that_everybody_sees_are_left_alone():
    with CASE.running(tags=True) as (server, system):
        server.visibility = "public"
        server.add(labels=["bug"])
        assert "not private" in system.attach(CASE.ticket_id, note()).notes[0]
        assert server.issues[12]["labels"] == ["bug"]
        server.issues[12]["confidential"] = True
        system.attach(CASE.ticket_id, note())
        assert "fault-interface" in server.issues[12]["labels"]


def test_a_poll_tells_each_change_once_and_of_each_project():
    with CASE.running(projects=("shop/tickets", "shop/more")) as (server, system):
        for number in range(1, 151):
            server.add(number)
        cursor = system.changed(None).cursor
        assert system.changed(cursor).events == ()
        for number in range(151, 301):
            server.add(number)
        told = [event.ticket_id for event in drained(system, cursor, 60)[0]]
        assert sorted(told) == sorted(f"shop/{name}#{n}" for n in range(151, 301) for name in ("tickets", "more"))


def test_a_project_that_is_new_in_the_configuration_is_told_of_from_now_on():
    with CASE.running() as (server, system):
        server.add(1)
        cursor = system.changed(None).cursor
    with CASE.running(projects=("shop/tickets", "shop/more")) as (server, system):
        server.add(1)
        found = system.changed(cursor)
        assert not [event for event in found.events if event.ticket_id.startswith("shop/more")]
        assert "shop/more" in found.cursor


def test_the_specifications_scheme_is_used_with_several_signatures():
    """A sender that changes its key signs with both, separated by a space."""
    request = CASE.request()
    old = standard(request.body, "whsec_" + "B" * 44, NOW)["webhook-signature"]
    headers = {**request.headers, "webhook-signature": f"{old} v1a,AAAA {request.headers['webhook-signature']}"}
    with CASE.running() as (_, system):
        assert system.receive(type(request)(headers, request.body, NOW)).ticket_id == CASE.ticket_id
