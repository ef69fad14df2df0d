"""What a model says of the rows of an evaluation, in the shapes that metrics take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tunewright.config.task import Task
from tunewright.data.example import Example
from tunewright.data.records import Dataset, Record
from tunewright.data.render import Renderer
from tunewright.evaluate.passes import Passes, passed
from tunewright.metrics import estimate, get_metric
from tunewright.models.catalogue import model_folder
from tunewright.models.embed_texts import EmbeddingForward
from tunewright.models.find_answers import FoundAnswers, SpanForward, find_answers
from tunewright.models.forward import CausalForward, LabelForward, TagForward
from tunewright.models.generate import generate
from tunewright.models.load import Finished
from tunewright.models.predict import Predictions, predict
from tunewright.models.rank_pairs import PairAnswers, answer_pairs
from tunewright.models.seq2seq import text_forward
from tunewright.models.tag_words import tag_words
from tunewright.models.token_similarity import ENCODER, token_similarity

_OF_TEXTS = ("texts", "passes", "similarities")
"""What metrics need that look at generated answers."""
Progress = Callable[[str, int, int], None]
"""Called with what is being done, rows done, and rows in all."""


def row_counter(progress: Progress | None, what: str, total: int) -> Callable[[int], None] | None:
    """A function that is told of each batch's rows and tells `progress` of all so far."""
    if progress is None:
        return None
    done = 0

    def step(rows: int) -> None:
        nonlocal done
        done += rows
        progress(what, done, total)

    progress(what, 0, total)
    return step


@dataclass(slots=True)
class Answers:
    """What one model or baseline says of the rows, in the shapes that metrics take.

    Attributes:
        predictions: class names, label tuples, tags of words or numbers, one a row.
        probabilities: [n x classes], or None.
        classes: names of the columns of `probabilities`.
        losses, tokens: per row, for generative tasks.
        texts: generated answers, where a metric asked for them.
        similarities: [n] of the answers and their references, once they were asked for.
        sureness: of tagged words, the probability of each word's tag.
        pairs: of pairs for embeddings, ranks and cosines.
        spans: of questions, the answers in the text.
        unseen: tagged words that the model did not see, because they are beyond its length.
    """

    predictions: Sequence[Any] = ()
    probabilities: Any = None
    classes: Sequence[str] = ()
    losses: Any = None
    tokens: Any = None
    texts: Sequence[str] = ()
    similarities: Any = None
    sureness: Sequence[Sequence[float]] = ()
    unseen: int = 0
    pairs: PairAnswers | None = None
    spans: FoundAnswers | None = None


def of_pairs(found: PairAnswers, records: Sequence[Record]) -> Answers:
    """Cosines as the predictions of pairs with a score, ranks as those of others."""
    scored = bool(records) and records[0].label is not None
    return Answers((found.cosines if scored else found.ranks).tolist(), pairs=found)


@dataclass(slots=True)
class Work:
    """The rows of an evaluation, and how each model or baseline answers them.

    `batch_size` rows are read at once, and `answers_at_once` are written (None: as many as
    `generate` finds good).
    """

    dataset: Dataset
    examples: Sequence[Example]
    renderer: Renderer
    batch_size: int
    max_new_tokens: int
    progress: Progress | None
    passes: Passes | None = None
    encoder: str = ENCODER
    device: str = "auto"
    answers_at_once: int | None = None

    @property
    def rows(self) -> list[int]:
        """Indices of the records that are scored, one an example; windows of a row count once."""
        rows = [example.row for example in self.examples]
        windows = self.dataset.task is Task.QUESTION_ANSWERING
        return list(dict.fromkeys(rows)) if windows else rows

    @property
    def records(self) -> list[Record]:
        """The record of each example."""
        return [self.dataset.records[row] for row in self.rows]

    @property
    def groups(self) -> list[Any] | None:
        """Which rows share a source, by the column `group`; None where none do."""
        names = [record.meta.get("group") for record in self.records]
        found = [("row", i) if name is None else name for i, name in enumerate(names)]
        return found if len(set(found)) < len(found) else None

    def prompts(self) -> list[list[int]]:
        """Token ids of what stands before each answer."""
        return [prompt for prompt, _ in self._asked()]

    def answers(self, finished: Finished, names: Sequence[str], what: str) -> Answers:
        """Run a model over the rows."""
        task, labels = finished.settings.task, finished.settings.labels
        if task is Task.TOKEN_CLASSIFICATION:
            return self._tags(finished, what)
        if task is Task.QUESTION_ANSWERING:
            return self._spans(finished, what)
        if task is Task.EMBEDDING:
            return self._pairs(finished, what)
        forward: CausalForward | LabelForward
        if task.is_generative:
            forward = text_forward(finished.model)
        else:
            forward = LabelForward(finished.model, finished.model.config.problem_type or "")
        found: Predictions = predict(
            forward,
            self.examples,
            task,
            labels=labels,
            pad_id=int(finished.tokenizer.pad_token_id),
            batch_size=self.batch_size,
            progress=row_counter(self.progress, what, len(self.examples)),
        )
        predictions = found.labels if found.values is None else found.values.tolist()
        answers = Answers(predictions, found.probabilities, labels, found.losses, found.tokens)
        if task is Task.INSTRUCTION and any(get_metric(n).needs in _OF_TEXTS for n in names):
            prompts = self.prompts()
            answers.texts = generate(
                finished.model,
                finished.tokenizer,
                prompts,
                self.renderer.stop_ids(),
                max_new_tokens=self.max_new_tokens,
                batch_size=self.answers_at_once,
                progress=row_counter(self.progress, "Generating answers", len(prompts)),
            )
        return answers

    def _tags(self, finished: Finished, what: str) -> Answers:
        found = tag_words(
            TagForward(finished.model),
            self.examples,
            finished.settings.labels,
            pad_id=int(finished.tokenizer.pad_token_id),
            batch_size=self.batch_size,
            progress=row_counter(self.progress, what, len(self.examples)),
        )
        return Answers(
            found.tags,
            classes=finished.settings.labels,
            sureness=found.sureness,
            unseen=found.unseen,
        )

    def _spans(self, finished: Finished, what: str) -> Answers:
        kept = finished.settings.answers
        found = find_answers(
            SpanForward(finished.model, kept.longest, kept.may_be_none),
            self.examples,
            pad_id=int(finished.tokenizer.pad_token_id),
            batch_size=self.batch_size,
            progress=row_counter(self.progress, what, len(self.examples)),
        )
        return Answers(found.texts, spans=found)

    def _pairs(self, finished: Finished, what: str) -> Answers:
        texts = sum(1 + len(example.others or ()) for example in self.examples)
        found, _ = answer_pairs(
            EmbeddingForward(finished.model),
            self.examples,
            self.records,
            pad_id=int(finished.tokenizer.pad_token_id),
            batch_size=self.batch_size,
            progress=row_counter(self.progress, what, texts),
        )
        return of_pairs(found, self.records)

    def estimates(self, names: Sequence[str], answers: Answers) -> dict[str, dict[str, Any]]:
        """Each metric with its interval; those the answers cannot give are left out."""
        scores, groups = {}, self.groups
        for name in names:
            pair = self.pair(name, answers)
            if pair is not None:
                metric = get_metric(name)
                found = estimate(name, *pair, groups=groups).to_dict()
                scores[name] = found | {"better": metric.better}
        return scores

    def pair(self, name: str, answers: Answers) -> tuple[Any, Any] | None:
        """References and predictions in the shapes the metric takes, or None."""
        needs = get_metric(name).needs
        if needs == "nll":
            return None if answers.losses is None else (answers.tokens, answers.losses)
        if needs == "nll_bytes":
            return None if answers.losses is None else (self._trained_bytes(), answers.losses)
        if needs == "passes":
            said = answers.texts if self.dataset.task.is_generative else answers.predictions
            if self.passes is None or not len(said):
                return None
            return [True] * len(said), passed(self.passes, self.records, said)
        if needs == "texts":
            if not answers.texts:
                return None
            return [answer for _, answer in self._asked()], list(answers.texts)
        if needs == "similarities":
            if not answers.texts:
                return None
            if answers.similarities is None:
                answers.similarities = self._similarities(answers.texts)
            return [1.0] * len(answers.texts), answers.similarities
        references: list[Any] = [record.label for record in self.records]
        if needs == "answers":
            references = [[answer.text for answer in r.answers or ()] for r in self.records]
        if needs == "ranks":
            if answers.pairs is None or any(label is not None for label in references):
                return None
            return answers.pairs.candidates, answers.pairs.ranks
        if needs == "probabilities":
            if answers.probabilities is None:
                return None
            index = {name: i for i, name in enumerate(answers.classes)}
            return [index[str(label)] for label in references], answers.probabilities
        if needs == "numbers":
            references = [float(label) for label in references]
        return references, list(answers.predictions)

    def _asked(self) -> list[tuple[list[int], str]]:
        """The prompt of each example and the answer to it."""
        pairs = zip(self.records, self.examples, strict=True)
        return [self.renderer.prompt(record, example.answer) for record, example in pairs]

    def _similarities(self, texts: Sequence[str]) -> Any:
        """How alike the encoder finds each answer and its reference."""
        return token_similarity(
            [answer for _, answer in self._asked()],
            texts,
            model_folder(self.encoder),
            device=self.device,
            progress=row_counter(self.progress, f"Similarity by {self.encoder}", len(texts)),
        )

    def _trained_bytes(self) -> list[int]:
        """Bytes of text, in UTF-8, that each example's losses are of."""
        texts = self.renderer.tokenizer.batch_decode(
            [example.trained_ids for example in self.examples],
            skip_special_tokens=True,
        )
        return [max(1, len(text.encode())) for text in texts]
