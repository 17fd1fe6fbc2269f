"""Closed tickets for the tests of the desk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from pipeline.desk.history import SCHEMA, read_history
from pipeline.desk.index import EmbeddedIndex, Prepared, prepare
from pipeline.settings import Redacting

START = datetime(2026, 5, 1, tzinfo=UTC)
KINDS = {
    "refund": ("退款一直没有到账", "the refund has not arrived", "li", "channel_outage"),
    "sign": ("支付失败，提示签名错误", "payment failed with an invalid signature", "wang", "signature_cert"),
    "timeout": ("付款超时", "the payment timed out at the gateway", "zhao", "network"),
}


def ticket(number: int, kind: str = "sign", **over: Any) -> dict[str, Any]:
    """A closed ticket, one an hour; `over` replaces fields."""
    zh, en, handler, fault_class = KINDS[kind]
    created = START + timedelta(hours=number)
    row = {
        "id": f"C{number:03}",
        "title": zh if number % 2 else en,
        "description": "",
        "created_at": created.isoformat(),
        "closed_at": (created + timedelta(minutes=30)).isoformat(),
        "category": kind,
        "queue": "refunds" if kind == "refund" else "payments",
        "handler": handler,
        "cause": f"cause of {kind}",
        "solution": f"solution of {kind}",
        "reopened": False,
        "fault_class": fault_class,
    }
    return {**row, **over}


def many(count: int = 90) -> list[dict[str, Any]]:
    """Tickets of all kinds in turn."""
    return [ticket(i, sorted(KINDS)[i % 3]) for i in range(count)]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """The rows as JSON lines."""
    path.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    return path


def table(tmp_path: Path, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows as a history is read."""
    return read_history(write(tmp_path / "closed.jsonl", rows))


def prepared(
    tmp_path: Path, rows: Sequence[Mapping[str, Any]], said: Mapping[str, Sequence[str]] | None = None
) -> Prepared:
    """The rows ready for an index, without meaning."""
    marks = {name: {"marks": list(given)} for name, given in (said or {}).items()}
    return prepare(table(tmp_path, rows), marks, Redacting().redactor(), with_meaning=False)


def indexed(
    tmp_path: Path, rows: Sequence[Mapping[str, Any]], said: Mapping[str, Sequence[str]] | None = None
) -> EmbeddedIndex:
    """An index of the rows, without meaning."""
    return EmbeddedIndex(prepared(tmp_path, rows, said))


def vectors(count: int, seed: int = 0) -> np.ndarray:
    """Rows of length 1 in no order."""
    drawn = np.random.default_rng(seed).standard_normal((count, 512))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)


__all__ = ["KINDS", "SCHEMA", "START", "indexed", "many", "prepared", "table", "ticket", "vectors", "write"]
