"""Trace and span ids anywhere in the text.

The forms are those of W3C trace context (`00-trace-span-flags`), B3, Jaeger's `uber-trace-id`, AWS X-Ray (`Root=1-...`), Spring
Cloud Sleuth (`[app,trace,span]`), SkyWalking (`TID`), and whatever is called a trace id.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.filling import Fill, no_zeros
from parsers.lines.strings import matching, matching_among

_ID = (
    r"[0-9a-fA-F]{32}|[0-9a-fA-F]{16}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-zA-Z]{8,}(?:\.\d+){2}"
)
# Each of the forms below holds it.
TRACE_ID_SIGN = (
    r"(?i)trace|(?:^|[^a-z])tid[^a-z]|(?:^|[^a-z])b3[^a-z]|\[[\w.-]*, ?[0-9a-f]{16}|[0-9a-f]{32}-[0-9a-f]{16}|root=1-"
)
_TRACE_FORMS = (
    # The commonest first.
    r"(?i)(?:^|[^a-z])(?:trace[_. -]?id|traceid|tid|trace)\\?[\"']?\s?[:=：]\s?\\?[\"'\[]?(?P<trace>"
    + _ID
    + r")(?:[^0-9A-Za-z]|$)",
    r"(?:^|[^0-9A-Za-z])00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?:[^0-9A-Za-z]|$)",
    r"\[[\w.-]*, ?(?P<trace>[0-9a-f]{32}|[0-9a-f]{16}), ?(?P<span>[0-9a-f]{16})(?:, ?\w*)?\]",
    r"\[(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})\]",
    r"(?i)(?:^|[^a-z])b3[\"']?\s?[:=]\s?[\"']?(?P<trace>[0-9a-f]{32}|[0-9a-f]{16})-(?P<span>[0-9a-f]{16})",
    r"(?i)uber-trace-id[\"']?\s?[:=]\s?[\"']?(?P<trace>[0-9a-f]{16,32})(?::|%3A)(?P<span>[0-9a-f]{1,16})",
    r"(?i)(?:trace[_. -]?id)\\?[\"']?\s?[:=：]\s?\\?[\"']?(?P<trace>\d{15,20})(?:[^0-9A-Za-z]|$)",
    r"(?i)root=(?P<trace>1-[0-9a-f]{8}-[0-9a-f]{24})",
)
SPAN_ID_SIGN = r"(?i)span"
_SPAN = r"(?i)span[_. -]?id\\?[\"']?\s?[:=：]\s?\\?[\"'\[]?(?P<span>[0-9a-f]{16}|\d{15,20})(?:[^0-9A-Za-z]|$)"


def read_trace_ids(message: Any, telling: Any, picked: Any, fill: Fill) -> None:
    """Trace and span ids out of the whole message."""
    own = picked.column("trace.id").is_null().to_numpy()
    known = fill.columns.get("trace.id")
    if known is not None:
        own = own & pc.is_null(known).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(matching_among(message, TRACE_ID_SIGN, telling & own))
    spans = np.flatnonzero(
        matching_among(message, SPAN_ID_SIGN, telling & picked.column("span.id").is_null().to_numpy())
    )
    for pattern in _TRACE_FORMS:
        if not len(rows):
            break
        part = message.take(pa.array(rows))
        hits = matching(part, pattern)
        if not hits.any():
            continue
        got = pc.extract_regex(part.filter(pa.array(hits)), pattern)
        for number, field in enumerate(got.type):
            values = pc.struct_field(got, number)
            fill.put(f"{field.name}.id", rows[hits], no_zeros(values))
        rows = rows[~hits]
    if len(spans):
        got = pc.extract_regex(message.take(pa.array(spans)), _SPAN)
        fill.put("span.id", spans, no_zeros(pc.struct_field(got, 0)))
