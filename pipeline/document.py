"""The last step: everything that was said becomes one redacted document whose every statement cites evidence."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.contrast import Change
from pipeline.diagnose import weights
from pipeline.errors import SourceError
from pipeline.evidence.case import Case, cite_log
from pipeline.faults import tables_sha256
from pipeline.payments import Order
from pipeline.settings import settings_digest
from pipeline.values import Cited, Coverage, Found, Pointer, Seen, Source, Span
from pipeline.version import __version__
from snapshots.model import (
    SCHEMA_VERSION,
    Check,
    Diagnosis,
    Evidence,
    Finding,
    OrderState,
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

# How many templates and spans a document lists; the rest is counted in the totals and in a check.
_TEMPLATES = 40
_SPANS = 40
_EXAMPLES = 2
# A mainland China mobile number, whatever it is used as.
_MOBILE = re.compile(r"(?:\+?86)?1[3-9]\d{9}$")


def number(seen: Seen) -> list[str]:
    """The findings' ids in the document, in their order: F1, F2, ..."""
    return [f"F{i}" for i in range(1, len(seen.found) + 1)]


def write_document(case: Case, seen: Seen, diagnosis: Diagnosis, sources: Sequence[Source]) -> ProblemSnapshot:
    """The whole document, redacted, with an id that its content gives."""
    listed, totals = _choose_templates(case)
    templates = _templates(case, listed)
    spans, omitted = _spans(case)
    cited = [c for found in seen.found for c in found.cites] + [c for t in templates for c in t.examples]
    stamp = _Stamp(cited, sources, case.settings.budget)
    checks = [*seen.checks, *stamp.checks(), *_caps(case, omitted)]

    def written(hide: _Hide) -> ProblemSnapshot:
        return _written(case, seen, diagnosis, checks, totals, templates, spans, stamp, hide)

    # Written twice: the first pass tells which texts there are, so that all are redacted in one go.
    first = _Hide()
    written(first)
    hide = first.hiding(case)
    return with_id(written(hide))


def _written(
    case: Case,
    seen: Seen,
    diagnosis: Diagnosis,
    checks: Sequence[Check],
    totals: TemplateTotals,
    templates: Sequence[_TemplateFacts],
    spans: Sequence[Mapping[str, Any]],
    stamp: _Stamp,
    hide: _Hide,
) -> ProblemSnapshot:
    ids = number(seen)
    return ProblemSnapshot(
        schema_version=SCHEMA_VERSION,
        snapshot_id="",
        ticket=_ticket(case, hide),
        scope=_scope(case, hide),
        diagnosis=_diagnosis(diagnosis, hide),
        findings=[_finding(found, name, stamp, hide) for found, name in zip(seen.found, ids, strict=True)],
        checks=[_check(check, hide) for check in checks],
        coverage=[_coverage(row, hide) for row in case.material.coverage],
        template_totals=totals,
        templates=[_template(facts, stamp, hide) for facts in templates],
        orders=[_order(order, focus=True) for order in case.focus],
        payment_attempts=_attempts(case.focus),
        spans=[_span(span, hide) for span in spans],
        redaction=Redaction(total=sum(hide.counts.values()), counts=dict(sorted(hide.counts.items()))),
        provenance=Provenance(
            tool="problem-snapshot",
            tool_version=__version__,
            settings_sha256=settings_digest(case.settings),
            tables_sha256=tables_sha256(),
            sources=sorted({row.source for row in case.material.coverage}),
        ),
    )


# ---- redaction


class _Hide:
    """Looks up each text's redacted form. Without forms it gives texts back as they are and remembers them."""

    def __init__(self, forms: Mapping[str, str] | None = None, counts: Mapping[str, int] | None = None) -> None:
        self._forms = forms
        self._seen: dict[str, None] = {}
        self.counts: Mapping[str, int] = counts or {}

    def hiding(self, case: Case) -> _Hide:
        """The same over every text seen, with the case's settings."""
        redactor = case.settings.redaction.redactor(_known_names(case))
        texts = list(self._seen)
        redacted = redactor.redact_array(pa.array(texts, pa.string())).to_pylist()
        return _Hide(dict(zip(texts, redacted, strict=True)), redactor.counts)

    def text(self, text: str) -> str:
        """`text` redacted."""
        if self._forms is None:
            self._seen[text] = None
            return text
        return self._forms[text]

    def both(self, text: Text) -> Text:
        """Both languages redacted."""
        return Text(en=self.text(text.en), zh=self.text(text.zh))

    def value(self, value: Any) -> Any:
        """Every string inside `value` redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {str(key): self.value(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(one) for one in value]
        return value

    def identifier(self, kind: str, value: str) -> str:
        """A phone keeps its last four digits, by which support finds orders; every other identifier is needed whole."""
        # Some shops use the phone number as the customer's id.
        if kind != "phone" and not _MOBILE.match(value):
            return value
        self.text(f"phone {value}")
        return f"[phone:…{value[-4:]}]"


# ---- evidence


class _Stamp:
    """Gives each cited record its number and the sha256 of what its source holds.

    A source that fails now, or has not answered after `seconds`, leaves its records without a sha256.
    """

    def __init__(self, cited: Iterable[Cited], sources: Sequence[Source], seconds: float) -> None:
        self._number: dict[tuple[str, Pointer], str] = {}
        self._bytes: dict[tuple[str, Pointer], bytes | None] = {}
        self._trouble: list[str] = []
        distinct: dict[tuple[str, Pointer], Cited] = {}
        for one in cited:
            distinct.setdefault((one.source, one.pointer), one)
        for i, key in enumerate(distinct, start=1):
            self._number[key] = f"E{i}"
        by_name = {source.name: source for source in sources}
        for name in dict.fromkeys(source for source, _ in distinct):
            pointers = [pointer for source, pointer in distinct if source == name]
            found, trouble = _open_again(by_name.get(name), pointers, seconds)
            if trouble:
                self._trouble.append(f"{name}: {trouble}")
            self._bytes.update({(name, pointer): found.get(pointer) for pointer in pointers})

    def evidence(self, one: Cited, hide: _Hide) -> Evidence:
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
            quote=hide.text(one.quote),
        )

    def checks(self) -> list[Check]:
        """Whether every cited record could be opened again."""
        total = len(self._number)
        if not total:
            return []
        opened = sum(data is not None for data in self._bytes.values())
        why = f" ({'; '.join(self._trouble)})" if self._trouble else ""
        statement = Text(
            en=f"{opened} of {total} cited records were opened again and stamped{why}",
            zh=f"{total} 条引用记录中有 {opened} 条已重新打开并加盖摘要{why}",
        )
        return [Check(id="evidence", outcome="healthy" if opened == total else "not_evaluated", statement=statement)]


def _open_again(
    source: Source | None, pointers: Sequence[Pointer], seconds: float
) -> tuple[Mapping[Pointer, bytes | None], str]:
    """What `source` holds of `pointers`, or why that cannot be told."""
    if source is None:
        return {}, "no source of this name was asked"
    answers: queue.SimpleQueue[Mapping[Pointer, bytes | None] | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(source.resolve(pointers))
        except BaseException as error:  # noqa: BLE001 - a source must never take the document down
            answers.put(error)

    # A daemon thread: one that hangs in a socket must not keep the process from ending.
    threading.Thread(target=work, name=f"{source.name}:resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        return {}, f"no answer within {seconds:g} s"
    if isinstance(answer, SourceError):
        return {}, str(answer)
    if isinstance(answer, BaseException):
        return {}, f"unexpected {type(answer).__name__}: {answer}"
    return answer, ""


def _finding(found: Found, name: str, stamp: _Stamp, hide: _Hide) -> Finding:
    return Finding(
        id=name,
        kind=found.kind,
        statement=hide.both(found.statement),
        evidence=[stamp.evidence(one, hide) for one in found.cites],
        weight=round(weights().of(found), 4),
        supports=found.supports,
        subclass=found.subclass,
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


def _templates(case: Case, listed: Sequence[str]) -> list[_TemplateFacts]:
    logs = case.material.logs
    codes = case.clusters.template_ids.indices.to_numpy(zero_copy_only=False)
    number_of = {template_id: i for i, template_id in enumerate(case.clusters.template_ids.dictionary.to_pylist())}
    text_of = {template.id: template.text for template in case.clusters.templates}
    # Sources differ in how much they give beyond the windows; what is said of a template does not.
    inside = case.contrast.in_incident | case.contrast.in_baseline
    facts = []
    for template_id in listed:
        mine = codes == number_of[template_id]
        lines = logs.filter(pa.array(mine & inside))
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


def _template(facts: _TemplateFacts, stamp: _Stamp, hide: _Hide) -> Template:
    return Template(
        id=facts.template_id,
        text=hide.text(facts.text),
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
        examples=[stamp.evidence(one, hide) for one in facts.examples],
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
        for event in order.everything
        if event.entity != "order"
    ]


def _spans(case: Case) -> tuple[list[dict[str, Any]], int]:
    """The spans of the focus traces, failed ones first; how many were left out."""
    spans = case.focus_spans
    failed = pc.fill_null(pc.equal(spans.column("status"), "error"), fill_value=False)
    keys = [("failed", "descending"), ("@timestamp", "ascending"), ("span.id", "ascending")]
    rows = spans.append_column("failed", failed).sort_by(keys).slice(0, _SPANS).to_pylist()
    return rows, spans.num_rows - len(rows)


def _span(row: Mapping[str, Any], hide: _Hide) -> SpanRecord:
    error = row["exception.message"] or row["status_message"] or row["error.type"] or row["exception.type"]
    return SpanRecord(
        trace_id=row["trace.id"] or "",
        span_id=row["span.id"] or "",
        service=row["service.name"],
        name=hide.text(row["name"] or ""),
        kind=row["kind"],
        at=_z(row["@timestamp"]),
        duration_us=row["duration_us"],
        status=row["status"] or "unset",
        http_status=row["http.response.status_code"],
        error=hide.text(error) if error else None,
        parent_id=row["parent.id"],
    )


def _caps(case: Case, omitted_spans: int) -> list[Check]:
    checks = []
    if case.unread:
        statement = Text(en=f"{case.unread} unusual log lines were not read", zh=f"{case.unread} 条异常日志未读取")
        checks.append(Check(id="unread_lines", outcome="not_evaluated", statement=statement))
    if omitted_spans:
        statement = Text(en=f"{omitted_spans} spans of the traces are not listed", zh=f"{omitted_spans} 个 span 未列出")
        checks.append(Check(id="unlisted_spans", outcome="healthy", statement=statement))
    return checks


# ---- the rest, redacted


def _known_names(case: Case) -> frozenset[str]:
    """Identifiers that engineers need whole; phones are never among them."""
    kinds = ("order_id", "out_trade_no", "channel_txn_id", "trace_id", "customer_id", "refund_id")
    return frozenset(name for name in case.scope.values(*kinds) if not _MOBILE.match(name))


def _ticket(case: Case, hide: _Hide) -> TicketRecord:
    ticket = case.ticket
    return TicketRecord(
        id=ticket.id,
        system=ticket.system,
        title=hide.text(ticket.title),
        description=hide.text(ticket.description),
        created_at=ticket.created_at.isoformat(),
        language=ticket.language,
        customer_id=hide.identifier("customer_id", ticket.customer_id) if ticket.customer_id else None,
        questionnaire=hide.value(dict(ticket.questionnaire)),
    )


def _scope(case: Case, hide: _Hide) -> ScopeRecord:
    scope = case.scope
    return ScopeRecord(
        window=_window(scope.window),
        baseline=_window(scope.baseline),
        anchor=_z(scope.anchor) or "",
        reason=scope.reason,
        identifiers=[
            type(one)(kind=one.kind, value=hide.identifier(one.kind, one.value), found_in=one.found_in)
            for one in scope.identifiers
        ],
        hops=[
            type(hop)(via=hop.via, source=hop.source, start=hide.text(hop.start), found=hop.found, omitted=hop.omitted)
            for hop in scope.hops
        ],
        focus_orders=list(scope.focus_orders),
        services=list(scope.services),
        channels=list(scope.channels),
    )


def _diagnosis(diagnosis: Diagnosis, hide: _Hide) -> Diagnosis:
    from msgspec.structs import replace

    operation = diagnosis.location.operation
    return replace(
        diagnosis,
        summary=hide.both(diagnosis.summary),
        missing=[replace(one, question=hide.both(one.question)) for one in diagnosis.missing],
        # The name of a span, which can hold a path with anything in it.
        location=replace(diagnosis.location, operation=hide.text(operation) if operation else None),
    )


def _check(check: Check, hide: _Hide) -> Check:
    return Check(id=check.id, outcome=check.outcome, statement=hide.both(check.statement))


def _coverage(row: Coverage, hide: _Hide) -> Coverage:
    from msgspec.structs import replace

    return replace(
        row,
        asked=hide.text(row.asked),
        error=hide.text(row.error) if row.error else None,
        notes=[hide.text(note) for note in row.notes],
    )


def _window(span: Span) -> Window:
    return Window(start=_z(span.start) or "", end=_z(span.end) or "")


def _z(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
