"""What learning brought: the figures of the weights in force and of those learnt, on the cases asked for and the shipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.backtest import Gathered
from pipeline.judge import Weights
from pipeline.learn_weights import (
    LabelledCase,
    Learnt,
    answer,
    answers,
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


@dataclass(frozen=True)
class LearnReport:
    """The learnt weights, and what they do. `yours` is measured on cases left out, `shipped` on cases learnt from."""

    learnt: Learnt
    cases: int
    families: int
    left_out: int
    yours: tuple[Figure, ...]
    shipped: tuple[Figure, ...]
    shipped_cases: int

    @property
    def worse(self) -> tuple[Figure, ...]:
        """The figures that are worse on the shipped cases."""
        return tuple(figure for figure in self.shipped if figure.worse)


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
    *,
    alone: bool,
    precision: float,
    strict: float,
    name: str,
    left_out: int = 0,
) -> LearnReport:
    """Learns from `cases`, and from the shipped ones too unless `alone`, beginning with `start`."""
    known = {case.id for case in cases}
    others = [case for case in shipped_cases() if case.id not in known]
    everything = [*cases, *([] if alone else others)]
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
        yours=_figures(_judged(cases, start), yours),
        shipped=_figures(_judged(held, start), _judged(held, learnt.weights)),
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
    number = report.cases
    en = [
        f"Learnt from {number} of your cases in {report.families} families" + _left(report.left_out, "en") + ".",
        "",
        f"Your {number} cases: the weights they began with, and those learnt, each case judged without its family",
        *_table(report.yours, ("", "before", "learnt", "95 %", "95 % of the change")),
        "",
        f"The {report.shipped_cases} shipped cases",
        *_table(report.shipped, ("", "before", "learnt", "95 %", "95 % of the change")),
        "",
        _worse(report.worse, "en"),
    ]
    zh = [
        f"学习样本：您的 {number} 个案例，{report.families} 组" + _left(report.left_out, "zh") + "。",
        "",
        f"您的 {number} 个案例：原权重，以及学得的权重（每个案例由不含同组案例的权重判断）",
        *_table(report.yours, ("", "原", "学得", "95 %", "变化的 95 %")),
        "",
        f"随附的 {report.shipped_cases} 个案例",
        *_table(report.shipped, ("", "原", "学得", "95 %", "变化的 95 %")),
        "",
        _worse(report.worse, "zh"),
    ]
    return Text(en="\n".join(en) + "\n", zh="\n".join(zh) + "\n")


def _left(count: int, language: str) -> str:
    if not count:
        return ""
    return f"; {count} have no usable snapshot" if language == "en" else f"；另有 {count} 个没有可用快照"


def _worse(figures: Sequence[Figure], language: str) -> str:
    if not figures:
        return "Nothing is worse on the shipped cases." if language == "en" else "随附案例上没有指标变差。"
    listed = ", ".join(f"{f.name} {_number(f.before)} -> {_number(f.after)}" for f in figures)
    return f"Worse on the shipped cases: {listed}." if language == "en" else f"随附案例上变差：{listed}。"


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
