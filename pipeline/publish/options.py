"""Where snapshots are published."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pipeline.sources.elasticsearch import Access
from pipeline.sources.elasticsearch import Options as ElasticsearchOptions

DEFAULT_INDEX = "problem-snapshots"

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
