"""The findings of an audit that stop a run, by id. A recipe may accept them one by one.

`docs/check.md` says what each one means.
"""

from __future__ import annotations

from tunewright.errors import unknown_name

ERRORS = (
    "answers.missing",
    "answers.none",
    "constant.column",
    "empty.answer",
    "empty.pair",
    "empty.text",
    "label.single",
    "label.unseen",
    "leakage.exact",
    "leakage.group",
    "leakage.near",
    "leakage.prompt",
    "length.answer_cut",
    "pairs.contradictory",
    "template.bos",
    "template.control",
    "template.stop",
    "template.system",
    "template.tokens",
    "template.untrained",
)


def known_error(name: str) -> str:
    """The id, where it is one that stops a run.

    Raises:
        ValueError: it is not; names the close match.
    """
    if name not in ERRORS:
        raise ValueError(unknown_name("finding", name, ERRORS).rstrip("."))
    return name
