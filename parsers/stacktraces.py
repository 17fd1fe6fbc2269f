"""Stack traces: Java, Python, Node, Go, PHP, .NET, Ruby and Rust, to the exception and its causes.

Frames name lines of code and change with each release, so they say nothing about whether two failures are the same. The
exception, its message and its causes do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pyarrow.compute as pc
import re2

_ARROW = " <- "
_NAME = r"(?:[A-Za-z_$][\w$]*(?:\.|\\|::))*[A-Za-z_$][\w$]*"
# A class that is an exception by its name, or by standing in a package.
_TYPE = (
    r"(?:(?:[A-Za-z_$][\w$]*(?:\.|\\|::))*[A-Z][\w$]*(?:Exception|Error|Throwable|Failure|Fault|Timeout|Interrupt|Exit|Warning)"
    r"|(?:[A-Za-z_][\w$]*(?:\.|\\|::))+(?:Exception|Error)|(?:[a-z_][\w$]*(?:\.|::))+[A-Z][\w$]*)"
)
_EXCEPTION = re2.compile(
    rf"(?:^|[\s:：>\[(,，（])(?P<all>(?P<type>{_TYPE}|Error|Exception)(?: \([^)]*\)| \[[A-Z_0-9]+\])?(?::\s*(?P<message>.*))?)$"
)
_LEADING = re2.compile(rf"^(?P<type>{_NAME})(?: \([^)]*\)| \[[A-Z_0-9]+\])?(?::\s*(?P<message>.*))?$")
_FRAME = re2.compile(
    r"^\s*at\s+(?:async\s+|new\s+)?(?:[^\s(].*[(:].*\d+.*|[\w.$<>/@ ]+\(.*\).*|\S+\s*\(.*|<anonymous>.*|/?\S+:\d+(?::\d+)?.*)$"
    r"|^\s+\.\.\. \d+ (?:more|common frames omitted).*$"
    r"|^\s*\.\.\. \d+ lines matching cause stack trace \.\.\.$"
    r"|^\s*--- End of (?:inner exception )?stack trace.*---$"
    r'|^\s*File "[^"]*", line \d+.*$'
    r"|^\s*\[Previous line repeated \d+ more times\]$"
    r"|^\s*#\d+ (?:.*\(\d+\): .*|\{main\}|\[internal function\].*|/.*|\S+\(\d+\))$"
    r"|^\s+thrown in .* on line \d+$"
    r"|^\s*(?:from )?[\w./<>() @-]+:\d+:in [`'].*'$"
    r"|^\s+\d+: [\w<>:$&{}, \[\];*#()]+$"
    r"|^\s+at [\w.$/<>]+$"
    r"|^\t\S+\.(?:go|s):\d+(?: \+0x[0-9a-f]+)?$"
    r"|^created by .*$|^goroutine \d+ \[.*\]:?$|^exit status \d+$"
    r"|^(?:Stack trace|stack backtrace|\[stacktrace\]|Backtrace):?$"
    r"|^note: run with `RUST_BACKTRACE.*$"
)
# Lines longer than this are not worth their memory.
_LONG = 400
_GO_FILE = re2.compile(r"^\t\S+\.(?:go|s):\d+(?: \+0x[0-9a-f]+)?$")
_RUBY = re2.compile(r"^(?:from )?\S+:\d+:in [`'][^']*': (?P<message>.*) \((?P<type>[A-Z][\w:]*)\)$")
_PHP_PLACE = re2.compile(r" (?:in|at) (?:/|[A-Z]:\\)\S+?(?:\.php)?(?::\d+| on line \d+)\)?$")
_RAILS = re2.compile(rf"^(?P<type>{_TYPE}) \((?P<message>.*)\):?$")
_MARKER = re2.compile(r"^(?:Caused by:|Wrapped by:|\[cause\]:|--->|Next )\s*")
# Monolog writes `channel.LEVEL:` before the message; it looks like an exception in a package.
_LEVEL = re2.compile(
    r"^(?:.{0,80}?[\s\]])??[A-Za-z][\w-]*\.(?:DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|ALERT|EMERGENCY|FATAL):(?:\s|$)"
)
_LEVEL_WORDS = ("DEBUG:", "INFO:", "NOTICE:", "WARN", "ERROR:", "CRITICAL:", "ALERT:", "EMERGENCY:", "FATAL:")
_LARAVEL = re2.compile(r"\[object\] \((?P<type>[\w\\]+)\(code: \S+?\): (?P<message>.*)$")
# A quick, exact-enough test that a text may hold a trace. Arrow runs it over a whole column.
TRACE_SIGN = (
    r"(?m)^\s+at .+|Traceback \(most recent call last\)|^\s*#\d+ .+|^goroutine \d+ \[|:\d+:in [`']"
    r"|^\t\S+\.go:\d+|^\s*Caused by:|stack backtrace:|^panic: |---> [\w.]+|panicked at "
    r"|(?:\\r)?\\n(?:\\t|\s+|\\r)*(?:at |File \\?\"|#0 |Caused by)|#012(?:#011|\s+)at "
)
_SIGN = re2.compile(TRACE_SIGN)


@dataclass
class _Trace:
    """What is left of a text without its frames."""

    preface: list[str] = field(default_factory=list)
    # Outermost first.
    errors: list[tuple[str, str]] = field(default_factory=list)


def holds_trace(messages: Any) -> Any:
    """A boolean Array: whether each message may hold a stack trace. Null stays null."""
    return pc.match_substring_regex(messages, TRACE_SIGN)


def collapse(text: str) -> str:
    r"""`text` with each stack trace as `exception: message <- cause: message`, on one line and without frames.

    A text without a trace is returned as it is. Collapsing twice is collapsing once.

    >>> collapse("pay failed\\njava.io.IOException: broken\\n\\tat a.B.c(B.java:1)\\nCaused by: java.net.X: reset\\n\\t... 3 more")
    'pay failed java.io.IOException: broken <- java.net.X: reset'
    """
    # What is left may by chance look like a trace again; each round makes it shorter or leaves it.
    while (trace := _read(text)) is not None:
        parts = [_line(name, message) for name, message in trace.errors]
        whole = " ".join([*trace.preface, _ARROW.join(part for part in parts if part)])
        flat = " ".join(_unescape(whole).replace("--->", "<-").split())
        if flat == text:
            break
        text = flat
    return text


def chain(text: str) -> list[tuple[str, str]]:
    """The exceptions of the trace in `text` as (type, message), the outermost first and the root cause last.

    The type is empty where a trace names none. Without a trace the list is empty.
    """
    trace = _read(text)
    return [] if trace is None else [(name, " ".join(message.split())) for name, message in trace.errors]


@dataclass(frozen=True)
class Frame:
    """One frame of a trace: the function as it was printed, its file and line where they were."""

    function: str
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        """As people write it: `Pay.charge (Pay.java:12)`."""
        place = f"{self.file}:{self.line}" if self.file and self.line is not None else self.file
        return f"{self.function} ({place})" if self.function and place else self.function or place


# Where it was thrown, and whose code called there, stands at the top.
_MOST_FRAMES = 50


def root_frames(text: str) -> tuple[Frame, ...]:
    r"""The frames under the root cause of the trace in `text`, the one that threw first, at most 50; empty without a trace.

    >>> [str(f) for f in root_frames("x.A: b\n\tat a.B.c(B.java:1)\nCaused by: x.Y: z\n\tat q.R.s(R.java:7)\n\t... 3 more")]
    ['q.R.s (R.java:7)']
    """
    if not _SIGN.search(text):
        return ()
    lines = _unescape(text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if any("Traceback (most recent call last)" in line for line in lines):
        return _python_frames(lines)
    marks = [number for number, line in enumerate(lines) if line.lstrip().startswith(("Caused by:", "[cause]:"))]
    # The last cause is the root; what stands before it need not be read.
    lines = lines[marks[-1] :] if marks else lines
    groups: list[list[Frame]] = [[]]
    suppressed = False
    for number, line in enumerate(lines):
        bare = line.strip()
        if suppressed and line[:1] in {" ", "\t"} and not bare.startswith("Caused by:"):
            continue
        suppressed = bare.startswith("Suppressed: ")
        frame = _frame(bare, lines[number + 1] if number + 1 < len(lines) else "")
        if frame:
            groups[-1].append(frame)
        elif (groups[-1] and not _is_frame(line)) or (groups[-1] and "--- End of " in bare):
            groups.append([])
        if not frame and (place := _THROWN.search(bare)):
            groups[-1].append(Frame("", place.group(1), int(place.group(2))))
        if len(groups[0]) >= _MOST_FRAMES or (groups[0] and len(groups) > 1):
            break
    return tuple(groups[0])


_PYTHON_FRAME = re2.compile(r'^\s*File "([^"]*)", line (\d+), in (.+)$')
_JAVA_FRAME = re2.compile(r"^at (?:[\w.@-]*/)*([\w$.<>/]+)\(([\w$-]+\.\w+|Native Method|Unknown Source)(?::(\d+))?\)")
_NODE_FRAME = re2.compile(r"^at (?:async |new )?(?:(.+?) \()?(?:file://)?([^\s()]+?):(\d+)(?::\d+)?\)?$")
_DOTNET_FRAME = re2.compile(r"^at ([^\s(]+)\s*\([^)]*\)(?: in (.+):line (\d+))?$")
_PHP_FRAME = re2.compile(r"^#\d+ (\S+?)\((\d+)\)(?:: (.*))?$")
_RUBY_FRAME = re2.compile(r"^(?:from )?([^\s:]+):(\d+):in [`']([^']*)'")
_GO_PLACE = re2.compile(r"^\t(\S+\.(?:go|s)):(\d+)")
# PHP names the place of the throw behind the message.
_THROWN = re2.compile(r" in ((?:/|[A-Z]:\\)\S+?\.php)(?::| on line )(\d+)")


def _python_frames(lines: list[str]) -> tuple[Frame, ...]:
    """Python prints the root cause's trace first and the frame that threw last."""
    frames: list[Frame] = []
    for line in lines:
        match = _PYTHON_FRAME.search(line)
        if match:
            frames.append(Frame(match.group(3), match.group(1), int(match.group(2))))
        elif frames and line.strip() and line[:1] not in {" ", "\t"}:
            break
    return tuple(reversed(frames))


def _frame(bare: str, following: str) -> Frame | None:
    for pattern, function, file, line in (
        (_JAVA_FRAME, 1, 2, 3),
        (_NODE_FRAME, 1, 2, 3),
        (_DOTNET_FRAME, 1, 2, 3),
        (_PHP_FRAME, 3, 1, 2),
        (_RUBY_FRAME, 3, 1, 2),
    ):
        match = pattern.search(bare)
        if match:
            number = match.group(line)
            return Frame(match.group(function) or "", match.group(file) or "", int(number) if number else None)
    place = _GO_PLACE.search(following)
    if place and "(" in bare:
        return Frame(bare[: bare.rindex("(")], place.group(1), int(place.group(2)))
    return None


def _line(name: str, message: str) -> str:
    return f"{name}: {message}" if name and message else name or message


# The same frames come again with each failure.
@lru_cache(maxsize=4096)
def _is_short_frame(line: str) -> bool:
    return _FRAME.search(line) is not None


def _is_frame(line: str) -> bool:
    """Whether `line` is one of a trace's frames."""
    return _is_short_frame(line) if len(line) <= _LONG else _FRAME.search(line) is not None


def _unescape(text: str) -> str:
    r"""Line breaks that a logger or syslog wrote as `\\n` or `#012`, as line breaks, where they separate frames."""
    if "\\n" in text and re2.search(r"\\n(?:\\t|\s+|\\r)*(?:at |File \\?\"|#0 |Caused by)", text):
        text = text.replace("\\r\\n", "\n").replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"')
    if "#012" in text:
        text = text.replace("#012", "\n").replace("#011", "\t")
    return text


# A text is read for its exceptions and again for its line, one after the other.
@lru_cache(maxsize=16)
def _read(text: str) -> _Trace | None:
    """The trace in `text`, or None. It is shared: nobody changes it."""
    if not _SIGN.search(text):
        return None
    lines = _unescape(text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if any("Exception Group Traceback" in line for line in lines):
        lines = [line.lstrip(" ").removeprefix("+ ").removeprefix("| ") for line in lines]
    if any("Traceback (most recent call last)" in line for line in lines):
        return _python(lines)
    return _other(lines)


@lru_cache(maxsize=1024)
def _split(line: str) -> tuple[str, str, str]:
    """A line as (what stands before, exception type, message)."""
    if "panicked at " in line:
        return "", "panic", line.split("panicked at ", 1)[1].strip()
    rails = _RAILS.search(line) if " (" in line else None
    if rails:
        return "", rails.group("type"), rails.group("message").strip()
    match = _EXCEPTION.search(line)
    if match is None:
        return line.strip(), "", ""
    return line[: match.start(1)].strip(), match.group("type"), (match.group("message") or "").strip()


def _python(lines: list[str]) -> _Trace:
    """Python prints the cause first and the outermost exception last."""
    trace = _Trace()
    inside = False
    current: list[str] | None = None
    found: list[tuple[str, str]] = []
    for line in lines:
        bare = line.strip()
        if bare.startswith(("The above exception was the direct cause", "During handling of the above exception")):
            inside, current = False, None
        elif "Traceback (most recent call last)" in line:
            if current is not None:
                current = None
            before = line.split("Traceback (most recent call last)")[0].strip(" +|")
            if before and not found:
                trace.preface.append(before)
            inside = True
        elif inside and (not bare or line[:1] in {" ", "\t"} or _is_frame(line)):
            continue
        elif inside:
            inside = False
            match = _LEADING.search(bare)
            current = [match.group("type"), match.group("message") or ""] if match else ["", bare]
            found.append((current[0], current[1]))
        elif current is not None and bare:
            found[-1] = (found[-1][0], f"{found[-1][1]} {bare}".strip())
        elif bare and not found:
            trace.preface.append(bare)
    trace.errors = found[::-1]
    return trace


def _other(lines: list[str]) -> _Trace | None:
    """Every language that prints the outermost exception first, and PHP, which says `Next` for the outer one."""
    trace = _Trace()
    head: list[str] = []
    framed = changed = suppressed = listed = False
    outer_last = False
    for number, line in enumerate(lines):
        bare = line.strip()
        ruby = _RUBY.search(bare) if ":in " in bare else None
        if suppressed and line[:1] in {" ", "\t"}:
            continue
        suppressed = False
        if ruby:
            trace.errors.append((ruby.group("type"), ruby.group("message")))
            framed = changed = True
        elif bare.startswith("Suppressed: ") and line[:1] in {" ", "\t"}:
            suppressed = changed = True
        elif listed and bare and line[:1] in {" ", "\t"}:
            _close(trace, [re2.sub(r"^\d+: ", "", bare)])
            framed = True
        elif _is_frame(line) or (
            number + 1 < len(lines) and lines[number + 1][:1] == "\t" and _GO_FILE.search(lines[number + 1])
        ):
            if not framed:
                _close(trace, head)
                head = []
            framed = changed = True
        elif bare.startswith(("Caused by:", "Wrapped by:", "[cause]:", "--->", "Next ")) and (
            bare[:5] != "Next " or _EXCEPTION.search(bare)
        ):
            _close(trace, head)
            wrapped = bare.startswith(("Wrapped by:", "Next "))
            outer_last = outer_last or wrapped
            rest = _MARKER.sub("", bare)
            listed = not rest
            head = [rest] if rest else []
            framed = False
            changed = True
            if rest:
                _close(trace, head)
                head = []
                framed = True
        elif bare in {"", "{", "}"}:
            continue
        elif framed and trace.errors:
            # Behind a trace: Node's `code: 'ECONNREFUSED'`, or the rest of a message of several lines.
            name, message = trace.errors[-1]
            trace.errors[-1] = (name, f"{message} {bare.rstrip(' {')}".strip())
        else:
            head.append(bare)
    _close(trace, head)
    if outer_last:
        trace.errors.reverse()
    inline = any(" ---> " in message or "--->" in message for _, message in trace.errors)
    return _inline(trace) if changed or inline else None


def _close(trace: _Trace, head: list[str]) -> None:
    """The lines before the frames: text, then the exception, then the rest of its message."""
    if not head:
        return
    for number, whole in enumerate(head):
        level = _LEVEL.search(whole) if any(word in whole for word in _LEVEL_WORDS) else None
        line = whole[level.end() :].strip() if level else whole
        laravel = _LARAVEL.search(line) if "[object]" in line else None
        if laravel:
            before, name, message = line[: laravel.start(0)].strip(), laravel.group("type"), laravel.group("message")
        else:
            before, name, message = _split(line)
            if not name and line.startswith("panic: "):
                before, name, message = "", "panic", line.removeprefix("panic: ")
        if name or number == len(head) - 1:
            if not trace.errors:
                trace.preface.extend(head[:number])
                if level:
                    trace.preface.append(level[0].strip())
            if (
                name
                and before
                and not before.startswith(("PHP Fatal", "Fatal error", "Uncaught", "Exception in thread"))
            ):
                if not trace.errors:
                    trace.preface.append(before)
                before = ""
            rest = [message if name else before, *head[number + 1 :]]
            text = " ".join(part for part in rest if part)
            text = (_PHP_PLACE.sub("", text) if " in " in text or " at " in text else text).rstrip(" {")
            if name or text:
                trace.errors.append((name, text))
            return


def _inline(trace: _Trace) -> _Trace:
    """.NET's `outer: message ---> inner: message` on one line, taken apart."""
    errors: list[tuple[str, str]] = []
    for name, message in trace.errors:
        first, *rest = message.split("--->")
        errors.append((name, first.strip()))
        for part in rest:
            _, inner, text = _split(part.strip())
            errors.append((inner, text if inner else part.strip()))
    trace.errors = errors
    return trace
