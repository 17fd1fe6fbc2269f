"""What sources behind an HTTP API share: options for signing in, GET with retries inside a deadline, errors in our words."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec

from pipeline.errors import SourceBroken, SourceError, SourceRefused, SourceUnavailable

if TYPE_CHECKING:
    import httpx

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_RETRIED = frozenset((429, 500, 502, 503, 504))
# Content too large, and how some servers say that a trace is too large for them.
_TOO_LARGE = frozenset((413, 422))
_SAID = 200
NEVER = float("inf")

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(gt=0)]


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`url` is the service's, with its base path if it has one; `token` or `username` and `password` sign in.

    `timeout` is of one request in seconds, `attempts` how often one is tried, `parallel` how many are under way at a time.
    `ca_certs`, `client_cert` and `client_key` are paths of PEM files. `max_bytes` bounds one answer.
    """

    url: str
    token: str | None = None
    username: str | None = None
    password: str | None = None
    timeout: Positive = 10.0
    attempts: Count = 4
    parallel: Count = 4
    ca_certs: str | None = None
    verify_certs: bool = True
    client_cert: str | None = None
    client_key: str | None = None
    max_bytes: Count = 512 << 20

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"Options(kind={self.__struct_config__.tag!r}, {told})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", shown(self.url))]


class TooLarge(SourceBroken):
    """One answer is larger than `max_bytes`, or than what the server gives at once; smaller questions may do."""


class _TryAgainError(Exception):
    """A failure that may pass; carries what to raise when it does not."""

    def __init__(self, error: SourceError) -> None:
        super().__init__(str(error))
        self.error = error


class Http:
    """GET requests to one service. `system` is its name for people, `check` what to do where `url` seems to be another's."""

    def __init__(
        self, source: str, system: str, options: HttpOptions, *, check: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._source = source
        self._system = system
        self._options = options
        self._check_url = check
        self._headers = {"Accept": "application/json", **(headers or {})}
        self._client: httpx.Client | None = None
        self._opening = threading.Lock()

    def get(self, path: str, query: Mapping[str, str], deadline: float) -> bytes | None:
        """The answer's bytes, None for 404; tried again with growing pauses as long as the deadline allows.

        `deadline` is a `time.monotonic()` value. Raises `SourceRefused`, `SourceUnavailable`, `TooLarge` or `SourceBroken`.
        """
        import tenacity

        left = deadline - time.monotonic()
        if left <= 0:
            raise SourceUnavailable(f"no time was left to ask {self.where(path)}")
        stop: Any = tenacity.stop_after_attempt(self._options.attempts)
        if left != NEVER:
            stop |= tenacity.stop_before_delay(left)
        retrying = tenacity.Retrying(
            stop=stop,
            wait=tenacity.wait_exponential(multiplier=0.1, max=2.0),
            retry=tenacity.retry_if_exception_type(_TryAgainError),
            reraise=True,
        )
        try:
            return retrying(self._get_once, path, query, deadline)
        except _TryAgainError as error:
            raise error.error from error.__cause__

    def where(self, path: str = "") -> str:
        """Where we asked, for people: without sign-in and query."""
        return f"{self._system} at {shown(self._options.url)}{path}"

    def broken(self, path: str) -> SourceBroken:
        """The error for an answer that is not this system's JSON."""
        return SourceBroken(
            f"{self.where(path)} answered something that is not {self._system}'s JSON: {self._check_url}"
        )

    def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _get_once(self, path: str, query: Mapping[str, str], deadline: float) -> bytes | None:
        import httpx

        until = min(deadline, time.monotonic() + self._options.timeout)
        timeout = httpx.Timeout(max(0.001, until - time.monotonic()))
        base = shown(self._options.url)
        with (
            self._translated(path),
            self._opened().stream("GET", base + path, params=dict(query), timeout=timeout) as response,
        ):
            if response.status_code == 404:
                return None
            if response.status_code != 200:
                raise self._meaning(path, response.status_code, response)
            pieces, size = [], 0
            for piece in response.iter_bytes():
                pieces.append(piece)
                size += len(piece)
                if size > self._options.max_bytes:
                    raise TooLarge(
                        f"{self.where(path)} answered more than {self._options.max_bytes:,} bytes: "
                        "ask for less at once or raise `max_bytes`"
                    )
                # A read timeout starts anew with each piece, so a trickle would hold us for ever.
                if time.monotonic() > until:
                    raise SourceUnavailable(f"{self.where(path)} did not answer in time")
            return b"".join(pieces)

    def _meaning(self, path: str, status: int, response: httpx.Response) -> Exception:
        """What a status other than 200 and 404 means."""
        where = self.where(path)
        if status in (401, 403):
            return SourceRefused(f"{where} refused our credentials ({status}): check `token` or `username`")
        if status in _RETRIED:
            return _TryAgainError(SourceUnavailable(f"{where} answered {status}: see {self._system}'s own log"))
        if status in _TOO_LARGE:
            return TooLarge(f"{where} answered {status}: it holds more than {self._system} gives at once")
        said = ""
        if status == 400:
            # The service's own words on a question that it does not take, such as a window too long for it.
            start = next(response.iter_bytes(_SAID), b"").decode(errors="replace")
            said = f" ({' '.join(start.split())})" if start.strip() else ""
        return SourceBroken(f"{where} answered {status}{said}: {self._check_url}")

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Turns httpx's exceptions into ours; those that may pass into ones that are tried again."""
        import httpx

        try:
            yield
        except httpx.TimeoutException as error:
            # Not tried again: it has used up its time, and so would the next.
            raise SourceUnavailable(f"{self.where(path)} did not answer in time") from error
        except httpx.TransportError as error:
            problem = f"{self.where(path)} could not be reached ({str(error) or type(error).__name__}): check `url`"
            raise _TryAgainError(SourceUnavailable(problem)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceBroken(f"{self.where(path)} gave no readable answer ({error})") from error

    def _opened(self) -> httpx.Client:
        with self._opening:
            if self._client is None:
                self._client = self._connected()
            return self._client

    def _connected(self) -> httpx.Client:
        import ssl

        import httpx

        options = self._options
        verify: Any = options.verify_certs
        try:
            if options.verify_certs and (options.ca_certs or options.client_cert):
                verify = ssl.create_default_context(cafile=options.ca_certs)
                if options.client_cert:
                    verify.load_cert_chain(options.client_cert, options.client_key)
        except (OSError, ssl.SSLError) as error:
            raise SourceBroken(
                f"the certificates of the source {self._source!r} cannot be read ({error}): "
                "check `ca_certs`, `client_cert` and `client_key`"
            ) from error
        headers = dict(self._headers)
        if options.token:
            headers["Authorization"] = f"Bearer {options.token}"
        parts = urlsplit(options.url)
        user = options.username or parts.username
        auth = (user, options.password or parts.password or "") if user and not options.token else None
        return httpx.Client(verify=verify, headers=headers, auth=auth, follow_redirects=False)


def side_by_side(work: Callable[[Item], Answer], items: Iterable[Item], most: int) -> Iterator[tuple[Item, Answer]]:
    """`work` of each item in the order of `items`, up to `most` of them under way at a time.

    What `work` raises is raised at that item's turn. Nothing more is begun than the next `most` items of those asked for.
    """
    waiting = deque(items)
    under_way: deque[tuple[Item, Future[Answer]]] = deque()
    while waiting or under_way:
        while waiting and len(under_way) < most:
            item = waiting.popleft()
            promise: Future[Answer] = Future()
            under_way.append((item, promise))
            # Daemon threads: one that hangs in a socket must not keep the process from ending.
            threading.Thread(target=_fulfil, args=(promise, work, item), daemon=True).start()
        item, promise = under_way.popleft()
        yield item, promise.result()


def _fulfil(promise: Future[Answer], work: Callable[[Item], Answer], item: Item) -> None:
    try:
        promise.set_result(work(item))
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
        promise.set_exception(error)


def shown(url: str) -> str:
    """A URL without the name and password that may stand in it."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    except ValueError:
        return "an unreadable URL"
