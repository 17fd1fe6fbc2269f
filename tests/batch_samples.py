"""What the tests and the benchmark of batch share: many small incidents, and what a run left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.flow_samples import START, background, failed_order, hit, ndjson, orders_csv, ticket_json, write_bundle

ROOT = Path(__file__).resolve().parent.parent
MAIN = "from cli import main; main()"


def names_of(number: int) -> dict[str, str]:
    return {
        "order": f"SO202603041{number:05d}",
        "attempt": f"PY202603041{number:05d}",
        "customer": f"u77{number:05d}",
    }


def incident(number: int) -> dict[str, Any]:
    """The ticket of one of many incidents; every fortieth is of the next day."""
    names = names_of(number)
    return ticket_json(
        id=f"B-{number:04d}",
        description=f"My payment of order {names['order']} failed.",
        customer={"id": names["customer"]},
        created_at=(START + timedelta(minutes=20, days=number // 40)).isoformat(),
    )


def incidents(folder: Path, count: int) -> Path:
    """`count` bundles of some forty lines each, with faults of three kinds."""
    usual = background(minutes=10, per_minute=2)
    for number in range(count):
        names = names_of(number)
        message = (
            f"order {names['order']} attempt {names['attempt']}: connect to gateway.example failed: connection refused",
            f"order {names['order']} pay failed code=PARAM_ERROR total_fee is missing",
            f"order {names['order']} pay failed",
        )[number % 3]
        logs = [*usual, hit(5, message, level="ERROR")]
        write_bundle(
            folder / f"B-{number:04d}", ticket=incident(number), logs=logs, orders=orders_csv(failed_order(**names))
        )
    return folder


def tickets_file(path: Path, tickets: Sequence[dict[str, Any]]) -> Path:
    path.write_bytes(ndjson(tickets))
    return path


def results(folder: Path) -> dict[str, bytes]:
    """What a run left that has to be the same whenever its tickets are: name -> bytes."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ("documents", "snapshots")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }
    return {**found, "dead_letters.jsonl": (folder / "dead_letters.jsonl").read_bytes()}


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_bytes())


def begin(*args: str | Path, cwd: Path, env: Mapping[str, str] | None = None, **more: Any) -> subprocess.Popen[str]:
    """The command batch in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "batch", *map(str, args)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def day_of(ticket: dict[str, Any]) -> str:
    return datetime.fromisoformat(ticket["created_at"]).date().isoformat()
