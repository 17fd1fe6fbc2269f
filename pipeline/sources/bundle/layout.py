"""The names of a bundle's parts, and what a file is by its name."""

from __future__ import annotations

from pathlib import PurePosixPath

from pipeline.values import What

TICKET = "ticket.json"
MANIFEST = "manifest.json"
ORDERS = ("orders.csv", "orders.csv.gz")

DOCUMENTS = (".ndjson", ".jsonl", ".json")
PLAIN = (".log", ".txt", ".out", ".err")
TRACES = (".json", ".ndjson", ".jsonl")
FOLDERS: dict[What, str] = {"logs": "logs/", "spans": "traces/"}


def suffix_of(name: str) -> str:
    """What a file is by its name: the ending before `.gz`; also of a rotated `app.log.1`."""
    path = PurePosixPath(name.lower())
    endings = [ending for ending in path.suffixes if ending != ".gz" and not ending[1:].isdigit()]
    return endings[-1] if endings else ""


def is_junk(name: str) -> bool:
    """What file managers leave behind."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def is_part(name: str) -> bool:
    """Whether a name within a bundle is one that a bundle has."""
    return name in (TICKET, *ORDERS) or name.startswith(tuple(FOLDERS.values()))
