"""One entry of the knowledge base: a Markdown file with YAML front matter.

    ---
    id: reports.index_lost
    module: reports
    problem: report-loads-slowly        entries of one problem are its possible causes
    fault_class: internal_fault         where it is one of the taxonomy
    channels: [alipay]
    codes: [alipay ACQ.SYSTEM_ERROR]
    check_minutes: 5                    what it costs to find out whether this is the cause
    versions: [">=3.2,<4"]
    owner: dba
    review_by: 2027-05-01
    video: https://...
    ---
    # Report loads slowly: index lost
    ## Problem / Questions / Cause / Steps / Common mistakes / Prevention
    # 报表加载慢：索引丢失
    ## 问题 / 常见问法 / 原因 / 步骤 / 常见错误 / 预防

Each first-level heading begins one language, told by its sections' names, else by its own words. Front matter is read
without YAML's guessing (`no` stays a word, 1.10 a version) and without aliases, which can make gigabytes of a few lines.
Markdown is read by markdown-it-py (MIT), as CommonMark.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Annotated, Any, Literal

import msgspec

from pipeline.errors import UsageError
from snapshots.model import Text

MAX_BYTES = 256 * 1024
Language = Literal["en", "zh"]
# The part of an entry that a section holds -> what its heading says, the first of each language as we write it.
SECTIONS: dict[str, dict[Language, tuple[str, ...]]] = {
    "problem": {"en": ("Problem", "Symptom", "Symptoms", "Issue"), "zh": ("问题", "现象", "问题描述", "故障现象")},
    "questions": {"en": ("Questions", "Also asked"), "zh": ("常见问法", "问法")},
    "cause": {"en": ("Cause", "Root cause", "Reason"), "zh": ("原因", "根因", "根本原因", "问题原因")},
    "steps": {
        "en": ("Steps", "Solution", "Resolution", "Answer", "Fix"),
        "zh": ("步骤", "解决步骤", "解决方案", "解决方法", "处理步骤", "答案"),
    },
    "mistakes": {"en": ("Common mistakes", "Pitfalls"), "zh": ("常见错误", "注意事项")},
    "prevention": {"en": ("Prevention",), "zh": ("预防", "预防措施")},
    "codes": {"en": ("Codes",), "zh": ("返回码",)},
}
LISTS = frozenset({"questions", "steps", "mistakes", "codes"})
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,119}")
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
# What would begin another block at the start of a line.
_BLOCK = re.compile(r"^(?=[#>+*`~=|-]|\d+[.)]\s)")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry says in one language. Each string is Markdown of one paragraph."""

    title: str
    problem: str = ""
    questions: tuple[str, ...] = ()
    cause: str = ""
    steps: tuple[str, ...] = ()
    mistakes: tuple[str, ...] = ()
    prevention: str = ""
    codes: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[str, ...]:
        """What a question is compared with."""
        return tuple(filter(None, (self.title, self.problem, *self.questions, self.cause, *self.codes)))

    @property
    def answer(self) -> tuple[str, ...]:
        """What an answer is compared with."""
        return tuple(filter(None, (*self.steps, *self.mistakes, self.prevention)))


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What came of a signature's test against old snapshots: how many were read, matched, and matched wrongly."""

    tested: date
    snapshots: int
    matched: int
    wrong: int
    holds: bool


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the system shows the problem: codes as `channel CODE`, and templates of log lines. Evidence once `trial.holds`."""

    codes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    trial: Trial | None = None

    @property
    def proven(self) -> bool:
        """Whether it counts as evidence."""
        return self.trial is not None and self.trial.holds


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The front matter. `check_minutes` is what it costs to find out whether this is the cause."""

    id: str
    module: str = ""
    problem: str = ""
    fault_class: str | None = None
    fault_subclass: str | None = None
    channels: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    check_minutes: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 10
    versions: tuple[str, ...] = ()
    owner: str = ""
    review_by: date | None = None
    since: date | None = None
    video: str | None = None
    status: Literal["draft", "accepted", "retired"] = "accepted"
    tickets: tuple[str, ...] = ()
    origin: str | None = None
    signature: Signature | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry: its facts, and what it says in one language or both."""

    facts: Facts
    en: Told | None = None
    zh: Told | None = None

    @property
    def id(self) -> str:
        """Its name, one in the whole folder."""
        return self.facts.id

    @property
    def told(self) -> tuple[Told, ...]:
        """What it says, in each language that it has."""
        return tuple(told for told in (self.en, self.zh) if told is not None)

    def text(self, part: str) -> Text:
        """One part in both languages; where one is missing the other stands for it."""
        en, zh = (getattr(told, part) if told else "" for told in (self.en, self.zh))
        return Text(en=en or zh, zh=zh or en)

    def texts(self, part: str) -> list[Text]:
        """The items of a list part, paired in order; where the lists differ in length each is told once."""
        en, zh = (list(getattr(told, part)) if told else [] for told in (self.en, self.zh))
        longest = max(len(en), len(zh))
        en, zh = ([*one, *other[len(one) :]] for one, other in ((en, zh), (zh, en)))
        return [Text(en=en[i], zh=zh[i]) for i in range(longest)]


# ---- from Markdown


def read_entry(text: str, where: str) -> Entry:
    """The entry in `text`. Raises `UsageError`, which names `where` and what is wrong."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise UsageError(f"{where}: larger than {MAX_BYTES // 1024} kB; an entry is a page, so split it")
    front = _FRONT.match(text)
    if front is None:
        raise UsageError(f"{where}: does not begin with front matter between two lines of ---")
    facts = _facts(front[1], where)
    told = dict(_languages(text[front.end() :]))
    if not told:
        raise UsageError(f"{where}: has no heading; its title is a line such as `# Report loads slowly`")
    return Entry(facts=facts, en=told.get("en"), zh=told.get("zh"))


def _facts(text: str, where: str) -> Facts:
    import yaml

    # In C where PyYAML was built with it: entries are read whenever a snapshot is taken.
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=loader)):
            raise UsageError(f"{where}: front matter has YAML aliases; write the values out")
        plain: Any = yaml.load(text, Loader=loader)  # noqa: S506 - makes nothing but text, lists and mappings
        if isinstance(plain, dict):
            # An empty value is one that is not given.
            plain = {key: value for key, value in plain.items() if value != ""}
        facts = msgspec.convert(plain, Facts, strict=False)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{where}: front matter: {' '.join(str(error).split())[:300]}") from error
    if not _ID.fullmatch(facts.id):
        raise UsageError(f"{where}: id {facts.id!r} is no name; use letters, digits, dots, - and _")
    if facts.video and not facts.video.startswith(("https://", "http://")):
        raise UsageError(f"{where}: video {facts.video!r} is no http or https address")
    return facts


@functools.cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False})


@functools.cache
def section_names() -> dict[str, tuple[str, Language]]:
    """What a heading says, lowered -> the part it begins and its language."""
    return {
        name.lower(): (part, language)
        for part, names in SECTIONS.items()
        for language, spelt in names.items()
        for name in spelt
    }


def _languages(body: str) -> Iterator[tuple[Language, Told]]:
    for title, sections in _titled(body):
        named = [section_names()[name][1] for name, _ in sections if name in section_names()]
        language = named[0] if named else language_of(title)
        parts: dict[str, Any] = {}
        for name, items in sections:
            part = section_names().get(name, ("problem", language))[0]
            if part in LISTS:
                parts[part] = (*parts.get(part, ()), *items)
            else:
                parts[part] = " ".join(filter(None, (parts.get(part, ""), *items)))
        yield language, Told(title=title, **parts)


def language_of(text: str) -> Language:
    """The language of a text that nothing else tells: as of a ticket."""
    from pipeline.tickets.file import guess_language

    return "zh" if guess_language(text) == "zh" else "en"


def _titled(body: str) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """Each first-level heading with its sections: the lowered name of each, and its paragraphs and items."""
    title, sections = "", list[tuple[str, list[str]]]()
    tokens = _markdown().parse(body)
    depth = 0
    for i, token in enumerate(tokens):
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            depth += 1
        elif token.type in {"bullet_list_close", "ordered_list_close"}:
            depth -= 1
        elif token.type in {"fence", "code_block"} and sections:
            sections[-1][1].append(_line(token.content))
        elif token.type == "inline":
            said, opened = _line(token.content), tokens[i - 1]
            if opened.type == "heading_open" and opened.tag == "h1":
                if title:
                    yield title, sections
                title, sections = said, [("", [])]
            elif opened.type == "heading_open" and opened.tag == "h2" and sections:
                sections.append((said.rstrip(":： ").lower(), []))
            elif sections and said:
                _add(sections[-1][1], said, nested=depth > 1)
    if title:
        yield title, sections


def _add(items: list[str], said: str, *, nested: bool) -> None:
    """What stands in a list of a list belongs to the item above it."""
    if nested and items:
        items[-1] = f"{items[-1]}; {said}"
    else:
        items.append(said)


def _line(text: str) -> str:
    return " ".join(text.split())


# ---- to Markdown


def write_entry(entry: Entry) -> str:
    """The entry as its file holds it; reading that gives the entry back."""
    import yaml

    plain = msgspec.to_builtins(entry.facts, builtin_types=(date,))
    front = yaml.dump(plain, Dumper=_dumper(), allow_unicode=True, sort_keys=False, width=1000)
    blocks = [f"---\n{front}---\n"]
    for language in ("en", "zh"):
        told: Told | None = getattr(entry, language)
        if told is not None:
            blocks.append(_written(told, language))
    return "\n".join(blocks)


@functools.cache
def _dumper() -> Any:
    import yaml

    base: Any = yaml.SafeDumper

    class Plain(base):  # type: ignore[misc] # yaml has no types
        """Writes one value out however often it is there: reading refuses aliases."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    return Plain


def _written(told: Told, language: Any) -> str:
    lines = [f"# {plain_line(told.title)}"]
    for part, names in SECTIONS.items():
        value: str | Sequence[str] = getattr(told, part)
        if not value:
            continue
        lines += ["", f"## {names[language][0]}", ""]
        if isinstance(value, str):
            lines.append(plain_line(value))
        elif part == "steps":
            lines += [f"{number}. {plain_line(item)}" for number, item in enumerate(value, 1)]
        else:
            lines += [f"- {plain_line(item)}" for item in value]
    return "\n".join(lines) + "\n"


def plain_line(text: str) -> str:
    r"""`text` as one line of a paragraph: white space joined, and no other block begun.

    >>> plain_line("# not a\nheading")
    '\\# not a heading'
    """
    line = _line(text)
    found = _BLOCK.match(line)
    if found is None:
        return line
    number = re.match(r"\d+", line)
    at = number.end() if number else 0
    return f"{line[:at]}\\{line[at:]}"
