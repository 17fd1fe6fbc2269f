"""Each detector off, one at a time, and each part of the judge: what the answers to the labelled cases lose.

    python benchmarks/ablation.py [--markdown]

A detector's testimony is taken out of the labelled cases, and the judge answers again: with the shipped weights (which were
learnt with the detector, from these cases), and refitted without it, where each case is answered by weights
fitted without its family (ten folds, three rounds; penalty and discounts as in the shipped file, temperature
and thresholds set anew from all answers to cases left out). A change is "without it" minus "with all"; intervals are 95 %, families drawn.

The log-loss is minus the log of the probability that the judge gives to an accepted answer. Where there is a fault, what
it leaves undecided counts as spread evenly over the classes, so a detector gains nothing by leaving a class unnamed.

Of so many intervals some leave out 0 by chance. The last line says what helps; it holds where no detector's absence makes the
refitted log-loss better beyond an interval that is corrected for the number of detectors (Bonferroni).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from _labelled import SETS, begun, judged_unseen
from msgspec import structs

from pipeline.faults import taxonomy
from pipeline.judge import UNDECIDED, Testimony, Weights, probabilities, weights
from pipeline.learn_weights import LabelledCase, Learnt, answers, label_of, learn_with, shipped_cases
from pipeline.scores import Judged, difference_intervals, judge, scores

# What a finding's kind begins with -> the detector that says it.
DETECTOR: Mapping[str, str] = {
    "channel_code": "channel_codes",
    "wording": "wordings",
    "elsewhere": "wordings",
    "unseen": "unseen",
    "http": "http_status",
    "span": "spans",
    "trace": "culprit",
    "order_rule": "order_rules",
    "order_state": "order_rules",
    "exception": "exceptions",
    "callback": "callbacks",
    "retry": "retries",
    "pattern": "patterns",
    "contrast": "contrasts, cohort",
    "cohort": "contrasts, cohort",
    "change": "changes",
    "ruled_out": "ruled_out",
    "gap": "gaps",
}
# A heading -> the figure. Held are the cases without a fault, or without the evidence for one, of which none is claimed.
FIGURES: Mapping[str, str] = {
    "coverage": "coverage",
    "prec. alt": "precision_located_alt",
    "prec. strict": "precision_located_strict",
    "top-1 strict": "top1_strict",
    "top-3": "top3_alt",
    "macro-F1": "macro_f1",
    "seed acc.": "seed_accuracy",
    "control held": "control_no_fault_claimed",
    "insuff. held": "insufficient_abstained",
}
LOSS = "log-loss"
DRAWS, SEED = 10_000, 20261126
# Of each set these are shown.
MAIN = ("coverage", "top1_strict", LOSS)
# A pull so hard that a number stays where it began.
PINNED = 1e7


@dataclass(frozen=True)
class Variant:
    """The cases, and how the judge differs: with the shipped weights, and where it is fitted."""

    name: str
    cases: Sequence[LabelledCase]
    shipped: Weights
    start: Weights
    said: int = 0
    penalty: float | None = None
    temperature: float | None = None
    without: Collection[str] = ()


@dataclass(frozen=True)
class Change:
    """What a figure is without something, minus what it is with all, with the interval of the change."""

    by: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Outcome:
    """The figures of a variant over the cases of one set, and of each what it is less those with all."""

    figures: Mapping[str, float | None]
    changes: Mapping[str, Change] = field(default_factory=dict)
    # Whether the log-loss is better without it beyond the corrected interval.
    harms: bool = False

    @property
    def verdict(self) -> str:
        """In a word, whether what was left out helps."""
        sure = {name: change.by > 0 for name, change in self.changes.items() if change.sure}
        # Of the log-loss less is better, of all others more.
        worse = {name for name, more in sure.items() if more == (name == LOSS)}
        if worse:
            return "helps" if len(worse) == len(sure) else "mixed"
        if sure:
            return "hurts"
        return "not shown" if self.changes[LOSS].by > 0 else "no help"


def main() -> int:
    """Print the tables and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args()
    cases = shipped_cases()
    print(f"{len(cases)} labelled cases", file=sys.stderr)
    base, *rest = _variants(cases)
    shipped, refitted = _Answers(base, refit=False), _Answers(base, refit=True)
    rows: list[tuple[Variant, Outcome, dict[str, Outcome]]] = []
    for one in rest:
        print(f"  {one.name}", file=sys.stderr)
        with_shipped = _Answers(one, refit=False).against(shipped)
        again = _Answers(one, refit=True)
        rows.append((one, with_shipped, {"": again.against(refitted), **_by_set(again, refitted)}))
    say = _Markdown() if options.markdown else _Plain()
    say.table(
        f"Refitted without it, cases left out (all {len(cases)} cases; change, * where the interval leaves out 0)",
        ["off", "findings", *FIGURES, LOSS, ""],
        [
            ["nothing", str(base.said), *_numbers(refitted.against(None)), ""],
            *[[one.name, str(one.said), *_signed(by[""]), by[""].verdict] for one, _, by in rows],
        ],
    )
    say.table(
        f"The same by set, refitted: {', '.join(f'{name} {_size(cases, name)}' for name in SETS)} cases",
        ["off", *(f"{name} {_heading(figure)}" for name in SETS for figure in MAIN)],
        [
            ["nothing", *[_number(o.figures[f]) for name, o in _by_set(refitted, None).items() for f in MAIN]],
            *[[one.name, *[_change(by[name].changes[f]) for name in SETS for f in MAIN]] for one, _, by in rows],
        ],
    )
    say.table(
        "With the shipped weights, which have seen these cases",
        ["off", *FIGURES, LOSS],
        [
            ["nothing", *_numbers(shipped.against(None))],
            *[[one.name, *_signed(seen)] for one, seen, _ in rows],
        ],
    )
    better = [one.name for one, _, by in rows if by[""].harms]
    told = {word: [one.name for one, _, by in rows if by[""].verdict == word] for word in dict.fromkeys(
        by[""].verdict for _, _, by in rows
    )}  # fmt: skip
    print(
        "ablation: "
        + "; ".join(f"{word}: {', '.join(names)}" for word, names in told.items())
        + f"; log-loss surely better without (corrected): {', '.join(better) or 'none'}: {'MISSED' if better else 'holds'}"
    )
    return int(bool(better))


# ---- what is left out


def _variants(cases: Sequence[LabelledCase]) -> list[Variant]:
    """All, then each detector off, then each part of the judge."""
    shipped = weights()
    start = structs.replace(begun(), repeated=shipped.repeated, same_record=shipped.same_record)
    said = Counter(_detector(one) for case in cases for one in case.found)
    found = [Variant("-", cases, shipped, start, sum(said.values()))]
    names = dict.fromkeys(DETECTOR.values())
    found += [Variant(name, _without(cases, name), shipped, start, said[name]) for name in names]
    silent = [_with(case, [structs.replace(one, against=()) for one in case.found]) for case in cases]
    spoken = sum(bool(one.against) for case in cases for one in case.found)
    found.append(Variant("all that speaks against", silent, shipped, start, spoken))

    def judges(name: str, **changed: object) -> Variant:
        return Variant(name, cases, structs.replace(shipped, **changed), structs.replace(start, **changed))

    plain = judges("prior of classes", prior={})
    found.append(_changed(plain, without=("prior",)))
    plain = judges("prior of channels", channel_prior={})
    found.append(_changed(plain, without=("channel_prior",)))
    found.append(judges("same_record (as repeated)", same_record=shipped.repeated))
    found.append(judges("both discounts", repeated=1.0, same_record=1.0))
    plain = judges("temperature (1)", temperature=1.0)
    found.append(_changed(plain, temperature=1.0))
    # The shipped weights with the start's in their place keep the thresholds, which were fitted to others.
    plain = judges("learning (start's weights)")
    unlearnt = structs.replace(
        shipped, weights=start.weights, against=start.against, gaps=start.gaps, undecided=start.undecided, prior={},
        channel_prior={},
    )  # fmt: skip
    found.append(_changed(plain, shipped=unlearnt, penalty=PINNED, without=("prior", "channel_prior")))
    return found


def _changed(variant: Variant, **changed: object) -> Variant:
    """`variant` with some of its fields changed."""
    return replace(variant, **changed)


def _detector(one: Testimony) -> str:
    return DETECTOR[one.kind.partition(".")[0]]


def _without(cases: Sequence[LabelledCase], detector: str) -> list[LabelledCase]:
    return [_with(case, [one for one in case.found if _detector(one) != detector]) for case in cases]


def _with(case: LabelledCase, found: Sequence[Testimony]) -> LabelledCase:
    return structs.replace(case, found=tuple(found))


# ---- what it comes to


class _Answers:
    """The judged answers of a variant, with the cost of each, one row per case (and round, where it is refitted)."""

    def __init__(self, variant: Variant, *, refit: bool) -> None:
        cases = variant.cases
        if refit:
            asked = variant.shipped.learnt
            penalty = asked["penalty"] if variant.penalty is None else variant.penalty
            learnt: Learnt = learn_with(
                cases, variant.start, penalty, precision=asked["wanted_precision"], strict=asked["wanted_strict"],
                temperature=variant.temperature, without=variant.without,
            )  # fmt: skip
            self.judged = judged_unseen(cases, learnt)
            self.cost = np.array([
                _cost(case, share) for case, rounds in zip(cases, learnt.unseen, strict=True) for share in rounds
            ])  # fmt: skip
        else:
            said = answers(cases, variant.shipped)
            self.judged = [judge(label_of(case), one) for case, one in zip(cases, said, strict=True)]
            self.cost = np.array(
                [_cost(case, probabilities(case.found, case.channel, variant.shipped)) for case in cases]
            )

    def part(self, prefix: str) -> _Answers:
        """Those of one set."""
        kept = [i for i, one in enumerate(self.judged) if one.label.id.startswith(prefix)]
        part = object.__new__(_Answers)
        part.judged, part.cost = [self.judged[i] for i in kept], self.cost[kept]
        return part

    def against(self, base: _Answers | None) -> Outcome:
        """The figures, and how they differ from those of `base`."""
        figures = {**scores(self.judged), LOSS: float(self.cost.mean())}
        if base is None:
            return Outcome(figures)
        before = {**scores(base.judged), LOSS: float(base.cost.mean())}
        around = difference_intervals(base.judged, self.judged)
        saved = self.cost - base.cost
        around[LOSS] = _interval(self.judged, saved)
        harms = _interval(self.judged, saved, len(set(DETECTOR.values())))[1] < 0
        names = [*FIGURES.values(), LOSS]
        return Outcome(figures, {n: Change(figures[n] - before[n], *around[n]) for n in names if n in around}, harms)


def _cost(case: LabelledCase, share: Mapping[str, float]) -> float:
    """Minus the log of the probability of an accepted answer."""
    right = sum(share.get(name, 0.0) for name in case.accepted)
    if case.fault_class != UNDECIDED:
        classes = len({fault_class for fault_class, _ in taxonomy()} - {"unknown"})
        right += share[UNDECIDED] * len(case.accepted) / classes
    return -math.log(max(right, 1e-9))


def _interval(judged: Sequence[Judged], change: np.ndarray, of_many: int = 1) -> tuple[float, float]:
    """The 95 % interval of the mean of `change`, families drawn; wider where it is one of many."""
    families = sorted({one.label.family for one in judged})
    place = {name: i for i, name in enumerate(families)}
    of = np.array([place[one.label.family] for one in judged])
    total, size = np.bincount(of, change), np.bincount(of)
    drawn = np.random.default_rng(SEED).integers(0, len(families), (DRAWS, len(families)))
    low, high = np.quantile(total[drawn].sum(axis=1) / size[drawn].sum(axis=1), [0.025 / of_many, 1 - 0.025 / of_many])
    return float(low), float(high)


def _by_set(answered: _Answers, base: _Answers | None) -> dict[str, Outcome]:
    return {name: answered.part(prefix).against(base.part(prefix) if base else None) for name, prefix in SETS.items()}


# ---- the tables


def _size(cases: Sequence[LabelledCase], name: str) -> int:
    return sum(case.id.startswith(SETS[name]) for case in cases)


def _heading(figure: str) -> str:
    return next((head for head, name in FIGURES.items() if name == figure), figure)


def _numbers(outcome: Outcome) -> list[str]:
    return [_number(outcome.figures[name]) for name in (*FIGURES.values(), LOSS)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _signed(outcome: Outcome) -> list[str]:
    return [_change(outcome.changes.get(name)) for name in (*FIGURES.values(), LOSS)]


def _change(change: Change | None) -> str:
    if change is None:
        return "-"
    # Neither -0.000 nor +0.000.
    return ("0" if abs(change.by) < 0.0005 else f"{change.by:+.3f}") + ("*" if change.sure else "")


class _Plain:
    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        print(f"\n{title}")
        for row in (head, *rows):
            cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
            print("  " + "  ".join(cells).rstrip())


class _Markdown:
    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        print(f"\n{title}\n")
        for row in (head, ["---", *["--:"] * (len(head) - 1)], *rows):
            print("| " + " | ".join(cell.replace("*", "\\*") for cell in row) + " |")


if __name__ == "__main__":
    sys.exit(main())
