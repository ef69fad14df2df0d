"""What is kept beside finished weights so that using them needs no flags.

This module knows one small file, and the renderer that follows from it. It does not know how models
are loaded.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewright.artifacts import write_json
from tunewright.config.task import Task
from tunewright.data.render import Renderer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

TASK_FILE = "tunewright.json"
"""Beside finished weights: the task, the labels and the input settings they were trained with,
so that using the model needs no flags."""


NEW_HEADS = ("score", "classifier", "pooler", "pre_classifier", "head", "classification_head",
             "qa_outputs")  # fmt: skip
"""Names that transformers gives to newly made heads."""
HEADS = ("lm_head", *NEW_HEADS)
"""Heads are trained or tied, and never quantized."""
_NOT_QUANTIZED = [rf"(.*\.)?{name}" for name in HEADS]
"""The same as patterns from the start of a module's name: a pooler stands inside the base."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the linear layers of a frozen base are kept.

    Attributes:
        bits: 4 or 8.
        quant_type: `nf4` or `fp4`, for 4 bits.
        double: quantize the scales of 4-bit blocks too.
    """

    bits: int
    quant_type: str = "nf4"
    double: bool = True

    def for_transformers(self, dtype: torch.dtype) -> Any:
        """The configuration that `from_pretrained` takes; products are made in `dtype`."""
        from transformers import BitsAndBytesConfig

        if self.bits == 8:
            return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=_NOT_QUANTIZED)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.quant_type,
            bnb_4bit_use_double_quant=self.double,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=_NOT_QUANTIZED,  # the name is old: it holds for 4 bits too
        )


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How answers are looked for in a text.

    Attributes:
        doc_stride: tokens that neighbouring windows share.
        longest: tokens of an answer at most.
        may_be_none: whether a text may have no answer.
    """

    doc_stride: int = 128
    longest: int = 30
    may_be_none: bool = False


@dataclass(frozen=True, slots=True)
class InputSettings:
    """How rows became tokens in training, kept beside the weights.

    Attributes:
        task: what the model was trained for.
        max_length: longest row in tokens.
        template: `chat`, `plain` or `seq2seq` for generative tasks.
        labels: class names in the order of the model's outputs.
        base: the base as the recipe named it.
        quantization: how the base was kept while its adapter was trained.
        source_prefix: text before every source, for encoder-decoder models.
        system: system message of conversations that have none.
        answers: how answers are looked for, for models that point at them.
    """

    task: Task
    max_length: int
    template: str
    labels: tuple[str, ...]
    base: str
    quantization: Quantization | None = None
    source_prefix: str = ""
    system: str = ""
    answers: AnswerSettings = field(default_factory=lambda: AnswerSettings())

    def renderer(self, tokenizer: PreTrainedTokenizerFast) -> Renderer:
        """What turns records into tokens as in training."""
        return Renderer(
            tokenizer,
            self.task,
            self.max_length,
            self.template,
            self.labels,
            self.source_prefix,
            self.system,
            self.answers.doc_stride,
        )


def write_settings(folder: Path, settings: InputSettings, dtype: str) -> None:
    """Write the input settings beside the weights."""
    write_json(
        folder / TASK_FILE,
        {
            "task": settings.task.value,
            "max_length": settings.max_length,
            "template": settings.template,
            "labels": list(settings.labels),
            "base": settings.base,
            "dtype": dtype,
        }
        | ({"quantization": asdict(settings.quantization)} if settings.quantization else {})
        | ({"source_prefix": settings.source_prefix} if settings.source_prefix else {})
        | ({"system": settings.system} if settings.system else {})
        | (
            {"answers": asdict(settings.answers)}
            if settings.task is Task.QUESTION_ANSWERING
            else {}
        ),
    )


def read_settings(folder: Path) -> InputSettings | None:
    """The input settings in `folder`, or None when another program made the model."""
    path = folder / TASK_FILE
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    kept = content.get("quantization")
    return InputSettings(
        Task(content["task"]),
        content["max_length"],
        content["template"],
        tuple(content["labels"]),
        content["base"],
        Quantization(**kept) if kept else None,
        content.get("source_prefix", ""),
        content.get("system", ""),
        AnswerSettings(**content.get("answers", {})),
    )


def adapter_dtype(folder: Path) -> str:
    """The dtype of the base that an adapter was trained on."""
    config = (
        json.loads((folder / TASK_FILE).read_text(encoding="utf-8"))
        if (folder / TASK_FILE).is_file()
        else {}
    )
    return str(config.get("dtype", "float32"))
