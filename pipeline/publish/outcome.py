"""What became of snapshots that were published, and of their documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["created", "updated", "unchanged", "failed"]


@dataclass(frozen=True)
class Done:
    """What became of one snapshot. `problem` is a sentence for a person where the outcome is `failed`."""

    snapshot_id: str
    ticket_id: str
    outcome: Outcome
    problem: str = ""


@dataclass(frozen=True)
class Published:
    """What became of the snapshots, in their order, and of their documents: counts of each."""

    place: str
    snapshots: tuple[Done, ...] = ()
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0
    notes: tuple[str, ...] = ()

    @property
    def failed_snapshots(self) -> int:
        """How many snapshots are not there as they should be."""
        return sum(one.outcome == "failed" for one in self.snapshots)

    def __str__(self) -> str:
        """The counts on one line."""
        names = ("created", "updated", "unchanged", "removed", "failed")
        counts = [f"{count:,} {name}" for name in names if (count := getattr(self, name))]
        return f"{self.place}: {', '.join(counts) or 'nothing to do'} (documents)"
