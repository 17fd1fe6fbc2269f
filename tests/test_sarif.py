"""The SARIF output is valid, points at the evidence, and says nothing that the document does not.

What is written is held in `golden/`; after a wanted change, write it anew with `UPDATE_GOLDEN=1 pytest tests/test_sarif.py`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from jsonschema import Draft4Validator

from snapshots.model import Coverage, Evidence, ProblemSnapshot, Text
from snapshots.render import render
from tests.hostile import hostile
from tests.snapshots_samples import SAMPLES

HERE = Path(__file__).parent
SCHEMA = Draft4Validator(json.loads((HERE / "data" / "sarif-schema-2.1.0.json").read_text(encoding="utf-8")))
KINDS = {"healthy": "pass", "found": "review", "not_evaluated": "notApplicable"}


def run_of(snapshot: ProblemSnapshot) -> dict[str, Any]:
    """The one run of the log, which is valid."""
    log = json.loads(render(snapshot, "sarif"))
    assert [error.message for error in SCHEMA.iter_errors(log)] == []
    (run,) = log["runs"]
    return run


def with_evidence(**fields: Any) -> ProblemSnapshot:
    """A document whose first finding cites one record of these fields."""
    s = SAMPLES["dns_failure"]
    evidence = Evidence(**{"ref": "E1", "kind": "log", "source": "bundle", "sha256": "a" * 64, **fields})
    finding = msgspec.structs.replace(s.findings[0], evidence=[evidence])
    return msgspec.structs.replace(s, findings=[finding])


@pytest.mark.parametrize("name", SAMPLES)
def test_the_log_is_held_in_golden_files(name):
    text = render(SAMPLES[name], "sarif")
    path = HERE / "golden" / f"{name}.sarif"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SAMPLES)
def test_the_log_fits_the_schema_of_oasis_also_when_an_attacker_wrote_every_text(name):
    run_of(SAMPLES[name])
    run_of(hostile(name))


def test_the_schema_would_tell_a_log_that_does_not_fit():
    log = json.loads(render(SAMPLES["dns_failure"], "sarif"))
    log["runs"][0]["results"][0]["level"] = "dreadful"
    del log["runs"][0]["tool"]
    assert len(list(SCHEMA.iter_errors(log))) == 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_languages_are_in_whatever_the_reader_chose(language):
    s = SAMPLES["wechat_signature"]
    assert render(s, "sarif", language=language, width=40, full=True) == render(s, "sarif")
    first = run_of(s)["results"][0]
    assert first["message"] == {"text": s.findings[0].statement.en, "properties": {"zh": s.findings[0].statement.zh}}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_finding_missing_evidence_and_check_is_one_result_of_a_rule(name):
    s = SAMPLES[name]
    run = run_of(s)
    rules, results = run["tool"]["driver"]["rules"], run["results"]
    assert len(results) == len(s.findings) + len(s.diagnosis.missing) + len(s.checks)
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in results)
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert [r["kind"] for r in results[len(results) - len(s.checks) :]] == [KINDS[c.outcome] for c in s.checks]
    taxa = run["taxonomies"][0]["taxa"]
    for result in results:
        assert all(taxa[taxon["index"]]["id"] == taxon["id"] for taxon in result.get("taxa", []))
        # SARIF 2.1.0, 3.27.10: only a failure has a level.
        assert (result["level"] == "none") == (result["kind"] != "fail")


def test_the_located_class_is_an_error_and_the_rest_is_none():
    s = SAMPLES["dns_failure"]
    levels = {r["properties"]["id"]: r["level"] for r in run_of(s)["results"] if "id" in r["properties"]}
    strong = {f.id for f in s.findings if f.supports == s.diagnosis.fault_class and f.weight >= 1}
    assert strong
    assert {name for name, level in levels.items() if level == "error"} == strong


def test_an_abstention_claims_no_failure_of_a_class_and_names_what_is_missing():
    s = SAMPLES["log_hole"]
    assert s.diagnosis.abstained
    results = run_of(s)["results"]
    assert not [r for r in results if r["level"] in {"error", "warning"}]
    asked = [r["message"]["text"] for r in results if r["kind"] == "open"]
    assert asked == [missing.question.en for missing in s.diagnosis.missing]
    assert asked


def test_no_fault_is_no_failure():
    s = SAMPLES["dns_failure"]
    fine = msgspec.structs.replace(s.findings[0], supports="success", subclass=None)
    d = msgspec.structs.replace(s.diagnosis, fault_class="success", fault_subclass=None)
    result = run_of(msgspec.structs.replace(s, findings=[fine], diagnosis=d))["results"][0]
    assert (result["kind"], result["level"]) == ("informational", "none")


def test_what_only_rules_a_class_out_is_no_failure():
    s = SAMPLES["dns_failure"]
    out = msgspec.structs.replace(s.findings[0], supports=None, subclass=None, against=["risk_block"], weight=-1.2)
    result = run_of(msgspec.structs.replace(s, findings=[out]))["results"][0]
    assert (result["kind"], result["level"], result["properties"]["against"]) == (
        "informational",
        "none",
        ["risk_block"],
    )


def test_a_byte_range_is_a_region_of_a_file_relative_to_its_source():
    run = run_of(with_evidence(file="logs/支付 a#1.log", start=120, end=160, quote="boom"))
    place = run["results"][0]["locations"][0]["physicalLocation"]
    uri = place["artifactLocation"]["uri"]
    assert unquote(uri) == "logs/支付 a#1.log"
    assert not {"#", " "} & set(uri)
    assert place["artifactLocation"]["uriBaseId"] in run["originalUriBaseIds"]
    assert place["region"] == {"byteOffset": 120, "byteLength": 40, "snippet": {"text": "boom"}}


@pytest.mark.parametrize("file", ["/etc/passwd", "https://evil.example/x", "//evil.example/x"])
def test_a_files_place_never_leads_to_another_host(file):
    place = run_of(with_evidence(file=file, start=0, end=1))["results"][0]["locations"][0]["physicalLocation"]
    assert ":" not in place["artifactLocation"]["uri"]
    assert not place["artifactLocation"]["uri"].startswith("/")


def test_a_document_is_a_logical_location_by_index_and_id():
    (location,) = run_of(with_evidence(index="app-1", doc_id="d7"))["results"][0]["locations"]
    assert location["logicalLocations"] == [{"name": "d7", "fullyQualifiedName": "bundle/app-1/d7", "kind": "log"}]
    assert "physicalLocation" not in location
    assert location["properties"]["sha256"] == "a" * 64


def test_fingerprints_stay_when_numbers_shift_and_tell_results_apart():
    s = SAMPLES["wechat_signature"]
    again = msgspec.structs.replace(
        s,
        snapshot_id="ps-other",
        findings=[
            msgspec.structs.replace(f, id=f"F{n}", weight=f.weight / 2) for n, f in enumerate(reversed(s.findings))
        ],
    )

    def prints(snapshot: ProblemSnapshot) -> list[str]:
        return [r["fingerprints"]["problemSnapshot/v1"] for r in run_of(snapshot)["results"]]

    assert sorted(prints(s)) == sorted(prints(again))
    assert len(set(prints(s))) == len(prints(s))
    elsewhere = msgspec.structs.replace(s, ticket=msgspec.structs.replace(s.ticket, id="other"))
    assert not set(prints(s)) & set(prints(elsewhere))


def test_text_from_outside_is_no_link_and_no_placeholder():
    """SARIF viewers make `[text](address)` a link and fill in `{0}`."""
    s = SAMPLES["dns_failure"]
    evil = Text(en="[click](javascript:alert(1)) {0} \x1b[2J\u202e", zh="坏")
    finding = msgspec.structs.replace(s.findings[0], statement=evil)
    run = run_of(msgspec.structs.replace(s, findings=[finding]))
    assert run["results"][0]["message"]["text"] == "[click] (javascript:alert(1)) {{0}} ⟨U+202E⟩"


def test_a_source_that_failed_is_told():
    s = SAMPLES["dns_failure"]
    row = Coverage(source="logs", kind="elasticsearch", what="logs", status="failed", asked="all", error="down")
    run = run_of(msgspec.structs.replace(s, coverage=[row]))
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    (note,) = invocation["toolExecutionNotifications"]
    assert (note["level"], note["message"]["text"]) == ("error", "logs, logs: failed: fetched 0, left out 0: down")
