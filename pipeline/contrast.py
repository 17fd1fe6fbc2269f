"""Contrast: which templates are new, surged or vanished in the incident window against the time before it.

Under the null hypothesis that a template's rate did not change, of its `k` lines the number in the incident window is
binomial with the share of time that the window has of both together: the exact conditional test for two Poisson rates
(Przyborowski and Wilenski, 1940). The false-discovery rate over all templates is held by Benjamini and Hochberg's
procedure (1995).

Where only a part of the lines was fetched, each step of the fetch plan takes incident and baseline at the same rate (see
`pipeline/sources/elasticsearch/plan.py`), so that the test above holds for the counts as they are. Lines that were fetched
because the ticket or a healthy order names them are left out of it, since they crowd in the incident; so are those of a step
that was broken off. A template of which one sampled line lies in the incident is not new for that.

With a catalogue (`pipeline/learning/`) the time before is not the only measure: of a template of which it says how many lines are
usual at this hour, that decides, and a template that it never saw is new.

`exact_shares` compares two groups (failing and healthy orders) by Fisher's exact test (1922): given how many of both have
a thing, the number in one group is hypergeometric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.cluster import Clusters
from pipeline.values import Scope, Span
from snapshots.model import Estimate

if TYPE_CHECKING:
    from pipeline.learning.usual import Compared, Known, Usual

# A change is believed where its q-value is at most this.
FALSE_DISCOVERY_RATE = 0.05
# Drawn lines below which the normal approximation of their sum is too narrow.
_FEW = 20


@dataclass(frozen=True)
class Change:
    """One template's counts in both windows. `q_value` is adjusted for the number of templates tested."""

    template_id: str
    incident: int
    baseline: int
    outside: int
    change: str
    p_value: float
    q_value: float
    # What the catalogue says of it, where there is one and it does.
    usual: Usual | None = None

    @property
    def before(self) -> bool:
        """Whether such lines came before, or usually come at this hour."""
        return self.baseline > 0 or (self.usual is not None and self.usual.lines >= 1.0)


@dataclass(frozen=True)
class Contrast:
    """`changes` by template id; `in_incident` and `in_baseline` are one boolean per row of the logs table.

    `compared` is what a catalogue said, None without one.
    """

    changes: dict[str, Change]
    in_incident: npt.NDArray[np.bool_]
    in_baseline: npt.NDArray[np.bool_]
    compared: Compared | None = None


def contrast(logs: pa.Table, clusters: Clusters, scope: Scope, known: Known | None = None) -> Contrast:
    """Compare the templates of the incident window with those of the baseline, by rate, or with what a catalogue knows."""
    from scipy.special import bdtr, bdtrc

    times = logs.column("@timestamp").combine_chunks()
    in_incident = _inside(times, scope.window)
    in_baseline = _inside(times, scope.baseline) & ~in_incident
    codes = clusters.template_ids.indices.to_numpy(zero_copy_only=False)
    size = len(clusters.template_ids.dictionary)
    counted = [np.bincount(codes[mask], minlength=size) for mask in (in_incident, in_baseline)]
    total = np.bincount(codes, minlength=size)
    tested = _tested(logs)
    incident = np.bincount(codes[in_incident & tested], minlength=size)
    baseline = np.bincount(codes[in_baseline & tested], minlength=size)

    seconds = _observed_seconds(times.filter(pa.array((in_incident | in_baseline) & tested)), scope)
    share = seconds[0] / (seconds[0] + seconds[1]) if sum(seconds) > 0 else 0.5
    both = incident + baseline
    with np.errstate(invalid="ignore"):
        more = np.where(incident > 0, bdtrc(incident - 1.0, both, share), 1.0)
        fewer = bdtr(incident.astype(float), both, share)
    p_values = np.clip(2.0 * np.minimum(more, fewer), 0.0, 1.0)
    p_values = np.where(both > 0, p_values, 1.0)
    rate_up = incident * (1.0 - share) > baseline * share
    ids = clusters.template_ids.dictionary.to_pylist()
    compared = None
    if known is not None:
        inside = _observed(times.filter(pa.array((in_incident | in_baseline) & tested)), scope.window)
        # Where only named lines came, nothing tells that less of the window was looked at.
        inside = inside if inside.end > inside.start else scope.window
        compared = known.compare(logs, clusters, in_incident, _rates(logs), inside)
        for i, template_id in enumerate(ids):
            usual = compared.by_template.get(template_id)
            if usual is not None:
                p_values[i], rate_up[i] = usual.p_value, usual.more
    q_values = _benjamini_hochberg(p_values)

    sampled = np.zeros(size, bool)
    sampled[np.unique(codes[_sampled(logs)])] = True
    # Where every step came to its end, a template that only named lines have would have been seen elsewhere, too.
    whole = not bool((_rates(logs) == 0.0).any())
    changes = {}
    for i, template_id in enumerate(ids):
        sure = not sampled[i] or q_values[i] <= FALSE_DISCOVERY_RATE
        usual = compared.by_template.get(template_id) if compared else None
        if usual is not None:
            change = _by_catalogue(usual, int(counted[0][i]), bool(q_values[i] <= FALSE_DISCOVERY_RATE), whole=whole)
        elif (incident[i] or (whole and counted[0][i])) and not counted[1][i] and sure:
            change = "new"
        elif q_values[i] <= FALSE_DISCOVERY_RATE:
            change = "surged" if rate_up[i] else "vanished"
        else:
            change = "usual"
        counts = (int(counted[0][i]), int(counted[1][i]), int(total[i] - counted[0][i] - counted[1][i]))
        changes[template_id] = Change(template_id, *counts, change, float(p_values[i]), float(q_values[i]), usual)
    return Contrast(changes, in_incident, in_baseline, compared)


def _by_catalogue(usual: Usual, incident: int, believed: bool, *, whole: bool) -> str:
    """The way of change of a template of which the catalogue says what is usual."""
    if usual.by == "never_seen":
        return "new" if incident else "usual"
    if not believed:
        return "usual"
    # Of a reading that was broken off it is not known how many lines are missing.
    return "surged" if usual.more else "vanished" if whole else "usual"


def estimates(logs: pa.Table, clusters: Clusters, found: Contrast) -> dict[str, Estimate]:
    """The estimated counts of the templates that have sampled lines, by id.

    A line that was drawn with probability r stands for 1/r lines (Horvitz and Thompson, 1952); the variance of such a sum
    over independent draws is estimated by the sum of (1 - r) / r^2. Of few drawn lines, none among them, the upper bound is
    the exact one of a Poisson count (Garwood, 1936). Where all that came of a step was broken off, nothing is estimated for
    the templates of its lines.
    """
    sampled = _sampled(logs)
    if not sampled.any():
        return {}
    codes = clusters.template_ids.indices.to_numpy(zero_copy_only=False)
    size = len(clusters.template_ids.dictionary)
    rates = _rates(logs)
    broken = rates == 0.0
    steps = np.asarray(pc.fill_null(logs.column("_step"), "").to_numpy(), dtype=object)
    lost = np.zeros(size, bool)
    for step in set(steps[broken]):
        of_step = steps == step
        if broken[of_step].all():
            lost[np.unique(codes[of_step])] = True
    lowest = np.ones(size)
    np.minimum.at(lowest, codes[sampled], rates[sampled])

    def summed(inside: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        from scipy.special import gammaincinv

        inside = inside & ~broken
        mine, rate = codes[inside], rates[inside]
        lines = np.bincount(mine, weights=1.0 / rate, minlength=size)
        variance = np.bincount(mine, weights=(1.0 - rate) / rate**2, minlength=size)
        drawn = np.bincount(codes[inside & sampled], minlength=size)
        few = np.where(drawn < _FEW, (gammaincinv(drawn + 1.0, 0.975) - drawn) / lowest, 0.0)
        margin = np.maximum(1.96 * np.sqrt(variance), few)
        return np.rint(lines).astype(np.int64), np.ceil(margin).astype(np.int64)

    (incident, incident_margin), (baseline, baseline_margin) = summed(found.in_incident), summed(found.in_baseline)
    ids = clusters.template_ids.dictionary.to_pylist()
    return {
        ids[i]: Estimate(
            incident=int(incident[i]),
            incident_margin=int(incident_margin[i]),
            baseline=int(baseline[i]),
            baseline_margin=int(baseline_margin[i]),
        )
        for i in np.unique(codes[sampled]).tolist()
        if not lost[i]
    }


def _rates(logs: pa.Table) -> npt.NDArray[np.float64]:
    """The share of its kind that each row is part of, 1 where all of them came."""
    return np.asarray(pc.fill_null(logs.column("_rate"), 1.0).to_numpy(), float)


def _sampled(logs: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows are drawn ones, of a draw that came to its end."""
    rates = _rates(logs)
    return np.asarray((rates > 0.0) & (rates < 1.0), bool)


def _tested(logs: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows may be counted against each other: not those that came for their names, nor those of a broken-off step."""
    tied = pc.is_in(logs.column("_step"), value_set=pa.array(["named", "healthy"]))
    return np.asarray(~tied.to_numpy() & (_rates(logs) > 0.0), bool)


@dataclass(frozen=True)
class Shares:
    """One-sided p-values for "more often in the first group" and "less often", each with its q-value over all tested."""

    p_more: npt.NDArray[np.float64]
    p_fewer: npt.NDArray[np.float64]
    q_more: npt.NDArray[np.float64]
    q_fewer: npt.NDArray[np.float64]


def exact_shares(
    first: npt.NDArray[np.int64],
    of_first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    of_second: npt.NDArray[np.int64],
) -> Shares:
    """Compare, element by element, `first` of `of_first` with `second` of `of_second` by Fisher's exact test.

    With one member in the first group and n in the second the smallest p-value that there is is 1 / (n + 1).

    >>> exact_shares(np.array([3]), np.array([3]), np.array([0]), np.array([8])).p_more.round(6).tolist()
    [0.006061]
    """
    from scipy.special import gammaln

    a, n, b, m = (np.asarray(one, np.int64) for one in (first, of_first, second, of_second))

    def log_choose(total: npt.NDArray[np.int64], some: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray(gammaln(total + 1.0) - gammaln(some + 1.0) - gammaln(total - some + 1.0))

    more, fewer = np.zeros(len(a)), np.zeros(len(a))
    for k in range(int(n.max(initial=0)) + 1):
        rest = a + b - k
        possible = (k <= n) & (rest >= 0) & (rest <= m)
        kk, left = np.where(possible, k, 0), np.where(possible, rest, 0)
        weight = np.exp(log_choose(n, kk) + log_choose(m, left) - log_choose(n + m, np.where(possible, a + b, 0)))
        chance = np.where(possible, weight, 0.0)
        more += np.where(k >= a, chance, 0.0)
        fewer += np.where(k <= a, chance, 0.0)
    more, fewer = np.clip(more, 0.0, 1.0), np.clip(fewer, 0.0, 1.0)
    return Shares(more, fewer, _benjamini_hochberg(more), _benjamini_hochberg(fewer))


def _inside(times: pa.Array, span: Span) -> npt.NDArray[np.bool_]:
    start, end = pa.scalar(span.start, times.type), pa.scalar(span.end, times.type)
    inside = pc.and_(pc.greater_equal(times, start), pc.less(times, end))
    return np.asarray(pc.fill_null(inside, fill_value=False).to_numpy(zero_copy_only=False), dtype=bool)


def _observed_seconds(times: pa.Array, scope: Scope) -> tuple[float, float]:
    """How much of each window the lines really span: a bundle often holds less than what was asked for."""
    window, baseline = _observed(times, scope.window), _observed(times, scope.baseline)
    return (window.end - window.start).total_seconds(), (baseline.end - baseline.start).total_seconds()


def _observed(times: pa.Array, span: Span) -> Span:
    """The part of `span` from the first to the last of `times`; an empty one at its start where they do not meet."""
    bounds = pc.min_max(times)
    first, last = bounds["min"].as_py(), bounds["max"].as_py()
    if first is None:
        return Span(span.start, span.start)
    start, end = max(span.start, first), min(span.end, last)
    return Span(start, max(start, end))


def _benjamini_hochberg(p_values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    count = len(p_values)
    if count == 0:
        return p_values
    order = np.argsort(p_values)
    scaled = p_values[order] * count / np.arange(1, count + 1)
    adjusted = np.minimum.accumulate(scaled[::-1])[::-1]
    result = np.empty(count)
    result[order] = np.minimum(adjusted, 1.0)
    return result
