"""The index, or the alias, and its template: looked at, and brought up to date."""

from __future__ import annotations

from typing import Any

from pipeline.errors import NotPublished, TargetUnreachable
from pipeline.publish.cluster import Cluster
from pipeline.publish.documents import LAYOUT, MANAGED_BY, mappings, template
from pipeline.publish.options import DEFAULT_INDEX

# No document has this number, so a write that asks for it is refused after everything else was found well.
_NEVER = 2**53 - 1


class Target:
    """The index, or the alias, with its template: brought up to date, and only as far as we have the right to."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.index = cluster.index
        # Where new documents go, and every index that may hold older ones.
        self.indices: tuple[str, ...] = (cluster.index,)
        self.notes: list[str] = []

    def prepare(self) -> None:
        """Brings template and index up to date. What we have no right to is left as it is and told."""
        templated = not self.cluster.options.template or self._bring_template()
        found = self._indices_found()
        if found is None:
            self._create(None if templated else mappings())
            found = self._indices_found()
        if found:
            self._choose(found)
            self._bring_mappings(found[self.indices[0]].get("mappings") or {})

    def look(self) -> list[str]:
        """What `prepare` would find."""
        lines = [self._template_state()] if self.cluster.options.template else ["the index template is left alone"]
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
            self.cluster.ask(request, f"to {right} documents", accept={409})
        count = self.cluster.ask(lambda client: client.count(index=self.index), "to read", accept={403})
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
        answer = self.cluster.ask(
            lambda client: client.indices.get_index_template(name=self.index), "to see templates", accept={403, 404}
        )
        if answer is None:
            return {"refused": True} if self.cluster.status == 403 else None
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
        written = self.cluster.ask(
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
        answer = self.cluster.ask(
            lambda client: client.indices.get(index=self.index), "to see the index", accept={403, 404}
        )
        if answer is None:
            return {} if self.cluster.status == 403 else None
        return dict(answer)

    def _choose(self, found: dict[str, Any]) -> None:
        """Which index new documents go to. Raises `UsageError` where the name is no such thing."""
        streams = {facts["data_stream"] for facts in found.values() if "data_stream" in facts}
        if streams:
            raise self.cluster.is_stream()
        if self.index in found:
            return
        aliases = {name: facts.get("aliases", {}).get(self.index, {}) for name, facts in found.items()}
        writable = [name for name, facts in aliases.items() if facts.get("is_write_index")]
        if not writable and len(found) == 1:
            # An alias of a single index is written through, unless that was turned off.
            writable = [name for name, facts in aliases.items() if facts.get("is_write_index") is not False]
        if not writable:
            raise self.cluster.no_write_index(sorted(found))
        self.indices = (writable[0], *sorted(found.keys() - {writable[0]}))

    def _create(self, fields: dict[str, Any] | None) -> None:
        # Another may have made it a moment ago (400, resource_already_exists_exception). Without the right to make it we
        # go on: writing may make it.
        self.cluster.ask(
            lambda client: client.indices.create(index=self.index, mappings=fields), "to make the index", accept={403}
        )

    def _bring_mappings(self, there: dict[str, Any]) -> None:
        """Adds the fields of our layout to an index made before it, or without our template."""
        meta = there.get("_meta") or {}
        if _is_ours(meta) and meta.get("layout", 0) >= LAYOUT:
            return
        write = self.indices[0]
        try:
            added = self.cluster.ask(
                lambda client: client.indices.put_mapping(index=write, **_python_names(mappings())),
                "to add fields",
                accept={403},
            )
        except NotPublished as error:
            if isinstance(error, TargetUnreachable) or self.cluster.status != 400:
                raise
            message = f"{error}; its fields are of other types: publish to another index, or delete this one"
            raise NotPublished(message) from error
        if added is None:
            self.notes.append(f"this account may not add fields to {write}; some cannot be searched until it may")


def _is_ours(meta: Any) -> bool:
    return isinstance(meta, dict) and meta.get("managed_by") == MANAGED_BY


def _python_names(body: dict[str, Any]) -> dict[str, Any]:
    """The body's keys as the client spells them: `_meta` is `meta`."""
    return {key.removeprefix("_"): value for key, value in body.items()}
