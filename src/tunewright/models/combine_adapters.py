"""Several adapters of one base become one, each with a weight.

The arithmetic is PEFT's (`add_weighted_adapter`). This module knows which adapters may be combined
in which way, and writes the result as a finished model.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from tunewright.artifacts import Artifact, require_space, sha256_file
from tunewright.errors import ArtifactError, ConfigError, ModelError, unknown_name
from tunewright.models.adapter_folder import (
    WEIGHTS,
    AdapterFolder,
    hash_weights,
    read_adapter,
    require_alike,
    require_one_base,
)
from tunewright.models.input_settings import InputSettings, write_settings
from tunewright.models.load import (
    load_tokenizer,
    quiet_loading,
    tokenizer_folder,
)
from tunewright.models.skeleton import skeleton

KIND = "adapter"
"""Of the manifest of a combined adapter."""
_ALIKE = ("method", "task", "template", "labels", "quantization")
_NAME = "default"
"""PEFT writes an adapter of this name to the top of a folder."""


class Combination(StrEnum):
    """How updates become one; the names are PEFT's.

    Without `_svd` the A and B matrices are combined by themselves, which needs one rank and is an
    approximation; with it their products are, and the result is cut back to a rank.
    """

    CAT = "cat"
    """The weighted sum of the updates, exactly; its rank is the sum of theirs."""
    SVD = "svd"
    """The weighted sum of the updates, cut to a rank by a singular value decomposition."""
    LINEAR = "linear"
    """Weighted sums of the A and of the B matrices, whose product has mixed terms."""
    TIES = "ties"
    """Small values are dropped, signs elected, and what agrees is averaged (arXiv 2306.01708)."""
    TIES_SVD = "ties_svd"
    DARE_LINEAR = "dare_linear"
    """Values are dropped at random and the rest scaled up, then summed (arXiv 2311.03099)."""
    DARE_LINEAR_SVD = "dare_linear_svd"
    DARE_TIES = "dare_ties"
    """Values are dropped at random and the rest scaled up, then as in `ties`."""
    DARE_TIES_SVD = "dare_ties_svd"
    MAGNITUDE_PRUNE = "magnitude_prune"
    """Small values are dropped, then summed."""
    MAGNITUDE_PRUNE_SVD = "magnitude_prune_svd"

    @property
    def by_product(self) -> bool:
        """Whether it works on the updates themselves, so that ranks may differ."""
        return self.value == "cat" or self.value.endswith("svd")

    @property
    def drops(self) -> bool:
        """Whether only a share of the values is kept."""
        return self.value.startswith(("ties", "dare", "magnitude_prune"))


@dataclass(frozen=True, slots=True)
class Combined:
    """A combined adapter.

    Attributes:
        folder: a finished model in PEFT's layout.
        kind: how it was made.
        weights: of the adapters, in their order.
        rank: of the new update, or None for IA3, which has none.
        notes: what a reader should know.
    """

    folder: Path
    kind: Combination
    weights: tuple[float, ...]
    rank: int | None
    notes: tuple[str, ...]


def combine_adapters(
    adapters: Sequence[str],
    output_dir: str,
    weights: Sequence[float] | None = None,
    kind: str | None = None,
    *,
    rank: int | None = None,
    density: float | None = None,
    seed: int = 0,
) -> Combined:
    """Combine adapters of one base and write the result as a finished model.

    Args:
        adapters: folders of two or more LoRA or IA3 adapters.
        output_dir: a new or empty folder.
        weights: one an adapter; they may be negative. Default: equal ones with the sum 1.
        kind: a `Combination`. Default: `cat`, and `linear` for IA3, which has no other.
        rank: of the result, for kinds that end in svd. Default: the largest of the adapters.
        density: share of the values that is kept, for `ties`, `dare` and `magnitude_prune`.
        seed: of the values that `dare` drops.

    Raises:
        ConfigError: options are wrong or do not fit the kind.
        ModelError: the adapters cannot be combined, or not in this way.
        ArtifactError: `output_dir` has files in it.
    """
    found = [read_adapter(name) for name in adapters]
    chosen = _chosen_kind(kind, found)
    given = tuple(weights) if weights else (1 / max(1, len(found)),) * len(found)
    _check_options(found, given, chosen, rank, density)
    _check_adapters(found, chosen, given)
    settings = _settings(found)
    folder = Path(output_dir)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ArtifactError(f"{folder} has files in it. Give a new or empty folder.")
    size = sum(f.facts.weight_bytes for f in found)
    require_space(folder, 2 * size + 20_000_000, "The combined adapter")
    base = hash_weights(found[0].base.folder)
    if found[0].base_hashes and found[0].base_hashes != base:
        raise ModelError(
            f"The weights in {found[0].base.folder} are not those that {found[0].name} was trained "
            "on: they were changed since. Put the base back as it was."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        ready = Path(scratch) / "model"
        artifact = Artifact.create(
            ready,
            KIND,
            {
                "adapters": [f.name for f in found],
                "weights": list(given),
                "kind": chosen.value,
                "rank": rank,
                "density": density,
            },
            base | {f"adapter/{i}": sha256_file(f.folder / WEIGHTS) for i, f in enumerate(found)},
            seed,
        )
        combined_rank = _write(found, ready, settings, given, chosen, rank, density, seed)
        artifact.finish("done", rank=combined_rank)
        if folder.exists():
            folder.rmdir()
        shutil.move(ready, folder)
    return Combined(folder, chosen, given, combined_rank, _notes(found))


def _chosen_kind(kind: str | None, found: Sequence[AdapterFolder]) -> Combination:
    scales = bool(found) and found[0].method == "IA3"
    if kind is None:
        return Combination.LINEAR if scales else Combination.CAT
    try:
        return Combination(kind.lower())
    except ValueError as error:
        raise ConfigError(
            unknown_name("kind of combination", kind, [k.value for k in Combination])
        ) from error


def _check_options(
    found: Sequence[AdapterFolder],
    weights: Sequence[float],
    kind: Combination,
    rank: int | None,
    density: float | None,
) -> None:
    """Refuse options that contradict one another; all faults at once."""
    faults = []
    if len(found) < 2:
        faults.append(f"Combining needs at least two adapters; {len(found)} was given.")
    if len(weights) != len(found):
        faults.append(
            f"There are {len(found)} adapters and {len(weights)} weights; give one weight for each."
        )
    if not all(math.isfinite(weight) for weight in weights):
        faults.append(f"Weights must be finite numbers; they are {list(weights)}.")
    if kind.drops and density is None:
        faults.append(
            f"{kind.value} keeps only a share of the values, and density does not say which; the "
            "paper of TIES takes 0.2, that of DARE 0.1 and more."
        )
    if density is not None and not kind.drops:
        faults.append(f"density has no effect with {kind.value}, which drops nothing; remove it.")
    if density is not None and not 0 < density <= 1:
        faults.append(f"density is {density:g}; it is a share above 0, and at most 1.")
    if rank is not None and not kind.value.endswith("svd"):
        faults.append(
            f"rank has no effect with {kind.value}, whose rank follows from the adapters; remove "
            "it or use svd."
        )
    if rank is not None and rank < 1:
        faults.append(f"rank is {rank}; it is at least 1.")
    if faults:
        raise ConfigError(faults)


def _check_adapters(
    found: Sequence[AdapterFolder], kind: Combination, weights: Sequence[float]
) -> None:
    """Refuse adapters that PEFT could not combine, or would combine into something else."""
    for adapter in found:
        if adapter.method not in ("LORA", "IA3"):
            raise ModelError(
                f"{adapter.name} is a {adapter.method} adapter. Only LoRA and IA3 adapters can be "
                "added; virtual tokens cannot. Switch between such adapters instead."
            )
        if adapter.config.get("use_dora"):
            raise ModelError(
                f"{adapter.name} was trained with use_dora, whose lengths cannot be added. Train "
                "it without use_dora, or switch between adapters instead."
            )
        if adapter.settings is not None and adapter.settings.task.has_new_head:
            raise ModelError(
                f"{adapter.name} has a head for {adapter.settings.task.value} that was trained "
                "whole beside the update, and heads cannot be added. Adapters of tasks without a "
                "new head can be combined: instruction, text, embedding."
            )
        if adapter.config.get("modules_to_save"):
            raise ModelError(
                f"{adapter.name} has modules that were trained whole "
                f"({', '.join(adapter.config['modules_to_save'])}), which cannot be added. Train "
                "it without modules_to_save."
            )
    if any(f.settings is None for f in found):
        missing = next(f.name for f in found if f.settings is None)
        raise ModelError(
            f"{missing} has no tunewright.json beside its weights, so it is not known how rows "
            "become tokens. Use adapters that Tunewright trained."
        )
    require_one_base(found)
    require_alike(found, _ALIKE)
    if found[0].method == "IA3":
        if kind is not Combination.LINEAR:
            raise ModelError(f"IA3 adapters are scales, which only linear combines, not {kind}.")
        if not math.isclose(sum(weights), 1, abs_tol=1e-6):
            raise ModelError(
                f"The weights of IA3 adapters must have the sum 1, because a scale of 1 changes "
                f"nothing; it is {sum(weights):g}."
            )
        return
    ranks = {f.name: int(f.config["r"]) for f in found}
    uneven = [f.name for f in found if f.config.get("rank_pattern")]
    if not kind.by_product and (len(set(ranks.values())) > 1 or uneven):
        told = ", ".join(f"{name} has {r}" for name, r in ranks.items())
        raise ModelError(
            f"{kind.value} combines matrices of one rank, and the ranks differ: {told}"
            f"{' (and ' + uneven[0] + ' several)' if uneven else ''}. Use cat or "
            f"{'svd' if kind is Combination.LINEAR else kind.value + '_svd'}."
        )
    kinds = {type(f.config.get("target_modules")) for f in found}
    if len(kinds) > 1:
        raise ModelError(
            "One adapter names its layers by a pattern and another by a list, which PEFT cannot "
            "join. Train them with lora_target_modules written alike."
        )


def _write(
    found: Sequence[AdapterFolder],
    target: Path,
    settings: InputSettings,
    weights: Sequence[float],
    kind: Combination,
    rank: int | None,
    density: float | None,
    seed: int,
) -> int | None:
    """Write the combined adapter and what belongs beside it; return its rank."""
    import torch
    from peft import PeftModel

    first = found[0]
    names = [f"adapter_{i}" for i in range(len(found))]
    with quiet_loading(), torch.random.fork_rng():
        torch.manual_seed(seed)
        base = skeleton(first.base, settings.task)
        model: Any = PeftModel.from_pretrained(base, first.folder, names[0])
        for name, other in zip(names[1:], found[1:], strict=True):
            model.load_adapter(other.folder, name)
        for config in model.peft_config.values():
            config.inference_mode = True
        if first.method == "IA3":
            model.base_model.add_weighted_adapter(names, list(weights), _NAME)
        else:
            for config in model.peft_config.values():
                # The new update is written with a scale of 1, which alpha / sqrt(r) would not be,
                # and nothing may be taken out of the base for it.
                config.use_rslora, config.init_lora_weights = False, True
            options = {"svd_rank": rank, "svd_full_matrices": False, "density": density}
            model.base_model.add_weighted_adapter(names, list(weights), _NAME, kind, **options)
        model.save_pretrained(target, selected_adapters=[_NAME], save_embedding_layers=False)
        load_tokenizer(tokenizer_folder(first.folder, first.base)).save_pretrained(target)
    (target / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    generation = first.folder / "generation_config.json"
    if generation.is_file():
        shutil.copyfile(generation, target / generation.name)
    write_settings(target, settings, first.dtype or "float32")
    return None if first.method == "IA3" else int(model.peft_config[_NAME].r)


def _settings(found: Sequence[AdapterFolder]) -> InputSettings:
    """How rows become tokens for the combination: as for the first, and as long as for any."""
    known = [f.settings for f in found if f.settings is not None]
    return replace(known[0], max_length=max(s.max_length for s in known))


def _notes(found: Sequence[AdapterFolder]) -> tuple[str, ...]:
    """What differed between the adapters and was taken from the first."""
    notes = []
    for name, what in (("system", "system messages"), ("source_prefix", "prefixes of sources")):
        values = [getattr(f.settings, name) for f in found]
        if len(set(values)) > 1:
            notes.append(
                f"The adapters were trained under different {what}; the combination has that of "
                f"{found[0].name}: {values[0]!r}."
            )
    return tuple(notes)
