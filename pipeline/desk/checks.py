"""Which entries of knowledge are to be doubted: their review is due, their versions are past, or their solution did not hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pipeline.desk.entry import Entry
from snapshots.model import Text, TicketRecord

Kind = Literal["review", "versions", "contradicted", "incomplete"]
# A solution is contradicted once so many of its tickets came back, and that share of all of them.
REOPENED, SHARE = 2, 0.25


@dataclass(frozen=True)
class Flag:
    """One doubt about an entry."""

    entry: str
    kind: Kind
    statement: Text


def flags(
    entries: Iterable[Entry], today: date, versions: Mapping[str, str] = {}, reopened: Mapping[str, bool] = {}
) -> list[Flag]:
    """Every doubt, in order of entries.

    `versions` are the products' versions of today by module, `reopened` tells of solved tickets whether they came back.
    """
    found: list[Flag] = []
    for entry in entries:
        if entry.facts.status != "retired":
            said = (
                review(entry, today),
                outdated(entry, versions.get(entry.facts.module)),
                contradicted(entry, reopened),
                _incomplete(entry),
            )
            found += [flag for flag in said if flag is not None]
    return found


def review(entry: Entry, today: date) -> Flag | None:
    """Its review date has passed."""
    due = entry.facts.review_by
    if due is None or due >= today:
        return None
    days, owner = (today - due).days, entry.facts.owner or "-"
    return Flag(
        entry.id,
        "review",
        Text(
            en=f"its review was due on {due}, {days:,} day{'s' * (days != 1)} ago (owner: {owner})",
            zh=f"应于 {due} 复核，已过 {days:,} 天（负责人：{owner}）",
        ),
    )


def app_version(ticket: TicketRecord) -> str | None:
    """The version that the customer has, as the ticket's questionnaire says it."""
    found = ticket.questionnaire.get("app_version")
    return found if isinstance(found, str) else None


def outdated(entry: Entry, version: str | None) -> Flag | None:
    """The version that runs, or that the customer has, is none of those for which it is valid."""
    if version is None or not entry.facts.versions or holds_for(entry, version) is not False:
        return None
    valid = ", ".join(entry.facts.versions)
    return Flag(
        entry.id,
        "versions",
        Text(en=f"it is for versions {valid}, not for {version}", zh=f"适用版本为 {valid}，不适用于 {version}"),
    )


def holds_for(entry: Entry, version: str) -> bool | None:
    """Whether `version` is one that the entry names; None where they cannot be compared.

    Versions and ranges are those of PEP 440 (`>=3.2,<4`), read by `packaging`; anything else is compared as text.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        wanted = Version(version)
    except InvalidVersion:
        return True if version in entry.facts.versions else None
    unread = False
    for one in entry.facts.versions:
        try:
            if SpecifierSet(one if one.lstrip()[:1] in set("<>=!~") else f"=={one}").contains(wanted, prereleases=True):
                return True
        except InvalidSpecifier:
            unread = True
    return None if unread else False


def contradicted(entry: Entry, reopened: Mapping[str, bool]) -> Flag | None:
    """Its tickets came back after they had been solved with it."""
    known = [reopened[ticket] for ticket in entry.facts.tickets if ticket in reopened]
    came_back = sum(known)
    if came_back < REOPENED or came_back < SHARE * len(known):
        return None
    return Flag(
        entry.id,
        "contradicted",
        Text(
            en=f"{came_back:,} of the {len(known):,} tickets that it solved came back",
            zh=f"用它解决的 {len(known):,} 个工单中有 {came_back:,} 个重新打开",
        ),
    )


def _incomplete(entry: Entry) -> Flag | None:
    missing = [
        name for name, value in (("steps", any(t.steps for t in entry.told)), ("owner", entry.facts.owner)) if not value
    ]
    if not missing:
        return None
    names = {"steps": "步骤", "owner": "负责人"}
    return Flag(
        entry.id,
        "incomplete",
        Text(en=f"it has no {' and no '.join(missing)}", zh=f"缺少{'、'.join(names[name] for name in missing)}"),
    )
