"""The decision table of severity: `severity.toml`, or the file that replaces it, read and checked.

A row holds where everything it names is at least so much, and the gravest of the rows that hold decides: so no table can
give more customers, or a higher urgency, a lower level.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline.desk.grading_options import LEVELS, Level
from pipeline.errors import UsageError
from snapshots.model import SeverityScope, Text, Urgency, sha256_hex

SHIPPED = Path(__file__).with_name("severity.toml")
SIZES: tuple[Literal["one", "several", "batch"], ...] = ("one", "several", "batch")
AVAILABILITY: tuple[Literal["question", "impaired", "blocked"], ...] = ("question", "impaired", "blocked")
CONTRACTS: tuple[Literal["standard", "key"], ...] = ("standard", "key")


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of the file."""


class Row(_Part, frozen=True, kw_only=True):
    """One row. What it does not name it does not ask for."""

    level: Level
    en: str
    zh: str
    scope: Literal["one", "several", "batch"] = "one"
    availability: Literal["question", "impaired", "blocked"] = "question"
    money_at_risk: bool = False
    data_security: bool = False
    contract: Literal["standard", "key"] = "standard"

    @property
    def reason(self) -> Text:
        """The row in words."""
        return Text(en=self.en, zh=self.zh)

    def holds(self, scope: SeverityScope, urgency: Urgency) -> bool:
        """Whether everything is at least so much."""
        return (
            SIZES.index(scope.size) >= SIZES.index(self.scope)
            and AVAILABILITY.index(urgency.availability) >= AVAILABILITY.index(self.availability)
            and urgency.money_at_risk >= self.money_at_risk
            and urgency.data_security >= self.data_security
            and CONTRACTS.index(urgency.contract) >= CONTRACTS.index(self.contract)
        )


class Counts(_Part, frozen=True, kw_only=True):
    """From how many customers on several are touched, and a batch."""

    several: int
    batch: int

    def __post_init__(self) -> None:
        """Refuses counts that are none."""
        if not 2 <= self.several <= self.batch:
            raise ValueError("scope: several is 2 at least, and batch no less than several")

    def size(self, customers: int) -> Literal["one", "several", "batch"]:
        """What so many customers are."""
        return "batch" if customers >= self.batch else "several" if customers >= self.several else "one"


class Faults(_Part, frozen=True, kw_only=True):
    """Fault classes, or class/subclass, that say something about urgency."""

    money_at_risk: tuple[str, ...] = ()
    data_security: tuple[str, ...] = ()
    none: tuple[str, ...] = ()


class Contract(_Part, frozen=True, kw_only=True):
    """Which fields name the contract, and which values make it a key one."""

    fields: tuple[str, ...] = ()
    key: tuple[str, ...] = ()


class TicketLevel(_Part, frozen=True, kw_only=True):
    """Which fields hold the level that the ticket has already."""

    fields: tuple[str, ...] = ()


class Words(_Part, frozen=True, kw_only=True):
    """RE2 expressions over the ticket's text."""

    ignore: tuple[str, ...] = ()
    batch: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    impaired: tuple[str, ...] = ()
    question: tuple[str, ...] = ()
    money_at_risk: tuple[str, ...] = ()
    data_security: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()


class Table(_Part, frozen=True, kw_only=True):
    """The whole file."""

    rows: tuple[Row, ...]
    scope: Counts
    faults: Faults = Faults()
    contract: Contract = Contract()
    ticket_level: TicketLevel = TicketLevel()
    words: Words = Words()

    def decide(self, scope: SeverityScope, urgency: Urgency) -> Row | None:
        """The gravest row that holds, the first of them in the file's order; None where none does."""
        holding = [row for row in self.rows if row.holds(scope, urgency)]
        return min(holding, key=lambda row: LEVELS.index(row.level), default=None)


@lru_cache(maxsize=4)
def _read(path: str, data: bytes) -> Table:
    try:
        table = msgspec.convert(tomllib.loads(data.decode("utf-8-sig")), Table)
        patterns: dict[str, tuple[str, ...]] = msgspec.structs.asdict(table.words)
        for kind, expressions in patterns.items():
            for expression in expressions:
                _compiled(expression, kind)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"{path}: is no table of severity: {error}") from error
    return table


@lru_cache(maxsize=1024)
def _compiled(expression: str, kind: str) -> Any:
    import re2  # a native module that only a desk needs

    quiet = re2.Options()
    quiet.log_errors = False
    quiet.case_sensitive = False
    try:
        found = re2.compile(expression, quiet)
    except re2.error as error:
        raise ValueError(f"words.{kind}: {expression!r} is not an RE2 expression") from error
    if kind == "customers" and found.groups != 1:
        raise ValueError(f"words.customers: {expression!r} needs one group, the number")
    return found


def compiled(expression: str, kind: str) -> Any:
    """An expression of a table that was read."""
    return _compiled(expression, kind)


def read_table(path: str | None) -> Table:
    """The table of that file, or the shipped one. Raises `UsageError`."""
    return _read(path or SHIPPED.name, _bytes(path))


def table_sha256(path: str | None) -> str:
    """The sha256 of the file, since what it says can change a snapshot. Raises `UsageError`."""
    return sha256_hex(_bytes(path))


def _bytes(path: str | None) -> bytes:
    place = Path(path) if path else SHIPPED
    try:
        return place.read_bytes()
    except OSError as error:
        raise UsageError(f"desk.grading.severity: {place} cannot be read: {error.strerror}") from error
