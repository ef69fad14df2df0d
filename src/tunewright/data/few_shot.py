"""Which training rows to show a model as examples, and the prompt that shows them.

Texts are compared by TF-IDF of their words. This module knows records. It does not know models.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunewright.data.duplicates import exact_groups, normal_text
from tunewright.data.records import Dataset, Record, Splits, Task
from tunewright.errors import DataError, unknown_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STRATEGIES = ("balanced", "diverse", "nearest")

_RELEVANCE = 0.7
"""Weight of nearness beside novelty when examples near a query are chosen."""
_CANDIDATES = 200
"""The nearest rows from which those that differ are chosen."""


@dataclass(frozen=True, slots=True)
class FewShot:
    """Chosen examples.

    Attributes:
        strategy: how they were chosen.
        rows: positions in the training rows, in the order they are shown.
        records: the rows.
        messages: the examples as turns of a conversation, an instruction first for tasks with
            labels, the query last where there is one.
        prompt: the same as one text, which the answer continues.
    """

    strategy: str
    rows: list[int]
    records: list[Record]
    messages: list[dict[str, str]]
    prompt: str

    def to_dict(self) -> dict[str, Any]:
        """The examples as JSON-like values."""
        return {
            "strategy": self.strategy,
            "rows": self.rows,
            "examples": [record.to_row() for record in self.records],
            "messages": self.messages,
            "prompt": self.prompt,
        }


def few_shot(
    data: Splits | Dataset,
    k: int = 8,
    *,
    query: str | None = None,
    strategy: str | None = None,
    seed: int = 0,
) -> FewShot:
    """Choose examples and write the prompt.

    Args:
        data: parts, of which only the training rows are looked at, or training rows.
        k: examples; fewer where there are fewer different texts.
        query: the text to answer. A training row with the same text is not shown.
        strategy: `balanced` takes as many of each label as of the next, the most different rows of
            each; `diverse` the rows that differ most (farthest-first traversal, Gonzalez 1985);
            `nearest` those most like the query and unlike each other (maximal marginal relevance,
            Carbonell and Goldstein 1998, lambda 0.7), the most like it last, beside the query.
            Default: `nearest` with a query, otherwise `balanced` for class labels and `diverse`
            for the rest.
        seed: of the first row of `diverse`, and of the order of labels and rows of `balanced`.

    Raises:
        DataError: there is nothing to choose from, `nearest` has no query, `balanced` has no
            labels, or the task is plain text.
    """
    train = data.train if isinstance(data, Splits) else data
    chosen = strategy or _default(train, query)
    _check(train, k, query, chosen)
    rows = _distinct_rows(train, query)
    if not rows:
        raise DataError(
            f"{train.name or 'The data'} has no training row to show as an example. Give a source "
            "with training rows whose texts are not empty."
        )
    texts = [_asked(train.records[row]) for row in rows]
    noise = random.Random(seed)
    if chosen == "nearest":
        vectors = _vectors([*texts, str(query)])
        picked = _nearest(vectors[:-1], vectors[-1:], k)
    elif chosen == "diverse":
        picked = _farthest(_vectors(texts), k, noise)
    else:
        picked = _balanced([train.records[row] for row in rows], _vectors(texts), k, noise)
    found = [rows[i] for i in picked]
    records = [train.records[row] for row in found]
    messages = _messages(train.task, train.labels, records, query)
    return FewShot(chosen, found, records, messages, _prompt(messages, train.task, query))


class NearestRows:
    """Training rows to show beside many queries: texts are read once, then each query is quick.

    Args:
        train: training rows with labels or answers.
        k: examples for each query; fewer where there are fewer different texts.

    Raises:
        DataError: as `few_shot`.
    """

    def __init__(self, train: Dataset, k: int) -> None:
        _check(train, k, "any", "nearest")
        self.train, self.k = train, k
        self._rows = _distinct_rows(train, None)
        if not self._rows:
            raise DataError(f"{train.name or 'The data'} has no training row to show.")
        texts = [_asked(train.records[row]) for row in self._rows]
        self._keys = [normal_text(text) for text in texts]
        self._words = _vectorizer()
        self._vectors = self._words.fit_transform(texts)

    def near(self, record: Record) -> list[Record]:
        """The rows that `few_shot` would show before what a record asks, the nearest last."""
        query = _asked(record)
        key = normal_text(query)
        same = [i for i, other in enumerate(self._keys) if other == key]
        found = _nearest(self._vectors, self._words.transform([query]), self.k, same)
        return [self.train.records[self._rows[i]] for i in found]


def prompt_messages(
    task: Task, labels: Sequence[str], shown: Sequence[Record], query: str
) -> list[dict[str, str]]:
    """Turns of a conversation: what to do, the rows that are shown, and the text to answer.

    Args:
        task: of the rows; those with labels get an instruction.
        labels: that may be answered.
        shown: rows with their answers.
        query: the text to answer.
    """
    return _messages(task, labels, shown, query)


def prompt_text(messages: Sequence[dict[str, str]], task: Task) -> str:
    """The turns as one text that an answer continues, for models without a chat template."""
    return _prompt(messages, task, "")


def _default(train: Dataset, query: str | None) -> str:
    if query is not None:
        return "nearest"
    return "balanced" if train.task is Task.CLASSIFICATION else "diverse"


def _check(train: Dataset, k: int, query: str | None, strategy: str) -> None:
    if strategy not in STRATEGIES:
        raise DataError(unknown_name("strategy", strategy, STRATEGIES))
    if k < 1:
        raise DataError(f"{k} examples are asked for; at least 1 is needed.")
    if train.task is Task.TEXT:
        raise DataError(
            "Rows of plain text have no answers to show. Give rows with labels or answers, or "
            "map the columns."
        )
    if train.task is Task.TOKEN_CLASSIFICATION:
        raise DataError(
            "Rows of tagged words have no answer in words to show. Give rows with labels or "
            "answers, or map the columns."
        )
    if train.task in (Task.EMBEDDING, Task.QUESTION_ANSWERING):
        raise DataError(
            f"Rows of task {train.task.value!r} have no answer to show. Give rows with labels or "
            "answers to write, or map the columns."
        )
    if strategy == "nearest" and not (query or "").strip():
        raise DataError("Strategy 'nearest' needs a query to be near to. Give one.")
    if strategy == "balanced" and train.task is not Task.CLASSIFICATION:
        raise DataError(
            f"Strategy 'balanced' needs one class label a row; rows of task {train.task.value!r} "
            "have none. Use 'diverse', or 'nearest' with a query."
        )


def _distinct_rows(train: Dataset, query: str | None) -> list[int]:
    """The first row of each text that is not empty and not the query."""
    groups = exact_groups([_asked(record) for record in train])
    asked = normal_text(query) if query is not None else None
    return [group[0] for text, group in groups.items() if text != asked]


def _asked(record: Record) -> str:
    """What a row gives before its label or answer."""
    if not record.messages:
        return record.plain_text
    last = max(i for i, m in enumerate(record.messages) if m.role == "assistant")
    return "\n".join(m.content for m in record.messages[:last] if m.role == "user")


def _answer(record: Record) -> str:
    """The label or answer as text."""
    if record.messages:
        return [m.content for m in record.messages if m.role == "assistant"][-1]
    if isinstance(record.label, tuple):
        return ", ".join(record.label) or "none"
    return f"{record.label:g}" if isinstance(record.label, float) else str(record.label)


def _vectors(texts: Sequence[str]) -> Any:
    """[n x words] TF-IDF of length 1, so that a product is a cosine; sparse."""
    return _vectorizer().fit_transform(texts)


def _vectorizer() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    # Any run of letters and digits, so that no text of words is without one.
    return TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]", sublinear_tf=True)


def _likeness(vectors: Any, row: int) -> NDArray[np.float64]:
    """[n] cosine of every text with one of them."""
    found: NDArray[np.float64] = (vectors @ vectors[row].T).toarray().ravel()
    return found


def _farthest(vectors: Any, k: int, noise: random.Random) -> list[int]:
    """Rows each as far as can be from those before it."""
    import numpy as np

    count = vectors.shape[0]
    picked = [noise.randrange(count)]
    nearest = _likeness(vectors, picked[0])
    while len(picked) < min(k, count):
        nearest[picked] = np.inf
        picked.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, _likeness(vectors, picked[-1]))
    return picked


def _nearest(vectors: Any, query: Any, k: int, without: Sequence[int] = ()) -> list[int]:
    """Rows near the query and not near each other, the nearest last."""
    import numpy as np

    near = (vectors @ query.T).toarray().ravel()
    near[list(without)] = -np.inf
    pool = np.argsort(-near, kind="stable")[: max(k, _CANDIDATES)]
    pool = pool[np.isfinite(near[pool])]
    candidates = vectors[pool]
    novelty = np.zeros(len(pool))
    score = near[pool].copy()
    picked: list[int] = []
    while len(picked) < min(k, len(pool)):
        gain = _RELEVANCE * score - (1 - _RELEVANCE) * novelty
        gain[picked] = -np.inf
        picked.append(int(gain.argmax()))
        novelty = np.maximum(novelty, _likeness(candidates, picked[-1]))
    found = [int(pool[i]) for i in picked]
    return sorted(found, key=lambda row: (near[row], -row))


def _balanced(records: Sequence[Record], vectors: Any, k: int, noise: random.Random) -> list[int]:
    """As many rows of each label as of the next, mixed."""
    by_label: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        by_label.setdefault(str(record.label), []).append(i)
    # With fewer examples than labels, the labels with most rows are shown.
    order = sorted(by_label, key=lambda label: (-len(by_label[label]), label))
    quotas = dict.fromkeys(order, 0)
    left = min(k, len(records))
    while left:
        for label in order:
            if left and quotas[label] < len(by_label[label]):
                quotas[label] += 1
                left -= 1
    picked = []
    for label in order:
        if quotas[label]:
            members = by_label[label]
            chosen = _farthest(vectors[members], quotas[label], noise)
            picked += [members[i] for i in chosen]
    noise.shuffle(picked)
    return picked


def _messages(
    task: Task, labels: Sequence[str], records: Sequence[Record], query: str | None
) -> list[dict[str, str]]:
    said = _instruction(task, labels)
    messages = [{"role": "system", "content": said}] if said else []
    for record in records:
        messages.append({"role": "user", "content": _asked(record)})
        messages.append({"role": "assistant", "content": _answer(record)})
    if query is not None:
        messages.append({"role": "user", "content": query})
    return messages


def _instruction(task: Task, labels: Sequence[str]) -> str:
    """What to do, for tasks whose rows do not say it themselves."""
    names = ", ".join(labels)
    return {
        Task.CLASSIFICATION: f"Answer with the label of the text, one of: {names}.",
        Task.MULTILABEL: f"Answer with the labels of the text, separated by commas, or none, "
        f"from: {names}.",
        Task.REGRESSION: "Answer with the number that belongs to the text.",
    }.get(task, "")


def _prompt(messages: Sequence[dict[str, str]], task: Task, query: str | None) -> str:
    """The messages as one text."""
    asked, answered = ("Text", "Label") if task is not Task.INSTRUCTION else ("Question", "Answer")
    if task is Task.REGRESSION:
        answered = "Number"
    marks = {"user": f"{asked}: ", "assistant": f"{answered}: ", "system": ""}
    text = ""
    for message in messages:
        gap = "\n" if message["role"] == "user" else "\n\n"
        text += marks[message["role"]] + message["content"] + gap
    return text + f"{answered}:" if query is not None else text.rstrip("\n")
