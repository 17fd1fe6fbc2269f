"""The test services are the real thing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests import services


def test_elasticsearch_answers_with_the_version_that_the_client_is_made_for(elasticsearch_url: str) -> None:
    from elasticsearch import Elasticsearch

    with Elasticsearch(elasticsearch_url) as client:
        assert client.info()["version"]["number"].startswith("9.5.")


def test_elasticsearch_finds_what_was_put_into_it(elasticsearch_url: str) -> None:
    from elasticsearch import Elasticsearch

    index = f"test-services-{os.getpid()}"
    with Elasticsearch(elasticsearch_url) as client:
        client.index(index=index, id="1", document={"message": "支付失败 payment failed"}, refresh=True)
        try:
            hits = client.search(index=index, query={"match": {"message": "failed"}})["hits"]["hits"]
        finally:
            client.indices.delete(index=index)
    assert [hit["_id"] for hit in hits] == ["1"]


def test_postgresql_answers_a_query(postgresql_url: str) -> None:
    import psycopg

    with psycopg.connect(postgresql_url) as connection:
        assert connection.execute("SELECT 1, '支付'").fetchone() == (1, "支付")


def test_postgresql_refuses_a_wrong_password(postgresql_url: str) -> None:
    import psycopg

    before, _, after = postgresql_url.partition("@")
    wrong = f"{before[:-4]}nope@{after}"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_sqlalchemy_reaches_postgresql_by_the_plain_address(postgresql_url: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(postgresql_url)
    try:
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text("SELECT current_setting('server_encoding')")).scalar() == "UTF8"
    finally:
        engine.dispose()


def test_mariadb_answers_a_query(mariadb_url: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(mariadb_url)
    try:
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT 1, '支付'").one() == (1, "支付")
            assert engine.dialect.is_mariadb
    finally:
        engine.dispose()


@pytest.mark.parametrize("fixture", ["elasticsearch_url", "postgresql_url", "mariadb_url", "jaeger_url"])
def test_a_service_listens_on_loopback_only(fixture: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(fixture)
    assert "@127.0.0.1:" in url or url.startswith("http://127.0.0.1:")
    port = int(url.rpartition(":")[2].split("/")[0])
    tables = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    listening = [
        row[1].rpartition(":")[0]
        for table in tables
        for row in (line.split() for line in table.read_text(encoding="ascii").splitlines()[1:])
        if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port
    ]
    # 127.0.0.1 as the kernel writes it: by itself, and inside an IPv6 address.
    assert set(listening) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert listening or not tables


def test_a_note_of_a_running_service_is_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "STATE", tmp_path / "state")
    service = services.Running("postgresql", "postgresql://postgres:secret@127.0.0.1:1/postgres", "data")
    services.remember(service)
    assert services.remembered("postgresql") == service
    assert stat.S_IMODE((tmp_path / "state" / "postgresql.json").stat().st_mode) == 0o600
    services.forget("postgresql")
    assert services.remembered("postgresql") is None


def test_a_broken_note_is_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "STATE", tmp_path)
    (tmp_path / "elasticsearch.json").write_text('{"name": "elastic', encoding="ascii")
    assert services.remembered("elasticsearch") is None


def test_tests_that_need_a_service_can_be_left_out_by_its_name() -> None:
    call = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", "-m", "not mariadb"]
    done = subprocess.run([*call, __file__], capture_output=True, text=True, check=False)
    assert "test_postgresql_answers_a_query" in done.stdout, done.stdout
    assert "test_mariadb_answers_a_query" not in done.stdout
