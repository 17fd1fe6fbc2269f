"""What a catalogue says is usual: of each template of an incident, how many lines a window like this one has otherwise.

A template of the incident is looked up by its lines: each distinct masked line is one that the catalogue knows, or fits one of its
templates, or is unknown. The template stands for the catalogue's template that most of its lines are of, and the verdict is that
one's, over the services whose lines are here. Where the catalogue has seen the same hour of the week twice or more, that hour
counts; else the same hour of any day; else the catalogue does not say how many.

The test is that of `pipeline/contrast.py` with what the window would have in as many windows as were seen: binomial, given both
counts. Counts vary more from week to week than a Poisson process does, so both are divided first by how much more (the pooled
Pearson dispersion of the hours' counts; McCullagh and Nelder, Generalized Linear Models, 1989, 4.5), and by what sampling adds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.masking import JOINED, mask
from parsers.templates import Mined, match
from pipeline.cluster import Clusters
from pipeline.learning.baselines import HOURS_OF_WEEK, hour_of_week
from pipeline.learning.catalogue import HOURS, LINES, SEASONAL, Catalogue, open_catalogue
from pipeline.learning.shards import SLOT_SECONDS, values_of
from pipeline.values import Span

By = Literal["hour_of_week", "hour_of_day", "never_seen"]
# Hours that must have been seen before it is said what is usual in them.
_ENOUGH = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Usual:
    """Of one template: `seen` lines in the window, and `lines` that it would have, from `times` like it; and the test of both.

    `template` is the catalogue's id, None where it was never seen; `seen` counts the lines of that. `more` says in which
    direction the window differs.
    """

    template: str | None
    seen: float
    lines: float
    times: int
    by: By
    p_value: float
    more: bool


@dataclass(frozen=True)
class Compared:
    """By template id what is usual, for those of which the catalogue says it; and the services that it does not have.

    `absent` are templates of the catalogue, by text, that have no line in the window though they usually have, with how many.
    """

    by_template: dict[str, Usual]
    unknown_services: tuple[str, ...]
    absent: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Season:
    """One service: hours seen and five minutes seen at each hour of the week; lines and squares by template and hour."""

    hours: npt.NDArray[np.float64]
    slots: npt.NDArray[np.float64]
    rows: dict[str, int]
    lines: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    def by_day(self) -> _Season:
        """The same with each hour of the day in place of the hours of the week."""

        def folded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            days = values.reshape(*values.shape[:-1], 7, 24).sum(axis=-2)
            return np.tile(days, 7)

        return _Season(folded(self.hours), folded(self.slots), self.rows, folded(self.lines), folded(self.squares))


def open_usual(place: str) -> Known:
    """The catalogue at `place`, read once for each of its versions. Raises `UsageError`."""
    catalogue = open_catalogue(place)
    return _known(place, catalogue.manifest.digest)


@lru_cache(maxsize=2)
def _known(place: str, digest: str) -> Known:
    del digest
    return Known(open_catalogue(place))


class Known:
    """A catalogue in memory."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.manifest = catalogue.manifest
        table = catalogue.table("lines.parquet", LINES)
        lines = table.column("line").combine_chunks().dictionary_encode()
        # A line is of one template in all services.
        first = np.full(len(lines.dictionary), -1)
        codes = lines.indices.to_numpy(zero_copy_only=False)
        first[codes[::-1]] = np.arange(len(codes))[::-1]
        self._lines = lines.dictionary
        self._ids = table.column("template_id").combine_chunks().take(pa.array(first))
        shapes = table.column("shape").combine_chunks().take(pa.array(first)).dictionary_encode()
        nothing = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))
        known = pa.table({"folded": self._lines, "count": np.zeros(len(first), np.int64), "shape": shapes})
        self._mined = Mined(nothing, (), nothing, known, 0)
        seasonal = catalogue.table("seasonal.parquet", SEASONAL)
        hours = catalogue.table("hours.parquet", HOURS)
        self._seasons = {service: _season(service, seasonal, hours) for service in self.manifest.services}
        self._texts: dict[str, str] = {}
        for name, text in zip(self._ids.to_pylist(), shapes.cast(pa.string()).to_pylist(), strict=True):
            self._texts.setdefault(name, text)

    def compare(
        self,
        logs: pa.Table,
        clusters: Clusters,
        in_incident: npt.NDArray[np.bool_],
        rates: npt.NDArray[np.float64],
        observed: Span,
    ) -> Compared:
        """What is usual of the templates of `logs` in `observed`, a part of the incident window; times are UTC.

        `rates` is the share of its kind that each row stands for, 0 where it stands for none.
        """
        names = pc.fill_null(logs.column("service.name").combine_chunks(), "").dictionary_encode()
        services = names.dictionary.to_pylist()
        of_service = names.indices.to_numpy(zero_copy_only=False)
        here = [service in self._seasons for service in services]
        comparable = np.array([*here, False], bool)[of_service]
        found = self._templates_of(logs.column("body").combine_chunks())
        present = sorted({services[i] for i in np.unique(of_service[in_incident & comparable]).tolist()})
        windows = {service: _window(self._seasons[service], observed) for service in present}
        weights = np.where(in_incident & comparable & (rates > 0), 1.0 / np.where(rates > 0, rates, 1.0), 0.0)
        counted = _counted(found, weights, of_service, services, windows)
        judged: dict[str | None, Usual | None] = {}
        by_template: dict[str, Usual] = {}
        codes = clusters.template_ids.indices.to_numpy(zero_copy_only=False)
        order = np.argsort(codes, kind="stable")
        ids = clusters.template_ids.dictionary.to_pylist()
        edges = np.searchsorted(codes[order], np.arange(len(ids) + 1)).tolist()
        for name, start, end in zip(ids, edges[:-1], edges[1:], strict=True):
            rows = order[start:end]
            rows = rows[comparable[rows]]
            if not len(rows):
                continue
            inside = rows[in_incident[rows]]
            most = Counter(found.take(pa.array(inside if len(inside) else rows)).to_pylist()).most_common(1)[0][0]
            if most is None:
                by_template[name] = self._never(weights[rows], {services[i] for i in of_service[rows]}, observed)
                continue
            if most not in judged:
                judged[most] = _judged(most, *counted.get(most, (0.0, 0.0)), windows)
            usual = judged[most]
            if usual is not None:
                by_template[name] = usual
        unknown = tuple(sorted(service for service, known in zip(services, here, strict=True) if service and not known))
        inside = np.flatnonzero(in_incident)
        seen = set(found.take(pa.array(inside)).to_pylist())
        return Compared(by_template, unknown, tuple(self._absent(windows, seen)))

    def _templates_of(self, bodies: Any) -> Any:
        """The catalogue's template of each body, or null."""
        masked = mask(bodies)
        lines = pc.replace_substring(masked.dictionary, JOINED, " ")
        at = pc.index_in(lines, value_set=self._lines)
        ids = self._ids.take(at)
        unknown = pc.is_null(at)
        if pc.any(unknown).as_py():
            fitting = match(self._mined, lines.filter(unknown)).cast(pa.string())
            ids = pc.replace_with_mask(ids, unknown, fitting)
        return ids.take(masked.indices)

    def _never(self, weights: npt.NDArray[np.float64], services: set[str], observed: Span) -> Usual:
        """A template that was never seen, in all the time in which its services were."""
        slots = min(float(self._seasons[service].slots.sum()) for service in services if service in self._seasons)
        times = slots * SLOT_SECONDS / max((observed.end - observed.start).total_seconds(), 1.0)
        lines = float(np.count_nonzero(weights))
        p_value = min(1.0, 2.0 * (1.0 / (1.0 + times)) ** lines)
        return Usual(None, float(weights.sum()), 0.0, int(times), "never_seen", p_value, more=True)

    def _absent(self, windows: dict[str, _Window | None], seen: set[Any]) -> Iterator[tuple[str, float]]:
        """Templates that usually have lines and have none, the most usual first."""
        expected: dict[str, float] = {}
        for window in windows.values():
            if window is not None:
                for name, row in window.season.rows.items():
                    if name not in seen:
                        expected[name] = expected.get(name, 0.0) + float(window.expected[row])
        for name, lines in sorted(expected.items(), key=lambda pair: (-pair[1], pair[0])):
            yield self.text_of(name), lines

    def text_of(self, name: str) -> str:
        """A template of the catalogue as a person reads it."""
        from parsers.masking import spell

        return spell(self._texts[name])


@dataclass(frozen=True)
class _Window:
    """A window at one service: how many like it were seen, and for each row of the season its lines and their dispersion."""

    season: _Season
    by: By
    times: int
    expected: npt.NDArray[np.float64]
    dispersion: npt.NDArray[np.float64]


def _season(service: str, seasonal: pa.Table, hours: pa.Table) -> _Season:
    mine = hours.filter(pc.equal(hours.column("service"), service))
    seen, slots = np.zeros(HOURS_OF_WEEK), np.zeros(HOURS_OF_WEEK)
    at = values_of(mine, "hour_of_week")
    seen[at], slots[at] = values_of(mine, "hours"), values_of(mine, "slots")
    mine = seasonal.filter(pc.equal(seasonal.column("service"), service))
    names = mine.column("template_id").combine_chunks().cast(pa.string()).dictionary_encode()
    row = names.indices.to_numpy(zero_copy_only=False)
    lines, squares = (np.zeros((len(names.dictionary), HOURS_OF_WEEK)) for _ in range(2))
    at = values_of(mine, "hour_of_week")
    lines[row, at], squares[row, at] = values_of(mine, "lines"), values_of(mine, "squares")
    return _Season(seen, slots, {name: i for i, name in enumerate(names.dictionary.to_pylist())}, lines, squares)


def _window(season: _Season, observed: Span) -> _Window | None:
    """What `observed` would have at this service; None where too few windows like it were seen."""
    parts = list(_hours(observed))
    by: By = "hour_of_week"
    touched = [hour for hour, _ in parts]
    if season.hours[touched].min() < _ENOUGH:
        season, by = season.by_day(), "hour_of_day"
        if season.hours[touched].min() < _ENOUGH:
            return None
    expected = np.zeros(len(season.lines))
    for hour, seconds in parts:
        expected += season.lines[:, hour] * seconds / (season.slots[hour] * SLOT_SECONDS)
    # Each group of hours once: by day, all seven days hold the same sums.
    groups = slice(0, HOURS_OF_WEEK if by == "hour_of_week" else 24)
    n, lines, squares = season.hours[groups], season.lines[:, groups], season.squares[:, groups]
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = (squares - lines**2 / n) / (lines / n)
    counts = (n >= _ENOUGH) & (lines > 0)
    freedom = np.where(counts, n - 1, 0).sum(axis=1)
    dispersion = np.where(counts, spread, 0.0).sum(axis=1) / np.maximum(freedom, 1)
    return _Window(season, by, int(season.hours[touched].min()), expected, np.maximum(dispersion, 1.0))


def _hours(observed: Span) -> Iterator[tuple[int, float]]:
    """The hours of the week that a span touches, and for how many seconds."""
    at, end = observed.start, max(observed.end, observed.start + timedelta(seconds=1))
    while at < end:
        hours = (at - _EPOCH) // timedelta(hours=1)
        until = min(_EPOCH + timedelta(hours=hours + 1), end)
        yield int(hour_of_week(hours // 24, hours % 24)), (until - at).total_seconds()
        at = until


def _counted(
    found: Any,
    weights: npt.NDArray[np.float64],
    of_service: npt.NDArray[Any],
    services: list[str],
    windows: dict[str, _Window | None],
) -> dict[str, tuple[float, float]]:
    """For each template of the catalogue the lines that its rows stand for, and the sum of their squares.

    Only rows of services of which it is known what is usual count.
    """
    known = [number for number, service in enumerate(services) if windows.get(service) is not None]
    coded = found.dictionary_encode()
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero((codes >= 0) & np.isin(of_service, known))
    size = len(coded.dictionary)
    sums = np.bincount(codes[rows], weights=weights[rows], minlength=size).tolist()
    squares = np.bincount(codes[rows], weights=weights[rows] ** 2, minlength=size).tolist()
    return dict(zip(coded.dictionary.to_pylist(), zip(sums, squares, strict=True), strict=True))


def _judged(name: str, lines: float, squares: float, windows: dict[str, _Window | None]) -> Usual | None:
    """The verdict on one template of the catalogue, over the services that are here and were seen often enough."""
    known = [window for window in windows.values() if window is not None]
    if not known:
        return None
    expected = spread = 0.0
    for window in known:
        row = window.season.rows.get(name)
        if row is not None:
            expected += float(window.expected[row])
            spread += float(window.expected[row] * window.dispersion[row])
    dispersion = spread / expected if expected else 1.0
    if lines:
        # A line that was drawn with probability r stands for 1/r lines, and adds that much to the variance.
        dispersion += squares / lines - 1.0
    times = min(window.times for window in known)
    by: By = "hour_of_day" if any(window.by == "hour_of_day" for window in known) else "hour_of_week"
    p_value = _p_value(lines / dispersion, times * expected / dispersion, 1.0 / (1.0 + times))
    return Usual(name, lines, expected, times, by, p_value, more=lines > expected)


def _p_value(here: float, elsewhere: float, share: float) -> float:
    """Two-sided, that of `here + elsewhere` lines so many lie here, each with probability `share`; counts need not be whole.

    >>> round(_p_value(5.0, 45.0, 0.1), 6), _p_value(0.0, 0.0, 0.5)
    (1.0, 1.0)
    """
    from scipy.special import betainc

    more = betainc(here, elsewhere + 1.0, share) if here > 0 else 1.0
    fewer = betainc(elsewhere, here + 1.0, 1.0 - share) if elsewhere > 0 else 1.0
    return float(min(1.0, 2.0 * min(more, fewer)))
