"""Scope: whom and when the ticket is about.

First from its own words (`read_scope`), then by what the order source (`expand_by_orders`) and the traces
(`expand_by_traces`) add. Each step says where it came from: identifiers carry `found_in`, the expansion is a list of hops,
the window has a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from parsers.identifiers import read_identifiers, values_in
from parsers.timewords.mentions import read_times
from pipeline.payments.health import is_healthy
from pipeline.payments.orders import Order
from pipeline.values import Scope, Span, Ticket, replace
from snapshots.model import Hop, Identifier, Text

if TYPE_CHECKING:
    from pipeline.settings import Settings

# The reason of a window that a person asked for; a document that has it is taken again with that window.
ASKED_FOR = Text(en="the window that was asked for", zh="按指定的时间窗口")

# Without any word of time a customer writes within a couple of hours of what happened.
_ASSUMED_BEFORE = timedelta(hours=3)
# Mentions of time that are exact and sure enough to look there and nowhere else.
_EXACT = frozenset({"minute", "hour"})
_SURE = 0.5
# The field of a ticket's questionnaire that holds when it happened, as RFC 3339 with an offset.
OCCURRED_AT = "occurred_at"
_OLDEST_ANSWER = timedelta(days=366)
# Events of one order that lie further apart are different episodes, such as a payment and its refund next day.
_EPISODE_GAP = timedelta(hours=2)
# An episode that ended so long before a ticket without a time is not what its window is about.
_STALE = timedelta(hours=24)
_EPISODE_LONGEST = timedelta(hours=6)
# How much of the window lies before the episode's first event: others may have been hit earlier.
_LEAD = timedelta(minutes=15)
_TAIL = timedelta(minutes=10)
# Said times are rough ("around half past nine"), and customers' clocks stand in other zones.
_SAID_SLACK = timedelta(minutes=45)
# How many values of one hop a document lists; the rest is counted.
_LISTED = 20
# How many traces of one kind of identifier are followed.
_TRACES = 200


def read_scope(ticket: Ticket, settings: Settings, around: Span | None = None) -> Scope:
    """The scope that the ticket's own words give; `around` is a window that a person asked for and wins over words."""
    patterns = settings.identifiers.by_kind()
    found: list[Identifier] = []
    for name, text in _texts(ticket):
        found += [
            Identifier(kind=kind, value=value, found_in=where)  # type: ignore[arg-type]
            for kind, value, where in read_identifiers(text, patterns=patterns, found_in=name)
        ]
    if ticket.customer_id:
        found.append(Identifier(kind="customer_id", value=ticket.customer_id, found_in="customer"))
    anchor, window, reason, window_from = _window(ticket, settings, around)
    return Scope(
        window=window,
        baseline=Span(window.start - settings.baseline, window.start),
        anchor=anchor,
        reason=reason,
        identifiers=_distinct(found),
        window_from=window_from,
    )


def expand_by_orders(
    scope: Scope, ticket: Ticket, orders: Mapping[str, Order], settings: Settings, source: str
) -> Scope:
    """Customer or phone tail -> orders -> payment attempts, and the window that the orders' events give.

    A named order is the focus. Otherwise it is the customer's order nearest to the moment that the ticket means, one that
    is not in order before one that is.
    """
    hops = list(scope.hops)
    named = _orders_named(scope, orders)
    focus = named
    if not focus:
        mine, hop = _orders_of_customer(scope, orders, source)
        hops += hop
        chosen = _nearest(mine, scope, ticket, settings)
        focus = [chosen.order_id] if chosen else []
    if not focus:
        return replace(scope, hops=tuple(hops))

    added: list[Identifier] = []
    for order_id in focus:
        order = orders[order_id]
        added.append(Identifier(kind="order_id", value=order_id, found_in=source))
        attempts = [attempt.entity_id for attempt in order.attempts]
        refunds = [refund.entity_id for refund in order.refunds]
        transactions = [attempt.channel_txn_id for attempt in order.attempts if attempt.channel_txn_id]
        added += [Identifier(kind="out_trade_no", value=value, found_in=source) for value in attempts]
        added += [Identifier(kind="refund_id", value=value, found_in=source) for value in refunds]
        added += [Identifier(kind="channel_txn_id", value=value, found_in=source) for value in transactions]
        hops.append(_hop("order -> payment attempts", source, order_id, [*attempts, *refunds]))
    channels = tuple(dict.fromkeys(c for order_id in focus if (c := orders[order_id].channel)))
    scope = replace(
        scope,
        identifiers=_distinct([*scope.identifiers, *added]),
        hops=tuple(hops),
        focus_orders=tuple(focus),
        channels=channels,
    )
    return _window_of_orders(scope, [orders[order_id] for order_id in focus], ticket, settings)


def expand_by_traces(scope: Scope, logs: pa.Table, spans: pa.Table) -> Scope:
    """Orders and attempts -> trace ids, through log lines and spans that carry them, and on to the services they name.

    A customer's id alone ties a trace only inside the window, since it stands in every visit of that customer.
    """
    strong = scope.values("order_id", "out_trade_no", "refund_id", "channel_txn_id")
    weak = scope.values("customer_id")
    hops = list(scope.hops)
    traces: dict[str, None] = dict.fromkeys(scope.values("trace_id"))
    services: dict[str, None] = dict.fromkeys(scope.services)
    for table, name, text in ((logs, "logs", "message"), (spans, "spans", "attributes")):
        if not table.num_rows:
            continue
        hit = _tied_rows(table, text, strong, weak, scope)
        rows = table.filter(hit)
        found = [t for t in pc.unique(rows.column("trace.id")).to_pylist() if t]
        if found:
            start = ", ".join((strong or weak)[:3])
            hops.append(_hop("identifiers -> traces", name, start, found))
        traces.update(dict.fromkeys(found[:_TRACES]))
        services.update(dict.fromkeys(s for s in pc.unique(rows.column("service.name")).to_pylist() if s))
    if traces:
        wanted = pa.array(list(traces), pa.string())
        for table in (logs, spans):
            rows = table.filter(pc.is_in(table.column("trace.id"), value_set=wanted))
            services.update(dict.fromkeys(s for s in pc.unique(rows.column("service.name")).to_pylist() if s))
        hops.append(
            _hop(
                "traces -> services",
                "logs and spans",
                f"{len(traces)} trace" + ("s" if len(traces) != 1 else ""),
                list(services),
            )
        )
    added = [Identifier(kind="trace_id", value=value, found_in="logs and spans") for value in traces]
    return replace(
        scope,
        identifiers=_distinct([*scope.identifiers, *added]),
        hops=tuple(hops),
        services=tuple(services),
    )


def traces_of(
    identifiers: Mapping[str, tuple[str, ...]], scope: Scope, logs: pa.Table, spans: pa.Table
) -> tuple[str, ...]:
    """The trace ids of rows that carry one of `identifiers`, `_TRACES` at most."""
    strong = tuple(dict.fromkeys(value for values in identifiers.values() for value in values))
    found: dict[str, None] = {}
    for table, text in ((logs, "message"), (spans, "attributes")):
        if strong and table.num_rows:
            rows = table.filter(_tied_rows(table, text, strong, (), scope))
            found.update(dict.fromkeys(t for t in pc.unique(rows.column("trace.id")).to_pylist() if t))
    return tuple(found)[:_TRACES]


def identifiers_by_kind(scope: Scope) -> dict[str, tuple[str, ...]]:
    """The scope's identifiers as a source is asked for them: kind -> values."""
    kinds = dict.fromkeys(identifier.kind for identifier in scope.identifiers)
    return {kind: scope.values(kind) for kind in kinds}


# ---- words


def _texts(ticket: Ticket) -> Iterable[tuple[str, str]]:
    yield "title", ticket.title
    yield "description", ticket.description
    for name, value in ticket_fields(ticket):
        # With its name as the cue, "order_no: 123" reads as in a text.
        yield name, f"{name.replace('_', ' ')}: {value}"


def ticket_fields(ticket: Ticket) -> Iterable[tuple[str, str]]:
    """Every leaf of the ticket's questionnaire and own fields, with the name of its field; a list gives several."""
    for name, value in {**ticket.questionnaire, **ticket.custom_fields}.items():
        yield from _leaves(name, value)


def _leaves(name: str, value: Any) -> Iterable[tuple[str, str]]:
    """Ticket systems also write fields as `{"id": "order_no", "value": "123"}`."""
    if isinstance(value, Mapping):
        label = value.get("id") or value.get("name") or value.get("key")
        if label and "value" in value:
            yield from _leaves(str(label), value["value"])
            return
        for key, one in value.items():
            yield from _leaves(str(key), one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _leaves(name, one)
    elif isinstance(value, (str, int)) and not isinstance(value, bool):
        yield name, str(value)


def _window(
    ticket: Ticket, settings: Settings, around: Span | None
) -> tuple[datetime, Span, Text, Literal["option", "said", "orders", "assumed"]]:
    created = ticket.created_at.astimezone(UTC)
    if around is not None:
        middle = around.start + (around.end - around.start) / 2
        return middle, around, ASKED_FOR, "option"
    if (answered := _answered_moment(ticket)) is not None:
        reason = Text(en=f"the customer's answer: {answered.isoformat()}", zh=f"客户答复的时间：{answered.isoformat()}")
        start = answered.astimezone(UTC)
        return start, Span(start, start).widened(settings.before, settings.after), reason, "said"
    said = read_times(f"{ticket.title}\n{ticket.description}", ticket.created_at)
    if said and (said[0].precision not in _EXACT or said[0].confidence < _SURE):
        # "Last night" is often wrong by hours: such words widen the assumed window and are not trusted to narrow it.
        best = said[0]
        window = Span(min(best.start, created - _ASSUMED_BEFORE), max(best.end, created))
        en = f"{best.reason_en}, which is vague: widened to the hours before the ticket"
        return created, window, Text(en=en, zh=f"{best.reason_zh}，较为模糊：放宽到工单创建前数小时"), "assumed"
    if said:
        best = said[0]
        anchor = best.start + (best.end - best.start) / 2
        window = Span(best.start, best.end).widened(settings.before, settings.after)
        return anchor, window, Text(en=best.reason_en, zh=best.reason_zh), "said"
    window = Span(created - _ASSUMED_BEFORE, created + timedelta(minutes=5))
    hours = int(_ASSUMED_BEFORE.total_seconds() // 3600)
    reason = Text(
        en=f"the ticket names no time: the {hours} hours before it was created",
        zh=f"工单未提及时间：取创建前 {hours} 小时",
    )
    return created, window, reason, "assumed"


def _answered_moment(ticket: Ticket) -> datetime | None:
    """The moment that a form asked for by `OCCURRED_AT`; None where it is none, far back, or after the ticket."""
    value = ticket.questionnaire.get(OCCURRED_AT)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if moment is None or moment.tzinfo is None:
        return None
    created = ticket.created_at
    return moment if created - _OLDEST_ANSWER < moment <= created + timedelta(minutes=5) else None


# ---- orders


def _orders_named(scope: Scope, orders: Mapping[str, Order]) -> list[str]:
    named = [value for value in scope.values("order_id") if value in orders]
    trade_numbers = set(scope.values("out_trade_no", "channel_txn_id", "refund_id", "order_id"))
    for order in orders.values():
        numbers = {number for attempt in order.attempts for number in attempt.numbers}
        numbers |= {attempt.channel_txn_id for attempt in order.attempts if attempt.channel_txn_id}
        numbers |= {refund.entity_id for refund in order.refunds}
        if numbers & trade_numbers:
            named.append(order.order_id)
    return list(dict.fromkeys(named))


def _orders_of_customer(scope: Scope, orders: Mapping[str, Order], source: str) -> tuple[list[Order], list[Hop]]:
    hops: list[Hop] = []
    customers = set(scope.values("customer_id"))
    mine = [order for order in orders.values() if order.customer_id in customers]
    if mine:
        hops.append(_hop("customer -> orders", source, ", ".join(sorted(customers)), [o.order_id for o in mine]))
        return mine, hops
    tails = set(scope.values("phone_tail")) | {phone[-4:] for phone in scope.values("phone")}
    mine = [order for order in orders.values() if order.phone_tail in tails]
    if mine:
        # Four digits fit one person in ten thousand: the hop says so by naming its start.
        start = "phone tail " + ", ".join(sorted(tails))
        hops.append(_hop("phone tail -> orders", source, start, [o.order_id for o in mine]))
    return mine, hops


def _nearest(mine: list[Order], scope: Scope, ticket: Ticket, settings: Settings) -> Order | None:
    """The order that the ticket means: not in order before in order, then the nearest to the anchor."""
    created = ticket.created_at.astimezone(UTC)

    def distance(order: Order) -> float:
        times = [event.at for event in order.events if event.at and event.at <= created + timedelta(minutes=5)]
        if not times:
            return float("inf")
        if scope.window_from in ("said", "option"):
            return min(abs((at - scope.anchor).total_seconds()) for at in times)
        return abs((created - max(times)).total_seconds())

    def rank(order: Order) -> tuple[bool, bool, float, str]:
        far = distance(order)
        # An order of last week that is still broken must not beat today's fine one that the customer asks about.
        near = far <= timedelta(hours=12).total_seconds()
        return (not near, is_healthy(order, created, settings.thresholds), far, order.order_id)

    return min(mine, key=rank) if mine else None


def _window_of_orders(scope: Scope, focus: list[Order], ticket: Ticket, settings: Settings) -> Scope:
    created = ticket.created_at.astimezone(UTC)
    times = sorted(e.at for order in focus for e in order.events if e.at and e.at <= created + timedelta(minutes=5))
    if scope.window_from == "option" or not times:
        return scope
    episodes: list[list[datetime]] = [[times[0]]]
    for at in times[1:]:
        if at - episodes[-1][-1] > _EPISODE_GAP:
            episodes.append([])
        episodes[-1].append(at)
    if scope.window_from == "said":
        episode = min(episodes, key=lambda e: min(abs((at - scope.anchor).total_seconds()) for at in e))
    else:
        episode = episodes[-1]
        if created - episode[-1] > _STALE:
            # The order is old and the ticket is of now: what matters is logged now, by a job or a check.
            return scope
    start, end = episode[0], min(episode[-1], episode[0] + _EPISODE_LONGEST)
    window = Span(start, end).widened(_LEAD, _TAIL)
    names = ", ".join(order.order_id for order in focus[:3])
    reason = Text(
        en=f"{scope.reason.en}; narrowed to the events of order {names}",
        zh=f"{scope.reason.zh}；按订单 {names} 的事件时间收窄",
    )
    if scope.window_from == "assumed" or not _near(scope.anchor, Span(start, end)):
        reason = Text(en=f"the events of order {names}", zh=f"按订单 {names} 的事件时间")
    return replace(
        scope,
        window=window,
        baseline=Span(window.start - settings.baseline, window.start),
        anchor=start,
        reason=reason,
        window_from="orders",
    )


def _near(anchor: datetime, span: Span) -> bool:
    return span.start - _SAID_SLACK <= anchor <= span.end + _SAID_SLACK


# ---- traces


def _tied_rows(table: pa.Table, text: str, strong: tuple[str, ...], weak: tuple[str, ...], scope: Scope) -> pa.Array:
    haystack = table.column(text).combine_chunks()
    hit = values_in(haystack, strong)
    if "labels.order_id" in table.column_names and strong:
        by_label = pc.is_in(table.column("labels.order_id").combine_chunks(), value_set=pa.array(strong, pa.string()))
        hit = pc.or_(hit, by_label)
    if weak:
        times = table.column("@timestamp").combine_chunks()
        start = pa.scalar(scope.window.start + _LEAD - timedelta(minutes=1), times.type)
        end = pa.scalar(scope.window.end - _TAIL + timedelta(minutes=1), times.type)
        inside = pc.fill_null(pc.and_(pc.greater_equal(times, start), pc.less(times, end)), fill_value=False)
        hit = pc.or_(hit, pc.and_(values_in(haystack, weak), inside))
    return pc.fill_null(hit, fill_value=False)


def _hop(via: str, source: str, start: str, found: list[str]) -> Hop:
    return Hop(via=via, source=source, start=start, found=found[:_LISTED], omitted=max(0, len(found) - _LISTED))


def _distinct(identifiers: Iterable[Identifier]) -> tuple[Identifier, ...]:
    seen: dict[tuple[str, str], Identifier] = {}
    for identifier in identifiers:
        seen.setdefault((identifier.kind, identifier.value), identifier)
    return tuple(seen.values())
