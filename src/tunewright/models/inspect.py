"""Facts about a model, read from its folder without loading its weights."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunewright.errors import ModelError

Kind = Literal["encoder", "decoder", "encoder-decoder"]

UNBOUNDED = 1_000_000
"""Tokens that a model without positions of its own takes: as many as there is memory for."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What can be known of a model from its files.

    Attributes:
        folder: where it is.
        kind: encoder, decoder or encoder-decoder.
        architecture: the `model_type` of its configuration.
        parameters: number of weights in the files (an adapter's folder counts the adapter).
        max_length: longest input in tokens; `UNBOUNDED` where positions are relative. An
            encoder-decoder model may have so many in its source, and in its target.
        hidden_size, layers, vocabulary: sizes of the network.
        weight_bytes: size of the weights on disk.
        is_adapter: the folder holds a PEFT adapter, not a whole model.
        base: for an adapter, the base it belongs to.
    """

    folder: Path
    kind: Kind
    architecture: str
    parameters: int
    max_length: int
    hidden_size: int
    layers: int
    vocabulary: int
    weight_bytes: int
    is_adapter: bool = False
    base: str | None = None


def is_adapter(name: str) -> bool:
    """Whether `name` is a folder with a PEFT adapter."""
    return (Path(name).expanduser() / "adapter_config.json").is_file()


def inspect_model(folder: Path) -> ModelFacts:
    """Read the facts of the model, or of the adapter, in `folder`.

    Raises:
        ModelError: a file that a model needs is missing; names it and what is there.
    """
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base, place = _base_of(folder, _json(adapter))
        facts = inspect_model(place)
        parameters, size = _count(folder, "adapter_model")
        return ModelFacts(
            folder,
            facts.kind,
            facts.architecture,
            parameters,
            facts.max_length,
            facts.hidden_size,
            facts.layers,
            facts.vocabulary,
            size,
            is_adapter=True,
            base=base,
        )
    config = _json(folder / "config.json")
    parameters, size = _count(folder, "model")
    return ModelFacts(
        folder,
        _kind(config),
        str(config.get("model_type", "unknown")),
        parameters,
        _longest(config),
        _first(config, _WIDTHS),
        _first(config, _LAYERS),
        int(config.get("vocab_size") or 0),
        size,
    )


def _base_of(folder: Path, config: dict[str, Any]) -> tuple[str, Path]:
    """The name and the folder of an adapter's base.

    PEFT writes down the folder that the base was in. Where that is gone, as on another machine, the
    base is looked for by the name that the recipe had for it.
    """
    from tunewright.models.catalogue import model_folder

    base = str(config.get("base_model_name_or_path") or "")
    ours = folder / "tunewright.json"
    named = str(_json(ours).get("base") or "") if ours.is_file() else ""
    names = [name for name in dict.fromkeys((base, named)) if name]
    faults = []
    for name in names:
        try:
            return name, model_folder(name)
        except ModelError as error:
            faults.append(str(error))
    raise ModelError(
        f"The base of the adapter in {folder} cannot be found. "
        f"{faults[-1] if faults else 'Its adapter_config.json names none.'}"
    )


_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "emb_dim")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")
_POSITIONS = (
    "max_position_embeddings", "max_decoder_position_embeddings", "n_positions", "max_seq_len",
)  # fmt: skip
_COUNTED_FROM_PADDING = (
    "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet",
    "longformer", "data2vec-text", "xmod", "luke", "ibert", "esm",
)  # fmt: skip
"""Architectures whose first position is one above the padding token's number, as in fairseq."""


def _longest(config: dict[str, Any]) -> int:
    """Tokens that the network has positions for."""
    if config.get("is_encoder_decoder") and config.get("relative_attention_num_buckets"):
        return UNBOUNDED  # T5 and its kin; their `n_positions` is only what they were trained on
    positions = _first(config, _POSITIONS) or 512
    if config.get("model_type") in _COUNTED_FROM_PADDING:
        positions -= int(config.get("pad_token_id") or 0) + 1
    return positions


def _first(config: dict[str, Any], names: Sequence[str]) -> int:
    """The first of these settings that a configuration has; 0 where it has none."""
    return int(next((config[name] for name in names if config.get(name)), 0))


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        there = sorted(p.name for p in path.parent.glob("*"))[:12]
        raise ModelError(
            f"{path.parent} has no {path.name}, so it holds no model. It holds: "
            f"{', '.join(there) or 'nothing'}."
        ) from error
    except json.JSONDecodeError as error:
        raise ModelError(f"{path} is damaged: {error}.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a configuration: it holds a {type(content).__name__}.")
    return content


_EMBEDS = ("shared", "relative_attention_bias")
"""Embeddings of encoder-decoder models that are not called so."""


def linear_layers(folder: Path) -> set[str]:
    """Last names of the modules with a weight matrix, embeddings left out."""
    names = set()
    for file in sorted(folder.glob("model*.safetensors")):
        for tensor, facts in _header(file).items():
            module, _, kind = tensor.rpartition(".")
            embeds = "embed" in module or module.endswith(_EMBEDS)
            if kind == "weight" and len(facts["shape"]) == 2 and not embeds:
                names.add(module.rpartition(".")[2])
    return names


def module_names(folder: Path) -> set[str]:
    """Names of the modules that have weights, or hold modules that have, each without its path."""
    files = sorted(folder.glob("model*.safetensors"))
    return {part for file in files for tensor in _header(file) for part in tensor.split(".")[:-1]}


def _header(file: Path) -> dict[str, Any]:
    """Shape and type of each tensor in a safetensors file, by name."""
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if length > file.stat().st_size:
            raise ModelError(f"{file} is damaged: its header claims {length:,} bytes.")
        try:
            header: dict[str, Any] = json.loads(handle.read(length))
        except ValueError as error:
            raise ModelError(f"{file} is damaged: its header is not JSON.") from error
    header.pop("__metadata__", None)
    return header


def _count(folder: Path, stem: str) -> tuple[int, int]:
    """Number of weights and bytes, from the headers of the safetensors files."""
    files = sorted(folder.glob(f"{stem}*.safetensors"))
    if not files:
        there = sorted(p.name for p in folder.glob("*"))[:12]
        raise ModelError(
            f"{folder} has no {stem}.safetensors. It holds: {', '.join(there)}. Only safetensors "
            "are read: other weight files can run code when they are opened."
        )
    parameters = sum(
        math.prod(tensor["shape"]) for file in files for tensor in _header(file).values()
    )
    return parameters, sum(file.stat().st_size for file in files)


def _kind(config: dict[str, Any]) -> Kind:
    if config.get("is_encoder_decoder"):
        return "encoder-decoder"
    architectures = " ".join(config.get("architectures") or [])
    if "ForCausalLM" in architectures or "LMHeadModel" in architectures:
        return "decoder"
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.get("model_type")
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "decoder"
    return "encoder"
