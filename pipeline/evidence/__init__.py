"""Evidence: each detector turns what was collected into findings.

One kind of finding a file, all of one shape: `detect(case: Case) -> Seen`. A detector reads the case and nothing else,
cites the rows that prove each statement, and says what it checked and found healthy. `DETECTORS` is the whole list.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from pipeline.evidence.beside import with_lines
from pipeline.evidence.case import Case, Signal, open_case
from pipeline.values import Seen

Detector = Callable[[Case], Seen]

# In the order in which a reader would ask; the judge does not mind.
DETECTORS: tuple[str, ...] = (
    "cohort",
    "gaps",
    "channel_codes",
    "wordings",
    "unseen",
    "http_status",
    "spans",
    "culprit",
    "order_rules",
    "exceptions",
    "callbacks",
    "retries",
    "patterns",
    "contrasts",
    "changes",
    "ruled_out",
)


def detect(case: Case) -> Seen:
    """Everything that the detectors say of `case`, in the order of `DETECTORS`."""
    answers = [detector(name)(case) for name in DETECTORS]
    return Seen(
        with_lines(case, (found for answer in answers for found in answer.found)),
        tuple(check for answer in answers for check in answer.checks),
        sum(answer.omitted for answer in answers),
    )


def detector(name: str) -> Detector:
    """The `detect` function of `pipeline/evidence/<name>.py`."""
    function: Detector = import_module(f"pipeline.evidence.{name}").detect
    return function


__all__ = ["DETECTORS", "Case", "Detector", "Signal", "detect", "detector", "open_case"]
