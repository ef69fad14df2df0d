"""Loading bases and finished models for a task.

Only safetensors are read, and code that comes with a model is never run. This module knows
transformers and PEFT. It does not know training.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewright.config.task import Task
from tunewright.data.layout import pick_template
from tunewright.errors import ModelError
from tunewright.models.catalogue import model_folder
from tunewright.models.device import pick_device
from tunewright.models.dropout import dropout_settings
from tunewright.models.input_settings import (
    InputSettings,
    Quantization,
    adapter_dtype,
    read_settings,
)
from tunewright.models.inspect import ModelFacts, inspect_model
from tunewright.models.pooling_layer import make_pooling_layer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_PROBLEM = {
    Task.CLASSIFICATION: "single_label_classification",
    Task.MULTILABEL: "multi_label_classification",
    Task.REGRESSION: "regression",
}


_OUTPUTS = {Task.REGRESSION: 1, Task.QUESTION_ANSWERING: 2}
"""Outputs of heads that have no classes: a number; where an answer begins, and where it ends."""


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence progress bars and the notice about newly made heads while a model loads."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load the fast tokenizer in `folder`.

    Raises:
        ModelError: there is none, or it has no end-of-text or padding token.
    """
    from transformers import AutoTokenizer

    try:
        with quiet_loading():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} has no tokenizer that can be read: {_first_line(error)} A model folder "
            "needs tokenizer.json beside its weights."
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(f"The tokenizer in {folder} has no tokenizer.json (a fast tokenizer).")
    if tokenizer.pad_token is None:
        # Harmless: what is trained is decided by position, never by the identity of a token.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise ModelError(f"The tokenizer in {folder} has no padding, end-of-text or unknown token.")
    return tokenizer


def load_base(
    facts: ModelFacts,
    task: Task,
    labels: Sequence[str],
    dtype: torch.dtype,
    *,
    dropout: float | None = None,
    quantization: Quantization | None = None,
    device: torch.device | None = None,
    pooled: bool = False,
) -> PreTrainedModel:
    """Load a base with the head that the task needs.

    Args:
        facts: of the base's folder.
        task: decides the head: a language-model head for generative tasks, none for embeddings,
            two outputs a token for answers in texts, otherwise a new classification head with
            `len(labels)` outputs (one for regression), of the whole row or, for tags, of each
            token.
        labels: class names in output order.
        dtype: of the weights.
        dropout: overrides every dropout of the base. Default: the base's own.
        quantization: keep the linear layers in few bits; the head stays as it is.
        device: where quantized weights go, which cannot be moved later. Default: the CPU.
        pooled: give an encoder with a classification head a layer more, which pools
            (`models.pooling_layer`).

    Raises:
        ModelError: the base cannot do the task.
    """

    check_task(facts, task)
    common: dict[str, Any] = {
        "dtype": dtype,
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    if quantization is not None:
        common["quantization_config"] = quantization.for_transformers(dtype)
        common["device_map"] = {"": str(device or "cpu")}
        logging.getLogger("bitsandbytes.autograd._functions").addFilter(_is_no_cast)
    if dropout is not None:
        common |= dropout_settings(facts, dropout)
    if not task.has_new_head:
        return _from_pretrained(model_class(facts, task), facts.folder, common)
    outputs = _OUTPUTS.get(task, len(labels))
    common |= {"num_labels": outputs, "ignore_mismatched_sizes": True}
    if pooled:
        common["num_hidden_layers"] = facts.layers + 1
    if task in _PROBLEM:
        common["problem_type"] = _PROBLEM[task]
    if task not in _OUTPUTS:
        common["id2label"] = dict(enumerate(labels))
        common["label2id"] = {label: i for i, label in enumerate(labels)}
    model = _from_pretrained(model_class(facts, task), facts.folder, common)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = load_tokenizer(facts.folder).pad_token_id
    if pooled:
        make_pooling_layer(model)
    return model


def _is_no_cast(record: logging.LogRecord) -> bool:
    """False for what 8-bit layers of bitsandbytes say in every pass, of how they work."""
    return "inputs will be cast" not in record.getMessage()


def check_task(facts: ModelFacts, task: Task) -> None:
    """Refuse a base that cannot do a task. Loads no weights.

    Raises:
        ModelError: says which kind of model can.
    """
    if facts.kind == "encoder-decoder" and task is not Task.INSTRUCTION:
        raise ModelError(
            f"{facts.folder} is an encoder-decoder model ({facts.architecture}), which turns a "
            f"source into a target: task instruction. Task {task.value!r} needs "
            f"{'a decoder' if task is Task.TEXT else 'an encoder or a decoder'}."
        )
    if facts.kind == "encoder-decoder":
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES as KNOWN,
        )

        if facts.architecture not in KNOWN:
            raise ModelError(
                f"{facts.folder} is a {facts.architecture} model, which does not turn text into "
                f"text. Encoder-decoder models that do: {', '.join(sorted(KNOWN)[:8])} and others."
            )
    if task.is_generative and facts.kind == "encoder":
        raise ModelError(
            f"{facts.folder} is an encoder ({facts.architecture}); task {task.value!r} needs a "
            "decoder such as smollm2-135m-instruct. For labels use task: classification."
        )
    if task is Task.QUESTION_ANSWERING:
        _check_question_answering(facts)
    if task is Task.EMBEDDING and facts.kind != "encoder":
        raise ModelError(
            f"{facts.folder} is a {facts.kind} ({facts.architecture}), whose tokens see only "
            "those before them; task 'embedding' needs an encoder such as all-minilm-l6-v2."
        )


def _check_question_answering(facts: ModelFacts) -> None:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES as KNOWN,
    )

    if facts.kind != "encoder" or facts.architecture not in KNOWN:
        raise ModelError(
            f"{facts.folder} is a {facts.architecture} model ({facts.kind}), which cannot point at "
            "answers in a text; task 'question_answering' needs an encoder such as "
            "all-minilm-l6-v2. To write answers, use task: instruction."
        )


def model_class(facts: ModelFacts, task: Task) -> Any:
    """The class of transformers that loads a model with the head of a task."""
    from transformers import (
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForQuestionAnswering,
        AutoModelForSeq2SeqLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

    if task.is_generative:
        return AutoModelForSeq2SeqLM if facts.kind == "encoder-decoder" else AutoModelForCausalLM
    if task is Task.EMBEDDING:
        return AutoModel
    if task is Task.QUESTION_ANSWERING:
        return AutoModelForQuestionAnswering
    tags = task is Task.TOKEN_CLASSIFICATION
    return AutoModelForTokenClassification if tags else AutoModelForSequenceClassification


def _from_pretrained(auto: Any, folder: Path, options: dict[str, Any]) -> PreTrainedModel:
    try:
        with quiet_loading():
            model: PreTrainedModel = auto.from_pretrained(folder, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder} could not be loaded: {_first_line(error)}") from error
    _keep_4bit_layout(model)
    return model


def _keep_4bit_layout(model: Any) -> None:
    """Keep bitsandbytes from packing 4-bit weights anew when a model on a CPU is first scored.

    On processors with bfloat16 its layers do so, round their scales, and from then on hand no
    gradient down; and they fail where a layer is narrower than a block.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


@dataclass(slots=True)
class Finished:
    """A model ready to answer: weights, tokenizer and how its rows are laid out."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    settings: InputSettings
    facts: ModelFacts


def load_finished(
    name: str,
    task: Task | None = None,
    *,
    device: str = "auto",
    max_length: int | None = None,
    dtype: torch.dtype | None = None,
) -> Finished:
    """Load a finished run, a plain transformers model or a PEFT adapter, ready to predict.

    Args:
        name: folder, catalogue name or hub id.
        task: needed only where the folder does not say it and its head does not either.
        device: `auto`, `cpu`, `cuda` or `mps`.
        max_length: overrides what the folder says.
        dtype: of the weights. Default: that of the file, and of an adapter's training.

    Raises:
        ModelError: no such model, or it does not fit the task.
    """

    folder = model_folder(name)
    facts = inspect_model(folder)
    base = inspect_model(model_folder(facts.base)) if facts.base is not None else facts
    settings = read_settings(folder) or _guess_settings(facts.base or name, base, task)
    if task is not None and task is not settings.task:
        raise ModelError(
            f"{name} was trained for {settings.task.value!r}, not {task.value!r}. Evaluate it on "
            "data of its own task."
        )
    if facts.is_adapter:
        from peft import PeftModel

        from tunewright.models.adapter_dtype import give_base_dtype
        from tunewright.models.lora_linear import speed_up_lora

        inner = load_below_adapter(folder, base, settings, device=device, dtype=dtype)
        with quiet_loading():
            model = PeftModel.from_pretrained(inner, folder)
        give_base_dtype(model, inner.dtype)
        speed_up_lora(model)
    else:
        auto = model_class(facts, settings.task)
        options = {"dtype": dtype or "auto", "use_safetensors": True}
        model = _from_pretrained(auto, folder, options)
    if settings.quantization is None:
        model.to(pick_device(device))
    model.eval()
    if max_length is not None:
        settings = replace(settings, max_length=max_length)
    return Finished(model, load_tokenizer(tokenizer_folder(folder, base)), settings, facts)


def load_below_adapter(
    folder: Path,
    base: ModelFacts,
    settings: InputSettings,
    *,
    device: str = "auto",
    dtype: torch.dtype | None = None,
) -> PreTrainedModel:
    """The base of an adapter, in the numbers and bits that the adapter was trained on.

    Args:
        folder: of the adapter.
        base: facts of its base.
        settings: of the adapter.
        device: where a quantized base goes. Others stay on the CPU.
        dtype: of the weights. Default: that of the adapter's training.
    """
    import torch

    return load_base(
        base,
        settings.task,
        settings.labels,
        dtype or getattr(torch, adapter_dtype(folder)),
        quantization=settings.quantization,
        device=pick_device(device),
    )


def tokenizer_folder(folder: Path, base: ModelFacts) -> Path:
    """Where the tokenizer of a model is: beside its weights, or for some adapters with the base."""
    return folder if (folder / "tokenizer.json").is_file() else base.folder


def _guess_settings(name: str, facts: ModelFacts, task: Task | None) -> InputSettings:
    """Settings of a model that Tunewright did not train, from its configuration."""
    folder = facts.folder
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architectures = " ".join(config.get("architectures") or [])
    labels: tuple[str, ...] = ()
    if "ForSequenceClassification" in architectures:
        names = config.get("id2label") or {}
        labels = tuple(names[key] for key in sorted(names, key=int))
        problem = config.get("problem_type")
        found = next((t for t, p in _PROBLEM.items() if p == problem), Task.CLASSIFICATION)
        if found is Task.REGRESSION or len(labels) == 1:
            found, labels = Task.REGRESSION, ()
    elif "ForTokenClassification" in architectures:
        names = config.get("id2label") or {}
        labels = tuple(names[key] for key in sorted(names, key=int))
        found = Task.TOKEN_CLASSIFICATION
    elif "ForQuestionAnswering" in architectures:
        found = Task.QUESTION_ANSWERING
    elif facts.kind == "encoder-decoder":
        check_task(facts, Task.INSTRUCTION)
        found = Task.INSTRUCTION
    elif facts.kind == "decoder":
        found = task if task is not None and task.is_generative else Task.INSTRUCTION
    elif task is Task.EMBEDDING:
        found = Task.EMBEDDING
    else:
        raise ModelError(
            f"{name} has no classification head, so it cannot answer by itself. Fine-tune it "
            "first: `tunewright init --data FILE`, then `tunewright train`. Only pairs of texts "
            "(task embedding) can be scored as it is."
        )
    tokenizer = load_tokenizer(folder)
    template = pick_template("auto", tokenizer, found, facts.kind)
    return InputSettings(found, min(facts.max_length, 1024), template, labels, name)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
