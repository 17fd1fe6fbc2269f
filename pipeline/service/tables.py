"""The tables of the ledger. Times are seconds since 1970 in UTC, as the clock of the process that wrote them had it."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
PREFIX = "snapshot_"
# Raised when a table changes in a way that an older program cannot read.
LAYOUT = 1

layout = sa.Table(f"{PREFIX}layout", metadata, sa.Column("version", sa.Integer, primary_key=True, autoincrement=False))

# BIGSERIAL in PostgreSQL; in SQLite only INTEGER counts by itself.
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")

deliveries = sa.Table(
    f"{PREFIX}deliveries",
    metadata,
    sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
    # What people and the queue call it.
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("system", sa.String(80), nullable=False),
    # The sender's id of the delivery, or the body's hash: the same request again is the same delivery.
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("ticket_id", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(100), nullable=False),
    sa.Column("actor", sa.String(200)),
    sa.Column("priority", sa.Integer, nullable=False),
    # The ticket as it was delivered, as JSON, for a system without a way to read it again.
    sa.Column("ticket", sa.Text),
    sa.Column("received_at", sa.Float, nullable=False),
    # queued, working, waiting (for its next attempt), done, ignored, dead, dropped
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    # How often a job for it was begun since the last one that came to an end.
    sa.Column("starts", sa.Integer, nullable=False, default=0),
    sa.Column("next_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.UniqueConstraint("system", "key"),
    sa.Index(f"{PREFIX}by_ticket", "system", "ticket_id", "state"),
    sa.Index(f"{PREFIX}by_state", "state", "seq"),
)

attempts = sa.Table(
    f"{PREFIX}attempts",
    metadata,
    sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
    sa.Column("delivery", sa.String(40), nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("worker", sa.String(120), nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float, nullable=False),
    # done, again, dead, dropped
    sa.Column("outcome", sa.String(10), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("snapshot_id", sa.String(80)),
)

tickets = sa.Table(
    f"{PREFIX}tickets",
    metadata,
    sa.Column("system", sa.String(80), primary_key=True),
    sa.Column("ticket_id", sa.String(200), primary_key=True),
    # Which worker has it for which attempt, and until when that holds if nothing more is heard.
    sa.Column("claimed_by", sa.String(200)),
    sa.Column("claimed_until", sa.Float, nullable=False, default=0.0),
    sa.Column("snapshot_id", sa.String(80)),
    sa.Column("note_id", sa.String(200)),
    sa.Column("note_url", sa.Text),
    sa.Column("attached_at", sa.Float),
)
# Each worker looks for its own every few seconds.
sa.Index(
    f"{PREFIX}claimed",
    tickets.c.claimed_by,
    sqlite_where=tickets.c.claimed_by.is_not(None),
    postgresql_where=tickets.c.claimed_by.is_not(None),
)

workers = sa.Table(
    f"{PREFIX}workers",
    metadata,
    sa.Column("id", sa.String(120), primary_key=True),
    # The name under which the queue knows it.
    sa.Column("executor", sa.String(120), nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
)

cursors = sa.Table(
    f"{PREFIX}cursors",
    metadata,
    sa.Column("system", sa.String(80), primary_key=True),
    sa.Column("cursor", sa.Text, nullable=False),
    sa.Column("moved_at", sa.Float, nullable=False),
)

# What was refused at the door, counted by system and reason: it has no row of its own.
refusals = sa.Table(
    f"{PREFIX}refusals",
    metadata,
    sa.Column("system", sa.String(80), primary_key=True),
    sa.Column("reason", sa.String(40), primary_key=True),
    sa.Column("count", NUMBER, nullable=False),
)

# Tickets of one cause, close together in time.
storms = sa.Table(
    f"{PREFIX}storms",
    metadata,
    sa.Column("id", NUMBER, primary_key=True, autoincrement=True),
    sa.Column("signature", sa.String(32), nullable=False),
    sa.Column("parent_system", sa.String(80), nullable=False),
    sa.Column("parent_ticket", sa.String(200), nullable=False),
    sa.Column("parent_snapshot", sa.String(80), nullable=False),
    sa.Column("first_at", sa.Float, nullable=False),
    sa.Column("last_at", sa.Float, nullable=False),
    sa.Index(f"{PREFIX}storm_by_signature", "signature", "last_at"),
)

members = sa.Table(
    f"{PREFIX}storm_members",
    metadata,
    sa.Column("system", sa.String(80), primary_key=True),
    sa.Column("ticket_id", sa.String(200), primary_key=True),
    sa.Column("storm", NUMBER, nullable=False, index=True),
    sa.Column("snapshot_id", sa.String(80), nullable=False),
    sa.Column("customer", sa.String(200)),
    # JSON lists of names.
    sa.Column("orders", sa.Text, nullable=False),
    sa.Column("channels", sa.Text, nullable=False),
    sa.Column("joined_at", sa.Float, nullable=False),
)

# What is told to receivers beside the tickets.
messages = sa.Table(
    f"{PREFIX}messages",
    metadata,
    sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("target", sa.String(80), nullable=False),
    # The event's id, the same for the same thing however often it is told.
    sa.Column("event", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("system", sa.String(80), nullable=False),
    sa.Column("ticket_id", sa.String(200), nullable=False),
    sa.Column("snapshot_id", sa.String(80), nullable=False),
    sa.Column("replaces", sa.String(80)),
    # Whether the receiver takes only so many a minute, as chats do.
    sa.Column("limited", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    # queued, waiting, sent, skipped, dead, dropped, disabled: the receiver wants nothing any more
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_at", sa.Float),
    sa.UniqueConstraint("target", "event"),
    sa.Index(f"{PREFIX}message_by_state", "state", "seq"),
)
