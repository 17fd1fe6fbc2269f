"""Log templates: Drain3 over distinct masked lines.

The only file that uses Drain3. Each distinct masked line is seen once, in sorted order, and stands for as many lines as it
had; so the result does not depend on the order of the rows, and the counts add up to the rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import re2

from parsers.masking import mask

# Drain's parameters (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", 2017): similarity
# threshold and depth of the prefix tree.
SIMILARITY = 0.5
DEPTH = 4
# Words for which way a thing went. To Drain all words are alike, and "VM started" and "VM paused" would be one template;
# lines that differ in one of these never are.
_TURNS = re2.compile(
    r"(?i)\b(?:succe(?:ss(?:ful(?:ly)?)?|eds?|eded)|fail(?:s|ed|ing|ures?)?|start(?:s|ed|ing)?|stop(?:s|ped|ping)?|"
    r"paus(?:es?|ed|ing)|resum(?:es?|ed|ing)|restart(?:ed|ing)?|beg[iau]n|end(?:s|ed)?|finish(?:ed)?|complet(?:ed?|ing)|"
    r"abort(?:ed|ing)?|up|down|online|offline|open(?:s|ed|ing)?|clos(?:es?|ed|ing)|connect(?:ed|ing)?|"
    r"disconnect(?:ed|ing)?|enabl(?:es?|ed|ing)|disabl(?:es?|ed|ing)|accept(?:s|ed|ing)?|reject(?:s|ed|ing)?|"
    r"refus(?:es?|ed|ing)|declin(?:es?|ed)|den(?:y|ies|ied)|allow(?:s|ed)?|grant(?:ed)?|approv(?:ed?|es)|revok(?:ed?|es)|"
    r"lock(?:s|ed)?|unlock(?:s|ed)?|creat(?:es?|ed|ing)|delet(?:es?|ed|ing)|destroy(?:s|ed|ing)?|spawn(?:s|ed|ing)?|"
    r"terminat(?:es?|ed|ing)|add(?:s|ed|ing)?|remov(?:es?|ed|ing)|commit(?:s|ted)?|roll(?:ed)? ?back|found|missing|lost|"
    r"recover(?:ed|ing)?|restor(?:ed|ing)|valid|invalid|available|unavailable|healthy|unhealthy|login|logout|paid|unpaid|"
    r"captur(?:ed?|es)|refund(?:s|ed|ing)?|cancel(?:s|l?ed|l?ing)?|expir(?:es?|ed)|sent|received|time[sd]? ?out)\b|"
    r"成功|失败|开始|结束|完成|启动|停止|暂停|恢复|打开|关闭|通过|拒绝|接受|连接|断开|启用|禁用|上线|下线|创建|删除|"
    r"已支付|未支付|有效|无效|正常|异常|超时"
)


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
    """Cluster `messages` (string, any length, nulls allowed) into templates; `sum(count) == len(messages)`.

    Lines with opposite words (started and paused, 成功 and 失败) are never of one template.
    """
    from drain3.drain import Drain

    if isinstance(messages, pa.ChunkedArray):
        messages = messages.combine_chunks()
    masked = mask(messages)
    uniques = masked.dictionary.to_pylist()
    drains: dict[tuple[str, ...], Drain] = {}
    cluster_of_unique = []
    for text in uniques:
        turns = tuple(sorted({word.lower() for word in _TURNS.findall(text)}))
        if turns not in drains:
            drains[turns] = Drain(depth=DEPTH, sim_th=SIMILARITY, max_children=100, max_clusters=None)
        cluster_of_unique.append(drains[turns].add_log_message(text)[0] if text else None)

    # Only now: a cluster's words change while it grows. Two clusters can end with the same words; they are one template
    # to a reader.
    texts = [" ".join(cluster.log_template_tokens) if cluster else "" for cluster in cluster_of_unique]
    by_text = sorted(set(texts))
    number = {text: i for i, text in enumerate(by_text)}
    template_of_unique = pa.array([number[text] for text in texts], pa.int32())
    per_row = pc.take(template_of_unique, masked.indices) if len(uniques) else pa.array([], pa.int32())

    ids = [template_id(text) for text in by_text]
    counts = {row["values"]: row["counts"] for row in pc.value_counts(per_row).to_pylist()}
    templates = [LogTemplate(ids[i], text, counts.get(i, 0)) for i, text in enumerate(by_text)]
    templates.sort(key=lambda t: (-t.count, t.id))
    return Mined(pa.DictionaryArray.from_arrays(per_row, pa.array(ids, pa.string())), tuple(templates))


def template_id(text: str) -> str:
    """The id that a template's text gives, the same in every run."""
    return "t" + hashlib.sha256(text.encode()).hexdigest()[:10]
