"""The published JSON Schema says what the model says, and holds for every document."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from snapshots.model import ProblemSnapshot, canonical_bytes, read_snapshot
from snapshots.schema import PUBLISHED, json_schema, schema_text
from tests.snapshots_samples import SAMPLES

VALIDATOR = Draft202012Validator(json_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def document(name: str = "dns_failure") -> dict[str, Any]:
    """A sample as parsed JSON."""
    return copy.deepcopy(msgspec.json.decode(canonical_bytes(SAMPLES[name])))


def test_the_published_copy_equals_the_model():
    """Whoever changes the model publishes the schema anew: `PUBLISHED.write_text(schema_text())`."""
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text()


def test_the_schema_is_valid_draft_2020_12():
    Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json_schema()["$id"] == "urn:problem-snapshot:schema:1.0"


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_validates_and_reads_back_as_itself(name):
    assert [error.message for error in VALIDATOR.iter_errors(document(name))] == []
    assert read_snapshot(canonical_bytes(SAMPLES[name])) == SAMPLES[name]


def test_every_part_is_described_and_closed():
    """No definition lacks its sentence, and none lets unknown fields in."""
    for name, definition in json_schema()["$defs"].items():
        assert definition.get("description"), name
        assert definition["additionalProperties"] is False, name


@pytest.mark.parametrize("path", [(), ("ticket",), ("diagnosis",), ("findings", 0), ("findings", 0, "evidence", 0)])
def test_an_unknown_field_fails_in_the_schema_and_in_the_reader(path):
    made = document()
    part = made
    for step in path:
        part = part[step]
    part["surprise"] = 1
    assert not VALIDATOR.is_valid(made)
    with pytest.raises(msgspec.ValidationError, match="surprise"):
        msgspec.json.decode(msgspec.json.encode(made), type=ProblemSnapshot)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("ticket", "created_at"), "2026-11-02T19:51:52"),
        (("scope", "anchor"), "2026-11-02T19:51:52+08:00"),
        (("ticket", "created_at"), "yesterday"),
        (("snapshot_id",), "ps-1"),
        (("schema_version",), "2.0"),
        (("diagnosis", "confidence"), 1.2),
        (("findings", 0, "evidence", 0, "sha256"), "ABC"),
        (("coverage", 0, "fetched"), -1),
        (("coverage", 0, "status"), "fine"),
        (("templates", 0, "change"), "odd"),
    ],
)
def test_a_value_of_the_wrong_form_fails(path, wrong):
    made = document()
    part = made
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = wrong
    assert not VALIDATOR.is_valid(made)
