"""Beside: the log lines that belong to a finding which rests on order events or spans alone.

An order book says that money is missing; what the services wrote about the order at that moment is what a person opens
next. A finding about the ticket's own order cites such lines too, the unhappy ones first, then those nearest in time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from pipeline.evidence.case import Case, Signal
from pipeline.values import Found

_MOST = 3
# What a service says of an order when it goes wrong; the rest of its lines is said of healthy orders, too.
_RANK = {"FATAL": 0, "ERROR": 0, "WARN": 1, "DEBUG": 2, None: 3, "TRACE": 3, "INFO": 4}
_UNHAPPY = 1


def with_lines(case: Case, found: Iterable[Found]) -> tuple[Found, ...]:
    """`found`, where each finding that speaks for a class and cites no log line cites up to three of the order's own."""
    mine = [signal for signal in case.signals if signal.tier == "focus"]
    return tuple(_with_lines(one, mine) for one in found)


def _with_lines(found: Found, mine: list[Signal]) -> Found:
    if not found.supports or not found.about_focus or not found.cites or any(c.kind == "log" for c in found.cites):
        return found
    services = {c.service for c in found.cites if c.service}
    beside = [s for s in mine if s.service in services] if services else mine
    unhappy = [s for s in beside if _rank(s) <= _UNHAPPY] or [s for s in mine if _rank(s) <= _UNHAPPY]
    chosen = sorted(unhappy or beside, key=lambda s: (_rank(s), _apart(found.at, s.at), s.row))[:_MOST]
    return replace(found, cites=found.cites + tuple(s.cited for s in sorted(chosen, key=lambda s: s.row)))


def _rank(signal: Signal) -> int:
    return _RANK.get(signal.level, _RANK[None])


def _apart(one: datetime | None, other: datetime | None) -> float:
    return abs((one - other).total_seconds()) if one and other else float("inf")
