"""Paths: which service leaves its usual path, and whether it stops short or goes another way.

Inside each span the events have an order: its start, the calls it makes, the lines it writes, its end. Compared is what
follows an event during the trouble with what followed it before. A step counts where it hardly ever happened before, in a
span whose whole set of events was not seen before either (so that clocks that disagree by a millisecond count for nothing).
Its surprise is p log(p / q): p the lower bound of its share during the trouble, q its smoothed share before. Pairs of
neighbouring events as the place of a fault: Yu et al., Nezha, ESEC/FSE 2023, doi:10.1145/3611643.3616249. How often
something never seen is to be expected: Good, Biometrika 40, 1953.

A deviation is laid to the deepest service: where a visit calls another visit that deviates, or one that is slow, its own
deviation follows from that. Operations that failed before and have recovered are compared only with their healthy visits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.identifiers import values_in
from pipeline.traffic.spans import END, START, Floats, Ints, Mask, Traffic

# Spans that passed an event before, from which what follows it can be called usual.
_FEWEST = 3
# A step that had more than this part before is no surprise, nor one whose part grew by less than this factor.
_RARE, _GROWTH = 0.05, 3.0
# One-sided 95 %.
_Z = 1.645
# The smoothed share before: half a case more seen than was.
_HALF = 0.5
# Below this surprise (in nats) a step is not looked at.
_LEAST = 0.1
# A deeper deviation explains one above it unless that is this many times as surprising.
_ABOVE = 2.0
# The surprise at which a service is as likely to blame as not.
_EVEN = 1.0
# Steps that are looked at, the most surprising first: each costs a pass over all of them.
_MOST_STEPS = 1_000
# How much of a caller's surprise right after an answer falls on the one that answered.
_ANSWERED = 0.6
# Where a failing visit's own error names another service: what falls on that one, and what stays.
_NAMED, _NAMING = 0.6, 0.5

How = Literal["cut_short", "other_path", "answer", "named"]


@dataclass(frozen=True)
class Deviation:
    """A service off its path.

    After the event `previous` of `operation` came `event`, in `times` of `out_of` passes, and in `times_before` of
    `out_of_before`. `usual` is what mostly came before. `how` is "answer" where it is a caller that deviates, right after
    this service answered, and "named" where the caller's errors name this service. `spans` are the deviating ones.
    """

    service: int
    strength: float
    how: How
    operation: int
    previous: int
    event: int
    usual: int
    times: int
    out_of: int
    times_before: int
    out_of_before: int
    spans: Ints


@dataclass(frozen=True)
class _Steps:
    """One entry per distinct step; `of` gives for each transition its step."""

    of: Ints
    operation: Ints
    previous: Ints
    event: Ints
    before: Floats
    during: Floats
    passes_before: Floats
    passes_during: Floats
    surprise: Floats


def deviations(traffic: Traffic, slow: Mask) -> list[Deviation]:
    """The services off their path, the one most to blame first; `slow` are spans whose time is beyond the usual."""
    usable = traffic.before & ~_recovered(traffic)
    odd, sets = _odd_sets(traffic, usable)
    steps = _steps(traffic, usable, odd, sets)
    if not len(steps.surprise):
        return []
    deviating = traffic.during[traffic.t_span] & odd[traffic.t_span] & (steps.surprise[steps.of] > _LEAST)
    where = np.flatnonzero(deviating)
    own = np.zeros(len(traffic.parent))
    np.maximum.at(own, traffic.head[traffic.t_span[where]], steps.surprise[steps.of[where]])
    below = _below(traffic, own, slow)
    head = traffic.head[traffic.t_span[where]]
    unexplained = own[head] >= _ABOVE * below[head]
    step = steps.of[where]
    times = np.bincount(step, minlength=len(steps.surprise))
    share = np.bincount(step, unexplained, len(steps.surprise)) / np.maximum(times, 1)
    blame = steps.surprise * share

    named = _named(traffic)
    found: dict[int, Deviation] = {}
    for index in np.lexsort((np.arange(len(blame)), -blame))[:_MOST_STEPS]:
        if blame[index] <= _LEAST:
            break
        mine = where[(step == index) & unexplained]
        own_one = _deviation(traffic, steps, int(index), float(blame[index]), usable, traffic.t_span[mine])
        for one in _divided(traffic, own_one, named):
            if one.service not in found or one.strength > found[one.service].strength:
                found[one.service] = one
    return sorted(found.values(), key=lambda d: (-d.strength, d.service))


def _divided(traffic: Traffic, deviation: Deviation, named: Ints) -> list[Deviation]:
    """The deviation, and what of it is laid to a service that the errors name or that had just answered."""
    others = named[traffic.head[deviation.spans]]
    if (others >= 0).mean() >= 0.5:
        blamed, times = np.unique(others[others >= 0], return_counts=True)
        part = times.max() / len(others)
        theirs = replace(
            deviation,
            service=int(blamed[np.argmax(times)]),
            how="named",
            strength=_NAMED * deviation.strength * float(part),
        )
        return [replace(deviation, strength=_NAMING * deviation.strength), theirs]
    answer = _answer(traffic, deviation)
    return [deviation, answer] if answer else [deviation]


def _named(traffic: Traffic) -> Ints:
    """For each visit the other service that an error of it names, else -1."""
    result = np.full(len(traffic.parent), -1, np.int64)
    rows = np.flatnonzero(traffic.line_error & (traffic.lines >= 0))
    rows = rows[traffic.during[traffic.lines[rows]]]
    if not len(rows):
        return result
    heads = traffic.head[traffic.lines[rows]]
    messages = pa.array(traffic.logs.column("message").take(pa.array(rows)).to_pylist(), pa.string())
    for code, name in enumerate(traffic.services):
        # A plain word such as "order" is in many a sentence; a name with a mark in it is a name.
        if name.isalnum() or len(name) < 5:
            continue
        hit = np.asarray(pc.fill_null(values_in(messages, [name]), fill_value=False), dtype=bool)
        hit &= traffic.service[heads] != code
        result[heads[hit]] = code
    return result


def _recovered(traffic: Traffic) -> Mask:
    """Spans before the trouble of visits that failed where their operation now fails less, and of those that called them."""
    count = len(traffic.parent)
    bad = np.zeros(count, bool)
    told = traffic.lines[traffic.line_error & (traffic.lines >= 0)]
    bad[traffic.head[told]] = True
    bad[traffic.head[np.flatnonzero(traffic.failed)]] = True
    head = traffic.head == np.arange(count)
    size = len(traffic.operations)

    def visits(chosen: Mask) -> Floats:
        result: Floats = np.bincount(traffic.operation[head & chosen], minlength=size).astype(np.float64)
        return result

    before = (visits(traffic.before & bad) + _HALF) / (visits(traffic.before) + 1)
    during = (visits(traffic.during & bad) + _HALF) / (visits(traffic.during) + 1)
    dropped = head & traffic.before & bad & (before > 2 * during)[traffic.operation]
    for level in range(int(traffic.depth.max(initial=0)), 0, -1):
        rows = np.flatnonzero(dropped & (traffic.depth == level))
        dropped[traffic.head[traffic.parent[rows]]] = True
    result: Mask = dropped[traffic.head]
    return result


def _odd_sets(traffic: Traffic, usable: Mask) -> tuple[Mask, Ints]:
    """Spans whose set of events was seen in at most a few of their operation's spans before; and a number for each set."""
    # Sums of pseudo-random numbers stand for sets; the multiplier is that of splitmix64.
    codes = np.arange(traffic.events, dtype=np.uint64) + np.uint64(1)
    mixed = codes * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    order = np.lexsort((traffic.t_to, traffic.t_span))
    span, event = traffic.t_span[order], traffic.t_to[order]
    distinct = np.r_[True, (span[1:] != span[:-1]) | (event[1:] != event[:-1])] if len(span) else np.zeros(0, bool)
    sets = np.zeros(len(traffic.parent), np.uint64)
    np.add.at(sets, span[distinct], mixed[event[distinct]])
    sets ^= mixed[traffic.operation % len(mixed)] * np.uint64(3)
    _, kind = np.unique(sets, return_inverse=True)
    seen = np.bincount(kind[usable], minlength=int(kind.max(initial=0)) + 1)[kind]
    of_operation = np.bincount(traffic.operation[usable], minlength=len(traffic.operations))[traffic.operation]
    odd: Mask = seen <= _RARE * of_operation
    return odd, kind


def _steps(traffic: Traffic, usable: Mask, odd: Mask, sets: Ints) -> _Steps:
    asked = traffic.operation * (len(traffic.services) + 1) + _caller(traffic) + 1
    contexts, group = np.unique(asked[traffic.t_span] * traffic.events + traffic.t_from, return_inverse=True)
    steps, step = np.unique(group * traffic.events + traffic.t_to, return_inverse=True)
    group_of = steps // traffic.events
    earlier, later = usable[traffic.t_span], traffic.during[traffic.t_span]
    before, during = _count(step, earlier, len(steps)), _count(step, later & odd[traffic.t_span], len(steps))
    passes_before = _count(group, earlier, len(contexts))[group_of]
    passes_during = _count(group, later, len(contexts))[group_of]
    rare = (passes_before >= _FEWEST) & (before <= _RARE * passes_before)
    surprise = _surprise(during, passes_during, (before + _HALF) / (passes_before + 1), rare)

    # An operation that leaves its path at many places does so seldom at each. Its spans of which the whole set of events is
    # new count together, against those to be expected: as many as sets that were seen but once before (Good, 1953).
    deviates = np.zeros(len(traffic.parent), bool)
    deviates[traffic.t_span[later & odd[traffic.t_span] & rare[step]]] = True
    operations, operation = np.unique(asked, return_inverse=True)
    spans_before = _count(operation, usable, len(operations))
    pairs, times = np.unique((operation * (int(sets.max()) + 1) + sets)[usable], return_counts=True)
    once = np.bincount((pairs // (int(sets.max()) + 1))[times == 1], minlength=len(operations))
    together = _surprise(
        _count(operation, deviates, len(operations)),
        _count(operation, traffic.during, len(operations)),
        (once + _HALF) / (spans_before + 1),
        spans_before >= _FEWEST,
    )
    # The step that says most of the deviation carries it.
    operation_of = np.searchsorted(operations, contexts[group_of] // traffic.events)
    order = np.lexsort((-during, -surprise, ~rare, operation_of))
    first = order[np.r_[True, operation_of[order][1:] != operation_of[order][:-1]]] if len(order) else order
    first = first[rare[first] & (during[first] > 0)]
    surprise[first] = np.maximum(surprise[first], together[operation_of[first]])
    return _Steps(
        of=step,
        operation=contexts[group_of] // traffic.events // (len(traffic.services) + 1),
        previous=contexts[group_of] % traffic.events,
        event=steps % traffic.events,
        before=before,
        during=during,
        passes_before=passes_before,
        passes_during=passes_during,
        surprise=surprise,
    )


def _count(key: Ints, chosen: Mask, size: int) -> Floats:
    result: Floats = np.bincount(key[chosen], minlength=size).astype(np.float64)
    return result


def _surprise(times: Floats, passes: Floats, usual: Floats, counts: Mask) -> Floats:
    """The value p log(p / q) where the lower bound p of the share `times` of `passes` is well above q, the `usual` one; else 0."""
    share = (times + _HALF) / (passes + 1)
    low = np.maximum(times / np.maximum(passes, 1) - _Z * np.sqrt(share * (1 - share) / (passes + 1)), 0.0)
    result: Floats = np.where(counts & (low > _GROWTH * usual), low * np.log(np.maximum(low, 1e-9) / usual), 0.0)
    return result


def _caller(traffic: Traffic) -> Ints:
    """The service that called each span's visit: it asks for what others may not."""
    above = traffic.parent[traffic.head]
    return np.where(above >= 0, traffic.service[np.maximum(above, 0)], -1)


def _below(traffic: Traffic, own: Floats, slow: Mask) -> Floats:
    """For each visit the largest surprise among the visits that it called, directly or not; a slow one counts as certain."""
    lateness = np.zeros(len(own))
    lateness[traffic.head[np.flatnonzero(slow)]] = np.inf
    below = np.where(lateness > 0, np.inf, 0.0)
    heads = np.flatnonzero((traffic.head == np.arange(len(own))) & (traffic.parent >= 0))
    for level in range(int(traffic.depth.max(initial=0)), 0, -1):
        rows = heads[traffic.depth[heads] == level]
        np.maximum.at(below, traffic.head[traffic.parent[rows]], np.maximum(own[rows], below[rows]))
    return below


def _deviation(traffic: Traffic, steps: _Steps, index: int, blame: float, usable: Mask, spans: Ints) -> Deviation:
    same = (steps.operation == steps.operation[index]) & (steps.previous == steps.previous[index])
    usual = int(steps.event[np.argmax(np.where(same, steps.before, -1.0))])
    event, operation = int(steps.event[index]), int(steps.operation[index])
    known = event in (START, END) or bool(
        (usable[traffic.t_span] & (traffic.t_to == event) & (traffic.operation[traffic.t_span] == operation)).any()
    )
    return Deviation(
        service=int(traffic.service[spans[0]]),
        strength=blame / (blame + _EVEN),
        how="cut_short" if known else "other_path",
        operation=operation,
        previous=int(steps.previous[index]),
        event=event,
        usual=usual,
        times=int(steps.during[index]),
        out_of=int(steps.passes_during[index]),
        times_before=int(steps.before[index]),
        out_of_before=int(steps.passes_before[index]),
        spans=np.unique(spans),
    )


def _answer(traffic: Traffic, deviation: Deviation) -> Deviation | None:
    """The same, laid to the service that had just answered."""
    previous = deviation.previous
    if previous < 2 or previous >= traffic.first_line:
        return None
    called = traffic.target[traffic.operation == previous - 2]
    if not len(called) or called[0] < 0 or called[0] == deviation.service:
        return None
    return replace(deviation, service=int(called[0]), how="answer", strength=_ANSWERED * deviation.strength)
