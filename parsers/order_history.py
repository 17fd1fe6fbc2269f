"""State histories out of audit rows, for shops that keep the current state of an order and a table of its changes.

An audit row says that something changed at a time. Three shapes are read, which may stand in one table:

    state                        the state after the change (a table of versions; one that changes no state is no event)
    old_state, new_state         both
    field, old_value, new_value  any column's change (a generic audit table); only those of the state's column count

Each new state is an event at the time of its change. What was before the first change is known by name only: it becomes
an event at the order's creation where that is known and comes first, and one without a time otherwise. The current row
is the last event, so it is put into that one: an order's history holds each state once for each time it was entered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.order_events import read_times, texts

_KEY = ("order_id", "entity", "entity_id")
REQUIRED = (*_KEY, "changed_at")
_STATES = ("state", "new_state", "new_value")
_OWN = frozenset({"changed_at", "state", "old_state", "new_state", "field", "old_value", "new_value"})


@dataclass(frozen=True)
class Rebuilt:
    """`rows` are those of the current state and of the history together, as `order_events_from_rows` takes them.

    `events` of them come from the history (a current row that is the last state of its history is one of these). Of the
    audit rows, `elsewhere` changed another column than the state and `unchanged` no state at all. `undated` states were
    there before the first change, at a time that nothing tells; `gaps` changes start from a state to which no change
    led; `behind` entities are now in a state that their history does not end with.
    """

    rows: pa.Table
    events: int = 0
    elsewhere: int = 0
    unchanged: int = 0
    undated: int = 0
    gaps: int = 0
    behind: int = 0


def lacking(names: Collection[str]) -> list[str]:
    """What audit rows with columns of these names (lower case) lack; a choice is told as `a or b`.

    >>> lacking(["order_id", "entity", "entity_id", "changed_at", "new_state"]), lacking(["order_id", "field"])
    ([], ['entity', 'entity_id', 'changed_at', 'new_value'])
    """
    missing = [name for name in REQUIRED if name not in names]
    if "field" in names:
        return missing if "new_value" in names else [*missing, "new_value"]
    return missing if {"state", "new_state"} & set(names) else [*missing, "state or new_state"]


def rebuild_history(
    current: pa.Table, audit: pa.Table, *, fields: Sequence[str] = ("state", "status"), zone: tzinfo | None = None
) -> Rebuilt:
    """The events of `audit` put together with the rows of `current`, whatever the order of either's rows.

    `current` has the columns that `order_events_from_rows` takes and may have `created_at`, the order's creation;
    `audit` those of the module's text, and others, which are kept beside the state. `fields` are the names of the state's
    column in a generic audit table, regardless of case. Times without an offset are in `zone` (UTC without one). Rows
    that are equal in all columns are one.
    """
    current, audit = _lower(current), _lower(audit)
    rows = audit.num_rows
    audit, elsewhere = _of_state(audit, fields)
    changes = _changes(audit, zone)
    if not changes.num_rows:
        return Rebuilt(current, elsewhere=elsewhere, unchanged=rows - elsewhere)
    changes, unchanged = _in_order(changes)
    keys = _keys(changes)
    first = np.concatenate([[True], keys[1:] != keys[:-1]])
    last = np.concatenate([first[1:], [True]])
    old, new = changes.column("_old").to_pylist(), changes.column("state").to_pylist()
    gaps = sum(1 for i in np.flatnonzero(~first).tolist() if old[i] is not None and old[i] != new[i - 1])

    own = _Current.read(current, zone)
    before, undated = _before(changes.filter(pa.array(first)), own)
    partner, taken, behind = _partners(changes, pa.array(last), own)
    events = _filled(changes.drop_columns(["_old", "_at"]), current, partner)
    kept = current.filter(pa.array(~taken))
    merged = pa.concat_tables([kept, before, events], promote_options="default")
    count = before.num_rows + events.num_rows
    return Rebuilt(merged, count, elsewhere, unchanged, undated, gaps, behind)


def _lower(table: pa.Table) -> pa.Table:
    """The names in lower case; trimmed texts in the columns that name something, an empty one null."""
    table = table.rename_columns([name.strip().lower() for name in table.column_names])
    for name in (*_KEY, *(_OWN - {"changed_at"})):
        if name in table.column_names:
            column = texts(_whole(table, name))
            place = table.column_names.index(name)
            table = table.set_column(place, name, pc.utf8_lower(column) if name in {"entity", "field"} else column)
    return table


def _whole(table: pa.Table, name: str) -> pa.Array:
    return _piece(table.column(name))


def _piece(column: Any) -> pa.Array:
    """A column in one piece."""
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])
    return column


def _of_state(audit: pa.Table, fields: Sequence[str]) -> tuple[pa.Table, int]:
    """The rows about the state, and how many are about another column."""
    if "field" not in audit.column_names:
        return audit, 0
    wanted = pa.array([name.strip().lower() for name in fields], pa.string())
    about = pc.is_in(audit.column("field"), value_set=wanted)
    if {"state", "new_state"} & set(audit.column_names):
        # A row without a field is not of the generic kind.
        about = pc.or_(about, pc.is_null(audit.column("field")))
    kept = audit.filter(about)
    return kept, audit.num_rows - kept.num_rows


def _changes(audit: pa.Table, zone: tzinfo | None) -> pa.Table:
    """Rows that enter a state, each distinct one once.

    Their columns are the key, `state`, `occurred_at` (text), those that are not ours, `_at` (UTC) and `_old`.
    """
    null = pa.nulls(audit.num_rows, pa.string())

    def first_of(*names: str) -> pa.Array:
        return pc.coalesce(*(_whole(audit, name) for name in names if name in audit.column_names), null)

    moments, unread = read_times(_whole(audit, "changed_at"), zone)
    # One that cannot be read stays as it is, so that the parser counts it.
    plain = pc.replace_substring(pc.strftime(moments, "%Y-%m-%dT%H:%M:%SZ"), "+00:00", "Z")
    written = pc.if_else(unread, _whole(audit, "changed_at").cast(pa.string()), plain)
    others = [name for name in audit.column_names if name not in _OWN and name not in _KEY and name != "occurred_at"]
    table = pa.table(
        {
            **{name: audit.column(name) for name in _KEY},
            "state": first_of("new_state", "state", "new_value"),
            "occurred_at": written,
            **{name: audit.column(name) for name in others},
            "_at": moments,
            "_old": first_of("old_state", "old_value"),
        }
    )
    moves = pc.fill_null(pc.not_equal(table.column("state"), table.column("_old")), fill_value=True)
    table = table.filter(pc.and_(pc.is_valid(table.column("state")), moves))
    return table.group_by(table.column_names, use_threads=False).aggregate([])


def _in_order(changes: pa.Table) -> tuple[pa.Table, int]:
    """By key and time, changes of one moment as they follow from each other; without those that enter the state that is.

    Gives also how many were left out.
    """
    names = [*_KEY, "_at", "_old", "state", *sorted(set(changes.column_names) - {*_KEY, "_at", "_old", "state"})]
    # Times that cannot be read come first, so that they are never the last word.
    order = pc.sort_indices(changes, sort_keys=[(name, "ascending", "at_start") for name in names])
    changes = changes.take(order)
    keys = _keys(changes)
    moments = pc.fill_null(changes.column("_at").cast(pa.int64()), -(2**62)).to_numpy()
    tied = (keys[1:] == keys[:-1]) & (moments[1:] == moments[:-1])
    if tied.any():
        changes = changes.take(pa.array(_untied(changes, keys, tied)))
    new, old = changes.column("state"), changes.column("_old")
    same_state = np.asarray(pc.fill_null(pc.equal(new[1:], new[:-1]), fill_value=False))
    stays = np.concatenate([[False], (keys[1:] == keys[:-1]) & same_state & np.asarray(pc.is_null(old[1:]))])
    return changes.filter(pa.array(~stays)), int(stays.sum())


def _keys(changes: pa.Table) -> npt.NDArray[np.int64]:
    """A number for each entity; equal where the three columns are."""
    columns = [changes.column(name) for name in _KEY]
    return np.asarray(_joined(*columns).dictionary_encode().indices.to_numpy(), np.int64)


def _untied(changes: pa.Table, keys: npt.NDArray[np.int64], tied: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The rows' order in which changes of one moment follow from each other, as far as old and new states tell it."""
    order = np.arange(changes.num_rows)
    old, new = changes.column("_old").to_pylist(), changes.column("state").to_pylist()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], tied, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    # Two rows, by far the most frequent, of which one leads to the other and not back, need no walk.
    leads, back = (
        np.asarray(pc.fill_null(pc.equal(one, other), fill_value=False))
        for one, other in (
            (changes.column("state")[:-1], changes.column("_old")[1:]),
            (changes.column("_old")[:-1], changes.column("state")[1:]),
        )
    )
    plain = (ends == starts + 1) & (leads[starts] != back[starts])
    swapped = starts[plain & back[starts]]
    order[swapped], order[swapped + 1] = swapped + 1, swapped
    for start, end in zip(starts[~plain].tolist(), ends[~plain].tolist(), strict=True):
        rows = list(range(start, end + 1))
        came = new[order[start - 1]] if start and keys[start - 1] == keys[start] else None
        order[start : end + 1] = _trail([(row, old[row], new[row]) for row in rows], came)
    return order


def _trail(moves: Sequence[tuple[int, str | None, str]], came: str | None) -> list[int]:
    """The rows of `moves` (row, from, to) as one walk from the state `came`, each once (Hierholzer's algorithm).

    Moves that no walk holds together come as walks one after the other.
    """
    out: dict[str | None, list[tuple[int, str]]] = defaultdict(list)
    surplus: dict[str | None, int] = defaultdict(int)
    for row, old, new in reversed(moves):
        out[old].append((row, new))
        surplus[old] += 1
        surplus[new] -= 1
    walked: list[int] = []
    while len(walked) < len(moves):
        open_ends = sorted((state for state in out if out[state]), key=lambda state: (-surplus[state], state or ""))
        state = came if out.get(came) else open_ends[0]
        stack: list[tuple[str | None, int]] = [(state, -1)]
        walk: list[int] = []
        while stack:
            here, by = stack[-1]
            if out.get(here):
                row, new = out[here].pop()
                stack.append((new, row))
            else:
                walk.append(by)
                stack.pop()
        walked.extend(row for row in reversed(walk) if row >= 0)
        came = None
    return walked


@dataclass(frozen=True)
class _Current:
    """The rows of the main query: their keys, states and times, and which is the latest of its entity."""

    keys: pa.Array
    states: pa.Array
    moments: pa.Array
    created: pa.Array
    latest: npt.NDArray[np.bool_]
    alone: npt.NDArray[np.bool_]

    @classmethod
    def read(cls, current: pa.Table, zone: tzinfo | None) -> _Current:
        """The columns of `current`; one that is absent is null throughout."""
        rows = current.num_rows
        null = pa.nulls(rows, pa.string())
        whole = {n: _whole(current, n) if n in current.column_names else null for n in (*_KEY, "state", "occurred_at")}
        moments, _ = read_times(whole["occurred_at"], zone)
        created, _ = read_times(_whole(current, "created_at") if "created_at" in current.column_names else null, zone)
        keys = _joined(*(whole[name] for name in _KEY))
        codes = keys.dictionary_encode().indices.to_numpy()
        # A row without a time is as if it were of now.
        when = pc.fill_null(moments.cast(pa.int64()), 2**62).to_numpy()
        order = np.lexsort((np.arange(rows), when, codes))
        latest = np.zeros(rows, np.bool_)
        if rows:
            latest[order[np.concatenate([codes[order][1:] != codes[order][:-1], [True]])]] = True
        counts = np.bincount(codes) if rows else np.zeros(0, np.int64)
        return cls(keys, texts(whole["state"]), moments, created, latest, counts[codes] == 1)


def _joined(*columns: Any) -> pa.Array:
    joined = pc.binary_join_element_wise(*columns, "\x1f", null_handling="replace", null_replacement="\x1e")
    return _piece(joined)


def _before(firsts: pa.Table, own: _Current) -> tuple[pa.Table, int]:
    """The state before each entity's first change as an event, and how many of them have no time.

    Not where the main query has an event of that state that is not after the change.
    """
    firsts = firsts.filter(pc.is_valid(firsts.column("_old")))
    keys = _joined(*(firsts.column(name) for name in _KEY))
    starts = _joined(keys, firsts.column("_old"))
    known = _joined(own.keys, own.states)
    first_at = firsts.column("_at").cast(pa.int64()).to_pylist()
    told: dict[str, list[int]] = defaultdict(list)
    among = pc.is_in(known, value_set=starts)
    for text, at in zip(
        known.filter(among).to_pylist(), own.moments.cast(pa.int64()).filter(among).to_pylist(), strict=True
    ):
        if at is not None:
            told[text].append(at)
    absent = [
        not any(at is None or moment <= at for moment in told.get(text, ()))
        for text, at in zip(starts.to_pylist(), first_at, strict=True)
    ]
    place = pc.index_in(keys, value_set=own.keys)
    created = own.created.take(place)
    at = _whole(firsts, "_at")
    right = pc.fill_null(pc.less_equal(created, at), fill_value=False)
    created = pc.if_else(right, created, pa.scalar(None, created.type))
    plain = pc.strftime(created, "%Y-%m-%dT%H:%M:%SZ")
    table = pa.table(
        {**{n: firsts.column(n) for n in _KEY}, "state": firsts.column("_old"), "occurred_at": plain}
    ).filter(pa.array(absent, pa.bool_()))
    return table, table.column("occurred_at").null_count


def _partners(changes: pa.Table, last: pa.Array, own: _Current) -> tuple[pa.Array, npt.NDArray[np.bool_], int]:
    """For each change the current row that tells the same, or null; which current rows these are; how many are behind.

    The same is: equal in state and time; or the state that the history ends with, told by the entity's latest row, if
    that row is its only one or is not older than the change.
    """
    keys = _joined(*(changes.column(name) for name in _KEY))
    exact = _joined(keys, changes.column("state"), changes.column("_at").cast(pa.int64()).cast(pa.string()))
    known = _joined(own.keys, own.states, own.moments.cast(pa.int64()).cast(pa.string()))
    timed = own.moments.is_valid()
    known = pc.if_else(timed, known, pa.scalar(None, pa.string()))
    partner = pc.index_in(exact, value_set=known, skip_nulls=True)

    latest = np.flatnonzero(own.latest)
    place = pc.index_in(keys, value_set=own.keys.take(pa.array(latest)))
    row = pa.array(latest, pa.int64()).take(place)
    same = pc.equal(own.states.take(row), changes.column("state"))
    moment = own.moments.take(row)
    recent = pc.or_kleene(
        pa.array(own.alone, pa.bool_()).take(row),
        pc.fill_null(pc.greater_equal(moment, changes.column("_at")), fill_value=True),
    )
    at_end = pc.and_(last, pc.fill_null(pc.and_kleene(same, recent), fill_value=False))
    differs = pc.and_(last, pc.fill_null(pc.invert(same), fill_value=False))
    partner = pc.coalesce(partner.cast(pa.int64()), pc.if_else(at_end, row, pa.scalar(None, pa.int64())))
    partner = _piece(partner)
    taken = np.zeros(len(own.keys), np.bool_)
    taken[partner.drop_null().to_numpy()] = True
    return partner, taken, int(pc.sum(differs).as_py() or 0)


def _filled(events: pa.Table, current: pa.Table, partner: pa.Array) -> pa.Table:
    """The events, with what only the current row of an event tells."""
    for name in current.column_names:
        if name in {*_KEY, "state", "occurred_at", "created_at"}:
            continue
        told = _whole(current, name).take(partner)
        if name not in events.column_names:
            events = events.append_column(name, told)
            continue
        mine = _whole(events, name).cast(told.type)
        column = _both(mine, told) if name == "attributes" else pc.coalesce(mine, told)
        events = events.set_column(events.column_names.index(name), name, column)
    return events


def _both(mine: pa.Array, told: pa.Array) -> pa.Array:
    """Two columns of attributes as one, where both hold a JSON object; `mine` goes first."""
    column = pc.coalesce(mine, told)
    places = pc.indices_nonzero(pc.and_(mine.is_valid(), told.is_valid())).to_pylist()
    if not places:
        return column
    values = column.to_pylist()
    for place in places:
        try:
            one, other = (msgspec.json.decode(c[place].as_py() or "{}") for c in (mine, told))
        except (msgspec.DecodeError, TypeError):
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            values[place] = msgspec.json.encode(other | one).decode()
    return pa.array(values, column.type)
