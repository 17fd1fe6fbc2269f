"""Latency: whose time grew, as shares of what it usually takes.

Compared are the self times of every operation, during the trouble against before. A call's self time is the part of the
caller's span that the callee's does not cover: the way there and back, waiting included. What exceeds the operation's usual
range counts; the slowest twentieth counts as much as the one just below, so that a few stragglers decide nothing. The time
lost on calls from A to B is divided between the two: the larger part goes to the one about which more else is slow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.traffic.spans import Floats, Ints, Mask, Traffic

# An operation seen less often, before or during, has no usual range.
_FEWEST = 3
# What is usual: up to this quantile before, or this many medians, and a margin below which nobody minds.
_QUANTILE, _MEDIANS, _MARGIN_US = 0.9, 3.0, 1000.0
_STRAGGLERS = 0.95
# The part of a service's spans, and of the calls to or from it, that must be slow for its excess to count in full. A slow
# network slows most packets, and some calls are slow in any network, so fewer count less than in proportion; a busy
# processor stalls some spans.
_WIDESPREAD, _WIDESPREAD_CALLS = 0.2, 0.5
# The excess, in multiples of the usual time, at which a service is as likely to blame as not.
_EVEN = 2.0
# A service that loses less than this part of its excess on calls is slow by itself.
ON_CALLS = 0.9
# How much the callee is preferred where both ends have as much that is slow, and how sharply the two are told apart.
_CALLEE, _SHARP = 1.5, 4
# Time that calls take although nothing is wrong with them, so that a service without any is not divided by nothing.
_FLOOR_US = 1000.0


@dataclass(frozen=True)
class Slow:
    """A service that takes longer.

    `excess` is in multiples of its usual time; `on_calls` is the part lost on calls to and
    from it. `spans` are the slow ones, worst first, of the operation that lost most; the figures are of that operation, in
    microseconds.
    """

    service: int
    strength: float
    excess: float
    on_calls: float
    operation: int
    calls: int
    median: float
    median_before: float
    tail: float
    tail_before: float
    spans: Ints


@dataclass(frozen=True)
class _Rows:
    """One entry per operation that was seen often enough on both sides."""

    operation: Ints
    excess: Floats
    usual: Floats
    count: Floats
    slow: Floats
    limit: Floats


def slow_services(traffic: Traffic) -> list[Slow]:
    """The services that take longer than before, the one most to blame first."""
    rows = _rows(traffic)
    if not len(rows.operation):
        return []
    size, any_span = len(traffic.services), _any_span(traffic)
    service, target = traffic.service[any_span[rows.operation]], traffic.target[any_span[rows.operation]]
    call = target >= 0
    own = _by(service[~call], rows, ~call, size)
    excess, usual, slow_part = own.excess, own.usual + _FLOOR_US, own.slow / np.maximum(own.count, 1)
    on_calls = np.zeros(size)

    edges, edge = np.unique(service[call] * size + target[call], return_inverse=True)
    caller, callee = edges // size, edges % size
    per_edge = _by(edge, rows, call, len(edges))
    part = per_edge.slow / np.maximum(per_edge.count, 1)
    calls = traffic.during & (traffic.target >= 0)
    all_edges = np.unique(traffic.service[calls] * size + traffic.target[calls])
    of_caller = np.bincount(caller, part, size) / np.maximum(np.bincount(all_edges // size, minlength=size), 1)
    of_callee = np.bincount(callee, part, size) / np.maximum(np.bincount(all_edges % size, minlength=size), 1)
    # The end with more that is slow about it, calls in, calls out and own time, is the likelier one. Between equals it is the
    # callee: an answer that is late is commoner than a question that is.
    about = of_caller + of_callee + slow_part
    to_callee = (_CALLEE * about[callee]) ** _SHARP
    to_callee = to_callee / np.maximum(to_callee + about[caller] ** _SHARP, 1e-12)
    slow_part = slow_part / _WIDESPREAD
    for end, share, widespread in ((callee, to_callee, of_callee), (caller, 1 - to_callee, of_caller)):
        lost = np.bincount(end, per_edge.excess * share, size)
        excess, on_calls = excess + lost, on_calls + lost
        usual = usual + np.bincount(end, per_edge.usual * share, size)
        slow_part = np.maximum(slow_part, np.where(lost > 0.2 * excess, (widespread / _WIDESPREAD_CALLS) ** 2, 0.0))

    ratio = excess / usual * np.minimum(slow_part, 1.0)
    strength = ratio / (ratio + _EVEN)
    found = []
    for index in np.lexsort((np.arange(size), -strength)):
        if strength[index] < 0.05:
            break
        found.append(
            _slow(traffic, rows, any_span, int(index), strength, excess / usual, on_calls / np.maximum(excess, 1e-9))
        )
    return found


def slow_spans(traffic: Traffic, slow: Slow) -> Mask:
    """The spans during the trouble whose time lies beyond the usual and concerns `slow`."""
    rows = _rows(traffic)
    limit = np.full(int(traffic.timed.max()) + 1, np.inf)
    limit[rows.operation] = rows.limit
    concerns = (traffic.service == slow.service) | (traffic.target == slow.service)
    mask: Mask = traffic.during & concerns & (traffic.self_us > limit[traffic.timed])
    return mask


def _rows(traffic: Traffic) -> _Rows:
    size = int(traffic.timed.max()) + 1
    median, limit = _usual(traffic.self_us, traffic.timed, traffic.before, size)
    # Too few calls from one caller: the callee's others say what is usual.
    to = np.where(traffic.target >= 0, traffic.target, len(traffic.services))
    to_median, to_limit = _usual(traffic.self_us, to, traffic.before & (traffic.target >= 0), len(traffic.services) + 1)
    to_of = np.full(size, len(traffic.services))
    to_of[traffic.timed] = to
    median = np.where(np.isfinite(limit), median, to_median[to_of])
    limit = np.where(np.isfinite(limit), limit, to_limit[to_of])

    excess, slow = [], []
    for part in (traffic.before, traffic.during):
        count, lost, many = _beyond(traffic.self_us[part], traffic.timed[part], limit)
        excess.append(lost / np.maximum(count, 1))
        slow.append(many / np.maximum(count, 1))
    seen = np.flatnonzero((count >= _FEWEST) & np.isfinite(limit))
    number = count[seen].astype(np.float64)
    return _Rows(
        operation=seen,
        excess=np.maximum(excess[1] - excess[0], 0.0)[seen] * number,
        usual=median[seen] * number,
        count=number,
        slow=np.maximum(slow[1] - slow[0], 0.0)[seen] * number,
        limit=limit[seen],
    )


def _usual(self_us: Floats, group: Ints, part: Mask, size: int) -> tuple[Floats, Floats]:
    """Each group's median before, and the time beyond which a span is slow; infinite where too few were seen."""
    order, first, count = _sorted(self_us[part], group[part], size)
    seen = np.flatnonzero(count >= _FEWEST)
    value = self_us[part][order]
    median, limit = np.zeros(size), np.full(size, np.inf)
    median[seen] = value[first[seen] + (count[seen] - 1) // 2]
    high = value[first[seen] + np.floor(_QUANTILE * (count[seen] - 1)).astype(np.int64)]
    limit[seen] = np.maximum(high, _MEDIANS * median[seen]) + _MARGIN_US
    return median, limit


def _beyond(self_us: Floats, group: Ints, limit: Floats) -> tuple[Ints, Floats, Floats]:
    """Each group's spans, their time beyond `limit`, stragglers cut to the others' worst, and how many are beyond."""
    size = len(limit)
    order, first, count = _sorted(self_us, group, size)
    beyond = np.maximum(self_us - limit[group], 0.0)
    any_one = np.flatnonzero(count > 0)
    cap = np.zeros(size)
    cap[any_one] = beyond[order][first[any_one] + np.floor(_STRAGGLERS * (count[any_one] - 1)).astype(np.int64)]
    lost = np.bincount(group, np.minimum(beyond, cap[group]), size).astype(np.float64)
    return count, lost, np.bincount(group, beyond > 0, size).astype(np.float64)


def _sorted(self_us: Floats, group: Ints, size: int) -> tuple[Ints, Ints, Ints]:
    """The order by group and time, where each group begins in it, and its size."""
    count = np.bincount(group, minlength=size)
    return np.lexsort((self_us, group)), np.r_[0, np.cumsum(count)[:-1]], count


def _by(key: Ints, rows: _Rows, chosen: Mask, size: int) -> _Rows:
    def summed(values: Floats) -> Floats:
        result: Floats = np.bincount(key, values[chosen], size).astype(np.float64)
        return result

    return _Rows(
        np.arange(size), summed(rows.excess), summed(rows.usual), summed(rows.count), summed(rows.slow), rows.limit
    )


def _any_span(traffic: Traffic) -> Ints:
    """One span of each operation."""
    result = np.zeros(int(traffic.timed.max()) + 1, np.int64)
    result[traffic.timed] = np.arange(len(traffic.timed))
    return result


def _slow(
    traffic: Traffic,
    rows: _Rows,
    any_span: Ints,
    service: int,
    strength: Floats,
    excess: Floats,
    on_calls: Floats,
) -> Slow:
    owner, target = traffic.service[any_span[rows.operation]], traffic.target[any_span[rows.operation]]
    mine = (owner == service) | (target == service)
    own = mine & (target < 0) & (rows.excess > 0)
    if on_calls[service] < ON_CALLS and own.any():
        mine = own
    elif on_calls[service] > 0:
        mine &= target >= 0
    worst = int(np.argmax(np.where(mine, rows.excess, -1.0)))
    operation = int(rows.operation[worst])
    during = np.flatnonzero(traffic.during & (traffic.timed == operation))
    before = traffic.self_us[traffic.before & (traffic.timed == operation)]
    if len(before) < _FEWEST:
        before = traffic.self_us[traffic.before & (traffic.target == target[worst])]
    times = traffic.self_us[during]
    order = during[np.argsort(-times, kind="stable")]
    return Slow(
        service=service,
        strength=float(strength[service]),
        excess=float(excess[service]),
        on_calls=float(on_calls[service]),
        operation=int(traffic.operation[any_span[operation]]),
        calls=len(during),
        median=float(np.median(times)),
        median_before=float(np.median(before)),
        tail=float(np.quantile(times, _QUANTILE)),
        tail_before=float(np.quantile(before, _QUANTILE)),
        spans=order[traffic.self_us[order] > rows.limit[worst]],
    )
