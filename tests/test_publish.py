"""Publishing into a real node; refusals that a node without security cannot give come from loopback servers."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli import commands
from pipeline.commands.setting_up import examples_folder
from pipeline.errors import NotPublished, Refused, TargetUnreachable, UsageError
from pipeline.publish.documents import LAYOUT, documents_of, mappings, snapshot_in, template
from pipeline.publish.options import PublishOptions
from pipeline.publish.outcome import Published
from pipeline.publish.publishing import probe, publish
from pipeline.run import take_snapshot
from pipeline.settings import Settings
from pipeline.sources import open_bundle
from pipeline.tickets.file import find_ticket
from snapshots.model import Finding, ProblemSnapshot, Text, canonical_bytes, with_id
from tests.services import free_port
from tests.snapshots_samples import severity

ROOT = Path(__file__).resolve().parent.parent
SECRET = "s3cret-Pa55"
PRODUCT = {"x-elastic-product": "Elasticsearch", "content-type": "application/json"}
_numbers = itertools.count()


@pytest.fixture(scope="session")
def taken() -> list[ProblemSnapshot]:
    """The snapshots of the bundled examples."""
    found = []
    for path in sorted(examples_folder().glob("*/ticket.json")):
        ticket, bundle = find_ticket(str(path.parent))
        source = open_bundle(bundle, zone=ticket.created_at.tzinfo)
        found.append(take_snapshot(ticket, [source], Settings()).snapshot)
        source.close()
    return found


@pytest.fixture(scope="session")
def client(elasticsearch_url: str) -> Iterator[Any]:
    from elasticsearch import Elasticsearch

    with Elasticsearch(elasticsearch_url, request_timeout=60) as opened:
        yield opened


@pytest.fixture
def index(client: Any) -> Iterator[str]:
    """The name of an index that is not there yet; it, its template and what begins with its name are gone after the test."""
    name = f"test-publish-{next(_numbers)}-{time.time_ns()}"
    yield name
    names = [one["index"] for one in client.cat.indices(index=f"{name}*", format="json", expand_wildcards="open")]
    if names:
        client.indices.put_settings(index=",".join(names), settings={"index.blocks.read_only": None})
        client.indices.delete(index=",".join(names))
    client.options(ignore_status=404).indices.delete_index_template(name=f"{name}*")


@pytest.fixture
def options(elasticsearch_url: str, index: str) -> PublishOptions:
    return PublishOptions(url=elasticsearch_url, index=index)


def configure(url: str, index: str, extra: str = "") -> None:
    text = f'[defaults.publish]\nurl = "{url}"\nindex = "{index}"\ntimeout = "2s"\nretries = 0\n{extra}\n'
    Path("problem-snapshot.toml").write_text(text, encoding="utf-8")


def run(*args: Any) -> Result:
    return CliRunner().invoke(commands, [str(arg) for arg in args], prog_name="problem-snapshot")


def program(*args: Any) -> subprocess.CompletedProcess[str]:
    """The program as it is called, with its exit code."""
    return subprocess.run(
        [sys.executable, "-c", "from cli import main; main()", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
    )


def there(client: Any, index: str) -> dict[str, dict[str, Any]]:
    """Every document of the index by its id, `_version` and `_index` among its fields."""
    client.indices.refresh(index=index)
    found = client.search(index=index, size=1_000, version=True)["hits"]["hits"]
    return {hit["_id"]: {**hit["_source"], "_version": hit["_version"], "_index": hit["_index"]} for hit in found}


def counts(result: Published) -> tuple[int, int, int, int, int]:
    return result.created, result.updated, result.unchanged, result.removed, result.failed


def size(*snapshots: ProblemSnapshot) -> int:
    return sum(1 + len(one.findings) for one in snapshots)


# ---- the documents


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, value


def mapped(properties: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, kind in properties.items():
        here = f"{path}.{name}".lstrip(".")
        if "properties" in kind:
            yield from mapped(kind["properties"], here)
        else:
            yield here


def test_every_field_that_is_written_has_a_type(taken: list[ProblemSnapshot]) -> None:
    """None is left to be kept without being found."""
    written = {path for one in taken for document in documents_of(one) for path, _ in leaves(document.source)}
    assert written <= set(mapped(mappings()["properties"]))
    assert {"problem.fault_class", "problem.evidence.doc_id", "order.id", "trace.id", "service.name"} <= written


def test_equal_snapshots_give_equal_documents_and_say_no_time_of_day(taken: list[ProblemSnapshot]) -> None:
    """Times are the ticket's, the window's and the records'."""
    for one in taken:
        again = msgspec.json.decode(canonical_bytes(one), type=ProblemSnapshot)
        assert list(documents_of(one)) == list(documents_of(again))
        times = {
            value for document in documents_of(one) for path, value in leaves(document.source) if path == "@timestamp"
        }
        assert len(times) == 1
        assert next(iter(times)).endswith("Z")


def test_only_what_the_snapshot_holds_is_written(taken: list[ProblemSnapshot]) -> None:
    """It is redacted there, so nothing comes back to light."""
    allowed = {"problem-snapshot", "problem_snapshot", "problem_snapshot.snapshot", "problem_snapshot.finding", "info"}
    allowed |= {"state", "enrichment", "api", "configuration", "8.11.0"}
    for one in taken:
        held = {value for _, value in leaves(msgspec.to_builtins(one)) if isinstance(value, str)}
        held |= {f"{one.snapshot_id}:{finding.id}" for finding in one.findings}
        for document in documents_of(one):
            for path, value in leaves(document.source):
                if isinstance(value, str) and path not in {"problem.document", "problem.published.sha256"}:
                    is_time = path in {
                        "@timestamp",
                        "event.start",
                        "event.end",
                        "problem.anchor",
                        "problem.evidence.at",
                    }
                    assert is_time or value in held | allowed, path


def test_a_time_that_is_none_is_left_out(taken: list[ProblemSnapshot]) -> None:
    """The node would refuse the whole document for it."""
    ticket = msgspec.structs.replace(taken[0].ticket, created_at="yesterday")
    own = documents_of(msgspec.structs.replace(taken[0], ticket=ticket)).own
    assert "@timestamp" not in own.source
    assert own.source["ticket"]["id"] == ticket.id


# ---- the options


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "say where"),
        ({"url": "http://a:1", "source": "logs"}, "not both"),
        ({"url": "a:9200"}, "url must look like"),
        ({"url": "http://a:1", "username": "u"}, "username and password go together"),
        *(
            ({"url": "http://a:1", "index": name}, "is no name of one index")
            for name in ("A", "a*", "a,b", "", "-a", ".a", "a b", "c:a")
        ),
    ],
)
def test_options_that_cannot_work_are_refused(given: dict[str, Any], sentence: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ValueError, match=sentence):
        PublishOptions(**given)


def test_options_never_show_a_secret() -> None:
    """Not in their text, nor in that of the settings around them."""
    shown = PublishOptions(url=f"http://u:{SECRET}@a:1", api_key=SECRET)
    assert SECRET not in f"{shown!r} {Settings(publish=shown)!r} {shown.__rich_repr__()}"


# ---- writing


def test_publishing_twice_changes_nothing(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """Each document is there once, under its id, and untouched by the second time."""
    first = publish(taken, options)
    assert counts(first) == (size(*taken), 0, 0, 0, 0)
    assert [one.outcome for one in first.snapshots] == ["created"] * len(taken)
    before = there(client, index)
    assert set(before) == {document.id for one in taken for document in documents_of(one)}
    second = publish(taken, options)
    assert counts(second) == (0, 0, size(*taken), 0, 0)
    assert {one.outcome for one in second.snapshots} == {"unchanged"}
    assert there(client, index) == before
    assert {document["_version"] for document in before.values()} == {1}


def test_the_snapshot_comes_back_byte_for_byte(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """Out of its own document."""
    publish(taken, options)
    found = there(client, index)
    for one in taken:
        assert canonical_bytes(snapshot_in(found[one.snapshot_id])) == canonical_bytes(one)


def test_what_is_published_can_be_found_by_its_fields(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """By class with its probability, by a cited record, by order, and by words in both languages."""
    publish(taken, options)
    client.indices.refresh(index=index)

    def ids(query: dict[str, Any]) -> set[str]:
        return {hit["_id"] for hit in client.search(index=index, query=query, size=1_000)["hits"]["hits"]}

    one = taken[0]
    best = one.diagnosis.candidates[0]
    both = [{"term": {"problem.candidates.fault_class": best.fault_class}}]
    both.append({"range": {"problem.candidates.probability": {"gte": best.probability}}})  # type: ignore[dict-item]
    assert one.snapshot_id in ids({"nested": {"path": "problem.candidates", "query": {"bool": {"filter": both}}}})
    cited = next(finding for finding in one.findings if finding.evidence and finding.evidence[0].doc_id)
    record = {"term": {"problem.evidence.doc_id": cited.evidence[0].doc_id}}
    assert f"{one.snapshot_id}:{cited.id}" in ids(record)
    assert {one.snapshot_id} <= ids({"term": {"order.id": one.scope.focus_orders[0]}})
    assert one.snapshot_id in ids({"match_phrase": {"message": one.diagnosis.summary.en}})
    assert one.snapshot_id in ids({"match_phrase": {"message_zh": one.diagnosis.summary.zh}})
    assert one.snapshot_id in ids(
        {"range": {"@timestamp": {"gte": one.ticket.created_at, "lte": one.ticket.created_at}}}
    )


def as_another_layout(client: Any, index: str, snapshot: ProblemSnapshot, layout: int) -> None:
    """The documents as a version of the program with that layout would have left them."""
    client.indices.create(index=index, mappings=mappings())
    for document in documents_of(snapshot):
        fields = {**document.source, "message": f"layout {layout}"}
        problem = {**document.source["problem"], "published": {"layout": layout, "sha256": "other"}}
        client.index(index=index, id=document.id, document={**fields, "problem": problem})


def test_documents_of_an_older_version_are_replaced_and_stale_findings_taken_away(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """What the older version had listed and this one does not have is gone."""
    one = taken[0]
    more = Finding(id="F99", kind="old", statement=Text(en="old", zh="旧"))
    older = msgspec.structs.replace(one, findings=[*one.findings, more])
    as_another_layout(client, index, older, LAYOUT - 1)
    result = publish([one], options)
    assert counts(result) == (0, size(one), 0, 1, 0)
    assert result.snapshots[0].outcome == "updated"
    found = there(client, index)
    assert set(found) == {document.id for document in documents_of(one)}
    assert found[one.snapshot_id]["message"] == one.diagnosis.summary.en
    assert counts(publish([one], options)) == (0, 0, size(one), 0, 0)


def test_documents_of_a_newer_version_are_left_alone(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """And that is said."""
    as_another_layout(client, index, taken[0], LAYOUT + 1)
    before = there(client, index)
    result = publish([taken[0]], options)
    assert counts(result) == (0, 0, size(taken[0]), 0, 0)
    assert "newer version" in " ".join(result.notes)
    assert there(client, index) == before


def test_a_snapshot_that_was_filled_in_by_the_desk_is_written_again(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """Only the document that differs is."""
    publish([taken[0]], options)
    filled = msgspec.structs.replace(taken[0], severity=severity("P1"))
    assert counts(publish([filled], options)) == (0, 1, len(filled.findings), 0, 0)
    assert there(client, index)[filled.snapshot_id]["problem"]["severity"] == "P1"


def test_a_publish_that_was_cut_off_is_completed(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """Findings without their snapshot are found as they are; a finding that is lost is written anew."""
    publish([taken[0]], options)
    own, *_, last = documents_of(taken[0]).own, *documents_of(taken[0]).findings
    client.delete(index=index, id=own.id)
    assert counts(publish([taken[0]], options)) == (1, 0, len(taken[0].findings), 0, 0)
    client.delete(index=index, id=last.id)
    result = publish([taken[0]], options)
    assert counts(result) == (1, 0, len(taken[0].findings), 0, 0)
    assert result.snapshots[0].outcome == "updated"


def test_many_at_once_end_with_one_document_each(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """Nothing fails, nothing is there twice, and together they created each document once."""
    begin = threading.Barrier(8)

    def one(_: int) -> Published:
        begin.wait()
        return publish(taken, options)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(8)))
    assert sum(result.failed for result in results) == 0
    assert not [done for result in results for done in result.snapshots if done.outcome == "failed"]
    assert sum(result.created for result in results) == size(*taken)
    found = there(client, index)
    assert set(found) == {document.id for snapshot in taken for document in documents_of(snapshot)}
    assert {document["_version"] for document in found.values()} == {1}


def test_two_versions_of_one_snapshot_at_once_end_whole(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """Whichever was last: the findings there are those that the snapshot's document lists."""
    one = taken[0]
    shorter = msgspec.structs.replace(one, findings=one.findings[:-2])
    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda s: publish([s], options), [one, shorter]))
        assert sum(result.failed for result in results) == 0
        listed = there(client, index)[one.snapshot_id]["problem"]["finding_ids"]
        assert set(listed) <= set(there(client, index))
        publish([shorter], options)
        assert set(there(client, index)) == {document.id for document in documents_of(shorter)}


def test_more_snapshots_than_one_request_takes(
    taken: list[ProblemSnapshot], options: PublishOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go in several batches, in order."""
    monkeypatch.setattr("pipeline.publish.writing._BATCH", 3)
    many = [
        with_id(msgspec.structs.replace(one, ticket=msgspec.structs.replace(one.ticket, id=f"TK-{n}-{one.ticket.id}")))
        for n in range(4)
        for one in taken
    ]
    result = publish(iter(many), options)
    assert [done.snapshot_id for done in result.snapshots] == [one.snapshot_id for one in many]
    assert counts(result) == (size(*many), 0, 0, 0, 0)


def test_a_document_that_the_node_refuses_leaves_the_others_be(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """The reason is told with the id, and the snapshot's own document is not written without its findings."""
    long = Finding(id="F" * 600, kind="x", statement=Text(en="x", zh="x"))
    bad = msgspec.structs.replace(taken[0], findings=[*taken[0].findings, long])
    result = publish([bad, taken[1]], options)
    assert [done.outcome for done in result.snapshots] == ["failed", "created"]
    assert "answered 400: Validation Failed" in result.snapshots[0].problem
    assert result.failed_snapshots == 1
    assert set(there(client, index)) == {document.id for document in documents_of(taken[1])}


def test_a_finding_that_the_node_refuses_is_told_and_its_snapshot_held_back(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """Somebody gave one of our fields another type, and says that it is ours."""
    fields = mappings()
    fields["properties"]["problem"]["properties"]["finding"]["properties"]["kind"] = {"type": "long"}
    client.indices.create(index=index, mappings=fields)
    one, none = taken[0], msgspec.structs.replace(taken[1], findings=[])
    result = publish([one, none], options)
    assert [done.outcome for done in result.snapshots] == ["failed", "created"]
    assert result.failed == len(one.findings)
    assert "problem.finding.kind" in result.snapshots[0].problem
    assert result.snapshots[0].problem.startswith(f"{one.snapshot_id}:")
    assert set(there(client, index)) == {none.snapshot_id}


# ---- the template and the index


def meta(client: Any, name: str) -> tuple[int | None, Any]:
    one = client.indices.get_index_template(name=name)["index_templates"][0]["index_template"]
    return one.get("version"), one.get("_meta")


def test_the_template_is_written_once_and_brings_its_types(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """An index that rolls over from the name has them as well."""
    publish([taken[0]], options)
    assert meta(client, index)[0] == LAYOUT
    fields = client.indices.get_mapping(index=index)[index]["mappings"]
    assert set(mapped(fields["properties"])) == set(mapped(mappings()["properties"]))
    assert fields["properties"]["problem"]["properties"]["candidates"]["type"] == "nested"
    assert fields["_meta"]["layout"] == LAYOUT
    client.indices.create(index=f"{index}-000002")
    assert client.indices.get_mapping(index=f"{index}-000002")[f"{index}-000002"]["mappings"] == fields


@pytest.mark.parametrize("version", [LAYOUT - 1, LAYOUT + 1], ids=["older", "newer"])
def test_only_an_older_template_is_overwritten(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str, version: int
) -> None:
    """A newer version of the program knows better."""
    body = {key.removeprefix("_"): value for key, value in template(index).items()}
    client.indices.put_index_template(name=index, **{**body, "version": version})
    publish([taken[0]], options)
    assert meta(client, index)[0] == max(version, LAYOUT)


def test_somebody_elses_template_is_left_alone(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """The index gets our types all the same, and it is said."""
    client.indices.put_index_template(name=index, index_patterns=[index], priority=7, template={})
    result = publish([taken[0]], options)
    assert meta(client, index) == (None, None)
    assert "somebody else's" in " ".join(result.notes)
    fields = client.indices.get_mapping(index=index)[index]["mappings"]
    assert set(mapped(mappings()["properties"])) == set(mapped(fields["properties"]))


def test_an_index_without_our_fields_gets_them(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """An index that was made by hand or by an older version."""
    client.indices.create(index=index, mappings={"properties": {"@timestamp": {"type": "date"}}})
    publish([taken[0]], options)
    fields = client.indices.get_mapping(index=index)[index]["mappings"]
    assert set(mapped(mappings()["properties"])) == set(mapped(fields["properties"]))
    assert fields["_meta"]["layout"] == LAYOUT


def test_an_index_whose_fields_are_of_other_types_is_told(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """With the field, and nothing is written."""
    client.indices.create(index=index, mappings={"properties": {"ticket": {"properties": {"id": {"type": "long"}}}}})
    with pytest.raises(NotPublished, match=r"ticket\.id.*publish to another index"):
        publish([taken[0]], options)
    assert there(client, index) == {}


def test_a_data_stream_is_refused_with_what_to_do(
    taken: list[ProblemSnapshot], elasticsearch_url: str, client: Any
) -> None:
    """Be it there, or only a template that would make it one; nothing is written to it."""
    # The node cannot delete a data stream, so there is one for all sessions.
    name = "test-publish-stream"
    client.indices.put_index_template(name=name, index_patterns=[name, f"{name}-to-be"], data_stream={}, priority=900)
    client.bulk(index=name, operations=[{"create": {}}, {"@timestamp": "2026-01-01T00:00:00Z"}], refresh=True)
    before = client.count(index=name)["count"]
    for index in (name, f"{name}-to-be"):
        with pytest.raises(UsageError, match=r"is a data stream.*Name an index, such as problem-snapshots"):
            publish([taken[0]], PublishOptions(url=elasticsearch_url, index=index, template=False))
    assert client.count(index=name)["count"] == before


def test_an_alias_is_written_through_where_it_says_which_index(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """After a rollover, what is in the older index is found and changed there, and not written twice."""
    alias = f"{index}-alias"
    named = msgspec.structs.replace(options, index=alias)
    client.indices.create(index=f"{index}-000001", aliases={alias: {"is_write_index": True}})
    assert counts(publish([taken[0]], named)) == (size(taken[0]), 0, 0, 0, 0)
    client.indices.rollover(alias=alias, new_index=f"{index}-000002")
    filled = msgspec.structs.replace(taken[0], severity=severity("P1"))
    assert counts(publish([filled, taken[1]], named)) == (size(taken[1]), 1, len(filled.findings), 0, 0)
    found = there(client, alias)
    assert len(found) == size(filled, taken[1])
    assert found[filled.snapshot_id]["_index"].endswith("-000001")
    assert found[taken[1].snapshot_id]["_index"].endswith("-000002")


def test_an_alias_without_an_index_to_write_to_is_refused(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """Of two indices of which none is named, and of one that may not be written."""
    alias = f"{index}-alias"
    named = msgspec.structs.replace(options, index=alias)
    client.indices.create(index=f"{index}-a", aliases={alias: {"is_write_index": False}})
    with pytest.raises(UsageError, match="without an index to write to; set is_write_index"):
        publish([taken[0]], named)
    client.indices.create(index=f"{index}-b", aliases={alias: {"is_write_index": False}})
    with pytest.raises(UsageError, match=f"an alias of {index}-a, {index}-b without an index to write to"):
        publish([taken[0]], named)


def test_an_index_that_is_closed_for_writing_is_told(
    taken: list[ProblemSnapshot], options: PublishOptions, client: Any, index: str
) -> None:
    """Also by doctor's question; it is no matter of credentials."""
    publish([taken[0]], options)
    client.indices.put_settings(index=index, settings={"index.blocks.read_only": True})
    filled = msgspec.structs.replace(taken[0], severity=severity("P1"))
    result = publish([filled], options)
    assert result.snapshots[0].outcome == "failed"
    assert "is closed for writing" in result.snapshots[0].problem
    with pytest.raises(NotPublished, match="is closed for writing"):
        probe(options)
    assert counts(publish([taken[0]], options)) == (0, 0, size(taken[0]), 0, 0)


# ---- what refuses, and what is away


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], tuple[int, bytes]]) -> Iterator[str]:
    """A loopback HTTP server whose answers are made by `answer`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            status, data = answer(self)
            self.send_response(status)
            for name, value in {**PRODUCT, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = reply  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refusal(status: int, reason: str) -> tuple[int, bytes]:
    return status, json.dumps({"error": {"type": "security_exception", "reason": reason}, "status": status}).encode()


def unauthorized(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
    """As Elasticsearch answers a wrong password, quoting what it was given."""
    return refusal(401, f"unable to authenticate {SECRET} {request.headers.get('authorization')}")


def read_only(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
    """As Elasticsearch answers an account that may only read: whole requests 403, of a bulk each document."""
    if request.path.startswith("/_bulk"):
        item = {
            "create": {"_id": "x", "status": 403, "error": {"type": "security_exception", "reason": f"no {SECRET}"}}
        }
        return 200, json.dumps({"errors": True, "took": 1, "items": [item] * 1_000}).encode()
    if request.command == "POST" and "/_mget" in request.path:
        return 200, b'{"docs": []}'
    return refusal(403, f"action is unauthorized for {SECRET}")


LOGINS = {
    "api_key": {"api_key": SECRET},
    "password": {"username": "u", "password": SECRET},
}


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
def test_a_wrong_password_is_told_and_never_shown(taken: list[ProblemSnapshot], login: dict[str, str]) -> None:
    """The test node has no security: a loopback server answers 401 as Elasticsearch does."""
    with serving(unauthorized) as url, pytest.raises(Refused, match=r"refused the login \(401\)") as caught:
        publish([taken[0]], PublishOptions(url=url, **login))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_account_that_may_only_read_is_told_what_it_lacks(taken: list[ProblemSnapshot]) -> None:
    """Whether the whole request is forbidden or each document of it."""
    one = msgspec.structs.replace(taken[0], findings=[])

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        status, data = read_only(request)
        if request.path.startswith("/_bulk"):
            answered = json.loads(data)
            data = json.dumps({**answered, "items": answered["items"][:1]}).encode()
        return status, data

    with serving(answer) as url, pytest.raises(Refused, match=r"lacks the right to write documents \(403\)") as caught:
        publish([one], PublishOptions(url=url, api_key=SECRET))
    assert SECRET not in str(caught.value)
    with serving(answer) as url, pytest.raises(Refused, match="lacks the right to write documents"):
        probe(PublishOptions(url=url, api_key=SECRET))


def test_a_node_that_is_away_is_told(taken: list[ProblemSnapshot]) -> None:
    """Nobody listens there."""
    options = PublishOptions(url=f"http://127.0.0.1:{free_port()}", retries=1)
    with pytest.raises(TargetUnreachable, match=r"cannot be reached: .*check the address"):
        publish([taken[0]], options)


def test_what_is_not_elasticsearch_is_told(taken: list[ProblemSnapshot]) -> None:
    """A web server that answers everything with a page."""
    with serving(lambda _: (200, b"<html>")) as url, pytest.raises(NotPublished, match="is it Elasticsearch"):
        publish([taken[0]], PublishOptions(url=url))


def test_a_node_that_is_busy_for_a_moment_is_asked_again(
    taken: list[ProblemSnapshot], elasticsearch_url: str, index: str, client: Any
) -> None:
    """A gateway answers 503 and 429 to every other request before it lets one through."""
    from urllib.parse import urlsplit

    numbers = itertools.count()
    place = urlsplit(elasticsearch_url).netloc

    class Gateway(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            import http.client

            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            number = next(numbers)
            if number % 2 == 0:
                status, data, kind = (503 if number % 4 else 429), b'{"error": "busy"}', "application/json"
            else:
                node = http.client.HTTPConnection(place)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                node.request(self.command, self.path, body, headers)
                answer = node.getresponse()
                status, data, kind = answer.status, answer.read(), answer.headers["content-type"]
                node.close()
            self.send_response(status)
            for name, value in {**PRODUCT, "content-type": kind, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = reply  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        result = publish([taken[0]], PublishOptions(url=url, index=index))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert counts(result) == (size(taken[0]), 0, 0, 0, 0)
    assert len(there(client, index)) == size(taken[0])


# ---- the command line


def example() -> Path:
    return min(examples_folder().glob("*/ticket.json")).parent


@pytest.mark.usefixtures("home")
def test_take_publishes_and_publish_says_unchanged(elasticsearch_url: str, index: str, client: Any) -> None:
    """What take wrote, publish finds as it is, by ticket, by id and of the whole store; named twice, it is one."""
    configure(elasticsearch_url, index)
    result = run("take", example() / "ticket.json", "--publish")
    assert result.exit_code == 0, result.output
    assert f"Published: {index} at {elasticsearch_url}" in result.stderr
    before = there(client, index)
    ticket = json.loads((example() / "ticket.json").read_bytes())["id"]
    own = json.loads(run("show", ticket, "-o", "json").stdout)["snapshot_id"]
    for args in ([ticket], [own, ticket], ["--all"]):
        again = run("publish", *args)
        assert again.exit_code == 0, again.output
        assert [line.split() for line in again.stdout.splitlines()[1:]] == [[own, ticket, "unchanged"]]
    assert there(client, index) == before


@pytest.mark.usefixtures("home")
def test_a_snapshot_that_cannot_be_published_is_kept_and_shown() -> None:
    """It exits 8; the same call to publish says why by its own exit code."""
    configure(f"http://127.0.0.1:{free_port()}", "problem-snapshots")
    ticket = json.loads((example() / "ticket.json").read_bytes())["id"]
    done = program("take", example() / "ticket.json", "--publish", "-o", "json", "--exit-code")
    assert done.returncode == 8
    assert json.loads(done.stdout)["ticket"]["id"] == ticket
    assert "Not published: problem-snapshots at http://127.0.0.1" in done.stderr
    assert "Stored: " in done.stderr
    assert program("show", ticket).returncode == 0
    assert program("publish", ticket).returncode == 5
    with serving(unauthorized) as url:
        configure(url, "problem-snapshots", f'api_key = "{SECRET}"')
        for args, code in ((["publish", ticket], 4), (["take", example() / "ticket.json", "--publish"], 8)):
            done = program(*args)
            assert done.returncode == code
            assert "refused the login (401)" in done.stderr
            assert SECRET not in done.stdout + done.stderr


@pytest.mark.usefixtures("home")
def test_an_index_closed_for_writing_exits_8(elasticsearch_url: str, index: str, client: Any) -> None:
    """Of publish and of take alike."""
    client.indices.create(index=index, settings={"index.blocks.write": True}, mappings=mappings())
    configure(elasticsearch_url, index, "template = false")
    assert run("take", example() / "ticket.json").exit_code == 0
    result = run("publish", "--all")
    assert result.exit_code == 8
    assert "is closed for writing" in result.stderr
    assert "failed" in result.stdout
    assert run("take", example() / "ticket.json", "--publish").exit_code == 8


@pytest.mark.usefixtures("home")
def test_a_dry_run_prints_the_documents_and_sends_nothing() -> None:
    """Without a configuration as well; each line is one document."""
    run("take", example() / "ticket.json")
    result = run("publish", "--all", "--dry-run")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line["_index"] for line in lines} == {"problem-snapshots"}
    assert [line["_source"]["event"]["id"] for line in lines] == [line["_id"] for line in lines]
    assert (
        canonical_bytes(snapshot_in(lines[-1]["_source"])).decode()
        == run("show", lines[-1]["_id"], "-o", "json").stdout
    )


def test_publish_says_what_it_lacks(home: Path) -> None:
    """A place, or which snapshots; a damaged one of the store is told beside the rest."""
    assert "name the snapshots" in run("publish").stderr
    assert "name the snapshots" in run("publish", "TK-1", "--all").stderr
    assert "nothing says where to publish" in run("publish", "--all").stderr
    assert run("take", example() / "ticket.json", "--publish").exit_code == 2
    run("take", example() / "ticket.json")
    damaged = home / "store" / "snapshots" / "TK-0" / "ps-0.json"
    damaged.parent.mkdir()
    damaged.write_bytes(b"{")
    result = run("publish", "--all", "--dry-run")
    assert result.exit_code == 8
    assert "ps-0.json: damaged" in result.stderr


@pytest.mark.usefixtures("home")
def test_doctor_says_whether_snapshots_can_be_published(elasticsearch_url: str, index: str, client: Any) -> None:
    """Before the first, after it, where it may not, and where nobody listens; it writes nothing."""
    configure(elasticsearch_url, index)
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert "no index" in result.stdout
    assert "the first publish writes version" in result.stdout
    assert not client.indices.exists(index=index)
    run("take", example() / "ticket.json", "--publish")
    before = there(client, index)
    result = run("doctor")
    assert f"index template {index}: version {LAYOUT}" in result.stdout
    assert f"{index}: may be written, {len(before):,} documents" in result.stdout
    assert there(client, index) == before
    with serving(unauthorized) as url:
        configure(url, index, f'api_key = "{SECRET}"')
        result = run("doctor")
        assert result.exit_code == 8
        assert "refused     publish" in result.stdout
        assert SECRET not in result.output
    configure(f"http://127.0.0.1:{free_port()}", index)
    result = run("doctor", "--timeout", "1s")
    assert result.exit_code == 8
    assert "unreachable publish" in result.stdout
    configure("nowhere", index)
    result = run("doctor")
    assert result.exit_code == 8
    assert "publish: url must look like" in result.stdout
