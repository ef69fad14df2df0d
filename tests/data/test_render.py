"""What is trained: exactly the answer and its stop token."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_templates import qwen3
from tiny import byte_tokenizer
from tunewright.data.collate import IGNORED, collate
from tunewright.data.records import Dataset, Message, Record, Task
from tunewright.data.render import Renderer
from tunewright.errors import DataError


def conversation(*turns: tuple[str, str]) -> Record:
    messages = tuple(Message(role, text, role == "assistant") for role, text in turns)
    return Record(messages=messages, source="chat.jsonl", row=1)


def dataset(*records: Record, task: Task = Task.INSTRUCTION) -> Dataset:
    return Dataset(task, records, "chat.jsonl")


def trained_text(renderer: Renderer, record: Record) -> str:
    example = renderer.render(dataset(record)).examples[0]
    assert example.loss_mask is not None
    kept = [i for i, on in zip(example.input_ids, example.loss_mask, strict=True) if on]
    return str(renderer.tokenizer.decode(kept))


def whole_text(renderer: Renderer, record: Record) -> str:
    example = renderer.render(dataset(record)).examples[0]
    return str(renderer.tokenizer.decode(example.input_ids))


def test_chat_trains_only_the_answer_and_its_stop_token() -> None:
    renderer = Renderer(byte_tokenizer(), Task.INSTRUCTION, 256, "chat")
    record = conversation(("user", "hi"), ("assistant", "yes"))
    assert trained_text(renderer, record) == "yes<|im_end|>"
    assert whole_text(renderer, record) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
    )


def test_every_answer_of_a_conversation_is_trained_unless_it_says_otherwise() -> None:
    renderer = Renderer(byte_tokenizer(), Task.INSTRUCTION, 256, "chat")
    record = conversation(
        ("system", "s"), ("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two")
    )
    assert trained_text(renderer, record) == "one<|im_end|>two<|im_end|>"
    first, *rest = record.messages[2:]
    untrained = Message(first.role, first.content, train=False)
    partly = Record(messages=(*record.messages[:2], untrained, *rest))
    assert trained_text(renderer, partly) == "two<|im_end|>"


def test_plain_layout_trains_the_completion_and_the_stop_token() -> None:
    renderer = Renderer(byte_tokenizer(), Task.INSTRUCTION, 256, "plain")
    record = conversation(("user", "2+2="), ("assistant", "4"))
    assert trained_text(renderer, record) == "4<|im_end|>"
    assert whole_text(renderer, record) == "2+2=\n\n4<|im_end|>"


def test_stop_token_counts_in_the_loss_though_it_is_also_the_padding_token() -> None:
    tokenizer = byte_tokenizer()
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    renderer = Renderer(tokenizer, Task.INSTRUCTION, 256, "chat")
    rows = renderer.render(
        dataset(
            conversation(("user", "a"), ("assistant", "b")),
            conversation(("user", "a longer question"), ("assistant", "a longer answer")),
        )
    ).examples
    labels = collate(rows, tokenizer.pad_token_id)["labels"]
    for line in labels:
        assert (line == tokenizer.eos_token_id).sum() == 1
    assert (labels[0, len(rows[0]) :] == IGNORED).all()


def test_prompt_tokens_are_the_same_in_training_and_when_answering() -> None:
    renderer = Renderer(byte_tokenizer(), Task.INSTRUCTION, 256, "chat")
    record = conversation(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
    prompt, reference = renderer.prompt(record)
    example = renderer.render(dataset(record)).examples[0]
    assert example.input_ids[: len(prompt)] == prompt
    assert reference == "two"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.text(max_size=30), st.text(min_size=1, max_size=30)), min_size=1, max_size=3
    )
)
def test_mask_covers_the_answers_of_any_conversation(turns: list[tuple[str, str]]) -> None:
    renderer = Renderer(byte_tokenizer(), Task.INSTRUCTION, 4096, "chat")
    flat = [turn for q, a in turns for turn in (("user", q), ("assistant", a))]
    record = conversation(*flat)
    assert trained_text(renderer, record) == "".join(f"{a}<|im_end|>" for _, a in turns)


def test_template_without_a_stop_token_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    renderer = Renderer(tokenizer, Task.INSTRUCTION, 256, "chat")
    with pytest.raises(DataError, match="never learn to stop"):
        renderer.render(dataset(conversation(("user", "a"), ("assistant", "b"))))


def test_template_that_rewrites_earlier_turns_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"
    )
    renderer = Renderer(tokenizer, Task.INSTRUCTION, 256, "chat")
    with pytest.raises(DataError, match="rewrites earlier turns"):
        renderer.render(dataset(conversation(("user", "a"), ("assistant", "b"))))


def test_tokenizer_without_a_stop_token_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="no end-of-text token"):
        Renderer(tokenizer, Task.INSTRUCTION, 256, "plain")


def test_row_over_the_limit_is_refused_cut_or_dropped_as_asked() -> None:
    renderer = Renderer(byte_tokenizer(), Task.INSTRUCTION, 60, "chat")
    short = conversation(("user", "a"), ("assistant", "b"))
    long = conversation(("user", "a"), ("assistant", "b" * 100))
    with pytest.raises(
        DataError, match=r"1 of 2 rows .* longer than max_length=60 .* would be cut"
    ):
        renderer.render(dataset(short, long))
    cut = renderer.render(dataset(short, long), "cut")
    assert (cut.cut, cut.dropped) == (1, 0)
    assert len(cut.examples[1]) == 60
    # The end of a cut answer is not where the answer stops.
    assert cut.examples[1].input_ids[-1] != renderer.tokenizer.eos_token_id
    dropped = renderer.render(dataset(short, long), "drop")
    assert (dropped.cut, dropped.dropped, len(dropped.examples)) == (0, 1, 1)


def test_row_whose_answer_is_cut_away_is_left_out() -> None:
    renderer = Renderer(byte_tokenizer(), Task.INSTRUCTION, 60, "chat")
    short = conversation(("user", "a"), ("assistant", "b"))
    question = conversation(("user", "a" * 100), ("assistant", "b"))
    assert renderer.render(dataset(short, question), "cut").dropped == 1
    with pytest.raises(DataError, match="anything left to train"):
        renderer.render(dataset(question), "cut")


def test_long_plain_text_is_split_into_blocks_and_nothing_is_lost() -> None:
    tokenizer = byte_tokenizer()
    renderer = Renderer(tokenizer, Task.TEXT, 16)
    record = Record(text="abcdefghij" * 10)
    blocks = renderer.render(dataset(record, task=Task.TEXT)).examples
    ids = [i for block in blocks for i in block.input_ids]
    assert tokenizer.decode(ids) == record.text + "<|im_end|>"
    assert max(map(len, blocks)) == 16


def test_labels_become_indices_numbers_or_flags() -> None:
    tokenizer = byte_tokenizer()
    one = Renderer(tokenizer, Task.CLASSIFICATION, 64, labels=["bad", "good"])
    assert (
        one.render(dataset(Record(text="x", label="good"), task=Task.CLASSIFICATION))
        .examples[0]
        .target
        == 1
    )
    many = Renderer(tokenizer, Task.MULTILABEL, 64, labels=["a", "b", "c"])
    assert many.render(dataset(Record(text="x", label=("a", "c")), task=Task.MULTILABEL)).examples[
        0
    ].target == [1.0, 0.0, 1.0]
    number = Renderer(tokenizer, Task.REGRESSION, 64)
    assert (
        number.render(dataset(Record(text="x", label=2.5), task=Task.REGRESSION)).examples[0].target
        == 2.5
    )


def test_a_system_message_is_given_to_conversations_without_one() -> None:
    ask = conversation(("user", "hi"), ("assistant", "yes"))
    own = conversation(("system", "be kind"), ("user", "hi"), ("assistant", "yes"))
    same = conversation(("system", "be brief"), ("user", "hi"), ("assistant", "yes"))
    for template in ("chat", "plain"):
        given = Renderer(byte_tokenizer(), Task.INSTRUCTION, 256, template, system="be brief")
        bare = Renderer(byte_tokenizer(), Task.INSTRUCTION, 256, template)
        assert given.render(dataset(ask)).examples == bare.render(dataset(same)).examples
        assert given.render(dataset(own)).examples == bare.render(dataset(own)).examples
        assert given.prompt(ask) == bare.prompt(same)
        assert given.prompt(ask, 1) == bare.prompt(same, 2)


def test_the_answers_of_rows_apart_are_counted_without_the_given_system_message() -> None:
    talk = [("user", "hi"), ("assistant", "<think>x</think>a"), ("user", "on"), ("assistant", "b")]
    bare = Renderer(qwen3(), Task.INSTRUCTION, 256, "chat")
    given = Renderer(qwen3(), Task.INSTRUCTION, 256, "chat", system="be brief")
    record = conversation(*talk)
    answers = [example.answer for example in bare.render(dataset(record)).examples]
    assert answers == [1, 3]
    assert [example.answer for example in given.render(dataset(record)).examples] == answers
