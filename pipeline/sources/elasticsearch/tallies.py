"""Rows by service and by level, also where the indices of one pattern keep these in different fields, or as different types.

A row is counted by the first of the fields that it has, as it is read. A field that is a text in some of the indices fails
their shards where it is counted, so that it is counted by a request of its own, which leaves those indices out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import SourceBroken
from pipeline.sources.elasticsearch.calls import DeclinedError, OutOfTimeError
from pipeline.sources.elasticsearch.queries import Query, all_of
from pipeline.sources.elasticsearch.targets import TEXT, Target, whole_words

# Fields that are counted for one column: more than a cluster's patterns ever mix, and few enough for one request.
_MOST_FIELDS = 6


@dataclass(frozen=True)
class Counted:
    """One field that is counted: over rows that match `of`, and in all indices but `without`."""

    field: str
    of: Query
    without: tuple[str, ...]


def tallies(target: Target, names: Sequence[str]) -> list[Counted]:
    """What is to be counted for one column, which is read from the first of `names` that a row has."""
    found: list[Counted] = []
    before: list[Query] = []
    for name in names:
        if not target.types.get(name):
            continue
        exact: frozenset[str] = frozenset()
        for field in whole_words([name]):
            places = target.counted_in(field)
            # The exact copy of a text counts where the text itself does not.
            without = [*before, {"terms": {"_index": sorted(exact)}}] if exact else before
            if places - exact and len(found) < _MOST_FIELDS:
                found.append(Counted(field, all_of(without=without), tuple(target.uncountable(field))))
                exact |= places
        before = [*before, {"exists": {"field": name}}]
    return found


def count_by(
    columns: Mapping[str, Sequence[Counted]],
    size: int,
    failing: Mapping[str, Query],
    body: Query,
    ask: Callable[..., dict[str, Any]],
) -> tuple[dict[str, Any], dict[str, dict[str, tuple[int, int]]], list[str]]:
    """The answer to `body` with, for each of `columns`, its largest `size` values: value -> (rows, failing rows).

    `failing` tells of which columns the failing rows are counted, too. `ask` sends a body. A field that cannot be counted
    all the same costs its own count; the notes say so.
    """
    sums: dict[str, Counter[str]] = {column: Counter() for column in columns}
    bad: dict[str, Counter[str]] = {column: Counter() for column in columns}
    notes: list[str] = []

    def aggregation(tally: Counted, column: str) -> dict[str, Any]:
        values: dict[str, Any] = {"terms": {"field": tally.field, "size": size}}
        if column in failing:
            values["aggregations"] = {"failing": {"filter": failing[column]}}
        return {"filter": tally.of, "aggregations": {"values": values}}

    def add(answers: dict[str, Any], name: str, column: str) -> None:
        for bucket in answers[name]["values"]["buckets"]:
            sums[column][str(bucket["key"])] += bucket["doc_count"]
            bad[column][str(bucket["key"])] += bucket.get("failing", {}).get("doc_count", 0)

    together = {f"{c}:{n}": (c, t) for c, ts in columns.items() for n, t in enumerate(ts) if not t.without}
    more = {name: aggregation(tally, column) for name, (column, tally) in together.items()}
    found = ask(**body | {"aggregations": body["aggregations"] | more})
    for name, (column, _) in together.items():
        add(found["aggregations"], name, column)
    for column, some in columns.items():
        for tally in some:
            if not tally.without:
                continue
            # Shards that cannot match are skipped before they look at the field.
            query = all_of(body["query"], without=[{"terms": {"_index": list(tally.without)}}])
            own = {"values": aggregation(tally, column)}
            try:
                alone = ask(query=query, size=0, track_total_hits=False, aggregations=own, pre_filter_shard_size=1)
            except (SourceBroken, DeclinedError, OutOfTimeError) as error:
                notes.append(f"rows were not counted by {tally.field}: {error}")
            else:
                add(alone["aggregations"], "values", column)
    ranked = {
        column: {
            value: (rows, bad[column][value])
            for value, rows in sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:size]
        }
        for column, counter in sums.items()
    }
    return found, ranked, notes


def not_counted(target: Target, names: Sequence[str]) -> list[str]:
    """What to say where a column is kept as text only, whose values a cluster does not count."""
    texts = target.of(names, TEXT)
    return [f"rows are not counted by {texts[0]}: it is mapped as text only"] if texts else []
