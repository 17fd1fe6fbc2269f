"""Sixty tickets and the level that the definition gives each: written from the definition, before the words and the table.

P1: many customers cannot pay or use the service, or data security is touched. P2: many impaired, or one blocked with money at
risk. P3: one impaired. P4: a question. `customers` and `orders` are what failed in the window, or a storm counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Scenario:
    """One ticket. `fault` is a class and subclass that was located; `because` names what a reason has to speak of."""

    id: str
    level: str
    text: str
    because: str
    language: str = "en"
    customers: int = 1
    orders: int = 0
    fault: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


def zh(id_: str, level: str, text: str, because: str, **more: Any) -> Scenario:
    """A Chinese ticket."""
    return Scenario(id_, level, text, because, language="zh", **more)


SCENARIOS: tuple[Scenario, ...] = (
    # ---- P1: many cannot pay or use the service
    Scenario("all-cannot-pay", "P1", "All customers get 'payment failed' at checkout since 10:00.", "batch"),
    Scenario("nobody-logs-in", "P1", "Nobody can log in to the shop, please help.", "batch"),
    Scenario("site-down", "P1", "Your site is down, we cannot place orders.", "batch"),
    Scenario("counted-customers", "P1", "Our support got 40 customers who cannot pay with card.", "batch"),
    Scenario("storm", "P1", "Payment failed twice for me.", "batch", customers=35),
    Scenario("failing-orders", "P1", "I can't pay for my order.", "batch", customers=0, orders=60),
    Scenario("merchants", "P1", "Many merchants report that checkout does not work.", "batch"),
    Scenario("many-charged", "P1", "Hundreds of users were charged twice this morning.", "batch"),
    zh("全部付不了", "P1", "所有用户都付不了款，收银台一直提示支付失败。", "batch"),
    zh("大面积登录不上", "P1", "大面积用户登录不上，请尽快处理！", "batch"),
    zh("系统瘫痪", "P1", "下单系统瘫痪了，什么单都下不了。", "batch"),
    zh("三十个客户", "P1", "已有30多位客户反馈无法支付。", "batch"),
    zh("风暴", "P1", "付款失败，提示系统繁忙。", "batch", customers=80),
    zh("批量失败", "P1", "今天上午批量订单支付失败。", "batch"),
    zh("批量重复扣款", "P1", "大量客户反映被重复扣款。", "batch"),
    # ---- P1: data security
    Scenario("leak", "P1", "I can see other customers' addresses in my order list.", "security"),
    Scenario("hacked", "P1", "My account was hacked and somebody ordered with my card.", "security"),
    Scenario("key-leaked", "P1", "Our API key was leaked on a public repository.", "security"),
    Scenario("breach", "P1", "We suspect a data breach: customer e-mails are for sale.", "security"),
    zh("泄露", "P1", "我的手机号和地址信息泄露了，接到诈骗电话报出我的订单。", "security"),
    zh("看到别人订单", "P1", "登录后看到了别人的订单和收货地址。", "security"),
    zh("盗刷", "P1", "账户被盗刷了三笔，不是我本人操作。", "security"),
    # ---- P2: many impaired
    Scenario("many-slow", "P2", "All users say that the order page is very slow today.", "batch"),
    Scenario("storm-slow", "P2", "The page loads slowly.", "batch", customers=25),
    Scenario("sometimes-many", "P2", "Many customers see an error now and then, a second try works.", "batch"),
    zh("大量变慢", "P2", "大量用户反映页面很慢，要等十几秒。", "batch"),
    zh("批量延迟", "P2", "批量用户的物流信息更新延迟。", "batch"),
    # ---- P2: one blocked with money at risk
    Scenario("charged-not-paid", "P2", "Money was deducted but the order still shows unpaid.", "money"),
    Scenario("charged-twice", "P2", "I was charged twice for one order.", "money"),
    Scenario("refund-missing", "P2", "My refund has not arrived after two weeks.", "money"),
    Scenario(
        "rule-duplicate", "P2", "Something is odd with my last order.", "money", fault="order_state/duplicate_charge"
    ),
    Scenario("paid-not-updated", "P2", "The order is not confirmed.", "money", fault="order_state/paid_not_updated"),
    Scenario(
        "paid-after-cancel", "P2", "I cancelled it, please check.", "money", fault="order_state/paid_after_cancel"
    ),
    zh("扣款未更新", "P2", "钱已经扣了，订单还是显示待付款。", "money"),
    zh("重复扣款", "P2", "同一个订单重复扣款两次。", "money"),
    zh("退款未到账", "P2", "退款一直没到账，已经十天了。", "money"),
    zh("规则查出", "P2", "订单状态不对，麻烦看下。", "money", fault="order_state/refund_stuck"),
    # ---- P2: several blocked, or a key contract's customer blocked
    Scenario("several-blocked", "P2", "Three customers cannot pay since noon.", "several"),
    zh("几个客户", "P2", "有几个客户反馈支付失败。", "several"),
    Scenario("key-contract", "P2", "I cannot pay.", "contract", fields={"contract": "platinum"}),
    zh("铂金客户", "P2", "支付失败，无法下单。", "contract", fields={"客户等级": "铂金"}),
    # ---- P3: one impaired or blocked, no money at risk
    Scenario("one-cannot-pay", "P3", "Payment failed, I tried with my card. No money was deducted.", "blocked"),
    Scenario("one-slow", "P3", "The app is slow on my phone.", "impaired"),
    Scenario("one-error", "P3", "I get an error when I open my invoice.", "impaired"),
    Scenario("declined", "P3", "My card is declined.", "blocked", fault="customer_decline/insufficient_funds"),
    Scenario("located", "P3", "Order 1234, please look.", "fault", fault="interface_fault/timeout_unknown"),
    Scenario("my-orders", "P3", "None of my orders can be paid with this card.", "blocked"),
    Scenario("one-order-fails", "P3", "Checkout does not work for me.", "blocked", customers=1, orders=1),
    zh("一个付款失败", "P3", "付款失败，提示签名错误。", "blocked"),
    zh("一个卡顿", "P3", "应用有点卡顿，打开比较慢。", "impaired"),
    zh("一个报错", "P3", "查看订单时报错。", "impaired"),
    zh("没有扣款", "P3", "支付失败，没有扣款。", "blocked"),
    zh("已定位", "P3", "麻烦看下这个订单。", "fault", fault="signature_cert/sign_invalid"),
    # ---- P4: a question
    Scenario("how-to", "P4", "How do I change the name on my invoice?", "question"),
    Scenario("what-if", "P4", "What happens if a payment fails, do I have to order again?", "question"),
    Scenario("ways", "P4", "Do you support payment by instalments?", "question"),
    Scenario("key-question", "P4", "Which browsers do you support?", "question", fields={"contract": "platinum"}),
    zh("发票抬头", "P4", "发票抬头怎么改？", "question"),
    zh("如果失败", "P4", "请问如果支付失败，多久可以重新下单？", "question"),
    zh("支持分期", "P4", "你们支持花呗分期吗？", "question"),
)
