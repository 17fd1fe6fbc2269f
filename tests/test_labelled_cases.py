"""Every fifth of the labelled incidents in benchmarks/cases: what is said of them can be opened, and nothing fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.labels import read_labels
from pipeline.run import take_snapshot
from pipeline.settings import Settings
from pipeline.sources import open_bundle
from pipeline.tickets.file import find_ticket
from snapshots.model import ProblemSnapshot
from snapshots.verify import verify

CASES = Path(__file__).parent.parent / "benchmarks" / "cases"
SETS = ("first", "second", "third")
NAMES = [(name, path.stem) for name in SETS for path in sorted((CASES / name).glob("*.zip"))[::5]]


@pytest.mark.parametrize(("folder", "name"), NAMES)
def test_every_statement_resolves(folder, name):
    """No finding without evidence, each record opened again and unchanged, no sum that does not add up."""
    ticket, bundle = find_ticket(name, CASES / folder)
    assert bundle is not None
    source = open_bundle(bundle, zone=ticket.created_at.tzinfo)
    try:
        snapshot: ProblemSnapshot = take_snapshot(ticket, [source], Settings(budget=60)).snapshot
        report = verify(snapshot, lambda _: source)
    finally:
        source.close()
    assert all(finding.evidence for finding in snapshot.findings)
    assert report.ok, report.problems
    if snapshot.diagnosis.abstained:
        assert snapshot.diagnosis.missing


@pytest.mark.parametrize("folder", SETS)
def test_each_set_has_a_label_for_each_case(folder):
    labels = read_labels(CASES / f"{folder}_labels.csv").labels
    assert {label.id for label in labels} == {path.stem for path in (CASES / folder).glob("*.zip")}
