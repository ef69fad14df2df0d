"""The `tunewright` command in children of this process, and children that are killed.

A process that has imported everything forks a child for each command, so that a run of a tiny model
takes a second instead of ten. A child can be killed by the clock, or kill itself before its n-th
change of a file, which happens again in the same place each time. This module does not know what is
trained.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
DEADLINE = 180.0
"""Seconds after which a child is taken to hang."""

Plan = Callable[[], None]
"""Done in a child before its command runs."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; minus the signal that ended it.
        seconds: until then.
    """

    code: int
    seconds: float

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


def import_everything() -> None:
    """Import what a run needs, with one thread, so that children can be forked."""
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    import bitsandbytes  # noqa: F401
    import peft.tuners.lora  # noqa: F401
    import transformers.models.auto.modeling_auto
    import transformers.models.bert.modeling_bert
    import transformers.models.llama.modeling_llama  # noqa: F401

    import tunewright.checking
    import tunewright.cli.screen
    import tunewright.models.forward
    import tunewright.pipeline
    import tunewright.train.build
    import tunewright.train.rate_finder  # noqa: F401


def log_of(folder: Path) -> Path:
    """What commands say that work in `folder`: beside it, as the disk that it is on may be full."""
    return folder.with_name(f"{folder.name}.log")


def begin(arguments: Sequence[str], folder: Path, plan: Plan | None = None) -> int:
    """Start the command in a child that works in `folder`; returns the child's id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.chdir(folder)
        log = os.open(log_of(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        import torch

        torch.set_num_threads(1)  # a new pool, before threads that load weights race for one
        if plan is not None:
            plan()
        code = command(arguments)
    except Exception:  # noqa: BLE001 - what a child says ends up in its log
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):  # the disk may be full
            sys.stdout.flush()
        os._exit(code)


def command(arguments: Sequence[str]) -> int:
    """The command in this process; its exit code."""
    from tunewright.cli.app import run

    return run([*arguments, "--json"])


def end(
    child: int, wait: Callable[[], bool] = lambda: False, number: int = signal.SIGKILL
) -> Ended:
    """Wait for a child, and send it a signal once `wait` says so."""
    began = time.monotonic()
    sent = False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        seconds = time.monotonic() - began
        if done:
            return Ended(os.waitstatus_to_exitcode(status), seconds)
        if seconds > DEADLINE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise SystemExit(f"process {child} did not end within {DEADLINE:.0f} seconds")
        if not sent and wait():
            os.kill(child, number)
            sent = True
        time.sleep(0.001)


def forked(arguments: Sequence[str], folder: Path, plan: Plan | None = None) -> Ended:
    """Run the command in a child to its end."""
    return end(begin(arguments, folder, plan))


def in_process(
    arguments: Sequence[str], folder: Path, wait: Callable[[], bool] = lambda: False,
    number: int = signal.SIGKILL,
) -> Ended:  # fmt: skip
    """Run the command in a process of its own, as a shell would."""
    with log_of(folder).open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunewright", *arguments, "--json"],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    ended = end(process.pid, wait, number)
    process.returncode = ended.code
    return ended


def after(seconds: float, until: Callable[[], bool] = lambda: True) -> Callable[[], bool]:
    """Whether so many seconds have passed since `until` was true for the first time."""
    since: list[float] = []

    def asked() -> bool:
        if not since and until():
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= seconds

    return asked


def at_changes(folder: Path, do: Callable[[int], None]) -> Plan:
    """Call `do` before each change of a file or folder below `folder` with its number, from 1.

    Changes are what Python does: libraries in C or Rust write between two of them.
    """

    def install() -> None:
        where = str(folder.resolve())
        seen = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if event == "open":
                path, _, flags = arguments
                if not flags & _WRITING:
                    return
            elif event in _CHANGES:
                path = arguments[0]
            else:
                return
            if isinstance(path, str | os.PathLike) and str(Path(path).absolute()).startswith(where):
                seen += 1
                do(seen)

        sys.addaudithook(hook)

    return install


def killed_at_change(folder: Path, number: int) -> Plan:
    """The child kills itself before its n-th change."""
    return at_changes(
        folder, lambda seen: os.kill(os.getpid(), signal.SIGKILL) if seen == number else None
    )


def counted_changes(folder: Path, counter: Path) -> Plan:
    """Write the number of changes so far into a file outside of `folder`."""

    def install() -> None:
        handle = os.open(counter, os.O_WRONLY | os.O_CREAT)
        at_changes(folder, lambda seen: os.pwrite(handle, f"{seen:9}".encode(), 0) and None)()

    return install
