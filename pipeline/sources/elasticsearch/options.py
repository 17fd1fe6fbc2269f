"""How to reach a cluster, and what to read there."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import msgspec

from parsers.mapping import PRESETS, FieldMapping, with_overrides

# Elasticsearch gives no larger page unless `index.max_result_window` was raised.
LARGEST_PAGE = 10_000

Positive = Annotated[float, msgspec.Meta(gt=0)]


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How a cluster is signed in to and spoken with. Secrets arrive resolved and are never shown.

    `api_key`, or `username` and `password`; the certificates are paths of PEM files. `timeout` is one request's, in seconds,
    and `retries` how often it is tried again.
    """

    api_key: str | None = None
    username: str | None = None
    password: str | None = None
    ca_certs: str | None = None
    verify_certs: bool = True
    ssl_assert_fingerprint: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    compress: bool = False
    timeout: Positive = 10.0
    retries: Annotated[int, msgspec.Meta(ge=0, le=20)] = 4


class Options(Access, frozen=True, kw_only=True, tag="elasticsearch", tag_field="kind", forbid_unknown_fields=True):
    """Where a cluster is and what to read there.

    `logs` and `traces` are index names, aliases, data streams or patterns; either may be empty. `overrides` maps a
    column of the logs table to the document paths that hold it, tried before the preset's. `time_field` is the date
    field that the window bounds; without it the first of the mapping's that is a date. `order_fields`, `trace_fields`
    and `customer_fields` are searched for identifiers before the usual ones. `zone` is the IANA zone of times without one.
    `readers` pages of one question are read at once; `connections` bounds the requests under way of all questions of this
    process together. With `esql` "auto" rows come through ES|QL where the cluster has it (see `esql.py`).
    """

    url: str | tuple[str, ...]
    logs: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    mapping: Literal["auto", "ecs", "otel", "logstash"] = "auto"
    overrides: dict[str, tuple[str, ...]] = {}
    time_field: str | None = None
    order_fields: tuple[str, ...] = ()
    trace_fields: tuple[str, ...] = ()
    customer_fields: tuple[str, ...] = ()
    page_size: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE
    max_lines: Annotated[int, msgspec.Meta(ge=1)] = 1_000_000
    readers: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2
    connections: Annotated[int, msgspec.Meta(ge=1, le=100)] = 8
    zone: str | None = None
    esql: Literal["off", "auto"] = "off"

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        if not self.logs and not self.traces:
            raise ValueError('name what to read: logs = ["logs-*"], traces = ["traces-*"], or both')
        if self.api_key and (self.username or self.password):
            raise ValueError("give api_key or username and password, not both")
        if bool(self.username) != bool(self.password):
            raise ValueError("username and password go together")
        for url in self.urls:
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError(f"url must look like https://host:9200, not {without_login(url)!r}")
        self.field_mapping()
        if self.zone is not None:
            try:
                ZoneInfo(self.zone)
            except (KeyError, ValueError, OSError):
                raise ValueError(f"zone {self.zone!r} is not an IANA time zone such as Asia/Shanghai") from None

    def __repr__(self) -> str:
        """Says where and what, never with which credentials."""
        login = "api_key" if self.api_key else "basic" if self.username else "none"
        return f"Options(url={self.places!r}, login={login}, logs={self.logs!r}, traces={self.traces!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `__repr__`: what rich prints in place of it shall tell no more."""
        return [("url", self.places), ("logs", self.logs), ("traces", self.traces)]

    def field_mapping(self) -> FieldMapping:
        """The preset with `overrides`, `time_field` and the id fields before it. Raises `ValueError`."""
        first = {
            "@timestamp": (self.time_field,) if self.time_field else (),
            "labels.order_id": self.order_fields,
            "trace.id": self.trace_fields,
            "user.id": self.customer_fields,
        }
        chosen = with_overrides(PRESETS[self.mapping], {column: paths for column, paths in first.items() if paths})
        return with_overrides(chosen, self.overrides)

    @property
    def urls(self) -> tuple[str, ...]:
        """Every configured address, as written."""
        return (self.url,) if isinstance(self.url, str) else self.url

    @property
    def places(self) -> str:
        """The addresses without login, for people."""
        return ", ".join(without_login(url) for url in self.urls)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be seen in a message."""
        logins = (part for url in self.urls for part in (urlsplit(url).password,))
        return tuple(s for s in (self.api_key, self.password, *logins) if s)


def without_login(url: str) -> str:
    """`url` as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def with_port(url: str) -> str:
    """`url` with the port that its scheme stands for, which the client wants to see."""
    parts = urlsplit(url)
    if parts.port:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"))


def login_of(options: Options) -> tuple[str, str] | None:
    """User and password, from the options or from an address; None without."""
    if options.username and options.password:
        return options.username, options.password
    for url in options.urls:
        parts = urlsplit(url)
        if parts.username and parts.password:
            return unquote(parts.username), unquote(parts.password)
    return None
