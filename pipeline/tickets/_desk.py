"""What the desks share: bodies decoded, tags, the stamp of a note that cannot be edited, and a poll's cursor."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import msgspec

from pipeline.errors import UsageError
from pipeline.tickets._api import SystemOptions
from pipeline.tickets.file import parse_time
from pipeline.tickets.system import Changes, Event, Form, Incoming, Malformed, Note, SystemBroken, Unverified

Shape = TypeVar("Shape")
Key = TypeVar("Key")

# How each note's marker begins.
MARK = "problem-snapshot:"
# A poll looks back this far before the last change that it saw: systems index late, and clocks of their nodes differ.
OVERLAP = timedelta(minutes=5)
# So many changes are remembered as seen; beyond these one may be told twice, which costs a run and loses nothing.
_SEEN = 1000
_TAG = "fault-"


def require_secret(name: str, options: SystemOptions) -> None:
    """Raises `Unverified` where no delivery can be verified, unless `insecure` says that none needs to be."""
    if not options.secrets and not options.insecure:
        raise Unverified(
            f"[tickets.{name}] has no secrets, so no delivery can be verified: set secrets, or insecure = true for a "
            "system that cannot sign on a network that is trusted"
        )


def require_url(name: str, options: SystemOptions) -> None:
    """Raises `UsageError` where the system's address is missing: nothing can be read back without it."""
    if not options.url:
        raise UsageError(f"[tickets.{name}] has no url: the ticket is read and the note is written there")


def decoded(body: bytes, shape: type[Shape], system: str) -> Shape:
    """The body of a verified delivery as `shape`. Raises `Malformed`, also for JSON that is nested too deeply."""
    try:
        return msgspec.json.decode(body, type=shape, strict=False)
    except RecursionError as error:
        raise Malformed(f"the delivery of {system} is nested too deeply") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise Malformed(f"the delivery is not what {system} sends: {str(error)[:200]}") from error


def read(answer: Any, shape: type[Shape], where: str) -> Shape:
    """An answer of the system's API as `shape`. Raises `SystemBroken`."""
    try:
        return msgspec.convert(answer, shape, strict=False)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SystemBroken(f"{where} answered something unexpected: {str(error)[:200]}") from error


def fields(answer: Any, where: str) -> dict[str, Any]:
    """An answer that has to be an object; without a body it is an empty one. Raises `SystemBroken`."""
    if answer is not None and not isinstance(answer, dict):
        raise SystemBroken(f"{where} answered something else than an object: check url")
    return answer or {}


def rows(answer: Any, where: str) -> list[dict[str, Any]]:
    """An answer, or a part of one, that has to be a list of objects. Raises `SystemBroken`."""
    if answer is not None and not (isinstance(answer, list) and all(isinstance(one, dict) for one in answer)):
        raise SystemBroken(f"{where} answered something else than a list of objects: check url")
    return answer or []


def moment(value: Any) -> datetime | None:
    """A time as systems write it, aware; None where it is none.

    >>> moment("2026-11-26T10:02:31.123+0800").isoformat(), moment("soon")
    ('2026-11-26T10:02:31.123000+08:00', None)
    """
    try:
        time = parse_time(str(value))
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def needed_moment(value: Any, where: str) -> datetime:
    """As `moment`, for a time that must be there. Raises `SystemBroken`."""
    time = moment(value)
    if time is None:
        raise SystemBroken(f"{where} gave {str(value)[:60]!r} where a time is expected")
    return time


def basic(user: str, secret: str) -> str:
    """The value of an `Authorization` header for a user and password (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


def credential(request: Incoming) -> str | None:
    """The token or the password of an `Authorization` header; None where there is none that can be read."""
    scheme, _, value = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2] or None
    except ValueError:
        return None


def without_login(options: Any) -> Any:
    """The same options, for systems whose sign-in goes in a header that is made here."""
    return msgspec.structs.replace(options, username=None, password=None)


def ours(actor: str | None, text: str, options: SystemOptions) -> str | None:
    """Why a change is our own: by who made it, or by the marker in what was written. None where it is not."""
    if actor and options.user and actor.casefold() == options.user.casefold():
        return f"our own change: it was made by {options.user}"
    return "our own note" if MARK in text else None


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


class Cursor(msgspec.Struct, frozen=True):
    """Where a poll of a system without cursors of its own stands: the last change seen, and which of late were seen.

    `seen` holds ids with the times of their changes, oldest first.
    """

    at: datetime
    seen: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """As it is stored."""
        return msgspec.json.encode(self).decode()


def read_cursor(text: str, shape: type[Shape], name: str) -> Shape:
    """A stored cursor. Raises `SystemBroken`."""
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SystemBroken(
            f"the cursor of the poll of {name} cannot be read ({text[:60]!r}): start the poll anew"
        ) from error


@dataclass(frozen=True)
class Row:
    """One ticket in a list of changes: when it changed, as the system writes it and as a time, and the event it makes."""

    id: str
    stamp: str
    at: datetime
    event: Event


# Rows that changed at or after a time, oldest first, from the n-th page on; and whether the page was full.
Fetch = Callable[[datetime, int], tuple[Sequence[Row], bool]]


def changes(cursor: Cursor, fetch: Fetch, limit: int) -> Changes:
    """What changed since `cursor`, for systems that list tickets by the time of their last change.

    No row is lost at a page's border: each question starts at a time, not at an offset, since a ticket that changes meanwhile
    moves to the end and shifts all others. Only where one page holds nothing but rows that were seen, and all at one time,
    the next page is asked for. Rows in the overlap that were seen are not told again.
    """
    seen = set(cursor.seen)
    start = cursor.at - OVERLAP
    since, page = start, 0
    while True:
        rows, full = fetch(since, page)
        fresh = [row for row in rows if row.at >= start and (row.id, row.stamp) not in seen]
        if fresh or not full or not rows:
            break
        since, page = (rows[-1].at, 0) if rows[-1].at > since else (since, page + 1)
    taken = fresh[:limit]
    at = max([cursor.at, *(row.at for row in taken)])
    remembered = [*cursor.seen, *((row.id, row.stamp) for row in taken)]
    kept = [one for one in remembered if (moment(one[1]) or at) >= at - OVERLAP]
    after = Cursor(at, tuple(kept[-_SEEN:]))
    return Changes(tuple(row.event for row in taken), after.text, more=len(fresh) > limit or (full and bool(fresh)))


def with_reason(event: Event, reason: str | None) -> Event:
    """The same event, ignored for `reason` where there is one and none stands yet."""
    return event if event.ignored or not reason else replace(event, ignored=reason)


def filled(values: Mapping[Key, Any]) -> dict[Key, Any]:
    """Those fields that hold something."""
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}
