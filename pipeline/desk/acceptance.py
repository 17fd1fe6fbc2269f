"""From what was handed in to an entry of the folder: its signature is tried first, and the entry says what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pipeline.desk.draft import check_finished, finished
from pipeline.desk.entry import Entry, read_entry
from pipeline.desk.seeds import REVIEWED
from pipeline.desk.shelf import put_entries, read_shelf
from pipeline.desk.signature import LEAST, Tested, old_snapshots, try_on, with_trial
from pipeline.desk.tasks import Tasks
from pipeline.errors import UsageError
from snapshots.store import Store


@dataclass(frozen=True)
class Accepted:
    """The entry as it was filed, where, and what is to be said of its signature."""

    entry: Entry
    path: Path
    verdict: str


def accept_task(
    tasks: Tasks, task_id: str, folder: Path, store: Store, by: str, now: float, known: Mapping[str, str] = {}
) -> Accepted:
    """Files the entry of a task. `now` is in seconds since 1970; `known` as in `try_on`.

    The entry is filed before the task is closed: where a process dies between the two, accepting again does the rest. Raises
    `UsageError` where there is nothing to accept.
    """
    task = tasks.get(task_id)
    if task.state != "submitted":
        raise UsageError(f"{task_id} is {task.state}; only what was handed in can be accepted")
    entry = read_entry(task.text, task_id)
    check_finished(entry)
    today = datetime.fromtimestamp(now, UTC).date()
    facts = msgspec.structs.replace(
        entry.facts,
        status="accepted",
        since=today,
        review_by=entry.facts.review_by or today + REVIEWED,
        owner=entry.facts.owner or task.assignee,
        tickets=tuple(dict.fromkeys((*entry.facts.tickets, task.ticket_id))),
    )
    entry = finished(msgspec.structs.replace(entry, facts=facts))
    verdict = "It has no signature: neither a code nor a telling log line."
    signature = entry.facts.signature
    if signature is not None and (signature.codes or signature.templates):
        tested = try_on(entry, signature, old_snapshots(store), today, known)
        entry = with_trial(entry, signature, tested)
        verdict = _verdict(tested)
    if (
        folder.is_dir()
        and (there := read_shelf(folder).by_id.get(entry.id))
        and task.ticket_id not in there.facts.tickets
    ):
        raise UsageError(f"{entry.id} is in {folder} already, from other tickets; give the entry another id")
    written, _ = put_entries(folder, [entry], over=True)
    tasks.accept(task_id, entry, by, now)
    return Accepted(entry, written[0], verdict)


def _verdict(tested: Tested) -> str:
    trial = tested.trial
    read = f"{trial.snapshots:,} old snapshots, {trial.matched:,} matched"
    if trial.holds:
        return f"Its signature holds ({read}) and counts as evidence."
    if tested.wrong:
        why = f"it also matches {len(tested.wrong):,} tickets with another fault, such as {tested.wrong[0]}"
    elif tested.missed:
        why = f"it does not match its own ticket {tested.missed[0]}"
    elif tested.others < LEAST:
        why = f"only {tested.others:,} of {LEAST} needed snapshots of other faults could be compared"
    else:
        why = "the store has no snapshot of its own ticket"
    return f"Its signature does not count as evidence: {why} ({read})."
