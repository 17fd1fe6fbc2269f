"""What an issue's changelog tells of its course, in Jira Cloud and Data Center.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/ (`expand=changelog`) and `.../api-group-status/`; Data
Center has the same two.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from pipeline.tickets._history import History, State
from pipeline.tickets._payload import moment, read

_log = logging.getLogger(__name__)
# As Jira Service Management's own workflows name it.
STATES: dict[str, State] = {"Waiting for customer": "waiting", "Pending": "waiting"}


class _Moved(msgspec.Struct, frozen=True):
    """A field that changed."""

    field: str = ""
    to: str | None = None
    # What people read.
    shown: str | None = msgspec.field(name="toString", default=None)


class _Change(msgspec.Struct, frozen=True):
    created: str = ""
    author: dict[str, Any] | None = None
    items: list[_Moved] = []


class _Changelog(msgspec.Struct, frozen=True):
    histories: list[_Change] = []
    # Jira Cloud gives the latest changes, and says how many there are.
    total: int = 0


def ending(statuses: Iterable[Mapping[str, Any]]) -> dict[str, State]:
    """The statuses that end the work, by the list of all."""
    done = [one for one in statuses if (one.get("statusCategory") or {}).get("key") == "done"]
    return {str(one.get("name") or ""): "solved" for one in done}


def add_changelog(found: History, changelog: Any, named: Callable[[Mapping[str, Any]], str | None], where: str) -> None:
    """Adds what a changelog tells; `named` is how a person is called. Raises `SystemBroken` for one that cannot be read."""
    held = read(changelog or {}, _Changelog, where)
    if held.total > len(held.histories):
        told = "%s: %d earlier changes of an issue were not given: what they tell is not known"
        _log.warning(told, where, held.total - len(held.histories))
    for change in held.histories:
        at, who = moment(change.created), named(change.author or {})
        for moved in change.items:
            if moved.field == "status":
                found.turned(moved.shown or "", at, who)
            elif moved.field == "assignee":
                found.add("assigned", at, who, moved.to or moved.shown)
            elif moved.field == "priority":
                found.add("prioritised", at, who, moved.shown)
