"""Has a ticket diagnosed again, for a reason of our own: what came with it since, and not from its system."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pipeline.service.ledger import AGAIN, NewDelivery
from pipeline.service.urgency import SOON

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.service.ledger import Ledger


def queue_again(
    ledger: Ledger, system: str, ticket_id: str, why: str, *, connection: Connection | None = None
) -> str | None:
    """Queues the ticket: the delivery's id, or None where it was queued for the same `why` before.

    With `connection` it is written in that transaction, together with the reason.
    """
    again = NewDelivery(
        system=system,
        key=f"again:{ticket_id}:{why}",
        ticket_id=ticket_id,
        kind=AGAIN,
        priority=SOON,
        received_at=time.time(),
    )
    (stored,) = ledger.add([again]) if connection is None else ledger.add_within(connection, [again])
    return stored
