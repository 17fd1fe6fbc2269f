"""Bundles from customers' machines: who may send one, its bytes to the disk, looked through, kept, and the ticket queued.

Bytes go to `incoming/<collection>.part` in the folder of `[desk.remote]`, and the bundle to `kept/<ticket>/<collection>.zip` once it is
found to be what was asked for. Whatever moment the process ends at, the next one goes on from there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from pipeline.desk.collections import Collections
from pipeline.desk.uploaded import folder_of
from pipeline.remote.manifest import Manifest, key_name
from pipeline.remote.receipt import Consent, answers, repr_digest
from pipeline.service.again import queue_again
from pipeline.service.inspection import Inspected, Unfit, inspect, masked_again
from pipeline.service.links import UPLOAD, signer
from snapshots.model import Text

if TYPE_CHECKING:
    from pipeline.desk.remote_options import RemoteOptions
    from pipeline.service.ledger import Ledger
    from pipeline.service.options import ServiceOptions

_log = logging.getLogger(__name__)
# What says that there is no room: the disk, a quota, a bound on the size of files.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# So much of the disk is left to others.
_SPARE = 64 << 20
_INVALID = Text(en="this link is not valid", zh="此链接无效")
_EXPIRED = Text(en="this link is no longer valid; ask for a new one", zh="此链接已过期，请重新索取")
_WITHDRAWN = Text(en="this was withdrawn by the desk", zh="客服已撤回此次收集")
_DECLINED = Text(en="consent was refused; nothing is taken", zh="已拒绝同意，不接收任何数据")
_CONSENT = Text(en="consent comes first", zh="请先给出同意")
_DONE = Text(en="a bundle was sent by this link already; ask for a new one", zh="此链接已经上传过资料包，请重新索取")
NO_ROOM = Text(
    en="the desk has no room on its disk now; what was collected is not lost, send it later",
    zh="客服端磁盘空间不足；已收集的资料不会丢失，请稍后再上传",
)


class Closed(Exception):
    """What was asked for cannot be done: an HTTP status, and why in words."""

    def __init__(self, status: int, text: Text, reason: str) -> None:
        super().__init__(text.en)
        self.status = status
        self.text = text
        # For the counts.
        self.reason = reason


@dataclass(frozen=True)
class Place:
    """Where a collection stands: its row, its manifest, and how many bytes of the bundle are here."""

    row: Any
    manifest: Manifest
    offset: int


class Receiver:
    """Takes bundles. One thread looks through them, one after the other, so that two at once take the memory of one."""

    def __init__(
        self, collections: Collections, ledger: Ledger, options: RemoteOptions, service: ServiceOptions
    ) -> None:
        """`service` has the secret that the links are signed with."""
        self.collections = collections
        self.options = options
        self._ledger = ledger
        self._service = service
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="uploads")
        self._stopping = threading.Event()

    @property
    def signed_by(self) -> str:
        """The name of the key that manifests are signed with; empty without a secret."""
        return key_name(self._service.secret) if self._service.secret else ""

    @property
    def public_url(self) -> str:
        """Where customers reach the service."""
        return (self._service.public_url or "").rstrip("/")

    def start(self) -> None:
        """Goes on with what was here when the process ended. Raises `OSError` where the folder cannot be made."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        for row in self.collections.in_state("received"):
            if self._part(row.id).exists() or self._kept(row).exists():
                self.finish(row.id)

    def stop(self) -> None:
        """What is being looked through is begun anew by the next process."""
        self._stopping.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ---- who may

    def named(self, collection: str, key: str) -> Any:
        """The row that a link opens. Raises `Closed`."""
        import itsdangerous

        signing = signer(self._service, UPLOAD)
        try:
            # The end of its time is signed with it.
            told = signing.loads(key) if signing else None
        except itsdangerous.BadData:
            told = None
        if not isinstance(told, list) or len(told) != 2 or (collection and told[0] != collection):
            raise Closed(401, _INVALID, "invalid_link")
        row = self.collections.get(str(told[0]))
        if row is None:
            raise Closed(404, _INVALID, "unknown")
        if row.state == "withdrawn":
            raise Closed(410, _WITHDRAWN, "withdrawn")
        if self.collections.clock() >= min(float(told[1]), row.expires_at) and row.state not in {"received", "stored"}:
            raise Closed(410, _EXPIRED, "expired_link")
        return row

    def place(self, collection: str, key: str) -> Place:
        """Where a collection stands. Raises `Closed`."""
        row = self.named(collection, key)
        try:
            offset = self._part(row.id).stat().st_size
        except FileNotFoundError:
            offset = row.length or 0 if row.state in {"received", "stored"} else 0
        return Place(row, manifest_in(row), offset)

    def decide(self, collection: str, key: str, consent: Consent) -> Any:
        """Writes down the customer's decision; the row as it is then. Raises `Closed`."""
        row = self.named(collection, key)
        if not answers(consent, manifest_in(row)):
            text = Text(en="this decision is on another request", zh="该决定对应的不是本次收集请求")
            raise Closed(422, text, "other_text")
        if row.state in {"received", "stored"} and consent.decision == "given":
            return row
        if not self.collections.decide(row.id, consent):
            raise Closed(*_state_said(self.collections.get(row.id).state))
        if consent.decision == "refused":
            self._part(row.id).unlink(missing_ok=True)
        return self.collections.get(row.id)

    # ---- bytes

    def begin(self, place: Place, offset: int, length: int, digest: str) -> IO[bytes]:
        """The file that takes the bytes from `offset` on, for one sender at a time. Raises `Closed`."""
        row = place.row
        if row.state not in {"agreed", "rejected"}:
            raise Closed(*_state_said(row.state))
        if length > place.manifest.most_sent:
            most = place.manifest.most_sent
            text = Text(en=f"more than the {most:,} bytes that may be sent", zh=f"超过允许上传的 {most:,} 字节")
            raise Closed(413, text, "too_large")
        again = row.digest != digest or row.length != length or row.state == "rejected"
        if offset and (again or offset != place.offset):
            text = Text(
                en=f"there are {0 if again else place.offset:,} bytes of this bundle here; go on from there",
                zh=f"此处已有该资料包的 {0 if again else place.offset:,} 字节，请从该处继续",
            )
            raise Closed(409, text, "other_offset")
        with told_no_room(), contextlib.ExitStack() as stack:
            file = stack.enter_context(self._part(row.id).open("ab"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                busy = Text(en="it is being sent already; wait for that", zh="正在上传，请稍候")
                raise Closed(423, busy, "busy") from None
            if os.fstat(file.fileno()).st_size < offset:
                raise Closed(409, Text(en="begin anew", zh="请重新开始上传"), "other_offset")
            if shutil.disk_usage(self._incoming).free < length - offset + _SPARE:
                raise OSError(errno.ENOSPC, "no room")
            if not offset and not self.collections.announce(row.id, digest, length):
                raise Closed(*_state_said(self.collections.get(row.id).state))
            file.truncate(offset)
            stack.pop_all()
            return file

    @staticmethod
    def end(file: IO[bytes]) -> None:
        """What was written is on the disk when this returns. Raises `Closed` where there is no room for it."""
        with told_no_room(), file:
            file.flush()
            os.fsync(file.fileno())

    def drop(self, collection: str) -> None:
        """Deletes what came so far, since there is no room for the rest of it."""
        self._part(collection).unlink(missing_ok=True)

    def finish(self, collection: str) -> Future[None]:
        """All bytes are here: they are looked through in turn. The future ends when that is done, whatever came of it."""
        self.collections.receive(collection)
        return self._pool.submit(self._finish, collection)

    def _finish(self, collection: str) -> None:
        row = self.collections.get(collection)
        if row is None or row.state != "received":
            return
        try:
            self._look_through(row)
        except BlockingIOError:
            # Another process is at it.
            return
        except Unfit as error:
            _log.warning("upload %s of %s ticket %s: rejected: %s", row.id, row.system, row.ticket_id, error)
            self._part(row.id).unlink(missing_ok=True)
            self.collections.reject(row.id, f"{error.text.en} / {error.text.zh}")
        except OSError as error:
            # The bytes stay, and the next start of the service, or the keeper, looks through them again.
            _log.error("upload %s cannot be looked through now: %s", row.id, error)
        except Exception:  # noqa: BLE001 - one bundle never stops the others, nor is it tried for ever
            _log.error("upload %s cannot be looked through", row.id, exc_info=True)
            self._part(row.id).unlink(missing_ok=True)
            self.collections.reject(row.id, "it cannot be looked through here / 无法检查该资料包")

    def _look_through(self, row: Any) -> None:
        """Checks a bundle and keeps it. Raises `Unfit` or `OSError`, of which `BlockingIOError` where another process does it."""
        part, kept = self._part(row.id), self._kept(row)
        place = part if part.exists() else kept
        if not place.exists():
            raise Unfit("its bytes are gone; send it again", "数据已丢失，请重新上传")
        with place.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.collections.get(row.id).state != "received":
                # Another process ended it between the two.
                return
            if place is part and repr_digest(file) != row.digest:
                raise Unfit("what arrived is not what was sent; send it again", "到达的数据与发送的不一致，请重新上传")
            manifest = manifest_in(row)
            found = inspect(place, manifest, consent_in(row, manifest), self._stopping.is_set)
            if place is part:
                self._put_away(part, kept, found, manifest)
            # Before it is written down as done: the same reason queues once, however often this is begun.
            queue_again(self._ledger, row.system, row.ticket_id, f"upload:{row.id}")
            self.collections.store(row.id, found.receipt.masked, found.masked or found.receipt.masked_again)

    @staticmethod
    def _put_away(part: Path, kept: Path, found: Inspected, manifest: Manifest) -> None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        if found.changed:
            clean = part.with_suffix(".clean")
            masked_again(part, clean, found, manifest)
            clean.replace(kept)
            part.unlink()
        else:
            part.replace(kept)

    # ---- time passes

    def prune(self, now: float, remembered: float = 0.0) -> int:
        """Deletes bundles whose time is over, and what was begun and not ended; how many. Looks again through what waits.

        What was asked and agreed to is forgotten `remembered` seconds after that: consent can be shown longer than there is data.
        """
        pruned = 0
        for row in self.collections.in_state("stored"):
            if (row.ended_at or 0.0) < now - self.options.keep:
                self._kept(row).unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    self._kept(row).parent.rmdir()
                pruned += self.collections.prune(row.id)
        for row in self.collections.in_state("asked", "agreed", "rejected", "refused", "withdrawn"):
            if row.expires_at < now:
                self._part(row.id).unlink(missing_ok=True)
        self.collections.forget(now - self.options.keep - remembered)
        self.start()
        return pruned

    @property
    def _incoming(self) -> Path:
        return Path(self.options.uploads) / "incoming"

    def _part(self, collection: str) -> Path:
        return self._incoming / f"{collection}.part"

    def _kept(self, row: Any) -> Path:
        return folder_of(self.options, row.system, row.ticket_id) / f"{row.id}.zip"


@contextlib.contextmanager
def told_no_room() -> Iterator[None]:
    """Turns a full disk into `Closed`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _log.error("no room for an upload: %s", error)
        raise Closed(507, NO_ROOM, "no_room") from error


def consent_in(row: Any, manifest: Manifest) -> Consent:
    """The consent that was recorded."""
    return Consent(
        decision="given",
        who=row.who,
        at=row.decided_at,
        language=row.language,
        text_sha256=row.text_sha256,
        asked_sha256=manifest.digest,
    )


def manifest_in(row: Any) -> Manifest:
    """The manifest as it was handed out."""
    return msgspec.convert(msgspec.json.decode(row.manifest)["manifest"], Manifest)


def _state_said(state: str) -> tuple[int, Text, str]:
    return {
        "asked": (409, _CONSENT, "no_consent"),
        "refused": (403, _DECLINED, "refused_consent"),
        "withdrawn": (410, _WITHDRAWN, "withdrawn"),
    }.get(state, (409, _DONE, "used"))
