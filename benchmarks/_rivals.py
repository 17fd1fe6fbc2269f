"""The other miners that benchmarks/mining_accuracy.py measures, and their settings for each system.

Drain3 is a dependency of the project. Brain comes from logparser3, which is not: it gets an environment of its own,
.venv-rivals beside this checkout's .venv, filled from benchmarks/rivals.lock.

The settings in `SETTINGS` are those of logparser's own benchmarks (github.com/logpai/logparser, Apache-2.0,
logparser/Drain/benchmark.py and logparser/Brain/benchmark.py); logparser3 1.0.4 ships the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

HERE = pathlib.Path(__file__).resolve().parent
LOCK = HERE / "rivals.lock"
ENVIRONMENT = HERE.parent / ".venv-rivals"

# The masks of Drain3's examples/drain3.ini, to which its README points (the README itself shows two of them). Only the
# masks are taken from it, with the default prefix and suffix: `<:IP:>` would be no wildcard to the normalisation.
SEVEN_MASKS = (
    (r"((?<=[^A-Za-z0-9])|^)(([0-9a-f]{2,}:){3,}([0-9a-f]{2,}))((?=[^A-Za-z0-9])|$)", "ID"),
    (r"((?<=[^A-Za-z0-9])|^)(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})((?=[^A-Za-z0-9])|$)", "IP"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9a-f]{6,} ?){3,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9A-F]{4} ?){4,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)(0x[a-f0-9A-F]+)((?=[^A-Za-z0-9])|$)", "HEX"),
    (r"((?<=[^A-Za-z0-9])|^)([\-\+]?\d+)((?=[^A-Za-z0-9])|$)", "NUM"),
    (r"(?<=executed cmd )(\".+?\")", "CMD"),
)


@dataclass(frozen=True)
class Parsed:
    """What a miner made of one system: per line its template's id and its template's text."""

    ids: list[str]
    texts: list[str]


@dataclass(frozen=True)
class Setting:
    """What logparser's benchmarks set for one system."""

    log_format: str
    drain_masks: tuple[str, ...]
    drain_similarity: float
    drain_depth: int
    brain_masks: tuple[str, ...]
    brain_delimiters: tuple[str, ...]
    brain_threshold: int


_IP = r"(\d+\.){3}\d+"
_HDFS = (r"blk_-?\d+", r"(\d+\.){3}\d+(:\d+)?")
_SPARK = (_IP, r"\b[KGTM]?B\b", r"([\w-]+\.){2,}[\w-]+")
_ZOOKEEPER = (r"(/|)(\d+\.){3}\d+(:\d+)?",)
_LINUX = (_IP, r"\d{2}:\d{2}:\d{2}")
_PROXIFIER = (r"<\d+\ssec", r"([\w-]+\.)+[\w-]+(:\d+)?", r"\d{2}:\d{2}(:\d{2})*", r"[KGTM]B")
_ADDRESSES = r"((\d+\.){3}\d+,?)+"

SETTINGS = {
    "Apache": Setting(r"\[<Time>\] \[<Level>\] <Content>", (_IP,), 0.5, 4, (_IP,), (), 4),
    "BGL": Setting(
        "<Label> <Timestamp> <Date> <Node> <Time> <NodeRepeat> <Type> <Component> <Level> <Content>",
        (r"core\.\d+",),
        0.5,
        4,
        (r"core\.\d+",),
        (),
        6,
    ),
    "HDFS": Setting("<Date> <Time> <Pid> <Level> <Component>: <Content>", _HDFS, 0.5, 4, _HDFS, ("",), 2),
    "HPC": Setting("<LogId> <Node> <Component> <State> <Time> <Flag> <Content>", (r"=\d+",), 0.5, 4, (), (), 5),
    "HealthApp": Setting(r"<Time>\|<Component>\|<Pid>\|<Content>", (), 0.2, 4, (), ("",), 4),
    "Linux": Setting(
        r"<Month> <Date> <Time> <Level> <Component>(\[<PID>\])?: <Content>",
        _LINUX,
        0.39,
        6,
        (*_LINUX, r"J([a-z]{2})"),
        ("",),
        4,
    ),
    "OpenStack": Setting(
        r"<Logrecord> <Date> <Time> <Pid> <Level> <Component> \[<ADDR>\] <Content>",
        (_ADDRESSES, r"/.+?\s", r"\d+"),
        0.5,
        5,
        (_ADDRESSES, r"/.+?\s ", r"\d+"),
        (),
        5,
    ),
    "Proxifier": Setting(r"\[<Time>\] <Program> - <Content>", _PROXIFIER, 0.6, 3, _PROXIFIER, (r"\(.*?\)",), 3),
    "Spark": Setting("<Date> <Time> <Level> <Component>: <Content>", _SPARK, 0.5, 4, _SPARK, (), 4),
    "Zookeeper": Setting(
        r"<Date> <Time> - <Level>  \[<Node>:<Component>@<Id>\] - <Content>", _ZOOKEEPER, 0.5, 4, _ZOOKEEPER, (), 3
    ),
}


def drain3(
    lines: Sequence[str],
    masks: Sequence[tuple[str, str]] = (),
    similarity: float | None = None,
    depth: int | None = None,
) -> Parsed:
    """Drain3 over the lines in their order; its defaults where nothing is given. The templates are those at the end."""
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in masks]
    config.drain_sim_th = similarity or config.drain_sim_th
    config.drain_depth = depth or config.drain_depth
    miner = TemplateMiner(config=config)
    ids = [int(miner.add_log_message(line)["cluster_id"]) for line in lines]
    text = {cluster.cluster_id: cluster.get_template() for cluster in miner.drain.clusters}
    return Parsed([str(i) for i in ids], [text[i] for i in ids])


def drain3_masked(lines: Sequence[str]) -> Parsed:
    """Drain3 with its defaults and its seven masks."""
    return drain3(lines, SEVEN_MASKS)


def drain3_tuned(system: str, lines: Sequence[str]) -> Parsed:
    """Drain3 with what logparser's Drain benchmark sets for this system."""
    setting = SETTINGS[system]
    masks = [(pattern, "*") for pattern in setting.drain_masks]
    return drain3(lines, masks, setting.drain_similarity, setting.drain_depth)


def drain3_version() -> str:
    """Name and version of the Drain3 that is measured."""
    return f"drain3-improved {version('drain3-improved')}"


def environment() -> pathlib.Path:
    """The interpreter of the environment that Brain runs in; it is filled anew when the lock changes."""
    python = ENVIRONMENT / "bin" / "python"
    stamp, digest = ENVIRONMENT / ".ready", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != digest:
        print(f"filling {ENVIRONMENT.name} from {LOCK.name} (once)", file=sys.stderr)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(ENVIRONMENT)], check=True)
        # Nothing in it is this project's, to git and ruff alike.
        (ENVIRONMENT / ".gitignore").write_text("*\n", encoding="utf-8")
        subprocess.run([*pip, "--require-hashes", "--no-deps", "--requirement", str(LOCK)], check=True)
        stamp.write_text(digest, encoding="utf-8")
    return python


@dataclass(frozen=True)
class Brain:
    """What Brain made of each system, from which lines, and in which version."""

    version: str
    parsed: dict[str, Parsed]
    lines: dict[str, list[str]]


def brain(folder: pathlib.Path, systems: Sequence[str]) -> Brain:
    """Run Brain on the raw log files, each with its settings, in its own environment."""
    tasks = [
        {
            "system": system,
            "folder": str(folder.resolve() / system),
            "file": f"{system}_2k.log",
            "log_format": SETTINGS[system].log_format,
            "masks": SETTINGS[system].brain_masks,
            "delimiters": SETTINGS[system].brain_delimiters,
            "threshold": SETTINGS[system].brain_threshold,
        }
        for system in systems
    ]
    with tempfile.TemporaryDirectory() as scratch:
        given, got = pathlib.Path(scratch) / "tasks.json", pathlib.Path(scratch) / "results.json"
        given.write_text(json.dumps(tasks), encoding="utf-8")
        # Brain opens its files in the locale's encoding, and logparser3's patterns warn.
        settings = {**os.environ, "PYTHONUTF8": "1", "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "0"}
        command = [str(environment()), str(HERE / "_rivals_brain.py"), str(given), str(got)]
        subprocess.run(command, check=True, env=settings)
        answer = json.loads(got.read_text(encoding="utf-8"))
    results = answer["systems"]
    return Brain(
        answer["version"],
        {system: Parsed(result["ids"], result["texts"]) for system, result in results.items()},
        {system: result["lines"] for system, result in results.items()},
    )
