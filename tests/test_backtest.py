"""`backtest`: labels of several forms, cases taken or kept, a report for people and programs, and an exit code for goals."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

from cli import commands
from pipeline import backtest
from pipeline.backtest import Given, Ran, Work, report, report_json, run_cases
from pipeline.errors import UsageError
from pipeline.labels import Labels, read_codes, read_labels
from pipeline.scorecard import markdown, plot_svg, sections, table
from pipeline.scores import Answer, Label, Weighed
from snapshots.store import Store
from tests.flow_samples import EXAMPLES, NAMES, SETTINGS, taken

ROOT = Path(__file__).resolve().parent.parent
# What the evaluation says of the four examples.
LABELS = """id,fault_class,fault_subclass,alternates,kind,channel,language,family
TK-22294,param_config,invalid_value,param_config/missing_param,real,wechatpay,zh,wx
TK-24182,order_state,paid_not_updated,,rule,alipay,zh,r
TK-33097,interface_fault,dns_failed,,real,stripe,en,dns
TK-83164,unknown,unspecified,,insufficient,paypal,en,i
"""


@pytest.fixture(autouse=True)
def _alone(home: Path) -> None:
    """No command here sees anybody's settings."""


@pytest.fixture
def cases(home: Path) -> Path:
    """The examples as cases, with their labels beside them."""
    folder = home / "cases"
    folder.mkdir()
    for name in NAMES:
        (folder / name).symlink_to(EXAMPLES / name)
    (home / "cases_labels.csv").write_text(LABELS, encoding="utf-8")
    return folder


@pytest.fixture
def store(home: Path) -> str:
    """A store with the snapshots of the examples."""
    place = str(home / "store")
    for name in NAMES:
        Store(place).put(taken(name))
    return place


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(commands, ["backtest", *map(str, args)], prog_name="problem-snapshot")


def written(path: Path | str, text: str) -> Path:
    Path(path).write_text(text, encoding="utf-8")
    return Path(path)


# ---- labels


def test_only_an_id_and_a_class_are_needed_and_what_is_assumed_is_said() -> None:
    """Every other column has a stated default; a class without a fault makes a control."""
    path = written("l.csv", "id,fault_class\nB,success\nA,param_config\nC,unknown\n")
    labels = read_labels(path)
    assert [(label.id, label.kind) for label in labels.labels] == [
        ("A", "real"),
        ("B", "control"),
        ("C", "insufficient"),
    ]
    said = " ".join(text.en for text in labels.assumed)
    assert all(column in said for column in ("kind", "family", "alternates", "language", "channel", "evidence"))
    full = written(
        "f.csv", "id,fault_class,alternates,kind,channel,language,family,evidence\nA,param_config,,real,x,en,f,d1;d2\n"
    )
    assert read_labels(full).assumed == ()
    assert read_labels(full).labels[0].evidence == {"d1", "d2"}


def test_evidence_lies_beside_the_cases(home: Path) -> None:
    """One label.json a case; an id that climbs out of the folder finds nothing."""
    path = written("l.csv", "id,fault_class\nA,param_config\n../A,param_config\n")
    (home / "e" / "A").mkdir(parents=True)
    written(home / "e" / "A" / "label.json", '{"evidence": ["d1"]}')
    assert [label.evidence for label in read_labels(path, None, home / "e").labels] == [set(), {"d1"}]


@pytest.mark.parametrize("form", ["toml", "csv"])
def test_a_closed_ticket_is_labelled_by_the_code_it_was_closed_with(form: str) -> None:
    """Space and capitals do not matter; a code without a class, or not in the map, leaves its tickets out, counted."""
    labels = written(
        "closed.csv",
        "\ufeffid,resolution_code,channel\nA,Config -  missing field,stripe\nB,SPAM,\nC,gateway,\nD,no idea,\nE,all well,\n",
    )
    if form == "toml":
        text = '[codes]\n"config - missing field" = "param_config/missing_param"\nspam = ""\n'
        text += 'Gateway = ["interface_fault", "channel_outage/channel_system_error"]\n"All well" = "success"\n'
    else:
        text = "resolution_code,fault_class,fault_subclass,alternates,kind\nconfig - missing field,param_config,missing_param,,\n"
        text += "spam,,,,\nGateway,interface_fault,,channel_outage/channel_system_error,\nAll well,success,,,control\n"
    found = read_labels(labels, written(f"map.{form}", text))
    assert [(x.id, x.expected, x.alternates, x.kind) for x in found.labels] == [
        ("A", "param_config/missing_param", (), "real"),
        ("C", "interface_fault", ("channel_outage/channel_system_error",), "real"),
        ("E", "success", (), "control"),
    ]
    assert found.left_out == {"SPAM": 1, "no idea": 1}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ticket,fault_class\nA,param_config\n", "has no column id; it has ticket, fault_class"),
        ("id,resolution_code\nA,x\n", "turn resolution codes into classes with --map"),
        (
            "id,fault_class\nA,param_confg\n",
            "line 2: there is no fault class 'param_confg'; did you mean param_config?",
        ),
        ("id,fault_class\nA,\n", "line 2: fault_class is empty"),
        ("id,fault_class\nA,unknown\n\nA,unknown\n", "line 4: 'A' is labelled twice"),
        (
            "id,fault_class,fault_subclass\nA,param_config,missing\n",
            "has no subclass 'missing'; did you mean missing_param",
        ),
        ("id,fault_class,alternates\nA,param_config,sign/x\n", "there is no fault class 'sign'"),
        ("id,fault_class,kind\nA,param_config,true\n", "kind 'true' is none of real, rule, control, insufficient"),
        ("id,fault_class\nA,param_config,x\n", "has more values than the 2 columns"),
        ("id,fault_class\n", "labels no case"),
    ],
)
def test_a_wrong_label_is_told_with_its_line(text: str, sentence: str) -> None:
    """A name that is misspelt would count every answer wrong."""
    with pytest.raises(UsageError) as raised:
        read_labels(written("l.csv", text))
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[code]\n", "has no table [codes]"),
        ("[codes]\na = 1\n", 'is to be "class"'),
        ('[codes]\na = "paramconfig"\n', "did you mean param_config?"),
        ('[codes]\na = "success"\nA = "unknown"\n', "stands there twice, with two meanings"),
        ("[codes", "is no TOML"),
    ],
)
def test_a_wrong_map_is_told(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_codes(written("m.toml", text))
    assert sentence in str(raised.value)


# ---- running


def test_the_cases_are_taken_as_take_does_and_scored(cases: Path) -> None:
    """The answer is that of the document `take` makes, whatever the number of processes; two runs give the same bytes."""
    one = run(cases, "--jobs", "1", "-o", "json", "--keep", "kept")
    assert one.exit_code == 0, one.stderr
    found = json.loads(one.stdout)
    assert [case["label"]["id"] for case in found["cases"]] == sorted(NAMES)
    for case in found["cases"]:
        expected = taken(case["label"]["id"]).diagnosis
        assert case["answer"]["fault_class"] == (expected.fault_class or "")
        assert case["answer"]["confidence"] == expected.confidence
    assert found["scores"]["cases"] == 4
    two = run(cases, "--jobs", "2", "-o", "json")
    assert two.stdout_bytes == one.stdout_bytes
    again = run("kept", "--labels", "cases_labels.csv", "-o", "json")
    assert json.loads(again.stdout)["cases"] == found["cases"]


def test_a_failing_case_is_a_row_and_never_the_end(cases: Path) -> None:
    """It counts as a wrong answer; the exit code tells."""
    with (cases.parent / "cases_labels.csv").open("a", encoding="utf-8") as file:
        file.write("TK-0,param_config,,,real,x,en,z\n")
    result = run(cases, "-j", "1", "-o", "json")
    assert result.exit_code == 8
    found = json.loads(result.stdout)
    assert found["scores"]["failures"] == 1
    row = next(case for case in found["cases"] if case["label"]["id"] == "TK-0")
    assert row["outcome"] == "failed"
    assert row["answer"]["failed"].startswith("TicketNotFound: no ticket 'TK-0'")
    assert "Wrong answers and failed runs" in run(cases, "-j", "1").stdout


class Deadly(Work):
    """Work whose process dies with one of the cases, and which is slow and quick by turns."""

    def take(self, name: str) -> Given:
        if name == "dead":
            os._exit(9)
        return Given(Answer(fault_class="param_config"))


def test_a_process_that_dies_takes_its_own_case_along_and_no_other(home: Path) -> None:
    """Those that were in hand beside it are tried again."""
    labels = [Label(id=name, fault_class="param_config") for name in ("a", "b", "dead", "c", "d", "e")]
    ran = run_cases(Deadly(home, SETTINGS), labels, 2)
    assert list(ran.given) == [label.id for label in labels]
    assert [name for name, one in ran.given.items() if one.answer.failed] == ["dead"]


class Interrupted(Work):
    """Work in which somebody presses Ctrl-C at the third case."""

    def take(self, name: str) -> Given:
        if name == "c":
            raise KeyboardInterrupt
        return Given(Answer(fault_class="param_config"))


def test_an_interrupted_run_keeps_what_is_done(home: Path) -> None:
    labels = Labels(tuple(Label(id=name, fault_class="param_config") for name in "abcd"))
    ran = run_cases(Interrupted(home, SETTINGS), labels.labels)
    assert (list(ran.given), ran.interrupted) == (["a", "b"], True)
    made = report(ran, labels, cases_from="x", labels_from="y")
    assert (made.scores["cases"], made.planned, made.absent) == (2, 4, ())
    assert "2 of 4 cases were done" in table(sections(made, "en"))


def test_ctrl_c_prints_what_is_done_and_leaves_no_process(cases: Path, home: Path) -> None:
    """It reaches every process of the terminal; only the first answers it, and exits 130."""
    with (home / "cases_labels.csv").open("a", encoding="utf-8") as file:
        for number in range(60):
            shutil.copytree(EXAMPLES / "TK-33097", cases / f"C-{number}")
            ticket = cases / f"C-{number}" / "ticket.json"
            data = json.loads(ticket.read_text("utf-8"))
            ticket.write_text(json.dumps({**data, "id": f"C-{number}"}), encoding="utf-8")
            file.write(f"C-{number},interface_fault,,,real,stripe,en,c\n")
    process = subprocess.Popen(
        [sys.executable, "-c", "from cli import main; main()", "backtest", str(cases), "-o", "json", "-v"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    # The first case is done.
    assert b"1 of 64 cases" in process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    found = json.loads(out)
    assert found["interrupted"]
    assert 1 <= found["scores"]["cases"] < 64
    assert b"Traceback" not in err
    deadline = time.monotonic() + 10
    while (left := living(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def living(group: int) -> list[str]:
    """The processes of a group. One that has ended and was not fetched by anybody does not count."""
    rows = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    return [row for row in rows.splitlines() if row.split()[0] == str(group) and row.split()[1][0] != "Z"]


# ---- a store


def test_a_store_is_scored_without_taking_anything_anew(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tickets that were never taken are named, and not counted."""
    monkeypatch.setattr("pipeline.run.take_snapshot", lambda *_a, **_k: pytest.fail("a snapshot was taken"))
    labels = written("closed.csv", "id,fault_class\nTK-33097,interface_fault\nTK-1,param_config\n")
    result = run(store, "--labels", labels, "-o", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["scores"]["cases"], found["scores"]["top1_alt"], found["absent"]) == (1, 1.0, ["TK-1"])
    # What the labels do not say is the ticket's.
    assert list(found["per_language"]) == ["en"]
    assert list(found["per_channel"]) == ["stripe"]
    assert "1 labelled tickets have no snapshot here: TK-1" in run(store, "--labels", labels).stdout


def test_a_damaged_document_is_a_failed_case(store: str, home: Path) -> None:
    for path in (home / "store" / "snapshots" / "TK-33097").glob("*.json"):
        path.write_bytes(b"{")
    labels = written("closed.csv", "id,fault_class\nTK-33097,interface_fault\nTK-24182,order_state\n")
    result = run(store, "--labels", labels, "-o", "json")
    assert result.exit_code == 8
    assert json.loads(result.stdout)["scores"]["failures"] == 1


@pytest.mark.usefixtures("cases", "store")
@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["gone"], "gone: no such folder of cases or store"),
        (["."], "holds neither bundles nor snapshots"),
        (["cases", "--labels", "gone.csv"], "gone.csv: cannot be read"),
        (["cases", "--fail-under", "precision=.9"], "NAME=VALUE with one of cases, fault_cases, coverage"),
        (["cases", "--fail-under", "coverage=much"], "'much' is not a number"),
        (["cases", "--fail-under", "coverage=nan"], "must be 0 or more"),
        (["cases", "--fail-under", "ece=.1"], "of ece less is better; use --fail-over"),
        (["cases", "--fail-over", "coverage=.1"], "of coverage more is better; use --fail-under"),
        (["cases", "--no-regressions"], "--no-regressions needs --against or --against-snapshots"),
        (["cases", "--against", "a", "--against-snapshots", "b"], "exclude each other"),
        (["cases", "--against", "cases_labels.csv"], "is no report that backtest --json wrote"),
        (["cases", "--against-snapshots", "cases"], "holds neither bundles nor snapshots"),
        (["store", "--keep", "x", "--labels", "cases_labels.csv"], "holds no cases to take snapshots of"),
        (["store"], "--labels is needed with a store"),
    ],
)
def test_a_wrong_call_is_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, args: list[str], sentence: str
) -> None:
    monkeypatch.setattr(backtest, "run_cases", lambda *_a, **_k: pytest.fail("cases were run"))
    if args[0] in {"gone", "."}:
        args = [*args, "--labels", "cases_labels.csv"]
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.stderr.split())
    assert result.stdout == ""


# ---- goals and comparisons


@pytest.mark.usefixtures("cases")
def test_a_missed_goal_exits_12_and_is_named(store: str) -> None:
    """Also one that could not be measured. A goal that holds is silent."""
    args = [store, "--labels", "cases_labels.csv"]
    held = run(*args, "--fail-under", "precision_located_alt=1", "--fail-under", "cases=4", "--fail-over", "failures=0")
    assert held.exit_code == 0, held.stderr
    missed = run(*args, "--fail-under", "cases=5", "--fail-under", "control_abstained=.5", "--fail-over", "ece=0")
    assert missed.exit_code == 12
    assert "cases is 4, under 5" in missed.stderr
    assert "control_abstained was not measured" in missed.stderr
    assert "ece is 0." in missed.stderr
    assert "Goals missed" in missed.stdout


@pytest.mark.usefixtures("cases")
def test_two_versions_are_compared_case_by_case(store: str) -> None:
    """A regression is named with both answers and the findings that moved, and exits 12 where none is wanted."""
    args = [store, "--labels", "cases_labels.csv"]
    assert run(*args, "--json", "before.json").exit_code == 0
    same = run(*args, "--against", "before.json", "--no-regressions", "-o", "json")
    assert same.exit_code == 0, same.stderr
    assert json.loads(same.stdout)["against"]["regressions"] == []

    before = json.loads(Path("before.json").read_text("utf-8"))
    case = next(case for case in before["cases"] if case["label"]["id"] == "TK-83164")
    assert case["answer"]["abstained"]
    case["answer"] |= {"abstained": False, "fault_class": "param_config", "fault_subclass": "", "findings": []}
    written("worse.json", json.dumps(before))
    gain = run(*args, "--against", "worse.json", "--no-regressions")
    assert gain.exit_code == 0
    assert "Gains (1)\nTK-83164  expected unknown/unspecified\n    param_config" in gain.stdout

    lost = next(case for case in before["cases"] if case["label"]["id"] == "TK-33097")
    kept = taken("TK-33097")
    assert lost["outcome"] == "right"
    labels = written(
        "other.csv", LABELS.replace("TK-33097,interface_fault,dns_failed", "TK-33097,rate_limit,qps_limit")
    )
    lost["answer"] |= {"fault_class": "rate_limit", "fault_subclass": "qps_limit"}
    lost["answer"]["findings"] = [{"kind": "wording.qps", "weight": 2.0, "supports": "rate_limit"}]
    written("better.json", json.dumps(before))
    result = run(store, "--labels", labels, "--against", "better.json", "--no-regressions")
    assert result.exit_code == 12
    assert "cases that are worse: 1: TK-33097" in result.stderr
    assert f"rate_limit/qps_limit {kept.diagnosis.confidence:.0%} → interface_fault/dns_failed" in result.stdout
    assert "wording.qps, for rate_limit: 2.0 → gone" in result.stdout
    assert "1 lost, 1 gained" in result.stdout


def test_snapshots_of_another_version_can_be_compared_with(cases: Path, store: str) -> None:
    """A store or a folder of documents."""
    result = run(cases, "-j", "1", "--against-snapshots", store, "--no-regressions", "-o", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["against"]["common"], found["against_from"]) == (4, "store")
    assert found["against_made"] == found["made"]


@pytest.mark.usefixtures("cases")
def test_a_report_of_a_format_to_come_is_refused(store: str) -> None:
    written("new.json", json.dumps({"format": "problem-snapshot backtest 2", "cases": []}))
    result = run(store, "--labels", "cases_labels.csv", "--against", "new.json")
    assert result.exit_code == 2
    assert "this version reads 'problem-snapshot backtest 1'" in result.stderr


# ---- what people read


def wide() -> backtest.Report:
    """A report with long names, Chinese ones, every outcome, and a comparison."""
    labels, answers, before = [], {}, {}
    for number in range(40):
        name = f"TICKET-2026-{number:06}"
        label = Label(
            id=name,
            fault_class="duplicate_idempotency",
            fault_subclass="duplicate_request",
            kind=("real", "rule", "control", "insufficient")[number % 4],  # type: ignore[arg-type]
            channel=("微信支付渠道", "a_channel_with_a_very_long_name_indeed", "stripe")[number % 3],
            language=("zh", "en")[number % 2],
        )
        found = Answer(
            fault_class="signature_cert" if number % 5 else "duplicate_idempotency",
            fault_subclass="algorithm_unsupported",
            abstained=number % 6 == 0,
            confidence=number / 40,
            findings=(
                Weighed(
                    "wording.some_long_kind",
                    number / 10,
                    "signature_cert",
                    "payment-gateway-service",
                    "x",
                    "LONG_CODE_OF_A_CHANNEL",
                ),
            ),
            failed="ValueError: [x] | 坏了 <b>\x1b[31m" if number == 7 else "",
        )
        labels.append(label)
        answers[name] = Given(found)
        before[name] = Given(
            replace(found, fault_class="duplicate_idempotency", abstained=number % 4 == 1, failed="", findings=())
        )
    made = report(Ran(answers), Labels(tuple(labels)), cases_from="cases", labels_from="labels.csv")
    return backtest.held_against(made, Ran(before), "before.json", 20)


@pytest.fixture(scope="module")
def big() -> backtest.Report:
    return wide()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_table_stays_within_100_columns_and_cuts_no_number(big: backtest.Report, language: Any) -> None:
    """In both languages; a Chinese character takes two places. What a terminal would obey is gone."""
    text = table(sections(big, language), width=100)
    assert max(map(cell_len, text.splitlines())) <= 100
    assert "\x1b" not in text
    for name, value in big.scores.items():
        row = next((line.split() for line in text.splitlines() if line.startswith(name + " ")), None)
        assert name in {"cases", "fault_cases"} or row is not None, name
        if name in big.counts and value is not None:
            assert f"{value:.3f}" in row
    for name, group in big.per_class.items():
        assert f"{group.accepted}/{group.n}" in next(line for line in text.splitlines() if line.startswith(name)), name


@pytest.mark.parametrize("language", ["en", "zh"])
def test_markdown_says_what_the_table_says(big: backtest.Report, language: Any) -> None:
    """The same sections, every table with as many cells a row as columns, and nothing that Markdown or HTML would obey."""
    text = markdown(sections(big, language), plot="plot.svg")
    for part in sections(big, language):
        assert part.title.split(" (")[0].replace("_", "\\_") in text
        for row in part.rows:
            assert len(row) == len(part.heads)
    assert "![](plot.svg)" in text
    assert "<b>" not in text


def test_the_plot_is_svg_with_a_dot_for_each_bin_that_has_cases(big: backtest.Report) -> None:
    root = ET.fromstring(plot_svg(big, "zh"))
    dots = [node for node in root.iter() if node.tag.endswith("circle")]
    assert len(dots) == sum(one.cases > 0 for one in big.reliability)


def test_both_languages_say_every_word(big: backtest.Report) -> None:
    """No English sentence is left in the Chinese report, and none the other way round."""
    english = table(sections(replace(big, cases=(), per_channel={}), "en"))
    assert not any("\u4e00" <= c <= "\u9fff" for c in english)
    chinese = [part.title for part in sections(big, "zh")]
    assert all(any("\u4e00" <= c <= "\u9fff" for c in title) for title in chinese)


def test_the_report_reads_back_as_it_was(big: backtest.Report) -> None:
    """`--json` is what `--against` reads."""
    path = written("r.json", report_json(big))
    assert {name: one.answer for name, one in backtest.read_report(path).given.items()} == {
        case.label.id: case.answer for case in big.cases
    }


def test_the_documents_example_works() -> None:
    """The map of docs/backtest.md is read as it stands there."""
    page = (ROOT / "docs" / "backtest.md").read_text("utf-8")
    toml = page.split("```toml\n", 1)[1].split("```", 1)[0]
    closed = page.split("```csv\n", 1)[1].split("```", 1)[0]
    labels = read_labels(written("closed.csv", closed), written("codes.toml", toml))
    assert len(labels.labels) >= 3
    rows = list(csv.DictReader(closed.splitlines()))
    assert len(labels.labels) + sum(labels.left_out.values()) == len(rows)
