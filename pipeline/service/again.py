"""A ticket is diagnosed again, since something new is known of it that did not come as a delivery of its system."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pipeline.service.ledger import ASKED_AGAIN, NewDelivery
from pipeline.service.urgency import SOON

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.service.ledger import Ledger


def queue_again(
    ledger: Ledger, system: str, ticket_id: str, why: str, *, connection: Connection | None = None
) -> str | None:
    """Queues the ticket; the delivery's id, or None where it was queued for this reason before.

    `why` names what happened, such as `upload:c0123`: the same twice is once. With `connection` it is written in that
    transaction, together with what happened.
    """
    delivery = NewDelivery(
        system=system,
        key=f"again:{ticket_id}:{why}",
        ticket_id=ticket_id,
        kind=ASKED_AGAIN,
        priority=SOON,
        received_at=time.time(),
    )
    stored = ledger.add([delivery]) if connection is None else ledger.add_within(connection, [delivery])
    return stored[0]
