"""A bundle's way to the desk: in one stream that is taken up where it broke off, by the tus protocol.

The core of tus 1.0.0 (https://tus.io/protocols/resumable-upload): PATCH sends from an offset on, and the length goes with the first
(`Upload-Length`). Where the desk is, it tells as JSON to GET, with the words that tus's HEAD has no place for. The sha256 of the whole goes
along as `Repr-Digest` (RFC 9530), by which both sides know that they speak of the same file.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx
import msgspec

from pipeline.errors import DeskUnreachable, NotUploaded, Refused, UsageError
from pipeline.remote.manifest import MAX_BYTES, Manifest, is_safe_address
from pipeline.remote.receipt import Consent, repr_digest
from pipeline.version import __version__

TUS = {"Tus-Resumable": "1.0.0"}
_PIECE = 1 << 18
_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0)
# The desk looks through what came before it says that it is taken; a large bundle takes minutes.
_CHECKED_WITHIN = 1800.0
_ASKED_AGAIN = 2.0
_TIMEOUT = httpx.Timeout(30, read=90, write=60)

Wait = Callable[[float], object]
# Bytes of the bundle that the desk has, and of how many.
Sent = Callable[[int, int], None]


class Answer(msgspec.Struct, frozen=True):
    """What the desk says of a collection: its state, the bytes it has of which bundle, and in words what is wrong.

    `masked` counts what the desk still had to mask.
    """

    state: str = ""
    error: str = ""
    reason: str = ""
    offset: int = 0
    digest: str = ""
    masked: dict[str, int] = {}


@dataclass(frozen=True)
class Desk:
    """The desk that a manifest names. `wait` pauses between attempts."""

    manifest: Manifest
    language: str
    wait: Wait = time.sleep

    def __post_init__(self) -> None:
        """Refuses to send logs in the clear."""
        if not is_safe_address(self.manifest.upload):
            raise UsageError(f"{self.manifest.upload}: logs are only sent by https; ask the desk for another manifest")

    def key(self) -> str:
        """The name of the key that the desk signs with, as it tells itself. Raises `DeskUnreachable`, `NotUploaded`."""
        place = urlsplit(self.manifest.upload)
        with self._client() as client:
            answer = self._asked(lambda: client.get(f"{place.scheme}://{place.netloc}/uploads/key"))
        try:
            return str(msgspec.json.decode(answer.content, type=dict[str, str])["key"])
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
            raise NotUploaded(f"{place.netloc} is no desk: it does not say what it signs with") from error

    def decide(self, consent: Consent) -> None:
        """Tells the desk of the decision. Raises as `send` does."""
        with self._client() as client:
            address, body = f"{self.manifest.upload}/consent", msgspec.json.encode(consent)
            self._asked(
                lambda: client.post(address, content=body, headers={"Content-Type": "application/json"}),
            )

    def send(self, bundle: Path, sent: Sent = lambda _done, _of: None) -> Answer:
        """Sends the bundle, or the rest of it, and waits until the desk has looked through it.

        Raises `Refused` where the link does not hold, `DeskUnreachable` where the desk does not answer again and again,
        `NotUploaded` where it does not take the bundle.
        """
        size, digest = _digest(bundle)
        if size > self.manifest.most_sent:
            raise NotUploaded(f"{bundle}: {size:,} bytes, and the desk takes {self.manifest.most_sent:,} at most")
        with self._client() as client:
            state = self._sent(client, bundle, size, digest, sent)
            until = time.monotonic() + _CHECKED_WITHIN
            while state.state == "received":
                if time.monotonic() > until:
                    raise NotUploaded("the desk has the bundle and did not say in time whether it takes it; ask there")
                self.wait(_ASKED_AGAIN)
                state = _told(self._asked(lambda: client.get(self.manifest.upload)))
        if state.state == "rejected":
            raise NotUploaded(f"the desk did not take the bundle: {state.error}")
        return state

    def _sent(self, client: httpx.Client, bundle: Path, size: int, digest: str, sent: Sent) -> Answer:
        failures, best = 0, -1
        while True:
            try:
                there = _told(self._once(lambda: client.get(self.manifest.upload)))
                if there.state in {"received", "stored"}:
                    if there.digest != digest:
                        raise Refused("the desk has another bundle for this request already; ask for a new one")
                    sent(size, size)
                    return there
                offset = there.offset if there.digest == digest and there.state != "rejected" else 0
                if offset > best:
                    # It goes on: only attempts that bring nothing are counted.
                    best, failures = offset, 0
                return _told(self._once(lambda at=offset: self._patch(client, bundle, at, size, digest, sent)))  # type: ignore[misc]
            except _Later as error:
                if failures >= len(_PAUSES):
                    raise DeskUnreachable(
                        f"{self._host}: {error}; what was collected is kept, send it later"
                    ) from error
                self.wait(_PAUSES[failures])
                failures += 1

    def _patch(
        self, client: httpx.Client, bundle: Path, offset: int, size: int, digest: str, sent: Sent
    ) -> httpx.Response:
        headers = {
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(size - offset),
            "Upload-Offset": str(offset),
            "Upload-Length": str(size),
            "Repr-Digest": digest,
        }
        with bundle.open("rb") as file:
            file.seek(offset)
            return client.patch(self.manifest.upload, content=_pieces(file, offset, size, sent), headers=headers)

    def _asked(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        for pause in _PAUSES[:3]:
            try:
                return self._once(ask)
            except _Later:
                self.wait(pause)
        try:
            return self._once(ask)
        except _Later as error:
            raise DeskUnreachable(f"{self._host}: {error}; try again later") from error

    def _once(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        """One request. Raises `_Later` where another attempt may help."""
        try:
            answer = ask()
        except httpx.HTTPError as error:
            if _is_untrusted(error):
                raise NotUploaded(
                    f"{self._host}: its certificate is not trusted ({error}); nothing was sent"
                ) from error
            raise _Later(str(error) or type(error).__name__) from error
        status = answer.status_code
        if status in {200, 201, 202, 204}:
            return answer
        told = _told(answer)
        said = told.error or f"status {status}"
        if status in {401, 403, 404, 410}:
            raise Refused(f"{self._host}: {said}")
        # What a connection that broke had still to say may have come in meanwhile: where to go on is asked again.
        moved = status == 409 and told.reason == "other_offset"
        if moved or status in {408, 423, 425, 429} or (status >= 500 and status != 507):
            raise _Later(said)
        raise NotUploaded(f"{self._host}: {said}")

    @property
    def _host(self) -> str:
        return urlsplit(self.manifest.upload).netloc

    def _client(self) -> httpx.Client:
        return httpx.Client(
            timeout=_TIMEOUT,
            headers={
                **TUS,
                "Authorization": f"Bearer {self.manifest.key}",
                "Accept-Language": self.language,
                "User-Agent": f"problem-snapshot/{__version__}",
            },
        )


class _Later(Exception):
    """It did not go well, and may the next time."""


def fetch_manifest(url: str) -> bytes:
    """The manifest behind a link. Raises `UsageError`, `Refused` or `DeskUnreachable`."""
    if not is_safe_address(url):
        raise UsageError(f"{url.partition('?')[0]}: a manifest is only taken by https")
    host = urlsplit(url).netloc
    try:
        answer = httpx.get(url, timeout=_TIMEOUT, headers={"Accept": "application/json"})
    except httpx.HTTPError as error:
        raise DeskUnreachable(f"{host}: {str(error) or type(error).__name__}") from error
    if answer.status_code in {401, 403, 404, 410}:
        raise Refused(f"{host}: {_told(answer).error or 'the link is not, or no longer, valid'}")
    if answer.status_code != 200 or len(answer.content) > MAX_BYTES:
        raise NotUploaded(f"{host}: no manifest came (status {answer.status_code})")
    return answer.content


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether a certificate that does not hold is behind an error: trying again does not help."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _told(answer: httpx.Response) -> Answer:
    try:
        return msgspec.json.decode(answer.content, type=Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Answer()


def _pieces(file: IO[bytes], offset: int, size: int, sent: Sent) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
        offset += len(piece)
        sent(offset, size)


def _digest(path: Path) -> tuple[int, str]:
    """The size of a file, and its sha256."""
    try:
        with path.open("rb") as file:
            digest = repr_digest(file)
            return file.tell(), digest
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
