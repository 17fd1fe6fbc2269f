"""What the files of one question came to, and whether there is time and memory for more."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

# Bytes of rows in memory that one answer holds; a bundle was cut to its incident, so all of its rows are kept below it.
MAX_TABLE_BYTES = 4 << 30


class Clock:
    """Whether there is time for one more step before nobody waits for the answer any longer."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._begun = self._since = time.monotonic()
        self._longest = 0.0

    def lap(self) -> None:
        """A step is done; the next one is taken to last as long as the longest so far."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._since)
        self._since = now

    def out(self) -> bool:
        """Whether to stop. Something is kept back for making one table of it all."""
        now = time.monotonic()
        return now + 1.5 * self._longest + 0.1 * (now - self._begun) >= self._deadline


@dataclass
class Tally:
    """What the files of one question came to."""

    clock: Clock
    most_bytes: int = MAX_TABLE_BYTES
    tables: list[Any] = field(default_factory=list)
    bytes: int = 0
    # Whether something was left for want of time or of memory, and of which files.
    late: bool = False
    full: bool = False
    unread: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    fetched: int = 0
    unparsed: int = 0
    duplicates: int = 0
    left_out: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, table: Any) -> None:
        """The rows of one more stretch."""
        self.tables.append(table)
        self.bytes += table.nbytes
        self.clock.lap()

    def must_stop(self) -> bool:
        """Whether there is no time or no memory for more."""
        self.full = self.full or self.bytes > self.most_bytes
        self.late = self.late or self.clock.out()
        return self.full or self.late
