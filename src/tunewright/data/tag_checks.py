"""Checks of tagged words: entities that cannot be learned or found, types that few rows show.

Faults of a scheme are no findings: such a source is refused when it is read (`tags.py`). Tags that
contradict each other are among the checks of copies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tunewright.data.finding import EXAMPLES, Finding, Places, counted, listed, show_rows, shown
from tunewright.data.label_checks import FEWEST_OF_A_LABEL, skewed_ends
from tunewright.data.records import Splits, Task

_MOSTLY_EMPTY = 0.5
"""Share of rows without an entity above which it is said."""


def check_tags(splits: Splits) -> Iterator[Finding]:
    """What is wrong with the entities of a data set of tagged words; nothing for other tasks."""
    if splits.task is not Task.TOKEN_CLASSIFICATION or not len(splits.train):
        return
    counts = Counter(kind for record in splits.train for kind in record.entity_types)
    if not counts:
        yield Finding(
            "label.single",
            "error",
            len(splits.train),
            "No training row has an entity: every tag is O.",
            "There is nothing to learn. Check the column of tags.",
            show_rows(splits, [("train", 0)]),
        )
        return
    yield from _empty_rows(splits)
    yield from _unseen(splits, counts)
    yield from _rare(splits, counts)
    yield from _skewed(counts)
    yield from _wordless(splits)


def _empty_rows(splits: Splits) -> Iterator[Finding]:
    places = Places()
    for index, record in enumerate(splits.train):
        if not record.entity_types:
            places.add("train", index)
    share = len(places) / len(splits.train)
    if share > _MOSTLY_EMPTY:
        yield Finding(
            "tags.empty",
            "info",
            len(places),
            f"{counted(len(places), 'training row has', 'training rows have')} no entity "
            f"({share:.0%}); all of their tags are O.",
            "Nothing needs doing if the texts have none. If they were not annotated, leave them "
            "out: they teach the model to find nothing.",
            show_rows(splits, places),
            places,
        )


def _unseen(splits: Splits, counts: Counter[str]) -> Iterator[Finding]:
    places, names = Places(), set[str]()
    for part in ("validation", "test"):
        for index, record in enumerate(dict(splits.items())[part]):
            new = set(record.entity_types) - counts.keys()
            if new:
                places.add(part, index)
                names |= new
    if places:
        yield Finding(
            "label.unseen",
            "error",
            len(places),
            f"{counted(len(places), 'row held out has', 'rows held out have')} entities of types "
            f"that train lacks: {listed(sorted(names))}. No model could find them.",
            "Add such rows to train, correct the tags, or leave those rows out.",
            show_rows(splits, places),
            places,
        )


def _rare(splits: Splits, counts: Counter[str]) -> Iterator[Finding]:
    rare = sorted((k for k, n in counts.items() if n < FEWEST_OF_A_LABEL), key=lambda k: counts[k])
    places = Places()
    for index, record in enumerate(splits.train if rare else ()):
        if {*rare} & {*record.entity_types}:
            places.add("train", index)
    if places:
        yield Finding(
            "label.rare",
            "warning",
            len(places),
            f"{counted(len(rare), 'entity type has', 'entity types have')} fewer than "
            f"{FEWEST_OF_A_LABEL} entities in train: {listed(rare)}, in "
            f"{counted(len(places), 'row')}.",
            "Collect more of them, or merge them with a similar type.",
            show_rows(splits, places),
            places,
        )


def _skewed(counts: Counter[str]) -> Iterator[Finding]:
    if ends := skewed_ends(counts):
        most, least = ends
        yield Finding(
            "balance.skewed",
            "warning",
            least[1],
            f"The entity type {most[0]!r} has {most[1]:,} training entities, {least[0]!r} has "
            f"{least[1]:,}: {most[1] / least[1]:.0f} times fewer.",
            "Judge by entity macro-F1 and by the F1 of each type; collect more of the rare types.",
        )


def _wordless(splits: Splits) -> Iterator[Finding]:
    """Words of blanks only, which no tokenizer has a token for."""
    places, examples = Places(), list[str]()
    words = 0
    for part, dataset in splits.items():
        for index, record in enumerate(dataset):
            empty = [i for i, word in enumerate(record.words) if not word.strip()]
            if empty:
                words += len(empty)
                places.add(part, index)
                if len(examples) < EXAMPLES:
                    examples.append(
                        f"{part} row {record.row or index + 1}, word {empty[0] + 1}: "
                        f"{shown(record.text)!r}"
                    )
    if places:
        yield Finding(
            "tags.blank_word",
            "warning",
            len(places),
            f"{counted(words, 'word is', 'words are')} empty or blank, in "
            f"{counted(len(places), 'row')}: a model sees nothing of them, so their tags are "
            "neither trained nor found.",
            "Take such words out together with their tags.",
            tuple(examples),
            places,
        )
