"""The entry that a solved ticket asks for, filled in with what its snapshot knows."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pipeline.desk.cause import cause_of
from pipeline.desk.entry import Entry, Facts, Told, plain_line
from pipeline.desk.modules import product_of
from pipeline.desk.signature import signature_of
from pipeline.errors import UsageError
from pipeline.faults.tables import fault_name
from snapshots.model import ProblemSnapshot, Text

# Stands where a person has to write.
TODO = Text(en="(to be written)", zh="（待填写）")


def draft_of(snapshot: ProblemSnapshot, assignee: str, today: date) -> Entry:
    """Root cause, solution and prevention to be confirmed or written; codes and templates for a signature.

    What a customer wrote is taken as the snapshot has it, which is redacted.
    """
    diagnosis, ticket = snapshot.diagnosis, snapshot.ticket
    channel = diagnosis.location.channel or next(iter(snapshot.scope.channels), None)
    codes = dict.fromkeys(f"{f.channel} {f.code}" for f in snapshot.findings if f.about_focus and f.code and f.channel)
    facts = Facts(
        id=f"ticket.{_safe(ticket.id)}",
        module=product_of(channel) if channel else "payments",
        problem=diagnosis.fault_class or "",
        fault_class=diagnosis.fault_class,
        fault_subclass=diagnosis.fault_subclass,
        channels=(channel,) if channel else (),
        codes=tuple(codes),
        services=(diagnosis.location.service,) if diagnosis.location.service else (),
        owner=assignee,
        since=today,
        status="draft",
        tickets=(ticket.id,),
        origin=snapshot.snapshot_id,
        signature=signature_of(snapshot),
    )
    return Entry(facts=facts, en=_told(snapshot, "en"), zh=_told(snapshot, "zh"))


def _safe(text: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in text)
    return kept[:100] or "unnamed"


def _told(snapshot: ProblemSnapshot, language: Literal["en", "zh"]) -> Told:
    diagnosis = snapshot.diagnosis
    todo: str = getattr(TODO, language)
    located = diagnosis.fault_class is not None and not diagnosis.abstained
    title = (
        getattr(fault_name(diagnosis.fault_class, diagnosis.fault_subclass), language)
        if diagnosis.fault_class
        else todo
    )
    action: str = getattr(diagnosis.first_action, language) if diagnosis.first_action else ""
    asked = snapshot.ticket.title if language == snapshot.ticket.language else ""
    return Told(
        title=plain_line(title),
        questions=(plain_line(asked),) if asked.strip() else (),
        cause=plain_line(_unnamed(snapshot, getattr(cause_of(snapshot), language))) if located else todo,
        steps=(plain_line(action),) if action else (todo,),
        prevention=todo,
    )


def _unnamed(snapshot: ProblemSnapshot, text: str) -> str:
    """`text` without what names this one customer's case: an entry is about all such cases."""
    named: dict[str, str] = {identifier.value: identifier.kind for identifier in snapshot.scope.identifiers}
    named |= {order.order_id: "order_id" for order in snapshot.orders}
    named |= {attempt.entity_id: attempt.entity for attempt in snapshot.payment_attempts}
    for value in sorted(filter(None, named), key=len, reverse=True):
        text = text.replace(value, f"({named[value]})")
    return text


def check_finished(entry: Entry) -> None:
    """Refuses an entry in which something is still to be written: cause, solution and prevention, in one language at least.

    Raises `UsageError`.
    """
    lacking = []
    for told in entry.told:
        parts = {"title": told.title, "cause": told.cause, "steps": " ".join(told.steps), "prevention": told.prevention}
        open_parts = [
            name for name, value in parts.items() if not value.strip() or TODO.en in value or TODO.zh in value
        ]
        if not open_parts:
            break
        lacking.append(f"{'Chinese' if told is entry.zh else 'English'}: {', '.join(open_parts)}")
    else:
        raise UsageError(f"{entry.id} is not finished ({'; '.join(lacking)}); write these in one language at least")


def finished(entry: Entry) -> Entry:
    """The entry without a language in which something is still to be written."""
    import msgspec

    def kept(told: Told | None) -> Told | None:
        if told is None:
            return None
        said = " ".join((told.title, told.cause, *told.steps, told.prevention))
        return None if TODO.en in said or TODO.zh in said else told

    return msgspec.structs.replace(entry, en=kept(entry.en), zh=kept(entry.zh))
