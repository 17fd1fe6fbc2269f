"""Learning on one machine: units are read by threads, and their shards spooled as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.learning.catalogue import Dead, Manifest, Tally
from pipeline.learning.shards import Shard
from pipeline.learning.spool import Spool
from pipeline.learning.units import Unit, UnitFailed, read_unit, units_of
from pipeline.learning.writer import write_catalogue
from pipeline.processes import cores


@dataclass(frozen=True)
class Done:
    """What came of one unit: its shard, None where it is dead, and its tally."""

    shard: Shard | None
    tally: Tally


# Reads units, wherever that is: yields what came of them in any order, and may unite some of them.
Engine = Callable[[Sequence[Unit]], Iterable[Done]]


def plan(files: Sequence[str], *, mapping: str = "auto", zone: str | None = None) -> tuple[list[Unit], Tally]:
    """The units of `files`, and those files that are dead."""
    units: list[Unit] = []
    dead = []
    for path in files:
        try:
            units += units_of(path, mapping=mapping, zone=zone)
        except UnitFailed as error:
            dead.append(died(error))
    return units, Tally(dead=tuple(sorted(dead)))


def died(error: UnitFailed) -> Dead:
    """The error of a unit as the catalogue keeps it."""
    return Dead(error.what, error.reason)


def done(unit: Unit) -> Done:
    """Reads one unit; a dead one is told, not raised, whatever it died of: the others must not die with it."""
    try:
        made = read_unit(unit)
    except UnitFailed as error:
        return Done(None, Tally(dead=(died(error),)))
    except Exception as error:  # noqa: BLE001 - said above
        return Done(None, Tally(dead=(Dead(unit.name, f"unexpected {type(error).__name__}: {error}"),)))
    return Done(made.shard, Tally(rows=made.rows, undated=made.undated, message_bytes=made.size))


def learn(
    units: Sequence[Unit],
    out: str,
    *,
    before: Tally | None = None,
    engine: Engine | None = None,
    progress: Callable[[Tally], None] = lambda _: None,
) -> Manifest:
    """Reads `units` by `engine` (threads of this process unless given) and writes the catalogue `out`.

    `before` is the tally of what was found while planning. Memory holds the shards of what is being read, some more before
    they are spooled, and the distinct masked lines; not the archive. Raises `UsageError` where `out` cannot be written.
    """
    tally = before or Tally()
    with Spool() as spool:
        for one in (engine or threads())(units):
            tally += one.tally
            if one.shard is not None:
                spool.add(one.shard)
            progress(tally)
        return write_catalogue(spool, tally, out)


def threads(jobs: int | None = None) -> Engine:
    """The engine of this process: so many units are read at once, one a processor unless given."""
    many = jobs or cores()

    def run(units: Sequence[Unit]) -> Iterator[Done]:
        with ThreadPoolExecutor(many) as pool:
            waiting: deque[Future[Done]] = deque()
            try:
                for unit in units:
                    waiting.append(pool.submit(done, unit))
                    # As many in flight as are worked on, and one more so that none waits.
                    if len(waiting) > many:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    return run
