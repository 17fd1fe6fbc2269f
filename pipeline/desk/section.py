"""The desk's sections of a snapshot: `similar_tickets` and `routing`, where the settings name the desk's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.desk.options import DeskOptions
from pipeline.errors import SnapshotError, SourceError, UsageError
from snapshots.model import Check, ProblemSnapshot, Routing, SimilarTicket, Text, with_id

if TYPE_CHECKING:
    from pipeline.desk.index import EmbeddedIndex
    from pipeline.desk.query import Index, Query
    from pipeline.settings import Settings


@dataclass(frozen=True)
class Answer:
    """What the desk knows of a ticket."""

    similar: list[SimilarTicket]
    routing: Routing


@dataclass(frozen=True)
class Desk:
    """The desk as the settings describe it, its index opened."""

    options: DeskOptions
    # History, loads and what was learnt lie in the folder, wherever tickets are searched.
    local: EmbeddedIndex
    index: Index

    def about(self, snapshot: ProblemSnapshot) -> Answer:
        """What the desk knows of the ticket of `snapshot`. Raises `SnapshotError`."""
        from pipeline.desk.query import query_of

        return self._answer(query_of(snapshot, with_meaning=self.index.meaning), snapshot, snapshot.ticket.title)

    def about_text(self, ticket_id: str, title: str, text: str, at: datetime) -> Answer:
        """The same for a ticket without a snapshot: by its words alone."""
        from pipeline.desk.query import query_for

        return self._answer(query_for(ticket_id, text, at, with_meaning=self.index.meaning), None, title)

    def _answer(self, query: Query, snapshot: ProblemSnapshot | None, title: str) -> Answer:
        from pipeline.desk import routing
        from pipeline.desk.similar import rank, similar
        from pipeline.desk.skills import Skills

        skills = Skills(self.local.table)
        facts = routing.about(snapshot)
        categories, way = self._learnt(query), "learnt"
        alike, gathered = similar(query, self.index, self.options.similar, categories)
        ranked = rank(query, gathered)
        if not categories:
            categories, way = routing.votes(ranked), "votes"
        known = routing.held(ranked)
        queues = {name: known * share for name, share in skills.queues(categories, query.at).items()}
        ruled = routing.by_rules(facts, self.options)
        if ruled and (gathered.tickets < routing.FEW or not queues):
            queues, way = ruled, "rules"
        line = routing.preliminary(snapshot, title, alike)
        routed = routing.route(
            query,
            queues,
            way,
            facts,
            skills,
            self.options,
            categories=categories,
            line=line,
            tickets=gathered.tickets,
        )
        return Answer(alike, routed)

    def _learnt(self, query: Query) -> dict[str, float]:
        """The probability of each category, nothing where what was learnt knows tickets closed later than the query's moment."""
        model = self.local.queues
        if model is None or model.until >= query.at or (model.meaning and query.vector is None):
            return {}
        vectors = query.vector[None] if query.vector is not None else None
        row = model.probabilities([query.text], [query.said], vectors)[0]
        return dict(zip(model.names, map(float, row), strict=True))


def desk_of(settings: Settings) -> DeskOptions:
    """The desk's options. Raises `UsageError` where no desk is configured."""
    if settings.desk is None or settings.desk.history is None:
        raise UsageError(
            f"no desk is configured (profile {settings.profile}): a table [defaults.desk] with history = FILE names its "
            "tickets; `problem-snapshot init` shows it"
        )
    return settings.desk


def history_file(options: DeskOptions) -> Path:
    """Where the closed tickets are. Raises `UsageError` where nothing says so."""
    if options.history is None:
        raise UsageError("desk.history: nothing says where closed tickets are; history = FILE in [defaults.desk] does")
    return Path(options.history)


def open_desk(settings: Settings) -> Desk:
    """The desk of the settings. Raises `UsageError` where there is none, or no index of it."""
    from pipeline.desk.elastic import ElasticIndex
    from pipeline.desk.index import read_index

    options = desk_of(settings)
    local = read_index(index_folder(options))
    return Desk(options, local, ElasticIndex(options, local.meaning) if options.source else local)


def index_folder(options: DeskOptions) -> Path:
    """Where the index lies: the folder of the settings, else one in the user's data folder."""
    if options.index:
        return Path(options.index)
    import platformdirs

    return platformdirs.user_data_path("problem-snapshot", appauthor=False) / "desk"


def make_index(settings: Settings, said: Mapping[str, Mapping[str, Any]], progress: Any) -> tuple[Any, Any]:
    """Reads the history and writes the index; gives its facts and what was learnt (None where too little was there).

    `said` is what `prepare` wants: what the system said of each ticket. Raises `SnapshotError`.
    """
    from pipeline.desk import learnt
    from pipeline.desk.elastic import ElasticIndex
    from pipeline.desk.english import has_english
    from pipeline.desk.history import read_history, texts_of
    from pipeline.desk.index import prepare, write_index
    from pipeline.desk.meaning import open_meaning

    options = desk_of(settings)
    history = read_history(history_file(options), options.columns)
    with_meaning = open_meaning(options.meaning)
    made = prepare(history, said, settings.redaction.redactor(), with_meaning=with_meaning, progress=progress)
    first = max(0, made.facts.closed - options.learn_from)
    rows = made.rows.slice(first, made.facts.closed - first)
    named = [i for i, name in enumerate(rows["category"].to_pylist()) if name]
    model = None
    if named:
        chosen = rows.take(named)
        model = learnt.learn(
            texts_of(chosen),
            chosen["said"].to_pylist(),
            made.vectors[first:][named].astype("float32") if made.vectors is not None else None,
            chosen["category"].to_pylist(),
            rows["closed_at"][len(rows) - 1].as_py(),
            with_english=with_meaning and has_english(),
            progress=progress,
        )
    if options.source:
        ElasticIndex(options, with_meaning).fill(made, progress)
    write_index(index_folder(options), made, model)
    return made.facts, model


def marks_in(store: Any, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the system said of those tickets of which `store` has a snapshot, as `prepare` wants it."""
    wanted = set(ids)
    found: dict[str, dict[str, Any]] = {}
    # Newest ticket first, and of one ticket the newest snapshot first.
    for entry in store.list():
        if entry.ticket_id in wanted and entry.ticket_id not in found:
            found[entry.ticket_id] = said_of(store.get(entry.snapshot_id))
    return found


def said_of(snapshot: ProblemSnapshot) -> dict[str, Any]:
    """What `prepare` wants of one snapshot."""
    from pipeline.desk.said import marks_of

    diagnosis = snapshot.diagnosis
    return {
        "marks": marks_of(snapshot),
        "fault_class": diagnosis.fault_class,
        "service": diagnosis.location.service,
        "channel": diagnosis.location.channel,
    }


def fill_desk(snapshot: ProblemSnapshot, settings: Settings) -> ProblemSnapshot:
    """`snapshot` with what the desk knows, under a new id; as it is where no desk is configured.

    A desk that cannot be asked is told among the checks: it never stops a snapshot.
    """
    if settings.desk is None or settings.desk.history is None:
        return snapshot
    try:
        answer = open_desk(settings).about(snapshot)
    except SnapshotError as error:
        kind = "the desk's Elasticsearch" if isinstance(error, SourceError) else "the desk's history"
        told = Text(en=f"{kind} could not be asked: {error}", zh=f"未能查询历史工单：{error}")
        check = Check(id="desk", outcome="not_evaluated", statement=told)
        return with_id(msgspec.structs.replace(snapshot, checks=[*snapshot.checks, check]))
    return with_id(msgspec.structs.replace(snapshot, similar_tickets=answer.similar, routing=answer.routing))
