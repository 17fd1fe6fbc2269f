"""Traffic: the collected spans and their log lines as arrays, in two parts, before the trouble and during it.

Where the ticket names a window and there are enough spans of the time before, that is the comparison. Otherwise the moment
at which the traffic changed is estimated from the data: the one at which what follows what inside a span, and how long
spans take, differ most between the two sides. This is a likelihood ratio for a single change in multinomial data, less half
its degrees of freedom, with a small bonus for a pause in the traffic (Chen and Gupta, Parametric Statistical Change Point
Analysis, 2012, chapter 2).

Names of services, operations and messages are compared for equality and never read, except that digits in an operation's
name count as a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.values import Scope

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# The first and the last event of every span.
START, END = 0, 1
# Fewer traces than this on either side are no sample to compare.
FEWEST_TRACES = 20
# Spans of the time before, from which a window that the customer gave is compared with it.
_ENOUGH = 500
# Steps in which the moment of change is looked for, and the part of the traces that must remain on either side of it.
_STEPS = 64
_SIDE = 0.08
# How much the longest pause counts, as a part of the best likelihood ratio.
_PAUSE = 0.3
# Self times in classes of powers of two of this many microseconds.
_CLASS_US = 50.0
# No call tree is deeper; what claims to be is a cycle.
_DEEPEST = 64
# The part of a message in which its source line is looked for.
_HEADER = 200
_SITE = r"(?P<name>[A-Za-z_][^\s#:]*)[#:](?P<line>\d+)\b"
_PARAMETER = r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\b[0-9a-fA-F]{12,}\b|\b\d+\b"


@dataclass(frozen=True)
class Traffic:
    """One entry per span unless said otherwise; times in microseconds; -1 stands for none.

    `operation` is what a span does: service, name and, for a call, what it calls; `timed` is the same for
    comparing times, where all calls from one service to another are alike. `head` is the first span of the visit: of
    the spans joined by parent links within one service. `self_us` is the span's own time without that of its children, and
    0 for spans that merely enclose a sibling. `lines` gives for each log line its span, and
    `line_event` the event that it is in there. Transitions are pairs of events
    that follow each other in a span: `t_span`, `t_from`, `t_to`, whose codes are `START`, `END`, 2 and more for an operation
    that is called, and `first_line` and more for a log line; all are below `events`.
    """

    spans: pa.Table
    logs: pa.Table
    services: Sequence[str]
    operations: Sequence[str]
    service: Ints
    operation: Ints
    target: Ints
    timed: Ints
    parent: Ints
    head: Ints
    trace: Ints
    depth: Ints
    self_us: Floats
    failed: Mask
    lines: Ints
    line_error: Mask
    line_event: Ints
    first_line: int
    events: int
    t_span: Ints
    t_from: Ints
    t_to: Ints
    before: Mask
    during: Mask

    def traces(self, part: Mask) -> int:
        """How many traces `part` has spans of."""
        return len(np.unique(self.trace[part]))


def read_traffic(spans: pa.Table, logs: pa.Table, template_ids: pa.DictionaryArray, scope: Scope) -> Traffic | None:
    """The traffic in two parts, or None where there is no moment of change to compare around: too few traces."""
    if spans.num_rows < 2 * FEWEST_TRACES:
        return None
    service, services = _codes(spans.column("service.name"))
    trace, _ = _codes(spans.column("trace.id"))
    if trace.max() + 1 < 2 * FEWEST_TRACES:
        return None
    own_id = _joined(spans.column("trace.id"), spans.column("span.id"))
    parent = _index(_joined(spans.column("trace.id"), spans.column("parent.id")), own_id)
    parent[parent == np.arange(len(parent))] = -1
    begin = _micros(spans.column("@timestamp"))
    length = np.maximum(spans.column("duration_us").combine_chunks().fill_null(0).to_numpy(), 0).astype(np.int64)
    depth, parent = _depths(parent)
    operation, operations, target, timed = _operations(spans, service, services, parent)
    head = _heads(parent, service)
    lines = _lines(logs, own_id, trace, service, services, spans, head, begin)
    line_event, events = _line_events(logs, template_ids, lines, 2 + len(operations))
    t_span, t_from, t_to = _transitions(operation, parent, begin, logs, lines, line_event)
    call = _truth(pc.is_in(spans.column("kind"), value_set=pa.array(["client", "producer"])))
    self_us = _self_times(parent, service, begin, length, call)
    parts = _parts(scope, trace, begin, operation, self_us, t_span, t_from, t_to, events)
    if parts is None:
        return None
    before, during = parts
    return Traffic(
        spans=spans,
        logs=logs,
        services=services,
        operations=operations,
        service=service,
        operation=operation,
        target=target,
        timed=timed,
        parent=parent,
        head=head,
        trace=trace,
        depth=depth,
        self_us=self_us,
        failed=_failed(spans),
        lines=lines,
        line_error=_truth(pc.is_in(logs.column("log.level"), value_set=pa.array(["ERROR", "FATAL"]))),
        line_event=line_event,
        first_line=2 + len(operations),
        events=events,
        t_span=t_span,
        t_from=t_from,
        t_to=t_to,
        before=before,
        during=during,
    )


# ---- columns


def _codes(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    encoded = column.combine_chunks().fill_null("-").dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()


def _joined(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.Array:
    """Null where either is."""
    return pc.binary_join_element_wise(left.combine_chunks(), right.combine_chunks(), "/")


def _index(values: pa.Array, known: pa.Array) -> Ints:
    found = pc.index_in(values, value_set=known, skip_nulls=True)
    result: Ints = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return result


def _micros(column: pa.ChunkedArray) -> Ints:
    result: Ints = column.combine_chunks().cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return result


def _truth(array: pa.ChunkedArray | pa.Array) -> Mask:
    return np.asarray(pc.fill_null(array, fill_value=False), dtype=bool)


def _failed(spans: pa.Table) -> Mask:
    return (
        _truth(pc.equal(spans.column("status"), "error"))
        | _truth(pc.greater_equal(spans.column("http.response.status_code"), 500))
        | _truth(pc.is_valid(spans.column("exception.type")))
    )


# ---- the tree


def _depths(parent: Ints) -> tuple[Ints, Ints]:
    """The number of spans above each, and the parents without the links that close a cycle."""
    depth = np.zeros(len(parent), np.int64)
    above = parent.copy()
    for _ in range(_DEEPEST):
        reached = above >= 0
        if not reached.any():
            return depth, parent
        depth[reached] += 1
        above = np.where(reached, parent[above], -1)
    return depth, np.where(above >= 0, -1, parent)


def _operations(
    spans: pa.Table, service: Ints, services: list[str], parent: Ints
) -> tuple[Ints, list[str], Ints, Ints]:
    """Each span's operation, their names, the service that a span calls, and the operation for comparing times."""
    encoded = spans.column("name").combine_chunks().fill_null("-").dictionary_encode()
    plain = pc.replace_substring_regex(encoded.dictionary, _PARAMETER, "*").dictionary_encode()
    name = plain.indices.to_numpy(zero_copy_only=False)[encoded.indices.to_numpy(zero_copy_only=False)]
    names = plain.dictionary.to_pylist()
    bare = service * len(names) + name
    child = np.flatnonzero(parent >= 0)
    child = child[service[child] != service[parent[child]]]
    called = np.full(len(parent), -1, np.int64)
    called[parent[child][::-1]] = bare[child][::-1]
    distinct, operation = np.unique(bare * (len(services) * len(names) + 1) + called + 1, return_inverse=True)
    labels = []
    for code in distinct.tolist():
        own, other = divmod(code, len(services) * len(names) + 1)
        label = names[own % len(names)]
        labels.append(f"{label} -> {services[(other - 1) // len(names)]}" if other else label)
    target = np.where(called >= 0, called // len(names), -1)
    apart = np.where(target >= 0, len(services) * len(names) + service * len(services) + target, bare)
    _, timed = np.unique(apart, return_inverse=True)
    return operation.astype(np.int64), labels, target, timed.astype(np.int64)


def _heads(parent: Ints, service: Ints) -> Ints:
    own = np.arange(len(parent))
    up = np.where((parent >= 0) & (service[np.maximum(parent, 0)] == service), parent, own)
    for _ in range(_DEEPEST.bit_length()):
        up = up[up]
    return up


def _self_times(parent: Ints, service: Ints, begin: Ints, length: Ints, call: Mask) -> Floats:
    """Each span's length without the union of its children's, which are cut to its own bounds."""
    count, end = len(parent), begin + length
    child = np.flatnonzero(parent >= 0)
    above = parent[child]
    first = np.clip(begin[child], begin[above], end[above])
    last = np.maximum(np.minimum(end[child], end[above]), first)
    order = np.lexsort((-last, first, above))
    child, above = child[order], above[order]
    first, last = (first[order] - begin[above]), (last[order] - begin[above])
    busy: Floats = np.zeros(count)
    if len(child):
        opens = np.r_[True, above[1:] != above[:-1]]
        lift = (np.cumsum(opens) - 1) * (int(length.max()) + 1)
        reached = np.maximum.accumulate(last + lift) - lift
        so_far = np.r_[0, reached[:-1]]
        so_far[opens] = 0
        busy = np.bincount(above, np.maximum(last - np.maximum(first, so_far), 0), count).astype(np.float64)
    result = (length - busy).astype(np.float64)
    # A filter or a task that waits while the sibling after it does the work: that time is the sibling's.
    leaf = np.bincount(above, minlength=count)[child[:-1]] == 0
    waits = leaf & (above[1:] == above[:-1]) & (service[child[:-1]] == service[above[:-1]]) & ~call[child[:-1]]
    shared = np.clip(np.minimum(last[:-1], last[1:]) - first[1:], 0, None)
    result[child[:-1][waits]] -= shared[waits]
    return np.maximum(result, 0.0)


# ---- log lines


def _lines(
    logs: pa.Table,
    own_id: pa.Array,
    trace: Ints,
    service: Ints,
    services: list[str],
    spans: pa.Table,
    head: Ints,
    begin: Ints,
) -> Ints:
    """The span of each line: by its span id, else the latest visit of its trace and service that had begun."""
    found = _index(_joined(logs.column("trace.id"), logs.column("span.id")), own_id)
    loose = np.flatnonzero((found < 0) & _truth(pc.is_valid(logs.column("trace.id"))))
    if not len(loose):
        return found
    rows = logs.select(["trace.id", "service.name", "@timestamp"]).take(pa.array(loose))
    # `trace` numbers the ids in order of their first row.
    in_trace = _index(rows.column("trace.id").combine_chunks(), pc.unique(spans.column("trace.id")))
    in_service = _index(rows.column("service.name").combine_chunks(), pa.array(services))
    heads = np.flatnonzero(head == np.arange(len(head)))
    origin = int(begin.min())
    reach = int(begin.max()) - origin + 2
    place = (trace[heads] * len(services) + service[heads]) * reach + begin[heads] - origin
    order = np.argsort(place, kind="stable")
    at = np.clip(_micros(rows.column("@timestamp")) - origin, 0, reach - 1)
    wanted = in_trace * len(services) + in_service
    spot = np.searchsorted(place[order], wanted * reach + at, side="right") - 1
    candidate = heads[order[np.maximum(spot, 0)]]
    fits = (spot >= 0) & (in_trace >= 0) & (in_service >= 0)
    fits &= trace[candidate] * len(services) + service[candidate] == wanted
    found[loose[fits]] = candidate[fits]
    return found


def _line_events(logs: pa.Table, template_ids: pa.DictionaryArray, lines: Ints, first: int) -> tuple[Ints, int]:
    """What kind of line each is: the place in the source that wrote it where the line says so, else its template.

    Numbered from `first` on, -1 for lines of no span; and the number after the last one.
    """
    kind = template_ids.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    templates = len(template_ids.dictionary)
    logger = logs.column("log.logger").combine_chunks()
    site = pc.extract_regex(pc.utf8_slice_codeunits(logs.column("message").combine_chunks(), 0, _HEADER), _SITE)
    said = _truth(pc.equal(pc.struct_field(site, "name"), logger))
    if said.any():
        place = pc.binary_join_element_wise(logger, pc.struct_field(site, "line"), "#")
        codes, places = _codes(pa.chunked_array([place]))
        # Otherwise the numbers behind the name are no line numbers.
        if len(places) <= 2 * templates + 20:
            kind = np.where(said, templates + codes, kind)
    tied = lines >= 0
    kinds, dense = np.unique(kind[tied], return_inverse=True)
    events = np.full(len(kind), -1, np.int64)
    events[tied] = first + dense
    return events, first + len(kinds)


def _transitions(
    operation: Ints, parent: Ints, begin: Ints, logs: pa.Table, lines: Ints, line_event: Ints
) -> tuple[Ints, Ints, Ints]:
    """Pairs of neighbouring events of each span in order of time: its start, its children's, its lines, its end."""
    count = len(operation)
    child, told = np.flatnonzero(parent >= 0), np.flatnonzero(lines >= 0)
    span = np.r_[parent[child], lines[told], np.arange(count), np.arange(count)]
    event = np.r_[2 + operation[child], line_event[told], np.full(count, START), np.full(count, END)]
    far = np.iinfo(np.int64).max // 4
    at = np.r_[begin[child], _micros(logs.column("@timestamp"))[told], np.full(count, -far), np.full(count, far)]
    order = np.lexsort((event, at, span))
    span, event = span[order], event[order]
    pair = span[1:] == span[:-1]
    return span[1:][pair], event[:-1][pair], event[1:][pair]


# ---- before and during


def _parts(
    scope: Scope,
    trace: Ints,
    begin: Ints,
    operation: Ints,
    self_us: Floats,
    t_span: Ints,
    t_from: Ints,
    t_to: Ints,
    events: int,
) -> tuple[Mask, Mask] | None:
    """Which spans lie before the trouble and which in it; a trace belongs where it begins."""
    opened = np.full(int(trace.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(opened, trace, begin)
    at = opened[trace]

    def inside(start: Any, end: Any) -> Mask:
        return (at >= int(start.timestamp() * 1e6)) & (at < int(end.timestamp() * 1e6))

    window, baseline = inside(scope.window.start, scope.window.end), inside(scope.baseline.start, scope.baseline.end)
    if scope.window_from != "assumed" and min(window.sum(), baseline.sum()) >= _ENOUGH:
        before, during = baseline & ~window, window
    else:
        known = window | baseline
        if not known.any():
            return None
        moment = _moment_of_change(
            np.unique(opened[trace[known]]), at, known, operation, self_us, t_span, t_from, t_to, events
        )
        before, during = known & (at < moment), known & (at >= moment)
    if min(len(np.unique(trace[before])), len(np.unique(trace[during]))) < FEWEST_TRACES:
        return None
    return before, during


def _moment_of_change(
    opened: Ints,
    at: Ints,
    known: Mask,
    operation: Ints,
    self_us: Floats,
    t_span: Ints,
    t_from: Ints,
    t_to: Ints,
    events: int,
) -> int:
    first, last = int(opened[0]), int(opened[-1])
    edges = first + (last - first) * np.arange(1, _STEPS) // _STEPS
    step = np.searchsorted(edges, at, side="right")
    classes = np.floor(np.log2(np.maximum(self_us, _CLASS_US) / _CLASS_US)).astype(np.int64)
    ratio = _likelihood_ratio(operation[known], classes[known], step[known])
    pairs = known[t_span]
    context = operation[t_span[pairs]] * events + t_from[pairs]
    ratio = np.maximum(ratio + _likelihood_ratio(context, t_to[pairs], step[t_span[pairs]]), 0.0)
    # The pause in which each step ends, a long one counting no more than a tenth of the whole time.
    next_one = np.clip(np.searchsorted(opened, edges), 1, len(opened) - 1)
    pause = np.minimum(opened[next_one] - opened[next_one - 1], max(last - first, 1) / 10)
    least = max(_SIDE * len(opened), FEWEST_TRACES)
    allowed = (next_one >= least) & (next_one <= len(opened) - least)
    score = ratio / max(ratio.max(), 1.0) + _PAUSE * pause / max(pause.max(), 1)
    best = int(np.argmax(np.where(allowed, score, -1.0)))
    return int(opened[next_one[best]])


def _likelihood_ratio(context: Ints, outcome: Ints, step: Ints) -> Floats:
    """For each step, how much likelier the outcomes are, given their contexts, with a change after it than without one."""
    groups, group = np.unique(context, return_inverse=True)
    cells, cell = np.unique(group * (int(outcome.max(initial=0)) + 1) + outcome, return_inverse=True)
    group_of = cells // (int(outcome.max(initial=0)) + 1)
    by_cell = np.bincount(step * len(cells) + cell, minlength=_STEPS * len(cells)).reshape(_STEPS, len(cells))
    by_group = np.zeros((_STEPS, len(groups)))
    starts = np.flatnonzero(np.r_[True, group_of[1:] != group_of[:-1]])
    if len(cells):
        by_group = np.add.reduceat(by_cell, starts, axis=1)

    def sums(counts: Any, sign: float) -> tuple[Floats, Floats]:
        left = np.cumsum(counts, axis=0)[:-1].astype(np.float64)
        total = counts.sum(axis=0)
        right = total - left
        value = (_x_log_x(left) + _x_log_x(right)).sum(axis=1) - _x_log_x(total.astype(np.float64)).sum()
        return sign * value, sign * ((left > 0) & (right > 0)).sum(axis=1)

    cells_value, cells_freedom = sums(by_cell, 1.0)
    groups_value, groups_freedom = sums(by_group, -1.0)
    ratio: Floats = cells_value + groups_value - 0.5 * (cells_freedom + groups_freedom)
    return ratio


def _x_log_x(values: Floats) -> Floats:
    result: Floats = values * np.log(np.maximum(values, 1.0))
    return result
