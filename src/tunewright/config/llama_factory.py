"""Settings of LLaMA-Factory: a YAML file of training arguments, and `dataset_info.json`.

This module knows their keys. Those it shares with transformers are in `foreign.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunewright.config.foreign import Foreign, Imported, hub_source, share_or_none
from tunewright.errors import ConfigError, unknown_name

NAME = "LLaMA-Factory"
INFO = "dataset_info.json"

_ALPACA = {"prompt": "prompt", "query": "input", "response": "completion", "system": "system"}
_DEFAULTS = {"prompt": "instruction", "query": "input", "response": "output"}
_TAGS = {
    "role_tag": ("from", "role"),
    "content_tag": ("value", "content"),
    "user_tag": ("human", "user"),
    "assistant_tag": ("gpt", "assistant"),
    "observation_tag": ("observation", "tool", "function"),
    "function_tag": ("function_call",),
    "system_tag": ("system",),
}
"""Names of turns and speakers that are understood here."""
_ELSEWHERE = ("ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")


def is_info(content: Any) -> bool:
    """Whether a JSON file lists data sets as `dataset_info.json` does."""
    keys = {"file_name", "hf_hub_url", *_ELSEWHERE}
    return isinstance(content, dict) and any(
        isinstance(entry, dict) and keys & entry.keys() for entry in content.values()
    )


def from_info(content: Mapping[str, Any], path: Path, model: str) -> Imported:
    """A recipe over every data set of a `dataset_info.json`.

    Args:
        content: the parsed file.
        path: where it is; file names in it are relative to its folder.
        model: the base, which such a file does not name.
    """
    settings = Foreign(NAME, str(path), {})
    settings.recipe["model"] = model
    settings.left_out["model"] = f"the file names none; {model} stands for the one you choose"
    names = []
    for name, entry in content.items():
        if isinstance(entry, Mapping) and entry.get("ranking"):
            settings.left_out[name] = "preference pairs cannot be trained on yet"
        else:
            names.append(name)
    _add_sources(settings, names, content, path.parent)
    return settings.finish()


def read(values: dict[str, Any], path: Path, info: Path | None) -> Imported:
    """A recipe from a YAML file of training arguments.

    Args:
        values: the parsed file.
        path: where it is.
        info: where `dataset_info.json` is. Default: looked for in `dataset_dir`, from here and from
            the folders above the file.

    Raises:
        ConfigError: it is for a kind of training that Tunewright lacks, or no data set is found.
    """
    settings = Foreign(NAME, str(path), values)
    stage = settings.pop("stage", "task", "sft")
    if stage not in ("sft", "pt"):
        raise ConfigError(f"stage is {stage!r}; only sft and pt can be taken over", str(path))
    if stage == "pt":
        settings.recipe["task"] = "text"
    settings.move("model_name_or_path", "model")
    kind = settings.pop("finetuning_type", "method", "lora")
    if kind == "freeze":
        raise ConfigError(
            "finetuning_type is 'freeze', which trains layers alone; method: partial trains the "
            "norm and the head behind them too. Only lora and full can be taken over",
            str(path),
        )
    if kind not in ("lora", "full"):
        raise ConfigError(f"finetuning_type is {kind!r}; only lora and full can be taken over",
                          str(path))  # fmt: skip
    if kind == "lora":
        settings.move("lora_target", "lora_target_modules", _targets)
        settings.move("additional_target", "modules_to_save", _listed)
        _pissa(settings)
    settings.set_method(kind == "lora")
    settings.move("cutoff_len", "max_length")
    settings.data["truncation"] = "cut"  # as there
    settings.move("default_system", "data.system")
    folder, content = _find_info(settings, path, info)
    names = _listed(settings.pop("dataset", "data.train"))
    _add_sources(settings, names, content, folder)
    _mix(settings, names)
    if len(names) == 1:
        settings.move("max_samples", "data.max_samples")
    elif settings.values.get("max_samples") is not None:
        settings.leave("max_samples", "a limit for each data set; write #N behind the sources")
    held_out = _listed(settings.values.get("eval_dataset"))
    if len(held_out) == 1:
        source, _ = _source(settings, held_out[0], content, folder)
        settings.pop("eval_dataset", "data.validation")
        settings.data["validation"] = source
    elif held_out:
        settings.leave("eval_dataset", "several; a recipe has one source of validation rows")
    share_or_none(settings, "val_size")
    settings.move("early_stopping_steps", "early_stopping_patience")  # scores, in spite of its name
    settings.move_shared()
    return settings.finish()


def _find_info(
    settings: Foreign, path: Path, info: Path | None
) -> tuple[Path, Mapping[str, Any] | None]:
    """The folder of the data, and what `dataset_info.json` in it says; None for the hub alone."""
    named = settings.pop("dataset_dir", "data.train", "data")
    if named == "ONLINE":
        return Path(), None
    around = [Path(), *path.resolve().parents]
    tried = [info] if info else [base / named / INFO for base in around]
    found = next((place for place in tried if place.is_file()), None)
    if found is None:
        raise ConfigError(
            f"There is no {info or Path(named) / INFO}, which says what its data sets are. Give "
            "its place with --info.",
            str(path),
        )
    try:
        content = json.loads(found.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{found} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{found} is not a JSON object of data sets.")
    return found.parent, content


def _add_sources(
    settings: Foreign, names: list[str], content: Mapping[str, Any] | None, folder: Path
) -> None:
    made = [_source(settings, name, content, folder) for name in names]
    known = [(source, columns) for source, columns in made if source]
    settings.set_sources([source for source, _ in known], [columns for _, columns in known])


def _source(
    settings: Foreign, name: str, content: Mapping[str, Any] | None, folder: Path
) -> tuple[str, dict[str, str]]:
    """One data set as a source and its columns; an empty source where there is no equivalent."""
    if content is None:
        return name, {}
    if name not in content:
        raise ConfigError(unknown_name("data set", name, content), settings.where)
    entry = dict(content[name])
    if entry.pop("ranking", False):
        raise ConfigError(
            f"{name} holds preference pairs, which Tunewright cannot train on yet", settings.where
        )
    columns = _columns(settings, name, entry)
    hub, file = entry.pop("hf_hub_url", None), entry.pop("file_name", None)
    subset, split = entry.pop("subset", None), entry.pop("split", "train")
    limit = entry.pop("num_samples", None)
    if hub:
        source = hub_source(hub, subset, split)
    elif file:
        source = str(folder / file)
        for key, value in (("subset", subset), ("split", None if split == "train" else split)):
            if value:
                settings.left_out[f"{name}.{key}"] = "a file has none here"
    else:
        where = next((key for key in _ELSEWHERE if key in entry), "its place")
        settings.left_out[f"{name}.{where}"] = "only files and the Hugging Face hub are read"
        return "", {}
    for key in entry:
        settings.left_out[f"{name}.{key}"] = "no equivalent"
    return f"{source}#{limit}" if limit else source, columns


def _columns(settings: Foreign, name: str, entry: dict[str, Any]) -> dict[str, str]:
    formatting = entry.pop("formatting", "alpaca")
    columns = dict(entry.pop("columns", None) or {})
    tags = dict(entry.pop("tags", None) or {})
    for tag, value in tags.items():
        if value not in _TAGS.get(tag, ()):
            settings.left_out[f"{name}.tags.{tag}"] = (
                f"{value!r} is not understood; turns have role and content, or from and value"
            )
    mapping = {}
    for key, column in columns.items():
        role = _ALPACA.get(key) if formatting == "alpaca" else {"messages": "messages"}.get(key)
        if formatting != "alpaca" and key == "system":
            role = "system"
        if role is None:
            settings.left_out[f"{name}.columns.{key}"] = "no equivalent"
        else:
            mapping[role] = column
    if mapping and formatting == "alpaca":
        # A mapping names every role it needs; those left out have their names there.
        for key in ("prompt", "response"):
            mapping.setdefault(_ALPACA[key], _DEFAULTS[key])
    usual = {_ALPACA[key]: column for key, column in _DEFAULTS.items()}
    return {} if mapping.items() <= usual.items() else mapping


def _mix(settings: Foreign, names: list[str]) -> None:
    strategy = settings.pop("mix_strategy", "data.train", "concat")
    shares = _listed(settings.pop("interleave_probs", "weights of data.train"))
    sources = settings.data["train"]
    if strategy == "interleave_over":
        settings.leave("mix_strategy", "rows are never drawn twice; the sources are joined whole")
        if shares:
            settings.leave("interleave_probs", "mix_strategy is interleave_over")
    elif strategy == "interleave_under" and isinstance(sources, list):
        if len(sources) != len(names):
            settings.leave("interleave_probs", "not every data set could be taken over")
            return
        weights = [float(share) for share in shares] or [1.0] * len(sources)
        if len(weights) != len(sources):
            raise ConfigError("interleave_probs and dataset differ in length", settings.where)
        settings.data["train"] = [
            {"source": source, "weight": weight}
            for source, weight in zip(sources, weights, strict=True)
        ]


def _pissa(settings: Foreign) -> None:
    """The exact decomposition is the one here; theirs is an approximation by default."""
    if not settings.values.get("pissa_init"):
        return
    if settings.values.get("pissa_iter", 16) == -1:
        settings.move_pissa("pissa_init")
        settings.pop("pissa_iter", "init_lora_weights")
    else:
        settings.leave("pissa_init", "init_lora_weights: pissa is exact, as with pissa_iter: -1")


def _targets(value: Any) -> Any:
    listed = _listed(value)
    return "all-linear" if listed == ["all"] else listed


def _listed(value: Any) -> list[str]:
    """Words of a text with commas, or of a list."""
    words = value.split(",") if isinstance(value, str) else value or []
    return [str(word).strip() for word in words if str(word).strip()]
