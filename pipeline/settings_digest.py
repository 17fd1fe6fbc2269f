"""The digest of settings that a snapshot names: what can change it, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.errors import UsageError
from pipeline.secrets import is_secret, without_login
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.desk.options import DeskOptions


def settings_digest(settings: Settings) -> str:
    """The sha256 of what can change a snapshot: never a secret, the store, the budget, or how the snapshot is shown.

    The budget is left out since a snapshot is only the same again where no deadline was hit.
    """
    from snapshots.model import canonical_json, sha256_hex

    plain = msgspec.to_builtins(settings)
    for key in ("profile", "store", "budget", "language", "publish", "notify", "tickets", "service"):
        plain.pop(key)
    # What the file holds counts, not where it lies.
    try:
        plain["weights"] = sha256_hex(Path(settings.weights).read_bytes()) if settings.weights else None
    except OSError as error:
        raise UsageError(f"{settings.weights}: the weights cannot be read: {error.strerror}") from error
    # Left out where there is none, so that digests of before there were catalogues still hold.
    if plain.pop("catalogue"):
        from pipeline.learning.catalogue import open_catalogue

        plain["catalogue"] = open_catalogue(str(settings.catalogue)).manifest.digest
    # What the desk says counts, not where its history lies. Without one the digest is what it was before there were desks.
    if (desk := plain.pop("desk")) is not None and settings.desk is not None:
        kept = desk.keys() - {"history", "index", "connection", "remote", *_KNOWLEDGE, *_ASKED_FOR}
        plain["desk"] = {key: desk[key] for key in kept}
        from pipeline.desk.severity_table import table_sha256

        plain["desk"]["grading"]["severity"] = table_sha256(settings.desk.grading.severity)
        # Whom the desk calls changes no snapshot.
        del plain["desk"]["grading"]["room"]
        if settings.desk.knowledge:
            plain["desk"] |= {key: desk[key] for key in _KNOWLEDGE} | {
                "knowledge": _knowledge_digest(settings.desk.knowledge)
            }
        plain["desk"] |= _asked_for(settings.desk)
    plain["sources"] = {name: _without_secrets(options) for name, options in plain["sources"].items()}
    return sha256_hex(canonical_json(plain))


# Settings of knowledge count only where there is a folder of it, by what its entries say.
_KNOWLEDGE = frozenset({"knowledge", "advice", "versions"})


def _knowledge_digest(folder: str) -> str | None:
    """The digest of the entries, None where there are none to read; the snapshot itself tells that."""
    from pipeline.desk.shelf import read_shelf

    try:
        return read_shelf(Path(folder)).digest
    except UsageError:
        return None


# Sections of the desk that are there where they are asked for. Left out of the digest otherwise, so that older ones hold.
_ASKED_FOR = frozenset({"questions", "portrait", "self_service"})


def _asked_for(desk: DeskOptions) -> dict[str, Any]:
    """What of those sections' settings changes a snapshot: what their files say, and how much is told."""
    from pipeline.desk.portrait_rules import rules_sha256
    from pipeline.desk.question_table import questions_sha256

    found: dict[str, Any] = {}
    if desk.questions:
        found["questions"] = {"file": questions_sha256(desk.questions.file), "most": desk.questions.most}
    if desk.portrait:
        found["portrait"] = {"file": rules_sha256(desk.portrait.file), "most": desk.portrait.most}
    if desk.self_service:
        found["self_service"] = {"sure": desk.self_service.sure}
    return found


# How a source is read, not what is read.
_HOW = frozenset({"timeout", "retries", "page_size", "compress", "esql"})


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items() if not is_secret(key) and key not in _HOW}
    if isinstance(value, list | tuple):
        return [_without_secrets(inner) for inner in value]
    return without_login(value) if isinstance(value, str) else value
