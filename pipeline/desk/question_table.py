"""What may be asked of a customer, and when: `questions.toml`, or the file that replaces it, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from pipeline.desk.rule_file import RuleFile, compiled
from snapshots.model import Diagnosis, Missing, QuestionKind, QuestionOption, Text

Found = Literal["", "order", "moment", "outcome", "device", "system", "app"]
Name = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,39}$")]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of the file."""


class Asked(_Part, frozen=True, kw_only=True):
    """One question: what it asks and why, when, and what answers it without the customer."""

    id: Name
    kind: QuestionKind
    ask: Text
    why: Text
    hint: Text | None = None
    doubt: Text | None = None
    missing: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    logged: tuple[str, ...] = ()
    found: Found = ""
    options: tuple[QuestionOption, ...] = ()
    longest: Annotated[int, msgspec.Meta(ge=1, le=4000)] = 200
    shape: str = ""
    shape_hint: Text | None = None

    def __post_init__(self) -> None:
        """Refuses a choice without options, options without a choice, and expressions that cannot be compiled."""
        if (self.kind == "choice") != bool(self.options):
            raise ValueError(f"{self.id}: a choice has options, and nothing else has")
        if bool(self.shape) != bool(self.shape_hint):
            raise ValueError(f"{self.id}: shape and shape_hint belong together")
        for expression in (*self.said, *self.logged, *filter(None, [self.shape])):
            compiled(expression)

    def lacks(self, diagnosis: Diagnosis) -> list[Missing]:
        """What the diagnosis misses that this question may bring; nothing where it is decided."""
        if not diagnosis.abstained:
            return []
        wanted = set(self.missing)
        return [one for one in diagnosis.missing if {one.kind, f"{one.kind}:{one.source}", "*"} & wanted]


class Questions(_Part, frozen=True, kw_only=True):
    """The whole file. From the probability `leading` on a candidate's class counts where nothing is located."""

    questions: tuple[Asked, ...]
    nothing: tuple[str, ...] = ()
    outcome: tuple[str, ...] = ()
    leading: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2

    def __post_init__(self) -> None:
        """Refuses two questions of one name, and two pictures: a form is read with one file at most."""
        names = [one.id for one in self.questions]
        if len(names) != len(set(names)):
            raise ValueError("two questions have the same id")
        pictures = [one.id for one in self.questions if one.kind == "picture"]
        if len(pictures) > 1:
            raise ValueError(f"{' and '.join(pictures)}: one question of the kind picture at most")

    def faults_of(self, diagnosis: Diagnosis) -> dict[str, list[str]]:
        """Class and class/subclass that are located, or lead where nothing is, each with the findings that speak for it."""
        told: dict[str, list[str]] = {}
        for candidate in diagnosis.candidates:
            located = not diagnosis.abstained and candidate.fault_class == diagnosis.fault_class
            if located or (diagnosis.abstained and candidate.probability >= self.leading):
                for name in (candidate.fault_class, f"{candidate.fault_class}/{candidate.fault_subclass}"):
                    told.setdefault(name, candidate.findings)
        return told


FILE = RuleFile("desk.questions.file", Path(__file__).with_name("questions.toml"), Questions)


def read_questions_file(path: str | None) -> Questions:
    """The questions of `path`, or the shipped ones. Raises `UsageError` with the file and what is wrong there."""
    return FILE.read(path)


def questions_sha256(path: str | None) -> str:
    """The digest of the file, so that a snapshot's settings name it. Raises `UsageError`."""
    return FILE.sha256(path)
