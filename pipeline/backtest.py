"""Take the snapshots of labelled cases, or read those that were taken, and report how well they answer.

Each case runs through the same `take_snapshot` as a ticket does, over a few processes that load everything once. A case that
fails is a row with its error and counts as a wrong answer. The report holds no time of day and no duration: the same cases,
labels and program give the same bytes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline import scores
from pipeline.errors import UsageError
from pipeline.judge import Testimony, testimony, weights_in_force
from pipeline.labels import Labels, read_labels
from pipeline.processes import cores, each
from pipeline.scores import Answer, Bin, ClassScore, Comparison, Group, Judged, Label, Outcome, Weighed
from snapshots.model import Text

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from snapshots.model import ProblemSnapshot
    from snapshots.store import Store

FORMAT = "problem-snapshot backtest 1"
# Characters of an error that a row repeats.
_ERROR = 200

Step = Callable[[int], None]


@dataclass(frozen=True)
class Made:
    """What made a snapshot: two runs with the same of it differ in their cases only."""

    tool_version: str
    tables_sha256: str
    settings_sha256: str


@dataclass(frozen=True)
class Given:
    """One case's answer, and what made it where it did not fail.

    `found` is what the judge weighed, and `channel` the only one of the scope or empty: with other weights they give
    another answer.
    """

    answer: Answer
    made: Made | None = None
    found: tuple[Testimony, ...] = ()
    channel: str = ""


@dataclass(frozen=True)
class Ran:
    """The answers by case id; `interrupted` where there would have been more."""

    given: Mapping[str, Given]
    seconds: float = 0.0
    interrupted: bool = False


# ---- from a snapshot to what is scored of it


def answer_of(snapshot: ProblemSnapshot) -> Given:
    """What `snapshot` says, as far as it is scored."""
    d, p = snapshot.diagnosis, snapshot.provenance
    first = set(d.candidates[0].findings) if d.candidates else set()
    cited = {e.doc_id for f in snapshot.findings if f.id in first for e in f.evidence if e.doc_id is not None}
    answer = Answer(
        fault_class=d.fault_class or "",
        fault_subclass=d.fault_subclass or "",
        abstained=d.abstained,
        confidence=d.confidence,
        candidates=tuple(c.fault_class for c in d.candidates),
        seed=d.seed_class,
        missing=bool(d.missing),
        cited=tuple(sorted(cited)),
        findings=tuple(
            Weighed(f.kind, f.weight, f.supports, f.service, f.channel, f.code) for f in snapshot.findings if f.weight
        ),
        language=snapshot.ticket.language,
        channel=d.location.channel or "",
    )
    channels = snapshot.scope.channels
    return Given(
        answer,
        Made(p.tool_version, p.tables_sha256, p.settings_sha256),
        testimony(snapshot),
        channels[0] if len(channels) == 1 else "",
    )


def _failure(error: BaseException) -> Given:
    return Given(Answer(failed=f"{type(error).__name__}: {str(error)[:_ERROR]}".strip()))


# ---- running the cases


@dataclass(frozen=True)
class Work:
    """What each process needs to take the snapshot of a case: the folder of bundles, the settings, and where to keep it."""

    folder: Path
    settings: Settings
    keep: Path | None = None

    def take(self, name: str) -> Given:
        """The answer to one case. Never raises: an error is an answer, too."""
        try:
            snapshot = self._snapshot(name)
            if self.keep is not None:
                from snapshots.model import canonical_bytes
                from snapshots.store import ticket_folder

                (self.keep / f"{ticket_folder(name)}.json").write_bytes(canonical_bytes(snapshot))
            return answer_of(snapshot)
        except Exception as error:  # noqa: BLE001 - whatever one case does, the others go on
            return _failure(error)

    def _snapshot(self, name: str) -> ProblemSnapshot:
        from pipeline.run import take_snapshot
        from pipeline.sources import open_bundle
        from pipeline.tickets.file import find_ticket

        ticket, bundle = find_ticket(name, self.folder)
        if bundle is None:  # pragma: no cover - with a folder there is one
            raise UsageError(f"{name}: has no bundle in {self.folder}")
        source = open_bundle(bundle, zone=self.settings.zone or ticket.created_at.tzinfo)
        try:
            return take_snapshot(ticket, [source], self.settings).snapshot
        finally:
            source.close()


def run_cases(work: Work, labels: Sequence[Label], jobs: int = 1, step: Step = lambda _: None) -> Ran:
    """Takes the snapshot of every case, `jobs` at a time; `step` is told how many are done.

    Ctrl-C ends it with what is done so far. Raises `UsageError` where the snapshots are to be kept and cannot be.
    """
    if work.keep is not None:
        try:
            work.keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{work.keep}: cannot be made: {error.strerror}") from error
    begun = time.monotonic()
    names = [label.id for label in labels]
    given: dict[str, Given] = {}
    interrupted = False
    with contextlib.closing(each(work, names, jobs, _died)) as answers:
        try:
            for name, one in answers:
                given[name] = one
                step(len(given))
        except KeyboardInterrupt:
            interrupted = True
    ordered = {name: given[name] for name in names if name in given}
    return Ran(ordered, time.monotonic() - begun, interrupted)


def _died(_name: str) -> Given:
    return Given(Answer(failed="the process that took it ended (out of memory?)"))


# ---- reading what was taken before


def is_cases(place: str) -> bool:
    """Whether `place` is a folder of bundles or one of them, or else something that holds snapshots."""
    from pipeline.sources.bundle.tickets import is_bundle

    path = Path(place)
    if "://" in place or (path / "snapshots").is_dir():
        return False
    return is_bundle(path) or (path.is_dir() and any(is_bundle(child) for child in path.iterdir()))


def read_kept(place: str, names: Sequence[str], step: Step = lambda _: None) -> Ran:
    """The answers of the newest snapshot of each ticket of `names`, out of a store or a folder of documents.

    A ticket without a snapshot has no answer; a document that cannot be read is a failed one. Raises `UsageError` where
    there is nothing of the kind.
    """
    from snapshots.store import Store, StoreError

    begun = time.monotonic()
    path = Path(place)
    given: dict[str, Given] = {}
    interrupted = False
    try:
        if "://" in place or (path / "snapshots").is_dir():
            found = _of_store(Store(place), names)
        elif path.is_dir():
            found = _of_folder(path, frozenset(names))
        else:
            raise UsageError(f"{place}: no such folder of cases or store of snapshots")
        for name, one in found:
            given[name] = one
            step(len(given))
    except StoreError as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:
        interrupted = True
    ordered = {name: given[name] for name in names if name in given}
    return Ran(ordered, time.monotonic() - begun, interrupted)


def _of_store(store: Store, names: Sequence[str]) -> Iterator[tuple[str, Given]]:
    from snapshots.store import DamagedSnapshot

    for name in names:
        try:
            snapshot = store.newest(name)
        except DamagedSnapshot as error:
            yield name, _failure(error)
        else:
            if snapshot is not None:
                yield name, answer_of(snapshot)


def _of_folder(folder: Path, names: frozenset[str]) -> Iterator[tuple[str, Given]]:
    from snapshots.model import read_snapshot

    held = False
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith(".run.json"):
            continue
        try:
            snapshot = read_snapshot(path.read_bytes())
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
            if path.stem in names:
                yield path.stem, _failure(error)
            continue
        held = True
        if snapshot.ticket.id in names:
            yield snapshot.ticket.id, answer_of(snapshot)
    if not held:
        raise UsageError(f"{folder}: holds neither bundles nor snapshots")


# ---- the report


@dataclass(frozen=True)
class Case:
    """One case of the report. `right` is true where its outcome is."""

    label: Label
    answer: Answer
    outcome: Outcome
    right: bool


@dataclass(frozen=True)
class Report:
    """Everything that a backtest says. Written as JSON it is what `--against` reads.

    `planned` cases are labelled; `absent` of them have no snapshot in the store. `exact95` holds Clopper-Pearson intervals,
    `ci95` those by drawing families.
    """

    cases_from: str
    labels_from: str
    planned: int
    made: tuple[Made, ...]
    scores: Mapping[str, float | int | None]
    ci95: Mapping[str, tuple[float, float]]
    counts: Mapping[str, tuple[int, int]]
    exact95: Mapping[str, tuple[float, float] | None]
    reliability: tuple[Bin, ...]
    per_class: Mapping[str, ClassScore]
    per_kind: Mapping[str, Group]
    per_channel: Mapping[str, Group]
    per_language: Mapping[str, Group]
    cases: tuple[Case, ...]
    interrupted: bool = False
    absent: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    assumed: tuple[Text, ...] = ()
    against: Comparison | None = None
    against_from: str = ""
    against_made: tuple[Made, ...] = ()
    format: str = FORMAT

    @property
    def judged(self) -> list[Judged]:
        """The cases, judged."""
        return [scores.judge(case.label, case.answer) for case in self.cases]


def report(ran: Ran, labels: Labels, *, cases_from: str, labels_from: str, draws: int = scores.DRAWS) -> Report:
    """The report on what ran. Cases come in order of ids, whatever the order in which they ran."""
    of = sorted((label for label in labels.labels if label.id in ran.given), key=lambda label: label.id)
    judged = [scores.judge(_completed(label, ran.given[label.id].answer), ran.given[label.id].answer) for label in of]
    counts = scores.counts(judged)
    return Report(
        cases_from=cases_from,
        labels_from=labels_from,
        planned=len(labels.labels),
        made=_makers(ran),
        scores=scores.scores(judged),
        ci95=scores.intervals(judged, draws),
        counts=counts,
        exact95={name: scores.exact_interval(*pair) for name, pair in counts.items()},
        reliability=tuple(scores.reliability(judged)),
        per_class=scores.by_class(judged),
        per_kind=scores.groups(judged, lambda label: label.kind),
        per_channel=scores.groups(judged, lambda label: label.channel),
        per_language=scores.groups(judged, lambda label: label.language),
        cases=tuple(Case(j.label, j.answer, j.outcome, j.outcome == "right") for j in judged),
        interrupted=ran.interrupted,
        absent=() if ran.interrupted else tuple(label.id for label in labels.labels if label.id not in ran.given),
        left_out=labels.left_out,
        assumed=labels.assumed,
    )


def _completed(label: Label, answer: Answer) -> Label:
    """A label that says no language or channel goes by the ticket's and the snapshot's."""
    return replace(label, language=label.language or answer.language, channel=label.channel or answer.channel)


def _makers(ran: Ran) -> tuple[Made, ...]:
    made = {one.made for one in ran.given.values() if one.made is not None}
    return tuple(sorted(made, key=lambda m: (m.tool_version, m.tables_sha256, m.settings_sha256)))


def held_against(now: Report, before: Ran, name: str, draws: int = scores.DRAWS) -> Report:
    """`now` with its comparison to the answers of an earlier run, called `name`. Raises `UsageError` for other cases."""
    answers = {case: one.answer for case, one in before.given.items()}
    comparison = scores.compare(answers, now.judged, draws)
    if not comparison.common:
        raise UsageError(f"{name}: has no case in common with this run")
    return replace(now, against=comparison, against_from=name, against_made=_makers(before))


class _EarlierCase(msgspec.Struct):
    label: Label
    answer: Answer


class _Earlier(msgspec.Struct):
    format: str
    cases: list[_EarlierCase]
    made: list[Made] = []


def read_report(path: Path) -> Ran:
    """The answers in a report that was written before. Raises `UsageError` where `path` is none."""
    try:
        earlier = msgspec.json.decode(path.read_bytes(), type=_Earlier)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: is no report that backtest --json wrote: {error}") from error
    if earlier.format != FORMAT:
        raise UsageError(f"{path}: is of the format {earlier.format!r}; this version reads {FORMAT!r}")
    only = earlier.made[0] if len(earlier.made) == 1 else None
    given = {case.label.id: Given(case.answer, only) for case in earlier.cases}
    return Ran(given)


def report_json(report: Report) -> str:
    """The report as JSON with an indent of one."""
    data = msgspec.json.encode(report, order="deterministic")
    return msgspec.json.format(data, indent=1).decode() + "\n"


# ---- goals


def unmet(report: Report, at_least: Mapping[str, float], at_most: Mapping[str, float]) -> list[Text]:
    """A sentence for each figure that misses its goal. One that could not be measured misses it."""
    found = []
    for name, goal in [*at_least.items(), *at_most.items()]:
        value = report.scores[name]
        low = name in at_least
        if value is None:
            found.append(
                Text(
                    en=f"{name} was not measured: no case counts for it; wanted {goal:g}",
                    zh=f"{name} 未能计算：没有可计入的案例；目标 {goal:g}",
                )
            )
        elif value < goal if low else value > goal:
            found.append(
                Text(
                    en=f"{name} is {value:.4g}, {'under' if low else 'over'} {goal:g}",
                    zh=f"{name} 为 {value:.4g}，{'低于' if low else '高于'} {goal:g}",
                )
            )
    return found


def read_goal(text: str, option: str) -> tuple[str, float]:
    """`NAME=VALUE` -> the figure's name and the value. Raises `UsageError`."""
    name, mark, value = text.partition("=")
    name = name.strip()
    if not mark or name not in scores.FIGURES:
        raise UsageError(f"{option} {text}: is to be NAME=VALUE with one of {', '.join(scores.FIGURES)}")
    try:
        number = float(value)
    except ValueError:
        raise UsageError(f"{option} {text}: {value!r} is not a number") from None
    if not number >= 0:
        raise UsageError(f"{option} {text}: the value must be 0 or more")
    if (name in scores.LOWER_IS_BETTER) != (option == "--fail-over"):
        other = "--fail-over" if option == "--fail-under" else "--fail-under"
        raise UsageError(
            f"{option} {text}: of {name} {'less' if other == '--fail-over' else 'more'} is better; use {other}"
        )
    return name, number


# ---- all of it


@dataclass(frozen=True)
class Asked:
    """What a backtest is asked for; see the command's options."""

    cases: str
    labels: Path | None = None
    codes: Path | None = None
    jobs: int = 1
    keep: Path | None = None
    against: Path | None = None
    against_snapshots: str | None = None
    fail_under: tuple[str, ...] = ()
    fail_over: tuple[str, ...] = ()
    no_regressions: bool = False


@dataclass(frozen=True)
class Done:
    """The report, a sentence for each goal that was missed, and how long the cases took in seconds."""

    report: Report
    missed: tuple[Text, ...]
    seconds: float


@dataclass(frozen=True)
class Gathered:
    """Labelled cases with their answers; `cases_from` and `labels_from` are names for a person, without any path."""

    labels: Labels
    ran: Ran
    cases_from: str
    labels_from: str


def gather(asked: Asked, settings: Settings, step: Callable[[int, int], None] = lambda _done, _of: None) -> Gathered:
    """Reads the labels, and takes or reads the snapshots. `step` is told how many of how many are done.

    Raises `UsageError`.
    """
    taken = is_cases(asked.cases)
    folder = Path(asked.cases)
    if taken:
        # Else each case would fail with the same sentence.
        weights_in_force(settings.weights)
    if asked.keep is not None and not taken:
        raise UsageError(f"--keep: {asked.cases} holds no cases to take snapshots of")
    if "://" not in asked.cases and not folder.exists():
        raise UsageError(f"{asked.cases}: no such folder of cases or store")
    path = asked.labels or _beside(folder, "_labels.csv") if taken else asked.labels
    if path is None:
        raise UsageError("--labels is needed with a store: a CSV with id and fault_class, or resolution_code and --map")
    labels = read_labels(path, asked.codes, _beside(folder, "_evidence") if taken else None)
    names = [label.id for label in labels.labels]

    def count(done: int) -> None:
        step(done, len(names))

    if taken:
        ran = run_cases(Work(folder, settings, asked.keep), labels.labels, min(asked.jobs, cores()), count)
    else:
        ran = read_kept(asked.cases, names, count)
        if not ran.given and not ran.interrupted:
            raise UsageError(f"{asked.cases}: has no snapshot of any ticket in {path}")
    place = folder.resolve().name if "://" not in asked.cases else asked.cases.rpartition("@")[2]
    return Gathered(labels, ran, place or asked.cases, path.name)


def run_backtest(asked: Asked, settings: Settings, step: Callable[[int, int], None] = lambda _done, _of: None) -> Done:
    """Gathers the cases, scores and compares.

    Everything that can be wrong with the call is found before the first case runs. Raises `UsageError`.
    """
    at_least = dict(read_goal(goal, "--fail-under") for goal in asked.fail_under)
    at_most = dict(read_goal(goal, "--fail-over") for goal in asked.fail_over)
    if asked.against is not None and asked.against_snapshots is not None:
        raise UsageError("--against and --against-snapshots exclude each other; give one of them")
    compared = asked.against is not None or asked.against_snapshots is not None
    if asked.no_regressions and not compared:
        raise UsageError("--no-regressions needs --against or --against-snapshots")
    earlier = read_report(asked.against) if asked.against is not None else None
    if asked.against_snapshots is not None:
        # Whether anything of the kind is there; which tickets are wanted is known later.
        read_kept(asked.against_snapshots, [])
    have = gather(asked, settings, step)
    made = report(have.ran, have.labels, cases_from=have.cases_from, labels_from=have.labels_from)
    if compared and have.ran.given:
        name = asked.against.name if asked.against else Path(asked.against_snapshots or "").name
        before = earlier or read_kept(asked.against_snapshots or "", [label.id for label in have.labels.labels])
        made = held_against(made, before, name)
    missed = unmet(made, at_least, at_most)
    worse = made.against.regressions if made.against and asked.no_regressions else ()
    if worse:
        shown = ", ".join(change.id for change in worse[:10]) + (" …" if len(worse) > 10 else "")
        missed.append(
            Text(en=f"cases that are worse: {len(worse)}: {shown}", zh=f"退步的案例 {len(worse)} 个：{shown}")
        )
    return Done(made, tuple(missed), have.ran.seconds)


def _beside(folder: Path, ending: str) -> Path:
    whole = folder.resolve()
    return whole.with_name(whole.name + ending)
