"""Figures for Prometheus. What the ledger knows is read from it when asked, so every process of a service tells the same."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import sqlalchemy as sa
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from pipeline.service.ledger import Ledger

_log = logging.getLogger(__name__)
# Refusals are written to log and ledger so often at most, in seconds: a flood of them must not become a flood of writes.
_FLUSH = 2.0

disable_created_metrics()  # type: ignore[no-untyped-call]


class Meters:
    """Counts what happens at the door, and reads the rest from the ledger."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, ledger: Ledger, backlog: Callable[[], int]) -> None:
        self._ledger = ledger
        self._registry = CollectorRegistry()
        self._accepted = Counter(
            "problem_snapshot_deliveries",
            "Deliveries answered with 2xx by this process",
            ["system", "outcome"],
            registry=self._registry,
        )
        self._registry.register(_Known(ledger, backlog))
        self._refused: Tally[tuple[str, str]] = Tally()
        self._last: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()
        self._flushed = 0.0

    def accepted(self, system: str, outcome: str) -> None:
        """A delivery was stored, was here already, or asked for nothing."""
        self._accepted.labels(system, outcome).inc()

    def refused(self, system: str, reason: str, sentence: str) -> None:
        """A request was refused; `sentence` says why, for the log."""
        with self._lock:
            self._refused[system, reason] += 1
            self._last[system, reason] = sentence
            now = time.monotonic()
            if now - self._flushed < _FLUSH:
                return
            self._flushed = now
        threading.Thread(target=self.flush, daemon=True).start()

    def flush(self) -> None:
        """Writes the refusals counted so far to log and ledger; what the ledger does not take stays counted."""
        with self._lock:
            counted, self._refused = self._refused, Tally()
            last, self._last = self._last, {}
        for key, sentence in sorted(last.items()):
            # It holds what a stranger sent.
            told = " ".join("".join(c if c.isprintable() else " " for c in sentence).split())[:300]
            _log.warning(
                "refused %s deliver%s for %s: %s", counted[key], "y" if counted[key] == 1 else "ies", key[0], told
            )
        for (system, reason), count in sorted(counted.items()):
            try:
                self._ledger.refused(system, reason, count)
            except sa.exc.SQLAlchemyError:
                with self._lock:
                    self._refused[system, reason] += count

    def text(self) -> bytes:
        """The figures, as Prometheus reads them."""
        self.flush()
        return generate_latest(self._registry)


class _Known(Collector):
    """What the ledger knows."""

    def __init__(self, ledger: Ledger, backlog: Callable[[], int]) -> None:
        self._ledger = ledger
        self._backlog = backlog

    def collect(self) -> Iterator[Metric]:
        """The figures of now."""
        jobs = GaugeMetricFamily("problem_snapshot_jobs", "Deliveries by state", labels=["system", "state"])
        for (system, state), count in sorted(self._ledger.counts().items()):
            jobs.add_metric([system, state], count)
        yield jobs
        refused = CounterMetricFamily(
            "problem_snapshot_refused", "Requests refused at the door", labels=["system", "reason"]
        )
        for (system, reason), count in sorted(self._ledger.refusal_counts().items()):
            refused.add_metric([system, reason], count)
        yield refused
        oldest = self._ledger.oldest_waiting()
        age = 0.0 if oldest is None else max(0.0, time.time() - oldest)
        yield GaugeMetricFamily(
            "problem_snapshot_oldest_waiting_seconds", "Age of the oldest delivery not worked yet", value=age
        )
        yield GaugeMetricFamily("problem_snapshot_workers", "Workers alive", value=self._ledger.workers_alive())
        yield GaugeMetricFamily("problem_snapshot_backlog", "Deliveries waiting to be stored", value=self._backlog())
