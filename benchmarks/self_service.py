"""How often an entry of knowledge answers a customer by itself, and how often it is the wrong one.

python benchmarks/self_service.py

The questions are those of `knowledge.py`. Half of the entries chose the thresholds (`SelfServiceOptions.sure`, `LEAST_WORDS`); the
other half is reported beside it. Each question is asked twice: of all entries, and of all but its own, where any answer is wrong.
The claim guard is not asked here: the entries of the seed are for engineers, and it refuses most of them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from knowledge import QUESTIONS, entries, halves

from pipeline.desk.ask import Answers, Hit
from pipeline.desk.intake_options import SelfServiceOptions
from pipeline.desk.self_service import LEAST_WORDS, lead
from pipeline.desk.shelf import Shelf
from pipeline.scores import exact_interval

SURE = SelfServiceOptions().sure


def answered(hits: list[Hit], sure: float, words: float) -> str | None:
    """The entry that would answer."""
    return hits[0].entry.id if hits and lead(hits, 0) >= sure and hits[0].words >= words else None


def share(right: int, of: int) -> str:
    """A share with its exact 95 % interval."""
    found = exact_interval(right, of)
    return f"{right / of:.3f} [{found[0]:.3f}, {found[1]:.3f}]" if found else "-"


def main() -> None:
    """Prints a table for each half."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    answers = Answers(Shelf(Path(), entries()), with_meaning=False)
    with QUESTIONS.open(encoding="utf-8", newline="") as file:
        questions = list(csv.DictReader(file))
    for name, half in zip(("chosen on", "reported"), halves(questions), strict=True):
        mine = [(one["entry"], answers.ask(one["question"], 3)) for one in half]
        print(f"\n{name}: {len(mine)} questions")
        print(f"{'sure':>5} {'words':>6} {'answers':>8}  {'right of these':<24} answers where its entry is gone")
        for sure in (0.8, SURE, 0.95):
            for words in (0.3, LEAST_WORDS, 0.7):
                told = [(entry, answered(hits[:2], sure, words)) for entry, hits in mine]
                told = [one for one in told if one[1] is not None]
                without = [[hit for hit in hits if hit.entry.id != entry][:2] for entry, hits in mine]
                wrong = sum(answered(hits, sure, words) is not None for hits in without)
                right = sum(entry == found for entry, found in told)
                mark = " <-" if (sure, words) == (SURE, LEAST_WORDS) else ""
                shown = share(right, len(told))
                print(f"{sure:>5} {words:>6} {len(told):>8}  {shown:<24} {wrong} of {len(mine)}{mark}")


if __name__ == "__main__":
    main()
