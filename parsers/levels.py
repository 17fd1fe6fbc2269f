"""Log levels: the words and numbers of many loggers, as TRACE, DEBUG, INFO, WARN, ERROR or FATAL."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_WORDS: dict[str, str] = {
    word: level
    for level, words in {
        "TRACE": "trace trc verbose verb vrb finest finer silly all t v 跟踪 追踪 详细",
        "DEBUG": "debug dbg dbug debu fine d 调试 除錯 除错",
        "INFO": "info inf information informational notice note config log success http i n 信息 资讯 提示 通知 信息级 "
        "資訊 普通",
        "WARN": "warn wrn warning warni w 警告 告警 警示",
        "ERROR": "error err eror erro severe fail failure e 错误 錯誤 异常 異常 出错",
        "FATAL": "fatal ftl fata fatl crit critical crt panic pnc dpanic emerg emergency alert f c 致命 严重 嚴重 紧急 "
        "致命错误 严重错误",
    }.items()
    for word in words.split()
}
# RFC 5424, table 2.
_SYSLOG = {0: "FATAL", 1: "FATAL", 2: "FATAL", 3: "ERROR", 4: "WARN", 5: "INFO", 6: "INFO", 7: "DEBUG"}
# bunyan and pino, by tens.
_BUNYAN = {10: "TRACE", 20: "DEBUG", 30: "INFO", 40: "WARN", 50: "ERROR", 60: "FATAL"}
# Python's logging module.
_PYTHON = {0: None, 10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "FATAL"}
_HUNDREDS = {
    100: "DEBUG",
    200: "INFO",
    250: "INFO",
    300: "WARN",
    400: "ERROR",
    500: "FATAL",
    550: "FATAL",
    600: "FATAL",
}
# logback: level_value.
_LOGBACK = {5000: "TRACE", 10000: "DEBUG", 20000: "INFO", 30000: "WARN", 40000: "ERROR", 50000: "FATAL"}
# OpenTelemetry severity numbers come in fours.
_OTEL = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")


def level_of(text: str | None, path: str = "") -> str | None:
    """The level that `text` names, or None. `path` is where it was found: it tells which scale a number is on.

    >>> level_of("warning"), level_of("50"), level_of("17", "severity_number"), level_of("3", "priority")
    ('WARN', 'ERROR', 'ERROR', 'ERROR')
    """
    if not text:
        return None
    word = text.strip(" \t[]()<>【】:").lower()
    if word in _WORDS:
        return _WORDS[word]
    try:
        number = int(float(word))
    except (ValueError, OverflowError):
        # "SEVERITY_NUMBER_ERROR2", "SEVERITY_ERROR", "error3", "local0.err"
        last = word.rsplit("_", 1)[-1].rsplit(".", 1)[-1].rstrip("0123456789")
        return _WORDS.get(last)
    place = path.rsplit(".", 1)[-1].lower()
    if "number" in place:
        return _OTEL[(number - 1) // 4] if 1 <= number <= 4 * len(_OTEL) else None
    if place == "levelno":
        return _PYTHON.get(number)
    for scale in (_BUNYAN, _HUNDREDS, _LOGBACK, _SYSLOG):
        if number in scale:
            return scale[number]
    return None


def levels_of(texts: Any, path: str = "") -> Any:
    """`level_of` over a string Array; each different text is looked up once."""
    encoded = pc.dictionary_encode(texts)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    known = pa.array([level_of(text, path) for text in encoded.dictionary.to_pylist()], pa.string())
    return known.take(encoded.indices)
