"""The snapshots of one call: published, or shown as what would be, and the target looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from pipeline.publish.cluster import Cluster
from pipeline.publish.documents import LAYOUT, documents_of
from pipeline.publish.options import DEFAULT_INDEX, PublishOptions
from pipeline.publish.outcome import Done, Published
from pipeline.publish.target import Target
from pipeline.publish.writing import Writer, batches_of

if TYPE_CHECKING:
    from snapshots.model import ProblemSnapshot


def publish(snapshots: Iterable[ProblemSnapshot], options: PublishOptions) -> Published:
    """Writes the documents of `snapshots` to the index; those that are there as they should be are left alone.

    A document that another version of the program wrote with an older layout is replaced, one of a newer layout is left.
    What fails for one snapshot alone is told in its `Done`. Raises `Refused`, `TargetUnreachable`, `UsageError` where the
    name stands for something that such documents cannot be written to, or `NotPublished` where nothing can be.
    """
    with Cluster(options) as cluster:
        target = Target(cluster)
        target.prepare()
        writer = Writer(cluster, target)
        done: list[Done] = []
        for some in batches_of(map(documents_of, snapshots)):
            done += writer.write(some)
        count = writer.counts
        return Published(
            cluster.place,
            tuple(done),
            **{name: count[name] for name in ("created", "updated", "unchanged", "removed", "failed")},
            notes=tuple(dict.fromkeys([*target.notes, *writer.notes])),
        )


def as_ndjson(snapshots: Iterable[ProblemSnapshot], options: PublishOptions | None) -> Iterator[str]:
    """The documents that `publish` would send, one a line with `_index` and `_id`; a text a snapshot."""
    index = options.index if options else DEFAULT_INDEX
    for snapshot in snapshots:
        lines = [{"_index": index, "_id": one.id, "_source": one.source} for one in documents_of(snapshot)]
        yield "\n".join(msgspec.json.encode(line).decode() for line in lines)


def probe(options: PublishOptions) -> list[str]:
    """What is there, and whether we may write: nothing is written, made or changed. Raises as `publish` does."""
    with Cluster(options) as cluster:
        return [f"{cluster.place}, layout {LAYOUT}", *Target(cluster).look()]
