"""Faults put into recorded traffic: in tables of spans and log lines, for one service, in chosen traces.

A delay is put into a trace as into a tape: whatever happens after the moment is moved, and every span that was open then
becomes longer. So callers wait, later calls come later, and only the span that was innermost has more time of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

KINDS = ("network_delay", "resource_contention", "code_exception", "wrong_result")
Tables = tuple[pa.Table, pa.Table]


def inject(spans: pa.Table, logs: pa.Table, service: str, kind: str, traces: set[str], seed: int) -> Tables:
    """The tables with a fault of `kind` in `service`, in most of its visits in `traces`."""
    chance = np.random.default_rng(seed)
    fault: Callable[..., Tables] = {
        "network_delay": _network_delay,
        "resource_contention": _contention,
        "code_exception": _exception,
        "wrong_result": _wrong_result,
    }[kind]
    return fault(_Trees(spans, logs, service, traces), chance)


class _Trees:
    """The spans of the chosen traces as trees; times in microseconds."""

    def __init__(self, spans: pa.Table, logs: pa.Table, service: str, traces: set[str]) -> None:
        self.spans, self.logs, self.name = spans, logs, service
        self.trace = spans.column("trace.id").to_pylist()
        self.service = spans.column("service.name").to_pylist()
        ids = spans.column("span.id").to_pylist()
        row_of = {(t, i): row for row, (t, i) in enumerate(zip(self.trace, ids, strict=True))}
        parents = spans.column("parent.id").to_pylist()
        self.parent = [row_of.get((t, p), -1) for t, p in zip(self.trace, parents, strict=True)]
        self.children: dict[int, list[int]] = {}
        self.start = spans.column("@timestamp").cast(pa.int64()).to_numpy().copy()
        self.end = self.start + spans.column("duration_us").to_numpy()
        for row, above in enumerate(self.parent):
            self.children.setdefault(above, []).append(row)
        for rows in self.children.values():
            rows.sort(key=lambda r: int(self.start[r]))
        self.line_at = logs.column("@timestamp").cast(pa.int64()).to_numpy().copy()
        self.line_trace = logs.column("trace.id").to_pylist()
        span_ids = logs.column("span.id").to_pylist()
        self.line_span = [row_of.get((t, i), -1) for t, i in zip(self.line_trace, span_ids, strict=True)]
        self.lines_of: dict[int, list[int]] = {}
        for line, row in enumerate(self.line_span):
            self.lines_of.setdefault(row, []).append(line)
        self.rows_in: dict[str, list[int]] = {}
        self.lines_in: dict[str, list[int]] = {}
        for row, trace in enumerate(self.trace):
            if trace in traces:
                self.rows_in.setdefault(trace, []).append(row)
        for line, trace in enumerate(self.line_trace):
            if trace in traces:
                self.lines_in.setdefault(trace, []).append(line)
        self.mine = [r for rows in self.rows_in.values() for r in rows if self.service[r] == service]
        self.entries = [r for r in self.mine if self.parent[r] < 0 or self.service[self.parent[r]] != service]
        self.gone_rows: set[int] = set()
        self.gone_lines: set[int] = set()

    def delay(self, row: int, at: int, by: int) -> None:
        """Time stands still for `by` in the row's trace, just before `at`."""
        rows = np.array(self.rows_in[self.trace[row]])
        self.start[rows[self.start[rows] >= at]] += by
        self.end[rows[self.end[rows] >= at]] += by
        lines = np.array(self.lines_in.get(self.trace[row], []), int)
        self.line_at[lines[self.line_at[lines] >= at]] += by

    def drop(self, row: int) -> None:
        """The span, all below it and their lines never were, nor was the time that they took."""
        self.forget(row)
        self.delay(row, int(self.end[row]), int(self.start[row] - self.end[row]))

    def cut_off(self, row: int, at: int) -> None:
        """The span and all below it end at `at` if they end later."""
        self.end[row] = min(self.end[row], at)
        self.start[row] = min(self.start[row], at)
        for child in self.children.get(row, []):
            self.cut_off(child, at)

    def forget(self, row: int) -> None:
        """As `drop`, but the time stays."""
        self.gone_rows.add(row)
        self.gone_lines.update(self.lines_of.get(row, []))
        for child in self.children.get(row, []):
            self.forget(child)

    def busiest(self, entry: int) -> int:
        """The span of the visit in which most happens."""
        visit, todo = [], [entry]
        while todo:
            row = todo.pop()
            visit.append(row)
            todo += [c for c in self.children.get(row, []) if self.service[c] == self.name]
        return max(visit, key=lambda r: (len(self.children.get(r, [])) + len(self.lines_of.get(r, [])), -r))

    def events(self, row: int) -> list[tuple[int, bool, int]]:
        """What happens in the span, in order of time: (when, whether a line, its row)."""
        found = [(int(self.start[c]), False, c) for c in self.children.get(row, [])]
        return sorted(found + [(int(self.line_at[line]), True, line) for line in self.lines_of.get(row, [])])

    def tables(self, **changed: dict[int, Any]) -> Tables:
        """The tables as they are now; `changed` holds new log values by column and row."""
        spans, logs = self.spans, self.logs
        times = pa.array(self.start).cast(spans.schema.field("@timestamp").type)
        spans = _put(_put(spans, "@timestamp", times), "duration_us", pa.array(self.end - self.start))
        logs = _put(logs, "@timestamp", pa.array(self.line_at).cast(logs.schema.field("@timestamp").type))
        for name, values in changed.items():
            column = logs.column(name).to_pylist()
            for line, value in values.items():
                column[line] = value
            logs = _put(logs, name, pa.array(column, logs.schema.field(name).type))
        keep_rows = [r for r in range(spans.num_rows) if r not in self.gone_rows]
        keep_lines = [line for line in range(logs.num_rows) if line not in self.gone_lines]
        return spans.take(pa.array(keep_rows)), logs.take(pa.array(keep_lines))


def _network_delay(trees: _Trees, chance: np.random.Generator) -> Tables:
    """0.3 s to 1 s between the end of a visit and the moment at which its caller has the answer, in 7 of 10 calls."""
    for row in trees.entries:
        if trees.parent[row] >= 0 and chance.random() < 0.7:
            # Clocks differ: a visit may seem to end after the call that made it.
            back = int(trees.end[trees.parent[row]])
            trees.cut_off(row, back - 1)
            trees.delay(row, back, int(chance.uniform(300_000, 1_000_000)))
    return trees.tables()


def _contention(trees: _Trees, chance: np.random.Generator) -> Tables:
    """Stalls of 50 ms on average in every fourth span of the service."""
    for row in trees.mine:
        if chance.random() < 0.25:
            trees.delay(row, int(trees.end[row]), int(chance.exponential(50_000)) + 5_000)
    return trees.tables()


def _exception(trees: _Trees, chance: np.random.Generator) -> Tables:
    """Of the busiest span of 7 of 10 visits nothing remains after about half of it."""
    for entry in trees.entries:
        row = trees.busiest(entry)
        events = trees.events(row)
        if events and chance.random() < 0.7:
            for _, is_line, which in events[len(events) // 2 :]:
                if is_line:
                    trees.gone_lines.add(which)
                else:
                    trees.drop(which)
    return trees.tables()


def _wrong_result(trees: _Trees, chance: np.random.Generator) -> Tables:
    """In 7 of 10 visits the last line says that there is nothing, and the caller makes no further call."""
    words: dict[int, str] = {}
    for entry in trees.entries:
        if chance.random() >= 0.7:
            continue
        told = sorted(trees.lines_of.get(trees.busiest(entry), []), key=lambda line: int(trees.line_at[line]))
        if told:
            words[told[-1]] = "nothing was found under this key, so an empty list is returned"
        above = trees.parent[entry]
        outer = trees.parent[above] if above >= 0 else -1
        if outer >= 0:
            for child in trees.children[outer]:
                if trees.start[child] > trees.end[entry]:
                    trees.drop(child)
    plain: dict[int, Any] = dict.fromkeys(words)
    return trees.tables(body=words, message=words, **{"log.logger": plain})


def _put(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), values)
