"""Any system that signs its deliveries as Standard Webhooks say: https://www.standardwebhooks.com.

The delivery's id is `webhook-id`, the same each time it is sent. A payload is by convention `{"type", "timestamp", "data": {...}}`;
the paths of `event` say where the ticket is in it.
"""

from __future__ import annotations

from typing import Any

from pipeline.tickets._mapped import MappedOptions, MappedSystem
from pipeline.tickets._payload import decode
from pipeline.tickets.signatures import check_standard
from pipeline.tickets.system import Incoming


class Options(
    MappedOptions, tag="standard_webhooks", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """`secrets` are the endpoint's, `whsec_` and base64. The rest is that of `MappedOptions`."""

    def __post_init__(self) -> None:
        """Refuses secrets that cannot be keys, before a delivery comes."""
        super().__post_init__()
        import base64
        import binascii

        for number, secret in enumerate(self.secrets, 1):
            try:
                key = base64.b64decode(secret.removeprefix("whsec_") + "==", validate=False)
            except (binascii.Error, ValueError):
                key = b""
            if not key:
                raise ValueError(f"secrets: number {number} is no base64, with or without whsec_ before it")


class StandardWebhooksSystem(MappedSystem):
    """A ticket system that sends Standard Webhooks."""

    kind = "standard_webhooks"
    title = "the ticket system"

    def _verify(self, request: Incoming) -> None:
        check_standard(request, self._options.secrets)

    def _document(self, request: Incoming) -> tuple[dict[str, Any], str | None]:
        return decode(request.body), request.headers.get("webhook-id")
