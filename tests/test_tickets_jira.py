"""Jira Cloud and Data Center, as Atlassian documents them; and Data Center's REST once more against jira820, a mock server."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.tickets import open_system
from pipeline.tickets.jira_dc import Options as DataCenterOptions
from pipeline.tickets.system import File, SystemBroken, Unverified
from tests.conftest import missing
from tests.desk_jira import FIELD, JiraCloudDesk, JiraDataCenterDesk, JiraDesk
from tests.tickets_desks import MARKER, SECRET, incoming, note, running


@pytest.fixture(params=[JiraCloudDesk, JiraDataCenterDesk], ids=["cloud", "data_center"])
def desk(request: pytest.FixtureRequest) -> Iterator[Any]:
    with running(request.param()) as one:
        yield one


@pytest.fixture
def system(desk: JiraDesk) -> Iterator[Any]:
    opened = desk.system()
    yield opened
    opened.close()


def test_the_published_example_is_verified(desk: JiraDesk) -> None:
    """https://developer.atlassian.com/cloud/jira/platform/webhooks/#secure-admin-webhooks: it passes, and only then is no JSON."""
    published = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    one = desk.system(secrets=("It's a Secret to Everybody",))
    one._verify(incoming(b"Hello World!", {"x-hub-signature": published}))
    for wrong in (published.removeprefix("sha256="), published.replace("sha256", "sha1"), published.upper()):
        with pytest.raises(Unverified):
            one._verify(incoming(b"Hello World!", {"x-hub-signature": wrong}))


def test_an_unsigned_hook_of_data_center_has_its_secret_in_the_address() -> None:
    desk = JiraDataCenterDesk()
    desk.url = "http://127.0.0.1:9"
    body = desk.payload()
    one = desk.system()
    assert one.receive(incoming(body, {}, secret=SECRET)).ticket_id == "PAY-123"
    assert one.receive(incoming(body, {"authorization": f"Bearer {SECRET}"})).ticket_id == "PAY-123"
    basic = base64.b64encode(f"jira:{SECRET}".encode()).decode()
    assert one.receive(incoming(body, {"authorization": f"Basic {basic}"})).ticket_id == "PAY-123"
    for headers, query in (
        ({}, {"secret": "no"}),
        ({"authorization": "Basic !!"}, {}),
        ({"x-hub-signature": "sha256=0"}, {"secret": SECRET}),
    ):
        with pytest.raises(Unverified):
            one.receive(incoming(body, headers, **query))


def test_a_secret_in_the_address_is_none_of_cloud() -> None:
    desk = JiraCloudDesk()
    desk.url = "http://127.0.0.1:9"
    with pytest.raises(Unverified):
        desk.system().receive(incoming(desk.payload(), {}, secret=SECRET))


@pytest.mark.parametrize(
    ("what", "fields", "ignored"),
    [
        ("jira:issue_created", None, None),
        ("comment_updated", None, None),
        ("jira:issue_updated", ["summary"], None),
        ("jira:issue_updated", ["status", "Order number"], None),
        ("jira:issue_updated", ["timespent", "Sprint"], "only Sprint, timespent changed"),
        ("jira:issue_deleted", None, "the ticket was deleted"),
        ("comment_deleted", None, "a comment was deleted"),
        ("worklog_updated", None, "worklog_updated says nothing new about the fault"),
    ],
)
def test_an_event_is_a_reason_for_a_snapshot_or_says_why_not(
    desk: JiraDesk, what: str, fields: list[str] | None, ignored: str | None
) -> None:
    more: dict[str, Any] = {} if what.startswith("comment") else {"comment": None, "user": {desk.who: "user-customer"}}
    if fields:
        more["changelog"] = {"items": [{"field": name} for name in fields]}
    event = desk.system().receive(desk.delivery(SECRET, what=what, more=more))
    assert event.ignored == ignored
    assert (event.kind, event.delivery_id, event.actor) == (what, "delivery-1", "user-customer")


def test_a_comment_says_twice_that_it_is_internal_and_ours(desk: JiraDesk, system: Any) -> None:
    system.attach("PAY-123", note())
    sent = next(call.json for call in desk.calls if call.method == "POST")
    held = {one["key"]: one["value"] for one in sent["properties"]}
    assert held["sd.public.comment"] == {"internal": True}
    assert held["problem-snapshot"]["marker"] == MARKER
    assert "visibility" not in sent


def test_in_a_service_project_no_file_is_attached_and_that_is_told(desk: JiraDesk, system: Any) -> None:
    told = system.attach("PAY-123", note(files=(File("S-1.html", "text/html", b"x"),)))
    assert not desk.attachments
    assert any("its portal may show them" in one for one in told.notes)


def test_elsewhere_who_sees_the_note_is_restricted_or_told(desk: JiraDesk, system: Any) -> None:
    desk.service = False
    assert any("everybody who sees the issue" in one for one in system.attach("PAY-123", note()).notes)
    desk.comments.clear()
    one = desk.system(role="Service Desk Team")
    assert one.attach("PAY-123", note()).notes == ()
    one.close()
    assert desk.comments[0]["visibility"] == {"type": "role", "value": "Service Desk Team"}


def test_the_files_of_a_changed_note_take_the_place_of_the_earlier_ones(desk: JiraDesk, system: Any) -> None:
    desk.service = False
    desk.attachments.append({"id": "7", "filename": "screenshot.png"})
    system.attach("PAY-123", note(files=(File("S-1.html", "text/html", b"x"),)))
    system.attach("PAY-123", note("other words", snapshot_id="S-2", files=(File("S-2.html", "text/html", b"y"),)))
    assert [one["filename"] for one in desk.attachments] == ["screenshot.png", "S-2.html"]


def test_a_note_that_somebody_made_public_is_internal_again_or_gone(desk: JiraDesk, system: Any) -> None:
    system.attach("PAY-123", note())
    desk.comments[0]["properties"] = [
        one for one in desk.comments[0]["properties"] if one["key"] != "sd.public.comment"
    ]
    system.attach("PAY-123", note())
    assert desk.notes()[0][0]


def test_of_two_notes_of_ours_the_older_stays(desk: JiraDesk, system: Any) -> None:
    system.attach("PAY-123", note())
    twin = desk.comments[0]
    desk.add_comment("us", twin["body"], twin["properties"])
    system.attach("PAY-123", note())
    assert [one["id"] for one in desk.comments] == [twin["id"]]


def test_a_field_that_is_not_on_the_screen_is_told(desk: JiraDesk) -> None:
    one = desk.system(fields={"fault_class": FIELD, "severity": "customfield_666"})
    told = one.attach("PAY-123", note())
    one.close()
    assert "customfield_666 is not on the edit screen of PAY-123 and was not set" in told.notes
    assert desk.fault() == "interface_fault"


def test_a_search_is_narrowed_by_the_configured_jql(desk: JiraDesk) -> None:
    one = desk.system(jql="project = PAY OR project = SHOP")
    one.changed(one.changed(None).cursor)
    one.close()
    asked = [call.json["jql"] if call.method == "POST" else call.query["jql"] for call in desk.calls]
    assert asked[0].startswith("(project = PAY OR project = SHOP) AND updated >= ")


def test_a_document_that_is_none_is_said_so() -> None:
    with running(JiraCloudDesk()) as desk:
        one = desk.system()
        with pytest.raises(SystemBroken, match="no document"):
            one.attach("PAY-123", note(bodies={"adf": "[]"}))
        one.close()


# jira820 is a mock server by its own description: it keeps issues and comments, and no comment's properties.


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def jira820(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of jira820, found on PATH or by the variable JIRA820."""
    program = os.environ.get("JIRA820") or shutil.which("jira820")
    if not program or not Path(program).exists():
        missing("jira820", "it is not installed: pip install jira820, or name its program in JIRA820")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = (tmp_path_factory.mktemp("jira820") / "log").open("wb")
    env = {**os.environ, "JIRA820_PORT": str(port), "JIRA820_HOST": "127.0.0.1"}
    server = subprocess.Popen([program], env=env, stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                httpx.get(f"{url}/rest/api/2/serverInfo", timeout=2)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            missing("jira820", "it did not start")
        yield url
    finally:
        server.terminate()
        server.wait(10)
        log.close()


@pytest.fixture
def mocked(jira820: str) -> Iterator[Any]:
    opened = open_system("dc", DataCenterOptions(url=jira820, token="t0ken", secrets=(SECRET,)))
    yield opened
    opened.close()


def test_one_note_on_a_mock_server_that_keeps_no_properties(jira820: str, mocked: Any) -> None:
    first = httpx.get(f"{jira820}/rest/api/2/search", params={"maxResults": 1}).json()["issues"][0]
    address = f"{jira820}/rest/api/2/issue/{first['key']}/comment"
    before = httpx.get(address).json()["total"]
    assert mocked.ticket(first["key"]).title == first["fields"]["summary"]
    said = (note(), note(), note("other words"), note("other words"))
    outcomes = [mocked.attach(first["key"], one).outcome for one in said]
    assert outcomes == ["created", "unchanged", "updated", "unchanged"]
    comments = httpx.get(address, params={"maxResults": 1000}).json()
    assert comments["total"] == before + 1
    assert "other words" in json.dumps(comments)


def test_a_mock_servers_search_understands_the_poll(mocked: Any) -> None:
    told = mocked.changed(mocked.changed(None).cursor)
    assert all(event.ticket_id for event in told.events)
