"""A bundle is read whole, as far as it goes, and what is written reads back as the same tables."""

import gzip
import io
import json
import os
import shutil
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parsers.tables import LOGS, ORDER_EVENTS, SPANS, empty
from parsers.traces.otlp import write_otlp
from pipeline.errors import SourceBroken, SourceUnavailable, TicketNotFound, UsageError
from pipeline.sources import open_bundle
from pipeline.sources.bundle.source import BundleSource
from pipeline.sources.bundle.tickets import find_bundle, is_bundle, read_ticket, ticket_ids
from pipeline.sources.bundle.writing import write_bundle
from pipeline.values import Ask, Material, Pointer, Source, Span
from snapshots.model import Coverage, canonical_json, sha256_hex

NOW = datetime(2026, 9, 4, 15, tzinfo=UTC)
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TICKET = {"id": "TK-1", "title": "付款失败", "created_at": "2026-09-04T23:30:00+08:00"}
KINDS = {"logs": "log", "spans": "span", "order_events": "order_event"}


def document(number, **more):
    return {
        "_index": "logs-app",
        "_id": f"doc{number}",
        "@timestamp": f"2026-09-04T15:00:{number % 60:02d}.000Z",
        "service": {"name": "cashier"},
        "log": {"level": "INFO"},
        "message": f"line {number} 付款",
    } | more


def ndjson(*documents):
    return b"".join(json.dumps(d, ensure_ascii=False).encode() + b"\n" for d in documents)


OTLP = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cashier"}}]},
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": TRACE,
                            "spanId": SPAN,
                            "name": "POST",
                            "kind": 3,
                            "startTimeUnixNano": "1788534180000000000",
                            "endTimeUnixNano": "1788534181000000000",
                        }
                    ]
                }
            ],
        }
    ]
}
ORDERS = (
    "order_id,entity,entity_id,state,amount_minor,currency,channel,occurred_at,attributes\n"
    'M1,order,M1,paid,46800,CNY,alipay,2026-09-04T23:03:00.180+08:00,"{""b"": 2, ""a"": 1}"\n'
)
FILES = {
    "ticket.json": json.dumps(TICKET).encode(),
    "logs/part-0.ndjson.gz": gzip.compress(ndjson(*(document(n) for n in range(40)))),
    "logs/part-1.ndjson": ndjson(document(40), document(3)),
    "traces/spans.json": json.dumps(OTLP).encode(),
    "orders.csv": ORDERS.encode(),
}


def make(path, files):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    return path


def ask(what):
    # An hour that has nothing to do with the bundle: it does not matter.
    return Ask(what, Span(NOW - timedelta(days=300), NOW - timedelta(days=299)))


def fetch(path, what="logs", **options):
    return BundleSource("bundle", path, **options).fetch(ask(what))


@pytest.fixture(params=["folder", "zip", "zip with a folder"])
def bundle(request, tmp_path):
    if request.param == "folder":
        return make(tmp_path / "TK-1", FILES)
    prefix = "TK-1/" if "folder" in request.param else ""
    return make(tmp_path / "TK-1.zip", {prefix + name: data for name, data in FILES.items()})


def test_everything_is_read_whatever_the_window(bundle):
    source: Source = open_bundle(bundle)
    logs = source.fetch(ask("logs"))
    assert logs.complete
    assert logs.table.schema.equals(LOGS)
    assert logs.table["_id"].to_pylist() == [f"doc{n}" for n in range(41)]
    row = logs.coverage
    assert (row.status, row.fetched, row.used, row.duplicates, row.unparsed, row.outside) == ("ok", 42, 41, 1, 0, 0)
    assert row.window.start == "2026-09-04T15:00:00.000000Z"
    assert row.window.end == "2026-09-04T15:00:40.000000Z"
    spans, orders = source.fetch(ask("spans")), source.fetch(ask("order_events"))
    assert (spans.table.num_rows, spans.table.schema.equals(SPANS), spans.coverage.status) == (1, True, "ok")
    assert (orders.table.num_rows, orders.table.schema.equals(ORDER_EVENTS), orders.coverage.status) == (1, True, "ok")
    source.close()


def test_the_same_bundle_gives_the_same_answer(bundle):
    for what in KINDS:
        assert fetch(bundle, what) == fetch(bundle, what)


def pointers(path):
    found = []
    for what, kind in KINDS.items():
        for row in fetch(path, what).table.to_pylist():
            end = None if row["log.offset"] is None else row["log.offset"] + row["log.length"]
            found.append(Pointer(kind, row["_index"], row["_id"], row["log.file.path"], row["log.offset"], end))
    return found


def test_each_row_can_be_opened_again(bundle):
    asked = pointers(bundle)
    answer = open_bundle(bundle).resolve(asked)
    assert len(answer) == 43
    source = document(3)
    del source["_id"], source["_index"]
    assert answer[Pointer("log", "logs-app", "doc3")] == canonical_json(source)
    span = next(value for pointer, value in answer.items() if pointer.kind == "span")
    assert span == canonical_json(OTLP["resourceSpans"][0]["scopeSpans"][0]["spans"][0])
    event = json.loads(next(value for pointer, value in answer.items() if pointer.kind == "order_event"))
    assert event["attributes"] == {"a": 1, "b": 2}
    assert event["occurred_at"] == "2026-09-04T15:03:00.180000Z"
    assert all(answer.values())


def test_what_is_gone_resolves_to_nothing(bundle):
    gone = [
        Pointer("log", "logs-app", "doc99"),
        Pointer("log", "other-index", "doc3"),
        Pointer("log", file="logs/part-9.log", start=0, end=5),
        Pointer("log", file="logs/../ticket.json", start=0, end=5),
        Pointer("log", file="logs/part-1.ndjson", start=0, end=10**9),
        Pointer("span", TRACE, "1" * 16),
        Pointer("order_event", "orders.csv", "order:M1:paid:never"),
    ]
    assert open_bundle(bundle).resolve(gone) == dict.fromkeys(gone)


def test_many_and_oddly_written_ids_resolve_too(tmp_path):
    odd = ndjson(document(0, _id='a"b'), document(1, _id="付款"), {"_id": 7, "_index": "logs-app", "message": "x"})
    odd += b'{"_index":"logs-app","_id":"\\u4ed8","message":"y"}\n'
    many = ndjson(*(document(n) for n in range(1000)))
    path = make(tmp_path / "b", {"logs/a.ndjson": odd, "logs/b.ndjson": many})
    few = [Pointer("log", "logs-app", name) for name in ('a"b', "付款", "7", "付")]
    assert all(open_bundle(path).resolve(few).values())
    assert all(
        open_bundle(path).resolve([*few, *(Pointer("log", "logs-app", f"doc{n}") for n in range(1000))]).values()
    )


def test_a_line_without_an_id_is_cited_by_its_bytes(tmp_path):
    lines = b'{"message": "no id"}\nnot json at all\n' + ndjson(document(1))
    path = make(
        tmp_path / "b", {"logs/a.ndjson.gz": gzip.compress(lines), "logs/b.log": b"2026-09-04 15:00:00 INFO hi\n"}
    )
    fetched = fetch(path)
    assert fetched.coverage.unparsed == 1
    answer = open_bundle(path).resolve(pointers(path))
    named = {key: value for key, value in document(1).items() if key not in ("_id", "_index")}
    assert list(answer.values()) == [
        b'{"message": "no id"}',
        b"not json at all",
        canonical_json(named),
        b"2026-09-04 15:00:00 INFO hi",
    ]


def test_hits_as_elasticsearch_dumps_them_resolve_to_their_source(tmp_path):
    source = {"message": "hi", "@timestamp": "2026-09-04T15:00:00Z"}
    path = make(tmp_path / "b", {"logs/a.ndjson": ndjson({"_index": "i", "_id": "1", "_source": source, "sort": [1]})})
    assert fetch(path).table["message"].to_pylist() == ["hi"]
    here = Pointer("log", "i", "1")
    assert open_bundle(path).resolve([here])[here] == canonical_json(source)


def test_parquet_logs_are_read_and_resolve(tmp_path):
    table = pa.table({"_index": ["i", None], "_id": ["1", None], "message": ["a", "b"], "service.name": ["s", "s"]})
    out = io.BytesIO()
    pq.write_table(table, out)
    path = make(tmp_path / "b", {"logs/a.parquet": out.getvalue(), "logs/b.parquet": b"PAR1 rubbish"})
    fetched = fetch(path)
    assert fetched.table["message"].to_pylist() == ["a", "b"]
    assert fetched.coverage.status == "partial"
    assert "logs/b.parquet" in fetched.coverage.error
    answer = open_bundle(path).resolve(pointers(path))
    assert sorted(answer.values()) == [
        canonical_json({"message": "a", "service.name": "s"}),
        canonical_json({"message": "b", "service.name": "s"}),
    ]


# Damage


PLAIN = b"".join(
    b"2026-09-04 23:%02d:%02d INFO order %d paid\n  by alipay\n" % (n // 60, n % 60, n) for n in range(1800)
)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (
            "logs/a.ndjson",
            ndjson({"message": "no id"}, *(document(n) for n in range(300)), document(3), {"message": "x"}),
        ),
        ("logs/a.log", PLAIN),
        ("logs/a.log", "开始\n".encode("utf-16") * 40),
        ("logs/a.log", b"no header\n" * 3000),
        ("logs/a.log", PLAIN.replace(b"\n", b"\r\n").rstrip()),
    ],
)
def test_a_file_that_is_read_in_stretches_gives_the_rows_of_one_that_is_not(tmp_path, monkeypatch, name, data):
    path = make(tmp_path / "b", {name: data})
    whole = fetch(path)
    monkeypatch.setattr("pipeline.sources.bundle.logs._STRETCH", 1000)
    monkeypatch.setattr("pipeline.sources.bundle.unpacking._UNPACKED", 1000)
    parts = fetch(path)
    assert parts.table.equals(whole.table)
    assert parts.coverage == whole.coverage
    answer = open_bundle(path).resolve(pointers(path))
    assert None not in answer.values()


def test_parquet_rows_that_are_read_in_stretches_are_the_same(tmp_path, monkeypatch):
    rows = [{"@timestamp": f"2026-09-04T15:00:{n:02d}Z", "message": f"row {n}"} for n in range(50)]
    path = tmp_path / "b"
    (path / "logs").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path / "logs/a.parquet")
    whole = fetch(path)
    monkeypatch.setattr("pipeline.sources.bundle.logs._STRETCH_ROWS", 7)
    assert fetch(path).table.equals(whole.table)
    answer = open_bundle(path).resolve(pointers(path))
    assert [json.loads(record)["message"] for record in answer.values()] == [f"row {n}" for n in range(50)]


def test_lines_without_an_offset_are_in_the_zone_that_is_told_and_near_the_ticket(tmp_path):
    lines = b"2026-09-04 23:05:00,123 ERROR refused\nSep  4 23:06:00 web-1 app: refused\n"
    path = make(tmp_path / "b", {"ticket.json": FILES["ticket.json"], "logs/app.log": lines})
    zone = datetime.fromisoformat(TICKET["created_at"]).tzinfo
    times = open_bundle(path, zone=zone).fetch(ask("logs")).table["@timestamp"].to_pylist()
    assert [time.isoformat() for time in times] == ["2026-09-04T15:05:00.123000+00:00", "2026-09-04T15:06:00+00:00"]
    assert fetch(path).table["@timestamp"][0].as_py().hour == 23


class Opened:
    """How often each file of a folder is opened."""

    def __init__(self, monkeypatch):
        self.names = []
        path_open = Path.open

        def opening(path, *args, **more):
            self.names.append(path.name)
            return path_open(path, *args, **more)

        monkeypatch.setattr(Path, "open", opening)


def test_a_file_beyond_the_cache_is_opened_once_for_all_of_its_records(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.sources.bundle.source._CACHED_BYTES", 0)
    path = make(
        tmp_path / "b",
        {
            "logs/a.log.gz": gzip.compress(PLAIN),
            "logs/b.ndjson": ndjson({"message": "no id"}, *(document(n) for n in range(20))),
        },
    )
    asked = pointers(path)
    opened = Opened(monkeypatch)
    answer = open_bundle(path).resolve(asked)
    assert None not in answer.values()
    assert len(answer) == 1821
    assert sorted(opened.names) == ["a.log.gz", "b.ndjson"]
    opened.names.clear()
    open_bundle(path).resolve([p for p in asked if p.file == "logs/a.log.gz"])
    assert opened.names == ["a.log.gz"]


class Clock:
    """A clock that goes on by a second whenever somebody looks at it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("pipeline.sources.bundle.tally.time.monotonic", self)

    def __call__(self):
        self.now += 1
        return self.now


def test_a_deadline_ends_the_reading_between_files_and_names_what_was_not_read(tmp_path, monkeypatch):
    files = {f"logs/{n}.ndjson": ndjson(document(n)) for n in range(9)}
    path = make(tmp_path / "b", files)
    Clock(monkeypatch)
    answer = open_bundle(path).fetch(Ask("logs", ask("logs").window, deadline=30))
    row = answer.coverage
    assert row.status == "partial"
    assert 0 < answer.table.num_rows < 9
    assert (row.fetched, row.used, row.matched) == (answer.table.num_rows, answer.table.num_rows, None)
    assert "the time was up" in row.error
    assert not answer.complete
    (note,) = row.notes
    unread = 9 - answer.table.num_rows
    assert note.startswith(f"{unread} file")
    assert f"logs/{answer.table.num_rows}.ndjson" in note


@pytest.mark.parametrize("name", ["logs/a.ndjson", "logs/a.ndjson.gz", "logs/a.log", "logs/a.parquet"])
def test_a_deadline_ends_the_reading_within_a_file_and_says_where(tmp_path, monkeypatch, name):
    data = ndjson(*(document(n) for n in range(200))) if "json" in name else PLAIN
    if name.endswith("parquet"):
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([{"message": f"row {n}"} for n in range(200)]), sink)
        data = sink.getvalue()
    path = make(tmp_path / "b", {name: gzip.compress(data) if name.endswith(".gz") else data})
    stretch = 2000 if "gz" not in name else 1 << 20
    monkeypatch.setattr("pipeline.sources.bundle.logs._STRETCH", stretch)
    monkeypatch.setattr("pipeline.sources.bundle.unpacking._UNPACKED", stretch)
    monkeypatch.setattr("pipeline.sources.bundle.logs._STRETCH_ROWS", 10)
    whole = fetch(path).table.num_rows
    Clock(monkeypatch)
    answer = open_bundle(path).fetch(Ask("logs", ask("logs").window, deadline=40))
    if name.endswith(".gz"):
        # It fits into one stretch: there was time for all of it.
        assert (answer.table.num_rows, answer.coverage.status) == (whole, "ok")
        return
    assert 0 < answer.table.num_rows < whole
    (note,) = answer.coverage.notes
    assert note.startswith(f"{name}: only its first ")
    assert (answer.coverage.status, answer.complete) == ("partial", False)


def test_no_time_at_all_is_a_partial_answer_without_rows(bundle):
    for what, name in (
        ("logs", "logs/part-0.ndjson.gz"),
        ("spans", "traces/spans.json"),
        ("order_events", "orders.csv"),
    ):
        answer = open_bundle(bundle).fetch(Ask(what, ask(what).window, deadline=0.0))
        assert (answer.table.num_rows, answer.coverage.status, answer.complete) == (0, "partial", False)
        assert name in " ".join(answer.coverage.notes)


def test_what_was_not_read_in_time_is_read_when_it_is_asked_for_again(bundle):
    source = open_bundle(bundle)
    source.fetch(Ask("logs", ask("logs").window, deadline=0.0))
    assert source.fetch(ask("logs")).table.num_rows == 41


def test_all_rows_are_kept_whatever_the_limit_up_to_a_cap_of_memory_that_is_said(tmp_path):
    path = make(tmp_path / "b", {f"logs/{n}.ndjson": ndjson(document(n)) for n in range(9)})
    assert open_bundle(path).fetch(Ask("logs", ask("logs").window, limit=1)).table.num_rows == 9
    one = fetch(make(tmp_path / "one", {"logs/a.ndjson": ndjson(document(0))})).table.nbytes
    answer = fetch(path, max_table_bytes=3 * one)
    assert 3 <= answer.table.num_rows <= 5
    row = answer.coverage
    assert (row.status, row.matched, row.fetched) == ("partial", None, answer.table.num_rows)
    assert f"{3 * one:,} bytes of memory" in row.error
    assert "logs/8.ndjson" in row.notes[0]
    # More time would bring nothing more.
    assert answer.complete


def test_half_a_gzip_keeps_what_could_be_read(tmp_path):
    whole = ndjson(*(document(n, message=os.urandom(40).hex()) for n in range(2000)))
    packed = gzip.compress(whole)
    path = make(tmp_path / "b", FILES | {"logs/part-0.ndjson.gz": packed[: len(packed) // 2]})
    fetched = fetch(path)
    assert fetched.coverage.status == "partial"
    assert "logs/part-0.ndjson.gz is cut short" in fetched.coverage.error
    assert 800 < fetched.table.num_rows < 1200
    assert "doc40" in fetched.table["_id"].to_pylist()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        pytest.param(b"no gzip", "damaged", id="no gzip"),
        pytest.param(gzip.compress(b"{}")[:-6] + b"\0\0\0\0\0\0", "damaged", id="wrong checksum"),
        pytest.param(gzip.compress(ndjson(document(1))) + b"rubbish", "damaged", id="rubbish behind"),
        pytest.param(gzip.compress(ndjson(document(1)))[:5], "cut short", id="cut in the header"),
    ],
)
def test_a_damaged_gzip_is_named_and_costs_no_other(tmp_path, data, word):
    path = make(tmp_path / "b", FILES | {"logs/part-0.ndjson.gz": data})
    fetched = fetch(path)
    assert fetched.coverage.status == "partial"
    assert f"logs/part-0.ndjson.gz is {word}" in fetched.coverage.error
    assert {"doc40", "doc3"} <= set(fetched.table["_id"].to_pylist())


def test_gzip_members_behind_one_another_and_padding_are_whole(tmp_path):
    data = gzip.compress(ndjson(document(1))) + gzip.compress(ndjson(document(2))) + b"\0" * 512
    fetched = fetch(make(tmp_path / "b", {"logs/a.ndjson.gz": data}))
    assert (fetched.table.num_rows, fetched.coverage.status) == (2, "ok")


@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_a_bomb_is_read_to_the_cap_and_said(tmp_path, suffix):
    bomb = ndjson(document(1)) + b"\n" * 3_000_000
    files = {"logs/a.ndjson.gz": gzip.compress(bomb), "logs/b.ndjson": bomb}
    fetched = fetch(make(tmp_path / f"b{suffix}", files), max_bytes=1_000_000)
    assert fetched.table["_id"].to_pylist() == ["doc1"]
    assert fetched.coverage.status == "partial"
    assert "logs/a.ndjson.gz goes beyond" in fetched.coverage.error
    assert "logs/b.ndjson goes beyond" in fetched.coverage.error


def test_a_damaged_file_in_a_zip_is_named(tmp_path):
    path = make(tmp_path / "b.zip", FILES)
    data = bytearray(path.read_bytes())
    place = data.find(b"traces/spans.json") + len("traces/spans.json")
    data[place + 20 : place + 60] = b"\xff" * 40
    path.write_bytes(data)
    spans = fetch(path, "spans").coverage
    assert (spans.status, "traces/spans.json" in spans.error) == ("partial", True)
    assert fetch(path, "logs").coverage.status == "ok"


def test_half_a_trace_file_keeps_its_whole_spans(tmp_path):
    spans = [OTLP["resourceSpans"][0]["scopeSpans"][0]["spans"][0] | {"spanId": f"{n:016x}"} for n in range(1, 9)]
    value = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    fetched = fetch(make(tmp_path / "b", {"traces/a.json": json.dumps(value).encode()[:-30]}), "spans")
    assert (fetched.table.num_rows, fetched.coverage.unparsed, fetched.coverage.fetched) == (7, 1, 8)
    assert "left out" in " ".join(fetched.coverage.notes)


def test_a_link_that_leads_in_a_circle_is_skipped(tmp_path):
    shutil.copytree(Path(__file__).resolve().parent.parent / "examples" / "TK-33097", tmp_path / "b")
    (tmp_path / "b" / "logs" / "loop").symlink_to("loop")
    whole = Span(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert BundleSource("bundle", tmp_path / "b").fetch(Ask("logs", whole)).table.num_rows == 5703


def test_absent_parts_are_skipped_and_empty_ones_empty(tmp_path):
    path = make(tmp_path / "b", {"ticket.json": FILES["ticket.json"], "logs/a.ndjson.gz": gzip.compress(b"")})
    found = {what: fetch(path, what).coverage for what in KINDS}
    assert [found[what].status for what in KINDS] == ["empty", "skipped", "skipped"]
    assert found["spans"].notes == ["the bundle has no traces/"]
    assert found["order_events"].notes == ["the bundle has no orders.csv"]
    assert found["logs"].window is None


def test_files_of_no_known_kind_are_told(tmp_path):
    files = {"logs/a.ndjson": ndjson(document(1)), "logs/core.dump": b"x", "logs/.DS_Store": b"x"}
    notes = fetch(make(tmp_path / "b", files)).coverage.notes
    assert notes == ["1 file of logs/ of no known kind, not read: logs/core.dump"]


def test_links_out_of_the_bundle_are_not_followed(tmp_path):
    secret = tmp_path / "secret.log"
    secret.write_text("2026-09-04 15:00:00 INFO password\n")
    path = make(tmp_path / "b", {"logs/a.ndjson": ndjson(document(1))})
    (path / "logs" / "b.log").symlink_to(secret)
    (path / "logs" / "c.ndjson").symlink_to(path / "logs" / "a.ndjson")
    fetched = fetch(path)
    assert fetched.table["_id"].to_pylist() == ["doc1"]
    assert "logs/b.log" in " ".join(fetched.coverage.notes)


def test_no_bundle_no_zip_no_rows(tmp_path):
    with pytest.raises(SourceUnavailable, match="check the path"):
        fetch(tmp_path / "nowhere")
    broken = tmp_path / "b.zip"
    broken.write_bytes(make(tmp_path / "c.zip", FILES).read_bytes()[:200])
    with pytest.raises(SourceBroken, match="readable zip"):
        fetch(broken)


def test_probe_says_what_the_bundle_holds(bundle):
    lines = open_bundle(bundle).probe()
    assert lines[1] == "ticket TK-1"
    assert lines[2].startswith("logs: 2 files, ")


# Tickets


@pytest.fixture
def folder(tmp_path):
    for name in ("TK-1", "TK-2", "TK-30"):
        make(tmp_path / name, FILES | {"ticket.json": json.dumps(TICKET | {"id": name}).encode()})
    make(tmp_path / "other.zip", FILES | {"ticket.json": json.dumps(TICKET | {"id": "ZD/7"}).encode()})
    make(tmp_path / "no-ticket", {"logs/a.ndjson": ndjson(document(1))})
    (tmp_path / "notes.txt").write_text("x")
    return tmp_path


def test_a_ticket_is_found_in_a_folder_of_bundles(folder):
    assert ticket_ids(folder) == ["TK-1", "TK-2", "TK-30", "ZD/7"]
    assert find_bundle(folder, "TK-2") == folder / "TK-2"
    assert find_bundle(folder, "ZD/7") == folder / "other.zip"
    assert find_bundle(folder / "TK-2", "TK-2") == folder / "TK-2"
    assert find_bundle(folder / "TK-2") == folder / "TK-2"
    assert read_ticket(folder / "other.zip") == TICKET | {"id": "ZD/7"}


def test_a_file_that_is_no_bundle_holds_no_ticket(folder):
    with pytest.raises(TicketNotFound, match=r"no ticket\.json|there is no ticket"):
        find_bundle(folder / "notes.txt", "TK-1")


def test_an_unknown_ticket_names_near_ones(folder):
    with pytest.raises(TicketNotFound, match=r"did you mean .*TK-30"):
        find_bundle(folder, "TK-3")
    with pytest.raises(TicketNotFound, match=r"it has 4 tickets: TK-1, "):
        find_bundle(folder, "完全不同")
    with pytest.raises(TicketNotFound, match="TK-1"):
        find_bundle(folder / "TK-1", "../TK-2")
    with pytest.raises(UsageError, match="name a ticket"):
        find_bundle(folder)
    with pytest.raises(UsageError, match="check the path"):
        find_bundle(folder / "nowhere", "TK-1")
    with pytest.raises(TicketNotFound, match=r"no ticket\.json"):
        read_ticket(folder / "no-ticket")
    assert is_bundle(folder / "no-ticket")
    assert not is_bundle(folder)


@pytest.mark.parametrize("data", [b"{broken", b"[1]", b"\xff\xfe\x00"])
def test_an_unreadable_ticket_is_a_clear_error_and_hides_no_other(folder, data):
    (folder / "TK-2" / "ticket.json").write_bytes(data)
    with pytest.raises(UsageError, match=r"ticket\.json"):
        read_ticket(folder / "TK-2")
    assert ticket_ids(folder) == ["TK-1", "TK-30", "ZD/7"]
    assert fetch(folder / "TK-2").coverage.status == "ok"


# Writing


def material(path):
    fetched = [fetch(path, what) for what in KINDS]
    return Material(*(one.table for one in fetched), coverage=tuple(one.coverage for one in fetched))


def write(path, collected):
    return write_bundle(path, TICKET, collected, tool_version="1.2.3", redaction={"total": 0})


PLACE = ("_source", "log.file.path", "log.offset", "log.length")


def content(table):
    return table.drop_columns(PLACE)


@pytest.mark.parametrize("name", ["out", "out.zip", "deep/er/out"])
def test_what_is_written_reads_back_as_the_same_tables(bundle, tmp_path, name):
    first = material(bundle)
    out = write(tmp_path / name, first)
    again = material(out)
    assert read_ticket(out) == TICKET
    for table, other in (
        (first.logs, again.logs),
        (first.spans, again.spans),
        (first.order_events, again.order_events),
    ):
        assert content(table).equals(content(other))
    assert [row.unparsed for row in again.coverage] == [0, 0, 0]


def test_lines_without_ids_get_their_old_place_as_id(tmp_path):
    lines = b'{"message": "no id"}\nnot json at all\n' + ndjson(document(1))
    first = material(make(tmp_path / "b", {"logs/a.ndjson": lines}))
    again = material(write(tmp_path / "out", first))
    assert again.logs["_id"].to_pylist() == ["logs/a.ndjson:0", "logs/a.ndjson:21", "doc1"]
    assert content(first.logs).drop_columns("_id").equals(content(again.logs).drop_columns("_id"))
    assert content(material(write(tmp_path / "twice", again)).logs).equals(content(again.logs))


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_equal_material_gives_equal_bytes(bundle, tmp_path, name):
    one, two = write(tmp_path / "1" / name, material(bundle)), write(tmp_path / "2" / name, material(bundle))
    files = [sorted(p for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file()) for path in (one, two)]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]
    assert len(files[0]) == (5 if name == "out" else 1)


def test_the_manifest_is_true(bundle, tmp_path):
    out = write(tmp_path / "out", material(bundle))
    manifest = json.loads((out / "manifest.json").read_bytes())
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert manifest["files"].keys() == names - {"manifest.json"}
    for name, told in manifest["files"].items():
        data = (out / name).read_bytes()
        assert told == {"bytes": len(data), "sha256": sha256_hex(data)}
    assert manifest["derived_from"] == ["bundle"]
    assert manifest["tool_version"] == "1.2.3"
    assert manifest["redaction"] == {"total": 0}
    assert manifest["rows"] == {"logs": 41, "spans": 1, "order_events": 1}
    assert Coverage(**manifest["coverage"][0] | {"window": None}).fetched == 42


def test_an_empty_material_makes_a_bundle_of_a_ticket(tmp_path):
    out = write(tmp_path / "out", Material(empty(LOGS), empty(SPANS), empty(ORDER_EVENTS)))
    assert sorted(p.name for p in out.iterdir()) == ["manifest.json", "ticket.json"]
    assert fetch(out).coverage.status == "skipped"


def test_nothing_is_overwritten_unasked_and_nothing_half_is_left(bundle, tmp_path, monkeypatch):
    out = write(tmp_path / "out", material(bundle))
    with pytest.raises(UsageError, match="exists already"):
        write(out, material(bundle))
    before = sorted(p.name for p in tmp_path.iterdir())
    write_bundle(out, TICKET | {"id": "TK-2"}, material(bundle), tool_version="2", overwrite=True)
    assert read_ticket(out)["id"] == "TK-2"
    assert sorted(p.name for p in tmp_path.iterdir()) == before

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(UsageError, match="No space left"):
        write(tmp_path / "more", material(bundle))
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_every_development_case_is_read_without_loss(cases):
    for path in sorted(Path(cases).iterdir())[::30]:
        lines = sum(gzip.decompress(p.read_bytes()).count(b"\n") for p in path.glob("logs/*.gz"))
        collected = material(path)
        assert collected.coverage[0].fetched == lines
        assert [(row.unparsed, row.duplicates, row.error) for row in collected.coverage] == [(0, 0, None)] * 3
        assert write_otlp(collected.spans).count(b'"spanId"') == collected.spans.num_rows
