"""How well answers fit their labels: plain functions over small values, without any input or output.

A *case* is a label and the answer that a snapshot gave. A figure is the share of the cases it counts that are right
(`RATIOS`), or one of `macro_f1` and `ece`. Cases of one family are near-duplicates of each other, so intervals are made by
drawing whole families; the exact (Clopper-Pearson) interval beside them takes cases as independent, and still has a width
where nothing went wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.faults import seed_class

Kind = Literal["real", "rule", "control", "insufficient"]
Outcome = Literal["right", "abstained", "wrong", "failed"]

KINDS: tuple[Kind, ...] = ("real", "rule", "control", "insufficient")
BINS = 10
DRAWS = 1000
_SEED = 20261123
# Class names that say that nothing is wrong, or that nobody can tell.
NO_FAULT = frozenset({"", "none", "null", "no_fault", "success", "pending", "unknown"})
_NOT_NAMED = frozenset({"", "none", "null", "unknown"})
# A finding whose log-odds changed by less than this has not moved.
_MOVED = 0.05

Array = npt.NDArray[np.float64]


# ---- the values


@dataclass(frozen=True)
class Label:
    """What is known to be right for one case.

    `alternates` are answers accepted as well, each `class` or `class/subclass`. `evidence` holds document ids that a good
    answer may cite. `kind`: `real` and `rule` have a fault to locate; in a `control` nothing is wrong, or not yet; in an
    `insufficient` case the deciding records are absent, and to abstain is right. Cases of one `family` are drawn together.
    """

    id: str
    fault_class: str
    fault_subclass: str = ""
    alternates: tuple[str, ...] = ()
    kind: Kind = "real"
    channel: str = ""
    language: str = ""
    family: str = ""
    evidence: frozenset[str] = frozenset()

    @property
    def accepted(self) -> frozenset[str]:
        """The classes that are counted right."""
        return frozenset({self.fault_class, *(alternate.split("/")[0] for alternate in self.alternates)})

    @property
    def has_fault(self) -> bool:
        """Whether there is a fault to locate."""
        return self.kind in {"real", "rule"}

    @property
    def expected(self) -> str:
        """Class and subclass, as they are written."""
        return "/".join(part for part in (self.fault_class, self.fault_subclass) if part)


@dataclass(frozen=True)
class Weighed:
    """One finding as the judge weighed it, in log-odds for the class `supports`."""

    kind: str
    weight: float
    supports: str | None = None
    service: str | None = None
    channel: str | None = None
    code: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a snapshot says, as far as it is scored. `failed` is the error of a run that gave none.

    `cited` are the document ids that the first candidate's findings cite, sorted; `missing` is whether it names evidence
    that would decide; `language` and `channel` are the ticket's and the located ones.
    """

    fault_class: str = ""
    fault_subclass: str = ""
    abstained: bool = False
    confidence: float | None = None
    candidates: tuple[str, ...] = ()
    seed: str | None = None
    missing: bool = False
    cited: tuple[str, ...] = ()
    findings: tuple[Weighed, ...] = ()
    language: str = ""
    channel: str = ""
    failed: str = ""

    @property
    def said(self) -> str:
        """The verdict in one word or two."""
        if self.failed:
            return "failed"
        if self.abstained:
            return "abstained"
        return "/".join(part for part in (self.fault_class, self.fault_subclass) if part)


@dataclass(frozen=True)
class Judged:
    """A label, an answer, and what the one makes of the other.

    `located`: a class was named; a run that failed counts as located, and as wrong. `strict`: it is the label's class;
    `accepted`: that or an alternate. `pair` and `pair_accepted`: the same with the subclass. `top3`: an accepted class is
    among the first three. `no_fault`: no fault is claimed.
    """

    label: Label
    answer: Answer
    located: bool
    strict: bool
    accepted: bool
    pair: bool
    pair_accepted: bool
    top3: bool
    no_fault: bool
    abstained: bool
    cites: bool
    seed_asked: bool
    seed_said: bool
    seed_right: bool

    @property
    def outcome(self) -> Outcome:
        """What the case comes to. For a control, `right` is to claim no fault; for an insufficient one, to abstain."""
        if self.answer.failed:
            return "failed"
        if self.label.kind == "control":
            return "right" if self.no_fault else "wrong"
        if self.label.kind == "insufficient":
            return "right" if self.abstained else "wrong"
        if self.abstained:
            return "abstained"
        return "right" if self.accepted else "wrong"


def judge(label: Label, answer: Answer) -> Judged:
    """Hold `answer` against `label`."""
    ran = not answer.failed
    named = answer.fault_class.strip()
    silent = ran and (answer.abstained or named.lower() in _NOT_NAMED)
    accepted = label.accepted
    strict = ran and not silent and named == label.fault_class
    fits = ran and not silent and named in accepted
    pair = strict and answer.fault_subclass == label.fault_subclass
    also = {named, f"{named}/{answer.fault_subclass}"}
    # The class that was named comes first, whatever the order of the candidates.
    ranked = [c for c in answer.candidates if silent or c != named]
    first = (ranked if silent else [named, *ranked])[:3]
    wanted = seed_class(label.fault_class) if label.has_fault else None
    asked = wanted in {"interface", "configuration"}
    return Judged(
        label=label,
        answer=answer,
        located=not silent,
        strict=strict,
        accepted=fits,
        pair=pair,
        pair_accepted=pair or (fits and not also.isdisjoint(label.alternates)),
        top3=ran and any(c in accepted for c in first),
        no_fault=ran and (silent or named.lower() in NO_FAULT),
        abstained=silent,
        cites=not label.evidence.isdisjoint(answer.cited),
        seed_asked=asked,
        seed_said=asked and answer.seed is not None,
        seed_right=asked and answer.seed == wanted,
    )


# ---- the figures

_Test = Callable[[Judged], bool]


def _fault(j: Judged) -> bool:
    return j.label.has_fault


def _named(j: Judged) -> bool:
    return j.label.has_fault and j.located


def _control(j: Judged) -> bool:
    return j.label.kind == "control"


def _insufficient(j: Judged) -> bool:
    return j.label.kind == "insufficient"


# Figure -> which cases it counts, and which of those are right.
RATIOS: Mapping[str, tuple[_Test, _Test]] = {
    "coverage": (_fault, lambda j: j.located),
    "precision_located_strict": (_named, lambda j: j.strict),
    "precision_located_alt": (_named, lambda j: j.accepted),
    "precision_all_located_alt": (
        lambda j: j.located and not (_control(j) and j.no_fault),
        lambda j: _fault(j) and j.accepted,
    ),
    "top1_strict": (_fault, lambda j: j.strict),
    "top1_alt": (_fault, lambda j: j.accepted),
    "top1_subclass_strict": (_fault, lambda j: j.pair),
    "top1_subclass_alt": (_fault, lambda j: j.pair_accepted),
    "top3_alt": (_fault, lambda j: j.top3),
    "control_no_fault_claimed": (_control, lambda j: j.no_fault),
    "control_abstained": (_control, lambda j: j.abstained),
    "insufficient_abstained": (_insufficient, lambda j: j.abstained),
    "insufficient_missing_named": (_insufficient, lambda j: j.abstained and j.answer.missing),
    "evidence_hit": (lambda j: _named(j) and bool(j.label.evidence), lambda j: j.cites),
    "seed_coverage": (lambda j: j.seed_asked, lambda j: j.seed_said),
    "seed_accuracy": (lambda j: j.seed_said, lambda j: j.seed_right),
}
COUNTS = ("cases", "fault_cases", "failures")
FIGURES = (
    *COUNTS[:2],
    *list(RATIOS)[: list(RATIOS).index("top3_alt") + 1],
    "macro_f1",
    *list(RATIOS)[list(RATIOS).index("top3_alt") + 1 :],
    "ece",
    COUNTS[2],
)
# Of these, less is better.
LOWER_IS_BETTER = frozenset({"ece", "failures"})


@dataclass(frozen=True)
class _Sums:
    """Per case (a row), the numbers whose sums give every figure, so that a drawn sample is one product of matrices.

    Columns: `counted` and `right` of each ratio, `hit`, `expected` and `named` of each class over the fault cases, and
    `cases`, `confidence` and `right` of each bin of confidence.
    """

    classes: tuple[str, ...]
    rows: Array


def _sums(judged: Sequence[Judged]) -> _Sums:
    classes = tuple(sorted({j.label.fault_class for j in judged if j.label.has_fault}))
    place = {name: i for i, name in enumerate(classes)}
    ratios = np.zeros((len(judged), 2, len(RATIOS)))
    by_class = np.zeros((len(judged), 3, len(classes)))
    bins = np.zeros((len(judged), 3, BINS))
    for row, j in enumerate(judged):
        for i, (counts, right) in enumerate(RATIOS.values()):
            if counts(j):
                ratios[row, :, i] = 1, right(j)
        if j.label.has_fault:
            by_class[row, 1, place[j.label.fault_class]] = 1
            by_class[row, 0, place[j.label.fault_class]] = j.strict
            if j.located and (named := place.get(j.answer.fault_class.strip())) is not None:
                by_class[row, 2, named] = 1
        if (one := _stated(j)) is not None:
            bins[row, :, _bin(one[0])] = 1, *one
    flat = [block.reshape(len(judged), block.shape[1] * block.shape[2]) for block in (ratios, by_class, bins)]
    return _Sums(classes, np.concatenate(flat, axis=1))


def _stated(j: Judged) -> tuple[float, bool] | None:
    """The probability that was said with a named class, and whether it was right; None where no class was named."""
    if not j.located or j.answer.failed or j.answer.confidence is None:
        return None
    return min(1.0, max(0.0, j.answer.confidence)), j.accepted if j.label.has_fault else j.no_fault


def _bin(confidence: float) -> int:
    return min(BINS - 1, int(confidence * BINS))


def _figures(sums: _Sums, totals: Array) -> dict[str, Array]:
    """The figures of each sample, a row of `totals`; not a number where a sample has no case that counts."""
    n, k = len(RATIOS), len(sums.classes)
    counted, right = totals[:, :n], totals[:, n : 2 * n]
    hit, expected, named = (totals[:, 2 * n + i * k : 2 * n + (i + 1) * k] for i in range(3))
    cases, confidence, good = (totals[:, 2 * n + 3 * k + i * BINS :][:, :BINS] for i in range(3))
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = dict(zip(RATIOS, (right / counted).T, strict=True))
        # Per class 2*TP / (2*TP + FP + FN), which is 0 where nothing was hit; the mean is over classes that occur.
        f1 = np.where(expected > 0, 2 * hit / (expected + named), 0.0)
        figures["macro_f1"] = f1.sum(axis=1) / (expected > 0).sum(axis=1)
        # Expected calibration error over bins of equal width: Naeini, Cooper, Hauskrecht, AAAI 2015.
        figures["ece"] = np.abs(confidence - good).sum(axis=1) / cases.sum(axis=1)
    return figures


def scores(judged: Sequence[Judged]) -> dict[str, float | int | None]:
    """Every figure of `FIGURES`, in that order; None where no case counts."""
    sums = _sums(judged)
    found = {name: float(value[0]) for name, value in _figures(sums, sums.rows.sum(axis=0, keepdims=True)).items()}
    whole: dict[str, int] = {
        "cases": len(judged),
        "fault_cases": sum(map(_fault, judged)),
        "failures": sum(bool(j.answer.failed) for j in judged),
    }
    return {name: whole[name] if name in whole else _or_none(found[name]) for name in FIGURES}


def counts(judged: Iterable[Judged]) -> dict[str, tuple[int, int]]:
    """Ratio -> how many cases are right, of how many it counts."""
    judged = list(judged)
    found = {}
    for name, (counted, right) in RATIOS.items():
        of = [j for j in judged if counted(j)]
        found[name] = (sum(map(right, of)), len(of))
    return found


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


# ---- intervals


def exact_interval(right: int, of: int) -> tuple[float, float] | None:
    """The 95 % Clopper-Pearson interval of a proportion (Biometrika 26, 1934); None where `of` is 0."""
    if not of:
        return None
    from scipy.stats import binomtest

    interval = binomtest(right, of).proportion_ci(0.95, method="exact")
    return float(interval.low), float(interval.high)


def intervals(judged: Sequence[Judged], draws: int = DRAWS) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each figure by drawing families with replacement (percentiles; the seed is fixed)."""
    if not judged or not draws:
        return {}
    sums = _sums(judged)
    drawn = _figures(sums, _draw(judged, draws) @ sums.rows)
    return {name: interval for name, values in drawn.items() if (interval := _percentiles(values)) is not None}


def difference_intervals(
    before: Sequence[Judged], now: Sequence[Judged], draws: int = DRAWS
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each figure's change, both runs drawn alike. Their labels are the same, in the same order."""
    if not now or not draws:
        return {}
    weights = _draw(now, draws)
    old, new = (_figures(sums, weights @ sums.rows) for sums in (_sums(before), _sums(now)))
    changed = ((name, _percentiles(new[name] - old[name])) for name in new)
    return {name: interval for name, interval in changed if interval is not None}


def _draw(judged: Sequence[Judged], draws: int) -> Array:
    """Per draw (a row) how often each case is in it: as often as its family was drawn."""
    families = sorted({family(j.label) for j in judged})
    place = {name: i for i, name in enumerate(families)}
    of_case = np.array([place[family(j.label)] for j in judged])
    chance = random.Random(_SEED)  # noqa: S311  # a sample, no secret
    every = range(len(families))
    weights = np.empty((draws, len(judged)))
    for row in range(draws):
        drawn = chance.choices(every, k=len(families))
        weights[row] = np.bincount(drawn, minlength=len(families))[of_case]
    return weights


def family(label: Label) -> str:
    """The family, or the case alone where none is known."""
    return label.family or label.id


def _percentiles(values: Array) -> tuple[float, float] | None:
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return None
    return float(known[int(0.025 * len(known))]), float(known[min(len(known) - 1, int(0.975 * len(known)))])


# ---- parts of the whole


@dataclass(frozen=True)
class Bin:
    """Cases whose stated probability lies in [low, high): how sure they were (mean), and how many were right."""

    low: float
    high: float
    cases: int
    right: int
    confidence: float | None = None
    exact95: tuple[float, float] | None = None


def reliability(judged: Iterable[Judged]) -> list[Bin]:
    """Ten bins of equal width over the cases that named a class. The last takes 1.0 as well."""
    held: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for j in judged:
        if (one := _stated(j)) is not None:
            held[_bin(one[0])].append(one)
    return [
        Bin(
            low=i / BINS,
            high=(i + 1) / BINS,
            cases=len(ones),
            right=(right := sum(ok for _, ok in ones)),
            confidence=sum(sorted(said for said, _ in ones)) / len(ones) if ones else None,
            exact95=exact_interval(right, len(ones)),
        )
        for i, ones in enumerate(held)
    ]


@dataclass(frozen=True)
class ClassScore:
    """One class over the fault cases; `predicted` counts all cases in which it was named."""

    n: int
    f1: float
    strict: int
    accepted: int
    predicted: int
    recall_strict: float
    recall_alt: float
    recall_alt_exact95: tuple[float, float] | None


def by_class(judged: Sequence[Judged]) -> dict[str, ClassScore]:
    """Every class that a fault case is labelled with, in order of names."""
    faults = [j for j in judged if j.label.has_fault]
    found = {}
    for name in sorted({j.label.fault_class for j in faults}):
        mine = [j for j in faults if j.label.fault_class == name]
        strict, accepted = sum(j.strict for j in mine), sum(j.accepted for j in mine)
        named = [j for j in judged if j.located and j.answer.fault_class.strip() == name]
        found[name] = ClassScore(
            n=len(mine),
            f1=2 * strict / (len(mine) + sum(j.label.has_fault for j in named)),
            strict=strict,
            accepted=accepted,
            predicted=len(named),
            recall_strict=strict / len(mine),
            recall_alt=accepted / len(mine),
            recall_alt_exact95=exact_interval(accepted, len(mine)),
        )
    return found


@dataclass(frozen=True)
class Group:
    """The figures of a part of the cases. `silent` are the controls and insufficient cases that were answered right."""

    scores: Mapping[str, float | int | None]
    counts: Mapping[str, tuple[int, int]]
    precision_located_alt_exact95: tuple[float, float] | None
    silent: tuple[int, int]


def groups(judged: Iterable[Judged], key: Callable[[Label], str]) -> dict[str, Group]:
    """The figures of each value of `key`, in order of values."""
    parts: dict[str, list[Judged]] = {}
    for j in judged:
        parts.setdefault(key(j.label) or "-", []).append(j)
    found = {}
    for name in sorted(parts):
        part, of = parts[name], counts(parts[name])
        quiet = [j for j in part if not j.label.has_fault]
        found[name] = Group(
            scores=scores(part),
            counts=of,
            precision_located_alt_exact95=exact_interval(*of["precision_located_alt"]),
            silent=(sum(j.outcome == "right" for j in quiet), len(quiet)),
        )
    return found


# ---- two versions


@dataclass(frozen=True)
class Moved:
    """A finding whose log-odds differ; None where the version does not have it."""

    finding: str
    supports: str | None
    before: float | None
    now: float | None


@dataclass(frozen=True)
class Change:
    """A case that two versions answer differently."""

    id: str
    kind: str
    expected: str
    before: str
    now: str
    confidence_before: float | None
    confidence_now: float | None
    outcome_before: Outcome
    outcome_now: Outcome
    findings: tuple[Moved, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Today's run against an earlier one, over the cases that both have and by today's labels.

    A regression is a case that was right and is not, or that abstained and is now wrong; a gain is the reverse. `lost` and
    `gained` count right or not alone, and `mcnemar_p` is the exact two-sided probability of so uneven a split by chance.
    """

    common: int
    only_before: tuple[str, ...]
    only_now: tuple[str, ...]
    scores_before: Mapping[str, float | int | None]
    scores_now: Mapping[str, float | int | None]
    difference_ci95: Mapping[str, tuple[float, float]]
    lost: int
    gained: int
    mcnemar_p: float
    regressions: tuple[Change, ...] = ()
    gains: tuple[Change, ...] = ()
    others: tuple[Change, ...] = ()


_RANK: Mapping[Outcome, int] = {"right": 2, "abstained": 1, "wrong": 0, "failed": 0}


def compare(before: Mapping[str, Answer], now: Sequence[Judged], draws: int = DRAWS) -> Comparison:
    """Hold today's answers against those of `before`, by case id."""
    new = sorted((j for j in now if j.label.id in before), key=lambda j: j.label.id)
    old = [judge(j.label, before[j.label.id]) for j in new]
    lost = sum(a.outcome == "right" != b.outcome for a, b in zip(old, new, strict=True))
    gained = sum(b.outcome == "right" != a.outcome for a, b in zip(old, new, strict=True))
    sides: dict[int, list[Change]] = {-1: [], 0: [], 1: []}
    for a, b in zip(old, new, strict=True):
        rise = _RANK[b.outcome] - _RANK[a.outcome]
        if rise or a.answer.said != b.answer.said:
            sides[(rise > 0) - (rise < 0)].append(_change(a, b))
    return Comparison(
        common=len(new),
        only_before=tuple(sorted(before.keys() - {j.label.id for j in now})),
        only_now=tuple(sorted(j.label.id for j in now if j.label.id not in before)),
        scores_before=scores(old),
        scores_now=scores(new),
        difference_ci95=difference_intervals(old, new, draws),
        lost=lost,
        gained=gained,
        mcnemar_p=mcnemar(lost, gained),
        regressions=tuple(sides[-1]),
        gains=tuple(sides[1]),
        others=tuple(sides[0]),
    )


def mcnemar(lost: int, gained: int) -> float:
    """The exact two-sided p-value of McNemar's test (Psychometrika 12, 1947): a binomial test of the changed pairs."""
    if not lost + gained:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained).pvalue)


def _change(before: Judged, now: Judged) -> Change:
    return Change(
        id=now.label.id,
        kind=now.label.kind,
        expected=now.label.expected,
        before=before.answer.said,
        now=now.answer.said,
        confidence_before=before.answer.confidence,
        confidence_now=now.answer.confidence,
        outcome_before=before.outcome,
        outcome_now=now.outcome,
        findings=moved(before.answer.findings, now.answer.findings),
    )


def moved(before: Iterable[Weighed], now: Iterable[Weighed]) -> tuple[Moved, ...]:
    """The findings whose log-odds differ, those that differ most first. Findings of the same name are added up."""
    old, new = _by_name(before), _by_name(now)
    found = [
        Moved(name, supports, old.get((name, supports)), new.get((name, supports)))
        for name, supports in old.keys() | new.keys()
        if abs(new.get((name, supports), 0.0) - old.get((name, supports), 0.0)) >= _MOVED
    ]
    return tuple(sorted(found, key=lambda m: (-abs((m.now or 0) - (m.before or 0)), m.finding, m.supports or "")))


def _by_name(findings: Iterable[Weighed]) -> dict[tuple[str, str | None], float]:
    sums: dict[tuple[str, str | None], float] = {}
    for one in findings:
        parts = [one.kind, *(part for part in (one.service, one.channel, one.code) if part and part != "-")]
        key = (" ".join(parts), one.supports)
        sums[key] = round(sums.get(key, 0.0) + one.weight, 6)
    return sums
