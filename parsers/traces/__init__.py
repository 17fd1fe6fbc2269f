"""Traces to the SPANS table: one trace format a file, and `files` that tells them apart.

    files        a file of any of the formats, and the span objects that evidence points to
    otlp         OTLP/JSON, reading and writing
    jaeger       Jaeger's JSON
    documents    span documents as Elasticsearch keeps them (APM, OTel, Jaeger)
    attributes   a span's attributes -> columns
    values       ids, numbers, times, kinds and states as the formats write them
    payloads     JSON that is cut short or stands in several pieces
    rows         rows to Arrow

Old and new semantic-convention names (https://opentelemetry.io/docs/specs/semconv/) give the same columns. Objects that are
no span are counted, never raised.

A span's evidence is `_index` = trace id, `_id` = span id, or the document's own `_index` and `_id` where it has them;
`find_spans` opens such a pointer again. Ids are lower-case hex, as W3C trace context writes them, also where the file has
base64. `host.name` falls back to the pod's name, which is the host name inside a pod.

Files are read span by span from slices of the file's bytes, and rows become Arrow in batches, so that memory follows the
file's size and not the number of Python objects in it.
"""
