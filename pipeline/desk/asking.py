"""A request for a customer's logs: what the settings let the desk ask for, as a signed manifest with its link."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.errors import UsageError
from pipeline.redact import known_names, redactor_for
from pipeline.remote.manifest import Manifest, is_safe_address, key_name, sign, stamp
from pipeline.remote.words import consent_text, letter
from pipeline.scope import read_scope
from pipeline.service.links import UPLOAD, signer
from pipeline.values import Span, Ticket
from snapshots.words import language_for

if TYPE_CHECKING:
    from pipeline.desk.collections import Collections
    from pipeline.desk.remote_options import RemoteOptions
    from pipeline.settings import Settings
    from snapshots.model import Text

# A ticket names a few orders; more than these are a list that somebody pasted.
_KEPT = 200


@dataclass(frozen=True)
class Asked:
    """A manifest that is on its way: the signed file, the link that the customer opens, and what is sent to him."""

    manifest: Manifest
    signed: bytes
    link: str
    key: str
    letter: Text


def remote_of(settings: Settings) -> RemoteOptions:
    """The settings of remote collection. Raises `UsageError` where there are none."""
    found = settings.desk.remote if settings.desk else None
    if found is None:
        raise UsageError(
            f"nothing may be asked of customers (profile {settings.profile}): add a table [defaults.desk.remote] with folders; "
            "`problem-snapshot init` shows one"
        )
    return found


def ask_customer(
    ticket: Ticket,
    system: str,
    paths: Sequence[str],
    settings: Settings,
    collections: Collections,
    *,
    around: Span | None = None,
    screen: str | None = None,
    holds: float | None = None,
) -> Asked:
    """Makes the manifest and writes it down.

    `around` is the time that is asked for; without it that of the ticket's own words, with the time before it. `screen` is a
    link in place of the configured one, `holds` the seconds for which the upload's link is good. Raises `UsageError`.
    """
    options, service = remote_of(settings), settings.service
    signing = signer(service, UPLOAD)
    if not service.public_url or signing is None or service.secret is None:
        raise UsageError("service.public_url and service.secret are needed: customers send to the one, the other signs")
    if not is_safe_address(service.public_url):
        raise UsageError(f"service.public_url {service.public_url!r}: customers' logs are only sent by https")
    scope = read_scope(ticket, settings, around)
    span = around or Span(min(scope.baseline.start, scope.window.start), scope.window.end)
    if not paths:
        raise UsageError(f"name what is asked for with --paths, below one of {', '.join(options.folders)}")
    try:
        wanted = tuple(dict.fromkeys(options.check_path(path) for path in paths))
        shared = options.check_screen(screen) if screen else options.screen
    except ValueError as error:
        raise UsageError(str(error)) from error
    now = datetime.fromtimestamp(collections.clock(), UTC).replace(microsecond=0)
    expires = now + timedelta(seconds=min(holds or options.link_holds, options.link_holds))
    collection = f"c{uuid.uuid4().hex[:16]}"
    base = service.public_url.rstrip("/")
    token = str(signing.dumps([collection, expires.timestamp()]))
    names, _ = known_names(settings, scope, ticket)
    language = language_for(ticket.language)
    manifest = Manifest(
        id=collection,
        desk=options.name,
        system=system,
        ticket=ticket.id,
        title=redactor_for(settings, scope, ticket).redact(ticket.title)[:300],
        language=language,
        created_at=ticket.created_at.isoformat(),
        paths=wanted,
        start=stamp(span.start),
        end=stamp(span.end + timedelta(microseconds=999_999)),
        max_bytes=options.max_bytes,
        max_files=options.max_files,
        redact_ip=settings.redaction.ip_addresses,
        redact=dict(settings.redaction.patterns),
        keep=names[:_KEPT],
        upload=f"{base}/uploads/{collection}",
        key=token,
        screen=shared or "",
        issued_at=stamp(now),
        expires_at=stamp(expires),
        consent=consent_text(
            options.name, system, ticket.id, urlsplit(base).netloc, max(1, math.ceil(options.keep / 86400))
        ),
    )
    signed = sign(manifest, service.secret)
    collections.issue(manifest, signed, expires.timestamp())
    link, key = f"{base}/collect?key={token}", key_name(service.secret)
    return Asked(manifest, signed, link, key, letter(manifest, link, key, options.install))
