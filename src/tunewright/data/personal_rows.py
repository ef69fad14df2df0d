"""Rows that hold personal data or secrets; what is shown of them is masked.

This module knows records. What is personal in a text is known by `data.personal`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tunewright.data.finding import EXAMPLES, Finding, Place, Places, counted, record_at, shown
from tunewright.data.personal import find_personal, mask_personal
from tunewright.data.records import Splits
from tunewright.data.survey import Batch


class Personal:
    """Personal data and secrets, which a model may learn by heart. Examples are masked."""

    def __init__(self) -> None:
        self._secret, self._personal = Places(), Places()
        self._kinds: Counter[str] = Counter()

    def see(self, batch: Batch) -> None:
        """Look for them in each text."""
        for index, text in enumerate(batch.texts, start=batch.start):
            found = {piece.kind for piece in find_personal(text)}
            if "secret" in found:
                self._secret.add(batch.part, index)
            if found - {"secret"}:
                self._personal.add(batch.part, index)
                self._kinds.update(found - {"secret"})

    def findings(self, splits: Splits) -> Iterator[Finding]:
        """What was found, when every row was seen."""
        secret, personal, kinds = self._secret, self._personal, self._kinds
        if secret:
            yield _masked_finding(
                "secret.key",
                splits,
                secret,
                f"{counted(len(secret), 'row holds', 'rows hold')} what looks like a password or "
                "a key of a service.",
                "Revoke it if it is real, and mask it with --fix OUT --mask.",
            )
        if personal:
            each = ", ".join(f"{kind} in {kinds[kind]:,}" for kind in sorted(kinds))
            yield _masked_finding(
                "personal.data",
                splits,
                personal,
                f"{counted(len(personal), 'row holds', 'rows hold')} personal data ({each}), "
                "which a model may learn by heart and repeat.",
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
