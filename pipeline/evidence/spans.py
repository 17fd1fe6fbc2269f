"""Spans: where in the order's traces the failure began.

The culprit is the deepest failing span: one that failed while none of its children did. Of a failing call it is said what
the other side's span says, where the other side has spans at all: it may have answered well, or never have been reached.
A span that took far longer than the same operation elsewhere is told with both figures; it names no class by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evidence.case import Case
from pipeline.evidence.http_status import rpc_name
from pipeline.evidence.targets import is_ours, own_services
from pipeline.evidence.wordings import UNREACHED, dependency
from pipeline.faults.wording import read_wording
from pipeline.values import Found, Seen
from snapshots.model import Check, Text

_MOST = 5
_MOST_SLOW = 3
# A span is slow where it took so many times what it usually takes, longer than all of at least so many others, and at
# least a second.
_SLOWER = 10.0
_ENOUGH = 5
_SLOWEST_USUAL_US = 1_000_000
_FAILED_HTTP = 400
# What an operation is named by; and the values of these columns.
_OPERATION = ("service.name", "name", "kind")
_Operation = tuple[str | None, ...]


def detect(case: Case) -> Seen:
    """One finding for each deepest failing span of the focus traces, the first few by time."""
    spans = case.focus_spans
    if not spans.num_rows:
        statement = Text(en="no spans of the order's traces", zh="没有该订单的链路数据")
        return Seen(checks=(Check(id="spans", outcome="not_evaluated", statement=statement),))
    rows = _deepest_failures(spans)
    services = own_services(case)
    found = [_finding(case, spans, row, services) for row in rows[:_MOST]]
    slow = _slow(case, spans)
    found += slow[:_MOST_SLOW]
    if found:
        statement = Text(
            en=f"of {spans.num_rows} spans of the order's traces {len(rows)} failed at the deepest point and "
            f"{len(slow)} took unusually long",
            zh=f"该订单链路的 {spans.num_rows} 个 span 中，{len(rows)} 个最深处失败，{len(slow)} 个耗时异常",
        )
        omitted = len(rows) + len(slow) - len(found)
        return Seen(tuple(found), (Check(id="spans", outcome="found", statement=statement),), omitted)
    statement = Text(
        en=f"none of the {spans.num_rows} spans of the order's traces failed",
        zh=f"该订单链路的 {spans.num_rows} 个 span 均未失败",
    )
    return Seen(checks=(Check(id="spans", outcome="healthy", statement=statement),))


def _deepest_failures(spans: pa.Table) -> list[int]:
    ids = spans.column("span.id").to_pylist()
    parents = spans.column("parent.id").to_pylist()
    status = spans.column("status").to_pylist()
    http = spans.column("http.response.status_code").to_pylist()
    types = spans.column("exception.type").to_pylist()
    rpc = [bool(code) and rpc_name(code) is not None for code in spans.column("rpc.status_code").to_pylist()]
    times = spans.column("@timestamp").to_pylist()
    failed = {
        i
        for i in range(spans.num_rows)
        if status[i] == "error" or types[i] or rpc[i] or (http[i] is not None and http[i] >= _FAILED_HTTP)
    }
    above = {parents[i] for i in failed if parents[i] != ids[i]}
    # Where broken parents make a circle, none is the deepest: then all are told.
    deepest = [i for i in failed if ids[i] not in above] or list(failed)
    return sorted(deepest, key=lambda i: (str(times[i]), i))


def _finding(case: Case, spans: pa.Table, row: int, services: frozenset[str]) -> Found:
    def value(name: str) -> Any:
        return spans.column(name)[row].as_py()

    error = (
        value("exception.message") or value("status_message") or value("error.type") or value("exception.type") or ""
    )
    service, name, host = value("service.name") or "-", value("name") or "-", value("server.address")
    parts = [value("exception.type"), value("exception.message"), value("status_message"), value("error.type")]
    families = read_wording("\n".join(str(part) for part in parts if part))
    family = max(families, key=lambda f: f.strength, default=None)
    if family is not None and family.id in UNREACHED and host and is_ours(host, services):
        family = dependency()
    to = f" to {host}" if host else ""
    zh_to = f"（调用 {host}）" if host else ""
    status = value("http.response.status_code")
    said = f": {error}" if error else (f": HTTP {status}" if status else "")
    side = _other_side(case, spans, row)
    supports, subclass, strength = None, None, 0.0
    if family:
        supports, subclass, strength = family.fault_class, family.fault_subclass, 0.9 * family.strength
    return Found(
        kind="span.culprit" if family is None else f"span.{family.id}",
        statement=Text(
            en=f"{service} failed in {name}{to}{said}{side.en}",
            zh=f"{service} 在 {name} 处失败{zh_to}{said}{side.zh}",
        ),
        cites=(case.cite_span(spans, row),),
        supports=supports,
        subclass=subclass,
        strength=strength,
        service=service,
        host=value("host.name"),
        operation=name,
        channel=case.channel,
        at=value("@timestamp"),
    )


def _other_side(case: Case, spans: pa.Table, row: int) -> Text:
    """What the called side's span says of a failing call; empty where calls of this kind have none anyway."""
    nothing = Text(en="", zh="")
    if spans.column("kind")[row].as_py() != "client":
        return nothing
    mine = spans.column("span.id")[row].as_py()
    behind = np.flatnonzero(_true(pc.equal(spans.column("parent.id"), mine)))
    if len(behind):
        other = int(behind[0])
        if spans.column("status")[other].as_py() == "error":
            return nothing
        service = spans.column("service.name")[other].as_py() or "-"
        took = _milliseconds(spans.column("duration_us")[other].as_py())
        return Text(
            en=f"; {service} itself answered without error in {took}", zh=f"；{service} 自身正常应答，耗时 {took}"
        )
    everything = case.material.spans
    alike = _alike(everything, spans, row)
    called = pc.is_in(
        everything.column("span.id").filter(alike), value_set=everything.column("parent.id").combine_chunks()
    )
    if not pc.any(called).as_py():
        return nothing
    return Text(en="; the called side has no span of it: it was not reached", zh="；被调方没有对应的 span：请求未到达")


def _slow(case: Case, spans: pa.Table) -> list[Found]:
    """The spans that took far longer than the same operation in other traces, the longest first, one an operation."""
    everything = case.material.spans
    others = everything.filter(
        pc.invert(pc.is_in(everything.column("trace.id"), value_set=pc.unique(spans.column("trace.id"))))
    )
    slow: dict[tuple[str, str], tuple[int, int, float, int]] = {}
    lengths = spans.column("duration_us")
    long = np.flatnonzero(_true(pc.greater_equal(lengths, _SLOWEST_USUAL_US)))
    few = spans.select([*_OPERATION, "duration_us"]).take(pa.array(long))
    operations = list(zip(*(few.column(name).to_pylist() for name in _OPERATION), strict=True))
    usual = _usual(others, operations)
    for row, operation, took in zip(long.tolist(), operations, few.column("duration_us").to_pylist(), strict=True):
        if operation not in usual:
            continue
        median, longest, count = usual[operation]
        key = (str(operation[0]), str(operation[1]))
        if took > _SLOWER * median and took > longest and took > slow.get(key, (0, 0, 0.0, 0))[0]:
            slow[key] = (took, row, median, count)
    parents = dict(zip(spans.column("span.id").to_pylist(), spans.column("parent.id").to_pylist(), strict=True))
    above: set[str | None] = set()
    for _, row, _, _ in slow.values():
        one = parents.get(spans.column("span.id")[row].as_py())
        while one is not None and one not in above:
            above.add(one)
            one = parents.get(one)
    # A span that only waited for a slower one of its own has nothing to say.
    slow = {key: one for key, one in slow.items() if spans.column("span.id")[one[1]].as_py() not in above}
    ranked = sorted(slow.items(), key=lambda item: (-item[1][0], item[0]))
    return [
        Found(
            kind="span.slow",
            statement=Text(
                en=f"{service} took {_milliseconds(took)} in {name}; {count} others took {_milliseconds(median)} in the median",
                zh=f"{service} 的 {name} 耗时 {_milliseconds(took)}；其他 {count} 次的中位数为 {_milliseconds(median)}",
            ),
            cites=(case.cite_span(spans, row),),
            # A call that hung is a hint at its way; work of our own that took long may be waiting for anything.
            supports="interface_fault" if spans.column("kind")[row].as_py() == "client" else None,
            subclass="timeout_unknown" if spans.column("kind")[row].as_py() == "client" else None,
            strength=0.7,
            service=service,
            operation=name,
            channel=case.channel,
            at=spans.column("@timestamp")[row].as_py(),
        )
        for (service, name), (took, row, median, count) in ranked
    ]


def _usual(others: pa.Table, operations: list[_Operation]) -> dict[_Operation, tuple[float, int, int]]:
    """For each operation the median and the longest time of `others` in microseconds, and how many those are.

    What an operation does not name may be anything in the others. Operations with too few others are left out. The table
    is sorted once for each set of names that are given, so that many operations cost no more than many spans.
    """
    others = others.filter(others.column("duration_us").is_valid())
    usual: dict[_Operation, tuple[float, int, int]] = {}
    by_names: dict[tuple[int, ...], dict[_Operation, None]] = {}
    for operation in operations:
        given = tuple(place for place, value in enumerate(operation) if value is not None)
        by_names.setdefault(given, {})[operation] = None
    for given, wanted in by_names.items():
        if not given:
            continue
        columns = [others.column(_OPERATION[place]).combine_chunks().dictionary_encode() for place in given]
        code = np.zeros(others.num_rows, np.int64)
        whole = np.ones(others.num_rows, bool)
        places: list[dict[str, int]] = []
        for column in columns:
            index = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
            whole &= index >= 0
            code = code * (len(column.dictionary) + 1) + index + 1
            places.append({value: number for number, value in enumerate(column.dictionary.to_pylist(), 1)})
        rows = np.flatnonzero(whole)
        rows = rows[np.argsort(code[rows], kind="stable")]
        ordered = code[rows]
        lengths = others.column("duration_us").combine_chunks()
        for operation in wanted:
            if any(operation[place] not in known for place, known in zip(given, places, strict=True)):
                continue
            number = 0
            for place, known in zip(given, places, strict=True):
                number = number * (len(known) + 1) + known[str(operation[place])]
            first, last = np.searchsorted(ordered, [number, number + 1])
            if last - first >= _ENOUGH:
                mine = lengths.take(pa.array(rows[first:last]))
                median = float(pc.approximate_median(mine).as_py())
                usual[operation] = (median, int(pc.max(mine).as_py()), int(last - first))
    return usual


def _alike(table: pa.Table, spans: pa.Table, row: int) -> pa.Array:
    """Which rows of `table` are the same operation of the same service as `row` of `spans`."""
    found = pa.array(np.ones(table.num_rows, bool))
    for name in _OPERATION:
        if spans.column(name)[row].is_valid:
            found = pc.and_(found, pc.equal(table.column(name), spans.column(name)[row]))
    return pc.fill_null(found, fill_value=False)


def _milliseconds(us: float | None) -> str:
    return "-" if us is None else f"{us / 1000:,.0f} ms"


def _true(array: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False), dtype=bool)
