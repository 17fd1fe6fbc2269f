"""The desk by itself, end to end: a real Request Tracker, a real django-helpdesk, the service as it is started, a real receiver.

Nobody calls `desk mark`: what is done in the ticket system is known to the clock, the knowledge task and the report.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.desk.clock import Clocks
from pipeline.desk.events import read
from pipeline.desk.grading_options import GradingOptions
from pipeline.desk.reports import report
from pipeline.desk.tasks import Tasks
from pipeline.service.database import opened
from tests.services import free_port, helpdesk, rt
from tests.test_service_real import Hooked, hooked
from tests.tickets_real import Receiver, receiving

# An answer is due soon after the ticket was opened, and the warning `warn` seconds before that.
DESK = """
[defaults.desk]
knowledge = "{folder}/knowledge"
[defaults.desk.grading.terms.P2]
respond = "{respond}s"
warn = "50s"
clock = "always"
[defaults.desk.grading.terms.P3]
respond = "{respond}s"
warn = "50s"
clock = "always"
[defaults.desk.grading.terms.P4]
respond = "{respond}s"
warn = "50s"
clock = "always"
[defaults.notify.team]
kind = "webhook"
url = "{receiver}"
unsigned = true
"""


@dataclass
class Watched:
    """A ticket system with the service and its desk, and who is told."""

    hook: Hooked
    team: Receiver
    engine: Engine
    answer: Callable[[str, str], object]
    solve: Callable[[str], object]
    reopen: Callable[[str], object]

    @property
    def clocks(self) -> Clocks:
        return Clocks(self.engine, GradingOptions())

    def until(self, what: str, holds: Callable[[], Any], seconds: float = 90) -> Any:
        """Waits until something is so, and gives it."""
        end = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < end, f"{what}: not within {seconds} s"
            time.sleep(0.2)
        return found

    def told(self, kind: str, ticket_id: str) -> list[dict[str, Any]]:
        bodies = [json.loads(one.body) for one in list(self.team.received)]
        return [one for one in bodies if one["type"] == kind and one["data"]["ticket"]["id"] == ticket_id]


@contextlib.contextmanager
def watched(request: pytest.FixtureRequest, kind: str, folder: Path, respond: int = 60) -> Iterator[Watched]:
    if kind == "rt":
        desk: Any = rt.Desk(request.getfixturevalue("rt_url"))
        answer: Callable[[str, str], object] = partial(desk.reply, who="agent")
        solve, reopen = partial(desk.edit, Status="resolved"), partial(desk.edit, Status="open")
    else:
        desk = helpdesk.Desk(request.getfixturevalue("helpdesk_url"))
        answer = desk.update
        solve, reopen = (
            lambda ticket_id: desk.update(ticket_id, "", new_status="3"),
            lambda ticket_id: desk.update(ticket_id, "", new_status="2"),
        )
    address = f"http://127.0.0.1:{free_port()}/told"
    with (
        receiving(address, 200) as team,
        hooked(
            kind, desk, DESK.format(folder=folder, receiver=address, respond=respond), lambda *_: None, folder
        ) as hook,
    ):
        engine = opened(f"sqlite:///{folder}/service.sqlite")
        yield Watched(hook, team, engine, answer, solve, reopen)
        engine.dispose()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["rt", "django_helpdesk"])
def test_what_is_done_in_the_ticket_system_is_known_to_the_clock_the_task_and_the_report(request, kind, tmp_path):
    began = datetime.now(UTC)
    with watched(request, kind, tmp_path) as desk:
        name = desk.hook.name
        ticket_id = desk.hook.desk.new_ticket("支付失败 payment failed", "订单 SO202611230001 付款失败，请尽快处理。")
        desk.hook.note(ticket_id, 120)
        desk.until("the clock runs", lambda: desk.clocks.of(name, ticket_id))
        # Nobody answers: the warning comes before the deadline, or says that it is over where the machine was slow.
        desk.until(
            "somebody is warned",
            lambda: desk.told("desk.warning", ticket_id) or desk.told("desk.overdue", ticket_id),
        )
        desk.answer(ticket_id, "We are looking into it.")
        desk.until("the answer is known", lambda: desk.clocks.of(name, ticket_id).responded_at)
        desk.solve(ticket_id)
        desk.until("the solution is known", lambda: desk.clocks.of(name, ticket_id).resolved_at)
        tasks = Tasks(desk.engine)
        (task,) = desk.until("the task is open", tasks.listed)
        assert (task.ticket_id, task.system, task.state) == (ticket_id, name, "open")
        assert task.due_at - task.opened_at == 48 * 3600
        (asked,) = desk.until("the task is told", lambda: desk.told("desk.task", ticket_id))
        assert task.id in asked["data"]["said"]["en"]
        desk.reopen(ticket_id)
        desk.until("it came back", lambda: desk.clocks.of(name, ticket_id).resolved_at is None)
        desk.until("the task waits", lambda: tasks.get(task.id).state == "postponed")
        desk.until("that is told", lambda: len(desk.told("desk.task", ticket_id)) == 2)
        desk.hook.settle()
        events = read(desk.engine, began.timestamp() - 3600, time.time() + 3600)
        mine = [one for one in events if one.ticket_id == ticket_id]
        happened = [one.event for one in mine if one.event in {"opened", "responded", "resolved", "reopened"}]
        assert happened == ["opened", "responded", "resolved", "reopened"]
        made = report(events, began, datetime.now(UTC), GradingOptions())
        (life,) = [one for one in made.lives if one.ticket_id == ticket_id]
        assert life.reopened == 1
        assert life.responded_at is not None
        assert set(life.stages) == {"answer", "work", "again"}
        assert len(desk.told("desk.warning", ticket_id) + desk.told("desk.overdue", ticket_id)) == 1


@pytest.mark.timeout(300)
def test_an_answer_whose_delivery_was_lost_warns_nobody(request, tmp_path):
    """The hook leads nowhere while the agent answers. The desk asks the ticket system before it warns."""
    with watched(request, "rt", tmp_path, respond=130) as desk:
        ticket_id = desk.hook.desk.new_ticket("支付失败 payment failed", "订单 SO202611230001 付款失败，请尽快处理。")
        desk.hook.note(ticket_id, 120)
        desk.hook.settle()
        desk.hook.desk.switch_scrips("problem-snapshot 1", on=False)
        try:
            desk.answer(ticket_id, "We are looking into it.")
            answered = time.time()
            clock = desk.until("the clock runs", lambda: desk.clocks.of(desk.hook.name, ticket_id))
            assert clock.respond_by - 50 > answered, "the warning was due before the agent could answer"
            desk.until("the reply is known", lambda: desk.clocks.of(desk.hook.name, ticket_id).responded_at)
        finally:
            desk.hook.desk.switch_scrips("problem-snapshot 1", on=True)
        assert not desk.told("desk.warning", ticket_id)
        assert not desk.told("desk.overdue", ticket_id)
