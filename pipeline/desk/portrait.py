"""The portrait of a customer: earlier tickets, their problems, products and versions, what is open, and what follows.

    history (the desk's index) + store -> this customer's tickets created before this one -> counts, rules -> section

A ticket is the customer's where its customer is exactly that of this ticket, as the ticket system names it. What a ticket's
words say of a customer does not count, nor does an id that was masked: no word of another customer may stand here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.desk.checks import app_version
from pipeline.desk.history import TIME, customer_key
from pipeline.desk.moments import in_utc
from pipeline.desk.portrait_rules import Earlier, Now, read_rules
from pipeline.errors import SnapshotError
from snapshots.model import Counted, EarlierTicket, Portrait, ProblemSnapshot, Text, with_id
from snapshots.store import Store, StoreError

if TYPE_CHECKING:
    from pipeline.desk.options import DeskOptions
    from pipeline.evidence.case import Case

# So many of a customer's tickets in the store are looked at, the newest ones. The rest is counted.
MOST = 200
_COUNTED = 5
_HISTORY = (
    "id", "title", "description", "category", "cause", "solution", "created_at", "closed_at", "reopened",
    "fault_class", "channel", "product", "version", "system",
)  # fmt: skip


class _Ticket(msgspec.Struct, kw_only=True):
    """One earlier ticket, from wherever it is known."""

    id: str
    title: str
    text: str
    created_at: datetime
    closed_at: datetime | None = None
    category: str | None = None
    fault_class: str | None = None
    fault_subclass: str | None = None
    product: str | None = None
    version: str | None = None
    reopened: bool = False
    # None where only a snapshot is known, which does not say whether its ticket was closed.
    open: bool | None = None


def fill_portrait(snapshot: ProblemSnapshot, case: Case) -> ProblemSnapshot:
    """`snapshot` with the customer's portrait, under a new id; as it is where the settings ask for none.

    Raises `UsageError` for a file of rules that cannot be used.
    """
    desk = case.settings.desk
    if desk is None or desk.portrait is None:
        return snapshot
    made = portrait_of(snapshot, desk, case.settings.store, case.ticket.customer_id)
    return with_id(msgspec.structs.replace(snapshot, portrait=made))


def portrait_of(snapshot: ProblemSnapshot, desk: DeskOptions, store: str, customer_id: str | None) -> Portrait:
    """The portrait of the customer of the ticket of `snapshot`; what could not be asked is told in it."""
    options = desk.portrait
    if options is None:
        return Portrait()
    rules = read_rules(options.file)
    if not customer_id:
        return Portrait(missing=[Text(en="the ticket names no customer", zh="工单未注明客户")])
    if (kind := snapshot.ticket.system) in options.shared:
        told = f"several ticket systems are of the kind {kind}, where one id may be two customers"
        return Portrait(missing=[Text(en=told, zh=f"配置了多个 {kind} 工单系统，同一编号可能是不同客户")])
    before = datetime.fromisoformat(snapshot.ticket.created_at)
    found: dict[str, _Ticket] = {}
    sources: list[str] = []
    missing: list[Text] = []
    omitted: frozenset[str] = frozenset()
    if snapshot.ticket.customer_id == customer_id:
        try:
            kept, omitted = _of_store(store, snapshot, customer_id, before)
            found |= {one.id: one for one in kept}
            sources.append("store")
        except StoreError as error:
            missing.append(Text(en=f"the store could not be asked: {error}", zh=f"未能查询快照库：{error}"))
    else:
        told = "the customer's id is personal data and masked in snapshots, so the store was not asked"
        missing.append(Text(en=told, zh="客户编号属于个人信息，快照中已脱敏，因此未查询快照库"))
    if desk.history is not None:
        try:
            for one in _of_history(desk, snapshot, customer_id, before):
                found[one.id] = _joined(one, found.get(one.id))
            sources.append("history")
        except SnapshotError as error:
            missing.append(Text(en=f"the history could not be asked: {error}", zh=f"未能查询历史工单：{error}"))
    if omitted:
        told = f"{len(omitted):,} tickets of the store were not looked at: older than the newest {MOST}, or unreadable"
        missing.append(
            Text(en=told, zh=f"快照库中另有 {len(omitted):,} 个工单未查看（早于最近 {MOST} 个，或无法读取）")
        )
    tickets = sorted(found.values(), key=lambda one: (one.created_at, one.id), reverse=True)
    shown = [_listed(one) for one in tickets[: options.most]]
    return Portrait(
        # The history may know those that were not looked at.
        tickets=len(found.keys() | omitted),
        open=[one.id for one in tickets if one.open],
        problems=_counted(one.fault_class or one.category for one in tickets),
        products=_counted(one.product for one in tickets),
        versions=list(dict.fromkeys(one.version for one in tickets if one.version))[:_COUNTED],
        hints=rules.hints([_as_earlier(one) for one in tickets], _now(snapshot, before)),
        listed=shown,
        sources=sorted(sources),
        missing=missing,
    )


# ---- where tickets are known


def _of_history(desk: DeskOptions, snapshot: ProblemSnapshot, customer_id: str, before: datetime) -> Iterable[_Ticket]:
    from pipeline.desk.index import read_index
    from pipeline.desk.section import index_folder

    rows = read_index(index_folder(desk)).table
    if "customer" not in rows.column_names:
        raise SnapshotError("its index is of before customers were kept; `desk index` makes it anew")
    mine = pc.and_(
        pc.equal(rows["customer"], customer_key(customer_id)),
        pc.and_(
            pc.less(rows["created_at"], pa.scalar(before, TIME)),
            pc.and_(
                pc.not_equal(rows["id"], snapshot.ticket.id),
                pc.fill_null(pc.equal(rows["system"], snapshot.ticket.system), fill_value=True),
            ),
        ),
    )
    for row in rows.select(_HISTORY).filter(pc.fill_null(mine, fill_value=False)).to_pylist():
        yield _from_row(row, before)


def _from_row(row: dict[str, Any], before: datetime) -> _Ticket:
    closed = row["closed_at"]
    was_closed = closed is not None and closed < before
    said = ("title", "description", "category")
    # What was written when the ticket was closed, later than this one, was not known yet.
    texts = [row[name] for name in (*said, *(("cause", "solution") if was_closed else ())) if row[name]]
    return _Ticket(
        id=row["id"],
        title=row["title"] or "",
        text="\n".join(texts),
        created_at=row["created_at"],
        closed_at=closed if was_closed else None,
        category=row["category"] if was_closed else None,
        fault_class=row["fault_class"] if was_closed else None,
        product=row["product"] or row["channel"],
        version=row["version"],
        reopened=bool(row["reopened"]) and was_closed,
        open=not was_closed,
    )


def _of_store(
    store: str, snapshot: ProblemSnapshot, customer_id: str, before: datetime
) -> tuple[list[_Ticket], frozenset[str]]:
    kept, omitted = Store(store).of_customer(snapshot.ticket.system, customer_id, before, MOST)
    found = []
    for one in kept:
        if one.ticket.id == snapshot.ticket.id:
            continue
        located = not one.diagnosis.abstained
        found.append(
            _Ticket(
                id=one.ticket.id,
                title=one.ticket.title,
                text=f"{one.ticket.title}\n{one.ticket.description}",
                created_at=datetime.fromisoformat(one.ticket.created_at),
                fault_class=one.diagnosis.fault_class if located else None,
                fault_subclass=one.diagnosis.fault_subclass if located else None,
                product=one.diagnosis.location.channel,
                version=app_version(one.ticket),
            )
        )
    return found, omitted - {snapshot.ticket.id}


def _joined(history: _Ticket, kept: _Ticket | None) -> _Ticket:
    """What the desk wrote of a ticket, and where it says nothing what the snapshot does."""
    if kept is None:
        return history
    names = ("fault_class", "fault_subclass", "product", "version")
    filled = {name: getattr(history, name) or getattr(kept, name) for name in names}
    return msgspec.structs.replace(history, **filled)


# ---- what is told


def _now(snapshot: ProblemSnapshot, created: datetime) -> Now:
    diagnosis = snapshot.diagnosis
    leading = [one.fault_class for one in diagnosis.candidates[:1]] if diagnosis.abstained else []
    products = {*snapshot.scope.channels, *filter(None, [diagnosis.location.channel])}
    return Now(
        created_at=created,
        faults=frozenset(filter(None, [diagnosis.fault_class, *leading])),
        products=frozenset(products),
        version=app_version(snapshot.ticket),
    )


def _as_earlier(one: _Ticket) -> Earlier:
    named = {one.fault_class, f"{one.fault_class}/{one.fault_subclass}" if one.fault_subclass else None}
    return Earlier(
        id=one.id,
        created_at=one.created_at,
        text=one.text,
        faults=frozenset(name for name in named if name),
        product=one.product,
        version=one.version,
        reopened=one.reopened,
        open=bool(one.open),
    )


def _listed(one: _Ticket) -> EarlierTicket:
    return EarlierTicket(
        id=one.id,
        title=one.title,
        created_at=in_utc(one.created_at),
        closed_at=in_utc(one.closed_at) if one.closed_at else None,
        category=one.category,
        fault_class=one.fault_class,
        product=one.product,
        version=one.version,
        reopened=one.reopened,
    )


def _counted(names: Iterable[str | None]) -> list[Counted]:
    """The most frequent names, of equal ones the first by name."""
    counts = sorted(Counter(name for name in names if name).items(), key=lambda one: (-one[1], one[0]))
    return [Counted(name=name, tickets=number) for name, number in counts[:_COUNTED]]
