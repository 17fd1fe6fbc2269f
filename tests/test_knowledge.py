"""Entries of knowledge: their files, the folder, doubts, questions, and the graph."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from collections import Counter
from datetime import date
from pathlib import Path

import msgspec
import networkx as nx
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli import commands
from pipeline.desk import reading
from pipeline.desk.ask import Answers
from pipeline.desk.asked import asked
from pipeline.desk.checks import contradicted, flags, holds_for, outdated
from pipeline.desk.entry import Entry, Facts, Told, plain_line, read_entry, write_entry
from pipeline.desk.graph import build, to_graphml, to_json_ld, to_svg, ways
from pipeline.desk.modules import products_in
from pipeline.desk.seeds import seed_entries
from pipeline.desk.shelf import Shelf, put_entries, read_shelf
from pipeline.errors import UsageError
from pipeline.faults import taxonomy

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "knowledge"
TODAY = date(2026, 11, 26)
SEEDS = tuple(seed_entries(TODAY))


def entry(name: str = "a", **facts: object) -> Entry:
    told = Told(title="Report slow", steps=("Look",))
    return Entry(facts=Facts(id=name, owner="li", **facts), en=told)  # type: ignore[arg-type]


# ---- files

lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60).filter(
    lambda text: text.strip() and plain_line(text).strip("\\#>+*`~=|-_<&[ ")
)


@given(st.lists(lines, min_size=1, max_size=4), lines)
def test_what_was_read_is_written_and_read_the_same(steps, title):
    """Whatever people wrote: one reading settles its form, and from then on a file does not change."""
    text = write_entry(Entry(facts=Facts(id="x"), en=Told(title=title, steps=tuple(steps))))
    once = read_entry(text, "x")
    assert read_entry(write_entry(once), "x") == once


def test_every_seed_reads_back_as_it_was_made():
    assert [read_entry(write_entry(seed), seed.id) for seed in SEEDS] == list(SEEDS)


def test_seeds_hold_every_fault_with_its_first_action_in_both_languages():
    general = {(e.facts.fault_class, e.facts.fault_subclass): e for e in SEEDS if not e.facts.channels}
    assert general.keys() == taxonomy().keys()
    for key, fault in taxonomy().items():
        assert general[key].en.steps == (fault.first_action.en,)
        assert general[key].zh.steps == (fault.first_action.zh,)


def test_every_fault_is_asked_for_in_both_languages_and_no_two_by_the_same_words():
    assert list(asked()) == list(reading.faults())
    said = Counter(line.lower() for one in asked().values() for line in (*one.en, *one.zh))
    assert all(len(one.en) >= 8 and len(one.zh) >= 8 for one in asked().values())
    assert {line for line, times in said.items() if times > 1} == set()


def test_the_seed_of_a_product_asks_as_that_of_any():
    by_id = {seed.id: seed for seed in SEEDS}
    own, general = by_id["alipay.customer_decline.customer_limit"], by_id["customer_decline.customer_limit"]
    assert own.en.questions == general.en.questions != ()
    assert own.zh.questions == general.zh.questions != ()


def test_yaml_keeps_versions_and_words_as_they_are_written():
    found = read_entry("---\nid: a\nmodule: no\nversions: [1.10, 2.0]\n---\n# T\n", "a")
    assert (found.facts.module, found.facts.versions) == ("no", ("1.10", "2.0"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no front matter", "front matter"),
        ("---\nid: a\n---\nno heading", "no heading"),
        ("---\nid: ../../etc/passwd\n---\n# T", "no name"),
        ("---\nid: a\nunknown: 1\n---\n# T", "unknown"),
        ("---\nid: a\nreview_by: soon\n---\n# T", "review_by"),
        ("---\nid: a\nvideo: javascript:alert(1)\n---\n# T", "no http or https"),
        ("---\nid: a\ntickets: &x [a]\nversions: *x\n---\n# T", "aliases"),
        ("---\nid: [[[[\n---\n# T", "front matter"),
        ("---\nid: !!python/object/apply:os.system ['id']\n---\n# T", "front matter"),
        ("---\nid: a\n---\n# T\n" + "x" * 300_000, "larger than"),
    ],
)
def test_an_entry_that_cannot_be_used_says_why(text, said):
    with pytest.raises(UsageError, match=said):
        read_entry(text, "a.md")


def test_one_bad_file_hides_no_other(tmp_path):
    put_entries(tmp_path, [entry("good")])
    (tmp_path / "bad.md").write_bytes(b"\xff\xfe")
    (tmp_path / "same.md").write_text(write_entry(entry("good")), encoding="utf-8")
    outside = tmp_path.parent / "outside.md"
    outside.write_text(write_entry(entry("outside")), encoding="utf-8")
    (tmp_path / "link.md").symlink_to(outside)
    found = read_shelf(tmp_path)
    assert [one.id for one in found.entries] == ["good"]
    assert len(found.problems) == 3
    assert any("leads out" in problem for problem in found.problems)
    assert "bad.md: is not UTF-8 (byte 0); save it as UTF-8" in found.problems


def test_an_edited_entry_is_left_alone(tmp_path):
    put_entries(tmp_path, [entry("a", module="reports")])
    edited = entry("a", module="reports", check_minutes=3)
    assert put_entries(tmp_path, [edited])[0] == []
    assert read_shelf(tmp_path).by_id["a"].facts.check_minutes == 10
    put_entries(tmp_path, [edited], over=True)
    assert read_shelf(tmp_path).by_id["a"].facts.check_minutes == 3


# ---- doubts


def test_a_review_that_is_due_today_is_not_late():
    kept = [entry("now", review_by=TODAY), entry("late", review_by=date(2026, 11, 25)), entry("none")]
    assert [(flag.entry, flag.kind) for flag in flags(kept, TODAY)] == [("late", "review")]


@pytest.mark.parametrize(
    ("valid", "version", "holds"),
    [
        ((">=3.2,<4",), "3.10", True),
        ((">=3.2,<4",), "4.0", False),
        (("2.1", "3.0"), "3.0", True),
        (("spring",), "3.0", None),
    ],
)
def test_versions_are_compared_as_versions(valid, version, holds):
    one = entry(versions=valid)
    assert holds_for(one, version) is holds
    assert (outdated(one, version) is not None) == (holds is False)


def test_a_solution_whose_tickets_come_back_is_contradicted():
    one = entry(tickets=("a", "b", "c", "d"))
    assert contradicted(one, {"a": True, "b": False}) is None
    assert contradicted(one, {"a": True, "b": True, "c": False}).statement.en.startswith("2 of the 3 tickets")
    assert contradicted(one, {"other": True, "more": True}) is None


# ---- questions


@pytest.fixture(scope="module")
def answers():
    shelf = read_shelf(EXAMPLES)
    return Answers(Shelf(EXAMPLES, (*shelf.entries, *SEEDS)), with_meaning=False)


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("Why does the report load slowly since the migration? is an index gone", "reports.index_lost"),
        ("支付宝 ACQ.TRADE_NOT_ALLOW_REFUND", "alipay.order_state.refund_conflict"),
        ("ACQ.TRADE_NOT_ALLOW_REFUND", "alipay.order_state.refund_conflict"),
        ("同一个订单被重复扣款", "order_state.duplicate_charge"),
        ("DNS does not resolve the gateway's host name", "interface_fault.dns_failed"),
    ],
)
def test_a_question_finds_its_entry(answers, question, best):
    assert answers.ask(question)[0].entry.id == best


def test_an_answer_finds_the_problems_that_it_solves(answers):
    found = answers.ask("Create the index again without locking the table", direction="answer")
    assert found[0].entry.id == "reports.index_lost"


def test_a_product_that_is_named_comes_first_and_no_other_product_is_shown(answers):
    hits = answers.ask("Stripe: card number wrong", most=10)
    assert "stripe" in hits[0].entry.facts.channels
    assert {channel for hit in hits for channel in hit.entry.facts.channels} == {"stripe"}
    for hit in answers.ask("card number wrong", most=5):
        assert not hit.entry.facts.channels


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("支付宝提示余额不足怎么办", "customer_decline.insufficient_funds"),
        ("支付宝提示卖家余额不足，退不了款", "merchant_account.merchant_balance"),
        ("Stripe says the card has expired", "customer_decline.card_expired"),
        ("PayPal charged the customer twice for one order", "order_state.duplicate_charge"),
        ("cannot resolve the host name of api.stripe.com", "interface_fault.dns_failed"),
        ("调用支付宝接口超时，不知道扣没扣款", "interface_fault.timeout_unknown"),
    ],
)
def test_what_holds_for_any_product_answers_for_one_that_has_no_entry_of_its_own(answers, question, best):
    assert answers.ask(question)[0].entry.id == best


def test_the_entry_for_any_product_stands_back_where_the_product_has_its_own(answers):
    ids = [hit.entry.id for hit in answers.ask("Alipay refund conflict, already refunded", most=50)]
    assert ids[0] == "alipay.order_state.refund_conflict"
    assert "order_state.refund_conflict" not in ids


@pytest.mark.parametrize(
    "question", ["printer at the till prints nothing", "the receipt printer does not print", "小票打印机不出纸"]
)
def test_a_teams_own_entry_of_no_fault_is_not_behind_a_seed_that_it_is_more_like(question):
    own = Entry(
        facts=Facts(id="shop.printer", module="shop"),
        en=Told(title="Printer at the till does not print", cause="The cable is loose.", steps=("Push it in",)),
        zh=Told(title="收银台小票打印机不出纸", cause="线缆松动", steps=("插好线缆",)),
    )
    asked = Answers(Shelf(EXAMPLES, (own, *SEEDS)), with_meaning=False)
    assert asked.ask(question)[0].entry.id == "shop.printer"
    assert asked.ask("the card reader is offline")[0].entry.id == "internal_fault.terminal_device"


def test_where_nothing_fits_it_says_so(tmp_path):
    folder = str(tmp_path / "k")
    run("knowledge", "seed", "--folder", folder)
    asked = run("ask", "report loads slowly", "--folder", folder)
    assert asked.startswith("Nothing in knowledge fits this well; the nearest are:")
    assert (
        run("knowledge", "graph", "--symptom", "report loads slowly", "--folder", folder)
        == "Nothing in knowledge fits.\n"
    )
    assert not run("ask", "order charged twice", "--folder", folder).startswith("Nothing")
    assert run("ask", "会议室怎么预定", "--folder", folder).startswith("知识库中没有相符的条目")


@pytest.mark.parametrize("question", ["", "?!", "x" * 100_000, "\0", "退款" * 5000])
def test_no_question_breaks_the_search(answers, question):
    hits = answers.ask(question)
    assert all(0 <= hit.share <= 1 for hit in hits)


def test_a_word_that_means_something_else_is_no_product():
    assert products_in("the checkout page is square") == frozenset()
    assert products_in("用Stripe付款") == {"stripe"}
    assert products_in("微信 and PayPal") == {"wechatpay", "paypal"}


# ---- the graph


def test_a_slow_report_is_solved_with_the_cheapest_check_first():
    found = ways(read_shelf(EXAMPLES).entries, "report-loads-slowly")
    assert [way.entry.id for way in found] == ["reports.index_lost", "reports.memory_short", "reports.front_end_cache"]
    assert [way.minutes for way in found] == sorted(way.minutes for way in found)


def test_of_equally_cheap_checks_the_more_frequent_cause_is_first():
    kept = [entry("a", problem="p"), entry("b", problem="p", tickets=("t1", "t2"))]
    assert [way.entry.id for way in ways(kept, "p")] == ["b", "a"]


def test_the_graph_leads_from_problem_to_product():
    graph = build(read_shelf(EXAMPLES).entries)
    assert nx.is_directed_acyclic_graph(graph)
    for path in nx.all_simple_paths(graph, "problem:report-loads-slowly", "product:reports"):
        assert [graph.nodes[name]["kind"] for name in path] == ["problem", "cause", "solution", "product"]
    assert len(list(nx.all_simple_paths(graph, "problem:report-loads-slowly", "product:reports"))) == 3


def test_graphml_is_read_back_as_the_same_graph(tmp_path):
    graph = build(SEEDS)
    path = tmp_path / "graph.graphml"
    path.write_text(to_graphml(graph), encoding="utf-8")
    again = nx.read_graphml(path)
    assert set(again.edges) == set(graph.edges)
    assert {n: d["en"] for n, d in again.nodes(data=True)} == {n: d["en"] for n, d in graph.nodes(data=True)}


def test_every_edge_of_json_ld_names_an_object():
    found = to_json_ld(build(SEEDS))
    ids = {one["@id"] for one in found["@graph"]}
    edges = [
        target for one in found["@graph"] for key in ("caused_by", "solved_by", "for") for target in one.get(key, [])
    ]
    assert len(edges) > len(SEEDS)
    assert set(edges) <= ids


def test_a_picture_shows_every_node_and_runs_nothing():
    hostile = Entry(
        facts=Facts(id="h", module="<b>"), en=Told(title="</text><script>alert(1)</script>\x01", steps=("&",))
    )
    root = ET.fromstring(to_svg(build([hostile, *read_shelf(EXAMPLES).entries]), "zh"))
    names = [node.tag.rpartition("}")[2] for node in root.iter()]
    assert "script" not in names
    assert names.count("g") == len(build([hostile, *read_shelf(EXAMPLES).entries]).nodes)


# ---- commands


def run(*args: str) -> str:
    found = CliRunner().invoke(commands, ["desk", *args], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def test_knowledge_is_seeded_asked_and_drawn_from_the_command_line(tmp_path):
    folder = str(tmp_path / "k")
    assert "Written:" in run("knowledge", "seed", "--folder", folder)
    assert "0 entries" in run("knowledge", "seed", "--folder", folder)
    config = tmp_path / "c.toml"
    config.write_text('[defaults.desk]\nknowledge = "k"\nmeaning = "off"\n', encoding="utf-8")
    found = json.loads(run("ask", "order charged twice", "-o", "json", "--config", str(config)))
    assert found[0]["id"] == "order_state.duplicate_charge"
    assert "<svg" in run("knowledge", "graph", "-o", "svg", "--config", str(config))
    assert "order_state.duplicate_charge" in run("knowledge", "list", "--config", str(config))


def test_check_tells_what_is_wrong_with_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    put_entries(tmp_path / "k", [entry("late", review_by=date(2020, 1, 1))])
    (tmp_path / "k" / "bad.md").write_text("bad", encoding="utf-8")
    found = CliRunner().invoke(commands, ["desk", "knowledge", "check", "--folder", str(tmp_path / "k"), "--exit-code"])
    assert found.exit_code == 9
    assert "late: its review was due on 2020-01-01" in found.output
    assert "Not read: bad.md" in found.output


def test_without_a_folder_the_command_says_what_to_do(tmp_path):
    (tmp_path / "c.toml").write_text("[defaults]\n", encoding="utf-8")
    found = CliRunner().invoke(commands, ["desk", "ask", "x", "--config", str(tmp_path / "c.toml")])
    assert "--folder DIR" in f"{found.output}{found.exception}"


def test_both_languages_stand_for_each_other():
    one = msgspec.structs.replace(entry(), zh=None)
    assert one.text("title").zh == "Report slow"
    assert one.texts("steps")[0].zh == "Look"


def test_the_benchmark_asks_what_no_entry_says():
    """Three questions an entry, in both languages, none of them a sentence of an entry."""
    from benchmarks.knowledge import QUESTIONS, entries

    with QUESTIONS.open(encoding="utf-8", newline="") as file:
        questions = list(csv.DictReader(file))
    kept = entries()
    assert Counter(q["entry"] for q in questions) == {entry.id: 3 for entry in kept}
    assert {q["language"] for q in questions} == {"en", "zh"}
    said = {line.lower() for entry in kept for told in entry.told for line in (*told.asked, *told.answer)}
    assert not said & {q["question"].lower() for q in questions}


def test_the_reading_of_meanings_is_of_the_taxonomy_of_today():
    from pipeline.desk.reading import FILE, faults

    with np.load(Path(reading.__file__).with_name(FILE), allow_pickle=False) as kept:
        assert tuple(map(str, kept["faults"])) == faults()
        assert kept["starts"][-1] == len(kept["texts"])


def test_check_makes_no_database_to_look_into(tmp_path):
    put_entries(tmp_path / "k", [entry("a")])
    (tmp_path / "c.toml").write_text(
        f'[defaults.service]\ndatabase = "sqlite:///{tmp_path}/none.sqlite"\n[defaults.desk]\nknowledge = "k"\n',
        encoding="utf-8",
    )
    assert "1 entries, 0 flags" in run("knowledge", "check", "--config", str(tmp_path / "c.toml"))
    assert not (tmp_path / "none.sqlite").exists()
