"""Sources and the store, opened as the settings say and closed at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.options import NAME
from pipeline.errors import SnapshotError, TicketNotFound, UsageError

if TYPE_CHECKING:
    from datetime import tzinfo

    from pipeline.settings import Settings
    from pipeline.values import Source
    from snapshots.store import Store


@contextlib.contextmanager
def open_sources(
    settings: Settings, bundle: Path | None, zone: tzinfo | None, uploads: Sequence[Source] = ()
) -> Iterator[list[Source]]:
    """The bundle, or all configured sources, and the customers' `uploads`, as the service's workers have them; closed at the end.

    Times without offset in a bundle are in the settings' zone, or else in `zone`, the ticket's.
    """
    from pipeline.sources import open_bundle, open_source

    sources: list[Source] = []
    try:
        if bundle is not None:
            sources.append(open_bundle(bundle, zone=settings.zone or zone))
        elif settings.sources or uploads:
            sources.extend(open_source(name, options) for name, options in settings.sources.items())
        else:
            message = (
                f"no source is configured (profile {settings.profile}): give the incident's records with --bundle DIR,\n"
                f"or write a configuration with `{NAME} init` and fill in its sources"
            )
            raise UsageError(message)
        yield [*sources, *uploads]
    finally:
        for source in (*sources, *uploads):
            # What is being given up cannot fail in a way that anybody could act on.
            with contextlib.suppress(Exception):
                source.close()


@contextlib.contextmanager
def opened_store(settings: Settings) -> Iterator[Store]:
    """The store of the settings. Its errors are translated here, since `snapshots` knows nothing of exit codes."""
    from snapshots.store import AmbiguousPrefix, SnapshotNotFound, Store, StoreError, StoreUnusable

    try:
        yield Store(settings.store)
    except SnapshotNotFound as error:
        raise TicketNotFound(str(error)) from error
    except (AmbiguousPrefix, StoreUnusable) as error:
        raise UsageError(str(error)) from error
    except StoreError as error:
        raise SnapshotError(str(error)) from error
