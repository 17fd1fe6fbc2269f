"""A span's attributes -> columns of SPANS, by the names of OpenTelemetry's semantic conventions, old and new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from parsers.traces.values import as_int, as_text, encode

# Attribute names of one column, newest first.
_METHOD = ("http.request.method", "http.method")
_HTTP_STATUS = ("http.response.status_code", "http.status_code")
_RPC_STATUS = ("rpc.response.status_code", "rpc.status_code", "rpc.grpc.status_code", "grpc.status_code")
_SERVER = ("server.address", "net.peer.name", "http.host", "peer.hostname", "destination.address", "net.sock.peer.name")
_PATH = ("url.path", "http.target")
_URL = ("url.full", "http.url", "url.original")
_ERROR = ("error.type",)
# Attribute name -> its column's place in a list of these groups, and its rank within the group.
_COLUMN_OF = {
    name: (place, rank)
    for place, names in enumerate((_METHOD, _HTTP_STATUS, _RPC_STATUS, _SERVER, _PATH, _URL, _ERROR))
    for rank, name in enumerate(names)
}

# https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
_GRPC = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


def first_of(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first value that is there under one of `names`."""
    for name in names:
        if (value := attributes.get(name)) not in (None, ""):
            return value
    return None


def derived(attributes: Mapping[str, Any], exception: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """The columns from `http.request.method` to `attributes`, from a span's attributes and its last exception event."""
    if not attributes and not exception:
        return _NOTHING
    values: list[Any] = [None] * 7
    ranks = [99] * 7
    for name, value in attributes.items():
        column = _COLUMN_OF.get(name)
        if column is not None and column[1] < ranks[column[0]] and value is not None and value != "":
            values[column[0]] = value
            ranks[column[0]] = column[1]
    method, status, rpc, server, path, url, error = values
    if isinstance(url, str) and (path is None or server is None):
        parts = _split(url)
        path = path if path is not None else parts[1]
        server = server if server is not None else parts[0]
    if isinstance(path, str):
        path = path.partition("?")[0]
    exception = exception or attributes
    return (
        as_text(method),
        _int32(status),
        _grpc_name(rpc),
        _host(server),
        as_text(path),
        as_text(error),
        as_text(exception.get("exception.type")),
        as_text(exception.get("exception.message")),
        as_text(exception.get("exception.stacktrace")),
        encode(attributes).decode() if attributes else None,
    )


_NOTHING = (None,) * 10


def _split(url: str) -> tuple[str | None, str | None]:
    """Host and path of a URL, null where it has none."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None, None
    return host or None, parts.path or None


def _host(value: Any) -> str | None:
    """A host name without its port; IPv6 addresses stay as they are."""
    if value is None:
        return None
    text = as_text(value)
    if text and text.count(":") == 1:
        text = text.partition(":")[0]
    return text or None


def _int32(value: Any) -> int | None:
    if value is None:
        return None
    number = as_int(value)
    return number if number is not None and -(2**31) <= number < 2**31 else None


def _grpc_name(value: Any) -> str | None:
    """Numbers of gRPC as their names, which newer conventions and the code tables use; other values as they are."""
    if value is None:
        return None
    number = as_int(value)
    return _GRPC[number] if number is not None and 0 <= number < len(_GRPC) else as_text(value)
