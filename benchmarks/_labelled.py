"""The labelled cases that the judge was learnt from, and its answers to them by weights that had not seen them."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

from pipeline.judge import Weights, weights
from pipeline.learn_weights import LabelledCase, Learnt, answer, label_of
from pipeline.scores import Judged, judge

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The sets of cases by what their ids begin with.
SETS: Mapping[str, str] = {"dev": "TK-", "first": "TC-", "second": "BX-"}


def begun() -> Weights:
    """The weights that learning begins with: an author's judgement, learnt from nothing."""
    return weights(str(ROOT / "pipeline" / "faults" / "weights_start.toml"))


def judged_unseen(cases: Sequence[LabelledCase], learnt: Learnt, part: str = "") -> list[Judged]:
    """Every answer to the cases of a set by weights that were fitted without their family.

    Each case is there once a round, so figures are means over the rounds; rounds of a case are of one family.
    """
    return [
        judge(label_of(case), answer(case, share, learnt.weights))
        for case, shares in zip(cases, learnt.unseen, strict=True)
        if case.id.startswith(part)
        for share in shares
    ]
