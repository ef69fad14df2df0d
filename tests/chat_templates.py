"""Chat templates in use, as their models ship them, and tiny tokenizers with their control tokens.

Parts of the templates that only tools need are left out.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any

from tiny import CHATML

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
    "message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}"
)
QWEN25 = (
    "{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}{%- else %}"
    "{{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    "<|im_end|>\n' }}{%- endif %}{%- for message in messages %}"
    '{%- if (message.role == "user") or (message.role == "system" and not loop.first) or '
    '(message.role == "assistant" and not message.tool_calls) %}'
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
QWEN3 = r"""
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
"""  # noqa: E501 - as it is


def byte_level(template: str, control: list[str], **special: str | None) -> Any:
    """A byte-level tokenizer without merges, with these control tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = [*control, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _finished(PreTrainedTokenizerFast, tokenizer, template, control, special)


def sentence_piece(
    template: str, control: list[str], *, prefix: bool, **special: str | None
) -> Any:
    """A character tokenizer that writes spaces as SentencePiece does, with these control tokens.

    With `prefix` it puts a space before the text, as Mistral's and Llama 2's do.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [c for c in string.printable if c not in " \t\r\x0b\x0c"]
    words = ["▁yes", "yes", "▁two", "two", "▁hi", "hi", "▁▁"]
    pairs: dict[str, int] = {}
    for word in words:
        for end in range(2, len(word) + 1):
            pairs.setdefault(word[:end], 0)
    names = [*control, "▁", *letters, *(f"<0x{i:02X}>" for i in range(256))]
    names += [pair for pair in pairs if pair not in names]
    merges = [(pair[:-1], pair[-1]) for pair in sorted(pairs, key=len)]
    vocabulary = {token: i for i, token in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True))
    if prefix:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return _finished(PreTrainedTokenizerFast, tokenizer, template, control, special)


def _finished(
    kind: Any, tokenizer: Any, template: str, control: list[str], special: dict[str, str | None]
) -> Any:
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in control])
    named = {name: value for name, value in special.items() if value is not None}
    fast = kind(tokenizer_object=tokenizer, pad_token=control[0], model_max_length=512, **named)
    fast.chat_template = template
    return fast


CHATML_CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def chatml(**special: str | None) -> Any:
    return byte_level(CHATML, CHATML_CONTROL, **{"eos_token": "<|im_end|>", **special})


def smollm2() -> Any:
    return byte_level(SMOLLM2, CHATML_CONTROL, eos_token="<|im_end|>", bos_token="<|im_start|>")


def llama3() -> Any:
    control = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return byte_level(LLAMA3, control, bos_token=control[0], eos_token="<|eot_id|>")


def gemma() -> Any:
    control = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
    return sentence_piece(GEMMA, control, prefix=False, bos_token="<bos>", eos_token="<eos>")


def mistral() -> Any:
    return sentence_piece(
        MISTRAL, ["<unk>", "<s>", "</s>"], prefix=True, bos_token="<s>", eos_token="</s>"
    )


def qwen25() -> Any:
    return byte_level(QWEN25, CHATML_CONTROL, eos_token="<|im_end|>")


def qwen3() -> Any:
    return byte_level(QWEN3, CHATML_CONTROL, eos_token="<|im_end|>")


@dataclass(frozen=True)
class Expected:
    """By hand: what a conversation looks like, and which parts of it are trained.

    Attributes:
        make: the tokenizer.
        whole: hi, yes, and?, two, as text.
        trained: the parts that count in the loss.
        prompt: the text up to the second answer.
        control: a control token that ends a turn.
    """

    make: Any
    whole: str
    trained: tuple[str, ...]
    prompt: str
    control: str


_ML = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
_ML2 = "<|im_start|>user\nand?<|im_end|>\n<|im_start|>assistant\n"
_SMOL = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n"
)
_QWEN = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    "<|im_end|>\n"
)
_L3 = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nyes<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nand?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
_GEMMA = (
    "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\nyes<end_of_turn>\n"
    "<start_of_turn>user\nand?<end_of_turn>\n<start_of_turn>model\n"
)
_ENDS = ("yes<|im_end|>", "two<|im_end|>")
EXPECTED = {
    "chatml": Expected(
        chatml, _ML + _ML2 + "two<|im_end|>\n", _ENDS, _ML + _ML2, "<|im_end|>"
    ),
    "smollm2": Expected(
        smollm2, _SMOL + _ML + _ML2 + "two<|im_end|>\n", _ENDS, _SMOL + _ML + _ML2, "<|im_end|>"
    ),
    "llama3": Expected(
        llama3, _L3 + "two<|eot_id|>", ("yes<|eot_id|>", "two<|eot_id|>"), _L3, "<|eot_id|>"
    ),
    "gemma": Expected(
        gemma,
        _GEMMA + "two<end_of_turn>\n",
        ("yes<end_of_turn>", "two<end_of_turn>"),
        _GEMMA,
        "<end_of_turn>",
    ),
    "mistral": Expected(
        mistral,
        "<s>[INST] hi [/INST] yes</s>[INST] and? [/INST] two</s>",
        (" yes</s>", " two</s>"),
        "<s>[INST] hi [/INST] yes</s>[INST] and? [/INST]",
        "</s>",
    ),
    "qwen2.5": Expected(
        qwen25, _QWEN + _ML + _ML2 + "two<|im_end|>\n", _ENDS, _QWEN + _ML + _ML2, "<|im_end|>"
    ),
}  # fmt: skip
