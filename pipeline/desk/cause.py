"""The cause as a snapshot says it, for those who want that alone: the preliminary line, and the entry that a ticket teaches."""

from __future__ import annotations

from snapshots.model import ProblemSnapshot, Text


def cause_of(snapshot: ProblemSnapshot) -> Text:
    """The summary of the diagnosis without how other orders fared at that time, which is of this one hour."""
    en, zh = snapshot.diagnosis.summary.en, snapshot.diagnosis.summary.zh
    for check in snapshot.checks:
        if check.id == "cohort":
            said = check.statement
            en = en.replace(f" {said.en[:1].upper()}{said.en[1:]}.", "")
            zh = zh.replace(f"{said.zh}。", "")
    return Text(en=en, zh=zh)
