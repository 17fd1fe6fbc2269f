"""The three Arrow tables that everything is parsed into.

Columns carry ECS names (https://www.elastic.co/docs/reference/ecs) where ECS has one; span columns follow OpenTelemetry.
Times are `timestamp[us, UTC]`. A column that a source does not have is null, never guessed.

The columns that begin with an underscore say where a row came from, so that it can be cited and opened again:
`_source` (name of the configured source), `_index`, `_id` (the document's id), or, where there is no document id,
`log.file.path` with `log.offset` and `log.length` in bytes of the uncompressed file.
"""

from __future__ import annotations

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")

_WHERE = [
    pa.field("_source", pa.string()),
    pa.field("_index", pa.string()),
    pa.field("_id", pa.string()),
    pa.field("log.file.path", pa.string()),
    pa.field("log.offset", pa.int64()),
    pa.field("log.length", pa.int64()),
]

LOGS = pa.schema(
    [
        pa.field("@timestamp", TIME),
        pa.field("service.name", pa.string()),
        pa.field("service.version", pa.string()),
        pa.field("host.name", pa.string()),
        # One of TRACE, DEBUG, INFO, WARN, ERROR, FATAL, or null: from the record, else from the line's own header.
        pa.field("log.level", pa.string()),
        pa.field("log.logger", pa.string()),
        pa.field("trace.id", pa.string()),
        pa.field("span.id", pa.string()),
        pa.field("transaction.id", pa.string()),
        pa.field("error.type", pa.string()),
        pa.field("error.message", pa.string()),
        pa.field("error.stack_trace", pa.string()),
        pa.field("http.response.status_code", pa.int32()),
        pa.field("user.id", pa.string()),
        pa.field("labels.order_id", pa.string()),
        # The line as its source held it, whole.
        pa.field("message", pa.string()),
        # The line without its header, stack traces collapsed to exception and causes: what is mined and matched.
        pa.field("body", pa.string()),
        # Where not all rows of a window were fetched, the step of the fetch plan that brought the row (see
        # `snapshots.model.PlanStep`), and the share of that step's rows that was fetched: null for all of them, zero where the
        # reading was broken off, so that the rows that came stand for no others.
        pa.field("_step", pa.string()),
        pa.field("_rate", pa.float64()),
        *_WHERE,
    ]
)

SPANS = pa.schema(
    [
        pa.field("trace.id", pa.string()),
        pa.field("span.id", pa.string()),
        pa.field("parent.id", pa.string()),
        pa.field("name", pa.string()),
        # server, client, internal, producer, consumer, or null.
        pa.field("kind", pa.string()),
        pa.field("service.name", pa.string()),
        pa.field("host.name", pa.string()),
        pa.field("@timestamp", TIME),
        pa.field("duration_us", pa.int64()),
        # ok, error or unset.
        pa.field("status", pa.string()),
        pa.field("status_message", pa.string()),
        pa.field("http.request.method", pa.string()),
        pa.field("http.response.status_code", pa.int32()),
        pa.field("rpc.status_code", pa.string()),
        pa.field("server.address", pa.string()),
        pa.field("url.path", pa.string()),
        pa.field("error.type", pa.string()),
        pa.field("exception.type", pa.string()),
        pa.field("exception.message", pa.string()),
        pa.field("exception.stacktrace", pa.string()),
        # Every span attribute as one JSON object with sorted keys, values as they were.
        pa.field("attributes", pa.string()),
        *_WHERE,
    ]
)

ORDER_EVENTS = pa.schema(
    [
        pa.field("order_id", pa.string()),
        # order, attempt, callback, query or refund.
        pa.field("entity", pa.string()),
        pa.field("entity_id", pa.string()),
        pa.field("state", pa.string()),
        pa.field("amount_minor", pa.int64()),
        pa.field("currency", pa.string()),
        pa.field("channel", pa.string()),
        pa.field("occurred_at", TIME),
        # One JSON object with sorted keys.
        pa.field("attributes", pa.string()),
        *_WHERE,
    ]
)


def empty(schema: pa.Schema) -> pa.Table:
    """A table of `schema` without rows."""
    return schema.empty_table()


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with exactly the columns of `schema`, in order: absent ones null, others cast, extra ones left out."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
