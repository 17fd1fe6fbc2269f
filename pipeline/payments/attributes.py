"""Which attribute of an order event holds what, which differs from shop to shop.

`_ATTRIBUTES` lists the spellings that are understood; they are compared without case and punctuation, so `outTradeNo`,
`out_trade_no` and `OUT-TRADE-NO` are one.
"""

from __future__ import annotations

from collections.abc import Mapping

# What an attribute is for -> its spellings, lower case, letters and digits only, best first.
_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "system": ("shopsystem", "system", "platform", "shopplatform", "ordersystem", "vocabulary"),
    "customer": ("customerid", "userid", "uid", "memberid", "buyerid", "accountid", "customer", "user"),
    "phone_tail": ("phonetail", "phonelast4", "mobiletail", "phonesuffix", "tel4", "last4phone", "phonelastfour", "phone"),
    "number": (
        "outtradeno", "merchantorderno", "merchantreference", "merchantref", "mchorderno", "payorderno", "paymentno",
        "paymentref", "paymentreference", "merchantpaymentid", "merchanttxnid", "orderref", "reference", "tradeorderno",
        "invoiceid", "invoiceno", "attemptid", "paymentid",
    ),
    "txn": (
        "channeltxnid", "channeltransactionid", "channeltradeno", "channelorderno", "transactionid", "txnid", "tradeno",
        "pspreference", "chargeid", "captureid", "providertxnid", "providerid", "gatewaytxnid", "queryid", "pspid",
    ),
    "code": (
        "code", "errorcode", "errcode", "subcode", "respcode", "responsecode", "channelcode", "refusalreasoncode",
        "declinecode", "reasoncode", "failurecode", "resultcode", "processorresponsecode", "statusdetail",
        "gatewayrejectionreason",
    ),
    "verified": (
        "verified", "signverified", "signatureverified", "signaturevalid", "signvalid", "signok", "sigok", "verify",
        "validsignature", "signatureok", "signcheck", "signaturecheck",
    ),
    "answer": (
        "httpanswer", "ouranswer", "answer", "answerstatus", "answercode", "responsestatus", "ourstatus", "ackstatus",
        "ack", "httpstatus", "ourhttpstatus", "replystatus", "reply", "httpresponse", "returned",
    ),
    "answer_ms": ("answerms", "responsems", "handlems", "elapsedms", "durationms", "tookms", "costms", "latencyms"),
    "method": (
        "paymentmethod", "method", "paymethod", "paytype", "paymenttype", "tradetype", "payway", "product", "wallet",
        "paymentmethodtype", "waycode",
    ),
    "payer": ("payerid", "payer", "openid", "payeropenid", "buyeruserid", "buyerlogonid", "payeraccount", "payeremail"),
    "app": ("appid", "applicationid", "subappid"),
    "merchant": ("mchid", "merchantid", "submchid", "merchantaccount", "sellerid", "merid"),
    "signature": ("signature", "sign", "wechatpaysignature"),
    "probe": ("probe", "signtest", "isprobe"),
    "total": ("total", "totalamount", "amounttotal", "ordertotal", "totalminor"),
    "discount": ("discount", "coupon", "couponfee", "couponamount", "discountamount", "discountminor", "promotion"),
    "split": ("splittender", "split", "instalment", "instalments", "installment", "installments", "installmentplan"),
    "multi_capture": ("multicapture", "multiplecapture", "partialcapture", "multicaptureenabled"),
    "exchange": ("fxquote", "fxrate", "dcc", "exchangerate", "fxquoteid", "presentmentcurrency"),
    "fee": ("feerefund", "refundtype", "isfee", "fee"),
    "gift": ("gift", "giftpayer", "payforfriend", "thirdpartypayer", "daifu"),
    "capture_job": ("capturejob", "captureplanned", "captureat", "capturedelay", "capturescheduledat"),
    "bill": ("bill", "reconciliation", "reconciled", "inbill", "billstatus", "reconstatus", "settlementfile", "recon"),
    "downstream": (
        "downstream", "downstreamstatus", "notifystatus", "merchantnotify", "merchantnotifystate", "notifystate",
        "erpstatus", "erp", "wmsstatus", "fulfilmentstatus", "fulfillmentpush", "pushstatus", "mqstatus",
        "downstreamnotified", "notifymerchant",
    ),
}  # fmt: skip
SPELLED: Mapping[str, str] = {spelling: name for name, spellings in _ATTRIBUTES.items() for spelling in spellings}
RANK: Mapping[str, int] = {spelling: i for spellings in _ATTRIBUTES.values() for i, spelling in enumerate(spellings)}
