"""Encoder-decoder models: the chunked loss is the model's own, and answers are targets alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianConfig, MarianMTModel

from tiny import letter_tokenizer
from tunewright.config.task import Task
from tunewright.data.collate import IGNORED, collate
from tunewright.data.example import Example
from tunewright.data.layout import pick_template
from tunewright.data.records import Dataset, Message, Record
from tunewright.data.render import Renderer
from tunewright.errors import ConfigError, DataError, ModelError
from tunewright.models.forward import CausalForward
from tunewright.models.generate import generate
from tunewright.models.inspect import UNBOUNDED, inspect_model, linear_layers
from tunewright.models.load import check_task, load_base, load_finished
from tunewright.models.seq2seq import Seq2SeqForward, text_forward

A, B, C, D = (letter_tokenizer().convert_tokens_to_ids(letter) for letter in "abcd")
PAD, STOP, START = 0, 1, 3


def rows() -> list[Example]:
    return [
        Example([A, B, C, STOP], 0, target_ids=[C, B, A, STOP]),
        Example([B, STOP], 1, target_ids=[B, D, D, D, D, STOP]),
    ]


@pytest.fixture
def tiny_marian() -> Any:
    """A Marian whose logits have a bias of their own, as those of the real ones have."""
    torch.manual_seed(0)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=len(letter_tokenizer()),
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            max_position_embeddings=32,
            pad_token_id=PAD,
            eos_token_id=STOP,
            decoder_start_token_id=PAD,
            forced_eos_token_id=STOP,
        )
    )
    model.final_logits_bias.normal_()
    return model.eval()


@pytest.fixture(params=["t5", "bart", "marian"])
def model(request: pytest.FixtureRequest) -> Any:
    if request.param == "marian":
        return request.getfixturevalue("tiny_marian")
    folder = request.getfixturevalue(f"tiny_{request.param}")
    return AutoModelForSeq2SeqLM.from_pretrained(folder)


def test_the_loss_and_its_gradients_equal_those_of_transformers(model: Any) -> None:
    forward = text_forward(model.eval())
    assert isinstance(forward, Seq2SeqForward)
    # T5 scales what its head is given; Marian adds to what it says, so its own logits are used.
    assert forward.chunked == (model.config.model_type != "marian")
    batch = collate(rows(), PAD)
    theirs = model(**batch).loss
    expected = torch.autograd.grad(theirs, model.get_input_embeddings().weight)[0]
    loss_sum, count = forward(batch)
    assert int(count) == 4 + 6
    torch.testing.assert_close(loss_sum / count, theirs)
    found = torch.autograd.grad(loss_sum / count, model.get_input_embeddings().weight)[0]
    torch.testing.assert_close(found, expected)
    sums, counts = forward.row_losses(batch)
    assert counts.tolist() == [4, 6]
    torch.testing.assert_close(sums.sum().float(), loss_sum.detach())


def test_padding_of_source_and_target_does_not_change_a_row(model: Any) -> None:
    forward = text_forward(model.eval())
    together, _ = forward.row_losses(collate(rows(), PAD))
    alone = torch.cat([forward.row_losses(collate([row], PAD))[0] for row in rows()])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_a_batch_pads_sources_and_targets_apart() -> None:
    batch = collate(rows(), PAD)
    assert batch["input_ids"].tolist() == [[A, B, C, STOP], [B, STOP, PAD, PAD]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    out = [IGNORED, IGNORED]
    assert batch["labels"].tolist() == [[C, B, A, STOP, *out], [B, D, D, D, D, STOP]]


def test_answers_are_targets_alone_and_do_not_depend_on_their_batch(tiny_t5: Path) -> None:
    finished = load_finished(str(tiny_t5))
    sources = [[A, B, C, STOP], [B, STOP], [D, D, STOP]]
    torch.manual_seed(1)
    torch.nn.init.normal_(finished.model.shared.weight)  # untrained ones repeat the start
    together = generate(finished.model, finished.tokenizer, sources, [STOP], max_new_tokens=5)
    for source, answer in zip(sources, together, strict=True):
        expected = finished.model.generate(
            input_ids=torch.tensor([source]), max_new_tokens=5, do_sample=False
        )
        assert answer == finished.tokenizer.decode(expected[0], skip_special_tokens=True)
    assert any(together)


def conversation(*turns: tuple[str, str]) -> Record:
    return Record(messages=tuple(Message(r, text, train=r == "assistant") for r, text in turns))


def test_a_row_becomes_source_and_target_as_the_tokenizer_writes_them(tiny_bart: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_bart)
    data = Dataset(Task.INSTRUCTION, (conversation(("user", "ab"), ("assistant", "ba")),))
    renderer = Renderer(tokenizer, Task.INSTRUCTION, 32, "seq2seq", source_prefix="d: ")
    (example,) = renderer.tokenise(data)
    assert example.input_ids == tokenizer("d: ab")["input_ids"]
    assert example.target_ids == tokenizer(text_target="ba")["input_ids"] == [START, B, A, STOP]
    assert example.trained_tokens == 4 and len(example) == len(example.input_ids) + 4
    assert renderer.prompt(data.records[0]) == (example.input_ids, "ba")


def test_each_answer_of_a_conversation_has_what_was_said_before_as_its_source() -> None:
    tokenizer = letter_tokenizer()
    record = conversation(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    renderer = Renderer(tokenizer, Task.INSTRUCTION, 32, "seq2seq")
    first, second = renderer.tokenise(Dataset(Task.INSTRUCTION, (record,)))
    assert (first.input_ids, first.target_ids) == ([A, STOP], [B, STOP])
    assert second.input_ids == tokenizer("a\n\nb\n\nc")["input_ids"]
    assert second.target_ids == [D, STOP] and (first.answer, second.answer) == (1, 3)
    assert renderer.prompt(record, 1) == ([A, STOP], "b")


def test_a_control_token_in_a_text_is_words_and_a_target_stops_once() -> None:
    tokenizer = letter_tokenizer()
    record = conversation(("user", "a</s>"), ("assistant", "b</s>"))
    renderer = Renderer(tokenizer, Task.INSTRUCTION, 32, "seq2seq")
    (example,) = renderer.tokenise(Dataset(Task.INSTRUCTION, (record,)))
    for ids in (example.input_ids, example.target_ids or []):
        assert ids.count(STOP) == 1 and ids[-1] == STOP and len(ids) == 6


def test_a_tokenizer_that_closes_no_text_still_ends_targets() -> None:
    from tokenizers import processors

    tokenizer = letter_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", special_tokens=[]
    )
    renderer = Renderer(tokenizer, Task.INSTRUCTION, 32, "seq2seq")
    record = conversation(("user", "a"), ("assistant", "b"))
    (example,) = renderer.tokenise(Dataset(Task.INSTRUCTION, (record,)))
    assert (example.input_ids, example.target_ids) == ([A], [B, STOP])


def test_cutting_keeps_the_closing_token_of_a_source_and_not_of_a_target() -> None:
    record = conversation(("user", "abcd"), ("assistant", "dcba"))
    data = Dataset(Task.INSTRUCTION, (record,), "toys")
    renderer = Renderer(letter_tokenizer(), Task.INSTRUCTION, 3, "seq2seq")
    with pytest.raises(DataError, match=r"longer than max_length=3 tokens; 4 tokens .* has 5"):
        renderer.render(data)
    cut = renderer.render(data, "cut")
    assert cut.cut == 1
    assert (cut.examples[0].input_ids, cut.examples[0].target_ids) == ([A, B, STOP], [D, C, B])
    renderer.max_length = 5
    assert renderer.render(data).examples[0].input_ids == [A, B, C, D, STOP]


def test_facts_of_encoder_decoder_models(tiny_t5: Path, tiny_bart: Path) -> None:
    t5, bart = inspect_model(tiny_t5), inspect_model(tiny_bart)
    assert t5.kind == bart.kind == "encoder-decoder"
    assert (t5.max_length, bart.max_length) == (UNBOUNDED, 64)
    assert (t5.layers, t5.hidden_size, bart.layers) == (1, 32, 1)
    assert t5.parameters == AutoModelForSeq2SeqLM.from_pretrained(tiny_t5).num_parameters()
    assert linear_layers(tiny_t5) == {"q", "k", "v", "o", "wi", "wo"}


@pytest.mark.parametrize("task", [Task.TEXT, Task.CLASSIFICATION])
def test_other_tasks_are_refused_with_what_would_do(tiny_t5: Path, task: Task) -> None:
    with pytest.raises(ModelError, match=r"source into a target: task instruction.* a decoder"):
        load_base(inspect_model(tiny_t5), task, ["a", "b"], torch.float32)


def test_models_that_do_not_write_text_are_refused(tiny_t5: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_t5, tmp_path / "speech")
    config = json.loads((tmp_path / "speech/config.json").read_text(encoding="utf-8"))
    config["model_type"] = "vision-encoder-decoder"
    (tmp_path / "speech/config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="vision-encoder-decoder model, which does not turn text"):
        check_task(inspect_model(tmp_path / "speech"), Task.INSTRUCTION)


def test_a_tokenizer_with_codes_of_languages_is_refused() -> None:
    tokenizer = letter_tokenizer()
    tokenizer.src_lang = "en_XX"
    with pytest.raises(DataError, match="code of a language"):
        Renderer(tokenizer, Task.INSTRUCTION, 32, "seq2seq")


def test_layouts_follow_from_the_model_and_what_does_not_fit_is_refused() -> None:
    tokenizer, ask = letter_tokenizer(), Task.INSTRUCTION
    assert pick_template("auto", tokenizer, ask, "encoder-decoder", "d: ") == "seq2seq"
    assert pick_template("auto", tokenizer, ask) == "plain"
    with pytest.raises(ConfigError, match=r"remove data\.template"):
        pick_template("plain", tokenizer, ask, "encoder-decoder")
    with pytest.raises(ConfigError, match="only encoder-decoder models have"):
        pick_template("auto", tokenizer, ask, "decoder", "d: ")


def test_a_decoder_keeps_its_own_forward_pass(tiny_decoder: Path) -> None:
    forward = text_forward(load_finished(str(tiny_decoder), Task.INSTRUCTION).model)
    assert type(forward) is CausalForward
