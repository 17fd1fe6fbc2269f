"""Exact mode: what Drain3's `TemplateMiner` answers line by line, with most of its work done once for many lines.

The result is the same by construction, not by luck; each shortcut rests on one argument that stands beside it:

- A mask is tried once on all words that its pattern cannot tell apart, and only on those that a wider pattern of RE2 finds
  (`exact_masks.py`).
- Drain is asked once for all messages that its tree cannot tell apart, until the tree changes (`exact_drain.py`).

Where an argument does not hold for a pattern of the user's, that pattern is applied line by line, by Drain3's own code.
"""

from __future__ import annotations

import ast
import configparser
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.exact_drain import Feed
from parsers.exact_masks import all_masked, encoded

if TYPE_CHECKING:
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig


@dataclass(frozen=True)
class ExactCluster:
    """One cluster of Drain3 after the last line: its id, how many lines it got, and its words with wildcards."""

    id: int
    size: int
    template: str


@dataclass(frozen=True)
class ExactlyMined:
    """`cluster_ids`, one int64 per row, and the clusters in order of their ids.

    With `max_clusters` the clusters are those that are left; a row may bear the id of one that is gone.
    """

    cluster_ids: pa.Array
    clusters: tuple[ExactCluster, ...]


def mine_exactly(messages: pa.Array | pa.ChunkedArray, drain3_ini: str = "") -> ExactlyMined:
    """What `TemplateMiner.add_log_message` gives for `messages` in their order, under the text of a drain3.ini.

    Nulls count as the empty line. Options for snapshots and profiling are read and have no effect. ValueError names the
    option that cannot be used.

    >>> mined = mine_exactly(pa.array(["paid 5 now", "paid 6 now", "lost"]))
    >>> mined.cluster_ids.to_pylist()
    [1, 1, 2]
    >>> mined.clusters[0]
    ExactCluster(id=1, size=2, template='paid <*> now')
    """
    # The persistence modules of drain3 are heavy to import.
    from drain3 import TemplateMiner

    config = _configuration(drain3_ini)
    config.profiling_enabled = False
    # It has the last word on the engine: that of drain3-improved 0.10 takes a Drain also where JaccardDrain is asked for.
    miner = TemplateMiner(config=config)
    raw = encoded(pc.fill_null(messages.cast(pa.large_string()), ""))
    distinct = raw.dictionary
    codes = raw.indices.to_numpy()
    if config.masking_instructions:
        masked = encoded(all_masked(distinct, miner.masker, config))
        distinct = masked.dictionary
        codes = masked.indices.to_numpy()[codes]
    ids = np.array(Feed(miner.drain, distinct.to_pylist()).ids(codes.tolist()), np.int64)
    # Each row adds one to the size of its cluster, and an id is never given twice.
    sizes = np.bincount(ids)
    live = miner.drain.id_to_cluster
    clusters = tuple(
        ExactCluster(number, int(sizes[number]), cluster.get_template())
        for number in sorted(live)
        if (cluster := live.get(number)) is not None
    )
    return ExactlyMined(pa.array(ids, pa.int64()), clusters)


def _masking_of(text: str) -> list[MaskingInstruction]:
    from drain3.masking import MaskingInstruction

    instructions = []
    for each in json.loads(text):
        instruction = MaskingInstruction(each["regex_pattern"], each["mask_with"])
        if not isinstance(instruction.mask_with, str):
            raise TypeError(f"mask_with is no text: {instruction.mask_with!r}")
        instructions.append(instruction)
    return instructions


def _delimiters_of(text: str) -> Any:
    delimiters = ast.literal_eval(text)
    if not all(isinstance(each, str) for each in delimiters):
        raise TypeError("a delimiter is no text")
    return delimiters


_Reader = Callable[[configparser.ConfigParser, str, str], Any]
_TEXT: _Reader = configparser.ConfigParser.get
_INT: _Reader = configparser.ConfigParser.getint
_FLOAT: _Reader = configparser.ConfigParser.getfloat
_BOOLEAN: _Reader = configparser.ConfigParser.getboolean
# Section, option, attribute of TemplateMinerConfig and how `TemplateMinerConfig.load` reads it. That function wants a
# file; here there is none.
_OPTIONS: tuple[tuple[str, str, str, _Reader], ...] = (
    ("DRAIN", "engine", "engine", _TEXT),
    ("PROFILING", "enabled", "profiling_enabled", _BOOLEAN),
    ("PROFILING", "report_sec", "profiling_report_sec", _INT),
    ("SNAPSHOT", "snapshot_interval_minutes", "snapshot_interval_minutes", _INT),
    ("SNAPSHOT", "compress_state", "snapshot_compress_state", _BOOLEAN),
    ("DRAIN", "extra_delimiters", "drain_extra_delimiters", lambda *at: _delimiters_of(_TEXT(*at))),
    ("DRAIN", "sim_th", "drain_sim_th", _FLOAT),
    ("DRAIN", "depth", "drain_depth", _INT),
    ("DRAIN", "max_children", "drain_max_children", _INT),
    ("DRAIN", "max_clusters", "drain_max_clusters", _INT),
    ("DRAIN", "parametrize_numeric_tokens", "parametrize_numeric_tokens", _BOOLEAN),
    ("MASKING", "mask_prefix", "mask_prefix", _TEXT),
    ("MASKING", "mask_suffix", "mask_suffix", _TEXT),
    ("MASKING", "parameter_extraction_cache_capacity", "parameter_extraction_cache_capacity", _INT),
    ("MASKING", "masking", "masking_instructions", lambda *at: _masking_of(_TEXT(*at))),
)


def _configuration(text: str) -> TemplateMinerConfig:
    """What `TemplateMinerConfig.load` makes of a file with this text; ValueError where Drain3 would fail, now or later."""
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    parser = configparser.ConfigParser()
    try:
        parser.read_string("\n".join(re.split(r"\r\n?|\n", text)), "drain3.ini")
    except configparser.Error as error:
        raise ValueError(f"drain3.ini: {error}") from error
    for section, option, attribute, read in _OPTIONS:
        if not parser.has_option(section, option):
            continue
        try:
            setattr(config, attribute, read(parser, section, option))
        except KeyError as error:
            raise ValueError(f"drain3.ini: [{section}] {option}: {error} is missing") from error
        except (
            ValueError,
            TypeError,
            SyntaxError,
            OverflowError,
            RecursionError,
            MemoryError,
            re.error,
            configparser.Error,
        ) as error:
            raise ValueError(f"drain3.ini: [{section}] {option}: {error}") from error
    if config.engine not in {"Drain", "JaccardDrain"}:
        raise ValueError(f"drain3.ini: [DRAIN] engine: neither Drain nor JaccardDrain: {config.engine!r}")
    if config.drain_depth < 3:
        raise ValueError(f"drain3.ini: [DRAIN] depth: must be at least 3: {config.drain_depth}")
    if config.drain_max_clusters is not None and config.drain_max_clusters < 1:
        raise ValueError(f"drain3.ini: [DRAIN] max_clusters: must be at least 1: {config.drain_max_clusters}")
    if config.drain_max_children < 1 and config.drain_depth > 3:
        raise ValueError(f"drain3.ini: [DRAIN] max_children: must be at least 1: {config.drain_max_children}")
    for instruction in config.masking_instructions:
        try:
            # A backslash in a mask stands for a group of the pattern, which may not be there.
            instruction.mask("", config.mask_prefix, config.mask_suffix)
        except (re.error, IndexError) as error:
            raise ValueError(f"drain3.ini: [MASKING] masking: {instruction.mask_with!r}: {error}") from error
    return config
