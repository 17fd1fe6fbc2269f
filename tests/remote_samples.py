"""A desk as a real service process, and a customer's machine with logs, for the tests of remote collection."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec

from pipeline.desk.asking import ask_customer
from pipeline.desk.collections import Collections
from pipeline.remote.files import choose
from pipeline.remote.gather import RECEIPT, TICKET, gather, pretty, ticket_of
from pipeline.remote.manifest import Manifest
from pipeline.remote.receipt import Consent, File, Receipt, Taken, consent_of, sealed
from pipeline.remote.sending import _digest
from pipeline.service.database import opened, prepare
from pipeline.service.ledger import OPEN, Ledger
from pipeline.settings import load_settings
from pipeline.tickets.file import read_ticket
from pipeline.values import Span
from tests.service_desk import Board, configuration, desk, small_bundle
from tests.services import free_port
from tests.test_service_crash import Service, answering

TOKEN = "the token of the tests' service"
SECRET = "the secret of the tests' service"
ROOT = Path(__file__).resolve().parent.parent
_LARGE = "logs/0001-large.log.ndjson"
# What must never leave a customer's machine.
SECRETS = (
    b"4242 4242 4242 4242",
    b"13800138000",
    b"zhang.san@example.com",
    b"hunter2hunter2",
    b"110101199003074514",
    b"zhang.san%40example.com",
    b"eyJwaG9uZSI6",
)
LINES = """2026-11-23 09:00:00.000 INFO  pay-gateway - long before
2026-11-23 10:02:00.120 INFO  pay-gateway - order SO20261123001 create, card 4242 4242 4242 4242
2026-11-23 10:02:31.118 ERROR pay-gateway - call channel alipay order SO20261123001 result SYSTEM_ERROR 手机 13800138000
java.net.SocketTimeoutException: Read timed out
    at com.shop.pay.Alipay.call(Alipay.java:42)
2026-11-23 10:02:32.000 WARN  pay-gateway - notify zhang.san@example.com password=hunter2hunter2 id 110101199003074514
    GET /back?mail=zhang.san%40example.com&body=eyJwaG9uZSI6IjEzODAwMTM4MDAwIn0=
2026-11-23 18:00:00.000 INFO  pay-gateway - long after
"""


@dataclass
class Remote:
    """The desk's service and what lies around it. `logs` is the customer's folder of logs."""

    url: str
    board: Board
    config: Path
    folder: Path
    logs: Path
    service: Service
    database: str
    log: Path
    number: int = 0
    env: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def engine(self) -> Iterator[Any]:
        """The service's database."""
        engine = opened(self.database)
        try:
            yield engine
        finally:
            engine.dispose()

    def row(self, collection: str) -> Any:
        """The row of a collection."""
        with self.engine() as engine:
            return Collections(engine).get(collection)

    def run(self, *args: str | Path, at: str = "UTC", timeout: float = 100) -> subprocess.CompletedProcess[str]:
        """The program as a process, in a folder of its own, with a machine's zone."""
        self.number += 1
        place = self.folder / f"run-{self.number}"
        place.mkdir()
        env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(place), "TZ": at, **self.env}
        command = [sys.executable, "-c", "from cli import main; main()", *map(str, args)]
        return subprocess.run(
            command, cwd=place, env=env, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )  # fmt: skip

    def ask(self, ticket: str = "T1", *, holds: float | None = None, screen: str | None = None) -> dict[str, Any]:
        """A new request for the logs of the customer, as `desk collect -o json` tells it."""
        settings = load_settings(self.config, env={}, sources=False, service=True)
        start = datetime(2026, 11, 23, 2, tzinfo=UTC)
        found = read_ticket(json.dumps(self.board.tickets[ticket]).encode(), ticket)
        with self.engine() as engine:
            asked = ask_customer(
                found, "desk", [f"{self.logs}/*.log"], settings, Collections(engine),
                around=Span(start, start + timedelta(hours=1)), holds=holds, screen=screen,
            )  # fmt: skip
        file = self.folder / f"{asked.manifest.id}.json"
        file.write_bytes(asked.signed)
        return {"id": asked.manifest.id, "link": asked.link, "desk_key": asked.key, "manifest": str(file)}

    def ask_by_command(self, ticket: str = "T1", *more: str) -> dict[str, Any]:
        """The same, asked for as people do."""
        done = self.run(
            "desk", "collect", f"desk:{ticket}", "--config", self.config, "--paths", f"{self.logs}/*.log",
            "--from", "2026-11-23T10:00:00+08:00", "--to", "2026-11-23T11:00:00+08:00", "-o", "json",
            "--out", self.folder / f"manifest-{self.number}.json", *more,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = msgspec.json.decode(done.stdout)
        return told

    def collect(self, told: dict[str, Any], *more: str | Path) -> subprocess.CompletedProcess[str]:
        """The customer runs what he was sent, and agrees."""
        return self.run(
            "bundle", "--collect", told["manifest"], "--desk-key", told["desk_key"], "--consent", "Zhang San", *more,
            at="Asia/Shanghai",
        )  # fmt: skip

    def settled(self) -> None:
        """Waits until nothing is queued any more."""
        until = time.monotonic() + 60
        with self.engine() as engine:
            ledger = Ledger(engine, lambda *_: None)
            while time.monotonic() < until:
                states = {state for _, state in ledger.counts()}
                if not states & set(OPEN):
                    return
                time.sleep(0.1)
        raise AssertionError("not settled")


@contextmanager
def remote(
    folder: Path, database: str, *, options: str = "", port: int | None = None, through: int | None = None, **popen: Any
) -> Iterator[Remote]:
    """The service on a free port; `through` is the port that customers are told, `options` are lines of [desk.remote]."""
    port = port or free_port()
    logs = folder / "customer" / "logs"
    logs.mkdir(parents=True)
    (logs / "pay.log").write_text(LINES, encoding="utf-8")
    with desk() as board:
        for number in range(1, 4):
            board.tickets[f"T{number}"] = {
                "id": f"T{number}",
                "title": f"支付失败 {number}",
                "description": "订单 SO20261123001 付款失败",
                "created_at": "2026-11-23T10:30:00+08:00",
            }
        config = folder / "problem-snapshot.toml"
        text = configuration(
            board, database, f"127.0.0.1:{port}", folder / "store", workers=1, secret=SECRET, token=TOKEN,
            public_url=f"http://127.0.0.1:{through or port}",
        )  # fmt: skip
        text += f'[defaults.desk.remote]\nname = "Shop Support"\nfolders = ["{folder}"]\nfolder = "{folder}/uploads"\n{options}\n'
        config.write_text(text, encoding="utf-8")
        # So that whoever comes first need not wait for the other.
        engine = opened(database)
        prepare(engine, database)
        engine.dispose()
        service = Service(config, small_bundle(folder / "bundle"), folder / "serve.log", **popen)
        service.start()
        try:
            answering(f"http://127.0.0.1:{port}")
            yield Remote(
                f"http://127.0.0.1:{port}", board, config, folder, logs, service, database, folder / "serve.log"
            )
        finally:
            service.stop()


class Wire:
    """What lies between a customer and the desk: it keeps the bytes towards the desk, and breaks once after `cut_after` of them."""

    def __init__(self, port: int) -> None:
        self.to = port
        self.sent = bytearray()
        self.cut_after: int | None = None
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.to)) as server:
            back = threading.Thread(target=self._back, args=(server, client), daemon=True)
            back.start()
            passed = 0
            while data := client.recv(1 << 16):
                self.sent += data
                passed += len(data)
                if self.cut_after is not None and passed > self.cut_after:
                    self.cut_after = None
                    self.cuts += 1
                    server.sendall(data[: len(data) // 2])
                    server.shutdown(socket.SHUT_RDWR)
                    return
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
            back.join()

    @staticmethod
    def _back(server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def manifest_of(told: dict[str, Any]) -> Manifest:
    """The manifest that was handed out."""
    return msgspec.convert(json.loads(Path(told["manifest"]).read_bytes())["manifest"], Manifest)


def collected(shop: Remote, told: dict[str, Any]) -> Path:
    """A bundle that the customer made and did not send yet."""
    manifest = manifest_of(told)
    out = shop.folder / f"{told['id']}.zip"
    chosen, left = choose(manifest.paths, manifest.span[0], manifest.max_files)
    consent = consent_of(manifest, "given", "Zhang San", datetime.now(UTC), "zh")
    gather(manifest, chosen, left, consent, out, offset=timedelta(hours=8))
    return out


def agreed(shop: Remote, told: dict[str, Any], bundle: Path) -> dict[str, str]:
    """The headers of an upload, once the bundle's consent is recorded."""
    headers = {"Authorization": f"Bearer {manifest_of(told).key}"}
    with zipfile.ZipFile(bundle) as archive:
        consent = json.loads(archive.read(RECEIPT))["consent"]
    answer = httpx.post(f"{shop.url}/uploads/{told['id']}/consent", json=consent, headers=headers)
    assert answer.json() == {"state": "agreed"}, answer.text
    return headers


def put(shop: Remote, told: dict[str, Any], data: Path, headers: dict[str, str]) -> httpx.Response:
    """Sends a file in one go, as a plain client does."""
    return httpx.put(
        f"{shop.url}/uploads/{told['id']}",
        content=data.read_bytes(),
        headers={**headers, "Repr-Digest": _digest(data)[1]},
        timeout=60,
    )


def memory(pid: int) -> int:
    """The most memory that a process had, in bytes (`VmHWM` of /proc)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) << 10


def large_bundle(path: Path, manifest: Manifest, size: int) -> Consent:
    """Writes a bundle of `size` bytes that answers `manifest`; its consent."""
    consent = consent_of(manifest, "given", "benchmark", datetime.now(UTC), "en")
    lines = b"".join(
        msgspec.json.encode(
            {
                "_id": f"/var/log/large.log:{number}",
                "@timestamp": manifest.start,
                "message": f"INFO pay-gateway - order SO{number:012d} step {number * 7919 % 997} took {number % 311} ms",
                "log.file.path": "/var/log/large.log",
            }
        )
        + b"\n"
        for number in range(5000)
    )
    ticket = pretty(ticket_of(manifest))
    rounds = size // len(lines)
    digest = hashlib.sha256()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(TICKET, ticket)
        with archive.open(_LARGE, "w", force_zip64=True) as file:
            for _ in range(rounds):
                file.write(lines)
                digest.update(lines)
        receipt = Receipt(
            collection=manifest.id,
            asked_sha256=manifest.digest,
            system=manifest.system,
            ticket=manifest.ticket,
            start=manifest.start,
            end=manifest.end,
            offset=0,
            consent=consent,
            files={
                TICKET: File(bytes=len(ticket), sha256=hashlib.sha256(ticket).hexdigest()),
                _LARGE: File(bytes=rounds * len(lines), sha256=digest.hexdigest()),
            },
            taken=(Taken(path="/var/log/large.log", file=_LARGE, kept=rounds * 5000, outside=0, undated=0),),
            left=(),
            masked={},
        )
        archive.writestr(RECEIPT, pretty(msgspec.to_builtins(sealed(receipt, manifest.key))))
    return consent
