"""A comparison of two documents for people: on a terminal and as Markdown, out of the same sections; or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from typing import Any

import msgspec

from snapshots.comparison import Change, Comparison, FindingChange, Value
from snapshots.conclusion import share_words
from snapshots.model import Text
from snapshots.render.clean import clean, shorten
from snapshots.render.figures import count, parse_time, pointer_text, utc_offset
from snapshots.render.shapes import Grid, Section
from snapshots.words import Language, class_name, label, owner_name, subclass_name, term, text_in

OUTPUTS = ("table", "json", "md")

# What a table shows of a long list, unless everything is asked for.
_SHOWN = 10
_FEW = 5
_LONG = 160


def render_comparison(
    comparison: Comparison,
    output: str = "table",
    *,
    language: Language = "en",
    zone: tzinfo | None = None,
    full: bool = False,
    width: int = 100,
    colour: bool = False,
) -> str:
    """`comparison` as text in one of `OUTPUTS`. Without `zone` times are shown in UTC. Raises `ValueError` for another."""
    if output == "json":
        return msgspec.json.format(msgspec.json.encode(comparison, order="deterministic"), indent=2).decode() + "\n"
    if output not in OUTPUTS:
        message = f"there is no output {output!r}; choose one of {', '.join(OUTPUTS)}"
        raise ValueError(message)
    reader = _Reader(clean(comparison), language, zone, full=full)
    if output == "md":
        from snapshots.render.markdown import sections_md

        return sections_md(reader.title(), reader.conclusion(), reader.sections())
    from snapshots.render.terminal import sections_text

    return sections_text(reader.title(), reader.conclusion(), reader.sections(), width=width, colour=colour)


class _Reader:
    """Reads one comparison in one language."""

    def __init__(self, comparison: Comparison, language: Language, zone: tzinfo | None, *, full: bool) -> None:
        self.c = comparison
        self.language = language
        self.zone = zone
        self.full = full

    def title(self) -> str:
        """Which two documents."""
        before, after = self.c.before, self.c.after
        if before.ticket_id == after.ticket_id:
            return f"{after.ticket_id}  {before.snapshot_id} → {after.snapshot_id}"
        return f"{before.ticket_id} {before.snapshot_id} → {after.ticket_id} {after.snapshot_id}"

    def conclusion(self) -> list[str]:
        """The few sentences that say it."""
        return [self.text(line) for line in self.c.conclusion]

    def sections(self) -> list[Section]:
        """Everything that changed; what did not is left out."""
        c = self.c
        made = [
            self._changes("diagnosis", c.diagnosis),
            self._candidates(),
            self._findings(),
            self._missing(),
            self._checks(),
            self._records(),
            self._lost(),
            self._coverage(),
            self._orders(),
            self._templates(),
            self._changes("scope", c.scope),
            self._changes("ticket", c.ticket),
            self._changes("provenance", c.provenance),
            self._section("parts", (), (), note=", ".join(c.parts)),
        ]
        return [section for section in made if section]

    # Words.

    def say(self, key: str, **values: object) -> str:
        return label(key, self.language, **values)

    def text(self, text: Text) -> str:
        return text_in(text, self.language)

    def value(self, name: str, value: Value) -> str:
        """A field's value as a reader would write it."""
        if value is None or value == "":
            return "-"
        if isinstance(value, Text):
            return self._short(self.text(value))
        if isinstance(value, bool):
            return self.say("yes" if value else "no")
        if isinstance(value, int | float):
            return share_words(value, self.language) if name == "confidence" else f"{value:,}"
        if name == "fault_class":
            return f"{class_name(value, self.language)} ({value})"
        if name in {"seed_class", "status"}:
            return term(value, self.language)
        if name == "owner":
            return owner_name(value, self.language)
        if self.zone and (when := parse_time(value) if name in _TIMES else None):
            local = when.astimezone(self.zone)
            return f"{local:%Y-%m-%d %H:%M:%S} {utc_offset(local)}"
        return value[:12] if name.endswith("sha256") else self._short(value)

    def _short(self, text: str) -> str:
        return text if self.full else shorten(text, _LONG)

    def name(self, change: Change) -> str:
        return label(f"field_{change.name}", self.language) if change.name in _FIELDS else change.name

    # Sections.

    def _section(
        self,
        key: str,
        heads: Sequence[str],
        rows: Sequence[tuple[str, ...]],
        *,
        right: Iterable[int] = (),
        note: str = "",
    ) -> Section | None:
        if not rows and not note:
            return None
        most = len(rows) if self.full else _FEW if key == "templates" else _SHOWN
        shown = tuple(rows[:most])
        more = self.say("shown_of_full", shown=len(shown), total=len(rows)) if len(shown) < len(rows) else ""
        grid = Grid(tuple(self.say(head) for head in heads), shown, frozenset(right)) if rows else None
        return Section(key, self.say(f"diff_{key}"), note=" ".join(part for part in (note, more) if part), grid=grid)

    def _changes(self, key: str, changes: Sequence[Change]) -> Section | None:
        rows = []
        for one in changes:
            sides = ((one.before, self.c.before.fault_class), (one.after, self.c.after.fault_class))
            if one.name == "fault_subclass":
                # The name of a subclass depends on its class.
                said = [subclass_name(owner or "", str(part or ""), self.language) or "-" for part, owner in sides]
            else:
                said = [self.value(one.name, part) for part, _ in sides]
            rows.append((self.name(one), *said))
        return self._section(key, ("col_field", "col_before", "col_after"), rows)

    def _share(self, share: float | None) -> str:
        return "-" if share is None else share_words(share, self.language)

    def _candidates(self) -> Section | None:
        rows = []
        for one in self.c.candidates:
            name = class_name(one.fault_class, self.language)
            subclasses = dict.fromkeys(
                subclass_name(one.fault_class, sub, self.language) or "-"
                for sub, share in ((one.subclass_before, one.before), (one.subclass_after, one.after))
                if share is not None
            )
            sub = " → ".join(subclasses)
            moved = 100 * ((one.after or 0.0) - (one.before or 0.0))
            name = f"{name} › {sub}" if sub != "-" else name
            rows.append((name, self._share(one.before), self._share(one.after), f"{moved:+.1f}"))
        return self._section(
            "candidates", ("col_candidate", "col_before", "col_after", "col_points"), rows, right=(1, 2, 3)
        )

    def _findings(self) -> Section | None:
        rows = [self._finding(one) for one in self.c.findings]
        heads = ("col_change", "col_weight", "col_moves", "col_statement")
        return self._section("findings", heads, rows, right=(1,))

    def _finding(self, one: FindingChange) -> tuple[str, ...]:
        numbers = " → ".join(dict.fromkeys(part for part in (one.id_before, one.id_after) if part))
        weights = [f"{part:+.2f}" if part is not None else "-" for part in (one.weight_before, one.weight_after)]
        weight = " → ".join(dict.fromkeys(weights))
        whose = one.candidate.fault_class if one.candidate else one.supports or next(iter(one.against), "")
        moves = class_name(whose, self.language) if whose else "-"
        if one.role == "against":
            moves = self.say("moves_against", name=moves)
        if one.candidate:
            moves += f" {self._share(one.candidate.before)} → {self._share(one.candidate.after)}"
        statement = self._short(self.text(one.statement))
        if one.statement_before and self.text(one.statement_before) != self.text(one.statement):
            statement = f"{self._short(self.text(one.statement_before))} → {statement}"
        if one.evidence:
            first = one.evidence[0]
            statement = f"{statement} [{first.ref}: {pointer_text(first)}]"
        return self.say(f"moved_{one.change}") + f" {numbers}", weight, moves, statement

    def _missing(self) -> Section | None:
        rows = [
            (
                self.say(f"moved_{one.change}"),
                " · ".join(part for part in (one.missing.source, one.missing.service) if part),
                self._short(self.text(one.missing.question)),
            )
            for one in self.c.missing
        ]
        return self._section("missing", ("col_change", "col_source", "col_statement"), rows)

    def _checks(self) -> Section | None:
        def said(outcome: str | None) -> str:
            return term(outcome, self.language) if outcome else "-"

        rows = [
            (one.id, said(one.before), said(one.after), self._short(self.text(one.statement))) for one in self.c.checks
        ]
        return self._section("checks", ("col_check", "col_before", "col_after", "col_statement"), rows)

    def _records(self) -> Section | None:
        inputs = self.c.inputs
        if not (inputs.records_changed or inputs.records_only_before or inputs.records_only_after):
            return None
        note = self.say(
            "diff_record_counts",
            common=count(inputs.records_common),
            before=count(inputs.records_only_before),
            after=count(inputs.records_only_after),
            changed=count(len(inputs.records_changed)),
        )
        rows = [
            (one.source, one.place, one.sha256_before[:12], one.sha256_after[:12]) for one in inputs.records_changed
        ]
        return self._section("records", ("col_source", "col_pointer", "col_before", "col_after"), rows, note=note)

    def _lost(self) -> Section | None:
        records = self.c.replay.records if self.c.replay else []
        rows = [(row.ref, term(row.state, self.language), row.source, row.reason) for row in records]
        return self._section("lost", ("col_ref", "col_status", "col_source", "col_note"), rows)

    def _coverage(self) -> Section | None:
        rows = []
        for one in self.c.coverage:
            fields = "; ".join(
                f"{self.name(f)} {self.value(f.name, f.before)} → {self.value(f.name, f.after)}" for f in one.fields
            )
            rows.append(
                (self.say(f"moved_{one.change}"), one.source, term(one.what, self.language), self._short(fields))
            )
        return self._section("coverage", ("col_change", "col_source", "col_what", "col_note"), rows)

    def _orders(self) -> Section | None:
        def state(name: str | None, raw: str | None) -> str:
            return "-" if name is None else term(name, self.language) + (f" ({raw})" if raw else "")

        rows = [
            (
                one.order_id,
                state(one.before, one.raw_before),
                state(one.after, one.raw_after),
                f"{one.events_before} → {one.events_after}",
            )
            for one in self.c.orders
        ]
        return self._section("orders", ("col_order", "col_before", "col_after", "col_events"), rows)

    def _templates(self) -> Section | None:
        moved = self.c.templates
        if not (moved.templates or moved.totals):
            return None
        counts: dict[str, Any] = {"new": moved.new, "gone": moved.gone, "changed": moved.changed, "same": moved.same}
        note = self.say("diff_template_counts", **counts)
        if moved.totals:
            sums = "; ".join(f"{f.name} {self.value('', f.before)} → {self.value('', f.after)}" for f in moved.totals)
            note += f" ({sums})"
        rows = []
        for one in moved.templates:
            incident, baseline = (
                " → ".join("-" if n is None else count(n) for n in pair)
                for pair in (
                    (one.incident_before, one.incident_after),
                    (one.baseline_before, one.baseline_after),
                )
            )
            said = self.say(f"moved_{one.change}")
            contrasts = [part for part in (one.contrast_before, one.contrast_after) if part]
            contrast = " → ".join(dict.fromkeys(term(part, self.language) for part in contrasts))
            rows.append((said, incident, baseline, contrast, self._short(one.text)))
        heads = ("col_change", "col_incident", "col_baseline", "col_contrast", "col_template")
        return self._section("templates", heads, rows, right=(1, 2), note=note)


_TIMES = frozenset({"window.start", "window.end", "baseline.start", "baseline.end", "anchor"})
# The fields whose name has words; others are shown by the name that the JSON has.
_FIELDS = frozenset({
    "abstained", "fault_class", "fault_subclass", "seed_class", "confidence", "summary", "owner", "first_action",
    "culprits", "location.service", "location.operation", "location.host", "location.channel",
    "window.start", "window.end", "baseline.start", "baseline.end", "anchor", "reason", "focus_orders", "services",
    "channels", "identifiers", "title", "description", "created_at", "questionnaire", "tool_version",
    "settings_sha256", "tables_sha256", "sources", "status", "matched", "fetched", "used", "cut",
})  # fmt: skip
