"""A catalogue in the settings: what is usual at this hour decides, what was never seen is new, and the snapshot says by what."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from parsers.tables import LOGS
from pipeline.catalogue_record import catalogue_check
from pipeline.cluster import cluster
from pipeline.contrast import Contrast, contrast
from pipeline.doctor import examine_catalogue
from pipeline.errors import UsageError
from pipeline.learning.catalogue import open_catalogue
from pipeline.learning.usual import _known, _p_value, open_usual
from pipeline.run import take_snapshot
from pipeline.settings import Settings, load_settings
from pipeline.settings_digest import settings_digest
from pipeline.sources.bundle.source import BundleSource
from pipeline.values import Span
from snapshots.model import Absent, CatalogueRecord, Usual, canonical_bytes, read_snapshot
from tests.flow_samples import (
    SETTINGS,
    background,
    failed_order,
    hit,
    scope_of,
    take,
    ticket_of,
    write_bundle,
)
from tests.learn_samples import MONDAY, Rows, learnt, write

HOUR, WEEK = 3600, 7 * 86_400
# The incident: a Monday at 10:00, four weeks on, an hour long.
WINDOW = Span(MONDAY + timedelta(weeks=4, hours=10), MONDAY + timedelta(weeks=4, hours=11))
SCOPE = scope_of(window=WINDOW, baseline=Span(WINDOW.start - timedelta(hours=1), WINDOW.start))


def weeks(count: int, per_hour: dict[str, int], *, hours=range(24 * 7), wobble: float = 0.0) -> Rows:
    """So many weeks of lines, spread evenly over each hour; `wobble` makes odd weeks busier and even ones quieter."""
    rows = []
    for week in range(count):
        factor = 1 + wobble * (1 if week % 2 else -1)
        for hour in hours:
            start = week * WEEK + hour * HOUR
            rows += [
                (start + (i + 0.5) * HOUR / round(n * factor), "pay", message.replace("#", str(1000 + i)))
                for message, n in per_hour.items()
                for i in range(round(n * factor))
            ]
    return rows


def logs(rows: Rows) -> pa.Table:
    """Rows of (seconds after the window's start, service, message) as logs."""
    return pa.Table.from_pylist(
        [
            {"@timestamp": WINDOW.start + timedelta(seconds=at), "service.name": service, "message": text, "body": text}
            for at, service, text in rows
        ],
        schema=LOGS,
    )


def spread(message: str, count: int, service: str = "pay") -> Rows:
    return [((i + 0.5) * HOUR / count, service, message.replace("#", str(i))) for i in range(count)]


EDGES: Rows = [(0.0, "pay", "beat 1"), (HOUR - 0.001, "pay", "beat 2")]
OFFICE = {"order # paid": 20, "beat #": 60}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four weeks of Mondays and Tuesdays, 60 beats and 20 payments an hour; sales only at noon."""
    folder = tmp_path_factory.mktemp("known")
    rows = [*weeks(4, OFFICE, hours=range(48)), *weeks(4, {"sale # begins": 30}, hours=[12])]
    learnt(folder / "catalogue", write(folder / "a.parquet", rows))
    return folder / "catalogue"


def compared(catalogue: Path, *some: Rows) -> Contrast:
    table = logs([*EDGES, *(row for rows in some for row in rows)])
    return contrast(table, cluster(table), SCOPE, open_usual(str(catalogue)))


def of(result: Contrast, count: int):
    return next(c for c in result.changes.values() if c.incident == count)


# ---- what is said of a template


def test_the_rate_of_the_hour_is_usual(catalogue: Path):
    change = of(compared(catalogue, spread("order # paid", 21)), 21)
    assert change.change == "usual"
    assert (change.usual.by, change.usual.times) == ("hour_of_week", 4)
    assert change.usual.lines == pytest.approx(20, abs=0.1)


def test_four_times_the_rate_has_surged_and_a_tenth_has_vanished(catalogue: Path):
    assert of(compared(catalogue, spread("order # paid", 80)), 80).change == "surged"
    assert of(compared(catalogue, spread("order # paid", 3)), 3).change == "vanished"


def test_what_is_usual_at_noon_is_not_usual_at_ten(catalogue: Path):
    change = of(compared(catalogue, spread("sale # begins", 30)), 30)
    assert (change.change, change.usual.lines) == ("surged", 0.0)
    assert change.usual.template is not None


def test_what_was_never_seen_is_new_also_if_the_hour_before_had_it(catalogue: Path):
    before = [(at - HOUR, service, text) for at, service, text in spread("gateway is lost", 5)]
    change = of(compared(catalogue, before, spread("gateway is lost", 7)), 7)
    assert (change.change, change.usual.by, change.baseline) == ("new", "never_seen", 5)


def test_what_the_catalogue_knows_is_not_new_though_the_hour_before_lacks_it(catalogue: Path):
    assert of(compared(catalogue, spread("order # paid", 20)), 20).baseline == 0
    assert of(compared(catalogue, spread("order # paid", 20)), 20).change == "usual"


def test_a_service_that_the_catalogue_lacks_is_compared_with_the_time_before(catalogue: Path):
    result = compared(catalogue, spread("stock # counted", 9, "depot"))
    assert (of(result, 9).change, of(result, 9).usual) == ("new", None)
    assert result.compared is not None
    assert result.compared.unknown_services == ("depot",)


def test_templates_without_a_line_are_told(catalogue: Path):
    result = compared(catalogue)
    assert result.compared is not None
    assert result.compared.absent[0] == ("order <*> paid", pytest.approx(20, abs=0.1))


def test_part_of_a_window_is_compared_with_part_of_the_hour(catalogue: Path):
    rows = [(at, service, text) for at, service, text in spread("order # paid", 20) if at < HOUR / 2]
    table = logs([EDGES[0], *rows, (HOUR / 2, "pay", "beat 3")])
    change = of(contrast(table, cluster(table), SCOPE, open_usual(str(catalogue))), 10)
    assert (change.change, round(change.usual.lines)) == ("usual", 10)


def test_drawn_lines_stand_for_those_that_were_not(catalogue: Path):
    """Five drawn lines of one in four are the usual twenty; as many that were all there are would be few."""
    table = logs([*EDGES, *spread("order # paid", 5)])
    rates = pa.array([1.0, 1.0, *[0.25] * 5])
    steps = pa.array(["failing"] * 2 + ["sample"] * 5)
    table = table.set_column(LOGS.get_field_index("_rate"), LOGS.field("_rate"), rates)
    table = table.set_column(LOGS.get_field_index("_step"), LOGS.field("_step"), steps)
    change = of(contrast(table, cluster(table), SCOPE, open_usual(str(catalogue))), 5)
    assert (change.change, change.usual.seen) == ("usual", 20.0)


def test_what_varies_from_week_to_week_must_differ_more(tmp_path: Path):
    """A template with 40 lines in odd weeks and 160 in even ones is usual at 160; a steady one with 100 is not."""
    for name, wobble, expected in (("steady", 0.0, "surged"), ("wild", 0.6, "usual")):
        rows = [
            *weeks(6, {"order # paid": 100}, hours=range(48), wobble=wobble),
            *weeks(6, {"beat #": 60}, hours=range(48)),
        ]
        learnt(tmp_path / name, write(tmp_path / f"{name}.parquet", rows))
        assert of(compared(tmp_path / name, spread("order # paid", 160)), 160).change == expected


def test_with_one_week_seen_the_hour_of_the_day_counts_and_with_one_day_nothing(tmp_path: Path):
    learnt(tmp_path / "days", write(tmp_path / "days.parquet", weeks(1, OFFICE, hours=range(72))))
    usual = of(compared(tmp_path / "days", spread("order # paid", 20)), 20).usual
    assert (usual.by, usual.times, round(usual.lines)) == ("hour_of_day", 3, 20)
    learnt(tmp_path / "day", write(tmp_path / "day.parquet", weeks(1, OFFICE, hours=range(24))))
    assert of(compared(tmp_path / "day", spread("order # paid", 20)), 20).usual is None
    assert of(compared(tmp_path / "day", spread("never seen", 3)), 3).usual.by == "never_seen"


@given(st.integers(0, 60), st.integers(0, 300), st.integers(1, 20))
def test_the_test_is_the_binomial_one_where_counts_are_whole(here: int, elsewhere: int, times: int):
    share = 1 / (1 + times)
    total = here + elsewhere
    more = stats.binom.sf(here - 1, total, share) if here else 1.0
    fewer = stats.binom.cdf(here, total, share) if elsewhere else 1.0
    assert math.isclose(_p_value(here, elsewhere, share), min(1.0, 2 * min(more, fewer)), rel_tol=1e-9, abs_tol=1e-300)


# ---- what is said in the snapshot


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    lost = [hit(60 * i, f"channel wechatpay lost, attempt {i}", level="ERROR") for i in range(5)]
    return write_bundle(tmp_path / "bundle", logs=[*background(), *lost], orders=failed_order())


def shop(folder: Path) -> Path:
    """What `background` writes, four an hour's minute, in the weeks before the bundle's Wednesday."""
    start = -2 * WEEK
    rows = [
        (start + day * 86_400 + 60 * minute + 15 * i, "pay-channel", f"handled request {minute * 7 + i} in {i + 3} ms")
        for day in range(16)
        for minute in range(8 * 60, 12 * 60)
        for i in range(4)
    ]
    learnt(folder / "shop", write(folder / "shop.parquet", rows))
    return folder / "shop"


def test_the_snapshot_says_which_catalogue_from_when_to_when_and_of_how_many_lines(bundle: Path, tmp_path: Path):
    place = shop(tmp_path)
    snapshot = take(bundle, settings=msgspec.structs.replace(SETTINGS, catalogue=str(place)))
    record = snapshot.catalogue
    assert isinstance(record, CatalogueRecord)
    manifest = open_catalogue(str(place)).manifest
    assert (record.digest, record.start, record.end, record.lines) == (
        manifest.digest,
        manifest.start,
        manifest.end,
        manifest.lines,
    )
    by_text = {one.text: one for one in snapshot.templates}
    handled, lost = by_text["handled request <*> in <*> ms"], by_text["channel wechatpay lost, attempt <*>"]
    assert isinstance(handled.usual, Usual)
    assert (handled.change, handled.usual.by) == ("usual", "hour_of_week")
    assert isinstance(lost.usual, Usual)
    assert (lost.change, lost.usual.by, lost.usual.template_id) == ("new", "never_seen", None)
    check = next(one for one in snapshot.checks if one.id == "catalogue")
    assert f"{manifest.lines:,} lines" in check.statement.en
    assert "从未" in check.statement.zh
    assert canonical_bytes(read_snapshot(canonical_bytes(snapshot))) == canonical_bytes(snapshot)
    new = next(one for one in snapshot.findings if one.kind == "contrast.new")
    assert "never seen" in new.statement.en


def test_the_sentence_on_the_catalogue_is_short_and_counts_as_people_do():
    """However long the template is of which lines are missed; it is never cut inside a word, which redaction has to see whole."""
    long = Absent(text="[stock] " + "counted 4111-1111-1111-1111, " * 20, lines=5.6)
    record = CatalogueRecord(
        digest="d" * 64, start=None, end=None, lines=9, templates=3, never_seen=0, unknown_services=[], absent=[long],
        absent_templates=1,
    )  # fmt: skip
    told = catalogue_check(record).statement
    assert "none was never seen" in told.en
    assert "1 that is usual at this hour has no line here" in told.en
    assert max(len(told.en), len(told.zh)) < 300
    assert told.en.count("4111") == told.en.count("4111-1111-1111-1111") > 0
    one = msgspec.structs.replace(record, never_seen=1, absent=[], absent_templates=0)
    assert "1 of them was never seen" in catalogue_check(one).statement.en


def test_doctor_opens_the_catalogue_as_take_does(tmp_path: Path):
    """A file of it that is gone is told before a ticket comes."""
    place = shop(tmp_path)
    (well,) = examine_catalogue(str(place))
    assert well.state == "ok"
    assert "2026" in well.lines[0]
    (place / "seasonal.parquet").unlink()
    open_usual_again()
    (ill,) = examine_catalogue(str(place))
    assert ill.state == "failed"
    assert "seasonal.parquet cannot be read" in ill.lines[0]
    assert examine_catalogue(None) == []


def open_usual_again() -> None:
    """Forgets what was read: another process would not have it."""
    _known.cache_clear()


def test_without_a_catalogue_the_document_does_not_speak_of_one(bundle: Path):
    text = canonical_bytes(take(bundle)).decode()
    assert '"catalogue"' not in text
    assert '"usual":' not in text


def test_the_digest_of_the_catalogue_is_part_of_the_settings(tmp_path: Path):
    place = shop(tmp_path)
    plain, known = SETTINGS, msgspec.structs.replace(SETTINGS, catalogue=str(place))
    assert settings_digest(plain) != settings_digest(known)
    (tmp_path / "moved").mkdir()
    moved = (tmp_path / "shop").rename(tmp_path / "moved" / "shop")
    assert settings_digest(msgspec.structs.replace(SETTINGS, catalogue=str(moved))) == settings_digest_of(known, moved)


def settings_digest_of(known: Settings, moved: Path) -> str:
    """The digest depends on what the catalogue holds, not on where it lies."""
    return settings_digest(msgspec.structs.replace(known, catalogue=f"file://{moved}"))


def test_a_catalogue_that_cannot_be_read_is_told_before_a_source_is_asked(bundle: Path, tmp_path: Path):
    settings = msgspec.structs.replace(SETTINGS, catalogue=str(tmp_path / "gone"))
    source = BundleSource("bundle", bundle)
    source.fetch = None  # type: ignore[assignment, method-assign]
    with pytest.raises(UsageError, match="no catalogue is there"):
        take_snapshot(ticket_of(bundle), [source], settings)


def test_the_setting_is_a_folder_beside_the_file_or_a_url(tmp_path: Path):
    path = tmp_path / "problem-snapshot.toml"
    path.write_text(
        '[defaults]\ncatalogue = "known"\n[profiles.far]\ncatalogue = "s3://bucket/known"\n', encoding="utf-8"
    )
    assert load_settings(path, env={}).catalogue == str(tmp_path / "known")
    assert load_settings(path, "far", env={}).catalogue == "s3://bucket/known"


def test_shapes_are_compared_in_little_time(catalogue: Path):
    """A window of thousands of lines is looked up by its distinct ones."""
    table = logs([*EDGES, *spread("order # paid", 5000)])
    clusters = cluster(table)
    known = open_usual(str(catalogue))
    assert known is open_usual(str(catalogue))
    rates = np.ones(table.num_rows)
    found = known.compare(table, clusters, rates > 0, rates, WINDOW)
    assert len(found.by_template) == 2
