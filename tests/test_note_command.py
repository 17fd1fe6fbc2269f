"""The commands that print a snapshot's note and tell the configured receivers of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import commands
from snapshots.model import canonical_bytes
from snapshots.render.note import Links, marker_of, note_blocks, write
from tests.note_forms import READERS
from tests.snapshots_samples import SAMPLES
from tests.test_notify import Receiver
from tests.web import serving


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with one snapshot in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "s.json").write_bytes(canonical_bytes(SAMPLES["log_hole"]))
    return tmp_path


def run(*args: str) -> Result:
    """What a command gives, errors as exit codes."""
    return CliRunner().invoke(commands, args, catch_exceptions=False, standalone_mode=True)


@pytest.mark.parametrize("form", READERS)
def test_the_note_is_printed_as_it_would_go_on_the_ticket(form):
    s = SAMPLES["log_hole"]
    out = run("note", "s.json", "--form", form, "--language", "zh", "--page", "https://desk.example/s/1")
    blocks = note_blocks(s, "zh", Links(page="https://desk.example/s/1"))
    assert out.stdout == write(blocks, form, marker_of(s.ticket.system, s.ticket.id))
    assert out.exit_code == 0


def test_without_a_choice_it_is_text_in_the_tickets_language():
    out = run("note", "s.json")
    assert out.stdout.startswith("Not decided\n")
    assert run("note", "s.json", "--limit", "1500").stdout.count("Left out here for length") == 1


@pytest.mark.parametrize(
    ("args", "sentence"),
    [(("--limit", "20"), "cannot hold"), (("--page", "javascript:alert(1)"), "no http or https address")],
)
def test_a_note_that_cannot_be_is_a_wrong_call(args, sentence):
    out = run("note", "s.json", *args)
    assert out.exit_code == 2
    assert sentence in out.stderr


CONFIG = """
[defaults.notify.all]
kind = "slack"
url = "{url}"
[defaults.notify.urgent]
kind = "wecom"
url = "{url}"
when = ["P1"]
"""


def test_receivers_are_told_as_their_when_says_and_named_ones_in_any_case(home):
    with serving(Receiver()) as receiver:
        (home / "problem-snapshot.toml").write_text(CONFIG.format(url=receiver.url))
        out = run("notify", "s.json", "--dry-run")
        assert out.stdout == "all: would be told\nurgent: not told, as its `when` says\n"
        assert not receiver.got
        out = run("notify", "s.json")
        assert (out.stdout, out.exit_code) == ("all: sent\nurgent: not told, as its `when` says\n", 0)
        assert "blocks" in receiver.body
        assert run("notify", "s.json", "--to", "urgent").stdout == "urgent: sent\n"
        assert receiver.body["msgtype"] == "markdown_v2"
        receiver.answer = (429, {"retry-after": "9"}, b"")
        out = run("notify", "s.json", "--to", "urgent", "--to", "all")
        assert out.exit_code == 8
        assert out.stdout.count("answered 429") == 2
        receiver.answer = (410, {}, b"")
        out = run("notify", "s.json")
        assert out.exit_code == 8
        assert "gone for good" in out.stdout
        assert "s3cr3t" not in out.output
        assert len(json.dumps(receiver.body)) < 6_000


def test_a_receiver_that_is_not_configured_is_told(home):
    out = run("notify", "s.json")
    assert out.exit_code == 2
    assert "nobody is to be told" in out.stderr
    (home / "problem-snapshot.toml").write_text(CONFIG.format(url="https://x.example/a"))
    out = run("notify", "s.json", "--to", "nobody")
    assert out.exit_code == 2
    assert "there are: all, urgent" in out.stderr
