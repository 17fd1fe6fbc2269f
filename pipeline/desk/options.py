"""The table `[desk]` of the settings: where closed tickets are, who handles them, and when nobody is named.

[defaults.desk]
knowledge = "knowledge"           # a folder of entries (docs/knowledge.md)
history = "closed.parquet"        # tickets of the desk, closed and open: .parquet, .csv, .jsonl
[defaults.desk.queues.payments]
lead = "wang"
skills = ["channel_outage", "alipay"]
[defaults.desk.handlers.li]
queues = ["payments"]
shift = ["mon-fri 09:00-18:00"]
timezone = "Asia/Shanghai"
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec

from pipeline.desk.grading_options import GradingOptions
from pipeline.desk.intake_options import PortraitOptions, QuestionOptions, SelfServiceOptions
from pipeline.desk.remote_options import RemoteOptions
from pipeline.desk.week import MIDNIGHT, check_zone, read_week
from pipeline.sources.elasticsearch import Options as ElasticsearchOptions

DEFAULT_INDEX = "problem-snapshot-desk"
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Many = Annotated[int, msgspec.Meta(ge=1)]


@dataclass(frozen=True)
class Shift:
    """Days of the week (0 is Monday) and a span of the day, half-open. One that ends before it begins ends the next day."""

    days: frozenset[int]
    start: time
    end: time

    def holds(self, at: datetime) -> bool:
        """Whether `at`, in the handler's zone, lies in it."""
        clock = at.timetz().replace(tzinfo=None)
        if self.start < self.end:
            return at.weekday() in self.days and self.start <= clock < self.end
        begun_today = at.weekday() in self.days and clock >= self.start
        begun_before = (at.weekday() - 1) % 7 in self.days and clock < self.end
        return begun_today or begun_before


def read_shift(text: str) -> Shift:
    """A shift such as `mon-fri 09:00-18:00` or `sat,sun 22:00-06:00`. Raises `ValueError`.

    >>> sorted(read_shift("fri-mon 22:00-06:00").days)
    [0, 4, 5, 6]
    """
    try:
        days, start, end = read_week(text)
    except ValueError as error:
        raise ValueError(f"shift {text!r}: write days and hours, such as 'mon-fri 09:00-18:00'") from error
    # A whole day is written 00:00-24:00, which ends as the next begins.
    return Shift(days, start, time() if end == MIDNIGHT else end)


class HandlerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One handler: the queues he works, when, and how many tickets he may have open.

    `skills` are fault classes, services, channels, categories or queues; they count until closed tickets say more. Without
    `shift` he is there at any time.
    """

    queues: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    shift: tuple[str, ...] = ()
    timezone: str = "UTC"
    most_open: Many = 10

    def __post_init__(self) -> None:
        """Refuses a shift or a zone that cannot be read."""
        for text in self.shift:
            read_shift(text)
        check_zone(self.timezone)

    def works(self, at: datetime) -> bool:
        """Whether he is there at `at`, which is aware."""
        here = at.astimezone(ZoneInfo(self.timezone))
        return not self.shift or any(read_shift(text).holds(here) for text in self.shift)


class QueueOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One queue: who leads it, and which fault classes, owners, services or channels belong to it until tickets tell."""

    lead: str | None = None
    skills: tuple[str, ...] = ()


class DeskOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The desk's history, how it is searched, and who works there.

    `columns` names the history's own columns where they differ (`id = "ticket_no"`). `source` names a configured
    Elasticsearch source that holds the index instead of a folder. `meaning` is the optional model of meaning: used where it
    is installed (`auto`), needed (`on`) or left alone (`off`). Below `sure`, a queue or handler is not named and its lead
    is. `learn_from` caps how many of the newest closed tickets the queues are learnt from.

    `knowledge` is a folder of entries, of which `advice` at most stand in a snapshot; `versions` are the modules' versions of
    today. Without `history` there are no similar tickets and no routing, without `knowledge` no entries. `grading` is the
    severity, its deadlines, the emergency room and the customer's sentence. `questions`, `portrait` and `self_service` each
    add their section where they are there.
    """

    history: str | None = None
    columns: dict[str, str] = {}
    index: str | None = None
    source: str | None = None
    elasticsearch_index: str = DEFAULT_INDEX
    meaning: Literal["auto", "on", "off"] = "auto"
    similar: Annotated[int, msgspec.Meta(ge=1, le=50)] = 5
    sure: Share = 0.5
    lead: str | None = None
    learn_from: Many = 20_000
    queues: dict[str, QueueOptions] = {}
    handlers: dict[str, HandlerOptions] = {}
    knowledge: str | None = None
    advice: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    versions: dict[str, str] = {}
    grading: GradingOptions = GradingOptions()
    questions: QuestionOptions | None = None
    portrait: PortraitOptions | None = None
    self_service: SelfServiceOptions | None = None
    # What may be asked of customers' machines; without it nothing is.
    remote: RemoteOptions | None = None
    # Filled in from `source`; the file cannot hold it.
    connection: ElasticsearchOptions | None = None
