"""Severity and the customer's sentence of a snapshot, where a desk is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from pipeline.desk.meaning import open_meaning
from pipeline.desk.sentence import customer_message
from pipeline.desk.severity import Failing, severity_of
from pipeline.evidence.cohort import fate
from snapshots.model import ProblemSnapshot, with_id

if TYPE_CHECKING:
    from pipeline.evidence.case import Case


def grade(snapshot: ProblemSnapshot, case: Case) -> ProblemSnapshot:
    """`snapshot` with severity and customer's sentence, under a new id; as it is where no desk is configured.

    Raises `UsageError` for a decision table or a calendar that cannot be used.
    """
    desk = case.settings.desk
    if desk is None:
        return snapshot
    failing = failing_in(case, snapshot)
    with_meaning = open_meaning(desk.meaning)
    severity = severity_of(snapshot, case.ticket.custom_fields, failing, desk.grading, with_meaning=with_meaning)
    graded = structs.replace(snapshot, severity=severity)
    return with_id(structs.replace(graded, customer_message=customer_message(graded)))


def failing_in(case: Case, snapshot: ProblemSnapshot) -> Failing:
    """The orders of the channel that fail in the window like the ticket's own, which count among them.

    Some orders fail at any time: they count only where more fail than go through, which the finding `cohort.many` says.
    """
    cited = tuple(one.id for one in snapshot.findings if one.kind == "cohort.many")
    own = case.focus
    if not cited:
        return Failing(orders=len(own))
    window = case.scope.window
    bad = [
        order
        for order in case.cohort
        if any(event.at and window.start <= event.at < window.end for event in order.events)
        and fate(case, order) == "failed"
    ]
    customers = {order.customer_id for order in (*own, *bad) if order.customer_id}
    return Failing(orders=len(own) + len(bad), customers=len(customers), findings=cited)
