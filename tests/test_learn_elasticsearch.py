"""Elasticsearch as an archive: what is learnt from a source's stretches of time is what is learnt from files of the same lines."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from elasticsearch import Elasticsearch, helpers

from cli import commands
from pipeline.learning import units
from pipeline.learning.units import units_of_source
from tests.learn_samples import MONDAY, content, document, learnt, write
from tests.test_learn import STORY


@pytest.fixture
def indexed(elasticsearch_url: str, home: Path) -> Iterator[Path]:
    """The story in an index, and a configuration that names it."""
    name = f"test-learn-{time.time_ns()}"
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(
            index=name,
            mappings={"properties": {"@timestamp": {"type": "date"}, "service.name": {"type": "keyword"}}},
        )
        helpers.bulk(client, ({"_index": name, "_source": document(*row)} for row in STORY), refresh=True)
        for mapping in ("auto", "ecs"):
            table = f'[defaults.sources.logs]\nkind = "elasticsearch"\nurl = "{elasticsearch_url}"\nlogs = ["{name}"]\n'
            (home / f"{mapping}.toml").write_text(f'{table}mapping = "{mapping}"\n', encoding="utf-8")
        yield home
        client.indices.delete(index=name)


@pytest.mark.parametrize("mapping", ["auto", "ecs"])
def test_a_source_teaches_what_files_teach(indexed: Path, mapping: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(units, "_LINES", 400)
    learnt(indexed / "files", write(indexed / "a.parquet", STORY))
    span = ("--from", MONDAY.isoformat(), "--to", (MONDAY + timedelta(days=4)).isoformat())
    config = indexed / f"{mapping}.toml"
    arguments = ["learn", "--source", "logs", *span, "--config", str(config), "--out", str(indexed / "source")]
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code == 0, done.output
    made = content(indexed / "source")
    # Bytes of messages are counted alike, but for nothing that was not read.
    assert made == content(indexed / "files")
    found = units_of_source("logs", MONDAY, MONDAY + timedelta(days=4), config=config)
    assert len(found) > 5
    assert all(a.end == b.start for a, b in pairwise(found))
    assert "http" not in str(found)


def test_a_source_that_is_gone_is_a_dead_part_or_an_error_before(indexed: Path):
    config = indexed / "dead.toml"
    config.write_text(
        '[defaults.sources.logs]\nkind = "elasticsearch"\nurl = "http://127.0.0.1:9"\nlogs = ["x"]\ntimeout = 1\nretries = 0\n',
        encoding="utf-8",
    )
    span = ["--from", "2026-03-02", "--to", "2026-03-03"]
    done = CliRunner().invoke(
        commands, ["learn", "--source", "logs", *span, "--config", str(config), "--out", str(indexed / "out")]
    )
    assert done.exit_code == 5, done.output
    assert not (indexed / "out").exists()
    named = CliRunner().invoke(commands, ["learn", "--source", "other", *span, "--config", str(config), "--out", "x"])
    assert (named.exit_code, "there is no source 'other'" in named.stderr) == (2, True)


def test_a_source_that_refuses_the_login_is_told_as_take_tells_it(home: Path):
    """Exit code 4, with what to check, and no catalogue."""
    with refusing() as url:
        config = home / "refused.toml"
        table = f'kind = "elasticsearch"\nurl = "{url}"\nlogs = ["x"]\nusername = "u"\npassword = "${{WRONG}}"\nretries = 0\n'
        config.write_text(f"[defaults.sources.logs]\n{table}", encoding="utf-8")
        span = ["--from", "2026-03-02", "--to", "2026-03-03"]
        arguments = ["learn", "--source", "logs", *span, "--config", str(config), "--out", str(home / "out")]
        done = CliRunner().invoke(commands, arguments, env={"WRONG": "pass-4711"})
    assert done.exit_code == 4, done.output
    assert "refused the login (401)" in done.stderr
    assert "pass-4711" not in done.output
    assert not (home / "out").exists()


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """A server that answers as an Elasticsearch does to a wrong password."""
    body = b'{"error":{"type":"security_exception","reason":"unable to authenticate user [u]"},"status":401}'

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
