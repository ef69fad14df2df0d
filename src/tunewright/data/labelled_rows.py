"""Texts with a label, a set of labels or a number become token ids and a target.

This module knows tokenizers. It does not know models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunewright.config.task import Task
from tunewright.data.example import Example
from tunewright.data.records import Dataset, Record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def labelled_examples(
    tokenizer: PreTrainedTokenizerFast,
    dataset: Dataset,
    label_ids: Mapping[str, int],
    pairs: bool | None = None,
) -> list[Example]:
    """The examples of labelled rows, of any length.

    Args:
        tokenizer: a fast tokenizer.
        dataset: the records.
        label_ids: class name to its index, in the order of the model's outputs.
        pairs: whether rows are pairs of texts, also those that have one text only. Default: whether
            any of these has two.
    """
    texts = [record.text for record in dataset]
    if pairs is None:
        pairs = any(record.text_pair is not None for record in dataset)
    if not texts:
        return []
    seconds = [record.text_pair or "" for record in dataset] if pairs else None
    encoded: Any = tokenizer(texts, seconds, return_attention_mask=False, verbose=False)
    types = encoded.get("token_type_ids") if pairs else None
    return [
        Example(
            list(ids),
            index,
            token_type_ids=list(types[index]) if types is not None else None,
            target=_target(record, dataset.task, label_ids),
        )
        for index, (ids, record) in enumerate(zip(encoded["input_ids"], dataset, strict=True))
    ]


def _target(
    record: Record, task: Task, label_ids: Mapping[str, int]
) -> int | float | list[float] | None:
    label = record.label
    if label is None:
        return None
    if task is Task.REGRESSION:
        return float(label) if isinstance(label, int | float | str) else None
    if isinstance(label, tuple):
        return [float(name in label) for name in label_ids]
    return label_ids.get(str(label), -1)
