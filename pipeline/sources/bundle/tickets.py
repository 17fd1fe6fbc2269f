"""Which tickets a bundle, or a folder of bundles, holds."""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from pipeline.errors import SourceBroken, SourceUnavailable, TicketNotFound, UsageError
from pipeline.sources.bundle.archive import Archive, open_archive
from pipeline.sources.bundle.layout import FOLDERS, ORDERS, TICKET
from pipeline.sources.bundle.words import LISTED, counted, listed

_TICKET_BYTES = 16 << 20
_SEARCHED_TICKETS = 10_000


def read_ticket(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The `ticket.json` of the bundle at `path`, as it is.

    Raises `TicketNotFound` where the bundle has none, `UsageError` where it is no JSON object.
    """
    with open_archive(Path(path)) as archive:
        if TICKET not in archive.names:
            raise TicketNotFound(f"the bundle {path} has no {TICKET}")
        return ticket_of(archive)


def ticket_of(archive: Archive) -> dict[str, Any]:
    """The ticket of an open bundle; empty where it has none. Raises `UsageError` where it is no JSON object."""
    if TICKET not in archive.names:
        return {}
    data = archive.read(TICKET, _TICKET_BYTES).data.removeprefix(b"\xef\xbb\xbf")
    try:
        ticket = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{TICKET} is not JSON ({error}): correct the file") from error
    if not isinstance(ticket, dict):
        raise UsageError(f"{TICKET} holds a JSON {type(ticket).__name__}: it must be an object")
    return ticket


def is_bundle(path: Path) -> bool:
    """Whether `path` looks like a bundle: a zip, or a folder with at least one of a bundle's parts."""
    if path.is_dir():
        return any((path / part).exists() for part in (TICKET, *ORDERS, *FOLDERS.values()))
    return path.suffix.lower() == ".zip" and path.is_file()


def ticket_ids(folder: str | os.PathLike[str]) -> list[str]:
    """The ids of the tickets in a bundle, or in a folder of bundles; sorted. Raises as `find_bundle`."""
    path = _existing(folder)
    return sorted(_bundles(path))


def find_bundle(path: str | os.PathLike[str], ticket_id: str | None = None) -> Path:
    """The bundle of a ticket: `path` itself, or the one in the folder `path` that is named so or holds that ticket.

    Without `ticket_id` the path must be one bundle. Raises `TicketNotFound`, which lists near matches, and `UsageError`
    where `path` does not exist or is no bundle.
    """
    root = _existing(path)
    if ticket_id is None:
        if not is_bundle(root):
            raise UsageError(f"{root} is no bundle: name a ticket in it, one of {listed(sorted(_bundles(root)))}")
        return root
    if not is_bundle(root):
        for name in (ticket_id, f"{ticket_id}.zip"):
            # An id is a name here, never a way out of the folder.
            if name == PurePosixPath(name).name and is_bundle(root / name) and _id_of(root / name) == ticket_id:
                return root / name
    known = _bundles(root)
    if ticket_id in known:
        return known[ticket_id]
    near = difflib.get_close_matches(ticket_id, known, n=LISTED, cutoff=0.5)
    if near:
        hint = f"did you mean {', '.join(near)}?"
    elif known:
        hint = f"it has {counted(len(known), 'ticket')}: {listed(sorted(known))}"
    else:
        hint = f"there is no {TICKET} in it"
    raise TicketNotFound(f"no ticket {ticket_id!r} in {root}: {hint}")


def _existing(path: str | os.PathLike[str]) -> Path:
    root = Path(path)
    if not root.exists():
        raise UsageError(f"there is no bundle at {root}: check the path")
    return root


def _bundles(path: Path) -> dict[str, Path]:
    """Ticket ids and where their bundles are; of bundles that repeat an id the first in order of names."""
    if path.is_file() and not is_bundle(path):
        return {}
    some = [path] if is_bundle(path) else sorted(islice((p for p in path.iterdir() if is_bundle(p)), _SEARCHED_TICKETS))
    known: dict[str, Path] = {}
    for bundle in some:
        ticket_id = _id_of(bundle)
        if ticket_id is not None:
            known.setdefault(ticket_id, bundle)
    return known


def _id_of(path: Path) -> str | None:
    """The id of a bundle's ticket, or None where it has no readable ticket."""
    with suppress(UsageError, TicketNotFound, SourceBroken, SourceUnavailable):
        ticket_id = read_ticket(path).get("id")
        return str(ticket_id) if ticket_id is not None else None
    return None
