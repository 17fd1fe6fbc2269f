"""What an engine carries between its workers: for each unit its tally, and under each day its shard, all as bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from pipeline.learning.catalogue import Tally
from pipeline.learning.local import Done
from pipeline.learning.shards import by_day, decoded, encoded, unite

Row = tuple[str, bytes]
TALLY = "tally"


def rows_of(made: Done) -> Iterator[Row]:
    """What came of one unit, as rows of a key and bytes: the tally first, then a shard a day."""
    yield TALLY, msgspec.json.encode(made.tally)
    for day, shard in by_day(made.shard) if made.shard is not None else ():
        yield str(day), encoded(shard)


def united(values: Sequence[bytes]) -> bytes:
    """Values of one key as one. Their order has no say."""
    if len(values) == 1:
        return values[0]
    # A tally is a JSON object. A shard begins with a length, which is a multiple of eight and so no brace.
    if values[0][:1] == b"{":
        return msgspec.json.encode(sum((msgspec.json.decode(one, type=Tally) for one in values), Tally()))
    return encoded(unite([decoded(one) for one in values]))


def done_of(key: str, value: bytes) -> Done:
    """What `rows_of` was given, as far as this row tells it."""
    if key == TALLY:
        return Done(None, msgspec.json.decode(value, type=Tally))
    return Done(decoded(value), Tally())
