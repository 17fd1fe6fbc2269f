"""Signed JSON to a program of yours, as Standard Webhooks says.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md is the specification.

The body is `payload.Payload`: under 20 kB, with links to the rest, unless `document` puts the whole snapshot in.
`webhook-id` is the same however often one event is sent. An answer of 2xx is well, 410 says that nobody wants this
any more, 429 and 503 may name a time in `Retry-After`.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from pipeline.notify._post import Posting
from pipeline.notify.payload import payload_bytes
from pipeline.notify.target import Event, Sent, TargetOptions

# The lengths that the specification asks for, in bytes.
_SECRET = range(24, 65)


class Options(TargetOptions, tag="webhook", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to, and the secrets that sign.

    `secrets` are `whsec_` and base64 of 24 to 64 random bytes; with two, both sign, so that one can be replaced
    without a gap. `unsigned = true` sends without. `headers` go along, such as an Authorization. `document` adds the
    whole snapshot.
    """

    secrets: tuple[str, ...] = ()
    unsigned: bool = False
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    document: bool = False

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is sent."""
        super().__post_init__()
        if not self.secrets and not self.unsigned:
            raise ValueError(
                "secrets is missing: give one, such as whsec_ and the base64 of 32 random bytes, or unsigned = true"
            )
        for secret in self.secrets:
            _check(secret)


def _check(secret: str) -> None:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in _SECRET:
        raise ValueError("secrets: one is not whsec_ and the base64 of 24 to 64 bytes")


class WebhookTarget(Posting[Options]):
    """One program that is told."""

    kind = "webhook"
    system = "webhook"

    def send(self, event: Event) -> Sent:
        """Sends the event's JSON. Raises `Refused`, `TargetUnavailable` or `TargetBroken`."""
        body = payload_bytes(event, document=self._options.document)
        response = self._post(body, {**self._options.headers, **self.signed(event.id, body)})
        return self._gone(response) or Sent("sent", response.status_code)

    def signed(self, event_id: str, body: bytes) -> dict[str, str]:
        """The headers that name and sign a body, by every secret."""
        from standardwebhooks.webhooks import Webhook

        now = self._clock()
        made = [Webhook(secret).sign(event_id, now, body.decode()) for secret in self._options.secrets]
        headers = {"webhook-id": event_id, "webhook-timestamp": str(int(now.timestamp()))}
        return {**headers, **({"webhook-signature": " ".join(made)} if made else {})}
