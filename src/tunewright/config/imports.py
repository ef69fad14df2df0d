"""Settings of LLaMA-Factory, Axolotl or TRL become a recipe.

This module tells the toolkits apart. What their keys mean is in a module each.
"""

from __future__ import annotations

import json
from pathlib import Path

from tunewright.config import axolotl, llama_factory, trl
from tunewright.config.foreign import Imported
from tunewright.config.load import parse_yaml
from tunewright.errors import ConfigError

_UNNAMED_MODEL = "smollm2-135m-instruct"
"""Stands in recipes made from a list of data sets alone."""


def import_settings(path: Path, info: Path | None = None) -> Imported:
    """Read the settings of another toolkit.

    Args:
        path: a YAML file of LLaMA-Factory, Axolotl or TRL, a `dataset_info.json` of
            LLaMA-Factory, or a shell script or text with a command line of TRL or LLaMA-Factory.
        info: where LLaMA-Factory's `dataset_info.json` is, when it is not found.

    Returns:
        A recipe, and every key that it has no place for.

    Raises:
        ConfigError: the file is missing, of no known toolkit, or for a kind of training that
            Tunewright lacks.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"There is no file {path}.") from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path} is not a text file with settings.") from error
    if path.suffix.lower() == ".json":
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path} is not JSON: {error}.") from error
        if llama_factory.is_info(content):
            return llama_factory.from_info(content, path, _UNNAMED_MODEL)
        values = content if isinstance(content, dict) else {}
    elif path.suffix.lower() in (".yaml", ".yml") or (found := trl.arguments(text)) is None:
        values = parse_yaml(text, str(path))
    else:
        config = found.pop("config", None)
        base = _beside(path, str(config)).read_text(encoding="utf-8") if config else "{}"
        values = parse_yaml(base, str(config)) | found
    if "base_model" in values:
        return axolotl.read(values, path)
    if {"finetuning_type", "stage", "cutoff_len", "dataset_dir", "dataset"} & values.keys():
        return llama_factory.read(values, path, info)
    if {"dataset_name", "datasets"} & values.keys():
        return trl.read(values, path)
    raise ConfigError(
        f"{path} is of no toolkit that is known. Axolotl has base_model, LLaMA-Factory dataset and "
        "finetuning_type, TRL model_name_or_path with dataset_name or datasets.",
    )


def _beside(path: Path, name: str) -> Path:
    found = next((p for p in (Path(name), path.parent / name) if p.is_file()), None)
    if found is None:
        raise ConfigError(f"There is no file {name}, which {path} takes its settings from.")
    return found
