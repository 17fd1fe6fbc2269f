"""An incident kept in Elasticsearch and PostgreSQL or MariaDB gives the snapshot that its bundle gives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.run import take_snapshot
from pipeline.settings import Settings
from pipeline.sources import elasticsearch, open_bundle, open_source
from pipeline.sources.orders.options import Options as OrdersOptions
from pipeline.tickets.file import read_ticket
from pipeline.values import Pointer, Source, Ticket
from snapshots.model import Evidence, ProblemSnapshot, canonical_bytes, sha256_hex
from tests.load import load_bundle_into_elasticsearch, load_bundle_into_mariadb, load_bundle_into_postgresql

# Patience: the law holds where no deadline was hit.
SETTINGS = Settings(budget=120)


@pytest.fixture(params=["TK-20992", "TK-21169", "TK-22294", "TK-22380"])
def bundle(request: pytest.FixtureRequest, cases: Path) -> Path:
    return cases / request.param


@pytest.fixture
def services(bundle: Path, elasticsearch_url: str, postgresql_url: str) -> Iterator[list[Source]]:
    """The bundle in both services, each as a source."""
    from elasticsearch import Elasticsearch

    prefix = f"same-{time.time_ns()}-"
    indices = load_bundle_into_elasticsearch(elasticsearch_url, bundle, prefix)
    load_bundle_into_postgresql(postgresql_url, bundle)
    # As a bundle without traces asks for none, neither does the source.
    traces = tuple(name for name in indices if name.startswith(f"{prefix}traces"))
    documents = elasticsearch.Options(url=elasticsearch_url, logs=(f"{prefix}logs-*",), traces=traces)
    sources = [open_source("es", documents), open_source("orders", OrdersOptions(url=postgresql_url))]
    yield sources
    for source in sources:
        source.close()
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.delete(index=",".join(indices))


def ticket(bundle: Path) -> Ticket:
    return read_ticket((bundle / "ticket.json").read_bytes(), "ticket.json")


def told(snapshot: ProblemSnapshot) -> dict[str, Any]:
    """What a snapshot says, without where it was read and what counts lines outside both windows, as bundles hold them."""
    totals = snapshot.template_totals
    return {
        "window": (
            snapshot.scope.window,
            snapshot.scope.baseline,
            snapshot.scope.focus_orders,
            snapshot.scope.services,
        ),
        "diagnosis": snapshot.diagnosis,
        "findings": [(f.id, f.kind, f.statement, f.weight, len(f.evidence)) for f in snapshot.findings],
        "checks": snapshot.checks,
        "templates": [(t.id, t.text, t.incident_count, t.baseline_count, t.change) for t in snapshot.templates],
        "totals": (totals.incident, totals.baseline, totals.templates, totals.listed),
        "orders": snapshot.orders,
        "attempts": snapshot.payment_attempts,
        "spans": snapshot.spans,
    }


def test_services_and_bundle_tell_the_same(bundle: Path, services: list[Source]) -> None:
    from_bundle = take_snapshot(ticket(bundle), [open_bundle(bundle)], SETTINGS).snapshot
    from_services = take_snapshot(ticket(bundle), services, SETTINGS).snapshot
    one, other = told(from_bundle), told(from_services)
    for part, value in one.items():
        assert other[part] == value, part
    assert {row.status for row in from_services.coverage} <= {"ok", "empty"}


def test_orders_in_mariadb_and_postgresql_tell_the_same(bundle: Path, services: list[Source], mariadb_url: str) -> None:
    load_bundle_into_mariadb(mariadb_url, bundle)
    other = open_source("orders", OrdersOptions(url=mariadb_url))
    try:
        one, two = (take_snapshot(ticket(bundle), s, SETTINGS).snapshot for s in (services, [services[0], other]))
    finally:
        other.close()
    assert told(one) == told(two)
    assert [f.evidence for f in one.findings] == [f.evidence for f in two.findings]


def test_services_asked_twice_give_the_same_bytes(bundle: Path, services: list[Source]) -> None:
    first, second = (take_snapshot(ticket(bundle), services, SETTINGS).snapshot for _ in range(2))
    assert canonical_bytes(first) == canonical_bytes(second)


def test_every_evidence_id_opens_its_record_again(bundle: Path, services: list[Source]) -> None:
    snapshot = take_snapshot(ticket(bundle), services, SETTINGS).snapshot
    evidence: list[Evidence] = [e for finding in snapshot.findings for e in finding.evidence]
    evidence += [e for template in snapshot.templates for e in template.examples]
    assert evidence
    for source in services:
        own = [e for e in evidence if e.source == source.name]
        pointers = {e.ref: Pointer(e.kind, e.index, e.doc_id, e.file, e.start, e.end, e.at) for e in own}
        found = source.resolve(pointers.values())
        for e in own:
            data = found[pointers[e.ref]]
            assert data is not None, e
            assert sha256_hex(data) == e.sha256, e


def test_a_part_of_the_lines_gives_the_same_diagnosis(bundle: Path, services: list[Source]) -> None:
    """Of a window that holds several times what may be read, the rows that matter are among those that are."""
    whole = take_snapshot(ticket(bundle), services, SETTINGS).snapshot
    part = take_snapshot(ticket(bundle), services, msgspec.structs.replace(SETTINGS, max_lines=800)).snapshot
    (row,) = [row for row in part.coverage if row.what == "logs"]
    assert row.sampled
    assert row.plan is not None
    assert row.fetched < (row.matched or 0) / 2
    assert row.matched == row.fetched - row.duplicates + row.cut
    one, other = whole.diagnosis, part.diagnosis
    assert (other.fault_class, other.fault_subclass, other.seed_class) == (
        one.fault_class,
        one.fault_subclass,
        one.seed_class,
    )
