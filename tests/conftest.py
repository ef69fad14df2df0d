"""Tiny models and rows that every test may use. Nothing here reaches a network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if "PYTEST_XDIST_WORKER" in os.environ:  # a worker has one core, and so has what it starts
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from tiny import (
    instruction_rows,
    letter_tokenizer,
    save_decoder,
    save_encoder,
    sentiment_rows,
)


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 30 thousand random weights with a byte tokenizer and a chat template."""
    folder = tmp_path_factory.mktemp("tiny-decoder")
    save_decoder(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 20 thousand random weights with a word tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-encoder")
    save_encoder(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 of 30 thousand random weights with a token a letter; its head is scaled."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("tiny-t5")
    tokenizer = letter_tokenizer()
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=1,
        num_heads=4,
        dropout_rate=0.1,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BART of 30 thousand random weights with a token a letter."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    folder = tmp_path_factory.mktemp("tiny-bart")
    tokenizer = letter_tokenizer(start="<s>")
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=3,
        decoder_start_token_id=1,
        forced_eos_token_id=1,
    )
    BartForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


Writer = Callable[[str, list[dict[str, Any]]], Path]


@pytest.fixture
def write_rows(tmp_path: Path) -> Writer:
    """Write rows as JSONL below the test's folder and return the path."""

    def write(name: str, rows: list[dict[str, Any]]) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def sentiment_file(write_rows: Writer) -> Path:
    """60 rows of text and label."""
    return write_rows("sentiment.jsonl", sentiment_rows())


@pytest.fixture
def instruction_file(write_rows: Writer) -> Path:
    """24 rows of instruction, input and output."""
    return write_rows("instructions.jsonl", instruction_rows())
