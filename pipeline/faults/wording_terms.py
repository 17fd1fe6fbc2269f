"""From the wording of a code or a message to terms: words, concepts, pairs of concepts, pieces of words and of Chinese.

What names one request (numbers, identifiers, hosts, addresses) is masked first, so that nothing is ever learnt from it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, groupby, pairwise

# A message says what it has to say early; what follows is a dump of a request or of a stack.
LONGEST = 600
# Words and Chinese characters of which terms are made.
_MOST_WORDS = 60
_MOST_HAN = 120
# Where a clause ends.
_END = "|"
# Concepts that stand for their whole phrase.
_WHOLE = frozenset({"not_found", "not_supported", "not_enabled", "not_allowed", "not_enough"})
# Concepts further apart than this do not belong together.
_NEAR = 6

_URL = re.compile(r"(?i)\b(?:https?|jdbc:[a-z]+|redis|amqp|ftp)://\S+")
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+\.[\w.]+")
_APOSTROPHE = re.compile(r"['\u2019]")
_STATUS = re.compile(r"(?i)\b(?:http|status|code|statuscode|http_status|状态码)\W{0,3}([1-5]\d\d)\b")
# key=value: the value of a request's field is never wording, except where the key says so.
_PAIR = re.compile(
    r"(?i)\b(?!(?:err\w*|msg|message|reason|desc\w*|sub_?msg|sub_?code|detail\w*|cause|error_\w+|type|code|status)\b)"
    r"[\w.-]*(?:id|no|sn|tid|trace|span|order|amount|host|addr|ip|port|ms|cost|elapsed|uid|mch|merchant|customer|thread|shard|partition|offset|version|size|attempt)"
    r"\s?[=:]\s?\"?[\w./:@*-]*\d[\w./:@*-]*"
)
_OPAQUE = re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])[\w-]{12,}\b|\b[0-9a-fA-F]{8,}\b|\b[0-9a-f]{8}-[0-9a-f-]{20,}\b")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)")
_WORD = re.compile(r"[a-z][a-z0-9]*|\d+(?=d\b)|[\u3400-\u9fff]+|[,;:.!?()\[\]{}，。；：！？（）、/|\n]+")
_HAN = re.compile(r"[\u3400-\u9fff]")
# What gateways and languages put before the words that matter.
_PREFIX = re.compile(
    r"(?i)\b(?:ACQ|isv|isp|aop|acq)[.](?=[A-Za-z])"
    r"|\b(?:javax?|org|com|net|io|sun|cn|kotlin|scala|akka|reactor|requests|urllib3?|botocore|sqlalchemy|psycopg2?|System)(?:\.[a-z0-9_]+)*\.(?=[A-Za-z])"
)
STOP = frozenset(
    "the a an of to in on at is are was were be been by for with and or this that it its as from has have had i we you our"  # noqa: SIM905
    " your their his her please will would which when while than then if but so do does did into out up exception error".split()
)
# Short forms in codes and log lines.
_SHORT: Mapping[str, str] = {
    "auth": "auth", "amt": "amount", "acct": "account", "acc": "account", "bal": "balance", "cert": "certificate", "cfg": "config",
    "conf": "config", "conn": "connection", "cust": "customer", "curr": "currency", "dup": "duplicate", "err": "error",
    "exp": "expiry", "freq": "frequency", "idx": "index", "info": "information", "inv": "invalid", "max": "maximum", "mch": "merchant",
    "merch": "merchant", "min": "minimum", "msg": "message", "num": "number", "param": "parameter", "params": "parameter",
    "pwd": "password", "passwd": "password", "perm": "permission", "req": "request", "resp": "response", "rsp": "response", "sig": "signature",
    "sign": "signature", "svc": "service", "sys": "system", "tmp": "temporary", "trans": "transaction", "trx": "transaction", "txn": "transaction",
    "tx": "transaction", "unauth": "unauthorized", "usr": "user", "ver": "version", "addr": "address", "desc": "description",
    "exceeds": "exceed", "illegal": "invalid", "incorrect": "invalid",
}  # fmt: skip


def stem(word: str) -> str:
    """A word without its ending, so that limits and limited, declined and decline, cancelled and canceled are one.

    >>> [stem(w) for w in ("limits", "declined", "cancelled", "authorised", "currencies", "missing")]
    ['limit', 'declin', 'cancel', 'authoriz', 'currency', 'miss']
    """
    # https is no plural: what names a protocol says nothing of TLS.
    if len(word) <= 3 or word == "https":
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if word.endswith("ing") and len(word) > 6:
        word = word[:-3]
    elif word.endswith("ed") and len(word) > 4:
        word = word[:-2]
    word = re.sub(r"is(?=(e$|$|ation|er))", "iz", word) if "is" in word[4:] else word
    word = word.replace("our", "or") if len(word) > 4 and word.startswith(("hon", "col", "behav")) else word
    word = word.replace("licenc", "licens")
    if len(word) > 4 and word[-1] == word[-2] and word[-1] in "lptrn":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


class Lexicon:
    """Words that mean the same (`concepts.toml`): concept -> its English and Chinese entries."""

    def __init__(self, concepts: Mapping[str, Iterable[str]], words: Iterable[str] = ()) -> None:
        self._phrases: dict[tuple[str, ...], list[str]] = {}
        self._prefixes: list[tuple[str, str]] = []
        self._han: dict[str, list[str]] = {}
        known: set[str] = set(words)
        for name, entries in concepts.items():
            for entry in entries:
                if _HAN.search(entry):
                    self._han.setdefault(entry, []).append(name)
                elif entry.endswith("*"):
                    self._prefixes.append((entry[:-1], name))
                    known.add(entry[:-1])
                else:
                    parts = entry.lower().split()
                    key = tuple(stem(_SHORT.get(p, p)) for p in parts)
                    self._phrases.setdefault(key, []).append(name)
                    known.update(p for p in parts if len(p) >= 3)
        self._longest_han = max(map(len, self._han), default=1)
        self._known = frozenset(w for w in known if len(w) >= 3 or w in ("no", "id", "pay", "not", "in"))
        self._of_word: dict[str, tuple[str, ...]] = {}
        self._cut: dict[str, tuple[str, ...]] = {}

    def concepts_of(self, word: str) -> tuple[str, ...]:
        """The concepts of one word, given as it is spelt."""
        found = self._of_word.get(word)
        if found is None:
            names = list(self._phrases.get((stem(word),), ()))
            names += [name for prefix, name in self._prefixes if word.startswith(prefix)]
            found = tuple(dict.fromkeys(names))
            if len(self._of_word) < 50_000:
                self._of_word[word] = found
        return found

    def phrase(self, stems: tuple[str, ...]) -> list[str]:
        """The concepts of several words in a row."""
        return self._phrases.get(stems, [])

    def in_han(self, run: str) -> list[tuple[int, str]]:
        """The concepts of a run of Chinese, each with the place where it stands; the longest entry wins."""
        found: list[tuple[int, str]] = []
        at = 0
        while at < len(run):
            for size in range(min(self._longest_han, len(run) - at), 0, -1):
                names = self._han.get(run[at : at + size])
                if names:
                    found += [(at, name) for name in names]
                    at += size
                    break
            else:
                at += 1
        return found

    def cut(self, word: str) -> tuple[str, ...]:
        """A word that is several written as one, cut where each part is known; else the word itself.

        >>> Lexicon({"a": ["not", "enough", "order", "paid"]}).cut("notenough")
        ('not', 'enough')
        """
        if len(word) < 6 or word in self._known or self.concepts_of(word):
            return (word,)
        found = self._cut.get(word)
        if found is None:
            best: list[tuple[str, ...] | None] = [()] + [None] * len(word)
            for end in range(2, len(word) + 1):
                for start in range(max(0, end - 14), end - 1):
                    head, part = best[start], word[start:end]
                    if head is None or part not in self._known:
                        continue
                    kept = best[end]
                    if kept is None or len(head) + 1 < len(kept):
                        best[end] = (*head, part)
            whole = best[len(word)]
            found = whole if whole and len(whole) <= 5 else (word,)
            if len(self._cut) < 50_000:
                self._cut[word] = found
        return found


def masked(text: str) -> str:
    """`text` in its shortest form: one line, nothing that names a request, a host or a moment.

    >>> masked("WxPay failed orderNo=PY20260304: SIGNERROR, see https://pay.example/x")
    'WxPay failed   SIGNERROR, see  '
    """
    text = unicodedata.normalize("NFKC", text[: 4 * LONGEST])
    text = _URL.sub(" ", text)
    text = _EMAIL.sub(" ", text)
    text = _PAIR.sub(" ", text)
    text = _OPAQUE.sub(" ", text)
    return text[:LONGEST]


def tokens(text: str, lexicon: Lexicon) -> list[str]:
    """Lower-case words, runs of Chinese, and `|` where a clause ends; without numbers."""
    text = _APOSTROPHE.sub("", _PREFIX.sub(" ", masked(text)))
    # The one word that begins with a digit.
    text = _CAMEL.sub(" ", re.sub(r"(?<![A-Za-z0-9])3-?D(?:S\d?|\b)", "threeds", text)).lower()
    found: list[str] = []
    for token in _WORD.findall(text):
        if token[0].isdigit():
            continue
        if _HAN.match(token):
            found.append(token)
        elif token[0].isalpha():
            found.extend(_SHORT.get(part, part) for part in lexicon.cut(token))
        elif found and found[-1] != _END:
            found.append(_END)
    return found


class _Gathered:
    """The terms of one text while it is walked through, clause by clause."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.words: set[str] = set()
        self.bigrams: set[str] = set()
        self.pieces: set[str] = set()
        self.han: set[str] = set()
        # Each concept with the place where it stands.
        self.placed: list[tuple[int, str]] = []
        self.at = 0
        self._left = _MOST_WORDS
        self._left_han = _MOST_HAN

    def clause(self, words: list[str]) -> None:
        """Take in English words in a row."""
        words = words[: self._left]
        self._left -= len(words)
        stems = [stem(word) for word in words]
        covered: set[int] = set()
        for size in (3, 2):
            for i in range(len(stems) - size + 1):
                names = self.lexicon.phrase(tuple(stems[i : i + size]))
                self.placed += [(self.at + i, name) for name in names]
                # "not found" is not "found": the words of such a phrase say nothing each by itself.
                if names and (size == 3 or _WHOLE.intersection(names)):
                    covered.update(range(i, i + size))
        for i, word in enumerate(words):
            if i not in covered:
                self.placed += [(self.at + i, name) for name in self.lexicon.concepts_of(word)]
        kept = [s for s, word in zip(stems, words, strict=True) if word not in STOP]
        self.words.update(kept)
        self.bigrams.update(f"{a} {b}" for a, b in pairwise(kept))
        for edged in (f"<{s}>" for s in kept if len(s) > 3):
            self.pieces.update(edged[i : i + n] for n in (4, 5) for i in range(len(edged) - n + 1))
        self.at += len(words)

    def chinese(self, run: str) -> None:
        """Take in a run of Chinese; two characters are as long as a word."""
        run = run[: self._left_han]
        self._left_han -= len(run)
        self.placed += [(self.at + place // 2, name) for place, name in self.lexicon.in_han(run)]
        self.han.update(run[i : i + n] for n in (1, 2, 3) for i in range(len(run) - n + 1))
        self.at += (len(run) + 1) // 2

    def pairs(self) -> set[str]:
        """The concepts that stand near each other, two by two."""
        near = combinations(self.placed[:40], 2)
        return {"+".join(sorted((a, b))) for (i, a), (j, b) in near if a != b and abs(i - j) <= _NEAR}


def terms(
    text: str,
    lexicon: Lexicon,
    *,
    code: str | None = None,
    channel: str | None = None,
    http_status: int | None = None,
) -> dict[str, list[str]]:
    """The terms by kind, each once and in order.

    `c` concepts, `p` pairs of them, `w` words, `b` two words in a row, `x` pieces of words, `h` pieces of Chinese, `s` HTTP
    status, `n` channel, `k` what the code looks like.
    """
    stream = tokens(text, lexicon)
    if code and not code.isdigit():
        stream = [*tokens(code, lexicon), _END, *stream]
    gathered = _Gathered(lexicon)
    for is_word, run in groupby(stream, key=lambda token: token != _END and not _HAN.match(token)):
        if is_word:
            gathered.clause(list(run))
            continue
        for token in run:
            if token == _END:
                gathered.at += 2
            else:
                gathered.chinese(token)
    status = http_status
    if status is None and (said := _STATUS.search(text[:LONGEST])):
        status = int(said[1])
    return {
        "c": sorted({name for _, name in gathered.placed}),
        "p": sorted(gathered.pairs()),
        "w": sorted(gathered.words),
        "b": sorted(gathered.bigrams),
        "x": sorted(gathered.pieces),
        "h": sorted(gathered.han),
        "s": [str(status), f"{status // 100}xx"] if status else [],
        "n": [channel] if channel else [],
        "k": [shape_of(code)] if code else [],
    }


def shape_of(code: str) -> str:
    """What a code looks like: a card network's two digits, a longer number, a constant, an exception's name."""
    code = code.strip()
    if re.fullmatch(r"\d\d|[A-Z]\d|\d[A-Z]|R\d", code):
        return "two"
    if re.fullmatch(r"\d{3}", code):
        return "three"
    if re.fullmatch(r"[A-Z0-9]{4}", code):
        return "four"
    if re.fullmatch(r"\d+", code):
        return "digits"
    if re.search(r"(Exception|Error)$", code):
        return "exception"
    return "words"


_ISSUER = re.compile(r"(?i)decline|processor|refusal|de39|response_?code|respcode|rsncd")
_TECHNICAL = re.compile(r"(?i)exception|errno|curl|^db\.|http\.|rpc\.|error\.type")


def kind_of(field: str | None, code: str | None, channel: str | None) -> str:
    """Who speaks, as far as the place of the code tells: an issuer, the channel's API, software, or just a text."""
    if field and _ISSUER.search(field):
        return "issuer"
    if field and _TECHNICAL.search(field):
        return "technical"
    if not field and code and shape_of(code) == "two":
        return "issuer"
    return "api" if code or channel else "text"


def evidence(found: Mapping[str, Sequence[str]], known: Mapping[str, int]) -> float:
    """How much there is to go by, 0..1: more with each word that the model has met, less where most words are strange.

    With n of N words met it is n / (n + 1), times 2n / N where n is less than half of N; a piece of two Chinese characters
    counts as a word. Of several such factors this one fitted the held-out folds of messages.csv best.
    """
    names = [f"w:{word}" for word in found["w"]] + [f"h:{piece}" for piece in found["h"] if len(piece) == 2]
    met = sum(name in known for name in names)
    return met / (met + 1) * min(1.0, 2 * met / len(names)) if names else 0.0
