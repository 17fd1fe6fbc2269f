"""Merging catalogues: what was learnt in parts becomes what would have been learnt at once."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import UsageError
from pipeline.learning.catalogue import Catalogue, Manifest, Tally, open_catalogue
from pipeline.learning.shards import Shard, unite
from pipeline.learning.spool import in_all
from pipeline.learning.writer import write_catalogue


def merge_catalogues(places: Sequence[str], out: str) -> Manifest:
    """The catalogue of all lines of the catalogues `places`, written to `out`. Raises `UsageError`.

    The same bytes as learning all their archives at once gives. The archives must have no line in common: one that is in both
    counts twice.
    """
    if len(places) < 2:
        raise UsageError("name two catalogues or more to merge")
    several = Several([open_catalogue(place) for place in places])
    tally = sum((one.manifest.tally for one in several.catalogues), Tally())
    return write_catalogue(several, tally, out)


class Several:
    """Some catalogues as one (see `pipeline.learning.spool.Learnt`)."""

    def __init__(self, catalogues: Sequence[Catalogue]) -> None:
        self.catalogues = catalogues

    def overall(self) -> Shard:
        """Every service and masked line of all."""
        return in_all(one.overall() for one in self.catalogues)

    def days(self) -> Sequence[int]:
        """The days that one of them has."""
        return sorted({day for one in self.catalogues for day in one.days()})

    def day(self, day: int) -> Shard:
        """The counts of one day of all."""
        return unite([one.day(day) for one in self.catalogues if day in one.days()])
