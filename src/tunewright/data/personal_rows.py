"""Rows that hold personal data or secrets; what is shown of them is masked.

This module knows records. What is personal in a text is known by `data.personal`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tunewright.data.finding import EXAMPLES, Finding, Place, Places, counted, record_at, shown
from tunewright.data.personal import find_personal, mask_personal
from tunewright.data.records import Splits


def check_personal(splits: Splits) -> Iterator[Finding]:
    """Personal data and secrets, which a model may learn by heart. Examples are masked."""
    secret, personal = Places(), Places()
    kinds: Counter[str] = Counter()
    for name, part in splits.items():
        for index, record in enumerate(part):
            found = {piece.kind for piece in find_personal(record.plain_text)}
            if "secret" in found:
                secret.add(name, index)
            if found - {"secret"}:
                personal.add(name, index)
                kinds.update(found - {"secret"})
    if secret:
        yield _masked_finding(
            "secret.key",
            splits,
            secret,
            f"{counted(len(secret), 'row holds', 'rows hold')} what looks like a password or a key "
            "of a service.",
            "Revoke it if it is real, and mask it with --fix OUT --mask.",
        )
    if personal:
        each = ", ".join(f"{kind} in {kinds[kind]:,}" for kind in sorted(kinds))
        yield _masked_finding(
            "personal.data",
            splits,
            personal,
            f"{counted(len(personal), 'row holds', 'rows hold')} personal data ({each}), which a "
            "model may learn by heart and repeat.",
            "Mask it with --fix OUT --mask, unless the model needs it.",
        )


def _masked_finding(
    name: str, splits: Splits, places: Sequence[Place], message: str, fix: str
) -> Finding:
    examples = tuple(
        f"{part} row {record_at(splits, (part, index)).row or index + 1}: "
        f"{shown(mask_personal(record_at(splits, (part, index)).plain_text))!r}"
        for part, index in places[:EXAMPLES]
    )
    return Finding(name, "warning", len(places), message, fix, examples, places)
