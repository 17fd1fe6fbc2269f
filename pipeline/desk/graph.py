"""The knowledge graph: problem - cause - solution - product, built from entries and confirmed snapshots.

networkx (BSD-3, pure Python) holds it in memory: it is made anew from the files in a blink, so that a graph store would only
be a second truth; and it writes GraphML that Gephi and yEd open. Written too: JSON-LD 1.1 (W3C), and a picture as SVG.

    problem  --caused by-->  cause  --solved by-->  solution  --for-->  product

Each entry is one cause with its solution; entries of one `problem` are its possible causes. Snapshots with a confirmed fault
count for the causes of that fault: how often each was it.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pipeline.desk.entry import Entry
from pipeline.desk.modules import product_name
from pipeline.faults.tables import fault_name
from snapshots.model import Text

KINDS = ("problem", "cause", "solution", "product")
EDGES = {"problem": "caused_by", "cause": "solved_by", "solution": "for"}
_CONTEXT = {
    "@vocab": "urn:problem-snapshot:",
    "name": {"@id": "https://schema.org/name", "@container": "@language"},
    "caused_by": {"@type": "@id"},
    "solved_by": {"@type": "@id"},
    "for": {"@type": "@id"},
}


@dataclass(frozen=True)
class Way:
    """One way to solve a problem: the entry, what finding out costs in minutes, how often it was the cause, and of how many."""

    entry: Entry
    minutes: int
    confirmed: int
    of: int


def problem_key(entry: Entry) -> str:
    """The problem that an entry is a cause of; its own where none is named."""
    return entry.facts.problem or entry.id


def confirmed_faults(tickets: Iterable[str], known: Mapping[str, str]) -> Counter[str]:
    """How many of `tickets`, those with a snapshot, had which fault, by their confirmed labels; others say nothing."""
    return Counter(known[ticket] for ticket in dict.fromkeys(tickets) if ticket in known)


def build(entries: Iterable[Entry], confirmed: Mapping[str, int] = {}) -> Any:
    """The graph, a `networkx.DiGraph`. Nodes have `kind`, `en`, `zh`; causes have `entry`, `minutes` and `confirmed`, too.

    `confirmed` is fault (`class/subclass`) -> how many tickets had it.
    """
    import networkx as nx

    graph = nx.DiGraph(name="knowledge")
    for entry in sorted(entries, key=lambda one: one.id):
        if entry.facts.status == "retired":
            continue
        problem, cause, solution = f"problem:{problem_key(entry)}", f"cause:{entry.id}", f"solution:{entry.id}"
        _node(graph, problem, "problem", problem_name(entry))
        _node(graph, cause, "cause", entry.text("title"))
        graph.nodes[cause].update(entry=entry.id, minutes=entry.facts.check_minutes, confirmed=_count(entry, confirmed))
        _node(graph, solution, "solution", _joined(entry.texts("steps")))
        graph.add_edge(problem, cause, kind="caused_by")
        graph.add_edge(cause, solution, kind="solved_by")
        for product in sorted({entry.facts.module or "-"}):
            _node(graph, f"product:{product}", "product", product_name(product))
            graph.add_edge(solution, f"product:{product}", kind="for")
    return graph


def _node(graph: Any, name: str, kind: str, said: Text) -> None:
    # The first entry names the problem; others of the same problem may put it otherwise.
    if name not in graph:
        graph.add_node(name, kind=kind, en=said.en, zh=said.zh)


def problem_name(entry: Entry) -> Text:
    """What the problem of an entry is called."""
    if entry.facts.problem and entry.facts.problem == entry.facts.fault_class:
        return fault_name(entry.facts.fault_class)
    said = entry.text("problem")
    return said if said.en else entry.text("title")


def _joined(texts: Sequence[Text]) -> Text:
    return Text(en="; ".join(text.en for text in texts) or "-", zh="；".join(text.zh for text in texts) or "-")


def _count(entry: Entry, confirmed: Mapping[str, int]) -> int:
    """The tickets that name the entry, and those of its fault: a general entry stands for all products of its fault."""
    fault = f"{entry.facts.fault_class}/{entry.facts.fault_subclass}"
    return len(entry.facts.tickets) + (confirmed.get(fault, 0) if not entry.facts.channels else 0)


def ways(entries: Iterable[Entry], problem: str, confirmed: Mapping[str, int] = {}) -> list[Way]:
    """How a problem is solved, step by step: the cheapest check first; of equally cheap ones that which was it most often."""
    mine = [e for e in entries if problem_key(e) == problem and e.facts.status != "retired"]
    counts = {entry.id: _count(entry, confirmed) for entry in mine}
    total = sum(counts.values())
    found = [Way(entry, entry.facts.check_minutes, counts[entry.id], total) for entry in mine]
    return sorted(found, key=lambda way: (way.minutes, -way.confirmed, way.entry.id))


# ---- to files


def to_graphml(graph: Any) -> str:
    """GraphML (http://graphml.graphdrawing.org/specification.html), as networkx writes it."""
    import networkx as nx

    safe = nx.relabel_nodes(graph, str, copy=True)
    for _, data in safe.nodes(data=True):
        data.update({key: _printable(value) for key, value in data.items() if isinstance(value, str)})
    out = io.BytesIO()
    nx.write_graphml(safe, out, encoding="utf-8", prettyprint=True)
    return out.getvalue().decode("utf-8")


def _printable(text: str) -> str:
    """`text` without the characters that XML 1.0 cannot hold."""
    return "".join(
        c for c in text if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )


def to_json_ld(graph: Any) -> dict[str, Any]:
    """JSON-LD 1.1 (https://www.w3.org/TR/json-ld11/): one object a node, its edges as references, names by language."""
    objects = []
    for name, data in sorted(graph.nodes(data=True)):
        object_: dict[str, Any] = {
            "@id": f"urn:problem-snapshot:{name}",
            "@type": data["kind"],
            "name": {"en": data["en"], "zh": data["zh"]},
        }
        object_ |= {key: data[key] for key in ("entry", "minutes", "confirmed") if key in data}
        if targets := sorted(graph.successors(name)):
            object_[EDGES[data["kind"]]] = [f"urn:problem-snapshot:{target}" for target in targets]
        objects.append(object_)
    return {"@context": _CONTEXT, "@graph": objects}


_ROW, _WIDTH, _BOX, _LETTERS = 46, 1240, 250, 34
_SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ width }} {{ height }}" width="{{ width }}" height="{{ height }}" \
font-family="sans-serif" font-size="13" role="img" aria-label="{{ label }}">
<title>{{ label }}</title>
<rect width="100%" height="100%" fill="#fff"/>
{% for head in heads %}<text x="{{ head.x }}" y="24" font-weight="bold" text-anchor="middle">{{ head.text }}</text>
{% endfor %}{% for line in lines %}<path d="M{{ line.x1 }} {{ line.y1 }} C{{ line.x1 + 50 }} {{ line.y1 }} {{ line.x2 - 50 }} {{ line.y2 }} \
{{ line.x2 }} {{ line.y2 }}" fill="none" stroke="#999"/>
{% endfor %}{% for box in boxes %}<g><title>{{ box.full }}</title><rect x="{{ box.x }}" y="{{ box.y }}" width="{{ box_width }}" height="34" \
rx="4" fill="{{ box.fill }}" stroke="#555"/><text x="{{ box.x + 8 }}" y="{{ box.y + 22 }}">{{ box.text }}</text></g>
{% endfor %}</svg>
"""
_FILLS = {"problem": "#fde2e2", "cause": "#fff3d6", "solution": "#e1f3e1", "product": "#e2ecfb"}
_HEADS = {
    "problem": Text(en="Problem", zh="问题"),
    "cause": Text(en="Cause", zh="原因"),
    "solution": Text(en="Solution", zh="解决方案"),
    "product": Text(en="Product", zh="产品"),
}


@cache
def _template() -> Any:
    import jinja2

    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_SVG)


def to_svg(graph: Any, language: str = "en") -> str:
    """A picture in four columns, problem to product; each box's whole text is its tooltip. No script, no outside reference."""
    places, height = _places(graph)
    boxes, lines = [], []
    for name, data in graph.nodes(data=True):
        x, y = places[name]
        text = _printable(data["zh" if language == "zh" else "en"])
        if data["kind"] == "cause":
            unit = "分钟" if language == "zh" else "min"
            text = f"{text} ({data['minutes']} {unit})"
        boxes.append({"x": x, "y": y, "text": _fit(text), "full": text, "fill": _FILLS[data["kind"]]})
    for start, end in sorted(graph.edges):
        (x1, y1), (x2, y2) = places[start], places[end]
        lines.append({"x1": x1 + _BOX, "y1": y1 + 17, "x2": x2, "y2": y2 + 17})
    heads = [
        {"x": _column(kind) + _BOX // 2, "text": _HEADS[kind].zh if language == "zh" else _HEADS[kind].en}
        for kind in KINDS
    ]
    label = "知识图谱" if language == "zh" else "Knowledge graph"
    made: str = _template().render(
        width=_WIDTH, height=height, boxes=boxes, lines=lines, heads=heads, label=label, box_width=_BOX
    )
    return made


def _column(kind: str) -> int:
    return 20 + KINDS.index(kind) * (_BOX + 70)


def _places(graph: Any) -> tuple[dict[str, tuple[int, int]], int]:
    """Causes and solutions row by row in the order of their problems, problems and products in the middle of theirs."""
    rows: dict[str, list[int]] = {}
    problems = sorted(name for name, data in graph.nodes(data=True) if data["kind"] == "problem")
    row = 0
    for problem in problems:
        causes = sorted(graph.successors(problem), key=lambda name: (graph.nodes[name]["minutes"], name))
        for cause in causes:
            for name in (problem, cause, *graph.successors(cause)):
                rows.setdefault(name, []).append(row)
            row += 1
    products = sorted(name for name, data in graph.nodes(data=True) if data["kind"] == "product")
    for number, product in enumerate(products):
        rows[product] = [round((number + 0.5) * row / len(products) - 0.5)]
    places = {}
    for name, held in rows.items():
        kind = graph.nodes[name]["kind"]
        places[name] = (_column(kind), 40 + round(sum(held) / len(held) * _ROW))
    return places, 40 + max(1, row) * _ROW


def _fit(text: str) -> str:
    """What fits into a box; a Chinese character is as wide as two letters."""
    width, kept = 0, list[str]()
    for character in text:
        width += 2 if character > "\u2e7f" else 1
        if width > _LETTERS:
            return "".join(kept).rstrip() + "…"
        kept.append(character)
    return text
