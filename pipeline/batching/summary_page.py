"""The summary of a batch for people: in the terminal, and as one page with charts, in English or Chinese."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

from pipeline.batching.results import Folder
from pipeline.batching.summary import LISTED, DayRow, Summary, TimeRow, summary_json
from pipeline.charts import Bar, bars, columns
from pipeline.judge import NO_FAULT
from pipeline.pages import Part, as_page
from pipeline.scorecard import Section, table
from snapshots.model import Text
from snapshots.words import Language, Speaker, class_name

# Days that a chart shows one by one: a column is a dot wide then.
_CHART_DAYS = 700

_WORDS = {
    "title": Text(en="Batch of {0}", zh="批量快照：{0}"),
    "given": Text(
        en="Tickets given: {0}. Snapshots: {1}. Dead letters: {2}. Given twice: {3}.",
        zh="共 {0} 张工单：生成快照 {1} 份，死信 {2} 条，重复给出 {3} 张。",
    ),
    "left": Text(
        en="Interrupted. Tickets left: {0}. The dataset is not complete.",
        zh="已中断：还剩 {0} 张工单，数据集不完整。",
    ),
    "kept": Text(en="Done by an earlier run: {0}.", zh="其中 {0} 张由之前的运行完成。"),
    "verdicts": Text(
        en="Faults located: {0}. No fault: {1}. Undetermined: {2}. Log lines read: {3}.",
        zh="已定位故障 {0} 张，无故障 {1} 张，未能定论 {2} 张；共读取日志 {3} 行。",
    ),
    "made": Text(en="Made with version {0}, tables {1}, settings {2}.", zh="程序版本 {0}，数据表 {1}，设置 {2}。"),
    "classes": Text(en="What was found", zh="诊断结果"),
    "class": Text(en="class", zh="类别"),
    "undetermined": Text(en="undetermined", zh="未能定论"),
    "tickets": Text(en="tickets", zh="工单数"),
    "share": Text(en="share", zh="占比"),
    "days": Text(en="Tickets by the day they were opened", zh="按建单日期统计"),
    "utc_day": Text(en="Days in UTC.", zh="日期为 UTC。"),
    "utc_month": Text(
        en="By month, in UTC; summary.json has every day.", zh="按月统计（UTC）；每日数据见 summary.json。"
    ),
    "colours": Text(
        en="Blue is decided, amber undetermined. In UTC.", zh="蓝色为已有结论，琥珀色为未能定论；按 UTC 统计。"
    ),
    "day": Text(en="day", zh="日期"),
    "month": Text(en="month", zh="月份"),
    "decided": Text(en="decided", zh="已有结论"),
    "more_rows": Text(en="Further ones in summary.json: {0}.", zh="另有 {0} 项见 summary.json。"),
    "holes": Text(en="Holes in what was read", zh="数据缺口"),
    "holes_note": Text(
        en="{0} of {1} snapshots lack something: a source failed, gave a part, or had nothing of the kind.",
        zh="{1} 份快照中有 {0} 份缺少部分数据：来源失败、仅返回部分，或没有此类数据。",
    ),
    "no_holes": Text(en="Every source gave what it was asked for.", zh="所有来源均返回了所需数据。"),
    "holes_more": Text(
        en="Kinds of holes with fewer tickets that are not listed: {0}.", zh="另有 {0} 种较少的缺口未列出。"
    ),
    "source": Text(en="source", zh="来源"),
    "what": Text(en="what", zh="内容"),
    "status": Text(en="status", zh="状态"),
    "sources": Text(en="Slowest sources", zh="最慢的来源"),
    "sources_note": Text(
        en="Seconds that each source took for a ticket. Sources are asked side by side, so they add up to more than the whole.",
        zh="各来源处理每张工单所用的秒数。各来源并行查询，合计会大于总时长。",
    ),
    "steps": Text(en="Where the time went", zh="耗时分布"),
    "steps_note": Text(en="Seconds of each step.", zh="各步骤所用的秒数。"),
    "untimed": Text(
        en="Of {0} snapshots the time is not known: their process was killed before it could write it down.",
        zh="{0} 份快照没有耗时记录：进程在写入前被终止。",
    ),
    "name": Text(en="name", zh="名称"),
    "total": Text(en="total", zh="合计"),
    "median": Text(en="median", zh="中位数"),
    "p95": Text(en="95 %", zh="95 分位"),
    "longest": Text(en="longest", zh="最长"),
    "slowest": Text(en="Slowest tickets", zh="最慢的工单"),
    "seconds": Text(en="seconds", zh="秒"),
    "letters": Text(en="Dead letters", zh="死信"),
    "letters_note": Text(
        en="With their elements in dead_letters.jsonl; --retry tries those again that were read but could not be taken.",
        zh="完整内容见 dead_letters.jsonl；其中已读取但未能生成快照的工单可用 --retry 重试。",
    ),
    "letters_more": Text(en="Further ones in the file: {0}.", zh="另有 {0} 条见该文件。"),
    "error": Text(en="error", zh="错误"),
    "notes": Text(en="Assumed", zh="假定"),
}


def show_summary(summary: Summary, form: str, language: Language, *, width: int = 100, colour: bool = False) -> str:
    """The summary as `table` or `json`."""
    if form == "json":
        return summary_json(summary).decode()
    return table((part.section for part in parts_of(summary, language)), width=width, colour=colour)


def write_page(folder: Folder, summary: Summary, language: Language = "en") -> None:
    """Writes `summary.html`. Raises `SnapshotError`."""
    folder.place(folder.root / "summary.html", page_of(summary, language).encode())


def page_of(summary: Summary, language: Language) -> str:
    """The page: nothing is loaded and nothing runs in it."""
    tone = "undecided" if summary.dead or summary.interrupted else "no_fault"
    return as_page(parts_of(summary, language, charts=True), language, tone)


def parts_of(summary: Summary, language: Language, *, charts: bool = False) -> Iterator[Part]:
    """The whole summary, in the order in which it is read. With `charts` sentences speak of them, as on the page."""
    say = Speaker(_WORDS, language)
    yield Part(_head(summary, say))
    if summary.letters:
        yield Part(_letters(summary, say))
    if summary.snapshots:
        yield _classes(summary, say)
        yield _days(summary, say, charts=charts)
        yield Part(_holes(summary, say))
    if summary.sources:
        yield _times(summary.sources, "sources", say)
    if summary.steps:
        yield _times(summary.steps, "steps", say, summary.untimed)
        slow = tuple((row.name, f"{row.longest:.2f}") for row in summary.slowest[:10])
        yield Part(Section(say("slowest"), heads=(say("name"), say("seconds")), rows=slow, right=frozenset({1})))
    if summary.notes:
        yield Part(Section(say("notes"), entries=tuple((note,) for note in summary.notes)))


def _head(s: Summary, say: Speaker) -> Section:
    notes = [say("given", *_counts(s.given, s.snapshots, s.dead, s.repeated))]
    if s.interrupted:
        notes.append(say("left", *_counts(s.left)))
    if s.kept:
        notes.append(say("kept", *_counts(s.kept)))
    sound = sum(row.tickets for row in s.classes if row.name in NO_FAULT)
    notes.append(say("verdicts", *_counts(s.located - sound, sound, s.abstained, s.lines)))
    made = s.made
    notes.append(say("made", made["tool_version"], made["tables_sha256"][:12], made["settings_sha256"][:12]))
    return Section(say("title", Path(s.tickets).name or s.tickets), tuple(notes), style="bad" if s.dead else "good")


def _counts(*numbers: int) -> tuple[str, ...]:
    return tuple(f"{number:,}" for number in numbers)


def _letters(s: Summary, say: Speaker) -> Section:
    notes = [say("letters_note"), *(f"{row.name}: {row.tickets:,}" for row in s.errors)]
    if s.dead > len(s.letters):
        notes.append(say("letters_more", f"{s.dead - len(s.letters):,}"))
    entries = tuple((f"{one.ticket or '-'}  {one.name}", f"{one.error}: {one.reason}") for one in s.letters)
    return Section(say("letters"), tuple(notes), entries=entries, style="bad")


def _classes(s: Summary, say: Speaker) -> Part:
    named = [
        (class_name(row.name, say.language) if row.name else say("undetermined"), row.tickets, bool(row.name))
        for row in s.classes
    ]
    rows = tuple((name, f"{n:,}", f"{n / s.snapshots:.0%}") for name, n, _ in named)
    chart = bars([Bar(name, n, f"{n:,}", "blue" if known else "amber") for name, n, known in named], say("classes"))
    heads = (say("class"), say("tickets"), say("share"))
    return Part(Section(say("classes"), heads=heads, rows=rows, right=frozenset({1, 2})), chart, chart_says_all=True)


def _days(s: Summary, say: Speaker, *, charts: bool) -> Part:
    rows = _every_day(s.days)
    layers = [("blue", [row.located for row in rows]), ("amber", [row.abstained for row in rows])]
    chart = columns([row.day for row in rows], layers, say("days"))
    unit = "day" if len(s.days) <= LISTED else "month"
    told = s.days if unit == "day" else _by_month(s.days)
    cells = tuple((row.day, f"{row.located:,}", f"{row.abstained:,}") for row in told)
    heads = (say(unit), say("decided"), say("undetermined"))
    note = say("colours") if charts else say(f"utc_{unit}")
    section = Section(say("days"), (note,), heads, cells, frozenset({1, 2}))
    return Part(section, chart, chart_says_all=True)


def _every_day(days: Sequence[DayRow]) -> Sequence[DayRow]:
    """The days with those between them on which no ticket was opened, so that a chart is true to time; months where it is long."""
    if not days:
        return days
    first, last = (date.fromisoformat(day.day) for day in (days[0], days[-1]))
    length = (last - first).days + 1
    if length > _CHART_DAYS:
        return _by_month(days)
    there = {row.day: row for row in days}
    names = ((first + timedelta(days=n)).isoformat() for n in range(length))
    return [there.get(name) or DayRow(day=name, located=0, abstained=0) for name in names]


def _by_month(days: Sequence[DayRow]) -> list[DayRow]:
    """The same counts, a row a month: the table of a year is to fit a terminal."""
    months: dict[str, tuple[int, int]] = {}
    for row in days:
        located, abstained = months.get(row.day[:7], (0, 0))
        months[row.day[:7]] = (located + row.located, abstained + row.abstained)
    return [DayRow(day=name, located=n, abstained=m) for name, (n, m) in months.items()]


def _holes(s: Summary, say: Speaker) -> Section:
    if not s.holes:
        return Section(say("holes"), (say("no_holes"),), style="good")
    notes = [say("holes_note", *_counts(s.with_holes, s.snapshots))]
    if s.holes_omitted:
        notes.append(say("holes_more", f"{s.holes_omitted:,}"))
    rows = tuple((row.source, row.what, row.status, f"{row.tickets:,}") for row in s.holes)
    heads = (say("source"), say("what"), say("status"), say("tickets"))
    return Section(say("holes"), tuple(notes), heads, rows, frozenset({3}))


def _times(rows: Sequence[TimeRow], key: str, say: Speaker, untimed: int = 0) -> Part:
    notes = [say(f"{key}_note")] + ([say("untimed", f"{untimed:,}")] if untimed else [])
    if len(rows) > LISTED:
        notes.append(say("more_rows", f"{len(rows) - LISTED:,}"))
    cells = tuple(
        (row.name, f"{row.tickets:,}", f"{row.total:,.1f}", *(f"{v:.2f}" for v in (row.median, row.p95, row.longest)))
        for row in rows[:LISTED]
    )
    heads = tuple(say(head) for head in ("name", "tickets", "total", "median", "p95", "longest"))
    chart = bars([Bar(row.name, row.total, f"{row.total:,.1f}") for row in rows[:LISTED]], say(key))
    return Part(Section(say(key), tuple(notes), heads, cells, frozenset(range(1, 6))), chart)
