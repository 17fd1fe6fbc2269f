"""The report for people: sections with tables, as Markdown or as a page of HTML with charts in SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.charts import Bar, bars
from pipeline.desk.grading_options import LEVELS
from pipeline.desk.reports import STAGES, Report, Spread, as_csv
from pipeline.pages import Part, as_page
from pipeline.scorecard import Section, markdown
from snapshots.model import Text
from snapshots.words import Language

_WORDS = {
    "title": Text(en="Ticket health, {0} to {1}", zh="工单健康报告，{0} 至 {1}"),
    "tickets": Text(
        en="{0} tickets: {1} solved, {2} open, {3} came back", zh="工单 {0} 张：已解决 {1}，未解决 {2}，重新打开 {3}"
    ),
    "unplaced": Text(
        en="{0} more tickets have no beginning in what is known, and are counted nowhere else",
        zh="另有 {0} 张工单缺少创建记录，未计入以下统计",
    ),
    "measure": Text(
        en="Levels whose clock runs in working hours are counted in working time, the others always.",
        zh="按工作时间计时的级别只计工作时间，其余级别连续计时。",
    ),
    "levels": Text(en="By level", zh="按级别"),
    "level": Text(en="level", zh="级别"),
    "count": Text(en="tickets", zh="工单"),
    "to_answer": Text(en="to answer, median", zh="首次应答（中位）"),
    "answer_p90": Text(en="90 %", zh="90% 分位"),
    "in_time": Text(en="in time", zh="按时"),
    "to_solve": Text(en="in work, median", zh="处理（中位）"),
    "stages": Text(en="Time by stage", zh="各阶段耗时"),
    "stage": Text(en="stage", zh="阶段"),
    "median": Text(en="median", zh="中位"),
    "total": Text(en="in all", zh="合计"),
    "answer": Text(en="waiting for an answer", zh="等待应答"),
    "work": Text(en="in work", zh="处理中"),
    "customer": Text(en="waiting for the customer", zh="等待客户"),
    "again": Text(en="in work again", zh="重开后处理"),
    "roles": Text(en="Who holds tickets", zh="各角色持有时间"),
    "role": Text(en="role", zh="角色"),
    "bottleneck": Text(en="Bottleneck: {0} holds {1} of all the time", zh="瓶颈角色：{0}，占全部时间的 {1}"),
    "unassigned": Text(en="Nothing was assigned in this time.", zh="此期间没有分派记录。"),
    "moves": Text(en="Hand-overs", zh="转派"),
    "moves_said": Text(
        en="{0} of {1} tickets were handed over, {2} times in all", zh="{1} 张工单中有 {0} 张被转派，共 {2} 次"
    ),
    "times": Text(en="hand-overs", zh="转派次数"),
    "reopened": Text(en="Came back", zh="重新打开"),
    "reopened_said": Text(
        en="{0} of {1} solved tickets came back ({2})", zh="{1} 张解决过的工单中有 {0} 张重新打开（{2}）"
    ),
    "knowledge": Text(en="Knowledge tasks", zh="知识任务"),
    "no_tasks": Text(en="No knowledge task was opened in this time.", zh="此期间没有新的知识任务。"),
    "person": Text(en="person", zh="人员"),
    "points": Text(en="points", zh="积分"),
    "tasks": Text(en="tasks", zh="任务"),
    "written": Text(en="in time", zh="按时提交"),
    "late": Text(en="late", zh="逾期提交"),
    "missing": Text(en="not handed in", zh="未提交"),
    "rate": Text(en="timeliness", zh="及时率"),
}
_BAR = 20


@dataclass(frozen=True)
class Charted:
    """A section, and the number of each of its rows that a bar shows; its last column is that number in words."""

    section: Section
    values: tuple[float, ...] = ()


Say = Callable[..., str]


def sections(made: Report, language: Language) -> Iterator[Charted]:
    """The report in the order in which it is read."""

    def say(key: str, *values: object) -> str:
        text = _WORDS[key]
        return (text.zh if language == "zh" else text.en).format(*values)

    lives = made.lives
    solved = sum(life.resolved_at is not None for life in lives)
    back = sum(life.reopened > 0 for life in lives)
    notes = [say("tickets", len(lives), solved, len(lives) - solved, back), say("measure")]
    notes += [say("unplaced", made.unplaced)] if made.unplaced else []
    title = say("title", f"{made.start:%Y-%m-%d %H:%M} UTC", f"{made.end:%Y-%m-%d %H:%M} UTC")
    yield Charted(Section(title, tuple(notes)))
    yield Charted(_levels(made, say))
    stages = [(say(name), made.stage(name)) for name in STAGES]
    yield _timed(say("stages"), say, "stage", stages)
    roles = list(made.roles.items())
    whole = sum(one.total for _, one in roles)
    if roles:
        share = percent(roles[0][1].total / whole if whole else None)
        yield _timed(say("roles"), say, "role", roles, (say("bottleneck", roles[0][0], share),))
    else:
        yield Charted(Section(say("roles"), (say("unassigned"),)))
    yield _moves(made, say)
    ever = sum(life.resolved_at is not None or life.reopened > 0 for life in lives)
    said = say("reopened_said", back, ever, percent(back / ever if ever else None))
    yield Charted(Section(say("reopened"), (said,)))
    yield Charted(_knowledge(made, say))


def _knowledge(made: Report, say: Say) -> Section:
    if not made.standings:
        return Section(say("knowledge"), (say("no_tasks"),))
    return Section(
        say("knowledge"),
        heads=tuple(map(say, ("person", "points", "tasks", "written", "late", "missing", "rate"))),
        rows=tuple(
            (
                one.person,
                *(str(number) for number in (one.points, one.tasks, one.in_time, one.late, one.missing)),
                percent(one.timeliness),
            )
            for one in made.standings
        ),
        right=frozenset(range(1, 7)),
    )


def _levels(made: Report, say: Say) -> Section:
    return Section(
        say("levels"),
        heads=tuple(map(say, ("level", "count", "to_answer", "answer_p90", "in_time", "to_solve", "in_time"))),
        rows=tuple(
            (
                level,
                str(len(made.of(level))),
                *_middle(made.stage("answer", level)),
                percent(made.share("answered", level)),
                _middle(made.stage("work", level))[0],
                percent(made.share("solved", level)),
            )
            for level in LEVELS
        ),
        right=frozenset(range(1, 7)),
    )


def _moves(made: Report, say: Say) -> Charted:
    moves = sorted(made.reassignments.items())
    handed = sum(count for times, count in moves if times)
    section = Section(
        say("moves"),
        (say("moves_said", handed, len(made.lives), sum(times * count for times, count in moves)),),
        heads=(say("times"), say("count")),
        rows=tuple((str(times), str(count)) for times, count in moves),
        right=frozenset({0, 1}),
    )
    return Charted(section, tuple(float(count) for _, count in moves))


def _timed(title: str, say: Say, head: str, some: Sequence[tuple[str, Spread]], notes: tuple[str, ...] = ()) -> Charted:
    section = Section(
        title,
        notes,
        heads=tuple(map(say, (head, "count", "median", "answer_p90", "total"))),
        rows=tuple((name, str(one.tickets), *_middle(one), duration(one.total)) for name, one in some),
        right=frozenset(range(1, 5)),
    )
    return Charted(section, tuple(one.total for _, one in some))


def _middle(some: Spread) -> tuple[str, str]:
    """Median and ninth decile; `-` of no ticket, which no desk was quick with."""
    return (duration(some.median), duration(some.p90)) if some.tickets else ("-", "-")


def percent(share: float | None) -> str:
    """A share as a person writes it; `-` where there is none."""
    return "-" if share is None else f"{share * 100:.0f}%"


def duration(seconds: float) -> str:
    """A time as a person writes it.

    >>> duration(95), duration(5400), duration(200_000)
    ('2 min', '1.5 h', '2.3 d')
    """
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def as_markdown(made: Report, language: Language) -> str:
    """The report as GitHub's Markdown, with bars of characters."""
    return markdown(_with_bars(one) for one in sections(made, language))


def _with_bars(one: Charted) -> Section:
    part = one.section
    if not one.values:
        return part
    most = max(one.values) or 1.0
    filled = [round(value / most * _BAR) for value in one.values]
    rows = tuple((*row, "█" * n + "░" * (_BAR - n)) for row, n in zip(part.rows, filled, strict=True))
    return replace(part, heads=(*part.heads, ""), rows=rows)


def as_html(made: Report, language: Language) -> str:
    """The report as one page without scripts or addresses; its charts are SVG, and the numbers stand below them."""
    return as_page(map(_with_chart, sections(made, language)), language)


def _with_chart(one: Charted) -> Part:
    part = one.section
    if not one.values:
        return Part(part)
    rows = [Bar(row[0], value, row[-1]) for row, value in zip(part.rows, one.values, strict=True)]
    return Part(part, bars(rows, part.title))


def as_json(made: Report, _language: Language) -> str:
    """The report as JSON, whose names are the same in every language."""
    import msgspec

    from pipeline.desk.plain import health

    return msgspec.json.format(msgspec.json.encode(health(made)), indent=2).decode()


# How each format is written.
WRITERS: dict[str, Callable[[Report, Language], str]] = {
    "md": as_markdown,
    "html": as_html,
    "csv": lambda made, _: as_csv(made),
    "json": as_json,
}
