"""The report for people: sections with tables, as Markdown or as a page of HTML with charts in SVG."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from pipeline.desk.grading_options import LEVELS
from pipeline.desk.reports import STAGES, Report, Spread
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
}
_BAR = 20


def sections(made: Report, language: Language) -> Iterator[Section]:
    """The report in the order in which it is read."""

    def say(key: str, *values: object) -> str:
        text = _WORDS[key]
        return (text.zh if language == "zh" else text.en).format(*values)

    lives = made.lives
    solved = sum(life.resolved_at is not None for life in lives)
    back = sum(life.reopened > 0 for life in lives)
    notes = [say("tickets", len(lives), solved, len(lives) - solved, back), say("measure")]
    notes += [say("unplaced", made.unplaced)] if made.unplaced else []
    yield Section(say("title", f"{made.start:%Y-%m-%d %H:%M} UTC", f"{made.end:%Y-%m-%d %H:%M} UTC"), tuple(notes))
    yield Section(
        say("levels"),
        heads=tuple(map(say, ("level", "count", "to_answer", "answer_p90", "in_time", "to_solve", "in_time"))),
        rows=tuple(
            (
                level,
                str(len(made.of(level))),
                duration(made.stage("answer", level).median),
                duration(made.stage("answer", level).p90),
                percent(made.share("answered", level)),
                duration(made.stage("work", level).median),
                percent(made.share("solved", level)),
            )
            for level in LEVELS
        ),
        right=frozenset(range(1, 7)),
    )
    stages = [(say(name), made.stage(name)) for name in STAGES]
    yield _timed(say("stages"), say, "stage", stages)
    roles = list(made.roles.items())
    whole = sum(one.total for _, one in roles)
    if roles:
        share = percent(roles[0][1].total / whole if whole else None)
        yield _timed(say("roles"), say, "role", roles, (say("bottleneck", roles[0][0], share),))
    else:
        yield Section(say("roles"), (say("unassigned"),))
    moves = made.reassignments
    handed = sum(count for times, count in moves.items() if times)
    most = max(moves.values(), default=0)
    yield Section(
        say("moves"),
        (say("moves_said", handed, len(lives), sum(times * count for times, count in moves.items())),),
        heads=(say("times"), say("count"), ""),
        rows=tuple((str(times), str(count), bar(count, most)) for times, count in sorted(moves.items())),
        right=frozenset({0, 1}),
    )
    ever = sum(life.resolved_at is not None or life.reopened > 0 for life in lives)
    yield Section(say("reopened"), (say("reopened_said", back, ever, percent(back / ever if ever else None)),))


def _timed(
    title: str, say: object, head: str, some: Sequence[tuple[str, Spread]], notes: tuple[str, ...] = ()
) -> Section:
    most = max((one.total for _, one in some), default=0.0)
    names = [say(key) for key in (head, "count", "median", "answer_p90", "total")]  # type: ignore[operator]
    return Section(
        title,
        notes,
        heads=(*names, ""),
        rows=tuple(
            (name, str(one.tickets), duration(one.median), duration(one.p90), duration(one.total), bar(one.total, most))
            for name, one in some
        ),
        right=frozenset(range(1, 5)),
    )


def bar(value: float, most: float) -> str:
    """A bar of characters, whole where `value` is the most there is."""
    filled = round(value / most * _BAR) if most else 0
    return "█" * filled + "░" * (_BAR - filled)


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
    """The report as GitHub's Markdown."""
    return markdown(sections(made, language))


_STYLE = (
    "body{font:1rem/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328;background:#fff}"
    "table{border-collapse:collapse;margin:.5rem 0}th,td{padding:.25rem .75rem;border-bottom:1px solid #d0d7de;text-align:left}"
    ".n{text-align:right}svg{display:block;max-width:100%}"
)


def as_html(made: Report, language: Language) -> str:
    """The report as one page without scripts or addresses; its charts are SVG, and the numbers stand beside them."""
    parts = list(sections(made, language))
    body = [f"<h1>{html.escape(parts[0].title)}</h1>", *(f"<p>{html.escape(note)}</p>" for note in parts[0].notes)]
    for part in parts[1:]:
        body.append(f"<h2>{html.escape(part.title)}</h2>")
        body += [f"<p>{html.escape(note)}</p>" for note in part.notes]
        if part.rows and part.heads[-1] == "":
            # The last column is a bar, and the one before it its number.
            body.append(bars_svg([(row[0], row[-2], row[-1].count("█") / _BAR) for row in part.rows], part.title))
        if part.rows:
            body.append(_table(part))
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(parts[0].title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _table(part: Section) -> str:
    shown = [i for i, head in enumerate(part.heads) if head]

    def cells(row: Sequence[str], tag: str) -> str:
        made = (f"<{tag}{' class=n' if i in part.right else ''}>{html.escape(row[i])}</{tag}>" for i in shown)
        return "<tr>" + "".join(made) + "</tr>"

    rows = "\n".join(cells(row, "td") for row in part.rows)
    return f"<table><thead>{cells(part.heads, 'th')}</thead><tbody>\n{rows}\n</tbody></table>"


def bars_svg(rows: Sequence[tuple[str, str, float]], title: str) -> str:
    """A chart of bars: name, number and share of the longest bar of each, in the manner of `pipeline.scorecard.plot_svg`."""
    left, wide, high = 180, 320, 28
    height = len(rows) * high + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="{height}" viewBox="0 0 600 {height}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{html.escape(title, quote=True)}">'
    ]
    for number, (name, value, share) in enumerate(rows):
        y = number * high + 5
        shown = name if len(name) <= 24 else name[:23] + "…"
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{html.escape(shown)}</text>')
        parts.append(
            f'<rect x="{left}" y="{y}" width="{round(share * wide, 1)}" height="20" fill="#1f6feb" fill-opacity="0.7"/>'
        )
        parts.append(f'<text x="{left + round(share * wide, 1) + 6}" y="{y + 15}">{html.escape(value)}</text>')
    return "\n".join([*parts, "</svg>"])
