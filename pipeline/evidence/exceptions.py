"""Exceptions: which one began it all, down the chain of causes, and whose code threw it.

Wrappers say nothing: of "PaymentException, caused by HttpClientErrorException, caused by SSLHandshakeException" only the last
tells what happened. Its type decides the family. A mistake in programming is ours even where a channel's answer was what
it stumbled over, for that answer did not come wrong, it came otherwise than our code expects. An exception that merely
carries a channel's reply says nothing by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Any

import re2

from parsers.stacktraces import Frame, chain, root_frames
from pipeline.evidence.case import Case, clip
from pipeline.values import Cited, Found, Seen
from snapshots.model import Check, Text


@dataclass(frozen=True)
class Family:
    """What a root cause of this kind tells. `types` match a simple name, `words` the type with its message."""

    kind: str
    says: Text
    supports: str | None
    subclass: str | None
    strength: float
    types: str = ""
    words: str = ""


# In the order in which they are tried: what a message says exactly goes before what a type says in general. The names are
# those of the JDK, Spring, the usual drivers and clients, CPython, Node.js, Go, .NET, PHP and Ruby.
_FAMILIES: tuple[Family, ...] = (
    Family(
        "exception.resource", Text(en="a resource ran out", zh="资源耗尽"), "internal_fault", "resource_contention", 0.9,
        r"OutOfMemory(?:Error|Exception)|RejectedExecutionException|TaskRejectedException|MemoryError|BulkheadFullException|NoMemoryError"
        r"|InsufficientExecutionStackException|PoolExhaustedException",
        r"java heap space|unable to create (?:new )?native thread|too many open files|no space left on device|gc overhead limit"
        r"|cannot allocate memory|timeout waiting for connection from pool",
    ),
    Family(
        "exception.mq", Text(en="the message queue failed", zh="消息队列异常"), "internal_fault", "mq_push_failed", 0.9,
        r"MQClientException|MQBrokerException|RemotingTooMuchRequestException|Amqp\w*Exception|AMQP\w*(?:Error|Exception)|Kafka\w*(?:Exception|Error)|JMSException"
        r"|ListenerExecutionFailedException|PulsarClientException|NoBrokersAvailable|BrokerUnreachableException|NotEnoughReplicas\w*|MessagingException"
        r"|RecordTooLargeException|NotLeaderOrFollowerException|ChannelClosedException",
        r"org\.apache\.kafka\.|org\.apache\.rocketmq\.|com\.rabbitmq\.|pika\.exceptions",
    ),
    Family(
        "exception.dependency", Text(en="a service or cache of ours did not answer", zh="内部服务或缓存无应答"), "internal_fault", "dependency_down", 0.85,
        r"Jedis\w*Exception|Redis\w*(?:Exception|Error)|Lettuce\w*Exception|RpcException|CallNotPermittedException|HystrixRuntimeException|BrokenCircuitException"
        r"|DegradeException|FlowException|BlockException|NoProvider\w*|ClientException",
        r"redis\.(?:clients|exceptions)|io\.lettuce|org\.redisson|no provider available|no instances? available|load balancer does not (?:have|contain)",
    ),
    Family(
        "exception.code", Text(en="our code made an SQL statement that is wrong", zh="程序中的 SQL 语句有误"), "internal_fault", "code_exception", 0.85,
        r"(?:Java)?SQLSyntaxErrorException|BadSqlGrammarException|ProgrammingError|BindingException|PersistenceException|StatementInvalid",
        r"you have an error in your sql syntax|syntax error at or near|unknown column|column .{1,60} does not exist|SQLSTATE\[42",
    ),
    Family(
        "exception.db", Text(en="a row was there already", zh="数据库唯一约束冲突"), "internal_fault", "db_error", 0.4,
        r"DuplicateKeyException|SQLIntegrityConstraintViolationException|DataIntegrityViolationException|ConstraintViolationException"
        r"|IntegrityError|UniqueViolation|RecordNotUnique|UniqueConstraintViolationException|DbUpdateException",
        r"duplicate entry .{1,120} for key|duplicate key value violates|UNIQUE constraint failed|E11000 duplicate key",
    ),
    Family(
        "exception.db", Text(en="our database failed", zh="数据库异常"), "internal_fault", "db_error", 0.95,
        r"\w*SQL\w*Exception|SqlException|\w*Deadlock\w*|CannotAcquireLockException|LockAcquisitionException|PessimisticLock\w*|OptimisticLock\w*|StaleObjectStateException"
        r"|CannotGetJdbcConnectionException|JDBCConnectionException|CommunicationsException|QueryTimeoutException|DataAccess\w*Exception|TransactionSystemException"
        r"|CannotCreateTransactionException|OperationalError|InterfaceError|PDOException|QueryException|Mongo\w*(?:Exception|Error)|LockWaitTimeout|TransactionException"
        r"|ConnectionNotEstablished|DatabaseError|PoolTimeout",
        r"deadlock found|lock wait timeout|could not serialize access|too many connections|connection is not available, request timed out|ORA-\d{5}|SQLSTATE",
    ),
    Family(
        "exception.crypto", Text(en="a decryption failed", zh="解密失败"), "signature_cert", "decrypt_failed", 0.9,
        r"AEADBadTagException|BadPaddingException|IllegalBlockSizeException|InvalidTag|InvalidCiphertextException|CryptographicException|DecryptionException",
        r"tag mismatch|mac check failed|unable to authenticate data|message authentication failed|bad decrypt",
    ),
    Family(
        "exception.crypto", Text(en="a key could not be used", zh="密钥不可用"), "signature_cert", "key_missing", 0.9,
        r"InvalidKey(?:Spec)?Exception|UnrecoverableKeyException|KeyStoreException|InvalidKeyError|NoSuchAlgorithmException",
        r"could not deserialize key data|no start line|unsupported key format|keystore was tampered|x509: failed to parse private key",
    ),
    Family(
        "exception.crypto", Text(en="a certificate is out of date", zh="证书不在有效期"), "signature_cert", "cert_invalid", 0.7,
        r"CertificateExpiredException|CertificateNotYetValidException|CertificateRevokedException",
    ),
    Family(
        "exception.crypto", Text(en="a signature did not verify", zh="验签失败"), "signature_cert", "notify_sign_failed", 0.8,
        r"SignatureException|SignatureVerif\w*|InvalidSignature\w*|SignatureDoesNotMatch\w*|ValidationException",
        r"(?:signature|sign) (?:verification|check) failed|signature (?:mismatch|invalid)",
    ),
    Family(
        "exception.io", Text(en="the TLS handshake failed", zh="TLS 握手失败"), "interface_fault", "tls_failed", 0.95,
        r"SSL\w*(?:Exception|Error)|SunCertPathBuilderException|CertPath\w*Exception|ValidatorException|CertificateException|CertificateUnknown",
        r"x509: certificate|certificate verify failed|CERTIFICATE_VERIFY_FAILED|unable to (?:get|verify)\b.{0,30}certificate|DEPTH_ZERO_SELF_SIGNED|CERT_HAS_EXPIRED|(?:curl(?: error|_errno)?|errno)[ _:(]*(?:35|58|60|77)\b",
    ),
    Family(
        "exception.io", Text(en="a host name did not resolve", zh="域名解析失败"), "interface_fault", "dns_failed", 0.95,
        r"UnknownHostException|UnresolvedAddressException|gaierror|ResolutionError|NameResolutionError",
        r"getaddrinfo|ENOTFOUND|EAI_AGAIN|no such host|name or service not known|(?:curl(?: error|_errno)?|errno)[ _:(]*6\b",
    ),
    Family(
        "exception.io", Text(en="no answer came in time", zh="请求超时"), "interface_fault", "timeout_unknown", 0.85,
        r"\w+Timeout(?:Exception|Error)?|InterruptedIOException|TaskCanceledException|OpenTimeout|ReadTimeout|ConnectTimeout|DeadlineExceeded\w*",
        r"read timed out|i/o timeout|context deadline exceeded|ETIMEDOUT|ESOCKETTIMEDOUT|ECONNABORTED|connect timed out|(?:curl(?: error|_errno)?|errno)[ _:(]*28\b",
    ),
    Family(
        "exception.io", Text(en="a connection failed or was dropped", zh="连接失败或中断"), "interface_fault", "connect_failed", 0.9,
        r"ConnectException|HttpHostConnectException|NoRouteToHostException|SocketException|NoHttpResponseException|EOFException|ConnectionClosedException"
        r"|Connection(?:Refused|Reset|Aborted)?(?:Error|Exception)|BrokenPipeError|RemoteDisconnected|NewConnectionError|MaxRetryError|APIConnectionE(?:rror|xception)"
        r"|PrematureCloseException|ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ConnectionFailed|WebException|ClosedChannelException",
        r"connection (?:refused|reset|aborted)|ECONNREFUSED|ECONNRESET|socket hang up|broken pipe|(?:curl(?: error|_errno)?|errno)[ _:(]*(?:7|52|56)\b|unexpected EOF",
    ),
    # Any wait may end so, also that of a job of ours.
    Family(
        "exception.io",
        Text(en="something took too long", zh="执行超时"),
        "interface_fault",
        "timeout_unknown",
        0.5,
        r"Timeout(?:Exception|Error)?",
    ),
    # Our own types and the answer do not fit: the answer is sound, our reading of it is not.
    Family(
        "exception.code", Text(en="our classes do not fit the message that they read", zh="程序类型与报文不匹配"), "internal_fault", "code_exception", 0.85,
        r"UnrecognizedPropertyException|MismatchedInputException|InvalidDefinitionException|CannotResolveClassException|ForbiddenClassException|ConversionException"
        r"|UnmarshalTypeError|InvalidFormatException|InaccessibleObjectException|DuplicateFieldException|JsonMappingException",
        r"cannot unmarshal \w+ into go (?:struct field|value)|no single-string constructor|cannot construct instance of|unable to make field",
    ),
    Family(
        "exception.response", Text(en="an answer could not be read", zh="应答报文无法解析"), "interface_fault", "response_invalid", 0.7,
        r"Json\w*(?:Parse|Syntax|Decode|Decoding|Encoding)\w*(?:Exception|Error)?|JSON\w*(?:Exception|Error)|MalformedJsonException|SAXParseException|XMLSyntaxError|DocumentException|ParserError"
        r"|UnmarshalException|HttpMessageNotReadableException|ParseError|UnicodeDecodeError|MalformedInputException|ExpatError|XMLStreamException",
        r"unexpected token|unexpected end of (?:json|input)|invalid character .{1,6} looking for beginning|expecting value: line",
    ),
    Family(
        "exception.code", Text(en="a mistake in our code", zh="程序错误"), "internal_fault", "code_exception", 1.0,
        r"NullPointerException|NullReferenceException|(?:Array|String)?IndexOutOfBoundsException|IndexOutOfRangeException|ClassCastException|InvalidCastException|NumberFormatException"
        r"|FormatException|ArithmeticException|Divi(?:de|sion)ByZero\w*|ZeroDivisionError|ConcurrentModificationException|NoSuch(?:Method|Field|Element|BeanDefinition)\w*(?:Error|Exception)"
        r"|ClassNotFoundException|NoClassDefFoundError|AbstractMethodError|IncompatibleClassChangeError|ExceptionInInitializerError|StackOverflowError|StackOverflowException"
        r"|ArrayStoreException|NegativeArraySizeException|TypeError|AttributeError|KeyError|IndexError|NameError|UnboundLocalError|ImportError|ModuleNotFoundError|RecursionError"
        r"|AssertionError|NotImplemented(?:Error|Exception)|UnicodeEncodeError|ReferenceError|RangeError|NoMethodError|ArgumentCountError|BadMethodCallException|KeyNotFoundException"
        r"|ArgumentNullException|FrozenError|UnsupportedOperationException|BeanCreationException|UnsatisfiedDependencyException|LinkageError|UnsatisfiedLinkError|VerifyError",
        r"nil pointer dereference|index out of range|invalid memory address|interface conversion|assignment to entry in nil map|undefined (?:index|variable|property|method|array key|offset)"
        r"|call to (?:undefined|a member function)|is not a function|cannot read propert|of undefined|of null\b|'NoneType' object",
    ),
    Family(
        "exception.code", Text(en="our code was in a state or got an argument that it does not allow", zh="程序状态或参数非法"), "internal_fault", "code_exception", 0.6,
        r"IllegalStateException|IllegalArgumentException|InvalidOperationException|ArgumentException|ArgumentError|InvalidArgumentException|LogicException|DomainException"
        r"|IllegalAccess\w*|InvocationTargetException|panic|ErrorException|UndeclaredThrowableException",
    ),
    Family(
        "exception.sdk", Text(en="an exception that carries a channel's reply", zh="携带渠道应答的异常"), None, None, 0.0,
        r"\w*Api(?:Exception|Error)|\w*APIE(?:rror|xception)|Stripe\w*(?:Exception|Error)|RateLimit(?:Error|Exception)|IdempotencyE(?:rror|xception)|(?:Authentication|Permission)Error|CardError|CardException|InvalidRequest(?:Error|Exception)|WxPay\w*Exception|Wechat\w*Exception"
        r"|Alipay\w*Exception|PayPal\w*(?:Exception|Error)|PPConnectionException|Adyen\w*Exception|Mollie\w*Exception|Razorpay\w*Error|BadRequestError|GatewayException|GatewayError"
        r"|Braintree\w*Exception|Square\w*Exception|Http\w*(?:ErrorException|ResponseException|StatusError|RequestException)|HTTPError|ServiceException|RestClientException|RequestException"
        r"|FeignException\w*|StatusRuntimeException|WebClientResponseException|\w*BusinessException|\w*BizException",
    ),
)  # fmt: skip
_OTHER = Family("exception.other", Text(en="an exception", zh="异常"), None, None, 0.0)

_SILENT = ("exception.other", "exception.sdk")
# The names that anything may bear.
_BARE = frozenset({"Error", "Exception", "Throwable", "error", "exception"})

# Where a frame is not ours: runtimes, frameworks, drivers, and the channels' own libraries.
_NOT_OURS = (
    r"^(?:java|javax|jakarta|sun|com\.sun|jdk|kotlin|kotlinx|scala|groovy|org\.(?:springframework|apache|hibernate|mybatis|eclipse|jboss|slf4j|aspectj|postgresql|redisson|mariadb|mongodb"
    r"|bouncycastle|quartz|json|dom4j|jooq|xml|w3c)|com\.(?:fasterxml|google|zaxxer|mysql|rabbitmq|netflix|squareup|thoughtworks|baomidou|oracle|microsoft|ibm)|io\.(?:netty|undertow|lettuce"
    r"|reactivex|micrometer|grpc|opentelemetry|vertx|quarkus|micronaut)|redis\.clients|okhttp3|okio|retrofit2|feign|reactor|net\.(?:bytebuddy|sf)|ch\.qos|brave|zipkin2|cn\.hutool"
    r"|com\.alibaba\.(?:druid|fastjson2?|nacos|dubbo|cloud|csp|excel|ttl)|System|Microsoft|Npgsql|Newtonsoft|Dapper|StackExchange|Polly)[.:$]"
    r"|^(?:runtime|net/http|net|encoding/\w+|crypto/\w+|database/sql|syscall|sync|reflect|fmt|io|os|context)\.|^(?:github\.com|golang\.org|google\.golang\.org|gorm\.io|go\.uber\.org|gopkg\.in)/"
)
_CHANNEL_LIBRARY = r"(?i)^(?:com\.(?:alipay\.api|wechat\.pay|github\.(?:binarywang|wxpay|wechatpay)|stripe|paypal|adyen|mollie|braintreegateway|razorpay|squareup\.square|klarna|checkout)|me\.chanjar\.weixin|Stripe|Adyen|Braintree)\."
# In a folder of libraries, or with a version in its name: a folder of ours may bear a channel's name, too.
_CHANNEL_FILE = r"(?i)(?:packages|node_modules|vendor|gems|mod|lib)[/\\].{0,60}\b(?:stripe|paypal|adyen|mollie|braintree|razorpay|square|alipay|wechatpay|yansongda|overtrue|omnipay)|(?:stripe|paypal|adyen|mollie|braintree|razorpay|square|alipay|wechatpay)[\w-]*-\d+\.\d"
_LIBRARY_FILE = r"(?:site|dist)-packages|[/\\]lib[/\\]python|<frozen|<string>|node_modules|^node:|^internal[/\\]|[/\\]vendor[/\\]|pkg[/\\]mod|/usr/(?:local/)?(?:go|lib)/|[/\\]gems[/\\]|\[internal"
# `com.acme.PayException`, `requests.exceptions.ReadTimeout`, `Stripe\Exception\CardException`, `Net::ReadTimeout` in a line without a trace.
_INLINE = re2.compile(
    r"(?:^|[^\w.$\\])((?:[A-Za-z_$][\w$]*(?:\.|\\|::))*[A-Z][\w$]*(?:Exception|Error|Timeout|Throwable|Interrupted))(?::\s*([^\n]{0,300}))?"
)
_TIER = {"focus": 1.0, "near": 0.85, "ambient": 0.4}
_LEVEL = {"FATAL": 1.0, "ERROR": 1.0, "WARN": 0.9, None: 0.85, "INFO": 0.6, "DEBUG": 0.6, "TRACE": 0.5}
# Without frames nobody can say whose code threw.
_NO_FRAMES = 0.8
_READ = 20_000
_CITES = 5
_MOST = 8
# Different exceptions of spans that are read; the others are counted.
_MOST_READ = 500
_MESSAGE = 120


@dataclass
class _Thrown:
    family: Family
    names: tuple[str, ...]
    message: str
    frames: tuple[Frame, ...]
    weight: float
    service: str | None
    host: str | None
    at: datetime | None
    about_focus: bool
    cites: list[Cited] = field(default_factory=list)
    times: int = 1


def detect(case: Case) -> Seen:
    """One finding for each family and root cause, the firmest first."""
    kept: dict[tuple[str, str], _Thrown] = {}
    in_spans, unread = _in_spans(case)
    for thrown in (*_in_lines(case), *in_spans):
        key = (thrown.family.kind, thrown.names[-1])
        first = kept.setdefault(key, thrown)
        if first is not thrown:
            first.times += thrown.times
            if len(first.cites) < _CITES:
                first.cites += [c for c in thrown.cites if c not in first.cites]
            first.frames = first.frames or thrown.frames
            first.about_focus = first.about_focus or thrown.about_focus
            if len(thrown.names) > len(first.names):
                first.names = thrown.names
            first.weight = max(first.weight, thrown.weight)
    # The same exception told again without its message.
    known = {name for kind, name in kept if kind not in _SILENT}
    kept = {key: thrown for key, thrown in kept.items() if key[0] not in _SILENT or key[1] not in known}
    found = sorted(
        (_finding(case, thrown) for thrown in kept.values()), key=lambda f: (-f.strength, f.kind, f.statement.en)
    )
    return Seen(tuple(found[:_MOST]), (_check(case, found),), max(0, len(found) - _MOST) + unread)


def _check(case: Case, found: list[Found]) -> Check:
    if found:
        statement = Text(
            en=f"exceptions around the order: {len(found)} root causes", zh=f"订单前后的异常：{len(found)} 种根因"
        )
        return Check(id="exceptions", outcome="found", statement=statement)
    if case.silent and not case.focus_spans.num_rows:
        statement = Text(en="exceptions: no line and no span of the order", zh="异常：没有该订单的日志和链路")
        return Check(id="exceptions", outcome="not_evaluated", statement=statement)
    return Check(
        id="exceptions",
        outcome="healthy",
        statement=Text(en="no exception around the order", zh="订单前后没有异常"),
    )


# ---- where they are read


def _in_lines(case: Case) -> Iterator[_Thrown]:
    traces = case.material.logs.column("error.stack_trace")
    # Lines of one template tell of one exception: the first of each is read, the others are counted and cited.
    read: dict[tuple[str, str], _Thrown | None] = {}
    for signal in case.signals:
        same = (signal.template_id, signal.tier)
        if same in read:
            if (first := read[same]) is not None:
                first.times += signal.times
                first.cites.append(signal.cited)
            continue
        text = signal.message[:_READ]
        trace = (traces[signal.row].as_py() or "")[:_READ]
        errors = chain(trace) or chain(text)
        frames = root_frames(trace) or root_frames(text)
        if not any(name for name, _ in errors):
            errors = _named(signal.error_type, signal.error_message, signal.text[:4000]) or errors
        weight = _TIER[signal.tier] * _LEVEL.get(signal.level, 0.85)
        thrown = _read(errors, frames, weight)
        if thrown and thrown.family is _OTHER:
            # What looks like an exception in the message may be a class that it speaks of, and a field beside it tells.
            told = _read(_named(signal.error_type, signal.error_message, text[:4000]), frames, weight)
            thrown = told if told and told.family is not _OTHER else thrown
        read[same] = thrown
        if thrown:
            thrown.service, thrown.host, thrown.at = signal.service, signal.host, signal.at
            thrown.about_focus = signal.tier != "ambient"
            thrown.cites, thrown.times = [signal.cited], signal.times
    yield from (thrown for thrown in read.values() if thrown)


def _in_spans(case: Case) -> tuple[list[_Thrown], int]:
    """What the spans' exceptions tell, and how many spans were not read.

    A trace may hold the same exception a hundred thousand times: it is read once, cited a few times and counted. Of more
    different ones than `_MOST_READ` the first of each type come first.
    """
    spans = case.focus_spans
    spans = spans.filter(spans.column("exception.type").is_valid())
    columns = ("exception.type", "exception.message", "exception.stacktrace")
    codes = [spans.column(name).combine_chunks().fill_null("").dictionary_encode() for name in columns]
    alike: dict[tuple[int, ...], list[int]] = {}
    for row, key in enumerate(zip(*(code.indices.to_pylist() for code in codes), strict=True)):
        alike.setdefault(key, []).append(row)
    groups = list(alike.items())
    if len(groups) > _MOST_READ:
        of_type: Counter[int] = Counter()
        ranks = []
        for key, rows in groups:
            ranks.append((of_type[key[0]], rows[0]))
            of_type[key[0]] += 1
        groups = [groups[place] for place in sorted(range(len(groups)), key=ranks.__getitem__)]
    found: list[tuple[int, _Thrown]] = []
    for key, rows in groups[:_MOST_READ]:
        kind, message, trace = (code.dictionary[place].as_py() for code, place in zip(codes, key, strict=True))
        trace = trace[:_READ]
        thrown = _read(chain(trace) or [(kind, message)], root_frames(trace), 1.0)
        if thrown is None:
            continue
        for row in rows[:_CITES]:
            one = replace(
                thrown,
                service=spans.column("service.name")[row].as_py(),
                host=spans.column("host.name")[row].as_py(),
                at=spans.column("@timestamp")[row].as_py(),
                cites=[case.cite_span(spans, row)],
                times=1 + (len(rows) - _CITES if row == rows[0] and len(rows) > _CITES else 0),
            )
            found.append((row, one))
    found.sort(key=lambda pair: pair[0])
    return [thrown for _, thrown in found], sum(len(rows) for _, rows in groups[_MOST_READ:])


def _named(error_type: str | None, error_message: str | None, text: str) -> list[tuple[str, str]]:
    """The exceptions that a line without a trace names, in its order; Spring's "nested exception is" comes last."""
    found = [(m.group(1), m.group(2) or "") for m in _INLINE.finditer(text)]
    if error_type and not any(_simple(name) == _simple(error_type) for name, _ in found):
        found.insert(0, (error_type, error_message or ""))
    return found


# ---- what they are


@cache
def _compiled() -> tuple[tuple[Family, Any, Any], ...]:
    return tuple(
        (
            family,
            re2.compile(rf"^(?:{family.types})$") if family.types else None,
            re2.compile(rf"(?i){family.words}") if family.words else None,
        )
        for family in _FAMILIES
    )


def family_of(name: str, message: str) -> Family | None:
    """The family of one exception, by its simple name and its message; None where neither is known.

    >>> family_of("java.net.SocketTimeoutException", "Read timed out").subclass
    'timeout_unknown'
    """
    simple, said = _simple(name), f"{name}: {message}"[:600]
    by_word = next((family for family, _, words in _compiled() if words and words.search(said)), None)
    by_type = next((family for family, types, _ in _compiled() if types and types.search(simple)), None)
    if by_word is None or by_type is None:
        return by_word or by_type
    # A general type (ApiException, IllegalStateException) with an exact message is what the message says.
    return min(by_word, by_type, key=_FAMILIES.index)


def _simple(name: str) -> str:
    return str(re2.split(r"[.\\:$]+", name)[-1])


def _read(errors: list[tuple[str, str]], frames: tuple[Frame, ...], weight: float) -> _Thrown | None:
    """What a chain of exceptions tells: its deepest member that is of a known family, else the deepest."""
    errors = [(name, message) for name, message in errors if name or message]
    named = [(name, message, family_of(name, message)) for name, message in errors]
    known = [i for i, (_, _, family) in enumerate(named) if family]
    told = [i for i in known if named[i][2] is not None and named[i][2].supports] or known  # type: ignore[union-attr]
    if not errors or not (any(name for name, _ in errors) or (frames and told)):
        # Without a type only the frames show that something was thrown, and only its words what.
        return None
    at = told[-1] if told else len(errors) - 1
    name, message, family = named[at]
    family = family or _OTHER
    if frames and family.supports == "interface_fault":
        family = _by_frames(frames) or family
    if not frames:
        weight *= _NO_FRAMES
    if family is _OTHER and not frames and _simple(name) in _BARE:
        return None
    names = tuple(_simple(one) or one for one, _ in errors[: at + 1])
    names = tuple(n for n, before in zip(names, ("", *names), strict=False) if n and n != before)
    return _Thrown(family, names or (_simple(name),), message, frames, weight, None, None, None, about_focus=True)


def _by_frames(frames: tuple[Frame, ...]) -> Family | None:
    """A broken connection under a driver's frames is that of a database, a cache or a queue of ours."""
    for frame in frames[:30]:
        for words, kind in (
            (
                r"^com\.mysql|^org\.postgresql|^oracle\.jdbc|^com\.zaxxer|^org\.mariadb|pymysql|psycopg|sqlalchemy|[/\\]pg[/\\]lib|mysql2",
                "exception.db",
            ),
            (r"^redis\.clients|^io\.lettuce|^org\.redisson|ioredis|[/\\]redis[/\\]", "exception.dependency"),
            (r"^com\.rabbitmq|^org\.apache\.(?:kafka|rocketmq|pulsar)|kafkajs|amqplib|[/\\]pika[/\\]", "exception.mq"),
        ):
            if re2.search(words, frame.function) or re2.search(words, frame.file):
                return next(f for f in reversed(_FAMILIES) if f.kind == kind)
    return None


def whose(frame: Frame) -> str:
    """Whose code a frame is: `ours`, `library`, or `channel library`.

    >>> whose(Frame("com.acme.pay.Client.charge", "Client.java", 12)), whose(Frame("java.util.HashMap.get", "HashMap.java", 5))
    ('ours', 'library')
    """
    if re2.search(_CHANNEL_LIBRARY, frame.function) or re2.search(_CHANNEL_FILE, frame.file):
        return "channel library"
    library = re2.search(_NOT_OURS, frame.function) or re2.search(_LIBRARY_FILE, frame.file)
    return "library" if library else "ours"


def _finding(case: Case, thrown: _Thrown) -> Found:
    family, root = thrown.family, thrown.names[-1]
    shown = " <- ".join(thrown.names[-4:])
    said = clip(" ".join(thrown.message.split()), _MESSAGE)
    ours = next((frame for frame in thrown.frames if whose(frame) == "ours"), None)
    top = thrown.frames[0] if thrown.frames else None
    strength = family.strength * thrown.weight
    if family.kind == "exception.code" and thrown.frames and ours is None:
        # Thrown inside a library that nothing of ours called in this trace.
        strength *= 0.7
    place, zh_place = _place(top, ours)
    names, zh_names = (f": {shown}", f"：{shown}") if shown else ("", "")
    count, zh_count = (f", {thrown.times} lines", f"，{thrown.times} 行") if thrown.times > 1 else ("", "")
    quoted, zh_quoted = (f' ("{said}")', f"（{said}）") if said else ("", "")
    return Found(
        kind=family.kind,
        statement=Text(
            en=f"{thrown.service or '-'}: {family.says.en}{names}{quoted}{place}{count}",
            zh=f"{thrown.service or '-'}：{family.says.zh}{zh_names}{zh_quoted}{zh_place}{zh_count}",
        ),
        cites=tuple(thrown.cites[:_CITES]),
        supports=family.supports,
        subclass=family.subclass,
        strength=round(strength, 4),
        service=thrown.service,
        host=thrown.host,
        operation=ours.function if ours and ours.function else None,
        channel=case.channel,
        code=root or None,
        about_focus=thrown.about_focus,
        at=thrown.at,
    )


def _place(top: Frame | None, ours: Frame | None) -> tuple[str, str]:
    if top is None:
        return "", ""
    if ours is None or ours == top:
        return f", thrown in {top}", f"，抛出于 {top}"
    return f", thrown in {top}, called from our {ours}", f"，抛出于 {top}，由我方 {ours} 调用"
