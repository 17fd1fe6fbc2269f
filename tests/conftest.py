"""What all tests share: the real services, the evaluation data, and the account of what was skipped for want of them.

A test that asks for `elasticsearch_url`, `postgresql_url`, `mariadb_url`, `jaeger_url`, `helpdesk_url`, `redmine_url`,
`rt_url` or `prism_url` gets the address of a real service, started once per session on loopback, also where several
processes share the tests, and stopped at its end, also after Ctrl-C. One started by `make services-up` is used instead
and left running, so give indices, tables and the like names of their own. Where a service cannot be had the test is
skipped, by name and count at the end of the run; with REQUIRE_SERVICES=1 it fails. `tests/side_by_side.py` says which
tests run beside which.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import hypothesis
import pytest

from tests import services, side_by_side
from tests.services import chromium as browser
from tests.services import elasticsearch_node, helpdesk, jaeger, mariadb, postgresql, prism, redmine, rt, spark

ROOT = Path(__file__).resolve().parent.parent
SERVICES = (elasticsearch_node, postgresql, mariadb, jaeger, helpdesk, redmine, rt, prism)
MISSING = re.compile(r"Skipped: missing (?P<kind>service|data) (?P<name>[\w-]+): (?P<reason>.*)", re.DOTALL)
SESSION = pytest.StashKey[Path]()

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


def shares(config: pytest.Config) -> bool:
    """Whether this is one of several processes that share the tests."""
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if shares(config):
        config.stash[SESSION] = Path(config.workerinput["session"])
        side_by_side.joins(config.stash[SESSION])
    else:
        config.stash[SESSION] = Path(tempfile.mkdtemp(prefix="problem-snapshot-tests-"))
        signal.signal(signal.SIGTERM, _terminated)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # Of a shell's background: what tests start would inherit it, and is sent Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A process that shares the tests finds the others' services in the session's folder."""
    node.workerinput["session"] = str(node.config.stash[SESSION])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return side_by_side.scheduler(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """After everything else the services are stopped; before, databases in them are dropped."""
    folder = session.config.stash[SESSION]
    if shares(session.config):
        try:
            return (yield)
        finally:
            side_by_side.leaves(folder)
    try:
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            side_by_side.end_workers(folder)
        return (yield)
    finally:
        try:
            services.stop_all(SERVICES, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """A test that asks for a service carries its marker, so that `-m "not elasticsearch"` leaves it out."""
    for item in items:
        for service in SERVICES:
            if f"{service.NAME}_url" in getattr(item, "fixturenames", ()):
                item.add_marker(service.NAME)
        if "spark_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("spark")
    yield
    # Afterwards: pytest orders tests by the parameters of their fixtures, too.
    items.sort(key=lambda item: side_by_side.rank(item.nodeid))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    if not shares(item.config):
        return (yield)
    alone, on = (one is not None and one.get_closest_marker("alone") is not None for one in (item, nextitem))
    with side_by_side.turn(item.config.stash[SESSION], alone=alone, on=on):
        return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = (report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    found = Counter(match.group("kind", "name", "reason") for why in reasons if (match := MISSING.match(why)))
    for kind in ("service", "data"):
        missing = {(name, why): n for (which, name, why), n in sorted(found.items()) if which == kind}
        if missing:
            told = ", ".join(f"{name} ({why}): {n} test{'s' * (n != 1)}" for (name, why), n in missing.items())
            terminalreporter.write_line(f"skipped {kind if kind == 'data' else 'services'}: {told}", yellow=True)


def missing(name: str, reason: str) -> NoReturn:
    """Skips what needs the service `name`, or fails where services are required."""
    if os.environ.get("REQUIRE_SERVICES") == "1" and name not in services.OPTIONAL:
        pytest.fail(f"the service {name} is required and cannot be had: {reason}", pytrace=False)
    pytest.skip(f"missing service {name}: {reason}")


def _address(service: ModuleType, request: pytest.FixtureRequest) -> str:
    try:
        return services.address(service, request.config.stash[SESSION])
    except services.Unavailable as error:
        missing(service.NAME, str(error))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, a store of its own and an environment without anybody's settings."""
    from tests.flow_samples import nobodys_settings

    nobodys_settings(tmp_path, monkeypatch)
    monkeypatch.setenv("PROBLEM_SNAPSHOT_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program of a real browser."""
    try:
        return browser.install()
    except services.Unavailable as error:
        missing(browser.NAME, str(error))


@pytest.fixture(scope="session")
def elasticsearch_url(request: pytest.FixtureRequest) -> str:
    """The address of a real Elasticsearch node. Give indices names of their own, and delete them."""
    return _address(elasticsearch_node, request)


@pytest.fixture(scope="session")
def _postgresql_server(request: pytest.FixtureRequest) -> str:
    return _address(postgresql, request)


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
def _jaeger_server(request: pytest.FixtureRequest) -> str:
    return _address(jaeger, request)


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
def prism_url(request: pytest.FixtureRequest) -> str:
    """The addresses of a job server of Beam and of a pool of Python workers for it, with a space between them."""
    return _address(prism, request)


@pytest.fixture(scope="session")
def _mariadb_server(request: pytest.FixtureRequest) -> str:
    return _address(mariadb, request)


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
def helpdesk_url(request: pytest.FixtureRequest) -> str:
    """A real django-helpdesk, as `tests.services.helpdesk.Desk` takes it. Tickets of others are in it, too."""
    return _address(helpdesk, request)


@pytest.fixture(scope="session")
def redmine_url(request: pytest.FixtureRequest) -> str:
    """A real Redmine, as `tests.services.redmine.Desk` takes it. Tickets of others are in it, too."""
    return _address(redmine, request)


@pytest.fixture(scope="session")
def rt_url(request: pytest.FixtureRequest) -> str:
    """A real Request Tracker with our scrips, as `tests.services.rt.Desk` takes it. Tickets of others are in it, too."""
    return _address(rt, request)


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of the payment incidents, one bundle per folder, which is kept beside the checkout."""
    folder = ROOT.parent / "shared" / "data" / "cases" / "dev"
    if not folder.is_dir():
        pytest.skip("missing data cases: no ../shared/data/cases/dev beside the checkout")
    return folder
