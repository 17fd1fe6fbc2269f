"""Which rows are fetched of a window that holds more than are wanted, in what order, and what the sample stands for."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.tables import LOGS, conform
from parsers.templates import LogTemplate
from pipeline.cluster import cluster
from pipeline.contrast import contrast, estimates
from pipeline.sources.elasticsearch.explained import MOST_WORDS, explained_by, words_of
from pipeline.sources.elasticsearch.plan import first_of, steps_for, stretches, width_for
from pipeline.values import Scope, Span
from snapshots.model import FetchPlan, PlanStep, RowCount, Text
from snapshots.render.plan import plan_lines

BEGIN = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
HOUR = Span(BEGIN, BEGIN + timedelta(hours=1))
COUNTS = st.fixed_dictionaries({k: st.integers(0, 3_000_000) for k in ("named", "healthy", "failing", "sample")})


@given(COUNTS, st.integers(0, 300_000), st.booleans(), st.booleans())
def test_a_plan_never_wants_more_than_the_limit_nor_than_there_is(counts, limit, rest, searchable):
    steps = steps_for(counts, limit, rest=rest, searchable=searchable)
    assert sum(step.wanted for step in steps) <= limit
    assert all(step.matched is None or step.wanted <= step.matched for step in steps)
    assert all(step.wanted >= 0 for step in steps)


@given(COUNTS, st.integers(0, 300_000), st.booleans())
def test_a_plan_leaves_no_room_unused_where_more_rows_match(counts, limit, searchable):
    steps = steps_for(counts, limit, rest=True, searchable=searchable)
    wanted = sum(step.wanted for step in steps)
    # What is kept for healthy orders is bounded, so that a flood of them leaves room for the rest.
    room = min(limit, sum(counts.values()) - max(0, counts["healthy"] - max(1, int(limit * 0.2))))
    assert wanted >= min(room, limit) - 1 or wanted == limit


@given(COUNTS, st.integers(1, 300_000))
def test_what_the_ticket_names_comes_before_everything_else(counts, limit):
    steps = steps_for(counts, limit, rest=True, searchable=True)
    if steps and steps[0].kind == "all":
        assert sum(counts.values()) <= limit
        return
    named = next((step.wanted for step in steps if step.kind == "named"), 0)
    assert named == min(counts["named"], limit)


def test_without_the_rest_only_tied_rows_are_wanted():
    steps = steps_for({"named": 3, "healthy": 5, "failing": 9, "sample": 100}, 1_000, rest=False, searchable=True)
    assert [(step.kind, step.wanted) for step in steps] == [("named", 3), ("healthy", 5)]


def test_failing_rows_leave_room_for_a_sample_of_the_others():
    steps = {
        s.kind: s
        for s in steps_for(
            {"named": 0, "healthy": 0, "failing": 10**6, "sample": 10**6}, 100_000, rest=True, searchable=True
        )
    }
    assert steps["failing"].wanted == 54_000
    assert steps["sample"].wanted == 36_000
    assert steps["unexplained"].wanted == 10_000
    assert first_of(steps["sample"]) == 18_000


BUCKETS = st.lists(st.tuples(st.integers(0, 59), st.integers(1, 40_000)), unique_by=lambda b: b[0], min_size=1)


@given(BUCKETS, st.none() | st.integers(0, 200_000), st.booleans())
def test_stretches_cover_every_minute_once_and_want_what_was_asked(buckets, want, spread):
    at = int(BEGIN.timestamp() * 1000)
    counted = [(at + minute * 60_000, rows) for minute, rows in sorted(buckets)]
    parts = stretches(HOUR, counted, 60_000, want, None if spread else BEGIN + timedelta(minutes=20))
    spans = sorted((span.start, span.end) for span, _ in parts)
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))
    if want is None:
        for start, _ in counted:
            moment = datetime.fromtimestamp(start / 1000, UTC)
            assert sum(low <= moment < high for low, high in spans) == 1
    else:
        assert sum(number or 0 for _, number in parts) == min(want, sum(rows for _, rows in counted))


def test_whole_readings_begin_near_the_moment_in_question():
    at = int(BEGIN.timestamp() * 1000)
    counted = [(at + minute * 60_000, 10_000) for minute in range(60)]
    parts = stretches(HOUR, counted, 60_000, None, BEGIN + timedelta(minutes=40))
    assert parts[0][0].start <= BEGIN + timedelta(minutes=40) < parts[0][0].end


def test_a_sample_that_is_cut_half_way_has_seen_half_of_every_part():
    at = int(BEGIN.timestamp() * 1000)
    counted = [(at + minute * 60_000, 10_000) for minute in range(64)]
    parts = stretches(Span(BEGIN, BEGIN + timedelta(minutes=64)), counted, 60_000, 640_000, None)
    half = [int((span.start - BEGIN).total_seconds() // 60) for span, _ in parts[: len(parts) // 2]]
    quarters = np.bincount(np.array(half) // 16, minlength=4)
    assert quarters.min() >= quarters.max() - 2


@pytest.mark.parametrize("length", [1, 60, 3_600, 7_200, 86_400, 30 * 86_400, 3650 * 86_400])
def test_counts_by_time_are_few_for_any_window(length):
    width = width_for(Span(BEGIN, BEGIN + timedelta(seconds=length)))
    assert 1 <= length * 1000 / width <= 5_001


# ---- what a sample explains


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("order <*> created for user<NUM> in <*>ms", ("order", "created", "for", "in")),
        ("GET /pay/<*>/status 200", ("GET", "pay", "status")),
        ("订单 <*> 支付失败，金额<NUM>", ("订单", "支付失败")),
        ("<*> <*>", ()),
        ("com.shop.PayService: callback <*>", ("com.shop.PayService", "callback")),
        ("uid:<*> tid:<HEX> ok", ("ok",)),
    ],
)
def test_constant_words_are_those_that_touch_no_wildcard(template, words):
    assert words_of(template) == words


def test_a_template_of_one_word_explains_nothing():
    queries, told = explained_by([LogTemplate("a", "heartbeat <*>", 10**6)], ["message"])
    assert (queries, told) == ([], 0)


@given(st.lists(st.text("abcdefgh 支付", max_size=60), max_size=80))
def test_the_query_of_what_is_explained_stays_within_what_a_node_takes(texts):
    templates = [LogTemplate(str(n), text, 1) for n, text in enumerate(texts)]
    queries, _ = explained_by(templates, ["message"])
    words = [q["bool"]["should"][0]["match"]["message"]["query"].split() for q in queries]
    assert sum(map(len, words)) <= MOST_WORDS


# ---- what sampled counts stand for


def drawn_logs(rows, step="sample"):
    """(minute, body, rate) rows as logs."""
    return conform(
        pa.table(
            {
                "@timestamp": pa.array(
                    [BEGIN + timedelta(minutes=m) for m, _, _ in rows], LOGS.field("@timestamp").type
                ),
                "body": [body for _, body, _ in rows],
                "_rate": pa.array([rate for _, _, rate in rows], pa.float64()),
                "_step": pa.array([step if rate is None or rate else "sample" for _, _, rate in rows], pa.string()),
            }
        ),
        LOGS,
    )


def scope_of():
    return Scope(
        window=Span(BEGIN + timedelta(minutes=60), BEGIN + timedelta(minutes=120)),
        baseline=Span(BEGIN, BEGIN + timedelta(minutes=60)),
        anchor=BEGIN + timedelta(minutes=90),
        reason=Text(en="", zh=""),
    )


def compared(rows):
    logs = drawn_logs(rows)
    clusters = cluster(logs)
    found = contrast(logs, clusters, scope_of())
    names = {t.id: t.text for t in clusters.templates}
    return (
        {names[i]: change.change for i, change in found.changes.items()},
        {names[i]: e for i, e in estimates(logs, clusters, found).items()},
    )


def test_one_sampled_line_in_the_incident_is_not_new_and_one_of_all_is():
    usual = [(m, "coupon stored in cache", 0.1) for m in range(0, 120, 3)]
    changes, _ = compared([*usual, (70, "address merged by worker", 0.1), (71, "ledger drifted against file", None)])
    assert changes["address merged by worker"] == "usual"
    assert changes["ledger drifted against file"] == "new"


def test_rows_that_came_for_their_names_make_no_surge():
    """Forty lines of healthy orders, all in the incident, beside a template whose rate did not change."""
    usual = [(m, "checkout accepted by desk", 0.05) for m in range(0, 120, 4)]
    logs = pa.concat_tables([drawn_logs(usual), drawn_logs([(90, "checkout accepted by desk", None)] * 40, "healthy")])
    clusters = cluster(logs)
    (change,) = contrast(logs, clusters, scope_of()).changes.values()
    assert (change.incident, change.baseline, change.change) == (55, 15, "usual")


def test_a_reading_that_was_broken_off_is_neither_tested_nor_scaled():
    """What was read nearest to the incident first holds no line of the baseline, and says nothing of it."""
    changes, scaled = compared([(m, "coupon stored in cache", 0.0) for m in range(60, 120)])
    assert changes == {"coupon stored in cache": "usual"}
    assert scaled == {}


def test_of_no_drawn_line_the_estimate_has_a_margin():
    _, scaled = compared([(m, "coupon stored in cache", 0.01) for m in range(60, 120)])
    one = scaled["coupon stored in cache"]
    assert (one.incident, one.baseline) == (6_000, 0)
    assert 360 <= one.baseline_margin <= 380, "3.69 lines of a draw of one in a hundred"


def test_what_surged_in_a_sample_is_told():
    usual = [(m, "coupon stored in cache", 0.1) for m in range(0, 120, 3)]
    changes, scaled = compared([*usual, *((60 + n % 60, "gateway refused the call", 0.1) for n in range(40))])
    assert changes["gateway refused the call"] in {"new", "surged"}
    assert scaled["gateway refused the call"].incident == 400


def test_without_a_sample_nothing_is_estimated():
    _, scaled = compared([(m, "coupon stored in cache", None) for m in range(120)])
    assert scaled == {}


def test_the_estimate_holds_the_truth_as_often_as_it_says():
    """Of 400 draws from 5,000 lines the 95 % margin holds the truth in 92 to 98 of a hundred."""
    chance = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        count = int((chance.random(5_000) < 0.1).sum())
        logs = drawn_logs([(90, "gateway refused the call", 0.1)] * count)
        clusters = cluster(logs)
        (one,) = estimates(logs, clusters, contrast(logs, clusters, scope_of())).values()
        held += abs(one.incident - 5_000) <= one.incident_margin
    assert 0.92 <= held / 400 <= 0.98


# ---- what people read


def test_a_plan_reads_well_in_both_languages():
    plan = FetchPlan(
        rows=2_000_000,
        limit=200_000,
        services=[RowCount(name="payment-core", rows=900_000, failing=41), RowCount(name="risk", rows=1_000_000)],
        services_omitted=100_000,
        steps=[
            PlanStep(kind="named", matched=12, wanted=12, fetched=12, rate=1.0),
            PlanStep(kind="sample", matched=1_999_947, wanted=179_947, fetched=179_947, rate=0.089976),
            PlanStep(kind="unexplained", matched=3, wanted=20_000, fetched=3, rate=1.0),
        ],
    )
    assert list(plan_lines(plan, "en")) == [
        "2,000,000 rows match, 200,000 at most are read",
        (
            "rows that name the ticket's order, trace or customer: 12 of 12; random sample of the other rows: 179,947 of"
            " 1,999,947 (9 %); rows that no template of the sample accounts for: 3 of 3"
        ),
        "rows by service: payment-core 900,000 (41 failing), risk 1,000,000, others 100,000",
    ]
    assert next(iter(plan_lines(plan, "zh"))) == "匹配 2,000,000 行，最多读取 200,000 行"
