"""What systems remember of a ticket, as their vendors document it; the real ones that run here are tested beside their own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.tickets import zendesk
from pipeline.tickets._history import History
from pipeline.tickets._jira_changes import add_changelog
from pipeline.tickets.system import Remembers, Step
from tests.desk_freshdesk import FreshdeskDesk
from tests.desk_jira import JiraCloudDesk, JiraDataCenterDesk
from tests.desk_servicenow import ServiceNowDesk
from tests.desk_zendesk import CUSTOMER, STAFF, ZendeskDesk
from tests.tickets_desks import note, running
from tests.tickets_generic_cases import CASES


def told(steps: tuple[Step, ...]) -> list[tuple[Any, ...]]:
    assert [one.at for one in steps] == sorted(one.at for one in steps)
    return [(one.what, one.who, one.to) for one in steps]


def test_zendesk_tells_comments_and_audits() -> None:
    """The requester's comments, private ones and ours are no answers; a ticket that is solved and then closed is solved once."""
    with running(ZendeskDesk()) as desk:
        system = desk.system()
        assert isinstance(system, Remembers)
        desk.says("Is anybody there?", who="customer")
        desk.says("Looks like the channel", who="staff", private=True)
        desk.says("We are on it", who="staff")
        desk.audit(STAFF, 5, assignee_id=str(STAFF), priority="urgent")
        for number in range(150):
            desk.audit(STAFF, 6, tags=str(number))
        desk.audit(STAFF, 10, status="pending")
        desk.audit(CUSTOMER, 20, status="open")
        desk.audit(STAFF, 30, status="solved")
        desk.audit(-1, 40, status="closed")
        steps = system.history(desk.ticket_id)
        assert told(steps) == [
            ("opened", None, None),
            ("responded", str(STAFF), None),
            ("prioritised", str(STAFF), "urgent"),
            ("assigned", str(STAFF), str(STAFF)),
            ("waiting", str(STAFF), None),
            ("continued", str(CUSTOMER), None),
            ("resolved", str(STAFF), None),
        ]
        assert steps[-1].at == datetime(2026, 11, 26, 11, 30, tzinfo=UTC)
        system.close()


def test_a_history_of_which_not_all_is_read_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Zendesk's audits beyond the pages that are read, and what Jira leaves out of an issue's changelog."""
    monkeypatch.setattr(zendesk, "_MAX_PAGES", 2)
    with running(ZendeskDesk()) as desk:
        system = desk.system()
        for number in range(200):
            desk.audit(STAFF, 6, tags=str(number))
        system.history(desk.ticket_id)
        assert not caplog.text
        desk.audit(STAFF, 6, tags="one more")
        system.history(desk.ticket_id)
        assert "has more than 200 audits" in caplog.text
        system.close()
    whole = {"total": 1, "histories": [{"created": "2026-11-26T10:00:00Z"}]}
    caplog.clear()
    add_changelog(History(), whole, str, "Jira")
    assert not caplog.text
    add_changelog(History(), whole | {"total": 130}, str, "Jira")
    assert "129 earlier changes" in caplog.text


@pytest.mark.parametrize(
    ("what", "routine", "ignored"),
    [("comment_added", False, False), ("status_changed", True, False), ("tags_changed", False, True)],
)
def test_zendesks_changes_of_state_ask_for_no_snapshot(what: str, routine: bool, ignored: bool) -> None:
    with running(ZendeskDesk()) as desk:
        system = desk.system(secrets=(), insecure=True)
        event = system.receive(desk.delivery(None, what=what))
        assert (event.routine, bool(event.ignored)) == (routine, ignored)
        system.close()


@pytest.mark.parametrize("made", [JiraCloudDesk, JiraDataCenterDesk])
def test_jira_tells_comments_and_the_changelog(made: Any) -> None:
    """Which statuses end the work is Jira's own list; which of them wait is their name, or the configuration."""
    with running(made()) as desk:
        system = desk.system(states={"With the bank": "waiting"})
        assert isinstance(system, Remembers)
        desk.says("Is anybody there?", who="customer")
        desk.says("Looks like the channel", who="staff", private=True)
        system.attach(desk.ticket_id, note("first"))
        desk.says("We are on it", who="staff")
        staff = f"user-{'staff'}"
        desk.moved("staff", 5, "assignee", staff, "Staff")
        desk.moved("staff", 6, "status", "3", "With the bank")
        desk.moved("staff", 7, "status", "4", "Waiting for customer")
        desk.moved("customer", 8, "status", "1", "Open")
        desk.moved("staff", 9, "priority", "2", "P2")
        desk.moved("staff", 10, "status", "5", "Resolved")
        desk.moved("staff", 11, "status", "6", "Closed")
        desk.moved("customer", 12, "status", "1", "Open")
        assert told(system.history(desk.ticket_id))[1:] == [
            ("responded", staff, None),
            ("assigned", staff, staff),
            ("waiting", staff, None),
            ("continued", "user-customer", None),
            ("prioritised", staff, "P2"),
            ("resolved", staff, None),
            ("reopened", "user-customer", None),
        ]
        system.close()


def test_github_tells_members_comments_and_the_issues_events() -> None:
    """The author's comments, those of passers-by and of programs, and our note are no answers."""
    with CASES["github"].running() as (server, system):
        assert isinstance(system, Remembers)
        server.add()
        server.say(12, "ann", "Is anybody there?", author_association="OWNER")
        server.say(12, "passer", "me too", author_association="NONE")
        server.say(12, "ci[bot]", "built", author_association="MEMBER")["user"]["type"] = "Bot"
        server.happens("assigned", "lead", assignee={"login": "li"})
        server.happens("labeled", "li", label={"name": "vip"})
        server.say(12, "li", "We are on it", author_association="MEMBER")
        server.happens("closed", "li")
        server.happens("reopened", "ann")
        assert told(system.history("shop/tickets#12")) == [
            ("opened", "ann", None),
            ("assigned", "lead", "li"),
            ("responded", "li", None),
            ("resolved", "li", None),
            ("reopened", "ann", None),
        ]


def test_gitlab_tells_public_notes_and_the_issues_states() -> None:
    with CASES["gitlab"].running() as (server, system):
        assert isinstance(system, Remembers)
        server.add()
        server.say(12, "ann", "Is anybody there?")
        server.say(12, "li", "Looks like the channel", internal=True)
        server.say(12, "li", "assigned to @li", system=True)
        server.say(12, "li", "We are on it")
        server.turns("closed", "li")
        server.turns("reopened", "ann")
        assert told(system.history("shop/tickets#12")) == [
            ("opened", "ann", None),
            ("responded", "li", None),
            ("resolved", "li", None),
            ("reopened", "ann", None),
        ]


def test_a_system_of_ones_own_remembers_nothing_and_is_not_asked() -> None:
    with CASES["generic"].running() as (_, system):
        assert not isinstance(system, Remembers)


@pytest.mark.parametrize("made", [FreshdeskDesk, ServiceNowDesk])
def test_freshdesk_and_servicenow_tell_the_first_answer(made: Any) -> None:
    with running(made()) as desk:
        system = desk.system()
        assert isinstance(system, Remembers)
        desk.says("Is anybody there?", who="customer")
        desk.says("Looks like the channel", who="staff", private=True)
        system.attach(desk.ticket_id, note("first"))
        assert [one.what for one in system.history(desk.ticket_id)] == ["opened"]
        desk.says("We are on it", who="staff")
        desk.says("Which order?", who="staff")
        assert [one.what for one in system.history(desk.ticket_id)] == ["opened", "responded"]
        system.close()


def test_zammad_tells_the_first_answer() -> None:
    with CASES["zammad"].running() as (server, system):
        assert isinstance(system, Remembers)
        server.add()
        server.say(12, "ann@example.com", "the first article is the customer's")
        server.say(12, "li@shop.example", "Looks like the channel", internal=True, sender="Agent")
        server.say(12, "zammad", "an answer by itself", sender="System")
        server.say(12, "li@shop.example", "We are on it", sender="Agent")
        assert told(system.history("12"))[1:] == [("responded", "li@shop.example", None)]
