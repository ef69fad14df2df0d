"""Our loop takes the steps of the transformers Trainer, given the same batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

import runs
from tunewright import pipeline
from tunewright.data.collate import collate, epoch_order
from tunewright.train.journal import read_journal
from tunewright.train.schedule import rate_factor

STEPS = 8


class InOrder(Trainer):
    """Takes its rows, which are whole batches of ours, as they come, at our rates: its own
    schedules spend the first step of a warmup at a rate of zero."""

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer,
            lambda step: rate_factor("linear", min(step, STEPS - 1), STEPS, 2, None),
        )
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)


@pytest.mark.filterwarnings("ignore")
def test_losses_norms_and_rates_are_those_of_the_trainer(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    recipe = runs.recipe(
        tiny_decoder,
        instruction_file,
        tmp_path / "ours",
        method="full",
        dtype="float32",
        data={"train": str(instruction_file), "validation": 0},
        max_steps=STEPS,
        learning_rate=3e-3,
        warmup_steps=2,
        weight_decay=0.1,
        save_strategy="no",
    )
    prepared = pipeline.prepare(recipe)
    examples = prepared.train.examples
    order: list[Any] = []
    while len(order) < STEPS:
        epoch = epoch_order([len(e.input_ids) for e in examples], 8, recipe.seed, len(order) // 3)
        order += epoch
    pad = int(prepared.tokenizer.pad_token_id)
    batches = [collate([examples[i] for i in rows], pad) for rows in order[:STEPS]]
    pipeline.train(prepared)
    theirs = InOrder(
        AutoModelForCausalLM.from_pretrained(tiny_decoder, dtype=torch.float32),
        TrainingArguments(
            output_dir=str(tmp_path / "theirs"),
            max_steps=STEPS,
            per_device_train_batch_size=1,
            learning_rate=3e-3,
            weight_decay=0.1,
            max_grad_norm=1.0,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=batches,
        data_collator=lambda rows: dict(rows[0]),
    )
    theirs.train()
    keys = ("loss", "grad_norm", "learning_rate")
    logged = [[line[k] for k in keys] for line in theirs.state.log_history if "loss" in line]
    ours = [[x[k] for k in keys] for x in read_journal(tmp_path / "ours") if x["event"] == "step"]
    assert len(logged) == STEPS
    np.testing.assert_allclose(ours, logged, rtol=1e-4)
    assert ours[-1][0] < 0.9 * ours[0][0]  # they learn, so that equal curves say something
