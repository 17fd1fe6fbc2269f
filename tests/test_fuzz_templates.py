"""A fuzz target for the miner: made-up lines, a fixed number of rounds, all laws at once.

`FUZZ_ROUNDS=100000 python -m pytest tests/test_fuzz_templates.py` runs it for longer; a failure names its seed.
"""

from __future__ import annotations

import os
import random

import pyarrow as pa
import pytest

from parsers import templates
from parsers.folding import fold_by_expression, fold_compiled
from parsers.masking import mask
from parsers.templates import match, merge, mine, parameters
from tests.mining_samples import line

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "300"))


def check(seed: int) -> None:
    chance = random.Random(seed)
    lines = [line(chance) for _ in range(chance.randrange(1, 40))]
    lines += chance.choices(lines, k=chance.randrange(5))
    messages = pa.array(lines, pa.string())

    assert fold_compiled(messages).to_pylist() == fold_by_expression(messages).to_pylist()
    once = mask(messages).to_pylist()
    assert mask(pa.array(once, pa.string())).to_pylist() == once

    mined = mine(messages)
    assert sum(template.count for template in mined.templates) == len(lines)
    assert match(mined, messages).to_pylist() == mined.template_ids.to_pylist()
    for template in mined.templates:
        got = parameters(mined, messages, template)
        assert all(column.null_count == 0 for column in got.values.columns), template.text

    cut = chance.randrange(len(lines) + 1)
    merged = merge(mine(messages.slice(cut)), mine(messages.slice(0, cut)))
    assert merged.templates == mined.templates
    shuffled = chance.sample(lines, len(lines))
    assert mine(pa.array(shuffled, pa.string())).templates == mined.templates


@pytest.mark.parametrize(
    ("caps", "rounds"), [((40_000, 5_000), ROUNDS), ((12, 5), ROUNDS // 4)], ids=["all compared", "rare words folded"]
)
@pytest.mark.timeout(0)
def test_no_lines_break_a_law(monkeypatch, caps, rounds):
    monkeypatch.setattr(templates, "MOST_FOLDED", caps[0])
    monkeypatch.setattr(templates, "MOST_MASKED", caps[1])
    for seed in range(rounds):
        try:
            check(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
