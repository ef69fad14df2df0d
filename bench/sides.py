"""One side of the training bench, alone in its process: `python bench/sides.py '{"side": ...}'`.

Every side gets the same folder of rows, base, number of steps, rows a step, peak rate and seed, and
says of its training loop: seconds, seconds of the processor, tokens that are no padding, peak
memory. What it learned is scored by one ruler, ours, on the same held-out rows. The last line it
prints is one JSON object.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunewright.config.recipe import Recipe
from tunewright.data.render import Renderer
from tunewright.models.device import limit_threads, pick_device
from tunewright.models.memory import peak_memory, reset_peak_memory
from tunewright.train.prepare import Prepared, prepare


def prepared_run(spec: dict[str, Any], output: Path) -> Prepared:
    """Our recipe for a side: what the work fixes, and our own choice for all the rest."""
    keys = ("model", "task", "method", "max_steps", "per_device_train_batch_size", "seed")
    values = {key: spec[key] for key in keys}
    values["data"] = {
        "train": str(Path(spec["rows"]) / "train.jsonl"),
        "test": str(Path(spec["rows"]) / "test.jsonl"),
        "validation": 0.0,
        "truncation": "cut",
    }
    values |= {"output_dir": str(output), "save_strategy": "no", "evaluation_strategy": "no"}
    return prepare(Recipe.check(values | spec.get("ours", {})))


class Clock:
    """Seconds, processor seconds and peak memory of a training loop; also its observer."""

    def __init__(self) -> None:
        self.seconds = self.busy = 0.0

    def start(self) -> None:
        reset_peak_memory()
        self._began, self._busy = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self._began
        self.busy = time.process_time() - self._busy

    def training_started(self, state: Any, total_steps: int) -> None:
        self.start()

    def line_written(self, line: dict[str, Any]) -> None:
        if line["event"] == "step":
            self.stop()

    def result(self, tokens: int, **more: Any) -> dict[str, Any]:
        found = {"seconds": self.seconds, "busy_seconds": self.busy, "tokens": tokens}
        return found | {"peak_bytes": peak_memory(pick_device("auto").type)} | more


def ours(spec: dict[str, Any]) -> dict[str, Any]:
    """Tunewright: the loop of `tunewright train`."""
    from tunewright.train.build import build_job
    from tunewright.train.checkpoint import LoopState
    from tunewright.train.journal import Journal
    from tunewright.train.loop import run_loop

    with tempfile.TemporaryDirectory() as folder:
        prepared = prepared_run(spec, Path(folder))
        job = build_job(prepared, Path(folder))
        clock, journal = Clock(), Journal(Path(folder), None)
        state = run_loop(job, LoopState(), journal, clock)
        journal.close()
        rows = state.step * job.global_batch
        flops = model_flops(job.forward.model, state.tokens, rows)
        found = clock.result(
            state.tokens,
            padding_share=_padding(job, state.step),
            dtype=prepared.recipe.dtype,
            model_flops=flops,
        )
        return found | _scores(job.forward, prepared, spec)


def _padding(job: Any, steps: int) -> float:
    """The share of the tokens of the first so many steps (of the first epoch) that is padding."""
    from step_parts import pass_sizes

    from tunewright.data.collate import epoch_order

    taken = epoch_order(job.lengths, job.global_batch, job.recipe.seed, 0)[:steps]
    tokens = sum(job.lengths[i] for rows in taken for i in rows)
    return 1 - tokens / sum(size for size, _ in pass_sizes(job, taken))


def trainer(spec: dict[str, Any]) -> dict[str, Any]:
    """The transformers Trainer, its rows padded to 256 tokens or to the longest of their batch."""
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    from tunewright.models.forward import LabelForward

    with tempfile.TemporaryDirectory() as folder:
        prepared = prepared_run(spec, Path(folder))
        labels, tokenizer = prepared.labels, prepared.tokenizer
        width = min(spec["pad_to"], prepared.facts.max_length) if "pad_to" in spec else None
        rows = []
        for record in prepared.splits.train:
            row = dict(
                tokenizer(
                    record.text,
                    truncation=True,
                    max_length=width or prepared.facts.max_length,
                    padding="max_length" if width else False,
                )
            )
            rows.append(row | {"label": labels.index(str(record.label))})
        torch.manual_seed(spec["seed"])
        model = AutoModelForSequenceClassification.from_pretrained(
            prepared.facts.folder, num_labels=len(labels), dtype=torch.float32
        )
        theirs = Trainer(
            model,
            TrainingArguments(output_dir=folder, **_arguments(spec, prepared)),
            train_dataset=Dataset.from_list(rows),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        found = _timed(theirs)
        return found | _scores(LabelForward(model, "single_label_classification"), prepared, spec)


def sft(spec: dict[str, Any]) -> dict[str, Any]:
    """TRL's SFTTrainer with its defaults, or with `flags` of its own on top."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from tunewright.models.forward import CausalForward

    with tempfile.TemporaryDirectory() as folder:
        prepared = prepared_run(spec, Path(folder))
        rows = []
        for record in prepared.splits.train:
            turns = [{"role": m.role, "content": m.content} for m in record.messages]
            rows.append({"prompt": turns[:-1], "completion": turns[-1:]})
        recipe = prepared.recipe
        lora = None
        if spec["method"] == "lora":
            lora = LoraConfig(
                r=recipe.lora_r,
                lora_alpha=recipe.lora_alpha,
                lora_dropout=recipe.lora_dropout,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            )
        theirs = SFTTrainer(
            str(prepared.facts.folder),
            SFTConfig(output_dir=folder, **(_arguments(spec, prepared) | spec.get("flags", {}))),
            train_dataset=Dataset.from_list(rows),
            processing_class=prepared.tokenizer,
            peft_config=lora,
        )
        found = _timed(theirs)
        return found | _scores(CausalForward(theirs.model), prepared, spec)


def _arguments(spec: dict[str, Any], prepared: Prepared) -> dict[str, Any]:
    """What the work fixes, in the names of `TrainingArguments`. All else is their default."""
    return {
        "max_steps": spec["max_steps"],
        "per_device_train_batch_size": spec["per_device_train_batch_size"],
        "learning_rate": prepared.recipe.learning_rate,
        "seed": spec["seed"],
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": pick_device("auto").type == "cpu",
    }


def _timed(theirs: Any) -> dict[str, Any]:
    """Train, with a clock around the loop, counting tokens that are no padding."""
    from transformers import TrainerCallback

    clock = Clock()
    tokens = {"real": 0, "padded": 0}

    class Times(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            clock.start()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.stop()

    def count(module: Any, args: Any, inputs: dict[str, Any]) -> None:
        if module.training:
            tokens["padded"] += inputs["input_ids"].numel()
            seen = inputs.get("attention_mask")  # none where rows are packed
            tokens["real"] += int(inputs["input_ids"].numel() if seen is None else seen.sum())

    theirs.add_callback(Times())
    hook = theirs.model.register_forward_pre_hook(count, with_kwargs=True)
    theirs.train()
    hook.remove()
    return clock.result(
        tokens["real"],
        padding_share=1 - tokens["real"] / max(1, tokens["padded"]),
        dtype="bfloat16 autocast" if theirs.args.bf16 else "float32",
    )


def _scores(forward: Any, prepared: Prepared, spec: dict[str, Any]) -> dict[str, float]:
    """Scores of the held-out rows, in float32 and with our own rendering of them; of a model that
    learned from random weights, none."""
    from tunewright.train.validate import validation_scores

    if not spec.get("scored", True):
        return {}
    assert prepared.recipe.max_length is not None
    renderer = Renderer(
        prepared.tokenizer,
        prepared.task,
        prepared.recipe.max_length,
        prepared.template,
        prepared.labels,
    )
    examples = renderer.render(prepared.splits.test, "cut").examples
    forward.eval()
    scores = validation_scores(
        forward.float(),
        examples,
        prepared.task,
        prepared.labels,
        int(prepared.tokenizer.pad_token_id),
        8,
    )
    return {key: scores[key] for key in ("loss", "macro_f1", "accuracy") if key in scores}


def model_flops(model: Any, tokens: int, rows: int = 0) -> float:
    """FLOP of training on so many tokens: for each weight of a linear layer and each token 2
    forward, 2 for the gradient of the input, and 2 for that of the weight where it is trained: 6N,
    or 4N with a frozen base (PaLM, arXiv 2204.02311, appendix B). The head counts as a layer with
    all tokens. Layers that are computed for the first token alone count once for each of `rows`.
    Attention's own products, padding and recomputation count nothing."""
    from torch import nn

    from tunewright.models.first_token import first_token_layers

    short = {id(m.weight) for m in first_token_layers(model)}
    weights = {id(m.weight): m.weight for m in model.modules() if isinstance(m, nn.Linear)}
    return float(
        sum(
            (6 if w.requires_grad else 4) * w.numel() * (rows if key in short else tokens)
            for key, w in weights.items()
        )
    )


def rate(spec: dict[str, Any]) -> dict[str, Any]:
    """The best rate of a large square matrix product, in float32 and bfloat16, in FLOP a second."""
    import torch

    limit_threads()
    device = pick_device("auto")
    size = spec.get("size", 1536 if device.type == "cpu" else 8192)
    found = {}
    for name in ("float32", "bfloat16"):
        a = torch.ones(size, size, device=device, dtype=getattr(torch, name))
        found[name] = 2 * size**3 / best_seconds(lambda a=a: a @ a)
    return found


def best_seconds(work: Callable[[], Any], times: int = 5, clock: Any = time.perf_counter) -> float:
    """The shortest of several runs, after one that warms up."""
    import torch

    def synchronised() -> None:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    synchronised()
    seconds = []
    for _ in range(times):
        began = clock()
        synchronised()
        seconds.append(clock() - began)
    return min(seconds)


def parts(spec: dict[str, Any]) -> dict[str, Any]:
    """Where the time of our steps goes, with bounds; see `step_parts.py`."""
    from step_parts import measured_parts

    with tempfile.TemporaryDirectory() as folder, _quiet_profiler():
        return measured_parts(prepared_run(spec, Path(folder)), spec["profiled_steps"])


@contextmanager
def _quiet_profiler() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


SIDES = {"ours": ours, "trainer": trainer, "sft": sft, "rate": rate, "parts": parts}


def main(arguments: Sequence[str]) -> None:
    spec = json.loads(arguments[0])
    print(json.dumps(SIDES[spec["side"]](spec)))


if __name__ == "__main__":
    main(sys.argv[1:])
