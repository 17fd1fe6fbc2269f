"""One note on a ticket, whatever happens: found by its marker, changed in place, its younger twins taken away.

Two of us may write at once, and a crash may come between writing a note and remembering it. So each time the ticket's notes are
listed first, and once more after one was created; of several with our marker the oldest stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.errors import TicketNotFound
from pipeline.tickets.system import Attached, SystemBroken, SystemUnavailable


@dataclass(frozen=True)
class Written:
    """A note of our own user as the system holds it. `private` is what the system says of it."""

    id: str
    body: str
    private: bool = True
    url: str | None = None


@dataclass(frozen=True)
class Notes:
    """The notes of one ticket. `listed` gives those of our own user, oldest first; `delete` of one that is gone does nothing."""

    where: str
    listed: Callable[[], Iterable[Written]]
    create: Callable[[str], Written]
    change: Callable[[str, str], Written]
    # None where the system deletes nothing.
    delete: Callable[[str], None] | None
    # How a system's own rewriting of a body is taken out before two are compared.
    plain: Callable[[str], str] = lambda body: "\n".join(line.rstrip() for line in body.splitlines()).strip()


def settle(notes: Notes, marker: str, body: str) -> Attached:
    """Leaves exactly one private note with `marker` that says `body`. Raises as `TicketSystem.attach` does."""
    found = marked(notes, marker)
    if not found:
        made = _private(notes, notes.create(body))
        found = marked(notes, marker) or [made]
        if found[0].id == made.id:
            told = _drop(notes, found[1:])
            return Attached("created", made.id, made.url, told)
    kept = _private(notes, found[0])
    told = _drop(notes, found[1:])
    if notes.plain(kept.body) == notes.plain(body):
        return Attached("unchanged", kept.id, kept.url, told)
    try:
        changed = _private(notes, notes.change(kept.id, body))
    except TicketNotFound as error:
        raise SystemUnavailable(f"{notes.where}: note {kept.id} went away while it was changed") from error
    return Attached("updated", kept.id, changed.url or kept.url, told)


def marked(notes: Notes, marker: str) -> list[Written]:
    """Our notes with `marker`, oldest first."""
    return [note for note in notes.listed() if marker in note.body]


def _private(notes: Notes, note: Written) -> Written:
    """`note`, known to be private; one that is public is deleted at once."""
    if note.private:
        return note
    if notes.delete is None:
        raise SystemBroken(
            f"{notes.where}: note {note.id} is public and cannot be deleted from here: delete it by hand now"
        )
    notes.delete(note.id)
    raise SystemBroken(f"{notes.where}: note {note.id} was public and has been deleted; see what the account may write")


def _drop(notes: Notes, twins: Iterable[Written]) -> tuple[str, ...]:
    gone = [twin.id for twin in twins]
    if not gone:
        return ()
    if notes.delete is None:
        return (f"further notes with the same marker cannot be deleted from here: {', '.join(gone)}",)
    for one in gone:
        notes.delete(one)
    return (f"further notes with the same marker were deleted: {', '.join(gone)}",)
