"""The exact mode against Drain3 line by line, on the ten systems of Loghub-2k: same answers, and how many times as fast.

The lines of each system are drawn again and again with other digits; half of the numbers get another length as well. A line
that came before gets a number at its end, so that at least nine in ten are distinct. Both sides get the same lines in the
same run, alternating, and the best time of each counts. This is done with the seven masks of Drain3's own example, and with no
drain3.ini on a tenth of the lines: there, without masks, Drain3 itself is slow where it makes many clusters.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import pathlib
import random
import re
import sys
import time

import pyarrow as pa
from _rivals import SEVEN_MASKS
from drain3 import TemplateMiner
from drain3.masking import MaskingInstruction
from drain3.template_miner_config import TemplateMinerConfig

from parsers.exact import mine_exactly

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = 2

Answers = tuple[list[int], list[tuple[int, int, str]]]


def varied(path: pathlib.Path, count: int) -> list[str]:
    """`count` lines like those of one system, the same in every run."""
    with path.open(encoding="utf-8", newline="") as file:
        given = [row["Content"] for row in csv.DictReader(file)]
    chance = random.Random(path.name)

    def number(match: re.Match[str]) -> str:
        length = len(match[0])
        if chance.random() < 0.5:
            length = chance.randint(1, length + 1)
        return "".join(chance.choices("0123456789", k=length))

    lines = []
    before: set[str] = set()
    for _ in range(count):
        line = re.sub(r"\d+", number, chance.choice(given))
        if line in before and chance.random() < 0.95:
            line = f"{line} {chance.randrange(10**9)}"
        before.add(line)
        lines.append(line)
    return lines


def line_by_line(lines: list[str], masks: tuple[tuple[str, str], ...]) -> tuple[float, Answers]:
    """Drain3 as it is used; seconds, and its answers."""
    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(*mask) for mask in masks]
    miner = TemplateMiner(config=config)
    begun = time.perf_counter()
    ids = [miner.add_log_message(line)["cluster_id"] for line in lines]
    seconds = time.perf_counter() - begun
    return seconds, (ids, sorted((each.cluster_id, each.size, each.get_template()) for each in miner.drain.clusters))


def exactly(lines: pa.Array, ini: str) -> tuple[float, Answers]:
    """The same of the exact mode."""
    begun = time.perf_counter()
    mined = mine_exactly(lines, ini)
    seconds = time.perf_counter() - begun
    return seconds, (mined.cluster_ids.to_pylist(), [(each.id, each.size, each.template) for each in mined.clusters])


def compared(lines: list[str], masks: tuple[tuple[str, str], ...]) -> tuple[bool, float]:
    """Whether all answers are the same, and how many times as fast."""
    masking = [{"regex_pattern": pattern, "mask_with": name} for pattern, name in masks]
    ini = f"[MASKING]\nmasking = {json.dumps(masking)}\n" if masks else ""
    table = pa.array(lines, pa.string())
    same = True
    plain: list[float] = []
    ours: list[float] = []
    for _ in range(RUNS):
        seconds, expected = line_by_line(lines, masks)
        plain.append(seconds)
        seconds, answers = exactly(table, ini)
        ours.append(seconds)
        same &= answers == expected
    return same, min(plain) / min(ours)


def main() -> int:
    """Print each system's ratios, and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT.parent / "shared" / "data" / "loghub2k")
    parser.add_argument("--lines", type=int, default=200_000)
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("*/*_2k.log_structured_corrected.csv"))
    if not paths:
        print(f"exact: no systems in {arguments.folder}")
        return 1
    all_same = True
    ratios: list[float] = []
    for path in paths:
        lines = varied(path, arguments.lines)
        told = []
        for name, masks, count in (("seven masks", SEVEN_MASKS, len(lines)), ("no ini", (), len(lines) // 10)):
            same, ratio = compared(lines[:count], masks)
            all_same &= same
            ratios.append(ratio)
            told.append(f"{name} {'same' if same else 'NOT THE SAME'} {ratio:.1f}x")
        print(f"{path.parent.name:10} distinct {len(set(lines)) / len(lines):.0%}; {'; '.join(told)}", flush=True)
    geomean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    holds = all_same and min(ratios) >= 1
    print(
        f"exact: {len(paths)} systems, {'all the same' if all_same else 'NOT ALL THE SAME'}, ratio to line by line: "
        f"geomean {geomean:.2f}, minimum {min(ratios):.2f}: {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
