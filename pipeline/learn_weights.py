"""Learn weights: fit the numbers of the judge to cases whose cause is known.

A conditional logit over the classes that the findings of a case support, and "undecided" (McFadden, 1974), whose weights
are pulled towards those that it starts from, by as much as cases left out say is best. Folds never part a family of
near-duplicates. What comes out of the folds, and nothing else, sets the temperature and the thresholds; figures are
printed from there.

The numbers to begin with must not have seen the cases: else the cases left out are not.

Where no finding supports an accepted class, the right answer of the judge is "undecided": it cannot know better.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import structs

from pipeline.errors import UsageError
from pipeline.faults import seed_class, taxonomy
from pipeline.faults.tables import channel_key
from pipeline.judge import (
    NO_FAULT,
    UNDECIDED,
    Testimony,
    Weights,
    below,
    clearing,
    probabilities,
    seed_shares,
    softmax,
    speaking,
    sums,
)
from pipeline.scores import KINDS, Answer, Label

Array = npt.NDArray[np.float64]

FOLDS = 10
# With fewer families than folds there is nothing to leave out that would say much.
LEAST_FAMILIES = FOLDS
ROUNDS = 3
# How hard the weights are pulled towards those that they started from: what cross-validation chooses from.
_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)
_REPEATED = (0.2, 0.3, 0.4, 0.5, 0.6)
_SAME_RECORD = (0.1, 0.2, 0.3, 0.4, 0.5)
# A channel's own prior is pulled harder than the general one: few cases have the channel.
# Nor has a channel a prior of its own with fewer cases than this.
_CHANNEL_CASES = 60
_PRIOR_PENALTY, _CHANNEL_PENALTY, _UNDECIDED_PENALTY = 1.0, 4.0, 0.3
# How much the label itself counts beside the answers that are accepted as well.
_LABEL_SHARE = 0.6
# A class has a threshold of its own where the folds say so in spite of this many cases at the common precision.
_SHRINK = 6.0
# Answers from here on are the surest.
_SUREST = 0.95
# The share of cases without a fault to find in which none may be claimed.
_QUIET = 0.98
_GRID = tuple(round(0.40 + 0.01 * i, 2) for i in range(56))
_SEED = 20261126
_SHIPPED = Path(__file__).parent / "faults" / "labelled_cases.ndjson"


class LabelledCase(msgspec.Struct, frozen=True, omit_defaults=True):
    """A case whose cause is known, as the judge meets it. `accepted` are the classes that are counted right."""

    id: str
    fault_class: str
    accepted: tuple[str, ...]
    kind: str
    family: str
    channel: str = ""
    found: tuple[Testimony, ...] = ()


@dataclass(frozen=True)
class Learnt:
    """The weights, and per case (in their order) the probabilities that weights fitted without the case give it."""

    weights: Weights
    unseen: tuple[tuple[Mapping[str, float], ...], ...]


def labelled_case(label: Label, found: Sequence[Testimony], channel: str) -> LabelledCase:
    """The case of `label` with what the judge read of its snapshot; `channel` is the only one of its scope, or empty."""
    accepted = {
        "control": {UNDECIDED, *NO_FAULT},
        "insufficient": {UNDECIDED},
    }.get(label.kind, set(label.accepted))
    return LabelledCase(
        id=label.id,
        fault_class=label.fault_class if label.has_fault else UNDECIDED,
        accepted=tuple(sorted(accepted)),
        kind=label.kind,
        family=label.family or label.id,
        channel=channel,
        found=tuple(found),
    )


def learn(cases: Sequence[LabelledCase], start: Weights, *, precision: float, strict: float, name: str = "") -> Learnt:
    """Weights for `cases`, pulled towards `start`.

    The thresholds are the lowest at which cases left out were right in at least `precision` of those located, and named the
    label's own class in at least `strict`. `name` says in the file where the cases are from. Raises `UsageError` for too few
    cases.
    """
    families = len({case.family for case in cases})
    if families < LEAST_FAMILIES:
        raise UsageError(
            f"{name or 'the cases'}: {counted(len(cases), 'case', 'cases')} in {counted(families, 'family', 'families')}; "
            f"weights are judged by families left out, for which {LEAST_FAMILIES} families are needed"
        )
    penalty, chosen = _choose(cases, start)
    return learn_with(cases, chosen, penalty, precision=precision, strict=strict, name=name)


def learn_with(
    cases: Sequence[LabelledCase],
    start: Weights,
    penalty: float,
    *,
    precision: float,
    strict: float,
    name: str = "",
    temperature: float | None = None,
    without: Collection[str] = (),
) -> Learnt:
    """As `learn`, with a penalty and discounts that are known already.

    `temperature` stands in for the one that cases left out say is best. `without` may name `prior` and `channel_prior`,
    which then are not fitted but stay away.
    """
    outside = _outside(cases, start, penalty, ROUNDS, without)
    temperature = temperature or _temperature(cases, outside)
    shares = [[softmax(one, temperature) for one in rounds] for rounds in outside]
    ceiling = _ceiling(cases, shares)
    unseen = tuple(tuple(below(share, ceiling) for share in rounds) for rounds in shares)
    locate = _threshold(cases, unseen, precision, strict)
    fitted = fit(cases, start, penalty, without)
    table = structs.replace(
        fitted,
        version=start.version,
        temperature=temperature,
        ceiling=ceiling,
        locate=locate,
        locate_class=_class_thresholds(cases, unseen, locate, precision),
        seed=_seed_threshold(cases, unseen, locate, precision),
        learnt={
            "cases": name,
            "number": len(cases),
            "families": len({case.family for case in cases}),
            "folds": FOLDS,
            "rounds": ROUNDS,
            "penalty": penalty,
            "wanted_precision": precision,
            "wanted_strict": strict,
        },
    )
    return Learnt(table, unseen)


# ---- what to say of it


def answer(case: LabelledCase, share: Mapping[str, float], table: Weights) -> Answer:
    """What the judge says of the case under `table`, given its probabilities, as far as it is scored."""
    ranked = sorted((name for name in share if name != UNDECIDED), key=lambda name: (-share[name], name))
    located = bool(ranked) and share[ranked[0]] >= table.threshold(ranked[0])
    shares = seed_shares(share)
    seed: str | None = min(shares, key=lambda name: (-shares[name], name), default=None)
    if located:
        seed = seed_class(ranked[0])
    elif seed is None or shares[seed] < table.seed:  # type: ignore[index]  # it is one of the keys
        seed = None
    return Answer(
        fault_class=ranked[0] if located else "",
        abstained=not located,
        confidence=share[ranked[0]] if ranked else 0.0,
        candidates=tuple(ranked),
        seed=seed,
        missing=not located,
        language="",
        channel=case.channel,
    )


def answers(cases: Sequence[LabelledCase], table: Weights) -> list[Answer]:
    """What the judge says of each case under `table`."""
    return [answer(case, probabilities(case.found, case.channel, table), table) for case in cases]


def label_of(case: LabelledCase) -> Label:
    """The label of the case, for scoring."""
    kind = next(name for name in KINDS if name == case.kind)
    alternates = tuple(name for name in case.accepted if name != case.fault_class)
    return Label(case.id, case.fault_class, alternates=alternates, kind=kind, family=case.family, channel=case.channel)


def read_cases(data: bytes, name: str) -> tuple[LabelledCase, ...]:
    """The labelled cases of a file, one JSON object a line. Raises `UsageError` that names the line."""
    found: dict[str, LabelledCase] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            case = msgspec.json.decode(line, type=LabelledCase)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            message = f"{where}: is no labelled case: {error}. `problem-snapshot learn-weights --write-cases` writes such files"
            raise UsageError(message) from error
        wrong = _wrong(case) or (f"{case.id!r} stands there twice" if case.id in found else "")
        if wrong:
            raise UsageError(f"{where}: {wrong}")
        found[case.id] = case
    return tuple(found.values())


def _wrong(case: LabelledCase) -> str:
    """What is wrong with a case that is well formed, or nothing."""
    if not case.id or not case.family or not case.accepted:
        return "id, family and accepted must not be empty"
    if case.kind not in KINDS:
        return f"kind {case.kind!r} is none of {', '.join(KINDS)}"
    known = {fault_class for fault_class, _ in taxonomy()} | NO_FAULT | {UNDECIDED}
    for one in (case.fault_class, *case.accepted):
        if one not in known:
            return f"there is no fault class {one!r}; there are {', '.join(sorted(known))}"
    for found in case.found:
        if not 0 <= found.strength <= 1:
            return f"the strength of {found.kind} is {found.strength}; it must be between 0 and 1"
    return ""


def counted(number: int, one: str, more: str) -> str:
    """The number with its noun."""
    return f"{number} {one if number == 1 else more}"


def cases_text(cases: Iterable[LabelledCase]) -> str:
    """The cases as a file, in order of ids."""
    lines = [msgspec.json.encode(case, order="deterministic").decode() for case in sorted(cases, key=lambda c: c.id)]
    return "\n".join(lines) + "\n"


@cache
def shipped_cases() -> tuple[LabelledCase, ...]:
    """The cases that the shipped weights were learnt from: findings and labels, no records."""
    return read_cases(_SHIPPED.read_bytes(), _SHIPPED.name)


# ---- the fit


@dataclass(frozen=True)
class _Keys:
    """The places of all numbers that are fitted, in one vector."""

    weights: tuple[str, ...]
    against: tuple[str, ...]
    gaps: tuple[str, ...]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    place: Mapping[tuple[str, ...], int] = field(default_factory=dict)

    @staticmethod
    def of(table: Weights, cases: Sequence[LabelledCase], without: Collection[str] = ()) -> _Keys:
        """The numbers of `table`, with a prior for each class and each channel that occurs, save those of `without`."""
        classes = tuple(sorted({fault_class for fault_class, _ in taxonomy()} - {"unknown"}))
        counted = Counter(channel_key(case.channel) for case in cases)
        channels = tuple(sorted(name for name, number in counted.items() if name and number >= _CHANNEL_CASES))
        names: list[tuple[str, ...]] = [("weight", key) for key in table.weights]
        names += [("against", key) for key in table.against]
        names += [("gap", key) for key in table.gaps]
        names += [("undecided",)]
        if "prior" not in without:
            names += [("prior", name) for name in classes]
        if "channel_prior" in without:
            channels = ()
        names += [("channel", channel, name) for channel in channels for name in classes]
        return _Keys(
            tuple(table.weights), tuple(table.against), tuple(table.gaps), classes, channels,
            {name: i for i, name in enumerate(names)},
        )  # fmt: skip


@dataclass(frozen=True)
class _Problem:
    """One case: a row of `matrix` per candidate, "undecided" the last; `right` and `label` are one boolean per row."""

    matrix: Array
    right: npt.NDArray[np.bool_]
    label: npt.NDArray[np.bool_]


class _Problems:
    """All cases under one another: `first[i]` is the row with which case `i` begins."""

    def __init__(self, problems: Sequence[_Problem]) -> None:
        counts = np.array([len(one.right) for one in problems], dtype=np.intp)
        self.first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp)
        self.of = np.repeat(np.arange(len(problems)), counts)
        self.matrix = np.concatenate([one.matrix for one in problems])
        self.right = np.concatenate([one.right for one in problems])
        self.label = np.concatenate([one.label for one in problems])
        # How much the label counts beside what is accepted as well: nothing where it is no candidate.
        self.part = np.where(self._sum(self.label) > 0, _LABEL_SHARE, 0.0)

    def loss(self, point: Array) -> tuple[float, Array]:
        """Minus the log-likelihood, and its slope."""
        scores = self.matrix @ point
        odds = np.exp(scores - np.maximum.reduceat(scores, self.first)[self.of])
        share = odds / self._sum(odds)[self.of]
        accepted, named = self._sum(share * self.right), self._sum(share * self.label)
        part, rest = self.part, 1 - self.part
        # Where the label is no candidate its part is 0, whatever the quotient.
        sure = np.where(part > 0, named, 1.0)
        wanted = (rest / accepted)[self.of] * share * self.right + (part / sure)[self.of] * share * self.label
        cost = -(rest * np.log(accepted) + part * np.log(sure)).sum()
        return float(cost), self.matrix.T @ (share - wanted)

    def _sum(self, values: npt.NDArray[Any]) -> Array:
        return np.add.reduceat(values.astype(np.float64), self.first)


def fit(cases: Sequence[LabelledCase], start: Weights, penalty: float, without: Collection[str] = ()) -> Weights:
    """The weights of the greatest penalised likelihood. The order in which findings are discounted is `start`'s.

    `without` may name `prior` and `channel_prior`: the result has none.
    """
    from scipy.optimize import minimize

    keys = _Keys.of(start, cases, without)
    begin, pull, least = _begin(start, keys, penalty)
    if not cases:
        return _table(begin, start, keys)
    problems = _Problems([_problem(case, start, keys) for case in cases])

    def loss(point: Array) -> tuple[float, Array]:
        cost, slope = problems.loss(point)
        away = point - begin
        return cost + float((pull * away**2).sum()), slope + 2 * pull * away

    # A kind without a weight by judgement is told and does not vote.
    silent = {i for (group, *key), i in keys.place.items() if group == "weight" and not start.weights[key[0]]}
    bounds = [(low, 0.0 if i in silent else None) for i, low in enumerate(least)]
    best = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds).x
    return _table(best, start, keys)


def _begin(start: Weights, keys: _Keys, penalty: float) -> tuple[Array, Array, Array]:
    """Where the fit begins, how hard each number is pulled there, and the least that each may be."""
    size = len(keys.place)
    begin, pull, least = np.zeros(size), np.full(size, penalty), np.full(size, -np.inf)
    for name, i in keys.place.items():
        match name:
            case ("weight", key):
                begin[i], least[i] = start.weights[key], 0.0
            case ("against", key):
                begin[i], least[i] = start.against[key], 0.0
            case ("gap", key):
                begin[i], least[i] = start.gaps[key], 0.0
            case ("undecided",):
                begin[i], pull[i] = start.undecided, penalty * _UNDECIDED_PENALTY
            case ("prior", of):
                begin[i], pull[i] = start.prior.get(of, 0.0), _PRIOR_PENALTY
            case ("channel", channel, of):
                begin[i], pull[i] = start.channel_prior.get(channel, {}).get(of, 0.0), _CHANNEL_PENALTY
    return begin, pull, least


def _problem(case: LabelledCase, start: Weights, keys: _Keys) -> _Problem:
    """The case as sums that are linear in the fitted numbers."""
    spoken = speaking(case.found, start)
    names = sorted(spoken)
    matrix = np.zeros((len(names) + 1, len(keys.place)))
    channel = channel_key(case.channel)
    for row, name in enumerate(names):
        for one, share in spoken[name]:
            matrix[row, keys.place["weight", str(start.group(one.kind))]] += one.strength * share
        for one, share in clearing(case.found, name, start):
            matrix[row, keys.place["against", str(start.against_group(one.kind))]] -= one.strength * share
        if ("prior", name) in keys.place:
            matrix[row, keys.place["prior", name]] = 1.0
        if ("channel", channel, name) in keys.place:
            matrix[row, keys.place["channel", channel, name]] = 1.0
    matrix[-1, keys.place["undecided",]] = 1.0
    for one in case.found:
        if one.kind in start.gaps:
            matrix[-1, keys.place["gap", one.kind]] += 1.0
    candidates = [*names, UNDECIDED]
    right = np.array([name in case.accepted for name in candidates])
    label = np.array([name == case.fault_class for name in candidates])
    if not right.any():
        right[-1] = label[-1] = True
    return _Problem(matrix, right, label)


def _table(point: Array, start: Weights, keys: _Keys) -> Weights:
    def value(*name: str) -> float:
        return round(float(point[keys.place[name]]), 3)

    priors = {name: value("prior", name) for name in keys.classes if ("prior", name) in keys.place}
    by_channel = {c: {n: v for n in keys.classes if (v := value("channel", c, n))} for c in keys.channels}
    return structs.replace(
        start,
        undecided=value("undecided"),
        weights={key: value("weight", key) for key in keys.weights},
        against={key: value("against", key) for key in keys.against},
        gaps={key: value("gap", key) for key in keys.gaps},
        prior={name: prior for name, prior in priors.items() if prior},
        channel_prior={channel: shares for channel, shares in by_channel.items() if shares},
    )


# ---- cases left out


def _folds(cases: Sequence[LabelledCase], round_: int) -> list[int]:
    """The fold of each case: families are dealt out in an order that depends on nothing but the round."""
    families = sorted({case.family for case in cases})
    random.Random(_SEED + round_).shuffle(families)  # noqa: S311  # a deal, no secret
    fold = {name: i % FOLDS for i, name in enumerate(families)}
    return [fold[case.family] for case in cases]


def _outside(
    cases: Sequence[LabelledCase], start: Weights, penalty: float, rounds: int, without: Collection[str] = ()
) -> list[list[Mapping[str, float]]]:
    """Per case and round the log-odds that weights fitted without its fold give it."""
    found: list[list[Mapping[str, float]]] = [[] for _ in cases]
    for round_ in range(rounds):
        folds = _folds(cases, round_)
        for fold in sorted(set(folds)):
            inside = [case for case, of in zip(cases, folds, strict=True) if of != fold]
            table = fit(inside, start, penalty, without)
            for i, (case, of) in enumerate(zip(cases, folds, strict=True)):
                if of == fold:
                    found[i].append(sums(case.found, case.channel, table))
    return found


def _choose(cases: Sequence[LabelledCase], start: Weights) -> tuple[float, Weights]:
    """The penalty, and `start` with the discounts, under which cases left out are likely.

    Of the penalties, the greatest whose cost is within one standard error of the least (Breiman et al., Classification and
    Regression Trees, 1984): with few cases the best of several is mostly luck.
    """
    costs = {penalty: _costs(cases, _outside(cases, start, penalty, 1)) for penalty in _PENALTIES}
    best = min(costs.values(), key=lambda found: float(found.sum()))
    allowed = float(best.sum()) + float(best.std() * math.sqrt(len(best)))
    penalty = max(penalty for penalty, found in costs.items() if float(found.sum()) <= allowed)
    tried = [structs.replace(start, repeated=r, same_record=s) for r in _REPEATED for s in _SAME_RECORD if s <= r]
    return penalty, min(tried, key=lambda table: float(_costs(cases, _outside(cases, table, penalty, 1)).sum()))


def _costs(cases: Sequence[LabelledCase], outside: Sequence[Sequence[Mapping[str, float]]]) -> Array:
    """Per case minus the log-likelihood of an answer that is right."""
    found = []
    for case, rounds in zip(cases, outside, strict=True):
        cost = 0.0
        for scores in rounds:
            share = softmax(scores)
            right = [name for name in share if name in case.accepted] or [UNDECIDED]
            cost -= math.log(max(sum(share[name] for name in right), 1e-9))
        found.append(cost / len(rounds))
    return np.array(found)


# ---- how sure


def _first(share: Mapping[str, float]) -> str | None:
    return min((name for name in share if name != UNDECIDED), key=lambda name: (-share[name], name), default=None)


def _temperature(cases: Sequence[LabelledCase], outside: Sequence[Sequence[Mapping[str, float]]]) -> float:
    """The temperature under which the first candidate's probability says best how often it is right."""
    from scipy.optimize import minimize_scalar

    def cost(log_temperature: float) -> float:
        total = 0.0
        for case, rounds in zip(cases, outside, strict=True):
            for scores in rounds:
                share = softmax(scores, math.exp(log_temperature))
                first = _first(share)
                if first is not None:
                    said = min(max(share[first], 1e-6), 1 - 1e-6)
                    total -= math.log(said if first in case.accepted else 1 - said)
        return total

    best = minimize_scalar(cost, bounds=(math.log(0.25), math.log(4.0)), method="bounded")
    return round(float(math.exp(best.x)), 3)


def _ceiling(cases: Sequence[LabelledCase], unseen: Sequence[Sequence[Mapping[str, float]]]) -> float:
    """How often the surest answers are right, by the rule of succession: (right + 1) / (number + 2)."""
    sure = [one.right for one in _answers(cases, unseen) if one.said >= _SUREST]
    return round((sum(sure) / ROUNDS + 1) / (len(sure) / ROUNDS + 2), 3)


@dataclass(frozen=True)
class _Answered:
    case: str
    name: str
    said: float
    right: bool
    strict: bool


def _answers(cases: Sequence[LabelledCase], unseen: Sequence[Sequence[Mapping[str, float]]]) -> list[_Answered]:
    """The first candidate of each case and round."""
    return [
        _Answered(case.id, first, share[first], first in case.accepted, first == case.fault_class)
        for case, rounds in zip(cases, unseen, strict=True)
        for share in rounds
        if (first := _first(share)) is not None
    ]


def _threshold(
    cases: Sequence[LabelledCase], unseen: Sequence[Sequence[Mapping[str, float]]], precision: float, strict: float
) -> float:
    answers = _answers(cases, unseen)
    quiet = {case.id for case in cases if case.fault_class == UNDECIDED}
    for threshold in (t for t in _GRID if t >= 0.5):
        located = [one for one in answers if one.said >= threshold]
        faults = [one for one in located if one.case not in quiet]
        # Cases without a fault, or without the evidence for it, of which none may be claimed.
        claimed = sum(not one.right for one in located if one.case in quiet)
        if not faults or claimed > (1 - _QUIET) * ROUNDS * len(quiet):
            continue
        if _share(one.right for one in faults) >= precision and _share(one.strict for one in faults) >= strict:
            return threshold
    return _GRID[-1]


def _class_thresholds(
    cases: Sequence[LabelledCase], unseen: Sequence[Sequence[Mapping[str, float]]], common: float, precision: float
) -> dict[str, float]:
    """Classes that need more than the common threshold. Rounds repeat the cases, so they count as a share of one."""
    answers = _answers(cases, unseen)
    pooled = _share(one.right for one in answers if one.said >= common)
    found = {}
    for name in sorted({one.name for one in answers}):
        mine = [one for one in answers if one.name == name]
        for threshold in (t for t in _GRID if t >= common):
            located = [one for one in mine if one.said >= threshold]
            number = len(located) / ROUNDS
            right = sum(one.right for one in located) / ROUNDS
            if (right + _SHRINK * max(pooled, precision)) / (number + _SHRINK) >= precision:
                break
        if threshold > common:
            found[name] = threshold
    return found


def _seed_threshold(
    cases: Sequence[LabelledCase], unseen: Sequence[Sequence[Mapping[str, float]]], locate: float, precision: float
) -> float:
    """The lowest share of a coarse class at which it may be said where the class itself may not."""
    answers = []
    for case, rounds in zip(cases, unseen, strict=True):
        wanted = seed_class(case.fault_class)
        for share in rounds:
            shares = seed_shares(share)
            first = _first(share)
            if shares and (first is None or share[first] < locate):
                best = min(shares, key=lambda seed: (-shares[seed], seed))
                answers.append((shares[best], best == wanted))
    for threshold in (t for t in _GRID if t >= 0.5):
        said = [right for share, right in answers if share >= threshold]
        if (sum(said) / ROUNDS + _SHRINK * precision) / (len(said) / ROUNDS + _SHRINK) >= precision:
            return threshold
    return _GRID[-1]


def _share(values: Iterable[bool]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


# ---- the file


def weights_text(table: Weights) -> str:
    """The file of `table`: TOML, with a word on each part, the same text for the same weights."""
    lines = [_HEAD.rstrip(), "", f"version = {table.version}"]
    for name, says in _SCALARS.items():
        lines += ["", f"# {says}", f"{name} = {_number(getattr(table, name))}"]
    for name, says in _TABLES.items():
        values: Mapping[str, Any] = getattr(table, name)
        if not values and name not in {"weights", "gaps"}:
            continue
        lines += ["", f"# {says}"]
        if name == "channel_prior":
            for channel, shares in sorted(values.items()):
                inner = ", ".join(f"{_key(key)} = {_number(value)}" for key, value in sorted(shares.items()))
                lines.append(f"channel_prior.{_key(channel)} = {{ {inner} }}")
            # Dotted keys belong to the top of the file, above all tables.
            continue
        lines.append(f"[{name}]")
        lines += [f"{_key(key)} = {_number(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return _number(key)


def _number(value: Any) -> str:
    # JSON is TOML here, but for one character that TOML wants escaped.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


_HEAD = """
# The judge's numbers: how much a finding counts, and from what probability on a class is named. pipeline/judge.py says how
# they are used. `problem-snapshot learn-weights` writes this file; it may be edited by hand, too.
"""
_SCALARS = {
    "repeated": "Findings for one class count in order of weight, each so many times what the one before it did.",
    "same_record": "One that cites a record that a heavier one cites counts so many times its weight.",
    "undecided": 'The log-odds of "undecided" before any finding.',
    "temperature": "All sums are divided by it before they become probabilities. Fitted on cases left out.",
    "ceiling": "No class gets a greater probability: how often the surest answers were right. Fitted on cases left out.",
    "locate": "A class is named from this probability on.",
    "seed": "Where no class is named, interface / configuration / other is said from this sum over its classes on.",
}
_TABLES = {
    "channel_prior": "Added to a class that any finding supports, where the order went through the channel; log-odds.",
    "prior": "Added to a class that any finding supports; log-odds.",
    "locate_class": "Classes that need more than `locate`.",
    "weights": "What a finding of strength 1 adds to the class that it supports, in log-odds; the longest matching prefix holds.",
    "against": "What a finding of strength 1 takes from each class that it speaks against; log-odds.",
    "gaps": 'What a gap in the evidence adds to "undecided"; log-odds.',
    "learnt": "Where the numbers are from.",
}
