"""A backtest's report for people: on a terminal, as Markdown, and its reliability plot as SVG.

Both texts are made of the same sections, so neither says what the other leaves out.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pipeline import scores
from pipeline.backtest import Done, Made, Report, report_json
from pipeline.faults import fault_name
from pipeline.scores import Change, Comparison, Group
from snapshots.model import Text
from snapshots.words import Language, Speaker

Interval = tuple[float, float] | None

# So many cases are named in each list; all are in the JSON.
_LISTED = 30
_FINDINGS = 3
_BAR = 40

_MEANING: Mapping[str, Text] = {
    "coverage": Text(en="a class was named", zh="给出了类别"),
    "precision_located_strict": Text(en="named: the label's class", zh="给出：标注类别"),
    "precision_located_alt": Text(en="named: label or alternate", zh="给出：标注或可接受"),
    "precision_all_located_alt": Text(en="as above, over all kinds", zh="同上，含全部种类"),
    "top1_strict": Text(en="all faults: the label", zh="全部故障：标注"),
    "top1_alt": Text(en="all faults: label or alternate", zh="全部故障：标注或可接受"),
    "top1_subclass_strict": Text(en="class and subclass", zh="类别与子类均一致"),
    "top1_subclass_alt": Text(en="subclass, or alternate", zh="子类一致或可接受"),
    "top3_alt": Text(en="among the first three", zh="前三名之内"),
    "macro_f1": Text(en="mean F1 over classes", zh="各类别 F1 的平均"),
    "control_no_fault_claimed": Text(en="controls: no fault claimed", zh="对照：未判为故障"),
    "control_abstained": Text(en="controls: abstained", zh="对照：未下结论"),
    "insufficient_abstained": Text(en="insufficient: abstained", zh="证据不足：未下结论"),
    "insufficient_missing_named": Text(en="and names what is missing", zh="且指出了缺失的证据"),
    "evidence_hit": Text(en="cites a labelled record", zh="引用了标注的记录"),
    "seed_coverage": Text(en="seed class was said", zh="给出了粗分类"),
    "seed_accuracy": Text(en="seed class is right", zh="粗分类正确"),
    "ece": Text(en="calibration error; 0 is best", zh="校准误差，0 为最好"),
    "failures": Text(en="runs that failed", zh="运行失败"),
}

_WORDS: Mapping[str, Text] = {
    "title": Text(en="Backtest of {0} against {1}", zh="回测 {0}，标注 {1}"),
    "cases": Text(en="{0} cases: {1}", zh="{0} 个案例：{1}"),
    "real": Text(en="{0} real", zh="真实 {0}"),
    "rule": Text(en="{0} rule", zh="规则 {0}"),
    "control": Text(en="{0} control", zh="对照 {0}"),
    "insufficient": Text(en="{0} insufficient", zh="证据不足 {0}"),
    "interrupted": Text(
        en="Interrupted: {0} of {1} cases were done; the figures are of these.",
        zh="已中断：共 {1} 个案例，完成 {0} 个；以下数字仅含已完成的案例。",
    ),
    "made": Text(
        en="made by problem-snapshot {0}, tables {1}, settings {2}",
        zh="由 problem-snapshot {0} 生成，数据表 {1}，设置 {2}",
    ),
    "absent": Text(en="{0} labelled tickets have no snapshot here: {1}", zh="{0} 个已标注的工单在此没有快照：{1}"),
    "left_out": Text(
        en="{0} tickets left out, their resolution code stands for no class: {1}",
        zh="{0} 个工单未计入，其解决码没有对应的类别：{1}",
    ),
    "figures": Text(en="Figures", zh="指标"),
    "intervals": Text(
        en="95 % intervals: by drawing families of related cases {0} times; exact (Clopper-Pearson) for a plain share.",
        zh="95 % 区间：按相关案例的家族重抽 {0} 次；单纯比例另附精确区间（Clopper-Pearson）。",
    ),
    "figure": Text(en="figure", zh="指标"),
    "value": Text(en="value", zh="值"),
    "by_family": Text(en="by family", zh="按家族"),
    "exact": Text(en="exact", zh="精确"),
    "share": Text(en="right/of", zh="正确/总数"),
    "meaning": Text(en="what", zh="含义"),
    "reliability": Text(en="Does a stated probability hold?", zh="给出的概率是否可信"),
    "reliability_note": Text(
        en="The bar is the share that was right; the mark is where it would end if the stated probability held.",
        zh="条形为实际正确的比例；竖线为概率完全可信时条形应到的位置。",
    ),
    "stated": Text(en="stated", zh="给出"),
    "mean": Text(en="mean", zh="平均"),
    "right": Text(en="right", zh="正确"),
    "n": Text(en="cases", zh="案例"),
    "per_class": Text(en="By class (faults)", zh="按类别（故障案例）"),
    "class": Text(en="class", zh="类别"),
    "strict": Text(en="strict", zh="严格"),
    "alt": Text(en="or alt.", zh="含可接受"),
    "named": Text(en="named", zh="被给出"),
    "interval": Text(en="exact 95 %", zh="精确 95 %"),
    "per_kind": Text(en="By kind", zh="按种类"),
    "per_channel": Text(en="By channel", zh="按渠道"),
    "per_language": Text(en="By language", zh="按语言"),
    "faults": Text(en="faults", zh="故障"),
    "coverage": Text(en="coverage", zh="覆盖"),
    "precision": Text(en="prec.", zh="准确"),
    "top1": Text(en="top-1", zh="首位"),
    "top3": Text(en="top-3", zh="前三"),
    "silent": Text(en="silent", zh="不判"),
    "group_note": Text(
        en="prec. counts alternates, strict does not; silent: controls and insufficient cases rightly called no fault.",
        zh="准确含可接受类别，严格不含；不判：对照与证据不足的案例中，未判为故障而正确的数量。",
    ),
    "wrong": Text(en="Wrong answers and failed runs", zh="错误的回答与失败的运行"),
    "expected": Text(en="expected {0}", zh="应为 {0}"),
    "got": Text(en="got {0}", zh="得到 {0}"),
    "more": Text(en="and {0} more; the JSON has all", zh="另有 {0} 个，全部见 JSON"),
    "none": Text(en="none", zh="无"),
    "against": Text(en="Against {0}: {1} common cases", zh="与 {0} 相比：共同案例 {1} 个"),
    "against_made": Text(en="made by problem-snapshot {0}, tables {1}", zh="由 problem-snapshot {0} 生成，数据表 {1}"),
    "only": Text(en="only here: {0}; only there: {1}", zh="仅此次有：{0} 个；仅彼次有：{1} 个"),
    "mcnemar": Text(
        en="Right or not: {0} lost, {1} gained; so uneven a split comes by chance with p = {2} (McNemar, exact).",
        zh="正确与否：失 {0}，得 {1}；偶然出现如此差距的概率 p = {2}（McNemar 精确检验）。",
    ),
    "before": Text(en="before", zh="此前"),
    "now": Text(en="now", zh="现在"),
    "change": Text(en="change", zh="变化"),
    "regressions": Text(en="Regressions", zh="退步"),
    "gains": Text(en="Gains", zh="进步"),
    "others": Text(en="Other changes", zh="其他变化"),
    "moved": Text(en="{0}, for {1}: {2} → {3}", zh="{0}，支持 {1}：{2} → {3}"),
    "moved_more": Text(en="and {0} more findings moved", zh="另有 {0} 个发现有变动"),
    "gone": Text(en="gone", zh="消失"),
    "new": Text(en="new", zh="新增"),
    "assumed": Text(en="Assumed", zh="假定"),
    "unmet": Text(en="Goals missed", zh="未达到的目标"),
}


@dataclass(frozen=True)
class Section:
    """A title, sentences, then a table (`right` are its columns of numbers), or entries: a line and those that belong to it."""

    title: str
    notes: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    right: frozenset[int] = frozenset()
    entries: tuple[tuple[str, ...], ...] = ()
    style: str = ""


def sections(report: Report, language: Language, missed: Sequence[Text] = ()) -> Iterator[Section]:
    """The whole report, in the order in which it is read."""
    say = Speaker(_WORDS, language)
    yield _head(report, say)
    if report.against is not None:
        yield from _against(report, report.against, say)
    yield _figures(report, say)
    yield _reliability(report, say)
    if report.per_class:
        yield _per_class(report, language, say)
    for title, groups in (
        ("per_kind", report.per_kind),
        ("per_channel", report.per_channel),
        ("per_language", report.per_language),
    ):
        yield _groups(say(title), groups, say, first=title == "per_kind")
    yield _wrong(report, say)
    if report.assumed:
        yield Section(say("assumed"), entries=tuple((say.text(text),) for text in report.assumed))
    if missed:
        yield Section(say("unmet"), entries=tuple((say.text(goal),) for goal in missed), style="bad")


def _head(report: Report, say: Speaker) -> Section:
    kinds = [(kind, report.per_kind.get(kind)) for kind in scores.KINDS]
    parts = ("、" if say.language == "zh" else ", ").join(
        say(kind, group.scores["cases"]) for kind, group in kinds if group is not None
    )
    lines = [say("cases", len(report.cases), parts or say("none"))]
    lines += [_made(one, "made", say) for one in report.made]
    if report.interrupted:
        lines.append(say("interrupted", len(report.cases), report.planned))
    if report.absent:
        lines.append(say("absent", len(report.absent), _some(report.absent)))
    if report.left_out:
        codes = [f"{code or '-'} ({n})" for code, n in report.left_out.items()]
        lines.append(say("left_out", sum(report.left_out.values()), _some(codes)))
    return Section(say("title", report.cases_from, report.labels_from), notes=tuple(lines))


def _made(made: Made, key: str, say: Speaker) -> str:
    return say(key, made.tool_version, made.tables_sha256[:12], made.settings_sha256[:12])


def _some(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" … ({len(names)})" if len(names) > most else "")


def _figures(report: Report, say: Speaker) -> Section:
    rows = []
    for name in scores.FIGURES:
        if name in {"cases", "fault_cases"}:
            continue
        right, of = report.counts.get(name, (0, 0))
        rows.append(
            (
                name,
                _number(report.scores[name]),
                _interval(report.ci95.get(name)),
                f"{right}/{of}" if name in report.counts else "",
                _interval(report.exact95.get(name)),
                say.text(_MEANING[name]),
            )
        )
    heads = ("figure", "value", "by_family", "share", "exact", "meaning")
    return Section(
        say("figures"),
        notes=(say("intervals", scores.DRAWS),),
        heads=tuple(map(say, heads)),
        rows=tuple(rows),
        right=frozenset({1, 2, 3, 4}),
    )


def _reliability(report: Report, say: Speaker) -> Section:
    rows = tuple(
        (
            f"{one.low:.1f}-{one.high:.1f}",
            str(one.cases),
            _number(one.confidence, 2),
            f"{one.right / one.cases:.2f}",
            _bar(one.right / one.cases, one.confidence or 0.0),
        )
        for one in report.reliability
        if one.cases
    )
    return Section(
        say("reliability"),
        notes=(say("reliability_note"),),
        heads=(say("stated"), say("n"), say("mean"), say("right"), ""),
        rows=rows,
        right=frozenset({1, 2, 3}),
    )


def _bar(share: float, mark: float) -> str:
    filled = round(share * _BAR)
    cells = ["█"] * filled + ["░"] * (_BAR - filled)
    cells.insert(min(_BAR, round(mark * _BAR)), "│")
    return "".join(cells)


def _per_class(report: Report, language: Language, say: Speaker) -> Section:
    rows = tuple(
        (
            name if language == "en" else f"{name} {fault_name(name).zh}",
            str(one.n),
            _number(one.f1),
            f"{one.strict}/{one.n}",
            f"{one.accepted}/{one.n}",
            _interval(one.recall_alt_exact95),
            str(one.predicted),
        )
        for name, one in report.per_class.items()
    )
    heads = (say("class"), say("n"), "F1", say("strict"), say("alt"), say("interval"), say("named"))
    return Section(say("per_class"), heads=heads, rows=rows, right=frozenset(range(1, len(heads))))


def _groups(title: str, groups: Mapping[str, Group], say: Speaker, *, first: bool) -> Section:
    rows = tuple(
        (
            _short(name),
            str(group.scores["cases"]),
            str(group.scores["fault_cases"]),
            _number(group.scores["coverage"]),
            _number(group.scores["precision_located_alt"]),
            _interval(group.precision_located_alt_exact95),
            _number(group.scores["precision_located_strict"]),
            _number(group.scores["top1_alt"]),
            _number(group.scores["top3_alt"]),
            "{}/{}".format(*group.silent) if group.silent[1] else "",
        )
        for name, group in groups.items()
    )
    heads = ("", "n", "faults", "coverage", "precision", "interval", "strict", "top1", "top3", "silent")
    return Section(
        title,
        notes=(say("group_note"),) if first else (),
        heads=tuple(say(head) if head else "" for head in heads),
        rows=rows,
        right=frozenset(range(1, len(heads))),
    )


def _short(text: str, most: int = 20) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _wrong(report: Report, say: Speaker) -> Section:
    bad = [case for case in report.cases if case.outcome in {"wrong", "failed"}]
    entries = [
        (
            f"{case.label.id}  {case.label.kind}  {say('expected', case.label.expected)}",
            case.answer.failed or say("got", f"{case.answer.said} {_percent(case.answer.confidence)}".strip()),
        )
        for case in bad
    ]
    return Section(f"{say('wrong')} ({len(bad)})", entries=_shown(entries, say), style="bad" if bad else "")


def _shown(entries: Sequence[tuple[str, ...]], say: Speaker) -> tuple[tuple[str, ...], ...]:
    if not entries:
        return ((say("none"),),)
    more = [(say("more", len(entries) - _LISTED),)] if len(entries) > _LISTED else []
    return (*entries[:_LISTED], *more)


def _against(report: Report, c: Comparison, say: Speaker) -> Iterator[Section]:
    notes = [_made(one, "against_made", say) for one in report.against_made]
    if c.only_now or c.only_before:
        notes.append(say("only", len(c.only_now), len(c.only_before)))
    notes.append(say("mcnemar", c.lost, c.gained, f"{c.mcnemar_p:.3g}"))
    rows = []
    for name in scores.FIGURES:
        before, now = c.scores_before[name], c.scores_now[name]
        if name in {"cases", "fault_cases"} or (before is None and now is None):
            continue
        change = None if before is None or now is None else now - before
        rows.append(
            (
                name,
                _number(before),
                _number(now),
                "" if change is None else ("0" if not change else f"{change:+.3f}" if change % 1 else f"{change:+.0f}"),
                _interval(c.difference_ci95.get(name), signed=True),
            )
        )
    yield Section(
        say("against", report.against_from, c.common),
        notes=tuple(notes),
        heads=(say("figure"), say("before"), say("now"), say("change"), say("by_family")),
        rows=tuple(rows),
        right=frozenset({1, 2, 3, 4}),
    )
    for key, changes, style in (
        ("regressions", c.regressions, "bad"),
        ("gains", c.gains, "good"),
        ("others", c.others, ""),
    ):
        yield _changes(f"{say(key)} ({len(changes)})", changes, style if changes else "", say)


def _changes(title: str, changes: Sequence[Change], style: str, say: Speaker) -> Section:
    entries = [
        (
            f"{change.id}  {say('expected', change.expected)}",
            f"{change.before} {_percent(change.confidence_before)}".strip()
            + f" → {change.now} {_percent(change.confidence_now)}".rstrip(),
            *_moved(change, say),
        )
        for change in changes
    ]
    return Section(title, entries=_shown(entries, say), style=style)


def _moved(change: Change, say: Speaker) -> Iterator[str]:
    for one in change.findings[:_FINDINGS]:
        before = say("new") if one.before is None else f"{one.before:.1f}"
        now = say("gone") if one.now is None else f"{one.now:.1f}"
        yield say("moved", one.finding, one.supports or "-", before, now)
    if len(change.findings) > _FINDINGS:
        yield say("moved_more", len(change.findings) - _FINDINGS)


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _interval(interval: Interval, *, signed: bool = False) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f"{low:+.2f} … {high:+.2f}" if signed else f"{low:.2f}-{high:.2f}"


def rendered_report(
    done: Done, form: str, language: Language, *, plot: Path | None = None, width: int = 100, colour: bool = False
) -> str:
    """The report as `table`, `md` or `json`."""
    if form == "json":
        return report_json(done.report)
    parts = sections(done.report, language, done.missed)
    if form == "md":
        return markdown(parts, plot=None if plot is None else quote(plot.name))
    return table(parts, width=width, colour=colour)


# ---- on a terminal

_STYLES = {"bad": "bold red", "good": "bold green", "": "bold cyan"}


def table(parts: Iterable[Section], *, width: int = 100, colour: bool = False) -> str:
    """The sections in at most `width` columns. A non-empty `NO_COLOR` in the environment wins over `colour`."""
    from rich import box
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text as Line

    from snapshots.render.clean import clean_text
    from snapshots.render.terminal import plain_console

    out = io.StringIO()
    console = plain_console(out, max(60, width), colour=colour)
    for number, part in enumerate(parts):
        if number:
            console.print()
        console.print(Line(clean_text(part.title), style=_STYLES[part.style]))
        for note in part.notes:
            console.print(Line(clean_text(note), style="dim"))
        if part.rows:
            grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim", padding=(0, 1))
            for i, head in enumerate(part.heads):
                short = i in part.right or all(cell_len(row[i]) <= 14 for row in part.rows)
                # Ids and figures whole; what is long is folded.
                grid.add_column(
                    head, justify="right" if i in part.right else "left", overflow="fold", no_wrap=short or i == 0
                )
            for row in part.rows:
                grid.add_row(*(Line(clean_text(cell)) for cell in row))
            console.print(grid)
        for first, *others in part.entries:
            console.print(Line(clean_text(first)))
            for other in others:
                console.print(Padding(Line(clean_text(other), style="dim"), (0, 0, 0, 4)))
    # Padding to the right edge is noise in a file or a golden copy.
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


# ---- Markdown


def markdown(parts: Iterable[Section], plot: str | None = None) -> str:
    """The sections as GitHub's Markdown. `plot` is the address of the reliability plot, shown in its place."""
    blocks: list[str] = []
    for number, part in enumerate(parts):
        blocks.append(f"{'#' if not number else '##'} {_escaped(part.title)}")
        blocks += [_escaped(note) + "  " for note in part.notes]
        if part.rows:
            rules = ["--:" if i in part.right else "---" for i in range(len(part.heads))]
            rows = [part.heads, *part.rows]
            written = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
            written.insert(1, "|" + "|".join(rules) + "|")
            blocks += ["", *written]
            if plot is not None and any("█" in cell or "│" in cell for cell in part.rows[0]):
                blocks += ["", f"![]({plot})"]
        if part.entries:
            blocks.append("")
        for first, *others in part.entries:
            blocks.append(f"- {_escaped(first)}")
            blocks += [f"  - {_escaped(other)}" for other in others]
        blocks.append("")
    return "\n".join(blocks).rstrip() + "\n"


def _cell(text: str) -> str:
    return "<br>".join(_escaped(line) for line in text.splitlines()) or " "


def _escaped(text: str) -> str:
    from snapshots.render.clean import clean_text

    plain = " ".join(clean_text(text).split())
    return "".join("\\" + c if c in "\\`*_|<>[]#" else c for c in plain)


# ---- SVG


def plot_svg(report: Report, language: Language) -> str:
    """The reliability plot: stated against true share, a dot a bin with its exact interval, its area the cases' number."""
    say = Speaker(_WORDS, language)
    left, top, side = 60, 20, 320

    def x(share: float) -> float:
        return round(left + share * side, 1)

    def y(share: float) -> float:
        return round(top + (1 - share) * side, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="420" height="400" viewBox="0 0 420 400" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{say("reliability")}">',
        '<rect width="420" height="400" fill="#fff"/>',
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="#999"/>',
        f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}" stroke="#999" stroke-dasharray="4 4"/>',
    ]
    for tenth in range(0, 11, 2):
        share = tenth / 10
        parts.append(f'<text x="{x(share)}" y="{top + side + 18}" text-anchor="middle">{share:.1f}</text>')
        parts.append(f'<text x="{left - 8}" y="{y(share) + 4}" text-anchor="end">{share:.1f}</text>')
    most = max((one.cases for one in report.reliability), default=0)
    for one in report.reliability:
        if one.exact95 is None or one.confidence is None:
            continue
        at, right = x(one.confidence), one.right / one.cases
        low, high = one.exact95
        parts.append(f'<line x1="{at}" y1="{y(low)}" x2="{at}" y2="{y(high)}" stroke="#1f6feb" stroke-width="1.5"/>')
        radius = round(3 + 7 * (one.cases / most) ** 0.5, 1)
        parts.append(
            f'<circle cx="{at}" cy="{y(right)}" r="{radius}" fill="#1f6feb" fill-opacity="0.7">'
            f"<title>{one.low:.1f}-{one.high:.1f}: {one.right}/{one.cases}</title></circle>"
        )
    ece = _number(report.scores["ece"])
    parts.append(
        f'<text x="{left + side / 2}" y="{top + side + 42}" text-anchor="middle">{say("stated")} · ECE {ece}</text>'
    )
    parts.append(
        f'<text transform="translate(16 {top + side / 2}) rotate(-90)" text-anchor="middle">{say("right")}</text>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"
