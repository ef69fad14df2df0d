"""Is what must be trained trained, and nothing else? Checks of template, tokenizer and loss mask.

Everything is read off the rows as the model will see them: token ids and loss mask. This module
does not know how rows are rendered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tunewright.data.chat import LOOKS_CONTROL, ChatTemplate
from tunewright.data.example import Example
from tunewright.data.finding import Finding, Place, counted, listed, show_rows, shown
from tunewright.data.records import Record, Splits, Task
from tunewright.data.render import Renderer, lacks_system

MOST = 0.5
"""Share of rows with a cut answer from which the set is not fit to train on at this length."""

_PROBE = (("user", "6 5"), ("assistant", "4 7"), ("user", "8 9"))


def no_stop_token(splits: Splits) -> Finding:
    """The tokenizer has no end-of-text token at all."""
    return Finding(
        "template.stop",
        "error",
        sum(len(part) for _, part in splits.items()),
        "The tokenizer has no end-of-text token, so the model could never learn to stop.",
        "Set eos_token in its tokenizer_config.json, or take a model that writes text.",
    )


def check_template(splits: Splits, renderer: Renderer) -> Iterator[Finding]:
    """What is wrong with the chat template and its tokenizer, whatever the rows say.

    Args:
        splits: the rows; only counted.
        renderer: with the template and the tokenizer.
    """
    if renderer.chat is None:
        return
    rows = sum(len(part) for _, part in splits.items())
    yield from _tokens(renderer, renderer.chat, rows)
    yield from _stops(renderer, renderer.chat, rows)
    yield from _begin(renderer, renderer.chat, rows)
    yield from _system(splits, renderer, renderer.chat)


def check_rendered(
    splits: Splits, renderer: Renderer, examples: Mapping[str, Sequence[Example]], max_length: int
) -> Iterator[Finding]:
    """What is wrong with the rows as the model will see them.

    Args:
        splits: the rows.
        renderer: that made the examples.
        examples: of each part, uncut; those that are left out are not among them.
        max_length: tokens, from which on a row is cut.
    """
    yield from _control(splits, renderer)
    if splits.task is not Task.INSTRUCTION:
        return
    yield from _never_stops(renderer, examples, max_length)
    cut: list[Place] = []
    untrained: list[Place] = []
    for name, part in examples.items():
        for example in part:
            # All of a target is trained; of a row, what its mask says behind the first token.
            target = example.target_ids
            flags = [True] * len(target) if target is not None else (example.loss_mask or [])[1:]
            room = max_length if target is not None else max_length - 1
            if not any(flags[:room]):
                untrained.append((name, example.row))
            elif any(flags[room:]):
                cut.append((name, example.row))
    yield from _untrained(splits, untrained, max_length)
    yield from _cut(splits, cut, max_length)


def _tokens(renderer: Renderer, chat: ChatTemplate, rows: int) -> Iterator[Finding]:
    """Control tokens of the template that the tokenizer would take apart."""
    text = chat.text(_PROBE, generate=True)
    written = list(dict.fromkeys(LOOKS_CONTROL.findall(text)))
    pieces = {token: len(renderer.token_ids(token)) for token in written}
    apart = [token for token, count in pieces.items() if count != 1]
    if apart:
        yield Finding(
            "template.tokens",
            "error",
            rows,
            f"The chat template writes {listed(apart)}, which the tokenizer does not know as one "
            f"token ({pieces[apart[0]]} pieces), so the model never sees the marks it knows.",
            "Use the tokenizer that belongs to the template, add the tokens to it as special "
            "tokens, or set data.template=plain.",
        )


def _stops(renderer: Renderer, chat: ChatTemplate, rows: int) -> Iterator[Finding]:
    stops = chat.stops()
    eos = renderer.tokenizer.eos_token
    if not stops:
        yield Finding(
            "template.stop",
            "error",
            rows,
            "The chat template puts no stop token behind an answer, so the model could never learn "
            "to stop.",
            "Use data.template=plain or another template.",
        )
    elif eos not in stops:
        yield Finding(
            "template.eos",
            "warning",
            rows,
            f"The chat template ends answers with {stops[0]!r}, but the tokenizer's end-of-text "
            f"token is {eos!r}. Both are kept as stop tokens in generation_config.json; a program "
            "that knows only the second would not stop.",
            f"Set eos_token to {stops[0]!r} in tokenizer_config.json where the model allows it.",
        )


def _begin(renderer: Renderer, chat: ChatTemplate, rows: int) -> Iterator[Finding]:
    bos = renderer.tokenizer.bos_token
    if bos and chat.text(_PROBE).startswith(bos * 2):
        yield Finding(
            "template.bos",
            "error",
            rows,
            f"The chat template begins with {bos!r} twice, which the model has never seen.",
            "Take one of them out of the chat template.",
        )


def _system(splits: Splits, renderer: Renderer, chat: ChatTemplate) -> Iterator[Finding]:
    added = chat.added_system()
    if not added or renderer.system:
        return
    places = [
        (name, index)
        for name, part in splits.items()
        for index, record in enumerate(part)
        if lacks_system(record)
    ]
    if places:
        yield Finding(
            "template.system",
            "error",
            len(places),
            f"The chat template puts a system prompt before {counted(len(places), 'row')} that "
            f"{'has' if len(places) == 1 else 'have'} none: {shown(added)!r}. The model learns to "
            "answer under it, and every program that uses the model must send it too.",
            "Give the rows a system message of your own with data.system, or accept it: "
            "data.allow=[template.system].",
            (f"{shown(added, 300)!r}",),
            tuple(places),
        )


def _control(splits: Splits, renderer: Renderer) -> Iterator[Finding]:
    """Words in the rows that a careless program would take for control."""
    pattern = renderer.control
    places: list[Place] = []
    seen: dict[str, None] = {}
    for name, part in splits.items():
        for index, record in enumerate(part):
            found = [match for text in _texts(record) for match in pattern.findall(text)]
            if found:
                places.append((name, index))
                seen.update(dict.fromkeys(found))
    if not places:
        return
    control = set(renderer.tokenizer.convert_tokens_to_ids(list(seen)))
    parsed = [token for token in seen if control & {*renderer.literal_ids(token)}]
    words = listed(parsed or list(seen))
    yield Finding(
        "template.control",
        "error" if parsed else "warning",
        len(places),
        f"{counted(len(places), 'row has', 'rows have')} control tokens in the text ({words}). "
        + (
            "The tokenizer cannot write them as plain words, so they would end a turn or begin one."
            if parsed
            else "They are trained as the plain words they look like; other programs obey them."
        ),
        "Take them out of the text, unless it is about them.",
        show_rows(splits, places),
        tuple(places),
    )


def _texts(record: Record) -> list[str]:
    return [message.content for message in record.messages] or [record.text]


def _never_stops(
    renderer: Renderer, examples: Mapping[str, Sequence[Example]], max_length: int
) -> Iterator[Finding]:
    """The stop token is trained in no row: nothing teaches the model where to end."""
    stops = set(renderer.stop_ids())
    train = examples.get("train", ())
    for example in train:
        if example.target_ids is not None:
            trained = example.target_ids[:max_length]
        else:
            flags = example.loss_mask or []
            pairs = zip(example.input_ids[1:max_length], flags[1:max_length], strict=True)
            trained = [token for token, on in pairs if on]
        if not stops.isdisjoint(trained):
            return
    if train:
        yield Finding(
            "template.stop",
            "error",
            len(train),
            f"The stop token is trained in none of {counted(len(train), 'training row')} within "
            f"max_length={max_length} tokens, so the model could never learn to stop.",
            "Raise max_length, or shorten the rows.",
        )


def _untrained(splits: Splits, places: Sequence[Place], max_length: int) -> Iterator[Finding]:
    if places:
        yield Finding(
            "template.untrained",
            "error",
            len(places),
            f"{counted(len(places), 'row has', 'rows have')} no token to train: no answer that "
            f"counts, or a question that fills max_length={max_length} by itself.",
            "Set data.truncation=drop to leave such rows out, shorten them, or raise max_length.",
            show_rows(splits, places),
            tuple(dict.fromkeys(places)),
        )


def _cut(splits: Splits, places: Sequence[Place], max_length: int) -> Iterator[Finding]:
    if not places:
        return
    rows = sum(len(part) for _, part in splits.items())
    share = len(set(places)) / rows
    yield Finding(
        "length.answer_cut",
        "error" if share >= MOST else "warning",
        len(set(places)),
        f"The answers of {counted(len(set(places)), 'row')} ({share:.0%} of all) would be cut at "
        f"max_length={max_length} tokens, which teaches the model to break off.",
        "Raise max_length where the model allows it, set data.truncation=drop, or shorten them.",
        show_rows(splits, places),
        tuple(dict.fromkeys(places)),
    )
