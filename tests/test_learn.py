"""Learning: a catalogue follows from the lines alone, however they are cut, read, carried or merged."""

from __future__ import annotations

import random
import shutil
import tempfile
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import commands
from parsers.documents.parsing import parse_parquet_table
from parsers.templates import mine
from pipeline.errors import UsageError
from pipeline.learning.catalogue import open_catalogue
from pipeline.learning.local import threads
from pipeline.learning.merge import merge_catalogues
from pipeline.learning.reduced import reduced, reduced_logs
from pipeline.learning.shards import Shard, by_day, decoded, encoded, unite
from pipeline.learning.units import Unit, list_files, read_unit, units_of
from tests.learn_samples import MONDAY, Rows, content, document, learnt, read, table, write
from tests.mining_samples import PIECES

WEEK = 7 * 86_400
MESSAGE = st.one_of(
    st.sampled_from(
        [
            "order 1042 paid by card in 12.5 ms",
            "order 7 paid by alipay in 3 ms",
            "2026-03-02 10:00:00.123 ERROR [http-1] c.s.pay.Gateway - order 5 failed",
            "17 25 failed",
            '{"level":"error","msg":"paid 17","order":"A12","ts":"2026-03-02T10:00:00Z"}',
            'time=2026-03-02T10:00:00Z level=info msg="sent 5 mails"',
            "lost\njava.io.IOException: no 12\n\tat a.B.c(B.java:17)",
            "lost\njava.io.IOException: no 3\n\tat a.B.c(B.java:4)",
            "订单P202611230001支付超时，用户：张三",
            "",
            "x" * 1500 + " 1",
        ]
    ),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map(" ".join),
)
ROW = st.tuples(st.integers(0, 2 * WEEK).map(lambda s: s + 0.25), st.sampled_from(["pay", "shop", "a b"]), MESSAGE)
ROWS = st.lists(ROW, max_size=30)


def parts(shard: Shard) -> tuple[pa.Table, ...]:
    return shard.lines, shard.counts, shard.samples


def same(first: Shard, second: Shard) -> bool:
    return all(a.equals(b) for a, b in zip(parts(first), parts(second), strict=True))


# ---- the laws


@given(ROWS, ROWS)
@settings(max_examples=25, deadline=None)
def test_learning_in_parts_and_merging_is_learning_at_once(january: Rows, february: Rows):
    """Byte for byte, the manifest included."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, rows in (("january", january), ("february", february)):
            write(place / "all" / f"{name}.parquet", rows)
            write(place / name / "part.parquet", rows)
            learnt(place / f"{name}-catalogue", place / name)
        learnt(place / "whole", place / "all")
        merge_catalogues([str(place / "february-catalogue"), str(place / "january-catalogue")], str(place / "merged"))
        assert content(place / "merged") == content(place / "whole")


@given(ROWS, st.randoms(use_true_random=False), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_neither_order_nor_cutting_has_a_say(rows: Rows, shuffle: random.Random, cut: int):
    whole = reduced(table(rows)).shard
    other = list(rows)
    shuffle.shuffle(other)
    pieces = [reduced(table(some)).shard for some in (other[:cut], other[cut:])]
    days = [part for shard in pieces for _, part in by_day(decoded(encoded(shard)))]
    assert same(unite([unite(days[::-1])]), unite([whole]))


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_one_message_of_a_kind_stands_for_all(rows: Rows):
    """Taking apart one of those that are alike gives what taking each apart gives."""
    made, expected = reduced(table(rows)), reduced_logs(parse_parquet_table(table(rows), source="").table)
    assert made.rows == len(rows) == sum(made.shard.lines["lines"].to_pylist()) + made.undated
    assert same(unite([made.shard]), unite([expected.shard]))


@given(ROWS)
@settings(max_examples=25, deadline=None)
def test_the_templates_are_those_that_take_mines(rows: Rows):
    bodies = parse_parquet_table(table(rows), source="").table["body"] if rows else pa.array([], pa.string())
    expected = {one.text: one.count for one in mine(bodies).templates}
    with tempfile.TemporaryDirectory() as folder:
        manifest = learnt(Path(folder) / "catalogue", write(Path(folder) / "a.parquet", rows))
        found: dict[str, int] = {}
        for one in read(Path(folder) / "catalogue", "templates"):
            found[one["template"]] = found.get(one["template"], 0) + one["lines"]
        assert (found, manifest.lines) == (expected, len(rows))


# ---- what is in it

STORY: Rows = [
    *((60.0 * i, "pay", f"order {1000 + i} paid by card in {i % 40} ms") for i in range(3000)),
    *((60.0 * i + 5, "pay", f"order {1000 + i} refused by card in {i} ms") for i in range(0, 3000, 100)),
    *((600.0 * i + 1, "shop", f"session {i:032x} of 10.0.0.{i % 250} opened") for i in range(300)),
]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("story")
    write(folder / "logs" / "a.parquet", STORY[:2000], group=700)
    write(folder / "logs" / "b.ndjson", STORY[2000:3000])
    write(folder / "logs" / "deep" / "c.ndjson.gz", STORY[3000:])
    learnt(folder / "catalogue", folder / "logs")
    return folder


def test_a_template_has_its_types_counts_and_times(story: Path):
    by_text = {one["template"]: one for one in read(story / "catalogue", "templates")}
    paid = by_text["order <*> paid by card in <*> ms"]
    assert (paid["service"], paid["lines"], paid["parameters"]) == ("pay", 3000, ["number", "duration"])
    assert (paid["first_seen"], paid["last_seen"]) == (MONDAY, MONDAY + timedelta(minutes=2999))
    assert by_text["session <*> of <*> opened"]["parameters"] == ["hex", "ip"]


def test_baselines_count_each_five_minutes_and_add_up(story: Path):
    rows = [row for path in (story / "catalogue" / "baselines").iterdir() for row in pq.read_table(path).to_pylist()]
    assert sum(row["lines"] for row in rows) == len(STORY)
    paid = next(one["template_id"] for one in read(story / "catalogue", "templates") if one["lines"] == 3000)
    mine = {row["start"]: row["lines"] for row in rows if row["template_id"] == paid}
    assert len(mine) == 600
    assert set(mine.values()) == {5}
    assert all(start.minute % 5 == 0 and start.second == 0 for start in mine)


def test_the_season_is_by_the_hour_of_the_week(story: Path):
    paid = next(one["template_id"] for one in read(story / "catalogue", "templates") if one["lines"] == 3000)
    season = {row["hour_of_week"]: row for row in read(story / "catalogue", "seasonal") if row["template_id"] == paid}
    # Three thousand minutes from Monday 00:00 on.
    assert sorted(season) == list(range(50))
    assert (season[7]["hours"], season[7]["lines"], season[7]["squares"]) == (1, 60, 3600.0)
    hours = {row["hour_of_week"]: row["slots"] for row in read(story / "catalogue", "hours") if row["service"] == "pay"}
    assert hours == dict.fromkeys(range(50), 12)


def test_every_table_says_its_version(story: Path):
    for path in (story / "catalogue").rglob("*.parquet"):
        assert pq.read_schema(path).metadata[b"problem-snapshot.catalogue"] == b"1"


# ---- archives


def test_parquet_json_lines_and_hits_teach_the_same(tmp_path: Path):
    rows = [*STORY[:50], (7.0, "pay", "lost\njava.io.IOException: no 12\n\tat a.B.c(B.java:17)")]
    learnt(tmp_path / "parquet", write(tmp_path / "a.parquet", rows, group=20))
    learnt(tmp_path / "lines", write(tmp_path / "b.ndjson", rows))
    learnt(tmp_path / "gz", write(tmp_path / "c.jsonl.gz", rows))
    hits = tmp_path / "d.ndjson"
    hits.write_bytes(
        b"".join(
            msgspec.json.encode({"_index": "x", "_id": str(n), "_source": document(*row)}) + b"\n"
            for n, row in enumerate(rows)
        )
    )
    learnt(tmp_path / "hits", hits)
    for name in ("lines", "gz", "hits"):
        assert content(tmp_path / name) == content(tmp_path / "parquet"), name


def test_lines_that_do_not_agree_on_their_fields_are_read_one_by_one(tmp_path: Path):
    path = write(tmp_path / "a.ndjson", STORY[:10])
    odd = [{**document(*STORY[10]), "error": {"code": 5}}, {**document(*STORY[11]), "error": "E5"}]
    with path.open("ab") as file:
        file.write(b"".join(msgspec.json.encode(one) + b"\n" for one in odd) + b"no json at all\n")
    manifest = learnt(tmp_path / "catalogue", path)
    assert (manifest.tally.rows, manifest.lines, manifest.tally.undated) == (13, 12, 1)


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_records_with_error_fields_of_their_own_teach_what_take_reads_of_them(tmp_path: Path, form: str):
    """The fields are beside the message on a few rows, as agents write them, and what they say is part of the line."""
    rows = [document(*row) for row in STORY[:10]]
    rows[3]["error"] = {"type": "java.io.IOException", "message": "Broken pipe"}
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist([{"error": None, **row} for row in rows]), path)
    else:
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    manifest = learnt(tmp_path / "catalogue", path)
    assert (manifest.lines, manifest.tally.dead) == (10, ())
    assert any("java.io.IOException" in row["line"] for row in read(tmp_path / "catalogue", "lines"))


def test_a_large_file_of_lines_is_read_in_stretches_that_lose_no_line(tmp_path: Path):
    path = write(tmp_path / "a.ndjson", STORY[:200])
    size = path.stat().st_size
    whole = read_unit(Unit(kind="lines", path=str(path))).shard
    for step in (37, 1000, size - 1, size):
        edges = [*range(0, size, step), size]
        pieces = [read_unit(Unit(kind="lines", path=str(path), start=a, end=b)) for a, b in pairwise(edges)]
        assert sum(piece.rows for piece in pieces) == 200
        assert same(unite([piece.shard for piece in pieces]), whole)


def test_small_row_groups_are_one_unit(tmp_path: Path):
    (unit,) = units_of(str(write(tmp_path / "a.parquet", STORY[:100], group=10)))
    assert (unit.start, unit.end) == (0, 10)


def test_an_archive_is_a_file_a_folder_a_pattern_or_a_url(tmp_path: Path):
    write(tmp_path / "logs" / "a.parquet", STORY[:5])
    write(tmp_path / "logs" / "b.ndjson", STORY[:5])
    (tmp_path / "logs" / "notes.txt").write_text("no log", encoding="utf-8")
    (tmp_path / "logs" / "_SUCCESS").touch()
    listed = list_files([str(tmp_path / "logs")])
    assert [Path(name).name for name in listed.files] == ["a.parquet", "b.ndjson"]
    assert [Path(name).name for name in listed.others] == ["_SUCCESS", "notes.txt"]
    assert list_files([f"{tmp_path}/logs/*.parquet"]).files == listed.files[:1]
    assert list_files([f"file://{tmp_path}/logs"]).files == listed.files
    with pytest.raises(UsageError, match="no such file"):
        list_files([str(tmp_path / "gone")])


def test_memory_is_a_filesystem_too(tmp_path: Path):
    """A catalogue is written to and read from whatever fsspec knows."""
    import fsspec

    path = write(tmp_path / "a.parquet", STORY[:50])
    memory = fsspec.filesystem("memory")
    memory.put(str(path), "/archive/a.parquet")
    from pipeline.learning.local import learn, plan

    units, _ = plan(list_files(["memory://archive"]).files)
    manifest = learn(units, "memory://catalogue")
    learnt(tmp_path / "catalogue", path)
    assert (
        open_catalogue("memory://catalogue").manifest
        == manifest
        == open_catalogue(str(tmp_path / "catalogue")).manifest
    )


def test_a_dead_file_is_named_and_loses_no_other(tmp_path: Path):
    write(tmp_path / "logs" / "a.parquet", STORY[:50])
    cut = write(tmp_path / "logs" / "b.ndjson.gz", STORY[50:3000])
    cut.write_bytes(cut.read_bytes()[:-2000])
    (tmp_path / "logs" / "c.parquet").write_bytes(b"PAR1 nothing of the kind")
    damaged = write(tmp_path / "logs" / "d.parquet", STORY[50:1000])
    body = bytearray(damaged.read_bytes())
    body[200:260] = b"\0" * 60
    damaged.write_bytes(bytes(body))
    manifest = learnt(tmp_path / "catalogue", tmp_path / "logs")
    assert manifest.lines == 50
    assert [Path(one.what.partition(",")[0]).name for one in manifest.tally.dead] == [
        "b.ndjson.gz",
        "c.parquet",
        "d.parquet",
    ]
    assert all(one.reason for one in manifest.tally.dead)


def test_past_the_cap_the_result_is_marked_approximate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from parsers import templates

    monkeypatch.setattr(templates, "MOST_MASKED", 20)
    words = ["".join(random.Random(n).choices("bcdfghjklmnpqrst", k=9)) for n in range(200)]
    rows = [(float(n), "pay", f"user {word} left the shop at once") for n, word in enumerate(words)]
    manifest = learnt(tmp_path / "catalogue", write(tmp_path / "a.parquet", rows))
    assert manifest.approximate > 0
    assert manifest.masked_lines == 200


@pytest.mark.usefixtures("home")
def test_more_text_than_can_be_learnt_at_once_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The most is Arrow's 2 GiB a column; here it is smaller, and then the mining itself has had enough."""
    from pipeline.learning import shards, writer

    path = write(tmp_path / "a.parquet", STORY[:200])
    out = str(tmp_path / "catalogue")
    with monkeypatch.context() as patch:
        patch.setattr(shards, "MOST_TEXT", 20)
        done = run(str(path), "--out", out)
    assert done.exit_code == 2
    assert "masked lines hold" in done.stderr
    assert "learn some of the services at a time" in done.stderr

    def enough(*_: object) -> None:
        raise OverflowError("the 3 distinct lines are more than 2 GiB of text")

    before = learnt(tmp_path / "catalogue", path)
    monkeypatch.setattr(writer, "mine_counted", enough)
    with pytest.raises(UsageError, match=r"more than 2 GiB of text.*learn some of the services at a time"):
        learnt(tmp_path / "catalogue", path)
    # What was there still is.
    assert open_catalogue(out).manifest == before


# ---- engines


def test_beam_and_any_number_of_threads_give_the_same_bytes(story: Path, tmp_path: Path):
    from pipeline.learning.beam import beam_engine

    learnt(tmp_path / "beam", story / "logs", engine=beam_engine())
    learnt(tmp_path / "one", story / "logs", engine=threads(1))
    learnt(tmp_path / "five", story / "logs", engine=threads(5))
    for name in ("beam", "one", "five"):
        assert content(tmp_path / name) == content(story / "catalogue"), name


def test_beam_counts_and_keeps_dead_units(tmp_path: Path):
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipeline.learning.beam import LearnShards
    from pipeline.learning.units import encode_unit

    good = Unit(kind="lines", path=str(write(tmp_path / "a.ndjson", STORY[:20])))
    dead = Unit(kind="lines", path=str(tmp_path / "gone.ndjson"))
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))
    _ = pipeline | beam.Create([encode_unit(good), encode_unit(dead)]) | LearnShards(str(tmp_path / "shards"))
    result = pipeline.run()
    result.wait_until_finish()
    counters = {one.key.metric.name: one.committed for one in result.metrics().query()["counters"]}
    assert (counters["rows"], counters["dead_units"]) == (20, 1)
    assert {path.name for path in (tmp_path / "shards").iterdir()} == {"tally", "20514"}


# ---- the command


def run(*arguments: str):
    return CliRunner().invoke(commands, ["learn", *arguments])


@pytest.mark.usefixtures("home")
def test_the_command_learns_merges_and_says_what(story: Path, tmp_path: Path):
    done = run(str(story / "logs"), "--out", str(tmp_path / "a"), "-o", "json")
    assert done.exit_code == 0, done.output
    assert msgspec.json.decode(done.stdout)["lines"] == len(STORY)
    assert content(tmp_path / "a") == content(story / "catalogue")
    (tmp_path / "d" / "_shards").mkdir(parents=True)
    (tmp_path / "d" / "_shards" / "20514").write_bytes(b"left by a run that broke off")
    assert run(str(story / "logs"), "--out", str(tmp_path / "d"), "--engine", "beam").exit_code == 0
    assert content(tmp_path / "d") == content(story / "catalogue")
    write(tmp_path / "more.parquet", [(5 * WEEK, "pay", "order 1 paid by card in 3 ms")])
    assert run(str(tmp_path / "more.parquet"), "--out", str(tmp_path / "b")).exit_code == 0
    merged = run("--merge", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c"))
    assert "3,331" in merged.stdout


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("option", "said"), [("--no_such=1", "does not know"), ("--direct_num_workers=x", "does not take")]
)
def test_options_that_beam_does_not_take_are_named_before_anything_is_read(
    story: Path, tmp_path: Path, option: str, said: str
):
    done = run(str(story / "logs"), "--out", str(tmp_path / "out"), "--engine", "beam", "--runner-option", option)
    assert done.exit_code == 2
    assert f"Beam {said} the options" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("home")
def test_a_catalogue_is_not_replaced_unasked(story: Path, tmp_path: Path):
    shutil.copytree(story / "catalogue", tmp_path / "a")
    again = run(str(story / "logs" / "b.ndjson"), "--out", str(tmp_path / "a"))
    assert (again.exit_code, "--replace" in again.stderr) == (2, True)
    assert run(str(story / "logs" / "b.ndjson"), "--out", str(tmp_path / "a"), "--replace").exit_code == 0
    manifest = open_catalogue(str(tmp_path / "a")).manifest
    assert manifest.lines == 1000
    # Nothing of the old one is left.
    assert {f"{name}.parquet" for name in manifest.days} == {
        path.name for path in (tmp_path / "a" / "counts").iterdir()
    }


@pytest.mark.usefixtures("home")
def test_the_command_exits_8_where_parts_are_dead(tmp_path: Path):
    write(tmp_path / "logs" / "a.parquet", STORY[:5])
    (tmp_path / "logs" / "b.parquet").write_bytes(b"nothing")
    done = run(str(tmp_path / "logs"), "--out", str(tmp_path / "catalogue"))
    assert (done.exit_code, "b.parquet" in done.stderr) == (8, True)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name the archive"),
        (["--source", "logs"], "--from and --to"),
        (["x", "--source", "logs", "--from", "2026-01-01", "--to", "2026-01-02"], "not both"),
        (["x", "--engine", "spark"], "--master"),
        (["x", "--master", "spark://a:1"], "belongs to --engine spark"),
        (["--merge", "x"], "two catalogues"),
    ],
)
def test_what_does_not_go_together_is_told(arguments: list[str], sentence: str, tmp_path: Path):
    done = run(*arguments, "--out", str(tmp_path / "out"))
    assert (done.exit_code, sentence in done.stderr) == (2, True), done.stderr


def test_a_damaged_or_foreign_catalogue_is_refused(story: Path, tmp_path: Path):
    shutil.copytree(story / "catalogue", tmp_path / "a")
    manifest = tmp_path / "a" / "catalogue.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"masks": "1"', b'"masks": "0"'))
    with pytest.raises(UsageError, match="learn it again"):
        open_catalogue(str(tmp_path / "a"))
    shutil.copytree(story / "catalogue", tmp_path / "b")
    lines = tmp_path / "b" / "lines.parquet"
    lines.write_bytes(lines.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"lines\.parquet"):
        open_catalogue(str(tmp_path / "b")).overall()
    with pytest.raises(UsageError, match="problem-snapshot learn"):
        open_catalogue(str(tmp_path / "gone"))
