"""A ticket out of any JSON, by paths that the configuration names.

Paths are JMESPath (https://jmespath.org/specification.html): `data.issue.id`, `comments[?public].body`, a constant as `'text'`. The
language has no recursion and no patterns, so that the time of an answer grows with the document whatever a customer put in it; the
expressions themselves are the administrator's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from pipeline.tickets._markdown import markdown_text
from pipeline.tickets._payload import filled, moment, outline
from pipeline.tickets._plain import conversation, html_text, tidied
from pipeline.tickets.file import guess_language
from pipeline.tickets.system import Event, Malformed
from pipeline.values import Ticket

_ID = 200
_TRUE = frozenset({"true", "yes", "1"})


class TicketPaths(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where in a document a ticket's parts are: a JMESPath each.

    `id` is needed; so are `created_at` and `title` or `description` where the document is the ticket. `comments` gives what the
    customer wrote later, as a list of texts; it is put below the description. `format` is `text`, `html` or `markdown`, of description
    and comments. `custom_fields` and `questionnaire` have a path for each name. `values` maps what a path gives to what is meant
    (`values.language = {zh_CN = "zh"}`).
    """

    id: str
    title: str = ""
    description: str = ""
    comments: str = ""
    created_at: str = ""
    language: str = ""
    customer_id: str = ""
    format: str = "text"
    custom_fields: dict[str, str] = {}
    questionnaire: dict[str, str] = {}
    values: dict[str, dict[str, str]] = {}

    def __post_init__(self) -> None:
        """Refuses a path that cannot be read."""
        checked(
            self,
            *(
                name
                for name in self.__struct_fields__
                if name not in {"format", "custom_fields", "questionnaire", "values"}
            ),
        )
        for group in ("custom_fields", "questionnaire"):
            for name, path in getattr(self, group).items():
                compiled(path, f"{group}.{name}")
        if self.format not in _FORMATS:
            raise ValueError(f"format: {self.format!r} is none of {', '.join(_FORMATS)}")
        if not self.id:
            raise ValueError("id: the path of the ticket's id is missing")


class EventPaths(TicketPaths, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where in a delivery its parts are: those of the ticket, and `kind` of the event, `actor` who did it, `delivery` its id.

    `due` is a JMESPath that is true for what deserves a snapshot (`type == 'ticket.created'`); without one every delivery does.
    """

    kind: str = ""
    actor: str = ""
    delivery: str = ""
    due: str = ""


def checked(struct: msgspec.Struct, *names: str) -> None:
    """Raises `ValueError` with the name of the first of a struct's paths that cannot be read."""
    for name in names:
        compiled(getattr(struct, name), name)


def compiled(path: str, name: str) -> Any:
    """A JMESPath, ready to be searched with; None for an empty one. Raises `ValueError` with `name`."""
    try:
        return _compiled(path) if path else None
    except ValueError as error:
        raise ValueError(f"{name}: {path!r} is no JMESPath: {' '.join(str(error).split())[:200]}") from error


def found(document: Any, path: str) -> Any:
    """What `path` gives; None without a path. Raises `Malformed` where the document is of another shape than the path needs."""
    if not path:
        return None
    try:
        return _compiled(path).search(document)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise Malformed(f"{path!r} does not fit the document: {' '.join(str(error).split())[:200]}") from error
    except RecursionError as error:
        raise Malformed(f"{path!r}: the document is nested too deep") from error


def said(document: Any, path: str, values: dict[str, str] | None = None) -> str:
    """What `path` gives as text: numbers as digits, a list as its texts by line, mapped by `values`."""
    text = _text(found(document, path))
    return (values or {}).get(text, text)


def holds(document: Any, path: str) -> bool:
    """Whether what `path` gives is true, or says so."""
    value = found(document, path)
    return value is True or (isinstance(value, str | int) and str(value).lower() in _TRUE)


def ticket_id(document: Any, paths: TicketPaths) -> str:
    """The ticket's id. Raises `Malformed` where it is missing or cannot be part of an address."""
    value = said(document, paths.id)
    if not value or len(value) > _ID or not value.isprintable() or not value.strip(". "):
        raise Malformed(f"{paths.id!r} gives no ticket id: {value[:60]!r}")
    return value


def as_ticket(document: Any, paths: TicketPaths, system: str) -> Ticket:
    """The ticket in a document. Raises `Malformed` where it lacks what a ticket needs."""
    plain = _FORMATS[paths.format]
    title = said(document, paths.title)
    comments = found(document, paths.comments)
    later = comments if isinstance(comments, list) else [comments]
    description = conversation(plain(said(document, paths.description)), (plain(_text(one)) for one in later))
    if not title and not description:
        raise Malformed(f"neither {paths.title!r} nor {paths.description!r} gives a text")
    created = moment(found(document, paths.created_at))
    if created is None:
        raise Malformed(f"{paths.created_at!r} gives no time")
    values = paths.values
    language = said(document, paths.language, values.get("language")).lower()
    return Ticket(
        id=ticket_id(document, paths),
        title=title,
        description=description,
        created_at=created,
        system=system,
        language="zh"
        if language.startswith("zh")
        else "en"
        if language.startswith("en")
        else guess_language(f"{title}\n{description}"),
        customer_id=said(document, paths.customer_id, values.get("customer_id")) or None,
        questionnaire=_named(document, paths.questionnaire, values),
        custom_fields=_named(document, paths.custom_fields, values),
    )


def as_event(document: Any, paths: EventPaths) -> Event:
    """What a delivery says, without judging who did it."""
    due = not paths.due or holds(document, paths.due)
    return Event(
        ticket_id(document, paths),
        said(document, paths.kind, paths.values.get("kind"))[:100] or "delivery",
        said(document, paths.delivery) or None,
        said(document, paths.actor)[:_ID] or None,
        outline(said(document, paths.title), said(document, paths.description)),
        moment(found(document, paths.created_at)),
        None if due else f"{paths.due!r} is not true of it",
    )


def _named(document: Any, paths: dict[str, str], values: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The values at the paths by their names, without those that are not there."""
    taken = {name: found(document, path) for name, path in paths.items()}
    mapped = {name: values.get(name, {}).get(_text(value), value) for name, value in taken.items()}
    return filled(mapped)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "\n".join(text for one in value if (text := _text(one)))
    return str(value).strip() if isinstance(value, str | int | float) else ""


@lru_cache(maxsize=512)
def _compiled(path: str) -> Any:
    import jmespath

    return jmespath.compile(path)


_FORMATS: dict[str, Callable[[str], str]] = {"text": tidied, "html": html_text, "markdown": markdown_text}
