"""The desk's goals: routing and recall on data of others, on the dev cases, for speed, and for handlers.

    python benchmarks/desk.py [DATA CASES] [--snapshots DIR] [--parts banking,cases,speed,handlers] [--json FILE]
    python benchmarks/desk.py [DATA CASES] --choose

DATA is the folder of banking77 (train.csv and test.csv, CC-BY 4.0: Casanueva et al., "Efficient Intent Detection with Dual
Sentence Encoders", 2020), CASES that of labelled cases; without them, those beside this checkout. `--choose` compares parameters by
cross-validation on train.csv alone, and reads nothing else. Exits 0 only where every goal that was asked for holds. Intervals are bootstrap, 95 %, seeded.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import _handlers
import _labelled

from pipeline.desk import english, learnt, meaning
from pipeline.desk.history import SCHEMA
from pipeline.desk.index import EmbeddedIndex, prepare
from pipeline.desk.query import Query, query_for, query_of
from pipeline.desk.section import said_of
from pipeline.desk.similar import Weights, rank
from pipeline.settings import Redacting
from snapshots.model import read_snapshot

ROUNDS = 2_000
START = datetime(2020, 1, 1, tzinfo=UTC)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
PARTS = ("banking", "cases", "speed", "handlers")


class Report:
    """Prints a row a figure, and remembers which goals were missed."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(
        self,
        name: str,
        value: float,
        interval: tuple[float, float] | None = None,
        goal: tuple[str, float] | None = None,
    ) -> None:
        """`goal` is `>=` or `<=` and a figure."""
        held = None if goal is None else (value >= goal[1] if goal[0] == ">=" else value <= goal[1])
        self.rows.append({"name": name, "value": value, "interval": interval, "goal": goal, "held": held})
        between = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
        verdict = "" if goal is None else f"   goal {goal[0]} {goal[1]:g}: {'held' if held else 'MISSED'}"
        print(f"  {name:<62} {value:8.3f}{between}{verdict}", flush=True)

    @property
    def missed(self) -> list[str]:
        """The names of the goals that do not hold."""
        return [row["name"] for row in self.rows if row["held"] is False]


def interval(values: Sequence[float], groups: Sequence[str] | None = None) -> tuple[float, float]:
    """The bootstrap interval of a mean; whole groups are drawn where there are any."""
    rng = np.random.default_rng(0)
    array = np.asarray(values, float)
    if groups is None:
        means = [array[rng.integers(0, len(array), len(array))].mean() for _ in range(ROUNDS)]
    else:
        names, codes = np.unique(np.array(groups), return_inverse=True)
        members = [array[codes == i] for i in range(len(names))]
        means = [
            np.concatenate([members[i] for i in rng.integers(0, len(names), len(names))]).mean() for _ in range(ROUNDS)
        ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


# ---- banking77


def read_split(path: Path) -> tuple[list[str], np.ndarray]:
    """The questions of a split, and their intents."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], np.array([row["category"] for row in rows])


def closed(
    texts: Sequence[str], categories: Sequence[str | None], ids: Sequence[str] | None = None, **more: Sequence[Any]
) -> pa.Table:
    """Texts as closed tickets, one a minute."""
    n = len(texts)
    times = [START + timedelta(minutes=i) for i in range(n)]
    given = {
        "id": list(ids or (f"B{i:06}" for i in range(n))),
        "title": list(texts),
        "category": list(categories),
        "queue": list(categories),
        "created_at": times,
        "closed_at": times,
        **{name: list(values) for name, values in more.items()},
    }
    columns = {f.name: pa.array(given[f.name], f.type) if f.name in given else pa.nulls(n, f.type) for f in SCHEMA}
    return pa.table(columns, schema=SCHEMA)


def tops(probabilities: np.ndarray, names: Sequence[str], truth: np.ndarray, k: int) -> list[float]:
    """For each row whether the truth is among the first k."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return [float(t in {names[j] for j in row}) for row, t in zip(order, truth, strict=True)]


def precision(ranked: Sequence[Any], truth: str, k: int = 5) -> float:
    """The share of the first k that were closed as `truth`; fewer than k count as misses."""
    return sum(one.like.row["category"] == truth for one in ranked[:k]) / k


@dataclasses.dataclass
class Banking:
    """Train as closed tickets with what was learnt of them, and questions to ask."""

    index: EmbeddedIndex
    queues: learnt.Queues
    texts: list[str]
    truth: np.ndarray
    vectors: np.ndarray
    probabilities: np.ndarray

    def likes(self, i: int, weights: Weights, *, with_category: bool, with_meaning: bool = True) -> list[Any]:
        """The tickets like question i, likest first."""
        query = query_for(f"Q{i}", self.texts[i], LATER, with_meaning=False)
        if with_meaning:
            query = dataclasses.replace(query, vector=self.vectors[i])
        row = dict(zip(self.queues.names, map(float, self.probabilities[i]), strict=True)) if with_category else {}
        favoured = dict(sorted(row.items(), key=lambda one: -one[1])[:3])
        return rank(query, self.index.gather(query, favoured), row, weights)


def banking(train: tuple[list[str], np.ndarray], asked: tuple[list[str], np.ndarray]) -> Banking:
    """Learns from `train` alone, and answers for `asked`."""
    made = prepare(closed(train[0], train[1].tolist()), {}, Redacting().redactor(), with_meaning=True)
    assert made.vectors is not None
    queues = learnt.learn(
        train[0],
        [[]] * len(train[0]),
        made.vectors.astype(np.float32),
        train[1].tolist(),
        START,
        with_english=english.has_english(),
    )
    assert queues is not None
    vectors = meaning.encode(asked[0])
    probabilities = queues.probabilities(asked[0], [[]] * len(asked[0]), vectors)
    return Banking(EmbeddedIndex(made, queues), queues, asked[0], asked[1], vectors, probabilities)


def baselines(train: tuple[list[str], np.ndarray], asked: tuple[list[str], np.ndarray]) -> dict[str, list[float]]:
    """Word and character TF-IDF: with logistic regression for routing, by cosine for likeness."""
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    both = (
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
    )
    known = sparse.hstack([one.fit_transform(train[0]) for one in both]).tocsr()
    new = sparse.hstack([one.transform(asked[0]) for one in both]).tocsr()
    model = LogisticRegression(C=10, max_iter=100).fit(known, train[1])
    probabilities = model.predict_proba(new)
    cosines = (new @ known.T).toarray()
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :5]
    return {
        "top1": tops(probabilities, model.classes_, asked[1], 1),
        "top3": tops(probabilities, model.classes_, asked[1], 3),
        "p5": [float(np.mean(train[1][row] == t)) for row, t in zip(nearest, asked[1], strict=True)],
    }


def run_banking(data: Path, report: Report) -> None:
    """The test split, with what was chosen on train."""
    print("banking77: learnt from train, judged on test (3,080 questions, 77 intents)")
    train, test = read_split(data / "train.csv"), read_split(data / "test.csv")
    simple = baselines(train, test)
    for name, label in (("top1", "routing top-1"), ("top3", "routing top-3"), ("p5", "same-intent precision@5")):
        what = "TF-IDF cosine" if name == "p5" else "TF-IDF + logistic regression"
        report.add(f"{label}, {what}", float(np.mean(simple[name])), interval(simple[name]))
    ours = banking(train, test)
    first, third = (tops(ours.probabilities, ours.queues.names, ours.truth, k) for k in (1, 3))
    report.add("routing to the intent's queue, top-1", float(np.mean(first)), interval(first), (">=", 0.935))
    report.add("routing to the intent's queue, top-3", float(np.mean(third)), interval(third), (">=", 0.985))
    ways = {
        "precision@5, words alone": (Weights(), False, False),
        "precision@5, words and meaning": (Weights(), False, True),
        "precision@5, words, meaning, category (learnt from train)": (Weights(), True, True),
    }
    for name, (weights, category, means) in ways.items():
        shares = [
            precision(ours.likes(i, weights, with_category=category, with_meaning=means), ours.truth[i])
            for i in range(len(ours.texts))
        ]
        report.add(name, float(np.mean(shares)), interval(shares), (">=", 0.85) if category else None)
    sure = ours.probabilities.max(axis=1) >= 0.5
    kept = [one for one, yes in zip(first, sure, strict=True) if yes]
    report.add("share named at the default sureness of .5", float(np.mean(sure)))
    report.add("top-1 among those", float(np.mean(kept)), interval(kept))


def choose(data: Path, folds: int) -> None:
    """Cross-validation on train: the mix of the two models, and the weights of likeness."""
    from sklearn.model_selection import StratifiedKFold

    texts, truth = read_split(data / "train.csv")
    # The test split holds as many of each intent, so here each intent counts alike.
    weight = dict(zip(*np.unique(truth, return_counts=True), strict=True))
    print(
        f"train.csv alone, {folds} of 5 folds: top-1 and top-3 by share of margins and sharpness, and by the shares of "
        "neighbours and votes; precision@5 by weights"
    )
    for fold, (fit, judged) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(texts, truth)):
        if fold >= folds:
            break
        ours = banking(([texts[i] for i in fit], truth[fit]), ([texts[i] for i in judged], truth[judged]))
        counts = np.array([1 / weight[one] for one in ours.truth])

        def told(what: str, ours: Banking = ours, counts: np.ndarray = counts, fold: int = fold) -> None:
            mixed = ours.queues.probabilities(ours.texts, [[]] * len(ours.texts), ours.vectors)
            top1, top3 = (np.average(tops(mixed, ours.queues.names, ours.truth, k), weights=counts) for k in (1, 3))
            print(f"  fold {fold}: {what}: {top1:.4f} {top3:.4f}", flush=True)

        kept = learnt.SHARE_OF_MARGINS, learnt.SHARPNESS, learnt.SHARE_OF_NEIGHBOURS, learnt.SHARE_OF_VOTES
        for near, votes in ((0.0, 0.0), (0.5, 0.0), (0.5, 0.2), (0.7, 0.0), (0.7, 0.2), (0.7, 0.3)):
            learnt.SHARE_OF_NEIGHBOURS, learnt.SHARE_OF_VOTES = near, votes
            told(f"share of neighbours {near:.1f} and of votes {votes:.1f}")
        learnt.SHARE_OF_NEIGHBOURS, learnt.SHARE_OF_VOTES = 0.0, 0.0
        for share, sharp in ((0.0, 9.0), (0.5, 4.0), (0.5, 6.0), (0.5, 9.0), (0.5, 12.0), (1.0, 9.0)):
            learnt.SHARE_OF_MARGINS, learnt.SHARPNESS = share, sharp
            told(f"without both, share of margins {share:.1f} and sharpness {sharp:4.1f}")
        learnt.SHARE_OF_MARGINS, learnt.SHARPNESS, learnt.SHARE_OF_NEIGHBOURS, learnt.SHARE_OF_VOTES = kept
        some = range(0, len(judged), 4)
        for words, means, category in (
            (1, 0, 0),
            (1, 0.5, 0),
            (1, 1, 0),
            (1, 2, 0),
            (0, 1, 0),
            (1, 1, 1),
            (1, 2, 2),
            (1, 2, 4),
            (1, 2, 8),
            (1, 1, 16),
        ):
            weights = Weights(words=words, meaning=means, category=category)
            found = [precision(ours.likes(i, weights, with_category=category > 0), ours.truth[i]) for i in some]
            print(f"  fold {fold}: words {words} meaning {means} category {category}: {np.mean(found):.4f}", flush=True)


# ---- the dev cases


def run_cases(cases: Path, snapshots: Path | None, report: Report) -> None:
    """Whether a case of the same family is among the first five, of those that have one."""
    print(f"{cases.name}: a case of the same family among the first five; the others are taken as closed before")
    with (cases.parent / f"{cases.name}_labels.csv").open(encoding="utf-8", newline="") as file:
        family = {row["id"]: row["family"] for row in csv.DictReader(file)}
    with _labelled.snapshots(cases, snapshots) as folder:
        taken = {name: read_snapshot((folder / f"{name}.json").read_bytes()) for name in sorted(family)}
    names = list(taken)
    texts = [f"{one.ticket.title}\n{one.ticket.description}" for one in taken.values()]
    said = {name: said_of(one) for name, one in taken.items()}
    made_ = prepare(closed(texts, [None] * len(texts), names), said, Redacting().redactor(), with_meaning=True)
    index = EmbeddedIndex(made_)
    many = {name for name in names if sum(family[name] == one for one in family.values()) > 1}
    asked = [name for name in names if name in many]
    queries = {n: dataclasses.replace(query_of(taken[n], with_meaning=True), at=LATER) for n in asked}

    def hits(weights: Weights, strip: Any = lambda query: query) -> list[float]:
        found = []
        for name in asked:
            query: Query = strip(queries[name])
            first = rank(query, index.gather(query), {}, weights)[:5]
            found.append(float(any(family[one.like.row["id"]] == family[name] for one in first)))
        return found

    groups = [family[name] for name in asked]
    words = hits(Weights(), lambda query: dataclasses.replace(query, said=(), vector=None))
    both = hits(Weights(), lambda query: dataclasses.replace(query, said=()))
    everything = hits(Weights())
    chance = [1 - np.prod([1 - (groups.count(g) - 1) / (len(names) - 1 - i) for i in range(5)]) for g in groups]
    report.add(f"by chance (of {len(asked)} cases, {len(set(groups))} families)", float(np.mean(chance)))
    report.add("words alone", float(np.mean(words)), interval(words, groups))
    report.add("words and meaning", float(np.mean(both)), interval(both, groups))
    report.add(
        "words, meaning and what the system said",
        float(np.mean(everything)),
        interval(everything, groups),
        (">=", 0.85),
    )
    margin = [a - b for a, b in zip(everything, words, strict=True)]
    low, high = interval(margin, groups)
    report.add("margin over words alone", float(np.mean(margin)), (low, high))
    report.add("lower end of the margin's interval", low, goal=(">=", 0.0))
    # The weight of what the system said, chosen anew for each family by all others: what an unseen family would get.
    by_weight = {w: hits(Weights(said=w)) for w in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)}
    for weight, found in by_weight.items():
        report.add(f"  weight of what the system said {weight:g}", float(np.mean(found)))
    nested = []
    for i, group in enumerate(groups):
        others = [j for j, other in enumerate(groups) if other != group]
        best = max(by_weight, key=lambda w: (sum(by_weight[w][j] for j in others), -w))
        nested.append(by_weight[best][i])
    report.add("  weight chosen by the other families", float(np.mean(nested)), interval(nested, groups))


# ---- speed


def run_speed(data: Path, report: Report, tickets: int) -> None:
    """Queries of a whole ticket over many: words cut, meaning read, gathered and ranked, categories told."""
    print(f"speed over {tickets:,} tickets (pairs of questions of train.csv, made-up marks)")
    texts, truth = read_split(data / "train.csv")
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, len(texts), (tickets, 2))
    many = [f"{texts[a]} {texts[b]}" for a, b in pairs]
    ids = [f"S{i:06}" for i in range(tickets)]
    # Marks as frequent as they are in practice: some of nearly all, most of few.
    marks = [f"code:{i}" for i in range(2_000)]
    odds = 1 / np.arange(1, len(marks) + 1)
    drawn = rng.choice(len(marks), (tickets, 25), p=odds / odds.sum())
    said = {name: {"marks": [marks[j] for j in set(row.tolist())]} for name, row in zip(ids, drawn, strict=True)}
    single = meaning.encode(texts)
    history = closed(many, truth[pairs[:, 0]].tolist(), ids)
    made = prepare(history, said, Redacting().redactor(), with_meaning=False)
    # The vector of two questions is near the mean of theirs; encoding each pair would take minutes and change no time.
    vectors = single[pairs].mean(axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = dataclasses.replace(made, vectors=vectors.astype(np.float16))
    learning = time.process_time()
    queues = learnt.learn(texts, [[]] * len(texts), single, truth.tolist(), START, with_english=english.has_english())
    assert queues is not None
    report.add(f"seconds of processor time to learn {len(texts):,}", time.process_time() - learning)
    began = time.perf_counter()
    index = EmbeddedIndex(made, queues)
    report.add("seconds to open the index", time.perf_counter() - began)
    walls, processor = [], []
    for i in range(220):
        text = many[int(rng.integers(tickets))]
        wall, cpu = time.perf_counter(), time.process_time()
        query = query_for("now", text, LATER, said[ids[i]]["marks"], with_meaning=True)
        row = queues.probabilities([query.text], [query.said], query.vector[None])[0]  # type: ignore[index]
        likely = dict(zip(queues.names, map(float, row), strict=True))
        favoured = dict(sorted(likely.items(), key=lambda one: -one[1])[:3])
        rank(query, index.gather(query, favoured), likely)
        # The first ones load what later ones find loaded.
        if i >= 20:
            walls.append((time.perf_counter() - wall) * 1000)
            processor.append((time.process_time() - cpu) * 1000)
    report.add("query, median, ms of wall time", float(np.median(walls)))
    report.add("query, 95th percentile, ms of wall time", float(np.percentile(walls, 95)), goal=("<=", 50.0))
    report.add("query, 95th percentile, ms of processor time", float(np.percentile(processor, 95)))


# ---- handlers


def run_handlers(report: Report, seeds: int) -> None:
    """Routing beside chance and beside whoever has least."""
    people, tickets = _handlers.HANDLERS, _handlers.JUDGED
    print(
        f"handlers: {people} with hidden skills in three shifts, {tickets} tickets after {_handlers.WARM:,}, {seeds} desks"
    )
    for policy in ("random", "least-loaded", "routed"):
        runs = [_handlers.simulate(policy, seed) for seed in range(seeds)]
        held = [one for run in runs for one in map(float, run.held)]
        ours = policy == "routed"
        report.add(
            f"top-2 holds one who can, {policy}", float(np.mean(held)), interval(held), (">=", 0.85) if ours else None
        )
        most = max(run.load for run in runs)
        report.add(f"largest load, in means of all, {policy}", most, goal=("<=", 1.5) if ours else None)
        report.add(f"solved at the first try, {policy}", float(np.mean([one for run in runs for one in run.solved])))
        if ours:
            report.add("left to the lead (counted as not held)", sum(run.abstained for run in runs) / len(held))


def main() -> int:
    """Runs the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    banking = _labelled.ROOT.parent / "shared" / "data" / "banking77" / "banking_data"
    parser.add_argument("data", nargs="?", type=Path, default=banking)
    parser.add_argument("cases", nargs="?", type=Path, default=_labelled.DEV)
    parser.add_argument("--snapshots", type=Path, help="the cases' snapshots, as `backtest --keep` wrote them")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--tickets", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args()
    if given.choose:
        choose(given.data, given.folds)
        return 0
    report = Report()
    parts = given.parts.split(",")
    if "handlers" in parts:
        run_handlers(report, given.seeds)
    if "cases" in parts:
        run_cases(given.cases, given.snapshots, report)
    if "speed" in parts:
        run_speed(given.data, report, given.tickets)
    if "banking" in parts:
        run_banking(given.data, report)
    if given.json:
        given.json.write_text(json.dumps(report.rows, indent=1), encoding="utf-8")
    print(f"missed: {', '.join(report.missed) or 'none'}")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
