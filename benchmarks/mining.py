"""Mining templates from a million lines of each system of loghub-2k, against Drain3 line by line.

Run as `python benchmarks/mining.py [FOLDER] [--rows N] [--systems A,B] [--quick] [--full]`; FOLDER holds loghub-2k. The lines
are those of benchmarks/_expand.py, in two modes: with new digits, and with new words as well.

Ours is `parsers.templates.mine` on all rows, the median of three runs. The rival is Drain3's `TemplateMiner` (the maintained
fork) with the seven masks of its README, which needs half a minute and more for that: its rate is taken from a slice after a
warm-up (with `--full`, from all rows). The slice favours it where its clusters become more with the rows, as those of BGL and
HealthApp with new words do, for its rate falls with that; elsewhere its rate is steady. The runs alternate, each in a process of
its own that waits while the other works: ours, a third of the slice, ours, the next third, and so on. A rival past its time is
cut and its rate taken from the lines it did; one line can keep it busy for ever, for two of the masks backtrack.

The memory is the highest resident size while mining, less that before, plus the input, over the input.

Goals: with new digits the geometric mean of the ratios of lines per second at least 100 and none below 40; with new words at
least 15 and none below 1; the memory at most three times the input.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import pathlib
import queue
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from _expand import expand, read, systems, varies
from _rivals import SEVEN_MASKS

ROOT = pathlib.Path(__file__).resolve().parent.parent
SEED = 20
ROUNDS = 3
# Geometric mean and least of the ratios, by mode; the most memory as a multiple of the input.
GOALS = {"digits": (100.0, 40.0), "words": (15.0, 1.0)}
MEMORY = 3.0
DISTINCT = 0.9
# Our first run may take this long; when it took longer than the second number it is not repeated.
OUR_LIMIT, OUR_PATIENCE = 600.0, 20.0
REPORT_EVERY = 200


@dataclass(frozen=True)
class Size:
    """How much is measured: rows; lines of the rival's warm-up and slice, and the seconds it may have."""

    rows: int
    warm_up: int
    measured: int
    limit: float


@dataclass(frozen=True)
class Result:
    """What one system and mode came to."""

    system: str
    mode: str
    ratio: float
    memory: float
    distinct: float


class Worker:
    """A process of this same script, which answers a line of JSON with lines of JSON."""

    def __init__(self, role: str, path: pathlib.Path) -> None:
        command = [sys.executable, str(pathlib.Path(__file__).resolve()), "--worker", role, str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._answers.put(json.loads(line))
        self._answers.put(None)

    def ask(self, **request: Any) -> None:
        """Send a request."""
        stream = self._process.stdin
        if stream is None:
            raise RuntimeError("a worker has an input")
        with contextlib.suppress(BrokenPipeError):
            stream.write(json.dumps(request) + "\n")
            stream.flush()

    def answer(self, limit: float) -> dict[str, Any] | None:
        """The next answer; None when there is none within `limit` seconds, or the process has ended."""
        with contextlib.suppress(queue.Empty):
            return self._answers.get(timeout=max(0.0, limit))
        return None

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


class Rival:
    """Drain3 in a worker: how many lines it did in which time, cut when its time is over."""

    def __init__(self, path: pathlib.Path, limit: float) -> None:
        self._worker = Worker("rival", path)
        self._left = limit
        self.alive = self._worker.answer(60.0) is not None
        self.clusters = 0

    def feed(self, lines: int) -> tuple[int, float]:
        """Let it do so many lines more; the lines that it did, and the seconds."""
        if not self.alive or lines <= 0:
            return 0, 0.0
        begun = time.perf_counter()
        self._worker.ask(lines=lines)
        done = 0
        while True:
            answer = self._worker.answer(self._left - (time.perf_counter() - begun))
            if answer is None:
                # The line that it hangs on took that long.
                self.alive = False
                spent = time.perf_counter() - begun
                break
            done, spent, self.clusters = answer["done"], answer["seconds"], answer["clusters"]
            if answer["end"]:
                break
        self._left -= spent
        return done, spent

    def end(self) -> None:
        """End the process."""
        self._worker.end()


def run(folder: pathlib.Path, system: str, mode: str, size: Size) -> Result:
    """Measure one system in one mode, and print it."""
    lines, templates = read(folder, system)
    with tempfile.TemporaryDirectory() as place:
        path = pathlib.Path(place) / "lines.arrow"
        begun = time.perf_counter()
        messages = expand(lines, templates, size.rows, seed=SEED, words=mode == "words")
        made = time.perf_counter() - begun
        distinct = pc.count_distinct(messages).as_py() / max(1, size.rows)
        write(messages, path)
        del messages
        gc.collect()
        ours, rival = Worker("ours", path), Rival(path, size.limit)
        try:
            ready, runs, scan, slices = alternate(ours, rival, size)
        finally:
            ours.end()
            rival.end()
    cannot = sum(not varies(*pair, words=mode == "words") for pair in zip(lines, templates, strict=True)) / len(lines)
    seconds = statistics.median(answer["seconds"] for answer in runs)
    rate = size.rows / seconds
    (warm_lines, warm_seconds), *rest = slices
    did, took = sum(lines for lines, _ in rest), sum(spent for _, spent in rest)
    if not did:
        # It did not get beyond its warm-up: all that it did counts.
        did, took, warm_lines = warm_lines, warm_seconds + took, 0
    rival_rate = did / took if took else math.nan
    ratio = rate / rival_rate if rival_rate else math.inf
    megabytes = ready["text_bytes"] / 1e6
    memory = runs[0]["memory"]
    print(
        f"{system} {mode}: {size.rows} rows, {megabytes:.1f} MB, distinct {distinct:.1%} (made in {made:.1f} s; "
        f"{cannot:.0%} of the system's lines cannot vary), warm-up {ready['warm_up']:.2f} s\n"
        f"  ours   {seconds:.3f} s (of {len(runs)}), {rate:,.0f} lines/s, {megabytes / seconds:.1f} MB/s, "
        f"{runs[0]['templates']} templates; memory {memory:.2f} x the input{runs[0]['remark']}\n"
        f"  rival  {rival_rate:,.0f} lines/s, from {did} rows after {warm_lines}"
        f"{'' if rival.alive else ' (cut: its time was over)'}, {rival.clusters} templates so far; ratio {ratio:.1f}\n"
        f"  limits one RE2 scan {scan['scan']:.0f} MB/s, a copy {scan['copy']:.0f} MB/s",
        flush=True,
    )
    return Result(system, mode, ratio, memory, distinct)


def alternate(
    ours: Worker, rival: Rival, size: Size
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any], list[tuple[int, float]]]:
    """Ours and the rival in turn: what ours is ready with, its runs, its limits, and the rival's slices (the first warms up)."""
    ready = needed(ours.answer(OUR_LIMIT))
    slices = [rival.feed(size.warm_up)]
    runs: list[dict[str, Any]] = []
    for number in range(ROUNDS):
        if not runs or runs[0]["seconds"] <= OUR_PATIENCE:
            ours.ask(do="mine")
            runs.append(needed(ours.answer(OUR_LIMIT)))
        slices.append(rival.feed(size.measured * (number + 1) // ROUNDS - size.measured * number // ROUNDS))
    ours.ask(do="limits")
    return ready, runs, needed(ours.answer(OUR_LIMIT)), slices


def needed(answer: dict[str, Any] | None) -> dict[str, Any]:
    """The answer, which ours must give."""
    if answer is None:
        raise SystemExit("mining: ours ended or took too long: MISSED")
    return answer


def write(messages: pa.ChunkedArray, path: pathlib.Path) -> None:
    """The lines as an Arrow file."""
    table = pa.table({"message": messages})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def load(path: pathlib.Path) -> pa.ChunkedArray:
    """The lines of an Arrow file, in memory and not mapped."""
    with pa.OSFile(str(path), "rb") as source:
        return pa.ipc.open_file(source).read_all().column("message")


def texts(messages: pa.ChunkedArray) -> Iterator[np.ndarray]:
    """The bytes of the lines."""
    for chunk in messages.chunks:
        _, offsets, data = chunk.buffers()
        ends = np.frombuffer(offsets, np.int32)[[chunk.offset, chunk.offset + len(chunk)]]
        yield np.frombuffer(data, np.uint8)[ends[0] : ends[1]]


def requests() -> Iterator[dict[str, Any]]:
    """What this worker is asked for."""
    for line in sys.stdin:
        yield json.loads(line)


def say(**answer: Any) -> None:
    """A worker's answer."""
    print(json.dumps(answer), flush=True)


def be_ours(path: pathlib.Path) -> None:
    """The worker that mines with this project."""
    sys.path.insert(0, str(ROOT))
    from parsers.templates import mine, warm_up

    messages = load(path)
    text_bytes = sum(int(text.size) for text in texts(messages))
    for text in texts(messages):
        int(text.sum(dtype=np.uint64))
    begun = time.perf_counter()
    warm_up()
    # What it imports late is no part of mining.
    mine(pa.chunked_array([pa.array(["a line 1", "a line 2"])]))
    say(warm_up=time.perf_counter() - begun, text_bytes=text_bytes)
    for request in requests():
        if request["do"] == "mine":
            say(**mined(mine, messages))
        else:
            say(**limits(messages, text_bytes))


def mined(mine: Callable[[pa.ChunkedArray], Any], messages: pa.ChunkedArray) -> dict[str, Any]:
    """One run with its time and memory."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    remark = ""
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        remark = " (the mark of its peak could not be set back)"
    before = resident("VmRSS")
    begun = time.perf_counter()
    result = mine(messages)
    seconds = time.perf_counter() - begun
    peak = resident("VmHWM")
    memory = (peak - before + messages.nbytes) / messages.nbytes
    if len(result.template_ids) != len(messages):
        raise SystemExit("mining: rows were lost")
    return {"seconds": seconds, "memory": memory, "templates": len(result.templates), "remark": remark}


def resident(field: str) -> int:
    """The resident size of this process (VmRSS) or its peak (VmHWM), in bytes."""
    try:
        status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        # Not Linux: the peak alone, in bytes on macOS.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field + ":"))


def limits(messages: pa.ChunkedArray, text_bytes: int) -> dict[str, float]:
    """MB/s of one RE2 scan of the lines, and of copying their bytes; the better of three."""
    pa.set_cpu_count(1)
    scan = min(
        timed(lambda: pc.replace_substring_regex(messages, pattern="[0-9]+", replacement="0")) for _ in range(ROUNDS)
    )
    copy = min(timed(lambda: [text.copy() for text in texts(messages)]) for _ in range(ROUNDS))
    return {"scan": text_bytes / scan / 1e6, "copy": text_bytes / copy / 1e6}


def timed(work: Callable[[], object]) -> float:
    """The seconds that it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def be_rival(path: pathlib.Path) -> None:
    """The worker that does what Drain3's README shows."""
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in SEVEN_MASKS]
    miner = TemplateMiner(config=config)
    messages = load(path)
    at = 0
    say(ready=True)
    for request in requests():
        lines = messages.slice(at, request["lines"]).to_pylist()
        at += len(lines)
        done, spent = 0, 0.0
        while done < len(lines):
            some = lines[done : done + REPORT_EVERY]
            begun = time.perf_counter()
            for line in some:
                miner.add_log_message(line)
            spent += time.perf_counter() - begun
            done += len(some)
            say(done=done, seconds=spent, clusters=len(miner.drain.clusters), end=False)
        say(done=done, seconds=spent, clusters=len(miner.drain.clusters), end=True)


def verdict(results: Sequence[Result]) -> bool:
    """Print the last line; whether all goals hold."""
    said, holds = [], bool(results)
    for mode, (mean_goal, least_goal) in GOALS.items():
        ratios = [result.ratio for result in results if result.mode == mode]
        mean, least = statistics.geometric_mean(ratios), min(ratios)
        holds = holds and mean >= mean_goal and least >= least_goal
        said.append(
            f"{mode} geometric mean ratio {mean:.1f} (goal {mean_goal:g}), least {least:.1f} (goal {least_goal:g})"
        )
    memory, distinct = max(result.memory for result in results), min(result.distinct for result in results)
    holds = holds and memory <= MEMORY and distinct >= DISTINCT
    print(
        f"mining: {'; '.join(said)}; memory at most {memory:.2f} x the input (goal {MEMORY:g}); distinct lines at least "
        f"{distinct:.1%} (needed {DISTINCT:.0%}): {'holds' if holds else 'MISSED'}"
    )
    return holds


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time the mining of templates against Drain3.")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT.parent / "shared" / "data" / "loghub2k")
    parser.add_argument("--rows", type=int, help="rows of each system (1000000; quick: 200000)")
    parser.add_argument("--systems", help="names with commas; default all")
    parser.add_argument("--quick", action="store_true", help="fewer rows and a shorter slice for the rival")
    parser.add_argument("--full", action="store_true", help="let the rival do all rows, up to an hour a system")
    parser.add_argument("--worker", choices=["ours", "rival"], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Measure all systems and print the verdict."""
    asked = arguments()
    if asked.worker:
        (be_ours if asked.worker == "ours" else be_rival)(asked.folder)
        return 0
    names = asked.systems.split(",") if asked.systems else systems(asked.folder)
    if not names:
        print("mining: loghub-2k is not beside this checkout: MISSED")
        return 1
    if unknown := set(names) - set(systems(asked.folder)):
        print(f"mining: no such system: {', '.join(sorted(unknown))}: MISSED")
        return 1
    rows = asked.rows or (200_000 if asked.quick else 1_000_000)
    warm_up, measured = (5_000, 10_000) if asked.quick else (20_000, 120_000)
    if asked.full:
        warm_up, measured = 0, rows
    warm_up, measured = min(warm_up, rows // 3), min(measured, rows)
    size = Size(rows, warm_up, min(measured, rows - warm_up), 3600.0 if asked.full else 25.0)
    print(
        f"rival: Drain3's TemplateMiner line by line, its README's masks, its rate from {size.measured} rows of each "
        f"{rows} after a warm-up of {size.warm_up}, at most {size.limit:g} s"
        + ("" if asked.full else "; the slice favours it where its clusters grow with the rows"),
        flush=True,
    )
    return 0 if verdict([run(asked.folder, name, mode, size) for name in names for mode in GOALS]) else 1


if __name__ == "__main__":
    sys.exit(main())
