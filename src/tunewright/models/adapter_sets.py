"""One base in memory with several adapters over it, one of which answers at a time.

The base is loaded once, however many adapters there are, and going from one to the next moves no
weights. This module knows PEFT. It does not know how adapters are trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tunewright.errors import ConfigError, ModelError, unknown_name
from tunewright.models.adapter_folder import (
    AdapterFolder,
    read_adapter,
    require_alike,
    require_one_base,
)
from tunewright.models.device import pick_device
from tunewright.models.input_settings import InputSettings
from tunewright.models.load import (
    Finished,
    load_below_adapter,
    load_tokenizer,
    quiet_loading,
    tokenizer_folder,
)

if TYPE_CHECKING:
    import torch

_ALIKE = ("method", "task", "dtype", "quantization")
"""What adapters over one base in memory must have in common."""


class AdapterSet:
    """Several adapters of one base, to be switched between.

    Args:
        adapters: folder by the name that it is called here; the first one is active.
        device: `auto`, `cpu`, `cuda` or `mps`.
        dtype: of the base. Default: that of the adapters' training, which must be one for all.

    Raises:
        ConfigError: no adapter is given.
        ModelError: the adapters do not belong to one base, or cannot share it: another method,
            task, number of labels, dtype or quantization. Of method `lora` ranks and targets may
            differ.
    """

    def __init__(
        self,
        adapters: Mapping[str, str],
        *,
        device: str = "auto",
        dtype: torch.dtype | None = None,
    ) -> None:
        from peft import PeftModel

        from tunewright.models.adapter_dtype import give_base_dtype
        from tunewright.models.lora_linear import speed_up_lora

        if not adapters:
            raise ConfigError("An adapter set needs at least one adapter, as in {'first': 'run'}.")
        folders = {name: read_adapter(folder) for name, folder in adapters.items()}
        _require_shared_base(list(folders.values()), dtype)
        # PEFT makes modules of the names, and not every word can name one.
        self._inner = {name: f"adapter_{i}" for i, name in enumerate(folders)}
        self._parts: dict[str, tuple[AdapterFolder, InputSettings, Any]] = {}
        for name, found in folders.items():
            assert found.settings is not None
            tokenizer = load_tokenizer(tokenizer_folder(found.folder, found.base))
            self._parts[name] = (found, found.settings, tokenizer)
        first, settings, _ = next(iter(self._parts.values()))
        base = load_below_adapter(first.folder, first.base, settings, device=device, dtype=dtype)
        self._model: Any = None
        with quiet_loading():
            for name, found in folders.items():
                if self._model is None:
                    self._model = PeftModel.from_pretrained(base, found.folder, self._inner[name])
                else:
                    self._model.load_adapter(found.folder, self._inner[name])
        give_base_dtype(self._model, base.dtype)
        speed_up_lora(self._model)
        if settings.quantization is None:
            self._model.to(pick_device(device))
        self._model.eval()
        self._active = next(iter(self._parts))
        self.use(self._active)

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters' names, in the order in which they were given."""
        return tuple(self._parts)

    @property
    def active(self) -> str:
        """The name of the adapter that answers now."""
        return self._active

    def use(self, name: str) -> Finished:
        """Let adapter `name` answer.

        Returns:
            The model with its tokenizer and input settings, as `load_finished` gives them for the
            adapter alone. The model is one for all adapters: it answers as `name` until another
            is taken.

        Raises:
            ConfigError: there is no such adapter in the set.
        """
        if name not in self._parts:
            raise ConfigError(unknown_name("adapter", name, self._parts))
        self._model.set_adapter(self._inner[name], inference_mode=True)
        self._active = name
        found, settings, tokenizer = self._parts[name]
        return Finished(self._model, tokenizer, settings, found.facts)

    @contextmanager
    def base(self) -> Iterator[Any]:
        """While it lasts, the model inside answers as the base does, without any adapter."""
        with self._model.disable_adapter():
            yield self._model


def _require_shared_base(adapters: list[AdapterFolder], dtype: torch.dtype | None) -> None:
    foreign = [a.name for a in adapters if a.settings is None]
    if foreign:
        raise ModelError(
            f"{', '.join(foreign)}: there is no tunewright.json beside the weights, so it is not "
            "known how rows become tokens. Use adapters that Tunewright trained."
        )
    require_one_base(adapters)
    require_alike(adapters, [name for name in _ALIKE if name != "dtype" or dtype is None])
    labels = {a.name: len(a.settings.labels) for a in adapters if a.settings is not None}
    if len(set(labels.values())) > 1:
        told = ", ".join(f"{name} has {n}" for name, n in labels.items())
        raise ModelError(
            f"The adapters have heads of different sizes, which one base cannot hold: {told} "
            "labels. Load them one by one."
        )
