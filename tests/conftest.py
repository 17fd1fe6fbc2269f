"""What all tests share: the real services, the evaluation data, and the account of what was skipped for want of them.

A test that asks for `elasticsearch_url`, `postgresql_url`, `mariadb_url`, `jaeger_url`, `helpdesk_url`, `redmine_url`, `rt_url` or `prism_url` gets the address of a real service, started once per session
on loopback and stopped at its end, also after Ctrl-C. One started by `make services-up` is used instead and left
running, so give indices, tables and the like names of their own. Where a service cannot be had the test is skipped, by
name and count at the end of the run; with REQUIRE_SERVICES=1 it fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import hypothesis
import pytest

from tests import services
from tests.services import elasticsearch_node, helpdesk, jaeger, mariadb, postgresql, prism, redmine, rt, spark

ROOT = Path(__file__).resolve().parent.parent
MISSING = re.compile(r"Skipped: missing (?P<kind>service|data) (?P<name>[\w-]+): (?P<reason>.*)", re.DOTALL)
SKIPPED = pytest.StashKey[Counter[tuple[str, str, str]]]()

# A busy machine is no reason to fail, and a run is to be repeatable.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


def _terminated(*_: object) -> None:
    """Ends the session as Ctrl-C does, so that the services are stopped."""
    raise KeyboardInterrupt


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SKIPPED] = Counter()
    signal.signal(signal.SIGTERM, _terminated)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for a service carries its marker, so that `-m "not elasticsearch"` leaves it out."""
    for item in items:
        for name in ("elasticsearch", "postgresql", "mariadb", "jaeger", "helpdesk", "redmine", "rt", "prism"):
            if f"{name}_url" in getattr(item, "fixturenames", ()):
                item.add_marker(name)
        if "spark_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("spark")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and (match := MISSING.match(report.longrepr[2])):
        item.config.stash[SKIPPED][match["kind"], match["name"], match["reason"]] += 1
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for kind in ("service", "data"):
        missing = {(name, why): n for (which, name, why), n in sorted(config.stash[SKIPPED].items()) if which == kind}
        if missing:
            told = ", ".join(f"{name} ({why}): {n} test{'s' * (n != 1)}" for (name, why), n in missing.items())
            terminalreporter.write_line(f"skipped {kind if kind == 'data' else 'services'}: {told}", yellow=True)


def missing(name: str, reason: str) -> NoReturn:
    """Skips what needs the service `name`, or fails where services are required."""
    if os.environ.get("REQUIRE_SERVICES") == "1" and name not in services.OPTIONAL:
        pytest.fail(f"the service {name} is required and cannot be had: {reason}", pytrace=False)
    pytest.skip(f"missing service {name}: {reason}")


def _address(service: ModuleType) -> Iterator[str]:
    """The address of `service`: the one of `make services-up` if it runs, else one for this session only."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(services.running(service))
        except services.Unavailable as error:
            missing(service.NAME, str(error))
        yield url


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, a store of its own and an environment without anybody's settings."""
    from tests.flow_samples import nobodys_settings

    nobodys_settings(tmp_path, monkeypatch)
    monkeypatch.setenv("PROBLEM_SNAPSHOT_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.fixture(scope="session")
def elasticsearch_url() -> Iterator[str]:
    """The address of a real Elasticsearch node. Give indices names of their own, and delete them."""
    yield from _address(elasticsearch_node)


@pytest.fixture(scope="session")
def _postgresql_server() -> Iterator[str]:
    yield from _address(postgresql)


@pytest.fixture(scope="session")
def postgresql_url(_postgresql_server: str) -> Iterator[str]:
    """The address of an empty database on a real PostgreSQL server, this session's own, password included."""
    import psycopg

    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(_postgresql_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    yield f"{_postgresql_server.rpartition('/')[0]}/{name}"
    with psycopg.connect(_postgresql_server, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _jaeger_server() -> Iterator[str]:
    yield from _address(jaeger)


@pytest.fixture(scope="session")
def jaeger_url(_jaeger_server: str) -> str:
    """The address of a real Jaeger's query service. Give services and traces names of their own: they stay in it."""
    return _jaeger_server.split(maxsplit=1)[0]


@pytest.fixture(scope="session")
def jaeger_otlp_url(_jaeger_server: str) -> str:
    """Where that Jaeger takes spans by OTLP over HTTP."""
    return _jaeger_server.split()[1]


@pytest.fixture
def spark_cluster() -> Iterator[services.Running]:
    """A Spark master with two workers, this test's own, since it may kill one."""
    try:
        running = spark.start()
    except services.Unavailable as error:
        missing(spark.NAME, str(error))
    yield running
    spark.stop(running.data)


@pytest.fixture(scope="session")
def prism_url() -> Iterator[str]:
    """The addresses of a job server of Beam and of a pool of Python workers for it, with a space between them."""
    yield from _address(prism)


@pytest.fixture(scope="session")
def _mariadb_server() -> Iterator[str]:
    yield from _address(mariadb)


@pytest.fixture(scope="session")
def mariadb_url(_mariadb_server: str) -> Iterator[str]:
    """The address of an empty database on a real MariaDB server, this session's own, password included."""
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    name = f"test_{secrets.token_hex(6)}"
    engine = sqlalchemy.create_engine(_mariadb_server, poolclass=NullPool)
    with engine.connect() as admin:
        admin.exec_driver_sql(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    yield f"{_mariadb_server.rpartition('/')[0]}/{name}"
    with engine.connect() as admin:
        admin.exec_driver_sql(f"DROP DATABASE {name}")
    engine.dispose()


@pytest.fixture(scope="session")
def helpdesk_url() -> Iterator[str]:
    """A real django-helpdesk, as `tests.services.helpdesk.Desk` takes it. Tickets of others are in it, too."""
    yield from _address(helpdesk)


@pytest.fixture(scope="session")
def redmine_url() -> Iterator[str]:
    """A real Redmine, as `tests.services.redmine.Desk` takes it. Tickets of others are in it, too."""
    yield from _address(redmine)


@pytest.fixture(scope="session")
def rt_url() -> Iterator[str]:
    """A real Request Tracker with our scrips, as `tests.services.rt.Desk` takes it. Tickets of others are in it, too."""
    yield from _address(rt)


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of the payment incidents, one bundle per folder, which is kept beside the checkout."""
    folder = ROOT.parent / "shared" / "data" / "cases" / "dev"
    if not folder.is_dir():
        pytest.skip("missing data cases: no ../shared/data/cases/dev beside the checkout")
    return folder
