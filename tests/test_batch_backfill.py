"""`batch --publish` and `batch --attach`, over real HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from cli import commands
from tests.batch_samples import incident, incidents, tickets_file
from tests.service_desk import configuration, desk


@pytest.fixture(autouse=True)
def _alone(home: Path) -> None:
    """No command here sees anybody's settings."""


@pytest.fixture
def three(home: Path) -> list[str | Path]:
    """Three tickets of a system called desk and one of another, with their bundles."""
    tickets = [{**incident(number), "system": "desk"} for number in range(3)] + [{**incident(3), "system": "mail"}]
    path = tickets_file(home / "tickets.jsonl", tickets)
    return [path, "--bundle", incidents(home / "bundles", 4), "--out-dir", home / "out", "--runner", "local", "-j", "1"]


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(commands, ["batch", *map(str, args)], prog_name="problem-snapshot")


def test_notes_are_counted_first_and_put_on_their_tickets_when_that_is_asked_for(home: Path, three: list[str | Path]):
    """Private, one a ticket, and not a second time when the run goes on; a ticket that is gone is told."""
    with desk() as board:
        config = home / "desk.toml"
        config.write_text(configuration(board, "sqlite:///unused", "127.0.0.1:0", home / "store"), "utf-8")
        board.tickets = {f"B-{number:04d}": {**incident(number), "id": f"B-{number:04d}"} for number in (0, 1)}
        call = [*three, "--config", config, "--attach", "desk", "--rate", "6000"]
        first = run(*call)
        assert first.exit_code == 0, (first.output, first.exception)
        assert "Notes that would go to desk: 3" in first.stderr
        assert "Nothing was sent" in first.stderr
        assert "neither desk nor generic: 1" in first.stderr
        assert not board.notes
        sent = run(*call, "--send", "--resume")
        assert sent.exit_code == 8
        assert "Attached to desk: 2 created; 1 failed" in sent.stderr
        assert "Not attached: B-0002" in sent.stderr
        assert {ticket: len(notes) for ticket, notes in board.notes.items()} == {"B-0000": 1, "B-0001": 1}
        board.tickets["B-0002"] = {**incident(2), "id": "B-0002"}
        again = run(*call, "--send", "--resume")
        assert again.exit_code == 0, again.output
        assert "Tickets that have their note from an earlier run: 2" in again.stderr
        assert board.writes == {"B-0000": 1, "B-0001": 1, "B-0002": 1}


def test_a_system_that_is_not_configured_is_told_before_anything_is_taken(home: Path, three: list[str | Path]):
    result = run(*three, "--attach", "helpdesk")
    assert result.exit_code == 2
    assert "no ticket system 'helpdesk' is configured" in result.stderr
    assert not (home / "out").exists()
    assert "--send goes with --attach" in run(*three, "--send").stderr


def test_snapshots_of_a_batch_are_published_and_nothing_is_written_twice(
    home: Path, three: list[str | Path], elasticsearch_url: str
):
    """Into a real index; a second time every document is there as it should be."""
    index = f"batch-{uuid4().hex[:8]}"
    config = home / "publish.toml"
    config.write_text(f"[defaults.publish]\nurl = {json.dumps(elasticsearch_url)}\nindex = '{index}'\n", "utf-8")
    first = run(*three, "--config", config, "--publish")
    assert first.exit_code == 0, (first.output, first.exception)
    assert f"Published: {index} at " in first.stderr
    assert " created" in first.stderr
    again = run(*three, "--config", config, "--publish", "--resume")
    assert again.exit_code == 0, again.output
    assert " created" not in again.stderr
    assert " unchanged" in again.stderr
