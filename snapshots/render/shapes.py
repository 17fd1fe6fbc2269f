"""The parts of what a person is shown: plain text in one language, for the renderers to lay out and escape."""

from __future__ import annotations

from dataclasses import dataclass

from snapshots.words import Language, label


@dataclass(frozen=True)
class Moment:
    """One instant: `clock` in the reader's zone with its offset, `full` with the date, `utc` to the millisecond."""

    clock: str
    full: str
    utc: str
    iso: str


@dataclass(frozen=True)
class Proof:
    """One cited line; `statement` is what it proves, empty where the line before it proves the same."""

    ref: str
    moment: Moment | None
    service: str
    quote: str
    statement: str
    pointer: str


@dataclass(frozen=True)
class Cause:
    """One explanation with its probability in 0..1 and the findings for and against it."""

    name: str
    share: float
    percent: str
    findings: tuple[str, ...]
    against: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """Evidence that is absent, and what to ask for it."""

    what: str
    window: str
    question: str


@dataclass(frozen=True)
class Claim:
    """A statement with the evidence refs that it cites."""

    statement: str
    refs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """A table of the details: `right` names the columns that hold numbers, `code` those that hold raw text."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    code: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """One part of the details: facts as (name, value), a note, a table and plain lines, each of which may be absent."""

    key: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    note: str = ""
    grid: Grid | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """Everything that a renderer lays out, in the reader's language and zone."""

    language: Language
    kind: str
    ticket: str
    title: str
    seed: str
    verdict: str
    name: str
    class_name: str
    subclass_name: str
    summary: str
    places: tuple[tuple[str, str], ...]
    when: str
    utc: str
    window: str
    percent: str
    share: float
    runner_up: str
    proof_title: str
    proofs: tuple[Proof, ...]
    causes: tuple[Cause, ...]
    missing: tuple[Question, ...]
    against: tuple[Claim, ...]
    healthy: tuple[str, ...]
    healthy_more: int
    unchecked: tuple[str, ...]
    action: str
    owner: str
    severity: str
    desk: tuple[tuple[str, str], ...]
    snapshot_id: str
    tool: str
    sections: tuple[Section, ...]

    @property
    def abstained(self) -> bool:
        """Whether the document says that it cannot decide."""
        return self.kind == "undecided"

    def say(self, key: str, **values: object) -> str:
        """A fixed text in the reader's language."""
        return label(key, self.language, **values)
