"""What happened to a ticket, out of what its system keeps: replies, hand-overs, statuses.

A status alone says little; its change does. `waiting` begins where the ticket came to wait for the customer and `continued` ends
that; `resolved` is the change to a status that ends the work, whatever follows on it (solved, then closed), and `reopened` the
change back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, get_args

from pipeline.tickets.system import Step, What

# What a status means for the desk's clock. Another than these, such as a plan for later, is none of the three: it is open.
State = Literal["open", "waiting", "solved"]
_ORDER: tuple[What, ...] = get_args(What)
_MOMENT = timedelta(milliseconds=1)


class History:
    """Collects what happened to one ticket, in any order. `states` are the meanings of statuses, compared without case."""

    def __init__(self, *states: Mapping[str, State]) -> None:
        """Of several meanings the last holds, which is that of the configuration."""
        self._states: dict[str, State] = {name.casefold(): state for some in states for name, state in some.items()}
        self._steps: list[Step] = []
        self._turns: list[tuple[datetime, State, str | None]] = []

    def add(self, what: What, at: datetime | None, who: str | None = None, to: str | None = None) -> None:
        """One step; without a time it cannot be placed, and says nothing."""
        if at is not None:
            self._steps.append(Step(what, at, who or None, to or None))

    def turned(self, status: str, at: datetime | None, who: str | None = None) -> None:
        """The ticket has a new status."""
        if at is not None:
            self._turns.append((at, self._states.get(status.strip().casefold(), "open"), who or None))

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, in order of time.

        Of an agent's replies only the first one counts, and the first after each reopening. A hand-over to who has it is none.
        """
        found: list[Step] = []
        answered, holder = False, None
        for step in sorted((*self._steps, *self._changes()), key=lambda one: (one.at, _ORDER.index(one.what))):
            if step.what == "responded":
                if answered:
                    continue
                answered = True
            if step.what == "assigned":
                if step.to == holder:
                    continue
                holder = step.to
            if step.what == "reopened":
                answered = False
            found.append(step)
        return tuple(found)

    def _changes(self) -> list[Step]:
        held: State = "open"
        changes: list[Step] = []
        # The sort keeps the order of equal times: a system that counts seconds tells several changes of one in their order. Each
        # is put a moment after the one before it, so that the order is not lost.
        for told, state, who in sorted(self._turns, key=lambda one: one[0]):
            if state == held:
                continue
            at = max(told, changes[-1].at + _MOMENT) if changes else told
            what: What
            if state == "solved":
                what = "resolved"
            elif held == "solved":
                what = "reopened"
            else:
                what = "waiting" if state == "waiting" else "continued"
            changes.append(Step(what, at, who))
            if what == "reopened" and state == "waiting":
                changes.append(Step("waiting", at + _MOMENT, who))
            held = state
        return changes
