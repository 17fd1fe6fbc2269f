"""What the tests of outages share: an incident in a real node, and one run of the whole flow that is watched."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from pipeline.run import take_snapshot
from pipeline.settings import Settings
from pipeline.sources import elasticsearch, open_source
from pipeline.sources.orders.options import Options as OrdersOptions
from pipeline.tickets.file import read_ticket
from pipeline.values import Ask, Fetched, Pointer, Source
from snapshots.model import Coverage, ProblemSnapshot, canonical_bytes
from tests.flow_samples import ATTEMPT, ORDER, failed_order, hit, ticket_json, write_bundle
from tests.load import MAPPINGS, load_bundle_into_sqlite

BUDGET = 4.0
# What a snapshot may take beyond its budget.
GRACE = 2.0
USER, SECRET = "reader", "s3cret-Pa55"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
# Enough for several stretches of time, so that several readers are at work.
LINES = 12_800


def documents(count: int = LINES) -> list[dict[str, Any]]:
    """An hour before the failed payment and eight minutes after it: all inside what is asked for; about 400 bytes a line as the node sends it."""
    filler = (
        "method=POST path=/api/v2/cashier/orders client=10.20.30.40 agent=okhttp/4.12 region=cn-east-2 pool=default-17"
    )
    made = [
        hit(-3600 + 4100 * n / count, f"handled request {n * 7919} in {n % 97} ms {filler}", service=f"shop-{n % 3}")
        for n in range(count)
    ]
    for n in range(0, count, 64):
        made[n] |= {
            "message": f"upstream timed out (110) while reading from channel, request {n}",
            "log": {"level": "ERROR"},
        }
    for n in range(count * 3 // 4, count * 3 // 4 + 12):
        message = f"charge {ATTEMPT} of order {ORDER} refused: PAYERROR"
        made[n] |= {"message": message, "log": {"level": "ERROR"}, "trace": {"id": TRACE}}
    for one in made:
        del one["_id"], one["_index"]
    return made


def fill(client: Any, index: str, shards: int = 1, *, timeout: str | None = None, **settings: Any) -> frozenset[str]:
    """An index of `documents()`; gives the ids that are really in it: where shards are missing, some are refused."""
    client.indices.create(
        index=index,
        mappings=MAPPINGS,
        settings={"number_of_shards": shards, "number_of_replicas": 0, **settings},
        wait_for_active_shards=0 if timeout else 1,
    )
    lines: list[Any] = []
    for number, document in enumerate(documents()):
        lines += [{"index": {"_id": f"d{number}"}}, document]
    more = {"timeout": timeout} if timeout else {}
    answer = client.bulk(index=index, operations=lines, refresh=True, **more)
    return frozenset(item["index"]["_id"] for item in answer["items"] if "error" not in item["index"])


def ticket_file(folder: Path) -> Path:
    """The ticket, and beside it the shop's orders in `orders.db`."""
    ticket = ticket_json(description=f"My payment of order {ORDER} failed.")
    bundle = write_bundle(folder / "incident", ticket=ticket, orders=failed_order())
    load_bundle_into_sqlite(f"sqlite:///{folder}/orders.db", bundle)
    return bundle / "ticket.json"


class Heard:
    """A source, with every answer that it gave and when."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name, self.kind, self.holds = source.name, source.kind, source.holds
        self.answers: list[Fetched] = []
        self.errors: list[BaseException] = []
        self.asking = 0

    def fetch(self, ask: Ask) -> Fetched:
        self.asking += 1
        try:
            answer = self.source.fetch(ask)
        except BaseException as error:
            self.errors.append(error)
            raise
        else:
            self.answers.append(answer)
            return answer
        finally:
            self.asking -= 1

    def resolve(self, pointers: Iterable[Pointer]) -> dict[Pointer, bytes | None]:
        return self.source.resolve(pointers)

    def probe(self) -> list[str]:
        return self.source.probe()

    def close(self) -> None:
        self.source.close()


@dataclass(frozen=True)
class Outcome:
    """One snapshot, how long it took, and what the cluster's source had said meanwhile."""

    snapshot: ProblemSnapshot
    seconds: float
    budget: float
    cluster: Heard
    steps: Mapping[str, float] = field(default_factory=dict)

    def row(self, what: str) -> Coverage:
        """The one row of the ledger about `what`."""
        (row,) = [row for row in self.snapshot.coverage if row.what == what]
        return row

    @property
    def logs(self) -> Coverage:
        return self.row("logs")

    def is_true(self, indexed: frozenset[str]) -> None:
        """In time; nothing lost that was handed over, nothing doubled, every count adds up, no secret told."""
        row = self.logs
        print(f"{self.seconds:.2f} s of {self.budget:g}: {self.steps}\n{row}")
        assert self.seconds < self.budget + GRACE, f"{self.seconds:.1f} s: {self.steps}"
        handed: set[str] = set()
        for answer in self.cluster.answers:
            ids = answer.table.column("_id").to_pylist()
            assert len(ids) == len(set(ids)), "a row came twice in one answer"
            adds_up(answer.coverage)
            assert answer.coverage.used == len(ids)
            handed.update(ids)
        assert handed <= indexed, "rows that nobody indexed"
        assert row.used == len(handed), "what the source handed over is in the tables, each row once"
        assert self.snapshot.template_totals.lines == row.used
        if row.status != "failed":
            adds_up(row)
        assert (row.error is None) == (row.status in {"ok", "empty"})
        assert row.status not in {"ok", "empty"} or handed == indexed, "all is well only where nothing is missing"
        document = canonical_bytes(self.snapshot).decode()
        assert SECRET not in document
        assert "Traceback" not in document
        assert "unexpected" not in (row.error or ""), "a foreign error came through"
        # The other source is not touched by it.
        orders_row = self.row("order_events")
        assert (orders_row.status, orders_row.used) == ("ok", 4)
        assert [order.order_id for order in self.snapshot.orders] == [ORDER]


def adds_up(row: Coverage) -> None:
    """The ledger's promise, and the plan's: what its steps brought is what came."""
    assert row.fetched == row.used + row.duplicates + row.outside, row
    if row.matched is None:
        # Only where the cluster did not count, which is told, and not all was read.
        assert (row.status, row.error is None) == ("partial", False), row
        assert any("did not count" in note for note in row.notes), row
        assert row.cut == 0
    else:
        assert row.matched == row.fetched - row.duplicates + row.cut, row
    if row.plan is not None:
        assert sum(step.fetched for step in row.plan.steps) == row.fetched, row.plan.steps
        assert row.plan.rows == sum(minute.rows for minute in row.plan.minutes)


def run(
    ticket: Path,
    index: str | Sequence[str],
    url: str,
    budget: float = BUDGET,
    *,
    order_url: str | None = None,
    **options: Any,
) -> Outcome:
    """The whole flow over the cluster at `url` and the orders beside `ticket`."""
    patterns = (index,) if isinstance(index, str) else tuple(index)
    cluster = Heard(open_source("es", elasticsearch.Options(url=url, logs=patterns, **options)))
    book = open_source("orders", OrdersOptions(url=order_url or f"sqlite:///{ticket.parent.parent}/orders.db"))
    settings = msgspec.structs.replace(Settings(store="unused"), budget=budget)
    begun = time.monotonic()
    try:
        taken = take_snapshot(read_ticket(ticket.read_bytes(), ticket.name), [cluster, book], settings)
        return Outcome(taken.snapshot, time.monotonic() - begun, budget, cluster, taken.run.steps)
    finally:
        cluster.close()
        book.close()
