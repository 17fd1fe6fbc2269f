"""Kill -9 at fifty random moments while five hundred deliveries arrive: each ticket has its one note in the end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from pipeline.service.database import opened
from pipeline.service.ledger import Ledger
from pipeline.tickets.signatures import hexed
from tests.service_desk import SECRET, Board, configuration, desk, small_bundle
from tests.services import free_port
from tests.test_service import database  # noqa: F401 - a fixture

DELIVERIES, KILLS = 500, 50


class Service:
    """`problem-snapshot serve` as a process, with its workers in the same group."""

    def __init__(self, config: Path, bundle: Path, log: Path, **popen: Any) -> None:
        self._command = [
            sys.executable, "-c", "from cli import main; main()", "serve", "--config", str(config), "--bundle", str(bundle),
        ]  # fmt: skip
        self._log = log.open("ab")
        self._popen = popen
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            **self._popen,
        )

    def kill(self, *, everything: bool) -> None:
        """SIGKILL to the server, or to its workers as well."""
        assert self.process is not None
        if everything:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(40)
        finally:
            self._log.close()

    def end(self) -> None:
        """Leaves nothing running, whatever became of the test."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._log.close()

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        assert self.process is not None
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]


def send(url: str, number: int, stop: threading.Event) -> None:
    """Delivers until it is taken, as a sender that retries does."""
    data = msgspec.json.encode({"delivery": f"d{number}", "kind": "ticket.created", "ticket": {"id": f"T{number}"}})
    headers = {"X-Signature": hexed(SECRET, data), "Content-Type": "application/json"}
    while not stop.is_set():
        try:
            answer = httpx.post(f"{url}/hooks/desk", content=data, headers=headers, timeout=5)
        except httpx.HTTPError:
            time.sleep(0.1)
            continue
        assert answer.status_code in {200, 202, 503}, answer.text
        if answer.status_code != 503:
            return
        time.sleep(0.2)


def answering(url: str) -> None:
    """Waits until the server answers."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            httpx.get(f"{url}/healthz", timeout=2).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server does not answer")


def fill(board: Board) -> None:
    for number in range(DELIVERIES):
        board.tickets[f"T{number}"] = {
            "id": f"T{number}",
            "title": f"支付失败 {number}",
            "description": f"订单 SO2026112300{number % 6} 付款失败",
            "created_at": "2026-11-23T10:06:00+08:00",
        }


@pytest.mark.timeout(900)
def test_killed_at_any_moment_it_loses_no_delivery_and_writes_no_note_twice(database, tmp_path):  # noqa: F811
    dice = random.Random(7)
    workers = 2 if database.startswith("postgresql") else 1
    listen = f"127.0.0.1:{free_port()}"
    log = tmp_path / "serve.log"
    with desk() as board, contextlib.ExitStack() as cleaning:
        fill(board)
        config = tmp_path / "problem-snapshot.toml"
        config.write_text(configuration(board, database, listen, tmp_path / "store", workers=workers), encoding="utf-8")
        service = Service(config, small_bundle(tmp_path / "bundle"), log)
        cleaning.callback(service.end)
        service.start()
        stop = threading.Event()
        pace = iter(range(DELIVERIES))
        lock = threading.Lock()

        def deliver() -> None:
            while not stop.is_set():
                with lock:
                    number = next(pace, None)
                if number is None:
                    return
                send(f"http://{listen}", number, stop)
                time.sleep(dice.uniform(0.0, 0.6))

        senders = [threading.Thread(target=deliver, daemon=True) for _ in range(4)]
        for sender in senders:
            sender.start()
        killed = {"all": 0, "server": 0, "worker": 0}
        for _ in range(KILLS):
            # Mostly while it works; one time in five also while it starts.
            if dice.random() < 0.8:
                answering(f"http://{listen}")
            time.sleep(dice.uniform(0.1, 2.5))
            how = dice.choice(["all", "all", "server", "worker"])
            if how == "worker" and (pids := service.workers()):
                os.kill(dice.choice(pids), signal.SIGKILL)
            else:
                service.kill(everything=how != "server")
                service.start()
            killed[how] += 1
        for sender in senders:
            sender.join(300)
        engine = opened(database)
        ledger = Ledger(engine, lambda *_: None)
        until = time.monotonic() + 400
        while time.monotonic() < until:
            counts = {state: count for (_, state), count in ledger.counts().items()}
            if counts.get("done") == DELIVERIES:
                break
            time.sleep(0.5)
        stop.set()
        engine.dispose()
        service.stop()
        told = log.read_text(encoding="utf-8", errors="replace")[-3000:]
    assert min(killed.values()) > 0
    assert counts == {"done": DELIVERIES}, told
    assert {ticket: len(notes) for ticket, notes in board.notes.items()} == dict.fromkeys(board.tickets, 1), told
    assert max(board.writes.values()) == 1
