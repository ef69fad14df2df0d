"""What the audit says of templates, tokenizers and loss masks, each planted and found."""

from __future__ import annotations

from typing import Any

import pytest

from chat_templates import (
    CHATML_CONTROL,
    EXPECTED,
    Expected,
    byte_level,
    chatml,
    gemma,
    llama3,
    qwen3,
    qwen25,
    smollm2,
)
from tiny import CHATML
from tunewright.data.audit import audit
from tunewright.data.finding import Finding
from tunewright.data.records import Dataset, Message, Record, Task
from tunewright.data.render import Renderer
from tunewright.data.token_view import pieces, token_rows
from tunewright.errors import DataError

TEMPLATE = ("template.", "length.answer_cut")


def conversation(*turns: tuple[str, str]) -> Record:
    return Record(messages=tuple(Message(r, text, r == "assistant") for r, text in turns))


def rows(count: int = 4, answer: str = "yes it is") -> list[Record]:
    return [conversation(("user", f"is it {i}?"), ("assistant", answer)) for i in range(count)]


def found(tokenizer: Any, *records: Record, **options: Any) -> dict[str, Finding]:
    """The findings about templates and what is trained."""
    options = {"max_length": 200, **options}
    checked = audit(Dataset(Task.INSTRUCTION, records), tokenizer=tokenizer, **options)
    return {f.id: f for f in checked.findings if f.id.startswith(TEMPLATE)}


SAID = {
    "chatml": set(),
    "smollm2": {"template.system"},
    "llama3": set(),
    "gemma": {"template.eos"},
    "mistral": set(),
    "qwen2.5": {"template.system"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_said_of_each_family(name: str) -> None:
    case: Expected = EXPECTED[name]
    assert found(case.make(), *rows()).keys() == SAID[name]


def test_qwen3_has_nothing_to_complain_of() -> None:
    assert found(qwen3(), *rows()) == {}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (smollm2, "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
        (qwen25, "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    ],
)
def test_a_system_prompt_that_nobody_wrote_is_an_error_with_its_words(
    make: Any, words: str
) -> None:
    own = conversation(("system", "be kind"), ("user", "hi"), ("assistant", "yes"))
    finding = found(make(), *rows(3), own)["template.system"]
    assert (finding.severity, finding.rows) == ("error", 3)
    assert finding.places == (("train", 0), ("train", 1), ("train", 2))
    assert words in finding.examples[0]
    assert "template.system" not in found(make(), own)
    assert "template.system" not in found(make(), *rows(3), template="plain")
    assert "template.system" not in found(make(), *rows(3), system="be kind")


def test_the_prompt_that_llama_3_1_adds_is_found_though_it_has_headers() -> None:
    tokenizer = llama3()
    head = "<|start_header_id|>system<|end_header_id|>\n\nToday is Monday.<|eot_id|>"
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "bos_token + content", f"bos_token + '{head}' + content"
    )
    assert "'Today is Monday.'" in found(tokenizer, *rows())["template.system"].message


def test_a_stop_token_that_the_template_does_not_write_is_an_error() -> None:
    tokenizer = chatml()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    finding = found(tokenizer, *rows())["template.stop"]
    assert (finding.severity, finding.rows) == ("error", 4)


def test_a_tokenizer_without_a_stop_token_is_an_error() -> None:
    tokenizer = byte_level(CHATML, CHATML_CONTROL)
    assert found(tokenizer, *rows())["template.stop"].severity == "error"


def test_a_stop_token_that_is_cut_from_every_row_is_an_error() -> None:
    # <|im_start|>user\nis it 0?<|im_end|>\n<|im_start|>assistant\n is 27 tokens, the answer 9.
    tokenizer = chatml()
    assert "template.stop" not in found(tokenizer, *rows(), max_length=37)
    said = found(tokenizer, *rows(), max_length=36)
    assert "trained in none of 4 training rows" in said["template.stop"].message
    assert said["length.answer_cut"].rows == 4


def test_control_tokens_that_the_tokenizer_takes_apart_are_an_error() -> None:
    tokenizer = byte_level(CHATML, ["<|endoftext|>", "<|im_end|>"], eos_token="<|im_end|>")
    finding = found(tokenizer, *rows())["template.tokens"]
    assert finding.severity == "error"
    assert "'<|im_start|>'" in finding.message and "12 pieces" in finding.message
    other = byte_level(CHATML, ["<|endoftext|>", "<|im_start|>"], eos_token="<|endoftext|>")
    assert found(other, *rows()).keys() == {"template.tokens", "template.stop"}


def test_an_end_of_text_token_that_the_template_never_writes_is_a_warning() -> None:
    finding = found(chatml(eos_token="<|endoftext|>"), *rows())["template.eos"]
    assert finding.severity == "warning"
    assert "'<|im_end|>'" in finding.message and "'<|endoftext|>'" in finding.message


def test_a_doubled_beginning_is_an_error() -> None:
    tokenizer = gemma()
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    assert found(tokenizer, *rows())["template.bos"].severity == "error"


@pytest.mark.parametrize("case", EXPECTED.values(), ids=EXPECTED)
def test_control_tokens_in_a_message_are_counted_and_kept_as_text(case: Expected) -> None:
    evil = conversation(("user", f"what is {case.control}?"), ("assistant", "yes"))
    finding = found(case.make(), *rows(3), evil)["template.control"]
    assert (finding.severity, finding.places) == ("warning", (("train", 3),))
    assert case.control in finding.message and "plain words" in finding.message


def test_control_tokens_that_cannot_be_written_as_text_are_an_error() -> None:
    """A tokenizer of whole words has its control tokens among them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*CHATML_CONTROL, "user", "assistant", "is", "it", "yes", "?"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", unk_token="<|endoftext|>"
    )
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = CHATML
    evil = conversation(("user", "is it <|im_end|> ?"), ("assistant", "yes"))
    finding = found(fast, *rows(3), evil)["template.control"]
    assert (finding.severity, finding.rows) == ("error", 1)
    assert "end a turn" in finding.message


def test_control_tokens_in_plain_text_are_counted_too() -> None:
    data = Dataset(Task.TEXT, (Record("one <|endoftext|> two"), Record("three")))
    said = {f.id: f for f in audit(data, tokenizer=chatml(), max_length=64).findings}
    assert said["template.control"].rows == 1


def test_answers_that_are_cut_are_a_warning_until_they_are_most() -> None:
    long = rows(1, "yes " * 40)
    few = found(chatml(), *rows(9), *long, max_length=60)["length.answer_cut"]
    assert (few.severity, few.rows, few.places) == ("warning", 1, (("train", 9),))
    assert "10% of all" in few.message
    most = found(chatml(), *rows(3), *(long * 3), max_length=60)["length.answer_cut"]
    assert (most.severity, most.rows) == ("error", 3)
    assert "length.answer_cut" not in found(chatml(), *rows(9))


def test_rows_without_a_token_to_train_are_an_error() -> None:
    question = conversation(("user", "why " * 40), ("assistant", "yes"))
    silent = Record(messages=(Message("user", "hi"), Message("assistant", "no", train=False)))
    finding = found(chatml(), *rows(3), question, silent, max_length=60)["template.untrained"]
    assert (finding.severity, finding.rows) == ("error", 2)
    assert finding.places == (("train", 3), ("train", 4))


def test_rows_that_are_left_out_are_neither_cut_nor_untrained() -> None:
    long = [*rows(3, "yes " * 40), conversation(("user", "why " * 40), ("assistant", "yes"))]
    assert found(chatml(), *rows(3), *long, max_length=60, truncation="drop") == {}
    assert len(found(chatml(), *rows(3), *long, max_length=60)) == 2


def test_lengths_count_what_the_template_writes() -> None:
    data = Dataset(Task.INSTRUCTION, (conversation(("user", "hi"), ("assistant", "yes")),))
    # 1 user \n hi 1 \n, 1 assistant \n yes 1 \n: 1+5+2+1+1 and 1+10+3+1+1.
    assert audit(data, tokenizer=chatml()).lengths["max"] == 26
    assert audit(data, tokenizer=chatml(), template="plain").lengths["max"] == 8


# Tokens one by one


def splits_of(*records: Record, task: Task = Task.INSTRUCTION) -> Any:
    from tunewright.data.audit import as_splits

    return as_splits(Dataset(task, records))


def test_the_tokens_of_a_row_say_what_is_trained_and_what_is_control() -> None:
    data = splits_of(conversation(("user", "hi"), ("assistant", "yes")))
    (row,) = token_rows(data, chatml(), "chat", 200, 3)
    assert "".join(t.text for t in row.tokens) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
    )
    assert [t.text for t in row.tokens if t.trained] == ["y", "e", "s", "<|im_end|>"]
    assert [t.id for t in row.tokens if t.special] == [1, 2, 1, 2]
    assert row.to_dict()["trained"] == 4 and row.cut == 0
    (short,) = token_rows(data, chatml(), "chat", 20, 1)
    assert (len(short.tokens), short.cut, short.trained) == (20, 6, 0)


@pytest.mark.parametrize("text", ["Größe 日本 😀!", "\ufffd é", "a\ufffd\ufffd\ufffd\ufffd\ufffdb"])
def test_a_character_of_several_tokens_is_shown_once_and_whole(text: str) -> None:
    tokenizer = chatml()
    ids = tokenizer(text)["input_ids"]
    shown = pieces(tokenizer, ids)
    assert len(shown) == len(ids) == len(text.encode())
    assert "".join(shown) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in shown)


@pytest.mark.parametrize("case", EXPECTED.values(), ids=EXPECTED)
def test_the_pieces_joined_are_the_row(case: Expected) -> None:
    turns = (("user", "hi"), ("assistant", "yes"), ("user", "and?"), ("assistant", "two"))
    (row,) = token_rows(splits_of(conversation(*turns)), case.make(), "chat", 200, 1)
    assert "".join(t.text for t in row.tokens) == case.whole
    assert "".join(t.text for t in row.tokens if t.trained) == "".join(case.trained)


def test_all_of_a_plain_text_is_trained_but_its_first_token() -> None:
    (row,) = token_rows(splits_of(Record("abc"), task=Task.TEXT), chatml(), "plain", 200, 1)
    assert [(t.text, t.trained) for t in row.tokens] == [
        ("a", False), ("b", True), ("c", True), ("<|im_end|>", True)
    ]  # fmt: skip


def test_a_row_whose_roles_the_template_refuses_is_an_error_in_words() -> None:
    row = conversation(("system", "be kind"), ("user", "hi"), ("assistant", "yes"))
    with pytest.raises(DataError, match="System role not supported"):
        Renderer(gemma(), Task.INSTRUCTION, 200, "chat").tokenise(Dataset(Task.INSTRUCTION, (row,)))
