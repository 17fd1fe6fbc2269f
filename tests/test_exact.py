"""The exact mode gives what Drain3 gives line by line: ids, sizes and templates, whatever the lines and the drain3.ini."""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Iterator

import pyarrow as pa
import pytest
from drain3 import TemplateMiner
from drain3.drain import Drain
from drain3.jaccard_drain import JaccardDrain
from drain3.masking import LogMasker
from drain3.template_miner_config import TemplateMinerConfig
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsers import exact, exact_drain, exact_masks
from parsers.exact import ExactCluster, mine_exactly

BEFORE = r"((?<=[^A-Za-z0-9])|^)"
AFTER = r"((?=[^A-Za-z0-9])|$)"
README_MASKS = [
    (BEFORE + r"(([0-9a-f]{2,}:){3,}([0-9a-f]{2,}))" + AFTER, "ID"),
    (BEFORE + r"(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})" + AFTER, "IP"),
    (BEFORE + r"([0-9a-f]{6,} ?){3,}" + AFTER, "SEQ"),
    (BEFORE + r"([0-9A-F]{4} ?){4,}" + AFTER, "SEQ"),
    (BEFORE + r"(0x[a-f0-9A-F]+)" + AFTER, "HEX"),
    (BEFORE + r"([\-\+]?\d+)" + AFTER, "NUM"),
    (r'(?<=executed cmd )(".+?")', "CMD"),
]
# What the analysis looks at in different ways, and what it leaves alone.
OTHER_MASKS = [
    (r"\d+", "*"),
    (r"(?i)[a-f]+", "A"),
    (r"(?i)(?<=[^a-z])0X[0-9A-F]+(?![0-9a-z])", "HEX"),
    (r"(?<=a )b", "AFTER"),
    (r"b(?= a)", "BEFORE"),
    (r"(?<!a)1", ""),
    (r"^\S+", "FIRST"),
    (r"\S+$", "LAST"),
    (r"\bab?\b", "two words"),
    (r"x*", "x"),
    (r"\b", "b"),
    (r"$", "end"),
    (r"(?= )", "S"),
    (r"[0-ÿ]1", "R"),
    (r"(\d)\1", "TWICE"),
    (r"(?P<letter>[ab])\d", r"\g<letter>0"),
    (r"[^x]{2}", "P"),
    (r"(?>a+)b|a++1", "ATOMIC"),
    (r"(?s:a.)", "DOT"),
    (r"(?m)\w$", "END"),
    (r"(?:0|1(?=2))", "0x1"),
    (r"[^\w]", "_"),
    (r"é+", "é"),
    (r"<[A-Z]+>", "<NUM>"),
]
TOKENS = [
    *("a", "b", "ab", "x", "xx", "A", "B1", "0x1f", "0X1F", "0", "12", "112", "+7", "a_1", "_", "é", "ſ", "K", "1٠"),
    *("1.2.3.4", "de:ad:be:ef:01", "aabbcc", "deadbeef cafe12 deadbeef", "AB12 CD34 EF56 0000", 'executed cmd "q 1"'),
    *("<*>", "<NUM>", "", " ", "\t", "\n", "\x1c", "a\nb", "\u3000", "订单"),
]
LINES = st.lists(
    st.one_of(
        st.lists(st.sampled_from(TOKENS), max_size=6).map(" ".join),
        st.lists(st.sampled_from(["a", "b", "x", "0x1f", "12", "7"]), min_size=3, max_size=4).map(" ".join),
        st.text(max_size=12),
        st.none(),
    ),
    max_size=60,
)
DRAIN = st.fixed_dictionaries(
    {},
    optional={
        "max_clusters": st.sampled_from([1, 2, 3, 20]),
        "sim_th": st.sampled_from([-2, 0, 0.3, 0.5, 0.9, 1.1]),
        "depth": st.sampled_from([3, 4, 5, 9]),
        "max_children": st.sampled_from([1, 2, 4]),
        "parametrize_numeric_tokens": st.booleans(),
        "extra_delimiters": st.sampled_from([["_"], ["a", ":"], [""], "'._'"]),
        "engine": st.sampled_from(["Drain", "JaccardDrain"]),
    },
)
MASKING = st.fixed_dictionaries(
    {},
    optional={
        "masking": st.one_of(
            st.just(README_MASKS), st.lists(st.sampled_from([*README_MASKS, *OTHER_MASKS]), min_size=1, max_size=4)
        ),
        "mask_prefix": st.sampled_from(["", "[", "a", "0"]),
        "mask_suffix": st.sampled_from(["", "]", "1", "x"]),
    },
)

# The tests put another in its place.
QUICKER = exact_masks._quicker


def ini(drain: dict[str, object] | None = None, masking: dict[str, object] | None = None) -> str:
    lines = ["[DRAIN]", *(f"{option} = {value}" for option, value in (drain or {}).items()), "[MASKING]"]
    for option, value in (masking or {}).items():
        if option == "masking":
            instructions = [{"regex_pattern": pattern, "mask_with": name} for pattern, name in value]
            lines.append(f"masking = {json.dumps(instructions)}")
        else:
            lines.append(f"{option} = {value}")
    return "\n".join(lines)


README = ini(masking={"masking": README_MASKS})


def configured(tmp_path_factory, text: str) -> TemplateMinerConfig:
    """As Drain3 reads a file."""
    path = tmp_path_factory.getbasetemp() / "drain3.ini"
    path.write_text(text, encoding="utf-8")
    config = TemplateMinerConfig()
    config.load(str(path))
    return config


def line_by_line(lines, config: TemplateMinerConfig):
    miner = TemplateMiner(config=config)
    ids = [miner.add_log_message(line or "")["cluster_id"] for line in lines]
    live = miner.drain.id_to_cluster
    clusters = [live.get(number) for number in sorted(live)]
    return ids, [ExactCluster(each.cluster_id, each.size, each.get_template()) for each in clusters]


def mined(lines, text: str = ""):
    result = mine_exactly(pa.array(lines, pa.string()), text)
    assert result.cluster_ids.type == pa.int64()
    return result.cluster_ids.to_pylist(), list(result.clusters)


@pytest.fixture(scope="module", autouse=True, params=[8, 1 << 20], ids=["short windows", "one window"])
def _every_shortcut_is_taken_on_few_lines(request) -> Iterator[None]:
    """In one window answers end for no other reason than a change; after short ones also when looking does not pay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_masks, "_FEW", 0)
        patch.setattr(exact_masks, "_quicker", lambda *_: True)
        patch.setattr(exact_masks, "_AT_ONCE", 20)
        patch.setattr(exact_drain, "_MANY", 2)
        patch.setattr(exact_drain, "_WINDOW", request.param)
        patch.setattr(exact_drain, "_LONGEST_REST", 4 * request.param)
        yield


@given(LINES, DRAIN, MASKING)
@settings(max_examples=150)
def test_ids_sizes_and_templates_are_those_of_drain3(tmp_path_factory, lines, drain, masking):
    text = ini(drain, masking)
    assert mined(lines, text) == line_by_line(lines, configured(tmp_path_factory, text))


@given(st.data(), DRAIN)
@settings(max_examples=80)
def test_they_are_the_same_where_few_lines_come_again_and_again(tmp_path_factory, data, drain):
    words = st.sampled_from(["a", "b", "c", "d", "1", "2"])
    few = data.draw(st.lists(st.lists(words, min_size=2, max_size=4).map(" ".join), min_size=1, max_size=25))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    lines = chance.choices(few, k=300)
    text = ini(drain)
    assert mined(lines, text) == line_by_line(lines, configured(tmp_path_factory, text))


@pytest.mark.parametrize("most", [None, 1, 5, 40, 300])
@pytest.mark.parametrize("masks", [[], README_MASKS])
def test_they_are_the_same_where_clusters_come_and_go(tmp_path_factory, most, masks):
    chance = random.Random(most)
    kinds = ["user {} of {} came", "disk /dev/sd{} failed after {} ms", "{} {} {} {}", "blk_{} from 10.0.{}.1:80", "{}"]
    names = [f"{a}{b}" for a in "abcdefgh" for b in ("", "x", "7")]
    lines = [
        chance.choice(kinds).format(*(chance.choice([*names, chance.randrange(99)]) for _ in "1234"))
        for _ in range(2500)
    ]
    text = ini({} if most is None else {"max_clusters": most}, {"masking": masks} if masks else {})
    assert mined(lines, text) == line_by_line(lines, configured(tmp_path_factory, text))


def test_a_cluster_that_is_used_stays_and_another_goes():
    lines = ["a one thing", "b other two words", "a one thing", "c", "a one thing", "b other two words"]
    ids, clusters = mined(lines, ini({"max_clusters": 2}))
    assert ids == [1, 2, 1, 3, 1, 4]
    assert [cluster.id for cluster in clusters] == [1, 4]
    assert [cluster.size for cluster in clusters] == [3, 1]


@given(
    st.lists(st.sampled_from([*README_MASKS, *OTHER_MASKS]), min_size=1, max_size=4),
    st.lists(st.lists(st.one_of(st.sampled_from(TOKENS), st.text("ab01xé. :", max_size=9)), max_size=6).map(" ".join)),
)
@settings(max_examples=150)
@example([(r"(?i)(?<=[^a-z])0X[0-9A-F]+(?![0-9a-z])", "HEX")], ["at 0x1f", "0x1f at", "(0x1f)"])
@example([(r"(?= )", "S")], [" a "] * 6)
@example([(r"[0-ÿ]1", "R")], ["é1", "01", "/1"])
@example([(r"(?<=a )b", "AFTER"), (r"b(?= a)", "BEFORE")], ["a b a", "b a b", "b", "a b"])
def test_masked_lines_are_those_of_drain3(masks, lines):
    config = exact._configuration(ini(masking={"masking": masks}))
    masker = LogMasker(config.masking_instructions, config.mask_prefix, config.mask_suffix)
    studied = [exact_masks.study(each, config) for each in config.masking_instructions]
    assert exact_masks.masked_with(pa.array(lines, pa.large_string()), studied).to_pylist() == [
        masker.mask(each) for each in lines
    ]


@pytest.mark.parametrize("quicker", [True, False])
def test_which_way_of_masking_is_quicker_changes_no_answer(monkeypatch, quicker):
    monkeypatch.setattr(exact_masks, "_quicker", lambda *_: quicker)
    chance = random.Random(4)
    lines = [" ".join(chance.choices(TOKENS, k=5)) for _ in range(200)]
    assert mined(lines, README) == line_by_line(lines, exact._configuration(README))


def test_of_two_ways_the_one_that_takes_less_time_is_found():
    lines = pa.array([str(i) for i in range(2000)], pa.large_string())
    assert QUICKER(len, lambda some: [re.sub("a*b", "", "a" * 99) for _ in some.to_pylist()], lines)
    assert not QUICKER(lambda some: [re.sub("a*b", "", "a" * 999) for _ in some.to_pylist()], len, lines)


def test_the_masks_of_drain3s_readme_are_seen_through():
    config = exact._configuration(README)
    studied = [exact_masks.study(each, config) for each in config.masking_instructions]
    assert [mask.within_words for mask in studied] == [True, True, False, False, True, True, False]
    assert all(mask.wide and mask.alike is not None for mask in studied)
    number = studied[5].alike.tolist()
    assert len({number[ord(digit)] for digit in "0123456789"}) == 1
    hexadecimal = studied[4].alike.tolist()
    assert hexadecimal[ord("0")] != hexadecimal[ord("1")] == hexadecimal[ord("9")]


@pytest.mark.parametrize("pattern", [r"(\d)\1", r"(a)?(?(1)b|c)", r"(?i:a)b"])
def test_a_pattern_that_is_not_seen_through_is_left_to_drain3(pattern):
    config = exact._configuration(ini(masking={"masking": [(pattern, "N")]}))
    (mask,) = [exact_masks.study(each, config) for each in config.masking_instructions]
    assert not mask.within_words
    assert mask.wide is None
    assert mask.alike is None


@functools.cache
def every_mask() -> list[exact_masks._Mask]:
    config = exact._configuration(ini(masking={"masking": [*README_MASKS, *OTHER_MASKS]}))
    return [exact_masks.study(each, config) for each in config.masking_instructions]


@given(st.text("ab01 xé\n\t_.", max_size=20))
def test_what_a_pattern_matches_its_wider_one_finds(text):
    for mask in every_mask():
        # What stands on either side of a word is no part of it.
        where = text.split(" ") if mask.within_words else [text]
        if mask.regex.search(text):
            assert len(mask.found(pa.array(where, pa.large_string()))) >= 1


@given(st.text("ab01 xé\n\t_.", max_size=20), st.randoms(use_true_random=False))
def test_texts_of_alike_characters_are_matched_at_the_same_places(text, chance):
    for mask in every_mask():
        if mask.alike is not None:
            stands_for = mask.alike.tolist()[:128]
            alike = {
                chr(i): [chr(j) for j in range(128) if stands_for[j] == stands_for[i]]
                for i in map(ord, set(text))
                if i < 128
            }
            other = "".join(chance.choice(alike.get(character, [character])) for character in text)
            places = [[match.span() for match in mask.regex.finditer(each)] for each in (text, other)]
            assert places[0] == places[1]


@pytest.mark.parametrize("engine", [Drain, JaccardDrain])
@pytest.mark.parametrize("most", [None, 4])
def test_an_engine_given_by_itself_is_asked_as_it_would_be_line_by_line(engine, most):
    chance = random.Random(3)
    messages = sorted({" ".join(chance.choices("abcdef", k=chance.randint(2, 5))) for _ in range(60)})
    codes = chance.choices(range(len(messages)), k=1500)
    plain, ours = (engine(sim_th=0.6, max_clusters=most) for _ in "12")
    assert exact_drain.Feed(ours, messages).ids(codes) == [
        plain.add_log_message(messages[code])[0].cluster_id for code in codes
    ]
    assert list(map(str, ours.id_to_cluster)) == list(map(str, plain.id_to_cluster))


def test_an_answer_ends_when_a_better_cluster_comes():
    lines = ["k a b c d e f", *["k a b c x y z"] * 3, "k q r c x y z", "k a b c x y z"]
    assert mined(lines)[0] == [1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("most", [None, 2, 4, 8])
@pytest.mark.parametrize("seed", range(12))
def test_an_answer_ends_when_a_cluster_changes(tmp_path_factory, seed, most):
    chance = random.Random(seed)
    # Each place has two words of its own and many that come once: most messages are one to Drain's tree, few are its.
    lines = [
        " ".join(chance.choice([f"{place}a", f"{place}b", f"{place}{chance.randrange(10**6)}x"]) for place in "pqrstu")
        for _ in range(40)
    ]
    lines = [re.sub(r"\d+x", lambda _: f"{chance.randrange(10**6)}x", chance.choice(lines)) for _ in range(600)]
    options = {
        "sim_th": 0.3 + seed % 4 / 10,
        "depth": 3 + seed % 3,
        "parametrize_numeric_tokens": seed % 2,
        "max_children": 2 + seed % 3,
    }
    text = ini(options if most is None else options | {"max_clusters": most})
    assert mined(lines, text) == line_by_line(lines, configured(tmp_path_factory, text))


def test_a_word_that_only_the_tree_still_has_is_known():
    # The cluster of `a q` is gone, its branch is not: `a z` ends there and finds nothing, `9 z` finds the first cluster.
    messages = ["1 z", "a q", "m", "8 z", "9 z", "a z"]
    feed = exact_drain.Feed(Drain(max_clusters=2), messages)
    assert feed._all_added([0, 1, 0, 2]) == [1, 2, 1, 3]
    assert feed.ids([3, 4, 4, 5]) == [1, 1, 1, 4]


def test_nulls_and_blank_lines_are_one_cluster_without_words():
    assert mined([None, "", "  \t"]) == ([1, 1, 1], [ExactCluster(1, 3, "")])


def test_no_lines_give_no_clusters():
    assert mined([]) == ([], [])
    assert mined([], README) == ([], [])


def test_chunks_and_large_strings_are_one_column():
    parts = [pa.array(["x 1", None], pa.string()), pa.array(["x 2"], pa.string())]
    for column in (
        pa.chunked_array(parts),
        pa.concat_arrays(parts).cast(pa.large_string()),
        pa.concat_arrays(parts)[0:],
    ):
        assert mine_exactly(column).cluster_ids.to_pylist() == [1, 2, 1]
        assert mine_exactly(column.slice(1), README).cluster_ids.to_pylist() == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        README,
        "[DRAIN]\nsim_th = 0.7\ndepth: 5\nmax_children = 7\nmax_clusters = 9\nextra_delimiters = ['_', \"=\"]\n"
        "parametrize_numeric_tokens = no\nengine = JaccardDrain\n",
        "[SNAPSHOT]\nsnapshot_interval_minutes = 10\ncompress_state = False\n[PROFILING]\nenabled = True\nreport_sec = 30\n",
        '[MASKING]\nmasking = [\n  {"regex_pattern": "100%%", "mask_with": "P"}\n  ]\nmask_prefix = <:\nmask_suffix = :>\n'
        "parameter_extraction_cache_capacity = 5\n; a comment\n",
        "[DEFAULT]\nsim_th = 0.9\n[DRAIN]\nDEPTH = 6\n[OTHER]\nx = 1\n",
        "[DEFAULT]\nsim_th = 0.9\n[MASKING]\n",
        "[DRAIN]\nname = 5\ndepth = %(name)s\n",
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_an_ini_is_read_as_drain3_reads_it(tmp_path_factory, text, newline):
    text = text.replace("\n", newline)
    ours, theirs = vars(exact._configuration(text)), vars(configured(tmp_path_factory, text))
    patterns = [[(each.pattern, each.mask_with) for each in one.pop("masking_instructions")] for one in (ours, theirs)]
    assert ours == theirs
    assert patterns[0] == patterns[1]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sim_th = 1", "drain3.ini"),
        ("[DRAIN]\nsim_th = high", r"\[DRAIN\] sim_th"),
        ("[DRAIN]\ndepth = 2", r"\[DRAIN\] depth"),
        ("[DRAIN]\ndepth = 4.5", r"\[DRAIN\] depth"),
        ("[DRAIN]\nmax_clusters = 0", r"\[DRAIN\] max_clusters"),
        ("[DRAIN]\nmax_clusters = none", r"\[DRAIN\] max_clusters"),
        ("[DRAIN]\nmax_children = 0", r"\[DRAIN\] max_children"),
        ("[DRAIN]\nengine = Brain", r"\[DRAIN\] engine"),
        ("[DRAIN]\nparametrize_numeric_tokens = maybe", r"\[DRAIN\] parametrize_numeric_tokens"),
        ("[DRAIN]\nextra_delimiters = _", r"\[DRAIN\] extra_delimiters"),
        ("[DRAIN]\nextra_delimiters = [_", r"\[DRAIN\] extra_delimiters"),
        ("[DRAIN]\nextra_delimiters = [1]", r"\[DRAIN\] extra_delimiters"),
        ("[DRAIN]\nextra_delimiters = 1", r"\[DRAIN\] extra_delimiters"),
        ("[PROFILING]\nenabled = perhaps", r"\[PROFILING\] enabled"),
        ("[MASKING]\nmasking = [", r"\[MASKING\] masking"),
        ("[MASKING]\nmasking = 5", r"\[MASKING\] masking"),
        ("[MASKING]\nmasking = [5]", r"\[MASKING\] masking"),
        ('[MASKING]\nmasking = [{"mask_with": "N"}]', r"\[MASKING\] masking.*regex_pattern.*missing"),
        ('[MASKING]\nmasking = [{"regex_pattern": "a"}]', r"\[MASKING\] masking.*mask_with.*missing"),
        ('[MASKING]\nmasking = [{"regex_pattern": "(", "mask_with": "N"}]', r"\[MASKING\] masking"),
        ('[MASKING]\nmasking = [{"regex_pattern": 1, "mask_with": "N"}]', r"\[MASKING\] masking"),
        ('[MASKING]\nmasking = [{"regex_pattern": "a", "mask_with": 1}]', r"\[MASKING\] masking"),
        ('[MASKING]\nmasking = [{"regex_pattern": "a", "mask_with": "\\\\3"}]', r"\[MASKING\] masking"),
        ('[MASKING]\nmasking = [{"regex_pattern": "a", "mask_with": "\\\\g<b>"}]', r"\[MASKING\] masking"),
        ("[MASKING]\nmasking = [%]", r"\[MASKING\] masking"),
    ],
)
def test_an_ini_that_cannot_be_used_is_refused_by_the_name_of_its_option(text, named):
    with pytest.raises(ValueError, match=named):
        mine_exactly(pa.array(["a"]), text)


def test_a_drain3_ini_in_the_working_folder_has_no_say(tmp_path, monkeypatch):
    (tmp_path / "drain3.ini").write_text("[DRAIN]\nsim_th = 1.5\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert mined(["a b c", "a b d"])[0] == [1, 1]


def test_profiling_prints_nothing(capsys):
    mined(["a b c"] * 50, "[PROFILING]\nenabled = True\nreport_sec = 0\n")
    assert capsys.readouterr().out == ""


def test_the_patterns_here_are_patterns():
    assert all(re.compile(pattern) for pattern, _ in [*README_MASKS, *OTHER_MASKS])
