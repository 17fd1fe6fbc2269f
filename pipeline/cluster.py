"""Cluster: the log lines become templates, each line knowing its own."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from parsers.templates import LogTemplate, mine


@dataclass(frozen=True)
class Clusters:
    """`template_ids` holds one id per row of the logs table, in its order.

    `approximate` counts the rows whose rare words were folded, since there were too many distinct lines to compare all.
    """

    template_ids: pa.DictionaryArray
    templates: tuple[LogTemplate, ...]
    approximate: int = 0


def cluster(logs: pa.Table) -> Clusters:
    """Mine the `body` column of `logs`; the templates' counts add up to its rows."""
    mined = mine(logs.column("body"))
    return Clusters(mined.template_ids, mined.templates, mined.approximate)
