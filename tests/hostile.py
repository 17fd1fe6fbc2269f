"""Documents in which an attacker wrote every free text."""

from __future__ import annotations

from typing import Any

import msgspec

from snapshots.model import ProblemSnapshot
from tests.snapshots_samples import SAMPLES

ATTACK = (
    "<script>alert(1)</script> <img src=x onerror=alert(2)> \x1b[2J\x1b]0;owned\x07\x1b[31mred \x9b5m "
    "| `x` ``y`` [click](javascript:alert(3)) ![p](http://evil.example/p.png) http://evil.example www.evil.example "
    "**bold** _it_ {{ 7*7 }} {% raw %} [red]markup[/red] :bomb: \u202e\u2066txt\u200b\x00\x08\n# heading\n- item\n</td></table>"
)

# What means something to one of the systems and chats that a note or a message goes to.
PIECES = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<a href='http://evil.example'>here</a>",
    "<!-- -->",
    "<!channel>",
    "<@U123>",
    "<at id=all></at>",
    "<at>everyone</at>",
    "@all",
    "@here",
    "@channel",
    "@octocat",
    "@所有人",
    "#123",
    "GH-12",
    "!12",
    "&12",
    "~bug",
    '%"v1"',
    "owner/repo#9",
    "[~bob]",
    "[^x.png]",
    "[[Page]]",
    "[click](http://evil.example)",
    "![p](http://evil.example/p.png)",
    "<http://evil.example|here>",
    "[here|http://evil.example]",
    "!http://evil.example/p.png!",
    "http://evil.example/a_(b)",
    "HTTPS://evil.example",
    "ftp://evil.example",
    "www.evil.example",
    "mailto:bob@evil.example",
    "bob@evil.example",
    "javascript:alert(1)",
    "{code}",
    "{noformat}",
    "{color:red}",
    "{{monospace}}",
    "{include:x}",
    "[code]<script>alert(1)</script>[/code]",
    "{{ ticket.title }}",
    "{% raw %}",
    "{# no #}",
    "${jndi:ldap://evil.example}",
    "#{ticket.title}",
    "<%= 7 %>",
    "*bold*",
    "_it_",
    "**b**",
    "-gone-",
    "--",
    "----",
    "+new+",
    "^up^",
    "~down~",
    "??cite??",
    "`x`",
    "``y",
    "```",
    "|",
    "||a||",
    "\\",
    "\\\\",
    "\\{",
    "&lt;b&gt;",
    "&#92;",
    "&#64;all",
    ":)",
    ";)",
    "(!)",
    "(x)",
    ":bomb:",
    "# heading",
    "h1. heading",
    "bq. said",
    "- item",
    "1. item",
    "> said",
    "/close",
    "===",
    '{"type":"mention","attrs":{"id":"all"}}',
    '"}]},',
    "</p></li></ol>",
    "problem-snapshot:0123456789abcdef",
    "Problem-Snapshot:0123456789abcdef",
    "\u202e\u2066txt\u200b",
    "\x1b[2J\x1b]0;owned\x07",
    "\x00\x08\x0b",
    "a\nb\r\nc\td",
    "x" * 300,
    "付款失败，",
    "。",
    "'",
    '"',
    "$12.00",
    "100%",
)


def attacked(part: Any, attack: str) -> Any:
    """Every free text of a document followed by `attack`; values of a fixed vocabulary are left alone."""
    fixed = {
        "kind",
        "what",
        "status",
        "change",
        "outcome",
        "seed_class",
        "schema_version",
        "language",
        "at",
        "start",
        "end",
    }
    fixed |= {"level", "size", "availability", "contract", "ticket_level", "respond_by", "resolve_by"}
    fixed |= {"anchor", "created_at", "first_seen", "last_seen", "ref", "sha256", "currency"}
    if isinstance(part, dict):
        return {key: value if key in fixed else attacked(value, attack) for key, value in part.items()}
    if isinstance(part, list):
        return [attacked(value, attack) for value in part]
    return part + attack if isinstance(part, str) else part


def hostile(name: str, attack: str = ATTACK) -> ProblemSnapshot:
    """A sample in which an attacker wrote every free text."""
    return msgspec.convert(attacked(msgspec.to_builtins(SAMPLES[name]), attack), ProblemSnapshot)
