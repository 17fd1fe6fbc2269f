"""One POST to a receiver, and its answer in our words. The address is never repeated: it is the secret of most chats."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from pipeline.errors import Refused
from pipeline.notify.target import Event, Sent, TargetBroken, TargetOptions, TargetUnavailable, host_of, wanted
from snapshots.render.blocks import Blocks, first_parts, shortened
from snapshots.render.clean import clean_text, one_line

if TYPE_CHECKING:
    import httpx

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_SAID = 200


Options = TypeVar("Options", bound=TargetOptions)


class Posting(Generic[Options]):
    """A receiver behind one address: what all of them share. Each gives the request and reads the answer."""

    kind = ""
    # How its name is written for people.
    system = ""

    def __init__(self, name: str, options: Options, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """`clock` gives the time that a signature carries."""
        self.name = name
        self.when = options.when
        self._options = options
        self._clock = clock
        self._opened: httpx.Client | None = None
        self._opening = threading.Lock()

    @property
    def where(self) -> str:
        """The receiver for people, without what is secret."""
        return f"{self.system} {self.name} at {host_of(self._options.url)}"

    def wants(self, event: Event) -> bool:
        """Whether this one goes there, as its `when` says."""
        return wanted(self.when, event)

    def close(self) -> None:
        """Closes the connection."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _post(
        self, body: bytes, headers: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The answer to one POST, 2xx or 410. Raises `Refused`, `TargetUnavailable` or `TargetBroken`."""
        import httpx

        sent = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "problem-snapshot", **(headers or {})}
        try:
            url = httpx.URL(self._options.url).copy_merge_params(dict(params or {}))
            response = self._client().post(url, content=body, headers=sent)
        except httpx.HTTPError as error:
            raise TargetUnavailable(f"{self.where} did not answer: {type(error).__name__}") from error
        except httpx.InvalidURL as error:
            raise TargetBroken(f"{self.where}: its url is no address") from error
        status = response.status_code
        if response.is_success or status == 410:
            return response
        told = f"{self.where} answered {status}" + (f": {said}" if (said := self._said(response.text)) else "")
        if status in {401, 403}:
            raise Refused(f"{told}; check url and secret of [notify.{self.name}]")
        if status in _PASSING:
            from pipeline.tickets._api import retry_after  # it brings every ticket system along

            raise TargetUnavailable(told, retry_after(response.headers.get("retry-after")))
        raise TargetBroken(told)

    def _gone(self, response: httpx.Response) -> Sent | None:
        """What a 410 means: nobody is there any more."""
        if response.status_code != 410:
            return None
        return Sent(
            "disabled", 410, f"{self.where} is gone for good (410); take [notify.{self.name}] out, or give it a new url"
        )

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        """The answer's object: chats answer 200 whatever they think of the message."""
        try:
            answer = msgspec.json.decode(response.content)
        except msgspec.DecodeError as error:
            raise TargetBroken(f"{self.where} answered something that is no JSON") from error
        if not isinstance(answer, dict):
            raise TargetBroken(f"{self.where} answered something that is no JSON object")
        return answer

    def _judged(
        self,
        response: httpx.Response,
        code_key: str,
        said_key: str,
        *,
        refused: frozenset[int],
        passing: Mapping[int, float],
    ) -> Sent:
        """What a code comes to: 0 is well, `refused` asks for other secrets, `passing` names the seconds to wait."""
        answer = self._json(response)
        code: Any = answer.get(code_key)
        code = code if isinstance(code, int) else None
        if code == 0:
            return Sent("sent", response.status_code)
        told = f"{self.where} answered {self._said(str(code))}: {self._said(str(answer.get(said_key) or ''))}"
        if code in passing:
            raise TargetUnavailable(told, passing[code])
        if code in refused:
            raise Refused(f"{told}; check url, secret and the robot's security settings of [notify.{self.name}]")
        raise TargetBroken(told)

    def _said(self, text: str) -> str:
        """What a server said, on one line, without our address in it."""
        return one_line(clean_text(text.replace(self._options.url, "<url>")))[:_SAID]

    def _client(self) -> httpx.Client:
        import ssl

        import httpx

        with self._opening:
            if self._opened is None:
                # They log every address in full.
                for name in ("httpx", "httpcore"):
                    logging.getLogger(name).setLevel(logging.WARNING)
                options = self._options
                verify: Any = options.verify_certs
                if options.verify_certs and options.ca_certs:
                    verify = ssl.create_default_context(cafile=options.ca_certs)
                # A redirect may lead to another host, which must not be given the message.
                self._opened = httpx.Client(timeout=options.timeout, verify=verify, follow_redirects=False)
            return self._opened


def encoded(message: Any) -> bytes:
    """A message as JSON."""
    return msgspec.json.encode(message)


def fitting(blocks: Blocks, written: Callable[[Blocks], bytes], limit: int, where: str) -> bytes:
    """What `written` makes of as many parts as `limit` bytes hold, the others named.

    A first part that is too long for itself has its texts cut. Raises `TargetBroken` where even that is too long.
    """
    whole = (first_parts(blocks, kept) for kept in range(len(blocks.parts), 0, -1))
    cut = (shortened(first_parts(blocks, 1), room) for room in (160, 80, 40, 20))
    for tried in chain(whole, cut):
        body = written(tried)
        if len(body) <= limit:
            return body
    raise TargetBroken(f"{where}: not even the first part of the message fits into {limit:,} bytes")
