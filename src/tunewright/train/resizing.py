"""What a resumed run may change: how much it holds at once, never what it learns.

The rows of a step stay those that the run began with, whatever the size of a pass and the number of
processes: so do the order of the rows, the number of steps and the schedule.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tunewright.config.load import merge, parse_overrides
from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError, did_you_mean

SIZE, PASSES = "per_device_train_batch_size", "gradient_accumulation_steps"
PASS_KEYS = (SIZE, PASSES, "max_tokens_per_pass", "gradient_checkpointing")
"""Keys of how a step is cut into passes."""
SCORE_KEYS = ("per_device_eval_batch_size",)
_WHERE = "of the resumed run"
CHANGEABLE = (*PASS_KEYS, *SCORE_KEYS, "save_total_limit")


def resized(recipe: Recipe, words: Iterable[str], global_batch: int, processes: int) -> Recipe:
    """The recipe to go on with.

    Args:
        recipe: of the run, resolved.
        words: `key=value`, for keys of `CHANGEABLE`. Of the rows of a pass and the passes of a step
            one follows from the other.
        global_batch: rows of one step over all processes, when the run began.
        processes: that train now.

    Raises:
        ConfigError: a key would change the training, or the rows of a step cannot stay the same.
    """
    given = parse_overrides(words)
    known = recipe.model_dump(mode="json")
    wrong = [key for key in given if key not in CHANGEABLE]
    if wrong:
        raise ConfigError([_refused(key, known) for key in wrong])
    if global_batch % processes:
        raise ConfigError(
            f"A step of this run has {global_batch} rows, which {processes} processes cannot share "
            "evenly. Resume it with a number of processes that divides them."
        )
    rows = global_batch // processes
    size, passes = given.get(SIZE), given.get(PASSES)
    Recipe.check(merge(known, given), _WHERE)  # numbers are numbers from here on
    if size is None:
        # More processes than before may leave each with fewer rows than a pass had.
        size = rows // passes if passes else min(known[SIZE], rows)
    if passes is None:
        passes = rows // size
    if size * passes != rows:
        asked = ", ".join(f"{key}={given[key]}" for key in (SIZE, PASSES) if key in given)
        fitting = ", ".join(str(n) for n in range(1, rows + 1) if rows % n == 0)
        raise ConfigError(
            f"{asked or f'{processes} processes'} would change the training: a step of this run "
            f"has {rows} rows{' on each device' if processes > 1 else ''}, and {SIZE} x {PASSES} "
            f"must give as many. {SIZE} can be one of: {fitting}."
        )
    return Recipe.check(merge(known, given | {SIZE: size, PASSES: passes}), _WHERE)


def _refused(key: str, known: dict[str, Any]) -> str:
    if key not in known:
        return f"Unknown key {key!r}.{did_you_mean(key, CHANGEABLE)}"
    return (
        f"{key} cannot be changed in a run that has begun, whose training it would change. A "
        f"resumed run takes: {', '.join(CHANGEABLE)}. For another {key} begin a run in another "
        "output_dir."
    )


def differing_keys(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Keys in which two resolved recipes train differently; sizes that `resized` may change are no
    difference while the rows of a step are the same."""
    changed = sorted(key for key in other if one.get(key) != other[key] and key not in CHANGEABLE)
    rows = [(r.get(SIZE) or 0) * (r.get(PASSES) or 0) for r in (one, other)]
    return changed if rows[0] == rows[1] else [*changed, SIZE]
