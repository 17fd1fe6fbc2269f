"""Log templates: Drain3 over distinct masked lines.

The only file that uses Drain3. Each distinct masked line is seen once, in sorted order, and stands for as many lines as it
had; so the result does not depend on the order of the rows, and the counts add up to the rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from parsers.masking import mask

# Drain's parameters (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", 2017): similarity
# threshold and depth of the prefix tree.
SIMILARITY = 0.5
DEPTH = 4


@dataclass(frozen=True)
class LogTemplate:
    """One Drain cluster: `text` with wildcards as `<*>`, and how many lines it stands for."""

    id: str
    text: str
    count: int


@dataclass(frozen=True)
class Mined:
    """`template_ids`, one string per row of the input, and the templates, most frequent first."""

    template_ids: pa.DictionaryArray
    templates: tuple[LogTemplate, ...]


def mine(messages: pa.Array | pa.ChunkedArray) -> Mined:
    """Cluster `messages` (string, any length, nulls allowed) into templates; `sum(count) == len(messages)`."""
    from drain3.drain import Drain

    if isinstance(messages, pa.ChunkedArray):
        messages = messages.combine_chunks()
    masked = mask(messages)
    uniques = masked.dictionary.to_pylist()
    drain = Drain(depth=DEPTH, sim_th=SIMILARITY, max_children=100, max_clusters=None)
    cluster_of_unique = [drain.add_log_message(text)[0].cluster_id if text else 0 for text in uniques]

    texts = {cluster.cluster_id: " ".join(cluster.log_template_tokens) for cluster in drain.clusters}
    texts[0] = ""
    # Two clusters can end with the same words; they are one template to a reader.
    by_text = sorted({texts[c] for c in cluster_of_unique})
    number = {text: i for i, text in enumerate(by_text)}
    template_of_unique = pa.array([number[texts[c]] for c in cluster_of_unique], pa.int32())
    per_row = pc.take(template_of_unique, masked.indices) if len(uniques) else pa.array([], pa.int32())

    ids = [template_id(text) for text in by_text]
    counts = {row["values"]: row["counts"] for row in pc.value_counts(per_row).to_pylist()}
    templates = [LogTemplate(ids[i], text, counts.get(i, 0)) for i, text in enumerate(by_text)]
    templates.sort(key=lambda t: (-t.count, t.id))
    return Mined(pa.DictionaryArray.from_arrays(per_row, pa.array(ids, pa.string())), tuple(templates))


def template_id(text: str) -> str:
    """The id that a template's text gives, the same in every run."""
    return "t" + hashlib.sha256(text.encode()).hexdigest()[:10]
