"""A conversation becomes segments of text by the tokenizer's chat template.

Segments end where training starts and stops. Control tokens are those that the template writes; the
same words inside a message are marked before the template sees them and come out as segments of
their own, so no message can end a turn or begin one.

This module knows chat templates. It does not know token ids or loss masks.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunewright.data.records import Message
from tunewright.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LOOKS_CONTROL = re.compile(r"<\|[^\s|<>]{1,40}\|>|<(?:start|end)_of_turn>|</?s>|<(?:bos|eos)>")
"""How control tokens are written in use. `[INST]` is not among them: it is a token in some models
and plain text in others."""
_PRIVATE_USE = range(0xE000, 0xF900)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a row's text.

    Attributes:
        text: the piece.
        trained: its tokens count in the loss.
        literal: control tokens in it are words that somebody wrote, not control.
    """

    text: str
    trained: bool
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Turns:
    """A conversation, or as much of it as one row can hold.

    Attributes:
        segments: in order.
        answer: index of the message that is trained, where only one is; None for all.
    """

    segments: list[Segment]
    answer: int | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """One trained answer: the text up to it, its own segments, and the text to its end."""

    index: int
    before: str
    segments: tuple[Segment, Segment]
    after: str


def control_tokens(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The tokens that steer a conversation, as they are written, the longest first.

    These are the tokenizer's special tokens, and added tokens that look like one and that the chat
    template names. Tags such as `<think>` are words of the answer, though they are tokens too.
    """
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    found = {
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.content
        and (
            token.special or (LOOKS_CONTROL.fullmatch(token.content) and token.content in template)
        )
    }
    return sorted(found, key=lambda token: (-len(token), token))


def control_pattern(tokens: Sequence[str]) -> re.Pattern[str]:
    """Matches any of the tokens, the longest first; nothing where there are none.

    What all tokens begin with stands before the choice, which makes the search ten times as fast.
    """
    start = os.path.commonprefix(list(tokens))  # noqa: RUF071 - of texts, not of paths
    rest = "|".join(re.escape(token[len(start) :]) for token in tokens)
    return re.compile(f"{re.escape(start)}(?:{rest})" if tokens else "(?!)")


def literal_segments(text: str, trained: bool, pattern: re.Pattern[str]) -> list[Segment]:
    """A text that somebody wrote, cut so that control tokens in it are literal."""
    pieces = re.split(f"({pattern.pattern})", text) if pattern.search(text) else [text]
    return [Segment(p, trained, literal=i % 2 == 1) for i, p in enumerate(pieces) if p]


class ChatTemplate:
    """Lays out conversations as the tokenizer's chat template does.

    Args:
        tokenizer: with a chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.control = control_tokens(tokenizer)
        self._pattern = control_pattern(self.control)

    def rows(self, messages: Sequence[Message], place: str) -> list[Turns]:
        """A conversation as rows to train on: one, as a rule.

        Some templates show an answer in another form once the conversation has gone on (Qwen3 takes
        the thinking out). No single row could then hold what the model sees at each answer, so
        there is one row for each answer, in which only that answer is trained.

        Args:
            messages: the conversation.
            place: where it came from, for messages.

        Raises:
            DataError: the template refuses the roles, rewrites the prompt, or has no stop token.
        """
        turns, marks = self._marked(messages)
        answers = list(self._answers(messages, turns, place))
        follows = all(
            later.before.startswith(earlier.after) for earlier, later in itertools.pairwise(answers)
        )
        if not follows:
            return [
                Turns(self._unmarked([Segment(a.before, False), *a.segments], marks), a.index)
                for a in answers
            ]
        segments: list[Segment] = []
        done = ""
        for answer in answers:
            segments += [Segment(answer.before[len(done) :], False), *answer.segments]
            done = answer.after
        rest = self._apply(turns, generate=False)
        if rest.startswith(done):
            segments.append(Segment(rest[len(done) :], False))
        return [Turns(self._unmarked(segments, marks))]

    def _answers(
        self, messages: Sequence[Message], turns: list[dict[str, str]], place: str
    ) -> Iterator[_Answer]:
        for index, message in enumerate(messages):
            if message.role != "assistant" or not message.train:
                continue
            before = self._apply(turns[:index], generate=True)
            after = self._apply(turns[: index + 1], generate=False)
            if not after.startswith(before):
                raise DataError(
                    f"{place}: the chat template rewrites earlier turns when an answer is added, "
                    "so training would not match use. Use data.template=plain or another template."
                )
            answer, tail = self._split_stop(after[len(before) :], place)
            pieces = (Segment(answer, True), Segment(tail, False))
            yield _Answer(index, before, pieces, after)

    def prompt(self, messages: Sequence[Message]) -> list[Segment]:
        """The conversation up to where the model is to answer."""
        turns, marks = self._marked(messages)
        return self._unmarked([Segment(self._apply(turns, generate=True), False)], marks)

    def text(self, turns: Sequence[tuple[str, str]], generate: bool = False) -> str:
        """What the template writes for (role, content) pairs."""
        return self._apply([{"role": r, "content": c} for r, c in turns], generate)

    def added_system(self) -> str:
        """The words that the template puts before a conversation without a system message."""
        first, second = "6 5", "8 9"
        text = self.text([("user", first), ("assistant", "4 7"), ("user", second)])
        start = text[: text.find(first)]
        between = text[text.find("4 7") + 3 : text.find(second)]
        # What stands before every question belongs to the question. Control tokens are compared
        # whole, or the end of one would be taken for that of another.
        alone, again = (re.split(f"({self._pattern.pattern})", text) for text in (start, between))
        while alone and again and alone[-1] == again[-1]:
            alone.pop()
            again.pop()
        words = "".join(alone)
        if alone and again and not self._pattern.search(alone[-1] + again[-1]):
            ends = zip(reversed(alone[-1]), reversed(again[-1]), strict=False)
            common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], ends))
            words = words[: len(words) - common]
        return re.sub(r"^system\b", "", self._pattern.sub("\n", words).strip()).strip()

    def stops(self) -> list[str]:
        """The control tokens that the template writes behind an answer, the last one first."""
        answer = "4 7"
        text = self.text([("user", "6"), ("assistant", answer)])
        return self._pattern.findall(text[text.rfind(answer) + len(answer) :])[::-1]

    def _marked(
        self, messages: Sequence[Message]
    ) -> tuple[list[dict[str, str]], tuple[str, str] | None]:
        """Messages for the template, control tokens in them replaced by marks, and the marks."""
        if not any(self._pattern.search(message.content) for message in messages):
            return [{"role": m.role, "content": m.content} for m in messages], None
        used = {letter for message in messages for letter in message.content}
        free = (chr(code) for code in _PRIVATE_USE if chr(code) not in used)
        first, last = itertools.islice(free, 2)
        number = {token: i for i, token in enumerate(self.control)}

        def mark(match: re.Match[str]) -> str:
            return f"{first}{number[match.group()]}{last}"

        turns = [{"role": m.role, "content": self._pattern.sub(mark, m.content)} for m in messages]
        return turns, (first, last)

    def _unmarked(
        self, segments: Sequence[Segment], marks: tuple[str, str] | None
    ) -> list[Segment]:
        """Segments with text in them, marked control tokens as literal segments."""
        if marks is None:
            return [segment for segment in segments if segment.text]
        return [piece for segment in segments for piece in self._pieces(segment, *marks)]

    def _pieces(self, segment: Segment, first: str, last: str) -> Iterator[Segment]:
        for i, piece in enumerate(re.split(f"{first}(\\d+){last}", segment.text)):
            if i % 2:
                yield Segment(self.control[int(piece)], segment.trained, literal=True)
            elif piece:
                yield Segment(piece, segment.trained)

    def _split_stop(self, answer: str, place: str) -> tuple[str, str]:
        """Split the rendered answer behind its stop token: what follows is not trained."""
        ends = [match.end() for match in self._pattern.finditer(answer)]
        if not ends:
            raise DataError(
                f"{place}: the chat template puts no stop token behind an answer, so the "
                "model could never learn to stop. Use data.template=plain or another template."
            )
        return answer[: ends[-1]], answer[ends[-1] :]

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
