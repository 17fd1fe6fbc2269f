"""All rules: each with its name, the fault that it shows, and what to do first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.faults.rules import attempts, callbacks, money, records, refunds, states
from pipeline.faults.rules.facts import Facts
from pipeline.faults.rules.verdict import Verdict
from snapshots.model import Text

Severity = Literal["critical", "high", "medium", "low"]

_STRENGTH: Mapping[Severity, float] = {"critical": 0.95, "high": 0.85, "medium": 0.7, "low": 0.5}


@dataclass(frozen=True)
class Rule:
    """One rule: its name, the fault that it shows, and what to do first."""

    id: str
    name: Text
    fault_class: str
    subclass: str
    severity: Severity
    first_action: Text
    check: Callable[[Facts], Verdict]

    @property
    def strength(self) -> float:
        """How sure a hit is, by severity."""
        return _STRENGTH[self.severity]


def _rule(
    id_: str,
    names: tuple[str, str],
    fault: str,
    severity: Severity,
    actions: tuple[str, str],
    check: Callable[[Facts], Verdict],
) -> Rule:
    fault_class, subclass = fault.split("/")
    return Rule(
        id_, Text(en=names[0], zh=names[1]), fault_class, subclass, severity, Text(en=actions[0], zh=actions[1]), check
    )


# In the order of evaluation: money and identity, too much money, shop against channel, causes, refunds, the rest.
RULES: tuple[Rule, ...] = (
    _rule("R06", ("Amount mismatch", "金额不一致"), "order_state/amount_mismatch", "critical",
          ("Reject the callback and hold delivery; test for factor 100 and for zero-decimal currencies",
           "拒绝该回调并暂停发货；检查分/元换算与零小数币种"), money.amount_mismatch),
    _rule("R07", ("Currency mismatch", "币种不一致"), "param_config/amount_currency", "high",
          ("Check the account's currency configuration", "检查账户币种配置"), money.currency_mismatch),
    _rule("R13", ("Callback for another order", "回调串单"), "order_state/amount_mismatch", "critical",
          ("Drop the callback, alert security, answer by the channel's rule", "丢弃该回调并告警，按渠道规则应答"), callbacks.other_order),
    _rule("R04", ("Duplicate charge", "重复扣款"), "order_state/duplicate_charge", "critical",
          ("Refund the later charge; check retries with a new number after a time-out", "退还后一笔；排查超时换单号重试"),
          money.duplicate_charge),
    _rule("R05", ("Duplicate capture", "重复请款"), "order_state/auth_capture_conflict", "high",
          ("Stop the capture job and refund the excess", "停止请款任务并退还多收部分"), money.duplicate_capture),
    _rule("R16", ("Over-refund", "超额退款"), "order_state/refund_conflict", "critical",
          ("Stop the refund job; check concurrent refunds with different numbers", "停止退款任务；检查不同单号的并发退款"),
          refunds.over_refund),
    _rule("R02", ("Order paid, channel not paid", "订单已支付渠道未支付"), "order_state/state_conflict", "critical",
          ("Freeze delivery; find who wrote the state: a browser's result is never proof", "冻结发货；查明状态由谁写入，前端结果不可作为依据"),
          states.paid_without_channel),
    _rule("R03", ("Paid after cancel or close", "取消后支付"), "order_state/paid_after_cancel", "high",
          ("Refund in full or reopen; check that the order was closed at the channel", "全额退款或恢复订单；检查渠道关单是否调用"),
          states.paid_after_cancel),
    _rule("R01", ("Channel paid, order still open", "渠道已支付订单未更新"), "order_state/paid_not_updated", "high",
          ("Query, then compensate the order to paid; look at the callback path for the cause", "查单后补偿订单为已支付；沿回调链路查因"),
          states.paid_not_updated),
    _rule("R08", ("Callback missing", "未收到回调"), "order_state/notify_missing", "high",
          ("Check notify URL, DNS, firewall list and WAF; compensate by query", "检查回调地址、DNS、防火墙白名单与WAF；查单补偿"),
          callbacks.callback_missing),
    _rule("R09", ("Callback signature failed", "回调验签失败"), "signature_cert/notify_sign_failed", "high",
          ("Check certificate rotation, callback key and raw-body handling", "检查证书轮换、回调密钥与原始报文处理"),
          callbacks.callback_signature),
    _rule("R10", ("Callback answered wrongly", "回调应答失败"), "internal_fault/code_exception", "medium",
          ("Answer first, process later; fix the handler's exception", "先应答后处理；修复处理程序异常"), callbacks.callback_answer),
    _rule("R11", ("Callback received, order unchanged", "回调成功未入账"), "internal_fault/db_error", "high",
          ("Follow the trace id for a lock, a rollback or a lost message", "按链路号排查锁、回滚与消息丢失"),
          callbacks.callback_without_effect),
    _rule("R14", ("Refund stuck", "退款卡单"), "order_state/refund_stuck", "medium",
          ("Query the refund; if abnormal, use the abnormal-refund interface or a bank transfer", "查询退款；如异常则走异常退款接口或转账"),
          refunds.refund_stuck),
    _rule("R15", ("Refund states differ", "退款状态不符"), "order_state/refund_conflict", "high",
          ("Sync by refund query; keep the same refund number when repeating", "以退款查询同步；重试沿用原退款单号"), refunds.refund_differs),
    _rule("R12", ("Callback out of order", "回调乱序"), "order_state/state_conflict", "medium",
          ("Apply forward transitions only; query again", "只接受正向状态迁移；重新查单"), states.out_of_order),
    _rule("R17", ("Pending too long", "长时间处理中"), "pending/processing", "medium",
          ("Query; never start a new charge before a final answer", "查单；未得最终结果前不得重新扣款"), attempts.pending_too_long),
    _rule("R18", ("Time-out, then retry with a new number", "超时换单重试"), "duplicate_idempotency/duplicate_order_no", "high",
          ("Query the first attempt; use an idempotency key or the same number", "先查询首次支付；使用幂等键或原单号"),
          attempts.retried_with_new_number),
    _rule("R19", ("Same number, changed data", "同号不同参"), "duplicate_idempotency/idempotency_conflict", "medium",
          ("Close the old order at the channel and place it with a new number", "在渠道关闭旧单并换新单号下单"), attempts.same_number_changed),
    _rule("R20", ("Order closed too early", "过早关单"), "order_state/paid_after_cancel", "medium",
          ("Close at the channel first, then here", "先在渠道关单，再关本地订单"), states.closed_early),
    _rule("R21", ("Authorisation about to lapse", "授权即将过期"), "order_state/auth_capture_conflict", "low",
          ("Capture or void", "请款或撤销授权"), attempts.authorisation_expiring),
    _rule("R22", ("Not in the channel's bill", "对账单缺失"), "order_state/order_not_found", "high",
          ("Check by hand; hold the accounting entry", "人工核查；入账挂起"), records.not_in_bill),
    _rule("R23", ("Channel knows no such order", "渠道查无此单"), "order_state/order_not_found", "medium",
          ("Check merchant id and environment, then create again", "检查商户号与环境，再重新下单"), records.unknown_to_channel),
    _rule("R24", ("Paid by another payer", "付款人不符"), "merchant_account/binding_mismatch", "medium",
          ("Hold the order and contact the payer", "挂起订单并联系付款人"), money.other_payer),
    _rule("R25", ("Next system not told", "下游未通知"), "internal_fault/mq_push_failed", "medium",
          ("Replay the notification", "重放通知"), records.downstream_not_told),
)  # fmt: skip
BY_ID: Mapping[str, Rule] = {rule.id: rule for rule in RULES}
