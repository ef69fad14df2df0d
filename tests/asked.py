"""What tests of judging share: keys that a person presses, and models told apart by answers."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tunewright.cli.app import run
from tunewright.evaluate import people


def presser(monkeypatch: pytest.MonkeyPatch, words: Sequence[str]) -> Callable[..., int]:
    """A function that runs the command with keys from a pipe, and further words behind."""

    def keys(pressed: str, *more: str) -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO(pressed))
        return run([*words, *more])

    return keys


def name_answers(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let each model say its name: random weights say bytes that read alike.

    Each model is asked once, however often a command is called.
    """
    models = iter(names)

    def generated(model: Any, tokenizer: Any, prompts: list[Any], *_: Any, **__: Any) -> list[str]:
        name = next(models)
        return [f"{name} says {i}" for i in range(len(prompts))]

    monkeypatch.setattr(people, "generate", generated)
