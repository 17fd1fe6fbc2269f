"""Latency: whose time grew, as shares of what it usually takes.

Compared are the self times of every operation, during the trouble against before. A call's self time is the part of the
caller's span that the callee's does not cover: the way there and back, waiting included. What exceeds the operation's usual
range counts; the slowest twentieth counts as much as the one just below, so that a few stragglers decide nothing. The time
lost on calls from A to B is divided between the two: the larger part goes to the one of which more other calls are slow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.evidence.traffic import Floats, Ints, Mask, Traffic

# An operation seen less often, before or during, has no usual range.
_FEWEST = 3
# What is usual: up to this quantile before, or this many medians, and a margin below which nobody minds.
_QUANTILE, _MEDIANS, _MARGIN_US = 0.9, 3.0, 1000.0
_STRAGGLERS = 0.95
# The part of a service's spans, and of the calls to or from it, that must be slow for its excess to count in full. A slow
# network slows most packets; a busy processor stalls some spans.
_WIDESPREAD, _WIDESPREAD_CALLS = 0.2, 0.5
# The excess, in multiples of the usual time, at which a service is as likely to blame as not.
_EVEN = 2.0
# A service that loses less than this part of its excess on calls is slow by itself.
ON_CALLS = 0.9
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
    of_caller = np.bincount(caller, part, size) / np.maximum(np.bincount(caller, minlength=size), 1)
    of_callee = np.bincount(callee, part, size) / np.maximum(np.bincount(callee, minlength=size), 1)
    # Whoever is also slow by itself is the likelier one. One caller and one callee: the answer is late rather than the
    # question, so the callee is named first.
    of_callee_all, of_caller_all = (of_callee + slow_part)[callee] + 0.01, (of_caller + slow_part)[caller]
    to_callee = of_callee_all**2 / (of_callee_all**2 + of_caller_all**2)
    slow_part = slow_part / _WIDESPREAD
    for end, share, widespread in ((callee, to_callee, of_callee), (caller, 1 - to_callee, of_caller)):
        lost = np.bincount(end, per_edge.excess * share, size)
        excess, on_calls = excess + lost, on_calls + lost
        usual = usual + np.bincount(end, per_edge.usual * share, size)
        slow_part = np.maximum(slow_part, np.where(lost > 0.2 * excess, widespread / _WIDESPREAD_CALLS, 0.0))

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
    limit = np.full(len(traffic.operations), np.inf)
    limit[rows.operation] = rows.limit
    concerns = (traffic.service == slow.service) | (traffic.target == slow.service)
    mask: Mask = traffic.during & concerns & (traffic.self_us > limit[traffic.operation])
    return mask


def _rows(traffic: Traffic) -> _Rows:
    part = np.where(traffic.before, 0, np.where(traffic.during, 1, 2))
    chosen = np.flatnonzero(part < 2)
    order = chosen[np.lexsort((traffic.self_us[chosen], part[chosen], traffic.operation[chosen]))]
    size = len(traffic.operations)
    group = traffic.operation[order] * 2 + part[order]
    value = traffic.self_us[order]
    count = np.bincount(group, minlength=2 * size)
    first = np.r_[0, np.cumsum(count)[:-1]]
    counts, starts = count.reshape(size, 2), first.reshape(size, 2)
    seen = np.flatnonzero((counts >= _FEWEST).all(axis=1))

    def quantile(side: int, q: float) -> Floats:
        at = starts[seen, side] + np.floor(q * (counts[seen, side] - 1)).astype(np.int64)
        result: Floats = value[at]
        return result

    median = quantile(0, 0.5)
    limit = np.maximum(quantile(0, _QUANTILE), _MEDIANS * median) + _MARGIN_US
    limit_of = np.full(size, np.inf)
    limit_of[seen] = limit
    beyond = np.maximum(value - limit_of[traffic.operation[order]], 0.0)
    beyond[~np.isfinite(beyond)] = 0.0
    means, parts = [], []
    for side in (0, 1):
        cap = np.full(size, np.inf)
        cap[seen] = np.maximum(quantile(side, _STRAGGLERS) - limit, 0.0)
        mine = np.flatnonzero(part[order] == side)
        operation = traffic.operation[order[mine]]
        calls = np.maximum(np.bincount(operation, minlength=size), 1)
        means.append(np.bincount(operation, np.minimum(beyond[mine], cap[operation]), size)[seen] / calls[seen])
        parts.append(np.bincount(operation, beyond[mine] > 0, size)[seen] / calls[seen])
    number = counts[seen, 1].astype(np.float64)
    return _Rows(
        operation=seen,
        excess=np.maximum(means[1] - means[0], 0.0) * number,
        usual=median * number,
        count=number,
        slow=np.maximum(parts[1] - parts[0], 0.0) * number,
        limit=limit,
    )


def _by(key: Ints, rows: _Rows, chosen: Mask, size: int) -> _Rows:
    def summed(values: Floats) -> Floats:
        result: Floats = np.bincount(key, values[chosen], size).astype(np.float64)
        return result

    return _Rows(
        np.arange(size), summed(rows.excess), summed(rows.usual), summed(rows.count), summed(rows.slow), rows.limit
    )


def _any_span(traffic: Traffic) -> Ints:
    """One span of each operation."""
    result = np.zeros(len(traffic.operations), np.int64)
    result[traffic.operation] = np.arange(len(traffic.operation))
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
    during = np.flatnonzero(traffic.during & (traffic.operation == operation))
    before = traffic.self_us[traffic.before & (traffic.operation == operation)]
    times = traffic.self_us[during]
    order = during[np.argsort(-times, kind="stable")]
    return Slow(
        service=service,
        strength=float(strength[service]),
        excess=float(excess[service]),
        on_calls=float(on_calls[service]),
        operation=operation,
        calls=len(during),
        median=float(np.median(times)),
        median_before=float(np.median(before)),
        tail=float(np.quantile(times, _QUANTILE)),
        tail_before=float(np.quantile(before, _QUANTILE)),
        spans=order[traffic.self_us[order] > rows.limit[worst]],
    )
