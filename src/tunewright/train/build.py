"""From a checked recipe to what the loop needs: the model on its device, and its weights on disk.

This module knows how a trained model is put together, saved and read back. It does not know the
run's folder or when anything happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewright.config.optimization import Optimizer
from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.config.task import Task
from tunewright.data.example import Example
from tunewright.data.label_pairs import label_pairs
from tunewright.data.render import Renderer
from tunewright.data.task_prompts import mixed_names
from tunewright.data.token_store import targets_of
from tunewright.errors import ArtifactError
from tunewright.metrics import get_metric
from tunewright.models.adapters import apply_method
from tunewright.models.cpu_attention import speed_up_attention
from tunewright.models.cpu_dropout import speed_up_dropout
from tunewright.models.device import limit_threads, pick_device
from tunewright.models.few_bits import pretend_few_bits
from tunewright.models.first_token import read_first_token
from tunewright.models.gated_mlp import shrink_gates
from tunewright.models.input_settings import NEW_HEADS, write_settings
from tunewright.models.load import load_base
from tunewright.models.memory import keep_freed_memory
from tunewright.models.pissa import as_plain_lora, initial_factors
from tunewright.models.prefix_start import start_prefix
from tunewright.models.rms_norm import speed_up_norms
from tunewright.train.checkpoint import LoopState, save_checkpoint
from tunewright.train.loop import Job
from tunewright.train.optim import MasterAdamW, make_groups
from tunewright.train.prepare import Prepared
from tunewright.train.rates import hidden_matrices, make_unfreezing, rate_shares
from tunewright.train.row_adamw import sparse_tables
from tunewright.train.validate import metrics_of
from tunewright.train.watch import Diagnosis, random_prefix
from tunewright.train.weight_rules import PullToStart, ShrinkToZero, WeightAverage

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from tunewright.models.setfit import SetFitForward

PROMPT_ENCODER = "prompt_encoder.safetensors"
"""In a checkpoint of P-tuning: the network that makes the vectors. An adapter has the vectors."""


def build_job(prepared: Prepared, folder: Path) -> Job:
    """Load the base, make it trainable, and put everything on its device."""
    import torch
    from accelerate import Accelerator
    from transformers.integrations import activate_neftune

    from tunewright.models.embed_texts import EmbeddingForward
    from tunewright.models.find_answers import SpanForward
    from tunewright.models.forward import Forward, LabelForward, TagForward, whole_model
    from tunewright.models.packing import let_pack
    from tunewright.models.seq2seq import text_forward

    recipe, task = prepared.recipe, prepared.task
    assert recipe.method is not None and recipe.learning_rate is not None
    limit_threads()
    keep_freed_memory()
    device = pick_device(recipe.device)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no")
    torch.manual_seed(recipe.seed)
    dtype = getattr(torch, recipe.dtype or "float32")
    kept = prepared.settings.quantization
    model: Any = load_base(
        prepared.facts,
        task,
        prepared.labels,
        dtype,
        dropout=recipe.dropout,
        quantization=kept,
        device=accelerator.device,
        pooled=recipe.method is FineTuningMethod.SETFIT,
    )
    scale = 1.0
    if task is Task.REGRESSION:
        scale = _start_at_mean(model, targets_of(prepared.train.examples))
    model = apply_method(model, recipe, task, prepared.started)
    at_start: list[Diagnosis] = []
    if recipe.method is FineTuningMethod.PREFIX_TUNING and prepared.started is None:
        assert recipe.num_virtual_tokens is not None
        reason = start_prefix(model, _first_tokens(prepared, recipe.num_virtual_tokens))
        if reason:
            at_start.append(random_prefix(reason, recipe.num_virtual_tokens))
    if recipe.quantization_aware is not None:
        pretend_few_bits(model, recipe.quantization_aware, recipe.quantization_group_size)
    pissa = initial_factors(model) if recipe.init_lora_weights == "pissa" else None
    if recipe.gradient_checkpointing:
        model.config.use_cache = False
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if not recipe.method.trains_base:
            model.enable_input_require_grads()
    if kept is None:  # quantized weights are where they were loaded to
        model.to(accelerator.device)
    speed_up_norms(model)
    shrink_gates(model)
    if accelerator.device.type == "cpu":
        speed_up_dropout(model)
        speed_up_attention(whole_model(model))
    forward: Forward | EmbeddingForward | SpanForward
    if task.is_generative:
        _set_stop_tokens(model, prepared)
        if recipe.packing:
            let_pack(whole_model(model))
        forward = text_forward(model)
        forward.sum_head_gradient()
    elif task is Task.TOKEN_CLASSIFICATION:
        forward = TagForward(model)
    elif task is Task.QUESTION_ANSWERING:
        kept_answers = prepared.settings.answers
        forward = SpanForward(model, kept_answers.longest, kept_answers.may_be_none)
    elif task is Task.EMBEDDING:
        assert recipe.temperature is not None
        forward = EmbeddingForward(model, recipe.temperature)
    elif recipe.method is FineTuningMethod.SETFIT:
        forward = _setfit_forward(model, prepared)
    else:
        read_first_token(model)
        forward = LabelForward(
            model,
            model.config.problem_type,
            recipe.label_smoothing or 0.0,
            scale,
            prepared.class_weights,
            recipe.focal_gamma or 0.0,
        )
    if recipe.neftune_noise_alpha is not None:
        activate_neftune(model, recipe.neftune_noise_alpha)
    metric = recipe.metric_for_best_model or metrics_of(prepared.splits.train)[0]
    job = Job(
        recipe=recipe,
        folder=folder,
        task=task,
        labels=prepared.labels,
        forward=forward,
        optimizer=_optimizer(model, recipe, accelerator.num_processes),
        train=_trained_examples(prepared),
        validation=prepared.validation.examples,
        pad_id=int(prepared.tokenizer.pad_token_id),
        save_model=lambda target: _save_for_resume(model, prepared, target),
        load_weights=lambda source: _load_weights(model, source),
        save_start=lambda: _save_start(prepared, folder),
        accelerator=accelerator,
        metric=metric if metric == "loss" else get_metric(metric).name,
        unfreezing=make_unfreezing(model, recipe, task),
        save_finished=lambda target: _save_finished(forward, prepared, target, pissa),
        generation=prepared.generation,
        mixed=_mixed(prepared),
        at_start=at_start,
    )
    if isinstance(forward, EmbeddingForward):
        forward.contrasted = job.global_batch
    return job


def _mixed(prepared: Prepared) -> list[str]:
    """The source of each validation row, where tasks are mixed."""
    if prepared.task is not Task.INSTRUCTION:
        return []
    records = prepared.splits.validation.records
    return mixed_names([records[example.row] for example in prepared.validation.examples])


def _setfit_forward(model: Any, prepared: Prepared) -> SetFitForward:
    from tunewright.models.setfit import SetFitForward

    recipe = prepared.recipe
    assert recipe.temperature is not None and recipe.per_device_eval_batch_size is not None
    return SetFitForward(
        model,
        recipe.temperature,
        prepared.train.examples,
        pad_id=int(prepared.tokenizer.pad_token_id),
        batch_size=recipe.per_device_eval_batch_size,
        class_weights=prepared.class_weights,  # type: ignore[arg-type]  # of one label a row
    )


def _trained_examples(prepared: Prepared) -> Sequence[Example]:
    """What the steps take: the rows, or pairs of them."""
    recipe, rows = prepared.recipe, prepared.train.examples
    if recipe.method is not FineTuningMethod.SETFIT:
        return rows
    assert recipe.pairs_per_row is not None
    return label_pairs(rows, recipe.pairs_per_row, recipe.seed)


def _save_start(prepared: Prepared, folder: Path) -> None:
    """Write the checkpoint of step 0: the model as the recipe makes it, made a second time."""
    fresh = build_job(prepared, folder)
    save_checkpoint(folder, LoopState(), fresh.optimizer.state_tensors(), fresh.save_model)


def _optimizer(model: Any, recipe: Recipe, processes: int) -> MasterAdamW:
    """The recipe's optimizer over the trainable weights, with what is done after each update."""
    assert recipe.learning_rate is not None
    groups = make_groups(
        model,
        recipe.learning_rate,
        recipe.weight_decay,
        recipe.head_learning_rate,
        NEW_HEADS,
        rate_shares(model, recipe),
        hidden_matrices(model, recipe),
    )
    if recipe.decay_to_start:
        for group in groups:
            group.weight_decay = group.weight_decay if group.is_head else 0.0
    ruled = recipe.decay_to_start or recipe.l1_decay or recipe.ema_decay is not None
    plain = recipe.optim is Optimizer.ADAMW and not ruled
    alone = processes == 1 and model.device.type in ("cpu", "cuda")
    tables = sparse_tables(model) if plain and alone else {}
    optimizer = MasterAdamW(groups, kind=recipe.optim, tables=tables)
    if recipe.decay_to_start:
        optimizer.rules.append(PullToStart(optimizer, recipe.decay_to_start))
    if recipe.l1_decay:
        optimizer.rules.append(ShrinkToZero(recipe.l1_decay))
    if recipe.ema_decay is not None:
        optimizer.average = WeightAverage(optimizer, recipe.ema_decay)
        optimizer.rules.append(optimizer.average)
    return optimizer


def _save_for_resume(model: Any, prepared: Prepared, target: Path) -> None:
    """Write what training goes on from."""
    from safetensors.torch import save_file

    _save_model(model, prepared, target)
    if prepared.recipe.method is FineTuningMethod.P_TUNING:
        tensors = model.prompt_encoder.state_dict()
        save_file(
            {k: t.detach().cpu().contiguous() for k, t in tensors.items()}, target / PROMPT_ENCODER
        )


def _save_finished(
    forward: Any, prepared: Prepared, target: Path, pissa: dict[str, torch.Tensor] | None
) -> None:
    """Write what is used."""
    if prepared.recipe.method is FineTuningMethod.SETFIT:
        forward.fit_head()
    _save_model(forward.model, prepared, target)
    if pissa is not None:
        as_plain_lora(target, pissa)


def _start_at_mean(model: Any, targets: NDArray[np.float64]) -> float:
    """Let the new head predict the mean target at first; return the standard deviation."""
    import torch

    heads = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 1]
    if heads and heads[-1].bias is not None:
        with torch.no_grad():
            heads[-1].bias.fill_(float(np.mean(targets)))
    return float(np.std(targets)) or 1.0


def _first_tokens(prepared: Prepared, count: int) -> list[int]:
    """The first tokens of the training rows, one row behind the other."""
    tokens: list[int] = []
    for example in prepared.train.examples:
        if len(tokens) >= count:
            break
        tokens += list(example.input_ids)
    return tokens[:count]


def _set_stop_tokens(model: Any, prepared: Prepared) -> None:
    """Make the tokens that training ends answers with the ones that end generation."""
    assert prepared.recipe.max_length is not None
    renderer = Renderer(
        prepared.tokenizer, prepared.task, prepared.recipe.max_length, prepared.template
    )
    stops = renderer.stop_ids()
    model.generation_config.eos_token_id = stops if len(stops) > 1 else stops[0]
    model.generation_config.pad_token_id = prepared.tokenizer.pad_token_id


def _save_model(model: Any, prepared: Prepared, target: Path) -> None:
    """Write weights, tokenizer and input settings in the plain transformers or PEFT layout."""
    from tunewright.models.load import quiet_loading

    for adapter in getattr(model, "peft_config", {}).values():
        for name, value in vars(adapter).items():
            if isinstance(value, set):  # written in an order that each process has of its own
                setattr(adapter, name, sorted(value))
    with quiet_loading():
        model.save_pretrained(target)
        prepared.tokenizer.save_pretrained(target)
        if prepared.task.is_generative:
            model.generation_config.save_pretrained(target)
    (target / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    write_settings(target, prepared.settings, prepared.recipe.dtype or "float32")


def _load_weights(model: Any, source: Path) -> None:
    """Read the trained weights back from a checkpoint, in place."""
    from safetensors.torch import load_file

    if (source / "adapter_config.json").is_file():
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(source / "adapter_model.safetensors"))
        if (source / PROMPT_ENCODER).is_file():
            model.prompt_encoder.load_state_dict(load_file(source / PROMPT_ENCODER))
        return
    tensors: dict[str, Any] = {}
    for file in sorted(source.glob("model*.safetensors")):
        tensors |= load_file(file)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    # Positions that are computed, not learned, are not saved (Marian).
    lists = ("_tied_weights_keys", "all_tied_weights_keys", "_keys_to_ignore_on_save")
    tied = {key for name in lists for key in getattr(model, name, None) or ()}
    if unexpected or set(missing) - tied:
        raise ArtifactError(
            f"{source} does not fit the model: missing {sorted(set(missing) - tied)[:3]}, "
            f"unexpected {unexpected[:3]}."
        )
