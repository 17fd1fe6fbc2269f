"""What the sources hold for a ticket, as a bundle that can be sent on: collected as for a snapshot, then redacted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from parsers.redaction.redactor import Redactor
from pipeline.collect import collect
from pipeline.redact import redactor_for
from pipeline.scope import read_scope
from pipeline.settings import Settings
from pipeline.sources.bundle.writing import write_bundle
from pipeline.values import Coverage, Material, Source, Span, Ticket, replace
from pipeline.version import __version__

# Columns in which somebody may have written something, or a name that may be a person's; the others hold numbers and times.
_WORDS = {
    "logs": (
        "message", "body", "error.message", "error.stack_trace", "user.id", "labels.order_id", "host.name", "_id",
        "log.file.path",
    ),
    "spans": (
        "name", "status_message", "url.path", "server.address", "host.name", "exception.message", "exception.stacktrace",
    ),
    "order_events": ("order_id", "entity_id", "state", "channel"),
}  # fmt: skip
_JSON = {"logs": (), "spans": ("attributes",), "order_events": ("attributes",)}


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
    redactor = redactor_for(settings, collected.scope, ticket)
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
        "customer": {"id": redactor.redact(ticket.customer_id)} if ticket.customer_id else {},
        **hidden,
    }


def _redacted(material: Material, redactor: Redactor) -> Material:
    tables = {"logs": material.logs, "spans": material.spans, "order_events": material.order_events}
    done = {name: _redacted_table(table, _WORDS[name], _JSON[name], redactor) for name, table in tables.items()}
    return replace(material, **done, coverage=tuple(_redacted_row(row, redactor) for row in material.coverage))


def _redacted_row(row: Coverage, redactor: Redactor) -> Coverage:
    return structs.replace(
        row,
        asked=redactor.redact(row.asked),
        error=redactor.redact(row.error) if row.error else row.error,
        notes=[redactor.redact(note) for note in row.notes],
    )


def _redacted_table(table: Any, words: Sequence[str], json: Sequence[str], redactor: Redactor) -> Any:
    for name in words:
        before = table.column(name)
        after = redactor.redact_array(before)
        if name == "_id":
            # Two ids may have the same form; a record without an id is named by its place.
            same = pc.fill_null(pc.equal(before, after), fill_value=True)
            after = pc.if_else(same, after, pa.scalar(None, before.type))
        table = _with(table, name, after)
    for name in json:
        table = _with(table, name, _redacted_json(table.column(name), redactor))
    return table


def _redacted_json(column: Any, redactor: Redactor) -> Any:
    """A column of JSON objects, each redacted value by value: a number that became a marker would be no JSON any more."""
    old = column.to_pylist()
    values, broken = [], set()
    for row, text in enumerate(old):
        try:
            values.append(msgspec.json.decode(text) if text is not None else None)
        except msgspec.DecodeError:
            values.append(text)
            broken.add(row)
    new = redactor.redact_value(values)
    texts = [
        text
        if after == before and row not in broken
        else after
        if row in broken
        else msgspec.json.encode(after, order="deterministic").decode()
        for row, (text, before, after) in enumerate(zip(old, values, new, strict=True))
    ]
    return pa.chunked_array([pa.array(texts, column.type)])


def _with(table: Any, name: str, column: Any) -> Any:
    return table.set_column(table.column_names.index(name), table.schema.field(name), column)
