"""Records become token ids and a loss mask. What is trained is decided here and nowhere else.

A generative row is cut into segments at the borders between what the user gives and what the
model must say. Segments are tokenised apart, so the prompt has the same tokens in training as
when the model is served, and the mask follows from positions: a padding token that is also the
stop token can never hide the stop token from the loss.

This module knows tokenizers and chat templates. It does not know models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tunewright.data.records import Dataset, Message, Record, Task
from tunewright.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Truncation = Literal["error", "cut", "drop"]


@dataclass(slots=True)
class Example:
    """One row as the model sees it.

    Attributes:
        input_ids: token ids, length t.
        row: index of the record in its data set.
        loss_mask: for generative tasks, t flags: True where the token counts in the loss.
        token_type_ids: for pairs, t segment ids, where the model has them.
        target: class index, number, or one 0/1 per class.
    """

    input_ids: list[int]
    row: int
    loss_mask: list[bool] | None = None
    token_type_ids: list[int] | None = None
    target: int | float | list[float] | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def trained_tokens(self) -> int:
        """Tokens that count in the loss. The first token of a row is never predicted."""
        return sum(self.loss_mask[1:]) if self.loss_mask is not None else 1


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a row's text; `trained` says whether its tokens count in the loss."""

    text: str
    trained: bool


@dataclass(slots=True)
class Rendered:
    """All rows of a data set as the model sees them.

    Attributes:
        examples: in the order of the records; a long plain text gives several.
        cut: rows whose end was cut.
        dropped: rows left out because they are too long, or because nothing to train is left.
    """

    examples: list[Example]
    cut: int = 0
    dropped: int = 0


class Renderer:
    """Turns records into examples for one model and one task.

    Args:
        tokenizer: a fast tokenizer.
        task: what the rows are for.
        max_length: longest row in tokens.
        template: `chat` uses the tokenizer's chat template, `plain` joins prompt and answer.
        labels: class names in the order of the model's outputs.

    Raises:
        DataError: the template cannot be used to train, with the reason.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        task: Task,
        max_length: int,
        template: str = "plain",
        labels: Sequence[str] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.task = task
        self.max_length = max_length
        self.template = template
        self.label_ids = {label: i for i, label in enumerate(labels)}
        if template == "chat" and not tokenizer.chat_template:
            raise DataError(
                "data.template is 'chat', but the tokenizer has no chat template. Use 'plain'."
            )
        if task.is_generative and tokenizer.eos_token_id is None:
            raise DataError(
                "The tokenizer has no end-of-text token, so the model could never learn to stop. "
                "Set eos_token in its tokenizer_config.json."
            )

    def render(self, dataset: Dataset, truncation: Truncation = "error") -> Rendered:
        """Tokenise every record and fit it to `max_length`: `fit(tokenise(...))`."""
        return self.fit(dataset, self.tokenise(dataset), truncation)

    def tokenise(self, dataset: Dataset) -> list[Example]:
        """One example a record, of any length."""
        if self.task is Task.TEXT:
            return self._texts(dataset)
        if self.task is Task.INSTRUCTION:
            return self._conversations(dataset)
        return self._labelled(dataset)

    def fit(
        self, dataset: Dataset, examples: list[Example], truncation: Truncation = "error"
    ) -> Rendered:
        """Bring examples to at most `max_length` tokens. Plain texts are split, never cut.

        Args:
            dataset: the records of the examples, for messages.
            examples: from `tokenise`; changed in place where they are cut.
            truncation: what to do with rows longer than `max_length`.

        Raises:
            DataError: rows are too long and `truncation` is `error`; or nothing is left.
        """
        if self.task is Task.TEXT:
            return Rendered(self._blocks(examples))
        over = [e for e in examples if len(e) > self.max_length]
        if over and truncation == "error":
            longest = max(over, key=len)
            lost = sum(len(e) - self.max_length for e in over)
            raise DataError(
                f"{len(over)} of {len(examples)} rows in {dataset.name or 'the data'} are longer "
                f"than max_length={self.max_length} tokens; {lost:,} tokens at their ends would be "
                f"cut (the longest has {len(longest):,}: {_place(dataset.records[longest.row])}). "
                "Set data.truncation=cut to cut them, data.truncation=drop to leave those rows "
                "out, or raise max_length where the model allows it."
            )
        rendered = Rendered([])
        for example in examples:
            if len(example) > self.max_length:
                if truncation == "drop":
                    rendered.dropped += 1
                    continue
                self._cut(example)
                rendered.cut += 1
            if example.trained_tokens == 0:
                rendered.dropped += 1
                continue
            rendered.examples.append(example)
        if examples and not rendered.examples:
            raise DataError(
                f"No row of {dataset.name or 'the data'} has anything left to train within "
                f"max_length={self.max_length} tokens. Raise max_length."
            )
        return rendered

    def prompt(self, record: Record) -> tuple[list[int], str]:
        """Token ids up to the last answer of a conversation, and that answer's text."""
        last = _last_answer(record)
        segments = self._segments(record.messages[:last], record, open_answer=True)
        ids = self._ids(segments)
        return self._start() + [i for segment in ids for i in segment], record.messages[
            last
        ].content

    def stop_ids(self) -> list[int]:
        """Tokens that end an answer: the end-of-text token and the template's own."""
        found = [self.tokenizer.eos_token_id]
        if self.template == "chat":
            tail = self._tail_ids()
            found += [i for i in tail[:1] if i not in found]
        return found

    # Generative rows

    def _conversations(self, dataset: Dataset) -> list[Example]:
        rows = [self._segments(record.messages, record) for record in dataset]
        ids = self._ids([segment for row in rows for segment in row])
        start = self._start()
        examples = []
        position = 0
        for index, row in enumerate(rows):
            input_ids, mask = list(start), [False] * len(start)
            for segment, tokens in zip(row, ids[position : position + len(row)], strict=True):
                input_ids += tokens
                mask += [segment.trained] * len(tokens)
            position += len(row)
            examples.append(Example(input_ids, index, loss_mask=mask))
        return examples

    def _segments(
        self, messages: Sequence[Message], record: Record, open_answer: bool = False
    ) -> list[Segment]:
        """The texts of a conversation, split where training starts and stops.

        With `open_answer` the last segment ends where the model is to go on.
        """
        if self.template == "chat":
            return self._chat_segments(messages, record, open_answer)
        stop = self.tokenizer.eos_token
        segments = []
        for message in messages:
            if message.role == "assistant":
                segments.append(Segment(message.content + stop, message.train))
            else:
                segments.append(Segment(message.content + "\n\n", False))
        return segments

    def _chat_segments(
        self, messages: Sequence[Message], record: Record, open_answer: bool
    ) -> list[Segment]:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        segments = []
        done = ""
        for index, message in enumerate(messages):
            if message.role != "assistant" or not message.train:
                continue
            before = self._apply(turns[:index], generate=True)
            after = self._apply(turns[: index + 1], generate=False)
            if not (before.startswith(done) and after.startswith(before)):
                raise DataError(
                    f"{_place(record)}: the chat template rewrites earlier turns when an answer "
                    "is added, so training would not match use. Use data.template=plain or "
                    "another template."
                )
            answer, tail = self._split_stop(after[len(before) :], record)
            segments += [
                Segment(before[len(done) :], False),
                Segment(answer, True),
                Segment(tail, False),
            ]
            done = after
        rest = self._apply(turns, generate=open_answer)
        if len(rest) > len(done):
            segments.append(Segment(rest[len(done) :], False))
        return [segment for segment in segments if segment.text]

    def _split_stop(self, answer: str, record: Record) -> tuple[str, str]:
        """Split the rendered answer behind its stop token: what follows is not trained."""
        stops = [token for token in self._special_tokens() if token in answer]
        if not stops:
            raise DataError(
                f"{_place(record)}: the chat template puts no stop token behind an answer, so the "
                "model could never learn to stop. Use data.template=plain or another template."
            )
        end = max(answer.rfind(stop) + len(stop) for stop in stops)
        return answer[:end], answer[end:]

    def _special_tokens(self) -> list[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        return [token.content for token in added if token.special]

    def _tail_ids(self) -> list[int]:
        """The stop tokens the template writes behind an answer, last one first."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        text = self._apply(turns, generate=False)
        special = set(self.tokenizer.convert_tokens_to_ids(self._special_tokens()))
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [i for i in reversed(ids) if i in special]

    def _apply(self, turns: list[dict[str, str]], generate: bool) -> str:
        if not turns and not generate:
            return ""
        from jinja2 import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=generate
            )
        except TemplateError as error:
            roles = ", ".join(turn["role"] for turn in turns)
            raise DataError(
                f"The chat template refuses a conversation of the roles {roles}: {error}. Change "
                "the roles, or use data.template=plain."
            ) from error
        return text

    def _texts(self, dataset: Dataset) -> list[Example]:
        """Plain texts, each ended by the stop token."""
        stop = self.tokenizer.eos_token_id
        start = self._start()
        rows = self._encode([record.text for record in dataset])
        return [
            Example([*start, *ids, stop], index, loss_mask=[True] * (len(start) + len(ids) + 1))
            for index, ids in enumerate(rows)
        ]

    def _blocks(self, examples: list[Example]) -> list[Example]:
        """Long texts in blocks of at most `max_length`; a block of one token has no loss."""
        return [
            Example(block, example.row, loss_mask=[True] * len(block))
            for example in examples
            for start in range(0, len(example), self.max_length)
            if len(block := example.input_ids[start : start + self.max_length]) > 1
        ]

    def _start(self) -> list[int]:
        """The token that the tokenizer puts before every text. Chat templates write their own."""
        if self.template == "chat" and self.task is Task.INSTRUCTION:
            return []
        added = self.tokenizer("")["input_ids"]
        bos = self.tokenizer.bos_token_id
        return [bos] if bos is not None and added[:1] == [bos] else []

    def _ids(self, segments: Sequence[Segment]) -> list[list[int]]:
        return self._encode([segment.text for segment in segments])

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded: list[list[int]] = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return encoded

    # Labelled rows

    def _labelled(self, dataset: Dataset) -> list[Example]:
        texts = [record.text for record in dataset]
        has_pairs = any(record.text_pair is not None for record in dataset)
        pairs = [record.text_pair or "" for record in dataset] if has_pairs else None
        if not texts:
            return []
        encoded: Any = self.tokenizer(texts, pairs, return_attention_mask=False, verbose=False)
        types = encoded.get("token_type_ids")
        return [
            Example(
                list(ids),
                index,
                token_type_ids=list(types[index]) if types is not None and has_pairs else None,
                target=self._target(record),
            )
            for index, (ids, record) in enumerate(zip(encoded["input_ids"], dataset, strict=True))
        ]

    def _target(self, record: Record) -> int | float | list[float] | None:
        label = record.label
        if label is None:
            return None
        if self.task is Task.REGRESSION:
            return float(label) if isinstance(label, int | float | str) else None
        if isinstance(label, tuple):
            return [float(name in label) for name in self.label_ids]
        return self.label_ids.get(str(label), -1)

    def _cut(self, example: Example) -> None:
        """Cut a row to `max_length` in place; a labelled row keeps its closing special token."""
        limit = self.max_length
        if example.loss_mask is None:
            last = example.input_ids[-1]
            keep_last = last in self.tokenizer.all_special_ids
            example.input_ids = example.input_ids[: limit - keep_last] + [last] * keep_last
        else:
            example.input_ids = example.input_ids[:limit]
            example.loss_mask = example.loss_mask[:limit]
        if example.token_type_ids is not None:
            example.token_type_ids = example.token_type_ids[:limit]


def _last_answer(record: Record) -> int:
    answers = [i for i, m in enumerate(record.messages) if m.role == "assistant"]
    if not answers:
        raise DataError(f"{_place(record)}: the conversation has no answer of the assistant.")
    return answers[-1]


def _place(record: Record) -> str:
    return f"{record.source or 'the data'}, row {record.row}"
