"""What changed between two documents, and which evidence moved the diagnosis.

`compare` is a pure function: it looks at nothing but the two documents. Findings are matched by what they say and not by
their number, which shifts when another finding comes before them; records are matched by their sha256.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from snapshots.comparison import (
    COMPARISON_VERSION,
    CandidateChange,
    Change,
    CheckChange,
    Comparison,
    CoverageChange,
    FindingChange,
    Inputs,
    MissingChange,
    Moved,
    OrderChange,
    RecordChange,
    Replayed,
    Side,
    TemplateChange,
    TemplatesChange,
    Value,
)
from snapshots.conclusion import conclusion, counted, inputs_statement
from snapshots.model import (
    Coverage,
    Diagnosis,
    Evidence,
    Finding,
    Missing,
    OrderState,
    ProblemSnapshot,
    ScopeRecord,
    Template,
    Text,
    canonical_json,
)
from snapshots.verify import all_evidence, pointer_of

Part = TypeVar("Part")


def compare(before: ProblemSnapshot, after: ProblemSnapshot, replay: Replayed | None = None) -> Comparison:
    """What changed from `before` to `after`, which may be of different tickets.

    `replay` says how `after` was made from `before`, where it was; what it knows of the sources counts for `inputs`.
    """
    diagnosis = _changes(_facts(before.diagnosis), _facts(after.diagnosis))
    candidates = _candidates(before, after)
    findings = _findings(before, after)
    missing = _missing(before, after)
    ticket = _changes(_ticket(before), _ticket(after))
    scope = _changes(_scope(before.scope), _scope(after.scope))
    provenance = _changes(_provenance(before), _provenance(after))
    coverage = _coverage(before, after)
    orders = _orders(before, after)
    inputs = _inputs(before, after, ticket, coverage, orders, scope, provenance, replay)
    moved = any(one.before != one.after for one in candidates)
    same_diagnosis = not (diagnosis or moved or missing)
    same_evidence = not (findings or inputs.records_only_before or inputs.records_only_after)
    return Comparison(
        comparison_version=COMPARISON_VERSION,
        before=_side(before),
        after=_side(after),
        same_document=before == after,
        same_diagnosis=same_diagnosis,
        same_evidence=same_evidence,
        conclusion=conclusion(before, after, findings, inputs, same=(same_diagnosis, same_evidence), replay=replay),
        parts=[
            name
            for name in before.__struct_fields__
            if name != "snapshot_id" and getattr(before, name) != getattr(after, name)
        ],
        diagnosis=diagnosis,
        candidates=candidates if moved or any(one.subclass_before != one.subclass_after for one in candidates) else [],
        findings=findings,
        missing=missing,
        checks=_checks(before, after),
        inputs=inputs,
        coverage=coverage,
        templates=_templates(before, after),
        orders=orders,
        scope=scope,
        ticket=ticket,
        provenance=provenance,
        replay=replay,
    )


# ---- fields


def _side(s: ProblemSnapshot) -> Side:
    d = s.diagnosis
    return Side(
        snapshot_id=s.snapshot_id,
        ticket_id=s.ticket.id,
        summary=d.summary,
        abstained=d.abstained,
        fault_class=d.fault_class,
        confidence=d.confidence,
    )


def _changes(before: Mapping[str, Value], after: Mapping[str, Value]) -> list[Change]:
    names = dict.fromkeys([*before, *after])
    return [
        Change(name=name, before=before.get(name), after=after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _facts(d: Diagnosis) -> dict[str, Value]:
    return {
        "seed_class": d.seed_class,
        "abstained": d.abstained,
        "fault_class": d.fault_class,
        "fault_subclass": d.fault_subclass,
        "confidence": d.confidence,
        "location.service": d.location.service,
        "location.operation": d.location.operation,
        "location.host": d.location.host,
        "location.channel": d.location.channel,
        "culprits": ", ".join(f"{one.service} {one.probability:.4f}" for one in d.culprits) or None,
        "owner": d.owner,
        "first_action": d.first_action,
        "summary": d.summary,
    }


def _ticket(s: ProblemSnapshot) -> dict[str, Value]:
    ticket = s.ticket
    return {
        "id": ticket.id,
        "system": ticket.system,
        "title": ticket.title,
        "description": ticket.description,
        "created_at": ticket.created_at,
        "language": ticket.language,
        "customer_id": ticket.customer_id,
        "questionnaire": canonical_json(ticket.questionnaire).decode(),
    }


def _scope(scope: ScopeRecord) -> dict[str, Value]:
    return {
        "window.start": scope.window.start,
        "window.end": scope.window.end,
        "baseline.start": scope.baseline.start,
        "baseline.end": scope.baseline.end,
        "anchor": scope.anchor,
        "reason": scope.reason,
        "focus_orders": ", ".join(scope.focus_orders) or None,
        "services": ", ".join(scope.services) or None,
        "channels": ", ".join(scope.channels) or None,
        "identifiers": ", ".join(f"{one.kind} {one.value}" for one in scope.identifiers) or None,
    }


def _provenance(s: ProblemSnapshot) -> dict[str, Value]:
    p = s.provenance
    return {
        "schema_version": s.schema_version,
        "tool": p.tool,
        "tool_version": p.tool_version,
        "settings_sha256": p.settings_sha256,
        "tables_sha256": p.tables_sha256,
        "sources": ", ".join(p.sources) or None,
    }


# ---- the diagnosis


def _candidates(before: ProblemSnapshot, after: ProblemSnapshot) -> list[CandidateChange]:
    """Every candidate of either document, the one that moved most first. Another subclass is the same class, moved."""
    left, right = list(before.diagnosis.candidates), list(after.diagnosis.candidates)
    exact = _paired(left, right, lambda one: (one.fault_class, one.fault_subclass))
    pairs = [(was, now) for was, now in exact if was and now]
    left = [was for was, now in exact if was and not now]
    right = [now for was, now in exact if now and not was]
    rows = [
        CandidateChange(
            fault_class=one.fault_class,
            before=was.probability if was else None,
            after=now.probability if now else None,
            subclass_before=was.fault_subclass if was else None,
            subclass_after=now.fault_subclass if now else None,
        )
        for was, now in [*pairs, *_paired(left, right, lambda one: one.fault_class)]
        if (one := now or was)
    ]
    return sorted(rows, key=lambda row: (-abs((row.after or 0.0) - (row.before or 0.0)), row.fault_class))


_Role = Literal["for", "against"]


def _moves(
    finding: Finding, candidates: Sequence[CandidateChange], cited: Mapping[str, _Role]
) -> tuple[CandidateChange | None, _Role | None]:
    """The explanation that `finding` moved, and which way; `cited` are the classes whose candidates cite it.

    Of its own class the one of its own subclass, where there is one, else the likeliest.
    """
    if finding.against and (finding.weight < 0 or not finding.supports):
        # What it takes, it takes from all of these: the one that moved most is named.
        ruled = [row for row in candidates if row.fault_class in finding.against]
        return (ruled[0] if ruled else None), "against"
    if finding.supports:
        mine = [row for row in candidates if row.fault_class == finding.supports]
        own = [row for row in mine if finding.subclass in {row.subclass_before, row.subclass_after} - {None}]
        best = max(own or mine, key=lambda row: max(row.before or 0.0, row.after or 0.0), default=None)
        return best, "against" if finding.weight < 0 else "for"
    first = next((row for row in candidates if row.fault_class in cited), None)
    return first, cited[first.fault_class] if first else None


def _cited_by(s: ProblemSnapshot, finding: Finding | None) -> dict[str, _Role]:
    """The classes of the candidates that cite the finding, each with the side on which they do."""
    if finding is None:
        return {}
    roles: dict[str, _Role] = {}
    for candidate in s.diagnosis.candidates:
        if finding.id in candidate.against:
            roles[candidate.fault_class] = "against"
        if finding.id in candidate.findings:
            roles[candidate.fault_class] = "for"
    return roles


def _missing(before: ProblemSnapshot, after: ProblemSnapshot) -> list[MissingChange]:
    def key(missing: Missing) -> Hashable:
        return missing.source, missing.service, missing.question.en

    pairs = _paired(before.diagnosis.missing, after.diagnosis.missing, key)
    gone = [MissingChange(change="gone", missing=one) for one, other in pairs if one and not other]
    return gone + [MissingChange(change="new", missing=other) for one, other in pairs if other and not one]


# ---- findings


def finding_key(finding: Finding) -> tuple[str | None, ...]:
    """What makes a finding the same one in two documents: what it says, without the numbers that it counts."""
    f = finding
    return f.kind, f.supports, f.code, f.service, f.channel, _without_numbers(f.statement.en)


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "#", text)


def _findings(before: ProblemSnapshot, after: ProblemSnapshot) -> list[FindingChange]:
    known_before, known_after = _records(before), _records(after)
    candidates = _candidates(before, after)
    rows = []
    for was, now in _matched(before.findings, after.findings):
        shown = now or was
        assert shown is not None  # noqa: S101  # a pair has at least one
        records_was = _sha256s(was.evidence) if was else frozenset()
        records_now = _sha256s(now.evidence) if now else frozenset()
        if was and now and _says(was) == _says(now) and records_was == records_now:
            continue
        candidate, role = _moves(shown, candidates, {**_cited_by(before, was), **_cited_by(after, now)})
        rows.append(
            FindingChange(
                change=_moved(was, now),
                kind=shown.kind,
                statement=shown.statement,
                weight_change=round((now.weight if now else 0.0) - (was.weight if was else 0.0), 4),
                weight_before=was.weight if was else None,
                weight_after=now.weight if now else None,
                supports=shown.supports,
                subclass=shown.subclass,
                against=shown.against,
                service=shown.service,
                code=shown.code,
                id_before=was.id if was else None,
                id_after=now.id if now else None,
                statement_before=was.statement if was and was.statement != shown.statement else None,
                candidate=candidate,
                role=role,
                records_new=len(records_now - known_before),
                records_gone=len(records_was - known_after),
                evidence=shown.evidence,
            )
        )
    return sorted(rows, key=lambda row: (-abs(row.weight_change), row.change, row.kind, row.statement.en))


def _matched(before: Sequence[Finding], after: Sequence[Finding]) -> list[tuple[Finding | None, Finding | None]]:
    """The same findings side by side: word for word, then but for numbers, then the only ones of their kind."""

    def told(f: Finding) -> Hashable:
        return f.kind, f.supports, f.code, f.service, f.statement.en, f.statement.zh

    def about(f: Finding) -> Hashable:
        return f.kind, f.supports, f.code, f.service

    left, right = list(before), list(after)
    pairs: list[tuple[Finding | None, Finding | None]] = []
    for key in (told, finding_key, about):
        if key is about:
            # Several that differ in words may well be different findings: only a lone one is taken for reworded.
            lone = [{k for k, n in Counter(map(about, side)).items() if n == 1} for side in (left, right)]
            both = lone[0] & lone[1]
            found = _paired([f for f in left if about(f) in both], [f for f in right if about(f) in both], about)
        else:
            found = _paired(left, right, key)
        whole = [(was, now) for was, now in found if was is not None and now is not None]
        pairs += whole
        gone, come = {id(was) for was, _ in whole}, {id(now) for _, now in whole}
        left, right = [f for f in left if id(f) not in gone], [f for f in right if id(f) not in come]
    return [*pairs, *((f, None) for f in left), *((None, f) for f in right)]


def _says(f: Finding) -> tuple[Any, ...]:
    who = f.supports, f.subclass, f.against, f.service, f.channel, f.code
    return f.statement, f.weight, f.strength, f.about_focus, who


def _paired(
    before: Iterable[Part], after: Iterable[Part], key: Callable[[Part], Hashable]
) -> list[tuple[Part | None, Part | None]]:
    """Both sides by their key, in order of the earlier one; equal keys pair up in their own order."""
    waiting: dict[Hashable, list[Part]] = {}
    for part in after:
        waiting.setdefault(key(part), []).append(part)
    pairs: list[tuple[Part | None, Part | None]] = []
    for part in before:
        others = waiting.get(key(part))
        pairs.append((part, others.pop(0) if others else None))
    return [*pairs, *((None, part) for others in waiting.values() for part in others)]


# ---- checks, the ledger, templates, orders


def _checks(before: ProblemSnapshot, after: ProblemSnapshot) -> list[CheckChange]:
    rows = []
    for was, now in _paired(before.checks, after.checks, lambda check: check.id):
        shown = now or was
        assert shown is not None  # noqa: S101  # a pair has at least one
        if (was and was.outcome) != (now and now.outcome):
            row = CheckChange(
                id=shown.id,
                before=was.outcome if was else None,
                after=now.outcome if now else None,
                statement=shown.statement,
            )
            rows.append(row)
    return rows


def _coverage(before: ProblemSnapshot, after: ProblemSnapshot) -> list[CoverageChange]:
    def facts(row: Coverage | None) -> dict[str, Value]:
        if row is None:
            return {}
        names = ("status", "matched", "fetched", "used", "cut", "sampled", "duplicates", "unparsed", "outside", "error")
        return {name: getattr(row, name) for name in names}

    # A source that gives all it has tells the span of its rows, not of the question.
    same_scope = (before.scope.window, before.scope.baseline) == (after.scope.window, after.scope.baseline)
    rows = []
    for was, now in _paired(before.coverage, after.coverage, lambda row: (row.source, row.kind, row.what)):
        shown = now or was
        assert shown is not None  # noqa: S101  # a pair has at least one
        if fields := _changes(facts(was), facts(now)):
            row = CoverageChange(
                change=_moved(was, now),
                source=shown.source,
                what=shown.what,
                asked_same=bool(was and now and was.asked == now.asked and (same_scope or was.window == now.window)),
                fields=fields,
            )
            rows.append(row)
    return rows


def _templates(before: ProblemSnapshot, after: ProblemSnapshot) -> TemplatesChange:
    def facts(one: Template | None) -> tuple[Any, ...]:
        return (one.incident_count, one.baseline_count, one.change) if one else (None, None, None)

    rows, same = [], 0
    for was, now in _paired(before.templates, after.templates, lambda one: one.id):
        shown = now or was
        assert shown is not None  # noqa: S101  # a pair has at least one
        if facts(was) == facts(now):
            same += 1
            continue
        (incident_was, baseline_was, contrast_was), (incident, baseline, contrast) = facts(was), facts(now)
        row = TemplateChange(
            change=_moved(was, now),
            id=shown.id,
            text=shown.text,
            incident_before=incident_was,
            incident_after=incident,
            baseline_before=baseline_was,
            baseline_after=baseline,
            contrast_before=contrast_was,
            contrast_after=contrast,
        )
        rows.append(row)
    rows.sort(key=lambda row: (-abs((row.incident_after or 0) - (row.incident_before or 0)), row.id))
    count = Counter(row.change for row in rows)
    totals = _changes(msgspec.to_builtins(before.template_totals), msgspec.to_builtins(after.template_totals))
    return TemplatesChange(
        new=count["new"], gone=count["gone"], changed=count["changed"], same=same, totals=totals, templates=rows
    )


def _orders(before: ProblemSnapshot, after: ProblemSnapshot) -> list[OrderChange]:
    def events(s: ProblemSnapshot, order: OrderState | None) -> int:
        if order is None:
            return 0
        return len(order.history) + sum(attempt.order_id == order.order_id for attempt in s.payment_attempts)

    def of_order(s: ProblemSnapshot, order: OrderState | None) -> Any:
        return order and [order, *(one for one in s.payment_attempts if one.order_id == order.order_id)]

    rows = []
    for was, now in _paired(before.orders, after.orders, lambda order: order.order_id):
        shown = now or was
        assert shown is not None  # noqa: S101  # a pair has at least one
        if of_order(before, was) == of_order(after, now):
            continue
        row = OrderChange(
            change=_moved(was, now),
            order_id=shown.order_id,
            before=was.state if was else None,
            after=now.state if now else None,
            raw_before=was.raw_state if was else None,
            raw_after=now.raw_state if now else None,
            events_before=events(before, was),
            events_after=events(after, now),
        )
        rows.append(row)
    return rows


def _moved(was: object | None, now: object | None) -> Moved:
    return "changed" if was is not None and now is not None else "gone" if now is None else "new"


# ---- the inputs


def _sha256s(evidence: Iterable[Evidence]) -> frozenset[str]:
    """The records cited, each by its sha256; by its place where it has none."""
    return frozenset(one.sha256 or repr(pointer_of(one)) for one in evidence)


def _records(s: ProblemSnapshot) -> frozenset[str]:
    return _sha256s(all_evidence(s))


def _changed_records(before: ProblemSnapshot, after: ProblemSnapshot) -> list[RecordChange]:
    def places(s: ProblemSnapshot) -> dict[tuple[Any, ...], Evidence]:
        # `at` may be read otherwise from the same place, so it is no part of a place.
        return {(e.source, e.kind, e.index, e.doc_id, e.file, e.start, e.end): e for e in all_evidence(s) if e.sha256}

    was, now = places(before), places(after)
    rows = []
    for key in sorted(was.keys() & now.keys(), key=repr):
        one, other = was[key], now[key]
        if one.sha256 != other.sha256:
            span = f"{one.file}@{one.start}-{one.end}"
            place = "/".join(part for part in (one.index, one.doc_id) if part) if one.doc_id is not None else span
            row = RecordChange(source=one.source, place=place, sha256_before=one.sha256, sha256_after=other.sha256)
            rows.append(row)
    return rows


def _inputs(
    before: ProblemSnapshot,
    after: ProblemSnapshot,
    ticket: Sequence[Change],
    coverage: Sequence[CoverageChange],
    orders: Sequence[OrderChange],
    scope: Sequence[Change],
    provenance: Sequence[Change],
    replay: Replayed | None,
) -> Inputs:
    was, now = _records(before), _records(after)
    changed = _changed_records(before, after)
    other: list[Text] = []
    doubt: list[Text] = []
    if before.ticket.id != after.ticket.id:
        other.append(
            Text(
                en=f"they are of different tickets ({before.ticket.id}, {after.ticket.id})",
                zh=f"两者属于不同工单（{before.ticket.id}、{after.ticket.id}）",
            )
        )
    elif ticket:
        names = ", ".join(change.name for change in ticket)
        other.append(Text(en=f"the ticket is another ({names})", zh=f"工单内容不同（{names}）"))
    if replay and replay.gone + replay.changed:
        n = replay.gone + replay.changed
        en = f"{counted(n, 'record', 'records')} that the snapshot cites {'is' if n == 1 else 'are'} gone or changed"
        other.append(Text(en=en, zh=f"快照引用的 {n} 条记录已消失或改变"))
    elif changed:
        n = len(changed)
        en = f"{counted(n, 'cited record has', 'cited records have')} another content at the same place"
        other.append(Text(en=en, zh=f"{n} 条引用记录位置相同而内容不同"))
    window = {"window.start", "window.end", "baseline.start"} & {change.name for change in scope}
    if window:
        doubt.append(Text(en="another time window was looked at", zh="查看的时间窗不同"))
    # Another question gets another answer from the same source, and newer code may parse more of the same lines.
    held = [row for row in coverage if row.change != "changed" or _lost(row) or (row.asked_same and _held(row))]
    for rows, reasons in ((held, other), ([row for row in coverage if row not in held], doubt)):
        if rows:
            names = ", ".join(dict.fromkeys(f"{row.source} {row.what}" for row in rows))
            reasons.append(Text(en=f"the ledger counts otherwise ({names})", zh=f"数据覆盖计数不同（{names}）"))
    if orders and not window and before.ticket.id == after.ticket.id:
        names = ", ".join(row.order_id for row in orders[:3])
        doubt.append(Text(en=f"orders read otherwise ({names})", zh=f"订单读取结果不同（{names}）"))
    if was != now:
        counts = counted(len(was - now), "record is", "records are"), len(now - was)
        en = f"{counts[0]} cited only before, {counts[1]} only after"
        doubt.append(Text(en=en, zh=f"{len(was - now)} 条记录仅前者引用，{len(now - was)} 条仅后者引用"))
    verdict: Literal["same", "other", "undetermined"] = "other" if other else "undetermined" if doubt else "same"
    return Inputs(
        verdict=verdict,
        statement=inputs_statement(verdict, [*other, *doubt], provenance, same_document=before == after),
        reasons=[*other, *doubt],
        records_common=len(was & now),
        records_only_before=len(was - now),
        records_only_after=len(now - was),
        records_changed=changed,
    )


def _held(row: CoverageChange) -> bool:
    """Whether a source answered the question otherwise, whatever was made of its answer."""
    return bool({"status", "matched", "fetched", "cut", "sampled", "error"} & {change.name for change in row.fields})


def _lost(row: CoverageChange) -> bool:
    """Whether the source could be read in one of the documents only, or not whole."""
    states = {value for change in row.fields if change.name == "status" for value in (change.before, change.after)}
    return bool(states & {"failed", "partial", "skipped"})
