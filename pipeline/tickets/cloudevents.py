"""Any system that sends CloudEvents 1.0 by HTTP, one event a request, in binary or structured mode.

Modes: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md. Tokens and the handshake by OPTIONS:
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md. In both modes the paths of `event` are searched in one
document: the attributes (`id`, `source`, `type`, `subject`, `time` and the extensions) and, below `data`, what the event carries.

The specification's own SDK reads JSON with Python's parser, which a deep document makes fail in ways of its own; what is
needed here, headers and one object, is less than a translation of its errors would be. It is in the tests, as the sender.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec

from pipeline.tickets._mapped import MappedOptions, MappedSystem
from pipeline.tickets._payload import decode, text
from pipeline.tickets.generic import Signature
from pipeline.tickets.signatures import check_token
from pipeline.tickets.system import Incoming, Malformed, Unverified

_STRUCTURED = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_JSON = re.compile(r"(application|text)/([\w.-]+\+)?json")
_NEEDED = ("id", "source", "type", "specversion")
_ORIGIN = re.compile(r"[A-Za-z0-9.*_-]{1,253}(:\d{1,5})?", re.ASCII)
_TOKEN = Signature(header="Authorization", algorithm="token", prefix="Bearer ")


class Options(
    MappedOptions, tag="cloudevents", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """`signature` says how `secrets` are used; without it a secret is the bearer token of the delivery.

    `origins` are the senders that the handshake lets in, `*` all of them; where it names some, a delivery from another one is refused.
    `rate` is how many deliveries a minute they may send. The rest is that of `MappedOptions`.
    """

    signature: Signature = _TOKEN
    origins: tuple[str, ...] = ("*",)
    rate: Annotated[int, msgspec.Meta(gt=0)] | None = None


class CloudEventsSystem(MappedSystem):
    """A ticket system that sends CloudEvents."""

    kind = "cloudevents"
    title = "the ticket system"
    _options: Options

    def handshake(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers that answer an OPTIONS request; see `handshake`."""
        return handshake(headers, self._options.origins, self._options.rate)

    def _verify(self, request: Incoming) -> None:
        options = self._options
        origin = request.headers.get("webhook-request-origin")
        if not _allowed(origin, options.origins):
            raise Unverified(f"the delivery is from {origin or 'an unnamed origin'}, which is none of origins")
        token = request.query.get("access_token")
        if options.signature == _TOKEN and token and "authorization" not in request.headers:
            # The specification asks a target to take the token this way too (3.2), though no sender should use it.
            check_token(token, options.secrets, "token in access_token")
            return
        options.signature.verify(request, options.secrets)

    def _document(self, request: Incoming) -> tuple[dict[str, Any], str | None]:
        event = read(request)
        # An event's id is unique within its source only.
        return event, f"{event['source']} {event['id']}"


def handshake(headers: Mapping[str, str], origins: tuple[str, ...], rate: int | None) -> dict[str, str]:
    """The headers that answer a sender's OPTIONS request; without `WebHook-Allowed-Origin` among them it is not let in.

    `headers` are the request's, names in lower case. `rate` is the most deliveries a minute, None for any number.

    >>> handshake({"webhook-request-origin": "desk.example.com", "webhook-request-rate": "120"}, ("desk.example.com",), 100)
    {'Allow': 'POST, OPTIONS', 'WebHook-Allowed-Origin': 'desk.example.com', 'WebHook-Allowed-Rate': '100'}
    >>> handshake({"webhook-request-origin": "other.example.com"}, ("desk.example.com",), None)
    {'Allow': 'POST, OPTIONS'}
    """
    answer = {"Allow": "POST, OPTIONS"}
    origin = headers.get("webhook-request-origin", "").strip()
    if not _ORIGIN.fullmatch(origin) or not _allowed(origin, origins):
        return answer
    wanted = headers.get("webhook-request-rate", "").strip()
    asked = int(wanted) if wanted.isascii() and wanted.isdecimal() and 0 < len(wanted) <= 9 else 0
    given = str(min(asked or rate, rate)) if rate else str(asked or "*")
    return {**answer, "WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": given}


def read(request: Incoming) -> dict[str, Any]:
    """The event of a request: its attributes by name, and `data` where it carries JSON. Raises `Malformed`."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == _BATCH:
        raise Malformed("a batch of events; configure the sender to send one event a request")
    if media.startswith("application/cloudevents") and media != _STRUCTURED:
        raise Malformed(f"an event as {media[:60]!r}; configure the sender to send JSON")
    event = decode(request.body) if media == _STRUCTURED else _binary(request, media)
    missing = [name for name in _NEEDED if not text(event.get(name))]
    if missing:
        raise Malformed(f"no CloudEvent: {', '.join(missing)} missing")
    if event["specversion"] != "1.0":
        raise Malformed(f"a CloudEvent of version {text(event['specversion'])[:20]!r}; 1.0 is understood")
    return event


def _binary(request: Incoming, media: str) -> dict[str, Any]:
    """An event whose attributes are headers (percent-encoded, 3.1.3.2) and whose data is the body."""
    event: dict[str, Any] = {
        name.removeprefix("ce-"): unquote(value) for name, value in request.headers.items() if name.startswith("ce-")
    }
    event.pop("data", None)
    if request.body and _JSON.fullmatch(media):
        event["data"] = decode(request.body)
    return event


def _allowed(origin: str | None, origins: tuple[str, ...]) -> bool:
    return "*" in origins or (origin or "").lower() in {one.lower() for one in origins}
