"""What one would otherwise write: read the bundle line by line, mine each line, match codes in the bad ones.

Run as `python benchmarks/_naive.py BUNDLE`; it prints the most frequent fault class of the codes it saw.
"""

from __future__ import annotations

import collections
import csv
import gzip
import json
import pathlib
import re
import sys


def main(bundle: pathlib.Path, codes: pathlib.Path) -> None:
    """One bundle, the plain way."""
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    # The masks that Drain3's README proposes, without those that backtrack.
    config.masking_instructions = [
        MaskingInstruction(r"((?<=[^A-Za-z0-9])|^)(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})((?=[^A-Za-z0-9])|$)", "IP"),
        MaskingInstruction(r"((?<=[^A-Za-z0-9])|^)(0x[a-f0-9A-F]+)((?=[^A-Za-z0-9])|$)", "HEX"),
        MaskingInstruction(r"((?<=[^A-Za-z0-9])|^)([\-\+]?\d+)((?=[^A-Za-z0-9])|$)", "NUM"),
    ]
    miner = TemplateMiner(config=config)
    with codes.open(encoding="utf-8", newline="") as file:
        table = {row["code"]: row["fault_class"] for row in csv.DictReader(file) if len(row["code"]) >= 4}
    votes: collections.Counter[str] = collections.Counter()
    for path in sorted((bundle / "logs").glob("*")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                message = json.loads(line).get("message") or ""
                miner.add_log_message(message)
                if re.search(r"ERROR|error|WARN|warn", message):
                    votes.update(table[word] for word in re.findall(r"[A-Za-z0-9_.]+", message) if word in table)
    print(len(miner.drain.clusters), votes.most_common(1))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
