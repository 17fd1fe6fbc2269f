"""GitHub's issues, as GitHub documents deliveries and API."""

import json
import re
from urllib.parse import urlencode

import msgspec
import pytest

from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets import TicketOptions, github
from pipeline.tickets._shorten import CUT
from pipeline.tickets.system import Malformed, SystemBroken, SystemUnavailable
from tests.tickets_generic import MARKER, Answer, delivery, note, opened
from tests.tickets_generic_cases import CASES, forge_comment, forge_issue
from tests.tickets_generic_servers import Forge
from tests.tickets_polling import drained

CASE = CASES["github"]


def running(**options):
    return CASE.running(**options)


def receive(payload, kind="issues", **options):
    options = {"repositories": ("shop/tickets",), "insecure": True, "user": "snapshot-bot"} | options
    return github.GitHubSystem("desk", github.Options(**options)).receive(delivery(payload, {"X-GitHub-Event": kind}))


def test_the_vendors_own_example_of_a_signature_holds():
    """https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries, testing the webhook payload validation."""
    given = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    options = github.Options(repositories=("shop/tickets",), secrets=("It's a Secret to Everybody",))
    request = delivery(None, {"X-Hub-Signature-256": given}, raw=b"Hello, World!")
    # It is verified, and only then found to be no JSON.
    with pytest.raises(Malformed):
        github.GitHubSystem("desk", options).receive(request)


def test_a_hook_that_sends_forms_is_understood():
    body = urlencode({"payload": json.dumps(forge_issue())}).encode()
    request = CASE.request(
        raw=body, **{"content-type": "application/x-www-form-urlencoded", "x-github-event": "issues"}
    )
    with running() as (_, system):
        event = system.receive(request)
    assert (event.ticket_id, event.kind, event.delivery_id, event.ignored) == (
        "shop/tickets#12",
        "issues.opened",
        "d-1",
        None,
    )


IGNORED = {
    "a ping": ("ping", {"zen": "Keep it simple", "hook_id": 1}, "ping"),
    "a push": ("push", {"ref": "main"}, "push"),
    "a label": ("issues", forge_issue() | {"action": "labeled"}, "nothing new"),
    "a deleted issue": ("issues", forge_issue() | {"action": "deleted"}, "nothing new"),
    "a transferred issue": ("issues", forge_issue() | {"action": "transferred"}, "nothing new"),
    "a deleted comment": ("issue_comment", forge_comment("ann", "x") | {"action": "deleted"}, "nothing new"),
    "a pull request": (
        "issues",
        forge_issue() | {"issue": {"number": 3, "pull_request": {"url": "x"}}},
        "pull request",
    ),
    "another repository": (
        "issues",
        forge_issue() | {"repository": {"full_name": "shop/code"}},
        "none of the repositories",
    ),
}


@pytest.mark.parametrize(("kind", "payload", "why"), IGNORED.values(), ids=IGNORED)
def test_what_says_nothing_new_is_ignored_with_a_reason(kind, payload, why):
    assert why in receive(payload, kind).ignored


@pytest.mark.parametrize("action", ["opened", "edited", "reopened"])
def test_what_the_customer_files_or_edits_is_due(action):
    event = receive(forge_issue() | {"action": action})
    assert (event.ignored, str(event.created_at)) == (None, "2026-11-23 10:00:00+00:00")


def test_a_ticket_has_the_customers_later_comments_and_nobody_elses():
    with running() as (server, system):
        server.add(
            body="<!-- what happened? -->\r\n### Order number\r\n\r\nA-1\r\n\r\n### Device\r\n\r\n_No response_",
            labels=[{"name": "bug"}],
        )
        server.say(12, "ann", "it was order A-77, <!-- hidden -->sorry")
        server.say(12, "staff", "we look at it")
        system.attach(CASE.ticket_id, note())
        ticket = system.ticket(CASE.ticket_id)
    assert ticket.description.endswith("it was order A-77, sorry")
    assert not [word for word in ("look at", "Snapshot", "happened", "hidden") if word in ticket.description]
    assert ticket.custom_fields["Order number"] == "A-1"
    assert "Device" not in ticket.custom_fields
    assert ticket.custom_fields["labels"] == ["bug"]


def test_more_comments_than_a_ticket_takes_are_left_out_and_told():
    with running() as (server, system):
        server.add()
        for number in range(120):
            server.say(12, "ann", f"{number:03} {'x' * 996}")
        description = system.ticket(CASE.ticket_id).description
    kept = len(re.findall(r"(?m)^\d{3} x", description))
    # The newest stay, since they answer what was asked.
    assert f"[{120 - kept} more comments of the customer were left out]" in description
    assert description.split()[-2] == "119"
    assert 40 <= kept <= 50


def test_a_pull_request_is_no_ticket():
    with running() as (server, system):
        server.add(pull_request={"url": "x"})
        with pytest.raises(TicketNotFound, match="pull request"):
            system.ticket(CASE.ticket_id)


@pytest.mark.parametrize("seen", [(False, "public"), (False, "private"), (True, "public")])
def test_nothing_is_written_in_a_repository_that_is_public(seen):
    with running() as (server, system):
        server.add()
        server.private, server.visibility = seen
        with pytest.raises(SystemBroken, match="not private"):
            system.attach(CASE.ticket_id, note())
        assert not server.count()["POST"]


def test_there_is_no_option_to_write_in_public():
    for table in ({"public_ok": True}, {"public": True}):
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            msgspec.convert({"kind": "github", "repositories": ["a/b"], **table}, TicketOptions)


def test_a_repository_of_a_company_is_private_enough():
    with running() as (server, system):
        server.add()
        server.visibility = "internal"
        assert system.attach(CASE.ticket_id, note()).outcome == "created"


def test_a_repository_that_becomes_public_while_we_write_keeps_no_note():
    with running() as (server, system):
        server.add()

        def publish(asked):
            if asked.method == "POST":
                server.private = False
            else:
                server.meanwhile = publish

        server.meanwhile = publish
        with pytest.raises(SystemBroken, match="not private"):
            system.attach(CASE.ticket_id, note())
        assert server.bodies() == []


def test_a_note_among_hundreds_of_comments_is_found():
    with running() as (server, system):
        server.add()
        for _ in range(130):
            server.say(12, "ann", "and?")
        first = system.attach(CASE.ticket_id, note())
        for _ in range(130):
            server.say(12, "ann", "and?")
        assert system.attach(CASE.ticket_id, note("other")).note_id == first.note_id


def test_a_long_note_is_cut_at_a_line_with_its_blocks_closed_and_stays_the_same():
    lines = "\n".join(f"line {number} 付款失败" for number in range(10_000))
    body = f"head\n\n<details>\n\n```\n{lines}\n```\n\n</details>\n<!-- {MARKER} -->"
    long = note(bodies={"markdown": body})
    with running() as (server, system):
        server.add()
        first = system.attach(CASE.ticket_id, long)
        written = server.bodies()[0]
        assert len(written) <= 65_536
        assert MARKER in written
        assert written.count("```") == 2
        assert written.count("<details>") == written.count("</details>") == 1
        assert CUT in written
        assert [told for told in first.notes if "65536" in told]
        assert system.attach(CASE.ticket_id, long).outcome == "unchanged"


def test_labels_follow_the_conclusion_and_leave_the_others():
    with running(tags=True) as (server, system):
        server.add(labels=[{"id": 1, "name": "bug"}, {"id": 2, "name": "fault-rate-limit"}])
        for _ in range(2):
            system.attach(CASE.ticket_id, note())
        assert [label["name"] for label in server.issues[12]["labels"]] == ["bug", "fault-interface"]


def test_an_account_whose_name_cannot_be_asked_for_has_to_be_named():
    with opened(Forge(), lambda url: CASE.make(url, user=None)) as (server, system):
        server.add()
        assert system.attach(CASE.ticket_id, note()).outcome == "created"
    with opened(Forge(), lambda url: CASE.make(url, user=None)) as (server, system):
        server.add()
        server.user = lambda _: Answer(403, {"message": "Resource not accessible by integration"})
        with pytest.raises(Refused, match="app-name"):
            system.attach(CASE.ticket_id, note())


@pytest.mark.parametrize(
    "headers", [{"retry-after": "90"}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "99999999999"}]
)
def test_too_many_requests_are_waited_for_and_no_missing_right(headers):
    with running() as (server, system):
        server.failures = [Answer(403, {"message": "You have exceeded a secondary rate limit"}, headers)]
        with pytest.raises(SystemUnavailable) as told:
            system.ticket(CASE.ticket_id)
        assert told.value.after >= 90
        server.failures = [Answer(403, {"message": "Must have admin rights"})]
        with pytest.raises(Refused):
            system.ticket(CASE.ticket_id)


def test_a_poll_tells_each_change_once():
    with running() as (server, system):
        for number in range(1, 4):
            server.add(number)
        start = system.changed(None)
        assert start.events == ()
        assert system.changed(start.cursor).events == ()
        server.say(2, "ann", "and?")
        server.add(4)
        server.add(5, pull_request={"url": "x"})
        found = system.changed(start.cursor)
        assert [(event.ticket_id, event.kind) for event in found.events] == [
            ("shop/tickets#2", "changed"),
            ("shop/tickets#4", "created"),
        ]
        assert system.changed(found.cursor).events == ()


def test_a_poll_loses_nothing_at_the_borders_of_pages_nor_among_equal_times():
    with running() as (server, system):
        server.add(1)
        cursor = system.changed(None).cursor
        for number in range(2, 502):
            server.add(number)
        # A third of them at one moment, more than a page holds.
        for number in range(100, 260):
            server.issues[number]["updated_at"] = server.issues[100]["updated_at"]
        told = [event.ticket_id for event in drained(system, cursor, 70)[0]]
        assert sorted(told) == sorted(f"shop/tickets#{number}" for number in range(2, 502))


def test_a_poll_loses_nothing_when_a_ticket_changes_between_two_pages():
    with running() as (server, system):
        server.add(1)
        cursor = system.changed(None).cursor
        server.tick(3600)
        for number in range(2, 252):
            server.add(number)
            server.tick(30)
        pages = []

        def touch(asked):
            pages.append(asked)
            if len(pages) == 2:
                # Moves to the end of the list, and all others forward by one.
                server.say(2, "ann", "and?")
            server.meanwhile = touch

        server.meanwhile = touch
        told = {event.ticket_id for event in system.changed(cursor, 1000).events}
        assert told == {f"shop/tickets#{number}" for number in range(2, 252)}


def test_options_say_what_is_wrong_with_them():
    wrong = {
        "none is named": {},
        "owner/name": {"repositories": ["shop"]},
        "no fields": {"repositories": ["a/b"], "fields": {"fault_class": "x"}},
        "empty": {"repositories": ["a/b"], "secrets": [" "]},
    }
    for why, table in wrong.items():
        with pytest.raises(msgspec.ValidationError, match=why):
            msgspec.convert({"kind": "github", **table}, TicketOptions)
