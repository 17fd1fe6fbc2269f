"""A service that asks, and tickets that it asks about: those of examples/TK-24182, and some without an order."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from PIL import Image

from pipeline.desk.intake_options import QuestionOptions
from pipeline.desk.options import DeskOptions
from pipeline.values import Ticket
from tests.test_service import Hook, running

SECRET = "a secret of sixteen"
# An order of the example that failed, and when its ticket came.
ORDER = "M20268356376376"
CREATED = datetime.fromisoformat("2026-09-26T13:57:43+08:00")
WORDS = {
    "zh": ("支付有问题", "支付有问题，麻烦处理下。"),
    "en": ("Payment problem", "Something is wrong, please look."),
}


def unnamed(language: str = "en", ticket_id: str = "T-1", **given: object) -> Ticket:
    """A ticket that names no order, of a customer of whom no order is known."""
    title, text = WORDS[language]
    return Ticket(ticket_id, title, text, CREATED, "desk", language, customer_id="nobody", **given)


def png(size: tuple[int, int] = (40, 30), colour: str = "red") -> bytes:
    """A picture."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


@dataclass
class Asking:
    """A running service that asks, and what its tests do with it."""

    hook: Hook
    pictures: Path

    def take(self, ticket: Ticket, number: int = 1) -> str:
        """Has the ticket diagnosed; the link to its questions, as it would be sent to the customer."""
        self.hook.desk.tickets[ticket.id] = ticket
        assert self.hook.send(ticket=ticket.id, delivery=f"{ticket.id}:{number}").status_code == 202
        assert set(self.hook.settled()) == {"done"}
        return self.link(ticket.id)

    def link(self, ticket_id: str) -> str:
        """The link of the ticket's newest snapshot."""
        asking = self.hook.bench.asking
        assert asking is not None
        newest = self.hook.bench.store.newest(ticket_id)
        return asking.links.questions("desk", ticket_id, newest.snapshot_id).replace(
            "http://desk.invalid", self.hook.url
        )

    def notes(self, ticket_id: str) -> list[str]:
        return list(self.hook.desk.notes[ticket_id].values())


@contextlib.contextmanager
def asking(database: str, folder: Path, **given: object) -> Iterator[Asking]:
    """The service with questions; `given` are further `QuestionOptions`."""
    options = QuestionOptions(folder=str(folder / "pictures"), **given)
    with running(
        database,
        folder,
        office=DeskOptions(questions=options),
        public_url="http://desk.invalid",
        secret=SECRET,
    ) as hook:
        yield Asking(hook, folder / "pictures")
