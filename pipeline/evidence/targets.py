"""Targets: whether what a line or a span could not reach is one of our own services.

"Connection refused" by the channel and by our own payment service are two faults with two owners. A host is ours where it
bears the name of a service that writes logs or spans here, lies in a private network (RFC 1918, RFC 4193) or on this
machine, or has a name that only a cluster or an intranet resolves.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import re2

from pipeline.evidence.case import Case

# Inside a URL, before a port, or after a word that says where to. The first group that matched is the host.
_HOST = re2.compile(
    r"(?i)\b[a-z][a-z0-9+.-]*://(?:[^/@\s\"']*@)?([a-z0-9_.-]+)|\b([a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)*|\d{1,3}(?:\.\d{1,3}){3}):\d{2,5}\b"
    r"|\b(?:connect(?:ing|ion)? to|calling|call to|reach(?:ing)?|resolve|host|upstream)[ =:\"']+([a-z][a-z0-9_.-]{2,})"
)
_INSIDE = (".svc", ".local", ".internal", ".intranet", ".lan", ".consul", ".localdomain")
_HERE = frozenset({"localhost", "ip6-localhost"})


def own_services(case: Case) -> frozenset[str]:
    """The names of all services that wrote a line or a span, in lower case."""
    names: set[str] = set()
    for table in (case.material.logs, case.material.spans):
        names.update(name.casefold() for name in _distinct(table) if name)
    return frozenset(names)


def _distinct(table: pa.Table) -> Iterable[str | None]:
    found: list[str | None] = pc.unique(table.column("service.name")).to_pylist()
    return found


def names_ours(text: str, services: frozenset[str]) -> bool:
    """Whether every host that `text` names is ours; False where it names none.

    >>> names_ours('POST "http://paydesk:9216/api": Connection refused', frozenset({"paydesk"}))
    True
    """
    hosts = ["".join(groups) for groups in _HOST.findall(text[:4000])]
    return bool(hosts) and all(is_ours(host, services) for host in hosts)


def is_ours(host: str, services: frozenset[str]) -> bool:
    """Whether `host` is one of `services` or lies inside."""
    name = host.casefold().rstrip(".")
    if name in _HERE or name.endswith(_INSIDE) or ".svc." in name:
        return True
    if name in services:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_private or address.is_loopback
