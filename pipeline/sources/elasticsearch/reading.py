"""The answer to one question: counted, planned, read by several threads, parsed while the next pages are under way."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from parsers.columns import columns_of, read_columns, wanted_columns
from parsers.hits import Values, Wanted, joined, worth_compiling
from parsers.mapping import source_fields
from pipeline.errors import SourceBroken, SourceError, SourceUnavailable
from pipeline.sources.elasticsearch.answer import answer_of, said
from pipeline.sources.elasticsearch.calls import Calls, DeclinedError, OutOfTimeError
from pipeline.sources.elasticsearch.collector import without_collector
from pipeline.sources.elasticsearch.esql import Esql
from pipeline.sources.elasticsearch.explained import explained_by
from pipeline.sources.elasticsearch.intake import Intake, Part
from pipeline.sources.elasticsearch.plan import (
    KINDS,
    Kind,
    Step,
    Totals,
    first_of,
    steps_for,
    stretches,
    width_for,
    written,
)
from pipeline.sources.elasticsearch.points import Point, Tally, buckets_of, histogram
from pipeline.sources.elasticsearch.queries import Query, Questions, all_of, any_of, drawn
from pipeline.sources.elasticsearch.tables import each_once
from pipeline.sources.elasticsearch.tallies import count_by, not_counted, tallies
from pipeline.sources.elasticsearch.targets import Target, counted
from pipeline.values import Ask, Fetched, Span
from snapshots.model import FetchPlan, RowCount

if TYPE_CHECKING:
    from pipeline.sources.elasticsearch.source import ElasticsearchSource

# The share of the time that counting may take. A cluster that needs longer is read without a count.
_COUNTING = 0.3
# How often the sample is asked for what it does not explain: each time a rarer kind of line becomes known.
_ROUNDS = 3
# Lines that make a template common enough to be left out of what is unexplained.
_COMMON = 2
# Services and levels that are told, at most.
_LARGEST = 20
# Rows below which the size of a draw is looked at before it is read.
_FEW = 1_000
_LOOKS = 16
# Draws that the larger part of a sample is read in: where the time ends within one, those before it are whole.
_DRAWS = 2
_BLIND_STRETCHES = 24
# The steps of which only a part may have been read, and from which one learns what is common.
_DRAWN = frozenset({"failing", "sample", "unexplained"})

_WORDS: dict[Kind, str] = {
    "all": "all rows",
    "healthy": "rows of healthy orders to compare with",
    "sample": "other rows, drawn at random",
    "unexplained": "rows that no template of the sample accounts for",
}


class Reading:
    """The answer to one `Ask`."""

    def __init__(self, source: ElasticsearchSource, calls: Calls, target: Target, ask: Ask) -> None:
        self.source = source
        self.calls = calls
        self.target = target
        self.ask = ask
        self.questions = Questions(target, source.mapping, ask.what)
        self.limit = max(0, min(ask.limit, source.options.max_lines))
        self.tally = Tally()
        self.notes: list[str] = list(target.notes)
        self.steps: list[Step] = []
        self.totals: Totals | None = None
        # The rows of a window that was read whole without a plan.
        self.counted: int | None = None
        self.words: dict[Kind, str] = dict(_WORDS)
        self.words["failing"] = "rows at WARN or above or speaking of a failure"
        if ask.what == "spans":
            self.words["failing"] = "rows of failed spans"
        self.middle = ask.anchor or ask.window.start + (ask.window.end - ask.window.start) / 2
        self.width = width_for(ask.window)
        self.queries: dict[Kind, Query] = {}
        # The only fields that are wanted, as they are; empty where the whole table is.
        self.fields: tuple[str, ...] = ()
        self.intake = Intake(self._parse, self._parse_values, calls.left)
        # What a compiled loop reads of each hit, where there are enough of them.
        self.wanted: Wanted | None = None
        self.esql = Esql(calls, target) if source.options.esql == "auto" else None

    def explain(self) -> tuple[FetchPlan | None, str, tuple[str, ...]]:
        """What would be read, without reading it, the same in words, and notes. Raises `SourceError`."""
        with self._point() as point:
            self._count(point)
        notes = tuple(dict.fromkeys((*self.target.problems, *self.tally.problems, *self.notes)))
        if self.totals is None:
            return None, "what is named, what fails, and then the rest, from the moment in question outwards", notes
        return written(self.totals, self.limit, self.steps, ahead=True), said(self, ahead=True), notes

    def run(self) -> Fetched:
        """Counts, reads, parses; pages are under way while earlier ones are parsed.

        What a request that hangs would have brought is given up at the deadline; what was read before it is kept.
        """
        stopped: SourceError | None = None
        with self.intake.parsing(), without_collector():
            try:
                with self._point() as point, self.intake.open():
                    self._count(point)
                    self._read(point)
            except SourceError as error:
                # Rows in hand are worth more than the error, which the ledger tells; without any, it is the answer.
                if not self.intake.rows and not (self.totals is not None and isinstance(error, OutOfTimeError)):
                    raise
                stopped = error
            parts = self.intake.answers()
        return answer_of(self, parts, stopped)

    def columns(self, fields: Sequence[str]) -> pa.Table:
        """`_index`, `_id` and `fields` of every row of the window, as text, in no order. Raises `SourceError`.

        Nothing of a part is given back: who asks for columns counts with them.
        """
        self.fields = tuple(fields)
        # Of heavy documents a search leaves out what is not wanted.
        self.esql = None
        with self.intake.parsing(), without_collector(), self._point() as point, self.intake.open():
            self.queries = {"all": self.questions.within(self.ask.window)}
            by_time = point.by_time(self.queries["all"], self.width)
            total = sum(rows for _, rows in by_time)
            step = Step("all", total, total)
            self._prepare(total)
            self._whole(point, step, self.queries["all"], by_time)
            tables = [answer for _, answer in self.intake.answers()]
        problems = [*self.target.problems, *self.tally.problems]
        if problems:
            raise SourceUnavailable("; ".join(problems))
        table = pa.concat_tables(tables) if tables else read_columns(b"", self.fields, 0)
        return each_once(table) if step.again else table

    def _point(self) -> Point:
        columns: Any = source_fields(self.source.mapping) if self.ask.what == "logs" else True
        if self.fields:
            columns = list(self.fields)
        return Point(self.calls, self.target, columns, self.source.options.page_size, self.tally)

    # ---- what there is

    def _count(self, point: Point) -> None:
        """One request that counts by kind, time, service and level, and the steps that follow from it."""
        named, words, notes = self.questions.naming(self.ask.identifiers)
        healthy, _, more = self.questions.naming(self.ask.beside)
        self.notes += dict.fromkeys([*notes, *more])
        self.words["named"] = f"rows {words}"
        self.queries = {"all": self.questions.within(self.ask.window)}
        before: list[Query] = []
        for kind, query in (("named", named), ("healthy", healthy), ("failing", self.questions.failing())):
            self.queries[kind] = all_of(query, without=before) if query else {"match_none": {}}  # type: ignore[index]
            before += [query] if query else []
        self.queries["sample"] = all_of(without=before)
        within = self.calls.left() * _COUNTING
        try:
            self.totals = self._totals(point, within)
        except (OutOfTimeError, DeclinedError, SourceBroken) as error:
            # Nothing read yet, and the right rows can be asked for without knowing how many there are.
            if time.monotonic() >= self.calls.deadline:
                raise
            late = isinstance(error, OutOfTimeError)
            why = f"within {within:.1f} s" if late else f"({error})"
            self.notes.append(f"the cluster did not count the window {why}, so that it was read without a plan")
            return
        searchable = bool(self.questions.searchable_texts())
        self.steps = steps_for(self.totals.counts, self.limit, rest=self.ask.rest, searchable=searchable)
        if (
            self.ask.what == "logs"
            and not searchable
            and any(step.kind == "sample" and step.wanted < (step.matched or 0) for step in self.steps)
        ):
            self.notes.append(
                "the lines cannot be searched by words, so a line that was written rarely may be missing from the sample"
            )

    def _totals(self, point: Point, within: float) -> Totals:
        ask, questions = self.ask, self.questions
        width = self.width
        by_kind = {kind: self.queries[kind] for kind in KINDS}
        aggregations: dict[str, Any] = {
            "kinds": {"filters": {"filters": by_kind}, "aggregations": {"t": histogram(self.target, width)}}
        }
        by_column = {"services": tallies(self.target, self.source.mapping.service_name)}
        if ask.what == "logs":
            by_column["levels"] = tallies(self.target, self.source.mapping.log_level)
        body = {"query": self.queries["all"], "size": 0, "track_total_hits": True, "aggregations": aggregations}
        until = time.monotonic() + within
        found, largest, notes = count_by(
            by_column,
            _LARGEST,
            {"services": questions.failing()},
            body,
            lambda **asked: point.lasting(within=until - time.monotonic(), whole=True, **asked),
        )
        if not by_column["services"]:
            notes += not_counted(self.target, self.source.mapping.service_name)
        self.notes += notes
        rows = int(found["hits"]["total"]["value"])
        kinds = found["aggregations"]["kinds"]["buckets"]
        services = [RowCount(name=name, rows=n, failing=bad) for name, (n, bad) in largest["services"].items()]
        return Totals(
            width_ms=width,
            by_time={kind: buckets_of(kinds[kind]["t"]) for kind in KINDS},
            counts={kind: int(kinds[kind]["doc_count"]) for kind in KINDS},
            services=tuple(services),
            services_omitted=rows - sum(one.rows for one in services) if by_column["services"] else 0,
            levels={name: n for name, (n, _) in largest.get("levels", {}).items()},
        )

    # ---- reading, step by step

    def _read(self, point: Point) -> None:
        if self.totals is None:
            self._prepare(0)
            self._read_blind(point)
            return
        if self.esql and self.steps:
            self.esql.probe()
        self._prepare(sum(step.wanted for step in self.steps))
        rare = self.has("unexplained")
        first = 0.0
        for step in self.steps:
            window = self.queries["all"]
            if step.kind == "all":
                by_time = _together([self.totals.by_time[kind] for kind in KINDS])
                self._whole(point, step, window, by_time)
            elif step.kind == "unexplained":
                self._unexplained(point, step)
            elif step.wanted == step.matched:
                self._whole(point, step, all_of(window, self.queries[step.kind]), self.totals.by_time[step.kind])
            elif step.kind == "sample" and rare:
                # The rest of it is read after the rare rows, for which it is not needed.
                first = self._drawn(point, step, first_of(step), exactly=True)
            else:
                self._drawn(point, step, step.wanted, exactly=rare)
        if rare:
            self._more_of_the_sample(point, first)

    def _more_of_the_sample(self, point: Point, already: float) -> None:
        """The second part of the sample, larger by what the rare rows left over, in draws that are whole by themselves."""
        for step in self.steps:
            if step.kind == "sample" and step.matched and step.wanted < step.matched:
                step.wanted = min(step.matched, max(step.fetched, step.fetched + self.limit - self.intake.rows))
                for number in range(1, _DRAWS + 1):
                    size = int(already + (step.wanted - already) * number / _DRAWS)
                    already = self._drawn(point, step, size, already=already)

    def has(self, kind: Kind) -> bool:
        """Whether a step of this kind is planned."""
        return any(step.kind == kind for step in self.steps)

    def _whole(self, point: Point, step: Step, query: Query, by_time: Sequence[tuple[int, int]]) -> None:
        """Every row of `query`, those nearest to the moment in question first."""
        self._fetch(
            point, Part(step, whole=True), query, stretches(self.ask.window, by_time, self.width, None, self.middle)
        )

    def _drawn(
        self,
        point: Point,
        step: Step,
        want: int,
        *,
        query: Query | None = None,
        already: float = 0,
        exactly: bool = False,
    ) -> float:
        """A random draw of about `want` rows of a step, or of `query`, less the `already` that a draw before it aimed at.

        Whether a row is read depends on nothing but the draw. With `exactly` it may come out a few rows larger than wanted.
        Gives how many rows it aimed at, which a larger draw leaves out as `already`.
        """
        matched = step.matched or 0
        of_step = query is None
        by_time = self.totals.by_time.get(step.kind, ()) if self.totals and of_step else None
        query = query or all_of(self.queries["all"], self.queries[step.kind])
        want = min(want, matched)
        if want <= already:
            return already
        # A little less than wanted, so that the draw does not come out larger: two deviations of its size.
        aim: float = want if exactly else max(already + 1, want - 2.0 * math.sqrt(want))
        part = Part(step, whole=False, matched=None if of_step else matched)
        try:
            if want - already < _FEW and not exactly:
                aim = self._small_draw(point, query, matched, want, already)
            chosen = _between_draws(query, already / matched, aim / matched)
            if by_time is None:
                by_time = point.by_time(chosen, self.width)
            else:
                by_time = [(start, math.ceil(rows * aim / matched)) for start, rows in by_time]
            self._fetch(point, part, chosen, stretches(self.ask.window, by_time, self.width, None, None))
        except SourceBroken as error:
            # Indices without sequence numbers: of each stretch of time its share.
            if "_seq_no" not in str(error):
                raise
            if not already:
                parts = [(start, math.ceil(rows * want / matched)) for start, rows in point.by_time(query, self.width)]
                self.notes.append("the cluster draws no random rows here; of each stretch of time its share was read")
                self._fetch(point, part, query, stretches(self.ask.window, parts, self.width, want, None))
        return aim

    def _small_draw(self, point: Point, query: Query, matched: int, want: int, already: float) -> float:
        """The size to aim at for a draw that brings the rows wanted, or a fiftieth less: the size of a small one is uncertain."""
        low, high = already, min(float(matched), want + 4.0 * math.sqrt(want) + 4.0)
        for _ in range(_LOOKS):
            middle = (low + high) / 2.0
            spare = want - already - point.count(_between_draws(query, already / matched, middle / matched))
            if spare < 0:
                high = middle
            else:
                low = middle
                if spare <= want // 50:
                    break
        return low

    def _unexplained(self, point: Point, step: Step) -> None:
        """The rows that no template of what was drawn accounts for, of those kinds that were not read whole.

        Some of them were drawn already and come a second time: then they stand for themselves, and not for others.
        """
        fields = self.questions.searchable_texts()
        partly = [
            one.kind for one in self.steps if one.kind in _DRAWN - {"unexplained"} and one.wanted < (one.matched or 0)
        ]
        base = all_of(self.queries["all"], any_of([self.queries[kind] for kind in partly]))
        for round_ in range(_ROUNDS):
            known, of_templates = explained_by(self._templates(), fields)
            query = all_of(base, without=known)
            by_time = point.by_time(query, self.width)
            one = Step("unexplained", sum(rows for _, rows in by_time), step.wanted - step.fetched)
            step.matched = one.matched if step.matched is None else step.matched
            last = round_ == _ROUNDS - 1 or not of_templates
            try:
                if (one.matched or 0) <= one.wanted:
                    self._whole(point, one, query, by_time)
                    last = True
                else:
                    # Too many yet: draw some of them, and learn from these what else is common.
                    self._drawn(point, one, one.wanted if last else one.wanted // 3, query=query, exactly=True)
            finally:
                # Also where it was broken off: what was read is in hand.
                step.fetched += one.fetched
                step.again += one.again
            if last:
                break
        step.wanted = min(step.wanted, max(step.matched or 0, step.fetched))
        self.notes.append(
            f"beyond the sample, {counted(step.matched or 0, 'row is', 'rows are')} of none of its common templates; "
            f"{step.fetched:,} of them read"
        )

    def _templates(self) -> list[Any]:
        """The templates of what was read so far that are common enough to be known, most frequent first."""
        from parsers.templates import mine

        tables = [answer.table for _, answer in self.intake.answers(_DRAWN)]
        if not tables:
            return []
        mined = mine(pa.concat_tables(tables).column("body"))
        return [template for template in mined.templates if template.count >= _COMMON]

    def _read_blind(self, point: Point) -> None:
        """Without a count: what is named, then what fails, then the rest, nearest to the moment first, up to the limit."""
        self.words["sample"] = "other rows, those nearest to the moment in question first"
        window = self.ask.window
        width = (window.end - window.start) / _BLIND_STRETCHES
        spans = [Span(window.start + n * width, window.start + (n + 1) * width) for n in range(_BLIND_STRETCHES)]
        spans.sort(key=lambda span: (abs((span.start + width / 2 - self.middle).total_seconds()), span.start))
        kinds: tuple[Kind, ...] = KINDS if self.ask.rest else ("named", "healthy")
        whole = True
        for kind in kinds:
            if "match_none" in self.queries[kind]:
                continue
            left = self.limit - sum(step.distinct for step in self.steps)
            if left <= 0:
                whole = False
                break
            share = left // 2 if kind == "failing" else left
            step = Step(kind, None, share)
            self.steps.append(step)
            query = all_of(self.queries["all"], self.queries[kind])
            parts = [(window, None)] if kind in {"named", "healthy"} else [(span, None) for span in spans]
            self._fetch(point, Part(step, whole=False), query, parts, most=share)
            whole = whole and step.distinct < share
        if whole:
            # Nothing was left out, and so they are counted after all.
            for step in self.steps:
                step.matched = step.wanted = step.distinct
            self.counted = sum(step.distinct for step in self.steps)

    def _fetch(
        self,
        point: Point,
        part: Part,
        query: Query,
        parts: Sequence[tuple[Span, int | None]],
        *,
        most: int | None = None,
    ) -> None:
        """Reads stretches of time by several threads, in the given order, until they are read or the time is up."""
        todo: queue.SimpleQueue[tuple[Span, int | None]] = queue.SimpleQueue()
        for stretch in parts:
            todo.put(stretch)
        failures: list[BaseException] = []
        finished: queue.SimpleQueue[None] = queue.SimpleQueue()

        def work() -> None:
            try:
                while not failures and not self.intake.closed:
                    try:
                        span, want = todo.get_nowait()
                    except queue.Empty:
                        return
                    inside = all_of(query, self.questions.within(span))
                    for hits, size, again in self._pages(point, part, inside, want):
                        # What has come is kept, whatever befell the other readers meanwhile.
                        if not self.intake.take(part, hits, size, again, most) or failures:
                            return
            except BaseException as error:  # noqa: BLE001 - told to whoever waits below
                failures.append(error)
            finally:
                finished.put(None)

        readers = min(self.source.options.readers, len(parts))
        for number in range(readers):
            # Daemons: one that hangs in a socket must keep neither the answer nor the process.
            threading.Thread(target=work, name=f"{self.source.name}:{part.step.kind}:{number}", daemon=True).start()
        for _ in range(readers):
            try:
                finished.get(timeout=self.calls.left())
            except queue.Empty:
                raise self.calls.out_of_time() from None
        for error in failures:
            raise error
        part.done = True

    def _pages(
        self, point: Point, part: Part, query: Query, want: int | None
    ) -> Iterator[tuple[list[msgspec.Raw] | Values, int, int]]:
        """The pages of a stretch. Only what is read whole may come through ES|QL: a draw has to be the search's own."""
        if self.esql and part.whole and want is None:
            return self.esql.pages(point, query, self.wanted)
        return point.pages(query, want, self.wanted)

    def _prepare(self, rows: int) -> None:
        """Loads the compiled loop where so many rows are worth it."""
        if worth_compiling(rows):
            if self.fields:
                self.wanted = wanted_columns(self.fields)
            elif self.ask.what == "logs":
                from parsers.documents.parsing import wanted_of

                self.wanted = wanted_of(self.source.mapping)

    def _parse_values(self, values: list[Values]) -> Any:
        if self.fields:
            return pa.concat_tables([columns_of(some, self.fields) for some in values])
        from parsers.documents.parsing import parse_values

        return parse_values(
            joined(values), source=self.source.name, mapping=self.source.mapping, zone=self.source.zone()
        )

    def _parse(self, ndjson: bytes, hits: int) -> Any:
        if self.fields:
            return read_columns(ndjson, self.fields, hits)
        if self.ask.what == "logs":
            from parsers.documents.parsing import parse_documents

            zone = self.source.zone()
            mapping = self.source.mapping
            return parse_documents(ndjson, source=self.source.name, mapping=mapping, envelope="hit", zone=zone)
        from parsers.traces.documents import parse_span_documents

        return parse_span_documents(ndjson, source=self.source.name, envelope="hit")


def _between_draws(query: Query, small: float, large: float) -> Query:
    """Rows of `query` that are in the larger of two draws and not in the smaller one."""
    return all_of(query, drawn(large), without=[drawn(small)] if small else [])


def _together(many: Sequence[Sequence[tuple[int, int]]]) -> list[tuple[int, int]]:
    """Counts by time of several kinds as one."""
    rows: dict[int, int] = {}
    for buckets in many:
        for start, count in buckets:
            rows[start] = rows.get(start, 0) + count
    return sorted(rows.items())
