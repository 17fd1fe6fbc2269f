"""Reads one document in one language and zone: the first screen, which answers within ten seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, tzinfo
from itertools import groupby
from typing import Literal

from snapshots.model import (
    Candidate,
    Check,
    Coverage,
    CustomerMessage,
    Diagnosis,
    Evidence,
    Finding,
    Missing,
    ProblemSnapshot,
    Text,
    Window,
)
from snapshots.render.clean import shorten
from snapshots.render.figures import amount, count, id_ranges, length, parse_time, percent, pointer_text, utc_offset
from snapshots.render.shapes import Cause, Claim, Moment, Proof, Question, Section, View
from snapshots.words import Language, class_name, label, owner_name, subclass_name, term, text_in

PROOFS = 3
HEALTHY = 5
LINES = 6
QUOTE = 320
TITLE = 160
PLACE = 80


Verdict = Literal["located", "undecided", "no_fault"]


def verdict_of(diagnosis: Diagnosis) -> Verdict:
    """What a diagnosis comes to, as a person reads it."""
    if diagnosis.abstained:
        return "undecided"
    return "no_fault" if diagnosis.fault_class in {"success", "pending"} else "located"


class Reader:
    """Reads one document in one language and zone."""

    def __init__(self, snapshot: ProblemSnapshot, language: Language, zone: tzinfo) -> None:
        self.s = snapshot
        self.language = language
        self.zone = zone
        self.findings = {finding.id: finding for finding in snapshot.findings}
        anchor = parse_time(snapshot.scope.anchor)
        self.day = anchor.astimezone(zone).date() if anchor else None

    def view(self, sections: tuple[Section, ...] = (), desk: tuple[tuple[str, str], ...] = ()) -> View:
        """The first screen with what the `desk` says in brief, and `sections` below it."""
        d = self.s.diagnosis
        kind = verdict_of(d)
        top = self._top()
        healthy = [self.text(check.statement) for check in self.s.checks if check.outcome == "healthy"]
        return View(
            language=self.language,
            kind=kind,
            ticket=self.s.ticket.id,
            title=shorten(self.s.ticket.title, TITLE),
            seed=self.say("seed", name=self.term(d.seed_class)) if d.seed_class else "",
            verdict=self.say(kind),
            name=self._name(d),
            class_name=self._class_name(d),
            subclass_name=subclass_name(d.fault_class or "", d.fault_subclass, self.language),
            summary=self.text(d.summary),
            places=self._places(d),
            when=self.when()[0],
            utc=self.when()[1],
            window=self.window(),
            percent=percent(d.confidence, self.language),
            share=d.confidence,
            runner_up=self._runner_up(d),
            proof_title=self.say("seen" if d.abstained else "proof"),
            proofs=self._proofs(d),
            causes=tuple(self.cause(c) for c in self.ranked()),
            missing=tuple(self._question(m) for m in d.missing),
            against=self._against(top, d),
            healthy=tuple(healthy[:HEALTHY]),
            healthy_more=max(0, len(healthy) - HEALTHY),
            unchecked=tuple(self._unchecked()),
            action=self.text(d.first_action) if d.first_action else "",
            owner=owner_name(d.owner, self.language) if d.owner else "",
            severity=self.s.severity.level if self.s.severity else "",
            snapshot_id=self.s.snapshot_id,
            tool=f"{self.s.provenance.tool} {self.s.provenance.tool_version}",
            desk=desk,
            sections=sections,
        )

    # Words and times.

    def say(self, key: str, **values: object) -> str:
        """A fixed text."""
        return label(key, self.language, **values)

    def term(self, value: str) -> str:
        """A word of the document's own vocabulary."""
        return term(value, self.language)

    def text(self, text: Text | CustomerMessage) -> str:
        """The reader's half of a text."""
        return text_in(text, self.language)

    def moment(self, at: str | None) -> Moment | None:
        """An instant; one that cannot be read is shown as it is."""
        when = parse_time(at)
        if at is None:
            return None
        if when is None:
            return Moment(at, at, at, "")
        local, utc = when.astimezone(self.zone), when.astimezone(UTC)
        shift = utc_offset(local)
        clock = f"{local:%H:%M:%S} {shift}"
        if self.day and local.date() != self.day:
            clock = f"{local:%m-%d} {clock}" if local.year == self.day.year else f"{local:%Y-%m-%d} {clock}"
        milli = f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d}"
        return Moment(clock, f"{local:%Y-%m-%d %H:%M:%S} {shift}", milli, f"{utc:%Y-%m-%dT%H:%M:%S.%f}Z")

    def clock(self, at: str | None) -> str:
        """An instant as clock time with its offset, or nothing."""
        moment = self.moment(at)
        return moment.clock if moment else ""

    def hours(self, window: Window) -> tuple[str, str]:
        """The window's ends; the offset stands only once, at its end."""
        start, end = self.moment(window.start), self.moment(window.end)
        if not (start and end):
            return "", ""
        return start.clock.rpartition(" ")[0] or start.clock, end.clock

    # The ten seconds.

    def _top(self) -> Candidate | None:
        d = self.s.diagnosis
        ranked = self.ranked()
        exact = [c for c in ranked if (c.fault_class, c.fault_subclass) == (d.fault_class, d.fault_subclass)]
        same = [c for c in ranked if c.fault_class == d.fault_class]
        return next(iter([*exact, *same, *ranked]), None)

    def ranked(self) -> list[Candidate]:
        """The explanations, likeliest first."""
        return sorted(self.s.diagnosis.candidates, key=lambda candidate: -candidate.probability)

    def _class_name(self, d: Diagnosis) -> str:
        if d.class_name:
            return self.text(d.class_name)
        return class_name(d.fault_class, self.language) if d.fault_class else ""

    def _name(self, d: Diagnosis) -> str:
        """The class and the subclass in words; nothing for an abstention."""
        if not d.fault_class:
            return ""
        whole = self._class_name(d)
        sub = subclass_name(d.fault_class, d.fault_subclass, self.language)
        return whole if not sub or sub in whole else f"{whole} › {sub}"

    def _candidate_name(self, candidate: Candidate) -> str:
        sub = subclass_name(candidate.fault_class, candidate.fault_subclass, self.language)
        whole = class_name(candidate.fault_class, self.language)
        return f"{whole} › {sub}" if sub else whole

    def _places(self, d: Diagnosis) -> tuple[tuple[str, str], ...]:
        at = d.location
        parts = [at.service, at.operation, at.channel or ", ".join(self.s.scope.channels[:3])]
        parts += [self.say("host", name=at.host)] if at.host else []
        place = " · ".join(shorten(part, PLACE) for part in parts if part)
        orders = self._orders()
        return (
            (self.say("where"), place or self.say("unknown_place")),
            (self.say("order"), orders or self.say("unknown_place")),
        )

    def _orders(self) -> str:
        known = {order.order_id: order for order in self.s.orders}
        ids = self.s.scope.focus_orders or [order.order_id for order in self.s.orders if order.focus]
        shown = []
        for order_id in ids[:2]:
            order = known.get(order_id)
            facts = [order_id]
            if order:
                facts += [amount(order.amount_minor, order.currency), self.term(order.state)]
            shown.append(" · ".join(fact for fact in facts if fact))
        more = [self.say("more_orders", count=len(ids) - 2)] if len(ids) > 2 else []
        return "; ".join([*shown, *more])

    def state(self, state: str, raw: str) -> str:
        """A state in words, with the source's own name for it where that differs."""
        word = self.term(state)
        same = not raw or raw.casefold().replace(" ", "_") in {state.casefold(), word.casefold()}
        return word if same else f"{word} ({raw})" if self.language == "en" else f"{word}（{raw}）"

    def when(self) -> tuple[str, str]:
        """The moment that the ticket is about, in the reader's zone, and in UTC where that differs."""
        anchor = self.moment(self.s.scope.anchor)
        if not anchor:
            return "", ""
        return anchor.full, "" if anchor.full.endswith("+00:00") else self.say("utc", time=anchor.utc[:19])

    def window(self) -> str:
        """Which time was looked at, and what it was compared with."""
        scope = self.s.scope
        start, end = self.hours(scope.window)
        if scope.baseline.end == scope.window.start:
            first, last = parse_time(scope.baseline.start), parse_time(scope.baseline.end)
            if first and last:
                return self.say("window", start=start, end=end, length=length(last - first, self.language))
        base_start, base_end = self.hours(scope.baseline)
        return self.say("window_apart", start=start, end=end, base_start=base_start, base_end=base_end)

    def _runner_up(self, d: Diagnosis) -> str:
        top = self._top()
        other = next((c for c in self.ranked() if c is not top), None)
        if other is None:
            return self.say("no_runner_up")
        sub = subclass_name(other.fault_class, other.fault_subclass, self.language)
        name = sub if sub and other.fault_class == d.fault_class else self._candidate_name(other)
        return self.say("runner_up", name=name, share=percent(other.probability, self.language))

    def _proofs(self, d: Diagnosis) -> tuple[Proof, ...]:
        """The lines of the leading explanation's findings, strongest first: at night, only the first may be read.

        Each finding gives one line before any gives a second; but a contradiction between two order events takes both.
        """
        wanted = self._supporting(d)
        rounds: list[tuple[int, int, Evidence, Finding]] = []
        for place, finding in enumerate(wanted):
            pair = 1 if finding.evidence[0].kind == "order_event" else 0
            rounds += [(max(0, nth - pair), place, row, finding) for nth, row in enumerate(finding.evidence)]
        picked: dict[str, tuple[Proof, Finding]] = {}
        for _, _, row, finding in sorted(rounds, key=lambda item: item[:2]):
            if row.ref not in picked and len(picked) < PROOFS:
                said = any(finding is other for _, other in picked.values())
                picked[row.ref] = self._proof(row, finding, said=said), finding
        return tuple(proof for proof, _ in picked.values())

    def _supporting(self, d: Diagnosis) -> list[Finding]:
        top = self._top()
        ids = list(top.findings) if top else []
        if d.abstained:
            ids += [ref for candidate in self.ranked() for ref in candidate.findings]
        found = [self.findings[ref] for ref in dict.fromkeys(ids) if ref in self.findings]
        if not found:
            found = [
                f for f in self.s.findings if f.weight > 0 and (d.abstained or f.supports in {None, d.fault_class})
            ]
        if not found and d.abstained:
            # Between which lines the silence lies.
            found = [f for f in self.s.findings if f.kind.startswith("gap.")]
        return sorted((f for f in found if f.evidence), key=lambda f: (-f.weight, not f.about_focus))

    def _proof(self, evidence: Evidence, finding: Finding, *, said: bool) -> Proof:
        return Proof(
            ref=evidence.ref,
            moment=self.moment(evidence.at),
            service=evidence.service or self.term(evidence.kind),
            quote=shorten(evidence.quote, QUOTE),
            statement="" if said else self.text(finding.statement),
            pointer=pointer_text(evidence),
        )

    def cause(self, candidate: Candidate) -> Cause:
        """An explanation with its probability."""
        return Cause(
            name=self._candidate_name(candidate),
            share=candidate.probability,
            percent=percent(candidate.probability, self.language),
            findings=tuple(candidate.findings),
            against=tuple(candidate.against),
        )

    def _question(self, missing: Missing) -> Question:
        window = ""
        if missing.window:
            start, end = self.hours(missing.window)
            window = f"{start} – {end}"
        parts = [missing.source, missing.service]
        return Question(
            what=" · ".join(part for part in parts if part),
            window=window,
            question=self.text(missing.question),
        )

    def _against(self, top: Candidate | None, d: Diagnosis) -> tuple[Claim, ...]:
        named = set(top.against) if top else set()
        claims = [
            finding
            for finding in self.s.findings
            if finding.id in named or (finding.weight < 0 and self._doubts(finding, d))
        ]
        return tuple(self._claim(finding) for finding in sorted(claims, key=lambda f: f.weight)[:LINES])

    def _doubts(self, finding: Finding, d: Diagnosis) -> bool:
        return (
            bool(d.fault_class) and finding.supports == d.fault_class and finding.subclass in {None, d.fault_subclass}
        )

    def _claim(self, finding: Finding) -> Claim:
        return Claim(self.text(finding.statement), tuple(dict.fromkeys(e.ref for e in finding.evidence)))

    def _unchecked(self) -> Iterable[str]:
        rows = [row for row in self.s.coverage if row.status != "ok" or row.cut or row.sampled]
        order = ["failed", "partial", "ok", "skipped", "empty"]
        rows.sort(key=lambda row: (order.index(row.status), row.what))
        lines: list[str] = []
        for (status, what), group in groupby(rows, key=lambda row: (row.status, row.what)):
            same = list(group)
            if len(same) > 2:
                sources = ", ".join(row.source for row in same)
                text = self.say(
                    "coverage_same",
                    count=len(same),
                    what=self.term(what),
                    status=self.term(status),
                    sources=shorten(sources, 160),
                )
                lines.append(text)
            else:
                lines += [self._coverage_line(row) for row in same]
        lines = list(lines)
        if len(lines) > LINES:
            lines = [*lines[:LINES], self.say("and_more", count=len(lines) - LINES)]
        return [*lines, *self._not_evaluated()]

    def _coverage_line(self, row: Coverage) -> str:
        colon = "：" if self.language == "zh" else ": "
        comma = "，" if self.language == "zh" else ", "
        head = (
            f"{self.term(row.what)} ({row.source}){colon}"
            if self.language == "en"
            else f"{self.term(row.what)}（{row.source}）{colon}"
        )
        tail = [self.term(row.status)] if row.status not in {"ok", "empty"} else []
        tail += [self.say("nothing_there")] if row.status == "empty" else []
        if row.status in {"ok", "partial"} and row.matched is not None:
            tail.append(self.say("counts", fetched=count(row.fetched), matched=count(row.matched)))
        elif row.status == "partial":
            tail.append(self.say("counts_unknown", fetched=count(row.fetched)))
        tail += [self.say("sampled")] if row.sampled else []
        tail += [self.say("cut", count=count(row.cut))] if row.cut else []
        why = [row.error] if row.error else row.notes[:1]
        return head + ("；" if self.language == "zh" else "; ").join([comma.join(tail), *why])

    def _not_evaluated(self) -> list[str]:
        """One line a family of checks, so that twenty rules without their input do not hide the rest."""
        lines = []
        waiting = [check for check in self.s.checks if check.outcome == "not_evaluated"]
        families: dict[str, list[Check]] = {}
        for check in waiting:
            families.setdefault(re.sub(r"\d+$", "", check.id).partition(".")[0], []).append(check)
        for checks in families.values():
            ids = id_ranges([check.id.rpartition(".")[2] for check in checks])
            statements = {self.text(check.statement) for check in checks}
            if len(checks) == 1:
                lines.append(self.say("not_evaluated_one", statement=statements.pop().rstrip(".。"), ids=ids))
            elif len(statements) == 1:
                statement = statements.pop().rstrip(".。")
                lines.append(self.say("not_evaluated_same", count=len(checks), statement=statement, ids=ids))
            else:
                lines.append(self.say("not_evaluated", count=len(checks), ids=ids))
        if len(lines) > LINES:
            ids = id_ranges([check.id for check in waiting])
            lines = [self.say("not_evaluated", count=len(waiting), ids=shorten(ids, 160))]
        return lines
