"""Folders that say what they are: a payload and a `manifest.json`.

A manifest is written before the work starts and again when it ends, so a folder left by a
crash says what it was doing. This module knows folders, hashes, atomic writes and locks. It
does not know what is in a payload.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tunewright.errors import ArtifactError, SpaceError

MANIFEST = "manifest.json"
LOCK = ".lock"
Status = Literal["running", "done", "failed", "interrupted"]

_REPORTED_PACKAGES = (
    "tunewright",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "scikit-learn",
    "numpy",
)


def atomic_write(path: Path, content: str | bytes | Iterable[str]) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never half.

    Args:
        path: its folder is made when missing.
        content: all of it, or its pieces, which are written one by one.

    Raises:
        SpaceError: the disk is full. The old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pieces = (content,) if isinstance(content, str | bytes) else content
    needed = 0
    try:
        with temporary.open("wb") as handle:
            for piece in pieces:
                data = piece.encode("utf-8") if isinstance(piece, str) else piece
                needed += len(data)
                handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if is_full_disk(error):
            raise SpaceError(
                f"The disk is full: {path} needs {needed:,} bytes or more. Free some room or "
                "choose another folder."
            ) from error
        raise


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically. Keys keep their order."""
    atomic_write(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON file.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is not there.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is damaged: {error}.") from error


def sha256_file(path: Path) -> str:
    """SHA-256 of one file, as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder` but its manifest, by relative path, sorted."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in files}


def sync(path: Path) -> None:
    """Make sure the disk has a file or a folder: a rename alone does not survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_unfinished(folder: Path) -> None:
    """Delete what processes that were killed left half-written in `folder`, which is locked."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def is_full_disk(error: BaseException) -> bool:
    """Whether an exception says that a disk is full. Libraries in Rust say it in words only."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    words = f"(os error {errno.ENOSPC})", f"(os error {errno.EDQUOT})"
    return any(said in str(error) for said in words)


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Refuse early when the disk that holds `folder` has less than `needed` bytes free.

    Raises:
        SpaceError: names what is needed, what is free, and what to do.
    """
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise SpaceError(
            f"{purpose} needs about {needed / 1e9:.2f} GB in {folder}, but the disk has "
            f"{free / 1e9:.2f} GB free. Free some room or choose another output folder."
        )


def environment() -> dict[str, Any]:
    """Package versions and hardware, for a manifest. Imports no heavy library."""
    import psutil

    versions = {}
    for package in _REPORTED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "python": platform.python_version(),
        "packages": versions,
        "system": platform.platform(),
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass
class Artifact:
    """A folder with a payload and a manifest.

    Attributes:
        folder: where it is.
        kind: what the payload is (`data`, `run`, `evaluation`, `report`, ...).
        config: everything needed to make the payload again.
        parents: SHA-256 of each input, by name.
        status: `running` until the work ends.
        results: what the work found, small enough to read in the manifest.
    """

    folder: Path
    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    status: Status = "running"
    results: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    started: float = field(default_factory=time.time)
    seconds: float | None = None
    machine: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        folder: Path,
        kind: str,
        config: Mapping[str, Any],
        parents: Mapping[str, str] | None = None,
        seed: int | None = None,
        results: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """Make the folder and write its manifest with status `running`.

        Raises:
            ArtifactError: `folder` is a file.
        """
        if folder.is_file():
            raise ArtifactError(f"{folder} is a file; a folder is needed. Choose another path.")
        artifact = cls(folder, kind, dict(config), dict(parents or {}), seed, machine=environment())
        artifact.results |= dict(results or {})
        folder.mkdir(parents=True, exist_ok=True)
        artifact.write()
        return artifact

    @classmethod
    def open(cls, folder: Path, kind: str | None = None) -> Artifact:
        """Read the manifest of an existing folder.

        Raises:
            ArtifactError: there is no manifest, or it is of another kind.
        """
        if not (folder / MANIFEST).is_file() and (folder / LOCK).is_file():
            raise ArtifactError(
                f"What was begun in {folder} was stopped before anything was written. Begin it "
                "again with the command that you began it with."
            )
        if not (folder / MANIFEST).is_file():
            raise ArtifactError(
                f"{folder} has no {MANIFEST}, so it is not a folder that Tunewright wrote. "
                "Check the path."
            )
        content = read_json(folder / MANIFEST)
        if kind is not None and content["kind"] != kind:
            raise ArtifactError(
                f"{folder} holds a {content['kind']!r} artifact; a {kind!r} one is needed."
            )
        known = {name for name in cls.__dataclass_fields__ if name != "folder"}
        return cls(folder, **{key: value for key, value in content.items() if key in known})

    def write(self) -> None:
        """Write the manifest as it is now, atomically."""
        content = {key: value for key, value in vars(self).items() if key != "folder"}
        write_json(self.folder / MANIFEST, content)

    def finish(self, status: Status = "done", *, error: str | None = None, **results: Any) -> None:
        """Set the final status and results, and the seconds since the start."""
        self.status = status
        self.error = error
        self.results.update(results)
        self.seconds = round(time.time() - self.started, 3)
        self.write()

    @contextlib.contextmanager
    def recording(self) -> Iterator[Artifact]:
        """Mark the artifact `failed` with the error when the block raises, and re-raise."""
        try:
            yield self
        except BaseException as error:
            if self.status == "running":
                with contextlib.suppress(SpaceError):  # a full disk is what it failed of
                    self.finish("failed", error=f"{type(error).__name__}: {error}")
            raise


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold `folder` for this process. The lock goes when the process ends, however it ends.

    Args:
        folder: made when missing.
        wait: until nobody else holds it, instead of an error.

    Raises:
        ArtifactError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise ArtifactError(
                f"{folder} is in use by process {holder}. Wait for it, stop it, or choose another "
                "output folder."
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
