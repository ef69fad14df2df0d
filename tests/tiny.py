"""Rows and a tokenizer small enough to reason about by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

WORDS = [
    "good",
    "great",
    "fine",
    "lovely",
    "happy",
    "bad",
    "awful",
    "poor",
    "terrible",
    "sad",
    "the",
    "a",
    "film",
    "book",
    "day",
    "was",
    "is",
    "it",
    "and",
    "very",
    "not",
    "so",
    "what",
    "does",
    "do",
    "how",
    "i",
    "you",
    "he",
    "she",
    "they",
    "json",
    "dumps",
    "loads",
    "path",
    "join",
    "os",
    "returns",
    "string",
]


def byte_tokenizer(**special: Any) -> Any:
    """A byte-level tokenizer with ChatML's special tokens; pad and stop token are the same."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: i for i, token in enumerate(names + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    options: dict[str, Any] = {
        "eos_token": "<|im_end|>",
        "bos_token": "<|im_start|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|im_end|>",
        "model_max_length": 256,
    }
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **(options | special))
    fast.chat_template = CHATML
    return fast


def sentiment_rows(n: int = 60) -> list[dict[str, str]]:
    """Rows whose label follows from one word, so that a tiny model can learn them."""
    good, bad = WORDS[:5], WORDS[5:10]
    nouns = ("film", "book", "day")
    return [
        {
            "text": f"the {nouns[i % 3]} was {'very ' * (i % 4)}{(good if i % 2 else bad)[i % 5]} "
            f"and so {'it ' * (i % 7)}is {i}",
            "label": "positive" if i % 2 else "negative",
        }
        for i in range(n)
    ]


def instruction_rows(n: int = 24) -> list[dict[str, str]]:
    """Questions with short answers."""
    return [
        {"instruction": f"What is {i} plus {i}?", "input": "", "output": f"It is {2 * i}."}
        for i in range(n)
    ]


def letter_tokenizer(*, start: str | None = None) -> Any:
    """One token a letter, as encoder-decoder models have them: texts end with `</s>`.

    Args:
        start: the token before every text, as BART has `<s>`. Default: none, as in T5.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "</s>", "<unk>", "<s>", "<extra_id_0>"]
    letters = [chr(code) for code in (10, *range(32, 127))]
    tokenizer = Tokenizer(
        models.WordLevel({t: i for i, t in enumerate(names + letters)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A </s>" if start else "$A </s>",
        special_tokens=[("</s>", 1)] + ([(start, names.index(start))] if start else []),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token=start,
        additional_special_tokens=["<extra_id_0>"],
    )


def reversal_rows(n: int = 6) -> list[dict[str, str]]:
    """Words of three letters and the same words backwards: a toy translation, `n` at most 6."""
    words = ["abc", "def", "ghi", "jkl", "mno", "pqr"][:n]
    return [{"prompt": word, "completion": word[::-1]} for word in words]


def save_decoder(folder: Path) -> None:
    """Write a Llama of 30 thousand random weights with a byte tokenizer and a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_encoder(folder: Path) -> None:
    """Write a BERT of 20 thousand random weights with a word tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {token: i for i, token in enumerate(names + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
