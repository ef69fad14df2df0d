"""Settings of TRL's SFT script: a YAML file, or a command line with its arguments.

This module knows their keys. Those it shares with transformers are in `foreign.py`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tunewright.config.foreign import Foreign, Imported, entries, hub_source, share_or_none
from tunewright.errors import ConfigError

NAME = "TRL"

_BUILDERS = ("json", "csv", "parquet", "text")
_TRAINING = re.compile(r"\s--(?:model[_-]name[_-]or[_-]path|dataset(?:[_-]name)?|config)[\s=]")
_OTHER_TRAINERS = ("dpo", "kto", "grpo", "rloo", "ppo", "orpo", "cpo", "reward", "gkd")


def arguments(text: str) -> dict[str, Any] | None:
    """The `--key value` words of a command line as settings, or None where there are none.

    Several values become a list, none becomes true. A key with hyphens is one with underscores.

    Raises:
        ConfigError: it calls another trainer than SFT, there are several, or quotes do not match.
    """
    joined = re.sub(r"\\\r?\n", " ", text)
    lines = [
        line
        for line in joined.splitlines()
        if _TRAINING.search(line) and not line.lstrip().startswith("#")
    ]
    if not lines:
        return None
    if len(lines) > 1:
        raise ConfigError(
            f"The file holds {len(lines)} commands with training settings; keep one of them."
        )
    try:
        words = shlex.split(lines[0], comments=True)
    except ValueError as error:
        raise ConfigError(f"The command line cannot be read: {error}.") from error
    first = next(i for i, word in enumerate(words) if word.startswith("--"))
    called = {PurePosixPath(word).stem for word in words}
    for trainer in _OTHER_TRAINERS:
        if trainer in called:
            raise ConfigError(f"The command calls {trainer}; only sft can be taken over.")
    found: dict[str, Any] = {}
    key = ""
    for word in words[first:]:
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            key = key.replace("-", "_")
            found[key] = [yaml.safe_load(value)] if equals else []
        else:
            found[key].append(yaml.safe_load(word))
    return {k: True if not v else v[0] if len(v) == 1 else v for k, v in found.items()}


def read(values: dict[str, Any], path: Path) -> Imported:
    """A recipe from the settings of TRL's SFT script.

    Args:
        values: the parsed file.
        path: where it is.

    Raises:
        ConfigError: it names no data.
    """
    settings = Foreign(NAME, str(path), values)
    settings.move("model_name_or_path", "model")
    length = "max_length" if "max_length" in values else "max_seq_length"
    settings.move(length, "max_length")
    settings.data["truncation"] = "cut"  # as there
    _data(settings)
    lora = bool(settings.pop("use_peft", "method"))
    if lora:
        settings.move("lora_target_modules", "lora_target_modules")
    settings.set_method(lora)
    dtype = "dtype" if "dtype" in values else "torch_dtype"
    if settings.values.get(dtype) == "auto":
        settings.leave(dtype, "the machine decides")
    settings.move(dtype, "dtype")
    for key in ("completion_only_loss", "assistant_only_loss"):
        if settings.values.get(key) is True:
            settings.leave(key, "the loss is on the answers alone, always")
    share_or_none(settings, "test_split_size")
    settings.move_shared()
    return settings.finish()


def _data(settings: Foreign) -> None:
    mixture = settings.pop("datasets", "data.train")
    if mixture:
        listed = entries(settings, "datasets", mixture)
        if settings.values.get("dataset_name"):
            settings.leave("dataset_name", "datasets decides")
        sources = [s for i, entry in enumerate(listed) for s in _mixed(settings, i, entry)]
    else:
        name = settings.pop("dataset_name", "data.train")
        config = settings.pop("dataset_config", "data.train")
        split = settings.pop("dataset_train_split", "data.train")
        sources = [hub_source(str(name), config, split)] if name else []
        held_out = settings.values.get("dataset_test_split")
        if name and held_out and held_out not in ("test", "validation"):
            settings.pop("dataset_test_split", "data.validation")
            settings.data["validation"] = hub_source(str(name), config, held_out)
        elif held_out:
            settings.leave("dataset_test_split", "parts called validation and test are found")
    text = settings.values.get("dataset_text_field")
    columns = {"text": str(text)} if text else {}
    settings.pop("dataset_text_field", "data.columns")
    settings.set_sources(sources, [columns] * len(sources))


def _mixed(settings: Foreign, index: int, entry: dict[str, Any]) -> list[str]:
    """One entry of a mixture as sources."""
    place = str(entry.pop("path", None) or "")
    files = entry.pop("data_files", None)
    listed = [files] if isinstance(files, str) else files
    found = [hub_source(place, entry.pop("name", None), entry.pop("split", None))]
    if isinstance(listed, list) and place in _BUILDERS:
        found = [str(file) for file in listed]
    elif listed is not None:
        settings.left_out[f"datasets[{index}].data_files"] = "give the files as sources"
    for key, value in entry.items():
        if value is not None:
            settings.left_out[f"datasets[{index}].{key}"] = "no equivalent"
    return found if place else []
