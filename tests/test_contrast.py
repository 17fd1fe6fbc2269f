"""Contrast: a change is told from chance by an exact test, whatever the windows hold."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.cluster import cluster
from pipeline.contrast import FALSE_DISCOVERY_RATE, Contrast, contrast, exact_shares
from pipeline.values import Span
from tests.flow_samples import START, TableSource, line, scope_of

# The incident lasts 30 minutes and the baseline 60: a third of the time.
WINDOW = Span(START, START + timedelta(minutes=30))
SCOPE = scope_of(window=WINDOW, baseline=Span(START - timedelta(minutes=60), START))
EDGES = (-3600.0, 1799.999999)


def counts(**templates: tuple[int, int]) -> Contrast:
    """Lines spread evenly: for each word its lines in the incident and in the baseline. The windows are fully observed."""
    rows = [line(at, "edge", f"edge{at}") for at in EDGES]
    for word, (incident, baseline) in templates.items():
        rows += [line(1700 * (i + 0.5) / incident, word, f"{word}i{i}") for i in range(incident)]
        rows += [line(-3600 + 3500 * (i + 0.5) / baseline, word, f"{word}b{i}") for i in range(baseline)]
    return of(rows)


def of(rows) -> Contrast:
    table = TableSource("test", logs=()).answer("logs", rows).table
    return contrast(table, cluster(table), SCOPE)


def change(result: Contrast, incident: int, baseline: int) -> str:
    return next(c.change for c in result.changes.values() if (c.incident, c.baseline) == (incident, baseline))


def test_the_same_rate_is_usual():
    assert change(counts(alpha=(100, 200), beta=(50, 101)), 100, 200) == "usual"


def test_a_hundredfold_rate_has_surged():
    result = counts(alpha=(100, 200), storm=(500, 10))
    assert change(result, 500, 10) == "surged"
    assert change(result, 100, 200) == "usual"


def test_what_was_never_there_before_is_new():
    assert change(counts(alpha=(100, 200), novel=(2, 0)), 2, 0) == "new"


def test_what_stays_away_has_vanished():
    assert change(counts(alpha=(100, 200), heartbeat=(0, 300)), 0, 300) == "vanished"


def test_a_few_lines_more_or_less_are_chance():
    assert change(counts(alpha=(100, 200), rare=(2, 1), other=(0, 3)), 2, 1) == "usual"


@pytest.mark.parametrize(("incident", "baseline"), [(1, 5), (7, 3), (0, 9), (40, 41), (300, 500), (3, 0)])
def test_the_test_is_the_exact_binomial_one(incident, baseline):
    result = counts(alpha=(incident, baseline))
    found = next(c for c in result.changes.values() if (c.incident, c.baseline) == (incident, baseline))
    share = (EDGES[1] - 0) / (EDGES[1] - EDGES[0])
    more = stats.binomtest(incident, incident + baseline, share, alternative="greater").pvalue
    fewer = stats.binomtest(incident, incident + baseline, share, alternative="less").pvalue
    assert found.p_value == pytest.approx(min(1, 2 * min(more, fewer)), rel=1e-9)
    total = incident + baseline
    direct = math.fsum(math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(incident, total + 1))
    assert more == pytest.approx(direct, rel=1e-6)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 25)), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_the_false_discovery_rate_is_held_by_benjamini_and_hochberg(pairs):
    words = {f"w{chr(97 + i)}x": pair for i, pair in enumerate(pairs) if sum(pair)}
    result = counts(**words)
    changes = list(result.changes.values())
    theirs = stats.false_discovery_control([c.p_value for c in changes], method="bh")
    assert [c.q_value for c in changes] == pytest.approx(list(theirs), rel=1e-9, abs=1e-12)
    for one in changes:
        assert 0 <= one.p_value <= one.q_value <= 1
        if one.change in ("surged", "vanished"):
            assert one.q_value <= FALSE_DISCOVERY_RATE


def test_the_counts_of_a_template_are_all_its_lines():
    rows = [line(at, f"event {i}", f"e{i}") for i, at in enumerate((-5000, -3600, -1, 0, 1799, 1800, 9999))]
    (found,) = of(rows).changes.values()
    assert (found.incident, found.baseline, found.outside) == (2, 2, 3)


def test_lines_without_a_time_lie_outside():
    (found,) = of([line(0, "event", "e1") | {"@timestamp": None}]).changes.values()
    assert (found.incident, found.baseline, found.outside) == (0, 0, 1)


def test_no_lines_give_no_changes():
    result = of([])
    assert result.changes == {}
    assert result.in_incident.tolist() == []


@pytest.mark.parametrize("seconds", [-7200, 7200, -100, 100], ids=["before", "after", "baseline", "incident"])
def test_a_window_without_lines_is_no_error(seconds):
    (found,) = of([line(seconds + i / 10, "event", f"e{i}") for i in range(20)]).changes.values()
    assert found.incident + found.baseline + found.outside == 20
    assert found.change == ("new" if seconds == 100 else "usual")
    assert np.isfinite(found.p_value)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8
    )
)
@settings(max_examples=40, deadline=None)
def test_two_groups_are_compared_by_fishers_exact_test(tables):
    a, not_a, b, not_b = (np.array(column) for column in zip(*tables, strict=True))
    shares = exact_shares(a, a + not_a, b, b + not_b)
    for i, table in enumerate(tables):
        square = [[table[0], table[1]], [table[2], table[3]]]
        assert shares.p_more[i] == pytest.approx(stats.fisher_exact(square, "greater").pvalue, abs=1e-9)
        assert shares.p_fewer[i] == pytest.approx(stats.fisher_exact(square, "less").pvalue, abs=1e-9)
    held = stats.false_discovery_control(np.clip(shares.p_more, 0, 1), method="bh")
    assert shares.q_more.tolist() == pytest.approx(list(held), abs=1e-9)


def test_no_groups_give_no_shares():
    nothing = np.array([], np.int64)
    assert exact_shares(nothing, nothing, nothing, nothing).q_more.tolist() == []
