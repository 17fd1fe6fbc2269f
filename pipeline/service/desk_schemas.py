"""How the desk's answers are described in OpenAPI: by the JSON Schema of the values that they are made of.

msgspec writes the schemas (https://jcristharif.com/msgspec/jsonschema.html), as OpenAPI 3.1 takes them.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI, Response

_COMPONENTS = "#/components/schemas/{name}"
_ERROR = {
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
        }
    }
}
_ERRORS: dict[int, str] = {
    400: "What was sent cannot be read.",
    401: "The token was not given.",
    404: "No such ticket, task, entry or room.",
    408: "The body did not arrive in time.",
    409: "It does not go with the configuration, or with the state that it is in.",
    413: "The body is too large.",
    422: "A part of the request is missing, too long or of another kind.",
    503: "The database, the store or the history cannot be reached.",
}


class Descriptions:
    """The descriptions of one application's answers."""

    def __init__(self) -> None:
        # What answers are made of.
        self._known: list[Any] = []

    def of(self, value: Any = None, *, media: str = "application/json", others: tuple[str, ...] = ()) -> dict[str, Any]:
        """The arguments of an address that answers `value` (a type) as JSON, or text of a `media` type; `others` are to be had, too."""
        content: dict[str, Any] = {kind: {"schema": {"type": "string"}} for kind in others}
        if value is None:
            # JSON of another media type is an object; the rest is text.
            content[media] = {"schema": {"type": "object" if media.endswith("json") else "string"}}
        else:
            self._known.append(value)
            (schema,), _ = msgspec.json.schema_components([value], ref_template=_COMPONENTS)
            content[media] = {"schema": schema}
        responses: dict[int | str, dict[str, Any]] = {
            status: {"description": said, **_ERROR} for status, said in _ERRORS.items()
        }
        responses[200] = {"description": "The answer.", "content": content}
        return {"responses": responses, "response_class": Response}

    def add_to(self, app: FastAPI) -> None:
        """Puts the schemas of all answers into the application's description."""
        made = app.openapi

        def openapi() -> dict[str, Any]:
            if app.openapi_schema is None:
                document = made()
                _, components = msgspec.json.schema_components(self._known, ref_template=_COMPONENTS)
                schemas = document.setdefault("components", {}).setdefault("schemas", {})
                if twice := sorted(schemas.keys() & components.keys()):
                    raise RuntimeError(
                        f"a body and a value of the desk have one name, {twice[0]}: OpenAPI can hold one of them"
                    )
                schemas.update(components)
            return app.openapi_schema or {}

        # As https://fastapi.tiangolo.com/how-to/extending-openapi/ does it.
        app.openapi = openapi  # type: ignore[method-assign]
