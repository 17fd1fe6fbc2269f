"""Links that open a snapshot's page, or answer a call to a room, without an account: signed, and good for a while."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import msgspec
from fastapi import Response

from snapshots.render.blocks import Links
from snapshots.store import SnapshotNotFound, StoreError
from snapshots.words import language_for

if TYPE_CHECKING:
    from itsdangerous import URLSafeTimedSerializer

    from pipeline.desk.room import Rooms
    from pipeline.service.options import ServiceOptions
    from snapshots.store import Store

# Neither a search engine nor the next page's server has any business with a snapshot; it needs no script of anybody's.
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'",
}
# For a page with a form that comes back to where it was opened.
FORM_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": HEADERS["Content-Security-Policy"].replace("form-action 'none'", "form-action 'self'"),
}
_BUTTON = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Acknowledge / 确认</title>
<style>body{font:1.1rem/1.5 sans-serif;margin:3rem auto;max-width:30rem;padding:0 1rem}button{font:inherit;padding:.7rem 1.5rem}</style>
<main><h1>Emergency room <span lang="zh">应急处置</span></h1>
<p>You are called. With this button you say that you are on it. <span lang="zh">您被呼叫，点击按钮表示已接手。</span></p>
<form method="post"><button type="submit">Acknowledge <span lang="zh">确认</span></button></form></main></html>
"""
# Nobody signs one thing by the key of another.
_PAGE, _ANSWER, UPLOAD = "snapshot-page", "room-answer", "upload"
# A call is answered within minutes; a day is for who comes late, in seconds.
_ANSWERS_HOLD = 86400


class Pages:
    """Makes the links of notes, and answers them."""

    def __init__(self, options: ServiceOptions, store: Store) -> None:
        self._options = options
        self._store = store

    def links(self, snapshot_id: str) -> Links:
        """The links to a snapshot; none where no public address or no secret is configured."""
        return Links(page=signed_link(self._options, _PAGE, f"snapshots/{snapshot_id}", snapshot_id))

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
        language = language_for(snapshot.ticket.language)
        return Response(
            RENDERERS["html"](snapshot, language=language), headers=HEADERS, media_type="text/html; charset=utf-8"
        )

    def _may_see(self, snapshot_id: str, key: str | None, authorization: str | None) -> bool:
        import itsdangerous

        token = self._options.token
        if token and holds_token(token, authorization):
            return True
        signing = signer(self._options, _PAGE)
        if signing is None or not key:
            return False
        try:
            signed = signing.loads(key, max_age=int(self._options.links_hold))
        except itsdangerous.BadData:
            return False
        return bool(signed == snapshot_id)


class Answers:
    """The links by which people answer a call to an emergency room, and the pages behind them.

    A link shows a button, and only the button answers: chats open the links that they are sent.
    """

    def __init__(self, options: ServiceOptions, rooms: Rooms | None) -> None:
        self._options = options
        self._rooms = rooms

    def link(self, call: str) -> str:
        """The link that answers `call`, room, role and person as JSON; nothing where no address or secret is configured."""
        return signed_link(self._options, _ANSWER, "rooms/answer", call)

    def page(self, key: str, *, answer: bool) -> Response:
        """The page of a link; with `answer` the button was pressed."""
        call = self._call(key)
        if call is None or self._rooms is None:
            return _told(401, "This link is not, or no longer, valid. 此链接无效或已过期。")
        room, role, person = call
        if not answer:
            return Response(_BUTTON, headers=FORM_HEADERS, media_type="text/html; charset=utf-8")
        if not self._rooms.acknowledge(room, role, person):
            return _told(404, "There is no such room any more. 该应急处置已不存在。")
        return _told(200, "Acknowledged. Thank you. 已确认，谢谢。")

    def _call(self, key: str) -> tuple[int, str, str] | None:
        import itsdangerous

        signing = signer(self._options, _ANSWER)
        if signing is None:
            return None
        try:
            return msgspec.json.decode(signing.loads(key, max_age=_ANSWERS_HOLD), type=tuple[int, str, str])
        except (itsdangerous.BadData, msgspec.DecodeError, TypeError):
            return None


def holds_token(token: str, authorization: str | None) -> bool:
    """Whether a request's `Authorization` gives the token, as a bearer."""
    given = (authorization or "").removeprefix("Bearer ").strip()
    return hmac.compare_digest(given.encode(), token.encode())


def signer(options: ServiceOptions, salt: str) -> URLSafeTimedSerializer | None:
    """What signs links for the purpose that `salt` names; None where no secret is configured."""
    import itsdangerous

    return itsdangerous.URLSafeTimedSerializer(options.secret, salt=salt) if options.secret else None


def signed_link(options: ServiceOptions, salt: str, path: str, what: object) -> str:
    """An address of the service with a key that signs `what`; nothing where no public address or no secret is configured."""
    signing = signer(options, salt)
    if not options.public_url or signing is None:
        return ""
    return f"{options.public_url.rstrip('/')}/{path}?key={signing.dumps(what)}"


def _told(status: int, sentence: str) -> Response:
    return Response(sentence + "\n", status, headers=HEADERS, media_type="text/plain; charset=utf-8")
