"""Records become token ids and a loss mask. What is trained is decided here and nowhere else.

A generative row is cut into segments at the borders between what the user gives and what the
model must say. Segments are tokenised apart, so the prompt has the same tokens in training as
when the model is served, and the mask follows from positions: a padding token that is also the
stop token can never hide the stop token from the loss. What a message says is never control: a
stop token that somebody wrote into a text is tokenised as the words it looks like.

This module knows tokenizers. It does not know models, nor what a chat template looks like.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunewright.data.answer_windows import answered_examples, fit_windows
from tunewright.data.chat import (
    ChatTemplate,
    Segment,
    Turns,
    control_pattern,
    control_tokens,
    literal_segments,
)
from tunewright.data.collector import collector_paused
from tunewright.data.example import Example, Rendered, Truncation
from tunewright.data.labelled_rows import labelled_examples
from tunewright.data.layout import SOURCE_TARGET
from tunewright.data.pair_texts import paired_examples
from tunewright.data.records import Dataset, Message, Record, Task
from tunewright.data.segment_ids import SegmentTokenizer
from tunewright.data.source_target import SourceTarget, pairs_of
from tunewright.data.word_tokens import tagged_examples
from tunewright.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DOC_STRIDE = 128
"""As in the examples of transformers and in arXiv 1810.04805's code."""


class Renderer:
    """Turns records into examples for one model and one task.

    Args:
        tokenizer: a fast tokenizer.
        task: what the rows are for.
        max_length: longest row in tokens.
        template: `chat` uses the tokenizer's chat template, `plain` joins prompt and answer,
            `seq2seq` makes a source and a target of them (`data.source_target`).
        labels: class names in the order of the model's outputs.
        source_prefix: text before every source.
        system: system message of conversations that have none.
        doc_stride: tokens that neighbouring windows of a text with a question share.

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
        source_prefix: str = "",
        system: str = "",
        doc_stride: int = DOC_STRIDE,
    ) -> None:
        self.tokenizer = tokenizer
        self.task = task
        self.max_length = max_length
        self.template = template
        self.system = system
        self.doc_stride = doc_stride
        self.label_ids = {label: i for i, label in enumerate(labels)}
        self._segments = SegmentTokenizer(tokenizer)
        self.control = control_pattern(control_tokens(tokenizer))
        self.chat: ChatTemplate | None = None
        if template == "chat":
            if not tokenizer.chat_template:
                raise DataError(
                    "data.template is 'chat', but the tokenizer has no chat template. Use 'plain'."
                )
            self.chat = ChatTemplate(tokenizer)
        self.pairs: SourceTarget | None = None
        if template == SOURCE_TARGET and task is Task.INSTRUCTION:
            self.pairs = SourceTarget(tokenizer, source_prefix)
        if task.is_generative and tokenizer.eos_token_id is None:
            raise DataError(
                "The tokenizer has no end-of-text token, so the model could never learn to stop. "
                "Set eos_token in its tokenizer_config.json."
            )

    def render(self, dataset: Dataset, truncation: Truncation = "error") -> Rendered:
        """Tokenise every record and fit it to `max_length`: `fit(tokenise(...))`."""
        return self.fit(dataset, self.tokenise(dataset), truncation)

    @collector_paused()
    def tokenise(self, dataset: Dataset, pairs: bool | None = None) -> list[Example]:
        """The examples of each record, of any length: one, as a rule.

        Args:
            dataset: the records.
            pairs: whether labelled rows are pairs of texts, also those that have one text only.
                Default: whether any of these has two.
        """
        if self.task is Task.TEXT:
            return self._texts(dataset)
        if self.task is Task.INSTRUCTION:
            return self._conversations(dataset)
        if self.task is Task.TOKEN_CLASSIFICATION:
            return tagged_examples(self.tokenizer, dataset.records, self.label_ids)
        if self.task is Task.EMBEDDING:
            return paired_examples(self.tokenizer, dataset.records)
        if self.task is Task.QUESTION_ANSWERING:
            return answered_examples(self.tokenizer, dataset.records)
        return labelled_examples(self.tokenizer, dataset, self.label_ids, pairs)

    def fit(
        self, dataset: Dataset, examples: list[Example], truncation: Truncation = "error"
    ) -> Rendered:
        """Bring examples to at most `max_length` tokens. Plain texts are split, never cut, and
        texts with a question are read in windows that overlap.

        Args:
            dataset: the records of the examples, for messages.
            examples: from `tokenise`; changed in place where they are cut.
            truncation: what to do with rows longer than `max_length`.

        Raises:
            DataError: rows are too long and `truncation` is `error`; or nothing is left.
        """
        if self.task is Task.TEXT:
            return Rendered(self._blocks(examples))
        if self.task is Task.QUESTION_ANSWERING:
            return fit_windows(dataset, examples, self.max_length, self.doc_stride)
        over = [e for e in examples if e.longest > self.max_length]
        if over and truncation == "error":
            longest = max(over, key=lambda e: e.longest)
            lost = sum(e.beyond(self.max_length) for e in over)
            raise self.too_long(dataset, len(over), len(examples), lost, longest)
        rendered = Rendered([])
        kept: list[Example] = []
        for example in examples:
            if example.longest > self.max_length:
                if truncation == "drop":
                    rendered.dropped += 1
                    continue
                self.cut(example)
                rendered.cut += 1
            if example.trained_tokens == 0:
                rendered.dropped += 1
                continue
            kept.append(example)
        if examples and not kept:
            raise self.nothing_left(dataset)
        rendered.examples = kept
        return rendered

    def too_long(
        self, dataset: Dataset, over: int, rows: int, lost: int, longest: Example
    ) -> DataError:
        """What is said of rows that `max_length` would cut: `lost` tokens of `over` of `rows`."""
        return DataError(
            f"{over} of {rows} rows in {dataset.name or 'the data'} are longer than "
            f"max_length={self.max_length} tokens; {lost:,} tokens at their ends would be cut (the "
            f"longest has {longest.longest:,}: {_place(dataset.records[longest.row])}). Set "
            "data.truncation=cut to cut them, data.truncation=drop to leave those rows out, or "
            "raise max_length where the model allows it."
        )

    def nothing_left(self, dataset: Dataset) -> DataError:
        """What is said where no row has a token that is trained."""
        return DataError(
            f"No row of {dataset.name or 'the data'} has anything left to train within "
            f"max_length={self.max_length} tokens. Raise max_length."
        )

    def prompt(self, record: Record, answer: int | None = None) -> tuple[list[int], str]:
        """Token ids up to an answer of a conversation, and that answer's text.

        Args:
            record: the conversation.
            answer: index of the message. Default: the last answer.
        """
        if answer is None:
            answer = _last_answer(record)
        said = (*self._added(record), *record.messages[:answer])
        if self.pairs is not None:
            return self.pairs.sources([said])[0], record.messages[answer].content
        segments = self._plain(said) if self.chat is None else self.chat.prompt(said)
        ids = self._segments.ids([segments])[0]
        return self._start() + [i for piece in ids for i in piece], record.messages[answer].content

    def literal_ids(self, text: str) -> list[int]:
        """Token ids of words that somebody wrote, though they look like a control token."""
        return self._segments.encode([text], literal=True)[0]

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a text as a template writes it: control tokens are control."""
        return self._segments.encode([text])[0]

    def stop_ids(self) -> list[int]:
        """Tokens that end an answer: the end-of-text token and the template's own."""
        found = [self.tokenizer.eos_token_id]
        if self.chat is not None:
            ids = self.tokenizer.convert_tokens_to_ids(self.chat.stops()[:1])
            found += [i for i in ids if i not in found]
        return found

    def _conversations(self, dataset: Dataset) -> list[Example]:
        if self.pairs is not None:
            return self._pairs(dataset, self.pairs)
        rows = [(i, turns) for i, record in enumerate(dataset) for turns in self._rows(record)]
        start = self._start()
        examples = []
        tokens_of = self._segments.ids([turns.segments for _, turns in rows])
        for (index, turns), ids in zip(rows, tokens_of, strict=True):
            input_ids, mask = list(start), [False] * len(start)
            for segment, tokens in zip(turns.segments, ids, strict=True):
                input_ids += tokens
                mask += [segment.trained] * len(tokens)
            examples.append(Example(input_ids, index, loss_mask=mask, answer=turns.answer))
        return examples

    def _pairs(self, dataset: Dataset, pairs: SourceTarget) -> list[Example]:
        """A source and a target for each answer that is trained."""
        asked = [(i, *pair) for i, record in enumerate(dataset) for pair in pairs_of(record)]
        sources = pairs.sources([said for _, _, said, _ in asked])
        targets = pairs.targets([target for _, _, _, target in asked])
        return [
            Example(source, index, answer=answer, target_ids=target)
            for (index, answer, _, _), source, target in zip(asked, sources, targets, strict=True)
        ]

    def _rows(self, record: Record) -> list[Turns]:
        added = self._added(record)
        messages = (*added, *record.messages)
        if self.chat is None:
            return [Turns(self._plain(messages))]
        rows = self.chat.rows(messages, _place(record))
        return [
            Turns(row.segments, None if row.answer is None else row.answer - len(added))
            for row in rows
        ]

    def _added(self, record: Record) -> tuple[Message, ...]:
        """What stands before a conversation that has no system message."""
        return (Message("system", self.system),) if self.system and lacks_system(record) else ()

    def _plain(self, messages: Sequence[Message]) -> list[Segment]:
        """Messages one after another; an answer ends with the stop token."""
        segments: list[Segment] = []
        for message in messages:
            answer = message.role == "assistant"
            trained = answer and message.train
            said = literal_segments(message.content, trained, self.control)
            end = self.tokenizer.eos_token if answer else "\n\n"
            if said and not said[-1].literal:
                end = said.pop().text + end
            segments += [*said, Segment(end, trained)]
        return segments

    def _texts(self, dataset: Dataset) -> list[Example]:
        """Plain texts, each ended by the stop token."""
        stop = self.tokenizer.eos_token_id
        start = self._start()
        rows = self._segments.encode([record.text for record in dataset], literal=True)
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

    def cut(self, example: Example) -> None:
        """Cut a row to `max_length` in place; a labelled row or a source keeps its closing special
        token, an answer does not, or the model would learn to stop in its middle."""
        limit = self.max_length
        if example.others is not None:
            texts = [example.input_ids, *example.others]
            example.input_ids, *example.others = map(self._closed, texts)
            return
        keep_last = False
        if example.target_ids is not None:
            example.target_ids = example.target_ids[:limit]
            if len(example.input_ids) <= limit:
                return
        if example.loss_mask is None:
            keep_last = example.input_ids[-1] in self.tokenizer.all_special_ids
            example.input_ids = self._closed(example.input_ids)
        else:
            example.input_ids = example.input_ids[:limit]
            example.loss_mask = example.loss_mask[:limit]
        if example.token_type_ids is not None:
            example.token_type_ids = example.token_type_ids[:limit]
        if example.word_starts is not None:
            end = limit - keep_last
            example.word_starts = [s if s < end else -1 for s in example.word_starts]

    def _closed(self, ids: list[int]) -> list[int]:
        """Token ids cut to `max_length`, with the special token that closes them."""
        if len(ids) <= self.max_length:
            return ids
        keep_last = ids[-1] in self.tokenizer.all_special_ids
        return ids[: self.max_length - keep_last] + ids[-1:] * keep_last


def lacks_system(record: Record) -> bool:
    """Whether a row is a conversation without a system message."""
    return bool(record.messages) and record.messages[0].role != "system"


def _last_answer(record: Record) -> int:
    answers = [i for i, m in enumerate(record.messages) if m.role == "assistant"]
    if not answers:
        raise DataError(f"{_place(record)}: the conversation has no answer of the assistant.")
    return answers[-1]


def _place(record: Record) -> str:
    return f"{record.source or 'the data'}, row {record.row}"
