"""What `problem-snapshot doctor` finds out: whether each source is well, and if not, what is to be done."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar
from urllib.parse import unquote

import msgspec

from pipeline.errors import (
    Refused,
    SnapshotError,
    SourceBroken,
    SourceRefused,
    SourceUnavailable,
    TargetUnreachable,
    UsageError,
)
from pipeline.values import Source

if TYPE_CHECKING:
    from parsers.redaction.redactor import Redactor
    from pipeline.publish.options import PublishOptions

# How long a source may take to answer. A source that is slower than this is of no use inside a ticket's budget.
DEADLINE_SECONDS = 5.0


class Probed(Protocol):
    """What can be asked how it is."""

    kind: str

    def close(self) -> None:
        """Lets go of it."""
        ...


Thing = TypeVar("Thing", bound=Probed)
State = Literal["ok", "warning", "failed", "refused", "unreachable"]

_ADVICE = {
    "refused": "check the user, password or key of sources.{name}, and what that account may read",
    "unreachable": "check the address in sources.{name}, and whether this machine may reach it (VPN, firewall, proxy)",
    "failed": "check the index patterns, the query or the files of sources.{name}",
}


@dataclass(frozen=True)
class Health:
    """What is known of one thing: its state, what it said, and what to do where it is not well."""

    name: str
    kind: str
    state: State
    lines: tuple[str, ...] = ()
    advice: str = ""


def examine(sources: Mapping[str, Source | SnapshotError], deadline: float = DEADLINE_SECONDS) -> list[Health]:
    """Probes all sources at once and waits `deadline` seconds for them, in the order of `sources`.

    An error in the place of a source is what opening it raised.
    """
    slow = SourceUnavailable(f"no answer within {deadline:g} s")
    return examined(sources, _probed, _unwell, slow, deadline)


def examined(
    things: Mapping[str, Thing | SnapshotError],
    probe: Callable[[str, Thing], Health],
    unwell: Callable[[str, str, SnapshotError], Health],
    slow: SnapshotError,
    deadline: float,
) -> list[Health]:
    """Probes all things at once and waits `deadline` seconds for them, in their order; `slow` is said of those that hang."""
    answers: queue.SimpleQueue[Health] = queue.SimpleQueue()
    found: dict[str, Health] = {}

    def ask(name: str, thing: Thing) -> None:
        try:
            answers.put(probe(name, thing))
        except Exception as error:  # noqa: BLE001 - one's fault must not hide what the others say
            broken = SourceBroken(f"internal error: {type(error).__name__}: {error}")
            answers.put(unwell(name, thing.kind, broken))
        finally:
            # Here, so that nobody waits for one that hangs.
            with contextlib.suppress(Exception):
                thing.close()

    for name, thing in things.items():
        if isinstance(thing, SnapshotError):
            found[name] = unwell(name, "", thing)
        else:
            # A daemon: one that hangs must not keep the process alive.
            threading.Thread(target=ask, args=(name, thing), daemon=True).start()
    end = time.monotonic() + deadline
    while len(found) < len(things):
        try:
            health = answers.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        found[health.name] = health
    for name, thing in things.items():
        if name not in found and not isinstance(thing, SnapshotError):
            found[name] = unwell(name, thing.kind, slow)
    return [found[name] for name in things]


def _probed(name: str, source: Source) -> Health:
    try:
        return Health(name, source.kind, "ok", tuple(source.probe()))
    except SnapshotError as error:
        return _unwell(name, source.kind, error)


def _unwell(name: str, kind: str, error: SnapshotError) -> Health:
    if isinstance(error, UsageError):
        # Its sentence names the key and says what to write.
        return Health(name, kind, "failed", (str(error),))
    state: State = "failed"
    if isinstance(error, SourceRefused):
        state = "refused"
    elif isinstance(error, SourceUnavailable):
        state = "unreachable"
    return Health(name, kind, state, (str(error),), _ADVICE[state].format(name=name))


def field_lines(source: Source, table: str, redactor: Redactor, deadline: float = DEADLINE_SECONDS) -> list[str]:
    """Which field of which index each column of an Elasticsearch source is read from, and what to configure where none is.

    `table` is the source's table in the configuration, to which a proposal is to be added. Other sources have no such lines.
    """
    import pyarrow as pa  # what follows has loaded it anyway

    from pipeline.sources.elasticsearch import ElasticsearchSource
    from pipeline.sources.elasticsearch.fields import Fields, proposal, written
    from pipeline.sources.elasticsearch.fields import table as rows_of
    from pipeline.sources.elasticsearch.targets import counted

    if not isinstance(source, ElasticsearchSource):
        return []
    lines: list[str] = []
    found: list[Fields] = []
    with contextlib.closing(source):
        answers = list(source.fields(deadline))
    for one in answers:
        if isinstance(one, SnapshotError):
            lines.append(str(one))
            continue
        found.append(one)
        what = "logs" if one.what == "logs" else "traces"
        indices, documents = counted(one.indices, "index", "indices"), counted(one.documents, "document", "documents")
        lines.append(f"{what} {one.pattern}: {indices}, {documents}, {one.seen:,} looked at")
        lines += [f"  {note}" for note in one.notes]
        head = ["column", "field", "type", "indices", "share", "example"]
        rows = [head, *rows_of(one, lambda texts: redactor.redact_array(pa.array(texts, pa.string())).to_pylist())]
        widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
        lines += ["  " + "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    proposed = written(proposal(source.options, found), table, has_overrides=bool(source.options.overrides))
    if proposed:
        lines += ["proposed:", *(f"  {line}" for line in proposed)]
    return lines


def examine_store(url: str) -> Health:
    """Whether a snapshot could be kept at `url`: a small file is written there and taken away again."""
    import fsspec  # only doctor needs it here

    from pipeline.secrets import secrets_in, without_login

    shown = without_login(url)
    name = f".doctor-{time.time_ns()}"
    try:
        system, root = fsspec.core.url_to_fs(url)
        system.makedirs(root, exist_ok=True)
        place = f"{root.rstrip('/')}/{name}"
        system.pipe_file(place, b"ok")
        system.rm_file(place)
    # Each of fsspec's backends raises what its client raises.
    except Exception as error:  # noqa: BLE001
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        # A client may repeat what it was given, as it was written or decoded.
        for secret in (url, *secrets_in(url), *map(unquote, secrets_in(url))):
            reason = reason.replace(secret, shown if secret == url else "[secret]")
        return Health(
            "store",
            "store",
            "failed",
            (f"{shown}: cannot be written: {reason}",),
            "set store to a folder or URL that can be",
        )
    return Health("store", "store", "ok", (shown,))


def examine_publish(options: Callable[[], PublishOptions | None], deadline: float = DEADLINE_SECONDS) -> list[Health]:
    """Whether snapshots could be published, as far as can be told without writing; nothing where nothing says where to.

    `options` may raise what is wrong with the configuration. Each request may take `deadline` seconds.
    """
    from pipeline.publish.publishing import probe

    name, kind = "publish", "elasticsearch"
    try:
        target = options()
        if target is None:
            return []
        quick = msgspec.structs.replace(target, timeout=deadline, retries=0)
        return [Health(name, kind, "ok", tuple(probe(quick)))]
    except Refused as error:
        advice = "check the login of publish, and what that account may do"
        return [Health(name, kind, "refused", (str(error),), advice)]
    except TargetUnreachable as error:
        advice = "check the address of publish, and whether this machine may reach it (VPN, firewall, proxy)"
        return [Health(name, kind, "unreachable", (str(error),), advice)]
    except SnapshotError as error:
        return [Health(name, kind, "failed", (str(error),))]


def examine_weights(path: str | None) -> Health:
    """Whether the weights of the judge can be used, and where they are from."""
    from pipeline.judge import IN_FORCE, weights

    try:
        table = weights(path)
    except UsageError as error:
        return Health("weights", "file", "failed", (str(error),), IN_FORCE[:1].lower() + IN_FORCE[1:])
    learnt = table.learnt
    origin = (
        f"learnt from {learnt['number']} cases ({learnt.get('cases', '')})" if "number" in learnt else "set by hand"
    )
    return Health("weights", "file", "ok", (f"{path or 'the shipped ones'}, {origin}",))


def examine_catalogue(place: str | None) -> list[Health]:
    """Whether the catalogue that the settings name can be compared with; nothing where they name none.

    It is opened as `take` opens it: where a file of it is gone, every snapshot would fail.
    """
    from pipeline.learning.usual import open_usual
    from pipeline.secrets import without_login

    if place is None:
        return []
    try:
        manifest = open_usual(place).manifest
    except UsageError as error:
        advice = "learn it again with `problem-snapshot learn`, or leave `catalogue` out of the settings"
        return [Health("catalogue", "folder", "failed", (str(error),), advice)]
    start, end = ((moment or "-")[:10] for moment in (manifest.start, manifest.end))
    told = f"{without_login(place)}, {manifest.lines:,} lines, {start} to {end}"
    empty = not manifest.lines
    advice = "learn it from an archive that has lines; this one says of nothing what is usual" if empty else ""
    return [Health("catalogue", "folder", "warning" if empty else "ok", (told,), advice)]


def exit_code(sources: Sequence[Health], others: Sequence[Health] = ()) -> int:
    """0 all well, 4 every source refused us, 5 none could be reached, 8 some failed; warnings are well."""
    bad = [h for h in sources if h.state not in {"ok", "warning"}]
    if bad and len(bad) == len(sources):
        if all(h.state == "refused" for h in bad):
            return 4
        return 5
    return 8 if bad or any(h.state not in {"ok", "warning"} for h in others) else 0
