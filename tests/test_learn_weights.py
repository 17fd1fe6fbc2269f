"""Learning the judge's weights: what the fit promises, what the files promise, and what the command says."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from cli import commands
from pipeline import learn_weights
from pipeline.backtest import answer_of
from pipeline.diagnose import diagnose
from pipeline.errors import UsageError
from pipeline.faults import taxonomy
from pipeline.judge import START, UNDECIDED, Weights, probabilities, softmax, weights
from pipeline.judge import Testimony as Heard  # by its own name pytest would collect it
from pipeline.learn_weights import (
    LEAST_FAMILIES,
    LabelledCase,
    answer,
    cases_text,
    fit,
    labelled_case,
    learn,
    read_cases,
    shipped_cases,
    weights_text,
)
from pipeline.scores import KINDS, Label
from pipeline.settings import load_settings
from pipeline.settings_digest import settings_digest
from pipeline.values import Cited, Found, Seen
from pipeline.weights_report import Figure, learn_report, report_text
from snapshots.model import Text
from snapshots.store import Store
from tests.flow_samples import EXAMPLES, NAMES, case_of, taken, usual_lines

CLASSES = ("channel_outage", "interface_fault", "internal_fault", "param_config")
ALL_CLASSES = sorted({fault_class for fault_class, _ in taxonomy()} - {"unknown"})
CASE = case_of(usual_lines())
# Two kinds of finding and one gap; what they are worth is to be learnt.
PLAIN = structs.replace(
    weights(str(START)),
    weights={"sure": 1.0, "guess": 1.0},
    against={"clears": 1.0},
    gaps={"gap.no_logs": 1.0},
    prior={},
    channel_prior={},
    locate_class={},
    undecided=0.0,
)


def case(
    number: int, fault_class: str, *found: Heard, kind: str = "real", family: str = "", channel: str = ""
) -> LabelledCase:
    """A case whose label alone is accepted."""
    return LabelledCase(
        f"C{number:04}", fault_class, (fault_class,), kind, family or f"f{number}", channel, tuple(found)
    )


def says(kind: str, fault_class: str, strength: float = 1.0) -> Heard:
    return Heard(kind, strength, fault_class)


def some_cases(count: int, *, right: float = 1.0, controls: int = 0, seed: int = 1) -> list[LabelledCase]:
    """`sure` names the cause in a share `right` of the cases, `guess` any class; controls have a guess of low strength."""
    deal = random.Random(seed)
    cases = []
    for i in range(count):
        cause = CLASSES[i % len(CLASSES)]
        other = deal.choice([name for name in CLASSES if name != cause])
        said = cause if deal.random() < right else other
        cases.append(
            case(i, cause, says("sure", said, deal.uniform(0.5, 1)), says("guess", deal.choice(CLASSES), deal.random()))
        )
    for i in range(count, count + controls):
        guess = says("guess", deal.choice(CLASSES), deal.random())
        cases.append(case(i, UNDECIDED, guess, Heard("gap.no_logs"), kind="insufficient"))
    return cases


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One penalty and one discount: where which of them is chosen does not matter."""
    monkeypatch.setattr(learn_weights, "_PENALTIES", (3.0,))
    monkeypatch.setattr(learn_weights, "_REPEATED", (0.6,))
    monkeypatch.setattr(learn_weights, "_SAME_RECORD", (0.5,))


# ---- the fit


def test_the_same_cases_give_the_same_weights_byte_for_byte() -> None:
    """No clock, no chance, and the folds do not depend on the order in which the cases come."""
    cases = some_cases(40, right=0.8, controls=8)
    first, again = (learn(cases, PLAIN, precision=0.9, strict=0.8) for _ in range(2))
    assert weights_text(first.weights) == weights_text(again.weights)
    assert first.unseen == again.unseen


@given(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=60), st.integers(0, 5))
def test_folds_never_part_a_family(families: list[str], round_: int) -> None:
    """Near-duplicates are left out together, and each fold has its fair share of families."""
    cases = [case(i, "param_config", family=family) for i, family in enumerate(families)]
    fold_of = defaultdict(set)
    for one, fold in zip(cases, learn_weights._folds(cases, round_), strict=True):
        fold_of[one.family].add(fold)
    assert all(len(folds) == 1 for folds in fold_of.values())
    sizes = [sum(fold in folds for folds in fold_of.values()) for fold in range(learn_weights.FOLDS)]
    assert max(sizes) - min(sizes) <= 1


def test_weights_fitted_without_a_case_have_not_seen_its_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed of a case, and what sets the thresholds, comes from a fit without its whole family."""
    seen: list[set[str]] = []

    def spy(cases: Sequence[LabelledCase], start: Weights, _penalty: float, _without: object = ()) -> Weights:
        seen.append({one.family for one in cases})
        return start

    monkeypatch.setattr(learn_weights, "fit", spy)
    cases = [structs.replace(one, family=f"f{i // 3}") for i, one in enumerate(some_cases(60))]
    learn_weights._outside(cases, PLAIN, 1.0, 1)
    everything = {one.family for one in cases}
    left_out = [everything - families for families in seen]
    assert all(left_out)
    assert sorted(name for names in left_out for name in names) == sorted(everything)


def test_a_kind_that_is_always_right_gains_over_one_that_is_random() -> None:
    """Both begin alike."""
    fitted = fit(some_cases(80), PLAIN, 0.3)
    assert fitted.weights["sure"] > 2
    assert fitted.weights["guess"] < 1


def test_what_clears_a_class_gains_where_it_is_right() -> None:
    """Two classes are named as loudly in each case; what speaks against one of them decides."""
    cases = [
        case(
            i,
            "param_config",
            says("guess", "param_config"),
            says("guess", "interface_fault"),
            Heard("clears", 1.0, None, ("interface_fault",)),
        )
        for i in range(40)
    ]
    assert fit(cases, PLAIN, 0.3).against["clears"] > 2


def test_a_heavy_penalty_gives_back_what_the_learning_began_with() -> None:
    """Numbers that the penalty holds do not move; priors are held by a penalty of their own."""
    fitted = fit(some_cases(40), PLAIN, 1e9)
    assert (fitted.weights, fitted.against, fitted.gaps, fitted.undecided) == (
        PLAIN.weights, PLAIN.against, PLAIN.gaps, PLAIN.undecided,
    )  # fmt: skip


def test_no_cases_give_back_what_the_learning_began_with() -> None:
    """There is nothing to be learnt from."""
    assert fit([], PLAIN, 1.0) == PLAIN


def test_no_weight_and_no_gap_becomes_negative() -> None:
    """A kind that is always wrong counts nothing; it never speaks for the other classes."""
    cases = [
        case(i, "param_config", says("sure", "interface_fault"), says("guess", "param_config"), Heard("gap.no_logs"))
        for i in range(60)
    ]
    fitted = fit(cases, PLAIN, 0.01)
    numbers = [*fitted.weights.values(), *fitted.against.values(), *fitted.gaps.values()]
    assert min(numbers) >= 0
    assert fitted.weights["sure"] == 0
    assert fitted.gaps["gap.no_logs"] < PLAIN.gaps["gap.no_logs"]


def test_the_slope_of_the_fit_is_that_of_its_loss() -> None:
    """Checked by small steps, with labels that are candidates and labels that are none, and with answers accepted as well."""
    import numpy as np
    from scipy.optimize import check_grad

    cases = some_cases(12, right=0.5, controls=3)
    cases = [
        *cases,
        case(90, "risk_control", says("sure", "param_config")),
        structs.replace(cases[0], id="x", accepted=CLASSES),
    ]
    keys = learn_weights._Keys.of(PLAIN, cases)
    problems = learn_weights._Problems([learn_weights._problem(one, PLAIN, keys) for one in cases])
    point = np.random.default_rng(3).normal(size=len(keys.place))
    error = check_grad(lambda x: problems.loss(x)[0], lambda x: problems.loss(x)[1], point)
    assert error < 1e-4


# ---- how sure


def said_with(score: float, right: float, count: int = 200) -> tuple[list[LabelledCase], list[list[dict[str, float]]]]:
    """Cases whose first candidate leads by `score`, and is right in a share `right`."""
    cases = [case(i, "param_config" if i < right * count else "interface_fault") for i in range(count)]
    return cases, [[{"param_config": score, UNDECIDED: 0.0}] for _ in cases]


@pytest.mark.parametrize(("score", "right"), [(3.0, 0.7), (3.0, 0.9), (0.8, 0.9)], ids=["over", "slightly", "under"])
def test_the_temperature_makes_what_is_said_what_is_right(score: float, right: float) -> None:
    """Too sure becomes less sure, too timid surer, until the probability is the share that is right."""
    cases, outside = said_with(score, right)
    temperature = learn_weights._temperature(cases, outside)
    before = softmax(outside[0][0])["param_config"]
    after = softmax(outside[0][0], temperature)["param_config"]
    assert (temperature > 1) == (before > right)
    assert after == pytest.approx(right, abs=0.01)


@pytest.fixture(scope="module")
def noisy() -> tuple[list[LabelledCase], learn_weights.Learnt]:
    """Cases in which the better kind of finding is right in nine of ten, and what is learnt from them."""
    cases = some_cases(160, right=0.9, controls=40)
    return cases, learn(cases, PLAIN, precision=0.93, strict=0.8, name="noisy")


def test_probabilities_are_close_to_the_share_that_is_right(noisy: Any) -> None:
    """Over the cases left out, in the mean of those where a class leads: close before the ceiling, and never more after it."""
    cases, learnt = noisy
    said, right = [], []
    for one, rounds in zip(cases, learnt.unseen, strict=True):
        for share in rounds:
            first = learn_weights._first(share)
            if first is not None:
                said.append(share[first])
                right.append(first in one.accepted)
    mean, share_right = sum(said) / len(said), sum(right) / len(right)
    assert mean / learnt.weights.ceiling == pytest.approx(share_right, abs=0.03)
    assert mean <= share_right + 0.01
    assert max(said) <= learnt.weights.ceiling


def test_the_threshold_reaches_the_wanted_precision_and_claims_no_quiet_case(noisy: Any) -> None:
    """Over the cases left out: those located are right often enough, and those without evidence are left undecided."""
    cases, learnt = noisy
    table = learnt.weights
    located, claimed = [], []
    for one, rounds in zip(cases, learnt.unseen, strict=True):
        for share in rounds:
            said = answer(one, share, table)
            if not said.abstained:
                (claimed if one.fault_class == UNDECIDED else located).append(said.fault_class in one.accepted)
    assert len(located) > 100
    assert sum(located) / len(located) >= 0.93
    assert len(claimed) <= 0.02 * 3 * 40


def test_more_precision_is_never_had_by_naming_more(noisy: Any) -> None:
    """The threshold rises with what is wanted."""
    cases, learnt = noisy
    found = [learn_weights._threshold(cases, learnt.unseen, wanted, 0.0) for wanted in (0.5, 0.8, 0.9, 0.95, 0.999)]
    assert found == sorted(found)


def test_the_thresholds_of_classes_only_rise() -> None:
    """A class that is mostly wrong needs more than the others; none needs less."""
    cases = [case(i, "param_config") for i in range(60)] + [case(i, "internal_fault") for i in range(60, 120)]
    right: dict[str, float] = {"param_config": 0.9, UNDECIDED: 0.1}
    wrong: dict[str, float] = {"interface_fault": 0.7, UNDECIDED: 0.3}
    unseen = [[right] * learn_weights.ROUNDS] * 60 + [[wrong] * learn_weights.ROUNDS] * 60
    found = learn_weights._class_thresholds(cases, unseen, 0.6, 0.9)
    assert found.keys() == {"interface_fault"}
    assert found["interface_fault"] > 0.7
    assert all(value > weights().locate for value in weights().locate_class.values())


def test_a_no_fault_answer_to_a_fault_is_no_strict_hit() -> None:
    """To say success where something failed is not the label's own class."""
    answers = learn_weights._answers([case(1, "param_config")], [[{"success": 0.9, UNDECIDED: 0.1}]])
    assert [one.strict for one in answers] == [False]


# ---- too few


@pytest.mark.parametrize(
    ("cases", "told"),
    [
        ([], "0 cases in 0 families"),
        (some_cases(1), "1 case in 1 family"),
        ([structs.replace(one, family="one") for one in some_cases(30)], "30 cases in 1 family"),
        (some_cases(LEAST_FAMILIES - 1), "9 cases in 9 families"),
    ],
    ids=["none", "one", "one family", "nine"],
)
def test_too_few_families_are_refused_with_how_many_are_needed(cases: list[LabelledCase], told: str) -> None:
    """There would be nothing to judge the weights by."""
    with pytest.raises(UsageError, match=f"{told}; .* 10 families are needed"):
        learn(cases, PLAIN, precision=0.9, strict=0.8)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["one class", "controls", "nothing found"])
def test_cases_that_teach_little_are_learnt_from_without_a_complaint(kind: str) -> None:
    """Only one class, only controls, or cases in which nothing was found: the file is one that reads back."""
    some = {
        "one class": [case(i, "param_config", says("sure", "param_config")) for i in range(12)],
        "controls": [
            structs.replace(one, kind="control", accepted=("success", UNDECIDED)) for one in some_cases(0, controls=12)
        ],
        "nothing found": [case(i, "param_config") for i in range(12)],
    }[kind]
    report = learn_report(some, PLAIN, weights(), alone=True, precision=0.9, strict=0.8, name="x")
    assert read(weights_text(report.learnt.weights)) == report.learnt.weights
    assert "12 cases in 12 families" in report_text(report).en


# ---- the files


def read(text: str, path: Path | None = None) -> Weights:
    """The weights of a text."""
    from pipeline.judge import _weights

    return _weights(str(path or "w.toml"), text.encode())


NAME = st.text(min_size=1, max_size=12)
ODDS = st.floats(-50, 50)
SHARE = st.floats(0, 1)
TABLE = st.dictionaries(NAME, st.floats(0, 50), max_size=4)
WEIGHTS = st.builds(
    structs.replace,
    st.just(weights()),
    repeated=st.floats(0.01, 1),
    same_record=SHARE,
    undecided=ODDS,
    temperature=st.floats(0.1, 10),
    ceiling=SHARE,
    locate=SHARE,
    seed=SHARE,
    weights=TABLE,
    against=TABLE,
    gaps=TABLE,
    locate_class=st.dictionaries(NAME, SHARE, max_size=3),
    prior=st.dictionaries(NAME, ODDS, max_size=3),
    channel_prior=st.dictionaries(NAME, st.dictionaries(NAME, ODDS, max_size=3), max_size=3),
    learnt=st.dictionaries(NAME, st.one_of(st.text(max_size=12), st.integers(-(2**53), 2**53), st.booleans(), SHARE)),
)


@given(WEIGHTS)
@settings(max_examples=200)
def test_weights_read_back_as_they_were_written(table: Weights) -> None:
    """Whatever the names hold; and writing what was read gives the same file."""
    text = weights_text(table)
    again = read(text)
    assert again == table
    assert weights_text(again) == text


def test_every_number_in_the_file_has_its_word() -> None:
    """A person can read the file: each part begins with a comment, and none is left out."""
    text = weights_text(weights())
    for name in Weights.__struct_fields__:
        assert re.search(rf'(?m)^(\[{name}\]|{name}(\."\w+")? = )', text) or not getattr(weights(), name), name
    assert len(re.findall(r"(?m)^# ", text)) >= 10


def test_the_shipped_file_is_as_it_would_be_written() -> None:
    """Nobody edited its layout by hand."""
    assert (START.parent / "weights.toml").read_text("utf-8") == weights_text(weights())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("version = 2", "version = 1"), "version 1"),
        (('"wording" = ', '"wording" = -'), r"weights\.wording is -.*0 or more"),
        ((r'"gap.no_logs" = ', r'"gap.no_logs" = -'), r"gaps\.gap\.no_logs is -"),
        (('"wording" = ', '"wording" = inf #'), r"weights\.wording is inf"),
        (("undecided = ", "undecided = nan #"), "undecided is nan"),
        (("locate = ", "locate = 8"), "locate is 8.*between 0 and 1"),
        (("ceiling = ", "ceiling = 1"), "ceiling is 1.*between 0 and 1"),
        (("temperature = ", "temperature = -"), "temperature"),
        (("seed = ", "seeds = "), "seed"),
        (("[weights]", "[weight]"), "weight"),
    ],
)  # fmt: skip
def test_a_wrong_number_in_a_file_of_weights_is_named(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    """With the file, and what would be right."""
    text = weights_text(weights())
    assert change[0] in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(change[0], change[1], 1), encoding="utf-8")
    with pytest.raises(UsageError, match=rf"mine\.toml: .*{told}"):
        weights(str(path))


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    """Its digest is taken of today's content, so its numbers must be today's as well."""
    path = tmp_path / "w.toml"
    path.write_text(weights_text(PLAIN), encoding="utf-8")
    assert weights(str(path)) == PLAIN
    path.write_text(weights_text(structs.replace(PLAIN, undecided=3.0)), encoding="utf-8")
    assert weights(str(path)).undecided == 3.0


TESTIMONY = st.builds(
    Heard,
    kind=NAME,
    strength=SHARE,
    supports=st.none() | st.sampled_from(ALL_CLASSES),
    against=st.lists(st.sampled_from(ALL_CLASSES), max_size=2).map(tuple),
    cites=st.lists(NAME, max_size=2).map(tuple),
)
LABELLED = st.builds(
    LabelledCase,
    id=NAME,
    fault_class=st.sampled_from([*ALL_CLASSES, UNDECIDED]),
    accepted=st.lists(st.sampled_from([*ALL_CLASSES, UNDECIDED]), min_size=1, max_size=3).map(tuple),
    kind=st.sampled_from(KINDS),
    family=NAME,
    channel=st.text(max_size=5),
    found=st.lists(TESTIMONY, max_size=4).map(tuple),
)


@given(st.lists(LABELLED, max_size=5, unique_by=lambda one: one.id))
def test_labelled_cases_read_back_as_they_were_written(cases: list[LabelledCase]) -> None:
    """In order of ids, whatever their names hold."""
    text = cases_text(cases)
    assert read_cases(text.encode(), "c.ndjson") == tuple(sorted(cases, key=lambda one: one.id))
    assert cases_text(reversed(cases)) == text


GOOD = cases_text([case(1, "param_config", says("wording.x", "param_config", 0.5))]).strip()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "is no labelled case: .*--write-cases"),
        ("[]", "is no labelled case"),
        ('{"id": "A"}', "missing required field"),
        ("\udcff", "is no labelled case"),
        (GOOD.replace('"real"', '"reel"'), "kind 'reel' is none of real, rule, control, insufficient"),
        (GOOD.replace('["param_config"]', '["param_confg"]'), "no fault class 'param_confg'; there are .*param_config"),
        (GOOD.replace('["param_config"]', "[]"), "must not be empty"),
        (GOOD.replace("0.5", "5"), "strength of wording.x is 5.0; it must be between 0 and 1"),
        (GOOD, "'C0001' stands there twice"),
    ],
    ids=["cut", "list", "fields", "bytes", "kind", "class", "accepted", "strength", "twice"],
)
def test_a_broken_case_is_told_with_its_line(line: str, told: str) -> None:
    """And what would be right."""
    with pytest.raises(UsageError, match=rf"c\.ndjson, line 3: .*{told}"):
        read_cases(f"{GOOD}\n\n{line}\n".encode("utf-8", "surrogateescape"), "c.ndjson")


# ---- the judge and the learner agree

KINDS_FOUND = [
    "channel_code.exact",
    "wording.dns",
    "http.status",
    "span.tls",
    "order_rule.R04",
    "unseen.message",
    "nobody.knows",
]
RECORDS = st.lists(st.sampled_from("abcdef"), max_size=2, unique=True).map(
    lambda names: tuple(Cited("log", "bundle", "x", doc_id=name) for name in names)
)
FOUND = st.lists(
    st.one_of(
        st.builds(
            Found,
            kind=st.sampled_from(KINDS_FOUND),
            statement=st.just(Text(en="it failed", zh="失败")),
            cites=RECORDS,
            supports=st.none() | st.sampled_from(CLASSES),
            strength=SHARE,
        ),
        st.builds(
            Found,
            kind=st.sampled_from(["ruled_out.keys", "callback.received"]),
            statement=st.just(Text(en="it is well", zh="正常")),
            cites=RECORDS,
            strength=SHARE,
            against=st.lists(st.sampled_from(CLASSES), min_size=1, max_size=2, unique=True).map(tuple),
        ),
        st.builds(
            Found,
            kind=st.sampled_from(sorted(weights().gaps)),
            statement=st.just(Text(en="logs are missing", zh="缺日志")),
            strength=st.just(0.0),
            service=st.just("pay-channel"),
        ),
    ),
    max_size=8,
)  # fmt: skip


@given(FOUND)
@settings(max_examples=200, deadline=None)
def test_what_is_scored_is_what_the_judge_says(found: list[Found]) -> None:
    """Class, abstention, coarse class and confidence: the learner's short cut and `diagnose` are of one mind."""
    said = diagnose(CASE, Seen(tuple(found)), [f"F{i}" for i, _ in enumerate(found, start=1)])
    heard = tuple(
        Heard(one.kind, one.strength, one.supports, one.against, tuple(str(c.doc_id) for c in one.cites))
        for one in found
    )
    one = LabelledCase("A", "param_config", ("param_config",), "real", "f", CASE.channel or "", heard)
    mine = answer(one, probabilities(one.found, CASE.channel, weights()), weights())
    assert (mine.fault_class, mine.abstained, mine.seed) == (said.fault_class or "", said.abstained, said.seed_class)
    assert mine.confidence == pytest.approx(said.confidence, abs=1e-4)
    assert mine.candidates[: len(said.candidates)] == tuple(c.fault_class for c in said.candidates)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_read_from_a_document_is_the_documents(name: str) -> None:
    """What was written down is enough to judge again: same class, same confidence."""
    given_ = answer_of(taken(name))
    one = labelled_case(Label(name, "param_config"), given_.found, given_.channel)
    mine = answer(one, probabilities(one.found, one.channel, weights()), weights())
    assert (mine.fault_class, mine.abstained, mine.seed) == (
        given_.answer.fault_class, given_.answer.abstained, given_.answer.seed,
    )  # fmt: skip
    assert mine.confidence == pytest.approx(given_.answer.confidence, abs=1e-3)


# ---- what is shipped belongs together


def test_the_shipped_weights_are_those_of_the_shipped_cases() -> None:
    """Nobody edits the one without the other. After a wanted change: learn-weights labelled_cases.ndjson --out weights.toml."""
    shipped = weights()
    start = structs.replace(weights(str(START)), repeated=shipped.repeated, same_record=shipped.same_record)
    fitted = fit(shipped_cases(), start, shipped.learnt["penalty"])
    for part in ("weights", "against", "gaps", "prior", "channel_prior"):
        expected, found = getattr(shipped, part), getattr(fitted, part)
        assert found.keys() == expected.keys(), part
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, abs=0.002), (part, key)
    assert fitted.undecided == pytest.approx(shipped.undecided, abs=0.002)
    cases = shipped_cases()
    assert shipped.learnt["number"] == len(cases)
    assert shipped.learnt["families"] == len({one.family for one in cases})


def test_the_shipped_cases_are_as_they_would_be_written() -> None:
    """In order of ids, each once."""
    assert learn_weights._SHIPPED.read_text("utf-8") == cases_text(shipped_cases())


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_rows_are_what_todays_detectors_find(name: str) -> None:
    """Otherwise the shipped cases are stale: take them anew with --write-cases, and learn again."""
    row = next(one for one in shipped_cases() if one.id == name)
    found = answer_of(taken(name))

    def listed(some: Sequence[Heard]) -> list[tuple[Any, ...]]:
        return [
            (one.kind, one.supports or "", one.against, one.cites, pytest.approx(one.strength, abs=0.01))
            for one in some
        ]

    assert [t[:4] for t in listed(found.found)] == [t[:4] for t in listed(row.found)]
    assert [one.strength for one in found.found] == pytest.approx([one.strength for one in row.found], abs=0.01)
    assert found.channel == row.channel


# ---- the report


def test_a_figure_is_surely_worse_only_beyond_chance() -> None:
    """The change's whole interval lies on the bad side; for `ece` more is worse."""
    assert Figure("coverage", 0.8, 0.7, change=(-0.2, -0.01)).surely_worse
    assert not Figure("coverage", 0.8, 0.79, change=(-0.03, 0.0)).surely_worse
    assert Figure("coverage", 0.8, 0.79, change=(-0.03, 0.0)).worse
    assert not Figure("coverage", 0.7, 0.8, change=(0.01, 0.2)).worse
    assert Figure("ece", 0.02, 0.1, change=(0.01, 0.2)).surely_worse
    assert not Figure("ece", 0.1, 0.02, change=(-0.2, -0.01)).worse
    assert not Figure("coverage", None, 0.7).worse


# ---- the command


@pytest.fixture(autouse=True)
def _alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command here sees anybody's settings."""
    monkeypatch.setenv("PROBLEM_SNAPSHOT_STORE", str(home / "kept"))


LABELS = """id,fault_class,alternates,kind,family
TK-22294,param_config,,real,wx
TK-24182,order_state,,rule,r
TK-33097,interface_fault,,real,dns
TK-83164,unknown,,insufficient,i
"""


@pytest.fixture
def folder(home: Path) -> Path:
    """The examples as cases, with their labels beside them."""
    place = home / "cases"
    place.mkdir()
    for name in NAMES:
        (place / name).symlink_to(EXAMPLES / name)
    (home / "cases_labels.csv").write_text(LABELS, encoding="utf-8")
    return place


def run(*args: str | Path, command: str = "learn-weights") -> Result:
    return CliRunner().invoke(commands, [command, *map(str, args)], prog_name="problem-snapshot")


def written(name: str, text: str) -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def file_of(cases: Sequence[LabelledCase]) -> Path:
    """A FILE of cases with kinds that the shipped weights know."""
    kinds = {"sure": "wording.dns", "guess": "http.status"}
    real = [
        structs.replace(one, found=tuple(structs.replace(t, kind=kinds.get(t.kind, t.kind)) for t in one.found))
        for one in cases
    ]
    return written("mine.ndjson", cases_text(real))


@pytest.mark.usefixtures("quick")
def test_cases_are_learnt_from_beside_the_shipped_and_put_in_force(folder: Path) -> None:
    """From a folder of bundles to another judge: the file holds through the configuration, and the digest tells."""
    result = run(folder, "--jobs", "1", "--out", "w.toml", "--write-cases", "c.ndjson")
    assert result.exit_code in {0, 12}, result.output
    assert result.stdout.startswith("Learnt from 4 cases in 4 families and from 239 shipped cases.\n")
    assert "read the first table as counts" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 120
    learnt = weights("w.toml")
    assert learnt.learnt["number"] == 243
    assert {one.id for one in read_cases(Path("c.ndjson").read_bytes(), "c")} == set(NAMES)

    line = re.search(r"weights = \".*?\"", result.stderr)
    assert line is not None
    before = settings_digest(load_settings(None, None, {}))
    written("problem-snapshot.toml", f"[defaults]\n{line[0]}\n")
    assert settings_digest(load_settings(None, None, {})) != before
    written("w.toml", weights_text(structs.replace(learnt, undecided=40.0)))
    taken_ = run("TK-33097", "--bundle", folder / "TK-33097", "-o", "json", command="take")
    assert taken_.exit_code == 0, taken_.output
    document = json.loads(taken_.stdout)
    assert document["diagnosis"]["abstained"]
    assert document["provenance"]["settings_sha256"] != taken("TK-33097").provenance.settings_sha256


@pytest.mark.usefixtures("quick")
def test_a_file_of_cases_gives_what_the_folder_gave(folder: Path) -> None:
    """--write-cases, then the file: same weights, without taking anything; the file has its labels."""
    assert run(folder, "--jobs", "1", "--out", "a.toml", "--write-cases", "c.ndjson").exit_code in {0, 12}
    result = run("c.ndjson", "--out", "b.toml", "--write-cases", "d.ndjson")
    assert result.exit_code in {0, 12}
    numbers = [structs.replace(weights(name), learnt={}) for name in ("a.toml", "b.toml")]
    assert numbers[0] == numbers[1]
    assert Path("c.ndjson").read_bytes() == Path("d.ndjson").read_bytes()
    refused = run("c.ndjson", "--labels", "cases_labels.csv")
    assert refused.exit_code == 2
    assert "--labels and --map belong to DIR or STORE" in refused.stderr


def test_snapshots_of_a_store_are_learnt_from_and_those_absent_are_counted(home: Path) -> None:
    """Alone, four are too few: it says how many are needed, and the cases are written all the same."""
    for name in NAMES[:3]:
        Store(str(home / "kept")).put(taken(name))
    labels = written("l.csv", LABELS)
    result = run(home / "kept", "--labels", labels, "--alone", "--write-cases", "c.ndjson", "--out", "w.toml")
    assert result.exit_code == 2
    assert "3 cases in 3 families; " in result.stderr
    assert "10 families are needed" in result.stderr
    assert len(read_cases(Path("c.ndjson").read_bytes(), "c")) == 3
    assert not Path("w.toml").exists()


@pytest.mark.usefixtures("quick")
def test_alone_learns_from_these_cases_only_and_says_so() -> None:
    """It begins with the shipped weights, which have not seen them, or with those of --start."""
    file = file_of(some_cases(24, right=0.9))
    result = run(file, "--alone", "--out", "w.toml")
    assert result.exit_code in {0, 12}, result.output
    assert result.stdout.startswith("Learnt from 24 cases in 24 families.\n")
    assert weights("w.toml").learnt["number"] == 24
    assert weights("w.toml").weights.keys() == weights().weights.keys()
    start = written("s.toml", weights_text(structs.replace(weights(), weights={"wording": 1.0, "http": 1.0})))
    assert run(file, "--alone", "--start", start, "--out", "v.toml").exit_code in {0, 12}
    assert weights("v.toml").weights.keys() == {"wording", "http"}


def test_the_learning_begins_with_weights_that_have_not_seen_the_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where shipped cases are learnt from, those set by hand; the shipped weights only beside cases that are not theirs."""
    from pipeline import weights_report

    begun: list[Weights] = []

    def spy(_cases: Any, start: Weights, **_more: Any) -> Any:
        begun.append(start)
        raise UsageError("enough")

    monkeypatch.setattr(weights_report, "learn", spy)
    file = file_of(some_cases(12))
    shipped = written("s.ndjson", cases_text(shipped_cases()[:20]))
    for args in ([file], [file, "--alone"], [shipped], [shipped, "--alone"]):
        run(*args)
    by_hand = weights(str(START))
    assert begun == [by_hand, weights(), by_hand, by_hand]


@pytest.mark.usefixtures("quick")
def test_what_is_in_force_is_what_is_compared_with() -> None:
    """Not what the learning begins with."""
    never = written("never.toml", weights_text(structs.replace(weights(), locate=1.0, undecided=40.0)))
    written("problem-snapshot.toml", f'[defaults]\nweights = "{never}"\n')
    result = run(file_of(some_cases(24)), "--alone")
    assert result.exit_code in {0, 12}, result.output
    assert re.search(r"(?m)^  coverage +0\.000 +[01]\.\d+", result.stdout)


@pytest.mark.usefixtures("quick")
def test_the_report_is_in_the_language_asked_for() -> None:
    """Every line of words, with the same numbers."""
    file = file_of(some_cases(24, right=0.8))
    en, zh = (run(file, "--alone", "-l", language).stdout for language in ("en", "zh"))
    assert re.findall(r"-?\d\.\d{3}", en) == re.findall(r"-?\d\.\d{3}", zh)
    assert "学习样本" in zh
    assert "shipped" not in zh
    assert not re.search(r"[一-鿿]", en)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["nowhere"], "nowhere: no such folder of cases or store"),
        (["empty.ndjson"], "empty.ndjson: no case to learn from"),
        (["broken.ndjson"], "broken.ndjson, line 1: is no labelled case"),
        (["mine.ndjson", "--start", "gone.toml"], "gone.toml: the weights cannot be read"),
        (["mine.ndjson", "--start", "broken.ndjson"], "broken.ndjson: is no file of weights"),
        (["mine.ndjson", "--out", "gone/w.toml"], "gone/w.toml: cannot be written: no such folder"),
        (["mine.ndjson", "--write-cases", "."], "cannot be written: it is a folder"),
        (["mine.ndjson", "--alone"], "1 case in 1 family"),
        (["kept"], "kept: no such folder of cases or store"),
        (["cases", "--labels", "gone.csv"], "gone.csv: cannot be read"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_exit_2(args: list[str], told: str) -> None:
    """It names what is wrong, before anything is learnt or written."""
    file_of(some_cases(1))
    written("empty.ndjson", "\n")
    written("broken.ndjson", "not json\n")
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_labels_of_other_tickets_leave_nothing_to_learn_from(home: Path) -> None:
    """A store without a snapshot of any of them."""
    Store(str(home / "kept")).put(taken(NAMES[0]))
    labels = written("l.csv", "id,fault_class\nTK-1,param_config\n")
    result = run(home / "kept", "--labels", labels)
    assert result.exit_code == 2
    assert "has no snapshot of any ticket" in result.stderr


@pytest.mark.parametrize("step", ["taking", "learning"])
def test_an_interrupted_run_writes_no_weights(folder: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Exit 130 and a word, whether the cases are being taken or the weights learnt."""
    from pipeline import backtest, weights_report

    def stop(*_args: Any, **_more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(*((backtest.Work, "take") if step == "taking" else (weights_report, "learn")), stop)
    result = run(folder, "--jobs", "1", "--out", "w.toml")
    assert result.exit_code == 130
    assert "nterrupted" in result.stderr
    assert not Path("w.toml").exists()


# ---- the setting


@pytest.mark.parametrize("form", ['weights = "gone.toml"', 'weights = "${WEIGHTS}"', 'weights = "bad.toml"'])
@pytest.mark.parametrize("command", ["take", "backtest", "learn-weights", "replay"])
def test_weights_that_cannot_be_used_are_told_before_a_source_is_asked(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch, form: str, command: str
) -> None:
    """One sentence, with the file and what to do, from the file or from a variable in it; exit 2."""
    from pipeline.sources.bundle.source import BundleSource

    def never(*_args: Any, **_more: Any) -> Any:
        raise AssertionError("a source was asked")

    Store(str(home / "kept")).put(taken("TK-33097"))
    monkeypatch.setattr(BundleSource, "fetch", never)
    monkeypatch.setenv("WEIGHTS", "gone.toml")
    written("bad.toml", "weights = 5\n")
    written("problem-snapshot.toml", f"[defaults]\n{form}\n")
    args = {
        "take": ["TK-33097", "--bundle", folder / "TK-33097"],
        "replay": ["TK-33097", "--bundle", folder / "TK-33097"],
    }.get(command, [folder])
    result = run(*args, command=command)
    assert result.exit_code == 2, result.output
    assert re.search(r"(gone|bad)\.toml: ", result.stderr)
    assert "take it out: then the shipped weights hold" in result.stderr


def test_what_judges_nothing_needs_no_weights(home: Path) -> None:
    """A snapshot can be shown on a machine that lacks the file."""
    Store(str(home / "kept")).put(taken("TK-33097"))
    written("problem-snapshot.toml", '[defaults]\nweights = "gone.toml"\n')
    assert run("TK-33097", command="show").exit_code == 0
    assert run(command="list").exit_code == 0


def test_doctor_tells_which_weights_hold_and_what_is_wrong_with_them() -> None:
    """And exits 8 where they cannot be used."""
    assert re.search(r"(?m)^ok +weights: the shipped ones, learnt from 243 cases", run(command="doctor").stdout)
    written("problem-snapshot.toml", '[defaults]\nweights = "w.toml"\n')
    result = run(command="doctor")
    assert result.exit_code == 8
    assert re.search(r"(?m)^failed +weights: w\.toml: the weights cannot be read", result.stdout)
    assert "-> correct `weights` in the configuration" in result.stdout
    written("w.toml", weights_text(structs.replace(weights(), learnt={})))
    assert re.search(r"(?m)^ok +weights: w\.toml, set by hand", run(command="doctor").stdout)


def test_a_relative_path_begins_at_the_configuration_file(home: Path) -> None:
    """Wherever the program is started; an empty one, as of a variable that is not set, means the shipped weights."""
    (home / "etc").mkdir()
    path = written("etc/c.toml", '[defaults]\nweights = "w.toml"\n')
    assert load_settings(path, None, {}).weights == str(path.parent / "w.toml")
    written("etc/c.toml", '[defaults]\nweights = "${WEIGHTS:-}"\n')
    assert load_settings(path, None, {}).weights is None
    assert load_settings(path, None, {"WEIGHTS": "/x/w.toml"}).weights == "/x/w.toml"


def test_the_digest_tells_the_content_and_not_the_place() -> None:
    """The same weights elsewhere are the same settings; a file that is gone is told, not a crash."""
    for name in ("a.toml", "b.toml"):
        written(name, weights_text(weights()))
    a, b = (structs.replace(load_settings(None, None, {}), weights=name) for name in ("a.toml", "b.toml"))
    assert settings_digest(a) == settings_digest(b)
    written("b.toml", weights_text(PLAIN))
    assert settings_digest(a) != settings_digest(b)
    Path("b.toml").unlink()
    with pytest.raises(UsageError, match=r"b\.toml: the weights cannot be read"):
        settings_digest(b)
