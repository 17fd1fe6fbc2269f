"""What a ticket's audits tell of its course, in Zendesk.

https://developer.zendesk.com/api-reference/ticketing/tickets/ticket_audits/ and
https://developer.zendesk.com/documentation/ticketing/reference-guides/ticket-audit-events-reference
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.tickets._history import History, State
from pipeline.tickets._payload import moment, read, text

# Statuses of the system; a custom one stands in one of these categories, which is what `status` tells:
# https://developer.zendesk.com/api-reference/ticketing/tickets/custom_ticket_statuses/
STATES: dict[str, State] = {"pending": "waiting", "solved": "solved", "closed": "solved"}


class _Changed(msgspec.Struct, frozen=True):
    """An event of an audit, as far as it tells of a field."""

    type: str = ""
    field_name: str | None = None
    value: Any = None


class _Audit(msgspec.Struct, frozen=True):
    """One change of a ticket, which may be of several fields."""

    author_id: int | None = None
    created_at: str | None = None
    events: list[_Changed] = []


def add_audits(found: History, audits: Any, names: Mapping[int, str], where: str) -> None:
    """Adds what a page of audits tells; `names` are people's by their ids. Raises `SystemBroken` for one that cannot be read."""
    for audit in read(audits or [], list[_Audit], where):
        at, number = moment(audit.created_at), audit.author_id
        who = names.get(number, str(number)) if number else None
        for change in audit.events:
            value = text(change.value)
            if change.type not in {"Create", "Change"} or not value:
                continue
            if change.field_name == "status":
                found.turned(value, at, who)
            elif change.field_name == "priority":
                found.add("prioritised", at, who, value)
            elif change.field_name == "assignee_id":
                found.add("assigned", at, who, names.get(int(value), value) if value.isdecimal() else value)
