"""The labelled cases: where they lie, their snapshots, and answers to them by weights that had not seen them."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from pipeline.judge import Weights, weights
from pipeline.learn_weights import LabelledCase, Learnt, answer, label_of
from pipeline.scores import Judged, judge

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The development cases, which lie beside this checkout.
DEV = ROOT.parent / "shared" / "data" / "cases" / "dev"
# The sets of cases by what their ids begin with.
SETS: Mapping[str, str] = {"dev": "TK-", "first": "TC-", "second": "BX-"}


@contextlib.contextmanager
def snapshots(cases: pathlib.Path, kept: pathlib.Path | None = None) -> Iterator[pathlib.Path]:
    """The folder of the snapshots of `cases`: `kept`, else one that a backtest fills for this use."""
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, "-m", "cli", "backtest", str(cases.resolve()), "--keep", made]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        yield pathlib.Path(made)


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
