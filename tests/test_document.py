"""The document: redacted, cited, capped with a count, and of one piece with itself."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.diagnose import diagnose
from pipeline.document import number, write_document
from pipeline.evidence import detect
from pipeline.evidence.case import Case
from pipeline.settings import Redacting
from snapshots.model import ProblemSnapshot, canonical_bytes, sha256_hex, with_id
from snapshots.verify import all_evidence, verify
from tests.flow_samples import (
    ATTEMPT,
    CUSTOMER,
    NAMES,
    ORDER,
    SETTINGS,
    TableSource,
    case_of,
    line,
    span_row,
    taken,
    usual_lines,
)
from tests.test_evidence import FAILED

TRACE = "a" * 32


def written(case: Case) -> ProblemSnapshot:
    seen = detect(case)
    return write_document(case, seen, diagnose(case, seen, number(seen)), [TableSource("test", logs=())])


def failing(text: str = "connection refused", **more) -> Case:
    return case_of([*usual_lines(), line(1, f"{ORDER} {text}", "x", **more)], FAILED)


@pytest.mark.parametrize("name", NAMES)
def test_a_document_agrees_with_itself(name):
    snapshot = taken(name)
    assert with_id(snapshot) == snapshot
    assert verify(snapshot, lambda _: None).problems == []
    assert msgspec.json.decode(canonical_bytes(snapshot), type=ProblemSnapshot) == snapshot


def test_findings_are_numbered_and_cited_records_too():
    snapshot = written(failing())
    assert [f.id for f in snapshot.findings] == [f"F{i}" for i in range(1, len(snapshot.findings) + 1)]
    refs = list(dict.fromkeys(e.ref for e in all_evidence(snapshot)))
    assert refs == [f"E{i}" for i in range(1, len(refs) + 1)]


def test_a_stamp_covers_what_the_source_holds():
    (evidence,) = {e.doc_id: e for e in all_evidence(written(failing())) if e.doc_id == "x"}.values()
    assert evidence.sha256 == sha256_hex(b"x")


@pytest.mark.parametrize(
    ("secret", "kind"),
    [
        ("13912345678", "phone"),
        ("4111 1111 1111 1111", "card"),
        ("jane.doe@shop.example", "email"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", None),
    ],
)
def test_personal_data_and_secrets_are_replaced_and_counted(secret, kind):
    snapshot = written(failing(f"connection refused while writing to {secret}"))
    assert secret not in canonical_bytes(snapshot).decode()
    assert snapshot.redaction.total >= 1
    assert snapshot.redaction.total == sum(snapshot.redaction.counts.values())
    assert kind is None or snapshot.redaction.counts[kind] >= 1


def test_identifiers_that_engineers_need_stay_whole():
    data = canonical_bytes(written(failing())).decode()
    for name in (ORDER, ATTEMPT, CUSTOMER, TRACE):
        assert name in data


@pytest.mark.parametrize(
    "patterns",
    [
        (r"seat (\d+[A-F])",),
        ("seat [0-9]+[A-F]",),
        pytest.param(
            (r"desk (\d+[A-F])", "seat [0-9]+[A-F]"),
        ),
    ],
    ids=["group", "whole", "several"],
)
def test_the_users_own_patterns_are_replaced(patterns):
    settings = msgspec.structs.replace(SETTINGS, redaction=Redacting(patterns={"seat": patterns}))
    case = failing("connection refused for seat 12C")
    case = Case(**{**{name: getattr(case, name) for name in case.__dataclass_fields__}, "settings": settings})
    snapshot = written(case)
    assert "12C" not in canonical_bytes(snapshot).decode()
    assert snapshot.redaction.counts["seat"] >= 1


def test_templates_beyond_the_list_are_counted():
    kinds = ("".join(pair) for pair in zip("abcdefghij" * 10, (c * 9 for c in "klmnopqrst" * 10), strict=True))
    lines = [line(10 + i, f"{word} " * (3 + i), f"t{i}") for i, word in enumerate(list(kinds)[:60])]
    snapshot = written(case_of(lines, FAILED))
    totals = snapshot.template_totals
    assert (totals.templates, totals.listed, totals.unlisted_templates, totals.unlisted_lines) == (60, 40, 20, 20)


def test_spans_beyond_the_list_are_counted_and_failed_ones_come_first():
    spans = [span_row(TRACE, f"s{i:03d}") for i in range(60)] + [span_row(TRACE, "zzz", status="error")]
    snapshot = written(case_of(usual_lines(), FAILED, spans))
    assert len(snapshot.spans) == 40
    assert snapshot.spans[0].span_id == "zzz"
    check = next(check for check in snapshot.checks if check.id == "unlisted_spans")
    assert check.statement.en.startswith("21 ")


def test_lines_that_were_not_read_are_a_check():
    lines = [line(5 + i / 1000, f"{ORDER} said {'ab' * (i % 20)} {'x' * (i // 20)}", f"l{i}") for i in range(350)]
    snapshot = written(case_of([*usual_lines(), *lines], FAILED))
    check = next(check for check in snapshot.checks if check.id == "unread_lines")
    assert (check.outcome, check.statement.en.split()[0]) == ("not_evaluated", "50")


def test_every_text_for_people_is_in_both_languages():
    for name in NAMES:
        snapshot = taken(name)
        texts = [f.statement for f in snapshot.findings] + [c.statement for c in snapshot.checks]
        texts += [m.question for m in snapshot.diagnosis.missing] + [snapshot.diagnosis.summary, snapshot.scope.reason]
        assert [t for t in texts if not t.en.strip() or not t.zh.strip()] == []


def test_what_the_detectors_do_not_tell_is_counted():
    words = [
        f"acquirer says that seller contract number{chr(97 + i % 26)}{chr(97 + i // 26)} has lapsed" for i in range(100)
    ]
    lines = [line(1 + i / 100, f"{ORDER} {text}", f"x{i}") for i, text in enumerate(words)]
    case = case_of([*usual_lines(), *lines], FAILED)
    omitted = detect(case).omitted
    assert omitted >= 20
    (check,) = (c for c in written(case).checks if c.id == "untold_findings")
    assert check.outcome == "not_evaluated"
    assert f"{omitted} further" in check.statement.en
    assert "untold_findings" not in {c.id for c in written(failing()).checks}
