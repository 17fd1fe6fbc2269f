"""The command line: what it prints where, and the exit code it leaves with."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from cli import commands
from pipeline.commands.options import language_of
from pipeline.commands.setting_up import examples_folder, health_lines
from pipeline.commands.shown import is_partial
from pipeline.doctor import Health
from pipeline.settings import load_settings
from snapshots.model import Coverage, ProblemSnapshot, canonical_bytes, with_id
from tests.test_elasticsearch import PRODUCT
from tests.test_elasticsearch import serving as cluster

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [sys.executable, "-c", "from cli import main; main()"]

TICKET = {
    "id": "TK-1",
    "system": "file",
    "title": "Charged twice",
    "description": "I paid order M1001 once and was charged twice. It was about 10:05.",
    "created_at": "2026-11-23T11:00:00+00:00",
    "language": "en",
    "customer": {"id": "u1"},
}
ORDERS = """order_id,entity,entity_id,state,amount_minor,currency,channel,occurred_at,attributes
M1001,order,M1001,pending,4200,EUR,stripe,2026-11-23T10:00:00Z,"{""customer_id"": ""u1"", ""shop_system"": ""woocommerce""}"
M1001,attempt,P1,requires_payment_method,4200,EUR,stripe,2026-11-23T10:00:01Z,{}
M1001,attempt,P1,succeeded,4200,EUR,stripe,2026-11-23T10:00:05Z,"{""channel_txn_id"": ""pi_1""}"
M1001,attempt,P2,requires_payment_method,4200,EUR,stripe,2026-11-23T10:05:01Z,{}
M1001,attempt,P2,succeeded,4200,EUR,stripe,2026-11-23T10:05:05Z,"{""channel_txn_id"": ""pi_2""}"
M1001,order,M1001,processing,4200,EUR,stripe,2026-11-23T10:05:06Z,"{""customer_id"": ""u1"", ""shop_system"": ""woocommerce""}"
"""


def line(number: int, message: str, level: str = "INFO") -> str:
    """One log document of the bundle."""
    return json.dumps(
        {
            "_id": f"d{number}",
            "_index": "app-1",
            "@timestamp": f"2026-11-23T10:{number // 60 % 60:02}:{number % 60:02}Z",
            "service": {"name": "payment"},
            "log": {"level": level},
            "message": message,
        }
    )


LINES = [line(n, f"order M10{n:02} paid in {n} ms") for n in range(60)] + [
    line(303, "charged order M1001 again", "WARN")
]


@pytest.fixture(autouse=True)
def _alone(home: Path) -> None:
    """No command here sees anybody's settings."""


@pytest.fixture
def bundle(home: Path) -> Path:
    """A small incident: an order that was charged twice."""
    folder = home / "incident"
    (folder / "logs").mkdir(parents=True)
    (folder / "ticket.json").write_text(json.dumps(TICKET), encoding="utf-8")
    (folder / "orders.csv").write_text(ORDERS, encoding="utf-8")
    (folder / "logs" / "part-0.ndjson.gz").write_bytes(gzip.compress("\n".join(LINES).encode(), mtime=0))
    return folder


@pytest.fixture
def bare(home: Path) -> Path:
    """A bundle that holds a ticket and nothing else."""
    folder = home / "bare"
    folder.mkdir()
    ticket = {**TICKET, "id": "TK-0", "title": "It does not work", "description": "Please help."}
    (folder / "ticket.json").write_text(json.dumps(ticket), encoding="utf-8")
    return folder


def run(*args: str | Path, stdin: bytes | None = None) -> Result:
    """Runs a command in this process."""
    return CliRunner().invoke(commands, [str(arg) for arg in args], input=stdin, prog_name="problem-snapshot")


def program(*args: str | Path, timeout: float = 60, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Runs the program as a process of its own."""
    return subprocess.run([*PROGRAM, *map(str, args)], capture_output=True, timeout=timeout, check=False, **more)


def is_polite(text: str | bytes) -> bool:
    """Whether a person could have been told this: a line or two, and no stack trace."""
    words = text.decode() if isinstance(text, bytes) else text
    return "Traceback" not in words and "internal error" not in words


# ---- help, version, completion


def test_help_costs_less_than_four_tenths_of_a_second_of_cpu() -> None:
    """Nothing heavy is loaded before it is used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = program("--help", env={**os.environ, "PYTHONPATH": str(ROOT)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.4


def test_the_command_line_alone_loads_no_heavy_library() -> None:
    """Whatever the machine's speed."""
    heavy = [
        "pandas",
        "pyarrow",
        "apache_beam",
        "elasticsearch",
        "sqlalchemy",
        "scipy",
        "rich",
        "jinja2",
        "httpx",
        "numpy",
    ]
    code = f"import sys, cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


NAMES = [
    "take",
    "show",
    "note",
    "list",
    "verify",
    "diff",
    "replay",
    "bundle",
    "publish",
    "notify",
    "schema",
    "serve",
    "work",
    "poll",
    "jobs",
    "batch",
    "backtest",
    "learn",
    "learn-weights",
    "learn-wording",
    "desk",
    "init",
    "doctor",
    "demo",
    "completion",
]


def test_every_command_is_there() -> None:
    """In the order in which one meets them."""
    assert commands.list_commands(click.Context(commands)) == NAMES
    assert sorted(commands.commands) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_an_example_and_a_variable_for_each_option(name: str) -> None:
    """Help says what to type."""
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"problem-snapshot {name}" in result.output.partition("\n")[2]
    command = commands.commands[name]
    context = click.Context(
        command, info_name=name, parent=click.Context(commands, info_name="x", auto_envvar_prefix="PROBLEM_SNAPSHOT")
    )
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.envvar or option.allow_from_autoenv, option.name
    assert context.auto_envvar_prefix == f"PROBLEM_SNAPSHOT_{name.upper().replace('-', '_')}"


def test_the_version_is_told() -> None:
    """`--version` prints one line."""
    assert re.fullmatch(r"problem-snapshot \d+\.\d+\.\d+\S*\n", run("--version").stdout)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str) -> None:
    """And the variable they set is the one that the program listens to."""
    script = run("completion", shell).stdout
    assert "_PROBLEM_SNAPSHOT_COMPLETE" in script
    env = {
        **os.environ,
        "_PROBLEM_SNAPSHOT_COMPLETE": "bash_complete",
        "COMP_WORDS": "problem-snapshot ta",
        "COMP_CWORD": "1",
    }
    assert b"plain,take" in program(env=env).stdout


# ---- take


def test_take_prints_the_document_and_nothing_else(bundle: Path) -> None:
    """stdout is data, notes are on stderr, and the snapshot is kept."""
    result = run("take", "TK-1", "--bundle", bundle, "-o", "json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["ticket"]["id"] == "TK-1"
    kept = re.search(r"Stored: (.*)", result.stderr)
    assert kept
    assert Path(kept[1]).read_bytes() == result.stdout_bytes


def test_taking_twice_gives_the_same_bytes_and_one_entry(bundle: Path) -> None:
    """Same inputs, same document."""
    first, second = (run("take", "TK-1", "--bundle", bundle, "-o", "json") for _ in range(2))
    assert first.stdout_bytes == second.stdout_bytes
    assert len(json.loads(run("list", "-o", "json").stdout)) == 1


@pytest.mark.parametrize("form", ["table", "md", "html"])
def test_every_format_names_the_ticket(bundle: Path, form: str) -> None:
    """In each of the formats for people."""
    result = run("take", "TK-1", "--bundle", bundle, "-o", form, "--no-store")
    assert result.exit_code == 0, result.stderr
    assert "TK-1" in result.stdout
    assert "Stored" not in result.stderr


def test_the_table_says_how_to_go_on(bundle: Path) -> None:
    """Where the document lies, and a command that opens it as a page; the command works."""
    result = run("take", "TK-1", "--bundle", bundle)
    command = re.search(r"problem-snapshot (show \S+ -o html --out \S+)", result.stderr)
    assert command
    shown = run(*command[1].split())
    assert shown.exit_code == 0, shown.stderr
    assert Path("TK-1.html").read_text("utf-8").startswith("<!")


def test_a_ticket_is_taken_from_its_path_its_bundle_and_standard_input(bundle: Path) -> None:
    """Four ways, one document."""
    data = (bundle / "ticket.json").read_bytes()
    ways = [
        run("take", "TK-1", "--bundle", bundle, "-o", "json"),
        run("take", bundle / "ticket.json", "-o", "json"),
        run("take", bundle, "-o", "json"),
        run("take", "-", "--bundle", bundle, "-o", "json", stdin=data),
    ]
    assert [way.exit_code for way in ways] == [0, 0, 0, 0], [way.stderr for way in ways]
    assert len({way.stdout_bytes for way in ways}) == 1


def test_out_writes_the_file_whole_in_the_format_of_its_name(bundle: Path) -> None:
    """And standard output stays empty."""
    for name, start in (("a.html", "<!"), ("a.md", "#"), ("a.json", "{")):
        result = run("take", "TK-1", "--bundle", bundle, "--out", name)
        assert (result.exit_code, result.stdout) == (0, ""), result.stderr
        assert Path(name).read_text("utf-8").startswith(start)
    assert [p.name for p in Path().glob(".a*")] == []


def test_language_and_zone_are_as_asked(bundle: Path) -> None:
    """Options win over the ticket."""
    english = run("take", "TK-1", "--bundle", bundle).stdout
    chinese = run("take", "TK-1", "--bundle", bundle, "-l", "zh", "--timezone", "Asia/Shanghai").stdout
    assert not re.search("[\u4e00-\u9fff]", english)
    assert re.search("[\u4e00-\u9fff]", chinese)
    assert "+08:00" in chinese
    assert "+08:00" not in english


def test_an_option_may_come_from_its_variable(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short names for the shared ones, the command's name in all others."""
    monkeypatch.setenv("PROBLEM_SNAPSHOT_LANGUAGE", "zh")
    monkeypatch.setenv("PROBLEM_SNAPSHOT_TAKE_BUNDLE", str(bundle))
    monkeypatch.setenv("PROBLEM_SNAPSHOT_TAKE_OUTPUT", "md")
    assert re.search("[\u4e00-\u9fff]", run("take", "TK-1").stdout)


def test_the_window_is_the_one_that_was_asked_for(bundle: Path) -> None:
    """A time without offset is in the zone of the options, or else of the ticket."""

    def window(*args: str) -> tuple[str, str]:
        result = run("take", "TK-1", "--bundle", bundle, "-o", "json", *args)
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)["scope"]["window"]
        return found["start"], found["end"]

    half_day = ("2026-11-23T02:00:00Z", "2026-11-23T14:00:00Z")
    assert window("--from", "2026-11-23 02:00", "--to", "2026-11-23 14:00") == half_day
    assert (
        window("--from", "2026-11-23 10:00 +08:00", "--to", "2026-11-23T22:00", "--timezone", "Asia/Shanghai")
        == half_day
    )
    start, end = window("--around", "2026-11-23T10:05:00Z")
    assert start < "2026-11-23T10:05:00Z" < end
    # A window of a year is wide, not wrong.
    window("--from", "2025-11-23", "--to", "2026-11-24")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--around", "soon"], "--around: 'soon' is not a time"),
        (["--around", "0001-01-01"], "too near to the end of the calendar"),
        (["--from", "2026-11-23"], "--from and --to belong together"),
        (["--from", "2026-11-23", "--to", "2026-11-23"], "is not before --to"),
        (["--from", "2026-11-24", "--to", "2026-11-23"], "is not before --to"),
        (["--around", "2026-11-23", "--to", "2026-11-23"], "exclude each other"),
        (["--budget", "10 bananas"], "'10 bananas' is not a duration"),
        (["--budget", "0"], "must be more than 0 and at most 1h"),
        (["--budget", "2d"], "must be more than 0 and at most 1h"),
        (["--timezone", "Shanghai"], "did you mean Asia/Shanghai?"),
        (["--language", "fr"], "'fr' is not one of"),
        (["-o", "pdf"], "'pdf' is not one of"),
        (["--profile", "prod"], "there is no configuration file"),
        (["--config", "gone.toml"], "gone.toml: no such file"),
        (["--out", "no/such/folder/x.html"], "no/such/folder/x.html: cannot be written"),
        (["--out", "."], "cannot be written"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_a_wrong_call_is_told_and_exits_2(bundle: Path, args: list[str], sentence: str) -> None:
    """With the value, and what would be right."""
    result = run("take", "TK-1", "--bundle", bundle, "--no-store", *args)
    assert result.exit_code == 2, result.stderr
    assert sentence in " ".join(result.stderr.split())
    assert is_polite(result.stderr)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arg", "content", "code", "sentence"),
    [
        ("TK-9", None, 3, "TK-9"),
        ("gone/ticket.json", None, 3, "no such file"),
        ("t.json", b"[1, 2]", 2, "t.json: expected a JSON object, got an array"),
        ("t.json", b"{", 2, "t.json: is not JSON"),
        ("t.json", b"", 2, "t.json: is empty"),
        ("t.json", b'{"id": "\xff"}', 2, "t.json: is not UTF-8"),
        (".", None, 2, "is a folder without ticket.json"),
        ("-", b"", 2, "standard input: is empty"),
        ("-", b"\xff\xfe\xfd", 2, "standard input: is not UTF-8"),
        ("a\x1b[31mb", None, 3, "not found"),
    ],
)
def test_a_bad_ticket_is_told_and_nothing_is_printed(arg: str, content: bytes | None, code: int, sentence: str) -> None:
    """One or two lines on stderr, never a stack trace, and no control characters."""
    if content is not None and arg != "-":
        Path(arg).write_bytes(content)
    result = run("take", arg, stdin=content if arg == "-" else None)
    assert (result.exit_code, result.stdout) == (code, ""), result.stderr
    assert sentence in result.stderr
    assert is_polite(result.stderr)
    assert "\x1b" not in result.stderr
    assert len(result.stderr.splitlines()) <= 2


def test_a_ticket_that_cannot_be_read_is_told() -> None:
    """The system's reason is named, whoever runs this: even root cannot read a process's memory from its start."""
    unreadable = "/proc/self/mem" if Path("/proc/self/mem").exists() else "/dev/fd/63"
    assert "cannot be read: " in run("take", unreadable).stderr


def test_an_id_that_is_not_in_the_bundle_exits_3(bundle: Path) -> None:
    """And names what is there."""
    result = run("take", "TK-2", "--bundle", bundle)
    assert result.exit_code == 3
    assert "TK-1" in result.stderr


def test_without_any_source_both_ways_to_go_on_are_told(bare: Path) -> None:
    """A bundle, or a configuration."""
    lone = bare.parent / "lone.json"
    lone.write_bytes((bare / "ticket.json").read_bytes())
    result = run("take", lone)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--bundle" in result.stderr
    assert "problem-snapshot init" in result.stderr


# ---- exit codes


def row(status: str) -> Coverage:
    """A row of the ledger."""
    return Coverage(source="s", kind="bundle", what="logs", status=status, asked="all")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("statuses", "partial"),
    [([], False), (["ok", "empty", "skipped"], False), (["ok", "failed"], True), (["partial"], True)],
)
def test_done_in_part_is_read_off_the_ledger(statuses: list[str], partial: bool) -> None:
    """What a bundle does not have is no failure; what a source could not give is."""
    assert is_partial([row(status) for status in statuses]) is partial


def test_a_bundle_that_lacks_everything_is_undetermined_and_no_failure(bare: Path) -> None:
    """Exit 0; with --exit-code, 11."""
    assert run("take", "TK-0", "--bundle", bare, "--no-store").exit_code == 0
    result = run("take", "TK-0", "--bundle", bare, "--no-store", "--exit-code", "-o", "json")
    assert result.exit_code == 11
    assert json.loads(result.stdout)["diagnosis"]["abstained"]


def test_a_located_fault_exits_10_where_the_verdict_was_asked_for(bundle: Path) -> None:
    """And 0 where it was not."""
    assert run("take", "TK-1", "--bundle", bundle, "--no-store").exit_code == 0
    result = run("take", "TK-1", "--bundle", bundle, "--no-store", "--exit-code", "-o", "json")
    assert not json.loads(result.stdout)["diagnosis"]["abstained"]
    assert result.exit_code == 10


def test_half_a_file_exits_8_and_the_document_is_still_printed(bundle: Path) -> None:
    """The rest of the snapshot is intact; a verdict on a part of the data is none."""
    part = bundle / "logs" / "part-0.ndjson.gz"
    part.write_bytes(part.read_bytes()[:-40])
    for extra in ([], ["--exit-code"]):
        result = run("take", "TK-1", "--bundle", bundle, "-o", "json", *extra)
        assert result.exit_code == 8, result.stderr
        document = json.loads(result.stdout)
        assert "partial" in {r["status"] for r in document["coverage"]}
        assert document["orders"]


def test_a_store_that_cannot_be_written_does_not_cost_the_document(bundle: Path) -> None:
    """It is printed, the reason is told, and the exit code says that something is missing."""
    Path("occupied").write_text("a file", encoding="utf-8")
    result = run("take", "TK-1", "--bundle", bundle, "-o", "json", "--store", "occupied/store")
    assert json.loads(result.stdout)["ticket"]["id"] == "TK-1"
    assert result.exit_code == 8
    assert "Not stored: " in result.stderr
    assert is_polite(result.stderr)


# ---- services on this machine: real HTTP servers, that are well, refuse or hang


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A real HTTP server on loopback; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def well(handler: BaseHTTPRequestHandler) -> None:
    """Jaeger with nothing in it."""
    body = b'{"data": [], "total": 0, "limit": 0, "offset": 0, "errors": null}'
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def refusing(handler: BaseHTTPRequestHandler) -> None:
    """A server that does not know us."""
    handler.send_response(401)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@contextmanager
def hanging() -> Iterator[str]:
    """A server that takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def closed() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def configure(**urls: str) -> None:
    """Writes ./problem-snapshot.toml with a Jaeger source for each address."""
    tables = (f'[defaults.sources.{name}]\nkind = "jaeger"\nurl = "{url}"\n' for name, url in urls.items())
    Path("problem-snapshot.toml").write_text("\n".join(tables), encoding="utf-8")


def test_a_source_that_is_down_exits_5_alone_and_8_beside_one_that_is_well(bundle: Path) -> None:
    """Nothing could be asked, or a part of it."""
    ticket = bundle.parent / "lone.json"
    ticket.write_bytes((bundle / "ticket.json").read_bytes())
    configure(down=closed())
    result = run("take", ticket, "--budget", "2s")
    assert (result.exit_code, result.stdout) == (5, ""), result.stderr
    assert is_polite(result.stderr)
    with serving(well) as url:
        configure(down=closed(), up=url)
        result = run("take", ticket, "--budget", "3s", "-o", "json")
    assert result.exit_code == 8, result.stderr
    assert {r["source"]: r["status"] for r in json.loads(result.stdout)["coverage"]}["down"] == "failed"


def test_a_source_that_refuses_us_exits_4(bundle: Path) -> None:
    """Where it is the only one."""
    ticket = bundle.parent / "lone.json"
    ticket.write_bytes((bundle / "ticket.json").read_bytes())
    with serving(refusing) as url:
        configure(locked=url)
        result = run("take", ticket, "--budget", "3s")
    assert (result.exit_code, result.stdout) == (4, ""), result.stderr


def test_a_plan_that_no_source_can_tell_exits_as_the_snapshot_would(bundle: Path) -> None:
    """4 where every one refuses us, 5 where nobody is there."""
    ticket = bundle.parent / "lone.json"
    ticket.write_bytes((bundle / "ticket.json").read_bytes())
    source = '[defaults.sources.es]\nkind = "elasticsearch"\nlogs = ["logs-*"]\nretries = 0\nurl = "{}"\n'
    with cluster(lambda *_: (401, PRODUCT, b'{"error": "who are you"}')) as url:
        for address, code in ((url, 4), (closed(), 5)):
            Path("problem-snapshot.toml").write_text(source.format(address), encoding="utf-8")
            for more in ((), ("--explain-plan",)):
                result = run("take", ticket, "--budget", "3s", *more)
                assert result.exit_code == code, result.output


def test_a_source_that_hangs_holds_the_program_back_no_longer_than_the_budget(bundle: Path) -> None:
    """Process start and end included."""
    ticket = bundle.parent / "lone.json"
    ticket.write_bytes((bundle / "ticket.json").read_bytes())
    with hanging() as url:
        configure(stuck=url)
        begun = time.monotonic()
        done = program("take", ticket, "--budget", "1s")
    assert done.returncode == 5, done.stderr
    assert time.monotonic() - begun < 8
    assert is_polite(done.stderr)


def test_control_c_ends_it_at_once_with_one_line_and_130(bundle: Path) -> None:
    """Also while sources are being waited for."""
    ticket = bundle.parent / "lone.json"
    ticket.write_bytes((bundle / "ticket.json").read_bytes())
    with hanging() as url:
        configure(stuck=url)
        process = subprocess.Popen(
            [*PROGRAM, "take", str(ticket), "--budget", "50s", "--verbose"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stderr
        assert process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, b""), err
    assert err.decode().splitlines()[-1] == "problem-snapshot: interrupted"
    assert is_polite(err)


def test_a_reader_that_went_away_is_no_error_worth_words(bundle: Path) -> None:
    """As with `| head`."""
    for args in (["take", "TK-1", "--bundle", str(bundle), "-o", "html"], ["schema"], ["--help"], ["list"]):
        process = subprocess.Popen([*PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout
        process.stdout.close()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 141, (args, err)
        assert b"Traceback" not in err
        assert b"BrokenPipe" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told() -> None:
    """One line, exit 1."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*PROGRAM, "schema"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 1
    assert is_polite(done.stderr)
    assert b"No space left" in done.stderr


def test_an_internal_error_is_one_line_with_how_to_report_it(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the traceback is there for whom asks."""
    # A store of a kind that fsspec does not know is the fault of nobody's code; a broken module is.
    broken = bundle.parent / "broken"
    (broken / "snapshots").mkdir(parents=True)
    (broken / "sitecustomize.py").write_text(
        "import sys, types\nmodule = types.ModuleType('snapshots.schema')\n"
        "def json_schema(): raise ZeroDivisionError('made on purpose')\n"
        "module.json_schema = json_schema\nsys.modules['snapshots.schema'] = module\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", f"{broken}{os.pathsep}{ROOT}")
    done = program("schema")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == b"problem-snapshot: internal error: ZeroDivisionError: made on purpose"
    assert b"PROBLEM_SNAPSHOT_DEBUG=1" in done.stderr
    assert b"Traceback" not in done.stderr
    monkeypatch.setenv("PROBLEM_SNAPSHOT_DEBUG", "1")
    done = program("schema")
    assert done.returncode == 1
    assert b"Traceback" in done.stderr


def test_debug_shows_the_traceback_and_keeps_the_exit_code() -> None:
    """For an error that a person is told of as well."""
    done = program("take", "gone.json", "--debug")
    assert done.returncode == 3
    assert b"Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == b"problem-snapshot: gone.json: no such file"


def test_progress_is_only_said_where_it_is_wanted(bundle: Path) -> None:
    """Not to a file; with --verbose each step."""
    assert "s  " not in run("take", "TK-1", "--bundle", bundle, "--no-store").stderr
    said = run("take", "TK-1", "--bundle", bundle, "--no-store", "--verbose").stderr
    assert re.search(r"^ +\d+\.\d s  \S", said, re.MULTILINE)


def test_no_color_and_no_terminal_mean_no_escape_sequences(bundle: Path) -> None:
    """A file gets plain text; a terminal gets colours unless NO_COLOR is set."""
    import pty

    def on_a_terminal(**env: str) -> bytes:
        parent, child = pty.openpty()
        process = subprocess.Popen(
            [*PROGRAM, "take", "TK-1", "--bundle", str(bundle), "--no-store"],
            stdout=child,
            stderr=subprocess.DEVNULL,
            env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm", **env},
        )
        os.close(child)
        seen = b""
        try:
            while data := os.read(parent, 65536):
                seen += data
        except OSError:
            pass
        os.close(parent)
        process.wait(timeout=60)
        return seen

    assert b"\x1b[" in on_a_terminal()
    assert b"\x1b[" not in on_a_terminal(NO_COLOR="1")
    assert "\x1b[" not in run("take", "TK-1", "--bundle", bundle, "--no-store").stdout


# ---- show, list, verify, schema


def test_a_kept_snapshot_is_shown_by_id_beginning_ticket_and_file(bundle: Path) -> None:
    """The same bytes each time."""
    taken = run("take", "TK-1", "--bundle", bundle, "-o", "json")
    snapshot_id = json.loads(taken.stdout)["snapshot_id"]
    Path("copy.json").write_bytes(taken.stdout_bytes)
    for ref in (snapshot_id, snapshot_id[:8], "TK-1", "copy.json"):
        shown = run("show", ref, "-o", "json")
        assert shown.stdout_bytes == taken.stdout_bytes, (ref, shown.stderr)
    assert run("show", "-", "-o", "json", stdin=taken.stdout_bytes).stdout_bytes == taken.stdout_bytes


@pytest.mark.parametrize(
    ("ref", "content", "code", "sentence"),
    [
        ("ps-none", None, 3, "ps-none"),
        ("gone.json", None, 3, "no such file"),
        ("x.json", b"{}", 2, "x.json: is not a snapshot document"),
        ("x.json", b"\xff", 2, "x.json: is not a snapshot document"),
        ("x.json", b"", 2, "x.json: is not a snapshot document"),
    ],
)
def test_what_cannot_be_shown_is_told(ref: str, content: bytes | None, code: int, sentence: str) -> None:
    """An unknown id exits 3, a file that is no snapshot 2."""
    if content is not None:
        Path(ref).write_bytes(content)
    for command in ("show", "verify"):
        result = run(command, ref)
        assert (result.exit_code, result.stdout) == (code, ""), result.stderr
        assert sentence in result.stderr


def test_list_names_each_snapshot_once(bundle: Path, bare: Path) -> None:
    """As a table and as JSON; an empty store is no error."""
    assert (run("list").exit_code, run("list").stdout) == (0, "")
    run("take", "TK-1", "--bundle", bundle)
    run("take", "TK-0", "--bundle", bare)
    table = run("list").stdout
    assert [table.count(ticket) for ticket in ("TK-0", "TK-1")] == [1, 1]
    assert len(json.loads(run("list", "-o", "json").stdout)) == 2
    assert len(json.loads(run("list", "-o", "json", "-n", "1").stdout)) == 1


def test_verify_opens_every_record_again_and_fails_on_drift(bundle: Path) -> None:
    """A record that changed is named, and the exit code is 9."""
    run("take", "TK-1", "--bundle", bundle)
    well_ = run("verify", "TK-1", "--bundle", bundle)
    assert well_.exit_code == 0, well_.stdout + well_.stderr
    orders = bundle / "orders.csv"
    orders.write_text(
        ORDERS.replace(",4200,EUR,stripe,2026-11-23T10:05:05Z", ",9900,EUR,stripe,2026-11-23T10:05:05Z"),
        encoding="utf-8",
    )
    changed = run("verify", "TK-1", "--bundle", bundle)
    assert changed.exit_code == 9, changed.stdout + changed.stderr
    assert "P2" in changed.stdout


def test_verify_counts_a_record_without_a_sha256_apart_and_that_is_no_drift(bundle: Path) -> None:
    """As in a document whose source did not answer in time when the records were to be stamped."""
    taken = json.loads(run("take", "TK-1", "--bundle", bundle, "-o", "json").stdout)
    for finding in taken["findings"]:
        for evidence in finding["evidence"]:
            evidence["sha256"] = ""
    for template in taken["templates"]:
        for evidence in template["examples"]:
            evidence["sha256"] = ""
    document = with_id(msgspec.convert(taken, ProblemSnapshot))
    Path("bare.json").write_bytes(canonical_bytes(document))
    result = run("verify", "bare.json", "--bundle", bundle)
    assert result.exit_code == 0, result.stdout + result.stderr
    count = len(
        {e["ref"] for f in taken["findings"] for e in f["evidence"]}
        | {e["ref"] for t in taken["templates"] for e in t["examples"]}
    )
    assert f"0 of {count} records are as they were, {count} unstamped" in result.stdout
    assert "changed" not in result.stdout


def test_verify_looks_into_a_single_bundle_whatever_its_ticket(bundle: Path) -> None:
    """The records of one place may be cited for the ticket of another; in a folder of bundles the ticket has to be."""
    Path("other.json").write_text(json.dumps({**TICKET, "id": "OTHER-1"}), encoding="utf-8")
    taken = run("take", "other.json", "--bundle", bundle)
    assert taken.exit_code == 0, taken.stderr
    result = run("verify", "OTHER-1", "--bundle", bundle)
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "holds no ticket OTHER-1" in result.stderr
    assert run("verify", "OTHER-1", "--bundle", bundle.parent).exit_code == 3


def test_what_a_source_says_cannot_repaint_the_terminal(bundle: Path) -> None:
    """Neither in what verify nor in what doctor prints."""
    evil = "d\x1b[2J\x9b31m\u202e1"
    log = bundle / "logs" / "part-0.ndjson.gz"
    log.write_bytes(gzip.compress("\n".join(LINES).replace("app-1", json.dumps(evil)[1:-1]).encode(), mtime=0))
    assert run("take", "TK-1", "--bundle", bundle).exit_code == 0
    log.unlink()
    result = run("verify", "TK-1", "--bundle", bundle)
    assert result.exit_code == 9, result.stdout
    assert "⟨U+202E⟩1" in result.stdout
    health = Health("logs", "jaeger", "failed", ("one\x1b]0;owned\x07", "  two\x1b[31m\r\n\u202etwo"), "say\x1b[2J it")
    printed = "\n".join(health_lines(health))
    for text in (result.stdout, printed):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert "[2J" not in text
    assert printed.splitlines() == [
        "failed      logs (jaeger): one",
        " " * 14 + "two ⏎ ⟨U+202E⟩two",
        " " * 12 + "-> say it",
    ]


def test_the_schema_is_json() -> None:
    """Of draft 2020-12, and it names the document's parts."""
    schema = json.loads(run("schema").stdout)
    assert "2020-12" in schema["$schema"]
    assert "diagnosis" in json.dumps(schema)


# ---- init, doctor


def test_init_writes_a_configuration_that_is_valid_and_never_overwrites_one() -> None:
    """As it is written, no source is configured."""
    assert run("init").exit_code == 0
    assert load_settings(None, None, {}).sources == {}
    Path("problem-snapshot.toml").write_text("# mine", encoding="utf-8")
    again = run("init")
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert Path("problem-snapshot.toml").read_text("utf-8") == "# mine"
    assert run("init", "--force").exit_code == 0
    assert "[defaults]" in Path("problem-snapshot.toml").read_text("utf-8")


def test_every_example_in_the_configuration_that_init_writes_is_valid() -> None:
    """With the `#` taken away from each, every profile loads, and every kind of source is among them."""
    run("init")
    path = Path("problem-snapshot.toml")
    enabled = re.sub(r"(?m)^#(?! |$)", "", path.read_text("utf-8"))
    path.write_text(enabled, encoding="utf-8")
    tree = tomllib.loads(enabled)
    env = {"ELASTICSEARCH_API_KEY": "k", "ELASTICSEARCH_PASSWORD": "p", "ORDERS_PASSWORD": "p", "PUBLISH_API_KEY": "k"}
    kinds = set()
    for profile in tree["profiles"]:
        settings = load_settings(None, profile, env, publish=True)
        assert ("publish" in tree["profiles"][profile]) == (settings.publish is not None)
        kinds |= {options["kind"] for options in tree["profiles"][profile]["sources"].values()}
        assert settings.sources
    assert kinds == {"elasticsearch", "orders", "jaeger", "tempo", "otlp"}
    mappings = {t["mapping"] for p in tree["profiles"].values() for t in p["sources"].values() if "mapping" in t}
    assert mappings == {"ecs", "otel", "logstash"}


def test_doctor_without_a_source_says_what_to_do(home: Path) -> None:
    """Nothing is wrong, but nothing is configured either."""
    result = run("doctor")
    assert result.exit_code == 0, result.stdout
    assert "problem-snapshot init" in result.stderr
    assert str(home / "store") in result.stdout


def test_doctor_tells_each_source_apart_and_what_to_do() -> None:
    """Well, refused, unreachable and hanging, all at once and within the timeout."""
    with serving(well) as url, serving(refusing) as locked, hanging() as stuck:
        configure(good=url, locked=locked, down=closed(), stuck=stuck)
        begun = time.monotonic()
        result = run("doctor", "--timeout", "1s")
        assert time.monotonic() - begun < 6
        assert result.exit_code == 8, result.stdout
        states = {m[2]: m[1] for m in re.finditer(r"(?m)^(\w+) +(\w+)", result.stdout)}
        assert (states["good"], states["locked"]) == ("ok", "refused")
        assert (states["down"], states["stuck"]) == ("unreachable", "unreachable")
        assert "-> check the address in sources.down" in result.stdout
        configure(locked=locked)
        assert run("doctor", "--timeout", "1s").exit_code == 4
    configure(down=closed())
    assert run("doctor", "--timeout", "1s").exit_code == 5


def test_a_source_that_is_not_asked_needs_no_secret(bundle: Path) -> None:
    """A bundle, and what was kept, can be read on a machine that has no key; doctor says what is missing, beside the rest."""
    good, bad = (
        '[defaults.sources.good]\nkind = "otlp"\nfiles = ["x/*.json"]\n',
        '[defaults.sources.bad]\nkind = "jaeger"\n',
    )
    Path("problem-snapshot.toml").write_text(f'{bad}url = "${{JAEGER}}"\n{good}', encoding="utf-8")
    assert run("take", "TK-1", "--bundle", bundle).exit_code == 0
    for args in (["show", "TK-1"], ["list"], ["verify", "TK-1", "--bundle", str(bundle)]):
        assert run(*args).exit_code == 0, args
    assert run("take", "-", stdin=(bundle / "ticket.json").read_bytes()).exit_code == 2
    result = run("doctor")
    assert "the environment variable JAEGER is not set" in result.stdout
    assert re.search(r"(?m)^\w+ +good", result.stdout)


def test_doctor_warns_of_secrets_in_plain_text_without_showing_them() -> None:
    """The key is named, the value is not."""
    text = '[defaults.sources.logs]\nkind = "elasticsearch"\nurl = "http://127.0.0.1:9"\nlogs = ["a"]\napi_key = "hunter2"\n'
    Path("problem-snapshot.toml").write_text(text, encoding="utf-8")
    result = run("doctor", "--timeout", "1s")
    assert "defaults.sources.logs.api_key holds a secret in plain text" in result.stdout
    assert "hunter2" not in result.output


def test_doctor_tells_of_a_store_that_cannot_be_written() -> None:
    """And exits 8."""
    Path("occupied").write_text("a file", encoding="utf-8")
    result = run("doctor", "--store", "occupied/store")
    assert result.exit_code == 8
    assert "occupied/store: cannot be written" in result.stdout


# ---- demo, bundle


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({"LANG": "C.UTF-8"}, "en"),
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh"),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "zh_TW"}, "zh"),
    ],
)
def test_the_language_of_the_machine_is_the_one_of_its_locale(environ: dict[str, str], language: str) -> None:
    """LC_ALL comes before LANG."""
    assert language_of(environ) == language


@pytest.mark.parametrize(("locale", "language"), [("C.UTF-8", "en"), ("zh_CN.UTF-8", "zh")])
def test_demo_begins_with_an_incident_in_the_language_of_the_machine(
    locale: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And shows the others in their order."""
    monkeypatch.setenv("LC_ALL", locale)
    shown = [Path(p).stem for p in re.findall(r"^\s*(/\S+\.html)$", run("demo").stdout, re.MULTILINE)]
    tickets = sorted(examples_folder().glob("*/ticket.json"))
    spoken = {path.parent.name: json.loads(path.read_text("utf-8"))["language"] for path in tickets}
    assert spoken[shown[0]] == language
    assert shown[1:] == [name for name in spoken if name != shown[0]]


def test_demo_shows_one_incident_whole_and_names_the_others() -> None:
    """And every page it names is there."""
    result = run("demo")
    assert result.exit_code == 0, result.output
    pages = [Path(p) for p in re.findall(r"^\s*(/\S+\.html)$", result.stdout, re.MULTILINE)]
    assert len(pages) >= 3
    assert all(page.is_file() for page in pages)
    assert {page.parent.name for page in pages} == {"demo-out"}


PLAIN_TICKET = {**TICKET, "created_at": "2026-11-23T19:00:00+08:00", "description": "Charged twice at about 18:05."}


def test_lines_in_the_local_time_of_the_ticket_fall_inside_its_window_in_every_command(bundle: Path) -> None:
    """take, verify and bundle read a plain file alike; --timezone wins over the ticket's offset."""
    shutil.rmtree(bundle / "logs")
    (bundle / "logs").mkdir()
    times = [f"18:{n // 60:02}:{n % 60:02}" for n in range(0, 600, 5)]
    lines = [f"2026-11-23 {time} ERROR payment charge of order M1001 failed: refused" for time in times]
    (bundle / "logs" / "app.log").write_text("\n".join(lines), encoding="utf-8")
    (bundle / "ticket.json").write_text(json.dumps(PLAIN_TICKET), encoding="utf-8")
    taken = run("take", "TK-1", "--bundle", bundle, "-o", "json")
    document = json.loads(taken.stdout)
    totals = document["template_totals"]
    assert (totals["lines"], totals["outside"]) == (len(lines), 0)
    row = next(row for row in document["coverage"] if row["what"] == "logs")
    assert row["window"]["start"] == "2026-11-23T10:00:00.000000Z"
    assert run("verify", "TK-1", "--bundle", bundle).exit_code == 0
    assert run("bundle", "TK-1", "--bundle", bundle, "--out", "copy").exit_code == 0
    copied = json.loads(run("take", "TK-1", "--bundle", "copy", "-o", "json", "--no-store").stdout)
    assert copied["template_totals"] == totals
    elsewhere = run("take", "TK-1", "--bundle", bundle, "-o", "json", "--no-store", "--timezone", "UTC")
    row = next(row for row in json.loads(elsewhere.stdout)["coverage"] if row["what"] == "logs")
    assert row["window"]["start"] == "2026-11-23T18:00:00.000000Z"


def test_orders_in_local_time_are_found_again_with_the_zone_they_were_taken_with(bundle: Path) -> None:
    """The zone is part of what a record means."""
    orders = bundle / "orders.csv"
    orders.write_text(ORDERS.replace("T10:", "T18:").replace("Z,", ","), encoding="utf-8")
    zone = ("--timezone", "Asia/Shanghai")
    taken = run("take", "TK-1", "--bundle", bundle, "-o", "json", *zone)
    assert "2026-11-23T10:05:05" in taken.stdout
    assert run("verify", "TK-1", "--bundle", bundle, *zone).exit_code == 0
    assert run("verify", "TK-1", "--bundle", bundle).exit_code == 9


def test_of_a_folder_of_bundles_the_one_of_the_ticket_is_read(bundle: Path) -> None:
    """Whether the ticket comes from standard input or from a file; a ticket that has none there is told what is."""
    folder = Path("incidents")
    for name in ("TK-1", "TK-7"):
        shutil.copytree(bundle, folder / name)
        (folder / name / "ticket.json").write_text(json.dumps({**TICKET, "id": name}), encoding="utf-8")
    shutil.rmtree(folder / "TK-7" / "logs")
    data = (bundle / "ticket.json").read_bytes()
    Path("mine.json").write_bytes(data)
    ways = [
        run("take", "TK-1", "--bundle", bundle, "-o", "json"),
        run("take", "-", "--bundle", folder, "-o", "json", stdin=data),
        run("take", "mine.json", "--bundle", folder, "-o", "json"),
    ]
    assert [way.exit_code for way in ways] == [0, 0, 0], [way.stderr for way in ways]
    assert len({way.stdout_bytes for way in ways}) == 1
    Path("mine.json").write_text(json.dumps({**TICKET, "id": "TK-9"}), encoding="utf-8")
    Path("empty").mkdir()
    wrong = [
        run("take", "-", "--bundle", folder, stdin=Path("mine.json").read_bytes()),
        run("take", "mine.json", "--bundle", folder),
        run("take", "mine.json", "--bundle", "empty"),
        run("take", "-", "--bundle", "gone", stdin=data),
    ]
    assert [(way.exit_code, way.stdout) for way in wrong] == [(2, "")] * 4, [way.stderr for way in wrong]
    assert all("'TK-9'" in way.stderr and "TK-1, TK-7" in way.stderr for way in wrong[:2])
    assert "there is no bundle in it" in wrong[2].stderr


def test_a_profile_that_is_asked_for_wins_over_the_bundle_around_a_ticket(bundle: Path) -> None:
    """The ticket is read from its file, the records from the sources."""
    with serving(well) as url:
        configure(jaeger=url)
        given = run("take", bundle / "ticket.json", "-o", "json", "--no-store", "--profile", "defaults")
    assert {r["source"] for r in json.loads(given.stdout)["coverage"]} == {"jaeger"}
    found = run("take", bundle / "ticket.json", "-o", "json", "--no-store")
    assert {r["source"] for r in json.loads(found.stdout)["coverage"]} == {"bundle"}


def test_a_bundle_is_written_without_secrets_and_with_its_identifiers(bundle: Path) -> None:
    """Cards and phones are masked in the ticket, the lines and the attributes; order numbers stay."""
    secret = "card 4242 4242 4242 4242 of order M1001, phone 13800138000"
    (bundle / "ticket.json").write_text(json.dumps({**TICKET, "description": secret}), encoding="utf-8")
    (bundle / "logs" / "part-1.ndjson").write_text(line(400, secret), encoding="utf-8")
    attributes = '"{""customer_id"": ""u1"", ""phone"": 13800138000}"'
    event = f"M1001,order,M1001,paid,4200,EUR,stripe,2026-11-23T10:06:00Z,{attributes}\n"
    (bundle / "orders.csv").write_text(ORDERS + event, encoding="utf-8")
    written = run("bundle", "TK-1", "--bundle", bundle, "--out", "copy")
    assert written.exit_code == 0, written.stderr
    files = {p.name: p.read_bytes() for p in Path("copy").rglob("*") if p.is_file()}
    text = b"\n".join(gzip.decompress(data) if name.endswith(".gz") else data for name, data in files.items())
    assert b"4242 4242" not in text
    assert b"13800138000" not in text
    assert b"M1001" in text
    assert json.loads(files["manifest.json"])["redaction"]["counts"]["card"] >= 2
    assert run("take", "TK-1", "--bundle", "copy", "--no-store").exit_code == 0


def test_a_bundle_that_was_written_gives_the_same_diagnosis(bundle: Path) -> None:
    """As a folder and as a .zip."""
    taken = json.loads(run("take", "TK-1", "--bundle", bundle, "-o", "json").stdout)
    for out in (Path("copy"), Path("copy.zip")):
        written = run("bundle", "TK-1", "--bundle", bundle, "--out", out)
        assert written.exit_code == 0, written.stderr
        again = run("take", "TK-1", "--bundle", out, "-o", "json")
        assert again.exit_code == 0, again.stderr
        assert json.loads(again.stdout)["diagnosis"]["fault_class"] == taken["diagnosis"]["fault_class"]
        assert run("bundle", "TK-1", "--bundle", bundle, "--out", out).exit_code == 2


def test_a_plan_is_shown_without_fetching_and_not_as_a_page() -> None:
    """A bundle counts nothing beforehand and says so; a plan is lines or JSON."""
    bundle = str(ROOT / "examples" / "TK-33097")
    shown = run("take", "TK-33097", "--bundle", bundle, "--explain-plan")
    assert shown.exit_code == 0
    assert "bundle (bundle), logs" in shown.stdout
    assert "counts nothing beforehand" in shown.stdout
    as_json = run("take", "TK-33097", "--bundle", bundle, "--explain-plan", "-o", "json")
    assert json.loads(as_json.stdout)["plan"][0]["source"] == "bundle"
    refused = run("take", "TK-33097", "--bundle", bundle, "--explain-plan", "-o", "html")
    assert refused.exit_code == 2
    assert "table or json" in refused.stderr
