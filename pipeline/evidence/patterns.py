"""Patterns: what the failing orders have in common that the healthy ones have not.

One channel, merchant, payment method, card range or region; one host or version that all of them passed through; or nothing:
only this order fails. Each value that the ticket's order shares with another failing one is tested exactly against the
healthy orders of the same window, and the false-discovery rate over all that were tried is held. The same is asked of the
window's traces: do those with errors run through one host of a service that has several?
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.contrast import FALSE_DISCOVERY_RATE, exact_shares
from pipeline.evidence.case import Case, is_code_key
from pipeline.flows import tried
from pipeline.payments.health import is_healthy, went_wrong
from pipeline.payments.orders import Order
from pipeline.values import Cited, Found, Seen
from snapshots.model import Check, Text

# Fewer tell nothing.
_FAILING = 3
_HEALTHY = 3
# Healthy orders of the same channel against which a single failure is a single one.
_SINGLE = 3
_MOSTLY = 0.5
# Traces with errors, and hosts of a service, below which no host stands out.
_FAILING_TRACES = 4
_CITES = 4
_MOST = 5
# What an order has by its own meaning; other attributes are tried under their own names.
_MEANINGS = ("merchant", "app", "method")
_MERCHANT = frozenset({"merchant", "app"})
# Attributes that name one order, one customer or the outcome.
_NO_ATTRIBUTE = frozenset(
    {"customer_id", "phone_tail", "shop_system", "channel_txn_id", "out_trade_no", "verified", "http_answer", "trace_id",
     "user_id", "openid", "payer", "amount", "sign", "signature", "nonce", "timestamp", "ip", "email", "phone", "name"}
)  # fmt: skip
_BAD = ("ERROR", "FATAL")
_ZH = {"merchant": "商户", "app": "应用", "method": "支付方式", "host": "主机", "version": "版本", "channel": "渠道"}


@dataclass(frozen=True)
class _Groups:
    """The orders of the window, the ticket's own first; those whose outcome is not known are in neither group."""

    failing: tuple[Order, ...]
    healthy: tuple[Order, ...]


def detect(case: Case) -> Seen:
    """Findings for what is common to the failures of the window, the surest first."""
    groups = _groups(case)
    mine = [o for o in groups.failing if o.order_id in case.scope.focus_orders]
    found: list[Found] = [*_by_channel(groups, mine), *_by_attribute(case, groups, mine)]
    found += _by_trace(case, {f.kind for f in found})
    figures = Text(
        en=f"{len(groups.failing)} failing and {len(groups.healthy)} healthy orders in the window",
        zh=f"窗口内失败订单 {len(groups.failing)} 个，正常订单 {len(groups.healthy)} 个",
    )
    if found:
        found.sort(key=lambda f: (-f.strength, f.kind, f.statement.en))
        outcome: Any = "found"
    else:
        outcome = "healthy" if mine and groups.healthy else "not_evaluated"
    nothing = "" if found else ", no value that sets them apart"
    zh_nothing = "" if found else "，未见共同特征"
    statement = Text(en=f"patterns: {figures.en}{nothing}", zh=f"共性：{figures.zh}{zh_nothing}")
    check = Check(id="patterns", outcome=outcome, statement=statement)
    return Seen(tuple(found[:_MOST]), (check,), max(0, len(found) - _MOST))


def _groups(case: Case) -> _Groups:
    window = case.scope.window
    focus = set(case.scope.focus_orders)
    failing, healthy = [], []
    for order in (*case.focus, *(o for i, o in case.orders.items() if i not in focus)):
        at = tried(order)
        own = order.order_id in focus
        if not own and (at is None or not window.start <= at < window.end):
            continue
        well = is_healthy(order, case.now, case.settings.thresholds) if own else order.order_id in case.healthy
        if well:
            healthy.append(order)
        elif went_wrong(order):
            failing.append(order)
    return _Groups(tuple(failing), tuple(healthy))


# ---- channels


def _by_channel(groups: _Groups, mine: Sequence[Order]) -> Iterator[Found]:
    if not mine:
        return
    failing = _count(groups.failing)
    healthy = _count(groups.healthy)
    channel = mine[0].channel
    if channel is None or any(o.channel != channel for o in mine):
        return
    sick = sorted(c for c, n in failing.items() if n >= 2 and n >= _MOSTLY * (n + healthy.get(c, 0)))
    others_failing = sum(n for c, n in failing.items() if c != channel)
    others_healthy = sum(n for c, n in healthy.items() if c != channel)
    f, h = failing[channel], healthy.get(channel, 0)
    if channel in sick and len(sick) > 1:
        shown = ", ".join(f"{c} {failing[c]} of {failing[c] + healthy.get(c, 0)}" for c in sick)
        yield Found(
            kind="pattern.all_channels",
            statement=Text(
                en=f"several channels fail at once ({shown} orders failing), which no single channel explains",
                zh=f"多个渠道同时失败（失败订单数：{shown.replace(' of ', '/')}），单一渠道无法解释",
            ),
            cites=_cites([o for o in groups.failing if o.channel in sick]),
            supports="internal_fault",
            subclass="dependency_down",
            strength=round(min(1.0, 0.4 + 0.15 * len(sick)), 4),
            about_focus=False,
            against=("channel_outage",),
        )
        return
    if len({o.customer_id for o in groups.failing if o.channel == channel}) >= _FAILING and others_healthy >= _HEALTHY:
        shares = exact_shares(*(np.array([n]) for n in (f, f + h, others_failing, others_failing + others_healthy)))
        if f >= _MOSTLY * (f + h) and shares.p_more[0] <= FALSE_DISCOVERY_RATE:
            yield Found(
                kind="pattern.channel",
                statement=Text(
                    en=f"{channel} alone: {f} of its {f + h} orders in the window fail, of the other channels' "
                    f"{others_failing} of {others_failing + others_healthy} (p = {shares.p_more[0]:.2g})",
                    zh=f"仅 {channel} 异常：窗口内 {f + h} 单中 {f} 单失败，其他渠道 {others_failing + others_healthy} 单中 "
                    f"{others_failing} 单失败（p = {shares.p_more[0]:.2g}）",
                ),
                cites=_cites([o for o in groups.failing if o.channel == channel]),
                supports="channel_outage",
                subclass="channel_system_error",
                strength=round(1.0 - float(shares.p_more[0]), 4),
                channel=channel,
                about_focus=False,
            )
    if f == len(mine) == 1 and h >= _SINGLE:
        yield Found(
            kind="pattern.single",
            statement=Text(
                en=f"only this order fails: {h} of {h} other finished orders of {channel} in the window went through",
                zh=f"仅该订单失败：窗口内 {channel} 其他 {h} 个已完结订单均正常",
            ),
            cites=_cites([*mine, *(o for o in groups.healthy if o.channel == channel)]),
            strength=round(1.0 - 1.0 / (h + 1), 4),
            channel=channel,
            against=("channel_outage",),
        )


def _count(orders: Sequence[Order]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for order in orders:
        if order.channel:
            counts[order.channel] += 1
    return counts


def _cites(orders: Sequence[Order]) -> tuple[Cited, ...]:
    return tuple(order.events[-1].cited for order in orders[:_CITES] if order.events)


# ---- what orders have


def _by_attribute(case: Case, groups: _Groups, mine: Sequence[Order]) -> Iterator[Found]:
    if not mine or len(groups.failing) < _FAILING or len(groups.healthy) < _HEALTHY:
        return
    passed = _passed_through(case)
    has = {o.order_id: _attributes(o) | passed.get(o.order_id, {}) for o in (*groups.failing, *groups.healthy)}
    # Only what another failing order shares with the ticket's own may be a pattern of it.
    shared = sorted(
        {(name, v) for o in mine for name, values in has[o.order_id].items() for v in values}
        & {(name, v) for o in groups.failing if o not in mine for name, vs in has[o.order_id].items() for v in vs}
    )
    if not shared:
        return
    numbers = []
    for name, value in shared:
        with_name = [[has[o.order_id][name] for o in group if name in has[o.order_id]] for group in _both(groups)]
        numbers.append(
            [count for group in with_name for count in (sum(value in values for values in group), len(group))]
        )
    a, n, b, m = (np.array(column) for column in zip(*numbers, strict=True))
    shares = exact_shares(a, n, b, m)
    told: set[str] = set()
    for i in np.lexsort((np.arange(len(shared)), shares.q_more)).tolist():
        name, value = shared[i]
        if shares.q_more[i] > FALSE_DISCOVERY_RATE or a[i] < _FAILING or m[i] < _HEALTHY or name in told:
            continue
        told.add(name)
        having = [o for o in groups.failing if value in has[o.order_id].get(name, ())]
        yield _common(case, name, value, (int(a[i]), int(n[i]), int(b[i]), int(m[i])), float(shares.q_more[i]), having)


def _both(groups: _Groups) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    return groups.failing, groups.healthy


def _common(
    case: Case, name: str, value: str, numbers: tuple[int, int, int, int], q_value: float, having: Sequence[Order]
) -> Found:
    a, n, b, m = numbers
    kind, supports, subclass = "pattern.attribute", None, None
    if name == "host":
        kind, supports = "pattern.host", "internal_fault"
    elif name == "version":
        kind, supports, subclass = "pattern.version", "internal_fault", "code_exception"
    elif name in _MERCHANT:
        kind, supports = "pattern.merchant", "merchant_account"
    shown, zh_name = value.rpartition("@")[2] if name in ("host", "version") else value, _ZH.get(name, name)
    service = value.partition("@")[0] if name in ("host", "version") else None
    in_service, zh_service = (f" of {service}", f"（{service}）") if service else ("", "")
    cites = _cites(having)
    if service:
        cites += tuple(_lines_there(case, having, name, value))
    return Found(
        kind=kind,
        statement=Text(
            en=f"{a} of {n} failing orders have {name} {shown}{in_service}, of the healthy ones {b} of {m} (q = {q_value:.2g})",
            zh=f"失败订单 {n} 个中有 {a} 个的{zh_name}为 {shown}{zh_service}，正常订单 {m} 个中有 {b} 个（q = {q_value:.2g}）",
        ),
        cites=cites,
        supports=supports,
        subclass=subclass,
        strength=round(max(0.0, a / n - b / m) * (1.0 - q_value), 4),
        service=service,
        host=shown if name == "host" else None,
        channel=case.channel,
        against=("channel_outage",) if supports == "internal_fault" else (),
    )


def _attributes(order: Order) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for event in order.events:
        for meaning in _MEANINGS:
            if value := event.text(meaning):
                found[meaning].add(value)
        for key, value in event.attributes.items():
            if key in _NO_ATTRIBUTE or is_code_key(key) or isinstance(value, bool):
                continue
            if isinstance(value, (str, int)) and value != "" and len(str(value)) <= 40:
                found[key].add(str(value))
    if order.currency:
        found["currency"].add(order.currency)
    return {name: frozenset(values) for name, values in found.items()}


def _passed_through(case: Case) -> dict[str, dict[str, frozenset[str]]]:
    """For each followed order the `service@host` and `service@version` that wrote about it."""
    logs, followed = case.material.logs, case.followed
    rows = np.flatnonzero(followed.owner >= 0)
    if not len(rows):
        return {}
    taken = logs.select(["service.name", "host.name", "service.version"]).take(pa.array(rows)).to_pydict()
    owners = followed.owner[rows].tolist()
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for owner, service, host, version in zip(owners, *taken.values(), strict=True):
        names = found[followed.orders[owner].order_id]
        if service and host:
            names["host"].add(f"{service}@{host}")
        if service and version:
            names["version"].add(f"{service}@{version}")
    return {order_id: {name: frozenset(v) for name, v in names.items()} for order_id, names in found.items()}


def _lines_there(case: Case, having: Sequence[Order], name: str, value: str) -> Iterator[Cited]:
    """One line of each of the first few of these orders, written there."""
    service, _, place = value.partition("@")
    logs, followed = case.material.logs, case.followed
    column = logs.column("host.name" if name == "host" else "service.version")
    position = {o.order_id: i for i, o in enumerate(followed.orders)}
    for order in having[:_CITES]:
        for row in followed.rows(position[order.order_id]).tolist() if order.order_id in position else ():
            if logs.column("service.name")[row].as_py() == service and column[row].as_py() == place:
                yield case.cite_log(row)
                break


# ---- what traces have


def _by_trace(case: Case, told: set[str]) -> Iterator[Found]:
    """A host or version of a service through which the window's traces with errors run, and the good ones do not."""
    logs = case.material.logs
    inside = pa.array(case.contrast.in_incident)
    for name, column in (("host", "host.name"), ("version", "service.version")):
        if f"pattern.{name}" in told or logs.column(column).null_count == logs.num_rows:
            continue
        table = logs.select(["service.name", column, "trace.id", "log.level"]).filter(inside)
        bad = pc.fill_null(pc.is_in(table.column("log.level"), value_set=pa.array(_BAD)), fill_value=False)
        table = table.append_column("bad", pc.cast(bad, pa.int8())).drop_null() if table.num_rows else table
        if not table.num_rows or not pc.any(bad).as_py():
            continue
        each = table.group_by(["service.name", column, "trace.id"]).aggregate([("bad", "max")])
        counted = each.group_by(["service.name", column]).aggregate([("bad_max", "sum"), ("bad_max", "count")])
        counted = counted.sort_by([("service.name", "ascending"), (column, "ascending")])
        yield from _standing_out(case, name, column, counted)


def _standing_out(case: Case, name: str, column: str, counted: pa.Table) -> Iterator[Found]:
    services = counted.column("service.name").to_pylist()
    places = counted.column(column).to_pylist()
    bad = np.asarray(counted.column("bad_max_sum").to_numpy(), np.int64)
    total = np.asarray(counted.column("bad_max_count").to_numpy(), np.int64)
    codes = np.unique(np.array(services), return_inverse=True)[1]
    bad_all = np.bincount(codes, bad).astype(np.int64)[codes]
    total_all = np.bincount(codes, total).astype(np.int64)[codes]
    several = total_all > total
    shares = exact_shares(bad, bad_all, total - bad, total_all - bad_all)
    q_values: npt.NDArray[np.float64] = shares.q_more
    for i in np.argsort(q_values, kind="stable").tolist():
        if not several[i] or q_values[i] > FALSE_DISCOVERY_RATE or bad[i] < max(_FAILING_TRACES, _MOSTLY * bad_all[i]):
            continue
        place, service = places[i], services[i]
        ours = service in case.flow_services
        yield Found(
            kind=f"pattern.{name}",
            statement=Text(
                en=f"{bad[i]} of {bad_all[i]} traces with errors in {service} ran through {name} {place}, of those without "
                f"{total[i] - bad[i]} of {total_all[i] - bad_all[i]} (q = {q_values[i]:.2g})",
                zh=f"{service} 出错的 {bad_all[i]} 条链路中有 {bad[i]} 条经过{_ZH[name]} {place}，未出错的 "
                f"{total_all[i] - bad_all[i]} 条中有 {total[i] - bad[i]} 条（q = {q_values[i]:.2g}）",
            ),
            cites=tuple(_bad_lines(case, service, column, place)),
            supports="internal_fault",
            subclass="code_exception" if name == "version" else None,
            strength=round((1.0 if ours else 0.5) * (1.0 - float(q_values[i])), 4),
            service=service,
            host=place if name == "host" else None,
            about_focus=False,
        )
        return


def _bad_lines(case: Case, service: str, column: str, place: str) -> Iterator[Cited]:
    logs = case.material.logs
    there = pc.and_(pc.equal(logs.column("service.name"), service), pc.equal(logs.column(column), place))
    bad = pc.and_(there, pc.is_in(logs.column("log.level"), value_set=pa.array(_BAD)))
    mask = pc.fill_null(bad, fill_value=False).to_numpy() & case.contrast.in_incident
    yield from (case.cite_log(row) for row in np.flatnonzero(mask)[:_CITES].tolist())
