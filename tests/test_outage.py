"""When Elasticsearch fails while the snapshot is taken: it arrives in time, and its ledger tells the truth.

A real node behind nginx (answers and certificates), behind a faulty TCP line, killed, and with half of its shards gone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from cli import commands
from tests import services
from tests.conftest import ROOT, missing
from tests.flow_samples import nobodys_settings
from tests.load import load_bundle_into_postgresql
from tests.outage_samples import BUDGET, GRACE, LINES, SECRET, USER, Outcome, fill, run, ticket_file
from tests.proxies import Proxy
from tests.services import elasticsearch_node, nginx

# Each snapshot is held to its budget.
pytestmark = pytest.mark.alone


@dataclass(frozen=True)
class Incident:
    """An index of a node, the ids that are in it, and the ticket about it."""

    node: str
    index: str
    indexed: frozenset[str]
    ticket: Path

    @property
    def port(self) -> int:
        return int(urlsplit(self.node).port or 0)

    def take(self, url: str, budget: float = BUDGET, **more: Any) -> Outcome:
        """The snapshot over the cluster as it is found at `url`; what every snapshot promises is checked."""
        outcome = run(self.ticket, more.pop("index", self.index), url, budget, **more)
        outcome.is_true(self.indexed)
        return outcome


@pytest.fixture(scope="module")
def client(elasticsearch_url: str) -> Iterator[Any]:
    from elasticsearch import Elasticsearch

    with Elasticsearch(elasticsearch_url, request_timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def incident(elasticsearch_url: str, client: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Incident]:
    index = f"outage-{time.time_ns()}"
    indexed = fill(client, index)
    assert len(indexed) == LINES
    one = Incident(elasticsearch_url, index, indexed, ticket_file(tmp_path_factory.mktemp("outage")))
    # The first run loads libraries and compiles; the others shall measure the faults.
    assert one.take(elasticsearch_url, budget=60).logs.status == "ok"
    yield one
    client.indices.delete(index=index)


def says(outcome: Outcome, status: str, *words: str) -> None:
    """The ledger's row about the logs has this status, and its error has all of these words."""
    row = outcome.logs
    assert row.status == status, row
    for word in words:
        assert re.search(word, row.error or "", re.IGNORECASE), (word, row.error)


# ---- HTTP and TLS: nginx before the node

_BUSY = json.dumps({
    "error": {"type": "es_rejected_execution_exception", "reason": "rejected execution: queue capacity 1000"},
    "status": 429,
})  # fmt: skip
_SEARCHES = "location ~ /_m?search"
_PASS = "location / {{ proxy_pass {node}; }}"
_JSON = "default_type application/json; add_header X-elastic-product Elasticsearch always"
_TLS = "ssl_certificate {certs}/%s.crt; ssl_certificate_key {certs}/%s.key; " + _PASS

# What nginx does before the node, by the name of the fault.
FACES = {
    "healthy": _PASS,
    "login": 'auth_basic "search"; auth_basic_user_file {certs}/users; ' + _PASS,
    "forbidden": "location / {{ return 403; }}",
    "searches forbidden": _SEARCHES + " {{ return 403; }} " + _PASS,
    "overloaded": "location / {{ " + _JSON + "; return 429 '" + _BUSY.replace("{", "{{").replace("}", "}}") + "'; }}",
    "bursts": "limit_req zone=burst burst=2 nodelay; limit_req_status 429; " + _PASS,
    "unavailable": "location / {{ return 503; }}",
    "searches unavailable": _SEARCHES + " {{ return 503; }} " + _PASS,
    "no upstream": "location / {{ proxy_pass http://127.0.0.1:1; }}",
    "login page": "location / {{ default_type text/html; return 200 '<html><h1>Sign in</h1></html>'; }}",
    "login page for searches": _SEARCHES + " {{ default_type text/html; return 200 '<html>Sign in</html>'; }} " + _PASS,
    "empty": "location / {{ " + _JSON + "; return 200 ''; }}",
    "empty searches": _SEARCHES + " {{ " + _JSON + "; return 200 ''; }} " + _PASS,
    "truncated": "location / {{ " + _JSON + "; return 200 '{{\"took\":3,\"hits\":{{\"hits\":[{{\"_id\":\"d1\",\"_sou'; }}",
    "truncated searches": _SEARCHES
    + " {{ " + _JSON + "; return 200 '{{\"took\":3,\"hits\":{{\"hits\":[{{\"_id\":\"d1\",\"_sou'; }} " + _PASS,
    "other JSON": "location / {{ " + _JSON + "; return 200 '{{\"ok\":true}}'; }}",
    "other JSON for searches": _SEARCHES + " {{ " + _JSON + "; return 200 '{{\"ok\":true}}'; }} " + _PASS,
    "gzip": 'proxy_set_header Accept-Encoding ""; gzip on; gzip_types *; gzip_min_length 1; ' + _PASS,
    "right certificate": _TLS % ("right", "right"),
    "certificate of another name": _TLS % ("other", "other"),
    "expired certificate": _TLS % ("expired", "expired"),
}  # fmt: skip


def make_certificates(folder: Path) -> None:
    """An authority, and three certificates that it signed: a right one, one for another name, and one that is over."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", "-x509", *key, *usage, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt")
    for name, place, days in (
        ("right", "IP:127.0.0.1", "2"),
        ("other", "DNS:search.example.org", "2"),
        ("expired", "IP:127.0.0.1", "0"),
    ):
        subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={place}", "-keyout", f"{name}.key")
        openssl("req", *key, *subject, "-out", f"{name}.csr")
        signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-copy_extensions", "copy", "-days", days)
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.crt")
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{SECRET}\n", encoding="ascii")
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)


@dataclass(frozen=True)
class Faces:
    """Where nginx shows which face of the node, and the authority of its certificates."""

    urls: dict[str, str]
    authority: str


@pytest.fixture(scope="module")
def faces(elasticsearch_url: str) -> Iterator[Faces]:
    # A folder of its own: pytest's are closed to other users, and nginx's worker is one.
    with tempfile.TemporaryDirectory(prefix="outage-certificates-") as folder:
        make_certificates(Path(folder))
        bodies = {name: body.format(node=elasticsearch_url, certs=folder) for name, body in FACES.items()}
        try:
            running, urls = nginx.start(bodies, "limit_req_zone $server_addr zone=burst:1m rate=5r/s;")
        except services.Unavailable as error:
            missing(nginx.NAME, str(error))
        try:
            yield Faces(urls, f"{folder}/ca.crt")
        finally:
            nginx.stop(running.data)


LOGIN = {"username": USER, "password": SECRET}


@pytest.mark.parametrize(
    ("face", "options", "words"),
    [
        ("login", {}, ["401", "check"]),
        ("login", {"username": USER, "password": SECRET + "x"}, [r"refused the login \(401\)", "check .*password"]),
        ("login", {"api_key": SECRET}, [r"refused the login \(401\)", "check api_key"]),
        ("forbidden", LOGIN, [r"\(403\)", "needs"]),
        ("searches forbidden", LOGIN, [r"\(403\)", "needs"]),
        ("overloaded", LOGIN, ["429", "rejected execution", "overloaded", "try again"]),
        ("unavailable", LOGIN, ["503", "overloaded or restarting", "try again"]),
        ("searches unavailable", LOGIN, ["503", "overloaded or restarting", "try again"]),
        ("no upstream", LOGIN, ["502", "try again|behind|proxy"]),
        ("login page", LOGIN, ["Elasticsearch", "check the address|proxy"]),
        ("login page for searches", LOGIN, ["Elasticsearch", "check the address|proxy"]),
        ("empty", LOGIN, ["JSON", "check the address|proxy|is it Elasticsearch"]),
        ("empty searches", LOGIN, ["JSON", "check the address|proxy|is it Elasticsearch"]),
        ("truncated", LOGIN, ["JSON", "check the address|proxy|is it Elasticsearch"]),
        ("truncated searches", LOGIN, ["JSON", "check the address|proxy|is it Elasticsearch"]),
        ("other JSON", LOGIN, ["is not Elasticsearch", "check the address"]),
        ("other JSON for searches", LOGIN, ["is not Elasticsearch", "check the address"]),
        ("right certificate", LOGIN, ["TLS failed", "certificate|authority", "check ca_certs"]),
        (
            "certificate of another name",
            {"ca_certs": "ours", **LOGIN},
            ["TLS failed", "mismatch|not valid for|match", "name in the url|address"],
        ),
        ("expired certificate", {"ca_certs": "ours", **LOGIN}, ["TLS failed", "expired", "renew"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value) if isinstance(value, dict) else "",
)
def test_an_answer_that_is_no_answer_is_told_by_what_it_was_and_what_to_do(
    incident: Incident, faces: Faces, face: str, options: dict[str, Any], words: list[str]
) -> None:
    options = {key: faces.authority if value == "ours" else value for key, value in options.items()}
    outcome = incident.take(faces.urls[face], **options)
    says(outcome, "failed", "source 'es'", *words)
    assert outcome.logs.fetched == 0


@pytest.mark.parametrize(
    ("face", "options"),
    [
        ("login", LOGIN),
        ("right certificate", {"ca_certs": "ours", **LOGIN}),
        ("expired certificate", {"verify_certs": False}),
        ("gzip", {"compress": True}),
        ("gzip", {"compress": False}),
        ("healthy", {"compress": True}),
        ("bursts", {"page_size": 1500}),
    ],
    ids=["right login", "right certificate", "no verification", "gzip", "no gzip", "compressed by the node", "bursts"],
)
def test_what_can_be_got_through_is_got_through_whole(
    incident: Incident, faces: Faces, face: str, options: dict[str, Any]
) -> None:
    """Also where the node answers 429 to whoever asks too often: the source waits and asks again."""
    options = {key: faces.authority if value == "ours" else value for key, value in options.items()}
    says(incident.take(faces.urls[face], budget=BUDGET + 2 * (face == "bursts"), **options), "ok")


def test_nginx_really_compresses(incident: Incident, faces: Faces) -> None:
    connection = http.client.HTTPConnection(urlsplit(faces.urls["gzip"]).netloc, timeout=10)
    connection.request("GET", f"/{incident.index}/_search", headers={"accept-encoding": "gzip"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["content-encoding"]) == (200, "gzip")
    connection.close()


# ---- TCP: a line that fails


@pytest.fixture
def line(incident: Incident) -> Iterator[Proxy]:
    with Proxy(incident.port) as proxy:
        yield proxy


def test_a_whole_line_changes_nothing(incident: Incident, line: Proxy) -> None:
    says(incident.take(line.url), "ok")
    assert line.passed > 100 * LINES


def test_a_node_that_answers_after_five_seconds_is_not_waited_for(incident: Incident, line: Proxy) -> None:
    line.latency = 5.0
    says(incident.take(line.url), "failed", "did not answer in time|no answer in time", "--budget")


def test_a_node_whose_second_answer_would_come_too_late_is_told_as_such(incident: Incident, line: Proxy) -> None:
    """The first question is answered, about the fields; none is left for rows."""
    line.latency = 5.0
    outcome = incident.take(line.url, budget=6.0)
    assert outcome.logs.status in {"failed", "partial"}
    assert re.search("in time", outcome.logs.error or "")


def test_a_slow_node_gives_what_it_can_in_the_budget(incident: Incident, line: Proxy) -> None:
    line.latency = 0.4
    outcome = incident.take(line.url, page_size=200)
    if outcome.logs.status != "ok":
        says(outcome, "partial", "in time", "--budget")
    assert outcome.logs.fetched >= 200


def test_a_thin_line_brings_what_fits_through_it(incident: Incident, line: Proxy) -> None:
    line.bandwidth = 65_536
    outcome = incident.take(line.url, budget=5.0)
    says(outcome, "partial", "in time", "--budget")
    # Most of what came over the line is in the snapshot: a row weighs some 400 bytes there.
    assert outcome.logs.fetched * 400 > 0.3 * min(line.passed, 5 * line.bandwidth), line.passed
    assert outcome.logs.cut > 0


@pytest.mark.parametrize("cut", ["reset", "close"])
def test_a_page_that_breaks_off_is_asked_for_again(incident: Incident, line: Proxy, cut: Any) -> None:
    line.cut, line.cut_after, line.cuts = cut, 150_000, 2
    says(incident.take(line.url, page_size=500), "ok")
    assert line.cuts == 0, "the line did break"


@pytest.mark.parametrize("cut", ["reset", "close"])
def test_a_line_that_breaks_for_good_amid_the_pages_leaves_what_was_read(
    incident: Incident, line: Proxy, cut: Any
) -> None:
    """After the first break no connection carries a byte."""
    line.cut, line.cut_after = cut, 400_000
    line.then = lambda: setattr(line, "cut_after", 0)
    outcome = incident.take(line.url, page_size=200)
    assert line.then is None, "the line did break"
    says(outcome, "partial", "cannot be reached", "check")
    assert 0 < outcome.logs.fetched < LINES
    assert outcome.logs.cut == LINES - outcome.logs.fetched


def test_a_node_that_accepts_and_never_answers_costs_the_budget_and_no_more(incident: Incident, line: Proxy) -> None:
    line.cut, line.cut_after = "hang", 0
    outcome = incident.take(line.url)
    says(outcome, "failed", "did not answer in time|no answer in time", "--budget")
    time.sleep(0.5)
    assert not outcome.cluster.asking, "no thread waits on, when nobody waits for it"


def test_a_line_that_goes_dead_amid_the_pages_leaves_what_was_read(incident: Incident, line: Proxy) -> None:
    """Half open: the node seems connected and sends no more."""
    line.cut, line.cut_after = "hang", 400_000
    line.then = lambda: setattr(line, "cut_after", 0)
    outcome = incident.take(line.url, page_size=200)
    assert line.then is None, "the line did go dead"
    says(outcome, "partial", "in time", "--budget")
    assert 0 < outcome.logs.fetched < LINES
    assert outcome.logs.cut == LINES - outcome.logs.fetched


def test_records_that_cannot_be_opened_again_do_not_double_the_budget(incident: Incident) -> None:
    """A slow line that goes dead after the last page: only the stamps of the cited records are missing, and that is said."""

    class Dead(Proxy):
        """Dead for whoever wants to open records by their id."""

        @staticmethod
        def _questions(client: socket.socket, server: socket.socket, asked: threading.Event) -> None:
            with contextlib.suppress(OSError):
                while data := client.recv(65_536):
                    if b"/_mget" in data:
                        time.sleep(30)
                        return
                    asked.set()
                    server.sendall(data)

    with Dead(incident.port) as proxy:
        proxy.latency = 0.4
        outcome = incident.take(proxy.url, budget=7.0)
    assert outcome.logs.status == "ok"
    (check,) = [check for check in outcome.snapshot.checks if check.id == "evidence"]
    assert check.outcome == "not_evaluated"
    assert "es:" in check.statement.en


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1", ["cannot be reached", "refused", "check the address"]),
        ("https://127.0.0.1:1", ["cannot be reached", "refused", "check the address"]),
        ("http://elasticsearch.invalid:9200", ["elasticsearch.invalid", "resolve|name", "check the address"]),
        # RFC 5737: a network that nobody has. Some machines refuse it at once, others never answer.
        ("http://192.0.2.1:9200", ["cannot be reached.*check the address|in time.*--budget"]),
    ],
    ids=["refused", "refused TLS", "no such name", "no such network"],
)
def test_no_node_at_all_is_told_by_what_is_missing(incident: Incident, url: str, words: list[str]) -> None:
    says(incident.take(url), "failed", "source 'es'|es", *words)


def test_the_second_address_is_asked_where_the_first_is_dead(incident: Incident) -> None:
    says(incident.take(("http://127.0.0.1:1", incident.node)), "ok")  # type: ignore[arg-type]


# ---- shards and remote clusters


def test_where_half_of_the_shards_are_gone_the_other_half_is_read_and_the_gap_is_told(
    incident: Incident, client: Any
) -> None:
    index = f"{incident.index}-half"
    try:
        limit = {"index.routing.allocation.total_shards_per_node": 2}
        indexed = fill(client, index, shards=4, timeout="100ms", **limit)
        assert client.cluster.health(index=index)["unassigned_primary_shards"] == 2
        assert 0 < len(indexed) < LINES
        outcome = run(incident.ticket, index, incident.node)
        outcome.is_true(indexed)
        says(outcome, "partial", "2 of 4 shards|shard.* unassigned|shard.* missing|shards failed")
        assert outcome.logs.used == len(indexed), "what the other shards hold is all there"
        assert "reason None" not in (outcome.logs.error or "")
        assert (outcome.logs.error or "").count("shards failed") == 1
    finally:
        client.indices.delete(index=index)


@pytest.fixture
def remotes(client: Any) -> Iterator[None]:
    """Two remote clusters that nobody answers for; searches may do without `gone`, and may not without `needed`."""
    names = {"gone": True, "needed": False}
    keys = {
        f"cluster.remote.{name}": {"seeds": ["127.0.0.1:1"], "skip_unavailable": may} for name, may in names.items()
    }
    client.cluster.put_settings(persistent=keys)
    yield
    client.cluster.put_settings(
        persistent={f"{key}.{part}": None for key in keys for part in ("skip_unavailable", "seeds")}
    )


@pytest.mark.parametrize("remote", ["gone", "needed"])
@pytest.mark.usefixtures("remotes")
def test_a_remote_cluster_that_is_away_costs_its_own_rows_and_is_told(incident: Incident, remote: str) -> None:
    outcome = incident.take(incident.node, index=(incident.index, f"{remote}:logs-*"))
    says(outcome, "partial", remote)
    assert outcome.logs.used == LINES


# ---- the node dies


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[services.Running, Incident]]:
    """A node that may be killed, with an incident of its own."""
    from elasticsearch import Elasticsearch

    try:
        node = elasticsearch_node.start("512m")
    except services.Unavailable as error:
        missing(elasticsearch_node.NAME, str(error))
    try:
        with Elasticsearch(node.url, request_timeout=60) as opened:
            indexed = fill(opened, "outage")
            # On the disk, as after an hour: a crash takes nothing of it.
            opened.indices.flush(index="outage")
        yield node, Incident(node.url, "outage", indexed, ticket_file(tmp_path_factory.mktemp("mortal")))
    finally:
        elasticsearch_node.stop(node.data)


@pytest.mark.elasticsearch
def test_a_node_that_is_killed_and_comes_back_is_read_on_from_where_it_was(
    mortal: tuple[services.Running, Incident],
) -> None:
    """Its point in time died with it. Every row arrives once all the same."""
    node, incident = mortal
    back = threading.Thread(target=elasticsearch_node.start_again, args=(node, "512m"))

    def crash() -> None:
        elasticsearch_node.kill(node.data)
        back.start()

    with Proxy(incident.port) as line:
        line.cut_after, line.cuts, line.then = 500_000, 1, crash
        try:
            outcome = incident.take(line.url, budget=40, page_size=200, retries=20)
        finally:
            back.join(90)
    assert line.cuts == 0, "it was killed amid the pages"
    says(outcome, "ok")
    assert any("point in time" in note for note in outcome.logs.notes)


@pytest.mark.elasticsearch
def test_a_node_that_is_killed_amid_the_pages_leaves_what_was_read(mortal: tuple[services.Running, Incident]) -> None:
    node, incident = mortal
    with Proxy(incident.port) as line:
        line.cut_after, line.cuts, line.then = 500_000, 1, lambda: elasticsearch_node.kill(node.data)
        outcome = incident.take(line.url, page_size=200)
    assert line.cuts == 0, "it was killed amid the pages"
    says(outcome, "partial", "cannot be reached", "check")
    assert 0 < outcome.logs.fetched < LINES


# ---- the orders fail, the logs do not


@pytest.mark.parametrize("fault", ["hang", "reset"])
def test_an_order_database_that_fails_leaves_the_logs(incident: Incident, postgresql_url: str, fault: Any) -> None:
    bundle = incident.ticket.parent
    load_bundle_into_postgresql(postgresql_url, bundle)
    place = urlsplit(postgresql_url)
    with Proxy(int(place.port or 0)) as line:
        line.cut, line.cut_after = fault, 0
        url = postgresql_url.replace(f":{place.port}/", f":{line.port}/")
        outcome = run(incident.ticket, incident.index, incident.node, order_url=url)
    assert outcome.seconds < BUDGET + GRACE, outcome.steps
    assert (outcome.logs.status, outcome.logs.used) == ("ok", LINES)
    row = outcome.row("order_events")
    assert row.status == "failed"
    assert place.password not in str(row)


# ---- the command line


CONFIG = """
[defaults]
budget = "4s"
[profiles.cluster.sources.es]
kind = "elasticsearch"
url = "{url}"
logs = ["{index}"]
username = "{user}"
password = "{secret}"
"""
BOOK = """
[profiles.cluster.sources.orders]
kind = "orders"
url = "sqlite:///{folder}/orders.db"
"""


@pytest.fixture
def configured(
    incident: Incident, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[str], Path]]:
    """Writes a configuration over the cluster at a url; gives the words of the `take` that uses it."""
    nobodys_settings(tmp_path, monkeypatch)

    def write(url: str, *, book: bool = False) -> list[str]:
        text = CONFIG + BOOK if book else CONFIG
        path = tmp_path / "problem-snapshot.toml"
        folder = incident.ticket.parent.parent
        path.write_text(
            text.format(url=url, index=incident.index, user=USER, secret=SECRET, folder=folder), encoding="utf-8"
        )
        ticket = tmp_path / "ticket.json"
        ticket.write_bytes(incident.ticket.read_bytes())
        return ["take", str(ticket), "--profile", "cluster", "--no-store", "--output", "json"]

    return write


@pytest.mark.parametrize(
    ("face", "code", "words"),
    [
        ("login", 4, ["refused the credentials", "401", "doctor"]),
        ("forbidden", 4, ["refused the credentials", "403", "doctor"]),
        ("overloaded", 5, ["no source could be reached", "429", "doctor"]),
        ("login page", 5, ["no source could be reached", "Elasticsearch", "doctor"]),
        ("expired certificate", 5, ["no source could be reached", "TLS", "doctor"]),
    ],
)
def test_where_nothing_else_is_configured_the_exit_code_and_one_line_tell(
    configured: Any, faces: Faces, face: str, code: int, words: list[str]
) -> None:
    arguments = configured(faces.urls[face])
    if face == "login":
        path = Path("problem-snapshot.toml")
        path.write_text(path.read_text(encoding="utf-8").replace(SECRET, SECRET + "x"), encoding="utf-8")
    done = CliRunner().invoke(commands, arguments, prog_name="problem-snapshot")
    assert done.exit_code == code, done.stderr
    for word in words:
        assert word in done.stderr
    assert SECRET not in done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def program(arguments: list[str]) -> tuple[subprocess.CompletedProcess[str], float]:
    """The program as a process of its own, and how long it took from its start to its end."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done, time.monotonic() - begun


def test_a_hanging_cluster_holds_up_neither_the_page_nor_the_end_of_the_process(configured: Any, line: Proxy) -> None:
    line.cut, line.cut_after = "hang", 0
    done, seconds = program(configured(line.url, book=True))
    assert done.returncode == 8, done.stderr
    rows = {row["source"]: row for row in json.loads(done.stdout)["coverage"]}
    assert (rows["es"]["status"], rows["orders"]["status"]) == ("failed", "ok")
    assert seconds < 4 + GRACE


def test_a_hanging_cluster_alone_ends_the_program_in_time(configured: Any, line: Proxy) -> None:
    line.cut, line.cut_after = "hang", 0
    done, seconds = program(configured(line.url))
    assert done.returncode == 5, done.stderr
    assert "in time" in done.stderr
    assert seconds < 4 + GRACE


@pytest.mark.parametrize(
    ("face", "code", "words"),
    [
        ("login", 0, ["documents"]),
        ("forbidden", 4, ["403", "refused"]),
        ("overloaded", 5, ["429"]),
        ("login page", 5, ["Elasticsearch", "check the address"]),
        ("expired certificate", 5, ["TLS failed", "expired"]),
    ],
)
def test_doctor_names_the_fault_before_anybody_needs_a_snapshot(
    configured: Any, faces: Faces, face: str, code: int, words: list[str]
) -> None:
    configured(faces.urls[face])
    path = Path("problem-snapshot.toml")
    trust = f'ca_certs = "{faces.authority}"\n' if "certificate" in face else ""
    path.write_text(path.read_text(encoding="utf-8") + trust, encoding="utf-8")
    done = CliRunner().invoke(
        commands, ["doctor", "--profile", "cluster", "--timeout", "4s"], prog_name="problem-snapshot"
    )
    assert done.exit_code == code, done.output
    for word in words:
        assert word in done.output
    assert SECRET not in done.output
