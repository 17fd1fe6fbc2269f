"""The words of the rendered document, in English and Chinese.

Fault names come from `render/fault_names.csv`, whose rows equal the names of the fault taxonomy; an id that is in neither
place is shown as it is, with its underscores opened up, so that a newer document still reads.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from snapshots.model import CustomerMessage, Text

Language = Literal["en", "zh"]

_LABELS: dict[str, tuple[str, str]] = {
    "title": ("Problem snapshot", "问题快照"),
    "located": ("Fault located", "故障已定位"),
    "undecided": ("Not decided", "未能定论"),
    "no_fault": ("No fault found", "未发现故障"),
    "ticket": ("Ticket", "工单"),
    "where": ("Where", "位置"),
    "order": ("Order", "订单"),
    "when": ("When", "时间"),
    "sure": ("How sure", "把握"),
    "runner_up": ("next best: {name} ({share})", "其次：{name}（{share}）"),
    "no_runner_up": ("the rest is undecided: no second explanation was found", "其余未定：未发现其他可能的解释"),
    "proof": ("What proves it", "关键证据"),
    "seen": ("The strongest lines so far", "目前最有力的线索"),
    "no_proof": ("No line could be cited.", "没有可引用的记录。"),
    "seed": ("category: {name}", "大类：{name}"),
    "against": ("What speaks against it", "反面证据"),
    "no_against": ("Nothing found that speaks against it.", "未发现反面证据。"),
    "healthy": ("Checked and healthy", "已检查且正常"),
    "no_healthy": ("Nothing could be confirmed as healthy.", "没有可确认为正常的项目。"),
    "unchecked": ("Could not be checked", "未能检查"),
    "no_unchecked": ("Everything that was asked for was read.", "所需数据均已读取。"),
    "first": ("Do first", "首先处理"),
    "meanwhile": ("Meanwhile", "在此期间"),
    "owner": ("Who", "处理方"),
    "no_owner": ("not assigned", "未指定"),
    "no_action": ("No first action is known for this class.", "该类别暂无建议的首要动作。"),
    "why": ("Why not", "原因"),
    "leading": ("Leading explanations", "可能的原因"),
    "no_leading": ("none: no finding points at a fault class", "无：没有发现指向任何故障类别"),
    "missing": ("What would decide it", "缺少的关键证据"),
    "ask": ("Ask: {question}", "请询问：{question}"),
    "unknown_place": ("not known", "未知"),
    "service": ("service", "服务"),
    "host": ("host {name}", "主机 {name}"),
    "and_more": ("and {count} more", "另有 {count} 项"),
    "more_healthy": ("and {count} more checks are healthy", "另有 {count} 项检查正常"),
    "more_orders": ("+{count} more orders", "另有 {count} 个订单"),
    "window": (
        "looked at {start} to {end}, compared with the {length} before",
        "查看 {start} 至 {end}，并与之前 {length}对比",
    ),
    "window_apart": (
        "looked at {start} to {end}, compared with {base_start} to {base_end}",
        "查看 {start} 至 {end}，并与 {base_start} 至 {base_end} 对比",
    ),
    "utc": ("{time} UTC", "UTC {time}"),
    "not_evaluated": (
        "{count} checks not evaluated, their data is absent: {ids}",
        "{count} 项检查因缺少数据未能评估：{ids}",
    ),
    "not_evaluated_one": ("{statement} ({ids})", "{statement}（{ids}）"),
    "not_evaluated_same": (
        "{count} checks not evaluated: {statement} ({ids})",
        "{count} 项检查未能评估：{statement}（{ids}）",
    ),
    "coverage_same": ("{count} sources of {what} {status}: {sources}", "{count} 个{what}来源{status}：{sources}"),
    "counts": ("{fetched} of {matched} rows", "{fetched} / {matched} 行"),
    "counts_unknown": ("{fetched} rows, total not known", "{fetched} 行，总数未知"),
    "cut": ("{count} left out", "未读 {count} 行"),
    "sampled": ("a sample", "抽样"),
    "unparsed": ("{count} could not be parsed and are kept raw", "{count} 行无法解析，按原文保留"),
    "nothing_there": ("nothing there for this window", "该时间窗内没有数据"),
    "details": ("Details", "详情"),
    "description": ("Description", "描述"),
    "questionnaire": ("Questionnaire", "问卷"),
    "created": ("Created", "创建于"),
    "customer": ("Customer", "客户"),
    "scope": ("Scope", "范围"),
    "reason": ("Why this window", "时间窗依据"),
    "identifiers": ("Identifiers", "标识"),
    "hops": ("Expansion", "关联扩展"),
    "omitted": ("{count} more left out", "另有 {count} 个未列出"),
    "timeline": ("Orders and payments", "订单与支付"),
    "history": ("History", "状态历史"),
    "templates": ("Log templates", "日志模板"),
    "template_sums": (
        (
            "{lines} lines = {incident} in the incident + {baseline} in the baseline + {outside} outside; "
            "{templates} templates, {listed} listed here, {unlisted_templates} unlisted with {unlisted_lines} lines"
        ),
        (
            "共 {lines} 行 = 故障期 {incident} + 对照期 {baseline} + 窗外 {outside}；"
            "{templates} 个模板，文档列出 {listed} 个，未列出 {unlisted_templates} 个（{unlisted_lines} 行）"
        ),
    ),
    "approximate_lines": (
        "{lines} lines had too many different words to compare all; their rare words are wildcards",
        "{lines} 行中不同的词太多，无法逐一比较，其罕见词以通配符代替",
    ),
    "estimated": (
        "≈ is the estimate of all lines where only a sample was read ({count} templates), ± its error at 95 %",
        "≈ 为仅读取抽样时对全部行数的估计（{count} 个模板），± 为 95% 置信误差",
    ),
    "plan_rows": (
        "{rows} rows match, {limit} at most are read",
        "匹配 {rows} 行，最多读取 {limit} 行",
    ),
    "plan_step": ("{kind}: {fetched} of {matched}", "{kind}：{fetched} / {matched}"),
    "plan_step_share": ("{kind}: {fetched} of {matched} ({share} %)", "{kind}：{fetched} / {matched}（{share}%）"),
    "plan_step_unknown": ("{kind}: {fetched} at most", "{kind}：最多 {fetched}"),
    "plan_all": ("all rows of the window", "时间窗内全部行"),
    "plan_named": ("rows that name the ticket's order, trace or customer", "含工单订单、链路或客户标识的行"),
    "plan_healthy": ("rows of healthy orders to compare with", "用于对照的正常订单的行"),
    "plan_failing": ("rows that tell of a failure", "报错或告警的行"),
    "plan_sample": ("random sample of the other rows", "其余行的随机抽样"),
    "plan_unexplained": ("rows that no template of the sample accounts for", "抽样模板未能覆盖的行"),
    "plan_traced": ("rows of the traces found", "所发现链路的行"),
    "plan_services": ("rows by service: {services}", "各服务行数：{services}"),
    "plan_others": ("others {rows}", "其他 {rows}"),
    "plan_failing_of": ("{name} {rows} ({failing} failing)", "{name} {rows}（{failing} 报错）"),
    "shown_of": (
        "{shown} of {total} shown; the rest is in the JSON document",
        "显示 {shown} / {total}，其余见 JSON 文档",
    ),
    "spans": ("Spans", "调用跨度"),
    "findings": ("Findings", "全部发现"),
    "candidates": ("Explanations considered", "考虑过的原因"),
    "for": ("for", "支持"),
    "checks": ("Checks", "检查项"),
    "coverage": ("Coverage ledger", "数据覆盖"),
    "evidence": ("Evidence", "证据"),
    "redaction": ("Redaction", "脱敏"),
    "redacted": ("{total} values were replaced before storing", "存储前共替换 {total} 处"),
    "redacted_none": ("no value had to be replaced", "没有需要替换的内容"),
    "provenance": ("Provenance", "来源与版本"),
    "desk": ("Service desk", "服务台"),
    "desk_brief": ("For the desk, in brief", "服务台摘要"),
    "severity": ("Severity", "严重级别"),
    "respond_by": ("Answer by", "应答期限"),
    "resolve_by": ("Solve by", "解决期限"),
    "routing": ("Routing", "分派"),
    "handler": ("Handler", "处理人"),
    "in_one_line": ("Problem - cause - solution", "问题 - 原因 - 方案"),
    "came_back": ("it came back", "后来又重新打开"),
    "similar": ("Similar tickets", "相似工单"),
    "knowledge": ("Knowledge", "知识库"),
    "customer_message": ("For the customer", "可回复客户"),
    "snapshot_id": ("Snapshot", "快照编号"),
    "schema": ("Schema", "文档版本"),
    "made_by": ("Made by", "生成工具"),
    "settings": ("Settings", "设置指纹"),
    "tables": ("Fault tables", "故障表指纹"),
    "sources": ("Sources", "数据源"),
    "full_hint": (
        "Timeline, templates, spans, ledger and every evidence pointer: add --full, or -o json.",
        "时间线、模板、跨度、数据覆盖与全部证据指针：请加 --full 或 -o json 查看。",
    ),
    "none": ("none", "无"),
    # The note on a ticket, and messages of it.
    "payments": ("Payments", "支付"),
    "touched": ("Touched", "影响范围"),
    "touched_customers": ("customers {count}", "客户 {count}"),
    "touched_tickets": ("tickets {count}", "工单 {count}"),
    "touched_orders": ("orders {count}", "订单 {count}"),
    "touched_channels": ("channels {count}", "渠道 {count}"),
    "same_cause": ("Same cause as", "同一原因的首个工单"),
    "own": ("Only here", "本工单特有"),
    "own_order": ("order", "订单"),
    "own_channel": ("channel", "渠道"),
    "own_code": ("code", "返回码"),
    "not_yet": ("No snapshot yet: no source could be read.", "暂无快照：没有任何数据来源可读。"),
    "again_at": ("It is tried again at {when}; this note changes then.", "将于 {when} 再次尝试，届时本备注会更新。"),
    "acknowledge": ("Acknowledge", "确认"),
    "desk_part": ("For the desk", "服务台"),
    "to_ask": ("Ask the customer", "需询问客户"),
    "intake_link": ("link for the customer", "发给客户的链接"),
    "earlier": ("Earlier", "历史工单"),
    "earlier_counts": ("{count} earlier, {open} open", "历史工单 {count} 个，未关闭 {open} 个"),
    "earlier_none": ("no earlier ticket of this customer", "该客户没有更早的工单"),
    "portrait": ("Customer", "客户画像"),
    "self_service": ("Answer for the customer", "可直接答复客户"),
    "questions": ("Questions to the customer", "询问客户"),
    "known_answer": ("Known without asking", "无需询问"),
    "to_confirm": ("to be confirmed: {value}", "待确认：{value}"),
    "questions_omitted": ("{count} more questions left out", "另有 {count} 个问题未列出"),
    "answered": ("The customer answered", "客户已答复"),
    "answered_at": ("received {when}", "收到时间 {when}"),
    "picture": ("picture", "图片"),
    "open": ("Open", "打开"),
    "open_page": ("snapshot page", "快照页面"),
    "open_document": ("JSON", "JSON"),
    "open_ticket": ("ticket", "工单"),
    "left_out": (
        "Left out here for length ({count}): {names}. The snapshot has it all.",
        "因长度限制此处省略 {count} 部分：{names}。完整内容见快照。",
    ),
    "culprits": ("Suspected services", "可疑服务"),
    "col_ref": ("ref", "编号"),
    "col_time": ("time", "时间"),
    "col_utc": ("UTC", "UTC"),
    "col_service": ("service", "服务"),
    "col_quote": ("line", "内容"),
    "col_pointer": ("pointer", "指针"),
    "col_source": ("source", "来源"),
    "col_what": ("what", "内容"),
    "col_status": ("status", "状态"),
    "col_matched": ("matched", "命中"),
    "col_fetched": ("fetched", "读取"),
    "col_used": ("used", "采用"),
    "col_cut": ("left out", "未读"),
    "col_duplicates": ("duplicate", "重复"),
    "col_unparsed": ("unparsed", "未解析"),
    "col_outside": ("outside", "窗外"),
    "col_note": ("note", "说明"),
    "col_asked": ("asked", "查询"),
    "col_change": ("change", "变化"),
    "col_incident": ("incident", "故障期"),
    "col_baseline": ("baseline", "对照期"),
    "col_focus": ("focus", "焦点"),
    "col_template": ("template", "模板"),
    "col_order": ("order", "订单"),
    "col_entity": ("record", "对象"),
    "col_id": ("id", "编号"),
    "col_state": ("state", "状态"),
    "col_amount": ("amount", "金额"),
    "col_channel": ("channel", "渠道"),
    "col_code": ("code", "错误码"),
    "col_name": ("name", "名称"),
    "col_duration": ("duration", "耗时"),
    "col_error": ("error", "错误"),
    "col_trace": ("trace", "链路"),
    "col_weight": ("weight", "权重"),
    "col_statement": ("statement", "陈述"),
    "col_supports": ("supports", "支持"),
    "col_check": ("check", "检查"),
    "col_outcome": ("outcome", "结果"),
    "col_share": ("probability", "概率"),
    "col_kind": ("kind", "类型"),
    "col_found_in": ("found in", "出处"),
    "col_value": ("value", "值"),
    # What changed between two documents.
    "yes": ("yes", "是"),
    "no": ("no", "否"),
    "shown_of_full": (
        "{shown} of {total} shown; all: --full, or -o json.",
        "显示 {shown} / {total}；全部：--full 或 -o json。",
    ),
    "moved_new": ("new", "新增"),
    "moved_gone": ("gone", "消失"),
    "moved_changed": ("changed", "变化"),
    "diff_diagnosis": ("Diagnosis", "诊断"),
    "diff_candidates": ("Explanations considered", "考虑过的原因"),
    "diff_findings": ("Evidence that moved", "变化的证据"),
    "diff_missing": ("What would decide it", "缺少的关键证据"),
    "diff_checks": ("Checks whose outcome changed", "结果变化的检查项"),
    "diff_records": ("Cited records", "引用记录"),
    "diff_lost": ("Records that are not as they were", "已变化的原引用记录"),
    "diff_record_counts": (
        "{common} cited by both, {before} only before, {after} only after; {changed} with another content",
        "两者共引 {common} 条，仅前者 {before} 条，仅后者 {after} 条；内容不同 {changed} 条",
    ),
    "diff_coverage": ("Coverage ledger", "数据覆盖"),
    "diff_orders": ("Orders", "订单"),
    "diff_templates": ("Log templates", "日志模板"),
    "diff_template_counts": (
        "Of the listed ones {new} new, {gone} gone, {changed} counted otherwise, {same} the same",
        "所列模板中新增 {new} 个，消失 {gone} 个，计数变化 {changed} 个，相同 {same} 个",
    ),
    "diff_scope": ("Scope", "范围"),
    "diff_ticket": ("Ticket", "工单"),
    "diff_provenance": ("Made with", "生成条件"),
    "diff_parts": ("Parts of the document that differ", "文档中有差异的部分"),
    "col_field": ("field", "字段"),
    "col_before": ("before", "之前"),
    "col_after": ("after", "之后"),
    "col_points": ("points", "百分点"),
    "col_candidate": ("explanation", "原因"),
    "col_moves": ("speaks for", "支持"),
    "moves_against": ("against {name}", "反对{name}"),
    "col_events": ("events", "事件数"),
    "col_contrast": ("contrast", "对比"),
    "field_abstained": ("abstained", "未能定论"),
    "field_fault_class": ("fault class", "故障类别"),
    "field_fault_subclass": ("subclass", "子类"),
    "field_seed_class": ("interface or configuration", "接口或参数配置"),
    "field_confidence": ("how sure", "把握"),
    "field_summary": ("summary", "摘要"),
    "field_owner": ("who", "处理方"),
    "field_first_action": ("do first", "首先处理"),
    "field_culprits": ("suspected services", "可疑服务"),
    "field_location.service": ("where: service", "位置：服务"),
    "field_location.operation": ("where: operation", "位置：操作"),
    "field_location.host": ("where: host", "位置：主机"),
    "field_location.channel": ("where: channel", "位置：渠道"),
    "field_window.start": ("window from", "时间窗起"),
    "field_window.end": ("window to", "时间窗止"),
    "field_baseline.start": ("baseline from", "对照期起"),
    "field_baseline.end": ("baseline to", "对照期止"),
    "field_anchor": ("moment meant", "所指时刻"),
    "field_reason": ("why this window", "时间窗依据"),
    "field_focus_orders": ("orders", "订单"),
    "field_services": ("services", "服务"),
    "field_channels": ("channels", "渠道"),
    "field_identifiers": ("identifiers", "标识"),
    "field_title": ("title", "标题"),
    "field_description": ("description", "描述"),
    "field_created_at": ("created", "创建于"),
    "field_questionnaire": ("questionnaire", "问卷"),
    "field_tool_version": ("tool version", "工具版本"),
    "field_settings_sha256": ("settings", "设置指纹"),
    "field_tables_sha256": ("fault tables", "故障表指纹"),
    "field_sources": ("sources", "数据源"),
    "field_status": ("status", "状态"),
    "field_matched": ("matched", "命中"),
    "field_fetched": ("fetched", "读取"),
    "field_used": ("used", "采用"),
    "field_cut": ("left out", "未读"),
}

_TERMS: dict[str, tuple[str, str]] = {
    # What customers are asked (pipeline/desk/questions.toml).
    "order_number": ("order number", "订单号"),
    "occurred_at": ("time", "发生时间"),
    "screenshot": ("message shown", "页面提示"),
    "operation_steps": ("steps", "操作步骤"),
    "app_version": ("app version", "应用版本"),
    "device_model": ("device", "设备型号"),
    "system_version": ("system version", "系统版本"),
    "network": ("network", "网络"),
    # Coverage status.
    "ok": ("read", "已读取"),
    "empty": ("empty", "为空"),
    "partial": ("read in part", "仅部分读取"),
    "failed": ("failed", "读取失败"),
    "skipped": ("skipped", "已跳过"),
    # What a source is asked for.
    "logs": ("logs", "日志"),
    "spans": ("traces", "调用链"),
    "order_events": ("order events", "订单事件"),
    "log": ("log line", "日志"),
    "span": ("span", "跨度"),
    "order_event": ("order event", "订单事件"),
    # Check outcomes.
    "found": ("found wrong", "发现异常"),
    "healthy": ("healthy", "正常"),
    "not_evaluated": ("not evaluated", "未评估"),
    # What became of a cited record.
    "gone": ("gone", "已消失"),
    "changed": ("changed", "已改变"),
    "unreachable": ("unreachable", "无法访问"),
    "unstamped": ("unstamped", "无摘要可比"),
    # Template changes.
    "new": ("new", "新出现"),
    "surged": ("surged", "激增"),
    "vanished": ("vanished", "消失"),
    "usual": ("usual", "平常"),
    # Records of an order.
    "order": ("order", "订单"),
    "attempt": ("payment", "支付"),
    "callback": ("callback", "回调"),
    "query": ("query", "查单"),
    "refund": ("refund", "退款"),
    # Seed classes.
    "interface": ("interface fault", "接口故障"),
    "configuration": ("parameter configuration", "参数配置"),
    "other": ("neither interface nor configuration", "非接口、非配置"),
    # Normal order states.
    "CREATED": ("created", "已创建"),
    "AWAITING_PAYMENT": ("awaiting payment", "待支付"),
    "REQUIRES_ACTION": ("payer must act", "待用户操作"),
    "PROCESSING": ("processing", "处理中"),
    "AUTHORIZED": ("authorised, not captured", "已授权未请款"),
    "PARTIALLY_AUTHORIZED": ("partly authorised", "部分授权"),
    "PAID": ("paid", "已支付"),
    "PARTIALLY_PAID": ("partly paid", "部分支付"),
    "OVERPAID": ("overpaid", "多付"),
    "FAILED": ("failed", "支付失败"),
    "CANCELLED": ("cancelled", "已取消"),
    "CLOSED": ("closed", "已关闭"),
    "REVIEW": ("under review", "审核中"),
    "REFUND_PENDING": ("refund pending", "退款处理中"),
    "PARTIALLY_REFUNDED": ("partly refunded", "部分退款"),
    "REFUNDED": ("refunded", "已退款"),
    "REFUND_FAILED": ("refund failed", "退款失败"),
    "DISPUTED": ("disputed", "争议中"),
    "CHARGEBACK": ("charged back", "拒付成立"),
    "COMPLETED": ("completed", "已完成"),
    "MISMATCH": ("data mismatch", "数据不一致"),
    "UNKNOWN": ("unknown", "状态不明"),
    # Who acts.
    "us": ("our side", "我方"),
    "channel": ("the channel", "渠道方"),
    "customer": ("the customer", "用户"),
    "issuer": ("the issuer", "发卡行"),
    "merchant": ("the merchant", "商户"),
    "none": ("nobody", "无需处理"),
}

_NAMES_FILE = Path(__file__).parent / "render" / "fault_names.csv"


def label(key: str, language: Language, **values: object) -> str:
    """The fixed text `key`, with `values` filled in. Raises `KeyError` for a key that does not exist.

    >>> label("runner_up", "en", name="timeout", share="4 %")
    'next best: timeout (4 %)'
    """
    text = _LABELS[key][language == "zh"]
    return text.format(**values) if values else text


def language_for(ticket: str, wanted: str = "auto") -> Language:
    """The language of what is shown of a ticket: `wanted`, with `auto` the ticket's own; English for all but Chinese.

    >>> language_for("zh"), language_for("zh", "en"), language_for("und")
    ('zh', 'en', 'en')
    """
    return "zh" if (ticket if wanted == "auto" else wanted) == "zh" else "en"


def text_in(text: Text | CustomerMessage, language: Language) -> str:
    """The half of `text` that is in the language."""
    return text.zh if language == "zh" else text.en


@dataclass(frozen=True)
class Speaker:
    """The fixed texts of one page, `words` by key, in one language.

    >>> from snapshots.model import Text
    >>> Speaker({"left": Text(en="{0} left", zh="剩余 {0}")}, "en")("left", 3)
    '3 left'
    """

    words: Mapping[str, Text]
    language: Language

    def __call__(self, key: str, *values: object) -> str:
        """The text `key` with `values` filled in. Raises `KeyError` for a key that does not exist."""
        return self.text(self.words[key]).format(*values)

    def text(self, text: Text) -> str:
        """`text` in the language."""
        return text_in(text, self.language)


def term(value: str, language: Language) -> str:
    """A value of the document's own vocabulary in words; an unknown one as it is.

    >>> term("AWAITING_PAYMENT", "zh")
    '待支付'
    """
    return _TERMS[value][language == "zh"] if value in _TERMS else value


def owner_name(owner: str, language: Language) -> str:
    """Who has to act, in words.

    >>> owner_name("us (network/SRE)", "en")
    'our side (network/SRE)'
    >>> owner_name("us+channel", "zh")
    '我方 + 渠道方'
    """
    names = []
    for part in re.split(r"\s*[+,/]\s*(?![^()]*\))", owner):
        who, paren, rest = part.partition(" (")
        team = rest.removesuffix(")")
        note = "" if not paren else f"（{team}）" if language == "zh" else f" ({team})"
        names.append(term(who, language) + note)
    return " + ".join(names)


@cache
def fault_names() -> dict[tuple[str, str], tuple[str, str]]:
    """(class, subclass) -> names in English and Chinese; a class's own names stand under the subclass `""`."""
    with _NAMES_FILE.open(encoding="utf-8", newline="") as file:
        return {(row["class"], row["subclass"]): (row["en"], row["zh"]) for row in csv.DictReader(file)}


def class_name(fault_class: str, language: Language) -> str:
    """The name of a fault class.

    >>> class_name("interface_fault", "en")
    'Interface / API fault'
    """
    names = fault_names().get((fault_class, ""))
    return names[language == "zh"] if names else _opened(fault_class)


def subclass_name(fault_class: str, fault_subclass: str | None, language: Language) -> str:
    """The name of a fault subclass, empty without one.

    >>> subclass_name("interface_fault", "dns_failed", "zh")
    '域名解析失败'
    """
    if not fault_subclass:
        return ""
    names = fault_names().get((fault_class, fault_subclass))
    return names[language == "zh"] if names else _opened(fault_subclass)


def _opened(value: str) -> str:
    return value.replace("_", " ")
