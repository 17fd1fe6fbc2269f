"""What customers sent, as one more source of the ticket that it was asked for, and of no other."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import zipfile
from collections.abc import Iterable
from datetime import timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline.remote.gather import RECEIPT
from pipeline.remote.receipt import Receipt
from pipeline.sources.bundle.source import BundleSource
from pipeline.values import Ask, Fetched

if TYPE_CHECKING:
    from pipeline.desk.remote_options import RemoteOptions

_log = logging.getLogger(__name__)
_NAME = "customer-"
_ID = re.compile(r"c[0-9a-f]{16}")


def folder_of(options: RemoteOptions, system: str, ticket_id: str) -> Path:
    """Where a ticket's uploads are kept: a name that tells nothing, and that two tickets never share."""
    digest = hashlib.sha256(f"{system}\0{ticket_id}".encode()).hexdigest()
    return Path(options.uploads) / "kept" / digest[:32]


class CustomerSource(BundleSource):
    """A bundle that a customer's machine made. The ledger says so, with whose consent."""

    kind = "customer"
    holds = frozenset(("logs",))

    def __init__(self, path: Path, receipt: Receipt) -> None:
        super().__init__(f"{_NAME}{receipt.collection}", path, zone=timezone(timedelta(minutes=receipt.offset)))
        self._receipt = receipt

    def fetch(self, ask: Ask) -> Fetched:
        """As `BundleSource.fetch`; the row of the ledger tells what the customer's machine took and left."""
        fetched = super().fetch(ask)
        taken, consent = self._receipt.taken, self._receipt.consent
        outside, undated = sum(one.outside for one in taken), sum(one.undated for one in taken)
        left = len(self._receipt.left) + self._receipt.left_more
        masked = sum(self._receipt.masked.values()) + sum(self._receipt.masked_again.values())
        broken = sum(one.broke is not None or one.cut for one in taken)
        notes = [
            f"from the customer's machine, with consent of {consent.at}: {len(taken):,} files, {outside:,} records outside "
            f"of the time asked for and {undated:,} without a time left there, {masked:,} values masked",
            *([f"{left:,} files that were asked for were not taken"] if left else []),
            *([f"{broken:,} files were not taken in whole"] if broken else []),
        ]
        coverage = msgspec.structs.replace(fetched.coverage, notes=[*notes, *fetched.coverage.notes])
        return Fetched(fetched.table, coverage, fetched.complete)


def uploaded_sources(options: RemoteOptions, system: str, ticket_id: str) -> list[CustomerSource]:
    """What was uploaded for a ticket, by id. A bundle in its folder that is not its own is left out, and logged."""
    found = []
    for path in sorted(folder_of(options, system, ticket_id).glob("c*.zip")):
        receipt = _receipt(path)
        if receipt is None or (receipt.system, receipt.ticket, receipt.collection) != (system, ticket_id, path.stem):
            _log.error("%s is not an upload of %s ticket %s and is not read", path, system, ticket_id)
            continue
        found.append(CustomerSource(path, receipt))
    return found


def sources_named(options: RemoteOptions, names: Iterable[str]) -> list[CustomerSource]:
    """The uploads that a snapshot read, by their names in its ledger; those that are deleted are not among them."""
    found = []
    for name in sorted(set(names)):
        collection = name.removeprefix(_NAME)
        if not name.startswith(_NAME) or not _ID.fullmatch(collection):
            continue
        for path in (Path(options.uploads) / "kept").glob(f"*/{collection}.zip"):
            receipt = _receipt(path)
            if receipt is not None:
                found.append(CustomerSource(path, receipt))
    return found


def _receipt(path: Path) -> Receipt | None:
    unreadable = (OSError, KeyError, zipfile.BadZipFile, msgspec.MsgspecError, UnicodeDecodeError)
    with contextlib.suppress(*unreadable), zipfile.ZipFile(path) as archive:
        return msgspec.json.decode(archive.read(RECEIPT), type=Receipt)
    return None
