"""What is sent to the desk's addresses, each part bounded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Words = Annotated[str, Field(min_length=1, max_length=4000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Enquiry(_Body):
    """A question, or with `of` = answer an answer of which the problems are wanted."""

    text: _Words
    of: Literal["question", "answer"] = "question"
    most: Annotated[int, Field(ge=1, le=50)] = 3


class Symptom(_Body):
    """What somebody sees."""

    text: _Words


class NewTask(_Body):
    """The task of a ticket that is solved: the ticket's id or that of its snapshot, and who writes the entry."""

    ticket: _Name
    assignee: _Name


class Submission(_Body):
    """A finished entry as Markdown, as the task's own text is."""

    text: Annotated[str, Field(min_length=1, max_length=256 * 1024)]


class By(_Body):
    """Who does it."""

    by: _Name


class Decision(By):
    """Who decides, and why."""

    why: _Words


class Acknowledged(By):
    """Who answers a call to a room, and for which role."""

    role: Literal["technology", "product", "operations"]


class Cared(_Body):
    """The customer of this ticket was told."""

    system: _Name
    ticket: _Name


class Mark(_Body):
    """What happened to a ticket, for systems that do not remember it; `role` is whose turn it is after `assigned`."""

    system: _Name
    ticket: _Name
    event: Literal["assigned", "responded", "waiting", "continued", "resolved", "reopened"]
    by: Annotated[str, Field(max_length=200)] | None = None
    role: Annotated[str, Field(min_length=1, max_length=80)] | None = None
