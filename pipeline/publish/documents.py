"""What a snapshot is in an Elasticsearch index: one document a snapshot, one a finding, and the template for both.

Fields follow the Elastic Common Schema where it has them (https://www.elastic.co/docs/reference/ecs); what it does not
have is below `problem`, `ticket`, `order` and `customer`. Only what stands in the snapshot is written, which is redacted,
and no time of day: equal snapshots give equal documents. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from pipeline.version import __version__
from snapshots.model import Evidence, Finding, ProblemSnapshot, Text, canonical_json, read_snapshot, sha256_hex

# Raise it with every change to the documents or the mappings below: a document of a lower layout is written again, one of
# a higher layout is left alone, and so are templates and mappings.
LAYOUT = 1
ECS_VERSION = "8.11.0"
MANAGED_BY = "problem-snapshot"
# Above the built-in templates of Elasticsearch and its agents, which end at 200.
PRIORITY = 250

# Our category -> a value that `event.category` allows. "other" has none there.
_CATEGORIES = {"interface": ["api"], "configuration": ["configuration"]}


@dataclass(frozen=True)
class Document:
    """One document: its id, its fields, and the sha256 of them without what `problem.published` says."""

    id: str
    source: Mapping[str, Any]
    sha256: str


@dataclass(frozen=True)
class Documents:
    """A snapshot's own document and one for each of its findings."""

    snapshot_id: str
    ticket_id: str
    own: Document
    findings: tuple[Document, ...]

    def __iter__(self) -> Iterator[Document]:
        """The findings first: where the snapshot's own document is, all of it is."""
        yield from self.findings
        yield self.own


def documents_of(snapshot: ProblemSnapshot) -> Documents:
    """The documents of `snapshot`."""
    findings = tuple(_finding_document(snapshot, finding) for finding in snapshot.findings)
    own = _snapshot_document(snapshot, [document.id for document in findings])
    return Documents(snapshot.snapshot_id, snapshot.ticket.id, own, findings)


def snapshot_in(source: Mapping[str, Any]) -> ProblemSnapshot:
    """The snapshot that the `_source` of its document holds. Raises `KeyError` or `msgspec.ValidationError`."""
    return read_snapshot(source["problem"]["document"].encode())


def _snapshot_document(s: ProblemSnapshot, finding_ids: list[str]) -> Document:
    d = s.diagnosis
    problem = {
        "fault_class": d.fault_class,
        "fault_subclass": d.fault_subclass,
        "seed_class": d.seed_class,
        "class_name": _text(d.class_name),
        "confidence": d.confidence,
        "abstained": d.abstained,
        "candidates": msgspec.to_builtins(d.candidates),
        "culprits": msgspec.to_builtins(d.culprits),
        "location": msgspec.to_builtins(d.location),
        "owner": d.owner,
        "first_action": _text(d.first_action),
        "missing": [
            {"source": m.source, "kind": m.kind, "service": m.service, "question": _text(m.question)} for m in d.missing
        ],
        "anchor": _utc(s.scope.anchor),
        "severity": s.severity.level if s.severity else None,
        "counts": {
            "findings": len(s.findings),
            "evidence": len({evidence.ref for finding in s.findings for evidence in finding.evidence}),
            "checks_healthy": sum(check.outcome == "healthy" for check in s.checks),
            "checks_found": sum(check.outcome == "found" for check in s.checks),
            "checks_not_evaluated": sum(check.outcome == "not_evaluated" for check in s.checks),
            "coverage": len(s.coverage),
            "coverage_not_ok": sum(row.status not in {"ok", "empty"} for row in s.coverage),
            "lines": s.template_totals.lines,
            "templates": s.template_totals.templates,
            "redacted": s.redaction.total,
        },
        "finding_ids": finding_ids,
        # Text, not an object: it comes back byte for byte, and no mapping has to know its fields.
        "document": msgspec.json.encode(s, order="deterministic").decode(),
    }
    fields = {
        **_shared(s, s.snapshot_id, "snapshot", d.summary, problem),
        "service": {"name": d.location.service},
        "host": {"name": d.location.host},
        "trace": {"id": _identifiers(s, "trace_id")},
        "labels": {"channel": d.location.channel, "language": s.ticket.language},
    }
    fields["event"] |= {
        "kind": "state",
        "category": _CATEGORIES.get(d.seed_class or "", []),
        "start": _utc(s.scope.window.start),
        "end": _utc(s.scope.window.end),
    }
    return _document(fields)


def _finding_document(s: ProblemSnapshot, finding: Finding) -> Document:
    times = sorted(time for evidence in finding.evidence if (time := _utc(evidence.at)))
    problem = {
        "finding": {
            "id": finding.id,
            "kind": finding.kind,
            "supports": finding.supports,
            "subclass": finding.subclass,
            "against": finding.against,
            "weight": finding.weight,
            "strength": finding.strength,
            "about_focus": finding.about_focus,
        },
        "evidence": [_pointer(evidence) for evidence in finding.evidence],
    }
    fields = {
        **_shared(s, f"{s.snapshot_id}:{finding.id}", "finding", finding.statement, problem),
        "service": {"name": finding.service},
        "error": {"code": finding.code},
        "labels": {"channel": finding.channel, "language": s.ticket.language},
    }
    fields["event"] |= {"kind": "enrichment", "start": times[0] if times else None, "end": times[-1] if times else None}
    return _document(fields)


def _shared(s: ProblemSnapshot, own_id: str, what: str, statement: Text, problem: dict[str, Any]) -> dict[str, Any]:
    return {
        "@timestamp": _utc(s.ticket.created_at),
        "message": statement.en,
        "message_zh": statement.zh,
        "ecs": {"version": ECS_VERSION},
        "event": {"id": own_id, "module": "problem_snapshot", "dataset": f"problem_snapshot.{what}", "type": ["info"]},
        "ticket": {
            "id": s.ticket.id,
            "system": s.ticket.system,
            "title": s.ticket.title,
            "description": s.ticket.description if what == "snapshot" else None,
        },
        "order": {"id": s.scope.focus_orders or _identifiers(s, "order_id")},
        "customer": {"id": s.ticket.customer_id},
        "problem": {
            "snapshot_id": s.snapshot_id,
            "schema_version": s.schema_version,
            "tool_version": s.provenance.tool_version,
            **problem,
        },
    }


def _document(fields: dict[str, Any]) -> Document:
    source = _without_nothing(fields)
    digest = sha256_hex(canonical_json(source))
    source["problem"]["published"] = {"layout": LAYOUT, "sha256": digest}
    return Document(source["event"]["id"], source, digest)


def _pointer(evidence: Evidence) -> dict[str, Any]:
    """Where the record is; `index` and `doc_id` find it in Kibana (`_id: "..."` in that index)."""
    return {**msgspec.structs.asdict(evidence), "at": _utc(evidence.at)}


def _identifiers(s: ProblemSnapshot, kind: str) -> list[str]:
    return list(dict.fromkeys(one.value for one in s.scope.identifiers if one.kind == kind))


def _text(text: Text | None) -> dict[str, str] | None:
    return {"en": text.en, "zh": text.zh} if text else None


def _utc(at: str | None) -> str | None:
    """`at` in UTC, or None where it is no time: Elasticsearch would refuse the whole document."""
    try:
        moment = datetime.fromisoformat(at or "")
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return None


def _without_nothing(value: Any) -> Any:
    """`value` without fields that say nothing: null, and empty texts, lists and objects."""
    if isinstance(value, dict):
        kept = {key: _without_nothing(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner is not None and inner not in ("", [], {})}
    if isinstance(value, list):
        return [_without_nothing(inner) for inner in value]
    return value


# ---- the template


def template(name: str) -> dict[str, Any]:
    """The body of the composable index template for the index `name` and those that roll over from it, `name-...`."""
    return {
        "index_patterns": [name, f"{name}-*"],
        "priority": PRIORITY,
        "version": LAYOUT,
        "_meta": {"managed_by": MANAGED_BY, "tool_version": __version__},
        "template": {
            # Without a second node there is no second copy, and the index is green all the same.
            "settings": {"index": {"number_of_shards": 1, "auto_expand_replicas": "0-1"}},
            "mappings": mappings(),
        },
    }


def mappings() -> dict[str, Any]:
    """The types of the fields. Others are kept and not indexed: a pipeline may add some, and no value is guessed at."""
    exact = {"type": "keyword", "ignore_above": 1024}
    words, date, count = {"type": "text"}, {"type": "date"}, {"type": "long"}
    share = {"type": "double"}
    both = _object(en=words, zh=words)
    names = dict.fromkeys(("fault_class", "fault_subclass"), exact)
    return {
        "dynamic": False,
        "_meta": {"managed_by": MANAGED_BY, "layout": LAYOUT},
        "properties": {
            "@timestamp": date,
            "message": words,
            "message_zh": words,
            "ecs": _object(version=exact),
            "event": _object(
                id=exact, kind=exact, category=exact, type=exact, module=exact, dataset=exact, start=date, end=date
            ),
            "labels": _object(channel=exact, language=exact),
            "service": _object(name=exact),
            "host": _object(name=exact),
            "trace": _object(id=exact),
            "error": _object(code=exact),
            "order": _object(id=exact),
            "customer": _object(id=exact),
            "ticket": _object(
                id=exact, system=exact, title={"type": "text", "fields": {"keyword": exact}}, description=words
            ),
            "problem": _object(
                snapshot_id=exact,
                schema_version=exact,
                tool_version=exact,
                **names,
                seed_class=exact,
                class_name=both,
                confidence=share,
                abstained={"type": "boolean"},
                # Nested, so that a class can be asked for together with its own probability.
                candidates={
                    "type": "nested",
                    "properties": {**names, "probability": share, "findings": exact, "against": exact},
                },
                culprits={"type": "nested", "properties": {"service": exact, "probability": share}},
                location=_object(service=exact, operation=exact, host=exact, channel=exact),
                owner=exact,
                first_action=both,
                missing=_object(source=exact, kind=exact, service=exact, question=both),
                anchor=date,
                severity=exact,
                counts=_object(
                    **dict.fromkeys(
                        (
                            *("findings", "evidence", "checks_healthy", "checks_found", "checks_not_evaluated"),
                            *("coverage", "coverage_not_ok", "lines", "templates", "redacted"),
                        ),
                        count,
                    )
                ),
                finding_ids=exact,
                finding=_object(
                    id=exact,
                    kind=exact,
                    supports=exact,
                    subclass=exact,
                    against=exact,
                    weight=share,
                    strength=share,
                    about_focus={"type": "boolean"},
                ),
                evidence=_object(
                    **dict.fromkeys(("ref", "kind", "source", "sha256", "index", "doc_id", "file"), exact),
                    start=count,
                    end=count,
                    at=date,
                    service=exact,
                    quote=words,
                ),
                published=_object(layout=count, sha256=exact),
                # Kept as it is, not searched.
                document={"type": "keyword", "index": False, "doc_values": False},
            ),
        },
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {"properties": properties}
