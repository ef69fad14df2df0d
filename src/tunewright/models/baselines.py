"""What a tuned model has to beat: the majority, linear models on TF-IDF, frozen embeddings.

Every baseline trains on the training rows only and answers the test rows. This module knows
scikit-learn and frozen encoders. It does not know fine-tuning.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunewright.config.task import Task
from tunewright.data.records import Dataset, Record
from tunewright.errors import DataError, ModelError

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Floats = NDArray[np.float64]

_TASKS = (Task.CLASSIFICATION, Task.MULTILABEL, Task.REGRESSION)
_C = 10.0
"""Inverse strength of the penalty; vectors of length 1 need a weaker one than the default 1."""
_FOLDS = 3
_SEARCH_LIMIT = 50_000
"""Rows times classes up to which the settings are searched: some seconds of work."""
_NEIGHBOURS = (1, 5, 15, 45)
_MAX_ITERATIONS = 1000
_THRESHOLD = 0.5
"""A label of a multilabel row is predicted above this probability."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The answers of one baseline.

    Attributes:
        name: `majority`, `tfidf_logistic`, `embedding_logistic` or `embedding_knn`.
        predictions: one a test row, in order: class name, tuple of names, or number.
        probabilities: [n x classes] of each class (for multilabel of each label alone), or None
            for regression.
        classes: names of the columns of `probabilities`, sorted; empty for regression.
        seconds: to train and answer.
    """

    name: str
    predictions: list[Any]
    probabilities: Floats | None = None
    classes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def majority(train: Dataset, test: Dataset) -> Baseline:
    """Answer every row alike: the most frequent class or label set, or the mean of the targets.

    Ties go to the class that sorts first. Probabilities are the shares in the training rows.

    Raises:
        DataError: the task has no labels, a part is empty, or a label is missing.
    """
    began = time.perf_counter()
    labels = _labels(train, test)
    n = len(test)
    if train.task is Task.REGRESSION:
        mean = float(np.mean(labels))
        return Baseline("majority", [mean] * n, seconds=time.perf_counter() - began)
    rows = [tuple(sorted(x)) if isinstance(x, tuple) else x for x in labels]
    counts = Counter(rows)
    most = min(counts, key=lambda label: (-counts[label], label))
    classes = train.labels
    if train.task is Task.MULTILABEL:
        share = _memberships(labels, classes).mean(axis=0)
    else:
        share = np.array([counts[name] for name in classes]) / len(rows)
    probabilities = np.repeat(share[None], n, axis=0)
    return Baseline("majority", [most] * n, probabilities, classes, time.perf_counter() - began)


def tfidf_logistic(train: Dataset, test: Dataset) -> Baseline:
    """Logistic regression (ridge for regression) on TF-IDF of words and word pairs.

    Words are lower-cased; counts are dampened to 1 + log(count). The two texts of a pair, and
    the words they share, are told apart by marks.

    Raises:
        DataError: the task has no labels, a part is empty, or a label is missing.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    began = time.perf_counter()
    labels = _labels(train, test)
    tokenise = TfidfVectorizer(ngram_range=(1, 2)).build_analyzer()
    words = TfidfVectorizer(analyzer=lambda record: _terms(record, tokenise), sublinear_tf=True)
    try:
        features = words.fit_transform(train.records)
    except ValueError as error:
        raise DataError(
            "The training texts have no word of two letters or more, so TF-IDF has nothing to "
            f"count ({error}). Check which column holds the text."
        ) from error
    found = _linear(train, labels, features, words.transform(test.records))
    return Baseline("tfidf_logistic", *found, seconds=time.perf_counter() - began)


def embedding_logistic(train: Dataset, test: Dataset, features: tuple[Floats, Floats]) -> Baseline:
    """Logistic regression (ridge for regression) on embeddings of a frozen encoder.

    Args:
        train: rows to train the linear model on.
        test: rows to answer.
        features: of both, from `embeddings`.

    Raises:
        DataError: the task has no labels, a part is empty, or a label is missing.
    """
    began = time.perf_counter()
    labels = _labels(train, test)
    found = _linear(train, labels, *features)
    return Baseline("embedding_logistic", *found, seconds=time.perf_counter() - began)


def embedding_knn(train: Dataset, test: Dataset, features: tuple[Floats, Floats]) -> Baseline:
    """The training rows nearest to a text by a frozen encoder answer for it (Cover and Hart 1967).

    The share of neighbours with a class is its probability, the mean of their numbers the answer
    of regression. Of 1, 5, 15 and 45 neighbours, cross-validation on the training rows chooses.

    Args, Raises: as `embedding_logistic`.
    """
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    began = time.perf_counter()
    labels = _labels(train, test)
    train_x, test_x = features
    classes = train.labels
    targets: Any = labels
    model: Any = KNeighborsClassifier()
    if train.task is Task.REGRESSION:
        targets, model = np.array(labels, dtype=np.float64), KNeighborsRegressor()
    elif train.task is Task.MULTILABEL:
        # The mean of memberships among the neighbours is the probability of each label.
        targets, model = _memberships(labels, classes), KNeighborsRegressor()
    smallest = min(Counter(labels).values()) if train.task is Task.CLASSIFICATION else len(labels)
    if smallest >= _FOLDS and len(labels) <= _SEARCH_LIMIT:
        fitted_on = len(labels) - -(-len(labels) // _FOLDS)
        grid = {"n_neighbors": [k for k in _NEIGHBOURS if k <= fitted_on]}
        model = GridSearchCV(model, grid, cv=_FOLDS).fit(train_x, targets)
    else:
        model = model.set_params(n_neighbors=min(5, len(labels))).fit(train_x, targets)
    predictions: list[Any]
    p_NK: Floats | None = None
    if train.task is Task.REGRESSION:
        predictions = [float(value) for value in model.predict(test_x)]
    elif train.task is Task.MULTILABEL:
        p_NK = model.predict(test_x).reshape(len(test), len(classes))
        predictions = _label_sets(p_NK, classes)
    else:
        p_NK = model.predict_proba(test_x)
        predictions = [classes[i] for i in p_NK.argmax(axis=1)]
    seconds = time.perf_counter() - began
    return Baseline("embedding_knn", predictions, p_NK, classes, seconds)


def embeddings(
    train: Dataset,
    test: Dataset,
    encoder_path: str | Path,
    batch_size: int = 64,
    max_length: int = 256,
    device: str = "auto",
) -> tuple[Floats, Floats]:
    """Embeddings of training and test rows, for the baselines that share them.

    A text's embedding is the mean of its tokens' last hidden states, scaled to length 1. A pair
    (u, v) becomes [u, v, |u - v|, u * v] (Conneau et al., "Supervised Learning of Universal
    Sentence Representations", 2017).

    Args:
        train: rows to train a baseline on.
        test: rows to answer.
        encoder_path: folder with the encoder's safetensors and tokenizer.
        batch_size: texts in one pass.
        max_length: tokens a text is cut to; never more than the encoder takes.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Returns:
        [n x d] of each, [n x 4d] for pairs of texts.

    Raises:
        ModelError: the folder has no encoder that can be read, or the device is not there.
    """
    encoder = _Encoder(Path(encoder_path), batch_size, max_length, device)
    pairs = any(record.text_pair is not None for record in train)
    return encoder.features(train.records, pairs), encoder.features(test.records, pairs)


def _label_sets(p_NK: Floats, classes: Sequence[str]) -> list[tuple[str, ...]]:
    """The labels of each row above the threshold."""
    return [
        tuple(name for name, p in zip(classes, row, strict=True) if p > _THRESHOLD) for row in p_NK
    ]


def _labels(train: Dataset, test: Dataset) -> list[Any]:
    """Labels of the training rows, checked."""
    if train.task is not test.task:
        raise DataError(
            f"The training rows are for {train.task.value!r} and the test rows for "
            f"{test.task.value!r}; both must be of one task."
        )
    if train.task not in _TASKS:
        raise DataError(
            f"Task {train.task.value!r} has no labels, so the baselines of labels do not apply; "
            "compare with the base model."
        )
    for what, part in (("training", train), ("test", test)):
        if len(part) == 0:
            raise DataError(f"There is no {what} row for the baselines.")
    kind = {Task.CLASSIFICATION: str, Task.MULTILABEL: tuple, Task.REGRESSION: int | float}
    for record in train:
        if not isinstance(record.label, kind[train.task]):
            raise DataError(
                f"{record.source or 'The training data'}, row {record.row}: the label is "
                f"{record.label!r}, which task {train.task.value!r} cannot learn from."
            )
    return [record.label for record in train]


def _memberships(labels: Sequence[tuple[str, ...]], classes: Sequence[str]) -> Floats:
    """[n x k] with 1 where a row has a label."""
    index = {name: i for i, name in enumerate(classes)}
    members = np.zeros((len(labels), len(classes)))
    for i, row in enumerate(labels):
        members[i, [index[name] for name in row]] = 1.0
    return members


def _terms(record: Record, tokenise: Any) -> list[str]:
    """The words and word pairs of a record; those of a pair are marked by their side."""
    text = record.text or record.plain_text
    if record.text_pair is None:
        terms: list[str] = tokenise(text)
        return terms
    first, second = tokenise(text), tokenise(record.text_pair)
    shared = set(first) & set(second)
    return [
        *(f"first: {term}" for term in first),
        *(f"second: {term}" for term in second),
        *(f"both: {term}" for term in sorted(shared)),
    ]


def _linear(
    train: Dataset, labels: list[Any], train_x: Any, test_x: Any
) -> tuple[list[Any], Floats | None, list[str]]:
    """Train the task's linear model and answer: predictions, probabilities, classes."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if train.task is Task.REGRESSION:
        model = Ridge(alpha=1.0).fit(train_x, np.array(labels, dtype=np.float64))
        return [float(value) for value in model.predict(test_x)], None, []
    classes = train.labels
    # newton-cg: several times faster here than lbfgs, whose many short products of long vectors
    # leave BLAS threads waiting for one another.
    logistic = LogisticRegression(C=_C, max_iter=_MAX_ITERATIONS, solver="newton-cg")
    if train.task is Task.CLASSIFICATION:
        if len(classes) == 1:
            return [classes[0]] * test_x.shape[0], np.ones((test_x.shape[0], 1)), classes
        logistic = _best_logistic(logistic, train_x, labels)
        p_NK: Floats = logistic.predict_proba(test_x)
        return [classes[i] for i in p_NK.argmax(axis=1)], p_NK, classes
    members = _memberships(labels, classes)
    columns = []
    for column in members.T:
        if column.min() == column.max():
            columns.append(np.full(test_x.shape[0], column[0]))
        else:
            columns.append(logistic.fit(train_x, column).predict_proba(test_x)[:, 1])
    p_NK = np.stack(columns, axis=1)
    return _label_sets(p_NK, classes), p_NK, classes


def _best_logistic(logistic: LogisticRegression, train_x: Any, labels: list[str]) -> Any:
    """The model fitted with the regularization and class weights that cross-validation on the
    training rows finds best by macro-F1: a baseline that was not given a fair chance proves
    nothing. Large or very small problems take the settings of `logistic`."""
    from sklearn.model_selection import GridSearchCV

    counts = Counter(labels)
    if min(counts.values()) < _FOLDS or len(labels) * len(counts) > _SEARCH_LIMIT:
        return logistic.fit(train_x, labels)
    grid = {"C": [1.0, _C], "class_weight": [None, "balanced"]}
    return GridSearchCV(logistic, grid, scoring="f1_macro", cv=_FOLDS).fit(train_x, labels)


class _Encoder:
    """A frozen encoder that turns texts into vectors."""

    def __init__(self, folder: Path, batch_size: int, max_length: int, device: str) -> None:
        self._tokenizer, self._model = load_encoder(folder, device)
        limit = getattr(self._model.config, "max_position_embeddings", None) or max_length
        self._max_length = min(max_length, limit)
        self._batch_size = batch_size

    def features(self, records: Sequence[Record], pairs: bool) -> Floats:
        """[n x d], or [n x 4d] for pairs of texts."""
        first = self._embed([record.text or record.plain_text for record in records])
        if not pairs:
            return first
        second = self._embed([record.text_pair or "" for record in records])
        return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)

    def _embed(self, texts: Sequence[str]) -> Floats:
        """Embeddings [n x d] of length 1."""
        from tunewright.models.embed_texts import EmbeddingForward, embed_texts

        encoded: Any = self._tokenizer(list(texts), truncation=True, max_length=self._max_length)
        vectors_BD = embed_texts(
            EmbeddingForward(self._model),
            encoded["input_ids"],
            pad_id=int(self._tokenizer.pad_token_id),
            batch_size=self._batch_size,
        )
        return vectors_BD.double().numpy()


def load_encoder(folder: Path, device: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    from transformers import AutoModel

    from tunewright.models.device import limit_threads, pick_device
    from tunewright.models.load import load_tokenizer, quiet_loading

    limit_threads()
    tokenizer = load_tokenizer(folder)
    try:
        with quiet_loading():
            model = AutoModel.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, dtype="float32"
            )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder} has no encoder that can be read: {error}. A folder with config.json, "
            "model.safetensors and tokenizer.json is needed."
        ) from error
    return tokenizer, model.eval().to(pick_device(device))
