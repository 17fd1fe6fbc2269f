"""The details below the first screen: everything else that the document holds, section by section."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from snapshots.model import (
    Estimate,
    Evidence,
    KnowledgeEntry,
    Portrait,
    ProblemSnapshot,
    Questionnaire,
    Routing,
    SelfService,
    SimilarTicket,
    SpanRecord,
    Template,
    Text,
)
from snapshots.render.clean import shorten
from snapshots.render.figures import amount, count, duration, natural, percent, pointer_text
from snapshots.render.note_desk import answer_lines
from snapshots.render.plan import plan_lines
from snapshots.render.reader import QUOTE, Reader
from snapshots.render.shapes import Grid, Section
from snapshots.words import class_name, subclass_name


class DetailReader(Reader):
    """The same reader, going on to the details."""

    def sections(self) -> Iterable[Section]:
        """Every section that has something to show, in reading order."""
        made = [
            self._ticket_section(),
            self._scope_section(),
            self._timeline_section(),
            self._template_section(),
            self._span_section(),
            self._candidate_section(),
            self._finding_section(),
            self._check_section(),
            self._evidence_section(),
            self._coverage_section(),
            self._desk_section(),
            self._redaction_section(),
            self._provenance_section(),
        ]
        return [section for section in made if section]

    def desk(self) -> Iterable[Section]:
        """What the desk says, for a page without the other details."""
        return [section for section in (self._desk_section(),) if section]

    def _heads(self, *keys: str) -> tuple[str, ...]:
        return tuple(self.say("col_" + key) for key in keys)

    def _ticket_section(self) -> Section:
        ticket = self.s.ticket
        moment = self.moment(ticket.created_at)
        facts = [
            (self.say("ticket"), f"{ticket.id} ({ticket.system})"),
            (self.say("created"), f"{moment.full} ({self.say('utc', time=moment.utc[:19])})" if moment else ""),
            (self.say("customer"), ticket.customer_id or ""),
            (self.say("description"), ticket.description),
            (self.say("questionnaire"), _flat(ticket.questionnaire)),
        ]
        return Section("ticket", self.say("ticket"), tuple((k, v) for k, v in facts if v))

    def _scope_section(self) -> Section:
        scope = self.s.scope
        rows = [(i.kind, i.value, i.found_in) for i in scope.identifiers]
        hops = []
        for hop in scope.hops:
            more = f" ({self.say('omitted', count=hop.omitted)})" if hop.omitted else ""
            found = ", ".join(hop.found) or self.say("none")
            hops.append(f"{hop.via} ({hop.source}): {hop.start} → {found}{more}")
        facts = [
            (self.say("reason"), self.text(scope.reason)),
            (self.say("when"), "; ".join(part for part in (*self.when(), self.window()) if part)),
            (
                self.say("culprits"),
                ", ".join(f"{c.service} {percent(c.probability, self.language)}" for c in self.s.diagnosis.culprits),
            ),
        ]
        return Section(
            "scope",
            self.say("scope"),
            tuple((k, v) for k, v in facts if v),
            grid=_grid(self._heads("kind", "value", "found_in"), rows, code={1}),
            lines=tuple(hops),
        )

    def _timeline_section(self) -> Section | None:
        s = self.s
        if not (s.orders or s.payment_attempts):
            return None
        rows = [
            (
                self.clock(a.at),
                a.order_id,
                self.term(a.entity),
                a.entity_id,
                self.state(a.state, a.raw_state),
                amount(a.amount_minor, a.currency),
                a.channel or "",
                a.code or "",
            )
            for a in s.payment_attempts
        ]
        lines = [
            f"{o.order_id}: {' → '.join(self.term(state) for state in o.history) or self.state(o.state, o.raw_state)}"
            f" · {amount(o.amount_minor, o.currency)} · {o.channel or ''} · {self.clock(o.at)}".replace(
                " ·  ·", " ·"
            ).rstrip(" ·")
            for o in s.orders
        ]
        heads = self._heads("time", "order", "entity", "id", "state", "amount", "channel", "code")
        grid = _grid(heads, rows, {5}, {1, 3, 7})
        return Section("timeline", self.say("timeline"), grid=grid, lines=tuple(lines))

    def _template_section(self, shown: int = 40) -> Section | None:
        t = self.s.template_totals
        order = {"new": 0, "surged": 1, "vanished": 2, "usual": 3}
        ranked: Sequence[Template] = sorted(
            self.s.templates, key=lambda x: (order[x.change], -x.focus_count, -x.incident_count, x.id)
        )
        if not ranked and not t.lines:
            return None
        rows = [
            (
                self.term(x.change),
                self._about(x.incident_count, x.estimate, "incident"),
                self._about(x.baseline_count, x.estimate, "baseline"),
                count(x.focus_count) if x.focus_count else "",
                ", ".join(sorted(x.services, key=lambda name: -x.services[name])[:2]),
                shorten(x.text, 200),
                " ".join(f"[{e.ref}]" for e in x.examples[:2]),
            )
            for x in ranked[:shown]
        ]
        note = self.say(
            "template_sums",
            **{name: count(getattr(t, name)) for name in t.__struct_fields__},
        )
        if t.approximate_lines:
            note += "; " + self.say("approximate_lines", lines=count(t.approximate_lines))
        scaled = sum(x.estimate is not None for x in ranked)
        if scaled:
            note += "; " + self.say("estimated", count=scaled)
        if len(ranked) > shown:
            note += "; " + self.say("shown_of", shown=shown, total=len(ranked))
        heads = self._heads("change", "incident", "baseline", "focus", "service", "template", "ref")
        return Section("templates", self.say("templates"), note=note, grid=_grid(heads, rows, {1, 2, 3}, {5}))

    @staticmethod
    def _about(lines: int, estimate: Estimate | None, window: str) -> str:
        """A count; of a sample the estimate of all as well."""
        if estimate is None:
            return count(lines)
        margin = getattr(estimate, f"{window}_margin")
        return f"{count(lines)} (≈{count(getattr(estimate, window))} ± {count(margin)})"

    def _span_section(self) -> Section | None:
        if not self.s.spans:
            return None
        rows = [
            (
                self.clock(x.at),
                x.service or "",
                x.name,
                duration(x.duration_us),
                self._span_status(x),
                x.error or "",
                f"{x.trace_id[:8]}/{x.span_id[:8]}",
            )
            for x in self.s.spans
        ]
        heads = self._heads("time", "service", "name", "duration", "status", "error", "trace")
        return Section("spans", self.say("spans"), grid=_grid(heads, rows, {3}, {5, 6}))

    def _span_status(self, span: SpanRecord) -> str:
        return f"{span.status} {span.http_status}" if span.http_status else span.status

    def _candidate_section(self) -> Section | None:
        causes = [self.cause(c) for c in self.ranked()]
        if not causes:
            return None
        rows = [(c.percent, c.name, " ".join(c.findings), " ".join(c.against)) for c in causes]
        heads = (self.say("col_share"), self.say("col_name"), self.say("for"), self.say("against"))
        return Section("candidates", self.say("candidates"), grid=_grid(heads, rows, {0}))

    def _finding_section(self) -> Section | None:
        rows = [
            (
                f.id,
                f"{f.weight:+.2f}",
                self.text(f.statement),
                subclass_name(f.supports, f.subclass, self.language) or class_name(f.supports, self.language)
                if f.supports
                else "",
                " ".join(f"[{ref}]" for ref in dict.fromkeys(e.ref for e in f.evidence)),
            )
            for f in sorted(self.s.findings, key=lambda f: -abs(f.weight))
        ]
        heads = (self.say("col_id"), *self._heads("weight", "statement", "supports", "ref"))
        return Section("findings", self.say("findings"), grid=_grid(heads, rows, {1})) if rows else None

    def _check_section(self) -> Section | None:
        order = {"found": 0, "healthy": 1, "not_evaluated": 2}
        checks = sorted(self.s.checks, key=lambda check: order[check.outcome])
        rows = [(c.id, self.term(c.outcome), self.text(c.statement)) for c in checks]
        heads = self._heads("check", "outcome", "statement")
        return Section("checks", self.say("checks"), grid=_grid(heads, rows)) if rows else None

    def _evidence_section(self) -> Section | None:
        """Every record that the document cites, each once: the place where a ref is looked up."""
        cited = cited_evidence(self.s)
        rows = []
        for e in cited:
            moment = self.moment(e.at)
            place = f"{pointer_text(e)} sha256:{e.sha256[:12]}"
            utc = moment.utc[11:] if moment else ""
            rows.append((e.ref, self.clock(e.at), utc, e.service or "", shorten(e.quote, QUOTE), place))
        heads = self._heads("ref", "time", "utc", "service", "quote", "pointer")
        return Section("evidence", self.say("evidence"), grid=_grid(heads, rows, code={4, 5})) if rows else None

    def _coverage_section(self) -> Section | None:
        rows = []
        for c in self.s.coverage:
            note = c.error or "; ".join(c.notes)
            window = " – ".join(self.hours(c.window)) if c.window else ""
            numbers = [
                "?" if n is None else count(n)
                for n in (c.matched, c.fetched, c.used, c.cut, c.duplicates, c.unparsed, c.outside)
            ]
            fetched = numbers[1] + (f" ({self.say('sampled')})" if c.sampled else "")
            rows.append(
                (f"{c.source} ({c.kind})", self.term(c.what), self.term(c.status), numbers[0], fetched, *numbers[2:], note,
                 f"{c.asked} {window}".strip())
            )  # fmt: skip
        heads = self._heads(
            "source",
            "what",
            "status",
            "matched",
            "fetched",
            "used",
            "cut",
            "duplicates",
            "unparsed",
            "outside",
            "note",
            "asked",
        )
        grid = _grid(heads, rows, range(3, 10), {11}, idle=frozenset({"", "0"}))
        plans = tuple(
            f"{c.source} ({c.kind}), {self.term(c.what)}: {line}"
            for c in self.s.coverage
            if c.plan and any(step.kind != "all" for step in c.plan.steps)
            for line in plan_lines(c.plan, self.language)
        )
        return Section("coverage", self.say("coverage"), grid=grid, lines=plans) if rows else None

    def _desk_section(self) -> Section | None:
        s = self.s
        facts = [
            *self._severity(),
            *((self.say("routing"), line) for line in self._routed(s.routing)),
            (self.say("customer_message"), self.text(s.customer_message) if s.customer_message else ""),
            *((self.say("similar"), self._alike(row)) for row in s.similar_tickets),
            *((self.say("knowledge"), self._known(row)) for row in s.knowledge),
            *self._asked(),
            *self._portrait(),
            *self._self_service(),
        ]
        facts = [(k, v) for k, v in facts if v]
        return Section("desk", self.say("desk"), tuple(facts)) if facts else None

    def _routed(self, routing: Routing | None) -> Iterable[str]:
        """Why and to whom, each handler with what speaks for him, and the preliminary line."""
        if routing is None:
            return
        lead = routing.lead if routing.abstained else None
        yield " | ".join(filter(None, (lead, self.text(routing.reason))))
        yield from (f"{one.handler} ({one.score:.2f}: {self._all(one.reasons)})" for one in routing.handlers)
        yield self.text(routing.line)

    def _alike(self, row: SimilarTicket) -> str:
        parts = (f"{row.id} ({row.score:.2f})", row.title, self._all(row.reasons), row.cause or "", row.solution or "")
        return " | ".join(filter(None, parts))

    def _known(self, row: KnowledgeEntry) -> str:
        """One entry on a line: what it is, why it fits, what to do, and what to doubt."""
        said = (self.text(row.title), *map(self.text, row.reasons))
        steps = (f"{number}. {self.text(step)}" for number, step in enumerate(row.steps, 1))
        return " | ".join((f"{row.id} ({row.score:.2f})", *said, *steps, *map(self.text, row.doubts)))

    def _asked(self) -> Iterable[tuple[str, str]]:
        """Each question with what it comes from, and each answer that was found without asking."""
        made = self.s.questions
        if not isinstance(made, Questionnaire):
            return
        for one in made.questions:
            value = self.say("to_confirm", value=one.value) if one.value else ""
            cited = ", ".join(one.findings)
            parts = (self.text(one.ask), value, self.text(one.why), self._all(one.gaps), cited)
            yield self.say("questions"), " | ".join(filter(None, parts))
        if made.omitted:
            yield self.say("questions"), self.say("questions_omitted", count=made.omitted)
        for known in made.known:
            refs = ", ".join(e.ref for e in known.evidence)
            value = " / ".join(known.value.splitlines())
            yield (
                self.say("known_answer"),
                " | ".join(filter(None, (f"{known.id}: {value}", self.text(known.found), refs))),
            )

    def _portrait(self) -> Iterable[tuple[str, str]]:
        made = self.s.portrait
        if not isinstance(made, Portrait):
            return
        counts = self.say("earlier_counts", count=count(made.tickets), open=count(len(made.open)))
        yield self.say("portrait"), counts if made.tickets else self.say("earlier_none")
        for hint in made.hints:
            yield self.say("portrait"), f"{self.text(hint.statement)} ({', '.join(hint.tickets)})"
        groups = (made.problems, made.products)
        named = [f"{one.name} ({one.tickets})" for group in groups for one in group] + made.versions
        if named:
            yield self.say("portrait"), ", ".join(named)
        for one in made.listed:
            state = self.clock(one.closed_at) if one.closed_at else ""
            parts = (one.id, one.title, self.clock(one.created_at), state, one.category or one.fault_class or "")
            yield self.say("earlier"), " | ".join(filter(None, parts))
        if made.missing:
            yield self.say("portrait"), self._all(made.missing)

    def _self_service(self) -> Iterable[tuple[str, str]]:
        made = self.s.self_service
        if isinstance(made, SelfService):
            said = answer_lines(made, self.language)
            yield self.say("self_service"), " ".join([*said, f"({made.entry}, {made.share:.2f})"])

    def _all(self, texts: Iterable[Text]) -> str:
        return "; ".join(map(self.text, texts))

    def _severity(self) -> Iterable[tuple[str, str]]:
        if (severity := self.s.severity) is None:
            return
        said = [
            self.text(one.statement) + (f" ({', '.join(one.findings)})" if one.findings else "")
            for one in severity.reasons
        ]
        yield self.say("severity"), " ".join([severity.level, *said])
        # A deadline may lie on another day than the incident, and is read on a third.
        for name, at in (("respond_by", severity.respond_by), ("resolve_by", severity.resolve_by)):
            moment = self.moment(at)
            yield self.say(name), moment.full if moment else ""

    def _redaction_section(self) -> Section:
        r = self.s.redaction
        note = self.say("redacted", total=count(r.total)) if r.total else self.say("redacted_none")
        return Section(
            "redaction", self.say("redaction"), tuple((k, count(n)) for k, n in sorted(r.counts.items())), note=note
        )

    def _provenance_section(self) -> Section:
        p = self.s.provenance
        facts = [
            (self.say("snapshot_id"), self.s.snapshot_id),
            (self.say("schema"), self.s.schema_version),
            (self.say("made_by"), f"{p.tool} {p.tool_version}"),
            (self.say("sources"), ", ".join(p.sources)),
            (self.say("settings"), f"sha256:{p.settings_sha256[:16]}"),
            (self.say("tables"), f"sha256:{p.tables_sha256[:16]}"),
        ]
        return Section("provenance", self.say("provenance"), tuple((k, v) for k, v in facts if v))


def cited_evidence(snapshot: ProblemSnapshot) -> list[Evidence]:
    """Each record that a finding or a template cites, once a ref, in the order of their numbers."""
    found = [e for finding in snapshot.findings for e in finding.evidence]
    found += [e for template in snapshot.templates for e in template.examples]
    if isinstance(snapshot.questions, Questionnaire):
        found += [e for known in snapshot.questions.known for e in known.evidence]
    once = {evidence.ref: evidence for evidence in reversed(found)}
    return sorted(once.values(), key=lambda e: natural(e.ref))


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_flat(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(_flat(part) for part in value)
    return "" if value is None else str(value)


def _grid(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Iterable[int] = (),
    code: Iterable[int] = (),
    *,
    idle: frozenset[str] = frozenset({""}),
) -> Grid | None:
    """A table without the columns that hold nothing but `idle` values; None without rows."""
    if not rows:
        return None
    cells = [list(row) for row in rows]
    kept = [i for i in range(len(heads)) if not all(row[i] in idle for row in cells)]
    numbers, raw = set(right), set(code)
    return Grid(
        tuple(heads[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in cells),
        frozenset(new for new, i in enumerate(kept) if i in numbers),
        frozenset(new for new, i in enumerate(kept) if i in raw),
    )
