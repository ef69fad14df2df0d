"""What the folder of an adapter says: its method, its base, and how it was trained.

Several adapters can share a base only where it is the same one. What decides is the SHA-256 of its
weights that a run's manifest keeps; where there is none, the files are read. This module knows the
layout of PEFT and of runs. It loads no weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunewright.artifacts import MANIFEST, read_json, sha256_file
from tunewright.errors import ModelError
from tunewright.models.catalogue import model_folder
from tunewright.models.input_settings import InputSettings, adapter_dtype, read_settings
from tunewright.models.inspect import ModelFacts, inspect_model

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """An adapter on disk.

    Attributes:
        name: as the user wrote it.
        folder: where it is.
        facts: its own; `facts.base` is the name of its base.
        base: the facts of its base.
        config: PEFT's configuration.
        settings: how its rows became tokens, or None when another program trained it.
        base_hashes: SHA-256 of the base's weight files when it was trained, by name; empty where
            nobody wrote them down.
    """

    name: str
    folder: Path
    facts: ModelFacts
    base: ModelFacts
    config: dict[str, Any]
    settings: InputSettings | None
    base_hashes: dict[str, str]

    @property
    def method(self) -> str:
        """PEFT's name of the method, such as `LORA`."""
        return str(self.config.get("peft_type"))

    @property
    def dtype(self) -> str | None:
        """The dtype of the base in training, or None when another program trained it."""
        return adapter_dtype(self.folder) if self.settings is not None else None


def read_adapter(name: str) -> AdapterFolder:
    """Read what an adapter's folder says.

    Raises:
        ModelError: there is no such folder, it holds a whole model, or its base is not here.
    """
    folder = model_folder(name)
    facts = inspect_model(folder)
    if not facts.is_adapter:
        raise ModelError(
            f"{name} is a whole model, not an adapter. An adapter's folder has {CONFIG}; methods "
            "full and partial make none."
        )
    assert facts.base is not None
    recorded = {}
    if (folder / MANIFEST).is_file():
        parents = read_json(folder / MANIFEST).get("parents", {})
        recorded = {key: value for key, value in parents.items() if key.startswith("model/")}
    return AdapterFolder(
        name,
        folder,
        facts,
        inspect_model(model_folder(facts.base)),
        json.loads((folder / CONFIG).read_text(encoding="utf-8")),
        read_settings(folder),
        recorded,
    )


def hash_weights(folder: Path) -> dict[str, str]:
    """SHA-256 of a base's weight files, by name."""
    return {f"model/{p.name}": sha256_file(p) for p in sorted(folder.glob("*.safetensors"))}


def require_one_base(adapters: Sequence[AdapterFolder]) -> None:
    """Refuse adapters whose bases differ.

    Two folders of one base are told to be the same by the SHA-256 of their weights.

    Raises:
        ModelError: names two adapters, their bases, and how they differ.
    """
    first = adapters[0]
    for other in adapters[1:]:
        same_folder = first.base.folder.resolve() == other.base.folder.resolve()
        if same_folder and not (first.base_hashes and other.base_hashes):
            continue
        ours = first.base_hashes or hash_weights(first.base.folder)
        theirs = other.base_hashes or hash_weights(other.base.folder)
        if ours != theirs:
            place = (
                f"is {first.base.folder}, whose weights were changed between the two runs"
                if same_folder
                else f"are {first.base.folder} and {other.base.folder}, with other weights"
            )
            raise ModelError(
                f"{first.name} and {other.name} do not belong to one base: "
                f"{'it' if same_folder else 'theirs'} {place}. An adapter fits only the weights it "
                "was trained on; train both on one base."
            )


def require_alike(adapters: Sequence[AdapterFolder], names: Sequence[str]) -> None:
    """Refuse adapters that were trained unlike one another in what a shared model needs.

    Args:
        adapters: two or more.
        names: attributes of `AdapterFolder` or of its settings, such as `task`.

    Raises:
        ModelError: names two adapters, and both values of what differs.
    """
    first = adapters[0]
    for other in adapters[1:]:
        for name in names:
            ours, theirs = _attribute(first, name), _attribute(other, name)
            if ours != theirs:
                raise ModelError(
                    f"{first.name} and {other.name} do not fit together: {name.replace('_', ' ')} "
                    f"is {ours!r} for the one and {theirs!r} for the other. Use adapters that "
                    "agree in it."
                )


def _attribute(adapter: AdapterFolder, name: str) -> Any:
    if hasattr(adapter, name):
        return getattr(adapter, name)
    value = getattr(adapter.settings, name, None)
    return str(value) if name == "task" and value is not None else value
