"""The wording model: what it reads in codes and messages that no table knows, and what it must never be sure of."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli import commands
from pipeline.errors import UsageError
from pipeline.evidence import detector
from pipeline.faults import taxonomy
from pipeline.faults.tables import rows
from pipeline.faults.wording_model import BARE, SURE, Wording, model, read_message, read_messages
from pipeline.faults.wording_terms import masked
from pipeline.faults.wording_training import Trainer, encode, expand, learn, read_texts
from pipeline.values import Found
from tests.flow_samples import ATTEMPT, ORDER, case_of, line, order_row, span_row, usual_lines

CODES = [row for row in rows("channel_codes.csv") if not row["code"].isdigit()]
STARTED = [order_row(0, "order", ORDER, "pending"), order_row(0.05, "attempt", ATTEMPT, "NOTPAY")]


def found_in(*lines: Any, events: Any = (), spans: Any = ()) -> tuple[Found, ...]:
    return detector("unseen")(case_of([*usual_lines(), *lines], [*STARTED, *events], spans)).found


# ---- the file


def test_the_shipped_model_is_learnt_from_the_shipped_tables():
    """After a change of a table, a word list or the term maker: `problem-snapshot learn-wording`."""
    assert model().file.inputs == read_texts().inputs


def test_every_class_and_subclass_of_the_model_is_in_the_taxonomy():
    known = {f"{fault_class}/{subclass}" for fault_class, subclass in taxonomy()}
    assert set(model().file.subclasses) <= known
    assert set(model().file.classes) - {"none"} == {fault_class for fault_class, _ in taxonomy()}


def test_the_rows_to_learn_from_name_faults_of_the_taxonomy():
    for row in rows("messages.csv"):
        assert row["fault_class"] == "none" or (row["fault_class"], row["fault_subclass"]) in taxonomy(), row["text"]
    assert {tuple(name.split("/")) for name in read_texts().guide if name != "none"} == set(taxonomy())


def test_learning_again_gives_the_shipped_weights():
    """To a hundredth or two: another processor may round the last digit otherwise."""
    pytest.importorskip("sklearn")
    trainer = Trainer(read_texts())
    shipped = model().file
    again = trainer.fit(trainer.weights > 0, (shipped.temperature, shipped.bare_temperature)).file
    assert again.terms.keys() == shipped.terms.keys()
    pairs = [
        (int(a), int(b))
        for term in again.terms
        for a, b in zip(again.terms[term].split(), shipped.terms[term].split(), strict=True)
    ]
    assert sum(abs(a - b) > 2 for a, b in pairs) <= len(pairs) / 1000


def test_the_same_files_give_the_same_bytes(tmp_path: Path):
    pytest.importorskip("sklearn")
    few = tmp_path / "few.csv"
    lines = (Path(read_texts.__code__.co_filename).parent / "messages.csv").read_text("utf-8").splitlines()
    few.write_text("\n".join([lines[0], *lines[1::40]]) + "\n", encoding="utf-8")
    texts = read_texts(messages=few)
    texts.table[:] = texts.table[::40]
    first, second = (encode(t.fit(t.weights > 0).file) for t in (Trainer(texts), Trainer(texts)))
    assert first == second


def test_learning_without_scikit_learn_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(UsageError, match="pip install 'scikit-learn"):
        learn()
    run = CliRunner().invoke(commands, ["learn-wording", "--out", str(tmp_path / "m.json")])
    assert run.exit_code == UsageError.exit_code
    assert not (tmp_path / "m.json").exists()


def test_a_table_without_its_columns_is_refused_by_name(tmp_path: Path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"t\.csv: the column channel is missing"):
        read_texts(table=tmp_path / "t.csv")


def test_a_pattern_stands_for_its_phrases_spread_evenly():
    assert expand("(a|b) (x|y|)") == ["a x", "a y", "a", "b x", "b y", "b"]
    assert len({phrase.split()[1] for phrase in expand("(a|b|c|d) (1|2|3|4) (x|y|z)", most=6)}) > 1


# ---- what is read


@pytest.mark.parametrize(
    ("english", "chinese", "fault_class"),
    [
        ("the request signature does not verify", "请求签名验证不通过", "signature_cert"),
        ("cardholder has too little money on the account", "持卡人账户资金不足", "customer_decline"),
        ("merchant has not opened this product", "该商户尚未开通此产品", "merchant_account"),
        ("calls are too frequent, slow down", "调用过于频繁，请降低频率", "rate_limit"),
        ("this order has already been paid", "该笔订单早已付款", "order_state"),
        ("mandatory field is absent", "必填字段缺失", "param_config"),
        ("blocked by our risk engine", "被风控系统拦截", "risk_control"),
    ],
)
def test_english_and_chinese_of_the_same_meaning_are_read_alike(english: str, chinese: str, fault_class: str):
    for text in (english, chinese):
        reading = read_message(text)
        assert reading is not None
        assert reading.fault_class == fault_class
        assert reading.terms


def test_a_reading_says_how_probable_each_class_is():
    reading = read_message("验签失败，请检查密钥")
    assert reading is not None
    assert sum(p for _, p in reading.probabilities) == pytest.approx(1, abs=0.01)
    assert [p for _, p in reading.probabilities] == sorted((p for _, p in reading.probabilities), reverse=True)
    assert reading.probabilities[0] == (reading.fault_class, reading.probability)


def test_words_never_met_are_no_reading():
    assert read_message("zqxj vwkq") is None
    assert read_message("") is None
    assert read_message("4711") is None


@given(st.sampled_from(CODES), st.sampled_from(["square", "braintree", "wechatpay_v3", "nobody", None]))
def test_a_bare_code_is_never_sure(row: dict[str, str], channel: str | None):
    """Whatever the same word means at another channel, and also where it is given for a text, or repeated as one."""
    for wording in (
        Wording("", row["code"], channel),
        Wording(row["code"], row["code"], channel),
        Wording(row["code"].replace("_", " ").lower(), row["code"], channel),
        Wording(row["code"]),
    ):
        if "_" in row["code"] or wording.code:
            (reading,) = read_messages([wording])
            assert reading is None or reading.probability <= BARE < SURE


def test_a_code_that_some_channel_has_is_not_sure_even_with_its_message():
    """It is the table that knows it, and at another channel or in another flow it may mean something else."""
    for code, channel in (("NOTENOUGH", "wechatpay_v2"), ("NOTENOUGH", "nobody"), ("not_enough", "square")):
        reading = read_message("余额不足", code=code, channel=channel)
        assert reading is not None
        assert reading.probability <= BARE
    free = read_message("用户余额不足", code="ZX_1", channel="nobody")
    assert free is not None
    assert free.probability >= SURE


@given(st.integers(10**8, 10**18), st.integers(1, 10**6))
def test_numbers_of_a_request_change_nothing(number: int, amount: int):
    plain = read_message("unifiedorder failed: 签名错误")
    with_numbers = read_message(
        f"unifiedorder failed: 签名错误 orderNo=PY{number} amount={amount} http://10.0.0.7/{number}"
    )
    assert with_numbers == plain


def test_what_names_a_request_is_masked():
    text = masked("user a@b.example paid 20260304-aa11 trace=4bf92f3577b34da6 at https://x.example/?k=1")
    assert "example" not in text
    assert "4bf92f" not in text


def test_a_long_strange_line_is_less_sure_than_its_one_known_word():
    short = read_message("signature mismatch in request")
    noise = " ".join(f"qwz{a}{b}k" for a in "abcdefgh" for b in "jklm")
    noisy = read_message(f"{noise} signature {noise}")
    assert short is not None
    assert noisy is None or noisy.probability < min(short.probability, SURE)


def test_many_are_read_as_each_alone():
    wordings = [Wording(row["text"]) for row in rows("messages.csv")[::100]]
    assert read_messages([*wordings, *wordings]) == [model().read(w) for w in wordings] * 2


# ---- the detector


def test_an_unknown_code_with_its_message_is_read():
    event = order_row(0.1, "attempt", ATTEMPT, "PAYERROR", err_code="ZX_7788", err_code_des="签名验证不通过")
    (found,) = found_in(events=[event])
    assert (found.kind, found.supports, found.code) == ("unseen.code", "signature_cert", "ZX_7788")
    assert "ZX_7788" in found.statement.en
    assert "签名验证不通过" in found.statement.zh
    assert found.cites
    assert 0.5 <= found.strength <= 1


def test_an_unknown_code_of_a_span_is_read():
    attributes = '{"payment.error_code":"ZX_9","payment.error_message":"the signature of the request is wrong"}'
    (found,) = found_in(spans=[span_row("a" * 32, "s1", status="error", attributes=attributes)])
    assert (found.kind, found.supports) == ("unseen.code", "signature_cert")


def test_a_code_that_the_table_knows_is_left_to_the_table():
    event = order_row(0.1, "attempt", ATTEMPT, "PAYERROR", code="SIGN_ERROR", message="签名错误")
    assert found_in(events=[event]) == ()


def test_a_line_that_a_family_knows_is_a_second_opinion():
    assert {one.kind for one in found_in(line(1, f"{ORDER} connection refused", "x"))} == {"unseen.beside"}


def test_an_answer_whose_code_names_a_group_is_read_by_its_message():
    text = f'{ORDER} {{"code":"INVALID_REQUEST","message":"商户订单号重复，请更换单号"}}'
    kinds = {one.kind: one.supports for one in found_in(line(1, text, "x"))}
    assert kinds["unseen.reply"] == "duplicate_idempotency"


@pytest.mark.parametrize("text", ["payment failed", "order 12 not paid", "支付失败", "返回失败给前端"])
def test_a_line_that_only_says_that_it_failed_names_no_class(text):
    assert found_in(line(1, f"{ORDER}: {text}", "x")) == ()


def test_a_line_of_no_known_wording_is_read_and_cited():
    text = f"{ORDER}: acquirer says that our seller contract has lapsed, product not opened"
    (found,) = found_in(line(1, text, "x"))
    assert (found.kind, found.supports) == ("unseen.message", "merchant_account")
    assert [c.doc_id for c in found.cites] == ["x"]


def test_a_line_far_from_the_order_counts_less():
    text = "acquirer says that our seller contract has lapsed, product not opened"
    (near,) = found_in(line(1, f"{ORDER} {text}", "x"))
    far = found_in(line(600, text, "x"))
    assert all(one.strength < near.strength / 2 and not one.about_focus for one in far)


def test_a_class_is_told_once_with_all_its_lines():
    lines = [
        line(i, f"{ORDER} step {word}: seller contract has lapsed, product not opened", f"x{i}")
        for i, word in enumerate(("one", "two"), 1)
    ]
    (found,) = found_in(*lines)
    assert {c.doc_id for c in found.cites} == {"x1", "x2"}


def test_routine_lines_are_no_finding():
    assert found_in(line(1, f"{ORDER} cache refreshed, 3 entries evicted", "x", level="WARN")) == ()
    assert found_in(line(1, f"{ORDER} seller contract has lapsed", "x", level="INFO")) == ()
