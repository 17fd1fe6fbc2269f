"""The tables of knowledge tasks, beside those of the service. Times are seconds since 1970 in UTC."""

from __future__ import annotations

import sqlalchemy as sa

from pipeline.service.tables import PREFIX

# Their own collection: the desk makes them where it is used, whether or not a service runs.
metadata = sa.MetaData()

tasks = sa.Table(
    f"{PREFIX}knowledge_tasks",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("system", sa.String(80), nullable=False),
    sa.Column("ticket_id", sa.String(200), nullable=False),
    sa.Column("snapshot_id", sa.String(80), nullable=False),
    sa.Column("assignee", sa.String(200), nullable=False),
    sa.Column("opened_at", sa.Float, nullable=False),
    sa.Column("due_at", sa.Float, nullable=False),
    # open, submitted, accepted, dropped
    sa.Column("state", sa.String(10), nullable=False),
    # The entry as Markdown: pre-filled, then as it was handed in.
    sa.Column("text", sa.Text, nullable=False),
    # When it was first handed in: that decides whether it was in time.
    sa.Column("submitted_at", sa.Float),
    sa.Column("decided_at", sa.Float),
    sa.Column("decided_by", sa.String(200)),
    sa.Column("reason", sa.Text),
    sa.Column("entry_id", sa.String(120)),
    sa.Column("reopened_at", sa.Float),
    sa.UniqueConstraint("system", "ticket_id"),
    sa.Index(f"{PREFIX}knowledge_by_state", "state", "due_at"),
)

# Written when the task is opened: a restart forgets none.
reminders = sa.Table(
    f"{PREFIX}knowledge_reminders",
    metadata,
    sa.Column("task", sa.String(40), primary_key=True),
    # half, soon, overdue
    sa.Column("step", sa.String(10), primary_key=True),
    sa.Column("due_at", sa.Float, nullable=False, index=True),
    # Who sends it has so long; after that another may.
    sa.Column("claimed_until", sa.Float, nullable=False, default=0.0),
    sa.Column("sent_at", sa.Float),
    sa.Column("skipped", sa.Boolean, nullable=False, default=False),
)

points = sa.Table(
    f"{PREFIX}knowledge_points",
    metadata,
    sa.Column("task", sa.String(40), primary_key=True),
    # in_time, late, accepted, proven: each is given once a task
    sa.Column("reason", sa.String(20), primary_key=True),
    sa.Column("person", sa.String(200), nullable=False),
    sa.Column("points", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
