"""`diff` and `replay` on the command line: what is found, what it was made from, and the exit codes."""

from __future__ import annotations

import gzip
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.errors import UsageError
from pipeline.replay import _verified, asked_span, ticket_of
from pipeline.scope import ASKED_FOR
from snapshots.comparison import Comparison
from snapshots.model import canonical_bytes, read_snapshot, with_id
from snapshots.verify import all_evidence
from tests.snapshots_samples import SAMPLES
from tests.test_cli import LINES, ORDERS, TICKET, bare, bundle, line, run

__all__ = ["bare", "bundle"]  # fixtures

pytestmark = pytest.mark.usefixtures("home")


def taken(folder: Path, name: str, *more: str) -> Path:
    """The snapshot of the folder's ticket, kept and in a file of its own."""
    ticket = json.loads((folder / "ticket.json").read_text(encoding="utf-8"))["id"]
    result = run("take", ticket, "--bundle", folder, "-o", "json", *more)
    assert result.exit_code == 0, result.stderr
    Path(name).write_bytes(result.stdout_bytes)
    return Path(name)


def compared(*args: str | Path, code: int = 0) -> Comparison:
    """What a command prints as JSON."""
    result = run(*args, "-o", "json")
    assert result.exit_code == code, result.stdout + result.stderr
    return msgspec.json.decode(result.stdout_bytes, type=Comparison)


def lose_a_payment(folder: Path) -> None:
    """The second payment is not in the order source any more."""
    kept = [row for row in ORDERS.splitlines(keepends=True) if ",P2," not in row]
    (folder / "orders.csv").write_text("".join(kept), encoding="utf-8")


# ---- diff


def test_a_snapshot_does_not_differ_from_itself_by_id_ticket_and_file(bundle: Path) -> None:
    """All three names lead to the same document."""
    path = taken(bundle, "one.json")
    snapshot_id = json.loads(path.read_bytes())["snapshot_id"]
    for ref in (snapshot_id, snapshot_id[:8], "TK-1"):
        assert compared("diff", path, ref, "--exit-code").same_document


def test_what_differs_is_told_and_exits_9_where_that_was_asked_for(bundle: Path) -> None:
    """And 0 where it was not."""
    before = taken(bundle, "before.json")
    lose_a_payment(bundle)
    after = taken(bundle, "after.json")
    found = compared("diff", before, after)
    assert found == compared("diff", before, after, "--exit-code", code=9)
    assert not found.same
    gone = [one for one in found.findings if one.change == "gone" and one.supports == "duplicate"]
    assert gone or found.diagnosis
    table = run("diff", before, after)
    assert found.conclusion[0].en.split()[0] in table.stdout
    assert run("diff", before, after, "-o", "md").stdout.startswith("## TK-1 ")


def test_snapshots_of_two_tickets_are_compared_with_a_note(bundle: Path, bare: Path) -> None:
    """It is no error."""
    found = compared("diff", taken(bundle, "one.json"), taken(bare, "other.json"))
    assert "different tickets" in found.conclusion[0].en


def test_the_comparison_goes_to_a_file_in_the_format_of_its_name(bundle: Path) -> None:
    """A format that a comparison does not have is a wrong call."""
    path = taken(bundle, "one.json")
    assert run("diff", path, path, "--out", "same.json").exit_code == 0
    assert msgspec.json.decode(Path("same.json").read_bytes(), type=Comparison).same_document
    refused = run("diff", path, path, "--out", "same.html")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "table, json, md" in refused.stderr
    assert run("diff", path, "gone.json").exit_code == 3


# ---- replay


def test_the_same_inputs_through_the_same_program_give_the_same_document(bundle: Path) -> None:
    """To the byte: its id is the hash of its content."""
    taken(bundle, "one.json")
    found = compared("replay", "TK-1", "--bundle", bundle, "--exit-code")
    assert found.same_document
    assert found.before.snapshot_id == found.after.snapshot_id
    assert found.replay is not None
    assert (found.replay.ticket_from, found.replay.window_from, found.replay.settings) == ("bundle", "derived", "same")
    assert found.replay.ok > 0
    assert found.replay.records == []


def test_replay_keeps_nothing(bundle: Path) -> None:
    """The store holds what was taken, and nothing else."""
    taken(bundle, "one.json")
    (bundle / "ticket.json").write_text(json.dumps({**TICKET, "title": "Charged two times"}), encoding="utf-8")
    found = compared("replay", "TK-1", "--bundle", bundle)
    assert [change.name for change in found.ticket] == ["title"]
    assert len(json.loads(run("list", "-o", "json").stdout)) == 1


def test_a_window_that_a_person_had_asked_for_is_asked_for_again(bundle: Path) -> None:
    """Also by an answer that reads other words."""
    window = ("--from", "2026-11-23T10:00:00Z", "--to", "2026-11-23T10:20:00Z")
    path = taken(bundle, "one.json", *window)
    scope = read_snapshot(path.read_bytes()).scope
    assert scope.reason == ASKED_FOR
    found = compared("replay", path, "--bundle", bundle, "--exit-code")
    assert found.replay is not None
    assert (found.same_document, found.replay.window_from, found.scope) == (True, "asked", [])


def test_records_that_are_gone_are_counted_and_named(bundle: Path) -> None:
    """And so are the findings that lost them."""
    taken(bundle, "one.json")
    lose_a_payment(bundle)
    found = compared("replay", "TK-1", "--bundle", bundle, "--exit-code", code=9)
    assert found.replay is not None
    assert found.replay.gone >= 1
    assert {row.state for row in found.replay.records} == {"gone"}
    assert found.inputs.verdict == "other"
    told = " ".join(line.en for line in found.conclusion)
    assert f"{found.replay.gone} gone: not all of its evidence is there" in told
    result = run("replay", "TK-1", "--bundle", bundle)
    assert result.exit_code == 0
    assert "Records that are not as they were" in result.stdout


def test_the_ticket_of_the_snapshot_is_taken_where_the_bundle_has_none(bundle: Path) -> None:
    """And the output says so."""
    taken(bundle, "one.json")
    (bundle / "ticket.json").unlink()
    found = compared("replay", "TK-1", "--bundle", bundle)
    assert found.replay is not None
    assert found.replay.ticket_from == "snapshot"
    assert any("the redacted ticket in the snapshot" in line.en for line in found.conclusion)
    assert found.same


def test_a_ticket_that_is_given_wins(bundle: Path) -> None:
    """From a file or from standard input."""
    taken(bundle, "one.json")
    Path("mine.json").write_text(json.dumps(TICKET), encoding="utf-8")
    (bundle / "ticket.json").unlink()
    found = compared("replay", "TK-1", "--bundle", bundle, "--ticket", "mine.json")
    assert found.replay is not None
    assert (found.replay.ticket_from, found.same_document) == ("file", True)
    piped = run("replay", "TK-1", "--bundle", bundle, "--ticket", "-", "-o", "json", stdin=json.dumps(TICKET).encode())
    assert msgspec.json.decode(piped.stdout_bytes, type=Comparison) == found
    assert run("replay", "-", "--ticket", "-", "--bundle", bundle, stdin=b"{}").exit_code == 2


def test_of_a_folder_of_bundles_the_tickets_own_is_replayed(bundle: Path, bare: Path) -> None:
    """As `take` finds it."""
    taken(bundle, "one.json")
    assert bare.parent == bundle.parent
    assert compared("replay", "TK-1", "--bundle", bundle.parent).same_document


def test_a_ticket_whose_personal_data_was_masked_is_the_same_again_from_the_snapshot(bundle: Path) -> None:
    """Masking what is masked changes nothing, and nothing personal is printed by any of the new outputs."""
    secrets = ("13812345678", "zhang.wei@example.com", "4111111111111111")
    text = f"{TICKET['description']} Call {secrets[0]} or write to {secrets[1]}, card {secrets[2]}."
    (bundle / "ticket.json").write_text(json.dumps({**TICKET, "description": text}), encoding="utf-8")
    log = bundle / "logs" / "part-0.ndjson.gz"
    lines = [*LINES, line(304, f"order M1001 of {secrets[1]} failed for {secrets[0]}", "ERROR")]
    log.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    before = taken(bundle, "before.json")
    printed = [
        run("replay", before, "--bundle", bundle, "-o", form, "--full").stdout for form in ("table", "json", "md")
    ]
    (bundle / "ticket.json").unlink()
    found = compared("replay", before, "--bundle", bundle)
    assert found.ticket == []
    lose_a_payment(bundle)
    printed += [
        run("replay", before, "--bundle", bundle, "-o", form, "--full").stdout for form in ("table", "json", "md")
    ]
    printed.append(run("show", before, "-o", "sarif").stdout)
    assert all(printed)
    assert not [secret for secret in secrets for text in printed if secret in text]


def test_a_source_that_gave_a_part_exits_8_before_9(bundle: Path) -> None:
    """A difference on a part of the data is none."""
    taken(bundle, "one.json")
    log = bundle / "logs" / "part-0.ndjson.gz"
    log.write_bytes(log.read_bytes()[:-40])
    found = compared("replay", "TK-1", "--bundle", bundle, "--exit-code", code=8)
    assert found.inputs.verdict == "other"


def test_a_source_that_hangs_is_not_waited_for_when_the_cited_records_are_opened() -> None:
    """Its records are unreachable, those of the others are told all the same."""
    s = SAMPLES["dns_failure"]
    names = sorted({evidence.source for evidence in all_evidence(s)})
    free = threading.Event()

    class Hanging:
        name = names[0]

        def resolve(self, pointers: Any) -> Any:
            free.wait(30)
            return dict.fromkeys(pointers)

    begun = time.monotonic()
    report = _verified(s, [Hanging()], 0.2)  # type: ignore[list-item]
    free.set()
    assert time.monotonic() - begun < 5
    assert report.count("unreachable") == len(report.evidence)
    assert any("no answer within 0.2 s" in row.reason for row in report.evidence)


def test_a_bundle_without_the_records_and_no_source_at_all_are_told(bundle: Path) -> None:
    """As `take` does."""
    taken(bundle, "one.json")
    assert run("replay", "TK-1").exit_code == 2
    assert run("replay", "TK-1", "--bundle", "nowhere").exit_code == 2
    empty = bundle.parent / "empty"
    shutil.copytree(bundle, empty / "other")
    (empty / "other" / "ticket.json").write_text(json.dumps({**TICKET, "id": "TK-9"}), encoding="utf-8")
    assert run("replay", "TK-1", "--bundle", empty).exit_code == 3


def test_sarif_is_a_format_of_take_and_show_and_of_a_files_name(bundle: Path) -> None:
    """The same log each time."""
    shown = run("take", "TK-1", "--bundle", bundle, "-o", "sarif")
    assert shown.exit_code == 0, shown.stderr
    assert json.loads(shown.stdout)["version"] == "2.1.0"
    for name in ("tk.sarif", "tk.sarif.json"):
        assert run("show", "TK-1", "--out", name).exit_code == 0
        assert Path(name).read_bytes() == shown.stdout_bytes


# ---- a document that somebody wrote


@pytest.mark.parametrize(
    ("part", "fields", "sentence"),
    [
        ("ticket", {"created_at": "yesterday"}, "ticket.created_at of the snapshot is no time"),
        ("ticket", {"created_at": "2026-11-23T10:00:00"}, "has no offset"),
    ],
)
def test_a_snapshot_without_a_time_cannot_be_replayed(part: str, fields: dict[str, Any], sentence: str) -> None:
    """The field is named."""
    record = msgspec.structs.replace(getattr(SAMPLES["dns_failure"], part), **fields)
    with pytest.raises(UsageError, match=sentence):
        ticket_of(record)


def test_an_asked_window_that_is_no_time_is_told(bundle: Path) -> None:
    """On the command line as well."""
    s = SAMPLES["dns_failure"]
    window = msgspec.structs.replace(s.scope.window, start="noon")
    scope = msgspec.structs.replace(s.scope, reason=ASKED_FOR, window=window)
    edited = with_id(msgspec.structs.replace(s, scope=scope))
    with pytest.raises(UsageError, match=r"scope\.window\.start"):
        asked_span(edited)
    Path("edited.json").write_bytes(canonical_bytes(edited))
    assert run("replay", "edited.json", "--bundle", bundle).exit_code == 2
