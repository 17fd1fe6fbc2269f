"""The `[service]` table of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86400)]
Count = Annotated[int, msgspec.Meta(ge=1)]

# Pauses before a job is tried again, in seconds: 21 hours in all, so that a night without the ticket system is survived.
RETRIES = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 10800.0, 21600.0, 36000.0)


class ServiceOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the hook runs.

    `listen` is host:port. `database` is an address as SQLAlchemy writes it (`postgresql+psycopg://...`); without one it is
    `service.sqlite` in the folder of the user's data. `workers` are processes that take snapshots, `jobs` how many each has
    under way. `public_url` is where people reach this service; with it and `secret` notes carry links that open the snapshot
    for `links_hold` seconds. `token` is asked of who reads /metrics or opens a snapshot without such a link. `max_body` is in
    bytes; `backlog` is how many deliveries may wait to be stored before senders are told to come later. `retries` are the
    pauses after each failure, in seconds; after the last one a job is a dead letter. `storm_window` is how long after its last
    ticket a storm takes another of the same cause, in seconds. `keep` is how long what is done stays in the database, in
    seconds.
    """

    listen: str = "127.0.0.1:8750"
    database: str | None = None
    workers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 1
    jobs: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    public_url: str | None = None
    secret: str | None = None
    token: str | None = None
    links_hold: Seconds = 30 * 86400.0
    max_body: Annotated[int, msgspec.Meta(ge=1024, le=64 << 20)] = 1 << 20
    backlog: Count = 2000
    retries: tuple[Seconds, ...] = RETRIES
    storm_window: Seconds = 1800.0
    keep: Seconds = 90 * 86400.0

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        address(self.listen)
        if self.public_url and not self.public_url.startswith(("http://", "https://")):
            raise ValueError(f"public_url {self.public_url!r} is no http or https address")
        if self.secret is not None and len(self.secret) < 16:
            raise ValueError("secret: 16 characters are the least that signs a link")

    def __repr__(self) -> str:
        return f"ServiceOptions(listen={self.listen!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("listen", self.listen)]

    @property
    def database_url(self) -> str:
        """The database's address."""
        return self.database or default_database()


def address(listen: str) -> tuple[str, int]:
    """Host and port. Raises `ValueError`.

    >>> address("127.0.0.1:8750"), address("[::1]:80"), address(":8750")
    (('127.0.0.1', 8750), ('::1', 80), ('0.0.0.0', 8750))
    """
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"listen {listen!r}: write host:port, such as 127.0.0.1:8750")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - an empty host says all of them


def default_database() -> str:
    """SQLite in the user's data folder."""
    import platformdirs  # only when no database is configured

    folder: Path = platformdirs.user_data_path("problem-snapshot", appauthor=False)
    return f"sqlite:///{folder / 'service.sqlite'}"
