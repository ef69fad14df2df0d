"""Settings of Axolotl: one YAML file.

This module knows its keys. Those it shares with transformers are in `foreign.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunewright.config.foreign import (
    SHARED,
    Foreign,
    Imported,
    entries,
    hub_source,
    is_local,
    share_or_none,
)
from tunewright.config.watching import Tracker
from tunewright.errors import ConfigError

NAME = "Axolotl"

_RENAMED = {
    "micro_batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",
    "num_epochs": "num_train_epochs",
    "lr_scheduler": "lr_scheduler_type",
}
_FIELDS = {
    "field_system": "system",
    "field_instruction": "prompt",
    "field_input": "input",
    "field_output": "completion",
}
_BUILDERS = ("json", "csv", "parquet", "text", "arrow")
_FORMATS = ("alpaca", "alpaca_chat", "gpteacher", "sharegpt", "chat_template", "completion")
"""Prompt types whose rows are recognised here by their columns."""


def read(values: dict[str, Any], path: Path) -> Imported:
    """A recipe from a configuration of Axolotl.

    Args:
        values: the parsed file.
        path: where it is.

    Raises:
        ConfigError: it is for a kind of training that Tunewright lacks, or names no data.
    """
    settings = Foreign(NAME, str(path), values)
    kind = settings.pop("rl")
    if kind:
        raise ConfigError(f"rl is {kind!r}; only supervised training can be taken over", str(path))
    settings.move("base_model", "model")
    settings.move("sequence_len", "max_length")
    settings.data["truncation"] = "drop"  # as there, without excess_length_strategy
    if settings.values.get("excess_length_strategy") in ("truncate", "drop"):
        chosen = settings.pop("excess_length_strategy", "data.truncation")
        settings.data["truncation"] = "cut" if chosen == "truncate" else "drop"
    listed = entries(settings, "datasets", settings.pop("datasets", "data.train"))
    made = [_sources(settings, index, entry) for index, entry in enumerate(listed)]
    sources = [source for found, _ in made for source in found]
    columns = [mapping for found, mapping in made for _ in found]
    settings.set_sources(sources, columns)
    held_out = entries(settings, "test_datasets", settings.values.get("test_datasets") or [])
    if len(held_out) == 1:
        found, _ = _sources(settings, 0, held_out[0], "test_datasets")
        if len(found) == 1:
            settings.pop("test_datasets", "data.validation")
            settings.data["validation"] = found[0]
    if settings.values.get("test_datasets"):
        settings.leave("test_datasets", "several; a recipe has one source of validation rows")
    share_or_none(settings, "val_set_size")
    _method(settings)
    for there, shared in _RENAMED.items():
        if there in settings.values:
            settings.values[shared] = settings.values.pop(there)
    _often(settings, "evals_per_epoch", "eval_strategy")
    _often(settings, "saves_per_epoch", "save_strategy")
    if settings.values.get("eval_steps") and not settings.values.get("eval_strategy"):
        settings.values["eval_strategy"] = "steps"  # as there
    settings.move("early_stopping_patience", "early_stopping_patience")
    _trackers(settings)
    settings.move_shared()
    back = {shared: there for there, shared in _RENAMED.items()}
    settings.taken = {back.get(key, key): to for key, to in settings.taken.items()}
    settings.left_out = {back.get(key, key): why for key, why in settings.left_out.items()}
    return settings.finish()


def _sources(
    settings: Foreign, index: int, entry: dict[str, Any], key: str = "datasets"
) -> tuple[list[str], dict[str, str]]:
    """One entry as sources and their columns."""
    at = f"{key}[{index}]"
    columns = _columns(settings, at, entry)
    place = str(entry.pop("path", None) or "")
    files = entry.pop("data_files", None)
    listed = [files] if isinstance(files, str) else list(files or [])
    name, split = entry.pop("name", None), entry.pop("split", None)
    local = is_local(place)
    entry.pop("ds_type", None)  # the format is detected
    if place in _BUILDERS and listed:
        sources = listed
    elif listed and not local:
        settings.left_out[f"{at}.data_files"] = "of a hub id all files are read"
        sources = [hub_source(place, name, split)]
    elif local:
        sources = [str(Path(place) / file) for file in listed] or [place]
        if split not in (None, "train"):
            settings.left_out[f"{at}.split"] = "a file has none here"
    elif place:
        sources = [hub_source(place, name, split)]
    else:
        settings.left_out[f"{at}.path"] = "missing"
        sources = []
    for left, value in entry.items():
        if value is not None:
            settings.left_out[f"{at}.{left}"] = "no equivalent"
    return sources, columns


def _columns(settings: Foreign, at: str, entry: dict[str, Any]) -> dict[str, str]:
    kind = entry.pop("type", None)
    columns: dict[str, str] = {}
    if isinstance(kind, dict):
        for key, value in kind.items():
            if key in _FIELDS and value:
                columns[_FIELDS[key]] = value
            elif value not in (None, ""):
                settings.left_out[f"{at}.type.{key}"] = "prompts are laid out by data.template"
        return columns
    plain = str(kind or "").partition(":")[0].partition(".")[0]
    if plain == "completion":
        settings.recipe["task"] = "text"
        if entry.get("field"):
            columns["text"] = entry.pop("field")
    elif kind is not None and plain not in _FORMATS:
        settings.left_out[f"{at}.type"] = f"{kind!r} is not known here; look at the rows with head"
    messages = entry.pop("field_messages", None)
    if messages:
        columns["messages"] = messages
    return columns


def _method(settings: Foreign) -> None:
    adapter = settings.pop("adapter", "method")
    if adapter not in (None, "", "lora", "qlora"):
        raise ConfigError(
            f"adapter is {adapter!r}; only lora and qlora can be taken over", settings.where
        )
    if adapter == "qlora" and not settings.values.get("load_in_8bit"):
        settings.values["load_in_4bit"] = True  # the adapter says so there
    if adapter and settings.values.get("lora_target_linear"):
        settings.move("lora_target_linear", "lora_target_modules", lambda _: "all-linear")
    elif adapter:
        settings.move("lora_target_modules", "lora_target_modules")
    if adapter and settings.values.get("peft_init_lora_weights") == "pissa":
        settings.move_pissa("peft_init_lora_weights")
    settings.set_method(bool(adapter))


def _often(settings: Foreign, key: str, strategy: str) -> None:
    """Once an epoch has an equivalent; more often has none without knowing the steps."""
    value = settings.values.get(key)
    if value == 1:
        settings.pop(key, SHARED[strategy])
        settings.values[strategy] = "epoch"
    elif value is not None:
        settings.leave(key, f"{value} an epoch; once an epoch, or a number of steps, is possible")


def _trackers(settings: Foreign) -> None:
    """Switches of trackers as a list of them."""
    for tracker in Tracker:
        if settings.values.get(f"use_{tracker.value}") is True:
            settings.pop(f"use_{tracker.value}", "report_to")
            settings.values.setdefault("report_to", []).append(tracker.value)
