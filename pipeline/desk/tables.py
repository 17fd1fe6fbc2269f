"""The desk's tables, in the service's database. Times are seconds since 1970 in UTC."""

from __future__ import annotations

import sqlalchemy as sa

from pipeline.service.tables import NUMBER, PREFIX, metadata


def _ticket(*, key: bool = True) -> tuple[sa.Column[str], sa.Column[str]]:
    return (
        sa.Column("system", sa.String(80), primary_key=key, nullable=False),
        sa.Column("ticket_id", sa.String(200), primary_key=key, nullable=False),
    )


# How grave a ticket is with what its storm adds, and until when it is to be answered and solved.
clocks = sa.Table(
    f"{PREFIX}desk_clocks",
    metadata,
    *_ticket(),
    sa.Column("snapshot_id", sa.String(80), nullable=False),
    sa.Column("level", sa.String(2), nullable=False),
    # The severity as JSON, with its reasons.
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("opened_at", sa.Float, nullable=False),
    sa.Column("respond_by", sa.Float, nullable=False),
    sa.Column("resolve_by", sa.Float, nullable=False),
    sa.Column("responded_at", sa.Float),
    sa.Column("resolved_at", sa.Float),
)

# One row for each deadline that is warned of. It is told once: whoever sets `told_at` tells it, in the same transaction.
warnings = sa.Table(
    f"{PREFIX}desk_warnings",
    metadata,
    *_ticket(),
    # respond, resolve
    sa.Column("which", sa.String(8), primary_key=True),
    sa.Column("deadline", sa.Float, primary_key=True),
    sa.Column("warn_at", sa.Float, nullable=False),
    sa.Column("told_at", sa.Float),
    sa.Index(f"{PREFIX}desk_warning_due", "told_at", "warn_at"),
)

# What happened to a ticket at the desk, in the words of pipeline/desk/events.py.
events = sa.Table(
    f"{PREFIX}desk_events",
    metadata,
    sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
    *_ticket(key=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("event", sa.String(20), nullable=False),
    sa.Column("level", sa.String(2)),
    sa.Column("role", sa.String(80)),
    sa.Column("who", sa.String(200)),
    sa.Index(f"{PREFIX}desk_event_by_time", "at"),
    sa.Index(f"{PREFIX}desk_event_by_ticket", "system", "ticket_id", "at"),
)

# What ticket systems and people told of a ticket, each step once: the same step told again is the same row.
steps = sa.Table(
    f"{PREFIX}desk_steps",
    metadata,
    *_ticket(),
    sa.Column("what", sa.String(20), primary_key=True),
    # The ticket system's own time.
    sa.Column("at", sa.Float, primary_key=True),
    sa.Column("who", sa.String(200)),
    sa.Column("to", sa.String(200)),
)

# Emergency rooms. `key` is the storm's or the ticket's, and null once the room is closed: one room is open for each.
rooms = sa.Table(
    f"{PREFIX}desk_rooms",
    metadata,
    sa.Column("id", NUMBER, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(300), unique=True),
    *_ticket(key=False),
    sa.Column("snapshot_id", sa.String(80), nullable=False),
    sa.Column("opened_at", sa.Float, nullable=False),
    sa.Column("closed_at", sa.Float),
)

roles = sa.Table(
    f"{PREFIX}desk_room_roles",
    metadata,
    sa.Column("room", NUMBER, primary_key=True),
    # technology, product, operations
    sa.Column("role", sa.String(20), primary_key=True),
    sa.Column("acknowledged_at", sa.Float),
    sa.Column("acknowledged_by", sa.String(200)),
    sa.Column("escalated_at", sa.Float),
)

calls = sa.Table(
    f"{PREFIX}desk_room_calls",
    metadata,
    sa.Column("room", NUMBER, primary_key=True),
    sa.Column("role", sa.String(20), primary_key=True),
    # The name of a receiver.
    sa.Column("person", sa.String(80), primary_key=True),
    sa.Column("called_at", sa.Float, nullable=False),
    sa.Column("escalation", sa.Boolean, nullable=False),
)

# Customers of a room's tickets, and what each may be told.
care = sa.Table(
    f"{PREFIX}desk_room_care",
    metadata,
    sa.Column("room", NUMBER, primary_key=True),
    *_ticket(),
    sa.Column("customer", sa.String(200)),
    sa.Column("en", sa.Text),
    sa.Column("zh", sa.Text),
    sa.Column("told_at", sa.Float),
)

# What a message says above its snapshot. `call` names the room's call that it is, as JSON.
sayings = sa.Table(
    f"{PREFIX}desk_sayings",
    metadata,
    sa.Column("event", sa.String(40), primary_key=True),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("level", sa.String(2), nullable=False),
    sa.Column("en", sa.Text, nullable=False),
    sa.Column("zh", sa.Text, nullable=False),
    sa.Column("call", sa.Text),
)
