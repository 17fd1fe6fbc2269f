"""Trace files outside a bundle."""

import gzip
import json
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from pipeline.errors import SourceUnavailable
from pipeline.sources.otlp import Options, OtlpSource
from pipeline.values import Ask, Pointer, Source, Span
from snapshots.model import canonical_json

START = datetime(2026, 9, 4, 15, tzinfo=UTC)


def span(number, at=0, seconds=1):
    start = int(START.timestamp() + at) * 1_000_000_000
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{number:016x}",
        "name": "POST",
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + seconds * 1_000_000_000),
    }


def payload(*spans):
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.json").write_bytes(payload(span(1, at=60), span(2, at=-3600)) + b"\n" + payload(span(3)))
    (tmp_path / "two.json.gz").write_bytes(
        gzip.compress(payload(span(4, at=30), span(5, at=-5, seconds=10), span(1, at=60)))
    )
    return tmp_path


def source(*files, **options) -> Source:
    return OtlpSource("files", Options(files=tuple(str(f) for f in files), **options))


def ask(*traces, **more):
    return Ask("spans", Span(START, START + timedelta(minutes=10)), {"trace_id": traces}, **more)


def numbers(fetched):
    return [int(value, 16) for value in fetched.table["span.id"].to_pylist()]


def test_spans_that_ran_in_the_window_are_read_from_every_file(folder):
    fetched = source(folder / "**" / "*.json*").fetch(ask())
    assert numbers(fetched) == [5, 3, 4, 1]
    row = fetched.coverage
    assert (row.status, row.fetched, row.used, row.duplicates, row.outside) == ("ok", 6, 4, 1, 1)
    assert set(fetched.table["log.file.path"].to_pylist()) == {"a/one.json", "two.json.gz"}
    assert not fetched.complete


def test_named_traces_come_first_whenever_they_ran(folder):
    fetched = source(folder / "**" / "*.json*").fetch(ask(f"{2:032X}"))
    assert numbers(fetched) == [2, 5, 3, 4, 1]
    assert (fetched.coverage.outside, fetched.complete) == (0, True)


def test_rows_beyond_the_limit_are_counted_as_cut(folder):
    fetched = source(folder / "**" / "*.json*").fetch(ask(limit=3))
    row = fetched.coverage
    assert (row.status, row.used, row.cut, row.matched) == ("partial", 3, 1, 4)
    assert row.fetched == row.used + row.duplicates + row.outside + row.unparsed


def test_a_damaged_file_costs_no_other(folder):
    (folder / "bad.json.gz").write_bytes((folder / "two.json.gz").read_bytes()[:60])
    fetched = source(folder / "**" / "*.json*").fetch(ask())
    assert numbers(fetched) == [5, 3, 4, 1]
    assert fetched.coverage.status == "partial"
    assert "bad.json.gz is cut short" in fetched.coverage.error


def test_bytes_beyond_the_cap_are_named(folder):
    fetched = source(folder / "**" / "*.json*", max_bytes=500).fetch(ask())
    assert fetched.coverage.status == "partial"
    assert "a/one.json goes beyond" in fetched.coverage.error


def test_out_of_time_is_said(folder):
    fetched = source(folder / "**" / "*.json*").fetch(ask(deadline=time.monotonic() - 1))
    assert fetched.coverage.status == "partial"
    assert "2 of 2 files were not read" in fetched.coverage.error


def test_no_matching_file_is_a_clear_error(folder):
    for call in (lambda one: one.fetch(ask()), lambda one: one.probe(), lambda one: one.resolve([])):
        with pytest.raises(SourceUnavailable, match=r"no trace file matches .*check `files`"):
            call(source(folder / "*.nothing"))


def test_a_span_resolves_to_its_object(folder):
    one = source(folder / "**" / "*.json*")
    here, gone = Pointer("span", f"{4:032x}", f"{4:016x}"), Pointer("span", f"{9:032x}", f"{9:016x}")
    assert one.resolve([here, gone]) == {here: canonical_json(span(4, at=30)), gone: None}


def test_other_questions_are_skipped(folder):
    assert source(folder / "*").fetch(Ask("logs", ask().window)).coverage.status == "skipped"


def test_probe_counts_the_files(folder):
    assert source(folder / "**" / "*.json*").probe()[0].startswith("2 trace files")


def test_options_come_from_configuration():
    assert msgspec.convert({"kind": "otlp", "files": ["a/*.json"]}, Options).files == ("a/*.json",)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "otlp"}, Options)


def test_without_the_rest_only_the_named_traces_are_given(folder):
    fetched = source(folder / "**").fetch(ask(span(2)["traceId"], rest=False))
    assert numbers(fetched) == [2]
    assert not fetched.complete
    assert "window" not in fetched.coverage.asked
    assert numbers(source(folder / "**").fetch(ask(rest=False))) == []
