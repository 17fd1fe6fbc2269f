"""The shapes in which answers stand in a text, as (field, value) pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import re2

from parsers.bodies.fields import CODE

# Objects of a text, and items of a list, that are looked at.
_MOST = 24
# Longest value of a loose field.
_VALUE = 1_000
XML = re2.compile(r"<([A-Za-z_][\w.]*)(?:\s[^<>]*)?>\s*(?:<!\[CDATA\[((?:[^\]]|\][^\]]|\]\][^>])*)\]\]>|([^<]*))\s*</")
_KEY = re2.compile(
    r"(?:^|[^\w.\]-])[\[\"'\\]*([A-Za-z_][\w.-]*(?:\[\d*\])?|错误代码|错误码|结果代码|返回代码|返回码|应答码|响应码|业务码|错误详情|错误信息|错误描述|返回信息|异常信息)"
    r"[\]\"'\\】]*\s?(?:=>|[=:：])\s?"
)
_QUOTED = re2.compile(r"^\\?(?:\"((?:[^\"\\]|\\[^\"])*)\\?\"|'((?:[^'\\]|\\.)*)')")
_BARE = re2.compile(r"^[^\s\"'{}\[\](),，;；&|\n][^\"{}\[\](),，;；&|\n]*")
_RPC = re2.compile(r"rpc error: code = (\w+) desc = ([^\n]*)")
_STATUS_CODE = re2.compile(r"\b[45]\d\d ([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b")
_VALIDATION = re2.compile(r"failed validation\. Reason: (\w+)")

Pairs = list[tuple[str, str]]


def objects_in(text: str) -> Iterator[tuple[int, int, Any]]:
    """The JSON objects in `text` with their places; an object that is itself a string's content is unescaped first."""
    decoder = json.JSONDecoder()
    position = 0
    for _ in range(_MOST):
        start = text.find("{", position)
        if start < 0:
            return
        position = start + 1
        ahead = text[start + 1 : start + 40].lstrip()
        if ahead.startswith('\\"'):
            end = text.rfind("}") + 1
            try:
                value, _ = decoder.raw_decode(text[start:end].replace('\\"', '"').replace("\\\\", "\\"))
            except (ValueError, RecursionError):
                continue
            yield start, end, value
            return
        if not ahead.startswith('"'):
            continue
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        yield start, end, value
        position = end


def pairs_of(path: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Every scalar below `value` as (path, text); strings that hold JSON are read as well."""
    if depth > 8:
        return
    if isinstance(value, dict):
        for key, below in value.items():
            yield from pairs_of(f"{path}.{key}" if path else str(key), below, depth + 1)
    elif isinstance(value, list):
        for below in value[:_MOST]:
            yield from pairs_of(f"{path}[]", below, depth + 1)
    elif isinstance(value, str) and value.lstrip()[:2] in {'{"', "{}"}:
        try:
            yield from pairs_of(path, json.loads(value), depth + 1)
        except (ValueError, RecursionError):
            yield path, value
    elif isinstance(value, str) and "<" in value and "</" in value:
        yield from xml_pairs(value)
    elif value is not None and not isinstance(value, bool):
        yield path, str(value) if not isinstance(value, float) else repr(value)


def xml_pairs(text: str) -> Pairs:
    """Element names and texts, without nesting."""
    if "</" not in text:
        return []
    return [(name, (data or plain).strip()) for name, data, plain in XML.findall(text) if (data or plain).strip()]


def alipay_line(text: str) -> Pairs:
    """The fields of the Alipay SDK's own log, joined by `^_^`."""
    parts = [part.strip() for part in text.split("^_^")]
    scene = next((number for number, part in enumerate(parts) if part.endswith(("ErrorScene", "Summary"))), None)
    pairs: Pairs = [("alipay", "1")]
    if scene is not None:
        if len(parts) > scene + 2 and CODE.search(parts[scene + 2]) and "." in parts[scene + 2]:
            pairs.append(("sub_code", parts[scene + 2]))
        if len(parts) > scene + 1 and parts[scene + 1].isdigit():
            pairs.append(("code", parts[scene + 1]))
    elif len(parts) > 8:
        pairs.append(("error_message", parts[8]))
    return pairs


def loose_pairs(text: str) -> Pairs:
    """`field=value`, `field: value`, `'field': 'value'`, `[field] => value` and the Chinese forms of them."""
    pairs: Pairs = []
    rpc = _RPC.search(text)
    if rpc:
        pairs += [("code", rpc.group(1)), ("desc", rpc.group(2))]
    reason = _VALIDATION.search(text)
    if reason:
        pairs.append(("reason_code", reason.group(1)))
    keys = list(_KEY.finditer(text))
    reached = 0
    for number, key in enumerate(keys):
        if key.start(1) < reached:
            continue
        start = key.end(0)
        quoted = _QUOTED.search(text[start : start + _VALUE])
        if quoted:
            reached = start + quoted.end(0)
            value = quoted.group(1) or quoted.group(2) or ""
        else:
            # A bare value ends before the next field.
            end = keys[number + 1].start(1) if number + 1 < len(keys) else len(text)
            bare = _BARE.search(text[start : min(end, start + _VALUE)])
            value = bare.group(0) if bare else ""
        value = value.strip(" \t\r.。、'")
        if value:
            pairs.append((key.group(1), value))
    bare_code = _STATUS_CODE.search(text)
    if bare_code:
        pairs.append(("code", bare_code.group(1)))
    return pairs
