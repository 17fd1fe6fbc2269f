"""Logs and spans out of Elasticsearch 8 and 9, with the official client.

    options     how to reach a cluster, and what to read there
    calls       requests with a deadline
    causes      why a request failed, as the cluster and the client say it
    transport   how the client's connections are used, so that a request can be left behind
    targets     what index patterns stand for: fields, types, the date that bounds a window
    queries     the questions in the query language
    plan        which rows are read, in which order, of what the cluster counted
    explained   which lines a sample accounts for, so that the rest can be asked for
    points      a point in time, read page by page
    esql        the same pages through ES|QL, where the cluster has it and the settings ask for it
    tallies     rows by service and level
    intake      where readers hand in their pages
    tables      the table of an answer, in order and each document once
    reading     the answer to one question
    fields      what `doctor --fields` shows
    source      the class that the flow asks

Nothing is cut oldest-first: where more rows match than are wanted, those of the ticket come first, then those that tell of
a failure, then a random sample, and last what the sample does not account for. The ledger says how many of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.sources.elasticsearch.options import Access, Options

if TYPE_CHECKING:
    from pipeline.sources.elasticsearch.source import ElasticsearchSource

__all__ = ["Access", "ElasticsearchSource", "Options"]


def __getattr__(name: str) -> Any:
    """The class with all that it needs, a fifth of a second that the settings need not pay, which only want `Options`."""
    if name == "ElasticsearchSource":
        from pipeline.sources.elasticsearch.source import ElasticsearchSource

        return ElasticsearchSource
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
