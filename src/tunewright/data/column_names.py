"""Column names in use, by the role they play. The first one found wins.

This module is a table of names; `detect.py` decides with it and with the values.
"""

from __future__ import annotations

from collections.abc import Iterable

TEXT = (
    "text", "sentence", "content", "tweet", "review", "comment", "message", "post", "body",
    "utterance", "document", "article", "abstract", "headline", "title", "description", "query",
    "question", "input", "passage", "statement", "prompt", "instruction", "review_text",
    "tweet_text", "comment_text", "full_text", "data",
)  # fmt: skip
PAIRS = (
    ("text", "text_pair"), ("sentence1", "sentence2"), ("premise", "hypothesis"),
    ("question1", "question2"), ("text1", "text2"), ("text_a", "text_b"),
    ("sentence_a", "sentence_b"), ("sentence_1", "sentence_2"), ("text_1", "text_2"), ("s1", "s2"),
    ("question", "sentence"), ("query", "passage"), ("query", "document"), ("question", "passage"),
    ("question", "answer"),
)  # fmt: skip
POSITIVES = (
    ("anchor", "positive"), ("query", "positive"), ("question", "positive"), ("text", "positive"),
    ("sentence", "positive"),
)  # fmt: skip
"""Pairs whose names say that they belong together."""
NEGATIVE = ("negative", "hard_negative")
QUESTIONS = ("question", "query")
CONTEXTS = ("context", "passage", "paragraph", "document", "text")
ANSWERS = ("answers", "answer", "answer_text")
STARTS = ("answer_start", "answer_starts")
LABEL = (
    "label", "label_text", "label_name", "class", "category", "sentiment", "intent", "emotion",
    "topic", "mood", "target", "tag", "polarity", "labels", "classification", "stance",
    "gold_label",
)  # fmt: skip
LABELS = ("labels", "label", "tags", "categories", "classes", "topics", "emotions", "genres")
TOKENS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "entity_tags", "bio_tags", "labels", "label", "ner")
NUMBER = (
    "score", "rating", "similarity", "similarity_score", "stars", "target", "value", "label",
    "mean_rating", "labels", "relevance", "y",
)  # fmt: skip
MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
SYSTEM = ("system", "system_prompt")
PROMPTED = (  # prompt, completion, further input
    ("prompt", "completion", ()),
    ("prompt", "response", ("input", "context")),
    ("instruction", "output", ("input", "context")),
    ("instruction", "response", ("input", "context")),
    ("instruction", "completion", ("input", "context")),
    ("instruction", "answer", ("input", "context")),
    ("prompt", "answer", ("context",)),
    ("prompt", "output", ("input",)),
    ("question", "answer", ("context",)),
    ("question", "response", ("context",)),
    ("query", "response", ("context",)),
    ("query", "answer", ("context",)),
    ("problem", "answer", ()),
    ("problem", "solution", ()),
    ("input", "output", ()),
)
REASONING = (
    "reasoning", "rationale", "cot", "chain_of_thought", "reasoning_content", "thinking",
    "thought", "thoughts", "solution",
)  # fmt: skip
"""What leads to the answer in a column of its own."""
SUMMARIES = tuple(
    (document, summary)
    for document in ("document", "article", "text", "dialogue", "source")
    for summary in ("summary", "highlights", "tldr")
)

ROLES = ("text", "text_pair", "label", "labels", "prompt", "input", "reasoning", "completion",
         "system", "messages", "tokens", "tags", "negative", "answers",
         "answer_start", "group")  # fmt: skip
"""Names that a column mapping may use. `group` marks rows that must stay in one split."""
ROLE_SYNONYMS = {
    "target": "label", "score": "label", "rating": "label", "response": "completion",
    "output": "completion", "answer": "completion", "instruction": "prompt", "question": "prompt",
    "conversations": "messages", "sentence": "text", "sentence1": "text", "sentence2": "text_pair",
    "premise": "text", "hypothesis": "text_pair", "context": "input", "document": "prompt",
    "summary": "completion", "rationale": "reasoning", "cot": "reasoning", "words": "tokens",
    "ner_tags": "tags", "anchor": "text", "positive": "text_pair",
}  # fmt: skip


def by_plain_name(columns: Iterable[str]) -> dict[str, str]:
    """The columns by their names in lower case, with underscores for spaces and hyphens."""
    found: dict[str, str] = {}
    for column in columns:
        found.setdefault(column.strip().lower().replace(" ", "_").replace("-", "_"), column)
    return found
