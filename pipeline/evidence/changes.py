"""Changes: what was deployed, switched, rotated, migrated or upgraded before the trouble began.

Change events are found in the words of deployment tools, configuration centres, servers and people, English and Chinese,
and in the version that services write into their own lines and spans. What recurs all the time is routine, no change. A
change proves nothing by itself: it speaks for a fault only where it touches the order's flow and the failures began after
it, and less where other orders went through since.

A feed of changes needs no source of its own: it is a log whose index, or whose file where its lines have no `_id`, is named
`changes`, `deployments` or `releases`; each of its lines counts as a change, whatever its words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import re2

from pipeline.evidence.case import Case, clip
from pipeline.evidence.gaps import cut_short
from pipeline.figures import clock, spell
from pipeline.flows import tried
from pipeline.values import Cited, Found, Seen
from snapshots.model import Check, Text

_EN_VERB = (
    r"(?:chang(?:ed|ing|es)|updat(?:ed|ing)|modif(?:ied|ying)|reload(?:ed|ing)|refresh(?:ed|ing)|switch(?:ed|ing)|replac(?:ed|ing)"
    r"|publish(?:ed|ing)|overrid(?:den|ing)|migrat(?:ed|ing)|applied|rotat(?:ed|ing|ion)|renew(?:ed|al|ing)|reconfigured)"
)
_ZH_VERB = r"(?:变更|更新|修改|更换|替换|切换|轮换|调整|改为|改成|重载|重新加载|刷新|下发|发布|推送|生效)"


def _pair(thing: str, verb: str, zh_thing: str, zh_verb: str) -> tuple[str, ...]:
    """A thing and what happened to it, in either order, within one breath."""
    return (
        rf"\b(?:{thing})s?\b(?:[^.;,]|[.,]\S){{0,40}}\b(?:{verb})\b",
        rf"\b(?:{verb})\b(?:[^.;,]|[.,]\S){{0,30}}\b(?:{thing})s?\b",
        rf"(?:{zh_thing})[^。；，,]{{0,20}}(?:{zh_verb})",
        rf"(?:{zh_verb})了?[^。；，,]{{0,6}}(?:{zh_thing})",
    )


# In the order in which they are tried: a certificate that was updated is more than a configuration that was.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "certificate": (
        *_pair(
            r"certificate|certs?|key ?store|trust ?store|ca[ -]bundle|pfx|tls secret",
            rf"{_EN_VERB}|uploaded|imported|installed|(?:successfully )?issued|reissued|expired|revoked",
            r"证书|信任库",
            rf"{_ZH_VERB}|上传|导入|安装|续期|续签|过期|到期|吊销",
        ),
        # https://cert-manager.io and certbot, in their own words
        r"the certificate has been successfully issued|renewals? succeeded|existing certificate.{0,40}renew",
    ),
    "key": (
        r"\bkeys? (?:was|were|has been|have been) (?:rotated|replaced|renewed|rolled|changed|revoked)|\b(?:rotated|rolled|renewed|revoked) (?:the )?keys?\b",
        *_pair(
            r"(?:api|private|public|signing|sign|access|encryption|merchant|platform|webhook|apiv[23]|aes|rsa|hmac|kms|secret)[ _-]?(?:key|secret)(?: pair)?"
            r"|key ?pair|client[ _-]?secret|secrets?|credentials?|(?:database|db|service) password",
            rf"{_EN_VERB}|uploaded|imported|reset|revoked|regenerated|rolled",
            r"密钥|秘钥|公钥|私钥|凭证|口令|APIv[23]",
            rf"{_ZH_VERB}|上传|导入|重置|重新生成|吊销|作废",
        ),
    ),
    "schema": (
        # Flyway, Liquibase, Alembic, Rails, Django, the online schema changers, and plain DDL.
        r"migrating schema|successfully applied \d+ migration|change ?set .{0,120}ran successfully|running upgrade \S* ?-> ?\w+"
        r"|==.{0,60}: migrat(?:ing|ed)|applying \w+\.\d{4}_\w+|\bgh-ost\b|pt-online-schema-change",
        r"\b(?:alter|create|drop|truncate|rename) (?:table|index|unique index|column|view)\b",
        r"\b(?:schema|ddl|database|table) (?:migration|change|upgrade)s?\b.{0,40}\b(?:applied|done|complete|finish|start|execut|ran)",
        r"(?:表结构|数据库|库表|索引|分表)[^。；，,]{0,8}(?:变更|迁移|升级|改造)|执行 ?DDL|加(?:列|字段|索引)(?:完成|成功)",
    ),
    "version": (
        *_pair(
            r"sdk|librar(?:y|ies)|dependenc(?:y|ies)|packages?|driver|jdk|jre|openssl|plug-?in|api[ _-]version|runtime|client library|composer|gem",
            r"upgrad(?:ed|ing|e to)|downgrad(?:ed|ing)|updated to|bump(?:ed|ing)|migrat(?:ed|ing) to|moved to|changed to|switched to",
            r"SDK|依赖|插件|JDK|驱动|接口版本|组件|类库",
            r"升级|降级|更新到|更新至|换成",
        ),
        r"\b(?:upgrad(?:ed|ing)|downgrad(?:ed|ing)|bump(?:ed|ing))\b.{0,50}\bv?\d+\.\d+",
        r"(?:升级|降级)(?:到|至|为|成)? ?v?\d+\.\d+",
    ),
    "network": _pair(
        r"dns(?: record)?|resolver|a record|cname|(?:http |egress |forward |reverse )?proxy|firewall(?: rules?)?|iptables|security group"
        r"|network polic(?:y|ies)|waf(?: rules?)?|egress(?: ip| rule)?|nat gateway|route table|load ?balancer|ip (?:allow|white) ?list|cdn",
        rf"{_EN_VERB}|cut ?over|failed over|failover|enabled|disabled|added|removed",
        r"域名解析|DNS|代理|防火墙|安全组|出口(?: ?IP)?|专线|负载均衡|机房|IP ?白名单|CDN|WAF|网络策略",
        rf"{_ZH_VERB}|迁移|割接|下线|开启|关闭|新增|删除",
    ),
    "config": (
        *_pair(
            r"config(?:uration)?s?|settings?|properties|property|feature[ _-]?(?:flag|toggle|gate|switch)|flag|toggle|config ?map|data ?id"
            r"|routing rule|cron(?: job)?|schedule|job definition",
            rf"{_EN_VERB}|pushed|received|toggled|turned (?:on|off)|enabled|disabled|set to|rolled back|reverted",
            r"配置(?:项|中心|文件)?|参数|开关|路由规则|规则|白名单|费率|定时任务|任务参数",
            rf"{_ZH_VERB}|打开|关闭|开启|回滚",
        ),
        # Spring Cloud, Nacos, Apollo, nginx, systemd, in their own words.
        r"refresh keys changed|\[data-received\]|refresh nacos config|auto update apollo changed value|change - key: ?\S+"
        r"|old ?value ?[:=].{0,120}new ?value ?[:=]|signal process started|\breconfiguring\b|sighup received|received sighup",
    ),
    "deploy": (
        # Kubernetes, Argo CD, Helm, Jenkins, systemd, Spring Boot, gunicorn, PM2, in their own words.
        r"scaled (?:up|down) replica ?set|scalingreplicaset|successfully rolled out|rollout (?:restart|undo|complete|start|finish|triggered)"
        r"|sync operation to \S+ (?:succeeded|started)|initiated automated sync|release \"?[\w-]+\"? (?:has been )?(?:upgraded|installed|rolled back)"
        r"|successfully pulled image|\bimage updated\b|starting \w*application\w* (?:v\S+ )?(?:using|on|with)\b|started \w*application\w* in [\d.]+ s"
        r"|(?:started|stopped|starting|stopping|restarted) [\w@.-]+\.service|booting worker with pid|\[pm2\].{0,40}(?:restart|reload)",
        r"\bdeploy(?:ed|ing|ment)?\b.{0,60}(?:success|succeed|complet|finish|start|trigger|\bdone\b|\bv?\d+\.\d+|\bto (?:prod|production|live)\b|\bbuild\b)",
        r"\bdeployed\b [\w./:-]+|\b(?:released?|promoted|shipped)\b[: ].{0,30}\bv?\d+\.\d+(?:\.\d+)?|\b(?:rolling (?:update|restart|upgrade)|canary|blue[/-]green)\b",
        r"\broll(?:ed|ing)?[ -]?back\b.{0,30}(?:\bto\b|release|version|deploy|revision)|\bhot ?fix\b.{0,40}(?:deploy|applied|live|releas)",
        r"\b(?:new|running) (?:version|revision|build|release)\b[ :=]{1,2}\S+",
        r"(?:发布|上线|部署|发版|回滚|灰度|滚动(?:更新|升级|重启)|热修复)[^。；，,]{0,20}(?:完成|成功|开始|结束|版本|v?\d+\.\d+|比例|\d+ ?%)",
        r"(?:开始|完成|执行|触发|正在)(?:发布|上线|部署|发版|回滚|灰度|滚动更新)|新版本|版本(?:切换|更新|升级|回退)|(?:流量|蓝绿|灰度)切换",
    ),
}
# Two cheap sieves that hardly a line passes both of: what may change, and what happens to it. The words above are then
# tried one by one; as one expression they are too large for RE2 to keep in its fast form.
_THINGS = (
    r"(?i)cert|renewal|store|ca[ -]bundle|pfx|secret|key|credential|password|schema|migrat|change ?set|upgrade|gh-ost|pt-online|table|index|column"
    r"|view|sdk|librar|dependenc|package|driver|jdk|jre|ssl|plug|version|runtime|composer|gem|dns|resolver|record|cname|proxy|firewall"
    r"|iptables|security group|polic|waf|egress|nat|route|balancer|list|cdn|config|setting|propert|flag|toggle|gate|switch|data-received"
    r"|data ?id|rul|cron|schedule|job|refresh|apollo|change - key|value|signal|sighup|rollout|rolled|roll|scal|sync|release|image|application"
    r"|\.service|worker|pm2|deploy|promot|ship|canary|blue|hot ?fix|build|revision"
    r"|[证信密秘公私凭口库表索字列依插驱接组类域代防安出专负机白网规配参开属费任升降发上部回灰滚热新版流蓝]"
)
_VERBS = (
    r"(?i)chang|updat|modif|load|refresh|switch|replac|publish|overrid|migrat|appl|rotat|renew|configur|import|install|issu|expir|revok"
    r"|reset|generat|roll|releas|upgrad|downgrad|bump|deploy|scal|sync|pull|start|stop|boot|promot|ship|canary|blue|fix|version|revision"
    r"|alter|creat|drop|trunc|renam|ran successfully|gh-ost|pt-online|cut ?over|fail(?:ed )?over|abled|add|remov|push|receiv|toggl|turned"
    r"|set to|revert|signal|sighup|value|execut"
    r"|[变更修改换切轮调重刷下推生导装续过到吊作加执降迁割启闭开关增删传部回灰滚热正触完版流蓝升发]"
)
# What tells of an earlier time: such a line may come after the failure that the change has caused.
_EARLIER = r"(?i)\b(?:ago|earlier|since|yesterday|last (?:night|week|month|release)|recently|previously)\b|(?:\d|[一二两三四五六七八九十数几])+ ?(?:秒|分钟|小时|天|周|个月)前|此前|之前|日前|早前|昨|上周|上月|刚刚|刚才"
# Transactions roll back, customers change their passwords, access tokens are refreshed: no change of the system.
_NO_CHANGE = (
    r"transaction|\btx\b|rollback only|事务|\b(?:user|customer|member|buyer)s?\b.{0,20}(?:password|setting)|access[ _-]?token|用户(?:修改|更新|重置|更换)"
    # Parcels are packages, and are shipped.
    r"|\b\d+(?:\.\d+)? ?(?:kg|lbs?|oz)\b|\b(?:parcel|shipment)s?(?:$|[^\w-])|\b(?:package|order|goods|item)s?\b.{0,15}\b(?:shipped|dispatched|delivered)\b"
    r"|\bshipped\b.{0,20}\b(?:customer|buyer|address|courier|carrier|warehouse)\b|\bpackages? (?:was |were )?moved to (?:the |a )?(?:warehouse|depot|courier|carrier|hub)"
    r"|tracking (?:number|no\b)|快递|物流单|包裹|发货"
    r"|(?:订单|支付|退款)参数|\border\b.{0,20}\bupdated\b|no changes?\b|not changed|unchanged|未变更|无变更"
)
# A name that is looked up again, and how long that took, is no change of the network.
_NO_NETWORK_CHANGE = (
    r"\b(?:dns|resolver|cname|proxy|cdn)[ _-](?:[\w.]+[ _-]){0,2}(?:cache|ttl|lookups?|quer(?:y|ies)|(?:response|resolution) time)\b"
    r"|\b(?:cached?|ttl|lookups?)\b.{0,20}\b(?:dns|resolver|a record|cname)\b|(?:DNS|域名|解析|CDN).{0,6}(?:缓存|TTL|耗时|用时|查询)|缓存.{0,6}(?:DNS|域名|解析)"
)
# Announcements: what is to come has not happened. A plan that is called done has.
_TO_COME = (
    r"(?i)\b(?:will|shall) (?:soon )?(?:be|switch|change|move|migrate|expire|start|take)\b|\b(?:going|about|due) to\b|\bscheduled (?:for|to|on|at)\b"
    r"|\bupcoming\b|\bto be (?:switched|changed|deployed|rotated|replaced|migrated|upgraded|updated)\b|将[于在会]|即将|请(?:提前|尽快|及时)|届时|拟于|预计|定于"
)
_PLANNED = r"(?i)\bplann(?:ed|ing)\b|计划"
_DONE = r"(?i)\b(?:complet(?:ed?|ion)|finished|done|succe(?:eded|ss(?:ful(?:ly)?)?))\b|完成|成功|结束|已(?:切换|更换|更新|升级|变更)"
_HAS_HAPPENED = r"(?i)\b(?:was|were|has been|have been) \w+ed\b|已(?:经|于)?[^，,]{0,8}(?:切换|更换|更新|升级|变更|修改|替换|轮换|发布|上线|调整)|(?:切换|更换|更新|升级|变更|发布)(?:完成|成功)"
_COMMA = r"[，,]"
_SENTENCE = r"[;；。!！\n]+|\. +"
_FEED = r"(?i)(?:^|[/._-])(?:changes?|deploy(?:ment)?s?|releases?)(?:[./_-]|$)"
_OUR_CHANNEL = r"(?i)channel|gateway|merchant|mch_?id|app_?id|notify_?url|return_?url|渠道|商户|回调地址|支付方式"
_API_VERSION = r"(?i)\bapi\b.{0,12}version|接口版本|API ?版本"
_TRUST = r"(?i)\bj(?:dk|re)\b|openssl|ca-certificates|\btls\b"
_NAMES = {
    "deploy": Text(en="a deployment", zh="发布"),
    "config": Text(en="a configuration change", zh="配置变更"),
    "certificate": Text(en="a certificate change", zh="证书变更"),
    "key": Text(en="a key or secret change", zh="密钥变更"),
    "schema": Text(en="a database schema change", zh="数据库结构变更"),
    "network": Text(en="a network change", zh="网络变更"),
    "version": Text(en="a new version", zh="版本变更"),
    "other": Text(en="a change", zh="变更"),
}
# kind -> what it may have broken, and how often it is to blame where it is in the flow and failures follow at once. A
# judgement, not measured.
_MAY_BREAK: Mapping[str, tuple[str, str, float]] = {
    "deploy": ("internal_fault", "code_exception", 0.6),
    "version": ("internal_fault", "code_exception", 0.6),
    "config": ("internal_fault", "internal_config", 0.5),
    "schema": ("internal_fault", "db_error", 0.6),
    "network": ("interface_fault", "connect_failed", 0.4),
    "certificate": ("signature_cert", "cert_invalid", 0.6),
    "key": ("signature_cert", "sign_invalid", 0.6),
}
# A template with more lines is routine; so is one that recurs this often over most of the time that was collected.
_ROUTINE_LINES = 30
_ROUTINE_TIMES = 4
# How long the lines of an order's own flow go back before its failure.
_FLOW = timedelta(minutes=1)
# Lines of one change follow each other within this time.
_ONE_CHANGE = timedelta(minutes=10)
# A change is told in the first words of a line.
_READ = 400
_MOST = 5
_CITES = 4
_QUOTED = 140


@dataclass
class _Event:
    kind: str
    at: datetime
    service: str | None
    text: str
    cites: list[Cited]
    told_later: bool = False


def detect(case: Case) -> Seen:
    """One finding for each change before the first failure, the likeliest to matter first."""
    logs = case.material.logs
    if not logs.num_rows:
        statement = Text(en="changes: there are no log lines", zh="变更：没有日志")
        return Seen(checks=(Check(id="changes", outcome="not_evaluated", statement=statement),))
    events = _merged([*_in_words(case), *_in_versions(case)])
    found = sorted(
        (_finding(case, event) for event in events),
        key=lambda f: (-f.strength, -(f.at or case.now).timestamp(), f.kind),
    )
    begun = pc.min(logs.column("@timestamp")).as_py()
    since = f" since {clock(begun)}" if begun else ""
    zh_since = f"{clock(begun)} 以来" if begun else ""
    if found:
        statement = Text(
            en=f"{len(events)} changes before {_until(case).en}{since}",
            zh=f"{zh_since}{_until(case).zh}前有 {len(events)} 次变更",
        )
        check = Check(id="changes", outcome="found", statement=statement)
        return Seen(tuple(found[:_MOST]), (check,), max(0, len(found) - _MOST))
    if cut_short(case):
        statement = Text(
            en="changes: none in the lines that were read, and not all lines were",
            zh="变更：已读取的日志中没有，但日志未全部读取",
        )
        return Seen(checks=(Check(id="changes", outcome="not_evaluated", statement=statement),))
    statement = Text(
        en=f"no deployment, configuration, key or version change was logged{since}",
        zh=f"{zh_since}日志中没有发布、配置、密钥或版本变更",
    )
    return Seen(checks=(Check(id="changes", outcome="healthy", statement=statement),))


@cache
def _patterns() -> tuple[Mapping[str, tuple[Any, ...]], Any, Any]:
    """The words of each kind, those of no change, and those of no change of the network."""
    compiled = {kind: tuple(re2.compile(f"(?i){p}") for p in patterns) for kind, patterns in _WORDS.items()}
    return compiled, re2.compile(f"(?i){_NO_CHANGE}"), re2.compile(f"(?i){_NO_NETWORK_CHANGE}")


def kind_of_change(text: str) -> str | None:
    """Which change `text` tells of: `deploy`, `config`, `certificate`, `key`, `schema`, `network`, `version`; or None.

    >>> kind_of_change("Scaled up replica set pay-core-6d5f to 1"), kind_of_change("order 7 was paid")
    ('deploy', None)
    """
    kinds, no_change, no_network_change = _patterns()
    text = _happened(text[:_READ])
    if not text or no_change.search(text):
        return None
    looked_up = no_network_change.search(text) is not None
    return next(
        (
            kind
            for kind, words in kinds.items()
            if not (kind == "network" and looked_up) and any(one.search(text) for one in words)
        ),
        None,
    )


def _happened(text: str) -> str:
    """`text` without its sentences that announce what is to come; as it is where there are none."""
    if not re2.search(_TO_COME, text) and not re2.search(_PLANNED, text):
        return text
    # "Was replaced, will take effect in ten minutes": the first clause has happened.
    sentences = [
        part
        for one in re2.split(_SENTENCE, text)
        for part in (re2.split(_COMMA, one) if re2.search(_HAS_HAPPENED, one) else [one])
    ]
    return "; ".join(
        one.strip()
        for one in sentences
        if one.strip() and not re2.search(_TO_COME, one) and (not re2.search(_PLANNED, one) or re2.search(_DONE, one))
    )


# ---- in words


def _in_words(case: Case) -> Iterator[_Event]:
    logs = case.material.logs
    codes = case.clusters.template_ids.indices.to_numpy(zero_copy_only=False)
    rows, feed = _candidates(case, codes)
    bodies = logs.column("body").take(pa.array(rows)).to_pylist()
    times = logs.column("@timestamp").take(pa.array(rows)).to_pylist()
    services = logs.column("service.name").take(pa.array(rows)).to_pylist()
    # Lines of one template tell of one thing.
    kinds: dict[int, str | None] = {}
    for row, body, at, service in zip(rows.tolist(), bodies, times, services, strict=True):
        code = int(codes[row])
        if code not in kinds:
            kinds[code] = kind_of_change(body or "")
        kind = kinds[code] or ("other" if feed[row] and _happened((body or "")[:_READ]) else None)
        if kind and at:
            yield _Event(
                kind,
                at,
                service,
                body or "",
                [case.cite_log(row)],
                told_later=at > case.first_failure or bool(re2.search(_EARLIER, (body or "")[:_READ])),
            )


def _candidates(case: Case, codes: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Rows that may tell of a change before the first failure, and which rows are of a feed."""
    logs = case.material.logs
    stamps = logs.column("@timestamp").combine_chunks()
    before = _mask(pc.less_equal(stamps, pa.scalar(case.first_failure, stamps.type)))
    later = _mask(pc.less(stamps, pa.scalar(case.scope.window.end, stamps.type))) & ~before
    sizes = np.bincount(codes, minlength=len(case.clusters.template_ids.dictionary))
    feed = _is_feed(logs)
    mine, flows = _of_orders(case, codes)
    rows = np.flatnonzero((before | later) & ~flows & ((sizes[codes] <= _ROUTINE_LINES) | feed))
    bodies = pc.utf8_slice_codeunits(logs.column("body").take(pa.array(rows)), 0, _READ)
    told = _mask(pc.match_substring_regex(bodies, _THINGS)) & _mask(pc.match_substring_regex(bodies, _VERBS))
    # A line of the order's own flow is no change, but one from well before, or of an earlier time, may be.
    well_before = _mask(pc.less_equal(stamps, pa.scalar(case.first_failure - _FLOW, stamps.type)))
    told &= np.where(mine[rows], well_before[rows], before[rows]) | _mask(pc.match_substring_regex(bodies, _EARLIER))
    rows = rows[told | (feed[rows] & before[rows])]
    micros = pc.fill_null(stamps.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return rows[~_routine(codes, micros)[codes[rows]] | feed[rows]], feed


def _of_orders(case: Case, codes: npt.NDArray[Any]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Rows about the ticket's own orders, and rows whose template other orders have: these are steps of a flow."""
    logs, followed = case.material.logs, case.followed
    focus = np.array([o.order_id in case.scope.focus_orders for o in followed.orders] + [False], bool)
    mine = case.focus_rows | focus[followed.owner]
    named = (followed.owner >= 0) | _mask(pc.is_valid(logs.column("labels.order_id").combine_chunks()))
    steps = np.bincount(codes[named & ~mine], minlength=len(case.clusters.template_ids.dictionary)) > 0
    return mine, np.asarray(steps[codes], dtype=bool)


def _is_feed(logs: pa.Table) -> npt.NDArray[np.bool_]:
    """Rows of a file or index that holds nothing but changes."""
    feed = np.zeros(logs.num_rows, bool)
    for name in ("log.file.path", "_index"):
        encoded = logs.column(name).combine_chunks().dictionary_encode()
        named = _mask(pc.match_substring_regex(encoded.dictionary, _FEED))
        if named.any():
            codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
            feed |= np.append(named, False)[codes]
    return feed


def _routine(codes: npt.NDArray[Any], micros: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Templates that recur over more than half of the time collected."""
    size = int(codes.max(initial=-1)) + 1
    counts = np.bincount(codes, minlength=size)
    first, last = np.full(size, np.iinfo(np.int64).max), np.zeros(size, np.int64)
    np.minimum.at(first, codes, micros)
    np.maximum.at(last, codes, micros)
    whole = int(micros.max(initial=0) - micros[micros > 0].min(initial=int(micros.max(initial=0))))
    return np.asarray((counts >= _ROUTINE_TIMES) & (last - first > whole / 2), dtype=bool)


# ---- in versions


def _in_versions(case: Case) -> Iterator[_Event]:
    """A service whose lines or spans carry a version that they did not carry before."""
    logs, spans = case.material.logs, case.material.spans
    tables = []
    if logs.column("service.version").null_count < logs.num_rows:
        rows = pc.indices_nonzero(pc.is_valid(logs.column("service.version")))
        tables.append(("log", logs, rows, logs.column("service.version").take(rows)))
    said = pc.struct_field(
        pc.extract_regex(spans.column("attributes"), r'"service\.version":"(?P<version>[^"]+)"'), "version"
    )
    if said.null_count < spans.num_rows:
        rows = pc.indices_nonzero(pc.is_valid(said))
        tables.append(("span", spans, rows, said.take(rows)))
    for kind, table, rows, versions in tables:
        chosen = pa.table(
            {
                "service": table.column("service.name").take(rows),
                "version": versions,
                "at": table.column("@timestamp").take(rows),
                "row": rows,
            }
        ).sort_by([("at", "ascending"), ("row", "ascending")])
        firsts = chosen.group_by(["service", "version"], use_threads=False).aggregate([("at", "min"), ("row", "first")])
        known: dict[str, tuple[str, datetime]] = {}
        for one in firsts.sort_by([("at_min", "ascending"), ("version", "ascending")]).to_pylist():
            service, at = one["service"], one["at_min"]
            if not service or not at:
                continue
            old = known.get(service)
            # Versions that are there from the start run side by side: nothing changed.
            if old and at - old[1] > timedelta(minutes=1) and at <= case.first_failure:
                cite = case.cite_log(one["row_first"]) if kind == "log" else case.cite_span(spans, one["row_first"])
                yield _Event("version", at, service, f"{service} {old[0]} -> {one['version']}", [cite])
            known[service] = (one["version"], at if old is None else old[1])


# ---- what it means


def _merged(events: list[_Event]) -> list[_Event]:
    """The lines of one change as one event, told by its first line."""
    kept: list[_Event] = []
    for event in sorted(events, key=lambda e: (e.at, e.kind, e.text)):
        same = next(
            (
                k
                for k in reversed(kept)
                if (k.kind, k.service) == (event.kind, event.service) and event.at - k.at <= _ONE_CHANGE
            ),
            None,
        )
        if same is None:
            kept.append(event)
        elif len(same.cites) < _CITES:
            same.cites += event.cites
    return kept


def _finding(case: Case, event: _Event) -> Found:
    name = _NAMES[event.kind]
    where = event.service or "-"
    ago = case.first_failure - event.at
    span, zh_span = spell(abs(ago))
    before, after = _went_through(case, event.at, earlier=True), _went_through(case, event.at, earlier=False)
    # When it happened is not known where it is only told of: then no order can be put before or after it.
    if event.told_later:
        before = after = (0, 0)
    figures = (
        f"; orders of {case.channel or 'any channel'} that went through: {before[0]} of {before[1]} before it, "
        f"{after[0]} of {after[1]} after it"
    )
    zh_figures = f"；{case.channel or '各渠道'}正常订单：变更前 {before[0]}/{before[1]}，变更后 {after[0]}/{after[1]}"
    quote = clip(" ".join(event.text.split()), _QUOTED)
    en = f'{name.en} in {where} at {clock(event.at)}, {span} before {_until(case).en}: "{quote}"{figures}'
    zh = f"{where} 于 {clock(event.at)} 有{name.zh}，早于{_until(case).zh} {zh_span}：“{quote}”{zh_figures}"
    if event.told_later:
        en = f'{where} told at {clock(event.at)} of {name.en} at an earlier time: "{quote}"'
        zh = f"{where} 于 {clock(event.at)} 提及此前的{name.zh}：“{quote}”"
    supports, subclass, strength = _blame(case, event, ago, before, after)
    return Found(
        kind=f"change.{event.kind}",
        statement=Text(en=en, zh=zh),
        cites=tuple(event.cites),
        supports=supports,
        subclass=subclass,
        strength=round(strength, 4),
        service=event.service,
        channel=case.channel,
        about_focus=False,
        at=event.at,
    )


def _until(case: Case) -> Text:
    """What the changes came before; a failure only where one was seen."""
    if case.failure_known:
        return Text(en="the first failure", zh="首次失败")
    return Text(en="the ticket's moment", zh="工单时刻")


def _went_through(case: Case, at: datetime, *, earlier: bool) -> tuple[int, int]:
    """Of the other orders of the channel before or after `at`: how many are healthy, and how many there are."""
    orders = [o for o in case.cohort if (moment := tried(o)) and (moment < at) == earlier]
    return sum(o.order_id in case.healthy for o in orders), len(orders)


def _blame(
    case: Case, event: _Event, ago: timedelta, before: tuple[int, int], after: tuple[int, int]
) -> tuple[str | None, str | None, float]:
    """What the change may have broken and how surely; the strength of a mere context is that of its nearness."""
    near = 1.0 if ago <= timedelta(minutes=15) else 0.7 if ago <= timedelta(hours=1) else 0.4
    words = event.text.casefold()
    named = [name for name in (*case.flow_services, *case.scope.channels) if len(name) > 3 and name.casefold() in words]
    place = 1.0 if event.service in case.flow_services or named else 0.5
    if event.kind not in _MAY_BREAK:
        return None, None, 0.3 * near * place
    supports, subclass, base = _MAY_BREAK[event.kind]
    if event.kind == "config" and re2.search(_OUR_CHANNEL, event.text):
        supports, subclass = "param_config", "config_missing"
    if event.kind == "version" and re2.search(_API_VERSION, event.text):
        supports, subclass = "interface_fault", "protocol_contract"
    elif event.kind == "version" and re2.search(_TRUST, event.text):
        # A new runtime brings another list of trusted roots and of allowed protocols.
        supports, subclass = "interface_fault", "tls_failed"
    strength = base * near * place
    # Others went through since, or failed before: then it is context, not cause.
    others = after[0] >= 3 and after[0] * 2 > after[1]
    already = before[1] >= 3 and before[0] * 2 < before[1]
    if others or already:
        return None, None, strength * 0.5
    return supports, subclass, strength


def _mask(array: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False), dtype=bool)
