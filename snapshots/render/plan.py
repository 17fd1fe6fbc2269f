"""A fetch plan in a few lines, for the ledger's section and for `take --explain-plan`."""

from __future__ import annotations

from collections.abc import Iterator

from snapshots.model import FetchPlan, PlanStep
from snapshots.render.figures import count
from snapshots.words import Language
from snapshots.words import label as say

_SERVICES = 6


def plan_lines(plan: FetchPlan, language: Language, *, ahead: bool = False) -> Iterator[str]:
    """What matches, what of it is read, and which services it is of. `ahead` tells what would be read, nothing being so yet."""
    comma = "；" if language == "zh" else "; "
    yield say("plan_rows", language, rows=count(plan.rows), limit=count(plan.limit))
    yield comma.join(_step(step, language, ahead=ahead) for step in plan.steps)
    services = [
        say("plan_failing_of", language, name=one.name, rows=count(one.rows), failing=count(one.failing))
        if one.failing
        else f"{one.name} {count(one.rows)}"
        for one in plan.services[:_SERVICES]
    ]
    others = plan.services_omitted + sum(one.rows for one in plan.services[_SERVICES:])
    services += [say("plan_others", language, rows=count(others))] if others and services else []
    if services:
        yield say("plan_services", language, services=", ".join(services))


def _step(step: PlanStep, language: Language, *, ahead: bool) -> str:
    kind = say(f"plan_{step.kind}", language)
    number = step.wanted if ahead else step.fetched
    if step.matched is None:
        return say("plan_step_unknown", language, kind=kind, fetched=count(number))
    if not step.matched or number >= step.matched:
        return say("plan_step", language, kind=kind, fetched=count(number), matched=count(step.matched))
    share = f"{100 * number / step.matched:.2g}"
    return say("plan_step_share", language, kind=kind, fetched=count(number), matched=count(step.matched), share=share)
