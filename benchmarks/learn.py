"""`learn` on a generated archive of four services, against Drain3 line by line on the same lines.

Run as `python benchmarks/learn.py [--lines N] [--folder DIR] [--quick]`. The archive (see `_archive.py`) is written once, as Parquet,
into DIR, a folder of the temporary one unless given, and used again by the next run.

Ours is the whole of `problem-snapshot learn` in a process of its own, from starting Python to the written catalogue, on a tenth of
the lines and then on all of them, so that memory can be compared; the best of the rounds counts. The rival is Drain3's
`TemplateMiner` (the maintained fork) with the seven masks of its README, which is given the messages as Python strings and does
nothing else: no reading, no counting by time. Its rate is taken from a sample of the same lines after a warm-up, in slices that
alternate with our rounds, each in a process of its own that waits while the other works. Beside the wall time stands the time of
the processors, which tells more on a machine that does other things as well.

Goals on two cores: a million lines a second, all in; thirty times the rival's rate.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from _archive import GROUP, write
from _rivals import SEVEN_MASKS

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATE, RATIO = 1_000_000.0, 30.0
ROUNDS = 3
# One row of so many is the rival's.
_EVERY = 97


def ours(paths: list[pathlib.Path], lines: int, out: pathlib.Path) -> dict[str, float]:
    """One run of the command: wall and processor seconds, the highest resident size in MB, bytes stored."""
    shutil.rmtree(out, ignore_errors=True)
    code = "from cli import main; main()"
    command = [sys.executable, "-c", code, "learn", *map(str, paths), "--out", str(out), "-o", "json"]
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.stdout, process.stderr
    if output is None or errors is None:
        raise RuntimeError("pipes were asked for")
    told, said = output.read(), errors.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    if status:
        raise SystemExit(f"learn: ours failed: {said.decode()[-2000:]}")
    manifest = json.loads(told)
    if manifest["lines"] != lines:
        raise SystemExit(f"learn: {manifest['lines']} of {lines} lines were learnt: MISSED")
    return {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / 1024,
        "stored": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
        "templates": manifest["templates"],
        "masked": manifest["masked_lines"],
        "bytes": manifest["tally"]["message_bytes"],
    }


class Rival:
    """Drain3 in a process of its own that waits until it is told how many lines to do."""

    def __init__(self, path: pathlib.Path, sample: int) -> None:
        command = [sys.executable, str(pathlib.Path(__file__).resolve()), "--rival", str(path), str(sample)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def _answer(self) -> Any:
        stream = self._process.stdout
        return json.loads(stream.readline()) if stream else None

    def feed(self, lines: int) -> dict[str, float]:
        """Let it do so many lines more."""
        stream = self._process.stdin
        if stream is None:
            raise RuntimeError("a worker has an input")
        stream.write(f"{lines}\n")
        stream.flush()
        answer: dict[str, float] = self._answer()
        return answer

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def be_rival(path: pathlib.Path, sample: int) -> None:
    """What Drain3's README shows, over every so-manieth line of the archive's first file."""
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in SEVEN_MASKS]
    miner = TemplateMiner(config=config)
    lines: list[str] = []
    for batch in pq.ParquetFile(path).iter_batches(columns=["message"]):
        lines += batch.column(0).take(pa.array(range(0, len(batch), _EVERY))).to_pylist()
        if len(lines) >= sample:
            break
    at = 0
    print("{}", flush=True)
    for asked in sys.stdin:
        some = [lines[i % len(lines)] for i in range(at, at + int(asked))]
        at += len(some)
        begun, used = time.perf_counter(), time.process_time()
        for line in some:
            miner.add_log_message(line)
        spent = {"lines": len(some), "wall": time.perf_counter() - begun, "cpu": time.process_time() - used}
        print(json.dumps({**spent, "clusters": len(miner.drain.clusters)}), flush=True)


def shuffled(path: pathlib.Path) -> tuple[int, int, float]:
    """Lines, bytes of their shards by day as an engine sends them, and bytes of the file, over the first file's units."""
    sys.path.insert(0, str(ROOT))
    from pipeline.learning.shards import by_day, encoded
    from pipeline.learning.units import read_unit, units_of

    rows = size = 0
    for unit in units_of(str(path)):
        made = read_unit(unit)
        rows += made.rows
        size += sum(len(encoded(shard)) for _, shard in by_day(made.shard))
    return rows, size, path.stat().st_size


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=20_000_000)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="two million lines and one round")
    parser.add_argument("--rival", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Measure, and print the verdict."""
    asked = arguments()
    if asked.rival:
        be_rival(pathlib.Path(asked.rival[0]), int(asked.rival[1]))
        return 0
    lines = 2_000_000 if asked.quick else asked.lines
    rounds, slices = (1, 10_000) if asked.quick else (ROUNDS, 30_000)
    base = asked.folder or pathlib.Path(tempfile.gettempdir()) / "problem-snapshot-bench-learn"
    # In files of as many rows as the units of the whole have, so that their memory can be compared.
    tenth = write(base / f"tenth-{lines}", lines // 10, files=max(1, lines // 10 // GROUP))
    whole = write(base / f"{lines}", lines)
    read = sum(path.stat().st_size for path in whole)
    out = base / "catalogue"
    print(
        f"archive: {lines:,} lines in {len(whole)} files of {read / 1e6:,.0f} MB; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    small = ours(tenth, lines // 10, out)
    rival = Rival(whole[0], slices * (rounds + 1))
    try:
        rival.feed(slices // 3)
        runs, fed = [], []
        for number in range(rounds):
            runs.append(ours(whole, lines, out))
            fed.append(rival.feed(slices))
            mine, theirs = runs[-1], fed[-1]
            print(
                f"round {number + 1}: ours {mine['wall']:.1f} s, {mine['cpu']:.1f} s of processors, {lines / mine['wall']:,.0f} "
                f"lines/s; rival {theirs['lines'] / theirs['wall']:,.0f} lines/s ({theirs['lines'] / theirs['cpu']:,.0f} by its "
                f"processor time); load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    finally:
        rival.end()
    best = min(runs, key=lambda one: one["wall"])
    rate = lines / best["wall"]
    least_cpu = min(one["cpu"] for one in runs)
    rival_rate = max(one["lines"] / one["wall"] for one in fed)
    rival_by_cpu = max(one["lines"] / one["cpu"] for one in fed)
    rows, sent, size = shuffled(whole[0])
    million = lines / 1e6
    print(
        f"ours: {rate:,.0f} lines/s, {best['bytes'] / best['wall'] / 1e6:,.0f} MB/s of messages; {least_cpu / million:.2f} s of "
        f"processors a million lines, so {1e6 / (least_cpu / million) / 1e6:.2f} million lines a second and core; "
        f"{best['templates']:.0f} templates of {best['masked']:,.0f} masked lines; memory {small['memory']:,.0f} MB at "
        f"{lines // 10:,} lines, {best['memory']:,.0f} MB at {lines:,}\n"
        f"a million lines: {size / rows:,.1f} MB read as Parquet, {best['bytes'] / million / 1e6:,.0f} MB of messages, "
        f"{sent / rows:,.2f} MB sent as shards, {best['stored'] / million / 1e6:,.2f} MB stored\n"
        f"rival: {rival_rate:,.0f} lines/s, {fed[-1]['clusters']:.0f} templates so far\n"
        f"ratio {rate / rival_rate:.1f} by wall time; by processor time, of one core each, "
        f"{lines / least_cpu / rival_by_cpu:.1f}"
    )
    holds = rate >= RATE and rate / rival_rate >= RATIO
    print(
        f"learn: {rate:,.0f} lines/s all in (goal {RATE:,.0f}), {rate / rival_rate:.1f} times line by line (goal {RATIO:g}): "
        f"{'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
