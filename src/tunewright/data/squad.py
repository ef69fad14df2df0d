"""The JSON that SQuAD is published as: articles with paragraphs, and questions on each.

This module knows that one layout. It does not know files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class SquadFault(Exception):  # noqa: N818 - turned into a DataError that names the file
    """A part that is not as SQuAD has it; the message says which."""


def is_squad(articles: Sequence[Any]) -> bool:
    """Whether items are articles of SQuAD."""
    return bool(articles) and all(
        isinstance(article, Mapping) and isinstance(article.get("paragraphs"), list)
        for article in articles
    )


def squad_rows(articles: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row a question, in the columns that `datasets` gives it.

    A question of version 2 that its text does not answer has no answers.

    Raises:
        SquadFault: a text or a question is missing.
    """
    for number, article in enumerate(articles, start=1):
        for place, paragraph in enumerate(article["paragraphs"], start=1):
            where = f"article {number}, paragraph {place}"
            if not isinstance(paragraph, Mapping) or not isinstance(paragraph.get("context"), str):
                raise SquadFault(f"{where} has no text 'context'")
            for asked in paragraph.get("qas") or ():
                if not isinstance(asked, Mapping) or not isinstance(asked.get("question"), str):
                    raise SquadFault(f"{where} has an item of 'qas' without a text 'question'")
                answers = asked.get("answers") or []
                if not all(isinstance(one, Mapping) and "text" in one for one in answers):
                    raise SquadFault(f"{where} has an answer without a 'text'")
                yield {
                    "id": asked.get("id"),
                    "title": article.get("title"),
                    "context": paragraph["context"],
                    "question": asked["question"],
                    "answers": {
                        "text": [one["text"] for one in answers],
                        "answer_start": [one.get("answer_start", -1) for one in answers],
                    },
                }
