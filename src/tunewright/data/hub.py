"""A data set on the Hugging Face hub, or in its local cache, becomes tables by part.

`datasets` fetches, caches and reads; it runs no code of a data set. With `HF_HUB_OFFLINE=1` only
the cache is read. This module knows ids. It does not know columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from tunewright.data.files import READERS
from tunewright.data.folders import Parts, saved_parts
from tunewright.errors import DataError

_ID = re.compile(
    r"(?P<id>[\w.-]+/[\w.-]+?)(?::(?P<config>[\w.-]+))?(?:\[(?P<split>[\w.-]+)\])?", re.ASCII
)
_CONFIGS = re.compile(
    r"(?:available configs[^\[]*|available: )\[(.*?)\]|configurations in the cache: ([^\n]+)",
    re.IGNORECASE,
)

Loader = Callable[..., Any]
"""As `datasets.load_dataset(path, name)`."""


def is_id(source: str) -> bool:
    """Whether a source has the form `org/name`, `org/name:config` or `org/name:config[split]`."""
    found = _ID.fullmatch(source)
    if found is None or any(part in (".", "..") for part in found["id"].split("/")):
        return False
    return PurePosixPath(found["id"]).suffix.lower() not in READERS


def read(source: str, not_here: str, loader: Loader | None = None) -> Parts:
    """Read a data set by its id.

    Args:
        source: `org/name`, with `:config` where it has several configurations, and with
            `[split]` to read only that split, as training rows.
        not_here: why the source is no local path, for the message.
        loader: what loads it. Default: `datasets.load_dataset`.

    Raises:
        DataError: it is neither on the hub nor in the cache, its configuration is missing or
            unknown, or its splits are not those of training.
    """
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    found = _ID.fullmatch(source)
    assert found is not None
    identity, config, split = found["id"], found["config"], found["split"]
    try:
        loaded = (loader or datasets.load_dataset)(identity, config)
    except (OSError, ValueError, HfHubHTTPError, datasets.exceptions.DatasetsError) as error:
        raise DataError(_why(identity, config, error, not_here)) from error
    by_split = dict(loaded)
    if split is not None:
        if split not in by_split:
            raise DataError(
                f"{identity} has no split {split!r}; it has {', '.join(by_split)}. Name one of "
                f"them, such as {identity}[{next(iter(by_split))}]."
            )
        return saved_parts({"": by_split[split]}, source)
    example = f"{identity}{f':{config}' if config else ''}[{next(iter(by_split))}]"
    return saved_parts(by_split, source, f"Read one split as training rows, such as {example}.")


def _why(identity: str, config: str | None, error: Exception, not_here: str) -> str:
    """What went wrong, from the words of `datasets`, which has no class for each fault."""
    import datasets

    offline = datasets.config.HF_HUB_OFFLINE
    listed = _CONFIGS.search(str(error))
    if listed:
        names = [name.strip(" '\"") for name in (listed[1] or listed[2]).split(",")]
        place = " in the cache" if offline else ""
        said = f"has no configuration {config!r}" if config else "has several configurations"
        return (
            f"{identity} {said}; those{place} are {', '.join(names)}. Name one behind a colon, "
            f"such as {identity}:{names[0]}."
        )
    if offline:
        return (
            f"{not_here} As a hub id, {identity} is not in the cache of `datasets`, and "
            "HF_HUB_OFFLINE keeps it from being fetched. Unset it once to fetch the data set."
        )
    reason = str(error).strip().splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return f"{not_here} As a hub id, {identity} could not be read: {reason}."
