"""The bundle of a collection: files read stretch by stretch, cut, redacted, hashed and written, never held as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from parsers.excerpts import Cutting, cut
from parsers.redaction.redactor import Redactor
from parsers.redaction.settings import RedactionSettings
from pipeline.errors import UsageError
from pipeline.remote.files import Chosen, Left
from pipeline.remote.manifest import Manifest
from pipeline.remote.receipt import LISTED, Consent, File, LeftOut, Receipt, Taken, sealed
from pipeline.remote.stretches import Damaged, stretches

TICKET, RECEIPT, LOGS = "ticket.json", "manifest.json", "logs/"


def redactor_of(manifest: Manifest) -> Redactor:
    """What masks, on the customer's machine and once more at the desk."""
    try:
        return Redactor(RedactionSettings(ip=manifest.redact_ip, patterns=manifest.redact), allow=manifest.keep)
    except ValueError as error:
        raise UsageError(f"the manifest cannot be followed: {error}; ask the desk for another one") from error


def offset_at(moment: datetime) -> timedelta:
    """How far this machine's clock is from UTC at a moment."""
    return moment.astimezone().utcoffset() or timedelta()


@dataclass
class Bundle:
    """A zip that is written: what is in it so far, and how many bytes of text may still follow."""

    archive: zipfile.ZipFile
    room: int = 0
    files: dict[str, File] = field(default_factory=dict)

    @contextlib.contextmanager
    def member(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """One file of it: what is given is written and hashed."""
        # Neither time nor owner: the same records are the same bytes.
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (stat.S_IFREG | 0o644) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        digest, size = hashlib.sha256(), 0
        with self.archive.open(info, "w", force_zip64=True) as file:

            def write(data: bytes) -> None:
                nonlocal size
                file.write(data)
                digest.update(data)
                size += len(data)

            yield write
        self.files[name] = File(bytes=size, sha256=digest.hexdigest())


def gather(
    manifest: Manifest,
    chosen: Sequence[Chosen],
    left: Sequence[Left],
    consent: Consent,
    out: Path,
    *,
    offset: timedelta | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Receipt:
    """Reads `chosen` and writes the bundle to `out`, whole or not at all; what was taken and what was not.

    Plain files' times without a zone are `offset` east of UTC, this machine's without one. Raises `UsageError` where `out` is
    there already or cannot be written.
    """
    start, end = manifest.span
    east = offset_at(start) if offset is None else offset
    redactor = redactor_of(manifest)
    cutting = Cutting(start, end, timezone(east), redactor)
    with _placed(out) as file, zipfile.ZipFile(file, "w") as archive:
        bundle = Bundle(archive, manifest.max_bytes)
        with bundle.member(TICKET) as write:
            write(pretty(ticket_of(manifest)))
        taken = []
        for number, one in enumerate(chosen):
            progress(f"reading {one.path}")
            taken.append(_take(one, number + 1, bundle, cutting))
        receipt = sealed(
            Receipt(
                collection=manifest.id,
                asked_sha256=manifest.digest,
                system=manifest.system,
                ticket=manifest.ticket,
                start=manifest.start,
                end=manifest.end,
                offset=round(east.total_seconds() / 60),
                consent=consent,
                files=dict(bundle.files),
                taken=tuple(taken),
                left=tuple(LeftOut(path=redactor.redact(one.path), why=one.why) for one in left[:LISTED]),
                left_more=max(0, len(left) - LISTED),
                masked=dict(sorted(redactor.counts.items())),
            ),
            manifest.key,
        )
        with bundle.member(RECEIPT) as write:
            write(pretty(msgspec.to_builtins(receipt)))
    return receipt


def _take(one: Chosen, number: int, bundle: Bundle, cutting: Cutting) -> Taken:
    shown = cutting.redactor.redact(str(one.path))
    name = f"{LOGS}{number:04d}-{_plain(PurePosixPath(shown).name)}.ndjson"
    if bundle.room <= 0:
        return Taken(path=shown, file=None, kept=0, outside=0, undated=0, cut=True)
    kept = outside = undated = 0
    broke, full = None, False
    last: datetime | None = None
    with bundle.member(name) as write:
        for part in stretches(one.path, one.shape):
            if isinstance(part, Damaged):
                broke = f"cannot be read after {part.after:,} bytes: {part.reason}"
                break
            excerpt = cut(part[1], one.shape, shown, part[0], cutting, last)
            last, outside, undated = excerpt.last, outside + excerpt.outside, undated + excerpt.undated
            for line in excerpt.lines:
                if len(line) + 1 > bundle.room:
                    full = True
                    break
                write(line + b"\n")
                bundle.room -= len(line) + 1
                kept += 1
            if full:
                break
    return Taken(path=shown, file=name, kept=kept, outside=outside, undated=undated, broke=broke, cut=full)


def ticket_of(manifest: Manifest) -> dict[str, str]:
    """The bundle's `ticket.json`: what the desk said of its ticket, and nothing of this machine."""
    return {
        "id": manifest.ticket,
        "system": manifest.system,
        "title": manifest.title or f"{manifest.system} {manifest.ticket}",
        "created_at": manifest.created_at,
        "language": manifest.language,
    }


def _plain(name: str) -> str:
    """A name that every system and archive takes.

    >>> _plain("支付 app.log.1.gz")
    '__-app.log.1.gz'
    """
    made = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" if c == " " else "_" for c in name)
    return made.lstrip(".")[-80:] or "log"


def pretty(value: object) -> bytes:
    """A value as JSON for people."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


@contextlib.contextmanager
def _placed(out: Path) -> Iterator[IO[bytes]]:
    """A file that is at `out` once it is whole."""
    if out.exists():
        raise UsageError(f"{out} exists already: choose another name with --out, or send it with --send {out}")
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
