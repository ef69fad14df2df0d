"""A file behind a public http(s) address, fetched once into the cache.

Only public addresses are asked, so that a recipe from somebody else cannot read what stands behind
a firewall: the name is resolved, every address found must be public, and the connection goes to
the address that was checked, at every redirect again. Proxies are not used, because they would
resolve the name themselves. This module knows HTTP. It does not know what is in a file.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http.client import HTTPResponse
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from tunewright.artifacts import locked, read_json, require_space, sha256_file, write_json
from tunewright.config.source_name import shown
from tunewright.data.files import READERS, read_file
from tunewright.data.public_address import Address, CheckedConnection, is_public, resolve
from tunewright.data.table import Table
from tunewright.download import cache_folder
from tunewright.errors import ArtifactError, DataError

MOST_BYTES = 2_000_000_000
"""Largest file that is fetched."""
TIMEOUT = 30.0
"""Seconds without an answer, or without a byte, after which a connection counts as broken."""

_ORIGIN = "origin.json"
_CONTENT = "content"
"""Folder of the file, whose name comes from outside and could be that of another one here."""
_PART = "arriving.part"
_PART_ORIGIN = "arriving.json"
_TRIES = 4
_WAIT = 0.5
"""Seconds between looks at what another process is fetching."""
_REDIRECTS = 5
_CHUNK = 1 << 20
_ENDINGS = {
    "application/json": ".json",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/vnd.apache.parquet": ".parquet",
    "text/plain": ".txt",
    "text/markdown": ".md",
}
_PAGE = re.compile(rb"\s*(?:<!doctype\s+html|<html|<head|<body)", re.IGNORECASE)


def read(url: str) -> Table:
    """Read the data file behind an address.

    Raises:
        DataError: it cannot be fetched, or it is no data file.
    """
    path = fetch(url)
    try:
        return replace(read_file(path), source=shown(url))
    except DataError as error:
        raise DataError(f"{shown(url)} was fetched, but: {error}") from error


def fetch(
    url: str,
    cache: Path | None = None,
    *,
    allowed: Callable[[Address], bool] = is_public,
    most_bytes: int = MOST_BYTES,
    timeout: float = TIMEOUT,
) -> Path:
    """Return the file behind an address from the cache, fetching it when it is not there.

    A fetch that breaks off is tried four times, and goes on where it broke when the server says
    that the file is still the same (Range with If-Range); so does the next call. The file comes
    into the cache by a rename, with its SHA-256 beside it, which is checked at every use. While
    another process fetches the same address, this one waits for it.

    Args:
        url: http or https, without user name or password.
        cache: folder that keeps files. Default: `tunewright.download.cache_folder()`.
        allowed: decides which addresses may be connected to.
        most_bytes: largest file that is taken.
        timeout: seconds without an answer or a byte after which a connection counts as broken.

    Raises:
        DataError: the address is not public or does not answer; the server refuses, answers with
            a web page, or with more than `most_bytes`.
    """
    _refuse_credentials(url)
    key = hashlib.sha256(url.encode()).hexdigest()[:20]
    folder = (cache or cache_folder()) / "web" / key
    while (found := _cached(folder)) is None:
        try:
            with locked(folder):
                if (found := _cached(folder)) is None:
                    found = _Fetch(url, folder, allowed, most_bytes, timeout).run()
                return found
        except ArtifactError:  # another process fetches it; when it ends, its lock goes
            time.sleep(_WAIT)
    return found


def _cached(folder: Path) -> Path | None:
    """The file of an earlier fetch, when it is whole."""
    if not (folder / _ORIGIN).is_file():
        return None
    try:
        origin = read_json(folder / _ORIGIN)
    except ArtifactError:  # damaged: as if it were not there
        return None
    path = folder / _CONTENT / str(origin["file"])
    return path if path.is_file() and sha256_file(path) == origin["sha256"] else None


class _Broken(Exception):  # noqa: N818 - private, always turned into a DataError
    """The connection broke; what has arrived is kept."""


@dataclass
class _Fetch:
    url: str
    folder: Path
    allowed: Callable[[Address], bool]
    most_bytes: int
    timeout: float

    def run(self) -> Path:
        part = self.folder / _PART
        for attempt in range(_TRIES):
            try:
                name = self._attempt(part)
                break
            except _Broken as broken:
                if attempt + 1 == _TRIES:
                    have = part.stat().st_size if part.exists() else 0
                    kept = f" The {have:,} bytes that arrived are kept." if have else ""
                    raise DataError(
                        f"{shown(self.url)} could not be fetched: {broken}.{kept} Check the "
                        "connection and the address, and run the command again."
                    ) from broken
                time.sleep(min(0.2 * 2**attempt, self.timeout))
        target = self.folder / _CONTENT / name
        target.parent.mkdir(exist_ok=True)
        digest = sha256_file(part)
        part.replace(target)
        write_json(
            self.folder / _ORIGIN,
            {
                "url": shown(self.url),
                "file": name,
                "bytes": target.stat().st_size,
                "sha256": digest,
                "fetched": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
        )
        (self.folder / _PART_ORIGIN).unlink(missing_ok=True)
        return target

    def _attempt(self, part: Path) -> str:
        """Fetch what is missing; return the name of the file."""
        have = part.stat().st_size if part.exists() else 0
        validator = _validator(self.folder) if have else ""
        headers = {"Range": f"bytes={have}-", "If-Range": validator} if validator else {}
        with self._open(headers) as (response, final):
            start = self._start(response, have if validator else 0)
            known = response.getheader("Content-Length")
            size = start + int(known) if known and known.isdigit() else None
            if size is not None and size > self.most_bytes:
                raise self._too_large(f"{size:,}")
            require_space(self.folder, (size or 0) - start, "the file")
            write_json(
                self.folder / _PART_ORIGIN,
                {"etag": response.getheader("ETag"), "date": response.getheader("Last-Modified")},
            )
            self._copy(response, part, start, size)
            return _file_name(final, response)

    def _start(self, response: HTTPResponse, have: int) -> int:
        """The byte that an answer begins with; refuses answers that are no data."""
        where = shown(self.url)
        status = response.status
        if status == 206:
            given = re.match(r"bytes (\d+)-", response.getheader("Content-Range") or "")
            if not have or given is None or int(given[1]) != have:
                raise DataError(f"{where} answers with another piece of the file than was asked.")
        elif status == 416 and have:
            (self.folder / _PART).unlink()
            raise _Broken("the file has changed since a part of it arrived")
        elif status in (500, 502, 503, 504, 429):
            raise _Broken(f"the server answers {status} {response.reason}")
        elif status != 200:
            why = {
                401: "It needs a login, which Tunewright does not do; fetch the file by hand.",
                403: "It may need a login, which Tunewright does not do; fetch the file by hand.",
                404: "There is nothing at that address; check it.",
                410: "The file is gone; look for its new address.",
            }.get(status, "Check the address.")
            raise DataError(f"{where} answers {status} {response.reason}. {why}")
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise DataError(
                f"{where} comes compressed ({response.getheader('Content-Encoding')}) though that "
                "was not asked for. Fetch the file by hand."
            )
        if response.getheader("Content-Type", "").lower().startswith("text/html"):
            raise self._web_page()
        return have if status == 206 else 0

    def _copy(self, response: HTTPResponse, part: Path, start: int, size: int | None) -> None:
        at = start
        with part.open("r+b" if start else "wb") as handle:
            handle.seek(start)
            while chunk := _next(response):
                if at == 0 and _PAGE.match(chunk):
                    raise self._web_page()
                at += len(chunk)
                if at > self.most_bytes:
                    raise self._too_large(f"at least {at:,}")
                handle.write(chunk)
            handle.flush()
            os.fsync(handle.fileno())
        if size is not None and at < size:
            raise _Broken(f"the connection ended after {at:,} of {size:,} bytes")

    @contextlib.contextmanager
    def _open(self, headers: Mapping[str, str]) -> Iterator[tuple[HTTPResponse, str]]:
        """The answer behind every redirect, and its address."""
        url = self.url
        asked = {"User-Agent": "tunewright", "Accept": "*/*", "Accept-Encoding": "identity"}
        for _ in range(_REDIRECTS + 1):
            connection = self._connect(urlsplit(url))
            try:
                try:
                    connection.request("GET", _path(url), headers={**asked, **headers})
                    response = connection.getresponse()
                except (OSError, http.client.HTTPException) as error:
                    raise _Broken(_reason(error)) from error
                if response.status not in (301, 302, 303, 307, 308):
                    yield response, url
                    return
                target = response.getheader("Location")
                if not target:
                    raise DataError(f"{shown(url)} redirects to nowhere.")
                following = urljoin(url, target)
                if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
                    raise DataError(
                        f"{shown(url)} redirects to {shown(following)}, which is not encrypted. "
                        "Give that address itself if you trust it."
                    )
                _refuse_credentials(following)
                url = following
            finally:
                connection.close()
        raise DataError(f"{shown(self.url)} redirects more than {_REDIRECTS} times.")

    def _connect(self, url: SplitResult) -> http.client.HTTPConnection:
        if url.scheme not in ("http", "https") or not url.hostname:
            raise DataError(
                f"{shown(url.geturl())} is not an address of http or https with a host."
            )
        secure = url.scheme == "https"
        try:
            port = url.port or (443 if secure else 80)
            addresses = resolve(url.hostname, port)
        except ValueError as error:
            raise DataError(f"{shown(url.geturl())} has a wrong port: {error}.") from error
        except OSError as error:
            raise _Broken(f"the host {url.hostname!r} is not known ({_reason(error)})") from error
        refused = next((a for a in addresses if not self.allowed(a)), None)
        if refused is not None:
            raise DataError(
                f"{shown(url.geturl())} leads to {refused}, which is not a public address. Only "
                "files on the open internet are fetched; copy the file here by hand."
            )
        return CheckedConnection(url.hostname, port, addresses, self.timeout, secure)

    def _too_large(self, size: str) -> DataError:
        (self.folder / _PART).unlink(missing_ok=True)
        return DataError(
            f"{shown(self.url)} has {size} bytes; at most {self.most_bytes:,} are fetched. Fetch "
            "it by hand, and give the file."
        )

    def _web_page(self) -> DataError:
        (self.folder / _PART).unlink(missing_ok=True)
        return DataError(
            f"{shown(self.url)} answers with a web page (HTML), not with data. Give the address of "
            "the file itself, often behind a link called raw or download."
        )


def _next(response: HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from error


def _validator(folder: Path) -> str:
    """What proves to the server which file a part belongs to; a weak ETag does not."""
    path = folder / _PART_ORIGIN
    if not path.is_file():
        return ""
    try:
        origin: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return ""
    etag = origin.get("etag")
    return etag if etag and not etag.startswith("W/") else origin.get("date") or ""


def _refuse_credentials(url: str) -> None:
    if "@" in urlsplit(url).netloc:
        raise DataError(
            f"{shown(url)} holds a user name or password, which Tunewright does not send. Fetch "
            "the file by hand."
        )


def _path(url: str) -> str:
    parts = urlsplit(url)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return f"{path}?{quote(parts.query, safe='/?%:@!$&()*+,;=~-._')}" if parts.query else path


def _file_name(url: str, response: HTTPResponse) -> str:
    """A name with an ending that readers know, from the address or the kind of content."""
    given = response.getheader("Content-Disposition") or ""
    named = re.search(r"filename=\"?([^\";]+)", given)
    last = PurePosixPath(unquote(urlsplit(url).path)).name
    for name in (last, named[1] if named else ""):
        if PurePosixPath(name).suffix.lower() in READERS:
            return re.sub(r"[^\w.-]", "_", name)[-100:]
    kind = response.getheader("Content-Type", "").partition(";")[0].strip().lower()
    return "data" + _ENDINGS.get(kind, "")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return str(error) or type(error).__name__
