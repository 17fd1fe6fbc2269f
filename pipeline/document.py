"""The last step: everything that was said becomes one redacted document whose every statement cites evidence."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from pipeline.catalogue_record import catalogue_check, catalogue_record, usual_of
from pipeline.contrast import Change, estimates
from pipeline.errors import SourceError
from pipeline.evidence.case import Case, cite_log
from pipeline.faults import tables_sha256
from pipeline.judge import Weights, weights
from pipeline.payments.orders import Order
from pipeline.redact import redact_words, redactor_for
from pipeline.settings_digest import settings_digest
from pipeline.values import Cited, Found, Pointer, Scope, Seen, Source, Span
from pipeline.version import __version__
from snapshots.model import (
    SCHEMA_VERSION,
    CatalogueRecord,
    Check,
    Diagnosis,
    Estimate,
    Evidence,
    Finding,
    Model,
    OrderState,
    Outcome,
    PaymentAttempt,
    ProblemSnapshot,
    Provenance,
    Redaction,
    ScopeRecord,
    SpanRecord,
    Template,
    TemplateTotals,
    Text,
    TicketRecord,
    Window,
    sha256_hex,
    with_id,
)

if TYPE_CHECKING:
    from parsers.redaction.redactor import Redactor
    from pipeline.learning.usual import Known

# How many templates and spans a document lists; the rest is counted in the totals and in a check.
_TEMPLATES = 40
_SPANS = 40
_EXAMPLES = 2
# The least time, in seconds, that the cited records are given to be opened again.
_STAMPING = 1.0


def number(seen: Seen) -> list[str]:
    """The findings' ids in the document, in their order: F1, F2, ...

    What cites nothing is no finding of the document and has an empty id: it stands in a check and among what is missing.
    """
    numbers = itertools.count(1)
    return [f"F{next(numbers)}" if found.cites else "" for found in seen.found]


def write_document(
    case: Case,
    seen: Seen,
    diagnosis: Diagnosis,
    sources: Sequence[Source],
    *,
    known: Known | None = None,
    until: float | None = None,
) -> ProblemSnapshot:
    """The whole document, redacted, with an id that its content gives. `known` is the catalogue that was compared with.

    The records that it cites are opened again, all sources at once, until the `time.monotonic()` value `until` but for a
    second at least; without `until` within `settings.budget`.
    """
    listed, totals = _choose_templates(case)
    templates = _templates(case, listed)
    spans, omitted = _spans(case)
    cited = [c for found in seen.found for c in found.cites] + [c for t in templates for c in t.examples]
    seconds = case.settings.budget if until is None else max(_STAMPING, until - time.monotonic())
    stamp = Stamp(cited, sources, seconds)
    catalogue = catalogue_record(case.contrast, known) if known is not None else msgspec.UNSET
    checks = [*seen.checks, *stamp.checks(_redactor(case)), *_caps(case, seen, omitted)]
    checks += [catalogue_check(catalogue)] if isinstance(catalogue, CatalogueRecord) else []
    ids = number(seen)
    table = weights(case.settings.weights)
    document = ProblemSnapshot(
        schema_version=SCHEMA_VERSION,
        snapshot_id="",
        ticket=_ticket(case),
        scope=_scope(case.scope),
        diagnosis=diagnosis,
        findings=[_finding(found, name, stamp, table) for found, name in zip(seen.found, ids, strict=True) if name],
        checks=checks,
        coverage=list(case.material.coverage),
        template_totals=totals,
        templates=[_template(facts, stamp) for facts in templates],
        orders=[_order(order, focus=True) for order in case.focus],
        payment_attempts=_attempts(case.focus),
        spans=[_span(span) for span in spans],
        redaction=Redaction(),
        provenance=Provenance(
            tool="problem-snapshot",
            tool_version=__version__,
            settings_sha256=settings_digest(case.settings),
            tables_sha256=tables_sha256(),
            sources=sorted({row.source for row in case.material.coverage}),
        ),
        catalogue=catalogue,
    )
    return with_id(_redacted(document, _redactor(case)))


# ---- redaction

# Fields that hold our own words, numbers and digests, or the name by which a record is found. All others are redacted, also
# those that somebody adds.
_OURS = frozenset({
    "schema_version", "snapshot_id", "id", "system", "created_at", "language", "status", "outcome", "what", "kind", "change",
    "source", "sources", "ref", "sha256", "at", "window", "baseline", "anchor", "first_seen", "last_seen", "entity", "state",
    "service", "services", "supports", "subclass", "fault_class", "fault_subclass", "seed_class", "class_name", "owner",
    "first_action", "digest", "unknown_services", "template_id", "by", "culprits", "candidates", "template_totals", "levels", "redaction", "provenance", "questionnaire",
})  # fmt: skip


def _redactor(case: Case) -> Redactor:
    return redactor_for(case.settings, case.scope, case.ticket)


def _redacted(document: ProblemSnapshot, redactor: Redactor) -> ProblemSnapshot:
    """`document` with every text in it redacted, and the count of what went."""
    questionnaire = redactor.redact_value(document.ticket.questionnaire)
    document = redact_texts(document, redactor)
    return structs.replace(
        document,
        ticket=structs.replace(document.ticket, questionnaire=questionnaire),
        redaction=Redaction(total=redactor.total, counts=dict(sorted(redactor.counts.items()))),
    )


def redact_texts(value: Any, redactor: Redactor) -> Any:
    """A part of a document, or a list of parts, with every text in it redacted that is not in a field of our own."""
    texts: list[str] = []

    def noted(text: str) -> str:
        texts.append(text)
        return text

    # Gone through twice: the first pass tells which texts there are, so that all are redacted in one go.
    _each_text(value, noted)
    return _each_text(value, redact_words(redactor, texts).__getitem__)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with every text in it, that is not in a field of our own, changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(one, change) for one in value]
    if isinstance(value, Model):
        fields = [name for name in value.__struct_fields__ if name not in _OURS]
        return structs.replace(value, **{name: _each_text(getattr(value, name), change) for name in fields})
    return value


# ---- evidence


class Stamp:
    """Gives each cited record its number, from `first` on, and the sha256 of what its source holds.

    All sources are asked at once. One that fails, or has not answered after `seconds`, leaves its records without a
    sha256.
    """

    def __init__(self, cited: Iterable[Cited], sources: Sequence[Source], seconds: float, first: int = 1) -> None:
        distinct: dict[tuple[str, Pointer], None] = dict.fromkeys((one.source, one.pointer) for one in cited)
        self._number = {key: f"E{i}" for i, key in enumerate(distinct, start=first)}
        asked: dict[str, list[Pointer]] = {}
        for name, pointer in distinct:
            asked.setdefault(name, []).append(pointer)
        answers = open_again(asked, {source.name: source for source in sources}, seconds)
        self._bytes: dict[tuple[str, Pointer], bytes | None] = {}
        self._trouble: list[str] = []
        for name, pointers in asked.items():
            answer = answers[name]
            if isinstance(answer, str):
                self._trouble.append(f"{name}: {answer}")
            else:
                self._bytes |= {(name, pointer): answer.get(pointer) for pointer in pointers}

    def evidence(self, one: Cited) -> Evidence:
        """The document's pointer to `one`."""
        key = (one.source, one.pointer)
        data = self._bytes.get(key)
        return Evidence(
            ref=self._number[key],
            kind=one.kind,
            source=one.source,
            sha256=sha256_hex(data) if data is not None else "",
            index=one.index,
            doc_id=one.doc_id,
            file=one.file,
            start=one.start,
            end=one.end,
            at=_z(one.at),
            service=one.service,
            quote=one.quote,
        )

    def checks(self, redactor: Redactor) -> list[Check]:
        """Whether every cited record could be opened again, and can be by who holds the redacted document."""
        total = len(self._number)
        if not total:
            return []
        opened = sum(data is not None for data in self._bytes.values())
        why = f" ({'; '.join(self._trouble)})" if self._trouble else ""
        en = f"{opened} of {total} cited records were opened again and stamped{why}"
        zh = f"{total} 条引用记录中有 {opened} 条已重新打开并加盖摘要{why}"
        places = [[p.index or "", p.doc_id or "", p.file or ""] for _, p in self._number]
        forms = redact_words(redactor, (name for place in places for name in place))
        masked = sum(any(forms[name] != name for name in place) for place in places)
        if masked:
            en += f"; {masked} of them have personal data in their name, which is masked: they cannot be found by it"
            zh += f"；其中 {masked} 条的名称含个人数据，已脱敏，无法再按名称查找"
        outcome: Outcome = "healthy" if opened == total and not masked else "not_evaluated"
        return [Check(id="evidence", outcome=outcome, statement=Text(en=en, zh=zh))]


def open_again(
    asked: Mapping[str, list[Pointer]], sources: Mapping[str, Source], seconds: float
) -> dict[str, Mapping[Pointer, bytes | None] | str]:
    """What each source holds of its pointers, or why that cannot be told. All are waited for until one same moment."""
    found: dict[str, Mapping[Pointer, bytes | None] | str] = {}
    answers: queue.SimpleQueue[tuple[str, Mapping[Pointer, bytes | None] | BaseException]] = queue.SimpleQueue()

    def work(name: str, source: Source, pointers: list[Pointer]) -> None:
        try:
            answers.put((name, source.resolve(pointers)))
        except BaseException as error:  # noqa: BLE001 - a source must never take the document down
            answers.put((name, error))

    until = time.monotonic() + seconds
    for name, pointers in asked.items():
        if name not in sources:
            found[name] = "no source of this name was asked"
            continue
        # Daemon threads: one that hangs in a socket must not keep the process from ending.
        args = (name, sources[name], pointers)
        threading.Thread(target=work, args=args, name=f"{name}:resolve", daemon=True).start()
    while len(found) < len(asked):
        try:
            name, answer = answers.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            late = f"no answer within {round(seconds, 1):g} s"
            return {name: found.get(name, late) for name in asked}
        if isinstance(answer, SourceError):
            found[name] = str(answer)
        elif isinstance(answer, BaseException):
            found[name] = f"unexpected {type(answer).__name__}: {answer}"
        else:
            found[name] = answer
    return found


def _finding(found: Found, name: str, stamp: Stamp, table: Weights) -> Finding:
    return Finding(
        id=name,
        kind=found.kind,
        statement=found.statement,
        evidence=[stamp.evidence(one) for one in found.cites],
        weight=round(table.of(found), 4),
        strength=round(found.strength, 4),
        supports=found.supports,
        subclass=found.subclass,
        against=list(found.against),
        service=found.service,
        channel=found.channel,
        code=found.code,
        about_focus=found.about_focus,
    )


# ---- templates


def _choose_templates(case: Case) -> tuple[list[str], TemplateTotals]:
    changes = case.contrast.changes
    focus = _focus_counts(case)
    rank = {"new": 0, "surged": 1, "vanished": 2, "usual": 3}

    def order(template_id: str) -> tuple[bool, int, int, str]:
        change = changes[template_id]
        about = bool(focus.get(template_id))
        return (not about, rank[change.change], -change.incident, template_id)

    counted = [t for t, change in changes.items() if change.incident + change.baseline + change.outside]
    ordered = sorted(counted, key=order)
    listed = ordered[:_TEMPLATES]
    rest = ordered[_TEMPLATES:]
    lines = sum(c.incident + c.baseline + c.outside for c in changes.values())
    return listed, TemplateTotals(
        lines=lines,
        incident=sum(c.incident for c in changes.values()),
        baseline=sum(c.baseline for c in changes.values()),
        outside=sum(c.outside for c in changes.values()),
        templates=len(counted),
        listed=len(listed),
        unlisted_templates=len(rest),
        unlisted_lines=sum(changes[t].incident + changes[t].baseline + changes[t].outside for t in rest),
        approximate_lines=case.clusters.approximate,
    )


def _focus_counts(case: Case) -> dict[str, int]:
    codes = case.clusters.template_ids.indices.to_numpy(zero_copy_only=False)[case.focus_rows]
    ids = case.clusters.template_ids.dictionary.to_pylist()
    values, counts = np.unique(codes, return_counts=True)
    return {ids[int(v)]: int(c) for v, c in zip(values, counts, strict=True)}


@dataclass(frozen=True)
class _TemplateFacts:
    """What is said of one listed template."""

    template_id: str
    text: str
    change: Change
    focus_count: int
    levels: dict[str, int]
    services: dict[str, int]
    first_seen: str | None
    last_seen: str | None
    examples: list[Cited]
    estimate: Estimate | None


def _templates(case: Case, listed: Sequence[str]) -> list[_TemplateFacts]:
    logs = case.material.logs
    codes = case.clusters.template_ids.indices.to_numpy(zero_copy_only=False)
    number_of = {template_id: i for i, template_id in enumerate(case.clusters.template_ids.dictionary.to_pylist())}
    text_of = {template.id: template.text for template in case.clusters.templates}
    # Sources differ in how much they give beyond the windows; what is said of a template does not.
    inside = case.contrast.in_incident | case.contrast.in_baseline
    scaled = estimates(logs, case.clusters, case.contrast)
    facts = []
    told = logs.select(["@timestamp", "log.level", "service.name"])
    for template_id in listed:
        mine = codes == number_of[template_id]
        lines = told.take(pa.array(np.flatnonzero(mine & inside)))
        seen = pc.min_max(lines.column("@timestamp"))
        facts.append(
            _TemplateFacts(
                template_id=template_id,
                text=text_of[template_id],
                change=case.contrast.changes[template_id],
                focus_count=int((mine & case.focus_rows).sum()),
                levels=_counts(lines.column("log.level")),
                services=_counts(lines.column("service.name")),
                first_seen=_z(seen["min"].as_py()),
                last_seen=_z(seen["max"].as_py()),
                examples=[cite_log(logs, row) for row in _examples(case, mine)],
                estimate=scaled.get(template_id),
            )
        )
    return facts


def _examples(case: Case, mine: Any) -> list[int]:
    """The first rows of a template: of the focus, else in the incident window, else at all."""
    for mask in (mine & case.focus_rows, mine & case.contrast.in_incident, mine):
        hit = np.flatnonzero(mask)
        if len(hit):
            return [int(row) for row in hit[:_EXAMPLES]]
    return []


def _template(facts: _TemplateFacts, stamp: Stamp) -> Template:
    return Template(
        id=facts.template_id,
        text=facts.text,
        incident_count=facts.change.incident,
        baseline_count=facts.change.baseline,
        outside_count=facts.change.outside,
        change=facts.change.change,  # type: ignore[arg-type]
        p_value=float(f"{facts.change.p_value:.3g}"),
        focus_count=facts.focus_count,
        levels=facts.levels,
        services=facts.services,
        first_seen=facts.first_seen,
        last_seen=facts.last_seen,
        examples=[stamp.evidence(one) for one in facts.examples],
        estimate=facts.estimate,
        usual=usual_of(facts.change),
    )


def _counts(column: Any) -> dict[str, int]:
    found = {str(row["values"]): row["counts"] for row in pc.value_counts(column).to_pylist() if row["values"]}
    return dict(sorted(found.items()))


# ---- orders and spans


def _order(order: Order, *, focus: bool) -> OrderState:
    latest = order.latest
    history = [f"{_z(e.at) or '-'} {e.entity} {e.state} ({e.raw_state})" for e in order.events if e.entity == "order"]
    return OrderState(
        order_id=order.order_id,
        channel=order.channel,
        amount_minor=order.amount_minor,
        currency=order.currency,
        state=order.latest_state,
        raw_state=latest.raw_state if latest else "",
        at=_z(latest.at) if latest else None,
        focus=focus,
        history=history,
    )


def _attempts(orders: Sequence[Order]) -> list[PaymentAttempt]:
    return [
        PaymentAttempt(
            order_id=order.order_id,
            entity=event.entity,
            entity_id=event.entity_id,
            state=event.state,
            raw_state=event.raw_state,
            channel=event.channel,
            amount_minor=event.amount_minor,
            currency=event.currency,
            code=event.code,
            at=_z(event.at),
        )
        for order in orders
        for event in order.events
        if event.entity != "order"
    ]


def _spans(case: Case) -> tuple[list[dict[str, Any]], int]:
    """The spans of the focus traces, failed ones first; how many were left out."""
    spans = case.focus_spans
    failed = pc.fill_null(pc.equal(spans.column("status"), "error"), fill_value=False)
    keys = [("failed", "descending"), ("@timestamp", "ascending"), ("span.id", "ascending")]
    rows = spans.append_column("failed", failed).sort_by(keys).slice(0, _SPANS).to_pylist()
    return rows, spans.num_rows - len(rows)


def _span(row: Mapping[str, Any]) -> SpanRecord:
    error = row["exception.message"] or row["status_message"] or row["error.type"] or row["exception.type"]
    return SpanRecord(
        trace_id=row["trace.id"] or "",
        span_id=row["span.id"] or "",
        service=row["service.name"],
        name=row["name"] or "",
        kind=row["kind"],
        at=_z(row["@timestamp"]),
        duration_us=row["duration_us"],
        status=row["status"] or "unset",
        http_status=row["http.response.status_code"],
        error=error or None,
        parent_id=row["parent.id"],
    )


def _caps(case: Case, seen: Seen, omitted_spans: int) -> list[Check]:
    checks = []
    if case.unread:
        statement = Text(en=f"{case.unread} unusual log lines were not read", zh=f"{case.unread} 条异常日志未读取")
        checks.append(Check(id="unread_lines", outcome="not_evaluated", statement=statement))
    if seen.omitted:
        statement = Text(
            en=f"{seen.omitted} further findings and readings of the detectors are not told",
            zh=f"检测器另有 {seen.omitted} 项发现或解读未列出",
        )
        checks.append(Check(id="untold_findings", outcome="not_evaluated", statement=statement))
    if omitted_spans:
        statement = Text(en=f"{omitted_spans} spans of the traces are not listed", zh=f"{omitted_spans} 个 span 未列出")
        checks.append(Check(id="unlisted_spans", outcome="healthy", statement=statement))
    return checks


# ---- the rest


def _ticket(case: Case) -> TicketRecord:
    ticket = case.ticket
    return TicketRecord(
        id=ticket.id,
        system=ticket.system,
        title=ticket.title,
        description=ticket.description,
        created_at=ticket.created_at.isoformat(),
        language=ticket.language,
        customer_id=ticket.customer_id or None,
        questionnaire=dict(ticket.questionnaire),
    )


def _scope(scope: Scope) -> ScopeRecord:
    return ScopeRecord(
        window=_window(scope.window),
        baseline=_window(scope.baseline),
        anchor=_z(scope.anchor) or "",
        reason=scope.reason,
        identifiers=list(scope.identifiers),
        hops=list(scope.hops),
        focus_orders=list(scope.focus_orders),
        services=list(scope.services),
        channels=list(scope.channels),
    )


def _window(span: Span) -> Window:
    return Window(start=_z(span.start) or "", end=_z(span.end) or "")


def _z(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
