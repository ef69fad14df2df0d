"""Recipes from YAML files and `key=value` words.

This module knows YAML. What the keys mean is in `recipe.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError


class _NoDuplicates(yaml.SafeLoader):
    """Refuses a key given twice: YAML would keep the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"Key {key!r} is given twice (line {line}); keep one of them.")
            seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Parse a YAML mapping.

    Raises:
        ConfigError: the text is not YAML (with line and column), or is not a mapping.
    """
    try:
        content = yaml.load(text, Loader=_NoDuplicates)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"Not valid YAML{place}: {error.problem}", where) from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise ConfigError(f"A recipe is a list of `key: value` lines; found {found}", where)
    return content


def parse_overrides(words: Iterable[str]) -> dict[str, Any]:
    """Turn `["data.validation=0.2", "seed=3"]` into nested values; each value is read as YAML.

    Raises:
        ConfigError: a word has no `=`, or its value is not YAML.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"{word!r} is not of the form key=value, such as learning_rate=1e-4.")
        try:
            value = yaml.safe_load(text) if text else ""
        except yaml.YAMLError as error:
            raise ConfigError(f"The value in {word!r} is not valid YAML.") from error
        target = values
        *parents, last = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"{word!r} sets a key below {parent!r}, which has a value.")
        target[last] = value
    return values


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` put on top, mappings merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = (
            merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe file and put `key=value` overrides on top.

    Args:
        path: of the file; or one more `key=value`, where the words are the whole recipe.
        overrides: keys within others are written `data.train=FILE`; later ones win.

    Raises:
        ConfigError: the file is missing or wrong; every fault is listed.
    """
    first, path = str(path), Path(path)
    if "=" in first and not path.exists():
        return Recipe.check(parse_overrides([first, *overrides]), "the command")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; a recipe is a YAML file")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no recipe {path}. `tunewright init --data FILE` writes one."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8: {error.reason}.") from error
    return Recipe.check(merge(parse_yaml(text, str(path)), parse_overrides(overrides)), str(path))


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, keys in the order of the model, nothing left out."""
    values = recipe.model_dump(mode="json")
    own = [name for name in Recipe.model_fields if name in Recipe.__annotations__]
    return yaml.safe_dump(
        {name: values.pop(name) for name in own} | values,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
    )
