"""What all configuration models share: strict keys, and every fault in words a user can act on.

This module knows pydantic. It does not know any stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from tunewright.errors import ConfigError, did_you_mean

Model = TypeVar("Model", bound="Strict")


class Strict(BaseModel):
    """A configuration model: unknown keys are errors, values are checked on assignment."""

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, use_attribute_docstrings=True
    )

    def contradictions(self) -> list[str]:
        """Faults between fields that are each valid alone. Stages override this."""
        return []

    @classmethod
    def check(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """Validate `values`; report every fault at once.

        Raises:
            ConfigError: all faults, each with the close match or the allowed values.
        """
        try:
            config = cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(_faults(cls, error), where) from error
        if found := config.contradictions():
            raise ConfigError(found, where)
        return config


_BRANCHES = {"str", "list[str]", "int", "float", "bool"}


def _faults(model: type[BaseModel], error: ValidationError) -> list[str]:
    faults = []
    for item in error.errors():
        # Pydantic adds the branch of a union (`list[str]`) to the path; a user never wrote it.
        path = [str(part) for part in item["loc"] if part not in _BRANCHES]
        name = ".".join(path)
        if item["type"] == "extra_forbidden":
            known = _fields_at(model, path[:-1])
            hint = did_you_mean(path[-1], known)
            where = f" in {'.'.join(path[:-1])}" if path[:-1] else ""
            listed = "" if hint else f" Known keys: {', '.join(known)}."
            faults.append(f"Unknown key {path[-1]!r}{where}.{hint}{listed}")
        elif item["type"] == "missing":
            faults.append(f"{name} is missing; it has no default.")
        elif item["type"] == "enum" or item["type"] == "literal_error":
            expected = str(item.get("ctx", {}).get("expected", ""))
            options = [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]
            hint = did_you_mean(str(item["input"]), options)
            faults.append(f"{name} is {item['input']!r}; it must be one of {expected}.{hint}")
        else:
            said = item["msg"].removeprefix("Value error, ")
            faults.append(f"{name or 'value'} is {item['input']!r}: {said}.")
    return list(dict.fromkeys(faults))


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    """Names of the keys allowed at `path` below `model`."""
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        # A model that may be left out is a union with None.
        options = [annotation, *get_args(annotation)]
        nested = [t for t in options if isinstance(t, type) and issubclass(t, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return sorted(model.model_fields)
