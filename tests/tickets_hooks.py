"""How the deliveries of each system are made and taken, in one shape, so that the same can be asked of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.tickets.system import Incoming
from tests.desk_freshdesk import FreshdeskDesk
from tests.desk_jira import JiraCloudDesk, JiraDataCenterDesk
from tests.desk_servicenow import ServiceNowDesk
from tests.desk_zendesk import ZendeskDesk
from tests.tickets_desks import NEXT_SECRET, NOW, SECRET, Desk
from tests.tickets_generic import NOW as CASES_NOW
from tests.tickets_generic import Case
from tests.tickets_generic_cases import CASES, WHSEC

DESKS: tuple[type[Desk], ...] = (FreshdeskDesk, JiraCloudDesk, JiraDataCenterDesk, ServiceNowDesk, ZendeskDesk)
NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Hook:
    """One system's deliveries.

    `system(**options)` takes them with both secrets unless told otherwise. `delivery(secret, ...)` makes one, signed with a secret
    or not at all, that arrives at `now`; `body` replaces its bytes, `at` the time at which it was signed, `actor` who changed the
    ticket. `timed` says that the time is signed, `signed` that the body is.
    """

    ticket_id: str
    system: Callable[..., Any]
    delivery: Callable[..., Incoming]
    now: datetime
    secrets: tuple[str, str]
    wrong: str = "another-secret"
    timed: bool = False
    signed: bool = True
    # Whether a delivery that is about no ticket is one that this system sends, too.
    sends_others: bool = False
    # Whether only UTF-8 can be signed.
    signs_text: bool = False


def _of_desk(cls: type[Desk]) -> Hook:
    def made() -> Desk:
        desk = cls()
        desk.url = NOWHERE
        return desk

    return Hook(
        cls.ticket_id,
        lambda **options: made().system(**options),
        lambda secret, **over: made().delivery(secret, **over),
        NOW,
        (SECRET, NEXT_SECRET),
        timed=cls.timed,
        signed=cls.signed,
    )


def _of_case(kind: str, case: Case) -> Hook:
    def delivery(
        secret: str | None, *, body: bytes | None = None, at: datetime = CASES_NOW, actor: str = "ann"
    ) -> Incoming:
        unsigned = {} if secret else dict.fromkeys(case.sign(b"", case.secrets[0], at), "")
        return case.request(case.commented(actor, "still failing"), secret or None, at, body, **unsigned)

    standard = case.secrets == WHSEC
    return Hook(
        case.ticket_id,
        lambda **options: case.make(NOWHERE, **{"secrets": case.secrets} | options),
        delivery,
        CASES_NOW,
        case.secrets,
        wrong=WHSEC[0].replace("AQ", "Aw") if standard else "another-secret",
        timed=case.timed,
        signed="authorization" not in case.request().headers,
        sends_others=kind in {"github", "forgejo", "gitlab"},
        signs_text=standard,
    )


HOOKS = {cls.kind: _of_desk(cls) for cls in DESKS} | {kind: _of_case(kind, case) for kind, case in CASES.items()}
