"""Links that open a snapshot's page without an account: signed, and good for a while."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from fastapi import Response

from snapshots.render.blocks import Links
from snapshots.store import SnapshotNotFound, StoreError

if TYPE_CHECKING:
    from itsdangerous import URLSafeTimedSerializer

    from pipeline.service.options import ServiceOptions
    from snapshots.store import Store
    from snapshots.words import Language

# Neither a search engine nor the next page's server has any business with a snapshot; it needs no script of anybody's.
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'",
}


class Pages:
    """Makes the links of notes, and answers them."""

    def __init__(self, options: ServiceOptions, store: Store) -> None:
        self._options = options
        self._store = store

    def links(self, snapshot_id: str) -> Links:
        """The links to a snapshot; none where no public address or no secret is configured."""
        signer = self._signer()
        if not self._options.public_url or signer is None:
            return Links()
        base = f"{self._options.public_url.rstrip('/')}/snapshots/{snapshot_id}?key={signer.dumps(snapshot_id)}"
        return Links(page=base)

    def page(self, snapshot_id: str, key: str | None, authorization: str | None) -> Response:
        """A snapshot's page, to whom a link or the token lets see it."""
        if not self._may_see(snapshot_id, key, authorization):
            return _told(401, "This link is not, or no longer, valid. Open the snapshot with: problem-snapshot show")
        from snapshots.render import RENDERERS

        try:
            snapshot = self._store.get(snapshot_id)
        except SnapshotNotFound:
            return _told(404, "There is no such snapshot here any more.")
        except StoreError:
            return _told(503, "The snapshot cannot be read now.")
        language: Language = "zh" if snapshot.ticket.language == "zh" else "en"
        return Response(
            RENDERERS["html"](snapshot, language=language), headers=_HEADERS, media_type="text/html; charset=utf-8"
        )

    def _may_see(self, snapshot_id: str, key: str | None, authorization: str | None) -> bool:
        import itsdangerous

        token = self._options.token
        if token and authorization:
            given = authorization.removeprefix("Bearer ").strip()
            if hmac.compare_digest(given.encode(), token.encode()):
                return True
        signer = self._signer()
        if signer is None or not key:
            return False
        try:
            signed = signer.loads(key, max_age=int(self._options.links_hold))
        except itsdangerous.BadData:
            return False
        return bool(signed == snapshot_id)

    def _signer(self) -> URLSafeTimedSerializer | None:
        import itsdangerous

        if not self._options.secret:
            return None
        return itsdangerous.URLSafeTimedSerializer(self._options.secret, salt="snapshot-page")


def _told(status: int, sentence: str) -> Response:
    return Response(sentence + "\n", status, headers=_HEADERS, media_type="text/plain; charset=utf-8")
