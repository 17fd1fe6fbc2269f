"""Contrasts: what the order's lines say that those of healthy orders do not, and where its flow stopped.

The lines of the ticket's orders are compared, template by template, with those of healthy orders of the same channel: what
this order wrote and hardly a healthy one did, and what nearly every healthy order wrote and this one did not. Of the latter
the first in the healthy orders' own sequence is told, where the logs are complete; that the flow stopped there only where the
order has no later line. Beside them stand the strongest changes against the time before: templates
that are new, that surged or that vanished. None of these speaks for a fault class; they say where to look.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.contrast import FALSE_DISCOVERY_RATE, Change, exact_shares
from pipeline.evidence.case import Case, clip
from pipeline.evidence.gaps import unbroken
from pipeline.values import Cited, Found, Seen
from snapshots.model import Check, Text

# Healthy orders, with lines of their own, below which nothing is compared.
_ENOUGH = 4
# With one failing order no small p-value is possible, so a plain count decides: what next to none, or next to all, have.
_NEARLY_ALL = 0.9
_MOST_ONLY = 5
_MOST_CHANGES = 2
# How much the rate must differ from that of all lines together: with many lines, a tenth more is sure as well, and idle.
_TIMES = 2.0
_CITES = 3
_SHOWN = 140
# An id that is masked, empty or said to be none: `trace_id=-` is the same step as `trace_id=<*>`.
_ID = re.compile(
    r"""(?i)((?:id|trace|span|session|request|user)["']?\s*[=:]\s*)["']?(?:<[^<>]*>|-|null|nil|none)?["']?(?=[\s,;)\]}|]|$)"""
)
_LEVELS = {"FATAL": 0, "ERROR": 0, "WARN": 1}


@dataclass(frozen=True)
class _Compared:
    """Per template code: how many of the ticket's and of the healthy orders wrote it, and the exact test of both."""

    mine: tuple[int, ...]
    healthy: tuple[int, ...]
    codes: npt.NDArray[np.int64]
    with_mine: npt.NDArray[np.int64]
    with_healthy: npt.NDArray[np.int64]
    p_more: npt.NDArray[np.float64]
    p_fewer: npt.NDArray[np.float64]


def detect(case: Case) -> Seen:
    """Findings against the healthy orders first, then against the time before."""
    codes = case.clusters.template_ids.indices.to_numpy(zero_copy_only=False)
    steps = _steps(case)[codes] if len(codes) else codes
    compared = _compare(case, steps)
    found: list[Found] = []
    omitted = 0
    if compared:
        only = _only_mine(case, steps, compared)
        found += _only_here(case, steps, compared, only[:_MOST_ONLY])
        omitted += max(0, len(only) - _MOST_ONLY)
        # What was not collected is not what the order did not write.
        found += _stopped(case, steps, compared) if unbroken(case) else ()
    if compared is None:
        statement = Text(
            en=f"order against healthy orders: fewer than {_ENOUGH} of the channel have lines to compare with",
            zh=f"与正常订单对照：同渠道有日志的正常订单不足 {_ENOUGH} 个",
        )
        outcome: Any = "not_evaluated"
    else:
        statement = Text(
            en=f"order against {len(compared.healthy)} healthy orders of the channel: {len(found)} differences in their lines",
            zh=f"与同渠道 {len(compared.healthy)} 个正常订单对照：日志有 {len(found)} 处不同",
        )
        outcome = "found" if found else "healthy"
    changed = _changed(case, codes)
    for mine in changed.values():
        found += _changes(case, codes, mine[:_MOST_CHANGES])
        omitted += max(0, len(mine) - _MOST_CHANGES)
    return Seen(tuple(found), (Check(id="contrasts", outcome=outcome, statement=statement),), omitted)


# ---- against healthy orders


def _steps(case: Case) -> npt.NDArray[np.int64]:
    """For each template code the least code whose template differs at most by ids that are masked, empty or none."""
    texts = {t.id: t.text for t in case.clusters.templates}
    first: dict[str, int] = {}
    alike = (_ID.sub(r"\1<*>", texts[i]) for i in case.clusters.template_ids.dictionary.to_pylist())
    return np.array([first.setdefault(text, code) for code, text in enumerate(alike)], np.int64)


def _compare(case: Case, codes: npt.NDArray[Any]) -> _Compared | None:
    followed = case.followed
    focus = set(case.scope.focus_orders)
    with_lines = set(np.unique(followed.owner).tolist())
    mine = tuple(i for i, o in enumerate(followed.orders) if o.order_id in focus and i in with_lines)
    healthy = tuple(
        i
        for i, o in enumerate(followed.orders)
        if o.order_id in case.healthy and i in with_lines and (case.channel is None or o.channel == case.channel)
    )
    if not mine or len(healthy) < _ENOUGH:
        return None
    size = len(case.clusters.template_ids.dictionary)
    group = np.full(len(followed.orders) + 1, -1)
    group[list(mine)], group[list(healthy)] = 0, 1
    rows = np.flatnonzero(group[followed.owner] >= 0)
    # One count an order, however often it wrote the line.
    pairs = np.unique(followed.owner[rows].astype(np.int64) * size + codes[rows])
    of_group = group[pairs // size]
    with_mine = np.bincount(pairs[of_group == 0] % size, minlength=size)
    with_healthy = np.bincount(pairs[of_group == 1] % size, minlength=size)
    present = np.flatnonzero(with_mine + with_healthy)
    a, b = with_mine[present], with_healthy[present]
    shares = exact_shares(a, np.full(len(a), len(mine)), b, np.full(len(b), len(healthy)))
    return _Compared(mine, healthy, present, a, b, shares.p_more, shares.p_fewer)


# Level, p value, first row, place in `_Compared`, all rows.
_Only = tuple[int, float, int, int, list[int]]


def _only_mine(case: Case, codes: npt.NDArray[Any], compared: _Compared) -> list[_Only]:
    """What the ticket's orders wrote and hardly a healthy one did, unhappy lines first."""
    n, m = len(compared.mine), len(compared.healthy)
    rare = (compared.with_mine * 2 > n) & (compared.with_healthy <= m * (1 - _NEARLY_ALL))
    candidates = []
    for i in np.flatnonzero(rare).tolist():
        rows = _rows(case, codes, int(compared.codes[i]), compared.mine)
        level = min(_LEVELS.get(case.material.logs.column("log.level")[r].as_py(), 2) for r in rows)
        candidates.append((level, float(compared.p_more[i]), rows[0], i, rows))
    return sorted(candidates)


def _only_here(
    case: Case, codes: npt.NDArray[Any], compared: _Compared, candidates: Sequence[_Only]
) -> Iterator[Found]:
    """A finding for each of `candidates`."""
    n, m = len(compared.mine), len(compared.healthy)
    for _, p_value, first, i, rows in candidates:
        a, b = int(compared.with_mine[i]), int(compared.with_healthy[i])
        text, service = (
            _template(case, int(compared.codes[i])),
            case.material.logs.column("service.name")[first].as_py(),
        )
        own, zh_own = ("this order", "该订单") if n == 1 else (f"{a} of {n} of these orders", f"{n} 个订单中的 {a} 个")
        of, zh_of = case.channel or "any channel", case.channel or "各渠道"
        few, zh_few = (
            (f"{b} of the {m} healthy orders of {of} did", f"{zh_of} {m} 个正常订单中有 {b} 个写过")
            if b
            else (f"none of the {m} healthy orders of {of} did", f"{zh_of} {m} 个正常订单均未写过")
        )
        wrote, others = _others(case, codes, int(compared.codes[i]), compared)
        more = f", {wrote} of {others} other orders did" if others else ""
        zh_more = f"，其他 {others} 个订单中有 {wrote} 个写过" if others else ""
        yield Found(
            kind="cohort.only_here",
            statement=Text(
                en=f"{own} wrote in {service or '-'}: `{text}`; {few}{more} (p = {p_value:.2g})",
                zh=f"{zh_own}在 {service or '-'} 写出 `{text}`；{zh_few}{zh_more}（p = {p_value:.2g}）",
            ),
            cites=tuple(case.cite_log(r) for r in rows[:_CITES]),
            strength=round(1.0 - p_value, 4),
            service=service,
            host=case.material.logs.column("host.name")[first].as_py(),
            channel=case.channel,
            at=case.material.logs.column("@timestamp")[first].as_py(),
        )


def _others(case: Case, codes: npt.NDArray[Any], code: int, compared: _Compared) -> tuple[int, int]:
    """How many of the followed orders that were not compared, failing ones among them, wrote it, and how many there are."""
    apart = (-1, *compared.mine, *compared.healthy)
    owner = case.followed.owner
    others = np.setdiff1d(owner, apart)
    return len(np.intersect1d(owner[codes == code], others)), len(others)


def _stopped(case: Case, codes: npt.NDArray[Any], compared: _Compared) -> Iterator[Found]:
    """The first line, in the healthy orders' sequence, that nearly all of them have and the ticket's orders lack."""
    m = len(compared.healthy)
    absent = (compared.with_mine == 0) & (compared.with_healthy >= m * _NEARLY_ALL)
    if not absent.any():
        return
    usual = _usual_moment(case, codes, compared)
    order = sorted(np.flatnonzero(absent).tolist(), key=lambda i: (usual[int(compared.codes[i])], i))
    first = order[0]
    code = int(compared.codes[first])
    logs = case.material.logs
    theirs = _rows(case, codes, code, compared.healthy)
    service = logs.column("service.name")[theirs[0]].as_py()
    b, p_value = int(compared.with_healthy[first]), float(compared.p_fewer[first])
    this, zh_this, it, its, has = (
        ("this order", "该订单", "it", "its", "has")
        if len(compared.mine) == 1
        else ("these orders", "这些订单", "they", "their", "have")
    )
    cites: list[Cited] = []
    came, zh_came = "", ""
    common = compared.codes[(compared.with_mine > 0) & (compared.with_healthy >= m * _NEARLY_ALL)]
    stamps = _micros(case)
    own = np.flatnonzero(np.isin(case.followed.owner, compared.mine))
    shared = own[np.isin(codes[own], common)]
    if len(shared):
        row = int(shared[np.argsort(stamps[shared], kind="stable")[-1]])
        cites.append(case.cite_log(row))
        last, where = _template(case, int(codes[row])), logs.column("service.name")[row].as_py() or "-"
        # Lines of the same moment may have come later.
        theirs_too = np.isin(np.arange(len(stamps)), own) | case.focus_rows
        ends = int((theirs_too & (stamps >= stamps[row])).sum()) == 1
        came, zh_came = (
            (f"; {its} last line of all is `{last}` in {where}", f"；{zh_this}的最后一行日志是 {where} 的 `{last}`")
            if ends
            else (
                f"; {its} last line in common with them is `{last}` in {where}",
                f"；{zh_this}与正常订单共有的最后一行是 {where} 的 `{last}`",
            )
        )
    cites += [case.cite_log(r) for r in theirs[:_CITES]]
    # The service was reached and went another way.
    instead, zh_instead = "", ""
    for i in np.flatnonzero((compared.with_mine > 0) & (compared.with_healthy == 0)).tolist():
        row = _rows(case, codes, int(compared.codes[i]), compared.mine)[0]
        if logs.column("service.name")[row].as_py() == service:
            other = _template(case, int(compared.codes[i]))
            instead, zh_instead = f"; instead {it} wrote `{other}` there", f"；而是写出 `{other}`"
            cites.append(case.cite_log(row))
            break
    more = len(order) - 1
    then, zh_then = (
        (f"; {more} later {'step is' if more == 1 else 'steps are'} absent too", f"，其后还缺 {more} 种日志")
        if more
        else ("", "")
    )
    text = _template(case, code)
    yield Found(
        kind="cohort.stopped_before",
        statement=Text(
            en=f"of the steps that healthy orders share, {this} {has} no line of `{text}` in {service or '-'}, which {b} of {m} healthy "
            f"orders of {case.channel or 'any channel'} have{then}{instead}{came} (p = {p_value:.2g})",
            zh=f"正常订单共有的步骤中，{zh_this}缺少 {service or '-'} 的 `{text}`（{case.channel or '各渠道'} {m} 个正常订单中有 {b} 个写出）{zh_then}{zh_instead}{zh_came}"
            f"（p = {p_value:.2g}）",
        ),
        cites=tuple(cites),
        strength=round(1.0 - p_value, 4),
        service=service,
        channel=case.channel,
    )


def _usual_moment(case: Case, codes: npt.NDArray[Any], compared: _Compared) -> dict[int, float]:
    """For each template the median time, in microseconds after the order's first line, at which healthy orders write it."""
    owner = case.followed.owner
    stamps = _micros(case)
    moments: dict[int, list[float]] = {}
    for position in compared.healthy:
        rows = np.flatnonzero(owner == position)
        begun = stamps[rows].min()
        for row in rows.tolist():
            moments.setdefault(int(codes[row]), []).append(float(stamps[row] - begun))
    usual = {code: float(np.median(some)) for code, some in moments.items()}
    return {int(code): usual.get(int(code), float("inf")) for code in compared.codes}


def _rows(case: Case, codes: npt.NDArray[Any], code: int, positions: Sequence[int]) -> list[int]:
    """The rows of a template about the orders at `positions`."""
    rows: list[int] = np.flatnonzero((codes == code) & np.isin(case.followed.owner, positions)).tolist()
    return rows


# ---- against the time before


def _changed(case: Case, codes: npt.NDArray[Any]) -> dict[str, list[int]]:
    """Way of change -> the surest new, surged and vanished templates, those of unhappy lines and of the order's services first."""
    ids = case.clusters.template_ids.dictionary.to_pylist()
    changes = [case.contrast.changes[i] for i in ids]
    sure = [i for i, c in enumerate(changes) if c.q_value <= FALSE_DISCOVERY_RATE and c.change != "usual"]
    if not sure:
        return {}
    logs = case.material.logs
    bad = _mask(pc.is_in(logs.column("log.level").combine_chunks(), value_set=pa.array(list(_LEVELS))))
    flow = _mask(
        pc.is_in(
            logs.column("service.name").combine_chunks(), value_set=pa.array(sorted(case.flow_services), pa.string())
        )
    )
    unhappy = np.bincount(codes[bad], minlength=len(ids)) > 0
    own = np.bincount(codes[flow], minlength=len(ids)) > 0
    # Elsewhere something always changes; what does in the order's own services, or says WARN, may matter.
    sure = [i for i in sure if (unhappy[i] or own[i] or not case.flow_services) and _much(case, changes[i])]
    sure.sort(key=lambda i: (not unhappy[i], not own[i], changes[i].q_value, -changes[i].incident, ids[i]))
    return {way: [i for i in sure if changes[i].change == way] for way in ("new", "surged", "vanished")}


def _changes(case: Case, codes: npt.NDArray[Any], mine: Sequence[int]) -> Iterator[Found]:
    """A finding for each of the templates `mine`, by code, with its lines nearest to the anchor."""
    ids = case.clusters.template_ids.dictionary.to_pylist()
    stamps = _micros(case)
    anchor = case.scope.anchor.timestamp() * 1e6
    for i in mine:
        change = case.contrast.changes[ids[i]]
        window = case.contrast.in_baseline if change.change == "vanished" else case.contrast.in_incident
        rows = np.flatnonzero((codes == i) & window)
        if not len(rows):
            # The catalogue has seen what the time before has not.
            rows = np.flatnonzero(codes == i)
        nearest = rows[np.argsort(np.abs(stamps[rows] - anchor), kind="stable")][:_CITES].tolist()
        yield _change(case, change, i, nearest)


def _much(case: Case, change: Change) -> bool:
    """Whether the template's rate rose or fell by the factor that counts, against that of all lines."""
    if change.usual is not None:
        seen, expected = change.usual.seen, change.usual.lines
        return seen >= _TIMES * expected if change.change != "vanished" else seen * _TIMES <= expected
    here, before = int(case.contrast.in_incident.sum()), int(case.contrast.in_baseline.sum())
    rate, usual = change.incident / max(here, 1), change.baseline / max(before, 1)
    return rate >= _TIMES * usual if change.change != "vanished" else rate * _TIMES <= usual


def _change(case: Case, change: Change, code: int, rows: list[int]) -> Found:
    text = _template(case, code)
    logs = case.material.logs
    service = logs.column("service.name")[rows[0]].as_py()
    what, zh_what = {
        "new": ("is new", "新出现"),
        "surged": ("has surged", "激增"),
        "vanished": (
            "has all but vanished" if change.incident else "has vanished",
            "骤减" if change.incident else "消失",
        ),
    }[change.change]
    counts, zh_counts = _counted(change)
    return Found(
        kind={"new": "contrast.new", "surged": "contrast.surged", "vanished": "contrast.vanished"}[change.change],
        statement=Text(
            en=f"`{text}` ({service or '-'}) {what}: {counts} (q = {change.q_value:.2g})",
            zh=f"`{text}`（{service or '-'}）{zh_what}：{zh_counts}（q = {change.q_value:.2g}）",
        ),
        cites=tuple(case.cite_log(row) for row in rows),
        strength=round(1.0 - change.q_value, 4),
        service=service,
        about_focus=False,
        at=logs.column("@timestamp")[rows[0]].as_py(),
    )


def _counted(change: Change) -> tuple[str, str]:
    """What the window has and what it is measured by."""
    usual = change.usual
    if usual is None:
        return (
            f"{change.incident} lines in the window, {change.baseline} in the time before",
            f"窗口内 {change.incident} 行，此前 {change.baseline} 行",
        )
    if usual.by == "never_seen":
        return (
            f"{change.incident} lines in the window, and the catalogue has never seen one",
            f"窗口内 {change.incident} 行，目录中从未出现过",
        )
    hour, zh_hour = (
        ("this hour of the week", "每周同一小时")
        if usual.by == "hour_of_week"
        else ("this hour of the day", "每天同一小时")
    )
    return (
        f"{usual.seen:,.0f} lines of its kind in the window, where {usual.lines:,.1f} are usual at {hour}, seen {usual.times} times",
        f"窗口内同类日志 {usual.seen:,.0f} 行，{zh_hour}通常为 {usual.lines:,.1f} 行（已观察 {usual.times} 次）",
    )


def _template(case: Case, code: int) -> str:
    template_id = case.clusters.template_ids.dictionary[code].as_py()
    text = next(t.text for t in case.clusters.templates if t.id == template_id)
    return clip(" ".join(text.split()), _SHOWN)


def _micros(case: Case) -> npt.NDArray[np.int64]:
    times = case.material.logs.column("@timestamp").combine_chunks().cast(pa.int64())
    stamps: npt.NDArray[np.int64] = pc.fill_null(times, 0).to_numpy(zero_copy_only=False)
    return stamps


def _mask(array: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False), dtype=bool)
