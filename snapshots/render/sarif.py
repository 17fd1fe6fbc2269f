"""The document as SARIF 2.1.0 (OASIS), the format in which code scanners hand their results on.

One run. A rule is a kind of finding or a check; the fault classes are a taxonomy that the results point into. `message`
is English, `properties.zh` the same in Chinese. Times stay in UTC, and equal documents give equal text.

    finding             fail, or review where the document abstains, or informational where it speaks for no fault or only rules one out
    missing evidence    open
    check               pass (healthy), review (found wrong: its finding is the failure), notApplicable (no input for it)
    ledger              a notification for each source that failed, gave a part, or was cut
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo
from typing import Any
from urllib.parse import quote

import msgspec

from snapshots.compare import finding_key
from snapshots.model import (
    Check,
    Coverage,
    Evidence,
    Finding,
    Missing,
    Model,
    ProblemSnapshot,
    Text,
    canonical_json,
    sha256_hex,
)
from snapshots.render.clean import clean
from snapshots.words import Language, class_name, subclass_name

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

# A finding from this weight on (log-odds; e to 1 for its class) is an error where its class is the located one.
_ERROR_WEIGHT = 1.0
_NO_FAULT = frozenset({"success", "pending"})
_TAXONOMY = "fault-classes"
_MISSING_RULE = "missing-evidence"


def render(
    snapshot: ProblemSnapshot,
    *,
    language: Language = "en",  # noqa: ARG001  # one shape for all renderers; both languages are in
    zone: tzinfo | None = None,  # noqa: ARG001
    full: bool = False,  # noqa: ARG001
    width: int = 100,  # noqa: ARG001
    colour: bool = False,  # noqa: ARG001
) -> str:
    """The document as one SARIF log with one run."""
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(clean(snapshot))]}
    return msgspec.json.format(msgspec.json.encode(log), indent=2).decode() + "\n"


def _run(s: ProblemSnapshot) -> dict[str, Any]:
    rules = _Descriptors()
    taxa = _Descriptors()
    fingerprints = _Fingerprints(s.ticket.id)
    results = [_finding(finding, s, rules, taxa, fingerprints) for finding in s.findings]
    results += [_missing(missing, rules, fingerprints) for missing in s.diagnosis.missing]
    results += [_check(check, rules, fingerprints) for check in s.checks]
    for candidate in s.diagnosis.candidates:
        _taxon(candidate.fault_class, candidate.fault_subclass, taxa)
    return {
        "tool": {
            "driver": {
                "name": s.provenance.tool,
                "version": s.provenance.tool_version,
                "rules": rules.made,
                "supportedTaxonomies": [{"name": _TAXONOMY}],
            }
        },
        "taxonomies": [
            {
                "name": _TAXONOMY,
                "version": s.provenance.tool_version,
                "shortDescription": {"text": "The classes and subclasses of faults that a snapshot names"},
                "taxa": taxa.made,
            }
        ],
        # A later snapshot of the same ticket is a later run of the same automation.
        "automationDetails": {
            "id": f"{s.provenance.tool}/{s.ticket.id}/{s.snapshot_id}",
            "description": _message(s.diagnosis.summary),
        },
        "invocations": [
            {
                "executionSuccessful": not any(row.status in {"failed", "partial"} for row in s.coverage),
                "toolExecutionNotifications": [note for row in s.coverage for note in _notification(row)],
            }
        ],
        "originalUriBaseIds": _bases(s),
        "results": results,
        "columnKind": "unicodeCodePoints",
        "properties": {
            "snapshot_id": s.snapshot_id,
            "ticket_id": s.ticket.id,
            "diagnosis": msgspec.to_builtins(s.diagnosis),
            "provenance": msgspec.to_builtins(s.provenance),
            "redaction": msgspec.to_builtins(s.redaction),
        },
    }


class _Descriptors:
    """Rules, or taxa, in the order in which they are first used."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self._index: dict[str, int] = {}

    def index(self, name: str, text: Text) -> int:
        """The place of the descriptor `name`, made with `text` where it is new."""
        if name not in self._index:
            self._index[name] = len(self.made)
            self.made.append({"id": name, "shortDescription": {"text": _plain(text.en)}, "properties": {"zh": text.zh}})
        return self._index[name]


class _Fingerprints:
    """What stays the same when the ticket's snapshot is taken again: never a number of a finding, never a count."""

    def __init__(self, ticket_id: str) -> None:
        self._ticket = ticket_id
        self._seen: dict[str, int] = {}

    def of(self, *parts: str | None) -> dict[str, str]:
        """The fingerprint of `parts`; results that are alike are told apart by their order."""
        alike = canonical_json([self._ticket, *parts]).decode()
        self._seen[alike] = self._seen.get(alike, 0) + 1
        return {"problemSnapshot/v1": sha256_hex(canonical_json([alike, self._seen[alike]]))}


# ---- results


def _finding(
    finding: Finding, s: ProblemSnapshot, rules: _Descriptors, taxa: _Descriptors, fingerprints: _Fingerprints
) -> dict[str, Any]:
    kind, level = _kind_and_level(finding, s)
    result = {
        "ruleId": finding.kind,
        "ruleIndex": rules.index(finding.kind, _named(finding.kind)),
        "kind": kind,
        "level": level,
        "message": _message(finding.statement),
        "locations": [_location(evidence) for evidence in finding.evidence],
        "fingerprints": fingerprints.of(*finding_key(finding)),
    }
    if finding.supports:
        result["taxa"] = [_taxon(finding.supports, finding.subclass, taxa)]
    stamps = sorted(evidence.sha256 for evidence in finding.evidence if evidence.sha256)
    if stamps:
        result["partialFingerprints"] = {"evidenceSha256/v1": sha256_hex("\n".join(stamps).encode())}
    result["properties"] = _given(finding, "evidence", "statement", "kind") | {"zh": finding.statement.zh}
    return result


def _kind_and_level(finding: Finding, s: ProblemSnapshot) -> tuple[str, str]:
    """SARIF knows a level only for what failed: all else has the level `none`."""
    d = s.diagnosis
    if finding.supports in _NO_FAULT or (finding.against and not finding.supports):
        return "informational", "none"
    if d.abstained and finding.supports and finding.weight > 0:
        return "review", "none"
    if finding.supports and finding.weight > 0 and finding.supports == d.fault_class:
        return "fail", "error" if finding.weight >= _ERROR_WEIGHT else "warning"
    return "fail", "note"


def _missing(missing: Missing, rules: _Descriptors, fingerprints: _Fingerprints) -> dict[str, Any]:
    name = Text(en="Evidence that is absent and would decide", zh="缺少的关键证据")
    result = {
        "ruleId": _MISSING_RULE,
        "ruleIndex": rules.index(_MISSING_RULE, name),
        "kind": "open",
        "level": "none",
        "message": _message(missing.question),
        "fingerprints": fingerprints.of(_MISSING_RULE, missing.source, missing.service),
        "properties": _given(missing, "question") | {"zh": missing.question.zh},
    }
    if missing.service:
        result["locations"] = [{"logicalLocations": [{"name": missing.service, "kind": "service"}]}]
    return result


def _check(check: Check, rules: _Descriptors, fingerprints: _Fingerprints) -> dict[str, Any]:
    kinds = {"healthy": "pass", "found": "review", "not_evaluated": "notApplicable"}
    name = f"check.{check.id}"
    return {
        "ruleId": name,
        "ruleIndex": rules.index(name, _named(name)),
        "kind": kinds[check.outcome],
        "level": "none",
        "message": _message(check.statement),
        "fingerprints": fingerprints.of(name),
        "properties": {"outcome": check.outcome, "zh": check.statement.zh},
    }


def _notification(row: Coverage) -> Iterable[dict[str, Any]]:
    levels = {"failed": "error", "partial": "warning"}
    if row.status not in levels and not row.cut and not row.sampled:
        return
    why = "; ".join([part for part in (row.error, *row.notes) if part])
    counts = f"fetched {row.fetched}, left out {row.cut}" + (", a sample" if row.sampled else "")
    text = f"{row.source}, {row.what}: {row.status}: {counts}" + (f": {why}" if why else "")
    yield {
        "level": levels.get(row.status, "note"),
        "message": {"text": _plain(text)},
        "properties": _given(row),
    }


# ---- where


def _location(evidence: Evidence) -> dict[str, Any]:
    location: dict[str, Any] = {}
    if evidence.file is not None:
        place = {"uri": _relative(evidence.file), "uriBaseId": evidence.source}
        location["physicalLocation"] = {"artifactLocation": place}
        if evidence.start is not None and evidence.end is not None:
            length = max(0, evidence.end - evidence.start)
            region = {"byteOffset": evidence.start, "byteLength": length, "snippet": {"text": evidence.quote}}
            location["physicalLocation"]["region"] = region
    if evidence.doc_id is not None or evidence.file is None:
        name = evidence.doc_id or evidence.ref
        whole = "/".join(part for part in (evidence.source, evidence.index, name) if part)
        logical = {"name": name, "fullyQualifiedName": whole, "kind": evidence.kind}
        location["logicalLocations"] = [logical]
    if evidence.quote:
        location["message"] = {"text": _plain(evidence.quote)}
    location["properties"] = _given(evidence, "quote")
    return location


def _relative(file: str) -> str:
    """A file of the source as a relative reference: it can name no other host and no scheme."""
    return quote(file.lstrip("/"), safe="/")


def _bases(s: ProblemSnapshot) -> dict[str, Any]:
    """What the files' places are relative to: each source's own folder, wherever its reader keeps it."""
    named = sorted({e.source for finding in s.findings for e in finding.evidence if e.file is not None})
    text = "The folder of source {}. Byte regions count the bytes of the uncompressed file."
    return {name: {"description": {"text": _plain(text.format(name))}} for name in named}


# ---- words


def _taxon(fault_class: str, subclass: str | None, taxa: _Descriptors) -> dict[str, Any]:
    name = "/".join(part for part in (fault_class, subclass) if part)
    en, zh = (
        " > ".join(part for part in (class_name(fault_class, one), subclass_name(fault_class, subclass, one)) if part)
        for one in ("en", "zh")
    )
    return {"id": name, "index": taxa.index(name, Text(en=en, zh=zh)), "toolComponent": {"name": _TAXONOMY, "index": 0}}


def _named(name: str) -> Text:
    """A kind of finding or a check as words; it is a name of the program, the same in both languages."""
    words = name.replace(".", ": ").replace("_", " ")
    return Text(en=words, zh=words)


def _message(text: Text) -> dict[str, Any]:
    return {"text": _plain(text.en), "properties": {"zh": text.zh}}


def _plain(text: str) -> str:
    """Text in which SARIF sees no placeholder (3.11.5: braces are doubled) and no link (3.11.6)."""
    return text.replace("{", "{{").replace("}", "}}").replace("](", "] (")


def _given(part: Model, *without: str) -> dict[str, Any]:
    """The fields of `part` that hold something, as JSON values."""
    fields = msgspec.to_builtins(part)
    return {key: value for key, value in fields.items() if key not in without and value not in (None, "", [], {})}
