"""Collect: every source is asked at once, each inside the ticket's budget, and each answer becomes a row of the ledger.

Three rounds, because each knows more than the one before: orders by what the ticket says, then logs and spans by what
the orders say, then once more by the trace ids found. A source that gave everything it has is not asked again. A source
that fails, hangs or refuses costs its own rows and nothing else.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from parsers.tables import LOGS, ORDER_EVENTS, SPANS, empty
from pipeline.errors import NoSourceReached, Refused, SourceError, SourceRefused
from pipeline.healthy import healthy_orders, identifiers_of
from pipeline.payments.orders import Order
from pipeline.payments.reading import read_orders
from pipeline.scope import expand_by_orders, expand_by_traces, identifiers_by_kind, traces_of
from pipeline.values import Ask, Coverage, Fetched, Material, Planned, Planning, Scope, Source, Span, Ticket, What
from snapshots.model import PlanStep, Window

if TYPE_CHECKING:
    from pipeline.settings import Settings

_SCHEMAS: dict[What, pa.Schema] = {"logs": LOGS, "spans": SPANS, "order_events": ORDER_EVENTS}
# The shares of the budget after which orders are not waited for any longer: on the first asking, and on the second.
_ORDERS = 0.4
_ORDERS_AGAIN = 0.6
# The shares of the budget after which a source reads no further on the first asking, and after which those that have answered
# are asked again, without waiting for the others. The second question is for the lines of the ticket's own traces, which
# matter more than the last of a sample.
_READING = 0.75
_PATIENCE = 0.8
# The share after which nobody reads any further, and how much longer than the budget an answer is waited for: what was read by
# then shall not be lost for the sake of a moment.
_READING_AGAIN = 0.95
_GRACE_SECONDS = 0.5
# The share of unreadable lines from which an answer counts as partial.
_MANY_UNREAD = 0.01
# Order events are few and old ones matter (a refund is days after its payment).
_ORDER_REACH = timedelta(days=30)
# Events of other orders are there to be compared with; those of the ticket's orders come first, whatever their age.
_ORDER_ROWS = 50_000


@dataclass(frozen=True)
class Collected:
    """What the sources gave: the scope as it grew, the tables, and the orders read from them."""

    scope: Scope
    material: Material
    orders: dict[str, Order]


@dataclass
class _Ledger:
    """Answers of all rounds; a later round's rows are added to the earlier ones'.

    Tables are kept by source, so that what is made of them does not depend on who answered first.
    """

    tables: dict[What, dict[str, list[pa.Table]]] = field(default_factory=dict)
    rows: list[Coverage] = field(default_factory=list)
    complete: set[tuple[str, What]] = field(default_factory=set)
    failed: set[tuple[str, What]] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    # Questions that are not answered yet, by number, and where their answers come in.
    open: dict[int, tuple[Source, Ask]] = field(default_factory=dict)
    answers: queue.SimpleQueue[tuple[int, Fetched | BaseException, float]] = field(default_factory=queue.SimpleQueue)
    asked: int = 0

    def of_source(self, what: What, source: str) -> pa.Table:
        """The rows of one source, each once."""
        tables = self.tables.get(what, {}).get(source, [])
        if not tables:
            return empty(_SCHEMAS[what])
        return tables[0] if len(tables) == 1 else _union(pa.concat_tables(tables))

    def table(self, what: What) -> pa.Table:
        """The rows of all sources, in an order that only the rows decide."""
        tables = [self.of_source(what, source) for source in sorted(self.tables.get(what, {}))]
        table = pa.concat_tables(tables) if tables else empty(_SCHEMAS[what])
        return table if what == "order_events" else _in_order(table)


def collect(
    scope: Scope,
    ticket: Ticket,
    sources: Sequence[Source],
    settings: Settings,
    progress: Callable[[str], None],
) -> Collected:
    """Ask all sources within `settings.budget` seconds.

    Raises `NoSourceReached` where every source failed, `Refused` where every one refused our credentials.
    """
    begun = time.monotonic()
    deadline = begun + settings.budget
    ledger = _Ledger()
    scope, orders = _with_orders(scope, ticket, sources, settings, begun, ledger, progress)
    asked = _about(scope, ticket, orders, settings, begun + _READING * settings.budget)
    progress("asking for logs and traces")
    _ask(sources, ("logs", "spans"), asked, ledger)
    _wait(begun + _PATIENCE * settings.budget, ledger)
    named = scope
    logs, spans = ledger.table("logs"), ledger.table("spans")
    scope = expand_by_traces(named, logs, spans)
    more = _by_trace(asked, scope, traces_of(asked.beside, scope, logs, spans))
    again = more is not None and _unfinished(sources, ledger, "logs", "spans")
    if again or ledger.open:
        late = {(source.name, ask.what) for source, ask in ledger.open.values()}
        if again and more is not None:
            progress("asking again by trace id")
            _ask(sources, ("logs", "spans"), replace(more, deadline=begun + _READING_AGAIN * settings.budget), ledger)
        _wait(deadline + _GRACE_SECONDS, ledger)
        _give_up(ledger, f"the budget is {settings.budget:g} s")
        logs, spans = ledger.table("logs"), ledger.table("spans")
        scope = expand_by_traces(named, logs, spans)
        if _by_trace(asked, scope, traces_of(asked.beside, scope, logs, spans)):
            _note_not_asked_again(ledger, late)

    _fail_if_nothing_answered(sources, ledger)
    material = Material(
        logs=logs,
        spans=spans,
        order_events=ledger.table("order_events"),
        coverage=tuple(_add_up(ledger)),
        seconds=dict(ledger.seconds),
    )
    return Collected(scope, material, orders)


def explain(
    scope: Scope,
    ticket: Ticket,
    sources: Sequence[Source],
    settings: Settings,
    progress: Callable[[str], None],
) -> tuple[Scope, list[Planned]]:
    """What `collect` would fetch, without fetching a line or a span. Orders are asked for, since the plan follows from them.

    A source that fails is told as such and takes nobody else along.
    """
    begun = time.monotonic()
    scope, orders = _with_orders(scope, ticket, sources, settings, begun, _Ledger(), progress)
    asked = _about(scope, ticket, orders, settings, begun + settings.budget)
    progress("asking for counts")
    kinds: tuple[What, ...] = ("logs", "spans")
    questions = [(source, replace(asked, what=kind)) for source in sources for kind in kinds if kind in source.holds]
    # All at once: one that hangs must not eat the others' time.
    with ThreadPoolExecutor(max(1, len(questions))) as pool:
        return scope, list(pool.map(lambda question: _planned(*question), questions))


def _planned(source: Source, asked: Ask) -> Planned:
    if not isinstance(source, Planning):
        return Planned(
            source.name,
            source.kind,
            asked.what,
            "all it holds of the window and of the named traces; it counts nothing beforehand",
        )
    try:
        plan, said, notes = source.explain(asked)
    except SourceError as error:
        refused = isinstance(error, SourceRefused)
        return Planned(source.name, source.kind, asked.what, "nothing", error=str(error), refused=refused)
    return Planned(source.name, source.kind, asked.what, said, plan, notes)


def _with_orders(
    scope: Scope,
    ticket: Ticket,
    sources: Sequence[Source],
    settings: Settings,
    begun: float,
    ledger: _Ledger,
    progress: Callable[[str], None],
) -> tuple[Scope, dict[str, Order]]:
    """The orders that the ticket is about, in two rounds, and the scope as they widen it."""
    if any("order_events" in source.holds for source in sources):
        progress("asking for orders")
    order_window = Span(scope.window.start - _ORDER_REACH, ticket.created_at.astimezone(UTC) + timedelta(days=1))
    until = begun + _ORDERS * settings.budget
    limit = min(settings.max_lines, _ORDER_ROWS)
    asked = Ask("order_events", order_window, identifiers_by_kind(scope), limit, anchor=scope.anchor, deadline=until)
    _ask(sources, ("order_events",), asked, ledger)
    _wait(until, ledger)
    _give_up(ledger, f"orders are waited for {_ORDERS * settings.budget:g} s of the budget of {settings.budget:g} s")
    words = scope
    books = ", ".join(sorted(source.name for source in sources if "order_events" in source.holds))
    orders = read_orders(ledger.table("order_events"))
    scope = expand_by_orders(words, ticket, orders, settings, books)
    if scope.focus_orders and _unfinished(sources, ledger, "order_events"):
        # Rows of an order that carry no customer id come only when the order is asked for by its own id.
        until = begun + _ORDERS_AGAIN * settings.budget
        again = replace(asked, identifiers=identifiers_by_kind(scope), rest=False, deadline=until)
        _ask(sources, ("order_events",), again, ledger)
        _wait(until, ledger)
        _give_up(ledger, "asked again by order, it did not answer in time")
        orders = read_orders(ledger.table("order_events"))
        scope = expand_by_orders(words, ticket, orders, settings, books)
    return scope, orders


def _about(scope: Scope, ticket: Ticket, orders: Mapping[str, Order], settings: Settings, deadline: float) -> Ask:
    """The question for logs and spans: incident and baseline in one."""
    return Ask(
        "logs",
        Span(min(scope.baseline.start, scope.window.start), scope.window.end),
        identifiers_by_kind(scope),
        settings.max_lines,
        beside=identifiers_of(healthy_orders(orders, scope, ticket, settings)),
        anchor=scope.anchor,
        deadline=deadline,
    )


def _by_trace(asked: Ask, scope: Scope, beside: Sequence[str]) -> Ask | None:
    """The second question: rows of the traces found since, and only these; None where nothing was found."""
    mine = tuple(t for t in scope.values("trace_id") if t not in asked.identifiers.get("trace_id", ()))
    theirs = tuple(t for t in beside if t not in scope.values("trace_id"))
    if not mine and not theirs:
        return None
    return replace(asked, identifiers={"trace_id": mine}, beside={"trace_id": theirs}, rest=False)


def _ask(sources: Sequence[Source], kinds: tuple[What, ...], asked: Ask, ledger: _Ledger) -> None:
    """One round: the same question of each kind to all at once, each in a thread.

    Who failed, gave everything, or has not answered yet, is not asked again.
    """
    busy = {(source.name, ask.what) for source, ask in ledger.open.values()}
    questions = [
        (source, replace(asked, what=kind))
        for source in sources
        for kind in kinds
        if kind in source.holds and (source.name, kind) not in ledger.complete | ledger.failed | busy
    ]
    answers = ledger.answers

    def work(number: int, source: Source, ask: Ask) -> None:
        started = time.monotonic()
        try:
            answer: Fetched | BaseException = source.fetch(ask)
        except BaseException as error:  # noqa: BLE001 - a source must never take the others down
            answer = error
        answers.put((number, answer, time.monotonic() - started))

    for source, ask in questions:
        ledger.asked += 1
        number = ledger.asked
        ledger.open[number] = (source, ask)
        # Daemon threads: one that hangs in a socket must not keep the process from ending.
        threading.Thread(target=work, args=(number, source, ask), name=f"{source.name}:{ask.what}", daemon=True).start()


def _wait(until: float, ledger: _Ledger) -> None:
    """Take answers until there is no open question or it is `until`, a `time.monotonic()` value."""
    while ledger.open:
        try:
            number, answer, seconds = ledger.answers.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return
        if number not in ledger.open:
            # It was given up; a late answer must not change what was said of it.
            continue
        source, ask = ledger.open.pop(number)
        key = f"{source.name}:{ask.what}"
        ledger.seconds[key] = ledger.seconds.get(key, 0.0) + seconds
        _record(source, ask, answer, ledger)


def _give_up(ledger: _Ledger, why: str) -> None:
    """What nobody waits for any longer has failed."""
    for source, ask in ledger.open.values():
        ledger.rows.append(_failed(source, ask, f"no answer in time: {why}; a larger --budget waits longer"))
        ledger.failed.add((source.name, ask.what))
    ledger.open.clear()


def _record(source: Source, ask: Ask, answer: Fetched | BaseException, ledger: _Ledger) -> None:
    if isinstance(answer, Fetched):
        ledger.tables.setdefault(ask.what, {}).setdefault(source.name, []).append(answer.table)
        ledger.rows.append(answer.coverage)
        if answer.complete:
            ledger.complete.add((source.name, ask.what))
        return
    if isinstance(answer, SourceRefused):
        ledger.refused.add(source.name)
    text = str(answer) if isinstance(answer, SourceError) else f"unexpected {type(answer).__name__}: {answer}"
    ledger.rows.append(_failed(source, ask, text))
    ledger.failed.add((source.name, ask.what))


def _failed(source: Source, ask: Ask, text: str) -> Coverage:
    window = Window(start=_rfc3339(ask.window.start), end=_rfc3339(ask.window.end))
    asked = f"{ask.what} of {len(ask.identifiers)} kinds of identifiers and of the window"
    return Coverage(
        source=source.name, kind=source.kind, what=ask.what, status="failed", asked=asked, window=window, error=text
    )


def _unfinished(sources: Sequence[Source], ledger: _Ledger, *kinds: What) -> bool:
    """Whether some source that answers has more than it was asked for so far."""
    busy = {(source.name, ask.what) for source, ask in ledger.open.values()}
    asked = {(source.name, kind) for source in sources for kind in kinds if kind in source.holds}
    return bool(asked - ledger.complete - ledger.failed - busy)


def _note_not_asked_again(ledger: _Ledger, late: Container[tuple[str, What]]) -> None:
    """Those that answered too late for the second question have given a part of what there is."""
    for number, row in enumerate(ledger.rows):
        key = (row.source, row.what)
        if key in late and row.status in {"ok", "empty"} and key not in ledger.complete:
            error = "it answered too late to be asked for the lines of the traces found; a larger --budget leaves time for that"
            ledger.rows[number] = msgspec.structs.replace(row, status="partial", error=error)


def _fail_if_nothing_answered(sources: Sequence[Source], ledger: _Ledger) -> None:
    answered = {row.source for row in ledger.rows if row.status != "failed"}
    if not sources or answered:
        return
    reasons = "; ".join(dict.fromkeys(f"{row.source}: {row.error}" for row in ledger.rows))
    if ledger.refused >= {source.name for source in sources}:
        msg = f"every source refused the credentials. {reasons}. Check the keys, then run `problem-snapshot doctor`."
        raise Refused(msg)
    msg = f"no source could be reached. {reasons}. `problem-snapshot doctor` tries each one."
    raise NoSourceReached(msg)


def _union(table: pa.Table) -> pa.Table:
    """`table` without rows that came in an earlier round: each row is named by its document id or its place in a file."""
    names = ["_source", "_index", "_id", "log.file.path", "log.offset"]
    if "kind" in table.column_names:
        # Both sides of a call may carry the same span id.
        names += ["kind", "@timestamp"]
    # Of a row that came by name and in a sample the one by name is kept: it stands for itself only.
    import pyarrow.compute as pc

    size = table.num_rows
    rates = pc.fill_null(table.column("_rate"), 1.0) if "_rate" in table.column_names else pa.repeat(1.0, size)
    places = pa.table({"rate": rates, "place": pa.array(range(size), pa.int64())})
    order = pc.sort_indices(places, sort_keys=[("rate", "descending"), ("place", "ascending")])
    first = table.select(names).take(order).append_column("rank", places.column("place"))
    ranks = first.group_by(names).aggregate([("rank", "min")]).column("rank_min").combine_chunks()
    return table.take(order.take(ranks).sort())


def _add_up(ledger: _Ledger) -> list[Coverage]:
    """One row per source and kind, over all rounds."""
    by_question: dict[tuple[What, str], list[Coverage]] = {}
    for row in ledger.rows:
        by_question.setdefault((row.what, row.source), []).append(row)
    return [
        _with_unread(_one_row(rows, ledger.of_source(what, source).num_rows))
        for (what, source), rows in sorted(by_question.items())
    ]


def _with_unread(row: Coverage) -> Coverage:
    """The odd bad line is a number; a file that is mostly rubbish, or any lost span or order event, is a partial answer."""
    many = row.unparsed > 0 and (row.what != "logs" or row.unparsed >= _MANY_UNREAD * row.fetched)
    if row.status != "ok" or not many:
        return row
    error = f"{row.unparsed:,} of {row.fetched:,} rows could not be read in whole; they are kept as they are"
    return msgspec.structs.replace(row, status="partial", error=error)


def _one_row(rows: Sequence[Coverage], used: int) -> Coverage:
    """The rounds' rows as one; `used` are in the table in the end, each counted once.

    It is the row of the round that saw most. What other rounds added is put on top; a round that failed after another
    one had answered makes the answer partial.
    """
    answered = [row for row in rows if row.status != "failed"]
    if not answered:
        return rows[0]
    most = max(enumerate(answered), key=lambda numbered: (numbered[1].fetched, numbered[0]))[1]
    added = max(0, used - most.used)
    whole = len(answered) == len(rows) and not any(row.status == "partial" for row in answered)
    counts = [row.matched for row in answered if row.matched is not None]
    distinct = most.fetched - most.duplicates + added
    matched = max([*counts, distinct]) if most.matched is not None else None
    errors = [most.error, *(row.error for row in rows if row is not most)]
    plan = most.plan
    if plan is not None and added:
        # What the question by trace id brought beyond the first.
        step = PlanStep(kind="traced", matched=added, wanted=added, fetched=added, rate=1.0)
        plan = msgspec.structs.replace(plan, steps=[*plan.steps, step])
    return msgspec.structs.replace(
        most,
        matched=matched,
        fetched=most.fetched + added,
        used=most.used + added,
        cut=max(0, most.cut - added) if matched is None else matched - distinct,
        status=most.status if whole else "partial",
        error="; ".join(dict.fromkeys(error for error in errors if error)) or None,
        plan=plan,
    )


def _in_order(table: pa.Table) -> pa.Table:
    """By time, then by place: the same rows in the same order, whichever source answered first."""
    names = ("@timestamp", "_id", "log.file.path", "log.offset", "_source", "_index")
    return table.sort_by([(name, "ascending") for name in names]).combine_chunks()


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
