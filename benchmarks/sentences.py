"""What customers would be told of the cases of a folder of snapshots, and whether the claim guard finds anything in it.

python benchmarks/sentences.py              the development cases
python benchmarks/sentences.py DIR          what `problem-snapshot backtest CASES --keep DIR` left
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from _labelled import DEV, snapshots

from pipeline.desk.claims import check
from pipeline.desk.sentence import customer_message, sentences
from snapshots.model import read_snapshot


def main(folder: Path) -> None:
    """Prints how many have a message, how many clauses cite how many records, what was refused, and each message once."""
    told: Counter[str] = Counter()
    clauses = cited = uncited = refused = without = 0
    paths = sorted(folder.glob("*.json"))
    for path in paths:
        snapshot = read_snapshot(path.read_bytes())
        message = customer_message(snapshot)
        if message is None:
            without += 1
            continue
        refusals = check(message, snapshot, sentences())
        refused += len(refusals)
        known = {e.ref for finding in snapshot.findings for e in finding.evidence}
        clauses += len(message.clauses)
        cited += sum(len(clause.evidence) for clause in message.clauses)
        uncited += sum(not clause.evidence or not set(clause.evidence) <= known for clause in message.clauses)
        told[f"{message.zh} | {message.en}"] += 1
        for one in refusals:
            print(f"{snapshot.ticket.id}: {one.reason}: {one.words}")
    print(f"{len(paths)} snapshots, {len(paths) - without} with a message, {without} without evidence for one")
    print(f"{clauses} clauses, {cited} citations, {uncited} clauses without evidence, {refused} refusals of the guard")
    for text, count in told.most_common():
        print(f"{count:>4}  {text}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", nargs="?", type=Path, help="snapshots, as backtest --keep leaves them")
    with snapshots(DEV, arguments.parse_args().folder) as kept:
        main(kept)
