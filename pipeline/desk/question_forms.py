"""A questionnaire in other forms: as text for mail, and as JSON Schema for portals.

The schema is of draft 2020-12 (https://json-schema.org/draft/2020-12); `answer_errors` of `answers.py` holds answers to it.
"""

from __future__ import annotations

from typing import Any

from snapshots.model import Question, Questionnaire, Text
from snapshots.words import Language, text_in

DRAFT = "https://json-schema.org/draft/2020-12/schema"
# So many lines an answer in lines may have.
LINES = 30
CAREFUL = Text(en="Never send passwords, one-time codes or whole card numbers.", zh="请勿填写密码、验证码或完整卡号。")


def as_text(made: Questionnaire, ticket_id: str, language: Language, link: str = "") -> str:
    """The questions as a mail's text; `link` leads to the page where they are answered."""
    if not made.questions:
        return "没有需要向客户询问的问题。\n" if language == "zh" else "There is nothing to ask the customer.\n"
    zh, number = language == "zh", len(made.questions)
    if zh:
        lines = ["您好，", "", f"为处理您的工单 {ticket_id}，还需要您回答 {number} 个问题："]
    else:
        many = "question" if number == 1 else f"{number} questions"
        lines = [
            "Hello,",
            "",
            f"To go on with your request {ticket_id} we need your answer to {'one ' * (number == 1)}{many}:",
        ]
    for place, one in enumerate(made.questions, 1):
        lines += ["", f"{place}. {text_in(one.ask, language)}", *(f"   {line}" for line in _below(one, language))]
    reply = "请直接回复此邮件" if zh else "Please reply to this mail"
    if link:
        lines += ["", f"{reply}，或在此填写：" if zh else f"{reply}, or answer here:", link]
    else:
        lines += ["", f"{reply}。" if zh else f"{reply}."]
    return "\n".join([*lines, text_in(CAREFUL, language)]) + "\n"


def _below(one: Question, language: Language) -> list[str]:
    zh = language == "zh"
    lines = [text_in(one.why, language)]
    lines += [text_in(one.hint, language)] if one.hint else []
    lines += [" / ".join(text_in(option.label, language) for option in one.options)] if one.options else []
    if one.value and one.doubt:
        lines.append(
            f"{'我们掌握的是：' if zh else 'What we have: '}{one.value}{'。' if zh else '. '}{text_in(one.doubt, language)}"
        )
    return lines


def as_schema(made: Questionnaire, language: Language, most_bytes: int) -> dict[str, Any]:
    """The JSON Schema of the answers: an object with one member a question, at least one of them.

    A picture is its bytes in base64, of `most_bytes` at most before that.
    """
    title = "还需要您补充的信息" if language == "zh" else "What we still need to know"
    return {
        "$schema": DRAFT,
        "title": title,
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {one.id: _property(one, language, most_bytes) for one in made.questions},
    }


def _property(one: Question, language: Language, most_bytes: int) -> dict[str, Any]:
    told = [text_in(part, language) for part in (one.why, one.hint, one.shape_hint) if part]
    found: dict[str, Any] = {"title": text_in(one.ask, language), "description": " ".join(told)}
    match one.kind:
        case "lines":
            line = {"type": "string", "minLength": 1, "maxLength": one.longest}
            found |= {"type": "array", "items": line, "minItems": 1, "maxItems": LINES}
        case "choice":
            choices = [{"const": option.value, "title": text_in(option.label, language)} for option in one.options]
            found |= {"type": "string", "oneOf": choices}
        case "moment":
            found |= {"type": "string", "format": "date-time", "maxLength": 40}
        case "picture":
            # Four letters hold three bytes.
            found |= {
                "type": "string",
                "contentEncoding": "base64",
                "minLength": 4,
                "maxLength": -(-most_bytes // 3) * 4,
            }
        case _:
            found |= {"type": "string", "minLength": 1, "maxLength": one.longest}
            found |= {"pattern": one.shape} if one.shape else {}
    return found | ({"default": one.value} if one.value else {})
