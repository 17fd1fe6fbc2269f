"""Which field of a source document becomes which column of the LOGS table.

A path is dotted, as Elasticsearch writes it; nested objects, dotted keys and any mixture of both are the same path:
`{"log": {"level": ...}}` and `{"log.level": ...}` are both `log.level`. The first path that holds a value wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

Paths = tuple[str, ...]


class FieldMapping(msgspec.Struct, frozen=True, kw_only=True):
    """For each LOGS column the source paths to read it from, best first. `COLUMNS` ties the attributes to the columns.

    `extra` is not a column: scalar fields that a person would count as part of the message, such as an error code. They
    are written behind the body as `path=value` where the message does not hold the value already.
    """

    timestamp: Paths = ()
    service_name: Paths = ()
    service_version: Paths = ()
    host_name: Paths = ()
    log_level: Paths = ()
    log_logger: Paths = ()
    trace_id: Paths = ()
    span_id: Paths = ()
    transaction_id: Paths = ()
    error_type: Paths = ()
    error_message: Paths = ()
    error_stack_trace: Paths = ()
    http_status_code: Paths = ()
    user_id: Paths = ()
    order_id: Paths = ()
    message: Paths = ()
    extra: Paths = ()


# Attribute of FieldMapping -> column of parsers.tables.LOGS.
COLUMNS: dict[str, str] = {
    "timestamp": "@timestamp",
    "service_name": "service.name",
    "service_version": "service.version",
    "host_name": "host.name",
    "log_level": "log.level",
    "log_logger": "log.logger",
    "trace_id": "trace.id",
    "span_id": "span.id",
    "transaction_id": "transaction.id",
    "error_type": "error.type",
    "error_message": "error.message",
    "error_stack_trace": "error.stack_trace",
    "http_status_code": "http.response.status_code",
    "user_id": "user.id",
    "order_id": "labels.order_id",
    "message": "message",
}

# https://www.elastic.co/docs/reference/ecs, with the Kubernetes fields that Elastic Agent and Filebeat add.
ECS = FieldMapping(
    timestamp=("@timestamp", "event.created", "event.ingested"),
    service_name=(
        "service.name",
        "kubernetes.labels.app",
        "kubernetes.container.name",
        "container.name",
        "process.name",
    ),
    service_version=("service.version",),
    host_name=("host.name", "host.hostname", "kubernetes.pod.name", "service.node.name", "kubernetes.node.name"),
    log_level=("log.level", "log.syslog.severity.name", "log.syslog.severity.code"),
    log_logger=("log.logger", "log.origin.function"),
    trace_id=("trace.id",),
    span_id=("span.id",),
    transaction_id=("transaction.id",),
    error_type=("error.type",),
    error_message=("error.message",),
    error_stack_trace=("error.stack_trace",),
    http_status_code=("http.response.status_code",),
    user_id=("user.id",),
    order_id=("labels.order_id",),
    message=("message", "event.original"),
    extra=("error.code", "event.reason"),
)

# https://opentelemetry.io/docs/specs/otel/logs/data-model/ as the collector's Elasticsearch exporter and OTLP/JSON spell it.
OTEL = FieldMapping(
    timestamp=(
        "@timestamp",
        "timeUnixNano",
        "time_unix_nano",
        "Timestamp",
        "timestamp",
        "observed_timestamp",
        "observedTimeUnixNano",
        "ObservedTimestamp",
    ),
    service_name=(
        "resource.attributes.service.name",
        "Resource.service.name",
        "resource.service.name",
        "ResourceAttributes.service.name",
        "service.name",
        "resource.attributes.k8s.deployment.name",
        "resource.attributes.k8s.container.name",
    ),
    service_version=(
        "resource.attributes.service.version",
        "Resource.service.version",
        "resource.service.version",
        "ResourceAttributes.service.version",
        "service.version",
    ),
    host_name=(
        "resource.attributes.host.name",
        "Resource.host.name",
        "resource.host.name",
        "ResourceAttributes.host.name",
        "resource.attributes.k8s.pod.name",
        "resource.attributes.service.instance.id",
    ),
    log_level=("severity_text", "SeverityText", "severityText", "severity_number", "SeverityNumber", "severityNumber"),
    log_logger=(
        "scope.name",
        "instrumentation_scope.name",
        "InstrumentationScope.name",
        "attributes.logger.name",
        "attributes.code.namespace",
    ),
    trace_id=("trace_id", "TraceId", "traceId"),
    span_id=("span_id", "SpanId", "spanId"),
    error_type=(
        "attributes.exception.type",
        "Attributes.exception.type",
        "LogAttributes.exception.type",
        "attributes.error.type",
        "exception.type",
    ),
    error_message=(
        "attributes.exception.message",
        "Attributes.exception.message",
        "LogAttributes.exception.message",
        "exception.message",
    ),
    error_stack_trace=(
        "attributes.exception.stacktrace",
        "Attributes.exception.stacktrace",
        "LogAttributes.exception.stacktrace",
        "exception.stacktrace",
    ),
    http_status_code=(
        "attributes.http.response.status_code",
        "attributes.http.status_code",
        "Attributes.http.response.status_code",
        "Attributes.http.status_code",
    ),
    user_id=("attributes.enduser.id", "attributes.user.id", "Attributes.enduser.id", "Attributes.user.id"),
    order_id=(
        "attributes.order_id",
        "attributes.order.id",
        "Attributes.order_id",
        "Attributes.order.id",
        "attributes.app.order.id",
    ),
    message=("body.string", "body.text", "body.stringValue", "Body.stringValue", "body", "Body", "body_text"),
    extra=("attributes.error.code", "Attributes.error.code"),
)

# Logstash's json_event and the logstash-logback-encoder (https://github.com/logfellow/logstash-logback-encoder).
LOGSTASH = FieldMapping(
    timestamp=("@timestamp",),
    service_name=(
        "service",
        "app",
        "appname",
        "app_name",
        "appName",
        "application",
        "application_name",
        "springAppName",
        "spring.application.name",
        "serviceName",
        "service_name",
        "fields.service",
        "fields.app",
        "program",
    ),
    service_version=("app_version", "version"),
    host_name=("HOSTNAME", "hostname", "host", "pod", "pod_name", "host_name", "kubernetes.pod_name", "beat.hostname"),
    log_level=("level", "severity", "loglevel", "log_level", "logLevel", "level_value"),
    log_logger=("logger_name", "logger", "loggerName", "log_name"),
    trace_id=("traceId", "trace_id", "X-B3-TraceId", "mdc.traceId", "mdc.trace_id", "tid"),
    span_id=("spanId", "span_id", "X-B3-SpanId", "mdc.spanId", "mdc.span_id"),
    error_type=("exception.exception_class", "throwable_class", "exception_class"),
    error_message=("exception.exception_message", "exception_message"),
    error_stack_trace=("stack_trace", "exception.stacktrace", "stackTrace", "stacktrace", "throwable"),
    http_status_code=("response", "status"),
    user_id=("user_id", "userId", "mdc.userId"),
    order_id=("order_id", "orderId", "order_no", "orderNo", "mdc.orderId", "mdc.order_id"),
    message=("message", "log", "msg"),
    extra=("error_code", "errorCode"),
)

# What is left of common loggers: bunyan and pino, zap, zerolog, slog, Serilog, NLog, structlog, python-json-logger, GELF,
# monolog, Google and AWS cloud logging, journald, Datadog, Docker's json-file.
_COMMON = FieldMapping(
    timestamp=(
        "time",
        "ts",
        "timestamp",
        "@t",
        "Timestamp",
        "datetime",
        "date",
        "asctime",
        "eventTime",
        "event_time",
        "log_time",
        "logTime",
        "t",
        "timeMillis",
        "instant.epochSecond",
        "__REALTIME_TIMESTAMP",
    ),
    service_name=(
        "dd.service",
        "Application",
        "Properties.Application",
        "Properties.ApplicationName",
        "svc",
        "component",
        "SYSLOG_IDENTIFIER",
        "serviceContext.service",
        "resource.labels.container_name",
        "labels.app",
        "kubernetes.container_name",
        "container_name",
        "container",
    ),
    service_version=("dd.version", "serviceContext.version"),
    host_name=("Properties.MachineName", "MachineName", "server", "_HOSTNAME", "instance", "node", "server_name"),
    log_level=(
        "lvl",
        "levelname",
        "level_name",
        "levelName",
        "@l",
        "Level",
        "severityText",
        "Severity",
        "LogLevel",
        "priority",
        "PRIORITY",
        "levelno",
    ),
    log_logger=(
        "SourceContext",
        "Properties.SourceContext",
        "Category",
        "category",
        "logger.name",
        "Logger",
        "caller",
        "target",
        "name",
    ),
    trace_id=(
        "@tr",
        "dd.trace_id",
        "traceID",
        "TraceID",
        "traceid",
        "trace",
        "context.trace_id",
        "contextMap.traceId",
        "contextMap.trace_id",
        "labels.trace_id",
        "logging.googleapis.com/trace",
        "span.trace_id",
        "otelTraceID",
        "x-trace-id",
        "correlation_id",
        "correlationId",
        "CorrelationId",
    ),
    span_id=(
        "@sp",
        "dd.span_id",
        "spanID",
        "SpanID",
        "spanid",
        "contextMap.spanId",
        "context.span_id",
        "labels.span_id",
        "logging.googleapis.com/spanId",
        "otelSpanID",
    ),
    error_type=(
        "err.type",
        "err.name",
        "error.name",
        "error.class",
        "error.kind",
        "exception.class",
        "exc_type",
        "context.exception.class",
        "thrown.name",
        "error_type",
        "Exception.Type",
        "exception.name",
    ),
    error_message=(
        "err.message",
        "error.msg",
        "thrown.message",
        "error_message",
        "errorMessage",
        "err.msg",
        "context.exception.message",
        "error",
        "err",
    ),
    error_stack_trace=(
        "err.stack",
        "error.stack",
        "error.stacktrace",
        "exc_info",
        "@x",
        "exception",
        "Exception",
        "stack",
        "traceback",
        "thrown.extendedStackTrace",
        "errorVerbose",
        "error.backtrace",
    ),
    http_status_code=(
        "status_code",
        "statusCode",
        "http.status_code",
        "http.status",
        "res.statusCode",
        "response_code",
        "responseCode",
        "http_status",
        "StatusCode",
        "response.status",
        "Properties.StatusCode",
    ),
    user_id=("usr.id", "uid", "UserId", "Properties.UserId", "context.user_id", "customer_id", "customerId"),
    order_id=(
        "order.id",
        "context.order_id",
        "context.orderId",
        "OrderId",
        "Properties.OrderId",
        "orderNumber",
        "order_number",
        "order",
        "mchOrderNo",
        "mch_order_no",
    ),
    message=(
        "@m",
        "short_message",
        "full_message",
        "textPayload",
        "jsonPayload.message",
        "jsonPayload.msg",
        "MESSAGE",
        "msg",
        "Message",
        "event.message",
        "RenderedMessage",
        "MessageTemplate",
        "@mt",
        "log.message",
        "text",
        "event",
    ),
    extra=(
        "err.code",
        "error_code",
        "errorCode",
        "decline_code",
        "error.decline_code",
        "err.decline_code",
        "sub_code",
        "err_code",
        "response_body",
        "http.response.body.content",
        "code",
    ),
)


def _merge(*mappings: FieldMapping) -> FieldMapping:
    """The mappings one after the other, each path once per column."""
    return FieldMapping(
        **{
            name: tuple(dict.fromkeys(path for mapping in mappings for path in getattr(mapping, name)))
            for name in FieldMapping.__struct_fields__
        }
    )


AUTO = _merge(ECS, OTEL, LOGSTASH, _COMMON)

PRESETS: dict[str, FieldMapping] = {"auto": AUTO, "ecs": ECS, "otel": OTEL, "logstash": LOGSTASH}


def with_overrides(mapping: FieldMapping, overrides: Mapping[str, str | Sequence[str]]) -> FieldMapping:
    """`mapping` with the user's own paths in front of its own.

    `overrides` is keyed by column (`log.level`, `labels.order_id`) or `extra`; a value is one path or several. Raises
    `ValueError` for a column that LOGS does not take from documents.

    >>> with_overrides(ECS, {"trace.id": "ctx.tid"}).trace_id
    ('ctx.tid', 'trace.id')
    """
    names = {column: name for name, column in COLUMNS.items()} | {name: name for name in FieldMapping.__struct_fields__}
    changed: dict[str, Paths] = {}
    for column, given in overrides.items():
        name = names.get(column)
        if name is None:
            known = ", ".join([*COLUMNS.values(), "extra"])
            message = f"no log column is called {column!r}; fields can be set for: {known}"
            raise ValueError(message)
        first = (given,) if isinstance(given, str) else tuple(given)
        changed[name] = tuple(dict.fromkeys((*first, *getattr(mapping, name))))
    return msgspec.structs.replace(mapping, **changed)


def source_fields(mapping: FieldMapping) -> list[str]:
    """Every path of `mapping`, sorted, each once: what to ask of Elasticsearch as `_source` includes."""
    return sorted({path for name in FieldMapping.__struct_fields__ for path in getattr(mapping, name)})
