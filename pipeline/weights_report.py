"""What learning brought: the figures of the weights in force and of those learnt, on the cases asked for and the shipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.backtest import Gathered
from pipeline.errors import UsageError
from pipeline.judge import Weights
from pipeline.learn_weights import (
    LEAST_FAMILIES,
    LabelledCase,
    Learnt,
    answer,
    answers,
    counted,
    label_of,
    labelled_case,
    learn,
    shipped_cases,
)
from pipeline.scores import LOWER_IS_BETTER, Judged, difference_intervals, intervals, judge, scores
from snapshots.model import Text

# What a team lead asks for; `backtest` prints all.
_FIGURES = (
    "coverage", "precision_located_alt", "precision_located_strict", "top1_alt", "top1_strict", "top3_alt", "macro_f1",
    "control_no_fault_claimed", "insufficient_abstained", "seed_coverage", "seed_accuracy", "ece",
)  # fmt: skip
# A change smaller than this is none.
_SAME = 0.0005


@dataclass(frozen=True)
class Figure:
    """One figure before and after, with the 95 % interval of the later one (families drawn) and of the change."""

    name: str
    before: float | None
    after: float | None
    interval: tuple[float, float] | None = None
    change: tuple[float, float] | None = None

    @property
    def worse(self) -> bool:
        """Whether the figure got worse."""
        if self.before is None or self.after is None:
            return False
        lost = self.after - self.before if self.name in LOWER_IS_BETTER else self.before - self.after
        return lost > _SAME

    @property
    def surely_worse(self) -> bool:
        """Whether it got worse by more than the draw of cases explains: the change's whole interval lies on the bad side."""
        if not self.worse or self.change is None:
            return False
        low, high = self.change
        return low > 0 if self.name in LOWER_IS_BETTER else high < 0


@dataclass(frozen=True)
class LearnReport:
    """The learnt weights, and what they do.

    `yours` is measured on cases left out. `shipped` is measured on cases learnt from: `added` of them beside the cases given,
    the others because they are among these.
    """

    learnt: Learnt
    cases: int
    families: int
    left_out: int
    added: int
    yours: tuple[Figure, ...]
    shipped: tuple[Figure, ...]
    shipped_cases: int

    @property
    def worse(self) -> tuple[Figure, ...]:
        """The figures that are worse on the shipped cases, by more than chance explains."""
        return tuple(figure for figure in self.shipped if figure.surely_worse)


def labelled(have: Gathered) -> tuple[list[LabelledCase], int]:
    """The gathered cases as the judge meets them, and how many of the labels have no usable answer."""
    cases = []
    for label in have.labels.labels:
        given = have.ran.given.get(label.id)
        if given is not None and not given.answer.failed:
            cases.append(labelled_case(label, given.found, given.channel))
    return cases, len(have.labels.labels) - len(cases)


def learn_report(
    cases: Sequence[LabelledCase],
    start: Weights,
    before: Weights,
    *,
    alone: bool,
    precision: float,
    strict: float,
    name: str,
    left_out: int = 0,
) -> LearnReport:
    """Learns from `cases`, and from the shipped ones too unless `alone`, beginning with `start`; compares with `before`.

    Raises `UsageError` for too few cases.
    """
    if not cases:
        raise UsageError(
            f"{name}: no case to learn from" + (f"; {left_out} labelled, without a snapshot" if left_out else "")
        )
    known = {case.id for case in cases}
    others = [case for case in shipped_cases() if case.id not in known]
    others = [] if alone else others
    everything = [*cases, *others]
    learnt = learn(everything, start, precision=precision, strict=strict, name=name)
    held = shipped_cases()
    yours = [
        judge(label_of(case), answer(case, shares[0], learnt.weights))
        for case, shares in zip(cases, learnt.unseen, strict=False)
    ]
    return LearnReport(
        learnt=learnt,
        cases=len(cases),
        families=len({case.family for case in cases}),
        left_out=left_out,
        added=len(others),
        yours=_figures(_judged(cases, before), yours),
        shipped=_figures(_judged(held, before), _judged(held, learnt.weights)),
        shipped_cases=len(held),
    )


def _judged(cases: Sequence[LabelledCase], table: Weights) -> list[Judged]:
    return [judge(label_of(case), one) for case, one in zip(cases, answers(cases, table), strict=True)]


def _figures(before: Sequence[Judged], after: Sequence[Judged]) -> tuple[Figure, ...]:
    old, new = scores(before), scores(after)
    around, changed = intervals(after), difference_intervals(before, after)
    return tuple(
        Figure(name, old[name], new[name], around.get(name), changed.get(name))
        for name in _FIGURES
        if new[name] is not None
    )


def report_text(report: LearnReport) -> Text:
    """The report in both languages, at most 100 columns wide."""
    some = report.cases
    en = [
        f"Learnt from {counted(some, 'case', 'cases')} in {counted(report.families, 'family', 'families')}"
        + (f" and from {counted(report.added, 'shipped case', 'shipped cases')}" if report.added else "")
        + (f"; {report.left_out} more had no usable snapshot" if report.left_out else "")
        + ".",
        *(["So few say little: read the first table as counts."] if report.families < LEAST_FAMILIES else []),
        "",
        f"{counted(some, 'case', 'cases')}: the weights in force, and those learnt, each case judged without its family",
        *_table(report.yours, ("", "in force", "learnt", "95 %", "95 % of the change")),
        "",
        f"The {report.shipped_cases} shipped cases, all of them at once",
        *_table(report.shipped, ("", "in force", "learnt", "95 %", "95 % of the change")),
        "",
        *_worse(report.shipped, "en"),
    ]
    zh = [
        f"学习样本：{some} 个案例，{report.families} 组"
        + (f"；另有随附案例 {report.added} 个" if report.added else "")
        + (f"；{report.left_out} 个没有可用快照" if report.left_out else "")
        + "。",
        *(["案例太少，第一张表只能当计数看。"] if report.families < LEAST_FAMILIES else []),
        "",
        f"{some} 个案例：现用权重，以及学得的权重（每个案例由不含同组案例的权重判断）",
        *_table(report.yours, ("", "现用", "学得", "95 %", "变化的 95 %")),
        "",
        f"全部 {report.shipped_cases} 个随附案例",
        *_table(report.shipped, ("", "现用", "学得", "95 %", "变化的 95 %")),
        "",
        *_worse(report.shipped, "zh"),
    ]
    return Text(en="\n".join(en) + "\n", zh="\n".join(zh) + "\n")


def _worse(figures: Sequence[Figure], language: str) -> list[str]:
    surely = [figure for figure in figures if figure.surely_worse]
    perhaps = [figure for figure in figures if figure.worse and not figure.surely_worse]
    lines = []
    if surely:
        head = "Worse on the shipped cases: " if language == "en" else "随附案例上变差："
        lines.append(head + _changes(surely))
    if perhaps:
        head = "Worse there, but no more than chance explains: " if language == "en" else "略差，但在偶然范围内："
        lines.append(head + _changes(perhaps))
    if not surely:
        lines.append(
            "Nothing is surely worse on the shipped cases." if language == "en" else "随附案例上没有指标确实变差。"
        )
    return lines


def _changes(figures: Sequence[Figure]) -> str:
    return ", ".join(f"{f.name} {_number(f.before)} -> {_number(f.after)}" for f in figures)


def _table(figures: Sequence[Figure], head: tuple[str, ...]) -> list[str]:
    rows = [head]
    rows += [(f.name, _number(f.before), _number(f.after), _range(f.interval), _range(f.change)) for f in figures]
    widths = (26, 8, 8, 16, 18)
    return [
        "  " + " ".join(_cell(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _cell(text: str, width: int) -> str:
    # A Chinese character takes two columns.
    wide = sum(ord(c) > 0x2E7F for c in text)
    return text + " " * max(0, width - len(text) - wide)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _range(values: tuple[float, float] | None) -> str:
    return "" if values is None else f"{values[0]:.3f} to {values[1]:.3f}"
