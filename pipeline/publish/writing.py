"""The documents of some snapshots brought into the index, each under the condition that it is still as it was read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.errors import NotPublished, TargetUnreachable
from pipeline.publish.cluster import Cluster
from pipeline.publish.documents import LAYOUT, Document, Documents
from pipeline.publish.outcome import Done, Outcome
from pipeline.publish.target import Target

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


# So many snapshots are read and written together, at most, and about so many bytes.
_BATCH = 50
_BATCH_BYTES = 8 << 20
# A document that others keep changing is tried so often.
_ROUNDS = 6


def batches_of(all_documents: Iterable[Documents]) -> Iterator[list[Documents]]:
    """The documents of so many snapshots as are read and written together."""
    held: list[Documents] = []
    weight = 0
    for documents in all_documents:
        held.append(documents)
        weight += len(documents.own.source["problem"]["document"])
        if len(held) >= _BATCH or weight >= _BATCH_BYTES:
            yield held
            held, weight = [], 0
    if held:
        yield held


@dataclass(frozen=True)
class _Version:
    """A document as it is in the index: where, in which state, of which layout and content, and the findings it lists."""

    index: str
    seq_no: int
    primary_term: int
    layout: int
    sha256: str
    findings: tuple[str, ...]


@dataclass
class _Work:
    """One snapshot on its way: what is still to be done, and what has been."""

    documents: Documents
    outcome: Outcome = "unchanged"
    problem: str = ""
    open: bool = True
    states: dict[str, Outcome] = field(default_factory=dict)

    def done(self) -> Done:
        """What became of it."""
        return Done(self.documents.snapshot_id, self.documents.ticket_id, self.outcome, self.problem)

    def fail(self, problem: str) -> None:
        """It stays as it is, for this reason."""
        self.outcome, self.problem, self.open = "failed", problem, False


class Writer:
    """The documents of snapshots on their way into the target, counted as they end."""

    def __init__(self, cluster: Cluster, target: Target) -> None:
        self.cluster = cluster
        self.indices = target.indices
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []

    def write(self, batch: Sequence[Documents]) -> list[Done]:
        """Brings the documents of some snapshots into the index."""
        work = [_Work(documents) for documents in batch]
        for round_ in range(_ROUNDS):
            left = [one for one in work if one.open]
            if not left:
                break
            if round_:
                # Whoever was faster shall come to an end.
                time.sleep(0.05 * round_)
            try:
                self._round(left)
            except TargetUnreachable:
                raise
            except NotPublished as error:
                # A request may be refused whole for one of its documents, such as for an id that is too long.
                if len(work) > 1:
                    return [done for one in batch for done in self.write([one])]
                left[0].fail(str(error))
                self.counts["failed"] += 1
        for one in work:
            if one.open:
                one.fail(f"others kept changing its documents ({_ROUNDS} attempts)")
            self.counts.update(one.states.values())
        return [one.done() for one in work]

    def _round(self, work: Sequence[_Work]) -> None:
        ids = [document.id for one in work for document in one.documents]
        there = self._read(ids)
        listed = {name for one in work for name in _listed(there, one) if name not in there}
        there |= self._read(sorted(listed - set(ids)))
        operations: list[tuple[_Work, Document | None, dict[str, Any]]] = []
        for one in work:
            operations += self._on_findings(one, there)
        self._send(operations)
        self._send([op for one in work if one.open for op in self._on_own(one, there)])
        for one in work:
            states = set(one.states.values())
            if one.open and all(document.id in one.states for document in one.documents):
                own = one.states[one.documents.own.id]
                changed = states & {"created", "updated", "removed"}
                one.outcome = "created" if own == "created" else "updated" if changed else "unchanged"
                one.open = False

    def _on_findings(self, one: _Work, there: dict[str, _Version]) -> Iterator[tuple[_Work, Document | None, Any]]:
        own = there.get(one.documents.own.id)
        newer = own is not None and _is_newer(own)
        wanted = {document.id for document in one.documents.findings}
        if newer:
            self.notes.append("documents of a newer version of this program were left as they are")
        for document in one.documents.findings:
            if newer:
                one.states.setdefault(document.id, "unchanged")
            elif (operation := self._unless_same(one, document, there)) is not None:
                yield one, document, operation
        # Of an own document that is newer the list holds too: what is beyond it was written by us a moment ago.
        if own is not None:
            stale = wanted - set(own.findings) if newer else set(own.findings) - wanted
            for name in sorted(stale & there.keys()):
                yield one, None, {"_op_type": "delete", "_index": there[name].index, "_id": name}

    def _on_own(self, one: _Work, there: dict[str, _Version]) -> Iterator[tuple[_Work, Document | None, Any]]:
        document = one.documents.own
        if any(finding.id not in one.states for finding in one.documents.findings):
            # Somebody was faster with one of them; the next round sees what is there then.
            return
        if document.id in there and _is_newer(there[document.id]):
            one.states.setdefault(document.id, "unchanged")
        elif (operation := self._unless_same(one, document, there)) is not None:
            yield one, document, operation

    def _unless_same(self, one: _Work, document: Document, there: dict[str, _Version]) -> dict[str, Any] | None:
        """The write that brings `document` in, or None where it is there already."""
        version = there.get(document.id)
        if version is None:
            one.states.pop(document.id, None)
            return {"_op_type": "create", "_index": self.indices[0], "_id": document.id, "_source": document.source}
        if _is_newer(version) or _is_same(version, document):
            one.states.setdefault(document.id, "unchanged")
            return None
        one.states.pop(document.id, None)
        condition = {"if_seq_no": version.seq_no, "if_primary_term": version.primary_term}
        return {
            "_op_type": "index",
            "_index": version.index,
            "_id": document.id,
            "_source": document.source,
            **condition,
        }

    def _send(self, operations: Sequence[tuple[_Work, Document | None, dict[str, Any]]]) -> None:
        if not operations:
            return
        for (one, document, operation), answer in zip(
            operations, self._bulk([op for _, _, op in operations]), strict=True
        ):
            status = int(answer.get("status", 0))
            if 200 <= status < 300:
                if document is None:
                    one.states[operation["_id"]] = "removed"  # type: ignore[assignment]
                else:
                    one.states[document.id] = "created" if answer.get("result") == "created" else "updated"
            elif status == 409 or (document is None and status == 404):
                # Somebody was faster: the next round sees it as it is then.
                continue
            else:
                self.counts["failed"] += 1
                one.fail(self.cluster.reason(operation["_id"], status, answer.get("error")))

    def _read(self, ids: Sequence[str]) -> dict[str, _Version]:
        """Those of `ids` that are there, in whichever index of the alias; the one that is written to goes first."""
        found: dict[str, _Version] = {}
        for index in self.indices:
            for start in range(0, len(ids), 1_000):
                some = [name for name in ids[start : start + 1_000] if name not in found]
                if not some:
                    continue
                answer = self.cluster.ask(
                    lambda client, index=index, some=some: client.mget(  # type: ignore[misc]
                        index=index, ids=some, source_includes=["problem.published", "problem.finding_ids"]
                    ),
                    "to read",
                )
                for doc in answer["docs"] if answer else ():
                    if doc.get("found"):
                        found[doc["_id"]] = _version(doc)
        return found

    def _bulk(self, operations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answer to each operation, in order."""
        from elasticsearch import helpers

        def request(client: Elasticsearch) -> list[dict[str, Any]]:
            answers = helpers.streaming_bulk(
                client,
                operations,
                raise_on_error=False,
                max_chunk_bytes=_BATCH_BYTES,
                max_retries=self.cluster.options.retries,
                initial_backoff=0.2,
                max_backoff=2,
            )
            return [next(iter(item.values())) for _, item in answers]

        return self.cluster.ask(request, "to write", accept=()) or []


def _version(doc: dict[str, Any]) -> _Version:
    problem = doc.get("_source", {}).get("problem", {})
    published = problem.get("published", {})
    return _Version(
        doc["_index"],
        doc["_seq_no"],
        doc["_primary_term"],
        published.get("layout", 0),
        published.get("sha256", ""),
        tuple(problem.get("finding_ids", ())),
    )


def _listed(there: dict[str, _Version], one: _Work) -> tuple[str, ...]:
    own = there.get(one.documents.own.id)
    return own.findings if own else ()


def _is_newer(version: _Version) -> bool:
    return version.layout > LAYOUT


def _is_same(version: _Version, document: Document) -> bool:
    return (version.layout, version.sha256) == (LAYOUT, document.sha256)
