"""How long it takes from a customer's ticket to the note on it, with real ticket systems.

Run as `python benchmarks/note.py [--tickets N]`. A real Request Tracker and a real django-helpdesk (tests/services) call a service that
was started as its user would start it; tickets are opened one after the other as a customer does, and the time is taken until a
private note with a snapshot is on each. The records are a bundled incident. Goal: each within 15 s.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _node

sys.path.insert(0, str(_node.ROOT))

from tests import services
from tests.services import helpdesk, rt
from tests.test_service_real import hooked

GOAL = 15.0


def times(kind: str, desk: Any, count: int) -> list[float]:
    """Seconds from the ticket to its note, for each ticket."""
    found: list[float] = []
    with tempfile.TemporaryDirectory() as folder, hooked(kind, desk, "", lambda *_: None, Path(folder)) as here:
        for number in range(count):
            begun = time.monotonic()
            ticket = desk.new_ticket(f"支付失败 {number}", f"订单 SO20261123000{number} 付款失败")
            note = here.note(ticket)
            found.append(time.monotonic() - begun)
            if not note["private"]:
                raise SystemExit(f"{kind}: the note of ticket {ticket} is public")
    return found


def main() -> int:
    """Open, wait, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tickets", type=int, default=10)
    options = parser.parse_args()
    longest = 0.0
    with contextlib.ExitStack() as stack:
        for kind, module in (("rt", rt), ("django_helpdesk", helpdesk)):
            address = stack.enter_context(services.running(module))
            found = times(kind, module.Desk(address), options.tickets)
            longest = max(longest, *found)
            print(f"{kind}: {len(found)} tickets, median {statistics.median(found):.1f} s, longest {max(found):.1f} s")
    holds = longest <= GOAL
    print(
        f"note: at most {longest:.1f} s from the ticket to its note (goal {GOAL:g}): {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
