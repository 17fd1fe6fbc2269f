"""What the sources hold for a ticket, as a bundle that can be sent on: collected as for a snapshot, then redacted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from parsers.redaction import Redactor
from pipeline.collect import collect
from pipeline.scope import read_scope
from pipeline.settings import Settings
from pipeline.sources.bundle import write_bundle
from pipeline.values import Coverage, Material, Source, Span, Ticket, replace
from pipeline.version import __version__

# Columns in which somebody wrote something; the others hold names, numbers and times.
_WORDS = {
    "logs": ("message", "body", "error.message", "error.stack_trace"),
    "spans": ("status_message", "url.path", "exception.message", "exception.stacktrace"),
    "order_events": (),
}
_JSON = {"logs": (), "spans": ("attributes",), "order_events": ("attributes",)}
# Identifiers without which a bundle is of no use; phones are not among them.
_KEPT = ("order_id", "out_trade_no", "channel_txn_id", "trace_id", "customer_id", "refund_id")


@dataclass(frozen=True)
class Exported:
    """Where the bundle is, how many rows of each kind it has, and the ledger of what was asked."""

    path: Path
    rows: dict[str, int]
    redacted: int
    coverage: tuple[Coverage, ...]


def export_bundle(
    path: Path,
    ticket: Ticket,
    sources: Sequence[Source],
    settings: Settings,
    *,
    around: Span | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Writes the bundle of `ticket` to `path`, a folder or a file ending in `.zip`.

    Raises `UsageError` where there is something already, `NoSourceReached` and `Refused` as `take_snapshot` does.
    """
    collected = collect(read_scope(ticket, settings, around), ticket, sources, settings, progress)
    progress("masking secrets")
    redactor = settings.redaction.redactor(collected.scope.values(*_KEPT))
    material = _redacted(collected.material, redactor)
    fields = _ticket_fields(ticket, redactor)
    counts = dict(sorted(redactor.counts.items()))
    progress("writing")
    written = write_bundle(path, fields, material, tool_version=__version__, redaction={"counts": counts})
    rows = {"logs": material.logs, "spans": material.spans, "order_events": material.order_events}
    return Exported(written, {k: t.num_rows for k, t in rows.items()}, sum(counts.values()), material.coverage)


def _ticket_fields(ticket: Ticket, redactor: Redactor) -> dict[str, Any]:
    """The ticket as `ticket.json` has it."""
    words = {
        "title": ticket.title,
        "description": ticket.description,
        "questionnaire": dict(ticket.questionnaire),
        "custom_fields": dict(ticket.custom_fields),
    }
    hidden: dict[str, Any] = redactor.redact_value(words)
    return {
        "id": ticket.id,
        "system": ticket.system,
        "created_at": ticket.created_at.isoformat(),
        "language": ticket.language,
        "customer": {"id": ticket.customer_id} if ticket.customer_id else {},
        **hidden,
    }


def _redacted(material: Material, redactor: Redactor) -> Material:
    tables = {"logs": material.logs, "spans": material.spans, "order_events": material.order_events}
    done = {name: _redacted_table(table, _WORDS[name], _JSON[name], redactor) for name, table in tables.items()}
    return replace(material, **done)


def _redacted_table(table: Any, words: Sequence[str], json: Sequence[str], redactor: Redactor) -> Any:
    for name in words:
        table = _with(table, name, redactor.redact_array(table.column(name)))
    for name in json:
        before = table.column(name)
        after = redactor.redact_array(before)
        changed = pc.fill_null(pc.not_equal(before, after), fill_value=False)
        if pc.any(changed).as_py():
            # A number that became a marker is no JSON any more: those few rows are redacted value by value.
            rows = zip(before.to_pylist(), after.to_pylist(), changed.to_pylist(), strict=True)
            texts = [_redacted_json(old, new, redactor) if differs else old for old, new, differs in rows]
            after = pa.chunked_array([pa.array(texts, before.type)])
        table = _with(table, name, after)
    return table


def _redacted_json(old: str, new: str, redactor: Redactor) -> str:
    try:
        msgspec.json.decode(new)
    except msgspec.DecodeError:
        value = redactor.redact_value(msgspec.json.decode(old))
        return msgspec.json.encode(value, order="deterministic").decode()
    return new


def _with(table: Any, name: str, column: Any) -> Any:
    return table.set_column(table.column_names.index(name), table.schema.field(name), column)
