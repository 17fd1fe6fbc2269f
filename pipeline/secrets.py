"""Which values of a configuration are secrets, and addresses without theirs."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from pipeline.config import Config, join_key

_SECRET = re.compile(
    r"passw|passphrase|secret|token|bearer|credential|private_?key|authorization|cookie|(^|_)(pwd|auth|api_?key)($|_)",
    re.IGNORECASE,
)
# fsspec chains addresses: `simplecache::ftp://host/folder`.
_URL = re.compile(r"(?P<scheme>(?:[A-Za-z][\w+.-]*::)*[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>.*)", re.DOTALL)
# A password may hold an unquoted "/", "?" or "#", which SQLAlchemy takes: it goes on to the last "@" of the address.
_LOGIN = re.compile(r"[^/?#@:]*(?::(?P<secret>[^@]*))?@(?:[^?#]*@)?")
_PARAMETER = re.compile(r"[?&;](?P<name>[^=&;#?]+)=(?P<value>[^&;#]+)")


def is_secret(key: str) -> bool:
    """Whether a key of that name holds a secret.

    >>> is_secret("api_key"), is_secret("key_fields")
    (True, False)
    """
    return bool(_SECRET.search(key)) and not key.endswith(("_file", "_path"))


def plain_secrets(config: Config) -> list[str]:
    """The keys of the file that hold a secret in plain text instead of `${NAME}` or `${file:PATH}`."""
    found: list[str] = []

    def look(value: Any, path: str, *, secret: bool) -> None:
        if isinstance(value, dict):
            # The address of a chat is its secret.
            told = re.search(r"(?:^|\.)notify\.[^.]*$", path) is not None
            for key, inner in value.items():
                look(inner, join_key(path, key), secret=secret or is_secret(key) or (told and key == "url"))
        elif isinstance(value, list):
            for inner in value:
                look(inner, path, secret=secret)
        elif (
            isinstance(value, str)
            and value
            and ((secret and "${" not in value) or any("${" not in one for one in secrets_in(value)))
        ):
            found.append(path)

    look(config.tree, "", secret=False)
    return list(dict.fromkeys(found))


def secrets_in(text: str) -> list[str]:
    """The password and the secret parameters of an address; nothing where `text` is none."""
    url = _URL.match(text)
    if url is None:
        return []
    login = _LOGIN.match(url["rest"])
    # `host:9200/a@b` has a port there.
    password = login["secret"] if login and not re.match("[0-9]+/", login["secret"] or "") else None
    parameters = [one["value"] for one in _PARAMETER.finditer(url["rest"]) if is_secret(unquote(one["name"]))]
    return [password, *parameters] if password else parameters


def without_login(text: str) -> str:
    """An address without user, password, query and fragment, as it may be shown; any other text as it is.

    >>> without_login("postgresql://me:p/w@db:5432/shop?password=one"), without_login("a@b")
    ('postgresql://db:5432/shop', 'a@b')
    """
    url = _URL.match(text)
    return url["scheme"] + re.split("[?#]", _LOGIN.sub("", url["rest"], count=1))[0] if url else text
