"""What follows from a customer's earlier tickets: `portrait.toml`, or the file that replaces it, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from pipeline.desk.rule_file import RuleFile, compiled
from snapshots.model import Hint, Text


@dataclass(frozen=True)
class Earlier:
    """One earlier ticket, as far as rules look at it. Times are aware; `text` is everything that was said of it."""

    id: str
    created_at: datetime
    text: str
    faults: frozenset[str] = frozenset()
    product: str | None = None
    version: str | None = None
    reopened: bool = False
    open: bool = False


@dataclass(frozen=True)
class Now:
    """The ticket that is looked at now."""

    created_at: datetime
    faults: frozenset[str] = frozenset()
    products: frozenset[str] = frozenset()
    version: str | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row; what it does not name it does not ask for. `words` and `faults` stand for each other."""

    id: str
    say: Text
    words: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    same_fault: bool = False
    same_product: bool = False
    new_version: bool = False
    reopened: bool = False
    open: bool = False
    days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] | None = None
    at_least: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1

    def __post_init__(self) -> None:
        """Refuses expressions that cannot be compiled, and a rule that asks for nothing."""
        for expression in self.words:
            compiled(expression)
        asks = (self.words, self.faults, self.same_fault, self.same_product, self.new_version, self.reopened, self.open)
        if not any(asks) and self.days is None and self.at_least == 1:
            raise ValueError(f"{self.id}: says nothing of when it holds")

    def fits(self, one: Earlier, now: Now) -> bool:
        """Whether everything that the rule names holds of the ticket."""
        if self.days is not None and now.created_at - one.created_at > timedelta(days=self.days):
            return False
        said = any(compiled(expression).search(one.text) for expression in self.words)
        conditions = (
            not (self.words or self.faults) or said or bool(one.faults & set(self.faults)),
            not self.same_fault or bool(one.faults & now.faults),
            not self.same_product or (one.product is not None and one.product in now.products),
            not self.new_version or bool(one.version and now.version and one.version != now.version),
            not self.reopened or one.reopened,
            not self.open or one.open,
        )
        return all(conditions)


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    rules: tuple[Rule, ...]

    def hints(self, earlier: Sequence[Earlier], now: Now) -> list[Hint]:
        """What every rule that holds says, in the file's order."""
        told = []
        for rule in self.rules:
            fitting = [one.id for one in earlier if rule.fits(one, now)]
            if len(fitting) >= rule.at_least:
                count = str(len(fitting))
                said = Text(en=rule.say.en.replace("{count}", count), zh=rule.say.zh.replace("{count}", count))
                told.append(Hint(statement=said, tickets=fitting))
        return told


FILE = RuleFile("desk.portrait.file", Path(__file__).with_name("portrait.toml"), Rules)


def read_rules(path: str | None) -> Rules:
    """The rules of `path`, or the shipped ones. Raises `UsageError` with the file and what is wrong there."""
    return FILE.read(path)


def rules_sha256(path: str | None) -> str:
    """The digest of the file. Raises `UsageError`."""
    return FILE.sha256(path)
