"""Secrets that a word before them gives away, such as passwords and headers, and tokens that are known by their prefix.

The prefixes are those that issuers document: Stripe, AWS, GitHub, GitLab, Slack, Google, OpenAI, Square, Alibaba Cloud.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from parsers.redaction.markers import marker_of

# A sign of an address's query, once or twice escaped, or one that JSON names by its number.
ESCAPED = r"%(?:25)?[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}"
# "=" or ":", so escaped.
ESCAPED_IS = r"%(?:25)?3[AaDd]|\\u003[AaDd]"
# A key's end and what stands between it and its value, in JSON (also escaped), logfmt, Java maps, YAML and prose.
_SEP = r"\\?[\"']?\s{0,4}(?:[:=]|:|＝|=>)\s{0,4}"

SECRET_KEYS = (
    r"(?:password|passwd|passphrase|pwd|client[_-]?secret|app[_-]?secret|api[_-]?secret|secret[_-]?key|secretkey|secret"  # noqa: S105 - the names of keys
    r"|access[_-]?token|refresh[_-]?token|id[_-]?token|auth[_-]?token|session[_-]?token|csrf[_-]?token|token|api[_-]?key|apikey"
    r"|x-api-key|api[_-]?v[23][_-]?key|mch[_-]?key|pay[_-]?key|merchant[_-]?key|access[_-]?key(?:[_-]?(?:id|secret))?|signing[_-]?key|encrypt(?:ion)?[_-]?key"
    r"|private[_-]?key|aes[_-]?key|hmac[_-]?key|webhook[_-]?secret|session[_-]?key|credentials?|密码|口令|密钥|秘钥)"
)
IS_SIGN = rf"(?:\\?[\"']?\s{{0,3}}(?:[:=：]|{ESCAPED_IS}|=>|是|为|\bis\b)?\s{{0,3}}\\?[\"']?)"


@dataclass(frozen=True)
class Pass:
    """One kind of replacement that needs no checksum: `pattern` becomes `replacement`, which has `marker`."""

    kind: str
    pattern: str
    replacement: str
    marker: str


@cache
def passes() -> tuple[Pass, ...]:
    """The replacements, containers first: a key block, then a header, then a field, then a bare token."""
    # Before a key: a word's start, a joiner, or the small letter of "loginPassword".
    key = rf"((?:\b|_|-|[a-z]|[^\x00-\x7F]|{ESCAPED})(?i:{SECRET_KEYS})"
    start_zh = rf"(^{SECRET_KEYS}"
    quoted, bare = (
        r"\\?\"\s{0,4}:\s{0,4}\\?\")[^\"\\]+",
        rf"\s{{0,4}}(?:[=:：＝]|{ESCAPED_IS})\s{{0,4}})[^\s\"'&,;<>(){{}}\\]+",
    )
    # Either a list of name="value" pairs (WECHATPAY2, Digest, AWS4), or one credential.
    credential = (
        r"(?:[a-z_]+=\\?\"[^\"\\]*\\?\"(?:,\s?[a-z_]+=\\?\"[^\"\\]*\\?\")*"
        r"|[^\s\"'\\,;\[\]{}]{5,}(?:,\s?[a-z_]+=[^\",\s\\]+)*)"
    )
    rules: tuple[tuple[str, str, str], ...] = (
        (
            "private_key",
            r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|$)",
            "",
        ),
        (
            "auth",
            rf"(?i)\b((?:proxy-)?authorization{_SEP}\\?[\"'\[]?)(?:[a-z][a-z0-9-]{{2,30}}\s+)?{credential}",
            r"\1",
        ),
        ("auth", r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9+/_.~-]{16,}=*", r"\1"),
        (
            "cookie",
            rf"(?i)\b((?:set-)?cookie{_SEP}\\?[\"'\[]?)[^\s;,\"'\[\]=\\]+=[^\s;,\"'\]\\]*"
            r"(?:;\s*[^\s;,\"'\[\]=\\]+(?:=[^\s;,\"'\]\\]*)?)*",
            r"\1",
        ),
        ("secret", key + quoted, r"\1"),
        ("secret", rf"{key}{_SEP}\")[^\"]+", r"\1"),
        ("secret", rf"{key}{_SEP}')[^']+", r"\1"),
        ("secret", key + bare, r"\1"),
        ("secret", start_zh + bare, r"\1"),
        ("secret", rf"(<(?i:{SECRET_KEYS})>)(?:<!\[CDATA\[[^\]]*\]\]>|[^<]+)", r"\1"),
        # WeChat signs "...&key=<32 characters>"; a short value after a bare "key" is some map's key.
        ("secret", r"(\b[Kk]ey=)[0-9A-Za-z]{24,}", r"\1"),
        (
            "cvv",
            rf"(?i)\b((?:cvv2?|cvc2?|cvn2?|card[_ ]?security[_ ]?code|security[_ ]?code){IS_SIGN})\d{{3,4}}\b",
            r"\1",
        ),
        ("cvv", rf"((?:安全码|卡背后三位){IS_SIGN})\d{{3,4}}\b", r"\1"),
        ("jwt", r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?", ""),
        # How base64 of an object or a list begins: {" and [{", with or without a blank or a line's end between.
        ("encoded", r"\b(?:eyJ|eyAi|ewogI|ew0KI|W3si|WyJ)(?:[A-Za-z0-9+/_-]|%2[BbFf]){16,}(?:=|%3[Dd]){0,2}", ""),
        (
            "api_key",
            r"\b(?:(?:sk|rk)_(?:live|test)_[0-9A-Za-z]{10,}|whsec_[0-9A-Za-z+/=]{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}"
            r"|gh[pousr]_[0-9A-Za-z]{30,}|github_pat_[0-9A-Za-z_]{30,}|glpat-[0-9A-Za-z_-]{20,}|xox[abposr]-[0-9A-Za-z-]{10,}"
            r"|AIza[0-9A-Za-z_-]{35}|sk-[0-9A-Za-z_-]{32,}|EAAA[0-9A-Za-z_-]{50,}|LTAI[0-9A-Za-z]{12,26})",
            "",
        ),
        (
            "email",
            r"\b[0-9A-Za-z][0-9A-Za-z._%+-]{0,63}@[0-9A-Za-z](?:[0-9A-Za-z-]{0,62}\.){1,8}[A-Za-z]{2,24}\b",
            "",
        ),
        (
            "email",
            r"\b[0-9A-Za-z][0-9A-Za-z._+-]{0,63}(?:%(?:25)?40|\\u0040|&#64;)[0-9A-Za-z](?:[0-9A-Za-z-]{0,62}\.){1,8}[A-Za-z]{2,24}\b",
            "",
        ),
    )
    url = Pass(
        "secret", r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/:@\"'\[\]]*:[^\s/@\"'\[\]]+@", r"\1[secret]@", marker_of("secret")
    )
    return (url, *(Pass(kind, pattern, kept + marker_of(kind), marker_of(kind)) for kind, pattern, kept in rules))


@cache
def hints() -> str:
    """Whether a line may hold anything that `passes` takes out: a superset, cheap to look for."""
    return (
        r"(?i)PRIVATE KEY|authorization|bearer|basic\s|cookie|://[^\s/]*@|pass|pwd|secret|token|key|credential|cvv|cvc|cvn|security.?code"
        r"|eyJ|eyAi|ewogI|ew0KI|W3si|WyJ|[sr]k_|whsec_|AKIA|ASIA|gh[pousr]_|github_pat|glpat|xox|AIza|sk-|EAAA|LTAI"
        r"|@|%(?:25)?40|\\u0040|&#64;|密码|口令|密钥|秘钥|安全码|三位"
    )
