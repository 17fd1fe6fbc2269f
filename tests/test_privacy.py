"""Personal data and secrets are nowhere in what leaves: the document, the run record, the pages, the exported bundle."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.diagnose import diagnose
from pipeline.doctor import examine_store
from pipeline.document import number, write_document
from pipeline.evidence import detect
from pipeline.export import export_bundle
from pipeline.redact import known_names
from pipeline.run import take_snapshot
from pipeline.secrets import plain_secrets as secrets_of
from pipeline.settings import read_config
from pipeline.settings_digest import settings_digest
from pipeline.sources.bundle.source import BundleSource
from pipeline.sources.orders.options import Options as OrdersOptions
from pipeline.values import Pointer
from snapshots.model import Coverage, Identifier, ProblemSnapshot, canonical_bytes
from snapshots.render import RENDERERS, render
from snapshots.verify import all_evidence, verify
from tests.flow_samples import (
    CUSTOMER,
    ORDER,
    SETTINGS,
    TableSource,
    background,
    case_of,
    failed_order,
    hit,
    line,
    scope_of,
    span_row,
    take,
    ticket_json,
    ticket_of,
    usual_lines,
    write_bundle,
)
from tests.test_evidence import FAILED

CARD, MAIL, PHONE, ABROAD = "4111111111111111", "zhang.wei@example.com", "13812345678", "2025550143"


def everything(folder: Path, to: Path) -> dict[str, str]:
    """All that leaves when a bundle's ticket is taken and exported, by name; the second time round from the export."""
    found: dict[str, str] = {}
    for turn in ("first", "again"):
        source = BundleSource("bundle", folder)
        taken = take_snapshot(ticket_of(folder), [source], SETTINGS)
        found[f"{turn} document"] = canonical_bytes(taken.snapshot).decode()
        found[f"{turn} run"] = msgspec.json.encode(taken.run).decode()
        for language in ("en", "zh"):
            for output in RENDERERS:
                page = render(taken.snapshot, output, language=language, full=True, width=400)
                found[f"{turn} {output} {language}"] = page
        out = to / turn
        exported = export_bundle(out, ticket_of(folder), [source], SETTINGS)
        found[f"{turn} ledger"] = msgspec.json.encode(exported.coverage).decode()
        for path in sorted(path for path in out.rglob("*") if path.is_file()):
            data = path.read_bytes()
            found[f"{turn} {path.relative_to(out)}"] = (
                gzip.decompress(data) if path.suffix == ".gz" else data
            ).decode()
        folder = out
    return found


def leaks(found: dict[str, str], *values: str) -> list[tuple[str, str]]:
    return [(name, value) for name, text in found.items() for value in values if value in text]


def bundle(folder: Path, *, ticket: dict[str, Any] | None = None, events: Any = None, lines: Any = ()) -> Path:
    return write_bundle(
        folder, ticket=ticket or ticket_json(), logs=[*background(), *lines], orders=events or failed_order()
    )


# ---- the ticket's form


def test_a_forms_fields_are_hidden_by_their_names_also_as_numbers(tmp_path):
    form = {
        "password": "hunter2",
        "phone": int(PHONE),
        "mobile": ABROAD,
        "card_no": int(CARD),
        "pin": {"token": {"value": "s3cr3t"}},
        "fields": [{"id": "contact phone", "value": "020 7946 0958"}],
        "receiverPhone": "4155550177",
        "seen": 3,
    }
    folder = bundle(tmp_path / "in", ticket=ticket_json(questionnaire=form, custom_fields={"password": "hunter3"}))
    found = everything(folder, tmp_path)
    hidden = ("hunter2", "hunter3", PHONE, ABROAD, CARD, "s3cr3t", "020 7946 0958", "4155550177")
    assert leaks(found, *hidden) == []
    snapshot = take(folder)
    assert snapshot.ticket.questionnaire["seen"] == 3
    assert snapshot.ticket.questionnaire["mobile"] == "[phone:…0143]"
    counts = snapshot.redaction.counts
    assert (counts["secret"] >= 2, counts["phone"] >= 4, counts["card"] >= 1) == (True, True, True)
    assert snapshot.redaction.total == sum(counts.values())


# ---- identifiers that are personal data


@pytest.mark.parametrize(
    ("ticket", "value", "shown"),
    [
        ({"description": f"付款失败，订单号 {CARD}"}, CARD, "[card:…1111]"),
        ({"customer": {"id": MAIL}}, MAIL, "[email]"),
        ({"customer": {"id": PHONE}}, PHONE, "[phone:…5678]"),
        ({"description": "payment failed, my mobile is 4155550123"}, "4155550123", "[phone:…0123]"),
    ],
    ids=["card", "mail", "phone", "phone abroad"],
)
def test_what_is_taken_for_an_identifier_may_still_be_personal_data(tmp_path, ticket, value, shown):
    lines = [hit(5, f"订单号 {value} order={value} failed, user {value}", level="ERROR", user={"id": value})]
    folder = bundle(
        tmp_path / "in",
        ticket=ticket_json(**ticket),
        events=failed_order(customer=ticket.get("customer", {}).get("id", CUSTOMER)),
        lines=lines,
    )
    found = everything(folder, tmp_path)
    assert leaks(found, value) == []
    assert shown in found["first document"]
    assert ORDER in found["first document"]


def test_an_order_whose_number_is_a_cards_is_masked_wherever_it_is_named(tmp_path):
    lines = [hit(8, f"{CARD} PAYERROR connection refused", level="ERROR")]
    folder = bundle(
        tmp_path / "in",
        ticket=ticket_json(description=f"My order {CARD} failed"),
        events=failed_order(order=CARD, attempt="4242424242424242"),
        lines=lines,
    )
    found = everything(folder, tmp_path)
    assert leaks(found, CARD, "4242424242424242") == []
    snapshot = take(folder)
    assert snapshot.scope.focus_orders == ["[card:…1111]"]
    assert {order.order_id for order in snapshot.orders} == {"[card:…1111]"}
    assert {one.order_id for one in snapshot.payment_attempts} == {"[card:…1111]"}
    evidence = next(check for check in snapshot.checks if check.id == "evidence")
    named = [one for one in all_evidence(snapshot) if "[card" in (one.doc_id or "")]
    assert ("masked" in evidence.statement.en) == bool(named)
    assert verify(snapshot, lambda _: None).problems == []


def test_who_is_masked_is_not_allowed():
    identifiers = (
        Identifier(kind="order_id", value=ORDER, found_in="test"),
        Identifier(kind="order_id", value=CARD, found_in="test"),
        Identifier(kind="phone", value=ABROAD, found_in="test"),
        Identifier(kind="customer_id", value=ABROAD, found_in="test"),
    )
    case = case_of([line(1, "x", "x")], FAILED)
    allow, masked = known_names(SETTINGS, scope_of(identifiers=identifiers), case.ticket)
    assert set(allow) == {ORDER, CUSTOMER}
    assert masked == {CARD: "[card:…1111]", ABROAD: "[phone:…0143]"}


# ---- codes, spans, attributes


def test_what_stands_as_a_code_or_in_an_attribute_is_hidden(tmp_path):
    events = failed_order()
    more = {"code": MAIL, "payer_email": MAIL, "payer_phone": ABROAD, "receiverMobile": int("4155550177"), "cvv": 737}
    for event in events:
        event["attributes"] = json.dumps(
            {**json.loads(event["attributes"]), **more, "headers": {"Cookie": ["a=b1c2d3"]}}
        )
    folder = bundle(tmp_path / "in", events=events)
    found = everything(folder, tmp_path)
    assert leaks(found, MAIL, ABROAD, "4155550177", "b1c2d3") == []
    # Three digits stand in many a digest: only the field tells.
    assert not [name for name, text in found.items() if re.search(r"cvv\W{0,8}737", text)]
    assert json.loads(found["first document"])["payment_attempts"][0]["code"] == "[email]"


def test_a_spans_name_and_headers_are_hidden(tmp_path):
    attributes = json.dumps({"http.request.header.cookie": ["sid=b1c2d3"], "enduser.phone": int(ABROAD), "n": 7})
    span = span_row("a" * 32, "b" * 16, name=f"GET /users/{MAIL}", attributes=attributes, status="error")
    source = TableSource(
        "test",
        logs=usual_lines(),
        spans=[span],
        order_events=lambda _: (_ for _ in ()).throw(OSError(f"no access for {MAIL}")),
    )
    folder = bundle(tmp_path / "in")
    ticket = ticket_of(folder)
    taken = take_snapshot(ticket, [source], SETTINGS)
    exported = export_bundle(tmp_path / "out", ticket, [source], SETTINGS)
    found = {"document": canonical_bytes(taken.snapshot).decode(), "ledger": str(exported.coverage)}
    for name in ("traces/spans.json", "manifest.json"):
        found[name] = (tmp_path / "out" / name).read_text(encoding="utf-8")
    assert leaks(found, MAIL, "b1c2d3", ABROAD) == []
    assert "/users/[email]" in found["traces/spans.json"]
    assert "no access for [email]" in found["manifest.json"]


def test_a_coverage_rows_question_is_hidden():
    row = Coverage(source="s", kind="k", what="logs", status="ok", asked=f"customer {MAIL}", notes=[f"of {PHONE}"])
    case = case_of([*usual_lines(), line(1, f"{ORDER} connection refused", "x")], FAILED, coverage=[row])
    assert leaks({"document": document(case)}, MAIL, PHONE) == []


def document(case: Any) -> str:
    seen = detect(case)
    diagnosis = diagnose(case, seen, number(seen))
    return canonical_bytes(write_document(case, seen, diagnosis, [TableSource("test", logs=())])).decode()


# ---- stamping


class Waiting(TableSource):
    """Opens records again only when all such sources are being asked, or never."""

    def __init__(self, name: str, together: threading.Barrier | None) -> None:
        super().__init__(name, logs=())
        self.together = together

    def resolve(self, pointers: Any) -> dict[Pointer, bytes | None]:
        if self.together is None:
            time.sleep(30)
        else:
            self.together.wait(timeout=20)
        return super().resolve(pointers)


def stamped(*sources: Waiting, budget: float) -> tuple[ProblemSnapshot, float]:
    lines = [
        line(1 + i, f"{ORDER} connection refused", f"x{i}", _source=source.name) for i, source in enumerate(sources)
    ]
    case = case_of([*usual_lines(), *lines], FAILED)
    settings = msgspec.structs.replace(SETTINGS, budget=budget)
    case = type(case)(**{**{name: getattr(case, name) for name in case.__dataclass_fields__}, "settings": settings})
    seen = detect(case)
    started = time.monotonic()
    snapshot = write_document(case, seen, diagnose(case, seen, number(seen)), [*sources, TableSource("test", logs=())])
    return snapshot, time.monotonic() - started


def test_all_sources_open_their_records_at_once():
    together = threading.Barrier(2)
    snapshot, _ = stamped(Waiting("a", together), Waiting("b", together), budget=20)
    assert {e.source for e in all_evidence(snapshot) if not e.sha256} == set()
    assert {"a", "b"} <= {e.source for e in all_evidence(snapshot)}


@pytest.mark.alone
def test_sources_that_hang_share_one_deadline_and_are_named():
    snapshot, seconds = stamped(Waiting("a", None), Waiting("b", None), budget=1)
    assert seconds < 1.9
    unstamped = {e.source for e in all_evidence(snapshot) if not e.sha256}
    assert unstamped == {"a", "b"}
    check = next(check for check in snapshot.checks if check.id == "evidence")
    assert check.outcome == "not_evaluated"
    assert "a: no answer within 1 s; b: no answer within 1 s" in check.statement.en


# ---- addresses


@pytest.mark.parametrize(
    "url",
    [
        "ftp://user:se%2Fcret@127.0.0.1:1/folder",
        "ftp://user:se/cret@127.0.0.1:1/folder",
        "nosuch://user:se%2Fcret@host/folder?password=se%2Fcret",
        "simplecache::ftp://user:se%2Fcret@127.0.0.1:1/folder",
        "memory://place?token=se%2Fcret",
    ],
)
def test_doctor_does_not_show_a_stores_password(url):
    health = examine_store(url)
    told = " ".join([*health.lines, health.advice])
    assert "cret" not in told.replace("[secret]", "")
    assert "://" in told


def with_url(url: str) -> str:
    return settings_digest(msgspec.structs.replace(SETTINGS, sources={"orders": OrdersOptions(url=url)}))


def test_the_digest_does_not_depend_on_what_is_secret_in_an_address():
    same = [
        "postgresql://db:5432/shop",
        "postgresql://me:one@db:5432/shop",
        "postgresql://me:t/w?o#@db:5432/shop",
        "postgresql://me:o@ne@db:5432/shop",
        "postgresql://db:5432/shop?password=one",
        "postgresql://db:5432/shop?user=me&password=two",
    ]
    assert len({with_url(url) for url in same}) == 1
    assert with_url("postgresql://db:5432/shop") != with_url("postgresql://db:5432/other")
    assert with_url("postgresql://me:x@db:5432/shop") != with_url("postgresql://me:x@other:5432/shop")


def test_a_password_in_an_address_is_told_of_wherever_it_stands(tmp_path):
    path = tmp_path / "problem-snapshot.toml"
    path.write_text(
        """
        [defaults.sources]
        a.url = "postgresql://db/shop?user=me&password=hunter2"
        b.url = "postgresql://db/shop?user=me&password=${PW}"
        c.url = "postgresql://me:hun/ter2@db/shop"
        d.url = "https://host:9200/a@b?pretty=1"
        """,
        encoding="utf-8",
    )
    assert secrets_of(read_config(path, {})) == ["defaults.sources.a.url", "defaults.sources.c.url"]
