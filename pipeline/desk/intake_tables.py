"""What customers answered, in the service's database. Times are seconds since 1970 in UTC."""

from __future__ import annotations

import sqlalchemy as sa

from pipeline.service.tables import NUMBER, PREFIX, metadata

# Answers as they were given, never changed: a later row of a ticket goes over an earlier one, question by question.
replies = sa.Table(
    f"{PREFIX}intake_replies",
    metadata,
    sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
    # Over the answers and the reply before them: the same sent twice, at once even, is one row.
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("system", sa.String(80), nullable=False),
    sa.Column("ticket_id", sa.String(200), nullable=False),
    # Whose questions they answer.
    sa.Column("snapshot_id", sa.String(80), nullable=False),
    # JSON: question -> answer.
    sa.Column("answers", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    # When the ticket's note told of it.
    sa.Column("noted_at", sa.Float),
    sa.Index(f"{PREFIX}intake_by_ticket", "system", "ticket_id", "seq"),
    sa.Index(f"{PREFIX}intake_by_time", "at"),
)

# Pictures that came with them; the bytes lie in a folder, each ticket's by themselves.
pictures = sa.Table(
    f"{PREFIX}intake_pictures",
    metadata,
    sa.Column("system", sa.String(80), primary_key=True),
    sa.Column("ticket_id", sa.String(200), primary_key=True),
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("media_type", sa.String(40), nullable=False),
    sa.Column("size", NUMBER, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
