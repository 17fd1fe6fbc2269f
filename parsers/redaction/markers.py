"""What stands in the place of what was taken out."""

from __future__ import annotations


def marker_of(kind: str) -> str:
    """The marker of a kind that keeps nothing of its value."""
    return f"[{kind.replace('_', '-')}]"


def kind_of(marker: str) -> str:
    """The kind that a marker names: "id_number" of "[id-number]"."""
    return marker.partition("[")[2].partition("]")[0].partition(":")[0].replace("-", "_")
