"""Entries to begin with, generated from the fault taxonomy and the channels' code tables: first actions in both languages.

The questions of each are those of `asked.toml`, to be edited by the team in its own files.

One entry a fault of the taxonomy, for any product; and one a product and fault of which the code table knows at least `least`
codes, with those codes and what they mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta

from pipeline.desk.asked import asked_of
from pipeline.desk.entry import Entry, Facts, Told, plain_line
from pipeline.desk.modules import NAMES, product_name, product_of
from pipeline.faults.tables import Fault, rows, taxonomy

LEAST = 5
# What nobody has looked at for so long is to be looked at again.
REVIEWED = timedelta(days=180)
ORIGIN = "seed"


def seed_entries(today: date, least: int = LEAST, most: int | None = None) -> list[Entry]:
    """The entries, those of any product first; at most `most` of the products' own, those with the most codes.

    `today` is the day from which the review date counts.
    """
    groups = defaultdict[tuple[str, str, str], list[dict[str, str]]](list)
    for row in rows("channel_codes.csv"):
        if (product := product_of(row["channel"])) in NAMES:
            groups[product, row["fault_class"], row["fault_subclass"]].append(row)
    chosen = sorted(groups.items(), key=lambda one: (-len(one[1]), one[0]))
    kept = sorted(one for one in chosen[: most if most is not None else len(chosen)] if len(one[1]) >= least)
    general = [_of_fault(fault, today) for fault in taxonomy().values()]
    return general + [
        _of_product(product, taxonomy()[fault_class, subclass], found, today)
        for (product, fault_class, subclass), found in kept
    ]


def _facts(fault: Fault, today: date) -> dict[str, object]:
    return {
        "problem": fault.fault_class,
        "fault_class": fault.fault_class,
        "fault_subclass": fault.subclass,
        "owner": fault.owner,
        "review_by": today + REVIEWED,
        "origin": ORIGIN,
        "check_minutes": _minutes(fault),
    }


def _minutes(fault: Fault) -> int:
    """What finding out costs: what the customer or the channel's answer shows is quicker than what has to be searched."""
    return {"customer": 2, "issuer": 2, "merchant": 5, "channel": 5}.get(fault.actor, 15)


def _of_fault(fault: Fault, today: date) -> Entry:
    facts = Facts(id=f"{fault.fault_class}.{fault.subclass}", module="payments", **_facts(fault, today))  # type: ignore[arg-type]
    return Entry(facts=facts, **_told(fault, fault.name.en, fault.name.zh, ()))


def _of_product(product: str, fault: Fault, found: Sequence[dict[str, str]], today: date) -> Entry:
    name = product_name(product)
    codes = tuple(dict.fromkeys(f"{row['channel']} {row['code']}" for row in found))
    facts = Facts(
        id=f"{product}.{fault.fault_class}.{fault.subclass}",
        module=product,
        channels=tuple(dict.fromkeys(row["channel"] for row in found)),
        codes=codes,
        **_facts(fault, today),  # type: ignore[arg-type]
    )
    listed = tuple(plain_line(f"`{row['code']}`: {row['raw_meaning']}") for row in found)
    return Entry(
        facts=facts,
        **_told(fault, f"{name.en}: {fault.name.en}", f"{name.zh}：{fault.name.zh}", tuple(dict.fromkeys(listed))),
    )


def _told(fault: Fault, en: str, zh: str, codes: tuple[str, ...]) -> dict[str, Told]:
    questions = asked_of(fault.fault_class, fault.subclass)
    return {
        "en": Told(
            title=en,
            problem=fault.class_name.en,
            questions=tuple(map(plain_line, questions.en)),
            cause=fault.definition,
            steps=(fault.first_action.en,),
            codes=codes,
        ),
        # The taxonomy defines its faults in English; in Chinese their names say what the cause is.
        "zh": Told(
            title=zh,
            problem=fault.class_name.zh,
            questions=tuple(map(plain_line, questions.zh)),
            cause=fault.name.zh,
            steps=(fault.first_action.zh,),
        ),
    }
