"""What the systems share about notes: whose a change is, a note's body, the stamp of one that cannot be edited, and tags."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pipeline.errors import UsageError
from pipeline.tickets._api import SystemOptions
from pipeline.tickets._payload import same
from pipeline.tickets.system import Event, Form, Note, SystemBroken

# How each note's marker begins.
MARK = "problem-snapshot:"
_TAG = "fault-"


def require_url(name: str, options: SystemOptions) -> None:
    """Raises `UsageError` where the system's address is missing: nothing can be read back without it."""
    if not options.url:
        raise UsageError(f"[tickets.{name}] has no url: the ticket is read and the note is written there")


def basic(user: str, secret: str) -> str:
    """The value of an `Authorization` header for a user and password (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


def ours(options: SystemOptions, actors: Iterable[Any], written: str = "") -> str | None:
    """Why a change is our own: by one of the names of who made it, or by the marker in what was written. None where it is not."""
    if same(options.user, *actors):
        return f"our own change: it was made by {options.user}"
    return "our own note" if MARK in written else None


def body_of(note: Note, form: Form) -> str:
    """The note in a system's form. Raises `SystemBroken` where it was not rendered."""
    body = note.bodies.get(form)
    if body is None:
        raise SystemBroken(f"the note of snapshot {note.snapshot_id} was not rendered as {form}")
    return body


def digest(text: str) -> str:
    """Eight hex digits that change with the text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]


def conclusion(note: Note) -> str:
    """Eight hex digits that change with what the snapshot concludes: the fault and its severity, not how sure it is."""
    return digest("\n".join(note.fields.get(name, "") for name in ("fault_class", "fault_subclass", "severity")))


@dataclass(frozen=True)
class Stamp:
    """What a note that cannot be edited says of itself in its last line, beside the marker."""

    concluded: str
    body: str


def stamped(note: Note, body: str) -> str:
    """The last line of a note that cannot be edited: marker, conclusion, and the body's own digest."""
    return f"{note.marker} {conclusion(note)} {digest(body)}"


def stamps(text: str, marker: str) -> list[Stamp]:
    """The stamps in `text`, in their order; without those markers that a body shows itself, if others are there."""
    found = [Stamp(*one) for one in re.findall(re.escape(marker) + r"(?: ([0-9a-f]{8}) ([0-9a-f]{8}))?", text)]
    return [one for one in found if one.concluded] or found[:1]


def stamp(text: str, marker: str) -> Stamp | None:
    """The stamp of our note in `text`, the last where several are; None where the marker is not in it."""
    found = stamps(text, marker)
    return found[-1] if found else None


def replaces(at: datetime | None) -> str:
    """How a note says that it takes the place of one that cannot be edited, in English and Chinese."""
    when = f" of {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if at else ""
    zh = f" {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC 的" if at else "之前的"
    return f"This replaces the snapshot{when}: its conclusion has changed. / 结论有变，本备注取代{zh}快照。"


@cache
def _known_tags() -> frozenset[str]:
    from pipeline.faults.tables import rows

    return frozenset(_tag(row["class"]) for row in rows("fault_taxonomy.csv"))


def _tag(fault_class: str) -> str:
    return _TAG + fault_class.removesuffix("_fault").replace("_", "-")


def tags(note: Note, present: Iterable[str]) -> tuple[list[str], list[str]]:
    """The tags to add to a ticket, and those of ours to take off since they name another fault.

    >>> tags(Note("S", "m", {}, fields={"fault_class": "interface_fault"}), ["vip", "fault-rate-limit", "fault-line"])
    (['fault-interface'], ['fault-rate-limit'])
    """
    fault = note.fields.get("fault_class")
    wanted = {_tag(fault)} if fault else set()
    there = set(present)
    return sorted(wanted - there), sorted((there & _known_tags()) - wanted)


def with_reason(event: Event, reason: str | None) -> Event:
    """The same event, ignored for `reason` where there is one and none stands yet."""
    return event if event.ignored or not reason else replace(event, ignored=reason)
