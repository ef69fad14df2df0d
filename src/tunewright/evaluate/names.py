"""Short names for models that stay apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath


def distinct_names(models: Sequence[str]) -> list[str]:
    """A name a model: the end of its path, as long as is needed to tell it from the others.

    Two models given by the same path are told apart by a number: `run`, `run (2)`.
    """
    parts = [PurePath(model).parts or (model,) for model in models]
    depths = [1] * len(models)
    while True:
        names = ["/".join(p[-depth:]) for p, depth in zip(parts, depths, strict=True)]
        taken = Counter(names)
        grown = [
            depth + 1 if taken[name] > 1 and depth < len(p) else depth
            for name, p, depth in zip(names, parts, depths, strict=True)
        ]
        if grown == depths:
            break
        depths = grown
    distinct: list[str] = []
    for name in names:
        number, unique = 1, name
        while unique in distinct:
            number += 1
            unique = f"{name} ({number})"
        distinct.append(unique)
    return distinct
