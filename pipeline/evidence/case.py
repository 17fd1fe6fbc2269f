"""The case that every detector reads: what was collected, seen from the ticket's order.

The log lines that deserve reading are few. `open_case` picks them as `Signal`s in three tiers:

- `focus`: the line carries an identifier of the ticket's order, payment attempt or trace;
- `near`: it names nobody, but was written by an unhappy service within seconds of the order's own events;
- `ambient`: it names nobody, lies elsewhere in the window, and its template is new or has surged.

Lines tied to other orders are never signals: another customer's trouble is not this customer's cause. They count as
`others`, which tells an outage from a single case.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import re2

from parsers.bodies.replies import Reply, read_replies
from parsers.identifiers import values_in
from pipeline.cluster import Clusters
from pipeline.contrast import Change, Contrast
from pipeline.faults.states import PAID_LIKE
from pipeline.faults.thresholds import Thresholds
from pipeline.flows import Followed, follow, tried
from pipeline.payments.attempts import Attempt
from pipeline.payments.health import is_healthy
from pipeline.payments.orders import Order
from pipeline.payments.refunds import Refund
from pipeline.traffic.spans import Traffic, read_traffic
from pipeline.values import Cited, Material, Scope, Span, Ticket

if TYPE_CHECKING:
    from pipeline.settings import Settings

Tier = Literal["focus", "near", "ambient"]
Mask = npt.NDArray[np.bool_]

# How long before and after an order's own events its services still write about it.
_BEFORE = timedelta(seconds=2)
_AFTER = timedelta(seconds=6)
# Traces of at most so many lines, and without spans, are nobody's request.
_ODD_LINES = 2
# Events further apart than this leave a gap in which lines are not near.
_BRIDGE = timedelta(seconds=90)
_BAD = ("WARN", "ERROR", "FATAL")
# How many other orders are followed through the logs.
_MOST_FOLLOWED = 60
# How many signals of each tier are read; more are counted in `unread`.
_MOST = {"focus": 300, "near": 100, "ambient": 40}
_QUOTE = 400
# What an earlier attempt was answered counts less than what the latest was.
_EARLIER = 0.5
# Linear in any engine; the standard library's is by far the quickest at finding all.
_WORD = re.compile(r"[0-9A-Za-z]+")
# Span attributes whose name says that their value is an answer code of a channel or a gateway.
_CODE_KEY = re2.compile(
    r"(?i)(^|[._])(err(or)?_?code|sub_?code|code|status_detail|reason"
    r"|(result|resp(onse)?|return|reason|decline|refusal|channel|processor)[._]?(code|reason))$"
)
_NOT_CODE_KEY = re2.compile(r"(?i)^(http|rpc|otel|db|url|net|server|client|thread|messaging)[._]")


@dataclass(frozen=True)
class Signal:
    """One log line worth reading. `times` counts the lines of the same template and tier that it stands for."""

    row: int
    tier: Tier
    at: datetime | None
    service: str | None
    host: str | None
    logger: str | None
    level: str | None
    body: str
    message: str
    error_type: str | None
    error_message: str | None
    http_status: int | None
    template_id: str
    change: Change
    times: int
    cited: Cited
    # It names an earlier attempt of the order and not the latest, which the customer complains of.
    earlier: bool = False

    @cached_property
    def replies(self) -> tuple[Reply, ...]:
        """The gateways' answers in the line; where the line is wrapped in fields of its own, those inside."""
        return tuple(read_replies(self.message) or read_replies(self.body))

    @property
    def share(self) -> float:
        """How much it counts beside a line about the latest attempt."""
        return _EARLIER if self.earlier else 1.0

    @property
    def text(self) -> str:
        """Everything of the line that wording is read from."""
        extra = [part for part in (self.error_type, self.error_message) if part and part not in self.body]
        return "\n".join([self.body, *extra])


class Healthy:
    """The ids of those of `orders` that are paid and consistent at `now`; an order is looked at when it is asked for."""

    def __init__(self, orders: Mapping[str, Order], now: datetime, thresholds: Thresholds) -> None:
        self.orders = orders
        self._now = now
        self._thresholds = thresholds
        self._known: dict[str, bool] = {}

    def __contains__(self, order_id: object) -> bool:
        if not isinstance(order_id, str) or order_id not in self.orders:
            return False
        if order_id not in self._known:
            self._known[order_id] = is_healthy(self.orders[order_id], self._now, self._thresholds)
        return self._known[order_id]


@dataclass(frozen=True)
class Case:
    """Everything that a detector may read. `now` is the ticket's creation in UTC: ages count from it.

    `healthy` holds the ids of the orders, other than the ticket's own, that are paid and consistent.
    """

    ticket: Ticket
    scope: Scope
    material: Material
    orders: Mapping[str, Order]
    clusters: Clusters
    contrast: Contrast
    settings: Settings
    signals: tuple[Signal, ...]
    focus_rows: Mask
    near_rows: Mask
    unread: int
    healthy: Container[str] = frozenset()

    @property
    def now(self) -> datetime:
        """The moment that ages count from."""
        return self.ticket.created_at.astimezone(UTC)

    @property
    def focus(self) -> tuple[Order, ...]:
        """The orders that the ticket is about."""
        return tuple(self.orders[order_id] for order_id in self.scope.focus_orders if order_id in self.orders)

    @property
    def silent(self) -> bool:
        """Whether no line of the window carries an identifier of the order: then nothing in them can be called healthy."""
        return not bool((self.focus_rows & self.contrast.in_incident).any())

    @property
    def channel(self) -> str | None:
        """The payment channel of the focus orders, where they agree on one."""
        return self.scope.channels[0] if len(self.scope.channels) == 1 else None

    @cached_property
    def focus_spans(self) -> pa.Table:
        """The spans of the focus traces."""
        traces = pa.array(self.scope.values("trace_id"), pa.string())
        spans = self.material.spans
        return spans.filter(pc.fill_null(pc.is_in(spans.column("trace.id"), value_set=traces), fill_value=False))

    @cached_property
    def traffic(self) -> Traffic | None:
        """All spans and their lines as arrays, before the trouble and during it; None where they are too few."""
        return read_traffic(self.material.spans, self.material.logs, self.clusters.template_ids, self.scope)

    @cached_property
    def cohort(self) -> tuple[Order, ...]:
        """The other orders of the same channel with events in the incident window or its baseline."""
        focus = set(self.scope.focus_orders)
        window = Span(self.scope.baseline.start, self.scope.window.end)
        return tuple(
            order
            for order in self.orders.values()
            if order.order_id not in focus
            and (self.channel is None or order.channel == self.channel)
            and any(event.at and window.start <= event.at < window.end for event in order.events)
        )

    @cached_property
    def followed(self) -> Followed:
        """The ticket's own orders and those nearest in time to them, with the log rows that are about each."""
        others = sorted(
            (o for o in self.orders.values() if o.order_id not in self.scope.focus_orders and self.in_time(o)),
            key=lambda o: (abs((tried(o) or self.now) - self.scope.anchor), o.order_id),
        )
        return follow(self.material.logs, (*self.focus, *others[:_MOST_FOLLOWED]))

    def in_time(self, order: Order) -> bool:
        """Whether the order was tried in the incident window or its baseline."""
        at = tried(order)
        return at is not None and self.scope.baseline.start <= at < self.scope.window.end

    @property
    def first_failure(self) -> datetime:
        """When the ticket's trouble began: its orders' first failing event or unhappy line, else the anchor."""
        return self._first_failing or self.scope.anchor

    @property
    def failure_known(self) -> bool:
        """Whether `first_failure` is a failure that was seen, and not the anchor in its stead."""
        return self._first_failing is not None

    @cached_property
    def _first_failing(self) -> datetime | None:
        window = self.scope.window
        moments = [
            e.at
            for o in self.focus
            for e in (*(x for a in o.attempts for x in a.events), *o.own, *o.callbacks)
            if e.at
            and (e.state == "FAILED" or e.code or e.verified is False or e.answered_ok is False)
            and e.state not in PAID_LIKE
        ]
        moments += [s.at for s in self.signals if s.at and s.tier == "focus" and s.level in _BAD]
        return min((at for at in moments if window.start <= at < window.end), default=None)

    @cached_property
    def flow_services(self) -> frozenset[str]:
        """The services that wrote about the ticket's orders or took part in their traces."""
        names = pc.unique(self.material.logs.column("service.name").filter(pa.array(self.focus_rows))).to_pylist()
        names += pc.unique(self.focus_spans.column("service.name")).to_pylist()
        return frozenset(name for name in names if name)

    def cite_log(self, row: int) -> Cited:
        """The log line in `row` of the logs table."""
        return cite_log(self.material.logs, row)

    def cite_span(self, spans: pa.Table, row: int) -> Cited:
        """The span in `row` of `spans`."""
        values = {name: spans.column(name)[row].as_py() for name in spans.column_names}
        error = values["exception.message"] or values["status_message"] or values["error.type"] or ""
        parts = [values["name"], values["kind"], _status_words(values), error, _code_words(values["attributes"])]
        quote = " ".join(str(part) for part in parts if part)
        return Cited(
            kind="span",
            source=values["_source"],
            quote=clip(quote, _QUOTE),
            index=values["_index"],
            doc_id=values["_id"],
            file=values["log.file.path"],
            at=values["@timestamp"],
            service=values["service.name"],
        )


def read_attributes(text: str | None) -> dict[str, Any]:
    """The attributes of a span; none where they are absent or broken."""
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
    return found


@lru_cache(maxsize=4096)
def is_code_key(key: str) -> bool:
    """Whether an attribute's name says that it holds an answer code of a channel or a gateway."""
    return bool(_CODE_KEY.search(key)) and not _NOT_CODE_KEY.search(key)


def answer_codes(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The attributes whose name says that they hold an answer code of a channel or a gateway."""
    return {
        key: str(value)
        for key, value in attributes.items()
        if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "" and is_code_key(key)
    }


def clip(text: str, length: int) -> str:
    """`text` cut to at most `length` characters, never inside a word or a group of digits.

    Redaction comes later and must see a number whole, or not at all.

    >>> clip("card 4111 1111 1111 1111 refused", 20)
    'card …'
    """
    if len(text) <= length:
        return text
    head = re.sub(r"\S*$", "", text[: length - 1])
    return re.sub(r"[\d \-]+$", "", head) + " …"


def open_case(
    ticket: Ticket,
    scope: Scope,
    material: Material,
    orders: Mapping[str, Order],
    clusters: Clusters,
    contrast: Contrast,
    settings: Settings,
) -> Case:
    """Pick the lines worth reading."""
    logs = material.logs
    now = ticket.created_at.astimezone(UTC)
    tied = _focus_rows(logs, scope)
    flows = _named_rows(logs, material.spans)
    named = flows & ~tied
    focus = [orders[o] for o in scope.focus_orders if o in orders]
    moments = _moments(focus) + _moments_of_rows(logs, tied) + _moments_of_spans(material.spans, scope)
    near = _in_brackets(logs, moments, scope) & ~tied & ~named
    bad = np.asarray(pc.fill_null(pc.is_in(logs.column("log.level"), value_set=pa.array(_BAD)), fill_value=False))
    codes = clusters.template_ids.indices.to_numpy(zero_copy_only=False) if logs.num_rows else np.array([], int)
    ids = clusters.template_ids.dictionary.to_pylist()
    changes = [contrast.changes[i] for i in ids]
    fresh = np.array([c.change in ("new", "surged") for c in changes], bool)[codes] if len(ids) else bad
    before = np.array([c.before for c in changes], bool)[codes] if len(ids) else bad
    others = _other_names(orders, scope)

    picked: dict[Tier, Mask] = {
        "focus": tied & (bad | fresh | ~before),
        "near": near & (bad | fresh) & ~(before & ~fresh),
        "ambient": contrast.in_incident & ~tied & ~named & ~near & bad & fresh,
    }
    healthy = Healthy({i: o for i, o in orders.items() if i not in scope.focus_orders}, now, settings.thresholds)
    # What happened to an order outside the window troubles no line of it.
    inside = (o for o in healthy.orders.values() if _within(o, scope.window))
    unhappy = [o for o in inside if o.order_id not in healthy]
    recurrent = _recurrent(logs, codes, len(ids), scope, moments + _moments(unhappy), flows)
    signals: list[Signal] = []
    attempts = _attempts(focus)
    unread = 0
    for tier, mask in picked.items():
        rows = np.flatnonzero(mask)
        if tier != "focus":
            rows = _without(rows[~recurrent[codes[rows]]], logs, others)
        chosen, counts = _one_per_template(rows, codes, tier, logs, scope)
        unread += max(0, len(chosen) - _MOST[tier])
        for row, times in list(zip(chosen, counts, strict=True))[: _MOST[tier]]:
            signals.append(_signal(logs, row, tier, changes[codes[row]], times, attempts))
    signals.sort(key=lambda s: (s.at or now, s.row))
    return Case(
        ticket, scope, material, orders, clusters, contrast, settings, tuple(signals), tied, near, unread, healthy
    )


def cite_log(logs: pa.Table, row: int) -> Cited:
    """The log line in `row` of `logs`, quoted from its body."""
    values = {
        name: logs.column(name)[row].as_py()
        for name in ("_source", "_index", "_id", "log.file.path", "log.offset", "log.length", "@timestamp")
    }
    offset, length = values["log.offset"], values["log.length"]
    by_id = values["_id"] is not None
    body = logs.column("body")[row].as_py() or logs.column("message")[row].as_py() or ""
    return Cited(
        kind="log",
        source=values["_source"],
        quote=clip(" ".join(body.split()), _QUOTE),
        index=values["_index"],
        doc_id=values["_id"],
        file=None if by_id else values["log.file.path"],
        start=None if by_id else offset,
        end=None if by_id or offset is None else offset + length,
        at=values["@timestamp"],
        service=logs.column("service.name")[row].as_py(),
    )


# ---- which rows


def _focus_rows(logs: pa.Table, scope: Scope) -> Mask:
    strong = scope.values("order_id", "out_trade_no", "refund_id", "channel_txn_id")
    traces = pa.array(scope.values("trace_id"), pa.string())
    hit = values_in(logs.column("message").combine_chunks(), strong)
    by_label = pc.is_in(logs.column("labels.order_id").combine_chunks(), value_set=pa.array(strong, pa.string()))
    by_trace = pc.is_in(logs.column("trace.id").combine_chunks(), value_set=traces)
    return _mask(pc.or_(pc.or_(_filled(hit), _filled(by_label)), _filled(by_trace)))


def _named_rows(logs: pa.Table, spans: pa.Table) -> Mask:
    """Lines that name somebody by field: an order, or a trace of more than the odd line.

    An agent or a job gives each of its own lines a trace id; such a trace is nobody's request.
    """
    traces = logs.column("trace.id").combine_chunks()
    counted = pc.value_counts(traces.drop_null())
    flows = counted.field("values").filter(pc.greater(counted.field("counts"), _ODD_LINES))
    with_spans = pc.unique(spans.column("trace.id")) if spans.num_rows else pa.array([], pa.string())
    by_trace = pc.or_(pc.is_in(traces, value_set=flows), pc.is_in(traces, value_set=with_spans.drop_null()))
    by_label = pc.is_valid(logs.column("labels.order_id").combine_chunks())
    return _mask(pc.or_(by_trace, by_label))


def _within(order: Order, window: Span) -> bool:
    """Whether anything happened to the order in `window`, its end included."""
    return any(event.at and window.start <= event.at <= window.end for event in order.events)


def _moments(orders: Iterable[Order]) -> list[datetime]:
    return [event.at for order in orders for event in order.events if event.at]


def _moments_of_rows(logs: pa.Table, rows: Mask) -> list[datetime]:
    """When the order's own lines were written: an order book often notes a failure earlier or later than the services."""
    return [at for at in logs.column("@timestamp").filter(pa.array(rows)).to_pylist() if at]


def _moments_of_spans(spans: pa.Table, scope: Scope) -> list[datetime]:
    traces = pa.array(scope.values("trace_id"), pa.string())
    mine = spans.filter(_filled(pc.is_in(spans.column("trace.id"), value_set=traces)))
    starts, lengths = mine.column("@timestamp").to_pylist(), mine.column("duration_us").to_pylist()
    ends = [at + timedelta(microseconds=us) for at, us in zip(starts, lengths, strict=True) if at and us]
    return [at for at in starts if at] + ends


def _in_brackets(logs: pa.Table, moments: list[datetime], scope: Scope) -> Mask:
    """Lines within seconds of `moments` inside the window; moments close to each other have no gap between them."""
    stamps = logs.column("@timestamp").combine_chunks().cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    inside = sorted(at for at in moments if scope.window.start <= at <= scope.window.end)
    brackets: list[tuple[datetime, datetime]] = []
    for at in inside:
        if brackets and at - brackets[-1][1] <= _BRIDGE:
            brackets[-1] = (brackets[-1][0], at)
        else:
            brackets.append((at, at))
    if not brackets:
        return np.zeros(len(stamps), bool)
    # They do not overlap, since the bridge is longer than both margins: a line can lie in the last that began before it.
    starts = np.array([_micros(start - _BEFORE) for start, _ in brackets])
    ends = np.array([_micros(end + _AFTER) for _, end in brackets])
    last = np.searchsorted(starts, stamps, side="right") - 1
    return np.asarray((last >= 0) & (stamps <= ends[last]), dtype=bool)


def _recurrent(
    logs: pa.Table, codes: npt.NDArray[Any], size: int, scope: Scope, troubled: list[datetime], flows: Mask
) -> Mask:
    """Templates that also turn up, without naming anybody, where no order was in trouble: background noise."""
    elsewhere = ~_in_brackets(logs, troubled, scope) & ~flows
    return np.asarray(np.bincount(codes[elsewhere], minlength=size) >= 2, dtype=bool)


def _other_names(orders: Mapping[str, Order], scope: Scope) -> frozenset[str]:
    mine = set(scope.values())
    names: set[str] = set()
    for order in orders.values():
        if order.order_id in scope.focus_orders:
            continue
        names.add(order.order_id)
        names.update(name for attempt in order.attempts for name in attempt.numbers)
        names.update(attempt.channel_txn_id for attempt in order.attempts if attempt.channel_txn_id)
        names.update(refund.entity_id for refund in order.refunds)
        if order.customer_id:
            names.add(order.customer_id)
    return frozenset(names - mine)


def _without(rows: npt.NDArray[Any], logs: pa.Table, others: frozenset[str]) -> npt.NDArray[Any]:
    """`rows` without the lines that hold one of the names `others` as a whole token."""
    if not len(rows):
        return rows
    messages = pa.array(logs.column("message").take(pa.array(rows)).to_pylist(), pa.string())
    # The rows are few and the names may be thousands: a name whose first word stands nowhere in them needs no search.
    words = {word for text in messages.to_pylist() if text for word in _WORD.findall(text)}
    likely = sorted(name for name in others if (first := _WORD.search(name)) is None or first[0] in words)
    chosen: npt.NDArray[Any] = rows[~_mask(values_in(messages, likely))]
    return chosen


def _one_per_template(
    rows: npt.NDArray[Any], codes: npt.NDArray[Any], tier: Tier, logs: pa.Table, scope: Scope
) -> tuple[list[int], list[int]]:
    """For the focus each line; elsewhere the line nearest to the anchor stands for its template."""
    if tier == "focus":
        return [int(r) for r in rows], [1] * len(rows)
    stamps = logs.column("@timestamp").combine_chunks().cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    anchor = _micros(scope.anchor)
    best: dict[int, tuple[float, int, int]] = {}
    for row in rows:
        code = int(codes[row])
        far = abs(float(stamps[row]) - anchor)
        kept = best.get(code)
        count = kept[2] + 1 if kept else 1
        best[code] = (far, int(row), count) if kept is None or far < kept[0] else (kept[0], kept[1], count)
    ordered = sorted(best.values())
    return [row for _, row, _ in ordered], [count for _, _, count in ordered]


def _attempts(focus: Iterable[Order]) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the orders' earlier attempts and refunds, and those of the latest."""
    earlier: set[str] = set()
    latest: set[str] = set()
    for order in focus:
        parts: list[Attempt | Refund] = [*order.attempts, *order.refunds]
        for part in parts:
            names = {part.entity_id, *(part.numbers if isinstance(part, Attempt) else ())}
            (latest if part.entity_id == parts[-1].entity_id else earlier).update(names)
    return frozenset(earlier - latest), frozenset(latest)


def _signal(
    logs: pa.Table, row: int, tier: Tier, change: Change, times: int, attempts: tuple[frozenset[str], frozenset[str]]
) -> Signal:
    def value(name: str) -> Any:
        return logs.column(name)[row].as_py()

    message = (value("message") or "")[:20000]
    earlier, latest = attempts
    return Signal(
        row=row,
        tier=tier,
        at=value("@timestamp"),
        service=value("service.name"),
        host=value("host.name"),
        logger=value("log.logger"),
        level=value("log.level"),
        body=(value("body") or "")[:4000],
        message=message,
        error_type=value("error.type"),
        error_message=(value("error.message") or "")[:4000] or None,
        http_status=value("http.response.status_code"),
        template_id=change.template_id,
        change=change,
        times=times,
        cited=cite_log(logs, row),
        earlier=any(name in message for name in earlier) and not any(name in message for name in latest),
    )


def _code_words(attributes: str | None) -> str:
    """The attributes of a span that name a code, as `key=value`."""
    return " ".join(f"{key}={value}" for key, value in answer_codes(read_attributes(attributes)).items())


def _status_words(values: Mapping[str, Any]) -> str:
    words = [f"HTTP {values['http.response.status_code']}" if values["http.response.status_code"] else ""]
    words.append(f"rpc {values['rpc.status_code']}" if values["rpc.status_code"] else "")
    words.append("error" if values["status"] == "error" else "")
    return " ".join(word for word in words if word)


def _micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def _filled(array: pa.Array) -> pa.Array:
    return pc.fill_null(array, fill_value=False)


def _mask(array: pa.Array) -> Mask:
    return np.asarray(_filled(array).to_numpy(zero_copy_only=False), dtype=bool)
