"""Snapshots into an Elasticsearch index, where Kibana's users find them: one document a snapshot, one a finding.

    read what is there -> write the findings that differ, take stale ones away -> write the snapshot's own document

The own document is written last, so where it is, all its findings are. Each write holds only as long as the document is
still as it was read, so two that publish at once end with one and the same; what is equal already is not written again.
"""

from __future__ import annotations

import base64
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from pipeline.errors import NotPublished, Refused, SnapshotError, SourceError, TargetUnreachable, UsageError
from pipeline.publish_documents import (
    LAYOUT,
    MANAGED_BY,
    Document,
    Documents,
    documents_of,
    mappings,
    template,
)
from pipeline.sources.elasticsearch import Access
from pipeline.sources.elasticsearch import Options as ElasticsearchOptions

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from snapshots.model import ProblemSnapshot

Outcome = Literal["created", "updated", "unchanged", "failed"]

DEFAULT_INDEX = "problem-snapshots"
# So many snapshots are read and written together, at most, and about so many bytes.
_BATCH = 50
_BATCH_BYTES = 8 << 20
# A document that others keep changing is tried so often.
_ROUNDS = 6
_PASSING = frozenset({429, 502, 503, 504})
# No document has this number, so a write that asks for it is refused after everything else was found well.
_NEVER = 2**53 - 1

# What a target has in common with a source, whose name may stand for it.
CONNECTION = ("url", *Access.__struct_fields__)


class PublishOptions(Access, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where snapshots are published. Secrets arrive resolved and are never shown.

    Either `source` names a configured Elasticsearch source whose connection is used, or `url` and its login say where.
    `index` is an index, or an alias with one index to write to. `template` says whether the index template is kept up to
    date, which needs the right to. `timeout` is one request's, in seconds.
    """

    source: str | None = None
    url: str | tuple[str, ...] | None = None
    index: str = DEFAULT_INDEX
    template: bool = True

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        if self.source and self.url:
            raise ValueError("give source, the name of a configured source, or url, not both")
        if not self.source and not self.url:
            raise ValueError('say where: url = "https://host:9200", or source = "NAME" of a configured source')
        # https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create tells these rules.
        if not re.fullmatch(r'[^-_+.\s"*\\<|,>/?#:A-Z][^\s"*\\<|,>/?#:A-Z]*', self.index) or len(self.index) > 200:
            raise ValueError(
                f"index {self.index!r} is no name of one index: lower case, no spaces, wildcards or commas, and no - _ + . before it"
            )
        if self.url:
            self.connection()

    def __repr__(self) -> str:
        """Says where, never with which credentials."""
        where = self.connection().places if self.url else f"source {self.source!r}"
        return f"PublishOptions({where}, index={self.index!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `__repr__`: what rich prints in place of it shall tell no more."""
        return [("index", self.index)]

    def connection(self) -> ElasticsearchOptions:
        """How to reach the cluster. Raises `ValueError` where the keys do not fit together."""
        given = {key: getattr(self, key) for key in CONNECTION}
        return ElasticsearchOptions(logs=(self.index,), **given)


def with_source(options: PublishOptions, source: ElasticsearchOptions) -> PublishOptions:
    """`options` with the connection of the source that they name."""
    given = {key: getattr(source, key) for key in CONNECTION if key not in {"timeout", "retries"}}
    return msgspec.structs.replace(options, source=None, **given)


@dataclass(frozen=True)
class Done:
    """What became of one snapshot. `problem` is a sentence for a person where the outcome is `failed`."""

    snapshot_id: str
    ticket_id: str
    outcome: Outcome
    problem: str = ""


@dataclass(frozen=True)
class Published:
    """What became of the snapshots, in their order, and of their documents: counts of each."""

    place: str
    snapshots: tuple[Done, ...] = ()
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0
    notes: tuple[str, ...] = ()

    @property
    def failed_snapshots(self) -> int:
        """How many snapshots are not there as they should be."""
        return sum(one.outcome == "failed" for one in self.snapshots)

    def __str__(self) -> str:
        """The counts on one line."""
        names = ("created", "updated", "unchanged", "removed", "failed")
        counts = [f"{count:,} {name}" for name in names if (count := getattr(self, name))]
        return f"{self.place}: {', '.join(counts) or 'nothing to do'} (documents)"


def publish(snapshots: Iterable[ProblemSnapshot], options: PublishOptions) -> Published:
    """Writes the documents of `snapshots` to the index; those that are there as they should be are left alone.

    A document that another version of the program wrote with an older layout is replaced, one of a newer layout is left.
    What fails for one snapshot alone is told in its `Done`. Raises `Refused`, `TargetUnreachable`, `UsageError` where the
    name stands for something that such documents cannot be written to, or `NotPublished` where nothing can be.
    """
    with _Target(options) as target:
        target.prepare()
        done: list[Done] = []
        for some in _batches(map(documents_of, snapshots)):
            done += target.write(some)
        count = target.counts
        return Published(
            target.place,
            tuple(done),
            **{name: count[name] for name in ("created", "updated", "unchanged", "removed", "failed")},
            notes=tuple(dict.fromkeys(target.notes)),
        )


def as_ndjson(snapshots: Iterable[ProblemSnapshot], options: PublishOptions | None) -> Iterator[str]:
    """The documents that `publish` would send, one a line with `_index` and `_id`; a text a snapshot."""
    index = options.index if options else DEFAULT_INDEX
    for snapshot in snapshots:
        lines = [{"_index": index, "_id": one.id, "_source": one.source} for one in documents_of(snapshot)]
        yield "\n".join(msgspec.json.encode(line).decode() for line in lines)


def probe(options: PublishOptions) -> list[str]:
    """What is there, and whether we may write: nothing is written, made or changed. Raises as `publish` does."""
    with _Target(options) as target:
        return [f"{target.place}, layout {LAYOUT}", *target.look()]


def _batches(all_documents: Iterable[Documents]) -> Iterator[list[Documents]]:
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
        return Done(self.documents.snapshot_id, self.documents.ticket_id, self.outcome, self.problem)

    def fail(self, problem: str) -> None:
        self.outcome, self.problem, self.open = "failed", problem, False


class _Target:
    """The index, or the alias, and the client that reaches it."""

    def __init__(self, options: PublishOptions) -> None:
        self.options = options
        self.connection = options.connection()
        # Imported here: the settings, which only want the options, need not pay for it.
        from pipeline.sources.elasticsearch import ElasticsearchSource

        self.source = ElasticsearchSource("publish", self.connection)
        self.index = options.index
        # Where new documents go, and every index that may hold older ones.
        self.indices: tuple[str, ...] = (options.index,)
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    @property
    def place(self) -> str:
        """The index and the cluster, for people."""
        return f"{self.index} at {self.connection.places}"

    # ---- before anything is written

    def prepare(self) -> None:
        """Brings template and index up to date. What we have no right to is left as it is and told."""
        templated = not self.options.template or self._bring_template()
        found = self._indices_found()
        if found is None:
            self._create(None if templated else mappings())
            found = self._indices_found()
        if found:
            self._choose(found)
            self._bring_mappings(found[self.indices[0]].get("mappings") or {})

    def look(self) -> list[str]:
        """What `prepare` would find."""
        lines = [self._template_state()] if self.options.template else ["the index template is left alone"]
        found = self._indices_found()
        if found is None:
            return [*lines, f"no index {self.index} yet; the first publish makes it"]
        if found:
            self._choose(found)
        write = self.indices[0]
        tried = {"id": "doctor", "if_seq_no": _NEVER, "if_primary_term": 1}
        for right, request in (
            ("write", lambda client: client.index(index=write, document={}, **tried)),
            ("delete", lambda client: client.delete(index=write, **tried)),
        ):
            self._ask(request, f"to {right} documents", accept={409})
        count = self._ask(lambda client: client.count(index=self.index), "to read", accept={403})
        many = f"{count['count']:,} documents" if count else "not readable by this account"
        return [*lines, f"{write}: may be written, {many}"]

    def _template_state(self) -> str:
        there = self._template()
        if there is None:
            return f"index template {self.index}: not there yet; the first publish writes version {LAYOUT}"
        if there.get("refused"):
            return f"index template {self.index}: this account may not see it"
        if not _is_ours(there.get("_meta")):
            return f"index template {self.index}: not of {DEFAULT_INDEX}'s making, left as it is"
        version = there.get("version", 0)
        next_ = "" if version >= LAYOUT else f"; the next publish writes version {LAYOUT}"
        return f"index template {self.index}: version {version}{next_}"

    def _template(self) -> dict[str, Any] | None:
        """The index template of our name, None where there is none, `{"refused": True}` where we may not look."""
        answer = self._ask(
            lambda client: client.indices.get_index_template(name=self.index), "to see templates", accept={403, 404}
        )
        if answer is None:
            return {"refused": True} if self._status == 403 else None
        found = [one["index_template"] for one in answer["index_templates"] if one["name"] == self.index]
        return found[0] if found else None

    def _bring_template(self) -> bool:
        """Writes the template where it is missing or older. Says whether one of ours is there."""
        there = self._template()
        if there is not None and not there.get("refused"):
            if not _is_ours(there.get("_meta")):
                self.notes.append(
                    f"the index template {self.index} is somebody else's and was left as it is; "
                    "give that one another name, or set template = false"
                )
                return False
            if there.get("version", 0) >= LAYOUT:
                return True
        body = template(self.index)
        written = self._ask(
            lambda client: client.indices.put_index_template(name=self.index, **_python_names(body)),
            "to write the index template",
            accept={403},
        )
        if written is None:
            self.notes.append(
                f"this account may not write the index template {self.index} (it needs `manage_index_templates`); "
                "have it written once by another, or set template = false"
            )
        return written is not None

    def _indices_found(self) -> dict[str, Any] | None:
        """The indices behind the name, None where there is none, and nothing where we may not look."""
        answer = self._ask(lambda client: client.indices.get(index=self.index), "to see the index", accept={403, 404})
        if answer is None:
            return {} if self._status == 403 else None
        return dict(answer)

    def _choose(self, found: dict[str, Any]) -> None:
        """Which index new documents go to. Raises `UsageError` where the name is no such thing."""
        streams = {facts["data_stream"] for facts in found.values() if "data_stream" in facts}
        if streams:
            raise self._is_stream()
        if self.index in found:
            return
        aliases = {name: facts.get("aliases", {}).get(self.index, {}) for name, facts in found.items()}
        writable = [name for name, facts in aliases.items() if facts.get("is_write_index")]
        if not writable and len(found) == 1:
            # An alias of a single index is written through, unless that was turned off.
            writable = [name for name, facts in aliases.items() if facts.get("is_write_index") is not False]
        if not writable:
            raise self._no_write_index(sorted(found))
        self.indices = (writable[0], *sorted(found.keys() - {writable[0]}))

    def _is_stream(self) -> UsageError:
        return UsageError(
            f"publish.index: {self.index} is a data stream, or a template makes it one; it refuses documents with an id of "
            "their own and changes to them, so a snapshot would be there twice. Name an index, such as "
            f"{DEFAULT_INDEX}, that no data stream's template matches"
        )

    def _no_write_index(self, found: Sequence[str]) -> UsageError:
        named = f" of {', '.join(found[:3])}{' and more' if len(found) > 3 else ''}" if found else ""
        return UsageError(
            f"publish.index: {self.index} is an alias{named} without an index to write to; "
            "set is_write_index for one of them, or name the index itself"
        )

    def _create(self, fields: dict[str, Any] | None) -> None:
        # Another may have made it a moment ago (400, resource_already_exists_exception). Without the right to make it we
        # go on: writing may make it.
        self._ask(
            lambda client: client.indices.create(index=self.index, mappings=fields), "to make the index", accept={403}
        )

    def _bring_mappings(self, there: dict[str, Any]) -> None:
        """Adds the fields of our layout to an index made before it, or without our template."""
        meta = there.get("_meta") or {}
        if _is_ours(meta) and meta.get("layout", 0) >= LAYOUT:
            return
        write = self.indices[0]
        try:
            added = self._ask(
                lambda client: client.indices.put_mapping(index=write, **_python_names(mappings())),
                "to add fields",
                accept={403},
            )
        except NotPublished as error:
            if isinstance(error, TargetUnreachable) or self._status != 400:
                raise
            message = f"{error}; its fields are of other types: publish to another index, or delete this one"
            raise NotPublished(message) from error
        if added is None:
            self.notes.append(f"this account may not add fields to {write}; some cannot be searched until it may")

    # ---- writing

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
                one.fail(self._reason(operation["_id"], status, answer.get("error")))

    def _read(self, ids: Sequence[str]) -> dict[str, _Version]:
        """Those of `ids` that are there, in whichever index of the alias; the one that is written to goes first."""
        found: dict[str, _Version] = {}
        for index in self.indices:
            for start in range(0, len(ids), 1_000):
                some = [name for name in ids[start : start + 1_000] if name not in found]
                if not some:
                    continue
                answer = self._ask(
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
                max_retries=self.options.retries,
                initial_backoff=0.2,
                max_backoff=2,
            )
            return [next(iter(item.values())) for _, item in answers]

        return self._ask(request, "to write", accept=()) or []

    # ---- asking, and what goes wrong

    _status = 0

    def _ask(self, request: Callable[[Elasticsearch], Any], what: str, accept: Iterable[int] = ()) -> Any:
        """What `request` is answered with, or None where it is answered by a status of `accept`.

        It is tried again after 429, 502, 503, 504, a lost connection or a timeout: all that is asked may be asked twice.
        Foreign errors leave as ours. `what` completes "the account lacks the right".
        """
        import elastic_transport
        import tenacity
        from elasticsearch import ApiError

        options = self.options
        began = time.monotonic()

        def is_passing(error: BaseException) -> bool:
            if isinstance(error, ApiError):
                return error.status_code in _PASSING
            lost = isinstance(error, elastic_transport.ConnectionError | elastic_transport.ConnectionTimeout)
            return lost and not isinstance(error, elastic_transport.TlsError)

        def is_too_late(state: tenacity.RetryCallState) -> bool:
            late = time.monotonic() + state.upcoming_sleep >= began + 2 * options.timeout
            return state.attempt_number > options.retries or late

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_passing),
            wait=tenacity.wait_exponential(multiplier=0.2, max=5.0) + tenacity.wait_random(0.0, 0.2),
            stop=is_too_late,
            reraise=True,
        )
        self._status = 0
        try:
            client = self.source.client().options(request_timeout=options.timeout)
            answer = retrying(request, client)
        except SourceError as error:
            raise NotPublished(f"publish: {self._clean(str(error))}") from None
        except ApiError as error:
            self._status = error.status_code
            kinds, reason = _root_cause(error.body)
            if error.status_code in accept and "cluster_block_exception" not in kinds:
                return None
            if "resource_already_exists_exception" in kinds:
                return {}
            raise self._from_status(error, kinds, self._clean(reason), what) from None
        except elastic_transport.TransportError as error:
            raise self._from_transport(error) from None
        body = answer.body if isinstance(answer, elastic_transport.ApiResponse) else answer
        if not isinstance(body, dict | list):
            raise NotPublished(f"{self.place} answered no JSON; check the address, and any proxy before it")
        return body

    def _from_transport(self, error: Any) -> SnapshotError:
        import elastic_transport

        reason = self._clean(str(error.message))
        if isinstance(error, elastic_transport.ConnectionTimeout):
            return TargetUnreachable(f"{self.place} did not answer within {self.options.timeout:g} s; try again later")
        if isinstance(error, elastic_transport.TlsError):
            advice = "check publish.ca_certs, the fingerprint and the client certificate"
            return TargetUnreachable(f"{self.place}: TLS failed: {reason}; {advice}")
        if isinstance(error, elastic_transport.ConnectionError):
            return TargetUnreachable(f"{self.place} cannot be reached: {reason}; check the address and that it runs")
        return NotPublished(f"{self.place} answered something that is not JSON; is it Elasticsearch?")

    def _from_status(self, error: Any, kinds: set[str], reason: str, what: str) -> SnapshotError:
        from elasticsearch import UnsupportedProductError

        if isinstance(error, UnsupportedProductError):
            return NotPublished(
                f"{self.place} is not Elasticsearch: its answers lack the product header; check the address"
            )
        if error.status_code == 401:
            return Refused(f"{self.place} refused the login (401); check publish.api_key, or username and password")
        return self._error(error.status_code, kinds, reason, what)

    def _error(self, status: int, kinds: set[str], reason: str, what: str) -> SnapshotError:
        """Our error for a status, be it a request's or one document's."""
        if "creates data streams only" in reason or "allowed in data streams" in reason:
            return self._is_stream()
        if "no write index is defined" in reason:
            return self._no_write_index(())
        if "cluster_block_exception" in kinds:
            return NotPublished(
                f"{self.place} is closed for writing: {reason} Lift the block (index.blocks.*), or free disk space"
            )
        if status == 403:
            return Refused(
                f"{self.place}: this account lacks the right {what} (403): {reason}; "
                "give it `read`, `index`, `delete` and `view_index_metadata` on the index"
            )
        if status in _PASSING:
            return TargetUnreachable(f"{self.place} is overloaded or restarting ({status}): {reason}; try again later")
        return NotPublished(f"{self.place} answered {status}: {reason}")

    def _reason(self, name: str, status: int, error: Any) -> str:
        """Why a document was not taken. Raises where no other would be either."""
        kinds, reason = _root_cause({"error": error})
        told = self._error(status, kinds, self._clean(reason), "to write documents")
        if isinstance(told, Refused | UsageError):
            raise told
        return f"{name}: {told}"

    def _clean(self, text: str) -> str:
        """`text` without any of our secrets, also as a login is sent."""
        connection = self.connection
        if connection.username and connection.password:
            sent = base64.b64encode(f"{connection.username}:{connection.password}".encode()).decode()
            text = text.replace(sent, "***")
        return self.source.clean(text)


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


def _is_ours(meta: Any) -> bool:
    return isinstance(meta, dict) and meta.get("managed_by") == MANAGED_BY


def _python_names(body: dict[str, Any]) -> dict[str, Any]:
    """The body's keys as the client spells them: `_meta` is `meta`."""
    return {key.removeprefix("_"): value for key, value in body.items()}


def _root_cause(body: Any) -> tuple[set[str], str]:
    """The error types in an Elasticsearch error, and one reason for people."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return set(), (str(error) if error else "no reason given")[:300]
    causes = [error]
    while isinstance(causes[-1].get("caused_by"), dict):
        causes.append(causes[-1]["caused_by"])
    reasons = [str(cause["reason"]) for cause in causes if cause.get("reason")]
    causes += [cause for cause in error.get("root_cause", ()) if isinstance(cause, dict)]
    # The outer reason names the document or the field, the inner one what is wrong with it.
    shown = ": ".join(dict.fromkeys([*reasons[:1], *reasons[-1:]]))
    return {str(cause.get("type")) for cause in causes}, (shown or "no reason given")[:400]
