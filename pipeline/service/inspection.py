"""A bundle that came from a customer's machine, looked through before it is kept. It is never unpacked to the disk.

It must hold what its sealed list names, file by file and byte by byte, and nothing beside. Memory stays flat whatever it holds:
its directory is bounded before it is read, and files pass by piece by piece.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa

from parsers.redaction.redactor import Redactor
from pipeline.remote.gather import LOGS, RECEIPT, TICKET, Bundle, pretty, redactor_of, ticket_of
from pipeline.remote.manifest import Manifest
from pipeline.remote.receipt import Consent, File, Receipt, answers, is_sealed, sealed
from snapshots.model import Text

_NAME = re.compile(rf"(?:{re.escape(TICKET)}|{re.escape(RECEIPT)}|{LOGS}[A-Za-z0-9_.-]{{1,120}}\.ndjson)")
_RECEIPT_BYTES = 16 << 20
_TICKET_BYTES = 1 << 20
# Of one entry in a zip's directory: its name and what belongs to it.
_ENTRY_BYTES = 1024
_PIECE = 1 << 20
# A line that is longer is none that the collector writes.
_LINE = 64 << 20
# PKWARE's APPNOTE 4.3.14 to 4.3.16: the ends of a zip's directory, and where in them its size stands.
_END, _END64_PLACE, _END64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"


class Unfit(Exception):
    """The bundle is not what was asked for; `text` says why."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.text = Text(en=en, zh=zh)


@dataclass(frozen=True)
class Inspected:
    """A bundle that may be kept: its list, and what had to be masked once more, in which files."""

    receipt: Receipt
    masked: dict[str, int] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()


def inspect(
    path: Path, manifest: Manifest, consent: Consent, stopping: Callable[[], bool] = lambda: False
) -> Inspected:
    """The bundle at `path` as the answer to `manifest`, to which `consent` was given.

    Raises `Unfit` or `OSError`; `InterruptedError` once `stopping` says so.
    """
    try:
        _check_directory(path, manifest)
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive, manifest)
            receipt = _receipt(archive, manifest, consent)
            redactor, changed = redactor_of(manifest), set()
            clean = _paths_masked(receipt, redactor)
            if clean != receipt:
                receipt = clean
                changed.add(RECEIPT)
            for name, file in receipt.files.items():
                if _passed(archive, name, file, redactor, stopping):
                    changed.add(name)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, struct.error) as error:
        raise Unfit(f"it is no whole zip ({error})", "不是完整的 zip 文件") from error
    return Inspected(receipt, dict(sorted(redactor.counts.items())), frozenset(changed))


def masked_again(path: Path, out: Path, found: Inspected, manifest: Manifest) -> None:
    """Writes the bundle to `out` with its files redacted once more. Raises `OSError`."""
    redactor = redactor_of(manifest)
    with zipfile.ZipFile(path) as archive, out.open("wb") as file:
        with zipfile.ZipFile(file, "w") as made:
            bundle = Bundle(made)
            for name in found.receipt.files:
                with bundle.member(name) as write, archive.open(name) as member:
                    for lines in _lines(member):
                        texts = redactor.redact_json_lines(lines) if name.startswith(LOGS) else lines
                        write("\n".join([*texts.to_pylist(), ""]).encode())
            receipt = msgspec.structs.replace(found.receipt, files=bundle.files, masked_again=found.masked)
            with bundle.member(RECEIPT) as write:
                write(pretty(msgspec.to_builtins(sealed(receipt, manifest.key))))
        file.flush()
        os.fsync(file.fileno())


def _check_directory(path: Path, manifest: Manifest) -> None:
    """Refuses a zip whose directory is larger than that of what was asked for: reading it would take its size in memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 42))
        tail = file.read(42)
        end = tail[-22:]
        if len(end) < 22 or not end.startswith(_END):
            raise Unfit("it is no whole zip", "不是完整的 zip 文件")
        listed, place = struct.unpack("<LL", end[12:20])
        if tail[:4] == _END64_PLACE:
            file.seek(struct.unpack("<Q", tail[8:16])[0])
            far = file.read(56)
            if not far.startswith(_END64) or len(far) < 56:
                raise Unfit("it is no whole zip", "不是完整的 zip 文件")
            listed, place = struct.unpack("<QQ", far[40:56])
    if listed > (manifest.max_files + 2) * _ENTRY_BYTES or place > size:
        raise Unfit("it lists more files than were asked for", "包含的文件数超过所要求的数量")


def _check_entries(archive: zipfile.ZipFile, manifest: Manifest) -> None:
    """Refuses names that lead elsewhere, links and devices, what is encrypted, and what unpacks to more than was asked for."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    odd = next((name for name in names if not _NAME.fullmatch(name) or ".." in name), None)
    if odd is not None:
        raise Unfit(f"it holds {odd[:100]!r}, which is no part of a bundle", f"包含不属于资料包的文件 {odd[:100]!r}")
    if len(set(names)) < len(names):
        raise Unfit("it holds two files of one name", "包含重名文件")
    for entry in entries:
        # Some writers name no kind of file at all.
        if stat.S_IFMT(entry.external_attr >> 16) not in {0, stat.S_IFREG}:
            raise Unfit(f"{entry.filename} is no ordinary file", f"{entry.filename} 不是普通文件")
        if entry.flag_bits & 1:
            raise Unfit(f"{entry.filename} is encrypted", f"{entry.filename} 已加密")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise Unfit(
                f"{entry.filename} is packed in a way that is not used here", f"{entry.filename} 的压缩方式不受支持"
            )
    if sum(entry.file_size for entry in entries) > manifest.max_bytes + _RECEIPT_BYTES + _TICKET_BYTES:
        raise Unfit(
            f"it unpacks to more than the {manifest.max_bytes:,} bytes that were asked for",
            f"解压后超过所要求的 {manifest.max_bytes:,} 字节",
        )


def _receipt(archive: zipfile.ZipFile, manifest: Manifest, consent: Consent) -> Receipt:
    """The bundle's list, once it is sealed, answers this manifest and names what is there."""
    names = set(archive.namelist())
    if RECEIPT not in names or TICKET not in names:
        raise Unfit(f"{RECEIPT} or {TICKET} is missing", f"缺少 {RECEIPT} 或 {TICKET}")
    if archive.getinfo(RECEIPT).file_size > _RECEIPT_BYTES or archive.getinfo(TICKET).file_size > _TICKET_BYTES:
        raise Unfit(f"{RECEIPT} or {TICKET} is too large", f"{RECEIPT} 或 {TICKET} 过大")
    try:
        receipt = msgspec.json.decode(archive.read(RECEIPT), type=Receipt)
        ticket = msgspec.json.decode(archive.read(TICKET), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unfit(f"its list cannot be read: {error}", f"清单无法读取：{error}") from error
    if not is_sealed(receipt, manifest.key):
        raise Unfit("its list was changed after it was sealed", "清单在封存后被修改")
    if (receipt.collection, receipt.asked_sha256) != (manifest.id, manifest.digest):
        raise Unfit("it answers another request", "对应的不是本次收集请求")
    if (receipt.system, receipt.ticket) != (manifest.system, manifest.ticket) or ticket != ticket_of(manifest):
        raise Unfit("it is of another ticket", "属于另一张工单")
    if receipt.consent != consent or consent.decision != "given" or not answers(consent, manifest):
        raise Unfit("the consent in it is not the one that was recorded", "其中的同意记录与已登记的不一致")
    if set(receipt.files) != names - {RECEIPT}:
        more = sorted(names - {RECEIPT} - set(receipt.files))
        told = ", ".join(more[:5]) or ", ".join(sorted(set(receipt.files) - names)[:5])
        raise Unfit(f"what it holds is not what its list names: {told}", f"内容与清单不符：{told}")
    return receipt


def _paths_masked(receipt: Receipt, redactor: Redactor) -> Receipt:
    """The list with what its paths and reasons may hold masked once more."""
    taken, left = receipt.taken, receipt.left
    texts = [*(one.path for one in taken), *(one.broke or "" for one in taken), *(one.path for one in left)]
    done = redactor.redact_array(pa.array(texts, pa.string())).to_pylist()
    paths, broke, others = done[: len(taken)], done[len(taken) : 2 * len(taken)], done[2 * len(taken) :]
    return msgspec.structs.replace(
        receipt,
        taken=tuple(
            msgspec.structs.replace(one, path=path, broke=reason or None)
            for one, path, reason in zip(taken, paths, broke, strict=True)
        ),
        left=tuple(msgspec.structs.replace(one, path=path) for one, path in zip(left, others, strict=True)),
    )


def _passed(archive: zipfile.ZipFile, name: str, file: File, redactor: Redactor, stopping: Callable[[], bool]) -> bool:
    """Whether something in a file still had to be masked, once its bytes are those that the list names."""
    digest, size, changed = hashlib.sha256(), 0, False
    with archive.open(name) as member:
        if not name.startswith(LOGS):
            while piece := member.read(_PIECE):
                digest.update(piece)
                size += len(piece)
        else:
            counted = _Counted(member)
            for lines in _lines(counted):
                if stopping():
                    raise InterruptedError("the service ends")
                changed |= not redactor.redact_json_lines(lines).equals(lines)
            digest, size = counted.digest, counted.size
    if (size, digest.hexdigest()) != (file.bytes, file.sha256):
        raise Unfit(f"{name} is not the file that its list names", f"{name} 与清单中的文件不一致")
    return changed


class _Counted:
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        self.size += len(data)
        return data


def _lines(stream: Any) -> Iterator[Any]:
    """The lines of a file, some at a time."""
    rest = b""
    while piece := stream.read(_PIECE):
        head, found, tail = piece.rpartition(b"\n")
        if not found:
            rest += piece
            if len(rest) > _LINE:
                raise Unfit(f"a line in it is longer than {_LINE:,} bytes", f"其中一行超过 {_LINE:,} 字节")
            continue
        block, rest = rest + head, tail
        yield pa.array(block.decode("utf-8", "replace").split("\n"), pa.string())
    if rest:
        yield pa.array([rest.decode("utf-8", "replace")], pa.string())
