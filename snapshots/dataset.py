"""A snapshot as rows of a Parquet dataset, for pandas, DuckDB or Spark: one row for itself, and one for each finding."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from snapshots.model import ProblemSnapshot

if TYPE_CHECKING:
    import pyarrow as pa


def dataset_files(snapshot: ProblemSnapshot) -> Mapping[str, bytes]:
    """Name -> bytes of a snapshot's Parquet files; equal snapshots give equal bytes."""
    return {
        f"dataset/snapshots/{snapshot.snapshot_id}.parquet": _parquet(_snapshot_table(snapshot)),
        f"dataset/findings/{snapshot.snapshot_id}.parquet": _parquet(_finding_table(snapshot)),
    }


def moment_of(at: str | None) -> datetime | None:
    """A document's time with its zone, UTC where it names none; None where it is no time."""
    try:
        when = datetime.fromisoformat(at or "")
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _parquet(table: pa.Table) -> bytes:
    import pyarrow as pa  # slow to load, and not needed to list or show
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _snapshot_table(s: ProblemSnapshot) -> pa.Table:
    import pyarrow as pa

    d = s.diagnosis
    count = pa.int64()
    columns: list[tuple[str, Any, Any]] = [
        ("snapshot_id", pa.string(), s.snapshot_id),
        ("schema_version", pa.string(), s.schema_version),
        ("tool_version", pa.string(), s.provenance.tool_version),
        ("ticket_id", pa.string(), s.ticket.id),
        ("ticket_system", pa.string(), s.ticket.system),
        ("title", pa.string(), s.ticket.title),
        ("language", pa.string(), s.ticket.language),
        ("customer_id", pa.string(), s.ticket.customer_id),
        ("created_at", pa.timestamp("us", tz="UTC"), moment_of(s.ticket.created_at)),
        ("anchor", pa.timestamp("us", tz="UTC"), moment_of(s.scope.anchor)),
        ("window_start", pa.timestamp("us", tz="UTC"), moment_of(s.scope.window.start)),
        ("window_end", pa.timestamp("us", tz="UTC"), moment_of(s.scope.window.end)),
        ("fault_class", pa.string(), d.fault_class),
        ("fault_subclass", pa.string(), d.fault_subclass),
        ("seed_class", pa.string(), d.seed_class),
        ("confidence", pa.float64(), d.confidence),
        ("abstained", pa.bool_(), d.abstained),
        ("owner", pa.string(), d.owner),
        ("service", pa.string(), d.location.service),
        ("operation", pa.string(), d.location.operation),
        ("host", pa.string(), d.location.host),
        ("channel", pa.string(), d.location.channel),
        ("severity", pa.string(), s.severity.level if s.severity else None),
        ("summary_en", pa.string(), d.summary.en),
        ("summary_zh", pa.string(), d.summary.zh),
        ("orders", count, len(s.scope.focus_orders)),
        ("lines", count, s.template_totals.lines),
        ("templates", count, s.template_totals.templates),
        ("new_templates", count, sum(template.change == "new" for template in s.templates)),
        ("surged_templates", count, sum(template.change == "surged" for template in s.templates)),
        ("findings", count, len(s.findings)),
        ("evidence", count, len({e.ref for finding in s.findings for e in finding.evidence})),
        ("missing", count, len(d.missing)),
        ("checks_healthy", count, sum(check.outcome == "healthy" for check in s.checks)),
        ("checks_not_evaluated", count, sum(check.outcome == "not_evaluated" for check in s.checks)),
        ("coverage_rows", count, len(s.coverage)),
        ("coverage_not_ok", count, sum(row.status != "ok" for row in s.coverage)),
        ("redacted", count, s.redaction.total),
    ]
    schema = pa.schema([(name, kind) for name, kind, _ in columns])
    return pa.table([pa.array([value], kind) for _, kind, value in columns], schema=schema)


def _finding_table(s: ProblemSnapshot) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema(
        [
            ("snapshot_id", pa.string()),
            ("ticket_id", pa.string()),
            ("created_at", pa.timestamp("us", tz="UTC")),
            ("id", pa.string()),
            ("kind", pa.string()),
            ("supports", pa.string()),
            ("subclass", pa.string()),
            ("weight", pa.float64()),
            ("service", pa.string()),
            ("channel", pa.string()),
            ("code", pa.string()),
            ("about_focus", pa.bool_()),
            ("statement_en", pa.string()),
            ("statement_zh", pa.string()),
            ("evidence", pa.list_(pa.string())),
        ]
    )
    rows = [
        {
            **{
                name: getattr(f, name)
                for name in ("id", "kind", "supports", "subclass", "weight", "service", "channel", "code")
            },
            "snapshot_id": s.snapshot_id,
            "ticket_id": s.ticket.id,
            "created_at": moment_of(s.ticket.created_at),
            "about_focus": f.about_focus,
            "statement_en": f.statement.en,
            "statement_zh": f.statement.zh,
            "evidence": [e.ref for e in f.evidence],
        }
        for f in s.findings
    ]
    return pa.Table.from_pylist(rows, schema=schema)
