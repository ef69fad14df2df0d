"""How a source is written: the limit behind it, and the secrets in it that nobody may see.

This module knows the form of the string. It does not know what is read.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

HIDDEN = "***"
"""What stands in the place of a secret."""

_LIMIT = re.compile(r"^(?P<name>.*\S)\s*#(?P<rows>\d+)$", re.DOTALL)
_SCHEME = re.compile(r"^[a-z][a-z0-9_+.-]*://", re.IGNORECASE)
_PASSWORD = re.compile(r"(?<=://)(?P<user>[^:/@]*):(?P<password>[^@]*)@")
_WEB = re.compile(r"^https?://", re.IGNORECASE)
_WEB_PASSWORD = re.compile(r"(?<=://)(?P<user>[^:/@]*):(?P<password>[^@/?#]*)@")
_USER = re.compile(r"[^:/@]*:(?!:|\d+(?:/|::|$))[^@]*@")
"""User name and password; digits behind a colon are the port of a host."""
_BRACKETS = re.compile(r"[^/\[\]]*\[[^\]]*\]")
_VARIABLE = re.compile(r"\$\{?\w+\}?")
_SECRET = re.compile(
    r"(?P<key>[?&](?:\w*(?:password|passwd|pwd|token|secret|signature|credential)"
    r"|(?:x-amz-)(?:signature|credential|security-token)|sig|api_?key|key)=)(?P<value>[^&#:\s]+)",
    re.IGNORECASE,
)


def is_address(source: str) -> bool:
    """Whether a source begins like an address: `scheme://`."""
    return _SCHEME.match(source) is not None


def is_web_address(source: str) -> bool:
    """Whether a source is an address of http or https."""
    return _WEB.match(source) is not None


def split_limit(source: str) -> tuple[str, int | None]:
    """Cut the limit off a source: `rows.jsonl#500` is `rows.jsonl` and 500.

    What stands behind the last `#` is a limit only when it is all digits.
    """
    found = _LIMIT.match(source)
    return (found["name"], int(found["rows"])) if found else (source, None)


def shown(source: str) -> str:
    """A source without its secrets, for messages, names, recipes and manifests.

    The password of an address and the values of keys such as `token=` become `***`. A password
    that is the name of an environment variable (`$DB_PASSWORD`) is no secret and stays.
    """
    if not is_address(source):
        return source
    web = is_web_address(source)
    address, divider, rest = (source, "", "") if web else _divided(source)

    def hidden(found: re.Match[str]) -> str:
        kept = _VARIABLE.fullmatch(found["password"]) or not found["password"]
        return f"{found['user']}:{found['password'] if kept else HIDDEN}@"

    masked = (_WEB_PASSWORD if web else _PASSWORD).sub(hidden, address, count=1)
    masked = _SECRET.sub(lambda m: f"{m['key']}{HIDDEN}", masked)
    return f"{masked}{divider}{rest}"


def short_name(source: str) -> str:
    """A name for files and folders made from a source: what it holds, not how it is reached.

    The last part of a path or an address without its ending, the table of a database (of a query:
    the database), the name of a hub id.
    """
    name, _ = split_limit(source)
    if is_web_address(name):
        name = re.sub(r"[?#].*", "", name)
    elif is_address(name):
        address, wanted = _divided(name)[::2]
        name = wanted if re.fullmatch(r"\s*[\w.]+\s*", wanted) else re.sub(r"\?.*", "", address)
        name = name.rpartition(".")[2] if name is wanted else name
    else:
        name = name.partition(":")[0].partition("[")[0]
    stem = PurePosixPath(name.rstrip("/")).stem
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "model"


def divide(source: str) -> tuple[str, str]:
    """The address of a database and what is read from it: the two sides of the first `::`.

    An address of IP version 6 stands in brackets, where `::` divides nothing.
    """
    address, _, rest = _divided(source)
    return address, rest.strip()


def _divided(source: str) -> tuple[str, str, str]:
    start = source.find("://") + 3
    if found := _USER.match(source, start):
        start = found.end()
    if found := _BRACKETS.match(source, start):
        start = found.end()
    cut = source.find("::", start)
    if cut < 0:
        return source, "", ""
    return source[:cut], "::", source[cut + 2 :]
