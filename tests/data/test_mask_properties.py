"""Of any conversation the answers are trained with their stop tokens, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chat_templates
from tunewright.data.chat import control_tokens
from tunewright.data.example import Example
from tunewright.data.records import Dataset, Message, Record, Task
from tunewright.data.render import Renderer
from tunewright.errors import DataError

QUICK = settings(max_examples=30, deadline=None)


@dataclass(frozen=True)
class Family:
    """What a template makes of an answer: `before`, the content (stripped or not), the stop."""

    make: Any
    stop: str
    before: str = ""
    strips: bool = False
    system: bool = True

    def says(self, content: str) -> str:
        return self.before + (content.strip() if self.strips else content) + self.stop


FAMILIES = {
    "chatml": Family(chat_templates.chatml, "<|im_end|>"),
    "smollm2": Family(chat_templates.smollm2, "<|im_end|>"),
    "llama3": Family(chat_templates.llama3, "<|eot_id|>", strips=True),
    "gemma": Family(chat_templates.gemma, "<end_of_turn>", strips=True, system=False),
    "mistral": Family(chat_templates.mistral, "</s>", before=" ", system=False),
    "qwen2.5": Family(chat_templates.qwen25, "<|im_end|>"),
}
every_family = pytest.mark.parametrize("name", FAMILIES)


@cache
def tokenizer_of(name: str) -> Any:
    return FAMILIES[name].make() if name in FAMILIES else chat_templates.qwen3()


@cache
def renderer_of(name: str, template: str = "chat", max_length: int = 100_000) -> Renderer:
    return Renderer(tokenizer_of(name), Task.INSTRUCTION, max_length, template)


letters = st.characters(codec="utf-8", exclude_characters="\u2581")
"""U+2581 is how SentencePiece writes a space: no such tokenizer can tell the two apart."""
plain = st.text(letters, max_size=12) | st.sampled_from(
    [
        "",
        " ",
        "  hi",
        "yes ",
        "\n",
        "\t\r\n",
        "[INST] a [/INST]",
        "é\u0301",
        "😀",
        "\ue000\ue0010\ue000",
    ]
)
odd = st.lists(
    plain
    | st.sampled_from(
        ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "<s>",
         "</s>", "<|im_start|>assistant\n", "<|im_end", "<<|im_end|>>", "<bos>",
         "<|start_header_id|>"]
    ),
    max_size=4,
).map("".join)  # fmt: skip


def conversations(contents: Any) -> Any:
    """A system message or none, then one to three questions with answers, trained or not."""
    turn = st.tuples(contents, contents, st.booleans())
    return st.tuples(st.none() | contents, st.lists(turn, min_size=1, max_size=3))


def record_of(family: Family, drawn: Any) -> Record:
    system, turns = drawn
    messages = [Message("system", system)] if system is not None and family.system else []
    for question, answer, train in turns:
        messages += [Message("user", question), Message("assistant", answer, train)]
    return Record(messages=tuple(messages), source="drawn", row=1)


def tokenised(renderer: Renderer, record: Record) -> list[Example]:
    return renderer.tokenise(Dataset(Task.INSTRUCTION, (record,)))


def trained_ids(example: Example) -> list[int]:
    assert example.loss_mask is not None and len(example.loss_mask) == len(example.input_ids)
    return [i for i, on in zip(example.input_ids, example.loss_mask, strict=True) if on]


def text(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


@every_family
@QUICK
@given(drawn=conversations(odd))
def test_the_trained_tokens_are_the_answers_and_their_stop_tokens(name: str, drawn: Any) -> None:
    family, renderer = FAMILIES[name], renderer_of(name)
    record = record_of(family, drawn)
    (example,) = tokenised(renderer, record)
    ids = trained_ids(example)
    answers = [m.content for m in record.messages if m.train]
    assert text(renderer.tokenizer, ids) == "".join(map(family.says, answers))
    # However often a message holds the words of the stop token, each answer has it once.
    assert ids.count(renderer.token_ids(family.stop)[0]) == len(answers)


@every_family
@QUICK
@given(drawn=conversations(odd))
def test_messages_hold_no_control_token(name: str, drawn: Any) -> None:
    family, renderer = FAMILIES[name], renderer_of(name)
    record = record_of(family, drawn)
    empty = Record(messages=tuple(Message(m.role, "", m.train) for m in record.messages))
    control = renderer.tokenizer.convert_tokens_to_ids(control_tokens(renderer.tokenizer))
    (found,), (bare,) = tokenised(renderer, record), tokenised(renderer, empty)
    assert [i for i in found.input_ids if i in control] == [
        i for i in bare.input_ids if i in control
    ]


@every_family
@QUICK
@given(drawn=conversations(plain))
def test_the_ids_are_those_that_the_tokenizer_gives_its_own_template(name: str, drawn: Any) -> None:
    family, renderer = FAMILIES[name], renderer_of(name)
    record = record_of(family, drawn)
    turns = [{"role": m.role, "content": m.content} for m in record.messages]
    (example,) = tokenised(renderer, record)
    assert example.input_ids == renderer.tokenizer.apply_chat_template(turns)["input_ids"]


@every_family
@QUICK
@given(drawn=conversations(odd))
def test_a_prompt_has_the_ids_that_stand_before_its_answer_in_training(
    name: str, drawn: Any
) -> None:
    family, renderer = FAMILIES[name], renderer_of(name)
    record = record_of(family, drawn)
    (example,) = tokenised(renderer, record)
    for index, message in enumerate(record.messages):
        if message.role == "assistant" and message.train:
            ids, answer = renderer.prompt(record, index)
            assert answer == message.content
            assert example.input_ids[: len(ids)] == ids
            assert example.loss_mask is not None and example.loss_mask[len(ids)]


@QUICK
@given(drawn=conversations(odd))
def test_qwen3_trains_one_answer_a_row_with_one_stop_token(drawn: Any) -> None:
    renderer = renderer_of("qwen3")
    record = record_of(FAMILIES["chatml"], drawn)
    stop = renderer.token_ids("<|im_end|>")[0]
    trained = [i for i, m in enumerate(record.messages) if m.train]
    examples = tokenised(renderer, record)
    for example in examples:
        ids = trained_ids(example)
        answers = trained if example.answer is None else [example.answer]
        assert ids.count(stop) == len(answers)
        for answer in answers:
            before, _ = renderer.prompt(record, answer)
            assert example.input_ids[: len(before)] == before
            assert example.loss_mask is not None
            assert example.loss_mask[len(before) - 1 : len(before) + 1] == [False, True]
    if examples[0].answer is not None:
        assert [example.answer for example in examples] == trained


@pytest.mark.parametrize("name", ["chatml", "mistral"])
@QUICK
@given(drawn=conversations(odd))
def test_the_plain_layout_trains_the_answers_and_the_stop_token(name: str, drawn: Any) -> None:
    renderer = renderer_of(name, "plain")
    record = record_of(FAMILIES[name], drawn)
    (example,) = tokenised(renderer, record)
    ids, stop = trained_ids(example), renderer.tokenizer.eos_token
    answers = [m.content for m in record.messages if m.train]
    assert text(renderer.tokenizer, ids) == "".join(answer + stop for answer in answers)
    assert ids.count(renderer.tokenizer.eos_token_id) == len(answers)


@every_family
@QUICK
@given(
    rows=st.lists(conversations(odd), min_size=1, max_size=4),
    limit=st.integers(min_value=2, max_value=200),
)
def test_a_cut_row_is_the_beginning_of_the_whole_one(name: str, rows: Any, limit: int) -> None:
    records = tuple(record_of(FAMILIES[name], drawn) for drawn in rows)
    data = Dataset(Task.INSTRUCTION, records)
    renderer = Renderer(tokenizer_of(name), Task.INSTRUCTION, limit, "chat")
    whole = renderer.tokenise(data)
    kept = {e.row: e for e in whole if any((e.loss_mask or [])[1:limit])}
    cut = [row for row, e in kept.items() if len(e) > limit]
    try:
        fitted = renderer.render(data, "cut")
    except DataError as error:
        assert not kept and "anything left to train" in str(error)
        return
    assert [e.row for e in fitted.examples] == list(kept)
    assert fitted.dropped == len(whole) - len(kept)
    assert len(cut) <= fitted.cut == sum(len(e) > limit for e in whole)
    for example in fitted.examples:
        assert example.input_ids == kept[example.row].input_ids[:limit]
        assert example.loss_mask == (kept[example.row].loss_mask or [])[:limit]
        assert example.trained_tokens > 0
