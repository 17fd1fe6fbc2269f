"""The table of what was asked of customers' machines, in the service's database. Times are seconds since 1970 in UTC."""

from __future__ import annotations

import sqlalchemy as sa

from pipeline.service.tables import PREFIX, metadata

collections = sa.Table(
    f"{PREFIX}desk_collections",
    metadata,
    sa.Column("id", sa.String(20), primary_key=True),
    sa.Column("system", sa.String(80), nullable=False),
    sa.Column("ticket_id", sa.String(200), nullable=False),
    sa.Column("issued_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    # The signed manifest as JSON, as it was handed out.
    sa.Column("manifest", sa.Text, nullable=False),
    # asked, refused (by the customer), agreed, received, rejected (by the desk), stored, withdrawn, pruned
    sa.Column("state", sa.String(10), nullable=False),
    # The customer's decision: who, when by his clock, in which language, and the sha256 of the text that was shown.
    sa.Column("who", sa.String(200)),
    sa.Column("decided_at", sa.String(40)),
    sa.Column("language", sa.String(2)),
    sa.Column("text_sha256", sa.String(64)),
    # The bundle as it was announced, as `Repr-Digest` writes it, and its length.
    sa.Column("digest", sa.String(80)),
    sa.Column("length", sa.BigInteger),
    # What came of it: when, JSON of what was masked by the customer and once more by us, and why it was rejected.
    sa.Column("ended_at", sa.Float),
    sa.Column("masked", sa.Text),
    sa.Column("masked_again", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Index(f"{PREFIX}desk_collection_by_ticket", "system", "ticket_id", "issued_at"),
)
