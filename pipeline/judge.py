"""The judge's sums: from findings to a probability for each fault class.

A finding adds its weight, in log-odds, to the class that it supports, and takes from the classes that it speaks against.
The weight is `weight of its kind x its strength`. Findings for one class mostly say the same thing again, so in order of
weight each counts `repeated` times what the one before it did. Two that cite the same record have one witness: the second
counts `same_record` times its weight, and does not count as one before. "Undecided" is a candidate like any other: it starts with
some weight and gains from each gap in the evidence. The probabilities are the softmax of the sums, divided by a
temperature that was fitted on cases which the weights had not seen (Guo et al., On Calibration of Modern Neural Networks,
2017). No class gets more than `ceiling`, what the surest answers of those cases came to: the rest is "undecided".

All numbers stand in one file, `faults/weights.toml`, which `problem-snapshot learn-weights` writes and people read.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pipeline.errors import UsageError
from pipeline.faults import seed_class
from pipeline.faults.tables import SeedClass, channel_key
from snapshots.model import ProblemSnapshot

UNDECIDED = "undecided"
GAP = "gap."
# The answers that are no fault.
NO_FAULT = frozenset({"success", "pending"})

_SHIPPED = Path(__file__).parent / "faults" / "weights.toml"
# What the shipped weights were learnt from: numbers set by hand, which no case has touched.
START = Path(__file__).parent / "faults" / "weights_start.toml"
# What to do where the weights that the settings name are no good.
IN_FORCE = "Correct `weights` in the configuration, or take it out: then the shipped weights hold"
# The version of the file that is read here.
_VERSION = 2


class Witness(Protocol):
    """What the sums read of a finding: `values.Found` has it, and so has a finding in a document."""

    @property
    def kind(self) -> str:
        """`<detector>.<what>`."""

    @property
    def supports(self) -> str | None:
        """The fault class that it speaks for."""

    @property
    def strength(self) -> float:
        """The detector's own certainty, 0..1."""

    @property
    def against(self) -> Sequence[str]:
        """The fault classes that it speaks against."""

    @property
    def records(self) -> frozenset[Any]:
        """What it cites, in any form that tells one record from another."""


class Testimony(msgspec.Struct, frozen=True, omit_defaults=True):
    """A finding as the judge met it, to be weighed again: a `Witness` that can be written down."""

    kind: str
    strength: float = 0.0
    supports: str | None = None
    against: tuple[str, ...] = ()
    cites: tuple[str, ...] = ()

    @property
    def records(self) -> frozenset[Any]:
        """The numbers of the evidence in the document."""
        return frozenset(self.cites)


def testimony(snapshot: ProblemSnapshot) -> tuple[Testimony, ...]:
    """What the judge read of a snapshot's findings, and of the gaps that stand among what is missing."""
    found = [
        Testimony(one.kind, one.strength, one.supports, tuple(one.against), tuple(e.ref for e in one.evidence))
        for one in snapshot.findings
        if (one.supports and one.strength > 0) or one.against or one.kind.startswith(GAP)
    ]
    cited = {one.kind for one in snapshot.findings}
    # A gap that has nothing to cite is no finding of the document.
    return (
        *found,
        *(Testimony(m.kind) for m in snapshot.diagnosis.missing if m.kind.startswith(GAP) and m.kind not in cited),
    )


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`weights.toml`. Weights and gaps are in log-odds, thresholds are probabilities.

    `weights` and `against` are by kind of finding: the longest prefix that ends at a dot, or is the whole kind, holds.
    `prior` is added to a class that any finding supports, `channel_prior` likewise where the order went through that
    channel. `locate_class` stands in for `locate` for the classes that it names. `learnt` says where the numbers are from.
    """

    version: int
    repeated: float
    same_record: float
    undecided: float
    temperature: float
    ceiling: float
    locate: float
    seed: float
    weights: dict[str, float]
    against: dict[str, float] = {}
    gaps: dict[str, float] = {}
    locate_class: dict[str, float] = {}
    prior: dict[str, float] = {}
    channel_prior: dict[str, dict[str, float]] = {}
    learnt: dict[str, Any] = {}

    def group(self, kind: str) -> str | None:
        """The key of `weights` that holds for `kind`."""
        return _longest(kind, self.weights)

    def against_group(self, kind: str) -> str | None:
        """The key of `against` that holds for `kind`."""
        return _longest(kind, self.against)

    def of(self, found: Witness) -> float:
        """The log-odds that `found` adds for the class that it supports; negative where it only speaks against some."""
        if found.supports:
            key = self.group(found.kind)
            return self.weights[key] * found.strength if key else 0.0
        return -self.taken(found) if found.against else 0.0

    def taken(self, found: Witness) -> float:
        """The log-odds that `found` takes from each class that it speaks against."""
        key = self.against_group(found.kind)
        return self.against[key] * found.strength if key else 0.0

    def threshold(self, fault_class: str) -> float:
        """The probability from which `fault_class` is named."""
        return self.locate_class.get(fault_class, self.locate)


def _longest(kind: str, keys: Iterable[str]) -> str | None:
    fitting = [key for key in keys if kind == key or kind.startswith(key + ".")]
    return max(fitting, key=len) if fitting else None


def weights(path: str | None = None) -> Weights:
    """The weights of the file at `path`, or the shipped ones. Raises `UsageError` naming what is wrong with the file."""
    place = Path(path) if path else _SHIPPED
    try:
        data = place.read_bytes()
    except OSError as error:
        raise UsageError(f"{place}: the weights cannot be read: {error.strerror}") from error
    # By content: the file may be another one by the next ticket, and its digest is that of today's content.
    return _weights(str(place), data)


def weights_in_force(path: str | None) -> Weights:
    """The weights that the settings name. Raises `UsageError` that says what is to be done."""
    try:
        return weights(path)
    except UsageError as error:
        raise UsageError(f"{error}. {IN_FORCE}") from error


@lru_cache(maxsize=8)
def _weights(path: str, data: bytes) -> Weights:
    try:
        table = msgspec.toml.decode(data, type=Weights)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        message = f"{path}: is no file of weights: {error}. `problem-snapshot learn-weights` writes one"
        raise UsageError(message) from error
    _check(table, path)
    return table


def _check(table: Weights, path: str) -> None:
    """What types cannot say of numbers that were written by hand."""
    if table.version != _VERSION:
        raise UsageError(
            f"{path}: is of version {table.version}; this program reads {_VERSION}. `problem-snapshot learn-weights` writes one"
        )

    def check(name: str, values: Mapping[str, float], fits: Callable[[float], bool], what: str) -> None:
        for key, value in values.items():
            if not fits(value):
                raise UsageError(f"{path}: {name}{key} is {value}; it must be {what}")

    for name in ("weights", "against", "gaps"):
        check(f"{name}.", getattr(table, name), lambda value: 0 <= value < math.inf, "0 or more (0 counts nothing)")
    check("", {"undecided": table.undecided}, math.isfinite, "a number")
    check("prior.", table.prior, math.isfinite, "a number")
    for channel, of in table.channel_prior.items():
        check(f"channel_prior.{channel}.", of, math.isfinite, "a number")
    check("", {"temperature": table.temperature}, lambda value: 0 < value < math.inf, "above 0")
    shares = {name: getattr(table, name) for name in ("repeated", "same_record", "ceiling", "locate", "seed")}
    check("", shares, lambda value: 0 <= value <= 1, "between 0 and 1")
    check("locate_class.", table.locate_class, lambda value: 0 <= value <= 1, "between 0 and 1")


def probabilities(found: Sequence[Witness], channel: str | None, table: Weights) -> dict[str, float]:
    """The probability of each class that a finding supports, and of `UNDECIDED`; they add up to 1."""
    return below(softmax(sums(found, channel, table), table.temperature), table.ceiling)


def sums(found: Sequence[Witness], channel: str | None, table: Weights) -> dict[str, float]:
    """The log-odds of each class that a finding supports, and of `UNDECIDED`."""
    by_channel = table.channel_prior.get(channel_key(channel), {}) if channel else {}
    scores: dict[str, float] = {}
    for name, mine in speaking(found, table).items():
        scores[name] = sum(table.of(one) * share for one, share in mine)
        scores[name] += table.prior.get(name, 0.0) + by_channel.get(name, 0.0)
        scores[name] -= sum(table.taken(one) * share for one, share in clearing(found, name, table))
    scores[UNDECIDED] = table.undecided + sum(table.gaps.get(one.kind, 0.0) for one in found)
    return scores


def speaking(found: Sequence[Witness], table: Weights) -> dict[str, list[tuple[Witness, float]]]:
    """For each class that a finding supports, its findings and the share of its weight that each counts with."""
    by_class: dict[str, list[Witness]] = defaultdict(list)
    for one in found:
        if one.supports and table.of(one) > 0:
            by_class[one.supports].append(one)
    return {name: _shares(mine, [table.of(one) for one in mine], table) for name, mine in by_class.items()}


def clearing(found: Sequence[Witness], name: str, table: Weights) -> list[tuple[Witness, float]]:
    """The findings that speak against `name`, likewise."""
    mine = [one for one in found if name in one.against and table.taken(one) > 0]
    return _shares(mine, [table.taken(one) for one in mine], table)


def _shares(mine: Sequence[Witness], weights_of: Sequence[float], table: Weights) -> list[tuple[Witness, float]]:
    """Each finding with the share that it counts with: the heaviest counts whole; of equal ones the first given goes first."""
    ordered = sorted(zip(weights_of, mine, strict=True), key=lambda pair: -pair[0])
    seen: set[Any] = set()
    before = 0
    shares: list[tuple[Witness, float]] = []
    for _, one in ordered:
        if one.records and not seen.isdisjoint(one.records):
            shares.append((one, table.same_record))
        else:
            shares.append((one, table.repeated**before))
            before += 1
        seen.update(one.records)
    return shares


def softmax(scores: Mapping[str, float], temperature: float = 1.0) -> dict[str, float]:
    """`scores` as probabilities that add up to 1.

    >>> softmax({"a": 0.0, "b": 0.0})
    {'a': 0.5, 'b': 0.5}
    """
    highest = max(scores.values())
    odds = {name: math.exp((score - highest) / temperature) for name, score in scores.items()}
    total = sum(odds.values())
    return {name: value / total for name, value in odds.items()}


def below(probability: Mapping[str, float], ceiling: float) -> dict[str, float]:
    """The probabilities with every class's share scaled by `ceiling`, and the rest given to `UNDECIDED`.

    >>> below({"a": 1.0, "undecided": 0.0}, 0.75)
    {'a': 0.75, 'undecided': 0.25}
    """
    return {name: value * ceiling + (1 - ceiling if name == UNDECIDED else 0.0) for name, value in probability.items()}


def seed_shares(probability: Mapping[str, float]) -> dict[SeedClass, float]:
    """The probability of each coarse class: the sum over its members."""
    shares: dict[SeedClass, float] = defaultdict(float)
    for name, value in probability.items():
        seed = seed_class(name)
        if seed:
            shares[seed] += value
    return dict(shares)
