"""The expressions for what stands before a message: times, levels, loggers, and what runtimes and shippers put around a line."""

from __future__ import annotations

import re

_CLOCK = r"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?"
_ZONED = r"(?:\s?(?:Z|UTC|GMT|CST|CET|CEST|EST|EDT|PST|PDT|JST|MSK|[+-]\d\d:?\d\d)\b)?"
_STAMP = (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}[T ,_]{1,2}"
    + _CLOCK
    + _ZONED
    + r"|\d{4}年\d{1,2}月\d{1,2}日 ?"
    + _CLOCK
    + r"|\d{1,2}[-/ ](?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[-/ ]\d{4}[: ]"
    + _CLOCK
    + _ZONED
    + r"|(?:Mon |Tue |Wed |Thu |Fri |Sat |Sun )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2}(?:, \d{4})? "
    + _CLOCK
    + r"(?: [AP]M| \d{4}|)"
    + r"|\d\d/\d\d/\d{2,4},? "
    + _CLOCK
    + r"(?: [AP]M)?"
    + "|"
    + _CLOCK
    + _ZONED
    + r"|\d{1,2}:\d\d[AP]M"
)
_WORD = (
    r"TRACE|DEBUG|DEBU|INFORMATION|INFO|NOTICE|WARNING|WARN|ERROR|ERRO|SEVERE|FATAL|CRITICAL|CRIT|ALERT|EMERGENCY|EMERG|PANIC"
    r"|DPANIC|VERBOSE|FINEST|FINER|FINE|CONFIG|ERR|WRN|INF|DBG|TRC|FTL|VRB|WARNI|FATA"
)
_LOWER = (
    r"[Tt]race|[Dd]ebug|[Ii]nformation|[Ii]nfo|[Nn]otice|[Ww]arning|[Ww]arn|[Ee]rror|[Ff]atal|[Cc]ritical|[Cc]rit|[Aa]lert"
    r"|[Ee]merg|[Ee]mergency|[Ss]evere|[Pp]anic|err|inf|wrn|dbg"
)
_HAN = "错误|錯誤|警告|告警|信息|信息级|提示|调试|严重|致命|异常|通知|跟踪"
# `[http-nio-1]`, `[tid:4f5b]`, `[app] `, `[pid 12:tid 9]`, `{main.py:12}`, `(main)`
_BRACKET = (
    r"(?:\[[A-Za-z0-9_.:/#$@ -]*\]|\[(?:pid|client|tid|remote|pool|thread|Thread)[ =][^\]\n]*\]|\{[\w.]+:\d+\}|\([A-Za-z][\w .:/#-]*\)"
    r"|\[[\w.-]*,[\w-]*,[\w-]*(?:,\w+)?\]|<[\w.]+>)"
)
_LOGGER = (
    r"(?:(?:[A-Za-z_$][\w$-]*(?:\.|::|/|\$))+[A-Za-z_$<][\w$<>-]*|[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+|root|main|default"
    r"|\[[a-zA-Z_$][\w$]*(?:\.[\w$]+)+\])(?:\(\))?(?:[:#](?:[\w<>]+:)?\d+)?"
)
# Each repetition in these expressions is open and each alternative spelled out: both keep the programs so small that
# they run in the fast matcher.
_TRACING = (
    r"(?:[Tt]race_?I[dD]|trace_?id|TRACE_?ID|[Ss]pan_?I[dD]|span_?id|SPAN_?ID|[Pp]arent_?I[dD]|parent_?id|tid|TID"
    r"|[Rr]equest_?I[dD]|request_?id|req_?id|traceparent)[:=] ?\[?[\w./-]*\]?"
)
_BEFORE = (
    r"(?:[\s|,:]+|- |" + _BRACKET + r"|\d{1,8}\b|-{2,3}|[\w.$/@-]*[.$/@_-][\w.$/@-]*(?: - | )|[A-Za-z_]\w* - "
    r"|[A-Za-z_]\w*(?:\.\w+)+ \w+\s|\w+@\w+|\w+=\S+|[\w.-]+\[\d+\]:?)"
)
# Things around a line: what a container runtime, a Kubernetes client or syslog puts before it.
WRAPS = (
    r"^(?P<all>(?P<time>\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) (?:stdout|stderr) [FP] )",
    r"^(?P<all>\[Nest\] \d+\s+- )",
    r"^(?P<all>\[pod/[^\]\s]+\] )",
    r"^(?P<all>(?:[\w.-]+\s+\| ))(?:\d|\[|\{|[A-Z]{4})",
    r"^(?P<all><(?P<priority>\d{1,3})>1 (?P<time>\S+) (?P<host>\S+) (?P<service>\S+) \S+ \S+ (?:-|\[[^\]]*\]) ?(?:\x{FEFF})?)",
    r"^(?P<all>(?:<(?P<priority>\d{1,3})>)?(?P<time>(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d "
    + _CLOCK
    + r"|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)) (?P<host>[\w.-]+) (?P<service>[\w./-]+)(?:\[\d+\])?: )",
)
KLOG = r"^(?P<all>(?P<level>[IWEF])(?P<time>\d{4} \d\d:\d\d:\d\d\.\d+)\s+\d+ (?P<logger>[\w./-]+:\d+)\] ?)"
RUBY = r"^(?P<all>[DIWEFA], \[(?P<time>[\dT:.-]+) #\d+\]\s+(?P<level>[A-Z]+) -- (?P<logger>[^:\n]*): )"
DOTNET = r"^(?P<all>(?P<level>trce|dbug|info|warn|fail|crit): (?P<logger>[\w.+`]+)\[\d+\]\s*)"
GO = r"^(?P<all>[\w./-]+\.go:\d+: )"
ACCESS = r"^(?P<all>[\w.:-]+ \S+ \S+ \[(?P<time>[^\]\n]+)\] )(?:\"|[A-Z]+ )"
WHEN = r"^(?P<all>[\[(<【\s]{0,3}(?P<time>" + _STAMP + r")(?P<close>[\])>】,]*)(?:\s*[|,]\s*|\s*- |\s+|:|$|))"
LEVEL_AFTER = (
    r"^(?P<all>(?P<before>(?:" + _BEFORE + r")*?)(?:(?P<channel>[\w-]+)\.)?[\[(<【|]?\s?"
    r"(?P<level>" + _WORD + r")(?:\s*[\])>】|])?(?:/[\w-]+\]|:[\w.-]+:|:|,)?(?:\s+|$|\b))"
)
LEVEL_LOWER = (
    r"^(?P<all>(?P<before>(?:" + _BEFORE + r")*?)(?:"
    r"[\[<【(|]\s*(?:[\w-]+:)?(?P<boxed>" + _LOWER + "|" + _HAN + r")\s*[\]>】)|]:?"
    r"|(?P<bare>"
    + _LOWER
    + "|"
    + _HAN
    + r")(?::|：|\s+\||\s+\[)|(?P<han>"
    + _HAN
    + r")\s|(?:级别|level)[:：=]\s*(?P<named>"
    + _LOWER
    + "|"
    + _HAN
    + r")"
    r")\s*)"
)
LEVEL_FIRST = (
    r"^(?P<all>(?:\[[\w.-]+\] )?[\[<【(|]?(?P<level>" + _WORD + "|" + _HAN + r")"
    # `ERROR 1062 (23000)` is a database's answer, not a header.
    r"(?:(?:\s*[\])>】|]:?|:[\w.-]+:|:|：)\s*|\s+))(?P<next>\S{0,5})"
)
_CLOSED = r"(?:-\s|:\s|\|\s?|=>\s|-$|:$|--\s|\]\s)"
BEHIND = (
    r"^(?P<all>[\s\]):|>】-]{0,4}(?:"
    + _BRACKET
    + r"\s+)?(?:\d{1,8}\s+)?(?:-{2,3}\s+)?(?:"
    + _BRACKET
    + r"\s*)*(?:(?P<logger>"
    + _LOGGER
    + r")\s*(?:"
    + _BRACKET
    + r"\s*)*)?(?:"
    + _TRACING
    + r"[\s,]*)*(?:"
    + _BRACKET
    + r"\s*)*[\s\]]*"
    + _CLOSED
    + ")"
)
OPEN = (
    r"^(?P<all>[\s\]):|>】]{0,4}(?:\d+#\d+: (?:\*\d+ )?)?(?:\[(?:[A-Za-z0-9_.:/#$@-]*[\d.:/#-][A-Za-z0-9_.:/#$@-]*|[a-z]+|main)\]\s?|"
    r"\[(?:pid|client|tid|remote)[ =][^\]\n]*\]\s?)*(?:(?P<logger>"
    + _LOGGER
    + r")\s+)?(?:[\w./-]+\.[a-z]{1,4}:\d+\s+)?(?:"
    + _TRACING
    + r"[\s,]+)*)"
)
HINT = r"^(?:PHP )?[\[<]?(?P<level>" + _LOWER + "|" + _WORD + r")(?: error)?[\]>]?(?::| \d)"
# Expressions whose whole match is consumed, and which match the same, group by group, where the text is cut behind the match:
# what they ask of the character behind it (`$`, `\b`) they also find at an end.
WHOLE = frozenset({WHEN, LEVEL_AFTER, BEHIND, OPEN})
AROUND_TIME = "[(<【])>】,|-: \t\n\f\r"
# What a line begins with that has any header at all; one look at the others is enough.
ANY_HEADER = "|".join(
    re.sub(r"\?P<\w+>", "?:", pattern) for pattern in (*WRAPS, KLOG, RUBY, DOTNET, ACCESS, WHEN, LEVEL_FIRST, HINT)
)
# How a line looks that begins a record: with a time, a level, a syslog priority, or an object.
RECORD_START = (
    r"^(?:[\[(<【]?(?:"
    + _STAMP
    + r")|[IWEF]\d{4} \d\d:\d\d:\d\d|[DIWEFA], \[|<\d{1,3}>|\{\s*\"|[\w.:-]+ \S+ \S+ \[\d{1,2}/[A-Z]"
    r"|[\[<【(|]?(?:" + _WORD + r")(?:\s*[\])>】|]|:|\s)|(?:trce|dbug|info|warn|fail|crit): [\w.+]+\[\d+\]"
    r"|(?:time|ts|level|lvl|timestamp)=|\[Nest\] |1?\d{9,12}\.\d{3,6} )"
)
# A class name of an exception, a host and a clause are no loggers.
NO_LOGGER = (
    r"(?:Exception|Error|Throwable|Failure|TraceID|TraceId|SpanID|SpanId)$|\.(?:com|net|cn|org|io|dev|local|internal|svc)$"
    r"|^https?"
)
