"""How long one `problem-snapshot take` of a bundle lasts, process start included, against the plain script.

Both are run as processes on the same bundles, alternating. Goal: p50 at most 3 s and p95 at most 6 s on two cores. The ratio is
the product's median over the plain script's; the product also stores, redacts, stamps and diagnoses.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
P50, P95 = 3.0, 6.0
MOST = 24


def bundles() -> list[pathlib.Path]:
    """The evaluation cases where they are at hand, else the bundled examples."""
    for folder in (ROOT.parent / "shared" / "data" / "cases" / "dev", ROOT / "examples"):
        found = sorted(path.parent for path in folder.glob("*/ticket.json"))
        if found:
            step = max(1, len(found) // MOST)
            return found[::step][:MOST]
    return []


def seconds(command: list[str]) -> float:
    """Wall time of one process; it must end well."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> int:
    """Print both distributions, the ratio and the verdict."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    command = pathlib.Path(sys.executable).with_name("problem-snapshot")
    codes = ROOT / "pipeline" / "faults" / "channel_codes.csv"
    ours: list[float] = []
    plain: list[float] = []
    with tempfile.TemporaryDirectory() as store:
        for bundle in bundles():
            take = [str(command), "take", bundle.name, "--bundle", str(bundle), "--output", "json", "--store", store]
            ours.append(seconds(take))
            plain.append(seconds([sys.executable, str(ROOT / "benchmarks" / "_naive.py"), str(bundle), str(codes)]))
    ours.sort()
    p50, p95 = statistics.median(ours), ours[min(len(ours) - 1, int(0.95 * len(ours)))]
    ratio = p50 / statistics.median(plain)
    holds = p50 <= P50 and p95 <= P95
    print(f"bundles {len(ours)}; plain script p50 {statistics.median(plain):.2f} s")
    print(
        f"take_latency: p50 {p50:.2f} s (goal {P50:g}), p95 {p95:.2f} s (goal {P95:g}), "
        f"ratio to the plain script {ratio:.2f}: {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
