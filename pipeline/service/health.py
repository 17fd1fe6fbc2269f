"""What `problem-snapshot doctor` finds out of the hook: whether each ticket system answers, and whether the database does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.doctor import DEADLINE_SECONDS, Health, State, examined
from pipeline.errors import Refused, SnapshotError, UsageError
from pipeline.secrets import without_login
from pipeline.tickets.system import NotPolled, SystemUnavailable

if TYPE_CHECKING:
    from pipeline.service.options import ServiceOptions
    from pipeline.tickets import TicketOptions
    from pipeline.tickets.system import TicketSystem

_ADVICE = {
    "refused": "check the token or password of tickets.{name}, and what that account may read",
    "unreachable": "check the address in tickets.{name}, and whether this machine may reach it (VPN, firewall, proxy)",
    "failed": "check tickets.{name}; docs/tickets has a page for its kind",
}


def examine_tickets(
    options: Mapping[str, TicketOptions | UsageError], deadline: float = DEADLINE_SECONDS
) -> list[Health]:
    """Asks each ticket system for what changed last, all at once, and waits `deadline` seconds for them."""
    from pipeline.tickets import open_system

    systems: dict[str, TicketSystem | SnapshotError] = {}
    for name, one in options.items():
        try:
            systems[name] = one if isinstance(one, UsageError) else open_system(name, one)
        except SnapshotError as error:
            systems[name] = error
    slow = SystemUnavailable(f"no answer within {deadline:g} s")
    return examined(systems, lambda name, system: _asked(name, system, options[name]), _unwell, slow, deadline)


def _asked(name: str, system: TicketSystem, options: TicketOptions | UsageError) -> Health:
    told = tuple(_told(options))
    try:
        system.changed(None, 1)
    except NotPolled as error:
        return Health(name, system.kind, "ok", (*told, f"not tried: {error}"))
    except SnapshotError as error:
        return _unwell(name, system.kind, error)
    return Health(name, system.kind, "ok", ("answers", *told))


def _told(options: TicketOptions | UsageError) -> Iterator[str]:
    """What holds of its deliveries."""
    if isinstance(options, UsageError):
        return
    if options.insecure:
        yield "deliveries are taken without a signature (insecure = true)"
    elif not options.secrets:
        yield "no secrets: each delivery is refused"
    if not options.user:
        yield "no user: our own notes are known by their marker only"


def _unwell(name: str, kind: str, error: SnapshotError) -> Health:
    if isinstance(error, UsageError):
        return Health(name, kind, "failed", (str(error),))
    state: State = "failed"
    if isinstance(error, Refused):
        state = "refused"
    elif isinstance(error, SystemUnavailable):
        state = "unreachable"
    return Health(name, kind, state, (str(error),), _ADVICE[state].format(name=name))


def examine_service(options: ServiceOptions) -> Health:
    """Opens the service's database, which is made where it is SQLite and not there yet."""
    from pipeline.service.database import opened, prepare

    url = options.database_url
    try:
        engine = opened(url)
        try:
            prepare(engine, url)
        finally:
            engine.dispose()
    except SnapshotError as error:
        return Health("service", "database", "failed", (str(error),), "check service.database")
    links = "notes link to the snapshot's page" if options.public_url and options.secret else "notes carry no link"
    return Health("service", "database", "ok", (without_login(url), links))
