"""Answers of customers, kept: what was sent, once however often it is sent, and what it makes of the ticket."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from pipeline.desk.intake_tables import pictures, replies
from pipeline.service.again import queue_again
from pipeline.service.ledger import insert_into
from snapshots.model import canonical_json

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from pipeline.desk.answers import Answers
    from pipeline.desk.pictures import Picture
    from pipeline.service.ledger import Ledger

# Replies and pictures of one ticket at most: a link in wrong hands fills no disk.
MOST_REPLIES = 20
MOST_PICTURES = 10


class TooMany(Exception):
    """The ticket has as many replies or pictures as may be."""


@dataclass(frozen=True)
class KeptPicture:
    """A picture that lies in the folder."""

    sha256: str
    media_type: str
    size: int

    @property
    def name(self) -> str:
        """Its file's name, and what a note calls it."""
        return f"picture-{self.sha256[:12]}.{'png' if self.media_type == 'image/png' else 'jpg'}"


@dataclass(frozen=True)
class Held:
    """What is held of a ticket: its answers by question, the last one of each, when it last came, and the pictures.

    `last` is the id of the last reply, and `noted` says that the ticket's note tells of it.
    """

    answers: Mapping[str, Any] = field(default_factory=dict)
    at: float = 0.0
    last: str = ""
    noted: bool = True
    pictures: tuple[KeptPicture, ...] = ()


class Replies:
    """The tables and the folder, and every change that is made to them."""

    def __init__(self, engine: Engine, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._folder = folder
        self._clock = clock

    def put(self, ledger: Ledger, system: str, ticket_id: str, snapshot_id: str, answers: Answers) -> bool:
        """Keeps answers and queues the ticket, in one transaction; false where the ticket holds just these already.

        Raises `TooMany`, `OSError` where the picture cannot be written, and the database's errors.
        """
        if answers.picture is not None:
            kept = {one.sha256 for one in self.held(system, ticket_id).pictures}
            if answers.picture.sha256 not in kept and len(kept) >= MOST_PICTURES:
                raise TooMany
            # First the bytes, then the row that names them: what is left over by a crash is a file that nobody names.
            self._write(system, ticket_id, answers.picture)
        values = dict(answers.values)
        if answers.picture is not None:
            values["picture_sha256"] = answers.picture.sha256
        with self._engine.begin() as connection:
            rows = self._rows(connection, system, ticket_id)
            merged = _merged(rows)
            last = rows[-1].id if rows else ""
            if all(name in merged and merged[name] == value for name, value in values.items()):
                return False
            if len(rows) >= MOST_REPLIES:
                raise TooMany
            name = hashlib.sha256(canonical_json([system, ticket_id, last, values])).hexdigest()
            made = insert_into(self._engine, replies).values(
                id=name,
                system=system,
                ticket_id=ticket_id,
                snapshot_id=snapshot_id,
                answers=msgspec.json.encode(values).decode(),
                at=self._clock(),
            )
            if connection.scalar(made.on_conflict_do_nothing().returning(replies.c.seq)) is None:
                # Another process stored the same at this moment.
                return False
            if answers.picture is not None:
                self._note_picture(connection, system, ticket_id, answers.picture)
            queue_again(ledger, system, ticket_id, f"answers:{name[:32]}", connection=connection)
        return True

    def held(self, system: str, ticket_id: str) -> Held:
        """What is held of the ticket."""
        here = (pictures.c.system == system, pictures.c.ticket_id == ticket_id)
        with self._engine.connect() as connection:
            rows = self._rows(connection, system, ticket_id)
            if not rows:
                return Held()
            kept = connection.execute(sa.select(pictures).where(*here).order_by(pictures.c.at, pictures.c.sha256)).all()
        merged = _merged(rows)
        merged.pop("picture_sha256", None)
        return Held(
            answers=merged,
            at=rows[-1].at,
            last=rows[-1].id,
            noted=rows[-1].noted_at is not None,
            pictures=tuple(KeptPicture(one.sha256, one.media_type, one.size) for one in kept),
        )

    def noted(self, system: str, ticket_id: str, last: str) -> None:
        """The ticket's note tells of the reply `last` and of all before it."""
        here = (replies.c.system == system, replies.c.ticket_id == ticket_id, replies.c.noted_at.is_(None))
        until = sa.select(replies.c.seq).where(replies.c.id == last).scalar_subquery()
        with self._engine.begin() as connection:
            connection.execute(replies.update().where(*here, replies.c.seq <= until).values(noted_at=self._clock()))

    def picture(self, system: str, ticket_id: str, sha256: str) -> tuple[KeptPicture, bytes] | None:
        """A picture of the ticket with its bytes; None where there is none, or its bytes are not what they were."""
        found = next((one for one in self.held(system, ticket_id).pictures if one.sha256 == sha256), None)
        if found is None:
            return None
        try:
            data = self._place(system, ticket_id, found.name).read_bytes()
        except OSError:
            return None
        return (found, data) if hashlib.sha256(data).hexdigest() == found.sha256 else None

    def prune(self, before: float) -> int:
        """Takes away what came before `before`, in seconds since 1970, pictures and their files too; how many replies went."""
        with self._engine.begin() as connection:
            old = connection.execute(sa.select(pictures).where(pictures.c.at < before)).all()
            for one in old:
                kept = KeptPicture(one.sha256, one.media_type, one.size)
                self._place(one.system, one.ticket_id, kept.name).unlink(missing_ok=True)
            connection.execute(pictures.delete().where(pictures.c.at < before))
            return connection.execute(replies.delete().where(replies.c.at < before)).rowcount

    # ---- the tables

    @staticmethod
    def _rows(connection: Connection, system: str, ticket_id: str) -> list[Any]:
        here = (replies.c.system == system, replies.c.ticket_id == ticket_id)
        return list(connection.execute(sa.select(replies).where(*here).order_by(replies.c.seq)))

    def _note_picture(self, connection: Connection, system: str, ticket_id: str, picture: Picture) -> None:
        connection.execute(
            insert_into(self._engine, pictures)
            .values(
                system=system,
                ticket_id=ticket_id,
                sha256=picture.sha256,
                media_type=picture.media_type,
                size=len(picture.data),
                at=self._clock(),
            )
            .on_conflict_do_nothing()
        )

    # ---- the folder

    def _place(self, system: str, ticket_id: str, name: str) -> Path:
        """Each ticket's pictures lie by themselves, so that nothing of one is ever another's."""
        return self._folder / hashlib.sha256(f"{system}\0{ticket_id}".encode()).hexdigest()[:32] / name

    def _write(self, system: str, ticket_id: str, picture: Picture) -> None:
        kept = KeptPicture(picture.sha256, picture.media_type, len(picture.data))
        place = self._place(system, ticket_id, kept.name)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = place.with_name(f".{uuid.uuid4().hex}")
        try:
            with beside.open("xb") as file:
                file.write(picture.data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(place)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)


def _merged(rows: list[Any]) -> dict[str, Any]:
    """Question -> its last answer."""
    found: dict[str, Any] = {}
    for row in rows:
        found |= msgspec.json.decode(row.answers, type=dict[str, Any])
    return found
