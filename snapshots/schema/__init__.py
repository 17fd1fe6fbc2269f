"""The document's JSON Schema (draft 2020-12), made from the model, and its published copy beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from snapshots.model import SCHEMA_VERSION, ProblemSnapshot

PUBLISHED = Path(__file__).parent / "problem-snapshot-1.0.schema.json"

_TIME = {"format": "date-time", "pattern": "Z$"}
_SHA256 = {"pattern": "^[0-9a-f]{64}$"}
_SHARE = {"minimum": 0, "maximum": 1}
_COUNT = {"minimum": 0}

# (definition, field) -> what the Python type alone does not say.
_NARROWER: dict[tuple[str, str], dict[str, Any]] = {
    ("ProblemSnapshot", "schema_version"): {
        "pattern": "^1\\.[0-9]+$",
        "description": "Major and minor version of this schema.",
    },
    ("ProblemSnapshot", "snapshot_id"): {
        "pattern": "^ps-[0-9a-f]{20}$",
        "description": "Taken from the sha256 of the canonical document with an empty id: equal content, equal id.",
    },
    ("Window", "start"): _TIME,
    ("Window", "end"): _TIME,
    ("TicketRecord", "created_at"): {
        "format": "date-time",
        "pattern": "(Z|[+-][0-9]{2}:[0-9]{2})$",
        "description": "With the offset that the ticket was written in; readers show times in it.",
    },
    ("ScopeRecord", "anchor"): {**_TIME, "description": "The moment that the customer seems to mean."},
    ("Evidence", "at"): _TIME,
    ("Evidence", "sha256"): _SHA256,
    ("Evidence", "ref"): {
        "pattern": "^E[0-9]+$",
        "description": "The short name by which statements cite this record.",
    },
    ("Evidence", "start"): _COUNT,
    ("Evidence", "end"): _COUNT,
    ("Hop", "omitted"): _COUNT,
    ("Template", "first_seen"): _TIME,
    ("Template", "last_seen"): _TIME,
    ("Template", "incident_count"): _COUNT,
    ("Template", "baseline_count"): _COUNT,
    ("Template", "focus_count"): _COUNT,
    ("Template", "p_value"): _SHARE,
    ("OrderState", "at"): _TIME,
    ("PaymentAttempt", "at"): _TIME,
    ("SpanRecord", "at"): _TIME,
    ("SpanRecord", "duration_us"): {**_COUNT, "description": "Duration in microseconds."},
    ("Candidate", "probability"): _SHARE,
    ("Culprit", "probability"): _SHARE,
    ("Diagnosis", "confidence"): _SHARE,
    ("SeverityScope", "customers"): _COUNT,
    ("SeverityScope", "orders"): _COUNT,
    ("Severity", "respond_by"): _TIME,
    ("Severity", "resolve_by"): _TIME,
    ("Redaction", "total"): _COUNT,
    ("Provenance", "settings_sha256"): _SHA256,
    ("Provenance", "tables_sha256"): _SHA256,
    **{
        ("Coverage", name): _COUNT
        for name in ("matched", "fetched", "used", "cut", "duplicates", "unparsed", "outside")
    },
    **{
        ("TemplateTotals", name): _COUNT for name in ("lines", "incident", "baseline", "outside", "templates", "listed")
    },
    **{("TemplateTotals", name): _COUNT for name in ("unlisted_templates", "unlisted_lines", "approximate_lines")},
    **{
        (name, field): {"description": "Minor units of the currency, such as cents."}
        for name, field in (("OrderState", "amount_minor"), ("PaymentAttempt", "amount_minor"))
    },
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `ProblemSnapshot`: strict, every part described, times and hashes with their form."""
    made = msgspec.json.schema(ProblemSnapshot)
    definitions: dict[str, Any] = made["$defs"]
    for (name, field), narrower in _NARROWER.items():
        shape = definitions[name]["properties"][field]
        # A nullable field is an `anyOf`; only its typed branch is narrowed.
        target = next((part for part in shape.get("anyOf", []) if part.get("type") != "null"), shape)
        target.update({key: value for key, value in narrower.items() if key != "description"})
        if "description" in narrower:
            shape["description"] = narrower["description"]
    for definition in definitions.values():
        if "description" in definition:
            definition["description"] = " ".join(definition["description"].split())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:problem-snapshot:schema:{SCHEMA_VERSION}",
        "title": "Problem snapshot",
        "description": "One customer ticket's incident: what failed, the evidence for it, and what could not be checked.",
        "$ref": made["$ref"],
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """`json_schema()` as it is published: sorted definitions, two-space indent, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n"
