"""Six families of chat templates: what is trained is what was worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from chat_templates import EXPECTED, Expected, chatml, gemma, mistral, qwen3
from tunewright.data.example import Example
from tunewright.data.records import Dataset, Message, Record, Task
from tunewright.data.render import Renderer
from tunewright.errors import DataError

TURNS = (("user", "hi"), ("assistant", "yes"), ("user", "and?"), ("assistant", "two"))


def conversation(*turns: tuple[str, str]) -> Record:
    return Record(messages=tuple(Message(r, text, r == "assistant") for r, text in turns))


def examples(tokenizer: Any, *records: Record, template: str = "chat") -> list[Example]:
    renderer = Renderer(tokenizer, Task.INSTRUCTION, 4096, template)
    return renderer.tokenise(Dataset(Task.INSTRUCTION, records))


def spans(tokenizer: Any, example: Example) -> list[str]:
    """The runs of trained tokens, as text."""
    assert example.loss_mask is not None
    found: list[list[int]] = []
    before = False
    for token, trained in zip(example.input_ids, example.loss_mask, strict=True):
        if trained and not before:
            found.append([])
        if trained:
            found[-1].append(token)
        before = trained
    return [text(tokenizer, ids) for ids in found]


def text(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


@pytest.mark.parametrize("case", EXPECTED.values(), ids=EXPECTED)
def test_the_trained_spans_are_the_answers_with_their_stop_tokens(case: Expected) -> None:
    tokenizer = case.make()
    (example,) = examples(tokenizer, conversation(*TURNS))
    assert text(tokenizer, example.input_ids) == case.whole
    assert spans(tokenizer, example) == list(case.trained)


@pytest.mark.parametrize("case", EXPECTED.values(), ids=EXPECTED)
def test_the_ids_are_those_of_the_tokenizers_own_template(case: Expected) -> None:
    tokenizer = case.make()
    (example,) = examples(tokenizer, conversation(*TURNS))
    turns = [{"role": role, "content": content} for role, content in TURNS]
    assert example.input_ids == tokenizer.apply_chat_template(turns)["input_ids"]


@pytest.mark.parametrize("case", EXPECTED.values(), ids=EXPECTED)
def test_the_prompt_of_an_answer_has_the_ids_that_came_before_it_in_training(
    case: Expected,
) -> None:
    tokenizer = case.make()
    record = conversation(*TURNS)
    renderer = Renderer(tokenizer, Task.INSTRUCTION, 4096, "chat")
    ids, answer = renderer.prompt(record)
    assert (text(tokenizer, ids), answer) == (case.prompt, "two")
    (example,) = renderer.tokenise(Dataset(Task.INSTRUCTION, (record,)))
    assert example.input_ids[: len(ids)] == ids
    assert example.loss_mask is not None and example.loss_mask[len(ids)]
    assert renderer.prompt(record, 1)[1] == "yes"


@pytest.mark.parametrize("case", EXPECTED.values(), ids=EXPECTED)
def test_a_control_token_in_a_message_is_text(case: Expected) -> None:
    tokenizer = case.make()
    stop = tokenizer.convert_tokens_to_ids(case.control)
    evil = f"hi {case.control} now"
    record = conversation(("user", evil), ("assistant", f"say {case.control}"))
    honest = conversation(("user", "hi now"), ("assistant", "say"))
    for template in ("chat", "plain"):
        (example,) = examples(tokenizer, record, template=template)
        (plain,) = examples(tokenizer, honest, template=template)
        assert example.input_ids.count(stop) == plain.input_ids.count(stop)
        assert example.loss_mask is not None
        assert evil in text(tokenizer, example.input_ids)
        (trained,) = spans(tokenizer, example)
        assert trained.strip().startswith(f"say {case.control}")
    assert sum(case.whole.count(t) for t in (case.control,)) >= 1


def test_private_use_characters_in_a_message_stay_as_they_are() -> None:
    tokenizer = chatml()
    odd = "\ue000 0\ue001 <|im_end|>"
    (example,) = examples(tokenizer, conversation(("user", odd), ("assistant", "yes")))
    assert odd in text(tokenizer, example.input_ids)


def test_qwen3_trains_each_answer_of_a_conversation_as_it_is_asked_for() -> None:
    """Its template drops the thinking of earlier answers, so no one row could hold both."""
    tokenizer = qwen3()
    head = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    one, two = examples(tokenizer, conversation(*TURNS))
    think = "<think>\n\n</think>\n\n"
    assert text(tokenizer, one.input_ids) == f"{head}{think}yes<|im_end|>\n"
    assert spans(tokenizer, one) == [f"{think}yes<|im_end|>"]
    second = "<|im_start|>user\nand?<|im_end|>\n<|im_start|>assistant\n"
    assert text(tokenizer, two.input_ids) == (
        f"{head}yes<|im_end|>\n{second}{think}two<|im_end|>\n"
    )
    assert spans(tokenizer, two) == [f"{think}two<|im_end|>"]
    assert [(e.row, e.answer) for e in (one, two)] == [(0, 1), (0, 3)]
    renderer = Renderer(tokenizer, Task.INSTRUCTION, 4096, "chat")
    for example in (one, two):
        ids, _ = renderer.prompt(conversation(*TURNS), example.answer)
        assert example.input_ids[: len(ids)] == ids


def test_qwen3_keeps_the_thinking_that_the_row_has() -> None:
    tokenizer = qwen3()
    record = conversation(("user", "hi"), ("assistant", "<think>\nhm\n</think>\n\nyes"))
    (example,) = examples(tokenizer, record)
    assert spans(tokenizer, example) == ["<think>\nhm\n</think>\n\nyes<|im_end|>"]


def test_a_space_that_the_tokenizer_adds_is_added_once() -> None:
    """Tokenised by itself, the answer of Mistral's template would begin with two spaces."""
    tokenizer = mistral()
    (example,) = examples(tokenizer, conversation(*TURNS[:2]))
    tokens = tokenizer.convert_ids_to_tokens(example.input_ids)
    assert tokens[-2:] == ["▁yes", "</s>"]
    assert "▁▁" not in tokens


def test_roles_that_a_template_refuses_are_named() -> None:
    with pytest.raises(DataError, match=r"roles system, user.*System role not supported"):
        examples(gemma(), conversation(("system", "be kind"), *TURNS))
