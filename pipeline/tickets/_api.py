"""What ticket systems behind an HTTP API share: options for signing in, requests that are tried again, errors in our words."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from pipeline.errors import Refused, TicketNotFound
from pipeline.sources._http import shown
from pipeline.tickets._history import State
from pipeline.tickets.system import SystemBroken, SystemUnavailable

if TYPE_CHECKING:
    import httpx

# Safe to send again: the request was not taken, or taking it twice changes nothing more.
_AGAIN = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# Refused before anything was done, whatever the method.
_NOT_TAKEN = frozenset({429, 503})
_SAID = 300
# Who is asked to wait longer than this is waited for by the queue, not by a sleeping worker.
_WAITED = 3.0
_MAX_ANSWER = 32 << 20

Positive = Annotated[float, msgspec.Meta(gt=0)]


class SystemOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What every ticket system's table has.

    `secrets` sign its deliveries: all of them hold, so that one can be replaced without a gap. `insecure` takes deliveries without a
    signature, for a system that cannot sign and a network that is trusted. `fields` says which field of the ticket takes
    which of ours (`fault_class = "custom_field_7"`), `tags` whether tags such as `fault-interface` are set. `user` is the
    account we write with: what it does never calls us again. `states` says what statuses of one's own mean for the desk's clock:
    `{"Wait for bank" = "waiting"}`, one of open, waiting (for the customer) and solved. `poll` is how often `serve` asks the system for changes, in
    seconds; without it only deliveries count. `timeout` is one request's, in seconds.
    """

    url: str = ""
    token: str | None = None
    username: str | None = None
    password: str | None = None
    secrets: tuple[str, ...] = ()
    insecure: bool = False
    user: str | None = None
    fields: dict[str, str] = {}
    tags: bool = False
    states: dict[str, State] = {}
    poll: Positive | None = None
    timeout: Positive = 10.0
    attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    ca_certs: str | None = None
    verify_certs: bool = True

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        if any(not secret.strip() for secret in self.secrets):
            raise ValueError("secrets: one of them is empty")

    def __repr__(self) -> str:
        return f"Options(kind={self.__struct_config__.tag!r}, url={shown(self.url)!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", shown(self.url))]


class Api:
    """Requests to one ticket system. `system` is its name for people; `headers` sign in where no user and password do."""

    def __init__(
        self, name: str, system: str, options: SystemOptions, headers: Mapping[str, str] | None = None
    ) -> None:
        self._name = name
        self._system = system
        self._options = options
        self._headers = {"Accept": "application/json", **(headers or {})}
        self._opened: httpx.Client | None = None
        self._opening = threading.Lock()

    @property
    def where(self) -> str:
        """The system and its address, for people, without sign-in."""
        return f"{self._system} at {shown(self._options.url)}"

    def json(self, method: str, path: str, *, missing: str = "", again: bool | None = None, **given: Any) -> Any:
        """The answer to a request as JSON; None where it has no body.

        `given` is what `httpx.Client.request` takes (params, json, data, files, headers). A request is sent again where that is
        safe, or where `again` says so. `missing` says what a 404 means: the ticket's id. Raises `TicketNotFound`, `Refused`,
        `SystemUnavailable` or `SystemBroken`.
        """
        response = self.send(method, path, missing=missing, again=again, **given)
        if not response.content:
            return None
        try:
            return msgspec.json.decode(response.content)
        except msgspec.DecodeError as error:
            raise SystemBroken(f"{self.where} answered {method} {path} with something that is no JSON") from error

    def send(
        self, method: str, path: str, *, missing: str = "", again: bool | None = None, **given: Any
    ) -> httpx.Response:
        """The answer to a request, status 2xx. Raises as `json` does."""
        import tenacity

        repeat = method in _AGAIN if again is None else again
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._options.attempts),
            wait=tenacity.wait_exponential(multiplier=0.2, max=3.0) + tenacity.wait_random(0.0, 0.2),
            retry=tenacity.retry_if_exception(
                lambda error: (
                    isinstance(error, _Passing) and (repeat or not error.taken) and (error.after or 0.0) <= _WAITED
                )
            ),
            reraise=True,
        )
        try:
            return retrying(self._once, method, path, missing, given)
        except _Passing as error:
            raise SystemUnavailable(str(error), error.after) from error

    def close(self) -> None:
        """Closes the connections."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _once(self, method: str, path: str, missing: str, given: Mapping[str, Any]) -> httpx.Response:
        import httpx

        try:
            response = self._client().request(method, path, **given)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _Passing(f"{self.where} cannot be reached: {_said(str(error))}", taken=False) from error
        except httpx.HTTPError as error:
            raise _Passing(
                f"{self.where} did not answer {method} {path}: {_said(str(error)) or type(error).__name__}"
            ) from error
        if response.is_success:
            return response
        raise self._error(response, f"{method} {path}", missing)

    def _error(self, response: httpx.Response, call: str, missing: str) -> Exception:
        status, said = response.status_code, _said(response.text[:_SAID])
        told = f"{self.where} answered {call} with {status}" + (f": {said}" if said else "")
        if status == 403 and (after := limited(response.headers)) is not None:
            return _Passing(told, taken=False, after=after)
        if status in {401, 403}:
            return Refused(f"{told}; check the account and token of [tickets.{self._name}]")
        if status in {404, 410} and missing:
            return TicketNotFound(f"{self.where} has no ticket {missing}")
        if status in {409, 412}:
            return Conflict(told)
        if status in _PASSING:
            return _Passing(
                told, taken=status not in _NOT_TAKEN, after=retry_after(response.headers.get("retry-after"))
            )
        return SystemBroken(told)

    def _client(self) -> httpx.Client:
        import httpx

        with self._opening:
            if self._opened is None:
                options = self._options
                # What signs in by a header would be replaced by a login.
                login = (options.username, options.password or "") if options.username and not options.token else None
                self._opened = httpx.Client(
                    base_url=options.url,
                    headers=self._headers,
                    auth=login,
                    timeout=options.timeout,
                    verify=_trusted(options),
                    # A redirect may lead to another host, which must not be given the token.
                    follow_redirects=False,
                    limits=httpx.Limits(max_connections=8),
                )
            return self._opened


class Conflict(SystemBroken):
    """The ticket was changed by another in the meantime (409, 412): read it again."""


class _Passing(Exception):
    """A failure that may pass. `taken` says that the request may have been done all the same."""

    def __init__(self, message: str, *, taken: bool = True, after: float | None = None) -> None:
        super().__init__(message)
        self.taken = taken
        self.after = after


def retry_after(value: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for, as a number or a date (RFC 9110, 10.2.3).

    >>> retry_after("120"), retry_after(None), retry_after("soon")
    (120.0, None, None)
    """
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return None


def limited(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait where a 403 means too many requests, else None.

    GitHub says so by `retry-after`, or by `x-ratelimit-remaining: 0` with the time of the next in `x-ratelimit-reset`
    (https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api).
    """
    if (asked := retry_after(headers.get("retry-after"))) is not None:
        return asked
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") != "0":
        return None
    return max(1.0, float(reset) - datetime.now(UTC).timestamp()) if reset.isdecimal() else 60.0


def pages(first: Any, following: Any) -> Iterator[Any]:
    """`first` and what `following(page)` gives after each page, until it gives None."""
    page = first
    while page is not None:
        yield page
        page = following(page)


def _said(text: str) -> str:
    """What a server said, on one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_SAID]


def _trusted(options: SystemOptions) -> Any:
    import ssl

    if not options.verify_certs:
        return False
    return ssl.create_default_context(cafile=options.ca_certs) if options.ca_certs else True
